-- cdp.timeline: the format, text and binary forms, the aggregate, merging, questions, funnels, and bytes from anywhere.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_profile_timeline;
CREATE DATABASE regress_profile_timeline TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_profile_timeline SET lc_messages = 'C';
ALTER DATABASE regress_profile_timeline SET jit = off;
ALTER DATABASE regress_profile_timeline SET client_min_messages = warning;
\c regress_profile_timeline
CREATE EXTENSION cdp;

-- The format, byte by byte (docs/timeline.md): a change of it here breaks every stored database.
CREATE TABLE golden (what text, t cdp.timeline);
ALTER TABLE golden ALTER t SET STORAGE plain;
INSERT INTO golden VALUES
	('nothing', '[]'),
	('one event, a known name', '[{"at": "2026-01-31T09:00:00Z", "name": "Order Completed"}]'),
	('one event, a name of its own', '[{"at": "2000-01-01T00:00:00.000001Z", "name": "a"}]'),
	('the first instant and the last', '[{"at": "0001-01-01", "name": "a"}, {"at": "9999-12-31T23:59:59.999999Z", "name": "a"}]'),
	('times of each unit', '[{"at": "1999-12-31T23:59:59Z", "name": "a"}, {"at": "2000-01-02T23:59:59Z", "name": "a"}, {"at": "2000-01-02T23:59:59Z", "name": "a"},
		{"at": "2000-01-03T00:00:06Z", "name": "a"}, {"at": "2000-01-03T00:00:06.5Z", "name": "a"}, {"at": "2000-01-03T00:00:06.500001Z", "name": "a"}]'),
	('three names', '[{"at": "2026-01-01", "name": "b"}, {"at": "2026-01-02", "name": ""}, {"at": "2026-01-03", "name": "Zürich"}, {"at": "2026-01-04", "name": "b"}, {"at": "2026-01-05", "name": "b"}]'),
	('message ids', '[{"at": "2026-01-01", "name": "a", "id": 1}, {"at": "2026-01-01", "name": "a", "id": 65535}]'),
	('some message ids', '[{"at": "2026-01-01", "name": "a"}, {"at": "2026-01-01", "name": "a"}, {"at": "2026-01-01", "name": "a", "id": 258}]'),
	('properties', '[{"at": "2026-01-01", "name": "Order Completed", "properties": {"revenue": 43.70, "quantity": 3, "currency": "USD", "gift": true, "express": false}},
		{"at": "2026-01-01", "name": "Order Completed"}, {"at": "2026-01-02", "name": "Order Completed", "properties": {"revenue": -0.01}},
		{"at": "2026-01-02", "name": "Order Completed", "properties": {"revenue": 0.001}}, {"at": "2026-01-02", "name": "Order Completed", "properties": {"revenue": 123456789012345678901}},
		{"at": "2026-01-02", "name": "Home", "properties": {"currency": "Home"}}]'),
	('long words', format('[{"at": "2026-01-01", "name": "%s"}, {"at": "2026-01-01", "name": "%s"}]', repeat('x', 63), repeat('x', 64))::cdp.timeline);
SELECT what, encode(cdp.timeline_send(t), 'hex') AS bytes FROM golden;
SELECT what, t FROM golden WHERE what <> 'long words';
-- what is stored is what is sent, behind a varlena header of 1 or 4 bytes
SELECT count(*) FROM golden WHERE pg_column_size(t) - octet_length(cdp.timeline_send(t)) NOT IN (1, 4);
-- 5 names need 4 bits each, 17 need 8
SELECT n, encode(cdp.timeline_send(cdp.timeline_agg(chr(64 + i), '2026-01-01'::timestamptz + i * '1 day'::interval)), 'hex') AS bytes
FROM unnest('{5, 17}'::int[]) n, generate_series(1, n) i GROUP BY n ORDER BY n;
SELECT n, octet_length(cdp.timeline_send(cdp.timeline_agg(i::text, '2026-01-01'))) AS bytes, cdp.count(cdp.timeline_agg(i::text, '2026-01-01'), '7') AS sevens
FROM unnest('{257, 70000}'::int[]) n, generate_series(1, n) i GROUP BY n ORDER BY n;

-- text comes back as it went, binary too
SELECT count(*) FROM golden WHERE t::text::cdp.timeline <> t;
CREATE TABLE golden_again (LIKE golden);
DO $$
DECLARE
	file text := current_setting('data_directory') || '/regress_profile_timeline.bin';
