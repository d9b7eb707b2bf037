/*
 * computed.c
 *		The computed traits of people: read, kept current and written, a chunk of people at a time.
 *
 * They are computed from the parts of people's timelines, of which only those months are read that a window reaches
 * into.  A value stays as it is until the instant that cdp_compute() gave with it; so on the way through time that
 * a timer begins only what changes is computed again.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "segment/computation.h"
#include "segment/membership.h"
#include "utils/datum.h"
#include "utils/memutils.h"

CDP_QUERY(read_definitions,
		  "SELECT t.name, t.computed FROM cdp.trait t WHERE t.computed IS NOT NULL ORDER BY t.name COLLATE \"C\"", "");
CDP_QUERY(read_parts,
		  "SELECT k.id, t.events FROM unnest($1) AS k (id)"
		  " CROSS JOIN LATERAL (SELECT l.identifier_id FROM cdp.identity l WHERE l.profile_id = k.id OFFSET 0) i"
		  " CROSS JOIN LATERAL (SELECT l.events FROM cdp.timeline_part l WHERE l.anchor_id = i.identifier_id"
		  " AND l.month >= pg_catalog.date_trunc('month', $2 AT TIME ZONE 'UTC')::date OFFSET 0) t ORDER BY k.id",
		  "int8[],timestamptz");
CDP_QUERY(write_computed,
		  "UPDATE cdp.profile p SET computed = n.computed FROM unnest($1, $2) AS n (id, computed)"
		  " WHERE p.profile_id = n.id AND (n.computed IS NOT NULL OR p.computed IS NOT NULL)",
		  "int8[],cdp.traits[]");

/* Read the definitions; they stay as they are until a trigger says that the table was changed */
static void *
read_computed_traits(void)
{
	CdpComputedTraits *traits = palloc0(sizeof(CdpComputedTraits));

	traits->n = cdp_run_latest(&read_definitions, NULL, NULL);
	traits->names = palloc0(sizeof(char *) * Max(traits->n, 1));
	traits->computations = palloc0(sizeof(CdpComputation) * Max(traits->n, 1));
	for (int i = 0; i < traits->n; i++)
	{
		char *definition = cdp_result_cstring(i, 2);

		traits->names[i] = cdp_result_cstring(i, 1);
		traits->computations[i] = cdp_computation_read(definition, strlen(definition));
	}
	cdp_done();
	return traits;
}

static CdpCached computed_traits = {"trait", read_computed_traits};

/* The traits that are computed */
const CdpComputedTraits *
cdp_computed_traits(void)
{
	return cdp_cached(&computed_traits);
}

/* The instant from which on events matter to one of the traits, as the clock goes on from another */
static TimestampTz
earliest_event(const CdpComputedTraits *traits, TimestampTz from)
{
	TimestampTz earliest = DT_NOEND;

	for (int i = 0; i < traits->n; i++)
	{
		const CdpComputation *computation = &traits->computations[i];
		TimestampTz at = computation->window == CDP_ROLLING	   ? from - computation->far
						 : computation->window == CDP_ABSOLUTE ? computation->near
															   : DT_NOBEGIN;

		earliest = Min(earliest, at);
	}
	return earliest < CDP_FIRST_INSTANT ? DT_NOBEGIN : Min(earliest, CDP_END_INSTANT - 1);
}

/* Read the parts of a chunk's timelines that the traits are computed from, at 'from' or later */
void
cdp_computed_load(CdpWork *work, Datum ids, TimestampTz from)
{
	Datum arguments[2] = {ids};

	work->n_parts = 0;
	if (!work->computes || work->computed->n == 0)
		return;
	arguments[1] = TimestampTzGetDatum(earliest_event(work->computed, from));
	work->n_parts = cdp_run(&read_parts, arguments, NULL);
	work->parts = palloc_extended(Max(work->n_parts, 1) * sizeof(CdpPersonPart), MCXT_ALLOC_HUGE);
	for (int i = 0; i < work->n_parts; i++)
	{
		bool isnull;

		work->parts[i].profile_id = cdp_result_int64(i, 1, 0);
		work->parts[i].events = PG_DETOAST_DATUM_COPY(cdp_result_datum(i, 2, &isnull));
	}
	cdp_done();
}

