/*
 * evaluate.c
 *		The pure part of the room: programs to truth, and when it changes next.
 *
 * An event at t counts in a window from t + delay until t + expiry, so the number
 * of events in a window is a step function of the clock.  Its next step that makes
 * a difference is found by binary search where events can only leave, and by a
 * merge of those that enter with those that leave otherwise.  Groups combine the
 * instants of their conditions tightly: a false "and" can become true only after
 * the last of its false conditions has changed, so it waits for that one.
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "regex/regex.h"
#include "segment/predicate.h"
#include "segment/window.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* --- Traits --- */

typedef enum ValueKind
{
	VALUE_NONE,
	VALUE_STRING,
	VALUE_NUMBER,
	VALUE_BOOLEAN,
	VALUE_ARRAY,
	VALUE_OBJECT
} ValueKind;

/* A trait's value, as it lies in the map or array */
typedef struct Value
{
	ValueKind kind;
	const char *text;
	int length;
	Numeric number;
	bool boolean;
	const JsonbContainer *array;
} Value;

/* Read one entry of a container, without copying */
static Value
read_entry(const JsonbContainer *container, int index)
{
	const char *base = (const char *) &container->children[JsonContainerSize(container)];
	JEntry entry = container->children[index];
	uint32 offset = getJsonbOffset(container, index);
	Value value = {VALUE_OBJECT};

	if (JBE_ISSTRING(entry))
		value =
			(Value){.kind = VALUE_STRING, .text = base + offset, .length = getJsonbLength(container, index)};
	else if (JBE_ISNUMERIC(entry))
		value = (Value){.kind = VALUE_NUMBER, .number = (Numeric) (base + INTALIGN(offset))};
	else if (JBE_ISBOOL(entry))
		value = (Value){.kind = VALUE_BOOLEAN, .boolean = JBE_ISBOOL_TRUE(entry)};
	else if (JBE_ISNULL(entry))
		value.kind = VALUE_NONE;
	return value;
}

/* Look up a trait; a missing one and JSON's null are VALUE_NONE */
static Value
find_trait(const CdpPredicate *predicate, const CdpProgramNode *leaf, const CdpSubject *subject)
{
	CdpStampedEntry entry;
	const Jsonb *value;

	if (subject->traits == NULL ||
		!cdp_stamped_find(subject->traits, (const char *) predicate + leaf->name, leaf->name_length, &entry))
		return (Value){VALUE_NONE};
	value = cdp_stamped_value(&entry);
	if (JB_ROOT_IS_SCALAR(value))
		return read_entry(&value->root, 0);
	return (Value){.kind = JB_ROOT_IS_ARRAY(value) ? VALUE_ARRAY : VALUE_OBJECT, .array = &value->root};
}

/* Say whether a value is of a constant's kind, and if so how they compare (booleans: 0 or not) */
static bool
compare_value(const CdpPredicate *predicate, const Value *value, const CdpConstant *constant, int *order)
{
	const char *pointer = (const char *) predicate + constant->offset;

	switch ((CdpLiteralKind) constant->kind)
	{
		case CDP_STRING:
			if (value->kind == VALUE_STRING)
				*order = cdp_compare_names(value->text, value->length, VARDATA(pointer),
										   VARSIZE(pointer) - VARHDRSZ);
			return value->kind == VALUE_STRING;
		case CDP_NUMBER:
			if (value->kind == VALUE_NUMBER)
				*order = DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(value->number),
														   PointerGetDatum(pointer)));
			return value->kind == VALUE_NUMBER;
		case CDP_FALSE:
		case CDP_TRUE:
			*order = value->boolean != (constant->kind == CDP_TRUE);
			return value->kind == VALUE_BOOLEAN;
	}
	return false;
}

/* Say whether a value equals a constant */
static bool
equals(const CdpPredicate *predicate, const Value *value, const CdpConstant *constant)
{
	int order;

	return compare_value(predicate, value, constant, &order) && order == 0;
}

/* Say whether a value equals one of the leaf's constants */
static bool
equals_any(const CdpPredicate *predicate, const CdpProgramNode *leaf, const Value *value)
{
	const CdpConstant *constants = (const CdpConstant *) ((const char *) predicate + leaf->values);

	for (int i = 0; i < leaf->n_values; i++)
	{
		if (equals(predicate, value, &constants[i]))
			return true;
	}
	return false;
}

/* Test a value by <, <=, > or >=, which only numbers and strings have */
static bool
is_ordered(const CdpPredicate *predicate, CdpOperator op, const Value *value, const CdpConstant *constant)
{
	int order;

	if (value->kind == VALUE_BOOLEAN || !compare_value(predicate, value, constant, &order))
		return false;
	return op == CDP_LESS		  ? order < 0
		   : op == CDP_LESS_EQUAL ? order <= 0
		   : op == CDP_GREATER	  ? order > 0
								  : order >= 0;
}

