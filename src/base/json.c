/*
 * json.c
 *		JSON text to a tape of nodes: one pass, no recursion, no raising for content.
 *
 * The grammar is RFC 8259.  What stands open is a chain of containers through
 * their 'next' fields, so depth costs no stack.
 */
#include "postgres.h"

#include "base/json.h"
#include "miscadmin.h"
#include "utils/memutils.h"

typedef struct Parser
{
	const char *text;
	uint32 at;
	uint32 end;
	CdpJsonNode *nodes;
	uint32 n_nodes;
	uint32 capacity;
	uint32 open; /* the innermost open container, or CDP_JSON_NONE */
} Parser;

/* Skip white space. */
static inline void
skip_space(Parser *p)
{
	while (p->at < p->end)
	{
		char c = p->text[p->at];

		if (c != ' ' && c != '\n' && c != '\t' && c != '\r')
			break;
		p->at++;
	}
}

/* Append a node to the tape; returns its index. */
static inline uint32
add_node(Parser *p, CdpJsonType type, uint32 start)
{
	CdpJsonNode *node;

	if (p->n_nodes == p->capacity)
	{
		p->capacity *= 2;
		p->nodes = repalloc_huge(p->nodes, (Size) p->capacity * sizeof(CdpJsonNode));
	}
	node = &p->nodes[p->n_nodes];
	node->type = type;
	node->is_escaped = false;
	node->start = start;
	node->length = 0;
	node->next = p->n_nodes + 1;
	node->count = 0;
	node->depth = 0;
	return p->n_nodes++;
}

static inline bool
is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* Scan a string whose opening quote is at p->at. */
static bool
scan_string(Parser *p)
{
	uint32 node = add_node(p, CDP_JSON_STRING, p->at + 1);

	for (p->at++; p->at < p->end; p->at++)
	{
		unsigned char c = p->text[p->at];

		if (c == '"')
		{
			p->nodes[node].length = p->at - p->nodes[node].start;
			p->at++;
			return true;
		}
		if (c < 0x20)
			return false;
		if (c != '\\')
			continue;
		p->nodes[node].is_escaped = true;
		if (++p->at >= p->end)
			return false;
		switch (p->text[p->at])
		{
			case '"':
			case '\\':
			case '/':
			case 'b':
			case 'f':
			case 'n':
			case 'r':
			case 't':
				break;
			case 'u':
				for (int i = 0; i < 4; i++)
				{
					if (++p->at >= p->end || !is_hex(p->text[p->at]))
						return false;
				}
				break;
			default:
				return false;
		}
	}
	return false;
}

/* Skip digits; false if there is none. */
static inline bool
skip_digits(Parser *p)
{
	uint32 from = p->at;

	while (p->at < p->end && p->text[p->at] >= '0' && p->text[p->at] <= '9')
		p->at++;
	return p->at > from;
}

static bool
scan_number(Parser *p)
{
	uint32 node = add_node(p, CDP_JSON_NUMBER, p->at);

	if (p->text[p->at] == '-')
		p->at++;
	if (p->at < p->end && p->text[p->at] == '0')
		p->at++;
	else if (!skip_digits(p))
		return false;
	if (p->at < p->end && p->text[p->at] == '.')
	{
		p->at++;
		if (!skip_digits(p))
			return false;
	}
	if (p->at < p->end && (p->text[p->at] == 'e' || p->text[p->at] == 'E'))
	{
		p->at++;
		if (p->at < p->end && (p->text[p->at] == '+' || p->text[p->at] == '-'))
			p->at++;
		if (!skip_digits(p))
			return false;
	}
	p->nodes[node].length = p->at - p->nodes[node].start;
	return true;
}

static bool
scan_word(Parser *p, const char *word, uint32 length, CdpJsonType type)
{
	uint32 node;

	if (p->end - p->at < length || memcmp(p->text + p->at, word, length) != 0)
		return false;
	node = add_node(p, type, p->at);
	p->nodes[node].length = length;
	p->at += length;
	return true;
}

/* Open a container.  Until it is closed its 'next' names the container around it. */
static void
open_container(Parser *p, CdpJsonType type)
{
	uint32 node = add_node(p, type, p->at);

	p->nodes[node].next = p->open;
	p->open = node;
	p->at++;
}

static void
close_container(Parser *p)
{
	CdpJsonNode *node = &p->nodes[p->open];
	uint32 outer = node->next;

	p->at++;
	node->length = p->at - node->start;
	node->next = p->n_nodes;
	node->depth++;
	if (outer != CDP_JSON_NONE && p->nodes[outer].depth < node->depth)
		p->nodes[outer].depth = node->depth;
	p->open = outer;
}

/* Scan one value's beginning: a whole scalar, or the bracket that opens a container. */
static bool
scan_value(Parser *p)
{
	if (p->at >= p->end)
		return false;
	switch (p->text[p->at])
	{
		case '"':
			return scan_string(p);
		case '{':
			open_container(p, CDP_JSON_OBJECT);
			return true;
		case '[':
			open_container(p, CDP_JSON_ARRAY);
			return true;
		case 't':
			return scan_word(p, "true", 4, CDP_JSON_TRUE);
		case 'f':
			return scan_word(p, "false", 5, CDP_JSON_FALSE);
		case 'n':
			return scan_word(p, "null", 4, CDP_JSON_NULL);
		case '-':
		case '0':
		case '1':
		case '2':
		case '3':
		case '4':
		case '5':
		case '6':
		case '7':
		case '8':
		case '9':
			return scan_number(p);
		default:
			return false;
	}
}

