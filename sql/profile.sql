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

-- lookups: traits from tables of others

CREATE FUNCTION cdp.enrich(traits cdp.traits) RETURNS cdp.traits
LANGUAGE sql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce(cdp.merge(enrich.traits, (
		SELECT cdp.merge_traits(r.traits) FROM cdp.lookup l JOIN cdp.lookup_row r ON r.lookup_id = l.lookup_id AND r.key = cdp.trait(enrich.traits, ARRAY[l.key_trait], NULL::text)
	)), enrich.traits)
$$;
COMMENT ON FUNCTION cdp.enrich(cdp.traits) IS 'A profile''s traits, as its fragments have them, with those that the lookups have for them; whoever derives profiles does it with this';

CREATE FUNCTION cdp.fold_by_trait(trait text, keys text[]) RETURNS bigint
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	chunk bigint[];
	folded bigint := 0;
BEGIN
	FOR chunk IN
		SELECT array_agg(p.identifier_id) FROM (
			SELECT o.identifier_id, row_number() OVER (ORDER BY o.component_id) / 10000 AS chunk FROM cdp.profile o
			JOIN unnest(keys) k ON k = cdp.trait(o.traits, ARRAY[trait], NULL::text) WHERE o.merged_into IS NULL
		) p GROUP BY p.chunk
	LOOP
		PERFORM cdp.reconsider(chunk, 'rule', '{}');
		folded := folded + cardinality(chunk);
	END LOOP;
	RETURN folded;
END
$$;
COMMENT ON FUNCTION cdp.fold_by_trait(text, text[]) IS 'Fold the profiles again whose trait has one of some values, and bring up to date what follows from them; returns how many';

CREATE FUNCTION cdp.refresh_lookup(name text) RETURNS bigint
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
SET timezone = 'UTC' SET datestyle = 'ISO, YMD' SET intervalstyle = 'postgres' SET extra_float_digits = 1 SET bytea_output = 'hex' -- one text of a value
AS $$
DECLARE
	held record;
	members text;
	changed text[];
BEGIN
	PERFORM cdp.require_init();
	SELECT l.*, to_regclass(l.relation) AS relation_id INTO held FROM cdp.lookup l WHERE l.name = refresh_lookup.name FOR UPDATE;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'lookup "%" does not exist', name USING ERRCODE = 'undefined_object', HINT = 'See the table cdp.lookup.';
	END IF;
	IF held.relation_id IS NULL THEN
		RAISE EXCEPTION 'relation % of lookup "%" does not exist', held.relation, name USING ERRCODE = 'undefined_table',
			HINT = 'People keep what they have from it until it is there again, or the lookup is dropped.';
	END IF;
	PERFORM cdp.check_columns(held.relation_id, ARRAY (SELECT c.value FROM jsonb_each_text(held.columns) c) || ARRAY[held.key_column, held.observed_column]);
	-- a text that is no time would stand in the error
	IF held.observed_column IS NOT NULL AND (cdp.cursor_type(held.relation_id, held.observed_column) ~ '^(timestamp|date)') IS NOT TRUE THEN
		RAISE EXCEPTION 'column "%" of % is not of a time type', held.observed_column, held.relation USING ERRCODE = 'datatype_mismatch',
			HINT = 'Use a timestamp or date, or a view that makes one of it.';
	END IF;
	-- it is read and compared before anybody has to wait
	SELECT string_agg(format('(%L, to_jsonb(r.%I))', c.key, c.value), ', ') INTO members FROM jsonb_each_text(held.columns) c;
	DROP TABLE IF EXISTS pg_temp.cdp_lookup_change;
	EXECUTE format('CREATE TEMPORARY TABLE cdp_lookup_change ON COMMIT DROP AS '
		'SELECT key, n.object, n.observed_at, n.n_rows FROM (SELECT s.*, count(*) OVER (PARTITION BY s.key) AS n_rows, '
				'cdp.declared_traits(s.object, s.observed_at, %s) AS traits '
			'FROM (SELECT r.%I::text AS key, coalesce(%s, ''0001-01-01Z'') AS observed_at, '
				'coalesce((SELECT jsonb_object_agg(m.k, m.v) FROM (VALUES %s) m (k, v) WHERE m.v IS NOT NULL), ''{}'') AS object FROM %s r) s '
			'WHERE s.key IS NOT NULL) n '
		'FULL JOIN (SELECT * FROM cdp.lookup_row o WHERE o.lookup_id = %s) o USING (key) '
		'WHERE NOT coalesce(cdp.is_same(n.traits, o.traits), n.traits IS NULL AND o.traits IS NULL) '
			'OR (n.object::text, n.observed_at) IS DISTINCT FROM (o.object::text, o.observed_at) OR n.n_rows > 1',
		held.rank, held.key_column, coalesce('r.' || quote_ident(held.observed_column) || '::timestamptz', 'NULL::timestamptz'), members, held.relation, held.lookup_id);
	IF EXISTS (SELECT FROM pg_temp.cdp_lookup_change c WHERE c.n_rows > 1) THEN
		RAISE EXCEPTION 'column "%" of % has values that several rows have', held.key_column, held.relation
			USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'A lookup finds one row by its key; use a view that has one for each.';
	END IF;
	SELECT array_agg(c.key) INTO changed FROM pg_temp.cdp_lookup_change c;
	IF changed IS NOT NULL THEN
		PERFORM cdp.hold_rules();
		DELETE FROM cdp.lookup_row r USING pg_temp.cdp_lookup_change c WHERE r.lookup_id = held.lookup_id AND r.key = c.key;
		-- by the rules as they are now
		INSERT INTO cdp.lookup_row (lookup_id, key, object, observed_at, traits)
		SELECT held.lookup_id, c.key, c.object, c.observed_at, cdp.declared_traits(c.object, c.observed_at, held.rank)
		FROM pg_temp.cdp_lookup_change c WHERE c.object IS NOT NULL;
	END IF;
	UPDATE cdp.lookup l SET refreshed_at = cdp.clock_now() WHERE l.lookup_id = held.lookup_id;
	DROP TABLE pg_temp.cdp_lookup_change;
	RETURN coalesce(cdp.fold_by_trait(held.key_trait, changed), 0);
