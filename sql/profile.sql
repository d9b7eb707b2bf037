-- profile: what is known of a person.

-- type

CREATE TYPE cdp.traits;
COMMENT ON TYPE cdp.traits IS 'Name -> value (any JSON) with the time and source rank at which it was said; merging keeps the latest of each name, then the highest rank, then the larger value bytewise, or what another rule says that stands with the entry. Text form: {"plan": {"at": "2026-01-31T09:00:00Z", "rank": 0, "value": "pro"}}, with "rule" where it is not the latest';

CREATE FUNCTION cdp.traits_in(cstring) RETURNS cdp.traits
AS 'MODULE_PATHNAME', 'cdp_traits_in' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.traits_in(cstring) IS 'Input of traits; error 22P02, which never shows a value';
CREATE FUNCTION cdp.traits_out(cdp.traits) RETURNS cstring
AS 'MODULE_PATHNAME', 'cdp_stamped_map_out' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.traits_out(cdp.traits) IS 'Output of traits: JSON, names sorted bytewise';
CREATE FUNCTION cdp.traits_recv(internal) RETURNS cdp.traits
AS 'MODULE_PATHNAME', 'cdp_traits_recv' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.traits_recv(internal) IS 'Binary input of traits: a version byte (1) and the text form, checked as text is';
CREATE FUNCTION cdp.traits_send(cdp.traits) RETURNS bytea
AS 'MODULE_PATHNAME', 'cdp_stamped_map_send' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.traits_send(cdp.traits) IS 'Binary output of traits: a version byte (1) and the text form';

CREATE TYPE cdp.traits (
	INPUT = cdp.traits_in, OUTPUT = cdp.traits_out, RECEIVE = cdp.traits_recv, SEND = cdp.traits_send,
	INTERNALLENGTH = VARIABLE, ALIGNMENT = double, STORAGE = extended
);

-- functions

CREATE FUNCTION cdp.traits(object jsonb, at timestamptz, rank integer DEFAULT 0) RETURNS cdp.traits
AS 'MODULE_PATHNAME', 'cdp_traits_of' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.traits(jsonb, timestamptz, integer) IS 'The members of a JSON object as traits, all said at one instant by a source of one rank. Errors 22023, 22003';
CREATE FUNCTION cdp.declared_traits(object jsonb, at timestamptz, rank integer DEFAULT 0) RETURNS cdp.traits
AS 'MODULE_PATHNAME', 'cdp_traits_declared' LANGUAGE C STABLE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION cdp.declared_traits(jsonb, timestamptz, integer) IS 'As cdp.traits(), by the rules in cdp.trait: cleansed, each entry with its rule; without what says nothing by its rule, and without what breaks it; null when nothing is left. What cdp makes of a message. Errors 22023, 22008, 22003, 54000, 55000';
CREATE FUNCTION cdp.trait_objection(trait text, value jsonb) RETURNS text
AS 'MODULE_PATHNAME', 'cdp_trait_objection' LANGUAGE C STABLE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION cdp.trait_objection(text, jsonb) IS 'Why a value of a trait is not taken by the rules in cdp.trait: says nothing, or refused: and the reason; null: it is taken. Error 55000';
CREATE FUNCTION cdp.trait_verdict(candidate cdp.traits, result cdp.traits, trait text) RETURNS text
AS 'MODULE_PATHNAME', 'cdp_trait_verdict' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.trait_verdict(cdp.traits, cdp.traits, text) IS 'What became of a trait that was merged into a result: counts, or by what it lost; null when either lacks it';
CREATE FUNCTION cdp.merge(a cdp.traits, b cdp.traits) RETURNS cdp.traits
AS 'MODULE_PATHNAME', 'cdp_traits_merge' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.merge(cdp.traits, cdp.traits) IS 'Two traits as one: name by name what the entries'' rule says, of two rules the stronger; commutative, associative, and idempotent but for the rules most_frequent and sum';
CREATE FUNCTION cdp.is_same(a cdp.traits, b cdp.traits) RETURNS boolean
AS 'MODULE_PATHNAME', 'cdp_stamped_map_eq' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.is_same(cdp.traits, cdp.traits) IS 'Whether two traits agree in every name, value, time, rank and rule';
CREATE FUNCTION cdp.to_jsonb(traits cdp.traits) RETURNS jsonb
AS 'MODULE_PATHNAME', 'cdp_stamped_map_to_jsonb' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.to_jsonb(cdp.traits) IS 'Traits as a JSON object of name and value; what was unset (null) is left out';
CREATE CAST (cdp.traits AS jsonb) WITH FUNCTION cdp.to_jsonb(cdp.traits) AS ASSIGNMENT;
COMMENT ON CAST (cdp.traits AS jsonb) IS 'Name and value; what was unset is left out';

