-- identifier: what a person is known by.

-- type

CREATE TYPE cdp.identifier;
COMMENT ON TYPE cdp.identifier IS 'A namespace and a value, written email:ada@example.com; at most 63 and 512 bytes. Input only parses: functions that look one up or store one normalise it by its namespace';

CREATE FUNCTION cdp.identifier_in(cstring) RETURNS cdp.identifier
AS 'MODULE_PATHNAME', 'cdp_identifier_in' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.identifier_in(cstring) IS 'Input of identifier; errors 22P02 and 22001, which never show the value';
CREATE FUNCTION cdp.identifier_out(cdp.identifier) RETURNS cstring
AS 'MODULE_PATHNAME', 'cdp_identifier_out' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.identifier_out(cdp.identifier) IS 'Output of identifier: namespace:value';
CREATE FUNCTION cdp.identifier_recv(internal) RETURNS cdp.identifier
AS 'MODULE_PATHNAME', 'cdp_identifier_recv' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.identifier_recv(internal) IS 'Binary input of identifier, checked as text is';
CREATE FUNCTION cdp.identifier_send(cdp.identifier) RETURNS bytea
AS 'MODULE_PATHNAME', 'cdp_identifier_send' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.identifier_send(cdp.identifier) IS 'Binary output of identifier: a byte with the namespace''s length, the namespace, the value';

CREATE TYPE cdp.identifier (
	INPUT = cdp.identifier_in, OUTPUT = cdp.identifier_out, RECEIVE = cdp.identifier_recv, SEND = cdp.identifier_send,
	INTERNALLENGTH = VARIABLE, ALIGNMENT = int4, STORAGE = extended, CATEGORY = 'S' -- so that an unadorned literal is one
);

-- functions

CREATE FUNCTION cdp.identifier(namespace text, value text) RETURNS cdp.identifier
AS 'MODULE_PATHNAME', 'cdp_identifier_of' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.identifier(text, text) IS 'The identifier of a namespace and a value';
CREATE FUNCTION cdp.namespace(identifier cdp.identifier) RETURNS text
AS 'MODULE_PATHNAME', 'cdp_identifier_namespace' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.namespace(cdp.identifier) IS 'The namespace of an identifier';
CREATE FUNCTION cdp.value(identifier cdp.identifier) RETURNS text
AS 'MODULE_PATHNAME', 'cdp_identifier_text_value' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.value(cdp.identifier) IS 'The value of an identifier';
CREATE FUNCTION cdp.normalize(identifier cdp.identifier) RETURNS cdp.identifier
AS 'MODULE_PATHNAME', 'cdp_normalize' LANGUAGE C STABLE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION cdp.normalize(cdp.identifier) IS 'The form in which an identifier is stored, by its namespace''s rule; null when nothing is left of it. Error 42704 when there is no such namespace';
CREATE FUNCTION cdp.is_blocked(identifier cdp.identifier) RETURNS boolean
AS 'MODULE_PATHNAME', 'cdp_is_blocked' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION cdp.is_blocked(cdp.identifier) IS 'Whether an identifier is kept out of the graph: a blocked value, or one its namespace''s valid_pattern does not match. Error 42704 when there is no such namespace';

CREATE FUNCTION cdp.message_identifiers(type text, message jsonb, phone_region text DEFAULT NULL)
RETURNS TABLE (ord integer, namespace text, value text, entity text)
AS 'MODULE_PATHNAME', 'cdp_message_identifiers' LANGUAGE C STABLE PARALLEL UNSAFE ROWS 3 SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION cdp.message_identifiers(text, jsonb, text) IS 'The identifiers of a message that may enter the graph by the rules in force, normalised, strongest first, people''s before accounts''; phone_region: that of the message''s source. Error 22023';

CREATE FUNCTION cdp.is_phone_region(region text) RETURNS boolean
AS 'MODULE_PATHNAME', 'cdp_is_phone_region' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.is_phone_region(text) IS 'Whether it is the code of a country or territory (ISO 3166, two capital letters) whose phone numbers libphonenumber knows. Error 58P01 when that library is missing';

-- operators, in pg_catalog so that they are found under any search_path

