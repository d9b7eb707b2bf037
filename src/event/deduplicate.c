/*
 * deduplicate.c
 *		Each message once: the first of an id within cdp.dedup_window counts.
 *
 * cdp.seen holds a 128-bit key a message.  Its primary key makes two sessions that
 * bring the same message at the same time wait for each other, so the answer is
 * exact.  Keys go in sorted, which keeps sessions from waiting in a circle.
 */
#include "postgres.h"

#include "event/event.h"
#include "catalog/pg_type.h"
#include "utils/hsearch.h"
#include "utils/uuid.h"

CDP_QUERY(remember,
		  "INSERT INTO cdp.seen AS s (key, received_at) SELECT k, r FROM unnest($1, $2) AS n (k, r) "
		  "ON CONFLICT (key) DO UPDATE SET received_at = excluded.received_at "
		  "WHERE s.received_at < excluded.received_at - $3 * interval '1 second' RETURNING key",
		  "uuid[],timestamptz[],int8");

typedef struct Seen
{
	pg_uuid_t key;
	bool is_new;
} Seen;

static int
compare_keys(const void *a, const void *b)
{
	const CdpMessage *const *p = a;
	const CdpMessage *const *q = b;

	return memcmp((*p)->key.data, (*q)->key.data, UUID_LEN);
}

/* Keep the first message of each id in the batch; returns the set of ids. */
static HTAB *
keep_first(CdpBatch *batch)
{
	HASHCTL control = {.keysize = sizeof(pg_uuid_t), .entrysize = sizeof(Seen), .hcxt = batch->context};
	HTAB *set = hash_create("cdp event keys", Max(16, batch->n_messages), &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	int kept = 0;

	for (int i = 0; i < batch->n_messages; i++)
	{
		CdpMessage *m = &batch->messages[i];
		Seen *seen;
		bool found;

		cdp_hash128(m->payload->source, strlen(m->payload->source), m->message_id, m->message_id_length, &m->key);
		seen = hash_search(set, &m->key, HASH_ENTER, &found);
		if (found)
			continue;
		seen->is_new = false;
		batch->messages[kept++] = *m;
	}
	batch->duplicates += batch->n_messages - kept;
	batch->n_messages = kept;
	return set;
}

/* Store the keys, sorted, and mark those that were not there. */
static void
remember_keys(CdpBatch *batch, HTAB *set)
{
	CdpMessage **sorted = palloc(sizeof(CdpMessage *) * batch->n_messages);
	CdpColumn *keys = cdp_column(UUIDOID, batch->n_messages);
	CdpColumn *times = cdp_column(TIMESTAMPTZOID, batch->n_messages);
	Datum arguments[3];
	uint64 n;

	for (int i = 0; i < batch->n_messages; i++)
		sorted[i] = &batch->messages[i];
	qsort(sorted, batch->n_messages, sizeof(CdpMessage *), compare_keys);
	for (int i = 0; i < batch->n_messages; i++)
	{
		cdp_column_add(keys, UUIDPGetDatum(&sorted[i]->key));
		cdp_column_add(times, TimestampTzGetDatum(sorted[i]->payload->received_at));
	}
	arguments[0] = cdp_column_array(keys);
	arguments[1] = cdp_column_array(times);
	arguments[2] = Int64GetDatum(cdp_dedup_window);
	n = cdp_run(&remember, arguments, NULL);
	for (uint64 row = 0; row < n; row++)
	{
		bool isnull;
		pg_uuid_t *key = DatumGetUUIDP(cdp_result_datum(row, 1, &isnull));
		Seen *seen = hash_search(set, key, HASH_FIND, NULL);

		if (seen != NULL)
			seen->is_new = true;
	}
	cdp_done();
}

void
cdp_event_deduplicate(CdpBatch *batch)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	int kept = 0;
	HTAB *set;

	if (batch->n_messages > 0)
	{
		set = keep_first(batch);
		remember_keys(batch, set);
		for (int i = 0; i < batch->n_messages; i++)
		{
			Seen *seen = hash_search(set, &batch->messages[i].key, HASH_FIND, NULL);

			if (seen->is_new)
				batch->messages[kept++] = batch->messages[i];
		}
		batch->duplicates += batch->n_messages - kept;
		batch->n_messages = kept;
	}
	MemoryContextSwitchTo(old);
}
