/*
 * upsert.c
 *		Rows of one of our tables found by their key, merged in C and written back; rows that are new appended.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "access/xact.h"
#include "base/base.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/datum.h"
#include "utils/memutils.h"

/* Write the row in the scanner's slot anew, with other values. */
static void
update(CdpScanner *scanner, int n_keys, const Datum *values, const bool *nulls)
{
	CdpTable *table = scanner->table;
	TupleTableSlot *stored = scanner->row;
	TupleTableSlot *row = cdp_table_slot(table, 0);
	TM_FailureData failure;
	LockTupleMode mode;
	int natts = table->columns->natts;
	int n_columns;
	const int *attributes = cdp_scanner_attributes(scanner, &n_columns);
	TM_Result result;
#if PG_VERSION_NUM >= 160000
	TU_UpdateIndexes update_indexes;
#else
	bool update_indexes;
#endif

	slot_getallattrs(stored);
	memcpy(row->tts_values, stored->tts_values, sizeof(Datum) * natts);
	memcpy(row->tts_isnull, stored->tts_isnull, sizeof(bool) * natts);
	for (int i = n_keys; i < n_columns; i++)
	{
		row->tts_values[attributes[i]] = values[i];
		row->tts_isnull[attributes[i]] = nulls[i];
	}
	ExecStoreVirtualTuple(row);
	row->tts_tableOid = table->oid;
	cdp_table_check(table, row);
	result = table_tuple_update(table->relation, &stored->tts_tid, row, GetCurrentCommandId(true), scanner->snapshot,
								InvalidSnapshot, true, &failure, &mode, &update_indexes);
	if (result != TM_Ok)
		ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
						errmsg("another transaction changed a row of cdp.%s at the same time", RelationGetRelationName(table->relation)),
						errhint("Try again.")));
	/* most rows stay on their page and need no entries */
#if PG_VERSION_NUM >= 160000
	if (update_indexes != TU_None)
		cdp_table_enter_update(table, row, update_indexes == TU_Summarizing);
#else
	if (update_indexes)
		cdp_table_enter_update(table, row, false);
#endif
	ExecClearTuple(row);
	ResetPerTupleExprContext(table->estate);
}

/* Merge the caller's rows into those that are there, straight from the index; tells which more are not, and whether any was written. */
static bool
merge_by_index(CdpUpsert *upsert, CdpTable *table, CdpColumn *const *columns, CdpColumn *places, CdpMergeRow merge, void *arg,
			   bool *is_new)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext scratch = GetPerTupleMemoryContext(table->estate);
	CdpScanner scanner;
	bool is_written = false;

	cdp_scanner_begin(&scanner, &upsert->scan, table);
	for (int i = 0; i < columns[0]->n; i++)
	{
		Datum values[CDP_MAX_ARGUMENTS];
		bool nulls[CDP_MAX_ARGUMENTS];

		if (is_new[i])
			continue;
		CHECK_FOR_INTERRUPTS();
		cdp_scanner_find(&scanner, columns, places, i);
		is_new[i] = !cdp_scanner_next(&scanner);
		if (is_new[i])
			continue;
		MemoryContextSwitchTo(scratch);
		cdp_scanner_read(&scanner, values, nulls);
		if (merge(arg, i, values, nulls))
		{
			if (!is_written)
				CheckCmdReplicaIdentity(table->relation, CMD_UPDATE); /* as SQL: what is published must tell subscribers which row it was */
			update(&scanner, upsert->scan.n_keys, values, nulls);
			is_written = true;
		}
		MemoryContextSwitchTo(caller);
		MemoryContextReset(scratch);
	}
	cdp_scanner_end(&scanner);
	return is_written;
}

