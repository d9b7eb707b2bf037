%code top {
/*
 * predicate_parse.y
 *		The grammar of the segment language (docs/segment.md has it as a table).
 *
 * Groups and nots are counted as they open, so that no input can nest deeper than
 * later walks may recurse; everything else is left recursive and bounded by the
 * length of the text.  Errors are noted in the parser, never raised.
 */
#include "postgres.h"

#include <ctype.h>

#include "catalog/pg_collation.h"
#include "mb/pg_wchar.h"
#include "regex/regex.h"
#include "utils/builtins.h"
}

%code requires {
#include "segment/predicate.h"
}

%code {
#define YYMALLOC palloc
#define YYFREE pfree

extern int cdp_predicate_yylex(CDP_PREDICATE_YYSTYPE *value, CDP_PREDICATE_YYLTYPE *location, void *scanner);
static void cdp_predicate_yyerror(CDP_PREDICATE_YYLTYPE *location, void *scanner, CdpPredicateParser *parser,
								  const char *message);
static bool enter(CdpPredicateParser *parser, int position);

#define CHECK(condition) do { if (!(condition)) YYABORT; } while (0)
#define ERROR_AT (&parser->error)
}

%define api.pure full
%define api.prefix {cdp_predicate_yy}
%define api.location.type {int}
%define parse.error custom
%define parse.lac full
%locations
%initial-action { @$ = 0; }
%param {void *scanner}
%parse-param {CdpPredicateParser *parser}
%expect 0

%code {
#define YYLLOC_DEFAULT(current, rhs, n) ((current) = (n) ? YYRHSLOC(rhs, 1) : YYRHSLOC(rhs, 0))
}

%union {
	const char *text;
	struct { const char *text; int length; } number;
	int literal;
	CdpOperator op;
	CdpLiteral *value;
	List *values;
	CdpDuration duration;
	CdpWindow window;
	struct { CdpOperator op; List *values; } test;
	CdpNode *node;
}

%token END 0 "the end"
%token <text> STRING "a string" NAME "the trait's name" UNIT "a unit of time"
%token <number> NUMBER "a number"
%token <literal> BOOLEAN_P "a boolean"
%token <op> COMPARISON "a comparison (= != < <= > >=)"
%token WORD "a word"
%token TRAIT "trait" DID "did" COUNT "count" CONSENTS "consents" TO "to" AND "and" OR "or" NOT "not" IN_P "in"
%token BETWEEN "between" CONTAINS "contains" STARTS "starts" ENDS "ends" WITH "with" MATCHES "matches" IS "is" SET "set"
%token WITHIN "within" LAST "last" NEXT "next" SINCE "since" UNTIL "until" FROM "from" AGO "ago" EVER "ever"

%type <node> disjunction conjunction factor leaf trait
%type <text> event
%type <test> numbers_test
%type <value> literal number string
%type <values> literals numbers
%type <duration> duration
%type <window> window

%%

predicate:
	disjunction						{ parser->result = $1; }
	;

disjunction:
	conjunction
	| disjunction OR conjunction	{ CHECK($$ = cdp_predicate_join(CDP_ANY, $1, $3, @2, ERROR_AT)); }
	;

conjunction:
	factor
	| conjunction AND factor		{ CHECK($$ = cdp_predicate_join(CDP_ALL, $1, $3, @2, ERROR_AT)); }
	;

factor:
	leaf
	| NOT							{ CHECK(enter(parser, @1)); }
		factor						{ parser->depth--; CHECK($$ = cdp_predicate_negate($3, @1, ERROR_AT)); }
	| '('							{ CHECK(enter(parser, @1)); }
		disjunction ')'				{ parser->depth--; $$ = $3; }
	;

leaf:
	trait
	| DID event window
		{
			CdpLiteral *one;

			CHECK($$ = cdp_predicate_leaf(CDP_COUNT, $2, @2, ERROR_AT));
			CHECK(one = cdp_predicate_literal(CDP_NUMBER, "1", 1, @1, ERROR_AT));
			CHECK(cdp_predicate_test($$, CDP_GREATER_EQUAL, list_make1(one), @1, ERROR_AT));
			$$->window = $3;
		}
	| COUNT event numbers_test window
		{
			CHECK($$ = cdp_predicate_leaf(CDP_COUNT, $2, @2, ERROR_AT));
			CHECK(cdp_predicate_test($$, $3.op, $3.values, @3, ERROR_AT));
			$$->window = $4;
		}
	| CONSENTS TO STRING			{ CHECK($$ = cdp_predicate_leaf(CDP_CONSENT, $3, @3, ERROR_AT)); }
	;

