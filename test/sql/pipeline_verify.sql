-- cdp.verify() finds no difference in what the platform wrote, and one for whatever is changed by hand.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipeline_verify;
CREATE DATABASE regress_pipeline_verify TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_pipeline_verify SET lc_messages = 'C';
ALTER DATABASE regress_pipeline_verify SET jit = off;
ALTER DATABASE regress_pipeline_verify SET client_min_messages = warning;
\c regress_pipeline_verify
CREATE EXTENSION cdp;
SELECT cdp.init();
SET cdp.clock = '2026-01-31T12:00:00Z';
-- nothing yet
SELECT * FROM cdp.verify();

-- all kinds of messages: shared devices, ties, late ones, groups, aliases, nobody, numbers, two sources, an envelope
SELECT cdp.create_source('crm', 3), cdp.create_namespace('crm_id', 'contact', 25, 2, normalizer => 'lower', paths => '{identify:traits.crm}'), cdp.create_segment('golden', $$trait plan = 'gold'$$), cdp.create_trait('did', computed => 'count(e)');
CREATE TABLE stream AS SELECT n, jsonb_strip_nulls(jsonb_build_object('type', (ARRAY['track', 'identify', 'page', 'group', 'alias', 'identify'])[1 + r % 6], 'event', 'e', 'messageId', n::text, 'userId', CASE WHEN r / 6 % 3 > 0 OR r % 6 = 4 THEN 'u' || r / 18 % 12 END,
	'anonymousId', CASE WHEN r / 216 % 4 > 0 THEN 'a' || r / 864 % 15 ELSE '0' END, 'groupId', CASE WHEN r % 6 = 3 THEN 'g' || r / 18 % 3 END, 'previousId', CASE WHEN r % 6 = 4 THEN 'a' || r / 18 % 15 END,
	'timestamp', '2026-01-31T10:' || lpad((r / 7 % 60)::text, 2, '0') || ':00Z', 'traits', jsonb_build_object('email', CASE WHEN r / 5 % 3 = 0 THEN ' E' || r / 15 % 9 || '@X.org' END, 'plan', CASE r / 11 % 3 WHEN 0 THEN 'gold' WHEN 1 THEN 'lead' END, 'crm', CASE WHEN r / 13 % 4 = 0 THEN r / 52 % 7 END, 'n', r % 10),
	'context', jsonb_build_object('consent', jsonb_build_object('categoryPreferences', jsonb_build_object('marketing', r % 2 = 0)), 'device', CASE WHEN r / 17 % 5 = 0 THEN jsonb_build_object('id', 'D' || r / 85 % 4) END))) AS payload, (ARRAY['default', 'crm'])[1 + r / 19 % 2] AS source
FROM generate_series(1, 400) n, LATERAL (SELECT ('x' || substr(md5('verify' || n), 1, 7))::bit(28)::integer AS r) x;
SELECT sum(i.events) FROM (SELECT * FROM stream WHERE n <= 150 ORDER BY md5(n::text) OFFSET 0) s, LATERAL (SELECT * FROM cdp.ingest(s.payload, s.source) OFFSET 0) i;
SELECT i.events, i.rejected FROM cdp.ingest((SELECT jsonb_build_object('batch', jsonb_agg(payload), 'context', '{"device":{"id":"D9"}}'::jsonb) FROM stream WHERE n BETWEEN 151 AND 200)) i;
BEGIN;
INSERT INTO cdp.inbox (received_at, source, payload) SELECT '2026-01-31T12:00:00Z', source, payload FROM stream WHERE n > 200 ORDER BY n;
SELECT p.messages, p.events FROM cdp.process(90) p;
SELECT p.messages, p.events FROM cdp.process() p;
COMMIT;
SELECT part, checked > 0 AS is_checked, differences FROM cdp.verify();
-- one part of it
SELECT string_agg(part, ', ') AS identity FROM cdp.verify('identity');
SELECT string_agg(part, ', ') AS profile FROM cdp.verify('profile');
SELECT string_agg(part, ', ') AS segment FROM cdp.verify('segment');
\set VERBOSITY default
\set SHOW_CONTEXT never
SELECT * FROM cdp.verify('people');
\set VERBOSITY terse
-- the stream is what it should be
SELECT count(*) > 10 AS rejected_links FROM cdp.links WHERE status = 'rejected';
SELECT count(*) > 0 AS merged, count(*) FILTER (WHERE merged_into IS NULL) > 5 AS live FROM cdp.profile;

