/*
 * timeline_decimal.c
 *		Exact decimal numbers of up to 18 digits, as text and back.
 */
#include "postgres.h"

#include "profile/timeline.h"

#define TOO_MANY INT64CONST(1000000000000000000) /* 10^CDP_DECIMAL_DIGITS */

/*
 * Whether all digits, written out, are few enough for our own JSON parser (json.h): else what a column holds could be
 * dumped and not be restored.
 */
static bool
is_short(const CdpPropertyValue *value)
{
	return value->exponent > 0 ? CDP_DECIMAL_DIGITS + value->exponent <= CDP_DECIMAL_MAX_EXPONENT
							   : value->exponent > -CDP_DECIMAL_MAX_EXPONENT;
}

/* Bring a number into its one form: of what is too small to be written out, decimals are dropped. */
static void
normalize(CdpPropertyValue *value)
{
	for (; value->exponent <= -CDP_DECIMAL_MAX_EXPONENT && value->digits != 0; value->exponent++)
		value->digits = (value->digits + (value->digits < 0 ? -5 : 5)) / 10;
	if (value->digits == 0)
		value->exponent = 0;
	for (; value->exponent < 0 && value->digits % 10 == 0; value->exponent++)
		value->digits /= 10;
	for (; value->exponent > 0 && llabs(value->digits) < TOO_MANY / 10; value->exponent--)
		value->digits *= 10;
}

bool
cdp_decimal_is_normal(const CdpPropertyValue *value)
{
	if (value->digits <= -TOO_MANY || value->digits >= TOO_MANY || !is_short(value))
		return false;
	if (value->exponent < 0)
		return value->digits % 10 != 0;
	return value->exponent == 0 || llabs(value->digits) >= TOO_MANY / 10;
}

bool
cdp_decimal_parse(const char *text, int length, CdpPropertyValue *value)
{
	bool is_negative = length > 0 && text[0] == '-';
	bool after_point = false;
	int digits = 0;
	int dropped = -1; /* the first digit that there is no room for */

	value->digits = 0;
	value->exponent = 0;
	for (int i = is_negative; i < length; i++)
	{
		if (text[i] == '.' && !after_point)
			after_point = true;
		else if (text[i] < '0' || text[i] > '9')
			return false; /* NaN and infinity too */
		else if (digits < CDP_DECIMAL_DIGITS)
		{
			value->digits = value->digits * 10 + (text[i] - '0');
			digits += value->digits != 0;
			value->exponent -= after_point;
		}
		else
		{
			if (dropped < 0)
				dropped = text[i] - '0';
			value->exponent += !after_point;
		}
	}
	value->digits += dropped >= 5;
	if (value->digits == TOO_MANY)
	{
		value->digits /= 10;
		value->exponent++;
	}
	if (is_negative)
		value->digits = -value->digits;
	normalize(value);
	return is_short(value);
}

int
cdp_decimal_format(const CdpPropertyValue *value, char *buffer)
{
	char digits[CDP_DECIMAL_DIGITS + 4];
	int n = sprintf(digits, INT64_FORMAT, (int64) llabs(value->digits));
	int point = n + value->exponent; /* digits before it */
	char *p = buffer;

	if (value->digits < 0)
		*p++ = '-';
	for (int i = 0; i < point; i++)
		*p++ = i < n ? digits[i] : '0';
	if (point <= 0)
		*p++ = '0';
	if (value->exponent < 0)
		*p++ = '.';
	for (int i = point; i < n; i++)
		*p++ = i < 0 ? '0' : digits[i];
	*p = '\0';
	return p - buffer;
}
