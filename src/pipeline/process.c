/*
 * process.c
 *		The corridor: a batch walks through the house once and never turns back.
 *
 * Everything happens in the caller's transaction: messages, people, segments and the
 * outgoing changes become visible together, or none of them does.
 *
 * One batch consumer works at a time (advisory lock); any number of sessions ingest
 * immediately beside it.  Locks are taken in one order by all: message keys sorted,
 * identifiers sorted, profiles sorted; what comes after is guarded by the profiles.
 */
#include "postgres.h"

#include "activation/activation.h"
#include "base/base.h"
#include "consent/consent.h"
#include "event/event.h"
#include "identity/identity.h"
#include "profile/profile.h"
#include "segment/segment.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

PG_FUNCTION_INFO_V1(cdp_process);
PG_FUNCTION_INFO_V1(cdp_ingest);
PG_FUNCTION_INFO_V1(cdp_reconsider);

#define MAX_TRIES 20 /* of a batch that others stand in the way of; each time it is another that got on */
#define MAX_ROWS 1000000 /* of the inbox in one batch; its bytes are bounded too, see CDP_CLAIM_BYTES */

typedef struct Stage
{
	const char *name;
	void (*run)(CdpBatch *batch);
} Stage;

static const Stage stages[] = {
	{"claim", cdp_event_claim},				/* inbox rows, or the caller's message */
	{"parse", cdp_event_parse},				/* payloads to messages, envelopes opened */
	{"transform", cdp_event_transform},		/* a source's own function */
	{"validate", cdp_event_validate},		/* the Segment specification, time, identifiers */
	{"deduplicate", cdp_event_deduplicate}, /* each message id once */
	{"identify", cdp_identity_identify},	/* identifiers found or made */
	{"resolve", cdp_identity_resolve},		/* links; who is who */
	{"anchor", cdp_identity_anchor},		/* whose message it is, also on a shared device */
	{"store", cdp_event_store},				/* the event log */
	{"consent", cdp_consent_collect},		/* what people allow */
	{"timeline", cdp_profile_timeline},		/* what they did */
	{"fold", cdp_profile_fold},				/* what is known of them */
	{"ledger", cdp_consent_record},			/* what they allow now and did not before, or no longer */
	{"evaluate", cdp_segment_evaluate},		/* who enters and leaves which segment */
	{"emit", cdp_activation_emit},			/* the change log */
	{"reject", cdp_event_reject},			/* what could not be taken, and why */
};

CDP_QUERY(lock_consumer, "SELECT pg_advisory_xact_lock(hashtext('cdp.process'), 0)", "");
CDP_QUERY(store_payload, "INSERT INTO cdp.inbox (received_at, source, payload) VALUES ($1, coalesce($2, 'default'), $3)",
		  "timestamptz,text,text");

/* Run a stage and note how long it took. */
static void
run_timed(const Stage *stage, CdpBatch *batch, StringInfo times)
{
	instr_time start, end;

	INSTR_TIME_SET_CURRENT(start);
	stage->run(batch);
	INSTR_TIME_SET_CURRENT(end);
	INSTR_TIME_SUBTRACT(end, start);
	appendStringInfo(times, " %s=%.0f", stage->name, (double) INSTR_TIME_GET_MICROSEC(end));
}

/* Walk a batch through the stages from one on. */
static void
walk(CdpBatch *batch, int first_stage)
{
	StringInfo times = cdp_log_stage_times ? makeStringInfo() : NULL;

	batch->namespaces = cdp_namespaces_load();
	for (int i = first_stage; i < (int) lengthof(stages); i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (batch->cause != NULL)
			cdp_show_progress(psprintf("%s %d identifiers", stages[i].name, batch->n_identifiers));
		if (times != NULL)
			run_timed(&stages[i], batch, times);
		else
			stages[i].run(batch);
	}
	if (times != NULL)
		ereport(LOG, (errmsg("cdp batch: messages=" INT64_FORMAT " microseconds:%s", batch->received, times->data)));
}

