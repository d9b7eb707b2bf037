-- The log is partitioned by the month of receipt (UTC); what is missing is made when it is needed, and made ahead by housekeeping.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_event_partition;
CREATE DATABASE regress_event_partition TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_event_partition SET lc_messages = 'C';
ALTER DATABASE regress_event_partition SET jit = off;
ALTER DATABASE regress_event_partition SET client_min_messages = warning;
\c regress_event_partition
CREATE EXTENSION cdp;
SELECT cdp.init();
SET cdp.clock = '2026-01-31T12:00:00Z';

-- made ahead by cdp.init(): this month and the two after it
SELECT count(*) AS missing FROM generate_series(0, 2) n, unnest(ARRAY['event', 'change']) t
WHERE to_regclass('cdp.' || t || to_char(date_trunc('month', now() AT TIME ZONE 'UTC') + n * interval '1 month', '"_"YYYY"_"MM')) IS NULL;
SELECT task, done FROM cdp.maintain() WHERE task = 'partitions made';

-- month boundaries are UTC's, whatever the session's zone
SET timezone = 'Pacific/Kiritimati';
SELECT sum(i.events) FROM unnest(ARRAY['2024-02-29T23:59:59.999999Z', '2024-03-01T00:00:00Z', '2024-02-01T00:00:00Z', '2024-01-31T23:59:59.999999Z', '2023-12-31T23:59:59Z', '2024-12-31T23:59:59Z']) WITH ORDINALITY a (at, ord),
	LATERAL (SELECT * FROM cdp.ingest(jsonb_build_object('type', 'track', 'event', 'edge', 'userId', 'u', 'messageId', at), received_at => at::timestamptz) OFFSET 0) i;
SET timezone = 'UTC';
SELECT tableoid::regclass AS partition, received_at FROM cdp.event WHERE name = 'edge' ORDER BY received_at;
SELECT c.oid::regclass AS partition, pg_get_expr(c.relpartbound, c.oid) AS bound, obj_description(c.oid, 'pg_class') AS comment FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid
WHERE i.inhparent = 'cdp.event'::regclass AND c.relname ~ '^event_202[34]' ORDER BY c.relname;
SELECT count(DISTINCT relname) AS months, count(*) FILTER (WHERE NOT relispartition) AS detached FROM pg_class WHERE relnamespace = 'cdp'::regnamespace AND relname ~ '^event_202[34]_\d\d$' AND relkind = 'r';

-- received far in the past
SELECT i.events FROM cdp.ingest('{"type":"track","event":"old","userId":"u","messageId":"o1"}', received_at => '1970-01-01T00:00:00Z') i;
SELECT i.events FROM cdp.ingest('{"type":"track","event":"old","userId":"u","messageId":"o2"}', received_at => '0999-06-15T00:00:00Z') i;
SELECT tableoid::regclass AS partition, received_at, occurred_at FROM cdp.event WHERE name = 'old' ORDER BY received_at;

-- a batch over many years makes only the months it needs
BEGIN;
INSERT INTO cdp.inbox (received_at, payload) SELECT at, jsonb_build_object('type', 'track', 'event', 'span', 'userId', 'u', 'messageId', at) FROM unnest(ARRAY['1901-05-05', '1950-06-06', '2001-07-07', '2026-01-31']::timestamptz[]) at;
SELECT p.messages, p.events FROM cdp.process() p;
COMMIT;
SELECT tableoid::regclass AS partition FROM cdp.event WHERE name = 'span' ORDER BY received_at;
SELECT count(*) AS between_them FROM pg_class WHERE relnamespace = 'cdp'::regnamespace AND relname ~ '^event_(19[0-6]|200)' AND relkind = 'r';

-- a row whose time of receipt is none does not stop the inbox
CREATE FUNCTION offer(at text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format($i$INSERT INTO cdp.inbox (received_at, payload) VALUES (%L, '{"type":"track","event":"odd","userId":"u"}')$i$, at);
EXCEPTION WHEN check_violation THEN
	NULL; -- refused at the door is as good
END
$$;
BEGIN;
SELECT offer('infinity'), offer('-infinity'), offer('4000-01-01 BC');
INSERT INTO cdp.inbox (received_at, payload) VALUES ('2026-01-31', '{"type":"track","event":"even","userId":"u"}');
SELECT p.events >= 1 AS is_processed FROM cdp.process() p;
COMMIT;
SELECT count(*) FROM cdp.events WHERE name = 'even';
TRUNCATE cdp.inbox;

-- the index serves every partition, and a partition can be dropped
SELECT count(*) AS without_index FROM pg_inherits i WHERE inhparent = 'cdp.event'::regclass AND NOT EXISTS (SELECT FROM pg_index x WHERE x.indrelid = i.inhrelid);
DROP TABLE cdp.event_1970_01;
SELECT count(*) FROM cdp.event WHERE name = 'old';
SELECT i.events FROM cdp.ingest('{"type":"track","event":"old","userId":"u","messageId":"o3"}', received_at => '1970-01-15T00:00:00Z') i;

-- by hand: how many were made; again: none
SELECT cdp.make_partitions('event', '2030-01-15', '2030-03-01'), cdp.make_partitions('event', '2030-01-01', '2030-03-31'), cdp.make_partitions('event', '2030-03-31T23:59:59Z', '2030-01-01'), cdp.make_partitions('change', '2030-02-01', '2030-02-01');
SELECT relname FROM pg_class WHERE relnamespace = 'cdp'::regnamespace AND relname ~ '^(event|change)_2030' AND relkind = 'r' ORDER BY relname COLLATE "C";
-- rolled back: none is left, and the next message makes it
BEGIN;
SELECT i.events FROM cdp.ingest('{"type":"track","event":"e","userId":"u","messageId":"rb"}', received_at => '2019-01-15T00:00:00Z') i;
ROLLBACK;
SELECT to_regclass('cdp.event_2019_01') IS NULL AS is_gone;
SELECT i.events FROM cdp.ingest('{"type":"track","event":"e","userId":"u","messageId":"rb"}', received_at => '2019-01-15T00:00:00Z') i;
SELECT count(*) FROM cdp.event_2019_01;

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_event_partition;