CREATE FUNCTION cdp.identifier_eq(cdp.identifier, cdp.identifier) RETURNS boolean
AS 'MODULE_PATHNAME', 'cdp_identifier_eq' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.identifier_eq(cdp.identifier, cdp.identifier) IS 'Implementation of operator =';
CREATE FUNCTION cdp.identifier_ne(cdp.identifier, cdp.identifier) RETURNS boolean
AS 'MODULE_PATHNAME', 'cdp_identifier_ne' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.identifier_ne(cdp.identifier, cdp.identifier) IS 'Implementation of operator <>';
CREATE FUNCTION cdp.identifier_lt(cdp.identifier, cdp.identifier) RETURNS boolean
AS 'MODULE_PATHNAME', 'cdp_identifier_lt' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.identifier_lt(cdp.identifier, cdp.identifier) IS 'Implementation of operator <: by namespace, then value, bytewise';
CREATE FUNCTION cdp.identifier_le(cdp.identifier, cdp.identifier) RETURNS boolean
AS 'MODULE_PATHNAME', 'cdp_identifier_le' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.identifier_le(cdp.identifier, cdp.identifier) IS 'Implementation of operator <=';
CREATE FUNCTION cdp.identifier_gt(cdp.identifier, cdp.identifier) RETURNS boolean
AS 'MODULE_PATHNAME', 'cdp_identifier_gt' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.identifier_gt(cdp.identifier, cdp.identifier) IS 'Implementation of operator >';
CREATE FUNCTION cdp.identifier_ge(cdp.identifier, cdp.identifier) RETURNS boolean
AS 'MODULE_PATHNAME', 'cdp_identifier_ge' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.identifier_ge(cdp.identifier, cdp.identifier) IS 'Implementation of operator >=';
CREATE FUNCTION cdp.identifier_cmp(cdp.identifier, cdp.identifier) RETURNS integer
AS 'MODULE_PATHNAME', 'cdp_identifier_cmp' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.identifier_cmp(cdp.identifier, cdp.identifier) IS 'Order of identifiers for b-trees: negative, zero or positive';
CREATE FUNCTION cdp.identifier_hash(cdp.identifier) RETURNS integer
AS 'MODULE_PATHNAME', 'cdp_identifier_hash' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.identifier_hash(cdp.identifier) IS 'Hash of an identifier: the low half of XXH3';
CREATE FUNCTION cdp.identifier_hash_extended(cdp.identifier, bigint) RETURNS bigint
AS 'MODULE_PATHNAME', 'cdp_identifier_hash_extended' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.identifier_hash_extended(cdp.identifier, bigint) IS 'Seeded 64-bit hash of an identifier: XXH3';

CREATE OPERATOR pg_catalog.= (
	LEFTARG = cdp.identifier, RIGHTARG = cdp.identifier, FUNCTION = cdp.identifier_eq, COMMUTATOR = OPERATOR(pg_catalog.=),
	NEGATOR = OPERATOR(pg_catalog.<>), RESTRICT = eqsel, JOIN = eqjoinsel, HASHES, MERGES
);
COMMENT ON OPERATOR pg_catalog.= (cdp.identifier, cdp.identifier) IS 'equal';
CREATE OPERATOR pg_catalog.<> (
	LEFTARG = cdp.identifier, RIGHTARG = cdp.identifier, FUNCTION = cdp.identifier_ne, COMMUTATOR = OPERATOR(pg_catalog.<>),
	NEGATOR = OPERATOR(pg_catalog.=), RESTRICT = neqsel, JOIN = neqjoinsel
);
COMMENT ON OPERATOR pg_catalog.<> (cdp.identifier, cdp.identifier) IS 'not equal';
CREATE OPERATOR pg_catalog.< (
	LEFTARG = cdp.identifier, RIGHTARG = cdp.identifier, FUNCTION = cdp.identifier_lt, COMMUTATOR = OPERATOR(pg_catalog.>),
	NEGATOR = OPERATOR(pg_catalog.>=), RESTRICT = scalarltsel, JOIN = scalarltjoinsel
);
COMMENT ON OPERATOR pg_catalog.< (cdp.identifier, cdp.identifier) IS 'before';
CREATE OPERATOR pg_catalog.<= (
	LEFTARG = cdp.identifier, RIGHTARG = cdp.identifier, FUNCTION = cdp.identifier_le, COMMUTATOR = OPERATOR(pg_catalog.>=),
	NEGATOR = OPERATOR(pg_catalog.>), RESTRICT = scalarlesel, JOIN = scalarlejoinsel
);
COMMENT ON OPERATOR pg_catalog.<= (cdp.identifier, cdp.identifier) IS 'before or equal';
CREATE OPERATOR pg_catalog.> (
	LEFTARG = cdp.identifier, RIGHTARG = cdp.identifier, FUNCTION = cdp.identifier_gt, COMMUTATOR = OPERATOR(pg_catalog.<),
	NEGATOR = OPERATOR(pg_catalog.<=), RESTRICT = scalargtsel, JOIN = scalargtjoinsel
);
COMMENT ON OPERATOR pg_catalog.> (cdp.identifier, cdp.identifier) IS 'after';
CREATE OPERATOR pg_catalog.>= (
	LEFTARG = cdp.identifier, RIGHTARG = cdp.identifier, FUNCTION = cdp.identifier_ge, COMMUTATOR = OPERATOR(pg_catalog.<=),
	NEGATOR = OPERATOR(pg_catalog.<), RESTRICT = scalargesel, JOIN = scalargejoinsel
);
COMMENT ON OPERATOR pg_catalog.>= (cdp.identifier, cdp.identifier) IS 'after or equal';

