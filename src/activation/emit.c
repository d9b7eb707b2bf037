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

CDP_QUERY(make_partitions, "SELECT cdp.make_partitions('change', $1, $1)", "timestamptz");
CDP_QUERY(append_moves,
		  "INSERT INTO cdp.change (at, kind, profile_id, data) SELECT $1, "
		  "CASE WHEN t = 0 THEN 'profile_removed' WHEN is_merge THEN 'profile_merged' ELSE 'profile_split' END, "
		  "CASE WHEN t = 0 THEN f ELSE t END, CASE WHEN t = 0 THEN '{}' ELSE "
		  "jsonb_build_object(CASE WHEN is_merge THEN 'merged_profile_id' ELSE 'split_from_profile_id' END, f) END "
		  "FROM unnest($2, $3, $4) AS k (f, t, is_merge)",
		  "timestamptz,int8[],int8[],bool[]");
CDP_QUERY(append_profiles,
		  "INSERT INTO cdp.change (at, kind, profile_id, data) SELECT $1, 'profile_changed', p.profile_id, "
		  "jsonb_build_object('entity', p.entity, 'traits', coalesce(cdp.to_jsonb(coalesce(cdp.merge(p.traits, p.computed), p.traits, p.computed)), '{}'), "
		  "'consents', coalesce(cdp.to_jsonb(p.consents), '{}'), 'identifiers', (SELECT "
		  "jsonb_agg(i.namespace || ':' || i.value ORDER BY i.namespace, i.value) FROM cdp.identity i "
		  "WHERE i.profile_id = p.profile_id)) "
		  "FROM unnest($2) AS k (id) JOIN cdp.profile p ON p.profile_id = k.id AND p.merged_into IS NULL",
		  "timestamptz,int8[]");
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

static void
emit_profiles(CdpBatch *batch)
{
	Datum arguments[2] = {TimestampTzGetDatum(batch->now),
						  cdp_int64_array(batch->changed_profiles, batch->n_changed_profiles)};

	cdp_run(&append_profiles, arguments, NULL);
	cdp_done();
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
	{
		Datum arguments[1] = {TimestampTzGetDatum(batch->now)};

		cdp_run(&make_partitions, arguments, NULL);
		cdp_done();
	}
	if (batch->n_moves > 0)
		emit_moves(batch);
	if (batch->n_changed_profiles > 0)
		emit_profiles(batch);
	if (batch->n_transitions > 0)
		emit_transitions(batch);
	MemoryContextSwitchTo(old);
}