event:
	'(' STRING ')'					{ $$ = $2; @$ = @2; }
	;

trait:
	TRAIT NAME						{ CHECK($<node>$ = cdp_predicate_leaf(CDP_TRAIT, $2, @2, ERROR_AT)); }
		trait_test					{ $$ = $<node>3; }
	;

/* The leaf under test is $<node>0. */
trait_test:
	COMPARISON literal				{ CHECK(cdp_predicate_test($<node>0, $1, list_make1($2), @2, ERROR_AT)); }
	| IN_P '(' literals ')'			{ CHECK(cdp_predicate_test($<node>0, CDP_IN, $3, @3, ERROR_AT)); }
	| NOT IN_P '(' literals ')'		{ CHECK(cdp_predicate_test($<node>0, CDP_NOT_IN, $4, @4, ERROR_AT)); }
	| BETWEEN literal AND literal	{ CHECK(cdp_predicate_test($<node>0, CDP_BETWEEN, list_make2($2, $4), @2, ERROR_AT)); }
	| CONTAINS literal				{ CHECK(cdp_predicate_test($<node>0, CDP_CONTAINS, list_make1($2), @2, ERROR_AT)); }
	| STARTS WITH string			{ CHECK(cdp_predicate_test($<node>0, CDP_STARTS_WITH, list_make1($3), @3, ERROR_AT)); }
	| ENDS WITH string				{ CHECK(cdp_predicate_test($<node>0, CDP_ENDS_WITH, list_make1($3), @3, ERROR_AT)); }
	| MATCHES string				{ CHECK(cdp_predicate_test($<node>0, CDP_MATCHES, list_make1($2), @2, ERROR_AT)); }
	| IS SET						{ CHECK(cdp_predicate_test($<node>0, CDP_IS_SET, NIL, @1, ERROR_AT)); }
	| IS NOT SET					{ CHECK(cdp_predicate_test($<node>0, CDP_IS_NOT_SET, NIL, @1, ERROR_AT)); }
	| WITHIN LAST duration			{ CHECK(cdp_predicate_moving($<node>0, CDP_WITHIN_LAST, &$3, @3, ERROR_AT)); }
	| WITHIN NEXT duration			{ CHECK(cdp_predicate_moving($<node>0, CDP_WITHIN_NEXT, &$3, @3, ERROR_AT)); }
	;

numbers_test:
	COMPARISON number				{ $$.op = $1; $$.values = list_make1($2); @$ = @2; }
	| IN_P '(' numbers ')'			{ $$.op = CDP_IN; $$.values = $3; @$ = @3; }
	| NOT IN_P '(' numbers ')'		{ $$.op = CDP_NOT_IN; $$.values = $4; @$ = @4; }
	| BETWEEN number AND number		{ $$.op = CDP_BETWEEN; $$.values = list_make2($2, $4); @$ = @2; }
	;

literals:
	literal							{ $$ = list_make1($1); }
	| literals ',' literal			{ $$ = lappend($1, $3); }
	;

numbers:
	number							{ $$ = list_make1($1); }
	| numbers ',' number			{ $$ = lappend($1, $3); }
	;

literal:
	number
	| string
	| BOOLEAN_P						{ CHECK($$ = cdp_predicate_literal($1, NULL, 0, @1, ERROR_AT)); }
	;

number:
	NUMBER							{ CHECK($$ = cdp_predicate_literal(CDP_NUMBER, $1.text, $1.length, @1, ERROR_AT)); }
	;

string:
	STRING							{ CHECK($$ = cdp_predicate_literal(CDP_STRING, $1, strlen($1), @1, ERROR_AT)); }
	;

duration:
	NUMBER UNIT						{ CHECK(cdp_predicate_duration($1.text, $1.length, $2, strlen($2), @1, &$$, ERROR_AT)); }
	;

