/*
 * jsonb.c
 *		From the tape straight to jsonb's format on disk.
 *
 * Writing the containers as the tape is read is about three times as fast as
 * PostgreSQL's own way (see jsonb.h).  The format is that of
 * utils/jsonb.h (JEntry, offsets every JB_OFFSET_STRIDE entries, keys sorted by
 * length and then bytes) and has been the same since 9.4; test/sql/base_json.sql
 * compares every shape with the server's own result, byte by byte.
 */
#include "postgres.h"

#include "base/base.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

/*
 * A number may have as many digits when it is written out in full, else it is refused; so what was read once can be
 * read again from what the server prints, which has a sign, a point and a leading zero more.
 */
#define MAX_DIGITS 1000
#define MAX_NUMBER_BYTES (MAX_DIGITS + 8)

typedef struct Pair
{
	const char *name;
	int name_length;
	int order; /* of two equal names the later one stays */
	CdpJsonValue value;
	CdpJsonValue under;
} Pair;

static bool write_value(StringInfo out, CdpJsonValue v, CdpJsonValue under, JEntry *entry);

/* Write whole numbers and short decimals without going through text. */
static Numeric
short_number(const char *s, int length)
{
	int64 digits = 0;
	int scale = 0;
	bool is_negative = *s == '-';
	bool after_point = false;

	if (length > 17)
		return NULL;
	for (int i = is_negative; i < length; i++)
	{
		if (s[i] == '.')
			after_point = true;
		else if (s[i] >= '0' && s[i] <= '9')
		{
			digits = digits * 10 + (s[i] - '0');
			scale += after_point;
		}
		else
			return NULL;
	}
	if (is_negative)
		digits = -digits;
	return scale == 0 ? int64_to_numeric(digits) : int64_div_fast_to_numeric(digits, scale);
}

/* How many digits a number has when it is written out, or more than MAX_DIGITS. */
static int
count_digits(const char *s, int length)
{
	int digits = 0;
	int exponent = 0;
	int i = 0;

	for (; i < length && s[i] != 'e' && s[i] != 'E'; i++)
		digits += s[i] >= '0' && s[i] <= '9';
	for (; i < length; i++)
	{
		if (s[i] >= '0' && s[i] <= '9')
			exponent = Min(exponent * 10 + (s[i] - '0'), MAX_DIGITS + 1);
	}
	return digits + exponent;
}

/* Read a number; NULL when it is outside the limit above. */
static Numeric
read_number(const char *s, int length)
{
	Numeric number = short_number(s, length);
	char buffer[MAX_NUMBER_BYTES + 1];

	if (number != NULL)
		return number;
	if (length > MAX_NUMBER_BYTES || count_digits(s, length) > MAX_DIGITS)
		return NULL;
	memcpy(buffer, s, length);
	buffer[length] = '\0';
	return DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(buffer), ObjectIdGetDatum(InvalidOid),
											   Int32GetDatum(-1)));
}

bool
cdp_numeric_is_readable(Numeric number)
{
	char *text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(number)));

	return strlen(text) <= MAX_NUMBER_BYTES && count_digits(text, strlen(text)) <= MAX_DIGITS;
}

const char *
cdp_json_number_text(CdpJsonValue v, int *length)
{
	const CdpJsonNode *node = &v.json->nodes[v.node];
	Numeric number = read_number(v.json->text + node->start, node->length);
	char *text;

	if (number == NULL)
		return NULL;
	text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(number)));
	*length = strlen(text);
	return text;
}

static bool
write_number(StringInfo out, CdpJsonValue v, JEntry *entry)
{
	const CdpJsonNode *node = &v.json->nodes[v.node];
	Numeric number = read_number(v.json->text + node->start, node->length);

	if (number == NULL)
		return false;
	*entry = cdp_jsonb_write_numeric(out, number);
	pfree(number);
	return true;
}

static int
compare_pairs(const void *a, const void *b)
{
	const Pair *p = a;
	const Pair *q = b;
	int c = cdp_jsonb_compare_names(p->name, p->name_length, q->name, q->name_length);

	return c != 0 ? c : p->order - q->order;
}

