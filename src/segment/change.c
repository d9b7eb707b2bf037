/*
 * change.c
 *		Who enters and who leaves: noted person by person, written a chunk at a time.
 *
 * Nothing is written for a person who stays as it is.  A membership that was left and entered
 * again within a chunk is written as it ends; the log has every change.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "segment/membership.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

CdpSegmentListener cdp_segment_listener = NULL;

CDP_QUERY(delete_memberships,
		  "DELETE FROM cdp.membership m USING unnest($1, $2) AS x (profile_id, segment)"
		  " WHERE m.profile_id = x.profile_id AND m.segment = x.segment",
		  "int8[],text[]");
CDP_QUERY(insert_memberships,
		  "INSERT INTO cdp.membership (profile_id, segment, since) SELECT * FROM unnest($1, $2, $3)"
		  " ON CONFLICT ON CONSTRAINT membership_pkey DO UPDATE SET since = excluded.since",
		  "int8[],text[],timestamptz[]");
CDP_QUERY(insert_changes,
		  "INSERT INTO cdp.membership_change (profile_id, segment, change, effective_at, cause)"
		  " SELECT * FROM unnest($1, $2, $3, $4, $5)",
		  "int8[],text[],text[],timestamptz[],text[]");
CDP_QUERY(set_due,
		  "INSERT INTO cdp.due AS d (profile_id, due_at) SELECT * FROM unnest($1, $2)"
		  " ON CONFLICT ON CONSTRAINT due_pkey DO UPDATE SET due_at = excluded.due_at"
		  " WHERE excluded.due_at < d.due_at OR d.due_at <= $3",
		  "int8[],timestamptz[],timestamptz");
CDP_QUERY(clear_due, "DELETE FROM cdp.due d WHERE d.profile_id = ANY ($1)", "int8[]");

/* Forget the chunk before */
void
cdp_change_begin(CdpWork *work)
{
	MemoryContextSwitchTo(work->chunk);
	MemoryContextReset(work->chunk);
	work->changes = NULL;
	work->n_changes = 0;
	work->changes_capacity = 0;
	work->leave_profile = cdp_column(INT8OID, 0);
	work->leave_segment = cdp_column(TEXTOID, 0);
	work->join_profile = cdp_column(INT8OID, 0);
	work->join_segment = cdp_column(TEXTOID, 0);
	work->join_since = cdp_column(TIMESTAMPTZOID, 0);
	work->due_profile = cdp_column(INT8OID, 0);
	work->due_at = cdp_column(TIMESTAMPTZOID, 0);
	work->idle_profile = cdp_column(INT8OID, 0);
	work->computed_profile = cdp_column(INT8OID, 0);
	work->computed_map = cdp_column(cdp_type_oid("traits"), 0);
	work->changed_profile = cdp_column(INT8OID, 0);
}

/* Note that a person enters or leaves a segment */
void
cdp_change_note(CdpWork *work, int64 profile_id, int segment, bool is_entry, TimestampTz at,
				const char *cause)
{
	CdpMembershipChange *change;

	CDP_GROW_IN(work->chunk, work->changes, work->n_changes, work->changes_capacity, 64);
	change = &work->changes[work->n_changes];
	change->transition = (CdpBatchTransition){profile_id, work->segments[segment].name, is_entry, at};
	change->segment = segment;
	change->order = work->n_changes++;
	change->cause = cause;
	work->is_member[segment] = is_entry;
	work->changed_at[segment] = at;
}

/* Note what has to be written about a person who was evaluated */
void
cdp_change_note_outcome(CdpWork *work, int64 profile_id, TimestampTz next)
{
	for (int i = 0; i < work->n_segments; i++)
	{
		if (work->changed_at[i] == DT_NOBEGIN)
			continue;
		if (work->was_member[i])
		{
			cdp_column_add(work->leave_profile, Int64GetDatum(profile_id));
			cdp_column_add(work->leave_segment, work->segments[i].text);
		}
		if (work->is_member[i])
		{
			cdp_column_add(work->join_profile, Int64GetDatum(profile_id));
			cdp_column_add(work->join_segment, work->segments[i].text);
			cdp_column_add(work->join_since, TimestampTzGetDatum(work->changed_at[i]));
		}
	}
	if (next != DT_NOEND)
	{
		cdp_column_add(work->due_profile, Int64GetDatum(profile_id));
		cdp_column_add(work->due_at, TimestampTzGetDatum(next));
	}
	else if (!work->is_partial)
		cdp_column_add(work->idle_profile, Int64GetDatum(profile_id));
}

/* Order changes by their instants */
static int
compare_changes(const void *a, const void *b)
{
	const CdpMembershipChange *x = a;
	const CdpMembershipChange *y = b;

	if (x->transition.effective_at != y->transition.effective_at)
		return x->transition.effective_at < y->transition.effective_at ? -1 : 1;
	return x->order - y->order;
}

