-- Timelines of profiles: what goes in, in parts; declared properties; merges, splits, shared devices, retractions and rules; reads; what an older database had before.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_profile_part;
CREATE DATABASE regress_profile_part TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_profile_part SET lc_messages = 'C';
ALTER DATABASE regress_profile_part SET jit = off;
ALTER DATABASE regress_profile_part SET client_min_messages = warning;
\c regress_profile_part
CREATE EXTENSION cdp;
SELECT cdp.init();
SET cdp.clock = '2026-03-31T12:00:00Z';
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
CREATE FUNCTION differing() RETURNS text LANGUAGE sql AS $$ SELECT coalesce(string_agg(part || ' ' || differences, ', '), 'none') FROM cdp.verify('profile') WHERE differences > 0 $$;
-- who has which timeline
CREATE VIEW part AS SELECT a.namespace || ':' || a.value AS anchor, i.namespace || ':' || i.value AS strongest, p.month, p.part, p.events
	FROM cdp.timeline_part p JOIN cdp.identity a ON a.identifier_id = p.anchor_id JOIN cdp.identity i ON i.identifier_id = p.identifier_id
	ORDER BY 1, 2, 3, 4;

-- what has a name goes in, by the month (UTC) in which it happened
SELECT i.events, i.rejected FROM cdp.ingest('{"batch": [
	{"type": "track", "event": "Order Completed", "userId": "u1", "messageId": "1", "timestamp": "2026-01-31T23:59:59.999999Z", "properties": {"revenue": 9.90, "coupon": "SPRING", "gift": true, "list": [1], "none": null}},
	{"type": "track", "event": "Order Completed", "userId": "u1", "messageId": "2", "timestamp": "2026-02-01T01:00:00+01:00", "properties": {"revenue": "much", "coupon": 7}},
	{"type": "page", "name": "Home", "userId": "u1", "messageId": "3", "timestamp": "2026-02-01T00:00:00Z"},
	{"type": "screen", "name": "", "userId": "u1", "messageId": "4", "timestamp": "2026-02-02T00:00:00Z", "properties": {"revenue": 1}},
	{"type": "page", "userId": "u1", "messageId": "5", "timestamp": "2026-02-02T00:00:00Z"},
	{"type": "identify", "userId": "u1", "messageId": "6", "timestamp": "2026-02-02T00:00:00Z", "traits": {"email": "u1@example.com"}},
	{"type": "track", "event": "Tick", "userId": "u1", "messageId": "7", "timestamp": "1969-07-20T20:17:40Z"},
	{"type": "track", "event": "Tick", "userId": "u1", "messageId": "8", "timestamp": "1969-07-20T20:17:40Z"},
	{"type": "track", "event": "Tick", "userId": "u1", "messageId": "8", "timestamp": "1969-07-20T20:17:40Z"},
	{"type": "track", "event": "Tick", "groupId": "g1", "messageId": "9", "timestamp": "2026-02-02T00:00:00Z"},
	{"type": "track", "event": "Tick", "userId": "null", "messageId": "10", "timestamp": "2026-02-02T00:00:00Z"},
	{"type": "track", "event": "Tick", "userId": "u1", "messageId": "11", "timestamp": "0001-01-01T00:00:00Z"},
	{"type": "track", "event": "Tick", "userId": "u1", "messageId": "12"}]}') i;
SELECT * FROM part;
SELECT differing();
-- another batch adds to it
SELECT i.events FROM cdp.ingest('{"type": "track", "event": "Tick", "userId": "u1", "messageId": "13", "timestamp": "1969-07-20T20:17:40Z"}') i;
SELECT events FROM part WHERE month < '1970-01-01' AND month > '1900-01-01';

