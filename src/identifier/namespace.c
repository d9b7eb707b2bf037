/*
 * namespace.c
 *		The rules of the namespaces: reading them, finding one, blocked values.
 */
#include "postgres.h"

#include "identifier/identifier.h"
#include "identifier/rules.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "regex/regex.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(cdp_normalize);
PG_FUNCTION_INFO_V1(cdp_is_blocked);
PG_FUNCTION_INFO_V1(cdp_hold_rules);

CDP_QUERY(read_namespaces,
		  "SELECT name, entity, kind, priority::pg_catalog.int8, coalesce(max_per_profile, 0)::pg_catalog.int8, bridge, normalizer, "
		  "valid_pattern, paths FROM cdp.namespace ORDER BY entity OPERATOR(pg_catalog.<>) 'person', priority, name",
		  "");
CDP_QUERY(read_blocked,
		  "SELECT namespace, CASE WHEN is_pattern OR is_exact THEN value ELSE pg_catalog.lower(value COLLATE \"C\") END, "
		  "is_pattern, is_exact FROM cdp.blocked_value",
		  "");

/* What stands in an identifier's place when nobody is meant; compared in lower case. */
static const char *const nobody[] = {"null",	"-1",	 "anonymous", "guest", "none",			  "n/a",			   "nil",
									 "nan",		"undefined", "unknown", "true",	 "false",			  "[object object]",
									 "not_authenticated", "test@test.com"};

const char *const cdp_kind_names[] = {"person", "contact", "device", NULL};
const char *const cdp_bridge_names[] = {"unique", "always", "never", NULL};
const char *const cdp_normalizer_names[] = {"none", "lower", "email", "email_gmail", "phone", NULL};

int
cdp_name_index(const char *name, const char *const *names)
{
	for (int i = 0; names[i] != NULL; i++)
	{
		if (strcmp(name, names[i]) == 0)
			return i;
	}
	return -1;
}

/* The value of a name that stands in the table. */
static int
enum_value(const char *name, const char *const *names)
{
	return Max(0, cdp_name_index(name, names)); /* the table's CHECK constraints let nothing else in */
}

CdpPath
cdp_path_compile(char *text)
{
	CdpPath path = {-1, 0, NULL};
	char *colon = strchr(text, ':');
	char *state = NULL;

	if (colon != NULL)
	{
		*colon = '\0';
		path.type = cdp_message_type_of(text, strlen(text));
		text = colon + 1;
	}
	path.names = palloc(sizeof(char *) * (strlen(text) / 2 + 1));
	for (char *name = strtok_r(text, ".", &state); name != NULL; name = strtok_r(NULL, ".", &state))
		path.names[path.n++] = name;
	return path;
}

static void
compile_paths(CdpNamespace *ns, Datum array)
{
	Datum *values;
	bool *nulls;
	int n;

	deconstruct_array(DatumGetArrayTypePCopy(array), TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, &n);
	ns->paths = palloc(sizeof(CdpPath) * (n + 1));
	ns->n_paths = 0;
	for (int i = 0; i < n; i++)
	{
		CdpPath path;

		if (nulls[i])
			continue;
		path = cdp_path_compile(TextDatumGetCString(values[i]));
		if (path.n > 0)
			ns->paths[ns->n_paths++] = path;
	}
}

