/*
 * page.c
 *		A page of a table or index, found again where it was in memory the last time.
 *
 * To find the buffer of a page takes a hash, a lock and a search; to see that it is still the one it was takes a
 * quarter of that.  The session remembers numbers of buffers only, never what is in them, and may remember wrongly:
 * the server compares the page's whole name before it pins the buffer.
 */
#include "postgres.h"

#include "base/page.h"
#include "pgstat.h"

/* What is found like this does not count as used, so now and then it is read the long way: else it would be evicted. */
#define LONG_WAY_EVERY 64

static Buffer buffers[4096]; /* by relation and block, whichever was the last */

Buffer
cdp_page_read(Relation relation, BlockNumber block)
{
	static uint32 n = 0;
	Buffer *buffer = &buffers[(RelationGetRelid(relation) * 61 + block) % lengthof(buffers)];

#if PG_VERSION_NUM >= 160000
#define name_of(relation) ((relation)->rd_locator)
#else
#define name_of(relation) ((relation)->rd_node)
#endif
	if (n++ % LONG_WAY_EVERY != 0 && *buffer > 0 && *buffer <= NBuffers && ReadRecentBuffer(name_of(relation), MAIN_FORKNUM, block, *buffer))
	{
		pgstat_count_buffer_read(relation);
		pgstat_count_buffer_hit(relation);
	}
	else
		*buffer = ReadBuffer(relation, block);
	return *buffer;
}
