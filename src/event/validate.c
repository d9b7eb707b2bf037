/*
 * validate.c
 *		Is it a message of the Segment specification?  Its parts, its time, its identifiers.
 *
 * Reason codes are documented in docs/event.md.  A detail names the member that is
 * wrong and the limit, never a value.
 */
#include "postgres.h"

#include "event/event.h"
#include "miscadmin.h"

#define MAX_MEMBERS 64 /* of a message's top level; SDKs send about a dozen */

typedef struct Check
{
	CdpBatch *batch;
	const CdpNamespaces *namespaces;
	const char *reason;
	const char *detail;
} Check;

static bool
refuse(Check *check, const char *reason, const char *detail)
{
	check->reason = reason;
	check->detail = detail;
	return false;
}

/* A member that may be absent or null, else must be of the type. */
static bool
check_type(Check *check, CdpJsonValue object, const char *name, CdpJsonType type, const char *type_name)
{
	CdpJsonValue v = cdp_json_member(object, name);

	if (!cdp_json_exists(v) || cdp_json_type(v) == CDP_JSON_NULL || cdp_json_type(v) == type)
		return true;
	if (type == CDP_JSON_STRING && cdp_json_type(v) == CDP_JSON_NUMBER)
		return true; /* ids are numbers in many shops */
	return refuse(check, "wrong_type", psprintf("%s is not %s", name, type_name));
}

/* Read a string member; NULL if there is none. */
static const char *
string_member(CdpJsonValue object, const char *name, int *length)
{
	CdpJsonValue v = cdp_json_member(object, name);

	*length = 0;
	return cdp_json_is(v, CDP_JSON_STRING) ? cdp_json_string(v, length) : NULL;
}

/* Is a member there and not null? */
static bool
has_value(CdpJsonValue object, const char *name)
{
	CdpJsonValue v = cdp_json_member(object, name);

	return cdp_json_exists(v) && cdp_json_type(v) != CDP_JSON_NULL;
}

static bool
read_type(Check *check, CdpMessage *message)
{
	int length;
	const char *name = string_member(message->json, "type", &length);
	int type;

	if (name == NULL)
		return refuse(check, "missing_type", "type is not a string");
	type = cdp_message_type_of(name, length);
	if (type >= 0)
	{
		message->type = type;
		return true;
	}
	return refuse(check, "unknown_type", "type is none of identify, track, page, screen, group, alias");
}

/* What an envelope hands down must not nest deeper than a message may. */
static bool
check_depth(Check *check, CdpJsonValue envelope, const char *name)
{
	CdpJsonValue v = cdp_json_member(envelope, name);

	if (cdp_json_exists(v) && v.json->nodes[v.node].depth >= CDP_MAX_DEPTH)
		return refuse(check, "too_deep", psprintf("%s of the envelope nests %u deep, the limit is %d", name,
												  v.json->nodes[v.node].depth, CDP_MAX_DEPTH - 1));
	return true;
}

static bool
check_members(Check *check, const CdpMessage *message)
{
	CdpJsonValue m = message->json;

	return check_type(check, message->envelope, "context", CDP_JSON_OBJECT, "an object") &&
		   check_type(check, message->envelope, "integrations", CDP_JSON_OBJECT, "an object") &&
		   check_depth(check, message->envelope, "context") && check_depth(check, message->envelope, "integrations") &&
		   check_type(check, m, "context", CDP_JSON_OBJECT, "an object") &&
		   check_type(check, m, "properties", CDP_JSON_OBJECT, "an object") &&
		   check_type(check, m, "traits", CDP_JSON_OBJECT, "an object") &&
		   check_type(check, m, "userId", CDP_JSON_STRING, "a string") &&
		   check_type(check, m, "anonymousId", CDP_JSON_STRING, "a string") &&
		   check_type(check, m, "groupId", CDP_JSON_STRING, "a string") &&
		   check_type(check, m, "previousId", CDP_JSON_STRING, "a string");
}

/* The event's, page's or screen's name, and what a call cannot do without. */
static bool
read_name(Check *check, CdpMessage *message)
{
	CdpJsonValue m = message->json;

	if (message->type == CDP_TRACK)
	{
		message->name = string_member(m, "event", &message->name_length);
		if (message->name == NULL || message->name_length == 0)
			return refuse(check, "missing_event", "event is not a string");
	}
	if (message->type == CDP_PAGE || message->type == CDP_SCREEN)
		message->name = string_member(m, "name", &message->name_length);
	if (message->type == CDP_GROUP && !has_value(m, "groupId"))
		return refuse(check, "missing_group_id", "groupId is missing");
	if (message->type == CDP_ALIAS && (!has_value(m, "previousId") || !has_value(m, "userId")))
		return refuse(check, "missing_previous_id", "previousId or userId is missing");
	if (message->name_length > 1024)
		return refuse(check, "too_large", "the event's name has more than 1,024 bytes");
	return true;
}

