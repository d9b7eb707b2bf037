/*
 * lookup.h
 *		The rows of one of our tables under a key, straight from its index.
 *
 * Reading one person must not cost a plan's start-up four times over.  A lookup reads the
 * index and the heap itself, with the query's snapshot, after the checks that a query would
 * make: SELECT on the table, else an error.  A table that has row-level security in force, is
 * no plain heap, or has another index is read by SQL instead, so that the result is the same.
 */
#ifndef CDP_LOOKUP_H
#define CDP_LOOKUP_H

#include "access/htup.h"
#include "base/btree.h"
#include "base/spi.h"
#include "storage/buf.h"
#include "utils/rel.h"

#define CDP_MAX_LOOKUP_KEYS 2
#define CDP_MAX_LOOKUP_COLUMNS 8
#define CDP_MAX_LOOKUP_ATTRIBUTES 32 /* where columns stand further back, the table is read by SQL */

/* How a column of a table stands in its rows. */
typedef struct CdpLookupColumn
{
	int16 length; /* -1: a varlena */
	uint8 alignment;
	bool is_by_value;
} CdpLookupColumn;

/* What is looked up: static, one per kind of lookup. */
typedef struct CdpLookupKind
{
	const char *table; /* in schema cdp */
	const char *index; /* a b-tree whose first columns are the keys, bigint or text COLLATE "C" */
	int n_keys;
	bool is_text; /* the keys are text, else bigint */
	const char *columns; /* what is read: "profile_id, segment" */
	CdpQuery by_sql;
	uint64 generation; /* of what follows, see lookup.c */
	Oid table_oid;
	Oid index_oid;
	bool is_examined;
	bool is_plain; /* to be read from its pages, else by SQL */
	Oid reader; /* who may read the table for all we know */
	AttrNumber attributes[CDP_MAX_LOOKUP_COLUMNS]; /* of the columns */
	AttrNumber last; /* the largest of them */
	CdpLookupColumn layout[CDP_MAX_LOOKUP_ATTRIBUTES]; /* of the table's columns up to that one */
} CdpLookupKind;

/* A kind of lookup, written as an initialiser; its condition as SQL with qualified operators, its order that of the index. */
#define CDP_LOOKUP(table, index, n, is_text, columns, where, order, types)                                            \
	{                                                                                                                  \
		table, index, n, is_text, columns,                                                                             \
			{"SELECT " columns " FROM cdp." table " WHERE " where " ORDER BY " order, types}                           \
	}

typedef struct CdpLookup
{
	const CdpLookupKind *kind;
	bool is_by_sql;
	Relation table;
	Relation index;
	Snapshot snapshot;
	CdpBtreeSearch search; /* with the places of the rows, or their versions, in the heap */
	Buffer buffer; /* that of the current row's page, pinned */
	Datum values[CDP_MAX_LOOKUP_ATTRIBUTES]; /* the columns of the current row, as far as they are read */
	bool nulls[CDP_MAX_LOOKUP_ATTRIBUTES];
	uint64 row; /* rows read so far: of the places, or by SQL */
	uint64 n_rows;
} CdpLookup;

/* Lookups by SQL connect SPI between begin and end; so lookups must end in the reverse order of their beginning. */
extern void cdp_lookup_begin(CdpLookup *lookup, CdpLookupKind *kind, const Datum *keys);
extern bool cdp_lookup_next(CdpLookup *lookup);
extern void cdp_lookup_end(CdpLookup *lookup); /* locks stay until the end of the transaction, as a query's do */

/* A column of the current row, from 0; good until the next row. */
static inline Datum
cdp_lookup_value(const CdpLookup *lookup, int column, bool *isnull)
{
	int i = lookup->kind->attributes[column] - 1;

	if (lookup->is_by_sql)
		return cdp_result_datum(lookup->row - 1, column + 1, isnull);
	*isnull = lookup->nulls[i];
	return lookup->values[i];
}

/* Is there no row under any key? A cheap look that may say no where the answer is yes. */
extern bool cdp_lookup_is_empty(CdpLookupKind *kind);

#endif
