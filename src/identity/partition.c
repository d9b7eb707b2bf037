/*
 * partition.c
 *		Components loaded, resolved and written back.
 *
 * A profile id is minted for one identifier and stays with it: a cluster's id is the
 * smallest of those minted for its identifiers, the others redirect to it.  So a merge
 * keeps the oldest id, a split gives each part back the id it had, and undoing is the
 * same computation (specs/identity.md §7).
 */
#include "postgres.h"

#include "identity/component.h"
#include "identity/load.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"

CDP_UPSERT(move_identifiers, "identity", "identity_pkey", 1, "identifier_id, profile_id, is_contested", "$1, $2, $3", "int8[],int8[],bool[]");
CDP_QUERY(forget_identifiers, "SELECT cdp.forget_identifiers($1, $2, $3)", "int8[],int8[],int8[]");
CDP_APPEND(append_moves, "identity_change", "identifier_id, from_profile_id, to_profile_id, cause, changed_at",
		   "$1, $2, $3, $4, $5", "int8[],int8[],int8[],text[],timestamptz[]");
CDP_UPSERT(write_profiles, "profile", "profile_pkey", 1,
		   "profile_id, entity, identifier_id, component_id, is_disputed, is_frozen, merged_into", "$1, $2, $3, $4, $5, $6, $7",
		   "int8[],text[],int8[],int8[],bool[],bool[],int8[]");
CDP_UPSERT(judge_links, "link", "link_pkey", 2, "identifier_a, identifier_b, status, reason", "$1, $2, $3, $4", "int8[],int8[],text[],text[]");

/* A profile id and the identifier it was minted for. */
typedef struct Minted
{
	int64 profile_id;
	const char *entity;
	int node; /* -1: that identifier is gone, and nobody follows it */
	int64 identifier_id; /* as stored */
} Minted;

typedef struct Partition
{
	CdpBatch *batch;
	CdpGraph graph;
	int64 *new_profile_id; /* per node */
	Minted *minted; /* by profile id */
	int n_minted;
	int minted_capacity;
	int64 *component_id; /* per node that stands for a component */
} Partition;

/* Mark the nodes that this batch made. */
static void
mark_new(Partition *p)
{
	for (int i = 0; i < p->batch->n_identifiers; i++)
	{
		const CdpBatchIdentifier *id = &p->batch->identifiers[i];
		int node = id->is_new ? cdp_graph_node(&p->graph, id->identifier_id) : -1;

		if (node >= 0)
			p->graph.stored_nodes[node].is_new = true;
	}
}

/* Who takes over the ids minted for an identifier that is gone: the strongest that was one person with it; -1: nobody. */
static int
heir_of(const Partition *p, int64 identifier_id)
{
	const CdpGraph *graph = &p->graph;
	int64 profile_id = 0;
	int heir = -1;

	for (int i = 0; i < graph->n_gone; i++)
	{
		if (graph->gone[i].identifier_id == identifier_id)
			profile_id = graph->gone[i].profile_id;
	}
	for (int i = 0; i < graph->n_nodes && profile_id != 0; i++)
	{
		if (graph->stored_nodes[i].profile_id == profile_id && !graph->stored_nodes[i].is_new &&
			(heir < 0 || graph->nodes[i].namespace_index < graph->nodes[heir].namespace_index))
			heir = i;
	}
	return heir;
}

/* List the profile ids that were ever minted for these identifiers, by id. */
static void
list_minted_ids(Partition *p)
{
	const CdpGraph *graph = &p->graph;

	p->minted_capacity = graph->n_profiles + 1;
	p->minted = palloc_extended(sizeof(Minted) * (Size) p->minted_capacity, MCXT_ALLOC_HUGE);
	for (int i = 0; i < graph->n_profiles; i++)
	{
		const CdpStoredProfile *profile = &graph->profiles[i];
		int node = cdp_graph_node(graph, profile->identifier_id);

		p->minted[p->n_minted++] = (Minted){profile->profile_id, profile->entity, node >= 0 ? node : heir_of(p, profile->identifier_id),
											profile->identifier_id};
	}
}

