/*
 * functions.c
 *		The few SQL functions of base.
 */
#include "postgres.h"

#include "base/base.h"
#include "libpq/pqformat.h"
#include "pgstat.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(cdp_version);
PG_FUNCTION_INFO_V1(cdp_clock_now);
PG_FUNCTION_INFO_V1(cdp_parse_json);
PG_FUNCTION_INFO_V1(cdp_require_init_sql);
PG_FUNCTION_INFO_V1(cdp_show_progress_sql);
PG_FUNCTION_INFO_V1(cdp_message_key);
PG_FUNCTION_INFO_V1(cdp_stamped_map_out);
PG_FUNCTION_INFO_V1(cdp_stamped_map_send);
PG_FUNCTION_INFO_V1(cdp_stamped_map_eq);
PG_FUNCTION_INFO_V1(cdp_stamped_map_to_jsonb);

Datum
cdp_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(CDP_VERSION));
}

Datum
cdp_clock_now(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(cdp_now());
}

Datum
cdp_require_init_sql(PG_FUNCTION_ARGS)
{
	cdp_require_init();
	PG_RETURN_VOID();
}

void
cdp_show_progress(const char *what)
{
	const char *query = debug_query_string == NULL ? "" : debug_query_string;

	pgstat_report_activity(STATE_RUNNING, psprintf("/* cdp: %s */ %s", what, query));
}

Datum
cdp_show_progress_sql(PG_FUNCTION_ARGS)
{
	cdp_show_progress(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}

/* cdp.message_key(source, message_id) */
Datum
cdp_message_key(PG_FUNCTION_ARGS)
{
	text *source = PG_GETARG_TEXT_PP(0);
	text *message_id = PG_GETARG_TEXT_PP(1);
	pg_uuid_t *key = palloc(sizeof(pg_uuid_t));

	cdp_hash128(VARDATA_ANY(source), VARSIZE_ANY_EXHDR(source), VARDATA_ANY(message_id), VARSIZE_ANY_EXHDR(message_id), key);
	PG_RETURN_UUID_P(key);
}

Datum
cdp_parse_json(PG_FUNCTION_ARGS)
{
	text *document = PG_GETARG_TEXT_PP(0);
	CdpJson json;
	Jsonb *result;

	if (!cdp_json_parse(VARDATA_ANY(document), VARSIZE_ANY_EXHDR(document), &json))
		PG_RETURN_NULL();
	result = cdp_json_to_jsonb(cdp_json_root(&json));
	if (result == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(result);
}

/* What every type made of a stamped map has in common. */
Datum
cdp_stamped_map_out(PG_FUNCTION_ARGS)
{
	PG_RETURN_CSTRING(cdp_stamped_out(PG_GETARG_STAMPED_P(0)));
}

Datum
cdp_stamped_map_send(PG_FUNCTION_ARGS)
{
	char *text = cdp_stamped_out(PG_GETARG_STAMPED_P(0));
	StringInfoData out;

	pq_begintypsend(&out);
	pq_sendbyte(&out, CDP_STAMPED_VERSION);
	pq_sendtext(&out, text, strlen(text));
	PG_RETURN_BYTEA_P(pq_endtypsend(&out));
}

Datum
cdp_stamped_map_eq(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(cdp_stamped_equal(PG_GETARG_STAMPED_P(0), PG_GETARG_STAMPED_P(1)));
}

Datum
cdp_stamped_map_to_jsonb(PG_FUNCTION_ARGS)
{
	PG_RETURN_JSONB_P(cdp_stamped_to_jsonb(PG_GETARG_STAMPED_P(0)));
}
