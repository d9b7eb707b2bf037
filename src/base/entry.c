/*
 * entry.c
 *		The entries of rows in a table's indexes.
 *
 * An index of kind BRIN keeps a summary of each range of pages, and knows nothing of a range that was not summarised
 * yet, as the one at the end of a table, where rows go.  The server looks for each row whether there is a summary that
 * it changes; here that is done once for all rows of a range that were stored before.
 */
#include "postgres.h"

#include "access/brin_revmap.h"
#include "access/genam.h"
#include "base/base.h"
#include "catalog/pg_am.h"
#include "executor/executor.h"
#include "storage/bufmgr.h"

/* A BRIN index, and what is known of the last range that a row was stored in. */
typedef struct CdpRanged
{
	int index; /* in the ResultRelInfo */
	BrinRevmap *revmap; /* NULL: not needed yet */
	BlockNumber pages; /* of a range */
	BlockNumber range;
	bool is_summarized;
} CdpRanged;

/* Find the indexes that rows are entered in. */
static void
find_indexes(CdpTable *table)
{
	ResultRelInfo *target = table->target;

	ExecOpenIndices(target, false);
	table->index_oids = palloc(sizeof(Oid) * (target->ri_NumIndices + 1));
	table->ranged = palloc0(sizeof(CdpRanged) * (target->ri_NumIndices + 1));
	for (int i = 0; i < target->ri_NumIndices; i++)
	{
		Relation index = target->ri_IndexRelationDescs[i];

		table->index_oids[i] = RelationGetRelid(index);
		if (index->rd_rel->relam == BRIN_AM_OID && target->ri_IndexRelationInfo[i]->ii_ReadyForInserts)
			table->ranged[table->n_ranged++].index = i;
	}
	ExecCloseIndices(target);
}

/* Open them, and let the executor's part know them. */
static void
begin(CdpTable *table)
{
	ResultRelInfo *target = table->target;
	MemoryContext old;

	if (table->is_indexing)
		return;
	old = MemoryContextSwitchTo(table->context);
	if (table->index_oids == NULL)
		find_indexes(table);
	for (int i = 0; i < target->ri_NumIndices; i++)
	{
		target->ri_IndexRelationDescs[i] = cdp_table_open_index(table, table->index_oids[i]);
		target->ri_IndexRelationInfo[i]->ii_Context = table->use;
	}
	table->is_indexing = true;
	MemoryContextSwitchTo(old);
}

void
cdp_table_end_entries(CdpTable *table)
{
	for (int i = 0; table->is_indexing && i < table->target->ri_NumIndices; i++)
	{
#if PG_VERSION_NUM >= 170000
		index_insert_cleanup(table->target->ri_IndexRelationDescs[i], table->target->ri_IndexRelationInfo[i]);
#endif
		table->target->ri_IndexRelationInfo[i]->ii_AmCache = NULL;
	}
}

/* Is there a summary of a range? */
static bool
is_summarized(CdpRanged *ranged, BlockNumber range)
{
	Buffer buffer = InvalidBuffer;
	OffsetNumber offset;
#if PG_VERSION_NUM >= 170000
	bool found = brinGetTupleForHeapBlock(ranged->revmap, range, &buffer, &offset, NULL, BUFFER_LOCK_SHARE) != NULL;
#else
	bool found = brinGetTupleForHeapBlock(ranged->revmap, range, &buffer, &offset, NULL, BUFFER_LOCK_SHARE, NULL) != NULL;
#endif

	if (found)
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	if (BufferIsValid(buffer))
		ReleaseBuffer(buffer);
	return found;
}

/* Begin to look at an index's ranges. */
static void
begin_ranges(CdpRanged *ranged, Relation index)
{
#if PG_VERSION_NUM >= 170000
	ranged->revmap = brinRevmapInitialize(index, &ranged->pages);
#else
	ranged->revmap = brinRevmapInitialize(index, &ranged->pages, NULL);
#endif
	ranged->range = InvalidBlockNumber;
}

/*
 * Does an index want to hear of a row?  Not where its range has no summary: who makes one later reads the row.  But of the
 * first row of a range it does, for then it asks for a summary of the range before.
 */
static bool
wants(CdpRanged *ranged, Relation index, ItemPointer row)
{
	BlockNumber block = ItemPointerGetBlockNumber(row);
	BlockNumber range;

	if (ranged->revmap == NULL)
		begin_ranges(ranged, index);
	range = block - block % ranged->pages;
	if (block == range && ItemPointerGetOffsetNumber(row) == FirstOffsetNumber)
		return true;
	if (range != ranged->range)
	{
		ranged->range = range;
		ranged->is_summarized = is_summarized(ranged, range);
	}
	return ranged->is_summarized;
}

static void
enter(CdpTable *table, TupleTableSlot *row, bool is_update, bool is_summarizing)
{
#if PG_VERSION_NUM >= 160000
	ExecInsertIndexTuples(table->target, row, table->estate, is_update, false, NULL, NIL, is_summarizing);
#else
	ExecInsertIndexTuples(table->target, row, table->estate, is_update, false, NULL, NIL);
#endif
}

void
cdp_table_enter(CdpTable *table, TupleTableSlot **rows, int n)
{
	ResultRelInfo *target = table->target;

	begin(table);
	for (int i = 0; i < n && target->ri_NumIndices > 0; i++)
	{
		for (int k = 0; k < table->n_ranged; k++)
		{
			CdpRanged *ranged = &table->ranged[k];

			target->ri_IndexRelationInfo[ranged->index]->ii_ReadyForInserts =
				wants(ranged, target->ri_IndexRelationDescs[ranged->index], &rows[i]->tts_tid);
		}
		enter(table, rows[i], false, false);
	}
	for (int k = 0; k < table->n_ranged && n > 0; k++)
	{
		brinRevmapTerminate(table->ranged[k].revmap);
		table->ranged[k].revmap = NULL;
	}
}

void
cdp_table_enter_update(CdpTable *table, TupleTableSlot *row, bool is_summarizing)
{
	begin(table);
	if (table->target->ri_NumIndices == 0)
		return;
	for (int k = 0; k < table->n_ranged; k++)
		table->target->ri_IndexRelationInfo[table->ranged[k].index]->ii_ReadyForInserts = true;
	enter(table, row, true, is_summarizing);
}
