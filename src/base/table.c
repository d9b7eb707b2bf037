/*
 * table.c
 *		One of our tables, opened in C to find rows and to write them.
 *
 * What is found out about a table is kept until the relation cache says that something about it changed.  Its locks,
 * and the relation cache's entries, are held while it is open only, as by a statement.
 */
#include "postgres.h"

#include "access/attmap.h"
#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "base/base.h"
#include "base/table.h"
#include "catalog/pg_class.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

/* Never goes away. */
typedef struct CdpKnownTable
{
	Oid oid;
	CdpTable *table; /* NULL: nothing is known */
} CdpKnownTable;

static HTAB *all = NULL;

/* Who holds what is opened, the innermost, see cdp_tables_hold(); NULL: nobody. */
static CdpTablesHold *holding = NULL;

/* The session's tables that are open. */
static dlist_head opened = DLIST_STATIC_INIT(opened);

/* The table used last, of which indexes may be open still; NULL: there is none. */
static CdpTable *recent = NULL;

/* Something about a relation, or about all, has changed; runs at any time, so it does nothing else. */
static void
forget(Datum arg, Oid oid)
{
	HASH_SEQ_STATUS status;
	CdpKnownTable *known;

	if (OidIsValid(oid))
	{
		known = hash_search(all, &oid, HASH_FIND, NULL);
		if (known != NULL && known->table != NULL)
			known->table->is_valid = false;
		return;
	}
	hash_seq_init(&status, all);
	while ((known = hash_seq_search(&status)) != NULL)
	{
		if (known->table != NULL)
			known->table->is_valid = false;
	}
}

/* A function, which a constraint or an index may call, has changed, or who has which role. */
static void
forget_all(Datum arg, int cache, uint32 hash)
{
	forget((Datum) 0, InvalidOid);
}

/* Nothing of a table is open any more. */
static void
forget_open(CdpTable *table)
{
	table->relation = NULL;
	table->n_indexes = 0;
	table->is_indexing = false;
	if (recent == table)
		recent = NULL;
	if (table->is_shared)
		dlist_delete(&table->node);
}

/* After an error nobody closes what was open; what is held by a transaction that goes on is still open. */
static void
abandon(int level)
{
	dlist_mutable_iter i;

	dlist_foreach_modify(i, &opened)
	{
		CdpTable *table = dlist_container(CdpTable, node, i.cur);

		if (table->level >= level)
		{
			table->is_valid = false;
			table->level = 0;
		}
		if (table->owner_level >= level)
			forget_open(table);
	}
	while (holding != NULL && holding->level >= level)
		holding = holding->outer;
}

static void
end_transaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT || event == XACT_EVENT_PARALLEL_ABORT)
		abandon(1);
}

static void
end_subtransaction(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		abandon(GetCurrentTransactionNestLevel());
}

