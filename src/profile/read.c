/*
 * read.c
 *		A profile as one document.
 *
 * The hot path of personalisation: a few index lookups and one jsonb, no plan.
 */
#include "postgres.h"

#include "profile/profile.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

PG_FUNCTION_INFO_V1(cdp_profile_by_identifier);
PG_FUNCTION_INFO_V1(cdp_profile_by_id);

static CdpLookupKind identities_of_profile =
	CDP_LOOKUP("identity", "identity_profile_id_idx", 1, false, "profile_id OPERATOR(pg_catalog.=) $1", "identifier_id", "int8");
static CdpLookupKind memberships_of_profile =
	CDP_LOOKUP("membership", "membership_pkey", 1, false, "profile_id OPERATOR(pg_catalog.=) $1", "segment", "int8");

typedef struct Document
{
	JsonbParseState *state;
	int64 profile_id;
} Document;

static void
push_key(Document *d, const char *name)
{
	JsonbValue key = {.type = jbvString};

	key.val.string.val = unconstify(char *, name);
	key.val.string.len = strlen(name);
	pushJsonbValue(&d->state, WJB_KEY, &key);
}

static void
push_string(Document *d, JsonbIteratorToken token, const char *s, int length)
{
	JsonbValue value = {.type = jbvString};

	value.val.string.val = unconstify(char *, s);
	value.val.string.len = length;
	pushJsonbValue(&d->state, token, &value);
}

static void
push_number(Document *d, const char *name, int64 n)
{
	JsonbValue value = {.type = jbvNumeric};

	value.val.numeric = int64_to_numeric(n);
	push_key(d, name);
	pushJsonbValue(&d->state, WJB_VALUE, &value);
}

static void
push_time(Document *d, const char *name, CdpLookup *row)
{
	bool isnull;
	Datum at = cdp_lookup_value(row, name, &isnull);
	char *text;
	JsonbValue none = {.type = jbvNull};

	push_key(d, name);
	if (isnull)
	{
		pushJsonbValue(&d->state, WJB_VALUE, &none);
		return;
	}
	text = palloc(CDP_TIMESTAMP_BYTES);
	cdp_format_timestamp(DatumGetTimestampTz(at), text);
	push_string(d, WJB_VALUE, text, strlen(text));
}

/* A stamped map of the row; NULL: nothing said. */
static CdpStamped *
read_map(CdpLookup *row, const char *column)
{
	bool isnull;
	Datum map = cdp_lookup_value(row, column, &isnull);

	return isnull ? NULL : (CdpStamped *) PG_DETOAST_DATUM_COPY(map);
}

/* A stamped map as an object; nothing said is {}. */
static void
push_map(Document *d, const char *name, const CdpStamped *map)
{
	push_key(d, name);
	if (map == NULL)
	{
		pushJsonbValue(&d->state, WJB_BEGIN_OBJECT, NULL);
		pushJsonbValue(&d->state, WJB_END_OBJECT, NULL);
	}
	else
		cdp_stamped_push(&d->state, map);
}

/* Traits, those said and those computed. */
static CdpStamped *
read_traits(CdpLookup *row)
{
	CdpStamped *said = read_map(row, "traits");
	CdpStamped *computed = read_map(row, "computed");

	if (said == NULL || computed == NULL)
		return said == NULL ? computed : said;
	return cdp_stamped_merge(said, computed, cdp_stamped_tie_bytes);
}

