/*
 * timeline.h
 *		A packed, sorted set of events: the container behind cdp.timeline.
 *
 * Knows no table.  An event is an instant, a name, properties (numbers, strings, booleans) and a key.  The
 *key tells events apart that agree in all else: 16 bits of the hash of a message id, or, of an event without
 *one, which of its like it is: 0, 1, 2, ..  Two events that agree in everything are one.
 *
 * CdpTimelineReader walks through a packed value, CdpTimelineBuilder gathers events in any order and packs
 *them. Readers check every byte they use, so they may be let loose on bytes from anywhere.  There is one
 *packed form of a set of events, so equal sets are equal bytes.  The format is described in docs/timeline.md
 *and frozen by test/sql/profile_timeline.sql.
 */
#ifndef CDP_TIMELINE_H
#define CDP_TIMELINE_H

#include "postgres.h"
#include "base/base.h"
#include "lib/stringinfo.h"

#define CDP_TIMELINE_VERSION 1

#define CDP_TIMELINE_HAS_ID ((uint32) 1 << 31) /* in a key: the rest is of the hash of a message id */
#define CDP_TIMELINE_ID_BITS 16
#define CDP_TIMELINE_ID_BYTES 2

/* A text of the dictionary: the name of an event or a property, or a property's value. */
typedef struct CdpWord
{
	const char *text; /* ends at its length */
	uint32 length;
} CdpWord;

typedef enum CdpPropertyType
{
	CDP_PROPERTY_NUMBER,
	CDP_PROPERTY_STRING,
	CDP_PROPERTY_FALSE,
	CDP_PROPERTY_TRUE
} CdpPropertyType;

typedef struct CdpProperty
{
	uint32 name; /* a word */
	uint32 type;
} CdpProperty;

/* What events of one name and with the same properties have in common. */
typedef struct CdpEventKind
{
	uint32 name; /* a word */
	uint32 n_properties;
	CdpProperty *properties; /* by name in bytewise order */
} CdpEventKind;

/*
 * A number: digits * 10^exponent, exact.  There is one form of each: the exponent is 0 where it can be, below
 * 0 the last digit is none, above 0 there are CDP_DECIMAL_DIGITS digits.  Of a string: the word, and 0.
 */
typedef struct CdpPropertyValue
{
	int64 digits;
	int32 exponent;
} CdpPropertyValue;

#define CDP_DECIMAL_DIGITS 18
#define CDP_DECIMAL_MAX_EXPONENT 1000

/* What numeric prints, rounded to the digits there are; false when it is too large. */
extern bool cdp_decimal_parse(const char *text, int length, CdpPropertyValue *value);
extern bool cdp_decimal_is_normal(const CdpPropertyValue *value);

/* As numeric prints it, into a buffer of CDP_DECIMAL_BYTES; returns the length. */
#define CDP_DECIMAL_BYTES (CDP_DECIMAL_DIGITS + CDP_DECIMAL_MAX_EXPONENT + 8)
extern int cdp_decimal_format(const CdpPropertyValue *value, char *buffer);

/* --- reading ----------------------------------------------------------------------------- */

typedef struct CdpTimelineBytes
{
	const uint8 *at;
	const uint8 *end;
} CdpTimelineBytes;

#define CDP_TIMELINE_INLINE 8 /* words and kinds that need no memory of their own */

typedef struct CdpTimelineReader
{
	/* what the whole holds */
	uint32 count;
	uint32 n_words;
	uint32 n_kinds;
	CdpWord *words;
	CdpEventKind *kinds;

	/* the event that cdp_timeline_next() went to */
	TimestampTz at;
	uint32 kind;
	uint32 key;				  /* 0 without message id */
	CdpPropertyValue *values; /* as many as the kind has properties; booleans have none */

	bool is_malformed; /* the bytes are no timeline; nothing more comes of them */

	/* private */
	uint32 position;
	uint32 kind_bits;
	uint32 ids_are;		 /* CDP_IDS_.. */
	TimestampTz reached; /* the instant of the last event read; of the first one when none was */
	const uint8 *kind_indexes;
	const uint8 *has_id; /* a bit for each event, where some have one */
	CdpTimelineBytes ids;
	CdpTimelineBytes times;
	const uint8 *last_eight; /* bytes of the times; NULL: fewer than eight stand before their end */
	CdpTimelineBytes values_left;
	CdpWord inline_words[CDP_TIMELINE_INLINE];
	CdpEventKind inline_kinds[CDP_TIMELINE_INLINE];
} CdpTimelineReader;

/* Begin to read packed bytes, which must outlive the reader; false when they are no timeline. */
extern bool cdp_timeline_open(CdpTimelineReader *reader, const void *data, Size size);

/* Go to the next event; false at the end, and where the bytes are malformed. */
extern bool cdp_timeline_next(CdpTimelineReader *reader);

/*
 * Read only the instants and kinds, of up to n more events, which is faster; returns of how many, less than n
 * at the end and where the bytes are malformed.  Do not mix with cdp_timeline_next().
 */
