/*
 * predicate_text.c
 *		Printing a tree: the canonical text, and the key that is compared and hashed.
 *
 * Canonical text reads as the same tree again, whatever the tree was made from: that
 * is what a stored value, a dump and the casts rely on.  It keeps how numbers,
 * durations and instants were written; the key normalises them.
 */
#include "postgres.h"

#include "segment/predicate.h"
#include "utils/builtins.h"

/* How each CdpOperator is called in text and in JSON */
const CdpOperatorName cdp_operator_names[CDP_N_OPERATORS] = {
	[CDP_EQUAL] = {"=", "="},
	[CDP_NOT_EQUAL] = {"!=", "!="},
	[CDP_LESS] = {"<", "<"},
	[CDP_LESS_EQUAL] = {"<=", "<="},
	[CDP_GREATER] = {">", ">"},
	[CDP_GREATER_EQUAL] = {">=", ">="},
	[CDP_IN] = {"in", "in"},
	[CDP_NOT_IN] = {"not in", "not_in"},
	[CDP_BETWEEN] = {"between", "between"},
	[CDP_CONTAINS] = {"contains", "contains"},
	[CDP_STARTS_WITH] = {"starts with", "starts_with"},
	[CDP_ENDS_WITH] = {"ends with", "ends_with"},
	[CDP_MATCHES] = {"matches", "matches"},
	[CDP_IS_SET] = {"is set", "is_set"},
	[CDP_IS_NOT_SET] = {"is not set", "is_not_set"},
	[CDP_WITHIN_LAST] = {"within last", "within_last"},
	[CDP_WITHIN_NEXT] = {"within next", "within_next"},
};

/* How each CdpAggregate is called */
const char *const cdp_aggregate_names[CDP_N_AGGREGATES] = {
	[CDP_COUNT_OF] = "count",
	[CDP_SUM_OF] = "sum",
	[CDP_AVG_OF] = "avg",
	[CDP_MIN_OF] = "min",
	[CDP_MAX_OF] = "max",
	[CDP_MOST_FREQUENT_OF] = "most_frequent",
	[CDP_FIRST_OF] = "first",
	[CDP_LAST_OF] = "last",
	[CDP_UNIQUE_LIST_OF] = "unique_list",
	[CDP_UNIQUE_COUNT_OF] = "unique_count",
};

static void print_node(StringInfo out, const CdpNode *node, CdpPrintForm form);

/* Append text between quotes, its own quotes doubled */
static void
print_quoted(StringInfo out, const char *text, char quote)
{
	appendStringInfoCharMacro(out, quote);
	for (; *text != '\0'; text++)
	{
		if (*text == quote)
			appendStringInfoCharMacro(out, quote);
		appendStringInfoCharMacro(out, *text);
	}
	appendStringInfoCharMacro(out, quote);
}

/* Append the name of a trait or property, in double quotes unless it is a plain word */
static void
print_name(StringInfo out, const char *name)
{
	bool is_plain = !(name[0] >= '0' && name[0] <= '9');

	for (const char *at = name; *at != '\0' && is_plain; at++)
		is_plain = *at == '_' || IS_HIGHBIT_SET(*at) || (*at >= '0' && *at <= '9') ||
				   (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z');
	if (is_plain)
		appendStringInfoString(out, name);
	else
		print_quoted(out, name, '"');
}

/* Append a constant; also of JSON, but for strings */
void
cdp_predicate_print_literal(StringInfo out, const CdpLiteral *literal, CdpPrintForm form)
{
	if (literal->kind == CDP_STRING)
		print_quoted(out, literal->text, '\'');
	else if (literal->kind != CDP_NUMBER)
		appendStringInfoString(out, literal->kind == CDP_TRUE ? "true" : "false");
	else if (form == CDP_PRINT_KEY)
		appendStringInfoString(out, numeric_normalize(literal->number));
	else
		appendStringInfoString(
			out, DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(literal->number))));
}

/* Append a duration */
static void
print_duration(StringInfo out, const CdpDuration *duration, CdpPrintForm form)
{
	if (form == CDP_PRINT_KEY)
		appendStringInfo(out, INT64_FORMAT, duration->microseconds);
	else
		appendStringInfoString(out, duration->text);
}

