/*
 * query.c
 *		cdp.resolve(): who is who, on any query that yields messages.
 *
 * The query is streamed: of a message the identifiers, the links between them and the
 * key of its id are kept, and nothing of a message that tells nothing new.  What is kept
 * stands in one memory context, whose size cdp.max_resolve_memory limits.  At the end
 * the resolver (resolve.h) judges all links at once.
 */
#include "postgres.h"

#include "identity/identity.h"
#include "identity/node_table.h"
#include "identity/query_rules.h"
#include "identity/resolve.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(cdp_resolve_query);

#define HOW_TO_ASK                                                                                                     \
	"Give one SELECT of messages and, if you like, a second column with the times at which they happened."

/* The keys of the message ids seen: 17 bytes each, and as much again at most for room. */
typedef struct Seen
{
	pg_uuid_t key;
	char status;
} Seen;

static inline uint32
hash_key(const pg_uuid_t *key)
{
	uint32 hash;

	memcpy(&hash, key->data, sizeof(hash)); /* the key is a hash */
	return hash;
}

#define SH_PREFIX seen
#define SH_ELEMENT_TYPE Seen
#define SH_KEY_TYPE pg_uuid_t
#define SH_KEY key
#define SH_HASH_KEY(table, key) hash_key(&(key))
#define SH_EQUAL(table, a, b) (memcmp((a).data, (b).data, UUID_LEN) == 0)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

typedef struct Receiver
{
	DestReceiver pub;
	CdpQueryRules rules;

	Oid message_type;
	bool has_times; /* the query has a second column */
	uint64 n_rows;
	uint64 n_messages;
	MemoryContext row_context; /* reset after each row */
	CdpMention found[CDP_MAX_IDENTIFIERS];

	/* what is kept, in this context and below */
	MemoryContext context;
	seen_hash *seen;
	CdpNodeTable identifiers; /* cdp.identifier; numbered as the nodes are */
	CdpNode *nodes;
	uint32 nodes_capacity;
	CdpNodeTable pairs; /* (a << 32) | b; numbered as the links are */
	CdpGraphLink *links;
	uint32 links_capacity;
} Receiver;

/* Refuse the query for what is in the present row, which is not told. */
static void
refuse(const Receiver *r, int code, const char *what, const char *hint)
{
	ereport(ERROR,
			(errcode(code), errmsg("row " UINT64_FORMAT " of the query: %s", r->n_rows, what), errhint("%s", hint)));
}

/* Is there room for what is kept, for more of it and for resolving it? */
static void
check_memory(const Receiver *r, Size more)
{
	Size size = MemoryContextMemAllocated(r->context, true) + more +
				cdp_resolve_size(r->rules.namespaces, r->identifiers.n_nodes, r->pairs.n_nodes);

	if (size / 1024 > (Size) cdp_max_resolve_memory)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("resolving the query takes more than cdp.max_resolve_memory (%d kB)", cdp_max_resolve_memory),
				 errdetail("After " UINT64_FORMAT " rows there are %u identifiers, %u links and %u message ids.",
						   r->n_rows, r->identifiers.n_nodes, r->pairs.n_nodes, r->seen->members),
				 errhint("Raise it where there is memory. Where no message comes twice, take messageId out of them: "
						 "then none is kept.")));
}

/* The node of an identifier; made if it is new. */
static uint32
node_of(Receiver *r, const CdpMention *mention)
{
	const CdpNamespace *ns = &r->rules.namespaces->items[mention->namespace_index];
	CdpIdentifier *id = cdp_identifier_make(ns->name, strlen(ns->name), mention->value, mention->value_length);
	Datum value = PointerGetDatum(id);
	uint32 n_known = r->identifiers.n_nodes;
	uint32 i = cdp_node_table_find_one(&r->identifiers, value);
	CdpNode *node;

	if (i < n_known)
		return i;
	if (i == r->nodes_capacity)
	{
		r->nodes_capacity += r->nodes_capacity / 2;
		check_memory(r, sizeof(CdpNode) * (Size) r->nodes_capacity);
		r->nodes = repalloc_huge(r->nodes, sizeof(CdpNode) * (Size) r->nodes_capacity);
	}
	id = (CdpIdentifier *) DatumGetPointer(r->identifiers.values[i]);
	node = memset(&r->nodes[i], 0, sizeof(CdpNode));
	node->namespace_index = mention->namespace_index;
	node->value = cdp_identifier_value(id);
	node->value_length = mention->value_length;
	return i;
}

