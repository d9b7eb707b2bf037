/*
 * btree.c
 *		Where the rows under keys stand, straight from the pages of a b-tree.
 *
 * As nbtree reads: one page is locked at a time; who comes to a page that was split meanwhile moves right.  A pinned
 * leaf stays one, and never takes over what was left of it; so a key that is larger than its first item and not larger
 * than its high key is on it, if anywhere.  See src/backend/access/nbtree/README of PostgreSQL for why that is right.
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "access/transam.h"
#include "base/base.h"
#include "base/btree.h"
#include "base/page.h"
#include "catalog/pg_am.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/predicate.h"

typedef CdpBtreeSearch Search;

/* Is a column of the index as a kind of key expects it? */
static bool
fits(Relation table, Relation index, int i, CdpBtreeKind kind)
{
	AttrNumber column = index->rd_index->indkey.values[i];
	Oid type = TupleDescAttr(RelationGetDescr(index), i)->atttypid;

	if (column <= 0 || !TupleDescAttr(RelationGetDescr(table), column - 1)->attnotnull)
		return false;
	if (kind == CDP_BTREE_ANY)
		return true;
	if (index->rd_indoption[i] != 0)
		return false;
	return kind == CDP_BTREE_NUMBER ? type == INT8OID : type == TEXTOID && index->rd_indcollation[i] == C_COLLATION_OID;
}

bool
cdp_btree_fits(Relation table, Relation index, int n, CdpBtreeKind kind)
{
	if (index->rd_rel->relkind != RELKIND_INDEX || index->rd_rel->relam != BTREE_AM_OID || !index->rd_index->indisvalid ||
		IndexRelationGetNumberOfKeyAttributes(index) < n)
		return false;
	if ((kind == CDP_BTREE_NUMBER && n > 1) || (kind == CDP_BTREE_TEXTS && n > CDP_BTREE_MAX_TEXTS))
		return false;
	for (int i = 0; i < n; i++)
	{
		if (!fits(table, index, i, kind))
			return false;
	}
	return true;
}

CdpBtreeOrder
cdp_btree_order(Relation table, Relation index, int n)
{
	CdpBtreeOrder order = {.n = n};

	while (order.kind != CDP_BTREE_ANY && !cdp_btree_fits(table, index, n, order.kind))
		order.kind++;
	if (order.kind != CDP_BTREE_ANY)
		return order;
	order.any = _bt_mkscankey(index, NULL);
	order.any->keysz = n;
	order.any->anynullkeys = false;
	for (int i = 0; i < n; i++)
		order.any->scankeys[i].sk_flags &= ~SK_ISNULL;
	return order;
}

/* Make the key quick to compare. */
static void
prepare(Search *search, const Datum *values)
{
	if (search->order.kind == CDP_BTREE_NUMBER)
		search->number = DatumGetInt64(values[0]);
	for (int i = 0; search->order.kind == CDP_BTREE_TEXTS && i < search->order.n; i++)
	{
		text *value = (text *) DatumGetPointer(values[i]);

		search->texts[i].bytes = VARDATA_ANY(value);
		search->texts[i].length = VARSIZE_ANY_EXHDR(value);
	}
	for (int i = 0; search->order.kind == CDP_BTREE_ANY && i < search->order.n; i++)
		search->order.any->scankeys[i].sk_argument = values[i];
}

/* An item of a page, and its first column. */
static inline IndexTuple
item_at(Page page, OffsetNumber offset, const char **first)
{
	IndexTuple tuple = (IndexTuple) PageGetItem(page, PageGetItemId(page, offset));

	*first = (const char *) tuple + IndexInfoFindDataOffset(tuple->t_info);
	return tuple;
}

/*
 * Is a column of an item null?  Even under a constraint against that some can be: of rows that were deleted before there
 * was one, or that a transaction stored that took the constraint away and was rolled back; or it was never validated.
 */
static inline bool
is_null(IndexTuple tuple, int column)
{
	return IndexTupleHasNulls(tuple) && att_isnull(column, (bits8 *) ((char *) tuple + sizeof(IndexTupleData)));
}

/* The number of an item of a page that has one; that of null is the largest, as nulls come last. */
static inline int64
number_at(Page page, OffsetNumber offset)
{
	const char *first;
	IndexTuple tuple = item_at(page, offset, &first); /* the first column is never cut off */

	return unlikely(is_null(tuple, 0)) ? PG_INT64_MAX : *(const int64 *) first;
}

