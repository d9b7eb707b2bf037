/*
 * question.c
 *		Why do two identifiers belong together, why do they not, and what hangs by a thread?
 *
 * Each question reads the links of one profile or one component and answers with links.
 * Accepted links form a tree in each profile, so there is one path between two of its
 * identifiers: that is why.  Between two profiles the path with the fewest rejected links
 * tells why not.  A link that is a bridge among a profile's links is a weak one.
 */
#include "postgres.h"

#include "identity/bridges.h"
#include "identity/identity.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"

PG_FUNCTION_INFO_V1(cdp_explain_link);
PG_FUNCTION_INFO_V1(cdp_rejected_path);
PG_FUNCTION_INFO_V1(cdp_weak_links);

CDP_QUERY(find_identifier,
		  "SELECT i.identifier_id, i.profile_id, p.component_id FROM cdp.identity i "
		  "JOIN cdp.profile p ON p.profile_id = i.profile_id WHERE i.namespace = $1 AND i.value = $2",
		  "text,text");
CDP_QUERY(read_profile,
		  "SELECT l.identifier_a, l.identifier_b, l.status FROM cdp.identity i "
		  "JOIN cdp.link l ON l.identifier_a = i.identifier_id "
		  "JOIN cdp.identity j ON j.identifier_id = l.identifier_b AND j.profile_id = i.profile_id "
		  "WHERE i.profile_id = $1 AND l.status IN ('accepted', 'redundant')",
		  "int8");
CDP_QUERY(read_component,
		  "SELECT l.identifier_a, l.identifier_b, l.status FROM cdp.profile p "
		  "JOIN cdp.identity i ON i.profile_id = p.profile_id JOIN cdp.link l ON l.identifier_a = i.identifier_id "
		  "WHERE p.component_id = $1 AND l.status NOT IN ('retracted', 'related')",
		  "int8");
CDP_QUERY(read_link,
		  "SELECT x.namespace, x.value, y.namespace, y.value, l.first_seen_at, l.last_seen_at, l.event_count "
		  "FROM cdp.link l JOIN cdp.identity x ON x.identifier_id = $1 JOIN cdp.identity y ON y.identifier_id = $2 "
		  "WHERE (l.identifier_a, l.identifier_b) IN (($1, $2), ($2, $1))",
		  "int8,int8");

typedef struct Link
{
	CdpPair ends; /* nodes */
	bool is_accepted;
	bool is_rejected;
} Link;

typedef struct Graph
{
	int64 *ids; /* per node: its identifier */
	int n_nodes;
	Link *links;
	int n_links;
	HTAB *by_id;
} Graph;

/* Look an identifier up by its normal form; false if nobody was ever known by it. */
static bool
look_up(CdpIdentifier *id, int64 *identifier_id, int64 *profile_id, int64 *component_id)
{
	Datum key[2];
	bool found;

	if (!cdp_identity_key(id, key))
		return false;
	found = cdp_run(&find_identifier, key, NULL) > 0;
	if (found)
	{
		*identifier_id = cdp_result_int64(0, 1, 0);
		*profile_id = cdp_result_int64(0, 2, 0);
		*component_id = cdp_result_int64(0, 3, 0);
	}
	cdp_done();
	return found;
}

/* The node of an identifier, made if it is new. */
static int
node_of(Graph *g, int64 identifier_id)
{
	bool found;
	int64 *entry = hash_search(g->by_id, &identifier_id, HASH_ENTER, &found);

	if (!found)
	{
		entry[1] = g->n_nodes;
		g->ids[g->n_nodes++] = identifier_id;
	}
	return (int) entry[1];
}

