/*
 * fold.c
 *		Profiles: the fold of their identifiers' fragments.
 *
 * Merging is commutative and associative, so what a batch adds to fragments may be added to the profile as well, and so
 * may the fold of a profile all of whose identifiers came to it.  Only profiles that lost identifiers but live on, or
 * whose fragments were derived again, are folded as a whole.
 */
#include "postgres.h"

#include "profile/fragment.h"
#include "catalog/pg_type.h"

CDP_UPSERT(write_profiles, "profile", "profile_pkey", 1,
		   "profile_id, traits, consents, first_seen_at, last_seen_at, event_count, merged_into", "$1, $2, $3, $4, $5, $6, $7",
		   "int8[],cdp.traits[],cdp.consent_state[],timestamptz[],timestamptz[],int8[],int8[]");
CDP_QUERY(refold_profiles,
		  "UPDATE cdp.profile p SET traits = n.traits, consents = n.consents, first_seen_at = n.first_seen_at, "
		  "last_seen_at = n.last_seen_at, event_count = n.event_count FROM ("
		  "SELECT t.id, CASE WHEN (SELECT EXISTS (SELECT FROM cdp.lookup)) THEN cdp.enrich(cdp.merge_traits(f.traits)) "
		  "ELSE cdp.merge_traits(f.traits) END AS traits, cdp.merge_consents(f.consents) AS consents, "
		  "min(f.first_seen_at) AS first_seen_at, max(f.last_seen_at) AS last_seen_at, "
		  "coalesce(sum(f.event_count), 0)::int8 AS event_count FROM unnest($1) AS t (id) "
		  "LEFT JOIN cdp.identity i ON i.profile_id = t.id LEFT JOIN cdp.fragment f ON f.anchor_id = i.identifier_id "
		  "GROUP BY t.id) n JOIN cdp.profile o ON o.profile_id = n.id WHERE p.profile_id = n.id "
		  "RETURNING p.profile_id, p.merged_into IS NULL AND (o.event_count = 0 OR p.profile_id = ANY ($2) OR "
		  "NOT coalesce(cdp.is_same(o.traits, p.traits), o.traits IS NULL AND p.traits IS NULL) OR "
		  "NOT coalesce(cdp.is_same(o.consents, p.consents), o.consents IS NULL AND p.consents IS NULL))",
		  "int8[],int8[]");

/* What the batch adds to a profile. */
typedef struct Addition
{
	int64 profile_id;
	CdpKnown known;
} Addition;

CDP_QUERY(has_lookups, "SELECT FROM cdp.lookup LIMIT 1", "");

static void *
read_any_lookup(void)
{
	return cdp_find_any(&has_lookups);
}

/* There may be lookups, by whose rows the traits of people change in ways that no fragment tells. */
static CdpCached any_lookup = {"lookup", read_any_lookup};

typedef struct Fold
{
	CdpBatch *batch;
	Addition *additions; /* by profile */
	int n_additions;
	int64 *changed; /* profiles that changed, in any order */
	int n_changed;
} Fold;

void
cdp_known_columns(CdpColumn **columns, int expected)
{
	Oid types[CDP_KNOWN_COLUMNS] = {cdp_type_oid("traits"), cdp_type_oid("consent_state"), TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID};

	for (int i = 0; i < CDP_KNOWN_COLUMNS; i++)
		columns[i] = cdp_column(types[i], expected);
}

void
cdp_known_add(CdpColumn **columns, const CdpKnown *known)
{
	bool is_seen = known->event_count > 0;

	cdp_column_add_any(columns[0], PointerGetDatum(known->traits), known->traits == NULL);
	cdp_column_add_any(columns[1], PointerGetDatum(known->consents), known->consents == NULL);
	cdp_column_add_any(columns[2], TimestampTzGetDatum(known->first_seen_at), !is_seen);
	cdp_column_add_any(columns[3], TimestampTzGetDatum(known->last_seen_at), !is_seen);
	cdp_column_add(columns[4], Int64GetDatum(known->event_count));
}

bool
cdp_is_known(const CdpKnown *known)
{
	return known->event_count > 0 || known->traits != NULL || known->consents != NULL;
}