/* Begin with a person: what it is computed from, and what is known of it; memory is the person's */
CdpPersonTraits
cdp_computed_begin(CdpWork *work, int64 profile_id, const CdpStamped *said, const CdpStamped *stored, int *part)
{
	CdpPersonTraits person = {.said = said, .stored = stored, .computed = stored, .next = DT_NOEND};
	int n = work->computes ? work->computed->n : 0;

	if (!work->computes)
		return person;
	person.facts = palloc0(sizeof(CdpFacts) * (n + 1));
	person.values = palloc0(sizeof(Jsonb *) * (n + 1));
	person.changes_at = palloc(sizeof(TimestampTz) * (n + 1));
	for (; *part < work->n_parts && work->parts[*part].profile_id <= profile_id; (*part)++)
	{
		if (work->parts[*part].profile_id == profile_id)
			cdp_facts_gather(person.facts, work->computed->computations, n, work->parts[*part].events);
	}
	for (int i = 0; i < n; i++)
	{
		cdp_facts_finish(&person.facts[i]);
		person.changes_at[i] = DT_NOBEGIN;
	}
	person.computed = NULL;
	person.next = DT_NOBEGIN;
	return person;
}

/* Make a map of the values that there are; NULL: there is none */
static CdpStamped *
make_map(const CdpComputedTraits *traits, Jsonb *const *values)
{
	CdpStampedEntry *entries = palloc0(sizeof(CdpStampedEntry) * (traits->n + 1));
	int n = 0;

	for (int i = 0; i < traits->n; i++)
	{
		if (values[i] != NULL)
			entries[n++] = (CdpStampedEntry){.name = traits->names[i],
											 .name_length = strlen(traits->names[i]),
											 .at = CDP_FIRST_INSTANT,
											 .rule = CDP_STAMPED_COMPUTED,
											 .value = values[i]};
	}
	return n == 0 ? NULL : cdp_stamped_build(entries, n, cdp_stamped_tie_bytes);
}

/*
 * Bring a person's computed traits to an instant, which never goes back; returns all traits.  Afterwards person->next
 * is the instant at which the next one changes.
 */
const CdpStamped *
cdp_computed_at(CdpWork *work, CdpPersonTraits *person, TimestampTz at)
{
	if (work->computes && person->next <= at)
	{
		person->next = DT_NOEND;
		for (int i = 0; i < work->computed->n; i++)
		{
			if (person->changes_at[i] <= at)
				person->values[i] = cdp_compute(&work->computed->computations[i], &person->facts[i], at,
												&person->changes_at[i]);
			person->next = Min(person->next, person->changes_at[i]);
		}
		person->computed = make_map(work->computed, person->values);
		person->all = NULL;
	}
	if (person->computed == NULL || person->said == NULL)
		return person->computed == NULL ? person->said : person->computed;
	if (person->all == NULL)
		person->all = cdp_stamped_merge(person->said, person->computed, cdp_stamped_tie_bytes);
	return person->all;
}

/* Note what has to be written: a map (NULL: none any more) */
static void
note(CdpWork *work, int64 profile_id, const CdpStamped *map)
{
	cdp_column_add(work->computed_profile, Int64GetDatum(profile_id));
	if (map == NULL)
		cdp_column_add_null(work->computed_map);
	else
		cdp_column_add(work->computed_map, datumCopy(PointerGetDatum(map), false, -1));
}

/* Note what became of a person's computed traits; the chunk's memory is current */
void
cdp_computed_note(CdpWork *work, int64 profile_id, const CdpPersonTraits *person)
{
	const CdpStamped *before = person->stored;
	const CdpStamped *after = person->computed;

	if (before == NULL || after == NULL ? before == after : cdp_stamped_equal(before, after))
		return;
	note(work, profile_id, after);
	cdp_column_add(work->changed_profile, Int64GetDatum(profile_id));
}

/* Note that a profile is no person any more, and has no computed traits */
void
cdp_computed_dismiss(CdpWork *work, int64 profile_id)
{
	if (work->computes)
		note(work, profile_id, NULL);
}

/* Write what came out of a chunk */
void
cdp_computed_write(CdpWork *work)
{
	Datum arguments[2];

	if (work->computed_profile->n == 0)
		return;
	arguments[0] = cdp_column_array(work->computed_profile);
	arguments[1] = cdp_column_array(work->computed_map);
	cdp_run(&write_computed, arguments, NULL);
	cdp_done();
}
