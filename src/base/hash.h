/*
 * hash.h
 *		XXH3 (128 bit) over bytes: message keys, identifier hashing.
 *
 * 128 bits make a collision among 10^12 messages about as likely as 10^-15,
 * so a key stands for its message.
 */
#ifndef CDP_HASH_H
#define CDP_HASH_H

#include "utils/uuid.h"

/* Hash two strings as one key, with a separator that neither can fake. */
extern void cdp_hash128(const char *a, size_t alen, const char *b, size_t blen, pg_uuid_t *key);
extern uint64 cdp_hash64(const void *data, size_t len, uint64 seed);

#endif