BEGIN
	EXECUTE format('COPY golden TO %L (FORMAT binary)', file);
	EXECUTE format('COPY golden_again FROM %L (FORMAT binary)', file);
	EXECUTE format('COPY golden_again FROM PROGRAM %L', format('rm %L', file));
END
$$;
SELECT count(*) FROM golden a JOIN golden_again b USING (what) WHERE a.t = b.t AND cdp.is_same(a.t, b.t) AND NOT a.t <> b.t;
SELECT count(*) FROM (SELECT t FROM golden UNION SELECT t FROM golden_again) u; -- by hash

-- what is no timeline
SELECT '{}'::cdp.timeline;
SELECT '[1]'::cdp.timeline;
SELECT '[{"name": "a"}]'::cdp.timeline;
SELECT '[{"at": "2026-01-01"}]'::cdp.timeline;
SELECT '[{"at": "yesterday", "name": "a"}]'::cdp.timeline;
SELECT '[{"at": "2026-01-01", "name": "a", "id": 65536}]'::cdp.timeline;
SELECT '[{"at": "2026-01-01", "name": "a", "id": "m-1"}]'::cdp.timeline;
SELECT '[{"at": "2026-01-01", "name": "a", "properties": [1]}]'::cdp.timeline;
SELECT cdp.timeline('a', 'infinity');
SELECT cdp.timeline('a', '10000-01-01');
SELECT cdp.timeline('a', '2026-01-01', '[1]');
SELECT cdp.timeline('a', '2026-01-01', format('{"v": 1%s}', repeat('0', 1100))::jsonb);
-- null is none; of properties it keeps numbers, strings, booleans
SELECT cdp.timeline(NULL, '2026-01-01') IS NULL, cdp.timeline('a', NULL) IS NULL, cdp.timeline('a', '2026-01-01', 'null', NULL);
SELECT cdp.timeline('a', '2026-01-01', '{"n": null, "l": [1], "o": {"x": 1}, "t": "x", "b": true, "d": 1.50}', 'm-1');
-- numbers: exact up to 18 digits, rounded beyond
SELECT v, (SELECT e.properties -> 'v' FROM cdp.events_of(cdp.timeline('a', '2026-01-01', jsonb_build_object('v', v))) e) AS kept
FROM unnest('{0, -0.0, 1e-30, 0.30, 100, -9999999999999999.99, 999999999999999999.5, 9999999999999999995, -0.1234567890123456789, 123456789012345678, 1e40}'::numeric[]) v;
-- whatever is kept, however long, comes back from its text and from its binary form: else a dump could not be restored
CREATE TABLE long_number (v numeric, t cdp.timeline);
INSERT INTO long_number SELECT v, cdp.timeline('a', '2026-01-01', jsonb_build_object('v', v))
FROM unnest(ARRAY[repeat('9', 999), '-' || repeat('9', 999), '9' || repeat('0', 999), '1e-999', '-1e-999', '1.25e-998', '-1.25e-998', '1e-1000', '4e-1000', '-5e-1000',
	'123456789012345678e-1016', '123456789012345678e-1017', '1e-16000']::numeric[]) v;
SELECT count(*), count(*) FILTER (WHERE t::text::cdp.timeline = t) AS same, max(length((e.properties -> 'v')::text)) AS longest,
	count(*) FILTER (WHERE (e.properties ->> 'v')::numeric = 0) AS zeros,
	count(*) FILTER (WHERE abs((e.properties ->> 'v')::numeric - v) > greatest(abs(v) * 1e-17, 0.5e-999)) AS wrong FROM long_number, cdp.events_of(t) e;
DO $$
DECLARE
	file text := current_setting('data_directory') || '/regress_long_number.bin';
BEGIN
	EXECUTE format('COPY long_number TO %L (FORMAT binary)', file);
	EXECUTE format('COPY long_number FROM %L (FORMAT binary)', file);
	EXECUTE format('COPY long_number FROM PROGRAM %L', format('rm %L', file));
END
$$;
SELECT n, count(*) FROM (SELECT count(*) AS n FROM long_number GROUP BY t) g GROUP BY n ORDER BY n;
SELECT cdp.timeline('a', '2026-01-01', jsonb_build_object('v', 1e1000::numeric));
SELECT cdp.timeline('a', '2026-01-01', jsonb_build_object('v', repeat('9', 1000)::numeric));

