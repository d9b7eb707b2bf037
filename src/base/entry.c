/*
 * entry.c
 *		The entries of rows in a table's indexes.
 *
 * An index of kind BRIN keeps a summary of each range of pages, and knows nothing of a range that was not summarised
 * yet, as the one at the end of a table, where rows go.  The server looks for each row whether there is a summary that
 * it changes; here that is done once for all rows of a range that were stored before.
 */
#include "postgres.h"

#include "access/brin_page.h"
#include "access/genam.h"
#include "base/base.h"
#include "base/page.h"
#include "catalog/pg_am.h"
#include "executor/executor.h"
#include "storage/bufmgr.h"

/* A BRIN index, and what is known of the last range that a row was stored in. */
typedef struct CdpRanged
{
	int index; /* in the ResultRelInfo */
	BlockNumber pages; /* of a range; 0: not read yet */
	BlockNumber last_map; /* the last of its pages that say where summaries are; more may have come since */
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
			table->ranged[table->n_ranged++] = (CdpRanged){.index = i, .range = InvalidBlockNumber};
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

/* Read what an index says of itself. */
static void
read_meta(CdpRanged *ranged, Relation index)
{
	Buffer buffer = ReadBuffer(index, BRIN_METAPAGE_BLKNO);
	const BrinMetaPageData *meta = (const BrinMetaPageData *) PageGetContents(BufferGetPage(buffer));

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	ranged->pages = meta->pagesPerRange;
	ranged->last_map = meta->lastRevmapPage;
	UnlockReleaseBuffer(buffer);
}

/* Is there a summary of a range? */
static bool
is_summarized(CdpRanged *ranged, Relation index, BlockNumber range)
{
	BlockNumber n = range / ranged->pages;
	BlockNumber map = BRIN_METAPAGE_BLKNO + 1 + n / REVMAP_PAGE_MAXITEMS;
	const RevmapContents *contents;
	Buffer buffer;
	bool found;

	if (map > ranged->last_map)
		read_meta(ranged, index);
	if (map > ranged->last_map)
		return false;
	buffer = cdp_page_read(index, map);
	contents = (const RevmapContents *) PageGetContents(BufferGetPage(buffer));
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	found = ItemPointerIsValid(&contents->rm_tids[n % REVMAP_PAGE_MAXITEMS]);
	UnlockReleaseBuffer(buffer);
	return found;
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

	if (ranged->pages == 0)
		read_meta(ranged, index);
	range = block - block % ranged->pages;
	if (block == range && ItemPointerGetOffsetNumber(row) == FirstOffsetNumber)
		return true;
	if (range != ranged->range)
	{
		ranged->range = range;
		ranged->is_summarized = is_summarized(ranged, index, range);
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
	for (int k = 0; k < table->n_ranged; k++)
		table->ranged[k].range = InvalidBlockNumber; /* soon it may have a summary */
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
