-- Memberships: what messages, time, merges and definitions do to them.
-- People are shown by their user id; no profile id, and no time of the machine, is in the output.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = warning;
\pset format unaligned
SELECT cdp.init();
DO $$ BEGIN PERFORM cdp.drop_segment(name) FROM cdp.segment; END $$; -- other tests' segments
SET cdp.clock = '2026-03-01T00:00:00Z';

CREATE FUNCTION pg_temp.say(who text, what jsonb, at timestamptz) RETURNS bigint LANGUAGE sql AS $$
	SELECT events FROM cdp.ingest(what || jsonb_build_object('userId', who, 'timestamp', at, 'messageId', gen_random_uuid()), 'import')
$$;
CREATE FUNCTION pg_temp.does(who text, event text, at timestamptz) RETURNS bigint LANGUAGE sql AS $$
	SELECT pg_temp.say(who, jsonb_build_object('type', 'track', 'event', event), at)
$$;
CREATE FUNCTION pg_temp.has(who text, traits jsonb, at timestamptz) RETURNS bigint LANGUAGE sql AS $$
	SELECT pg_temp.say(who, jsonb_build_object('type', 'identify', 'traits', traits), at)
$$;
CREATE FUNCTION pg_temp.id(who text) RETURNS bigint LANGUAGE sql AS $$
	SELECT profile_id FROM cdp.identifiers WHERE namespace = 'user_id' AND value = who
$$;
CREATE TEMP VIEW person AS SELECT value AS who, profile_id FROM cdp.identifiers WHERE namespace = 'user_id' AND value LIKE 'segment %';
CREATE TEMP VIEW member AS SELECT segment, who, since FROM cdp.members JOIN person USING (profile_id) WHERE segment LIKE 't %' ORDER BY 1, 2;
CREATE TEMP VIEW change AS SELECT effective_at, who, segment, change, cause FROM cdp.membership_change JOIN person USING (profile_id)
	WHERE segment LIKE 't %' ORDER BY effective_at, who, segment, change;
-- each stored membership is what a fresh evaluation says, and the log replays to the members
CREATE TEMP VIEW truth AS
	SELECT count(*) AS pairs, count(*) FILTER (WHERE cdp.matches(p.profile_id, s.predicate) <> (m.segment IS NOT NULL)) AS wrong,
		count(*) FILTER (WHERE (coalesce(l.change, 'exit') = 'enter') <> (m.segment IS NOT NULL)) AS log_wrong
	FROM person p CROSS JOIN cdp.segment s LEFT JOIN cdp.membership m ON m.profile_id = p.profile_id AND m.segment = s.name
	LEFT JOIN LATERAL (SELECT c.change FROM cdp.membership_change c WHERE c.profile_id = p.profile_id AND c.segment = s.name
		ORDER BY c.change_id DESC LIMIT 1) l ON true
	WHERE s.name LIKE 't %';

-- A segment takes in at once who is in it already
SELECT pg_temp.has('segment ann', '{"plan": "pro"}', '2026-02-01'), pg_temp.has('segment bob', '{"plan": "free"}', '2026-02-01');
SELECT pg_temp.does('segment ann', 'Segment Order', '2026-02-27 12:00'), pg_temp.does('segment bob', 'Segment Order', '2026-02-20');
SELECT cdp.create_segment('t pro', 'trait plan = ''pro''', 'paying') AS pro,
	cdp.create_segment('t buyers', 'did(''Segment Order'') within 3 days') AS buyers,
	cdp.create_segment('t lapsed', 'did(''Segment Order'') and not did(''Segment Order'') within 3 days') AS lapsed,
	cdp.create_segment('t mail', 'consents to ''marketing''') AS mail;
SELECT * FROM member;
SELECT * FROM change;
SELECT who, due_at FROM cdp.due JOIN person USING (profile_id) ORDER BY 1;
SELECT name, predicate, description, created_at, updated_at FROM cdp.segment WHERE name LIKE 't %' ORDER BY 1;

-- A message brings people in and out in its own transaction, and ROLLBACK takes it back
BEGIN;
SELECT pg_temp.has('segment bob', '{"plan": "pro"}', '2026-02-28');
SELECT who FROM member WHERE segment = 't pro';
ROLLBACK;
SELECT who FROM member WHERE segment = 't pro';
SELECT pg_temp.has('segment bob', '{"plan": "pro"}', '2026-02-28');
SELECT pg_temp.has('segment ann', '{"plan": null}', '2026-02-28');
SELECT who FROM member WHERE segment = 't pro';
SELECT * FROM truth;

