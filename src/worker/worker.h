/*
 * worker.h
 *		The background worker: a launcher for the server, one worker per database.
 *
 * The worker does nothing but call the public functions cdp.process() and
 * cdp.maintain() in a loop; everything works without it.  It exists only where
 * cdp is in shared_preload_libraries; elsewhere cdp_worker_init() and
 * cdp_worker_wake() do nothing.
 *
 * Who calls: _PG_init() calls cdp_worker_init(); any room above may call
 * cdp_worker_wake().  The rest is for the three files of this room, whose
 * lifecycle the head of worker.c explains.
 */
#ifndef CDP_WORKER_H
#define CDP_WORKER_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/lwlock.h"

/* Reserve shared memory, install the hooks and register the launcher, when preloading. */
extern void cdp_worker_init(void);

/* Make this database's worker look for work as soon as this transaction commits; costs an assignment. */
extern void cdp_worker_wake(void);

/* ---- inside the room ---- */

/* Databases that can have a worker at once; a fixed array keeps shared memory simple. */
#define CDP_WORKER_MAX_DATABASES 64

#define CDP_WORKER_POLL_MS 10000	  /* the launcher looks round, and a worker without work to do too */
#define CDP_WORKER_MIN_DELAY_MS 1000  /* after a first failure */
#define CDP_WORKER_MAX_DELAY_MS 60000 /* after many; also the time without failure that counts as healthy */

typedef enum CdpWorkerState
{
	CDP_WORKER_NONE,		  /* nobody asked for a worker; the entry stands for its holds */
	CDP_WORKER_WANTED,		  /* the launcher shall start one, not before 'not_before' */
	CDP_WORKER_STARTING,	  /* asked of the postmaster, not attached yet */
	CDP_WORKER_CONNECTING,	  /* attached; finds out whether the extension is here */
	CDP_WORKER_UNINITIALIZED, /* waits for cdp.init() */
	CDP_WORKER_RESTORING,	  /* waits for a restore to end */
	CDP_WORKER_OTHER_VERSION, /* extension and library are of different versions */
	CDP_WORKER_IDLE,		  /* waits for work */
	CDP_WORKER_RUNNING,		  /* in cdp.process() or cdp.maintain() */
	CDP_WORKER_BACKING_OFF,	  /* an error was raised; waits before the next try */
	CDP_WORKER_GONE			  /* exited; the launcher decides what is next */
} CdpWorkerState;

/* What is known of one database; free when 'database' is InvalidOid. */
typedef struct CdpWorkerEntry
{
	Oid database;
	CdpWorkerState state;
	int holds;		   /* transactions that want the database without other sessions */
	int pid;		   /* of the attached worker; 0: none */
	Latch *latch;	   /* of the attached worker, in shared memory */
	uint64 generation; /* of the latest start; a process of an earlier one leaves */
	bool is_wanted;	   /* an extension was made or changed since the latest start */
	bool is_absent;	   /* the worker that is gone found no extension */
	int failures;	   /* short lives in a row */
	TimestampTz not_before;
	TimestampTz started_at;
	TimestampTz last_run_at;
	TimestampTz last_error_at;
	int64 starts;
} CdpWorkerEntry;

typedef struct CdpWorkerShared
{
	LWLock *lock; /* guards all that follows */
	int launcher_pid;
	Latch *launcher_latch;
	bool is_overflown;		  /* an extension was made but no entry was free */
	uint64 generation;		  /* the last one given out */
	ConditionVariable exited; /* a worker detached */
	CdpWorkerEntry entries[CDP_WORKER_MAX_DATABASES];
} CdpWorkerShared;

/* What the launcher hands a worker, in bgw_extra. */
typedef struct CdpWorkerTicket
{
	Oid database;
	int entry;
	uint64 generation;
} CdpWorkerTicket;

typedef enum CdpWaitEvent
{
	CDP_WAIT_LAUNCHER,
	CDP_WAIT_WORKER,
	CDP_WAIT_EXIT
} CdpWaitEvent;

extern CdpWorkerShared *cdp_worker_shared; /* NULL unless preloaded */

/* Find a database's entry, or make one; NULL: there is none, all are taken. The lock must be held. */
extern CdpWorkerEntry *cdp_worker_find(Oid database);
extern CdpWorkerEntry *cdp_worker_acquire(Oid database);

extern void cdp_worker_wake_launcher(void); /* the lock must be held */
extern int cdp_worker_delay(int failures);	/* milliseconds to wait after so many failures in a row */
extern uint32 cdp_worker_wait_event(CdpWaitEvent which);

/* Signals of both processes: SIGTERM ends a wait quietly and a query by an error, SIGHUP reloads. */
extern void cdp_worker_install_handlers(void);
extern void cdp_worker_heed_signals(int exit_code);

extern PGDLLEXPORT void cdp_launcher_main(Datum argument);
extern PGDLLEXPORT void cdp_database_main(Datum argument);

#endif
