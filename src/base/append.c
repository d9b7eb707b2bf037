/*
 * append.c
 *		Rows into one of our tables, many at a time, as COPY stores them.
 */
#include "postgres.h"

#include "access/attmap.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "base/base.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/sequence.h"
#include "executor/execPartition.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

CDP_QUERY(make_partitions, "SELECT cdp.make_partitions($1, $2, $2)", "text,timestamptz");

#define MAX_BUFFERED_ROWS 200 /* several pages of the smallest */
#define MAX_BUFFERED_BYTES 65536
#define MIN_BULK_ROWS 100 /* for which memory of their own pays */

/* Rows on their way into a table, or a partition of it. */
typedef struct RowBuffer
{
	ResultRelInfo *target;
	AttrMap *map; /* from the table's columns to the partition's; NULL: they are the same */
	BulkInsertState state;
	TupleTableSlot **slots;
	int n_slots; /* that exist */
	int n;		 /* that are filled */
	Size bytes;
} RowBuffer;

typedef struct Appender
{
	Relation table;
	EState *estate;
	ResultRelInfo *root;
	ModifyTableState *routing_state; /* of a partitioned table */
	PartitionTupleRouting *routing;
	TupleTableSlot *row;
	int attributes[CDP_MAX_ARGUMENTS]; /* of the columns given: which attributes they are, from 0 */
	int n_columns;
	int n_rows; /* that come */
	int *defaulted; /* attributes of which defaults are computed */
	ExprState **defaults;
	int n_defaulted;
	ResultRelInfo **targets; /* of each row: the partition it belongs to */
	List *buffers;
	RowBuffer *last;
	CommandId command;
} Appender;

/* Is there nothing about a table or partition that SQL alone does right? */
static bool
is_plain(Relation table)
{
	const FormData_pg_class *form = table->rd_rel;

	return (form->relkind == RELKIND_RELATION || form->relkind == RELKIND_PARTITIONED_TABLE) && !form->relrowsecurity &&
		   !form->relhasrules && table->trigdesc == NULL &&
		   (table->rd_att->constr == NULL || !table->rd_att->constr->has_generated_stored);
}

bool
cdp_is_plain(Relation table, AclMode privilege)
{
	return is_plain(table) && pg_class_aclcheck(RelationGetRelid(table), GetUserId(), privilege) == ACLCHECK_OK;
}

/* The attribute of a name, from 0. */
static int
find_attribute(TupleDesc descriptor, const char *name, int length)
{
	for (int i = 0; i < descriptor->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(descriptor, i);

		if (!attribute->attisdropped && strncmp(NameStr(attribute->attname), name, length) == 0 &&
			NameStr(attribute->attname)[length] == '\0')
			return i;
	}
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN), errmsg("a column of a table of cdp does not exist"),
					errhint("Run SELECT cdp.init() again.")));
	pg_unreachable();
}

int
cdp_column_attributes(Relation table, const char *columns, int *attributes)
{
	int n = 0;

	for (const char *name = columns; name != NULL;)
	{
		const char *end = strstr(name, ", ");

		Assert(n < CDP_MAX_ARGUMENTS);
		attributes[n++] =
			find_attribute(RelationGetDescr(table), name, end == NULL ? (int) strlen(name) : (int) (end - name));
		name = end == NULL ? NULL : end + 2;
	}
	return n;
}

int
cdp_append_columns(const CdpAppend *append)
{
	int n = 1;

	for (const char *name = strchr(append->columns, ','); name != NULL; name = strchr(name + 1, ','))
		n++;
	return n;
}

/* Find the attributes that are given, and prepare the defaults of the others. */
static void
prepare_attributes(Appender *a, const char *names)
{
	TupleDesc descriptor = RelationGetDescr(a->table);
	bool *is_given = palloc0(sizeof(bool) * descriptor->natts);

	a->n_columns = cdp_column_attributes(a->table, names, a->attributes);
	for (int i = 0; i < a->n_columns; i++)
		is_given[a->attributes[i]] = true;
	a->defaulted = palloc(sizeof(int) * descriptor->natts);
	a->defaults = palloc(sizeof(ExprState *) * descriptor->natts);
	for (int i = 0; i < descriptor->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(descriptor, i);
		Expr *expression = is_given[i] || attribute->attisdropped || attribute->attgenerated != '\0'
							   ? NULL
							   : (Expr *) build_column_default(a->table, i + 1);

		if (expression == NULL)
			continue;
		a->defaulted[a->n_defaulted] = i;
		a->defaults[a->n_defaulted++] = ExecPrepareExpr(expression, a->estate);
	}
}

