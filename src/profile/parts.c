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

CDP_QUERY(write_parts,
		  "INSERT INTO cdp.timeline_part AS p (anchor_id, identifier_id, month, part, events) "
		  "SELECT o, id, m, 0, t FROM unnest($1, $2, $3, $4) AS k (o, id, m, t) "
		  "ON CONFLICT (anchor_id, identifier_id, month, part) DO UPDATE SET events = cdp.add(p.events, excluded.events) "
		  "RETURNING anchor_id, identifier_id, month, pg_column_size(events)",
		  "int8[],int8[],date[],cdp.timeline[]");
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

/* Pack each part's events. */
static Datum
pack(const Parts *parts, const CdpBatch *batch)
{
	const CdpDeclared *declared = cdp_properties_declared(batch->namespaces->generation);
	CdpNamedValue *values = palloc(sizeof(CdpNamedValue) * ((Size) declared->n + 1));
	CdpColumn *column = cdp_column(cdp_type_oid("timeline"), parts->n);
	CdpTimelineBuilder builder;

	cdp_timeline_begin(&builder);
	for (int i = 0; i < parts->n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		cdp_timeline_clear(&builder);
		for (int j = parts->items[i].first; j >= 0; j = parts->next_message[j])
			add_message(&builder, &batch->messages[j], declared, values);
		cdp_column_add(column, PointerGetDatum(cdp_timeline_pack(&builder, CDP_TIMELINE_SUM)));
	}
	return cdp_column_array(column);
}

/* The keys of the parts: anchor, identifier and month. */
static void
list_keys(const Parts *parts, CdpColumn **columns)
{
	for (int i = 0; i < parts->n; i++)
	{
		const Part *part = &parts->items[i];

		cdp_column_add(columns[0], Int64GetDatum(part->fragment->anchor_id));
		cdp_column_add(columns[1], Int64GetDatum(part->fragment->identifier_id));
		cdp_column_add(columns[2], DateADTGetDatum(part->month));
	}
}

/* Of the parts just written list the keys of those that are full. */
static void
list_full(uint64 n, CdpColumn **columns)
{
	for (uint64 row = 0; row < n; row++)
	{
		bool isnull;

		if (DatumGetInt32(cdp_result_datum(row, 4, &isnull)) <= FULL_BYTES)
			continue;
		for (int i = 0; i < 3; i++)
			cdp_column_add(columns[i], cdp_result_datum(row, i + 1, &isnull));
	}
}

/* Run a statement that takes columns of keys, and perhaps something more. */
static uint64
run(CdpQuery *query, CdpColumn **columns, Datum more)
{
	Datum arguments[4] = {0, 0, 0, more};

	for (int i = 0; i < 3; i++)
	{
		arguments[i] = cdp_column_array(columns[i]);
		columns[i]->n = 0;
	}
	return cdp_run(query, arguments, NULL);
}

void
cdp_profile_timeline(CdpBatch *batch)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	CdpColumn *columns[3];
	Parts parts;

	gather(&parts, batch);
	if (parts.n > 0)
	{
		qsort(parts.items, parts.n, sizeof(Part), compare_parts);
		for (int i = 0; i < 3; i++)
			columns[i] = cdp_column(i == 2 ? DATEOID : INT8OID, parts.n);
		list_keys(&parts, columns);
		list_full(run(&write_parts, columns, pack(&parts, batch)), columns);
		cdp_done();
		if (columns[0]->n > 0)
		{
			run(&close_parts, columns, (Datum) 0);
			cdp_done();
		}
	}
	MemoryContextSwitchTo(old);
}
