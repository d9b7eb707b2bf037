/*
 * timeline.c
 *		The type cdp.timeline: a packed set of events.
 *
 * Aggregates gather into a builder that lives as long as the group: an expanded object, which PostgreSQL
 *passes from row to row as it is and asks for its packed form when one is needed.
 */
#include "postgres.h"

#include "common/int.h"
#include "funcapi.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "profile/profile.h"
#include "profile/timeline_text.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/expandeddatum.h"
#include "utils/memutils.h"
#include "catalog/pg_type.h"

PG_FUNCTION_INFO_V1(cdp_timeline_in);
PG_FUNCTION_INFO_V1(cdp_timeline_out);
PG_FUNCTION_INFO_V1(cdp_timeline_recv);
PG_FUNCTION_INFO_V1(cdp_timeline_send);
PG_FUNCTION_INFO_V1(cdp_timeline_of);
PG_FUNCTION_INFO_V1(cdp_timeline_put);
PG_FUNCTION_INFO_V1(cdp_timeline_merge);
PG_FUNCTION_INFO_V1(cdp_timeline_sum);
PG_FUNCTION_INFO_V1(cdp_timeline_between);
PG_FUNCTION_INFO_V1(cdp_timeline_events_of);
PG_FUNCTION_INFO_V1(cdp_timeline_count);
PG_FUNCTION_INFO_V1(cdp_timeline_first_at);
PG_FUNCTION_INFO_V1(cdp_timeline_last_at);
PG_FUNCTION_INFO_V1(cdp_timeline_eq);
PG_FUNCTION_INFO_V1(cdp_timeline_ne);
PG_FUNCTION_INFO_V1(cdp_timeline_hash);
PG_FUNCTION_INFO_V1(cdp_timeline_hash_extended);
PG_FUNCTION_INFO_V1(cdp_timeline_funnel_depth);

#define GET_TIMELINE(n) PG_GETARG_VARLENA_PP(n)

/* --- reading and packing ------------------------------------------------------------------- */

void
cdp_timeline_raise_malformed(void)
{
	ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("invalid data in a value of type cdp.timeline"),
					errhint("It was not written by this version of cdp, or the storage is damaged.")));
}

static void
open_reader(CdpTimelineReader *reader, const struct varlena *timeline)
{
	if (!cdp_timeline_open(reader, VARDATA_ANY(timeline), VARSIZE_ANY_EXHDR(timeline)))
		cdp_timeline_raise_malformed();
}

/* To be called when the reader came to its end. */
static void
close_reader(const CdpTimelineReader *reader)
{
	if (reader->is_malformed)
		cdp_timeline_raise_malformed();
}

/* Add the events of since <= t < until. */
static void
add_part(CdpTimelineBuilder *builder, const struct varlena *timeline, TimestampTz since, TimestampTz until)
{
	CdpTimelineReader reader;

	open_reader(&reader, timeline);
	if (!cdp_timeline_add_all(builder, &reader, since, until))
		cdp_timeline_raise_malformed();
}

static void
add_timeline(CdpTimelineBuilder *builder, const struct varlena *timeline)
{
	add_part(builder, timeline, DT_NOBEGIN, DT_NOEND);
}

void
cdp_timeline_add_stored(CdpTimelineBuilder *builder, Datum timeline)
{
	add_timeline(builder, (struct varlena *) PG_DETOAST_DATUM_PACKED(timeline));
}

/* --- a timeline that grows ------------------------------------------------------------------- */

typedef struct ExpandedTimeline
{
	ExpandedObjectHeader header;
	CdpTimelineRuns runs; /* where there are any, the builder is empty */
	CdpTimelineBuilder builder;
	CdpTimelineSet set;
	struct varlena *packed; /* NULL: something was added since */
} ExpandedTimeline;

static Size
get_flat_size(ExpandedObjectHeader *header)
{
	ExpandedTimeline *timeline = (ExpandedTimeline *) header;

	if (timeline->packed == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(header->eoh_context);

		timeline->packed = timeline->runs.n > 0 ? cdp_timeline_splice(&timeline->runs)
												: cdp_timeline_pack(&timeline->builder, timeline->set);
		MemoryContextSwitchTo(old);
	}
	return VARSIZE(timeline->packed);
}

