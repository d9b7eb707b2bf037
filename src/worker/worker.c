/*
 * worker.c
 *		What the launcher, the workers and every backend share: memory, hooks, SQL.
 *
 * Three kinds of process meet here.  The launcher (launcher.c) is started by the
 * postmaster and connects to no database: it reads pg_database, keeps one entry in
 * shared memory for each database that has or may have the extension, and starts
 * workers.  A worker (database.c) connects to one database; it leaves when it finds
 * no extension, so that asking and working are one program.  Ordinary backends only
 * leave notes: the hooks below see what they do, and at the end of the transaction
 * tell the launcher.
 *
 * The principle of recovery: shared memory holds hints, the catalogs hold the truth.
 * Nobody acts on a note without looking again, so a lost, late or doubled note costs a
 * look and never a wrong worker.  Every process may die at every line:
 *
 *  - a worker detaches its entry in an exit callback, and the launcher starts it anew;
 *  - the launcher is restarted by the postmaster and goes on with the entries as they
 *    are, those stuck between "asked for" and "arrived" after a time;
 *  - a backend gives its holds back when its transaction ends, in whichever way;
 *  - after a crash the postmaster lays shared memory anew and starts the launcher,
 *    which knows nothing and looks into every database.
 *
 * What it survives (test/t/001_worker_lifecycle.pl has a test of each name):
 *
 *   1 create extension, commit      noted at commit; the launcher starts a worker
 *   2 create extension, rollback    no note; a look finds nothing, and the process leaves
 *   3 extension without cdp.init()  the worker stays, says so once and waits
 *   4 drop extension, commit        the worker sees it at its next turn and leaves; it
 *                                   takes part of a drop only between two turns, as it
 *                                   locks the extension for each turn without waiting
 *   5 drop extension, rollback      while the drop is open the worker skips its turns
 *   6 create database               a database never seen before is looked into
 *   7 create database, failed       nothing appears in pg_database
 *   8 create database ... template  a template must have no other session: see below;
 *                                   the copy has the extension and gets its own worker
 *   9 drop database                 see below
 *  10 drop database, failed         the hold ends with the transaction; the worker returns
 *  11 alter database ... rename     as dropping; likewise SET TABLESPACE
 *  12 terminate the worker          started again after a pause, which doubles up to a
 *                                   minute if it keeps dying young
 *  13 terminate the launcher        exits with 1, so that the postmaster restarts it
 *  14 crash of any backend          all over again, from nothing
 *  15 an error in cdp.process()     logged without its values, retried after a pause
 *                                   that doubles up to a minute
 *  16 standby                       the launcher starts when recovery ends
 *  17 shutdown                      both heed SIGTERM in waits, queries and locks
 *  18 templates, ALLOW_CONNECTIONS false, half-dropped databases: never connected to;
 *                                   a worker that is there when it is altered is ended
 *  19 pg_upgrade                    nothing is registered
 *  20 a dump being restored         no turn is taken until the restore's last step
 *                                   (see database.c)
 *
 * Holds.  DROP DATABASE, RENAME, SET TABLESPACE and use as a template all fail while
 * somebody is connected, and a worker always is.  So the utility hook of whoever runs
 * such a command (from any database, with or without the extension) first counts a
 * hold on the database's entry, then ends its worker and waits until it is gone.  The
 * order matters: a worker on its way attaches under the same lock, hence either it
 * sees the hold and leaves before it connects, or the hook sees it and ends it.  The
 * launcher starts nothing that is held.  The hold is given back when the transaction
 * ends; the launcher then looks whether the database is still there.  Only who owns
 * the database may hold it, so that nobody can keep another's worker from working.
 */
#include "postgres.h"

#include "worker/worker.h"

#include <signal.h>

#include "access/xact.h"
#include "base/base.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#define EXIT_PATIENCE_MS 10000 /* how long a command waits for a worker; core waits 5 s more */

CdpWorkerShared *cdp_worker_shared = NULL;

static shmem_request_hook_type previous_shmem_request = NULL;
static shmem_startup_hook_type previous_shmem_startup = NULL;
static ProcessUtility_hook_type previous_utility = NULL;
static object_access_hook_type previous_object_access = NULL;

/* Notes of this transaction, acted upon at its end. */
static Oid held[CDP_WORKER_MAX_DATABASES];
static int n_held = 0;
static bool has_changed_extension = false;
static bool has_changed_database = false;
static bool has_work = false;

PG_FUNCTION_INFO_V1(cdp_worker_state);
PG_FUNCTION_INFO_V1(cdp_wake_worker);