/* Read a time member; '*at' is DT_NOBEGIN where it is absent or null. */
static bool
read_time(Check *check, CdpJsonValue object, const char *name, TimestampTz *at)
{
	CdpJsonValue v = cdp_json_member(object, name);
	const char *text;
	int length;

	*at = DT_NOBEGIN;
	if (!cdp_json_exists(v) || cdp_json_type(v) == CDP_JSON_NULL)
		return true;
	if (cdp_json_type(v) != CDP_JSON_STRING)
		return refuse(check, "invalid_timestamp", psprintf("%s is not a string", name));
	text = cdp_json_string(v, &length);
	if (!cdp_parse_timestamp(text, length, at))
		return refuse(check, "invalid_timestamp", psprintf("%s is not an ISO 8601 timestamp", name));
	return true;
}

/* When it happened by our clock: received - (sent - original), never later than CDP_MAX_AHEAD after receipt. */
static bool
read_times(Check *check, CdpMessage *message)
{
	const CdpPayload *payload = message->payload;
	TimestampTz original;
	TimestampTz timestamp;
	TimestampTz sent;
	TimestampTz at;

	if (!read_time(check, message->json, "originalTimestamp", &original) ||
		!read_time(check, message->json, "timestamp", &timestamp) || !read_time(check, message->json, "sentAt", &sent))
		return false;
	if (sent == DT_NOBEGIN && cdp_json_exists(message->envelope) &&
		!read_time(check, message->envelope, "sentAt", &sent))
		return false;
	at = original != DT_NOBEGIN ? original : timestamp;
	if (at == DT_NOBEGIN)
		at = payload->received_at;
	else if (sent != DT_NOBEGIN && payload->corrects_clock && cdp_is_plausible_time(payload->received_at - (sent - at)))
		at = payload->received_at - (sent - at);
	message->occurred_at = Min(at, payload->received_at + CDP_MAX_AHEAD);
	return true;
}

/* A random id for a message that came without one. */
static void
make_message_id(CdpMessage *message)
{
	uint8 random[16];
	char *id = palloc(40);

	if (!pg_strong_random(random, sizeof(random)))
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not make a random message id")));
	strcpy(id, "cdp-");
	for (int i = 0; i < (int) sizeof(random); i++)
		sprintf(id + 4 + 2 * i, "%02x", random[i]);
	message->has_made_id = true;
	message->message_id = id;
	message->message_id_length = 36;
}

static bool
read_message_id(Check *check, CdpMessage *message)
{
	if (!check_type(check, message->json, "messageId", CDP_JSON_STRING, "a string"))
		return false;
	if (cdp_json_is(cdp_json_member(message->json, "messageId"), CDP_JSON_NUMBER))
		message->message_id =
			cdp_json_number_text(cdp_json_member(message->json, "messageId"), &message->message_id_length);
	else
		message->message_id = string_member(message->json, "messageId", &message->message_id_length);
	if (message->message_id_length > CDP_MAX_MESSAGE_ID_BYTES)
		return refuse(check, "invalid_message_id",
					  psprintf("messageId has %d bytes, the limit is %d", message->message_id_length,
							   CDP_MAX_MESSAGE_ID_BYTES));
	if (message->message_id_length == 0)
		make_message_id(message);
	return true;
}

static bool
read_identifiers(Check *check, CdpMessage *message)
{
	CdpBatch *batch = check->batch;

	if (batch->mentions_capacity - batch->n_mentions < CDP_MAX_IDENTIFIERS)
	{
		batch->mentions_capacity = Max(1024, batch->mentions_capacity * 2);
		if (batch->mentions == NULL)
			batch->mentions = palloc(sizeof(CdpMention) * batch->mentions_capacity);
		else
			batch->mentions = repalloc_huge(batch->mentions, sizeof(CdpMention) * (Size) batch->mentions_capacity);
	}
	message->first_mention = batch->n_mentions;
	if (!cdp_identifier_extract(check->namespaces, message, batch->mentions + batch->n_mentions))
		return refuse(check, "no_identifier", "there is no userId, anonymousId or other identifier");
	if (message->n_mentions == CDP_MAX_IDENTIFIERS)
		return refuse(check, "too_many_identifiers",
					  psprintf("there are %d identifiers or more", CDP_MAX_IDENTIFIERS));
	batch->n_mentions += message->n_mentions + message->n_malformed;
	return true;
}

/* A JSON string of its own, for a member that did not come with the message. */
static CdpJsonValue
made_string(const char *text)
{
	CdpJson *json = palloc(sizeof(CdpJson));
	char *quoted = psprintf("\"%s\"", text);

	cdp_json_parse(quoted, strlen(quoted), json);
	return cdp_json_root(json);
}

