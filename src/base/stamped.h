/*
 * stamped.h
 *		A sorted map from a name to a value with the time and source rank at which
 *		it was said: the container behind cdp.traits and cdp.consents.
 *
 * Merging two maps keeps, name by name, the entry that its rule says: unless another was
 * chosen the latest, then that of the highest rank, then a tie rule over the values' bytes.
 * Merging is commutative and associative, so order cannot matter; but for sums and what is
 * said most often it is idempotent too.
 * The format on disk is described in docs/base.md and frozen by test/sql/base_stamped.sql.
 */
#ifndef CDP_STAMPED_H
#define CDP_STAMPED_H

#include "postgres.h"
#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "utils/jsonb.h"

#define CDP_STAMPED_VERSION 1

/* By what an entry is merged with others of its name; the numbers stand on disk. */
typedef enum CdpStampedRule
{
	CDP_STAMPED_LATEST = 0,
	CDP_STAMPED_LOCKED = 1, /* by a steward; before all others */
	CDP_STAMPED_EARLIEST = 2,
	CDP_STAMPED_PREFERRED = 3, /* the highest rank, then the latest */
	CDP_STAMPED_FIRST_NON_EMPTY = 4,
	CDP_STAMPED_HIGHEST = 5,
	CDP_STAMPED_LOWEST = 6,
	CDP_STAMPED_MOST_FREQUENT = 7,
	CDP_STAMPED_SUM = 8,
	CDP_STAMPED_UNION = 9,
	CDP_STAMPED_COMPUTED = 10 /* not said at all; before all others but what is locked */
} CdpStampedRule;

#define CDP_STAMPED_RULES 11
#define CDP_STAMPED_MAX_CANDIDATES 1000		 /* values that most_frequent and union keep */
#define CDP_STAMPED_MAX_CANDIDATE_BYTES 1024 /* each, as jsonb */
#define CDP_STAMPED_MAX_DIGITS 40			 /* of a number to be added, before and after the point */

/* One entry as it is read out of, or goes into, a map. */
typedef struct CdpStampedEntry
{
	const char *name;
	int name_length;
	TimestampTz at;
	int16 rank;
	uint16 rule; /* CdpStampedRule */
	const Jsonb *value; /* any JSON value, also null: "it was unset"; of some rules what they keep, see cdp_stamped_value() */
} CdpStampedEntry;

typedef struct CdpStamped CdpStamped; /* varlena */

/* > 0: the first value wins a tie of time and rank; both are complete Jsonb. */
typedef int (*CdpStampedTie)(const Jsonb *a, const Jsonb *b);

extern int cdp_stamped_count(const CdpStamped *map);
extern CdpStampedEntry cdp_stamped_entry(const CdpStamped *map, int i);
extern bool cdp_stamped_find(const CdpStamped *map, const char *name, int name_length, CdpStampedEntry *entry);

/* Build a map from entries in any order; of a name's entries the survivor stays. */
extern CdpStamped *cdp_stamped_build(CdpStampedEntry *entries, int n, CdpStampedTie tie);

/* Two maps as one.  Either may be NULL, none: then it is the other one itself, no copy. */
extern CdpStamped *cdp_stamped_merge(const CdpStamped *a, const CdpStamped *b, CdpStampedTie tie);

/* Ties: by value, bytewise, the larger; for a boolean consent the refusal. */
extern int cdp_stamped_tie_bytes(const Jsonb *a, const Jsonb *b);
extern int cdp_stamped_tie_refusal(const Jsonb *a, const Jsonb *b);

/* The name of a rule; the rule of a name, or -1. */
extern const char *cdp_stamped_rule_name(CdpStampedRule rule);
extern int cdp_stamped_rule_of(const char *name, int length);

/* What n > 0 entries of one name become. */
extern CdpStampedEntry cdp_stamped_survivor(const CdpStampedEntry *entries, int n, CdpStampedTie tie);

/* What speaks against a value, of a union an element, to be kept by a rule; NULL: nothing. */
extern const char *cdp_stamped_objection(CdpStampedRule rule, const Jsonb *value);

/* Make an entry's value what its rule keeps of the value that one message says, of a union of the n values. */
extern void cdp_stamped_begin(CdpStampedEntry *entry, const Jsonb *const *values, int n);

/* Is an entry's value, which comes from outside, what its rule keeps?  Brings it into its one form. */
extern bool cdp_stamped_check(CdpStampedEntry *entry);

/* The value that an entry stands for. */
extern const Jsonb *cdp_stamped_value(const CdpStampedEntry *entry);

/* What became of an entry in the result of merging it with others: CDP_STAMPED_COUNTS, or why it does not count. */
#define CDP_STAMPED_COUNTS "counts"
extern const char *cdp_stamped_verdict(const CdpStampedEntry *candidate, const CdpStampedEntry *result, CdpStampedTie tie);

/*
 * Text form: {"plan": {"at": "2026-01-31T09:00:00Z", "rank": 0, "value": "pro"}}, with "rule" where it is not the
 * latest. Errors never show values.
 */
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
extern JEntry cdp_stamped_write(StringInfo out, const CdpStamped *map); /* into a larger document; NULL is {} */

/* Binary input: a version byte and the text. */
extern CdpStamped *cdp_stamped_recv(StringInfo in, const char *type_name, CdpStampedTie tie);

#define DatumGetStampedP(d) ((CdpStamped *) PG_DETOAST_DATUM(d))
#define PG_GETARG_STAMPED_P(n) DatumGetStampedP(PG_GETARG_DATUM(n))

#endif
