-- segment: who is in which segment, since when and why; and traits computed from what people did.

-- type

CREATE TYPE cdp.predicate;
COMMENT ON TYPE cdp.predicate IS 'The condition of a segment, such as count(''Order Completed'') >= 2 within 30 days and trait plan = ''pro''. Reads text or JSON, prints canonical text; at most 64 kB, nested at most 100 deep. Grammar: docs/segment.md';

CREATE FUNCTION cdp.predicate_in(cstring) RETURNS cdp.predicate
AS 'MODULE_PATHNAME', 'cdp_predicate_in' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.predicate_in(cstring) IS 'Input of predicate, text or JSON; error 42601 names what was expected and shows the place, also 2201B, 22023, 22007, 22003, 54000 and 54001';
CREATE FUNCTION cdp.predicate_out(cdp.predicate) RETURNS cstring
AS 'MODULE_PATHNAME', 'cdp_predicate_out' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.predicate_out(cdp.predicate) IS 'Output of predicate: canonical text, which reads as the same predicate';
CREATE FUNCTION cdp.predicate_recv(internal) RETURNS cdp.predicate
AS 'MODULE_PATHNAME', 'cdp_predicate_recv' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.predicate_recv(internal) IS 'Binary input of predicate: a version byte and a text, checked as text is';
CREATE FUNCTION cdp.predicate_send(cdp.predicate) RETURNS bytea
AS 'MODULE_PATHNAME', 'cdp_predicate_send' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.predicate_send(cdp.predicate) IS 'Binary output of predicate: the version of the language as a byte, the canonical text';

CREATE TYPE cdp.predicate (
	INPUT = cdp.predicate_in, OUTPUT = cdp.predicate_out, RECEIVE = cdp.predicate_recv, SEND = cdp.predicate_send,
	INTERNALLENGTH = VARIABLE, ALIGNMENT = double, STORAGE = extended, CATEGORY = 'U'
);

-- functions

CREATE FUNCTION cdp.predicate_to_jsonb(predicate cdp.predicate) RETURNS jsonb
AS 'MODULE_PATHNAME', 'cdp_predicate_to_jsonb' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.predicate_to_jsonb(cdp.predicate) IS 'The JSON form of a predicate, as builders of conditions write it';
CREATE FUNCTION cdp.predicate_from_jsonb(document jsonb) RETURNS cdp.predicate
AS 'MODULE_PATHNAME', 'cdp_predicate_from_jsonb' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.predicate_from_jsonb(jsonb) IS 'A predicate of its JSON form; error 42601 for unknown keys and operators';

CREATE CAST (cdp.predicate AS jsonb) WITH FUNCTION cdp.predicate_to_jsonb(cdp.predicate) AS ASSIGNMENT;
COMMENT ON CAST (cdp.predicate AS jsonb) IS 'The JSON form of a predicate';
CREATE CAST (jsonb AS cdp.predicate) WITH FUNCTION cdp.predicate_from_jsonb(jsonb) AS ASSIGNMENT;
COMMENT ON CAST (jsonb AS cdp.predicate) IS 'A predicate of its JSON form';

CREATE FUNCTION cdp.evaluate_predicate(
	predicate cdp.predicate, person jsonb, at timestamptz, OUT holds boolean, OUT next_change timestamptz
) RETURNS record
AS 'MODULE_PATHNAME', 'cdp_evaluate_predicate' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.evaluate_predicate(cdp.predicate, jsonb, timestamptz) IS 'Whether a predicate holds at an instant for a person written as JSON {"traits": {..}, "consents": [..], "events": [{"t": .., "name": ..}]}, and next_change: the earliest instant at which that can differ if nothing arrives, infinity if it never will. Reads no table. Error 22023 for a malformed person';

-- computed traits, of any timeline

CREATE FUNCTION cdp.read_computation(definition text, OUT canonical text, OUT event text, OUT property text) RETURNS record
AS 'MODULE_PATHNAME', 'cdp_read_computation' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.read_computation(text) IS 'What a computed trait is computed from: canonical text, such as sum(''Order Completed''.revenue) within 90 days, the event, and the property of it, null where it is the event itself. Error 42601 names what was expected and shows the place, also 22023, 22007 and 54000';