static void
add_member(CdpJsonMember *members, int *n, const char *name, int name_length, CdpJsonValue value, CdpJsonValue under)
{
	CdpJsonMember member = {name, name_length, value, under};

	members[(*n)++] = member;
}

static bool
is_name(const char *name, int length, const char *wanted)
{
	return (int) strlen(wanted) == length && memcmp(name, wanted, length) == 0;
}

static const char *const inherited[] = {"context", "integrations", "sentAt"};

/* Is it a member that a message takes from its envelope where it has none? */
static bool
is_inherited(const char *name, int length)
{
	for (int i = 0; i < (int) lengthof(inherited); i++)
	{
		if (is_name(name, length, inherited[i]))
			return true;
	}
	return false;
}

/* The message as it is kept: with its envelope's context, integrations and sentAt, without keys and SDK metadata. */
static bool
make_document(Check *check, CdpMessage *message)
{
	const CdpJson *json = message->json.json;
	const CdpJsonNode *nodes = json->nodes;
	const CdpJsonValue none = {NULL, CDP_JSON_NONE};
	CdpJsonMember members[MAX_MEMBERS + lengthof(inherited) + 1];
	int n = 0;

	if (nodes[message->json.node].count > MAX_MEMBERS)
		return refuse(check, "too_many_members", psprintf("there are more than %d members", MAX_MEMBERS));
	for (int i = 0; i < (int) lengthof(inherited); i++)
	{
		CdpJsonValue v = cdp_json_member(message->envelope, inherited[i]);

		if (cdp_json_exists(v) && !has_value(message->json, inherited[i]))
			add_member(members, &n, inherited[i], strlen(inherited[i]), v, none);
	}
	for (uint32 i = message->json.node + 1; i < nodes[message->json.node].next; i = nodes[i + 1].next)
	{
		CdpJsonValue key = {json, i};
		CdpJsonValue value = {json, i + 1};
		CdpJsonValue under = none;
		int length;
		const char *name = cdp_json_string(key, &length);

		if (is_name(name, length, "writeKey") || is_name(name, length, "_metadata") ||
			(message->has_made_id && is_name(name, length, "messageId")))
			continue;
		if (cdp_json_type(value) == CDP_JSON_NULL && is_inherited(name, length) &&
			has_value(message->envelope, pnstrdup(name, length)))
			continue;
		if ((is_name(name, length, "context") || is_name(name, length, "integrations")) &&
			cdp_json_is(value, CDP_JSON_OBJECT))
			under = cdp_json_member(message->envelope, length == 7 ? "context" : "integrations");
		add_member(members, &n, name, length, value, under);
	}
	if (message->has_made_id)
		add_member(members, &n, "messageId", 9, made_string(message->message_id), none);
	message->document = cdp_json_members_to_jsonb(members, n);
	if (message->document == NULL)
		return refuse(check, "invalid_number", "a number is out of range");
	return true;
}

/* Check one message; false: refused. */
static bool
validate_message(Check *check, CdpMessage *message)
{
	const CdpJsonNode *node = &message->json.json->nodes[message->json.node];

	if (node->type != CDP_JSON_OBJECT)
		return refuse(check, "not_an_object", "the message is not an object");
	if (node->length > (uint32) cdp_max_event_bytes)
		return refuse(check, "too_large", psprintf("the message has %u bytes, the limit is %d", node->length,
												   cdp_max_event_bytes));
	if (node->depth > CDP_MAX_DEPTH)
		return refuse(check, "too_deep", psprintf("the message nests %u deep, the limit is %d", node->depth,
												  CDP_MAX_DEPTH));
	return read_type(check, message) && check_members(check, message) && read_name(check, message) &&
		   read_times(check, message) && read_message_id(check, message) && read_identifiers(check, message) &&
		   make_document(check, message);
}

Jsonb *
cdp_event_document(CdpBatch *batch, const CdpMessage *message)
{
	Check check = {batch, batch->namespaces, NULL, NULL};
	CdpMessage copy = *message;

	if (!cdp_json_is(message->json, CDP_JSON_OBJECT) ||
		message->json.json->nodes[message->json.node].depth > CDP_MAX_DEPTH || !make_document(&check, &copy))
		return NULL;
	return copy.document;
}

void
cdp_event_validate(CdpBatch *batch)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	int kept = 0;

	for (int i = 0; i < batch->n_messages; i++)
	{
		Check check = {batch, batch->namespaces, NULL, NULL};
		CdpMessage *message = &batch->messages[i];

		CHECK_FOR_INTERRUPTS();
		if (validate_message(&check, message))
			batch->messages[kept++] = *message;
		else
		{
			const CdpMessage *sent = message->sent != NULL ? message->sent : message;

			cdp_event_refuse(batch, sent->payload, sent->json, sent->envelope, check.reason, check.detail);
		}
	}
	batch->n_messages = kept;
	MemoryContextSwitchTo(old);
}
