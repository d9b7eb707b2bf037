/*
 * cached.h
 *		What a session reads out of tables of rules once, and again after they changed.
 */
#ifndef CDP_CACHED_H
#define CDP_CACHED_H

#include "postgres.h"

/*
 * Static, one for each such reading.  A statement trigger on each table it reads calls cdp.rules_changed(), with
 * the name of the table here as its argument (none: namespace), which reaches every session at commit, and this
 * one at once.
 */
typedef struct CdpCached
{
	const char *table;	 /* of schema cdp */
	void *(*read)(void); /* reads what is committed by now into the current context; SPI is connected */
	MemoryContext context;
	void *value;
	Oid relation;
	bool is_valid;
	bool is_known; /* in the list of all */
	struct CdpCached *next;
} CdpCached;

/* What was read; good until the end of the transaction. */
extern void *cdp_cached(CdpCached *cached);

#endif
