/*
 * domain.c
 *		cdp_domain: internationalised domains by libidn2.
 */
#include "identifier/module.h"

#include <idn2.h>
#include <string.h>

/* Letters, digits and hyphens, as hosts have them? libidn2 would drop other ASCII in silence, if asked to mind it. */
static int
is_host_name(const char *ascii, size_t n)
{
	return n > 0 && n <= CDP_MAX_DOMAIN_BYTES && strspn(ascii, "abcdefghijklmnopqrstuvwxyz0123456789-.") == n;
}

/* IDNA 2008, after the mapping of UTS #46, which reads upper case and full-width letters. */
int
cdp_domain_to_ascii(const char *text, int length, char *out)
{
	char domain[4 * CDP_MAX_DOMAIN_BYTES + 1];
	char *ascii = NULL;
	int n = -1;

	if (length >= (int) sizeof(domain))
		return -1;
	memcpy(domain, text, length);
	domain[length] = '\0';
	if (idn2_to_ascii_8z(domain, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) != IDN2_OK)
		return -1;
	if (is_host_name(ascii, strlen(ascii)))
	{
		n = strlen(ascii);
		memcpy(out, ascii, n);
	}
	idn2_free(ascii);
	return n;
}
