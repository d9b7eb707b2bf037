/*
 * launcher.c
 *		Start a worker in every database that has the extension.
 *
 * One process per server, connected to no database: it reads only pg_database.  Which
 * databases have the extension it cannot see, so a worker is sent into each one once;
 * a worker that finds nothing leaves, and the launcher remembers.  CREATE EXTENSION
 * tells it to look again (worker.c); a look every few minutes finds what was told to
 * nobody, such as the COMMIT PREPARED of a CREATE EXTENSION.
 */
#include "postgres.h"

#include "worker/worker.h"

#include <signal.h>

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define LOOK_AGAIN_MS (5 * 60 * 1000)	/* at a database that had no extension */
#define ARRIVAL_PATIENCE_MS (30 * 1000) /* between asking for a worker and its arrival */
#define MAX_STARTING 4					/* at once: leaves the postmaster and the worker slots room */

/* A database that a worker may connect to. */
typedef struct Database
{
	Oid oid;
	NameData name;
	uint64 round;		   /* in which it was last seen */
	TimestampTz absent_at; /* when it was found without the extension; 0: it was not */
} Database;

static HTAB *databases = NULL;
static uint64 current_round = 0;

/* Of workers that this process asked for; NULL for an earlier launcher's. */
static BackgroundWorkerHandle *handles[CDP_WORKER_MAX_DATABASES];

/* Conditions that last are logged when they begin. */
static bool is_full_logged = false;
static bool is_refusal_logged = false;

/* Leave the shared memory. */
static void
detach_launcher(int code, Datum argument)
{
	LWLockAcquire(cdp_worker_shared->lock, LW_EXCLUSIVE);
	cdp_worker_shared->launcher_pid = 0;
	cdp_worker_shared->launcher_latch = NULL;
	LWLockRelease(cdp_worker_shared->lock);
}

/* Enter the shared memory. */
static void
attach_launcher(void)
{
	LWLockAcquire(cdp_worker_shared->lock, LW_EXCLUSIVE);
	cdp_worker_shared->launcher_pid = MyProcPid;
	cdp_worker_shared->launcher_latch = MyLatch;
	LWLockRelease(cdp_worker_shared->lock);
	on_shmem_exit(detach_launcher, (Datum) 0);
}

/* May a worker connect to this database? */
static bool
is_eligible(Form_pg_database database)
{
	/* -2: a DROP DATABASE was interrupted half-way; a template must stay free for copying */
	return database->datallowconn && !database->datistemplate && database->datconnlimit != -2;
}

/* Remember a database of the current round. */
static void
see_database(Form_pg_database form)
{
	bool found;
	Database *database = hash_search(databases, &form->oid, HASH_ENTER, &found);

	if (!found)
		database->absent_at = 0;
	database->name = form->datname;
	database->round = current_round;
}

/* Read which databases there are, and forget those that are no more. */
static void
read_databases(void)
{
	Relation relation;
	TableScanDesc scan;
	HeapTuple tuple;
	HASH_SEQ_STATUS all;
	Database *database;

	current_round++;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	relation = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(relation, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		if (is_eligible((Form_pg_database) GETSTRUCT(tuple)))
			see_database((Form_pg_database) GETSTRUCT(tuple));
	}
	table_endscan(scan);
	table_close(relation, AccessShareLock);
	CommitTransactionCommand();
	pgstat_report_stat(true);

	hash_seq_init(&all, databases);
	while ((database = hash_seq_search(&all)) != NULL)
	{
		if (database->round != current_round)
			hash_search(databases, &database->oid, HASH_REMOVE, NULL);
	}
}

/* Plan the next start of a worker after an end, later the more often it died young. */
static void
plan_restart(CdpWorkerEntry *entry, TimestampTz now)
{
	if (TimestampDifferenceExceeds(entry->started_at, now, CDP_WORKER_MAX_DELAY_MS))
		entry->failures = 0;
	entry->failures++;
	entry->not_before = TimestampTzPlusMilliseconds(now, cdp_worker_delay(entry->failures));
	entry->state = CDP_WORKER_WANTED;
}

