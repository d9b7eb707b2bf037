-- Claim: two identifiers that are not one person say why not, with the rule, the values that compete and the evidence; links a profile hangs by are found.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_identity_question;
CREATE DATABASE regress_identity_question TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_identity_question SET lc_messages = 'C';
ALTER DATABASE regress_identity_question SET jit = off;
ALTER DATABASE regress_identity_question SET client_min_messages = warning;
\c regress_identity_question
CREATE EXTENSION cdp;
SELECT cdp.init();
SET cdp.clock = '2026-01-31T12:00:00Z';
SELECT cdp.ingest('{"batch":[
	{"type":"identify","userId":"ann","anonymousId":"tablet","traits":{"email":"ann@example.com"},"timestamp":"2026-01-01T00:00:00Z"},
	{"type":"identify","userId":"bob","anonymousId":"tablet","traits":{"email":"bob@example.com"},"timestamp":"2026-01-02T00:00:00Z"},
	{"type":"page","anonymousId":"tv","timestamp":"2026-01-02T00:00:00Z","context":{"traits":{"email":"ann@example.com"}}},
	{"type":"page","anonymousId":"tv","timestamp":"2026-01-03T00:00:00Z","context":{"traits":{"email":"eve@example.com"}}},
	{"type":"page","userId":"eve","timestamp":"2026-01-03T00:00:00Z"}]}');
-- a limit; whoever competes is named
SELECT * FROM cdp.why_not_linked('user_id:ann', 'user_id:bob');
-- a device that two people use
SELECT * FROM cdp.why_not_linked('email: ANN@example.com', 'email:eve@example.com');
-- nothing ever connected them; one person; never seen
SELECT * FROM cdp.why_not_linked('email:ann@example.com', 'user_id:eve');
SELECT * FROM cdp.why_not_linked('user_id:ann', 'email:ann@example.com');
SELECT * FROM cdp.why_not_linked('user_id:ann', 'user_id:nobody');
SELECT * FROM cdp.why_not_linked('user_id:ann', 'fax:1');
-- a ruling
SELECT cdp.deny('user_id:bob', 'email:bob@example.com', 'typed by the neighbour') AS ruling_id;
SELECT * FROM cdp.why_not_linked('email:bob@example.com', 'user_id:bob');
SELECT cdp.undo(1);

-- all hang by one link; a second link around takes two of them off the list
SELECT * FROM cdp.weak_links(cdp.profile_id('user_id:bob'));
SELECT events FROM cdp.ingest('{"type":"page","anonymousId":"tablet","timestamp":"2026-01-04T00:00:00Z","context":{"traits":{"email":"bob@example.com"}}}');
SELECT * FROM cdp.weak_links(cdp.profile_id('user_id:bob'));
-- bridges agree with taking each link away and looking again, on random graphs
CREATE TABLE edge (graph int, n serial, a bigint, b bigint);
INSERT INTO edge (graph, a, b) SELECT g, (hashint8(g * 1000 + i) & 7), (hashint8(g * 1000 + i + 500) & 7)
FROM generate_series(1, 60) g, generate_series(1, 3 + g % 9) i;
DELETE FROM edge x USING edge y WHERE x.graph = y.graph AND x.n > y.n AND least(x.a, x.b) = least(y.a, y.b) AND greatest(x.a, x.b) = greatest(y.a, y.b);
DELETE FROM edge WHERE a = b;
SELECT sum((cdp.ingest(format('{"type":"page","messageId":"e%s","userId":null,"context":{"externalIds":[{"type":"device_id","id":"%s-%s"},{"type":"device_id","id":"%s-%s"}]}}', n, graph, a, graph, b))).events) AS events FROM edge;
CREATE FUNCTION pieces(wanted int, without int) RETURNS bigint LANGUAGE sql AS $$
	SELECT count(DISTINCT component) FROM cdp.connected_components(format('SELECT a, b FROM edge WHERE graph = %s AND n <> %s UNION ALL SELECT a, null FROM edge WHERE graph = %s UNION ALL SELECT b, null FROM edge WHERE graph = %s', wanted, without, wanted, wanted))
$$;
WITH truth AS (
	SELECT n, graph || '-' || a AS x, graph || '-' || b AS y, pieces(graph, n) > pieces(graph, 0) AS is_bridge FROM edge
), found AS (
	SELECT DISTINCT cdp.value(w.a) AS x, cdp.value(w.b) AS y FROM cdp.profiles p CROSS JOIN LATERAL cdp.weak_links(p.profile_id) w
)
SELECT count(*) AS edges, count(*) FILTER (WHERE is_bridge) AS bridges, count(*) FILTER (WHERE is_bridge <> EXISTS (
	SELECT FROM found f WHERE (f.x, f.y) IN ((t.x, t.y), (t.y, t.x)))) AS wrong
FROM truth t;

-- for stewards
SELECT * FROM cdp.rejected_links ORDER BY 1, 2, 3;
SELECT identifiers, namespaces FROM cdp.largest_profiles ORDER BY 1 DESC LIMIT 1;
SELECT count(*) FROM cdp.hubs;
\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_identity_question;
