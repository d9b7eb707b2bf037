/*
 * identifier.h
 *		What a person is known by: the type cdp.identifier, namespaces and their rules.
 *
 * The type only parses.  Whoever stores or looks up an identifier normalises it by
 * its namespace first: cdp_identifier_normalize().  No error shows a value.
 */
#ifndef CDP_IDENTIFIER_H
#define CDP_IDENTIFIER_H

#include "base/base.h"

/* varlena: the namespace's length, the namespace, the value */
typedef struct CdpIdentifier
{
	int32 vl_len_;
	uint8 namespace_length;
	char data[FLEXIBLE_ARRAY_MEMBER];
} CdpIdentifier;

#define DatumGetIdentifierP(d) ((CdpIdentifier *) PG_DETOAST_DATUM(d))
#define PG_GETARG_IDENTIFIER_P(n) DatumGetIdentifierP(PG_GETARG_DATUM(n))

static inline const char *
cdp_identifier_value(const CdpIdentifier *id)
{
	return id->data + id->namespace_length;
}

static inline int
cdp_identifier_value_length(const CdpIdentifier *id)
{
	return VARSIZE(id) - offsetof(CdpIdentifier, data) - id->namespace_length;
}

extern CdpIdentifier *cdp_identifier_make(const char *name_space, int namespace_length, const char *value, int length);
extern CdpIdentifier *cdp_identifier_parse(const char *text); /* namespace:value, or an error 22P02, 22001 */

typedef enum CdpNormalizer
{
	CDP_NORMALIZE_NONE,
	CDP_NORMALIZE_LOWER,
	CDP_NORMALIZE_EMAIL,
	CDP_NORMALIZE_EMAIL_GMAIL,
	CDP_NORMALIZE_PHONE
} CdpNormalizer;

typedef enum CdpKind
{
	CDP_KIND_PERSON,
	CDP_KIND_CONTACT,
	CDP_KIND_DEVICE
} CdpKind;

typedef enum CdpBridge
{
	CDP_BRIDGE_UNIQUE,
	CDP_BRIDGE_ALWAYS,
	CDP_BRIDGE_NEVER
} CdpBridge;

/* Where in a message a namespace's value stands. */
typedef struct CdpPath
{
	int type; /* CdpMessageType, or -1: any */
	int n;
	char **names;
} CdpPath;

typedef struct CdpNamespace
{
	char *name;
	char *entity;
	bool is_person_entity;
	CdpKind kind;
	int priority;
	int max_per_profile; /* 0: no limit */
	CdpBridge bridge;
	CdpNormalizer normalizer;
	char *valid_pattern; /* NULL: any */
	CdpPath *paths;
	int n_paths;
} CdpNamespace;

typedef struct CdpBlocked
{
	char *name_space; /* NULL: all */
	char *value;	  /* lower case, unless it is exact or a pattern */
	bool is_pattern;
	bool is_exact; /* one identifier, as it is stored: a steward retracted it */
} CdpBlocked;

/* The rules in force, strongest namespace first. */
typedef struct CdpNamespaces
{
	CdpNamespace *items;
	int n;
	CdpBlocked *blocked;
	int n_blocked;
	uint64 generation; /* another one whenever any of the rules may have changed */
} CdpNamespaces;

/*
 * Hold the rules until the end of the transaction: everyone who reads messages shares them, who changes what messages
 * mean has them alone, for the past is read again by the new ones.
 */
extern void cdp_namespaces_hold(bool is_alone);

/* The rules in force: the latest, whatever the transaction's snapshot. Good until the end of the transaction. */
extern CdpNamespaces *cdp_namespaces_load(void);
extern int cdp_namespace_find(const CdpNamespaces *namespaces, const char *name, int length); /* -1: none */

/*
 * Rules that stand in JSON: 'namespaces' is an object as in cdp.default_rules(), 'blocked' (may be none) an array.
 * An error for whatever is wrong in them.  In the current context; knows no table.
 */
extern CdpNamespaces *cdp_namespaces_of_json(CdpJsonValue namespaces, CdpJsonValue blocked);

/* An error 22023 unless each member of an object in the rules has one of the names (ended by NULL). */
extern void cdp_rules_check_keys(CdpJsonValue object, const char *const *keys, const char *where);

/* A string of the rules, namespace:value, normalised; '*value' NULL when nothing is left of it. Returns its namespace. */
extern int cdp_rules_identifier(const CdpNamespaces *namespaces, CdpJsonValue v, const char **value, int *length);

/*
 * The normal form of a value; NULL when it has none or that is too long.  A phone number is read as it is dialled in
 * 'phone_region' (two letters such as DE), or in international form only if that is NULL.
 */
extern const char *cdp_identifier_normalize(const CdpNamespace *ns, const char *value, int length,
											const char *phone_region, int *out_length);

extern Datum cdp_is_phone_region(PG_FUNCTION_ARGS); /* of a text */

/* Open the libraries of others for all sessions, if the server preloads cdp. */
extern void cdp_identifier_init(void);

/* What becomes of a value found in a message. */
typedef enum CdpVerdict
{
	CDP_TAKEN,	  /* it may enter the graph */
	CDP_BLOCKED,  /* it means nobody */
	CDP_MALFORMED /* it has no normal form, or that is not of the namespace's pattern */
} CdpVerdict;

/* Judge a value as it was written, of the namespace of an index; its normal form, or NULL, in '*normal'. */
extern CdpVerdict cdp_identifier_judge(const CdpNamespaces *namespaces, int index, const char *value, int length,
									   const char *phone_region, const char **normal, int *normal_length);

/*
 * Find a message's identifiers that may enter the graph, people's before accounts', strongest first, each once, and
 * after them, without a value, the namespaces of malformed ones; at most CDP_MAX_IDENTIFIERS together.  Sets the
 * message's n_mentions and n_malformed; false when no value stood there at all, not even one that means nobody.
 */
extern bool cdp_identifier_extract(const CdpNamespaces *namespaces, CdpMessage *message, CdpMention *found);

#endif
