/*
 * derive.c
 *		The whole graph resolved from scratch, to compare with what is stored.
 */
#include "postgres.h"

#include "identity/identity.h"
#include "identity/load.h"
#include "funcapi.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(cdp_resolve_all);
PG_FUNCTION_INFO_V1(cdp_judge_all);

/* Read and resolve everything; SPI is connected on return. */
static void
derive(FunctionCallInfo fcinfo, CdpGraph *graph)
{
	InitMaterializedSRF(fcinfo, 0);
	cdp_require_init();
	SPI_connect();
	cdp_graph_load(graph, cdp_namespaces_load(), NULL, 0);
	cdp_graph_resolve(graph);
}

/* cdp.resolve_all() */
Datum
cdp_resolve_all(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	CdpGraph graph;

	derive(fcinfo, &graph);
	for (int i = 0; i < graph.n_nodes; i++)
	{
		const CdpNode *node = &graph.nodes[i];
		Datum values[5] = {Int64GetDatum(graph.stored_nodes[i].identifier_id), Int64GetDatum(graph.stored_nodes[node->cluster].identifier_id),
						   Int64GetDatum(graph.stored_nodes[node->component].identifier_id), BoolGetDatum(node->is_disputed), BoolGetDatum(node->is_contested)};
		bool nulls[5] = {false};

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
	CdpGraph graph;

	derive(fcinfo, &graph);
	for (int i = 0; i < graph.n_links; i++)
	{
		const CdpGraphLink *link = &graph.links[i];
		Datum values[4] = {Int64GetDatum(graph.stored_nodes[link->a].identifier_id), Int64GetDatum(graph.stored_nodes[link->b].identifier_id),
						   CStringGetTextDatum(cdp_link_status_names[link->status]),
						   link->reason == NULL ? (Datum) 0 : CStringGetTextDatum(link->reason)};
		bool nulls[4] = {false, false, false, link->reason == NULL};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	SPI_finish();
	return (Datum) 0;
}
