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
#include "catalog/pg_type.h"
#include "utils/hsearch.h"

CDP_QUERY(load_nodes,
		  "SELECT i.identifier_id, i.namespace, i.value, i.profile_id, i.minted_profile_id FROM cdp.profile p "
		  "JOIN cdp.identity i ON i.profile_id = p.profile_id WHERE p.component_id = ANY($1) ORDER BY i.identifier_id",
		  "int8[]");
CDP_QUERY(load_links,
		  "SELECT identifier_a, identifier_b, first_seen_at, last_seen_at, event_count, status, reason FROM cdp.link "
		  "WHERE identifier_a = ANY($1)",
		  "int8[]");
CDP_QUERY(count_rulings, "SELECT 1::int8 FROM cdp.ruling WHERE undone_at IS NULL LIMIT 1", "");
CDP_QUERY(load_rulings,
		  "SELECT r.kind = 'pin', i.identifier_id, j.identifier_id FROM unnest($1) AS k (id) "
		  "JOIN cdp.identity i ON i.identifier_id = k.id "
		  "JOIN cdp.ruling r ON r.a = cdp.identifier(i.namespace, i.value) AND r.undone_at IS NULL "
		  "JOIN cdp.identity j ON j.namespace = cdp.namespace(r.b) AND j.value = cdp.value(r.b)",
		  "int8[]");
CDP_QUERY(move_identifiers,
		  "UPDATE cdp.identity i SET profile_id = k.p, minted_profile_id = k.m FROM unnest($1, $2, $3) AS k (id, p, m) "
		  "WHERE i.identifier_id = k.id",
		  "int8[],int8[],int8[]");
CDP_QUERY(note_moves,
		  "INSERT INTO cdp.identity_change (identifier_id, from_profile_id, to_profile_id, cause, changed_at) "
		  "SELECT *, clock_timestamp() FROM unnest($1, $2, $3, $4)",
		  "int8[],int8[],int8[],text[]");
CDP_QUERY(write_profiles,
		  "INSERT INTO cdp.profile AS p (profile_id, entity, component_id, is_disputed, merged_into) "
		  "SELECT id, e, c, d, m FROM unnest($1, $2, $3, $4, $5) AS k (id, e, c, d, m) ORDER BY id "
		  "ON CONFLICT (profile_id) DO UPDATE SET component_id = excluded.component_id, "
		  "is_disputed = excluded.is_disputed, merged_into = excluded.merged_into "
		  "WHERE (p.component_id, p.is_disputed, p.merged_into) IS DISTINCT FROM "
		  "(excluded.component_id, excluded.is_disputed, excluded.merged_into)",
		  "int8[],text[],int8[],bool[],int8[]");
CDP_QUERY(judge_links,
		  "UPDATE cdp.link l SET status = k.s, reason = k.r FROM unnest($1, $2, $3, $4) AS k (a, b, s, r) "
		  "WHERE l.identifier_a = k.a AND l.identifier_b = k.b",
		  "int8[],int8[],text[],text[]");

typedef struct Row
{
	int64 identifier_id;
	int64 profile_id; /* as stored */
	int64 stored_minted_profile_id;
	int64 minted_profile_id;
	int64 new_profile_id;
	bool is_new;
} Row;

typedef struct Partition
{
	CdpBatch *batch;
	const CdpNamespaces *namespaces;
	CdpNode *nodes;
	Row *rows;
	int n_nodes;
	CdpGraphLink *links;
	char **old_status;
	char **old_reason;
	int n_links;
	CdpRuling *rulings;
	int n_rulings;
	HTAB *by_id; /* identifier_id -> node */
	int64 *cluster_profile; /* per node that stands for a cluster */
	int64 *component_id;	/* per node that stands for a component */
} Partition;

static int
node_of(const Partition *p, int64 identifier_id)
{
	int64 *entry = hash_search(p->by_id, &identifier_id, HASH_FIND, NULL);

	return entry == NULL ? -1 : (int) entry[1];
}

