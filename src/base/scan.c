/*
 * scan.c
 *		The rows of one of our tables under many keys, straight from an index.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/nbtree.h"
#include "access/stratnum.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "base/base.h"
#include "base/page.h"
#include "base/scan.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/datum.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

/* What was found out about the table of a scan; it stands in the table's memory. */
typedef struct CdpScanned
{
	Oid index_oid;
	CdpBtreeOrder order; /* n is 0: the index was not needed yet */
	int attributes[CDP_MAX_ARGUMENTS]; /* of the columns, from 0 */
	int n_columns;
	AttrNumber last; /* the largest of them, from 1 */
	TupleTableSlot *row;
} CdpScanned;

/* Is it the index that cdp.init() made? */
static bool
is_ours(const CdpScan *scan, const CdpScanned *known, const CdpTable *table, Relation index)
{
	if (!cdp_btree_fits(table->relation, index, scan->n_keys, CDP_BTREE_ANY) || RelationGetIndexPredicate(index) != NIL)
		return false;
	for (int i = 0; i < scan->n_keys; i++)
	{
		if (index->rd_index->indkey.values[i] != known->attributes[i] + 1)
			return false;
	}
	return true;
}

/* Find out which columns they are. */
static CdpScanned *
examine(const CdpScan *scan, CdpTable *table)
{
	MemoryContext old = MemoryContextSwitchTo(table->context);
	CdpScanned *known = palloc0(sizeof(CdpScanned));

	known->n_columns = cdp_table_attributes(table, scan->columns, known->attributes);
	for (int i = 0; i < known->n_columns; i++)
		known->last = Max(known->last, known->attributes[i] + 1);
	known->row = MakeTupleTableSlot(table->columns, table_slot_callbacks(table->relation));
	MemoryContextSwitchTo(old);
	return known;
}

void
cdp_scanner_begin(CdpScanner *scanner, CdpScan *scan, CdpTable *table)
{
	if (scan->known == NULL || scan->known_of != table->number)
	{
		scan->known = examine(scan, table);
		scan->known_of = table->number;
	}
	scanner->scan = scan;
	scanner->table = table;
	scanner->known = scan->known;
	scanner->row = scanner->known->row;
	scanner->snapshot = RegisterSnapshot(IsolationUsesXactSnapshot() ? GetTransactionSnapshot() : GetLatestSnapshot());
	scanner->is_searching = false;
	scanner->n_places = scanner->next = 0;
	scanner->is_found = scanner->has_dead = false;
	scanner->buffer = InvalidBuffer;
}

/* Open the index, and find out how it compares keys. */
static void
begin_search(CdpScanner *scanner)
{
	CdpScanned *known = scanner->known;
	Oid oid = known->order.n > 0 ? known->index_oid : cdp_relation_oid(scanner->scan->index);
	Relation index = cdp_table_open_index(scanner->table, oid);

	if (known->order.n == 0)
	{
		MemoryContext old;

		/* REINDEX CONCURRENTLY may have given its name to another, of which we hear only now that it is locked */
		while (!is_ours(scanner->scan, known, scanner->table, index))
		{
			Oid before = oid;

			AcceptInvalidationMessages();
			oid = cdp_relation_oid(scanner->scan->index);
			if (oid == before)
				ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
								errmsg("index cdp.%s is not the one that cdp made", scanner->scan->index),
								errhint("Drop it and run SELECT cdp.init() again.")));
			index = cdp_table_open_index(scanner->table, oid);
		}
		old = MemoryContextSwitchTo(scanner->table->context);
		known->index_oid = oid;
		known->order = cdp_btree_order(scanner->table->relation, index, scanner->scan->n_keys);
		MemoryContextSwitchTo(old);
	}
	cdp_btree_begin(&scanner->search, index, &known->order, scanner->snapshot);
	scanner->is_searching = true;
}

/*
 * Row pointers under the present key led to no row that anybody sees.  The server's own scan marks them, so that they
 * are not followed again and their place is used for others.
 */
