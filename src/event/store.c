/*
 * store.c
 *		The event log and the list of what was rejected.
 */
#include "postgres.h"

#include "event/event.h"
#include "catalog/pg_type.h"
#include "utils/jsonb.h"

CDP_QUERY(make_partitions, "SELECT cdp.make_partitions('event', $1, $2)", "timestamptz,timestamptz");
CDP_QUERY(append_events,
		  "INSERT INTO cdp.event (identifier_id, occurred_at, received_at, source_id, type, name, message_id, message) "
		  "SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8)",
		  "int8[],timestamptz[],timestamptz[],int4[],text[],text[],text[],jsonb[]");
CDP_QUERY(append_rejections,
		  "INSERT INTO cdp.rejected (received_at, source, reason, detail, payload) SELECT * FROM unnest($1, $2, $3, $4, $5)",
		  "timestamptz[],text[],text[],text[],text[]");

static const char *const type_names[] = {"identify", "track", "page", "screen", "group", "alias"};

/* See that the log has partitions for when the messages were received. */
static void
prepare_partitions(CdpBatch *batch)
{
	TimestampTz first = batch->messages[0].payload->received_at;
	TimestampTz last = first;
	Datum arguments[2];

	for (int i = 1; i < batch->n_messages; i++)
	{
		first = Min(first, batch->messages[i].payload->received_at);
		last = Max(last, batch->messages[i].payload->received_at);
	}
	arguments[0] = TimestampTzGetDatum(first);
	arguments[1] = TimestampTzGetDatum(last);
	cdp_run(&make_partitions, arguments, NULL);
	cdp_done();
}

void
cdp_event_store(CdpBatch *batch)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	int n = batch->n_messages;
	Oid types[] = {INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID, TEXTOID, TEXTOID, TEXTOID, JSONBOID};
	CdpColumn *columns[lengthof(types)];
	Datum arguments[lengthof(types)];

	if (n > 0)
	{
		prepare_partitions(batch);
		for (int i = 0; i < (int) lengthof(types); i++)
			columns[i] = cdp_column(types[i], n);
		for (int i = 0; i < n; i++)
		{
			const CdpMessage *m = &batch->messages[i];

			cdp_column_add(columns[0],
						   Int64GetDatum(m->anchor < 0 ? 0 : batch->identifiers[m->anchor].identifier_id));
			cdp_column_add(columns[1], TimestampTzGetDatum(m->occurred_at));
			cdp_column_add(columns[2], TimestampTzGetDatum(m->payload->received_at));
			cdp_column_add(columns[3], Int32GetDatum(m->payload->source_id));
			cdp_column_add_text(columns[4], type_names[m->type], strlen(type_names[m->type]));
			cdp_column_add_text(columns[5], m->name, m->name_length);
			cdp_column_add_text(columns[6], m->message_id, m->message_id_length);
			cdp_column_add(columns[7], JsonbPGetDatum(m->document));
		}
		for (int i = 0; i < (int) lengthof(types); i++)
			arguments[i] = cdp_column_array(columns[i]);
		cdp_run(&append_events, arguments, NULL);
		cdp_done();
	}
	MemoryContextSwitchTo(old);
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
