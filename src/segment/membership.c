/*
 * membership.c
 *		Who is in which segment: the stage of the pipeline, definitions, the clock.
 *
 * People are evaluated in chunks, in the order of their ids: read what the
 * predicates ask for in three statements, evaluate, compare with cdp.membership,
 * write the difference in five.  Nothing is written for a person who stays.
 *
 * A row of cdp.due is a hint that is never too late: a person whose next change
 * moves further away keeps the earlier hint, is looked at then, and gets the
 * next one.  So an active person in a moving window writes no timers.
 *
 * Locks: who evaluates people holds ROW SHARE on cdp.segment, who changes a
 * definition holds EXCLUSIVE.  So a definition meets every person either in the
 * state before it or in one that already knows it.  Plain readers never wait.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "segment/predicate.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(cdp_create_segment);
PG_FUNCTION_INFO_V1(cdp_drop_segment);
PG_FUNCTION_INFO_V1(cdp_matches);
PG_FUNCTION_INFO_V1(cdp_advance_to);

#define CHUNK 5000 /* people that are in memory at once */

CdpSegmentListener cdp_segment_listener = NULL;

CDP_QUERY(read_segments,
		  "SELECT s.name, s.predicate FROM cdp.segment s WHERE $1 IS NULL OR s.name = $1 ORDER BY s.name "
		  "COLLATE \"C\"",
		  "text");
/* OFFSET 0 keeps the lookups by index, whatever size the tables had when the plans were made */
CDP_QUERY(read_people,
		  "SELECT p.profile_id, p.traits, CASE WHEN $2 THEN"
		  " ARRAY (SELECT u.name FROM cdp.purpose u WHERE cdp.allows(p.consents, u.categories)) END"
		  " FROM unnest($1) AS k (id) CROSS JOIN LATERAL (SELECT l.profile_id, l.traits, l.consents FROM "
		  "cdp.profile l"
		  " WHERE l.profile_id = k.id AND l.merged_into IS NULL AND l.entity = 'person' OFFSET 0) p ORDER BY "
		  "p.profile_id",
		  "int8[],bool");
CDP_QUERY(
	read_events,
	"SELECT k.id, e.name, pg_catalog.array_agg(e.occurred_at ORDER BY e.occurred_at)"
	" FROM unnest($1) AS k (id)"
	" CROSS JOIN LATERAL (SELECT l.identifier_id FROM cdp.identity l WHERE l.profile_id = k.id OFFSET 0) i"
	" CROSS JOIN LATERAL (SELECT l.name, l.occurred_at FROM cdp.event l"
	" WHERE l.identifier_id = i.identifier_id AND l.name = ANY ($2) OFFSET 0) e"
	" GROUP BY k.id, e.name ORDER BY k.id, e.name COLLATE \"C\"",
	"int8[],text[]");
CDP_QUERY(read_memberships,
		  "SELECT m.profile_id, m.segment FROM unnest($1) AS k (id) CROSS JOIN LATERAL ("
		  "SELECT l.profile_id, l.segment FROM cdp.membership l WHERE l.profile_id = k.id AND l.segment = "
		  "ANY ($2) OFFSET 0) m"
		  " ORDER BY m.profile_id",
		  "int8[],text[]");
CDP_QUERY(read_everybody,
		  "SELECT p.profile_id FROM cdp.profile p WHERE p.merged_into IS NULL AND p.entity = 'person' ORDER "
		  "BY p.profile_id",
		  "");
CDP_QUERY(claim_due,
		  "SELECT d.profile_id, d.due_at FROM cdp.due d JOIN cdp.profile p USING (profile_id)"
		  " WHERE d.due_at <= $1 ORDER BY d.due_at LIMIT $2 FOR NO KEY UPDATE OF d, p SKIP LOCKED",
		  "timestamptz,int4");
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

