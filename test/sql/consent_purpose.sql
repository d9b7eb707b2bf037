-- A purpose's view shows who consents to all of its categories now and nobody else, to whoever asks and however they ask; the latest word counts, and of two at one instant the refusal.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_consent_purpose;
CREATE DATABASE regress_consent_purpose TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_consent_purpose SET lc_messages = 'C';
ALTER DATABASE regress_consent_purpose SET jit = off;
ALTER DATABASE regress_consent_purpose SET client_min_messages = warning;
\c regress_consent_purpose
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

-- the type
SELECT t::cdp.consent_state, t::cdp.consent_state::jsonb AS as_jsonb, cdp.granted(t::cdp.consent_state) FROM unnest(ARRAY['{}', '{"b":{"at":"2026-01-31","value":true},"a":{"at":"2026-01-31","value":false},"A":{"at":"2026-01-31","value":true}}', '{"a":{"at":"2026-01-31","value":true},"a":{"at":"2026-01-31","value":false}}',
	'{"a":{"at":"2026-01-31","value":false},"a":{"at":"2026-01-31","value":true}}', '{"a":{"at":"2026-01-30","value":false},"a":{"at":"2026-01-31","value":true}}']) WITH ORDINALITY u (t, ord) ORDER BY ord;
SELECT t, split_part(error_of(format('SELECT %L::cdp.consent_state', t)), ' ', 1) AS error FROM unnest(ARRAY['', '[]', '{"a":true}', '{"a":{"at":"2026-01-31"}}', '{"a":{"at":"2026-01-31","value":null}}', '{"a":{"at":"2026-01-31","value":1}}', '{"a":{"at":"2026-01-31","value":"true"}}',
	'{"a":{"at":"2026-01-31","value":[true]}}', '{"a":{"at":"2026-01-31","value":{}}}', '{"a":{"at":"infinity","value":true}}']) t;
CREATE TABLE state AS SELECT n AS id, (SELECT cdp.merge_consents(format('{"c%s":{"at":"2026-01-31T00:00:0%sZ","value":%s}}', r % 4, r / 4 % 3, CASE r / 12 % 2 WHEN 0 THEN 'true' ELSE 'false' END)::cdp.consent_state) FROM generate_series(1, 3) i, LATERAL (SELECT ('x' || substr(md5(n || ',' || i), 1, 6))::bit(24)::integer AS r) x) AS s
FROM generate_series(1, 40) n;
SELECT count(*) FILTER (WHERE NOT cdp.is_same(cdp.merge(a.s, b.s), cdp.merge(b.s, a.s))) AS not_commutative, count(*) FILTER (WHERE NOT cdp.is_same(cdp.merge(a.s, a.s), a.s)) AS not_idempotent FROM state a, state b;
SELECT count(*) FILTER (WHERE NOT cdp.is_same(cdp.merge(cdp.merge(a.s, b.s), c.s), cdp.merge(a.s, cdp.merge(b.s, c.s)))) AS not_associative FROM state a, state b, state c WHERE a.id <= 25 AND b.id <= 25 AND c.id <= 25;
SELECT cdp.allows(s, c) FROM (VALUES (1, '{"a":{"at":"2026-01-31","value":true},"b":{"at":"2026-01-31","value":false}}'::cdp.consent_state, '{a}'::text[]), (2, '{"a":{"at":"2026-01-31","value":true}}', '{a,a}'), (3, '{"a":{"at":"2026-01-31","value":true},"b":{"at":"2026-01-31","value":false}}', '{a,b}'),
	(4, '{"a":{"at":"2026-01-31","value":true}}', '{b}'), (5, '{"a":{"at":"2026-01-31","value":true}}', '{A}'), (6, '{"a":{"at":"2026-01-31","value":true}}', '{}'), (7, '{"a":{"at":"2026-01-31","value":true}}', '{a,NULL}'), (8, NULL, '{a}'), (9, '{}', '{a}'), (10, '{"a":{"at":"2026-01-31","value":true}}', '{{a},{a}}')) v (n, s, c) ORDER BY n;
SELECT coalesce(cdp.allows(NULL, NULL), false) AS of_nothing, coalesce(cdp.allows('{"a":{"at":"2026-01-31","value":true}}', NULL), false) AS for_nothing;