static void
load_node_rows(Partition *p, const int64 *components, int n)
{
	HASHCTL control = {.keysize = sizeof(int64), .entrysize = sizeof(int64) * 2, .hcxt = CurrentMemoryContext};
	Datum arguments[1] = {cdp_int64_array(components, n)};
	uint64 rows = cdp_run(&load_nodes, arguments, NULL);

	p->nodes = palloc_extended(sizeof(CdpNode) * (rows + 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	p->rows = palloc_extended(sizeof(Row) * (rows + 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	p->by_id = hash_create("cdp identity nodes", Max(16, rows), &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	p->n_nodes = 0;
	for (uint64 row = 0; row < rows; row++)
	{
		char *name = cdp_result_cstring(row, 2);
		int ns = cdp_namespace_find(p->namespaces, name, strlen(name));
		CdpNode *node = &p->nodes[p->n_nodes];
		Row *stored = &p->rows[p->n_nodes];
		int64 *entry;

		if (ns < 0)
			continue; /* its namespace is gone: it stays where it is */
		node->namespace_index = ns;
		node->value = cdp_result_cstring(row, 3);
		node->value_length = strlen(node->value);
		stored->identifier_id = cdp_result_int64(row, 1, 0);
		stored->profile_id = cdp_result_int64(row, 4, 0);
		stored->stored_minted_profile_id = stored->minted_profile_id = cdp_result_int64(row, 5, 0);
		entry = hash_search(p->by_id, &stored->identifier_id, HASH_ENTER, NULL);
		entry[1] = p->n_nodes++;
	}
	cdp_done();
	for (int i = 0; i < p->batch->n_identifiers; i++)
	{
		int node = p->batch->identifiers[i].is_new ? node_of(p, p->batch->identifiers[i].identifier_id) : -1;

		if (node >= 0)
			p->rows[node].is_new = true;
	}
}

static void
load_link_rows(Partition *p)
{
	CdpColumn *ids = cdp_column(INT8OID, p->n_nodes);
	Datum arguments[1];
	uint64 rows;

	for (int i = 0; i < p->n_nodes; i++)
		cdp_column_add(ids, Int64GetDatum(p->rows[i].identifier_id));
	arguments[0] = cdp_column_array(ids);
	rows = cdp_run(&load_links, arguments, NULL);
	p->links = palloc_extended(sizeof(CdpGraphLink) * (rows + 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	p->old_status = palloc_extended(sizeof(char *) * (rows + 1), MCXT_ALLOC_HUGE);
	p->old_reason = palloc_extended(sizeof(char *) * (rows + 1), MCXT_ALLOC_HUGE);
	p->n_links = 0;
	for (uint64 row = 0; row < rows; row++)
	{
		CdpGraphLink *link = &p->links[p->n_links];

		link->a = node_of(p, cdp_result_int64(row, 1, 0));
		link->b = node_of(p, cdp_result_int64(row, 2, 0));
		if (link->a < 0 || link->b < 0)
			continue;
		link->first_seen_at = cdp_result_int64(row, 3, 0);
		link->last_seen_at = cdp_result_int64(row, 4, 0);
		link->event_count = cdp_result_int64(row, 5, 0);
		cdp_link_without_evidence(link);
		p->old_status[p->n_links] = cdp_result_cstring(row, 6);
		p->old_reason[p->n_links] = cdp_result_cstring(row, 7);
		p->n_links++;
	}
	cdp_done();
}

/* List what stewards ruled about these identifiers. */
static void
load_ruling_rows(Partition *p)
{
	CdpColumn *ids = cdp_column(INT8OID, p->n_nodes);
	Datum arguments[1];
	uint64 rows = cdp_run(&count_rulings, NULL, NULL);

	cdp_done();
	if (rows == 0)
		return;
	for (int i = 0; i < p->n_nodes; i++)
		cdp_column_add(ids, Int64GetDatum(p->rows[i].identifier_id));
	arguments[0] = cdp_column_array(ids);
	rows = cdp_run(&load_rulings, arguments, NULL);
	p->rulings = palloc(sizeof(CdpRuling) * (Size) (rows + 1));
	for (uint64 row = 0; row < rows; row++)
	{
		CdpRuling *ruling = &p->rulings[p->n_rulings];
		bool isnull;

		ruling->is_pin = DatumGetBool(cdp_result_datum(row, 1, &isnull));
		ruling->a = node_of(p, cdp_result_int64(row, 2, 0));
		ruling->b = node_of(p, cdp_result_int64(row, 3, 0));
		p->n_rulings += ruling->a >= 0 && ruling->b >= 0;
	}
	cdp_done();
}

/* Give each cluster its id: the oldest minted for one of its identifiers, else a new one for its strongest. */
static void
name_clusters(Partition *p)
{
	int *strongest = palloc(sizeof(int) * (Size) p->n_nodes);
	int64 *minted;
	int n_nameless = 0;

	p->cluster_profile = palloc0(sizeof(int64) * (Size) p->n_nodes);
	memset(strongest, -1, sizeof(int) * (Size) p->n_nodes);
	for (int i = 0; i < p->n_nodes; i++)
	{
		int c = p->nodes[i].cluster;
		int64 minted = p->rows[i].minted_profile_id;

		if (minted != 0 && (p->cluster_profile[c] == 0 || minted < p->cluster_profile[c]))
			p->cluster_profile[c] = minted;
		if (strongest[c] < 0 || p->nodes[i].namespace_index < p->nodes[strongest[c]].namespace_index)
			strongest[c] = i;
	}
	for (int i = 0; i < p->n_nodes; i++)
		n_nameless += p->nodes[i].cluster == i && p->cluster_profile[i] == 0;
	minted = cdp_identity_mint(n_nameless);
	for (int i = 0, next = 0; i < p->n_nodes; i++)
	{
		if (p->nodes[i].cluster != i || p->cluster_profile[i] != 0)
			continue;
		p->cluster_profile[i] = minted[next++];
		p->rows[strongest[i]].minted_profile_id = p->cluster_profile[i];
	}
	for (int i = 0; i < p->n_nodes; i++)
		p->rows[i].new_profile_id = p->cluster_profile[p->nodes[i].cluster];
}

/* A component is known by its smallest profile id. */
static void
name_components(Partition *p)
{
	p->component_id = palloc0(sizeof(int64) * (Size) p->n_nodes);
	for (int i = 0; i < p->n_nodes; i++)
	{
		int64 *id = &p->component_id[p->nodes[i].component];

		if (*id == 0 || p->rows[i].new_profile_id < *id)
			*id = p->rows[i].new_profile_id;
	}
}

/* Store the state of every profile that was ever minted for an identifier of these components. */
static void
store_profiles(Partition *p)
{
	CdpColumn *ids = cdp_column(INT8OID, 64);
	CdpColumn *entities = cdp_column(TEXTOID, 64);
	CdpColumn *components = cdp_column(INT8OID, 64);
	CdpColumn *disputed = cdp_column(BOOLOID, 64);
	CdpColumn *into = cdp_column(INT8OID, 64);
	Datum arguments[5];

	for (int i = 0; i < p->n_nodes; i++)
	{
		const Row *row = &p->rows[i];
		const char *entity = p->namespaces->items[p->nodes[i].namespace_index].entity;

		if (row->minted_profile_id == 0)
			continue;
		cdp_column_add(ids, Int64GetDatum(row->minted_profile_id));
		cdp_column_add_text(entities, entity, strlen(entity));
		cdp_column_add(components, Int64GetDatum(p->component_id[p->nodes[i].component]));
		cdp_column_add(disputed, BoolGetDatum(p->nodes[i].is_disputed));
		if (row->minted_profile_id == row->new_profile_id)
			cdp_column_add_null(into);
		else
			cdp_column_add(into, Int64GetDatum(row->new_profile_id));
	}
	arguments[0] = cdp_column_array(ids);
	arguments[1] = cdp_column_array(entities);
	arguments[2] = cdp_column_array(components);
	arguments[3] = cdp_column_array(disputed);
	arguments[4] = cdp_column_array(into);
	cdp_run(&write_profiles, arguments, NULL);
	cdp_done();
}

/* Is a profile id one that lives on, i.e. some cluster's? */
static bool
is_live(HTAB *live, int64 profile_id)
{
	return hash_search(live, &profile_id, HASH_FIND, NULL) != NULL;
}

/* Note in the batch that profiles became one, or one became several; each pair once. */
static void
note_batch_move(Partition *p, HTAB *moves, int64 from, int64 to, bool is_merge)
{
	CdpBatch *batch = p->batch;
	int64 key[2] = {from, to};
	bool found;

	hash_search(moves, key, HASH_ENTER, &found);
	if (found)
		return;
	if (batch->moves == NULL)
		batch->moves = palloc(sizeof(CdpBatchMove) * 16);
	else if (batch->n_moves >= 16 && (batch->n_moves & (batch->n_moves - 1)) == 0)
		batch->moves = repalloc_huge(batch->moves, sizeof(CdpBatchMove) * (Size) batch->n_moves * 2);
	batch->moves[batch->n_moves].from_profile_id = from;
	batch->moves[batch->n_moves].to_profile_id = to;
	batch->moves[batch->n_moves].is_merge = is_merge;
	batch->n_moves++;
	if (is_merge)
		batch->merges++;
	else
		batch->splits++;
}

/* What is to be written of identifiers: rows of cdp.identity to change, rows of history to add. */
typedef struct Moves
{
	CdpColumn *moved[3];   /* identifier, profile, minted profile */
	CdpColumn *history[4]; /* identifier, from, to, cause */
	HTAB *live;			   /* profile ids that some cluster has now */
	HTAB *pairs;		   /* moves noted in the batch */
} Moves;

static void
begin_moves(Moves *m, const Partition *p)
{
	HASHCTL one = {.keysize = sizeof(int64), .entrysize = sizeof(int64), .hcxt = CurrentMemoryContext};
	HASHCTL two = {.keysize = sizeof(int64) * 2, .entrysize = sizeof(int64) * 2, .hcxt = CurrentMemoryContext};

	for (int i = 0; i < 3; i++)
		m->moved[i] = cdp_column(INT8OID, 64);
	for (int i = 0; i < 4; i++)
		m->history[i] = cdp_column(i < 3 ? INT8OID : TEXTOID, 64);
	m->live = hash_create("cdp identity live", Max(16, p->n_nodes), &one, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	m->pairs = hash_create("cdp identity moves", 64, &two, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	for (int i = 0; i < p->n_nodes; i++)
		hash_search(m->live, &p->rows[i].new_profile_id, HASH_ENTER, NULL);
}

/* An identifier came, or went to another profile: history, and what the batch has to tell of it. */
static void
note_history(Partition *p, Moves *m, const Row *row)
{
	const char *cause = "seen";

	if (!row->is_new)
	{
		bool is_merge = !is_live(m->live, row->profile_id);

		cause = p->batch->reconsiders ? "ruling" : is_merge ? "merge" : "split";
		note_batch_move(p, m->pairs, row->profile_id, row->new_profile_id, is_merge);
		cdp_batch_touch(p->batch, row->profile_id);
	}
	cdp_batch_touch(p->batch, row->new_profile_id);
	cdp_column_add(m->history[0], Int64GetDatum(row->identifier_id));
	if (row->is_new)
		cdp_column_add_null(m->history[1]);
	else
		cdp_column_add(m->history[1], Int64GetDatum(row->profile_id));
	cdp_column_add(m->history[2], Int64GetDatum(row->new_profile_id));
	cdp_column_add_text(m->history[3], cause, strlen(cause));
}

/* Run a statement with columns as its arguments, unless they are empty. */
static void
write_columns(CdpQuery *query, CdpColumn **columns, int n)
{
	Datum arguments[4];

	if (columns[0]->n == 0)
		return;
	for (int i = 0; i < n; i++)
		arguments[i] = cdp_column_array(columns[i]);
	cdp_run(query, arguments, NULL);
	cdp_done();
}

/* Move identifiers whose profile is another now, and write history. */
static void
store_identifiers(Partition *p)
{
	Moves m;

	begin_moves(&m, p);
	for (int i = 0; i < p->n_nodes; i++)
	{
		const Row *row = &p->rows[i];
		bool is_moved = row->profile_id != row->new_profile_id;

		if (is_moved || row->minted_profile_id != row->stored_minted_profile_id)
		{
			cdp_column_add(m.moved[0], Int64GetDatum(row->identifier_id));
			cdp_column_add(m.moved[1], Int64GetDatum(row->new_profile_id));
			if (row->minted_profile_id != 0)
				cdp_column_add(m.moved[2], Int64GetDatum(row->minted_profile_id));
			else
				cdp_column_add_null(m.moved[2]);
		}
		if (is_moved || row->is_new)
			note_history(p, &m, row);
	}
	write_columns(&move_identifiers, m.moved, 3);
	write_columns(&note_moves, m.history, 4);
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
	Oid types[] = {INT8OID, INT8OID, TEXTOID, TEXTOID};
	CdpColumn *columns[lengthof(types)];

	for (int i = 0; i < (int) lengthof(types); i++)
		columns[i] = cdp_column(types[i], 64);
	for (int i = 0; i < p->n_links; i++)
	{
		const CdpGraphLink *link = &p->links[i];
		const char *status = cdp_link_status_names[link->status];

		if (is_same(p->old_status[i], status) && is_same(p->old_reason[i], link->reason))
			continue;
		cdp_column_add(columns[0], Int64GetDatum(p->rows[link->a].identifier_id));
		cdp_column_add(columns[1], Int64GetDatum(p->rows[link->b].identifier_id));
		cdp_column_add_text(columns[2], status, strlen(status));
		cdp_column_add_text(columns[3], link->reason, link->reason == NULL ? 0 : strlen(link->reason));
	}
	write_columns(&judge_links, columns, lengthof(types));
}

/* Tell the batch's identifiers their profiles. */
static void
inform_batch(Partition *p)
{
	for (int i = 0; i < p->batch->n_identifiers; i++)
	{
		CdpBatchIdentifier *id = &p->batch->identifiers[i];
		int node = node_of(p, id->identifier_id);

		if (node >= 0)
			id->profile_id = p->rows[node].new_profile_id;
	}
}

void
cdp_component_resolve(CdpBatch *batch, const int64 *components, int n)
{
	Partition p = {.batch = batch, .namespaces = batch->namespaces};

	load_node_rows(&p, components, n);
	if (p.n_nodes == 0)
		return;
	load_link_rows(&p);
	load_ruling_rows(&p);
	cdp_resolve(p.namespaces, p.nodes, p.n_nodes, p.links, p.n_links, p.rulings, p.n_rulings);
	name_clusters(&p);
	name_components(&p);
	store_profiles(&p);
	store_identifiers(&p);
	store_judgements(&p);
	inform_batch(&p);
}
