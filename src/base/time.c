/*
 * time.c
 *		ISO 8601 as it stands in messages.
 */
#include "postgres.h"

#include "base/time.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

typedef struct Cursor
{
	const char *at;
	const char *end;
} Cursor;

/* Read exactly n digits. */
static bool
read_digits(Cursor *c, int n, int *value)
{
	*value = 0;
	if (c->end - c->at < n)
		return false;
	for (int i = 0; i < n; i++, c->at++)
	{
		if (*c->at < '0' || *c->at > '9')
			return false;
		*value = *value * 10 + (*c->at - '0');
	}
	return true;
}

static bool
accept(Cursor *c, char wanted)
{
	if (c->at >= c->end || *c->at != wanted)
		return false;
	c->at++;
	return true;
}

/* Read a fraction of a second after its point; digits past microseconds are dropped. */
static bool
read_fraction(Cursor *c, int *microseconds)
{
	int scale = 100000;
	int digits = 0;

	for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++, digits++)
	{
		*microseconds += (*c->at - '0') * scale;
		scale /= 10;
	}
	return digits > 0;
}

/* Read Z, +02, +0200 or +02:00; nothing means UTC. Seconds east of UTC. */
static bool
read_zone(Cursor *c, int *seconds)
{
	int sign = 1;
	int hours;
	int minutes = 0;

	*seconds = 0;
	if (c->at == c->end || accept(c, 'Z') || accept(c, 'z'))
		return true;
	if (*c->at == '-')
		sign = -1;
	else if (*c->at != '+')
		return false;
	c->at++;
	if (!read_digits(c, 2, &hours) || hours > 15)
		return false;
	accept(c, ':');
	if (c->at < c->end && (!read_digits(c, 2, &minutes) || minutes > 59))
		return false;
	*seconds = sign * (hours * 3600 + minutes * 60);
	return true;
}

bool
cdp_parse_timestamp(const char *text, int len, TimestampTz *result)
{
	Cursor c = {text, text + len};
	int year, month, day, hour = 0, minute = 0, second = 0, microseconds = 0, zone = 0;
	int64 seconds;

	if (!read_digits(&c, 4, &year) || !accept(&c, '-') || !read_digits(&c, 2, &month) || !accept(&c, '-') ||
		!read_digits(&c, 2, &day))
		return false;
	if (year < 1 || month < 1 || month > 12 || day < 1 || day > day_tab[isleap(year)][month - 1])
		return false;
	if (c.at < c.end)
	{
		if (!accept(&c, 'T') && !accept(&c, 't') && !accept(&c, ' '))
			return false;
		if (!read_digits(&c, 2, &hour) || !accept(&c, ':') || !read_digits(&c, 2, &minute))
			return false;
		if (accept(&c, ':') && !read_digits(&c, 2, &second))
			return false;
		if (accept(&c, '.') && !read_fraction(&c, &microseconds))
			return false;
		if (hour > 24 || minute > 59 || second > 60 || (hour == 24 && (minute || second || microseconds)))
			return false;
		if (!read_zone(&c, &zone) || c.at != c.end)
			return false;
	}
	seconds = ((int64) date2j(year, month, day) - POSTGRES_EPOCH_JDATE) * SECS_PER_DAY + hour * 3600 + minute * 60 +
			  second - zone;
	*result = seconds * USECS_PER_SEC + microseconds;
	return cdp_is_plausible_time(*result);
}

bool
cdp_is_plausible_time(TimestampTz at)
{
	return at >= CDP_FIRST_INSTANT && at < CDP_END_INSTANT;
}

/* Write a number of two digits and a character after it. */
static inline char *
put_two(char *at, int value, char after)
{
	at[0] = '0' + value / 10;
	at[1] = '0' + value % 10;
	at[2] = after;
	return at + 3;
}

void
cdp_format_timestamp(TimestampTz at, char *buffer)
{
	struct pg_tm tm;
	fsec_t fraction;
	char *end = buffer;

	if (timestamp2tm(at, NULL, &tm, &fraction, NULL, NULL) != 0)
	{
		strcpy(buffer, TIMESTAMP_NOT_FINITE(at) && at > 0 ? "infinity" : "-infinity");
		return;
	}
	if (tm.tm_year < 0 || tm.tm_year > 9999)
		end += sprintf(end, "%d-", tm.tm_year); /* outside of what the platform stores */
	else
	{
		put_two(end, tm.tm_year / 100, '0');
		end = put_two(end + 2, tm.tm_year % 100, '-');
	}
	end = put_two(end, tm.tm_mon, '-');
	end = put_two(end, tm.tm_mday, 'T');
	end = put_two(end, tm.tm_hour, ':');
	end = put_two(end, tm.tm_min, ':');
	end = put_two(end, tm.tm_sec, '.');
	if (fraction == 0)
		end--;
	else
	{
		for (int i = 5; i >= 0; i--, fraction /= 10)
			end[i] = '0' + fraction % 10;
		end += 6;
		while (end[-1] == '0')
			end--;
	}
	strcpy(end, "Z");
}
