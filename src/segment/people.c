/*
 * people.c
 *		Reading people: what the predicates ask for, a chunk of people at a time.
 *
 * Three statements read a chunk, whatever it holds; all are in the order of ids, so
 * that a person's rows are found by going on.  Also the question whether a predicate
 * holds for one person.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "segment/membership.h"
#include "utils/array.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(cdp_matches);

/* OFFSET 0 keeps the lookups by index, whatever size the tables had when the plans were made */
CDP_QUERY(read_people,
		  "SELECT p.profile_id, p.traits, CASE WHEN $2 THEN"
		  " ARRAY (SELECT u.name FROM cdp.purpose u WHERE cdp.allows(p.consents, u.categories)) END, p.computed"
		  " FROM unnest($1) AS k (id) CROSS JOIN LATERAL (SELECT l.profile_id, l.traits, l.consents, l.computed FROM "
		  "cdp.profile l"
		  " WHERE l.profile_id = k.id AND l.merged_into IS NULL AND l.entity = 'person' OFFSET 0) p ORDER BY "
		  "p.profile_id",
		  "int8[],bool");
CDP_QUERY(read_events,
		  "SELECT k.id, e.name, pg_catalog.array_agg(e.at ORDER BY e.at) FROM unnest($1) AS k (id)"
		  " CROSS JOIN LATERAL (SELECT l.identifier_id FROM cdp.identity l WHERE l.profile_id = k.id OFFSET 0) i"
		  " CROSS JOIN LATERAL (SELECT l.events FROM cdp.timeline_part l WHERE l.anchor_id = i.identifier_id OFFSET 0) p"
		  " CROSS JOIN LATERAL cdp.events_of(p.events) e WHERE e.name = ANY ($2)"
		  " GROUP BY k.id, e.name ORDER BY k.id, e.name COLLATE \"C\"",
		  "int8[],text[]");
CDP_QUERY(read_memberships,
		  "SELECT m.profile_id, m.segment FROM unnest($1) AS k (id) CROSS JOIN LATERAL ("
		  "SELECT l.profile_id, l.segment FROM cdp.membership l WHERE l.profile_id = k.id AND l.segment = "
		  "ANY ($2) OFFSET 0) m"
		  " ORDER BY m.profile_id",
		  "int8[],text[]");
CDP_QUERY(find_live_profile,
		  "WITH RECURSIVE chain AS ("
		  "SELECT p.profile_id, p.merged_into FROM cdp.profile p WHERE p.profile_id = $1"
		  " UNION SELECT p.profile_id, p.merged_into FROM chain c JOIN cdp.profile p ON p.profile_id = "
		  "c.merged_into"
		  ") SELECT c.profile_id FROM chain c WHERE c.merged_into IS NULL",
		  "int8");

/* Read the events of a chunk that the predicates ask for */
void
cdp_people_load_events(CdpWork *work, Datum ids)
{
	Datum arguments[] = {ids, work->event_names};
	uint64 n;

	work->n_events = 0;
	if (!work->uses_events)
		return;
	n = cdp_run(&read_events, arguments, NULL);
	work->events = palloc_extended(Max(n, 1) * sizeof(CdpPersonEvents), MCXT_ALLOC_HUGE);
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
}

/* Find a segment by its name; -1: none */
static int
find_segment(const CdpWork *work, const char *name)
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
void
cdp_people_load_memberships(CdpWork *work, Datum ids)
{
	Datum arguments[] = {ids, work->names};
	uint64 n;

	work->n_memberships = 0;
	if (work->n_segments == 0)
		return;
	n = cdp_run(&read_memberships, arguments, NULL);
	work->memberships = palloc_extended(Max(n, 1) * sizeof(CdpPersonMembership), MCXT_ALLOC_HUGE);
	work->n_memberships = n;
	for (uint64 i = 0; i < n; i++)
	{
		char *name = cdp_result_cstring(i, 2);

		work->memberships[i].profile_id = cdp_result_int64(i, 1, 0);
		work->memberships[i].segment = find_segment(work, name);
		pfree(name);
	}
	cdp_done();
}

/* Read a chunk's people, but those that are no longer: id, traits, granted purposes; returns how many */
uint64
cdp_people_read(CdpWork *work, Datum ids)
{
	Datum arguments[] = {ids, BoolGetDatum(work->uses_consents)};

	return cdp_run(&read_people, arguments, NULL);
}

/* Make the subject of a row of them, but for its traits; its events are those of work->events from *event on */
CdpSubject
cdp_people_subject(CdpWork *work, uint64 row, int64 profile_id, int *event)
{
	CdpSubject subject = {0};
	bool isnull;
	Datum value = cdp_result_datum(row, 3, &isnull);
	CdpSubjectEvents *events;
	Datum *purposes;
	int from;

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

/* Begin with the traits of a row of them; its parts are those of work->parts from *part on */
CdpPersonTraits
cdp_people_traits(CdpWork *work, uint64 row, int64 profile_id, int *part)
{
	bool nothing_said;
	bool nothing_stored;
	Datum said = cdp_result_datum(row, 2, &nothing_said);
	Datum stored = cdp_result_datum(row, 4, &nothing_stored);

	return cdp_computed_begin(work, profile_id, nothing_said ? NULL : DatumGetStampedP(said),
							  nothing_stored ? NULL : DatumGetStampedP(stored), part);
}

/* Say whether a predicate holds for a profile, from what the timelines and the profile say now */
Datum
cdp_matches(PG_FUNCTION_ARGS)
{
	TimestampTz at = PG_ARGISNULL(2) ? cdp_now() : PG_GETARG_TIMESTAMPTZ(2);
	CdpSegment segment = {.name = ""};
	CdpPersonTraits traits;
	CdpSubject subject;
	CdpWork work;
	int64 profile_id;
	int event = 0;
	int part = 0;
	bool holds;
	Datum ids;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	if (TIMESTAMP_NOT_FINITE(at))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("instant must be finite")));
	cdp_require_init();
	segment.predicate = cdp_predicate_from_datum(PG_GETARG_DATUM(1));
	SPI_connect();
	cdp_work_begin(&work, NULL, at, "");
	segment.text = CStringGetTextDatum(segment.name);
	work.segments = &segment;
	work.n_segments = 1;
	cdp_work_note_needs(&work);
	ids = PG_GETARG_DATUM(0);
	if (cdp_run(&find_live_profile, &ids, NULL) == 0)
		ereport(ERROR, (errcode(ERRCODE_NO_DATA_FOUND), errmsg("there is no such profile"),
						errhint("Take ids from cdp.profiles or cdp.profile_id().")));
	profile_id = cdp_result_int64(0, 1, 0);
	cdp_done();
	ids = cdp_int64_array(&profile_id, 1);
	cdp_people_load_events(&work, ids);
	work.computed = cdp_computed_traits();
	work.computes = work.uses_traits && work.computed->n > 0;
	cdp_computed_load(&work, ids, at);
	if (cdp_people_read(&work, ids) == 0)
		ereport(ERROR, (errcode(ERRCODE_NO_DATA_FOUND), errmsg("profile is not of a person"),
						errhint("Segments are of people.")));
	subject = cdp_people_subject(&work, 0, profile_id, &event);
	traits = cdp_people_traits(&work, 0, profile_id, &part);
	subject.traits = cdp_computed_at(&work, &traits, at);
	holds = cdp_predicate_evaluate(segment.predicate, &subject, at, NULL);
	SPI_finish();
	PG_RETURN_BOOL(holds);
}
