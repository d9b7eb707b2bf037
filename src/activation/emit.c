/*
 * emit.c
 *		The batch's changes appended to cdp.change, in the transaction that makes them.
 *
 * The table is only ever inserted into: a subscriber gets each change whole, with no
 * old row, no TOASTed hole and no configuration on its side.
 */
#include "postgres.h"

#include "activation/activation.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"

CDP_QUERY(append_moves,
		  "INSERT INTO cdp.change (at, kind, profile_id, data) SELECT $1, "
		  "CASE WHEN t = 0 THEN 'profile_removed' WHEN is_merge THEN 'profile_merged' ELSE 'profile_split' END, "
		  "CASE WHEN t = 0 THEN f ELSE t END, CASE WHEN t = 0 THEN '{}' ELSE "
		  "jsonb_build_object(CASE WHEN is_merge THEN 'merged_profile_id' ELSE 'split_from_profile_id' END, f) END "
		  "FROM unnest($2, $3, $4) AS k (f, t, is_merge)",
		  "timestamptz,int8[],int8[],bool[]");
CDP_SCAN(profiles, "profile", "profile_pkey", 1, "profile_id, entity, traits, computed, consents, merged_into", "int8[]");
CDP_SCAN(identifiers_of_profiles, "identity", "identity_profile_id_idx", 1, "profile_id, namespace, value", "int8[]");
CDP_APPEND(append_changes, "change", "at, kind, profile_id, data", "$1, $2, $3, $4", "timestamptz[],text[],int8[],jsonb[]");
CDP_QUERY(append_transitions,
		  "INSERT INTO cdp.change (at, kind, profile_id, data) SELECT $1, "
		  "CASE WHEN e THEN 'segment_entered' ELSE 'segment_left' END, p, "
		  "jsonb_build_object('segment', s, 'effective_at', at) FROM unnest($2, $3, $4, $5) AS k (p, s, e, at)",
		  "timestamptz,int8[],text[],bool[],timestamptz[]");

static void
emit_moves(CdpBatch *batch)
{
	CdpColumn *from = cdp_column(INT8OID, batch->n_moves);
	CdpColumn *to = cdp_column(INT8OID, batch->n_moves);
	CdpColumn *merge = cdp_column(BOOLOID, batch->n_moves);
	Datum arguments[4];

	for (int i = 0; i < batch->n_moves; i++)
	{
		cdp_column_add(from, Int64GetDatum(batch->moves[i].from_profile_id));
		cdp_column_add(to, Int64GetDatum(batch->moves[i].to_profile_id));
		cdp_column_add(merge, BoolGetDatum(batch->moves[i].is_merge));
	}
	arguments[0] = TimestampTzGetDatum(batch->now);
	arguments[1] = cdp_column_array(from);
	arguments[2] = cdp_column_array(to);
	arguments[3] = cdp_column_array(merge);
	cdp_run(&append_moves, arguments, NULL);
	cdp_done();
}

/* One of the identifiers of a profile that changed. */
typedef struct Identifier
{
	int profile; /* which of those that changed */
	int length;
	int namespace_length;
	char *text; /* namespace:value */
} Identifier;

typedef struct Telling
{
	CdpBatch *batch;
	Identifier *identifiers; /* by profile, namespace and value */
	int n_identifiers;
	int capacity;
	int at; /* how far they are told */
	CdpColumn *columns[4]; /* what is appended */
} Telling;

