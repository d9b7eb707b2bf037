/*
 * trait_rules.h
 *		Private to profile: what the rules declared in cdp.trait make of what messages say.
 */
#ifndef CDP_TRAIT_RULES_H
#define CDP_TRAIT_RULES_H

#include "profile/profile.h"

/* Told of each trait whose value, or an element of it, broke its rule. */
typedef void (*CdpTraitRefused)(void *arg, const char *name, int name_length);

/*
 * Apply the rules to the entries that were gathered from 'from' on, those of one message: they become what their rules
 * keep; what says nothing and what breaks its rule is dropped.
 */
extern void cdp_traits_apply(CdpGatherer *gatherer, int from, CdpTraitRefused refused, void *arg);

#endif
