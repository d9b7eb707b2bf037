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

/* Ask for the memory of a page, or row, that is to be read soon, so that it comes meanwhile; no more than a hint. */
extern void cdp_page_expect(Relation relation, BlockNumber block);
extern void cdp_page_expect_row(Relation table, ItemPointer row);

#endif