CDP_QUERY(write_segment,
		  "INSERT INTO cdp.segment AS s (name, predicate, description, created_at, updated_at) VALUES ($1, "
		  "$2, $3, $4, $4)"
		  " ON CONFLICT ON CONSTRAINT segment_pkey DO UPDATE SET predicate = excluded.predicate,"
		  " description = coalesce(excluded.description, s.description), updated_at = excluded.updated_at",
		  "text,cdp.predicate,text,timestamptz");
CDP_QUERY(delete_segment, "DELETE FROM cdp.segment s WHERE s.name = $1", "text");
CDP_QUERY(empty_segment, "DELETE FROM cdp.membership m WHERE m.segment = $1 RETURNING m.profile_id", "text");
CDP_QUERY(count_members, "SELECT pg_catalog.count(*) FROM cdp.membership m WHERE m.segment = $1", "text");
CDP_QUERY(
	find_unknown_purpose,
	"SELECT x FROM unnest($1) AS x WHERE NOT EXISTS (SELECT FROM cdp.purpose p WHERE p.name = x) LIMIT 1",
	"text[]");
CDP_QUERY(find_live_profile,
		  "WITH RECURSIVE chain AS ("
		  "SELECT p.profile_id, p.merged_into FROM cdp.profile p WHERE p.profile_id = $1"
		  " UNION SELECT p.profile_id, p.merged_into FROM chain c JOIN cdp.profile p ON p.profile_id = "
		  "c.merged_into"
		  ") SELECT c.profile_id FROM chain c WHERE c.merged_into IS NULL",
		  "int8");

typedef struct Segment
{
	const char *name;
	Datum text; /* the name */
	const CdpPredicate *predicate;
} Segment;

/* A person who enters or leaves; 'order' keeps the changes of one instant as they were found */
typedef struct Change
{
	CdpBatchTransition transition;
	int segment;
	int order;
	const char *cause;
} Change;

/* The events of one name of one person */
typedef struct PersonEvents
{
	int64 profile_id;
	CdpSubjectEvents events;
} PersonEvents;

typedef struct PersonMembership
{
	int64 profile_id;
	int segment;
} PersonMembership;

/* One evaluation of some people against some segments */
typedef struct Work
{
	MemoryContext context; /* all of it */
	MemoryContext chunk;   /* one chunk of people */
	MemoryContext person;  /* one person */
	CdpBatch *batch;	   /* NULL: outside of the pipeline */
	TimestampTz now;
	const char *cause; /* of changes that no timer brought */
	bool is_partial;   /* not all segments: leave the hints of the others alone */
	int64 entered;
	int64 exited;

	Segment *segments; /* in bytewise order of their names */
	int n_segments;
	Datum names;	   /* text[] */
	Datum event_names; /* text[] */
	bool uses_events;
	bool uses_consents;

	/* of the chunk */
	PersonEvents *events;
	int n_events;
	PersonMembership *memberships;
	int n_memberships;
	Change *changes;
	int n_changes;
	int changes_capacity;
	CdpColumn *leave_profile, *leave_segment;
	CdpColumn *join_profile, *join_segment, *join_since;
	CdpColumn *due_profile, *due_at, *idle_profile;

	/* of the person */
	bool *was_member;
	bool *is_member;
	TimestampTz *changed_at; /* the last change; DT_NOBEGIN: none */
} Work;

/* --- Beginning and ending --- */

/* Run a statement; SPI leaves another memory context current, the chunk's is wanted */
static uint64
run(Work *work, CdpQuery *query, Datum *arguments, const char *nulls)
{
	uint64 n = cdp_run(query, arguments, nulls);

	MemoryContextSwitchTo(work->chunk);
	return n;
}

