-- cdp.process() takes a batch of the inbox in the caller's transaction and says what became of it; cdp.ingest() shows its effect at once, or leaves the work to it.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipeline_process;
CREATE DATABASE regress_pipeline_process TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_pipeline_process SET lc_messages = 'C';
ALTER DATABASE regress_pipeline_process SET jit = off;
ALTER DATABASE regress_pipeline_process SET client_min_messages = warning;
\c regress_pipeline_process
CREATE EXTENSION cdp;
SELECT cdp.init();
SET cdp.clock = '2026-01-31T12:00:00Z';
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

-- an empty inbox
SELECT * FROM cdp.process();
-- counts, at most max rows at a time, in the order of coming
BEGIN;
INSERT INTO cdp.inbox (received_at, payload) SELECT '2026-01-31T12:00:00Z', format('{"type":"track","event":"e","messageId":"m%s","userId":"u%s"}', n, n % 3) FROM generate_series(1, 10) n;
SELECT * FROM cdp.process(4);
SELECT count(*) AS waiting FROM cdp.inbox;
SELECT string_agg(message_id, ' ' ORDER BY message_id) FROM cdp.events;
SELECT * FROM cdp.process(1);
SELECT * FROM cdp.process(1000);
SELECT * FROM cdp.process();
COMMIT;
-- everything at once: events, duplicates, rejected, merges, splits
BEGIN;
COPY cdp.inbox (source, received_at, payload) FROM stdin;
default	2026-01-31 12:00:00+00	{"type":"track","event":"e","messageId":"n1","userId":"v1"}
default	2026-01-31 12:00:00+00	{"type":"track","event":"e","messageId":"n1","userId":"v1"}
app	2026-01-31 12:00:00+00	{"type":"track","event":"e","messageId":"n1","anonymousId":"w1"}
default	2026-01-31 12:00:00+00	not json
default	2026-01-31 12:00:00+00	{"batch":[{"type":"track","event":"e","messageId":"n2","userId":"v1"},{"type":"track"},{"type":"track","event":"e","messageId":"n2","userId":"v1"}]}
\.
SELECT * FROM cdp.process();
INSERT INTO cdp.inbox (received_at, payload) VALUES ('2026-01-31T12:01:00Z', '{"type":"track","event":"e","messageId":"n3","userId":"v1","anonymousId":"w1"}');
SELECT * FROM cdp.process();
INSERT INTO cdp.inbox (received_at, payload) VALUES ('2026-01-31T12:02:00Z', '{"type":"track","event":"e","messageId":"n4","userId":"v2","anonymousId":"w1"}');
SELECT * FROM cdp.process();
COMMIT;
-- entered and left
SELECT cdp.create_segment('golden', $$trait plan = 'gold'$$);
BEGIN;
INSERT INTO cdp.inbox (received_at, payload) SELECT '2026-01-31T12:03:00Z', format('{"type":"identify","userId":"s%s","traits":{"plan":"gold"}}', n) FROM generate_series(1, 3) n;
SELECT * FROM cdp.process();
INSERT INTO cdp.inbox (received_at, payload) VALUES ('2026-01-31T12:04:00Z', '{"type":"identify","userId":"s2","traits":{"plan":"lead"}}');
SELECT * FROM cdp.process();
COMMIT;
-- arguments
SELECT call, error_of(call) FROM unnest(ARRAY['SELECT cdp.process(0)', 'SELECT cdp.process(-1)', 'SELECT cdp.process(-2147483648)']) call;
SELECT cdp.process(NULL) IS NULL AS is_strict;
SELECT * FROM cdp.process(2147483647);

-- an ingest in a transaction: its effect is there at once, to every kind of reading, and nothing is left after ROLLBACK
CREATE FUNCTION figures() RETURNS TABLE (what text, n bigint) LANGUAGE sql AS $$
	SELECT 'event', count(*) FROM cdp.event UNION ALL SELECT 'identity', count(*) FROM cdp.identity UNION ALL SELECT 'link', count(*) FROM cdp.link UNION ALL SELECT 'profile', count(*) FROM cdp.profile UNION ALL SELECT 'fragment', count(*) FROM cdp.fragment
	UNION ALL SELECT 'consent', count(*) FROM cdp.consent UNION ALL SELECT 'change', count(*) FROM cdp.change UNION ALL SELECT 'seen', count(*) FROM cdp.seen UNION ALL SELECT 'rejected', count(*) FROM cdp.rejected UNION ALL SELECT 'source', count(*) FROM cdp.source
	UNION ALL SELECT 'membership', count(*) FROM cdp.membership UNION ALL SELECT 'identity_change', count(*) FROM cdp.identity_change UNION ALL SELECT 'inbox', count(*) FROM cdp.inbox
