/*
 * trait_rules.c
 *		The rules of the traits: reading them, cleansing values, refusing those that break them.
 *
 * Whether a message's traits are gathered as it comes, or derived from the log again, they
 * go through here.  A trait that is not declared is taken as it is, the latest word counting.
 */
#include "postgres.h"

#include "profile/trait_rules.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "regex/regex.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/formatting.h"
#include "utils/numeric.h"

PG_FUNCTION_INFO_V1(cdp_trait_objection);
PG_FUNCTION_INFO_V1(cdp_trait_verdict);

CDP_QUERY(read_traits,
		  "SELECT name, rule, type, valid_pattern, cleanse, null_if, minimum, maximum FROM cdp.trait ORDER BY name COLLATE \"C\"",
		  "");

typedef enum LetterCase
{
	AS_WRITTEN,
	LOWER,
	UPPER,
	TITLE
} LetterCase;

typedef struct TraitRule
{
	const char *name;
	int name_length;
	CdpStampedRule rule;
	bool trims;
	LetterCase letter_case;
	char **null_if;
	int n_null_if;
	const char *type; /* of JSON; NULL: any */
	Numeric minimum;  /* NULL: none */
	Numeric maximum;
	text *valid_pattern; /* NULL: any */
} TraitRule;

typedef struct TraitRules
{
	TraitRule *items; /* by name, bytewise */
	int n;
} TraitRules;

/* What the rules make of a value. */
typedef enum Outcome
{
	TAKEN,
	SAYS_NOTHING,
	REFUSED
} Outcome;

/* --- Reading them --- */

/* An array of texts out of the current result; returns how many. */
static int
read_texts(uint64 row, int column, char ***texts)
{
	bool isnull;
	Datum array = cdp_result_datum(row, column, &isnull);
	Datum *values;
	int n = 0;

	if (!isnull)
		deconstruct_array(DatumGetArrayTypePCopy(array), TEXTOID, -1, false, TYPALIGN_INT, &values, NULL, &n);
	*texts = palloc(sizeof(char *) * (Size) (n + 1));
	for (int i = 0; i < n; i++)
		(*texts)[i] = TextDatumGetCString(values[i]);
	return n;
}

static Numeric
read_number(uint64 row, int column)
{
	bool isnull;
	Datum value = cdp_result_datum(row, column, &isnull);

	return isnull ? NULL : DatumGetNumericCopy(value);
}

static void
read_cleansing(TraitRule *rule, uint64 row)
{
	char **steps;
	int n = read_texts(row, 5, &steps);

	for (int i = 0; i < n; i++)
	{
		if (strcmp(steps[i], "trim") == 0)
			rule->trims = true;
		else
			rule->letter_case = *steps[i] == 'l' ? LOWER : *steps[i] == 'u' ? UPPER : TITLE;
	}
}

static void *
read_rules(void)
{
	TraitRules *all = palloc0(sizeof(TraitRules));

	all->n = cdp_run_latest(&read_traits, NULL, NULL);
	all->items = palloc0(sizeof(TraitRule) * ((Size) all->n + 1));
	for (int i = 0; i < all->n; i++)
	{
		TraitRule *rule = &all->items[i];
		char *name = cdp_result_cstring(i, 2);
		char *pattern = cdp_result_cstring(i, 4);

		rule->name = cdp_result_cstring(i, 1);
		rule->name_length = strlen(rule->name);
		rule->rule = Max(0, cdp_stamped_rule_of(name, strlen(name))); /* the table lets nothing else in */
		rule->type = cdp_result_cstring(i, 3);
		rule->valid_pattern = pattern == NULL ? NULL : cstring_to_text(pattern);
		read_cleansing(rule, i);
		rule->n_null_if = read_texts(i, 6, &rule->null_if);
		rule->minimum = read_number(i, 7);
		rule->maximum = read_number(i, 8);
	}
	cdp_done();
	return all;
}

static CdpCached rules = {"trait", read_rules};

