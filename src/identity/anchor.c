/*
 * anchor.c
 *		To whom a message belongs: its strongest identifier, or on a shared device whoever held it then.
 *
 * A message whose strongest identifier is a contested device is anchored to whoever signed in there
 * last at or before it (specs/identity.md §6).  cdp.sign_in has, of contested devices only, each event
 * of somebody on them.  The log is never rewritten: who held a device follows from cdp.sign_in, and a
 * fragment is known by both, the anchor and the device.  When a device becomes contested, or a sign-in
 * comes late and takes events over from who was thought to hold it, the device's own events are folded
 * again, and only those.
 */
#include "postgres.h"

#include "identity/identity.h"
#include "catalog/pg_type.h"

CDP_QUERY(add_sign_ins,
		  "INSERT INTO cdp.sign_in (device_id, occurred_at, message_id, source_id, identifier_id) "
		  "SELECT d, t, m, s, i FROM unnest($1, $2, $3, $4, $5) AS k (d, t, m, s, i) WHERE NOT EXISTS ("
		  "SELECT FROM cdp.link l WHERE l.identifier_a = k.i AND l.identifier_b = k.d AND l.status = 'retracted') "
		  "ON CONFLICT DO NOTHING",
		  "int8[],timestamptz[],text[],int4[],int8[]");
CDP_QUERY(find_late,
		  "SELECT DISTINCT k.d FROM unnest($1, $2, $3, $4, $5) AS k (d, t, m, s, i) LEFT JOIN LATERAL ("
		  "SELECT n.occurred_at, n.message_id FROM cdp.sign_in n WHERE n.device_id = k.d AND "
		  "(n.occurred_at, n.message_id, n.source_id) > (k.t, k.m COLLATE \"C\", k.s) "
		  "ORDER BY n.occurred_at, n.message_id, n.source_id LIMIT 1) n ON true "
		  "WHERE k.i IS DISTINCT FROM (SELECT p.identifier_id FROM cdp.sign_in p WHERE p.device_id = k.d AND "
		  "(p.occurred_at, p.message_id, p.source_id) < (k.t, k.m COLLATE \"C\", k.s) "
		  "ORDER BY p.occurred_at DESC, p.message_id DESC, p.source_id DESC LIMIT 1) "
		  "AND EXISTS (SELECT FROM cdp.event e WHERE e.identifier_id = k.d AND e.occurred_at >= k.t "
		  "AND e.occurred_at <= coalesce(n.occurred_at, 'infinity') "
		  "AND (e.occurred_at, e.message_id COLLATE \"C\") >= (k.t, k.m COLLATE \"C\") "
		  "AND (n.message_id IS NULL OR (e.occurred_at, e.message_id COLLATE \"C\") < (n.occurred_at, n.message_id)))",
		  "int8[],timestamptz[],text[],int4[],int8[]");
CDP_QUERY(find_holders,
		  "SELECT k.ord, s.identifier_id, i.profile_id FROM unnest($1, $2, $3) WITH ORDINALITY AS k (d, t, m, ord) "
		  "CROSS JOIN LATERAL (SELECT l.identifier_id FROM cdp.sign_in l WHERE l.device_id = k.d AND "
		  "(l.occurred_at, l.message_id) <= (k.t, k.m COLLATE \"C\") "
		  "ORDER BY l.occurred_at DESC, l.message_id DESC, l.source_id DESC LIMIT 1) s "
		  "JOIN cdp.identity i ON i.identifier_id = s.identifier_id",
		  "int8[],timestamptz[],text[]");

typedef struct Anchor
{
	CdpBatch *batch;
	int64 *refolded; /* as in the batch, not yet sorted */
	int n_refolded;
} Anchor;

static bool
is_device(const CdpBatch *batch, int identifier)
{
	return batch->namespaces->items[batch->identifiers[identifier].namespace_index].kind == CDP_KIND_DEVICE;
}

static bool
is_refolded(const CdpBatch *batch, int64 identifier_id)
{
	return bsearch(&identifier_id, batch->refolded, batch->n_refolded, sizeof(int64), cdp_compare_int64) != NULL;
}

/* List identifiers whose events are to be folded again. */
static void
refold(Anchor *anchor, const int64 *ids, int n)
{
	if (n == 0)
		return;
	memcpy(anchor->refolded + anchor->n_refolded, ids, sizeof(int64) * (Size) n);
	anchor->n_refolded += n;
}

/* What the batch's columns of sign-ins hold, in this order. */
static const Oid sign_in_types[] = {INT8OID, TIMESTAMPTZOID, TEXTOID, INT4OID, INT8OID};

/* Note a sign-in of the batch. */
static void
note_sign_in(const CdpBatch *batch, CdpColumn **columns, const CdpMessage *m, int device)
{
	cdp_column_add(columns[0], Int64GetDatum(batch->identifiers[device].identifier_id));
	cdp_column_add(columns[1], TimestampTzGetDatum(m->occurred_at));
	cdp_column_add_text(columns[2], m->message_id, m->message_id_length);
	cdp_column_add(columns[3], Int32GetDatum(m->payload->source_id));
	cdp_column_add(columns[4], Int64GetDatum(batch->identifiers[m->strongest].identifier_id));
}

