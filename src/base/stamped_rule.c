/*
 * stamped_rule.c
 *		Which of several entries of one name survives: the rules of stamped maps.
 *
 * Each entry says by which rule it is merged, so merging needs no table.  Whatever the
 * rule, the result does not depend on the order in which entries are merged, nor on how
 * they are grouped.  Entries of two rules meet by hand only, or where a steward locked a
 * value: then all but those of the stronger rule are as if never said.
 *
 * Most rules keep one of the entries.  most_frequent and union keep a list of values in
 * the entry's own, sum the sum; so these two count what is merged twice as said twice:
 * most_frequent and sum.  docs/base.md describes what they keep.
 */
#include "postgres.h"

#include "base/base.h"
#include "common/int.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

/* By what two entries are compared, and what is said of the one that loses by it. */
typedef enum Key
{
	END,
	LATER,
	EARLIER,
	RANK,
	GREATER,
	SMALLER,
	BYTES
} Key;

static const char *const losses[] = {
	[LATER] = "older",	[EARLIER] = "later", [RANK] = "of a source of lower rank", [GREATER] = "lower",
	[SMALLER] = "higher", [BYTES] = "the smaller value"};

typedef struct Rule
{
	const char *name;
	Key keys[5]; /* END at once: what is kept is made of all entries */
} Rule;

static const Rule rules[CDP_STAMPED_RULES] = {
	[CDP_STAMPED_LATEST] = {"latest", {LATER, RANK, BYTES}},
	[CDP_STAMPED_LOCKED] = {"locked", {LATER, RANK, BYTES}},
	[CDP_STAMPED_EARLIEST] = {"earliest", {EARLIER, RANK, BYTES}},
	[CDP_STAMPED_PREFERRED] = {"preferred", {RANK, LATER, BYTES}},
	[CDP_STAMPED_FIRST_NON_EMPTY] = {"first_non_empty", {EARLIER, RANK, BYTES}},
	[CDP_STAMPED_HIGHEST] = {"highest", {GREATER, LATER, RANK, BYTES}},
	[CDP_STAMPED_LOWEST] = {"lowest", {SMALLER, LATER, RANK, BYTES}},
	[CDP_STAMPED_MOST_FREQUENT] = {"most_frequent"},
	[CDP_STAMPED_SUM] = {"sum"},
	[CDP_STAMPED_UNION] = {"union"},
	[CDP_STAMPED_COMPUTED] = {"computed", {LATER, RANK, BYTES}}};

/* One of the values that most_frequent and union keep; it points into the entry it was read from. */
typedef struct Candidate
{
	JsonbValue value; /* a scalar, or jbvBinary */
	int64 count; /* of union 0 */
	TimestampTz at;
	int16 rank; /* of union 0 */
	uint64 hash; /* of the value, where it is needed */
} Candidate;

typedef struct Candidates
{
	CdpStampedRule rule;
	Candidate *items;
	int n;
} Candidates;

const char *
cdp_stamped_rule_name(CdpStampedRule rule)
{
	return rules[rule].name;
}

int
cdp_stamped_rule_of(const char *name, int length)
{
	for (int i = 0; i < CDP_STAMPED_RULES; i++)
	{
		if (strncmp(rules[i].name, name, length) == 0 && rules[i].name[length] == '\0')
			return i;
	}
	return -1;
}

/* What a steward locked goes before every rule. */
static bool
is_stronger(CdpStampedRule a, CdpStampedRule b)
{
	return b != CDP_STAMPED_LOCKED && (a == CDP_STAMPED_LOCKED || a > b);
}

#define ORDER(a, b)                                                                                                    \
	if ((a) != (b))                                                                                                    \
	return (a) > (b) ? 1 : -1

static JsonbValue
value_of(const Jsonb *value)
{
	JsonbContainer *root = unconstify(JsonbContainer *, &value->root);
	JsonbValue v;

	if (!JsonbExtractScalar(root, &v))
	{
		v.type = jbvBinary;
		v.val.binary.data = root;
		v.val.binary.len = VARSIZE(value) - VARHDRSZ;
	}
	return v;
}