static void
flatten_into(ExpandedObjectHeader *header, void *result, Size size)
{
	memcpy(result, ((ExpandedTimeline *) header)->packed, size);
}

static const ExpandedObjectMethods methods = {get_flat_size, flatten_into};

/* Where an aggregate's growing timelines are. */
typedef struct Nursery
{
	MemoryContext parent;
	MemoryContext context; /* NULL: it went with its parent's contents */
	MemoryContextCallback forget;
	struct Nursery *next;
} Nursery;

static void
forget_context(void *nursery)
{
	((Nursery *) nursery)->context = NULL;
}

/*
 * The context in an aggregate's own one that all its groups share.  Each could have its own; but hash
 * aggregation adds up the sizes of all contexts there are, again with each new group.
 */
static MemoryContext
get_nursery(FunctionCallInfo fcinfo, MemoryContext parent)
{
	Nursery *nursery = fcinfo->flinfo->fn_extra;

	while (nursery != NULL && nursery->parent != parent)
		nursery = nursery->next;
	if (nursery == NULL)
	{
		nursery = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(Nursery));
		nursery->parent = parent;
		nursery->forget.func = forget_context;
		nursery->forget.arg = nursery;
		nursery->next = fcinfo->flinfo->fn_extra;
		fcinfo->flinfo->fn_extra = nursery;
	}
	if (nursery->context == NULL)
	{
		nursery->context = AllocSetContextCreate(parent, "growing timelines", ALLOCSET_START_SMALL_SIZES);
		MemoryContextRegisterResetCallback(nursery->context, &nursery->forget);
	}
	return nursery->context;
}

/* Add another timeline, behind the others if it can stand there. */
static void
add_to_growing(ExpandedTimeline *timeline, const struct varlena *other)
{
	if (timeline->builder.n == 0 && cdp_timeline_run_on(&timeline->runs, timeline->header.eoh_context, other))
		return;
	cdp_timeline_settle(&timeline->builder, &timeline->runs);
	add_timeline(&timeline->builder, other);
}

/* A growing timeline of what there is so far, which may be nothing. */
static ExpandedTimeline *
expand(MemoryContext context, CdpTimelineSet set, Datum so_far, bool is_null)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	ExpandedTimeline *timeline = palloc(sizeof(ExpandedTimeline));

	EOH_init_header(&timeline->header, &methods, context);
	timeline->set = set;
	timeline->packed = NULL;
	timeline->runs = (CdpTimelineRuns){NULL};
	cdp_timeline_begin(&timeline->builder);
	MemoryContextSwitchTo(old);
	if (!is_null)
		add_to_growing(timeline, (struct varlena *) PG_DETOAST_DATUM_PACKED(so_far));
	return timeline;
}

/* The first argument of an aggregate's step as a growing timeline: as it came from the last step, or a new
 * one. */
static ExpandedTimeline *
get_growing(FunctionCallInfo fcinfo, MemoryContext aggregate, CdpTimelineSet set)
{
	Datum so_far = PG_GETARG_DATUM(0);
	ExpandedTimeline *timeline;

	if (!PG_ARGISNULL(0) && VARATT_IS_EXTERNAL_EXPANDED_RW(DatumGetPointer(so_far)))
	{
		timeline = (ExpandedTimeline *) DatumGetEOHP(so_far);
		if (timeline->header.eoh_methods == &methods && timeline->set == set)
		{
			if (timeline->packed != NULL)
				pfree(timeline->packed);
			timeline->packed = NULL;
			return timeline;
		}
	}
	return expand(get_nursery(fcinfo, aggregate), set, so_far, PG_ARGISNULL(0));
}

/* --- the type ------------------------------------------------------------------------------- */

