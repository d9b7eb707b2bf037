/*
 * component.c
 *		The batch's links written, the components they touch resolved, the difference stored.
 *
 * A component is loaded only when something about it can change: a new identifier in it, a
 * new link, several components meeting, or evidence for a link that is redundant, or
 * for any link of a component in which their order matters (resolve.h).
 * All else leaves the partition as it is (specs/identity.md §5).
 */
#include "postgres.h"

#include "identity/identity.h"
#include "identity/component.h"
#include "identity/lock.h"
#include "identity/union_find.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"

CDP_UPSERT(write_links, "link", "link_pkey", 2,
		   "identifier_a, identifier_b, first_seen_at, last_seen_at, event_count, status", "$1, $2, $3, $4, $5, $6",
		   "int8[],int8[],timestamptz[],timestamptz[],int8[],text[]");
CDP_QUERY(rederive, "SELECT cdp.rederive_links($1)", "int8[]");
CDP_QUERY(write_frozen, "SELECT ord, profile_id FROM cdp.join_frozen($1, $2, $3, $4, $5)", "int8[],bool[],int8[],int8[],int8[]");

static int
compare_pairs(const void *a, const void *b)
{
	const CdpBatchLink *x = a;
	const CdpBatchLink *y = b;

	if (x->a != y->a)
		return x->a < y->a ? -1 : 1;
	return x->b < y->b ? -1 : x->b > y->b;
}

/*
 * Each message's identifiers make a star from the strongest of their entity; the strongest person is related to the
 * strongest account.  So a message links each of its identifiers but the strongest to one stronger, once.
 */
static void
see_links(CdpBatch *batch)
{
	batch->links = palloc_extended(sizeof(CdpBatchLink) * ((Size) batch->n_mentions + 1), MCXT_ALLOC_HUGE);
	for (int i = 0; i < batch->n_messages; i++)
	{
		const CdpMessage *m = &batch->messages[i];
		const CdpMention *mentions = &batch->mentions[m->first_mention];
		int strongest = 0;

		for (int j = 1; j < m->n_mentions; j++)
		{
			const char *entity = batch->namespaces->items[mentions[j].namespace_index].entity;
			bool is_related = strcmp(entity, batch->namespaces->items[mentions[strongest].namespace_index].entity) != 0;

			batch->links[batch->n_links++] = (CdpBatchLink){.a = mentions[is_related ? 0 : strongest].identifier,
															.b = mentions[j].identifier,
															.first_seen_at = m->occurred_at,
															.last_seen_at = m->occurred_at,
															.event_count = 1,
															.is_related = is_related};
			if (is_related)
				strongest = j;
		}
	}
}

/* Collect the distinct pairs that messages link. */
static void
collect_links(CdpBatch *batch)
{
	CdpBatchLink *last = NULL;
	int n;

	see_links(batch);
	n = batch->n_links;
	qsort(batch->links, n, sizeof(CdpBatchLink), compare_pairs);
	batch->n_links = 0;
	for (int i = 0; i < n; i++)
	{
		CdpBatchLink *link = &batch->links[i];

		if (last == NULL || compare_pairs(last, link) != 0)
		{
			last = &batch->links[batch->n_links++];
			*last = *link;
			continue;
		}
		last->first_seen_at = Min(last->first_seen_at, link->first_seen_at);
		last->last_seen_at = Max(last->last_seen_at, link->last_seen_at);
		last->event_count++;
	}
}

/*
 * Find the new identifiers that no link of the batch touches.  Each is a person, or account, of its own, as it was made,
 * and nobody else sees it yet: there is nothing to lock and nothing to resolve.
 */
static void
find_alone(CdpBatch *batch)
{
	for (int i = 0; i < batch->n_identifiers; i++)
	{
		const CdpNamespace *ns = &batch->namespaces->items[batch->identifiers[i].namespace_index];

		/* of a device that never connects people it is resolved that the order of its links matters */
		batch->identifiers[i].is_alone =
			batch->identifiers[i].is_new && !(ns->kind == CDP_KIND_DEVICE && ns->bridge == CDP_BRIDGE_NEVER);
	}
	for (int i = 0; i < batch->n_links; i++)
		batch->identifiers[batch->links[i].a].is_alone = batch->identifiers[batch->links[i].b].is_alone = false;
}

/* The batch's links, by the ids of their ends. */
typedef struct Links
{
	CdpBatch *batch;
	int *sorted;
} Links;