/* Append a word and an instant, if there is one */
static void
print_instant(StringInfo out, const char *word, const CdpInstant *instant, CdpPrintForm form)
{
	if (instant->text == NULL)
		return;
	appendStringInfo(out, " %s ", word);
	if (form == CDP_PRINT_KEY)
		appendStringInfo(out, INT64_FORMAT, instant->at);
	else
		print_quoted(out, instant->text, '\'');
}

/* Append the window of a count, with a space before it */
static void
print_window(StringInfo out, const CdpWindow *window, CdpPrintForm form)
{
	if (window->kind == CDP_ROLLING &&
		(form == CDP_PRINT_KEY ? window->near.microseconds == 0 : window->near.text == NULL))
	{
		appendStringInfoString(out, " within ");
		print_duration(out, &window->far, form);
	}
	else if (window->kind == CDP_ROLLING)
	{
		appendStringInfoString(out, " between ");
		print_duration(out, &window->far, form);
		appendStringInfoString(out, " and ");
		print_duration(out, &window->near, form);
		appendStringInfoString(out, " ago");
	}
	else if (window->kind == CDP_ABSOLUTE)
	{
		bool has_both = window->since.text != NULL && window->until.text != NULL;

		print_instant(out, has_both ? "from" : "since", &window->since, form);
		print_instant(out, has_both ? "to" : "until", &window->until, form);
	}
}

/* Append the test of a trait or count */
static void
print_test(StringInfo out, const CdpNode *leaf, CdpPrintForm form)
{
	bool is_list = leaf->op == CDP_IN || leaf->op == CDP_NOT_IN;
	const char *separator = is_list ? ", " : " and ";
	ListCell *cell;

	appendStringInfo(out, " %s", cdp_operator_names[leaf->op].text);
	if (leaf->op == CDP_WITHIN_LAST || leaf->op == CDP_WITHIN_NEXT)
	{
		appendStringInfoCharMacro(out, ' ');
		print_duration(out, &leaf->duration, form);
	}
	foreach (cell, leaf->values)
	{
		appendStringInfoString(out, cell != list_head(leaf->values) ? separator : is_list ? " (" : " ");
		cdp_predicate_print_literal(out, lfirst(cell), form);
	}
	if (is_list)
		appendStringInfoCharMacro(out, ')');
}

/* Append a group in parentheses */
static void
print_group(StringInfo out, const CdpNode *group, CdpPrintForm form)
{
	ListCell *cell;

	appendStringInfoCharMacro(out, '(');
	foreach (cell, group->children)
	{
		if (cell != list_head(group->children))
			appendStringInfoString(out, group->kind == CDP_ALL ? " and " : " or ");
		print_node(out, lfirst(cell), form);
	}
	appendStringInfoCharMacro(out, ')');
}

/* Append a condition; recursion is bounded by CDP_PREDICATE_MAX_DEPTH */
static void
print_node(StringInfo out, const CdpNode *node, CdpPrintForm form)
{
	switch (node->kind)
	{
		case CDP_ALL:
		case CDP_ANY:
			print_group(out, node, form);
			break;
		case CDP_NOT:
			appendStringInfoString(out, "not ");
			print_node(out, linitial(node->children), form);
			break;
		case CDP_TRAIT:
			appendStringInfoString(out, "trait ");
			print_name(out, node->name);
			print_test(out, node, form);
			break;
		case CDP_COUNT:
			appendStringInfoString(out, "count(");
			print_quoted(out, node->name, '\'');
			appendStringInfoCharMacro(out, ')');
			print_test(out, node, form);
			print_window(out, &node->window, form);
			break;
		case CDP_CONSENT:
			appendStringInfoString(out, "consents to ");
			print_quoted(out, node->name, '\'');
			break;
		case CDP_COMPUTED:
			appendStringInfo(out, "%s(", cdp_aggregate_names[node->aggregate]);
			print_quoted(out, node->name, '\'');
			if (node->property != NULL)
			{
				appendStringInfoCharMacro(out, '.');
				print_name(out, node->property);
			}
			appendStringInfoCharMacro(out, ')');
			print_window(out, &node->window, form);
			break;
	}
}

/* Print a tree in either form */
char *
cdp_predicate_print(const CdpNode *tree, CdpPrintForm form, int *length)
{
	StringInfoData out;

	initStringInfo(&out);
	print_node(&out, tree, form);
	*length = out.len;
	return out.data;
}
