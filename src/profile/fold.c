/*
 * fold.c
 *		Fragments of identifiers, and profiles as the fold of their identifiers' fragments.
 *
 * What a message says is kept with the identifier it is anchored to, never with the
 * profile.  So a merge or a split moves no data: the profiles concerned are folded
 * again, and merging values is commutative, so in any order the result is the same.
 */
#include "postgres.h"

#include "profile/trait_rules.h"
#include "catalog/pg_type.h"

CDP_QUERY(write_fragments,
		  "INSERT INTO cdp.fragment AS f (anchor_id, identifier_id, traits, consents, first_seen_at, last_seen_at, "
		  "event_count) SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7) AS k (o, id, t, c, a, z, n) ORDER BY o, id "
		  "ON CONFLICT (anchor_id, identifier_id) DO UPDATE SET "
		  "traits = coalesce(cdp.merge(f.traits, excluded.traits), f.traits, excluded.traits), "
		  "consents = coalesce(cdp.merge(f.consents, excluded.consents), f.consents, excluded.consents), "
		  "first_seen_at = least(f.first_seen_at, excluded.first_seen_at), "
		  "last_seen_at = greatest(f.last_seen_at, excluded.last_seen_at), "
		  "event_count = f.event_count + excluded.event_count",
		  "int8[],int8[],cdp.traits[],cdp.consent_state[],timestamptz[],timestamptz[],int8[]");
CDP_QUERY(note_refused,
		  "INSERT INTO cdp.refused_value (received_at, source_id, message_id, trait) SELECT * FROM unnest($1, $2, $3, $4)",
		  "timestamptz[],int4[],text[],text[]");
CDP_QUERY(refold_fragments, "SELECT * FROM cdp.refold($1, $2)", "int8[],int8[]");
CDP_QUERY(fold_profiles,
		  "UPDATE cdp.profile p SET traits = n.traits, consents = n.consents, first_seen_at = n.first_seen_at, "
		  "last_seen_at = n.last_seen_at, event_count = n.event_count FROM ("
		  "SELECT t.id, cdp.merge_traits(f.traits) AS traits, cdp.merge_consents(f.consents) AS consents, "
		  "min(f.first_seen_at) AS first_seen_at, max(f.last_seen_at) AS last_seen_at, "
		  "coalesce(sum(f.event_count), 0)::int8 AS event_count FROM unnest($1) AS t (id) "
		  "LEFT JOIN cdp.identity i ON i.profile_id = t.id LEFT JOIN cdp.fragment f ON f.anchor_id = i.identifier_id "
		  "GROUP BY t.id) n JOIN cdp.profile o ON o.profile_id = n.id WHERE p.profile_id = n.id "
		  "RETURNING p.profile_id, p.merged_into IS NULL AND (o.event_count = 0 OR "
		  "NOT coalesce(cdp.is_same(o.traits, p.traits), o.traits IS NULL AND p.traits IS NULL) OR "
		  "NOT coalesce(cdp.is_same(o.consents, p.consents), o.consents IS NULL AND p.consents IS NULL))",
		  "int8[]");

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
	Datum arguments[lengthof(refusal_types)];

	if (refusals->columns[0] == NULL)
		return;
	for (int i = 0; i < (int) lengthof(refusal_types); i++)
		arguments[i] = cdp_column_array(refusals->columns[i]);
	cdp_run(&note_refused, arguments, NULL);
	cdp_done();
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

	batch->fragments[key].traits = map;
}

/* Count the events of each fragment. */
static void
count_events(CdpBatch *batch)
{
	for (int i = 0; i < batch->n_messages; i++)
	{
		const CdpMessage *m = &batch->messages[i];
		CdpBatchFragment *fragment;

		if (m->fragment < 0)
			continue;
		fragment = &batch->fragments[m->fragment];
		if (fragment->event_count == 0 || m->occurred_at < fragment->first_seen_at)
			fragment->first_seen_at = m->occurred_at;
		if (fragment->event_count == 0 || m->occurred_at > fragment->last_seen_at)
			fragment->last_seen_at = m->occurred_at;
		fragment->event_count++;
	}
}

static void
add_map(CdpColumn *column, const CdpStamped *map)
{
	if (map == NULL)
		cdp_column_add_null(column);
	else
		cdp_column_add(column, PointerGetDatum(map));
}

