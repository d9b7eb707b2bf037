/*
 * seek.c
 *		Where the rows under keys stand in a b-tree, one key after the other.
 *
 * As nbtree reads: one page is locked at a time; who comes to a page that was split meanwhile moves right.  A pinned
 * leaf stays one, and never takes over what was left of it; so a key that is larger than its first item and not larger
 * than its high key is on it, if anywhere.  See src/backend/access/nbtree/README of PostgreSQL.
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "access/xact.h"
#include "base/base.h"
#include "base/seek.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/predicate.h"

BTScanInsert
cdp_seek_key(Relation index, int n)
{
	BTScanInsert key = _bt_mkscankey(index, NULL);

	key->keysz = n;
	key->anynullkeys = false;
	for (int i = 0; i < n; i++)
		key->scankeys[i].sk_flags &= ~SK_ISNULL;
	return key;
}

void
cdp_seek_begin(CdpSeek *seek, Relation index, BTScanInsert key, Snapshot snapshot)
{
	memset(seek, 0, sizeof(CdpSeek));
	seek->index = index;
	seek->snapshot = snapshot;
	seek->key = key;
	seek->leaf = InvalidBuffer;
	_bt_metaversion(index, &key->heapkeyspace, &key->allequalimage);
}

/* Is the key on the leaf, which is locked, if it is anywhere? */
static bool
is_on(const CdpSeek *seek, Page page)
{
	BTPageOpaque opaque = BTPageGetOpaque(page);

	return !P_IGNORE(opaque) && P_FIRSTDATAKEY(opaque) <= PageGetMaxOffsetNumber(page) &&
		   _bt_compare(seek->index, seek->key, page, P_FIRSTDATAKEY(opaque)) > 0 &&
		   (P_RIGHTMOST(opaque) || _bt_compare(seek->index, seek->key, page, P_HIKEY) <= 0);
}

/* Go down from the root to the first leaf that may have the key. */
static void
descend(CdpSeek *seek)
{
#if PG_VERSION_NUM >= 170000
	_bt_freestack(_bt_search(seek->index, NULL, seek->key, &seek->leaf, BT_READ));
#elif PG_VERSION_NUM >= 160000
	_bt_freestack(_bt_search(seek->index, NULL, seek->key, &seek->leaf, BT_READ, seek->snapshot));
#else
	_bt_freestack(_bt_search(seek->index, seek->key, &seek->leaf, BT_READ, seek->snapshot));
#endif
}

/* Lock the leaf where the key is or would be first; false: the index is empty. */
static bool
lock_leaf(CdpSeek *seek)
{
	if (BufferIsValid(seek->leaf))
	{
		_bt_lockbuf(seek->index, seek->leaf, BT_READ);
		if (is_on(seek, BufferGetPage(seek->leaf)))
		{
#if PG_VERSION_NUM < 170000
			TestForOldSnapshot(seek->snapshot, seek->index, BufferGetPage(seek->leaf));
#endif
			return true;
		}
		_bt_relbuf(seek->index, seek->leaf);
		seek->leaf = InvalidBuffer;
	}
	descend(seek);
	if (!BufferIsValid(seek->leaf))
	{
		PredicateLockRelation(seek->index, seek->snapshot);
		descend(seek); /* from here on a writer would conflict */
	}
	return BufferIsValid(seek->leaf);
}

/* The first item of the leaf that is not smaller than the key. */
static OffsetNumber
first_not_smaller(const CdpSeek *seek, Page page)
{
	OffsetNumber low = P_FIRSTDATAKEY(BTPageGetOpaque(page));
	OffsetNumber high = OffsetNumberNext(PageGetMaxOffsetNumber(page));

	while (low < high)
	{
		OffsetNumber middle = low + (high - low) / 2;

		if (_bt_compare(seek->index, seek->key, page, middle) > 0)
			low = OffsetNumberNext(middle);
		else
			high = middle;
	}
	return low;
}

/* Keep the row pointers of an item. */
static void
keep(CdpSeek *seek, IndexTuple tuple)
{
	int n = BTreeTupleIsPosting(tuple) ? BTreeTupleGetNPosting(tuple) : 1;

	if (seek->n_places + n > seek->capacity)
	{
		seek->capacity = Max(16, (seek->n_places + n) * 2);
		seek->places = seek->places == NULL ? palloc(sizeof(ItemPointerData) * seek->capacity)
											: repalloc_huge(seek->places, sizeof(ItemPointerData) * (Size) seek->capacity);
	}
	memcpy(&seek->places[seek->n_places], BTreeTupleIsPosting(tuple) ? BTreeTupleGetPosting(tuple) : &tuple->t_tid,
		   sizeof(ItemPointerData) * n);
	seek->n_places += n;
}

/* Keep what the leaf has under the key; may the next one have more? */
static bool
read_leaf(CdpSeek *seek)
{
	Page page = BufferGetPage(seek->leaf);
	BTPageOpaque opaque = BTPageGetOpaque(page);
	OffsetNumber last = PageGetMaxOffsetNumber(page);

	PredicateLockPage(seek->index, BufferGetBlockNumber(seek->leaf), seek->snapshot);
	for (OffsetNumber i = first_not_smaller(seek, page); i <= last; i = OffsetNumberNext(i))
	{
		ItemId item = PageGetItemId(page, i);

		if (_bt_compare(seek->index, seek->key, page, i) != 0)
			return false;
		if (!ItemIdIsDead(item))
			keep(seek, (IndexTuple) PageGetItem(page, item));
	}
	return !P_RIGHTMOST(opaque) && _bt_compare(seek->index, seek->key, page, P_HIKEY) >= 0;
}

/* Go to the next leaf that is not deleted. */
static void
move_right(CdpSeek *seek)
{
	BTPageOpaque opaque;

	do
	{
		opaque = BTPageGetOpaque(BufferGetPage(seek->leaf));
		seek->leaf = _bt_relandgetbuf(seek->index, seek->leaf, opaque->btpo_next, BT_READ);
		opaque = BTPageGetOpaque(BufferGetPage(seek->leaf));
	} while (P_IGNORE(opaque) && !P_RIGHTMOST(opaque));
}

void
cdp_seek_find(CdpSeek *seek)
{
	seek->n_places = 0;
	pgstat_count_index_scan(seek->index);
	if (!lock_leaf(seek))
		return;
	while (read_leaf(seek))
	{
		CHECK_FOR_INTERRUPTS();
		move_right(seek);
	}
	_bt_unlockbuf(seek->index, seek->leaf);
	pgstat_count_index_tuples(seek->index, seek->n_places);
}

void
cdp_seek_end(CdpSeek *seek)
{
	if (BufferIsValid(seek->leaf))
		ReleaseBuffer(seek->leaf);
	if (seek->places != NULL)
		pfree(seek->places);
}
