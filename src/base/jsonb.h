/*
 * jsonb.h
 *		Writing jsonb as it stands on disk, from front to back.
 *
 * PostgreSQL's own way goes through a tree of JsonbValue, which costs several times as
 * much.  Who writes knows how many children a container has before it begins it, and
 * gives the members of an object in jsonb's order: by the length of their names, then
 * bytewise.  First all names are added, then all values.
 *
 *		CdpJsonbWriter object = cdp_jsonb_begin(out, JB_FOBJECT, 1);
 *
 *		cdp_jsonb_add(&object, cdp_jsonb_write_string(out, "plan", 4));
 *		cdp_jsonb_add(&object, cdp_jsonb_write_string(out, "pro", 3));
 *		entry = cdp_jsonb_end(&object);
 */
#ifndef CDP_JSONB_H
#define CDP_JSONB_H

#include "postgres.h"
#include "lib/stringinfo.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

/* A container that is being written; nothing to free. */
typedef struct CdpJsonbWriter
{
	StringInfo out;
	int start; /* of its bytes, padding included */
	int entry_at; /* where the next child's entry stands */
	int n; /* children so far */
	uint32 total; /* their bytes */
} CdpJsonbWriter;

/* A whole document: its outermost container is what cdp_jsonb_begin() is called for next. */
extern void cdp_jsonb_begin_document(StringInfo out, int estimate);
extern Jsonb *cdp_jsonb_end_document(StringInfo out);

/* Order of an object's names. */
static inline int
cdp_jsonb_compare_names(const char *a, int a_length, const char *b, int b_length)
{
	return a_length != b_length ? a_length - b_length : memcmp(a, b, a_length);
}

/* Append bytes, of which no null byte need follow. */
static inline void
cdp_jsonb_append(StringInfo out, const char *bytes, int n)
{
	if (n >= out->maxlen - out->len)
		enlargeStringInfo(out, n);
	memcpy(out->data + out->len, bytes, n);
	out->len += n;
}

/* Pad to four bytes, as jsonb aligns numbers and containers; returns the padding. */
static inline int
cdp_jsonb_pad(StringInfo out)
{
	int n = INTALIGN(out->len) - out->len;

	if (n == 0)
		return 0;
	enlargeStringInfo(out, n);
	memset(out->data + out->len, 0, n);
	out->len += n;
	return n;
}

/* Begin a container: JB_FOBJECT with so many members, or JB_FARRAY with so many elements. */
static inline CdpJsonbWriter
cdp_jsonb_begin(StringInfo out, uint32 flags, int n)
{
	CdpJsonbWriter writer = {out, out->len, 0, 0, 0};
	uint32 header = n | flags;
	int bytes = sizeof(JEntry) * (flags & JB_FOBJECT ? 2 : 1) * n;

	cdp_jsonb_pad(out);
	enlargeStringInfo(out, sizeof(header) + bytes);
	memcpy(out->data + out->len, &header, sizeof(header));
	writer.entry_at = out->len + sizeof(header);
	out->len = writer.entry_at + bytes;
	return writer;
}

/* Note the entry of a child just written; every JB_OFFSET_STRIDE-th holds the end offset instead of the length. */
static inline void
cdp_jsonb_add(CdpJsonbWriter *writer, JEntry entry)
{
	writer->total += entry & JENTRY_OFFLENMASK;
	if (writer->total > JENTRY_OFFLENMASK)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("a JSON object or array is too large"),
						errdetail("It would take more than %d bytes.", JENTRY_OFFLENMASK)));
	if (writer->n++ % JB_OFFSET_STRIDE == 0)
		entry = (entry & JENTRY_TYPEMASK) | writer->total | JENTRY_HAS_OFF;
	memcpy(writer->out->data + writer->entry_at, &entry, sizeof(entry));
	writer->entry_at += sizeof(entry);
}

static inline JEntry
cdp_jsonb_end(const CdpJsonbWriter *writer)
{
	return JENTRY_ISCONTAINER | ((writer->out->len - writer->start) & JENTRY_OFFLENMASK);
}

static inline JEntry
cdp_jsonb_write_string(StringInfo out, const char *s, int length)
{
	cdp_jsonb_append(out, s, length);
	return JENTRY_ISSTRING | length;
}

static inline JEntry
cdp_jsonb_write_numeric(StringInfo out, Numeric number)
{
	int padding = cdp_jsonb_pad(out);

	cdp_jsonb_append(out, (const char *) number, VARSIZE(number));
	return JENTRY_ISNUMERIC | (padding + VARSIZE(number));
}

/* Write a complete jsonb as a child. */
extern JEntry cdp_jsonb_write(StringInfo out, const Jsonb *value);

#endif
