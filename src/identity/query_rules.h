/*
 * query_rules.h
 *		Private to identity: the rules that a caller of cdp.resolve() gives.
 */
#ifndef CDP_QUERY_RULES_H
#define CDP_QUERY_RULES_H

#include "identifier/identifier.h"

/* A ruling as it is written, normalised: known before the identifiers have numbers. */
typedef struct CdpWrittenRuling
{
	CdpMention a;
	CdpMention b;
	bool is_pin; /* else a denial */
} CdpWrittenRuling;

typedef struct CdpQueryRules
{
	const CdpNamespaces *namespaces;
	const char *phone_region; /* NULL: none */
	CdpWrittenRuling *rulings; /* pins first */
	int n_rulings;
} CdpQueryRules;

/* Read them into the current context, SPI connected, or raise; NULL: the default rules. Needs no table. */
extern void cdp_query_rules_read(CdpQueryRules *r, Jsonb *written);

#endif