CREATE OPERATOR CLASS cdp.identifier_ops DEFAULT FOR TYPE cdp.identifier USING btree AS
	OPERATOR 1 pg_catalog.<, OPERATOR 2 pg_catalog.<=, OPERATOR 3 pg_catalog.=, OPERATOR 4 pg_catalog.>=, OPERATOR 5 pg_catalog.>,
	FUNCTION 1 cdp.identifier_cmp(cdp.identifier, cdp.identifier);
COMMENT ON OPERATOR CLASS cdp.identifier_ops USING btree IS 'Order of identifiers: namespace, then value, bytewise';
CREATE OPERATOR CLASS cdp.identifier_hash_ops DEFAULT FOR TYPE cdp.identifier USING hash AS
	OPERATOR 1 pg_catalog.=,
	FUNCTION 1 cdp.identifier_hash(cdp.identifier), FUNCTION 2 cdp.identifier_hash_extended(cdp.identifier, bigint);
COMMENT ON OPERATOR CLASS cdp.identifier_hash_ops USING hash IS 'Hash of identifiers: XXH3';

-- configuration

CREATE FUNCTION cdp.default_rules() RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT '{"namespaces": {
	"user_id": {"kind": "person", "priority": 10, "max_per_profile": 1, "paths": ["userId"]},
	"email": {"kind": "contact", "priority": 20, "max_per_profile": 5, "normalizer": "email",
		"paths": ["identify:traits.email", "context.traits.email"]},
	"phone": {"kind": "contact", "priority": 30, "max_per_profile": 5, "normalizer": "phone",
		"paths": ["identify:traits.phone", "context.traits.phone"]},
	"device_id": {"kind": "device", "priority": 80, "normalizer": "lower", "paths": ["context.device.id"]},
	"advertising_id": {"kind": "device", "priority": 85, "normalizer": "lower", "paths": ["context.device.advertisingId"]},
	"anonymous_id": {"kind": "device", "priority": 90, "paths": ["anonymousId", "alias:previousId"]},
	"group_id": {"entity": "account", "kind": "person", "priority": 10, "max_per_profile": 1,
		"paths": ["groupId", "context.groupId"]}
}}'::pg_catalog.jsonb $$;
COMMENT ON FUNCTION cdp.default_rules() IS 'The built-in namespaces, as cdp.resolve() takes rules: an object of namespaces by name, each with what differs from the defaults of cdp.create_namespace(). cdp.init() makes the rows of cdp.namespace from it';

CREATE FUNCTION cdp.create_namespace(
	name text, kind text DEFAULT 'contact', priority integer DEFAULT NULL, max_per_profile integer DEFAULT NULL,
	bridge text DEFAULT 'unique', normalizer text DEFAULT 'none', valid_pattern text DEFAULT NULL,
	paths text[] DEFAULT '{}', entity text DEFAULT 'person'
) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	was record;
	reads_anew boolean;
	ruling bigint;
	wrong text;
