/*
 * definition.c
 *		Segments made, replaced and dropped, and computed traits after they were;
 *		everybody is brought up to date at once.
 *
 * Who changes a definition holds EXCLUSIVE on cdp.segment, so that it meets every
 * person either before or after the messages of another session; timers that are
 * overdue go off under the old definition first.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "segment/membership.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(cdp_create_segment);
PG_FUNCTION_INFO_V1(cdp_drop_segment);
PG_FUNCTION_INFO_V1(cdp_hold_segments);
PG_FUNCTION_INFO_V1(cdp_compute_everybody);

CDP_QUERY(read_everybody,
		  "SELECT p.profile_id FROM cdp.profile p WHERE p.merged_into IS NULL AND p.entity = 'person' ORDER "
		  "BY p.profile_id",
		  "");
CDP_QUERY(write_segment,
		  "INSERT INTO cdp.segment AS s (name, predicate, description, created_at, updated_at) VALUES ($1, "
		  "$2, $3, $4, $4)"
		  " ON CONFLICT ON CONSTRAINT segment_pkey DO UPDATE SET predicate = excluded.predicate,"
		  " description = coalesce(excluded.description, s.description), updated_at = excluded.updated_at",
		  "text,cdp.predicate,text,timestamptz");
CDP_QUERY(delete_segment, "DELETE FROM cdp.segment s WHERE s.name = $1", "text");
CDP_QUERY(read_members,
		  "SELECT m.profile_id FROM cdp.membership m WHERE m.segment = $1 ORDER BY m.profile_id", "text");
CDP_QUERY(count_members, "SELECT pg_catalog.count(*) FROM cdp.membership m WHERE m.segment = $1", "text");
CDP_QUERY(
	find_unknown_purpose,
	"SELECT x FROM unnest($1) AS x WHERE NOT EXISTS (SELECT FROM cdp.purpose p WHERE p.name = x) LIMIT 1",
	"text[]");

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

/* Fetch the next chunk of people; returns how many */
static int
fetch_people(Portal people, int64 *ids)
{
	int n = cdp_fetch(people, CDP_SEGMENT_CHUNK);

	for (int i = 0; i < n; i++)
		ids[i] = cdp_result_int64(i, 1, 0);
	cdp_done();
	return n;
}

/* Evaluate every person against one segment; NULL: all of them, and compute traits, even if there are none left */
static void
evaluate_everybody(const char *name, TimestampTz now)
{
	MemoryContext caller = CurrentMemoryContext;
	CdpWork work;
	Portal people;
	int64 *ids;
	int n;

	cdp_work_begin(&work, NULL, now, "definition");
	cdp_work_load(&work, name);
	work.computes = name == NULL;
	ids = MemoryContextAlloc(work.context, CDP_SEGMENT_CHUNK * sizeof(int64));
	people = cdp_open(&read_everybody, NULL);
	while ((n = fetch_people(people, ids)) > 0)
		cdp_work_evaluate(&work, ids, NULL, n);
	cdp_close(people);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work.context);
}

/* Let all members of a segment leave it; returns how many */
static int64
dismiss_everybody(const char *name, TimestampTz now)
{
	MemoryContext caller = CurrentMemoryContext;
	Datum argument = CStringGetTextDatum(name);
	CdpWork work;
	Portal people;
	int64 *ids;
	int64 left;
	int n;

	cdp_work_begin(&work, NULL, now, "definition");
	cdp_work_load(&work, name);
	if (work.n_segments == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("segment \"%s\" does not exist", name),
						errhint("SELECT name FROM cdp.segment shows all segments.")));
	ids = MemoryContextAlloc(work.context, CDP_SEGMENT_CHUNK * sizeof(int64));
	people = cdp_open(&read_members, &argument);
	while ((n = fetch_people(people, ids)) > 0)
	{
		cdp_change_begin(&work);
		work.was_member[0] = true;
		for (int i = 0; i < n; i++)
		{
			cdp_change_note(&work, ids[i], 0, false, now, work.cause);
			cdp_change_note_outcome(&work, ids[i], DT_NOEND);
		}
		cdp_change_write(&work);
	}
	cdp_close(people);
	left = work.exited;
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work.context);
	return left;
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
	cdp_work_lock(ExclusiveLock);
	cdp_timer_sweep_all(now, &entered, &exited);
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
	int64 left;

	cdp_require_init();
	SPI_connect();
	cdp_work_lock(ExclusiveLock);
	left = dismiss_everybody(name, now);
	cdp_run(&delete_segment, &argument, NULL);
	SPI_finish();
	PG_RETURN_INT64(left);
}

/* cdp.hold_segments(): before the definition of a computed trait changes */
Datum
cdp_hold_segments(PG_FUNCTION_ARGS)
{
	int64 entered;
	int64 exited;

	cdp_require_init();
	SPI_connect();
	cdp_work_lock(ExclusiveLock);
	cdp_timer_sweep_all(cdp_now(), &entered, &exited);
	SPI_finish();
	PG_RETURN_VOID();
}

/* cdp.compute_everybody(): after it has */
Datum
cdp_compute_everybody(PG_FUNCTION_ARGS)
{
	cdp_require_init();
	SPI_connect();
	cdp_work_lock(ExclusiveLock);
	evaluate_everybody(NULL, cdp_now());
	SPI_finish();
	PG_RETURN_VOID();
}
