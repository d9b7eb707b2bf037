/*
 * stamped.h
 *		A sorted map from a name to a value with the time and source rank at which
 *		it was said: the container behind cdp.traits and cdp.consents.
 *
 * Merging two maps keeps, name by name, the entry that wins: the latest time, then
 * the highest rank, then a tie rule over the values' bytes.  Merging is
 * commutative, associative and idempotent, so order and repetition cannot matter.
 * The format on disk is described in docs/base.md and frozen by test/sql/base_stamped.sql.
 */
#ifndef CDP_STAMPED_H
#define CDP_STAMPED_H

#include "postgres.h"
#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "utils/jsonb.h"

#define CDP_STAMPED_VERSION 1

/* One entry as it is read out of, or goes into, a map. */
typedef struct CdpStampedEntry
{
	const char *name;
	int name_length;
	TimestampTz at;
	int16 rank;
	const Jsonb *value; /* any JSON value, also null: "it was unset" */
} CdpStampedEntry;

typedef struct CdpStamped CdpStamped; /* varlena */

/* > 0: the first value wins a tie of time and rank; both are complete Jsonb. */
typedef int (*CdpStampedTie)(const Jsonb *a, const Jsonb *b);

extern int cdp_stamped_count(const CdpStamped *map);
extern CdpStampedEntry cdp_stamped_entry(const CdpStamped *map, int i);
extern bool cdp_stamped_find(const CdpStamped *map, const char *name, int name_length, CdpStampedEntry *entry);

/* Build a map from entries in any order; of a name's entries the winner stays. */
extern CdpStamped *cdp_stamped_build(CdpStampedEntry *entries, int n, CdpStampedTie tie);
extern CdpStamped *cdp_stamped_merge(const CdpStamped *a, const CdpStamped *b, CdpStampedTie tie);

/* Ties: by value, bytewise, the larger; for a boolean consent the refusal. */
extern int cdp_stamped_tie_bytes(const Jsonb *a, const Jsonb *b);

/* Text form: {"plan": {"at": "2026-01-31T09:00:00Z", "rank": 0, "value": "pro"}}. Errors never show values. */
extern CdpStamped *cdp_stamped_in(const char *text, int length, const char *type_name, CdpStampedTie tie);
extern char *cdp_stamped_out(const CdpStamped *map);

/* Entries of several maps, gathered in any order. */
typedef struct CdpGatherer
{
	struct CdpGathered
	{
		int key;
		CdpStampedEntry entry;
	} *items;
	int n;
	int capacity;
} CdpGatherer;

extern void cdp_gather(CdpGatherer *gatherer, int key, CdpStampedEntry entry);

/* Gather all members of an object, said at one instant by a source of one rank. */
extern void cdp_gather_object(CdpGatherer *gatherer, int key, JsonbContainer *object, TimestampTz at, int16 rank);

/* Build the map of each key and hand it over. Entries must all be gathered by then. */
extern void cdp_gather_build(CdpGatherer *gatherer, CdpStampedTie tie, void (*take)(void *arg, int key, CdpStamped *map),
							 void *arg);

/* Is every byte the same? Equal maps are, for there is one layout of a map. */
extern bool cdp_stamped_equal(const CdpStamped *a, const CdpStamped *b);

/* name -> value as jsonb; entries whose value is null are left out. */
extern Jsonb *cdp_stamped_to_jsonb(const CdpStamped *map);
extern JEntry cdp_stamped_write(StringInfo out, const CdpStamped *map); /* into a larger document */

/* Binary input: a version byte and the text. */
extern CdpStamped *cdp_stamped_recv(StringInfo in, const char *type_name, CdpStampedTie tie);

#define DatumGetStampedP(d) ((CdpStamped *) PG_DETOAST_DATUM(d))
#define PG_GETARG_STAMPED_P(n) DatumGetStampedP(PG_GETARG_DATUM(n))

#endif