/* The link between two nodes, the stronger first; made, with no evidence, if it is new. */
static CdpGraphLink *
link_of(Receiver *r, uint32 a, uint32 b)
{
	Datum pair = UInt64GetDatum(((uint64) a << 32) | b);
	uint32 n_known = r->pairs.n_nodes;
	uint32 i = cdp_node_table_find_one(&r->pairs, pair);

	if (i < n_known)
		return &r->links[i];
	if (i == r->links_capacity)
	{
		r->links_capacity += r->links_capacity / 2;
		check_memory(r, sizeof(CdpGraphLink) * (Size) r->links_capacity);
		r->links = repalloc_huge(r->links, sizeof(CdpGraphLink) * (Size) r->links_capacity);
	}
	memset(&r->links[i], 0, sizeof(CdpGraphLink));
	r->links[i].a = a;
	r->links[i].b = b;
	return &r->links[i];
}

/* Two nodes were seen in one message. */
static void
see_link(Receiver *r, uint32 a, uint32 b, TimestampTz at)
{
	CdpGraphLink *link = link_of(r, a, b);

	if (link->event_count == 0 || at < link->first_seen_at)
		link->first_seen_at = at;
	if (link->event_count == 0 || at > link->last_seen_at)
		link->last_seen_at = at;
	link->event_count++;
}

/* A message's identifiers make a star from the strongest of their entity. */
static void
see_star(Receiver *r, int n, TimestampTz at)
{
	uint32 strongest = 0;
	bool is_person = false;

	for (int i = 0; i < n; i++)
	{
		uint32 node = node_of(r, &r->found[i]);
		bool is_first = i == 0 || is_person != r->rules.namespaces->items[r->found[i].namespace_index].is_person_entity;

		is_person = r->rules.namespaces->items[r->found[i].namespace_index].is_person_entity;
		if (is_first)
			strongest = node;
		else
			see_link(r, strongest, node, at);
	}
}

/* Read a time member; false: there is none. */
static bool
read_time(const Receiver *r, CdpJsonValue message, const char *name, TimestampTz *at)
{
	CdpJsonValue v = cdp_json_member(message, name);
	const char *text = NULL;
	int length = 0;

	if (!cdp_json_exists(v) || cdp_json_type(v) == CDP_JSON_NULL)
		return false;
	if (cdp_json_is(v, CDP_JSON_STRING))
		text = cdp_json_string(v, &length);
	if (text == NULL || !cdp_parse_timestamp(text, length, at))
		refuse(r, ERRCODE_INVALID_DATETIME_FORMAT, psprintf("%s of the message is not an ISO 8601 timestamp", name),
			   "Or give the time as a second column, of type timestamptz; then it alone counts.");
	return true;
}

/* When a message happened, by what it says; receipt included. No clock is corrected. */
static TimestampTz
message_time(const Receiver *r, CdpJsonValue message)
{
	TimestampTz received;
	TimestampTz at;
	bool is_received = read_time(r, message, "receivedAt", &received);

	if (!read_time(r, message, "originalTimestamp", &at) && !read_time(r, message, "timestamp", &at))
		return is_received ? received : CDP_NO_EVIDENCE_AT;
	return is_received ? Min(at, received + CDP_MAX_AHEAD) : at;
}