static void
mark_dead(CdpScanner *scanner)
{
	Relation index = scanner->search.index;
	int n = scanner->scan->n_keys;
	ScanKeyData keys[CDP_MAX_ARGUMENTS];
	IndexScanDesc scan;

	for (int i = 0; i < n; i++)
	{
		Oid type = index->rd_opcintype[i];
		Oid equals = get_opfamily_member(index->rd_opfamily[i], type, type, BTEqualStrategyNumber);

		ScanKeyInit(&keys[i], i + 1, BTEqualStrategyNumber, get_opcode(equals), scanner->key[i]);
		keys[i].sk_collation = index->rd_indcollation[i];
	}
#if PG_VERSION_NUM >= 180000
	scan = index_beginscan(scanner->table->relation, index, scanner->snapshot, NULL, n, 0);
#else
	scan = index_beginscan(scanner->table->relation, index, scanner->snapshot, n, 0);
#endif
	index_rescan(scan, keys, n, NULL, 0);
	while (index_getnext_slot(scan, ForwardScanDirection, scanner->row))
		CHECK_FOR_INTERRUPTS();
	index_endscan(scan);
	scanner->has_dead = false;
}

/* Go to the version of a row that is seen, if any; '*is_dead': nobody sees one. */
static bool
fetch(CdpScanner *scanner, ItemPointer place, bool *is_dead)
{
	Relation relation = scanner->table->relation;
	Buffer before = scanner->buffer;
	ItemPointerData first = *place;
	HeapTupleData tuple;
	bool is_found;

	scanner->buffer = ReleaseAndReadBuffer(scanner->buffer, relation, ItemPointerGetBlockNumber(place));
	if (scanner->buffer != before)
		cdp_page_tidy(relation, scanner->buffer);
	LockBuffer(scanner->buffer, BUFFER_LOCK_SHARE);
	is_found = heap_hot_search_buffer(place, relation, scanner->buffer, scanner->snapshot, &tuple, is_dead, true);
	LockBuffer(scanner->buffer, BUFFER_LOCK_UNLOCK);
	if (!is_found)
		return false;
	scanner->place = first;
	((BufferHeapTupleTableSlot *) scanner->row)->base.tupdata = tuple;
	scanner->row->tts_tableOid = scanner->table->oid;
	ExecStoreBufferHeapTuple(&((BufferHeapTupleTableSlot *) scanner->row)->base.tupdata, scanner->row, scanner->buffer);
	return true;
}

/* Is the row in the slot the one of the i-th of the keys? */
static bool
has_key(CdpScanner *scanner, CdpColumn *const *keys, int i)
{
	const CdpScanned *known = scanner->known;

	slot_getsomeattrs(scanner->row, known->last);
	for (int k = 0; k < scanner->scan->n_keys; k++)
	{
		const CdpColumn *key = keys[k];
		int attribute = known->attributes[k];

		if (scanner->row->tts_isnull[attribute] ||
			!datum_image_eq(scanner->row->tts_values[attribute], key->values[i], key->typbyval, key->typlen))
			return false;
	}
	return true;
}

/* Look for the row of the i-th of the keys, of a unique index, where it is said to be. */
static bool
is_in_place(CdpScanner *scanner, CdpColumn *const *keys, const CdpColumn *places, int i)
{
	ItemPointerData place = *(ItemPointer) DatumGetPointer(places->values[i]);
	bool is_dead;

	if (!ItemPointerIsValid(&place) || !fetch(scanner, &place, &is_dead) || !has_key(scanner, keys, i))
		return false;
	scanner->is_found = true;
	return true;
}

void
cdp_scanner_find(CdpScanner *scanner, CdpColumn *const *keys, CdpColumn *places, int i)
{
	if (scanner->has_dead)
		mark_dead(scanner);
	scanner->n_places = scanner->next = 0;
	scanner->is_found = false;
	if (places != NULL && is_in_place(scanner, keys, places, i))
		return;
	if (!scanner->is_searching)
		begin_search(scanner);
	for (int k = 0; k < scanner->scan->n_keys; k++)
		scanner->key[k] = keys[k]->values[i];
	cdp_btree_find(&scanner->search, scanner->key);
	scanner->n_places = scanner->search.places.n;
}

