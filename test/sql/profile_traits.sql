-- cdp.traits reads and writes its text and binary form, and merging is commutative, associative and idempotent: the latest word by event time counts, then rank, then value.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_profile_traits;
CREATE DATABASE regress_profile_traits TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_profile_traits SET lc_messages = 'C';
ALTER DATABASE regress_profile_traits SET jit = off;
ALTER DATABASE regress_profile_traits SET client_min_messages = warning;
\c regress_profile_traits
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

-- in and out, names sorted bytewise, the winner of repeated names
SELECT t::cdp.traits FROM unnest(ARRAY['{}', ' { } ', '{"plan": {"at": "2026-01-31T09:00:00Z", "rank": 0, "value": "pro"}}', '{"plan":{"value":"pro","at":"2026-01-31T10:00:00+01:00"}}', '{"b":{"at":"2026-01-31","value":1},"a":{"at":"2026-01-31T00:00:00.5Z","rank":-7,"value":[1,{"x":null}]}}',
	'{"z":{"at":"2026-01-31","value":null},"Z":{"at":"2026-01-31","value":true},"":{"at":"2026-01-31","value":""}}', '{"a":{"at":"2026-01-31","rank":32767,"value":{"b":1,"a":2}},"a b":{"at":"2026-01-31","rank":-32767,"value":1.50}}',
	'{"a":{"at":"2026-01-31","value":1},"a":{"at":"2026-01-30","value":2}}', '{"a":{"at":"2026-01-31","value":1},"a":{"at":"2026-01-31","rank":1,"value":0}}', '{"\"q\\":{"at":"2026-01-31","value":"\n\u0041\ud83d\ude00"}}',
	'{"a":{"at":"0001-01-01T00:00:00Z","value":1},"b":{"at":"9999-12-31T23:59:59.999999Z","value":1}}', '{"a":{"at":"2026-01-31","value":1,"more":2}}']) WITH ORDINALITY u (t, ord) ORDER BY ord;
CREATE TABLE malformed (literal text);
INSERT INTO malformed VALUES (''), ('null'), ('[]'), ('1'), ('"a"'), ('{'), ('{"a"}'), ('{"a":1}'), ('{"a":null}'), ('{"a":"secret"}'), ('{"a":[]}'), ('{"a":{}}'), ('{"a":{"value":"secret"}}'), ('{"a":{"at":"2026-01-31"}}'), ('{"a":{"at":null,"value":"secret"}}'),
	('{"a":{"at":1,"value":"secret"}}'), ('{"a":{"at":"","value":"secret"}}'), ('{"a":{"at":"yesterday","value":"secret"}}'), ('{"a":{"at":"2026-02-30","value":"secret"}}'), ('{"a":{"at":"infinity","value":"secret"}}'), ('{"a":{"at":"10000-01-01","value":1}}'), ('{"a":{"at":"0000-12-31","value":1}}'),
	('{"a":{"at":"2026-01-31","rank":"0","value":"secret"}}'), ('{"a":{"at":"2026-01-31","rank":null,"value":"secret"}}'), ('{"a":{"at":"2026-01-31","rank":1.5,"value":"secret"}}'), ('{"a":{"at":"2026-01-31","rank":32768,"value":"secret"}}'),
	('{"a":{"at":"2026-01-31","rank":-32768,"value":"secret"}}'), ('{"a":{"at":"2026-01-31","rank":1e3,"value":"secret"}}'), ('{"a":{"at":"2026-01-31","rank":99999999999,"value":"secret"}}'), ('{"a":{"at":"2026-01-31","rank":true,"value":"secret"}}'),
	('{"a":{"at":"2026-01-31","value":secret}}'), ('{"a":{"at":"2026-01-31","value":1}}x'), ('{"a":{"at":"2026-01-31","value":1e999999}}'), ('{"a":{"at":"2026-01-31","value":' || repeat('[', 101) || repeat(']', 101) || '}}'), ('{"a":{"At":"2026-01-31","Value":1}}'), ('{"secret":{"at":"2026-01-31","value":1},}');
SELECT count(*) >= 30 AS is_enough, count(*) FILTER (WHERE error !~ '^22P02') AS taken, count(*) FILTER (WHERE error ~ 'secret') AS shown, count(DISTINCT error) AS messages
FROM malformed, LATERAL (SELECT error_of(format('SELECT %L::cdp.traits', literal)) AS error) e;
SELECT error_of($$SELECT ''::cdp.traits$$), error_of($$SELECT cdp.traits('[1]', '2026-01-31')$$), error_of($$SELECT cdp.traits('{}', '2026-01-31', 32768)$$);