CREATE FUNCTION cdp.compute(
	definition text, timeline cdp.timeline, at timestamptz, OUT value jsonb, OUT changes_at timestamptz
) RETURNS record
AS 'MODULE_PATHNAME', 'cdp_compute_timeline' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION cdp.compute(text, cdp.timeline, timestamptz) IS 'What a computed trait is at an instant, of the events of a timeline (null: of none): value, null where there is none, and changes_at, the exact instant at which it becomes another if nothing arrives, infinity if it stays. Null when definition or instant are. Reads no table. Errors as of cdp.read_computation(), 22023 for an instant that is not finite';

CREATE FUNCTION cdp.declare_computation(definition text) RETURNS text
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	read record;
BEGIN
	SELECT * INTO read FROM cdp.read_computation(definition);
	IF read.property IS NOT NULL AND NOT EXISTS (
		SELECT FROM cdp.property p WHERE p.name = read.property AND (p.event IS NULL OR p.event = read.event)) THEN
		PERFORM cdp.create_property(read.property, read.event);
	END IF;
	RETURN read.canonical;
END
$$;
COMMENT ON FUNCTION cdp.declare_computation(text) IS 'Part of cdp.create_trait(): the canonical text of what a trait is computed from; timelines carry the property along from now on. Errors as of cdp.read_computation() and cdp.create_property()';

CREATE FUNCTION cdp.hold_segments() RETURNS void
AS 'MODULE_PATHNAME', 'cdp_hold_segments' LANGUAGE C VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET jit = off;
COMMENT ON FUNCTION cdp.hold_segments() IS 'Part of cdp.create_trait() and cdp.drop_trait(), before a computed trait changes: nobody else evaluates people until the end of the transaction, and timers that are overdue have gone off. Errors 25000, 42501';
CREATE FUNCTION cdp.compute_everybody() RETURNS void
AS 'MODULE_PATHNAME', 'cdp_compute_everybody' LANGUAGE C VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET jit = off;
COMMENT ON FUNCTION cdp.compute_everybody() IS 'Part of cdp.create_trait() and cdp.drop_trait(), after it: compute the traits of every person that are computed, and evaluate all segments';

-- operators, in pg_catalog so that they are found under any search_path

CREATE FUNCTION cdp.predicate_eq(cdp.predicate, cdp.predicate) RETURNS boolean
AS 'MODULE_PATHNAME', 'cdp_predicate_eq' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.predicate_eq(cdp.predicate, cdp.predicate) IS 'Implementation of operator =: equal in meaning of numbers (1.0 is 1), durations (24 hours is 1 day) and instants';
CREATE FUNCTION cdp.predicate_ne(cdp.predicate, cdp.predicate) RETURNS boolean
AS 'MODULE_PATHNAME', 'cdp_predicate_ne' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.predicate_ne(cdp.predicate, cdp.predicate) IS 'Implementation of operator <>';
CREATE FUNCTION cdp.predicate_lt(cdp.predicate, cdp.predicate) RETURNS boolean
AS 'MODULE_PATHNAME', 'cdp_predicate_lt' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.predicate_lt(cdp.predicate, cdp.predicate) IS 'Implementation of operator <: an order that means nothing but is total';
CREATE FUNCTION cdp.predicate_le(cdp.predicate, cdp.predicate) RETURNS boolean
AS 'MODULE_PATHNAME', 'cdp_predicate_le' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.predicate_le(cdp.predicate, cdp.predicate) IS 'Implementation of operator <=';
CREATE FUNCTION cdp.predicate_gt(cdp.predicate, cdp.predicate) RETURNS boolean
AS 'MODULE_PATHNAME', 'cdp_predicate_gt' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.predicate_gt(cdp.predicate, cdp.predicate) IS 'Implementation of operator >';
CREATE FUNCTION cdp.predicate_ge(cdp.predicate, cdp.predicate) RETURNS boolean
AS 'MODULE_PATHNAME', 'cdp_predicate_ge' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.predicate_ge(cdp.predicate, cdp.predicate) IS 'Implementation of operator >=';
CREATE FUNCTION cdp.predicate_cmp(cdp.predicate, cdp.predicate) RETURNS integer
AS 'MODULE_PATHNAME', 'cdp_predicate_cmp' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.predicate_cmp(cdp.predicate, cdp.predicate) IS 'Order of predicates for b-trees: negative, zero or positive';
CREATE FUNCTION cdp.predicate_hash(cdp.predicate) RETURNS integer
AS 'MODULE_PATHNAME', 'cdp_predicate_hash' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.predicate_hash(cdp.predicate) IS 'Hash of a predicate; equal predicates have equal hashes';
CREATE FUNCTION cdp.predicate_hash_extended(cdp.predicate, bigint) RETURNS bigint
AS 'MODULE_PATHNAME', 'cdp_predicate_hash_extended' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.predicate_hash_extended(cdp.predicate, bigint) IS 'Seeded 64-bit hash of a predicate';

