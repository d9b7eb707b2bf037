-- Claim: cdp.resolve() says who is who on any query of messages, by rules of its own, with nothing set up; what is wrong is said by row or rule, never by content.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_identity_resolve;
CREATE DATABASE regress_identity_resolve TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_identity_resolve SET lc_messages = 'C';
ALTER DATABASE regress_identity_resolve SET jit = off;
ALTER DATABASE regress_identity_resolve SET client_min_messages = warning;
\c regress_identity_resolve
CREATE EXTENSION cdp;
CREATE TABLE message (n serial, message jsonb);
INSERT INTO message (message) VALUES
	('{"type":"identify","messageId":"1","userId":"ann","anonymousId":"tablet","traits":{"email":" ANN@example.com"},"timestamp":"2026-01-01T00:00:00Z"}'),
	('{"type":"identify","messageId":"2","userId":"bob","anonymousId":"tablet","traits":{"email":"bob@example.com"},"timestamp":"2026-01-02T00:00:00Z"}'),
	('{"type":"track","messageId":"3","event":"e","userId":"ann","groupId":"shop","timestamp":"2026-01-03T00:00:00Z"}'),
	('{"type":"track","messageId":"4","event":"e","userId":"bob","groupId":"shop","timestamp":"2026-01-03T00:00:00Z"}'),
	('{"type":"alias","messageId":"5","previousId":"old","userId":"ann","timestamp":"2026-01-03T00:00:00Z"}'),
	('{"type":"track","messageId":"6","event":"e","userId":"null","anonymousId":"lonely"}'),
	('{"type":"track","messageId":"7","event":"nobody at all"}'),
	('{}'), (NULL);
-- people and accounts: a shared tablet, a group that two are in, a blocked value, messages of nobody
SELECT * FROM cdp.resolve('SELECT message FROM message') ORDER BY profile, identifier;
-- the same in any order, type, envelope; each message once
CREATE TABLE wanted AS SELECT * FROM cdp.resolve('SELECT message FROM message');
SELECT how, (SELECT count(*) FROM (SELECT * FROM wanted EXCEPT ALL SELECT * FROM cdp.resolve(how)) d) AS missing,
	(SELECT count(*) FROM (SELECT * FROM cdp.resolve(how) EXCEPT ALL SELECT * FROM wanted) d) AS added
FROM unnest(ARRAY['SELECT message FROM message ORDER BY n DESC', 'SELECT message::text FROM message', 'SELECT message::varchar FROM message', 'SELECT message::json FROM message',
	'SELECT message FROM message UNION ALL SELECT message FROM message', 'SELECT jsonb_build_object(''batch'', jsonb_agg(message)) FROM message WHERE message IS NOT NULL']) how;
-- a context around many messages
SELECT * FROM cdp.resolve($$SELECT '{"batch":[{"userId":"a"},{"userId":"b"}],"context":{"device":{"id":"TV"}}}'$$) ORDER BY 1;

