/*
 * settings.c
 *		Every configuration parameter of the extension.
 */
#include "postgres.h"

#include "base/base.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

/*
 * The first that a session needs of us may be the output of one of our types, in the middle of a parallel query.  Without
 * this flag what postgresql.conf, ALTER DATABASE and ALTER ROLE say of our parameters would be left out there, with a
 * warning, for the rest of the session.
 */
#ifdef GUC_ALLOW_IN_PARALLEL
#define AT_ANY_TIME GUC_ALLOW_IN_PARALLEL
#else
#define AT_ANY_TIME 0 /* minor versions of before November 2024 */
#endif

int cdp_max_event_bytes = 32 * 1024;
int cdp_max_batch_events = 2500;
int cdp_max_payload_bytes = 4000 * 1024;
int cdp_dedup_window = 7 * 24 * 3600;
bool cdp_process_immediately = true;
bool cdp_log_stage_times = false;
int cdp_max_resolve_memory = 1024 * 1024;
char *cdp_clock_setting = NULL;
int cdp_worker_naptime = 1000;
int cdp_identity_max_component = 100000;
char *cdp_worker_role = NULL;
int cdp_table_source_timeout = 60000;
int cdp_transformation_timeout = 1000;

/* The clock as check_clock() read it; DT_NOBEGIN: not set. */
static TimestampTz clock_at = DT_NOBEGIN;

/* Accept '' or a timestamp. */
static bool
check_clock(char **newval, void **extra, GucSource source)
{
	TimestampTz at = DT_NOBEGIN;
	TimestampTz *kept;

	if (*newval != NULL && **newval != '\0' && !cdp_parse_timestamp(*newval, strlen(*newval), &at))
	{
		GUC_check_errdetail("The clock is an ISO 8601 timestamp such as 2026-01-31T09:00:00Z, or empty.");
		return false;
	}
#if PG_VERSION_NUM >= 160000
	kept = guc_malloc(LOG, sizeof(TimestampTz));
#else
	kept = malloc(sizeof(TimestampTz)); /* the GUC machinery frees it */
#endif
	if (kept == NULL)
		return false;
	*kept = at;
	*extra = kept;
	return true;
}

static void
assign_clock(const char *newval, void *extra)
{
	clock_at = *(TimestampTz *) extra;
}

TimestampTz
cdp_now(void)
{
	return clock_at != DT_NOBEGIN ? clock_at : GetCurrentTransactionStartTimestamp();
}

void
cdp_settings_init(void)
{
	DefineCustomIntVariable("cdp.max_event_bytes", "Sets the size above which a message is rejected.", NULL,
							&cdp_max_event_bytes, 32 * 1024, 1024, 16 * 1024 * 1024, PGC_SUSET, GUC_UNIT_BYTE | AT_ANY_TIME, NULL,
							NULL, NULL);
	DefineCustomIntVariable("cdp.max_batch_bytes", "Sets the size above which an envelope of messages is rejected.",
							NULL, &cdp_max_payload_bytes, 4000 * 1024, 1024, 256 * 1024 * 1024, PGC_SUSET, GUC_UNIT_BYTE | AT_ANY_TIME,
							NULL, NULL, NULL);
	DefineCustomIntVariable("cdp.max_batch_events", "Sets how many messages an envelope may hold.", NULL,
							&cdp_max_batch_events, 2500, 1, 1000000, PGC_SUSET, AT_ANY_TIME, NULL, NULL, NULL);
	DefineCustomIntVariable("cdp.dedup_window", "Sets how long a message id is remembered to refuse repeats.", NULL,
							&cdp_dedup_window, 7 * 24 * 3600, 60, INT_MAX, PGC_SUSET, GUC_UNIT_S | AT_ANY_TIME, NULL, NULL, NULL);
	DefineCustomBoolVariable("cdp.process_immediately", "Processes a message in the transaction of cdp.ingest().",
							 "When off, cdp.ingest() only stores it in the inbox.", &cdp_process_immediately, true,
							 PGC_USERSET, AT_ANY_TIME, NULL, NULL, NULL);
	DefineCustomBoolVariable("cdp.log_stage_times", "Logs how long each stage of a batch took.", NULL, &cdp_log_stage_times,
							 false, PGC_USERSET, AT_ANY_TIME, NULL, NULL, NULL);
	DefineCustomIntVariable("cdp.identity_max_component",
							"Sets how many links a component may have; a larger one keeps its last partition.", NULL,
							&cdp_identity_max_component, 100000, 100, INT_MAX, PGC_SUSET, AT_ANY_TIME, NULL, NULL, NULL);
	DefineCustomIntVariable("cdp.max_resolve_memory", "Sets how much memory cdp.resolve() may take.", NULL,
							&cdp_max_resolve_memory, 1024 * 1024, 1024, MAX_KILOBYTES, PGC_USERSET, GUC_UNIT_KB | AT_ANY_TIME, NULL, NULL,
							NULL);
	DefineCustomStringVariable("cdp.clock", "Sets the instant that stands in for now(), for tests.",
							   "Empty: the transaction's start.", &cdp_clock_setting, "", PGC_SUSET, AT_ANY_TIME, check_clock,
							   assign_clock, NULL);
	DefineCustomIntVariable("cdp.worker_naptime", "Sets how long the worker waits when there is nothing to do.", NULL,
							&cdp_worker_naptime, 1000, 10, 3600 * 1000, PGC_SIGHUP, GUC_UNIT_MS | AT_ANY_TIME, NULL, NULL, NULL);
	DefineCustomStringVariable("cdp.worker_role", "Sets the role the worker acts as.",
							   "Empty: the owner of the inbox.", &cdp_worker_role, "", PGC_SIGHUP, AT_ANY_TIME, NULL, NULL, NULL);
	DefineCustomIntVariable("cdp.table_source_timeout", "Sets how long cdp.read_table_sources() reads one table source.",
							"0: as long as it takes.", &cdp_table_source_timeout, 60 * 1000, 0, INT_MAX, PGC_USERSET,
							GUC_UNIT_MS | AT_ANY_TIME, NULL, NULL, NULL);
	DefineCustomIntVariable("cdp.transformation_timeout",
							"Sets how long a source's transformation may take for one message.",
							"0: as long as it takes.", &cdp_transformation_timeout, 1000, 0, INT_MAX, PGC_SUSET,
							GUC_UNIT_MS | AT_ANY_TIME, NULL, NULL, NULL);
	MarkGUCPrefixReserved("cdp");
}