-- Time alone: everybody leaves at the exact instant, the microsecond counts, and nothing arrives
SELECT * FROM cdp.advance_to('2026-03-02 11:59:59.999999');
SELECT who FROM member WHERE segment = 't buyers';
SELECT cdp.matches(pg_temp.id('segment ann'), 'did(''Segment Order'') within 3 days') AS now,
	cdp.matches(pg_temp.id('segment ann'), 'did(''Segment Order'') within 3 days', cdp.clock_now() + interval '1 microsecond') AS then;
SELECT * FROM cdp.advance_to('2026-03-02 12:00');
SELECT who FROM member WHERE segment = 't buyers';
SELECT * FROM cdp.advance_to('2026-03-10');
SELECT * FROM change WHERE effective_at > '2026-03-01';
SELECT cdp.clock_now(), current_setting('cdp.clock');
SELECT * FROM truth;
-- the changes went out too
SELECT c.at, c.kind, p.who, c.data FROM cdp.changes c JOIN person p USING (profile_id)
WHERE c.kind LIKE 'segment%' AND c.at >= '2026-03-02' AND c.data ->> 'segment' LIKE 't %' ORDER BY c.change_id;

-- Timers are late when nobody calls; then process() sweeps them, each change at its own instant, and matches() was right all along
SELECT pg_temp.does('segment ann', 'Segment Order', '2026-03-09 12:00'), pg_temp.does('segment bob', 'Segment Order', '2026-03-08 06:00');
SET cdp.clock = '2026-03-20T00:00:00Z';
SELECT who, cdp.matches(pg_temp.id(who), 'did(''Segment Order'') within 3 days') FROM member WHERE segment = 't buyers';
SELECT entered, exited FROM cdp.process();
SELECT * FROM change WHERE effective_at > '2026-03-10';
SELECT * FROM truth;

-- Late messages count from their own time on; a window can also lie in the past
SELECT pg_temp.does('segment ann', 'Segment Order', '2026-03-18');
SELECT segment, since FROM member WHERE who = 'segment ann';
SELECT cdp.create_segment('t before', 'did(''Segment Order'') between 14 days and 10 days ago');
SELECT * FROM cdp.advance_to('2026-03-24');
SELECT effective_at, who, change, cause FROM change WHERE segment = 't before';
SELECT * FROM truth;

-- An active person in a moving window writes no timers: the hint stays, earlier than needed, and is looked at once
SELECT pg_temp.does('segment bob', 'Segment Order', '2026-03-24');
SELECT due_at FROM cdp.due WHERE profile_id = pg_temp.id('segment bob');
SELECT * FROM cdp.advance_to('2026-03-26');
SELECT pg_temp.does('segment bob', 'Segment Order', '2026-03-26');
SELECT due_at FROM cdp.due WHERE profile_id = pg_temp.id('segment bob');
SELECT * FROM cdp.advance_to('2026-03-28');
SELECT due_at FROM cdp.due WHERE profile_id = pg_temp.id('segment bob');
SELECT * FROM truth;

-- Consent
SELECT cdp.create_segment('t reach', 'consents to ''marketing'' and trait plan = ''pro''');
SELECT pg_temp.say('segment bob', '{"type": "identify", "context": {"consent": {"categoryPreferences": {"marketing": true}}}}', '2026-03-28');
SELECT segment, who FROM member WHERE segment IN ('t reach', 't mail');
SELECT pg_temp.say('segment bob', '{"type": "identify", "context": {"consent": {"categoryPreferences": {"marketing": false}}}}', '2026-03-28 00:00:01');
SELECT segment, who FROM member WHERE segment IN ('t reach', 't mail');