#define CDP_TIMELINE_MANY 64
extern int cdp_timeline_next_many(CdpTimelineReader *reader, TimestampTz *at, uint32 *kinds, int n);

/* The same with their keys, of a timeline whose events have no properties; it sees that nothing is left over, too. */
extern int cdp_timeline_next_keyed(CdpTimelineReader *reader, TimestampTz *at, uint32 *kinds, uint32 *keys, int n);

/* The number of a word in a reader's dictionary, which is in bytewise order; -1 when it is not there. */
extern int64 cdp_timeline_find_word(const CdpTimelineReader *reader, const char *text, uint32 length);

/* The error of a value that is malformed. */
extern void cdp_timeline_raise_malformed(void);

/* --- building ---------------------------------------------------------------------------- */

/* Texts, or any bytes, to dense numbers. */
typedef struct CdpInterner
{
	struct CdpInterned
	{
		Size at; /* in bytes */
		uint32 length;
		uint32 hash;
	} * items;
	uint32 n;
	uint32 capacity;
	uint32 last; /* found or added; the same often comes again */
	char *bytes;
	Size used;
	Size size;
	uint32 *slots; /* number + 1; 0: empty */
	uint32 mask;
} CdpInterner;

typedef struct CdpTimelineItem
{
	TimestampTz at;
	uint32 kind;
	uint32 key;
	Size values_at;
} CdpTimelineItem;

typedef struct CdpTimelineBuilder
{
	MemoryContext context;
	CdpInterner words;
	CdpInterner kinds; /* of uint32: the name, then twice the property's name and type */
	CdpTimelineItem *items;
	Size n;
	Size capacity;
	CdpPropertyValue *values;
	Size n_values;
	Size values_capacity;
} CdpTimelineBuilder;

/* A property on its way into a builder. */
typedef struct CdpNamedValue
{
	const char *name;
	uint32 name_length;
	CdpPropertyType type;
	CdpPropertyValue number;
	const char *string;
	uint32 string_length;
} CdpNamedValue;

/* An empty builder, all of whose memory is in the current context. */
extern void cdp_timeline_begin(CdpTimelineBuilder *builder);

/* Empty a builder again; it keeps its memory. */
extern void cdp_timeline_clear(CdpTimelineBuilder *builder);

/* The key of an event with a message id; the key of one without is 0. */
extern uint32 cdp_timeline_key(const char *message_id, int length);

/* Add an event.  No two properties may have the same name; they are sorted in place.  The instant is a
 * plausible one. */
extern void cdp_timeline_add(CdpTimelineBuilder *builder, const char *name, uint32 name_length,
							 TimestampTz at, uint32 key, CdpNamedValue *properties, int n_properties);

/* Add what a reader has left, of what happened in since <= t < until.  False when its bytes are malformed. */
extern bool cdp_timeline_add_all(CdpTimelineBuilder *builder, CdpTimelineReader *reader, TimestampTz since,
								 TimestampTz until);

/* Add all of a stored timeline; an error when it is malformed. */
extern void cdp_timeline_add_stored(CdpTimelineBuilder *builder, Datum timeline);

typedef enum CdpTimelineSet
{
	CDP_TIMELINE_UNION, /* what agrees in everything is one event */
	CDP_TIMELINE_SUM	/* but events without message id are all different: they are numbered anew */
} CdpTimelineSet;

/* The packed form of the events, as a varlena in the current context; the builder stays as it is. */
extern struct varlena *cdp_timeline_pack(CdpTimelineBuilder *builder, CdpTimelineSet set);

/* --- joining end to end ------------------------------------------------------------------- */

/* A packed timeline, that begins after the one before it has ended. */
typedef struct CdpTimelineRun
{
	char *bytes;
	Size size;
	TimestampTz last;
} CdpTimelineRun;

/* Timelines without properties, all of whose events have message ids, or none. */
typedef struct CdpTimelineRuns
{
	CdpTimelineRun *items;
	int n;
	int capacity;
	uint64 count; /* of their events */
	uint32 ids_are;
} CdpTimelineRuns;

/* Add a copy of a timeline behind the others; false, and nothing is added, when it cannot stand there, or is malformed. */
extern bool cdp_timeline_run_on(CdpTimelineRuns *runs, MemoryContext context, const struct varlena *timeline);

/* Add the events of all of them to a builder; afterwards there are none. */
extern void cdp_timeline_settle(CdpTimelineBuilder *builder, CdpTimelineRuns *runs);

/* The packed form of all of them, of which there is one at least. */
extern struct varlena *cdp_timeline_splice(const CdpTimelineRuns *runs);

/* --- words that every timeline knows (frozen) ---------------------------------------------- */

#define CDP_TIMELINE_KNOWN_WORDS 159
extern const CdpWord cdp_timeline_known_words[CDP_TIMELINE_KNOWN_WORDS];
extern int cdp_timeline_known_word(const char *text, uint32 length); /* -1: none */

