/*
 * page.h
 *		A page of a table or index, found again where it was in memory the last time.
 */
#ifndef CDP_PAGE_H
#define CDP_PAGE_H

#include "postgres.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"

/* As ReadBuffer(): the page's buffer, pinned. */
extern Buffer cdp_page_read(Relation relation, BlockNumber block);

#endif
