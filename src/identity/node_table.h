/*
 * node_table.h
 *		From a graph's nodes, values of one type, to dense numbers: open addressing.
 *
 * Knows no table of the database.  Eight-byte values are their own keys; others are
 * found by their hash and compared by the type's equality.  A slot costs 4 bytes, a node
 * 8 for its key and what a value by reference takes; slots are kept below 2/3 full.
 */
#ifndef CDP_NODE_TABLE_H
#define CDP_NODE_TABLE_H

#include "postgres.h"
#include "fmgr.h"

typedef struct CdpNodeTable
{
	uint32 *slots; /* node + 1; 0: empty */
	uint32 mask;
	uint64 *keys; /* per node: the value itself, or its 64-bit hash */
	uint32 n_nodes;
	uint32 capacity;

	bool is_by_value;
	int16 typlen;
	FmgrInfo *hash; /* extended hash function of the type; NULL: by value */
	FmgrInfo *equal;
	Oid collation;
	Datum *values; /* per node, when not by value */
	MemoryContext values_context;
} CdpNodeTable;

extern void cdp_node_table_init(CdpNodeTable *table, bool is_by_value, int16 typlen, FmgrInfo *hash, FmgrInfo *equal,
								Oid collation);

/* The value's key; for values by reference its hash. */
extern uint64 cdp_node_table_key(CdpNodeTable *table, Datum value);

/* Bring the slot of a key near; call it some time before cdp_node_table_find(). */
extern void cdp_node_table_prefetch(const CdpNodeTable *table, uint64 key);

/* When the slot is near: bring the key it names near too. */
extern void cdp_node_table_prefetch_key(const CdpNodeTable *table, uint64 key);
extern void cdp_node_table_prefetch_value(const CdpNodeTable *table, uint64 key); /* then, of values by reference */

/* The number of a value, a new one if it was not there; 'is_new' tells. */
extern uint32 cdp_node_table_find(CdpNodeTable *table, uint64 key, Datum value, bool *is_new);

extern Datum cdp_node_table_value(const CdpNodeTable *table, uint32 node);

#endif
