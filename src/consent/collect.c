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
#include "utils/memutils.h"

CDP_SCAN(read_states, "fragment", "fragment_pkey", 2, "anchor_id, identifier_id, consents", "int8[],int8[]");
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

/* A fragment's state that is stored so far. */
static void
take_state(void *arg, int i, Datum *values, bool *nulls)
{
	CdpBatchFragment **fragments = arg;
	MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(fragments));

	if (!nulls[2])
		fragments[i]->consents_before = (CdpStamped *) PG_DETOAST_DATUM_COPY(values[2]);
	MemoryContextSwitchTo(old);
}

/* Read the states of fragments that are derived again; those of the others are met when they are written. */
static void
read_refolded(CdpBatch *batch)
{
	CdpColumn *keys[2] = {cdp_column(INT8OID, 8), cdp_column(INT8OID, 8)};
	CdpBatchFragment **fragments = palloc(sizeof(CdpBatchFragment *) * ((Size) batch->n_fragments + 1));
	int n = 0;

	for (int i = 0; i < batch->n_fragments; i++)
	{
		if (batch->fragments[i].is_refolded && batch->fragments[i].known.consents != NULL)
			fragments[n++] = &batch->fragments[i];
	}
	qsort(fragments, n, sizeof(CdpBatchFragment *), cdp_batch_compare_fragments);
	for (int i = 0; i < n; i++)
	{
		cdp_column_add(keys[0], Int64GetDatum(fragments[i]->anchor_id));
		cdp_column_add(keys[1], Int64GetDatum(fragments[i]->identifier_id));
	}
	cdp_scan(&read_states, keys, take_state, fragments);
}

void
cdp_consent_collect(CdpBatch *batch)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	CdpGatherer gatherer = {0};

	for (int i = 0; i < batch->n_messages; i++)
		gather(&gatherer, &batch->messages[i]);
	if (gatherer.n > 0)
	{
		cdp_gather_build(&gatherer, cdp_stamped_tie_refusal, take_consents, batch);
		read_refolded(batch);
	}
	MemoryContextSwitchTo(old);
}

/* Is a consent another than before, and said no earlier? */
static bool
is_change(const CdpStamped *stored, const CdpStampedEntry *now)
{
	CdpStampedEntry before;

	if (stored == NULL || !cdp_stamped_find(stored, now->name, now->name_length, &before))
		return true;
	return before.at <= now->at && cdp_consent_is_granted(&before) != cdp_consent_is_granted(now) &&
		   (before.at < now->at || cdp_consent_is_granted(&before));
}

void
cdp_consent_record(CdpBatch *batch)
{
	static const Oid types[] = {INT8OID, TEXTOID, BOOLOID, TIMESTAMPTZOID, TIMESTAMPTZOID};
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	CdpColumn *columns[lengthof(types)];

	for (int i = 0; i < (int) lengthof(types); i++)
		columns[i] = cdp_column(types[i], 64);
	for (int i = 0; i < batch->n_fragments; i++)
	{
		const CdpBatchFragment *fragment = &batch->fragments[i];
		int n = fragment->known.consents == NULL ? 0 : cdp_stamped_count(fragment->known.consents);

		for (int j = 0; j < n; j++)
		{
			CdpStampedEntry now = cdp_stamped_entry(fragment->known.consents, j);

			if (!is_change(fragment->consents_before, &now))
				continue;
			cdp_column_add(columns[0], Int64GetDatum(fragment->identifier_id));
			cdp_column_add_text(columns[1], now.name, now.name_length);
			cdp_column_add(columns[2], BoolGetDatum(cdp_consent_is_granted(&now)));
			cdp_column_add(columns[3], TimestampTzGetDatum(now.at));
			cdp_column_add(columns[4], TimestampTzGetDatum(batch->now));
		}
	}
	cdp_append(&append_ledger, columns);
	MemoryContextSwitchTo(old);
}
