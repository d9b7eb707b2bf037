/*
 * upsert.h
 *		Rows of one of our tables found by their key, merged in C and written back; rows that are new appended.
 *
 * The caller holds the people whose rows these are, so nobody else changes them meanwhile; should somebody, or
 * store the same key, the error is 40001: who begins again finds them.  Keys come sorted, each once.  The table's
 * unique index is used directly, under the privileges that SQL would ask for; a table that SQL alone writes rightly
 * (table.h) is written by it.
 */
#ifndef CDP_UPSERT_H
#define CDP_UPSERT_H

#include "base/append.h"
#include "base/scan.h"

/* What is written: static, one per kind of rows. */
typedef struct CdpUpsert
{
	CdpScan scan;	  /* by a unique index, of the columns */
	CdpAppend append; /* of the same columns */
	CdpQuery update_by_sql;
} CdpUpsert;

/* A kind of rows: table, index, how many columns are its keys; columns, parameters and types as of CDP_APPEND. */
#define CDP_UPSERT(name, table, index, n_keys, columns, parameters, types)                                             \
	static CdpUpsert name = {                                                                                          \
		CDP_SCANNED(table, index, n_keys, columns, types), CDP_APPENDED(table, columns, parameters, types),            \
		{NULL, types, NULL, InvalidOid, 0}}

/*
 * Merge a row that is there with the i-th of the caller's: 'values' and 'nulls' hold the stored columns in the
 * caller's order and are changed in place, in the current context, which lives until the row is written.
 * Returns whether anything is to be written.
 */
typedef bool (*CdpMergeRow)(void *arg, int i, Datum *values, bool *nulls);

/*
 * Merge the caller's rows, of which only the keys need be given, into those that are there.  'is_new' says of which it
 * is known that they are not, and becomes of which it is true.  Returns how many are not.  Places (scan.h): where they
 * are, as far as that is known; or NULL.
 */
extern int cdp_update(CdpUpsert *upsert, CdpColumn *const *columns, CdpColumn *places, CdpMergeRow merge, void *arg, bool *is_new);

/* The same, and those that are not there are appended.  'is_new' may be NULL: nothing is known of them. */
extern int cdp_upsert(CdpUpsert *upsert, CdpColumn *const *columns, CdpMergeRow merge, void *arg, bool *is_new);

/*
 * The same of rows that the caller knows whole: where a stored one differs, the caller's stands in its place.
 */
extern int cdp_replace(CdpUpsert *upsert, CdpColumn *const *columns);

#endif
