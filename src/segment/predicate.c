/*
 * predicate.c
 *		The SQL type cdp.predicate: text and JSON in and out, order and hash.
 *
 * Printing keeps how numbers, durations and instants were written; comparing does
 * not: 1.0 is 1, 24 hours are a day.  So equality is over a second print of the
 * tree, the key, in which they are normalised.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "segment/predicate.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(cdp_predicate_in);
PG_FUNCTION_INFO_V1(cdp_predicate_out);
PG_FUNCTION_INFO_V1(cdp_predicate_recv);
PG_FUNCTION_INFO_V1(cdp_predicate_send);
PG_FUNCTION_INFO_V1(cdp_predicate_eq);
PG_FUNCTION_INFO_V1(cdp_predicate_ne);
PG_FUNCTION_INFO_V1(cdp_predicate_lt);
PG_FUNCTION_INFO_V1(cdp_predicate_le);
PG_FUNCTION_INFO_V1(cdp_predicate_gt);
PG_FUNCTION_INFO_V1(cdp_predicate_ge);
PG_FUNCTION_INFO_V1(cdp_predicate_cmp);
PG_FUNCTION_INFO_V1(cdp_predicate_hash);
PG_FUNCTION_INFO_V1(cdp_predicate_hash_extended);
PG_FUNCTION_INFO_V1(cdp_predicate_to_jsonb);
PG_FUNCTION_INFO_V1(cdp_predicate_from_jsonb);

/* How each CdpOperator is called in text and in JSON */
static const struct
{
	const char *text;
	const char *json;
} operators[CDP_N_OPERATORS] = {
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

/* --- Printing --- */

typedef enum PrintForm
{
	PRINT_TEXT, /* for people: canonical text */
	PRINT_KEY	/* for comparing: numbers, durations and instants normalised */
} PrintForm;

static void print_node(StringInfo out, const CdpNode *node, PrintForm form);

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

/* Append a trait's name, in double quotes unless it is a plain word */
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

/* Append a constant */
static void
print_literal(StringInfo out, const CdpLiteral *literal, PrintForm form)
{
	if (literal->kind == CDP_STRING)
		print_quoted(out, literal->text, '\'');
	else if (literal->kind != CDP_NUMBER)
		appendStringInfoString(out, literal->kind == CDP_TRUE ? "true" : "false");
	else if (form == PRINT_KEY)
		appendStringInfoString(out, numeric_normalize(literal->number));
	else
		appendStringInfoString(
			out, DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(literal->number))));
}

/* Append a duration */
static void
print_duration(StringInfo out, const CdpDuration *duration, PrintForm form)
{
	if (form == PRINT_KEY)
		appendStringInfo(out, INT64_FORMAT, duration->microseconds);
	else
		appendStringInfoString(out, duration->text);
}

/* Append a word and an instant, if there is one */
static void
print_instant(StringInfo out, const char *word, const CdpInstant *instant, PrintForm form)
{
	if (instant->text == NULL)
		return;
	appendStringInfo(out, " %s ", word);
	if (form == PRINT_KEY)
		appendStringInfo(out, INT64_FORMAT, instant->at);
	else
		print_quoted(out, instant->text, '\'');
}

/* Append the window of a count, with a space before it */
static void
print_window(StringInfo out, const CdpWindow *window, PrintForm form)
{
	if (window->kind == CDP_ROLLING &&
		(form == PRINT_KEY ? window->near.microseconds == 0 : window->near.text == NULL))
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
print_test(StringInfo out, const CdpNode *leaf, PrintForm form)
{
	bool is_list = leaf->op == CDP_IN || leaf->op == CDP_NOT_IN;
	const char *separator = is_list ? ", " : " and ";
	ListCell *cell;

	appendStringInfo(out, " %s", operators[leaf->op].text);
	if (leaf->op == CDP_WITHIN_LAST || leaf->op == CDP_WITHIN_NEXT)
	{
		appendStringInfoCharMacro(out, ' ');
		print_duration(out, &leaf->duration, form);
	}
	foreach (cell, leaf->values)
	{
		appendStringInfoString(out, cell != list_head(leaf->values) ? separator : is_list ? " (" : " ");
		print_literal(out, lfirst(cell), form);
	}
	if (is_list)
		appendStringInfoCharMacro(out, ')');
}

/* Append a group in parentheses */
static void
print_group(StringInfo out, const CdpNode *group, PrintForm form)
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
print_node(StringInfo out, const CdpNode *node, PrintForm form)
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
	}
}

