/*
 * identify.c
 *		The batch's identifiers: known ones found, new ones made.
 *
 * A new identifier's row needs a profile.  It gets the one that the batch's own links
 * suggest: that of a known identifier it came with, else a new one for the whole
 * group.  That is right nearly always; resolving corrects the rest.
 */
#include "postgres.h"

#include "identity/component.h"
#include "identity/identity.h"
#include "identity/union_find.h"
#include "catalog/pg_type.h"
#include "utils/hsearch.h"

CDP_SCAN(look_up, "identity", "identity_namespace_value_key", 2, "namespace, value, identifier_id, profile_id, ctid", "text[],text[]");
CDP_APPEND(append_identifiers, "identity",
		   "identifier_id, namespace, value, profile_id, first_seen_at, last_seen_at, event_count", "$1, $2, $3, $4, $5, $6, $7",
		   "int8[],text[],text[],int8[],timestamptz[],timestamptz[],int8[]");
CDP_APPEND(append_profiles, "profile", "profile_id, entity, component_id, identifier_id", "$1, $2, $3, $4",
		   "int8[],text[],int8[],int8[]");

#define FEW 16 /* mentions, for which a hash table does not pay */

typedef struct Key
{
	uint64 hash; /* of namespace and value; equal hashes are compared in full */
	int identifier;
	int next; /* another identifier of the same hash, or -1 */
} Key;

typedef struct Identify
{
	CdpBatch *batch;
	const CdpNamespaces *namespaces;
	HTAB *table; /* NULL: all are of one hash, as far as it matters */
	int *next; /* per identifier: the next one of its hash */
	int capacity;
} Identify;

static uint64
hash_mention(int namespace_index, const char *value, int length)
{
	return cdp_hash64(value, length, namespace_index);
}

/* Find an identifier of the batch, or -1. */
static int
find_identifier(Identify *in, uint64 hash, int namespace_index, const char *value, int length)
{
	Key *key = in->table == NULL ? NULL : hash_search(in->table, &hash, HASH_FIND, NULL);
	int first = in->table == NULL ? in->batch->n_identifiers - 1 : key == NULL ? -1 : key->identifier;

	for (int i = first; i >= 0; i = in->next[i])
	{
		CdpBatchIdentifier *id = &in->batch->identifiers[i];

		if (id->namespace_index == namespace_index && id->value_length == length &&
			memcmp(id->value, value, length) == 0)
			return i;
	}
	return -1;
}

/* Enter an identifier by its hash. */
static void
enter(Identify *in, uint64 hash, int i)
{
	bool found;
	Key *key = hash_search(in->table, &hash, HASH_ENTER, &found);

	in->next[i] = found ? key->identifier : -1;
	key->identifier = i;
}

/* Find or add the identifier of a mention. */
static int
add_identifier(Identify *in, const CdpMention *mention)
{
	CdpBatch *batch = in->batch;
	uint64 hash = hash_mention(mention->namespace_index, mention->value, mention->value_length);
	int i = find_identifier(in, hash, mention->namespace_index, mention->value, mention->value_length);
	CdpBatchIdentifier *id;

	if (i >= 0)
		return i;
	if (batch->n_identifiers == in->capacity)
	{
		in->capacity *= 2;
		batch->identifiers = repalloc_huge(batch->identifiers, sizeof(CdpBatchIdentifier) * (Size) in->capacity);
		in->next = repalloc_huge(in->next, sizeof(int) * (Size) in->capacity);
	}
	i = batch->n_identifiers++;
	id = memset(&batch->identifiers[i], 0, sizeof(CdpBatchIdentifier));
	id->namespace_index = mention->namespace_index;
	id->value = mention->value;
	id->value_length = mention->value_length;
	id->fragment = -1;
	in->next[i] = i - 1;
	if (in->table != NULL)
		enter(in, hash, i);
	return i;
}

