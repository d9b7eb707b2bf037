/*
 * identifier.c
 *		The type cdp.identifier: "email:ada@example.com", a namespace and a value.
 */
#include "postgres.h"

#include "identifier/identifier.h"
#include "identifier/rules.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#if PG_VERSION_NUM >= 160000
#include "nodes/miscnodes.h"
#define soft_error(context, ...) ereturn(context, NULL, __VA_ARGS__)
#else
#define soft_error(context, ...) ereport(ERROR, __VA_ARGS__)
#endif

PG_FUNCTION_INFO_V1(cdp_identifier_in);
PG_FUNCTION_INFO_V1(cdp_identifier_out);
PG_FUNCTION_INFO_V1(cdp_identifier_recv);
PG_FUNCTION_INFO_V1(cdp_identifier_send);
PG_FUNCTION_INFO_V1(cdp_identifier_eq);
PG_FUNCTION_INFO_V1(cdp_identifier_ne);
PG_FUNCTION_INFO_V1(cdp_identifier_lt);
PG_FUNCTION_INFO_V1(cdp_identifier_le);
PG_FUNCTION_INFO_V1(cdp_identifier_gt);
PG_FUNCTION_INFO_V1(cdp_identifier_ge);
PG_FUNCTION_INFO_V1(cdp_identifier_cmp);
PG_FUNCTION_INFO_V1(cdp_identifier_hash);
PG_FUNCTION_INFO_V1(cdp_identifier_hash_extended);
PG_FUNCTION_INFO_V1(cdp_identifier_namespace);
PG_FUNCTION_INFO_V1(cdp_identifier_text_value);
PG_FUNCTION_INFO_V1(cdp_identifier_of);

bool
cdp_namespace_is_name(const char *s, int length)
{
	if (length < 1 || length > CDP_MAX_NAMESPACE_BYTES || (s[0] >= '0' && s[0] <= '9'))
		return false;
	for (int i = 0; i < length; i++)
	{
		if (!((s[i] >= 'a' && s[i] <= 'z') || (s[i] >= '0' && s[i] <= '9') || s[i] == '_'))
			return false;
	}
	return true;
}

/* Make an identifier of checked parts. */
CdpIdentifier *
cdp_identifier_make(const char *name_space, int namespace_length, const char *value, int length)
{
	Size size = offsetof(CdpIdentifier, data) + namespace_length + length;
	CdpIdentifier *id = palloc(size);

	SET_VARSIZE(id, size);
	id->namespace_length = namespace_length;
	memcpy(id->data, name_space, namespace_length);
	memcpy(id->data + namespace_length, value, length);
	return id;
}

/* Check the parts and make an identifier; NULL after a soft error. */
static CdpIdentifier *
check_identifier(const char *name_space, int namespace_length, const char *value, int length, Node *context)
{
	if (!cdp_namespace_is_name(name_space, namespace_length))
		soft_error(context, (errcode(ERRCODE_INVALID_TEXT_REPRESENTATION), errmsg("invalid namespace in identifier"),
							 errhint("Write namespace:value, such as email:ada@example.com; a namespace has lower-case "
									 "letters, digits and underscores, at most %d.",
									 CDP_MAX_NAMESPACE_BYTES)));
	if (length < 1)
		soft_error(context, (errcode(ERRCODE_INVALID_TEXT_REPRESENTATION), errmsg("identifier without a value"),
							 errhint("Write namespace:value, such as email:ada@example.com.")));
	if (length > CDP_MAX_IDENTIFIER_BYTES)
		soft_error(context, (errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION), errmsg("identifier is too long"),
							 errdetail("Its value has %d bytes, the limit is %d.", length, CDP_MAX_IDENTIFIER_BYTES)));
	return cdp_identifier_make(name_space, namespace_length, value, length);
}

/* Parse namespace:value; NULL after a soft error. */
static CdpIdentifier *
parse(const char *text, Node *context)
{
	const char *colon = strchr(text, ':');
	const char *start = text + strspn(text, " \t\n\r");

	/* without a colon the whole is taken as a namespace, and the check says what is missing */
	if (colon == NULL)
		return check_identifier("", 0, "", 0, context);
	return check_identifier(start, colon - start, colon + 1, strlen(colon + 1), context);
}

CdpIdentifier *
cdp_identifier_parse(const char *text)
{
	return parse(text, NULL);
}