/* The rule of a trait, or NULL. */
static const TraitRule *
find_rule(const TraitRules *all, const char *name, int length)
{
	int low = 0;
	int high = all->n;

	while (low < high)
	{
		int middle = (low + high) / 2;
		const TraitRule *rule = &all->items[middle];
		int c = memcmp(rule->name, name, Min(rule->name_length, length));

		if (c == 0)
			c = rule->name_length - length;
		if (c == 0)
			return rule;
		if (c < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* --- Cleansing --- */

static inline bool
is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static void
trim(JsonbValue *v)
{
	while (v->val.string.len > 0 && is_space(*v->val.string.val))
	{
		v->val.string.val++;
		v->val.string.len--;
	}
	while (v->val.string.len > 0 && is_space(v->val.string.val[v->val.string.len - 1]))
		v->val.string.len--;
}

/* Bring a string into the form that the rule asks for, by the database's locale. */
static void
cleanse(const TraitRule *rule, JsonbValue *v)
{
	char *text;

	if (rule->trims)
		trim(v);
	if (rule->letter_case == AS_WRITTEN)
		return;
	text = rule->letter_case == LOWER	? str_tolower(v->val.string.val, v->val.string.len, DEFAULT_COLLATION_OID)
		   : rule->letter_case == UPPER ? str_toupper(v->val.string.val, v->val.string.len, DEFAULT_COLLATION_OID)
										: str_initcap(v->val.string.val, v->val.string.len, DEFAULT_COLLATION_OID);
	v->val.string.val = text;
	v->val.string.len = strlen(text);
}

/* Does a value stand for none? Numbers are compared as they are written. */
static bool
stands_for_null(const TraitRule *rule, const JsonbValue *v)
{
	const char *text;
	int length;

	if (rule->n_null_if == 0 || (v->type != jbvString && v->type != jbvNumeric))
		return false;
	text = v->type == jbvString ? v->val.string.val
								: DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(v->val.numeric)));
	length = v->type == jbvString ? v->val.string.len : strlen(text);
	for (int i = 0; i < rule->n_null_if; i++)
	{
		if (strncmp(rule->null_if[i], text, length) == 0 && rule->null_if[i][length] == '\0')
			return true;
	}
	return false;
}

/* --- Refusing --- */

static int
compare_numbers(Numeric a, Numeric b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a), NumericGetDatum(b)));
}

/* What a rule has against a value; NULL: nothing. */
static const char *
object(const TraitRule *rule, const Jsonb *value, JsonbValue *v)
{
	const char *type = v->type == jbvString	   ? "string"
					   : v->type == jbvNumeric ? "number"
					   : v->type == jbvBool	   ? "boolean"
					   : JB_ROOT_IS_ARRAY(value) ? "array"
												 : "object";

	if (rule->type != NULL && strcmp(rule->type, type) != 0)
		return psprintf("not of type %s", rule->type);
	if ((rule->minimum != NULL || rule->maximum != NULL) && v->type != jbvNumeric)
		return "not a number";
	if (rule->minimum != NULL && compare_numbers(v->val.numeric, rule->minimum) < 0)
		return "below the minimum";
	if (rule->maximum != NULL && compare_numbers(v->val.numeric, rule->maximum) > 0)
		return "above the maximum";
	if (rule->valid_pattern != NULL && v->type != jbvString)
		return "not a string";
	if (rule->valid_pattern != NULL && !RE_compile_and_execute(rule->valid_pattern, v->val.string.val, v->val.string.len,
															   REG_ADVANCED, C_COLLATION_OID, 0, NULL))
		return "not of the pattern";
	return cdp_stamped_objection(rule->rule, value);
}

static bool
is_empty(const Jsonb *value, const JsonbValue *v)
{
	JsonbValue text = *v;

	if (v->type != jbvString)
		return !JB_ROOT_IS_SCALAR(value) && JB_ROOT_COUNT(value) == 0;
	trim(&text);
	return text.val.string.len == 0;
}

/* Judge one value, of a list one of its elements; it comes back cleansed. */
static Outcome
judge_one(const TraitRule *rule, const Jsonb **value, const char **objection)
{
	JsonbValue v;
	bool is_scalar = JsonbExtractScalar(unconstify(JsonbContainer *, &(*value)->root), &v);

	if (is_scalar && v.type == jbvString && (rule->trims || rule->letter_case != AS_WRITTEN))
	{
		cleanse(rule, &v);
		*value = JsonbValueToJsonb(&v);
	}
	if (is_scalar && v.type != jbvNull && stands_for_null(rule, &v))
	{
		v.type = jbvNull;
		*value = JsonbValueToJsonb(&v);
	}
	/* where the latest word counts, null takes back what was said before it */
	if (is_scalar && v.type == jbvNull)
		return rule->rule == CDP_STAMPED_LATEST || rule->rule == CDP_STAMPED_PREFERRED ? TAKEN : SAYS_NOTHING;
	if (rule->rule == CDP_STAMPED_FIRST_NON_EMPTY && is_empty(*value, &v))
		return SAYS_NOTHING;
	*objection = object(rule, *value, &v);
	return *objection == NULL ? TAKEN : REFUSED;
}

