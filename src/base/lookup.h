/*
 * lookup.h
 *		The rows of one of our tables under a key, straight from its index.
 *
 * Reading one person must not cost a plan's start-up four times over.  A lookup scans
 * the index itself, with the query's snapshot, after the checks that a query would
 * make: SELECT on the table, else an error.  A table that has row-level security in
 * force, or is no plain heap, is read by SQL instead, so that the result is the same.
 */
#ifndef CDP_LOOKUP_H
#define CDP_LOOKUP_H

#include "access/genam.h"
#include "access/relscan.h"
#include "base/spi.h"
#include "executor/tuptable.h"
#include "utils/rel.h"

#define CDP_MAX_LOOKUP_KEYS 2

/* What is looked up: static, one per kind of lookup. */
typedef struct CdpLookupKind
{
	const char *table; /* in schema cdp */
	const char *index; /* a b-tree whose first columns are the keys, bigint or text COLLATE "C" */
	int n_keys;
	bool is_text; /* the keys are text, else bigint */
	CdpQuery by_sql; /* SELECT * FROM cdp.<table> WHERE .. ORDER BY the index's columns */
	uint64 generation; /* of the OIDs, see lookup.c */
	Oid table_oid;
	Oid index_oid;
} CdpLookupKind;

/* A kind of lookup, written as an initialiser; its condition as SQL with qualified operators. */
#define CDP_LOOKUP(table, index, n, is_text, where, order, types)                                                            \
	{                                                                                                                  \
		table, index, n, is_text, {"SELECT * FROM cdp." table " WHERE " where " ORDER BY " order, types}, 0, 0, 0     \
	}

typedef struct CdpLookup
{
	Relation table;
	Relation index;
	IndexScanDesc scan;
	TupleTableSlot *slot;
	int last_column; /* after the one that was asked for last */
	uint64 row; /* by SQL: rows read so far */
	uint64 n_rows;
} CdpLookup;

/* Lookups by SQL connect SPI between begin and end; so lookups must end in the reverse order of their beginning. */
extern void cdp_lookup_begin(CdpLookup *lookup, CdpLookupKind *kind, const Datum *keys);
extern bool cdp_lookup_next(CdpLookup *lookup);
extern Datum cdp_lookup_value(CdpLookup *lookup, const char *column, bool *isnull); /* good until the next row */
extern void cdp_lookup_end(CdpLookup *lookup);

#endif