/* Give each cluster its id: the oldest minted for one of its identifiers, else a new one for its strongest. */
static void
name_clusters(Partition *p)
{
	const CdpNode *nodes = p->graph.nodes;
	int n = p->graph.n_nodes;
	int64 *name = palloc0(sizeof(int64) * (Size) (n + 1)); /* per node that stands for a cluster */
	int *strongest = palloc(sizeof(int) * (Size) (n + 1));
	int64 *minted;
	int n_nameless = 0;

	for (int i = 0; i < p->n_minted; i++)
	{
		int64 *known = p->minted[i].node < 0 ? NULL : &name[nodes[p->minted[i].node].cluster];

		if (known != NULL && (*known == 0 || p->minted[i].profile_id < *known))
			*known = p->minted[i].profile_id;
	}
	memset(strongest, -1, sizeof(int) * (Size) (n + 1));
	for (int i = 0; i < n; i++)
	{
		int c = nodes[i].cluster;

		n_nameless += c == i && name[i] == 0;
		if (strongest[c] < 0 || nodes[i].namespace_index < nodes[strongest[c]].namespace_index)
			strongest[c] = i;
	}
	minted = cdp_mint("profile_id_seq", n_nameless, false);
	for (int i = 0, next = 0; i < n; i++)
	{
		if (nodes[i].cluster != i || name[i] != 0)
			continue;
		name[i] = minted[next++];
		CDP_GROW(p->minted, p->n_minted, p->minted_capacity, 8);
		p->minted[p->n_minted++] =
			(Minted){name[i], p->graph.namespaces->items[nodes[strongest[i]].namespace_index].entity, strongest[i]};
	}
	qsort(p->minted, p->n_minted, sizeof(Minted), cdp_compare_int64);
	p->new_profile_id = palloc(sizeof(int64) * (Size) (n + 1));
	for (int i = 0; i < n; i++)
		p->new_profile_id[i] = name[nodes[i].cluster];
}

/* A component is known by its smallest profile id. */
static void
name_components(Partition *p)
{
	p->component_id = palloc0(sizeof(int64) * (Size) (p->graph.n_nodes + 1));
	for (int i = 0; i < p->graph.n_nodes; i++)
	{
		int64 *id = &p->component_id[p->graph.nodes[i].component];

		if (*id == 0 || p->new_profile_id[i] < *id)
			*id = p->new_profile_id[i];
	}
}

/* Columns of the given types, to be filled. */
static void
make_columns(CdpColumn **columns, const Oid *types, int n)
{
	for (int i = 0; i < n; i++)
		columns[i] = cdp_column(types[i], 64);
}

/* Store the state of every profile id that was ever minted for an identifier of these components. */
static void
store_profiles(Partition *p)
{
	static const Oid types[] = {INT8OID, TEXTOID, INT8OID, INT8OID, BOOLOID, BOOLOID, INT8OID};
	CdpColumn *columns[lengthof(types)];

	make_columns(columns, types, lengthof(types));
	for (int i = 0; i < p->n_minted; i++)
	{
		const Minted *minted = &p->minted[i];
		const CdpNode *node = minted->node < 0 ? NULL : &p->graph.nodes[minted->node];
		const char *entity =
			node == NULL ? minted->entity : p->graph.namespaces->items[node->namespace_index].entity;

		cdp_column_add(columns[0], Int64GetDatum(minted->profile_id));
		cdp_column_add_text(columns[1], entity, strlen(entity));
		if (node == NULL)
			cdp_column_add_null(columns[2]);
		else
			cdp_column_add(columns[2], Int64GetDatum(p->graph.stored_nodes[minted->node].identifier_id));
		cdp_column_add(columns[3], Int64GetDatum(node == NULL ? minted->profile_id : p->component_id[node->component]));
		cdp_column_add(columns[4], BoolGetDatum(node != NULL && node->is_disputed));
		cdp_column_add(columns[5], BoolGetDatum(node != NULL && p->graph.is_frozen[minted->node]));
		if (node == NULL)
			cdp_column_add(columns[6], Int64GetDatum(0)); /* nobody */
		else if (minted->profile_id == p->new_profile_id[minted->node])
			cdp_column_add_null(columns[6]);
		else
			cdp_column_add(columns[6], Int64GetDatum(p->new_profile_id[minted->node]));
	}
	cdp_replace(&write_profiles, columns);
}

/* Add a move to the batch; to 0: nobody. */
static void
add_batch_move(CdpBatch *batch, int64 from, int64 to, bool is_merge)
{
	CDP_GROW_IN(batch->context, batch->moves, batch->n_moves, batch->moves_capacity, 16);
	batch->moves[batch->n_moves++] = (CdpBatchMove){from, to, is_merge};
}

/* What is to be written of identifiers: rows of cdp.identity to change, rows of history to add. */
typedef struct Moves
{
	CdpColumn *changed[3]; /* identifier, profile, is it contested */
	CdpColumn *history[5]; /* identifier, from, to, cause, when */
	int64 *live; /* profile ids that some cluster has now; NULL: not asked for yet */
	int n_live;
	HTAB *pairs; /* moves noted in the batch; NULL: there is none */
	TimestampTz now;
} Moves;

