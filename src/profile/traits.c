/*
 * traits.c
 *		The type cdp.traits: name -> value with time, rank and rule.
 */
#include "postgres.h"

#include "profile/trait_rules.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(cdp_traits_in);
PG_FUNCTION_INFO_V1(cdp_traits_recv);
PG_FUNCTION_INFO_V1(cdp_traits_merge);
PG_FUNCTION_INFO_V1(cdp_traits_of);
PG_FUNCTION_INFO_V1(cdp_traits_declared);
PG_FUNCTION_INFO_V1(cdp_traits_step);

Datum
cdp_traits_in(PG_FUNCTION_ARGS)
{
	const char *text = PG_GETARG_CSTRING(0);

	PG_RETURN_POINTER(cdp_stamped_in(text, strlen(text), "cdp.traits", cdp_stamped_tie_bytes));
}

/* The binary form is a version byte and the text, so that it is checked as text is. */
Datum
cdp_traits_recv(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(cdp_stamped_recv((StringInfo) PG_GETARG_POINTER(0), "cdp.traits", cdp_stamped_tie_bytes));
}

Datum
cdp_traits_merge(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(cdp_stamped_merge(PG_GETARG_STAMPED_P(0), PG_GETARG_STAMPED_P(1), cdp_stamped_tie_bytes));
}

/* Refuse what the type's own input would not read again; some rules keep a value two levels down. */
static void
check_value(JsonbContainer *container, int max_depth)
{
	JsonbIterator *it = JsonbIteratorInit(container);
	JsonbIteratorToken token;
	JsonbValue v;
	int depth = 0;

	while ((token = JsonbIteratorNext(&it, &v, false)) != WJB_DONE)
	{
		if (token == WJB_BEGIN_ARRAY || token == WJB_BEGIN_OBJECT)
			depth++;
		else if (token == WJB_END_ARRAY || token == WJB_END_OBJECT)
			depth--;
		else if (v.type == jbvNumeric && !cdp_numeric_is_readable(v.val.numeric))
			ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE), errmsg("a number in traits has too many digits")));
		if (depth > max_depth + 1)
			ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("a value of traits nests too deep"),
							errdetail("The limit is %d.", max_depth)));
	}
}

static void
take_map(void *arg, int key, CdpStamped *map)
{
	*(CdpStamped **) arg = map;
}

/* The members of a JSON object, all said at one instant by a source of one rank; by_rules: those declared in cdp.trait. */
static CdpStamped *
make_traits(Jsonb *object, TimestampTz at, int32 rank, bool by_rules)
{
	CdpGatherer gatherer = {0};
	CdpStamped *traits = NULL;

	if (!JB_ROOT_IS_OBJECT(object))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("traits are not a JSON object"),
						errhint("Give an object such as {\"plan\": \"pro\"}.")));
	if (!cdp_is_plausible_time(at))
		ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("instant of traits is out of range"),
						errhint("Give one in the years 0001 to 9999.")));
	check_value(&object->root, by_rules ? CDP_MAX_DEPTH - 2 : CDP_MAX_DEPTH);
	if (rank < -PG_INT16_MAX || rank > PG_INT16_MAX)
		ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE), errmsg("rank is out of range"),
						errhint("A rank is between -32767 and 32767.")));
	cdp_gather_object(&gatherer, 0, &object->root, at, rank);
	if (by_rules)
		cdp_traits_apply(&gatherer, 0, NULL, NULL);
	if (gatherer.n == 0)
		return cdp_stamped_build(NULL, 0, cdp_stamped_tie_bytes);
	cdp_gather_build(&gatherer, cdp_stamped_tie_bytes, take_map, &traits);
	return traits;
}

Datum
cdp_traits_of(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(make_traits(PG_GETARG_JSONB_P(0), PG_GETARG_TIMESTAMPTZ(1), PG_GETARG_INT32(2), false));
}

/* cdp.declared_traits(object, at, rank) */
Datum
cdp_traits_declared(PG_FUNCTION_ARGS)
{
	CdpStamped *traits = make_traits(PG_GETARG_JSONB_P(0), PG_GETARG_TIMESTAMPTZ(1), PG_GETARG_INT32(2), true);

	if (cdp_stamped_count(traits) == 0)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(traits);
}

/* Merge one more object into traits. One without a time was said before all others, one without a rank has the lowest. */
Datum
cdp_traits_step(PG_FUNCTION_ARGS)
{
	CdpStamped *traits = PG_ARGISNULL(0) ? NULL : PG_GETARG_STAMPED_P(0);
	TimestampTz at = PG_ARGISNULL(2) ? CDP_FIRST_INSTANT : PG_GETARG_TIMESTAMPTZ(2);
	int32 rank = PG_NARGS() < 4 ? 0 : PG_ARGISNULL(3) ? -PG_INT16_MAX : PG_GETARG_INT32(3);

	if (!PG_ARGISNULL(1))
		traits = cdp_stamped_merge(traits, make_traits(PG_GETARG_JSONB_P(1), at, rank, false), cdp_stamped_tie_bytes);
	if (traits == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(traits);
}
