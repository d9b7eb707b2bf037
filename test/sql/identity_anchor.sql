-- Claim: what comes from a shared device alone belongs to whoever signed in there last, in any order of arrival and batching, also when that shows later or is taken back.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_identity_anchor;
CREATE DATABASE regress_identity_anchor TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_identity_anchor SET lc_messages = 'C';
ALTER DATABASE regress_identity_anchor SET jit = off;
ALTER DATABASE regress_identity_anchor SET client_min_messages = warning;
\c regress_identity_anchor
CREATE EXTENSION cdp;
SELECT cdp.init();
SET cdp.clock = '2026-01-31T12:00:00Z';
-- a message at a minute of 31 January: who (u: user id, e: e-mail, a: anonymous id, d: device id, p: trait 'plan', c: consent to 'ads')
CREATE FUNCTION message(id text, minute integer, who jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_strip_nulls(jsonb_build_object('type', CASE WHEN who ? 'p' THEN 'identify' ELSE 'track' END, 'event', CASE WHEN NOT who ? 'p' THEN 'Seen' END,
		'messageId', id, 'timestamp', '2026-01-31T10:' || to_char(minute, 'FM00') || ':00Z', 'userId', who -> 'u', 'anonymousId', who -> 'a',
		'traits', CASE WHEN who ? 'p' THEN jsonb_build_object('plan', who -> 'p') END,
		'context', jsonb_build_object('traits', jsonb_build_object('email', who -> 'e'), 'device', jsonb_build_object('id', who -> 'd'),
			'consent', jsonb_build_object('categoryPreferences', jsonb_build_object('ads', who -> 'c')))))
$$;
CREATE FUNCTION see(id text, minute integer, who jsonb, source text DEFAULT 'default') RETURNS void LANGUAGE sql AS $$
	SELECT FROM cdp.ingest(message(id, minute, who), source)
$$;
CREATE VIEW anchor AS SELECT message_id, to_char(occurred_at, 'HH24:MI') AS at, anchor_value AS anchor, source FROM cdp.events;
CREATE VIEW sign_in AS SELECT d.value AS device, to_char(s.occurred_at, 'HH24:MI') AS at, s.message_id, i.value AS who
	FROM cdp.sign_in s JOIN cdp.identity d ON d.identifier_id = s.device_id JOIN cdp.identity i ON i.identifier_id = s.identifier_id;
CREATE VIEW person AS SELECT string_agg(i.value, ' ' ORDER BY i.value) AS identifiers, p.event_count, p.traits, p.consents::text
	FROM cdp.identifiers i JOIN cdp.profile p USING (profile_id) GROUP BY p.profile_id;
SELECT cdp.create_segment('busy', $$count('Seen') >= 2$$);

-- A: a tablet that two people use: before anybody signed in, while Ann had it, while Bob had it
SELECT see('A1', 1, '{"a":"A-tab"}'), see('A2', 5, '{"u":"A-ann","a":"A-tab"}'), see('A3', 6, '{"a":"A-tab"}'), see('A4', 7, '{"a":"A-tab","p":"pro"}');
-- hers alone yet: nothing is contested, every event is where its strongest identifier is
SELECT * FROM anchor WHERE message_id ~ '^A' ORDER BY 1;
SELECT * FROM person WHERE identifiers ~ '^A-' ORDER BY 1;
SELECT * FROM cdp.members;
SELECT see('A5', 20, '{"u":"A-bob","a":"A-tab"}'), see('A6', 21, '{"a":"A-tab"}'), see('A7', 22, '{"a":"A-tab"}');
SELECT value, is_contested FROM cdp.identifiers WHERE value ~ '^A-' ORDER BY 1;
SELECT * FROM anchor WHERE message_id ~ '^A' ORDER BY 1;
SELECT * FROM sign_in WHERE device ~ '^A-' ORDER BY at;
SELECT * FROM person WHERE identifiers ~ '^A-' ORDER BY 1;
-- the device is Bob's, who had it last; what came before anybody signed in is the device's own and goes with it
SELECT value_a, value_b, status, reason FROM cdp.links WHERE value_b = 'A-tab' ORDER BY 1;
SELECT to_char(occurred_at, 'HH24:MI') AS at, type, anchor, message_id FROM cdp.timeline(cdp.profile_id('user_id:A-ann'));
SELECT to_char(occurred_at, 'HH24:MI') AS at, type, anchor, message_id FROM cdp.timeline(cdp.profile_id('user_id:A-bob'));
SELECT cdp.profile('user_id:A-ann') -> 'event_count' AS ann, cdp.profile('user_id:A-bob') -> 'event_count' AS bob;
-- segments count what is hers by now: Ann's visits are A2 and A3, the tablet's and Bob's A1, A5, A6, A7
SELECT cdp.matches(cdp.profile_id('user_id:A-ann'), 'count(''Seen'') = 2') AS ann, cdp.matches(cdp.profile_id('user_id:A-bob'), 'count(''Seen'') = 4') AS bob;
SELECT segment, profile_id = cdp.profile_id('user_id:A-ann') AS ann, profile_id = cdp.profile_id('user_id:A-bob') AS bob FROM cdp.members ORDER BY profile_id;
SELECT part, differences FROM cdp.verify() WHERE differences > 0;

-- B: late: somebody else had it in between; only what came after her moves, traits, consents and segments with it
SELECT see('B1', 1, '{"u":"B-ann","a":"B-tab"}'), see('B2', 2, '{"u":"B-bob","a":"B-tab"}'), see('B3', 10, '{"a":"B-tab","p":"gold","c":true}'), see('B4', 20, '{"a":"B-tab"}'), see('B5', 30, '{"a":"B-tab"}');
SELECT * FROM person WHERE identifiers ~ '^B-' ORDER BY 1;
SELECT see('B6', 9, '{"u":"B-eve","a":"B-tab"}');
SELECT see('B7', 25, '{"u":"B-ann","a":"B-tab"}');
SELECT * FROM anchor WHERE message_id ~ '^B' ORDER BY at;
SELECT * FROM person WHERE identifiers ~ '^B-' ORDER BY 1;
SELECT i.value AS busy FROM cdp.members m JOIN cdp.identifiers i USING (profile_id) WHERE i.value ~ '^B-' AND i.namespace = 'user_id' ORDER BY 1;
SELECT m.kind, m.data ->> 'segment' AS segment, i.value FROM cdp.changes m JOIN cdp.identifiers i ON i.profile_id = m.profile_id AND i.namespace = 'user_id' AND i.value ~ '^B-'
WHERE m.kind ~ 'segment' ORDER BY m.change_id;
SELECT part, differences FROM cdp.verify() WHERE differences > 0;

-- C: at one instant the message id decides, bytewise: m10 < m2 < m3; the same id of two sources is one place
SELECT see('m2', 10, '{"u":"C-ann","a":"C-tab"}'), see('m3', 10, '{"a":"C-tab"}'), see('m1', 10, '{"a":"C-tab"}'), see('m10', 10, '{"u":"C-bob","a":"C-tab"}'), see('m11', 10, '{"a":"C-tab"}');
SELECT see('m2', 10, '{"a":"C-tab"}', 'other'), see('m10', 10, '{"a":"C-tab"}', 'other'), see('m0', 10, '{"a":"C-tab"}', 'other');
SELECT * FROM anchor WHERE message_id ~ '^m' ORDER BY message_id COLLATE "C", source;
SELECT see('n5', 30, '{"u":"C-ann","a":"C-tab"}', 'other'), see('n5', 30, '{"u":"C-bob","a":"C-tab"}'), see('n6', 30, '{"a":"C-tab"}');
SELECT * FROM anchor WHERE message_id ~ '^n' ORDER BY message_id COLLATE "C", source;
SELECT part, differences FROM cdp.verify() WHERE differences > 0;

-- D: who signed in is the strongest identifier of the event, on each contested device it mentions; devices sign in nowhere
SELECT see('D1', 1, '{"u":"D-ann","e":"d-ann@x","d":"d-dev","a":"D-tab"}'), see('D2', 2, '{"e":"d-bob@x","d":"d-dev","a":"D-tab"}'), see('D3', 3, '{"u":"D-bob","a":"D-tab"}'), see('D4', 4, '{"e":"d-cat@x","d":"d-dev"}');
SELECT see('D5', 5, '{"d":"d-dev","a":"D-tab"}'), see('D6', 6, '{"a":"D-tab"}'), see('D7', 7, '{"d":"d-dev"}');
SELECT value, is_contested FROM cdp.identifiers WHERE value ~ '^[dD]-' ORDER BY 1;
SELECT * FROM sign_in WHERE device ~ '^[dD]-' ORDER BY 1, 2;
SELECT * FROM anchor WHERE message_id ~ '^D' ORDER BY 1;

-- E: bridge: a device that always connects is still anchored by the hour; so is one that never does, once two were seen on it
BEGIN;
SELECT cdp.create_namespace('device_id', 'device', 80, bridge => 'always', normalizer => 'lower', paths => '{context.device.id}');
SELECT see('E1', 1, '{"e":"e-ann@x","d":"e-dev"}'), see('E2', 2, '{"d":"e-dev"}'), see('E3', 3, '{"e":"e-bob@x","d":"e-dev"}'), see('E4', 4, '{"d":"e-dev"}');
SELECT * FROM anchor WHERE message_id ~ '^E' ORDER BY 1;
SELECT * FROM person WHERE identifiers ~ '^e-' ORDER BY 1;
SELECT cdp.create_namespace('device_id', 'device', 80, bridge => 'never', normalizer => 'lower', paths => '{context.device.id}');
SELECT * FROM anchor WHERE message_id ~ '^E' ORDER BY 1;
SELECT * FROM person WHERE identifiers ~ '^e-' ORDER BY 1;
SELECT see('E5', 5, '{"u":"E-eve","d":"e-own"}'), see('E6', 6, '{"d":"e-own"}');
SELECT * FROM anchor WHERE message_id ~ '^E[56]' ORDER BY 1;
SELECT part, differences FROM cdp.verify() WHERE differences > 0;
ROLLBACK;

-- F: contested late, and no longer: a retracted sign-in gives the device back to the only one left, undone it is shared again
SELECT see('F1', 1, '{"u":"F-ann","a":"F-tab"}'), see('F2', 2, '{"a":"F-tab","p":"a","c":true}'), see('F3', 3, '{"u":"F-bob","a":"F-tab"}'), see('F4', 4, '{"a":"F-tab","p":"b","c":false}');
SELECT * FROM person WHERE identifiers ~ '^F-' ORDER BY 1;
SELECT cdp.retract('F3', 'a shop assistant') AS ruling \gset
SELECT value, is_contested FROM cdp.identifiers WHERE value ~ '^F-' ORDER BY 1;
SELECT * FROM sign_in WHERE device ~ '^F-' ORDER BY at;
SELECT * FROM anchor WHERE message_id ~ '^F' ORDER BY 1;
SELECT * FROM person WHERE identifiers ~ '^F-' ORDER BY 1;
SELECT cdp.undo(:ruling);
SELECT * FROM anchor WHERE message_id ~ '^F' ORDER BY 1;
SELECT * FROM person WHERE identifiers ~ '^F-' ORDER BY 1;
SELECT cdp.retract('user_id:F-bob', 'anonymous_id:F-tab', 'not on this one') AS ruling \gset
SELECT * FROM anchor WHERE message_id ~ '^F' ORDER BY 1;
-- he signs in again, for nothing
SELECT see('F5', 5, '{"u":"F-bob","a":"F-tab"}'), see('F6', 6, '{"a":"F-tab"}');
SELECT * FROM anchor WHERE message_id ~ '^F' ORDER BY 1;
SELECT see('F7', 7, '{"u":"F-cat","a":"F-tab"}'), see('F8', 8, '{"a":"F-tab"}');
SELECT * FROM sign_in WHERE device ~ '^F-' ORDER BY at;
SELECT cdp.undo(:ruling);
SELECT * FROM sign_in WHERE device ~ '^F-' ORDER BY at;
SELECT * FROM anchor WHERE message_id ~ '^F' ORDER BY 1;
-- an identifier: as if nobody had known him; his own sign-ins are the device's events now
SELECT cdp.retract('user_id:F-bob', 'a test user') AS ruling \gset
SELECT * FROM sign_in WHERE device ~ '^F-' ORDER BY at;
SELECT * FROM anchor WHERE message_id ~ '^F' ORDER BY 1;
SELECT cdp.undo(:ruling);
SELECT * FROM anchor WHERE message_id ~ '^F' ORDER BY 1;
SELECT part, differences FROM cdp.verify() WHERE differences > 0;

-- G: in one batch or one by one, in any order: the same anchors, sign-ins and people
CREATE TABLE script (n integer, minute integer, who jsonb);
INSERT INTO script SELECT n, r % 40, jsonb_strip_nulls(jsonb_build_object('u', CASE r / 40 % 4 WHEN 0 THEN 'u' || r / 160 % 4 END, 'e', CASE r / 160 % 5 WHEN 0 THEN 'e' || r / 640 % 5 END,
	'd', CASE r / 5 % 3 WHEN 0 THEN 'd' || r / 77 % 3 END, 'a', 'a' || r / 33 % 4, 'p', CASE r / 3 % 3 WHEN 0 THEN 'p' || r % 100 END, 'c', CASE r / 7 % 3 WHEN 0 THEN r % 2 = 0 END))
FROM generate_series(1, 120) n, LATERAL (SELECT ('x' || substr(md5('anchor' || n), 1, 7))::bit(28)::integer AS r) x;
CREATE FUNCTION script(run text) RETURNS TABLE (n integer, message jsonb) LANGUAGE sql AS $$
	SELECT n, message(run || n, minute, (SELECT jsonb_object_agg(key, CASE WHEN key IN ('p', 'c') THEN value ELSE to_jsonb(run || (value #>> '{}')) END) FROM jsonb_each(who))) FROM script
$$;
SELECT sum(i.events) FROM (SELECT * FROM script('g1-') ORDER BY n OFFSET 0) s, LATERAL (SELECT * FROM cdp.ingest(s.message) OFFSET 0) i;
SELECT sum(i.events) FROM (SELECT * FROM script('g2-') ORDER BY n DESC OFFSET 0) s, LATERAL (SELECT * FROM cdp.ingest(s.message) OFFSET 0) i;
SELECT events FROM cdp.ingest((SELECT jsonb_build_object('batch', jsonb_agg(message ORDER BY md5(n::text))) FROM script('g3-')));
BEGIN;
INSERT INTO cdp.inbox (received_at, payload) SELECT '2026-01-31T12:00:00Z', message FROM script('g4-') ORDER BY md5('x' || n);
SELECT p.events FROM cdp.process(50) p;
SELECT p.events FROM cdp.process(7) p;
SELECT p.events FROM cdp.process(63) p;
COMMIT;
SELECT count(DISTINCT a) AS anchorings, min(length(a)) > 1000 AS is_some FROM (SELECT string_agg(concat_ws(' ', substr(message_id, 4), at, substr(anchor, 4)), '|' ORDER BY message_id) AS a FROM anchor WHERE message_id ~ '^g' GROUP BY left(message_id, 2)) x;
SELECT count(DISTINCT a) AS sign_ins, min(length(a)) > 200 AS is_some FROM (SELECT string_agg(concat_ws(' ', substr(message_id, 4), at, substr(device, 4), substr(who, 4)), '|' ORDER BY message_id, device) AS a FROM sign_in WHERE device ~ '^g' GROUP BY left(device, 2)) x;
SELECT count(DISTINCT a) AS peoples, min(length(a)) > 500 AS is_some FROM (SELECT string_agg(concat_ws(' ', regexp_replace(identifiers, 'g\d-', '', 'g'), event_count, traits::text, consents), '|' ORDER BY identifiers) AS a FROM person WHERE identifiers ~ '^g' GROUP BY left(identifiers, 2)) x;
-- every event is anchored to one, and the history of everybody together is the log
SELECT (SELECT count(*) FROM cdp.events) = (SELECT count(*) FROM cdp.event) AS each_once, (SELECT sum(event_count) FROM cdp.profiles) = (SELECT count(*) FROM cdp.event) AS counted_once,
	(SELECT count(*) FROM cdp.profiles p, cdp.timeline(p.profile_id)) = (SELECT count(*) FROM cdp.event) AS told_once;
SELECT count(*) AS wrong FROM cdp.events e CROSS JOIN LATERAL (SELECT count(*) AS n FROM cdp.timeline(e.profile_id) t WHERE t.message_id = e.message_id AND t.source = e.source) t WHERE t.n <> 1;
SELECT part, checked > 0 AS is_checked, differences FROM cdp.verify();

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_identity_anchor;
