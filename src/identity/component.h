/*
 * component.h
 *		Private to identity: resolving whole components that are locked.
 */
#ifndef CDP_COMPONENT_H
#define CDP_COMPONENT_H

#include "identity/resolve.h"


/* Load components, resolve them, and store what differs: profiles of identifiers, redirects, judgements of links. */
extern void cdp_component_resolve(CdpBatch *batch, const int64 *components, int n);

/* Write history of the identifiers that are alone: each has founded a component. */
extern void cdp_component_found(CdpBatch *batch);

#endif