/* Begin to work; SPI is connected */
static void
begin_work(Work *work, CdpBatch *batch, TimestampTz now, const char *cause)
{
	memset(work, 0, sizeof(Work));
	work->context = AllocSetContextCreate(CurrentMemoryContext, "cdp segments", ALLOCSET_DEFAULT_SIZES);
	work->chunk = AllocSetContextCreate(work->context, "cdp segments: chunk", ALLOCSET_DEFAULT_SIZES);
	work->person = AllocSetContextCreate(work->context, "cdp segments: person", ALLOCSET_DEFAULT_SIZES);
	work->batch = batch;
	work->now = now;
	work->cause = cause;
	MemoryContextSwitchTo(work->chunk);
}

/* Take the lock on the definitions that goes with what one is about to do; kept until commit */
static void
lock_definitions(LOCKMODE mode)
{
	Oid relation = get_relname_relid("segment", get_namespace_oid("cdp", false));

	if (!OidIsValid(relation))
		cdp_require_init();
	LockRelationOid(relation, mode);
}

/* Note what the predicates of the segments read */
static void
note_needs(Work *work)
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
		}
	}
	work->uses_events = events->n > 0;
	work->names = cdp_column_array(names);
	work->event_names = cdp_column_array(events);
	work->was_member = palloc0(work->n_segments);
	work->is_member = palloc0(work->n_segments);
	work->changed_at = palloc0(work->n_segments * sizeof(TimestampTz));
}

/* Read the segments, or the one of that name */
static void
load_segments(Work *work, const char *only)
{
	Datum argument = only == NULL ? (Datum) 0 : CStringGetTextDatum(only);
	uint64 n = run(work, &read_segments, &argument, only == NULL ? "n" : " ");

	MemoryContextSwitchTo(work->context);
	work->is_partial = only != NULL;
	work->n_segments = n;
	work->segments = palloc0(Max(n, 1) * sizeof(Segment));
	for (uint64 i = 0; i < n; i++)
	{
		bool isnull;
		Segment *segment = &work->segments[i];

		segment->name = cdp_result_cstring(i, 1);
		segment->text = CStringGetTextDatum(segment->name);
		/* a copy, for the row goes away */
		segment->predicate =
			cdp_predicate_from_datum(PointerGetDatum(PG_DETOAST_DATUM_COPY(cdp_result_datum(i, 2, &isnull))));
	}
	cdp_done();
	MemoryContextSwitchTo(work->context);
	note_needs(work);
	MemoryContextSwitchTo(work->chunk);
}

/* --- Reading people --- */

/* Read the events of a chunk that the predicates ask for */
static void
load_events(Work *work, Datum ids)
{
	Datum arguments[] = {ids, work->event_names};
	uint64 n;

	work->n_events = 0;
	if (!work->uses_events)
		return;
	n = run(work, &read_events, arguments, NULL);
	work->events = palloc_extended(Max(n, 1) * sizeof(PersonEvents), MCXT_ALLOC_HUGE);
	for (uint64 i = 0; i < n; i++)
	{
		bool isnull;
		ArrayType *times = (ArrayType *) PG_DETOAST_DATUM_COPY(cdp_result_datum(i, 3, &isnull));
		CdpSubjectEvents *events = &work->events[i].events;

		work->events[i].profile_id = cdp_result_int64(i, 1, 0);
		events->name = cdp_result_cstring(i, 2);
		events->name_length = strlen(events->name);
		events->times = (const TimestampTz *) ARR_DATA_PTR(times);
		events->n_times = ArrayGetNItems(ARR_NDIM(times), ARR_DIMS(times));
	}
	work->n_events = n;
	cdp_done();
	MemoryContextSwitchTo(work->chunk);
}