static void
begin(Appender *a, const CdpAppend *append)
{
	a->estate = CreateExecutorState();
	a->root = makeNode(ResultRelInfo);
	InitResultRelInfo(a->root, a->table, 0, NULL, 0);
	a->row = MakeSingleTupleTableSlot(RelationGetDescr(a->table), &TTSOpsVirtual);
	a->command = GetCurrentCommandId(true);
	prepare_attributes(a, append->columns);
	if (a->table->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
	{
		a->routing_state = makeNode(ModifyTableState);
		a->routing_state->ps.state = a->estate;
		a->routing_state->operation = CMD_INSERT;
		a->routing_state->mt_nrels = 1;
		a->routing_state->resultRelInfo = a->root;
		a->routing_state->rootResultRelInfo = a->root;
		a->routing = ExecSetupPartitionTupleRouting(a->estate, a->table);
	}
	else
		ExecOpenIndices(a->root, false);
}

/* Fill in what is given of a row. */
static void
fill(Appender *a, CdpColumn *const *columns, int i)
{
	TupleTableSlot *row = a->row;

	ExecClearTuple(row);
	memset(row->tts_isnull, true, sizeof(bool) * row->tts_tupleDescriptor->natts);
	for (int k = 0; k < a->n_columns; k++)
	{
		row->tts_values[a->attributes[k]] = columns[k]->values[i];
		row->tts_isnull[a->attributes[k]] = columns[k]->nulls[i];
	}
	ExecStoreVirtualTuple(row);
}

/* Fill in the defaults of the others. */
static void
fill_defaults(Appender *a)
{
	ExprContext *context = GetPerTupleExprContext(a->estate);

	for (int k = 0; k < a->n_defaulted; k++)
	{
		int attribute = a->defaulted[k];

		a->row->tts_values[attribute] = ExecEvalExprSwitchContext(a->defaults[k], context, &a->row->tts_isnull[attribute]);
	}
}

/* Find the partition of each row; false: one of them is not plain.  What they are partitioned by is given. */
static bool
find_targets(Appender *a, CdpColumn *const *columns)
{
	int n = columns[0]->n;
	ResultRelInfo *last = a->root;

	a->targets = palloc_extended(sizeof(ResultRelInfo *) * (Size) n, MCXT_ALLOC_HUGE);
	for (int i = 0; i < n; i++)
	{
		fill(a, columns, i);
		a->targets[i] = ExecFindPartition(a->routing_state, a->root, a->routing, a->row, a->estate);
		if (a->targets[i] != last && !is_plain(a->targets[i]->ri_RelationDesc))
			return false;
		last = a->targets[i];
	}
	return true;
}

/* Store the rows of a buffer, and their entries in the indexes. */
static void
flush(Appender *a, RowBuffer *buffer)
{
	ResultRelInfo *target = buffer->target;
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(a->estate));

	table_multi_insert(target->ri_RelationDesc, buffer->slots, buffer->n, a->command, 0, buffer->state);
	MemoryContextSwitchTo(old);
	for (int i = 0; i < buffer->n; i++)
	{
		if (target->ri_NumIndices > 0)
			ExecInsertIndexTuples(target, buffer->slots[i], a->estate, false, false, NULL, NIL
#if PG_VERSION_NUM >= 160000
								  , false
#endif
			);
		ExecClearTuple(buffer->slots[i]);
	}
	ResetPerTupleExprContext(a->estate);
	buffer->n = 0;
	buffer->bytes = 0;
}

/* The buffer of a table or partition. */
static RowBuffer *
buffer_of(Appender *a, ResultRelInfo *target)
{
	ListCell *cell;
	RowBuffer *buffer;

	if (a->last != NULL && a->last->target == target)
		return a->last;
	foreach (cell, a->buffers)
	{
		a->last = lfirst(cell);
		if (a->last->target == target)
			return a->last;
	}
	buffer = palloc0(sizeof(RowBuffer));
	buffer->target = target;
	if (a->n_rows >= MIN_BULK_ROWS)
		buffer->state = GetBulkInsertState();
	buffer->slots = palloc(sizeof(TupleTableSlot *) * Min(a->n_rows, MAX_BUFFERED_ROWS));
	if (target != a->root)
#if PG_VERSION_NUM >= 160000
		buffer->map = build_attrmap_by_name_if_req(RelationGetDescr(a->table), RelationGetDescr(target->ri_RelationDesc), false);
#else
		buffer->map = build_attrmap_by_name_if_req(RelationGetDescr(a->table), RelationGetDescr(target->ri_RelationDesc));
#endif
	a->buffers = lappend(a->buffers, buffer);
	return a->last = buffer;
}