BEGIN
	PERFORM cdp.require_init();
	PERFORM cdp.hold_rules();
	IF name IS NULL OR name !~ '^[a-z_][a-z0-9_]{0,62}$' THEN
		RAISE EXCEPTION 'invalid name for a namespace' USING ERRCODE = 'invalid_name',
			HINT = 'Use lower-case letters, digits and underscores, a letter first, at most 63.';
	END IF;
	wrong := CASE WHEN coalesce(kind, '') NOT IN ('person', 'contact', 'device') THEN 'kind'
		WHEN coalesce(bridge, '') NOT IN ('unique', 'always', 'never') THEN 'bridge'
		WHEN coalesce(normalizer, '') NOT IN ('none', 'lower', 'email', 'email_gmail', 'phone') THEN 'normalizer'
		WHEN coalesce(entity, '') NOT IN ('person', 'account') THEN 'entity'
		WHEN priority < 1 THEN 'priority' END;
	IF wrong IS NOT NULL THEN
		RAISE EXCEPTION 'invalid % of namespace "%"', wrong, name USING ERRCODE = 'check_violation',
			HINT = 'kind is person, contact or device; bridge unique, always or never; normalizer none, lower, email, email_gmail or phone; entity person or account; priority at least 1.';
	END IF;
	IF max_per_profile < 1 THEN
		RAISE EXCEPTION 'max_per_profile of namespace "%" must be at least 1', name
			USING ERRCODE = 'invalid_parameter_value', HINT = 'Leave it null for no limit.';
	END IF;
	IF valid_pattern IS NOT NULL THEN
		PERFORM '' ~ valid_pattern; -- an invalid regular expression fails here, not at the next message
	END IF;
	IF EXISTS (SELECT FROM unnest(paths) p
			WHERE p IS NULL OR p !~ '^((identify|track|page|screen|group|alias):)?[^.:]+([.][^.:]+)*$') THEN
		RAISE EXCEPTION 'invalid path in namespace "%"', name USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Write member names joined by dots, such as context.traits.email; before it, with a colon, a type of message such as identify.';
	END IF;
	SELECT n.* INTO was FROM cdp.namespace n WHERE n.name = create_namespace.name;
	priority := coalesce(priority, was.priority, (SELECT max(n.priority) + 1 FROM cdp.namespace n), 1);
	IF EXISTS (SELECT FROM cdp.namespace n WHERE n.entity = create_namespace.entity
			AND n.priority = create_namespace.priority AND n.name <> create_namespace.name) THEN
		RAISE EXCEPTION 'another namespace has priority % already', priority USING ERRCODE = 'unique_violation',
			HINT = 'Each namespace has a priority of its own; 1 is the strongest. See the table cdp.namespace.';
	END IF;
	reads_anew := (was.entity, was.kind, was.priority, was.normalizer, was.valid_pattern, was.paths) IS DISTINCT FROM
		(entity, kind, priority, normalizer, valid_pattern, paths) AND EXISTS (SELECT FROM cdp.event);
	IF reads_anew THEN
		PERFORM cdp.remember_readings(NULL);
	END IF;
	INSERT INTO cdp.namespace AS n (name, entity, kind, priority, max_per_profile, bridge, normalizer, valid_pattern, paths)
	VALUES (create_namespace.name, create_namespace.entity, create_namespace.kind, create_namespace.priority,
		create_namespace.max_per_profile, create_namespace.bridge, create_namespace.normalizer,
		create_namespace.valid_pattern, create_namespace.paths)
	ON CONFLICT ON CONSTRAINT namespace_pkey DO UPDATE SET entity = excluded.entity, kind = excluded.kind,
		priority = excluded.priority, max_per_profile = excluded.max_per_profile, bridge = excluded.bridge,
		normalizer = excluded.normalizer, valid_pattern = excluded.valid_pattern, paths = excluded.paths;
	-- what was ruled names identifiers in their normal form, the stronger first
	SELECT r.ruling_id INTO ruling FROM cdp.ruling r JOIN cdp.namespace a ON a.name = cdp.namespace(r.a)
	LEFT JOIN cdp.namespace b ON b.name = cdp.namespace(r.b)
	WHERE r.undone_at IS NULL AND create_namespace.name IN (a.name, b.name) AND (r.a IS DISTINCT FROM cdp.normalize(r.a)
		OR r.b IS DISTINCT FROM cdp.normalize(r.b) OR a.entity <> b.entity OR a.priority > b.priority) LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'ruling % would not hold for the same identifiers any more', ruling USING ERRCODE = 'dependent_objects_still_exist',
			HINT = format('Another normal form or order of strength changes what it names. Undo it first: SELECT cdp.undo(%s), and rule again afterwards.', ruling);
	END IF;
	IF reads_anew THEN
		PERFORM cdp.read_again(NULL, 'rule');
	END IF;
	PERFORM cdp.judge_again(to_jsonb(was));
