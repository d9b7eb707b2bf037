/*
 * normalize.c
 *		One normal form for each way of writing the same identifier.  Knows no table.
 *
 * Lower-casing is of ASCII: the result must not depend on the database's locale, or
 * a dump would not find its people again elsewhere.
 */
#include "postgres.h"

#include "identifier/identifier.h"

static inline bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

static void
trim(const char **value, int *length)
{
	while (*length > 0 && is_space(**value))
	{
		(*value)++;
		(*length)--;
	}
	while (*length > 0 && is_space((*value)[*length - 1]))
		(*length)--;
}

/* Trim and lower; copies only where something changes. */
static const char *
lower(const char *value, int *length)
{
	char *copy;
	int i = 0;

	trim(&value, length);
	while (i < *length && !(value[i] >= 'A' && value[i] <= 'Z'))
		i++;
	if (i == *length)
		return value;
	copy = palloc(*length);
	memcpy(copy, value, *length);
	for (; i < *length; i++)
	{
		if (copy[i] >= 'A' && copy[i] <= 'Z')
			copy[i] += 'a' - 'A';
	}
	return copy;
}

/* Digits with a leading plus; 00 is the plus of those who dial it. NULL when nothing like a number is there. */
static const char *
phone(const char *value, int *length)
{
	char *copy = palloc(*length + 2);
	int n = 0;
	int digits = 0;

	for (int i = 0; i < *length; i++)
	{
		char c = value[i];

		if (c == '+' && n == 0)
			copy[n++] = c;
		else if (c >= '0' && c <= '9')
		{
			copy[n++] = c;
			digits++;
		}
		else if (!is_space(c) && strchr("-().,/", c) == NULL)
			return NULL;
	}
	if (digits < 3 || digits > 20)
		return NULL;
	if (n > 4 && copy[0] == '0' && copy[1] == '0')
	{
		copy[1] = '+';
		copy++;
		n--;
	}
	*length = n;
	return copy;
}

const char *
cdp_identifier_normalize(const CdpNamespace *ns, const char *value, int length, int *out_length)
{
	*out_length = length;
	switch (ns->normalizer)
	{
		case CDP_NORMALIZE_NONE:
			break;
		case CDP_NORMALIZE_LOWER:
		case CDP_NORMALIZE_EMAIL:
			value = lower(value, out_length);
			break;
		case CDP_NORMALIZE_PHONE:
			value = phone(value, out_length);
			break;
	}
	if (value == NULL || *out_length < 1 || *out_length > CDP_MAX_IDENTIFIER_BYTES)
		return NULL;
	return value;
}