Datum
cdp_timeline_in(PG_FUNCTION_ARGS)
{
	const char *text = PG_GETARG_CSTRING(0);
	CdpTimelineBuilder builder;

	cdp_timeline_begin(&builder);
	if (!cdp_timeline_in_text(&builder, text, strlen(text)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION), errmsg("invalid input for type cdp.timeline"),
				 errhint("It is a JSON array such as [{\"at\": \"2026-01-31T09:00:00Z\", \"name\": \"Order "
						 "Completed\", "
						 "\"properties\": {\"revenue\": 9.90}}].")));
	PG_RETURN_POINTER(cdp_timeline_pack(&builder, CDP_TIMELINE_SUM));
}

Datum
cdp_timeline_out(PG_FUNCTION_ARGS)
{
	CdpTimelineReader reader;
	char *text;

	open_reader(&reader, GET_TIMELINE(0));
	text = cdp_timeline_out_text(&reader);
	close_reader(&reader);
	PG_RETURN_CSTRING(text);
}

/* The binary form is the packed one.  It is taken apart and packed again, so that what is stored is ours. */
Datum
cdp_timeline_recv(PG_FUNCTION_ARGS)
{
	StringInfo in = (StringInfo) PG_GETARG_POINTER(0);
	int size = in->len - in->cursor;
	const char *data = pq_getmsgbytes(in, size);
	CdpTimelineReader reader;
	CdpTimelineBuilder builder;
	bool ok = cdp_timeline_open(&reader, data, size);

	for (uint32 i = 0; ok && i < reader.n_words; i++)
		ok = pg_verify_mbstr(GetDatabaseEncoding(), reader.words[i].text, reader.words[i].length, true);
	if (ok)
	{
		cdp_timeline_begin(&builder);
		ok = cdp_timeline_add_all(&builder, &reader, DT_NOBEGIN, DT_NOEND);
	}
	if (!ok)
		ereport(ERROR, (errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
						errmsg("invalid binary input for type cdp.timeline"),
						errhint("It is what cdp.timeline_send() gives.")));
	PG_RETURN_POINTER(cdp_timeline_pack(&builder, CDP_TIMELINE_UNION));
}

Datum
cdp_timeline_send(PG_FUNCTION_ARGS)
{
	struct varlena *timeline = GET_TIMELINE(0);
	StringInfoData out;

	pq_begintypsend(&out);
	pq_sendbytes(&out, VARDATA_ANY(timeline), VARSIZE_ANY_EXHDR(timeline));
	PG_RETURN_BYTEA_P(pq_endtypsend(&out));
}

/* There is one packed form of a set of events. */
static bool
are_equal(FunctionCallInfo fcinfo)
{
	struct varlena *a = GET_TIMELINE(0);
	struct varlena *b = GET_TIMELINE(1);

	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		   memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

Datum
cdp_timeline_eq(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(are_equal(fcinfo));
}

Datum
cdp_timeline_ne(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(!are_equal(fcinfo));
}

static uint64
hash(const struct varlena *timeline, uint64 seed)
{
	return cdp_hash64(VARDATA_ANY(timeline), VARSIZE_ANY_EXHDR(timeline), seed);
}

Datum
cdp_timeline_hash(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32((int32) hash(GET_TIMELINE(0), 0));
}

Datum
cdp_timeline_hash_extended(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64((int64) hash(GET_TIMELINE(0), (uint64) PG_GETARG_INT64(1)));
}

/* --- making timelines ------------------------------------------------------------------------ */

/* Add the event that the arguments from a first one on give: name, instant, and where there are such
 * properties and message id. */
static void
add_event(CdpTimelineBuilder *builder, FunctionCallInfo fcinfo, int first)
{
	text *name = PG_GETARG_TEXT_PP(first);
	TimestampTz at = PG_GETARG_TIMESTAMPTZ(first + 1);
	CdpNamedValue *properties = NULL;
	int n_properties = 0;
	uint32 key = 0;

	if (!cdp_is_plausible_time(at))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("instant of an event is out of range"),
				 errhint("Give one in the years 0001 to 9999.")));
	if (PG_NARGS() > first + 2 && !PG_ARGISNULL(first + 2))
		n_properties = cdp_timeline_properties(PG_GETARG_JSONB_P(first + 2), &properties);
	if (n_properties < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("properties are not a JSON object"),
						errhint("Give an object such as {\"revenue\": 9.90}.")));
	if (PG_NARGS() > first + 3 && !PG_ARGISNULL(first + 3))
	{
		text *message_id = PG_GETARG_TEXT_PP(first + 3);

		key = cdp_timeline_key(VARDATA_ANY(message_id), VARSIZE_ANY_EXHDR(message_id));
	}
	cdp_timeline_add(builder, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name), at, key, properties, n_properties);
}