-- made of JSON; as JSON; what is unset is left out there
SELECT cdp.traits('{"b":"x","a":[1,2],"c":null,"d":{"e":1.50}}', '2026-01-31T12:00:00Z', 3) AS t;
SELECT cdp.traits('{"b":"x","a":[1,2],"c":null,"d":{"e":1.50}}', '2026-01-31T12:00:00Z', 3)::jsonb AS j, cdp.to_jsonb('{}'::cdp.traits) AS of_none, cdp.traits('{}', '2026-01-31') AS none, cdp.traits(NULL, '2026-01-31') IS NULL AS is_strict;
-- whatever instant and value it can be made of, it can be read again
SELECT at, error_of(format('SELECT cdp.traits(%L, %L)::text::cdp.traits', '{"a":1}', at)) FROM unnest(ARRAY['2026-01-31', '0001-01-01', '9999-12-31 23:59:59', '0044-03-15 BC', '4713-01-01 BC', '10000-01-01', '200000-01-01', 'infinity', '-infinity']) at
WHERE error_of(format('SELECT cdp.traits(%L, %L)::text::cdp.traits', '{"a":1}', at)) <> 'none' AND error_of(format('SELECT cdp.traits(%L, %L)', '{"a":1}', at)) = 'none';
SELECT length(v), error_of(format('SELECT cdp.traits(%L, %L)::text::cdp.traits', jsonb_build_object('a', v::jsonb), '2026-01-31')) FROM unnest(ARRAY['1e1000', '1e-1000', '1e2000', repeat('9', 1001), repeat('[', 100) || repeat(']', 100), repeat('[', 101) || repeat(']', 101)]) v
WHERE error_of(format('SELECT cdp.traits(%L, %L)::text::cdp.traits', jsonb_build_object('a', v::jsonb), '2026-01-31')) <> 'none' AND error_of(format('SELECT cdp.traits(%L, %L)', jsonb_build_object('a', v::jsonb), '2026-01-31')) = 'none';

-- binary: through COPY and back; a version that is not known is refused
CREATE TABLE original AS SELECT i AS id, cdp.traits(jsonb_build_object('n', i, 's', repeat('x', i * 100), 'k' || i, NULL), '2026-01-31'::timestamptz + i * interval '1 hour', i) AS t FROM generate_series(0, 40) i;
INSERT INTO original VALUES (-1, NULL), (-2, '{}');
CREATE TABLE copied (LIKE original);
CREATE TEMPORARY TABLE place AS SELECT current_setting('data_directory') || '/regress_profile_traits.bin' AS path;
DO $$ BEGIN EXECUTE format('COPY original TO %L (FORMAT binary)', (SELECT path FROM place)); EXECUTE format('COPY copied FROM %L (FORMAT binary)', (SELECT path FROM place)); END $$;
SELECT count(*) AS copied, count(*) FILTER (WHERE NOT coalesce(cdp.is_same(o.t, c.t), o.t IS NULL AND c.t IS NULL)) AS differ FROM original o FULL JOIN copied c USING (id);
CREATE TEMPORARY TABLE received (t cdp.traits);
CREATE FUNCTION receive(bytes bytea) RETURNS cdp.traits LANGUAGE plpgsql AS $$
DECLARE
	path text := (SELECT p.path FROM place p);
	file oid;
	result cdp.traits;
BEGIN
	file := lo_from_bytea(0, '\x5047434f50590aff0d0a00'::bytea || '\x0000000000000000'::bytea || '\x0001'::bytea || int4send(length(bytes)) || bytes || '\xffff'::bytea);
	PERFORM lo_export(file, path);
	PERFORM lo_unlink(file);
	EXECUTE format('COPY received FROM %L (FORMAT binary)', path);
	DELETE FROM received RETURNING t INTO result;
	RETURN result;
