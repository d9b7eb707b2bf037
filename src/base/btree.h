/*
 * btree.h
 *		Where the rows under a key stand, straight from the pages of a b-tree.
 *
 * The server's index scan can go both ways, stop and go on, and compare by any operator.  To look up one key, a
 * bigint or texts COLLATE "C", takes a third of that: who has opened an index here needs no scan.
 */
#ifndef CDP_BTREE_H
#define CDP_BTREE_H

#include "postgres.h"
#include "storage/itemptr.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

#define CDP_BTREE_MAX_KEYS 2 /* texts */

/* What is looked up: the values of an index's first columns. */
typedef struct CdpBtreeKey
{
	const Datum *values; /* no nulls */
	int n;
	bool is_text; /* else one bigint */
} CdpBtreeKey;

/* Is it a b-tree, ready for use, whose first n columns are in the order that is expected here, and never null? */
extern bool cdp_btree_fits(Relation table, Relation index, int n, bool is_text);

/* Row pointers: a few stand in the list itself, more are allocated.  A list stays where it is. */
typedef struct CdpPlaces
{
	ItemPointerData *items;
	int n;
	int capacity;
	ItemPointerData few[16];
} CdpPlaces;

/*
 * Find the row pointers under a key, in the index's order, into a new list.  Whether a row is visible is for the heap
 * to say: the snapshot must be an MVCC one, since nothing keeps vacuum from the rows meanwhile.
 */
extern void cdp_btree_find(Relation index, const CdpBtreeKey *key, Snapshot snapshot, CdpPlaces *places);

static inline void
cdp_places_free(CdpPlaces *places)
{
	if (places->items != places->few)
		pfree(places->items);
}

/* Did the index never have an entry? */
extern bool cdp_btree_is_empty(Relation index, Snapshot snapshot);

#endif
