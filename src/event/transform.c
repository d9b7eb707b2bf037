/*
 * transform.c
 *		A source's own function over its messages, before they are looked at.
 *
 * The code is somebody else's: it may fail, loop or return anything.  Messages are
 * given to it in chunks, each in a subtransaction; only a chunk in which one failed is
 * gone through again message by message, so that the others cost next to nothing.
 */
#include "postgres.h"

#include "event/event.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/varlena.h"

#define CHUNK 64 /* messages; a failure costs so many calls more */

/* The work of one pass over the batch. */
typedef struct Pass
{
	CdpBatch *batch;
	MemoryContext scratch; /* of one call */
	const char *name;	   /* of the function that is looked up; NULL: none yet */
	FmgrInfo function;
	bool is_limited; /* a call is under way that has a limit to stop */
} Pass;

static AclResult
check_execute(Oid function)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(ProcedureRelationId, function, GetUserId(), ACL_EXECUTE);
#else
	return pg_proc_aclcheck(function, GetUserId(), ACL_EXECUTE);
#endif
}

/* Look a function up by its name. */
static void
find_function(Pass *pass, const char *name)
{
	Oid type = JSONBOID;
	Oid function;

	if (pass->name == name)
		return;
	pass->name = NULL;
	function = LookupFuncName(textToQualifiedNameList(cstring_to_text(name)), 1, &type, false);
	if (get_func_rettype(function) != JSONBOID || get_func_retset(function) || get_func_prokind(function) != PROKIND_FUNCTION)
		ereport(ERROR, (errcode(ERRCODE_INVALID_FUNCTION_DEFINITION), errmsg("the function does not return jsonb")));
	if (check_execute(function) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION, name);
	fmgr_info_cxt(function, &pass->function, pass->batch->context);
	pass->name = name;
}

/* Call the function; NULL: it returned null. The result lives in the scratch context. */
static Jsonb *
call(Pass *pass, Jsonb *document)
{
	LOCAL_FCINFO(fcinfo, 1);
	Datum result;

	InitFunctionCallInfoData(*fcinfo, &pass->function, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = JsonbPGetDatum(document);
	fcinfo->args[0].isnull = false;
	pass->is_limited = cdp_limit_start(cdp_transformation_timeout);
	result = FunctionCallInvoke(fcinfo);
	if (pass->is_limited)
		cdp_limit_stop();
	pass->is_limited = false;
	return fcinfo->isnull ? NULL : DatumGetJsonbP(result);
}

/*
 * Give a message to its source's function.  It gets it with what its envelope adds, as it would be kept, and what it
 * returns stands for itself; json.json is NULL where it returned null.  What could not be kept is left to validation.
 */
static void
transform(Pass *pass, CdpMessage *message)
{
	Jsonb *document;

	MemoryContextReset(pass->scratch);
	MemoryContextSwitchTo(pass->scratch);
	document = cdp_event_document(pass->batch, message);
	if (document != NULL)
	{
		Jsonb *result;

		find_function(pass, message->payload->transformation);
		result = call(pass, document);
		MemoryContextSwitchTo(pass->batch->context);
		message->sent = memcpy(palloc(sizeof(CdpMessage)), message, sizeof(CdpMessage));
		message->json.json = NULL;
		message->envelope.json = NULL;
		if (result != NULL)
		{
			char *text = JsonbToCString(NULL, &result->root, VARSIZE(result));
			CdpJson *json = palloc(sizeof(CdpJson));

			if (!cdp_json_parse(text, strlen(text), json))
				elog(ERROR, "jsonb gave invalid JSON");
			message->json = cdp_json_root(json);
		}
	}
	MemoryContextSwitchTo(pass->batch->context);
}

/* Not the message's fault: then nothing is decided, and all of them are tried again another time. */
static bool
concerns_all(int sqlerrcode)
{
	int category = ERRCODE_TO_CATEGORY(sqlerrcode);

	return category == ERRCODE_TO_CATEGORY(ERRCODE_TRANSACTION_ROLLBACK) ||
		   category == ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_RESOURCES) ||
		   category == ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION) ||
		   category == ERRCODE_TO_CATEGORY(ERRCODE_SYSTEM_ERROR);
}