CREATE OPERATOR pg_catalog.= (
	LEFTARG = cdp.predicate, RIGHTARG = cdp.predicate, FUNCTION = cdp.predicate_eq, COMMUTATOR = OPERATOR(pg_catalog.=),
	NEGATOR = OPERATOR(pg_catalog.<>), RESTRICT = eqsel, JOIN = eqjoinsel, HASHES, MERGES
);
COMMENT ON OPERATOR pg_catalog.= (cdp.predicate, cdp.predicate) IS 'equal';
CREATE OPERATOR pg_catalog.<> (
	LEFTARG = cdp.predicate, RIGHTARG = cdp.predicate, FUNCTION = cdp.predicate_ne, COMMUTATOR = OPERATOR(pg_catalog.<>),
	NEGATOR = OPERATOR(pg_catalog.=), RESTRICT = neqsel, JOIN = neqjoinsel
);
COMMENT ON OPERATOR pg_catalog.<> (cdp.predicate, cdp.predicate) IS 'not equal';
CREATE OPERATOR pg_catalog.< (
	LEFTARG = cdp.predicate, RIGHTARG = cdp.predicate, FUNCTION = cdp.predicate_lt, COMMUTATOR = OPERATOR(pg_catalog.>),
	NEGATOR = OPERATOR(pg_catalog.>=), RESTRICT = scalarltsel, JOIN = scalarltjoinsel
);
COMMENT ON OPERATOR pg_catalog.< (cdp.predicate, cdp.predicate) IS 'before';
CREATE OPERATOR pg_catalog.<= (
	LEFTARG = cdp.predicate, RIGHTARG = cdp.predicate, FUNCTION = cdp.predicate_le, COMMUTATOR = OPERATOR(pg_catalog.>=),
	NEGATOR = OPERATOR(pg_catalog.>), RESTRICT = scalarlesel, JOIN = scalarlejoinsel
);
COMMENT ON OPERATOR pg_catalog.<= (cdp.predicate, cdp.predicate) IS 'before or equal';
CREATE OPERATOR pg_catalog.> (
	LEFTARG = cdp.predicate, RIGHTARG = cdp.predicate, FUNCTION = cdp.predicate_gt, COMMUTATOR = OPERATOR(pg_catalog.<),
	NEGATOR = OPERATOR(pg_catalog.<=), RESTRICT = scalargtsel, JOIN = scalargtjoinsel
);
COMMENT ON OPERATOR pg_catalog.> (cdp.predicate, cdp.predicate) IS 'after';
CREATE OPERATOR pg_catalog.>= (
	LEFTARG = cdp.predicate, RIGHTARG = cdp.predicate, FUNCTION = cdp.predicate_ge, COMMUTATOR = OPERATOR(pg_catalog.<=),
	NEGATOR = OPERATOR(pg_catalog.<), RESTRICT = scalargesel, JOIN = scalargejoinsel
);
COMMENT ON OPERATOR pg_catalog.>= (cdp.predicate, cdp.predicate) IS 'after or equal';

CREATE OPERATOR CLASS cdp.predicate_ops DEFAULT FOR TYPE cdp.predicate USING btree AS
	OPERATOR 1 pg_catalog.<, OPERATOR 2 pg_catalog.<=, OPERATOR 3 pg_catalog.=, OPERATOR 4 pg_catalog.>=, OPERATOR 5 pg_catalog.>,
	FUNCTION 1 cdp.predicate_cmp(cdp.predicate, cdp.predicate);
