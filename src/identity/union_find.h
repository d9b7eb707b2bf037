/*
 * union_find.h
 *		Disjoint sets over dense numbers, with the smallest member known: connected components.
 *
 * Knows no table and no type.  A set costs four bytes a member.  Union links the larger
 * root below the smaller, so the root of a set is its first member, and the answer does
 * not depend on the order of edges; finding halves paths.
 */
#ifndef CDP_UNION_FIND_H
#define CDP_UNION_FIND_H

#include "postgres.h"

typedef struct CdpUnionFind
{
	uint32 *parent;
	uint32 n;
	uint32 capacity;
} CdpUnionFind;

extern void cdp_union_find_init(CdpUnionFind *sets, uint32 capacity); /* in the current context */
extern void cdp_union_find_grow(CdpUnionFind *sets);

/* Add a set of one; returns its number. */
static inline uint32
cdp_union_find_add(CdpUnionFind *sets)
{
	if (sets->n == sets->capacity)
		cdp_union_find_grow(sets);
	sets->parent[sets->n] = sets->n;
	return sets->n++;
}

/* n sets of one. */
static inline void
cdp_union_find_fill(CdpUnionFind *sets, uint32 n)
{
	cdp_union_find_init(sets, n);
	while (sets->n < n)
		cdp_union_find_add(sets);
}

static inline uint32
cdp_union_find_root(CdpUnionFind *sets, uint32 i)
{
	uint32 *parent = sets->parent;

	while (parent[i] != i)
	{
		parent[i] = parent[parent[i]];
		i = parent[i];
	}
	return i;
}

static inline void
cdp_union_find_join(CdpUnionFind *sets, uint32 a, uint32 b)
{
	a = cdp_union_find_root(sets, a);
	b = cdp_union_find_root(sets, b);
	if (a < b)
		sets->parent[b] = a;
	else
		sets->parent[a] = b;
}

/* Join n pairs, which stand one behind the other. Many at once, so that their memory comes near together. */
extern void cdp_union_find_join_pairs(CdpUnionFind *sets, const uint32 *pairs, int n);

#endif