END
$$;
COMMENT ON FUNCTION cdp.refresh_lookup(text) IS 'Copy what changed in a lookup''s relation, and fold the profiles again whose key has another row now, one more or none; returns how many. Reads with the rights of the caller; ingestion waits only while they are folded. Errors 42704, 42P01, 42703, 42804, 55000, 22008, and what the relation raises';

CREATE FUNCTION cdp.create_lookup(
	relation regclass, key_trait text, columns jsonb, key_column text DEFAULT NULL, rank integer DEFAULT 0, name text DEFAULT NULL, observed text DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	me record; -- the relation
	other text;
BEGIN
	PERFORM cdp.require_init();
	SELECT c.relname, format('%I.%I', n.nspname, c.relname) AS path INTO me FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE c.oid = relation AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't';
	IF NOT FOUND THEN
		RAISE EXCEPTION 'that is no relation to read rows from' USING ERRCODE = 'wrong_object_type',
			HINT = 'Name a table, view, materialized view or foreign table that other sessions see too.';
	END IF;
	name := coalesce(name, me.relname);
	key_column := coalesce(key_column, key_trait);
	IF key_trait IS NULL OR name = '' OR jsonb_typeof(columns) IS DISTINCT FROM 'object' OR columns = '{}'
		OR EXISTS (SELECT FROM jsonb_each(columns) c WHERE jsonb_typeof(c.value) <> 'string') THEN
		RAISE EXCEPTION 'a lookup needs a key trait and columns' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Columns are an object of traits and the columns they come from, such as {"income_band": "band"}.';
	END IF;
	IF rank IS NULL OR rank NOT BETWEEN -32767 AND 32767 THEN
		RAISE EXCEPTION 'rank of lookup "%" is out of range', name USING ERRCODE = 'invalid_parameter_value', HINT = 'A rank is between -32767 and 32767.';
	END IF;
	PERFORM cdp.check_columns(relation, ARRAY (SELECT c.value FROM jsonb_each_text(columns) c) || ARRAY[create_lookup.key_column, observed]);
	LOCK TABLE cdp.lookup IN SHARE ROW EXCLUSIVE MODE; -- each is checked against the others
	IF columns ? key_trait THEN
		other := name;
	ELSE
		SELECT l.name INTO other FROM cdp.lookup l WHERE l.name <> create_lookup.name AND (l.columns ? create_lookup.key_trait OR create_lookup.columns ? l.key_trait) LIMIT 1;
	END IF;
	IF other IS NOT NULL THEN
		RAISE EXCEPTION 'lookups "%" and "%" would make a chain', name, other USING ERRCODE = 'invalid_parameter_value',
			HINT = 'The trait by which one finds its row cannot come from another, nor from itself; join the tables in a view.';
	END IF;
	IF EXISTS (SELECT FROM cdp.trait t WHERE t.name = key_trait AND t.computed IS NOT NULL) THEN
		RAISE EXCEPTION 'trait "%" is computed and finds no row', key_trait USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Look up by a trait that is said.';
	END IF;
	IF EXISTS (SELECT FROM cdp.lookup l WHERE l.name = create_lookup.name AND l.key_trait <> create_lookup.key_trait) THEN
		PERFORM cdp.drop_lookup(name);
	END IF;
	INSERT INTO cdp.lookup (name, relation, key_trait, key_column, columns, rank, observed_column)
	VALUES (create_lookup.name, me.path, create_lookup.key_trait, create_lookup.key_column, create_lookup.columns, create_lookup.rank, observed)
	ON CONFLICT ON CONSTRAINT lookup_name_key DO UPDATE SET relation = excluded.relation, key_column = excluded.key_column,
		columns = excluded.columns, rank = excluded.rank, observed_column = excluded.observed_column;
	RETURN cdp.refresh_lookup(name);
END
$$;
COMMENT ON FUNCTION cdp.create_lookup(regclass, text, jsonb, text, integer, text, text) IS 'Make or replace a lookup, which adds traits to the profiles whose key_trait is in key_column (null: of the same name) of a table, view or foreign table. columns: trait -> column; rank: of two lookups the higher wins; name: null: that of the relation; observed: a column that says since when a row holds, which then counts like anybody''s word of that time; null: whatever people say themselves goes before. Copies it at once; returns how many profiles were folded again. Errors 22023, 42703, 42809, and as of cdp.refresh_lookup()';

CREATE FUNCTION cdp.drop_lookup(name text) RETURNS bigint
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	dropped record;
	keys text[];
BEGIN
	PERFORM cdp.require_init();
	PERFORM cdp.hold_rules();
	DELETE FROM cdp.lookup l WHERE l.name = drop_lookup.name RETURNING l.lookup_id, l.key_trait INTO dropped;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'lookup "%" does not exist', name USING ERRCODE = 'undefined_object', HINT = 'See the table cdp.lookup.';
	END IF;
	WITH gone AS (
		DELETE FROM cdp.lookup_row r WHERE r.lookup_id = dropped.lookup_id RETURNING r.key
	)
	SELECT array_agg(g.key) INTO keys FROM gone g;
	RETURN coalesce(cdp.fold_by_trait(dropped.key_trait, keys), 0);
END
$$;
COMMENT ON FUNCTION cdp.drop_lookup(text) IS 'Take the traits of a lookup from all profiles, and forget it; returns how many profiles were folded again. Error 42704';

CREATE FUNCTION cdp.lookup_candidates(profile_id bigint, trait text) RETURNS TABLE (value jsonb, occurred_at timestamptz, source text, rank integer)
LANGUAGE sql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT r.object -> lookup_candidates.trait, r.observed_at, l.name, l.rank
	FROM cdp.profile p CROSS JOIN cdp.lookup l JOIN cdp.lookup_row r ON r.lookup_id = l.lookup_id AND r.key = cdp.trait(p.traits, ARRAY[l.key_trait], NULL::text)
	WHERE p.profile_id = lookup_candidates.profile_id AND r.object ? lookup_candidates.trait
$$;
COMMENT ON FUNCTION cdp.lookup_candidates(bigint, text) IS 'What lookups have for a trait of a profile; part of cdp.explain_trait()';

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
		SELECT r.anchor_id, cdp.to_jsonb(r.traits) -> trait, (m.word ->> 'at')::timestamptz, 'what left the log', (m.word ->> 'rank')::integer,
			NULL, cdp.trait_verdict(jsonb_build_object(trait, m.word)::text::cdp.traits, result, trait)
		FROM cdp.identity i JOIN cdp.fragment_remainder r ON r.anchor_id = i.identifier_id
		CROSS JOIN LATERAL (SELECT r.traits::text::jsonb -> trait AS word) m
		WHERE i.profile_id = profile AND m.word IS NOT NULL
		UNION ALL
		SELECT NULL, l.value, l.occurred_at, l.source, l.rank, NULL,
			coalesce(cdp.trait_objection(trait, l.value), cdp.trait_verdict(
				cdp.declared_traits(jsonb_build_object(trait, l.value), l.occurred_at, l.rank), result, trait))
		FROM cdp.lookup_candidates(profile, trait) l
		UNION ALL
		SELECT NULL, cdp.to_jsonb(p.computed) -> trait, NULL, format('computed: %s', t.computed), NULL, NULL, cdp.trait_verdict(p.computed, result, trait)
		FROM cdp.profile p JOIN cdp.trait t ON t.name = trait WHERE p.profile_id = profile AND cdp.to_jsonb(p.computed) ? trait
	) x
	LEFT JOIN cdp.identity i ON i.identifier_id = x.anchor_id
	ORDER BY x.occurred_at DESC, x.rank DESC, x.verdict = 'counts' DESC, x.message_id;
