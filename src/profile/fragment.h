/*
 * fragment.h
 *		Private to profile: fragments of identifiers, and what a fragment and a profile have in common.
 */
#ifndef CDP_FRAGMENT_H
#define CDP_FRAGMENT_H

#include "profile/profile.h"

/* Gather what the batch's messages say, and write its fragments. */
extern void cdp_fragments_store(CdpBatch *batch);

/* Derive those again whose events or anchors are others now; notes their profiles as to be folded as a whole. */
extern void cdp_fragments_refold(CdpBatch *batch);

/* What is known stands in five columns: traits, consents, first_seen_at, last_seen_at, event_count. */
#define CDP_KNOWN_COLUMNS 5
extern void cdp_known_columns(CdpColumn **columns, int expected);
extern void cdp_known_add(CdpColumn **columns, const CdpKnown *known);

/* Is anything known? */
extern bool cdp_is_known(const CdpKnown *known);

/* Add what is known to stored columns, or to more of the same; results are in the current context. */
extern void cdp_merge_known(const CdpKnown *known, Datum *values, bool *nulls);
extern void cdp_add_known(CdpKnown *known, const CdpKnown *more);

#endif