/* --- Printing JSON --- */

/* Append a string member of an object that has members already */
static void
json_member(StringInfo out, const char *name, const char *value)
{
	appendStringInfo(out, "%s\"%s\":", out->data[out->len - 1] == '{' ? "" : ",", name);
	escape_json(out, value);
}

/* Append the constants of a test: one, or a list of them */
static void
json_values(StringInfo out, const CdpNode *leaf)
{
	bool is_list = leaf->op == CDP_IN || leaf->op == CDP_NOT_IN || leaf->op == CDP_BETWEEN;
	ListCell *cell;

	appendStringInfoString(out, is_list ? ",\"value\":[" : ",\"value\":");
	foreach (cell, leaf->values)
	{
		const CdpLiteral *literal = lfirst(cell);

		if (cell != list_head(leaf->values))
			appendStringInfoCharMacro(out, ',');
		if (literal->kind == CDP_STRING)
			escape_json(out, literal->text);
		else
			print_literal(out, literal, PRINT_TEXT);
	}
	if (is_list)
		appendStringInfoCharMacro(out, ']');
}

/* Append the window of a count, if it has one */
static void
json_window(StringInfo out, const CdpWindow *window)
{
	if (window->kind == CDP_EVER)
		return;
	appendStringInfoString(out, ",\"window\":{");
	if (window->kind == CDP_ROLLING)
	{
		json_member(out, window->near.text == NULL ? "last" : "from", window->far.text);
		if (window->near.text != NULL)
			json_member(out, "to", window->near.text);
	}
	if (window->since.text != NULL)
		json_member(out, "since", window->since.text);
	if (window->until.text != NULL)
		json_member(out, "until", window->until.text);
	appendStringInfoCharMacro(out, '}');
}

/* Append a condition as JSON */
static void
json_node(StringInfo out, const CdpNode *node)
{
	ListCell *cell;

	appendStringInfoCharMacro(out, '{');
	if (node->children != NIL)
	{
		bool is_list = node->kind != CDP_NOT;

		appendStringInfoString(out, node->kind == CDP_ALL ? "\"all\":[" : is_list ? "\"any\":[" : "\"not\":");
		foreach (cell, node->children)
		{
			if (cell != list_head(node->children))
				appendStringInfoCharMacro(out, ',');
			json_node(out, lfirst(cell));
		}
		if (is_list)
			appendStringInfoCharMacro(out, ']');
	}
	else if (node->kind == CDP_CONSENT)
		json_member(out, "consent", node->name);
	else
	{
		json_member(out, node->kind == CDP_TRAIT ? "trait" : "event", node->name);
		if (node->kind == CDP_COUNT)
			json_member(out, "agg", "count");
		json_member(out, "op", operators[node->op].json);
		if (node->duration.text != NULL)
			json_member(out, "value", node->duration.text);
		else if (node->values != NIL)
			json_values(out, node);
		json_window(out, &node->window);
	}
	appendStringInfoCharMacro(out, '}');
}

/* --- Reading JSON --- */

static CdpNode *read_node(CdpJsonValue value, CdpPredicateError *error);

/* Note an error in JSON; returns false */
static bool
json_fail(CdpPredicateError *error, const char *hint, const char *message, const char *what)
{
	cdp_predicate_fail(error, -1, ERRCODE_SYNTAX_ERROR, hint, message, what);
	return false;
}

/* Check that an object has no other keys than those listed, each between two spaces */
static bool
check_keys(CdpJsonValue object, const char *allowed, CdpPredicateError *error)
{
	const CdpJsonNode *nodes = object.json->nodes;
	uint32 at = object.node + 1;

	for (uint32 i = 0; i < nodes[object.node].count; i++)
	{
		int length;
		const char *key = cdp_json_string((CdpJsonValue){object.json, at}, &length);
		char *name = pnstrdup(key, length);

		if (strchr(name, ' ') != NULL || strstr(allowed, psprintf(" %s ", name)) == NULL)
			return json_fail(error, psprintf("Known here: %.*s.", (int) strlen(allowed) - 2, allowed + 1),
							 "unexpected key \"%s\" in a condition",
							 pnstrdup(name, pg_mbcliplen(name, length, 40)));
		at = nodes[nodes[at].next].next;
	}
	return true;
}

