/*
 * large.h
 *		Arrays that are reached at random: in large pages, where the kernel has them.
 *
 * Large pages spare a look-up in page tables at nearly every access, and most page faults.  Of
 * what is allocated only what is used takes memory.
 */
#ifndef CDP_LARGE_H
#define CDP_LARGE_H

#include "postgres.h"

extern void *cdp_large_alloc(MemoryContext context, Size size);

/* An array of another size in the place of one, of which 'used' bytes are kept. */
extern void *cdp_large_resize(void *old, Size used, Size size);

#endif
