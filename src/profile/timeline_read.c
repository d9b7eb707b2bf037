/*
 * timeline_read.c
 *		Reading packed timelines, which may be any bytes.
 */
#include "postgres.h"

#include "port/pg_bitutils.h"
#include "port/pg_bswap.h"
#include "profile/timeline.h"

const int64 cdp_timeline_units[CDP_TIMELINE_UNITS] = {1, 1000, USECS_PER_SEC, USECS_PER_DAY};

/* So many of each are longer than any timeline. */
#define SPAN (CDP_END_INSTANT - CDP_FIRST_INSTANT)
static const int64 too_many_units[CDP_TIMELINE_UNITS] = {SPAN, SPAN / 1000, SPAN / USECS_PER_SEC,
														 SPAN / USECS_PER_DAY};

/* Read an unsigned number: seven bits a byte, low ones first, the high bit says that more follow; below 2^63.
 */
static inline bool
read_number(CdpTimelineBytes *bytes, uint64 *number)
{
	uint64 result = 0;

	for (int shift = 0; shift < 63; shift += 7)
	{
		uint8 byte;

		if (bytes->at >= bytes->end)
			return false;
		byte = *bytes->at++;
		result |= (uint64) (byte & 0x7f) << shift;
		if (byte < 0x80)
		{
			*number = result;
			return true;
		}
	}
	return false;
}

/* Read a number that counts something of which each takes a byte or more: so it cannot ask for much memory.
 */
static bool
read_count(CdpTimelineBytes *bytes, uint32 *count)
{
	uint64 number;

	if (!read_number(bytes, &number) || number > (uint64) (bytes->end - bytes->at) + 1)
		return false;
	*count = number;
	return true;
}

/* Read a number below a limit. */
static bool
read_below(CdpTimelineBytes *bytes, uint64 limit, uint32 *result)
{
	uint64 number;

	if (!read_number(bytes, &number) || number >= limit)
		return false;
	*result = number;
	return true;
}

/* Cut a length of bytes off. */
static bool
take(CdpTimelineBytes *bytes, uint64 length, CdpTimelineBytes *taken)
{
	if (length > (uint64) (bytes->end - bytes->at))
		return false;
	taken->at = bytes->at;
	taken->end = bytes->at += length;
	return true;
}

static bool
take_counted(CdpTimelineBytes *bytes, CdpTimelineBytes *taken)
{
	uint64 length;

	return read_number(bytes, &length) && take(bytes, length, taken);
}

static bool
read_word(CdpTimelineBytes *bytes, CdpWord *word)
{
	CdpTimelineBytes taken;
	int first;

	if (bytes->at == bytes->end)
		return false;
	first = *bytes->at++;
	if (first > CDP_WORD_SHORT)
	{
		if (first > CDP_WORD_SHORT + CDP_TIMELINE_KNOWN_WORDS)
			return false;
		*word = cdp_timeline_known_words[first - CDP_WORD_SHORT - 1];
		return true;
	}
	if (!(first < CDP_WORD_SHORT ? take(bytes, first, &taken) : take_counted(bytes, &taken)))
		return false;
	word->text = (const char *) taken.at;
	word->length = taken.end - taken.at;
	return true;
}

static bool
is_before(const CdpWord *a, const CdpWord *b)
{
	return cdp_timeline_compare_words(a->text, a->length, b->text, b->length) < 0;
}

static bool
read_words(CdpTimelineReader *reader, CdpTimelineBytes *bytes)
{
	int before = 0; /* first byte of the word before: known words are in order as their numbers are */

	if (!read_count(bytes, &reader->n_words) || reader->n_words == 0)
		return false;
	reader->words = reader->inline_words;
	if (reader->n_words > CDP_TIMELINE_INLINE)
		reader->words = palloc_extended(sizeof(CdpWord) * reader->n_words, MCXT_ALLOC_HUGE);
	for (uint32 i = 0; i < reader->n_words; i++)
	{
		CdpWord *word = &reader->words[i];
		int first = bytes->at < bytes->end ? *bytes->at : 0;

		if (!read_word(bytes, word))
			return false;
		if (first > CDP_WORD_SHORT && before > CDP_WORD_SHORT ? first <= before
															  : i > 0 && !is_before(word - 1, word))
			return false;
		before = first;
	}
	return true;
}