Datum
cdp_identifier_in(PG_FUNCTION_ARGS)
{
	CdpIdentifier *id = parse(PG_GETARG_CSTRING(0), fcinfo->context);

	if (id == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(id);
}

Datum
cdp_identifier_out(PG_FUNCTION_ARGS)
{
	CdpIdentifier *id = PG_GETARG_IDENTIFIER_P(0);

	PG_RETURN_CSTRING(psprintf("%.*s:%.*s", id->namespace_length, id->data, cdp_identifier_value_length(id),
							   cdp_identifier_value(id)));
}

/* The binary form: the namespace's length in a byte, the namespace, the value; all as text of the client. */
Datum
cdp_identifier_recv(PG_FUNCTION_ARGS)
{
	StringInfo in = (StringInfo) PG_GETARG_POINTER(0);
	int namespace_length = pq_getmsgbyte(in);
	int rest = in->len - in->cursor;
	char *name_space;
	char *value;
	int namespace_bytes;
	int value_bytes;
	CdpIdentifier *id;

	if (namespace_length > rest)
		ereport(ERROR, (errcode(ERRCODE_INVALID_BINARY_REPRESENTATION), errmsg("invalid length in identifier")));
	name_space = pq_getmsgtext(in, namespace_length, &namespace_bytes);
	value = pq_getmsgtext(in, in->len - in->cursor, &value_bytes);
	id = check_identifier(name_space, namespace_bytes, value, value_bytes, NULL);
	PG_RETURN_POINTER(id);
}

Datum
cdp_identifier_send(PG_FUNCTION_ARGS)
{
	CdpIdentifier *id = PG_GETARG_IDENTIFIER_P(0);
	StringInfoData out;

	pq_begintypsend(&out);
	pq_sendbyte(&out, id->namespace_length);
	pq_sendtext(&out, id->data, id->namespace_length);
	pq_sendtext(&out, cdp_identifier_value(id), cdp_identifier_value_length(id));
	PG_RETURN_BYTEA_P(pq_endtypsend(&out));
}

/* Order by namespace, then value, both bytewise. */
static int
compare(PG_FUNCTION_ARGS)
{
	CdpIdentifier *a = PG_GETARG_IDENTIFIER_P(0);
	CdpIdentifier *b = PG_GETARG_IDENTIFIER_P(1);
	int a_length = cdp_identifier_value_length(a);
	int b_length = cdp_identifier_value_length(b);
	int c = memcmp(a->data, b->data, Min(a->namespace_length, b->namespace_length));

	if (c == 0)
		c = (int) a->namespace_length - (int) b->namespace_length;
	if (c == 0)
		c = memcmp(cdp_identifier_value(a), cdp_identifier_value(b), Min(a_length, b_length));
	if (c == 0)
		c = a_length - b_length;
	PG_FREE_IF_COPY(a, 0);
	PG_FREE_IF_COPY(b, 1);
	return c;
}

Datum
cdp_identifier_eq(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) == 0);
}

Datum
cdp_identifier_ne(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) != 0);
}

Datum
cdp_identifier_lt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) < 0);
}

Datum
cdp_identifier_le(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) <= 0);
}

Datum
cdp_identifier_gt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) > 0);
}

Datum
cdp_identifier_ge(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) >= 0);
}

Datum
cdp_identifier_cmp(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(compare(fcinfo));
}

/* Hash everything after the varlena header; the namespace's length keeps a:bc and ab:c apart. */
static uint64
hash(CdpIdentifier *id, uint64 seed)
{
	return cdp_hash64(&id->namespace_length, VARSIZE(id) - offsetof(CdpIdentifier, namespace_length), seed);
}

Datum
cdp_identifier_hash(PG_FUNCTION_ARGS)
{
	CdpIdentifier *id = PG_GETARG_IDENTIFIER_P(0);

	PG_RETURN_INT32((int32) hash(id, 0));
}

Datum
cdp_identifier_hash_extended(PG_FUNCTION_ARGS)
{
	CdpIdentifier *id = PG_GETARG_IDENTIFIER_P(0);

	/* seed 0 must agree with cdp_identifier_hash() in the low 32 bits, and it does */
	PG_RETURN_INT64((int64) hash(id, (uint64) PG_GETARG_INT64(1)));
}

Datum
cdp_identifier_namespace(PG_FUNCTION_ARGS)
{
	CdpIdentifier *id = PG_GETARG_IDENTIFIER_P(0);

	PG_RETURN_TEXT_P(cstring_to_text_with_len(id->data, id->namespace_length));
}

Datum
cdp_identifier_text_value(PG_FUNCTION_ARGS)
{
	CdpIdentifier *id = PG_GETARG_IDENTIFIER_P(0);

	PG_RETURN_TEXT_P(cstring_to_text_with_len(cdp_identifier_value(id), cdp_identifier_value_length(id)));
}

Datum
cdp_identifier_of(PG_FUNCTION_ARGS)
{
	text *name_space = PG_GETARG_TEXT_PP(0);
	text *value = PG_GETARG_TEXT_PP(1);

	PG_RETURN_POINTER(check_identifier(VARDATA_ANY(name_space), VARSIZE_ANY_EXHDR(name_space), VARDATA_ANY(value),
									   VARSIZE_ANY_EXHDR(value), NULL));
}
