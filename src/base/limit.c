/*
 * limit.c
 *		A limit in time on code of others that runs inside of ours.
 */
#include "postgres.h"

#include "base/limit.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/timeout.h"

PG_FUNCTION_INFO_V1(cdp_start_time_limit);
PG_FUNCTION_INFO_V1(cdp_stop_time_limit);

static TimeoutId limit = MAX_TIMEOUTS; /* none registered yet */
static volatile sig_atomic_t is_reached = false;

/* Cancel the query; runs in a signal handler. */
static void
reach(void)
{
	is_reached = true;
	InterruptPending = true;
	QueryCancelPending = true;
	SetLatch(MyLatch);
}

bool
cdp_limit_start(int milliseconds)
{
	if (limit == MAX_TIMEOUTS)
		limit = RegisterTimeout(USER_TIMEOUT, reach);
	if (milliseconds <= 0 || get_timeout_active(limit))
		return false;
	is_reached = false;
	enable_timeout_after(limit, milliseconds);
	return true;
}

bool
cdp_limit_stop(void)
{
	bool was_reached;

	if (limit == MAX_TIMEOUTS)
		return false;
	disable_timeout(limit, false);
	was_reached = is_reached;
	is_reached = false;
	if (was_reached)
		QueryCancelPending = false; /* it may not have been noticed yet */
	return was_reached;
}

/* cdp.start_time_limit(milliseconds) */
Datum
cdp_start_time_limit(PG_FUNCTION_ARGS)
{
	cdp_limit_start(PG_GETARG_INT32(0));
	PG_RETURN_VOID();
}

/* cdp.stop_time_limit() */
Datum
cdp_stop_time_limit(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(cdp_limit_stop());
}