/* Sort pairs as jsonb does and keep the last of each name; returns how many stay. */
static int
sort_pairs(Pair *pairs, int n)
{
	int kept = 0;

	if (n > 8)
		qsort(pairs, n, sizeof(Pair), compare_pairs);
	else
	{
		for (int i = 1; i < n; i++)
		{
			Pair p = pairs[i];
			int j = i;

			for (; j > 0 && compare_pairs(&pairs[j - 1], &p) > 0; j--)
				pairs[j] = pairs[j - 1];
			pairs[j] = p;
		}
	}
	for (int i = 0; i < n; i++)
	{
		bool is_repeated = i + 1 < n && pairs[i].name_length == pairs[i + 1].name_length &&
						   memcmp(pairs[i].name, pairs[i + 1].name, pairs[i].name_length) == 0;

		if (!is_repeated)
			pairs[kept++] = pairs[i];
	}
	return kept;
}

/* Append an object's members to pairs. */
static int
collect_members(CdpJsonValue object, Pair *pairs, int n)
{
	const CdpJsonNode *nodes = object.json->nodes;

	for (uint32 i = object.node + 1; i < nodes[object.node].next; i = nodes[i + 1].next)
	{
		CdpJsonValue key = {object.json, i};
		Pair *pair = &pairs[n];

		pair->name = cdp_json_string(key, &pair->name_length);
		pair->order = n;
		pair->value.json = object.json;
		pair->value.node = i + 1;
		pair->under.json = NULL;
		pair->under.node = CDP_JSON_NONE;
		n++;
	}
	return n;
}

/* Write pairs, which are sorted here, as an object. */
static bool
write_pairs(StringInfo out, Pair *pairs, int n, JEntry *entry)
{
	CdpJsonbWriter object;

	n = sort_pairs(pairs, n);
	object = cdp_jsonb_begin(out, JB_FOBJECT, n);
	for (int i = 0; i < n; i++)
		cdp_jsonb_add(&object, cdp_jsonb_write_string(out, pairs[i].name, pairs[i].name_length));
	for (int i = 0; i < n; i++)
	{
		JEntry child;

		if (!write_value(out, pairs[i].value, pairs[i].under, &child))
			return false;
		cdp_jsonb_add(&object, child);
	}
	*entry = cdp_jsonb_end(&object);
	return true;
}

static bool
write_object(StringInfo out, CdpJsonValue v, CdpJsonValue under, JEntry *entry)
{
	uint32 capacity = v.json->nodes[v.node].count;
	Pair local[16];
	Pair *pairs = local;
	int n = 0;
	bool ok;

	if (cdp_json_is(under, CDP_JSON_OBJECT))
		capacity += under.json->nodes[under.node].count;
	if (capacity > lengthof(local))
		pairs = palloc(sizeof(Pair) * (Size) capacity);
	if (cdp_json_is(under, CDP_JSON_OBJECT))
		n = collect_members(under, pairs, n);
	n = collect_members(v, pairs, n);
	ok = write_pairs(out, pairs, n, entry);
	if (pairs != local)
		pfree(pairs);
	return ok;
}

static bool
write_array(StringInfo out, CdpJsonValue v, JEntry *entry)
{
	const CdpJsonNode *nodes = v.json->nodes;
	CdpJsonValue none = {NULL, CDP_JSON_NONE};
	CdpJsonbWriter array = cdp_jsonb_begin(out, JB_FARRAY, nodes[v.node].count);

	for (uint32 child = v.node + 1; child < nodes[v.node].next; child = nodes[child].next)
	{
		CdpJsonValue element = {v.json, child};
		JEntry e;

		if (!write_value(out, element, none, &e))
			return false;
		cdp_jsonb_add(&array, e);
	}
	*entry = cdp_jsonb_end(&array);
	return true;
}

static bool
write_value(StringInfo out, CdpJsonValue v, CdpJsonValue under, JEntry *entry)
{
	int length;
	const char *s;

	switch (cdp_json_type(v))
	{
		case CDP_JSON_NULL:
			*entry = JENTRY_ISNULL;
			return true;
		case CDP_JSON_FALSE:
			*entry = JENTRY_ISBOOL_FALSE;
			return true;
		case CDP_JSON_TRUE:
			*entry = JENTRY_ISBOOL_TRUE;
			return true;
		case CDP_JSON_NUMBER:
			return write_number(out, v, entry);
		case CDP_JSON_STRING:
			s = cdp_json_string(v, &length);
			*entry = cdp_jsonb_write_string(out, s, length);
			return true;
		case CDP_JSON_ARRAY:
			return write_array(out, v, entry);
		case CDP_JSON_OBJECT:
			return write_object(out, v, under, entry);
	}
	return false;
}