/* Read a string member; NULL when it is missing, an error when it is something else */
static char *
read_string(CdpJsonValue object, const char *key, CdpPredicateError *error)
{
	CdpJsonValue member = cdp_json_member(object, key);
	const char *text;
	int length;

	if (!cdp_json_exists(member) || cdp_json_is(member, CDP_JSON_STRING))
	{
		if (!cdp_json_exists(member))
			return NULL;
		text = cdp_json_string(member, &length);
		return pnstrdup(text, length);
	}
	json_fail(error, NULL, "\"%s\" in a condition must be a string", key);
	return NULL;
}

/* Read a constant */
static CdpLiteral *
read_literal(CdpJsonValue value, CdpPredicateError *error)
{
	const char *text;
	int length;

	switch (cdp_json_exists(value) ? cdp_json_type(value) : CDP_JSON_NULL)
	{
		case CDP_JSON_STRING:
			text = cdp_json_string(value, &length);
			return cdp_predicate_literal(CDP_STRING, text, length, -1, error);
		case CDP_JSON_NUMBER:
			return cdp_predicate_literal(CDP_NUMBER, value.json->text + value.json->nodes[value.node].start,
										 value.json->nodes[value.node].length, -1, error);
		case CDP_JSON_TRUE:
			return cdp_predicate_literal(CDP_TRUE, NULL, 0, -1, error);
		case CDP_JSON_FALSE:
			return cdp_predicate_literal(CDP_FALSE, NULL, 0, -1, error);
		default:
			json_fail(error, "To ask whether a trait is there at all, use \"is_set\" or \"is_not_set\".",
					  "%s in a condition must be a string, a number or a boolean", "\"value\"");
			return NULL;
	}
}

/* Read the constants of in, not in and between */
static bool
read_literals(CdpJsonValue array, CdpOperator op, List **values, CdpPredicateError *error)
{
	uint32 at = array.node + 1;
	uint32 n;

	if (!cdp_json_is(array, CDP_JSON_ARRAY))
		return json_fail(error, NULL, "\"value\" of \"%s\" must be an array", operators[op].json);
	n = array.json->nodes[array.node].count;
	if (n == 0 || (op == CDP_BETWEEN && n != 2))
		return json_fail(error, NULL, "\"value\" of \"%s\" has the wrong number of elements",
						 operators[op].json);
	for (uint32 i = 0; i < n; i++)
	{
		CdpLiteral *literal = read_literal((CdpJsonValue){array.json, at}, error);

		if (literal == NULL)
			return false;
		*values = lappend(*values, literal);
		at = array.json->nodes[at].next;
	}
	return true;
}

/* Read a duration written as one string */
static bool
read_duration(CdpJsonValue object, const char *key, CdpDuration *duration, CdpPredicateError *error)
{
	char *text = read_string(object, key, error);
	int number;
	int unit;
	int end;

	if (text == NULL)
		return json_fail(error, NULL, "\"%s\" in a condition must be a string", key);
	number = strspn(text, " ");
	unit = number + strcspn(text + number, " ");
	end = unit;
	unit += strspn(text + unit, " ");
	return cdp_predicate_duration(text + number, end - number, text + unit, strcspn(text + unit, " "), -1,
								  duration, error);
}

