/*
 * append.c
 *		Rows into one of our tables, many at a time, as COPY stores them.
 */
#include "postgres.h"

#include "access/attmap.h"
#include "access/heapam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "base/base.h"
#include "catalog/pg_class.h"
#include "commands/sequence.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "optimizer/optimizer.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"

CDP_QUERY(make_partitions, "SELECT cdp.make_partitions($1, $2, $2)", "text,timestamptz");

#define MAX_BUFFERED_ROWS 200 /* several pages of the smallest */
#define MAX_BUFFERED_BYTES 65536
#define MIN_BULK_ROWS 100 /* for which memory of their own pays */

/* What was found out about the table that rows are appended to; it stands in the table's memory. */
typedef struct CdpAppended
{
	int attributes[CDP_MAX_ARGUMENTS]; /* of the columns given: which attributes they are, from 0 */
	int n_columns;
	int *defaulted; /* attributes of which defaults are computed */
	ExprState **defaults;
	int n_defaulted;
	TupleTableSlot *row;
	int partition_column; /* of a partitioned table: which of the columns given says the partition; -1: only SQL can tell */
} CdpAppended;

/* Rows on their way into a table, or a partition of it. */
typedef struct RowBuffer
{
	CdpTable *table;
	BulkInsertState state;
	int n; /* of the table's slots that are filled */
	Size bytes;
} RowBuffer;

typedef struct Appender
{
	CdpTable *table;
	const CdpAppended *known;
	CdpColumn *const *columns;
	Oid *targets; /* of each row of a partitioned table: the partition it belongs to */
	List *buffers;
	RowBuffer *last;
	CommandId command;
} Appender;

int
cdp_append_columns(const CdpAppend *append)
{
	int n = 1;

	for (const char *name = strchr(append->columns, ','); name != NULL; name = strchr(name + 1, ','))
		n++;
	return n;
}

/* Prepare the defaults of the columns that are not given. */
static void
prepare_defaults(CdpAppended *known, CdpTable *table)
{
	bool *is_given = palloc0(sizeof(bool) * table->columns->natts);

	for (int i = 0; i < known->n_columns; i++)
		is_given[known->attributes[i]] = true;
	known->defaulted = palloc(sizeof(int) * table->columns->natts);
	known->defaults = palloc(sizeof(ExprState *) * table->columns->natts);
	for (int i = 0; i < table->columns->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(table->columns, i);
		Expr *expression = is_given[i] || attribute->attisdropped || attribute->attgenerated != '\0'
							   ? NULL
							   : (Expr *) build_column_default(table->relation, i + 1);

		if (expression == NULL)
			continue;
		known->defaulted[known->n_defaulted] = i;
		known->defaults[known->n_defaulted++] = ExecPrepareExpr(expression, table->estate);
	}
}

/* The column given by whose ranges the table is partitioned, or -1. */
static int
find_partition_column(const CdpAppended *known, const CdpTable *table)
{
	PartitionKey key = RelationGetPartitionKey(table->relation);

	for (int i = 0; key->strategy == PARTITION_STRATEGY_RANGE && key->partnatts == 1 && i < known->n_columns; i++)
	{
		if (known->attributes[i] + 1 == key->partattrs[0])
			return i;
	}
	return -1;
}