END
$$;
SELECT encode(cdp.traits_send('{"a":{"at":"2026-01-31","value":1}}'), 'escape');
SELECT receive('\x01' || '{"a":{"at":"2026-01-31","value":1}}'::bytea);
SELECT b, split_part(error_of(format('SELECT receive(%L)', b)), ' ', 1) AS error FROM unnest(ARRAY['', '\x01', '\x00', '\x027b7d', '\x017b', '\x017b7d00', '\x01ff', '\x017b7d7d']::bytea[]) b;
SELECT error_of($$SELECT receive('\x027b7d')$$);
SELECT count(*) AS mutants, bool_or(error = 'none') AS some_are_read, bool_or(error <> 'none') AS some_are_refused, string_agg(DISTINCT split_part(error, ' ', 1), ', ' ORDER BY split_part(error, ' ', 1)) AS errors
FROM generate_series(1, 400) n, LATERAL (SELECT cdp.traits_send('{"plan": {"at": "2026-01-31T09:00:00Z", "rank": 0, "value": "pro"}}') AS good) g, LATERAL (SELECT ('x' || substr(md5(n::text), 1, 6))::bit(24)::integer AS random) r,
	LATERAL (SELECT error_of(format('SELECT receive(%L)', set_byte(good, random % length(good), random / 100 % 256))) AS error) e;
DO $$ BEGIN EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', 'cat >/dev/null; rm -f ' || quote_literal((SELECT path FROM place))); END $$;

-- the algebra, on generated maps that share names, times, ranks and values
CREATE TABLE random AS SELECT n AS id, coalesce((SELECT cdp.merge_traits(cdp.traits(jsonb_build_object('k' || r % 5, CASE r / 5 % 7 WHEN 0 THEN 'null'::jsonb WHEN 1 THEN '"a"' WHEN 2 THEN '"b"' WHEN 3 THEN '1' WHEN 4 THEN '1.0' WHEN 5 THEN '{"x":[1]}' ELSE '[]' END),
	'2026-01-31'::timestamptz + (r / 35 % 3) * interval '1 second', r / 105 % 3 - 1)) FROM generate_series(1, 4) i, LATERAL (SELECT ('x' || substr(md5(n || '.' || i), 1, 7))::bit(28)::integer AS r) x WHERE r / 1000 % 4 > 0), '{}') AS t
FROM generate_series(1, 60) n;
SELECT count(*) AS pairs, count(*) FILTER (WHERE NOT cdp.is_same(cdp.merge(a.t, b.t), cdp.merge(b.t, a.t))) AS not_commutative, count(*) FILTER (WHERE NOT cdp.is_same(cdp.merge(a.t, cdp.merge(a.t, b.t)), cdp.merge(a.t, b.t))) AS not_absorbing,
	count(*) FILTER (WHERE NOT cdp.is_same(cdp.merge(a.t, a.t), a.t)) AS not_idempotent, count(*) FILTER (WHERE cdp.is_same(a.t, b.t) <> (a.t::text = b.t::text)) AS equality_wrong,
	count(*) FILTER (WHERE NOT cdp.is_same(cdp.merge(a.t, b.t)::text::cdp.traits, cdp.merge(a.t, b.t))) AS not_read_back, count(*) FILTER (WHERE NOT cdp.is_same(cdp.merge(a.t, '{}'), a.t)) AS no_identity FROM random a, random b;
SELECT count(*) AS triples, count(*) FILTER (WHERE NOT cdp.is_same(cdp.merge(cdp.merge(a.t, b.t), c.t), cdp.merge(a.t, cdp.merge(b.t, c.t)))) AS not_associative FROM random a, random b, random c WHERE a.id <= 35 AND b.id <= 35 AND c.id <= 35;
SELECT count(DISTINCT m::text) AS results FROM generate_series(1, 30) shuffle, LATERAL (SELECT cdp.merge_traits(t ORDER BY md5(id::text || shuffle::text)) AS m FROM random) s;
SELECT cdp.merge('{}'::cdp.traits, NULL) IS NULL AS is_strict, (SELECT cdp.merge_traits(t) FROM random WHERE false) IS NULL AS none, (SELECT cdp.merge_traits(t) FROM (VALUES (NULL::cdp.traits), ('{"a":{"at":"2026-01-31","value":1}}'), (NULL)) v (t)) AS nulls_skipped;

