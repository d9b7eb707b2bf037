-- Of messages with one id from one source the first within cdp.dedup_window of receipt counts, in a batch, across batches and across ways in.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_event_deduplicate;
CREATE DATABASE regress_event_deduplicate TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_event_deduplicate SET lc_messages = 'C';
ALTER DATABASE regress_event_deduplicate SET jit = off;
ALTER DATABASE regress_event_deduplicate SET client_min_messages = warning;
\c regress_event_deduplicate
CREATE EXTENSION cdp;
SELECT cdp.init();
SET cdp.clock = '2026-01-31T12:00:00Z';

-- within an envelope, and the first is the one that counts
SELECT messages, events, duplicates, rejected FROM cdp.ingest('{"batch":[{"type":"track","event":"first","messageId":"m1","userId":"u"},{"type":"track","event":"second","messageId":"m1","userId":"u"},{"type":"track","event":"other","messageId":"m2","userId":"u"}]}');
SELECT message_id, name FROM cdp.events ORDER BY message_id;
-- across calls; whatever else differs
SELECT messages, events, duplicates, rejected FROM cdp.ingest('{"type":"identify","messageId":"m1","userId":"somebody else","traits":{"email":"m1@x.org"}}');
SELECT messages, events, duplicates, rejected FROM cdp.ingest('{"type":"track","event":"e","messageId":"M1","userId":"u"}');
SELECT count(*) FROM cdp.identifiers WHERE value ~ 'somebody|x.org';
-- by way of the inbox: within a batch, across payloads and envelopes, and against what came before
BEGIN;
COPY cdp.inbox (received_at, payload) FROM stdin;
2026-01-31 12:00:00+00	{"type":"track","event":"first","messageId":"i1","userId":"u"}
2026-01-31 12:00:01+00	{"type":"track","event":"second","messageId":"i1","userId":"u"}
2026-01-31 12:00:02+00	{"batch":[{"type":"track","event":"third","messageId":"i1","userId":"u"},{"type":"track","event":"only","messageId":"i2","userId":"u"}]}
2026-01-31 12:00:03+00	{"type":"track","event":"again","messageId":"m2","userId":"u"}
\.
SELECT p.messages, p.events, p.duplicates, p.rejected FROM cdp.process() p;
COMMIT;
SELECT name, received_at FROM cdp.events WHERE message_id ~ '^i' ORDER BY message_id;
BEGIN;
INSERT INTO cdp.inbox (received_at, payload) SELECT '2026-01-31T12:00:05Z', format('{"type":"track","event":"e","messageId":"r%s","userId":"u"}', i % 3) FROM generate_series(1, 30) i;
SELECT p.messages, p.events, p.duplicates FROM cdp.process(7) p;
SELECT p.messages, p.events, p.duplicates FROM cdp.process(7) p;
SELECT p.messages, p.events, p.duplicates FROM cdp.process() p;
SELECT p.messages, p.events, p.duplicates FROM cdp.process() p;
COMMIT;
-- another source's id is another id, and names that run into ids do not collide
SELECT s, i.events, i.duplicates FROM unnest(ARRAY['default', 'app', 'app', 'a', 'ap']) WITH ORDINALITY s (s, ord), LATERAL (SELECT * FROM cdp.ingest(jsonb_build_object('type', 'track', 'event', 'e', 'userId', 'u', 'messageId', CASE s WHEN 'a' THEN 'ppm1' WHEN 'ap' THEN 'pm1' ELSE 'm1' END), s) OFFSET 0) i ORDER BY ord;
-- the id is compared as it reads, however it is written
SELECT events, duplicates FROM cdp.ingest('{"type":"track","event":"e","messageId":"\u006d1","userId":"u"}');
SELECT i.events, i.duplicates FROM unnest(ARRAY['"77"', '77', '"77.0"', '77.0']) WITH ORDINALITY v (v, ord), LATERAL (SELECT * FROM cdp.ingest(format('{"type":"track","event":"e","messageId":%s,"userId":"u"}', v)) OFFSET 0) i ORDER BY ord;
-- a rejected message takes no id
SELECT events, rejected FROM cdp.ingest('{"type":"track","messageId":"late","userId":"u"}');
SELECT events, duplicates FROM cdp.ingest('{"type":"track","event":"e","messageId":"late","userId":"u"}');
-- nor one that was rolled back
BEGIN;
SELECT events FROM cdp.ingest('{"type":"track","event":"e","messageId":"undone","userId":"u"}');
ROLLBACK;
SELECT events, duplicates FROM cdp.ingest('{"type":"track","event":"e","messageId":"undone","userId":"u"}');
-- none without an id is a repeat of another
SELECT events, duplicates FROM cdp.ingest('{"batch":[{"type":"track","event":"e","userId":"u"},{"type":"track","event":"e","userId":"u"}]}');