/* Read a kind: its name and, where there are some, its properties; these are no more than there are words. */
static bool
read_kind(CdpTimelineReader *reader, CdpTimelineBytes *bytes, CdpEventKind *kind)
{
	uint32 name;

	if (!read_below(bytes, (uint64) reader->n_words * 2, &name))
		return false;
	kind->name = name / 2;
	if (name % 2 == 0)
		return true;
	if (!read_count(bytes, &kind->n_properties) || kind->n_properties == 0 ||
		kind->n_properties > reader->n_words)
		return false;
	kind->properties = palloc_extended(sizeof(CdpProperty) * kind->n_properties, MCXT_ALLOC_HUGE);
	for (uint32 i = 0; i < kind->n_properties; i++)
	{
		uint32 number;

		if (!read_below(bytes, (uint64) reader->n_words * 4, &number))
			return false;
		kind->properties[i].name = number / 4;
		kind->properties[i].type = number % 4;
		if (i > 0 && kind->properties[i].name <= kind->properties[i - 1].name)
			return false;
	}
	return true;
}

/* The kinds of events: as written, or without properties a kind for each word. */
static bool
read_kinds(CdpTimelineReader *reader, CdpTimelineBytes *bytes, bool has_properties)
{
	uint32 most = 0;

	if (!has_properties)
		reader->n_kinds = reader->n_words;
	else if (!read_count(bytes, &reader->n_kinds) || reader->n_kinds == 0)
		return false;
	reader->kinds = reader->inline_kinds;
	if (reader->n_kinds > CDP_TIMELINE_INLINE)
		reader->kinds = palloc_extended(sizeof(CdpEventKind) * reader->n_kinds, MCXT_ALLOC_HUGE);
	for (uint32 i = 0; i < reader->n_kinds; i++)
	{
		CdpEventKind *kind = &reader->kinds[i];

		kind->name = i;
		kind->n_properties = 0;
		kind->properties = NULL;
		if (has_properties && !read_kind(reader, bytes, kind))
			return false;
		most = Max(most, kind->n_properties);
	}
	if (most > 0)
		reader->values = palloc_extended(sizeof(CdpPropertyValue) * most, MCXT_ALLOC_HUGE);
	return true;
}

/* The first instant. */
static bool
read_first(CdpTimelineReader *reader, CdpTimelineBytes *bytes)
{
	uint64 number;
	int64 units;

	if (!read_number(bytes, &number))
		return false;
	units = cdp_unzigzag(number >> 2);
	if (llabs(units) >= too_many_units[number & 3])
		return false;
	reader->reached = units * cdp_timeline_units[number & 3];
	return cdp_is_plausible_time(reader->reached);
}

/* The ids, of all events or some. */
static bool
read_ids(CdpTimelineReader *reader, CdpTimelineBytes *bytes)
{
	uint64 n = reader->count;
	CdpTimelineBytes bits;

	if (reader->ids_are == CDP_IDS_SOME)
	{
		if (!take(bytes, (n + 7) / 8, &bits))
			return false;
		reader->has_id = bits.at;
		n = pg_popcount((const char *) bits.at, bits.end - bits.at);
	}
	return take(bytes, n * CDP_TIMELINE_ID_BYTES, &reader->ids);
}

