/*
 * union_find.c
 *		Disjoint sets: making room.
 */
#include "postgres.h"

#include "identity/large.h"
#include "identity/union_find.h"
#include "utils/memutils.h"

void
cdp_union_find_init(CdpUnionFind *sets, uint32 capacity)
{
	sets->capacity = Max(capacity, 1024);
	sets->n = 0;
	sets->parent = cdp_large_alloc(CurrentMemoryContext, sizeof(uint32) * (Size) sets->capacity);
}

void
cdp_union_find_grow(CdpUnionFind *sets)
{
	uint64 wanted = (uint64) sets->capacity * 2;

	if (sets->capacity == PG_UINT32_MAX)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("the graph has too many nodes"),
						errdetail("The limit is %u.", PG_UINT32_MAX)));
	sets->capacity = Min(wanted, PG_UINT32_MAX);
	sets->parent = cdp_large_resize(sets->parent, sizeof(uint32) * (Size) sets->n, sizeof(uint32) * (Size) sets->capacity);
}

void
cdp_union_find_join_pairs(CdpUnionFind *sets, const uint32 *pairs, int n)
{
	for (int i = 0; i < n * 2; i++)
		__builtin_prefetch(&sets->parent[pairs[i]], 1);
	for (int i = 0; i < n; i++)
		cdp_union_find_join(sets, pairs[i * 2], pairs[i * 2 + 1]);
}
