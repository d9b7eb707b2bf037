/*
 * segment.h
 *		Who is in which segment: the predicate type, its evaluation, memberships; and
 *		what traits are computed, with the same windows and timers.
 *
 * cdp_predicate_evaluate() is pure: it reads the predicate and the subject it is
 * given, knows no table, and allocates nothing that outlives the call's memory
 * context.  It costs a search per leaf, whatever the number of events.
 *
 * cdp_segment_evaluate() is the stage of the pipeline.  The caller has connected
 * SPI, holds the locks on the batch's profiles (taken in id order) and has written
 * everything that earlier stages write.  The stage takes at most CDP_SEGMENT_DUE
 * overdue profiles along, skipping those that somebody else has locked.
 */
#ifndef CDP_SEGMENT_H
#define CDP_SEGMENT_H

#include "base/base.h"

#define CDP_SEGMENT_DUE 256 /* overdue profiles that one batch takes along */

typedef struct CdpPredicate CdpPredicate; /* varlena: the SQL type cdp.predicate */

/* The instants at which a subject did one thing, in ascending order. */
typedef struct CdpSubjectEvents
{
	const char *name;
	int name_length;
	const TimestampTz *times;
	int n_times;
} CdpSubjectEvents;

/* What a predicate is evaluated on. */
typedef struct CdpSubject
{
	const CdpStamped *traits;	 /* NULL: none */
	const char *const *purposes; /* granted ones */
	int n_purposes;
	const CdpSubjectEvents *events; /* one per name, in cdp_compare_names() order */
	int n_events;
} CdpSubject;

/*
 * Whether the predicate holds for the subject at 'now'.  *next_change (if not NULL) becomes the
 * earliest instant at which that can differ if nothing arrives, DT_NOEND if it never will.
 */
extern bool cdp_predicate_evaluate(const CdpPredicate *predicate, const CdpSubject *subject, TimestampTz now,
								   TimestampTz *next_change);

/* Read a predicate out of a Datum; recompiles one that an older version of the extension stored. */
extern const CdpPredicate *cdp_predicate_from_datum(Datum datum);

/* The order of event names in a subject: bytewise, the shorter first. */
extern int cdp_compare_names(const char *a, int a_length, const char *b, int b_length);

extern void cdp_segment_evaluate(CdpBatch *batch);

/*
 * Called with a batch that holds nothing but transitions and changed profiles, when people enter or leave or
 * their computed traits change outside of the pipeline (create_segment, create_trait, advance_to, ..).  The pipeline sets it, so that those
 * changes go out like all others; NULL: nobody listens.
 */
typedef void (*CdpSegmentListener)(CdpBatch *batch);
extern CdpSegmentListener cdp_segment_listener;

#endif
