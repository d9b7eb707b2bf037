/*
 * btree.h
 *		Where the rows under keys stand, straight from the pages of a b-tree.
 *
 * The server's index scan can go both ways, stop and go on, and compare by any operator.  To look up one key takes a
 * third of that, and who looks many up in their order finds the next one on the leaf where the last one was, more often
 * than not: a search stays there, the page pinned, and goes down from the root only for a key that is not on it.
 */
#ifndef CDP_BTREE_H
#define CDP_BTREE_H

#include "postgres.h"
#include "access/nbtree.h"
#include "storage/buf.h"
#include "storage/itemptr.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

#define CDP_BTREE_MAX_TEXTS 2

/* How a key, the values of an index's first columns, compares with what stands in it. */
typedef enum CdpBtreeKind
{
	CDP_BTREE_NUMBER, /* one bigint */
	CDP_BTREE_TEXTS,  /* COLLATE "C" */
	CDP_BTREE_ANY	  /* whatever it is, by the index's own functions */
} CdpBtreeKind;

typedef struct CdpBtreeOrder
{
	CdpBtreeKind kind;
	int n;			  /* columns */
	BTScanInsert any; /* of the last kind */
} CdpBtreeOrder;

/* Is it a b-tree, ready for use, whose first n columns are of a kind, in the order that is expected here, and never null? */
extern bool cdp_btree_fits(Relation table, Relation index, int n, CdpBtreeKind kind);

/* The order of a b-tree's first n columns; to be kept as long as nothing about the index changes. */
extern CdpBtreeOrder cdp_btree_order(Relation table, Relation index, int n);

/* Row pointers: a few stand in the list itself, more are allocated.  A list stays where it is. */
typedef struct CdpPlaces
{
	ItemPointerData *items;
	int n;
	int capacity;
	ItemPointerData few[16];
} CdpPlaces;

typedef struct CdpBtreeSearch
{
	Relation index;
	Snapshot snapshot;
	CdpBtreeOrder order;
	int64 number; /* the key, or */
	struct
	{
		const char *bytes;
		int length;
	} texts[CDP_BTREE_MAX_TEXTS];
	Buffer leaf; /* where the last key was or would be, pinned; or none */
	CdpPlaces places;
} CdpBtreeSearch;

/* Begin to look keys up in an index that is locked and stays open. */
extern void cdp_btree_begin(CdpBtreeSearch *search, Relation index, const CdpBtreeOrder *order, Snapshot snapshot);

/*
 * Find the row pointers under a key, whose values are not null, in the index's order; they stand in search->places.
 * Whether a row is visible is for the heap to say: the snapshot must be an MVCC one, since nothing keeps vacuum from
 * the rows meanwhile.
 */
extern void cdp_btree_find(CdpBtreeSearch *search, const Datum *values);

extern void cdp_btree_end(CdpBtreeSearch *search);

/* Did the index never have an entry? */
extern bool cdp_btree_is_empty(Relation index, Snapshot snapshot);

#endif
