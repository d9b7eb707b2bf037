-- Claim: a retraction leaves everything as if the message, identifier or link had never come, undoing it as if it had never been retracted; what cannot be retracted is refused and nothing changes.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_identity_retract;
CREATE DATABASE regress_identity_retract TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_identity_retract SET lc_messages = 'C';
ALTER DATABASE regress_identity_retract SET jit = off;
ALTER DATABASE regress_identity_retract SET client_min_messages = warning;
\c regress_identity_retract
CREATE EXTENSION cdp;
SELECT cdp.init();
SET cdp.clock = '2026-01-31T12:00:00Z';
CREATE FUNCTION message(id text, minute integer, who jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_strip_nulls(jsonb_build_object('type', CASE WHEN who ? 'p' THEN 'identify' ELSE 'track' END, 'event', CASE WHEN NOT who ? 'p' THEN 'Seen' END,
		'messageId', id, 'timestamp', '2026-01-31T10:' || to_char(minute, 'FM00') || ':00Z', 'userId', who -> 'u', 'anonymousId', who -> 'a',
		'traits', CASE WHEN who ? 'p' THEN jsonb_build_object('plan', who -> 'p') END,
		'context', jsonb_build_object('traits', jsonb_build_object('email', who -> 'e'), 'device', jsonb_build_object('id', who -> 'd'),
			'consent', jsonb_build_object('categoryPreferences', jsonb_build_object('ads', who -> 'c')))))
$$;
CREATE FUNCTION see(id text, minute integer, who jsonb, source text DEFAULT 'default') RETURNS text LANGUAGE sql AS $$
	SELECT events || ' event, ' || duplicates || ' duplicate' FROM cdp.ingest(message(id, minute, who), source)
$$;
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
CREATE VIEW person AS SELECT p.profile_id AS id, string_agg(i.value, ' ' ORDER BY i.value) AS identifiers, p.event_count AS n, cdp.to_jsonb(p.traits) AS traits, cdp.profile(p.profile_id) -> 'consents' ->> 'ads' AS ads
	FROM cdp.identifiers i JOIN cdp.profile p USING (profile_id) GROUP BY p.profile_id ORDER BY p.profile_id;
CREATE VIEW link AS SELECT value_a, value_b, to_char(first_seen_at, 'HH24:MI') AS first, to_char(last_seen_at, 'HH24:MI') AS last, event_count AS n, status, reason FROM cdp.links ORDER BY 1, 2;
-- all that follows from the messages, with the profile ids but without numbers of identifiers, which a retraction forgets
CREATE VIEW known AS
	SELECT concat_ws(' ', 'identifier', namespace, value, profile_id, is_contested, first_seen_at, last_seen_at, event_count) AS fact FROM cdp.identifiers
	UNION ALL SELECT concat_ws(' ', 'link', namespace_a, value_a, namespace_b, value_b, first_seen_at, last_seen_at, event_count, status, reason) FROM cdp.links
	UNION ALL SELECT concat_ws(' ', 'event', message_id, source, type, name, occurred_at, received_at, anchor_namespace, anchor_value, profile_id, message) FROM cdp.events
	UNION ALL SELECT concat_ws(' ', 'profile', profile_id, entity, component_id, is_disputed, merged_into, traits::text, consents::text, first_seen_at, last_seen_at, event_count) FROM cdp.profile
	UNION ALL SELECT concat_ws(' ', 'account', account_id, profile_id, first_seen_at, last_seen_at, event_count) FROM cdp.account_members
	UNION ALL SELECT concat_ws(' ', 'fragment', a.value, i.value, f.traits::text, f.consents::text, f.first_seen_at, f.last_seen_at, f.event_count) FROM cdp.fragment f JOIN cdp.identity a ON a.identifier_id = f.anchor_id JOIN cdp.identity i ON i.identifier_id = f.identifier_id
	UNION ALL SELECT concat_ws(' ', 'sign in', d.value, i.value, s.occurred_at, s.message_id) FROM cdp.sign_in s JOIN cdp.identity d ON d.identifier_id = s.device_id JOIN cdp.identity i ON i.identifier_id = s.identifier_id
	UNION ALL SELECT concat_ws(' ', 'member', segment, profile_id) FROM cdp.membership;
CREATE TABLE was (label text, fact text);
CREATE FUNCTION note(label text) RETURNS void LANGUAGE sql AS $$ DELETE FROM was WHERE label = $1; INSERT INTO was SELECT $1, fact FROM known $$;
CREATE FUNCTION since(label text) RETURNS TABLE (now text, fact text) LANGUAGE sql AS $$
	(SELECT 'gone', fact FROM was WHERE label = $1 EXCEPT ALL SELECT 'gone', fact FROM known) UNION ALL (SELECT 'new', fact FROM known EXCEPT ALL SELECT 'new', fact FROM was WHERE label = $1) ORDER BY 1, 2
$$;
CREATE VIEW told AS SELECT change_id, kind, profile_id, data ->> 'segment' AS segment FROM cdp.changes ORDER BY change_id;
SELECT cdp.create_segment('gold', $$trait plan = 'gold'$$), cdp.create_segment('seen', $$count('Seen') >= 1$$);

-- A: a message that merged two people: apart again, each with the id, the traits and the consents it had
SELECT see('A1', 1, '{"u":"A-ann","p":"gold","c":true}'), see('A2', 2, '{"e":"a@x","a":"A-web"}');
SELECT note('A before');
SELECT see('A3', 3, '{"u":"A-ann","e":"a@x","p":"free","c":false}');
SELECT note('A after');
SELECT * FROM person;
SELECT max(change_id) AS last FROM cdp.changes \gset
SELECT cdp.retract('A3', 'sent by a tester') AS ruling \gset
SELECT * FROM since('A before');
SELECT * FROM person;
SELECT kind, profile_id, segment FROM told WHERE change_id > :last;
SELECT * FROM cdp.members ORDER BY 1, 2;
-- it stays a duplicate, the same retraction again is the same ruling, and the event is kept aside
SELECT see('A3', 3, '{"u":"A-ann","e":"a@x","p":"free"}');
SELECT cdp.retract('A3', 'again') = :ruling AS same, cdp.retract('A3', 'again', 'default') = :ruling AS same_too;
SELECT message_id, type, message -> 'traits' AS traits FROM cdp.retracted;
SELECT kind, a, b, message_id, reason, undone_at FROM cdp.ruling;
SELECT * FROM since('A before');
SELECT cdp.undo(:ruling);
SELECT * FROM since('A after');
SELECT count(*) FROM cdp.retracted;
SELECT error_of(format('SELECT cdp.undo(%s)', :ruling));
SELECT part, differences FROM cdp.verify() WHERE differences > 0;

-- B: the only message of somebody: nobody is left, whoever stored the id is told so; undone, the same identifiers have it again
SELECT see('B1', 1, '{"u":"B-bob","a":"B-web","p":"gold"}');
SELECT cdp.profile_id('user_id:B-bob') AS bob \gset
SELECT max(change_id) AS last FROM cdp.changes \gset
SELECT cdp.retract('B1', 'a test user') AS ruling \gset
SELECT cdp.profile_id('user_id:B-bob') AS by_identifier, cdp.profile_id(:bob) AS by_id, cdp.profile('user_id:B-bob') AS profile, cdp.profile(:bob) AS profile_by_id, (SELECT count(*) FROM cdp.timeline(:bob)) AS timeline;
SELECT kind, profile_id = :bob AS bob, segment FROM told WHERE change_id > :last;
SELECT count(*) FROM cdp.members WHERE profile_id = :bob;
SELECT namespace, value FROM cdp.identifiers WHERE value ~ '^B-';
SELECT from_profile_id = :bob AS from_bob, to_profile_id, cause FROM cdp.identity_change WHERE to_profile_id IS NULL;
SELECT merged_into, identifier_id IS NULL AS of_nobody FROM cdp.profile WHERE profile_id = :bob;
SELECT cdp.undo(:ruling);
SELECT cdp.profile_id('user_id:B-bob') = :bob AS same_id, cdp.profile_id(:bob) = :bob AS lives, cdp.profile('user_id:B-bob') -> 'traits' AS traits;
SELECT kind, profile_id = :bob AS bob, segment FROM told WHERE change_id > :last;
-- seen again before it is undone he is somebody new, until it is
SELECT cdp.retract('B1', 'a test user') AS ruling \gset
SELECT see('B2', 2, '{"u":"B-bob","a":"B-new"}');
SELECT cdp.profile_id('user_id:B-bob') > :bob AS has_new_id, cdp.profile_id(:bob) AS old_id;
SELECT cdp.undo(:ruling);
SELECT cdp.profile_id('user_id:B-bob') = :bob AS has_its_id, cdp.profile('user_id:B-bob') -> 'identifiers' AS identifiers;
SELECT part, differences FROM cdp.verify() WHERE differences > 0;

-- C: an identifier: he is known by the rest, under the same profile id, which passes to the strongest that is left
SELECT see('C1', 1, '{"u":"C-cat","e":"c@x","a":"C-web"}'), see('C2', 2, '{"u":"C-cat","e":"c@x"}'), see('C3', 3, '{"e":"c@x","d":"c-dev"}'), see('C4', 4, '{"u":"C-cat","p":"gold"}');
SELECT cdp.profile_id('user_id:C-cat') AS cat \gset
SELECT note('C before');
SELECT cdp.retract('user_id:C-cat', 'a test user') AS ruling \gset
SELECT id = :cat AS same_id, identifiers, n, traits FROM person WHERE identifiers ~* 'c-|c@';
SELECT * FROM link WHERE value_a ~* '^c';
SELECT message_id, anchor_value, profile_id = :cat AS cat FROM cdp.events WHERE message_id ~ '^C' ORDER BY 1;
SELECT cdp.profile_id('user_id:C-cat') AS nobody, cdp.is_blocked('user_id:C-cat') AS is_blocked, cdp.is_blocked('user_id:c-CAT') AS other_case;
-- also in what comes from now on
SELECT see('C5', 5, '{"u":"C-cat","a":"C-new"}');
SELECT anchor_value FROM cdp.events WHERE message_id = 'C5';
SELECT cdp.retract('user_id:C-cat', 'again') = :ruling AS same;
SELECT error_of($$SELECT cdp.unblock_value('C-cat', 'user_id')$$);
SELECT part, differences FROM cdp.verify() WHERE differences > 0;
SELECT cdp.retract('C5', 'only to compare') AS other \gset
SELECT cdp.undo(:ruling);
SELECT regexp_replace(fact, 'identifier (.*) \d+ f ', 'identifier \1 # f ') AS fact, now FROM since('C before') ORDER BY 2, 1;
SELECT cdp.undo(:other);
SELECT anchor_value FROM cdp.events WHERE message_id = 'C5';
SELECT part, differences FROM cdp.verify() WHERE differences > 0;

-- D: nobody has anything but the retracted one: its events are nobody's, its profile is gone
SELECT see('D1', 1, '{"u":"D-dan","p":"gold"}');
SELECT cdp.profile_id('user_id:D-dan') AS dan \gset
SELECT max(change_id) AS last FROM cdp.changes \gset
SELECT cdp.retract('user_id:D-dan', 'a test user') AS ruling \gset
SELECT message_id, anchor_namespace, profile_id FROM cdp.events WHERE message_id = 'D1';
SELECT cdp.profile_id(:dan) AS gone, (SELECT count(*) FROM cdp.members WHERE profile_id = :dan) AS memberships;
SELECT kind, profile_id = :dan AS dan, segment FROM told WHERE change_id > :last;
SELECT cdp.undo(:ruling);
SELECT anchor_value FROM cdp.events WHERE message_id = 'D1';
SELECT cdp.profile_id('user_id:D-dan') = :dan AS has_its_id;

-- E: ids merged away pass on too: an old id still leads to who is left
SELECT see('E1', 1, '{"a":"E-web"}'), see('E2', 2, '{"e":"e@x"}'), see('E3', 3, '{"u":"E-eve"}');
SELECT cdp.profile_id('anonymous_id:E-web') AS web, cdp.profile_id('email:e@x') AS mail, cdp.profile_id('user_id:E-eve') AS eve \gset
SELECT see('E4', 4, '{"u":"E-eve","e":"e@x","a":"E-web"}');
SELECT cdp.retract('anonymous_id:E-web', 'a shop''s terminal') AS one \gset
SELECT cdp.profile_id(:web) = :web AS web, cdp.profile_id(:mail) = :web AS mail, cdp.profile_id(:eve) = :web AS eve;
SELECT cdp.retract('user_id:E-eve', 'a test user') AS two \gset
SELECT cdp.profile_id(:web) = cdp.profile_id('email:e@x') AS web, cdp.profile_id(:mail) = cdp.profile_id('email:e@x') AS mail, cdp.profile_id(:eve) = cdp.profile_id('email:e@x') AS eve;
SELECT cdp.retract('email:e@x', 'the same') AS three \gset
SELECT cdp.profile_id(:web), cdp.profile_id(:mail), cdp.profile_id(:eve);
SELECT count(*) FROM cdp.profile WHERE merged_into NOT IN (SELECT profile_id FROM cdp.profile WHERE merged_into IS NULL) AND merged_into <> 0;
SELECT cdp.undo(:three), cdp.undo(:one), cdp.undo(:two);
SELECT identifiers FROM person WHERE identifiers ~* 'e-|e@';
SELECT part, differences FROM cdp.verify() WHERE differences > 0;

-- F: a link: the events stay, their ends no longer hang together by it; now and in what comes
SELECT see('F1', 1, '{"u":"F-fay","e":"f@x"}'), see('F2', 2, '{"e":"f@x","a":"F-web","c":true}'), see('F3', 3, '{"u":"F-fay","d":"f-dev","p":"gold"}');
SELECT note('F before');
SELECT cdp.retract('email: F@x', 'user_id:F-fay', 'mistyped') AS ruling \gset
SELECT identifiers, n, traits, ads FROM person WHERE identifiers ~* 'f-|f@' ORDER BY 1;
SELECT * FROM link WHERE value_a ~* '^f';
SELECT see('F4', 4, '{"u":"F-fay","e":"f@x"}');
SELECT * FROM link WHERE value_a ~* '^f';
SELECT value, event_count FROM cdp.identifiers WHERE value ~* '^f' ORDER BY 1;
-- unlike a denial it does not keep them apart
SELECT see('F5', 5, '{"e":"f@x","d":"f-dev"}');
SELECT identifiers FROM person WHERE identifiers ~* 'f-|f@' ORDER BY 1;
SELECT cdp.retract('user_id:F-fay', 'email:f@x', 'again') = :ruling AS same;
SELECT error_of($$SELECT cdp.pin('user_id:F-fay', 'email:f@x', 'it is hers')$$);
SELECT cdp.undo(:ruling);
SELECT * FROM link WHERE value_a ~* '^f';
SELECT cdp.retract('F4', 'to compare') AS four, cdp.retract('F5', 'to compare') AS five \gset
SELECT * FROM since('F before');
SELECT cdp.undo(:four), cdp.undo(:five);
SELECT part, differences FROM cdp.verify() WHERE differences > 0;

-- G: retractions of retractions' neighbours, undone in another order
SELECT see('G1', 1, '{"u":"G-gus","e":"g@x"}'), see('G2', 2, '{"e":"g@x","a":"G-web"}'), see('G3', 3, '{"u":"G-hal","a":"G-web"}'), see('G4', 4, '{"a":"G-web","p":"gold"}'), see('G5', 5, '{"u":"G-gus","a":"G-web"}');
SELECT note('G before');
SELECT cdp.retract('G3', 'x') AS a, cdp.retract('email:g@x', 'x') AS b, cdp.retract('user_id:G-gus', 'anonymous_id:G-web', 'x') AS c, cdp.retract('G1', 'x') AS d \gset
SELECT identifiers, n, traits FROM person WHERE identifiers ~* 'g-|g@' ORDER BY 1;
SELECT part, differences FROM cdp.verify() WHERE differences > 0;
SELECT cdp.undo(:a);
SELECT part, differences FROM cdp.verify() WHERE differences > 0;
SELECT cdp.undo(:c);
SELECT cdp.undo(:d);
SELECT cdp.undo(:b);
SELECT regexp_replace(fact, ' \d+ f ', ' # f ') AS fact, now FROM since('G before') WHERE fact !~ '^(profile|event|member)' ORDER BY 2, 1;
SELECT part, differences FROM cdp.verify() WHERE differences > 0;

-- H: two sources sent a message of one id
SELECT see('H1', 1, '{"u":"H-one"}', 'web'), see('H1', 1, '{"u":"H-two"}', 'crm');
SELECT error_of($$SELECT cdp.retract('H1', 'which?')$$);
SELECT error_of($$SELECT cdp.retract('H1', 'nobody''s', 'app')$$);
SELECT cdp.retract('H1', 'the till''s', 'crm') AS ruling \gset
SELECT source FROM cdp.events WHERE message_id = 'H1';
SELECT cdp.profile_id('user_id:H-two');
-- one that its key's forgotten is found in the whole log
DELETE FROM cdp.seen;
SELECT cdp.retract('H1', 'both', 'web') > 0 AS retracted;
SELECT source FROM cdp.events WHERE message_id = 'H1';
SELECT cdp.undo(:ruling);
SELECT source FROM cdp.events WHERE message_id = 'H1';
-- a message that mentions nobody
SELECT see('H2', 1, '{"u":"null"}');
SELECT cdp.retract('H2', 'noise') AS ruling \gset
SELECT count(*) FROM cdp.events WHERE message_id = 'H2';
SELECT cdp.undo(:ruling);
SELECT count(*) FROM cdp.events WHERE message_id = 'H2';

-- I: refused, each with a reason and a hint, and nothing changed
SELECT cdp.pin('user_id:A-ann', 'email:i@x', 'from the contract') AS pinned, cdp.deny('user_id:A-ann', 'email:c@x', 'no') AS denied \gset
SELECT note('I');
SELECT statement, error_of(statement) FROM (VALUES
	($$SELECT cdp.retract('no-such-message', 'x')$$), ($$SELECT cdp.retract('A1', NULL)$$), ($$SELECT cdp.retract('A1', ' ')$$), ($$SELECT cdp.retract(NULL::text, 'x')$$),
	($$SELECT cdp.retract(NULL::cdp.identifier, 'x')$$), ($$SELECT cdp.retract('user_id:A-ann', NULL::cdp.identifier, 'x')$$), ($$SELECT cdp.pin(NULL, 'user_id:A-ann', 'x')$$), ($$SELECT cdp.deny('user_id:A-ann', NULL, 'x')$$),
	($$SELECT cdp.retract('user_id:B-bob', 'anonymous_id:B-web')$$), ($$SELECT cdp.retract('user_id:nobody', 'x')$$), ($$SELECT cdp.retract('user_id:A-ann', '')$$), ($$SELECT cdp.retract('user_id:A-ann', 'mailbox')$$), ($$SELECT cdp.retract('user_id:A-ann', 'email:i@x', ' ')$$),
	($$SELECT cdp.retract('fax:1', 'x')$$), ($$SELECT cdp.retract('fax:1'::cdp.identifier, 'x')$$), ($$SELECT cdp.retract('user_id:A-ann', 'email:none-of-hers@x', 'x')$$), ($$SELECT cdp.retract('user_id:A-ann', 'email:c@x', 'x')$$),
	($$SELECT cdp.retract('user_id:A-ann', 'email:i@x', 'x')$$), ($$SELECT cdp.retract('user_id:A-ann', 'x')$$), ($$SELECT cdp.retract('email:i@x', 'x')$$),
	($$SELECT cdp.retract('user_id:A-ann', 'user_id:A-ann', 'x')$$), ($$SELECT cdp.retract('user_id:A-ann', 'nonsense', 'x')$$), ($$SELECT cdp.retract('user_id:null', 'x')$$), ($$SELECT cdp.retract('phone:12', 'x')$$),
	($$SELECT cdp.undo(999)$$)) t (statement);
SELECT * FROM since('I');
SELECT cdp.undo(:denied);
SELECT part, checked > 0 AS is_checked, differences FROM cdp.verify();

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_identity_retract;