/* What there is to know about the table, found out now if it was not before. */
static const CdpAppended *
examine(CdpAppend *append, CdpTable *table)
{
	MemoryContext old = MemoryContextSwitchTo(table->context);
	CdpAppended *known = append->known;

	if (known == NULL || append->known_of != table->number)
	{
		known = palloc0(sizeof(CdpAppended));
		known->n_columns = cdp_table_attributes(table, append->columns, known->attributes);
		known->row = MakeTupleTableSlot(table->columns, &TTSOpsVirtual);
		prepare_defaults(known, table);
		if (table->relation->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
			known->partition_column = find_partition_column(known, table);
		append->known = known;
		append->known_of = table->number;
	}
	MemoryContextSwitchTo(old);
	return known;
}

/* Find the partition of each row; false: one has none, '*missing', or SQL has to find it. */
static bool
find_targets(Appender *a, int *missing)
{
	Relation relation = a->table->relation;
	PartitionKey key = RelationGetPartitionKey(relation);
	PartitionDesc partitions = RelationGetPartitionDesc(relation, true);
	const CdpColumn *column = a->known->partition_column < 0 ? NULL : a->columns[a->known->partition_column];

	if (column == NULL || column->has_nulls)
		return false;
	a->targets = palloc_extended(sizeof(Oid) * (Size) column->n, MCXT_ALLOC_HUGE);
	for (int i = 0; i < column->n; i++)
	{
		bool is_equal;
		Datum value = column->values[i];
		int bound = partitions->nparts == 0 ? -1
											: partition_range_datum_bsearch(key->partsupfunc, key->partcollation,
																			partitions->boundinfo, 1, &value, &is_equal);
		int partition = partitions->nparts == 0 ? -1 : partitions->boundinfo->indexes[bound + 1];

		if (partition < 0)
			*missing = i;
		if (partition < 0 || !partitions->is_leaf[partition])
			return false;
		a->targets[i] = partitions->oids[partition];
	}
	return true;
}

/* Fill a row in: what is given and the defaults of the rest. */
static void
fill(Appender *a, int i)
{
	const CdpAppended *known = a->known;
	TupleTableSlot *row = known->row;
	ExprContext *context = GetPerTupleExprContext(a->table->estate);

	ExecClearTuple(row);
	memset(row->tts_isnull, true, sizeof(bool) * row->tts_tupleDescriptor->natts);
	for (int k = 0; k < known->n_columns; k++)
	{
		row->tts_values[known->attributes[k]] = a->columns[k]->values[i];
		row->tts_isnull[known->attributes[k]] = a->columns[k]->nulls[i];
	}
	for (int k = 0; k < known->n_defaulted; k++)
	{
		int attribute = known->defaulted[k];

		row->tts_values[attribute] = ExecEvalExprSwitchContext(known->defaults[k], context, &row->tts_isnull[attribute]);
	}
	ExecStoreVirtualTuple(row);
}

/* Store the rows of a buffer, and their entries in the indexes. */
static void
flush(Appender *a, RowBuffer *buffer)
{
	CdpTable *table = buffer->table;
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(table->estate));

	if (buffer->n == 1)
		table_tuple_insert(table->relation, table->slots[0], a->command, 0, buffer->state); /* many want a page of memory for themselves */
	else
		table_multi_insert(table->relation, table->slots, buffer->n, a->command, 0, buffer->state);
	MemoryContextSwitchTo(old);
	for (int i = 0; i < buffer->n; i++)
		table->slots[i]->tts_nvalid = table->columns->natts; /* what they were filled with still stands there: no need to take the row apart */
	cdp_table_enter(table, table->slots, buffer->n);
	for (int i = 0; i < buffer->n; i++)
		ExecClearTuple(table->slots[i]);
	ResetPerTupleExprContext(table->estate);
	buffer->n = 0;
	buffer->bytes = 0;
}

/* See how a partition's columns stand, which may be in another order than the table's. */
static void
map_partition(const CdpTable *table, CdpTable *partition)
{
	MemoryContext old = MemoryContextSwitchTo(partition->context);

#if PG_VERSION_NUM >= 160000
	partition->map = build_attrmap_by_name_if_req(table->columns, partition->columns, false);
#else
	partition->map = build_attrmap_by_name_if_req(table->columns, partition->columns);
#endif
	partition->mapped = table->number;
	MemoryContextSwitchTo(old);
}

/* The buffer of the table, or a partition of it; NULL: it is not plain. */
static RowBuffer *
buffer_of(Appender *a, Oid target)
{
	ListCell *cell;
	RowBuffer *buffer;

	if (a->last != NULL && a->last->table->oid == target)
		return a->last;
	foreach (cell, a->buffers)
	{
		a->last = lfirst(cell);
		if (a->last->table->oid == target)
			return a->last;
	}
	buffer = palloc0(sizeof(RowBuffer));
	buffer->table = a->table;
	if (target != a->table->oid)
	{
		buffer->table = cdp_table_open_partition(target, RowExclusiveLock);
		if (buffer->table->mapped != a->table->number)
			map_partition(a->table, buffer->table);
	}
	if (a->columns[0]->n >= MIN_BULK_ROWS)
		buffer->state = GetBulkInsertState();
	a->buffers = lappend(a->buffers, buffer);
	return a->last = buffer;
}

/* Put the row that is filled in into the buffer of its table or partition. */
static void
put(Appender *a, RowBuffer *buffer)
{
	const TupleTableSlot *row = a->known->row;
	TupleTableSlot *slot = cdp_table_slot(buffer->table, buffer->n++);
	int n = slot->tts_tupleDescriptor->natts;

	if (buffer->table->map != NULL)
		execute_attr_map_slot(buffer->table->map, a->known->row, slot);
	else
	{
		memcpy(slot->tts_values, row->tts_values, sizeof(Datum) * n);
		memcpy(slot->tts_isnull, row->tts_isnull, sizeof(bool) * n);
		ExecStoreVirtualTuple(slot);
	}
	slot->tts_tableOid = buffer->table->oid;
	cdp_table_check(buffer->table, slot);
	for (int i = 0; i < n; i++)
	{
		if (!slot->tts_isnull[i] && TupleDescAttr(slot->tts_tupleDescriptor, i)->attlen == -1)
			buffer->bytes += VARSIZE_ANY(DatumGetPointer(slot->tts_values[i]));
	}
	if (buffer->n == MAX_BUFFERED_ROWS || buffer->bytes >= MAX_BUFFERED_BYTES)
		flush(a, buffer);
}