/*
 * Compare the key, texts, with an item of a page that has one; > 0: the key is larger.  So many texts as '*n_equal'
 * says are known to be equal; it becomes how many are.
 */
static int
compare_texts(const Search *search, Page page, OffsetNumber offset, int *n_equal)
{
	const char *at;
	IndexTuple tuple = item_at(page, offset, &at);
	int n = Min(search->order.n, BTreeTupleGetNAtts(tuple, search->index));

	for (int i = 0; i < n; i++)
	{
		const char *stored;
		int length;
		int c;

		if (unlikely(is_null(tuple, i)))
		{
			*n_equal = i;
			return -1; /* nulls come last */
		}
		stored = VARATT_IS_SHORT(at) ? at : (const char *) att_align_pointer(at, TYPALIGN_INT, -1, at);
		at = stored + VARSIZE_ANY(stored);
		if (i < *n_equal)
			continue;
		if (!VARATT_IS_SHORT(stored))
			stored = (const char *) DatumGetTextPP(PointerGetDatum(stored));
		length = VARSIZE_ANY_EXHDR(stored);
		c = memcmp(search->texts[i].bytes, VARDATA_ANY(stored), Min(search->texts[i].length, length));
		*n_equal = i;
		if (c != 0 || search->texts[i].length != length)
			return c != 0 ? c : search->texts[i].length - length;
	}
	*n_equal = n;
	return n < search->order.n; /* columns that were cut off are smaller than anything */
}

/* Compare the key, whatever it is, with an item. */
static int
compare(const Search *search, Page page, OffsetNumber offset)
{
	int n_equal = 0;
	int64 stored;
	const char *first;

	if (search->order.kind == CDP_BTREE_TEXTS)
		return compare_texts(search, page, offset, &n_equal);
	if (search->order.kind == CDP_BTREE_ANY)
		return _bt_compare(search->index, search->order.any, page, offset);
	stored = number_at(page, offset);
	if (unlikely(stored == PG_INT64_MAX) && is_null(item_at(page, offset, &first), 0))
		return -1;
	return search->number < stored ? -1 : search->number > stored;
}

/*
 * The first item of a page, from 'low' to before 'high', that is not smaller than the key, a number.
 *
 * Numbers that were given out one after the other stand at about even distances.  So the first looks are where the key
 * would stand if they did exactly: that takes two lines of memory, halving another one at each step.
 */
static uint32
first_number_not_smaller(const Search *search, Page page, uint32 low, uint32 high)
{
	bool is_last = P_RIGHTMOST(BTPageGetOpaque(page));
	int64 key = search->number;
	int64 least;
	int64 most;

	if (low >= high)
		return low;
	least = number_at(page, low);
	most = number_at(page, is_last ? high - 1 : P_HIKEY);
	if (key <= least)
		return low;
	if (key > most)
		return high;
	high -= is_last;
	/* from here on the item at 'low' is smaller than the key, the one at 'high' is not */
	for (int looks = 0; low + 1 < high; looks++)
	{
		double part = looks < 3 ? (double) ((uint64) key - least) / ((uint64) most - least) : 0.5;
		uint32 at = Min(low + 1 + (uint32) (part * (high - low - 1)), high - 1);
		int64 stored = number_at(page, at);

		if (stored < key)
		{
			low = at;
			least = stored;
		}
		else
		{
			high = at;
			most = stored;
		}
	}
	return high;
}

/* The same of texts, by halving. */
static uint32
first_text_not_smaller(const Search *search, Page page, uint32 low, uint32 high)
{
	int low_equal = 0; /* texts that are equal to the key's right before 'low', */
	int high_equal = 0; /* and at 'high': as many are of all items between */

	while (low < high)
	{
		uint32 middle = (low + high) / 2;
		int n_equal = Min(low_equal, high_equal);

		if (compare_texts(search, page, middle, &n_equal) > 0)
		{
			low = middle + 1;
			low_equal = n_equal;
		}
		else
		{
			high = middle;
			high_equal = n_equal;
		}
	}
	return low;
}

