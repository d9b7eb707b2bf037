/*
 * stamped.c
 *		A sorted map from a name to a value with its time and rank.
 *
 * On disk: the header, one Slot a name in bytewise order of the names, then names
 * and values.  Values are complete jsonb, aligned to four bytes.  Only this file
 * makes maps, and what comes from outside comes as text, so that every stored map
 * is well-formed.
 */
#include "postgres.h"

#include "base/base.h"
#include "libpq/pqformat.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"

typedef struct Slot
{
	TimestampTz at;
	uint32 name_at; /* offsets from the beginning of the map */
	uint32 value_at;
	uint32 name_length;
	int16 rank;
	uint16 rule;
} Slot;

struct CdpStamped
{
	int32 vl_len_;
	uint16 version;
	uint16 flags; /* zero */
	uint32 count;
	uint32 unused; /* zero */
	Slot slots[FLEXIBLE_ARRAY_MEMBER];
};

int
cdp_stamped_count(const CdpStamped *map)
{
	return map->count;
}

CdpStampedEntry
cdp_stamped_entry(const CdpStamped *map, int i)
{
	const Slot *slot = &map->slots[i];
	CdpStampedEntry entry;

	Assert(map->version == CDP_STAMPED_VERSION && i >= 0 && (uint32) i < map->count);
	entry.name = (const char *) map + slot->name_at;
	entry.name_length = slot->name_length;
	entry.at = slot->at;
	entry.rank = slot->rank;
	entry.rule = slot->rule;
	entry.value = (const Jsonb *) ((const char *) map + slot->value_at);
	return entry;
}

/* Order names bytewise. */
static int
compare_names(const char *a, int a_length, const char *b, int b_length)
{
	int c = memcmp(a, b, Min(a_length, b_length));

	return c != 0 ? c : a_length - b_length;
}

