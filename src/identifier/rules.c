/*
 * rules.c
 *		Rules that stand in JSON, for whoever has no tables: checked, then as those of the tables.
 *
 * The members of a namespace are the columns of cdp.namespace, those of a blocked value
 * the columns of cdp.blocked_value, so rows of either can be handed over by to_jsonb().
 */
#include "postgres.h"

#include "identifier/rules.h"
#include "catalog/pg_collation.h"
#include "regex/regex.h"
#include "utils/builtins.h"
#include "utils/formatting.h"

#define MAX_NAMESPACES 100 /* resolving takes memory for each */

#define HOW_RULES_ARE_WRITTEN "See cdp.default_rules() for how rules are written."

/* A JSON string with its end marked. */
static char *
string_of(CdpJsonValue v)
{
	int length;
	const char *s = cdp_json_string(v, &length);

	return pnstrdup(s, length);
}

void
cdp_rules_check_keys(CdpJsonValue object, const char *const *keys, const char *where)
{
	const CdpJsonNode *nodes;
	StringInfoData known;

	if (!cdp_json_is(object, CDP_JSON_OBJECT))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s must be an object", where),
						errhint(HOW_RULES_ARE_WRITTEN)));
	nodes = object.json->nodes;
	for (uint32 i = object.node + 1; i < nodes[object.node].next; i = nodes[i + 1].next)
	{
		CdpJsonValue key = {object.json, i};

		if (cdp_name_index(string_of(key), keys) >= 0)
			continue;
		initStringInfo(&known);
		for (int j = 0; keys[j] != NULL; j++)
			appendStringInfo(&known, j == 0 ? "%s" : ", %s", keys[j]);
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown key \"%s\" in %s", string_of(key), where),
				 errhint("The keys are %s.", known.data)));
	}
}

/* A member of a rule: of the type, or none where it is missing or null. */
static CdpJsonValue
member(CdpJsonValue rule, const char *where, const char *key, CdpJsonType type, const char *type_name)
{
	CdpJsonValue none = {NULL, CDP_JSON_NONE};
	CdpJsonValue v = cdp_json_member(rule, key);

	if (!cdp_json_exists(v) || cdp_json_type(v) == CDP_JSON_NULL)
		return none;
	if (cdp_json_type(v) != type)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s of %s is not %s", key, where, type_name),
						errhint(HOW_RULES_ARE_WRITTEN)));
	return v;
}

/* A member that is one of a few names; missing: the one at if_missing. */
static int
choice(CdpJsonValue rule, const char *where, const char *key, const char *const *names, int if_missing)
{
	CdpJsonValue v = member(rule, where, key, CDP_JSON_STRING, "a string");
	int index = cdp_json_exists(v) ? cdp_name_index(string_of(v), names) : if_missing;
	StringInfoData known;

	if (index >= 0)
		return index;
	initStringInfo(&known);
	for (int i = 0; names[i] != NULL; i++)
		appendStringInfo(&known, i == 0 ? "%s" : names[i + 1] == NULL ? " or %s" : ", %s", names[i]);
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid %s of %s", key, where),
					errhint("It is %s.", known.data)));
}

/* A member that is a whole number of at least 1; missing: 0. */
static int
count(CdpJsonValue rule, const char *where, const char *key, const char *hint)
{
	CdpJsonValue v = member(rule, where, key, CDP_JSON_NUMBER, "a number");
	char *end;
	long n;

	if (!cdp_json_exists(v))
		return 0;
	n = strtol(v.json->text + v.json->nodes[v.node].start, &end, 10);
	if (n < 1 || n > INT_MAX || end != v.json->text + v.json->nodes[v.node].start + v.json->nodes[v.node].length)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s of %s is not a whole number of at least 1", key, where), errhint("%s", hint)));
	return n;
}

/* A member that is a regular expression, or NULL; an invalid one is an error here, not at the first value. */
static char *
pattern(CdpJsonValue v)
{
	char *result;

	if (!cdp_json_exists(v))
		return NULL;
	result = string_of(v);
	RE_compile_and_cache(cstring_to_text(result), REG_ADVANCED, C_COLLATION_OID);
	return result;
}

/* Names joined by dots, after a type of message and a colon if only that type counts? */
static bool
is_path(const char *text)
{
	const char *colon = strchr(text, ':');

	if (colon != NULL && cdp_message_type_of(text, colon - text) < 0)
		return false;
	text = colon == NULL ? text : colon + 1;
	return *text != '\0' && *text != '.' && text[strlen(text) - 1] != '.' && strstr(text, "..") == NULL &&
		   strchr(text, ':') == NULL;
}

