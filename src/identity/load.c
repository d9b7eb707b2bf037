/*
 * load.c
 *		Identifiers, links and rulings read into arrays: of some components, or of all.
 */
#include "postgres.h"

#include "identity/load.h"
#include "identity/union_find.h"
#include "catalog/pg_type.h"

#define NODE_COLUMNS                                                                                                   \
	"i.identifier_id, i.namespace, i.value, i.profile_id, i.is_contested, i.event_count = 0 AND NOT EXISTS ("           \
	"SELECT FROM cdp.link l WHERE l.identifier_a = i.identifier_id) AND NOT EXISTS ("                                   \
	"SELECT FROM cdp.link l WHERE l.identifier_b = i.identifier_id) AND NOT EXISTS ("                                   \
	"SELECT FROM cdp.ruling r WHERE r.kind = 'lock' AND r.undone_at IS NULL AND r.a = cdp.identifier(i.namespace, i.value)) "
#define LINK_COLUMNS "l.identifier_a, l.identifier_b, l.first_seen_at, l.last_seen_at, l.event_count, l.status, l.reason "

CDP_QUERY(read_nodes,
		  "SELECT " NODE_COLUMNS "FROM cdp.profile p JOIN cdp.identity i ON i.profile_id = p.profile_id "
		  "WHERE p.component_id = ANY($1) ORDER BY i.identifier_id",
		  "int8[]");
CDP_QUERY(read_links,
		  "SELECT " LINK_COLUMNS "FROM cdp.link l WHERE l.identifier_a = ANY($1) AND l.status NOT IN ('retracted', 'related')",
		  "int8[]");
CDP_QUERY(read_rulings,
		  "SELECT r.kind = 'pin', i.identifier_id, j.identifier_id FROM unnest($1) AS k (id) "
		  "JOIN cdp.identity i ON i.identifier_id = k.id "
		  "JOIN cdp.ruling r ON r.a = cdp.identifier(i.namespace, i.value) AND r.kind <> 'retract' AND r.undone_at IS NULL "
		  "JOIN cdp.identity j ON j.namespace = cdp.namespace(r.b) AND j.value = cdp.value(r.b)",
		  "int8[]");
CDP_QUERY(has_rulings, "SELECT FROM cdp.ruling WHERE kind <> 'retract' AND undone_at IS NULL LIMIT 1", "");
CDP_QUERY(read_all_nodes, "SELECT " NODE_COLUMNS "FROM cdp.identity i ORDER BY i.identifier_id", "");
CDP_QUERY(read_all_links, "SELECT " LINK_COLUMNS "FROM cdp.link l WHERE l.status NOT IN ('retracted', 'related')", "");
CDP_QUERY(read_all_rulings,
		  "SELECT r.kind = 'pin', i.identifier_id, j.identifier_id FROM cdp.ruling r "
		  "JOIN cdp.identity i ON i.namespace = cdp.namespace(r.a) AND i.value = cdp.value(r.a) "
		  "JOIN cdp.identity j ON j.namespace = cdp.namespace(r.b) AND j.value = cdp.value(r.b) "
		  "WHERE r.kind <> 'retract' AND r.undone_at IS NULL",
		  "");

int
cdp_graph_node(const CdpGraph *graph, int64 identifier_id)
{
	int64 *entry = hash_search(graph->by_id, &identifier_id, HASH_FIND, NULL);

	return entry == NULL ? -1 : (int) entry[1];
}

static bool
result_bool(uint64 row, int column)
{
	bool isnull;
	Datum value = cdp_result_datum(row, column, &isnull);

	return !isnull && DatumGetBool(value);
}

/* Add a node, unless its namespace is unknown. */
static void
add_node(CdpGraph *graph, const CdpStoredNode *stored, const char *name, char *value)
{
	int ns = cdp_namespace_find(graph->namespaces, name, strlen(name));
	int64 *entry;

	if (ns < 0)
		return;
	graph->nodes[graph->n_nodes] =
		(CdpNode){.namespace_index = ns, .value = value, .value_length = strlen(value)};
	graph->stored_nodes[graph->n_nodes] = *stored;
	entry = hash_search(graph->by_id, &stored->identifier_id, HASH_ENTER, NULL);
	entry[1] = graph->n_nodes++;
}

