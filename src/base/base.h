/*
 * base.h
 *		What every room may use: limits, errors, settings, the clock, SPI, JSON,
 *		stamped maps and the batch that walks through the house.
 *
 * base knows no table and no noun.  Every other room may include it; it
 * includes no room.
 */
#ifndef CDP_BASE_H
#define CDP_BASE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

/* Limits that no setting changes.  Each keeps an attacker's input small. */
#define CDP_MAX_DEPTH 100			 /* nesting of a message's JSON; jsonb functions recurse */
#define CDP_MAX_IDENTIFIER_BYTES 512 /* one identifier's value; a b-tree key must stay below 2,700 */
#define CDP_MAX_NAMESPACE_BYTES 63	 /* a namespace's name; as a PostgreSQL name */
#define CDP_MAX_MESSAGE_ID_BYTES 200 /* Segment allows 100; Node's are 60 */
#define CDP_MAX_IDENTIFIERS 64		 /* identifiers in one message */

/* Tell pg_stat_activity, and with it cdp.status, how far a long command is. */
extern void cdp_show_progress(const char *what);

#include "base/append.h"
#include "base/cached.h"
#include "base/grow.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/jsonb.h"
#include "base/limit.h"
#include "base/lookup.h"
#include "base/name.h"
#include "base/scan.h"
#include "base/settings.h"
#include "base/spi.h"
#include "base/stamped.h"
#include "base/time.h"
#include "base/upsert.h"
#include "base/batch.h"

#endif