/* Order values: null, strings bytewise, numbers, false, true, arrays, objects; 0 of numbers that are equal, and of containers. */
static int
compare_values(const JsonbValue *a, const JsonbValue *b)
{
	int c;

	ORDER(a->type, b->type);
	switch (a->type)
	{
		case jbvString:
			c = memcmp(a->val.string.val, b->val.string.val, Min(a->val.string.len, b->val.string.len));
			return c != 0 ? c : a->val.string.len - b->val.string.len;
		case jbvNumeric:
			return DatumGetInt32(
				DirectFunctionCall2(numeric_cmp, NumericGetDatum(a->val.numeric), NumericGetDatum(b->val.numeric)));
		case jbvBool:
			return a->val.boolean - b->val.boolean;
		case jbvBinary:
			return JsonContainerIsObject(a->val.binary.data) - JsonContainerIsObject(b->val.binary.data);
		default:
			return 0;
	}
}

/* > 0: a goes before b by a key. */
static int
compare_by(Key key, const CdpStampedEntry *a, const CdpStampedEntry *b, CdpStampedTie tie)
{
	JsonbValue x, y;

	switch (key)
	{
		case LATER:
			return a->at > b->at ? 1 : a->at < b->at ? -1 : 0;
		case EARLIER:
			return a->at < b->at ? 1 : a->at > b->at ? -1 : 0;
		case RANK:
			return a->rank - b->rank;
		case GREATER:
		case SMALLER:
			x = value_of(a->value);
			y = value_of(b->value);
			return key == GREATER ? compare_values(&x, &y) : compare_values(&y, &x);
		case BYTES:
			return tie(a->value, b->value);
		case END:
			break;
	}
	return 0;
}

/* By which key of their rule a goes before b, or (negative) b before a; END: they are the same. */
static int
decide(const CdpStampedEntry *a, const CdpStampedEntry *b, CdpStampedTie tie)
{
	for (const Key *key = rules[a->rule].keys; *key != END; key++)
	{
		int c = compare_by(*key, a, b, tie);

		if (c != 0)
			return c > 0 ? (int) *key : -(int) *key;
	}
	return END;
}

/* --- Lists of candidates --- */

/* A value as it is counted: 1.50 is 1.5, so that equal numbers are the same bytes. */
static JsonbValue
plain(JsonbValue v)
{
	if (v.type == jbvNumeric)
		v.val.numeric = DatumGetNumeric(DirectFunctionCall1(numeric_trim_scale, NumericGetDatum(v.val.numeric)));
	return v;
}

/* A member of a candidate; false when there is none of that type. */
static bool
member(JsonbContainer *pair, int i, enum jbvType type, JsonbValue *v)
{
	JsonbValue *found = getIthJsonbValueFromContainer(pair, i);

	if (found == NULL || found->type != type)
		return false;
	*v = *found;
	return true;
}

/* A whole number in a range; false when it is none. */
static bool
read_integer(Numeric number, int64 least, int64 most, int64 *result)
{
	char *text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(number)));
	char *end;

	errno = 0;
	*result = strtoll(text, &end, 10);
	return *end == '\0' && errno == 0 && *result >= least && *result <= most;
}

/* Read [value, count, at, rank], of union [value, at]; false when it is not that. */
static bool
read_candidate(CdpStampedRule rule, JsonbContainer *pair, Candidate *candidate)
{
	bool is_counted = rule == CDP_STAMPED_MOST_FREQUENT;
	JsonbValue v;
	int64 rank = 0;

	if (!JsonContainerIsArray(pair) || JsonContainerSize(pair) != (is_counted ? 4 : 2))
		return false;
	candidate->value = plain(*getIthJsonbValueFromContainer(pair, 0));
	candidate->count = 0;
	if (is_counted &&
		(!member(pair, 1, jbvNumeric, &v) || !read_integer(v.val.numeric, 1, PG_INT64_MAX, &candidate->count) ||
		 !member(pair, 3, jbvNumeric, &v) || !read_integer(v.val.numeric, -PG_INT16_MAX, PG_INT16_MAX, &rank)))
		return false;
	candidate->rank = rank;
	return member(pair, is_counted ? 2 : 1, jbvString, &v) &&
		   cdp_parse_timestamp(v.val.string.val, v.val.string.len, &candidate->at);
}

