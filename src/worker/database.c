/*
 * database.c
 *		The worker of one database: call cdp.process() and cdp.maintain() in a loop.
 *
 * It connects, looks whether the extension is here, and leaves if not.  Else it takes
 * turns, each a transaction of its own:
 *
 *		look    is the extension still the same, of this library's version, not being
 *				dropped; has cdp.init() been run; is no restore under way
 *		work	one statement, as an ordinary role
 *		report	statistics, and the entry in shared memory
 *
 * Who it is.  The process is connected as the bootstrap superuser, as a NOLOGIN owner
 * could not be, but runs no SQL as such.  For a turn it becomes the owner of cdp.inbox
 * (or cdp.worker_role), in the way of a security definer function: SET ROLE and SET
 * SESSION AUTHORIZATION are refused, and the role is given back only after COMMIT, when
 * deferred triggers have run.  Whatever trigger, default or index function the owner put
 * on his tables thus runs with the owner's rights and cannot get at more.  Between turns
 * it only reads catalogs by C functions, which no search_path or operator can divert.
 *
 * Restores.  A restore brings the inbox before the log and the message keys: a worker
 * that ran then would take messages as new that are not.  cdp.ready, a materialized
 * view made by cdp.init_worker(), is filled by pg_restore after all else, also with
 * --jobs.  No turn is taken until it is filled.
 *
 * Errors.  A turn that fails is rolled back, noted in the log without the values it was
 * about (only SQLSTATE, place and the message's form), and tried again after a pause that
 * doubles from a second to a minute.  A minute without failure ends the doubling.
 */
#include "postgres.h"

#include "worker/worker.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "base/base.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/lock.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#define MAINTENANCE_MS 60000

/* Something to be done again and again. */
typedef struct Task
{
	const char *sql; /* tells whether there may be more to do at once */
	bool has_more;	 /* what it returned */
	int failures;
	TimestampTz failed_at;
	TimestampTz next_at;
} Task;

/* How a look at the database ends. */
typedef enum Standing
{
	ABSENT,		   /* no extension, or another than before */
	BUSY,		   /* somebody is dropping or altering it */
	OTHER_VERSION, /* extension and library do not fit */
	UNINITIALIZED,
	RESTORING,
	READY
} Standing;

/* The argument is given so that no other cdp.process of somebody's making is a better match. */
static Task process_task = {
	.sql = "SELECT messages > 0 OR rejected > 0 OR entered > 0 OR exited > 0 OR "
		   /* timers that went off change nothing most times, so they show nowhere else */
		   "(SELECT count(*) FROM (SELECT FROM cdp.due WHERE due_at <= cdp.clock_now() LIMIT 257) d) > 256 "
		   "FROM cdp.process(10000)"};
/* 10,000 is the least of what its tasks do in one call at most */
static Task maintain_task = {.sql = "SELECT bool_or(done >= 10000) FROM cdp.maintain()"};
static Task read_task = {.sql = "SELECT bool_or(has_more) FROM cdp.read_table_sources(10000)"};

static CdpWorkerEntry *my_entry = NULL;
static Oid my_extension = InvalidOid;
static Standing logged_standing = READY; /* the last reason to wait that the log has */

/* ---- coming and going ---- */

/* Leave the shared memory, after having left the list of sessions, so that a drop can go on. */
static void
detach(int code, Datum argument)
{
	LWLockAcquire(cdp_worker_shared->lock, LW_EXCLUSIVE);
	my_entry->pid = 0;
	my_entry->latch = NULL;
	my_entry->state = CDP_WORKER_GONE;
	cdp_worker_wake_launcher();
	LWLockRelease(cdp_worker_shared->lock);
	ConditionVariableBroadcast(&cdp_worker_shared->exited);
}

