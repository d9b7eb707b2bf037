/*
 * resolve.c
 *		Links accepted greedily in one total order, under limits, denials and shared devices.
 *
 * Clusters are a union-find over the nodes; the root carries how many values of each
 * limited namespace its cluster has, and whether one of them is a person's or a contact.
 */
#include "postgres.h"

#include "identity/resolve.h"
#include "identity/union_find.h"
#include "miscadmin.h"

const char *const cdp_link_status_names[] = {"accepted", "redundant", "rejected"};

typedef struct Graph
{
	const CdpNamespaces *namespaces;
	CdpNode *nodes;
	int n_nodes;
	CdpGraphLink *links;
	int n_links;
	CdpRuling *pins; /* sorted */
	int n_pins;
	CdpRuling *denials;
	int n_denials;

	CdpUnionFind clusters;
	bool *has_person; /* of a root: its cluster has more than devices */
	int *limited;	  /* namespaces with a limit, by name */
	int n_limited;
	int *limited_slot; /* of a namespace: its place in limited, or -1 */
	int *counts;	   /* of a root: n_limited counters */
	char *last_reason;
} Graph;

static inline const CdpNamespace *
namespace_of(const Graph *g, int node)
{
	return &g->namespaces->items[g->nodes[node].namespace_index];
}

static inline bool
is_device(const Graph *g, int node)
{
	return namespace_of(g, node)->kind == CDP_KIND_DEVICE;
}

/* List the namespaces that have a limit, in the order in which they are checked: by name. */
static void
list_limited(Graph *g)
{
	int n = g->namespaces->n;

	g->limited = palloc(sizeof(int) * (n + 1));
	g->limited_slot = palloc(sizeof(int) * (n + 1));
	g->n_limited = 0;
	for (int i = 0; i < n; i++)
	{
		int at = g->n_limited;

		g->limited_slot[i] = -1;
		if (g->namespaces->items[i].max_per_profile == 0)
			continue;
		while (at > 0 && strcmp(g->namespaces->items[i].name, g->namespaces->items[g->limited[at - 1]].name) < 0)
		{
			g->limited[at] = g->limited[at - 1];
			at--;
		}
		g->limited[at] = i;
		g->n_limited++;
	}
	for (int i = 0; i < g->n_limited; i++)
		g->limited_slot[g->limited[i]] = i;
}

