-- Messages leave the log when they are older than cdp.set_retention() keeps them; what was derived from them stays.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_event_retention;
CREATE DATABASE regress_event_retention TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_event_retention SET lc_messages = 'C';
ALTER DATABASE regress_event_retention SET jit = off;
\c regress_event_retention
SET client_min_messages = notice;
CREATE EXTENSION cdp;
SELECT cdp.set_retention('1 year');
SELECT * FROM cdp.apply_retention();
SELECT cdp.init();
SET cdp.clock = '2026-01-31T12:00:00Z';
SELECT * FROM cdp.apply_retention();
SELECT * FROM cdp.retention;

-- 300 days of all kinds of messages: shared devices, groups, aliases, consents, two sources
SELECT cdp.create_source('crm', 3), cdp.create_namespace('crm_id', 'contact', 25, 2, normalizer => 'lower', paths => '{identify:traits.crm}'), cdp.create_property('n'),
	cdp.create_segment('golden', $$trait plan = 'gold'$$), cdp.create_segment('often', $$count('e') >= 10$$), cdp.create_segment('lately', $$did('e') within 300 days$$);
-- computed of what they did, found in a table by what they say, and ruled
CREATE TABLE plans (plan text, price numeric, note text);
INSERT INTO plans VALUES ('gold', 9.5, 'dear'), ('lead', 1, 'cheap'), ('tin', 0, 'free');
SELECT cdp.create_trait('price', 'highest', type => 'number'), cdp.create_trait('total', computed => 'sum(e.n)'), cdp.create_trait('last_n', computed => 'last(f.n) within 200 days'), cdp.create_trait('kinds', computed => 'unique_list(e.m)'),
	cdp.create_lookup('plans', 'plan', '{"price": "price", "note": "note"}'), cdp.create_segment('dear', $$trait price >= 9 and trait total >= 5$$), cdp.lock_trait('user_id:u2', 'plan', '"tin"', 'a test') IS NOT NULL AS locked, cdp.lock_trait('user_id:u4', 'total', '-1', 'a test') IS NOT NULL AS locked_too;
CREATE TABLE stream AS SELECT n, jsonb_strip_nulls(jsonb_build_object('type', (ARRAY['track', 'identify', 'page', 'group', 'alias', 'identify'])[1 + r % 6], 'event', (ARRAY['e', 'f'])[1 + r / 12 % 2], 'messageId', n::text, 'userId', CASE WHEN r / 6 % 3 > 0 OR r % 6 = 4 THEN 'u' || r / 18 % 12 END,
	'anonymousId', CASE WHEN r / 216 % 4 > 0 THEN 'a' || r / 864 % 15 ELSE '0' END, 'groupId', CASE WHEN r % 6 = 3 THEN 'g' || r / 18 % 3 END, 'previousId', CASE WHEN r % 6 = 4 THEN 'a' || r / 18 % 15 END, 'properties', jsonb_build_object('n', r % 7, 'm', (ARRAY['a', 'b', NULL])[1 + r / 7 % 3]),
	'traits', jsonb_build_object('email', CASE WHEN r / 5 % 3 = 0 THEN ' E' || r / 15 % 9 || '@X.org' END, 'plan', CASE r / 11 % 3 WHEN 0 THEN 'gold' WHEN 1 THEN 'lead' END, 'crm', CASE WHEN r / 13 % 4 = 0 THEN r / 52 % 7 END, 'n', r % 10),
	'context', jsonb_build_object('consent', jsonb_build_object('categoryPreferences', jsonb_build_object('marketing', r % 2 = 0)), 'device', CASE WHEN r / 17 % 5 = 0 THEN jsonb_build_object('id', 'D' || r / 85 % 4) END))) AS payload, (ARRAY['default', 'crm'])[1 + r / 19 % 2] AS source, '2025-01-15'::timestamptz + n * interval '1 day' AS received_at
