/*
 * resolve.h
 *		From the links of components to clusters: specs/identity.md §3 and §4.
 *
 * Knows no table.  Time O(links x log links) plus, for each joining of two clusters,
 * the number of limited namespaces and denials.
 */
#ifndef CDP_RESOLVE_H
#define CDP_RESOLVE_H

#include "identifier/identifier.h"

typedef struct CdpNode
{
	int namespace_index;
	const char *value;
	int value_length;
	/* out */
	int cluster;	   /* index of a node that stands for the cluster */
	int component;	   /* likewise for everything that links connect, accepted or not */
	bool is_contested; /* a device seen with two values of one stronger namespace */
	bool is_disputed;  /* in its component the order of links matters for who is who */
} CdpNode;

typedef enum CdpLinkStatus
{
	CDP_LINK_ACCEPTED,
	CDP_LINK_REDUNDANT,
	CDP_LINK_REJECTED
} CdpLinkStatus;

extern const char *const cdp_link_status_names[]; /* accepted, redundant, rejected */

typedef struct CdpGraphLink
{
	int a; /* nodes, the stronger first */
	int b;
	TimestampTz first_seen_at;
	TimestampTz last_seen_at;
	int64 event_count;
	/* out */
	bool is_pinned;
	CdpLinkStatus status;
	char *reason; /* of a rejection: "limit user_id 2>1", "denied", "shared device"; may be shared with other links */
} CdpGraphLink;

/* The time of evidence that has none: the epoch of Unix. */
#define CDP_NO_EVIDENCE_AT (((TimestampTz) (UNIX_EPOCH_JDATE - POSTGRES_EPOCH_JDATE)) * USECS_PER_DAY)

/* A pin where no event supports it is stored with no events; the order takes it as one event at the epoch. */
static inline void
cdp_link_without_evidence(CdpGraphLink *link)
{
	if (link->event_count > 0)
		return;
	link->first_seen_at = link->last_seen_at = CDP_NO_EVIDENCE_AT;
	link->event_count = 1;
}

/* A steward's word about two nodes. */
typedef struct CdpRuling
{
	int a;
	int b;
	bool is_pin; /* else a denial */
} CdpRuling;

/*
 * Partition nodes and judge links.  A component is disputed when a link of it was rejected, or a device in it
 * may not bridge, or a denial concerns it: then a change of any link's evidence can change the partition.  Else it
 * is one cluster whatever the order, and only which links are redundant depends on it.  New evidence moves a link
 * forward in the order, and an accepted one that moves forward stays accepted: so nothing changes unless a redundant
 * one gets evidence.
 */
extern void cdp_resolve(const CdpNamespaces *namespaces, CdpNode *nodes, int n_nodes, CdpGraphLink *links, int n_links,
						const CdpRuling *rulings, int n_rulings);

/* About how many bytes it takes at its peak, beside the nodes, links and rulings. */
extern Size cdp_resolve_size(const CdpNamespaces *namespaces, Size n_nodes, Size n_links);

#endif
