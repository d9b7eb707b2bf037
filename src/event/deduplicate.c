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
#include "utils/uuid.h"

CDP_UPSERT(remember, "seen", "seen_pkey", 1, "key, received_at", "$1, $2", "uuid[],timestamptz[]");

/* The first message of each id that is left to be decided. */
typedef struct Round
{
	CdpMessage **first; /* by key */
	bool *is_new;
	int n;
} Round;

/* By key, and by arrival. */
static int
compare_messages(const void *a, const void *b)
{
	const CdpMessage *p = *(const CdpMessage *const *) a;
	const CdpMessage *q = *(const CdpMessage *const *) b;
	int c = memcmp(p->key.data, q->key.data, UUID_LEN);

	return c != 0 ? c : p < q ? -1 : p > q;
}

static bool
is_same_key(const CdpMessage *a, const CdpMessage *b)
{
	return memcmp(a->key.data, b->key.data, UUID_LEN) == 0;
}

/* Does a message come longer after another than repeats are looked for? */
static bool
is_beyond_window(TimestampTz at, TimestampTz before)
{
	return at - before > (int64) cdp_dedup_window * USECS_PER_SEC;
}

/* A key that is there: it comes again, and is taken again only where that was longer ago than the window. */
static bool
see_again(void *arg, int i, Datum *values, bool *nulls)
{
	Round *round = arg;
	TimestampTz received_at = round->first[i]->payload->received_at;

	round->is_new[i] = is_beyond_window(received_at, DatumGetTimestampTz(values[1]));
	values[1] = TimestampTzGetDatum(received_at);
	return round->is_new[i];
}

/* Store the keys and find out which were not there, or longer ago than the window. */
static void
remember_keys(Round *round)
{
	CdpColumn *columns[2] = {cdp_column(UUIDOID, round->n), cdp_column(TIMESTAMPTZOID, round->n)};

	for (int i = 0; i < round->n; i++)
	{
		cdp_column_add(columns[0], UUIDPGetDatum(&round->first[i]->key));
		cdp_column_add(columns[1], TimestampTzGetDatum(round->first[i]->payload->received_at));
	}
	memset(round->is_new, true, sizeof(bool) * (Size) round->n);
	cdp_upsert(&remember, columns, see_again, round, NULL);
}

/*
 * Decide the first message of each id among those left, sorted.  Its repeats are dropped where it was new and they
 * came within the window; the rest, nearly always none, are left for another round, as if in another batch.
 * Returns how many those are.
 */
static int
decide(CdpMessage **left, int n, const CdpMessage *messages, bool *is_kept)
{
	Round round = {palloc(sizeof(CdpMessage *) * (Size) n), palloc(sizeof(bool) * (Size) n)};
	int n_left = 0;

	for (int i = 0; i < n; i++)
	{
		if (i == 0 || !is_same_key(left[i], left[i - 1]))
			round.first[round.n++] = left[i];
	}
	remember_keys(&round);
	for (int i = 0, k = 0; i < n; i++)
	{
		CdpMessage *m = left[i];

		k += !is_same_key(m, round.first[k]);
		if (m == round.first[k])
			is_kept[m - messages] = round.is_new[k];
		else if (!round.is_new[k] || is_beyond_window(m->payload->received_at, round.first[k]->payload->received_at))
			left[n_left++] = m;
	}
	return n_left;
}

void
cdp_event_deduplicate(CdpBatch *batch)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	int n = batch->n_messages;
	CdpMessage **left = palloc(sizeof(CdpMessage *) * ((Size) n + 1));
	bool *is_kept = palloc0(sizeof(bool) * ((Size) n + 1));
	int n_kept = 0;

	for (int i = 0; i < n; i++)
	{
		CdpMessage *m = &batch->messages[i];

		cdp_hash128(m->payload->source, strlen(m->payload->source), m->message_id, m->message_id_length, &m->key);
		left[i] = m;
	}
	qsort(left, n, sizeof(CdpMessage *), compare_messages);
	for (int n_left = n; n_left > 0;)
		n_left = decide(left, n_left, batch->messages, is_kept);
	for (int i = 0; i < n; i++)
	{
		if (is_kept[i])
			batch->messages[n_kept++] = batch->messages[i];
	}
	batch->duplicates += n - n_kept;
	batch->n_messages = n_kept;
	MemoryContextSwitchTo(old);
}