/* The same of anything. */
static uint32
first_any_not_smaller(const Search *search, Page page, uint32 low, uint32 high)
{
	while (low < high)
	{
		uint32 middle = (low + high) / 2;

		if (compare(search, page, middle) > 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The first item of a page, from an offset on, that is not smaller than the key. */
static OffsetNumber
first_not_smaller(const Search *search, Page page, OffsetNumber low)
{
	uint32 high = PageGetMaxOffsetNumber(page) + 1;

	switch (search->order.kind)
	{
		case CDP_BTREE_NUMBER:
			return first_number_not_smaller(search, page, low, high);
		case CDP_BTREE_TEXTS:
			return first_text_not_smaller(search, page, low, high);
		default:
			return first_any_not_smaller(search, page, low, high);
	}
}

/* Lock a page, which may not be used when the snapshot is too old for it. */
static Buffer
lock_page(const Search *search, BlockNumber block)
{
	Buffer buffer = cdp_page_read(search->index, block);

	_bt_lockbuf(search->index, buffer, BT_READ);
	_bt_checkpage(search->index, buffer);
#if PG_VERSION_NUM < 170000
	TestForOldSnapshot(search->snapshot, search->index, BufferGetPage(buffer));
#endif
	return buffer;
}

/* Let go of a page for another one. */
static Buffer
go_to(const Search *search, Buffer buffer, BlockNumber block)
{
	cdp_page_expect(search->index, block);
	_bt_relbuf(search->index, buffer);
	return lock_page(search, block);
}

/* Move right while the page is deleted, or was split and the key is beyond it; or, to a next page, only for the first. */
static Buffer
move_right(const Search *search, Buffer buffer, bool is_next)
{
	for (;;)
	{
		Page page = BufferGetPage(buffer);
		BTPageOpaque opaque = BTPageGetOpaque(page);

		if (!P_IGNORE(opaque) && (is_next || P_RIGHTMOST(opaque) || compare(search, page, P_HIKEY) <= 0))
			return buffer;
		if (P_RIGHTMOST(opaque))
			ereport(ERROR, (errcode(ERRCODE_INDEX_CORRUPTED),
							errmsg("index \"%s\" ends with a deleted page", RelationGetRelationName(search->index)),
							errhint("REINDEX it.")));
		buffer = go_to(search, buffer, opaque->btpo_next);
	}
}

/* Lock the root, where nbtree remembers it to be or wherever it is now; no buffer when the index is empty. */
static Buffer
lock_root(const Search *search)
{
	const BTMetaPageData *known = search->index->rd_amcache;

	if (known != NULL && known->btm_fastroot != P_NONE)
	{
		Buffer buffer = lock_page(search, known->btm_fastroot);
		BTPageOpaque opaque = BTPageGetOpaque(BufferGetPage(buffer));

		if (!P_IGNORE(opaque) && opaque->btpo_level == known->btm_fastlevel && P_LEFTMOST(opaque) && P_RIGHTMOST(opaque))
			return buffer;
		_bt_relbuf(search->index, buffer);
	}
#if PG_VERSION_NUM >= 160000
	return _bt_getroot(search->index, NULL, BT_READ);
#else
	return _bt_getroot(search->index, BT_READ);
#endif
}

/* Lock the leaf where the key is or would be first; no buffer when the index is empty. */
static Buffer
descend(const Search *search)
{
	Buffer buffer = lock_root(search);

	if (!BufferIsValid(buffer))
	{
		PredicateLockRelation(search->index, search->snapshot);
		buffer = lock_root(search); /* from here on a writer would conflict */
	}
	while (BufferIsValid(buffer))
	{
		Page page;
		BTPageOpaque opaque;
		OffsetNumber offset;

		buffer = move_right(search, buffer, false);
		page = BufferGetPage(buffer);
		opaque = BTPageGetOpaque(page);
		if (P_ISLEAF(opaque))
			break;
		/* the first item of an inner page is smaller than any key */
		offset = OffsetNumberPrev(first_not_smaller(search, page, OffsetNumberNext(P_FIRSTDATAKEY(opaque))));
		buffer = go_to(search, buffer, BTreeTupleGetDownLink((IndexTuple) PageGetItem(page, PageGetItemId(page, offset))));
	}
	return buffer;
}

/* Keep the row pointers of an item. */
static void
keep(CdpPlaces *places, IndexTuple tuple)
{
	int n = BTreeTupleIsPosting(tuple) ? BTreeTupleGetNPosting(tuple) : 1;

	if (places->n + n > places->capacity)
	{
		ItemPointerData *before = places->items;

		places->capacity = (places->n + n) * 2;
		if (before == places->few)
		{
			places->items = palloc_extended(sizeof(ItemPointerData) * (Size) places->capacity, MCXT_ALLOC_HUGE);
			memcpy(places->items, before, sizeof(ItemPointerData) * places->n);
		}
		else
			places->items = repalloc_huge(before, sizeof(ItemPointerData) * (Size) places->capacity);
	}
	memcpy(&places->items[places->n], BTreeTupleIsPosting(tuple) ? BTreeTupleGetPosting(tuple) : &tuple->t_tid,
		   sizeof(ItemPointerData) * n);
	places->n += n;
}

/* Keep what the leaf has under the key; may the next one have more? */
static bool
read_leaf(Search *search, bool is_dead_known)
{
	Page page = BufferGetPage(search->leaf);
	BTPageOpaque opaque = BTPageGetOpaque(page);
	OffsetNumber last = PageGetMaxOffsetNumber(page);

	PredicateLockPage(search->index, BufferGetBlockNumber(search->leaf), search->snapshot);
	for (OffsetNumber i = first_not_smaller(search, page, P_FIRSTDATAKEY(opaque)); i <= last; i = OffsetNumberNext(i))
	{
		ItemId item = PageGetItemId(page, i);

		if (compare(search, page, i) != 0)
			return false;
		if (!is_dead_known || !ItemIdIsDead(item))
			keep(&search->places, (IndexTuple) PageGetItem(page, item));
	}
	return !P_RIGHTMOST(opaque) && compare(search, page, P_HIKEY) >= 0;
}

/* Is the key on a leaf, which is locked, if it is anywhere? */
static bool
is_on(const Search *search, Page page)
{
	BTPageOpaque opaque = BTPageGetOpaque(page);

	return !P_IGNORE(opaque) && P_FIRSTDATAKEY(opaque) <= PageGetMaxOffsetNumber(page) &&
		   compare(search, page, P_FIRSTDATAKEY(opaque)) > 0 &&
		   (P_RIGHTMOST(opaque) || compare(search, page, P_HIKEY) <= 0);
}

/* Lock the leaf where the key is or would be first; no buffer when the index is empty. */
static Buffer
lock_leaf(const Search *search)
{
	if (BufferIsValid(search->leaf))
	{
		_bt_lockbuf(search->index, search->leaf, BT_READ);
		if (is_on(search, BufferGetPage(search->leaf)))
		{
#if PG_VERSION_NUM < 170000
			TestForOldSnapshot(search->snapshot, search->index, BufferGetPage(search->leaf));
#endif
			return search->leaf;
		}
		_bt_relbuf(search->index, search->leaf);
	}
	return descend(search);
}

void
cdp_btree_begin(CdpBtreeSearch *search, Relation index, const CdpBtreeOrder *order, Snapshot snapshot)
{
	search->index = index;
	search->snapshot = snapshot;
	search->order = *order;
	search->leaf = InvalidBuffer;
	search->places.items = search->places.few;
	search->places.n = 0;
	search->places.capacity = lengthof(search->places.few);
	if (order->any != NULL)
		_bt_metaversion(index, &order->any->heapkeyspace, &order->any->allequalimage);
}

void
cdp_btree_find(CdpBtreeSearch *search, const Datum *values)
{
	bool is_dead_known = !TransactionStartedDuringRecovery(); /* a standby's snapshots may still see what its primary's do not */

	prepare(search, values);
	search->places.n = 0;
	pgstat_count_index_scan(search->index);
	search->leaf = lock_leaf(search);
	if (!BufferIsValid(search->leaf))
		return;
	while (read_leaf(search, is_dead_known))
	{
		BlockNumber next = BTPageGetOpaque(BufferGetPage(search->leaf))->btpo_next;

		CHECK_FOR_INTERRUPTS();
		search->leaf = move_right(search, go_to(search, search->leaf, next), true);
	}
	_bt_unlockbuf(search->index, search->leaf);
	pgstat_count_index_tuples(search->index, search->places.n);
}

void
cdp_btree_end(CdpBtreeSearch *search)
{
	if (BufferIsValid(search->leaf))
		ReleaseBuffer(search->leaf);
	if (search->places.items != search->places.few)
		pfree(search->places.items);
}

bool
cdp_btree_is_empty(Relation index, Snapshot snapshot)
{
	Buffer buffer;
	Page page;
	bool is_empty;

	if (index->rd_amcache != NULL)
		return false;
	buffer = cdp_page_read(index, BTREE_METAPAGE);
	page = BufferGetPage(buffer);
	_bt_checkpage(index, buffer);
#if PG_VERSION_NUM < 170000
	TestForOldSnapshot(snapshot, index, page);
#endif
	/* one word needs no lock: who set it for a row that the snapshot sees did so before that was taken */
	is_empty = BTPageGetMeta(page)->btm_root == P_NONE;
	ReleaseBuffer(buffer);
	return is_empty;
}
