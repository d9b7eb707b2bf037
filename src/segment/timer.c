/*
 * timer.c
 *		Time: the timers that are overdue go off, and the clock is moved for tests.
 *
 * A row of cdp.due is a hint that is never too late: a person whose next change
 * moves further away keeps the earlier hint, is looked at then, and gets the
 * next one.  So an active person in a moving window writes no timers.
 */
#include "postgres.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "segment/membership.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(cdp_advance_to);

CDP_QUERY(claim_due,
		  "SELECT d.profile_id, d.due_at FROM cdp.due d JOIN cdp.profile p USING (profile_id)"
		  " WHERE d.due_at <= $1 ORDER BY d.due_at LIMIT $2 FOR NO KEY UPDATE OF d, p SKIP LOCKED",
		  "timestamptz,int4");

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
int
cdp_timer_sweep(CdpWork *work, int limit)
{
	Datum arguments[] = {TimestampTzGetDatum(work->now), Int32GetDatum(limit)};
	int n = cdp_run(&claim_due, arguments, NULL);
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
		cdp_work_evaluate(work, ids, at, n);
	pfree(ids);
	pfree(at);
	return n;
}

/* Bring everybody up to date, so that the new definition meets no overdue timer */
void
cdp_timer_sweep_all(TimestampTz now, int64 *entered, int64 *exited)
{
	MemoryContext caller = CurrentMemoryContext;
	CdpWork work;

	cdp_work_begin(&work, NULL, now, "time");
	cdp_work_load(&work, NULL);
	while (cdp_timer_sweep(&work, CDP_SEGMENT_CHUNK) > 0)
		CHECK_FOR_INTERRUPTS();
	*entered = work.entered;
	*exited = work.exited;
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work.context);
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
	cdp_work_lock(RowShareLock);
	cdp_timer_sweep_all(at, &entered, &exited);
	SPI_finish();
	(void) set_config_option("cdp.clock", clock, superuser() ? PGC_SUSET : PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SET, true, 0, false);
	values[0] = Int64GetDatum(entered);
	values[1] = Int64GetDatum(exited);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor), values, nulls)));
}