/* Add the candidates of an entry's value; false when it is no list of them. */
static bool
read_candidates(Candidates *list, const Jsonb *value)
{
	JsonbContainer *array = unconstify(JsonbContainer *, &value->root);
	int n = JsonContainerSize(array);

	if (!JB_ROOT_IS_ARRAY(value) || JB_ROOT_IS_SCALAR(value))
		return false;
	list->items = list->items == NULL ? palloc(sizeof(Candidate) * (Size) (n + 1))
									  : repalloc_huge(list->items, sizeof(Candidate) * ((Size) list->n + n + 1));
	for (int i = 0; i < n; i++)
	{
		JsonbValue pair;

		CHECK_FOR_INTERRUPTS();
		if (!member(array, i, jbvBinary, &pair) || !read_candidate(list->rule, pair.val.binary.data, &list->items[list->n]))
			return false;
		list->n++;
	}
	return true;
}

static int
compare_candidates(const void *a, const void *b)
{
	const JsonbValue *p = &((const Candidate *) a)->value;
	const JsonbValue *q = &((const Candidate *) b)->value;
	int c = compare_values(p, q);

	if (c != 0 || p->type != jbvBinary)
		return c;
	c = memcmp(p->val.binary.data, q->val.binary.data, Min(p->val.binary.len, q->val.binary.len));
	return c != 0 ? c : p->val.binary.len - q->val.binary.len;
}

/* Of union the latest first. */
static int
compare_times(const void *a, const void *b)
{
	const Candidate *p = a;
	const Candidate *q = b;

	ORDER(q->at, p->at);
	return compare_candidates(b, a);
}

static uint64
hash_of(const Candidate *candidate)
{
	JsonbValue v = candidate->value;
	const Jsonb *value = JsonbValueToJsonb(&v);

	return cdp_hash64(value, VARSIZE(value), 0);
}

/* A fixed selection of values, whatever is said of them. */
static int
compare_hashes(const void *a, const void *b)
{
	const Candidate *p = a;
	const Candidate *q = b;

	ORDER(p->hash, q->hash);
	return compare_candidates(a, b);
}

/* Each value once, in their order, and of too many the same selection in whatever order they come. */
static void
settle(Candidates *list)
{
	int kept = 0;

	qsort(list->items, list->n, sizeof(Candidate), compare_candidates);
	for (int i = 0; i < list->n; i++)
	{
		const Candidate *item = &list->items[i];
		Candidate *last;

		if (kept == 0 || compare_candidates(&list->items[kept - 1], item) != 0)
		{
			list->items[kept++] = *item;
			continue;
		}
		last = &list->items[kept - 1];
		if (pg_add_s64_overflow(last->count, item->count, &last->count))
			last->count = PG_INT64_MAX;
		if (item->at > last->at || (item->at == last->at && item->rank > last->rank))
		{
			last->at = item->at;
			last->rank = item->rank;
		}
	}
	list->n = kept;
	if (kept <= CDP_STAMPED_MAX_CANDIDATES)
		return;
	for (int i = 0; i < kept && list->rule != CDP_STAMPED_UNION; i++)
		list->items[i].hash = hash_of(&list->items[i]);
	qsort(list->items, list->n, sizeof(Candidate), list->rule == CDP_STAMPED_UNION ? compare_times : compare_hashes);
	list->n = CDP_STAMPED_MAX_CANDIDATES;
	qsort(list->items, list->n, sizeof(Candidate), compare_candidates);
}

static void
push_number(JsonbParseState **state, int64 n)
{
	JsonbValue value = {.type = jbvNumeric};

	value.val.numeric = int64_to_numeric(n);
	pushJsonbValue(state, WJB_ELEM, &value);
}

static const Jsonb *
write_candidates(const Candidates *list)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < list->n; i++)
	{
		Candidate *item = &list->items[i];
		JsonbValue at = {.type = jbvString};
		char *text = palloc(CDP_TIMESTAMP_BYTES);

		cdp_format_timestamp(item->at, text);
		at.val.string.val = text;
		at.val.string.len = strlen(text);
		pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
		pushJsonbValue(&state, WJB_ELEM, &item->value);
		if (list->rule == CDP_STAMPED_MOST_FREQUENT)
			push_number(&state, item->count);
		pushJsonbValue(&state, WJB_ELEM, &at);
		if (list->rule == CDP_STAMPED_MOST_FREQUENT)
			push_number(&state, item->rank);
		pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}