FROM generate_series(1, 380) n, LATERAL (SELECT ('x' || substr(md5('verify' || n), 1, 7))::bit(28)::integer AS r) x;
INSERT INTO cdp.inbox (received_at, source, payload) SELECT received_at, source, payload FROM stream WHERE n <= 300 ORDER BY n;
SELECT p.messages, p.events FROM cdp.process() p;
-- all that can be known of everybody, by name
CREATE VIEW world AS
	WITH person AS (SELECT profile_id, string_agg(namespace || ':' || value, ' ' ORDER BY namespace, value) AS who FROM cdp.identifiers GROUP BY profile_id)
	SELECT format('profile %s: %s %s %s %s %s %s', who, p.traits, p.computed, p.consents, p.event_count, p.first_seen_at, p.last_seen_at) AS fact FROM person JOIN cdp.profile p USING (profile_id)
	UNION ALL SELECT format('timeline %s: %s', who, cdp.timeline_of(profile_id)) FROM person
	UNION ALL SELECT format('member %s: %s', who, segment) FROM person JOIN cdp.members USING (profile_id)
	UNION ALL SELECT format('identifier %s:%s %s %s %s %s of %s', namespace, value, first_seen_at, last_seen_at, event_count, is_contested, who) FROM cdp.identifiers JOIN person USING (profile_id)
	UNION ALL SELECT format('link %s', l) FROM cdp.links l
	UNION ALL SELECT format('account %s %s: %s', a.who, p.who, m.event_count) FROM cdp.account_members m JOIN person a ON a.profile_id = m.account_id JOIN person p ON p.profile_id = m.profile_id
	UNION ALL SELECT format('fragment %s:%s %s:%s %s %s %s', a.namespace, a.value, i.namespace, i.value, f.traits, f.consents, f.event_count) FROM cdp.fragment f JOIN cdp.identity a ON a.identifier_id = f.anchor_id JOIN cdp.identity i ON i.identifier_id = f.identifier_id
	UNION ALL SELECT format('sign-in %s %s %s: %s', d.value, s.occurred_at, s.message_id, i.value) FROM cdp.sign_in s JOIN cdp.identity d ON d.identifier_id = s.device_id JOIN cdp.identity i ON i.identifier_id = s.identifier_id;
SELECT cdp.retract('25'::text, 'a test') AS retracted \gset
CREATE TABLE before AS SELECT fact FROM world;
CREATE FUNCTION changes() RETURNS TABLE (change text, what text, n bigint) LANGUAGE sql AS $$
	SELECT 'gone', split_part(fact, ' ', 1), count(*) FROM (SELECT fact FROM before EXCEPT SELECT fact FROM world) x GROUP BY 2
	UNION ALL SELECT 'new', split_part(fact, ' ', 1), count(*) FROM (SELECT fact FROM world EXCEPT SELECT fact FROM before) x GROUP BY 2 ORDER BY 1, 2
$$;
SELECT split_part(fact, ' ', 1) AS what, count(*) > 5 AS are_many FROM before GROUP BY 1 ORDER BY 1;
-- what the messages still to come will make of it, had none left
BEGIN;
INSERT INTO cdp.inbox (received_at, source, payload) SELECT received_at, source, payload FROM stream WHERE n > 300 ORDER BY n;
SELECT p.messages, p.events FROM cdp.process() p;
SELECT md5(string_agg(fact, e'\n' ORDER BY fact)) AS later FROM world \gset
ROLLBACK;

-- what cannot be set
SELECT cdp.set_retention('6 days');
SELECT cdp.set_retention('23 hours');
SELECT cdp.set_retention('-13 months');
SELECT cdp.set_retention('13 months -1 day');
SELECT cdp.set_retention('9999999 years');
SELECT cdp.set_retention('1 year', source => 'nowhere');
SELECT cdp.set_retention('1 year', event => '');
SELECT * FROM cdp.apply_retention(0);
SELECT * FROM cdp.apply_retention(NULL);
CREATE ROLE regress_event_retention_reader;
GRANT USAGE ON SCHEMA cdp TO regress_event_retention_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA cdp TO regress_event_retention_reader;
SET ROLE regress_event_retention_reader;
SELECT cdp.set_retention('1 year');
SELECT source, event, keep FROM cdp.retention;
RESET ROLE;

