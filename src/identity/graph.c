/*
 * graph.c
 *		cdp.connected_components(): what belongs together, on any query of two columns.
 *
 * The query is streamed into the union-find through a DestReceiver: no copy of its
 * result is made.  Edges wait in a small ring before they are looked up, so that the
 * memory they need is on its way when their turn comes.
 */
#include "postgres.h"

#include "identity/graph.h"
#include "base/base.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/datum.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(cdp_connected_components);

#define RING 64 /* edges under way at once */

typedef struct Receiver
{
	DestReceiver pub;
	Oid type; /* of the nodes */
	bool is_float;
	Oid column_types[2];
	CdpComponents *graph;
	Datum values[RING * 2]; /* the ends of edges that wait, pair by pair */
	uint32 hashes[RING * 2];
	int n_values;
	MemoryContext edge_context; /* values by reference that wait, and what comparing them takes */
} Receiver;

/* Look up and join the edges that wait. */
static void
drain(Receiver *r)
{
	CdpComponents *graph = r->graph;
	uint32 nodes[RING * 2];

	cdp_node_table_find(&graph->nodes, r->n_values, r->values, r->hashes, nodes);
	while (graph->sets.n < graph->nodes.n_nodes)
		cdp_union_find_add(&graph->sets);
	cdp_union_find_join_pairs(&graph->sets, nodes, r->n_values / 2);
	r->n_values = 0;
	if (!graph->nodes.is_by_value)
		MemoryContextReset(r->edge_context);
}

/* Of equal numbers the same bits: 0 and -0 are equal, and so is whatever is none. */
static Datum
normal_float(double number)
{
	return Float8GetDatum(number == 0 ? 0 : isnan(number) ? get_float8_nan() : number);
}

/* A value of a column as a node: small integers widened, others copied for the time in the ring. */
static inline Datum
as_node(const Receiver *r, Oid column_type, Datum value)
{
	switch (column_type)
	{
		case INT2OID:
			return Int64GetDatum(DatumGetInt16(value));
		case INT4OID:
			return Int64GetDatum(DatumGetInt32(value));
		default:
			if (r->is_float)
				return normal_float(DatumGetFloat8(value));
			if (r->graph->nodes.is_by_value)
				return value;
			if (r->graph->nodes.typlen == -1)
				return PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
			return datumCopy(value, false, r->graph->nodes.typlen);
	}
}

static bool
receive(TupleTableSlot *slot, DestReceiver *self)
{
	Receiver *r = (Receiver *) self;
	MemoryContext old;

	slot_getallattrs(slot);
	if (slot->tts_isnull[0] && slot->tts_isnull[1])
		return true; /* nobody */
	old = MemoryContextSwitchTo(r->edge_context);
	for (int i = 0; i < 2; i++)
	{
		/* a node without a partner stands alone: it is linked with itself */
		int column = slot->tts_isnull[i] ? 1 - i : i;
		Datum value = as_node(r, r->column_types[column], slot->tts_values[column]);
		uint32 hash = cdp_node_table_hash(&r->graph->nodes, value);

		cdp_node_table_prefetch(&r->graph->nodes, hash);
		r->values[r->n_values] = value;
		r->hashes[r->n_values++] = hash;
	}
	if (r->n_values == RING * 2)
	{
		drain(r);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextSwitchTo(old);
	return true;
}

/* Two columns of the node type, or of integers where nodes are bigint? */
static void
start(DestReceiver *self, int operation, TupleDesc columns)
{
	Receiver *r = (Receiver *) self;

	if (columns->natts != 2)
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH), errmsg("the query has %d columns, two are needed", columns->natts),
						errhint("Each row is an edge: give the columns of its two ends.")));
	for (int i = 0; i < 2; i++)
	{
		Oid type = TupleDescAttr(columns, i)->atttypid;

		r->column_types[i] = type;
		if (type == r->type || (r->type == INT8OID && (type == INT4OID || type == INT2OID)))
			continue;
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
						errmsg("column %d of the query is of type %s, the nodes are of type %s", i + 1,
							   format_type_be(type), format_type_be(r->type)),
						errhint("Cast the columns, or name the type: cdp.connected_components(query, NULL::%s).",
								format_type_be(type))));
	}
}