-- the aggregate: rows count, in any order; without name or instant they do not
CREATE TABLE log AS
SELECT i % 7 AS person, (array ['view', 'cart', 'order', 'Home'])[1 + i * 7919 % 4] AS name, '2026-01-01'::timestamptz + (i * 104729 % 1000) * '1 hour'::interval AS at,
	CASE WHEN i % 3 = 0 THEN jsonb_build_object('value', i % 5, 'kind', 'k' || i % 2) END AS properties, 'm-' || i AS message_id
FROM generate_series(1, 3000) i;
INSERT INTO log VALUES (0, NULL, '2026-01-01'), (0, 'view', NULL);
CREATE TABLE person AS
SELECT person, cdp.timeline_agg(name, at) AS plain, cdp.timeline_agg(name, at, properties) AS rich, cdp.timeline_agg(name, at, properties, message_id) AS whole FROM log GROUP BY person;
SELECT sum(cdp.count(plain)), sum(cdp.count(rich)), sum(cdp.count(whole)), cdp.timeline_agg(NULL, NULL) IS NULL AS nothing FROM person;
SELECT count(*) FROM person p JOIN (SELECT person, cdp.timeline_agg(name, at) AS plain, cdp.timeline_agg(name, at, properties) AS rich, cdp.timeline_agg(name, at, properties, message_id) AS whole
	FROM (SELECT * FROM log ORDER BY md5(message_id)) l GROUP BY person) q USING (person) WHERE p.plain = q.plain AND p.rich = q.rich AND p.whole = q.whole;
SELECT count(*) FROM ((SELECT person, name, at, properties FROM log WHERE at IS NOT NULL AND name IS NOT NULL EXCEPT ALL SELECT person, e.* FROM person, cdp.events_of(rich) e)
	UNION ALL (SELECT person, e.* FROM person, cdp.events_of(rich) e EXCEPT ALL SELECT person, name, at, properties FROM log)) d;
-- the same message twice is one event, the same row twice is two
SELECT sum(cdp.count(t)) FROM (SELECT cdp.timeline_agg(name, at, properties, message_id) AS t FROM (TABLE log UNION ALL TABLE log) l GROUP BY person) x;
SELECT sum(cdp.count(t)) FROM (SELECT cdp.timeline_agg(name, at, properties) AS t FROM (TABLE log UNION ALL TABLE log) l GROUP BY person) x;
-- a running aggregate
SELECT at, cdp.count(cdp.timeline_agg(name, at) OVER (ORDER BY at, message_id)) FROM log WHERE person = 1 AND name IS NOT NULL ORDER BY at, message_id LIMIT 3;
-- in parallel
BEGIN;
SET LOCAL parallel_setup_cost = 0;
SET LOCAL parallel_tuple_cost = 0;
SET LOCAL min_parallel_table_scan_size = 0;
SET LOCAL max_parallel_workers_per_gather = 2;
ALTER TABLE log SET (parallel_workers = 2);
EXPLAIN (COSTS OFF) SELECT cdp.timeline_agg(name, at, properties) FROM log;
SELECT a = b AND a = c AND b = c AS are_same FROM (SELECT cdp.timeline_agg(name, at, properties) AS a FROM log) x, (SELECT cdp.timeline_agg(name, at, properties ORDER BY message_id) AS b FROM log) y,
	(SELECT cdp.timeline_agg(e.name, e.at, e.properties) AS c FROM person, cdp.events_of(rich) e) z;
SELECT a = b AS are_same FROM (SELECT cdp.merge_timelines(whole) AS a FROM person) x, (SELECT cdp.timeline_agg(name, at, properties, message_id) AS b FROM log) y;

-- parts that come one after the other are joined end to end, others are taken apart: either way they are the whole
CREATE TABLE happening AS
SELECT story, CASE WHEN story % 5 = 4 THEN i % 4 ELSE at / 100 END AS part, 'n' || hash % (ARRAY[1, 2, 5, 20, 300])[story % 7 % 5 + 1] AS name,
	'2026-01-31'::timestamptz + at * (ARRAY['0.000001 s', '1 ms', '1 s', '1 day']::interval[])[story % 4 + 1] AS at,
	CASE WHEN story % 5 = 3 AND hash % 3 = 0 THEN jsonb_build_object('size', hash % 10) END AS properties,
	CASE WHEN story % 5 IN (0, 3, 4) OR (story % 5 = 2 AND hash % 4 = 0) THEN 'm' || i END AS message_id