window:
	%empty							{ memset(&$$, 0, sizeof($$)); }
	| EVER							{ memset(&$$, 0, sizeof($$)); }
	| WITHIN duration				{ CHECK(cdp_predicate_rolling(&$2, NULL, @2, &$$, ERROR_AT)); }
	| BETWEEN duration AND duration AGO	{ CHECK(cdp_predicate_rolling(&$2, &$4, @2, &$$, ERROR_AT)); }
	| SINCE STRING					{ CHECK(cdp_predicate_absolute($2, NULL, @2, &$$, ERROR_AT)); }
	| UNTIL STRING					{ CHECK(cdp_predicate_absolute(NULL, $2, @2, &$$, ERROR_AT)); }
	| FROM STRING TO STRING			{ CHECK(cdp_predicate_absolute($2, $4, @2, &$$, ERROR_AT)); }
	;

%%

/* Count a group or not that opens; false when it is one too many */
static bool
enter(CdpPredicateParser *parser, int position)
{
	if (++parser->depth <= CDP_PREDICATE_MAX_DEPTH)
		return true;
	cdp_predicate_fail(&parser->error, position, ERRCODE_STATEMENT_TOO_COMPLEX, "Write it with fewer parentheses and nots.",
					   "predicate is nested more than %d levels deep", CDP_PREDICATE_MAX_DEPTH);
	return false;
}

/* Append the name of a symbol: keywords and signs in quotes, descriptions as they are */
static void
append_symbol(StringInfo buffer, const char *name)
{
	if (name[0] == '\'')
		appendStringInfo(buffer, "\"%c\"", name[1]);
	else if (strchr(name, ' ') != NULL)
		appendStringInfoString(buffer, name);
	else
		appendStringInfo(buffer, "\"%s\"", name);
}

/* Say what could have stood where something else stands */
static int
yyreport_syntax_error(const yypcontext_t *context, void *scanner, CdpPredicateParser *parser)
{
	yysymbol_kind_t expected[YYNTOKENS];
	int n = yypcontext_expected_tokens(context, expected, YYNTOKENS);
	StringInfoData message;
	const char *hint = NULL;
	int length = parser->token_end - parser->token_start;

	if (parser->error.sqlstate != 0)
		return 0;
	initStringInfo(&message);
	appendStringInfoString(&message, "expected ");
	if (n > 1 && expected[0] == YYSYMBOL_YYEOF) /* the end is named last */
	{
		memmove(expected, expected + 1, (n - 1) * sizeof(*expected));
		expected[n - 1] = YYSYMBOL_YYEOF;
	}
	for (int i = 0; i < n; i++)
	{
		if (i > 0)
			appendStringInfoString(&message, i == n - 1 ? " or " : ", ");
		append_symbol(&message, yysymbol_name(expected[i]));
	}
	if (yypcontext_token(context) == YYSYMBOL_YYEOF)
		appendStringInfoString(&message, " but the predicate ends");
	else
	{
		appendStringInfo(&message, " but found \"%.*s\"",
						 pg_mbcliplen(parser->text + parser->token_start, length, 40), parser->text + parser->token_start);
	}
	if (length == 4 && pg_strncasecmp(parser->text + parser->token_start, "null", 4) == 0)
		hint = "To ask whether a trait is there at all, write \"is set\" or \"is not set\".";
	cdp_predicate_fail(&parser->error, *yypcontext_location(context), ERRCODE_SYNTAX_ERROR, hint,
					   "syntax error in predicate: %s", message.data);
	return 0;
}

/* Report what bison finds besides syntax errors: its stack is full */
static void
cdp_predicate_yyerror(int *location, void *scanner, CdpPredicateParser *parser, const char *message)
{
	if (parser->error.sqlstate == 0)
		cdp_predicate_fail(&parser->error, *location, ERRCODE_STATEMENT_TOO_COMPLEX, NULL, "predicate is too complex");
}

/* Parse text into a tree; NULL after an error */
CdpNode *
cdp_predicate_parse_text(const char *text, int length, CdpPredicateError *error)
{
	CdpPredicateParser parser = {.text = text, .length = length};
	void *scanner = cdp_predicate_scan_begin(&parser);
	int failed = cdp_predicate_yyparse(scanner, &parser);

	cdp_predicate_scan_end(scanner);
	*error = parser.error;
	if (failed && error->sqlstate == 0)
		cdp_predicate_fail(error, -1, ERRCODE_SYNTAX_ERROR, NULL, "syntax error in predicate");
	return failed ? NULL : parser.result;
}