bool
cdp_scanner_next(CdpScanner *scanner)
{
	if (scanner->is_found)
	{
		scanner->is_found = false; /* there is no other */
		return true;
	}
	while (scanner->next < scanner->n_places)
	{
		ItemPointerData place = scanner->search.places.items[scanner->next++]; /* a copy, which becomes that of the version seen */
		bool is_dead = false;

		if (fetch(scanner, &place, &is_dead))
		{
			pgstat_count_heap_fetch(scanner->search.index);
			return true;
		}
		scanner->has_dead |= is_dead;
	}
	return false;
}

void
cdp_scanner_read(CdpScanner *scanner, Datum *values, bool *nulls)
{
	const CdpScanned *known = scanner->known;

	slot_getsomeattrs(scanner->row, known->last);
	for (int i = 0; i < known->n_columns; i++)
	{
		int attribute = known->attributes[i];

		values[i] = attribute == CDP_ROW_PLACE ? PointerGetDatum(&scanner->place) : scanner->row->tts_values[attribute];
		nulls[i] = attribute != CDP_ROW_PLACE && scanner->row->tts_isnull[attribute];
	}
}

const int *
cdp_scanner_attributes(const CdpScanner *scanner, int *n)
{
	*n = scanner->known->n_columns;
	return scanner->known->attributes;
}

void
cdp_scanner_end(CdpScanner *scanner)
{
	if (scanner->has_dead)
		mark_dead(scanner);
	ExecClearTuple(scanner->row);
	if (BufferIsValid(scanner->buffer))
		ReleaseBuffer(scanner->buffer);
	if (scanner->is_searching)
		cdp_btree_end(&scanner->search);
	UnregisterSnapshot(scanner->snapshot);
}

/* Lock the row in the slot, which then is as it was when it was locked; false: it is gone. */
static bool
lock_row(CdpScanner *scanner)
{
	TM_FailureData failure;
	ItemPointerData place = scanner->row->tts_tid;
	int flags = IsolationUsesXactSnapshot() ? 0 : TUPLE_LOCK_FLAG_FIND_LAST_VERSION;

	ExecClearTuple(scanner->row);
	switch (table_tuple_lock(scanner->table->relation, &place, scanner->snapshot, scanner->row, GetCurrentCommandId(false),
							 LockTupleNoKeyExclusive, LockWaitBlock, flags, &failure))
	{
		case TM_Ok:
			return true;
		case TM_Deleted:
		case TM_Updated:
			if (IsolationUsesXactSnapshot())
				ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
								errmsg("could not serialize access due to concurrent update"), errhint("Try the transaction again.")));
			return false;
		default:
			return false; /* this transaction itself changed or deleted it since the snapshot was taken: there is another version */
	}
}

/* Give out the rows straight from the index. */
static uint64
scan_index(CdpScan *scan, CdpTable *table, CdpColumn *const *keys, CdpColumn *places, bool is_locked, CdpTakeRow take, void *arg)
{
	CdpScanner scanner;
	uint64 n = 0;

	cdp_scanner_begin(&scanner, scan, table);
	for (int i = 0; i < keys[0]->n; i++)
	{
		Datum values[CDP_MAX_ARGUMENTS];
		bool nulls[CDP_MAX_ARGUMENTS];

		CHECK_FOR_INTERRUPTS();
		cdp_scanner_find(&scanner, keys, places, i);
		while (cdp_scanner_next(&scanner))
		{
			if (is_locked && !lock_row(&scanner))
				continue;
			cdp_scanner_read(&scanner, values, nulls);
			take(arg, i, values, nulls);
			n++;
		}
	}
	cdp_scanner_end(&scanner);
	return n;
}

/* Write the statement, once a session: names and types of the keys are those of the first columns. */
static void
write_sql(CdpScan *scan, CdpQuery *query, bool is_locked)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	StringInfoData names, parameters, condition;
	const char *name = scan->columns;
	const char *types = query->types;

	initStringInfo(&names);
	initStringInfo(&parameters);
	initStringInfo(&condition);
	for (int i = 0; i < scan->n_keys; i++)
	{
		int length = strcspn(name, ",");

		appendStringInfo(&names, "%.*s, ", length, name);
		appendStringInfo(&parameters, "%s$%d", i == 0 ? "" : ", ", i + 1);
		appendStringInfo(&condition, "%sl.%.*s OPERATOR(pg_catalog.=) k.%.*s", i == 0 ? "" : " AND ", length, name, length, name);
		name += length + 2;
		types = strchrnul(types + 1, ',');
	}
	query->types = pnstrdup(query->types, types - query->types);
	query->sql = psprintf("SELECT k.ord - 1, t.* FROM unnest(%s) WITH ORDINALITY AS k (%sord), LATERAL ("
						  "SELECT %s FROM cdp.%s l WHERE %s%s) t ORDER BY k.ord",
						  parameters.data, names.data, scan->columns, scan->table.name, condition.data, is_locked ? " FOR NO KEY UPDATE" : "");
	MemoryContextSwitchTo(old);
}

