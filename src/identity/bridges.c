/*
 * bridges.c
 *		The edges of a graph whose removal would cut a component in two.
 */
#include "postgres.h"

#include "identity/bridges.h"
#include "miscadmin.h"

typedef struct Walk
{
	const CdpPair *edges;
	int *first; /* per node: where its edges begin in 'incident'; n + 1 of them */
	int *incident;
	int *entered; /* per node: when the walk came, from 1; 0: not yet */
	int *low;	  /* the earliest node that can be reached around the tree's edge */
	int *next;	  /* per node: the next of its edges to try */
	int *by;	  /* per node: the edge by which the walk came, or -1 */
	int *stack;
	int clock;
} Walk;

/* List each node's edges, side by side. */
static void
list_incident(Walk *w, int n_nodes, int n_edges)
{
	w->first = palloc0(sizeof(int) * ((Size) n_nodes + 2));
	w->incident = palloc(sizeof(int) * ((Size) n_edges * 2 + 1));
	for (int i = 0; i < n_edges; i++)
	{
		w->first[w->edges[i].a + 1]++;
		w->first[w->edges[i].b + 1]++;
	}
	for (int i = 0; i < n_nodes; i++)
		w->first[i + 1] += w->first[i];
	w->next = palloc(sizeof(int) * ((Size) n_nodes + 1));
	memcpy(w->next, w->first, sizeof(int) * (Size) n_nodes);
	for (int i = 0; i < n_edges; i++)
	{
		w->incident[w->next[w->edges[i].a]++] = i;
		w->incident[w->next[w->edges[i].b]++] = i;
	}
	memcpy(w->next, w->first, sizeof(int) * (Size) n_nodes);
}

static void
enter(Walk *w, int *depth, int node, int by)
{
	w->entered[node] = w->low[node] = ++w->clock;
	w->by[node] = by;
	w->stack[(*depth)++] = node;
}

/* Walk one component, depth first. */
static void
walk(Walk *w, int start, bool *is_bridge)
{
	int depth = 0;

	enter(w, &depth, start, -1);
	while (depth > 0)
	{
		int node = w->stack[depth - 1];
		int edge, other;

		if (w->next[node] == w->first[node + 1])
		{
			depth--;
			if (depth == 0)
				continue;
			other = w->stack[depth - 1];
			w->low[other] = Min(w->low[other], w->low[node]);
			is_bridge[w->by[node]] = w->low[node] > w->entered[other];
			continue;
		}
		edge = w->incident[w->next[node]++];
		if (edge == w->by[node])
			continue;
		other = w->edges[edge].a == node ? w->edges[edge].b : w->edges[edge].a;
		if (w->entered[other] == 0)
			enter(w, &depth, other, edge);
		else
			w->low[node] = Min(w->low[node], w->entered[other]);
	}
}

void
cdp_find_bridges(int n_nodes, const CdpPair *edges, int n_edges, bool *is_bridge)
{
	Walk w = {edges};

	memset(is_bridge, 0, sizeof(bool) * (Size) n_edges);
	list_incident(&w, n_nodes, n_edges);
	w.entered = palloc0(sizeof(int) * ((Size) n_nodes + 1));
	w.low = palloc0(sizeof(int) * ((Size) n_nodes + 1));
	w.by = palloc(sizeof(int) * ((Size) n_nodes + 1));
	w.stack = palloc(sizeof(int) * ((Size) n_nodes + 1));
	for (int i = 0; i < n_nodes; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (w.entered[i] == 0)
			walk(&w, i, is_bridge);
	}
}