/* --- What text and JSON are both made of --- */

/* Note the first error */
void
cdp_predicate_fail(CdpPredicateError *error, int position, int sqlstate, const char *hint, const char *format, ...)
{
	StringInfoData message;

	if (error->sqlstate != 0)
		return;
	initStringInfo(&message);
	for (;;)
	{
		va_list arguments;
		int needed;

		va_start(arguments, format);
		needed = appendStringInfoVA(&message, format, arguments);
		va_end(arguments);
		if (needed == 0)
			break;
		enlargeStringInfo(&message, needed);
	}
	error->sqlstate = sqlstate;
	error->message = message.data;
	error->hint = hint;
	error->position = position;
}

/* Check that a group or not does not nest too deep */
static CdpNode *
check_depth(CdpNode *node, int position, CdpPredicateError *error)
{
	if (node->depth <= CDP_PREDICATE_MAX_DEPTH)
		return node;
	cdp_predicate_fail(error, position, ERRCODE_STATEMENT_TOO_COMPLEX, "Write it with fewer parentheses and nots.",
					   "predicate is nested more than %d levels deep", CDP_PREDICATE_MAX_DEPTH);
	return NULL;
}

/* Append a condition to a group's, or if it is a group of the same kind, its conditions */
static void
add_child(CdpNode *group, CdpNode *child)
{
	if (child->kind == group->kind)
	{
		group->children = list_concat(group->children, child->children);
		group->depth = Max(group->depth, child->depth);
	}
	else
	{
		group->children = lappend(group->children, child);
		group->depth = Max(group->depth, child->depth + 1);
	}
}

/* Put two conditions into one group, in order; the left one is used up */
CdpNode *
cdp_predicate_join(CdpNodeKind kind, CdpNode *left, CdpNode *right, int position, CdpPredicateError *error)
{
	CdpNode *group = left;

	if (left->kind != kind)
	{
		group = palloc0(sizeof(CdpNode));
		group->kind = kind;
		add_child(group, left);
	}
	add_child(group, right);
	return check_depth(group, position, error);
}

/* Make the opposite of a condition */
CdpNode *
cdp_predicate_negate(CdpNode *child, int position, CdpPredicateError *error)
{
	CdpNode *node = palloc0(sizeof(CdpNode));

	node->kind = CDP_NOT;
	node->children = list_make1(child);
	node->depth = child->depth + 1;
	return check_depth(node, position, error);
}

/* Make a condition on something that has a name */
CdpNode *
cdp_predicate_leaf(CdpNodeKind kind, const char *name, int position, CdpPredicateError *error)
{
	CdpNode *node;

	if (name[0] == '\0')
	{
		cdp_predicate_fail(error, position, ERRCODE_SYNTAX_ERROR, "Write the name of a trait, an event or a purpose.",
						   "syntax error in predicate: empty name");
		return NULL;
	}
	node = palloc0(sizeof(CdpNode));
	node->kind = kind;
	node->name = name;
	return node;
}

/* Make a constant; a number's size is bounded, so that no short text becomes a long one */
CdpLiteral *
cdp_predicate_literal(CdpLiteralKind kind, const char *text, int length, int position, CdpPredicateError *error)
{
	CdpLiteral *literal = palloc0(sizeof(CdpLiteral));

	literal->kind = kind;
	if (kind == CDP_STRING)
		literal->text = pnstrdup(text, length);
	else if (kind == CDP_NUMBER)
	{
		const char *exponent = memchr(text, 'e', length);

		if (exponent == NULL)
			exponent = memchr(text, 'E', length);
		if (length > 100 || (exponent != NULL && (length - (exponent - text) > 5 || abs(atoi(exponent + 1)) > 100)))
		{
			cdp_predicate_fail(error, position, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
							   "Numbers have up to 100 digits and exponents from -100 to 100.",
							   "number in predicate is out of range");
			return NULL;
		}
		literal->number = DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(pnstrdup(text, length)),
															  ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	}
	return literal;
}