/* ---- shared memory ---- */

/* Ask for the memory and the lock. */
static void
request_memory(void)
{
	if (previous_shmem_request)
		previous_shmem_request();
	RequestAddinShmemSpace(sizeof(CdpWorkerShared));
	RequestNamedLWLockTranche("cdp_worker", 1);
}

/* Lay the shared memory out: at start, and again after a crash. */
static void
lay_out_memory(void)
{
	bool found;

	if (previous_shmem_startup)
		previous_shmem_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	cdp_worker_shared = ShmemInitStruct("cdp_worker", sizeof(CdpWorkerShared), &found);
	if (!found)
	{
		memset(cdp_worker_shared, 0, sizeof(CdpWorkerShared));
		cdp_worker_shared->lock = &GetNamedLWLockTranche("cdp_worker")->lock;
		ConditionVariableInit(&cdp_worker_shared->exited);
	}
	LWLockRelease(AddinShmemInitLock);
}

CdpWorkerEntry *
cdp_worker_find(Oid database)
{
	for (int i = 0; i < CDP_WORKER_MAX_DATABASES; i++)
	{
		if (cdp_worker_shared->entries[i].database == database)
			return &cdp_worker_shared->entries[i];
	}
	return NULL;
}

CdpWorkerEntry *
cdp_worker_acquire(Oid database)
{
	CdpWorkerEntry *entry = cdp_worker_find(database);

	if (entry == NULL && (entry = cdp_worker_find(InvalidOid)) != NULL)
	{
		memset(entry, 0, sizeof(CdpWorkerEntry));
		entry->database = database;
	}
	return entry;
}

void
cdp_worker_wake_launcher(void)
{
	if (cdp_worker_shared->launcher_latch != NULL)
		SetLatch(cdp_worker_shared->launcher_latch);
}

/* ---- what launcher and workers have in common ---- */

int
cdp_worker_delay(int failures)
{
	int doublings = Min(Max(failures - 1, 0), 6);

	return failures == 0 ? 0 : Min(CDP_WORKER_MIN_DELAY_MS << doublings, CDP_WORKER_MAX_DELAY_MS);
}

uint32
cdp_worker_wait_event(CdpWaitEvent which)
{
#if PG_VERSION_NUM >= 170000
	static const char *const names[] = {"CdpLauncherMain", "CdpWorkerMain", "CdpWorkerExit"};
	static uint32 events[lengthof(names)];

	if (events[which] == 0)
		events[which] = WaitEventExtensionNew(names[which]);
	return events[which];
#else
	return PG_WAIT_EXTENSION;
#endif
}

/* Note the wish to end, for the loops, and raise it where a query or a lock is waited for. */
static void
handle_sigterm(SIGNAL_ARGS)
{
	ShutdownRequestPending = true;
	die(postgres_signal_arg);
}

void
cdp_worker_install_handlers(void)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, handle_sigterm);
}

void
cdp_worker_heed_signals(int exit_code)
{
	if (ShutdownRequestPending)
		proc_exit(exit_code);	/* at rest: no reason for a FATAL in the log */
	QueryCancelPending = false; /* there is no query to cancel */
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

/* ---- holds ---- */

/* The process id of a database's worker, 0 if it has none. */
static int
worker_pid(Oid database)
{
	CdpWorkerEntry *entry;
	int pid;

	LWLockAcquire(cdp_worker_shared->lock, LW_SHARED);
	entry = cdp_worker_find(database);
	pid = entry == NULL ? 0 : entry->pid;
	LWLockRelease(cdp_worker_shared->lock);
	return pid;
}

/* Wait until the database's worker is gone, or patience is at its end. */
static void
wait_for_exit(Oid database)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), EXIT_PATIENCE_MS);

	ConditionVariablePrepareToSleep(&cdp_worker_shared->exited);
	while (worker_pid(database) != 0 && GetCurrentTimestamp() < deadline)
		ConditionVariableTimedSleep(&cdp_worker_shared->exited, 1000, cdp_worker_wait_event(CDP_WAIT_EXIT));
	ConditionVariableCancelSleep();
}

