/*
 * seek.h
 *		Where the rows under keys stand in a b-tree, one key after the other.
 *
 * The server's index scan begins each search at the root and can stop and go on in either direction.  Who looks many
 * keys up in order finds the next one on the leaf where the last one was, more often than not: a seek stays there, the
 * page pinned, and goes down from the root only for a key that is not on it.
 */
#ifndef CDP_SEEK_H
#define CDP_SEEK_H

#include "postgres.h"
#include "access/nbtree.h"
#include "storage/buf.h"
#include "storage/itemptr.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

typedef struct CdpSeek
{
	Relation index;
	Snapshot snapshot;
	BTScanInsert key;
	Buffer leaf; /* where the last key was or would be, pinned; or none */
	ItemPointerData *places;
	int n_places;
	int capacity;
} CdpSeek;

/* How a b-tree compares its first n columns with a key; to be kept as long as nothing about the index changes. */
extern BTScanInsert cdp_seek_key(Relation index, int n);

/* Begin to look keys up in an index that is locked; what is allocated is in the current context. */
extern void cdp_seek_begin(CdpSeek *seek, Relation index, BTScanInsert key, Snapshot snapshot);

/*
 * Find the row pointers under the key, whose values (none null) are in key->scankeys.  Whether a row is visible is
 * for the heap to say; the snapshot must be an MVCC one.
 */
extern void cdp_seek_find(CdpSeek *seek);

extern void cdp_seek_end(CdpSeek *seek);

#endif
