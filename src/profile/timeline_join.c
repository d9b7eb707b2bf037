/*
 * timeline_join.c
 *		Timelines that come one after the other, joined end to end.
 *
 * A packed timeline is streams of which each event has its share: a kind, the id, and the time since the event before.
 * Where one begins after another has ended, theirs are the streams of both, one behind the other; only the kinds are
 * numbered anew.  So the parts of a long timeline become one without their events being taken out and sorted.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "profile/timeline.h"

/* Runs that are shorter than this on the average take more memory and time than their events do in a builder. */
#define MIN_RUN_EVENTS 64
#define FEW_RUNS 8

/* The instant of the last event; false when the bytes are malformed. */
static bool
find_last(CdpTimelineReader reader, TimestampTz *last)
{
	TimestampTz at[CDP_TIMELINE_MANY];
	uint32 kinds[CDP_TIMELINE_MANY];
	uint32 keys[CDP_TIMELINE_MANY];
	int n;

	while ((n = cdp_timeline_next_keyed(&reader, at, kinds, keys, CDP_TIMELINE_MANY)) > 0)
	{
		CHECK_FOR_INTERRUPTS();
		*last = at[n - 1];
	}
	return !reader.is_malformed;
}

bool
cdp_timeline_run_on(CdpTimelineRuns *runs, MemoryContext context, const struct varlena *timeline)
{
	const CdpTimelineRun *before = runs->n == 0 ? NULL : &runs->items[runs->n - 1];
	Size size = VARSIZE_ANY_EXHDR(timeline);
	CdpTimelineReader reader;
	CdpTimelineRun run;

	if (!cdp_timeline_open(&reader, VARDATA_ANY(timeline), size))
		return false;
	if (reader.count == 0)
		return find_last(reader, &run.last); /* it adds nothing, wherever it stands */
	if (reader.values != NULL || reader.ids_are == CDP_IDS_SOME)
		return false;
	if (runs->n >= FEW_RUNS && runs->count < (uint64) runs->n * MIN_RUN_EVENTS)
		return false;
	if (before != NULL &&
		(reader.reached <= before->last || reader.ids_are != runs->ids_are || runs->count + reader.count > PG_UINT32_MAX))
		return false;
	if (!find_last(reader, &run.last))
		return false;
	run.bytes = memcpy(MemoryContextAlloc(context, size), VARDATA_ANY(timeline), size);
	run.size = size;
	CDP_GROW_IN(context, runs->items, runs->n, runs->capacity, 4);
	runs->items[runs->n++] = run;
	runs->ids_are = reader.ids_are;
	runs->count += reader.count;
	return true;
}

static void
open_run(CdpTimelineReader *reader, const CdpTimelineRun *run)
{
	if (!cdp_timeline_open(reader, run->bytes, run->size))
		cdp_timeline_raise_malformed(); /* it was looked through before */
}

void
cdp_timeline_settle(CdpTimelineBuilder *builder, CdpTimelineRuns *runs)
{
	for (int i = 0; i < runs->n; i++)
	{
		CdpTimelineReader reader;

		open_run(&reader, &runs->items[i]);
		if (!cdp_timeline_add_all(builder, &reader, DT_NOBEGIN, DT_NOEND))
			cdp_timeline_raise_malformed();
		pfree(runs->items[i].bytes);
	}
	runs->n = 0;
	runs->count = 0;
}

static int
compare_words(const void *a, const void *b)
{
	const CdpWord *p = a;
	const CdpWord *q = b;

	return cdp_timeline_compare_words(p->text, p->length, q->text, q->length);
}

/* The words of all runs, sorted, each once. */
static CdpWord *
collect_words(const CdpTimelineReader *readers, int n_readers, uint32 *n)
{
	Size n_all = 0;
	CdpWord *words;

	for (int i = 0; i < n_readers; i++)
		n_all += readers[i].n_words;
	words = palloc_extended(sizeof(CdpWord) * n_all, MCXT_ALLOC_HUGE);
	n_all = 0;
	for (int i = 0; i < n_readers; i++)
	{
		memcpy(words + n_all, readers[i].words, sizeof(CdpWord) * readers[i].n_words);
		n_all += readers[i].n_words;
	}
	qsort(words, n_all, sizeof(CdpWord), compare_words);
	*n = 0;
	for (Size i = 0; i < n_all; i++)
	{
		if (*n == 0 || compare_words(&words[*n - 1], &words[i]) != 0)
			words[(*n)++] = words[i];
	}
	return words;
}

/* Write the kinds of a run, of which each is a word. */
static void
write_kinds(CdpKindWriter *writer, const CdpTimelineReader *reader, const CdpWord *words, uint32 n_words)
{
	uint32 *number = palloc(sizeof(uint32) * reader->n_words);

	for (uint32 i = 0; i < reader->n_words; i++)
		number[i] = (const CdpWord *) bsearch(&reader->words[i], words, n_words, sizeof(CdpWord), compare_words) - words;
	for (uint32 i = 0; i < reader->count && writer->bits > 0; i++)
		cdp_timeline_write_kind(writer, number[cdp_timeline_get_bits(reader->kind_indexes, reader->kind_bits, i)]);
}

static void
write_bytes(StringInfo out, const CdpTimelineBytes *bytes)
{
	appendBinaryStringInfo(out, (const char *) bytes->at, bytes->end - bytes->at);
}

struct varlena *
cdp_timeline_splice(const CdpTimelineRuns *runs)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "timeline splicing", ALLOCSET_SMALL_SIZES);
	MemoryContext old;
	CdpTimelineReader *readers;
	Size size = 0;
	StringInfoData out;
	CdpWord *words;
	uint32 n_words;
	CdpKindWriter kinds = {&out};

	initStringInfo(&out);
	old = MemoryContextSwitchTo(scratch);
	readers = palloc_extended(sizeof(CdpTimelineReader) * (Size) runs->n, MCXT_ALLOC_HUGE);
	for (int i = 0; i < runs->n; i++)
	{
		open_run(&readers[i], &runs->items[i]);
		size += runs->items[i].size;
	}
	words = collect_words(readers, runs->n, &n_words);
	enlargeStringInfo(&out, Min(size, MaxAllocSize / 2));
	appendStringInfoSpaces(&out, VARHDRSZ);
	appendStringInfoChar(&out, CDP_TIMELINE_VERSION);
	appendStringInfoChar(&out, runs->ids_are);
	cdp_timeline_write_number(&out, runs->count);
	cdp_timeline_write_number(&out, n_words);
	for (uint32 i = 0; i < n_words; i++)
		cdp_timeline_write_word(&out, words[i].text, words[i].length);
	cdp_timeline_write_first(&out, readers[0].reached);
	kinds.bits = cdp_timeline_bits_for(n_words);
	for (int i = 0; i < runs->n; i++)
		write_kinds(&kinds, &readers[i], words, n_words);
	cdp_timeline_end_kinds(&kinds);
	for (int i = 0; i < runs->n && runs->ids_are != CDP_IDS_NONE; i++)
		write_bytes(&out, &readers[i].ids);
	for (int i = 0; i < runs->n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (i > 0)
			cdp_timeline_write_time(&out, readers[i].reached - runs->items[i - 1].last);
		write_bytes(&out, &readers[i].times);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	SET_VARSIZE(out.data, out.len);
	return (struct varlena *) out.data;
}