/* Say whether bytes occur in others */
static bool
has_substring(const char *text, int length, const char *part, int part_length)
{
	const char *end = text + length - part_length;

	if (part_length == 0)
		return true;
	for (; text <= end; text++)
	{
		text = memchr(text, part[0], end - text + 1);
		if (text == NULL)
			return false;
		if (memcmp(text, part, part_length) == 0)
			return true;
	}
	return false;
}

/* Test a value by contains: part of a string, or an element of an array */
static bool
contains(const CdpPredicate *predicate, const Value *value, const CdpConstant *constant)
{
	const char *part = (const char *) predicate + constant->offset;

	if (value->kind == VALUE_STRING)
		return constant->kind == CDP_STRING &&
			   has_substring(value->text, value->length, VARDATA(part), VARSIZE(part) - VARHDRSZ);
	if (value->kind != VALUE_ARRAY)
		return false;
	for (int i = 0; i < JsonContainerSize(value->array); i++)
	{
		Value element = read_entry(value->array, i);

		if (equals(predicate, &element, constant))
			return true;
	}
	return false;
}

/* Test a string by its beginning, its end or a pattern */
static bool
is_like(const CdpPredicate *predicate, CdpOperator op, const Value *value, const CdpConstant *constant)
{
	const char *pattern = (const char *) predicate + constant->offset;
	int length = VARSIZE(pattern) - VARHDRSZ;

	if (value->kind != VALUE_STRING)
		return false;
	if (op == CDP_MATCHES)
		return RE_compile_and_execute((text *) pattern, unconstify(char *, value->text), value->length,
									  REG_ADVANCED | REG_NOSUB, DEFAULT_COLLATION_OID, 0, NULL);
	if (length > value->length)
		return false;
	return memcmp(op == CDP_STARTS_WITH ? value->text : value->text + value->length - length,
				  VARDATA(pattern), length) == 0;
}

/* Test a date trait against the clock: within last (now - far, now], within next (now, now + far] */
static bool
is_near(const CdpProgramNode *leaf, const Value *value, TimestampTz now, TimestampTz *next_change)
{
	TimestampTz at;
	TimestampTz from;
	TimestampTz until;

	if (value->kind != VALUE_STRING || !cdp_parse_timestamp(value->text, value->length, &at))
		return false;
	from = leaf->op == CDP_WITHIN_LAST ? at : at - leaf->far;
	until = leaf->op == CDP_WITHIN_LAST ? later(at, leaf->far) : at;
	*next_change = now < from ? from : now < until ? until : NEVER;
	return from <= now && now < until;
}

/* Test a trait */
static bool
trait_holds(const CdpPredicate *predicate, const CdpProgramNode *leaf, const CdpSubject *subject,
			TimestampTz now, TimestampTz *next_change)
{
	const CdpConstant *constants = (const CdpConstant *) ((const char *) predicate + leaf->values);
	Value value = find_trait(predicate, leaf, subject);

	*next_change = NEVER;
	if (value.kind == VALUE_NONE)
		return leaf->op == CDP_IS_NOT_SET;
	switch ((CdpOperator) leaf->op)
	{
		case CDP_EQUAL:
		case CDP_IN:
			return equals_any(predicate, leaf, &value);
		case CDP_NOT_EQUAL:
		case CDP_NOT_IN:
			return !equals_any(predicate, leaf, &value);
		case CDP_LESS:
		case CDP_LESS_EQUAL:
		case CDP_GREATER:
		case CDP_GREATER_EQUAL:
			return is_ordered(predicate, leaf->op, &value, &constants[0]);
		case CDP_BETWEEN:
			return is_ordered(predicate, CDP_GREATER_EQUAL, &value, &constants[0]) &&
				   is_ordered(predicate, CDP_LESS_EQUAL, &value, &constants[1]);
		case CDP_CONTAINS:
			return contains(predicate, &value, &constants[0]);
		case CDP_STARTS_WITH:
		case CDP_ENDS_WITH:
		case CDP_MATCHES:
			return is_like(predicate, leaf->op, &value, &constants[0]);
		case CDP_IS_SET:
			return true;
		case CDP_IS_NOT_SET:
			return false;
		case CDP_WITHIN_LAST:
		case CDP_WITHIN_NEXT:
			return is_near(leaf, &value, now, next_change);
	}
	return false;
}

/* --- Counts --- */

