/*
 * predicate_tree.c
 *		What text and JSON are both made of: conditions, tests, constants, windows.
 *
 * Every check of meaning is here, so that the two forms accept the same.  What is
 * accepted can be printed and read again: a number's and a duration's text are kept
 * within what the grammar reads.  Errors are noted, never raised: NULL or false.
 */
#include "postgres.h"

#include <ctype.h>

#include "catalog/pg_collation.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "regex/regex.h"
#include "segment/predicate.h"
#include "utils/builtins.h"

#define MAX_NUMBER_BYTES 210 /* without an exponent: 100 digits moved by 100 places, sign and point */

/* Note the first error */
void
cdp_predicate_fail(CdpPredicateError *error, int position, int sqlstate, const char *hint, const char *format,
				   ...)
{
	StringInfoData message;

	if (error->sqlstate != 0)
		return;
	initStringInfo(&message);
	for (;;)
	{
		va_list arguments;
		int needed;

		va_start(arguments, format);
		needed = appendStringInfoVA(&message, format, arguments);
		va_end(arguments);
		if (needed == 0)
			break;
		enlargeStringInfo(&message, needed);
	}
	error->sqlstate = sqlstate;
	error->message = message.data;
	error->hint = hint;
	error->position = position;
}

/* Check that a group or not does not nest too deep */
static CdpNode *
check_depth(CdpNode *node, int position, CdpPredicateError *error)
{
	if (node->depth <= CDP_PREDICATE_MAX_DEPTH)
		return node;
	cdp_predicate_fail(error, position, ERRCODE_STATEMENT_TOO_COMPLEX,
					   "Write it with fewer parentheses and nots.",
					   "predicate is nested more than %d levels deep", CDP_PREDICATE_MAX_DEPTH);
	return NULL;
}

/* Append a condition to a group's, or if it is a group of the same kind, its conditions */
static void
add_child(CdpNode *group, CdpNode *child)
{
	if (child->kind == group->kind)
	{
		group->children = list_concat(group->children, child->children);
		group->depth = Max(group->depth, child->depth);
	}
	else
	{
		group->children = lappend(group->children, child);
		group->depth = Max(group->depth, child->depth + 1);
	}
}

/* Put two conditions into one group, in order; the left one is used up */
CdpNode *
cdp_predicate_join(CdpNodeKind kind, CdpNode *left, CdpNode *right, int position, CdpPredicateError *error)
{
	CdpNode *group = left;

	if (left->kind != kind)
	{
		group = palloc0(sizeof(CdpNode));
		group->kind = kind;
		add_child(group, left);
	}
	add_child(group, right);
	return check_depth(group, position, error);
}

/* Make the opposite of a condition */
CdpNode *
cdp_predicate_negate(CdpNode *child, int position, CdpPredicateError *error)
{
	CdpNode *node = palloc0(sizeof(CdpNode));

	node->kind = CDP_NOT;
	node->children = list_make1(child);
	node->depth = child->depth + 1;
	return check_depth(node, position, error);
}

/* Make a condition on something that has a name */
CdpNode *
cdp_predicate_leaf(CdpNodeKind kind, const char *name, int position, CdpPredicateError *error)
{
	CdpNode *node;

	if (name[0] == '\0')
	{
		cdp_predicate_fail(error, position, ERRCODE_SYNTAX_ERROR,
						   "Write the name of a trait, an event, a property or a purpose.",
						   "syntax error in %s: empty name", error->subject);
		return NULL;
	}
	node = palloc0(sizeof(CdpNode));
	node->kind = kind;
	node->name = name;
	return node;
}

/*
 * Say whether a number has up to 100 digits and an exponent from -100 to 100.  It is printed without
 * exponent, so zeros at either end do not count as digits: what 1e100 prints as is in range too.
 */
static bool
is_number_in_range(const char *text, int length)
{
	int digits = 0;
	int zeros = 0; /* after the last other digit */

	for (int i = 0; i < length; i++)
	{
		if (text[i] == 'e' || text[i] == 'E')
			return length <= 100 && length - i <= 5 && abs(atoi(text + i + 1)) <= 100;
		if (text[i] == '0')
			zeros += digits > 0;
		else if (text[i] >= '1' && text[i] <= '9')
		{
			digits += zeros + 1;
			zeros = 0;
		}
	}
	return digits <= 100 && length <= MAX_NUMBER_BYTES;
}

/* Make a constant; a number's size is bounded, so that no short text becomes a long one */
CdpLiteral *
cdp_predicate_literal(CdpLiteralKind kind, const char *text, int length, int position,
					  CdpPredicateError *error)
{
	CdpLiteral *literal = palloc0(sizeof(CdpLiteral));

	literal->kind = kind;
	if (kind == CDP_STRING)
		literal->text = pnstrdup(text, length);
	else if (kind == CDP_NUMBER)
	{
		if (!is_number_in_range(text, length))
		{
			cdp_predicate_fail(error, position, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
							   "Numbers have up to 100 digits and exponents from -100 to 100.",
							   "number in predicate is out of range");
			return NULL;
		}
		literal->number =
			DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(pnstrdup(text, length)),
												ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	}
	return literal;
}