/* Order words bytewise. */
static inline int
cdp_timeline_compare_words(const char *a, uint32 a_length, const char *b, uint32 b_length)
{
	int c;

	if (a_length > 0 && b_length > 0 && *a != *b)
		return (uint8) *a < (uint8) *b ? -1 : 1;
	c = memcmp(a, b, Min(a_length, b_length));
	return c != 0 ? c : a_length < b_length ? -1 : a_length > b_length;
}

/* --- the format, for readers and builders ------------------------------------------------- */

/* A time is a number of some unit; the number times four, and which unit. */
#define CDP_TIMELINE_UNITS 4
extern const int64 cdp_timeline_units[CDP_TIMELINE_UNITS]; /* microseconds */

/* flags */
#define CDP_TIMELINE_IDS_MASK 0x03
#define CDP_TIMELINE_HAS_PROPERTIES 0x04
#define CDP_TIMELINE_ALL_FLAGS 0x07

#define CDP_IDS_NONE 0
#define CDP_IDS_ALL 1  /* two bytes for each event */
#define CDP_IDS_SOME 2 /* a bit for each event, and two bytes for each that has one */

#define CDP_WORD_SHORT                                                                                       \
	64 /* a byte below: a text of that length; the byte: a length and a text; above: a known word */

/* How many bits number n things, of the widths that there are. */
static inline uint32
cdp_timeline_bits_for(uint32 n)
{
	return n <= 1 ? 0 : n <= 2 ? 1 : n <= 4 ? 2 : n <= 16 ? 4 : n <= 256 ? 8 : n <= 65536 ? 16 : 32;
}

/* The i-th of numbers of so many bits each. */
static inline uint32
cdp_timeline_get_bits(const uint8 *array, uint32 bits, uint32 i)
{
	const uint8 *p;

	if (bits <= 8)
	{
		uint64 at = (uint64) i * bits;

		return bits == 0 ? 0 : (array[at >> 3] >> (at & 7)) & ((1U << bits) - 1);
	}
	p = array + (Size) i * (bits / 8);
	return bits == 16 ? p[0] | p[1] << 8 : p[0] | p[1] << 8 | p[2] << 16 | (uint32) p[3] << 24;
}

/* Writing what both pack() and splice() write; a first instant, and times since the event before. */
extern void cdp_timeline_write_number(StringInfo out, uint64 number);
extern void cdp_timeline_write_word(StringInfo out, const char *text, uint32 length);
extern void cdp_timeline_write_first(StringInfo out, TimestampTz at);
extern void cdp_timeline_write_time(StringInfo out, int64 time);

/* The events' kinds, in as few bits each as will do; what is left of the last byte is written at the end. */
typedef struct CdpKindWriter
{
	StringInfo out;
	uint32 bits; /* of each */
	uint32 byte; /* that is being filled, */
	uint32 used; /* and so many of its bits are */
} CdpKindWriter;

static inline void
cdp_timeline_write_kind(CdpKindWriter *writer, uint32 kind)
{
	if (writer->bits > 8)
	{
		for (uint32 shift = 0; shift < writer->bits; shift += 8)
			appendStringInfoChar(writer->out, kind >> shift);
		return;
	}
	writer->byte |= kind << writer->used;
	writer->used += writer->bits;
	if (writer->used == 8)
	{
		appendStringInfoChar(writer->out, writer->byte);
		writer->byte = writer->used = 0;
	}
}

static inline void
cdp_timeline_end_kinds(CdpKindWriter *writer)
{
	if (writer->used > 0)
		appendStringInfoChar(writer->out, writer->byte);
}

/* Numbers of both signs as numbers of one: 0, -1, 1, -2, .. */
static inline uint64
cdp_zigzag(int64 number)
{
	return ((uint64) number << 1) ^ (uint64) (number >> 63);
}

static inline int64
cdp_unzigzag(uint64 number)
{
	return (int64) (number >> 1) ^ -(int64) (number & 1);
}

/* --- questions ------------------------------------------------------------------------------ */

#define CDP_FUNNEL_MAX_STEPS 32

typedef struct CdpFunnel
{
	int n_steps;
	CdpWord steps[CDP_FUNNEL_MAX_STEPS];
	int64 within; /* microseconds from the first step to the last */

	/* by cdp_funnel_prepare(); steps are 1, 2, .. here */
	uint8 earlier[CDP_FUNNEL_MAX_STEPS + 2];  /* the step before of the same name, or 0 */
	uint8 earliest[CDP_FUNNEL_MAX_STEPS + 2]; /* the first one of that name */
} CdpFunnel;

/* To be called once, when the steps are there. */
extern void cdp_funnel_prepare(CdpFunnel *funnel);

/* How many of the steps, in their order, somebody took; look at is_malformed afterwards. */
extern int cdp_funnel_depth(CdpTimelineReader *reader, const CdpFunnel *funnel);

#endif