-- times: the second column alone counts; null is older than any; else the message tells
CREATE FUNCTION whose(times text) RETURNS text LANGUAGE sql AS $$
	SELECT profile::text FROM cdp.resolve(format('SELECT m.*%s FROM (VALUES
		(1, jsonb ''{"userId":"a","anonymousId":"x","timestamp":"2026-01-09T00:00:00Z"}''), (2, ''{"userId":"b","anonymousId":"x","timestamp":"2026-01-08T00:00:00Z"}'')) v (n, m)
		CROSS JOIN LATERAL (SELECT v.m) m', times)) WHERE identifier = 'anonymous_id:x'
$$;
SELECT whose('') AS by_message, whose($$, timestamptz '2026-01-01Z' + n * interval '1 d'$$) AS by_column, whose($$, CASE n WHEN 1 THEN timestamptz '1980-01-01Z' END$$) AS null_is_old;
CREATE FUNCTION whose_of(one text, other text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(profile::text, ',') FROM cdp.resolve(format('SELECT %L::jsonb || ''{"userId":"a","anonymousId":"x"}'' UNION ALL SELECT %L::jsonb || ''{"userId":"b","anonymousId":"x"}''', one, other)) WHERE identifier = 'anonymous_id:x'
$$;
-- originalTimestamp goes before timestamp; receipt where there is neither; nothing is later than five minutes after receipt; no time at all is old, and then the value decides
SELECT whose_of('{"originalTimestamp":"2026-01-01","timestamp":"2026-01-09"}', '{"timestamp":"2026-01-02"}') AS original,
	whose_of('{"receivedAt":"2026-01-03"}', '{"timestamp":"2026-01-02"}') AS received,
	whose_of('{"timestamp":"2030-01-01","receivedAt":"2026-01-03"}', '{"timestamp":"2026-01-03T00:06:00Z"}') AS ahead,
	whose_of('{"timestamp":null}', '{"timestamp":"1971-01-01"}') AS no_time, whose_of('{}', '{}') AS neither;
-- more events win where times are the same; a message id counts once, also as a number, and an empty one is none
CREATE FUNCTION whose_by_count(id text) RETURNS text LANGUAGE sql AS $$
	SELECT profile::text FROM cdp.resolve(format('SELECT jsonb ''{"userId":"a","anonymousId":"x"}'' UNION ALL SELECT jsonb_build_object(''userId'', ''b'', ''anonymousId'', ''x'', ''messageId'', %s) FROM generate_series(1, 3) i', id)) WHERE identifier = 'anonymous_id:x'
$$;
SELECT whose_by_count('i') AS numbers, whose_by_count('7') AS one_number, whose_by_count('''m'' || i') AS strings, whose_by_count('''m''') AS one_string, whose_by_count('''''') AS empty, whose_by_count('null') AS nothing;

-- rules of one's own: a table of any columns
CREATE TABLE customer (id int, mail text, card text, seen timestamptz);
INSERT INTO customer VALUES (1, 'Ada@x.org', 'C1', '2026-01-01Z'), (2, 'ada@x.org', 'C2', '2026-01-02Z'), (3, 'info@shop.org', 'C3', '2026-01-03Z'), (4, 'info@shop.org', '0', '2026-01-03Z'), (5, 'qa-1@x.org', 'C5', NULL), (6, NULL, 'C1', NULL);
\set rules '{"namespaces": {"customer": {"kind": "person", "priority": 1, "max_per_profile": 2, "paths": ["id"]}, "email": {"priority": 2, "normalizer": "email", "paths": ["mail"]}, "card": {"kind": "device", "priority": 3, "bridge": "always", "valid_pattern": "^C", "paths": ["card"]}}, "blocked": ["email:INFO@shop.org", {"value": "^qa-", "is_pattern": true}, {"value": "3", "namespace": "customer"}], "pins": [["customer:5", "email: Never@Seen.org"]], "denials": [["customer:6", "card:C1"], ["customer:1", "email:not@seen.org"]]}'
SELECT * FROM cdp.resolve('SELECT to_jsonb(c), seen FROM customer c', :'rules') ORDER BY profile, identifier;
-- a blocked value of which nothing is left leaves no trace on the next
SELECT * FROM cdp.resolve($$SELECT '{"userId":"x"}'$$, '{"blocked": ["email: ", {"value": "x"}]}');
-- rules without namespaces, or with nothing, have the default ones
SELECT * FROM cdp.resolve('SELECT message FROM message WHERE n = 1', '{"denials": [["user_id:ann", "anonymous_id:tablet"]], "pins": null}') ORDER BY 1;
SELECT count(*) FROM cdp.resolve('SELECT message FROM message', '{}');
SELECT count(*) FROM cdp.resolve('SELECT message FROM message', NULL);
SELECT count(*) FROM cdp.resolve('SELECT message FROM message WHERE false');
-- a denial is stronger than a pin
SELECT count(DISTINCT profile) FROM cdp.resolve($$SELECT '{}'$$, '{"pins": [["user_id:a", "email:b"]], "denials": [["email:b", "user_id:a"]]}');

-- phone numbers as they are dialled in a region
SELECT * FROM cdp.resolve($$SELECT '{"userId":"u","context":{"traits":{"phone":"030 12345678"}}}'$$, '{"phone_region": "DE", "pins": [["phone:+49 30 12345678", "email:p@x.org"]]}') ORDER BY 1;

-- what is wrong
CREATE FUNCTION error_of(query text, rules jsonb DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	message text;
	detail text;
	hint text;
BEGIN
	PERFORM * FROM cdp.resolve(query, rules);
	RETURN 'none';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT, detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' | ', SQLSTATE, message, nullif(detail, ''), nullif(hint, ''));
END
$$;
\t
SELECT error_of(query) FROM unnest(ARRAY[NULL, 'SELECT', 'SELECT 1', 'SELECT jsonb ''{}'', 1', 'SELECT jsonb ''{}'', now(), 1', 'SELECT FROM missing', 'no SQL', 'CREATE TABLE x ()', 'SELECT ''{}''; SELECT ''{}''',
	$q$SELECT '{"userId":"secret"' UNION ALL SELECT '{}'$q$, $q$SELECT m FROM (VALUES ('{}'), (NULL), ('["secret"]')) v (m)$q$, $q$SELECT '{"batch":[{}, "secret"]}'$q$, $q$SELECT '"secret"'::jsonb$q$,
	$q$SELECT '{"userId":"secret", "timestamp":"secret"}'$q$, $q$SELECT '{"userId":"secret", "originalTimestamp":1}'$q$, $q$SELECT '{"userId":"secret", "receivedAt":{}}'$q$, $q$SELECT '{"userId":"secret", "messageId":{}}'$q$,
	$q$SELECT jsonb '{}', timestamptz 'infinity'$q$, $q$SELECT jsonb_build_object('context', jsonb_build_object('externalIds', jsonb_agg(jsonb_build_object('type', 'email', 'id', i)))) FROM generate_series(1, 64) i$q$,
	$q$SELECT '{}' WHERE 1 / 0 = 1$q$]) query;
SELECT error_of('SELECT ''{}''', rules::jsonb) FROM unnest(ARRAY['1', '[]', '{"namespace":{}}', '{"namespaces":{}}', '{"namespaces":[]}', '{"namespaces":{"a":1}}', '{"namespaces":{"A":{"priority":1}}}', '{"namespaces":{"a":{}}}',
	'{"namespaces":{"a":{"priority":0}}}', '{"namespaces":{"a":{"priority":"1"}}}', '{"namespaces":{"a":{"priority":1.5}}}', '{"namespaces":{"a":{"priority":3000000000}}}', '{"namespaces":{"a":{"priority":1,"limit":1}}}',
	'{"namespaces":{"a":{"priority":1,"max_per_profile":0}}}', '{"namespaces":{"a":{"priority":1,"kind":"robot"}}}', '{"namespaces":{"a":{"priority":1,"bridge":"often"}}}', '{"namespaces":{"a":{"priority":1,"normalizer":"upper"}}}',
	'{"namespaces":{"a":{"priority":1,"entity":"ship"}}}', '{"namespaces":{"a":{"priority":1,"valid_pattern":"("}}}', '{"namespaces":{"a":{"priority":1,"valid_pattern":1}}}', '{"namespaces":{"a":{"priority":1,"paths":"x"}}}',
	'{"namespaces":{"a":{"priority":1,"paths":["x..y"]}}}', '{"namespaces":{"a":{"priority":1,"paths":["click:x"]}}}', '{"namespaces":{"a":{"priority":1,"paths":[null]}}}', '{"namespaces":{"a":{"priority":1},"b":{"priority":1}}}',
	'{"blocked":{}}', '{"blocked":[1]}', '{"blocked":["secret"]}', '{"blocked":["fax:secret"]}', '{"blocked":[{}]}', '{"blocked":[{"value":""}]}', '{"blocked":[{"value":"(","is_pattern":true}]}', '{"blocked":[{"value":"x","is_pattern":1}]}',
	'{"blocked":[{"value":"x","namespace":"fax"}]}', '{"blocked":[{"pattern":"x"}]}', '{"pins":{}}', '{"phone_region":"secret"}', '{"phone_region":49}', '{"pins":["user_id:a"]}', '{"pins":[["user_id:secret"]]}', '{"pins":[["user_id:secret", 1]]}', '{"pins":[["user_id:secret", "secret"]]}',
	'{"pins":[["user_id:a", "email:b"], ["fax:secret", "user_id:secret"]]}', '{"denials":[["email:Secret@x.org", "email: secret@x.ORG"]]}', '{"denials":[["user_id:secret", "group_id:secret"]]}', '{"denials":[["user_id:null", "user_id:secret"]]}',
	'{"blocked":["user_id:x"],"pins":[["user_id:x", "email:b"]]}']) WITH ORDINALITY r (rules, n) ORDER BY n;
SELECT error_of('SELECT ''{}''', jsonb_build_object('namespaces', (SELECT jsonb_object_agg('n' || i, jsonb_build_object('priority', i)) FROM generate_series(1, 101) i)));
\t
-- one account and one person may share a priority
SELECT error_of('SELECT ''{}''', '{"namespaces":{"a":{"priority":1},"b":{"priority":1,"entity":"account"}}}');
-- it respects its memory, and a cancel; afterwards all is well
SET cdp.max_resolve_memory = '4MB';
SELECT * FROM cdp.resolve($$SELECT jsonb_build_object('userId', i, 'anonymousId', i) FROM generate_series(1, 100000) i$$);
SELECT count(*) FROM cdp.resolve($$SELECT jsonb_build_object('userId', i % 100, 'anonymousId', i % 100) FROM generate_series(1, 20000) i$$);
SELECT count(*) FROM cdp.resolve($$SELECT jsonb_build_object('messageId', i, 'userId', 'x') FROM generate_series(1, 200000) i$$);
RESET cdp.max_resolve_memory;
SET statement_timeout = '300ms';
SELECT * FROM cdp.resolve($$SELECT '{"userId":"x"}' FROM generate_series(1, 100000) a, generate_series(1, 100000) b$$);
RESET statement_timeout;
SELECT * FROM cdp.resolve('SELECT message FROM message WHERE n = 3') ORDER BY 1;
SET cdp.max_resolve_memory = '4MB';
SELECT * FROM cdp.resolve($$SELECT jsonb_build_object('batch', jsonb_agg(jsonb_build_object('userId', i))) FROM generate_series(1, 40000) i$$);
RESET cdp.max_resolve_memory;
-- what a message without identifiers says besides does not matter
SELECT * FROM cdp.resolve($$SELECT '{"userId":null,"timestamp":"yesterday","messageId":[]}'$$);
-- it only reads
SELECT error_of('DELETE FROM message RETURNING message');
-- a value of the longest size, and characters of all kinds
SELECT count(*), count(DISTINCT length(cdp.value(identifier))) AS lengths FROM cdp.resolve($$SELECT jsonb_build_object('userId', repeat('x', i)) FROM generate_series(511, 514) i$$);
SELECT * FROM cdp.resolve($$SELECT '{"userId":"a\u00e4\ud83d\ude00:\"b", "anonymousId":17}'$$) ORDER BY 1;

-- what it says of the log is what is stored
SELECT cdp.init();
SELECT count(*) FROM cdp.namespace;
SET cdp.clock = '2026-01-31T12:00:00Z';
SELECT cdp.block_value('u5', 'user_id'), cdp.block_value('^u1[0-4]$', is_pattern => true);
CREATE FUNCTION pick(seed int, n int) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT (hashint8(seed) & 2147483647) % n || '' $$;
SELECT i.events FROM (SELECT jsonb_build_object('batch', jsonb_agg(jsonb_build_object('type', 'track', 'event', 'e', 'messageId', 'm' || m, 'timestamp', '2026-01-' || lpad((1 + m % 30)::text, 2, '0'),
	'userId', CASE WHEN pick(m, 4) < '2' THEN 'u' || pick(m + 10000, 150) END, 'anonymousId', 'a' || pick(m + 20000, 400),
	'context', CASE WHEN pick(m + 30000, 5) = '0' THEN jsonb_build_object('traits', jsonb_build_object('email', 'e' || pick(m + 40000, 150) || '@x.org')) END)))::text AS payload FROM generate_series(1, 1500) m) p, LATERAL cdp.ingest(p.payload) i;
SELECT cdp.pin('user_id:u1', 'email:e2@x.org', 'test') AS pin, cdp.deny('user_id:u3', (SELECT cdp.identifier(namespace_b, value_b) FROM cdp.links WHERE value_a = 'u3' AND namespace_b = 'anonymous_id' AND status = 'accepted' ORDER BY 1 LIMIT 1), 'test') AS denial;
CREATE FUNCTION rules_in_force() RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('namespaces', (SELECT jsonb_object_agg(name, to_jsonb(n) - 'name') FROM cdp.namespace n), 'blocked', (SELECT jsonb_agg(to_jsonb(b) - 'ruling_id') FROM cdp.blocked_value b),
		'pins', (SELECT jsonb_agg(jsonb_build_array(a, b)) FROM cdp.ruling WHERE kind = 'pin' AND undone_at IS NULL),
		'denials', (SELECT jsonb_agg(jsonb_build_array(a, b)) FROM cdp.ruling WHERE kind = 'deny' AND undone_at IS NULL))
$$;
WITH stored AS (
	SELECT cdp.identifier(namespace, value) AS identifier, profile_id FROM cdp.identifiers
), both_ways AS (
	SELECT * FROM stored FULL JOIN cdp.resolve('SELECT message, occurred_at FROM cdp.events', rules_in_force()) r USING (identifier)
)
SELECT count(*) > 500 AS many, count(*) FILTER (WHERE profile IS NULL OR profile_id IS NULL) AS alone, count(DISTINCT profile) = count(DISTINCT profile_id) AND count(DISTINCT profile) = count(DISTINCT (profile, profile_id)) AS same,
	count(DISTINCT profile) < count(*) AS is_merged, bool_or(is_contested) AS some_contested FROM both_ways;
\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_identity_resolve;
