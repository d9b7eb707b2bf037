/*
 * upsert.c
 *		Rows of one of our tables found by their key, merged in C and written back; rows that are new appended.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/nbtree.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "base/base.h"
#include "catalog/pg_class.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

typedef struct Upserter
{
	Relation table;
	Relation index;
	ScanKeyData keys[CDP_MAX_ARGUMENTS];
	int n_keys;
	int attributes[CDP_MAX_ARGUMENTS]; /* of the columns, from 0 */
	int n_columns;
	TupleTableSlot *found;
	EState *estate; /* of writing; NULL: nothing was written yet */
	ResultRelInfo *target;
	TupleTableSlot *written;
	MemoryContext scratch; /* of one row */
} Upserter;

static void
begin(Upserter *u, const CdpUpsert *upsert)
{
	u->n_keys = upsert->n_keys;
	u->n_columns = cdp_column_attributes(u->table, upsert->append.columns, u->attributes);
	u->index = index_open(cdp_relation_oid(upsert->index), RowExclusiveLock);
	u->found = table_slot_create(u->table, NULL);
	u->scratch = AllocSetContextCreate(CurrentMemoryContext, "cdp upsert row", ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < u->n_keys; i++)
	{
		Oid type = u->index->rd_opcintype[i];
		Oid equals = get_opfamily_member(u->index->rd_opfamily[i], type, type, BTEqualStrategyNumber);

		if (!OidIsValid(equals))
			elog(ERROR, "an index of cdp is no b-tree");
		ScanKeyEntryInitialize(&u->keys[i], 0, i + 1, BTEqualStrategyNumber, InvalidOid, u->index->rd_indcollation[i],
							   get_opcode(equals), (Datum) 0);
	}
}

/* Prepare for writing; often rows are only read. */
static void
begin_writing(Upserter *u)
{
	MemoryContext old = MemoryContextSwitchTo(MemoryContextGetParent(u->scratch));

	u->estate = CreateExecutorState();
	u->target = makeNode(ResultRelInfo);
	InitResultRelInfo(u->target, u->table, 0, NULL, 0);
	CheckCmdReplicaIdentity(u->table, CMD_UPDATE); /* as SQL: what is published must tell subscribers which row it was */
	u->written = MakeSingleTupleTableSlot(RelationGetDescr(u->table), &TTSOpsHeapTuple);
	MemoryContextSwitchTo(old);
}

/* Make the entries of the row that was written; most rows stay on their page and need none. */
static void
index_row(Upserter *u, bool is_summarizing)
{
	if (u->target->ri_IndexRelationDescs == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(MemoryContextGetParent(u->scratch));

		ExecOpenIndices(u->target, false);
		MemoryContextSwitchTo(old);
	}
#if PG_VERSION_NUM >= 160000
	ExecInsertIndexTuples(u->target, u->written, u->estate, true, false, NULL, NIL, is_summarizing);
#else
	ExecInsertIndexTuples(u->target, u->written, u->estate, true, false, NULL, NIL);
#endif
	ResetPerTupleExprContext(u->estate);
}

/* Write a row that has changed. */
static void
update(Upserter *u, const Datum *values, const bool *nulls, Snapshot snapshot)
{
	TM_FailureData failure;
	LockTupleMode mode;
	int natts = RelationGetDescr(u->table)->natts;
	HeapTuple tuple;
	TM_Result result;
#if PG_VERSION_NUM >= 160000
	TU_UpdateIndexes update_indexes;
#else
	bool update_indexes;
#endif
	Datum *all = palloc(sizeof(Datum) * natts);
	bool *all_nulls = palloc(sizeof(bool) * natts);

	if (u->estate == NULL)
		begin_writing(u);
	slot_getallattrs(u->found);
	memcpy(all, u->found->tts_values, sizeof(Datum) * natts);
	memcpy(all_nulls, u->found->tts_isnull, sizeof(bool) * natts);
	for (int i = u->n_keys; i < u->n_columns; i++)
	{
		all[u->attributes[i]] = values[i];
		all_nulls[u->attributes[i]] = nulls[i];
	}
	tuple = heap_form_tuple(RelationGetDescr(u->table), all, all_nulls);
	tuple->t_tableOid = RelationGetRelid(u->table);
	ExecForceStoreHeapTuple(tuple, u->written, false);
	if (u->table->rd_att->constr != NULL)
		ExecConstraints(u->target, u->written, u->estate);
	result = table_tuple_update(u->table, &u->found->tts_tid, u->written, GetCurrentCommandId(true), snapshot,
								InvalidSnapshot, true, &failure, &mode, &update_indexes);
	if (result != TM_Ok)
		ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
						errmsg("another transaction changed a row of cdp.%s at the same time", RelationGetRelationName(u->table)),
						errhint("Try again.")));
