/*
 * component.c
 *		The batch's links written, the components they touch resolved, the difference stored.
 *
 * Concurrency: the profiles of every component concerned are locked in id order, and the
 * batch's sightings added to its identifiers; if by then one has moved, the batch begins
 * again.  From then on that is done in a subtransaction, which alone is taken back, until it
 * succeeds; not so at first, since a row that is locked by one subtransaction and updated by
 * another needs a multixact.  Whoever holds a component's profiles may change its identities,
 * links, fragments and memberships, and nobody else does.
 *
 * A component is loaded only when something about it can change: a new identifier, a
 * new link, several components meeting, or evidence for a link that is redundant, or
 * for any link of a component in which their order matters (resolve.h).
 * All else leaves the partition as it is (specs/identity.md §5).
 */
#include "postgres.h"

#include "identity/identity.h"
#include "identity/component.h"
#include "identity/load.h"
#include "identity/union_find.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/hsearch.h"
#include "utils/resowner.h"

PG_FUNCTION_INFO_V1(cdp_lock_components);

CDP_SCAN(places_of_identifiers, "identity", "identity_pkey", 1, "identifier_id, profile_id, is_contested", "int8[]");
CDP_SCAN(components_of_profiles, "profile", "profile_pkey", 1, "profile_id, component_id", "int8[]");
CDP_SCAN(members_of_components, "profile", "profile_component_id_idx", 1, "component_id, profile_id, ctid", "int8[]");
CDP_SCAN(profiles, "profile", "profile_pkey", 1, "profile_id, component_id, is_disputed, is_frozen", "int8[]");
CDP_UPSERT(write_links, "link", "link_pkey", 2,
		   "identifier_a, identifier_b, first_seen_at, last_seen_at, event_count, status", "$1, $2, $3, $4, $5, $6",
		   "int8[],int8[],timestamptz[],timestamptz[],int8[],text[]");
CDP_QUERY(rederive, "SELECT cdp.rederive_links($1)", "int8[]");
CDP_QUERY(write_frozen, "SELECT ord, profile_id FROM cdp.join_frozen($1, $2, $3, $4, $5)", "int8[],bool[],int8[],int8[],int8[]");
CDP_UPSERT(write_sightings, "identity", "identity_pkey", 1,
		   "identifier_id, first_seen_at, last_seen_at, event_count, profile_id, is_contested", "$1, $2, $3, $4, $5, $6",
		   "int8[],timestamptz[],timestamptz[],int8[],int8[],bool[]");

typedef struct PairKey
{
	int a;
	int b;
} PairKey;

typedef struct Pair
{
	PairKey key;
	int link;
} Pair;

/* Note one sighting of a pair. */
static void
see_link(CdpBatch *batch, HTAB *pairs, int *capacity, int a, int b, bool is_related, TimestampTz at)
{
	PairKey key = {a, b};
	bool found;
	Pair *pair = hash_search(pairs, &key, HASH_ENTER, &found);
	CdpBatchLink *link;

	if (!found)
	{
		if (batch->n_links == *capacity)
		{
			*capacity *= 2;
			batch->links = repalloc_huge(batch->links, sizeof(CdpBatchLink) * (Size) *capacity);
		}
		pair->link = batch->n_links++;
		link = &batch->links[pair->link];
		memset(link, 0, sizeof(CdpBatchLink));
		link->a = a;
		link->b = b;
		link->is_related = is_related;
		link->first_seen_at = link->last_seen_at = at;
	}
	link = &batch->links[pair->link];
	link->first_seen_at = Min(link->first_seen_at, at);
	link->last_seen_at = Max(link->last_seen_at, at);
	link->event_count++;
}

/*
 * Each message's identifiers make a star from the strongest of their entity; the strongest person is related to the
 * strongest account.  So a message links each of its identifiers but the strongest to one stronger, once.
 */