/* Why a message could not be transformed; never what the function said, which may be somebody's data. */
static const char *
describe(const CdpMessage *message, int sqlerrcode, bool was_too_slow)
{
	if (was_too_slow)
		return psprintf("%s took longer than cdp.transformation_timeout, %d ms", message->payload->transformation,
						cdp_transformation_timeout);
	return psprintf("%s failed with SQLSTATE %s", message->payload->transformation, unpack_sql_state(sqlerrcode));
}

/* Transform n messages in a subtransaction; NULL, or why one of them failed and all are as they were. */
static const char *
attempt(CdpBatch *batch, CdpMessage *messages, int n)
{
	ResourceOwner owner = CurrentResourceOwner;
	int level = GetCurrentTransactionNestLevel();
	CdpMessage *results = memcpy(palloc(sizeof(CdpMessage) * n), messages, sizeof(CdpMessage) * n);
	Pass pass = {.batch = batch};
	volatile int at = 0;
	const char *volatile failure = NULL;

	pass.scratch = AllocSetContextCreate(batch->context, "cdp event transformation", ALLOCSET_DEFAULT_SIZES);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(batch->context);
	PG_TRY();
	{
		for (; at < n; at++)
		{
			CHECK_FOR_INTERRUPTS();
			if (results[at].payload->transformation != NULL)
				transform(&pass, &results[at]);
		}
		ReleaseCurrentSubTransaction();
		memcpy(messages, results, sizeof(CdpMessage) * n);
	}
	PG_CATCH();
	{
		bool was_too_slow = pass.is_limited && cdp_limit_stop();
		ErrorData *error;

		MemoryContextSwitchTo(batch->context);
		error = CopyErrorData();
		FlushErrorState();
		while (GetCurrentTransactionNestLevel() > level)
			RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(batch->context);
		CurrentResourceOwner = owner;
		if (!was_too_slow && concerns_all(error->sqlerrcode))
			ReThrowError(error);
		failure = describe(&messages[at], error->sqlerrcode, was_too_slow);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(batch->context);
	CurrentResourceOwner = owner;
	MemoryContextDelete(pass.scratch);
	return failure;
}

/* Transform n messages one by one, and refuse those that fail; they are marked as dropped. */
static void
transform_each(CdpBatch *batch, CdpMessage *messages, int n)
{
	for (int i = 0; i < n; i++)
	{
		const char *failure = attempt(batch, &messages[i], 1);

		if (failure == NULL)
			continue;
		cdp_event_refuse(batch, messages[i].payload, messages[i].json, messages[i].envelope, "transformation_failed", failure);
		messages[i].json.json = NULL;
	}
}

/* Has any message a source with a transformation? */
static bool
is_needed(const CdpBatch *batch)
{
	for (int i = 0; i < batch->n_payloads; i++)
	{
		if (batch->payloads[i].transformation != NULL)
			return true;
	}
	return false;
}

void
cdp_event_transform(CdpBatch *batch)
{
	MemoryContext old;
	int kept = 0;
	int path;

	if (!is_needed(batch))
		return;
	path = cdp_enter_path();
	old = MemoryContextSwitchTo(batch->context);
	for (int first = 0; first < batch->n_messages; first += CHUNK)
	{
		int n = Min(CHUNK, batch->n_messages - first);

		if (attempt(batch, &batch->messages[first], n) != NULL)
			transform_each(batch, &batch->messages[first], n);
	}
	for (int i = 0; i < batch->n_messages; i++)
	{
		if (batch->messages[i].json.json != NULL)
			batch->messages[kept++] = batch->messages[i];
	}
	batch->n_messages = kept;
	batch->namespaces = cdp_namespaces_load(); /* nobody knows what the functions did */
	MemoryContextSwitchTo(old);
	cdp_leave_path(path);
}
