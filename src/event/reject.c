/*
 * reject.c
 *		What could not be taken: kept with a reason, so that it can be mended and replayed.
 *
 * Nothing is dropped in silence.  What is kept is the message and what its envelope
 * adds, as they were written, but never a write key.
 */
#include "postgres.h"

#include "event/event.h"
#include "catalog/pg_type.h"

CDP_QUERY(append_rejections,
		  "INSERT INTO cdp.rejected (received_at, source, reason, detail, payload) SELECT * FROM unnest($1, $2, $3, $4, $5)",
		  "timestamptz[],text[],text[],text[],text[]");

/* Add a rejection to the batch. */
static CdpRejection *
add_rejection(CdpBatch *batch)
{
	CDP_GROW_IN(batch->context, batch->rejections, batch->n_rejections, batch->rejections_capacity, 16);
	batch->rejected++;
	return &batch->rejections[batch->n_rejections++];
}

/* Append a value as it was written. */
static void
append_value(StringInfo out, CdpJsonValue v)
{
	const CdpJsonNode *node = &v.json->nodes[v.node];
	int quotes = node->type == CDP_JSON_STRING;

	appendBinaryStringInfo(out, v.json->text + node->start - quotes, node->length + 2 * quotes);
}

static bool
is_name(const char *name, int length, const char *wanted)
{
	return (int) strlen(wanted) == length && memcmp(name, wanted, length) == 0;
}

/* Append an object's members as they were written, without its write key and, of an envelope, its messages. */
static int
append_members(StringInfo out, CdpJsonValue object, bool without_batch)
{
	const CdpJson *json = object.json;
	int n = 0;

	for (uint32 i = object.node + 1; i < json->nodes[object.node].next; i = json->nodes[i + 1].next)
	{
		CdpJsonValue key = {json, i};
		CdpJsonValue value = {json, i + 1};
		int length;
		const char *name = cdp_json_string(key, &length);

		if (is_name(name, length, "writeKey") || (without_batch && is_name(name, length, "batch")))
			continue;
		if (n++ > 0)
			appendStringInfoChar(out, ',');
		append_value(out, key);
		appendStringInfoChar(out, ':');
		append_value(out, value);
	}
	return n;
}

/* Append a message, or whatever stands in its place. */
static void
append_message(StringInfo out, CdpJsonValue message)
{
	if (!cdp_json_is(message, CDP_JSON_OBJECT))
	{
		append_value(out, message);
		return;
	}
	appendStringInfoChar(out, '{');
	append_members(out, message, false);
	appendStringInfoChar(out, '}');
}

void
cdp_event_refuse(CdpBatch *batch, const CdpPayload *payload, CdpJsonValue message, CdpJsonValue envelope,
				 const char *reason, const char *detail)
{
	CdpRejection *rejection = add_rejection(batch);
	StringInfoData text;

	rejection->payload = payload;
	rejection->reason = reason;
	rejection->detail = detail;
	rejection->document = payload->text;
	rejection->document_length = payload->length;
	if (!cdp_json_exists(message))
		return;
	initStringInfo(&text);
	if (cdp_json_exists(envelope))
	{
		appendStringInfoChar(&text, '{');
		if (append_members(&text, envelope, true) > 0)
			appendStringInfoChar(&text, ',');
		appendStringInfoString(&text, "\"batch\":[");
	}
	append_message(&text, message);
	if (cdp_json_exists(envelope))
		appendStringInfoString(&text, "]}");
	rejection->document = text.data;
	rejection->document_length = text.len;
}

void
cdp_event_reject(CdpBatch *batch)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	int n = batch->n_rejections;
	Oid types[] = {TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	CdpColumn *columns[lengthof(types)];
	Datum arguments[lengthof(types)];

	if (n > 0)
	{
		for (int i = 0; i < (int) lengthof(types); i++)
			columns[i] = cdp_column(types[i], n);
		for (int i = 0; i < n; i++)
		{
			const CdpRejection *r = &batch->rejections[i];

			cdp_column_add(columns[0], TimestampTzGetDatum(r->payload->received_at));
			cdp_column_add_text(columns[1], r->payload->source, strlen(r->payload->source));
			cdp_column_add_text(columns[2], r->reason, strlen(r->reason));
			cdp_column_add_text(columns[3], r->detail, strlen(r->detail));
			cdp_column_add_text(columns[4], r->document, r->document_length);
		}
		for (int i = 0; i < (int) lengthof(types); i++)
			arguments[i] = cdp_column_array(columns[i]);
		cdp_run(&append_rejections, arguments, NULL);
		cdp_done();
	}
	MemoryContextSwitchTo(old);
}
