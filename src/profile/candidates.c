/*
 * candidates.c
 *		The state of the aggregates that choose one value of many.
 *
 * Which of two wins must not depend on the order of rows, for any type.  So where
 * time, rank and count leave it open, the value decides: the larger by the type's btree
 * comparison (strings bytewise, whatever the locale); where that is equal or the type has
 * none, the larger by its text form, bytewise.  Two of one text form are the same.
 */
#include "postgres.h"

#include "profile/candidates.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

typedef struct Slot
{
	Datum value; /* by value, or where it begins in the state */
	int64 count;
	TimestampTz at;
	int32 rank;
	bool has_at;
} Slot;

struct CdpCandidates
{
	int32 vl_len_;
	Oid type; /* InvalidOid: the header is followed by the text form */
	uint32 rule;
	uint32 n;
	uint32 n_sorted; /* so many at the front are sorted by value and distinct */
	uint32 capacity; /* slots */
	uint32 used;	 /* bytes; what follows is room for more values */
	uint32 unused;
	Slot slots[FLEXIBLE_ARRAY_MEMBER];
};

CdpKind *
cdp_kind(FmgrInfo *flinfo, Oid type)
{
	CdpKind *kind = flinfo->fn_extra;
	TypeCacheEntry *entry;
	bool is_varlena;

	if (kind != NULL && kind->type == type)
		return kind;
	if (!OidIsValid(type) || (type != RECORDOID && get_typtype(type) == TYPTYPE_PSEUDO))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("cannot choose among values of this pseudo-type"),
						errhint("Cast them to a type that a column can have.")));
	entry = lookup_type_cache(type, TYPECACHE_CMP_PROC_FINFO);
	kind = MemoryContextAllocZero(flinfo->fn_mcxt, sizeof(CdpKind));
	kind->type = type;
	kind->length = entry->typlen;
	kind->is_by_value = entry->typbyval;
	kind->compare = OidIsValid(entry->cmp_proc_finfo.fn_oid) ? &entry->cmp_proc_finfo : NULL;
	getTypeOutputInfo(type, &kind->output, &is_varlena);
	flinfo->fn_extra = kind;
	return kind;
}

char *
cdp_kind_text(const CdpKind *kind, Datum value)
{
	return OidOutputFunctionCall(kind->output, value);
}

static bool
is_identical(const CdpKind *kind, Datum a, Datum b)
{
	return datumIsEqual(a, b, kind->is_by_value, kind->length);
}

static int
compare_texts(const CdpKind *kind, Datum a, Datum b)
{
	return is_identical(kind, a, b) ? 0 : strcmp(cdp_kind_text(kind, a), cdp_kind_text(kind, b));
}

/* Order values; 0: they count as one. */
static int
compare_values(const CdpKind *kind, Datum a, Datum b)
{
	if (kind->compare == NULL)
		return compare_texts(kind, a, b);
	return DatumGetInt32(FunctionCall2Coll(kind->compare, C_COLLATION_OID, a, b));
}

/* Order values; 0: they cannot be told apart, as numeric 1.0 and 1.00 can. */
static int
compare_values_exactly(const CdpKind *kind, Datum a, Datum b)
{
	int c = compare_values(kind, a, b);

	return c != 0 || kind->compare == NULL ? c : compare_texts(kind, a, b);
}

static int
compare_times(const CdpCandidate *a, const CdpCandidate *b, bool is_earlier_better)
{
	if (!a->has_at || !b->has_at)
		return (int) a->has_at - (int) b->has_at;
	if (a->at == b->at)
		return 0;
	return (a->at > b->at) != is_earlier_better ? 1 : -1;
}

/* Compare by what the rule looks at before the value. */
static int
compare_marks(CdpRule rule, const CdpCandidate *a, const CdpCandidate *b)
{
	int rank = a->rank > b->rank ? 1 : a->rank < b->rank ? -1 : 0;
	int count = a->count > b->count ? 1 : a->count < b->count ? -1 : 0;
	int time = compare_times(a, b, rule == CDP_EARLIEST);

	if (rule == CDP_MOST_FREQUENT)
		return count != 0 ? count : time;
	if (rule == CDP_PREFERRED)
		return rank != 0 ? rank : time;
	return time != 0 ? time : rank;
}