/* Scan a member's name and colon. */
static bool
scan_name(Parser *p)
{
	if (p->at >= p->end || p->text[p->at] != '"' || !scan_string(p))
		return false;
	skip_space(p);
	if (p->at >= p->end || p->text[p->at] != ':')
		return false;
	p->at++;
	skip_space(p);
	return true;
}

/* Go on inside the open container: close it, or scan its next child's beginning. */
static bool
scan_inside(Parser *p)
{
	CdpJsonNode *container = &p->nodes[p->open];
	bool is_object = container->type == CDP_JSON_OBJECT;

	skip_space(p);
	if (p->at >= p->end)
		return false;
	if (p->text[p->at] == (is_object ? '}' : ']'))
	{
		close_container(p);
		return true;
	}
	if (container->count++ > 0)
	{
		if (p->text[p->at] != ',')
			return false;
		p->at++;
		skip_space(p);
	}
	if (is_object && !scan_name(p))
		return false;
	return scan_value(p);
}

bool
cdp_json_parse(const char *text, uint32 length, CdpJson *json)
{
	Parser p = {text, 0, length, NULL, 0, 0, CDP_JSON_NONE};
	bool ok;
	uint32 steps = 0;

	p.capacity = Max(16, length / 12);
	p.nodes = palloc_extended((Size) p.capacity * sizeof(CdpJsonNode), MCXT_ALLOC_HUGE);
	skip_space(&p);
	ok = scan_value(&p);
	while (ok && p.open != CDP_JSON_NONE)
	{
		if ((++steps & 0xFFFF) == 0)
			CHECK_FOR_INTERRUPTS();
		ok = scan_inside(&p);
	}
	skip_space(&p);
	json->text = text;
	json->length = length;
	json->nodes = p.nodes;
	json->n_nodes = p.n_nodes;
	json->error_at = p.at;
	return ok && p.at == length;
}

CdpJsonValue
cdp_json_root(const CdpJson *json)
{
	CdpJsonValue root = {json, 0};

	return root;
}

CdpJsonValue
cdp_json_member(CdpJsonValue v, const char *name)
{
	CdpJsonValue found = {v.json, CDP_JSON_NONE};
	size_t name_length = strlen(name);
	const CdpJsonNode *nodes;

	if (!cdp_json_is(v, CDP_JSON_OBJECT))
		return found;
	nodes = v.json->nodes;
	for (uint32 i = v.node + 1; i < nodes[v.node].next; i = nodes[i + 1].next)
	{
		CdpJsonValue key = {v.json, i};
		int length = nodes[i].length;
		const char *text = v.json->text + nodes[i].start;

		if (nodes[i].is_escaped)
			text = cdp_json_string(key, &length);
		if ((size_t) length == name_length && memcmp(text, name, name_length) == 0)
			found.node = i + 1;
	}
	return found;
}

/* Read the four hexadecimal digits of an escape. */
static uint32
hex4(const char *s)
{
	uint32 v = 0;

	for (int i = 0; i < 4; i++)
	{
		char c = s[i];

		v = v * 16 + (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
	}
	return v;
}

/* Write a code point as UTF-8; returns its length. */
static int
put_utf8(uint32 c, char *out)
{
	if (c < 0x80)
	{
		out[0] = c;
		return 1;
	}
	if (c < 0x800)
	{
		out[0] = 0xC0 | (c >> 6);
		out[1] = 0x80 | (c & 0x3F);
		return 2;
	}
	if (c < 0x10000)
	{
		out[0] = 0xE0 | (c >> 12);
		out[1] = 0x80 | ((c >> 6) & 0x3F);
		out[2] = 0x80 | (c & 0x3F);
		return 3;
	}
	out[0] = 0xF0 | (c >> 18);
	out[1] = 0x80 | ((c >> 12) & 0x3F);
	out[2] = 0x80 | ((c >> 6) & 0x3F);
	out[3] = 0x80 | (c & 0x3F);
	return 4;
}

/* Decode the hexadecimal digits of a \u escape, which begin at s; returns how many characters of the text it used. */
static int
unescape_unicode(const char *s, const char *end, char *out, int *written)
{
	uint32 c = hex4(s);
	int used = 4;

	if (c >= 0xD800 && c < 0xDC00 && end - s >= 10 && s[4] == '\\' && s[5] == 'u')
	{
		uint32 low = hex4(s + 6);

		if (low >= 0xDC00 && low < 0xE000)
		{
			c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
			used = 10;
		}
	}
	if (c == 0 || (c >= 0xD800 && c < 0xE000))
		c = 0xFFFD; /* jsonb and text can hold neither */
	*written = put_utf8(c, out);
	return used;
}

const char *
cdp_json_string(CdpJsonValue v, int *length)
{
	const CdpJsonNode *node = &v.json->nodes[v.node];
	const char *s = v.json->text + node->start;
	const char *end = s + node->length;
	char *result;
	char *out;

	if (!node->is_escaped)
	{
		*length = node->length;
		return s;
	}
	/* an escape is never shorter than what it stands for */
	out = result = palloc(node->length + 1);
	while (s < end)
	{
		int written = 1;

		if (*s != '\\')
		{
			*out++ = *s++;
			continue;
		}
		s++;
		switch (*s++)
		{
			case 'b':
				*out = '\b';
				break;
			case 'f':
				*out = '\f';
				break;
			case 'n':
				*out = '\n';
				break;
			case 'r':
				*out = '\r';
				break;
			case 't':
				*out = '\t';
				break;
			case 'u':
				s += unescape_unicode(s, end, out, &written);
				break;
			default:
				*out = s[-1];
		}
		out += written;
	}
	*length = out - result;
	return result;
}
