/*
 * lock.c
 *		The components of a batch's identifiers locked, and the batch's sightings added to them.
 *
 * The profiles of every component concerned are locked in id order, and the batch's sightings
 * added to its identifiers; if by then one has moved, the batch begins again.  From then on
 * that is done in a subtransaction, which alone is taken back, until it succeeds; not so at
 * first, since a row that is locked by one subtransaction and updated by another needs a
 * multixact.  Whoever holds a component's profiles may change its identities, links, fragments
 * and memberships, and nobody else does.
 */
#include "postgres.h"

#include "identity/identity.h"
#include "identity/load.h"
#include "identity/lock.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/resowner.h"

PG_FUNCTION_INFO_V1(cdp_lock_components);

CDP_SCAN(places_of_identifiers, "identity", "identity_pkey", 1, "identifier_id, profile_id, is_contested", "int8[]");
CDP_SCAN(components_of_profiles, "profile", "profile_pkey", 1, "profile_id, component_id", "int8[]");
CDP_SCAN(members_of_components, "profile", "profile_component_id_idx", 1, "component_id, profile_id, ctid", "int8[]");
CDP_SCAN(profiles, "profile", "profile_pkey", 1, "profile_id, component_id, is_disputed, is_frozen", "int8[]");
CDP_UPSERT(write_sightings, "identity", "identity_pkey", 1,
		   "identifier_id, first_seen_at, last_seen_at, event_count, profile_id, is_contested", "$1, $2, $3, $4, $5, $6",
		   "int8[],timestamptz[],timestamptz[],int8[],int8[],bool[]");

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
	CdpPosition *place = &((CdpPosition *) arg)[i];

	place->profile_id = DatumGetInt64(values[1]);
	place->is_contested = DatumGetBool(values[2]);
}

static void
read_places(const CdpBatch *batch, CdpPosition *places)
{
	CdpColumn *ids = cdp_column(INT8OID, batch->n_identifiers);

	for (int i = 0; i < batch->n_identifiers; i++)
		cdp_column_add(ids, Int64GetDatum(batch->identifiers[i].identifier_id));
	if (cdp_scan(&places_of_identifiers, &ids, take_place, places) != (uint64) ids->n)
		report_gone();
}

void
cdp_see(Datum *values, bool *nulls, TimestampTz first_seen_at, TimestampTz last_seen_at, int64 event_count)
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
	CdpPosition *places;
	int *known;
	int n;
} Sightings;

int
cdp_compare_batch_ids(const void *a, const void *b, void *arg)
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

	cdp_see(values + 1, nulls + 1, id->first_seen_at, id->last_seen_at, id->event_count);
	sightings->places[known].profile_id = DatumGetInt64(values[4]);
	sightings->places[known].is_contested = DatumGetBool(values[5]);
	return true;
}

/* Add the batch's sightings to the identifiers that were known before, which tells where they are. */
static void
store_sightings(CdpBatch *batch, CdpPosition *places)
{
	Sightings sightings = {batch, places, palloc(sizeof(int) * (Size) batch->n_identifiers)};
	bool *is_gone = palloc0(sizeof(bool) * (Size) batch->n_identifiers);
	CdpColumn *ids = cdp_column(INT8OID, batch->n_identifiers);
	CdpColumn *known_places = cdp_column(TIDOID, batch->n_identifiers);

	for (int i = 0; i < batch->n_identifiers; i++)
	{
		if (!batch->identifiers[i].is_new) /* nobody else sees those yet */
			sightings.known[sightings.n++] = i;
	}
	qsort_arg(sightings.known, sightings.n, sizeof(int), cdp_compare_batch_ids, batch);
	for (int i = 0; i < sightings.n; i++)
	{
		CdpBatchIdentifier *id = &batch->identifiers[sightings.known[i]];

		cdp_column_add(ids, Int64GetDatum(id->identifier_id));
		cdp_column_add(known_places, PointerGetDatum(&id->place));
	}
	if (cdp_update(&write_sightings, &ids, known_places, merge_sighting, &sightings, is_gone) > 0)
		report_gone();
}

/* Profiles that are to be locked: all of some components. */
typedef struct Members
{
	CdpBatchProfile *items;
	int n;
	int capacity;
} Members;

static void
take_member(void *arg, int i, Datum *values, bool *nulls)
{
	Members *members = arg;

	CDP_GROW(members->items, members->n, members->capacity, 8);
	members->items[members->n++] = (CdpBatchProfile){.profile_id = DatumGetInt64(values[1]), .component_id = DatumGetInt64(values[0]),
													 .place = *(ItemPointer) DatumGetPointer(values[2])};
}