static void
begin(void)
{
	HASHCTL control = {.keysize = sizeof(Oid), .entrysize = sizeof(CdpKnownTable), .hcxt = TopMemoryContext};

	all = hash_create("cdp tables", 32, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	CacheRegisterRelcacheCallback(forget, (Datum) 0);
	CacheRegisterSyscacheCallback(PROCOID, forget_all, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, forget_all, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, forget_all, (Datum) 0);
	RegisterXactCallback(end_transaction, NULL);
	RegisterSubXactCallback(end_subtransaction, NULL);
}

/* Find out about a table that is open. */
static CdpTable *
make(Relation relation, MemoryContext parent)
{
	static uint64 number = 0;
	MemoryContext context = AllocSetContextCreate(parent, "cdp table", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	CdpTable *table = palloc0(sizeof(CdpTable));

	table->oid = RelationGetRelid(relation);
	table->number = ++number;
	table->context = context;
	table->use = AllocSetContextCreate(context, "cdp table in use", ALLOCSET_SMALL_SIZES);
	table->is_valid = true;
	table->columns = CreateTupleDescCopyConstr(RelationGetDescr(relation));
	table->estate = CreateExecutorState();
	table->target = makeNode(ResultRelInfo);
	InitResultRelInfo(table->target, relation, 0, NULL, 0);
	MemoryContextSwitchTo(old);
	return table;
}

/* Is a table that is opened now held?  Not where it is in use already, for then its user alone closes it. */
static bool
is_to_be_held(const CdpKnownTable *known)
{
	return holding != NULL && (known->table == NULL || known->table->level == 0);
}

/* What it is opened for: it is closed by who holds it, else by who opens it. */
static ResourceOwner
opener(const CdpKnownTable *known)
{
	return is_to_be_held(known) ? holding->owner : CurrentResourceOwner;
}

/* Lock and open a relation; NULL: there is none. */
static Relation
open_relation(const CdpKnownTable *known, LOCKMODE mode)
{
	Oid oid = known->oid;
	ResourceOwner current = CurrentResourceOwner;
	Relation relation;

	CurrentResourceOwner = opener(known);
	LockRelationOid(oid, mode); /* hears of changes */
	relation = RelationIdGetRelation(oid);
	if (relation == NULL)
		UnlockRelationOid(oid, mode);
	else
		pgstat_init_relation(relation);
	CurrentResourceOwner = current;
	return relation;
}

Relation
cdp_table_open_index(CdpTable *table, Oid oid)
{
	ResourceOwner current = CurrentResourceOwner;
	Relation index;

	for (int i = 0; i < table->n_indexes; i++)
	{
		if (RelationGetRelid(table->indexes[i]) == oid)
			return table->indexes[i];
	}
	CDP_GROW_IN(table->context, table->indexes, table->n_indexes, table->max_indexes, 4);
	CurrentResourceOwner = table->owner;
	index = index_open(oid, table->mode);
	CurrentResourceOwner = current;
	return table->indexes[table->n_indexes++] = index;
}

/* As an executor does, let go of the locks of indexes, too: that of the table stands for them. */
static void
close_indexes(CdpTable *table)
{
	ResourceOwner current = CurrentResourceOwner;

	CurrentResourceOwner = table->owner;
	for (int i = 0; i < table->n_indexes; i++)
		index_close(table->indexes[i], table->mode);
	table->n_indexes = 0;
	table->is_indexing = false;
	CurrentResourceOwner = current;
}

static void
close_relation(Relation relation, ResourceOwner owner)
{
	ResourceOwner current = CurrentResourceOwner;

	CurrentResourceOwner = owner;
	table_close(relation, NoLock);
	CurrentResourceOwner = current;
}

/* Close what nobody uses any more. */
static void
shut(CdpTable *table)
{
	close_indexes(table);
	close_relation(table->relation, table->owner);
	forget_open(table);
}

/* Forget what is known of a table. */
static void
destroy(CdpTable *table)
{
	if (table->relation != NULL)
		shut(table);
	MemoryContextDelete(table->context);
}

/* Close those that nobody uses at the moment, and that are held at a level or below. */
static void
close_unused(int level)
{
	dlist_mutable_iter i;

	dlist_foreach_modify(i, &opened)
	{
		CdpTable *table = dlist_container(CdpTable, node, i.cur);

		if (table->level == 0 && table->owner_level >= level)
			shut(table);
	}
}

void
cdp_tables_hold(CdpTablesHold *hold)
{
	if (all == NULL)
		begin();
	*hold = (CdpTablesHold){CurrentResourceOwner, GetCurrentTransactionNestLevel(), holding};
	holding = hold;
}

void
cdp_tables_close(void)
{
	close_unused(0);
}

void
cdp_tables_release(CdpTablesHold *hold)
{
	close_unused(hold->level);
	holding = hold->outer;
}

/* The table that is known of an OID. */
static CdpKnownTable *
known_table(Oid oid)
{
	CdpKnownTable *known;
	bool found;

	if (all == NULL)
		begin();
	known = hash_search(all, &oid, HASH_ENTER, &found);
	if (!found)
		known->table = NULL;
	return known;
}

/* Begin to use a table that is open. */
static CdpTable *
use(CdpTable *table)
{
	table->level = GetCurrentTransactionNestLevel();
	if (recent != NULL && recent != table)
		close_indexes(recent);
	recent = NULL;
	return table;
}

/* Use a table that is held, if it is, and nothing about it has changed. */
static CdpTable *
use_held(CdpTable *table)
{
	return table == NULL || table->relation == NULL || table->level > 0 || !table->is_valid ? NULL : use(table);
}

/* Take a relation that is open as a table, of which all is found out that was not known. */
static CdpTable *
take(CdpKnownTable *known, Relation relation, LOCKMODE mode)
{
	CdpTable *table = known->table;
	bool is_held = is_to_be_held(known);
	ResourceOwner owner = opener(known);

	if (table != NULL && table->level > 0)
		table = make(relation, CurrentMemoryContext); /* it is open already: a function that a constraint calls came here again */
	else if (table == NULL || !table->is_valid)
	{
		known->table = NULL;
		if (table != NULL)
			destroy(table);
		known->table = table = make(relation, TopMemoryContext);
		table->is_shared = true;
	}
	table->relation = table->target->ri_RelationDesc = relation;
	table->owner = owner;
	table->owner_level = is_held ? holding->level : GetCurrentTransactionNestLevel();
	table->is_held = is_held;
	table->mode = mode;
	if (table->is_shared)
		dlist_push_tail(&opened, &table->node);
	return use(table);
}

/* What a table is locked by. */
static LOCKMODE
held_mode(LOCKMODE mode)
{
	return holding != NULL ? RowExclusiveLock : mode;
}

CdpTable *
cdp_table_open(CdpTableName *name, LOCKMODE mode)
{
	mode = held_mode(mode);
	for (;;)
	{
		CdpKnownTable *known = name->known;
		CdpTable *table;
		Relation relation;

		if (known == NULL || known->table == NULL || !known->table->is_valid)
			known = name->known = known_table(cdp_relation_oid(name->name));
		table = use_held(known->table);
		if (table != NULL)
			return table;
		relation = open_relation(known, mode);
		if (relation != NULL && (known->table == NULL || known->table->is_valid || cdp_relation_oid(name->name) == known->oid))
			return take(known, relation, mode);
		if (relation != NULL)
			close_relation(relation, opener(known));
		name->known = NULL;
	}
}

CdpTable *
cdp_table_open_partition(Oid oid, LOCKMODE mode)
{
	CdpKnownTable *known = known_table(oid);
	CdpTable *table = use_held(known->table);
	Relation relation = table != NULL ? NULL : open_relation(known, mode = held_mode(mode));

	if (table == NULL && relation == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("a partition of a table of cdp does not exist any more"),
						errhint("Try again.")));
	return table != NULL ? table : take(known, relation, mode);
}

void
cdp_table_close(CdpTable *table)
{
	cdp_table_end_entries(table);
	ResetPerTupleExprContext(table->estate);
	MemoryContextReset(table->use);
	table->level = 0;
	if (table->is_held)
	{
		if (recent != NULL && recent != table)
			close_indexes(recent);
		recent = table;
	}
	else
		shut(table);
	if (!table->is_shared)
		destroy(table);
}

/* Does the user have a privilege?  Who had it has it until the table or the roles change. */
static bool
is_granted(CdpTable *table, AclMode privilege)
{
	Oid user = GetUserId();

	if (table->user != user)
	{
		table->user = user;
		table->granted = ACL_NO_RIGHTS;
	}
	if ((table->granted & privilege) != privilege && pg_class_aclcheck(table->oid, user, privilege) == ACLCHECK_OK)
		table->granted |= privilege;
	return (table->granted & privilege) == privilege;
}

bool
cdp_table_is_plain(CdpTable *table, AclMode privilege)
{
	const FormData_pg_class *form = table->relation->rd_rel;
	const TupleConstr *constraints = table->columns->constr;

	if (form->relkind != RELKIND_PARTITIONED_TABLE && (form->relkind != RELKIND_RELATION || table->relation->rd_tableam != GetHeapamTableAmRoutine()))
		return false;
	if (form->relrowsecurity || form->relhasrules)
		return false;
	if (privilege != ACL_SELECT && (table->relation->trigdesc != NULL || (constraints != NULL && constraints->has_generated_stored)))
		return false;
	return is_granted(table, privilege);
}

/* The attribute of a name, from 0; that of ctid, a system column, is CDP_ROW_PLACE. */
static int
find_attribute(TupleDesc columns, const char *name, int length)
{
	if (length == 4 && strncmp(name, "ctid", length) == 0)
		return CDP_ROW_PLACE;
	for (int i = 0; i < columns->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(columns, i);

		if (!attribute->attisdropped && strncmp(NameStr(attribute->attname), name, length) == 0 &&
			NameStr(attribute->attname)[length] == '\0')
			return i;
	}
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN), errmsg("a column of a table of cdp does not exist"),
					errhint("Run SELECT cdp.init() again.")));
	pg_unreachable();
}