CREATE AGGREGATE cdp.merge_traits(cdp.traits) (
	SFUNC = cdp.merge, STYPE = cdp.traits, COMBINEFUNC = cdp.merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE cdp.merge_traits(cdp.traits) IS 'Many traits as one, in any order; null of nothing';

-- aggregates for any table

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
COMMENT ON FUNCTION cdp.profile(cdp.identifier) IS 'Everything known of whom an identifier belongs to: {profile_id, entity, traits, consents, identifiers, segments, first_seen_at, last_seen_at, event_count}; null when nobody was ever known by it. Error 42704 when there is no such namespace';
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
SET plan_cache_mode = force_custom_plan SET enable_seqscan = on SET enable_hashjoin = on SET enable_mergejoin = on -- few or many: planned each time
AS $$
DECLARE
	anchors bigint[];
BEGIN
	DELETE FROM cdp.sign_in s WHERE s.device_id = ANY (reread_devices);
	INSERT INTO cdp.sign_in (device_id, occurred_at, message_id, source_id, identifier_id)
	SELECT d.device_id, d.occurred_at, d.message_id, d.source_id, d.identifier_id FROM cdp.derived_sign_in d
	WHERE d.device_id = ANY (reread_devices) ON CONFLICT DO NOTHING;
	DELETE FROM cdp.timeline_part p USING cdp.fragment f
	WHERE f.identifier_id = ANY (identifier_ids) AND p.anchor_id = f.anchor_id AND p.identifier_id = f.identifier_id;
	WITH old AS (
		DELETE FROM cdp.fragment f WHERE f.identifier_id = ANY (identifier_ids) RETURNING f.anchor_id
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

CREATE FUNCTION cdp.explain_trait(profile_id bigint, trait text)
RETURNS TABLE (value jsonb, occurred_at timestamptz, source text, rank integer, anchor cdp.identifier, message_id text, verdict text)
LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	profile bigint;
	result cdp.traits;
BEGIN
	PERFORM cdp.require_init();
	profile := cdp.profile_id(profile_id);
	SELECT coalesce(cdp.merge(p.traits, p.computed), p.traits, p.computed) INTO result FROM cdp.profile p WHERE p.profile_id = profile;
	RETURN QUERY
	SELECT x.value, x.occurred_at, x.source, x.rank, cdp.identifier(i.namespace, i.value), x.message_id, x.verdict
	FROM (
		SELECT t.anchor_id, d.traits -> trait AS value, d.occurred_at, s.name AS source, s.rank, d.message_id,
			coalesce(cdp.trait_objection(trait, d.traits -> trait), cdp.trait_verdict(
				cdp.declared_traits(jsonb_build_object(trait, d.traits -> trait), d.occurred_at, s.rank), result, trait)) AS verdict
		FROM (SELECT DISTINCT t.anchor_id, t.identifier_id FROM cdp.tenure t WHERE t.profile_id = profile) t
		CROSS JOIN LATERAL ( -- OFFSET 0: by the index
			SELECT * FROM cdp.statement x WHERE x.identifier_id = t.identifier_id AND x.anchor_id = t.anchor_id AND x.traits ? trait OFFSET 0
		) d
		JOIN cdp.source s ON s.source_id = d.source_id
		UNION ALL
		SELECT l.identifier_id, l.value, l.ruled_at, format('ruling %s by %s', l.ruling_id, l.actor), NULL, NULL,
			cdp.trait_verdict(l.traits, result, explain_trait.trait)
		FROM cdp.identity i JOIN cdp.locked_traits l USING (identifier_id) WHERE i.profile_id = profile AND l.trait = explain_trait.trait
		UNION ALL
		SELECT NULL, cdp.to_jsonb(p.computed) -> trait, NULL, format('computed: %s', t.computed), NULL, NULL, cdp.trait_verdict(p.computed, result, trait)
		FROM cdp.profile p JOIN cdp.trait t ON t.name = trait WHERE p.profile_id = profile AND cdp.to_jsonb(p.computed) ? trait
	) x
	LEFT JOIN cdp.identity i ON i.identifier_id = x.anchor_id
	ORDER BY x.occurred_at DESC, x.rank DESC, x.verdict = 'counts' DESC, x.message_id;
END
$$;
COMMENT ON FUNCTION cdp.explain_trait(bigint, text) IS 'Why a profile has the value of a trait that it has: every value that was ever said of it, as it was said, by which message and source, under which identifier, and the verdict on it by the trait''s rule: counts (of most_frequent, sum and union several), by what it lost (such as older, of a source of lower rank, said less often, the smaller value), overruled by a steward, says nothing, or refused: and why. A lock is a row whose source is the ruling; of a computed trait there is a row with what is computed as source. The latest first; no row when nothing was said. The profile id may be an old one';

-- rules

CREATE FUNCTION cdp.gather_again(identifier_ids bigint[], cause text) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM cdp.show_progress(format('deriving what %s identifiers say again', cardinality(identifier_ids)));
	PERFORM cdp.refold(identifier_ids, '{}');
	PERFORM cdp.reconsider(ARRAY (
		SELECT unnest(identifier_ids) UNION SELECT f.anchor_id FROM cdp.fragment f WHERE f.identifier_id = ANY (identifier_ids)), cause, '{}');
END
$$;
COMMENT ON FUNCTION cdp.gather_again(bigint[], text) IS 'Derive the fragments of the events stored under some identifiers again, after what is made of traits changed (cause: ruling, rule), and bring everything that follows up to date. The caller holds their components, or the rules alone';

CREATE FUNCTION cdp.reapply_trait(trait text) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan SET enable_seqscan = on SET enable_hashjoin = on SET enable_mergejoin = on -- few or many: planned each time
AS $$
DECLARE
	touched bigint[];
BEGIN
	PERFORM cdp.show_progress(format('looking for what says trait %s', quote_literal(trait)));
	WITH strongest AS (
		SELECT e.identifier_id AS id, bool_or(e.type = 'group') AS is_of_account FROM cdp.event e
		WHERE e.type IN ('identify', 'group') AND e.identifier_id <> 0 AND e.message -> 'traits' ? trait GROUP BY e.identifier_id
	)
	SELECT array_agg(x.id) INTO touched FROM (
		SELECT s.id FROM strongest s
		UNION SELECT l.identifier_b FROM strongest s JOIN cdp.link l ON l.identifier_a = s.id AND l.status = 'related' WHERE s.is_of_account
	) x;
	IF touched IS NOT NULL THEN
		PERFORM cdp.gather_again(touched, 'rule');
	END IF;
END
$$;
COMMENT ON FUNCTION cdp.reapply_trait(text) IS 'Bring up to date what a change of a trait''s rule touches: of whom a message says it. The caller holds the rules alone';

CREATE FUNCTION cdp.create_trait(
	name text, rule text DEFAULT 'latest', cleanse text[] DEFAULT '{}', null_if text[] DEFAULT '{}', type text DEFAULT NULL,
	minimum numeric DEFAULT NULL, maximum numeric DEFAULT NULL, valid_pattern text DEFAULT NULL, computed text DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	wrong text;
	was_computed boolean;
BEGIN
	PERFORM cdp.require_init();
	PERFORM cdp.hold_rules();
	IF name IS NULL OR octet_length(name) NOT BETWEEN 1 AND 255 THEN
		RAISE EXCEPTION 'invalid name for a trait' USING ERRCODE = 'invalid_name', HINT = 'A trait''s name has 1 to 255 bytes.';
	END IF;
	cleanse := coalesce(cleanse, '{}');
	null_if := coalesce(null_if, '{}');
	IF computed IS NOT NULL THEN
		IF (rule, cleanse, null_if, type, minimum, maximum, valid_pattern) IS DISTINCT FROM
			('latest', '{}'::text[], '{}'::text[], NULL::text, NULL::numeric, NULL::numeric, NULL::text) THEN
			RAISE EXCEPTION 'trait "%" is computed and takes no rule for what is said', name USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Give only the name and what is computed.';
		END IF;
		computed := cdp.declare_computation(computed);
	END IF;
	wrong := CASE
		WHEN coalesce(rule, '') NOT IN ('latest', 'earliest', 'preferred', 'first_non_empty', 'highest', 'lowest', 'most_frequent', 'sum', 'union') THEN 'rule'
		WHEN type NOT IN ('string', 'number', 'boolean', 'array', 'object') THEN 'type'
		WHEN NOT cleanse <@ '{trim,lower,upper,title}' OR cardinality(array_remove(cleanse, 'trim')) > 1 THEN 'cleanse' END;
	IF wrong IS NOT NULL THEN
		RAISE EXCEPTION 'invalid % of trait "%"', wrong, name USING ERRCODE = 'check_violation',
			HINT = 'rule is latest, earliest, preferred, first_non_empty, highest, lowest, most_frequent, sum or union; type string, number, boolean, array or object; cleanse has trim and one of lower, upper and title.';
	END IF;
	IF array_position(null_if, NULL) IS NOT NULL THEN
		RAISE EXCEPTION 'null in null_if of trait "%"', name USING ERRCODE = 'null_value_not_allowed',
			HINT = 'It lists what else stands for null, such as {n/a,-}.';
	END IF;
	IF minimum = 'NaN' OR maximum = 'NaN' OR minimum > maximum THEN
		RAISE EXCEPTION 'the range of trait "%" is upside down', name USING ERRCODE = 'invalid_parameter_value',
			HINT = 'minimum is at most maximum; leave one null for no bound.';
	END IF;
	IF valid_pattern IS NOT NULL THEN
		PERFORM '' ~ valid_pattern; -- an invalid regular expression fails here, not at the next message
	END IF;
	was_computed := EXISTS (SELECT FROM cdp.trait t WHERE t.name = create_trait.name AND t.computed IS NOT NULL);
	IF computed IS NOT NULL OR was_computed THEN
		rule := CASE WHEN computed IS NULL THEN rule ELSE 'computed' END;
		PERFORM cdp.hold_segments();
	END IF;
	INSERT INTO cdp.trait AS t (name, rule, cleanse, null_if, type, minimum, maximum, valid_pattern, computed)
	VALUES (create_trait.name, create_trait.rule, create_trait.cleanse, create_trait.null_if, create_trait.type, create_trait.minimum,
		create_trait.maximum, create_trait.valid_pattern, create_trait.computed)
	ON CONFLICT ON CONSTRAINT trait_pkey DO UPDATE SET rule = excluded.rule, cleanse = excluded.cleanse, null_if = excluded.null_if,
		type = excluded.type, minimum = excluded.minimum, maximum = excluded.maximum, valid_pattern = excluded.valid_pattern,
		computed = excluded.computed
	WHERE (t.rule, t.cleanse, t.null_if, t.type, t.minimum, t.maximum, t.valid_pattern, t.computed) IS DISTINCT FROM
		(excluded.rule, excluded.cleanse, excluded.null_if, excluded.type, excluded.minimum, excluded.maximum, excluded.valid_pattern,
			excluded.computed);
	IF NOT FOUND THEN
		RETURN;
	END IF;
	IF computed IS NULL OR NOT was_computed THEN
		PERFORM cdp.reapply_trait(name);
	END IF;
	IF computed IS NOT NULL OR was_computed THEN
		PERFORM cdp.compute_everybody();
	END IF;
END
$$;
COMMENT ON FUNCTION cdp.create_trait(text, text, text[], text[], text, numeric, numeric, text, text) IS 'Make or replace the rule of a trait. rule, which of the values said counts: latest, earliest, preferred (of the source of the highest rank, then the latest), first_non_empty, highest, lowest, most_frequent, sum, union (of lists); cleanse: trim, and one of lower, upper, title; null_if: what else stands for null. A value that is not of the type (string, number, boolean, array, object), outside of minimum and maximum, or does not match the regular expression valid_pattern stays in its event, is not taken, and is counted in cdp.refused_values. computed: what the trait is computed from, such as sum(Order Completed.revenue) within 90 days (docs/segment.md), instead of all that: it is kept current, and what messages say of it is refused. Applies to the past in the same transaction. Waits for running ingestion and holds it up meanwhile. Errors 42602, 23514, 22004, 22023, 2201B, 42501, 25000, and of computed those of cdp.read_computation()';

CREATE FUNCTION cdp.drop_trait(name text) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	was_computed boolean;
BEGIN
	PERFORM cdp.require_init();
	PERFORM cdp.hold_rules();
	SELECT t.computed IS NOT NULL INTO was_computed FROM cdp.trait t WHERE t.name = drop_trait.name;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'trait "%" does not exist', name USING ERRCODE = 'undefined_object', HINT = 'See the table cdp.trait.';
	END IF;
	IF was_computed THEN
		PERFORM cdp.hold_segments();
	END IF;
	DELETE FROM cdp.trait t WHERE t.name = drop_trait.name;
	PERFORM cdp.reapply_trait(name);
	IF was_computed THEN
		PERFORM cdp.compute_everybody();
	END IF;
END
$$;
COMMENT ON FUNCTION cdp.drop_trait(text) IS 'Drop the rule of a trait: the latest word counts again, as it was said, in the past too. A computed trait is gone. Locks stay. Error 42704';

CREATE FUNCTION cdp.lock_trait(identifier cdp.identifier, trait text, value jsonb, reason text) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	normal cdp.identifier;
	known bigint;
	other record;
	heirs bigint[] := '{}';
	ruled bigint;
BEGIN
	PERFORM cdp.require_init();
	PERFORM cdp.require_reason(reason);
	IF identifier IS NULL OR trait IS NULL OR value IS NULL THEN
		RAISE EXCEPTION 'identifier, trait and value of a lock must not be null' USING ERRCODE = 'null_value_not_allowed',
			HINT = 'To lock a trait as unset, give JSON''s null: ''null''::jsonb.';
	END IF;
	PERFORM cdp.traits(jsonb_build_object(trait, value), now()); -- what cannot be kept fails here
	LOCK TABLE cdp.ruling IN SHARE ROW EXCLUSIVE MODE;
	PERFORM cdp.hold_rules(is_alone => false);
	IF cdp.is_blocked(identifier) THEN
		RAISE EXCEPTION 'a blocked value cannot be ruled on' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Blocked values are nobody''s; see cdp.is_blocked().';
	END IF;
	normal := cdp.normalize(identifier);
	SELECT r.* INTO other FROM cdp.ruling r
	WHERE r.kind = 'lock' AND r.a = normal AND r.trait = lock_trait.trait AND r.undone_at IS NULL;
	IF other.value = value THEN
		RETURN other.ruling_id;
	ELSIF FOUND THEN
		RAISE EXCEPTION 'ruling % locks that trait of that identifier already', other.ruling_id USING ERRCODE = 'check_violation',
			HINT = format('Undo it first: SELECT cdp.undo(%s).', other.ruling_id);
	END IF;
	IF NOT EXISTS (SELECT FROM cdp.identity i WHERE i.namespace = cdp.namespace(normal) AND i.value = cdp.value(normal)) THEN
		PERFORM cdp.hold_rules(); -- somebody may just be seeing it
		heirs := cdp.make_identifiers(ARRAY[normal], 'ruling');
	END IF;
	INSERT INTO cdp.ruling (kind, a, trait, value, reason) VALUES ('lock', normal, lock_trait.trait, lock_trait.value, lock_trait.reason)
	RETURNING ruling_id INTO ruled;
	SELECT i.identifier_id INTO known FROM cdp.identity i WHERE i.namespace = cdp.namespace(normal) AND i.value = cdp.value(normal);
	PERFORM cdp.hold_people(known || heirs);
	PERFORM cdp.gather_again(known || heirs, 'ruling');
	RETURN ruled;
END
$$;
COMMENT ON FUNCTION cdp.lock_trait(cdp.identifier, text, jsonb, text) IS 'Rule what the value of a trait is of whom an identifier belongs to, whatever messages say and have said, until cdp.undo() of the ruling whose id it returns. The lock stays with the identifier when profiles merge and split; of two locks in one profile the later counts. Errors 22004 without a reason, 22023, 22003, 54000, 23514 when it is locked to another value, 42704';

-- timelines: packed sets of events, on any table

CREATE TYPE cdp.timeline;
COMMENT ON TYPE cdp.timeline IS 'A packed, sorted set of events, each with an instant, a name, properties (numbers, strings, booleans) and 16 bits of its message id''s hash where it has one; about 4 to 6 bytes an event. Text form: [{"at": "2026-01-31T09:00:00Z", "name": "Order Completed", "properties": {"revenue": 9.9}, "id": 48213}]';

CREATE FUNCTION cdp.timeline_in(cstring) RETURNS cdp.timeline
AS 'MODULE_PATHNAME', 'cdp_timeline_in' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.timeline_in(cstring) IS 'Input of timeline: a JSON array of events in any order. Errors 22P02 and 22003, which never show a value';
CREATE FUNCTION cdp.timeline_out(cdp.timeline) RETURNS cstring
AS 'MODULE_PATHNAME', 'cdp_timeline_out' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.timeline_out(cdp.timeline) IS 'Output of timeline: a JSON array of events, oldest first';
CREATE FUNCTION cdp.timeline_recv(internal) RETURNS cdp.timeline
AS 'MODULE_PATHNAME', 'cdp_timeline_recv' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.timeline_recv(internal) IS 'Binary input of timeline: the packed form (docs/timeline.md), wholly checked. Error 22P03';
CREATE FUNCTION cdp.timeline_send(cdp.timeline) RETURNS bytea
AS 'MODULE_PATHNAME', 'cdp_timeline_send' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.timeline_send(cdp.timeline) IS 'Binary output of timeline: the packed form (docs/timeline.md)';

CREATE TYPE cdp.timeline (
	INPUT = cdp.timeline_in, OUTPUT = cdp.timeline_out, RECEIVE = cdp.timeline_recv, SEND = cdp.timeline_send,
	INTERNALLENGTH = VARIABLE, ALIGNMENT = int4, STORAGE = extended
);

CREATE FUNCTION cdp.timeline(name text, at timestamptz, properties jsonb DEFAULT NULL, message_id text DEFAULT NULL) RETURNS cdp.timeline
AS 'MODULE_PATHNAME', 'cdp_timeline_of' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION cdp.timeline(text, timestamptz, jsonb, text) IS 'A timeline of one event; null when name or instant are. Of the properties it keeps numbers (18 digits), strings and booleans. Errors 22008, 22023, 22003';

CREATE FUNCTION cdp.timeline_put(timeline cdp.timeline, name text, at timestamptz) RETURNS cdp.timeline
AS 'MODULE_PATHNAME', 'cdp_timeline_put' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION cdp.timeline_put(cdp.timeline, text, timestamptz) IS 'Step of cdp.timeline_agg(): one more event, also when there is one just like it';
CREATE FUNCTION cdp.timeline_put(timeline cdp.timeline, name text, at timestamptz, properties jsonb) RETURNS cdp.timeline
AS 'MODULE_PATHNAME', 'cdp_timeline_put' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION cdp.timeline_put(cdp.timeline, text, timestamptz, jsonb) IS 'Step of cdp.timeline_agg(): one more event, also when there is one just like it';
CREATE FUNCTION cdp.timeline_put(timeline cdp.timeline, name text, at timestamptz, properties jsonb, message_id text) RETURNS cdp.timeline
AS 'MODULE_PATHNAME', 'cdp_timeline_put' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION cdp.timeline_put(cdp.timeline, text, timestamptz, jsonb, text) IS 'Step of cdp.timeline_agg(): one more event, but not a second one of the same message id, name, instant and properties';

CREATE FUNCTION cdp.merge(a cdp.timeline, b cdp.timeline) RETURNS cdp.timeline
AS 'MODULE_PATHNAME', 'cdp_timeline_merge' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.merge(cdp.timeline, cdp.timeline) IS 'The events of either; what is in both counts once; commutative, associative, idempotent';
CREATE FUNCTION cdp.add(a cdp.timeline, b cdp.timeline) RETURNS cdp.timeline
AS 'MODULE_PATHNAME', 'cdp_timeline_sum' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.add(cdp.timeline, cdp.timeline) IS 'The events of both, where none of those without message id is in both: they all count; commutative, associative, not idempotent';

CREATE AGGREGATE cdp.timeline_agg(name text, at timestamptz) (
	SFUNC = cdp.timeline_put, STYPE = cdp.timeline, SSPACE = 2048, COMBINEFUNC = cdp.add, PARALLEL = SAFE
);
COMMENT ON AGGREGATE cdp.timeline_agg(text, timestamptz) IS 'Rows as events, each row one, in any order; rows without name or instant are left out; null of nothing. Error 22008';
CREATE AGGREGATE cdp.timeline_agg(name text, at timestamptz, properties jsonb) (
	SFUNC = cdp.timeline_put, STYPE = cdp.timeline, SSPACE = 2048, COMBINEFUNC = cdp.add, PARALLEL = SAFE
);
COMMENT ON AGGREGATE cdp.timeline_agg(text, timestamptz, jsonb) IS 'Rows as events with the numbers, strings and booleans of their properties, each row one. Errors 22008, 22023, 22003';
CREATE AGGREGATE cdp.timeline_agg(name text, at timestamptz, properties jsonb, message_id text) (
	SFUNC = cdp.timeline_put, STYPE = cdp.timeline, SSPACE = 2048, COMBINEFUNC = cdp.add, PARALLEL = SAFE
);
COMMENT ON AGGREGATE cdp.timeline_agg(text, timestamptz, jsonb, text) IS 'Messages as events: of those that agree in all four there is one. Errors 22008, 22023, 22003';
CREATE AGGREGATE cdp.merge_timelines(cdp.timeline) (
	SFUNC = cdp.merge, STYPE = cdp.timeline, SSPACE = 2048, COMBINEFUNC = cdp.merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE cdp.merge_timelines(cdp.timeline) IS 'Many timelines as one, in any order; what is in several counts once; null of nothing';

CREATE AGGREGATE cdp.add_timelines(cdp.timeline) (
	SFUNC = cdp.add, STYPE = cdp.timeline, SSPACE = 2048, COMBINEFUNC = cdp.add, PARALLEL = SAFE
);
COMMENT ON AGGREGATE cdp.add_timelines(cdp.timeline) IS 'Many timelines as one, in any order, where none of the events without message id is in two of them: they all count; null of nothing';

CREATE FUNCTION cdp.events_of(timeline cdp.timeline) RETURNS TABLE (name text, at timestamptz, properties jsonb)
AS 'MODULE_PATHNAME', 'cdp_timeline_events_of' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE ROWS 20;
COMMENT ON FUNCTION cdp.events_of(cdp.timeline) IS 'The events of a timeline, oldest first, at one instant by name; properties are null where there are none';
CREATE FUNCTION cdp.count(timeline cdp.timeline, name text DEFAULT NULL, since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL) RETURNS bigint
AS 'MODULE_PATHNAME', 'cdp_timeline_count' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION cdp.count(cdp.timeline, text, timestamptz, timestamptz) IS 'How many events there are, of a name or (null) of any, in since <= t < until; null is no bound';
CREATE FUNCTION cdp.first_at(timeline cdp.timeline, name text DEFAULT NULL, since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL) RETURNS timestamptz
AS 'MODULE_PATHNAME', 'cdp_timeline_first_at' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION cdp.first_at(cdp.timeline, text, timestamptz, timestamptz) IS 'When the first event was, of a name or (null) of any, in since <= t < until; null when there is none';
CREATE FUNCTION cdp.last_at(timeline cdp.timeline, name text DEFAULT NULL, since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL) RETURNS timestamptz
AS 'MODULE_PATHNAME', 'cdp_timeline_last_at' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION cdp.last_at(cdp.timeline, text, timestamptz, timestamptz) IS 'When the last event was, of a name or (null) of any, in since <= t < until; null when there is none';
CREATE FUNCTION cdp.between(timeline cdp.timeline, since timestamptz, until timestamptz) RETURNS cdp.timeline
AS 'MODULE_PATHNAME', 'cdp_timeline_between' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION cdp.between(cdp.timeline, timestamptz, timestamptz) IS 'The events in since <= t < until; null is no bound';
CREATE FUNCTION cdp.funnel_depth(timeline cdp.timeline, steps text[], within interval) RETURNS integer
AS 'MODULE_PATHNAME', 'cdp_timeline_funnel_depth' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.funnel_depth(cdp.timeline, text[], interval) IS 'How many of 1 to 32 steps (names of events) were taken in their order, other events between, the last at most an interval after the first; an event is one step at most, and events at one instant count in the order of the steps. Errors 22023, 22004';

CREATE FUNCTION cdp.is_same(a cdp.timeline, b cdp.timeline) RETURNS boolean
AS 'MODULE_PATHNAME', 'cdp_timeline_eq' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.is_same(cdp.timeline, cdp.timeline) IS 'Whether two timelines have the same events';
CREATE FUNCTION cdp.timeline_eq(cdp.timeline, cdp.timeline) RETURNS boolean
AS 'MODULE_PATHNAME', 'cdp_timeline_eq' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.timeline_eq(cdp.timeline, cdp.timeline) IS 'Implementation of operator =';
CREATE FUNCTION cdp.timeline_ne(cdp.timeline, cdp.timeline) RETURNS boolean
AS 'MODULE_PATHNAME', 'cdp_timeline_ne' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.timeline_ne(cdp.timeline, cdp.timeline) IS 'Implementation of operator <>';
CREATE FUNCTION cdp.timeline_hash(cdp.timeline) RETURNS integer
AS 'MODULE_PATHNAME', 'cdp_timeline_hash' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.timeline_hash(cdp.timeline) IS 'Hash of a timeline: the low half of XXH3';
CREATE FUNCTION cdp.timeline_hash_extended(cdp.timeline, bigint) RETURNS bigint
AS 'MODULE_PATHNAME', 'cdp_timeline_hash_extended' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.timeline_hash_extended(cdp.timeline, bigint) IS 'Seeded 64-bit hash of a timeline: XXH3';
CREATE OPERATOR pg_catalog.= (
	LEFTARG = cdp.timeline, RIGHTARG = cdp.timeline, FUNCTION = cdp.timeline_eq, COMMUTATOR = OPERATOR(pg_catalog.=),
	NEGATOR = OPERATOR(pg_catalog.<>), RESTRICT = eqsel, JOIN = eqjoinsel, HASHES
);
COMMENT ON OPERATOR pg_catalog.= (cdp.timeline, cdp.timeline) IS 'equal';
CREATE OPERATOR pg_catalog.<> (
	LEFTARG = cdp.timeline, RIGHTARG = cdp.timeline, FUNCTION = cdp.timeline_ne, COMMUTATOR = OPERATOR(pg_catalog.<>),
	NEGATOR = OPERATOR(pg_catalog.=), RESTRICT = neqsel, JOIN = neqjoinsel
);
COMMENT ON OPERATOR pg_catalog.<> (cdp.timeline, cdp.timeline) IS 'not equal';
CREATE OPERATOR CLASS cdp.timeline_hash_ops DEFAULT FOR TYPE cdp.timeline USING hash AS
	OPERATOR 1 pg_catalog.=,
	FUNCTION 1 cdp.timeline_hash(cdp.timeline), FUNCTION 2 cdp.timeline_hash_extended(cdp.timeline, bigint);
COMMENT ON OPERATOR CLASS cdp.timeline_hash_ops USING hash IS 'Hash of timelines: XXH3';

-- the timelines of profiles, in parts

CREATE FUNCTION cdp.holder(device_id bigint, at timestamptz, message_id text) RETURNS bigint
LANGUAGE sql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp -- so that it is not inlined: with a correlated subquery no plan is parallel
AS $$
	SELECT s.identifier_id FROM cdp.sign_in s
	WHERE s.device_id = $1 AND (s.occurred_at, s.message_id) <= (at, $3 COLLATE "C")
	ORDER BY s.occurred_at DESC, s.message_id DESC, s.source_id DESC LIMIT 1
$$;
COMMENT ON FUNCTION cdp.holder(bigint, timestamptz, text) IS 'The identifier that signed in last on a contested device at or before an event; null: none had yet';

CREATE FUNCTION cdp.carried_properties(event text, message jsonb) RETURNS jsonb
AS 'MODULE_PATHNAME', 'cdp_carried_properties' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.carried_properties(text, jsonb) IS 'Of the properties of an event''s message those that timelines carry along, by cdp.property as it is when the query begins; null: none';

CREATE FUNCTION cdp.derive_timelines() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET client_min_messages = warning
AS $$
BEGIN
	PERFORM cdp.hold_rules();
	PERFORM cdp.show_progress('reading events into timelines');
	DROP TABLE IF EXISTS pg_temp.cdp_derived_part;
	CREATE TEMPORARY TABLE cdp_derived_part ON COMMIT DROP AS SELECT * FROM cdp.derived_timeline_part;
	ANALYZE pg_temp.cdp_derived_part;
	PERFORM cdp.show_progress('writing the timelines that are others now');
	DELETE FROM cdp.timeline_part p WHERE NOT EXISTS (
		SELECT FROM pg_temp.cdp_derived_part d WHERE d.anchor_id = p.anchor_id AND d.identifier_id = p.identifier_id AND d.month = p.month
			AND d.events = p.events);
	INSERT INTO cdp.timeline_part (anchor_id, identifier_id, month, part, events)
	SELECT d.anchor_id, d.identifier_id, d.month, d.part, d.events FROM pg_temp.cdp_derived_part d
	WHERE NOT EXISTS (
		SELECT FROM cdp.timeline_part p WHERE p.anchor_id = d.anchor_id AND p.identifier_id = d.identifier_id AND p.month = d.month)
	ORDER BY d.anchor_id, d.identifier_id, d.month;
	DROP TABLE pg_temp.cdp_derived_part;
END
$$;
COMMENT ON FUNCTION cdp.derive_timelines() IS 'Derive all timelines from the log again, in parallel where the planner likes. Messages wait meanwhile. Errors 25000, 42501';

CREATE FUNCTION cdp.create_property(name text, event text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM cdp.require_init();
	IF name IS NULL OR octet_length(name) NOT BETWEEN 1 AND 256 OR octet_length(event) NOT BETWEEN 1 AND 1024 THEN
		RAISE EXCEPTION 'invalid name for a property' USING ERRCODE = 'invalid_name',
			HINT = 'It is the name of a member of an event''s properties, of 1 to 256 bytes; its event has a name of 1 to 1024, or is null: all.';
	END IF;
	PERFORM cdp.hold_rules();
	INSERT INTO cdp.property (name, event) VALUES (create_property.name, create_property.event)
	ON CONFLICT ON CONSTRAINT property_key DO NOTHING;
	IF FOUND THEN
		PERFORM cdp.derive_timelines();
	END IF;
END
$$;
COMMENT ON FUNCTION cdp.create_property(text, text) IS 'Carry a member of events'' properties along in timelines, of the events of one name or (null) of all: numbers, booleans, and strings of up to 256 bytes. The past too: reads the whole log, in parallel, while messages wait. What is declared already stays. Errors 42602, 25000, 42501';

CREATE FUNCTION cdp.drop_property(name text, event text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	needed_by text;
BEGIN
	PERFORM cdp.require_init();
	PERFORM cdp.hold_rules();
	DELETE FROM cdp.property p WHERE p.name = drop_property.name AND p.event IS NOT DISTINCT FROM drop_property.event;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'that property is not declared' USING ERRCODE = 'undefined_object', HINT = 'See the table cdp.property.';
	END IF;
	SELECT t.name INTO needed_by FROM cdp.trait t CROSS JOIN LATERAL cdp.read_computation(t.computed) c
	WHERE c.property IS NOT NULL AND NOT EXISTS (SELECT FROM cdp.property p WHERE p.name = c.property AND (p.event IS NULL OR p.event = c.event));
	IF FOUND THEN
		RAISE EXCEPTION 'trait "%" is computed from that property', needed_by USING ERRCODE = 'dependent_objects_still_exist',
			HINT = 'Drop the trait first: SELECT cdp.drop_trait(..).';
	END IF;
	PERFORM cdp.derive_timelines();
END
$$;
COMMENT ON FUNCTION cdp.drop_property(text, text) IS 'Take back cdp.create_property(), called with the same arguments: timelines carry that property along no more. Reads the whole log. Errors 42704, 2BP01 when a trait is computed from it, 25000, 42501';

CREATE FUNCTION cdp.timeline_of(profile_id bigint, since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL) RETURNS cdp.timeline
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	first_month CONSTANT date := date_trunc('month', since AT TIME ZONE 'UTC');
	last_month CONSTANT date := date_trunc('month', until AT TIME ZONE 'UTC');
	profile bigint;
	events cdp.timeline;
BEGIN
	PERFORM cdp.require_init();
	profile := cdp.profile_id(profile_id);
	IF profile IS NULL THEN
		RETURN NULL;
	END IF;
	-- the month that a bound cuts is cut first; in the order of time there is little to sort
	SELECT cdp.add_timelines(CASE WHEN p.month IN (first_month, last_month) THEN cdp.between(p.events, since, until) ELSE p.events END
		ORDER BY p.month, p.part = 0, p.part) INTO events
	FROM cdp.identity i JOIN cdp.timeline_part p ON p.anchor_id = i.identifier_id
	WHERE i.profile_id = profile AND p.month BETWEEN coalesce(first_month, '-infinity') AND coalesce(last_month, 'infinity');
	RETURN coalesce(events, '[]');
END
$$;
COMMENT ON FUNCTION cdp.timeline_of(bigint, timestamptz, timestamptz) IS 'The events of a profile that have a name, with the declared properties, in since <= t < until; null is no bound. Reads only the months concerned. The profile id may be an old one; null when it was never given out';

-- tables and views

CREATE FUNCTION cdp.init_profile() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
DECLARE
	has_timelines CONSTANT boolean := to_regclass('cdp.timeline_part') IS NOT NULL;
BEGIN
	CREATE TABLE IF NOT EXISTS cdp.fragment (
		anchor_id bigint NOT NULL,
		identifier_id bigint NOT NULL,
		traits cdp.traits,
		consents cdp.consent_state,
		first_seen_at timestamptz,
		last_seen_at timestamptz,
		event_count bigint NOT NULL DEFAULT 0,
		CONSTRAINT fragment_pkey PRIMARY KEY (anchor_id, identifier_id)
	) WITH (fillfactor = 80);
	CREATE INDEX IF NOT EXISTS fragment_identifier_id_idx ON cdp.fragment (identifier_id);
	COMMENT ON TABLE cdp.fragment IS 'What the events say that are anchored to an identifier; a profile is the fold of its identifiers'' fragments';
	COMMENT ON COLUMN cdp.fragment.anchor_id IS 'To whom the events are anchored';
	COMMENT ON COLUMN cdp.fragment.identifier_id IS 'Their strongest identifier: the anchor itself, or a contested device that the anchor held; so a device is folded again without the rest';

	CREATE OR REPLACE VIEW cdp.statement AS
		SELECT coalesce(h.identifier_id, e.identifier_id) AS anchor_id, e.identifier_id, true AS is_own, e.occurred_at, e.message_id, e.source_id,
			CASE WHEN e.type = 'identify' AND jsonb_typeof(e.message -> 'traits') = 'object' AND e.message -> 'traits' <> '{}'
				THEN e.message -> 'traits' END AS traits,
			CASE WHEN jsonb_typeof(e.message #> '{context,consent,categoryPreferences}') = 'object'
				THEN e.message #> '{context,consent,categoryPreferences}' END AS consents
		FROM cdp.event e
		LEFT JOIN cdp.identity i ON i.identifier_id = e.identifier_id
		LEFT JOIN LATERAL (
			SELECT n.identifier_id FROM cdp.sign_in n WHERE i.is_contested AND n.device_id = e.identifier_id
				AND (n.occurred_at, n.message_id) <= (e.occurred_at, e.message_id COLLATE "C")
			ORDER BY n.occurred_at DESC, n.message_id DESC, n.source_id DESC LIMIT 1
		) h ON true
		WHERE e.identifier_id <> 0
		UNION ALL -- of an account, whoever sent it
		SELECT g.identifier_id AS anchor_id, g.identifier_id, false AS is_own, e.occurred_at, e.message_id, e.source_id,
			e.message -> 'traits' AS traits, NULL::jsonb AS consents
		FROM cdp.identity g JOIN cdp.namespace n ON n.name = g.namespace AND n.entity <> 'person'
		CROSS JOIN LATERAL (
			SELECT l.identifier_a AS id FROM cdp.link l WHERE l.identifier_b = g.identifier_id AND l.status = 'related'
			UNION ALL SELECT g.identifier_id
		) p
		JOIN cdp.event e ON e.identifier_id = p.id AND e.type = 'group' AND jsonb_typeof(e.message -> 'traits') = 'object'
			AND e.message -> 'traits' <> '{}'
		JOIN cdp.source s ON s.source_id = e.source_id
		CROSS JOIN LATERAL (
			SELECT m.namespace, m.value FROM cdp.message_identifiers(e.type, e.message, s.phone_region) m
			WHERE m.entity <> 'person' ORDER BY m.ord LIMIT 1
		) f
		WHERE f.namespace = g.namespace AND f.value = g.value;
	COMMENT ON VIEW cdp.statement IS 'What each event says, of whom it is anchored to (is_own) and, of group, of the account: traits and consents as JSON, null: none. Restrict identifier_id, the event''s strongest identifier or the account';

	CREATE TABLE IF NOT EXISTS cdp.trait (
		name text COLLATE "C" NOT NULL CONSTRAINT trait_pkey PRIMARY KEY
			CONSTRAINT trait_name_check CHECK (octet_length(name) BETWEEN 1 AND 255),
		rule text NOT NULL DEFAULT 'latest' CONSTRAINT trait_rule_check CHECK (rule IN ('latest', 'earliest', 'preferred',
			'first_non_empty', 'highest', 'lowest', 'most_frequent', 'sum', 'union', 'computed')),
		cleanse text[] NOT NULL DEFAULT '{}' CONSTRAINT trait_cleanse_check CHECK (cleanse <@ '{trim,lower,upper,title}'),
		null_if text[] NOT NULL DEFAULT '{}' CONSTRAINT trait_null_if_check CHECK (array_position(null_if, NULL) IS NULL),
		type text CONSTRAINT trait_type_check CHECK (type IN ('string', 'number', 'boolean', 'array', 'object')),
		minimum numeric,
		maximum numeric,
		valid_pattern text
			CONSTRAINT trait_valid_pattern_check CHECK (('' ~ valid_pattern) IS NOT NULL OR valid_pattern IS NULL), -- raises on no regular expression
		computed text,
		CONSTRAINT trait_range_check CHECK (minimum <= maximum),
		CONSTRAINT trait_computed_check CHECK ((rule = 'computed') = (computed IS NOT NULL))
	);
	COMMENT ON COLUMN cdp.trait.computed IS 'What it is computed from, in canonical text; null of a trait that is said';
	COMMENT ON TABLE cdp.trait IS 'Rules of traits: which of the values said counts, and which are taken at all; changed by cdp.create_trait(). Of a trait that is not here the latest word counts';
	CREATE OR REPLACE TRIGGER trait_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON cdp.trait
		FOR EACH STATEMENT EXECUTE FUNCTION cdp.rules_changed('trait');

	-- Only ever inserted into, so that nobody waits for another.
	CREATE TABLE IF NOT EXISTS cdp.refused_value (
		received_at timestamptz NOT NULL,
		source_id integer NOT NULL,
		message_id text NOT NULL,
		trait text COLLATE "C" NOT NULL
	);
	COMMENT ON TABLE cdp.refused_value IS 'Messages whose value of a trait, or an element of it, broke the trait''s rule when they came; the value stands in the message. Rows may be deleted';
	CREATE OR REPLACE VIEW cdp.refused_values AS
		SELECT s.name AS source, r.trait, count(*) AS message_count, min(r.received_at) AS first_received_at, max(r.received_at) AS last_received_at
		FROM cdp.refused_value r JOIN cdp.source s USING (source_id)
		GROUP BY s.name, r.trait;
	COMMENT ON VIEW cdp.refused_values IS 'By source and trait, in how many messages a value broke the trait''s rule when it came';

	CREATE OR REPLACE VIEW cdp.locked_traits AS
		SELECT i.identifier_id, r.ruling_id, r.a AS identifier, r.trait, r.value, r.reason, r.actor, r.ruled_at,
			format('{%s:{"at":%s,"rule":"locked","value":%s}}', to_json(r.trait), to_json(r.ruled_at AT TIME ZONE 'UTC'), r.value)::cdp.traits AS traits
		FROM cdp.identity i JOIN cdp.ruling r ON r.a = cdp.identifier(i.namespace, i.value) AND r.kind = 'lock' AND r.undone_at IS NULL;
	COMMENT ON VIEW cdp.locked_traits IS 'Traits whose value a steward locked, see cdp.lock_trait(); cdp.undo() of the ruling ends it';

	CREATE OR REPLACE VIEW cdp.derived_fragment AS
		SELECT d.anchor_id, d.identifier_id, cdp.merge_traits(d.traits) AS traits,
			cdp.merge_consents((
				SELECT cdp.merge_consents(format('{%s:{"at":%s,"value":%s}}', to_json(p.key),
					to_json(d.occurred_at AT TIME ZONE 'UTC'), p.value)::cdp.consent_state)
				FROM jsonb_each(d.consents) p WHERE jsonb_typeof(p.value) = 'boolean')) AS consents,
			min(d.occurred_at) FILTER (WHERE d.is_own) AS first_seen_at, max(d.occurred_at) FILTER (WHERE d.is_own) AS last_seen_at,
			count(*) FILTER (WHERE d.is_own) AS event_count
		FROM (
			SELECT x.anchor_id, x.identifier_id, x.is_own, x.occurred_at, cdp.declared_traits(x.traits, x.occurred_at, s.rank) AS traits, x.consents
			FROM cdp.statement x JOIN cdp.source s ON s.source_id = x.source_id
			UNION ALL
			SELECT l.identifier_id AS anchor_id, l.identifier_id, false AS is_own, l.ruled_at AS occurred_at, l.traits, NULL::jsonb AS consents
			FROM cdp.locked_traits l
		) d
		GROUP BY d.anchor_id, d.identifier_id;
	COMMENT ON VIEW cdp.derived_fragment IS 'What cdp.fragment must hold, derived from the log, cdp.sign_in and the locks of stewards; restrict identifier_id';

	CREATE TABLE IF NOT EXISTS cdp.timeline_part (
		anchor_id bigint NOT NULL,
		identifier_id bigint NOT NULL,
		month date NOT NULL,
		part integer NOT NULL DEFAULT 0,
		events cdp.timeline NOT NULL,
		CONSTRAINT timeline_part_pkey PRIMARY KEY (anchor_id, identifier_id, month, part)
	) WITH (fillfactor = 80);
	COMMENT ON TABLE cdp.timeline_part IS 'The events of each fragment that have a name, by month, with the declared properties; a profile''s timeline is what those of its identifiers add up to';
	COMMENT ON COLUMN cdp.timeline_part.anchor_id IS 'As of cdp.fragment';
	COMMENT ON COLUMN cdp.timeline_part.identifier_id IS 'As of cdp.fragment';
	COMMENT ON COLUMN cdp.timeline_part.month IS 'First day of the month in which the events happened (UTC)';
	COMMENT ON COLUMN cdp.timeline_part.part IS '0 grows; it gets a number of its own when it has become large, and is not written again';

	CREATE TABLE IF NOT EXISTS cdp.property (
		name text COLLATE "C" NOT NULL CONSTRAINT property_name_check CHECK (octet_length(name) BETWEEN 1 AND 256),
		event text COLLATE "C" CONSTRAINT property_event_check CHECK (octet_length(event) BETWEEN 1 AND 1024),
		CONSTRAINT property_key UNIQUE NULLS NOT DISTINCT (name, event)
	);
	COMMENT ON TABLE cdp.property IS 'Members of events'' properties that timelines carry along; changed by cdp.create_property() and cdp.drop_property()';
	COMMENT ON COLUMN cdp.property.event IS 'The name of the events whose property it is; null: of all';
	CREATE OR REPLACE TRIGGER property_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON cdp.property
		FOR EACH STATEMENT EXECUTE FUNCTION cdp.rules_changed();

	-- A part of more than 1,500 bytes is full, as in src/profile/parts.c.
	-- The properties come by an outer join, so that a parallel worker reads them out of the message and hands only them on.
	CREATE OR REPLACE VIEW cdp.derived_timeline_part AS
		SELECT d.anchor_id, d.identifier_id, d.month, (pg_column_size(d.events) > 1500)::integer AS part, d.events
		FROM (
			SELECT e.anchor_id, e.identifier_id, date_trunc('month', e.occurred_at AT TIME ZONE 'UTC')::date AS month,
				cdp.timeline_agg(e.name, e.occurred_at, e.properties) AS events
			FROM (
				SELECT CASE WHEN i.is_contested THEN coalesce(cdp.holder(x.identifier_id, x.occurred_at, x.message_id), x.identifier_id)
					ELSE x.identifier_id END AS anchor_id, x.identifier_id, x.occurred_at, x.name, c.properties
				FROM cdp.event x LEFT JOIN cdp.identity i ON i.identifier_id = x.identifier_id
				LEFT JOIN LATERAL (SELECT cdp.carried_properties(x.name, x.message) AS properties) c ON true
				WHERE x.identifier_id <> 0 AND x.name IS NOT NULL
			) e
			GROUP BY e.anchor_id, e.identifier_id, date_trunc('month', e.occurred_at AT TIME ZONE 'UTC')::date
		) d;
	COMMENT ON VIEW cdp.derived_timeline_part IS 'What cdp.timeline_part must hold, derived from the log and cdp.sign_in, all of a month in one part; restrict identifier_id';

	CREATE OR REPLACE VIEW cdp.timelines AS
		SELECT i.profile_id, p.month, p.events FROM cdp.timeline_part p JOIN cdp.identity i ON i.identifier_id = p.anchor_id;
	COMMENT ON VIEW cdp.timelines IS 'The timelines of all profiles, each in several parts, which cdp.add_timelines() makes one: events of one month (its first day, UTC), that have a name, with the declared properties';
	IF NOT has_timelines AND EXISTS (SELECT FROM cdp.event) THEN
		PERFORM cdp.derive_timelines(); -- of a database that was set up before there were any
	END IF;

	ALTER TABLE cdp.profile
		ADD COLUMN IF NOT EXISTS traits cdp.traits,
		ADD COLUMN IF NOT EXISTS computed cdp.traits,
		ADD COLUMN IF NOT EXISTS consents cdp.consent_state,
		ADD COLUMN IF NOT EXISTS first_seen_at timestamptz,
		ADD COLUMN IF NOT EXISTS last_seen_at timestamptz,
		ADD COLUMN IF NOT EXISTS event_count bigint NOT NULL DEFAULT 0;
	COMMENT ON COLUMN cdp.profile.traits IS 'The fold of the fragments; null of a profile merged away';
	COMMENT ON COLUMN cdp.profile.computed IS 'Its computed traits, as of the last cdp.process(); all traits are what both merge to';
	COMMENT ON COLUMN cdp.profile.consents IS 'The fold of the fragments; null of a profile merged away';

	CREATE OR REPLACE VIEW cdp.profiles AS
		SELECT profile_id, entity, coalesce(cdp.to_jsonb(coalesce(cdp.merge(traits, computed), traits, computed)), '{}') AS traits,
			first_seen_at, last_seen_at, event_count
		FROM cdp.profile WHERE merged_into IS NULL;
	COMMENT ON VIEW cdp.profiles IS 'Everyone: a row for each live profile';
	PERFORM cdp.record_version('profile', 1);
END
$$;
COMMENT ON FUNCTION cdp.init_profile() IS 'Make the table of fragments and the profile''s columns for what is known; part of cdp.init()';