-- the window: seven days of receipt
CREATE FUNCTION send(at text) RETURNS TABLE (events bigint, duplicates bigint) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('cdp.clock', at, false);
	RETURN QUERY SELECT i.events, i.duplicates FROM cdp.ingest('{"type":"track","event":"window","messageId":"w","userId":"w"}') i;
END
$$;
SELECT at, s.* FROM unnest(ARRAY['2026-02-01T00:00:00Z', '2026-02-01T00:00:00Z', '2026-02-07T23:59:59Z', '2026-02-08T00:00:00Z', '2026-02-08T00:00:00.000001Z', '2026-02-08T00:00:01Z', '2026-02-14T00:00:00Z', '2026-02-15T00:00:00Z',
	'2026-02-15T00:00:00.000002Z']) WITH ORDINALITY a (at, ord), LATERAL (SELECT * FROM send(at) OFFSET 0) s ORDER BY ord;
SELECT received_at FROM cdp.events WHERE name = 'window' ORDER BY received_at;
-- a shorter one
SET cdp.dedup_window = '1h';
SELECT at, s.* FROM unnest(ARRAY['2026-03-01T00:00:00Z', '2026-03-01T01:00:00Z', '2026-03-01T01:00:01Z']) WITH ORDINALITY a (at, ord), LATERAL (SELECT * FROM send(at) OFFSET 0) s ORDER BY ord;
RESET cdp.dedup_window;
-- what was received earlier does not open it again
SELECT at, s.* FROM unnest(ARRAY['2026-02-20T00:00:00Z', '2026-01-01T00:00:00Z', '2020-01-01T00:00:00Z']) WITH ORDINALITY a (at, ord), LATERAL (SELECT * FROM send(at) OFFSET 0) s ORDER BY ord;
-- one batch or two, the window is the same
BEGIN;
INSERT INTO cdp.inbox (received_at, payload) VALUES ('2026-04-01', '{"type":"track","event":"apart","messageId":"apart","userId":"w"}'), ('2026-04-03', '{"type":"track","event":"apart","messageId":"apart","userId":"w"}'),
	('2026-04-20', '{"type":"track","event":"apart","messageId":"apart","userId":"w"}');
SELECT p.messages, p.events, p.duplicates FROM cdp.process() p;
COMMIT;

-- housekeeping forgets what is older than the window and nothing else
RESET cdp.clock;
TRUNCATE cdp.seen;
SELECT sum(i.events) FROM unnest(ARRAY[8, 6, 0]) days, LATERAL (SELECT * FROM cdp.ingest(jsonb_build_object('type', 'track', 'event', 'e', 'userId', 'u', 'messageId', 'days' || days), received_at => now() - days * interval '1 day') OFFSET 0) i;
SELECT done FROM cdp.maintain() WHERE task = 'message keys forgotten';
SELECT done FROM cdp.maintain() WHERE task = 'message keys forgotten';
SELECT count(*) FROM cdp.seen;

-- ids of every length and script
SELECT count(*) AS ids, sum(a.events) AS events, sum(a.duplicates) AS duplicates, sum(b.events) AS events_again, sum(b.duplicates) AS duplicates_again
FROM (SELECT DISTINCT left(repeat(U&'a\00E9\4E2D\+01F600', 50), n) AS id FROM generate_series(1, 60) n UNION SELECT repeat('i', n) FROM generate_series(1, 200) n) t,
	LATERAL (SELECT * FROM cdp.ingest(jsonb_build_object('type', 'track', 'event', 'e', 'userId', 'u', 'messageId', id), 'length') OFFSET 0) a,
	LATERAL (SELECT * FROM cdp.ingest(jsonb_build_object('type', 'track', 'event', 'e', 'userId', 'u', 'messageId', id), CASE WHEN a.events >= 0 THEN 'length' END) OFFSET 0) b;

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_event_deduplicate;