/* Take the nodes of a result. */
static void
take_nodes(CdpGraph *graph, uint64 rows)
{
	HASHCTL control = {.keysize = sizeof(int64), .entrysize = sizeof(int64) * 2, .hcxt = CurrentMemoryContext};

	graph->nodes = palloc_extended(sizeof(CdpNode) * (rows + 1), MCXT_ALLOC_HUGE);
	graph->stored_nodes = palloc_extended(sizeof(CdpStoredNode) * (rows + 1), MCXT_ALLOC_HUGE);
	graph->gone = palloc_extended(sizeof(CdpStoredNode) * (rows + 1), MCXT_ALLOC_HUGE);
	graph->by_id = hash_create("cdp identity nodes", Max(16, rows), &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	for (uint64 row = 0; row < rows; row++)
	{
		CdpStoredNode stored = {cdp_result_int64(row, 1, 0), cdp_result_int64(row, 4, 0), result_bool(row, 5)};

		if (result_bool(row, 6))
			graph->gone[graph->n_gone++] = stored;
		else
			add_node(graph, &stored, cdp_result_cstring(row, 2), cdp_result_cstring(row, 3));
	}
}

/* Take the links of a result whose ends are both there. */
static void
take_links(CdpGraph *graph, uint64 rows)
{
	graph->links = palloc_extended(sizeof(CdpGraphLink) * (rows + 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	graph->stored_links = palloc_extended(sizeof(CdpStoredLink) * (rows + 1), MCXT_ALLOC_HUGE);
	for (uint64 row = 0; row < rows; row++)
	{
		CdpGraphLink *link = &graph->links[graph->n_links];
		CdpStoredLink *stored = &graph->stored_links[graph->n_links];

		link->a = cdp_graph_node(graph, cdp_result_int64(row, 1, 0));
		link->b = cdp_graph_node(graph, cdp_result_int64(row, 2, 0));
		if (link->a < 0 || link->b < 0)
			continue;
		link->first_seen_at = cdp_result_int64(row, 3, 0);
		link->last_seen_at = cdp_result_int64(row, 4, 0);
		link->event_count = cdp_result_int64(row, 5, 0);
		cdp_link_without_evidence(link);
		stored->status = cdp_result_cstring(row, 6);
		stored->reason = cdp_result_cstring(row, 7);
		graph->n_links++;
	}
}

/* Take the pins and denials of a result whose ends are both there. */
static void
take_rulings(CdpGraph *graph, uint64 rows)
{
	graph->rulings = palloc_extended(sizeof(CdpRuling) * (rows + 1), MCXT_ALLOC_HUGE);
	for (uint64 row = 0; row < rows; row++)
	{
		CdpRuling *ruling = &graph->rulings[graph->n_rulings];

		ruling->is_pin = result_bool(row, 1);
		ruling->a = cdp_graph_node(graph, cdp_result_int64(row, 2, 0));
		ruling->b = cdp_graph_node(graph, cdp_result_int64(row, 3, 0));
		graph->n_rulings += ruling->a >= 0 && ruling->b >= 0;
	}
}

/* The identifiers of all nodes, as an argument. */
static Datum
node_ids(const CdpGraph *graph)
{
	CdpColumn *ids = cdp_column(INT8OID, graph->n_nodes);

	for (int i = 0; i < graph->n_nodes; i++)
		cdp_column_add(ids, Int64GetDatum(graph->stored_nodes[i].identifier_id));
	return cdp_column_array(ids);
}

static bool
any_ruling(void)
{
	bool found = cdp_run_latest(&has_rulings, NULL, NULL) > 0;

	cdp_done();
	return found;
}

void
cdp_graph_load(CdpGraph *graph, const CdpNamespaces *namespaces, const int64 *components, int n)
{
	bool is_all = components == NULL;
	Datum ids = is_all ? (Datum) 0 : cdp_int64_array(components, n);

	memset(graph, 0, sizeof(CdpGraph));
	graph->namespaces = namespaces;
	take_nodes(graph, is_all ? cdp_run(&read_all_nodes, NULL, NULL) : cdp_run(&read_nodes, &ids, NULL));
	cdp_done();
	if (!is_all)
		ids = node_ids(graph);
	take_links(graph, is_all ? cdp_run(&read_all_links, NULL, NULL) : cdp_run(&read_links, &ids, NULL));
	cdp_done();
	if (!any_ruling())
		return;
	take_rulings(graph, is_all ? cdp_run_latest(&read_all_rulings, NULL, NULL) : cdp_run_latest(&read_rulings, &ids, NULL));
	cdp_done();
}

/* Mark the nodes of components that have too many links; also says what each component is known by. */
static void
find_frozen(CdpGraph *graph, CdpUnionFind *components)
{
	int *n_links = palloc0(sizeof(int) * ((Size) graph->n_nodes + 1)); /* per root */

	cdp_union_find_fill(components, graph->n_nodes);
	for (int i = 0; i < graph->n_links; i++)
		cdp_union_find_join(components, graph->links[i].a, graph->links[i].b);
	for (int i = 0; i < graph->n_links; i++)
		n_links[cdp_union_find_root(components, graph->links[i].a)]++;
	graph->is_frozen = palloc0(sizeof(bool) * ((Size) graph->n_nodes + 1));
	for (int i = 0; i < graph->n_nodes; i++)
	{
		graph->is_frozen[i] = n_links[cdp_union_find_root(components, i)] > cdp_identity_max_component;
		graph->n_frozen += graph->is_frozen[i];
	}
	pfree(n_links);
}

/* Put the links of frozen components behind the others; returns how many others there are. */
static int
set_frozen_links_aside(CdpGraph *graph)
{
	int n = 0;

	for (int i = 0; i < graph->n_links && graph->n_frozen > 0; i++)
	{
		CdpGraphLink link = graph->links[i];
		CdpStoredLink stored = graph->stored_links[i];

		if (graph->is_frozen[link.a])
			continue;
		graph->links[i] = graph->links[n];
		graph->stored_links[i] = graph->stored_links[n];
		graph->links[n] = link;
		graph->stored_links[n++] = stored;
	}
	return graph->n_frozen > 0 ? n : graph->n_links;
}

/* The clusters of frozen components are those that are stored. */
static void
keep_clusters(CdpGraph *graph, CdpUnionFind *components)
{
	HASHCTL control = {.keysize = sizeof(int64), .entrysize = sizeof(int64) * 2, .hcxt = CurrentMemoryContext};
	HTAB *first = hash_create("cdp identity frozen", 1024, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);

	for (int i = 0; i < graph->n_nodes; i++)
	{
		int64 profile_id = graph->stored_nodes[i].profile_id;
		int64 *entry;
		bool found;

		if (!graph->is_frozen[i])
			continue;
		graph->nodes[i].component = cdp_union_find_root(components, i);
		graph->nodes[i].is_disputed = true;
		graph->nodes[i].is_contested = graph->stored_nodes[i].is_contested;
		if (graph->stored_nodes[i].is_new)
			continue;
		entry = hash_search(first, &profile_id, HASH_ENTER, &found);
		if (!found)
			entry[1] = i;
		graph->nodes[i].cluster = (int) entry[1];
	}
	hash_destroy(first);
}

/* So are the judgements of their links, but of those that came since. */
static void
keep_judgements(CdpGraph *graph, int from)
{
	CdpUnionFind joined;

	cdp_union_find_fill(&joined, graph->n_nodes);
	for (int i = from; i < graph->n_links; i++)
	{
		CdpGraphLink *link = &graph->links[i];
		const CdpStoredLink *stored = &graph->stored_links[i];

		link->status = CDP_LINK_ACCEPTED;
		link->reason = stored->reason;
		while (strcmp(cdp_link_status_names[link->status], stored->status) != 0)
			link->status++;
		if (link->status != CDP_LINK_ACCEPTED)
			continue;
		if (graph->nodes[link->a].cluster != graph->nodes[link->b].cluster)
		{
			link->status = CDP_LINK_REJECTED;
			link->reason = CDP_REASON_FROZEN;
		}
		else if (cdp_union_find_root(&joined, link->a) == cdp_union_find_root(&joined, link->b))
			link->status = CDP_LINK_REDUNDANT;
		else
			cdp_union_find_join(&joined, link->a, link->b);
	}
}

void
cdp_graph_resolve(CdpGraph *graph)
{
	CdpUnionFind components;
	int n_live;

	find_frozen(graph, &components);
	n_live = set_frozen_links_aside(graph);
	cdp_resolve(graph->namespaces, graph->nodes, graph->n_nodes, graph->links, n_live, graph->rulings, graph->n_rulings);
	if (graph->n_frozen == 0)
		return;
	keep_clusters(graph, &components);
	keep_judgements(graph, n_live);
}