/* Read the window of a count; {} and null are none */
static bool
read_window(CdpJsonValue value, CdpWindow *window, CdpPredicateError *error)
{
	CdpDuration far;
	CdpDuration near;

	if (!cdp_json_exists(value) || cdp_json_is(value, CDP_JSON_NULL))
		return true;
	if (!cdp_json_is(value, CDP_JSON_OBJECT))
		return json_fail(error, NULL, "%s in a condition must be an object", "\"window\"");
	if (value.json->nodes[value.node].count == 0)
		return true;
	if (cdp_json_exists(cdp_json_member(value, "last")))
		return check_keys(value, " last ", error) && read_duration(value, "last", &far, error) &&
			   cdp_predicate_rolling(&far, NULL, -1, window, error);
	if (cdp_json_exists(cdp_json_member(value, "from")))
		return check_keys(value, " from to ", error) && read_duration(value, "from", &far, error) &&
			   read_duration(value, "to", &near, error) &&
			   cdp_predicate_rolling(&far, &near, -1, window, error);
	if (!check_keys(value, " last from to since until ", error))
		return false;
	{
		char *since = read_string(value, "since", error);
		char *until = read_string(value, "until", error);

		return error->sqlstate == 0 && cdp_predicate_absolute(since, until, -1, window, error);
	}
}

/* Read the test of a trait or count */
static bool
read_test(CdpJsonValue object, CdpNode *leaf, CdpPredicateError *error)
{
	CdpJsonValue value = cdp_json_member(object, "value");
	const char *name = read_string(object, "op", error);
	CdpOperator op = 0;
	List *values = NIL;
	CdpLiteral *literal;

	if (error->sqlstate != 0)
		return false;
	if (name == NULL && leaf->kind != CDP_COUNT)
		return json_fail(error, NULL, "%s of a condition is missing", "\"op\"");
	if (name == NULL)
		name = ">=";
	while (op < CDP_N_OPERATORS && strcmp(name, operators[op].json) != 0)
		op++;
	if (op == CDP_N_OPERATORS || (leaf->kind == CDP_COUNT && op > CDP_BETWEEN))
		return json_fail(error,
						 leaf->kind == CDP_COUNT
							 ? "A count has: = != < <= > >= in not_in between."
							 : "A trait has: = != < <= > >= in not_in between contains starts_with ends_with "
							   "matches is_set is_not_set within_last within_next.",
						 "unknown operator \"%s\" in a condition",
						 pnstrdup(name, pg_mbcliplen(name, strlen(name), 40)));
	if (op == CDP_WITHIN_LAST || op == CDP_WITHIN_NEXT)
	{
		CdpDuration duration;

		return read_duration(object, "value", &duration, error) &&
			   cdp_predicate_moving(leaf, op, &duration, -1, error);
	}
	if (op == CDP_IS_SET || op == CDP_IS_NOT_SET)
	{
		if (cdp_json_exists(value) && !cdp_json_is(value, CDP_JSON_NULL))
			return json_fail(error, NULL, "\"%s\" takes no value", name);
		return cdp_predicate_test(leaf, op, NIL, -1, error);
	}
	if (op == CDP_IN || op == CDP_NOT_IN || op == CDP_BETWEEN)
		return read_literals(value, op, &values, error) && cdp_predicate_test(leaf, op, values, -1, error);
	if (!cdp_json_exists(value) && leaf->kind == CDP_COUNT)
		literal = cdp_predicate_literal(CDP_NUMBER, "1", 1, -1, error);
	else
		literal = read_literal(value, error);
	return literal != NULL && cdp_predicate_test(leaf, op, list_make1(literal), -1, error);
}

/* Read a list of conditions as one group, or as the condition itself if it is only one */
static CdpNode *
read_group(CdpJsonValue array, CdpNodeKind kind, CdpPredicateError *error)
{
	CdpNode *group = NULL;
	uint32 at = array.node + 1;

	if (!cdp_json_is(array, CDP_JSON_ARRAY) || array.json->nodes[array.node].count == 0)
	{
		json_fail(error, NULL, "\"%s\" must be an array of at least one condition",
				  kind == CDP_ALL ? "all" : "any");
		return NULL;
	}
	for (uint32 i = 0; i < array.json->nodes[array.node].count; i++)
	{
		CdpNode *child = read_node((CdpJsonValue){array.json, at}, error);

		if (child != NULL)
			group = group == NULL ? child : cdp_predicate_join(kind, group, child, -1, error);
		if (child == NULL || group == NULL)
			return NULL;
		at = array.json->nodes[at].next;
	}
	return group;
}

