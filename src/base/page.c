/*
 * page.c
 *		A page of a table or index, found again where it was in memory the last time.
 *
 * To find the buffer of a page takes a hash, a lock and a search; to see that it is still the one it was takes a
 * quarter of that.  The session remembers numbers of buffers only, never what is in them, and may remember wrongly:
 * the server compares the page's whole name before it pins the buffer.
 *
 * Reading one person is mostly waiting for memory.  So that is asked for as early as can be; what is read for that
 * before the page is pinned is a hint and nothing else.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/transam.h"
#include "base/page.h"
#include "common/hashfn.h"
#include "pgstat.h"
#include "storage/buf_internals.h"

/* What is found like this does not count as used, so now and then it is read the long way: else it would be evicted. */
#define LONG_WAY_EVERY 64

#define CROWDED (BLCKSZ / 10) /* bytes that are free on a page */

/* Lines of memory at the beginning of a page: its header, and where its first hundred items stand. */
#define HEAD_LINES 7
#define LINE_BYTES 64

static Buffer buffers[32768]; /* by relation and block, whichever was the last */

/* Where the buffer of a page is remembered. */
static inline Buffer *
place_of(Relation relation, BlockNumber block)
{
	return &buffers[(murmurhash32(RelationGetRelid(relation)) + block) % lengthof(buffers)];
}

static inline bool
is_buffer(Buffer buffer)
{
	return buffer > 0 && buffer <= NBuffers;
}

Buffer
cdp_page_read(Relation relation, BlockNumber block)
{
	static uint32 n = 0;
	Buffer *buffer = place_of(relation, block);

#if PG_VERSION_NUM >= 160000
#define name_of(relation) ((relation)->rd_locator)
#else
#define name_of(relation) ((relation)->rd_node)
#endif
	if (n++ % LONG_WAY_EVERY != 0 && is_buffer(*buffer) && ReadRecentBuffer(name_of(relation), MAIN_FORKNUM, block, *buffer))
	{
		pgstat_count_buffer_read(relation);
		pgstat_count_buffer_hit(relation);
	}
	else
		*buffer = ReadBuffer(relation, block);
	return *buffer;
}

void
cdp_page_tidy(Relation table, Buffer buffer)
{
	Page page = BufferGetPage(buffer);

	/* not locked: what is read may change meanwhile, and decides nothing but when */
	if (TransactionIdIsValid(((PageHeader) page)->pd_prune_xid) && (PageIsFull(page) || PageGetHeapFreeSpace(page) < CROWDED))
		heap_page_prune_opt(table, buffer);
}

void
cdp_page_expect(Relation relation, BlockNumber block)
{
	Buffer buffer = *place_of(relation, block);
	const char *page;

	if (!is_buffer(buffer))
		return;
	page = BufferGetPage(buffer);
	__builtin_prefetch(GetBufferDescriptor(buffer - 1), 1);
	__builtin_prefetch(page + BLCKSZ - 1); /* what an index keeps at the end of a page */
	for (int line = 0; line < HEAD_LINES; line++)
		__builtin_prefetch(page + LINE_BYTES * line);
}

void
cdp_page_expect_row(Relation table, ItemPointer row)
{
	Buffer buffer = *place_of(table, ItemPointerGetBlockNumber(row));
	Page page;
	const char *at;

	if (!is_buffer(buffer))
		return;
	page = BufferGetPage(buffer);
	at = page + ItemIdGetOffset(PageGetItemId(page, ItemPointerGetOffsetNumber(row))); /* not locked: it may be anything */
	__builtin_prefetch(GetBufferDescriptor(buffer - 1), 1);
	__builtin_prefetch(page);
	__builtin_prefetch(at);
	__builtin_prefetch(at + LINE_BYTES);
}
