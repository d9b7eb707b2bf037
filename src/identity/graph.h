/*
 * graph.h
 *		The connected components of a query's edges, as they stand in memory.
 *
 * graph.c reads them from the query and is the function; graph_scan.c is how a FROM clause
 * takes rows from them.
 */
#ifndef CDP_GRAPH_H
#define CDP_GRAPH_H

#include "identity/node_table.h"
#include "identity/union_find.h"

#define CDP_GRAPH_AHEAD 32 /* nodes asked for ahead when all are gone through */

typedef struct CdpComponents
{
	CdpNodeTable nodes; /* once read, without its slots */
	CdpUnionFind sets;	/* once read, each node's parent is its root: the first of its component */
} CdpComponents;

/* Run a query, given as text, whose edges join nodes of a type.  In the current memory context. */
extern CdpComponents *cdp_graph_read(NullableDatum query, Oid type);

/* Row i: a node and the first of its component.  Rows are best asked for in their order. */
static inline void
cdp_graph_row(const CdpComponents *graph, uint32 i, Datum *row)
{
	const Datum *nodes = graph->nodes.values;
	const uint32 *root = graph->sets.parent;

	if (i + CDP_GRAPH_AHEAD < graph->nodes.n_nodes)
	{
		const Datum *next = &nodes[root[i + CDP_GRAPH_AHEAD]];

		__builtin_prefetch(graph->nodes.is_by_value ? (void *) next : DatumGetPointer(*next));
	}
	row[0] = nodes[i];
	row[1] = nodes[root[i]];
}

#endif