static void
read_paths(CdpNamespace *ns, CdpJsonValue rule, const char *where)
{
	CdpJsonValue list = member(rule, where, "paths", CDP_JSON_ARRAY, "an array");
	const CdpJsonNode *nodes;

	if (!cdp_json_exists(list))
		return;
	nodes = list.json->nodes;
	ns->paths = palloc(sizeof(CdpPath) * ((Size) nodes[list.node].count + 1));
	for (uint32 i = list.node + 1; i < nodes[list.node].next; i = nodes[i].next)
	{
		CdpJsonValue v = {list.json, i};

		if (!cdp_json_is(v, CDP_JSON_STRING) || !is_path(string_of(v)))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid path of %s", where),
					 errhint("Write member names joined by dots, such as context.traits.email; before it, with a "
							 "colon, a type of message such as identify.")));
		ns->paths[ns->n_paths++] = cdp_path_compile(string_of(v));
	}
}

static void
read_namespace(CdpNamespace *ns, CdpJsonValue name, CdpJsonValue rule)
{
	static const char *const keys[] = {"entity",		"kind",	 "priority", "max_per_profile", "bridge", "normalizer",
									   "valid_pattern", "paths", NULL};
	static const char *const entities[] = {"person", "account", NULL};
	char *where;

	ns->name = string_of(name);
	if (!cdp_namespace_is_name(ns->name, strlen(ns->name)))
		ereport(ERROR, (errcode(ERRCODE_INVALID_NAME), errmsg("invalid name for a namespace"),
						errhint("Use lower-case letters, digits and underscores, a letter first, at most %d.",
								CDP_MAX_NAMESPACE_BYTES)));
	where = psprintf("namespace \"%s\"", ns->name);
	cdp_rules_check_keys(rule, keys, where);
	ns->is_person_entity = choice(rule, where, "entity", entities, 0) == 0;
	ns->entity = pstrdup(entities[ns->is_person_entity ? 0 : 1]);
	ns->kind = choice(rule, where, "kind", cdp_kind_names, CDP_KIND_CONTACT);
	ns->priority = count(rule, where, "priority", "1 is the strongest.");
	if (ns->priority == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s has no priority", where),
						errhint("1 is the strongest; each namespace has its own.")));
	ns->max_per_profile = count(rule, where, "max_per_profile", "Leave it out for no limit.");
	ns->bridge = choice(rule, where, "bridge", cdp_bridge_names, CDP_BRIDGE_UNIQUE);
	ns->normalizer = choice(rule, where, "normalizer", cdp_normalizer_names, CDP_NORMALIZE_NONE);
	ns->valid_pattern = pattern(member(rule, where, "valid_pattern", CDP_JSON_STRING, "a string"));
	read_paths(ns, rule, where);
}

/* People's namespaces before accounts', the strongest first. */
static int
compare_namespaces(const void *left, const void *right)
{
	const CdpNamespace *p = left;
	const CdpNamespace *q = right;

	if (p->is_person_entity != q->is_person_entity)
		return p->is_person_entity ? -1 : 1;
	return p->priority < q->priority ? -1 : p->priority > q->priority;
}

static void
read_namespaces(CdpNamespaces *all, CdpJsonValue object)
{
	const CdpJsonNode *nodes = object.json->nodes;
	uint32 n = nodes[object.node].count;

	if (n < 1 || n > MAX_NAMESPACES)
		ereport(ERROR, (errcode(n < 1 ? ERRCODE_INVALID_PARAMETER_VALUE : ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("the rules have %u namespaces", n),
						errhint("There are 1 to %d; without the key namespaces those of cdp.default_rules().",
								MAX_NAMESPACES)));
	all->items = palloc0(sizeof(CdpNamespace) * n);
	for (uint32 i = object.node + 1; i < nodes[object.node].next; i = nodes[i + 1].next)
	{
		CdpJsonValue name = {object.json, i};
		CdpJsonValue rule = {object.json, i + 1};

		read_namespace(&all->items[all->n++], name, rule);
	}
	qsort(all->items, all->n, sizeof(CdpNamespace), compare_namespaces);
	for (int i = 1; i < all->n; i++)
	{
		if (compare_namespaces(&all->items[i - 1], &all->items[i]) == 0)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("namespaces \"%s\" and \"%s\" have one priority", all->items[i - 1].name,
								   all->items[i].name),
							errhint("Each namespace of an entity has a priority of its own; 1 is the strongest.")));
	}
}

