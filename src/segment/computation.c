/*
 * computation.c
 *		The definitions of computed traits, and cdp.compute() on any timeline.
 */
#include "postgres.h"

#include "funcapi.h"
#include "segment/computation.h"
#include "segment/window.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(cdp_read_computation);
PG_FUNCTION_INFO_V1(cdp_compute_timeline);

/* A text as a word */
static CdpWord
make_word(const char *text)
{
	return (CdpWord){.text = text, .length = text == NULL ? 0 : strlen(text)};
}

/* Read a definition; raises the error of what is none */
CdpComputation
cdp_computation_read(const char *text, int length)
{
	CdpPredicateError error = {.subject = "computed trait"};
	CdpComputation computation = {0};
	CdpNode *node = NULL;
	int printed = length;

	if (length <= CDP_COMPUTATION_MAX_BYTES)
		node = cdp_computation_parse_text(text, length, &error);
	if (node != NULL)
		computation.text = cdp_predicate_print(node, CDP_PRINT_TEXT, &printed);
	if (printed > CDP_COMPUTATION_MAX_BYTES)
		cdp_predicate_fail(&error, -1, ERRCODE_PROGRAM_LIMIT_EXCEEDED, "Use shorter names.",
						   "computed trait is longer than %d bytes", CDP_COMPUTATION_MAX_BYTES);
	if (error.sqlstate != 0)
		cdp_predicate_report(&error, text, length, NULL);
	computation.aggregate = node->aggregate;
	computation.event = make_word(node->name);
	computation.property = make_word(node->property);
	computation.window = node->window.kind;
	cdp_window_bounds(&node->window, &computation.near, &computation.far);
	return computation;
}

/* cdp.read_computation(definition) */
Datum
cdp_read_computation(PG_FUNCTION_ARGS)
{
	text *definition = PG_GETARG_TEXT_PP(0);
	CdpComputation computation = cdp_computation_read(text_to_cstring(definition), VARSIZE_ANY_EXHDR(definition));
	TupleDesc descriptor;
	Datum values[3] = {CStringGetTextDatum(computation.text), CStringGetTextDatum(computation.event.text)};
	bool nulls[3] = {false, false, computation.property.text == NULL};

	if (!nulls[2])
		values[2] = CStringGetTextDatum(computation.property.text);
	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor), values, nulls)));
}

/* A definition as it was read, kept for the next call: it is mostly the same */
typedef struct KeptComputation
{
	text *definition;
	CdpComputation computation;
	MemoryContext context;
} KeptComputation;

/* The first argument as a computation */
static const CdpComputation *
get_computation(FunctionCallInfo fcinfo)
{
	KeptComputation *kept = fcinfo->flinfo->fn_extra;
	text *definition = PG_GETARG_TEXT_PP(0);
	int length = VARSIZE_ANY_EXHDR(definition);
	MemoryContext context;
	MemoryContext caller;

	if (kept != NULL && VARSIZE_ANY_EXHDR(kept->definition) == length &&
		memcmp(VARDATA_ANY(kept->definition), VARDATA_ANY(definition), length) == 0)
		return &kept->computation;
	context = AllocSetContextCreate(fcinfo->flinfo->fn_mcxt, "cdp computation", ALLOCSET_SMALL_SIZES);
	caller = MemoryContextSwitchTo(context);
	kept = palloc0(sizeof(KeptComputation));
	kept->context = context;
	kept->definition = cstring_to_text_with_len(VARDATA_ANY(definition), length);
	kept->computation = cdp_computation_read(text_to_cstring(definition), length);
	MemoryContextSwitchTo(caller);
	if (fcinfo->flinfo->fn_extra != NULL)
		MemoryContextDelete(((KeptComputation *) fcinfo->flinfo->fn_extra)->context);
	fcinfo->flinfo->fn_extra = kept;
	return &kept->computation;
}

/* cdp.compute(definition, timeline, at) */
Datum
cdp_compute_timeline(PG_FUNCTION_ARGS)
{
	const CdpComputation *computation;
	CdpFacts facts = {0};
	TimestampTz now;
	TimestampTz changes_at;
	TupleDesc descriptor;
	Jsonb *value;
	Datum values[2];
	bool nulls[2] = {false, false};

	if (PG_ARGISNULL(0) || PG_ARGISNULL(2))
		PG_RETURN_NULL();
	now = PG_GETARG_TIMESTAMPTZ(2);
	if (TIMESTAMP_NOT_FINITE(now))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("instant must be finite")));
	computation = get_computation(fcinfo);
	if (!PG_ARGISNULL(1))
		cdp_facts_gather(&facts, computation, 1, PG_GETARG_VARLENA_PP(1));
	cdp_facts_finish(&facts);
	value = cdp_compute(computation, &facts, now, &changes_at);
	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	nulls[0] = value == NULL;
	values[0] = nulls[0] ? (Datum) 0 : JsonbPGetDatum(value);
	values[1] = TimestampTzGetDatum(changes_at);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor), values, nulls)));
}