/* Make the list of distinct identifiers, with when and how often each was seen. */
static void
collect(Identify *in)
{
	CdpBatch *batch = in->batch;
	HASHCTL control = {.keysize = sizeof(uint64), .entrysize = sizeof(Key), .hcxt = batch->context};

	in->capacity = Max(64, batch->n_mentions / 4);
	if (batch->n_mentions > FEW)
		in->table = hash_create("cdp identity batch", in->capacity, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	batch->identifiers = palloc(sizeof(CdpBatchIdentifier) * (Size) in->capacity);
	in->next = palloc(sizeof(int) * (Size) in->capacity);
	for (int i = 0; i < batch->n_messages; i++)
	{
		CdpMessage *m = &batch->messages[i];

		for (int j = 0; j < m->n_mentions; j++)
		{
			CdpMention *mention = &batch->mentions[m->first_mention + j];
			CdpBatchIdentifier *id;

			mention->identifier = add_identifier(in, mention);
			id = &batch->identifiers[mention->identifier];
			if (id->event_count == 0 || m->occurred_at < id->first_seen_at)
				id->first_seen_at = m->occurred_at;
			if (id->event_count == 0 || m->occurred_at > id->last_seen_at)
				id->last_seen_at = m->occurred_at;
			id->event_count++;
		}
		m->strongest = m->n_mentions > 0 ? batch->mentions[m->first_mention].identifier : -1;
	}
}

/* By namespace's name and value: the order in which all lock new identifiers. */
static int
compare_identifiers(const void *a, const void *b, void *arg)
{
	const Identify *in = arg;
	const CdpBatchIdentifier *x = &in->batch->identifiers[*(const int *) a];
	const CdpBatchIdentifier *y = &in->batch->identifiers[*(const int *) b];
	int c = x->namespace_index == y->namespace_index ? 0
													 : strcmp(in->namespaces->items[x->namespace_index].name,
															  in->namespaces->items[y->namespace_index].name);

	if (c == 0)
		c = memcmp(x->value, y->value, Min(x->value_length, y->value_length));
	return c != 0 ? c : x->value_length - y->value_length;
}

/* Identifiers in the order of their keys. */
typedef struct Lookup
{
	Identify *in;
	int *sorted;
} Lookup;

/* An identifier that is known. */
static void
take_known(void *arg, int i, Datum *values, bool *nulls)
{
	Lookup *lookup = arg;
	CdpBatchIdentifier *id = &lookup->in->batch->identifiers[lookup->sorted[i]];

	id->identifier_id = DatumGetInt64(values[2]);
	id->profile_id = DatumGetInt64(values[3]);
	id->place = *(ItemPointer) DatumGetPointer(values[4]);
}

/* Fill in the rows that exist; lists the identifiers that nobody knows, sorted. */
static int *
look_up_known(Identify *in, int *n_new)
{
	CdpBatch *batch = in->batch;
	int n = batch->n_identifiers;
	Lookup lookup = {in, palloc(sizeof(int) * ((Size) n + 1))};
	CdpColumn *keys[2] = {cdp_column(TEXTOID, n), cdp_column(TEXTOID, n)};

	for (int i = 0; i < n; i++)
		lookup.sorted[i] = i;
	qsort_arg(lookup.sorted, n, sizeof(int), compare_identifiers, in);
	for (int i = 0; i < n; i++)
	{
		const CdpBatchIdentifier *id = &batch->identifiers[lookup.sorted[i]];
		const char *name = in->namespaces->items[id->namespace_index].name;

		cdp_column_add_text(keys[0], name, strlen(name));
		cdp_column_add_text(keys[1], id->value, id->value_length);
	}
	cdp_scan(&look_up, keys, take_known, &lookup);
	*n_new = 0;
	for (int i = 0; i < n; i++)
	{
		if (batch->identifiers[lookup.sorted[i]].identifier_id == 0)
			lookup.sorted[(*n_new)++] = lookup.sorted[i];
	}
	return lookup.sorted;
}

/* Group the identifiers by the messages they share, entity by entity; the strongest leads. */
static void
group(const Identify *in, CdpUnionFind *sets)
{
	CdpBatch *batch = in->batch;

	cdp_union_find_fill(sets, batch->n_identifiers);
	for (int i = 0; i < batch->n_messages; i++)
	{
		const CdpMessage *m = &batch->messages[i];
		const CdpMention *mentions = &batch->mentions[m->first_mention];

		for (int j = 1; j < m->n_mentions; j++)
		{
			const CdpNamespace *ns = &in->namespaces->items[mentions[j].namespace_index];
			const CdpNamespace *before = &in->namespaces->items[mentions[j - 1].namespace_index];

			if (strcmp(ns->entity, before->entity) == 0)
				cdp_union_find_join(sets, mentions[j].identifier, mentions[j - 1].identifier);
		}
	}
}

/*
 * Suggest a profile for each new identifier: the oldest one known in its group, else one newly minted, for the
 * group's strongest.  minted[i] is the id minted for identifier i, or 0.
 */
static void
suggest_profiles(Identify *in, int64 *minted)
{
	CdpBatch *batch = in->batch;
	int n = batch->n_identifiers;
	CdpUnionFind groups;
	int64 *known = palloc0(sizeof(int64) * (Size) Max(1, n)); /* per group */
	int *leader = palloc(sizeof(int) * (Size) Max(1, n));	  /* of groups that nobody knows */
	int64 *ids;
	int n_groups = 0;

	group(in, &groups);
	memset(leader, -1, sizeof(int) * (Size) n);
	for (int i = 0; i < n; i++)
	{
		int root = cdp_union_find_root(&groups, i);
		int64 profile_id = batch->identifiers[i].profile_id;

		if (profile_id != 0 && (known[root] == 0 || profile_id < known[root]))
			known[root] = profile_id;
	}
	for (int i = 0; i < n; i++)
	{
		int root = cdp_union_find_root(&groups, i);

		if (known[root] != 0)
			continue;
		n_groups += leader[root] < 0;
		if (leader[root] < 0 || batch->identifiers[i].namespace_index < batch->identifiers[leader[root]].namespace_index)
			leader[root] = i;
	}
	ids = cdp_mint("profile_id_seq", n_groups, false);
	for (int i = 0, next = 0; i < n; i++)
	{
		int root = cdp_union_find_root(&groups, i);

		if (known[root] != 0)
			continue;
		minted[leader[root]] = known[root] = ids[next++];
	}
	for (int i = 0; i < n; i++)
	{
		if (batch->identifiers[i].identifier_id == 0)
			batch->identifiers[i].profile_id = known[cdp_union_find_root(&groups, i)];
	}
}

/* Insert the rows of new identifiers. */
static void
insert_new(Identify *in, const int *new, int n_new)
{
	static const Oid types[] = {INT8OID, TEXTOID, TEXTOID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID};
	int64 *minted = cdp_mint("identity_identifier_id_seq", n_new, true);
	CdpColumn *columns[lengthof(types)];

	for (int i = 0; i < (int) lengthof(types); i++)
		columns[i] = cdp_column(types[i], n_new);
	for (int i = 0; i < n_new; i++)
	{
		CdpBatchIdentifier *id = &in->batch->identifiers[new[i]];
		const char *name = in->namespaces->items[id->namespace_index].name;

		id->identifier_id = minted[i];
		id->is_new = true;
		cdp_column_add(columns[0], Int64GetDatum(id->identifier_id));
		cdp_column_add_text(columns[1], name, strlen(name));
		cdp_column_add_text(columns[2], id->value, id->value_length);
		cdp_column_add(columns[3], Int64GetDatum(id->profile_id));
		cdp_column_add(columns[4], TimestampTzGetDatum(id->first_seen_at));
		cdp_column_add(columns[5], TimestampTzGetDatum(id->last_seen_at));
		cdp_column_add(columns[6], Int64GetDatum(id->event_count));
	}
	cdp_append(&append_identifiers, columns);
}

/* Insert the rows of the profiles minted. */
static void
insert_profiles(Identify *in, const int64 *minted)
{
	static const Oid types[] = {INT8OID, TEXTOID, INT8OID, INT8OID};
	CdpBatch *batch = in->batch;
	CdpColumn *columns[lengthof(types)];

	for (int i = 0; i < (int) lengthof(types); i++)
		columns[i] = cdp_column(types[i], 64);
	for (int i = 0; i < batch->n_identifiers; i++)
	{
		const char *entity = in->namespaces->items[batch->identifiers[i].namespace_index].entity;

		if (minted[i] == 0)
			continue;
		cdp_column_add(columns[0], Int64GetDatum(minted[i]));
		cdp_column_add_text(columns[1], entity, strlen(entity));
		cdp_column_add(columns[2], Int64GetDatum(minted[i]));
		cdp_column_add(columns[3], Int64GetDatum(batch->identifiers[i].identifier_id));
	}
	cdp_append(&append_profiles, columns);
}

void
cdp_identity_identify(CdpBatch *batch)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	Identify in = {batch, batch->namespaces, NULL, NULL, 0};
	int n_new;
	int *new;

	collect(&in);
	new = look_up_known(&in, &n_new);
	if (n_new > 0)
	{
		int64 *minted = palloc0(sizeof(int64) * (Size) batch->n_identifiers);

		suggest_profiles(&in, minted);
		insert_new(&in, new, n_new); /* an error when someone else is quicker; then the batch begins again */
		insert_profiles(&in, minted);
	}
	MemoryContextSwitchTo(old);
}