/* Find a segment by its name; -1: none */
static int
find_segment(const Work *work, const char *name)
{
	int low = 0;
	int high = work->n_segments;

	while (low < high)
	{
		int middle = low + (high - low) / 2;
		int order = strcmp(work->segments[middle].name, name);

		if (order == 0)
			return middle;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return -1;
}

/* Read which of the segments the people of a chunk are in */
static void
load_memberships(Work *work, Datum ids)
{
	Datum arguments[] = {ids, work->names};
	uint64 n = run(work, &read_memberships, arguments, NULL);

	work->memberships = palloc_extended(Max(n, 1) * sizeof(PersonMembership), MCXT_ALLOC_HUGE);
	work->n_memberships = n;
	for (uint64 i = 0; i < n; i++)
	{
		char *name = cdp_result_cstring(i, 2);

		work->memberships[i].profile_id = cdp_result_int64(i, 1, 0);
		work->memberships[i].segment = find_segment(work, name);
		pfree(name);
	}
	cdp_done();
	MemoryContextSwitchTo(work->chunk);
}

/* Make the subject of a row of read_people; its events are those of work->events from *event on */
static CdpSubject
read_subject(Work *work, uint64 row, int64 profile_id, int *event)
{
	CdpSubject subject = {0};
	bool isnull;
	Datum value = cdp_result_datum(row, 2, &isnull);
	CdpSubjectEvents *events;
	Datum *purposes;
	int from;

	if (!isnull)
		subject.traits = DatumGetStampedP(value);
	value = cdp_result_datum(row, 3, &isnull);
	if (!isnull)
	{
		const char **names;

		deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT, &purposes, NULL,
						  &subject.n_purposes);
		names = palloc((subject.n_purposes + 1) * sizeof(char *));
		for (int i = 0; i < subject.n_purposes; i++)
			names[i] = TextDatumGetCString(purposes[i]);
		subject.purposes = names;
	}
	while (*event < work->n_events && work->events[*event].profile_id < profile_id)
		(*event)++;
	for (from = *event; *event < work->n_events && work->events[*event].profile_id == profile_id;)
		(*event)++;
	events = palloc((*event - from + 1) * sizeof(CdpSubjectEvents));
	for (int i = from; i < *event; i++)
		events[i - from] = work->events[i].events;
	subject.events = events;
	subject.n_events = *event - from;
	return subject;
}

/* --- Evaluating people --- */

/* Note that a person enters or leaves a segment */
static void
note_change(Work *work, int64 profile_id, int segment, bool is_entry, TimestampTz at, const char *cause)
{
	Change *change;

	if (work->n_changes == work->changes_capacity)
	{
		work->changes_capacity = Max(64, 2 * work->changes_capacity);
		if (work->changes == NULL)
			work->changes = MemoryContextAllocHuge(work->chunk, work->changes_capacity * sizeof(Change));
		else
			work->changes = repalloc_huge(work->changes, work->changes_capacity * sizeof(Change));
	}
	change = &work->changes[work->n_changes];
	change->transition = (CdpBatchTransition){profile_id, work->segments[segment].name, is_entry, at};
	change->segment = segment;
	change->order = work->n_changes++;
	change->cause = cause;
	work->is_member[segment] = is_entry;
	work->changed_at[segment] = at;
}

/*
 * Evaluate a person: at the present, or from an overdue timer on at each instant at which something can
 * change. Returns the next such instant.
 */
static TimestampTz
evaluate_person(Work *work, int64 profile_id, const CdpSubject *subject, TimestampTz at, const char *cause)
{
	for (;;)
	{
		TimestampTz next = DT_NOEND;

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < work->n_segments; i++)
		{
			TimestampTz change;
			bool holds = cdp_predicate_evaluate(work->segments[i].predicate, subject, at, &change);

			next = Min(next, change);
			if (holds != work->is_member[i])
				note_change(work, profile_id, i, holds, at, cause);
		}
		if (next > work->now)
			return next;
		at = next;
	}
}

/* Note what has to be written about a person who was evaluated */
static void
note_outcome(Work *work, int64 profile_id, TimestampTz next)
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
	const Change *x = a;
	const Change *y = b;

	if (x->transition.effective_at != y->transition.effective_at)
		return x->transition.effective_at < y->transition.effective_at ? -1 : 1;
	return x->order - y->order;
}