/* Read the tables into the current context. */
static void *
read_rules(void)
{
	static uint64 generation = 0;
	CdpNamespaces *all = palloc0(sizeof(CdpNamespaces));
	bool isnull;

	all->generation = ++generation;
	all->n = cdp_run_latest(&read_namespaces, NULL, NULL);
	all->items = palloc0(sizeof(CdpNamespace) * (all->n + 1));
	for (int i = 0; i < all->n; i++)
	{
		CdpNamespace *ns = &all->items[i];
		Datum paths = cdp_result_datum(i, 9, &isnull);

		ns->name = cdp_result_cstring(i, 1);
		ns->entity = cdp_result_cstring(i, 2);
		ns->is_person_entity = strcmp(ns->entity, "person") == 0;
		ns->kind = enum_value(cdp_result_cstring(i, 3), cdp_kind_names);
		ns->priority = cdp_result_int64(i, 4, 0);
		ns->max_per_profile = cdp_result_int64(i, 5, 0);
		ns->bridge = enum_value(cdp_result_cstring(i, 6), cdp_bridge_names);
		ns->normalizer = enum_value(cdp_result_cstring(i, 7), cdp_normalizer_names);
		ns->valid_pattern = cdp_result_cstring(i, 8);
		if (!isnull)
			compile_paths(ns, paths);
	}
	cdp_done();
	all->n_blocked = cdp_run_latest(&read_blocked, NULL, NULL);
	all->blocked = palloc(sizeof(CdpBlocked) * (all->n_blocked + 1));
	for (int i = 0; i < all->n_blocked; i++)
	{
		all->blocked[i].name_space = cdp_result_cstring(i, 1);
		all->blocked[i].value = cdp_result_cstring(i, 2);
		all->blocked[i].is_pattern = DatumGetBool(cdp_result_datum(i, 3, &isnull));
		all->blocked[i].is_exact = DatumGetBool(cdp_result_datum(i, 4, &isnull));
	}
	cdp_done();
	return all;
}

/* Triggers on the tables call cdp.rules_changed(), so that every session reads them again. */
static CdpCached rules = {"namespace", read_rules};

CdpNamespaces *
cdp_namespaces_load(void)
{
	return cdp_cached(&rules);
}

void
cdp_namespaces_hold(bool is_alone)
{
	cdp_require_init();
	LockRelationOid(cdp_find_relation("namespace"), is_alone ? ExclusiveLock : RowShareLock);
	AcceptInvalidationMessages();
}

/* May the user change anything that needs the rules held? */
static bool
is_steward(void)
{
	static const char *const tables[] = {"namespace", "blocked_value", "source", "ruling", "trait"};
	Oid schema = get_namespace_oid("cdp", false);

	for (int i = 0; i < (int) lengthof(tables); i++)
	{
		Oid table = get_relname_relid(tables[i], schema);

		if (OidIsValid(table) && pg_class_aclmask(table, GetUserId(), ACL_INSERT | ACL_UPDATE | ACL_DELETE, ACLMASK_ANY) != 0)
			return true;
	}
	return false;
}

/* cdp.hold_rules(is_alone) */
Datum
cdp_hold_rules(PG_FUNCTION_ARGS)
{
	bool is_alone = PG_GETARG_BOOL(0);

	cdp_require_init();
	if (!is_steward())
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("permission denied to hold the rules"),
						errhint("It takes a privilege to change cdp.namespace, cdp.blocked_value, cdp.source, cdp.trait or cdp.ruling.")));
	if (is_alone && IsolationUsesXactSnapshot())
		ereport(ERROR, (errcode(ERRCODE_INVALID_TRANSACTION_STATE),
						errmsg("what messages mean can be changed in isolation level READ COMMITTED only"),
						errhint("The past is read again, and that must see all that was committed until then. "
								"Use BEGIN ISOLATION LEVEL READ COMMITTED.")));
	cdp_namespaces_hold(is_alone);
	PG_RETURN_VOID();
}

int
cdp_namespace_find(const CdpNamespaces *namespaces, const char *name, int length)
{
	for (int i = 0; i < namespaces->n; i++)
	{
		if (strncmp(namespaces->items[i].name, name, length) == 0 && namespaces->items[i].name[length] == '\0')
			return i;
	}
	return -1;
}

/* Lower and strip white space and quotes: the form in which blocked values are compared. */
static int
fold(const char *value, int length, char *out)
{
	while (length > 0 && strchr(" \t\r\n\"'", value[length - 1]) != NULL)
		length--;
	while (length > 0 && strchr(" \t\r\n\"'", *value) != NULL)
	{
		value++;
		length--;
	}
	for (int i = 0; i < length; i++)
		out[i] = value[i] >= 'A' && value[i] <= 'Z' ? value[i] + ('a' - 'A') : value[i];
	out[length] = '\0';
	return length;
}