COMMENT ON OPERATOR CLASS cdp.predicate_ops USING btree IS 'Order of predicates: of their normalised texts, bytewise';
CREATE OPERATOR CLASS cdp.predicate_hash_ops DEFAULT FOR TYPE cdp.predicate USING hash AS
	OPERATOR 1 pg_catalog.=,
	FUNCTION 1 cdp.predicate_hash(cdp.predicate), FUNCTION 2 cdp.predicate_hash_extended(cdp.predicate, bigint);
COMMENT ON OPERATOR CLASS cdp.predicate_hash_ops USING hash IS 'Hash of predicates: of their normalised texts';

-- configuration (jit off: plans over a chunk of people look dear and run for milliseconds)

CREATE FUNCTION cdp.create_segment(name text, predicate cdp.predicate, description text DEFAULT NULL) RETURNS bigint
AS 'MODULE_PATHNAME', 'cdp_create_segment' LANGUAGE C VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET jit = off;
COMMENT ON FUNCTION cdp.create_segment(text, cdp.predicate, text) IS 'Make or replace a segment: evaluates every person in this transaction and writes the difference with cause definition; returns the number of members. name: 1 to 63 bytes without control characters. description: null keeps what there is. Waits for, and holds up, the processing of messages. Errors 42602, 22004, 42704 for an unknown purpose';

CREATE FUNCTION cdp.drop_segment(name text) RETURNS bigint
AS 'MODULE_PATHNAME', 'cdp_drop_segment' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET jit = off;
COMMENT ON FUNCTION cdp.drop_segment(text) IS 'Drop a segment: all members leave it with cause definition; returns how many. Error 42704 when there is no such segment';

-- questions

CREATE FUNCTION cdp.matches(profile_id bigint, predicate cdp.predicate, at timestamptz DEFAULT NULL) RETURNS boolean
AS 'MODULE_PATHNAME', 'cdp_matches' LANGUAGE C STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp SET jit = off;
COMMENT ON FUNCTION cdp.matches(bigint, cdp.predicate, timestamptz) IS 'Whether a predicate holds for a profile at an instant (null: now, by cdp.clock_now()). Evaluates, and so is exact even when timers are late; computed traits are those of the instant, all others and consents those of now. A merged-away id stands for its survivor; null when profile_id or predicate is null. Error P0002 when there is no such person';

-- time

CREATE FUNCTION cdp.advance_to(at timestamptz, OUT entered bigint, OUT exited bigint) RETURNS record
AS 'MODULE_PATHNAME', 'cdp_advance_to' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET jit = off;
COMMENT ON FUNCTION cdp.advance_to(timestamptz) IS 'Let time pass, for tests and simulations: everybody who enters or leaves a segment by time alone up to this instant does so at the exact instant of it, computed traits change too, then the session''s cdp.clock is set to it. Error 22023 when that would set the clock back, 42501 for who may not set cdp.clock';

-- set-up