/* Hand the changes on: to the batch's later stages, or to who listens outside of it */
static void
deliver_changes(Work *work)
{
	CdpBatch outside = {.context = work->chunk, .now = work->now};
	CdpBatch *batch = work->batch == NULL ? &outside : work->batch;
	MemoryContext caller = MemoryContextSwitchTo(batch->context);
	Size size = (batch->n_transitions + work->n_changes) * sizeof(CdpBatchTransition);
	int64 entered = 0;

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

/* Write the log of changes in the order of time, and hand them on */
static void
write_changes(Work *work)
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
	qsort(work->changes, work->n_changes, sizeof(Change), compare_changes);
	for (int i = 0; i < work->n_changes; i++)
	{
		const Change *it = &work->changes[i];

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
	run(work, &insert_changes, arguments, NULL);
	deliver_changes(work);
}

/* Write what came out of a chunk, each table in one statement */
static void
write_chunk(Work *work)
{
	Datum arguments[3];

	if (work->leave_profile->n > 0)
	{
		arguments[0] = cdp_column_array(work->leave_profile);
		arguments[1] = cdp_column_array(work->leave_segment);
		run(work, &delete_memberships, arguments, NULL);
	}
	if (work->join_profile->n > 0)
	{
		arguments[0] = cdp_column_array(work->join_profile);
		arguments[1] = cdp_column_array(work->join_segment);
		arguments[2] = cdp_column_array(work->join_since);
		run(work, &insert_memberships, arguments, NULL);
	}
	write_changes(work);
	if (work->due_profile->n > 0)
	{
		arguments[0] = cdp_column_array(work->due_profile);
		arguments[1] = cdp_column_array(work->due_at);
		/* one segment alone may only bring a hint forward */
		arguments[2] = TimestampTzGetDatum(work->is_partial ? DT_NOBEGIN : work->now);
		run(work, &set_due, arguments, NULL);
	}
	if (work->idle_profile->n > 0)
	{
		arguments[0] = cdp_column_array(work->idle_profile);
		run(work, &clear_due, arguments, NULL);
	}
}

/* Forget the chunk before */
static void
begin_chunk(Work *work)
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
}

/* Note which segments a person is in before; memberships are in the order of ids */
static void
begin_person(Work *work, int64 profile_id, int *membership)
{
	memset(work->was_member, 0, work->n_segments);
	while (*membership < work->n_memberships && work->memberships[*membership].profile_id <= profile_id)
	{
		const PersonMembership *m = &work->memberships[(*membership)++];

		if (m->profile_id == profile_id && m->segment >= 0)
			work->was_member[m->segment] = true;
	}
	memcpy(work->is_member, work->was_member, work->n_segments);
	for (int i = 0; i < work->n_segments; i++)
		work->changed_at[i] = DT_NOBEGIN;
}

/* Let a person who is no longer one leave everything; returns when to look again: never */
static TimestampTz
dismiss_person(Work *work, int64 profile_id)
{
	for (int i = 0; i < work->n_segments; i++)
	{
		if (work->is_member[i])
			note_change(work, profile_id, i, false, work->now, "merge");
	}
	return DT_NOEND;
}

/*
 * Evaluate a chunk of people, given in ascending order of their ids.  Where 'due' is not NULL it holds
 * the overdue timer of each.
 */
static void
evaluate_chunk(Work *work, const int64 *ids, const TimestampTz *due, int n)
{
	Datum arguments[2];
	uint64 n_rows;
	uint64 row = 0;
	int event = 0;
	int membership = 0;

	begin_chunk(work);
	arguments[0] = cdp_int64_array(ids, n);
	arguments[1] = BoolGetDatum(work->uses_consents);
	load_events(work, arguments[0]);
	load_memberships(work, arguments[0]);
	n_rows = run(work, &read_people, arguments, NULL);
	for (int i = 0; i < n; i++)
	{
		TimestampTz next;

		begin_person(work, ids[i], &membership);
		if (row < n_rows && cdp_result_int64(row, 1, 0) == ids[i])
		{
			CdpSubject subject;

			MemoryContextReset(work->person);
			MemoryContextSwitchTo(work->person);
			subject = read_subject(work, row++, ids[i], &event);
			next = evaluate_person(work, ids[i], &subject, due == NULL ? work->now : due[i],
								   due == NULL ? work->cause : "time");
			MemoryContextSwitchTo(work->chunk);
		}
		else
			next = dismiss_person(work, ids[i]);
		note_outcome(work, ids[i], next);
	}
	cdp_done();
	MemoryContextSwitchTo(work->chunk);
	write_chunk(work);
}

