/*
 * predicate.c
 *		The SQL type cdp.predicate: in and out, order and hash.
 *
 * A value is only ever made here, from text or JSON that was parsed: its program is
 * trusted, for no bytes from outside reach it.  Printing keeps how numbers,
 * durations and instants were written; comparing does not: 1.0 is 1, 24 hours are a
 * day.  So equality is over a second print of the tree, the key.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "segment/predicate.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(cdp_predicate_in);
PG_FUNCTION_INFO_V1(cdp_predicate_out);
PG_FUNCTION_INFO_V1(cdp_predicate_recv);
PG_FUNCTION_INFO_V1(cdp_predicate_send);
PG_FUNCTION_INFO_V1(cdp_predicate_eq);
PG_FUNCTION_INFO_V1(cdp_predicate_ne);
PG_FUNCTION_INFO_V1(cdp_predicate_lt);
PG_FUNCTION_INFO_V1(cdp_predicate_le);
PG_FUNCTION_INFO_V1(cdp_predicate_gt);
PG_FUNCTION_INFO_V1(cdp_predicate_ge);
PG_FUNCTION_INFO_V1(cdp_predicate_cmp);
PG_FUNCTION_INFO_V1(cdp_predicate_hash);
PG_FUNCTION_INFO_V1(cdp_predicate_hash_extended);
PG_FUNCTION_INFO_V1(cdp_predicate_to_jsonb);
PG_FUNCTION_INFO_V1(cdp_predicate_from_jsonb);

/* Show the line of the text that an error stands in, with a caret under the place */
static char *
show_place(const char *text, int length, int position)
{
	StringInfoData out;
	int line = 1;
	int start = 0;
	int character;
	int end;

	for (int i = 0; i < position; i++)
	{
		if (text[i] == '\n')
		{
			line++;
			start = i + 1;
		}
	}
	character = pg_mbstrlen_with_len(text + start, position - start) + 1;
	while (position - start > 60)
		start += pg_mblen(text + start);
	for (end = start; end < length && end - position < 30 && text[end] != '\n';)
		end += pg_mblen(text + end);
	initStringInfo(&out);
	appendStringInfo(&out, "Line %d, character %d:\n", line, character);
	for (int i = start; i < Min(end, length); i++)
		appendStringInfoCharMacro(&out, (unsigned char) text[i] < ' ' ? ' ' : text[i]);
	appendStringInfo(&out, "\n%*s^", pg_mbstrlen_with_len(text + start, position - start), "");
	return out.data;
}

/* Report the error of a parse: softly where the caller wants that and PostgreSQL can */
void
cdp_predicate_report(const CdpPredicateError *error, const char *text, int length, Node *escontext)
{
#if PG_VERSION_NUM >= 160000
	errsave(
		escontext,
#else
	ereport(
		ERROR,
#endif
		(errcode(error->sqlstate), errmsg("%s", error->message),
		 error->position < 0 || length == 0 ? 0 : errdetail("%s", show_place(text, length, error->position)),
		 error->hint == NULL ? 0 : errhint("%s", error->hint)));
}

/* Note that a predicate is too long */
static void
fail_length(CdpPredicateError *error)
{
	cdp_predicate_fail(error, -1, ERRCODE_PROGRAM_LIMIT_EXCEEDED, "Split it into several segments.",
					   "predicate is longer than %d bytes", CDP_PREDICATE_MAX_BYTES);
}

/* Parse text or JSON into a tree; NULL after an error */
static CdpNode *
parse(const char *text, int length, CdpPredicateError *error)
{
	int blank = strspn(text, " \t\r\n\f\v");

	if (length <= CDP_PREDICATE_MAX_BYTES)
		return text[blank] == '{' ? cdp_predicate_parse_json(text, length, error)
								  : cdp_predicate_parse_text(text, length, error);
	fail_length(error);
	return NULL;
}

/* Make a value of text or JSON; NULL after an error that was reported softly */
static CdpPredicate *
make_predicate(const char *text, int length, Node *escontext)
{
	CdpPredicateError error = {.subject = "predicate"};
	CdpNode *tree = parse(text, length, &error);
	char *canonical;
	int canonical_length;

	if (tree != NULL)
	{
		canonical = cdp_predicate_print(tree, CDP_PRINT_TEXT, &canonical_length);
		if (canonical_length <= CDP_PREDICATE_MAX_BYTES)
			return cdp_predicate_compile(tree, canonical, canonical_length);
		fail_length(&error);
	}
	cdp_predicate_report(&error, text, length, escontext);
	return NULL;
}

/* Read a predicate out of a Datum, compiling anew what another version stored */
const CdpPredicate *
cdp_predicate_from_datum(Datum datum)
{
	CdpPredicate *predicate = (CdpPredicate *) PG_DETOAST_DATUM(datum);

	if (predicate->version == CDP_PREDICATE_VERSION)
		return predicate;
	return make_predicate(pnstrdup((char *) predicate + predicate->text, predicate->text_length),
						  predicate->text_length, NULL);
}

/* Parse the text of a value, which was printed from a tree, into that tree */
static CdpNode *
tree_of(const CdpPredicate *predicate)
{
	CdpPredicateError error = {.subject = "predicate"};
	char *text = pnstrdup((const char *) predicate + predicate->text, predicate->text_length);
	CdpNode *tree = parse(text, predicate->text_length, &error);

	if (tree == NULL)
		cdp_predicate_report(&error, text, predicate->text_length, NULL);
	return tree;
}

/* Read a predicate from text or JSON */
Datum
cdp_predicate_in(PG_FUNCTION_ARGS)
{
	char *text = PG_GETARG_CSTRING(0);
	CdpPredicate *predicate = make_predicate(text, strlen(text), fcinfo->context);

	if (predicate == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(predicate);
}

/* Print a predicate's canonical text */
Datum
cdp_predicate_out(PG_FUNCTION_ARGS)
{
	const CdpPredicate *predicate = cdp_predicate_from_datum(PG_GETARG_DATUM(0));

	PG_RETURN_CSTRING(pnstrdup((const char *) predicate + predicate->text, predicate->text_length));
}

/* Read a predicate from the wire: the version of the language and a text */
Datum
cdp_predicate_recv(PG_FUNCTION_ARGS)
{
	StringInfo buffer = (StringInfo) PG_GETARG_POINTER(0);
	int version = pq_getmsgbyte(buffer);
	char *text;
	int length;

	if (version != CDP_PREDICATE_VERSION)
		ereport(ERROR, (errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
						errmsg("unsupported version %d of type cdp.predicate", version),
						errhint("This library reads version %d.", CDP_PREDICATE_VERSION)));
	text = pq_getmsgtext(buffer, buffer->len - buffer->cursor, &length);
	PG_RETURN_POINTER(make_predicate(text, length, NULL));
}

/* Write a predicate to the wire */
Datum
cdp_predicate_send(PG_FUNCTION_ARGS)
{
	const CdpPredicate *predicate = cdp_predicate_from_datum(PG_GETARG_DATUM(0));
	StringInfoData buffer;

	pq_begintypsend(&buffer);
	pq_sendbyte(&buffer, CDP_PREDICATE_VERSION);
	pq_sendtext(&buffer, (const char *) predicate + predicate->text, predicate->text_length);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buffer));
}

