/*
 * claim.c
 *		Payloads in: inbox rows, taken and deleted in one transaction, or a call's own.
 *
 * What was processed is deleted, so the order in which transactions commit does not
 * matter: a message that becomes visible late is simply still there.  A hint of
 * where the last claim ended keeps a long backlog from being walked from its
 * beginning for every batch; the part before it is looked at when the rest is empty.
 */
#include "postgres.h"

#include "event/event.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/itemptr.h"
#include "utils/builtins.h"

CDP_QUERY(read_onward, "SELECT ctid, received_at, source, payload FROM cdp.inbox WHERE ctid >= $1", "tid");
CDP_QUERY(read_before, "SELECT ctid, received_at, source, payload FROM cdp.inbox WHERE ctid < $1", "tid");
CDP_QUERY(delete_claimed, "DELETE FROM cdp.inbox WHERE ctid = ANY($1)", "tid[]");
CDP_QUERY(read_sources, "SELECT name, source_id::int8, rank::int8, corrects_clock, phone_region, transformation FROM cdp.source", "");
CDP_QUERY(add_sources,
		  "INSERT INTO cdp.source (name) SELECT DISTINCT n FROM unnest($1) n ORDER BY n ON CONFLICT (name) DO NOTHING", "text[]");

/* Where the next claim begins to look; a hint only. */
static BlockNumber claim_from = 0;

/* Make room for one more payload. */
static CdpPayload *
add_payload(CdpBatch *batch, int *capacity)
{
	CDP_GROW_IN(batch->context, batch->payloads, batch->n_payloads, *capacity, 64);
	return memset(&batch->payloads[batch->n_payloads++], 0, sizeof(CdpPayload));
}

typedef struct Claim
{
	CdpBatch *batch;
	int max;
	int capacity;
	Size bytes;
	CdpColumn *tids;
} Claim;

static bool
is_full(const Claim *claim)
{
	return claim->batch->n_payloads >= claim->max || claim->bytes >= CDP_CLAIM_BYTES;
}

/* Nothing is received before 1970 or after tomorrow; whoever says so means now. */
static TimestampTz
plausible_receipt(TimestampTz at, TimestampTz now)
{
	TimestampTz first = ((TimestampTz) (UNIX_EPOCH_JDATE - POSTGRES_EPOCH_JDATE)) * USECS_PER_DAY;
	TimestampTz last = Max(now, GetCurrentTransactionStartTimestamp()) + USECS_PER_DAY;

	return at < first || at > last ? now : at;
}

/* Copy one row of the inbox. */
static void
claim_row(Claim *claim, uint64 row)
{
	CdpPayload *payload = add_payload(claim->batch, &claim->capacity);
	ItemPointer tid = palloc(sizeof(ItemPointerData));
	bool isnull;
	Datum value;

	ItemPointerCopy((ItemPointer) DatumGetPointer(cdp_result_datum(row, 1, &isnull)), tid);
	cdp_column_add(claim->tids, PointerGetDatum(tid));
	claim_from = ItemPointerGetBlockNumberNoCheck(tid);
	value = cdp_result_datum(row, 2, &isnull);
	payload->received_at =
		isnull ? claim->batch->now : plausible_receipt(DatumGetTimestampTz(value), claim->batch->now);
	payload->source = cdp_result_cstring(row, 3);
	value = cdp_result_datum(row, 4, &isnull);
	payload->text = isnull ? pstrdup("") : TextDatumGetCString(value);
	payload->length = strlen(payload->text);
	claim->bytes += payload->length;
}

/* Read rows by one of the two queries until the claim is full. */
static void
claim_rows(Claim *claim, CdpQuery *query, BlockNumber block)
{
	ItemPointerData from;
	Datum arguments[1] = {PointerGetDatum(&from)};
	Portal portal;

	ItemPointerSet(&from, block, 0);
	portal = cdp_open(query, arguments);
	while (!is_full(claim))
	{
		int wanted = Min(256, claim->max - claim->batch->n_payloads);
		uint64 n = cdp_fetch(portal, wanted);

		for (uint64 row = 0; row < n; row++)
			claim_row(claim, row);
		cdp_done();
		if (n < (uint64) wanted)
			break;
		CHECK_FOR_INTERRUPTS();
	}
	cdp_close(portal);
}