$$;
CREATE TABLE before AS SELECT * FROM figures();
BEGIN;
SELECT events, rejected FROM cdp.ingest('{"batch":[{"type":"identify","messageId":"t1","userId":"t","anonymousId":"t-anon","traits":{"plan":"gold"},"context":{"consent":{"categoryPreferences":{"marketing":true}}}},{"type":"bad"}]}', 'new source');
SELECT cdp.profile('user_id:t') - 'profile_id' AS document;
SELECT count(*) AS timeline FROM cdp.timeline(cdp.profile_id('anonymous_id:t-anon'));
SELECT segment FROM cdp.members WHERE profile_id = cdp.profile_id('user_id:t');
SELECT cdp.consented(cdp.profile_id('user_id:t'), 'marketing') AS consented, (SELECT count(*) FROM cdp.changes WHERE profile_id = cdp.profile_id('user_id:t')) AS changes, (SELECT count(*) FROM cdp.rejected WHERE source = 'new source') AS rejected;
SELECT what, f.n - b.n AS more FROM figures() f JOIN before b USING (what) ORDER BY what COLLATE "C";
ROLLBACK;
SELECT what, f.n - b.n AS more FROM figures() f JOIN before b USING (what) WHERE f.n <> b.n;
SELECT cdp.profile('user_id:t') IS NULL AS is_gone;
-- to a savepoint
BEGIN;
SELECT events FROM cdp.ingest('{"type":"identify","messageId":"t2","userId":"t","traits":{"a":1}}');
SAVEPOINT s;
SELECT events FROM cdp.ingest('{"type":"identify","messageId":"t3","userId":"t","anonymousId":"t-anon","traits":{"a":2,"b":2}}', received_at => '2026-01-31T12:30:00Z');
ROLLBACK TO s;
SELECT cdp.profile('user_id:t') -> 'traits' AS traits, cdp.profile('anonymous_id:t-anon') IS NULL AS is_gone;
SELECT events FROM cdp.ingest('{"type":"identify","messageId":"t3","userId":"t","traits":{"b":3}}');
COMMIT;
SELECT cdp.profile('user_id:t') -> 'traits' AS traits;
-- in a function that catches its error
CREATE FUNCTION try(payload text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM cdp.ingest(payload);
	RAISE EXCEPTION 'after';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLERRM;
END
$$;
SELECT try('{"type":"identify","messageId":"t4","userId":"t","traits":{"b":4}}'), cdp.profile('user_id:t') -> 'traits' AS traits;
-- many in one statement, each seeing the one before
SELECT sum(i.events) AS events FROM generate_series(1, 300) n, LATERAL (SELECT * FROM cdp.ingest(format('{"type":"identify","userId":"many","anonymousId":"many%s","traits":{"n":%s}}', n % 7, n), received_at => '2026-01-31T12:00:00Z'::timestamptz + n * interval '1 second') OFFSET 0) i;
SELECT cdp.profile('user_id:many') -> 'traits' AS traits, cdp.profile('user_id:many') -> 'event_count' AS events;

-- put off: stored as it is, processed later with its time and source
SET cdp.process_immediately = off;
SELECT messages, events, duplicates, rejected, errors FROM cdp.ingest('{"type":"identify","messageId":"p1","userId":"later","traits":{"a":1}}', 'app', '2026-01-30T00:00:00Z');
SELECT messages, events, duplicates, rejected, errors FROM cdp.ingest('not json');
SELECT cdp.profile('user_id:later') IS NULL AS is_not_there, (SELECT count(*) FROM cdp.rejected WHERE payload = 'not json' AND received_at = '2026-01-31T12:00:00Z') AS rejected;
SELECT received_at, source, payload FROM cdp.inbox ORDER BY inbox_id;
SELECT messages, events, rejected FROM cdp.process();
SELECT source, received_at FROM cdp.events WHERE message_id = 'p1';
RESET cdp.process_immediately;

-- the inbox fills in what is left out, and takes no source without a name
BEGIN;
INSERT INTO cdp.inbox (payload) VALUES ('{"type":"track","event":"filled","userId":"f"}');
SELECT source, received_at = now() AS is_now FROM cdp.inbox;
SELECT events FROM cdp.process();
COMMIT;
SELECT statement, split_part(error_of(statement), ' ', 1) AS error FROM unnest(ARRAY[$$INSERT INTO cdp.inbox (source, payload) VALUES ('', '{}')$$, $$INSERT INTO cdp.inbox (source, payload) VALUES (repeat('x', 64), '{}')$$, $$INSERT INTO cdp.inbox (payload) VALUES (NULL)$$]) statement;

-- a large inbox, in batches, is emptied
BEGIN;
INSERT INTO cdp.inbox (received_at, payload) SELECT '2026-01-31T12:00:00Z', format('{"type":"track","event":"bulk","messageId":"bulk%s","userId":"k%s","properties":{"x":"%s"}}', n, n % 100, repeat('x', n % 500)) FROM generate_series(1, 5000) n;
SELECT sum(p.messages) AS messages, sum(p.events) AS events, count(*) FILTER (WHERE p.messages > 777) AS too_many FROM generate_series(1, 8) n, LATERAL (SELECT * FROM cdp.process(CASE WHEN n > 0 THEN 777 END) OFFSET 0) p;
COMMIT;
SELECT count(*) AS waiting FROM cdp.inbox;
SELECT count(*), count(DISTINCT profile_id) FROM cdp.events WHERE name = 'bulk';

-- the status tells of it
BEGIN;
INSERT INTO cdp.inbox (received_at, payload) VALUES (now() - interval '1 hour', '{}'), (now(), '{}');
SELECT name, CASE name WHEN 'backlog' THEN value WHEN 'lag' THEN (value::interval = '1 hour')::text END AS value FROM cdp.status WHERE name IN ('backlog', 'lag', 'watermark', 'profiles', 'rejected', 'worker', 'version', 'timers due') ORDER BY name COLLATE "C";
SELECT value::timestamptz = now() - interval '1 hour' AS is_watermark FROM cdp.status WHERE name = 'watermark';
ROLLBACK;
SELECT value FROM cdp.status WHERE name = 'backlog';
SELECT (SELECT value::bigint FROM cdp.status WHERE name = 'profiles') = (SELECT count(*) FROM cdp.profiles) AS profiles, (SELECT value::bigint FROM cdp.status WHERE name = 'rejected') = (SELECT count(*) FROM cdp.rejected) AS rejected;

-- a unique index that somebody added and that messages break is named, and whose message it was is not told
BEGIN;
CREATE UNIQUE INDEX own ON cdp.identity ((1)) WHERE value IN ('own-1', 'own-2');
SELECT events, errors FROM cdp.ingest('{"type":"page","userId":"own-1"}');
SELECT events, errors FROM cdp.ingest('{"type":"page","userId":"own-2"}');
\set VERBOSITY default
SELECT cdp.process();
\set VERBOSITY terse
ROLLBACK;

-- in a read-only transaction nothing is taken
BEGIN;
INSERT INTO cdp.inbox (received_at, payload) VALUES ('2026-01-31T12:00:00Z', '{"type":"page","userId":"ro"}');
SET TRANSACTION READ ONLY;
SELECT error_of($$SELECT cdp.ingest('{"type":"page","userId":"ro"}')$$) ~ '^25006' AS is_refused, error_of('SELECT cdp.process()') ~ '^25006' AS is_refused_too, cdp.profile('user_id:many') IS NOT NULL AS can_be_read;
ROLLBACK;
-- in a transaction of one snapshot it works as well, alone
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT events FROM cdp.ingest('{"type":"page","userId":"serial"}');
SELECT events FROM cdp.ingest('{"type":"page","userId":"serial","anonymousId":"serial-anon"}');
COMMIT;
SELECT cdp.profile('user_id:serial') -> 'event_count' AS events;
SELECT part, differences FROM cdp.verify() WHERE differences <> 0;

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_pipeline_process;
