/*
 * predicate.h
 *		Inside the room: the three forms of a predicate.
 *
 * Text or JSON is parsed into a tree, the tree is printed as canonical text and
 * compiled into a program, and a value on disk holds those two.  The text is the
 * truth: a program of another version is compiled anew from it, so the program's
 * format may change without a migration.
 *
 * Parsing never raises for what it reads: errors are collected in a
 * CdpPredicateError and reported once, softly where PostgreSQL can (16+).
 */
#ifndef CDP_PREDICATE_H
#define CDP_PREDICATE_H

#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "segment/segment.h"
#include "utils/numeric.h"

#define CDP_PREDICATE_VERSION 1
#define CDP_PREDICATE_MAX_BYTES 65536 /* of the text as given and of the canonical text */
#define CDP_PREDICATE_MAX_DEPTH 100	  /* of nested groups and nots; walks recurse that deep */

typedef enum CdpNodeKind
{
	CDP_ALL,
	CDP_ANY,
	CDP_NOT,
	CDP_TRAIT,
	CDP_COUNT,
	CDP_CONSENT,
	CDP_COMPUTED /* no condition: a computed trait */
} CdpNodeKind;

/* Frozen: they stand in stored programs. The first six are the comparisons. */
typedef enum CdpOperator
{
	CDP_EQUAL,
	CDP_NOT_EQUAL,
	CDP_LESS,
	CDP_LESS_EQUAL,
	CDP_GREATER,
	CDP_GREATER_EQUAL,
	CDP_IN,
	CDP_NOT_IN,
	CDP_BETWEEN,
	CDP_CONTAINS,
	CDP_STARTS_WITH,
	CDP_ENDS_WITH,
	CDP_MATCHES,
	CDP_IS_SET,
	CDP_IS_NOT_SET,
	CDP_WITHIN_LAST,
	CDP_WITHIN_NEXT
} CdpOperator;
#define CDP_N_OPERATORS (CDP_WITHIN_NEXT + 1)

/* What can be computed of an event or of a property of it */
typedef enum CdpAggregate
{
	CDP_COUNT_OF,
	CDP_SUM_OF,
	CDP_AVG_OF,
	CDP_MIN_OF,
	CDP_MAX_OF,
	CDP_MOST_FREQUENT_OF,
	CDP_FIRST_OF,
	CDP_LAST_OF,
	CDP_UNIQUE_LIST_OF,
	CDP_UNIQUE_COUNT_OF
} CdpAggregate;
#define CDP_N_AGGREGATES (CDP_UNIQUE_COUNT_OF + 1)

typedef enum CdpLiteralKind
{
	CDP_STRING,
	CDP_NUMBER,
	CDP_FALSE,
	CDP_TRUE
} CdpLiteralKind;

typedef enum CdpWindowKind
{
	CDP_EVER,	 /* t <= now */
	CDP_ROLLING, /* now - far < t <= now - near */
	CDP_ABSOLUTE /* near <= t < far, t <= now */
} CdpWindowKind;

/* --- the tree --- */

typedef struct CdpLiteral
{
	CdpLiteralKind kind;
	const char *text; /* of a string */
	Numeric number;
} CdpLiteral;

typedef struct CdpDuration
{
	const char *text; /* as written: "30 days" */
	int64 microseconds;
} CdpDuration;

typedef struct CdpInstant
{
	const char *text; /* as written; NULL: unbounded */
	TimestampTz at;
} CdpInstant;

typedef struct CdpWindow
{
	CdpWindowKind kind;
	CdpDuration far;  /* rolling: within far, or between far and near ago */
	CdpDuration near; /* text is NULL in 'within' */
	CdpInstant since; /* absolute */
	CdpInstant until;
} CdpWindow;

typedef struct CdpNode
{
	CdpNodeKind kind;
	int depth;		  /* nested groups and nots; 0 for a leaf */
	List *children;	  /* of CdpNode: all, any, not */
	const char *name; /* the trait, event or purpose */
	CdpOperator op;
	List *values;		  /* of CdpLiteral */
	CdpDuration duration; /* of within last, within next */
	CdpWindow window;
	CdpAggregate aggregate; /* of a computed trait, as is */
	const char *property;	/* NULL: of the event itself */
} CdpNode;

/* --- parsing --- */

typedef struct CdpPredicateError
{
	const char *subject; /* what is parsed, as messages call it: "predicate" */
	int sqlstate; /* 0: none */
	const char *message;
	const char *hint;
	int position; /* offset in the text; -1: none */
} CdpPredicateError;

typedef struct CdpPredicateParser
{
	const char *text;
	int length;
	int token_start; /* of the token read last */
	int token_end;
	int start;			  /* the token that the scanner gives first; 0: it has */
	bool wants_aggregate; /* the next word is one */
	bool wants_name; /* the next word is a trait's name, even if it is a keyword */
	int depth;
	CdpNode *result;
	CdpPredicateError error;
} CdpPredicateParser;

