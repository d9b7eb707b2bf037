/*
 * trait_value.c
 *		One trait as a value of an SQL type: what the columns of profile views are made of.
 *
 * A value that does not fit the type is null, found by looking, not by catching errors.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "profile/profile.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/numeric.h"

PG_FUNCTION_INFO_V1(cdp_trait);
PG_FUNCTION_INFO_V1(cdp_trait_or_computed);

/* What a trait is, computed unless a steward locked it; NULL: nothing. Either map may be none. */
static const Jsonb *
find_trait(const CdpStamped *traits, const CdpStamped *computed, const text *name)
{
	CdpStampedEntry entry;
	bool is_said = traits != NULL && cdp_stamped_find(traits, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name), &entry);

	if (computed != NULL && !(is_said && entry.rule == CDP_STAMPED_LOCKED) &&
		cdp_stamped_find(computed, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name), &entry))
		is_said = true;
	return is_said ? cdp_stamped_value(&entry) : NULL;
}

/* The value at the path, whose first name is that of the trait; false when there is none. */
static bool
find_value(const CdpStamped *traits, const CdpStamped *computed, ArrayType *path, JsonbValue *value)
{
	Datum *names;
	bool *nulls;
	int n;

	deconstruct_array(path, TEXTOID, -1, false, TYPALIGN_INT, &names, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		text *name = nulls[i] ? NULL : DatumGetTextPP(names[i]);
		const Jsonb *trait;

		if (name == NULL)
			return false;
		if (i > 0)
		{
			if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data) ||
				getKeyJsonValueFromContainer(value->val.binary.data, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name), value) == NULL)
				return false;
			continue;
		}
		trait = find_trait(traits, computed, name);
		if (trait == NULL)
			return false;
		if (!JsonbExtractScalar(unconstify(JsonbContainer *, &trait->root), value))
		{
			value->type = jbvBinary;
			value->val.binary.data = unconstify(JsonbContainer *, &trait->root);
			value->val.binary.len = VARSIZE(trait) - VARHDRSZ;
		}
	}
	return n > 0 && value->type != jbvNull;
}

/* A scalar as text. */
static bool
read_text(const JsonbValue *value, Datum *result)
{
	switch (value->type)
	{
		case jbvString:
			*result = PointerGetDatum(cstring_to_text_with_len(value->val.string.val, value->val.string.len));
			return true;
		case jbvNumeric:
			*result = CStringGetTextDatum(
				DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric))));
			return true;
		case jbvBool:
			*result = CStringGetTextDatum(value->val.boolean ? "true" : "false");
			return true;
		default:
			return false;
	}
}

/* A number, or a string that is one as JSON writes it. */
static bool
read_number(const JsonbValue *value, Numeric *number)
{
	CdpJson json;
	JsonbValue parsed;
	Jsonb *document;

	if (value->type == jbvNumeric)
	{
		*number = value->val.numeric;
		return true;
	}
	if (value->type != jbvString || !cdp_json_parse(value->val.string.val, value->val.string.len, &json) ||
		!cdp_json_is(cdp_json_root(&json), CDP_JSON_NUMBER))
		return false;
	document = cdp_json_to_jsonb(cdp_json_root(&json));
	if (document == NULL || !JsonbExtractScalar(&document->root, &parsed))
		return false;
	*number = parsed.val.numeric;
	return true;
}

static int
compare_numbers(Numeric a, Numeric b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a), NumericGetDatum(b)));
}

/* A whole number within bounds. */
static bool
read_integer(const JsonbValue *value, int64 least, int64 largest, int64 *integer)
{
	Numeric number;
	Numeric whole;

	if (!read_number(value, &number))
		return false;
	whole = DatumGetNumeric(DirectFunctionCall2(numeric_trunc, NumericGetDatum(number), Int32GetDatum(0)));
	if (compare_numbers(number, whole) != 0 || compare_numbers(number, int64_to_numeric(least)) < 0 ||
		compare_numbers(number, int64_to_numeric(largest)) > 0)
		return false;
	*integer = DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(whole)));
	return true;
}

static bool
read_double(const JsonbValue *value, float8 *result)
{
	Numeric number;

	if (!read_number(value, &number))
		return false;
	*result = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(number)));
	return !isinf(*result);
}

