/*
 * fact.c
 *		Facts: the events of timelines that computations ask for, with the value of a property.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "segment/computation.h"
#include "utils/builtins.h"

#define NOT_WANTED (-2)
#define WITHOUT_VALUE (-1)

/* Say which of a kind's properties a computation takes: its index, WITHOUT_VALUE or NOT_WANTED */
static int
find_place(const CdpTimelineReader *reader, const CdpEventKind *kind, const CdpComputation *computation)
{
	const CdpWord *name = &reader->words[kind->name];

	if (cdp_timeline_compare_words(name->text, name->length, computation->event.text, computation->event.length) != 0)
		return NOT_WANTED;
	if (computation->property.text == NULL)
		return WITHOUT_VALUE;
	for (uint32 i = 0; i < kind->n_properties; i++)
	{
		const CdpWord *property = &reader->words[kind->properties[i].name];

		if (cdp_timeline_compare_words(property->text, property->length, computation->property.text,
									   computation->property.length) == 0)
			return i;
	}
	return NOT_WANTED;
}

/* Sums are of numbers, and extremes of what has an order */
static bool
takes(CdpAggregate aggregate, CdpFactType type)
{
	if (aggregate == CDP_SUM_OF || aggregate == CDP_AVG_OF)
		return type == CDP_FACT_NUMBER;
	if (aggregate == CDP_MIN_OF || aggregate == CDP_MAX_OF)
		return type != CDP_FACT_BOOLEAN;
	return true;
}

/* Make a fact of the event that a reader stands at */
static CdpFact
make_fact(const CdpTimelineReader *reader, int place)
{
	CdpFact fact = {.at = reader->at, .type = CDP_FACT_EVENT};
	CdpPropertyType type;

	if (place == WITHOUT_VALUE)
		return fact;
	type = reader->kinds[reader->kind].properties[place].type;
	if (type == CDP_PROPERTY_NUMBER)
	{
		fact.type = CDP_FACT_NUMBER;
		fact.number = reader->values[place];
	}
	else if (type == CDP_PROPERTY_STRING)
	{
		fact.type = CDP_FACT_STRING;
		fact.string = reader->words[reader->values[place].digits];
	}
	else
	{
		fact.type = CDP_FACT_BOOLEAN;
		fact.boolean = type == CDP_PROPERTY_TRUE;
	}
	return fact;
}

/* Order facts by instant, then value */
static int
compare_facts(const void *a, const void *b)
{
	const CdpFact *x = a;
	const CdpFact *y = b;

	return x->at < y->at ? -1 : x->at > y->at ? 1 : cdp_fact_compare_values(x, y);
}

/* Append a fact; in most cases they come in order */
static void
add_fact(CdpFacts *facts, CdpFact fact)
{
	CDP_GROW(facts->items, facts->n, facts->capacity, 16);
	if (facts->n > 0 && !facts->is_unsorted)
		facts->is_unsorted = compare_facts(&facts->items[facts->n - 1], &fact) > 0;
	facts->items[facts->n++] = fact;
}

/* For each kind of event and each computation: what the one has for the other */
static int *
find_places(const CdpTimelineReader *reader, const CdpComputation *computations, int n, bool *is_wanted)
{
	int *places = palloc_extended(sizeof(int) * n * (Size) reader->n_kinds, MCXT_ALLOC_HUGE);

	*is_wanted = false;
	for (uint32 kind = 0; kind < reader->n_kinds; kind++)
	{
		for (int i = 0; i < n; i++)
		{
			int place = find_place(reader, &reader->kinds[kind], &computations[i]);

			places[kind * (Size) n + i] = place;
			*is_wanted |= place != NOT_WANTED;
		}
	}
	return places;
}

/* Read a timeline once, if it has anything of interest, and give each computation its facts */
void
cdp_facts_gather(CdpFacts *facts, const CdpComputation *computations, int n, const struct varlena *timeline)
{
	CdpTimelineReader reader;
	bool is_wanted;
	int *places;

	if (!cdp_timeline_open(&reader, VARDATA_ANY(timeline), VARSIZE_ANY_EXHDR(timeline)))
		cdp_timeline_raise_malformed();
	if (reader.count == 0)
		return;
	places = find_places(&reader, computations, n, &is_wanted);
	while (is_wanted && cdp_timeline_next(&reader))
	{
		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < n; i++)
		{
			int place = places[reader.kind * (Size) n + i];
			CdpFact fact;

			if (place == NOT_WANTED)
				continue;
			fact = make_fact(&reader, place);
			if (takes(computations[i].aggregate, fact.type))
				add_fact(&facts[i], fact);
		}
	}
	if (reader.is_malformed)
		cdp_timeline_raise_malformed();
	pfree(places);
}

/* Sort facts that came out of order, as of several timelines, and list their instants */
void
cdp_facts_finish(CdpFacts *facts)
{
	if (facts->is_unsorted)
		qsort(facts->items, facts->n, sizeof(CdpFact), compare_facts);
	facts->times = palloc_extended(Max(facts->n, 1) * sizeof(TimestampTz), MCXT_ALLOC_HUGE);
	for (int i = 0; i < facts->n; i++)
		facts->times[i] = facts->items[i].at;
}

/* Move a number's digits up so that all numbers have equally many; they have at most CDP_DECIMAL_DIGITS */
static CdpPropertyValue
pad(CdpPropertyValue number)
{
	while (llabs(number.digits) < INT64CONST(100000000000000000))
	{
		number.digits *= 10;
		number.exponent--;
	}
	return number;
}

/* Compare two numbers exactly */
static int
compare_numbers(CdpPropertyValue a, CdpPropertyValue b)
{
	if ((a.digits > 0) != (b.digits > 0) || (a.digits < 0) != (b.digits < 0) || a.digits == 0)
		return a.digits < b.digits ? -1 : a.digits > b.digits;
	a = pad(a);
	b = pad(b);
	if (a.exponent != b.exponent)
		return (a.exponent < b.exponent) == (a.digits > 0) ? -1 : 1;
	return a.digits < b.digits ? -1 : a.digits > b.digits;
}

/* Compare the values of two facts: booleans, then strings by bytes, then numbers */
int
cdp_fact_compare_values(const CdpFact *a, const CdpFact *b)
{
	if (a->type != b->type)
		return a->type < b->type ? -1 : 1;
	switch (a->type)
	{
		case CDP_FACT_EVENT:
			return 0;
		case CDP_FACT_BOOLEAN:
			return a->boolean - b->boolean;
		case CDP_FACT_STRING:
			return cdp_timeline_compare_words(a->string.text, a->string.length, b->string.text, b->string.length);
		case CDP_FACT_NUMBER:
			return compare_numbers(a->number, b->number);
	}
	return 0;
}

/* The number of a fact */
Numeric
cdp_fact_number(const CdpFact *fact)
{
	char digits[CDP_DECIMAL_BYTES];

	cdp_decimal_format(&fact->number, digits);
	return DatumGetNumeric(
		DirectFunctionCall3(numeric_in, CStringGetDatum(digits), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}
