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
CDP_QUERY(read_profiles,
		  "SELECT p.profile_id, p.entity, coalesce(cdp.merge(p.traits, p.computed), p.traits, p.computed), p.consents "
		  "FROM cdp.profile p WHERE p.profile_id = ANY($1) AND p.merged_into IS NULL ORDER BY p.profile_id",
		  "int8[]");
CDP_QUERY(read_identifiers,
		  "SELECT i.profile_id, i.namespace, i.value FROM cdp.identity i WHERE i.profile_id = ANY($1) ORDER BY 1, 2, 3", "int8[]");
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

/* What is known of a profile, as it is told. */
typedef struct Told
{
	int64 profile_id;
	char *entity;
	CdpStamped *traits; /* NULL: none */
	CdpStamped *consents;
	int first_identifier; /* of all that are told */
	int n_identifiers;
} Told;

typedef struct Identifiers
{
	char **texts; /* namespace:value */
	int *lengths;
	int n;
} Identifiers;

static CdpStamped *
copy_map(uint64 row, int column)
{
	bool isnull;
	Datum map = cdp_result_datum(row, column, &isnull);

	return isnull ? NULL : (CdpStamped *) PG_DETOAST_DATUM_COPY(map);
}

/* Read the changed profiles that live, by id; returns how many. */
static int
read_changed(Datum *ids, Told **told)
{
	uint64 n = cdp_run(&read_profiles, ids, NULL);

	*told = palloc0(sizeof(Told) * (n + 1));
	for (uint64 row = 0; row < n; row++)
	{
		(*told)[row].profile_id = cdp_result_int64(row, 1, 0);
		(*told)[row].entity = cdp_result_cstring(row, 2);
		(*told)[row].traits = copy_map(row, 3);
		(*told)[row].consents = copy_map(row, 4);
	}
	cdp_done();
	return n;
}

/* Read the identifiers of profiles, which are sorted by id. */
static void
read_identifiers_of(Datum *ids, Told *told, int n_told, Identifiers *identifiers)
{
	uint64 n = cdp_run(&read_identifiers, ids, NULL);
	int at = 0;

	identifiers->texts = palloc(sizeof(char *) * (n + 1));
	identifiers->lengths = palloc(sizeof(int) * (n + 1));
	for (uint64 row = 0; row < n; row++)
	{
		int64 profile_id = cdp_result_int64(row, 1, 0);
		bool isnull;
		text *name = DatumGetTextPP(cdp_result_datum(row, 2, &isnull));
		text *value = DatumGetTextPP(cdp_result_datum(row, 3, &isnull));
		int length = VARSIZE_ANY_EXHDR(name) + 1 + VARSIZE_ANY_EXHDR(value);
		char *joined = palloc(length);

		while (at < n_told && told[at].profile_id < profile_id)
			at++;
		if (at == n_told)
			break;
		if (told[at].profile_id != profile_id)
			continue;
		memcpy(joined, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
		joined[VARSIZE_ANY_EXHDR(name)] = ':';
		memcpy(joined + VARSIZE_ANY_EXHDR(name) + 1, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
		if (told[at].n_identifiers++ == 0)
			told[at].first_identifier = identifiers->n;
		identifiers->texts[identifiers->n] = joined;
		identifiers->lengths[identifiers->n++] = length;
	}
	cdp_done();
}

/* The document of a changed profile; its members stand in jsonb's order. */
static Jsonb *
write_told(const Told *told, const Identifiers *identifiers)
{
	static const char *const members[] = {"entity", "traits", "consents", "identifiers"};
	CdpJsonbWriter object, array;
	StringInfoData out;

	cdp_jsonb_begin_document(&out, 400);
	object = cdp_jsonb_begin(&out, JB_FOBJECT, lengthof(members));
	for (int i = 0; i < (int) lengthof(members); i++)
		cdp_jsonb_add(&object, cdp_jsonb_write_string(&out, members[i], strlen(members[i])));
	cdp_jsonb_add(&object, cdp_jsonb_write_string(&out, told->entity, strlen(told->entity)));
	cdp_jsonb_add(&object, cdp_stamped_write(&out, told->traits));
	cdp_jsonb_add(&object, cdp_stamped_write(&out, told->consents));
	array = cdp_jsonb_begin(&out, JB_FARRAY, told->n_identifiers);
	for (int i = told->first_identifier; i < told->first_identifier + told->n_identifiers; i++)
		cdp_jsonb_add(&array, cdp_jsonb_write_string(&out, identifiers->texts[i], identifiers->lengths[i]));
	cdp_jsonb_add(&object, cdp_jsonb_end(&array));
	return cdp_jsonb_end_document(&out);
}

static void
emit_profiles(CdpBatch *batch)
{
	static const Oid types[] = {TIMESTAMPTZOID, TEXTOID, INT8OID, JSONBOID};
	static const char kind[] = "profile_changed";
	Datum ids = cdp_int64_array(batch->changed_profiles, batch->n_changed_profiles);
	Identifiers identifiers = {0};
	CdpColumn *columns[lengthof(types)];
	Told *told;
	int n = read_changed(&ids, &told);

	read_identifiers_of(&ids, told, n, &identifiers);
	for (int i = 0; i < (int) lengthof(types); i++)
		columns[i] = cdp_column(types[i], n);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		cdp_column_add(columns[0], TimestampTzGetDatum(batch->now));
		cdp_column_add_text(columns[1], kind, strlen(kind));
		cdp_column_add(columns[2], Int64GetDatum(told[i].profile_id));
		cdp_column_add(columns[3], JsonbPGetDatum(write_told(&told[i], &identifiers)));
	}
	cdp_append(&append_changes, columns);
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