/* Write the statement that updates rows, once a session. */
static void
write_sql(CdpUpsert *upsert)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	StringInfoData condition, assignments, parameters;
	const char *name = upsert->append.columns;
	int n_keys = upsert->scan.n_keys;

	initStringInfo(&condition);
	initStringInfo(&assignments);
	initStringInfo(&parameters);
	for (int i = 0; i < cdp_append_columns(&upsert->append); i++)
	{
		int length = strcspn(name, ",");

		appendStringInfo(&parameters, "%s$%d", i == 0 ? "" : ", ", i + 1);
		if (i < n_keys)
			appendStringInfo(&condition, "%st.%.*s = k.%.*s", i == 0 ? "" : " AND ", length, name, length, name);
		else
			appendStringInfo(&assignments, "%s%.*s = k.%.*s", i == n_keys ? "" : ", ", length, name, length, name);
		name += length + 2;
	}
	upsert->update_by_sql.sql = psprintf("UPDATE cdp.%s t SET %s FROM unnest(%s) AS k (%s) WHERE %s", upsert->append.table.name,
										 assignments.data, parameters.data, upsert->append.columns, condition.data);
	MemoryContextSwitchTo(old);
}

/* The same by SQL. */
static void
merge_by_sql(CdpUpsert *upsert, CdpTable *table, CdpColumn *const *columns, CdpMergeRow merge, void *arg, bool *is_new)
{
	int attributes[CDP_MAX_ARGUMENTS];
	int n_columns = cdp_table_attributes(table, upsert->append.columns, attributes);
	CdpColumn *changed[CDP_MAX_ARGUMENTS];
	Datum arguments[CDP_MAX_ARGUMENTS];
	uint64 n;

	memset(is_new, true, sizeof(bool) * (Size) columns[0]->n);
	for (int i = 0; i < n_columns; i++)
		changed[i] = cdp_column(TupleDescAttr(table->columns, attributes[i])->atttypid, columns[0]->n);
	n = cdp_scan_by_sql(&upsert->scan, columns, false);
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
	if (changed[0]->n == 0)
		return;
	if (upsert->update_by_sql.sql == NULL)
		write_sql(upsert);
	cdp_run(&upsert->update_by_sql, arguments, NULL);
	cdp_done();
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

static int
count_new(const bool *is_new, int n)
{
	int n_new = 0;

	for (int i = 0; i < n; i++)
		n_new += is_new[i];
	return n_new;
}

int
cdp_update(CdpUpsert *upsert, CdpColumn *const *columns, CdpColumn *places, CdpMergeRow merge, void *arg, bool *is_new)
{
	int n = columns[0]->n;
	CdpTable *table;

	if (count_new(is_new, n) == n)
		return n;
	table = cdp_table_open(&upsert->append.table, RowExclusiveLock);
	if (table->relation->rd_rel->relkind != RELKIND_RELATION || !cdp_table_is_plain(table, ACL_SELECT) || !cdp_table_is_plain(table, ACL_UPDATE))
		merge_by_sql(upsert, table, columns, merge, arg, is_new);
	else if (merge_by_index(upsert, table, columns, places, merge, arg, is_new))
		CommandCounterIncrement();
	cdp_table_close(table);
	return count_new(is_new, n);
}

int
cdp_upsert(CdpUpsert *upsert, CdpColumn *const *columns, CdpMergeRow merge, void *arg, bool *is_new)
{
	int n_new;

	if (is_new == NULL)
		is_new = palloc0(sizeof(bool) * ((Size) columns[0]->n + 1));
	n_new = cdp_update(upsert, columns, NULL, merge, arg, is_new);
	if (n_new == columns[0]->n)
		cdp_append(&upsert->append, columns);
	else if (n_new > 0)
		append_new(upsert, columns, cdp_append_columns(&upsert->append), is_new);
	return n_new;
}

/* Rows that are known whole. */
typedef struct Replacement
{
	CdpColumn *const *columns;
	int n;
} Replacement;

static bool
replace_row(void *arg, int i, Datum *values, bool *nulls)
{
	const Replacement *replacement = arg;
	bool is_other = false;

	for (int k = 0; k < replacement->n; k++)
	{
		const CdpColumn *column = replacement->columns[k];

		if (nulls[k] == column->nulls[i] && (nulls[k] || datum_image_eq(values[k], column->values[i], column->typbyval, column->typlen)))
			continue;
		values[k] = column->values[i];
		nulls[k] = column->nulls[i];
		is_other = true;
	}
	return is_other;
}

int
cdp_replace(CdpUpsert *upsert, CdpColumn *const *columns)
{
	Replacement replacement = {columns, cdp_append_columns(&upsert->append)};

	return cdp_upsert(upsert, columns, replace_row, &replacement, NULL);
}