-- declaring a property applies to the past and from now on; a value that is neither number nor string nor boolean, or too long, is not carried
SELECT cdp.create_property('revenue', 'Order Completed'), cdp.create_property('coupon'), cdp.create_property('list'), cdp.create_property('none'), cdp.create_property('gift');
SELECT cdp.create_property('gift', 'Order Completed'), cdp.create_property('gift');
SELECT * FROM cdp.property ORDER BY name, event;
SELECT events FROM part WHERE anchor = 'user_id:u1' AND month >= '2026-01-01';
SELECT i.events FROM cdp.ingest(jsonb_build_object('batch', jsonb_build_array(
	jsonb_build_object('type', 'track', 'event', 'Order Completed', 'userId', 'u1', 'messageId', '20', 'timestamp', '2026-03-01', 'properties', jsonb_build_object('revenue', 1e999, 'coupon', repeat('x', 256), 'gift', false)),
	jsonb_build_object('type', 'track', 'event', 'Order Completed', 'userId', 'u1', 'messageId', '21', 'timestamp', '2026-03-02', 'properties', jsonb_build_object('revenue', repeat('9', 1000)::numeric, 'coupon', repeat('x', 257))),
	jsonb_build_object('type', 'track', 'event', 'Order Completed', 'userId', 'u1', 'messageId', '22', 'timestamp', '2026-03-03', 'properties', jsonb_build_object('revenue', -0.000000001, 'coupon', ''))))) i;
SELECT e.at, length(e.properties ->> 'revenue') AS digits, length(e.properties ->> 'coupon') AS coupon, e.properties -> 'gift' AS gift FROM part, cdp.events_of(events) e WHERE anchor = 'user_id:u1' AND month = '2026-03-01';
SELECT differing();
SELECT cdp.drop_property('coupon'), cdp.drop_property('gift', 'Order Completed');
SELECT events FROM part WHERE anchor = 'user_id:u1' AND month BETWEEN '2026-01-01' AND '2026-02-01';
SELECT differing();
SELECT error_of(call) FROM unnest(ARRAY[$$SELECT cdp.create_property(NULL)$$, $$SELECT cdp.create_property('')$$, $$SELECT cdp.create_property(repeat('x', 257))$$, $$SELECT cdp.create_property('x', '')$$, $$SELECT cdp.drop_property('coupon')$$,
	$$SELECT cdp.drop_property('revenue')$$, $$SELECT cdp.drop_property(NULL)$$]) call;
-- a declaration that is taken back was never there, also not for what was said meanwhile
BEGIN;
SELECT cdp.create_property('lost');
SELECT i.events FROM cdp.ingest('{"type": "track", "event": "Tick", "userId": "u1", "messageId": "30", "timestamp": "2026-03-10", "properties": {"lost": 1}}') i;
SELECT e.properties FROM part, cdp.events_of(events) e WHERE e.at = '2026-03-10';
ROLLBACK;
SELECT i.events FROM cdp.ingest('{"type": "track", "event": "Tick", "userId": "u1", "messageId": "30", "timestamp": "2026-03-10", "properties": {"lost": 1}}') i;
SELECT e.properties FROM part, cdp.events_of(events) e WHERE e.at = '2026-03-10';
SELECT differing();

-- a month with many events: the part that grows stays small, in few messages or many at a time
INSERT INTO cdp.inbox (payload) SELECT jsonb_build_object('type', 'track', 'event', 'Tick ' || i % 7, 'userId', 'busy', 'messageId', 'b' || i, 'timestamp', '2026-01-01T00:00:00Z'::timestamptz + i * interval '317 seconds', 'properties', jsonb_build_object('revenue', i)) FROM generate_series(1, 6000) i;
SELECT sum(p.events) FROM generate_series(100, 119) n, LATERAL (SELECT * FROM cdp.process(n) OFFSET 0) p;
SELECT month, count(*) BETWEEN 3 AND 6 AS has_parts, min(part) AS lowest, max(pg_column_size(events)) < 1900 AS are_small, sum(cdp.count(events)) AS events FROM part WHERE anchor = 'user_id:busy' GROUP BY month;
SELECT p.events FROM cdp.process() p;
SELECT month, sum(cdp.count(events)) AS events FROM part WHERE anchor = 'user_id:busy' GROUP BY month;
SELECT cdp.profile_id('user_id:busy') AS busy \gset
SELECT cdp.count(cdp.timeline_of(:busy)) AS events, cdp.count(cdp.timeline_of(:busy, since => '2026-01-15T12:00:00Z')) AS since, cdp.count(cdp.timeline_of(:busy, until => '2026-01-15T12:00:00Z')) AS until,
	cdp.count(cdp.timeline_of(:busy, '2026-01-15T12:00:00Z', '2026-01-15T13:00:00Z'), 'Tick 3') AS both, cdp.count(cdp.timeline_of(:busy, '2027-01-01Z')) AS never, cdp.count(cdp.timeline_of(:busy, '2026-02-01Z', '2026-02-01Z')) AS nothing;
