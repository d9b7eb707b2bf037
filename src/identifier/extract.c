/*
 * extract.c
 *		The identifiers in a message, by the namespaces' paths and context.externalIds.
 */
#include "postgres.h"

#include "identifier/identifier.h"
#include "funcapi.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(cdp_message_identifiers);

typedef struct Finder
{
	const CdpNamespaces *namespaces;
	const char *phone_region;
	CdpMention *found;
	int n;
	int malformed[CDP_MAX_IDENTIFIERS]; /* namespaces, each once */
	int n_malformed;
	bool is_present;
} Finder;

/* Order people's identifiers before accounts', then by strength, then by value. */
static bool
comes_before(const CdpNamespaces *namespaces, const CdpMention *a, const CdpMention *b)
{
	bool a_person = namespaces->items[a->namespace_index].is_person_entity;
	bool b_person = namespaces->items[b->namespace_index].is_person_entity;
	int c;

	if (a_person != b_person)
		return a_person;
	if (a->namespace_index != b->namespace_index)
		return a->namespace_index < b->namespace_index;
	c = memcmp(a->value, b->value, Min(a->value_length, b->value_length));
	return c != 0 ? c < 0 : a->value_length < b->value_length;
}

/* Add a normalised value at its place, unless it is there. */
static void
insert(Finder *f, CdpMention new)
{
	int at = f->n;

	for (int i = 0; i < f->n; i++)
	{
		if (f->found[i].namespace_index == new.namespace_index && f->found[i].value_length == new.value_length &&
			memcmp(f->found[i].value, new.value, new.value_length) == 0)
			return;
	}
	if (f->n == CDP_MAX_IDENTIFIERS)
		return; /* validation refuses such a message */
	while (at > 0 && comes_before(f->namespaces, &new, &f->found[at - 1]))
	{
		f->found[at] = f->found[at - 1];
		at--;
	}
	f->found[at] = new;
	f->n++;
}

/* Note that a namespace's value is malformed. */
static void
note_malformed(Finder *f, int namespace_index)
{
	for (int i = 0; i < f->n_malformed; i++)
	{
		if (f->malformed[i] == namespace_index)
			return;
	}
	if (f->n_malformed < CDP_MAX_IDENTIFIERS)
		f->malformed[f->n_malformed++] = namespace_index;
}

/* Take a value found in a message, if it may enter the graph. */
static void
consider(Finder *f, int namespace_index, CdpJsonValue v)
{
	CdpMention new = {namespace_index, NULL, 0, -1};
	const char *value;
	int length;

	if (cdp_json_is(v, CDP_JSON_STRING))
		value = cdp_json_string(v, &length);
	else if (cdp_json_is(v, CDP_JSON_NUMBER))
		value = cdp_json_number_text(v, &length); /* as the log keeps it: 1e5 is 100000 */
	else
		return;
	f->is_present = true;
	if (value == NULL)
		return;
	switch (cdp_identifier_judge(f->namespaces, namespace_index, value, length, f->phone_region, &new.value,
								 &new.value_length))
	{
		case CDP_TAKEN:
			insert(f, new);
			break;
		case CDP_BLOCKED:
			break;
		case CDP_MALFORMED:
			note_malformed(f, namespace_index);
			break;
	}
}

/* context.externalIds: [{"id": .., "type": namespace}] */
static void
consider_external(Finder *f, const CdpMessage *message)
{
	static char *path[] = {"context", "externalIds"};
	CdpJsonValue list = cdp_message_path(message, path, 2);
	const CdpJsonNode *nodes;

	if (!cdp_json_is(list, CDP_JSON_ARRAY))
		return;
	nodes = list.json->nodes;
	for (uint32 i = list.node + 1; i < nodes[list.node].next; i = nodes[i].next)
	{
		CdpJsonValue item = {list.json, i};
		CdpJsonValue type = cdp_json_member(item, "type");
		const char *name;
		int length;
		int index;

		if (!cdp_json_is(type, CDP_JSON_STRING))
			continue;
		name = cdp_json_string(type, &length);
		index = cdp_namespace_find(f->namespaces, name, length);
		if (index >= 0)
			consider(f, index, cdp_json_member(item, "id"));
	}
}

bool
cdp_identifier_extract(const CdpNamespaces *namespaces, CdpMessage *message, CdpMention *found)
{
	Finder f = {namespaces, message->payload->phone_region, found};

	for (int i = 0; i < namespaces->n; i++)
	{
		const CdpNamespace *ns = &namespaces->items[i];

		for (int j = 0; j < ns->n_paths; j++)
		{
			const CdpPath *path = &ns->paths[j];

			if (path->type < 0 || path->type == (int) message->type)
				consider(&f, i, cdp_message_path(message, path->names, path->n));
		}
	}
	consider_external(&f, message);
	message->n_mentions = f.n;
	message->n_malformed = Min(f.n_malformed, CDP_MAX_IDENTIFIERS - f.n);
	for (int i = 0; i < message->n_malformed; i++)
		found[f.n + i] = (CdpMention) {f.malformed[i], NULL, 0, -1};
	return f.is_present;
}

/* cdp.message_identifiers(type, message, phone_region) */
Datum
cdp_message_identifiers(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	CdpMention *found = palloc(sizeof(CdpMention) * CDP_MAX_IDENTIFIERS);
	CdpPayload payload = {0};
	CdpMessage message = {.payload = &payload};
	Jsonb *document;
	char *type;
	char *json_text;
	int message_type;
	CdpJson json;
	CdpNamespaces *namespaces;

	InitMaterializedSRF(fcinfo, 0);
	cdp_require_init();
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		return (Datum) 0;
	type = text_to_cstring(PG_GETARG_TEXT_PP(0));
	document = PG_GETARG_JSONB_P(1);
	json_text = JsonbToCString(NULL, &document->root, VARSIZE(document));
	payload.phone_region = PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2));
	message_type = cdp_message_type_of(type, strlen(type));
	if (payload.phone_region != NULL && strlen(payload.phone_region) != 2)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("a region has two letters"),
						errhint("Such as DE; see the column phone_region of cdp.source.")));
	if (message_type < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("there is no such type of message"),
						errhint("It is identify, track, page, screen, group or alias.")));
	message.type = message_type;
	if (!cdp_json_parse(json_text, strlen(json_text), &json))
		elog(ERROR, "jsonb gave invalid JSON");
	message.json = cdp_json_root(&json);
	message.envelope.node = CDP_JSON_NONE;
	namespaces = cdp_namespaces_load();
	cdp_identifier_extract(namespaces, &message, found);
	for (int i = 0; i < message.n_mentions; i++)
	{
		const CdpNamespace *ns = &namespaces->items[found[i].namespace_index];
		Datum values[4] = {Int32GetDatum(i + 1), CStringGetTextDatum(ns->name),
						   PointerGetDatum(cstring_to_text_with_len(found[i].value, found[i].value_length)),
						   CStringGetTextDatum(ns->entity)};
		bool nulls[4] = {false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