FROM (SELECT story, i, abs(hashint4extended(i, story)) AS hash, abs(hashint4extended(i, -story) % 400) AS at
	FROM generate_series(1, 200) story, generate_series(1, 5 + story * 3) i) e;
SELECT count(*), count(*) FILTER (WHERE later <> whole) AS later, count(*) FILTER (WHERE earlier <> whole) AS earlier, count(*) FILTER (WHERE merged <> whole) AS merged
FROM (SELECT story, cdp.timeline_agg(name, at, properties, message_id) AS whole FROM happening GROUP BY story) w
JOIN (SELECT story, cdp.add_timelines(t ORDER BY part) AS later, cdp.add_timelines(t ORDER BY part DESC) AS earlier, cdp.merge_timelines(t ORDER BY part) AS merged
	FROM (SELECT story, part, cdp.timeline_agg(name, at, properties, message_id) AS t FROM happening GROUP BY story, part) p GROUP BY story) j USING (story);
-- also when there are many, long and short, and empty ones between
SELECT size, cdp.add_timelines(t ORDER BY part) = (SELECT cdp.timeline_agg('n' || i % 5, '2026-01-31'::timestamptz + i * interval '1 minute', NULL, 'm' || i) FROM generate_series(0, 2999) i) AS is_whole
FROM (SELECT size, i / size AS part, cdp.timeline_agg('n' || i % 5, '2026-01-31'::timestamptz + i * interval '1 minute', NULL, 'm' || i) AS t
	FROM unnest(ARRAY[1, 63, 64, 300]) size, generate_series(0, 2999) i GROUP BY 1, 2 UNION ALL SELECT size, 1.5, '[]' FROM unnest(ARRAY[1, 63, 64, 300]) size) p
GROUP BY size ORDER BY size;
-- where one begins at the instant at which another ends there may be one event in both
SELECT cdp.merge_timelines(t ORDER BY n), cdp.add_timelines(t ORDER BY n) FROM (VALUES
	(1, cdp.merge(cdp.timeline('a', '2026-01-31Z'), cdp.timeline('b', '2026-02-01Z'))), (2, cdp.merge(cdp.timeline('b', '2026-02-01Z'), cdp.timeline('a', '2026-02-02Z')))) v (n, t);
COMMIT;

-- bytes that say that there are properties, and have none
BEGIN;
CREATE CAST (bytea AS cdp.timeline) WITHOUT FUNCTION;
SELECT cdp.merge_timelines(t ORDER BY n) FROM (VALUES (1, '\x01040302016101620202000306020707'::bytea::cdp.timeline), (2, cdp.timeline('c', '2026-01-01Z'))) v (n, t);
ROLLBACK;

-- merging: commutative, associative, idempotent; with no events nothing changes
SELECT count(*) FILTER (WHERE cdp.merge(a.whole, b.whole) <> cdp.merge(b.whole, a.whole) OR cdp.merge(a.plain, b.whole) <> cdp.merge(b.whole, a.plain)) AS not_commutative,
	count(*) FILTER (WHERE cdp.merge(a.whole, cdp.merge(b.whole, a.rich)) <> cdp.merge(cdp.merge(a.whole, b.whole), a.rich)) AS not_associative,
	count(*) FILTER (WHERE cdp.merge(a.whole, a.whole) <> a.whole OR cdp.merge(cdp.merge(a.rich, b.rich), b.rich) <> cdp.merge(a.rich, b.rich)) AS not_idempotent,
	count(*) FILTER (WHERE cdp.merge(a.rich, '[]') <> a.rich OR cdp.add('[]', a.rich) <> a.rich) AS not_neutral,
	count(*) FILTER (WHERE cdp.count(cdp.add(a.rich, b.rich)) <> cdp.count(a.rich) + cdp.count(b.rich)) AS not_added