END
$$;
COMMENT ON FUNCTION cdp.explain_trait(bigint, text) IS 'Why a profile has the value of a trait that it has: every value that was ever said of it, as it was said, by which message and source, under which identifier, and the verdict on it by the trait''s rule: counts (of most_frequent, sum and union several), by what it lost (such as older, of a source of lower rank, said less often, the smaller value), overruled by a steward, says nothing, or refused: and why. A lock is a row whose source is the ruling; what a lookup has comes from no message, and has the lookup''s name for its source; what messages said that left the log is one row for each anchor; of a computed trait there is a row with what is computed as source. The latest first; no row when nothing was said. The profile id may be an old one';

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
	looked_up record;
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
	-- of what left the log only the outcome is known: it counts as one word from now on
	WITH said AS (
		UPDATE cdp.fragment_remainder r SET traits = coalesce(cdp.merge(x.others, x.word), x.others)
		FROM (
			SELECT o.anchor_id, o.identifier_id, (m.map - trait)::text::cdp.traits AS others,
				cdp.declared_traits(jsonb_build_object(trait, coalesce(cdp.to_jsonb(o.traits) -> trait, 'null')),
					(m.map -> trait ->> 'at')::timestamptz, (m.map -> trait ->> 'rank')::integer) AS word
			FROM cdp.fragment_remainder o CROSS JOIN LATERAL (SELECT o.traits::text::jsonb AS map) m WHERE m.map ? trait
		) x
		WHERE r.anchor_id = x.anchor_id AND r.identifier_id = x.identifier_id RETURNING r.identifier_id
	)
	SELECT nullif(coalesce(touched, '{}') || array_agg(i.identifier_id), '{}') INTO touched
	FROM said s JOIN cdp.identity i USING (identifier_id);
	WITH made AS (
		UPDATE cdp.lookup_row r SET traits = x.traits
		FROM (
			SELECT o.lookup_id, o.key, l.key_trait, cdp.declared_traits(o.object, o.observed_at, l.rank) AS traits
			FROM cdp.lookup l JOIN cdp.lookup_row o USING (lookup_id) WHERE l.columns ? trait AND o.object ? trait
		) x
		WHERE r.lookup_id = x.lookup_id AND r.key = x.key AND NOT coalesce(cdp.is_same(r.traits, x.traits), r.traits IS NULL AND x.traits IS NULL)
		RETURNING x.key_trait, x.key
	)
	SELECT array_agg(m.key_trait) AS key_traits, array_agg(m.key) AS keys INTO looked_up FROM made m;
	IF touched IS NOT NULL THEN
		PERFORM cdp.gather_again(touched, 'rule');
	END IF;
	PERFORM cdp.fold_by_trait(f.key_trait, f.keys) FROM (
		SELECT k.key_trait, array_agg(DISTINCT k.key) AS keys FROM unnest(looked_up.key_traits, looked_up.keys) k (key_trait, key) GROUP BY k.key_trait
	) f;
