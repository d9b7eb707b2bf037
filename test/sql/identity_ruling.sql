-- Claim: a ruling applies to the past at once, a denial splits and undoing it restores every profile id; a pin joins
-- what no event joins; rulings that break a rule are refused and leave nothing behind.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_identity_ruling;
CREATE DATABASE regress_identity_ruling TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_identity_ruling SET lc_messages = 'C';
ALTER DATABASE regress_identity_ruling SET jit = off;
ALTER DATABASE regress_identity_ruling SET client_min_messages = warning;
\c regress_identity_ruling
CREATE EXTENSION cdp;
SELECT cdp.init();
SET cdp.clock = '2026-01-31T12:00:00Z';
CREATE VIEW people AS
	SELECT profile_id, string_agg(namespace || ':' || value, ' ' ORDER BY namespace, value) AS identifiers
	FROM cdp.identifiers GROUP BY profile_id ORDER BY 1;
SELECT cdp.ingest('{"batch":[
	{"type":"identify","userId":"ann","traits":{"email":"family@example.com","plan":"pro"},"messageId":"1","timestamp":"2026-01-01T00:00:00Z"},
	{"type":"track","anonymousId":"tablet","event":"Seen","messageId":"2","timestamp":"2026-01-02T00:00:00Z","context":{"traits":{"email":"family@example.com"}}},
	{"type":"track","anonymousId":"phone","event":"Seen","messageId":"3","timestamp":"2026-01-03T00:00:00Z"}]}');
SELECT * FROM people;
SELECT cdp.create_segment('seen', 'count(''Seen'') >= 1');

-- a denial splits: the address leaves Ann and its device goes along; what she said stays hers
SELECT cdp.deny('user_id:ann', 'email: FAMILY@example.com', 'the family shares it');
SELECT * FROM people;
SELECT namespace_a, value_a, namespace_b, value_b, status, reason FROM cdp.links ORDER BY 1, 2, 3, 4;
SELECT profile_id, traits, event_count FROM cdp.profiles ORDER BY 1;
SELECT * FROM cdp.members ORDER BY 1, 2;
-- the same again is the same ruling; the opposite is refused
SELECT cdp.deny('email:family@example.com', 'user_id:ann', 'again') AS ruling_id;
SELECT cdp.pin('user_id:ann', 'email:family@example.com', 'no, it is hers');
-- a message repeats the evidence: the denial holds
SELECT events FROM cdp.ingest('{"type":"identify","userId":"ann","traits":{"email":"family@example.com"},"messageId":"4","timestamp":"2026-01-04T00:00:00Z"}');
SELECT * FROM people;
-- undone, all is as it was, the id too
SELECT cdp.undo(1);
SELECT * FROM people;
SELECT cdp.undo(1);
SELECT cdp.undo(99);

-- a pin joins what no event joins, also an identifier never seen
SELECT cdp.pin('user_id:ann', 'anonymous_id:phone', 'she said so') AS ruling_id;
SELECT cdp.pin('user_id:ann', 'phone:+49 30 123456', 'from the contract') AS ruling_id;
SELECT * FROM people;
SELECT step, "from", "to", event_count FROM cdp.explain_link('anonymous_id:phone', 'anonymous_id:tablet');
SELECT cdp.undo(2);
SELECT * FROM people;

-- what cannot be: a second user_id, one identifier with itself, nobody, an account, no reason, no such namespace
SELECT cdp.pin('user_id:ann', 'user_id:bob', 'married');
SELECT cdp.pin('email:a@example.com', 'email: A@EXAMPLE.COM', 'same');
SELECT cdp.deny('user_id:ann', 'user_id:null', 'nobody');
SELECT cdp.pin('user_id:ann', 'group_id:acme', 'works there');
SELECT cdp.deny('user_id:ann', 'anonymous_id:tablet', ' ');
SELECT cdp.deny('user_id:ann', 'fax:1', 'x');
SELECT * FROM people;
SELECT ruling_id, kind, a, b, reason, undone_at IS NOT NULL AS is_undone FROM cdp.ruling ORDER BY 1;

-- who was it then?
SELECT cdp.profile_as_of('anonymous_id:phone', '2020-01-01'), cdp.profile_as_of('anonymous_id:phone', 'infinity');
SELECT cause, count(*) FROM cdp.identity_change GROUP BY 1 ORDER BY 1;
SELECT * FROM cdp.verify() WHERE differences > 0;
-- what a ruling names keeps its form and its order of strength
SELECT cdp.pin('user_id:ann', 'email:a.n.n@gmail.com', 'her other one') AS ruling \gset
SELECT cdp.create_namespace('email', 'contact', 20, 5, normalizer => 'email_gmail', paths => '{identify:traits.email}');
SELECT cdp.create_namespace('email', 'contact', 5, 5, normalizer => 'email', paths => '{identify:traits.email}');
SELECT cdp.create_namespace('email', 'contact', 20, 5, normalizer => 'email', paths => '{identify:traits.email}', entity => 'account');
SELECT cdp.undo(:ruling);
BEGIN;
SELECT cdp.create_namespace('email', 'contact', 5, 5, normalizer => 'email_gmail', paths => '{identify:traits.email}');
ROLLBACK;
-- the past is read again as it is now, not as it was when the transaction began
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT cdp.block_value('tablet');
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT cdp.create_segment('members', $$trait plan = 'pro'$$);
ROLLBACK;
-- who may only read holds nobody up
CREATE ROLE regress_identity_ruling;
GRANT USAGE ON SCHEMA cdp TO regress_identity_ruling;
GRANT SELECT ON ALL TABLES IN SCHEMA cdp TO regress_identity_ruling;
SET ROLE regress_identity_ruling;
SELECT cdp.hold_rules();
SELECT cdp.hold_rules(is_alone => false);
SELECT cdp.block_value('tablet');
SELECT cdp.pin('user_id:ann', 'user_id:bob', 'no');
RESET ROLE;
DROP OWNED BY regress_identity_ruling;
DROP ROLE regress_identity_ruling;
-- a value that is pinned is not blocked from under the pin
SELECT cdp.pin('user_id:pinned', 'email:pinned@x.y', 'told on the phone') > 0 AS ruled;
SELECT cdp.block_value('pinned@x.y', 'email');
SELECT count(*) FROM cdp.blocked_value;
SELECT * FROM cdp.verify() WHERE differences > 0;
\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_identity_ruling;