void
cdp_add_known(CdpKnown *known, const CdpKnown *more)
{
	known->traits = cdp_stamped_merge(known->traits, more->traits, cdp_stamped_tie_bytes);
	known->consents = cdp_stamped_merge(known->consents, more->consents, cdp_stamped_tie_refusal);
	if (more->event_count == 0)
		return;
	if (known->event_count == 0 || more->first_seen_at < known->first_seen_at)
		known->first_seen_at = more->first_seen_at;
	if (known->event_count == 0 || more->last_seen_at > known->last_seen_at)
		known->last_seen_at = more->last_seen_at;
	known->event_count += more->event_count;
}

/* What stands in columns; of maps only those that something is added to, the others need not be unpacked. */
static CdpKnown
read_known(const Datum *values, const bool *nulls, const CdpKnown *added)
{
	CdpKnown known = {0};

	known.traits = nulls[0] || added->traits == NULL ? NULL : DatumGetStampedP(values[0]);
	known.consents = nulls[1] || added->consents == NULL ? NULL : DatumGetStampedP(values[1]);
	known.event_count = DatumGetInt64(values[4]);
	if (known.event_count > 0)
	{
		known.first_seen_at = DatumGetTimestampTz(values[2]);
		known.last_seen_at = DatumGetTimestampTz(values[3]);
	}
	return known;
}

void
cdp_merge_known(const CdpKnown *known, Datum *values, bool *nulls)
{
	CdpKnown all = read_known(values, nulls, known);

	cdp_add_known(&all, known);
	if (known->traits != NULL)
	{
		values[0] = PointerGetDatum(all.traits);
		nulls[0] = false;
	}
	if (known->consents != NULL)
	{
		values[1] = PointerGetDatum(all.consents);
		nulls[1] = false;
	}
	values[2] = TimestampTzGetDatum(all.first_seen_at);
	values[3] = TimestampTzGetDatum(all.last_seen_at);
	values[4] = Int64GetDatum(all.event_count);
	nulls[2] = nulls[3] = all.event_count == 0;
}

static bool
is_same_map(const CdpStamped *a, const CdpStamped *b)
{
	return a == NULL || b == NULL ? a == b : cdp_stamped_equal(a, b);
}

/* A profile, and what the batch adds to it. */
static bool
merge_profile(void *arg, int i, Datum *values, bool *nulls)
{
	Fold *fold = arg;
	const CdpKnown *added = &fold->additions[i].known;
	CdpKnown before = read_known(values + 1, nulls + 1, added);
	CdpKnown after;

	cdp_merge_known(added, values + 1, nulls + 1);
	after = read_known(values + 1, nulls + 1, added);
	if (nulls[6] && (before.event_count == 0 || !is_same_map(before.traits, after.traits) ||
					 !is_same_map(before.consents, after.consents)))
		fold->changed[fold->n_changed++] = fold->additions[i].profile_id;
	return true;
}

/* Is a profile among the first n of those to be folded as a whole, which are sorted? */
static bool
is_refolded(const CdpBatch *batch, int n, int64 profile_id)
{
	return n > 0 && bsearch(&profile_id, batch->refolded_profiles, n, sizeof(int64), cdp_compare_int64) != NULL;
}

static void
sort_refolded(CdpBatch *batch)
{
	batch->n_refolded_profiles = cdp_sort_distinct(batch->refolded_profiles, batch->n_refolded_profiles);
}

/* How many times does an id stand in a sorted list: 0, 1 or more? */
static int
times(const int64 *ids, int n, int64 id)
{
	const int64 *found = n == 0 ? NULL : bsearch(&id, ids, n, sizeof(int64), cdp_compare_int64);

	if (found == NULL)
		return 0;
	return 1 + (found > ids && found[-1] == id) + (found < ids + n - 1 && found[1] == id);
}

/* The profiles that identifiers left, once for each that they went to; sorted. */
static int64 *
list_left(const CdpBatch *batch, int *n)
{
	int64 *left = palloc(sizeof(int64) * ((Size) batch->n_moves + 1));

	*n = 0;
	for (int i = 0; i < batch->n_moves; i++)
	{
		if (batch->moves[i].to_profile_id != 0)
			left[(*n)++] = batch->moves[i].from_profile_id;
	}
	qsort(left, *n, sizeof(int64), cdp_compare_int64);
	return left;
}

