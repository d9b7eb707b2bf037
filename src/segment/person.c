/*
 * person.c
 *		cdp.evaluate_predicate(): a person written as JSON, for tests and simulations.
 *
 * Reads no table.  The person is checked as strictly as a message is: what it holds
 * may come from anywhere.
 */
#include "postgres.h"

#include "funcapi.h"
#include "segment/predicate.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(cdp_evaluate_predicate);

typedef struct PersonEvent
{
	const char *name;
	int name_length;
	TimestampTz at;
} PersonEvent;

/* Report what a person's JSON should look like */
static void
bad_person(const char *message)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s", message),
			 errhint("Write a person as {\"traits\": {\"plan\": \"pro\"}, \"consents\": [\"marketing\"], "
					 "\"events\": [{\"t\": \"2026-01-31T09:00:00Z\", \"name\": \"Order Completed\"}]}.")));
}

/* Return a member's elements as (document, first node), and how many there are */
static uint32
read_members(CdpJsonValue person, const char *name, CdpJsonType type, const char *message,
			 CdpJsonValue *first)
{
	CdpJsonValue member = cdp_json_member(person, name);

	*first = (CdpJsonValue){member.json, member.node + 1};
	if (!cdp_json_exists(member))
		return 0;
	if (!cdp_json_is(member, type))
		bad_person(message);
	return member.json->nodes[member.node].count;
}

/* Read the traits of a person */
static CdpStamped *
read_traits(CdpJsonValue person)
{
	CdpJsonValue at;
	uint32 n = read_members(person, "traits", CDP_JSON_OBJECT, "traits of a person must be an object", &at);
	CdpStampedEntry *entries = palloc0(Max(n, 1) * sizeof(CdpStampedEntry));

	for (uint32 i = 0; i < n; i++)
	{
		CdpJsonValue value = {at.json, at.node + 1};

		entries[i].name = cdp_json_string(at, &entries[i].name_length);
		entries[i].value = cdp_json_to_jsonb(value);
		if (entries[i].value == NULL)
			bad_person("a trait of the person is out of range");
		at.node = at.json->nodes[value.node].next;
	}
	return cdp_stamped_build(entries, n, cdp_stamped_tie_bytes);
}

/* Read the purposes a person granted */
static void
read_purposes(CdpJsonValue person, CdpSubject *subject)
{
	CdpJsonValue at;
	uint32 n = read_members(person, "consents", CDP_JSON_ARRAY, "consents of a person must be an array", &at);
	const char **purposes = palloc(Max(n, 1) * sizeof(char *));

	for (uint32 i = 0; i < n; i++)
	{
		const char *name;
		int length;

		if (!cdp_json_is(at, CDP_JSON_STRING))
			bad_person("a consent of the person must be a string");
		name = cdp_json_string(at, &length);
		purposes[i] = pnstrdup(name, length);
		at.node = at.json->nodes[at.node].next;
	}
	subject->purposes = purposes;
	subject->n_purposes = n;
}

/* Order events by name, then time */
static int
compare_events(const void *a, const void *b)
{
	const PersonEvent *x = a;
	const PersonEvent *y = b;
	int order = cdp_compare_names(x->name, x->name_length, y->name, y->name_length);

	return order != 0 ? order : x->at < y->at ? -1 : x->at > y->at;
}

/* Read one event of a person */
static PersonEvent
read_event(CdpJsonValue value)
{
	CdpJsonValue name = cdp_json_member(value, "name");
	CdpJsonValue time = cdp_json_member(value, "t");
	PersonEvent event;
	const char *text;
	int length;

	if (!cdp_json_is(name, CDP_JSON_STRING) || !cdp_json_is(time, CDP_JSON_STRING))
		bad_person("an event of the person must have a name and an instant t");
	text = cdp_json_string(time, &length);
	if (!cdp_parse_timestamp(text, length, &event.at))
		bad_person("the instant of an event of the person is malformed");
	event.name = cdp_json_string(name, &event.name_length);
	return event;
}

/* Read the events of a person, sorted and grouped by name */
static void
read_events(CdpJsonValue person, CdpSubject *subject)
{
	CdpJsonValue at;
	uint32 n = read_members(person, "events", CDP_JSON_ARRAY, "events of a person must be an array", &at);
	PersonEvent *events = palloc(Max(n, 1) * sizeof(PersonEvent));
	TimestampTz *times = palloc(Max(n, 1) * sizeof(TimestampTz));
	CdpSubjectEvents *groups = palloc(Max(n, 1) * sizeof(CdpSubjectEvents));
	CdpSubjectEvents *group = NULL;

	for (uint32 i = 0; i < n; i++)
	{
		events[i] = read_event(at);
		at.node = at.json->nodes[at.node].next;
	}
	qsort(events, n, sizeof(PersonEvent), compare_events);
	for (uint32 i = 0; i < n; i++)
	{
		times[i] = events[i].at;
		if (group == NULL ||
			cdp_compare_names(group->name, group->name_length, events[i].name, events[i].name_length) != 0)
		{
			group = &groups[subject->n_events++];
			*group = (CdpSubjectEvents){events[i].name, events[i].name_length, &times[i], 0};
		}
		group->n_times++;
	}
	subject->events = groups;
}

/* Evaluate a predicate on a person written as JSON */
Datum
cdp_evaluate_predicate(PG_FUNCTION_ARGS)
{
	const CdpPredicate *predicate = cdp_predicate_from_datum(PG_GETARG_DATUM(0));
	Jsonb *person = PG_GETARG_JSONB_P(1);
	TimestampTz now = PG_GETARG_TIMESTAMPTZ(2);
	CdpSubject subject = {0};
	StringInfoData text;
	CdpJson json;
	TupleDesc descriptor;
	TimestampTz next_change;
	bool holds;
	Datum values[2];
	bool nulls[2] = {false, false};

	if (TIMESTAMP_NOT_FINITE(now))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("instant must be finite")));
	initStringInfo(&text);
	JsonbToCString(&text, &person->root, VARSIZE(person));
	if (!cdp_json_parse(text.data, text.len, &json) || !cdp_json_is(cdp_json_root(&json), CDP_JSON_OBJECT))
		bad_person("person must be a JSON object");
	subject.traits = read_traits(cdp_json_root(&json));
	read_purposes(cdp_json_root(&json), &subject);
	read_events(cdp_json_root(&json), &subject);
	holds = cdp_predicate_evaluate(predicate, &subject, now, &next_change);
	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = BoolGetDatum(holds);
	values[1] = TimestampTzGetDatum(next_change);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor), values, nulls)));
}