-- errors of configuration
SELECT call, error_of(call) FROM unnest(ARRAY[$$SELECT cdp.create_purpose('Bad Name')$$, $$SELECT cdp.create_purpose(NULL)$$, $$SELECT cdp.create_purpose(repeat('x', 60))$$, $$SELECT cdp.create_purpose('research', '{}')$$, $$SELECT cdp.create_purpose('research', '{a,NULL}')$$,
	$$SELECT cdp.drop_purpose('no_such')$$, $$SELECT cdp.drop_purpose(NULL)$$, $$SELECT cdp.consented(1, 'no_such')$$]) call;
SELECT cdp.create_purpose('research', '{analytics,"third party; DROP"}', 'Studies'), cdp.create_purpose(repeat('y', 59));
SELECT name, categories, description FROM cdp.purpose ORDER BY name;
SELECT c.relname, c.reloptions, obj_description(c.oid, 'pg_class') AS comment FROM pg_class c WHERE c.relnamespace = 'cdp'::regnamespace AND c.relname ~ '^for_[^y]' ORDER BY 1;
SELECT cdp.drop_purpose(repeat('y', 59));

-- what people say, in messages of any kind, in any order
CREATE FUNCTION say(who text, minute integer, preferences text) RETURNS bigint LANGUAGE sql AS $$
	SELECT events FROM cdp.ingest(format('{"type":"track","event":"e","userId":"%s","timestamp":"2026-01-31T10:%s:00Z","context":{"consent":{"categoryPreferences":%s}}}', who, to_char(minute, 'FM00'), preferences))
