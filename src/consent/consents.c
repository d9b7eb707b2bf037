/*
 * consents.c
 *		The type cdp.consent_state: category -> granted or refused, with time.
 *
 * The latest word counts; of two said at the same instant the refusal.
 */
#include "postgres.h"

#include "consent/consent.h"
#include "consent/consents.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(cdp_consent_state_in);
PG_FUNCTION_INFO_V1(cdp_consent_state_recv);
PG_FUNCTION_INFO_V1(cdp_consent_state_merge);
PG_FUNCTION_INFO_V1(cdp_granted);
PG_FUNCTION_INFO_V1(cdp_allows);

/* Only booleans stand in a consent state. */
static CdpStamped *
check(CdpStamped *map)
{
	for (int i = 0; i < cdp_stamped_count(map); i++)
	{
		CdpStampedEntry entry = cdp_stamped_entry(map, i);
		JsonbValue value;

		if (entry.rule != CDP_STAMPED_LATEST ||
			!JsonbExtractScalar(unconstify(JsonbContainer *, &entry.value->root), &value) || value.type != jbvBool)
			ereport(ERROR, (errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
							errmsg("invalid input for type cdp.consent_state"),
							errdetail("A consent is true or false, and the latest word counts.")));
	}
	return map;
}

Datum
cdp_consent_state_in(PG_FUNCTION_ARGS)
{
	const char *text = PG_GETARG_CSTRING(0);

	PG_RETURN_POINTER(check(cdp_stamped_in(text, strlen(text), "cdp.consent_state", cdp_stamped_tie_refusal)));
}

Datum
cdp_consent_state_recv(PG_FUNCTION_ARGS)
{
	StringInfo in = (StringInfo) PG_GETARG_POINTER(0);

	PG_RETURN_POINTER(check(cdp_stamped_recv(in, "cdp.consent_state", cdp_stamped_tie_refusal)));
}

Datum
cdp_consent_state_merge(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(cdp_stamped_merge(PG_GETARG_STAMPED_P(0), PG_GETARG_STAMPED_P(1), cdp_stamped_tie_refusal));
}

/* Is an entry a grant? */
bool
cdp_consent_is_granted(const CdpStampedEntry *entry)
{
	JsonbValue value;

	JsonbExtractScalar(unconstify(JsonbContainer *, &entry->value->root), &value);
	return value.type == jbvBool && value.val.boolean;
}

/* The categories granted, as text[]. */
Datum
cdp_granted(PG_FUNCTION_ARGS)
{
	CdpStamped *map = PG_GETARG_STAMPED_P(0);
	CdpColumn *names = cdp_column(TEXTOID, cdp_stamped_count(map));

	for (int i = 0; i < cdp_stamped_count(map); i++)
	{
		CdpStampedEntry entry = cdp_stamped_entry(map, i);

		if (cdp_consent_is_granted(&entry))
			cdp_column_add_text(names, entry.name, entry.name_length);
	}
	PG_RETURN_DATUM(cdp_column_array(names));
}

/* Is every one of the categories granted? No category: nothing is. Never raises for content: it stands in barriers. */
Datum
cdp_allows(PG_FUNCTION_ARGS)
{
	Datum *names;
	bool *nulls;
	int n;
	CdpStamped *map;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_BOOL(false);
	map = PG_GETARG_STAMPED_P(0);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT, &names, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		CdpStampedEntry entry;
		text *name = nulls[i] ? NULL : DatumGetTextPP(names[i]);

		if (name == NULL || !cdp_stamped_find(map, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name), &entry) ||
			!cdp_consent_is_granted(&entry))
			PG_RETURN_BOOL(false);
	}
	PG_RETURN_BOOL(n > 0);
}