bool
cdp_timeline_open(CdpTimelineReader *reader, const void *data, Size size)
{
	CdpTimelineBytes bytes = {data, (const uint8 *) data + size};
	CdpTimelineBytes indexes;
	bool has_properties;
	uint8 flags;

	memset(reader, 0, offsetof(CdpTimelineReader, inline_words));
	reader->is_malformed = true;
	if (size < 3 || bytes.at[0] != CDP_TIMELINE_VERSION)
		return false;
	flags = bytes.at[1];
	bytes.at += 2;
	reader->ids_are = flags & CDP_TIMELINE_IDS_MASK;
	has_properties = (flags & CDP_TIMELINE_HAS_PROPERTIES) != 0;
	if ((flags & ~CDP_TIMELINE_ALL_FLAGS) != 0 || reader->ids_are > CDP_IDS_SOME ||
		!read_count(&bytes, &reader->count))
		return false;
	reader->times = bytes; /* so that nothing may follow no events */
	if (reader->count > 0)
	{
		if (!read_words(reader, &bytes) || !read_kinds(reader, &bytes, has_properties) ||
			!read_first(reader, &bytes))
			return false;
		reader->kind_bits = cdp_timeline_bits_for(reader->n_kinds);
		if (!take(&bytes, ((uint64) reader->count * reader->kind_bits + 7) / 8, &indexes))
			return false;
		reader->kind_indexes = indexes.at;
		if (reader->ids_are != CDP_IDS_NONE && !read_ids(reader, &bytes))
			return false;
		reader->times = bytes;
		if (has_properties)
		{
			/* it would not be told so if no kind had any */
			if (reader->values == NULL || !take_counted(&bytes, &reader->times))
				return false;
			reader->values_left = bytes;
		}
		if (reader->times.end - (const uint8 *) data >= 8)
			reader->last_eight = reader->times.end - 8;
	}
	reader->is_malformed = false;
	return true;
}

/* The key of an event, the next of which none was taken. */
static inline uint32
take_key(CdpTimelineReader *reader, uint32 position)
{
	uint32 key;

	if (reader->ids_are == CDP_IDS_NONE || (reader->ids_are == CDP_IDS_SOME && cdp_timeline_get_bits(reader->has_id, 1, position) == 0))
		return 0;
	key = CDP_TIMELINE_HAS_ID | reader->ids.at[0] | reader->ids.at[1] << 8;
	reader->ids.at += CDP_TIMELINE_ID_BYTES;
	return key;
}

/* A number: the digits, zigzag, times four, and whether there are 0, 1 or 2 decimals, or else the exponent
 * follows. */
static bool
read_decimal(CdpTimelineBytes *bytes, CdpPropertyValue *value)
{
	uint64 number;

	if (!read_number(bytes, &number))
		return false;
	value->digits = cdp_unzigzag(number >> 2);
	value->exponent = -(int32) (number & 3);
	if ((number & 3) == 3)
	{
		if (!read_number(bytes, &number) || number > 2 * CDP_DECIMAL_MAX_EXPONENT)
			return false;
		value->exponent = cdp_unzigzag(number);
	}
	return cdp_decimal_is_normal(value);
}

static bool
read_values(CdpTimelineReader *reader)
{
	const CdpEventKind *kind = &reader->kinds[reader->kind];

	for (uint32 i = 0; i < kind->n_properties; i++)
	{
		CdpPropertyValue *value = &reader->values[i];
		uint32 word = 0;
		bool ok = true;

		if (kind->properties[i].type == CDP_PROPERTY_NUMBER)
			ok = read_decimal(&reader->values_left, value);
		else if (kind->properties[i].type == CDP_PROPERTY_STRING)
		{
			ok = read_below(&reader->values_left, reader->n_words, &word);
			value->digits = word;
			value->exponent = 0;
		}
		if (!ok)
			return false;
	}
	return true;
}

/* Nothing may be left over. */
static bool
is_used_up(const CdpTimelineReader *reader)
{
	return reader->times.at == reader->times.end && reader->ids.at == reader->ids.end &&
		   reader->values_left.at == reader->values_left.end;
}

/* Seven bits of each byte side by side. */
static inline uint64
close_up(uint64 bytes)
{
	bytes = (bytes & UINT64CONST(0x7f007f007f007f00)) >> 1 | (bytes & UINT64CONST(0x007f007f007f007f));
	bytes = (bytes & UINT64CONST(0x3fff00003fff0000)) >> 2 | (bytes & UINT64CONST(0x00003fff00003fff));
	return (bytes & UINT64CONST(0x0fffffff00000000)) >> 4 | (bytes & UINT64CONST(0x000000000fffffff));
}

/*
 * As read_number(), for times: eight bytes at once, without a branch that depends on how many are used.  The
 * last ones are read as the upper part of the last eight.
 */
