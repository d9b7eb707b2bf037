/*
 * lookup.c
 *		The rows of one of our tables under a key, straight from its index.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "base/base.h"
#include "base/lookup.h"
#include "base/page.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* So many rows' memory is asked for at once: about as much as a processor waits for at a time. */
#define MAX_EXPECTED 16

/*
 * OIDs are looked up once and again after anything happened to one of the relations.  The number of the
 * generation rises with each such event; the callbacks do nothing else.
 */
static uint64 generation = 1;
static Oid known[32];
static int n_known = 0;

static void
forget(Datum arg, Oid relation)
{
	for (int i = 0; i < n_known && relation != InvalidOid; i++)
	{
		if (known[i] == relation)
			relation = InvalidOid;
	}
	if (relation == InvalidOid)
	{
		generation++;
		n_known = 0;
	}
}

/* Who may read what may have changed with the roles. */
static void
forget_readers(Datum arg, int cache, uint32 hash)
{
	forget((Datum) 0, InvalidOid);
}

/* Find the numbers of the columns that are read. */
static void
find_columns(CdpLookupKind *kind)
{
	char *names = pstrdup(kind->columns);
	char *state = NULL;
	int n = 0;

	kind->last = 0;
	for (char *name = strtok_r(names, ", ", &state); name != NULL; name = strtok_r(NULL, ", ", &state))
	{
		Assert(n < CDP_MAX_LOOKUP_COLUMNS);
		kind->attributes[n] = get_attnum(kind->table_oid, name);
		kind->last = Max(kind->last, kind->attributes[n]);
		if (kind->attributes[n++] == InvalidAttrNumber)
			ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN), errmsg("column \"%s\" of cdp.%s does not exist", name, kind->table),
							errhint("Run SELECT cdp.init() again.")));
	}
	pfree(names);
}

/* Find the kind's table and index. */
static void
find_relations(CdpLookupKind *kind)
{
	static bool is_registered = false;
	uint64 found;

	if (!is_registered)
	{
		CacheRegisterRelcacheCallback(forget, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHOID, forget_readers, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, forget_readers, (Datum) 0);
		is_registered = true;
	}
	if (n_known + 2 > (int) lengthof(known))
		forget((Datum) 0, InvalidOid);
	found = generation;
	kind->table_oid = cdp_relation_oid(kind->table);
	kind->index_oid = cdp_relation_oid(kind->index);
	known[n_known++] = kind->table_oid;
	known[n_known++] = kind->index_oid;
	kind->is_examined = false;
	kind->reader = InvalidOid;
	kind->generation = found;
}

/* Lock the kind's index, first its table if that is read too; they may be others than last time. */
static void
lock_relations(CdpLookupKind *kind, bool with_table)
{
	do
	{
		if (kind->generation != generation)
			find_relations(kind);
		if (with_table)
			LockRelationOid(kind->table_oid, AccessShareLock);
		LockRelationOid(kind->index_oid, AccessShareLock);
	} while (kind->generation != generation); /* something happened to them while we waited */
}

/* Note how the columns stand in a row; false when one does in a way that is not expected, or too many do. */
static bool
note_layout(CdpLookupKind *kind, TupleDesc columns)
{
	if (kind->last > CDP_MAX_LOOKUP_ATTRIBUTES)
		return false;
	for (int i = 0; i < kind->last; i++)
	{
		Form_pg_attribute column = TupleDescAttr(columns, i);

		if (column->attlen < -1)
			return false;
		kind->layout[i].length = column->attlen;
		kind->layout[i].alignment = att_align_nominal(1, column->attalign);
		kind->layout[i].is_by_value = column->attbyval;
	}
	return true;
}

static CdpBtreeOrder
order_of(const CdpLookupKind *kind)
{
	return (CdpBtreeOrder){kind->is_text ? CDP_BTREE_TEXTS : CDP_BTREE_NUMBER, kind->n_keys};
}

/* See how the table can be read. */
static void
examine(CdpLookupKind *kind, Relation table, Relation index)
{
	find_columns(kind);
	kind->is_plain = table->rd_rel->relkind == RELKIND_RELATION && table->rd_tableam == GetHeapamTableAmRoutine() &&
					 !table->rd_rel->relrowsecurity && note_layout(kind, RelationGetDescr(table)) &&
					 cdp_btree_fits(table, index, kind->n_keys, order_of(kind).kind);
	kind->is_examined = true;
}

/* May the user read the table? */
static void
check_privilege(CdpLookupKind *kind)
{
	Oid user = GetUserId();
	AclResult acl;

	if (kind->reader == user)
		return;
	acl = pg_class_aclcheck(kind->table_oid, user, ACL_SELECT);
	if (acl != ACLCHECK_OK)
		aclcheck_error(acl, OBJECT_TABLE, kind->table);
	kind->reader = user;
}

/* Read the rows by SQL; the relations are locked and stay so. */
static void
begin_by_sql(CdpLookup *lookup, CdpLookupKind *kind, const Datum *keys)
{
	MemoryContext caller = CurrentMemoryContext;

	SPI_connect();
	MemoryContextSwitchTo(caller);
	lookup->n_rows = cdp_run(&kind->by_sql, unconstify(Datum *, keys), NULL);
}