int
cdp_candidate_compare(const CdpKind *kind, CdpRule rule, const CdpCandidate *a, const CdpCandidate *b)
{
	int c = compare_marks(rule, a, b);

	return c != 0 ? c : compare_values_exactly(kind, a->value, b->value);
}

static Size
value_size(const CdpKind *kind, Datum value)
{
	return kind->is_by_value ? 0 : MAXALIGN(datumGetSize(value, false, kind->length));
}

/* Write a candidate into a slot; there is room. */
static void
put(CdpCandidates *state, const CdpKind *kind, Slot *slot, const CdpCandidate *candidate)
{
	slot->count = candidate->count;
	slot->at = candidate->at;
	slot->rank = candidate->rank;
	slot->has_at = candidate->has_at;
	slot->value = candidate->value;
	if (!kind->is_by_value)
	{
		memcpy((char *) state + state->used, DatumGetPointer(candidate->value),
			   datumGetSize(candidate->value, false, kind->length));
		slot->value = state->used;
		state->used += value_size(kind, candidate->value);
	}
}

static CdpCandidate
get(const CdpCandidates *state, const CdpKind *kind, const Slot *slot)
{
	CdpCandidate candidate = {slot->value, slot->count, slot->at, slot->rank, slot->has_at};

	if (!kind->is_by_value)
		candidate.value = PointerGetDatum((const char *) state + slot->value);
	return candidate;
}

static CdpCandidate *
get_all(const CdpCandidates *state, const CdpKind *kind, int room_for_more)
{
	CdpCandidate *candidates =
		palloc_extended(sizeof(CdpCandidate) * ((Size) state->n + room_for_more), MCXT_ALLOC_HUGE);

	for (uint32 i = 0; i < state->n; i++)
		candidates[i] = get(state, kind, &state->slots[i]);
	return candidates;
}

static int
compare_for_sort(const void *a, const void *b, void *kind)
{
	return compare_values(kind, ((const CdpCandidate *) a)->value, ((const CdpCandidate *) b)->value);
}

/* Count b, of an equal value, with a. */
static void
count_together(const CdpKind *kind, CdpCandidate *a, const CdpCandidate *b)
{
	if (pg_add_s64_overflow(a->count, b->count, &a->count))
		a->count = PG_INT64_MAX;
	if (compare_times(b, a, false) > 0)
	{
		a->at = b->at;
		a->has_at = true;
	}
	if (compare_values_exactly(kind, b->value, a->value) > 0)
		a->value = b->value;
}

/* Keep, at the front, what can still win: one of all, or where they are counted each value once. Returns how many. */
static int
reduce(const CdpKind *kind, CdpRule rule, CdpCandidate *candidates, int n)
{
	int kept = 0;

	if (rule == CDP_MOST_FREQUENT)
		qsort_arg(candidates, n, sizeof(CdpCandidate), compare_for_sort, unconstify(CdpKind *, kind));
	for (int i = 1; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (rule != CDP_MOST_FREQUENT)
		{
			if (cdp_candidate_compare(kind, rule, &candidates[i], &candidates[0]) > 0)
				candidates[0] = candidates[i];
		}
		else if (compare_values(kind, candidates[i].value, candidates[kept].value) == 0)
			count_together(kind, &candidates[kept], &candidates[i]);
		else
			candidates[++kept] = candidates[i];
	}
	return kept + 1;
}

CdpCandidates *
cdp_candidates_build(const CdpKind *kind, CdpRule rule, CdpCandidate *candidates, int n)
{
	Size values = 0;
	Size capacity, size;
	CdpCandidates *state;

	n = reduce(kind, rule, candidates, n);
	capacity = rule == CDP_MOST_FREQUENT ? Max(4, 2 * (Size) n) : 1;
	for (int i = 0; i < n; i++)
		values += value_size(kind, candidates[i].value);
	size = offsetof(CdpCandidates, slots) + capacity * sizeof(Slot) + values;
	if (rule == CDP_MOST_FREQUENT && values > 0 && size + values + 64 <= MaxAllocSize)
		size += values + 64; /* so that the work of making room stays in proportion */
	if (size > MaxAllocSize)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("too many different values to choose among"),
						errdetail("They would take %zu bytes, the limit is %zu.", size, (Size) MaxAllocSize)));
	state = palloc0(size);
	SET_VARSIZE(state, size);
	state->type = kind->type;
	state->rule = rule;
	state->n = n;
	state->n_sorted = n;
	state->capacity = capacity;
	state->used = offsetof(CdpCandidates, slots) + capacity * sizeof(Slot);
	for (int i = 0; i < n; i++)
		put(state, kind, &state->slots[i], &candidates[i]);
	return state;
}