END
$$;
COMMENT ON FUNCTION cdp.reapply_trait(text) IS 'Bring up to date what a change of a trait''s rule touches: of whom a message says it, or a lookup has it. The caller holds the rules alone';

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
		IF EXISTS (SELECT FROM cdp.lookup l WHERE l.key_trait = create_trait.name) THEN
			RAISE EXCEPTION 'trait "%" finds the rows of a lookup and cannot be computed', name USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Choose another name, or drop the lookup: see the table cdp.lookup.';
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

-- views with a column for each trait

CREATE FUNCTION cdp.trait(traits cdp.traits, path text[], type anyelement) RETURNS anyelement
AS 'MODULE_PATHNAME', 'cdp_trait' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION cdp.trait(cdp.traits, text[], anyelement) IS 'A trait, or what stands at a path of names in it, as a value of the type of the third argument, which is not looked at; null when there is none or it does not fit the type. Types: text, text[], numeric, bigint, integer, double precision, boolean, date, timestamp with time zone, jsonb; error 0A000 for others';

CREATE FUNCTION cdp.trait(traits cdp.traits, computed cdp.traits, path text[], type anyelement) RETURNS anyelement
AS 'MODULE_PATHNAME', 'cdp_trait_or_computed' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION cdp.trait(cdp.traits, cdp.traits, text[], anyelement) IS 'The same of what both maps merge to, where a trait that is computed is only in the second, unless a steward locked it. Error 0A000';

CREATE FUNCTION cdp.profile_view_column(name text, definition json, entity text, OUT expression text, OUT description text) RETURNS record
LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	kinds CONSTANT text[] := '{trait,identifier,segment,purpose,without_purpose,profile}';
	kind text;
	subject text;
	path text[];
	type text;
