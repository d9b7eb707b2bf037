/*
 * batch.h
 *		What walks through the house: the messages of one batch, the identifiers and
 *		links they mention and the profiles they touch.
 *
 * The pipeline makes a batch, hands it to one stage after the other, and drops its
 * memory context at the end.  A stage reads what earlier stages filled in, adds its
 * own part, and writes its tables in sets.  Indices are into the arrays here.
 */
#ifndef CDP_BATCH_H
#define CDP_BATCH_H

#include "postgres.h"
#include "datatype/timestamp.h"
#include "base/json.h"
#include "storage/itemptr.h"
#include "utils/uuid.h"

typedef enum CdpMessageType
{
	CDP_IDENTIFY,
	CDP_TRACK,
	CDP_PAGE,
	CDP_SCREEN,
	CDP_GROUP,
	CDP_ALIAS
} CdpMessageType;

/* event: one text as it arrived, a message or an envelope of messages */
typedef struct CdpPayload
{
	char *text;
	int length;
	TimestampTz received_at;
	const char *source; /* its name */
	int source_id;		/* 0: unknown */
	int16 source_rank;
	bool corrects_clock;
	const char *phone_region; /* NULL: none */
	const char *transformation; /* a function's qualified name; NULL: none */
} CdpPayload;

#define CDP_MESSAGE_TYPES 6
extern const char *const cdp_message_type_names[CDP_MESSAGE_TYPES];

/* The type of a name, or -1. */
extern int cdp_message_type_of(const char *name, int length);

typedef struct CdpMessage
{
	/* event: parse */
	const CdpPayload *payload;
	CdpJsonValue json;	   /* the message */
	CdpJsonValue envelope; /* the batch around it, or none */

	/* event: transform */
	const struct CdpMessage *sent; /* as it came, where a transformation made another of it; else NULL */

	/* event: validate */
	CdpMessageType type;
	const char *name; /* of the event, page or screen; NULL if it has none */
	int name_length;
	const char *message_id;
	int message_id_length;
	bool has_made_id; /* it came without one */
	TimestampTz occurred_at;
	Jsonb *document;   /* the message as it is kept */
	int first_mention; /* in batch->mentions: strongest first, people's before accounts' */
	int n_mentions;
	int n_malformed; /* after those: namespaces of values that became no identifiers */

	/* event: de-duplicate */
	pg_uuid_t key;

	/* identity: identify */
	int strongest; /* in batch->identifiers; -1: none */

	/* identity: anchor */
	int fragment; /* in batch->fragments; -1: anchored to nobody */
} CdpMessage;

/* One identifier in one message. */
typedef struct CdpMention
{
	int namespace_index; /* in the namespaces of this batch */
	const char *value;	 /* normalised */
	int value_length;
	int identifier; /* identity: in batch->identifiers */
} CdpMention;

/* event: what was refused, and why */
typedef struct CdpRejection
{
	const CdpPayload *payload;
	const char *reason; /* a code, such as no_identifier */
	const char *detail;
	const char *document; /* what to replay */
	int document_length;
} CdpRejection;

/* identity: a distinct identifier of this batch */
typedef struct CdpBatchIdentifier
{
	int namespace_index; /* in the namespaces of this batch */
	const char *value;	 /* normalised */
	int value_length;
	int64 identifier_id;
	int64 profile_id;
	ItemPointerData place; /* where its row was found, if it was */
	bool is_new;	   /* this batch made its row */
	bool is_alone;	   /* and its profile's, which nobody else is in: nothing links it */
	bool is_contested; /* a device seen with two values of one stronger namespace */
	TimestampTz first_seen_at;
	TimestampTz last_seen_at;
	int64 event_count;
	int64 frozen_component_id; /* the frozen component with which it meets something new; 0: none */
	int fragment;			   /* in batch->fragments: what is anchored to itself; -1: none yet */
} CdpBatchIdentifier;

/* What is known of somebody: of a profile, or a part of it. */
typedef struct CdpKnown
{
	struct CdpStamped *traits; /* NULL: nothing said */
	struct CdpStamped *consents;
	int64 event_count;
	TimestampTz first_seen_at; /* of one event at least */
	TimestampTz last_seen_at;
} CdpKnown;

/*
 * identity: what the batch's messages of one strongest identifier say of the one they are anchored to; the two differ
 * on contested devices only, and with what is said of accounts.
 */
typedef struct CdpBatchFragment
{
	int64 anchor_id;
	int64 identifier_id;
	int64 profile_id; /* of the anchor; profile fills it in where the anchor is an identifier of the batch */
	bool is_new;	   /* the anchor is, so nothing is stored of it yet */
	bool is_refolded; /* to be folded again from the log as a whole, in which these messages stand by then */
	CdpKnown known;	  /* consent and profile fill it in */
	struct CdpStamped *consents_before; /* where it says consents: those stored before; consent and profile fill it in */
} CdpBatchFragment;

