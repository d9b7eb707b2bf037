/*
 * batch.c
 *		The batch's own behaviour: types of messages, paths into them, and which profiles it touched.
 */
#include "postgres.h"

#include "base/base.h"
#include "catalog/pg_type.h"
#include "utils/hsearch.h"

const char *const cdp_message_type_names[CDP_MESSAGE_TYPES] = {"identify", "track", "page", "screen", "group", "alias"};

int
cdp_message_type_of(const char *name, int length)
{
	for (int i = 0; i < CDP_MESSAGE_TYPES; i++)
	{
		if ((int) strlen(cdp_message_type_names[i]) == length && memcmp(cdp_message_type_names[i], name, length) == 0)
			return i;
	}
	return -1;
}

/* Add an id to a growing list. */
static void
add_id(CdpBatch *batch, int64 **ids, int *n, int *capacity, int64 id)
{
	CDP_GROW_IN(batch->context, *ids, *n, *capacity, 16);
	(*ids)[(*n)++] = id;
}

void
cdp_batch_touch(CdpBatch *batch, int64 profile_id)
{
	add_id(batch, &batch->profiles, &batch->n_profiles, &batch->profiles_capacity, profile_id);
}

void
cdp_batch_refold(CdpBatch *batch, int64 profile_id)
{
	cdp_batch_touch(batch, profile_id);
	add_id(batch, &batch->refolded_profiles, &batch->n_refolded_profiles, &batch->refolded_profiles_capacity, profile_id);
}

CdpBatchProfile *
cdp_batch_locked(const CdpBatch *batch, int64 profile_id)
{
	return batch->n_locked == 0 ? NULL : bsearch(&profile_id, batch->locked, batch->n_locked, sizeof(CdpBatchProfile), cdp_compare_int64);
}

CdpColumn *
cdp_batch_places(const CdpBatch *batch, const CdpColumn *profile_ids)
{
	static ItemPointerData nowhere; /* is no valid place */
	CdpColumn *places = cdp_column(TIDOID, profile_ids->n);

	for (int i = 0; i < profile_ids->n; i++)
	{
		CdpBatchProfile *profile = cdp_batch_locked(batch, DatumGetInt64(profile_ids->values[i]));

		cdp_column_add(places, PointerGetDatum(profile == NULL ? &nowhere : &profile->place));
	}
	return places;
}

/* Add a fragment; returns its index. */
static int
add_fragment(CdpBatch *batch, int64 anchor_id, int64 identifier_id)
{
	CDP_GROW_IN(batch->context, batch->fragments, batch->n_fragments, batch->fragments_capacity, 8);
	batch->fragments[batch->n_fragments] =
		(CdpBatchFragment){.anchor_id = anchor_id, .identifier_id = identifier_id};
	return batch->n_fragments++;
}

int
cdp_batch_fragment(CdpBatch *batch, int64 anchor_id, int64 identifier_id)
{
	HASHCTL control = {.keysize = sizeof(int64) * 2, .entrysize = sizeof(int64) * 3, .hcxt = batch->context};
	int64 key[2] = {anchor_id, identifier_id};
	int64 *entry;
	bool found;

	if (batch->fragments_by_ids == NULL)
		batch->fragments_by_ids = hash_create("cdp fragments", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	entry = hash_search(batch->fragments_by_ids, key, HASH_ENTER, &found);
	if (!found)
		entry[2] = add_fragment(batch, anchor_id, identifier_id);
	return (int) entry[2];
}

int
cdp_batch_own_fragment(CdpBatch *batch, int identifier)
{
	CdpBatchIdentifier *id = &batch->identifiers[identifier];

	if (id->fragment < 0)
	{
		id->fragment = add_fragment(batch, id->identifier_id, id->identifier_id);
		batch->fragments[id->fragment].is_new = id->is_new;
	}
	return id->fragment;
}

int
cdp_batch_compare_fragments(const void *a, const void *b)
{
	const CdpBatchFragment *p = *(const CdpBatchFragment *const *) a;
	const CdpBatchFragment *q = *(const CdpBatchFragment *const *) b;

	if (p->anchor_id != q->anchor_id)
		return p->anchor_id < q->anchor_id ? -1 : 1;
	return p->identifier_id < q->identifier_id ? -1 : p->identifier_id > q->identifier_id;
}

CdpJsonValue
cdp_message_path(const CdpMessage *message, char *const *path, int n)
{
	CdpJsonValue v = cdp_json_member(message->json, path[0]);

	if (n > 1 && strcmp(path[0], "context") == 0)
	{
		CdpJsonValue inner = cdp_json_member(v, path[1]);

		if (!cdp_json_exists(inner))
			inner = cdp_json_member(cdp_json_member(message->envelope, path[0]), path[1]);
		v = inner;
		path++;
		n--;
	}
	for (int i = 1; i < n; i++)
		v = cdp_json_member(v, path[i]);
	return v;
}
