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

CDP_SCAN(profiles, "profile", "profile_pkey", 1, "profile_id, entity, traits, computed, consents, merged_into", "int8[]");
CDP_SCAN(identifiers_of_profiles, "identity", "identity_profile_id_idx", 1, "profile_id, namespace, value", "int8[]");
CDP_APPEND(append_changes, "change", "at, kind, profile_id, data", "$1, $2, $3, $4", "timestamptz[],text[],int8[],jsonb[]");

/* Changes on their way out; the columns of cdp.change, as they are appended. */
typedef struct Changes
{
	const CdpBatch *batch;
	CdpColumn *columns[4];
} Changes;

/* Add a change. */
static void
add_change(Changes *changes, const char *kind, int64 profile_id, Jsonb *data)
{
	cdp_column_add(changes->columns[0], TimestampTzGetDatum(changes->batch->now));
	cdp_column_add_text(changes->columns[1], kind, strlen(kind));
	cdp_column_add(changes->columns[2], Int64GetDatum(profile_id));
	cdp_column_add(changes->columns[3], JsonbPGetDatum(data));
}

/* Begin the object of a change with its members' names, which stand in jsonb's order: the shorter first. */
static CdpJsonbWriter
begin_object(StringInfo out, const char *const *names, int n)
{
	CdpJsonbWriter object;

	cdp_jsonb_begin_document(out, 400);
	object = cdp_jsonb_begin(out, JB_FOBJECT, n);
	for (int i = 0; i < n; i++)
		cdp_jsonb_add(&object, cdp_jsonb_write_string(out, names[i], strlen(names[i])));
	return object;
}

/* Profiles became one, or one became two, or nobody is known by one any more. */
static void
add_moves(Changes *changes)
{
	for (int i = 0; i < changes->batch->n_moves; i++)
	{
		const CdpBatchMove *move = &changes->batch->moves[i];
		const char *member = move->is_merge ? "merged_profile_id" : "split_from_profile_id";
		bool is_removal = move->to_profile_id == 0;
		CdpJsonbWriter object;
		StringInfoData out;

		object = begin_object(&out, &member, is_removal ? 0 : 1);
		if (!is_removal)
			cdp_jsonb_add(&object, cdp_jsonb_write_numeric(&out, int64_to_numeric(move->from_profile_id)));
		add_change(changes, is_removal ? "profile_removed" : move->is_merge ? "profile_merged" : "profile_split",
				   is_removal ? move->from_profile_id : move->to_profile_id, cdp_jsonb_end_document(&out));
	}
}

/* Profiles entered segments, or left them. */
static void
add_transitions(Changes *changes)
{
	static const char *const members[] = {"segment", "effective_at"};

	for (int i = 0; i < changes->batch->n_transitions; i++)
	{
		const CdpBatchTransition *t = &changes->batch->transitions[i];
		char at[CDP_TIMESTAMP_BYTES];
		StringInfoData out;
		CdpJsonbWriter object = begin_object(&out, members, lengthof(members));

		cdp_format_timestamp(t->effective_at, at);
		cdp_jsonb_add(&object, cdp_jsonb_write_string(&out, t->segment, strlen(t->segment)));
		cdp_jsonb_add(&object, cdp_jsonb_write_string(&out, at, strlen(at)));
		add_change(changes, t->is_entry ? "segment_entered" : "segment_left", t->profile_id, cdp_jsonb_end_document(&out));
	}
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
	Changes *changes;
	Identifier *identifiers; /* by profile, namespace and value */
	int n_identifiers;
	int capacity;
	int at; /* how far they are told */
} Telling;

static void
take_identifier(void *arg, int i, Datum *values, bool *nulls)
{
	Telling *telling = arg;
	text *name = DatumGetTextPP(values[1]);
	text *value = DatumGetTextPP(values[2]);
	Identifier *identifier;

	CDP_GROW(telling->identifiers, telling->n_identifiers, telling->capacity, 16);
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

/* A profile that changed: what is known of it, if it lives, is told. */
static void
tell_profile(void *arg, int i, Datum *values, bool *nulls)
{
	static const char *const members[] = {"entity", "traits", "consents", "identifiers"};
	Telling *telling = arg;
	text *entity = DatumGetTextPP(values[1]);
	CdpStamped *said;
	CdpStamped *computed;
	CdpJsonbWriter object;
	StringInfoData out;
	int from;

	if (!nulls[5])
		return;
	said = nulls[2] ? NULL : DatumGetStampedP(values[2]);
	computed = nulls[3] ? NULL : DatumGetStampedP(values[3]);
	while (telling->at < telling->n_identifiers && telling->identifiers[telling->at].profile < i)
		telling->at++;
	for (from = telling->at; telling->at < telling->n_identifiers && telling->identifiers[telling->at].profile == i;)
		telling->at++;
	object = begin_object(&out, members, lengthof(members));
	cdp_jsonb_add(&object, cdp_jsonb_write_string(&out, VARDATA_ANY(entity), VARSIZE_ANY_EXHDR(entity)));
	cdp_jsonb_add(&object, cdp_stamped_write(&out, cdp_stamped_merge(said, computed, cdp_stamped_tie_bytes)));
	cdp_jsonb_add(&object, cdp_stamped_write(&out, nulls[4] ? NULL : DatumGetStampedP(values[4])));
	cdp_jsonb_add(&object, write_identifiers(&out, telling->identifiers + from, telling->at - from));
	add_change(telling->changes, "profile_changed", DatumGetInt64(values[0]), cdp_jsonb_end_document(&out));
}

static void
add_profiles(Changes *changes)
{
	const CdpBatch *batch = changes->batch;
	Telling telling = {changes};
	CdpColumn *keys = cdp_int64_column(batch->changed_profiles, batch->n_changed_profiles);

	if (batch->n_changed_profiles == 0)
		return;
	cdp_scan(&identifiers_of_profiles, &keys, take_identifier, &telling);
	qsort(telling.identifiers, telling.n_identifiers, sizeof(Identifier), compare_identifiers);
	cdp_scan_at(&profiles, &keys, cdp_batch_places(batch, keys), tell_profile, &telling);
}

void
cdp_activation_emit(CdpBatch *batch)
{
	static const Oid types[] = {TIMESTAMPTZOID, TEXTOID, INT8OID, JSONBOID};
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	Changes changes = {batch};

	for (int i = 0; i < (int) lengthof(types); i++)
		changes.columns[i] = cdp_column(types[i], batch->n_moves + batch->n_changed_profiles + batch->n_transitions);
	add_moves(&changes);
	add_profiles(&changes);
	add_transitions(&changes);
	cdp_append(&append_changes, changes.columns);
	MemoryContextSwitchTo(old);
}
