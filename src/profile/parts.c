/*
 * parts.c
 *		The timeline of each fragment, in parts by month.
 *
 * A month's part 0 grows, by as little work as there are few events in it.  When it has become large it gets a number
 * of its own and is not written again; so however many events somebody has, a message more costs the same.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "profile/properties.h"
#include "utils/date.h"
#include "utils/datetime.h"

#define FULL_BYTES 1500 /* a row of it is never stored out of line */

CDP_UPSERT(write_parts, "timeline_part", "timeline_part_pkey", 4, "anchor_id, identifier_id, month, part, events",
		   "$1, $2, $3, $4, $5", "int8[],int8[],date[],int4[],cdp.timeline[]");
CDP_QUERY(close_parts,
		  "UPDATE cdp.timeline_part p SET part = 1 + (SELECT max(o.part) FROM cdp.timeline_part o "
		  "WHERE o.anchor_id = p.anchor_id AND o.identifier_id = p.identifier_id AND o.month = p.month) "
		  "FROM unnest($1, $2, $3) AS k (o, id, m) "
		  "WHERE p.anchor_id = k.o AND p.identifier_id = k.id AND p.month = k.m AND p.part = 0",
		  "int8[],int8[],date[]");

/* The batch's events of one fragment and month. */
typedef struct Part
{
	const CdpBatchFragment *fragment;
	DateADT month; /* its first day */
	int first;	   /* message */
	int last;
	int next; /* part of the same fragment; -1: none */
} Part;

typedef struct Parts
{
	Part *items;
	int n;
	int *of_fragment;  /* the first part of each fragment; -1: none */
	int *next_message; /* of the same part; -1: none */

	const CdpDeclared *declared;
	CdpNamedValue *values; /* room for those of one event */
	CdpTimelineBuilder builder;
	CdpColumn *full[3]; /* keys of the parts that are full now */
} Parts;

/* The first day of an instant's month, in UTC. */
static DateADT
month_of(TimestampTz at)
{
	int day = at / USECS_PER_DAY - (at % USECS_PER_DAY < 0);
	int year, month, day_of_month;

	j2date(day + POSTGRES_EPOCH_JDATE, &year, &month, &day_of_month);
	return day - (day_of_month - 1);
}

/* Find or add the part of a fragment and month. */
static Part *
part_of(Parts *parts, const CdpBatch *batch, int fragment, DateADT month)
{
	Part *part;

	for (int i = parts->of_fragment[fragment]; i >= 0; i = parts->items[i].next)
	{
		if (parts->items[i].month == month)
			return &parts->items[i];
	}
	part = &parts->items[parts->n];
	part->fragment = &batch->fragments[fragment];
	part->month = month;
	part->first = -1;
	part->next = parts->of_fragment[fragment];
	parts->of_fragment[fragment] = parts->n++;
	return part;
}

/* Sort the batch's events into parts.  What is folded again is read from the log then. */
static void
gather(Parts *parts, const CdpBatch *batch)
{
	parts->items = palloc_extended(sizeof(Part) * ((Size) batch->n_messages + 1), MCXT_ALLOC_HUGE);
	parts->n = 0;
	parts->of_fragment = palloc(sizeof(int) * ((Size) batch->n_fragments + 1));
	memset(parts->of_fragment, -1, sizeof(int) * (Size) batch->n_fragments);
	parts->next_message = palloc(sizeof(int) * ((Size) batch->n_messages + 1));
	for (int i = 0; i < batch->n_messages; i++)
	{
		const CdpMessage *m = &batch->messages[i];
		Part *part;

		if (m->name == NULL || m->fragment < 0 || batch->fragments[m->fragment].is_refolded)
			continue;
		part = part_of(parts, batch, m->fragment, month_of(m->occurred_at));
		if (part->first < 0)
			part->first = i;
		else
			parts->next_message[part->last] = i;
		part->last = i;
		parts->next_message[i] = -1;
	}
}

static int
compare_parts(const void *a, const void *b)
{
	const Part *p = a;
	const Part *q = b;

	if (p->fragment->anchor_id != q->fragment->anchor_id)
		return p->fragment->anchor_id < q->fragment->anchor_id ? -1 : 1;
	if (p->fragment->identifier_id != q->fragment->identifier_id)
		return p->fragment->identifier_id < q->fragment->identifier_id ? -1 : 1;
	return p->month < q->month ? -1 : p->month > q->month;
}

