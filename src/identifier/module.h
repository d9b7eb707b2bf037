/*
 * module.h
 *		The libraries beside cdp.so, each opened when it is first needed, or with the server that preloads cdp.
 *
 * A module wraps a library of others', so that cdp.so needs neither it nor the C++ it is
 * written in.  It knows nothing of PostgreSQL: text goes in, ASCII comes out or -1, and what it
 * allocates it frees.  So no error of PostgreSQL passes through its frames, and no exception leaves it.
 */
#ifndef CDP_IDENTIFIER_MODULE_H
#define CDP_IDENTIFIER_MODULE_H

#ifdef __cplusplus
extern "C"
{
#endif

/* In cdp.so; each opens its module, which may raise an error. */
extern const char *cdp_phone_normalize(const char *text, int *length, const char *region); /* NULL: no valid number */
extern int cdp_domain_normalize(const char *text, int length, char *out);				   /* its length, or -1 */

/* In the modules. */
#define CDP_MODULE_FUNCTION __attribute__((visibility("default")))

#define CDP_MAX_PHONE_BYTES 60	 /* as written; what is longer is a text */
#define CDP_MAX_E164_BYTES 24	 /* a plus, 3 digits of the country and at most 17 */
#define CDP_MAX_DOMAIN_BYTES 255 /* of a domain in ASCII */

/* cdp_phone: a valid number in E.164, as written in a region ("": in international form); its length, or -1. */
typedef int CdpPhoneToE164(const char *text, int length, const char *region, char *out);
CDP_MODULE_FUNCTION extern CdpPhoneToE164 cdp_phone_to_e164;

/* cdp_phone: is it a region whose numbers are known, such as DE? 1 or 0. */
typedef int CdpPhoneIsRegion(const char *region);
CDP_MODULE_FUNCTION extern CdpPhoneIsRegion cdp_phone_is_region;

/* cdp_domain: an internationalised domain in ASCII; its length, or -1. */
typedef int CdpDomainToAscii(const char *text, int length, char *out);
CDP_MODULE_FUNCTION extern CdpDomainToAscii cdp_domain_to_ascii;

#ifdef __cplusplus
}
#endif

#endif