/* true and false, as SQL writes them too, or 1 and 0. */
static bool
read_boolean(const JsonbValue *value, bool *result)
{
	int64 integer;

	if (value->type == jbvBool)
	{
		*result = value->val.boolean;
		return true;
	}
	if (value->type == jbvString)
		return parse_bool_with_len(value->val.string.val, value->val.string.len, result);
	if (!read_integer(value, 0, 1, &integer))
		return false;
	*result = integer == 1;
	return true;
}

/* An instant as ISO 8601 writes it; without a zone it is UTC. */
static bool
read_instant(const JsonbValue *value, TimestampTz *at)
{
	return value->type == jbvString && cdp_parse_timestamp(value->val.string.val, value->val.string.len, at);
}

/* The day as it is written, whatever the zone behind it. */
static bool
read_date(const JsonbValue *value, DateADT *date)
{
	const int day = strlen("2026-01-31");
	TimestampTz at;

	if (!read_instant(value, &at) || !cdp_parse_timestamp(value->val.string.val, Min(day, value->val.string.len), &at))
		return false;
	*date = at / USECS_PER_DAY;
	return true;
}

/* A list of scalars; nulls stay. */
static bool
read_texts(const JsonbValue *value, Datum *result)
{
	CdpColumn *texts = cdp_column(TEXTOID, 8);
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue element;
	Datum datum;

	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		return false;
	it = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &element, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		if (element.type == jbvNull)
			cdp_column_add_null(texts);
		else if (read_text(&element, &datum))
			cdp_column_add(texts, datum);
		else
			return false;
	}
	*result = cdp_column_array(texts);
	return true;
}

/* A value as one of a type; false when it does not fit. */
static bool
read_value(JsonbValue *value, Oid type, Datum *result)
{
	Numeric number;
	int64 integer;
	float8 real;
	bool boolean;
	TimestampTz at;
	DateADT date;
	bool fits = false;

	switch (type)
	{
		case TEXTOID:
			return read_text(value, result);
		case TEXTARRAYOID:
			return read_texts(value, result);
		case JSONBOID:
			*result = JsonbPGetDatum(JsonbValueToJsonb(value));
			return true;
		case NUMERICOID:
			if ((fits = read_number(value, &number)))
				*result = NumericGetDatum(number);
			break;
		case INT8OID:
			if ((fits = read_integer(value, PG_INT64_MIN, PG_INT64_MAX, &integer)))
				*result = Int64GetDatum(integer);
			break;
		case INT4OID:
			if ((fits = read_integer(value, PG_INT32_MIN, PG_INT32_MAX, &integer)))
				*result = Int32GetDatum((int32) integer);
			break;
		case FLOAT8OID:
			if ((fits = read_double(value, &real)))
				*result = Float8GetDatum(real);
			break;
		case BOOLOID:
			if ((fits = read_boolean(value, &boolean)))
				*result = BoolGetDatum(boolean);
			break;
		case TIMESTAMPTZOID:
			if ((fits = read_instant(value, &at)))
				*result = TimestampTzGetDatum(at);
			break;
		case DATEOID:
			if ((fits = read_date(value, &date)))
				*result = DateADTGetDatum(date);
			break;
		default:
			ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("a trait cannot be of type %s", format_type_be(type)),
							errhint("Use text, text[], numeric, bigint, integer, double precision, boolean, date, "
									"timestamp with time zone or jsonb.")));
	}
	return fits;
}

/* What stands at a path, as a value of the type of an argument; null when there is none or it does not fit. */
static Datum
return_value(FunctionCallInfo fcinfo, const CdpStamped *traits, const CdpStamped *computed, int path)
{
	JsonbValue value;
	Datum result = (Datum) 0;

	if (PG_ARGISNULL(path) || !find_value(traits, computed, PG_GETARG_ARRAYTYPE_P(path), &value) ||
		!read_value(&value, get_fn_expr_argtype(fcinfo->flinfo, path + 1), &result))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(result);
}

/* cdp.trait(traits, path, null of the type) */
Datum
cdp_trait(PG_FUNCTION_ARGS)
{
	return return_value(fcinfo, PG_ARGISNULL(0) ? NULL : PG_GETARG_STAMPED_P(0), NULL, 1);
}

/* cdp.trait(traits, computed, path, null of the type) */
Datum
cdp_trait_or_computed(PG_FUNCTION_ARGS)
{
	return return_value(fcinfo, PG_ARGISNULL(0) ? NULL : PG_GETARG_STAMPED_P(0), PG_ARGISNULL(1) ? NULL : PG_GETARG_STAMPED_P(1), 2);
}