/* The namespace of a name in the rules, or an error. */
static int
find_namespace(const CdpNamespaces *all, const char *name, int length)
{
	int index = cdp_namespace_find(all, name, length);

	if (index < 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("namespace \"%.*s\" does not exist", length, name),
						errhint("The rules must have it among their namespaces.")));
	return index;
}

int
cdp_rules_identifier(const CdpNamespaces *namespaces, CdpJsonValue v, const char **value, int *length)
{
	CdpIdentifier *id;
	int index;

	if (!cdp_json_is(v, CDP_JSON_STRING))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("an identifier in the rules is not a string"),
						errhint("Write namespace:value, such as email:ada@example.com.")));
	id = cdp_identifier_parse(string_of(v));
	index = find_namespace(namespaces, id->data, id->namespace_length);
	*value = cdp_identifier_normalize(&namespaces->items[index], cdp_identifier_value(id),
									  cdp_identifier_value_length(id), NULL, length);
	return index;
}

/* A blocked value: "namespace:value", or an object of the columns of cdp.blocked_value. */
static void
read_blocked(CdpNamespaces *all, CdpJsonValue v)
{
	static const char *const keys[] = {"namespace", "value", "is_pattern", "is_exact", NULL};
	static const char where[] = "a blocked value in the rules";
	CdpBlocked *blocked = &all->blocked[all->n_blocked]; /* zeroed */
	CdpJsonValue written;
	CdpJsonValue name;

	if (cdp_json_is(v, CDP_JSON_STRING))
	{
		int length;
		const char *value;
		int index = cdp_rules_identifier(all, v, &value, &length);

		if (value == NULL)
			return; /* nothing is left of it in any message either */
		blocked->name_space = all->items[index].name;
		blocked->value = asc_tolower(value, length);
		all->n_blocked++;
		return;
	}
	if (!cdp_json_is(v, CDP_JSON_OBJECT))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s is neither a string nor an object", where),
						errhint("Write \"namespace:value\", or an object of value, namespace, is_pattern and is_exact.")));
	cdp_rules_check_keys(v, keys, where);
	written = member(v, where, "value", CDP_JSON_STRING, "a string");
	if (!cdp_json_exists(written) || v.json->nodes[written.node].length == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s is missing or empty", where),
						errhint("Empty values are kept out in any case.")));
	name = member(v, where, "namespace", CDP_JSON_STRING, "a string");
	if (cdp_json_exists(name))
		blocked->name_space = all->items[find_namespace(all, string_of(name), strlen(string_of(name)))].name;
	blocked->is_pattern = cdp_json_is(cdp_json_member(v, "is_pattern"), CDP_JSON_TRUE);
	if (!blocked->is_pattern)
		member(v, where, "is_pattern", CDP_JSON_FALSE, "true or false");
	blocked->is_exact = cdp_json_is(cdp_json_member(v, "is_exact"), CDP_JSON_TRUE);
	if (!blocked->is_exact)
		member(v, where, "is_exact", CDP_JSON_FALSE, "true or false");
	blocked->value = blocked->is_pattern ? pattern(written)
					 : blocked->is_exact ? string_of(written)
										 : asc_tolower(string_of(written), strlen(string_of(written)));
	all->n_blocked++;
}

CdpNamespaces *
cdp_namespaces_of_json(CdpJsonValue namespaces, CdpJsonValue blocked)
{
	CdpNamespaces *all = palloc0(sizeof(CdpNamespaces));
	const CdpJsonNode *nodes;

	if (!cdp_json_is(namespaces, CDP_JSON_OBJECT))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("namespaces in the rules must be an object"),
						errhint(HOW_RULES_ARE_WRITTEN)));
	read_namespaces(all, namespaces);
	if (!cdp_json_exists(blocked))
		return all;
	if (!cdp_json_is(blocked, CDP_JSON_ARRAY))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("blocked in the rules must be an array"),
						errhint("Write [\"namespace:value\", ..].")));
	nodes = blocked.json->nodes;
	all->blocked = palloc0(sizeof(CdpBlocked) * ((Size) nodes[blocked.node].count + 1));
	for (uint32 i = blocked.node + 1; i < nodes[blocked.node].next; i = nodes[i].next)
	{
		CdpJsonValue v = {blocked.json, i};

		read_blocked(all, v);
	}
	return all;
}
