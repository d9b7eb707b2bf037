/*
 * derive.c
 *		The whole graph resolved from scratch, to compare with what is stored.
 */
#include "postgres.h"

#include "identity/identity.h"
#include "identity/resolve.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"

PG_FUNCTION_INFO_V1(cdp_resolve_all);
PG_FUNCTION_INFO_V1(cdp_judge_all);

CDP_QUERY(read_all_nodes, "SELECT identifier_id, namespace, value FROM cdp.identity", "");
CDP_QUERY(read_all_links,
		  "SELECT identifier_a, identifier_b, first_seen_at, last_seen_at, event_count FROM cdp.link", "");

CDP_QUERY(read_all_rulings,
		  "SELECT r.kind = 'pin', i.identifier_id, j.identifier_id FROM cdp.ruling r "
		  "JOIN cdp.identity i ON i.namespace = cdp.namespace(r.a) AND i.value = cdp.value(r.a) "
		  "JOIN cdp.identity j ON j.namespace = cdp.namespace(r.b) AND j.value = cdp.value(r.b) "
		  "WHERE r.undone_at IS NULL",
		  "");

typedef struct Graph
{
	CdpNode *nodes;
	int64 *ids; /* per node */
	int n_nodes;
	CdpGraphLink *links;
	int n_links;
	CdpRuling *rulings;
	int n_rulings;
	HTAB *by_id;
} Graph;

static void
read_nodes(Graph *g, const CdpNamespaces *namespaces)
{
	HASHCTL control = {.keysize = sizeof(int64), .entrysize = sizeof(int64) * 2, .hcxt = CurrentMemoryContext};
	uint64 rows = cdp_run(&read_all_nodes, NULL, NULL);

	g->by_id = hash_create("cdp identity all", Max(16, rows), &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	g->nodes = palloc_extended(sizeof(CdpNode) * (rows + 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	g->ids = palloc_extended(sizeof(int64) * (rows + 1), MCXT_ALLOC_HUGE);
	g->n_nodes = 0;
	for (uint64 row = 0; row < rows; row++)
	{
		char *name = cdp_result_cstring(row, 2);
		CdpNode *node = &g->nodes[g->n_nodes];
		int64 *entry;

		node->namespace_index = cdp_namespace_find(namespaces, name, strlen(name));
		if (node->namespace_index < 0)
			continue;
		node->value = cdp_result_cstring(row, 3);
		node->value_length = strlen(node->value);
		g->ids[g->n_nodes] = cdp_result_int64(row, 1, 0);
		entry = hash_search(g->by_id, &g->ids[g->n_nodes], HASH_ENTER, NULL);
		entry[1] = g->n_nodes++;
	}
	cdp_done();
}

/* The node of an identifier, or -1. */
static int
node_of(const Graph *g, int64 identifier_id)
{
	int64 *entry = hash_search(g->by_id, &identifier_id, HASH_FIND, NULL);

	return entry == NULL ? -1 : (int) entry[1];
}

static void
read_links(Graph *g)
{
	uint64 rows = cdp_run(&read_all_links, NULL, NULL);

	g->links = palloc_extended(sizeof(CdpGraphLink) * (rows + 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	g->n_links = 0;
	for (uint64 row = 0; row < rows; row++)
	{
		CdpGraphLink *link = &g->links[g->n_links];

		link->a = node_of(g, cdp_result_int64(row, 1, 0));
		link->b = node_of(g, cdp_result_int64(row, 2, 0));
		if (link->a < 0 || link->b < 0)
			continue;
		link->first_seen_at = cdp_result_int64(row, 3, 0);
		link->last_seen_at = cdp_result_int64(row, 4, 0);
		link->event_count = cdp_result_int64(row, 5, 0);
		cdp_link_without_evidence(link);
		g->n_links++;
	}
	cdp_done();
}

static void
read_rulings(Graph *g)
{
	uint64 rows = cdp_run(&read_all_rulings, NULL, NULL);

	g->rulings = palloc(sizeof(CdpRuling) * (Size) (rows + 1));
	g->n_rulings = 0;
	for (uint64 row = 0; row < rows; row++)
	{
		CdpRuling *ruling = &g->rulings[g->n_rulings];
		bool isnull;

		ruling->is_pin = DatumGetBool(cdp_result_datum(row, 1, &isnull));
		ruling->a = node_of(g, cdp_result_int64(row, 2, 0));
		ruling->b = node_of(g, cdp_result_int64(row, 3, 0));
		g->n_rulings += ruling->a >= 0 && ruling->b >= 0;
	}
	cdp_done();
}

/* Read and resolve everything; SPI is connected on return. */
static void
derive(FunctionCallInfo fcinfo, Graph *g)
{
	CdpNamespaces *namespaces;

	InitMaterializedSRF(fcinfo, 0);
	cdp_require_init();
	SPI_connect();
	namespaces = cdp_namespaces_load();
	read_nodes(g, namespaces);
	read_links(g);
	read_rulings(g);
	cdp_resolve(namespaces, g->nodes, g->n_nodes, g->links, g->n_links, g->rulings, g->n_rulings);
}

/* cdp.resolve_all() */
Datum
cdp_resolve_all(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Graph g;

	derive(fcinfo, &g);
	for (int i = 0; i < g.n_nodes; i++)
	{
		const CdpNode *node = &g.nodes[i];
		Datum values[4] = {Int64GetDatum(g.ids[i]), Int64GetDatum(g.ids[node->cluster]),
						   Int64GetDatum(g.ids[node->component]), BoolGetDatum(node->is_disputed)};
		bool nulls[4] = {false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	SPI_finish();
	return (Datum) 0;
}

/* cdp.judge_all() */
Datum
cdp_judge_all(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Graph g;

	derive(fcinfo, &g);
	for (int i = 0; i < g.n_links; i++)
	{
		const CdpGraphLink *link = &g.links[i];
		Datum values[4] = {Int64GetDatum(g.ids[link->a]), Int64GetDatum(g.ids[link->b]),
						   CStringGetTextDatum(cdp_link_status_names[link->status]),
						   link->reason == NULL ? (Datum) 0 : CStringGetTextDatum(link->reason)};
		bool nulls[4] = {false, false, false, link->reason == NULL};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	SPI_finish();
	return (Datum) 0;
}