/* The list of an entry, which a map holds. */
static Candidates
candidates_of(const CdpStampedEntry *entry)
{
	Candidates list = {entry->rule};

	if (!read_candidates(&list, entry->value))
		elog(ERROR, "malformed list in a stamped map");
	return list;
}

/* > 0: a was said more often than b, or else what the ties say; the key in *key (END: the count). */
static int
compare_frequency(const Candidate *a, const Candidate *b, Key *key)
{
	*key = END;
	ORDER(a->count, b->count);
	*key = LATER;
	ORDER(a->at, b->at);
	*key = RANK;
	ORDER(a->rank, b->rank);
	*key = BYTES;
	return compare_candidates(a, b);
}

/* The value said most often, or NULL. */
static const Candidate *
most_frequent(const Candidates *list)
{
	const Candidate *best = NULL;
	Key key;

	for (int i = 0; i < list->n; i++)
	{
		if (best == NULL || compare_frequency(&list->items[i], best, &key) > 0)
			best = &list->items[i];
	}
	return best;
}

/* --- What is made of all entries --- */

/* May a number be added up? Bounded, so that a sum can be written and read again whatever is in it. */
static bool
is_addable(const Jsonb *value, int most_digits)
{
	JsonbValue v;
	char *text;
	char *point;

	if (!JsonbExtractScalar(unconstify(JsonbContainer *, &value->root), &v) || v.type != jbvNumeric)
		return false;
	text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(v.val.numeric)));
	point = strchr(text, '.');
	text += *text == '-';
	return (point == NULL ? strlen(text) : point - text) <= most_digits &&
		   (point == NULL || strlen(point + 1) <= CDP_STAMPED_MAX_DIGITS);
}

static const Jsonb *
add(const Jsonb *a, const Jsonb *b)
{
	JsonbValue x, y;

	JsonbExtractScalar(unconstify(JsonbContainer *, &a->root), &x);
	JsonbExtractScalar(unconstify(JsonbContainer *, &b->root), &y);
	x.val.numeric = DatumGetNumeric(
		DirectFunctionCall2(numeric_add, NumericGetDatum(x.val.numeric), NumericGetDatum(y.val.numeric)));
	return JsonbValueToJsonb(&x);
}

/* Merge the entries of a rule that keeps something of all of them. */
static CdpStampedEntry
gather_up(const CdpStampedEntry *entries, int n, CdpStampedRule rule)
{
	CdpStampedEntry result = {NULL};
	Candidates list = {rule};

	for (int i = 0; i < n; i++)
	{
		const CdpStampedEntry *entry = &entries[i];
		const Jsonb *value = result.value;

		if (entry->rule != rule)
			continue;
		if (value == NULL || entry->at > result.at || (entry->at == result.at && entry->rank > result.rank))
			result = *entry;
		result.value = rule == CDP_STAMPED_SUM && value != NULL ? add(value, entry->value) : entry->value;
		if (rule != CDP_STAMPED_SUM && !read_candidates(&list, entry->value))
			elog(ERROR, "malformed list in a stamped map");
	}
	if (rule != CDP_STAMPED_SUM)
	{
		settle(&list);
		result.value = write_candidates(&list);
	}
	return result;
}

/* Does a rule keep something of all entries? */
static inline bool
gathers(CdpStampedRule rule)
{
	return rules[rule].keys[0] == END;
}

CdpStampedEntry
cdp_stamped_survivor(const CdpStampedEntry *entries, int n, CdpStampedTie tie)
{
	CdpStampedEntry best = entries[0];
	int n_of_rule = 1;

	for (int i = 1; i < n; i++)
	{
		const CdpStampedEntry *entry = &entries[i];

		if (entry->rule == best.rule)
		{
			n_of_rule++;
			if (decide(entry, &best, tie) > 0)
				best = *entry;
		}
		else if (is_stronger(entry->rule, best.rule))
		{
			best = *entry;
			n_of_rule = 1;
		}
	}
	return n_of_rule > 1 && gathers(best.rule) ? gather_up(entries, n, best.rule) : best;
}

