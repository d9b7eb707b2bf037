-- Claim: whatever changes of the rules, the people, links, traits, anchors and segments are those of a database that had the new rules from the start.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_identity_rule;
CREATE DATABASE regress_identity_rule TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_identity_rule SET lc_messages = 'C';
ALTER DATABASE regress_identity_rule SET jit = off;
ALTER DATABASE regress_identity_rule SET client_min_messages = warning;
\c regress_identity_rule
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
-- all that follows from messages and rules, without numbers given out
CREATE VIEW fact AS
	WITH who AS (SELECT profile_id, string_agg(namespace || ':' || value, ' ' ORDER BY namespace, value) AS name FROM cdp.identifiers GROUP BY profile_id)
	SELECT concat_ws(' ', 'person', w.name, p.entity, p.is_disputed, p.traits::text, p.consents::text, p.first_seen_at, p.last_seen_at, p.event_count) AS fact FROM cdp.profile p JOIN who w USING (profile_id)
	UNION ALL SELECT concat_ws(' ', 'identifier', namespace, value, is_contested, first_seen_at, last_seen_at, event_count) FROM cdp.identifiers
	UNION ALL SELECT concat_ws(' ', 'link', a.namespace, a.value, b.namespace, b.value, l.first_seen_at, l.last_seen_at, l.event_count, l.status, l.reason) FROM cdp.link l JOIN cdp.identity a ON a.identifier_id = identifier_a JOIN cdp.identity b ON b.identifier_id = identifier_b
	UNION ALL SELECT concat_ws(' ', 'event', message_id, source, anchor_namespace, anchor_value) FROM cdp.events WHERE anchor_value IS NOT NULL -- without one it would have been rejected from the start
	UNION ALL SELECT concat_ws(' ', 'fragment', a.namespace, a.value, i.namespace, i.value, f.traits::text, f.consents::text, f.first_seen_at, f.last_seen_at, f.event_count) FROM cdp.fragment f JOIN cdp.identity a ON a.identifier_id = f.anchor_id JOIN cdp.identity i ON i.identifier_id = f.identifier_id
	UNION ALL SELECT concat_ws(' ', 'sign in', d.namespace, d.value, i.namespace, i.value, s.occurred_at, s.message_id) FROM cdp.sign_in s JOIN cdp.identity d ON d.identifier_id = s.device_id JOIN cdp.identity i ON i.identifier_id = s.identifier_id
	UNION ALL SELECT concat_ws(' ', 'account', a.name, w.name, m.first_seen_at, m.last_seen_at, m.event_count) FROM cdp.account_members m JOIN who a ON a.profile_id = m.account_id JOIN who w ON w.profile_id = m.profile_id
	UNION ALL SELECT concat_ws(' ', 'member', m.segment, w.name) FROM cdp.membership m JOIN who w USING (profile_id);
-- a stream in which a few people use many identifiers of each kind, in all sorts of spellings
CREATE TABLE stream AS SELECT n, (ARRAY['default', 'crm'])[1 + r / 19 % 2] AS source, jsonb_strip_nulls(jsonb_build_object('type', (ARRAY['track', 'identify', 'page', 'group', 'identify'])[1 + r % 5], 'event', 'Seen', 'messageId', n::text,
	'userId', CASE WHEN r / 6 % 3 = 0 THEN 'u' || r / 18 % 9 END, 'anonymousId', CASE WHEN r / 216 % 4 > 0 OR r / 6 % 3 > 0 THEN 'a' || r / 864 % 12 END, 'groupId', CASE WHEN r % 5 = 3 THEN 'g' || r / 18 % 3 END, 'timestamp', '2026-01-31T10:' || lpad((r / 7 % 60)::text, 2, '0') || ':00Z',
	'traits', jsonb_build_object('email', CASE WHEN r / 5 % 3 = 0 THEN (ARRAY[' E', 'e.', 'e+x'])[1 + r / 15 % 3] || r / 45 % 5 || '@GMail.com' END, 'plan', (ARRAY['gold', 'lead', 'free'])[1 + r / 11 % 3],
		'phone', CASE WHEN r / 23 % 4 = 0 THEN (ARRAY['030 12345', '+49 30 12345'])[1 + r / 92 % 2] || r / 184 % 3 || '0' END, 'crm', CASE WHEN r / 13 % 4 = 0 THEN 'C' || r / 52 % 6 END, 'n', r % 10),
	'context', jsonb_build_object('consent', jsonb_build_object('categoryPreferences', jsonb_build_object('ads', r % 2 = 0)), 'device', CASE WHEN r / 17 % 5 = 0 THEN jsonb_build_object('id', 'D' || r / 85 % 4) END))) AS message
