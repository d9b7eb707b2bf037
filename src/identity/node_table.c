/*
 * node_table.c
 *		A graph's nodes: making room.
 */
#include "postgres.h"

#include "identity/large.h"
#include "identity/node_table.h"
#include "utils/datum.h"
#include "utils/memutils.h"

#define FIRST_BITS 12
#define MAX_BITS 31
#define NO_NODE PG_UINT32_MAX
#define BLOCK_SIZE (1024 * 1024) /* of values by reference */

/* 2^bits empty slots, and how many nodes they are for. */
static void
make_slots(CdpNodeTable *table, int bits)
{
	Size size = sizeof(uint64) << bits;

	table->mask = ((uint32) 1 << bits) - 1;
	table->shift = 32 - bits;
	table->capacity = (table->mask + 1) / 3 * 2;
	table->slots = memset(cdp_large_alloc(table->context, size), 0, size);
}

void
cdp_node_table_init(CdpNodeTable *table, bool is_by_value, int16 typlen, FmgrInfo *hash, FmgrInfo *equal, Oid collation)
{
	memset(table, 0, sizeof(CdpNodeTable));
	table->is_by_value = is_by_value;
	table->typlen = typlen;
	table->hash = hash;
	table->equal = equal;
	table->collation = collation;
	table->context = CurrentMemoryContext;
	make_slots(table, FIRST_BITS);
	table->values = palloc(sizeof(Datum) * table->capacity);
}

/* Double the slots.  They stand in the order of hashes, and so go from left to right into the new ones. */
static void
grow(CdpNodeTable *table)
{
	uint64 *old = table->slots;
	uint32 n = table->mask + 1;
	int bits = 32 - table->shift + 1;

	if (bits > MAX_BITS)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("the graph has too many nodes"),
						errdetail("The limit is about %u.", n / 3 * 2)));
	make_slots(table, bits);
	for (uint32 i = 0; i < n; i++)
	{
		uint32 at = old[i] >> 32 >> table->shift;

		if (old[i] == 0)
			continue;
		while (table->slots[at] != 0)
			at = (at + 1) & table->mask;
		table->slots[at] = old[i];
	}
	pfree(old);
	table->values = cdp_large_resize(table->values, sizeof(Datum) * (Size) table->n_nodes,
									 sizeof(Datum) * (Size) table->capacity);
}

/* Copy a value by reference to where it stays: never freed one by one, they stand side by side. */
static Datum
keep(CdpNodeTable *table, Datum value)
{
	Size size = datumGetSize(value, false, table->typlen);
	char *kept;

	if (MAXALIGN(size) > table->room_left)
	{
		table->room_left = Max(BLOCK_SIZE, MAXALIGN(size));
		table->room = MemoryContextAllocHuge(table->context, table->room_left);
	}
	kept = memcpy(table->room, DatumGetPointer(value), size);
	table->room += MAXALIGN(size);
	table->room_left -= MAXALIGN(size);
	return PointerGetDatum(kept);
}

/* Append a node in an empty slot. */
static uint32
add_node(CdpNodeTable *table, uint32 slot, uint32 hash, Datum value)
{
	uint32 node = table->n_nodes++;

	table->values[node] = table->is_by_value ? value : keep(table, value);
	table->slots[slot] = (uint64) hash << 32 | table->n_nodes;
	if (table->n_nodes == table->capacity)
		grow(table);
	return node;
}

static inline bool
is_node(const CdpNodeTable *table, uint32 node, Datum value)
{
	return table->values[node] == value ||
		   (!table->is_by_value &&
			DatumGetBool(FunctionCall2Coll(table->equal, table->collation, table->values[node], value)));
}

static uint32
find_or_add(CdpNodeTable *table, uint32 hash, Datum value)
{
	uint32 at = hash >> table->shift;
	uint64 slot;

	for (; (slot = table->slots[at]) != 0; at = (at + 1) & table->mask)
	{
		if (slot >> 32 == hash && is_node(table, (uint32) slot - 1, value))
			return (uint32) slot - 1;
	}
	return add_node(table, at, hash, value);
}

/* The first node of the same hash, which nearly always is the right one; NO_NODE: none. */
static inline uint32
guess(const CdpNodeTable *table, uint32 hash)
{
	uint32 at = hash >> table->shift;
	uint64 slot;

	while ((slot = table->slots[at]) != 0 && slot >> 32 != hash)
		at = (at + 1) & table->mask;
	return (uint32) slot - 1;
}

void
cdp_node_table_find(CdpNodeTable *table, int n, const Datum *values, const uint32 *hashes, uint32 *nodes)
{
	for (int i = 0; i < n; i++)
	{
		nodes[i] = guess(table, hashes[i]);
		if (nodes[i] != NO_NODE)
			__builtin_prefetch(&table->values[nodes[i]]);
	}
	for (int i = 0; i < n && !table->is_by_value; i++)
	{
		if (nodes[i] != NO_NODE)
			__builtin_prefetch(DatumGetPointer(table->values[nodes[i]]));
	}
	for (int i = 0; i < n; i++)
	{
		if (nodes[i] == NO_NODE || !is_node(table, nodes[i], values[i]))
			nodes[i] = find_or_add(table, hashes[i], values[i]);
	}
}