/* When the row's messages happened, by the second column. */
static TimestampTz
column_time(const Receiver *r, TupleTableSlot *slot)
{
	TimestampTz at;

	if (slot->tts_isnull[1])
		return CDP_NO_EVIDENCE_AT;
	at = DatumGetTimestampTz(slot->tts_values[1]);
	if (!cdp_is_plausible_time(at))
		refuse(r, ERRCODE_DATETIME_VALUE_OUT_OF_RANGE, "the time is not one of the years 1 to 9999",
			   "Give null where it is not known.");
	return at;
}

/* Did a message of this id come before? One without an id did not. */
static bool
is_repeat(Receiver *r, CdpJsonValue message)
{
	CdpJsonValue v = cdp_json_member(message, "messageId");
	const char *id;
	int length = 0;
	pg_uuid_t key;
	bool found;

	if (!cdp_json_exists(v) || cdp_json_type(v) == CDP_JSON_NULL)
		return false;
	if (cdp_json_is(v, CDP_JSON_STRING))
		id = cdp_json_string(v, &length);
	else if (cdp_json_is(v, CDP_JSON_NUMBER))
		id = cdp_json_number_text(v, &length);
	else
		id = NULL;
	if (id == NULL)
		refuse(r, ERRCODE_INVALID_PARAMETER_VALUE, "messageId of the message is not a string",
			   "A message of an id counts once; one without a messageId always counts.");
	if (length == 0)
		return false;
	cdp_hash128("", 0, id, length, &key);
	if (r->seen->members >= r->seen->grow_threshold)
		check_memory(r, sizeof(Seen) * 2 * r->seen->size);
	seen_insert(r->seen, key, &found);
	return found;
}

/* Take one message; 'at' is used where the query has times. */
static void
see_message(Receiver *r, CdpJsonValue json, CdpJsonValue envelope, TimestampTz at)
{
	CdpPayload payload = {.phone_region = r->rules.phone_region};
	CdpMessage message = {.payload = &payload, .json = json, .envelope = envelope};
	CdpJsonValue type = cdp_json_member(json, "type");
	int type_number = -1;

	CHECK_FOR_INTERRUPTS();
	if (!cdp_json_is(json, CDP_JSON_OBJECT))
		refuse(r, ERRCODE_INVALID_PARAMETER_VALUE, "the message is not an object",
			   "A message is an object such as {\"userId\": \"..\", \"anonymousId\": \"..\"}; see cdp.ingest().");
	if (cdp_json_is(type, CDP_JSON_STRING))
	{
		int length;
		const char *name = cdp_json_string(type, &length);

		type_number = cdp_message_type_of(name, length);
	}
	/* of a message of no known type only the paths count that hold for any */
	message.type = type_number >= 0 ? (CdpMessageType) type_number : CDP_MESSAGE_TYPES;
	cdp_identifier_extract(r->rules.namespaces, &message, r->found);
	if (message.n_mentions == CDP_MAX_IDENTIFIERS)
		refuse(r, ERRCODE_PROGRAM_LIMIT_EXCEEDED,
			   psprintf("the message has %d identifiers or more", CDP_MAX_IDENTIFIERS), "Leave such messages out.");
	if (message.n_mentions > 0 && !is_repeat(r, json))
		see_star(r, message.n_mentions, r->has_times ? at : message_time(r, json));
	if ((++r->n_messages & 0x3FF) == 0)
		check_memory(r, 0);
}

/* The text of a message of the query's type; '*length' its length. */
static const char *
message_text(const Receiver *r, Datum value, int *length)
{
	text *t;

	if (r->message_type == JSONBOID)
	{
		Jsonb *jsonb = DatumGetJsonbP(value);
		StringInfoData out;

		initStringInfo(&out);
		JsonbToCString(&out, &jsonb->root, VARSIZE(jsonb));
		*length = out.len;
		return out.data;
	}
	t = DatumGetTextPP(value);
	*length = VARSIZE_ANY_EXHDR(t);
	return VARDATA_ANY(t);
}

