/*
 * deduplicate.c
 *		Each message once: the first of an id within cdp.dedup_window counts.
 *
 * cdp.seen holds a 128-bit key a message.  Its primary key makes two sessions that
 * bring the same message at the same time wait for each other, and the later one
 * begins again, so the answer is exact.  Keys go in sorted, which keeps sessions
 * from waiting in a circle.
 */
#include "postgres.h"

#include "event/event.h"
#include "catalog/pg_type.h"
#include "utils/hsearch.h"
#include "utils/uuid.h"

CDP_UPSERT(remember, "seen", "seen_pkey", 1, "key, received_at", "$1, $2", "uuid[],timestamptz[]");

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
			seen->is_new = true;
			first[(*n_first)++] = messages[i];
		}
	}
	return set;
}

/* A key that is there: it comes again, and is taken again only where that was longer ago than the window. */
static bool
see_again(void *arg, int i, Datum *values, bool *nulls)
{
	Seen **seen = arg;

	seen[i]->is_new =
		seen[i]->received_at - DatumGetTimestampTz(values[1]) > (int64) cdp_dedup_window * USECS_PER_SEC;
	values[1] = TimestampTzGetDatum(seen[i]->received_at);
	return seen[i]->is_new;
}

/* Store the keys, sorted, and mark those that were not there, or longer ago than the window. */
static void
remember_keys(CdpMessage *messages, int n_messages, HTAB *set)
{
	CdpMessage **sorted = palloc(sizeof(CdpMessage *) * n_messages);
	Seen **seen = palloc(sizeof(Seen *) * n_messages);
	CdpColumn *columns[2] = {cdp_column(UUIDOID, n_messages), cdp_column(TIMESTAMPTZOID, n_messages)};

	for (int i = 0; i < n_messages; i++)
		sorted[i] = &messages[i];
	qsort(sorted, n_messages, sizeof(CdpMessage *), compare_keys);
	for (int i = 0; i < n_messages; i++)
	{
		seen[i] = hash_search(set, &sorted[i]->key, HASH_FIND, NULL);
		cdp_column_add(columns[0], UUIDPGetDatum(&sorted[i]->key));
		cdp_column_add(columns[1], TimestampTzGetDatum(seen[i]->received_at));
	}
	cdp_upsert(&remember, columns, see_again, seen);
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