SELECT cdp.is_same(cdp.timeline_of(:busy), cdp.timeline_agg(name, occurred_at)) FROM cdp.events WHERE profile_id = :busy;
SELECT differing();
-- a retraction folds it anew: all of a month in one part, which does not grow
SELECT ruling_id IS NOT NULL AS is_retracted FROM cdp.retract('b3000', 'test') ruling_id;
SELECT month, count(*) AS parts, sum(cdp.count(events)) AS events FROM part WHERE anchor = 'user_id:busy' GROUP BY month;
SELECT i.events FROM cdp.ingest('{"type": "track", "event": "Tick 3", "userId": "busy", "messageId": "b3000 again", "timestamp": "2026-01-12T00:10:00Z"}') i;
SELECT month, count(*) AS parts, sum(cdp.count(events)) AS events FROM part WHERE anchor = 'user_id:busy' GROUP BY month;
SELECT cdp.undo((SELECT max(ruling_id) FROM cdp.ruling));
SELECT month, count(*) AS parts, sum(cdp.count(events)) AS events FROM part WHERE anchor = 'user_id:busy' GROUP BY month;
SELECT differing();

-- merging and splitting move nothing; the timeline is of whom its identifiers are
SELECT i.events FROM cdp.ingest('{"batch": [{"type": "track", "event": "Tick", "anonymousId": "a1", "messageId": "40", "timestamp": "2026-03-11"}, {"type": "track", "event": "Tick", "userId": "u2", "messageId": "41", "timestamp": "2026-03-12"}]}') i;
SELECT cdp.profile_id('anonymous_id:a1') AS a1, cdp.profile_id('user_id:u2') AS u2 \gset
SELECT cdp.timeline_of(:a1), cdp.timeline_of(:u2);
SELECT i.events FROM cdp.ingest('{"type": "identify", "anonymousId": "a1", "userId": "u2", "messageId": "42"}') i;
SELECT cdp.timeline_of(:a1) AS by_old_id, cdp.timeline_of(:u2) AS by_the_other, (SELECT cdp.add_timelines(t.events) FROM cdp.timelines t WHERE t.profile_id = cdp.profile_id(:u2)) AS of_the_view;
SELECT ruling_id IS NOT NULL AS is_denied FROM cdp.deny('user_id:u2', 'anonymous_id:a1', 'test') ruling_id;
SELECT cdp.timeline_of(cdp.profile_id('anonymous_id:a1')), cdp.timeline_of(cdp.profile_id('user_id:u2'));
SELECT cdp.undo((SELECT max(ruling_id) FROM cdp.ruling));
SELECT cdp.timeline_of(:u2);
SELECT cdp.timeline_of(NULL) IS NULL AS of_none, cdp.timeline_of(1000000) IS NULL AS of_nobody, cdp.timeline_of(cdp.profile_id('email:u1@example.com'), '2026-01-01', '2026-02-01');
SELECT i.events FROM cdp.ingest('{"type": "identify", "userId": "silent", "messageId": "43"}') i;
SELECT cdp.timeline_of(cdp.profile_id('user_id:silent')) AS silent;

-- a shared device: events go to whoever held it, also when that turns out later
SELECT sum(i.events) FROM unnest(ARRAY[
	'{"type": "track", "event": "first", "anonymousId": "tablet", "messageId": "50", "timestamp": "2026-03-01T08:00Z"}',
	'{"type": "identify", "userId": "ada", "anonymousId": "tablet", "messageId": "51", "timestamp": "2026-03-01T09:00Z"}',
	'{"type": "track", "event": "adas", "anonymousId": "tablet", "messageId": "52", "timestamp": "2026-03-01T10:00Z"}',
	'{"type": "track", "event": "bobs", "anonymousId": "tablet", "messageId": "53", "timestamp": "2026-03-01T12:00Z"}',
	'{"type": "identify", "userId": "bob", "anonymousId": "tablet", "messageId": "54", "timestamp": "2026-03-01T11:00Z"}']) m, LATERAL (SELECT * FROM cdp.ingest(m) OFFSET 0) i;