static int
compare_texts(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

/* Make "namespace:value". */
static char *
join(const text *name, const text *value)
{
	int name_length = VARSIZE_ANY_EXHDR(name);
	int value_length = VARSIZE_ANY_EXHDR(value);
	char *joined = palloc(name_length + value_length + 2);

	memcpy(joined, VARDATA_ANY(name), name_length);
	joined[name_length] = ':';
	memcpy(joined + name_length + 1, VARDATA_ANY(value), value_length);
	joined[name_length + 1 + value_length] = '\0';
	return joined;
}

/* The profile's identifiers as "namespace:value", sorted bytewise. */
static void
push_identifiers(Document *d)
{
	Datum key[1] = {Int64GetDatum(d->profile_id)};
	int capacity = 16;
	int n = 0;
	char **texts = palloc(sizeof(char *) * capacity);
	CdpLookup row;
	bool isnull;

	cdp_lookup_begin(&row, &identities_of_profile, key);
	while (cdp_lookup_next(&row))
	{
		text *name = DatumGetTextPP(cdp_lookup_value(&row, "namespace", &isnull));
		text *value = DatumGetTextPP(cdp_lookup_value(&row, "value", &isnull));

		if (n == capacity)
		{
			capacity *= 2;
			texts = repalloc_huge(texts, sizeof(char *) * (Size) capacity);
		}
		texts[n++] = join(name, value);
	}
	cdp_lookup_end(&row);
	qsort(texts, n, sizeof(char *), compare_texts);
	push_key(d, "identifiers");
	pushJsonbValue(&d->state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < n; i++)
		push_string(d, WJB_ELEM, texts[i], strlen(texts[i]));
	pushJsonbValue(&d->state, WJB_END_ARRAY, NULL);
}

/* The segments the profile is in, in the order of their names. */
static void
push_segments(Document *d)
{
	Datum key[1] = {Int64GetDatum(d->profile_id)};
	CdpLookup row;
	bool isnull;

	push_key(d, "segments");
	pushJsonbValue(&d->state, WJB_BEGIN_ARRAY, NULL);
	cdp_lookup_begin(&row, &memberships_of_profile, key);
	while (cdp_lookup_next(&row))
	{
		char *name = TextDatumGetCString(cdp_lookup_value(&row, "segment", &isnull));

		push_string(d, WJB_ELEM, name, strlen(name));
	}
	cdp_lookup_end(&row);
	pushJsonbValue(&d->state, WJB_END_ARRAY, NULL);
}

/* Make the document; NULL if there is no such profile. */
static Jsonb *
make_document(int64 profile_id)
{
	Document d = {NULL, profile_id};
	Datum key[1] = {Int64GetDatum(profile_id)};
	CdpLookup row;
	bool isnull;
	char *entity;

	cdp_lookup_begin(&row, &cdp_profile_row, key);
	if (!cdp_lookup_next(&row))
	{
		cdp_lookup_end(&row);
		return NULL;
	}
	pushJsonbValue(&d.state, WJB_BEGIN_OBJECT, NULL);
	push_number(&d, "profile_id", d.profile_id);
	entity = TextDatumGetCString(cdp_lookup_value(&row, "entity", &isnull));
	push_key(&d, "entity");
	push_string(&d, WJB_VALUE, entity, strlen(entity));
	push_map(&d, "traits", read_traits(&row));
	push_map(&d, "consents", read_map(&row, "consents"));
	push_time(&d, "first_seen_at", &row);
	push_time(&d, "last_seen_at", &row);
	push_number(&d, "event_count", DatumGetInt64(cdp_lookup_value(&row, "event_count", &isnull)));
	cdp_lookup_end(&row);
	push_identifiers(&d);
	push_segments(&d);
	return JsonbValueToJsonb(pushJsonbValue(&d.state, WJB_END_OBJECT, NULL));
}

/* The document of a profile; a null of SQL if there is none. */
static Datum
return_document(FunctionCallInfo fcinfo, int64 profile_id)
{
	Jsonb *document = profile_id == 0 ? NULL : make_document(profile_id);

	if (document == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(document);
}

Datum
cdp_profile_by_identifier(PG_FUNCTION_ARGS)
{
	return return_document(fcinfo, cdp_identity_find(PG_GETARG_IDENTIFIER_P(0)));
}

Datum
cdp_profile_by_id(PG_FUNCTION_ARGS)
{
	return return_document(fcinfo, cdp_identity_follow(PG_GETARG_INT64(0)));
}