-- who wins: the later, else the higher rank, else the larger value of one length bytewise; null unsets
SELECT cdp.merge(a, b)::jsonb AS winner FROM (VALUES (1, cdp.traits('{"a":"new"}', '2026-01-31', -5), cdp.traits('{"a":"old"}', '2026-01-30', 9)), (2, cdp.traits('{"a":"low"}', '2026-01-31', 1), cdp.traits('{"a":"hig"}', '2026-01-31', 2)),
	(3, cdp.traits('{"a":"aaa"}', '2026-01-31'), cdp.traits('{"a":"aab"}', '2026-01-31')), (4, cdp.traits('{"a":1}', '2026-01-30'), cdp.traits('{"a":null}', '2026-01-31')), (5, cdp.traits('{"a":null}', '2026-01-30'), cdp.traits('{"a":1}', '2026-01-31')),
	(6, cdp.traits('{"a":1,"b":1}', '2026-01-30'), cdp.traits('{"b":2,"c":2}', '2026-01-31'))) v (n, a, b) ORDER BY n;

-- large maps: past a page, compressed, out of line
CREATE TABLE large AS SELECT cdp.traits((SELECT jsonb_object_agg('name' || i, repeat(md5(i::text), 20)) FROM generate_series(1, 2000) i), '2026-01-31') AS t;
SELECT length(t::text) > 1000000 AS is_large, cdp.is_same(t, t::text::cdp.traits) AS is_read_back, (t::jsonb ->> 'name1999') = repeat(md5('1999'), 20) AS is_found,
	(cdp.merge(t, cdp.traits('{"name5":1,"zzz":2}', '2026-02-01'))::jsonb) @> '{"name5":1,"zzz":2}' AS is_merged FROM large;

-- from messages: by event time, in whatever order they come; null unsets; a source's rank settles ties
SELECT cdp.create_source('crm', 5), cdp.create_source('web');
CREATE TABLE message (id integer GENERATED ALWAYS AS IDENTITY, source text, payload jsonb);
INSERT INTO message (source, payload) SELECT s, jsonb_build_object('type', 'identify', 'traits', t, 'timestamp', at) FROM (VALUES
	('web', '{"plan":"free","name":"Ada","city":"Paris"}'::jsonb, '2026-01-01'), ('web', '{"plan":"pro"}', '2026-01-10'), ('web', '{"plan":"trial","city":null}', '2026-01-05'), ('crm', '{"name":"Ada L."}', '2026-01-01'), ('web', '{"tags":["a"]}', '2026-01-02'), ('web', '{"tags":["a","b"]}', '2026-01-02'),
	('crm', '{"plan":"crm"}', '2026-01-09'), ('web', '{"age":36,"nested":{"a":1}}', '2026-01-03'), ('web', '{"age":37,"nested":{"b":2}}', '2026-01-04')) v (s, t, at);
SELECT count(DISTINCT t::text) AS results, min(t::text)::jsonb AS traits FROM (
	SELECT cdp.profile_id(cdp.identifier('user_id', 'shuffle' || shuffle)) AS id, sum(i.events) AS events FROM generate_series(1, 20) shuffle, LATERAL (SELECT m.* FROM message m ORDER BY md5(m.id || '/' || shuffle) OFFSET 0) m,
		LATERAL (SELECT * FROM cdp.ingest(m.payload || jsonb_build_object('userId', 'shuffle' || shuffle, 'messageId', shuffle || '/' || m.id), m.source) OFFSET 0) i GROUP BY shuffle) s,
	LATERAL (SELECT cdp.profile(cdp.identifier('user_id', 'shuffle' || n)) -> 'traits' AS t FROM generate_series(1, 20) n) p;
SELECT DISTINCT (p.traits - 'tags') AS traits FROM cdp.profiles p;
SELECT f.traits FROM cdp.fragment f JOIN cdp.identity i USING (identifier_id) WHERE i.value = 'shuffle7';
-- only identify speaks of a person's traits
SELECT sum(i.events) FROM unnest(ARRAY['track', 'page', 'screen']) t, LATERAL (SELECT * FROM cdp.ingest(jsonb_build_object('type', t, 'event', 'e', 'userId', 'silent', 'messageId', t, 'traits', '{"a":1}'::jsonb, 'context', '{"traits":{"b":1}}'::jsonb)) OFFSET 0) i;
SELECT cdp.profile('user_id:silent') -> 'traits' AS traits;
-- a group's are the account's
SELECT events FROM cdp.ingest('{"type":"group","messageId":"g","userId":"member","groupId":"acme","traits":{"name":"Acme","size":5}}');
SELECT cdp.profile('user_id:member') -> 'traits' AS of_member, cdp.profile('group_id:acme') -> 'traits' AS of_group, cdp.profile('group_id:acme') ->> 'entity' AS entity;
SELECT part, differences FROM cdp.verify() WHERE differences <> 0;

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_profile_traits;