-- A merge: the one who is no longer a person leaves everything, the survivor is judged by the joined history
SELECT cdp.create_segment('t three', 'count(''Segment Anon'') >= 3');
SELECT events FROM cdp.ingest('{"type": "track", "event": "Segment Anon", "anonymousId": "segment-anon-1", "messageId": "segment-m1", "timestamp": "2026-03-27T00:00:00Z"}', 'import');
SELECT events FROM cdp.ingest('{"type": "track", "event": "Segment Anon", "anonymousId": "segment-anon-1", "messageId": "segment-m2", "timestamp": "2026-03-27T01:00:00Z"}', 'import');
SELECT cdp.create_segment('t anon', 'did(''Segment Anon'')');
SELECT pg_temp.does('segment cid', 'Segment Anon', '2026-03-27 02:00');
SELECT events FROM cdp.ingest('{"type": "identify", "anonymousId": "segment-anon-1", "userId": "segment cid", "messageId": "segment-m3", "timestamp": "2026-03-27T03:00:00Z"}', 'import');
SELECT segment, who FROM member WHERE segment IN ('t three', 't anon');
SELECT count(*) AS members_of_anon FROM cdp.members WHERE segment = 't anon';
SELECT segment, change, cause, count(*) FROM cdp.membership_change WHERE segment IN ('t three', 't anon') GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
SELECT count(*) AS members_who_are_nobody FROM cdp.members m LEFT JOIN cdp.profiles p USING (profile_id) WHERE p.profile_id IS NULL;
-- an old id stands for the survivor
SELECT cdp.matches(p.profile_id, 'count(''Segment Anon'') = 3') FROM cdp.profile p
WHERE p.merged_into = pg_temp.id('segment cid') OR p.profile_id = pg_temp.id('segment cid');

-- Editing applies the difference, with its cause; nobody stays by history; equal definitions change nothing
SELECT cdp.create_segment('t pro', 'trait plan = ''free''');
SELECT cdp.create_segment('t pro', 'trait plan in (''free'', ''pro'')');
SELECT cdp.create_segment('t pro', 'trait plan in (''free'', ''pro'')');
SELECT who, change, cause FROM change WHERE segment = 't pro' ORDER BY effective_at, who, change;
SELECT description FROM cdp.segment WHERE name = 't pro';
SELECT * FROM truth;

-- More people than fit into one chunk
INSERT INTO cdp.inbox (source, payload) SELECT 'import', jsonb_build_object('type', 'track', 'event', 'Segment Crowd', 'userId', 'crowd ' || i,
	'messageId', 'segment-crowd-' || i, 'timestamp', timestamptz '2026-03-27' + i * interval '1 second')::text FROM generate_series(1, 6000) i;
SELECT messages, entered, exited FROM cdp.process();
SELECT cdp.create_segment('t crowd', 'did(''Segment Crowd'') within 2 days');
SELECT * FROM cdp.advance_to('2026-03-29 00:50:00');
SELECT count(*) FROM cdp.members WHERE segment = 't crowd';
SET cdp.clock = '2026-04-01T00:00:00Z';
SELECT entered, exited FROM cdp.process();
SELECT * FROM cdp.advance_to('2026-04-01');
SELECT count(*), count(DISTINCT effective_at), min(effective_at), max(effective_at) FROM cdp.membership_change WHERE segment = 't crowd' AND change = 'exit';
SELECT count(*) AS out_of_order FROM (SELECT effective_at < lag(effective_at) OVER (ORDER BY change_id) AS wrong
	FROM cdp.membership_change WHERE segment = 't crowd' AND change = 'exit' AND effective_at <= '2026-03-29 00:50:00') o WHERE wrong;

-- Errors
SELECT cdp.create_segment('', 'did(''A'')');
SELECT cdp.create_segment(repeat('x', 64), 'did(''A'')');
SELECT cdp.create_segment(E'a\nb', 'did(''A'')');
SELECT cdp.create_segment('t x', NULL);
SELECT cdp.create_segment('t x', 'consents to ''nothing we know''');
SELECT cdp.create_segment('t x', 'trait plan ! 5');
SELECT cdp.drop_segment('t x');
SELECT cdp.matches(-1, 'did(''A'')');
SELECT cdp.matches(NULL, 'did(''A'')') IS NULL AS null_in, cdp.matches(-1, NULL) IS NULL AS null_out;
SELECT cdp.matches(pg_temp.id('segment ann'), 'did(''A'')', 'infinity');
SELECT cdp.advance_to('2026-03-31');
SELECT cdp.advance_to('infinity');
SELECT cdp.advance_to('10000-01-01');

-- Dropping: all leave, the log keeps that they were there
SELECT name, cdp.drop_segment(name) FROM cdp.segment WHERE name LIKE 't %' ORDER BY 1;
SELECT count(*) FROM cdp.members WHERE segment LIKE 't %';
SELECT segment, count(*) FILTER (WHERE change = 'enter') = count(*) FILTER (WHERE change = 'exit') AS all_left
FROM cdp.membership_change WHERE segment LIKE 't %' GROUP BY 1 ORDER BY 1;
SELECT pg_temp.does('segment ann', 'Segment Order', '2026-03-31');
