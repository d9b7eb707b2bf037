/*
 * consents.h
 *		Private to consent: reading consent states.
 */
#ifndef CDP_CONSENTS_H
#define CDP_CONSENTS_H

#include "base/base.h"

/* The tie rule of consent states: the refusal wins. */
extern int cdp_consent_tie(const Jsonb *a, const Jsonb *b);
extern bool cdp_consent_is_granted(const CdpStampedEntry *entry);

#endif