FROM person a, person b;
-- two events alike without message id: merging knows them again, adding does not
SELECT cdp.count(cdp.merge(t, t)) AS merged, cdp.count(cdp.add(t, t)) AS added, cdp.count(cdp.merge(t, cdp.timeline('a', '2026-01-01'))) AS merged_with_one
FROM (SELECT cdp.timeline_agg('a', '2026-01-01') AS t FROM generate_series(1, 2)) x;
-- different messages of one name at one microsecond are two, the same one is one
SELECT cdp.count(cdp.merge(cdp.timeline('a', '2026-01-01', NULL, 'm-1'), cdp.timeline('a', '2026-01-01', NULL, 'm-2'))) AS different,
	cdp.count(cdp.merge(cdp.timeline('a', '2026-01-01', NULL, 'm-1'), cdp.timeline('a', '2026-01-01', NULL, 'm-1'))) AS same,
	cdp.count(cdp.merge(cdp.timeline('a', '2026-01-01', '{"v": 1}', 'm-1'), cdp.timeline('a', '2026-01-01', '{"v": 2}', 'm-1'))) AS different_values;
-- parts are put together again
SELECT count(*) FROM person WHERE cdp.merge(cdp.between(whole, NULL, '2026-01-15'), cdp.between(whole, '2026-01-15', NULL)) <> whole
	OR cdp.add(cdp.between(rich, NULL, '2026-01-15'), cdp.between(rich, '2026-01-15', NULL)) <> rich;

-- questions, as SQL answers them
SELECT count(*) AS asked, count(*) FILTER (WHERE a.n IS DISTINCT FROM b.n OR a.first_at IS DISTINCT FROM b.first_at OR a.last_at IS DISTINCT FROM b.last_at OR b.n <> b.n_between) AS differ
FROM person p
CROSS JOIN unnest(array ['view', 'cart', 'Home', 'nothing', NULL]) AS q (name)
CROSS JOIN (VALUES ('2026-01-03'::timestamptz, '2026-01-20T05:00:00Z'::timestamptz), (NULL, '2026-01-20'), ('2026-01-20', NULL), (NULL, NULL), ('2026-02-01', '2026-01-01')) w (since, until)
CROSS JOIN LATERAL (SELECT count(*) AS n, min(l.at) AS first_at, max(l.at) AS last_at FROM log l WHERE l.person = p.person AND l.name IS NOT NULL AND l.at IS NOT NULL
	AND (q.name IS NULL OR l.name = q.name) AND (w.since IS NULL OR l.at >= w.since) AND (w.until IS NULL OR l.at < w.until)) a
CROSS JOIN LATERAL (SELECT cdp.count(p.whole, q.name, w.since, w.until) AS n, cdp.first_at(p.rich, q.name, w.since, w.until) AS first_at, cdp.last_at(p.plain, q.name, w.since, w.until) AS last_at,
	cdp.count(cdp.between(p.rich, w.since, w.until), q.name) AS n_between) b;
SELECT cdp.count(NULL::cdp.timeline), cdp.first_at('[]'), cdp.last_at('[]', 'a'), cdp.between(NULL, NULL, NULL), cdp.between('[]', NULL, NULL);

-- funnels: letters are events, one a second
CREATE FUNCTION events(letters text) RETURNS cdp.timeline LANGUAGE sql AS $$
	SELECT cdp.timeline_agg(l, '2026-01-01'::timestamptz + i * '1 s'::interval) FROM regexp_split_to_table(letters, '') WITH ORDINALITY r (l, i) $$;
