/*
 * fragment.c
 *		Fragments of identifiers: what a message says is kept with the identifier it is anchored to.
 *
 * So a merge or a split of people moves no data: a profile is the fold of its identifiers' fragments (fold.c).
 */
#include "postgres.h"

#include "profile/fragment.h"
#include "profile/trait_rules.h"
#include "catalog/pg_type.h"
#include "utils/memutils.h"

CDP_UPSERT(write_fragments, "fragment", "fragment_pkey", 2,
		   "anchor_id, identifier_id, traits, consents, first_seen_at, last_seen_at, event_count",
		   "$1, $2, $3, $4, $5, $6, $7",
		   "int8[],int8[],cdp.traits[],cdp.consent_state[],timestamptz[],timestamptz[],int8[]");
CDP_APPEND(append_refused, "refused_value", "received_at, source_id, message_id, trait", "$1, $2, $3, $4",
		   "timestamptz[],int4[],text[],text[]");
CDP_QUERY(refold_fragments, "SELECT * FROM cdp.refold($1, $2)", "int8[],int8[]");
/*
 * The fragment that a message's traits belong to: of identify the one of its anchor, of group the account's own;
 * -1: it says none.
 */
static int
fragment_of_traits(CdpBatch *batch, const CdpMessage *m)
{
	if (m->type == CDP_IDENTIFY)
		return m->fragment;
	for (int i = 0; m->type == CDP_GROUP && i < m->n_mentions; i++)
	{
		const CdpMention *mention = &batch->mentions[m->first_mention + i];

		if (!batch->namespaces->items[mention->namespace_index].is_person_entity)
			return cdp_batch_own_fragment(batch, mention->identifier);
	}
	return -1;
}

/* Values that broke the rules of their traits, to be written. */
typedef struct Refusals
{
	const CdpMessage *message; /* that is being read */
	CdpColumn *columns[4];
} Refusals;

static const Oid refusal_types[] = {TIMESTAMPTZOID, INT4OID, TEXTOID, TEXTOID};

/* Note that a message's value of a trait broke its rule; the value stands in the message. */
static void
note_refusal(void *arg, const char *name, int name_length)
{
	Refusals *refusals = arg;
	const CdpMessage *m = refusals->message;

	for (int i = 0; i < (int) lengthof(refusal_types) && refusals->columns[i] == NULL; i++)
		refusals->columns[i] = cdp_column(refusal_types[i], 8);
	cdp_column_add(refusals->columns[0], TimestampTzGetDatum(m->payload->received_at));
	cdp_column_add(refusals->columns[1], Int32GetDatum(m->payload->source_id));
	cdp_column_add_text(refusals->columns[2], m->message_id, m->message_id_length);
	cdp_column_add_text(refusals->columns[3], name, name_length);
}

static void
store_refusals(const Refusals *refusals)
{
	if (refusals->columns[0] != NULL)
		cdp_append(&append_refused, refusals->columns);
}

/* Gather the traits that messages say, as the log keeps them, so that they can be derived from it again. */
static void
gather_traits(CdpBatch *batch, CdpGatherer *gatherer)
{
	static const char *const path[] = {"traits"};
	Refusals refusals = {NULL};

	for (int i = 0; i < batch->n_messages; i++)
	{
		const CdpMessage *m = &batch->messages[i];
		JsonbContainer *traits = NULL;

		if (m->type == CDP_IDENTIFY || m->type == CDP_GROUP)
			traits = cdp_jsonb_object(m->document, path, 1);
		if (traits != NULL)
		{
			int fragment = fragment_of_traits(batch, m);

			if (fragment >= 0)
			{
				int from = gatherer->n;

				refusals.message = m;
				cdp_gather_object(gatherer, fragment, traits, m->occurred_at, m->payload->source_rank);
				cdp_traits_apply(gatherer, from, note_refusal, &refusals);
			}
		}
	}
	store_refusals(&refusals);
}

static void
take_traits(void *arg, int key, CdpStamped *map)
{
	CdpBatch *batch = arg;

	batch->fragments[key].known.traits = map;
}

/* Count the events of each fragment. */
static void
count_events(CdpBatch *batch)
{
	for (int i = 0; i < batch->n_messages; i++)
	{
		const CdpMessage *m = &batch->messages[i];
		CdpKnown *known;

		if (m->fragment < 0)
			continue;
		known = &batch->fragments[m->fragment].known;
		if (known->event_count == 0 || m->occurred_at < known->first_seen_at)
			known->first_seen_at = m->occurred_at;
		if (known->event_count == 0 || m->occurred_at > known->last_seen_at)
			known->last_seen_at = m->occurred_at;
		known->event_count++;
	}
}

/* A fragment that is there already, and what the batch adds to it. */
static bool
merge_fragment(void *arg, int i, Datum *values, bool *nulls)
{
	CdpBatchFragment **fragments = arg;

	if (fragments[i]->known.consents != NULL && !nulls[3])
	{
		MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(fragments));

		fragments[i]->consents_before = (CdpStamped *) PG_DETOAST_DATUM_COPY(values[3]);
		MemoryContextSwitchTo(old);
	}
	cdp_merge_known(&fragments[i]->known, values + 2, nulls + 2);
	return true;
}

void
cdp_fragments_store(CdpBatch *batch)
{
	CdpGatherer gatherer = {0};
	CdpBatchFragment **fragments;
	CdpColumn *columns[7];
	bool *is_new;
	int n = 0;

	gather_traits(batch, &gatherer);
	fragments = palloc(sizeof(CdpBatchFragment *) * ((Size) batch->n_fragments + 1));
	cdp_gather_build(&gatherer, cdp_stamped_tie_bytes, take_traits, batch);
	count_events(batch);
	for (int i = 0; i < batch->n_fragments; i++)
	{
		if (!batch->fragments[i].is_refolded && cdp_is_known(&batch->fragments[i].known))
			fragments[n++] = &batch->fragments[i];
	}
	qsort(fragments, n, sizeof(CdpBatchFragment *), cdp_batch_compare_fragments);
	columns[0] = cdp_column(INT8OID, n);
	columns[1] = cdp_column(INT8OID, n);
	cdp_known_columns(columns + 2, n);
	is_new = palloc(sizeof(bool) * ((Size) n + 1));
	for (int i = 0; i < n; i++)
	{
		is_new[i] = fragments[i]->is_new;
		cdp_column_add(columns[0], Int64GetDatum(fragments[i]->anchor_id));
		cdp_column_add(columns[1], Int64GetDatum(fragments[i]->identifier_id));
		cdp_known_add(columns + 2, &fragments[i]->known);
	}
	cdp_upsert(&write_fragments, columns, merge_fragment, fragments, is_new);
}

/* Derive the fragments of some identifiers from the log again: their anchors are others now, or other events are theirs. */
void
cdp_fragments_refold(CdpBatch *batch)
{
	Datum arguments[2] = {cdp_int64_array(batch->refolded, batch->n_refolded),
						  cdp_int64_array(batch->reread_devices, batch->n_reread_devices)};
	uint64 n;

	if (batch->n_refolded == 0)
		return;
	n = cdp_run(&refold_fragments, arguments, NULL);
	for (uint64 row = 0; row < n; row++)
		cdp_batch_refold(batch, cdp_result_int64(row, 1, 0));
	cdp_done();
}