/*
 * Decide which profiles are folded as a whole.  Where all identifiers of a profile went to one other, which kept its
 * own and is not folded as a whole, the fold of the one is added to the other's.
 */
static void
choose_refolded(CdpBatch *batch)
{
	int n_left;
	int64 *left = list_left(batch, &n_left);
	int n;

	sort_refolded(batch);
	do
	{
		n = batch->n_refolded_profiles;
		for (int i = 0; i < batch->n_moves; i++)
		{
			int64 from = batch->moves[i].from_profile_id;
			int64 to = batch->moves[i].to_profile_id;
			bool is_absorption = batch->moves[i].is_merge && times(left, n_left, from) == 1 && times(left, n_left, to) == 0;

			if (to == 0 || (is_absorption && !is_refolded(batch, n, from) && !is_refolded(batch, n, to)))
				continue;
			cdp_batch_refold(batch, from);
			cdp_batch_refold(batch, to);
		}
		sort_refolded(batch);
	} while (batch->n_refolded_profiles > n);
}

/* Update profiles by what is done with each. */
static void
update_profiles(Fold *fold, CdpColumn *ids, CdpMergeRow merge, void *arg)
{
	bool *is_gone = palloc0(sizeof(bool) * ((Size) ids->n + 1));

	if (cdp_update(&write_profiles, &ids, cdp_batch_places(fold->batch, ids), merge, arg, is_gone) > 0)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("an identifier belongs to a profile that does not exist"),
						errhint("SELECT * FROM cdp.verify() tells what is not as the log says.")));
}

/* Profiles that others absorb, by id. */
typedef struct Absorption
{
	Fold *fold;
	const CdpBatchMove **moves;
	MemoryContext context;
} Absorption;

static int
compare_absorbed(const void *a, const void *b)
{
	return cdp_compare_int64(&(*(const CdpBatchMove *const *) a)->from_profile_id, &(*(const CdpBatchMove *const *) b)->from_profile_id);
}

/* A profile that another absorbs: what is known of it is the other's now. */
static bool
absorb_profile(void *arg, int i, Datum *values, bool *nulls)
{
	Absorption *absorption = arg;
	Fold *fold = absorption->fold;
	MemoryContext old = MemoryContextSwitchTo(absorption->context);
	CdpKnown known = {.event_count = DatumGetInt64(values[5])};

	if (!nulls[1])
		known.traits = (CdpStamped *) PG_DETOAST_DATUM_COPY(values[1]);
	if (!nulls[2])
		known.consents = (CdpStamped *) PG_DETOAST_DATUM_COPY(values[2]);
	if (known.event_count > 0)
	{
		known.first_seen_at = DatumGetTimestampTz(values[3]);
		known.last_seen_at = DatumGetTimestampTz(values[4]);
	}
	MemoryContextSwitchTo(old);
	if (!cdp_is_known(&known))
		return false;
	fold->additions[fold->n_additions++] = (Addition){absorption->moves[i]->to_profile_id, known};
	memset(nulls + 1, true, sizeof(bool) * 4);
	values[5] = Int64GetDatum(0);
	return true;
}

/* Take out of profiles what others absorb, to be added to those. */
static void
absorb(Fold *fold)
{
	CdpBatch *batch = fold->batch;
	Absorption absorption = {fold, palloc(sizeof(CdpBatchMove *) * ((Size) batch->n_moves + 1)), CurrentMemoryContext};
	CdpColumn *ids = cdp_column(INT8OID, batch->n_moves);
	int n = 0;

	for (int i = 0; i < batch->n_moves; i++)
	{
		const CdpBatchMove *move = &batch->moves[i];

		if (move->to_profile_id != 0 && !is_refolded(batch, batch->n_refolded_profiles, move->from_profile_id))
			absorption.moves[n++] = move;
	}
	qsort(absorption.moves, n, sizeof(CdpBatchMove *), compare_absorbed);
	for (int i = 0; i < n; i++)
		cdp_column_add(ids, Int64GetDatum(absorption.moves[i]->from_profile_id));
	update_profiles(fold, ids, absorb_profile, &absorption);
}

