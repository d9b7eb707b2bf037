/*
 * scan.h
 *		The rows of one of our tables under many keys, straight from an index.
 *
 * A query that looks thousands of keys up, or one, costs more for its plan and its tuples than for the rows.  A scan
 * goes to the index itself, key by key, and gives out the rows that are committed by now or are this transaction's own.
 * What a query checks is checked: the privilege to read; a table with row-level security is read by SQL, with the same
 * result.  (lookup.h is for one person, by the snapshot of the caller's query.)
 */
#ifndef CDP_SCAN_H
#define CDP_SCAN_H

#include "base/btree.h"
#include "base/spi.h"
#include "base/table.h"

/* What is scanned: static, one per kind. */
typedef struct CdpScan
{
	CdpTableName table;
	const char *index; /* a b-tree; its first columns are the keys */
	int n_keys;
	const char *columns; /* what is read, separated by ", ": the keys first, in the order of the index; ctid is a place, see below */
	CdpQuery by_sql;
	CdpQuery locked_by_sql;
	struct CdpScanned *known; /* what was found out about the table, see scan.c */
	uint64 known_of;		  /* the making of the table of which it was */
} CdpScan;

/* A kind of scan, written as an initialiser; types are those of the columns as arrays, "int8[],text[]", at least of the keys. */
#define CDP_SCANNED(table, index, n_keys, columns, types)                                                              \
	{                                                                                                                  \
		{table, NULL}, index, n_keys, columns, {NULL, types, NULL, InvalidOid, 0}, {NULL, types, NULL, InvalidOid, 0}, NULL, 0 \
	}
#define CDP_SCAN(name, table, index, n_keys, columns, types)                                                           \
	static CdpScan name = CDP_SCANNED(table, index, n_keys, columns, types)

/* A row under the i-th of the keys: its columns, good until the call returns; it may change the arrays. */
typedef void (*CdpTakeRow)(void *arg, int i, Datum *values, bool *nulls);

/* Give out the rows under each of the keys, key by key; returns how many there were. */
extern uint64 cdp_scan(CdpScan *scan, CdpColumn *const *keys, CdpTakeRow take, void *arg);

/*
 * The same of a unique index.  Who has scanned these rows before may know their places, as ctid: then they are looked at
 * before the index is asked.  What stands there must have the key, so a place may be wrong or old.  NULL: none is known.
 */
extern uint64 cdp_scan_at(CdpScan *scan, CdpColumn *const *keys, CdpColumn *places, CdpTakeRow take, void *arg);

/*
 * The same, and each row is locked first as by FOR NO KEY UPDATE: as it is by then, also where that
 * took waiting for somebody who changed it.  Keys come in the order in which all lock.
 */
extern uint64 cdp_scan_locked(CdpScan *scan, CdpColumn *const *keys, CdpColumn *places, CdpTakeRow take, void *arg);

/* Of scans by one bigint that read one more: those, sorted, each once; returns how many. */
extern int cdp_scan_int64(CdpScan *scan, const int64 *keys, int n, int64 **values);

/* The inside of it, for upsert.h: rows under keys in a slot of a table that is open. */
typedef struct CdpScanner
{
	CdpScan *scan;
	CdpTable *table;
	Snapshot snapshot;
	bool is_searching; /* the index is open */
	CdpBtreeSearch search;
	Datum key[CDP_MAX_ARGUMENTS];
	Buffer buffer; /* of the page of the last row, pinned; or none */
	struct CdpScanned *known;
	int n_places;  /* row pointers found */
	int next;	   /* the next one of them */
	ItemPointerData place; /* of the row: where its versions begin */
	bool is_found; /* the row is in the slot already */
	bool has_dead; /* one of them leads to no row that anybody sees */
	TupleTableSlot *row;
} CdpScanner;

extern void cdp_scanner_begin(CdpScanner *scanner, CdpScan *scan, CdpTable *table);
extern void cdp_scanner_find(CdpScanner *scanner, CdpColumn *const *keys, CdpColumn *places, int i); /* the i-th of the keys */
extern bool cdp_scanner_next(CdpScanner *scanner);								  /* the row is in the slot */
extern void cdp_scanner_read(CdpScanner *scanner, Datum *values, bool *nulls);	  /* its columns */
extern const int *cdp_scanner_attributes(const CdpScanner *scanner, int *n);	  /* which they are in the table, from 0 */
extern void cdp_scanner_end(CdpScanner *scanner);

/* The same rows by SQL: "ord, columns.." stand in SPI_tuptable until cdp_done(), ord from 0; returns how many. */
extern uint64 cdp_scan_by_sql(CdpScan *scan, CdpColumn *const *keys, bool is_locked);

#endif
