/*
 * timeline_build.c
 *		Gathering events in any order, and packing them.
 *
 * A builder numbers words and kinds as they come.  Packing sorts words and kinds and numbers them anew, sorts
 *the events by instant, kind, values and key, drops or counts those that agree, and writes the streams one
 *after the other.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "profile/timeline.h"
#include "utils/memutils.h"

/* --- numbering --------------------------------------------------------------------------- */

static void
raise_too_large(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("a timeline is too large"),
			 errdetail("Packed, it takes more than %zu bytes.", (Size) MaxAllocSize),
			 errhint("Keep a timeline for each month, and leave properties out that are seldom asked for.")));
}

/* Room for one more: twice what there is. */
static void *
grow(MemoryContext context, void *array, Size element, Size first, Size *capacity)
{
	*capacity = array == NULL ? first : *capacity * 2;
	if (array == NULL)
		return MemoryContextAlloc(context, *capacity * element);
	return repalloc_huge(array, *capacity * element);
}

static void
put_into_slot(CdpInterner *interner, uint32 number)
{
	uint32 slot = interner->items[number].hash & interner->mask;

	while (interner->slots[slot] != 0)
		slot = (slot + 1) & interner->mask;
	interner->slots[slot] = number + 1;
}

static void
make_slots(MemoryContext context, CdpInterner *interner, uint32 n_slots)
{
	if (interner->slots != NULL)
		pfree(interner->slots);
	interner->mask = n_slots - 1;
	interner->slots = MemoryContextAllocExtended(context, sizeof(uint32) * (Size) n_slots,
												 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (uint32 i = 0; i < interner->n; i++)
		put_into_slot(interner, i);
}

static const char *
interned(const CdpInterner *interner, uint32 number)
{
	return interner->bytes + interner->items[number].at;
}

static bool
is_number(const CdpInterner *interner, uint32 number, const void *bytes, uint32 length)
{
	return interner->items[number].length == length && memcmp(interned(interner, number), bytes, length) == 0;
}

/* A new number for bytes that have none. */
static uint32
add_interned(MemoryContext context, CdpInterner *interner, const void *bytes, uint32 length, uint32 hash)
{
	Size at = TYPEALIGN(sizeof(uint32), interner->used);

	if (at + length > MaxAllocSize)
		raise_too_large(); /* it could not be packed either */
	while (at + length >= interner->size)
		interner->bytes = grow(context, interner->bytes, 1, 64, &interner->size);
	if (interner->n == interner->capacity)
	{
		Size capacity = interner->capacity;

		interner->items = grow(context, interner->items, sizeof(interner->items[0]), 8, &capacity);
		interner->capacity = capacity;
	}
	memcpy(interner->bytes + at, bytes, length);
	interner->used = at + length;
	interner->items[interner->n].at = at;
	interner->items[interner->n].length = length;
	interner->items[interner->n].hash = hash;
	interner->n++;
	if ((uint64) interner->n * 2 > interner->mask)
		make_slots(context, interner, (interner->mask + 1) * 2);
	else
		put_into_slot(interner, interner->n - 1);
	return interner->n - 1;
}

/* The number of some bytes. */
static uint32
intern(MemoryContext context, CdpInterner *interner, const void *bytes, uint32 length)
{
	uint32 hash;
	uint32 number;

	if (interner->n > 0 && is_number(interner, interner->last, bytes, length))
		return interner->last;
	hash = (uint32) cdp_hash64(bytes, length, 0);
	for (uint32 slot = hash & interner->mask;; slot = (slot + 1) & interner->mask)
	{
		number = interner->slots[slot];
		if (number == 0)
			return interner->last = add_interned(context, interner, bytes, length, hash);
		if (interner->items[number - 1].hash == hash && is_number(interner, number - 1, bytes, length))
			return interner->last = number - 1;
	}
}

/* --- gathering --------------------------------------------------------------------------- */

void
cdp_timeline_begin(CdpTimelineBuilder *builder)
{
	memset(builder, 0, sizeof(CdpTimelineBuilder));
	builder->context = CurrentMemoryContext;
	make_slots(builder->context, &builder->words, 16);
	make_slots(builder->context, &builder->kinds, 16);
}

static void
clear_interner(CdpInterner *interner)
{
	interner->n = 0;
	interner->used = 0;
	memset(interner->slots, 0, sizeof(uint32) * ((Size) interner->mask + 1));
}

void
cdp_timeline_clear(CdpTimelineBuilder *builder)
{
	clear_interner(&builder->words);
	clear_interner(&builder->kinds);
	builder->n = 0;
	builder->n_values = 0;
}

uint32
cdp_timeline_key(const char *message_id, int length)
{
	return CDP_TIMELINE_HAS_ID | (cdp_hash64(message_id, length, 0) & ((1 << CDP_TIMELINE_ID_BITS) - 1));
}

static uint32
intern_word(CdpTimelineBuilder *builder, const char *text, uint32 length)
{
	return intern(builder->context, &builder->words, text, length);
}

static void
add_value(CdpTimelineBuilder *builder, CdpPropertyValue value)
{
	if (builder->n_values == builder->values_capacity)
		builder->values =
			grow(builder->context, builder->values, sizeof(value), 8, &builder->values_capacity);
	builder->values[builder->n_values++] = value;
}

/* Add an event whose values are the last ones added. */
static void
add_item(CdpTimelineBuilder *builder, TimestampTz at, uint32 kind, uint32 key, Size values_at)
{
	CdpTimelineItem *item;

	if (builder->n == builder->capacity)
		builder->items = grow(builder->context, builder->items, sizeof(*item), 8, &builder->capacity);
	if (builder->n == PG_UINT32_MAX)
		raise_too_large();
	item = &builder->items[builder->n++];
	item->at = at;
	item->kind = kind;
	item->key = key;
	item->values_at = values_at;
}

static int
compare_named_values(const void *a, const void *b)
{
	const CdpNamedValue *p = a;
	const CdpNamedValue *q = b;

	return cdp_timeline_compare_words(p->name, p->name_length, q->name, q->name_length);
}

void
cdp_timeline_add(CdpTimelineBuilder *builder, const char *name, uint32 name_length, TimestampTz at,
				 uint32 key, CdpNamedValue *properties, int n_properties)
{
	Size values_at = builder->n_values;
	uint32 word = intern_word(builder, name, name_length);
	uint32 *kind = &word;
	int length = 1;
	uint32 kind_number;

	if (n_properties > 0)
	{
		qsort(properties, n_properties, sizeof(CdpNamedValue), compare_named_values);
		kind = palloc(sizeof(uint32) * (2 * (Size) n_properties + 1));
		kind[0] = word;
	}
	for (int i = 0; i < n_properties; i++)
	{
		CdpNamedValue *property = &properties[i];

		if (property->type == CDP_PROPERTY_STRING)
			property->number.digits = intern_word(builder, property->string, property->string_length);
		if (property->type == CDP_PROPERTY_NUMBER || property->type == CDP_PROPERTY_STRING)
			add_value(builder, property->number);
		kind[length++] = intern_word(builder, property->name, property->name_length);
		kind[length++] = property->type;
	}
	kind_number = intern(builder->context, &builder->kinds, kind, length * sizeof(uint32));
	if (n_properties > 0)
		pfree(kind);
	add_item(builder, at, kind_number, key, values_at);
}

/* Numbers of a reader's words or kinds in a builder; + 1, for 0 is: not met yet. */
typedef struct Translation
{
	CdpTimelineBuilder *builder;
	const CdpTimelineReader *reader;
	uint32 *words;
	uint32 *kinds;
	uint32 *kind; /* room for one */
} Translation;

static uint32
translate_word(Translation *t, uint32 word)
{
	if (t->words[word] == 0)
		t->words[word] =
			intern_word(t->builder, t->reader->words[word].text, t->reader->words[word].length) + 1;
	return t->words[word] - 1;
}

static uint32
translate_kind(Translation *t, uint32 number)
{
	const CdpEventKind *kind = &t->reader->kinds[number];
	uint32 *parts = t->kind;
	int length = 1;

	if (t->kinds[number] == 0)
	{
		parts[0] = translate_word(t, kind->name);
		for (uint32 i = 0; i < kind->n_properties; i++)
		{
			parts[length++] = translate_word(t, kind->properties[i].name);
			parts[length++] = kind->properties[i].type;
		}
		t->kinds[number] =
			intern(t->builder->context, &t->builder->kinds, parts, length * sizeof(uint32)) + 1;
	}
	return t->kinds[number] - 1;
}

static void
begin_translation(Translation *t, CdpTimelineBuilder *builder, const CdpTimelineReader *reader)
{
	Size most = 0;

	for (uint32 i = 0; i < reader->n_kinds; i++)
		most = Max(most, reader->kinds[i].n_properties);
	t->builder = builder;
	t->reader = reader;
	t->words = palloc_extended(sizeof(uint32) * ((Size) reader->n_words + reader->n_kinds + 2 * most + 1),
							   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	t->kinds = t->words + reader->n_words;
	t->kind = t->kinds + reader->n_kinds;
}

/* Which of its like the last event added is, where it came behind them and has no message id. */
static void
number_last(CdpTimelineBuilder *builder, Size first)
{
	CdpTimelineItem *last = &builder->items[builder->n - 1];
	CdpTimelineItem *before = last - 1;
	Size n_values = builder->n_values - last->values_at;

	if ((last->key & CDP_TIMELINE_HAS_ID) != 0 || builder->n < first + 2 || before->at != last->at ||
		before->kind != last->kind || (before->key & CDP_TIMELINE_HAS_ID) != 0)
		return;
	for (Size i = 0; i < n_values; i++)
	{
		const CdpPropertyValue *value = &builder->values[last->values_at + i];

		if (value[-(ssize_t) n_values].digits != value->digits ||
			value[-(ssize_t) n_values].exponent != value->exponent)
			return;
	}
	last->key = before->key + 1;
}

/* Add the events of a reader that have no properties. */
static void
add_plain(CdpTimelineBuilder *builder, CdpTimelineReader *reader, TimestampTz since, TimestampTz until, Translation *t)
{
	Size first = builder->n;
	TimestampTz at[CDP_TIMELINE_MANY];
	uint32 kinds[CDP_TIMELINE_MANY];
	uint32 keys[CDP_TIMELINE_MANY];
	int n;

	while ((n = cdp_timeline_next_keyed(reader, at, kinds, keys, CDP_TIMELINE_MANY)) > 0)
	{
		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < n; i++)
		{
			if (at[i] < since || at[i] >= until)
				continue;
			add_item(builder, at[i], translate_kind(t, kinds[i]), keys[i], builder->n_values);
			number_last(builder, first);
		}
	}
}

/* Add the events of a reader, whatever they have. */
static void
add_any(CdpTimelineBuilder *builder, CdpTimelineReader *reader, TimestampTz since, TimestampTz until, Translation *t)
{
	Size first = builder->n;

	while (cdp_timeline_next(reader))
	{
		const CdpEventKind *kind = &reader->kinds[reader->kind];
		Size values_at = builder->n_values;

		if (builder->n % 65536 == 0)
			CHECK_FOR_INTERRUPTS();
		if (reader->at < since || reader->at >= until)
			continue;
		for (uint32 i = 0; i < kind->n_properties; i++)
		{
			CdpPropertyValue value = reader->values[i];

			if (kind->properties[i].type == CDP_PROPERTY_STRING)
				value.digits = translate_word(t, value.digits);
			if (kind->properties[i].type == CDP_PROPERTY_NUMBER ||
				kind->properties[i].type == CDP_PROPERTY_STRING)
				add_value(builder, value);
		}
		add_item(builder, reader->at, translate_kind(t, reader->kind), reader->key, values_at);
		number_last(builder, first);
	}
}

bool
cdp_timeline_add_all(CdpTimelineBuilder *builder, CdpTimelineReader *reader, TimestampTz since,
					 TimestampTz until)
{
	Translation t;

	begin_translation(&t, builder, reader);
	if (reader->values == NULL)
		add_plain(builder, reader, since, until, &t);
	else
		add_any(builder, reader, since, until, &t);
	pfree(t.words);
	return !reader->is_malformed;
}

/* --- packing ----------------------------------------------------------------------------- */

/* A builder's events on their way into the packed form, with words and kinds numbered in order. */
typedef struct Packing
{
	const CdpTimelineBuilder *builder;
	uint32 *words;		/* in order: their numbers in the builder */
	uint32 *word_ranks; /* and back */
	uint32 *kinds;
	uint32 *kind_ranks;
	CdpEventKind *descriptions; /* of the kinds in order; words as ranks */
	CdpTimelineItem *items;
	CdpPropertyValue *values;
	Size n;
	bool has_properties;
	StringInfo out;
} Packing;

static int
compare_words(const void *a, const void *b, void *arg)
{
	const CdpInterner *words = &((Packing *) arg)->builder->words;
	uint32 p = *(const uint32 *) a;
	uint32 q = *(const uint32 *) b;

	return cdp_timeline_compare_words(interned(words, p), words->items[p].length, interned(words, q),
									  words->items[q].length);
}

static int
compare_numbers(int64 a, int64 b)
{
	return a < b ? -1 : a > b;
}

/* Order kinds by name, then by their properties; what has fewer comes first. */
static int
compare_kinds(const void *a, const void *b, void *arg)
{
	const Packing *packing = arg;
	const CdpInterner *kinds = &packing->builder->kinds;
	const uint32 *p = (const uint32 *) interned(kinds, *(const uint32 *) a);
	const uint32 *q = (const uint32 *) interned(kinds, *(const uint32 *) b);
	uint32 p_length = kinds->items[*(const uint32 *) a].length / sizeof(uint32);
	uint32 q_length = kinds->items[*(const uint32 *) b].length / sizeof(uint32);
	int c = compare_numbers(packing->word_ranks[p[0]], packing->word_ranks[q[0]]);

	for (uint32 i = 1; c == 0 && i < p_length && i < q_length; i += 2)
	{
		c = compare_numbers(packing->word_ranks[p[i]], packing->word_ranks[q[i]]);
		if (c == 0)
			c = compare_numbers(p[i + 1], q[i + 1]);
	}
	return c != 0 ? c : compare_numbers(p_length, q_length);
}

/* Sort numbers 0 to n - 1, and say where each went. */
static uint32 *
rank(uint32 n, qsort_arg_comparator compare, Packing *packing, uint32 **ranks)
{
	uint32 *order = palloc_extended(sizeof(uint32) * ((Size) n + 1), MCXT_ALLOC_HUGE);

	*ranks = palloc_extended(sizeof(uint32) * ((Size) n + 1), MCXT_ALLOC_HUGE);
	for (uint32 i = 0; i < n; i++)
		order[i] = i;
	qsort_arg(order, n, sizeof(uint32), compare, packing);
	for (uint32 i = 0; i < n; i++)
		(*ranks)[order[i]] = i;
	return order;
}

/* Describe the kinds in order. */
static void
describe_kinds(Packing *packing)
{
	const CdpInterner *kinds = &packing->builder->kinds;

	packing->descriptions = palloc_extended(sizeof(CdpEventKind) * ((Size) kinds->n + 1), MCXT_ALLOC_HUGE);
	for (uint32 i = 0; i < kinds->n; i++)
	{
		CdpEventKind *kind = &packing->descriptions[i];
		const uint32 *parts = (const uint32 *) interned(kinds, packing->kinds[i]);

		kind->name = packing->word_ranks[parts[0]];
		kind->n_properties = kinds->items[packing->kinds[i]].length / sizeof(uint32) / 2;
		kind->properties =
			palloc_extended(sizeof(CdpProperty) * ((Size) kind->n_properties + 1), MCXT_ALLOC_HUGE);
		for (uint32 j = 0; j < kind->n_properties; j++)
		{
			kind->properties[j].name = packing->word_ranks[parts[2 * j + 1]];
			kind->properties[j].type = parts[2 * j + 2];
		}
		packing->has_properties |= kind->n_properties > 0;
	}
}

/* Copy the events, with their kinds and texts numbered in order. */
static void
copy_items(Packing *packing)
{
	const CdpTimelineBuilder *builder = packing->builder;

	packing->n = builder->n;
	packing->items = palloc_extended(sizeof(CdpTimelineItem) * (builder->n + 1), MCXT_ALLOC_HUGE);
	packing->values = palloc_extended(sizeof(CdpPropertyValue) * (builder->n_values + 1), MCXT_ALLOC_HUGE);
	for (Size i = 0; i < builder->n; i++)
	{
		packing->items[i] = builder->items[i];
		packing->items[i].kind = packing->kind_ranks[builder->items[i].kind];
	}
	for (Size i = 0; packing->has_properties && i < builder->n; i++)
	{
		const CdpEventKind *kind = &packing->descriptions[packing->items[i].kind];
		Size at = packing->items[i].values_at;

		for (uint32 j = 0; j < kind->n_properties; j++)
		{
			if (kind->properties[j].type == CDP_PROPERTY_NUMBER)
				packing->values[at] = builder->values[at];
			else if (kind->properties[j].type == CDP_PROPERTY_STRING)
			{
				packing->values[at].digits = packing->word_ranks[builder->values[at].digits];
				packing->values[at].exponent = 0;
			}
			else
				continue;
			at++;
		}
	}
}

/* Order the values of two events of one kind. */
static int
compare_values(const CdpTimelineItem *a, const CdpTimelineItem *b, const Packing *packing)
{
	const CdpEventKind *kind = &packing->descriptions[a->kind];
	const CdpPropertyValue *p = packing->values + a->values_at;
	const CdpPropertyValue *q = packing->values + b->values_at;
	int c = 0;

	for (uint32 i = 0; c == 0 && i < kind->n_properties; i++)
	{
		if (kind->properties[i].type != CDP_PROPERTY_NUMBER &&
			kind->properties[i].type != CDP_PROPERTY_STRING)
			continue;
		c = compare_numbers(p->exponent, q->exponent);
		if (c == 0)
			c = compare_numbers(p->digits, q->digits);
		p++;
		q++;
	}
	return c;
}

/* Order events but for their keys. */
static inline int
compare_likes(const CdpTimelineItem *a, const CdpTimelineItem *b, const Packing *packing)
{
	if (a->at != b->at)
		return a->at < b->at ? -1 : 1;
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	return packing->has_properties ? compare_values(a, b, packing) : 0;
}

static inline int
compare_items(const CdpTimelineItem *a, const CdpTimelineItem *b, const Packing *packing)
{
	int c = compare_likes(a, b, packing);

	return c != 0 ? c : compare_numbers(a->key, b->key);
}

#define ST_SORT sort_items
#define ST_ELEMENT_TYPE CdpTimelineItem
#define ST_COMPARE(a, b, packing) compare_items(a, b, packing)
#define ST_COMPARE_ARG_TYPE const Packing
#define ST_CHECK_FOR_INTERRUPTS
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/* Sort the events; of those that agree keep one, or number those without message id. */
static void
settle_items(Packing *packing, CdpTimelineSet set)
{
	CdpTimelineItem *items = packing->items;
	Size kept = 0;

	sort_items(items, packing->n, packing);
	for (Size i = 0; i < packing->n; i++)
	{
		bool is_numbered = set == CDP_TIMELINE_SUM && (items[i].key & CDP_TIMELINE_HAS_ID) == 0;

		if (is_numbered)
			items[i].key = 0;
		if (kept > 0 && compare_likes(&items[kept - 1], &items[i], packing) == 0)
		{
			if (is_numbered)
				items[i].key = items[kept - 1].key + 1;
			else if (items[i].key == items[kept - 1].key)
				continue;
		}
		items[kept++] = items[i];
	}
	packing->n = kept;
}

void
cdp_timeline_write_number(StringInfo out, uint64 number)
{
	if (out->len + 10 >= out->maxlen)
		enlargeStringInfo(out, 10);
	for (; number >= 0x80; number >>= 7)
		out->data[out->len++] = number | 0x80;
	out->data[out->len++] = number;
}

/* Write a stream behind its length. */
static void
write_counted(StringInfo out, StringInfo stream)
{
	cdp_timeline_write_number(out, stream->len);
	appendBinaryStringInfo(out, stream->data, stream->len);
}

void
cdp_timeline_write_word(StringInfo out, const char *text, uint32 length)
{
	int known = cdp_timeline_known_word(text, length);

	if (known >= 0)
	{
		appendStringInfoChar(out, CDP_WORD_SHORT + 1 + known);
		return;
	}
	if (length >= CDP_WORD_SHORT)
		appendStringInfoChar(out, CDP_WORD_SHORT);
	cdp_timeline_write_number(out, length);
	appendBinaryStringInfo(out, text, length);
}

static void
write_words(Packing *packing)
{
	const CdpInterner *words = &packing->builder->words;

	cdp_timeline_write_number(packing->out, words->n);
	for (uint32 i = 0; i < words->n; i++)
		cdp_timeline_write_word(packing->out, interned(words, packing->words[i]), words->items[packing->words[i]].length);
}

static void
write_kinds(Packing *packing)
{
	uint32 n = packing->builder->kinds.n;

	cdp_timeline_write_number(packing->out, n);
	for (uint32 i = 0; i < n; i++)
	{
		const CdpEventKind *kind = &packing->descriptions[i];

		cdp_timeline_write_number(packing->out, (uint64) kind->name * 2 + (kind->n_properties > 0));
		if (kind->n_properties > 0)
			cdp_timeline_write_number(packing->out, kind->n_properties);
		for (uint32 j = 0; j < kind->n_properties; j++)
			cdp_timeline_write_number(packing->out, (uint64) kind->properties[j].name * 4 + kind->properties[j].type);
	}
}

/* Write each event's kind. */
static void
write_kind_indexes(Packing *packing)
{
	CdpKindWriter writer = {packing->out, cdp_timeline_bits_for(packing->builder->kinds.n)};

	for (Size i = 0; writer.bits > 0 && i < packing->n; i++)
		cdp_timeline_write_kind(&writer, packing->items[i].kind);
	cdp_timeline_end_kinds(&writer);
}

/* Whether events have message ids. */
static int
ids_of(const Packing *packing)
{
	Size n = 0;

	for (Size i = 0; i < packing->n; i++)
		n += (packing->items[i].key & CDP_TIMELINE_HAS_ID) != 0;
	return n == 0 ? CDP_IDS_NONE : n == packing->n ? CDP_IDS_ALL : CDP_IDS_SOME;
}

/* Write which events have a message id. */
static void
write_has_id(const Packing *packing)
{
	uint8 byte = 0;

	for (Size i = 0; i < packing->n; i++)
	{
		byte |= (packing->items[i].key >> 31) << (i % 8);
		if (i % 8 < 7 && i + 1 < packing->n)
			continue;
		appendStringInfoChar(packing->out, byte);
		byte = 0;
	}
}

static void
write_ids(const Packing *packing)
{
	StringInfo out = packing->out;

	for (Size i = 0; i < packing->n; i++)
	{
		uint32 key = packing->items[i].key;
		char bytes[CDP_TIMELINE_ID_BYTES] = {key, key >> 8};

		if ((key & CDP_TIMELINE_HAS_ID) == 0)
			continue;
		if (out->len + CDP_TIMELINE_ID_BYTES >= out->maxlen)
			enlargeStringInfo(out, CDP_TIMELINE_ID_BYTES);
		memcpy(out->data + out->len, bytes, CDP_TIMELINE_ID_BYTES);
		out->len += CDP_TIMELINE_ID_BYTES;
	}
}

/* The largest unit that a time is a multiple of; each is one of the unit before. */
static int
unit_of(int64 time)
{
	return time % 1000 != 0 ? 0 : time % USECS_PER_SEC != 0 ? 1 : time % USECS_PER_DAY != 0 ? 2 : 3;
}

void
cdp_timeline_write_first(StringInfo out, TimestampTz at)
{
	int unit = unit_of(at);

	cdp_timeline_write_number(out, cdp_zigzag(at / cdp_timeline_units[unit]) * 4 + unit);
}

void
cdp_timeline_write_time(StringInfo out, int64 time)
{
	int unit = unit_of(time);

	cdp_timeline_write_number(out, time / cdp_timeline_units[unit] * 4 + unit);
}

static void
write_times(const Packing *packing, StringInfo out)
{
	for (Size i = 1; i < packing->n; i++)
		cdp_timeline_write_time(out, packing->items[i].at - packing->items[i - 1].at);
}

static void
write_value(StringInfo out, uint32 type, const CdpPropertyValue *value)
{
	if (type == CDP_PROPERTY_STRING)
		cdp_timeline_write_number(out, value->digits);
	else if (value->exponent <= 0 && value->exponent >= -2)
		cdp_timeline_write_number(out, cdp_zigzag(value->digits) * 4 - value->exponent);
	else
	{
		cdp_timeline_write_number(out, cdp_zigzag(value->digits) * 4 + 3);
		cdp_timeline_write_number(out, cdp_zigzag(value->exponent));
	}
}

static void
write_values(const Packing *packing)
{
	for (Size i = 0; i < packing->n; i++)
	{
		const CdpEventKind *kind = &packing->descriptions[packing->items[i].kind];
		const CdpPropertyValue *value = packing->values + packing->items[i].values_at;

		for (uint32 j = 0; j < kind->n_properties; j++)
		{
			if (kind->properties[j].type == CDP_PROPERTY_NUMBER ||
				kind->properties[j].type == CDP_PROPERTY_STRING)
				write_value(packing->out, kind->properties[j].type, value++);
		}
	}
}

/* Write everything; at least one event. */
static void
write_all(Packing *packing)
{
	StringInfo out = packing->out;
	int ids_are = ids_of(packing);
	StringInfoData times;

	appendStringInfoChar(out, ids_are | (packing->has_properties ? CDP_TIMELINE_HAS_PROPERTIES : 0));
	cdp_timeline_write_number(out, packing->n);
	write_words(packing);
	if (packing->has_properties)
		write_kinds(packing);
	cdp_timeline_write_first(out, packing->items[0].at);
	write_kind_indexes(packing);
	if (ids_are == CDP_IDS_SOME)
		write_has_id(packing);
	write_ids(packing);
	if (!packing->has_properties)
		write_times(packing, out);
	else
	{
		initStringInfo(&times);
		write_times(packing, &times);
		write_counted(out, &times);
		write_values(packing);
	}
}

struct varlena *
cdp_timeline_pack(CdpTimelineBuilder *builder, CdpTimelineSet set)
{
	MemoryContext scratch =
		AllocSetContextCreate(CurrentMemoryContext, "timeline packing", ALLOCSET_SMALL_SIZES);
	Packing packing = {.builder = builder};
	StringInfoData out;
	MemoryContext old;
	struct varlena *packed;

	initStringInfo(&out);
	appendStringInfoSpaces(&out, VARHDRSZ);
	appendStringInfoChar(&out, CDP_TIMELINE_VERSION);
	old = MemoryContextSwitchTo(scratch);
	packing.out = &out;
	if (builder->n == 0)
		appendBinaryStringInfo(&out, "\0\0", 2); /* flags, count */
	else
	{
		packing.words = rank(builder->words.n, compare_words, &packing, &packing.word_ranks);
		packing.kinds = rank(builder->kinds.n, compare_kinds, &packing, &packing.kind_ranks);
		describe_kinds(&packing);
		copy_items(&packing);
		settle_items(&packing, set);
		write_all(&packing);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	packed = (struct varlena *) out.data;
	SET_VARSIZE(packed, out.len);
	return packed;
}
