/*
 * identity.h
 *		Who is who: links between identifiers, and the people they make.
 *
 * A message's identifiers give a star of links from its strongest one.  A component is
 * what links connect; its links are accepted in one total order as long as no rule
 * forbids it (resolve.c, which knows no table), and what accepted links connect is a
 * profile.  The rules are hereditary, so a component that breaks none as a whole is
 * one profile, whatever the order; see docs/identity.md.
 */
#ifndef CDP_IDENTITY_H
#define CDP_IDENTITY_H

#include "base/base.h"
#include "identifier/identifier.h"

/* Find or make the identifiers of the batch; anchors of its messages. */
extern void cdp_identity_identify(CdpBatch *batch);

/* Write the batch's links; give every identifier its profile. Locks the profiles concerned. */
extern void cdp_identity_resolve(CdpBatch *batch);

/* Anchor the batch's messages, in fragments; lists the identifiers whose events are to be folded again. */
extern void cdp_identity_anchor(CdpBatch *batch);

/*
 * The key (namespace and value, as text) under which an identifier is stored; false when its normal form is
 * empty. An error when there is no such namespace.
 */
extern bool cdp_identity_key(const CdpIdentifier *id, Datum *key);

/* The profile of an identifier, and the live profile that an id stands for; 0: none. */
extern int64 cdp_identity_find(const CdpIdentifier *id);
extern int64 cdp_identity_follow(int64 profile_id);

/* Once a library: cdp.connected_components() becomes a scan of its own. */
extern void cdp_graph_scan_init(void);

#endif
