-- cdp.connected_components(): its scan, and where PostgreSQL's own takes its place
SET client_min_messages = warning;
CREATE TEMP TABLE same (a bigint, b bigint);
INSERT INTO same VALUES (1, 2), (4, 3), (2, 7), (5, NULL), (NULL, NULL), (NULL, 6);
ANALYZE same;

-- what it says, of each width of integers and of other types
SELECT * FROM cdp.connected_components('SELECT a, b FROM same');
SELECT * FROM cdp.connected_components('SELECT a::int, b::smallint FROM same', NULL::bigint) WHERE node <> component;
SELECT * FROM cdp.connected_components('SELECT ''user-'' || a, ''user-'' || b FROM same', NULL::text);
SELECT * FROM cdp.connected_components('SELECT md5(a::text)::uuid, md5(b::text)::uuid FROM same', NULL::uuid);
SELECT * FROM cdp.connected_components('SELECT a + 0.5::float8, b + 0.5::float8 FROM same', NULL::float8) LIMIT 2;
SELECT * FROM cdp.connected_components($$VALUES (1::float8, '-0'::float8), (2, 0), (3, 'NaN'), ('NaN', 4)$$, NULL::float8) WHERE node > 0;
SELECT * FROM cdp.connected_components('SELECT a, b FROM same WHERE false');
SELECT count(*) FROM cdp.connected_components('SELECT a, b FROM same') WHERE false;

-- how it is planned: a scan, but for what is rare
EXPLAIN (VERBOSE, COSTS off) SELECT component FROM cdp.connected_components('SELECT a, b FROM same', NULL::bigint) c WHERE node > 2;
EXPLAIN (COSTS off) SELECT c FROM cdp.connected_components('SELECT a, b FROM same') c;
EXPLAIN (COSTS off) SELECT 1 FROM cdp.connected_components('SELECT a, b FROM same') c WHERE c IS NOT NULL;
EXPLAIN (COSTS off) SELECT * FROM cdp.connected_components('SELECT a, b FROM same') WITH ORDINALITY;
SELECT c FROM cdp.connected_components('SELECT a, b FROM same') c WHERE c IS NOT NULL LIMIT 1;
SELECT * FROM cdp.connected_components('SELECT a, b FROM same') WITH ORDINALITY LIMIT 2;
SELECT * FROM ROWS FROM (cdp.connected_components('SELECT a, b FROM same'), generate_series(1, 2)) LIMIT 3;
SELECT cdp.connected_components('SELECT a, b FROM same') LIMIT 2;
SELECT s.a, c.component FROM same s JOIN cdp.connected_components('SELECT a, b FROM same') c ON c.node = s.a ORDER BY 1 FOR UPDATE OF s;

EXPLAIN (COSTS off) SELECT 1 FROM same s, cdp.connected_components('SELECT a, b FROM same') c FOR UPDATE OF s;
EXPLAIN (COSTS off) SELECT * FROM cdp.connected_components('SELECT a, b FROM same') UNION ALL SELECT * FROM cdp.connected_components('SELECT b, a FROM same');
SELECT * FROM cdp.connected_components('SELECT a, b FROM same') UNION ALL SELECT * FROM cdp.connected_components('SELECT b, a FROM same') OFFSET 6 LIMIT 2;
SELECT x, y FROM cdp.connected_components('SELECT a, b FROM same') x LEFT JOIN cdp.connected_components('SELECT b, a FROM same') y ON x.node = y.node AND x <> y ORDER BY x.node;

-- both give the same, of many
CREATE TEMP TABLE many AS SELECT n % 9973 AS a, n * n % 10007 + 5000 AS b FROM generate_series(1::bigint, 20000) n;
WITH scanned AS (SELECT node, component FROM cdp.connected_components('SELECT a, b FROM many')),
	stored AS (SELECT (c).node, (c).component FROM (SELECT cdp.connected_components('SELECT a, b FROM many') AS c) x)
