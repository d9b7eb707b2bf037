/*
 * module.c
 *		Opening the modules beside cdp.so, and a memory of the phone numbers read lately.
 *
 * Reading a phone number takes 10 to 30 microseconds, and a batch says the same ones again and again.  To open the
 * module of phone numbers takes 10 milliseconds; a server that preloads cdp has done it for all its sessions.
 */
#include "postgres.h"

#include "identifier/identifier.h"
#include "identifier/module.h"
#include "common/hashfn.h"
#include "miscadmin.h"
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

static CdpPhoneToE164 *phone_to_e164 = NULL;
static CdpPhoneIsRegion *phone_is_region = NULL;
static CdpDomainToAscii *domain_to_ascii = NULL;

static void
open_phone(void)
{
	if (phone_is_region != NULL)
		return;
	phone_to_e164 = load("cdp_phone", "cdp_phone_to_e164", "libphonenumber");
	phone_is_region = load("cdp_phone", "cdp_phone_is_region", "libphonenumber");
}

static void
open_domain(void)
{
	if (domain_to_ascii == NULL)
		domain_to_ascii = load("cdp_domain", "cdp_domain_to_ascii", "libidn2");
}

/* Open a module for all sessions to come; one that is not there is missed by whoever needs it. */
static void
preload(void (*open)(void))
{
	MemoryContext caller = CurrentMemoryContext;

	PG_TRY();
	{
		open();
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(TopMemoryContext);
		error = CopyErrorData();
		FlushErrorState();
		ereport(LOG, (errmsg("%s", error->message), errdetail_internal("%s", error->detail), errhint("%s", error->hint)));
		FreeErrorData(error);
		MemoryContextSwitchTo(caller);
	}
	PG_END_TRY();
}

void
cdp_identifier_init(void)
{
	char number[CDP_MAX_E164_BYTES];

	if (!process_shared_preload_libraries_in_progress)
		return;
	preload(open_phone);
	preload(open_domain);
	if (phone_to_e164 != NULL)
		phone_to_e164("+1 201 555 0123", 15, "", number); /* it reads its tables, and makes the expressions that all numbers need */
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
	ReadPhone asked = {0};
	ReadPhone *place;

	if (*length > CDP_MAX_PHONE_BYTES)
		return NULL;
	open_phone();
	if (region != NULL)
		memcpy(asked.key, region, 2);
	else
		region = "";
	asked.key_length = *length + 2;
	memcpy(asked.key + 2, text, *length);
	place = &read_phones[hash_bytes((unsigned char *) asked.key, asked.key_length) % lengthof(read_phones)];
	if (place->key_length != asked.key_length || memcmp(place->key, asked.key, asked.key_length) != 0)
	{
		asked.length = phone_to_e164(text, *length, region, asked.e164);
		*place = asked;
	}
	*length = place->length;
	return *length < 0 ? NULL : memcpy(palloc(*length), place->e164, *length);
}

int
cdp_domain_normalize(const char *text, int length, char *out)
{
	open_domain();
	return domain_to_ascii(text, length, out);
}

/* cdp.is_phone_region(text) */
Datum
cdp_is_phone_region(PG_FUNCTION_ARGS)
{
	open_phone();
	PG_RETURN_BOOL(phone_is_region(text_to_cstring(PG_GETARG_TEXT_PP(0))));
}