static void
collect_links(CdpBatch *batch)
{
	HASHCTL control = {.keysize = sizeof(PairKey), .entrysize = sizeof(Pair), .hcxt = batch->context};
	HTAB *pairs = hash_create("cdp identity pairs", 1024, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	int capacity = 256;

	batch->links = palloc(sizeof(CdpBatchLink) * capacity);
	for (int i = 0; i < batch->n_messages; i++)
	{
		const CdpMessage *m = &batch->messages[i];
		const CdpMention *mentions = &batch->mentions[m->first_mention];
		int strongest = 0;

		for (int j = 1; j < m->n_mentions; j++)
		{
			const char *entity = batch->namespaces->items[mentions[j].namespace_index].entity;
			bool is_related = strcmp(entity, batch->namespaces->items[mentions[strongest].namespace_index].entity) != 0;

			see_link(batch, pairs, &capacity, mentions[is_related ? 0 : strongest].identifier, mentions[j].identifier,
					 is_related, m->occurred_at);
			if (is_related)
				strongest = j;
		}
	}
	hash_destroy(pairs);
}

/* What the database says of an identifier of the batch. */
typedef struct Place
{
	int64 profile_id;
	int64 component_id;
	bool is_disputed;
	bool is_contested;
	bool is_frozen;
} Place;

/* Whoever tries again finds it gone, or made anew. */
static void
report_gone(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("an identifier was retracted while a message that mentions it was processed"), errhint("Try again.")));
}

static void
take_place(void *arg, int i, Datum *values, bool *nulls)
{
	Place *place = &((Place *) arg)[i];

	place->profile_id = DatumGetInt64(values[1]);
	place->is_contested = DatumGetBool(values[2]);
}

static void
read_places(const CdpBatch *batch, Place *places)
{
	CdpColumn *ids = cdp_column(INT8OID, batch->n_identifiers);

	for (int i = 0; i < batch->n_identifiers; i++)
		cdp_column_add(ids, Int64GetDatum(batch->identifiers[i].identifier_id));
	if (cdp_scan(&places_of_identifiers, &ids, take_place, places) != (uint64) ids->n)
		report_gone();
}

/* Add to a stored sighting, which begins at a column, what was seen now. */
static void
see(Datum *values, bool *nulls, TimestampTz first_seen_at, TimestampTz last_seen_at, int64 event_count)
{
	if (nulls[0] || DatumGetTimestampTz(values[0]) > first_seen_at)
		values[0] = TimestampTzGetDatum(first_seen_at);
	if (nulls[1] || DatumGetTimestampTz(values[1]) < last_seen_at)
		values[1] = TimestampTzGetDatum(last_seen_at);
	values[2] = Int64GetDatum(DatumGetInt64(values[2]) + event_count);
	nulls[0] = nulls[1] = false;
}

/* The batch's identifiers that were known before, by id. */
typedef struct Sightings
{
	const CdpBatch *batch;
	Place *places;
	int *known;
	int n;
} Sightings;

static int
compare_ids(const void *a, const void *b, void *arg)
{
	const CdpBatch *batch = arg;
	int64 x = batch->identifiers[*(const int *) a].identifier_id;
	int64 y = batch->identifiers[*(const int *) b].identifier_id;

	return x < y ? -1 : x > y;
}

/* One of them: where it is, and what was seen of it. */
static bool
merge_sighting(void *arg, int i, Datum *values, bool *nulls)
{
	Sightings *sightings = arg;
	int known = sightings->known[i];
	const CdpBatchIdentifier *id = &sightings->batch->identifiers[known];

	see(values + 1, nulls + 1, id->first_seen_at, id->last_seen_at, id->event_count);
	sightings->places[known].profile_id = DatumGetInt64(values[4]);
	sightings->places[known].is_contested = DatumGetBool(values[5]);
	return true;
}