/* Enter the shared memory; false: the launcher gave this start up, or the database is held. */
static bool
attach(const CdpWorkerTicket *ticket)
{
	CdpWorkerEntry *entry = &cdp_worker_shared->entries[ticket->entry];
	bool is_expected;

	LWLockAcquire(cdp_worker_shared->lock, LW_EXCLUSIVE);
	is_expected = entry->database == ticket->database && entry->generation == ticket->generation &&
				  entry->state == CDP_WORKER_STARTING;
	if (is_expected && entry->holds > 0)
	{
		entry->state = CDP_WORKER_GONE;
		is_expected = false;
	}
	else if (is_expected)
	{
		entry->pid = MyProcPid;
		entry->latch = MyLatch;
		entry->state = CDP_WORKER_CONNECTING;
		my_entry = entry;
	}
	cdp_worker_wake_launcher();
	LWLockRelease(cdp_worker_shared->lock);
	/* on_, not before_: must run after RemoveProcFromArray(), which the connection registers later */
	if (is_expected)
		on_shmem_exit(detach, (Datum) 0);
	return is_expected;
}

/* Leave because the extension is not here; the launcher comes back when it is told. */
static void
leave(void)
{
	LWLockAcquire(cdp_worker_shared->lock, LW_EXCLUSIVE);
	my_entry->is_absent = true;
	LWLockRelease(cdp_worker_shared->lock);
	proc_exit(0);
}

/* Publish what this worker does. */
static void
publish(CdpWorkerState state)
{
	if (my_entry->state == state) /* only this process writes it */
		return;
	LWLockAcquire(cdp_worker_shared->lock, LW_EXCLUSIVE);
	my_entry->state = state;
	LWLockRelease(cdp_worker_shared->lock);
}

/* Publish when a task was last run, or failed. */
static void
publish_time(TimestampTz *which)
{
	LWLockAcquire(cdp_worker_shared->lock, LW_EXCLUSIVE);
	*which = GetCurrentTimestamp();
	LWLockRelease(cdp_worker_shared->lock);
}

/* ---- look ---- */

/* Find the extension and whether its version is this library's. */
static Oid
find_extension(bool *is_same_version)
{
	Relation relation = table_open(ExtensionRelationId, AccessShareLock);
	Oid oid = InvalidOid;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum("cdp"));
	scan = systable_beginscan(relation, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool isnull;
		Datum version =
			heap_getattr(tuple, Anum_pg_extension_extversion, RelationGetDescr(relation), &isnull);

		oid = ((Form_pg_extension) GETSTRUCT(tuple))->oid;
		*is_same_version = !isnull && strcmp(TextDatumGetCString(version), CDP_VERSION) == 0;
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return oid;
}

/* Lock the extension against its drop until the end of the transaction; false: somebody is at it. */
static bool
try_lock_extension(Oid extension)
{
	LOCKTAG tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, ExtensionRelationId, extension, 0);
	if (LockAcquire(&tag, AccessShareLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	AcceptInvalidationMessages(); /* what was committed before we got the lock */
	return true;
}

/* Tell the role to work as. */
static Oid
role_to_be(Oid inbox)
{
	HeapTuple tuple;
	Oid role;

	if (cdp_worker_role != NULL && *cdp_worker_role != '\0')
	{
		role = get_role_oid(cdp_worker_role, true);
		if (!OidIsValid(role))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("the role of cdp.worker_role does not exist"),
					 errhint("Create it, or change the setting and reload.")));
		return role;
	}
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(inbox));
	if (!HeapTupleIsValid(tuple)) /* dropped since we looked it up */
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("table cdp.inbox does not exist"),
						errhint("Run SELECT cdp.init().")));
	role = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return role;
}

/* Has the materialized view been filled? */
static bool
is_filled(Oid view)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(view));
	bool result = HeapTupleIsValid(tuple) && ((Form_pg_class) GETSTRUCT(tuple))->relispopulated;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return result;
}

/* Find out whether there is work for us here, and the role to do it as. */
static Standing
look(Oid *role)
{
	bool is_same_version = false;
	Oid extension = find_extension(&is_same_version);
	Oid schema;
	Oid inbox;
	Oid ready;

	if (!OidIsValid(extension) || (OidIsValid(my_extension) && extension != my_extension))
		return ABSENT;
	if (!try_lock_extension(extension))
		return BUSY;
	if (find_extension(&is_same_version) != extension)
		return ABSENT;
	my_extension = extension;
	if (!is_same_version)
		return OTHER_VERSION;

	schema = get_namespace_oid("cdp", true);
	inbox = OidIsValid(schema) ? get_relname_relid("inbox", schema) : InvalidOid;
	ready = OidIsValid(schema) ? get_relname_relid("ready", schema) : InvalidOid;
	if (!OidIsValid(inbox))
		return UNINITIALIZED;
	if (!OidIsValid(ready) || !is_filled(ready))
		return RESTORING;
	*role = role_to_be(inbox);
	return READY;
}

