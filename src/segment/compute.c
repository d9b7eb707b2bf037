/*
 * compute.c
 *		Computed traits: the value of an aggregate over a window, and when it becomes another.
 *
 * Events enter and leave a window in one order, the oldest first.  So every aggregate is kept up to date
 * while the window moves over the facts, step by step from the present on, until the value is not the
 * same any more: a fact is added once and removed once.
 */
#include "postgres.h"

#include "common/int.h"
#include "miscadmin.h"
#include "segment/computation.h"
#include "segment/window.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#define MICRO_DIGITS 6 /* decimals of what is summed up in an integer */

/* A sum: of most numbers in millionths, exactly, and of the others */
typedef struct Sum
{
	int64 micro;
	Numeric rest; /* NULL: nothing */
} Sum;

/* One aggregate over the facts of facts[first .. last - 1] */
typedef struct Tally
{
	const CdpComputation *computation;
	const CdpFact *facts;
	int first;
	int last;
	Sum sum;

	int *queue; /* of an extreme: facts that are or may become it, the best first */
	int head;
	int tail;

	/* of distinct values, which are numbered in their order */
	int *values;  /* of each fact */
	int *counts;  /* of each value, how often it counts; */
	int *samples; /* a fact that has it: the latest one that counted */
	int n_values;
	int n_present;
	int favourite;		/* the most frequent value; -1: none */
	bool is_doubtful;	/* another one may be by now */
	bool *was_present;	/* of each value, when the list was made */
	int list_end;		/* of the list only values below matter */
	int n_differences;	/* of the list from what it was */
} Tally;

/* --- sums ---------------------------------------------------------------------------------- */

/* Count a number in millionths, if it can be */
static bool
to_micro(const CdpPropertyValue *number, int64 *micro)
{
	*micro = number->digits;
	if (number->exponent > 0 || number->exponent < -MICRO_DIGITS)
		return false;
	for (int i = number->exponent; i > -MICRO_DIGITS; i--)
	{
		if (pg_mul_s64_overflow(*micro, 10, micro))
			return false;
	}
	return true;
}

/* Add a number to a sum, or take it away */
static void
add_to_sum(Sum *sum, const CdpFact *fact, bool is_added)
{
	Numeric number;
	int64 micro;
	int64 result;

	if (to_micro(&fact->number, &micro) && !(is_added ? pg_add_s64_overflow(sum->micro, micro, &result)
													  : pg_sub_s64_overflow(sum->micro, micro, &result)))
	{
		sum->micro = result;
		return;
	}
	number = cdp_fact_number(fact);
	sum->rest = DatumGetNumeric(
		DirectFunctionCall2(is_added ? numeric_add : numeric_sub,
							NumericGetDatum(sum->rest == NULL ? int64_to_numeric(0) : sum->rest), NumericGetDatum(number)));
}

/* The number that a sum stands for, in its one form, however it was added up */
static Numeric
sum_total(const Sum *sum)
{
	Datum total = NumericGetDatum(int64_div_fast_to_numeric(sum->micro, MICRO_DIGITS));

	if (sum->rest != NULL)
		total = DirectFunctionCall2(numeric_add, total, NumericGetDatum(sum->rest));
	return DatumGetNumeric(DirectFunctionCall1(numeric_trim_scale, total));
}

/* The sum, or the average as PostgreSQL divides; there are facts */
static Numeric
number_of(const Tally *tally)
{
	Datum number = NumericGetDatum(sum_total(&tally->sum));
	Datum count = NumericGetDatum(int64_to_numeric(tally->last - tally->first));

	if (tally->computation->aggregate == CDP_AVG_OF)
		number = DirectFunctionCall1(numeric_trim_scale, DirectFunctionCall2(numeric_div, number, count));
	return DatumGetNumeric(number);
}

/* Is it the same number? Mostly a look at the integers says so. */
static bool
is_same_number(const Tally *a, const Tally *b)
{
	bool is_avg = a->computation->aggregate == CDP_AVG_OF;
	int a_count = a->last - a->first;
	int b_count = b->last - b->first;

	if (is_avg && (a_count == 0 || b_count == 0))
		return a_count == b_count;
	if (a->sum.rest == NULL && b->sum.rest == NULL && (!is_avg || (a_count == b_count && a->sum.micro == b->sum.micro)))
		return a->sum.micro == b->sum.micro;
	return DatumGetBool(
		DirectFunctionCall2(numeric_eq, NumericGetDatum(number_of(a)), NumericGetDatum(number_of(b))));
}