/* The number of a stage. */
static int
stage_of(void (*run)(CdpBatch *batch))
{
	int i = 0;

	while (stages[i].run != run)
		i++;
	return i;
}

/* Make an empty batch in a memory context of its own. */
static CdpBatch *
begin_batch(int max)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "cdp pipeline batch", ALLOCSET_DEFAULT_SIZES);
	CdpBatch *batch = MemoryContextAllocZero(context, sizeof(CdpBatch));

	batch->context = context;
	batch->now = cdp_now();
	batch->max = max;
	return batch;
}

/* What a batch begins with: a payload (of cdp.ingest()), identifiers (of cdp.reconsider()), or else it claims its own. */
typedef struct Delivery
{
	char *text;
	char *source;
	TimestampTz received_at;
	const char *cause; /* of cdp.reconsider() */
	const int64 *identifier_ids;
	int n_identifiers;
	const int64 *rederived;
	int n_rederived;
} Delivery;

/* Fill a batch with what was delivered; returns the stage at which it begins. */
static int
deliver(CdpBatch *batch, const Delivery *delivery)
{
	if (delivery->text != NULL)
	{
		cdp_event_take(batch, delivery->text, strlen(delivery->text), delivery->source, delivery->received_at);
		return stage_of(cdp_event_parse);
	}
	if (delivery->cause == NULL)
		return stage_of(cdp_event_claim);
	batch->cause = delivery->cause;
	batch->rederived = delivery->rederived;
	batch->n_rederived = delivery->n_rederived;
	batch->n_identifiers = delivery->n_identifiers;
	batch->identifiers =
		MemoryContextAllocZero(batch->context, sizeof(CdpBatchIdentifier) * (delivery->n_identifiers + 1));
	for (int i = 0; i < delivery->n_identifiers; i++)
	{
		batch->identifiers[i].identifier_id = delivery->identifier_ids[i];
		batch->identifiers[i].fragment = -1;
	}
	return stage_of(cdp_identity_resolve);
}

/* Was it only that another session stood in the way? */
static bool
may_try_again(int sqlerrcode)
{
	return sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED ||
		   (sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE && !IsolationUsesXactSnapshot());
}

/*
 * Walk a new batch in a subtransaction; NULL when another session stood in the way, 'why' tells how (SQLSTATE).
 *
 * One call takes its locks in the order that all keep.  A transaction of several calls begins the order again with
 * each of them, so two such transactions can wait for each other, and whoever PostgreSQL picks to give way, also a
 * bystander, gets here: its part is taken back, its locks with it, and the caller tries again or defers the message.
 */
static CdpBatch *
try_walk(int max, const Delivery *delivery, bool is_first_try, bool is_last_try, int *why)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	int level = GetCurrentTransactionNestLevel();
	CdpBatch *volatile batch = NULL;
	CdpTablesHold hold;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		cdp_namespaces_hold(false);
		batch = begin_batch(max);
		batch->is_first_try = is_first_try;
		cdp_tables_hold(&hold);
		walk(batch, deliver(batch, delivery));
		cdp_tables_release(&hold);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData *error;

		/* stages have subtransactions of their own; who called must find itself in the one it called from */
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		while (GetCurrentTransactionNestLevel() > level)
			RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(caller);
		CurrentResourceOwner = owner;
		if (is_last_try || !may_try_again(error->sqlerrcode))
			ReThrowError(error);
		*why = error->sqlerrcode;
		batch = NULL;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	return batch;
}

/* What must hold before anything is processed. */
static void
check_ready(void)
{
	if (RecoveryInProgress())
		ereport(ERROR, (errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION), errmsg("cannot process messages during recovery"),
						errhint("Connect to the primary server.")));
	cdp_require_init();
}