END
$$;
COMMENT ON FUNCTION cdp.create_namespace(text, text, integer, integer, text, text, text, text[], text) IS 'Make or replace a namespace. kind: person, contact or device; priority: 1 is the strongest, each of an entity its own (default: after the last); max_per_profile: null for no limit; bridge: unique, always or never (devices); normalizer: none, lower, email, email_gmail or phone; paths: where in a message it stands, such as {identify:traits.email,context.traits.email}. Applies to the past in the same transaction, as if it had always been so; cdp.simulate() shows beforehand what it would do. Waits for running ingestion and holds it up meanwhile. Errors 42602, 22023, 23505, 23514, 2201B, 2BP01 when a ruling names identifiers whose normal form or order of strength changes';

CREATE FUNCTION cdp.drop_namespace(name text) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	ruling bigint;
	touched bigint[];
BEGIN
	PERFORM cdp.require_init();
	PERFORM cdp.hold_rules();
	IF NOT EXISTS (SELECT FROM cdp.namespace n WHERE n.name = drop_namespace.name) THEN
		RAISE EXCEPTION 'namespace "%" does not exist', name USING ERRCODE = 'undefined_object',
			HINT = 'See the table cdp.namespace.';
	END IF;
	SELECT r.ruling_id INTO ruling FROM cdp.ruling r
	WHERE r.undone_at IS NULL AND drop_namespace.name IN (cdp.namespace(r.a), cdp.namespace(r.b)) LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'ruling % names an identifier of namespace "%"', ruling, name USING ERRCODE = 'dependent_objects_still_exist',
			HINT = format('Undo it first: SELECT cdp.undo(%s).', ruling);
	END IF;
	touched := cdp.read_by(ARRAY (SELECT i.identifier_id FROM cdp.identity i WHERE i.namespace = drop_namespace.name));
	PERFORM cdp.remember_readings(touched);
	DELETE FROM cdp.blocked_value b WHERE b.namespace = drop_namespace.name;
	DELETE FROM cdp.namespace n WHERE n.name = drop_namespace.name;
	PERFORM cdp.read_again(touched, 'rule');
END
$$;
COMMENT ON FUNCTION cdp.drop_namespace(text) IS 'Drop a namespace: its identifiers leave the graph, in the past too, and stay in the events. Errors 42704, 2BP01 when a ruling names one';

CREATE FUNCTION cdp.block_value(value text, namespace text DEFAULT NULL, is_pattern boolean DEFAULT false) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	ruling bigint;
	touched bigint[];