FROM generate_series(1, 250) n, LATERAL (SELECT ('x' || substr(md5('rule' || n), 1, 7))::bit(28)::integer AS r) x;
-- and two who have little to do with them
INSERT INTO stream VALUES (251, 'crm', '{"type":"page","messageId":"251","userId":"v","timestamp":"2026-01-31T09:00:00Z","context":{"device":{"advertisingId":"AD"}}}'),
	(252, 'crm', '{"type":"page","messageId":"252","timestamp":"2026-01-31T09:01:00Z","context":{"device":{"advertisingId":"ad"},"traits":{"email":"V@x.org"}}}'),
	(254, 'crm', '{"type":"identify","messageId":"254","timestamp":"2026-01-31T09:03:00Z","traits":{"phone":"0171 1234567","plan":"gold"},"anonymousId":"x"}'),
	(253, 'default', '{"type":"track","event":"Seen","messageId":"253","anonymousId":"w","timestamp":"2026-01-31T09:02:00Z","context":{"traits":{"email":"w@x.org"}}}');
CREATE FUNCTION send() RETURNS bigint LANGUAGE sql AS $$
	SELECT sum((cdp.ingest((SELECT jsonb_build_object('batch', jsonb_agg(message ORDER BY n)) FROM stream s WHERE s.source = x.source), x.source)).events)::bigint FROM (VALUES ('default'), ('crm')) x (source)
$$;

-- the changes: each made before the first message, and after the last
CREATE TABLE change (id integer GENERATED ALWAYS AS IDENTITY, what text, statement text);
INSERT INTO change (what, statement) VALUES
	('a higher limit', $$SELECT cdp.apply_change('{"namespace": {"name": "user_id", "max_per_profile": 2}}')$$),
	('a lower limit', $$SELECT cdp.apply_change('{"namespace": {"name": "email", "max_per_profile": 1}}')$$),
	('no limit', $$SELECT cdp.apply_change('{"namespace": {"name": "user_id", "max_per_profile": null}}')$$),
	('other priorities', $$SELECT cdp.apply_change('{"namespace": {"name": "user_id", "priority": 25}}')$$),
	('a bridge always', $$SELECT cdp.apply_change('{"namespace": {"name": "anonymous_id", "bridge": "always"}}')$$),
	('a bridge never', $$SELECT cdp.apply_change('{"namespace": {"name": "advertising_id", "bridge": "never"}}')$$),
	('a contact is a device', $$SELECT cdp.apply_change('{"namespace": {"name": "email", "kind": "device"}}')$$),
	('a device is a contact', $$SELECT cdp.apply_change('{"namespace": {"name": "anonymous_id", "kind": "contact"}}')$$),
	('an account is a person', $$SELECT cdp.apply_change('{"namespace": {"name": "group_id", "entity": "person", "priority": 50, "kind": "contact"}}')$$),
	('a person is an account', $$SELECT cdp.apply_change('{"namespace": {"name": "email", "entity": "account"}}')$$),
	('another normal form', $$SELECT cdp.apply_change('{"namespace": {"name": "email", "normalizer": "email_gmail"}}')$$),
	('no normal form', $$SELECT cdp.apply_change('{"namespace": {"name": "device_id", "normalizer": "none"}}')$$),
	('a valid pattern', $$SELECT cdp.apply_change('{"namespace": {"name": "anonymous_id", "valid_pattern": "^a[0-5]$"}}')$$),
	('other paths', $$SELECT cdp.apply_change('{"namespace": {"name": "email", "paths": ["identify:traits.email"]}}')$$),
	('no paths', $$SELECT cdp.apply_change('{"namespace": {"name": "anonymous_id", "paths": []}}')$$),
	('a new namespace', $$SELECT cdp.create_namespace('crm_id', 'contact', 15, 1, normalizer => 'lower', paths => '{traits.crm}')$$),
	('a new device', $$SELECT cdp.create_namespace('crm_id', 'device', 95, paths => '{traits.crm}')$$),
	('a namespace dropped', $$SELECT cdp.drop_namespace('user_id')$$),
	('a device dropped', $$SELECT cdp.drop_namespace('anonymous_id')$$),
	('accounts dropped', $$SELECT cdp.drop_namespace('group_id')$$),
	('a value blocked', $$SELECT cdp.block_value('U3', 'user_id')$$),
	('a value blocked everywhere', $$SELECT cdp.block_value('a1')$$),
	('a pattern blocked', $$SELECT cdp.block_value('[12]$', 'anonymous_id', true)$$),
	('a pattern blocked everywhere', $$SELECT cdp.block_value('3', is_pattern => true)$$),
	('an account blocked', $$SELECT cdp.block_value('g1', 'group_id')$$),
	('a source of higher rank', $$SELECT cdp.create_source('crm', 5)$$),
	('a phone region', $$SELECT cdp.create_source('crm', phone_region => 'DE')$$),
	('rank and region', $$SELECT cdp.create_source('default', 7, phone_region => 'DE')$$),
	('a pin', $$SELECT cdp.pin('user_id:u1', 'email:e.1@gmail.com', 'x')$$),
	('a denial', $$SELECT cdp.deny('user_id:v', 'email:v@x.org', 'x')$$),
	('several', $$SELECT cdp.apply_change(c) FROM jsonb_array_elements('[{"namespace": {"name": "user_id", "max_per_profile": 3}}, {"drop_namespace": "phone"}, {"block_value": {"value": "a4"}}, {"namespace": {"name": "email", "bridge": "never", "kind": "device", "priority": 70}}, {"namespace": {"name": "user_id", "priority": 40}}]') c$$);