static int
compare_links(const void *a, const void *b, void *arg)
{
	const CdpBatch *batch = arg;
	const CdpBatchLink *x = &batch->links[*(const int *) a];
	const CdpBatchLink *y = &batch->links[*(const int *) b];
	int c = cdp_compare_batch_ids(&x->a, &y->a, arg);

	return c != 0 ? c : cdp_compare_batch_ids(&x->b, &y->b, arg);
}

static bool
merge_link(void *arg, int i, Datum *values, bool *nulls)
{
	Links *links = arg;
	CdpBatchLink *link = &links->batch->links[links->sorted[i]];
	text *status = DatumGetTextPP(values[5]);

	link->is_new = false;
	link->is_redundant = VARSIZE_ANY_EXHDR(status) == strlen("redundant") &&
						 memcmp(VARDATA_ANY(status), "redundant", strlen("redundant")) == 0;
	cdp_see(values + 2, nulls + 2, link->first_seen_at, link->last_seen_at, link->event_count);
	return true;
}

/* Store the batch's links; tells which are new, and which are redundant. */
static void
store_links(CdpBatch *batch)
{
	static const Oid types[] = {INT8OID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, TEXTOID};
	Links links = {batch, palloc(sizeof(int) * ((Size) batch->n_links + 1))};
	bool *is_new = palloc(sizeof(bool) * ((Size) batch->n_links + 1));
	CdpColumn *columns[lengthof(types)];

	for (int i = 0; i < (int) lengthof(types); i++)
		columns[i] = cdp_column(types[i], batch->n_links);
	for (int i = 0; i < batch->n_links; i++)
		links.sorted[i] = i;
	qsort_arg(links.sorted, batch->n_links, sizeof(int), compare_links, batch);
	for (int i = 0; i < batch->n_links; i++)
	{
		CdpBatchLink *link = &batch->links[links.sorted[i]];
		const char *status = link->is_related ? "related" : "accepted"; /* unless it is judged otherwise */

		link->is_new = true;
		is_new[i] = batch->identifiers[link->a].is_new || batch->identifiers[link->b].is_new;
		cdp_column_add(columns[0], Int64GetDatum(batch->identifiers[link->a].identifier_id));
		cdp_column_add(columns[1], Int64GetDatum(batch->identifiers[link->b].identifier_id));
		cdp_column_add(columns[2], TimestampTzGetDatum(link->first_seen_at));
		cdp_column_add(columns[3], TimestampTzGetDatum(link->last_seen_at));
		cdp_column_add(columns[4], Int64GetDatum(link->event_count));
		cdp_column_add_text(columns[5], status, strlen(status));
	}
	cdp_upsert(&write_links, columns, merge_link, &links, is_new);
}

static int
compare_components(const void *a, const void *b, void *arg)
{
	const CdpPosition *places = arg;

	return cdp_compare_int64(&places[*(const int *) a].component_id, &places[*(const int *) b].component_id);
}

/* The identifiers of the batch by the components they are in. */
static int *
sort_by_component(const CdpPosition *places, int n)
{
	int *sorted = palloc(sizeof(int) * (Size) n);

	for (int i = 0; i < n; i++)
		sorted[i] = i;
	qsort_arg(sorted, n, sizeof(int), compare_components, unconstify(CdpPosition *, places));
	return sorted;
}

/*
 * The components that must be resolved again; returns how many ids were put into 'components'.  What meets a frozen
 * component is not: with a cause, when rules or rulings changed, it is looked whether it is too large still.
 */