/* Keep workers out of a database until this transaction ends, and end the one inside. */
static void
hold_database(Oid database)
{
	CdpWorkerEntry *entry;

	for (int i = 0; i < n_held; i++)
	{
		if (held[i] == database)
			return;
	}
	if (n_held == CDP_WORKER_MAX_DATABASES)
		return;

	LWLockAcquire(cdp_worker_shared->lock, LW_EXCLUSIVE);
	entry = cdp_worker_acquire(database);
	if (entry != NULL)
	{
		entry->holds++;
		held[n_held++] = database;
		if (entry->pid != 0)
			kill(entry->pid, SIGTERM);
	}
	LWLockRelease(cdp_worker_shared->lock);

	if (entry != NULL) /* else all entries are other databases', and this one has no worker */
		wait_for_exit(database);
}

/* Give all holds of this transaction back; called with the lock held. */
static void
release_holds(void)
{
	for (int i = 0; i < n_held; i++)
	{
		CdpWorkerEntry *entry = cdp_worker_find(held[i]);

		if (entry != NULL && entry->holds > 0 && --entry->holds == 0)
		{
			entry->failures = 0; /* it did not fail, it was asked to go */
			entry->not_before = 0;
			if (entry->state == CDP_WORKER_GONE && !entry->is_absent)
				entry->state = CDP_WORKER_WANTED;
		}
	}
	n_held = 0;
}

/* ---- hooks ---- */

/* Name the database that a command wants for itself; NULL: none. Notes also that databases change. */
static const char *
database_wanted_alone(Node *statement)
{
	const char *name = NULL;
	ListCell *cell;

	switch (nodeTag(statement))
	{
		case T_DropdbStmt:
			name = ((DropdbStmt *) statement)->dbname;
			break;
		case T_RenameStmt:
			if (((RenameStmt *) statement)->renameType != OBJECT_DATABASE)
				return NULL;
			name = ((RenameStmt *) statement)->subname;
			break;
		case T_CreatedbStmt:
			name = "template1";
			foreach (cell, ((CreatedbStmt *) statement)->options)
			{
				DefElem *option = lfirst_node(DefElem, cell);

				if (strcmp(option->defname, "template") == 0 && option->arg != NULL)
					name = defGetString(option);
			}
			break;
		case T_AlterDatabaseStmt:
			foreach (cell, ((AlterDatabaseStmt *) statement)->options)
			{
				if (strcmp(lfirst_node(DefElem, cell)->defname, "tablespace") == 0)
					name = ((AlterDatabaseStmt *) statement)->dbname;
			}
			break;
		default:
			return NULL;
	}
	has_changed_database = true;
	return name;
}

/* May the current user do with this database as he likes? */
static bool
is_owner(Oid database)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(DatabaseRelationId, database, GetUserId());
#else
	return pg_database_ownercheck(database, GetUserId());
#endif
}

/* Before a command that needs a database for itself, take our worker out of it. */
static void
hold_before_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree, ProcessUtilityContext context,
					ParamListInfo params, QueryEnvironment *environment, DestReceiver *dest,
					QueryCompletion *completion)
{
	const char *name = cdp_worker_shared == NULL ? NULL : database_wanted_alone(pstmt->utilityStmt);

	if (name != NULL && !RecoveryInProgress())
	{
		Oid database = get_database_oid(name, true);

		if (OidIsValid(database) && is_owner(database))
			hold_database(database);
	}
	if (previous_utility)
		previous_utility(pstmt, query, read_only_tree, context, params, environment, dest, completion);
	else
		standard_ProcessUtility(pstmt, query, read_only_tree, context, params, environment, dest, completion);
}

/* Note that an extension was created, updated or dropped, also by CASCADE; which one, the worker will see. */
static void
note_object_access(ObjectAccessType access, Oid class, Oid object, int subid, void *argument)
{
	if (previous_object_access)
		previous_object_access(access, class, object, subid, argument);
	if (class == ExtensionRelationId &&
		(access == OAT_POST_CREATE || access == OAT_POST_ALTER || access == OAT_DROP))
		has_changed_extension = true;
}

/* Tell the launcher and this database's worker what the committed transaction noted; the lock is held. */
static void
pass_notes_on(void)
{
	CdpWorkerEntry *entry = NULL;

	if (has_changed_extension)
	{
		entry = cdp_worker_acquire(MyDatabaseId);
		if (entry == NULL)
			cdp_worker_shared->is_overflown = true;
		else
		{
			entry->is_wanted = true;
			if (entry->state == CDP_WORKER_NONE)
				entry->state = CDP_WORKER_WANTED;
		}
	}
	else if (has_work)
		entry = cdp_worker_find(MyDatabaseId);
	if (entry != NULL && entry->latch != NULL)
		SetLatch(entry->latch);
	if (has_changed_extension || has_changed_database)
		cdp_worker_wake_launcher();
}