CREATE FUNCTION steps(letters text) RETURNS text[] LANGUAGE sql AS 'SELECT regexp_split_to_array(letters, '''')';
SELECT letters, steps, seconds, cdp.funnel_depth(events(letters), steps(steps), seconds * '1 s'::interval) AS depth FROM (VALUES
	('abc', 'abc', 100), ('adbc', 'abc', 100), ('aabbcc', 'abc', 100), ('aaaabbcc', 'abc', 100), ('aabbdcc', 'abc', 100), ('ccbbaa', 'abc', 100), ('acb', 'abc', 100),
	('abcdefghi', 'abci', 10000), ('abcdefghi', 'defgh', 2), ('abcdefghi', 'defgh', 3), ('abcdefghi', 'defgh', 4), ('abcdefghi', 'ib', 10000), ('abcdefghi', 'ab', 0),
	('e', 'eee', 10), ('ee', 'eee', 10), ('eee', 'eee', 10), ('eeee', 'eee', 1), ('aab', 'aab', 10), ('aba', 'aba', 10), ('abxxab', 'ab', 1), ('x', 'abc', 1)) f (letters, steps, seconds);
-- at one instant there is no order, but an event is one step only
SELECT cdp.funnel_depth('[{"at": "2026-01-01", "name": "b"}, {"at": "2026-01-01", "name": "a"}]', '{b, a}', '0 s') AS ba, cdp.funnel_depth('[{"at": "2026-01-01", "name": "b"}, {"at": "2026-01-01", "name": "a"}]', '{a, b}', '0 s') AS ab,
	cdp.funnel_depth('[{"at": "2026-01-01", "name": "a"}, {"at": "2026-01-01", "name": "a"}]', '{a, a, a}', '0 s') AS aaa, cdp.funnel_depth('[]', '{a}', '0 s') AS nobody;
SELECT cdp.funnel_depth('[]', '{}', '1 day');
SELECT cdp.funnel_depth('[]', '{a, NULL}', '1 day');
SELECT cdp.funnel_depth('[]', '{a}', '1 month');
SELECT cdp.funnel_depth('[]', '{a}', '-1 day');
SELECT cdp.funnel_depth('[]', array_agg('a'::text), '1 day') FROM generate_series(1, 33);
SELECT cdp.funnel_depth(cdp.timeline_agg('a', '2026-01-01'), (SELECT array_agg('a'::text) FROM generate_series(1, 32)), '1 day') FROM generate_series(1, 31);
-- compared with trying every chain, on random histories with many events at one instant
CREATE FUNCTION funnel_oracle(t cdp.timeline, steps text[], within interval) RETURNS integer LANGUAGE sql AS $$
	WITH RECURSIVE e AS MATERIALIZED (SELECT row_number() OVER () AS i, name, at FROM cdp.events_of(t)),
	chain AS (
		SELECT 1 AS depth, at AS began, at, array [i] AS used FROM e WHERE name = steps[1]
		UNION ALL
		SELECT depth + 1, began, e.at, used || e.i FROM chain JOIN e ON e.name = steps[depth + 1] AND e.at >= chain.at AND e.at <= began + within AND e.i <> ALL (used)
	)
	SELECT coalesce(max(depth), 0) FROM chain $$;
SELECT setseed(0.5);
SELECT count(*) AS compared, count(*) FILTER (WHERE cdp.funnel_depth(t, steps, within) <> funnel_oracle(t, steps, within)) AS differ,
	count(DISTINCT cdp.funnel_depth(t, steps, within)) AS depths
FROM (SELECT cdp.timeline_agg(substr('abcd', 1 + floor(random() * 4)::int, 1), '2026-01-01'::timestamptz + floor(random() * 12) * '1 s'::interval) AS t FROM generate_series(1, 8000) i GROUP BY i % 800) h
CROSS JOIN (VALUES ('{a,b,c}'::text[]), ('{a,a,b,a}'), ('{d,c,d}'), ('{b,a,b,a,b}')) s (steps) CROSS JOIN (VALUES ('3 s'::interval), ('20 s')) w (within);
-- events at one instant on both sides of where the reader pauses
SELECT count(*) AS compared, count(*) FILTER (WHERE cdp.funnel_depth(t, steps, '1 day') <> cdp.funnel_depth(cdp.between(t, '2026-01-02', NULL), steps, '1 day')) AS differ
FROM (SELECT n, cdp.timeline_agg(name, at) AS t FROM generate_series(55, 135) n CROSS JOIN LATERAL (
	SELECT 'x' AS name, '2026-01-01'::timestamptz + i * '1 s'::interval AS at FROM generate_series(1, n) i
	UNION ALL SELECT unnest('{d,c,b,a,a}'::text[]), '2026-01-02' UNION ALL SELECT unnest('{b,d,c}'::text[]), '2026-01-02T00:00:01Z') e GROUP BY n) h
CROSS JOIN (VALUES ('{a,b,c,d}'::text[]), ('{d,c,b,a}'), ('{a,a,a}'), ('{a,a,c,b,b,d}')) s (steps);

-- many events: growing one is not slow
SELECT cdp.count(t), cdp.count(t, 'e1'), pg_column_size(t) < 4000000 AS is_small FROM (SELECT cdp.timeline_agg('e' || i % 3, '2026-01-01'::timestamptz + i * '1 min'::interval) AS t FROM generate_series(1, 300000) i) x;
-- many groups, kept beside each other while they grow
SELECT count(*), sum(cdp.count(t)) FROM (SELECT cdp.timeline_agg('e', '2026-01-01'::timestamptz + i * '1 min'::interval) AS t FROM generate_series(1, 60000) i GROUP BY i % 20000) x;

-- Bytes from anywhere, straight into what reads: refused or read. Through binary input: refused, or made a timeline that says the same in every form.
CREATE CAST (bytea AS cdp.timeline) WITHOUT FUNCTION;
CREATE FUNCTION mutated(bytes bytea) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
	n integer;
	i integer;
BEGIN
	FOR change IN 0 .. floor(random() * 3) LOOP
		n := octet_length(bytes);
		i := floor(random() * random() * n);
		CASE floor(random() * 6)
			WHEN 0 THEN bytes := substr(bytes, 1, i);
			WHEN 1 THEN bytes := substr(bytes, 1, i) || substr(bytes, i + 2);
			WHEN 2 THEN bytes := substr(bytes, 1, i) || '\xff'::bytea || substr(bytes, i + 1);
			ELSE
				IF i < n THEN
					bytes := set_byte(bytes, i, CASE WHEN random() < 0.5 THEN get_byte(bytes, i) # (1 << floor(random() * 8)::int) ELSE floor(random() * 256)::int END);
				END IF;
		END CASE;
	END LOOP;
	RETURN bytes;
END
$$;
CREATE TABLE seed AS SELECT cdp.timeline_send(t) AS bytes FROM golden UNION ALL SELECT cdp.timeline_send(cdp.between(whole, NULL, '2026-01-04')) FROM person
	UNION ALL SELECT cdp.timeline_send(cdp.merge(cdp.between(plain, NULL, '2026-01-03'), cdp.between(rich, NULL, '2026-01-04'))) FROM person;
DO $$
DECLARE
	bytes bytea;
	t cdp.timeline;
	accepted integer := 0;
	refused integer := 0;
BEGIN
	PERFORM setseed(0.25);
	FOR bytes IN SELECT mutated(seed.bytes) FROM seed, generate_series(1, 400) LOOP
		BEGIN
			t := bytes::cdp.timeline;
			PERFORM cdp.count(t), cdp.last_at(t, 'Home'), cdp.funnel_depth(t, '{Order Completed, Home}', '1 day');
			PERFORM * FROM cdp.events_of(t);
			PERFORM t::text, cdp.merge(t, t), cdp.between(t, NULL, NULL), cdp.add(t, t);
			accepted := accepted + 1;
		EXCEPTION WHEN data_corrupted THEN
			refused := refused + 1;
		END;
	END LOOP;
	IF accepted < 100 OR refused < 1000 THEN
		RAISE WARNING '% accepted, % refused', accepted, refused;
	END IF;
END
$$;
DO $$
DECLARE
	file text := current_setting('data_directory') || '/regress_profile_timeline.bin';
	bytes bytea;
	row_bytes bytea;
	large_object oid;
	accepted integer := 0;
	refused integer := 0;
BEGIN
	CREATE TEMP TABLE received (t cdp.timeline);
	PERFORM setseed(0.75);
	FOR bytes IN SELECT mutated(seed.bytes) FROM seed, generate_series(1, 40) LOOP
		row_bytes := '\x5047434f50590aff0d0a00'::bytea || int4send(0) || int4send(0) || int2send(1::int2) || int4send(octet_length(bytes)) || bytes || int2send((-1)::int2);
		large_object := lo_from_bytea(0, row_bytes);
		PERFORM lo_export(large_object, file), lo_unlink(large_object);
		TRUNCATE received;
		BEGIN
			EXECUTE format('COPY received FROM %L (FORMAT binary)', file);
			accepted := accepted + 1;
			IF EXISTS (SELECT FROM received WHERE t <> t::text::cdp.timeline OR cdp.merge(t, t) <> t OR cdp.between(t, NULL, NULL) <> t) THEN
				RAISE WARNING 'different: %', bytes;
			END IF;
		EXCEPTION WHEN invalid_binary_representation THEN
			refused := refused + 1;
		END;
	END LOOP;
	EXECUTE format('COPY received FROM PROGRAM %L', format('rm %L', file));
	IF accepted < 10 OR refused < 100 THEN
		RAISE WARNING '% accepted, % refused', accepted, refused;
	END IF;
END
$$;

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_profile_timeline;