typedef struct Due
{
	int64 profile_id;
	TimestampTz at;
} Due;

/* Order timers by the ids of their profiles */
static int
compare_due(const void *a, const void *b)
{
	int64 x = ((const Due *) a)->profile_id;
	int64 y = ((const Due *) b)->profile_id;

	return x < y ? -1 : x > y;
}

/* Evaluate people whose timers are overdue, the oldest first; returns how many */
static int
sweep_due(Work *work, int limit)
{
	Datum arguments[] = {TimestampTzGetDatum(work->now), Int32GetDatum(limit)};
	int n = run(work, &claim_due, arguments, NULL);
	Due *due = palloc(Max(n, 1) * sizeof(Due));
	int64 *ids;
	TimestampTz *at;

	for (int i = 0; i < n; i++)
		due[i] = (Due){cdp_result_int64(i, 1, 0), (TimestampTz) cdp_result_int64(i, 2, 0)};
	cdp_done();
	MemoryContextSwitchTo(work->context);
	qsort(due, n, sizeof(Due), compare_due);
	ids = palloc(Max(n, 1) * sizeof(int64));
	at = palloc(Max(n, 1) * sizeof(TimestampTz));
	for (int i = 0; i < n; i++)
	{
		ids[i] = due[i].profile_id;
		at[i] = due[i].at;
	}
	MemoryContextSwitchTo(work->chunk);
	if (n > 0)
		evaluate_chunk(work, ids, at, n);
	pfree(ids);
	pfree(at);
	return n;
}

/* The stage: evaluate the people of a batch, and some whose time has come; see segment.h */
void
cdp_segment_evaluate(CdpBatch *batch)
{
	MemoryContext caller = CurrentMemoryContext;
	Work work;

	lock_definitions(RowShareLock);
	begin_work(&work, batch, batch->now, "event");
	load_segments(&work, NULL);
	if (work.n_segments > 0)
	{
		for (int i = 0; i < batch->n_profiles; i += CHUNK)
			evaluate_chunk(&work, batch->profiles + i, NULL, Min(CHUNK, batch->n_profiles - i));
		/* a message that somebody waits for takes only a few along */
		sweep_due(&work, Min(CDP_SEGMENT_DUE, 16 * Max(batch->max, 1)));
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work.context);
}

/* --- Definitions --- */

/* Check that a segment's name is 1 to 63 printable bytes */
static char *
check_name(text *name)
{
	char *result = text_to_cstring(name);
	int length = strlen(result);
	bool is_good = length >= 1 && length <= 63;

	for (int i = 0; i < length && is_good; i++)
		is_good = (unsigned char) result[i] >= ' ' && result[i] != 0x7f;
	if (!is_good)
		ereport(ERROR, (errcode(ERRCODE_INVALID_NAME), errmsg("invalid name for a segment"),
						errhint("Use 1 to 63 bytes without control characters.")));
	return result;
}

