/*
 * membership.c
 *		Who is in which segment: the stage of the pipeline.
 *
 * People are evaluated in chunks, in the order of their ids: read what the
 * predicates ask for in three statements (people.c) and what traits are computed from
 * in one more (computed.c), evaluate, compare with cdp.membership and the profiles,
 * write the difference in six (change.c).  Traits are computed in the same walk through
 * time as predicates, which may ask for them: all change at their very instants.
 *
 * Locks: who evaluates people holds ROW SHARE on cdp.segment, who changes a
 * definition holds EXCLUSIVE.  So a definition meets every person either in the
 * state before it or in one that already knows it.  Plain readers never wait.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "segment/membership.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

CDP_QUERY(read_segments, "SELECT s.name, s.predicate FROM cdp.segment s ORDER BY s.name COLLATE \"C\"", "");

/* Begin to work; SPI is connected */
void
cdp_work_begin(CdpWork *work, CdpBatch *batch, TimestampTz now, const char *cause)
{
	memset(work, 0, sizeof(CdpWork));
	work->context = AllocSetContextCreate(CurrentMemoryContext, "cdp segments", ALLOCSET_DEFAULT_SIZES);
	work->chunk = AllocSetContextCreate(work->context, "cdp segments: chunk", ALLOCSET_DEFAULT_SIZES);
	work->person = AllocSetContextCreate(work->context, "cdp segments: person", ALLOCSET_DEFAULT_SIZES);
	work->batch = batch;
	work->now = now;
	work->cause = cause;
	MemoryContextSwitchTo(work->chunk);
}

/* Take the lock on the definitions that goes with what one is about to do; kept until commit */
void
cdp_work_lock(LOCKMODE mode)
{
	if (mode == ExclusiveLock && IsolationUsesXactSnapshot())
		ereport(ERROR, (errcode(ERRCODE_INVALID_TRANSACTION_STATE),
						errmsg("segments can be changed in isolation level READ COMMITTED only"),
						errhint("Everybody who is known by then is evaluated. Use BEGIN ISOLATION LEVEL READ COMMITTED.")));
	LockRelationOid(cdp_relation_oid("segment"), mode);
}

/* Note what the predicates of the segments read */
void
cdp_work_note_needs(CdpWork *work)
{
	CdpColumn *names = cdp_column(TEXTOID, work->n_segments);
	CdpColumn *events = cdp_column(TEXTOID, work->n_segments);

	for (int i = 0; i < work->n_segments; i++)
	{
		const CdpPredicate *predicate = work->segments[i].predicate;

		cdp_column_add(names, work->segments[i].text);
		for (int node = 0; node < predicate->n_nodes; node++)
		{
			const CdpProgramNode *leaf = &predicate->nodes[node];

			if (leaf->kind == CDP_COUNT)
				cdp_column_add_text(events, (const char *) predicate + leaf->name, leaf->name_length);
			work->uses_consents |= leaf->kind == CDP_CONSENT;
			work->uses_traits |= leaf->kind == CDP_TRAIT;
		}
	}
	work->uses_events = events->n > 0;
	work->names = cdp_column_array(names);
	work->event_names = cdp_column_array(events);
	work->was_member = palloc0(work->n_segments);
	work->is_member = palloc0(work->n_segments);
	work->changed_at = palloc0(work->n_segments * sizeof(TimestampTz));
}

typedef struct Segments
{
	CdpSegment *items; /* in bytewise order of their names */
	int n;
} Segments;

static void *
read_all_segments(void)
{
	Segments *segments = palloc(sizeof(Segments));

	segments->n = cdp_run_latest(&read_segments, NULL, NULL);
	segments->items = palloc0(sizeof(CdpSegment) * ((Size) segments->n + 1));
	for (int i = 0; i < segments->n; i++)
	{
		bool isnull;
		CdpSegment *segment = &segments->items[i];

		segment->name = cdp_result_cstring(i, 1);
		segment->text = CStringGetTextDatum(segment->name);
		/* a copy, for the row goes away */
		segment->predicate =
			cdp_predicate_from_datum(PointerGetDatum(PG_DETOAST_DATUM_COPY(cdp_result_datum(i, 2, &isnull))));
	}
	cdp_done();
	return segments;
}

static CdpCached all_segments = {"segment", read_all_segments};

/* Load the segments, or the one of that name */
void
cdp_work_load(CdpWork *work, const char *only)
{
	const Segments *segments = cdp_cached(&all_segments);

	MemoryContextSwitchTo(work->context);
	work->is_partial = only != NULL;
	work->computed = cdp_computed_traits();
	work->computes = only == NULL && work->computed->n > 0;
	work->segments = segments->items;
	work->n_segments = only == NULL ? segments->n : 0;
	for (int i = 0; i < segments->n && only != NULL; i++)
	{
		if (strcmp(segments->items[i].name, only) == 0)
		{
			work->segments = &segments->items[i];
			work->n_segments = 1;
		}
	}
	cdp_work_note_needs(work);
	MemoryContextSwitchTo(work->chunk);
}

