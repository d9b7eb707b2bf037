/*
 * computation.h
 *		Inside the room: what a computed trait is, and what it is computed from.
 *
 * A computation is read from text (the segment's language has a sentence for it), its
 * facts are gathered from timelines, and cdp_compute() gives its value at an instant and
 * the instant at which that becomes another.  None of it knows a table.
 */
#ifndef CDP_COMPUTATION_H
#define CDP_COMPUTATION_H

#include "profile/profile.h"
#include "segment/predicate.h"

#define CDP_COMPUTATION_MAX_BYTES 2000 /* of the text as given and of the canonical text */
#define CDP_UNIQUE_LIST_MAX 100		   /* values that a unique list shows, the smallest */

typedef struct CdpComputation
{
	CdpAggregate aggregate;
	CdpWord event;
	CdpWord property; /* its text is NULL: of the event itself */
	CdpWindowKind window;
	int64 near; /* as of programs */
	int64 far;
	char *text; /* canonical */
} CdpComputation;

/* The types of values in the order in which they compare */
typedef enum CdpFactType
{
	CDP_FACT_EVENT, /* no value */
	CDP_FACT_BOOLEAN,
	CDP_FACT_STRING,
	CDP_FACT_NUMBER
} CdpFactType;

/* An event as a computation sees it: an instant and a value */
typedef struct CdpFact
{
	TimestampTz at;
	CdpFactType type;
	union
	{
		bool boolean;
		CdpWord string; /* stands in the timeline */
		CdpPropertyValue number;
	};
} CdpFact;

/* All facts of one computation and one person */
typedef struct CdpFacts
{
	CdpFact *items; /* by instant, at one instant by value, once finished */
	TimestampTz *times;
	int n;
	int capacity;
	bool is_unsorted;
} CdpFacts;

/* computation.c: raises the error of a text that is none */
extern CdpComputation cdp_computation_read(const char *text, int length);

/* fact.c; the timeline's bytes must stay where they are */
extern void cdp_facts_gather(CdpFacts *facts, const CdpComputation *computations, int n, const struct varlena *timeline);
extern void cdp_facts_finish(CdpFacts *facts);
extern int cdp_fact_compare_values(const CdpFact *a, const CdpFact *b);
extern Numeric cdp_fact_number(const CdpFact *fact);

/*
 * compute.c: the value at an instant, NULL where there is none.  *changes_at becomes the first instant at which
 * it is another if nothing arrives, DT_NOEND if it stays.
 */
extern Jsonb *cdp_compute(const CdpComputation *computation, const CdpFacts *facts, TimestampTz now,
						  TimestampTz *changes_at);

#endif