/* Read the links of a profile or a component. */
static void
read_graph(Graph *g, CdpQuery *query, int64 id)
{
	HASHCTL control = {.keysize = sizeof(int64), .entrysize = sizeof(int64) * 2, .hcxt = CurrentMemoryContext};
	Datum arguments[1] = {Int64GetDatum(id)};
	uint64 n = cdp_run(query, arguments, NULL);

	g->n_nodes = 0;
	g->n_links = n;
	g->ids = palloc_extended(sizeof(int64) * (n * 2 + 2), MCXT_ALLOC_HUGE);
	g->links = palloc_extended(sizeof(Link) * (n + 1), MCXT_ALLOC_HUGE);
	g->by_id = hash_create("cdp identity question", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	for (uint64 row = 0; row < n; row++)
	{
		char *status = cdp_result_cstring(row, 3);
		Link *link = &g->links[row];

		link->ends.a = node_of(g, cdp_result_int64(row, 1, 0));
		link->ends.b = node_of(g, cdp_result_int64(row, 2, 0));
		link->is_accepted = strcmp(status, "accepted") == 0;
		link->is_rejected = strcmp(status, "rejected") == 0;
	}
	cdp_done();
}

/*
 * Find the path from one node to another with the fewest rejected links, and of those the fewest links; only over
 * accepted ones if so asked.  'by' gets, per node, the link by which it is reached.  Rounds over all links until
 * nothing improves: components are small, and this is a question of a person.
 */
static bool
find_path(const Graph *g, int from, int to, bool only_accepted, int *by)
{
	int64 *cost = palloc(sizeof(int64) * (Size) (g->n_nodes + 1));
	bool is_better = true;

	for (int i = 0; i < g->n_nodes; i++)
	{
		cost[i] = PG_INT64_MAX;
		by[i] = -1;
	}
	cost[from] = 0;
	while (is_better)
	{
		CHECK_FOR_INTERRUPTS();
		is_better = false;
		for (int i = 0; i < g->n_links; i++)
		{
			const Link *link = &g->links[i];
			int64 price = link->is_rejected ? INT64CONST(1) << 32 : 1;

			if (only_accepted && !link->is_accepted)
				continue;
			for (int side = 0; side < 2; side++)
			{
				int near = side == 0 ? link->ends.a : link->ends.b;
				int far = side == 0 ? link->ends.b : link->ends.a;

				if (cost[near] == PG_INT64_MAX || cost[near] + price >= cost[far])
					continue;
				cost[far] = cost[near] + price;
				by[far] = i;
				is_better = true;
			}
		}
	}
	return cost[to] != PG_INT64_MAX;
}

/* Put one link into the result: its number, its two ends, its evidence. */
static void
put_link(ReturnSetInfo *result, int step, int64 from, int64 to)
{
	Datum arguments[2] = {Int64GetDatum(from), Int64GetDatum(to)};
	Datum values[6];
	bool nulls[6] = {false};

	if (cdp_run(&read_link, arguments, NULL) == 0)
		elog(ERROR, "a link is gone");
	values[0] = Int32GetDatum(step);
	for (int side = 0; side < 2; side++)
	{
		char *name = cdp_result_cstring(0, 1 + 2 * side);
		char *value = cdp_result_cstring(0, 2 + 2 * side);

		values[1 + side] = PointerGetDatum(cdp_identifier_make(name, strlen(name), value, strlen(value)));
	}
	for (int i = 0; i < 3; i++)
		values[3 + i] = cdp_result_datum(0, 5 + i, &nulls[3 + i]);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	cdp_done();
}

/* Put the path between two identifiers, or only its rejected links, in the order from the first to the second. */
static void
put_path(ReturnSetInfo *result, Graph *g, int64 a, int64 b, bool only_accepted, bool only_rejected)
{
	int from = node_of(g, a);
	int to = node_of(g, b);
	int *by = palloc(sizeof(int) * (Size) (g->n_nodes + 1));
	int *path = palloc(sizeof(int) * (Size) (g->n_nodes + 1));
	int steps = 0;
	int number = 0;

	if (!find_path(g, from, to, only_accepted, by))
		return;
	for (int at = to; at != from;)
	{
		const Link *link = &g->links[by[at]];

		path[steps++] = at;
		at = link->ends.a == at ? link->ends.b : link->ends.a;
	}
	path[steps] = from;
	for (int i = steps; i > 0; i--)
	{
		if (!only_rejected || g->links[by[path[i - 1]]].is_rejected)
			put_link(result, ++number, g->ids[path[i]], g->ids[path[i - 1]]);
	}
}

/* Answer a question about two identifiers. */
static Datum
answer(FunctionCallInfo fcinfo, bool about_one_person)
{
	CdpIdentifier *a = PG_GETARG_IDENTIFIER_P(0);
	CdpIdentifier *b = PG_GETARG_IDENTIFIER_P(1);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int64 a_id, b_id, a_profile, b_profile, a_component, b_component;
	Graph g;

	InitMaterializedSRF(fcinfo, 0);
	cdp_require_init();
	SPI_connect();
	if (look_up(a, &a_id, &a_profile, &a_component) && look_up(b, &b_id, &b_profile, &b_component) &&
		a_component == b_component && (a_profile == b_profile) == about_one_person)
	{
		if (about_one_person)
			read_graph(&g, &read_profile, a_profile);
		else
			read_graph(&g, &read_component, a_component);
		put_path(result, &g, a_id, b_id, about_one_person, !about_one_person);
	}
	SPI_finish();
	return (Datum) 0;
}

/* cdp.explain_link(a, b) */
Datum
cdp_explain_link(PG_FUNCTION_ARGS)
{
	return answer(fcinfo, true);
}

/* cdp.rejected_path(a, b) */
Datum
cdp_rejected_path(PG_FUNCTION_ARGS)
{
	return answer(fcinfo, false);
}

/* cdp.weak_links(profile_id) */
Datum
cdp_weak_links(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int64 profile_id;
	CdpPair *edges;
	bool *is_bridge;
	Graph g;
	int number = 0;

	InitMaterializedSRF(fcinfo, 0);
	cdp_require_init();
	profile_id = cdp_identity_follow(PG_GETARG_INT64(0));
	SPI_connect();
	read_graph(&g, &read_profile, profile_id);
	edges = palloc(sizeof(CdpPair) * (Size) (g.n_links + 1));
	is_bridge = palloc(sizeof(bool) * (Size) (g.n_links + 1));
	for (int i = 0; i < g.n_links; i++)
		edges[i] = g.links[i].ends;
	cdp_find_bridges(g.n_nodes, edges, g.n_links, is_bridge);
	for (int i = 0; i < g.n_links; i++)
	{
		if (is_bridge[i])
			put_link(result, ++number, g.ids[edges[i].a], g.ids[edges[i].b]);
	}
	SPI_finish();
	return (Datum) 0;
}
