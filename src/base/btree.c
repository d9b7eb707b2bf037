/*
 * btree.c
 *		Where the rows under a key stand, straight from the pages of a b-tree.
 *
 * As nbtree reads: one page is locked at a time; who comes to a page that was split meanwhile moves right.  See
 * src/backend/access/nbtree/README of PostgreSQL for why that is right.
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

typedef struct Search
{
	Relation index;
	Snapshot snapshot;
	const CdpBtreeKey *key;
	int64 number; /* the key, or */
	struct
	{
		const char *bytes;
		int length;
	} texts[CDP_BTREE_MAX_KEYS];
	ItemPointerData *places;
	int n;
	int capacity;
} Search;

bool
cdp_btree_fits(Relation table, Relation index, int n, bool is_text)
{
	if (index->rd_rel->relkind != RELKIND_INDEX || index->rd_rel->relam != BTREE_AM_OID || !index->rd_index->indisvalid ||
		IndexRelationGetNumberOfKeyAttributes(index) < n || n > (is_text ? CDP_BTREE_MAX_KEYS : 1))
		return false;
	for (int i = 0; i < n; i++)
	{
		AttrNumber column = index->rd_index->indkey.values[i];
		Oid type = TupleDescAttr(RelationGetDescr(index), i)->atttypid;

		if (type != (is_text ? TEXTOID : INT8OID) || (is_text && index->rd_indcollation[i] != C_COLLATION_OID) ||
			index->rd_indoption[i] != 0 || column <= 0 || !TupleDescAttr(RelationGetDescr(table), column - 1)->attnotnull)
			return false;
	}
	return true;
}

/* Make the key quick to compare. */
static void
prepare(Search *search)
{
	if (!search->key->is_text)
		search->number = DatumGetInt64(search->key->values[0]);
	for (int i = 0; search->key->is_text && i < search->key->n; i++)
	{
		text *value = (text *) DatumGetPointer(search->key->values[i]);

		search->texts[i].bytes = VARDATA_ANY(value);
		search->texts[i].length = VARSIZE_ANY_EXHDR(value);
	}
}

/* Compare a text of the key with the one that stands at '*at', and go past that. */
static inline int
compare_text(const Search *search, int i, const char **at)
{
	const char *stored = (const char *) att_align_pointer(*at, TYPALIGN_INT, -1, *at);
	int length;
	int c;

	*at = stored + VARSIZE_ANY(stored);
	if (!VARATT_IS_SHORT(stored))
		stored = (const char *) DatumGetTextPP(PointerGetDatum(stored));
	length = VARSIZE_ANY_EXHDR(stored);
	c = memcmp(search->texts[i].bytes, VARDATA_ANY(stored), Min(search->texts[i].length, length));
	return c != 0 ? c : search->texts[i].length - length;
}

/* Compare the key with an item of a page that has one; > 0: the key is larger. */
static int
compare(const Search *search, Page page, OffsetNumber offset)
{
	IndexTuple tuple = (IndexTuple) PageGetItem(page, PageGetItemId(page, offset));
	const char *at = (const char *) tuple + IndexInfoFindDataOffset(tuple->t_info);
	int n;

	if (!search->key->is_text)
	{
		int64 stored = *(const int64 *) at; /* the first column is never cut off */

		return search->number < stored ? -1 : search->number > stored;
	}
	n = Min(search->key->n, BTreeTupleGetNAtts(tuple, search->index));
	for (int i = 0; i < n; i++)
	{
		int c = compare_text(search, i, &at);

		if (c != 0)
			return c;
	}
	return n < search->key->n; /* columns that were cut off are smaller than anything */
}

/* The first item of a page, from an offset on, that is not smaller than the key. */
static OffsetNumber
first_not_smaller(const Search *search, Page page, OffsetNumber low)
{
	OffsetNumber high = OffsetNumberNext(PageGetMaxOffsetNumber(page));

	while (low < high)
	{
		OffsetNumber middle = low + (high - low) / 2;

		if (compare(search, page, middle) > 0)
			low = OffsetNumberNext(middle);
		else
			high = middle;
	}
	return low;
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
keep(Search *search, IndexTuple tuple)
{
	int n = BTreeTupleIsPosting(tuple) ? BTreeTupleGetNPosting(tuple) : 1;

	if (search->n + n > search->capacity)
	{
		search->capacity = Max(16, (search->n + n) * 2);
		search->places = search->places == NULL
							 ? palloc(sizeof(ItemPointerData) * search->capacity)
							 : repalloc_huge(search->places, sizeof(ItemPointerData) * (Size) search->capacity);
	}
	memcpy(&search->places[search->n], BTreeTupleIsPosting(tuple) ? BTreeTupleGetPosting(tuple) : &tuple->t_tid,
		   sizeof(ItemPointerData) * n);
	search->n += n;
}

/* Keep what a leaf has under the key; may the next one have more? */
static bool
read_leaf(Search *search, Page page, bool is_dead_known)
{
	BTPageOpaque opaque = BTPageGetOpaque(page);
	OffsetNumber last = PageGetMaxOffsetNumber(page);

	for (OffsetNumber i = first_not_smaller(search, page, P_FIRSTDATAKEY(opaque)); i <= last; i = OffsetNumberNext(i))
	{
		ItemId item = PageGetItemId(page, i);

		if (compare(search, page, i) != 0)
			return false;
		if (!is_dead_known || !ItemIdIsDead(item))
			keep(search, (IndexTuple) PageGetItem(page, item));
	}
	return !P_RIGHTMOST(opaque) && compare(search, page, P_HIKEY) >= 0;
}

int
cdp_btree_find(Relation index, const CdpBtreeKey *key, Snapshot snapshot, ItemPointerData **places)
{
	Search search = {index, snapshot, key};
	bool is_dead_known = !TransactionStartedDuringRecovery(); /* a standby's snapshots may still see what its primary's do not */
	Buffer buffer;

	prepare(&search);
	buffer = descend(&search);
	pgstat_count_index_scan(index);
	while (BufferIsValid(buffer))
	{
		Page page = BufferGetPage(buffer);
		BlockNumber next = BTPageGetOpaque(page)->btpo_next;
		bool is_done;

		PredicateLockPage(index, BufferGetBlockNumber(buffer), snapshot);
		is_done = !read_leaf(&search, page, is_dead_known);
		_bt_relbuf(index, buffer);
		if (is_done)
			break;
		CHECK_FOR_INTERRUPTS();
		buffer = move_right(&search, lock_page(&search, next), true);
	}
	pgstat_count_index_tuples(index, search.n);
	*places = search.places;
	return search.n;
}

bool
cdp_btree_is_empty(Relation index, Snapshot snapshot)
{
	Search search = {index, snapshot};
	Buffer buffer;
	bool is_empty;

	if (index->rd_amcache != NULL)
		return false;
	buffer = lock_page(&search, BTREE_METAPAGE);
	is_empty = BTPageGetMeta(BufferGetPage(buffer))->btm_root == P_NONE;
	_bt_relbuf(index, buffer);
	return is_empty;
}