uint64
cdp_scan_by_sql(CdpScan *scan, CdpColumn *const *keys, bool is_locked)
{
	CdpQuery *query = is_locked ? &scan->locked_by_sql : &scan->by_sql;
	Datum arguments[CDP_MAX_ARGUMENTS];

	if (query->sql == NULL)
		write_sql(scan, query, is_locked);
	for (int i = 0; i < scan->n_keys; i++)
		arguments[i] = cdp_column_array(keys[i]);
	return cdp_run(query, arguments, NULL);
}

/* Give out the rows by SQL. */
static uint64
scan_by_sql(CdpScan *scan, CdpColumn *const *keys, bool is_locked, CdpTakeRow take, void *arg)
{
	uint64 n = cdp_scan_by_sql(scan, keys, is_locked);
	SPITupleTable *rows = SPI_tuptable;

	for (uint64 row = 0; row < n; row++)
	{
		Datum values[CDP_MAX_ARGUMENTS];
		bool nulls[CDP_MAX_ARGUMENTS];

		SPI_tuptable = rows;
		for (int k = 0; k < rows->tupdesc->natts - 1; k++)
			values[k] = cdp_result_datum(row, k + 2, &nulls[k]);
		take(arg, (int) cdp_result_int64(row, 1, 0), values, nulls);
	}
	SPI_tuptable = rows;
	cdp_done();
	return n;
}

static uint64
scan_rows(CdpScan *scan, CdpColumn *const *keys, CdpColumn *places, bool is_locked, CdpTakeRow take, void *arg)
{
	CdpTable *table;
	uint64 n;

	if (keys[0]->n == 0)
		return 0;
	table = cdp_table_open(&scan->table, is_locked ? RowShareLock : AccessShareLock);
	if (table->relation->rd_rel->relkind == RELKIND_RELATION && cdp_table_is_plain(table, ACL_SELECT) &&
		(!is_locked || cdp_table_is_plain(table, ACL_UPDATE)))
		n = scan_index(scan, table, keys, places, is_locked, take, arg);
	else
		n = scan_by_sql(scan, keys, is_locked, take, arg);
	cdp_table_close(table);
	return n;
}

uint64
cdp_scan(CdpScan *scan, CdpColumn *const *keys, CdpTakeRow take, void *arg)
{
	return scan_rows(scan, keys, NULL, false, take, arg);
}

uint64
cdp_scan_at(CdpScan *scan, CdpColumn *const *keys, CdpColumn *places, CdpTakeRow take, void *arg)
{
	return scan_rows(scan, keys, places, false, take, arg);
}

uint64
cdp_scan_locked(CdpScan *scan, CdpColumn *const *keys, CdpColumn *places, CdpTakeRow take, void *arg)
{
	return scan_rows(scan, keys, places, true, take, arg);
}

static void
take_int64(void *arg, int i, Datum *values, bool *nulls)
{
	CdpColumn *column = arg;

	cdp_column_add(column, values[1]);
}

int
cdp_scan_int64(CdpScan *scan, const int64 *keys, int n, int64 **values)
{
	CdpColumn *column = cdp_column(INT8OID, n);
	CdpColumn *key = cdp_int64_column(keys, n);

	cdp_scan(scan, &key, take_int64, column);
	*values = palloc_extended(sizeof(int64) * ((Size) column->n + 1), MCXT_ALLOC_HUGE);
	for (int i = 0; i < column->n; i++)
		(*values)[i] = DatumGetInt64(column->values[i]);
	return cdp_sort_distinct(*values, column->n);
}