$$;
CREATE FUNCTION who(purpose text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE format('SELECT string_agg(i.value, '' '' ORDER BY i.value) FROM cdp.%I v JOIN cdp.identifiers i USING (profile_id) WHERE i.namespace = ''user_id''', 'for_' || purpose) INTO result;
	RETURN coalesce(result, 'nobody');
END
$$;
SELECT say('yes', 1, '{"marketing":true}'), say('no', 1, '{"marketing":false}'), say('both', 1, '{"marketing":true,"analytics":true}'), say('mute', 1, '{}'), say('odd', 1, '{"marketing":"true","analytics":1}'), say('list', 1, '["marketing"]'), say('nothing', 1, 'null'),
	say('other', 1, '{"Marketing":true," marketing":true,"marketing ":true}');
SELECT who('marketing'), who('analytics'), who('research');
-- withdrawn; given again; late words that an earlier one outweighs; at one instant the refusal, whichever comes first
SELECT say('yes', 5, '{"marketing":false}'), who('marketing');
SELECT say('yes', 9, '{"marketing":true}'), who('marketing');
SELECT say('yes', 7, '{"marketing":false}'), who('marketing');
SELECT say('tie1', 1, '{"marketing":true}'), say('tie1', 1, '{"marketing":false}'), say('tie2', 1, '{"marketing":false}'), say('tie2', 1, '{"marketing":true}');
SELECT who('marketing');
SELECT events FROM cdp.ingest('{"batch":[{"type":"track","event":"e","userId":"tie3","timestamp":"2026-01-31T10:00:00Z","context":{"consent":{"categoryPreferences":{"marketing":false}}}},{"type":"track","event":"e","userId":"tie3","timestamp":"2026-01-31T10:00:00Z","context":{"consent":{"categoryPreferences":{"marketing":true}}}}]}');
SELECT events FROM cdp.ingest('{"type":"track","event":"e","userId":"twice","context":{"consent":{"categoryPreferences":{"marketing":false,"marketing":true}}}}');
SELECT events FROM cdp.ingest('{"context":{"consent":{"categoryPreferences":{"marketing":true}}},"batch":[{"type":"page","userId":"enveloped"},{"type":"page","userId":"own","context":{"consent":{"categoryPreferences":{"marketing":false}}}},{"type":"page","userId":"empty","context":{"consent":{}}}]}');
SELECT who('marketing');
-- a purpose of several categories takes all of them
SELECT say('scholar', 1, '{"analytics":true,"third party; DROP":true}'), say('half', 1, '{"analytics":true,"third party; DROP":false}');
SELECT who('research'), who('analytics');
SELECT cdp.consented(cdp.profile_id('user_id:scholar'), 'research'), cdp.consented(cdp.profile_id('user_id:half'), 'research') AS half, cdp.consented(cdp.profile_id('user_id:mute'), 'research') AS mute, cdp.consented(0, 'research') AS nobody, cdp.consented(NULL, 'research') IS NULL AS is_strict;
-- replaced: the view follows at once
SELECT cdp.create_purpose('research', '{analytics}');
SELECT who('research'), (SELECT description FROM cdp.purpose WHERE name = 'research') AS description;

-- two people become one: the later word counts for both; apart again, each has its own
SELECT say('m1', 1, '{"marketing":true}'), say('m2', 2, '{"marketing":false}');
SELECT events FROM cdp.ingest('{"type":"track","event":"e","anonymousId":"m-anon","timestamp":"2026-01-31T10:03:00Z","context":{"consent":{"categoryPreferences":{"marketing":true}}}}');
SELECT events FROM cdp.ingest('{"type":"track","event":"e","userId":"m2","anonymousId":"m-anon","timestamp":"2026-01-31T10:04:00Z"}');
SELECT who('marketing');
SELECT events FROM cdp.ingest('{"type":"track","event":"e","userId":"m1","anonymousId":"m-anon","timestamp":"2026-01-31T10:05:00Z"}');
SELECT who('marketing');

-- the ledger: each change once, by identifier
SELECT value, category, is_granted, occurred_at, recorded_at FROM cdp.consents WHERE value IN ('yes', 'tie1', 'tie2', 'tie3', 'm1', 'm2', 'm-anon') ORDER BY value, category, occurred_at, is_granted;
SELECT say('yes', 10, '{"marketing":true}'), (SELECT count(*) FROM cdp.consents WHERE value = 'yes') AS rows;

-- the barrier: a function that tells what it sees, cheap as can be, sees nobody hidden
CREATE ROLE regress_consent_purpose;
GRANT USAGE ON SCHEMA cdp TO regress_consent_purpose;
GRANT SELECT ON cdp.for_marketing TO regress_consent_purpose;
GRANT CREATE ON SCHEMA public TO regress_consent_purpose;
SELECT count(*) AS everyone FROM cdp.profiles;
SET ROLE regress_consent_purpose;
CREATE TABLE seen (profile_id bigint);
CREATE FUNCTION leak(id bigint, traits jsonb) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN INSERT INTO seen VALUES (id); RETURN true; END $$;
SELECT count(*) AS shown FROM cdp.for_marketing WHERE leak(profile_id, traits);
SELECT count(*) AS leaked FROM seen;
TRUNCATE seen;
SELECT count(*) AS shown FROM cdp.for_marketing WHERE 1 / (CASE WHEN leak(profile_id, traits) THEN 1 ELSE 0 END) = 1 AND traits IS NOT NULL ORDER BY 1;
SELECT count(*) AS leaked FROM seen;
-- all else is closed to that role
SELECT call, split_part(error_of(call), ' ', 1) AS error FROM unnest(ARRAY['SELECT * FROM cdp.profiles', 'SELECT * FROM cdp.profile', 'SELECT * FROM cdp.fragment', 'SELECT * FROM cdp.consents', 'SELECT * FROM cdp.consent', 'SELECT * FROM cdp.identifiers', 'SELECT * FROM cdp.events',
	'SELECT * FROM cdp.for_analytics', 'SELECT * FROM cdp.purpose', 'SELECT * FROM cdp.changes', 'SELECT * FROM cdp.change', $$SELECT cdp.profile(1)$$, $$SELECT cdp.profile('user_id:no')$$, $$SELECT cdp.consented(1, 'marketing')$$, $$SELECT * FROM cdp.timeline(1)$$, $$SELECT cdp.create_purpose('marketing', '{anything}')$$,
	$$SELECT cdp.drop_purpose('marketing')$$, $$UPDATE cdp.for_marketing SET entity = 'x'$$, $$DELETE FROM cdp.for_marketing$$, $$SELECT cdp.ingest('{"type":"track","event":"e","userId":"no","context":{"consent":{"categoryPreferences":{"marketing":true}}}}')$$]) call;
-- an operator, function or setting of its own changes nothing
CREATE FUNCTION public.allows(cdp.consent_state, text[]) RETURNS boolean LANGUAGE sql AS 'SELECT true';
SET search_path = public, cdp;
SELECT count(*) AS shown FROM cdp.for_marketing;
RESET search_path;
RESET ROLE;
DROP OWNED BY regress_consent_purpose;
DROP ROLE regress_consent_purpose;

-- withdrawal counts at once, in the transaction that makes it and for all when it commits
BEGIN;
SELECT say('both', 59, '{"marketing":false}'), who('marketing');
ROLLBACK;
SELECT who('marketing');
-- dropped: the view is gone, what people said is not
SELECT cdp.drop_purpose('marketing');
SELECT to_regclass('cdp.for_marketing') IS NULL AS is_gone, cdp.profile('user_id:yes') -> 'consents' AS consents;
SELECT cdp.create_purpose('marketing');
SELECT who('marketing');
SELECT part, differences FROM cdp.verify() WHERE differences <> 0;

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_consent_purpose;
