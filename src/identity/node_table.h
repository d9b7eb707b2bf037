/*
 * node_table.h
 *		From a graph's nodes, values of one type, to dense numbers: open addressing.
 *
 * Knows no table of the database.  Eight-byte values are kept as they are, others once in
 * blocks of their own, compared by the type's equality.  A slot holds 32 bits of the hash
 * beside the node's number: it says nearly always without looking at the value whether
 * this is the one, and the table grows by one walk from slot to slot.  A slot takes 8
 * bytes, a node 8 and what a value by reference takes; slots are below 2/3 full.
 *
 * For many nodes the time is that of reaching memory: values are looked up several at
 * once, so that what one needs is under way while the others have their turn.
 */
#ifndef CDP_NODE_TABLE_H
#define CDP_NODE_TABLE_H

#include "postgres.h"
#include "fmgr.h"

typedef struct CdpNodeTable
{
	uint64 *slots; /* hash << 32 | node + 1; 0: empty */
	uint32 mask;
	int shift;	   /* a hash begins to look at slot hash >> shift */
	Datum *values; /* per node */
	uint32 n_nodes;
	uint32 capacity; /* nodes, before the table grows */

	bool is_by_value;
	int16 typlen;
	FmgrInfo *hash; /* extended hash function of the type, where it is not by value */
	FmgrInfo *equal;
	Oid collation;
	MemoryContext context;
	char *room; /* where the next value by reference goes */
	Size room_left;
} CdpNodeTable;

/* In the current memory context, also what it takes later. */
extern void cdp_node_table_init(CdpNodeTable *table, bool is_by_value, int16 typlen, FmgrInfo *hash, FmgrInfo *equal,
								Oid collation);

static inline uint32
cdp_node_table_hash(const CdpNodeTable *table, Datum value)
{
	uint64 x = value;

	if (!table->is_by_value)
		return DatumGetUInt64(FunctionCall2Coll(table->hash, table->collation, value, Int64GetDatum(0))) >> 32;
	/* the finaliser of splitmix64 */
	x = (x ^ x >> 30) * UINT64CONST(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64CONST(0x94d049bb133111eb);
	return (x ^ x >> 31) >> 32;
}

/* Bring the slot of a hash near; best some time before its value is looked up. */
static inline void
cdp_node_table_prefetch(const CdpNodeTable *table, uint32 hash)
{
	__builtin_prefetch(&table->slots[hash >> table->shift], 1);
}

/* The numbers of n values, by their hashes; those that were not there get the next numbers. */
extern void cdp_node_table_find(CdpNodeTable *table, int n, const Datum *values, const uint32 *hashes, uint32 *nodes);

/* The same of one value. */
static inline uint32
cdp_node_table_find_one(CdpNodeTable *table, Datum value)
{
	uint32 hash = cdp_node_table_hash(table, value);
	uint32 node;

	cdp_node_table_find(table, 1, &value, &hash, &node);
	return node;
}

#endif