/* cdp.timeline(name, at, properties, message_id) */
Datum
cdp_timeline_of(PG_FUNCTION_ARGS)
{
	CdpTimelineBuilder builder;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	cdp_timeline_begin(&builder);
	add_event(&builder, fcinfo, 0);
	PG_RETURN_POINTER(cdp_timeline_pack(&builder, CDP_TIMELINE_SUM));
}

/* The step of cdp.timeline_agg(): another event. */
Datum
cdp_timeline_put(PG_FUNCTION_ARGS)
{
	CdpTimelineBuilder builder;
	MemoryContext aggregate;

	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}
	if (AggCheckCallContext(fcinfo, &aggregate))
	{
		ExpandedTimeline *timeline = get_growing(fcinfo, aggregate, CDP_TIMELINE_SUM);

		cdp_timeline_settle(&timeline->builder, &timeline->runs);
		add_event(&timeline->builder, fcinfo, 1);
		PG_RETURN_DATUM(EOHPGetRWDatum(&timeline->header));
	}
	cdp_timeline_begin(&builder);
	if (!PG_ARGISNULL(0))
		add_timeline(&builder, GET_TIMELINE(0));
	add_event(&builder, fcinfo, 1);
	PG_RETURN_POINTER(cdp_timeline_pack(&builder, CDP_TIMELINE_SUM));
}

/* Two timelines as one; as an aggregate's step the first one grows. */
static Datum
join(FunctionCallInfo fcinfo, CdpTimelineSet set)
{
	struct varlena *other = GET_TIMELINE(1);
	CdpTimelineBuilder builder;
	MemoryContext aggregate;

	if (AggCheckCallContext(fcinfo, &aggregate))
	{
		ExpandedTimeline *timeline = get_growing(fcinfo, aggregate, set);

		add_to_growing(timeline, other);
		PG_RETURN_DATUM(EOHPGetRWDatum(&timeline->header));
	}
	cdp_timeline_begin(&builder);
	add_timeline(&builder, GET_TIMELINE(0));
	add_timeline(&builder, other);
	PG_RETURN_POINTER(cdp_timeline_pack(&builder, set));
}

Datum
cdp_timeline_merge(PG_FUNCTION_ARGS)
{
	return join(fcinfo, CDP_TIMELINE_UNION);
}

Datum
cdp_timeline_sum(PG_FUNCTION_ARGS)
{
	return join(fcinfo, CDP_TIMELINE_SUM);
}

/* --- asking ---------------------------------------------------------------------------------- */

/* An instant that an argument gives, or else one beyond all. */
static TimestampTz
get_bound(FunctionCallInfo fcinfo, int argument, TimestampTz otherwise)
{
	return PG_ARGISNULL(argument) ? otherwise : PG_GETARG_TIMESTAMPTZ(argument);
}

/* cdp.between(timeline, since, until) */
Datum
cdp_timeline_between(PG_FUNCTION_ARGS)
{
	CdpTimelineBuilder builder;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	cdp_timeline_begin(&builder);
	add_part(&builder, GET_TIMELINE(0), get_bound(fcinfo, 1, DT_NOBEGIN), get_bound(fcinfo, 2, DT_NOEND));
	PG_RETURN_POINTER(cdp_timeline_pack(&builder, CDP_TIMELINE_UNION));
}

/* What is to be known of events of a name, or of all, in since <= t < until. */
typedef struct Tally
{
	int64 count;
	TimestampTz first_at;
	TimestampTz last_at;
} Tally;