/* Has the worker that was asked for failed to arrive? */
static bool
is_lost(int i, TimestampTz now)
{
	pid_t pid;

	if (handles[i] != NULL)
		return GetBackgroundWorkerPid(handles[i], &pid) == BGWH_STOPPED;
	return TimestampDifferenceExceeds(cdp_worker_shared->entries[i].started_at, now, ARRIVAL_PATIENCE_MS);
}

/* Bring one entry up to what has happened: exits, databases that went or closed. */
static void
settle(int i, TimestampTz now)
{
	CdpWorkerEntry *entry = &cdp_worker_shared->entries[i];
	Database *database = hash_search(databases, &entry->database, HASH_FIND, NULL);

	if (entry->state == CDP_WORKER_GONE && entry->is_absent)
	{
		if (database != NULL)
			database->absent_at = now;
		entry->failures = 0;
		entry->not_before = 0;
		entry->state =
			entry->is_wanted ? CDP_WORKER_WANTED : CDP_WORKER_NONE; /* there was none, but there is news */
	}
	else if (entry->state == CDP_WORKER_GONE || (entry->state == CDP_WORKER_STARTING && is_lost(i, now)))
		plan_restart(entry, now);

	if (entry->state != CDP_WORKER_STARTING && entry->pid == 0 && handles[i] != NULL)
	{
		pfree(handles[i]);
		handles[i] = NULL;
	}

	if (database == NULL && entry->pid != 0 && entry->holds == 0)
		kill(entry->pid, SIGTERM);
	else if (database == NULL && entry->state == CDP_WORKER_WANTED)
		entry->state = CDP_WORKER_NONE;
	if (entry->state == CDP_WORKER_NONE && entry->holds == 0)
		entry->database = InvalidOid;
}

/* Say once that a database finds no entry. */
static void
log_full(const char *name)
{
	if (is_full_logged)
		return;
	is_full_logged = true;
	ereport(LOG, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				  errmsg("no cdp worker can be started in database \"%s\"", name),
				  errdetail("At most %d databases can have a worker.", CDP_WORKER_MAX_DATABASES),
				  errhint("Call cdp.process() there by other means, such as pg_cron.")));
}

/* Make an entry for each database that has none and was not found empty lately; the lock is held. */
static const char *
want_unknown(TimestampTz now)
{
	const char *without = NULL;
	HASH_SEQ_STATUS all;
	Database *database;

	hash_seq_init(&all, databases);
	while ((database = hash_seq_search(&all)) != NULL)
	{
		CdpWorkerEntry *entry;

		if (cdp_worker_shared->is_overflown)
			database->absent_at = 0;
		if (cdp_worker_find(database->oid) != NULL)
			continue;
		if (database->absent_at != 0 && !TimestampDifferenceExceeds(database->absent_at, now, LOOK_AGAIN_MS))
			continue;
		entry = cdp_worker_acquire(database->oid);
		if (entry == NULL)
			without = NameStr(database->name);
		else
			entry->state = CDP_WORKER_WANTED;
	}
	cdp_worker_shared->is_overflown = false;
	return without;
}

/* Mark the entries whose worker is to be started now; returns how many. The lock is held. */
static int
choose_starts(TimestampTz now, CdpWorkerTicket *tickets)
{
	int n_starting = 0;
	int n = 0;

	for (int i = 0; i < CDP_WORKER_MAX_DATABASES; i++)
		n_starting += cdp_worker_shared->entries[i].state == CDP_WORKER_STARTING;
	for (int i = 0; i < CDP_WORKER_MAX_DATABASES && n_starting < MAX_STARTING; i++)
	{
		CdpWorkerEntry *entry = &cdp_worker_shared->entries[i];

		if (entry->state != CDP_WORKER_WANTED || entry->holds > 0 || entry->not_before > now)
			continue;
		entry->state = CDP_WORKER_STARTING;
		entry->generation = ++cdp_worker_shared->generation;
		entry->is_wanted = entry->is_absent = false;
		entry->started_at = now;
		entry->starts++;
		tickets[n++] = (CdpWorkerTicket){entry->database, i, entry->generation};
		n_starting++;
	}
	return n;
}