/* Write a pattern as PostgreSQL does where it differs from others: \b and \B are its \y and \Y */
char *
cdp_predicate_regex(const char *pattern)
{
	char *result = pstrdup(pattern);
	bool in_bracket = false;

	for (char *at = result; *at != '\0'; at++)
	{
		if (*at == '\\' && at[1] != '\0')
		{
			at++;
			if (!in_bracket && (*at == 'b' || *at == 'B'))
				*at += 'y' - 'b';
		}
		else if (in_bracket)
			in_bracket = *at != ']';
		else if (*at == '[')
		{
			in_bracket = true;
			if (at[1] == '^')
				at++;
			if (at[1] == ']') /* the first one is a member of the set */
				at++;
		}
	}
	return result;
}

/* Compile a pattern only to see whether it can be */
static bool
check_regex(const char *pattern, int position, CdpPredicateError *error)
{
	char *translated = cdp_predicate_regex(pattern);
	int length = strlen(translated);
	pg_wchar *wide = palloc((length + 1) * sizeof(pg_wchar));
	int n = pg_mb2wchar_with_len(translated, wide, length);
	regex_t regex;
	char message[100];
	int result = pg_regcomp(&regex, wide, n, REG_ADVANCED | REG_NOSUB, DEFAULT_COLLATION_OID);

	pfree(wide);
	if (result == REG_OKAY)
	{
		pg_regfree(&regex);
		return true;
	}
	pg_regerror(result, &regex, message, sizeof(message));
	cdp_predicate_fail(error, position, ERRCODE_INVALID_REGULAR_EXPRESSION,
					   "Patterns are PostgreSQL's advanced regular expressions.",
					   "invalid regular expression in predicate: %s", message);
	return false;
}

/* Give a leaf its test; the constants must be of a kind that the test can use */
bool
cdp_predicate_test(CdpNode *leaf, CdpOperator op, List *values, int position, CdpPredicateError *error)
{
	ListCell *cell;
	bool wants_string = op == CDP_STARTS_WITH || op == CDP_ENDS_WITH || op == CDP_MATCHES;

	foreach (cell, values)
	{
		CdpLiteral *literal = lfirst(cell);

		if ((leaf->kind == CDP_COUNT && literal->kind != CDP_NUMBER) || (wants_string && literal->kind != CDP_STRING))
		{
			cdp_predicate_fail(error, position, ERRCODE_SYNTAX_ERROR, NULL, "syntax error in predicate: expected %s",
							   wants_string ? "a string" : "a number");
			return false;
		}
	}
	leaf->op = op;
	leaf->values = values;
	return op != CDP_MATCHES || check_regex(((CdpLiteral *) linitial(values))->text, position, error);
}

/* Give a trait its test against the moving clock */
bool
cdp_predicate_moving(CdpNode *leaf, CdpOperator op, const CdpDuration *duration, int position, CdpPredicateError *error)
{
	if (duration->microseconds == 0)
	{
		cdp_predicate_fail(error, position, ERRCODE_INVALID_PARAMETER_VALUE, "Write a duration longer than zero.",
						   "window in predicate is empty");
		return false;
	}
	leaf->op = op;
	leaf->duration = *duration;
	return true;
}

/* Count the microseconds of a unit; 0: unknown, -1: of no fixed length */
static int64
unit_microseconds(const char *unit, int length)
{
	static const struct
	{
		const char *name;
		int64 microseconds;
	} units[] = {{"second", USECS_PER_SEC}, {"minute", USECS_PER_MINUTE}, {"hour", USECS_PER_HOUR}, {"day", USECS_PER_DAY},
				 {"week", 7 * USECS_PER_DAY}, {"month", -1}, {"year", -1}};

	for (int i = 0; i < lengthof(units); i++)
	{
		int n = strlen(units[i].name);

		if (pg_strncasecmp(unit, units[i].name, Min(n, length)) == 0 &&
			(length == n || (length == n + 1 && tolower((unsigned char) unit[n]) == 's')))
			return units[i].microseconds;
	}
	return 0;
}