-- made and taken back: as if never made
CREATE TABLE there_and_back (id integer GENERATED ALWAYS AS IDENTITY, what text, there text, back text);
INSERT INTO there_and_back (what, there, back)
SELECT 'the namespace ' || name, format('SELECT cdp.drop_namespace(%L)', name), format('SELECT cdp.create_namespace(%L, %L, %s, %s, %L, %L, %L, %L, %L)', name, kind, priority, coalesce(max_per_profile::text, 'NULL'), bridge, normalizer, valid_pattern, paths, entity) FROM cdp.namespace ORDER BY name;
INSERT INTO there_and_back (what, there, back) VALUES
	('a limit', $$SELECT cdp.apply_change('{"namespace": {"name": "user_id", "max_per_profile": null}}')$$, $$SELECT cdp.apply_change('{"namespace": {"name": "user_id", "max_per_profile": 1}}')$$),
	('a normal form', $$SELECT cdp.apply_change('{"namespace": {"name": "email", "normalizer": "none"}}')$$, $$SELECT cdp.apply_change('{"namespace": {"name": "email", "normalizer": "email"}}')$$),
	('a value', $$SELECT cdp.block_value('a1')$$, $$SELECT cdp.unblock_value('a1')$$),
	('a value in another spelling', $$SELECT cdp.block_value('d1', 'device_id')$$, $$SELECT cdp.unblock_value(' D1 ', 'device_id')$$),
	('a pattern', $$SELECT cdp.block_value('^.[0-4]', is_pattern => true)$$, $$SELECT cdp.unblock_value('^.[0-4]', is_pattern => true)$$),
	('a rank', $$SELECT cdp.create_source('crm', 5)$$, $$SELECT cdp.create_source('crm')$$),
	('a region', $$SELECT cdp.create_source('crm', phone_region => 'DE')$$, $$SELECT cdp.create_source('crm')$$),
	('rank and region', $$SELECT cdp.create_source('crm', 3, phone_region => 'DE')$$, $$SELECT cdp.create_source('crm')$$);

CREATE FUNCTION facts() RETURNS text[] LANGUAGE sql AS $$ SELECT array_agg(fact ORDER BY fact) FROM fact $$;
CREATE FUNCTION differing() RETURNS text LANGUAGE sql AS $$ SELECT coalesce(string_agg(part || ' ' || differences, ', '), 'none') FROM cdp.verify() WHERE differences > 0 $$;
-- what statements leave, taken back
CREATE FUNCTION facts_after(statements text[], OUT facts text[], OUT differing text) LANGUAGE plpgsql AS $$
DECLARE
	statement text;
BEGIN
	FOREACH statement IN ARRAY statements LOOP
		EXECUTE statement;
	END LOOP;
	facts := facts();
	differing := differing();
	RAISE EXCEPTION USING ERRCODE = 'ROLLB';
EXCEPTION WHEN SQLSTATE 'ROLLB' THEN
	NULL;
