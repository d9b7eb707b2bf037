/*
 * normalize.c
 *		One normal form for each way of writing the same identifier.  Knows no table.
 *
 * Lower-casing is of ASCII: the result must not depend on the database's locale, or
 * a dump would not find its people again elsewhere.
 */
#include "postgres.h"

#include "identifier/identifier.h"
#include "identifier/module.h"

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

/* Gmail has one mailbox under two domains, whatever dots stand before the @ and whatever follows a plus. */
static const char *
gmail(const char *value, int *length, int at)
{
	static const char *const domains[] = {"@gmail.com", "@googlemail.com"};
	const char *domain = pnstrdup(value + at, *length - at);
	char *mailbox;
	int n = 0;

	if (strcmp(domain, domains[0]) != 0 && strcmp(domain, domains[1]) != 0)
		return value;
	mailbox = palloc(*length);
	for (int i = 0; i < at && value[i] != '+'; i++)
	{
		if (value[i] != '.')
			mailbox[n++] = value[i];
	}
	if (n == 0)
		return NULL;
	*length = n + strlen(domains[0]);
	memcpy(mailbox + n, domains[0], strlen(domains[0]));
	return mailbox;
}

/* Trim and lower; the domain in ASCII. NULL when it cannot be. */
static const char *
email(const char *value, int *length, bool is_gmail_rewritten)
{
	bool is_ascii = true;
	int domain; /* where it begins */

	value = lower(value, length);
	for (domain = *length; domain > 0 && value[domain - 1] != '@'; domain--)
		is_ascii &= !IS_HIGHBIT_SET(value[domain - 1]);
	if (domain == 0)
		return value;
	if (!is_ascii)
	{
		char *copy = palloc(domain + CDP_MAX_DOMAIN_BYTES);
		int n = cdp_domain_normalize(value + domain, *length - domain, copy + domain);

		if (n < 0)
			return NULL;
		value = memcpy(copy, value, domain);
		*length = domain + n;
	}
	return is_gmail_rewritten ? gmail(value, length, domain - 1) : value;
}

const char *
cdp_identifier_normalize(const CdpNamespace *ns, const char *value, int length, const char *phone_region,
						 int *out_length)
{
	*out_length = length;
	switch (ns->normalizer)
	{
		case CDP_NORMALIZE_NONE:
			break;
		case CDP_NORMALIZE_LOWER:
			value = lower(value, out_length);
			break;
		case CDP_NORMALIZE_EMAIL:
		case CDP_NORMALIZE_EMAIL_GMAIL:
			value = email(value, out_length, ns->normalizer == CDP_NORMALIZE_EMAIL_GMAIL);
			break;
		case CDP_NORMALIZE_PHONE:
			trim(&value, out_length);
			value = cdp_phone_normalize(value, out_length, phone_region);
			break;
	}
	if (value == NULL || *out_length < 1 || *out_length > CDP_MAX_IDENTIFIER_BYTES)
		return NULL;
	return value;
}
