/*
 * predicate_json.c
 *		The JSON form of a predicate, printed from a tree and read into one.
 *
 * Reading makes the tree by the same functions as the grammar (predicate_tree.c), so
 * both forms are checked alike.  Errors are noted, never raised; a key that is not
 * known where it stands is one, so that nothing is ignored in silence.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "segment/predicate.h"
#include "utils/builtins.h"
#include "utils/json.h"

/* --- Printing --- */

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
			cdp_predicate_print_literal(out, literal, CDP_PRINT_TEXT);
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

/* Append a condition as JSON; recursion is bounded by CDP_PREDICATE_MAX_DEPTH */
void
cdp_predicate_print_json(StringInfo out, const CdpNode *node)
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
			cdp_predicate_print_json(out, lfirst(cell));
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
		json_member(out, "op", cdp_operator_names[node->op].json);
		if (node->duration.text != NULL)
			json_member(out, "value", node->duration.text);
		else if (node->values != NIL)
			json_values(out, node);
		json_window(out, &node->window);
	}
	appendStringInfoCharMacro(out, '}');
}

/* --- Reading --- */

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
		return json_fail(error, NULL, "\"value\" of \"%s\" must be an array", cdp_operator_names[op].json);
	n = array.json->nodes[array.node].count;
	if (n == 0 || (op == CDP_BETWEEN && n != 2))
		return json_fail(error, NULL, "\"value\" of \"%s\" has the wrong number of elements",
						 cdp_operator_names[op].json);
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
	int number_end;
	int unit;
	int unit_end;

	if (text == NULL)
		return json_fail(error, NULL, "\"%s\" in a condition must be a string", key);
	number = strspn(text, " ");
	number_end = number + strcspn(text + number, " ");
	unit = number_end + strspn(text + number_end, " ");
	unit_end = unit + strcspn(text + unit, " ");
	if (text[unit_end + strspn(text + unit_end, " ")] != '\0')
		return json_fail(error, NULL, "\"%s\" in a condition must be a number and a unit of time", key);
	return cdp_predicate_duration(text + number, number_end - number, text + unit, unit_end - unit, -1,
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
	/* the first tells of all keys there are, the second that "to" goes with "from" */
	if (!check_keys(value, " last from to since until ", error) || !check_keys(value, " since until ", error))
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
	while (op < CDP_N_OPERATORS && strcmp(name, cdp_operator_names[op].json) != 0)
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
CdpNode *
cdp_predicate_parse_json(const char *text, int length, CdpPredicateError *error)
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