/* Is a folded value one that means nobody? Also zeros and dashes only, as in an empty UUID. */
static bool
is_nobody(const char *folded, int length)
{
	if (strspn(folded, "0-") == (size_t) length)
		return true;
	if (length > 17)
		return false;
	for (int i = 0; i < (int) lengthof(nobody); i++)
	{
		if (strcmp(folded, nobody[i]) == 0)
			return true;
	}
	return false;
}

/* Match a regular expression; the pattern was checked when it was stored. */
static bool
matches(const char *pattern, const char *value, int length)
{
	text *re = cstring_to_text(pattern);
	bool found = RE_compile_and_execute(re, unconstify(char *, value), length, REG_ADVANCED, C_COLLATION_OID, 0, NULL);

	pfree(re);
	return found;
}

/* Is a value one that means nobody, built in or by the table? */
static bool
is_blocked(const CdpNamespaces *namespaces, const char *name_space, const char *value, int length)
{
	char folded[CDP_MAX_IDENTIFIER_BYTES + 1];

	if (is_nobody(folded, fold(value, Min(length, CDP_MAX_IDENTIFIER_BYTES), folded)))
		return true;
	for (int i = 0; i < namespaces->n_blocked; i++)
	{
		const CdpBlocked *b = &namespaces->blocked[i];

		if (b->name_space != NULL && strcmp(b->name_space, name_space) != 0)
			continue;
		if (b->is_pattern ? matches(b->value, value, length)
			: b->is_exact ? strlen(b->value) == (size_t) length && memcmp(b->value, value, length) == 0
						  : strcmp(b->value, folded) == 0)
			return true;
	}
	return false;
}

CdpVerdict
cdp_identifier_judge(const CdpNamespaces *namespaces, int index, const char *value, int length,
					 const char *phone_region, const char **normal, int *normal_length)
{
	const CdpNamespace *ns = &namespaces->items[index];

	*normal = cdp_identifier_normalize(ns, value, length, phone_region, normal_length);
	if (*normal != NULL)
	{
		value = *normal;
		length = *normal_length;
	}
	if (is_blocked(namespaces, ns->name, value, length))
		return CDP_BLOCKED;
	if (*normal == NULL || (ns->valid_pattern != NULL && !matches(ns->valid_pattern, value, length)))
		return CDP_MALFORMED;
	return CDP_TAKEN;
}

/* Read the rules and the namespace of an identifier, or raise. */
static CdpNamespaces *
load_for(CdpIdentifier *id, int *index)
{
	CdpNamespaces *namespaces;

	namespaces = cdp_namespaces_load();
	*index = cdp_namespace_find(namespaces, id->data, id->namespace_length);
	if (*index < 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("namespace \"%.*s\" does not exist", id->namespace_length, id->data),
						errhint("See the table cdp.namespace, or make it with cdp.create_namespace().")));
	return namespaces;
}

Datum
cdp_normalize(PG_FUNCTION_ARGS)
{
	CdpIdentifier *id = PG_GETARG_IDENTIFIER_P(0);
	CdpIdentifier *result = NULL;
	CdpNamespaces *namespaces;
	const char *value;
	int index;
	int length;

	namespaces = load_for(id, &index);
	value = cdp_identifier_normalize(&namespaces->items[index], cdp_identifier_value(id),
									 cdp_identifier_value_length(id), NULL, &length);
	if (value != NULL)
		result = cdp_identifier_make(id->data, id->namespace_length, value, length);
	if (result == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(result);
}

Datum
cdp_is_blocked(PG_FUNCTION_ARGS)
{
	CdpIdentifier *id = PG_GETARG_IDENTIFIER_P(0);
	CdpNamespaces *namespaces;
	const char *normal;
	int index;
	int length;

	namespaces = load_for(id, &index);
	PG_RETURN_BOOL(cdp_identifier_judge(namespaces, index, cdp_identifier_value(id), cdp_identifier_value_length(id),
										NULL, &normal, &length) != CDP_TAKEN);
}
