/*
 * candidates_text.c
 *		The text form of cdp.candidates: JSON, each value in its type's own text form.
 *
 * {"rule": "latest", "type": "text", "candidates": [{"value": "pro", "count": 1, "at": 0, "rank": 0}]}
 *
 * 'at' is in microseconds since 2000-01-01 UTC, so that infinity and years before
 * Christ pass, or null.  The input function only checks the shape; the type is looked up
 * and the values are read, by the type's own input function, when an aggregate takes the
 * state in.
 */
#include "postgres.h"

#include "profile/candidates.h"
#include "base/base.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"

static const char *const rule_names[CDP_RULES] = {"latest", "earliest", "preferred", "most_frequent"};

/* Read a whole number; false when it is none. */
static bool
read_integer(CdpJsonValue v, int64 *result)
{
	char digits[24];
	char *end;
	const CdpJsonNode *node;

	if (!cdp_json_is(v, CDP_JSON_NUMBER))
		return false;
	node = &v.json->nodes[v.node];
	if (node->length >= sizeof(digits))
		return false;
	memcpy(digits, v.json->text + node->start, node->length);
	digits[node->length] = '\0';
	errno = 0;
	*result = strtoll(digits, &end, 10);
	return errno == 0 && *end == '\0';
}

/* Read what stands beside a value; false when it is malformed. */
static bool
read_marks(CdpJsonValue v, CdpCandidate *candidate)
{
	CdpJsonValue at = cdp_json_member(v, "at");
	int64 rank;

	if (!read_integer(cdp_json_member(v, "count"), &candidate->count) || candidate->count < 1)
		return false;
	if (!read_integer(cdp_json_member(v, "rank"), &rank) || rank < PG_INT32_MIN || rank > PG_INT32_MAX)
		return false;
	candidate->rank = rank;
	candidate->at = 0;
	candidate->has_at = !cdp_json_is(at, CDP_JSON_NULL);
	return !candidate->has_at || (read_integer(at, &candidate->at) &&
								  (IS_VALID_TIMESTAMP(candidate->at) || TIMESTAMP_NOT_FINITE(candidate->at)));
}

/* Find the rule of a name; false when there is none. */
static bool
read_rule(CdpJsonValue v, CdpRule *rule)
{
	int length;
	const char *name;

	if (!cdp_json_is(v, CDP_JSON_STRING))
		return false;
	name = cdp_json_string(v, &length);
	for (int i = 0; i < CDP_RULES; i++)
	{
		if (strlen(rule_names[i]) == (size_t) length && memcmp(rule_names[i], name, length) == 0)
		{
			*rule = (CdpRule) i;
			return true;
		}
	}
	return false;
}

static char *
read_string(CdpJsonValue v)
{
	int length;
	const char *string = cdp_json_string(v, &length);

	return pnstrdup(string, length);
}

/* Read the text form; values are C strings. NULL when it is malformed. */
static CdpCandidate *
read_text(const char *text, int length, CdpRule *rule, char **type, int *n)
{
	CdpJson *json = palloc(sizeof(CdpJson));
	CdpJsonValue root, list, type_name;
	CdpCandidate *candidates;

	if (!cdp_json_parse(text, length, json))
		return NULL;
	root = cdp_json_root(json);
	list = cdp_json_member(root, "candidates");
	type_name = cdp_json_member(root, "type");
	if (!read_rule(cdp_json_member(root, "rule"), rule) || !cdp_json_is(type_name, CDP_JSON_STRING) ||
		!cdp_json_is(list, CDP_JSON_ARRAY) || json->nodes[list.node].count == 0)
		return NULL;
	*type = read_string(type_name);
	*n = 0;
	candidates = palloc_extended(sizeof(CdpCandidate) * (Size) json->nodes[list.node].count, MCXT_ALLOC_HUGE);
	for (uint32 i = list.node + 1; i < json->nodes[list.node].next; i = json->nodes[i].next)
	{
		CdpJsonValue item = {json, i};
		CdpJsonValue value = cdp_json_member(item, "value");

		if (!cdp_json_is(value, CDP_JSON_STRING) || !read_marks(item, &candidates[*n]))
			return NULL;
		candidates[(*n)++].value = CStringGetDatum(read_string(value));
	}
	return candidates;
}

bool
cdp_candidates_check(const char *text, int length)
{
	CdpRule rule;
	char *type;
	int n;

	return read_text(text, length, &rule, &type, &n) != NULL;
}

CdpCandidate *
cdp_candidates_parse(const char *text, int length, FmgrInfo *flinfo, CdpKind **kind, CdpRule *rule, int *n)
{
	char *type;
	Oid input, parameter;
	CdpCandidate *candidates = read_text(text, length, rule, &type, n);

	Assert(candidates != NULL); /* the input function saw to it */
	*kind = cdp_kind(flinfo, DatumGetObjectId(DirectFunctionCall1(regtypein, CStringGetDatum(type))));
	getTypeInputInfo((*kind)->type, &input, &parameter);
	for (int i = 0; i < *n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		candidates[i].value =
			OidInputFunctionCall(input, DatumGetCString(candidates[i].value), parameter, -1);
		if (!(*kind)->is_by_value && (*kind)->length == -1)
			candidates[i].value = PointerGetDatum(PG_DETOAST_DATUM(candidates[i].value));
	}
	return candidates;
}

char *
cdp_candidates_print(const CdpKind *kind, CdpRule rule, const CdpCandidate *candidates, int n)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfo(&out, "{\"rule\": \"%s\", \"type\": ", rule_names[rule]);
	escape_json(&out, format_type_be_qualified(kind->type));
	appendStringInfoString(&out, ", \"candidates\": [");
	for (int i = 0; i < n; i++)
	{
		appendStringInfoString(&out, i > 0 ? ", {\"value\": " : "{\"value\": ");
		escape_json(&out, cdp_kind_text(kind, candidates[i].value));
		appendStringInfo(&out, ", \"count\": " INT64_FORMAT ", \"at\": ", candidates[i].count);
		if (candidates[i].has_at)
			appendStringInfo(&out, INT64_FORMAT, candidates[i].at);
		else
			appendStringInfoString(&out, "null");
		appendStringInfo(&out, ", \"rank\": %d}", candidates[i].rank);
	}
	appendStringInfoString(&out, "]}");
	return out.data;
}