/* Find the events of a leaf and its window's place on them */
static CdpSpan
find_span(const CdpPredicate *predicate, const CdpProgramNode *leaf, const CdpSubject *subject,
		  TimestampTz now)
{
	int low = 0;
	int high = subject->n_events;
	const TimestampTz *times = NULL;
	int n = 0;

	while (low < high)
	{
		int middle = low + (high - low) / 2;
		const CdpSubjectEvents *events = &subject->events[middle];
		int order = cdp_compare_names(events->name, events->name_length,
									  (const char *) predicate + leaf->name, leaf->name_length);

		if (order == 0)
		{
			times = events->times;
			n = events->n_times;
			break;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return cdp_span(leaf->window, leaf->near, leaf->far, times, n, now);
}

/* Say whether a count is accepted, and give the next smaller one of which the opposite is true (-1: none) */
static bool
accepts(const CdpInterval *intervals, int n, int64 count, int64 *opposite)
{
	int low = 0;
	int high = n;

	/* the first interval that does not end before the count */
	while (low < high)
	{
		int middle = low + (high - low) / 2;

		if (intervals[middle].last < count)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < n && intervals[low].first <= count)
	{
		*opposite = intervals[low].first - 1;
		return true;
	}
	*opposite = low > 0 ? intervals[low - 1].last : -1;
	return false;
}

/* Find the instant at which a count's truth changes as events enter and leave the window */
static TimestampTz
next_flip(CdpSpan span, const CdpInterval *intervals, int n, bool holds, int64 opposite)
{
	for (;;)
	{
		TimestampTz at;

		if (span.last == span.limit)
		{
			/* events can only leave: go straight to the one that makes the difference */
			if (span.expiry < 0 || opposite < 0)
				return NEVER;
			span.first = span.last - (int) opposite - 1;
		}
		at = cdp_span_step(&span);
		if (at == NEVER || accepts(intervals, n, span.last - span.first, &opposite) != holds)
			return at;
	}
}

/* Test the number of events in a window */
static bool
count_holds(const CdpPredicate *predicate, const CdpProgramNode *leaf, const CdpSubject *subject,
			TimestampTz now, TimestampTz *next_change)
{
	const CdpInterval *intervals = (const CdpInterval *) ((const char *) predicate + leaf->values);
	CdpSpan span = find_span(predicate, leaf, subject, now);
	int64 opposite;
	bool holds = accepts(intervals, leaf->n_values, span.last - span.first, &opposite);

	if (next_change != NULL)
		*next_change = next_flip(span, intervals, leaf->n_values, holds, opposite);
	return holds;
}

/* --- Conditions --- */

/* Say whether a purpose was granted */
static bool
consent_holds(const CdpPredicate *predicate, const CdpProgramNode *leaf, const CdpSubject *subject)
{
	const char *name = (const char *) predicate + leaf->name;

	for (int i = 0; i < subject->n_purposes; i++)
	{
		if (cdp_compare_names(subject->purposes[i], strlen(subject->purposes[i]), name, leaf->name_length) ==
			0)
			return true;
	}
	return false;
}

/*
 * Evaluate one condition; recursion is bounded by CDP_PREDICATE_MAX_DEPTH.
 *
 * A group has a truth that decides it: false for "all", true for "any".  While some of its conditions
 * have that truth the group keeps it until the last of them has changed, else until the first of all.
 */
static bool
node_holds(const CdpPredicate *predicate, int index, const CdpSubject *subject, TimestampTz now,
		   TimestampTz *next_change)
{
	const CdpProgramNode *node = &predicate->nodes[index];
	bool decisive = node->kind == CDP_ANY;
	bool is_decided = false;
	TimestampTz first = NEVER;
	TimestampTz last = DT_NOBEGIN;
	TimestampTz at = NEVER;

	switch ((CdpNodeKind) node->kind)
	{
		case CDP_TRAIT:
			decisive = trait_holds(predicate, node, subject, now, &at);
			if (next_change != NULL)
				*next_change = at;
			return decisive;
		case CDP_COUNT:
			return count_holds(predicate, node, subject, now, next_change);
		case CDP_CONSENT:
			if (next_change != NULL)
				*next_change = NEVER;
			return consent_holds(predicate, node, subject);
		case CDP_NOT:
			return !node_holds(predicate, index + 1, subject, now, next_change);
		case CDP_ALL:
		case CDP_ANY:
		case CDP_COMPUTED: /* is no condition */
			break;
	}
	for (int child = index + 1; child < node->end; child = predicate->nodes[child].end)
	{
		if (node_holds(predicate, child, subject, now, next_change == NULL ? NULL : &at) != decisive)
		{
			first = Min(first, at);
			continue;
		}
		is_decided = true;
		last = Max(last, at);
		if (last == NEVER) /* nothing can change that, or nobody asks when */
			break;
	}
	if (next_change != NULL)
		*next_change = is_decided ? last : first;
	return is_decided ? decisive : !decisive;
}

/* Evaluate a predicate; see segment.h */
bool
cdp_predicate_evaluate(const CdpPredicate *predicate, const CdpSubject *subject, TimestampTz now,
					   TimestampTz *next_change)
{
	Assert(predicate->version == CDP_PREDICATE_VERSION && predicate->n_nodes > 0);
	return node_holds(predicate, 0, subject, now, next_change);
}

/* Order names bytewise, the shorter first, as Python orders strings by code point */
int
cdp_compare_names(const char *a, int a_length, const char *b, int b_length)
{
	int order = memcmp(a, b, Min(a_length, b_length));

	return order != 0 ? order : a_length - b_length;
}