SELECT anchor, strongest, events FROM part WHERE strongest = 'anonymous_id:tablet';
SELECT i.events FROM cdp.ingest('{"type": "identify", "userId": "cid", "anonymousId": "tablet", "messageId": "55", "timestamp": "2026-03-01T09:30Z"}') i;
SELECT i.events FROM cdp.ingest('{"type": "track", "event": "bobs too", "anonymousId": "tablet", "messageId": "56", "timestamp": "2026-03-01T13:00Z"}') i;
SELECT anchor, strongest, events FROM part WHERE strongest = 'anonymous_id:tablet';
SELECT differing();
-- workers derive the same, holders and properties too
CREATE FUNCTION workers_planned(query text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	line text;
	found boolean := false;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN ' || query LOOP
		found := found OR line ~ 'Workers Planned';
	END LOOP;
	RETURN found;
END
$$;
BEGIN;
SET LOCAL parallel_setup_cost = 0;
SET LOCAL parallel_tuple_cost = 0;
SET LOCAL min_parallel_table_scan_size = 0;
SET LOCAL parallel_leader_participation = off;
SELECT workers_planned('CREATE TABLE derived AS SELECT * FROM cdp.derived_timeline_part');
CREATE TABLE derived AS SELECT * FROM cdp.derived_timeline_part;
SELECT count(*) > 10 AS has_any, count(*) FILTER (WHERE p.events IS DISTINCT FROM d.events) AS differ
FROM derived d FULL JOIN (SELECT anchor_id, identifier_id, month, cdp.add_timelines(events) AS events FROM cdp.timeline_part GROUP BY 1, 2, 3) p USING (anchor_id, identifier_id, month);
ROLLBACK;

-- forgotten identifiers leave no timeline
SELECT ruling_id IS NOT NULL AS is_retracted FROM cdp.retract('user_id:cid', 'test') ruling_id;
SELECT anchor, strongest, events FROM part WHERE strongest = 'anonymous_id:tablet';
SELECT ruling_id IS NOT NULL AS is_retracted FROM cdp.retract('user_id:busy', 'test') ruling_id;
SELECT count(*) FROM cdp.timeline_part p WHERE NOT EXISTS (SELECT FROM cdp.fragment f WHERE (f.anchor_id, f.identifier_id) = (p.anchor_id, p.identifier_id));
SELECT count(*) FROM part WHERE anchor = 'user_id:busy';
SELECT differing();
-- rules: without the namespace its events are another's
SELECT cdp.drop_namespace('anonymous_id');
SELECT anchor, strongest, month, part FROM part WHERE strongest ~ 'anonymous' OR anchor ~ 'anonymous';
SELECT part, differences FROM cdp.verify() WHERE differences > 0;

-- a database that was set up before there were timelines gets them by cdp.init()
CREATE TABLE before AS SELECT profile_id, month, cdp.add_timelines(events) AS events FROM cdp.timelines GROUP BY 1, 2;
DROP VIEW part, cdp.timelines;
DROP VIEW cdp.derived_timeline_part;
DROP TABLE cdp.timeline_part, cdp.property;
SELECT cdp.init();
SELECT cdp.create_property('revenue', 'Order Completed'), cdp.create_property('list'), cdp.create_property('none'), cdp.create_property('gift');
SELECT count(*) > 5 AS has_any, count(*) FILTER (WHERE b.events IS DISTINCT FROM n.events) AS differ
FROM before b FULL JOIN (SELECT profile_id, month, cdp.add_timelines(events) AS events FROM cdp.timelines GROUP BY 1, 2) n USING (profile_id, month);
SELECT differing();

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_profile_part;
