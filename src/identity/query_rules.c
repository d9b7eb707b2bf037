/*
 * query_rules.c
 *		The rules of one cdp.resolve(): namespaces, blocked values and rulings, out of JSON.
 */
#include "postgres.h"

#include "identity/query_rules.h"
#include "base/base.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

CDP_QUERY(read_default_rules, "SELECT cdp.default_rules()", "");

/* Read one ruling, a pair of identifiers. */
static void
read_ruling(CdpQueryRules *r, CdpJsonValue pair, const char *key, int number)
{
	CdpWrittenRuling *ruling = &r->rulings[r->n_rulings++];
	CdpMention *ends[2] = {&ruling->a, &ruling->b};
	const CdpNamespace *a;
	const CdpNamespace *b;
	uint32 node = pair.node;

	if (!cdp_json_is(pair, CDP_JSON_ARRAY) || pair.json->nodes[pair.node].count != 2)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("number %d of the %s in the rules is not a pair", number, key),
						errhint("Write [\"user_id:a\", \"email:b@example.com\"].")));
	node++;
	for (int side = 0; side < 2; side++)
	{
		CdpJsonValue v = {pair.json, node};
		CdpMention *end = ends[side];

		end->namespace_index = cdp_rules_identifier(r->namespaces, v, &end->value, &end->value_length);
		if (end->value == NULL || cdp_identifier_judge(r->namespaces, end->namespace_index, end->value, end->value_length,
													   NULL, &end->value, &end->value_length) != CDP_TAKEN)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("number %d of the %s in the rules names a blocked value", number, key),
							errhint("Blocked values, and those that a valid_pattern does not match, are nobody's.")));
		node = pair.json->nodes[node].next;
	}
	a = &r->namespaces->items[ruling->a.namespace_index];
	b = &r->namespaces->items[ruling->b.namespace_index];
	if (a->is_person_entity != b->is_person_entity)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("number %d of the %s in the rules is about different entities", number, key),
						errhint("A person and an account are never one.")));
	if (a == b && ruling->a.value_length == ruling->b.value_length &&
		memcmp(ruling->a.value, ruling->b.value, ruling->a.value_length) == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("number %d of the %s in the rules names one identifier twice", number, key),
						errhint("Identifiers are compared in their normal form.")));
}

/* A part of the rules; null is as good as left out. */
static CdpJsonValue
part(CdpJsonValue rules, const char *key)
{
	CdpJsonValue v = cdp_json_member(rules, key);

	if (cdp_json_is(v, CDP_JSON_NULL))
		v.node = CDP_JSON_NONE;
	return v;
}

/* Read the pins, or the denials. */
static void
read_rulings(CdpQueryRules *r, CdpJsonValue rules, const char *key, bool is_pin)
{
	CdpJsonValue list = part(rules, key);
	const CdpJsonNode *nodes;
	int number = 0;

	if (!cdp_json_exists(list))
		return;
	if (cdp_json_type(list) != CDP_JSON_ARRAY)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s in the rules must be an array", key),
						errhint("Write [[\"user_id:a\", \"email:b@example.com\"], ..].")));
	nodes = list.json->nodes;
	if (r->rulings == NULL)
		r->rulings = palloc(sizeof(CdpWrittenRuling));
	r->rulings =
		repalloc_huge(r->rulings, sizeof(CdpWrittenRuling) * ((Size) r->n_rulings + nodes[list.node].count + 1));
	for (uint32 i = list.node + 1; i < nodes[list.node].next; i = nodes[i].next)
	{
		CdpJsonValue pair = {list.json, i};

		r->rulings[r->n_rulings].is_pin = is_pin;
		read_ruling(r, pair, key, ++number);
	}
}

/* The region in whose national form phone numbers may be written. */
static void
read_phone_region(CdpQueryRules *r, CdpJsonValue v)
{
	int length;

	if (!cdp_json_exists(v))
		return;
	if (cdp_json_is(v, CDP_JSON_STRING))
	{
		const char *region = cdp_json_string(v, &length);

		r->phone_region = pnstrdup(region, length);
	}
	if (r->phone_region == NULL ||
		!DatumGetBool(DirectFunctionCall1(cdp_is_phone_region, CStringGetTextDatum(r->phone_region))))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown phone region in the rules"),
						errhint("Write the two capital letters of a country, such as DE; see cdp.is_phone_region().")));
}

/* Parse a jsonb of rules. */
static CdpJsonValue
parse_rules(Jsonb *rules)
{
	CdpJson *json = palloc(sizeof(CdpJson)); /* like the text it must stay */
	char *text = JsonbToCString(NULL, &rules->root, VARSIZE(rules));

	if (!cdp_json_parse(text, strlen(text), json))
		elog(ERROR, "jsonb gave invalid JSON");
	return cdp_json_root(json);
}

static CdpJsonValue
default_rules(void)
{
	CdpJsonValue rules;
	bool isnull;

	if (cdp_run(&read_default_rules, NULL, NULL) != 1)
		elog(ERROR, "cdp.default_rules() gave no row");
	rules = parse_rules(DatumGetJsonbPCopy(cdp_result_datum(0, 1, &isnull)));
	cdp_done();
	return rules;
}

void
cdp_query_rules_read(CdpQueryRules *r, Jsonb *written)
{
	static const char *const keys[] = {"namespaces", "blocked", "pins", "denials", "phone_region", NULL};
	CdpJsonValue rules = written == NULL ? default_rules() : parse_rules(written);
	CdpJsonValue namespaces;

	cdp_rules_check_keys(rules, keys, "the rules");
	namespaces = part(rules, "namespaces");
	if (!cdp_json_exists(namespaces))
		namespaces = cdp_json_member(default_rules(), "namespaces");
	r->namespaces = cdp_namespaces_of_json(namespaces, part(rules, "blocked"));
	read_phone_region(r, part(rules, "phone_region"));
	read_rulings(r, rules, "pins", true);
	read_rulings(r, rules, "denials", false);
}
