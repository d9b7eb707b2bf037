-- consent: what a person allows.

-- type

CREATE TYPE cdp.consent_state;
COMMENT ON TYPE cdp.consent_state IS 'Category -> granted or refused, with the time at which it was said; merging keeps the latest word, and of two at the same instant the refusal. Text form as of cdp.traits, values true or false';

CREATE FUNCTION cdp.consent_state_in(cstring) RETURNS cdp.consent_state
AS 'MODULE_PATHNAME', 'cdp_consent_state_in' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.consent_state_in(cstring) IS 'Input of consent_state; error 22P02, which never shows a value';
CREATE FUNCTION cdp.consent_state_out(cdp.consent_state) RETURNS cstring
AS 'MODULE_PATHNAME', 'cdp_stamped_map_out' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.consent_state_out(cdp.consent_state) IS 'Output of consent_state: JSON, categories sorted bytewise';
CREATE FUNCTION cdp.consent_state_recv(internal) RETURNS cdp.consent_state
AS 'MODULE_PATHNAME', 'cdp_consent_state_recv' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.consent_state_recv(internal) IS 'Binary input of consent_state: a version byte (1) and the text form, checked as text is';
CREATE FUNCTION cdp.consent_state_send(cdp.consent_state) RETURNS bytea
AS 'MODULE_PATHNAME', 'cdp_stamped_map_send' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.consent_state_send(cdp.consent_state) IS 'Binary output of consent_state: a version byte (1) and the text form';

CREATE TYPE cdp.consent_state (
	INPUT = cdp.consent_state_in, OUTPUT = cdp.consent_state_out, RECEIVE = cdp.consent_state_recv,
	SEND = cdp.consent_state_send, INTERNALLENGTH = VARIABLE, ALIGNMENT = double, STORAGE = extended
);

-- functions

CREATE FUNCTION cdp.merge(a cdp.consent_state, b cdp.consent_state) RETURNS cdp.consent_state
AS 'MODULE_PATHNAME', 'cdp_consent_state_merge' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.merge(cdp.consent_state, cdp.consent_state) IS 'Two consent states as one; commutative, associative, idempotent';
CREATE FUNCTION cdp.is_same(a cdp.consent_state, b cdp.consent_state) RETURNS boolean
AS 'MODULE_PATHNAME', 'cdp_stamped_map_eq' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.is_same(cdp.consent_state, cdp.consent_state) IS 'Whether two consent states agree in every category, word and time';
CREATE FUNCTION cdp.to_jsonb(consents cdp.consent_state) RETURNS jsonb
AS 'MODULE_PATHNAME', 'cdp_stamped_map_to_jsonb' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.to_jsonb(cdp.consent_state) IS 'A consent state as a JSON object of category and boolean';
CREATE CAST (cdp.consent_state AS jsonb) WITH FUNCTION cdp.to_jsonb(cdp.consent_state) AS ASSIGNMENT;
COMMENT ON CAST (cdp.consent_state AS jsonb) IS 'Category and boolean';
CREATE FUNCTION cdp.granted(consents cdp.consent_state) RETURNS text[]
AS 'MODULE_PATHNAME', 'cdp_granted' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.granted(cdp.consent_state) IS 'The categories granted, sorted bytewise';
CREATE FUNCTION cdp.allows(consents cdp.consent_state, categories text[]) RETURNS boolean
AS 'MODULE_PATHNAME', 'cdp_allows' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION cdp.allows(cdp.consent_state, text[]) IS 'Whether every one of the categories is granted; false of a null state (nothing was ever said) and of no category; never null';

