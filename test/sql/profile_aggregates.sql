-- cdp.latest(), cdp.earliest(), cdp.preferred(), cdp.most_frequent() and cdp.merge_traits() of objects agree with plain SQL on any type, in any order of rows, whole or in parts; no cdp.init() needed.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_profile_aggregates;
CREATE DATABASE regress_profile_aggregates TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_profile_aggregates SET lc_messages = 'C';
ALTER DATABASE regress_profile_aggregates SET jit = off;
ALTER DATABASE regress_profile_aggregates SET client_min_messages = warning;
\c regress_profile_aggregates
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

-- the rules, by hand
CREATE TABLE plan (person text, value text, at timestamptz, rank integer);
INSERT INTO plan VALUES ('time', 'old', '2026-01-01', 9), ('time', 'new', '2026-01-02', 0), ('null value', 'old', '2026-01-01', 0), ('null value', NULL, '2026-01-02', 9), ('null time', 'dated', '2026-01-01', 0), ('null time', 'undated', NULL, 9),
	('ancient', 'undated', NULL, 0), ('ancient', 'ancient', '-infinity', 0), ('rank', 'low', '2026-01-01', 1), ('rank', 'high', '2026-01-01', 2), ('rank', 'none', '2026-01-01', NULL), ('value', 'a', '2026-01-01', 0), ('value', 'b', '2026-01-01', 0), ('value', 'B', '2026-01-01', 0),
	('often', 'twice', '2026-01-01', 0), ('often', 'twice', '2026-01-02', 0), ('often', 'once', '2026-01-03', 0), ('as often', 'early', '2026-01-01', 0), ('as often', 'late', '2026-01-02', 0), ('nothing', NULL, '2026-01-01', 0);
SELECT person, cdp.latest(value, at) AS latest, cdp.latest(value, at, rank) AS latest_ranked, cdp.earliest(value, at) AS earliest, cdp.earliest(value, at, rank) AS earliest_ranked, cdp.preferred(value, rank, at) AS preferred,
	cdp.most_frequent(value) AS most_frequent, cdp.most_frequent(value, at) AS most_frequent_timed FROM plan GROUP BY person ORDER BY person;
SELECT cdp.latest(value, at) IS NULL AS latest, cdp.most_frequent(value) IS NULL AS most_frequent, cdp.merge_traits('{"a":1}'::jsonb, at) IS NULL AS traits FROM plan WHERE false;