/* --- Evaluating people --- */

/*
 * Evaluate a person: at the present, or from an overdue timer on at each instant at which something can
 * change. Returns the next such instant.
 */
static TimestampTz
evaluate_person(CdpWork *work, int64 profile_id, CdpSubject *subject, CdpPersonTraits *traits, TimestampTz at,
				const char *cause)
{
	for (;;)
	{
		TimestampTz next;

		CHECK_FOR_INTERRUPTS();
		subject->traits = cdp_computed_at(work, traits, at);
		next = traits->next;
		for (int i = 0; i < work->n_segments; i++)
		{
			TimestampTz change;
			bool holds = cdp_predicate_evaluate(work->segments[i].predicate, subject, at, &change);

			next = Min(next, change);
			if (holds != work->is_member[i])
				cdp_change_note(work, profile_id, i, holds, at, cause);
		}
		if (next > work->now)
			return next;
		at = next;
	}
}

/* Note which segments a person is in before; memberships are in the order of ids */
static void
begin_person(CdpWork *work, int64 profile_id, int *membership)
{
	memset(work->was_member, 0, work->n_segments);
	while (*membership < work->n_memberships && work->memberships[*membership].profile_id <= profile_id)
	{
		const CdpPersonMembership *m = &work->memberships[(*membership)++];

		if (m->profile_id == profile_id && m->segment >= 0)
			work->was_member[m->segment] = true;
	}
	memcpy(work->is_member, work->was_member, work->n_segments);
	for (int i = 0; i < work->n_segments; i++)
		work->changed_at[i] = DT_NOBEGIN;
}

/* Let a person who is no longer one leave everything; returns when to look again: never */
static TimestampTz
dismiss_person(CdpWork *work, int64 profile_id)
{
	for (int i = 0; i < work->n_segments; i++)
	{
		if (work->is_member[i])
			cdp_change_note(work, profile_id, i, false, work->now, "merge");
	}
	cdp_computed_dismiss(work, profile_id);
	return DT_NOEND;
}

/*
 * Evaluate a chunk of people, given in ascending order of their ids.  Where 'due' is not NULL it holds
 * the overdue timer of each.
 */
void
cdp_work_evaluate(CdpWork *work, const int64 *ids, const TimestampTz *due, int n)
{
	Datum id_array;
	uint64 n_rows;
	uint64 row = 0;
	int event = 0;
	int membership = 0;
	int part = 0;
	TimestampTz from = work->now;

	for (int i = 0; i < n && due != NULL; i++)
		from = Min(from, due[i]);
	cdp_change_begin(work);
	id_array = cdp_int64_array(ids, n);
	cdp_computed_load(work, id_array, from);
	cdp_people_load_events(work, id_array);
	cdp_people_load_memberships(work, id_array);
	n_rows = cdp_people_read(work, id_array);
	for (int i = 0; i < n; i++)
	{
		TimestampTz next;

		begin_person(work, ids[i], &membership);
		if (row < n_rows && cdp_result_int64(row, 1, 0) == ids[i])
		{
			CdpPersonTraits traits;
			CdpSubject subject;

			MemoryContextReset(work->person);
			MemoryContextSwitchTo(work->person);
			subject = cdp_people_subject(work, row, ids[i], &event);
			traits = cdp_people_traits(work, row++, ids[i], &part);
			next = evaluate_person(work, ids[i], &subject, &traits, due == NULL ? work->now : due[i],
								   due == NULL ? work->cause : "time");
			MemoryContextSwitchTo(work->chunk);
			cdp_computed_note(work, ids[i], &traits);
		}
		else
			next = dismiss_person(work, ids[i]);
		cdp_change_note_outcome(work, ids[i], next);
	}
	cdp_done();
	cdp_change_write(work);
}

/* The stage: evaluate the people of a batch, and some whose time has come; see segment.h */
void
cdp_segment_evaluate(CdpBatch *batch)
{
	MemoryContext caller = CurrentMemoryContext;
	CdpWork work;

	cdp_work_lock(RowShareLock);
	if (((const Segments *) cdp_cached(&all_segments))->n == 0 && cdp_computed_traits()->n == 0)
		return;
	cdp_work_begin(&work, batch, batch->now, "event");
	cdp_work_load(&work, NULL);
	for (int i = 0; i < batch->n_profiles; i += CDP_SEGMENT_CHUNK)
		cdp_work_evaluate(&work, batch->profiles + i, NULL, Min(CDP_SEGMENT_CHUNK, batch->n_profiles - i));
	/* a message that somebody waits for takes only a few along */
	cdp_timer_sweep(&work, Min(CDP_SEGMENT_DUE, 16 * (int64) Max(batch->max, 1)));
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work.context);
}