CREATE AGGREGATE cdp.merge_consents(cdp.consent_state) (
	SFUNC = cdp.merge, STYPE = cdp.consent_state, COMBINEFUNC = cdp.merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE cdp.merge_consents(cdp.consent_state) IS 'Many consent states as one, in any order; null of nothing';

CREATE FUNCTION cdp.create_purpose(name text, categories text[] DEFAULT NULL, description text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
BEGIN
	PERFORM cdp.require_init();
	IF name IS NULL OR name !~ '^[a-z_][a-z0-9_]{0,58}$' THEN
		RAISE EXCEPTION 'invalid name for a purpose' USING ERRCODE = 'invalid_name',
			HINT = 'Use lower-case letters, digits and underscores, a letter first, at most 59: the view is named for_<purpose>.';
	END IF;
	categories := coalesce(categories, ARRAY[name]);
	IF cardinality(categories) = 0 OR array_position(categories, NULL) IS NOT NULL THEN
		RAISE EXCEPTION 'purpose "%" needs at least one category, none of them null', name
			USING ERRCODE = 'invalid_parameter_value', HINT = 'Leave categories out to use the purpose''s own name.';
	END IF;
	INSERT INTO cdp.purpose AS p (name, categories, description)
	VALUES (create_purpose.name, create_purpose.categories, create_purpose.description)
	ON CONFLICT ON CONSTRAINT purpose_pkey DO UPDATE SET categories = excluded.categories,
		description = coalesce(excluded.description, p.description);
	-- the categories stand in the view as constants: nothing a reader can set widens it
	EXECUTE format('CREATE OR REPLACE VIEW cdp.%I WITH (security_barrier) AS '
		'SELECT profile_id, entity, coalesce(cdp.to_jsonb(coalesce(cdp.merge(traits, computed), traits, computed)), ''{}'') AS traits, first_seen_at, last_seen_at, event_count '
		'FROM cdp.profile WHERE merged_into IS NULL AND cdp.allows(consents, %L::text[])', 'for_' || name, categories);
	EXECUTE format('COMMENT ON VIEW cdp.%I IS %L', 'for_' || name,
		format('Everyone who consents to %s now; grant SELECT on it to who works for that purpose', name));
END
$$;
COMMENT ON FUNCTION cdp.create_purpose(text, text[], text) IS 'Make or replace a purpose and its view cdp.for_<name>, which shows only people who granted all of its categories (default: the one of its name). Errors 42602, 22023';

CREATE FUNCTION cdp.drop_purpose(name text) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM cdp.require_init();
	DELETE FROM cdp.purpose p WHERE p.name = drop_purpose.name;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'purpose "%" does not exist', name USING ERRCODE = 'undefined_object',
			HINT = 'See the table cdp.purpose.';
	END IF;
	EXECUTE format('DROP VIEW cdp.%I', 'for_' || name);
END
$$;
COMMENT ON FUNCTION cdp.drop_purpose(text) IS 'Drop a purpose and its view; what people said stays. Error 42704';

CREATE FUNCTION cdp.consented(profile_id bigint, purpose text) RETURNS boolean
LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	wanted text[];
BEGIN
	PERFORM cdp.require_init();
	wanted := (SELECT p.categories FROM cdp.purpose p WHERE p.name = consented.purpose);
	IF wanted IS NULL THEN
		RAISE EXCEPTION 'purpose "%" does not exist', purpose USING ERRCODE = 'undefined_object',
			HINT = 'See the table cdp.purpose, or make it with cdp.create_purpose().';
	END IF;
	RETURN coalesce((SELECT cdp.allows(p.consents, wanted) FROM cdp.profile p
		WHERE p.profile_id = cdp.profile_id(consented.profile_id)), false);
END
$$;
COMMENT ON FUNCTION cdp.consented(bigint, text) IS 'Whether a person consents to a purpose now; false when nothing was ever said. Error 42704 when there is no such purpose';

-- tables and views

CREATE FUNCTION cdp.init_consent() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
BEGIN
	CREATE TABLE IF NOT EXISTS cdp.purpose (
		name text COLLATE "C" NOT NULL CONSTRAINT purpose_pkey PRIMARY KEY,
		categories text[] NOT NULL,
		description text
	);
	COMMENT ON TABLE cdp.purpose IS 'What data may be used for, and the consent categories it takes, all of them; changed by cdp.create_purpose()';

	CREATE TABLE IF NOT EXISTS cdp.consent (
		identifier_id bigint NOT NULL,
		category text NOT NULL,
		is_granted boolean NOT NULL,
		occurred_at timestamptz NOT NULL,
		recorded_at timestamptz NOT NULL
	);
	CREATE INDEX IF NOT EXISTS consent_identifier_id_idx ON cdp.consent (identifier_id, category, occurred_at);
	COMMENT ON TABLE cdp.consent IS 'The ledger: each change of a consent, by identifier; append-only. Messages that repeat a consent, and late ones that an earlier word outweighs, add no row';

	CREATE OR REPLACE VIEW cdp.consents AS
		SELECT i.namespace, i.value, i.profile_id, c.category, c.is_granted, c.occurred_at, c.recorded_at
		FROM cdp.consent c JOIN cdp.identity i ON i.identifier_id = c.identifier_id;
	COMMENT ON VIEW cdp.consents IS 'The ledger of consents with identifiers and their profiles';

	IF NOT EXISTS (SELECT FROM cdp.setup WHERE noun = 'consent') THEN
		PERFORM cdp.create_purpose('analytics', description => 'Measuring what people do');
		PERFORM cdp.create_purpose('marketing', description => 'Addressing people');
	END IF;
	PERFORM cdp.record_version('consent', 1);
END
$$;
COMMENT ON FUNCTION cdp.init_consent() IS 'Make the tables of purposes and consents; part of cdp.init()';
