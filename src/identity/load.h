/*
 * load.h
 *		Private to identity: identifiers, links and rulings read into arrays, as the resolver takes them.
 */
#ifndef CDP_LOAD_H
#define CDP_LOAD_H

#include "identity/resolve.h"
#include "utils/hsearch.h"

/* What the database says of a node. */
typedef struct CdpStoredNode
{
	int64 identifier_id;
	int64 profile_id;
	bool is_contested;
	bool is_new; /* for the caller to set: made just now, and its profile is a suggestion only */
} CdpStoredNode;

/* What it says of a link. */
typedef struct CdpStoredLink
{
	const char *status; /* one of cdp_link_status_names */
	char *reason;
} CdpStoredLink;

/* What it says of a profile id. */
typedef struct CdpStoredProfile
{
	int64 profile_id;
	int64 identifier_id; /* for which it was minted; 0: nobody has it any more */
	char *entity;
} CdpStoredProfile;

typedef struct CdpGraph
{
	const CdpNamespaces *namespaces;
	CdpStoredProfile *profiles; /* all of the components, by id; not where everything is read */
	int n_profiles;
	CdpNode *nodes;
	CdpStoredNode *stored_nodes; /* by identifier_id; a node's number is its place in both */
	int n_nodes;
	CdpStoredNode *gone; /* what no event mentions any more and no ruling names: to be forgotten */
	int n_gone;
	CdpGraphLink *links;
	CdpStoredLink *stored_links;
	int n_links;
	CdpRuling *rulings;
	int n_rulings;
	bool *is_frozen; /* per node, once resolved: its component has more links than are resolved */
	int n_frozen;	 /* such nodes */
} CdpGraph;

/* The reason of a link that connects two clusters of a frozen component, since that is so. */
#define CDP_REASON_FROZEN "frozen"

/* Read components, or with NULL everything. SPI is connected. */
extern void cdp_graph_load(CdpGraph *graph, const CdpNamespaces *namespaces, const int64 *components, int n);

/* The node of an identifier, or -1. */
extern int cdp_graph_node(const CdpGraph *graph, int64 identifier_id);

/*
 * Resolve it: cluster and component of each node, judgement of each link.  A component of more than
 * cdp.identity_max_component links keeps the partition that is stored (what is new: a cluster of its own), and its
 * links their judgements.
 */
extern void cdp_graph_resolve(CdpGraph *graph);

#endif