BEGIN
	IF json_typeof(definition) = 'string' THEN
		definition := json_build_object('trait', name, 'type', definition #>> '{}');
	END IF;
	IF json_typeof(definition) = 'object' THEN
		SELECT min(k), coalesce(definition ->> 'type', 'text') INTO kind, type FROM json_object_keys(definition) k WHERE k = ANY (kinds);
		subject := definition ->> kind;
		path := CASE WHEN json_typeof(definition -> kind) = 'array' THEN ARRAY(SELECT json_array_elements_text(definition -> kind)) ELSE ARRAY[subject] END;
	END IF;
	IF kind IS NULL OR array_position(path, NULL) IS NOT NULL OR cardinality(path) = 0 OR (cardinality(path) > 1 AND kind <> 'trait')
			OR EXISTS (SELECT FROM json_object_keys(definition) k WHERE k NOT IN (kind, 'type'))
			OR (definition -> 'type' IS NOT NULL AND kind NOT IN ('trait', 'profile')) THEN
		RAISE EXCEPTION 'invalid definition of column "%"', name USING ERRCODE = 'invalid_parameter_value',
			HINT = 'A column is the type of the trait of its name, as in "birthday": "date", or an object with one of '
				|| array_to_string(kinds, ', ') || ', and with type for a trait: {"trait": ["address", "city"], "type": "text"}.';
	END IF;
	CASE kind
		WHEN 'trait' THEN
			-- the name of a type and nothing else goes into the view's text
			type := CASE WHEN type ~ '^[a-z][a-z0-9 ]*(\[\])?$' THEN to_regtype(type)::text END;
			IF type IS NULL OR type NOT IN ('text', 'text[]', 'numeric', 'bigint', 'integer', 'double precision', 'boolean', 'date',
					'timestamp with time zone', 'jsonb') THEN
				RAISE EXCEPTION 'column "%" cannot be of that type', name USING ERRCODE = 'undefined_object',
					HINT = 'Use text, text[], numeric, bigint, integer, double precision, boolean, date, timestamptz or jsonb.';
			END IF;
			expression := format('cdp.trait(p.traits, p.computed, %L::text[], NULL::%s)', path, type);
			description := format('Trait %s; null where it is not set%s', array_to_string(path, '.'), ' or no ' || nullif(type, 'jsonb'));
		WHEN 'identifier' THEN
			IF NOT EXISTS (SELECT FROM cdp.namespace n WHERE n.name = subject AND n.entity = profile_view_column.entity) THEN
				RAISE EXCEPTION 'namespace "%" of entity % does not exist', subject, entity USING ERRCODE = 'undefined_object',
					HINT = 'See the table cdp.namespace.';
			END IF;
			expression := format('(SELECT i.value FROM cdp.identity i WHERE i.profile_id = p.profile_id AND i.namespace = %L '
				'ORDER BY i.last_seen_at DESC NULLS LAST, i.value LIMIT 1)::text', subject);
			description := 'Identifier of namespace ' || subject || ', of several the one seen last';
		WHEN 'segment' THEN
			IF NOT EXISTS (SELECT FROM cdp.segment s WHERE s.name = subject) THEN
				RAISE EXCEPTION 'segment "%" does not exist', subject USING ERRCODE = 'undefined_object', HINT = 'See the table cdp.segment.';
			END IF;
			expression := format('EXISTS (SELECT FROM cdp.membership m WHERE m.profile_id = p.profile_id AND m.segment = %L)', subject);
			description := 'Whether in segment ' || subject;
		WHEN 'purpose', 'without_purpose' THEN
			IF NOT EXISTS (SELECT FROM cdp.purpose u WHERE u.name = subject) THEN
				RAISE EXCEPTION 'purpose "%" does not exist', subject USING ERRCODE = 'undefined_object',
					HINT = 'See the table cdp.purpose, or make it with cdp.create_purpose().';
			END IF;
			expression := format('%scdp.allows(p.consents, (SELECT u.categories FROM cdp.purpose u WHERE u.name = %L))',
				CASE kind WHEN 'without_purpose' THEN 'NOT ' ELSE '' END, subject);
			description := format(CASE kind WHEN 'purpose' THEN 'Whether %s is consented to' ELSE 'Whether %s is not consented to' END, subject);
		WHEN 'profile' THEN
			expression := CASE
				WHEN subject IN ('profile_id', 'first_seen_at', 'last_seen_at', 'event_count') THEN 'p.' || subject
				WHEN subject = 'account_id' AND entity = 'person' THEN '(SELECT g.profile_id FROM cdp.identity i '
					'JOIN cdp.link l ON l.identifier_a = i.identifier_id AND l.status = ''related'' '
					'JOIN cdp.identity g ON g.identifier_id = l.identifier_b '
					'WHERE i.profile_id = p.profile_id ORDER BY l.last_seen_at DESC NULLS LAST, g.profile_id LIMIT 1)' END;
			IF definition -> 'type' IS NOT NULL AND (type <> 'uuid' OR subject NOT IN ('profile_id', 'account_id')) THEN
				expression := NULL;
			ELSIF type = 'uuid' THEN
				expression := format('lpad(to_hex(%s), 32, ''0'')::uuid', expression);
			END IF;
			IF expression IS NULL THEN
				RAISE EXCEPTION 'column "%" cannot be that of a profile', name USING ERRCODE = 'undefined_object',
					HINT = 'There are profile_id, first_seen_at, last_seen_at, event_count and, of people, account_id; the ids can be of type uuid.';
			END IF;
			description := CASE subject WHEN 'profile_id' THEN 'Profile id' WHEN 'account_id' THEN 'Profile id of the account seen with the person last'
				WHEN 'first_seen_at' THEN 'Time of the first event' WHEN 'last_seen_at' THEN 'Time of the last event' ELSE 'Number of events' END
				|| CASE type WHEN 'uuid' THEN ', in hexadecimal' ELSE '' END;
	END CASE;
END
$$;
COMMENT ON FUNCTION cdp.profile_view_column(text, json, text) IS 'A column of cdp.create_profile_view() as SQL, and in words. Errors 22023, 42704';

CREATE FUNCTION cdp.create_profile_view(
	name text, columns json, entity text DEFAULT 'person', schema text DEFAULT 'public', purpose text DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
DECLARE
	column_name text;
	definition json;
	made record;
	expressions text[] := '{}';
	comments text[] := '{}';
	target text;
	query text;
	grants text;
BEGIN
	PERFORM cdp.require_init();
	IF name IS NULL OR schema IS NULL OR octet_length(name) NOT BETWEEN 1 AND 63 THEN
		RAISE EXCEPTION 'invalid name for a view' USING ERRCODE = 'invalid_name', HINT = 'It has 1 to 63 bytes.';
	END IF;
	target := format('%I.%I', schema, name);
	IF columns IS NULL OR json_typeof(columns) <> 'object' THEN
		RAISE EXCEPTION 'the columns of view "%" are not a JSON object', name USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Write {"email": "text", "lifetime_value": "numeric"}.';
	ELSIF NOT EXISTS (SELECT FROM cdp.namespace n WHERE n.entity = create_profile_view.entity) THEN
		RAISE EXCEPTION 'entity "%" does not exist', entity USING ERRCODE = 'undefined_object', HINT = 'See the table cdp.namespace.';
	ELSIF purpose IS NOT NULL AND NOT EXISTS (SELECT FROM cdp.purpose u WHERE u.name = create_profile_view.purpose) THEN
		RAISE EXCEPTION 'purpose "%" does not exist', purpose USING ERRCODE = 'undefined_object',
			HINT = 'See the table cdp.purpose, or make it with cdp.create_purpose().';
	ELSIF to_regclass(target) IS NOT NULL AND coalesce(obj_description(to_regclass(target), 'pg_class'), '') NOT LIKE 'Profile view%' THEN
		RAISE EXCEPTION 'relation "%" exists and is no profile view', name USING ERRCODE = 'duplicate_table',
			HINT = 'Choose another name or schema, or drop it first.';
	END IF;
	IF NOT EXISTS (SELECT FROM json_each(columns) e WHERE json_typeof(e.value) = 'object' AND e.value ->> 'profile' = 'profile_id') THEN
		expressions := ARRAY['p.profile_id'];
		comments := ARRAY[format('COMMENT ON COLUMN %s.profile_id IS %L', target, 'Profile id')];
	END IF;
	FOR column_name, definition IN SELECT * FROM json_each(columns) LOOP
		IF octet_length(column_name) NOT BETWEEN 1 AND 63 THEN
			RAISE EXCEPTION 'invalid name for a column' USING ERRCODE = 'invalid_name', HINT = 'It has 1 to 63 bytes.';
		END IF;
		made := cdp.profile_view_column(column_name, definition, entity);
		expressions := expressions || format('%s AS %I', made.expression, column_name);
		comments := comments || format('COMMENT ON COLUMN %s.%I IS %L', target, column_name, made.description);
	END LOOP;
	-- where rows are kept back, no condition of a reader's own may see them
	query := format('VIEW %s%s AS SELECT %s FROM cdp.profile p WHERE p.merged_into IS NULL AND p.entity = %L%s', target,
		CASE WHEN purpose IS NOT NULL THEN ' WITH (security_barrier)' END, array_to_string(expressions, ', '), entity,
		CASE WHEN purpose IS NOT NULL THEN format(' AND cdp.allows(p.consents, (SELECT u.categories FROM cdp.purpose u WHERE u.name = %L))', purpose) END);
	BEGIN
		EXECUTE 'CREATE OR REPLACE ' || query;
	EXCEPTION WHEN invalid_table_definition THEN -- other columns: who could read it can still
		SELECT string_agg(format('GRANT %s ON %s TO %s%s', a.privilege_type, target,
			CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END, CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' END), ';')
		INTO grants FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a WHERE c.oid = to_regclass(target) AND a.grantee <> c.relowner;
		EXECUTE 'DROP VIEW ' || target;
		EXECUTE 'CREATE ' || query;
		EXECUTE coalesce(grants, '');
	END;
	EXECUTE format('COMMENT ON VIEW %s IS %L', target, format('Profile view: a row for each live profile of entity %s%s; made by cdp.create_profile_view()',
		entity, ' that consents to ' || purpose));
	EXECUTE array_to_string(comments, ';');
END
$$;
COMMENT ON FUNCTION cdp.create_profile_view(text, json, text, text, text) IS 'Make or replace a view with a row for each live profile of an entity (with purpose: only of those who consent to it) and real columns with types. columns: {"name": "type of the trait of that name"} or {"name": {"trait": name or path, "type": ..}}, {"identifier": namespace}, {"segment": name}, {"purpose": name}, {"without_purpose": name}, {"profile": profile_id, account_id, first_seen_at, last_seen_at or event_count}. A value that does not fit its type is null. Errors 42602, 22023, 42704, 42P07, 42701, 2BP01';

CREATE FUNCTION cdp.drop_profile_view(name text, schema text DEFAULT 'public') RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	target text := format('%I.%I', schema, name);
BEGIN
	IF coalesce(obj_description(to_regclass(target), 'pg_class'), '') NOT LIKE 'Profile view%' THEN
		RAISE EXCEPTION 'profile view "%" does not exist', name USING ERRCODE = 'undefined_object',
			HINT = 'A view that was made otherwise is dropped by DROP VIEW.';
	END IF;
	EXECUTE 'DROP VIEW ' || target;
END
$$;
COMMENT ON FUNCTION cdp.drop_profile_view(text, text) IS 'Drop a view that cdp.create_profile_view() made. Errors 42704, 2BP01';

CREATE FUNCTION cdp.create_cdm_views(schema text DEFAULT 'cdm') RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
DECLARE
	address CONSTANT text := '"address1Line1": {"trait": ["address", "street"]}, "address1City": {"trait": ["address", "city"]}, '
		'"address1StateOrProvince": {"trait": ["address", "state"]}, "address1PostalCode": {"trait": ["address", "postalCode"]}, '
		'"address1Country": {"trait": ["address", "country"]}, "createdOn": {"profile": "first_seen_at"}, "modifiedOn": {"profile": "last_seen_at"}';
BEGIN
	PERFORM cdp.require_init();
	IF to_regnamespace(quote_ident(schema)) IS NULL THEN
		EXECUTE format('CREATE SCHEMA %I', schema);
	END IF;
	-- attribute names and types: microsoft/CDM, schemaDocuments/core/applicationCommon/{Contact,Account,Address}.cdm.json, version 1.3
	PERFORM cdp.create_profile_view('Contact', ('{"contactId": {"profile": "profile_id", "type": "uuid"}, "accountId": {"profile": "account_id", "type": "uuid"}, '
		'"firstName": "text", "lastName": "text", "fullName": {"trait": "name"}, "jobTitle": {"trait": "title"}, "birthDate": {"trait": "birthday", "type": "date"}, '
		'"genderCode_display": {"trait": "gender"}, "EMailAddress1": {"trait": "email"}, "mobilePhone": {"trait": "phone"}, '
		'"webSiteUrl": {"trait": "website"}, "description": "text", '
		|| (SELECT coalesce(max('"doNotBulkEMail": {"without_purpose": "marketing"}, '), '') FROM cdp.purpose u WHERE u.name = 'marketing')
		|| address || '}')::json, schema => create_cdm_views.schema);
	PERFORM cdp.create_profile_view('Account', ('{"accountId": {"profile": "profile_id", "type": "uuid"}, "name": "text", '
		|| (SELECT coalesce(max('"accountNumber": {"identifier": "group_id"}, '), '') FROM cdp.namespace n WHERE n.name = 'group_id' AND n.entity = 'account')
		|| '"industryCode_display": {"trait": "industry"}, "numberOfEmployees": {"trait": "employees", "type": "integer"}, '
		'"EMailAddress1": {"trait": "email"}, "telephone1": {"trait": "phone"}, "webSiteUrl": {"trait": "website"}, "description": "text", '
		|| address || '}')::json, entity => 'account', schema => create_cdm_views.schema);
END
$$;
COMMENT ON FUNCTION cdp.create_cdm_views(text) IS 'Make or replace the views "Contact" (people) and "Account" in a schema, which is made if need be: the usual traits under the names that Microsoft''s Common Data Model has for them. Errors as of cdp.create_profile_view()';

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
	) WITH (fillfactor = 50);
	CREATE INDEX IF NOT EXISTS fragment_identifier_id_idx ON cdp.fragment (identifier_id);
	COMMENT ON TABLE cdp.fragment IS 'What the events say that are anchored to an identifier; a profile is the fold of its identifiers'' fragments';
	COMMENT ON COLUMN cdp.fragment.anchor_id IS 'To whom the events are anchored';
	COMMENT ON COLUMN cdp.fragment.identifier_id IS 'Their strongest identifier: the anchor itself, or a contested device that the anchor held; so a device is folded again without the rest';

	CREATE TABLE IF NOT EXISTS cdp.lookup (
		lookup_id integer NOT NULL GENERATED BY DEFAULT AS IDENTITY CONSTRAINT lookup_pkey PRIMARY KEY,
		name text COLLATE "C" NOT NULL CONSTRAINT lookup_name_key UNIQUE,
		relation text NOT NULL,
		key_trait text NOT NULL,
		key_column text NOT NULL,
		columns jsonb NOT NULL,
		rank integer NOT NULL CONSTRAINT lookup_rank_check CHECK (rank BETWEEN -32767 AND 32767),
		observed_column text,
		refreshed_at timestamptz
	);
	COMMENT ON TABLE cdp.lookup IS 'Tables from which profiles get traits by the value of one of theirs; changed by cdp.create_lookup() and cdp.drop_lookup()';
	COMMENT ON COLUMN cdp.lookup.columns IS 'Trait -> column';

	CREATE TABLE IF NOT EXISTS cdp.lookup_row (
		lookup_id integer NOT NULL,
		key text COLLATE "C" NOT NULL,
		object jsonb NOT NULL,
		observed_at timestamptz NOT NULL,
		traits cdp.traits,
		CONSTRAINT lookup_row_pkey PRIMARY KEY (lookup_id, key)
	);
	COMMENT ON TABLE cdp.lookup_row IS 'The copies of lookups'' relations, made by cdp.refresh_lookup(); a profile is the fold of its fragments and of the rows found by its traits';
	COMMENT ON COLUMN cdp.lookup_row.object IS 'Trait -> value, as it stands in the relation';
	COMMENT ON COLUMN cdp.lookup_row.traits IS 'What is made of it by the rules in cdp.trait; null: nothing';

	CREATE OR REPLACE VIEW cdp.statement AS
		SELECT coalesce(h.identifier_id, e.identifier_id) AS anchor_id, e.identifier_id, true AS is_own, e.occurred_at, e.message_id, e.source_id,
			CASE WHEN e.type = 'identify' AND jsonb_typeof(e.message -> 'traits') = 'object' AND e.message -> 'traits' <> '{}'
				THEN e.message -> 'traits' END AS traits,
			CASE WHEN jsonb_typeof(e.message #> '{context,consent,categoryPreferences}') = 'object'
				THEN e.message #> '{context,consent,categoryPreferences}' END AS consents,
			e.tableoid AS event_table, e.ctid AS event_ctid, e.received_at
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
			e.message -> 'traits' AS traits, NULL::jsonb AS consents, e.tableoid AS event_table, e.ctid AS event_ctid,
			e.received_at
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

	CREATE TABLE IF NOT EXISTS cdp.fragment_remainder (
		anchor_id bigint NOT NULL,
		identifier_id bigint NOT NULL,
		traits cdp.traits,
		consents cdp.consent_state,
		first_seen_at timestamptz,
		last_seen_at timestamptz,
		event_count bigint NOT NULL,
		CONSTRAINT fragment_remainder_pkey PRIMARY KEY (anchor_id, identifier_id)
	) WITH (fillfactor = 80);
	CREATE INDEX IF NOT EXISTS fragment_remainder_identifier_id_idx ON cdp.fragment_remainder (identifier_id);
	COMMENT ON TABLE cdp.fragment_remainder IS 'What the events said that left the log by cdp.set_retention(), with whom they were anchored to then';

	CREATE OR REPLACE VIEW cdp.contribution AS
		SELECT d.anchor_id, d.identifier_id, cdp.declared_traits(d.traits, d.occurred_at, s.rank) AS traits, (
				SELECT cdp.merge_consents(format('{%s:{"at":%s,"value":%s}}', to_json(p.key),
					to_json(d.occurred_at AT TIME ZONE 'UTC'), p.value)::cdp.consent_state)
				FROM jsonb_each(d.consents) p WHERE jsonb_typeof(p.value) = 'boolean') AS consents,
			CASE WHEN d.is_own THEN d.occurred_at END AS first_seen_at, CASE WHEN d.is_own THEN d.occurred_at END AS last_seen_at,
			d.is_own::integer::bigint AS event_count, d.event_table, d.event_ctid, d.received_at
		FROM cdp.statement d JOIN cdp.source s ON s.source_id = d.source_id;
	COMMENT ON VIEW cdp.contribution IS 'What each event adds to a fragment; restrict identifier_id';

	CREATE OR REPLACE VIEW cdp.remaining_fragment AS
		SELECT coalesce(a.identifier_id, r.identifier_id) AS anchor_id, r.identifier_id, r.traits, r.consents,
			r.first_seen_at, r.last_seen_at, r.event_count
		FROM cdp.fragment_remainder r JOIN cdp.entrant i ON i.identifier_id = r.identifier_id
		LEFT JOIN cdp.entrant a ON a.identifier_id = r.anchor_id;
	COMMENT ON VIEW cdp.remaining_fragment IS 'What counts of cdp.fragment_remainder by the rules in force; of whom is no longer in the graph what came from a shared device is that device''s';

	CREATE OR REPLACE VIEW cdp.derived_fragment AS
		SELECT d.anchor_id, d.identifier_id, cdp.merge_traits(d.traits) AS traits, cdp.merge_consents(d.consents) AS consents,
			min(d.first_seen_at) AS first_seen_at, max(d.last_seen_at) AS last_seen_at, sum(d.event_count)::bigint AS event_count
		FROM (
			SELECT c.anchor_id, c.identifier_id, c.traits, c.consents, c.first_seen_at, c.last_seen_at, c.event_count FROM cdp.contribution c
			UNION ALL
			SELECT r.anchor_id, r.identifier_id, r.traits, r.consents, r.first_seen_at, r.last_seen_at, r.event_count FROM cdp.remaining_fragment r
			UNION ALL
			SELECT l.identifier_id AS anchor_id, l.identifier_id, l.traits, NULL::cdp.consent_state AS consents, NULL::timestamptz AS first_seen_at,
				NULL::timestamptz AS last_seen_at, 0::bigint AS event_count
			FROM cdp.locked_traits l
		) d
		GROUP BY d.anchor_id, d.identifier_id;
	COMMENT ON VIEW cdp.derived_fragment IS 'What cdp.fragment must hold, derived from the log, what left it, cdp.sign_in and the locks of stewards; restrict identifier_id';

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

	CREATE TABLE IF NOT EXISTS cdp.timeline_remainder (
		anchor_id bigint NOT NULL,
		identifier_id bigint NOT NULL,
		month date NOT NULL,
		events cdp.timeline NOT NULL,
		CONSTRAINT timeline_remainder_pkey PRIMARY KEY (anchor_id, identifier_id, month)
	) WITH (fillfactor = 80);
	CREATE INDEX IF NOT EXISTS timeline_remainder_identifier_id_idx ON cdp.timeline_remainder (identifier_id);
	COMMENT ON TABLE cdp.timeline_remainder IS 'The part of cdp.timeline_part whose events left the log by cdp.set_retention(), with the properties that were declared then';

	-- The properties come by an outer join, so that a parallel worker reads them out of the message and hands only them on.
	CREATE OR REPLACE VIEW cdp.timeline_entry AS
		SELECT CASE WHEN i.is_contested THEN coalesce(cdp.holder(x.identifier_id, x.occurred_at, x.message_id), x.identifier_id)
				ELSE x.identifier_id END AS anchor_id,
			x.identifier_id, date_trunc('month', x.occurred_at AT TIME ZONE 'UTC')::date AS month, x.name, x.occurred_at, c.properties,
			x.tableoid AS event_table, x.ctid AS event_ctid, x.received_at
		FROM cdp.event x LEFT JOIN cdp.identity i ON i.identifier_id = x.identifier_id
		LEFT JOIN LATERAL (SELECT cdp.carried_properties(x.name, x.message) AS properties) c ON true
		WHERE x.identifier_id <> 0 AND x.name IS NOT NULL;
	COMMENT ON VIEW cdp.timeline_entry IS 'What each event that has a name adds to a timeline; restrict identifier_id';

	-- A part of more than 1,500 bytes is full, as in src/profile/parts.c.
	CREATE OR REPLACE VIEW cdp.derived_timeline_part AS
		SELECT d.anchor_id, d.identifier_id, d.month, (pg_column_size(d.events) > 1500)::integer AS part, d.events
		FROM (
			SELECT x.anchor_id, x.identifier_id, x.month, cdp.add_timelines(x.events) AS events
			FROM (
				SELECT e.anchor_id, e.identifier_id, e.month, cdp.timeline_agg(e.name, e.occurred_at, e.properties) AS events
				FROM cdp.timeline_entry e GROUP BY e.anchor_id, e.identifier_id, e.month
				UNION ALL
				SELECT coalesce(a.identifier_id, r.identifier_id) AS anchor_id, r.identifier_id, r.month, r.events
				FROM cdp.timeline_remainder r JOIN cdp.entrant i ON i.identifier_id = r.identifier_id
				LEFT JOIN cdp.entrant a ON a.identifier_id = r.anchor_id
			) x
			GROUP BY x.anchor_id, x.identifier_id, x.month
		) d;
	COMMENT ON VIEW cdp.derived_timeline_part IS 'What cdp.timeline_part must hold, derived from the log, what left it, and cdp.sign_in, all of a month in one part; restrict identifier_id';

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
