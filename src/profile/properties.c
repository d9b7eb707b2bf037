/*
 * properties.c
 *		Declared properties: which members of an event's properties timelines carry along.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "profile/properties.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(cdp_carried_properties);

CDP_QUERY(read_properties, "SELECT name, event FROM cdp.property ORDER BY name", "");

/* --- what is declared ----------------------------------------------------------------------- */

static void
set_word(CdpWord *word, const text *value)
{
	word->text = VARDATA_ANY(value);
	word->length = VARSIZE_ANY_EXHDR(value);
}

/* Read the table into the current context. */
static CdpDeclared *
read_declared(uint64 (*run)(CdpQuery *query, Datum *arguments, const char *nulls))
{
	CdpDeclared *declared = palloc0(sizeof(CdpDeclared));

	declared->n = run(&read_properties, NULL, NULL);
	declared->items = palloc0(sizeof(CdpDeclaredProperty) * ((Size) declared->n + 1));
	for (int i = 0; i < declared->n; i++)
	{
		bool of_all_events;
		Datum event = cdp_result_datum(i, 2, &of_all_events);

		set_word(&declared->items[i].name, cstring_to_text(cdp_result_cstring(i, 1)));
		if (!of_all_events)
			set_word(&declared->items[i].event, DatumGetTextPCopy(event));
	}
	cdp_done();
	return declared;
}

/* What is declared; read once a session, and again after rules have changed: a trigger on cdp.property says so. */
const CdpDeclared *
cdp_properties_declared(uint64 generation)
{
	static MemoryContext context = NULL;
	static const CdpDeclared *declared = NULL;
	static uint64 declared_at = 0;
	MemoryContext old;

	if (declared != NULL && declared_at == generation)
		return declared;
	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "cdp declared properties", ALLOCSET_SMALL_SIZES);
	declared = NULL;
	MemoryContextReset(context);
	old = MemoryContextSwitchTo(context);
	declared = read_declared(cdp_run_latest);
	declared_at = generation;
	MemoryContextSwitchTo(old);
	return declared;
}

/* --- what an event has of it ------------------------------------------------------------------ */

static bool
is_same_word(const CdpWord *a, const CdpWord *b)
{
	return a->length == b->length && memcmp(a->text, b->text, a->length) == 0;
}

/* A property that is declared for an event, in an event's properties; false when it has none that can be carried. */
static bool
take(const CdpDeclaredProperty *property, JsonbContainer *properties, CdpNamedValue *value)
{
	JsonbValue name = {.type = jbvString};
	JsonbValue member;

	name.val.string.val = unconstify(char *, property->name.text);
	name.val.string.len = property->name.length;
	if (getKeyJsonValueFromContainer(properties, property->name.text, property->name.length, &member) == NULL ||
		(member.type == jbvString && member.val.string.len > CDP_PROPERTY_MAX_BYTES))
		return false;
	return cdp_timeline_property(&name, &member, value) == CDP_PROPERTY_KEPT;
}

static JsonbContainer *
properties_of(Jsonb *message)
{
	static const char *const path[] = {"properties"};

	return cdp_jsonb_object(message, path, 1);
}

int
cdp_properties_carried(const CdpDeclared *declared, const CdpWord *event, Jsonb *message, CdpNamedValue *values)
{
	JsonbContainer *properties = declared->n == 0 ? NULL : properties_of(message);
	int n = 0;

	for (int i = 0; properties != NULL && i < declared->n; i++)
	{
		const CdpDeclaredProperty *property = &declared->items[i];

		if (property->event.text != NULL && !is_same_word(&property->event, event))
			continue;
		if (n > 0 && values[n - 1].name_length == property->name.length &&
			memcmp(values[n - 1].name, property->name.text, property->name.length) == 0)
			continue; /* declared for this event and for all */
		n += take(property, properties, &values[n]);
	}
	return n;
}

/* --- the same in SQL -------------------------------------------------------------------------- */

/* What is declared, read once in a query. */
static const CdpDeclared *
get_declared(FmgrInfo *function)
{
	MemoryContext old;

	if (function->fn_extra == NULL)
	{
		SPI_connect();
		old = MemoryContextSwitchTo(function->fn_mcxt);
		function->fn_extra = read_declared(cdp_run_read);
		MemoryContextSwitchTo(old);
		SPI_finish();
	}
	return function->fn_extra;
}

/* An object of some members of another one. */
static Jsonb *
make_object(JsonbContainer *properties, const CdpNamedValue *values, int n)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < n; i++)
	{
		JsonbValue name = {.type = jbvString};
		JsonbValue member;

		name.val.string.val = unconstify(char *, values[i].name);
		name.val.string.len = values[i].name_length;
		pushJsonbValue(&state, WJB_KEY, &name);
		pushJsonbValue(&state, WJB_VALUE,
					   getKeyJsonValueFromContainer(properties, values[i].name, values[i].name_length, &member));
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* cdp.carried_properties(event, message) */
Datum
cdp_carried_properties(PG_FUNCTION_ARGS)
{
	const CdpDeclared *declared = get_declared(fcinfo->flinfo);
	CdpNamedValue *values;
	CdpWord event;
	Jsonb *message;
	int n;

	if (declared->n == 0)
		PG_RETURN_NULL();
	set_word(&event, PG_GETARG_TEXT_PP(0));
	message = PG_GETARG_JSONB_P(1);
	values = palloc(sizeof(CdpNamedValue) * (Size) declared->n);
	n = cdp_properties_carried(declared, &event, message, values);
	if (n == 0)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(make_object(properties_of(message), values, n));
}
