/*
 * functions.c
 *		The few SQL functions of base.
 */
#include "postgres.h"

#include "base/base.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(cdp_version);
PG_FUNCTION_INFO_V1(cdp_clock_now);
PG_FUNCTION_INFO_V1(cdp_parse_json);

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