-- of several rules the closest applies; each again takes what is there already
SELECT cdp.set_retention(keep => '10 months');
SELECT cdp.set_retention('2 months', event => 'g');
SELECT cdp.set_retention('3 months', event => 'e');
SELECT cdp.set_retention('13 months', event => 'f'), cdp.set_retention(NULL, event => 'f', source => 'crm');
SELECT * FROM cdp.apply_retention(30);
SELECT part, differences FROM cdp.verify() WHERE differences <> 0;
SELECT * FROM cdp.apply_retention();
SELECT * FROM cdp.apply_retention();
SELECT * FROM cdp.apply_retention();
SELECT * FROM cdp.apply_retention();
SELECT * FROM cdp.retention ORDER BY source, event;
SELECT value, detail FROM cdp.status WHERE name = 'retention';
SELECT s.name AS source, e.name, min(e.received_at), count(*) FROM cdp.event e JOIN cdp.source s USING (source_id) GROUP BY 1, 2 ORDER BY 1, 2;
SELECT min(c.relname) AS first_month FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'cdp.event'::regclass;
SELECT * FROM changes();
SELECT part, checked > 0 AS is_checked, differences FROM cdp.verify();
-- a day later the next day's
SET cdp.clock = '2026-02-01T12:00:00Z';
SELECT done FROM cdp.maintain() WHERE task = 'messages let go';
SELECT done FROM cdp.maintain() WHERE task = 'messages let go';
SELECT * FROM changes();

-- what can no longer be taken back
SELECT cdp.retract('3'::text, 'a test');
SELECT cdp.undo(:retracted);
SELECT count(*) FROM cdp.retracted;

-- rulings, there and back
CREATE FUNCTION there_and_back(there text) RETURNS TABLE (change text, what text, n bigint) LANGUAGE plpgsql AS $$
DECLARE
	ruling bigint;
BEGIN
	EXECUTE 'SELECT ' || there INTO ruling;
	RETURN QUERY SELECT 'wrong', v.part, v.differences FROM cdp.verify() v WHERE v.differences <> 0;
	RETURN QUERY SELECT 'there: ' || c.change, c.what, c.n FROM changes() c WHERE c.what = 'identifier';
	PERFORM cdp.undo(ruling);
	RETURN QUERY SELECT 'wrong again', v.part, v.differences FROM cdp.verify() v WHERE v.differences <> 0;
	RETURN QUERY SELECT 'back: ' || c.change, c.what, c.n FROM changes() c;
END
$$;
SELECT * FROM there_and_back($$cdp.retract('user_id:u3'::cdp.identifier, 'a test')$$);
SELECT * FROM there_and_back($$cdp.retract('anonymous_id:a5'::cdp.identifier, 'a test')$$);
SELECT * FROM there_and_back($$cdp.retract('group_id:g1'::cdp.identifier, 'a test')$$);
SELECT * FROM there_and_back($$cdp.retract('email:e4@x.org'::cdp.identifier, 'a test')$$);
SELECT b.* FROM (SELECT * FROM cdp.links WHERE status = 'accepted' ORDER BY event_count DESC, 1, 2, 3, 4 LIMIT 1) l,
	there_and_back(format('cdp.retract(%L::cdp.identifier, %L::cdp.identifier, %L)', l.namespace_a || ':' || l.value_a, l.namespace_b || ':' || l.value_b, 'a test')) b;