#if PG_VERSION_NUM >= 160000
	if (update_indexes != TU_None)
		index_row(u, update_indexes == TU_Summarizing);
#else
	if (update_indexes)
		index_row(u, false);
#endif
	ExecClearTuple(u->written);
}

/* Take the caller's columns out of the row that was found. */
static void
read_row(Upserter *u, Datum *values, bool *nulls)
{
	for (int i = 0; i < u->n_columns; i++)
		values[i] = slot_getattr(u->found, u->attributes[i] + 1, &nulls[i]);
}

/* Merge the caller's rows into those that are there; tells which are not. */
static void
merge_all(Upserter *u, CdpColumn *const *columns, CdpMergeRow merge, void *arg, bool *is_new)
{
	Snapshot snapshot = RegisterSnapshot(IsolationUsesXactSnapshot() ? GetTransactionSnapshot() : GetLatestSnapshot());
	IndexScanDesc scan;

#if PG_VERSION_NUM >= 180000
	scan = index_beginscan(u->table, u->index, snapshot, NULL, u->n_keys, 0);
#else
	scan = index_beginscan(u->table, u->index, snapshot, u->n_keys, 0);
#endif
	for (int i = 0; i < columns[0]->n; i++)
	{
		Datum values[CDP_MAX_ARGUMENTS];
		bool nulls[CDP_MAX_ARGUMENTS];

		CHECK_FOR_INTERRUPTS();
		for (int k = 0; k < u->n_keys; k++)
			u->keys[k].sk_argument = columns[k]->values[i];
		index_rescan(scan, u->keys, u->n_keys, NULL, 0);
		is_new[i] = !index_getnext_slot(scan, ForwardScanDirection, u->found);
		if (is_new[i])
			continue;
		MemoryContextSwitchTo(u->scratch);
		read_row(u, values, nulls);
		if (merge(arg, i, values, nulls))
			update(u, values, nulls, snapshot);
		MemoryContextSwitchTo(MemoryContextGetParent(u->scratch));
		MemoryContextReset(u->scratch);
	}
	index_endscan(scan);
	UnregisterSnapshot(snapshot);
}

static void
end(Upserter *u)
{
	ExecDropSingleTupleTableSlot(u->found);
	index_close(u->index, NoLock);
	if (u->estate == NULL)
		return;
	ExecDropSingleTupleTableSlot(u->written);
	if (u->target->ri_IndexRelationDescs != NULL)
		ExecCloseIndices(u->target);
	FreeExecutorState(u->estate);
	CommandCounterIncrement();
}

/* The same straight from the index. */
static void
merge_by_index(CdpUpsert *upsert, Relation table, CdpColumn *const *columns, CdpMergeRow merge, void *arg, bool *is_new)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller, "cdp upsert", ALLOCSET_DEFAULT_SIZES);
	Upserter u = {table};

	MemoryContextSwitchTo(context);
	begin(&u, upsert);
	merge_all(&u, columns, merge, arg, is_new);
	end(&u);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}

/* Write the statements that read rows by their keys and update them, unless they are there. */
static void
write_sql(CdpUpsert *upsert, int n_columns)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	StringInfoData keys, condition, assignments, parameters;
	const char *name = upsert->append.columns;

	initStringInfo(&keys);
	initStringInfo(&condition);
	initStringInfo(&assignments);
	initStringInfo(&parameters);
	for (int i = 0; i < n_columns; i++)
	{
		int length = strcspn(name, ",");

		if (i == upsert->n_keys)
			appendStringInfo(&keys, "%s", parameters.data);
		appendStringInfo(&parameters, "%s$%d", i == 0 ? "" : ", ", i + 1);
		if (i < upsert->n_keys)
			appendStringInfo(&condition, "%st.%.*s = k.%.*s", i == 0 ? "" : " AND ", length, name, length, name);
		else
			appendStringInfo(&assignments, "%s%.*s = k.%.*s", i == upsert->n_keys ? "" : ", ", length, name, length, name);
		name += length + 2;
	}
	name = upsert->append.columns;
	for (int i = 0; i < upsert->n_keys; i++)
		name = strchr(name, ',') + 2;
	upsert->read_by_sql.sql =
		psprintf("SELECT k.ord - 1, t.* FROM unnest(%s) WITH ORDINALITY AS k (%.*s, ord), LATERAL ("
				 "SELECT %s FROM cdp.%s t WHERE %s) t",
				 keys.data, (int) (name - 2 - upsert->append.columns), upsert->append.columns, upsert->append.columns,
				 upsert->append.table, condition.data);
	upsert->update_by_sql.sql = psprintf("UPDATE cdp.%s t SET %s FROM unnest(%s) AS k (%s) WHERE %s", upsert->append.table,
										 assignments.data, parameters.data, upsert->append.columns, condition.data);
	MemoryContextSwitchTo(old);
}

