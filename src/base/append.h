/*
 * append.h
 *		Rows into one of our tables, many at a time, as COPY stores them.
 *
 * What stands in columns need not become arrays, rows of a function and tuples of a
 * plan first: rows go into pages a batch at a time and from there into the indexes.
 * All that an INSERT would check is checked: the privilege, NOT NULL, CHECK, unique
 * keys, the partition; columns left out get their defaults.  A month that has no
 * partition yet gets one.  A table with row-level security, triggers or rules, or that
 * is no plain one, is written by INSERT instead.
 */
#ifndef CDP_APPEND_H
#define CDP_APPEND_H

#include "base/spi.h"
#include "base/table.h"

/* What is appended: static, one per kind of rows. */
typedef struct CdpAppend
{
	CdpTableName table;
	const char *columns; /* names, separated by ", " */
	CdpQuery by_sql;
	struct CdpAppended *known; /* what was found out about the table, see append.c */
	uint64 known_of;		   /* the making of the table of which it was */
} CdpAppend;

/* A kind of rows: their table, columns, the parameters $1, .. of as many arrays and the types of those. */
#define CDP_APPENDED(table, columns, parameters, types)                                                                \
	{                                                                                                                  \
		{table, NULL}, columns,                                                                                        \
			{"INSERT INTO cdp." table " (" columns ") SELECT * FROM unnest(" parameters ")", types, NULL, InvalidOid, 0}, NULL, 0 \
	}
#define CDP_APPEND(name, table, columns, parameters, types)                                                            \
	static CdpAppend name = CDP_APPENDED(table, columns, parameters, types)

/*
 * Append rows, column by column; returns how many.  When another transaction has stored a row of one of the keys the
 * error is 40001: who looks again finds it.
 */
extern int cdp_append(CdpAppend *append, CdpColumn *const *columns);

/* How many columns are appended. */
extern int cdp_append_columns(const CdpAppend *append);

/* The next n values of a sequence of the schema cdp; 'is_own': of a column that the caller may insert into. */
extern int64 *cdp_mint(const char *sequence, int n, bool is_own);

#endif