/* Tally for timeline, name, since, until; all but the first may be null. */
static Tally
tally(FunctionCallInfo fcinfo)
{
	TimestampTz since = get_bound(fcinfo, 2, DT_NOBEGIN);
	TimestampTz until = get_bound(fcinfo, 3, DT_NOEND);
	Tally result = {0};
	int64 word = -1;
	TimestampTz at[CDP_TIMELINE_MANY];
	uint32 kinds[CDP_TIMELINE_MANY];
	int n;
	CdpTimelineReader reader;

	open_reader(&reader, GET_TIMELINE(0));
	if (!PG_ARGISNULL(1))
	{
		text *name = PG_GETARG_TEXT_PP(1);

		word = cdp_timeline_find_word(&reader, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
		if (word < 0)
			return result;
	}
	while ((n = cdp_timeline_next_many(&reader, at, kinds, CDP_TIMELINE_MANY)) > 0 && at[0] < until)
	{
		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < n; i++)
		{
			if (at[i] < since || at[i] >= until || (word >= 0 && reader.kinds[kinds[i]].name != word))
				continue;
			if (result.count++ == 0)
				result.first_at = at[i];
			result.last_at = at[i];
		}
	}
	close_reader(&reader);
	return result;
}

Datum
cdp_timeline_count(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	if (PG_ARGISNULL(1) && PG_ARGISNULL(2) && PG_ARGISNULL(3))
	{
		CdpTimelineReader reader;

		open_reader(&reader, GET_TIMELINE(0));
		PG_RETURN_INT64(reader.count);
	}
	PG_RETURN_INT64(tally(fcinfo).count);
}

Datum
cdp_timeline_first_at(PG_FUNCTION_ARGS)
{
	Tally result = {0};

	if (!PG_ARGISNULL(0))
		result = tally(fcinfo);
	if (result.count == 0)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(result.first_at);
}

Datum
cdp_timeline_last_at(PG_FUNCTION_ARGS)
{
	Tally result = {0};

	if (!PG_ARGISNULL(0))
		result = tally(fcinfo);
	if (result.count == 0)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(result.last_at);
}

static void
push_string(JsonbParseState **state, JsonbIteratorToken token, const CdpWord *word)
{
	JsonbValue value;

	value.type = jbvString;
	value.val.string.val = unconstify(char *, word->text);
	value.val.string.len = word->length;
	pushJsonbValue(state, token, &value);
}

static void
push_number(JsonbParseState **state, const CdpPropertyValue *number)
{
	char digits[CDP_DECIMAL_BYTES];
	JsonbValue value;

	cdp_decimal_format(number, digits);
	value.type = jbvNumeric;
	value.val.numeric = DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(digits),
															ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	pushJsonbValue(state, WJB_VALUE, &value);
}