int
cdp_table_attributes(const CdpTable *table, const char *columns, int *attributes)
{
	int n = 0;

	for (const char *name = columns; name != NULL;)
	{
		const char *end = strstr(name, ", ");

		Assert(n < CDP_MAX_ARGUMENTS);
		attributes[n++] = find_attribute(table->columns, name, end == NULL ? (int) strlen(name) : (int) (end - name));
		name = end == NULL ? NULL : end + 2;
	}
	return n;
}

TupleTableSlot *
cdp_table_slot(CdpTable *table, int i)
{
	if (i >= table->n_slots)
	{
		MemoryContext old = MemoryContextSwitchTo(table->context);
		int n = Max(1, 2 * table->n_slots);

		Assert(i == table->n_slots);
		table->slots = table->slots == NULL ? palloc(sizeof(TupleTableSlot *) * n) : repalloc(table->slots, sizeof(TupleTableSlot *) * n);
		for (int k = table->n_slots; k < n; k++)
			table->slots[k] = MakeTupleTableSlot(table->columns, table_slot_callbacks(table->relation));
		table->n_slots = n;
		MemoryContextSwitchTo(old);
	}
	return ExecClearTuple(table->slots[i]);
}

void
cdp_table_check(CdpTable *table, TupleTableSlot *row)
{
	if (table->columns->constr != NULL)
		ExecConstraints(table->target, row, table->estate);
}
