/*
 * profile.h
 *		What is known of a person: traits, folded from the fragments of its identifiers.
 */
#ifndef CDP_PROFILE_H
#define CDP_PROFILE_H

#include "base/base.h"
#include "identity/identity.h"
#include "profile/timeline.h"

/* Write the batch's fragments, and fold the touched profiles from theirs; lists the profiles that changed. */
extern void cdp_profile_fold(CdpBatch *batch);

#endif
