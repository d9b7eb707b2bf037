/*
 * page.h
 *		A page of a table or index, found again where it was in memory the last time.
 */
#ifndef CDP_PAGE_H
#define CDP_PAGE_H

#include "postgres.h"
#include "storage/bufmgr.h"
#include "storage/itemptr.h"
#include "utils/rel.h"

/* As ReadBuffer(): the page's buffer, pinned. */
extern Buffer cdp_page_read(Relation relation, BlockNumber block);

/*
 * Take dead rows off a page of a table, if it has become crowded.  The server does so as soon as less is free than the
 * table's fillfactor would leave: for a row that each message writes anew, at each message.
 */
extern void cdp_page_tidy(Relation table, Buffer buffer);

/* Ask for the memory of a page, or row, that is to be read soon, so that it comes meanwhile; no more than a hint. */
extern void cdp_page_expect(Relation relation, BlockNumber block);
extern void cdp_page_expect_row(Relation table, ItemPointer row);

#endif