/* Add the batch's sightings to the identifiers that were known before, which tells where they are. */
static void
store_sightings(CdpBatch *batch, Place *places)
{
	Sightings sightings = {batch, places, palloc(sizeof(int) * (Size) batch->n_identifiers)};
	bool *is_gone = palloc(sizeof(bool) * (Size) batch->n_identifiers);
	CdpColumn *ids = cdp_column(INT8OID, batch->n_identifiers);
	CdpColumn *known_places = cdp_column(TIDOID, batch->n_identifiers);

	for (int i = 0; i < batch->n_identifiers; i++)
	{
		if (!batch->identifiers[i].is_new) /* nobody else sees those yet */
			sightings.known[sightings.n++] = i;
	}
	qsort_arg(sightings.known, sightings.n, sizeof(int), compare_ids, batch);
	for (int i = 0; i < sightings.n; i++)
	{
		CdpBatchIdentifier *id = &batch->identifiers[sightings.known[i]];

		cdp_column_add(ids, Int64GetDatum(id->identifier_id));
		cdp_column_add(known_places, PointerGetDatum(&id->place));
	}
	if (cdp_update(&write_sightings, &ids, known_places, merge_sighting, &sightings, is_gone) > 0)
		report_gone();
}

/* A profile of a component that is to be locked, and where its row is. */
typedef struct Member
{
	int64 profile_id;
	ItemPointerData place;
} Member;

/* Profiles that are locked, of some components. */
typedef struct Locked
{
	int64 *components; /* sorted */
	int n_components;
	Member *members;
	int n_members;
	int capacity;
	HTAB *places; /* by profile */
} Locked;

static void
take_member(void *arg, int i, Datum *values, bool *nulls)
{
	Locked *locked = arg;

	if (locked->n_members == locked->capacity)
	{
		locked->capacity *= 2;
		locked->members = repalloc_huge(locked->members, sizeof(Member) * (Size) locked->capacity);
	}
	locked->members[locked->n_members++] = (Member){DatumGetInt64(values[1]), *(ItemPointer) DatumGetPointer(values[2])};
}

static int
compare_members(const void *a, const void *b)
{
	int64 p = ((const Member *) a)->profile_id;
	int64 q = ((const Member *) b)->profile_id;

	return p < q ? -1 : p > q;
}

/* A profile that is locked, unless its component is another by now. */
static void
take_locked(void *arg, int i, Datum *values, bool *nulls)
{
	Locked *locked = arg;
	int64 profile_id = DatumGetInt64(values[0]);
	int64 component_id = DatumGetInt64(values[1]);
	Place *place;

	if (bsearch(&component_id, locked->components, locked->n_components, sizeof(int64), cdp_compare_int64) == NULL)
		return;
	place = hash_search(locked->places, &profile_id, HASH_ENTER, NULL);
	place->component_id = component_id;
	place->is_disputed = DatumGetBool(values[2]);
	place->is_frozen = DatumGetBool(values[3]);
}

