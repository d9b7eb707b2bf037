/*
 * read.c
 *		A profile as one document.
 */
#include "postgres.h"

#include "profile/profile.h"

PG_FUNCTION_INFO_V1(cdp_profile_by_identifier);
PG_FUNCTION_INFO_V1(cdp_profile_by_id);

#define DOCUMENT                                                                                                       \
	"SELECT jsonb_build_object('profile_id', p.profile_id, 'entity', p.entity, "                                      \
	"'traits', coalesce(cdp.to_jsonb(p.traits), '{}'), 'consents', coalesce(cdp.to_jsonb(p.consents), '{}'), "        \
	"'identifiers', (SELECT jsonb_agg(x.namespace || ':' || x.value ORDER BY x.namespace, x.value) "                  \
	"FROM cdp.identity x WHERE x.profile_id = p.profile_id), "                                                        \
	"'segments', (SELECT coalesce(jsonb_agg(m.segment ORDER BY m.segment), '[]') FROM cdp.membership m "              \
	"WHERE m.profile_id = p.profile_id), "                                                                            \
	"'first_seen_at', p.first_seen_at, 'last_seen_at', p.last_seen_at, 'event_count', p.event_count) "

CDP_QUERY(by_identifier,
		  DOCUMENT "FROM cdp.identity i JOIN cdp.profile p ON p.profile_id = i.profile_id "
				   "WHERE i.namespace = $1 AND i.value = $2",
		  "text,text");
CDP_QUERY(by_id,
		  DOCUMENT "FROM cdp.profile r JOIN cdp.profile p ON p.profile_id = coalesce(r.merged_into, r.profile_id) "
				   "WHERE r.profile_id = $1",
		  "int8");

/* Run one of the queries; the document, or null. */
static Datum
read_document(FunctionCallInfo fcinfo, CdpQuery *query, Datum *arguments, MemoryContext caller)
{
	Datum document = (Datum) 0;
	bool isnull = true;

	if (cdp_run(query, arguments, NULL) > 0)
	{
		document = cdp_result_datum(0, 1, &isnull);
		if (!isnull)
		{
			MemoryContext old = MemoryContextSwitchTo(caller);

			document = PointerGetDatum(PG_DETOAST_DATUM_COPY(document));
			MemoryContextSwitchTo(old);
		}
	}
	SPI_finish();
	fcinfo->isnull = isnull;
	return document;
}

Datum
cdp_profile_by_identifier(PG_FUNCTION_ARGS)
{
	CdpIdentifier *id = PG_GETARG_IDENTIFIER_P(0);
	MemoryContext caller = CurrentMemoryContext;
	Datum key[2];

	cdp_require_init();
	SPI_connect();
	if (!cdp_identity_key(id, key))
	{
		SPI_finish();
		PG_RETURN_NULL();
	}
	return read_document(fcinfo, &by_identifier, key, caller);
}

Datum
cdp_profile_by_id(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	Datum arguments[1] = {PG_GETARG_DATUM(0)};

	cdp_require_init();
	SPI_connect();
	return read_document(fcinfo, &by_id, arguments, caller);
}