/* Find the profiles of components. */
static void
find_members(Members *members, const int64 *components, int n)
{
	CdpColumn *keys = cdp_int64_column(components, n);

	cdp_scan(&members_of_components, &keys, take_member, members);
	qsort(members->items, members->n, sizeof(CdpBatchProfile), cdp_compare_int64);
}

/*
 * Find the profiles of the components that some profiles are in.  Most components are known by the one profile that
 * there is of them, or the one that the others redirect to; so they are looked for by that, and what is not found
 * there by its own component.
 */
static void
find_all_members(Members *members, const int64 *profiles, int n)
{
	int64 *others = palloc(sizeof(int64) * (Size) n);
	int n_others = 0;

	find_members(members, profiles, n);
	for (int i = 0; i < n; i++)
	{
		if (members->n == 0 || bsearch(&profiles[i], members->items, members->n, sizeof(CdpBatchProfile), cdp_compare_int64) == NULL)
			others[n_others++] = profiles[i];
	}
	if (n_others > 0)
	{
		int64 *components;
		int n_components = cdp_scan_int64(&components_of_profiles, others, n_others, &components);
		int n_unknown = 0;

		for (int i = 0; i < n_components; i++)
		{
			if (bsearch(&components[i], profiles, n, sizeof(int64), cdp_compare_int64) == NULL)
				components[n_unknown++] = components[i];
		}
		find_members(members, components, n_unknown);
	}
}

typedef struct Locking
{
	CdpBatch *batch;
	const CdpBatchProfile *members;
} Locking;

/* A profile that is locked; left out if its component is another by now. */
static void
take_locked(void *arg, int i, Datum *values, bool *nulls)
{
	Locking *locking = arg;
	CdpBatchProfile profile = locking->members[i];

	if (DatumGetInt64(values[1]) != profile.component_id)
		return;
	profile.is_disputed = DatumGetBool(values[2]);
	profile.is_frozen = DatumGetBool(values[3]);
	locking->batch->locked[locking->batch->n_locked++] = profile;
}

/* Lock the components of the places' profiles. */
static void
lock_profiles(CdpBatch *batch, const CdpPosition *places)
{
	int n = batch->n_identifiers;
	int64 *ids = palloc(sizeof(int64) * (Size) n);
	int n_ids = 0;
	Members members = {NULL};
	Locking locking = {batch};
	CdpColumn *keys;
	CdpColumn *known_places;

	for (int i = 0; i < n; i++)
	{
		if (!batch->identifiers[i].is_alone)
			ids[n_ids++] = places[i].profile_id;
	}
	find_all_members(&members, ids, cdp_sort_distinct(ids, n_ids));
	keys = cdp_column(INT8OID, members.n);
	known_places = cdp_column(TIDOID, members.n);
	for (int i = 0; i < members.n; i++)
	{
		cdp_column_add(keys, Int64GetDatum(members.items[i].profile_id));
		cdp_column_add(known_places, PointerGetDatum(&members.items[i].place));
	}
	locking.members = members.items;
	batch->locked = palloc_extended(sizeof(CdpBatchProfile) * ((Size) members.n + 1), MCXT_ALLOC_HUGE);
	batch->n_locked = 0;
	cdp_scan_locked(&profiles, &keys, known_places, take_locked, &locking);
}

/* Lock the components of places and look again; false: by now an identifier is in another. */
static bool
lock_places(CdpBatch *batch, CdpPosition *places)
{
	lock_profiles(batch, places);
	if (batch->cause == NULL)
		store_sightings(batch, places);
	else
		read_places(batch, places);
	for (int i = 0; i < batch->n_identifiers; i++)
	{
		const CdpBatchProfile *profile;

		if (batch->identifiers[i].is_alone)
		{
			places[i].component_id = places[i].profile_id;
			continue;
		}
		profile = cdp_batch_locked(batch, places[i].profile_id);
		if (profile == NULL)
			return false;
		places[i].component_id = profile->component_id;
		places[i].is_disputed = profile->is_disputed;
		places[i].is_frozen = profile->is_frozen;
	}
	return true;
}

/*
 * lock_places() in a subtransaction, which is taken back where it tells false or fails: whoever catches an error, as a
 * block of PL/pgSQL does, ends its own subtransaction and counts on none being left in it.
 */
static bool
try_lock_places(CdpBatch *batch, CdpPosition *places)
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

CdpPosition *
cdp_lock_components_of(CdpBatch *batch)
{
	CdpPosition *places = palloc0(sizeof(CdpPosition) * batch->n_identifiers);

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
		cdp_lock_components_of(&batch);
	SPI_finish();
	PG_RETURN_VOID();
}