/* Lock the components of the places' profiles; returns what is locked, by profile. */
static HTAB *
lock_profiles(const Place *places, int n)
{
	HASHCTL control = {.keysize = sizeof(int64), .entrysize = sizeof(Place), .hcxt = CurrentMemoryContext};
	int64 *ids = palloc(sizeof(int64) * (Size) n);
	Locked locked = {.capacity = 2 * n};
	CdpColumn *keys;
	CdpColumn *known_places;

	for (int i = 0; i < n; i++)
		ids[i] = places[i].profile_id;
	locked.n_components = cdp_scan_int64(&components_of_profiles, ids, cdp_sort_distinct(ids, n), &locked.components);
	locked.members = palloc_extended(sizeof(Member) * (Size) locked.capacity, MCXT_ALLOC_HUGE);
	keys = cdp_int64_column(locked.components, locked.n_components);
	cdp_scan(&members_of_components, &keys, take_member, &locked);
	qsort(locked.members, locked.n_members, sizeof(Member), compare_members);
	keys = cdp_column(INT8OID, locked.n_members);
	known_places = cdp_column(TIDOID, locked.n_members);
	for (int i = 0; i < locked.n_members; i++)
	{
		cdp_column_add(keys, Int64GetDatum(locked.members[i].profile_id));
		cdp_column_add(known_places, PointerGetDatum(&locked.members[i].place));
	}
	locked.places = hash_create("cdp identity locked", n, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	cdp_scan_locked(&profiles, &keys, known_places, take_locked, &locked);
	return locked.places;
}

/* Lock the components of places and look again; false: by now an identifier is in another. */
static bool
lock_places(CdpBatch *batch, Place *places)
{
	HTAB *locked = lock_profiles(places, batch->n_identifiers);

	if (batch->cause == NULL)
		store_sightings(batch, places);
	else
		read_places(batch, places);
	for (int i = 0; i < batch->n_identifiers; i++)
	{
		const Place *place = hash_search(locked, &places[i].profile_id, HASH_FIND, NULL);

		if (place == NULL)
			return false;
		places[i].component_id = place->component_id;
		places[i].is_disputed = place->is_disputed;
		places[i].is_frozen = place->is_frozen;
	}
	hash_destroy(locked);
	return true;
}

/*
 * lock_places() in a subtransaction, which is taken back where it tells false or fails: whoever catches an error, as a
 * block of PL/pgSQL does, ends its own subtransaction and counts on none being left in it.
 */
static bool
try_lock_places(CdpBatch *batch, Place *places)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool ok = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		ok = lock_places(batch, places);
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		ReThrowError(error);
	}
	PG_END_TRY();
	if (ok)
		ReleaseCurrentSubTransaction();
	else
		RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return ok;
}

/* Lock the components of the batch's identifiers, store its sightings, and say where each identifier is. */
static Place *
lock_components_of(CdpBatch *batch)
{
	Place *places = palloc0(sizeof(Place) * batch->n_identifiers);

	/* where identify found them; those of a ruling were not looked up */
	for (int i = 0; i < batch->n_identifiers; i++)
		places[i].profile_id = batch->identifiers[i].profile_id;
	if (batch->cause != NULL)
		read_places(batch, places);
	if (batch->is_first_try)
	{
		if (!lock_places(batch, places))
			ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
							errmsg("an identifier moved to another profile while a message that mentions it was processed"),
							errhint("Try again.")));
		return places;
	}
	do
		CHECK_FOR_INTERRUPTS();
	while (!try_lock_places(batch, places));
	return places;
}

/* cdp.lock_components(identifier_ids) */
Datum
cdp_lock_components(PG_FUNCTION_ARGS)
{
	CdpBatch batch = {.context = CurrentMemoryContext, .cause = "ruling"};
	int64 *ids = cdp_int64_elements(PG_GETARG_ARRAYTYPE_P(0), &batch.n_identifiers);

	batch.identifiers = palloc0(sizeof(CdpBatchIdentifier) * ((Size) batch.n_identifiers + 1));
	for (int i = 0; i < batch.n_identifiers; i++)
		batch.identifiers[i].identifier_id = ids[i];
	SPI_connect();
	cdp_namespaces_hold(false);
	if (batch.n_identifiers > 0)
		lock_components_of(&batch);
	SPI_finish();
	PG_RETURN_VOID();
}

/* The batch's links, by the ids of their ends. */
typedef struct Links
{
	CdpBatch *batch;
	int *sorted;
} Links;

static int
compare_links(const void *a, const void *b, void *arg)
{
	const CdpBatch *batch = arg;
	const CdpBatchLink *x = &batch->links[*(const int *) a];
	const CdpBatchLink *y = &batch->links[*(const int *) b];
	int c = compare_ids(&x->a, &y->a, arg);

	return c != 0 ? c : compare_ids(&x->b, &y->b, arg);
}