static void
end(Appender *a)
{
	ListCell *cell;

	foreach (cell, a->buffers)
	{
		RowBuffer *buffer = lfirst(cell);

		if (buffer->n > 0)
			flush(a, buffer);
		if (buffer->state != NULL)
			FreeBulkInsertState(buffer->state);
		if (buffer->table != a->table)
			cdp_table_close(buffer->table);
	}
	ExecClearTuple(a->known->row);
}

/* Are all partitions that rows go to plain? */
static bool
are_targets_plain(Appender *a)
{
	for (int i = 0; i < a->columns[0]->n; i++)
	{
		RowBuffer *buffer = i > 0 && a->targets[i] == a->targets[i - 1] ? a->last : buffer_of(a, a->targets[i]);

		if (!cdp_table_is_plain(buffer->table, ACL_NO_RIGHTS)) /* those are asked of the table */
			return false;
	}
	return true;
}

/* Store all rows; false: none, SQL has to do it. */
static bool
store(CdpAppend *append, CdpTable *table, CdpColumn *const *columns, int *missing)
{
	Appender a = {.table = table, .known = examine(append, table), .columns = columns};
	bool is_partitioned = table->relation->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	bool is_possible = !is_partitioned || find_targets(&a, missing);

	is_possible = is_possible && cdp_table_is_plain(table, ACL_INSERT) && (!is_partitioned || are_targets_plain(&a));
	a.command = GetCurrentCommandId(is_possible);
	for (int i = 0; is_possible && i < columns[0]->n; i++)
	{
		if ((i & 0xFF) == 0)
			CHECK_FOR_INTERRUPTS();
		fill(&a, i);
		put(&a, buffer_of(&a, is_partitioned ? a.targets[i] : table->oid));
	}
	end(&a);
	return is_possible;
}

/* As store(); a key that is there already is another transaction's, so that trying again may help, and its error tells nobody's data. */
static bool
try_store(CdpAppend *append, CdpColumn *const *columns, int *missing)
{
	MemoryContext caller = CurrentMemoryContext;
	CdpTable *table = cdp_table_open(&append->table, RowExclusiveLock);
	volatile bool is_stored = false;

	MemoryContextSwitchTo(table->use);
	PG_TRY();
	{
		is_stored = store(append, table, columns, missing);
	}
	PG_CATCH();
	{
		ErrorData *error;

		if (geterrcode() != ERRCODE_UNIQUE_VIOLATION)
			PG_RE_THROW();
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
						errmsg("another transaction stored a row of the same key in cdp.%s", append->table.name),
						errdetail("Its unique index is \"%s\".", error->constraint_name == NULL ? "" : error->constraint_name),
						errhint("Try again. An index that somebody added must not be unique where rows can be alike.")));
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	cdp_table_close(table);
	if (is_stored)
		CommandCounterIncrement();
	return is_stored;
}

/* Make the partition that a row lacks. */
static void
make_partition(const CdpAppend *append, CdpColumn *const *columns, int row)
{
	Datum arguments[2] = {CStringGetTextDatum(append->table.name), columns[append->known->partition_column]->values[row]};

	cdp_run(&make_partitions, arguments, NULL);
	cdp_done();
}

/* Store all rows by INSERT. */
static void
insert(CdpAppend *append, CdpColumn *const *columns)
{
	Datum arguments[CDP_MAX_ARGUMENTS];

	for (int i = 0; i < cdp_append_columns(append); i++)
		arguments[i] = cdp_column_array(columns[i]);
	cdp_run(&append->by_sql, arguments, NULL);
	cdp_done();
}

int
cdp_append(CdpAppend *append, CdpColumn *const *columns)
{
	int last = -1;

	if (columns[0]->n == 0)
		return 0;
	for (;;)
	{
		int missing = -1;

		if (try_store(append, columns, &missing))
			break;
		if (missing <= last) /* there is nothing to make, or making it did not help */
		{
			insert(append, columns);
			break;
		}
		make_partition(append, columns, last = missing);
	}
	return columns[0]->n;
}

int64 *
cdp_mint(const char *sequence, int n, bool is_own)
{
	Oid oid = cdp_relation_oid(sequence);
	int64 *values = palloc_extended(sizeof(int64) * ((Size) n + 1), MCXT_ALLOC_HUGE);

	for (int i = 0; i < n; i++)
		values[i] = nextval_internal(oid, !is_own);
	return values;
}
