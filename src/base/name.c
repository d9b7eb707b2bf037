/*
 * name.c
 *		What is called how in schema cdp, found out once and again after any relation, type or schema has changed.
 */
#include "postgres.h"

#include "base/base.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* A name that was asked for. */
typedef struct Named
{
	char name[NAMEDATALEN];
	Oid oid;
} Named;

#define MAX_PROBES 4

/* By the hash of the name, or near there. */
static Named relations[128];
static Named types[16];

static uint64 generation = 0; /* rises with each change */

/* Runs at any time, so it does nothing else. */
static void
forget(Datum arg, int cache, uint32 hash)
{
	memset(relations, 0, sizeof(relations));
	memset(types, 0, sizeof(types));
	generation++;
}

static Oid
find_relation(const char *name, Oid schema)
{
	return get_relname_relid(name, schema);
}

static Oid
find_type(const char *name, Oid schema)
{
	return GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum(name), ObjectIdGetDatum(schema));
}

/* The OID of a name, InvalidOid if there is none. */
static Oid
oid_of(Named *names, int n, const char *name, Oid (*find)(const char *name, Oid schema))
{
	static bool is_registered = false;
	uint32 at = hash_bytes((const unsigned char *) name, strlen(name)) % n;
	Named *known = &names[at];
	uint64 asked;
	Oid oid;

	for (int i = 1; known->oid != InvalidOid && strcmp(known->name, name) != 0 && i < MAX_PROBES; i++)
		known = &names[(at + i) % n];
	if (known->oid != InvalidOid && strcmp(known->name, name) == 0)
		return known->oid;
	if (!is_registered)
	{
		CacheRegisterSyscacheCallback(RELOID, forget, (Datum) 0);
		CacheRegisterSyscacheCallback(TYPEOID, forget, (Datum) 0);
		CacheRegisterSyscacheCallback(NAMESPACEOID, forget, (Datum) 0);
		is_registered = true;
	}
	asked = generation;
	oid = find(name, get_namespace_oid("cdp", true));
	if (asked == generation)
	{
		strlcpy(known->name, name, NAMEDATALEN);
		known->oid = oid;
	}
	return oid;
}

Oid
cdp_find_relation(const char *name)
{
	return oid_of(relations, lengthof(relations), name, find_relation);
}

Oid
cdp_relation_oid(const char *name)
{
	Oid oid = cdp_find_relation(name);

	if (!OidIsValid(oid))
	{
		cdp_require_init();
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("cdp.%s does not exist", name),
						errhint("Run SELECT cdp.init() again.")));
	}
	return oid;
}

Oid
cdp_type_oid(const char *name)
{
	Oid oid = oid_of(types, lengthof(types), name, find_type);

	if (!OidIsValid(oid))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("type cdp.%s does not exist", name),
						errhint("Run CREATE EXTENSION cdp.")));
	return oid;
}

void
cdp_require_init(void)
{
	if (OidIsValid(cdp_find_relation("setup")))
		return;
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("cdp is not set up in this database"),
					errhint("Run SELECT cdp.init() once.")));
}