static void
see_row(Receiver *r, TupleTableSlot *slot)
{
	static const CdpJsonValue none = {NULL, CDP_JSON_NONE};
	TimestampTz at = r->has_times ? column_time(r, slot) : 0;
	CdpJson json;
	CdpJsonValue list;
	const char *text;
	int length;

	text = message_text(r, slot->tts_values[0], &length);
	if (length > 1024 * 1024)
		check_memory(r, 3 * (Size) length); /* what parsing may take */
	if (!cdp_json_parse(text, length, &json))
		refuse(r, ERRCODE_INVALID_TEXT_REPRESENTATION, psprintf("not JSON at byte %u", json.error_at + 1),
			   "Each row is a message, a JSON object.");
	list = cdp_json_member(cdp_json_root(&json), "batch");
	if (!cdp_json_is(list, CDP_JSON_ARRAY))
	{
		see_message(r, cdp_json_root(&json), none, at);
		return;
	}
	for (uint32 i = list.node + 1; i < json.nodes[list.node].next; i = json.nodes[i].next)
	{
		CdpJsonValue item = {&json, i};

		see_message(r, item, cdp_json_root(&json), at);
	}
}

static bool
receive(TupleTableSlot *slot, DestReceiver *self)
{
	Receiver *r = (Receiver *) self;
	MemoryContext old = MemoryContextSwitchTo(r->row_context);

	slot_getallattrs(slot);
	r->n_rows++;
	if (!slot->tts_isnull[0])
		see_row(r, slot);
	MemoryContextSwitchTo(old);
	MemoryContextReset(r->row_context);
	return true;
}

/* A column of messages, and one of times? */
static void
start(DestReceiver *self, int operation, TupleDesc columns)
{
	Receiver *r = (Receiver *) self;

	if (columns->natts < 1 || columns->natts > 2)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the query has %d columns, one or two are needed", columns->natts), errhint(HOW_TO_ASK)));
	r->message_type = getBaseType(TupleDescAttr(columns, 0)->atttypid);
	if (r->message_type != JSONBOID && r->message_type != JSONOID && r->message_type != TEXTOID &&
		r->message_type != VARCHAROID)
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
						errmsg("column 1 of the query is of type %s, messages are jsonb, json or text",
							   format_type_be(TupleDescAttr(columns, 0)->atttypid)),
						errhint("Of a row of a table to_jsonb() makes a message.")));
	r->has_times = columns->natts == 2;
	if (r->has_times && getBaseType(TupleDescAttr(columns, 1)->atttypid) != TIMESTAMPTZOID)
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
						errmsg("column 2 of the query is of type %s, times are timestamptz",
							   format_type_be(TupleDescAttr(columns, 1)->atttypid)),
						errhint("Cast the column, or leave it out: then the messages tell their times.")));
}

static void
finish(DestReceiver *self)
{
}

/* Is a node's identifier the stronger one? */
static bool
is_stronger(const CdpNode *a, const CdpNode *b)
{
	int c;

	if (a->namespace_index != b->namespace_index)
		return a->namespace_index < b->namespace_index;
	c = memcmp(a->value, b->value, Min(a->value_length, b->value_length));
	return c != 0 ? c < 0 : a->value_length < b->value_length;
}

/* Add what the rulings name; returns how many nodes there are without those that only a denial names. */
static uint32
add_rulings(Receiver *r, CdpRuling *rulings)
{
	uint32 n_known = r->identifiers.n_nodes;

	/* pins come first in what was written */
	for (int i = 0; i < r->rules.n_rulings; i++)
	{
		uint32 a = node_of(r, &r->rules.rulings[i].a);
		uint32 b = node_of(r, &r->rules.rulings[i].b);
		bool in_order = is_stronger(&r->nodes[a], &r->nodes[b]);

		rulings[i].a = in_order ? a : b;
		rulings[i].b = in_order ? b : a;
		rulings[i].is_pin = r->rules.rulings[i].is_pin;
		if (!rulings[i].is_pin)
			continue;
		cdp_link_without_evidence(link_of(r, rulings[i].a, rulings[i].b));
		n_known = r->identifiers.n_nodes;
	}
	return n_known;
}

