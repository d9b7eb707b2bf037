/*
 * find.c
 *		From an identifier, or an old profile id, to the profile.
 */
#include "postgres.h"

#include "identity/identity.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(cdp_profile_id_of);
PG_FUNCTION_INFO_V1(cdp_profile_id_now);

static CdpLookupKind identity_by_key =
	CDP_LOOKUP("identity", "identity_namespace_value_key", 2, true, "profile_id",
			   "namespace OPERATOR(pg_catalog.=) $1 AND value OPERATOR(pg_catalog.=) $2", "namespace, value", "text,text");

static CdpLookupKind fate_of_profile =
	CDP_LOOKUP("profile", "profile_pkey", 1, false, "merged_into", "profile_id OPERATOR(pg_catalog.=) $1", "profile_id", "int8");

bool
cdp_identity_key(const CdpIdentifier *id, Datum *key)
{
	CdpNamespaces *namespaces = cdp_namespaces_load();
	int ns = cdp_namespace_find(namespaces, id->data, id->namespace_length);
	const char *value;
	int length;

	if (ns < 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("namespace \"%.*s\" does not exist", id->namespace_length, id->data),
						errhint("See the table cdp.namespace, or make it with cdp.create_namespace().")));
	value = cdp_identifier_normalize(&namespaces->items[ns], cdp_identifier_value(id), cdp_identifier_value_length(id),
									 NULL, &length);
	if (value == NULL)
		return false;
	key[0] = CStringGetTextDatum(namespaces->items[ns].name);
	key[1] = PointerGetDatum(cstring_to_text_with_len(value, length));
	return true;
}

int64
cdp_identity_find(const CdpIdentifier *id)
{
	Datum key[2];
	CdpLookup row;
	int64 profile_id = 0;
	bool isnull;

	if (!cdp_identity_key(id, key))
		return 0;
	cdp_lookup_begin(&row, &identity_by_key, key);
	if (cdp_lookup_next(&row))
		profile_id = DatumGetInt64(cdp_lookup_value(&row, 0, &isnull));
	cdp_lookup_end(&row);
	return profile_id;
}

int64
cdp_identity_follow(int64 profile_id)
{
	Datum key[1] = {Int64GetDatum(profile_id)};
	CdpLookup row;
	int64 live = 0;

	cdp_lookup_begin(&row, &fate_of_profile, key);
	if (cdp_lookup_next(&row))
	{
		bool isnull;
		Datum into = cdp_lookup_value(&row, 0, &isnull);

		live = isnull ? profile_id : DatumGetInt64(into); /* one step: what was merged away leads to who lives */
	}
	cdp_lookup_end(&row);
	return live;
}

/* cdp.profile_id(identifier) */
Datum
cdp_profile_id_of(PG_FUNCTION_ARGS)
{
	int64 profile_id = cdp_identity_find(PG_GETARG_IDENTIFIER_P(0));

	if (profile_id == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(profile_id);
}

/* cdp.profile_id(profile_id) */
Datum
cdp_profile_id_now(PG_FUNCTION_ARGS)
{
	int64 profile_id = cdp_identity_follow(PG_GETARG_INT64(0));

	if (profile_id == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(profile_id);
}
