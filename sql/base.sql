-- base: what every room stands on.

CREATE FUNCTION cdp.version() RETURNS text
AS 'MODULE_PATHNAME', 'cdp_version' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.version() IS 'Version of the loaded library, such as 0.1.0; differs from pg_extension.extversion only between an upgrade of the package and ALTER EXTENSION cdp UPDATE';

CREATE FUNCTION cdp.clock_now() RETURNS timestamptz
AS 'MODULE_PATHNAME', 'cdp_clock_now' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.clock_now() IS 'The instant at which the platform believes to be: the setting cdp.clock where it is not empty, else the transaction''s start';

CREATE FUNCTION cdp.require_init() RETURNS void
AS 'MODULE_PATHNAME', 'cdp_require_init_sql' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.require_init() IS 'Error 55000, with a hint, unless cdp.init() has made the platform''s tables in this database';

CREATE FUNCTION cdp.parse_json(document text) RETURNS jsonb
AS 'MODULE_PATHNAME', 'cdp_parse_json' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.parse_json(text) IS 'JSON text as the platform reads messages: null instead of an error when it is no JSON, nests deeper than 100 or holds a number of more than 1,000 digits (written out, without exponent); \u0000 and lone surrogates become U+FFFD';

CREATE FUNCTION cdp.show_progress(what text) RETURNS void
AS 'MODULE_PATHNAME', 'cdp_show_progress_sql' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION cdp.show_progress(text) IS 'Say how far a long command is: other sessions see it at once, before the query in pg_stat_activity and as a row of cdp.status';

CREATE FUNCTION cdp.record_version(noun text, version integer) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	INSERT INTO cdp.setup AS s (noun, version) VALUES (record_version.noun, record_version.version)
	ON CONFLICT ON CONSTRAINT setup_pkey DO UPDATE SET version = excluded.version, set_up_at = now()
	WHERE s.version < excluded.version;
END
$$;
COMMENT ON FUNCTION cdp.record_version(text, integer) IS 'Note to which version the tables of a noun have been brought; called by each cdp.init_<noun>()';

CREATE FUNCTION cdp.init_base() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
BEGIN
	CREATE TABLE IF NOT EXISTS cdp.setup (
		noun text NOT NULL CONSTRAINT setup_pkey PRIMARY KEY,
		version integer NOT NULL,
		set_up_at timestamptz NOT NULL DEFAULT now()
	);
	COMMENT ON TABLE cdp.setup IS 'To which version the tables of each noun have been brought by cdp.init()';
	PERFORM cdp.record_version('base', 1);
END
$$;
COMMENT ON FUNCTION cdp.init_base() IS 'Make the table of versions; part of cdp.init()';