/* Give out each identifier with the strongest of its cluster. */
static void
put_nodes(const Receiver *r, uint32 n, ReturnSetInfo *result)
{
	uint32 *strongest = palloc_extended(sizeof(uint32) * ((Size) n + 1), MCXT_ALLOC_HUGE);

	for (uint32 i = 0; i < n; i++)
		strongest[i] = i;
	for (uint32 i = 0; i < n; i++)
	{
		uint32 *best = &strongest[r->nodes[i].cluster];

		if (is_stronger(&r->nodes[i], &r->nodes[*best]))
			*best = i;
	}
	for (uint32 i = 0; i < n; i++)
	{
		Datum values[3] = {r->identifiers.values[i],
						   r->identifiers.values[strongest[r->nodes[i].cluster]],
						   BoolGetDatum(r->nodes[i].is_contested)};
		bool nulls[3] = {false};

		if ((i & 0xFFF) == 0)
			CHECK_FOR_INTERRUPTS();
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

/* A receiver with nothing in it, in the current context. */
static Receiver *
make_receiver(void)
{
	Receiver *r = palloc0(sizeof(Receiver));
	TypeCacheEntry *type =
		lookup_type_cache(cdp_type_oid("identifier"), TYPECACHE_HASH_EXTENDED_PROC_FINFO | TYPECACHE_EQ_OPR_FINFO);

	r->pub.receiveSlot = receive;
	r->pub.rStartup = start;
	r->pub.rShutdown = finish;
	r->pub.rDestroy = finish;
	r->pub.mydest = DestNone;
	r->context = CurrentMemoryContext;
	r->row_context =
		AllocSetContextCreate(CurrentMemoryContext, "cdp identity row", 0, 64 * 1024, ALLOCSET_DEFAULT_MAXSIZE);
	r->seen = seen_create(r->context, 1024, NULL);
	cdp_node_table_init(&r->identifiers, false, -1, &type->hash_extended_proc_finfo, &type->eq_opr_finfo, InvalidOid);
	cdp_node_table_init(&r->pairs, true, sizeof(uint64), NULL, NULL, InvalidOid);
	r->nodes_capacity = r->links_capacity = 1024;
	r->nodes = palloc(sizeof(CdpNode) * r->nodes_capacity);
	r->links = palloc(sizeof(CdpGraphLink) * r->links_capacity);
	return r;
}

/* cdp.resolve(query, rules) */
Datum
cdp_resolve_query(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext context;
	Receiver *r;
	CdpRuling *rulings;
	char *query;
	uint32 n_nodes;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("query must not be null"), errhint(HOW_TO_ASK)));
	InitMaterializedSRF(fcinfo, 0);
	context = AllocSetContextCreate(CurrentMemoryContext, "cdp identity query", ALLOCSET_DEFAULT_SIZES);
	SPI_connect();
	MemoryContextSwitchTo(context);
	query = text_to_cstring(PG_GETARG_TEXT_PP(0));
	r = make_receiver();
	cdp_query_rules_read(&r->rules, PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1));
	cdp_stream(query, &r->pub, HOW_TO_ASK);
	MemoryContextSwitchTo(context);
	rulings = palloc_extended(sizeof(CdpRuling) * ((Size) r->rules.n_rulings + 1), MCXT_ALLOC_HUGE);
	n_nodes = add_rulings(r, rulings);
	check_memory(r, 0);
	cdp_resolve(r->rules.namespaces, r->nodes, r->identifiers.n_nodes, r->links, r->pairs.n_nodes, rulings,
				r->rules.n_rulings);
	put_nodes(r, n_nodes, result);
	SPI_finish();
	MemoryContextDelete(context);
	return (Datum) 0;
}