/* Write a pattern as PostgreSQL does where it differs from others: \b and \B are its \y and \Y */
char *
cdp_predicate_regex(const char *pattern)
{
	char *result = pstrdup(pattern);
	bool in_bracket = false;

	if (strncmp(pattern, "***=", 4) == 0) /* the rest is literal text */
		return result;
	for (char *at = result; *at != '\0'; at++)
	{
		if (*at == '\\' && at[1] != '\0')
		{
			at++;
			if (!in_bracket && (*at == 'b' || *at == 'B'))
				*at += 'y' - 'b';
		}
		else if (in_bracket && *at == '[' && (at[1] == ':' || at[1] == '.' || at[1] == '='))
		{
			const char close[] = {at[1], ']', '\0'};
			char *end = strstr(at + 2, close);

			if (end != NULL) /* a class such as [:alpha:] has a bracket of its own */
				at = end + 1;
		}
		else if (in_bracket)
			in_bracket = *at != ']';
		else if (*at == '[')
		{
			in_bracket = true;
			if (at[1] == '^')
				at++;
			if (at[1] == ']') /* the first one is a member of the set */
				at++;
		}
	}
	return result;
}

/* Compile a pattern only to see whether it can be */
static bool
check_regex(const char *pattern, int position, CdpPredicateError *error)
{
	char *translated = cdp_predicate_regex(pattern);
	int length = strlen(translated);
	pg_wchar *wide = palloc((length + 1) * sizeof(pg_wchar));
	int n = pg_mb2wchar_with_len(translated, wide, length);
	regex_t regex;
	char message[100];
	int result = pg_regcomp(&regex, wide, n, REG_ADVANCED | REG_NOSUB, DEFAULT_COLLATION_OID);

	CHECK_FOR_INTERRUPTS(); /* a compilation that was cancelled is no fault of the pattern */
	pfree(wide);
	if (result == REG_OKAY)
	{
		pg_regfree(&regex);
		return true;
	}
	pg_regerror(result, &regex, message, sizeof(message));
	cdp_predicate_fail(error, position, ERRCODE_INVALID_REGULAR_EXPRESSION,
					   "Patterns are PostgreSQL's advanced regular expressions.",
					   "invalid regular expression in predicate: %s", message);
	return false;
}

/* Make what is computed of an event, or of a property of it (else NULL) */
CdpNode *
cdp_predicate_computation(CdpAggregate aggregate, const char *event, const char *property, int position,
						  CdpPredicateError *error)
{
	CdpNode *node = cdp_predicate_leaf(CDP_COMPUTED, event, position, error);

	if (node != NULL && property != NULL && property[0] == '\0')
		node = cdp_predicate_leaf(CDP_COMPUTED, property, position, error);
	if (node == NULL)
		return NULL;
	node->aggregate = aggregate;
	node->property = property;
	if (property != NULL || aggregate == CDP_COUNT_OF || aggregate == CDP_FIRST_OF || aggregate == CDP_LAST_OF)
		return node;
	cdp_predicate_fail(error, position, ERRCODE_SYNTAX_ERROR,
					   "Name it after a dot, for example sum('Order Completed'.revenue).",
					   "syntax error in %s: %s needs a property of the event", error->subject,
					   cdp_aggregate_names[aggregate]);
	return NULL;
}

/* Give a leaf its test; the constants must be of a kind that the test can use */
bool
cdp_predicate_test(CdpNode *leaf, CdpOperator op, List *values, int position, CdpPredicateError *error)
{
	ListCell *cell;
	bool wants_string = op == CDP_STARTS_WITH || op == CDP_ENDS_WITH || op == CDP_MATCHES;

	foreach (cell, values)
	{
		CdpLiteral *literal = lfirst(cell);

		if ((leaf->kind == CDP_COUNT && literal->kind != CDP_NUMBER) ||
			(wants_string && literal->kind != CDP_STRING))
		{
			cdp_predicate_fail(error, position, ERRCODE_SYNTAX_ERROR, NULL,
							   "syntax error in predicate: expected %s",
							   wants_string ? "a string" : "a number");
			return false;
		}
	}
	leaf->op = op;
	leaf->values = values;
	return op != CDP_MATCHES || check_regex(((CdpLiteral *) linitial(values))->text, position, error);
}

/* Give a trait its test against the moving clock */
bool
cdp_predicate_moving(CdpNode *leaf, CdpOperator op, const CdpDuration *duration, int position,
					 CdpPredicateError *error)
{
	if (duration->microseconds == 0)
	{
		cdp_predicate_fail(error, position, ERRCODE_INVALID_PARAMETER_VALUE,
						   "Write a duration longer than zero.", "window in predicate is empty");
		return false;
	}
	leaf->op = op;
	leaf->duration = *duration;
	return true;
}

