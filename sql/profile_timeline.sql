-- profile: timelines, packed sets of events, on any table.

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