/* --- extremes ------------------------------------------------------------------------------ */

/* Is one fact a better extreme than another? Numbers are better than strings, whichever end is asked for. */
static bool
is_better(const Tally *tally, const CdpFact *a, const CdpFact *b)
{
	int order = cdp_fact_compare_values(a, b);

	return tally->computation->aggregate == CDP_MIN_OF && a->type == b->type ? order < 0 : order > 0;
}

/* A new fact outlives those before it: the ones that are not better will never be the extreme */
static void
add_to_queue(Tally *tally, int i)
{
	while (tally->tail > tally->head && !is_better(tally, &tally->facts[tally->queue[tally->tail - 1]], &tally->facts[i]))
		tally->tail--;
	tally->queue[tally->tail++] = i;
}

/* --- distinct values ------------------------------------------------------------------------ */

/* Order facts, given by their indices, by value */
static int
compare_indices(const void *a, const void *b, void *facts)
{
	return cdp_fact_compare_values((const CdpFact *) facts + *(const int *) a, (const CdpFact *) facts + *(const int *) b);
}

/* Number the distinct values of the facts from 'from' to 'n' in their order */
static void
number_values(Tally *tally, int from, int n)
{
	int *order = palloc_extended(sizeof(int) * (Size) Max(n, 1), MCXT_ALLOC_HUGE);
	Size bytes = sizeof(int) * (Size) Max(n, 1);

	tally->values = palloc_extended(bytes, MCXT_ALLOC_HUGE);
	tally->counts = palloc_extended(bytes, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	tally->samples = palloc_extended(bytes, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	tally->favourite = -1;
	for (int i = from; i < n; i++)
		order[i - from] = i;
	qsort_arg(order, n - from, sizeof(int), compare_indices, unconstify(CdpFact *, tally->facts));
	for (int i = 0; i < n - from; i++)
	{
		if (i == 0 || compare_indices(&order[i - 1], &order[i], unconstify(CdpFact *, tally->facts)) != 0)
			tally->n_values++;
		tally->values[order[i]] = tally->n_values - 1;
	}
	pfree(order);
}

/* Is one value more frequent than another; of equally frequent ones the later, then the larger? */
static bool
is_more_frequent(const Tally *tally, int a, int b)
{
	TimestampTz a_at = tally->facts[tally->samples[a]].at;
	TimestampTz b_at = tally->facts[tally->samples[b]].at;

	if (tally->counts[a] != tally->counts[b])
		return tally->counts[a] > tally->counts[b];
	return a_at != b_at ? a_at > b_at : a > b;
}

/* Find the most frequent value; -1: there is none */
static int
find_favourite(const Tally *tally)
{
	int best = -1;

	for (int value = 0; value < tally->n_values; value++)
	{
		if (tally->counts[value] > 0 && (best < 0 || is_more_frequent(tally, value, best)))
			best = value;
	}
	return best;
}

/* A value came in or went out altogether: does the list differ in one more place, or in one less? */
static void
note_presence(Tally *tally, int value, bool is_present)
{
	tally->n_present += is_present ? 1 : -1;
	if (tally->was_present != NULL && value < tally->list_end)
		tally->n_differences += tally->was_present[value] == is_present ? -1 : 1;
}

/* Remember the list as it is; beyond its last value only a change before it can change it */
static void
remember_list(Tally *tally)
{
	int n = 0;

	tally->was_present = palloc0(Max(tally->n_values, 1));
	tally->list_end = tally->n_values;
	for (int value = 0; value < tally->list_end; value++)
	{
		tally->was_present[value] = tally->counts[value] > 0;
		n += tally->was_present[value];
		if (n == CDP_UNIQUE_LIST_MAX)
			tally->list_end = value + 1;
	}
}

/* --- the window moves ------------------------------------------------------------------------ */

/* Count the fact that comes next */
static void
add_fact(Tally *tally)
{
	int i = tally->last++;

	switch (tally->computation->aggregate)
	{
		case CDP_SUM_OF:
		case CDP_AVG_OF:
			add_to_sum(&tally->sum, &tally->facts[i], true);
			break;
		case CDP_MIN_OF:
		case CDP_MAX_OF:
			add_to_queue(tally, i);
			break;
		case CDP_MOST_FREQUENT_OF:
		case CDP_UNIQUE_LIST_OF:
		case CDP_UNIQUE_COUNT_OF:
			tally->samples[tally->values[i]] = i;
			if (tally->counts[tally->values[i]]++ == 0)
				note_presence(tally, tally->values[i], true);
			tally->is_doubtful |= tally->favourite != tally->values[i] &&
								  (tally->favourite < 0 || is_more_frequent(tally, tally->values[i], tally->favourite));
			break;
		case CDP_COUNT_OF:
		case CDP_FIRST_OF:
		case CDP_LAST_OF:
			break;
	}
}

/* Count the oldest fact no longer */
static void
remove_fact(Tally *tally)
{
	int i = tally->first++;

	switch (tally->computation->aggregate)
	{
		case CDP_SUM_OF:
		case CDP_AVG_OF:
			add_to_sum(&tally->sum, &tally->facts[i], false);
			break;
		case CDP_MIN_OF:
		case CDP_MAX_OF:
			tally->head += tally->queue[tally->head] == i;
			break;
		case CDP_MOST_FREQUENT_OF:
		case CDP_UNIQUE_LIST_OF:
		case CDP_UNIQUE_COUNT_OF:
			if (--tally->counts[tally->values[i]] == 0)
				note_presence(tally, tally->values[i], false);
			tally->is_doubtful |= tally->favourite == tally->values[i];
			break;
		case CDP_COUNT_OF:
		case CDP_FIRST_OF:
		case CDP_LAST_OF:
			break;
	}
}

/* The fact whose value is the aggregate's; NULL: there is none, or the aggregate is no fact's value */
static const CdpFact *
chosen_fact(Tally *tally)
{
	int i = tally->first;

	if (tally->first == tally->last)
		return NULL;
	switch (tally->computation->aggregate)
	{
		case CDP_MIN_OF:
		case CDP_MAX_OF:
			return &tally->facts[tally->queue[tally->head]];
		case CDP_LAST_OF: /* of those at the last instant the largest */
			return &tally->facts[tally->last - 1];
		case CDP_FIRST_OF: /* of those at the first instant the largest */
			while (i + 1 < tally->last && tally->facts[i + 1].at == tally->facts[i].at)
				i++;
			return &tally->facts[i];
		case CDP_MOST_FREQUENT_OF:
			if (tally->is_doubtful)
				tally->favourite = find_favourite(tally);
			tally->is_doubtful = false;
			return &tally->facts[tally->samples[tally->favourite]];
		default:
			return NULL;
	}
}

/* Do two facts, or none, show the same? */
static bool
is_same_fact(const CdpFact *a, const CdpFact *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return a->type == CDP_FACT_EVENT ? a->at == b->at : cdp_fact_compare_values(a, b) == 0;
}

/* Does the aggregate show something else than it did before? */
static bool
has_changed(Tally *tally, const Tally *before, const CdpFact *chosen_before)
{
	switch (tally->computation->aggregate)
	{
		case CDP_COUNT_OF:
			return tally->last - tally->first != before->last - before->first;
		case CDP_SUM_OF:
		case CDP_AVG_OF:
			return !is_same_number(tally, before);
		case CDP_UNIQUE_COUNT_OF:
			return tally->n_present != before->n_present;
		case CDP_UNIQUE_LIST_OF:
			return tally->n_differences != 0;
		default:
			return !is_same_fact(chosen_fact(tally), chosen_before);
	}
}

/* Move the window on until the value is another one */
static TimestampTz
find_change(Tally *tally, CdpSpan span)
{
	const Tally before = *tally;
	const CdpFact *chosen_before = chosen_fact(tally);
	TimestampTz at;

	if (tally->computation->aggregate == CDP_UNIQUE_LIST_OF)
		remember_list(tally);
	while ((at = cdp_span_step(&span)) != NEVER)
	{
		CHECK_FOR_INTERRUPTS();
		while (tally->last < span.last)
			add_fact(tally);
		while (tally->first < span.first)
			remove_fact(tally);
		if (has_changed(tally, &before, chosen_before))
			break;
	}
	return at;
}

/* --- values as JSON --------------------------------------------------------------------------- */

/* A number as JSON */
static JsonbValue
json_number(Numeric number)
{
	JsonbValue value = {.type = jbvNumeric};

	value.val.numeric = number;
	return value;
}

/* A fact's value as JSON; of an event without one its instant */
static JsonbValue
json_fact(const CdpFact *fact)
{
	JsonbValue value = {.type = jbvString};

	switch (fact->type)
	{
		case CDP_FACT_NUMBER:
			return json_number(cdp_fact_number(fact));
		case CDP_FACT_BOOLEAN:
			value.type = jbvBool;
			value.val.boolean = fact->boolean;
			break;
		case CDP_FACT_STRING:
			value.val.string.val = unconstify(char *, fact->string.text);
			value.val.string.len = fact->string.length;
			break;
		case CDP_FACT_EVENT:
			value.val.string.val = palloc(CDP_TIMESTAMP_BYTES);
			cdp_format_timestamp(fact->at, value.val.string.val);
			value.val.string.len = strlen(value.val.string.val);
			break;
	}
	return value;
}

/* The smallest of the distinct values as a list */
static Jsonb *
json_list(const Tally *tally)
{
	JsonbParseState *state = NULL;
	int n = 0;

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int value = 0; value < tally->n_values && n < CDP_UNIQUE_LIST_MAX; value++)
	{
		JsonbValue item;

		if (tally->counts[value] == 0)
			continue;
		item = json_fact(&tally->facts[tally->samples[value]]);
		pushJsonbValue(&state, WJB_ELEM, &item);
		n++;
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}

/* The value: of nothing what adds up is 0, a list is empty, and all others have none */
static Jsonb *
json_value(Tally *tally)
{
	JsonbValue value;
	Numeric number;
	const CdpFact *chosen;

	switch (tally->computation->aggregate)
	{
		case CDP_COUNT_OF:
			value = json_number(int64_to_numeric(tally->last - tally->first));
			break;
		case CDP_UNIQUE_COUNT_OF:
			value = json_number(int64_to_numeric(tally->n_present));
			break;
		case CDP_AVG_OF:
			if (tally->first == tally->last)
				return NULL;
			/* FALLTHROUGH */
		case CDP_SUM_OF:
			number = number_of(tally);
			if (tally->sum.rest != NULL && !cdp_numeric_is_readable(number)) /* too many digits */
				return NULL;
			value = json_number(number);
			break;
		case CDP_UNIQUE_LIST_OF:
			return json_list(tally);
		default:
			chosen = chosen_fact(tally);
			if (chosen == NULL)
				return NULL;
			value = json_fact(chosen);
	}
	return JsonbValueToJsonb(&value);
}

/* Make room for what an aggregate keeps of the facts from 'from' to 'n' */
static void
prepare(Tally *tally, int from, int n)
{
	switch (tally->computation->aggregate)
	{
		case CDP_MIN_OF:
		case CDP_MAX_OF:
			tally->queue = palloc_extended(sizeof(int) * (Size) Max(n - from, 1), MCXT_ALLOC_HUGE);
			break;
		case CDP_MOST_FREQUENT_OF:
		case CDP_UNIQUE_LIST_OF:
		case CDP_UNIQUE_COUNT_OF:
			number_values(tally, from, n);
			break;
		default:
			break;
	}
}

/* Compute a value and when it changes; see computation.h */
Jsonb *
cdp_compute(const CdpComputation *computation, const CdpFacts *facts, TimestampTz now, TimestampTz *changes_at)
{
	CdpSpan span =
		cdp_span(computation->window, computation->near, computation->far, facts->times, facts->n, now);
	Tally tally = {.computation = computation, .facts = facts->items, .first = span.first, .last = span.first};
	Jsonb *value;

	prepare(&tally, span.first, span.limit);
	while (tally.last < span.last)
		add_fact(&tally);
	value = json_value(&tally);
	*changes_at = find_change(&tally, span);
	return value;
}