BEGIN
	PERFORM cdp.require_init();
	PERFORM cdp.hold_rules();
	IF value IS NULL OR value = '' THEN
		RAISE EXCEPTION 'a blocked value cannot be empty' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Empty values are kept out in any case.';
	END IF;
	IF is_pattern THEN
		PERFORM '' ~ value;
	END IF;
	IF namespace IS NOT NULL AND NOT EXISTS (SELECT FROM cdp.namespace n WHERE n.name = block_value.namespace) THEN
		RAISE EXCEPTION 'namespace "%" does not exist', namespace USING ERRCODE = 'undefined_object',
			HINT = 'See the table cdp.namespace.';
	END IF;
	IF namespace IS NOT NULL AND NOT is_pattern THEN
		-- values are compared in the form in which they would be stored
		value := coalesce(cdp.value(cdp.normalize(cdp.identifier(namespace, value))), value);
	END IF;
	touched := cdp.read_by(ARRAY (SELECT i.identifier_id FROM cdp.identity i
		WHERE (block_value.namespace IS NULL OR i.namespace = block_value.namespace)
			AND CASE WHEN is_pattern THEN i.value ~ block_value.value
				ELSE btrim(lower(i.value), E' \t\r\n"''') = lower(block_value.value COLLATE "C") END));
	PERFORM cdp.remember_readings(touched);
	INSERT INTO cdp.blocked_value (namespace, value, is_pattern)
	SELECT block_value.namespace, block_value.value, block_value.is_pattern
	WHERE NOT EXISTS (SELECT FROM cdp.blocked_value b WHERE b.namespace IS NOT DISTINCT FROM block_value.namespace
		AND b.value = block_value.value AND b.is_pattern = block_value.is_pattern AND NOT b.is_exact);
	SELECT r.ruling_id INTO ruling FROM cdp.ruling r WHERE r.undone_at IS NULL AND r.kind <> 'deny' AND (r.b IS NOT NULL OR r.kind = 'lock')
		AND (cdp.is_blocked(r.a) OR cdp.is_blocked(r.b)) LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'ruling % names a value that would be blocked', ruling USING ERRCODE = 'dependent_objects_still_exist',
			HINT = format('Undo it first: SELECT cdp.undo(%s).', ruling);
	END IF;
	PERFORM cdp.read_again(touched, 'rule');
END
$$;
COMMENT ON FUNCTION cdp.block_value(text, text, boolean) IS 'Keep a value, or what matches a regular expression, out of the graph, in the past too; namespace null: in all of them. It stays in the events. Errors 22023, 42704, 2201B, 2BP01 when a pin, a lock or a retracted link names it';

CREATE FUNCTION cdp.unblock_value(value text, namespace text DEFAULT NULL, is_pattern boolean DEFAULT false) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM cdp.require_init();
	PERFORM cdp.hold_rules();
	PERFORM cdp.remember_readings(NULL);
	DELETE FROM cdp.blocked_value b WHERE b.namespace IS NOT DISTINCT FROM unblock_value.namespace
		AND b.is_pattern = unblock_value.is_pattern AND NOT b.is_exact
		AND b.value IN (unblock_value.value, CASE WHEN unblock_value.namespace IS NOT NULL AND NOT unblock_value.is_pattern
			THEN cdp.value(cdp.normalize(cdp.identifier(unblock_value.namespace, unblock_value.value))) END);
	IF NOT FOUND THEN
		RAISE EXCEPTION 'that value is not blocked' USING ERRCODE = 'undefined_object',
			HINT = 'See the table cdp.blocked_value; the built-in values are always blocked, and what a steward retracted is taken back by cdp.undo().';
	END IF;
	PERFORM cdp.read_again(NULL, 'rule');
END
$$;
COMMENT ON FUNCTION cdp.unblock_value(text, text, boolean) IS 'Take back cdp.block_value(), called with the same arguments: the value enters the graph again, in the past too. Reads the whole log. Error 42704';

CREATE FUNCTION cdp.hold_rules(is_alone boolean DEFAULT true) RETURNS void
AS 'MODULE_PATHNAME', 'cdp_hold_rules' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION cdp.hold_rules(boolean) IS 'Hold what messages mean as it is until the end of the transaction, beside others who do; is_alone: wait until nobody processes messages, and let nobody do so, for who changes it. Errors 25000 when alone in an isolation level above READ COMMITTED, 42501';

CREATE FUNCTION cdp.rules_changed() RETURNS trigger
AS 'MODULE_PATHNAME', 'cdp_rules_changed' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cdp.rules_changed() IS 'Trigger function of the tables of rules: every session reads them again; its argument is the table the rules are known by (none: namespace)';