END
$$;
SELECT cdp.create_source('crm'), cdp.create_segment('gold', $$count('Seen') >= 3$$);
CREATE TABLE wanted AS SELECT id, (facts_after(ARRAY[statement, 'SELECT send()'])).* FROM change;
SELECT send();
CREATE TABLE was AS SELECT facts() AS facts;
CREATE TABLE got AS SELECT id, (facts_after(ARRAY[statement])).* FROM change;
SELECT count(*) AS facts, count(*) FILTER (WHERE fact LIKE 'person%') AS people, count(*) FILTER (WHERE fact LIKE 'member%') > 2 AS some_members, count(*) FILTER (WHERE fact LIKE 'sign in%') > 10 AS some_sign_ins,
	count(*) FILTER (WHERE fact LIKE 'link%rejected%') > 10 AS some_rejected FROM fact;
SELECT c.what, got.facts = wanted.facts AS as_from_the_start, got.facts <> was.facts AS changed_something, got.differing, wanted.differing AS from_the_start
FROM change c JOIN got USING (id) JOIN wanted USING (id), was ORDER BY id;
-- nothing was left behind by all these
SELECT facts() = facts FROM was;
SELECT t.what, b.facts = was.facts AS as_before, b.differing FROM there_and_back t, was, facts_after(ARRAY[there, back]) b ORDER BY id;
-- one after the other, the profile ids too: what is raised and lowered again
CREATE TABLE ids AS SELECT namespace, value, profile_id FROM cdp.identifiers;
SELECT cdp.apply_change('{"namespace": {"name": "user_id", "max_per_profile": null}}');
SELECT count(DISTINCT profile_id) < (SELECT count(DISTINCT profile_id) FROM ids) AS merged FROM cdp.identifiers;
SELECT count(*) > 0 AS told FROM cdp.changes WHERE kind = 'profile_merged' AND data ->> 'merged_profile_id' IN (SELECT profile_id::text FROM ids);
SELECT DISTINCT cause FROM cdp.identity_change WHERE cause <> 'seen' ORDER BY 1;
SELECT cdp.apply_change('{"namespace": {"name": "user_id", "max_per_profile": 1}}');
SELECT count(*) AS other FROM ids FULL JOIN cdp.identifiers i USING (namespace, value) WHERE i.profile_id IS DISTINCT FROM ids.profile_id;
SELECT facts() = facts FROM was;

-- a change that changes nothing writes nothing
SELECT max(change_id) AS last FROM cdp.changes \gset
SELECT cdp.create_namespace('user_id', 'person', 10, 1, paths => '{userId}'), cdp.create_source('crm'), cdp.block_value('nobody-has-this');
SELECT count(*) FROM cdp.changes WHERE change_id > :last;

-- refused, with a reason and a hint, and nothing changed
SELECT cdp.pin('user_id:u1', 'email:e.1@gmail.com', 'x') AS ruling \gset
CREATE TABLE before AS SELECT facts() AS facts;
SELECT statement, error_of(statement) FROM (VALUES
	($$SELECT cdp.create_namespace('Card')$$), ($$SELECT cdp.create_namespace(NULL)$$), ($$SELECT cdp.create_namespace('card', max_per_profile => 0)$$), ($$SELECT cdp.create_namespace('card', priority => 20)$$), ($$SELECT cdp.create_namespace('card', priority => 0)$$),
	($$SELECT cdp.create_namespace('card', 'thing')$$), ($$SELECT cdp.create_namespace('card', bridge => 'maybe')$$), ($$SELECT cdp.create_namespace('card', normalizer => 'upper')$$), ($$SELECT cdp.create_namespace('card', valid_pattern => '(')$$), ($$SELECT cdp.create_namespace('card', paths => '{traits..card}')$$),
	($$SELECT cdp.create_namespace('email', max_per_profile => -1)$$), ($$SELECT cdp.drop_namespace('card')$$), ($$SELECT cdp.drop_namespace(NULL)$$), ($$SELECT cdp.drop_namespace('user_id')$$),
	($$SELECT cdp.block_value('x', 'card')$$), ($$SELECT cdp.block_value('')$$), ($$SELECT cdp.block_value(NULL)$$), ($$SELECT cdp.block_value('(', is_pattern => true)$$), ($$SELECT cdp.unblock_value('x')$$), ($$SELECT cdp.unblock_value('x', 'card')$$), ($$SELECT cdp.unblock_value(NULL)$$),
	($$SELECT cdp.create_source('crm', phone_region => 'XX')$$), ($$SELECT cdp.create_source('crm', 99999)$$)) t (statement);
SELECT facts() = facts FROM before;
SELECT part, checked > 0 AS is_checked, differences FROM cdp.verify();

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_identity_rule;