/* The properties of the event that the reader stands at; it has some. */
static Jsonb *
properties_of(const CdpTimelineReader *reader)
{
	const CdpEventKind *kind = &reader->kinds[reader->kind];
	JsonbParseState *state = NULL;
	JsonbValue boolean = {.type = jbvBool};

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (uint32 i = 0; i < kind->n_properties; i++)
	{
		uint32 type = kind->properties[i].type;

		push_string(&state, WJB_KEY, &reader->words[kind->properties[i].name]);
		if (type == CDP_PROPERTY_NUMBER)
			push_number(&state, &reader->values[i]);
		else if (type == CDP_PROPERTY_STRING)
			push_string(&state, WJB_VALUE, &reader->words[reader->values[i].digits]);
		else
		{
			boolean.val.boolean = type == CDP_PROPERTY_TRUE;
			pushJsonbValue(&state, WJB_VALUE, &boolean);
		}
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* cdp.events_of(timeline) */
Datum
cdp_timeline_events_of(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext row_context =
		AllocSetContextCreate(CurrentMemoryContext, "event of a timeline", ALLOCSET_DEFAULT_SIZES);
	CdpTimelineReader reader;

	InitMaterializedSRF(fcinfo, 0);
	open_reader(&reader, GET_TIMELINE(0));
	while (cdp_timeline_next(&reader))
	{
		const CdpEventKind *kind = &reader.kinds[reader.kind];
		const CdpWord *name = &reader.words[kind->name];
		MemoryContext old = MemoryContextSwitchTo(row_context);
		bool nulls[3] = {false, false, kind->n_properties == 0};
		Datum values[3];

		CHECK_FOR_INTERRUPTS();
		values[0] = PointerGetDatum(cstring_to_text_with_len(name->text, name->length));
		values[1] = TimestampTzGetDatum(reader.at);
		values[2] = nulls[2] ? (Datum) 0 : JsonbPGetDatum(properties_of(&reader));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		MemoryContextSwitchTo(old);
		MemoryContextReset(row_context);
	}
	close_reader(&reader);
	MemoryContextDelete(row_context);
	return (Datum) 0;
}

/* --- funnels --------------------------------------------------------------------------------- */

/* A funnel as it was read of two arguments, kept for the next call: they are mostly the same. */
typedef struct KeptFunnel
{
	ArrayType *steps;
	Interval within;
	CdpFunnel funnel; /* points into steps */
} KeptFunnel;

/* The length of an interval that has one. */
static int64
get_within(const Interval *within)
{
	int64 length;

	if (within->month != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("months and years have no fixed length"),
				 errhint("Say days, for example '30 days' for a month or '365 days' for a year.")));
	if (pg_mul_s64_overflow(within->day, USECS_PER_DAY, &length) ||
		pg_add_s64_overflow(length, within->time, &length))
		length = PG_INT64_MAX;
	if (length < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("a funnel's interval is negative")));
	return Min(length, CDP_END_INSTANT - CDP_FIRST_INSTANT);
}

static KeptFunnel *
read_funnel(MemoryContext context, ArrayType *steps, const Interval *within)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	KeptFunnel *kept = palloc0(sizeof(KeptFunnel));
	Datum *names;
	bool *nulls;
	int n;

	kept->steps = (ArrayType *) PG_DETOAST_DATUM_COPY(PointerGetDatum(steps));
	kept->within = *within;
	kept->funnel.within = get_within(within);
	deconstruct_array(kept->steps, TEXTOID, -1, false, TYPALIGN_INT, &names, &nulls, &n);
	if (n < 1 || n > CDP_FUNNEL_MAX_STEPS)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a funnel has 1 to %d steps", CDP_FUNNEL_MAX_STEPS)));
	kept->funnel.n_steps = n;
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("a step of a funnel is null")));
		kept->funnel.steps[i].text = VARDATA_ANY(names[i]);
		kept->funnel.steps[i].length = VARSIZE_ANY_EXHDR(names[i]);
	}
	cdp_funnel_prepare(&kept->funnel);
	MemoryContextSwitchTo(old);
	return kept;
}

static const CdpFunnel *
get_funnel(FunctionCallInfo fcinfo, ArrayType *steps, const Interval *within)
{
	KeptFunnel *kept = fcinfo->flinfo->fn_extra;

	if (kept == NULL || VARSIZE(kept->steps) != VARSIZE(steps) ||
		memcmp(kept->steps, steps, VARSIZE(steps)) != 0 || kept->within.time != within->time ||
		kept->within.day != within->day || kept->within.month != within->month)
	{
		KeptFunnel *new = read_funnel(fcinfo->flinfo->fn_mcxt, steps, within);

		if (kept != NULL)
		{
			pfree(kept->steps);
			pfree(kept);
		}
		fcinfo->flinfo->fn_extra = kept = new;
	}
	return &kept->funnel;
}

/* cdp.funnel_depth(timeline, steps, within) */
Datum
cdp_timeline_funnel_depth(PG_FUNCTION_ARGS)
{
	const CdpFunnel *funnel = get_funnel(fcinfo, PG_GETARG_ARRAYTYPE_P(1), PG_GETARG_INTERVAL_P(2));
	CdpTimelineReader reader;
	int depth;

	open_reader(&reader, GET_TIMELINE(0));
	depth = cdp_funnel_depth(&reader, funnel);
	close_reader(&reader);
	PG_RETURN_INT32(depth);
}