static bool
merge_link(void *arg, int i, Datum *values, bool *nulls)
{
	Links *links = arg;
	CdpBatchLink *link = &links->batch->links[links->sorted[i]];
	text *status = DatumGetTextPP(values[5]);

	link->is_new = false;
	link->is_redundant = VARSIZE_ANY_EXHDR(status) == strlen("redundant") &&
						 memcmp(VARDATA_ANY(status), "redundant", strlen("redundant")) == 0;
	see(values + 2, nulls + 2, link->first_seen_at, link->last_seen_at, link->event_count);
	return true;
}

/* Store the batch's links; tells which are new, and which are redundant. */
static void
store_links(CdpBatch *batch)
{
	static const Oid types[] = {INT8OID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, TEXTOID};
	Links links = {batch, palloc(sizeof(int) * ((Size) batch->n_links + 1))};
	CdpColumn *columns[lengthof(types)];

	for (int i = 0; i < (int) lengthof(types); i++)
		columns[i] = cdp_column(types[i], batch->n_links);
	for (int i = 0; i < batch->n_links; i++)
		links.sorted[i] = i;
	qsort_arg(links.sorted, batch->n_links, sizeof(int), compare_links, batch);
	for (int i = 0; i < batch->n_links; i++)
	{
		CdpBatchLink *link = &batch->links[links.sorted[i]];
		const char *status = link->is_related ? "related" : "accepted"; /* unless it is judged otherwise */

		link->is_new = true;
		cdp_column_add(columns[0], Int64GetDatum(batch->identifiers[link->a].identifier_id));
		cdp_column_add(columns[1], Int64GetDatum(batch->identifiers[link->b].identifier_id));
		cdp_column_add(columns[2], TimestampTzGetDatum(link->first_seen_at));
		cdp_column_add(columns[3], TimestampTzGetDatum(link->last_seen_at));
		cdp_column_add(columns[4], Int64GetDatum(link->event_count));
		cdp_column_add_text(columns[5], status, strlen(status));
	}
	cdp_upsert(&write_links, columns, merge_link, &links);
}

/*
 * The components that must be resolved again; returns how many ids were put into 'components'.  What meets a frozen
 * component is not: with a cause, when rules or rulings changed, it is looked whether it is too large still.
 */