static int
choose_components(CdpBatch *batch, const CdpPosition *places, int64 *components)
{
	int64 *frozen = palloc0(sizeof(int64) * batch->n_identifiers); /* of a root: the frozen component there */
	int n = batch->n_identifiers;
	CdpUnionFind sets;
	bool *is_open = palloc0(sizeof(bool) * n); /* of a root */
	int *sorted = sort_by_component(places, n);
	int n_components = 0;

	cdp_union_find_fill(&sets, n);
	/* identifiers of one component, and those the batch links, are decided together */
	for (int i = 1; i < n; i++)
	{
		if (places[sorted[i]].component_id == places[sorted[i - 1]].component_id)
			cdp_union_find_join(&sets, sorted[i], sorted[i - 1]);
	}
	for (int i = 0; i < batch->n_links; i++)
	{
		if (!batch->links[i].is_related)
			cdp_union_find_join(&sets, batch->links[i].a, batch->links[i].b);
	}
	for (int i = 0; i < batch->n_links; i++)
	{
		const CdpBatchLink *link = &batch->links[i];

		if (link->is_related)
			continue;
		if (link->is_new || link->is_redundant || places[link->a].is_disputed ||
			places[link->a].component_id != places[link->b].component_id)
			is_open[cdp_union_find_root(&sets, link->a)] = true;
	}
	for (int i = 0; i < n; i++)
	{
		if (batch->cause != NULL || (batch->identifiers[i].is_new && !batch->identifiers[i].is_alone))
			is_open[cdp_union_find_root(&sets, i)] = true;
	}
	for (int i = 0; i < n; i++)
	{
		int64 *known = &frozen[cdp_union_find_root(&sets, i)];

		if (places[i].is_frozen && batch->cause == NULL && (*known == 0 || places[i].component_id < *known))
			*known = places[i].component_id;
	}
	for (int i = 0; i < n; i++)
	{
		uint32 root = cdp_union_find_root(&sets, i);

		if (is_open[root] && frozen[root] == 0)
			components[n_components++] = places[i].component_id;
		else if (is_open[root])
			batch->identifiers[i].frozen_component_id = frozen[root];
	}
	return cdp_sort_distinct(components, n_components);
}

/* Add what meets a frozen component to it, and resolve nothing: what is new is a person of its own for now. */
static void
join_frozen(CdpBatch *batch)
{
	CdpColumn *ids = cdp_column(INT8OID, 64);
	CdpColumn *new = cdp_column(BOOLOID, 64);
	CdpColumn *components = cdp_column(INT8OID, 64);
	CdpColumn *a = cdp_column(INT8OID, 64);
	CdpColumn *b = cdp_column(INT8OID, 64);
	CdpBatchIdentifier *identifiers = batch->identifiers;
	int *joined = palloc(sizeof(int) * batch->n_identifiers);
	Datum arguments[5];
	uint64 n;

	for (int i = 0; i < batch->n_identifiers; i++)
	{
		if (identifiers[i].frozen_component_id == 0)
			continue;
		joined[ids->n] = i;
		cdp_column_add(ids, Int64GetDatum(identifiers[i].identifier_id));
		cdp_column_add(new, BoolGetDatum(identifiers[i].is_new));
		cdp_column_add(components, Int64GetDatum(identifiers[i].frozen_component_id));
	}
	if (ids->n == 0)
		return;
	for (int i = 0; i < batch->n_links; i++)
	{
		const CdpBatchLink *link = &batch->links[i];

		if (!link->is_new || link->is_related || identifiers[link->a].frozen_component_id == 0)
			continue;
		cdp_column_add(a, Int64GetDatum(identifiers[link->a].identifier_id));
		cdp_column_add(b, Int64GetDatum(identifiers[link->b].identifier_id));
	}
	arguments[0] = cdp_column_array(ids);
	arguments[1] = cdp_column_array(new);
	arguments[2] = cdp_column_array(components);
	arguments[3] = cdp_column_array(a);
	arguments[4] = cdp_column_array(b);
	n = cdp_run(&write_frozen, arguments, NULL);
	for (uint64 row = 0; row < n; row++)
	{
		CdpBatchIdentifier *id = &identifiers[joined[cdp_result_int64(row, 1, 0) - 1]];

		id->profile_id = cdp_result_int64(row, 2, 0);
		cdp_batch_touch(batch, id->profile_id);
	}
	cdp_done();
}

void
cdp_identity_resolve(CdpBatch *batch)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);

	if (batch->n_identifiers > 0)
	{
		int64 *components = palloc(sizeof(int64) * batch->n_identifiers);
		CdpPosition *places;
		int n;

		collect_links(batch);
		find_alone(batch);
		places = cdp_lock_components_of(batch);
		store_links(batch);
		if (batch->n_rederived > 0)
		{
			Datum ids = cdp_int64_array(batch->rederived, batch->n_rederived);

			cdp_run(&rederive, &ids, NULL);
			cdp_done();
		}
		for (int i = 0; i < batch->n_identifiers; i++)
		{
			batch->identifiers[i].profile_id = places[i].profile_id;
			batch->identifiers[i].is_contested = places[i].is_contested;
			cdp_batch_touch(batch, places[i].profile_id);
		}
		n = choose_components(batch, places, components);
		if (n > 0)
			cdp_component_resolve(batch, components, n);
		cdp_component_found(batch);
		join_frozen(batch);
	}
	MemoryContextSwitchTo(old);
}
