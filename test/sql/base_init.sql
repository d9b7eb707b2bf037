-- cdp.init() can be repeated and keeps all data; before it every function says what to do; only a UTF8 database will do.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_base_init;
CREATE DATABASE regress_base_init TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_base_init SET lc_messages = 'C';
ALTER DATABASE regress_base_init SET jit = off;
ALTER DATABASE regress_base_init SET client_min_messages = warning;
\c regress_base_init
CREATE EXTENSION cdp;
CREATE FUNCTION error_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	message text;
	hint text;
BEGIN
	EXECUTE statement;
	RETURN 'none';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' | ', SQLSTATE, message, nullif(hint, ''));
END
$$;

-- before
SELECT call, error FROM unnest(ARRAY[
	$$SELECT cdp.ingest('{}')$$, $$SELECT cdp.ingest('{}'::jsonb)$$, $$SELECT cdp.process()$$, $$SELECT cdp.profile(1)$$, $$SELECT cdp.profile('email:ada@example.com')$$,
	$$SELECT cdp.profile_id(1)$$, $$SELECT cdp.profile_id('email:ada@example.com')$$, $$SELECT * FROM cdp.timeline(1)$$,
	$$SELECT * FROM cdp.explain_link('email:a', 'email:b')$$, $$SELECT * FROM cdp.resolve_all()$$, $$SELECT cdp.normalize('email:a')$$, $$SELECT cdp.is_blocked('email:a')$$,
	$$SELECT * FROM cdp.message_identifiers('track', '{}')$$, $$SELECT cdp.consented(1, 'marketing')$$, $$SELECT cdp.create_source('web')$$, $$SELECT cdp.create_namespace('crm_id')$$,
	$$SELECT cdp.block_value('x')$$, $$SELECT cdp.create_purpose('research')$$, $$SELECT cdp.drop_purpose('marketing')$$, $$SELECT cdp.replay_rejected()$$,
	$$SELECT * FROM cdp.maintain()$$, $$SELECT * FROM cdp.verify()$$]) call, error_of(call) error
WHERE error <> '55000 | cdp is not set up in this database | Run SELECT cdp.init() once.';
-- what needs no tables works
SELECT cdp.identifier('email', 'a'), cdp.parse_json('1'), cdp.traits('{"a": 1}', '2026-01-31T12:00:00Z'), cdp.clock_now() IS NOT NULL AS has_clock;
-- what is dropped with the extension is only code
DROP EXTENSION cdp;
SELECT count(*) FROM pg_namespace WHERE nspname = 'cdp';
CREATE EXTENSION cdp;

SELECT cdp.init();
SELECT noun, version FROM cdp.setup ORDER BY noun COLLATE "C";

-- after: what is missing is said as before
SELECT cdp.profile(1) IS NULL AS nobody, cdp.profile_id(1) IS NULL AS no_id, cdp.profile('email:ada@example.com') IS NULL AS none_so_named;
SELECT error_of($$SELECT cdp.profile('nonsense:x')$$);

-- the data, the configuration and what a user added stay
SET cdp.clock = '2026-01-31T12:00:00Z';
SELECT events FROM cdp.ingest('{"type":"identify","userId":"base-init-1","messageId":"1","traits":{"email":"Ada@Example.com"}}');
INSERT INTO cdp.inbox (received_at, payload) VALUES ('2026-01-31T12:00:00Z', 'waits');
SELECT cdp.create_namespace('user_id', 'person', 10, 3, paths => '{userId,user_id}');
DELETE FROM cdp.namespace WHERE name = 'advertising_id';
SELECT cdp.drop_purpose('marketing');
SELECT cdp.create_source('import', 7);
ALTER TABLE cdp.profile ADD COLUMN note text;
CREATE TABLE before AS
	SELECT 'namespace' AS what, to_jsonb(n)::text AS content FROM cdp.namespace n UNION ALL SELECT 'purpose', to_jsonb(p)::text FROM cdp.purpose p
	UNION ALL SELECT 'source', to_jsonb(s)::text FROM cdp.source s UNION ALL SELECT 'inbox', to_jsonb(i)::text FROM cdp.inbox i UNION ALL SELECT 'event', to_jsonb(e)::text FROM cdp.event e
	UNION ALL SELECT 'identity', to_jsonb(i)::text FROM cdp.identity i UNION ALL SELECT 'link', to_jsonb(l)::text FROM cdp.link l
	UNION ALL SELECT 'profile', to_jsonb(p)::text FROM cdp.profile p UNION ALL SELECT 'fragment', to_jsonb(f)::text FROM cdp.fragment f
	UNION ALL SELECT 'change', to_jsonb(c)::text FROM cdp.change c UNION ALL SELECT 'seen', to_jsonb(s)::text FROM cdp.seen s UNION ALL SELECT 'setup', to_jsonb(s)::text FROM cdp.setup s
	UNION ALL SELECT 'object', c.oid::regclass::text || c.relkind::text FROM pg_class c WHERE c.relnamespace = 'cdp'::regnamespace
	UNION ALL SELECT 'trigger', tgname::text FROM pg_trigger t;