CREATE FUNCTION cdp.init_identifier() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
BEGIN
	CREATE TABLE IF NOT EXISTS cdp.namespace (
		name text COLLATE "C" NOT NULL CONSTRAINT namespace_pkey PRIMARY KEY,
		entity text NOT NULL DEFAULT 'person' CONSTRAINT namespace_entity_check CHECK (entity IN ('person', 'account')),
		kind text NOT NULL CONSTRAINT namespace_kind_check CHECK (kind IN ('person', 'contact', 'device')),
		priority integer NOT NULL CONSTRAINT namespace_priority_check CHECK (priority > 0),
		max_per_profile integer CONSTRAINT namespace_max_per_profile_check CHECK (max_per_profile > 0),
		bridge text NOT NULL DEFAULT 'unique' CONSTRAINT namespace_bridge_check CHECK (bridge IN ('unique', 'always', 'never')),
		normalizer text NOT NULL DEFAULT 'none',
		valid_pattern text
			CONSTRAINT namespace_valid_pattern_check CHECK (('' ~ valid_pattern) IS NOT NULL OR valid_pattern IS NULL), -- raises on no regular expression
		paths text[] NOT NULL DEFAULT '{}',
		CONSTRAINT namespace_priority_key UNIQUE (entity, priority) DEFERRABLE
	);
	ALTER TABLE cdp.namespace DROP CONSTRAINT IF EXISTS namespace_normalizer_check,
		ADD CONSTRAINT namespace_normalizer_check CHECK (normalizer IN ('none', 'lower', 'email', 'email_gmail', 'phone'));
	COMMENT ON TABLE cdp.namespace IS 'Kinds of identifiers and their rules; changed by cdp.create_namespace()';
	COMMENT ON COLUMN cdp.namespace.priority IS '1 is the strongest; each namespace of an entity has its own';
	COMMENT ON COLUMN cdp.namespace.max_per_profile IS 'How many values one profile may have; null: any number';
	COMMENT ON COLUMN cdp.namespace.bridge IS 'Whether a device may connect two people: unique (unless it is shared), always, never';
	COMMENT ON COLUMN cdp.namespace.paths IS 'Where in a message a value stands: names joined by dots, after the type of message and a colon where only that type counts';

	CREATE TABLE IF NOT EXISTS cdp.blocked_value (
		namespace text COLLATE "C",
		value text NOT NULL,
		is_pattern boolean NOT NULL DEFAULT false,
		is_exact boolean NOT NULL DEFAULT false,
		ruling_id bigint,
		CONSTRAINT blocked_value_value_check CHECK (NOT is_pattern OR ('' ~ value) IS NOT NULL) -- raises on no regular expression
	);
	COMMENT ON TABLE cdp.blocked_value IS 'Values kept out of the graph besides the built-in ones; changed by cdp.block_value() and cdp.unblock_value(), and where a steward retracts an identifier';
	COMMENT ON COLUMN cdp.blocked_value.is_exact IS 'Only this value as it is stored, in this case of letters';
	COMMENT ON COLUMN cdp.blocked_value.ruling_id IS 'The retraction that blocks it; null: a rule';

	CREATE OR REPLACE TRIGGER namespace_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON cdp.namespace
		FOR EACH STATEMENT EXECUTE FUNCTION cdp.rules_changed();
	CREATE OR REPLACE TRIGGER blocked_value_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON cdp.blocked_value
		FOR EACH STATEMENT EXECUTE FUNCTION cdp.rules_changed();

	IF NOT EXISTS (SELECT FROM cdp.setup WHERE noun = 'identifier') THEN
		INSERT INTO cdp.namespace (name, entity, kind, priority, max_per_profile, normalizer, paths)
		SELECT n.name, coalesce(r.entity, 'person'), r.kind, r.priority, r.max_per_profile, coalesce(r.normalizer, 'none'), r.paths
		FROM jsonb_each(cdp.default_rules() -> 'namespaces') n (name, rule),
			jsonb_to_record(n.rule) r (entity text, kind text, priority integer, max_per_profile integer, normalizer text, paths text[])
		ORDER BY r.entity NULLS FIRST, r.priority;
	END IF;
	PERFORM cdp.record_version('identifier', 1);
END
$$;
COMMENT ON FUNCTION cdp.init_identifier() IS 'Make the tables of namespaces and blocked values with their built-in rows; part of cdp.init()';