/* Judge a list, element by element: what is good of it is taken. */
static Outcome
judge_list(const TraitRule *rule, CdpStampedEntry *entry, const char **objection)
{
	JsonbContainer *array = unconstify(JsonbContainer *, &entry->value->root);
	int n = JsonContainerSize(array);
	const Jsonb **values = palloc_extended(sizeof(Jsonb *) * ((Size) n + 1), MCXT_ALLOC_HUGE);
	int taken = 0;

	for (int i = 0; i < n; i++)
	{
		const char *against = NULL;

		CHECK_FOR_INTERRUPTS();
		values[taken] = JsonbValueToJsonb(getIthJsonbValueFromContainer(array, i));
		taken += judge_one(rule, &values[taken], &against) == TAKEN;
		if (against != NULL)
			*objection = against;
	}
	if (taken == 0 && *objection != NULL)
		return REFUSED;
	cdp_stamped_begin(entry, values, taken);
	return TAKEN;
}

/*
 * Judge what a message says of a trait.  What is taken becomes what its rule keeps; *objection says what speaks against
 * it, or against part of a list, NULL: nothing.
 */
static Outcome
judge(const TraitRule *rule, CdpStampedEntry *entry, const char **objection)
{
	Outcome outcome;

	*objection = rule->rule == CDP_STAMPED_COMPUTED ? "the trait is computed" : NULL;
	if (*objection != NULL)
		return REFUSED;
	entry->rule = rule->rule;
	if (rule->rule == CDP_STAMPED_UNION && JB_ROOT_IS_ARRAY(entry->value) && !JB_ROOT_IS_SCALAR(entry->value))
		return judge_list(rule, entry, objection);
	outcome = judge_one(rule, &entry->value, objection);
	if (outcome == TAKEN)
		cdp_stamped_begin(entry, &entry->value, 1);
	return outcome;
}

void
cdp_traits_apply(CdpGatherer *gatherer, int from, CdpTraitRefused refused, void *arg)
{
	const TraitRules *all = cdp_cached(&rules);
	int kept = from;

	if (all->n == 0)
		return;
	for (int i = from; i < gatherer->n; i++)
	{
		CdpStampedEntry *entry = &gatherer->items[i].entry;
		const TraitRule *rule = find_rule(all, entry->name, entry->name_length);
		const char *objection = NULL;
		Outcome outcome = rule == NULL ? TAKEN : judge(rule, entry, &objection);

		if (objection != NULL && refused != NULL)
			refused(arg, entry->name, entry->name_length);
		if (outcome == TAKEN)
			gatherer->items[kept++] = gatherer->items[i];
	}
	gatherer->n = kept;
}

/* cdp.trait_objection(trait, value) */
Datum
cdp_trait_objection(PG_FUNCTION_ARGS)
{
	text *name = PG_GETARG_TEXT_PP(0);
	CdpStampedEntry entry = {.value = PG_GETARG_JSONB_P(1)};
	const TraitRule *rule = find_rule(cdp_cached(&rules), VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
	const char *objection = NULL;
	Outcome outcome = rule == NULL ? TAKEN : judge(rule, &entry, &objection);

	if (outcome == TAKEN)
		PG_RETURN_NULL();
	if (outcome == SAYS_NOTHING)
		PG_RETURN_TEXT_P(cstring_to_text("says nothing"));
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("refused: %s", objection)));
}

/* cdp.trait_verdict(candidate, result, trait) */
Datum
cdp_trait_verdict(PG_FUNCTION_ARGS)
{
	text *name = PG_GETARG_TEXT_PP(2);
	CdpStampedEntry candidate, result;

	if (!cdp_stamped_find(PG_GETARG_STAMPED_P(0), VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name), &candidate) ||
		!cdp_stamped_find(PG_GETARG_STAMPED_P(1), VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name), &result))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(cdp_stamped_verdict(&candidate, &result, cdp_stamped_tie_bytes)));
}
