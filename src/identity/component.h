/*
 * component.h
 *		Private to identity: resolving whole components that are locked.
 */
#ifndef CDP_COMPONENT_H
#define CDP_COMPONENT_H

#include "identity/resolve.h"

/* Load components, resolve them, and store what differs: profiles of identifiers, redirects, judgements of links. */
extern void cdp_component_resolve(CdpBatch *batch, const CdpNamespaces *namespaces, const int64 *components, int n);

/* Sort and drop repeats; returns how many stay. */
extern int cdp_sort_distinct(int64 *values, int n);
extern Datum cdp_int64_array(const int64 *values, int n);

#endif
