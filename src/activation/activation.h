/*
 * activation.h
 *		What leaves the house: the change log, which a publication serves to stock subscribers.
 */
#ifndef CDP_ACTIVATION_H
#define CDP_ACTIVATION_H

#include "base/base.h"

/* Append the batch's changes: merges and splits, changed profiles, segments entered and left, in this order. */
extern void cdp_activation_emit(CdpBatch *batch);

#endif
