-- Claim: who belongs to which account follows from the messages that mention both, whatever becomes of people and accounts; an account never makes two people one.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_identity_account;
CREATE DATABASE regress_identity_account TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_identity_account SET lc_messages = 'C';
ALTER DATABASE regress_identity_account SET jit = off;
ALTER DATABASE regress_identity_account SET client_min_messages = warning;
\c regress_identity_account
CREATE EXTENSION cdp;
SELECT cdp.init();
SET cdp.clock = '2026-01-31T12:00:00Z';
CREATE FUNCTION see(id text, minute integer, message jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT events || ' event' FROM cdp.ingest('{"type": "group"}' || message || jsonb_build_object('messageId', id, 'timestamp', '2026-01-31T10:' || to_char(minute, 'FM00') || ':00Z'))
$$;
CREATE FUNCTION names(profile_id bigint) RETURNS text LANGUAGE sql AS $$ SELECT string_agg(i.value, ' ' ORDER BY i.value) FROM cdp.identifiers i WHERE i.profile_id = $1 $$;
CREATE VIEW member AS SELECT names(account_id) AS account, names(profile_id) AS person, to_char(first_seen_at, 'HH24:MI') AS first, to_char(last_seen_at, 'HH24:MI') AS last, event_count AS n FROM cdp.account_members ORDER BY 1, 2;
CREATE VIEW account AS SELECT names(profile_id) AS account, traits, event_count AS n FROM cdp.profiles WHERE entity = 'account' ORDER BY 1;
CREATE VIEW link AS SELECT a.value AS value_a, b.value AS value_b, l.event_count AS n, l.status, l.reason FROM cdp.link l JOIN cdp.identity a ON a.identifier_id = l.identifier_a JOIN cdp.identity b ON b.identifier_id = l.identifier_b ORDER BY 1, 2;
SELECT cdp.create_segment('seen', $$count('Seen') >= 0$$);

-- two people of one account, one of them of a second; traits of a group message are the account's, of whoever sent it
SELECT see('1', 1, '{"userId": "ann", "groupId": "acme", "traits": {"plan": "pro", "seats": 5}}'), see('2', 2, '{"userId": "bob", "anonymousId": "web", "groupId": "acme", "traits": {"seats": 7}}'), see('3', 3, '{"userId": "bob", "groupId": "initech", "traits": {"plan": "free"}}'), see('4', 4, '{"type": "track", "event": "Seen", "userId": "bob", "context": {"groupId": "acme"}}'), see('5', 5, '{"type": "identify", "userId": "ann", "traits": {"plan": "mine"}}');
SELECT * FROM member;
SELECT * FROM account;
SELECT * FROM link;
SELECT names(profile_id) AS person, traits, event_count FROM cdp.profiles WHERE entity = 'person' ORDER BY 1;
SELECT cdp.profile('group_id:acme') - 'profile_id' - 'consents' AS acme;
-- such links are no links of people: not among cdp.links, nothing is explained by them, nobody hangs by them
SELECT namespace_a, value_a, value_b, status FROM cdp.links;
SELECT count(*) FROM cdp.explain_link('user_id:ann', 'user_id:bob');
SELECT count(*) FROM cdp.why_not_linked('user_id:ann', 'user_id:bob');
SELECT a, b FROM cdp.weak_links(cdp.profile_id('user_id:bob'));
SELECT count(*) FROM cdp.hubs;
SELECT count(*) FROM cdp.rejected_links;
-- accounts are in no segment
SELECT names(profile_id) FROM cdp.members ORDER BY 1;

-- whom a message names only by a device or an address is a member too; one that comes from the account alone has no member
SELECT see('6', 6, '{"anonymousId": "web", "groupId": "acme"}'), see('7', 7, '{"anonymousId": "kiosk", "groupId": "acme", "traits": {"city": "Bern"}}'), see('8', 8, '{"groupId": "hooli", "traits": {"seats": 1}}');
SELECT * FROM member;
SELECT * FROM account;
-- people that become one are one member
SELECT see('9', 9, '{"type": "alias", "userId": "ann", "previousId": "kiosk"}');
SELECT * FROM member;
SELECT cdp.deny('user_id:ann', 'anonymous_id:kiosk', 'not hers') AS ruling \gset
SELECT * FROM member;
SELECT cdp.undo(:ruling);
SELECT * FROM member;

-- an account known by two namespaces: merged as people are, with limits; the first counts
SELECT cdp.create_namespace('crm_account', 'contact', 20, 2, paths => '{context.crmAccount}', entity => 'account');
SELECT see('10', 10, '{"userId": "cat", "groupId": "acme", "context": {"crmAccount": "A-1"}, "traits": {"tier": 1}}'), see('11', 11, '{"userId": "dan", "context": {"crmAccount": "A-1"}, "groupId": "acme"}'), see('12', 12, '{"type": "page", "userId": "eve", "context": {"crmAccount": "A-1"}}'), see('13', 13, '{"type": "page", "userId": "eve", "context": {"crmAccount": "A-2"}}');
SELECT * FROM member;
SELECT * FROM account;
SELECT * FROM link WHERE value_b ~ '^A-';
-- one account, two ids of the group: a limit, as with people
SELECT see('14', 14, '{"type": "page", "userId": "fay", "groupId": "umbrella", "context": {"crmAccount": "A-1"}}');
SELECT * FROM link WHERE value_b = 'A-1';
SELECT * FROM member WHERE account ~ 'A-1';
SELECT "from", "to", reason, competing FROM cdp.why_not_linked('group_id:acme', 'group_id:umbrella');
SELECT part, differences FROM cdp.verify() WHERE differences > 0;

-- retracted: a message, with what it said of the account; the account; a member
SELECT cdp.retract('2', 'a test') AS ruling \gset
SELECT * FROM member WHERE account ~ 'acme';
SELECT account, traits FROM account;
SELECT cdp.undo(:ruling);
SELECT * FROM member WHERE account ~ 'acme';
SELECT account, traits FROM account;
SELECT cdp.retract('group_id:acme', 'a test account') AS ruling \gset
SELECT * FROM member;
SELECT * FROM account;
SELECT part, differences FROM cdp.verify() WHERE differences > 0;
SELECT cdp.undo(:ruling);
SELECT * FROM member;
SELECT * FROM account;
SELECT cdp.retract('user_id:bob', 'a tester') AS ruling \gset
SELECT * FROM member;
SELECT * FROM account;
SELECT cdp.undo(:ruling);
SELECT part, differences FROM cdp.verify() WHERE differences > 0;
-- and a membership, as a link between a person and an account
SELECT cdp.retract('user_id:ann', 'group_id:acme', 'left long ago');
SELECT cdp.deny('user_id:ann', 'group_id:acme', 'left long ago');

-- many accounts whose traits one envelope says, of one person
SELECT sum(i.events) FROM generate_series(1, 40) k, LATERAL (SELECT * FROM cdp.ingest((SELECT jsonb_build_object('batch', jsonb_agg(jsonb_build_object('type', 'group', 'userId', 'zoe',
	'groupId', k || '-' || n, 'messageId', 'many-' || k || '-' || n, 'traits', jsonb_build_object('n', n)))) FROM generate_series(1, 12 * k) n)::text) OFFSET 0) i;
SELECT count(*), sum((traits ->> 'n')::int) FROM cdp.profiles WHERE entity = 'account' AND traits ? 'n';

-- in any order and batching the same
CREATE TABLE script AS SELECT n, jsonb_strip_nulls(jsonb_build_object('type', (ARRAY['group', 'page', 'identify'])[1 + r % 3], 'messageId', '%1$s' || n, 'timestamp', '2026-01-31T09:' || lpad((r / 3 % 60)::text, 2, '0') || ':00Z', 'userId', CASE WHEN r / 7 % 3 > 0 THEN '%1$su' || r / 21 % 6 END, 'anonymousId', '%1$sa' || r / 5 % 5,
	'groupId', CASE WHEN r / 11 % 3 > 0 THEN '%1$sg' || r / 33 % 4 END, 'traits', jsonb_build_object('n', r % 10), 'context', jsonb_build_object('crmAccount', CASE WHEN r / 13 % 2 > 0 THEN '%1$sc' || r / 26 % 5 END)))::text AS payload
FROM generate_series(1, 80) n, LATERAL (SELECT ('x' || substr(md5('account' || n), 1, 7))::bit(28)::integer AS r) x;
SELECT sum(i.events) FROM (SELECT * FROM script ORDER BY n OFFSET 0) s, LATERAL (SELECT * FROM cdp.ingest(format(payload, 'g1-')) OFFSET 0) i;
SELECT sum(i.events) FROM (SELECT * FROM script ORDER BY n DESC OFFSET 0) s, LATERAL (SELECT * FROM cdp.ingest(format(payload, 'g2-')) OFFSET 0) i;
SELECT events FROM cdp.ingest((SELECT '{"batch":[' || string_agg(format(payload, 'g3-'), ',' ORDER BY md5(payload)) || ']}' FROM script));
SELECT count(DISTINCT m) AS memberships, min(length(m)) > 500 AS is_some FROM (SELECT string_agg(regexp_replace(concat_ws(' ', account, person, first, last, n), 'g\d-', '', 'g'), '|' ORDER BY account, person) AS m FROM member WHERE account ~ '^g\d-' GROUP BY left(account, 3)) x;
SELECT count(DISTINCT m) AS accounts, min(length(m)) > 50 AS is_some FROM (SELECT string_agg(regexp_replace(concat_ws(' ', account, traits, n), 'g\d-', '', 'g'), '|' ORDER BY account) AS m FROM account WHERE account ~ '^g\d-' GROUP BY left(account, 3)) x;
-- as counted from the messages: events that mention both, by their first account
SELECT count(*) AS wrong FROM (SELECT names(a.profile_id) AS account, names(p.profile_id) AS person, count(*) AS n FROM cdp.events e JOIN cdp.source s ON s.name = e.source
	CROSS JOIN LATERAL (SELECT (array_agg(cdp.identifier(namespace, value) ORDER BY ord) FILTER (WHERE entity = 'person'))[1] AS person, (array_agg(cdp.identifier(namespace, value) ORDER BY ord) FILTER (WHERE entity = 'account'))[1] AS account FROM cdp.message_identifiers(e.type, e.message, s.phone_region)) m
	JOIN cdp.identity a ON a.namespace = cdp.namespace(m.account) AND a.value = cdp.value(m.account) JOIN cdp.identity p ON p.namespace = cdp.namespace(m.person) AND p.value = cdp.value(m.person) GROUP BY 1, 2) t
	FULL JOIN member USING (account, person) WHERE t.n IS DISTINCT FROM member.n;
SELECT part, checked > 0 AS is_checked, differences FROM cdp.verify();

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_identity_account;
