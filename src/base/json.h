/*
 * json.h
 *		JSON text to a tape of nodes, and from the tape to jsonb.
 *
 * cdp_json_parse() validates a whole document in one pass, without recursion and
 * without raising, and notes each value's place in a flat array: the tape.  A
 * container is followed by its children; 'next' leads past it.  Objects alternate
 * key (a string) and value.  The tape points into the text, which must outlive it.
 *
 * The text is expected to be valid UTF-8 (a text datum is).  A NUL written as
 * \u0000 and lone surrogates, which jsonb cannot hold, are read as U+FFFD.
 */
#ifndef CDP_JSON_H
#define CDP_JSON_H

#include "postgres.h"
#include "lib/stringinfo.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

typedef enum CdpJsonType
{
	CDP_JSON_NULL,
	CDP_JSON_FALSE,
	CDP_JSON_TRUE,
	CDP_JSON_NUMBER,
	CDP_JSON_STRING,
	CDP_JSON_ARRAY,
	CDP_JSON_OBJECT
} CdpJsonType;

typedef struct CdpJsonNode
{
	uint8 type;
	bool is_escaped; /* a string with backslashes */
	uint32 start;	 /* of the value's text; of a string: after the quote */
	uint32 length;
	uint32 next;  /* index of the node after this value */
	uint32 count; /* children: elements or pairs */
	uint32 depth; /* how deep containers nest inside; 0 = a scalar */
} CdpJsonNode;

typedef struct CdpJson
{
	const char *text;
	uint32 length;
	CdpJsonNode *nodes;
	uint32 n_nodes;
	uint32 error_at; /* offset of the first bad byte when parsing failed */
} CdpJson;

/* A value inside a document; node = CDP_JSON_NONE means there is none. */
#define CDP_JSON_NONE PG_UINT32_MAX

typedef struct CdpJsonValue
{
	const CdpJson *json;
	uint32 node;
} CdpJsonValue;

static inline bool
cdp_json_exists(CdpJsonValue v)
{
	return v.json != NULL && v.node != CDP_JSON_NONE;
}

static inline CdpJsonType
cdp_json_type(CdpJsonValue v)
{
	return (CdpJsonType) v.json->nodes[v.node].type;
}

static inline bool
cdp_json_is(CdpJsonValue v, CdpJsonType type)
{
	return cdp_json_exists(v) && cdp_json_type(v) == type;
}

/* False on a syntax error, with json->error_at set. Everything is palloc'd in the current context. */
extern bool cdp_json_parse(const char *text, uint32 length, CdpJson *json);

extern CdpJsonValue cdp_json_root(const CdpJson *json);

/* The last member of that name, or none (also when v is no object). */
extern CdpJsonValue cdp_json_member(CdpJsonValue v, const char *name);

/* A string's characters, unescaped; points into the text where nothing is escaped. */
extern const char *cdp_json_string(CdpJsonValue v, int *length);

/* A number's text as jsonb prints it, or NULL when it is out of range; never raises. */
extern const char *cdp_json_number_text(CdpJsonValue v, int *length);

/*
 * One member of an object to be written.  'under' (may be none) is an object whose members are
 * taken where the value, an object too, lacks them.
 */
typedef struct CdpJsonMember
{
	const char *name;
	int name_length;
	CdpJsonValue value;
	CdpJsonValue under;
} CdpJsonMember;

/*
 * Write a value, or an object of members (a later member of the same name wins), as jsonb.
 * NULL when a number is outside numeric's range or nesting passes CDP_MAX_DEPTH; never raises for content.
 */
extern Jsonb *cdp_json_to_jsonb(CdpJsonValue v);
/* Would the number's text be read again? */
extern bool cdp_numeric_is_readable(Numeric number);

/* The object at a path of names in a document, or NULL. */
extern JsonbContainer *cdp_jsonb_object(Jsonb *document, const char *const *path, int n);

/* Push a complete value into a larger document, as an element or a member's value. */
extern void cdp_jsonb_push(JsonbParseState **state, JsonbIteratorToken token, const Jsonb *value);

extern Jsonb *cdp_json_members_to_jsonb(const CdpJsonMember *members, int n_members);

#endif
