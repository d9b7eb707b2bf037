/*
 * load.c
 *		Identifiers, links and rulings read into arrays: of some components, or of all.
 */
#include "postgres.h"

#include "identity/load.h"
#include "identity/union_find.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"

#define NODE_COLUMNS "identifier_id, namespace, value, profile_id, is_contested, event_count"
#define LINK_COLUMNS "identifier_a, identifier_b, first_seen_at, last_seen_at, event_count, status, reason"

CDP_SCAN(profiles_of_components, "profile", "profile_component_id_idx", 1, "component_id, profile_id, identifier_id, entity", "int8[]");
CDP_SCAN(nodes_of_profiles, "identity", "identity_profile_id_idx", 1, "profile_id, " NODE_COLUMNS, "int8[]");
CDP_SCAN(links_of_nodes, "link", "link_pkey", 1, LINK_COLUMNS, "int8[]");
CDP_QUERY(read_all_nodes, "SELECT profile_id, " NODE_COLUMNS " FROM cdp.identity", "");
CDP_QUERY(read_all_links, "SELECT " LINK_COLUMNS " FROM cdp.link", "");
CDP_QUERY(find_gone,
		  "SELECT k.id FROM unnest($1) AS k (id) WHERE NOT EXISTS (SELECT FROM cdp.link l WHERE l.identifier_a = k.id) AND "
		  "NOT EXISTS (SELECT FROM cdp.link l WHERE l.identifier_b = k.id) AND NOT EXISTS (SELECT FROM cdp.identity i "
		  "JOIN cdp.ruling r ON r.a = cdp.identifier(i.namespace, i.value) AND r.kind = 'lock' AND r.undone_at IS NULL "
		  "WHERE i.identifier_id = k.id) ORDER BY k.id",
		  "int8[]");
CDP_QUERY(read_rulings,
		  "SELECT r.kind = 'pin', i.identifier_id, j.identifier_id FROM unnest($1) AS k (id) "
		  "JOIN cdp.identity i ON i.identifier_id = k.id "
		  "JOIN cdp.ruling r ON r.a = cdp.identifier(i.namespace, i.value) AND r.kind <> 'retract' AND r.undone_at IS NULL "
		  "JOIN cdp.identity j ON j.namespace = cdp.namespace(r.b) AND j.value = cdp.value(r.b)",
		  "int8[]");
CDP_QUERY(has_rulings, "SELECT FROM cdp.ruling WHERE kind <> 'retract' AND undone_at IS NULL LIMIT 1", "");
CDP_QUERY(read_all_rulings,
		  "SELECT r.kind = 'pin', i.identifier_id, j.identifier_id FROM cdp.ruling r "
		  "JOIN cdp.identity i ON i.namespace = cdp.namespace(r.a) AND i.value = cdp.value(r.a) "
		  "JOIN cdp.identity j ON j.namespace = cdp.namespace(r.b) AND j.value = cdp.value(r.b) "
		  "WHERE r.kind <> 'retract' AND r.undone_at IS NULL",
		  "");

int
cdp_graph_node(const CdpGraph *graph, int64 identifier_id)
{
	const CdpStoredNode *node =
		graph->n_nodes == 0 ? NULL : bsearch(&identifier_id, graph->stored_nodes, graph->n_nodes, sizeof(CdpStoredNode), cdp_compare_int64);

	return node == NULL ? -1 : (int) (node - graph->stored_nodes);
}

static bool
result_bool(uint64 row, int column)
{
	bool isnull;
	Datum value = cdp_result_datum(row, column, &isnull);

	return !isnull && DatumGetBool(value);
}

/* Nodes as they are found. */
typedef struct Found
{
	CdpStoredNode stored;
	CdpNode node;
	bool is_unseen; /* no event mentions it */
} Found;

typedef struct Finding
{
	CdpGraph *graph;
	Found *nodes;
	int n_nodes;
	int nodes_capacity;
	int links_capacity;
	int profiles_capacity;
} Finding;