/* Check that the purposes a predicate asks for exist */
static void
check_purposes(const CdpPredicate *predicate)
{
	CdpColumn *names = cdp_column(TEXTOID, 0);
	Datum argument;

	for (int i = 0; i < predicate->n_nodes; i++)
	{
		const CdpProgramNode *leaf = &predicate->nodes[i];

		if (leaf->kind == CDP_CONSENT)
			cdp_column_add_text(names, (const char *) predicate + leaf->name, leaf->name_length);
	}
	if (names->n == 0)
		return;
	argument = cdp_column_array(names);
	if (cdp_run(&find_unknown_purpose, &argument, NULL) > 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("purpose \"%s\" does not exist", cdp_result_cstring(0, 1)),
						errhint("Make it with cdp.create_purpose(), or correct the predicate.")));
	cdp_done();
}

/* Bring everybody up to date, so that the new definition meets no overdue timer */
static void
sweep_all(TimestampTz now, int64 *entered, int64 *exited)
{
	MemoryContext caller = CurrentMemoryContext;
	Work work;

	begin_work(&work, NULL, now, "time");
	load_segments(&work, NULL);
	while (sweep_due(&work, CHUNK) > 0)
		CHECK_FOR_INTERRUPTS();
	*entered = work.entered;
	*exited = work.exited;
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work.context);
}

/* Evaluate every person against one segment */
static void
evaluate_everybody(const char *name, TimestampTz now)
{
	MemoryContext caller = CurrentMemoryContext;
	Work work;
	Portal people;
	int64 *ids;
	int n;

	begin_work(&work, NULL, now, "definition");
	load_segments(&work, name);
	ids = MemoryContextAlloc(work.context, CHUNK * sizeof(int64));
	people = cdp_open(&read_everybody, NULL);
	do
	{
		SPI_cursor_fetch(people, true, CHUNK);
		n = SPI_processed;
		for (int i = 0; i < n; i++)
			ids[i] = cdp_result_int64(i, 1, 0);
		cdp_done();
		if (n > 0)
			evaluate_chunk(&work, ids, NULL, n);
	} while (n == CHUNK);
	SPI_cursor_close(people);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work.context);
}

/* Make or replace a segment; returns the number of its members */
Datum
cdp_create_segment(PG_FUNCTION_ARGS)
{
	TimestampTz now = cdp_now();
	int64 entered;
	int64 exited;
	int64 n;
	char *name;
	Datum arguments[4];

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("name and predicate of a segment must not be null"),
						errhint("Write SELECT cdp.create_segment('pro', $$trait plan = 'pro'$$).")));
	name = check_name(PG_GETARG_TEXT_PP(0));
	cdp_require_init();
	SPI_connect();
	check_purposes(cdp_predicate_from_datum(PG_GETARG_DATUM(1)));
	lock_definitions(ExclusiveLock);
	sweep_all(now, &entered, &exited);
	arguments[0] = CStringGetTextDatum(name);
	arguments[1] = PG_GETARG_DATUM(1);
	arguments[2] = PG_ARGISNULL(2) ? (Datum) 0 : PG_GETARG_DATUM(2);
	arguments[3] = TimestampTzGetDatum(now);
	cdp_run(&write_segment, arguments, PG_ARGISNULL(2) ? "  n " : NULL);
	evaluate_everybody(name, now);
	cdp_run(&count_members, arguments, NULL);
	n = cdp_result_int64(0, 1, 0);
	SPI_finish();
	PG_RETURN_INT64(n);
}

/* Drop a segment; everybody leaves it; returns how many */
Datum
cdp_drop_segment(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Datum argument = CStringGetTextDatum(name);
	TimestampTz now = cdp_now();
	Work work;
	uint64 n;

	cdp_require_init();
	SPI_connect();
	lock_definitions(ExclusiveLock);
	begin_work(&work, NULL, now, "definition");
	load_segments(&work, name);
	if (work.n_segments == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("segment \"%s\" does not exist", name),
						errhint("SELECT name FROM cdp.segment shows all segments.")));
	begin_chunk(&work);
	n = run(&work, &empty_segment, &argument, NULL);
	for (uint64 i = 0; i < n; i++)
		note_change(&work, cdp_result_int64(i, 1, 0), 0, false, now, "definition");
	cdp_done();
	MemoryContextSwitchTo(work.chunk);
	write_changes(&work);
	run(&work, &delete_segment, &argument, NULL);
	SPI_finish();
	PG_RETURN_INT64((int64) n);
}

