/*
 * table.h
 *		One of our tables, opened in C to find rows and to write them.
 *
 * An executor finds out for every statement what a table's columns, indexes and constraints are.  Here that is found
 * out once a session, and again after something about the table has changed; so one row costs little more than its
 * page and its index entries.  What reads (scan.h), appends (append.h) and merges rows (upsert.h) stands on it.
 */
#ifndef CDP_TABLE_H
#define CDP_TABLE_H

#include "postgres.h"
#include "lib/ilist.h"
#include "nodes/execnodes.h"
#include "nodes/parsenodes.h"
#include "storage/lockdefs.h"
#include "utils/rel.h"
#include "utils/resowner.h"

typedef struct CdpTable
{
	Oid oid;
	uint64 number;		   /* no other making of a table has it: what was found out about this one bears it */
	MemoryContext context; /* lives as long as this making */
	MemoryContext use;	   /* lives until it is closed: what indexes keep while rows go into them */
	bool is_valid;		   /* nothing about the table has changed since */
	bool is_shared;		   /* of the session; else it goes when it is closed */

	/* while it is open */
	Relation relation;
	dlist_node node; /* in the list of all that are open, if it is the session's */
	ResourceOwner owner; /* what it was opened for, */
	int owner_level;	 /* and of which transaction that is */
	bool is_held;		 /* it stays open when nobody uses it */
	LOCKMODE mode;		 /* of its lock, and those of its indexes */
	int level;			 /* of the transaction that uses it, 0: nobody does */
	Relation *indexes; /* that are open */
	int n_indexes;
	int max_indexes;
	bool is_indexing; /* the executor's part knows those that rows are entered in, see entry.c */

	Oid user; /* who was granted what, as was asked so far */
	AclMode granted;

	TupleDesc columns; /* a copy */
	EState *estate;
	ResultRelInfo *target;
	Oid *index_oids; /* that rows are entered in; NULL: not known yet */
	struct CdpRanged *ranged; /* those of them that know ranges of pages, see entry.c */
	int n_ranged;
	TupleTableSlot **slots;
	int n_slots;

	struct AttrMap *map; /* of a partition: from the columns of the table 'mapped' numbers to its own; NULL: they are the same */
	uint64 mapped;
} CdpTable;

/* One of our tables by its name in schema cdp; static. */
typedef struct CdpTableName
{
	const char *name;
	struct CdpKnownTable *known; /* what the name stood for the last time */
} CdpTableName;

/* Open a table, or a partition of one; the lock stays until the end of the transaction. Who opened it closes it, unless an error does. */
extern CdpTable *cdp_table_open(CdpTableName *name, LOCKMODE mode);
extern CdpTable *cdp_table_open_partition(Oid oid, LOCKMODE mode);
extern void cdp_table_close(CdpTable *table);

/*
 * Whoever uses the same tables again and again, as a batch does, holds them: until they are released, in the same
 * subtransaction, those that are closed stay open for whoever opens them next, and all are opened to be written.
 */
typedef struct CdpTablesHold
{
	ResourceOwner owner;
	int level; /* of its transaction */
	struct CdpTablesHold *outer;
} CdpTablesHold;

extern void cdp_tables_hold(CdpTablesHold *hold);
extern void cdp_tables_release(CdpTablesHold *hold);

/* Close those that nobody uses at the moment, before a statement that changes a table: it wants it for itself. */
extern void cdp_tables_close(void);

/* An index of an open table; it stays open as long as that, or until another table is opened. */
extern Relation cdp_table_open_index(CdpTable *table, Oid oid);

/*
 * Is it nothing but rows, which the user has the privilege to read (ACL_SELECT) or write (ACL_INSERT, ACL_UPDATE; of a
 * partition ACL_NO_RIGHTS)?  Else SQL has to do it: it is no heap, there is row-level security or a rule, or, for
 * writing, a trigger or a generated column.
 */
extern bool cdp_table_is_plain(CdpTable *table, AclMode privilege);

/* Which attributes columns are, written as "a, b", from 0, or for ctid this; returns how many. */
#define CDP_ROW_PLACE (-1)
extern int cdp_table_attributes(const CdpTable *table, const char *columns, int *attributes);

/* The i-th of the slots for rows that are to be written, empty. */
extern TupleTableSlot *cdp_table_slot(CdpTable *table, int i);

/* See that a row keeps NOT NULL and CHECK constraints. */
extern void cdp_table_check(CdpTable *table, TupleTableSlot *row);

/* Make the entries of rows that were written in the table's indexes; of an update, those that SQL would make. */
extern void cdp_table_enter(CdpTable *table, TupleTableSlot **rows, int n);
extern void cdp_table_enter_update(CdpTable *table, TupleTableSlot *row, bool is_summarizing);

/* Private to table.c: nothing is entered any more until the table is opened again. */
extern void cdp_table_end_entries(CdpTable *table);

#endif