SELECT cdp.init();
SELECT cdp.init();
CREATE TABLE after AS
	SELECT 'namespace' AS what, to_jsonb(n)::text AS content FROM cdp.namespace n UNION ALL SELECT 'purpose', to_jsonb(p)::text FROM cdp.purpose p
	UNION ALL SELECT 'source', to_jsonb(s)::text FROM cdp.source s UNION ALL SELECT 'inbox', to_jsonb(i)::text FROM cdp.inbox i UNION ALL SELECT 'event', to_jsonb(e)::text FROM cdp.event e
	UNION ALL SELECT 'identity', to_jsonb(i)::text FROM cdp.identity i UNION ALL SELECT 'link', to_jsonb(l)::text FROM cdp.link l
	UNION ALL SELECT 'profile', to_jsonb(p)::text FROM cdp.profile p UNION ALL SELECT 'fragment', to_jsonb(f)::text FROM cdp.fragment f
	UNION ALL SELECT 'change', to_jsonb(c)::text FROM cdp.change c UNION ALL SELECT 'seen', to_jsonb(s)::text FROM cdp.seen s UNION ALL SELECT 'setup', to_jsonb(s)::text FROM cdp.setup s
	UNION ALL SELECT 'object', c.oid::regclass::text || c.relkind::text FROM pg_class c WHERE c.relnamespace = 'cdp'::regnamespace
	UNION ALL SELECT 'trigger', tgname::text FROM pg_trigger t;
SELECT what, count(*) > 0 AS has_rows FROM before GROUP BY what ORDER BY what;
(TABLE before EXCEPT ALL TABLE after) UNION ALL (TABLE after EXCEPT ALL TABLE before);

-- each part alone can be repeated as well
SELECT cdp.init_base(), cdp.init_identifier(), cdp.init_event(), cdp.init_identity(), cdp.init_profile(), cdp.init_consent(), cdp.init_segment(), cdp.init_activation(), cdp.init_pipeline(), cdp.init_worker();

-- the tables are ordinary objects of who called, and hold the extension
SELECT count(*) FROM pg_depend d JOIN pg_class c ON d.classid = 'pg_class'::regclass AND d.objid = c.oid WHERE d.deptype = 'e' AND c.relnamespace = 'cdp'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S', 'm');
DROP EXTENSION cdp;

-- every table, view, column that needs one and function has a comment
SELECT c.oid::regclass FROM pg_class c WHERE c.relnamespace = 'cdp'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm') AND obj_description(c.oid, 'pg_class') IS NULL ORDER BY 1;
SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'cdp'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL ORDER BY 1;

-- a role without rights is refused plainly
CREATE ROLE regress_base_init;
SET ROLE regress_base_init;
SELECT error_of($$SELECT cdp.init()$$);
RESET ROLE;
DROP ROLE regress_base_init;

-- another encoding
\c postgres
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_base_init_ascii;
CREATE DATABASE regress_base_init_ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C';
\c regress_base_init_ascii
CREATE EXTENSION cdp;
DO $$ BEGIN PERFORM cdp.init(); EXCEPTION WHEN feature_not_supported THEN RAISE WARNING 'refused: %', SQLERRM; END $$;
SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'cdp' WHERE c.relkind = 'r';
\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_base_init_ascii;
DROP DATABASE regress_base_init;