/* Add the people whose computed traits changed to those whom the batch changed */
static void
deliver_profiles(CdpWork *work, CdpBatch *batch)
{
	int n = work->changed_profile->n;
	int64 *changed = palloc_extended(sizeof(int64) * ((Size) batch->n_changed_profiles + n), MCXT_ALLOC_HUGE);

	if (batch->n_changed_profiles > 0)
		memcpy(changed, batch->changed_profiles, sizeof(int64) * batch->n_changed_profiles);
	for (int i = 0; i < n; i++)
		changed[batch->n_changed_profiles + i] = DatumGetInt64(work->changed_profile->values[i]);
	batch->changed_profiles = changed;
	batch->n_changed_profiles = cdp_sort_distinct(changed, batch->n_changed_profiles + n);
}

/* Hand the changes on: to the batch's later stages, or to who listens outside of it */
static void
deliver_changes(CdpWork *work)
{
	CdpBatch outside = {.context = work->chunk, .now = work->now};
	CdpBatch *batch = work->batch == NULL ? &outside : work->batch;
	MemoryContext caller = MemoryContextSwitchTo(batch->context);
	Size size = (batch->n_transitions + work->n_changes) * sizeof(CdpBatchTransition);
	int64 entered = 0;

	if (work->n_changes + work->changed_profile->n == 0)
	{
		MemoryContextSwitchTo(caller);
		return;
	}
	if (work->changed_profile->n > 0)
		deliver_profiles(work, batch);

	batch->transitions = batch->transitions == NULL ? palloc_extended(size, MCXT_ALLOC_HUGE)
													: repalloc_huge(batch->transitions, size);
	for (int i = 0; i < work->n_changes; i++)
	{
		CdpBatchTransition *transition = &batch->transitions[batch->n_transitions++];

		*transition = work->changes[i].transition;
		transition->segment = pstrdup(transition->segment);
		entered += transition->is_entry;
	}
	MemoryContextSwitchTo(caller);
	batch->entered += entered;
	batch->exited += work->n_changes - entered;
	work->entered += entered;
	work->exited += work->n_changes - entered;
	if (work->batch == NULL && cdp_segment_listener != NULL)
		cdp_segment_listener(batch);
	MemoryContextSwitchTo(work->chunk);
}

/* Write the log of changes in the order of time */
static void
write_log(CdpWork *work)
{
	CdpColumn *profile = cdp_column(INT8OID, work->n_changes);
	CdpColumn *segment = cdp_column(TEXTOID, work->n_changes);
	CdpColumn *change = cdp_column(TEXTOID, work->n_changes);
	CdpColumn *at = cdp_column(TIMESTAMPTZOID, work->n_changes);
	CdpColumn *cause = cdp_column(TEXTOID, work->n_changes);
	Datum enter = CStringGetTextDatum("enter");
	Datum leave = CStringGetTextDatum("exit");
	Datum arguments[5];

	if (work->n_changes == 0)
		return;
	qsort(work->changes, work->n_changes, sizeof(CdpMembershipChange), compare_changes);
	for (int i = 0; i < work->n_changes; i++)
	{
		const CdpMembershipChange *it = &work->changes[i];

		cdp_column_add(profile, Int64GetDatum(it->transition.profile_id));
		cdp_column_add(segment, work->segments[it->segment].text);
		cdp_column_add(change, it->transition.is_entry ? enter : leave);
		cdp_column_add(at, TimestampTzGetDatum(it->transition.effective_at));
		cdp_column_add_text(cause, it->cause, strlen(it->cause));
	}
	arguments[0] = cdp_column_array(profile);
	arguments[1] = cdp_column_array(segment);
	arguments[2] = cdp_column_array(change);
	arguments[3] = cdp_column_array(at);
	arguments[4] = cdp_column_array(cause);
	cdp_run(&insert_changes, arguments, NULL);
}

/* Write what came out of a chunk, each table in one statement */
void
cdp_change_write(CdpWork *work)
{
	Datum arguments[3];

	if (work->leave_profile->n > 0)
	{
		arguments[0] = cdp_column_array(work->leave_profile);
		arguments[1] = cdp_column_array(work->leave_segment);
		cdp_run(&delete_memberships, arguments, NULL);
	}
	if (work->join_profile->n > 0)
	{
		arguments[0] = cdp_column_array(work->join_profile);
		arguments[1] = cdp_column_array(work->join_segment);
		arguments[2] = cdp_column_array(work->join_since);
		cdp_run(&insert_memberships, arguments, NULL);
	}
	cdp_computed_write(work);
	write_log(work);
	deliver_changes(work);
	if (work->due_profile->n > 0)
	{
		arguments[0] = cdp_column_array(work->due_profile);
		arguments[1] = cdp_column_array(work->due_at);
		/* one segment alone may only bring a hint forward */
		arguments[2] = TimestampTzGetDatum(work->is_partial ? DT_NOBEGIN : work->now);
		cdp_run(&set_due, arguments, NULL);
	}
	if (work->idle_profile->n > 0)
	{
		arguments[0] = cdp_column_array(work->idle_profile);
		cdp_run(&clear_due, arguments, NULL);
	}
}
