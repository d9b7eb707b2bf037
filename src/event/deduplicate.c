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
	TimestampTz received_at; /* of the first message of that id in this round */
	bool is_new;
} Seen;

static int
compare_keys(const void *a, const void *b)
{
	const CdpMessage *const *p = a;
	const CdpMessage *const *q = b;

	return memcmp((*p)->key.data, (*q)->key.data, UUID_LEN);
}

/* Sort out the first message of each id, in order, to 'first', and the others to 'others'; returns the set of ids. */
static HTAB *
sort_out(CdpMessage *messages, int n, CdpMessage *first, int *n_first, CdpMessage *others, int *n_others)
{
	HASHCTL control = {.keysize = sizeof(pg_uuid_t), .entrysize = sizeof(Seen), .hcxt = CurrentMemoryContext};
	HTAB *set = hash_create("cdp event keys", Max(16, n), &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);

	*n_first = *n_others = 0;
	for (int i = 0; i < n; i++)
	{
		bool found;
		Seen *seen = hash_search(set, &messages[i].key, HASH_ENTER, &found);

		if (found)
			others[(*n_others)++] = messages[i];
		else
		{
			seen->received_at = messages[i].payload->received_at;
			seen->is_new = false;
			first[(*n_first)++] = messages[i];
		}
	}
	return set;
}

/* Store the keys, sorted, and mark those that were not there. */
static void
remember_keys(CdpMessage *messages, int n_messages, HTAB *set)
{
	CdpMessage **sorted = palloc(sizeof(CdpMessage *) * n_messages);
	CdpColumn *keys = cdp_column(UUIDOID, n_messages);
	CdpColumn *times = cdp_column(TIMESTAMPTZOID, n_messages);
	Datum arguments[3];
	uint64 n;

	for (int i = 0; i < n_messages; i++)
		sorted[i] = &messages[i];
	qsort(sorted, n_messages, sizeof(CdpMessage *), compare_keys);
	for (int i = 0; i < n_messages; i++)
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
	int n = batch->n_messages;
	CdpMessage *left = batch->messages;
	CdpMessage *kept = palloc(sizeof(CdpMessage) * Max(1, n));
	int n_kept = 0;

	for (int i = 0; i < n; i++)
		cdp_hash128(left[i].payload->source, strlen(left[i].payload->source), left[i].message_id,
					left[i].message_id_length, &left[i].key);

	/*
	 * A round decides the first message of each id.  Its repeats are dropped where it was new and they came within
	 * the window; the rest, nearly always none, are decided in another round, as if in another batch.
	 */
	while (n > 0)
	{
		CdpMessage *first = palloc(sizeof(CdpMessage) * n);
		CdpMessage *others = palloc(sizeof(CdpMessage) * n);
		int n_first, n_others;
		HTAB *set = sort_out(left, n, first, &n_first, others, &n_others);

		remember_keys(first, n_first, set);
		for (int i = 0; i < n_first; i++)
		{
			Seen *seen = hash_search(set, &first[i].key, HASH_FIND, NULL);

			if (seen->is_new)
				kept[n_kept++] = first[i];
		}
		n = 0;
		for (int i = 0; i < n_others; i++)
		{
			Seen *seen = hash_search(set, &others[i].key, HASH_FIND, NULL);

			if (!seen->is_new ||
				others[i].payload->received_at - seen->received_at > (int64) cdp_dedup_window * USECS_PER_SEC)
				others[n++] = others[i];
		}
		left = others;
	}
	batch->duplicates += batch->n_messages - n_kept;
	batch->messages = kept;
	batch->n_messages = n_kept;
	MemoryContextSwitchTo(old);
}