/* Read a condition on a trait, an event or a purpose */
static CdpNode *
read_leaf(CdpJsonValue object, CdpNodeKind kind, const char *key, const char *keys, CdpPredicateError *error)
{
	const char *name = read_string(object, key, error);
	CdpNode *leaf = name == NULL ? NULL : cdp_predicate_leaf(kind, name, -1, error);
	const char *aggregate;

	if (leaf == NULL || !check_keys(object, keys, error))
		return NULL;
	if (kind == CDP_CONSENT)
		return leaf;
	if (kind == CDP_COUNT)
	{
		aggregate = read_string(object, "agg", error);
		if (error->sqlstate == 0 && aggregate != NULL && strcmp(aggregate, "count") != 0)
			json_fail(error, "The aggregate of events is \"count\".",
					  "unknown aggregate \"%s\" in a condition",
					  pnstrdup(aggregate, pg_mbcliplen(aggregate, strlen(aggregate), 40)));
		read_window(cdp_json_member(object, "window"), &leaf->window, error);
	}
	return error->sqlstate == 0 && read_test(object, leaf, error) ? leaf : NULL;
}

/* Read a condition; the depth of the document was checked */
static CdpNode *
read_node(CdpJsonValue value, CdpPredicateError *error)
{
	if (!cdp_json_is(value, CDP_JSON_OBJECT))
		json_fail(error, NULL, "%s must be a JSON object", "a condition");
	else if (cdp_json_exists(cdp_json_member(value, "all")))
		return check_keys(value, " all ", error) ? read_group(cdp_json_member(value, "all"), CDP_ALL, error)
												 : NULL;
	else if (cdp_json_exists(cdp_json_member(value, "any")))
		return check_keys(value, " any ", error) ? read_group(cdp_json_member(value, "any"), CDP_ANY, error)
												 : NULL;
	else if (cdp_json_exists(cdp_json_member(value, "not")))
	{
		CdpNode *child =
			check_keys(value, " not ", error) ? read_node(cdp_json_member(value, "not"), error) : NULL;

		return child == NULL ? NULL : cdp_predicate_negate(child, -1, error);
	}
	else if (cdp_json_exists(cdp_json_member(value, "trait")))
		return read_leaf(value, CDP_TRAIT, "trait", " trait op value ", error);
	else if (cdp_json_exists(cdp_json_member(value, "event")))
		return read_leaf(value, CDP_COUNT, "event", " event agg op value window ", error);
	else if (cdp_json_exists(cdp_json_member(value, "consent")))
		return read_leaf(value, CDP_CONSENT, "consent", " consent ", error);
	else if (check_keys(value, " all any not trait event consent ", error))
		json_fail(error, NULL, "%s needs one of the keys all, any, not, trait, event, consent",
				  "a condition");
	return NULL;
}

/* Read a predicate's JSON into a tree; NULL after an error */
static CdpNode *
parse_json(const char *text, int length, CdpPredicateError *error)
{
	CdpJson json;

	if (!cdp_json_parse(text, length, &json))
		cdp_predicate_fail(error, json.error_at, ERRCODE_SYNTAX_ERROR, NULL,
						   "syntax error in the JSON of a predicate");
	/* a condition in a list in an object is two containers deep, and a window one more */
	else if (json.nodes[0].depth > 2 * CDP_PREDICATE_MAX_DEPTH + 2)
		cdp_predicate_fail(error, -1, ERRCODE_STATEMENT_TOO_COMPLEX, "Write it with fewer groups.",
						   "predicate is nested more than %d levels deep", CDP_PREDICATE_MAX_DEPTH);
	else
		return read_node(cdp_json_root(&json), error);
	return NULL;
}

/* --- The type --- */

/* Show the line of the text that an error stands in, with a caret under the place */
static char *
show_place(const char *text, int length, int position)
{
	StringInfoData out;
	int line = 1;
	int start = 0;
	int character;
	int end;

	for (int i = 0; i < position; i++)
	{
		if (text[i] == '\n')
		{
			line++;
			start = i + 1;
		}
	}
	character = pg_mbstrlen_with_len(text + start, position - start) + 1;
	while (position - start > 60)
		start += pg_mblen(text + start);
	for (end = start; end < length && end - position < 30 && text[end] != '\n';)
		end += pg_mblen(text + end);
	initStringInfo(&out);
	appendStringInfo(&out, "Line %d, character %d:\n", line, character);
	for (int i = start; i < Min(end, length); i++)
		appendStringInfoCharMacro(&out, (unsigned char) text[i] < ' ' ? ' ' : text[i]);
	appendStringInfo(&out, "\n%*s^", pg_mbstrlen_with_len(text + start, position - start), "");
	return out.data;
}

