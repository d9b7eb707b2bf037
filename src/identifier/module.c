/*
 * module.c
 *		Opening the modules beside cdp.so, and a memory of the phone numbers read lately.
 *
 * Reading a phone number takes 10 to 30 microseconds, and a batch says the same ones again and again.
 */
#include "postgres.h"

#include "identifier/identifier.h"
#include "identifier/module.h"
#include "common/hashfn.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(cdp_is_phone_region);

/* A function of a module, which is opened if it was not yet. */
static void *
load(const char *module, const char *function, const char *library)
{
	MemoryContext caller = CurrentMemoryContext;
	void *loaded = NULL;

	PG_TRY();
	{
		loaded = (void *) load_external_function(module, function, true, NULL);
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FILE), errmsg("could not open the module %s", module),
						errdetail_internal("%s", error->message),
						errhint("It stands beside cdp.so after make install, and needs %s.", library)));
	}
	PG_END_TRY();
	return loaded;
}

/* A phone number as it was written, after the two letters of its region, and what came of it. */
typedef struct ReadPhone
{
	uint8 key_length; /* 0: an unused place */
	int8 length;	  /* -1: no valid number */
	char key[2 + CDP_MAX_PHONE_BYTES];
	char e164[CDP_MAX_E164_BYTES];
} ReadPhone;

static ReadPhone read_phones[4096]; /* each at the place of its hash; the last one stays */

const char *
cdp_phone_normalize(const char *text, int *length, const char *region)
{
	static CdpPhoneToE164 *to_e164 = NULL;
	ReadPhone asked = {0};
	ReadPhone *place;

	if (*length > CDP_MAX_PHONE_BYTES)
		return NULL;
	if (to_e164 == NULL)
		to_e164 = load("cdp_phone", "cdp_phone_to_e164", "libphonenumber");
	if (region != NULL)
		memcpy(asked.key, region, 2);
	else
		region = "";
	asked.key_length = *length + 2;
	memcpy(asked.key + 2, text, *length);
	place = &read_phones[hash_bytes((unsigned char *) asked.key, asked.key_length) % lengthof(read_phones)];
	if (place->key_length != asked.key_length || memcmp(place->key, asked.key, asked.key_length) != 0)
	{
		asked.length = to_e164(text, *length, region, asked.e164);
		*place = asked;
	}
	*length = place->length;
	return *length < 0 ? NULL : memcpy(palloc(*length), place->e164, *length);
}

int
cdp_domain_normalize(const char *text, int length, char *out)
{
	static CdpDomainToAscii *to_ascii = NULL;

	if (to_ascii == NULL)
		to_ascii = load("cdp_domain", "cdp_domain_to_ascii", "libidn2");
	return to_ascii(text, length, out);
}

/* cdp.is_phone_region(text) */
Datum
cdp_is_phone_region(PG_FUNCTION_ARGS)
{
	static CdpPhoneIsRegion *is_region = NULL;

	if (is_region == NULL)
		is_region = load("cdp_phone", "cdp_phone_is_region", "libphonenumber");
	PG_RETURN_BOOL(is_region(text_to_cstring(PG_GETARG_TEXT_PP(0))));
}
