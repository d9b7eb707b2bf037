/*
 * candidates.h
 *		Private to profile: the state of the aggregates that choose one value of many.
 *
 * A cdp.candidates holds values of one type with what decides among them: when each
 * was said, by a source of which rank, how often.  It is one varlena without pointers,
 * so that it goes from parallel worker to leader as it is.
 *
 * In it stand the values' own bytes, which mean nothing without their type: a composite
 * type can be altered, and its old bytes would then be read wrongly.  So these bytes never
 * leave a running aggregate.  Only its support functions make them, which PUBLIC may not
 * call; what the input function makes is its text, checked but not yet read as values.
 */
#ifndef CDP_CANDIDATES_H
#define CDP_CANDIDATES_H

#include "postgres.h"
#include "datatype/timestamp.h"
#include "fmgr.h"

/* What counts first, then second ..; what is left is settled by the value. */
typedef enum CdpRule
{
	CDP_LATEST,		  /* time, rank */
	CDP_EARLIEST,	  /* time, the smaller, rank */
	CDP_PREFERRED,	  /* rank, time */
	CDP_MOST_FREQUENT /* count, time */
} CdpRule;

#define CDP_RULES 4
#define CDP_LOWEST_RANK PG_INT32_MIN /* a null rank */

typedef struct CdpCandidate
{
	Datum value; /* a varlena is plain: neither short, compressed nor out of line */
	int64 count;
	TimestampTz at;
	int32 rank;
	bool has_at; /* a value without a time loses to all that have one */
} CdpCandidate;

/* How values of a type are kept and compared. */
typedef struct CdpKind
{
	Oid type;
	int16 length;
	bool is_by_value;
	FmgrInfo *compare; /* of its default btree operator class; NULL: it has none */
	Oid output;
} CdpKind;

typedef struct CdpCandidates CdpCandidates; /* varlena */

/* Of the type a function is called with, remembered with the function. Error 0A000 for what has no values. */
extern CdpKind *cdp_kind(FmgrInfo *flinfo, Oid type);
extern char *cdp_kind_text(const CdpKind *kind, Datum value);

/* > 0: a wins over b; 0 only for two that cannot be told apart. */
extern int cdp_candidate_compare(const CdpKind *kind, CdpRule rule, const CdpCandidate *a, const CdpCandidate *b);

/* Take in one more. The state (NULL: none yet) is changed in place, or given up for the one returned. */
extern CdpCandidates *cdp_candidates_add(CdpCandidates *state, const CdpKind *kind, CdpRule rule, CdpCandidate *candidate);

/* State from candidates in any order, and back, reduced to what can still win; n > 0. */
extern CdpCandidates *cdp_candidates_build(const CdpKind *kind, CdpRule rule, CdpCandidate *candidates, int n);
extern CdpCandidate *cdp_candidates_read(const CdpCandidates *state, FmgrInfo *flinfo, CdpKind **kind, CdpRule *rule, int *n);

/* The text form, which a state made by the input function keeps until it is read. */
extern CdpCandidates *cdp_candidates_of_text(const char *text, int length);
extern const char *cdp_candidates_text(const CdpCandidates *state, int *length); /* NULL: it holds values */
extern bool cdp_candidates_check(const char *text, int length);
extern CdpCandidate *cdp_candidates_parse(const char *text, int length, FmgrInfo *flinfo, CdpKind **kind, CdpRule *rule,
										  int *n);
extern char *cdp_candidates_print(const CdpKind *kind, CdpRule rule, const CdpCandidate *candidates, int n);

#define DatumGetCandidatesP(d) ((CdpCandidates *) PG_DETOAST_DATUM(d))
#define PG_GETARG_CANDIDATES_P(n) DatumGetCandidatesP(PG_GETARG_DATUM(n))

#endif