/* Add a message to a timeline. */
static void
add_message(CdpTimelineBuilder *builder, const CdpMessage *m, const CdpDeclared *declared, CdpNamedValue *values)
{
	CdpWord event = {m->name, m->name_length};
	int n = declared->n == 0 ? 0 : cdp_properties_carried(declared, &event, m->document, values);

	cdp_timeline_add(builder, m->name, m->name_length, m->occurred_at, 0, values, n);
}

/* Pack a part: what is stored, if anything, and the batch's events; notes it when it is full. */
static Datum
pack(Parts *parts, const CdpBatch *batch, int part, Datum stored)
{
	const Part *p = &parts->items[part];
	struct varlena *packed;

	cdp_timeline_clear(&parts->builder);
	if (DatumGetPointer(stored) != NULL)
		cdp_timeline_add_stored(&parts->builder, stored);
	for (int i = p->first; i >= 0; i = parts->next_message[i])
		add_message(&parts->builder, &batch->messages[i], parts->declared, parts->values);
	packed = cdp_timeline_pack(&parts->builder, CDP_TIMELINE_SUM);
	if (VARSIZE(packed) > FULL_BYTES)
	{
		cdp_column_add(parts->full[0], Int64GetDatum(p->fragment->anchor_id));
		cdp_column_add(parts->full[1], Int64GetDatum(p->fragment->identifier_id));
		cdp_column_add(parts->full[2], DateADTGetDatum(p->month));
	}
	return PointerGetDatum(packed);
}

typedef struct Merge
{
	Parts *parts;
	const CdpBatch *batch;
} Merge;

static bool
merge_part(void *arg, int i, Datum *values, bool *nulls)
{
	Merge *merge = arg;

	values[4] = pack(merge->parts, merge->batch, i, values[4]);
	return true;
}

/* Columns of parts' keys. */
static void
make_keys(CdpColumn **columns, int expected)
{
	columns[0] = cdp_column(INT8OID, expected);
	columns[1] = cdp_column(INT8OID, expected);
	columns[2] = cdp_column(DATEOID, expected);
	columns[3] = cdp_column(INT4OID, expected);
}

static void
add_key(CdpColumn **columns, const Part *part)
{
	cdp_column_add(columns[0], Int64GetDatum(part->fragment->anchor_id));
	cdp_column_add(columns[1], Int64GetDatum(part->fragment->identifier_id));
	cdp_column_add(columns[2], DateADTGetDatum(part->month));
	cdp_column_add(columns[3], Int32GetDatum(0));
}

/* Write the parts: those that are there grow, the others are new. */
static void
write_all(Parts *parts, const CdpBatch *batch)
{
	Merge merge = {parts, batch};
	bool *is_new = palloc(sizeof(bool) * (Size) parts->n);
	CdpColumn *columns[5];
	int n_new;

	make_keys(columns, parts->n);
	for (int i = 0; i < parts->n; i++)
	{
		add_key(columns, &parts->items[i]);
		is_new[i] = parts->items[i].fragment->is_new;
	}
	n_new = cdp_update(&write_parts, columns, NULL, merge_part, &merge, is_new);
	make_keys(columns, n_new);
	columns[4] = cdp_column(cdp_type_oid("timeline"), n_new);
	for (int i = 0; i < parts->n; i++)
	{
		if (!is_new[i])
			continue;
		CHECK_FOR_INTERRUPTS();
		add_key(columns, &parts->items[i]);
		cdp_column_add(columns[4], pack(parts, batch, i, (Datum) 0));
	}
	cdp_append(&write_parts.append, columns);
}

/* Give full parts numbers of their own. */
static void
close_full(const Parts *parts)
{
	Datum arguments[lengthof(parts->full)];

	if (parts->full[0]->n == 0)
		return;
	for (int i = 0; i < (int) lengthof(parts->full); i++)
		arguments[i] = cdp_column_array(parts->full[i]);
	cdp_run(&close_parts, arguments, NULL);
	cdp_done();
}

void
cdp_profile_timeline(CdpBatch *batch)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	Parts parts;

	gather(&parts, batch);
	if (parts.n > 0)
	{
		qsort(parts.items, parts.n, sizeof(Part), compare_parts);
		parts.declared = cdp_properties_declared(batch->namespaces->generation);
		parts.values = palloc(sizeof(CdpNamedValue) * ((Size) parts.declared->n + 1));
		cdp_timeline_begin(&parts.builder);
		parts.full[0] = cdp_column(INT8OID, 8);
		parts.full[1] = cdp_column(INT8OID, 8);
		parts.full[2] = cdp_column(DATEOID, 8);
		write_all(&parts, batch);
		close_full(&parts);
	}
	MemoryContextSwitchTo(old);
}