SELECT (SELECT count(*) FROM scanned), (SELECT count(*) FROM stored), (SELECT count(*) FROM (SELECT * FROM scanned EXCEPT SELECT * FROM stored) x) AS differ;

-- it is run anew when its arguments are others, and gone through anew when they are not
CREATE TEMP SEQUENCE runs;
CREATE FUNCTION pg_temp.edges() RETURNS SETOF same LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('runs'); RETURN QUERY TABLE same; END $$;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET enable_material = off;
SELECT s.a, count(*), sum(c.node) FROM same s JOIN cdp.connected_components('SELECT a, b FROM pg_temp.edges()') c ON c.node >= s.a GROUP BY 1 ORDER BY 1;
SELECT currval('runs');
SELECT l.least, c.* FROM (VALUES (2), (4)) l(least), LATERAL cdp.connected_components(format('SELECT a, b FROM pg_temp.edges() WHERE a > %s', l.least)) c;
SELECT currval('runs');
SELECT s.a, (SELECT count(*) FROM cdp.connected_components('SELECT a, b FROM pg_temp.edges()') c WHERE c.node < s.a) FROM same s ORDER BY 1;
SELECT currval('runs');
SELECT s.a, (SELECT count(*) FROM cdp.connected_components((SELECT format('SELECT a, b FROM same WHERE a = %s OR a = %s', s.a, t.a) FROM same t WHERE t.a = 1)) c) FROM same s WHERE a < 5 ORDER BY 1;
RESET enable_hashjoin;
RESET enable_mergejoin;
RESET enable_material;

-- in both directions, from a cursor that outlives its transaction too
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM cdp.connected_components('SELECT a, b FROM same');
FETCH 2 FROM c;
FETCH BACKWARD 2 FROM c;
FETCH ALL FROM c;
FETCH BACKWARD 1 FROM c;
MOVE ABSOLUTE 3 FROM c;
FETCH 1 FROM c;
DECLARE held CURSOR WITH HOLD FOR SELECT * FROM cdp.connected_components('SELECT a, b FROM same');
COMMIT;
FETCH 1 FROM held;
CLOSE held;

-- as part of a view and of a plan that is kept; inside of its own query; twice
CREATE TEMP VIEW pieces AS SELECT component, count(*) AS nodes FROM cdp.connected_components('SELECT a, b FROM same', NULL::bigint) GROUP BY 1;
SELECT * FROM pieces ORDER BY 1;
SET plan_cache_mode = force_generic_plan;
PREPARE of (text) AS SELECT * FROM cdp.connected_components($1, NULL::bigint) LIMIT 1;
EXECUTE of('SELECT a, b FROM same');
EXECUTE of('SELECT b, a FROM same');
RESET plan_cache_mode;
SELECT * FROM cdp.connected_components('SELECT * FROM cdp.connected_components(''SELECT a, b FROM same'')') WHERE component = 1;
SELECT count(*) FROM cdp.connected_components('SELECT a, b FROM same') x JOIN cdp.connected_components('SELECT b, a FROM same') y USING (node);

-- errors
SELECT * FROM cdp.connected_components(NULL);
SELECT * FROM cdp.connected_components('SELECT 1');
SELECT * FROM cdp.connected_components('SELECT a::text, b::text FROM same');
SELECT * FROM cdp.connected_components('SELECT a, b FROM same', NULL::int);
SELECT * FROM cdp.connected_components('DELETE FROM same RETURNING a, b');
SELECT * FROM cdp.connected_components('SELECT a, 1 / 0 FROM same');
CREATE ROLE regress_identity_graph;
GRANT USAGE ON SCHEMA cdp TO regress_identity_graph;
REVOKE EXECUTE ON FUNCTION cdp.connected_components(text) FROM PUBLIC;
SET ROLE regress_identity_graph;
SELECT * FROM cdp.connected_components('SELECT 1, 2');
RESET ROLE;
GRANT EXECUTE ON FUNCTION cdp.connected_components(text) TO PUBLIC;
DROP OWNED BY regress_identity_graph;
DROP ROLE regress_identity_graph;
