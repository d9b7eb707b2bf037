/*
 * time.h
 *		The clock of the platform, and ISO 8601 as it stands in messages.
 */
#ifndef CDP_TIME_H
#define CDP_TIME_H

#include "datatype/timestamp.h"

/*
 * The instant at which this transaction happens: cdp.clock where it is set (tests
 * drive time with it), else the transaction's start.
 */
extern TimestampTz cdp_now(void);

/*
 * Parse 2026-01-31, 2026-01-31T09:00:00, ...T09:00:00.123456Z, ...+02:00.
 * No zone means UTC.  Years 0001 to 9999.  Returns false on anything else; never
 * raises.
 */
extern bool cdp_parse_timestamp(const char *text, int len, TimestampTz *result);

/* Clocks of clients run ahead; a future event is taken to have happened at most this long after receipt. */
#define CDP_MAX_AHEAD (5 * USECS_PER_MINUTE)

/* Years 0001 to 9999 */
#define CDP_FIRST_INSTANT ((TimestampTz) (1721426 - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY)
#define CDP_END_INSTANT ((TimestampTz) (5373485 - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY)

/* Is it an instant that a message may carry, i.e. finite and in the years 0001 to 9999? */
extern bool cdp_is_plausible_time(TimestampTz at);

/* Write an instant as 2026-01-31T09:00:00.5Z, in UTC. */
#define CDP_TIMESTAMP_BYTES 48
extern void cdp_format_timestamp(TimestampTz at, char *buffer);

#endif
