-- Each setting has its documented default, range and reach, and refuses what is outside; cdp.clock drives the platform's time.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_base_settings;
CREATE DATABASE regress_base_settings TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_base_settings SET lc_messages = 'C';
ALTER DATABASE regress_base_settings SET jit = off;
ALTER DATABASE regress_base_settings SET client_min_messages = warning;
\c regress_base_settings
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
SELECT cdp.version() = extversion AS is_same_version FROM pg_extension WHERE extname = 'cdp';

SELECT name, setting, unit, vartype, context, min_val, max_val FROM pg_settings
WHERE name LIKE 'cdp.%' AND name NOT LIKE 'cdp.worker%' ORDER BY name COLLATE "C";
SELECT count(*) FROM pg_settings WHERE name LIKE 'cdp.%' AND (short_desc = '' OR short_desc !~ '\.$');

-- out of range, not a number, no such setting
SELECT statement, split_part(error_of(statement), ' ', 1) AS error FROM unnest(ARRAY['SET cdp.max_event_bytes = 1023', 'SET cdp.max_event_bytes = ''1GB''', 'SET cdp.max_batch_bytes = 0',
	'SET cdp.max_batch_events = 0', 'SET cdp.dedup_window = ''59s''', 'SET cdp.dedup_window = soon', 'SET cdp.process_immediately = perhaps', 'SET cdp.no_such = 1']) statement;
SET cdp.max_event_bytes = '64kB';
SHOW cdp.max_event_bytes;
SET cdp.dedup_window = '90min';
SHOW cdp.dedup_window;
RESET ALL;
SHOW cdp.dedup_window;

-- who may change what
CREATE ROLE regress_base_settings;
SET ROLE regress_base_settings;
SELECT statement, split_part(error_of(statement), ' ', 1) AS error FROM unnest(ARRAY['SET cdp.max_event_bytes = ''64kB''', 'SET cdp.max_batch_bytes = ''64kB''', 'SET cdp.max_batch_events = 10',
	'SET cdp.dedup_window = ''1h''', 'SET cdp.clock = ''2026-01-31T12:00:00Z''', 'SET cdp.process_immediately = off']) statement;
RESET ROLE;
RESET ALL;
DROP ROLE regress_base_settings;

-- the clock: empty means the transaction's start
SELECT cdp.clock_now() = now() AS is_now;
SET cdp.clock = '2026-01-31T12:00:00Z';
SELECT cdp.clock_now();
BEGIN;
SET LOCAL cdp.clock = '2026-02-01T00:00:00.5+01:00';
SELECT cdp.clock_now();
ROLLBACK;
SELECT cdp.clock_now();
SET cdp.clock = '';
SELECT cdp.clock_now() = now() AS is_now;

-- the timestamps that are read, in messages as here
CREATE FUNCTION clock_at(setting text) RETURNS timestamptz LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('cdp.clock', setting, true);
	RETURN cdp.clock_now();
EXCEPTION WHEN invalid_parameter_value THEN
	RETURN NULL;
END
$$;
SELECT t, clock_at(t) FROM unnest(ARRAY['2026-01-31', '2026-01-31T12:34Z', '2026-01-31T12:34:56Z', '2026-01-31t12:34:56z', '2026-01-31 12:34:56', '2026-01-31T12:34:56.7Z',
	'2026-01-31T12:34:56.123456Z', '2026-01-31T12:34:56.123456789Z', '2026-01-31T12:34:56+02', '2026-01-31T12:34:56+0230', '2026-01-31T12:34:56-02:30', '2026-01-31T24:00:00Z',
	'2026-12-31T23:59:60Z', '2024-02-29T00:00:00Z', '0001-01-01T00:00:00Z', '9999-12-31T23:59:59.999999Z', '1999-12-31T23:59:59.999999Z', '2000-01-01T00:00:00Z', '1970-01-01T00:00:00Z']) t;
SELECT t, clock_at(t) FROM unnest(ARRAY['now', 'yesterday', 'infinity', ' ', '2026', '2026-01', '20260131', '2026-1-31', '26-01-31', '2026-00-10', '2026-13-01', '2026-01-00', '2026-01-32',
	'2026-02-29', '2026-02-30', '1900-02-29', '0000-01-01', '10000-01-01', '-2026-01-31', '2026/01/31', '31.01.2026', '2026-01-31T', '2026-01-31T12', '2026-01-31T12Z', '2026-01-31T1:02:03Z',
	'2026-01-31T25:00:00Z', '2026-01-31T24:00:01Z', '2026-01-31T12:60:00Z', '2026-01-31T12:00:61Z', '2026-01-31T12:00:00.Z', '2026-01-31T12:00:00,5Z', '2026-01-31T12:00:00X', '2026-01-31T12:00:00+16',
	'2026-01-31T12:00:00+1', '2026-01-31T12:00:00+01:60', '2026-01-31T12:00:00 Z', '2026-01-31T12:00:00Z ', ' 2026-01-31T12:00:00Z', '2026-01-31T12:00:00ZZ', '2026-01-31X12:00:00Z',
	'0001-01-01T00:00:00+01:00', '9999-12-31T24:00:00Z', '1769860800', '1769860800000', '2026-W05-6', '2026-031']) t WHERE clock_at(t) IS NOT NULL;

-- what is set for a database or role counts, also where a session meets one of our types first in a parallel query
CREATE TABLE met AS SELECT 'email:ada@example.com'::cdp.identifier AS first;
ALTER DATABASE regress_base_settings SET cdp.max_event_bytes = '1MB';
ALTER DATABASE regress_base_settings SET cdp.dedup_window = '30 d';
ALTER DATABASE regress_base_settings SET cdp.process_immediately = off;
ALTER DATABASE regress_base_settings SET cdp.clock = '2026-01-31';
\c regress_base_settings
SELECT set_config(CASE WHEN current_setting('server_version_num')::integer >= 160000 THEN 'debug_parallel_query' ELSE 'force_parallel_mode' END, 'on', false);
SELECT first FROM met;
SELECT name, setting, source FROM pg_settings WHERE name LIKE 'cdp.%' AND source = 'database' ORDER BY name;

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_base_settings;