const char *
cdp_stamped_objection(CdpStampedRule rule, const Jsonb *value)
{
	if (rule == CDP_STAMPED_SUM)
		return is_addable(value, CDP_STAMPED_MAX_DIGITS) ? NULL : "not a number that can be added";
	return gathers(rule) && VARSIZE(value) > CDP_STAMPED_MAX_CANDIDATE_BYTES ? "too long to be kept beside others" : NULL;
}

void
cdp_stamped_begin(CdpStampedEntry *entry, const Jsonb *const *values, int n)
{
	Candidates list = {entry->rule};

	if (!gathers(entry->rule) || entry->rule == CDP_STAMPED_SUM)
	{
		entry->value = values[0];
		return;
	}
	list.items = palloc_extended(sizeof(Candidate) * ((Size) n + 1), MCXT_ALLOC_HUGE);
	for (int i = 0; i < n; i++)
		list.items[list.n++] = (Candidate) {plain(value_of(values[i])), 1, entry->at, entry->rank};
	settle(&list);
	entry->value = write_candidates(&list);
}

bool
cdp_stamped_check(CdpStampedEntry *entry)
{
	Candidates list = {entry->rule};

	if (entry->rule == CDP_STAMPED_SUM)
		return is_addable(entry->value, 2 * CDP_STAMPED_MAX_DIGITS);
	if (!gathers(entry->rule))
		return true;
	if (!read_candidates(&list, entry->value) || (list.n == 0 && entry->rule == CDP_STAMPED_MOST_FREQUENT))
		return false;
	settle(&list);
	entry->value = write_candidates(&list);
	return true;
}

const Jsonb *
cdp_stamped_value(const CdpStampedEntry *entry)
{
	Candidates list;
	JsonbParseState *state = NULL;

	if (!gathers(entry->rule) || entry->rule == CDP_STAMPED_SUM)
		return entry->value;
	list = candidates_of(entry);
	if (entry->rule == CDP_STAMPED_MOST_FREQUENT)
	{
		JsonbValue v = most_frequent(&list)->value;

		return JsonbValueToJsonb(&v);
	}
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < list.n; i++)
		pushJsonbValue(&state, WJB_ELEM, &list.items[i].value);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}

/* --- Why one of them counts --- */

/* Where a value stands among those of a list, or NULL. */
static const Candidate *
find_candidate(const Candidates *list, const Candidate *wanted)
{
	return bsearch(wanted, list->items, list->n, sizeof(Candidate), compare_candidates);
}

static const char *
judge_frequency(const Candidates *all, const Candidates *said)
{
	const Candidate *candidate = find_candidate(all, &said->items[0]);
	const Candidate *best = most_frequent(all);
	Key key;

	if (candidate == best)
		return CDP_STAMPED_COUNTS;
	if (candidate == NULL)
		return "one value too many";
	compare_frequency(candidate, best, &key);
	return key == END ? "said less often" : losses[key];
}

static const char *
judge_union(const Candidates *all, const Candidates *said)
{
	for (int i = 0; i < said->n; i++)
	{
		if (find_candidate(all, &said->items[i]) != NULL)
			return CDP_STAMPED_COUNTS;
	}
	return said->n == 0 ? CDP_STAMPED_COUNTS : "one value too many";
}

const char *
cdp_stamped_verdict(const CdpStampedEntry *candidate, const CdpStampedEntry *result, CdpStampedTie tie)
{
	Candidates all, said;
	int key;

	if (candidate->rule != result->rule)
		return result->rule == CDP_STAMPED_LOCKED ? "overruled by a steward" : "of another rule";
	if (candidate->rule == CDP_STAMPED_SUM)
		return CDP_STAMPED_COUNTS;
	if (gathers(candidate->rule))
	{
		all = candidates_of(result);
		said = candidates_of(candidate);
		return candidate->rule == CDP_STAMPED_UNION ? judge_union(&all, &said) : judge_frequency(&all, &said);
	}
	key = decide(candidate, result, tie);
	return key < 0 ? losses[-key] : CDP_STAMPED_COUNTS;
}