/* A profile id that was minted for an identifier of the components. */
static void
take_profile(void *arg, int i, Datum *values, bool *nulls)
{
	Finding *finding = arg;
	CdpGraph *graph = finding->graph;

	CDP_GROW(graph->profiles, graph->n_profiles, finding->profiles_capacity, 8);
	graph->profiles[graph->n_profiles++] =
		(CdpStoredProfile){DatumGetInt64(values[1]), nulls[2] ? 0 : DatumGetInt64(values[2]), TextDatumGetCString(values[3])};
}

/* Read the profile ids of components. */
static void
read_profiles(Finding *finding, const int64 *components, int n)
{
	CdpColumn *keys = cdp_int64_column(components, n);
	CdpGraph *graph = finding->graph;

	cdp_scan(&profiles_of_components, &keys, take_profile, finding);
	qsort(graph->profiles, graph->n_profiles, sizeof(CdpStoredProfile), cdp_compare_int64);
}

/* A node; where its namespace is no longer known it can only be gone. */
static void
take_node(void *arg, int i, Datum *values, bool *nulls)
{
	Finding *finding = arg;
	text *name = DatumGetTextPP(values[2]);
	int ns = cdp_namespace_find(finding->graph->namespaces, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
	char *value = TextDatumGetCString(values[3]);

	CDP_GROW(finding->nodes, finding->n_nodes, finding->nodes_capacity, 64);
	finding->nodes[finding->n_nodes++] =
		(Found){{DatumGetInt64(values[1]), DatumGetInt64(values[4]), DatumGetBool(values[5])},
				{.namespace_index = ns, .value = value, .value_length = strlen(value)},
				DatumGetInt64(values[6]) == 0};
}

/* Of the nodes that no event mentions those that nothing else mentions either, sorted; returns how many. */
static int
find_unmentioned(const Finding *finding, int64 **ids)
{
	CdpColumn *unseen = cdp_column(INT8OID, 8);
	Datum argument;
	uint64 n;

	for (int i = 0; i < finding->n_nodes; i++)
	{
		if (finding->nodes[i].is_unseen)
			cdp_column_add(unseen, Int64GetDatum(finding->nodes[i].stored.identifier_id));
	}
	if (unseen->n == 0)
		return 0;
	argument = cdp_column_array(unseen);
	n = cdp_run(&find_gone, &argument, NULL);
	*ids = palloc(sizeof(int64) * (n + 1));
	for (uint64 row = 0; row < n; row++)
		(*ids)[row] = cdp_result_int64(row, 1, 0);
	cdp_done();
	return n;
}

/* The nodes that were found become those of the graph, by their ids, but those that are gone. */
static void
settle_nodes(Finding *finding)
{
	CdpGraph *graph = finding->graph;
	Size n = finding->n_nodes;
	int64 *unmentioned = NULL;
	int n_unmentioned;

	qsort(finding->nodes, n, sizeof(Found), cdp_compare_int64);
	n_unmentioned = find_unmentioned(finding, &unmentioned);
	graph->nodes = palloc_extended(sizeof(CdpNode) * (n + 1), MCXT_ALLOC_HUGE);
	graph->stored_nodes = palloc_extended(sizeof(CdpStoredNode) * (n + 1), MCXT_ALLOC_HUGE);
	graph->gone = palloc_extended(sizeof(CdpStoredNode) * ((Size) n_unmentioned + 1), MCXT_ALLOC_HUGE);
	for (Size i = 0; i < n; i++)
	{
		const CdpStoredNode *stored = &finding->nodes[i].stored;

		if (n_unmentioned > 0 && bsearch(&stored->identifier_id, unmentioned, n_unmentioned, sizeof(int64), cdp_compare_int64) != NULL)
		{
			graph->gone[graph->n_gone++] = *stored;
			continue;
		}
		if (finding->nodes[i].node.namespace_index < 0)
			continue;
		graph->nodes[graph->n_nodes] = finding->nodes[i].node;
		graph->stored_nodes[graph->n_nodes++] = *stored;
	}
}

/* The name among those of judgements; NULL: it is none, but retracted or related, and the link is not judged. */
static const char *
judgement_of(const text *status)
{
	for (int i = CDP_LINK_ACCEPTED; i <= CDP_LINK_REJECTED; i++)
	{
		const char *name = cdp_link_status_names[i];

		if (VARSIZE_ANY_EXHDR(status) == strlen(name) && memcmp(VARDATA_ANY(status), name, strlen(name)) == 0)
			return name;
	}
	return NULL;
}

/* A link whose ends are both there. */
static void
take_link(void *arg, int i, Datum *values, bool *nulls)
{
	Finding *finding = arg;
	CdpGraph *graph = finding->graph;
	CdpGraphLink link = {cdp_graph_node(graph, DatumGetInt64(values[0])), cdp_graph_node(graph, DatumGetInt64(values[1]))};
	CdpStoredLink stored = {judgement_of(DatumGetTextPP(values[5])), nulls[6] ? NULL : TextDatumGetCString(values[6])};
	int capacity = finding->links_capacity;

	if (link.a < 0 || link.b < 0 || stored.status == NULL)
		return;
	if (!nulls[2])
		link.first_seen_at = DatumGetTimestampTz(values[2]);
	if (!nulls[3])
		link.last_seen_at = DatumGetTimestampTz(values[3]);
	link.event_count = DatumGetInt64(values[4]);
	cdp_link_without_evidence(&link);
	CDP_GROW(graph->links, graph->n_links, finding->links_capacity, 64);
	CDP_GROW(graph->stored_links, graph->n_links, capacity, 64);
	graph->links[graph->n_links] = link;
	graph->stored_links[graph->n_links++] = stored;
}

/* Take the rows of a result as those of a scan. */
static void
take_all(CdpQuery *query, int n_columns, CdpTakeRow take, Finding *finding)
{
	uint64 n = cdp_run(query, NULL, NULL);

	for (uint64 row = 0; row < n; row++)
	{
		Datum values[8];
		bool nulls[8];

		for (int i = 0; i < n_columns; i++)
			values[i] = cdp_result_datum(row, i + 1, &nulls[i]);
		take(finding, 0, values, nulls);
	}
	cdp_done();
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

/* The identifiers of all nodes. */
static CdpColumn *
node_ids(const CdpGraph *graph)
{
	CdpColumn *ids = cdp_column(INT8OID, graph->n_nodes);

	for (int i = 0; i < graph->n_nodes; i++)
		cdp_column_add(ids, Int64GetDatum(graph->stored_nodes[i].identifier_id));
	return ids;
}

static void *
read_any_ruling(void)
{
	return cdp_find_any(&has_rulings);
}

/* Most databases have no pin and no denial, and then nobody looks for any. */
static CdpCached any_ruling = {"ruling", read_any_ruling};

static void
load_rulings(CdpGraph *graph, bool is_all)
{
	Datum ids;

	if (!*(bool *) cdp_cached(&any_ruling))
		return;
	ids = is_all ? (Datum) 0 : cdp_column_array(node_ids(graph));
	take_rulings(graph, is_all ? cdp_run_latest(&read_all_rulings, NULL, NULL) : cdp_run_latest(&read_rulings, &ids, NULL));
	cdp_done();
}

void
cdp_graph_load(CdpGraph *graph, const CdpNamespaces *namespaces, const int64 *components, int n)
{
	Finding finding = {graph};
	bool is_all = components == NULL;

	memset(graph, 0, sizeof(CdpGraph));
	graph->namespaces = namespaces;
	if (is_all)
		take_all(&read_all_nodes, 7, take_node, &finding);
	else
	{
		CdpColumn *keys;

		read_profiles(&finding, components, n);
		keys = cdp_column(INT8OID, graph->n_profiles);
		for (int i = 0; i < graph->n_profiles; i++)
			cdp_column_add(keys, Int64GetDatum(graph->profiles[i].profile_id));
		cdp_scan(&nodes_of_profiles, &keys, take_node, &finding);
	}
	settle_nodes(&finding);
	if (is_all)
		take_all(&read_all_links, 7, take_link, &finding);
	else
	{
		CdpColumn *keys = node_ids(graph);

		cdp_scan(&links_of_nodes, &keys, take_link, &finding);
	}
	load_rulings(graph, is_all);
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
