/*
 * spi.h
 *		SQL from C: statements with kept plans, and columns of values as arrays.
 *
 * A statement is a static CdpQuery.  Its plan is prepared at the first run and
 * kept; when the extension is dropped and created again its types have other
 * OIDs, which is noticed, and the plan is made anew.  SPI must be connected.
 */
#ifndef CDP_SPI_H
#define CDP_SPI_H

#include "postgres.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "tcop/dest.h"

#define CDP_MAX_ARGUMENTS 16

typedef struct CdpQuery
{
	const char *sql;   /* every name qualified; parameters $1 .. $n */
	const char *types; /* their types, separated by commas: "int8[],text,cdp.traits[]" */
	SPIPlanPtr plan;
	Oid schema; /* OID of schema cdp for which the plan was made */
	int n_arguments;
} CdpQuery;

#define CDP_QUERY(name, sql, types) static CdpQuery name = {sql, types, NULL, InvalidOid, 0}

/*
 * From entering to leaving, names that are not qualified, operators above all, are looked for in pg_catalog, as by SET
 * search_path of a function.  Statements run so anyhow; this is for what else calls functions of others.
 */
extern int cdp_enter_path(void);
extern void cdp_leave_path(int level);

/*
 * Run a statement; returns the number of rows, which stand in SPI_tuptable until
 * cdp_done().  'nulls' may be NULL (no argument is null).
 */
extern uint64 cdp_run(CdpQuery *query, Datum *arguments, const char *nulls);
/* As cdp_run(), a query of what the caller's own query sees, also in a parallel worker. */
extern uint64 cdp_run_read(CdpQuery *query, Datum *arguments, const char *nulls);
/*
 * As cdp_run(), a query of what is committed by now, also where the transaction's own snapshot is older; while a query
 * has parallel workers, of what that query sees.
 */
extern uint64 cdp_run_latest(CdpQuery *query, Datum *arguments, const char *nulls);
/* Does a query without arguments find anything that is committed by now?  palloc'd, as cached.h wants it. */
extern bool *cdp_find_any(CdpQuery *query);
/* A statement as a cursor: fetch up to n rows at a time (returns how many; then cdp_done()), close. */
extern Portal cdp_open(CdpQuery *query, Datum *arguments);
extern uint64 cdp_fetch(Portal portal, int n);
extern void cdp_close(Portal portal);
extern void cdp_done(void); /* frees SPI_tuptable */

/* Run a query of the user's own row by row into a receiver, no copy made; the hint of an error says what to give. */
extern void cdp_stream(const char *query, DestReceiver *receiver, const char *hint);

/* Values of the current result; row from 0, column from 1. */
extern int64 cdp_result_int64(uint64 row, int column, int64 if_null);
extern Datum cdp_result_datum(uint64 row, int column, bool *isnull); /* lives until cdp_done() */
extern char *cdp_result_cstring(uint64 row, int column); /* of a text column; palloc'd in the current context */

/* A growing column of values of one type, which becomes an array parameter. */
typedef struct CdpColumn
{
	Oid type;
	int16 typlen;
	bool typbyval;
	char typalign;
	int n;
	int capacity;
	Datum *values;
	bool *nulls;
	bool has_nulls;
} CdpColumn;

extern CdpColumn *cdp_column(Oid type, int expected); /* in the current context */
extern void cdp_column_add(CdpColumn *column, Datum value);
extern void cdp_column_add_null(CdpColumn *column);
extern void cdp_column_add_any(CdpColumn *column, Datum value, bool is_null);
extern void cdp_column_add_text(CdpColumn *column, const char *value, int len); /* NULL value: null */
extern Datum cdp_column_array(CdpColumn *column);

/* Sets of ids: sort and drop repeats (returns how many stay); as a column; as an array parameter. */
extern int cdp_compare_int64(const void *a, const void *b); /* for qsort and bsearch, also of structs that begin with one */
extern int cdp_sort_distinct(int64 *values, int n);
extern CdpColumn *cdp_int64_column(const int64 *values, int n);
extern Datum cdp_int64_array(const int64 *values, int n);
extern int64 *cdp_int64_elements(ArrayType *array, int *n); /* those that are not null, sorted, each once */

#endif