static void
take_identifier(void *arg, int i, Datum *values, bool *nulls)
{
	Telling *telling = arg;
	text *name = DatumGetTextPP(values[1]);
	text *value = DatumGetTextPP(values[2]);
	Identifier *identifier;

	if (telling->n_identifiers == telling->capacity)
	{
		telling->capacity *= 2;
		telling->identifiers = repalloc_huge(telling->identifiers, sizeof(Identifier) * (Size) telling->capacity);
	}
	identifier = &telling->identifiers[telling->n_identifiers++];
	identifier->profile = i;
	identifier->namespace_length = VARSIZE_ANY_EXHDR(name);
	identifier->length = identifier->namespace_length + 1 + VARSIZE_ANY_EXHDR(value);
	identifier->text = palloc(identifier->length);
	memcpy(identifier->text, VARDATA_ANY(name), identifier->namespace_length);
	identifier->text[identifier->namespace_length] = ':';
	memcpy(identifier->text + identifier->namespace_length + 1, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

static int
compare_bytes(const char *a, int a_length, const char *b, int b_length)
{
	int c = memcmp(a, b, Min(a_length, b_length));

	return c != 0 ? c : a_length - b_length;
}

static int
compare_identifiers(const void *a, const void *b)
{
	const Identifier *p = a;
	const Identifier *q = b;
	int c;

	if (p->profile != q->profile)
		return p->profile < q->profile ? -1 : 1;
	c = compare_bytes(p->text, p->namespace_length, q->text, q->namespace_length);
	return c != 0 ? c : compare_bytes(p->text, p->length, q->text, q->length);
}

static JEntry
write_identifiers(StringInfo out, const Identifier *identifiers, int n)
{
	CdpJsonbWriter array = cdp_jsonb_begin(out, JB_FARRAY, n);

	for (int i = 0; i < n; i++)
		cdp_jsonb_add(&array, cdp_jsonb_write_string(out, identifiers[i].text, identifiers[i].length));
	return cdp_jsonb_end(&array);
}

/* Two maps as one; each may be null. */
static CdpStamped *
merge_maps(const Datum *values, const bool *nulls)
{
	CdpStamped *said = nulls[0] ? NULL : DatumGetStampedP(values[0]);
	CdpStamped *computed = nulls[1] ? NULL : DatumGetStampedP(values[1]);

	return said == NULL ? computed : computed == NULL ? said : cdp_stamped_merge(said, computed, cdp_stamped_tie_bytes);
}

/* A profile that changed: what is known of it, if it lives, is told; the document's members stand in jsonb's order. */
static void
tell_profile(void *arg, int i, Datum *values, bool *nulls)
{
	static const char *const members[] = {"entity", "traits", "consents", "identifiers"};
	static const char kind[] = "profile_changed";
	Telling *telling = arg;
	text *entity = DatumGetTextPP(values[1]);
	CdpJsonbWriter object;
	StringInfoData out;
	int from;

	if (!nulls[5])
		return;
	while (telling->at < telling->n_identifiers && telling->identifiers[telling->at].profile < i)
		telling->at++;
	for (from = telling->at; telling->at < telling->n_identifiers && telling->identifiers[telling->at].profile == i;)
		telling->at++;
	cdp_jsonb_begin_document(&out, 400);
	object = cdp_jsonb_begin(&out, JB_FOBJECT, lengthof(members));
	for (int k = 0; k < (int) lengthof(members); k++)
		cdp_jsonb_add(&object, cdp_jsonb_write_string(&out, members[k], strlen(members[k])));
	cdp_jsonb_add(&object, cdp_jsonb_write_string(&out, VARDATA_ANY(entity), VARSIZE_ANY_EXHDR(entity)));
	cdp_jsonb_add(&object, cdp_stamped_write(&out, merge_maps(values + 2, nulls + 2)));
	cdp_jsonb_add(&object, cdp_stamped_write(&out, nulls[4] ? NULL : DatumGetStampedP(values[4])));
	cdp_jsonb_add(&object, write_identifiers(&out, telling->identifiers + from, telling->at - from));
	cdp_column_add(telling->columns[0], TimestampTzGetDatum(telling->batch->now));
	cdp_column_add_text(telling->columns[1], kind, strlen(kind));
	cdp_column_add(telling->columns[2], values[0]);
	cdp_column_add(telling->columns[3], JsonbPGetDatum(cdp_jsonb_end_document(&out)));
}

static void
emit_profiles(CdpBatch *batch)
{
	static const Oid types[] = {TIMESTAMPTZOID, TEXTOID, INT8OID, JSONBOID};
	Telling telling = {batch, .capacity = 4 * batch->n_changed_profiles};
	CdpColumn *keys = cdp_int64_column(batch->changed_profiles, batch->n_changed_profiles);

	for (int i = 0; i < (int) lengthof(types); i++)
		telling.columns[i] = cdp_column(types[i], batch->n_changed_profiles);
	telling.identifiers = palloc_extended(sizeof(Identifier) * (Size) telling.capacity, MCXT_ALLOC_HUGE);
	cdp_scan(&identifiers_of_profiles, &keys, take_identifier, &telling);
	qsort(telling.identifiers, telling.n_identifiers, sizeof(Identifier), compare_identifiers);
	cdp_scan(&profiles, &keys, tell_profile, &telling);
	cdp_append(&append_changes, telling.columns);
}

static void
emit_transitions(CdpBatch *batch)
{
	CdpColumn *profiles = cdp_column(INT8OID, batch->n_transitions);
	CdpColumn *segments = cdp_column(TEXTOID, batch->n_transitions);
	CdpColumn *entries = cdp_column(BOOLOID, batch->n_transitions);
	CdpColumn *times = cdp_column(TIMESTAMPTZOID, batch->n_transitions);
	Datum arguments[5];

	for (int i = 0; i < batch->n_transitions; i++)
	{
		const CdpBatchTransition *t = &batch->transitions[i];

		cdp_column_add(profiles, Int64GetDatum(t->profile_id));
		cdp_column_add_text(segments, t->segment, strlen(t->segment));
		cdp_column_add(entries, BoolGetDatum(t->is_entry));
		cdp_column_add(times, TimestampTzGetDatum(t->effective_at));
	}
	arguments[0] = TimestampTzGetDatum(batch->now);
	arguments[1] = cdp_column_array(profiles);
	arguments[2] = cdp_column_array(segments);
	arguments[3] = cdp_column_array(entries);
	arguments[4] = cdp_column_array(times);
	cdp_run(&append_transitions, arguments, NULL);
	cdp_done();
}

void
cdp_activation_emit(CdpBatch *batch)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);

	if (batch->n_moves + batch->n_changed_profiles + batch->n_transitions > 0)
		cdp_append_prepare("change", batch->now);
	if (batch->n_moves > 0)
		emit_moves(batch);
	if (batch->n_changed_profiles > 0)
		emit_profiles(batch);
	if (batch->n_transitions > 0)
		emit_transitions(batch);
	MemoryContextSwitchTo(old);
}