/* The same by SQL. */
static void
merge_by_sql(CdpUpsert *upsert, Relation table, CdpColumn *const *columns, CdpMergeRow merge, void *arg, bool *is_new)
{
	Datum arguments[CDP_MAX_ARGUMENTS] = {0};
	char nulls_of_arguments[CDP_MAX_ARGUMENTS];
	int attributes[CDP_MAX_ARGUMENTS];
	int n_columns = cdp_column_attributes(table, upsert->append.columns, attributes);
	CdpColumn *changed[CDP_MAX_ARGUMENTS];
	uint64 n;

	if (upsert->read_by_sql.sql == NULL)
		write_sql(upsert, n_columns);
	memset(is_new, true, sizeof(bool) * (Size) columns[0]->n);
	for (int i = 0; i < n_columns; i++)
	{
		bool is_key = i < upsert->n_keys;

		nulls_of_arguments[i] = is_key ? ' ' : 'n';
		arguments[i] = is_key ? cdp_column_array(columns[i]) : (Datum) 0;
		changed[i] = cdp_column(TupleDescAttr(RelationGetDescr(table), attributes[i])->atttypid, columns[0]->n);
	}
	n = cdp_run(&upsert->read_by_sql, arguments, nulls_of_arguments);
	for (uint64 row = 0; row < n; row++)
	{
		Datum values[CDP_MAX_ARGUMENTS];
		bool nulls[CDP_MAX_ARGUMENTS];
		int i = cdp_result_int64(row, 1, 0);

		is_new[i] = false;
		for (int k = 0; k < n_columns; k++)
			values[k] = cdp_result_datum(row, k + 2, &nulls[k]);
		if (!merge(arg, i, values, nulls))
			continue;
		for (int k = 0; k < n_columns; k++)
			cdp_column_add_any(changed[k], values[k], nulls[k]);
	}
	for (int i = 0; i < n_columns; i++)
		arguments[i] = cdp_column_array(changed[i]);
	cdp_done();
	if (changed[0]->n > 0)
	{
		cdp_run(&upsert->update_by_sql, arguments, NULL);
		cdp_done();
	}
}

/* Append the rows that are new. */
static void
append_new(CdpUpsert *upsert, CdpColumn *const *columns, int n_columns, const bool *is_new)
{
	CdpColumn *new[CDP_MAX_ARGUMENTS];

	for (int k = 0; k < n_columns; k++)
	{
		new[k] = cdp_column(columns[k]->type, 64);
		for (int i = 0; i < columns[k]->n; i++)
		{
			if (is_new[i])
				cdp_column_add_any(new[k], columns[k]->values[i], columns[k]->nulls[i]);
		}
	}
	cdp_append(&upsert->append, new);
}

int
cdp_update(CdpUpsert *upsert, CdpColumn *const *columns, CdpMergeRow merge, void *arg, bool *is_new)
{
	int n = columns[0]->n;
	int n_new = 0;
	Relation table;

	if (n == 0)
		return 0;
	table = table_open(cdp_relation_oid(upsert->append.table), RowExclusiveLock);
	if (table->rd_rel->relkind == RELKIND_RELATION && cdp_is_plain(table, ACL_SELECT) && cdp_is_plain(table, ACL_UPDATE))
		merge_by_index(upsert, table, columns, merge, arg, is_new);
	else
		merge_by_sql(upsert, table, columns, merge, arg, is_new);
	table_close(table, NoLock);
	for (int i = 0; i < n; i++)
		n_new += is_new[i];
	return n_new;
}

int
cdp_upsert(CdpUpsert *upsert, CdpColumn *const *columns, CdpMergeRow merge, void *arg)
{
	bool *is_new = palloc(sizeof(bool) * ((Size) columns[0]->n + 1));
	int n_new = cdp_update(upsert, columns, merge, arg, is_new);

	if (n_new > 0)
		append_new(upsert, columns, cdp_append_columns(&upsert->append), is_new);
	pfree(is_new);
	return n_new;
}
