-- Every aggregate of schema cdp gives in a parallel plan what it gives in a serial one; one without a test here fails.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_profile_parallel;
CREATE DATABASE regress_profile_parallel TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_profile_parallel SET lc_messages = 'C';
ALTER DATABASE regress_profile_parallel SET jit = off;
ALTER DATABASE regress_profile_parallel SET client_min_messages = warning;
\c regress_profile_parallel
CREATE EXTENSION cdp;

-- what is tested; values of it come from functions of a number
CREATE TABLE tested (aggregate text, value text, more text DEFAULT ''); -- more: further arguments
INSERT INTO tested VALUES
	('cdp.merge_traits(cdp.traits)', $$cdp.traits(jsonb_build_object('k' || n % 17, n % 101, 'l' || n % 5, repeat('x', n % 40), 'z', nullif(n % 3, 0)), '2026-01-01'::timestamptz + n % 977 * interval '1 minute', n % 5 - 2)$$),
	('cdp.merge_consents(cdp.consent_state)', $$format('{"c%s":{"at":"2026-01-%s","value":%s}}', n % 7, 10 + n % 20, CASE n % 2 WHEN 0 THEN 'true' ELSE 'false' END)::cdp.consent_state$$);
INSERT INTO tested SELECT aggregate, value, more FROM (VALUES ('cdp.latest(anyelement,timestamp with time zone,integer)', ', at, rank'), ('cdp.most_frequent(anyelement,timestamp with time zone)', ', at')) a (aggregate, more),
	(VALUES ('n % 97'), ('repeat(chr(65 + n % 5), n % 7)'), ('(ARRAY[''1'', ''1.0'', ''1.00''])[n % 3 + 1]::numeric'), ('(n % 7, chr(65 + n % 5))::public.pair'), ('json_build_object(''a'', n % 13)')) v (value);
INSERT INTO tested VALUES ('cdp.latest(anyelement,timestamp with time zone)', 'n % 97', ', at'), ('cdp.earliest(anyelement,timestamp with time zone)', '(n % 97)::text', ', at'), ('cdp.earliest(anyelement,timestamp with time zone,integer)', '(n % 97)::text', ', at, rank'), ('cdp.preferred(anyelement,integer,timestamp with time zone)', 'ARRAY[n % 97]', ', rank, at'),
	('cdp.most_frequent(anyelement)', 'md5((n % 97)::text)::uuid', '');
INSERT INTO tested VALUES ('cdp.merge_traits(jsonb,timestamp with time zone)', $$jsonb_build_object('k' || n % 17, n % 101, 'l', n % 3)$$, ', at'), ('cdp.merge_traits(jsonb,timestamp with time zone,integer)', $$jsonb_build_object('k' || n % 17, n % 101, 'l', n % 3)$$, ', at, rank');
INSERT INTO tested VALUES ('cdp.merge_timelines(cdp.timeline)', $$cdp.timeline('e' || n % 5, at, NULL, CASE WHEN n % 3 > 0 THEN (n % 7)::text END)$$, ''),
	('cdp.add_timelines(cdp.timeline)', $$cdp.timeline('e' || n % 5, at)$$, ''),
	('cdp.timeline_agg(text,timestamp with time zone)', $$'e' || n % 5$$, ', at'), ('cdp.timeline_agg(text,timestamp with time zone,jsonb)', $$'e' || n % 5$$, $$, at, jsonb_build_object('v', rank, 's', 'v' || n % 3)$$),
	('cdp.timeline_agg(text,timestamp with time zone,jsonb,text)', $$'e' || n % 5$$, $$, at, NULL, CASE WHEN n % 3 > 0 THEN (n % 7)::text END$$);
CREATE TYPE pair AS (a integer, b text);
SELECT p.oid::regprocedure AS without_test FROM pg_aggregate a JOIN pg_proc p ON p.oid = a.aggfnoid WHERE p.pronamespace = 'cdp'::regnamespace AND NOT EXISTS (SELECT FROM tested WHERE aggregate = p.oid::regprocedure::text) ORDER BY 1;
SELECT count(*) > 0 AS has_any, count(*) FILTER (WHERE p.proparallel <> 's') AS not_parallel_safe, count(*) FILTER (WHERE a.aggcombinefn = 0) AS without_combine,
	count(*) FILTER (WHERE a.aggtranstype = 'internal'::regtype AND (a.aggserialfn = 0 OR a.aggdeserialfn = 0)) AS without_serial FROM pg_aggregate a JOIN pg_proc p ON p.oid = a.aggfnoid WHERE p.pronamespace = 'cdp'::regnamespace;

