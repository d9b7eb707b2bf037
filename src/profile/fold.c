/*
 * fold.c
 *		Fragments of identifiers, and profiles as the fold of their identifiers' fragments.
 *
 * What a message says is kept with the identifier it is anchored to, never with the
 * profile.  So a merge or a split moves no data: the profiles concerned are folded
 * again, and merging values is commutative, so in any order the result is the same.
 */
#include "postgres.h"

#include "profile/profile.h"
#include "catalog/pg_type.h"

CDP_QUERY(write_fragments,
		  "INSERT INTO cdp.fragment AS f (identifier_id, traits, consents, first_seen_at, last_seen_at, event_count) "
		  "SELECT * FROM unnest($1, $2, $3, $4, $5, $6) AS k (id, t, c, a, z, n) ORDER BY id "
		  "ON CONFLICT (identifier_id) DO UPDATE SET "
		  "traits = coalesce(cdp.merge(f.traits, excluded.traits), f.traits, excluded.traits), "
		  "consents = coalesce(cdp.merge(f.consents, excluded.consents), f.consents, excluded.consents), "
		  "first_seen_at = least(f.first_seen_at, excluded.first_seen_at), "
		  "last_seen_at = greatest(f.last_seen_at, excluded.last_seen_at), "
		  "event_count = f.event_count + excluded.event_count",
		  "int8[],cdp.traits[],cdp.consent_state[],timestamptz[],timestamptz[],int8[]");
CDP_QUERY(fold_profiles,
		  "UPDATE cdp.profile p SET traits = n.traits, consents = n.consents, first_seen_at = n.first_seen_at, "
		  "last_seen_at = n.last_seen_at, event_count = n.event_count FROM ("
		  "SELECT t.id, cdp.merge_traits(f.traits) AS traits, cdp.merge_consents(f.consents) AS consents, "
		  "min(f.first_seen_at) AS first_seen_at, max(f.last_seen_at) AS last_seen_at, "
		  "coalesce(sum(f.event_count), 0)::int8 AS event_count FROM unnest($1) AS t (id) "
		  "LEFT JOIN cdp.identity i ON i.profile_id = t.id LEFT JOIN cdp.fragment f ON f.identifier_id = i.identifier_id "
		  "GROUP BY t.id) n JOIN cdp.profile o ON o.profile_id = n.id WHERE p.profile_id = n.id "
		  "RETURNING p.profile_id, p.merged_into IS NULL AND (o.event_count = 0 OR "
		  "NOT coalesce(cdp.is_same(o.traits, p.traits), o.traits IS NULL AND p.traits IS NULL) OR "
		  "NOT coalesce(cdp.is_same(o.consents, p.consents), o.consents IS NULL AND p.consents IS NULL))",
		  "int8[]");

/* To whom do a message's traits belong? Of identify to its anchor, of group to the account; -1: it says none. */
static int
owner_of_traits(const CdpBatch *batch, const CdpMessage *m)
{
	if (m->type == CDP_IDENTIFY)
		return m->anchor;
	for (int i = 0; m->type == CDP_GROUP && i < m->n_mentions; i++)
	{
		const CdpMention *mention = &batch->mentions[m->first_mention + i];

		if (!batch->namespaces->items[mention->namespace_index].is_person_entity)
			return mention->identifier;
	}
	return -1;
}

/* Gather the traits that messages say, as the log keeps them, so that they can be derived from it again. */
static void
gather_traits(CdpBatch *batch, CdpGatherer *gatherer)
{
	static const char *const path[] = {"traits"};

	for (int i = 0; i < batch->n_messages; i++)
	{
		const CdpMessage *m = &batch->messages[i];
		int owner = owner_of_traits(batch, m);
		JsonbContainer *traits = owner < 0 ? NULL : cdp_jsonb_object(m->document, path, 1);

		if (traits != NULL)
			cdp_gather_object(gatherer, owner, traits, m->occurred_at, m->payload->source_rank);
	}
}

static void
take_traits(void *arg, int key, CdpStamped *map)
{
	CdpBatch *batch = arg;

	batch->identifiers[key].traits = map;
}

/* Count the events anchored to each identifier. */
static void
count_events(CdpBatch *batch)
{
	for (int i = 0; i < batch->n_messages; i++)
	{
		const CdpMessage *m = &batch->messages[i];
		CdpBatchIdentifier *id;

		if (m->anchor < 0)
			continue;
		id = &batch->identifiers[m->anchor];
		if (id->anchored_count == 0 || m->occurred_at < id->first_anchored_at)
			id->first_anchored_at = m->occurred_at;
		if (id->anchored_count == 0 || m->occurred_at > id->last_anchored_at)
			id->last_anchored_at = m->occurred_at;
		id->anchored_count++;
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
	Oid types[] = {INT8OID, cdp_type_oid("traits"), cdp_type_oid("consent_state"), TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID};
	CdpColumn *columns[lengthof(types)];
	Datum arguments[lengthof(types)];

	for (int i = 0; i < (int) lengthof(types); i++)
		columns[i] = cdp_column(types[i], batch->n_identifiers);
	for (int i = 0; i < batch->n_identifiers; i++)
	{
		const CdpBatchIdentifier *id = &batch->identifiers[i];

		if (id->anchored_count == 0 && id->traits == NULL && id->consents == NULL)
			continue;
		cdp_column_add(columns[0], Int64GetDatum(id->identifier_id));
		add_map(columns[1], id->traits);
		add_map(columns[2], id->consents);
		add_time(columns[3], id->first_anchored_at, id->anchored_count > 0);
		add_time(columns[4], id->last_anchored_at, id->anchored_count > 0);
		cdp_column_add(columns[5], Int64GetDatum(id->anchored_count));
	}
	if (columns[0]->n == 0)
		return;
	for (int i = 0; i < (int) lengthof(types); i++)
		arguments[i] = cdp_column_array(columns[i]);
	cdp_run(&write_fragments, arguments, NULL);
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
	if (batch->n_profiles > 0)
		fold(batch);
	MemoryContextSwitchTo(old);
}
