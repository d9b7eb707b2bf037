/*
 * consents.h
 *		Private to consent: reading consent states.
 */
#ifndef CDP_CONSENTS_H
#define CDP_CONSENTS_H

#include "base/base.h"

extern bool cdp_consent_is_granted(const CdpStampedEntry *entry);

#endif