/* predicate_parse.y, predicate_json.c: NULL after an error */
extern CdpNode *cdp_predicate_parse_text(const char *text, int length, CdpPredicateError *error);
extern CdpNode *cdp_computation_parse_text(const char *text, int length, CdpPredicateError *error);
extern CdpNode *cdp_predicate_parse_json(const char *text, int length, CdpPredicateError *error);

/* predicate_scan.l */
extern void *cdp_predicate_scan_begin(CdpPredicateParser *parser);
extern void cdp_predicate_scan_end(void *scanner);

/* predicate_tree.c: what text and JSON are both made of and checked by; NULL or false after an error */
extern void cdp_predicate_fail(CdpPredicateError *error, int position, int sqlstate, const char *hint,
							   const char *format, ...) pg_attribute_printf(5, 6);
extern CdpNode *cdp_predicate_join(CdpNodeKind kind, CdpNode *left, CdpNode *right, int position,
								   CdpPredicateError *error);
extern CdpNode *cdp_predicate_negate(CdpNode *child, int position, CdpPredicateError *error);
extern CdpNode *cdp_predicate_leaf(CdpNodeKind kind, const char *name, int position,
								   CdpPredicateError *error);
extern CdpNode *cdp_predicate_computation(CdpAggregate aggregate, const char *event, const char *property,
										  int position, CdpPredicateError *error);
extern bool cdp_predicate_test(CdpNode *leaf, CdpOperator op, List *values, int position,
							   CdpPredicateError *error);
extern bool cdp_predicate_moving(CdpNode *leaf, CdpOperator op, const CdpDuration *duration, int position,
								 CdpPredicateError *error);
extern CdpLiteral *cdp_predicate_literal(CdpLiteralKind kind, const char *text, int length, int position,
										 CdpPredicateError *error);
extern bool cdp_predicate_duration(const char *number, int number_length, const char *unit, int unit_length,
								   int position, CdpDuration *duration, CdpPredicateError *error);
extern bool cdp_predicate_rolling(const CdpDuration *far, const CdpDuration *near, int position,
								  CdpWindow *window, CdpPredicateError *error);
extern bool cdp_predicate_absolute(const char *since, const char *until, int position, CdpWindow *window,
								   CdpPredicateError *error);
extern char *cdp_predicate_regex(const char *pattern); /* as PostgreSQL writes it */

/* predicate.c: to the caller, softly where it wants that and PostgreSQL can */
extern void cdp_predicate_report(const CdpPredicateError *error, const char *text, int length, Node *escontext);

/* --- printing --- */

typedef enum CdpPrintForm
{
	CDP_PRINT_TEXT, /* for people: canonical text */
	CDP_PRINT_KEY	/* for comparing: numbers, durations and instants normalised */
} CdpPrintForm;

/* How an operator is called */
typedef struct CdpOperatorName
{
	const char *text;
	const char *json;
} CdpOperatorName;

/* predicate_text.c */
extern const CdpOperatorName cdp_operator_names[CDP_N_OPERATORS];
extern const char *const cdp_aggregate_names[CDP_N_AGGREGATES];
extern char *cdp_predicate_print(const CdpNode *tree, CdpPrintForm form, int *length);
extern void cdp_predicate_print_literal(StringInfo out, const CdpLiteral *literal, CdpPrintForm form);

/* predicate_json.c */
extern void cdp_predicate_print_json(StringInfo out, const CdpNode *tree);

/* --- the program, as it stands on disk behind the text --- */

/* A constant of a trait leaf: a string or pattern as text, a number as Numeric. */
typedef struct CdpConstant
{
	uint32 kind;   /* CdpLiteralKind */
	uint32 offset; /* of the varlena, from the start of the predicate; 4-byte aligned */
} CdpConstant;

/* Counts that make a count leaf true: first <= count <= last. */
typedef struct CdpInterval
{
	int64 first;
	int64 last;
} CdpInterval;

typedef struct CdpProgramNode
{
	uint8 kind;	  /* CdpNodeKind */
	uint8 op;	  /* CdpOperator, of a trait */
	uint8 window; /* CdpWindowKind, of a count */
	uint8 unused;
	uint16 end;		 /* index of the node after this one's subtree */
	uint16 n_values; /* constants or intervals */
	uint32 values;	 /* offset of the first; 8-byte aligned */
	uint32 name;	 /* offset; not terminated */
	uint32 name_length;
	uint32 unused2;
	int64 near; /* of the window; within last and within next keep their duration in 'far' */
	int64 far;
} CdpProgramNode;

struct CdpPredicate
{
	int32 vl_len_;
	uint8 version; /* this, text and text_length stay where they are in every version */
	uint8 unused;
	uint16 n_nodes; /* in prefix order: a group is followed by its children */
	uint32 text;	/* offset of the canonical text */
	uint32 text_length;
	CdpProgramNode nodes[FLEXIBLE_ARRAY_MEMBER];
};

/* program.c */
extern CdpPredicate *cdp_predicate_compile(const CdpNode *tree, const char *text, int text_length);

#endif