typedef struct Sources
{
	CdpPayload *items; /* of a payload what its source says */
	int n;
} Sources;

static int
compare_sources(const void *a, const void *b)
{
	return strcmp(((const CdpPayload *) a)->source, ((const CdpPayload *) b)->source);
}

/* Read all sources, sorted by name. */
static void *
read_all_sources(void)
{
	Sources *sources = palloc(sizeof(Sources));

	sources->n = cdp_run_latest(&read_sources, NULL, NULL);
	sources->items = palloc0(sizeof(CdpPayload) * ((Size) sources->n + 1));
	for (int row = 0; row < sources->n; row++)
	{
		CdpPayload *source = &sources->items[row];
		bool isnull;

		source->source = cdp_result_cstring(row, 1);
		source->source_id = cdp_result_int64(row, 2, 0);
		source->source_rank = cdp_result_int64(row, 3, 0);
		source->corrects_clock = DatumGetBool(cdp_result_datum(row, 4, &isnull));
		source->phone_region = cdp_result_cstring(row, 5);
		source->transformation = cdp_result_cstring(row, 6);
	}
	cdp_done();
	qsort(sources->items, sources->n, sizeof(CdpPayload), compare_sources);
	return sources;
}

static CdpCached all_sources = {"source", read_all_sources};

/* Say of each payload what its source says; lists the names of sources that do not exist. */
static CdpColumn *
apply_sources(CdpBatch *batch)
{
	const Sources *sources = cdp_cached(&all_sources);
	CdpColumn *missing = cdp_column(TEXTOID, 8);
	const CdpPayload *source = NULL;

	for (int i = 0; i < batch->n_payloads; i++)
	{
		CdpPayload *p = &batch->payloads[i];

		if (source == NULL || strcmp(source->source, p->source) != 0)
			source = bsearch(p, sources->items, sources->n, sizeof(CdpPayload), compare_sources);
		if (source == NULL)
		{
			cdp_column_add_text(missing, p->source, strlen(p->source));
			continue;
		}
		p->source_id = source->source_id;
		p->source_rank = source->source_rank;
		p->corrects_clock = source->corrects_clock;
		p->phone_region = source->phone_region;
		p->transformation = source->transformation;
	}
	return missing;
}

/* Find or make the sources that the payloads name. */
static void
find_sources(CdpBatch *batch)
{
	CdpColumn *missing;

	for (int i = 0; i < batch->n_payloads; i++)
	{
		CdpPayload *p = &batch->payloads[i];

		if (p->source == NULL || *p->source == '\0' || strlen(p->source) > CDP_MAX_NAMESPACE_BYTES)
			p->source = "default"; /* the table's CHECK lets no such name in; this is for cdp.ingest(.., null) */
	}
	missing = apply_sources(batch);
	if (missing->n > 0)
	{
		Datum names = cdp_column_array(missing);

		cdp_run(&add_sources, &names, NULL);
		cdp_done();
		if (apply_sources(batch)->n > 0)
			elog(ERROR, "could not make a source");
	}
}

void
cdp_event_claim(CdpBatch *batch)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	Claim claim = {batch, batch->max, 0, 0, cdp_column(TIDOID, 1024)};
	BlockNumber from = claim_from;

	claim_rows(&claim, &read_onward, from);
	if (!is_full(&claim) && from > 0)
	{
		claim_from = 0;
		claim_rows(&claim, &read_before, from);
	}
	if (batch->n_payloads > 0)
	{
		Datum arguments[1] = {cdp_column_array(claim.tids)};

		if (cdp_run(&delete_claimed, arguments, NULL) != (uint64) batch->n_payloads)
			ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
							errmsg("rows of the inbox were taken by someone else"),
							errhint("Let only cdp.process() delete from cdp.inbox; then call it again.")));
		cdp_done();
		find_sources(batch);
	}
	MemoryContextSwitchTo(old);
}

void
cdp_event_take(CdpBatch *batch, char *text, int length, const char *source, TimestampTz received_at)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	int capacity = 0;
	CdpPayload *payload = add_payload(batch, &capacity);

	payload->text = text;
	payload->length = length;
	payload->source = source;
	payload->received_at = plausible_receipt(received_at, batch->now);
	find_sources(batch);
	MemoryContextSwitchTo(old);
}
