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

CDP_QUERY(read_states,
		  "SELECT k.ord, f.consents FROM unnest($1, $2) WITH ORDINALITY AS k (o, id, ord) "
		  "JOIN cdp.fragment f ON f.anchor_id = k.o AND f.identifier_id = k.id WHERE f.consents IS NOT NULL",
		  "int8[],int8[]");
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

/* The states stored so far of the fragments in which something is said now. */
static CdpStamped **
read_known(CdpBatch *batch)
{
	CdpStamped **known = palloc0(sizeof(CdpStamped *) * (Size) Max(1, batch->n_fragments));
	int *owner = palloc(sizeof(int) * (Size) Max(1, batch->n_fragments));
	CdpColumn *anchors = cdp_column(INT8OID, 64);
	CdpColumn *ids = cdp_column(INT8OID, 64);
	Datum arguments[2];
	uint64 n;

	for (int i = 0; i < batch->n_fragments; i++)
	{
		if (batch->fragments[i].known.consents == NULL)
			continue;
		owner[ids->n] = i;
		cdp_column_add(anchors, Int64GetDatum(batch->fragments[i].anchor_id));
		cdp_column_add(ids, Int64GetDatum(batch->fragments[i].identifier_id));
	}
	arguments[0] = cdp_column_array(anchors);
	arguments[1] = cdp_column_array(ids);
	n = cdp_run(&read_states, arguments, NULL);
	for (uint64 row = 0; row < n; row++)
	{
		bool isnull;
		Datum map = cdp_result_datum(row, 2, &isnull);

		known[owner[cdp_result_int64(row, 1, 0) - 1]] = (CdpStamped *) PG_DETOAST_DATUM_COPY(map);
	}
	cdp_done();
	return known;
}

/* Write a row for each consent that is another than before. */
static void
write_ledger(CdpBatch *batch, CdpStamped **known)
{
	static const Oid types[] = {INT8OID, TEXTOID, BOOLOID, TIMESTAMPTZOID, TIMESTAMPTZOID};
	CdpColumn *columns[lengthof(types)];

	for (int i = 0; i < (int) lengthof(types); i++)
		columns[i] = cdp_column(types[i], 64);

	for (int i = 0; i < batch->n_fragments; i++)
	{
		const CdpStamped *map = batch->fragments[i].known.consents;

		for (int j = 0; map != NULL && j < cdp_stamped_count(map); j++)
		{
			CdpStampedEntry now = cdp_stamped_entry(map, j);
			CdpStampedEntry before;

			if (known[i] != NULL && cdp_stamped_find(known[i], now.name, now.name_length, &before) &&
				(before.at > now.at || cdp_consent_is_granted(&before) == cdp_consent_is_granted(&now) ||
				 (before.at == now.at && !cdp_consent_is_granted(&before))))
				continue;
			cdp_column_add(columns[0], Int64GetDatum(batch->fragments[i].identifier_id));
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

	for (int i = 0; i < batch->n_messages; i++)
		gather(&gatherer, &batch->messages[i]);
	if (gatherer.n > 0)
	{
		cdp_gather_build(&gatherer, cdp_stamped_tie_refusal, take_consents, batch);
		write_ledger(batch, read_known(batch));
	}
	MemoryContextSwitchTo(old);
}