/* When must the launcher look again, in milliseconds? The lock is held. */
static long
time_to_next(TimestampTz now)
{
	long next = CDP_WORKER_POLL_MS;

	for (int i = 0; i < CDP_WORKER_MAX_DATABASES; i++)
	{
		CdpWorkerEntry *entry = &cdp_worker_shared->entries[i];

		if (entry->state == CDP_WORKER_WANTED && entry->holds == 0 && entry->not_before > now)
			next = Min(next, TimestampDifferenceMilliseconds(now, entry->not_before));
	}
	return next;
}

/* Note that the postmaster has no room for the worker, and say so once. */
static void
note_refusal(const CdpWorkerTicket *ticket, const char *name)
{
	CdpWorkerEntry *entry = &cdp_worker_shared->entries[ticket->entry];

	LWLockAcquire(cdp_worker_shared->lock, LW_EXCLUSIVE);
	if (entry->generation == ticket->generation)
	{
		entry->state = CDP_WORKER_WANTED;
		entry->starts--;
		entry->not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), CDP_WORKER_MIN_DELAY_MS);
	}
	LWLockRelease(cdp_worker_shared->lock);
	if (!is_refusal_logged)
		ereport(LOG, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					  errmsg("out of background worker slots for the cdp worker of database \"%s\"", name),
					  errhint("Increase max_worker_processes.")));
	is_refusal_logged = true;
}

/* Ask the postmaster for a worker; false: it has no room. */
static bool
start_worker(const CdpWorkerTicket *ticket)
{
	Database *database = hash_search(databases, &ticket->database, HASH_FIND, NULL);
	BackgroundWorker worker = {0};
	MemoryContext old;
	bool is_registered;

	strlcpy(worker.bgw_name, "cdp worker", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "cdp worker", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "cdp", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "cdp_database_main", BGW_MAXLEN);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
#ifdef BGWORKER_INTERRUPTIBLE
	worker.bgw_flags |= BGWORKER_INTERRUPTIBLE; /* 19 and later end it for DROP DATABASE by themselves, too */
#endif
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART; /* when to restart is for the launcher to decide */
	worker.bgw_notify_pid = MyProcPid;
	memcpy(worker.bgw_extra, ticket, sizeof(CdpWorkerTicket));

	old = MemoryContextSwitchTo(TopMemoryContext);
	if (handles[ticket->entry] != NULL)
		pfree(handles[ticket->entry]);
	handles[ticket->entry] = NULL;
	is_registered = RegisterDynamicBackgroundWorker(&worker, &handles[ticket->entry]);
	MemoryContextSwitchTo(old);
	if (is_registered)
		is_refusal_logged = false;
	else
		note_refusal(ticket, database == NULL ? "" : NameStr(database->name));
	return is_registered;
}

/* Look round once; returns how long to wait for the next time, in milliseconds. */
static long
look_round(void)
{
	CdpWorkerTicket tickets[MAX_STARTING];
	TimestampTz now;
	const char *without;
	long next;
	int n;

	read_databases();
	now = GetCurrentTimestamp();
	LWLockAcquire(cdp_worker_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < CDP_WORKER_MAX_DATABASES; i++)
	{
		if (OidIsValid(cdp_worker_shared->entries[i].database))
			settle(i, now);
	}
	without = want_unknown(now);
	n = choose_starts(now, tickets);
	next = time_to_next(now);
	LWLockRelease(cdp_worker_shared->lock);

	if (without != NULL)
		log_full(without);
	else
		is_full_logged = false;
	for (int i = 0; i < n; i++)
	{
		if (!start_worker(&tickets[i]))
			next = Min(next, CDP_WORKER_MIN_DELAY_MS);
	}
	return next;
}

/* Look round whenever something happened, and now and then. */
void
cdp_launcher_main(Datum argument)
{
	HASHCTL control = {.keysize = sizeof(Oid), .entrysize = sizeof(Database)};

	cdp_worker_install_handlers();
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	databases = hash_create("cdp databases", 64, &control, HASH_ELEM | HASH_BLOBS);
	attach_launcher();

	for (;;)
	{
		long timeout;

		ResetLatch(MyLatch);
		cdp_worker_heed_signals(1); /* 0 would retire the launcher for good */
		timeout = look_round();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, timeout,
						 cdp_worker_wait_event(CDP_WAIT_LAUNCHER));
	}
}