CREATE TABLE number AS SELECT n, n % 100 AS g, n / 20 AS h, CASE WHEN n % 13 > 0 THEN '2026-01-01'::timestamptz + n % 977 * interval '1 minute' END AS at, nullif(n % 5, 3) - 2 AS rank FROM generate_series(1, 20000) n;
ALTER TABLE number SET (parallel_workers = 2);
ANALYZE number;

CREATE FUNCTION compare(aggregate text, value text, more text, key text, OUT is_parallel boolean, OUT had_workers boolean, OUT is_same boolean, OUT groups bigint) LANGUAGE plpgsql AS $$
DECLARE
	name text := split_part(aggregate, '(', 1);
	query text := format('SELECT %s AS g, %s(CASE WHEN n %% 11 > 0 THEN %s END%s) AS r FROM public.number WHERE n > 0 GROUP BY 1', key, name, value, more);
	line text;
	plan text := '';
	force text := CASE WHEN current_setting('server_version_num')::integer >= 160000 THEN 'debug_parallel_query' ELSE 'force_parallel_mode' END;
BEGIN
	SET LOCAL max_parallel_workers_per_gather = 0;
	EXECUTE 'CREATE TEMPORARY TABLE serial AS ' || query;
	SET LOCAL max_parallel_workers_per_gather = 2;
	SET LOCAL min_parallel_table_scan_size = 0;
	SET LOCAL parallel_setup_cost = 0;
	SET LOCAL parallel_tuple_cost = 0;
	SET LOCAL enable_sort = off;
	PERFORM set_config(force, 'on', true);
	FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) ' || query LOOP
		plan := plan || line || E'\n';
	END LOOP;
	is_parallel := plan ~ 'Gather' AND plan ~ 'Partial (Hash|Group)?Aggregate' AND plan ~ 'Finalize';
	had_workers := plan ~ 'Workers Planned: 2';
	EXECUTE 'CREATE TEMPORARY TABLE parallel AS ' || query;
	SET LOCAL max_parallel_workers_per_gather = 0;
	PERFORM set_config(force, 'off', true);
	SELECT count(*), bool_and(s.r::text IS NOT DISTINCT FROM p.r::text AND (s.r IS NULL) = (p.r IS NULL)) INTO groups, is_same FROM serial s FULL JOIN parallel p USING (g);
	DROP TABLE serial;
	DROP TABLE parallel;
END
$$;
SELECT t.aggregate, g AS key, c.* FROM tested t, unnest(ARRAY['1', 'g', 'h']) WITH ORDINALITY g (g, ord), LATERAL compare(t.aggregate, t.value, t.more, g) c ORDER BY t.aggregate, ord, t.value;

-- the functions and operators that queries over many rows use may run in workers, and say the same there
CREATE FUNCTION same_in_parallel(query text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	serial text;
	parallel text;
	force text := CASE WHEN current_setting('server_version_num')::integer >= 160000 THEN 'debug_parallel_query' ELSE 'force_parallel_mode' END;
BEGIN
	PERFORM set_config('max_parallel_workers_per_gather', '0', true);
	EXECUTE query INTO serial;
	PERFORM set_config('max_parallel_workers_per_gather', '2', true), set_config('min_parallel_table_scan_size', '0', true), set_config('parallel_setup_cost', '0', true), set_config('parallel_tuple_cost', '0', true), set_config(force, 'on', true);
	EXECUTE query INTO parallel;
	PERFORM set_config(force, 'off', true);
	RETURN serial = parallel;
END
$$;
SELECT same_in_parallel($$SELECT sum(cdp.identifier_hash(cdp.identifier('user_id', n::text))) FROM number$$) AS identifier,
	same_in_parallel($$SELECT count(*) || '/' || count(DISTINCT i) FROM (SELECT cdp.identifier('user_id', (n % 777)::text) AS i FROM number) s WHERE i > 'user_id:5'$$) AS comparison,
	same_in_parallel($$SELECT md5(string_agg(cdp.parse_json(format('{"a":[%s]}', n))::text, '' ORDER BY n)) FROM number$$) AS parse_json,
	same_in_parallel($$SELECT count(*) FROM number WHERE cdp.allows(format('{"c":{"at":"2026-01-31","value":%s}}', CASE WHEN n % 3 = 0 THEN 'true' ELSE 'false' END)::cdp.consent_state, '{c}')$$) AS allows;
-- the clock is the same in workers
SET cdp.clock = '2026-01-31T12:00:00Z';
SELECT same_in_parallel($$SELECT min(cdp.clock_now()) || '/' || max(cdp.clock_now()) FROM number$$) AS clock;
RESET cdp.clock;
BEGIN;
SELECT same_in_parallel($$SELECT min(cdp.clock_now()) || '/' || max(cdp.clock_now()) FROM number$$) AS clock;
COMMIT;

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_profile_parallel;