CREATE FUNCTION cdp.init_segment() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
BEGIN
	CREATE TABLE IF NOT EXISTS cdp.segment (
		name text COLLATE "C" NOT NULL CONSTRAINT segment_pkey PRIMARY KEY
			CONSTRAINT segment_name_check CHECK (octet_length(name) BETWEEN 1 AND 63),
		predicate cdp.predicate NOT NULL,
		description text,
		created_at timestamptz NOT NULL,
		updated_at timestamptz NOT NULL
	);
	COMMENT ON TABLE cdp.segment IS 'Segments; changed by cdp.create_segment() and cdp.drop_segment(), which bring the members up to date, never by hand';
	COMMENT ON COLUMN cdp.segment.predicate IS 'Who is in it';
	COMMENT ON COLUMN cdp.segment.created_at IS 'When it was first made, by cdp.clock_now()';
	COMMENT ON COLUMN cdp.segment.updated_at IS 'When it was made or replaced last, by cdp.clock_now()';
	CREATE OR REPLACE TRIGGER segment_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON cdp.segment
		FOR EACH STATEMENT EXECUTE FUNCTION cdp.rules_changed('segment');

	CREATE TABLE IF NOT EXISTS cdp.membership (
		profile_id bigint NOT NULL,
		segment text COLLATE "C" NOT NULL,
		since timestamptz NOT NULL,
		CONSTRAINT membership_pkey PRIMARY KEY (profile_id, segment)
	);
	CREATE INDEX IF NOT EXISTS membership_segment_idx ON cdp.membership (segment, profile_id);
	COMMENT ON TABLE cdp.membership IS 'Who is in which segment, as of the last cdp.process(); read it through cdp.members';
	COMMENT ON COLUMN cdp.membership.since IS 'The instant of the entry: exact where time brought it, else that of the transaction that did';

	CREATE TABLE IF NOT EXISTS cdp.membership_change (
		change_id bigint NOT NULL GENERATED BY DEFAULT AS IDENTITY,
		profile_id bigint NOT NULL,
		segment text COLLATE "C" NOT NULL,
		change text NOT NULL CONSTRAINT membership_change_change_check CHECK (change IN ('enter', 'exit')),
		effective_at timestamptz NOT NULL,
		recorded_at timestamptz NOT NULL DEFAULT now(),
		cause text NOT NULL CONSTRAINT membership_change_cause_check
			CHECK (cause IN ('event', 'time', 'merge', 'split', 'trait', 'consent', 'definition'))
	);
	CREATE INDEX IF NOT EXISTS membership_change_profile_id_idx ON cdp.membership_change (profile_id);
	COMMENT ON TABLE cdp.membership_change IS 'Every entry into and exit from a segment; append-only. Replayed in the order of change_id the rows give cdp.membership';
	COMMENT ON COLUMN cdp.membership_change.change_id IS 'The order in which the changes of a person happened; of different people it says nothing about commits';
	COMMENT ON COLUMN cdp.membership_change.effective_at IS 'The instant of the change, by cdp.clock_now(); of one that time brought, the exact instant, however late it was noticed';
	COMMENT ON COLUMN cdp.membership_change.recorded_at IS 'Start of the transaction that wrote the row';
	COMMENT ON COLUMN cdp.membership_change.cause IS 'event: a message touched the person; time: a window moved; merge: the person became part of another; definition: the segment was made, edited or dropped';

	CREATE TABLE IF NOT EXISTS cdp.due (
		profile_id bigint NOT NULL CONSTRAINT due_pkey PRIMARY KEY,
		due_at timestamptz NOT NULL
	) WITH (fillfactor = 80);
	CREATE INDEX IF NOT EXISTS due_due_at_idx ON cdp.due (due_at);
	COMMENT ON TABLE cdp.due IS 'When to look at a person again although nothing arrives: a timer for each whose segments or computed traits can change with time';
	COMMENT ON COLUMN cdp.due.due_at IS 'Not later than the earliest instant at which one of them can change; earlier where the person was active since';

	CREATE OR REPLACE VIEW cdp.members AS
		SELECT segment, profile_id, since FROM cdp.membership;
	COMMENT ON VIEW cdp.members IS 'Who is in which segment since when, as of the last cdp.process(), which lets overdue timers go off; cdp.matches() is exact at any instant';

	CREATE OR REPLACE VIEW cdp.derived_computed AS
		SELECT p.profile_id, coalesce(jsonb_object_agg(t.name, c.value) FILTER (WHERE c.value IS NOT NULL), '{}') AS traits
		FROM cdp.profile p
		CROSS JOIN LATERAL (SELECT cdp.timeline_of(p.profile_id) AS events OFFSET 0) e
		LEFT JOIN cdp.trait t ON t.computed IS NOT NULL
		LEFT JOIN LATERAL cdp.compute(t.computed, e.events, cdp.clock_now()) c ON true
		WHERE p.merged_into IS NULL AND p.entity = 'person' AND EXISTS (SELECT FROM cdp.trait x WHERE x.computed IS NOT NULL)
		GROUP BY p.profile_id;
	COMMENT ON VIEW cdp.derived_computed IS 'What the computed traits of each person are now, derived from its timeline; no row where no trait is computed; restrict profile_id';
	PERFORM cdp.record_version('segment', 1);
END
$$;
COMMENT ON FUNCTION cdp.init_segment() IS 'Make the tables of segments, memberships and timers; part of cdp.init()';
