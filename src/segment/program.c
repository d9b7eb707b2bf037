/*
 * program.c
 *		Trees to programs: what a value holds behind its header.
 *
 * Nodes stand in prefix order, each with the index of the one after its subtree;
 * constants, intervals and names follow, each at a multiple of 8 bytes, then the
 * canonical text.  A count's comparison becomes the counts it accepts, as intervals
 * sorted and apart, so that evaluation knows no operator of counts.
 *
 * The text is at most CDP_PREDICATE_MAX_BYTES long, which bounds everything here: 16
 * bits hold the nodes and the constants of one of them.
 */
#include "postgres.h"

#include "segment/predicate.h"
#include "segment/window.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define MAX_COUNT PG_INT64_MAX
#define LARGE_COUNT (PG_INT64_MAX / 2) /* stands for larger constants: no count gets there */

typedef struct Program
{
	StringInfoData bytes;
	uint16 n_nodes; /* emitted */
} Program;

#define PROGRAM_NODE(program, i) (&((CdpPredicate *) (program)->bytes.data)->nodes[i])

/* Count the nodes of a tree */
static int
count_nodes(const CdpNode *node)
{
	int n = 1;
	ListCell *cell;

	foreach (cell, node->children)
		n += count_nodes(lfirst(cell));
	return n;
}

/* Append bytes at a multiple of 8; returns their offset */
static uint32
append_aligned(Program *program, const void *bytes, int length)
{
	uint32 offset;

	while (program->bytes.len % 8 != 0)
		appendStringInfoCharMacro(&program->bytes, '\0');
	offset = program->bytes.len;
	appendBinaryStringInfo(&program->bytes, bytes, length);
	return offset;
}

/* Append the constants of a trait's test */
static void
emit_constants(Program *program, int index, const CdpNode *leaf)
{
	int n = list_length(leaf->values);
	CdpConstant *constants = palloc0(Max(n, 1) * sizeof(CdpConstant));
	ListCell *cell;
	uint32 offset;

	foreach (cell, leaf->values)
	{
		const CdpLiteral *literal = lfirst(cell);
		CdpConstant *constant = &constants[foreach_current_index(cell)];
		text *string;

		constant->kind = literal->kind;
		if (literal->kind == CDP_NUMBER)
			constant->offset = append_aligned(program, literal->number, VARSIZE(literal->number));
		else if (literal->kind == CDP_STRING)
		{
			string =
				cstring_to_text(leaf->op == CDP_MATCHES ? cdp_predicate_regex(literal->text) : literal->text);
			constant->offset = append_aligned(program, string, VARSIZE(string));
		}
	}
	offset = append_aligned(program, constants, n * sizeof(CdpConstant));
	PROGRAM_NODE(program, index)->values = offset;
	PROGRAM_NODE(program, index)->n_values = n;
}

/* Round a number down to a count, with everything out of range as -1 or LARGE_COUNT */
static int64
floor_count(Numeric number)
{
	char *digits = DatumGetCString(
		DirectFunctionCall1(numeric_out, DirectFunctionCall1(numeric_floor, NumericGetDatum(number))));

	if (digits[0] == '-')
		return -1;
	return strlen(digits) > 18 ? LARGE_COUNT : strtoll(digits, NULL, 10);
}

/* Round a number up likewise */
static int64
ceil_count(Numeric number)
{
	Datum minus = DirectFunctionCall1(numeric_uminus, NumericGetDatum(number));
	char *digits =
		DatumGetCString(DirectFunctionCall1(numeric_out, DirectFunctionCall1(numeric_floor, minus)));

	if (digits[0] != '-')
		return 0; /* not above zero, and no count is below */
	return strlen(digits) > 19 ? LARGE_COUNT : strtoll(digits + 1, NULL, 10);
}

/* Order intervals by their beginning */
static int
compare_intervals(const void *a, const void *b)
{
	int64 x = ((const CdpInterval *) a)->first;
	int64 y = ((const CdpInterval *) b)->first;

	return x < y ? -1 : x > y;
}

