-- profile: aggregates for any table.

CREATE FUNCTION cdp.merge_traits_step(state cdp.traits, object jsonb, at timestamptz) RETURNS cdp.traits
AS 'MODULE_PATHNAME', 'cdp_traits_step' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION cdp.merge_traits_step(cdp.traits, jsonb, timestamptz) IS 'Support of cdp.merge_traits(jsonb, timestamptz)';
CREATE FUNCTION cdp.merge_traits_step(state cdp.traits, object jsonb, at timestamptz, rank integer) RETURNS cdp.traits
AS 'MODULE_PATHNAME', 'cdp_traits_step' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION cdp.merge_traits_step(cdp.traits, jsonb, timestamptz, integer) IS 'Support of cdp.merge_traits(jsonb, timestamptz, integer)';
CREATE AGGREGATE cdp.merge_traits(object jsonb, at timestamptz) (
	SFUNC = cdp.merge_traits_step, STYPE = cdp.traits, COMBINEFUNC = cdp.merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE cdp.merge_traits(jsonb, timestamptz) IS 'JSON objects as one: of each name the latest value, then the larger bytewise, in any order; null of nothing. An object without a time is the oldest. Errors 22023, 22008, 22003';
CREATE AGGREGATE cdp.merge_traits(object jsonb, at timestamptz, rank integer) (
	SFUNC = cdp.merge_traits_step, STYPE = cdp.traits, COMBINEFUNC = cdp.merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE cdp.merge_traits(jsonb, timestamptz, integer) IS 'JSON objects as one: of each name the latest value, then that of the highest rank, then the larger bytewise, in any order; null of nothing. An object without a time is the oldest. Errors 22023, 22008, 22003';

CREATE TYPE cdp.candidates;
COMMENT ON TYPE cdp.candidates IS 'The state of the aggregates that choose one value of many: values of one type with count, time and rank. Text form: {"rule": "latest", "type": "text", "candidates": [{"value": "pro", "count": 1, "at": 0, "rank": 0}]}';
CREATE FUNCTION cdp.candidates_in(cstring) RETURNS cdp.candidates
AS 'MODULE_PATHNAME', 'cdp_candidates_in' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.candidates_in(cstring) IS 'Input of candidates; error 22P02, which never shows a value. The values are read when an aggregate takes them in';
CREATE FUNCTION cdp.candidates_out(cdp.candidates) RETURNS cstring
AS 'MODULE_PATHNAME', 'cdp_candidates_out' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.candidates_out(cdp.candidates) IS 'Output of candidates: JSON, each value in its type''s text form, times in microseconds since 2000';
CREATE TYPE cdp.candidates (
	INPUT = cdp.candidates_in, OUTPUT = cdp.candidates_out, INTERNALLENGTH = VARIABLE, ALIGNMENT = double, STORAGE = extended
);

CREATE FUNCTION cdp.merge(a cdp.candidates, b cdp.candidates) RETURNS cdp.candidates
AS 'MODULE_PATHNAME', 'cdp_candidates_merge' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.merge(cdp.candidates, cdp.candidates) IS 'Two states of one aggregate as one; commutative, associative. Support of the aggregates, not for PUBLIC. Error 22023';
CREATE FUNCTION cdp.winner(state cdp.candidates, value anyelement) RETURNS anyelement
AS 'MODULE_PATHNAME', 'cdp_candidates_winner' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION cdp.winner(cdp.candidates, anyelement) IS 'The result of an aggregate from its state. Support of the aggregates, not for PUBLIC. Error 42804';
CREATE FUNCTION cdp.winner(state cdp.candidates, value anyelement, at timestamptz) RETURNS anyelement
AS 'MODULE_PATHNAME', 'cdp_candidates_winner' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION cdp.winner(cdp.candidates, anyelement, timestamptz) IS 'The result of an aggregate from its state. Support of the aggregates, not for PUBLIC. Error 42804';
CREATE FUNCTION cdp.winner(state cdp.candidates, value anyelement, at timestamptz, rank integer) RETURNS anyelement
AS 'MODULE_PATHNAME', 'cdp_candidates_winner' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION cdp.winner(cdp.candidates, anyelement, timestamptz, integer) IS 'The result of an aggregate from its state. Support of the aggregates, not for PUBLIC. Error 42804';
CREATE FUNCTION cdp.winner(state cdp.candidates, value anyelement, rank integer, at timestamptz) RETURNS anyelement
AS 'MODULE_PATHNAME', 'cdp_candidates_winner' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION cdp.winner(cdp.candidates, anyelement, integer, timestamptz) IS 'The result of an aggregate from its state. Support of the aggregates, not for PUBLIC. Error 42804';

CREATE FUNCTION cdp.latest_step(state cdp.candidates, value anyelement, at timestamptz) RETURNS cdp.candidates
AS 'MODULE_PATHNAME', 'cdp_latest_step' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION cdp.latest_step(cdp.candidates, anyelement, timestamptz) IS 'Support of cdp.latest(anyelement, timestamptz), not for PUBLIC';
CREATE AGGREGATE cdp.latest(value anyelement, at timestamptz) (
	SFUNC = cdp.latest_step, STYPE = cdp.candidates, FINALFUNC = cdp.winner, FINALFUNC_EXTRA, COMBINEFUNC = cdp.merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE cdp.latest(anyelement, timestamptz) IS 'The value said last, then the larger; null of nothing';

CREATE FUNCTION cdp.latest_step(state cdp.candidates, value anyelement, at timestamptz, rank integer) RETURNS cdp.candidates
AS 'MODULE_PATHNAME', 'cdp_latest_step' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION cdp.latest_step(cdp.candidates, anyelement, timestamptz, integer) IS 'Support of cdp.latest(anyelement, timestamptz, integer), not for PUBLIC';
CREATE AGGREGATE cdp.latest(value anyelement, at timestamptz, rank integer) (
	SFUNC = cdp.latest_step, STYPE = cdp.candidates, FINALFUNC = cdp.winner, FINALFUNC_EXTRA, COMBINEFUNC = cdp.merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE cdp.latest(anyelement, timestamptz, integer) IS 'The value said last, then that of the highest rank, then the larger; null of nothing';

CREATE FUNCTION cdp.earliest_step(state cdp.candidates, value anyelement, at timestamptz) RETURNS cdp.candidates
AS 'MODULE_PATHNAME', 'cdp_earliest_step' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION cdp.earliest_step(cdp.candidates, anyelement, timestamptz) IS 'Support of cdp.earliest(anyelement, timestamptz), not for PUBLIC';
CREATE AGGREGATE cdp.earliest(value anyelement, at timestamptz) (
	SFUNC = cdp.earliest_step, STYPE = cdp.candidates, FINALFUNC = cdp.winner, FINALFUNC_EXTRA, COMBINEFUNC = cdp.merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE cdp.earliest(anyelement, timestamptz) IS 'The value said first, then the larger; null of nothing';

CREATE FUNCTION cdp.earliest_step(state cdp.candidates, value anyelement, at timestamptz, rank integer) RETURNS cdp.candidates
AS 'MODULE_PATHNAME', 'cdp_earliest_step' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION cdp.earliest_step(cdp.candidates, anyelement, timestamptz, integer) IS 'Support of cdp.earliest(anyelement, timestamptz, integer), not for PUBLIC';
CREATE AGGREGATE cdp.earliest(value anyelement, at timestamptz, rank integer) (
	SFUNC = cdp.earliest_step, STYPE = cdp.candidates, FINALFUNC = cdp.winner, FINALFUNC_EXTRA, COMBINEFUNC = cdp.merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE cdp.earliest(anyelement, timestamptz, integer) IS 'The value said first, then that of the highest rank, then the larger; null of nothing';

CREATE FUNCTION cdp.preferred_step(state cdp.candidates, value anyelement, rank integer, at timestamptz) RETURNS cdp.candidates
AS 'MODULE_PATHNAME', 'cdp_preferred_step' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION cdp.preferred_step(cdp.candidates, anyelement, integer, timestamptz) IS 'Support of cdp.preferred(anyelement, integer, timestamptz), not for PUBLIC';
CREATE AGGREGATE cdp.preferred(value anyelement, rank integer, at timestamptz) (
	SFUNC = cdp.preferred_step, STYPE = cdp.candidates, FINALFUNC = cdp.winner, FINALFUNC_EXTRA, COMBINEFUNC = cdp.merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE cdp.preferred(anyelement, integer, timestamptz) IS 'The value of the highest rank, then the one said last, then the larger; null of nothing';

CREATE FUNCTION cdp.most_frequent_step(state cdp.candidates, value anyelement) RETURNS cdp.candidates
AS 'MODULE_PATHNAME', 'cdp_most_frequent_step' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION cdp.most_frequent_step(cdp.candidates, anyelement) IS 'Support of cdp.most_frequent(anyelement), not for PUBLIC';
CREATE AGGREGATE cdp.most_frequent(value anyelement) (
	SFUNC = cdp.most_frequent_step, STYPE = cdp.candidates, FINALFUNC = cdp.winner, FINALFUNC_EXTRA, COMBINEFUNC = cdp.merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE cdp.most_frequent(anyelement) IS 'The value said most often, then the larger; null of nothing';

CREATE FUNCTION cdp.most_frequent_step(state cdp.candidates, value anyelement, at timestamptz) RETURNS cdp.candidates
AS 'MODULE_PATHNAME', 'cdp_most_frequent_step' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION cdp.most_frequent_step(cdp.candidates, anyelement, timestamptz) IS 'Support of cdp.most_frequent(anyelement, timestamptz), not for PUBLIC';
CREATE AGGREGATE cdp.most_frequent(value anyelement, at timestamptz) (
	SFUNC = cdp.most_frequent_step, STYPE = cdp.candidates, FINALFUNC = cdp.winner, FINALFUNC_EXTRA, COMBINEFUNC = cdp.merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE cdp.most_frequent(anyelement, timestamptz) IS 'The value said most often, then the one said last, then the larger; null of nothing';

-- Bytes of any type stand in these functions' states. Who could keep one and alter the type would have them read wrongly;
-- the aggregates call them as their owner does, so everybody may use those.
REVOKE ALL ON FUNCTION
	cdp.merge(cdp.candidates, cdp.candidates),
	cdp.winner(cdp.candidates, anyelement),
	cdp.winner(cdp.candidates, anyelement, timestamptz),
	cdp.winner(cdp.candidates, anyelement, timestamptz, integer),
	cdp.winner(cdp.candidates, anyelement, integer, timestamptz),
	cdp.latest_step(cdp.candidates, anyelement, timestamptz),
	cdp.latest_step(cdp.candidates, anyelement, timestamptz, integer),
	cdp.earliest_step(cdp.candidates, anyelement, timestamptz),
	cdp.earliest_step(cdp.candidates, anyelement, timestamptz, integer),
	cdp.preferred_step(cdp.candidates, anyelement, integer, timestamptz),
	cdp.most_frequent_step(cdp.candidates, anyelement),
	cdp.most_frequent_step(cdp.candidates, anyelement, timestamptz)
FROM PUBLIC;

CREATE FUNCTION cdp.profile(identifier cdp.identifier) RETURNS jsonb
AS 'MODULE_PATHNAME', 'cdp_profile_by_identifier' LANGUAGE C STABLE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION cdp.profile(cdp.identifier) IS 'Everything known of whom an identifier belongs to: {profile_id, entity, traits, consents, identifiers, segments, accounts, first_seen_at, last_seen_at, event_count}; accounts are those a person was seen with, the latest first: [{profile_id, traits, identifiers, first_seen_at, last_seen_at}]; null when nobody was ever known by it. Error 42704 when there is no such namespace';
CREATE FUNCTION cdp.profile(profile_id bigint) RETURNS jsonb
AS 'MODULE_PATHNAME', 'cdp_profile_by_id' LANGUAGE C STABLE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION cdp.profile(bigint) IS 'Everything known of the profile that a profile id, however old, stands for now; null when it was never given out';

CREATE FUNCTION cdp.timeline(profile_id bigint)
RETURNS TABLE (occurred_at timestamptz, type text, name text, source text, anchor cdp.identifier, message_id text, message jsonb)
LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE ROWS 100
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM cdp.require_init();
	RETURN QUERY SELECT e.occurred_at, e.type, e.name, s.name, cdp.identifier(i.namespace, i.value), e.message_id, e.message
	FROM cdp.tenure t
	JOIN cdp.identity i ON i.identifier_id = t.anchor_id
	JOIN cdp.event e ON e.identifier_id = t.identifier_id AND (e.occurred_at, e.message_id COLLATE "C") >= (t.starts_at, t.starts_with)
		AND (e.occurred_at, e.message_id COLLATE "C") < (t.ends_at, t.ends_with)
	JOIN cdp.source s ON s.source_id = e.source_id
	WHERE t.profile_id = cdp.profile_id(timeline.profile_id)
	ORDER BY e.occurred_at, e.message_id;
END
$$;
COMMENT ON FUNCTION cdp.timeline(bigint) IS 'All events of a profile, oldest first, whichever of its identifiers they came by; the profile id may be an old one';

CREATE FUNCTION cdp.refold(identifier_ids bigint[], reread_devices bigint[]) RETURNS SETOF bigint
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan SET enable_seqscan = on SET enable_hashjoin = on SET enable_mergejoin = on -- many: planned each time
AS $$
DECLARE
	anchors bigint[];
BEGIN
	IF cardinality(identifier_ids) + cardinality(reread_devices) < 1000 THEN -- few: by indexes, planned once
		PERFORM set_config('plan_cache_mode', 'force_generic_plan', true), set_config('enable_seqscan', 'off', true),
			set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true);
	END IF;
	DELETE FROM cdp.sign_in s WHERE s.device_id = ANY (reread_devices);
	INSERT INTO cdp.sign_in (device_id, occurred_at, message_id, source_id, identifier_id)
	SELECT d.device_id, d.occurred_at, d.message_id, d.source_id, d.identifier_id FROM cdp.derived_sign_in d
	WHERE d.device_id = ANY (reread_devices) ON CONFLICT DO NOTHING;
	WITH held AS MATERIALIZED (
		SELECT i AS anchor_id, i AS identifier_id FROM unnest(identifier_ids) i
		UNION ALL SELECT f.anchor_id, f.identifier_id FROM cdp.fragment f WHERE f.identifier_id = ANY (identifier_ids) AND f.anchor_id <> f.identifier_id
	), old_parts AS (
		DELETE FROM cdp.timeline_part p USING held h WHERE p.anchor_id = h.anchor_id AND p.identifier_id = h.identifier_id
	), old AS (
		DELETE FROM cdp.fragment f USING held h WHERE f.anchor_id = h.anchor_id AND f.identifier_id = h.identifier_id RETURNING f.anchor_id
	)
	SELECT array_agg(DISTINCT o.anchor_id) INTO anchors FROM old o;
	WITH new AS (
		INSERT INTO cdp.fragment (anchor_id, identifier_id, traits, consents, first_seen_at, last_seen_at, event_count)
		SELECT d.anchor_id, d.identifier_id, d.traits, d.consents, d.first_seen_at, d.last_seen_at, d.event_count
		FROM cdp.derived_fragment d WHERE d.identifier_id = ANY (identifier_ids) RETURNING anchor_id
	)
	SELECT anchors || array_agg(n.anchor_id) INTO anchors FROM new n;
	INSERT INTO cdp.timeline_part (anchor_id, identifier_id, month, part, events)
	SELECT d.anchor_id, d.identifier_id, d.month, d.part, d.events FROM cdp.derived_timeline_part d WHERE d.identifier_id = ANY (identifier_ids);
	RETURN QUERY SELECT DISTINCT i.profile_id FROM cdp.identity i WHERE i.identifier_id = ANY (anchors);
END
$$;
COMMENT ON FUNCTION cdp.refold(bigint[], bigint[]) IS 'Derive the fragments and timelines of the events stored under some identifiers from the log again; and first who signed in on some of them, where those are contested devices. Returns the profiles whose fragments these were or are now. The caller holds their components';
