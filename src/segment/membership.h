/*
 * membership.h
 *		Inside the room: one evaluation of some people: their computed traits, and
 *		against some segments.
 *
 * A CdpWork is begun with SPI connected, loads the segments, and goes through its
 * people in chunks of at most CDP_SEGMENT_CHUNK.  Between these calls the chunk's
 * memory context is current; cdp_change_begin() resets it.  Its owner deletes
 * work->context, or leaves that to SPI_finish().
 */
#ifndef CDP_MEMBERSHIP_H
#define CDP_MEMBERSHIP_H

#include "segment/computation.h"
#include "segment/predicate.h"
#include "storage/lockdefs.h"

#define CDP_SEGMENT_CHUNK 5000 /* people that are in memory at once */

typedef struct CdpSegment
{
	const char *name;
	Datum text; /* the name */
	const CdpPredicate *predicate;
} CdpSegment;

/* A person who enters or leaves; 'order' keeps the changes of one instant as they were found */
typedef struct CdpMembershipChange
{
	CdpBatchTransition transition;
	int segment;
	int order;
	const char *cause;
} CdpMembershipChange;

/* The events of one name of one person */
typedef struct CdpPersonEvents
{
	int64 profile_id;
	CdpSubjectEvents events;
} CdpPersonEvents;

typedef struct CdpPersonMembership
{
	int64 profile_id;
	int segment;
} CdpPersonMembership;

/* The traits that are computed, in bytewise order of their names */
typedef struct CdpComputedTraits
{
	const char **names;
	CdpComputation *computations;
	int n;
} CdpComputedTraits;

/* A part of a person's timeline */
typedef struct CdpPersonPart
{
	int64 profile_id;
	const struct varlena *events;
} CdpPersonPart;

/* The traits of a person as time goes on */
typedef struct CdpPersonTraits
{
	const CdpStamped *said;
	const CdpStamped *stored;	/* of those computed, what the profile says */
	const CdpStamped *computed; /* what it should say */
	const CdpStamped *all;		/* NULL: not merged yet */
	CdpFacts *facts;			/* of each computed trait: what it is computed from, its value and until when */
	Jsonb **values;
	TimestampTz *changes_at;
	TimestampTz next; /* the earliest of these */
} CdpPersonTraits;

/* One evaluation of some people against some segments */
typedef struct CdpWork
{
	MemoryContext context; /* all of it */
	MemoryContext chunk;   /* one chunk of people */
	MemoryContext person;  /* one person */
	CdpBatch *batch;	   /* NULL: outside of the pipeline */
	TimestampTz now;
	const char *cause; /* of changes that no timer brought */
	bool is_partial;   /* not all segments: leave the hints of the others alone */
	int64 entered;
	int64 exited;

	const CdpSegment *segments; /* in bytewise order of their names */
	int n_segments;
	Datum names;	   /* text[] */
	Datum event_names; /* text[] */
	bool uses_events;
	bool uses_consents;
	bool uses_traits;

	const CdpComputedTraits *computed;
	bool computes; /* else computed traits are what profiles say */

	/* of the chunk */
	CdpPersonEvents *events;
	int n_events;
	CdpPersonMembership *memberships;
	int n_memberships;
	CdpPersonPart *parts;
	int n_parts;
	CdpMembershipChange *changes;
	int n_changes;
	int changes_capacity;
	CdpColumn *leave_profile, *leave_segment;
	CdpColumn *join_profile, *join_segment, *join_since;
	CdpColumn *due_profile, *due_at, *idle_profile;
	CdpColumn *computed_profile, *computed_map, *changed_profile;

	/* of the person */
	bool *was_member;
	bool *is_member;
	TimestampTz *changed_at; /* the last change; DT_NOBEGIN: none */
} CdpWork;

/* membership.c */
extern void cdp_work_begin(CdpWork *work, CdpBatch *batch, TimestampTz now, const char *cause);
extern void cdp_work_lock(LOCKMODE mode);
extern void cdp_work_note_needs(CdpWork *work);
extern void cdp_work_load(CdpWork *work, const char *only);
extern void cdp_work_evaluate(CdpWork *work, const int64 *ids, const TimestampTz *due, int n);

/* computed.c */
extern const CdpComputedTraits *cdp_computed_traits(void);
extern void cdp_computed_load(CdpWork *work, Datum ids, TimestampTz from);
extern CdpPersonTraits cdp_computed_begin(CdpWork *work, int64 profile_id, const CdpStamped *said,
										  const CdpStamped *stored, int *part);
extern const CdpStamped *cdp_computed_at(CdpWork *work, CdpPersonTraits *person, TimestampTz at);
extern void cdp_computed_note(CdpWork *work, int64 profile_id, const CdpPersonTraits *person);
extern void cdp_computed_dismiss(CdpWork *work, int64 profile_id);
extern void cdp_computed_write(CdpWork *work);

/* people.c; ids is a bigint[] in ascending order */
extern uint64 cdp_people_read(CdpWork *work, Datum ids);
extern void cdp_people_load_events(CdpWork *work, Datum ids);
extern void cdp_people_load_memberships(CdpWork *work, Datum ids);
extern CdpSubject cdp_people_subject(CdpWork *work, uint64 row, int64 profile_id, int *event);
extern CdpPersonTraits cdp_people_traits(CdpWork *work, uint64 row, int64 profile_id, int *part);

/* change.c */
extern void cdp_change_begin(CdpWork *work);
extern void cdp_change_note(CdpWork *work, int64 profile_id, int segment, bool is_entry, TimestampTz at,
							const char *cause);
extern void cdp_change_note_outcome(CdpWork *work, int64 profile_id, TimestampTz next);
extern void cdp_change_write(CdpWork *work);

/* timer.c */
extern int cdp_timer_sweep(CdpWork *work, int limit);
extern void cdp_timer_sweep_all(TimestampTz now, int64 *entered, int64 *exited);

#endif