/* Collect what the batch's fragments say, of profiles that are not folded as a whole. */
static void
collect_additions(Fold *fold)
{
	CdpBatch *batch = fold->batch;

	for (int i = 0; i < batch->n_identifiers; i++)
	{
		if (batch->identifiers[i].fragment >= 0)
			batch->fragments[batch->identifiers[i].fragment].profile_id = batch->identifiers[i].profile_id;
	}
	fold->additions = palloc_extended(sizeof(Addition) * ((Size) batch->n_fragments + batch->n_moves + 1), MCXT_ALLOC_HUGE);
	for (int i = 0; i < batch->n_fragments; i++)
	{
		const CdpBatchFragment *fragment = &batch->fragments[i];

		if (cdp_is_known(&fragment->known) && !fragment->is_refolded &&
			!is_refolded(batch, batch->n_refolded_profiles, fragment->profile_id))
			fold->additions[fold->n_additions++] = (Addition){fragment->profile_id, fragment->known};
	}
}

/* Write what is added to profiles. */
static void
add(Fold *fold)
{
	CdpColumn *ids = cdp_column(INT8OID, fold->n_additions);
	int n = fold->n_additions;

	qsort(fold->additions, n, sizeof(Addition), cdp_compare_int64);
	fold->n_additions = 0;
	for (int i = 0; i < n; i++)
	{
		if (fold->n_additions > 0 && fold->additions[fold->n_additions - 1].profile_id == fold->additions[i].profile_id)
			cdp_add_known(&fold->additions[fold->n_additions - 1].known, &fold->additions[i].known);
		else
			fold->additions[fold->n_additions++] = fold->additions[i];
	}
	for (int i = 0; i < fold->n_additions; i++)
		cdp_column_add(ids, Int64GetDatum(fold->additions[i].profile_id));
	update_profiles(fold, ids, merge_profile, fold);
}

/* Fold profiles from all their fragments. */
static void
refold(Fold *fold)
{
	CdpBatch *batch = fold->batch;
	Datum arguments[2] = {cdp_int64_array(batch->refolded_profiles, batch->n_refolded_profiles),
						  cdp_int64_array(batch->bereft, batch->n_bereft)};
	uint64 n;

	if (batch->n_refolded_profiles == 0)
		return;
	n = cdp_run(&refold_profiles, arguments, NULL);
	for (uint64 row = 0; row < n; row++)
	{
		bool isnull;

		if (DatumGetBool(cdp_result_datum(row, 2, &isnull)))
			fold->changed[fold->n_changed++] = cdp_result_int64(row, 1, 0);
	}
	cdp_done();
}

/* A profile also changed when it got or lost an identifier. */
static void
note_changed(Fold *fold)
{
	CdpBatch *batch = fold->batch;

	for (int i = 0; i < batch->n_identifiers; i++)
	{
		if (batch->identifiers[i].is_new)
			fold->changed[fold->n_changed++] = batch->identifiers[i].profile_id;
	}
	for (int i = 0; i < batch->n_moves; i++)
	{
		if (batch->moves[i].to_profile_id == 0)
			continue;
		fold->changed[fold->n_changed++] = batch->moves[i].to_profile_id;
		if (!batch->moves[i].is_merge)
			fold->changed[fold->n_changed++] = batch->moves[i].from_profile_id;
	}
	batch->changed_profiles = fold->changed;
	batch->n_changed_profiles = cdp_sort_distinct(fold->changed, fold->n_changed);
}

void
cdp_profile_fold(CdpBatch *batch)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	Fold fold = {batch};
	bool is_whole;

	cdp_fragments_store(batch);
	cdp_fragments_refold(batch);
	is_whole = batch->cause != NULL || *(bool *) cdp_cached(&any_lookup);
	for (int i = 0, n = batch->n_profiles; i < n && is_whole; i++)
		cdp_batch_refold(batch, batch->profiles[i]);
	choose_refolded(batch);
	batch->n_profiles = cdp_sort_distinct(batch->profiles, batch->n_profiles);
	fold.changed = palloc(sizeof(int64) * ((Size) batch->n_profiles + batch->n_identifiers + 2 * batch->n_moves + 1));
	collect_additions(&fold);
	absorb(&fold);
	add(&fold);
	refold(&fold);
	note_changed(&fold);
	MemoryContextSwitchTo(old);
}