static void
close_relations(CdpLookup *lookup)
{
	index_close(lookup->index, NoLock);
	table_close(lookup->table, NoLock);
}

void
cdp_lookup_begin(CdpLookup *lookup, CdpLookupKind *kind, const Datum *keys)
{
	CdpBtreeOrder order = order_of(kind);

	lock_relations(kind, true);
	lookup->kind = kind;
	lookup->table = table_open(kind->table_oid, NoLock);
	lookup->index = index_open(kind->index_oid, NoLock);
	lookup->buffer = InvalidBuffer;
	lookup->row = 0;
	if (!kind->is_examined)
		examine(kind, lookup->table, lookup->index);
	lookup->is_by_sql = !kind->is_plain;
	if (lookup->is_by_sql)
	{
		close_relations(lookup);
		begin_by_sql(lookup, kind, keys);
		return;
	}
	check_privilege(kind);
	lookup->snapshot = GetActiveSnapshot();
	cdp_btree_begin(&lookup->search, lookup->index, &order, lookup->snapshot);
	cdp_btree_find(&lookup->search, keys);
	lookup->n_rows = lookup->search.places.n;
	for (int i = 0; i < Min(lookup->search.places.n, MAX_EXPECTED); i++)
		cdp_page_expect_row(lookup->table, &lookup->search.places.items[i]);
}

/* Take the columns out of a row, up to the last one that is read. */
static void
take_columns(CdpLookup *lookup, HeapTuple tuple)
{
	const CdpLookupKind *kind = lookup->kind;
	HeapTupleHeader row = tuple->t_data;
	char *data = (char *) row + row->t_hoff;
	bool has_nulls = HeapTupleHasNulls(tuple);
	Size at = 0;

	if (HeapTupleHeaderGetNatts(row) < kind->last) /* columns were added since it was written */
	{
		for (int i = 0; i < kind->last; i++)
			lookup->values[i] = heap_getattr(tuple, i + 1, RelationGetDescr(lookup->table), &lookup->nulls[i]);
		return;
	}
	for (int i = 0; i < kind->last; i++)
	{
		CdpLookupColumn column = kind->layout[i];

		lookup->nulls[i] = has_nulls && att_isnull(i, row->t_bits);
		lookup->values[i] = (Datum) 0;
		if (lookup->nulls[i])
			continue;
		if (column.length > 0 || !VARATT_NOT_PAD_BYTE(data + at))
			at = TYPEALIGN(column.alignment, at);
		lookup->values[i] = fetch_att(data + at, column.is_by_value, column.length);
		at += column.length > 0 ? column.length : VARSIZE_ANY(data + at);
	}
}

/* Go to the version of a row that the snapshot sees, if any. */
static bool
fetch(CdpLookup *lookup, ItemPointer place)
{
	BlockNumber block = ItemPointerGetBlockNumber(place);
	HeapTupleData tuple;
	bool is_visible;

	if (!BufferIsValid(lookup->buffer) || BufferGetBlockNumber(lookup->buffer) != block)
	{
		if (BufferIsValid(lookup->buffer))
			ReleaseBuffer(lookup->buffer);
		lookup->buffer = cdp_page_read(lookup->table, block);
		cdp_page_tidy(lookup->table, lookup->buffer);
	}
	LockBuffer(lookup->buffer, BUFFER_LOCK_SHARE);
	is_visible = heap_hot_search_buffer(place, lookup->table, lookup->buffer, lookup->snapshot, &tuple, NULL, true);
	LockBuffer(lookup->buffer, BUFFER_LOCK_UNLOCK);
	if (!is_visible)
		return false;
	pgstat_count_heap_fetch(lookup->index);
	take_columns(lookup, &tuple);
	return true;
}

bool
cdp_lookup_next(CdpLookup *lookup)
{
	if (lookup->is_by_sql)
		return lookup->row++ < lookup->n_rows;
	while (lookup->row < lookup->n_rows)
	{
		if (fetch(lookup, &lookup->search.places.items[lookup->row++]))
			return true;
	}
	return false;
}

void
cdp_lookup_end(CdpLookup *lookup)
{
	if (lookup->is_by_sql)
	{
		MemoryContext caller = CurrentMemoryContext;

		SPI_finish();
		MemoryContextSwitchTo(caller);
		return;
	}
	if (BufferIsValid(lookup->buffer))
		ReleaseBuffer(lookup->buffer);
	cdp_btree_end(&lookup->search);
	close_relations(lookup);
}

bool
cdp_lookup_is_empty(CdpLookupKind *kind)
{
	Relation index;
	bool is_empty;

	if (IsolationIsSerializable()) /* what was not read cannot conflict */
		return false;
	lock_relations(kind, false);
	check_privilege(kind);
	index = index_open(kind->index_oid, NoLock);
	is_empty = index->rd_rel->relkind == RELKIND_INDEX && index->rd_rel->relam == BTREE_AM_OID &&
			   cdp_btree_is_empty(index, GetActiveSnapshot());
	index_close(index, NoLock);
	return is_empty;
}
