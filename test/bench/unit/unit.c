/*
 * unit.c
 *		The algorithms that know no table, each timed against a floor on the same random structure.
 *
 * Built and loaded by scripts/bench only.  unit_bench(name, n, rounds) makes a structure of size n and lets the
 * algorithm and its floor take turns; it returns the medians in nanoseconds per operation.  Floors do what the
 * algorithm cannot do without: reach the same memory, sort the same links, walk the same graph.
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "fmgr.h"
#include "funcapi.h"
#include "identity/bridges.h"
#include "identity/node_table.h"
#include "identity/resolve.h"
#include "identity/union_find.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

PG_MODULE_MAGIC;
PG_FUNCTION_INFO_V1(unit_bench);

#define ENTITY 8		/* most nodes of an entity */
#define BATCH 128
#define MAX_ROUNDS 100

static volatile uint64 sink; /* keeps the compiler from leaving a floor out */
static pg_prng_state seed;

static int
random_below(int n)
{
	return (int) pg_prng_uint64_range(&seed, 0, n - 1);
}

static void *
allocate(Size size)
{
	return palloc_extended(size, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
}

/* --- a graph of n edges, as many nodes, in entities of up to ENTITY ------------------ */

static CdpPair *edges;
static int n_edges;
static int n_nodes;

static int64
make_edges(int n)
{
	n_edges = n_nodes = n;
	edges = allocate(sizeof(CdpPair) * n);
	for (int i = 0; i < n; i++)
	{
		int a = random_below(n);

		edges[i].a = a;
		edges[i].b = Min(a / ENTITY * ENTITY + random_below(ENTITY), n - 1);
	}
	return n;
}

static void
union_find(void)
{
	CdpUnionFind sets;

	cdp_union_find_fill(&sets, n_nodes);
	for (int i = 0; i < n_edges; i += BATCH)
		cdp_union_find_join_pairs(&sets, (const uint32 *) &edges[i], Min(BATCH, n_edges - i));
}

/* Reach the same memory: both ends of each edge read and written. */
static void
touch_ends(void)
{
	uint32 *memory = palloc_extended(sizeof(uint32) * n_nodes, MCXT_ALLOC_HUGE);

	for (int i = 0; i < n_nodes; i++)
		memory[i] = i;
	for (int i = 0; i < n_edges; i++)
	{
		memory[edges[i].a]++;
		memory[edges[i].b]++;
	}
}

/* --- values to numbers: n values, each about twice ----------------------------------- */

static Datum *values;
static int n_values;

static int64
make_values(int n)
{
	n_values = n;
	values = allocate(sizeof(Datum) * n);
	for (int i = 0; i < n; i++)
		values[i] = Int64GetDatum((int64) random_below(n / 2) * INT64CONST(1000003));
	return n;
}

static void
node_table(void)
{
	CdpNodeTable table;

	cdp_node_table_init(&table, true, 8, NULL, NULL, InvalidOid);
	for (int i = 0; i < n_values; i += BATCH)
	{
		int n = Min(BATCH, n_values - i);
		uint32 hashes[BATCH];
		uint32 numbers[BATCH];

		for (int j = 0; j < n; j++)
		{
			hashes[j] = cdp_node_table_hash(&table, values[i + j]);
			cdp_node_table_prefetch(&table, hashes[j]);
		}
		cdp_node_table_find(&table, n, &values[i], hashes, numbers);
	}
}

/* Reach the same memory: as many slots as the table ends with. */
static void
touch_slots(void)
{
	int bits = 1;
	uint64 *memory;

	while ((INT64CONST(1) << bits) / 3 * 2 < n_values / 2)
		bits++;
	memory = allocate(sizeof(uint64) << bits);
	for (int i = 0; i < n_values; i++)
		memory[((uint64) values[i] * UINT64CONST(0x9e3779b97f4a7c15)) >> (64 - bits)]++;
}

/* --- one contested component of n links ----------------------------------------------- */

static CdpNamespace namespace_items[] = {
	{.name = "user_id", .entity = "person", .kind = CDP_KIND_PERSON, .priority = 10, .max_per_profile = 1},
	{.name = "email", .entity = "person", .kind = CDP_KIND_CONTACT, .priority = 20, .max_per_profile = 5},
	{.name = "phone", .entity = "person", .kind = CDP_KIND_CONTACT, .priority = 30, .max_per_profile = 5},
	{.name = "anonymous_id", .entity = "person", .kind = CDP_KIND_DEVICE, .priority = 90, .bridge = CDP_BRIDGE_UNIQUE},
};
static const CdpNamespaces namespaces = {.items = namespace_items, .n = lengthof(namespace_items)};
static CdpNode *nodes;
static CdpGraphLink *links;
static int n_links;

/* A quarter as many users as links, and each link from a user to an email, a phone or a device of anybody. */
static int64
make_links(int n)
{
	int users = Max(1, n / 4);

	n_links = n;
	n_nodes = users * 4;
	nodes = allocate(sizeof(CdpNode) * n_nodes);
	for (int i = 0; i < n_nodes; i++)
	{
		nodes[i].namespace_index = i / users;
		nodes[i].value = psprintf("%08x-%08x", (unsigned) pg_prng_uint32(&seed), i);
		nodes[i].value_length = strlen(nodes[i].value);
	}
	links = allocate(sizeof(CdpGraphLink) * n);
	for (int i = 0; i < n; i++)
	{
		links[i].a = random_below(users);
		links[i].b = users + random_below(users * 3);
		links[i].first_seen_at = random_below(1000000);
		links[i].last_seen_at = links[i].first_seen_at + random_below(1000);
		links[i].event_count = 1 + random_below(10);
	}
	return n;
}

static void
replay(void)
{
	cdp_resolve(&namespaces, nodes, n_nodes, links, n_links, NULL, 0);
}

static int
compare_times(const void *left, const void *right)
{
	const CdpGraphLink *p = *(CdpGraphLink *const *) left;
	const CdpGraphLink *q = *(CdpGraphLink *const *) right;

	return p->last_seen_at < q->last_seen_at ? 1 : p->last_seen_at > q->last_seen_at ? -1 : 0;
}

/* The same links sorted by when they were last seen, without rules and ties. */
static void
sort_links(void)
{
	CdpGraphLink **order = allocate(sizeof(CdpGraphLink *) * n_links);

	for (int i = 0; i < n_links; i++)
		order[i] = &links[i];
	qsort(order, n_links, sizeof(CdpGraphLink *), compare_times);
}

/* --- bridges of a random graph: n edges, two thirds as many nodes --------------------- */

static int64
make_graph(int n)
{
	n_edges = n;
	n_nodes = Max(2, n / 3 * 2);
	edges = allocate(sizeof(CdpPair) * n);
	for (int i = 0; i < n; i++)
	{
		edges[i].a = random_below(n_nodes);
		edges[i].b = random_below(n_nodes);
	}
	return n;
}

static void
bridges(void)
{
	cdp_find_bridges(n_nodes, edges, n_edges, allocate(n_edges));
}

/* Walk the same graph breadth first, over neighbours that stand side by side. */
static void
walk_graph(void)
{
	int *first = allocate(sizeof(int) * ((Size) n_nodes + 2));
	int *neighbours = allocate(sizeof(int) * (Size) n_edges * 2);
	int *queue = allocate(sizeof(int) * (Size) n_nodes);
	bool *is_seen = allocate(n_nodes);

	for (int i = 0; i < n_edges; i++)
	{
		first[edges[i].a + 2]++;
		first[edges[i].b + 2]++;
	}
	for (int i = 2; i <= n_nodes + 1; i++)
		first[i] += first[i - 1];
	for (int i = 0; i < n_edges; i++)
	{
		neighbours[first[edges[i].a + 1]++] = edges[i].b;
		neighbours[first[edges[i].b + 1]++] = edges[i].a;
	}
	for (int start = 0, tail = 0, head = 0; start < n_nodes; start++)
	{
		if (is_seen[start])
			continue;
		is_seen[start] = true;
		for (queue[tail++] = start; head < tail; head++)
		{
			for (int i = first[queue[head]]; i < first[queue[head] + 1]; i++)
			{
				if (is_seen[neighbours[i]])
					continue;
				is_seen[neighbours[i]] = true;
				queue[tail++] = neighbours[i];
			}
		}
	}
}

/* --- the stop-watch --------------------------------------------------------------------- */

typedef struct Unit
{
	const char *name;
	int64 (*make)(int n); /* returns the number of operations */
	void (*algorithm)(void);
	void (*floor)(void);
} Unit;

static const Unit units[] = {
	{"union_find", make_edges, union_find, touch_ends},
	{"node_table", make_values, node_table, touch_slots},
	{"resolve", make_links, replay, sort_links},
	{"bridges", make_graph, bridges, walk_graph},
};

/* Nanoseconds of one run, whose memory is given back. */
static double
run(void (*f)(void))
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "unit run", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	instr_time start, end;

	CHECK_FOR_INTERRUPTS();
	INSTR_TIME_SET_CURRENT(start);
	f();
	INSTR_TIME_SET_CURRENT(end);
	INSTR_TIME_SUBTRACT(end, start);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return INSTR_TIME_GET_DOUBLE(end) * 1e9;
}

static int
compare_doubles(const void *left, const void *right)
{
	double p = *(const double *) left;
	double q = *(const double *) right;

	return p < q ? -1 : p > q;
}

Datum
unit_bench(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int n = PG_GETARG_INT32(1);
	int rounds = PG_GETARG_INT32(2);
	double times[2][MAX_ROUNDS];
	const Unit *unit = NULL;
	TupleDesc descriptor;
	int64 operations;
	Datum results[2];
	bool nulls[2] = {false, false};

	for (int i = 0; i < (int) lengthof(units); i++)
	{
		if (strcmp(units[i].name, name) == 0)
			unit = &units[i];
	}
	if (unit == NULL || n < 100 || rounds < 1 || rounds > MAX_ROUNDS)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("no such unit, size or number of rounds")));
	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	pg_prng_seed(&seed, 1);
	operations = unit->make(n);
	for (int i = 0; i < rounds; i++)
	{
		times[0][i] = run(unit->algorithm);
		times[1][i] = run(unit->floor);
	}
	for (int side = 0; side < 2; side++)
	{
		qsort(times[side], rounds, sizeof(double), compare_doubles);
		results[side] = Float8GetDatum(times[side][rounds / 2] / operations);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor), results, nulls)));
}
