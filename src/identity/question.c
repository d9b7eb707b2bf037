/*
 * question.c
 *		Why do two identifiers belong together?
 *
 * Accepted links form a tree in each profile, so there is one path between two of its
 * identifiers; it is the explanation, link by link with its evidence.
 */
#include "postgres.h"

#include "identity/component.h"
#include "identity/identity.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"

PG_FUNCTION_INFO_V1(cdp_explain_link);

CDP_QUERY(find_identifier, "SELECT identifier_id, profile_id FROM cdp.identity WHERE namespace = $1 AND value = $2",
		  "text,text");
CDP_QUERY(read_tree,
		  "SELECT l.identifier_a, l.identifier_b FROM cdp.identity i JOIN cdp.link l ON l.identifier_a = i.identifier_id "
		  "WHERE i.profile_id = $1 AND l.status = 'accepted'",
		  "int8");
CDP_QUERY(read_step,
		  "SELECT x.namespace, x.value, y.namespace, y.value, l.first_seen_at, l.last_seen_at, l.event_count "
		  "FROM cdp.link l JOIN cdp.identity x ON x.identifier_id = $1 JOIN cdp.identity y ON y.identifier_id = $2 "
		  "WHERE (l.identifier_a, l.identifier_b) IN (($1, $2), ($2, $1))",
		  "int8,int8");

/* Look an identifier up by its normal form; false if nobody was ever known by it. */
static bool
look_up(CdpIdentifier *id, int64 *identifier_id, int64 *profile_id)
{
	Datum key[2];
	bool found;

	if (!cdp_identity_key(id, key))
		return false;
	found = cdp_run(&find_identifier, key, NULL) > 0;
	if (found)
	{
		*identifier_id = cdp_result_int64(0, 1, 0);
		*profile_id = cdp_result_int64(0, 2, 0);
	}
	cdp_done();
	return found;
}

typedef struct Edge
{
	int64 a;
	int64 b;
} Edge;

typedef struct Visited
{
	int64 identifier_id;
	int64 from; /* the step before, 0 for the start */
} Visited;

/* Find the path in the tree from b back to a; returns its length in steps, or -1. */
static int
find_path(int64 profile_id, int64 a, int64 b, int64 **path)
{
	HASHCTL control = {.keysize = sizeof(int64), .entrysize = sizeof(Visited), .hcxt = CurrentMemoryContext};
	HTAB *visited = hash_create("cdp identity path", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	Datum arguments[1] = {Int64GetDatum(profile_id)};
	int n = cdp_run(&read_tree, arguments, NULL);
	Edge *edges = palloc(sizeof(Edge) * (Size) (n + 1));
	Visited *v;
	bool is_growing = true;
	int steps = 0;

	for (int i = 0; i < n; i++)
	{
		edges[i].a = cdp_result_int64(i, 1, 0);
		edges[i].b = cdp_result_int64(i, 2, 0);
	}
	cdp_done();
	v = hash_search(visited, &a, HASH_ENTER, NULL);
	v->from = 0;
	while (is_growing && hash_search(visited, &b, HASH_FIND, NULL) == NULL)
	{
		CHECK_FOR_INTERRUPTS();
		is_growing = false;
		for (int i = 0; i < n; i++)
		{
			bool has_a = hash_search(visited, &edges[i].a, HASH_FIND, NULL) != NULL;
			bool has_b = hash_search(visited, &edges[i].b, HASH_FIND, NULL) != NULL;

			if (has_a == has_b)
				continue;
			v = hash_search(visited, has_a ? &edges[i].b : &edges[i].a, HASH_ENTER, NULL);
			v->from = has_a ? edges[i].a : edges[i].b;
			is_growing = true;
		}
	}
	*path = palloc(sizeof(int64) * (Size) (n + 2));
	for (int64 at = b; at != 0; at = v->from)
	{
		v = hash_search(visited, &at, HASH_FIND, NULL);
		if (v == NULL)
			return -1;
		(*path)[steps++] = at;
	}
	return steps - 1;
}

/* Put one step of the path into the result. */
static void
put_step(ReturnSetInfo *result, int step, int64 from, int64 to)
{
	Datum arguments[2] = {Int64GetDatum(from), Int64GetDatum(to)};
	Datum values[6];
	bool nulls[6] = {false};
	bool isnull;

	if (cdp_run(&read_step, arguments, NULL) == 0)
		elog(ERROR, "link of a profile is gone");
	values[0] = Int32GetDatum(step);
	for (int side = 0; side < 2; side++)
	{
		char *name = cdp_result_cstring(0, 1 + 2 * side);
		char *value = cdp_result_cstring(0, 2 + 2 * side);

		values[1 + side] = PointerGetDatum(cdp_identifier_make(name, strlen(name), value, strlen(value)));
	}
	for (int i = 0; i < 3; i++)
		values[3 + i] = cdp_result_datum(0, 5 + i, &isnull);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	cdp_done();
}

Datum
cdp_explain_link(PG_FUNCTION_ARGS)
{
	CdpIdentifier *a = PG_GETARG_IDENTIFIER_P(0);
	CdpIdentifier *b = PG_GETARG_IDENTIFIER_P(1);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int64 a_id, b_id, a_profile, b_profile;
	int64 *path;

	InitMaterializedSRF(fcinfo, 0);
	cdp_require_init();
	SPI_connect();
	if (look_up(a, &a_id, &a_profile) && look_up(b, &b_id, &b_profile) && a_profile == b_profile)
	{
		int steps = find_path(a_profile, a_id, b_id, &path);

		for (int i = steps; i > 0; i--)
			put_step(result, steps - i + 1, path[i], path[i - 1]);
	}
	SPI_finish();
	return (Datum) 0;
}
