/*
 * event.h
 *		What happened: payloads, messages, de-duplication and the event log.
 *
 * The stages are called by the pipeline in the order below, SPI connected.
 */
#ifndef CDP_EVENT_H
#define CDP_EVENT_H

#include "base/base.h"
#include "identifier/identifier.h"

/* Claim inbox rows: at most batch->max and about CDP_CLAIM_BYTES of payload. They are deleted in this transaction. */
#define CDP_CLAIM_BYTES (16 * 1024 * 1024)
extern void cdp_event_claim(CdpBatch *batch);

/* Take one payload that did not come by the inbox. */
extern void cdp_event_take(CdpBatch *batch, char *text, int length, const char *source, TimestampTz received_at);

/* Payloads to messages: envelopes opened; what is no JSON is rejected. */
extern void cdp_event_parse(CdpBatch *batch);

/* Give the messages of sources that have a transformation to it; those it drops, and those it fails for, leave the batch. */
extern void cdp_event_transform(CdpBatch *batch);

/* A message as it would be kept, with what its envelope adds; NULL: it cannot be. */
extern Jsonb *cdp_event_document(CdpBatch *batch, const CdpMessage *message);

/* Check each message and read its parts; the bad ones are rejected with a reason and leave the batch. */
extern void cdp_event_validate(CdpBatch *batch);

/* Drop the messages whose id was seen within cdp.dedup_window. */
extern void cdp_event_deduplicate(CdpBatch *batch);

/* Append the messages, whose anchors are known by now, to the log. */
extern void cdp_event_store(CdpBatch *batch);

/* Write what was rejected in this batch to cdp.rejected. */
extern void cdp_event_reject(CdpBatch *batch);

/* Refuse a message (or, with no value for it, a whole payload); 'detail' names no value of the message. */
extern void cdp_event_refuse(CdpBatch *batch, const CdpPayload *payload, CdpJsonValue message, CdpJsonValue envelope,
							 const char *reason, const char *detail);

#endif
