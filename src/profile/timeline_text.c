/*
 * timeline_text.c
 *		Timelines as text: a JSON array of events.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "profile/profile.h"
#include "profile/timeline_text.h"
#include "utils/builtins.h"
#include "utils/json.h"

/* Words as JSON strings, each written once. */
static char **
quote_words(const CdpTimelineReader *reader)
{
	char **quoted = palloc_extended(sizeof(char *) * ((Size) reader->n_words + 1), MCXT_ALLOC_HUGE);

	for (uint32 i = 0; i < reader->n_words; i++)
	{
		StringInfoData one;

		initStringInfo(&one);
		escape_json(&one, pnstrdup(reader->words[i].text, reader->words[i].length));
		quoted[i] = one.data;
	}
	return quoted;
}

static void
put_value(StringInfo out, uint32 type, const CdpPropertyValue *value, char **quoted)
{
	char number[CDP_DECIMAL_BYTES];

	switch ((CdpPropertyType) type)
	{
		case CDP_PROPERTY_NUMBER:
			cdp_decimal_format(value, number);
			appendStringInfoString(out, number);
			break;
		case CDP_PROPERTY_STRING:
			appendStringInfoString(out, quoted[value->digits]);
			break;
		case CDP_PROPERTY_FALSE:
			appendStringInfoString(out, "false");
			break;
		case CDP_PROPERTY_TRUE:
			appendStringInfoString(out, "true");
			break;
	}
}

/* Write the event that the reader stands at. */
static void
put_event(StringInfo out, const CdpTimelineReader *reader, char **quoted)
{
	const CdpEventKind *kind = &reader->kinds[reader->kind];
	char at[CDP_TIMESTAMP_BYTES];

	cdp_format_timestamp(reader->at, at);
	appendStringInfo(out, "{\"at\": \"%s\", \"name\": %s", at, quoted[kind->name]);
	for (uint32 i = 0; i < kind->n_properties; i++)
	{
		appendStringInfo(out, "%s%s: ", i == 0 ? ", \"properties\": {" : ", ",
						 quoted[kind->properties[i].name]);
		put_value(out, kind->properties[i].type, &reader->values[i], quoted);
	}
	if (kind->n_properties > 0)
		appendStringInfoChar(out, '}');
	if ((reader->key & CDP_TIMELINE_HAS_ID) != 0)
		appendStringInfo(out, ", \"id\": %u", reader->key & ~CDP_TIMELINE_HAS_ID);
	appendStringInfoChar(out, '}');
}

char *
cdp_timeline_out_text(CdpTimelineReader *reader)
{
	char **quoted = quote_words(reader);
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '[');
	while (cdp_timeline_next(reader))
	{
		if (reader->position % 65536 == 0)
			CHECK_FOR_INTERRUPTS();
		if (out.len > 1)
			appendStringInfoString(&out, ", ");
		put_event(&out, reader, quoted);
	}
	appendStringInfoChar(&out, ']');
	return reader->is_malformed ? NULL : out.data;
}

/* The key that a member "id" gives: a whole number as it is printed. */
static bool
read_key(CdpJsonValue id, uint32 *key)
{
	const CdpJsonNode *node;

	*key = 0;
	if (!cdp_json_exists(id))
		return true;
	node = &id.json->nodes[id.node];
	if (!cdp_json_is(id, CDP_JSON_NUMBER) || node->length > 5)
		return false;
	for (uint32 i = 0; i < node->length; i++)
	{
		char digit = id.json->text[node->start + i];

		if (digit < '0' || digit > '9')
			return false;
		*key = *key * 10 + (digit - '0');
	}
	*key |= CDP_TIMELINE_HAS_ID;
	return (*key & ~CDP_TIMELINE_HAS_ID) < 1 << CDP_TIMELINE_ID_BITS;
}