/* Write what a positive operator accepts as intervals, sorted and apart; returns how many */
static int
accepted_counts(CdpOperator op, List *values, CdpInterval *intervals)
{
	ListCell *cell;
	int n = 0;
	int merged = 0;

	foreach (cell, values)
	{
		Numeric number = ((CdpLiteral *) lfirst(cell))->number;
		CdpInterval interval = {ceil_count(number), floor_count(number)}; /* empty unless whole */

		if (op == CDP_LESS || op == CDP_LESS_EQUAL)
			interval = (CdpInterval){0, op == CDP_LESS ? interval.first - 1 : interval.last};
		else if (op == CDP_GREATER || op == CDP_GREATER_EQUAL)
			interval = (CdpInterval){op == CDP_GREATER ? interval.last + 1 : interval.first, MAX_COUNT};
		else if (op == CDP_BETWEEN)
			interval.last = floor_count(((CdpLiteral *) lsecond(values))->number);
		if (interval.first <= interval.last)
			intervals[n++] = interval;
		if (op == CDP_BETWEEN)
			break;
	}
	qsort(intervals, n, sizeof(CdpInterval), compare_intervals);
	for (int i = 0; i < n; i++)
	{
		if (merged > 0 && intervals[i].first <= intervals[merged - 1].last + 1)
			intervals[merged - 1].last = Max(intervals[merged - 1].last, intervals[i].last);
		else
			intervals[merged++] = intervals[i];
	}
	return merged;
}

/* Replace intervals by the gaps between them; there is room for one more; returns how many */
static int
complement(CdpInterval *intervals, int n)
{
	int64 from = 0;
	int gaps = 0;

	for (int i = 0; i < n; i++)
	{
		CdpInterval interval = intervals[i];

		if (interval.first > from)
			intervals[gaps++] = (CdpInterval){from, interval.first - 1};
		from = interval.last + 1;
	}
	intervals[gaps++] = (CdpInterval){from, MAX_COUNT};
	return gaps;
}

/* Append the counts that a count's test accepts, and its window */
static void
emit_count(Program *program, int index, const CdpNode *leaf)
{
	CdpInterval *intervals = palloc0((list_length(leaf->values) + 1) * sizeof(CdpInterval));
	bool is_negative = leaf->op == CDP_NOT_EQUAL || leaf->op == CDP_NOT_IN;
	int n = accepted_counts(is_negative ? CDP_IN : leaf->op, leaf->values, intervals);
	const CdpWindow *window = &leaf->window;
	CdpProgramNode *node;
	uint32 offset;

	if (is_negative)
		n = complement(intervals, n);
	offset = append_aligned(program, intervals, n * sizeof(CdpInterval));
	node = PROGRAM_NODE(program, index);
	node->values = offset;
	node->n_values = n;
	node->window = window->kind;
	cdp_window_bounds(window, &node->near, &node->far);
}

/* Append a condition and those inside it */
static void
emit_node(Program *program, const CdpNode *tree)
{
	int index = program->n_nodes++;
	uint32 offset;
	ListCell *cell;

	PROGRAM_NODE(program, index)->kind = tree->kind;
	PROGRAM_NODE(program, index)->op = tree->op;
	if (tree->kind == CDP_TRAIT)
	{
		emit_constants(program, index, tree);
		PROGRAM_NODE(program, index)->far = tree->duration.microseconds;
	}
	else if (tree->kind == CDP_COUNT)
		emit_count(program, index, tree);
	if (tree->name != NULL)
	{
		offset = append_aligned(program, tree->name, strlen(tree->name));
		PROGRAM_NODE(program, index)->name = offset;
		PROGRAM_NODE(program, index)->name_length = strlen(tree->name);
	}
	foreach (cell, tree->children)
		emit_node(program, lfirst(cell));
	PROGRAM_NODE(program, index)->end = program->n_nodes;
}

/* Make a value of a tree and its canonical text */
CdpPredicate *
cdp_predicate_compile(const CdpNode *tree, const char *text, int text_length)
{
	Program program = {.n_nodes = 0};
	Size size = offsetof(CdpPredicate, nodes) + count_nodes(tree) * sizeof(CdpProgramNode);
	CdpPredicate *predicate;
	uint32 offset;

	initStringInfo(&program.bytes);
	enlargeStringInfo(&program.bytes, size);
	memset(program.bytes.data, 0, size);
	program.bytes.len = size;
	emit_node(&program, tree);
	offset = append_aligned(&program, text, text_length);
	predicate = (CdpPredicate *) program.bytes.data;
	predicate->version = CDP_PREDICATE_VERSION;
	predicate->n_nodes = program.n_nodes;
	predicate->text = offset;
	predicate->text_length = text_length;
	SET_VARSIZE(predicate, program.bytes.len);
	return predicate;
}
