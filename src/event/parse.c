/*
 * parse.c
 *		Payloads to messages: JSON is read once, envelopes are opened.
 */
#include "postgres.h"

#include "event/event.h"
#include "miscadmin.h"

static const CdpJsonValue no_value = {NULL, CDP_JSON_NONE};

/* Add a message; what its parts are is found out in validation. */
static void
add_message(CdpBatch *batch, const CdpPayload *payload, CdpJsonValue json, CdpJsonValue envelope)
{
	CdpMessage *message;

	CDP_GROW(batch->messages, batch->n_messages, batch->messages_capacity, 64);
	message = &batch->messages[batch->n_messages++];
	memset(message, 0, sizeof(CdpMessage));
	message->payload = payload;
	message->json = json;
	message->envelope = envelope;
	message->strongest = message->fragment = -1;
}

/* Open an envelope. */
static void
open_envelope(CdpBatch *batch, const CdpPayload *payload, CdpJsonValue envelope, CdpJsonValue list)
{
	const CdpJsonNode *nodes = list.json->nodes;
	uint32 n = nodes[list.node].count;

	if (n == 0 || n > (uint32) cdp_max_batch_events)
	{
		batch->received++;
		cdp_event_refuse(batch, payload, envelope, no_value, n == 0 ? "empty_batch" : "too_many_events",
						 n == 0 ? "the envelope holds no message"
								: psprintf("the envelope holds %u messages, the limit is %d", n, cdp_max_batch_events));
		return;
	}
	for (uint32 i = list.node + 1; i < nodes[list.node].next; i = nodes[i].next)
	{
		CdpJsonValue item = {list.json, i};

		add_message(batch, payload, item, envelope);
	}
}

/* Read one payload. */
static void
parse_payload(CdpBatch *batch, const CdpPayload *payload)
{
	CdpJson *json = palloc(sizeof(CdpJson));
	CdpJsonValue root;
	CdpJsonValue list;

	if (payload->length > cdp_max_payload_bytes)
	{
		batch->received++;
		cdp_event_refuse(batch, payload, no_value, no_value, "too_large",
						 psprintf("the payload has %d bytes, the limit is %d", payload->length, cdp_max_payload_bytes));
		return;
	}
	if (!cdp_json_parse(payload->text, payload->length, json))
	{
		batch->received++;
		cdp_event_refuse(batch, payload, no_value, no_value, "invalid_json",
						 psprintf("not JSON at byte %u", json->error_at + 1));
		return;
	}
	root = cdp_json_root(json);
	list = cdp_json_member(root, "batch");
	if (cdp_json_is(list, CDP_JSON_ARRAY))
		open_envelope(batch, payload, root, list);
	else
		add_message(batch, payload, root, no_value);
}

void
cdp_event_parse(CdpBatch *batch)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);

	for (int i = 0; i < batch->n_payloads; i++)
	{
		CHECK_FOR_INTERRUPTS();
		parse_payload(batch, &batch->payloads[i]);
	}
	batch->received += batch->n_messages;
	MemoryContextSwitchTo(old);
}