/* A row of a function's results, whose columns are found out once a session. */
static HeapTuple
make_row(FunctionCallInfo fcinfo, TupleDesc *columns, Datum *values, bool *nulls)
{
	if (*columns == NULL)
	{
		TupleDesc found;
		MemoryContext old;

		if (get_call_result_type(fcinfo, NULL, &found) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		old = MemoryContextSwitchTo(TopMemoryContext);
		*columns = BlessTupleDesc(CreateTupleDescCopy(found));
		MemoryContextSwitchTo(old);
	}
	return heap_form_tuple(*columns, values, nulls);
}

/* cdp.process(max) */
Datum
cdp_process(PG_FUNCTION_ARGS)
{
	static TupleDesc columns = NULL;
	int max = PG_GETARG_INT32(0);
	Delivery none = {NULL};
	MemoryContext caller = CurrentMemoryContext;
	Datum values[8];
	bool nulls[8] = {false};
	CdpBatch *batch = NULL;
	int why;

	if (max < 1)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("max must be at least 1"),
						errhint("It is the number of inbox rows to take at most; leave it out for 10000.")));
	check_ready();
	SPI_connect();
	cdp_run(&lock_consumer, NULL, NULL);
	cdp_done();
	for (int i = 1; batch == NULL; i++)
		batch = try_walk(Min(max, MAX_ROWS), &none, i == 1, i == MAX_TRIES, &why);

	values[0] = Int64GetDatum(batch->received);
	values[1] = Int64GetDatum(batch->n_messages);
	values[2] = Int64GetDatum(batch->duplicates);
	values[3] = Int64GetDatum(batch->rejected);
	values[4] = Int64GetDatum(batch->merges);
	values[5] = Int64GetDatum(batch->splits);
	values[6] = Int64GetDatum(batch->entered);
	values[7] = Int64GetDatum(batch->exited);
	SPI_finish();
	MemoryContextSwitchTo(caller);
	PG_RETURN_DATUM(HeapTupleGetDatum(make_row(fcinfo, &columns, values, nulls)));
}

/* The rejections of a batch as [{"reason": .., "detail": ..}]. */
static Jsonb *
list_errors(const CdpBatch *batch)
{
	JsonbParseState *state = NULL;
	JsonbValue *result;

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < batch->n_rejections; i++)
	{
		const char *pairs[2][2] = {{"reason", batch->rejections[i].reason}, {"detail", batch->rejections[i].detail}};

		pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		for (int j = 0; j < 2; j++)
		{
			JsonbValue key = {.type = jbvString};
			JsonbValue value = {.type = jbvString};

			key.val.string.val = unconstify(char *, pairs[j][0]);
			key.val.string.len = strlen(pairs[j][0]);
			value.val.string.val = unconstify(char *, pairs[j][1]);
			value.val.string.len = strlen(pairs[j][1]);
			pushJsonbValue(&state, WJB_KEY, &key);
			pushJsonbValue(&state, WJB_VALUE, &value);
		}
		pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	}
	result = pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	return JsonbValueToJsonb(result);
}

/* Leave a delivery in the inbox. */
static void
store(const Delivery *delivery)
{
	Datum arguments[3] = {TimestampTzGetDatum(delivery->received_at), CStringGetTextDatum(delivery->source),
						  CStringGetTextDatum(delivery->text)};

	cdp_run(&store_payload, arguments, NULL);
	cdp_done();
}

/* Process a delivery; NULL: it had to give way to another transaction and waits in the inbox. */
static CdpBatch *
take(const Delivery *delivery)
{
	static TransactionId last = InvalidTransactionId; /* the last transaction of this session that came here */
	TransactionId current = GetTopTransactionIdIfAny();
	bool is_first = !TransactionIdIsValid(current) || current != last;
	CdpBatch *batch = NULL;
	int why = 0;

	/* what earlier calls of the transaction have locked stays locked: after a deadlock trying again would only wait again */
	for (int i = 0; i < MAX_TRIES && batch == NULL && (is_first || why != ERRCODE_T_R_DEADLOCK_DETECTED); i++)
		batch = try_walk(1, delivery, i == 0, false, &why);
	if (batch == NULL)
		store(delivery);
	last = GetTopTransactionIdIfAny();
	return batch;
}

