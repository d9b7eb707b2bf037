/*
 * consent.h
 *		What a person allows: consents said in messages, kept by identifier, folded by profile.
 */
#ifndef CDP_CONSENT_H
#define CDP_CONSENT_H

#include "base/base.h"
#include "identity/identity.h"

/* Read the consents that the batch's messages carry; note changes in the ledger. */
extern void cdp_consent_collect(CdpBatch *batch);

#endif