CdpPropertyFate
cdp_timeline_property(const JsonbValue *name, const JsonbValue *value, CdpNamedValue *property)
{
	char *text;

	memset(property, 0, sizeof(CdpNamedValue));
	property->name = name->val.string.val;
	property->name_length = name->val.string.len;
	switch (value->type)
	{
		case jbvNumeric:
			property->type = CDP_PROPERTY_NUMBER;
			text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
			return cdp_decimal_parse(text, strlen(text), &property->number) ? CDP_PROPERTY_KEPT : CDP_PROPERTY_TOO_LARGE;
		case jbvString:
			property->type = CDP_PROPERTY_STRING;
			property->string = value->val.string.val;
			property->string_length = value->val.string.len;
			return CDP_PROPERTY_KEPT;
		case jbvBool:
			property->type = value->val.boolean ? CDP_PROPERTY_TRUE : CDP_PROPERTY_FALSE;
			return CDP_PROPERTY_KEPT;
		default:
			return CDP_PROPERTY_LEFT_OUT;
	}
}

/* A property to keep of a member of an object; false when it is none. */
static bool
take_property(const JsonbValue *name, const JsonbValue *value, CdpNamedValue *property)
{
	CdpPropertyFate fate = cdp_timeline_property(name, value, property);

	if (fate == CDP_PROPERTY_TOO_LARGE)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE), errmsg("a number in properties is too large"),
				 errdetail("A timeline keeps numbers below 10 to the power of %d.", CDP_DECIMAL_MAX_EXPONENT)));
	return fate == CDP_PROPERTY_KEPT;
}

int
cdp_timeline_properties(Jsonb *object, CdpNamedValue **properties)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue name, value;
	int n = 0;

	if (JB_ROOT_IS_SCALAR(object) && JsonbExtractScalar(&object->root, &value) && value.type == jbvNull)
		return 0;
	if (!JB_ROOT_IS_OBJECT(object))
		return -1;
	*properties = palloc(sizeof(CdpNamedValue) * ((Size) JB_ROOT_COUNT(object) + 1));
	it = JsonbIteratorInit(&object->root);
	while ((token = JsonbIteratorNext(&it, &name, true)) != WJB_DONE)
	{
		if (token == WJB_KEY && JsonbIteratorNext(&it, &value, true) == WJB_VALUE)
			n += take_property(&name, &value, &(*properties)[n]);
	}
	return n;
}

/* Read the properties of an event in the text form; -1 when they are none. */
static int
read_properties(CdpJsonValue v, CdpNamedValue **properties)
{
	Jsonb *object;

	if (!cdp_json_exists(v))
		return 0;
	object = cdp_json_to_jsonb(v);
	return object == NULL ? -1 : cdp_timeline_properties(object, properties);
}

static bool
read_event(CdpTimelineBuilder *builder, CdpJsonValue v)
{
	CdpJsonValue at_value = cdp_json_member(v, "at");
	CdpJsonValue name_value = cdp_json_member(v, "name");
	CdpNamedValue *properties = NULL;
	int n_properties;
	TimestampTz at;
	uint32 key;
	const char *text;
	int length;

	if (!cdp_json_is(at_value, CDP_JSON_STRING) || !cdp_json_is(name_value, CDP_JSON_STRING) ||
		!read_key(cdp_json_member(v, "id"), &key))
		return false;
	text = cdp_json_string(at_value, &length);
	if (!cdp_parse_timestamp(text, length, &at))
		return false;
	n_properties = read_properties(cdp_json_member(v, "properties"), &properties);
	if (n_properties < 0)
		return false;
	text = cdp_json_string(name_value, &length);
	cdp_timeline_add(builder, text, length, at, key, properties, n_properties);
	return true;
}

bool
cdp_timeline_in_text(CdpTimelineBuilder *builder, const char *text, int length)
{
	CdpJson json;

	if (!cdp_json_parse(text, length, &json) || !cdp_json_is(cdp_json_root(&json), CDP_JSON_ARRAY))
		return false;
	for (uint32 i = 1; i < json.nodes[0].next; i = json.nodes[i].next)
	{
		CdpJsonValue event = {&json, i};

		if (i % 4096 == 0)
			CHECK_FOR_INTERRUPTS();
		if (!cdp_json_is(event, CDP_JSON_OBJECT) || !read_event(builder, event))
			return false;
	}
	return true;
}