/* ---- work ---- */

/* Run a task's statement as a role, to the end of the transaction. */
static void
work(Task *task, Oid role)
{
	Oid saved_role;
	int saved_context;

	GetUserIdAndSecContext(&saved_role, &saved_context);
	SetUserIdAndSecContext(role, saved_context | SECURITY_LOCAL_USERID_CHANGE);
	debug_query_string = task->sql;
	pgstat_report_activity(STATE_RUNNING, task->sql);
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (SPI_execute(task->sql, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not run the cdp worker's statement: %s", SPI_result_code_string(SPI_result));
	if (SPI_processed > 0)
	{
		bool isnull;
		Datum value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);

		task->has_more = !isnull && DatumGetBool(value);
	}
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand(); /* still as that role: deferred triggers run in here */
	SetUserIdAndSecContext(saved_role, saved_context);
	debug_query_string = NULL;
}

/* One transaction: look, and do the task if all is well. */
static Standing
take_turn(Task *task)
{
	Standing standing;
	Oid role = InvalidOid;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	standing = look(&role);
	if (standing == READY)
	{
		publish(CDP_WORKER_RUNNING);
		work(task, role);
	}
	else
		CommitTransactionCommand();
	return standing;
}

/* Log a failure by its kind and place: its values may be somebody's data. */
static void
log_failure(const ErrorData *error, int delay)
{
	ereport(LOG,
			(errcode(error->sqlerrcode),
			 errmsg("cdp worker failed in database \"%s\" with SQLSTATE %s", get_database_name(MyDatabaseId),
					unpack_sql_state(error->sqlerrcode)),
			 errdetail_internal("Raised by %s, %s:%d, as \"%s\".", error->funcname ? error->funcname : "?",
								error->filename ? error->filename : "?", error->lineno,
								error->message_id ? error->message_id : "?"),
			 errhint("It is tried again after %d s. SELECT * FROM cdp.process() shows the whole error.",
					 delay / 1000)));
}

/* Roll a failed turn back and plan the next try. */
static void
recover(Task *task, MemoryContext context)
{
	ErrorData *error;

	HOLD_INTERRUPTS();
	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	FlushErrorState();
	AbortCurrentTransaction(); /* gives the role back, too */
	MemoryContextSwitchTo(context);
	debug_query_string = NULL;
	RESUME_INTERRUPTS();

	task->failures++;
	task->failed_at = GetCurrentTimestamp();
	task->next_at = TimestampTzPlusMilliseconds(task->failed_at, cdp_worker_delay(task->failures));
	StartTransactionCommand(); /* the database's name is in a catalog */
	log_failure(error, cdp_worker_delay(task->failures));
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	FreeErrorData(error);
	publish_time(&my_entry->last_error_at);
}

/* Do a task once and plan its next time, 'pause' ms away unless there is more to do. */
static Standing
attempt(Task *task, long pause)
{
	MemoryContext context = CurrentMemoryContext;
	volatile Standing standing = READY;
	volatile bool has_failed = false;

	task->has_more = false;
	PG_TRY();
	{
		standing = take_turn(task);
	}
	PG_CATCH();
	{
		recover(task, context);
		has_failed = true;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	pgstat_report_stat(!task->has_more);
	pgstat_report_activity(STATE_IDLE, NULL);
	if (has_failed)
		return READY;

	task->next_at = GetCurrentTimestamp();
	if (standing == READY)
	{
		if (task == &process_task)
			publish_time(&my_entry->last_run_at);
		if (task->failures > 0 &&
			TimestampDifferenceExceeds(task->failed_at, task->next_at, CDP_WORKER_MAX_DELAY_MS))
			task->failures = 0;
	}
	if (!task->has_more)
		task->next_at = TimestampTzPlusMilliseconds(task->next_at, pause);
	return standing;
}

/* ---- the loop ---- */

/* Say once why no work is done. */
static void
log_standing(Standing standing)
{
	if (standing == logged_standing)
		return;
	logged_standing = standing;
	StartTransactionCommand();
	if (standing == UNINITIALIZED)
		ereport(LOG, (errmsg("cdp worker waits for cdp.init() in database \"%s\"",
							 get_database_name(MyDatabaseId))));
	else if (standing == RESTORING)
		ereport(LOG,
				(errmsg("cdp worker waits in database \"%s\": cdp.ready is not filled",
						get_database_name(MyDatabaseId)),
				 errhint("A restore fills it at its end. After a restore of parts run SELECT cdp.init().")));
	else if (standing == OTHER_VERSION)
		ereport(
			LOG,
			(errmsg("cdp worker waits in database \"%s\": the extension's version is not the library's, %s",
					get_database_name(MyDatabaseId), CDP_VERSION),
			 errhint(
				 "Restart the server if its library is the older one, and run ALTER EXTENSION cdp UPDATE.")));
	CommitTransactionCommand();
}

/* Act on how the last look ended; returns the time of the next one. */
static TimestampTz
heed_standing(Standing standing)
{
	TimestampTz later = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), CDP_WORKER_POLL_MS);

	switch (standing)
	{
		case ABSENT:
			leave();
			break;
		case BUSY:
			publish(CDP_WORKER_IDLE);
			return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), cdp_worker_naptime);
		case OTHER_VERSION:
			publish(CDP_WORKER_OTHER_VERSION);
			break;
		case UNINITIALIZED:
			publish(CDP_WORKER_UNINITIALIZED);
			break;
		case RESTORING:
			publish(CDP_WORKER_RESTORING);
			later = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), CDP_WORKER_MIN_DELAY_MS);
			break;
		case READY:
			publish(process_task.failures > 0 && process_task.failed_at > my_entry->last_run_at
						? CDP_WORKER_BACKING_OFF
						: CDP_WORKER_IDLE);
			later = Min(process_task.next_at, Min(maintain_task.next_at, read_task.next_at));
			break;
	}
	log_standing(standing);
	return later;
}

