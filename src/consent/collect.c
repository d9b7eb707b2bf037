/*
 * collect.c
 *		Consents out of messages: context.consent.categoryPreferences {category: boolean}.
 *
 * They are kept with the message's anchor.  The ledger names the identifier under which it
 * was said; it gets a row when that one's consent changes, not for every message that repeats it.
 */
#include "postgres.h"

#include "consent/consent.h"
#include "consent/consents.h"
#include "catalog/pg_type.h"

CDP_UPSERT(read_states, "fragment", "fragment_pkey", 2, "anchor_id, identifier_id, consents", "$1, $2, $3",
		   "int8[],int8[],cdp.consent_state[]");
CDP_APPEND(append_ledger, "consent", "identifier_id, category, is_granted, occurred_at, recorded_at", "$1, $2, $3, $4, $5",
		   "int8[],text[],bool[],timestamptz[],timestamptz[]");

/* Gather one message's preferences, as the log keeps them; what is no boolean says nothing. */
static void
gather(CdpGatherer *gatherer, const CdpMessage *m)
{
	static const char *const path[] = {"context", "consent", "categoryPreferences"};
	JsonbContainer *preferences = m->fragment < 0 ? NULL : cdp_jsonb_object(m->document, path, 3);
	int from = gatherer->n;
	int kept = from;

	if (preferences == NULL)
		return;
	cdp_gather_object(gatherer, m->fragment, preferences, m->occurred_at, 0);
	for (int i = from; i < gatherer->n; i++)
	{
		JsonbValue v;

		if (JsonbExtractScalar(unconstify(JsonbContainer *, &gatherer->items[i].entry.value->root), &v) &&
			v.type == jbvBool)
			gatherer->items[kept++] = gatherer->items[i];
	}
	gatherer->n = kept;
}

static void
take_consents(void *arg, int key, CdpStamped *map)
{
	CdpBatch *batch = arg;

	batch->fragments[key].known.consents = map;
}

/* Fragments in which something is said now, and their states stored so far. */
typedef struct Known
{
	MemoryContext context;
	const CdpBatchFragment **fragments; /* by their keys */
	CdpStamped **states;
	int n;
} Known;

static bool
take_state(void *arg, int i, Datum *values, bool *nulls)
{
	Known *known = arg;
	MemoryContext old = MemoryContextSwitchTo(known->context);

	if (!nulls[2])
		known->states[i] = (CdpStamped *) PG_DETOAST_DATUM_COPY(values[2]);
	MemoryContextSwitchTo(old);
	return false;
}

static void
read_known(const CdpBatch *batch, Known *known)
{
	CdpColumn *keys[2] = {cdp_column(INT8OID, 64), cdp_column(INT8OID, 64)};
	bool *is_new;

	known->context = CurrentMemoryContext;
	known->fragments = palloc(sizeof(CdpBatchFragment *) * ((Size) batch->n_fragments + 1));
	for (int i = 0; i < batch->n_fragments; i++)
	{
		if (batch->fragments[i].known.consents != NULL)
			known->fragments[known->n++] = &batch->fragments[i];
	}
	qsort(known->fragments, known->n, sizeof(CdpBatchFragment *), cdp_batch_compare_fragments);
	known->states = palloc0(sizeof(CdpStamped *) * ((Size) known->n + 1));
	is_new = palloc(sizeof(bool) * ((Size) known->n + 1));
	for (int i = 0; i < known->n; i++)
	{
		cdp_column_add(keys[0], Int64GetDatum(known->fragments[i]->anchor_id));
		cdp_column_add(keys[1], Int64GetDatum(known->fragments[i]->identifier_id));
	}
	cdp_update(&read_states, keys, take_state, known, is_new);
}

/* Write a row for each consent that is another than before. */
static void
write_ledger(const CdpBatch *batch, const Known *known)
{
	static const Oid types[] = {INT8OID, TEXTOID, BOOLOID, TIMESTAMPTZOID, TIMESTAMPTZOID};
	CdpColumn *columns[lengthof(types)];

	for (int i = 0; i < (int) lengthof(types); i++)
		columns[i] = cdp_column(types[i], 64);
	for (int i = 0; i < known->n; i++)
	{
		const CdpStamped *map = known->fragments[i]->known.consents;

		for (int j = 0; j < cdp_stamped_count(map); j++)
		{
			CdpStampedEntry now = cdp_stamped_entry(map, j);
			CdpStampedEntry before;

			if (known->states[i] != NULL && cdp_stamped_find(known->states[i], now.name, now.name_length, &before) &&
				(before.at > now.at || cdp_consent_is_granted(&before) == cdp_consent_is_granted(&now) ||
				 (before.at == now.at && !cdp_consent_is_granted(&before))))
				continue;
			cdp_column_add(columns[0], Int64GetDatum(known->fragments[i]->identifier_id));
			cdp_column_add_text(columns[1], now.name, now.name_length);
			cdp_column_add(columns[2], BoolGetDatum(cdp_consent_is_granted(&now)));
			cdp_column_add(columns[3], TimestampTzGetDatum(now.at));
			cdp_column_add(columns[4], TimestampTzGetDatum(batch->now));
		}
	}
	cdp_append(&append_ledger, columns);
}

void
cdp_consent_collect(CdpBatch *batch)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	CdpGatherer gatherer = {0};
	Known known = {0};

	for (int i = 0; i < batch->n_messages; i++)
		gather(&gatherer, &batch->messages[i]);
	if (gatherer.n > 0)
	{
		cdp_gather_build(&gatherer, cdp_stamped_tie_refusal, take_consents, batch);
		read_known(batch, &known);
		write_ledger(batch, &known);
	}
	MemoryContextSwitchTo(old);
}