/* Put the row that is filled in into the buffer of its table or partition. */
static void
put(Appender *a, ResultRelInfo *target)
{
	RowBuffer *buffer = buffer_of(a, target);
	TupleTableSlot *slot;

	if (buffer->n == buffer->n_slots)
		buffer->slots[buffer->n_slots++] = table_slot_create(target->ri_RelationDesc, NULL);
	slot = buffer->slots[buffer->n++];
	ExecClearTuple(slot);
	if (buffer->map != NULL)
		execute_attr_map_slot(buffer->map, a->row, slot);
	else
	{
		int n = a->row->tts_tupleDescriptor->natts;

		memcpy(slot->tts_values, a->row->tts_values, sizeof(Datum) * n);
		memcpy(slot->tts_isnull, a->row->tts_isnull, sizeof(bool) * n);
		ExecStoreVirtualTuple(slot);
	}
	slot->tts_tableOid = RelationGetRelid(target->ri_RelationDesc);
	if (target->ri_RelationDesc->rd_att->constr != NULL)
		ExecConstraints(target, slot, a->estate);
	for (int i = 0; i < slot->tts_tupleDescriptor->natts; i++)
	{
		if (!slot->tts_isnull[i] && TupleDescAttr(slot->tts_tupleDescriptor, i)->attlen == -1)
			buffer->bytes += VARSIZE_ANY(DatumGetPointer(slot->tts_values[i]));
	}
	if (a->n_defaulted > 0 && a->routing != NULL)
		ExecMaterializeSlot(slot); /* another partition's flush lets go of the memory of defaults */
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
		for (int i = 0; i < buffer->n_slots; i++)
			ExecDropSingleTupleTableSlot(buffer->slots[i]);
		if (buffer->state != NULL)
			FreeBulkInsertState(buffer->state);
	}
	if (a->routing != NULL)
		ExecCleanupTupleRouting(a->routing_state, a->routing);
	else
		ExecCloseIndices(a->root);
	ExecDropSingleTupleTableSlot(a->row);
	FreeExecutorState(a->estate);
	CommandCounterIncrement();
}

/* Store all rows; false: none, a partition is not plain. */
static bool
store(const CdpAppend *append, Relation table, CdpColumn *const *columns)
{
	Appender a = {.table = table, .n_rows = columns[0]->n};
	bool is_possible;

	begin(&a, append);
	is_possible = a.routing == NULL || find_targets(&a, columns);
	for (int i = 0; is_possible && i < columns[0]->n; i++)
	{
		if ((i & 0xFF) == 0)
			CHECK_FOR_INTERRUPTS();
		fill(&a, columns, i);
		fill_defaults(&a);
		put(&a, a.routing == NULL ? a.root : a.targets[i]);
	}
	end(&a);
	return is_possible;
}

/* As store(); a key that is there already is another transaction's, so that trying again may help, and its error tells nobody's data. */
static bool
try_store(const CdpAppend *append, Relation table, CdpColumn *const *columns)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller, "cdp append", ALLOCSET_DEFAULT_SIZES);
	volatile bool is_stored = false;

	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		is_stored = store(append, table, columns);
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
						errmsg("another transaction stored a row of the same key in cdp.%s", append->table),
						errdetail("Its unique index is \"%s\".", error->constraint_name == NULL ? "" : error->constraint_name),
						errhint("Try again. An index that somebody added must not be unique where rows can be alike.")));
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	return is_stored;
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
	Relation table;
	bool is_stored;

	if (columns[0]->n == 0)
		return 0;
	table = table_open(cdp_relation_oid(append->table), RowExclusiveLock);
	is_stored = cdp_is_plain(table, ACL_INSERT) && try_store(append, table, columns);
	table_close(table, NoLock);
	if (!is_stored)
		insert(append, columns);
	return columns[0]->n;
}

void
cdp_append_prepare(const char *table, TimestampTz at)
{
	Datum arguments[2] = {CStringGetTextDatum(table), TimestampTzGetDatum(at)};
	char name[NAMEDATALEN];
	struct pg_tm tm;
	fsec_t fraction;

	if (timestamp2tm(at, NULL, &tm, &fraction, NULL, NULL) == 0)
	{
		snprintf(name, sizeof(name), "%s_%04d_%02d", table, tm.tm_year, tm.tm_mon);
		if (OidIsValid(get_relname_relid(name, get_namespace_oid("cdp", false))))
			return;
	}
	cdp_run(&make_partitions, arguments, NULL);
	cdp_done();
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
