-- Who is who, against truth worked out by hand from specs/identity.md: merges, limits, contested devices, the reasons, the path, the history and the ids.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_identity_people;
CREATE DATABASE regress_identity_people TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_identity_people SET lc_messages = 'C';
ALTER DATABASE regress_identity_people SET jit = off;
ALTER DATABASE regress_identity_people SET client_min_messages = warning;
\c regress_identity_people
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
CREATE SEQUENCE message;
-- one message of some identifiers, at a minute of 31 January
CREATE FUNCTION see(minute integer, identifiers jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	i record;
	payload jsonb := jsonb_build_object('type', 'track', 'event', 'e', 'messageId', 'm' || nextval('message'), 'timestamp', '2026-01-31T10:' || to_char(minute, 'FM00') || ':00Z');
BEGIN
	SELECT payload || jsonb_strip_nulls(jsonb_build_object('userId', identifiers -> 'u', 'anonymousId', identifiers -> 'a', 'context', jsonb_build_object('traits', jsonb_build_object('email', identifiers -> 'e'), 'device', jsonb_build_object('id', identifiers -> 'd')))) INTO payload;
	SELECT * INTO i FROM cdp.ingest(payload);
	RETURN i.events || ' event';
END
$$;
-- who is together, as sets of identifiers; ids are told by name: p1 is the first id noted, and so on
CREATE TABLE known_id (name text, profile_id bigint);
CREATE FUNCTION note(name text, identifier cdp.identifier) RETURNS void LANGUAGE sql AS $$ INSERT INTO known_id VALUES (name, cdp.profile_id(identifier)) $$;
CREATE FUNCTION people(prefix text) RETURNS TABLE (id text, identifiers text) LANGUAGE sql AS $$
	SELECT (SELECT min(k.name) FROM known_id k WHERE k.profile_id = i.profile_id), string_agg(i.value, ' ' ORDER BY i.value) FROM cdp.identifiers i WHERE i.value LIKE prefix || '%' GROUP BY i.profile_id ORDER BY 2
$$;
CREATE FUNCTION links(prefix text) RETURNS TABLE (a text, b text, first_seen text, last_seen text, events bigint, status text, reason text) LANGUAGE sql AS $$
	SELECT value_a, value_b, to_char(first_seen_at, 'HH24:MI'), to_char(last_seen_at, 'HH24:MI'), event_count, status, reason FROM cdp.links WHERE value_a LIKE prefix || '%' ORDER BY 1, 2
$$;
CREATE FUNCTION history(prefix text) RETURNS TABLE (identifier text, "from" text, "to" text, cause text, is_mine boolean) LANGUAGE sql AS $$
	SELECT i.value, (SELECT min(k.name) FROM known_id k WHERE k.profile_id = c.from_profile_id), (SELECT min(k.name) FROM known_id k WHERE k.profile_id = c.to_profile_id), c.cause, c.actor = current_user
	FROM cdp.identity_change c JOIN cdp.identity i USING (identifier_id) WHERE i.value LIKE prefix || '%' ORDER BY c.changed_at, i.value
$$;

-- A: two people become one: the older id stays, the other redirects for ever, the history tells
SELECT see(1, '{"a":"A-anon"}'), see(2, '{"u":"A-user"}');
SELECT note('p1', 'anonymous_id:A-anon'), note('p2', 'user_id:A-user');
TABLE known_id;
SELECT * FROM people('A-');
SELECT see(3, '{"u":"A-user","a":"A-anon"}');
SELECT * FROM people('A-');
SELECT * FROM links('A-');
SELECT name, cdp.profile_id(profile_id) = (SELECT profile_id FROM known_id WHERE name = 'p1') AS leads_to_p1 FROM known_id ORDER BY name;
SELECT see(4, '{"u":"A-user","e":"a-mail"}'), see(5, '{"a":"A-anon2"}'), note('p3', 'anonymous_id:A-anon2'), see(6, '{"e":"a-mail","a":"A-anon2"}');
SELECT * FROM people('A-');
SELECT * FROM history('A-');
SELECT * FROM history('a-');
-- a chain of merges: every old id is one look-up away
SELECT see(7, '{"a":"A-c1"}'), note('c1', 'anonymous_id:A-c1'), see(7, '{"a":"A-c2"}'), note('c2', 'anonymous_id:A-c2'), see(7, '{"a":"A-c3"}'), note('c3', 'anonymous_id:A-c3'), see(7, '{"a":"A-c4"}'), note('c4', 'anonymous_id:A-c4');
SELECT see(8, '{"d":"A-d","a":"A-c4"}'), see(8, '{"d":"A-d","a":"A-c3"}'), see(8, '{"d":"A-d","a":"A-c2"}'), see(8, '{"d":"A-d","a":"A-c1"}');
SELECT k.name, (SELECT min(o.name) FROM known_id o WHERE o.profile_id = cdp.profile_id(k.profile_id)) AS leads_to FROM known_id k WHERE name ~ '^c' ORDER BY 1;
SELECT count(*) AS chained FROM cdp.profile p JOIN cdp.profile q ON q.profile_id = p.merged_into WHERE q.merged_into IS NOT NULL;

-- B: one user a person: the newest link to the device wins, whoever comes in whatever order; the id stays with whom it was minted for
SELECT see(1, '{"u":"B-u1","a":"B-anon"}'), note('b1', 'user_id:B-u1');
SELECT see(2, '{"u":"B-u2","a":"B-anon"}'), note('b2', 'user_id:B-u2');
SELECT * FROM people('B-');
SELECT * FROM links('B-');
SELECT see(3, '{"u":"B-u1","a":"B-anon"}');
SELECT * FROM people('B-');
SELECT * FROM links('B-');
-- an older message that comes late changes nothing
SELECT see(0, '{"u":"B-u2","a":"B-anon"}');
SELECT * FROM people('B-');
SELECT * FROM history('B-');
-- a third whose link is the newest takes it over
SELECT see(9, '{"u":"B-u3","a":"B-anon"}'), note('b3', 'user_id:B-u3');
SELECT * FROM people('B-');
SELECT * FROM links('B-');

-- C: a device seen with two e-mails is contested: it joins one, the newest, and connects nobody
SELECT see(1, '{"e":"c-mail1","a":"c-anon"}'), note('c5', 'email:c-mail1'), see(2, '{"e":"c-mail2","a":"c-anon"}'), note('c6', 'email:c-mail2');
SELECT * FROM people('c-');
SELECT * FROM links('c-');
-- one seen with one value each of two namespaces is not
SELECT see(3, '{"u":"c2-user","a":"c2-anon"}'), see(4, '{"e":"c2-mail","a":"c2-anon"}');
SELECT * FROM people('c2-');
SELECT * FROM links('c2-');
-- strong to strong settles first: an e-mail both use connects them, so the device is no bridge any more
SELECT see(5, '{"u":"c-user","e":"c-mail1"}'), see(6, '{"u":"c-user","e":"c-mail2"}');
SELECT string_agg(value, ' ' ORDER BY value) AS together FROM cdp.identifiers WHERE value ~ '^c-' GROUP BY profile_id ORDER BY 1;
SELECT * FROM links('c-');
-- devices that always or never bridge
SELECT cdp.create_namespace('device_id', 'device', 80, bridge => 'always', normalizer => 'lower', paths => '{context.device.id}');
SELECT see(1, '{"e":"ca-mail1","d":"ca-dev"}'), see(2, '{"e":"ca-mail2","d":"ca-dev"}');
SELECT * FROM people('ca-');
SELECT cdp.create_namespace('device_id', 'device', 80, bridge => 'never', normalizer => 'lower', paths => '{context.device.id}');
SELECT see(1, '{"e":"cn-mail1","d":"cn-dev"}'), see(2, '{"u":"cn-user","d":"cn-dev"}');
SELECT * FROM people('cn-');
SELECT * FROM links('cn-');
SELECT cdp.create_namespace('device_id', 'device', 80, normalizer => 'lower', paths => '{context.device.id}');

-- D: five e-mails a person, the five newest
SELECT count(see(n, jsonb_build_object('u', 'd-user', 'e', 'd-mail' || n))) FROM generate_series(1, 7) n;
SELECT * FROM people('d-');
SELECT * FROM links('d-');
SELECT see(8, '{"u":"d-user","e":"d-mail1"}');
SELECT * FROM people('d-');
-- raised: holds from the next message of the component on
SELECT cdp.create_namespace('email', 'contact', 20, 6, normalizer => 'email', paths => '{identify:traits.email,context.traits.email}');
SELECT see(9, '{"u":"d-user","e":"d-mail1"}');
SELECT * FROM people('d-');
SELECT cdp.create_namespace('email', 'contact', 20, 5, normalizer => 'email', paths => '{identify:traits.email,context.traits.email}');

-- E: the path between two identifiers, with its evidence, from either side
SELECT see(1, '{"u":"E-user","a":"E-anon"}'), see(5, '{"u":"E-user","a":"E-anon"}'), see(2, '{"u":"E-user","e":"e-mail"}'), see(3, '{"e":"e-mail","d":"E-dev"}');
SELECT * FROM cdp.explain_link('anonymous_id:E-anon', 'device_id: E-DEV ');
SELECT * FROM cdp.explain_link('device_id:e-dev', 'anonymous_id:E-anon');
SELECT count(*) FROM cdp.explain_link('user_id:E-user', 'user_id:E-user');
SELECT count(*) FROM cdp.explain_link('user_id:E-user', 'user_id:B-u1');
SELECT count(*) FROM cdp.explain_link('user_id:E-user', 'user_id:nobody');
SELECT count(*) FROM cdp.explain_link('user_id:B-u1', 'anonymous_id:B-anon');
SELECT count(*) FROM cdp.explain_link('user_id:E-user', NULL);
SELECT error_of($$SELECT * FROM cdp.explain_link('user_id:E-user', 'shoe_size:7')$$);
-- whoever is together has a path, and accepted links are a forest
SELECT count(*) AS pairs, count(*) FILTER (WHERE e.steps = 0) AS without_path FROM cdp.identifiers a JOIN cdp.identifiers b ON b.profile_id = a.profile_id AND (a.namespace, a.value) < (b.namespace, b.value),
	LATERAL (SELECT count(*) AS steps FROM cdp.explain_link(cdp.identifier(a.namespace, a.value), cdp.identifier(b.namespace, b.value))) e;
SELECT (SELECT count(*) FROM cdp.links WHERE status = 'accepted') = (SELECT count(*) - count(DISTINCT profile_id) FROM cdp.identifiers) AS is_forest;

-- F: accounts are not people: a group connects nobody, and has a profile of its own
SELECT events FROM cdp.ingest('{"type":"group","messageId":"f1","userId":"F-u1","groupId":"F-g"}');
SELECT events FROM cdp.ingest('{"type":"group","messageId":"f2","userId":"F-u2","groupId":"F-g"}');
SELECT events FROM cdp.ingest('{"type":"track","event":"e","messageId":"f3","userId":"F-u1","groupId":"F-g2","context":{"groupId":"F-g"}}');
SELECT p.entity, string_agg(i.value, ' ' ORDER BY i.value) FROM cdp.identifiers i JOIN cdp.profiles p USING (profile_id) WHERE i.value ~ '^F-' GROUP BY p.profile_id, p.entity ORDER BY 2;
SELECT * FROM links('F-');

-- G: two values of one namespace in one message; the first counts as the stronger
SELECT events FROM cdp.ingest('{"type":"track","event":"e","messageId":"g1","userId":"G-u2","anonymousId":"G-a","context":{"externalIds":[{"id":"G-u1","type":"user_id"}]}}');
SELECT * FROM people('G-');
SELECT * FROM links('G-');
SELECT anchor_value FROM cdp.events WHERE message_id = 'g1';

-- H: in one batch or one by one, in any order: the same people
CREATE TABLE script (n integer GENERATED ALWAYS AS IDENTITY, payload text);
INSERT INTO script (payload) SELECT format('{"type":"track","event":"e","timestamp":"2026-01-31T09:%s:00Z","userId":"%%1$su%s","anonymousId":"%%1$sa%s","messageId":"%%1$s%s","context":{"traits":{"email":"%%1$se%s"}}}', lpad((r % 60)::text, 2, '0'), r % 4, r / 4 % 5, n, r / 20 % 6)
FROM generate_series(1, 25) n, LATERAL (SELECT ('x' || substr(md5('h' || n), 1, 6))::bit(24)::integer AS r) x;
SELECT count(*) FROM (SELECT i.events FROM script, LATERAL (SELECT * FROM cdp.ingest(format(payload, 'h1-')) OFFSET 0) i ORDER BY n) s;
SELECT count(*) FROM (SELECT p FROM (SELECT payload AS p FROM script ORDER BY n DESC OFFSET 0) o, LATERAL (SELECT * FROM cdp.ingest(format(p, 'h2-')) OFFSET 0) i) s;
SELECT events FROM cdp.ingest((SELECT '{"batch":[' || string_agg(format(payload, 'h3-'), ',' ORDER BY md5(payload)) || ']}' FROM script));
BEGIN;
INSERT INTO cdp.inbox (received_at, payload) SELECT '2026-01-31T12:00:00Z', format(payload, 'h4-') FROM script ORDER BY md5(n::text);
SELECT p.events FROM cdp.process(11) p;
SELECT p.events FROM cdp.process(11) p;
SELECT p.events FROM cdp.process(11) p;
COMMIT;
SELECT count(DISTINCT people) AS partitions, min(length(people)) > 100 AS is_some FROM (SELECT string_agg(members, ' | ' ORDER BY members) AS people FROM (SELECT left(value, 3) AS run, string_agg(namespace || ':' || substr(value, 4), ' ' ORDER BY namespace, value) AS members
	FROM cdp.identifiers WHERE value ~ '^h[1-4]-' GROUP BY left(value, 3), profile_id) m GROUP BY run) p;
SELECT count(DISTINCT rejected) AS rejections, min(length(rejected)) > 100 AS is_some FROM (SELECT left(value_a, 3) AS run, string_agg(concat_ws(' ', substr(value_a, 4), substr(value_b, 4), first_seen_at, last_seen_at, event_count, reason), '|' ORDER BY value_a, value_b) AS rejected
	FROM cdp.links WHERE status = 'rejected' AND value_a ~ '^h[1-4]-' GROUP BY 1) r;
-- accepted and redundant links too
SELECT count(DISTINCT accepted) AS forests FROM (SELECT left(value_a, 3) AS run, string_agg(concat_ws(' ', substr(value_a, 4), substr(value_b, 4), status), '|' ORDER BY value_a, value_b) AS accepted FROM cdp.links WHERE value_a ~ '^h[1-4]-' GROUP BY 1) r;
-- in a component nobody disputes as well: which of two redundant links counts depends on the evidence, not on when it came
SELECT see(1, '{"u":"i1-user","e":"i1-mail"}'), see(2, '{"u":"i1-user","a":"i1-anon"}'), see(3, '{"e":"i1-mail","a":"i1-anon"}'), see(4, '{"u":"i1-user","a":"i1-anon"}');
SELECT see(4, '{"u":"i2-user","a":"i2-anon"}'), see(3, '{"e":"i2-mail","a":"i2-anon"}'), see(2, '{"u":"i2-user","a":"i2-anon"}'), see(1, '{"u":"i2-user","e":"i2-mail"}');
SELECT substr(a, 4) AS a, substr(b, 4) AS b, first_seen, last_seen, events, status FROM links('i1-');
SELECT substr(a, 4) AS a, substr(b, 4) AS b, first_seen, last_seen, events, status FROM links('i2-');

-- from scratch the same comes out, also of what was seen under other rules
SELECT count(*) AS clusters, count(*) FILTER (WHERE n > 1) AS split FROM (SELECT r.cluster, count(DISTINCT i.profile_id) AS n FROM cdp.resolve_all() r JOIN cdp.identity i USING (identifier_id) GROUP BY 1) c;

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_identity_people;
