/*
 * name.h
 *		What is called how in schema cdp.
 */
#ifndef CDP_NAME_H
#define CDP_NAME_H

#include "postgres.h"

/* OID of a type, e.g. "traits"; an error if it does not exist. */
extern Oid cdp_type_oid(const char *name);

/* OID of a table, index or sequence; an error if it does not exist. */
extern Oid cdp_relation_oid(const char *name);

/* The same, InvalidOid if it does not exist. */
extern Oid cdp_find_relation(const char *name);

/* An error with SQLSTATE 55000 and a hint unless cdp.init() has run in this database. */
extern void cdp_require_init(void);

#endif
