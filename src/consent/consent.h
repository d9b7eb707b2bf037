/*
 * consent.h
 *		What a person allows: consents said in messages, kept by identifier, folded by profile.
 */
#ifndef CDP_CONSENT_H
#define CDP_CONSENT_H

#include "base/base.h"
#include "identity/identity.h"

/* Read the consents that the batch's messages carry. */
extern void cdp_consent_collect(CdpBatch *batch);

/* Note in the ledger which of them are others than before; after the fragments were written. */
extern void cdp_consent_record(CdpBatch *batch);

#endif