static void
finish(DestReceiver *self)
{
	drain((Receiver *) self);
}

static void
destroy(DestReceiver *self)
{
}

static Receiver *
make_receiver(Oid type)
{
	Receiver *r = palloc0(sizeof(Receiver));
	TypeCacheEntry *entry =
		lookup_type_cache(type, TYPECACHE_HASH_EXTENDED_PROC_FINFO | TYPECACHE_EQ_OPR_FINFO);
	bool is_by_value = entry->typbyval && entry->typlen == 8;

	if (!is_by_value && entry->typbyval)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("nodes cannot be of type %s", format_type_be(type)),
						errhint("Cast them to bigint or text.")));
	if (!OidIsValid(entry->hash_extended_proc_finfo.fn_oid) || !OidIsValid(entry->eq_opr_finfo.fn_oid))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION),
						errmsg("type %s cannot be hashed", format_type_be(type)),
						errhint("Cast the columns to a type that can, such as bigint, uuid or text.")));
	r->pub.receiveSlot = receive;
	r->pub.rStartup = start;
	r->pub.rShutdown = finish;
	r->pub.rDestroy = destroy;
	r->pub.mydest = DestNone;
	r->type = type;
	r->is_float = getBaseType(type) == FLOAT8OID;
	r->graph = palloc(sizeof(CdpComponents));
	cdp_node_table_init(&r->graph->nodes, is_by_value, entry->typlen, &entry->hash_extended_proc_finfo, &entry->eq_opr_finfo,
						entry->typcollation);
	cdp_union_find_init(&r->graph->sets, 4096);
	r->edge_context = AllocSetContextCreate(CurrentMemoryContext, "cdp identity edges", ALLOCSET_DEFAULT_SIZES);
	return r;
}

/* Point every node at its root: parents come before their children, so theirs are already there. */
static void
flatten(CdpUnionFind *sets)
{
	uint32 *parent = sets->parent;

	for (uint32 i = 0; i < sets->n; i++)
	{
		if (i + CDP_GRAPH_AHEAD < sets->n)
			__builtin_prefetch(&parent[parent[i + CDP_GRAPH_AHEAD]]);
		if ((i & 0xFFFFF) == 0)
			CHECK_FOR_INTERRUPTS();
		parent[i] = parent[parent[i]];
	}
}

CdpComponents *
cdp_graph_read(NullableDatum query, Oid type)
{
	MemoryContext caller = CurrentMemoryContext;
	Receiver *r;

	if (query.isnull)
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("query must not be null")));
	SPI_connect();
	MemoryContextSwitchTo(caller);
	r = make_receiver(type);
	cdp_stream(TextDatumGetCString(query.value), &r->pub, "Give one SELECT with the two ends of each edge.");
	SPI_finish();
	MemoryContextSwitchTo(caller);
	flatten(&r->graph->sets);
	pfree(r->graph->nodes.slots); /* nothing is looked up any more */
	r->graph->nodes.slots = NULL;
	return r->graph;
}

/* Where it is not a FROM clause that asks: all rows, in a store. */
Datum
cdp_connected_components(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	CdpComponents *graph = cdp_graph_read(fcinfo->args[0], PG_NARGS() == 1 ? INT8OID : get_fn_expr_argtype(fcinfo->flinfo, 1));
	bool nulls[2] = {false, false};

	InitMaterializedSRF(fcinfo, 0);
	for (uint32 i = 0; i < graph->nodes.n_nodes; i++)
	{
		Datum row[2];

		if ((i & 0xFFFF) == 0)
			CHECK_FOR_INTERRUPTS();
		cdp_graph_row(graph, i, row);
		tuplestore_putvalues(result->setResult, result->setDesc, row, nulls);
	}
	return (Datum) 0;
}
