/*
 * node_table.c
 *		Open addressing with linear probing; slots hold node numbers, keys stand beside.
 */
#include "postgres.h"

#include "identity/node_table.h"
#include "utils/datum.h"
#include "utils/memutils.h"

#define FIRST_SLOTS (1 << 12)
#define MAX_SLOTS ((uint32) 1 << 31)

/* Spread a key over the slots: the finaliser of splitmix64. */
static inline uint64
spread(uint64 x)
{
	x ^= x >> 30;
	x *= UINT64CONST(0xbf58476d1ce4e5b9);
	x ^= x >> 27;
	x *= UINT64CONST(0x94d049bb133111eb);
	return x ^ (x >> 31);
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
	table->mask = FIRST_SLOTS - 1;
	table->slots = palloc0(sizeof(uint32) * FIRST_SLOTS);
	table->capacity = FIRST_SLOTS / 2;
	table->keys = palloc(sizeof(uint64) * table->capacity);
	if (!is_by_value)
	{
		table->values = palloc(sizeof(Datum) * table->capacity);
		/* values are never freed one by one, so they stand side by side */
		table->values_context = GenerationContextCreate(CurrentMemoryContext, "cdp identity nodes",
														0, 1024 * 1024, 1024 * 1024);
	}
}

uint64
cdp_node_table_key(CdpNodeTable *table, Datum value)
{
	if (table->is_by_value)
		return (uint64) value;
	return DatumGetUInt64(FunctionCall2Coll(table->hash, table->collation, value, Int64GetDatum(0)));
}

void
cdp_node_table_prefetch(const CdpNodeTable *table, uint64 key)
{
	__builtin_prefetch(&table->slots[spread(key) & table->mask], 1, 1);
}

void
cdp_node_table_prefetch_key(const CdpNodeTable *table, uint64 key)
{
	uint32 slot = table->slots[spread(key) & table->mask];

	if (slot == 0)
		return;
	__builtin_prefetch(&table->keys[slot - 1], 0, 1);
	if (!table->is_by_value)
		__builtin_prefetch(&table->values[slot - 1], 0, 1);
}

void
cdp_node_table_prefetch_value(const CdpNodeTable *table, uint64 key)
{
	uint32 slot = table->slots[spread(key) & table->mask];

	if (slot != 0)
		__builtin_prefetch(DatumGetPointer(table->values[slot - 1]), 0, 1);
}

/* Double the slots. */
static void
grow_slots(CdpNodeTable *table)
{
	uint32 n = (table->mask + 1) * 2;
	MemoryContext context = GetMemoryChunkContext(table->slots); /* growing happens in anybody's */

	if (n >= MAX_SLOTS)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("the graph has too many nodes"),
						errdetail("The limit is about %u.", MAX_SLOTS / 3 * 2)));
	pfree(table->slots);
	table->slots = MemoryContextAllocExtended(context, sizeof(uint32) * (Size) n, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	table->mask = n - 1;
	for (uint32 i = 0; i < table->n_nodes; i++)
	{
		uint32 at = spread(table->keys[i]) & table->mask;

		if (i + 16 < table->n_nodes)
			__builtin_prefetch(&table->slots[spread(table->keys[i + 16]) & table->mask], 1, 1);
		while (table->slots[at] != 0)
			at = (at + 1) & table->mask;
		table->slots[at] = i + 1;
	}
}

/* Append a node. */
static uint32
add_node(CdpNodeTable *table, uint64 key, Datum value)
{
	if (table->n_nodes == table->capacity)
	{
		table->capacity += table->capacity / 2;
		table->keys = repalloc_huge(table->keys, sizeof(uint64) * (Size) table->capacity);
		if (!table->is_by_value)
			table->values = repalloc_huge(table->values, sizeof(Datum) * (Size) table->capacity);
	}
	table->keys[table->n_nodes] = key;
	if (!table->is_by_value)
	{
		MemoryContext old = MemoryContextSwitchTo(table->values_context);

		table->values[table->n_nodes] = datumCopy(value, false, table->typlen);
		MemoryContextSwitchTo(old);
	}
	return table->n_nodes++;
}

uint32
cdp_node_table_find(CdpNodeTable *table, uint64 key, Datum value, bool *is_new)
{
	uint32 at = spread(key) & table->mask;

	*is_new = false;
	while (table->slots[at] != 0)
	{
		uint32 node = table->slots[at] - 1;

		if (table->keys[node] == key &&
			(table->is_by_value ||
			 DatumGetBool(FunctionCall2Coll(table->equal, table->collation, table->values[node], value))))
			return node;
		at = (at + 1) & table->mask;
	}
	*is_new = true;
	table->slots[at] = add_node(table, key, value) + 1;
	if (table->n_nodes > (table->mask + 1) / 3 * 2)
		grow_slots(table);
	return table->n_nodes - 1;
}

Datum
cdp_node_table_value(const CdpNodeTable *table, uint32 node)
{
	return table->is_by_value ? (Datum) table->keys[node] : table->values[node];
}