/* Report the error of a parse: softly where the caller wants that and PostgreSQL can */
static void
report_error(const CdpPredicateError *error, const char *text, int length, Node *escontext)
{
#if PG_VERSION_NUM >= 160000
	errsave(
		escontext,
#else
	ereport(
		ERROR,
#endif
		(errcode(error->sqlstate), errmsg("%s", error->message),
		 error->position < 0 || length == 0 ? 0 : errdetail("%s", show_place(text, length, error->position)),
		 error->hint == NULL ? 0 : errhint("%s", error->hint)));
}

/* Print a tree in either form */
static char *
print_tree(const CdpNode *tree, PrintForm form, int *length)
{
	StringInfoData out;

	initStringInfo(&out);
	print_node(&out, tree, form);
	*length = out.len;
	return out.data;
}

/* Note that a predicate is too long */
static void
fail_length(CdpPredicateError *error)
{
	cdp_predicate_fail(error, -1, ERRCODE_PROGRAM_LIMIT_EXCEEDED, "Split it into several segments.",
					   "predicate is longer than %d bytes", CDP_PREDICATE_MAX_BYTES);
}

/* Parse text or JSON into a tree; NULL after an error */
static CdpNode *
parse(const char *text, int length, CdpPredicateError *error)
{
	int blank = strspn(text, " \t\r\n\f\v");

	if (length <= CDP_PREDICATE_MAX_BYTES)
		return text[blank] == '{' ? parse_json(text, length, error)
								  : cdp_predicate_parse_text(text, length, error);
	fail_length(error);
	return NULL;
}

/* Make a value of text or JSON; NULL after an error that was reported softly */
static CdpPredicate *
make_predicate(const char *text, int length, Node *escontext)
{
	CdpPredicateError error = {0};
	CdpNode *tree = parse(text, length, &error);
	char *canonical;
	int canonical_length;

	if (tree != NULL)
	{
		canonical = print_tree(tree, PRINT_TEXT, &canonical_length);
		if (canonical_length <= CDP_PREDICATE_MAX_BYTES)
			return cdp_predicate_compile(tree, canonical, canonical_length);
		fail_length(&error);
	}
	report_error(&error, text, length, escontext);
	return NULL;
}

/* Read a predicate out of a Datum, compiling anew what another version stored */
const CdpPredicate *
cdp_predicate_from_datum(Datum datum)
{
	CdpPredicate *predicate = (CdpPredicate *) PG_DETOAST_DATUM(datum);

	if (predicate->version == CDP_PREDICATE_VERSION)
		return predicate;
	return make_predicate(pnstrdup((char *) predicate + predicate->text, predicate->text_length),
						  predicate->text_length, NULL);
}

/* Parse the text of a value, which was printed from a tree, into that tree */
static CdpNode *
tree_of(const CdpPredicate *predicate)
{
	CdpPredicateError error = {0};
	char *text = pnstrdup((const char *) predicate + predicate->text, predicate->text_length);
	CdpNode *tree = parse(text, predicate->text_length, &error);

	if (tree == NULL)
		report_error(&error, text, predicate->text_length, NULL);
	return tree;
}

/* Read a predicate from text or JSON */
Datum
cdp_predicate_in(PG_FUNCTION_ARGS)
{
	char *text = PG_GETARG_CSTRING(0);
	CdpPredicate *predicate = make_predicate(text, strlen(text), fcinfo->context);

	if (predicate == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(predicate);
}

/* Print a predicate's canonical text */
Datum
cdp_predicate_out(PG_FUNCTION_ARGS)
{
	const CdpPredicate *predicate = cdp_predicate_from_datum(PG_GETARG_DATUM(0));

	PG_RETURN_CSTRING(pnstrdup((const char *) predicate + predicate->text, predicate->text_length));
}

/* Read a predicate from the wire: the version of the language and a text */
Datum
cdp_predicate_recv(PG_FUNCTION_ARGS)
{
	StringInfo buffer = (StringInfo) PG_GETARG_POINTER(0);
	int version = pq_getmsgbyte(buffer);
	char *text;
	int length;

	if (version != CDP_PREDICATE_VERSION)
		ereport(ERROR, (errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
						errmsg("unsupported version %d of type cdp.predicate", version),
						errhint("This library reads version %d.", CDP_PREDICATE_VERSION)));
	text = pq_getmsgtext(buffer, buffer->len - buffer->cursor, &length);
	PG_RETURN_POINTER(make_predicate(text, length, NULL));
}

/* Write a predicate to the wire */
Datum
cdp_predicate_send(PG_FUNCTION_ARGS)
{
	const CdpPredicate *predicate = cdp_predicate_from_datum(PG_GETARG_DATUM(0));
	StringInfoData buffer;

	pq_begintypsend(&buffer);
	pq_sendbyte(&buffer, CDP_PREDICATE_VERSION);
	pq_sendtext(&buffer, (const char *) predicate + predicate->text, predicate->text_length);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buffer));
}

