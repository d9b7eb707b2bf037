/*
 * bridges.h
 *		The edges of a graph whose removal would cut a component in two.
 *
 * Knows no table.  Tarjan's low-link method (R. E. Tarjan, "A note on finding the bridges of a graph", 1974),
 * without recursion; O(nodes + edges).  Of parallel edges none is a bridge.
 */
#ifndef CDP_BRIDGES_H
#define CDP_BRIDGES_H

typedef struct CdpPair
{
	int a;
	int b;
} CdpPair;

extern void cdp_find_bridges(int n_nodes, const CdpPair *edges, int n_edges, bool *is_bridge);

#endif
