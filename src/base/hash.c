/*
 * hash.c
 *		XXH3 over bytes.
 */
#include "postgres.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/hash.h"

void
cdp_hash128(const char *a, size_t alen, const char *b, size_t blen, pg_uuid_t *key)
{
	char local[512];
	char *buffer = local;
	size_t length = alen + blen + 1;
	XXH128_canonical_t canonical;

	if (length > sizeof(local))
		buffer = palloc(length);
	memcpy(buffer, a, alen);
	buffer[alen] = '\0'; /* text holds no NUL, so the border cannot be faked */
	memcpy(buffer + alen + 1, b, blen);
	XXH128_canonicalFromHash(&canonical, XXH3_128bits(buffer, length));
	memcpy(key->data, canonical.digest, UUID_LEN);
	if (buffer != local)
		pfree(buffer);
}

uint64
cdp_hash64(const void *data, size_t len, uint64 seed)
{
	return XXH3_64bits_withSeed(data, len, seed);
}