void
cdp_jsonb_begin_document(StringInfo out, int estimate)
{
	initStringInfo(out);
	enlargeStringInfo(out, estimate);
	out->len = VARHDRSZ;
}

Jsonb *
cdp_jsonb_end_document(StringInfo out)
{
	SET_VARSIZE(out->data, out->len);
	return (Jsonb *) out->data;
}

JEntry
cdp_jsonb_write(StringInfo out, const Jsonb *value)
{
	const JsonbContainer *root = &value->root;
	int padding;
	int length;

	if (JsonContainerIsScalar(root))
	{
		/* the one element of an array: its length is its end */
		const JEntry entry = root->children[0];

		length = entry & JENTRY_OFFLENMASK;
		padding = JBE_ISNUMERIC(entry) ? cdp_jsonb_pad(out) : 0;
		cdp_jsonb_append(out, (const char *) &root->children[1], length);
		return (entry & JENTRY_TYPEMASK) | (padding + length);
	}
	padding = cdp_jsonb_pad(out);
	length = VARSIZE(value) - VARHDRSZ;
	cdp_jsonb_append(out, (const char *) root, length);
	return JENTRY_ISCONTAINER | ((padding + length) & JENTRY_OFFLENMASK);
}

Jsonb *
cdp_json_to_jsonb(CdpJsonValue v)
{
	StringInfoData out;
	CdpJsonValue none = {NULL, CDP_JSON_NONE};
	const CdpJsonNode *node = &v.json->nodes[v.node];
	JEntry entry;

	if (node->depth > CDP_MAX_DEPTH)
		return NULL;
	cdp_jsonb_begin_document(&out, node->length + 64);
	if (node->type == CDP_JSON_OBJECT || node->type == CDP_JSON_ARRAY)
		return write_value(&out, v, none, &entry) ? cdp_jsonb_end_document(&out) : NULL;

	/* a lone scalar stands in an array of its own */
	CdpJsonbWriter array = cdp_jsonb_begin(&out, JB_FARRAY | JB_FSCALAR, 1);

	if (!write_value(&out, v, none, &entry))
		return NULL;
	cdp_jsonb_add(&array, entry);
	return cdp_jsonb_end_document(&out);
}

JsonbContainer *
cdp_jsonb_object(Jsonb *document, const char *const *path, int n)
{
	JsonbContainer *at = &document->root;

	for (int i = 0; i < n; i++)
	{
		JsonbValue v;

		if (!JsonContainerIsObject(at) || getKeyJsonValueFromContainer(at, path[i], strlen(path[i]), &v) == NULL ||
			v.type != jbvBinary)
			return NULL;
		at = v.val.binary.data;
	}
	return JsonContainerIsObject(at) ? at : NULL;
}

void
cdp_jsonb_push(JsonbParseState **state, JsonbIteratorToken token, const Jsonb *value)
{
	JsonbContainer *root = unconstify(JsonbContainer *, &value->root);
	JsonbValue v;

	if (!JsonbExtractScalar(root, &v))
	{
		v.type = jbvBinary;
		v.val.binary.data = root;
		v.val.binary.len = VARSIZE(value) - VARHDRSZ;
	}
	pushJsonbValue(state, token, &v);
}

static uint32
depth_of(CdpJsonValue v)
{
	return cdp_json_exists(v) ? v.json->nodes[v.node].depth : 0;
}

Jsonb *
cdp_json_members_to_jsonb(const CdpJsonMember *members, int n_members)
{
	Pair *pairs = palloc(sizeof(Pair) * (Size) Max(1, n_members));
	StringInfoData out;
	JEntry entry;
	int estimate = 64;

	for (int i = 0; i < n_members; i++)
	{
		const CdpJsonNode *node = &members[i].value.json->nodes[members[i].value.node];

		if (node->depth >= CDP_MAX_DEPTH || depth_of(members[i].under) >= CDP_MAX_DEPTH)
			return NULL;
		pairs[i].name = members[i].name;
		pairs[i].name_length = members[i].name_length;
		pairs[i].order = i;
		pairs[i].value = members[i].value;
		pairs[i].under = members[i].under;
		estimate += node->length + 32;
	}
	cdp_jsonb_begin_document(&out, estimate);
	if (!write_pairs(&out, pairs, n_members, &entry))
		return NULL;
	pfree(pairs);
	return cdp_jsonb_end_document(&out);
}