/* What cdp.ingest() was called with. */
static void
read_delivery(FunctionCallInfo fcinfo, Delivery *delivery)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("payload must not be null")));
	delivery->text = text_to_cstring(PG_GETARG_TEXT_PP(0));
	delivery->source = PG_ARGISNULL(1) ? pstrdup("default") : text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (*delivery->source == '\0' || strlen(delivery->source) > CDP_MAX_NAMESPACE_BYTES)
		ereport(ERROR, (errcode(ERRCODE_INVALID_NAME), errmsg("invalid name for a source"),
						errhint("A source's name has 1 to %d bytes.", CDP_MAX_NAMESPACE_BYTES)));
	delivery->received_at = PG_ARGISNULL(2) ? cdp_now() : PG_GETARG_TIMESTAMPTZ(2);
}

/* cdp.ingest(payload, source, received_at) */
Datum
cdp_ingest(PG_FUNCTION_ARGS)
{
	static TupleDesc columns = NULL;
	static const CdpRejection deferred = {
		.reason = "deferred", .detail = "two transactions waited for each other; cdp.process() will take the message"};
	MemoryContext caller = CurrentMemoryContext;
	CdpBatch nothing = {0};
	CdpBatch *batch = &nothing;
	Delivery delivery;
	Datum values[5];
	bool nulls[5] = {false};

	check_ready();
	read_delivery(fcinfo, &delivery);
	SPI_connect();
	if (!cdp_process_immediately)
		store(&delivery);
	else if ((batch = take(&delivery)) == NULL)
	{
		batch = &nothing;
		batch->rejections = unconstify(CdpRejection *, &deferred);
		batch->n_rejections = 1;
	}
	MemoryContextSwitchTo(caller);
	values[0] = Int64GetDatum(batch->received);
	values[1] = Int64GetDatum(batch->n_messages);
	values[2] = Int64GetDatum(batch->duplicates);
	values[3] = Int64GetDatum(batch->rejected);
	nulls[4] = batch->n_rejections == 0;
	values[4] = nulls[4] ? (Datum) 0 : JsonbPGetDatum(list_errors(batch));
	SPI_finish();
	MemoryContextSwitchTo(caller);
	PG_RETURN_DATUM(HeapTupleGetDatum(make_row(fcinfo, &columns, values, nulls)));
}

/* cdp.reconsider(identifier_ids, cause, rederived): the corridor from 'resolve' on, with no message. */
Datum
cdp_reconsider(PG_FUNCTION_ARGS)
{
	static TupleDesc columns = NULL;
	MemoryContext caller = CurrentMemoryContext;
	Delivery delivery = {NULL};
	CdpBatch *batch;
	int why;
	Datum values[4];
	bool is_null[4] = {false};

	check_ready();
	delivery.identifier_ids = cdp_int64_elements(PG_GETARG_ARRAYTYPE_P(0), &delivery.n_identifiers);
	delivery.cause = text_to_cstring(PG_GETARG_TEXT_PP(1));
	delivery.rederived = cdp_int64_elements(PG_GETARG_ARRAYTYPE_P(2), &delivery.n_rederived);
	SPI_connect();
	batch = try_walk(1, &delivery, false, true, &why);
	values[0] = Int64GetDatum(batch->merges);
	values[1] = Int64GetDatum(batch->splits);
	values[2] = Int64GetDatum(batch->entered);
	values[3] = Int64GetDatum(batch->exited);
	SPI_finish();
	MemoryContextSwitchTo(caller);
	PG_RETURN_DATUM(HeapTupleGetDatum(make_row(fcinfo, &columns, values, is_null)));
}