static bool
is_any_contested(const CdpBatch *batch)
{
	for (int i = 0; i < batch->n_identifiers; i++)
	{
		if (batch->identifiers[i].is_contested)
			return true;
	}
	return false;
}

/* Write the batch's sign-ins on contested devices; lists the devices on which one takes events over that came before. */
static void
store_sign_ins(Anchor *anchor)
{
	CdpBatch *batch = anchor->batch;
	CdpColumn *columns[lengthof(sign_in_types)];
	Datum arguments[lengthof(sign_in_types)];
	uint64 n;

	if (!is_any_contested(batch))
		return;
	for (int i = 0; i < (int) lengthof(sign_in_types); i++)
		columns[i] = cdp_column(sign_in_types[i], 64);
	for (int i = 0; i < batch->n_messages; i++)
	{
		const CdpMessage *m = &batch->messages[i];

		for (int j = 1; j < m->n_mentions && !is_device(batch, m->strongest); j++)
		{
			int device = batch->mentions[m->first_mention + j].identifier;

			if (batch->identifiers[device].is_contested)
				note_sign_in(batch, columns, m, device);
		}
	}
	if (columns[0]->n == 0)
		return;
	for (int i = 0; i < (int) lengthof(sign_in_types); i++)
		arguments[i] = cdp_column_array(columns[i]);
	n = cdp_run(&find_late, arguments, NULL);
	anchor->refolded = repalloc_huge(anchor->refolded, sizeof(int64) * ((Size) anchor->n_refolded + n + 1));
	for (uint64 row = 0; row < n; row++)
		anchor->refolded[anchor->n_refolded++] = cdp_result_int64(row, 1, 0);
	cdp_done();
	cdp_run(&add_sign_ins, arguments, NULL);
	cdp_done();
}

/* Anchor each message to its strongest identifier; returns how many of those are contested devices not to be folded again. */
static int
anchor_to_strongest(CdpBatch *batch)
{
	int n_shared = 0;

	for (int i = 0; i < batch->n_messages; i++)
	{
		CdpMessage *m = &batch->messages[i];
		const CdpBatchIdentifier *id = m->strongest < 0 ? NULL : &batch->identifiers[m->strongest];

		if (id == NULL)
			continue;
		m->fragment = cdp_batch_own_fragment(batch, m->strongest);
		batch->fragments[m->fragment].is_refolded = is_refolded(batch, id->identifier_id);
		n_shared += id->is_contested && !batch->fragments[m->fragment].is_refolded;
	}
	return n_shared;
}

/* Anchor messages that come from a contested device alone to whoever held it. */
static void
anchor_to_holders(CdpBatch *batch, int n_shared)
{
	CdpColumn *devices = cdp_column(INT8OID, n_shared);
	CdpColumn *times = cdp_column(TIMESTAMPTZOID, n_shared);
	CdpColumn *ids = cdp_column(TEXTOID, n_shared);
	CdpMessage **shared = palloc(sizeof(CdpMessage *) * (Size) n_shared);
	Datum arguments[3];
	uint64 n;

	for (int i = 0; i < batch->n_messages; i++)
	{
		CdpMessage *m = &batch->messages[i];

		if (m->strongest < 0 || !batch->identifiers[m->strongest].is_contested ||
			batch->fragments[m->fragment].is_refolded)
			continue;
		shared[devices->n] = m;
		cdp_column_add(devices, Int64GetDatum(batch->identifiers[m->strongest].identifier_id));
		cdp_column_add(times, TimestampTzGetDatum(m->occurred_at));
		cdp_column_add_text(ids, m->message_id, m->message_id_length);
	}
	arguments[0] = cdp_column_array(devices);
	arguments[1] = cdp_column_array(times);
	arguments[2] = cdp_column_array(ids);
	n = cdp_run(&find_holders, arguments, NULL);
	for (uint64 row = 0; row < n; row++)
	{
		CdpMessage *m = shared[cdp_result_int64(row, 1, 0) - 1];

		m->fragment = cdp_batch_fragment(batch, cdp_result_int64(row, 2, 0),
										 batch->identifiers[m->strongest].identifier_id);
		batch->fragments[m->fragment].profile_id = cdp_result_int64(row, 3, 0);
		cdp_batch_touch(batch, cdp_result_int64(row, 3, 0));
	}
	cdp_done();
}

void
cdp_identity_anchor(CdpBatch *batch)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	Anchor anchor = {batch};
	int n_shared;

	anchor.refolded = palloc(sizeof(int64) * ((Size) batch->n_recontested + batch->n_rederived + 1));
	refold(&anchor, batch->recontested, batch->n_recontested);
	refold(&anchor, batch->rederived, batch->n_rederived);
	batch->reread_devices = palloc(sizeof(int64) * ((Size) anchor.n_refolded + 1));
	memcpy(batch->reread_devices, anchor.refolded, sizeof(int64) * (Size) anchor.n_refolded);
	batch->n_reread_devices = cdp_sort_distinct(batch->reread_devices, anchor.n_refolded);
	store_sign_ins(&anchor);
	batch->refolded = anchor.refolded;
	batch->n_refolded = cdp_sort_distinct(anchor.refolded, anchor.n_refolded);
	n_shared = anchor_to_strongest(batch);
	if (n_shared > 0)
		anchor_to_holders(batch, n_shared);
	MemoryContextSwitchTo(old);
}
