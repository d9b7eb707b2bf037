/*
 * lookup.c
 *		The rows of one of our tables under a key, straight from its index.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "base/base.h"
#include "base/lookup.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

/*
 * OIDs are looked up once and again after anything happened to one of the relations.  The number of the
 * generation rises with each such event; the callback does nothing else.
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

/* Find the numbers of the columns that are read. */
static void
find_columns(CdpLookupKind *kind)
{
	char *names = pstrdup(kind->columns);
	char *state = NULL;
	int n = 0;

	for (char *name = strtok_r(names, ", ", &state); name != NULL; name = strtok_r(NULL, ", ", &state))
	{
		Assert(n < CDP_MAX_LOOKUP_COLUMNS);
		kind->attributes[n] = get_attnum(kind->table_oid, name);
		if (kind->attributes[n++] == InvalidAttrNumber)
			ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN), errmsg("column \"%s\" of cdp.%s does not exist", name, kind->table),
							errhint("Run SELECT cdp.init() again.")));
	}
	pfree(names);
}

/* Find the kind's table, index and columns. */
static void
find_relations(CdpLookupKind *kind)
{
	static bool is_registered = false;
	uint64 found;

	if (!is_registered)
	{
		CacheRegisterRelcacheCallback(forget, (Datum) 0);
		is_registered = true;
	}
	if (n_known + 2 > (int) lengthof(known))
		forget((Datum) 0, InvalidOid);
	found = generation;
	kind->table_oid = cdp_relation_oid(kind->table);
	kind->index_oid = cdp_relation_oid(kind->index);
	known[n_known++] = kind->table_oid;
	known[n_known++] = kind->index_oid;
	find_columns(kind);
	kind->generation = found;
}

/* Open the kind's table, which may be another than last time. */
static Relation
open_table(CdpLookupKind *kind)
{
	for (;;)
	{
		Relation table;

		if (kind->generation != generation)
			find_relations(kind);
		table = try_table_open(kind->table_oid, AccessShareLock);
		if (table != NULL && kind->generation == generation)
			return table;
		if (table != NULL) /* it changed while we waited for the lock */
			table_close(table, NoLock);
		kind->generation = 0;
	}
}

/* May the user read the table? */
static void
check_privilege(const CdpLookupKind *kind)
{
	AclResult acl = pg_class_aclcheck(kind->table_oid, GetUserId(), ACL_SELECT);

	if (acl != ACLCHECK_OK)
		aclcheck_error(acl, OBJECT_TABLE, kind->table);
}

/* Open the index scan. */
static void
begin_scan(CdpLookup *lookup, const CdpLookupKind *kind, const Datum *keys)
{
	ScanKeyData scan_keys[CDP_MAX_LOOKUP_KEYS];

	for (int i = 0; i < kind->n_keys; i++)
		ScanKeyEntryInitialize(&scan_keys[i], 0, i + 1, BTEqualStrategyNumber, InvalidOid,
							   kind->is_text ? C_COLLATION_OID : InvalidOid, kind->is_text ? F_TEXTEQ : F_INT8EQ,
							   keys[i]);
	lookup->index = index_open(kind->index_oid, AccessShareLock);
	lookup->slot = table_slot_create(lookup->table, NULL);
#if PG_VERSION_NUM >= 180000
	lookup->scan = index_beginscan(lookup->table, lookup->index, GetActiveSnapshot(), NULL, kind->n_keys, 0);
#else
	lookup->scan = index_beginscan(lookup->table, lookup->index, GetActiveSnapshot(), kind->n_keys, 0);
#endif
	index_rescan(lookup->scan, scan_keys, kind->n_keys, NULL, 0);
}

void
cdp_lookup_begin(CdpLookup *lookup, CdpLookupKind *kind, const Datum *keys)
{
	memset(lookup, 0, sizeof(CdpLookup));
	lookup->kind = kind;
	lookup->table = open_table(kind);
	if (lookup->table->rd_rel->relkind != RELKIND_RELATION || lookup->table->rd_rel->relrowsecurity)
	{
		MemoryContext caller = CurrentMemoryContext;

		table_close(lookup->table, NoLock);
		lookup->table = NULL;
		SPI_connect();
		MemoryContextSwitchTo(caller);
		lookup->n_rows = cdp_run(&kind->by_sql, unconstify(Datum *, keys), NULL);
		return;
	}
	check_privilege(kind);
	begin_scan(lookup, kind, keys);
}

bool
cdp_lookup_next(CdpLookup *lookup)
{
	if (lookup->scan == NULL)
		return lookup->row++ < lookup->n_rows;
	return index_getnext_slot(lookup->scan, ForwardScanDirection, lookup->slot);
}

Datum
cdp_lookup_value(CdpLookup *lookup, int column, bool *isnull)
{
	if (lookup->scan == NULL)
		return cdp_result_datum(lookup->row - 1, column + 1, isnull);
	return slot_getattr(lookup->slot, lookup->kind->attributes[column], isnull);
}

void
cdp_lookup_end(CdpLookup *lookup)
{
	if (lookup->scan == NULL)
	{
		MemoryContext caller = CurrentMemoryContext;

		SPI_finish();
		MemoryContextSwitchTo(caller);
		return;
	}
	index_endscan(lookup->scan);
	ExecDropSingleTupleTableSlot(lookup->slot);
	index_close(lookup->index, NoLock);
	table_close(lookup->table, NoLock);
}

bool
cdp_lookup_is_empty(CdpLookupKind *kind)
{
	Relation index;
	bool is_empty;

	if (kind->generation != generation)
		find_relations(kind);
	check_privilege(kind);
	index = index_open(kind->index_oid, AccessShareLock);
	/* a b-tree that never had an entry is its first page alone */
	is_empty = index->rd_rel->relkind == RELKIND_INDEX && RelationGetNumberOfBlocks(index) == 1;
	index_close(index, NoLock);
	return is_empty;
}