/* Multiply a decimal number by a unit, exactly; false when it is no number, too large or too fine */
static bool
read_microseconds(const char *number, int length, int64 unit, int64 *microseconds)
{
	int64 whole = 0;
	int64 fraction = 0;
	int64 scale = 0; /* of the fraction; 0 before the point */

	for (int i = 0; i < length; i++)
	{
		if (number[i] == '.' && scale == 0)
			scale = 1;
		else if (number[i] < '0' || number[i] > '9' || scale >= 1000000 || whole > PG_INT32_MAX * INT64CONST(1000))
			return false;
		else if (scale == 0)
			whole = whole * 10 + (number[i] - '0');
		else
		{
			fraction = fraction * 10 + (number[i] - '0');
			scale *= 10;
		}
	}
	/* at most 10,000 years: sums with any timestamp stay within int64 */
	if (whole > INT64CONST(3652425) * USECS_PER_DAY / unit || (scale > 0 && fraction * unit % scale != 0))
		return false;
	*microseconds = whole * unit + (scale > 0 ? fraction * unit / scale : 0);
	return true;
}

/* Make a duration of a number and a unit */
bool
cdp_predicate_duration(const char *number, int number_length, const char *unit, int unit_length, int position,
					   CdpDuration *duration, CdpPredicateError *error)
{
	int64 microseconds = unit_microseconds(unit, unit_length);
	char *text;

	if (microseconds == 0)
		cdp_predicate_fail(error, position, ERRCODE_SYNTAX_ERROR, "Units are seconds, minutes, hours, days and weeks.",
						   "syntax error in predicate: expected a unit of time");
	else if (microseconds < 0)
		cdp_predicate_fail(error, position, ERRCODE_INVALID_PARAMETER_VALUE,
						   "Say days, for example \"30 days\" for a month or \"365 days\" for a year.",
						   "months and years have no fixed length in a rolling window");
	else if (!read_microseconds(number, number_length, microseconds, &duration->microseconds))
		cdp_predicate_fail(error, position, ERRCODE_INVALID_PARAMETER_VALUE,
						   "A duration is a number from 0 to 10,000 years and whole in microseconds, for example \"30 days\".",
						   "duration in predicate is out of range");
	else
	{
		text = psprintf("%.*s %.*s", number_length, number, unit_length, unit);
		for (char *at = text; *at != '\0'; at++)
			*at = pg_tolower((unsigned char) *at);
		duration->text = text;
		return true;
	}
	return false;
}

/* Make a window that moves with the clock; near is NULL in 'within' */
bool
cdp_predicate_rolling(const CdpDuration *far, const CdpDuration *near, int position, CdpWindow *window,
					  CdpPredicateError *error)
{
	memset(window, 0, sizeof(CdpWindow));
	window->kind = CDP_ROLLING;
	window->far = *far;
	if (near != NULL)
		window->near = *near;
	if (window->far.microseconds > window->near.microseconds)
		return true;
	cdp_predicate_fail(error, position, ERRCODE_INVALID_PARAMETER_VALUE,
					   "Write the longer duration first: between 60 days and 30 days ago.", "window in predicate is empty");
	return false;
}

/* Read an instant; none is given where text is NULL */
static bool
read_instant(const char *text, CdpInstant *instant, int position, CdpPredicateError *error)
{
	instant->text = text;
	if (text == NULL || cdp_parse_timestamp(text, strlen(text), &instant->at))
		return true;
	cdp_predicate_fail(error, position, ERRCODE_INVALID_DATETIME_FORMAT,
					   "Write it as '2026-01-31' or '2026-01-31T09:00:00Z'; without a zone it is UTC.",
					   "invalid instant in predicate");
	return false;
}

/* Make a window that stands still; either end may be NULL */
bool
cdp_predicate_absolute(const char *since, const char *until, int position, CdpWindow *window, CdpPredicateError *error)
{
	memset(window, 0, sizeof(CdpWindow));
	window->kind = CDP_ABSOLUTE;
	if (!read_instant(since, &window->since, position, error) || !read_instant(until, &window->until, position, error))
		return false;
	if (since == NULL || until == NULL || window->since.at < window->until.at)
		return true;
	cdp_predicate_fail(error, position, ERRCODE_INVALID_PARAMETER_VALUE, "Write the earlier instant first.",
					   "window in predicate is empty");
	return false;
}
