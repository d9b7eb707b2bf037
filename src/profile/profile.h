/*
 * profile.h
 *		What is known of a person: traits, folded from the fragments of its identifiers.
 */
#ifndef CDP_PROFILE_H
#define CDP_PROFILE_H

#include "base/base.h"
#include "identity/identity.h"
#include "profile/timeline.h"

/* Add the batch's events to the timelines of their fragments. */
extern void cdp_profile_timeline(CdpBatch *batch);

/* Write the batch's fragments, and fold the touched profiles from theirs; lists the profiles that changed. */
extern void cdp_profile_fold(CdpBatch *batch);

#endif