/* Act on the notes of a transaction when it ends. Registered once, in the postmaster; must not raise. */
static void
finish_transaction(XactEvent event, void *argument)
{
	if (n_held == 0 && !has_changed_extension && !has_changed_database && !has_work)
		return;
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;

	LWLockAcquire(cdp_worker_shared->lock, LW_EXCLUSIVE);
	if (event != XACT_EVENT_ABORT)
		pass_notes_on();
	if (n_held > 0)
	{
		release_holds();
		cdp_worker_wake_launcher();
	}
	LWLockRelease(cdp_worker_shared->lock);
	has_changed_extension = has_changed_database = has_work = false;
}

void
cdp_worker_init(void)
{
	BackgroundWorker launcher = {0};

	/* without preloading there is no launcher to tell; pg_upgrade wants no one else at work */
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;

	previous_shmem_request = shmem_request_hook;
	shmem_request_hook = request_memory;
	previous_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = lay_out_memory;
	previous_utility = ProcessUtility_hook;
	ProcessUtility_hook = hold_before_utility;
	previous_object_access = object_access_hook;
	object_access_hook = note_object_access;
	RegisterXactCallback(finish_transaction, NULL);

	strlcpy(launcher.bgw_name, "cdp launcher", BGW_MAXLEN);
	strlcpy(launcher.bgw_type, "cdp launcher", BGW_MAXLEN);
	strlcpy(launcher.bgw_library_name, "cdp", BGW_MAXLEN);
	strlcpy(launcher.bgw_function_name, "cdp_launcher_main", BGW_MAXLEN);
	launcher.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	launcher.bgw_start_time = BgWorkerStart_RecoveryFinished;
	launcher.bgw_restart_time = 1;
	RegisterBackgroundWorker(&launcher);
}

/* ---- SQL ---- */

void
cdp_worker_wake(void)
{
	has_work = cdp_worker_shared != NULL;
}

/* cdp.wake_worker(): let the worker look for work when this transaction commits. */
Datum
cdp_wake_worker(PG_FUNCTION_ARGS)
{
	cdp_worker_wake();
	PG_RETURN_VOID();
}

/* Put an entry's state in words. */
static const char *
state_name(const CdpWorkerEntry *entry)
{
	if (entry->holds > 0)
		return "held";
	switch (entry->state)
	{
		case CDP_WORKER_NONE:
		case CDP_WORKER_WANTED:
		case CDP_WORKER_GONE:
			return "stopped";
		case CDP_WORKER_STARTING:
		case CDP_WORKER_CONNECTING:
			return "starting";
		case CDP_WORKER_UNINITIALIZED:
			return "waiting for init";
		case CDP_WORKER_RESTORING:
			return "waiting for restore";
		case CDP_WORKER_OTHER_VERSION:
			return "version mismatch";
		case CDP_WORKER_IDLE:
			return "idle";
		case CDP_WORKER_RUNNING:
			return "running";
		case CDP_WORKER_BACKING_OFF:
			return "backing off";
	}
	return "unknown";
}

/* cdp.worker_state(): one row about the worker of this database. */
Datum
cdp_worker_state(PG_FUNCTION_ARGS)
{
	CdpWorkerEntry entry = {0};
	int launcher_pid = 0;
	TupleDesc desc;
	Datum values[7] = {0};
	bool nulls[7] = {false, true, true, true, true, true, true};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = BoolGetDatum(cdp_worker_shared != NULL);
	if (cdp_worker_shared != NULL)
	{
		CdpWorkerEntry *found;

		LWLockAcquire(cdp_worker_shared->lock, LW_SHARED);
		launcher_pid = cdp_worker_shared->launcher_pid;
		found = cdp_worker_find(MyDatabaseId);
		if (found != NULL)
			entry = *found;
		LWLockRelease(cdp_worker_shared->lock);

		values[1] = Int32GetDatum(launcher_pid);
		nulls[1] = launcher_pid == 0;
		values[2] = Int32GetDatum(entry.pid);
		nulls[2] = entry.pid == 0;
		values[3] = CStringGetTextDatum(state_name(&entry));
		values[4] = TimestampTzGetDatum(entry.last_run_at);
		nulls[4] = entry.last_run_at == 0;
		values[5] = TimestampTzGetDatum(entry.last_error_at);
		nulls[5] = entry.last_error_at == 0;
		values[6] = Int64GetDatum(Max(entry.starts - 1, 0));
		nulls[3] = nulls[6] = false;
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