/* --- Questions and time --- */

/* Say whether a predicate holds for a profile, from what the log and the profile say now */
Datum
cdp_matches(PG_FUNCTION_ARGS)
{
	TimestampTz at = PG_ARGISNULL(2) ? cdp_now() : PG_GETARG_TIMESTAMPTZ(2);
	Segment segment = {.name = ""};
	CdpSubject subject;
	Work work;
	int64 profile_id;
	int event = 0;
	bool holds;
	Datum arguments[2];

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	if (TIMESTAMP_NOT_FINITE(at))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("instant must be finite")));
	cdp_require_init();
	segment.predicate = cdp_predicate_from_datum(PG_GETARG_DATUM(1));
	SPI_connect();
	begin_work(&work, NULL, at, "");
	segment.text = CStringGetTextDatum(segment.name);
	work.segments = &segment;
	work.n_segments = 1;
	note_needs(&work);
	arguments[0] = PG_GETARG_DATUM(0);
	if (run(&work, &find_live_profile, arguments, NULL) == 0)
		ereport(ERROR, (errcode(ERRCODE_NO_DATA_FOUND), errmsg("there is no such profile"),
						errhint("Take ids from cdp.profiles or cdp.profile_id().")));
	profile_id = cdp_result_int64(0, 1, 0);
	cdp_done();
	MemoryContextSwitchTo(work.chunk);
	arguments[0] = cdp_int64_array(&profile_id, 1);
	arguments[1] = BoolGetDatum(work.uses_consents);
	load_events(&work, arguments[0]);
	if (run(&work, &read_people, arguments, NULL) == 0)
		ereport(ERROR, (errcode(ERRCODE_NO_DATA_FOUND), errmsg("profile is not of a person"),
						errhint("Segments are of people.")));
	subject = read_subject(&work, 0, profile_id, &event);
	holds = cdp_predicate_evaluate(segment.predicate, &subject, at, NULL);
	SPI_finish();
	PG_RETURN_BOOL(holds);
}

/* Write an instant as the setting cdp.clock takes it */
static char *
clock_text(TimestampTz at)
{
	struct pg_tm tm;
	fsec_t microseconds;

	if (timestamp2tm(at, NULL, &tm, &microseconds, NULL, NULL) != 0 || tm.tm_year < 1 || tm.tm_year > 9999)
		ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
						errmsg("instant must be in the years 1 to 9999")));
	return psprintf("%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", tm.tm_year, tm.tm_mon, tm.tm_mday, tm.tm_hour,
					tm.tm_min, tm.tm_sec, (int) microseconds);
}

/* Let time pass: every timer up to an instant goes off at its own, then the clock stands at that instant */
Datum
cdp_advance_to(PG_FUNCTION_ARGS)
{
	TimestampTz at = PG_GETARG_TIMESTAMPTZ(0);
	TupleDesc descriptor;
	char *clock;
	int64 entered;
	int64 exited;
	Datum values[2];
	bool nulls[2] = {false, false};

	if (TIMESTAMP_NOT_FINITE(at))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("instant must be finite")));
	if (cdp_clock_setting != NULL && cdp_clock_setting[0] != '\0' && at < cdp_now())
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the clock cannot be set back"),
						errhint("Advance to an instant that is not before cdp.clock_now().")));
	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	clock = clock_text(at);
	cdp_require_init();
	SPI_connect();
	lock_definitions(RowShareLock);
	sweep_all(at, &entered, &exited);
	SPI_finish();
	(void) set_config_option("cdp.clock", clock, superuser() ? PGC_SUSET : PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SET, true, 0, false);
	values[0] = Int64GetDatum(entered);
	values[1] = Int64GetDatum(exited);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor), values, nulls)));
}