static void
begin_moves(Moves *m)
{
	static const Oid changed[] = {INT8OID, INT8OID, BOOLOID};
	static const Oid history[] = {INT8OID, INT8OID, INT8OID, TEXTOID, TIMESTAMPTZOID};

	*m = (Moves){.now = GetCurrentTimestamp()};
	make_columns(m->changed, changed, lengthof(changed));
	make_columns(m->history, history, lengthof(history));
}

/* Is a profile id one that lives on, i.e. some cluster's? */
static bool
is_live(Moves *m, const Partition *p, int64 profile_id)
{
	Size n = p->graph.n_nodes;

	if (m->live == NULL)
	{
		m->live = palloc_extended(sizeof(int64) * n, MCXT_ALLOC_HUGE);
		memcpy(m->live, p->new_profile_id, sizeof(int64) * n);
		m->n_live = cdp_sort_distinct(m->live, n);
	}
	return bsearch(&profile_id, m->live, m->n_live, sizeof(int64), cdp_compare_int64) != NULL;
}

/* Note in the batch that profiles became one, or one became several; each pair once. */
static void
note_batch_move(CdpBatch *batch, Moves *m, int64 from, int64 to, bool is_merge)
{
	HASHCTL control = {.keysize = sizeof(int64) * 2, .entrysize = sizeof(int64) * 2, .hcxt = CurrentMemoryContext};
	int64 key[2] = {from, to};
	bool found;

	if (m->pairs == NULL)
		m->pairs = hash_create("cdp identity moves", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	hash_search(m->pairs, key, HASH_ENTER, &found);
	if (found)
		return;
	add_batch_move(batch, from, to, is_merge);
	if (is_merge)
		batch->merges++;
	else
		batch->splits++;
}

/* Add a row of history; profile 0: none. */
static void
add_history(Moves *m, int64 identifier_id, int64 from, int64 to, const char *cause)
{
	cdp_column_add(m->history[0], Int64GetDatum(identifier_id));
	if (from == 0)
		cdp_column_add_null(m->history[1]);
	else
		cdp_column_add(m->history[1], Int64GetDatum(from));
	if (to == 0)
		cdp_column_add_null(m->history[2]);
	else
		cdp_column_add(m->history[2], Int64GetDatum(to));
	cdp_column_add_text(m->history[3], cause, strlen(cause));
	cdp_column_add(m->history[4], TimestampTzGetDatum(m->now));
}

/* An identifier came, or went to another profile: history, and what the batch has to tell of it. */
static void
note_move(Partition *p, Moves *m, int node)
{
	int64 from = p->graph.stored_nodes[node].profile_id;
	int64 to = p->new_profile_id[node];
	const char *cause = "seen";

	cdp_batch_touch(p->batch, to);
	if (!p->graph.stored_nodes[node].is_new)
	{
		bool is_merge = !is_live(m, p, from);

		cause = p->batch->cause != NULL ? p->batch->cause : is_merge ? "merge" : "split";
		note_batch_move(p->batch, m, from, to, is_merge);
		cdp_batch_touch(p->batch, from);
	}
	add_history(m, p->graph.stored_nodes[node].identifier_id, p->graph.stored_nodes[node].is_new ? 0 : from, to, cause);
}

/* Forget the identifiers that are gone. */
static void
forget(Partition *p, Moves *m)
{
	static const Oid types[] = {INT8OID, INT8OID, INT8OID};
	CdpColumn *columns[lengthof(types)]; /* who is gone; profile ids and whose they were */
	Datum arguments[lengthof(types)];

	if (p->graph.n_gone == 0)
		return;
	make_columns(columns, types, lengthof(types));
	for (int i = 0; i < p->graph.n_gone; i++)
	{
		const CdpStoredNode *gone = &p->graph.gone[i];

		cdp_column_add(columns[0], Int64GetDatum(gone->identifier_id));
		add_history(m, gone->identifier_id, gone->profile_id, 0, p->batch->cause != NULL ? p->batch->cause : "ruling");
		cdp_batch_refold(p->batch, gone->profile_id);
		CDP_GROW_IN(p->batch->context, p->batch->bereft, p->batch->n_bereft, p->batch->bereft_capacity, 16);
		p->batch->bereft[p->batch->n_bereft++] = gone->profile_id;
	}
	for (int i = 0; i < p->n_minted; i++)
	{
		cdp_column_add(columns[1], Int64GetDatum(p->minted[i].profile_id));
		cdp_column_add(columns[2], Int64GetDatum(p->minted[i].identifier_id));
		if (p->minted[i].node < 0)
			add_batch_move(p->batch, p->minted[i].profile_id, 0, false);
	}
	for (int i = 0; i < (int) lengthof(types); i++)
		arguments[i] = cdp_column_array(columns[i]);
	cdp_run(&forget_identifiers, arguments, NULL);
	cdp_done();
}

/* Store what changed of identifiers, and write history. */
static void
store_identifiers(Partition *p)
{
	Moves m;

	begin_moves(&m);
	for (int i = 0; i < p->graph.n_nodes; i++)
	{
		const CdpStoredNode *stored = &p->graph.stored_nodes[i];
		bool is_contested = p->graph.nodes[i].is_contested;
		bool is_moved = stored->profile_id != p->new_profile_id[i];

		if (is_moved || is_contested != stored->is_contested)
		{
			cdp_column_add(m.changed[0], Int64GetDatum(stored->identifier_id));
			cdp_column_add(m.changed[1], Int64GetDatum(p->new_profile_id[i]));
			cdp_column_add(m.changed[2], BoolGetDatum(is_contested));
		}
		if (is_contested != stored->is_contested)
		{
			CDP_GROW_IN(p->batch->context, p->batch->recontested, p->batch->n_recontested, p->batch->recontested_capacity, 16);
			p->batch->recontested[p->batch->n_recontested++] = stored->identifier_id;
		}
		if (is_moved || stored->is_new)
			note_move(p, &m, i);
	}
	forget(p, &m);
	cdp_replace(&move_identifiers, m.changed);
	cdp_append(&append_moves, m.history);
}

static bool
is_same(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* Store the judgements that differ. */
static void
store_judgements(Partition *p)
{
	static const Oid types[] = {INT8OID, INT8OID, TEXTOID, TEXTOID};
	CdpColumn *columns[lengthof(types)];

	make_columns(columns, types, lengthof(types));
	for (int i = 0; i < p->graph.n_links; i++)
	{
		const CdpGraphLink *link = &p->graph.links[i];
		const CdpStoredLink *stored = &p->graph.stored_links[i];
		const char *status = cdp_link_status_names[link->status];

		if (is_same(stored->status, status) && is_same(stored->reason, link->reason))
			continue;
		cdp_column_add(columns[0], Int64GetDatum(p->graph.stored_nodes[link->a].identifier_id));
		cdp_column_add(columns[1], Int64GetDatum(p->graph.stored_nodes[link->b].identifier_id));
		cdp_column_add_text(columns[2], status, strlen(status));
		cdp_column_add_text(columns[3], link->reason, link->reason == NULL ? 0 : strlen(link->reason));
	}
	cdp_replace(&judge_links, columns);
}

/* Tell the batch's identifiers their profiles, and which devices are contested. */
static void
inform_batch(Partition *p)
{
	for (int i = 0; i < p->batch->n_identifiers; i++)
	{
		CdpBatchIdentifier *id = &p->batch->identifiers[i];
		int node = cdp_graph_node(&p->graph, id->identifier_id);

		if (node < 0)
			continue;
		id->profile_id = p->new_profile_id[node];
		id->is_contested = p->graph.nodes[node].is_contested;
	}
}

/* Say when a component has become too large, for nobody is merged there any more. */
static void
report_frozen(const Partition *p)
{
	if (p->graph.n_frozen > 0)
		ereport(WARNING, (errmsg("a component of %d identifiers has more links than cdp.identity_max_component and keeps its people as they are",
								 p->graph.n_frozen),
						  errhint("See the view cdp.frozen_components; a value that many people share should be blocked, or else the "
								  "setting raised, followed by cdp.resolve_frozen().")));
}

void
cdp_component_resolve(CdpBatch *batch, const int64 *components, int n)
{
	Partition p = {.batch = batch};

	cdp_graph_load(&p.graph, batch->namespaces, components, n);
	mark_new(&p);
	cdp_graph_resolve(&p.graph);
	report_frozen(&p);
	list_minted_ids(&p);
	name_clusters(&p);
	name_components(&p);
	store_profiles(&p);
	store_identifiers(&p);
	store_judgements(&p);
	inform_batch(&p);
}

void
cdp_component_found(CdpBatch *batch)
{
	Moves m = {{NULL}};

	for (int i = 0; i < batch->n_identifiers; i++)
	{
		const CdpBatchIdentifier *id = &batch->identifiers[i];

		if (!id->is_alone)
			continue;
		if (m.now == 0)
			begin_moves(&m);
		add_history(&m, id->identifier_id, 0, id->profile_id, "seen");
	}
	if (m.now != 0)
		cdp_append(&append_moves, m.history);
}