/* Do what is due; returns when something will be due again. */
static TimestampTz
do_what_is_due(bool is_woken)
{
	TimestampTz now = GetCurrentTimestamp();
	Standing standing = READY;

	if (maintain_task.next_at <= now)
		standing = attempt(&maintain_task, MAINTENANCE_MS);
	if (standing == READY && read_task.next_at <= now)
		standing = attempt(&read_task, MAINTENANCE_MS);
	/* a wake-up ends a nap, but not the pause after a failure */
	if (standing == READY && (process_task.next_at <= now || (is_woken && process_task.failures == 0)))
		standing = attempt(&process_task, cdp_worker_naptime);
	if (standing != READY)
		process_task.next_at = maintain_task.next_at = read_task.next_at = 0; /* all, as soon as it is ready */
	return heed_standing(standing);
}

/* Make the session independent of what is set for people's sessions. */
static void
settle_session(void)
{
	SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_read_only", "off", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_isolation", "read committed", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_deferrable", "off", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("statement_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("lock_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("idle_in_transaction_session_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
#if PG_VERSION_NUM >= 170000
	SetConfigOption("transaction_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
#endif
}

/* Connect, and take turns until told to leave. */
void
cdp_database_main(Datum argument)
{
	CdpWorkerTicket ticket;
	bool is_woken = true;

	memcpy(&ticket, MyBgworkerEntry->bgw_extra, sizeof(ticket));
	cdp_worker_install_handlers();
	if (!attach(&ticket))
		proc_exit(0);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(ticket.database, InvalidOid, 0);
	settle_session();

	for (;;)
	{
		TimestampTz next_at;
		int events;

		cdp_worker_heed_signals(0);
		next_at = do_what_is_due(is_woken);
		events = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						   TimestampDifferenceMilliseconds(GetCurrentTimestamp(), next_at),
						   cdp_worker_wait_event(CDP_WAIT_WORKER));
		is_woken = (events & WL_LATCH_SET) != 0;
		if (is_woken)
			ResetLatch(MyLatch);
	}
}
