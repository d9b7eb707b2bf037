/*
 * batch.c
 *		The batch's own behaviour: types of messages, paths into them, and which profiles it touched.
 */
#include "postgres.h"

#include "base/base.h"

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

void
cdp_batch_touch(CdpBatch *batch, int64 profile_id)
{
	if (batch->profiles == NULL)
	{
		batch->profiles_capacity = 64;
		batch->profiles = MemoryContextAlloc(batch->context, sizeof(int64) * batch->profiles_capacity);
	}
	if (batch->n_profiles == batch->profiles_capacity)
	{
		batch->profiles_capacity *= 2;
		batch->profiles = repalloc_huge(batch->profiles, sizeof(int64) * (Size) batch->profiles_capacity);
	}
	batch->profiles[batch->n_profiles++] = profile_id;
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
