/*
 * store.c
 *		The event log.
 */
#include "postgres.h"

#include "event/event.h"
#include "catalog/pg_type.h"
#include "utils/jsonb.h"

CDP_APPEND(append_events, "event", "identifier_id, occurred_at, received_at, source_id, type, name, message_id, message",
		   "$1, $2, $3, $4, $5, $6, $7, $8", "int8[],timestamptz[],timestamptz[],int4[],text[],text[],text[],jsonb[]");
CDP_APPEND(append_malformed, "malformed_value", "received_at, source_id, message_id, namespace", "$1, $2, $3, $4",
		   "timestamptz[],int4[],text[],text[]");

/* Note which messages hold values that are malformed; the values stand in the messages. */
static void
store_malformed(CdpBatch *batch)
{
	Oid types[] = {TIMESTAMPTZOID, INT4OID, TEXTOID, TEXTOID};
	CdpColumn *columns[lengthof(types)];

	for (int i = 0; i < (int) lengthof(types); i++)
		columns[i] = cdp_column(types[i], 8);
	for (int i = 0; i < batch->n_messages; i++)
	{
		const CdpMessage *m = &batch->messages[i];
		const CdpMention *malformed = &batch->mentions[m->first_mention + m->n_mentions];

		for (int j = 0; j < m->n_malformed; j++)
		{
			const char *name = batch->namespaces->items[malformed[j].namespace_index].name;

			cdp_column_add(columns[0], TimestampTzGetDatum(m->payload->received_at));
			cdp_column_add(columns[1], Int32GetDatum(m->payload->source_id));
			cdp_column_add_text(columns[2], m->message_id, m->message_id_length);
			cdp_column_add_text(columns[3], name, strlen(name));
		}
	}
	cdp_append(&append_malformed, columns);
}

void
cdp_event_store(CdpBatch *batch)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	int n = batch->n_messages;
	Oid types[] = {INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID, TEXTOID, TEXTOID, TEXTOID, JSONBOID};
	CdpColumn *columns[lengthof(types)];

	if (n > 0)
	{
		for (int i = 0; i < (int) lengthof(types); i++)
			columns[i] = cdp_column(types[i], n);
		for (int i = 0; i < n; i++)
		{
			const CdpMessage *m = &batch->messages[i];

			cdp_column_add(columns[0],
						   Int64GetDatum(m->strongest < 0 ? 0 : batch->identifiers[m->strongest].identifier_id));
			cdp_column_add(columns[1], TimestampTzGetDatum(m->occurred_at));
			cdp_column_add(columns[2], TimestampTzGetDatum(m->payload->received_at));
			cdp_column_add(columns[3], Int32GetDatum(m->payload->source_id));
			cdp_column_add_text(columns[4], cdp_message_type_names[m->type], strlen(cdp_message_type_names[m->type]));
			cdp_column_add_text(columns[5], m->name, m->name_length);
			cdp_column_add_text(columns[6], m->message_id, m->message_id_length);
			cdp_column_add(columns[7], JsonbPGetDatum(m->document));
		}
		cdp_append(&append_events, columns);
		store_malformed(batch);
	}
	MemoryContextSwitchTo(old);
}
