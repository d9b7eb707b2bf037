%code top {
/*
 * predicate_parse.y
 *		The grammar of the segment language (docs/segment.md has it as a table), which has two
 *		sentences: a condition, and what a computed trait is.
 *
 * Groups and nots are counted as they open, so that no input can nest deeper than
 * later walks may recurse; everything else is left recursive and bounded by the
 * length of the text.  Errors are noted in the parser, never raised.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
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
	CdpAggregate aggregate;
	CdpLiteral *value;
	List *values;
	CdpDuration duration;
	CdpWindow window;
	struct { CdpOperator op; List *values; } test;
	CdpNode *node;
}

%token END 0 "the end" START_PREDICATE START_COMPUTATION /* the scanner gives one of these first */
%token <text> STRING "a string" NAME "the trait's name" WORDS "a name" UNIT "a unit of time"
%token <number> NUMBER "a number"
%token <literal> BOOLEAN_P "a boolean"
%token <aggregate> AGGREGATE "an aggregate (count sum avg min max most_frequent first last unique_list unique_count)"
%token <op> COMPARISON "a comparison (= != < <= > >=)"
%token WORD "a word"
%token TRAIT "trait" DID "did" COUNT "count" CONSENTS "consents" TO "to" AND "and" OR "or" NOT "not" IN_P "in"
%token BETWEEN "between" CONTAINS "contains" STARTS "starts" ENDS "ends" WITH "with" MATCHES "matches" IS "is" SET "set"
%token WITHIN "within" LAST "last" NEXT "next" SINCE "since" UNTIL "until" FROM "from" AGO "ago" EVER "ever"

%type <node> computation disjunction conjunction factor leaf trait
%type <text> event name
%type <test> numbers_test
%type <value> literal number string
%type <values> literals numbers
%type <duration> duration
%type <window> window

%%

sentence:
	START_PREDICATE disjunction		{ (void) yynerrs; parser->result = $2; } /* bison counts in vain: no warning */
	| START_COMPUTATION computation	{ parser->result = $2; }
	;

computation:
	AGGREGATE '(' name ')' window
		{
			CHECK($$ = cdp_predicate_computation($1, $3, NULL, @3, ERROR_AT));
			$$->window = $5;
		}
	| AGGREGATE '(' name '.' name ')' window
		{
			CHECK($$ = cdp_predicate_computation($1, $3, $5, @3, ERROR_AT));
			$$->window = $7;
		}
	;

name:
	STRING
	| WORDS
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
		appendStringInfo(&message, " but the %s ends", parser->error.subject);
	else
	{
		appendStringInfo(&message, " but found \"%.*s\"",
						 pg_mbcliplen(parser->text + parser->token_start, length, 40), parser->text + parser->token_start);
	}
	if (length == 4 && pg_strncasecmp(parser->text + parser->token_start, "null", 4) == 0)
		hint = "To ask whether a trait is there at all, write \"is set\" or \"is not set\".";
	cdp_predicate_fail(&parser->error, *yypcontext_location(context), ERRCODE_SYNTAX_ERROR, hint,
					   "syntax error in %s: %s", parser->error.subject, message.data);
	return 0;
}

/* Report what bison finds besides syntax errors: its stack is full */
static void
cdp_predicate_yyerror(int *location, void *scanner, CdpPredicateParser *parser, const char *message)
{
	if (parser->error.sqlstate == 0)
		cdp_predicate_fail(&parser->error, *location, ERRCODE_STATEMENT_TOO_COMPLEX, NULL, "%s is too complex",
						   parser->error.subject);
}

/* Parse a sentence that begins with a token into a tree; NULL after an error */
static CdpNode *
parse_sentence(int start, const char *text, int length, CdpPredicateError *error)
{
	CdpPredicateParser parser = {.text = text, .length = length, .start = start, .error = *error};
	void *scanner = cdp_predicate_scan_begin(&parser);
	int failed = cdp_predicate_yyparse(scanner, &parser);

	cdp_predicate_scan_end(scanner);
	*error = parser.error;
	if (failed && error->sqlstate == 0)
		cdp_predicate_fail(error, -1, ERRCODE_SYNTAX_ERROR, NULL, "syntax error in %s", error->subject);
	return failed ? NULL : parser.result;
}

/* Parse the text of a condition into a tree; NULL after an error */
CdpNode *
cdp_predicate_parse_text(const char *text, int length, CdpPredicateError *error)
{
	return parse_sentence(START_PREDICATE, text, length, error);
}

/* Parse the text of a computed trait into a tree of one node; NULL after an error */
CdpNode *
cdp_computation_parse_text(const char *text, int length, CdpPredicateError *error)
{
	return parse_sentence(START_COMPUTATION, text, length, error);
}