-- every rule on many types against plain SQL: times, ranks and values that often tie, some of them null; numbers that are equal and look different
CREATE TYPE pair AS (a integer, b text);
CREATE TYPE spot AS (a point);
CREATE TYPE colour AS ENUM ('red', 'green', 'blue');
CREATE DOMAIN short AS text CHECK (length(VALUE) < 20);
CREATE TABLE said AS SELECT n, n % 17 AS g, nullif(r % 9, 0) AS k, CASE r / 9 % 6 WHEN 0 THEN NULL WHEN 1 THEN 'infinity' WHEN 2 THEN '-infinity' ELSE '2026-01-01'::timestamptz + r / 54 % 3 * interval '1 hour' END AS at, nullif(r / 162 % 4 - 1, 2) AS rank
FROM generate_series(1, 600) n, LATERAL (SELECT ('x' || substr(md5(n::text), 1, 7))::bit(28)::integer AS r) x;
CREATE TABLE kind (expression text, ordered text); -- by what it is ordered before its text form
INSERT INTO kind VALUES ('k', 's.v'), ('k::smallint', 's.v'), ('k::bigint', 's.v'), ('(k > 4)', 's.v'), ('k::float4', 's.v'), ('(ARRAY[''NaN'', ''-0'', ''0'', ''-infinity'', ''1e300''])[k % 6]::float8', 's.v'), ('(ARRAY[''1'', ''1.0'', ''1.00'', ''NaN'', ''-7''])[k % 6]::numeric', 's.v'),
	('repeat(chr(64 + k), k * k)', 's.v COLLATE "C"'), ('(ARRAY[''a'', ''B'', ''ä'', '''', ''aa''])[k % 6]', 's.v COLLATE "C"'), ('repeat(chr(64 + k), k)::varchar', 's.v COLLATE "C"'), ('k::text::character(5)', 's.v COLLATE "C"'), ('k::text::short', 's.v COLLATE "C"'), ('k::text::name', 's.v COLLATE "C"'), ('k::text::"char"', 's.v'),
	('k::text::bytea', 's.v'), ('md5(k::text)::uuid', 's.v'), ('(k || '' days'')::interval', 's.v'), ('(k * 24 || '' hours'')::interval + (k % 2 || '' days'')::interval', 's.v'), ('''2026-01-01''::date + k', 's.v'), ('''2026-01-01''::timestamptz + k * interval ''1 s''', 's.v'), ('''12:00''::time + k * interval ''1 s''', 's.v'),
	('jsonb_build_object(''a'', k, ''b'', repeat(''x'', k))', 's.v'), ('to_jsonb((ARRAY[1, 1.0, 1.00])[k % 4])', 's.v'), ('json_build_object(''a'', k)', 's.v::text'), ('point(k, 1)', 's.v::text'), ('format(''<a>%s</a>'', k)::xml', 's.v::text'), ('box(point(k, 1), point(1, k))', 's.v::text'),
	('ARRAY[k, 1]', 's.v'), ('ARRAY[k::text, ''x'']', 's.v'), ('ARRAY[point(k, 1)]', 's.v::text'), ('CASE WHEN k > 0 THEN ROW(k % 3, chr(64 + k))::pair END', 's.v'), ('ARRAY[ROW(k, chr(64 + k))::pair]', 's.v'), ('CASE WHEN k > 0 THEN ROW(point(k, 1))::spot END', 's.v::text'),
	('(enum_range(NULL::colour))[k % 4]', 's.v'), ('int4range(k, 20)', 's.v'), ('int4multirange(int4range(k, 20))', 's.v'), ('(''10.0.0.'' || k)::inet', 's.v'), ('k::money', 's.v'), ('repeat(''1'', k)::varbit', 's.v'), ('(''user_id:'' || k)::cdp.identifier', 's.v');
CREATE FUNCTION compare(expression text, ordered text, OUT type text, OUT groups bigint, OUT differences bigint) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE TEMPORARY TABLE s AS SELECT n, g, %s AS v, at, rank FROM said', expression);
	EXECUTE format($q$
		SELECT min(pg_typeof(a.latest)::text), count(*), count(*) FILTER (WHERE (a.latest::text, a.latest_ranked::text, a.earliest::text, a.earliest_ranked::text, a.preferred::text, a.most_frequent::text, a.most_frequent_timed::text)
			IS DISTINCT FROM (b.latest, b.latest_ranked, b.earliest, b.earliest_ranked, b.preferred, b.most_frequent, b.most_frequent_timed))
		FROM (SELECT g, cdp.latest(v, at) AS latest, cdp.latest(v, at, rank) AS latest_ranked, cdp.earliest(v, at) AS earliest, cdp.earliest(v, at, rank) AS earliest_ranked, cdp.preferred(v, rank, at) AS preferred,
			cdp.most_frequent(v) AS most_frequent, cdp.most_frequent(v, at) AS most_frequent_timed FROM s GROUP BY g) a
		JOIN (SELECT k AS g, (SELECT v::text FROM s WHERE g = k AND v::text IS NOT NULL ORDER BY at DESC NULLS LAST, %1$s DESC, v::text COLLATE "C" DESC LIMIT 1) AS latest,
			(SELECT v::text FROM s WHERE g = k AND v::text IS NOT NULL ORDER BY at DESC NULLS LAST, rank DESC NULLS LAST, %1$s DESC, v::text COLLATE "C" DESC LIMIT 1) AS latest_ranked,
			(SELECT v::text FROM s WHERE g = k AND v::text IS NOT NULL ORDER BY at NULLS LAST, %1$s DESC, v::text COLLATE "C" DESC LIMIT 1) AS earliest,
			(SELECT v::text FROM s WHERE g = k AND v::text IS NOT NULL ORDER BY at NULLS LAST, rank DESC NULLS LAST, %1$s DESC, v::text COLLATE "C" DESC LIMIT 1) AS earliest_ranked,
			(SELECT v::text FROM s WHERE g = k AND v::text IS NOT NULL ORDER BY rank DESC NULLS LAST, at DESC NULLS LAST, %1$s DESC, v::text COLLATE "C" DESC LIMIT 1) AS preferred,
			(SELECT max(v::text COLLATE "C") FROM s WHERE g = k AND v::text IS NOT NULL GROUP BY %1$s ORDER BY count(*) DESC, %1$s DESC LIMIT 1) AS most_frequent,
			(SELECT max(v::text COLLATE "C") FROM s WHERE g = k AND v::text IS NOT NULL GROUP BY %1$s ORDER BY count(*) DESC, max(at) DESC NULLS LAST, %1$s DESC LIMIT 1) AS most_frequent_timed
			FROM generate_series(0, 16) k) b USING (g)$q$, ordered) INTO type, groups, differences;
	DROP TABLE s;
END
$$;
SELECT c.* FROM kind, LATERAL compare(expression, ordered) c;
-- an anonymous row too, which has no name
SELECT cdp.latest(ROW(n, 'x'), at) FROM said WHERE n < 20 AND isfinite(at);

-- many values, long values, values of more than a page out of line
SELECT cdp.most_frequent(v) AS most_frequent, mode() WITHIN GROUP (ORDER BY v) AS by_mode FROM (SELECT (sqrt(n)::integer * 7919) % 20011 AS v FROM generate_series(1, 60000) n UNION ALL SELECT 20012 FROM generate_series(1, 300)) s;
CREATE TABLE long AS SELECT n, string_agg(md5(n::text || i), '') AS v FROM generate_series(1, 30) n, generate_series(1, 700 - n) i GROUP BY n;
SELECT md5(cdp.latest(v, '2026-01-01'::timestamptz + n % 7 * interval '1 day')) = (SELECT md5(v) FROM long ORDER BY n % 7 DESC, v DESC LIMIT 1) AS latest, length(cdp.earliest(v, NULL)) = (SELECT length(v) FROM long ORDER BY v DESC LIMIT 1) AS earliest, cdp.most_frequent(v) = max(v) AS most_frequent FROM long;
SELECT length(cdp.latest(repeat('x', n * 1000), '2026-01-01'::timestamptz + n * interval '1 day')) AS growing, length(cdp.latest(repeat('x', 100000 - n * 1000), '2026-01-01'::timestamptz + n * interval '1 day')) AS shrinking FROM generate_series(1, 99) n;

-- in any order; over windows, with FILTER and GROUPING SETS
SELECT count(DISTINCT a) AS results FROM (SELECT (cdp.latest(v, at, rank ORDER BY o), cdp.earliest(v, at, rank ORDER BY o), cdp.preferred(v, rank, at ORDER BY o), cdp.most_frequent(v, at ORDER BY o), cdp.merge_traits(t, nullif(at, 'infinity'), rank ORDER BY o)::text)::text AS a
	FROM generate_series(1, 30) shuffle, LATERAL (SELECT (ARRAY[1.0, 1.00, 2])[k % 4] AS v, greatest(at, '2026-01-01') AS at, rank, jsonb_build_object('a', k, 'b' || n % 5, n) AS t, md5(n || '/' || shuffle) AS o FROM said) s GROUP BY shuffle) s;
SELECT n, k, cdp.latest(k, at) OVER w AS latest, cdp.most_frequent(k) OVER w AS most_frequent, cdp.latest(repeat(chr(64 + k), k), at) OVER w AS text FROM said WHERE n <= 8 WINDOW w AS (ORDER BY n) ORDER BY n;
SELECT n, cdp.latest(chr(64 + k), at) OVER w AS moving FROM said WHERE n <= 8 WINDOW w AS (ORDER BY n ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) ORDER BY n;
SELECT g, cdp.latest(k, at) FILTER (WHERE k < 4) AS latest, cdp.most_frequent(DISTINCT k) AS of_distinct FROM said WHERE g < 2 GROUP BY GROUPING SETS ((), (g)) ORDER BY g;

-- what there is to know about them: safe in workers, combined, of one concrete state
SELECT p.oid::regprocedure AS aggregate, p.proparallel, a.aggtranstype::regtype, a.aggcombinefn::regprocedure FROM pg_aggregate a JOIN pg_proc p ON p.oid = a.aggfnoid WHERE p.pronamespace = 'cdp'::regnamespace AND p.proname IN ('latest', 'earliest', 'preferred', 'most_frequent', 'merge_traits') ORDER BY 1::text COLLATE "C";

-- a state in its text form, as it goes from node to node: parts merge to the whole
CREATE AGGREGATE latest_state(anyelement, timestamptz, integer) (SFUNC = cdp.latest_step, STYPE = cdp.candidates);
CREATE AGGREGATE earliest_state(anyelement, timestamptz) (SFUNC = cdp.earliest_step, STYPE = cdp.candidates);
CREATE AGGREGATE preferred_state(anyelement, integer, timestamptz) (SFUNC = cdp.preferred_step, STYPE = cdp.candidates);
CREATE AGGREGATE most_frequent_state(anyelement, timestamptz) (SFUNC = cdp.most_frequent_step, STYPE = cdp.candidates);
SELECT latest_state(ROW(k, 'x')::pair, at, rank) AS state FROM said WHERE n < 20;
SELECT most_frequent_state((ARRAY['1', '1.0', 'NaN'])[k % 4]::numeric, at) AS state FROM said WHERE n < 40;
SELECT earliest_state(E'"\\\t\u00e4'::text, '4713-01-01 BC') AS state;
CREATE FUNCTION in_parts(expression text, OUT groups bigint, OUT differences bigint) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE TEMPORARY TABLE s AS SELECT n, g, %s AS v, at, rank FROM said', expression);
	SELECT count(*), count(*) FILTER (WHERE b::text <> (cdp.merge(c::text::cdp.candidates, d))::text OR b::text <> cdp.merge(d, c::text::cdp.candidates)::text OR b::text <> b::text::cdp.candidates::text) INTO groups, differences
	FROM (SELECT g, f, latest_state(v, at, rank) AS b, latest_state(v, at, rank) FILTER (WHERE n % 3 > 0) AS c, latest_state(v, at, rank) FILTER (WHERE n % 3 = 0) AS d FROM s, (VALUES (1)) f (f) GROUP BY g, f
		UNION ALL SELECT g, 2, earliest_state(v, at), earliest_state(v, at) FILTER (WHERE n % 3 > 0), earliest_state(v, at) FILTER (WHERE n % 3 = 0) FROM s GROUP BY g
		UNION ALL SELECT g, 3, preferred_state(v, rank, at), preferred_state(v, rank, at) FILTER (WHERE n % 3 > 0), preferred_state(v, rank, at) FILTER (WHERE n % 3 = 0) FROM s GROUP BY g
		UNION ALL SELECT g, 4, most_frequent_state(v, at), most_frequent_state(v, at) FILTER (WHERE n % 3 > 0), most_frequent_state(v, at) FILTER (WHERE n % 3 = 0) FROM s GROUP BY g) x;
	DROP TABLE s;
END
$$;
SELECT sum(p.groups) AS groups, sum(p.differences) AS differences FROM kind, LATERAL in_parts(expression) p;

-- states that somebody made up: the shape is checked at once, the type and its values when an aggregate takes them in
CREATE FUNCTION state(rule text, type text, value text DEFAULT '1', at text DEFAULT '0', count text DEFAULT '1', rank text DEFAULT '0') RETURNS text LANGUAGE sql AS $$
	SELECT format('{"rule": "%s", "type": "%s", "candidates": [{"value": "%s", "count": %s, "at": %s, "rank": %s}]}', rule, type, value, count, at, rank) $$;
CREATE TABLE malformed (literal text);
INSERT INTO malformed VALUES (''), ('{}'), ('[]'), ('null'), ('1'), ('{"rule": "latest", "type": "int4"}'), ('{"rule": "latest", "type": "int4", "candidates": []}'), ('{"rule": "latest", "type": "int4", "candidates": {}}'), ('{"rule": "latest", "type": "int4", "candidates": [1]}'), ('{"rule": "latest", "type": "int4", "candidates": [{}]}'),
	('{"rule": "latest", "type": "int4", "candidates": [[]]}'), ('{"rule": "latest", "type": "int4", "candidates": [{"value": 1, "count": 1, "at": 0, "rank": 0}]}'), (state('newest', 'int4')), (state('', 'int4')), (replace(state('latest', 'int4'), '"int4"', '23')), (replace(state('latest', 'int4'), '"latest"', '0')), (state('latest', 'int4', 'secret', 'null', '0')),
	(state('latest', 'int4', 'secret', 'null', '-1')), (state('latest', 'int4', 'secret', 'null', '1.5')), (state('latest', 'int4', 'secret', 'null', '1e3')), (state('latest', 'int4', 'secret', 'null', '9223372036854775808')), (state('latest', 'int4', 'secret', 'null', '99999999999999999999999999')), (state('latest', 'int4', 'secret', 'null', 'null')),
	(state('latest', 'int4', 'secret', '"0"')), (state('latest', 'int4', 'secret', '9223372036854775806')), (state('latest', 'int4', 'secret', '-9223372036854775807')), (state('latest', 'int4', 'secret', 'true')), (state('latest', 'int4', 'secret', '0', '1', '2147483648')), (state('latest', 'int4', 'secret', '0', '1', '-2147483649')), (state('latest', 'int4', 'secret', '0', '1', '"0"')),
	(state('latest', 'int4') || 'x'), (replace(state('latest', 'int4'), '}]}', '}, 1]}')), (replace(state('latest', 'int4'), ', "rank": 0', ''));
SELECT count(*) >= 30 AS is_enough, count(*) FILTER (WHERE error !~ '^22P02') AS taken, count(*) FILTER (WHERE error ~ 'secret') AS shown, count(DISTINCT error) AS messages, min(error) AS message FROM malformed, LATERAL (SELECT error_of(format('SELECT %L::cdp.candidates', literal)) AS error) e;
SELECT t.type, t.value, error_of(format('SELECT cdp.merge(%1$L::cdp.candidates, %1$L::cdp.candidates)', state('latest', t.type, t.value))) FROM (VALUES (1, 'int4', '1'), (2, 'int4', 'x'), (3, 'int4', '99999999999'), (4, 'no such type', ''), (5, 'nowhere.type', ''), (6, '', ''), (7, 'internal', ''), (8, 'cstring', 'x'), (9, 'anyelement', 'x'), (10, 'unknown', 'x'), (11, 'void', ''),
	(12, 'trigger', ''), (13, 'record', '(1,2)'), (14, 'record[]', '{}'), (15, 'anyarray', '{}'), (16, 'pg_node_tree', '{}'), (17, '999999999', ''), (18, '0', ''), (19, '-', ''), (20, 'pair', '(1,2)'), (21, 'pair', '(1,2,3)'), (22, 'pg_class', '(1)'), (23, 'short', 'much longer than twenty'), (24, 'int4; DROP TABLE said', '1'), (25, 'cdp.candidates', 'x'), (26, 'oid', '1'), (27, 'regclass', 'said'), (28, 'int4[]', '{1,{2}}')) t (n, type, value) ORDER BY n;
SELECT error_of(format('SELECT cdp.merge(%L::cdp.candidates, %L::cdp.candidates)', a, b)) FROM (VALUES (state('latest', 'int4'), state('earliest', 'int4')), (state('latest', 'int4'), state('latest', 'int8')), (state('latest', 'text'), state('latest', 'varchar')), (state('latest', 'int4'), state('latest', 'pg_catalog.int4'))) v (a, b);
-- counts that cannot be added stay at the most there is; a rule of one keeps one of many
SELECT cdp.merge(a::cdp.candidates, a::cdp.candidates) FROM (SELECT state('most_frequent', 'int4', '1', 'null', '9223372036854775807') AS a) s;
SELECT cdp.merge(a::cdp.candidates, a::cdp.candidates) FROM (SELECT '{"rule": "latest", "type": "int4", "candidates": [{"value": "1", "count": 1, "at": 5, "rank": 0}, {"value": "2", "count": 1, "at": 7, "rank": 0}, {"value": "3", "count": 1, "at": null, "rank": 0}]}' AS a) s;
-- a state of one type is no result of another, nor taken in by another aggregate
CREATE FUNCTION take(state cdp.candidates, more text) RETURNS cdp.candidates LANGUAGE sql AS $$ SELECT coalesce(cdp.merge(state, more::cdp.candidates), more::cdp.candidates) $$;
CREATE AGGREGATE of_states(text) (SFUNC = take, STYPE = cdp.candidates, FINALFUNC = cdp.winner, FINALFUNC_EXTRA);
SELECT of_states(s) AS winner FROM (VALUES (state('latest', 'text', 'old', '0')), (state('latest', 'text', 'new', '1'))) v (s);
SELECT error_of($$SELECT of_states(state('latest', 'int4', '7'))$$), error_of($$SELECT of_states(state('latest', 'varchar', '7'))$$);
CREATE AGGREGATE begun(integer, timestamptz) (SFUNC = cdp.latest_step, STYPE = cdp.candidates, INITCOND = '{"rule": "latest", "type": "int4", "candidates": [{"value": "1", "count": 1, "at": 0, "rank": 0}]}');
SELECT error_of($$SELECT begun(1, '2026-01-01')$$);
SELECT error_of($$SELECT cdp.latest_step(NULL, 1, '2026-01-01')$$), error_of($$SELECT cdp.winner(NULL, 1)$$) AS of_nothing, error_of($$SELECT cdp.latest(cash_out('1'), now())$$), error_of($$SELECT cdp.latest('a', now())$$);
-- mutants of a good state are refused or read, and nothing worse
SELECT count(*) AS mutants, bool_or(error = 'none') AS some_are_read, bool_or(error <> 'none') AS some_are_refused, string_agg(DISTINCT split_part(error, ' ', 1), ', ' ORDER BY split_part(error, ' ', 1)) AS errors
FROM generate_series(1, 300) n, LATERAL (SELECT (SELECT most_frequent_state(ARRAY[k, 2], at) FROM said WHERE n < 20)::text AS good) g, LATERAL (SELECT ('x' || substr(md5(n::text), 1, 6))::bit(24)::integer AS r) r,
	LATERAL (SELECT error_of(format('SELECT cdp.merge(%1$L::cdp.candidates, %1$L)::text', overlay(good PLACING chr(32 + r / 1000 % 95) FROM 1 + r % length(good)))) AS error) e;
-- a state kept while its type changes is read as the type is by then
CREATE TABLE kept AS SELECT latest_state(ROW(1, 'x')::pair, '2026-01-01', 0)::text::cdp.candidates AS state;
ALTER TYPE pair ALTER ATTRIBUTE a TYPE text, ADD ATTRIBUTE c integer;
SELECT state FROM kept;
SELECT error_of($$SELECT cdp.merge(state, state) FROM kept$$);

-- anybody may use the aggregates, nobody but the owner their support functions
DROP ROLE IF EXISTS regress_aggregates_analyst;
CREATE ROLE regress_aggregates_analyst;
GRANT USAGE ON SCHEMA cdp TO regress_aggregates_analyst;
GRANT SELECT ON said TO regress_aggregates_analyst;
SET ROLE regress_aggregates_analyst;
SELECT cdp.latest(k, at) AS latest, cdp.earliest(k, at) AS earliest, cdp.preferred(k, rank, at) AS preferred, cdp.most_frequent(k) AS most_frequent, cdp.merge_traits(jsonb_build_object('k', k), '2026-01-01') IS NOT NULL AS traits FROM said;
SELECT error_of($$SELECT cdp.latest_step(NULL, 1, '2026-01-01')$$), error_of($$SELECT cdp.merge(s, s) FROM (SELECT '{"rule": "latest", "type": "int4", "candidates": [{"value": "1", "count": 1, "at": 0, "rank": 0}]}'::cdp.candidates AS s) s$$), error_of($$SELECT cdp.winner(NULL, 1)$$), error_of($$CREATE AGGREGATE pg_temp.mine(integer, timestamptz) (SFUNC = cdp.latest_step, STYPE = cdp.candidates)$$);
RESET ROLE;
SELECT p.oid::regprocedure AS may_be_called FROM pg_proc p WHERE p.pronamespace = 'cdp'::regnamespace AND p.prokind = 'f' AND 'cdp.candidates'::regtype = ANY (p.proargtypes::oid[]) AND has_function_privilege('regress_aggregates_analyst', p.oid, 'EXECUTE') ORDER BY 1;
DROP OWNED BY regress_aggregates_analyst;
DROP ROLE regress_aggregates_analyst;

-- objects as traits: against plain SQL (one value for each time and rank), and against the aggregate of traits
CREATE TABLE object AS SELECT n, n % 17 AS g, CASE WHEN r % 13 > 0 THEN jsonb_build_object('k' || r % 5, CASE (r / 75 % 5 + r / 375 % 3 + r % 5) % 5 WHEN 0 THEN 'null'::jsonb WHEN 1 THEN '"a"' WHEN 2 THEN '"b"' WHEN 3 THEN '{"x":[1]}' ELSE '[]' END, 'l', r / 75 % 5 * 7 + r / 375 % 3) END AS object,
	'2026-01-01'::timestamptz + r / 75 % 5 * interval '1 hour' AS at, r / 375 % 3 - 1 AS rank FROM generate_series(1, 1500) n, LATERAL (SELECT ('x' || substr(md5(n::text), 1, 7))::bit(28)::integer AS r) x;
SELECT count(*) AS groups, count(*) FILTER (WHERE NOT cdp.is_same(a.traits, a.of_traits)) AS differ_from_traits, count(*) FILTER (WHERE a.traits::jsonb <> b.traits) AS differ_from_sql, count(*) FILTER (WHERE NOT cdp.is_same(a.unranked, a.rank_0)) AS differ_without_rank
FROM (SELECT g, cdp.merge_traits(object, at, rank) AS traits, cdp.merge_traits(cdp.traits(object, at, rank)) AS of_traits, cdp.merge_traits(object, at) AS unranked, cdp.merge_traits(object, at, 0) AS rank_0 FROM object GROUP BY g) a
JOIN (SELECT g, jsonb_object_agg(key, value) FILTER (WHERE value <> 'null') AS traits FROM (
	SELECT DISTINCT ON (g, key) g, key, value FROM object, jsonb_each(object) ORDER BY g, key, at DESC, rank DESC) d GROUP BY g) b USING (g);
SELECT cdp.merge_traits(object, at, rank) AS traits FROM (VALUES ('{"a": 1, "b": 1}'::jsonb, NULL::timestamptz, 5), ('{"a": 2}', '0001-01-02', 0), (NULL, 'infinity', 0)) v (object, at, rank);
SELECT cdp.merge_traits(object, at, rank) AS traits FROM (VALUES ('{"a": 1, "b": 1}'::jsonb, '2026-01-01'::timestamptz, NULL), ('{"a": 0}', '2026-01-01', -32766)) v (object, at, rank);
SELECT error_of($$SELECT cdp.merge_traits('[1]'::jsonb, now())$$), error_of($$SELECT cdp.merge_traits('{"a":1}'::jsonb, 'infinity')$$), error_of($$SELECT cdp.merge_traits('{"a":1}'::jsonb, now(), 32768)$$);

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_profile_aggregates;