bool
cdp_stamped_find(const CdpStamped *map, const char *name, int name_length, CdpStampedEntry *entry)
{
	int low = 0;
	int high = map->count;

	while (low < high)
	{
		int middle = (low + high) / 2;
		CdpStampedEntry e = cdp_stamped_entry(map, middle);
		int c = compare_names(e.name, e.name_length, name, name_length);

		if (c == 0)
		{
			*entry = e;
			return true;
		}
		if (c < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

/* Lay out entries, which are sorted and distinct, as a map. */
static CdpStamped *
lay_out(const CdpStampedEntry *entries, int n)
{
	Size size = offsetof(CdpStamped, slots) + sizeof(Slot) * (Size) n;
	CdpStamped *map;
	uint32 at;

	for (int i = 0; i < n; i++)
		size += INTALIGN(entries[i].name_length) + INTALIGN(VARSIZE_ANY(entries[i].value));
	if (size > MaxAllocSize)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("too much is known under one key"),
						errdetail("The values take %zu bytes, the limit is %zu.", size, (Size) MaxAllocSize)));
	map = palloc0(size);
	SET_VARSIZE(map, size);
	map->version = CDP_STAMPED_VERSION;
	map->count = n;
	at = offsetof(CdpStamped, slots) + sizeof(Slot) * n;
	for (int i = 0; i < n; i++)
	{
		Slot *slot = &map->slots[i];

		slot->at = entries[i].at;
		slot->rank = entries[i].rank;
		slot->rule = entries[i].rule;
		slot->name_length = entries[i].name_length;
		slot->name_at = at;
		memcpy((char *) map + at, entries[i].name, entries[i].name_length);
		at += INTALIGN(entries[i].name_length);
		slot->value_at = at;
		memcpy((char *) map + at, entries[i].value, VARSIZE(entries[i].value));
		at += INTALIGN(VARSIZE(entries[i].value));
	}
	Assert(at == size);
	return map;
}

static int
compare_entry_names(const void *a, const void *b)
{
	const CdpStampedEntry *p = a;
	const CdpStampedEntry *q = b;

	return compare_names(p->name, p->name_length, q->name, q->name_length);
}

CdpStamped *
cdp_stamped_build(CdpStampedEntry *entries, int n, CdpStampedTie tie)
{
	int kept = 0;

	qsort(entries, n, sizeof(CdpStampedEntry), compare_entry_names);
	for (int i = 0, next; i < n; i = next)
	{
		next = i + 1;
		while (next < n && compare_entry_names(&entries[i], &entries[next]) == 0)
			next++;
		entries[kept++] = cdp_stamped_survivor(&entries[i], next - i, tie);
	}
	return lay_out(entries, kept);
}

CdpStamped *
cdp_stamped_merge(const CdpStamped *a, const CdpStamped *b, CdpStampedTie tie)
{
	int i = 0;
	int j = 0;
	int n = 0;
	CdpStampedEntry *entries;
	CdpStamped *merged;

	if (a == NULL || b == NULL)
		return unconstify(CdpStamped *, a == NULL ? b : a);
	entries = palloc(sizeof(CdpStampedEntry) * ((Size) a->count + b->count + 1));
	while (i < (int) a->count || j < (int) b->count)
	{
		int c = 0;
		CdpStampedEntry both[2];

		if (i < (int) a->count)
			both[0] = cdp_stamped_entry(a, i);
		else
			c = 1;
		if (j < (int) b->count)
			both[1] = cdp_stamped_entry(b, j);
		else
			c = -1;
		if (c == 0)
			c = compare_entry_names(&both[0], &both[1]);
		entries[n++] = c < 0 ? both[0] : c > 0 ? both[1] : cdp_stamped_survivor(both, 2, tie);
		i += c <= 0;
		j += c >= 0;
	}
	merged = lay_out(entries, n);
	pfree(entries);
	return merged;
}

int
cdp_stamped_tie_bytes(const Jsonb *a, const Jsonb *b)
{
	int c = memcmp(a, b, Min(VARSIZE(a), VARSIZE(b)));

	return c != 0 ? c : (int) VARSIZE(a) - (int) VARSIZE(b);
}

/* jsonb's false sorts before its true, bytewise. */
int
cdp_stamped_tie_refusal(const Jsonb *a, const Jsonb *b)
{
	return -cdp_stamped_tie_bytes(a, b);
}

/* Read one entry of the text form; false when it is not one. */
static bool
read_entry(CdpJsonValue key, CdpJsonValue v, CdpStampedEntry *entry)
{
	CdpJsonValue at = cdp_json_member(v, "at");
	CdpJsonValue rank = cdp_json_member(v, "rank");
	CdpJsonValue rule = cdp_json_member(v, "rule");
	CdpJsonValue value = cdp_json_member(v, "value");
	const char *s;
	int length;
	int known = CDP_STAMPED_LATEST;

	if (!cdp_json_is(at, CDP_JSON_STRING) || !cdp_json_exists(value))
		return false;
	if (cdp_json_exists(rule))
	{
		s = cdp_json_is(rule, CDP_JSON_STRING) ? cdp_json_string(rule, &length) : NULL;
		known = s == NULL ? -1 : cdp_stamped_rule_of(s, length);
		if (known < 0)
			return false;
	}
	entry->rule = known;
	entry->name = cdp_json_string(key, &entry->name_length);
	s = cdp_json_string(at, &length);
	if (!cdp_parse_timestamp(s, length, &entry->at))
		return false;
	entry->rank = 0;
	if (cdp_json_exists(rank))
	{
		char digits[8];

		if (!cdp_json_is(rank, CDP_JSON_NUMBER) || rank.json->nodes[rank.node].length > 6)
			return false;
		strlcpy(digits, rank.json->text + rank.json->nodes[rank.node].start, rank.json->nodes[rank.node].length + 1);
		if (strspn(digits, "-0123456789") != strlen(digits) || abs(atoi(digits)) > PG_INT16_MAX)
			return false;
		entry->rank = atoi(digits);
	}
	entry->value = cdp_json_to_jsonb(value);
	return entry->value != NULL && cdp_stamped_check(entry);
}

CdpStamped *
cdp_stamped_in(const char *text, int length, const char *type_name, CdpStampedTie tie)
{
	CdpJson json;
	CdpStampedEntry *entries;
	bool ok = cdp_json_parse(text, length, &json) && cdp_json_is(cdp_json_root(&json), CDP_JSON_OBJECT);
	int n = 0;

	entries = palloc(sizeof(CdpStampedEntry) * (ok ? (Size) json.nodes[0].count + 1 : 1));
	for (uint32 i = 1; ok && i < json.nodes[0].next; i = json.nodes[i + 1].next)
	{
		CdpJsonValue key = {&json, i};
		CdpJsonValue value = {&json, i + 1};

		ok = read_entry(key, value, &entries[n++]);
	}
	if (!ok)
		ereport(ERROR, (errcode(ERRCODE_INVALID_TEXT_REPRESENTATION), errmsg("invalid input for type %s", type_name),
						errhint("It is a JSON object such as "
								"{\"plan\": {\"at\": \"2026-01-31T09:00:00Z\", \"rank\": 0, \"value\": \"pro\"}}.")));
	return cdp_stamped_build(entries, n, tie);
}

CdpStamped *
cdp_stamped_recv(StringInfo in, const char *type_name, CdpStampedTie tie)
{
	int version = pq_getmsgbyte(in);
	int length;
	char *text;

	if (version != CDP_STAMPED_VERSION)
		ereport(ERROR, (errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
						errmsg("unsupported version %d of type %s", version, type_name)));
	text = pq_getmsgtext(in, in->len - in->cursor, &length);
	return cdp_stamped_in(text, length, type_name, tie);
}

char *
cdp_stamped_out(const CdpStamped *map)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	for (int i = 0; i < (int) map->count; i++)
	{
		CdpStampedEntry e = cdp_stamped_entry(map, i);
		char at[CDP_TIMESTAMP_BYTES];

		if (i > 0)
			appendStringInfoString(&out, ", ");
		escape_json(&out, pnstrdup(e.name, e.name_length));
		cdp_format_timestamp(e.at, at);
		appendStringInfo(&out, ": {\"at\": \"%s\", \"rank\": %d, ", at, e.rank);
		if (e.rule != CDP_STAMPED_LATEST)
			appendStringInfo(&out, "\"rule\": \"%s\", ", cdp_stamped_rule_name(e.rule));
		appendStringInfoString(&out, "\"value\": ");
		JsonbToCString(&out, unconstify(JsonbContainer *, &e.value->root), VARSIZE(e.value));
		appendStringInfoChar(&out, '}');
	}
	appendStringInfoChar(&out, '}');
	return out.data;
}