CdpCandidate *
cdp_candidates_read(const CdpCandidates *state, FmgrInfo *flinfo, CdpKind **kind, CdpRule *rule, int *n)
{
	CdpCandidate *candidates;
	int length;
	const char *text = cdp_candidates_text(state, &length);

	if (text != NULL)
		candidates = cdp_candidates_parse(text, length, flinfo, kind, rule, n);
	else
	{
		*kind = cdp_kind(flinfo, state->type);
		*rule = state->rule;
		*n = state->n;
		candidates = get_all(state, *kind, 0);
	}
	*n = reduce(*kind, *rule, candidates, *n);
	return candidates;
}

/* Is there room for one more value of that size? */
static bool
has_room(const CdpCandidates *state, Size size)
{
	return state->n < state->capacity && state->used + size <= VARSIZE(state);
}

/* Where a value is counted already; NULL: nowhere, or only one that equals it but looks different. */
static Slot *
find(CdpCandidates *state, const CdpKind *kind, Datum value)
{
	uint32 low = 0;
	uint32 high = state->n_sorted;

	while (low < high)
	{
		uint32 middle = (low + high) / 2;
		Datum other = get(state, kind, &state->slots[middle]).value;
		int c = compare_values(kind, other, value);

		if (c == 0)
			return is_identical(kind, other, value) ? &state->slots[middle] : NULL;
		if (c < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* Count one more. New values go behind the sorted ones; when there is no room left all are sorted and counted. */
static CdpCandidates *
add_counted(CdpCandidates *state, const CdpKind *kind, const CdpCandidate *candidate)
{
	Slot *slot = find(state, kind, candidate->value);
	CdpCandidate *all;

	if (slot != NULL)
	{
		CdpCandidate counted = get(state, kind, slot);

		count_together(kind, &counted, candidate);
		slot->count = counted.count;
		slot->at = counted.at;
		slot->has_at = counted.has_at;
		return state;
	}
	if (has_room(state, value_size(kind, candidate->value)))
	{
		put(state, kind, &state->slots[state->n++], candidate);
		return state;
	}
	all = get_all(state, kind, 1);
	all[state->n] = *candidate;
	return cdp_candidates_build(kind, CDP_MOST_FREQUENT, all, state->n + 1);
}

CdpCandidates *
cdp_candidates_add(CdpCandidates *state, const CdpKind *kind, CdpRule rule, CdpCandidate *candidate)
{
	CdpCandidate kept = {0};
	int c = 0;

	if (state != NULL && (state->type != kind->type || state->rule != rule))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("the state is of another aggregate, or of values of another type")));
	if (state != NULL && rule != CDP_MOST_FREQUENT)
	{
		kept = get(state, kind, &state->slots[0]);
		c = compare_marks(rule, candidate, &kept);
		if (c < 0)
			return state;
	}
	if (!kind->is_by_value && kind->length == -1)
		candidate->value = PointerGetDatum(PG_DETOAST_DATUM(candidate->value));
	if (state == NULL)
		return cdp_candidates_build(kind, rule, candidate, 1);
	if (rule == CDP_MOST_FREQUENT)
		return add_counted(state, kind, candidate);
	if (c == 0 && compare_values_exactly(kind, candidate->value, kept.value) <= 0)
		return state;
	state->used = offsetof(CdpCandidates, slots) + sizeof(Slot);
	if (state->used + value_size(kind, candidate->value) > VARSIZE(state))
		return cdp_candidates_build(kind, rule, candidate, 1);
	put(state, kind, &state->slots[0], candidate);
	return state;
}

CdpCandidates *
cdp_candidates_of_text(const char *text, int length)
{
	Size size = offsetof(CdpCandidates, slots) + (Size) length;
	CdpCandidates *state = palloc0(size);

	SET_VARSIZE(state, size);
	memcpy(state->slots, text, length);
	return state;
}

const char *
cdp_candidates_text(const CdpCandidates *state, int *length)
{
	if (OidIsValid(state->type))
		return NULL;
	*length = VARSIZE(state) - offsetof(CdpCandidates, slots);
	return (const char *) state->slots;
}
