-- profile: what is known of a person.

-- type

CREATE TYPE cdp.traits;
COMMENT ON TYPE cdp.traits IS 'Name -> value (any JSON) with the time and source rank at which it was said; merging keeps the latest of each name, then the highest rank, then the larger value bytewise. Text form: {"plan": {"at": "2026-01-31T09:00:00Z", "rank": 0, "value": "pro"}}';

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
CREATE FUNCTION cdp.merge(a cdp.traits, b cdp.traits) RETURNS cdp.traits
AS 'MODULE_PATHNAME', 'cdp_traits_merge' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.merge(cdp.traits, cdp.traits) IS 'Two traits as one: name by name the one that wins; commutative, associative, idempotent';
CREATE FUNCTION cdp.is_same(a cdp.traits, b cdp.traits) RETURNS boolean
AS 'MODULE_PATHNAME', 'cdp_stamped_map_eq' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.is_same(cdp.traits, cdp.traits) IS 'Whether two traits agree in every name, value, time and rank';
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
SET plan_cache_mode = force_custom_plan SET enable_seqscan = on SET enable_hashjoin = on SET enable_mergejoin = on -- few or many: planned each time
AS $$
DECLARE
	anchors bigint[];
BEGIN
	DELETE FROM cdp.sign_in s WHERE s.device_id = ANY (reread_devices);
	INSERT INTO cdp.sign_in (device_id, occurred_at, message_id, source_id, identifier_id)
	SELECT d.device_id, d.occurred_at, d.message_id, d.source_id, d.identifier_id FROM cdp.derived_sign_in d
	WHERE d.device_id = ANY (reread_devices) ON CONFLICT DO NOTHING;
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
	RETURN QUERY SELECT DISTINCT i.profile_id FROM cdp.identity i WHERE i.identifier_id = ANY (anchors);
END
$$;
COMMENT ON FUNCTION cdp.refold(bigint[], bigint[]) IS 'Derive the fragments of the events stored under some identifiers from the log again; and first who signed in on some of them, where those are contested devices. Returns the profiles whose fragments these were or are now. The caller holds their components';

CREATE FUNCTION cdp.explain_trait(profile_id bigint, trait text)
RETURNS TABLE (value jsonb, occurred_at timestamptz, source text, rank integer, anchor cdp.identifier, message_id text, verdict text)
LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	profile bigint;
	won jsonb;
BEGIN
	PERFORM cdp.require_init();
	profile := cdp.profile_id(profile_id);
	SELECT p.traits::text::jsonb -> trait INTO won FROM cdp.profile p WHERE p.profile_id = profile;
	RETURN QUERY
	SELECT d.traits -> trait, d.occurred_at, s.name, s.rank, cdp.identifier(i.namespace, i.value), d.message_id, CASE
			WHEN d.occurred_at < (won ->> 'at')::timestamptz THEN 'older'
			WHEN s.rank < (won ->> 'rank')::integer THEN 'of a source of lower rank'
			WHEN d.traits -> trait <> won -> 'value' THEN 'the smaller value'
			ELSE 'counts' END
	FROM (SELECT DISTINCT t.anchor_id, t.identifier_id FROM cdp.tenure t WHERE t.profile_id = profile) t
	JOIN cdp.identity i ON i.identifier_id = t.anchor_id
	CROSS JOIN LATERAL ( -- OFFSET 0: by the index
		SELECT * FROM cdp.statement x WHERE x.identifier_id = t.identifier_id AND x.anchor_id = t.anchor_id AND x.traits ? trait OFFSET 0
	) d
	JOIN cdp.source s ON s.source_id = d.source_id
	ORDER BY d.occurred_at DESC, s.rank DESC, d.traits -> trait = won -> 'value' DESC, d.message_id;
END
$$;
COMMENT ON FUNCTION cdp.explain_trait(bigint, text) IS 'Why a profile has the value of a trait that it has: every value that was ever said of it, by which message and source, under which identifier, and the verdict on it: counts, older, of a source of lower rank, the smaller value (of two said at the same instant by equals); null unsets the trait. The latest first; no row when nothing was said. The profile id may be an old one';

-- views with a column for each trait

CREATE FUNCTION cdp.trait(traits cdp.traits, path text[], type anyelement) RETURNS anyelement
AS 'MODULE_PATHNAME', 'cdp_trait' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION cdp.trait(cdp.traits, text[], anyelement) IS 'A trait, or what stands at a path of names in it, as a value of the type of the third argument, which is not looked at; null when there is none or it does not fit the type. Types: text, text[], numeric, bigint, integer, double precision, boolean, date, timestamp with time zone, jsonb; error 0A000 for others';

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
			expression := format('cdp.trait(p.traits, %L::text[], NULL::%s)', path, type);
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

-- tables and views

CREATE FUNCTION cdp.init_profile() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
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

	CREATE OR REPLACE VIEW cdp.derived_fragment AS
		SELECT d.anchor_id, d.identifier_id, cdp.merge_traits(cdp.traits(d.traits, d.occurred_at, s.rank)) AS traits,
			cdp.merge_consents((
				SELECT cdp.merge_consents(format('{%s:{"at":%s,"value":%s}}', to_json(p.key),
					to_json(d.occurred_at AT TIME ZONE 'UTC'), p.value)::cdp.consent_state)
				FROM jsonb_each(d.consents) p WHERE jsonb_typeof(p.value) = 'boolean')) AS consents,
			min(d.occurred_at) FILTER (WHERE d.is_own) AS first_seen_at, max(d.occurred_at) FILTER (WHERE d.is_own) AS last_seen_at,
			count(*) FILTER (WHERE d.is_own) AS event_count
		FROM cdp.statement d JOIN cdp.source s ON s.source_id = d.source_id
		GROUP BY d.anchor_id, d.identifier_id;
	COMMENT ON VIEW cdp.derived_fragment IS 'What cdp.fragment must hold, derived from the log and cdp.sign_in; restrict identifier_id';

	ALTER TABLE cdp.profile
		ADD COLUMN IF NOT EXISTS traits cdp.traits,
		ADD COLUMN IF NOT EXISTS consents cdp.consent_state,
		ADD COLUMN IF NOT EXISTS first_seen_at timestamptz,
		ADD COLUMN IF NOT EXISTS last_seen_at timestamptz,
		ADD COLUMN IF NOT EXISTS event_count bigint NOT NULL DEFAULT 0;
	COMMENT ON COLUMN cdp.profile.traits IS 'The fold of the fragments; null of a profile merged away';
	COMMENT ON COLUMN cdp.profile.consents IS 'The fold of the fragments; null of a profile merged away';

	CREATE OR REPLACE VIEW cdp.profiles AS
		SELECT profile_id, entity, coalesce(cdp.to_jsonb(traits), '{}') AS traits, first_seen_at, last_seen_at, event_count
		FROM cdp.profile WHERE merged_into IS NULL;
	COMMENT ON VIEW cdp.profiles IS 'Everyone: a row for each live profile';
	PERFORM cdp.record_version('profile', 1);
END
$$;
COMMENT ON FUNCTION cdp.init_profile() IS 'Make the table of fragments and the profile''s columns for what is known; part of cdp.init()';
