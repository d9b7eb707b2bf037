/*
 * rules.h
 *		Private to identifier: what the rules in tables and those in JSON have in common.
 */
#ifndef CDP_RULES_H
#define CDP_RULES_H

#include "identifier/identifier.h"

/* The names of CdpKind, CdpBridge and CdpNormalizer, ended by NULL. */
extern const char *const cdp_kind_names[];
extern const char *const cdp_bridge_names[];
extern const char *const cdp_normalizer_names[];

/* The place of a name among names, or -1. */
extern int cdp_name_index(const char *name, const char *const *names);

/* Is it a name as namespaces have: letters, digits and underscores, not a digit first? */
extern bool cdp_namespace_is_name(const char *s, int length);

/* Compile "identify:traits.email" into a path, which points into the text. */
extern CdpPath cdp_path_compile(char *text);

#endif