static void
make_clusters(Graph *g)
{
	cdp_union_find_fill(&g->clusters, g->n_nodes);
	g->has_person = palloc(sizeof(bool) * (Size) Max(1, g->n_nodes));
	g->counts = palloc_extended(sizeof(int) * ((Size) g->n_nodes * g->n_limited + 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int i = 0; i < g->n_nodes; i++)
	{
		int slot = g->limited_slot[g->nodes[i].namespace_index];

		g->has_person[i] = !is_device(g, i);
		if (slot >= 0)
			g->counts[(Size) i * g->n_limited + slot] = 1;
	}
}

/* Join two clusters; the root of the smaller number, which stays one, gets the counters of both. */
static void
join(Graph *g, int a, int b)
{
	int root = Min(a, b);
	int other = Max(a, b);

	cdp_union_find_join(&g->clusters, a, b);
	g->has_person[root] |= g->has_person[other];
	for (int i = 0; i < g->n_limited; i++)
		g->counts[(Size) root * g->n_limited + i] += g->counts[(Size) other * g->n_limited + i];
}

static int
compare_rulings(const void *left, const void *right)
{
	const CdpRuling *p = left;
	const CdpRuling *q = right;

	if (p->a != q->a)
		return p->a < q->a ? -1 : 1;
	return p->b < q->b ? -1 : p->b > q->b;
}

/* Tell pins from denials, and mark the links that are pinned. */
static void
sort_rulings(Graph *g, const CdpRuling *rulings, int n)
{
	g->pins = palloc(sizeof(CdpRuling) * ((Size) n + 1));
	g->denials = palloc(sizeof(CdpRuling) * ((Size) n + 1));
	for (int i = 0; i < n; i++)
	{
		if (rulings[i].is_pin)
			g->pins[g->n_pins++] = rulings[i];
		else
			g->denials[g->n_denials++] = rulings[i];
	}
	qsort(g->pins, g->n_pins, sizeof(CdpRuling), compare_rulings);
	for (int i = 0; i < g->n_links; i++)
	{
		CdpRuling wanted = {g->links[i].a, g->links[i].b, true};

		g->links[i].is_pinned =
			g->n_pins > 0 && bsearch(&wanted, g->pins, g->n_pins, sizeof(CdpRuling), compare_rulings) != NULL;
	}
}

/* A device seen with two values of one stronger namespace is contested. */
static void
find_contested(Graph *g)
{
	/* for each device and namespace the first value seen with it: a second, other one contests it */
	int width = g->namespaces->n;
	int *first = palloc_extended(sizeof(int) * ((Size) g->n_nodes * width + 1), MCXT_ALLOC_HUGE);

	memset(first, -1, sizeof(int) * (Size) g->n_nodes * width);
	for (int i = 0; i < g->n_nodes; i++)
		g->nodes[i].is_contested = false;
	for (int i = 0; i < g->n_links; i++)
	{
		for (int side = 0; side < 2; side++)
		{
			int device = side == 0 ? g->links[i].a : g->links[i].b;
			int other = side == 0 ? g->links[i].b : g->links[i].a;
			int *seen = &first[(Size) device * width + g->nodes[other].namespace_index];

			if (!is_device(g, device) || is_device(g, other))
				continue;
			if (*seen < 0)
				*seen = other;
			else if (*seen != other)
				g->nodes[device].is_contested = true;
		}
	}
	pfree(first);
}

/* May a node join one person's cluster only, and never connect two? */
static inline bool
is_leaf(const Graph *g, int node)
{
	const CdpNamespace *ns = namespace_of(g, node);

	return ns->kind == CDP_KIND_DEVICE &&
		   (ns->bridge == CDP_BRIDGE_NEVER || (ns->bridge == CDP_BRIDGE_UNIQUE && g->nodes[node].is_contested));
}

static int
compare_nodes(const Graph *g, int a, int b)
{
	const CdpNode *p = &g->nodes[a];
	const CdpNode *q = &g->nodes[b];
	int c = strcmp(namespace_of(g, a)->name, namespace_of(g, b)->name);

	if (c == 0)
		c = memcmp(p->value, q->value, Min(p->value_length, q->value_length));
	return c != 0 ? c : p->value_length - q->value_length;
}

#define ORDER(a, b)                                                                                                    \
	if ((a) != (b))                                                                                                    \
	return (a) < (b) ? -1 : 1

static inline int
strong_priority(const Graph *g, const CdpGraphLink *link)
{
	return Min(namespace_of(g, link->a)->priority, namespace_of(g, link->b)->priority);
}

/* A link's place in the total order of specs/identity.md §3, as far as it is told without looking further. */
typedef struct Place
{
	int tier; /* the weaker end's priority, which is positive; those of pinned links come before all */
	int link;
	TimestampTz last_seen_at;
} Place;

static int
compare_places(const void *left, const void *right, void *arg)
{
	const Graph *g = arg;
	const Place *x = left;
	const Place *y = right;
	const CdpGraphLink *p = &g->links[x->link];
	const CdpGraphLink *q = &g->links[y->link];
	int c;

	CHECK_FOR_INTERRUPTS(); /* many links take long to sort */
	ORDER(x->tier, y->tier);
	ORDER(y->last_seen_at, x->last_seen_at);
	ORDER(strong_priority(g, p), strong_priority(g, q));
	ORDER(q->event_count, p->event_count);
	ORDER(p->first_seen_at, q->first_seen_at);
	c = compare_nodes(g, p->a, q->a);
	return c != 0 ? c : compare_nodes(g, p->b, q->b);
}

/* The links in the order in which they are judged. */
static Place *
sort_links(const Graph *g)
{
	Place *order = palloc_extended(sizeof(Place) * ((Size) g->n_links + 1), MCXT_ALLOC_HUGE);

	for (int i = 0; i < g->n_links; i++)
	{
		const CdpGraphLink *link = &g->links[i];

		order[i].tier = Max(namespace_of(g, link->a)->priority, namespace_of(g, link->b)->priority) +
						(link->is_pinned ? PG_INT32_MIN : 0);
		order[i].link = i;
		order[i].last_seen_at = link->last_seen_at;
	}
	qsort_arg(order, g->n_links, sizeof(Place), compare_places, unconstify(Graph *, g));
	return order;
}

/* Links rejected one after the other for the same reason share its text. */
static char *
shared(Graph *g, const char *reason)
{
	if (g->last_reason == NULL || strcmp(g->last_reason, reason) != 0)
		g->last_reason = pstrdup(reason);
	return g->last_reason;
}

/* Why may two clusters not be joined by a link? NULL: they may. */
static char *
objection(Graph *g, const CdpGraphLink *link, int a, int b)
{
	for (int i = 0; i < g->n_limited; i++)
	{
		const CdpNamespace *ns = &g->namespaces->items[g->limited[i]];
		int count = g->counts[(Size) a * g->n_limited + i] + g->counts[(Size) b * g->n_limited + i];

		if (count > ns->max_per_profile)
		{
			char reason[CDP_MAX_NAMESPACE_BYTES + 32];

			snprintf(reason, sizeof(reason), "limit %s %d>%d", ns->name, count, ns->max_per_profile);
			return shared(g, reason);
		}
	}
	for (int i = 0; i < g->n_denials; i++)
	{
		int u = cdp_union_find_root(&g->clusters, g->denials[i].a);
		int v = cdp_union_find_root(&g->clusters, g->denials[i].b);

		if ((u == a && v == b) || (u == b && v == a))
			return shared(g, "denied");
	}
	if (!link->is_pinned && (is_leaf(g, link->a) || is_leaf(g, link->b)) && g->has_person[a] && g->has_person[b])
		return shared(g, "shared device");
	return NULL;
}

/* Mark the components in which the order of links can matter for who is who. */
static void
find_disputed(Graph *g)
{
	CdpUnionFind components;
	bool *is_disputed = palloc0(sizeof(bool) * (Size) Max(1, g->n_nodes));

	cdp_union_find_fill(&components, g->n_nodes);
	for (int i = 0; i < g->n_links; i++)
		cdp_union_find_join(&components, g->links[i].a, g->links[i].b);
	for (int i = 0; i < g->n_links; i++)
	{
		if (g->links[i].status == CDP_LINK_REJECTED)
			is_disputed[cdp_union_find_root(&components, g->links[i].a)] = true;
	}
	for (int i = 0; i < g->n_denials; i++)
	{
		uint32 root = cdp_union_find_root(&components, g->denials[i].a);

		/* between two components it matters only once something connects them */
		if (root == cdp_union_find_root(&components, g->denials[i].b))
			is_disputed[root] = true;
	}
	for (int i = 0; i < g->n_nodes; i++)
	{
		if (is_leaf(g, i))
			is_disputed[cdp_union_find_root(&components, i)] = true;
	}
	for (int i = 0; i < g->n_nodes; i++)
	{
		g->nodes[i].component = cdp_union_find_root(&components, i);
		g->nodes[i].is_disputed = is_disputed[g->nodes[i].component];
	}
	pfree(is_disputed);
}

void
cdp_resolve(const CdpNamespaces *namespaces, CdpNode *nodes, int n_nodes, CdpGraphLink *links, int n_links,
			const CdpRuling *rulings, int n_rulings)
{
	Graph g = {namespaces, nodes, n_nodes, links, n_links};
	Place *order;

	sort_rulings(&g, rulings, n_rulings);
	list_limited(&g);
	make_clusters(&g);
	find_contested(&g);
	order = sort_links(&g);
	for (int i = 0; i < n_links; i++)
	{
		CdpGraphLink *link = &links[order[i].link];
		int a = cdp_union_find_root(&g.clusters, link->a);
		int b = cdp_union_find_root(&g.clusters, link->b);

		if ((i & 0xFFF) == 0)
			CHECK_FOR_INTERRUPTS();
		link->reason = NULL;
		if (a == b)
			link->status = CDP_LINK_REDUNDANT;
		else if ((link->reason = objection(&g, link, a, b)) != NULL)
			link->status = CDP_LINK_REJECTED;
		else
		{
			link->status = CDP_LINK_ACCEPTED;
			join(&g, a, b);
		}
	}
	for (int i = 0; i < n_nodes; i++)
		nodes[i].cluster = cdp_union_find_root(&g.clusters, i);
	find_disputed(&g);
}

Size
cdp_resolve_size(const CdpNamespaces *namespaces, Size n_nodes, Size n_links)
{
	/* a place in find_contested() and a counter for each namespace, two union-finds, two flags; the order of links */
	return n_nodes * (2 * sizeof(int) * namespaces->n + 2 * sizeof(uint32) + 2 * sizeof(bool)) + n_links * sizeof(Place);
}