/* Compare two predicates: by their keys, if their texts differ */
static int
compare(Datum a_datum, Datum b_datum)
{
	MemoryContext work =
		AllocSetContextCreate(CurrentMemoryContext, "cdp predicate comparison", ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(work);
	const CdpPredicate *a = cdp_predicate_from_datum(a_datum);
	const CdpPredicate *b = cdp_predicate_from_datum(b_datum);
	int length;
	int result = 0;

	if (a->text_length != b->text_length ||
		memcmp((const char *) a + a->text, (const char *) b + b->text, a->text_length) != 0)
		result =
			strcmp(print_tree(tree_of(a), PRINT_KEY, &length), print_tree(tree_of(b), PRINT_KEY, &length));
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
	return result < 0 ? -1 : result > 0;
}

/* Say whether two predicates are equal */
Datum
cdp_predicate_eq(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)) == 0);
}

/* Say whether two predicates differ */
Datum
cdp_predicate_ne(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)) != 0);
}

/* Say whether one predicate sorts before another; the order means nothing but is total */
Datum
cdp_predicate_lt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)) < 0);
}

/* Say whether one predicate sorts before another or equals it */
Datum
cdp_predicate_le(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)) <= 0);
}

/* Say whether one predicate sorts after another */
Datum
cdp_predicate_gt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)) > 0);
}

/* Say whether one predicate sorts after another or equals it */
Datum
cdp_predicate_ge(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)) >= 0);
}

/* Compare two predicates for a b-tree */
Datum
cdp_predicate_cmp(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(compare(PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)));
}

/* Hash a predicate's key */
Datum
cdp_predicate_hash(PG_FUNCTION_ARGS)
{
	int length;
	char *key = print_tree(tree_of(cdp_predicate_from_datum(PG_GETARG_DATUM(0))), PRINT_KEY, &length);

	return hash_any((unsigned char *) key, length);
}

/* Hash a predicate's key with a seed, to 64 bits */
Datum
cdp_predicate_hash_extended(PG_FUNCTION_ARGS)
{
	int length;
	char *key = print_tree(tree_of(cdp_predicate_from_datum(PG_GETARG_DATUM(0))), PRINT_KEY, &length);

	return hash_any_extended((unsigned char *) key, length, PG_GETARG_INT64(1));
}

/* Print a predicate as JSON */
Datum
cdp_predicate_to_jsonb(PG_FUNCTION_ARGS)
{
	StringInfoData out;

	initStringInfo(&out);
	json_node(&out, tree_of(cdp_predicate_from_datum(PG_GETARG_DATUM(0))));
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(out.data));
}

/* Read a predicate from JSON */
Datum
cdp_predicate_from_jsonb(PG_FUNCTION_ARGS)
{
	Jsonb *document = PG_GETARG_JSONB_P(0);
	StringInfoData text;
	CdpPredicate *predicate;

	initStringInfo(&text);
	JsonbToCString(&text, &document->root, VARSIZE(document));
	if (text.data[0] != '{')
		ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR), errmsg("a condition must be a JSON object"),
						errhint("The JSON form of a predicate is described in docs/segment.md.")));
	predicate = make_predicate(text.data, text.len, NULL);
	PG_RETURN_POINTER(predicate);
}