static void
add_time(CdpColumn *column, TimestampTz at, bool is_known)
{
	if (is_known)
		cdp_column_add(column, TimestampTzGetDatum(at));
	else
		cdp_column_add_null(column);
}

static void
store_fragments(CdpBatch *batch)
{
	Oid types[] = {INT8OID, INT8OID, cdp_type_oid("traits"), cdp_type_oid("consent_state"), TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID};
	CdpColumn *columns[lengthof(types)];
	Datum arguments[lengthof(types)];

	for (int i = 0; i < (int) lengthof(types); i++)
		columns[i] = cdp_column(types[i], batch->n_fragments);
	for (int i = 0; i < batch->n_fragments; i++)
	{
		const CdpBatchFragment *fragment = &batch->fragments[i];

		if (fragment->is_refolded ||
			(fragment->event_count == 0 && fragment->traits == NULL && fragment->consents == NULL))
			continue;
		cdp_column_add(columns[0], Int64GetDatum(fragment->anchor_id));
		cdp_column_add(columns[1], Int64GetDatum(fragment->identifier_id));
		add_map(columns[2], fragment->traits);
		add_map(columns[3], fragment->consents);
		add_time(columns[4], fragment->first_seen_at, fragment->event_count > 0);
		add_time(columns[5], fragment->last_seen_at, fragment->event_count > 0);
		cdp_column_add(columns[6], Int64GetDatum(fragment->event_count));
	}
	if (columns[0]->n == 0)
		return;
	for (int i = 0; i < (int) lengthof(types); i++)
		arguments[i] = cdp_column_array(columns[i]);
	cdp_run(&write_fragments, arguments, NULL);
	cdp_done();
}

/* Fold all events of some identifiers again: their anchors are others now, or other events are theirs. */
static void
refold(CdpBatch *batch)
{
	Datum arguments[2] = {cdp_int64_array(batch->refolded, batch->n_refolded),
						  cdp_int64_array(batch->reread_devices, batch->n_reread_devices)};
	uint64 n = cdp_run(&refold_fragments, arguments, NULL);

	for (uint64 row = 0; row < n; row++)
		cdp_batch_touch(batch, cdp_result_int64(row, 1, 0));
	cdp_done();
}

/* A profile also changed when it got or lost an identifier. */
static void
note_changed(CdpBatch *batch, int64 *changed, int n)
{
	for (int i = 0; i < batch->n_identifiers; i++)
	{
		if (batch->identifiers[i].is_new)
			changed[n++] = batch->identifiers[i].profile_id;
	}
	for (int i = 0; i < batch->n_moves; i++)
	{
		if (batch->moves[i].to_profile_id == 0)
			continue;
		changed[n++] = batch->moves[i].to_profile_id;
		if (!batch->moves[i].is_merge)
			changed[n++] = batch->moves[i].from_profile_id;
	}
	batch->changed_profiles = changed;
	batch->n_changed_profiles = cdp_sort_distinct(changed, n);
}

/* Fold the touched profiles. */
static void
fold(CdpBatch *batch)
{
	int64 *changed = palloc(sizeof(int64) * ((Size) batch->n_profiles + batch->n_identifiers + 2 * batch->n_moves + 1));
	int n_changed = 0;
	Datum arguments[1];
	uint64 n;

	arguments[0] = cdp_int64_array(batch->profiles, batch->n_profiles);
	n = cdp_run(&fold_profiles, arguments, NULL);
	for (uint64 row = 0; row < n; row++)
	{
		bool isnull;

		if (DatumGetBool(cdp_result_datum(row, 2, &isnull)))
			changed[n_changed++] = cdp_result_int64(row, 1, 0);
	}
	cdp_done();
	note_changed(batch, changed, n_changed);
}

void
cdp_profile_fold(CdpBatch *batch)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	CdpGatherer gatherer = {0};

	gather_traits(batch, &gatherer);
	cdp_gather_build(&gatherer, cdp_stamped_tie_bytes, take_traits, batch);
	count_events(batch);
	store_fragments(batch);
	if (batch->n_refolded > 0)
		refold(batch);
	batch->n_profiles = cdp_sort_distinct(batch->profiles, batch->n_profiles);
	if (batch->n_profiles > 0)
		fold(batch);
	MemoryContextSwitchTo(old);
}
