/*
 * aggregate.c
 *		Aggregates for any table that choose one value of many: cdp.latest(),
 *		cdp.earliest(), cdp.preferred() and cdp.most_frequent().
 *
 * Their values may be of any type, and what is chosen is of it too; which one is known
 * only from the call.  A state names it, for a combine function is not told.
 */
#include "postgres.h"

#include "profile/candidates.h"
#include "utils/datum.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(cdp_candidates_in);
PG_FUNCTION_INFO_V1(cdp_candidates_out);
PG_FUNCTION_INFO_V1(cdp_candidates_merge);
PG_FUNCTION_INFO_V1(cdp_candidates_winner);
PG_FUNCTION_INFO_V1(cdp_latest_step);
PG_FUNCTION_INFO_V1(cdp_earliest_step);
PG_FUNCTION_INFO_V1(cdp_preferred_step);
PG_FUNCTION_INFO_V1(cdp_most_frequent_step);

Datum
cdp_candidates_in(PG_FUNCTION_ARGS)
{
	const char *text = PG_GETARG_CSTRING(0);

	if (!cdp_candidates_check(text, strlen(text)))
		ereport(ERROR, (errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
						errmsg("invalid input for type cdp.candidates"),
						errhint("It is the state of an aggregate such as cdp.latest(), as one printed it.")));
	PG_RETURN_POINTER(cdp_candidates_of_text(text, strlen(text)));
}

Datum
cdp_candidates_out(PG_FUNCTION_ARGS)
{
	CdpCandidates *state = PG_GETARG_CANDIDATES_P(0);
	CdpCandidate *candidates;
	CdpKind *kind;
	CdpRule rule;
	int n;
	const char *text = cdp_candidates_text(state, &n);

	if (text != NULL)
		PG_RETURN_CSTRING(pnstrdup(text, n));
	candidates = cdp_candidates_read(state, fcinfo->flinfo, &kind, &rule, &n);
	PG_RETURN_CSTRING(cdp_candidates_print(kind, rule, candidates, n));
}

/* Take in one more row: its value, the argument with its time and that with its rank (0: there is none). */
static Datum
step(FunctionCallInfo fcinfo, CdpRule rule, int at, int rank)
{
	CdpCandidates *state = PG_ARGISNULL(0) ? NULL : PG_GETARG_CANDIDATES_P(0);
	CdpCandidate candidate = {.count = 1};

	if (!AggCheckCallContext(fcinfo, NULL))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("a function of an aggregate was called by itself")));
	if (!PG_ARGISNULL(1))
	{
		candidate.value = PG_GETARG_DATUM(1);
		candidate.has_at = at > 0 && !PG_ARGISNULL(at);
		if (candidate.has_at)
			candidate.at = PG_GETARG_TIMESTAMPTZ(at);
		if (rank > 0)
			candidate.rank = PG_ARGISNULL(rank) ? CDP_LOWEST_RANK : PG_GETARG_INT32(rank);
		state = cdp_candidates_add(state, cdp_kind(fcinfo->flinfo, get_fn_expr_argtype(fcinfo->flinfo, 1)),
								   rule, &candidate);
	}
	if (state == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(state);
}

Datum
cdp_latest_step(PG_FUNCTION_ARGS)
{
	return step(fcinfo, CDP_LATEST, 2, PG_NARGS() > 3 ? 3 : 0);
}

Datum
cdp_earliest_step(PG_FUNCTION_ARGS)
{
	return step(fcinfo, CDP_EARLIEST, 2, PG_NARGS() > 3 ? 3 : 0);
}

Datum
cdp_preferred_step(PG_FUNCTION_ARGS)
{
	return step(fcinfo, CDP_PREFERRED, 3, 2);
}

Datum
cdp_most_frequent_step(PG_FUNCTION_ARGS)
{
	return step(fcinfo, CDP_MOST_FREQUENT, PG_NARGS() > 2 ? 2 : 0, 0);
}

Datum
cdp_candidates_merge(PG_FUNCTION_ARGS)
{
	CdpKind *kind, *other_kind;
	CdpRule rule, other_rule;
	Oid type;
	int n, n_more;
	CdpCandidate *candidates =
		cdp_candidates_read(PG_GETARG_CANDIDATES_P(0), fcinfo->flinfo, &kind, &rule, &n);
	CdpCandidate *more;

	type = kind->type;
	more = cdp_candidates_read(PG_GETARG_CANDIDATES_P(1), fcinfo->flinfo, &other_kind, &other_rule, &n_more);
	if (other_kind->type != type || other_rule != rule)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("the states are of different aggregates, or of values of different types")));
	candidates = repalloc_huge(candidates, sizeof(CdpCandidate) * ((Size) n + n_more));
	memcpy(candidates + n, more, sizeof(CdpCandidate) * (Size) n_more);
	PG_RETURN_POINTER(cdp_candidates_build(other_kind, rule, candidates, n + n_more));
}

/* The aggregate's result. The arguments after the state are null; they make its type known. */
Datum
cdp_candidates_winner(PG_FUNCTION_ARGS)
{
	CdpCandidate *candidates;
	CdpKind *kind;
	CdpRule rule;
	int n;
	int best = 0;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	candidates = cdp_candidates_read(PG_GETARG_CANDIDATES_P(0), fcinfo->flinfo, &kind, &rule, &n);
	if (get_fn_expr_rettype(fcinfo->flinfo) != kind->type)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH), errmsg("the state is of values of another type")));
	for (int i = 1; i < n; i++)
	{
		if (cdp_candidate_compare(kind, rule, &candidates[i], &candidates[best]) > 0)
			best = i;
	}
	PG_RETURN_DATUM(datumCopy(candidates[best].value, kind->is_by_value, kind->length));
}