/* Compare two predicates: by their keys, if their texts differ */
static int
compare(Datum a_datum, Datum b_datum)
{
	MemoryContext work =
		AllocSetContextCreate(CurrentMemoryContext, "cdp predicate comparison", ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(work);
	const CdpPredicate *a = cdp_predicate_from_datum(a_datum);
	const CdpPredicate *b = cdp_predicate_from_datum(b_datum);
	int length;
	int result = 0;

	if (a->text_length != b->text_length ||
		memcmp((const char *) a + a->text, (const char *) b + b->text, a->text_length) != 0)
		result = strcmp(cdp_predicate_print(tree_of(a), CDP_PRINT_KEY, &length),
						cdp_predicate_print(tree_of(b), CDP_PRINT_KEY, &length));
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
	return result < 0 ? -1 : result > 0;
}

/* Say whether two predicates are equal */
Datum
cdp_predicate_eq(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)) == 0);
}

/* Say whether two predicates differ */
Datum
cdp_predicate_ne(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)) != 0);
}

/* Say whether one predicate sorts before another; the order means nothing but is total */
Datum
cdp_predicate_lt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)) < 0);
}

/* Say whether one predicate sorts before another or equals it */
Datum
cdp_predicate_le(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)) <= 0);
}

/* Say whether one predicate sorts after another */
Datum
cdp_predicate_gt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)) > 0);
}

/* Say whether one predicate sorts after another or equals it */
Datum
cdp_predicate_ge(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)) >= 0);
}

/* Compare two predicates for a b-tree */
Datum
cdp_predicate_cmp(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(compare(PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)));
}

/* Hash a predicate's key */
Datum
cdp_predicate_hash(PG_FUNCTION_ARGS)
{
	int length;
	char *key =
		cdp_predicate_print(tree_of(cdp_predicate_from_datum(PG_GETARG_DATUM(0))), CDP_PRINT_KEY, &length);

	return hash_any((unsigned char *) key, length);
}

/* Hash a predicate's key with a seed, to 64 bits */
Datum
cdp_predicate_hash_extended(PG_FUNCTION_ARGS)
{
	int length;
	char *key =
		cdp_predicate_print(tree_of(cdp_predicate_from_datum(PG_GETARG_DATUM(0))), CDP_PRINT_KEY, &length);

	return hash_any_extended((unsigned char *) key, length, PG_GETARG_INT64(1));
}

/* Print a predicate as JSON */
Datum
cdp_predicate_to_jsonb(PG_FUNCTION_ARGS)
{
	StringInfoData out;

	initStringInfo(&out);
	cdp_predicate_print_json(&out, tree_of(cdp_predicate_from_datum(PG_GETARG_DATUM(0))));
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(out.data));
}

/* Read a predicate from JSON */
Datum
cdp_predicate_from_jsonb(PG_FUNCTION_ARGS)
{
	Jsonb *document = PG_GETARG_JSONB_P(0);
	StringInfoData text;
	CdpPredicate *predicate;

	initStringInfo(&text);
	JsonbToCString(&text, &document->root, VARSIZE(document));
	if (text.data[0] != '{')
		ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR), errmsg("a condition must be a JSON object"),
						errhint("The JSON form of a predicate is described in docs/segment.md.")));
	predicate = make_predicate(text.data, text.len, NULL);
	PG_RETURN_POINTER(predicate);
}