static int
choose_components(CdpBatch *batch, const Place *places, int64 *components)
{
	int64 *frozen = palloc0(sizeof(int64) * batch->n_identifiers); /* of a root: the frozen component there */
	int n = batch->n_identifiers;
	CdpUnionFind sets;
	bool *is_open = palloc0(sizeof(bool) * n); /* of a root */
	HASHCTL control = {.keysize = sizeof(int64), .entrysize = sizeof(int64) * 2, .hcxt = CurrentMemoryContext};
	HTAB *first = hash_create("cdp identity components", n, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	int n_components = 0;

	cdp_union_find_fill(&sets, n);
	/* identifiers of one component, and those the batch links, are decided together */
	for (int i = 0; i < n; i++)
	{
		bool found;
		int64 *entry = hash_search(first, &places[i].component_id, HASH_ENTER, &found);

		if (!found)
			entry[1] = i;
		cdp_union_find_join(&sets, i, (uint32) entry[1]);
	}
	for (int i = 0; i < batch->n_links; i++)
	{
		if (!batch->links[i].is_related)
			cdp_union_find_join(&sets, batch->links[i].a, batch->links[i].b);
	}
	for (int i = 0; i < batch->n_links; i++)
	{
		const CdpBatchLink *link = &batch->links[i];

		if (link->is_related)
			continue;
		if (link->is_new || link->is_redundant || places[link->a].is_disputed ||
			places[link->a].component_id != places[link->b].component_id)
			is_open[cdp_union_find_root(&sets, link->a)] = true;
	}
	for (int i = 0; i < n; i++)
	{
		if (batch->cause != NULL || batch->identifiers[i].is_new)
			is_open[cdp_union_find_root(&sets, i)] = true;
	}
	for (int i = 0; i < n; i++)
	{
		int64 *known = &frozen[cdp_union_find_root(&sets, i)];

		if (places[i].is_frozen && batch->cause == NULL && (*known == 0 || places[i].component_id < *known))
			*known = places[i].component_id;
	}
	for (int i = 0; i < n; i++)
	{
		uint32 root = cdp_union_find_root(&sets, i);

		if (is_open[root] && frozen[root] == 0)
			components[n_components++] = places[i].component_id;
		else if (is_open[root])
			batch->identifiers[i].frozen_component_id = frozen[root];
	}
	hash_destroy(first);
	return cdp_sort_distinct(components, n_components);
}

/* Add what meets a frozen component to it, and resolve nothing: what is new is a person of its own for now. */
static void
join_frozen(CdpBatch *batch)
{
	CdpColumn *ids = cdp_column(INT8OID, 64);
	CdpColumn *new = cdp_column(BOOLOID, 64);
	CdpColumn *components = cdp_column(INT8OID, 64);
	CdpColumn *a = cdp_column(INT8OID, 64);
	CdpColumn *b = cdp_column(INT8OID, 64);
	CdpBatchIdentifier *identifiers = batch->identifiers;
	int *joined = palloc(sizeof(int) * batch->n_identifiers);
	Datum arguments[5];
	uint64 n;

	for (int i = 0; i < batch->n_identifiers; i++)
	{
		if (identifiers[i].frozen_component_id == 0)
			continue;
		joined[ids->n] = i;
		cdp_column_add(ids, Int64GetDatum(identifiers[i].identifier_id));
		cdp_column_add(new, BoolGetDatum(identifiers[i].is_new));
		cdp_column_add(components, Int64GetDatum(identifiers[i].frozen_component_id));
	}
	if (ids->n == 0)
		return;
	for (int i = 0; i < batch->n_links; i++)
	{
		const CdpBatchLink *link = &batch->links[i];

		if (!link->is_new || link->is_related || identifiers[link->a].frozen_component_id == 0)
			continue;
		cdp_column_add(a, Int64GetDatum(identifiers[link->a].identifier_id));
		cdp_column_add(b, Int64GetDatum(identifiers[link->b].identifier_id));
	}
	arguments[0] = cdp_column_array(ids);
	arguments[1] = cdp_column_array(new);
	arguments[2] = cdp_column_array(components);
	arguments[3] = cdp_column_array(a);
	arguments[4] = cdp_column_array(b);
	n = cdp_run(&write_frozen, arguments, NULL);
	for (uint64 row = 0; row < n; row++)
	{
		CdpBatchIdentifier *id = &identifiers[joined[cdp_result_int64(row, 1, 0) - 1]];

		id->profile_id = cdp_result_int64(row, 2, 0);
		cdp_batch_touch(batch, id->profile_id);
	}
	cdp_done();
}

void
cdp_identity_resolve(CdpBatch *batch)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);

	if (batch->n_identifiers > 0)
	{
		int64 *components = palloc(sizeof(int64) * batch->n_identifiers);
		Place *places;
		int n;

		collect_links(batch);
		places = lock_components_of(batch);
		store_links(batch);
		if (batch->n_rederived > 0)
		{
			Datum ids = cdp_int64_array(batch->rederived, batch->n_rederived);

			cdp_run(&rederive, &ids, NULL);
			cdp_done();
		}
		for (int i = 0; i < batch->n_identifiers; i++)
		{
			batch->identifiers[i].profile_id = places[i].profile_id;
			batch->identifiers[i].is_contested = places[i].is_contested;
			cdp_batch_touch(batch, places[i].profile_id);
		}
		n = choose_components(batch, places, components);
		if (n > 0)
			cdp_component_resolve(batch, components, n);
		join_frozen(batch);
	}
	MemoryContextSwitchTo(old);
}