/* identity: a distinct pair of this batch, the stronger end first */
typedef struct CdpBatchLink
{
	int a;
	int b;
	TimestampTz first_seen_at;
	TimestampTz last_seen_at;
	int64 event_count;
	bool is_related; /* of different entities: it relates a person to an account and joins nobody */
	bool is_new;
	bool is_redundant; /* by what was judged before */
} CdpBatchLink;

/* identity: a profile of a component that is locked, as its row was then */
typedef struct CdpBatchProfile
{
	int64 profile_id;
	int64 component_id;
	bool is_disputed;
	bool is_frozen;
	ItemPointerData place; /* where the row begins */
} CdpBatchProfile;

/* identity: two profiles became one, or one became two */
typedef struct CdpBatchMove
{
	int64 from_profile_id; /* the profile whose identifiers moved */
	int64 to_profile_id; /* 0: nobody is known by the other any more */
	bool is_merge;		 /* else a split */
} CdpBatchMove;

/* segment: a profile entered or left a segment */
typedef struct CdpBatchTransition
{
	int64 profile_id;
	const char *segment;
	bool is_entry;
	TimestampTz effective_at;
} CdpBatchTransition;

typedef struct CdpBatch
{
	MemoryContext context;
	TimestampTz now;
	int max;								/* payloads to claim at most */
	bool is_first_try;						/* should somebody stand in the way, it will be tried again */
	const struct CdpNamespaces *namespaces; /* the rules in force */
	const char *cause; /* of moves, where the batch has no messages: a ruling, retraction or rule changed; else NULL */

	const int64 *rederived; /* with a cause: identifiers whose links and fragments are to be derived from the log again */
	int n_rederived;

	CdpPayload *payloads;
	int n_payloads;

	CdpMessage *messages;
	int n_messages;
	int messages_capacity;

	CdpMention *mentions;
	int n_mentions;
	int mentions_capacity;

	CdpRejection *rejections;
	int n_rejections;
	int rejections_capacity;

	CdpBatchIdentifier *identifiers;
	int n_identifiers;

	CdpBatchLink *links;
	int n_links;

	CdpBatchProfile *locked; /* by profile */
	int n_locked;

	int64 *recontested; /* devices that became contested, or are so no longer */
	int n_recontested;
	int recontested_capacity;
	int64 *bereft; /* profiles that had an identifier which nobody has any more; among those to be folded again */
	int n_bereft;
	int bereft_capacity;

	CdpBatchFragment *fragments;
	int n_fragments;
	int fragments_capacity;
	struct HTAB *fragments_by_ids;

	int64 *refolded; /* identity: identifiers whose events are all to be folded again; sorted, distinct */
	int n_refolded;
	int64 *reread_devices; /* identity: those of them of which it is not known who signed in on them; sorted, distinct */
	int n_reread_devices;

	/* profiles whose identifiers, traits, consents or events changed; sorted, distinct */
	int64 *profiles;
	int n_profiles;
	int profiles_capacity;

	int64 *refolded_profiles; /* those of them that are to be folded from all their fragments; profile adds to them and sorts them */
	int n_refolded_profiles;
	int refolded_profiles_capacity;

	int64 *changed_profiles; /* profile: those whose traits, identifiers or consents differ from before */
	int n_changed_profiles;

	CdpBatchMove *moves;
	int n_moves;
	int moves_capacity;

	CdpBatchTransition *transitions;
	int n_transitions;

	/* outcome, as cdp.process() returns it */
	int64 received; /* messages, good and bad */
	int64 duplicates;
	int64 rejected;
	int64 merges;
	int64 splits;
	int64 entered;
	int64 exited;
} CdpBatch;

/*
 * The value at a path of member names in a message, e.g. {"context", "device", "id"}.  What a message's
 * context lacks is looked for in its envelope's.
 */
extern CdpJsonValue cdp_message_path(const CdpMessage *message, char *const *path, int n);

/* The profile of an id among those that are locked, or NULL. */
extern CdpBatchProfile *cdp_batch_locked(const CdpBatch *batch, int64 profile_id);

/* Where the rows of profiles are (scan.h), as far as they are locked. */
extern struct CdpColumn *cdp_batch_places(const CdpBatch *batch, const struct CdpColumn *profile_ids);

/* Find or add the fragment of an anchor and a strongest identifier; returns its index. */
extern int cdp_batch_fragment(CdpBatch *batch, int64 anchor_id, int64 identifier_id);

/* Find or add the fragment of what is anchored to an identifier of the batch itself. */
extern int cdp_batch_own_fragment(CdpBatch *batch, int identifier);

/* By anchor and identifier: for qsort of pointers to fragments. */
extern int cdp_batch_compare_fragments(const void *a, const void *b);

/* Add a profile to the touched ones (any number of times); to those that are to be folded as a whole besides. */
extern void cdp_batch_touch(CdpBatch *batch, int64 profile_id);
extern void cdp_batch_refold(CdpBatch *batch, int64 profile_id);

#endif