-- tampering: each by hand, found, and rolled back
CREATE TABLE tampering (id integer GENERATED ALWAYS AS IDENTITY, what text, statement text);
INSERT INTO tampering (what, statement) VALUES
	('a trait', $$UPDATE cdp.fragment SET traits = cdp.merge(traits, cdp.traits('{"plan":"none"}', '2027-01-01')) WHERE identifier_id = (SELECT min(identifier_id) FROM cdp.fragment WHERE traits IS NOT NULL)$$),
	('a trait of a profile', $$UPDATE cdp.profile SET traits = cdp.merge(traits, cdp.traits('{"plan":"none"}', '2027-01-01')) WHERE profile_id = (SELECT min(profile_id) FROM cdp.profile WHERE traits IS NOT NULL AND merged_into IS NULL)$$),
	('traits lost', $$UPDATE cdp.fragment SET traits = NULL WHERE identifier_id = (SELECT min(identifier_id) FROM cdp.fragment WHERE traits IS NOT NULL)$$),
	('a fragment lost', $$DELETE FROM cdp.fragment WHERE identifier_id = (SELECT min(f.identifier_id) FROM cdp.fragment f JOIN cdp.identity i USING (identifier_id) WHERE namespace = 'user_id')$$),
	('a fragment too many', $$INSERT INTO cdp.fragment (anchor_id, identifier_id, event_count) SELECT min(identifier_id), min(identifier_id), 1 FROM cdp.identity WHERE identifier_id NOT IN (SELECT identifier_id FROM cdp.fragment)$$),
	('a count of events', $$UPDATE cdp.fragment SET event_count = event_count + 1 WHERE identifier_id = (SELECT min(identifier_id) FROM cdp.fragment)$$),
	('a consent', $$UPDATE cdp.profile SET consents = cdp.merge(consents, '{"marketing":{"at":"2027-01-01","value":true}}') WHERE profile_id = (SELECT min(profile_id) FROM cdp.profile WHERE merged_into IS NULL AND consents IS NOT NULL)$$),
	('a consent of a fragment', $$UPDATE cdp.fragment SET consents = cdp.merge(consents, '{"marketing":{"at":"2027-01-01","value":true}}') WHERE identifier_id = (SELECT min(identifier_id) FROM cdp.fragment WHERE consents IS NOT NULL)$$),
	('a consent of both', $$UPDATE cdp.fragment SET consents = cdp.merge(consents, '{"marketing":{"at":"2027-01-01","value":true}}'); UPDATE cdp.profile p SET consents = (SELECT cdp.merge_consents(f.consents) FROM cdp.fragment f JOIN cdp.identity i ON i.identifier_id = f.anchor_id WHERE i.profile_id = p.profile_id) WHERE merged_into IS NULL$$),
	('an account''s trait', $$UPDATE cdp.fragment f SET traits = cdp.merge(traits, cdp.traits('{"n":-1}', '2027-01-01')) FROM cdp.identity i WHERE i.identifier_id = f.identifier_id AND i.namespace = 'group_id' AND i.value = 'g1'$$),
	('an account''s trait, both', $$UPDATE cdp.fragment f SET traits = cdp.merge(traits, cdp.traits('{"n":-1}', '2027-01-01')) FROM cdp.identity i WHERE i.identifier_id = f.identifier_id AND i.namespace = 'group_id' AND i.value = 'g1'; UPDATE cdp.profile p SET traits = f.traits FROM cdp.fragment f JOIN cdp.identity i ON i.identifier_id = f.anchor_id WHERE i.profile_id = p.profile_id AND i.namespace = 'group_id' AND i.value = 'g1'$$),
	('a timeline', $$UPDATE cdp.timeline_part SET events = cdp.add(events, cdp.timeline('e', '2026-01-31T12:00:00Z')) WHERE anchor_id = (SELECT min(anchor_id) FROM cdp.timeline_part)$$),
	('a timeline lost', $$DELETE FROM cdp.timeline_part WHERE anchor_id = (SELECT min(anchor_id) FROM cdp.timeline_part)$$),
	('a timeline too many', $$INSERT INTO cdp.timeline_part (anchor_id, identifier_id, month, part, events) SELECT anchor_id, identifier_id, month, 7, events FROM cdp.timeline_part LIMIT 1$$),
	('a timeline''s month', $$UPDATE cdp.timeline_part SET month = month - 1$$),
	('an event''s name', $$UPDATE cdp.event SET name = 'other' WHERE message_id = (SELECT min(message_id) FROM cdp.event WHERE name IS NOT NULL AND identifier_id > 0)$$),
	('a computed trait', $$UPDATE cdp.profile SET computed = '{"did":{"at":"2026-01-31","rank":0,"rule":"computed","value":-1}}' WHERE profile_id = (SELECT min(profile_id) FROM cdp.profile WHERE computed IS NOT NULL)$$),
	('a computed trait lost', $$UPDATE cdp.profile SET computed = NULL WHERE profile_id = (SELECT min(profile_id) FROM cdp.profile WHERE computed IS NOT NULL)$$),
	('a link''s count', $$UPDATE cdp.link SET event_count = event_count + 1 WHERE (identifier_a, identifier_b) = (SELECT identifier_a, identifier_b FROM cdp.link ORDER BY 1, 2 LIMIT 1)$$),
	('a link''s time', $$UPDATE cdp.link SET last_seen_at = last_seen_at + interval '1 second' WHERE (identifier_a, identifier_b) = (SELECT identifier_a, identifier_b FROM cdp.link ORDER BY 1, 2 LIMIT 1)$$),
	('a link lost', $$DELETE FROM cdp.link WHERE (identifier_a, identifier_b) = (SELECT identifier_a, identifier_b FROM cdp.link WHERE status = 'redundant' ORDER BY 1, 2 LIMIT 1)$$),
	('a link too many', $$INSERT INTO cdp.link SELECT min(identifier_id), 1000000, now(), now(), 1 FROM cdp.identity$$),
	('a link''s judgement', $$UPDATE cdp.link SET status = 'accepted', reason = NULL WHERE (identifier_a, identifier_b) = (SELECT identifier_a, identifier_b FROM cdp.link WHERE status = 'rejected' ORDER BY 1, 2 LIMIT 1)$$),
	('a link''s reason', $$UPDATE cdp.link SET reason = 'why not' WHERE (identifier_a, identifier_b) = (SELECT identifier_a, identifier_b FROM cdp.link WHERE status = 'rejected' ORDER BY 1, 2 LIMIT 1)$$),
	('an identifier moved', $$UPDATE cdp.identity SET profile_id = (SELECT max(profile_id) FROM cdp.profile WHERE merged_into IS NULL) WHERE identifier_id = (SELECT min(identifier_id) FROM cdp.identity)$$),
	('an identifier''s count', $$UPDATE cdp.identity SET event_count = event_count - 1 WHERE identifier_id = (SELECT min(identifier_id) FROM cdp.identity)$$),
	('an identifier''s time', $$UPDATE cdp.identity SET first_seen_at = first_seen_at - interval '1 second' WHERE identifier_id = (SELECT min(identifier_id) FROM cdp.identity)$$),
	('an identifier renamed', $$UPDATE cdp.identity SET value = value || 'x' WHERE identifier_id = (SELECT min(identifier_id) FROM cdp.identity)$$),
	('an identifier too many', $$INSERT INTO cdp.identity (namespace, value, profile_id, first_seen_at, last_seen_at, event_count) SELECT 'user_id', 'ghost', min(profile_id), now(), now(), 1 FROM cdp.profile WHERE merged_into IS NULL$$),
	('an event lost', $$DELETE FROM cdp.event WHERE message_id = '7'$$),
	('an event''s anchor', $$UPDATE cdp.event SET identifier_id = identifier_id + 1 WHERE message_id = (SELECT min(message_id) FROM cdp.event WHERE identifier_id > 0)$$),
	('an event''s message', $$UPDATE cdp.event SET message = message || '{"userId":"other"}' WHERE message_id = (SELECT min(message_id) FROM cdp.event WHERE message ? 'userId')$$),
	('an event''s time', $$UPDATE cdp.event SET occurred_at = '2020-01-01' WHERE message_id = (SELECT min(message_id) FROM cdp.event WHERE identifier_id > 0)$$),
	('a device''s holder', $$UPDATE cdp.sign_in SET identifier_id = identifier_id + 1 WHERE occurred_at = (SELECT min(occurred_at) FROM cdp.sign_in)$$),
	('a sign-in lost', $$DELETE FROM cdp.sign_in WHERE occurred_at = (SELECT min(occurred_at) FROM cdp.sign_in)$$),
	('a device contested', $$UPDATE cdp.identity SET is_contested = NOT is_contested WHERE identifier_id = (SELECT min(identifier_id) FROM cdp.identity WHERE namespace = 'anonymous_id')$$),
	('an account''s member lost', $$DELETE FROM cdp.link WHERE status = 'related' AND identifier_a = (SELECT min(identifier_a) FROM cdp.link WHERE status = 'related')$$),
	('a profile lost', $$DELETE FROM cdp.profile WHERE profile_id = (SELECT min(profile_id) FROM cdp.profile WHERE merged_into IS NULL)$$),
	('a profile too many', $$INSERT INTO cdp.profile (profile_id, entity, component_id) VALUES (1000000, 'person', 1000000)$$),
	('a redirect', $$UPDATE cdp.profile SET merged_into = NULL WHERE profile_id = (SELECT min(profile_id) FROM cdp.profile WHERE merged_into IS NOT NULL)$$),
	('a redirect elsewhere', $$UPDATE cdp.profile SET merged_into = (SELECT max(profile_id) FROM cdp.profile WHERE merged_into IS NULL) WHERE profile_id = (SELECT min(profile_id) FROM cdp.profile WHERE merged_into IS NOT NULL)$$),
	('a profile''s times', $$UPDATE cdp.profile SET first_seen_at = '2000-01-01' WHERE profile_id = (SELECT min(profile_id) FROM cdp.profile WHERE merged_into IS NULL)$$),
	('a component', $$UPDATE cdp.profile SET component_id = 0 WHERE profile_id = (SELECT min(profile_id) FROM cdp.profile WHERE is_disputed)$$),
	('a dispute', $$UPDATE cdp.profile SET is_disputed = false WHERE is_disputed$$),
	('a member lost', $$DELETE FROM cdp.membership WHERE profile_id = (SELECT min(profile_id) FROM cdp.membership)$$),
	('a member too many', $$INSERT INTO cdp.membership (segment, profile_id, since) SELECT 'golden', max(p.profile_id), now() FROM cdp.profile p WHERE merged_into IS NULL AND entity = 'person' AND NOT EXISTS (SELECT FROM cdp.membership m WHERE m.profile_id = p.profile_id)$$);
CREATE FUNCTION tamper(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	found text;
	one text;
BEGIN
	FOREACH one IN ARRAY string_to_array(statement, '; ') LOOP
		EXECUTE one;
	END LOOP;
	SELECT string_agg(v.part, ', ' ORDER BY v.part) INTO found FROM cdp.verify() v WHERE v.differences > 0;
	RAISE EXCEPTION USING ERRCODE = 'TAMPE', MESSAGE = coalesce(found, 'NOT FOUND');
EXCEPTION WHEN SQLSTATE 'TAMPE' THEN
	RETURN SQLERRM;
END
$$;
CREATE TABLE found AS SELECT t.id, t.what, tamper(t.statement) AS found_in FROM tampering t;
SELECT what AS not_found FROM found WHERE found_in = 'NOT FOUND' ORDER BY id;
SELECT what, found_in FROM found ORDER BY id;
SELECT part, differences FROM cdp.verify() WHERE differences <> 0;

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_pipeline_verify;