/* Count the microseconds of a unit; 0: unknown, -1: of no fixed length */
static int64
unit_microseconds(const char *unit, int length)
{
	static const struct
	{
		const char *name;
		int64 microseconds;
	} units[] = {{"second", USECS_PER_SEC},
				 {"minute", USECS_PER_MINUTE},
				 {"hour", USECS_PER_HOUR},
				 {"day", USECS_PER_DAY},
				 {"week", 7 * USECS_PER_DAY},
				 {"month", -1},
				 {"year", -1}};

	for (int i = 0; i < lengthof(units); i++)
	{
		int n = strlen(units[i].name);

		if (pg_strncasecmp(unit, units[i].name, Min(n, length)) == 0 &&
			(length == n || (length == n + 1 && tolower((unsigned char) unit[n]) == 's')))
			return units[i].microseconds;
	}
	return 0;
}

/* Multiply a decimal number by a unit, exactly; false when it is no number (1, 1.5), too large or too fine */
static bool
read_microseconds(const char *number, int length, int64 unit, int64 *microseconds)
{
	int64 whole = 0;
	int64 fraction = 0;
	int64 scale = 0; /* of the fraction; 0 before the point */

	for (int i = 0; i < length; i++)
	{
		if (number[i] == '.' && scale == 0 && i > 0 && i < length - 1)
			scale = 1;
		else if (number[i] < '0' || number[i] > '9' || scale >= 1000000 ||
				 whole > PG_INT32_MAX * INT64CONST(1000))
			return false;
		else if (scale == 0)
			whole = whole * 10 + (number[i] - '0');
		else
		{
			fraction = fraction * 10 + (number[i] - '0');
			scale *= 10;
		}
	}
	/* at most 10,000 years: sums with any timestamp stay within int64 */
	if (whole > INT64CONST(3652425) * USECS_PER_DAY / unit || (scale > 0 && fraction * unit % scale != 0))
		return false;
	*microseconds = whole * unit + (scale > 0 ? fraction * unit / scale : 0);
	return true;
}

/* Make a duration of a number and a unit */
bool
cdp_predicate_duration(const char *number, int number_length, const char *unit, int unit_length, int position,
					   CdpDuration *duration, CdpPredicateError *error)
{
	int64 microseconds = unit_microseconds(unit, unit_length);
	char *text;

	if (microseconds == 0)
		cdp_predicate_fail(error, position, ERRCODE_SYNTAX_ERROR,
						   "Units are seconds, minutes, hours, days and weeks.",
						   "syntax error in %s: expected a unit of time", error->subject);
	else if (microseconds < 0)
		cdp_predicate_fail(error, position, ERRCODE_INVALID_PARAMETER_VALUE,
						   "Say days, for example \"30 days\" for a month or \"365 days\" for a year.",
						   "months and years have no fixed length in a rolling window");
	else if (!read_microseconds(number, number_length, microseconds, &duration->microseconds))
		cdp_predicate_fail(error, position, ERRCODE_INVALID_PARAMETER_VALUE,
						   "A duration is a number from 0 to 10,000 years and whole in microseconds, for "
						   "example \"30 days\".",
						   "duration in %s is out of range", error->subject);
	else
	{
		text = psprintf("%.*s %.*s", number_length, number, unit_length, unit);
		for (char *at = text; *at != '\0'; at++)
			*at = pg_tolower((unsigned char) *at);
		duration->text = text;
		return true;
	}
	return false;
}

/* Make a window that moves with the clock; near is NULL in 'within' */
bool
cdp_predicate_rolling(const CdpDuration *far, const CdpDuration *near, int position, CdpWindow *window,
					  CdpPredicateError *error)
{
	memset(window, 0, sizeof(CdpWindow));
	window->kind = CDP_ROLLING;
	window->far = *far;
	if (near != NULL)
		window->near = *near;
	if (window->far.microseconds > window->near.microseconds)
		return true;
	cdp_predicate_fail(error, position, ERRCODE_INVALID_PARAMETER_VALUE,
					   "Write the longer duration first: between 60 days and 30 days ago.",
					   "window in %s is empty", error->subject);
	return false;
}

/* Read an instant; none is given where text is NULL */
static bool
read_instant(const char *text, CdpInstant *instant, int position, CdpPredicateError *error)
{
	instant->text = text;
	if (text == NULL || cdp_parse_timestamp(text, strlen(text), &instant->at))
		return true;
	cdp_predicate_fail(error, position, ERRCODE_INVALID_DATETIME_FORMAT,
					   "Write it as '2026-01-31' or '2026-01-31T09:00:00Z'; without a zone it is UTC.",
					   "invalid instant in %s", error->subject);
	return false;
}

/* Make a window that stands still; either end may be NULL */
bool
cdp_predicate_absolute(const char *since, const char *until, int position, CdpWindow *window,
					   CdpPredicateError *error)
{
	memset(window, 0, sizeof(CdpWindow));
	window->kind = CDP_ABSOLUTE;
	if (!read_instant(since, &window->since, position, error) ||
		!read_instant(until, &window->until, position, error))
		return false;
	if (since == NULL || until == NULL || window->since.at < window->until.at)
		return true;
	cdp_predicate_fail(error, position, ERRCODE_INVALID_PARAMETER_VALUE, "Write the earlier instant first.",
					   "window in %s is empty", error->subject);
	return false;
}