/* Sort entries as jsonb sorts members. */
#define ST_SORT sort_members
#define ST_ELEMENT_TYPE CdpStampedEntry
#define ST_COMPARE(a, b) cdp_jsonb_compare_names((a)->name, (a)->name_length, (b)->name, (b)->name_length)
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

static bool
is_null(const Jsonb *value)
{
	return JsonContainerIsScalar(&value->root) && JBE_ISNULL(value->root.children[0]);
}

JEntry
cdp_stamped_write(StringInfo out, const CdpStamped *map)
{
	CdpStampedEntry local[16];
	CdpStampedEntry *entries = local;
	CdpJsonbWriter object;
	int count = map == NULL ? 0 : (int) map->count;
	int n = 0;

	if (count > (int) lengthof(local))
		entries = palloc_extended(sizeof(CdpStampedEntry) * (Size) count, MCXT_ALLOC_HUGE);
	for (int i = 0; i < count; i++)
	{
		entries[n] = cdp_stamped_entry(map, i);
		entries[n].value = cdp_stamped_value(&entries[n]);
		n += !is_null(entries[n].value);
	}
	sort_members(entries, n);
	object = cdp_jsonb_begin(out, JB_FOBJECT, n);
	for (int i = 0; i < n; i++)
		cdp_jsonb_add(&object, cdp_jsonb_write_string(out, entries[i].name, entries[i].name_length));
	for (int i = 0; i < n; i++)
		cdp_jsonb_add(&object, cdp_jsonb_write(out, entries[i].value));
	if (entries != local)
		pfree(entries);
	return cdp_jsonb_end(&object);
}

Jsonb *
cdp_stamped_to_jsonb(const CdpStamped *map)
{
	StringInfoData out;

	cdp_jsonb_begin_document(&out, VARSIZE(map));
	cdp_stamped_write(&out, map);
	return cdp_jsonb_end_document(&out);
}

bool
cdp_stamped_equal(const CdpStamped *a, const CdpStamped *b)
{
	return VARSIZE(a) == VARSIZE(b) && memcmp(a, b, VARSIZE(a)) == 0;
}

void
cdp_gather(CdpGatherer *gatherer, int key, CdpStampedEntry entry)
{
	CDP_GROW(gatherer->items, gatherer->n, gatherer->capacity, 16);
	gatherer->items[gatherer->n].key = key;
	gatherer->items[gatherer->n].entry = entry;
	gatherer->n++;
}

void
cdp_gather_object(CdpGatherer *gatherer, int key, JsonbContainer *object, TimestampTz at, int16 rank)
{
	CdpStampedEntry entry = {.at = at, .rank = rank};
	JsonbIterator *it = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue v;

	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			entry.name = v.val.string.val;
			entry.name_length = v.val.string.len;
		}
		else if (token == WJB_VALUE)
		{
			entry.value = JsonbValueToJsonb(&v);
			cdp_gather(gatherer, key, entry);
		}
	}
}

static int
compare_gathered(const void *a, const void *b)
{
	const struct CdpGathered *p = a;
	const struct CdpGathered *q = b;

	return p->key < q->key ? -1 : p->key > q->key;
}

void
cdp_gather_build(CdpGatherer *gatherer, CdpStampedTie tie, void (*take)(void *arg, int key, CdpStamped *map), void *arg)
{
	CdpStampedEntry *entries = palloc(sizeof(CdpStampedEntry) * (Size) (gatherer->n + 1));
	int n = 0;

	qsort(gatherer->items, gatherer->n, sizeof(*gatherer->items), compare_gathered);
	for (int i = 0; i < gatherer->n; i++)
	{
		entries[n++] = gatherer->items[i].entry;
		if (i + 1 < gatherer->n && gatherer->items[i + 1].key == gatherer->items[i].key)
			continue;
		take(arg, gatherer->items[i].key, cdp_stamped_build(entries, n, tie));
		n = 0;
	}
	pfree(entries);
}