SELECT * FROM there_and_back($$cdp.deny('user_id:u3', 'user_id:u5', 'a test')$$);
-- rules, there and back
SELECT cdp.block_value('a7', 'anonymous_id');
SELECT part, differences FROM cdp.verify() WHERE differences <> 0;
SELECT cdp.unblock_value('a7', 'anonymous_id');
SELECT part, differences FROM cdp.verify() WHERE differences <> 0;
SELECT * FROM changes();
SELECT cdp.drop_namespace('crm_id');
SELECT part, differences FROM cdp.verify() WHERE differences <> 0;
SELECT count(*) FROM cdp.identifiers WHERE namespace = 'crm_id';
SELECT cdp.create_namespace('crm_id', 'contact', 25, 2, normalizer => 'lower', paths => '{identify:traits.crm}');
SELECT part, differences FROM cdp.verify() WHERE differences <> 0;
SELECT * FROM changes();
SELECT what, count FROM cdp.simulate('{"retract": "user_id:u3", "reason": "a test"}') WHERE what LIKE 'identifiers%';
SELECT * FROM changes();
-- and those that what left the log cannot follow: it stays as it was
BEGIN;
SELECT cdp.create_source('crm', -3), cdp.create_property('m'), cdp.create_namespace('phone', 'contact', 15), cdp.create_namespace('email', 'contact', 20, 5, normalizer => 'email_gmail', paths => '{identify:traits.email}');
SELECT part, differences FROM cdp.verify() WHERE differences <> 0;
ROLLBACK;
BEGIN;
SELECT cdp.create_trait('n', 'sum'), cdp.create_trait('plan', 'earliest');
SELECT part, differences FROM cdp.verify() WHERE differences <> 0;
SELECT count(*) > 0 AS are_explained, count(*) FILTER (WHERE verdict = 'counts') AS count FROM cdp.explain_trait(cdp.profile_id('user_id:u3'), 'plan') WHERE source = 'what left the log' HAVING count(*) > 0;
SELECT cdp.drop_trait('n'), cdp.drop_trait('plan');
SELECT part, differences FROM cdp.verify() WHERE differences <> 0;
ROLLBACK;

-- what comes then makes of it what it would have
INSERT INTO cdp.inbox (received_at, source, payload) SELECT received_at, source, payload FROM stream WHERE n > 300 ORDER BY n;
SET cdp.clock = '2026-01-31T12:00:00Z';
SELECT p.messages, p.events, p.duplicates FROM cdp.process() p;
SELECT part, differences FROM cdp.verify() WHERE differences <> 0;
SELECT md5(string_agg(fact, e'\n' ORDER BY fact)) = :'later' AS is_as_if_all_were_there FROM world;
-- a late sign-in on a shared device takes over what the log still has
SELECT events FROM cdp.ingest('{"type": "track", "event": "e", "userId": "u1", "context": {"device": {"id": "D1"}}, "messageId": "late", "timestamp": "2025-08-08T00:00:00Z"}');
SELECT part, differences FROM cdp.verify() WHERE differences <> 0;
-- all of it, with everybody's log empty
SELECT cdp.set_retention('7 days'), cdp.set_retention('7 days', event => 'e'), cdp.set_retention('7 days', event => 'f'), cdp.set_retention('7 days', event => 'f', source => 'crm');
SET cdp.clock = '2026-03-31T12:00:00Z';
SELECT p.messages FROM cdp.process() p;
DELETE FROM before;
INSERT INTO before SELECT fact FROM world;
DO $$
DECLARE
	step record;
BEGIN
	LOOP
		SELECT * INTO step FROM cdp.apply_retention(20);
		EXIT WHEN step.messages + step.partitions = 0;
	END LOOP;
END
$$;
SELECT message_id FROM cdp.event;
SELECT min(c.relname) >= 'event_2026_03' AS are_dropped FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'cdp.event'::regclass;
SELECT part, differences FROM cdp.verify() WHERE differences <> 0;
SELECT * FROM changes();
SELECT * FROM there_and_back($$cdp.retract('user_id:u3'::cdp.identifier, 'a test')$$);
SELECT cdp.init();
SELECT part, differences FROM cdp.verify() WHERE differences <> 0;

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_event_retention;
DROP ROLE regress_event_retention_reader;
