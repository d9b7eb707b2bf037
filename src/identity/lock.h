/*
 * lock.h
 *		Private to identity: the components of a batch's identifiers locked.
 */
#ifndef CDP_LOCK_H
#define CDP_LOCK_H

#include "base/base.h"

/* What the database says of an identifier of the batch. */
typedef struct CdpPosition
{
	int64 profile_id;
	int64 component_id;
	bool is_disputed;
	bool is_contested;
	bool is_frozen;
} CdpPosition;

/* Lock the components of the batch's identifiers, store its sightings, and say where each identifier is. SPI is connected. */
extern CdpPosition *cdp_lock_components_of(CdpBatch *batch);

/* Add to a stored sighting, which begins at a column, what was seen now. */
extern void cdp_see(Datum *values, bool *nulls, TimestampTz first_seen_at, TimestampTz last_seen_at, int64 event_count);

/* By id: for qsort_arg of indices of the batch's identifiers. */
extern int cdp_compare_batch_ids(const void *a, const void *b, void *batch);

#endif