static inline bool
read_time(CdpTimelineBytes *times, const uint8 *last_eight, uint64 *number)
{
	const uint8 *from = Min(times->at, last_eight);
	uint64 bytes;
	uint64 ends;
	int length;

	if (last_eight == NULL || times->at >= times->end)
		return read_number(times, number);
	memcpy(&bytes, from, 8);
#ifdef WORDS_BIGENDIAN
	bytes = pg_bswap64(bytes);
#endif
	bytes >>= 8 * (times->at - from);
	ends = ~bytes & UINT64CONST(0x8080808080808080);
	if (ends == 0)
		return read_number(times, number);
	length = pg_rightmost_one_pos64(ends) / 8 + 1;
	if (length > times->end - times->at)
		return false;
	*number = close_up(bytes & (ends ^ (ends - 1)) & UINT64CONST(0x7f7f7f7f7f7f7f7f));
	times->at += length;
	return true;
}

/* The instants of the next n events; false when they are malformed. */
static bool
read_times(CdpTimelineReader *reader, TimestampTz *at, int n)
{
	CdpTimelineBytes times = reader->times;
	const uint8 *last_eight = reader->last_eight;
	TimestampTz reached = reader->reached;
	bool is_too_late = false;
	int i = 0;

	if (reader->position == 0)
		at[i++] = reached;
	for (; i < n; i++)
	{
		uint64 number;

		if (!read_time(&times, last_eight, &number))
			return false;
		is_too_late |= number >> 2 >= (uint64) too_many_units[number & 3];
		reached += (int64) (number >> 2) * cdp_timeline_units[number & 3];
		is_too_late |= reached >= CDP_END_INSTANT;
		at[i] = reached;
	}
	reader->times = times;
	reader->reached = reached;
	return !is_too_late;
}

/* The kinds of the next n events; false when there are no such kinds. */
static bool
read_kind_indexes(const CdpTimelineReader *reader, uint32 *kinds, int n)
{
	const uint8 *indexes = reader->kind_indexes;
	uint32 bits = reader->kind_bits;
	uint32 position = reader->position;
	uint32 highest = 0;

	for (int i = 0; i < n; i++)
	{
		kinds[i] = cdp_timeline_get_bits(indexes, bits, position + i);
		highest = Max(highest, kinds[i]);
	}
	return highest < reader->n_kinds;
}

int
cdp_timeline_next_many(CdpTimelineReader *reader, TimestampTz *at, uint32 *kinds, int n)
{
	n = Min((uint32) n, reader->count - reader->position);
	if (n == 0 || reader->is_malformed)
		return 0;
	if (!read_times(reader, at, n) || !read_kind_indexes(reader, kinds, n))
	{
		reader->is_malformed = true;
		return 0;
	}
	reader->position += n;
	return n;
}

int
cdp_timeline_next_keyed(CdpTimelineReader *reader, TimestampTz *at, uint32 *kinds, uint32 *keys, int n)
{
	uint32 first = reader->position;

	n = cdp_timeline_next_many(reader, at, kinds, n);
	for (int i = 0; i < n; i++)
		keys[i] = take_key(reader, first + i);
	if (n == 0 && !reader->is_malformed && !is_used_up(reader))
		reader->is_malformed = true;
	return n;
}

bool
cdp_timeline_next(CdpTimelineReader *reader)
{
	bool is_next = cdp_timeline_next_many(reader, &reader->at, &reader->kind, 1) > 0;

	if (reader->is_malformed)
		return false;
	if (is_next ? !read_values(reader) : !is_used_up(reader))
	{
		reader->is_malformed = true;
		return false;
	}
	if (is_next)
		reader->key = take_key(reader, reader->position - 1);
	return is_next;
}

int64
cdp_timeline_find_word(const CdpTimelineReader *reader, const char *text, uint32 length)
{
	uint32 low = 0;
	uint32 high = reader->n_words;

	while (low < high)
	{
		uint32 middle = low + (high - low) / 2;
		const CdpWord *word = &reader->words[middle];
		int c = cdp_timeline_compare_words(word->text, word->length, text, length);

		if (c == 0)
			return middle;
		if (c < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return -1;
}
