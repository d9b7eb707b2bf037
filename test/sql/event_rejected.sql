-- What cannot be taken is kept in cdp.rejected with a reason code, whole enough to be replayed, and costs no other message; the sender's key is not kept.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_event_rejected;
CREATE DATABASE regress_event_rejected TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_event_rejected SET lc_messages = 'C';
ALTER DATABASE regress_event_rejected SET jit = off;
ALTER DATABASE regress_event_rejected SET client_min_messages = warning;
\c regress_event_rejected
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

-- every reason once, and near misses that are taken (wanted is null)
CREATE TABLE try (id integer GENERATED ALWAYS AS IDENTITY, wanted text, payload text);
INSERT INTO try (wanted, payload) VALUES
	('invalid_json', ''), ('invalid_json', '{'), ('invalid_json', '{"type":"track",}'), ('invalid_json', '{"type":"track"} x'), ('invalid_json', E'{"type":"track","event":"a\nb","userId":"u"}'),
	('invalid_json', repeat('[', 10000)), ('invalid_json', repeat('{"a":', 10000)),
	('too_large', '{"type":"track","event":"e","userId":"u","properties":{"x":"' || repeat('x', 40000) || '"}}'),
	('too_large', jsonb_build_object('type', 'track', 'event', repeat('e', 1025), 'userId', 'u')::text), (NULL, jsonb_build_object('type', 'track', 'event', repeat('e', 1024), 'userId', 'u')::text),
	('too_large', jsonb_build_object('type', 'page', 'name', repeat('e', 1025), 'userId', 'u')::text),
	('too_large', '{"batch":[' || repeat(' ', 4096000) || ']}'),
	('empty_batch', '{"batch":[]}'), ('empty_batch', '{"batch":[],"sentAt":"2026-01-31T12:00:00Z"}'),
	('too_many_events', '{"batch":[' || repeat('1,', 2500) || '1]}'),
	('not_an_object', '1'), ('not_an_object', 'null'), ('not_an_object', '"track"'), ('not_an_object', '[]'), ('not_an_object', '[{"type":"track","event":"e","userId":"u"}]'), ('not_an_object', '{"batch":[7]}'), ('not_an_object', '{"batch":[[]]}'),
	('too_deep', '{"type":"track","event":"e","userId":"u","properties":' || repeat('{"a":', 100) || '1' || repeat('}', 101)), (NULL, '{"type":"track","event":"e","userId":"u","properties":' || repeat('{"a":', 99) || '1' || repeat('}', 100)),
	('too_deep', '{"type":"track","event":"e","userId":"u","x":' || repeat('[', 10000) || repeat(']', 10000) || '}'), ('not_an_object', repeat('[', 10000) || repeat(']', 10000)),
	('too_deep', '{"batch":[{"type":"track","event":"e","userId":"u"}],"context":{"a":' || repeat('[', 99) || repeat(']', 99) || '}}'),
	('too_deep', '{"batch":[{"type":"track","event":"e","userId":"u","context":{}}],"context":{"a":' || repeat('[', 1000000) || repeat(']', 1000000) || '}}'),
	('too_deep', '{"batch":[{"type":"track","event":"e","userId":"u","integrations":{"b":1}}],"integrations":{"a":' || repeat('[', 1000) || repeat(']', 1000) || '}}'),
	(NULL, '{"batch":[{"type":"track","event":"e","userId":"u","context":{}}],"context":{"a":' || repeat('[', 98) || repeat(']', 98) || '}}'),
	('missing_type', '{}'), ('missing_type', '{"userId":"u"}'), ('missing_type', '{"type":null,"userId":"u"}'), ('missing_type', '{"type":1,"userId":"u"}'), ('missing_type', '{"type":["track"],"userId":"u"}'), ('missing_type', '{"batch":{},"userId":"u"}'),
	('unknown_type', '{"type":"","userId":"u"}'), ('unknown_type', '{"type":"Track","event":"e","userId":"u"}'), ('unknown_type', '{"type":"track ","event":"e","userId":"u"}'), ('unknown_type', '{"type":"delete","userId":"u"}'),
	('wrong_type', '{"type":"track","event":"e","userId":true}'), ('wrong_type', '{"type":"track","event":"e","userId":{"id":1}}'), ('wrong_type', '{"type":"track","event":"e","userId":["u"]}'), ('wrong_type', '{"type":"track","event":"e","userId":"u","anonymousId":false}'),
	('wrong_type', '{"type":"track","event":"e","userId":"u","context":"c"}'), ('wrong_type', '{"type":"track","event":"e","userId":"u","context":[]}'), ('wrong_type', '{"type":"track","event":"e","userId":"u","properties":[1]}'),
	('wrong_type', '{"type":"identify","userId":"u","traits":"t"}'), ('wrong_type', '{"type":"group","userId":"u","groupId":{}}'), ('wrong_type', '{"type":"alias","userId":"u","previousId":[]}'), ('wrong_type', '{"type":"track","event":"e","userId":"u","messageId":{}}'),
	('wrong_type', '{"type":"track","event":"e","userId":"u","messageId":true}'),
	('wrong_type', '{"batch":[{"type":"track","event":"e","userId":"u"}],"context":5}'),
	(NULL, '{"type":"track","event":"e","userId":7,"anonymousId":null,"context":null,"properties":null,"traits":null,"integrations":"odd","unknown":[1]}'),
	('missing_event', '{"type":"track","userId":"u"}'), ('missing_event', '{"type":"track","userId":"u","event":null}'), ('missing_event', '{"type":"track","userId":"u","event":""}'), ('missing_event', '{"type":"track","userId":"u","event":7}'), ('missing_event', '{"type":"track","userId":"u","name":"e"}'),
	(NULL, '{"type":"page","userId":"u"}'), (NULL, '{"type":"screen","userId":"u","name":7}'),
	('missing_group_id', '{"type":"group","userId":"u"}'), ('missing_group_id', '{"type":"group","userId":"u","groupId":null}'), (NULL, '{"type":"group","userId":"u","groupId":7}'), (NULL, '{"type":"group","groupId":"g"}'),
	('missing_previous_id', '{"type":"alias","userId":"u"}'), ('missing_previous_id', '{"type":"alias","previousId":"p"}'), ('missing_previous_id', '{"type":"alias","userId":null,"previousId":"p"}'), ('missing_previous_id', '{"type":"alias","userId":"u","previousId":null}'),
	('invalid_timestamp', '{"type":"track","event":"e","userId":"u","timestamp":"yesterday"}'), ('invalid_timestamp', '{"type":"track","event":"e","userId":"u","timestamp":1769860800}'), ('invalid_timestamp', '{"type":"track","event":"e","userId":"u","timestamp":""}'),
	('invalid_timestamp', '{"type":"track","event":"e","userId":"u","originalTimestamp":"2026-02-30T00:00:00Z"}'), ('invalid_timestamp', '{"type":"track","event":"e","userId":"u","sentAt":"2026-01-31T12:00:00+99:00"}'),
	('invalid_timestamp', '{"type":"track","event":"e","userId":"u","timestamp":"10000-01-01T00:00:00Z"}'), ('invalid_timestamp', '{"type":"track","event":"e","userId":"u","timestamp":"infinity"}'), ('invalid_timestamp', '{"batch":[{"type":"track","event":"e","userId":"u"}],"sentAt":"soon"}'),
	(NULL, '{"type":"track","event":"e","userId":"u","timestamp":"9999-12-31T23:59:59Z","sentAt":null}'),
	('invalid_message_id', jsonb_build_object('type', 'track', 'event', 'e', 'userId', 'u', 'messageId', repeat('m', 201))::text), (NULL, jsonb_build_object('type', 'track', 'event', 'e', 'userId', 'u', 'messageId', repeat('m', 200))::text),
	('no_identifier', '{"type":"track","event":"e"}'), ('no_identifier', '{"type":"track","event":"e","userId":null,"anonymousId":null}'), ('no_identifier', '{"type":"track","event":"e","previousId":"p"}'), ('no_identifier', '{"type":"track","event":"e","traits":{"email":"a@x.org"}}'),
	('no_identifier', '{"type":"identify","traits":{"name":"Ada"}}'), ('no_identifier', '{"type":"track","event":"e","context":{"externalIds":[{"id":"x","type":"no_such"}]}}'),
	(NULL, '{"type":"identify","traits":{"email":"only@x.org"}}'), (NULL, '{"type":"track","event":"e","userId":""}'), (NULL, '{"type":"track","event":"e","context":{"externalIds":[{"id":"only-external","type":"user_id"}]}}'),
	('invalid_number', '{"type":"track","event":"e","userId":"u","properties":{"x":1e999999}}'), ('invalid_number', '{"type":"track","event":"e","userId":"u","properties":{"x":' || repeat('9', 2000) || '}}'),
	(NULL, '{"type":"track","event":"e\u0000","userId":"u\u0000","properties":{"a\u0000":"\ud800"}}');
INSERT INTO try (wanted, payload)
SELECT CASE WHEN n >= 65 THEN 'too_many_members' END, '{"type":"track","event":"e","userId":"u"' || (SELECT string_agg(format(',"k%s":%s', i, i), '') FROM generate_series(1, n - 3) i) || '}' FROM unnest(ARRAY[64, 65, 1000]) n
UNION ALL
SELECT CASE WHEN n >= 64 THEN 'too_many_identifiers' END, jsonb_build_object('type', 'track', 'event', 'e', 'context', jsonb_build_object('externalIds', (SELECT jsonb_agg(jsonb_build_object('type', 'anonymous_id', 'id', 'many' || i)) FROM generate_series(1, n) i)))::text
FROM unnest(ARRAY[63, 64, 65, 300]) n;
CREATE TABLE outcome AS SELECT t.id, t.wanted, i.messages, i.events, i.duplicates, i.rejected, i.errors -> 0 ->> 'reason' AS reason, i.errors -> 0 ->> 'detail' AS detail, jsonb_array_length(i.errors) AS n_errors
FROM try t, LATERAL (SELECT * FROM cdp.ingest(t.payload) OFFSET 0) i;
SELECT count(*) AS tried, count(*) FILTER (WHERE wanted IS NULL) AS wanted_events FROM outcome;
SELECT o.id, left(t.payload, 100) AS payload, o.wanted, o.reason, o.events, o.rejected, o.detail FROM outcome o JOIN try t USING (id)
WHERE (o.wanted, 1, 0, o.events + o.rejected) IS DISTINCT FROM (o.reason, o.messages, o.duplicates, 1::bigint) OR n_errors <> o.rejected ORDER BY o.id;
SELECT reason, count(*) AS times, min(detail COLLATE "C") AS for_example FROM outcome WHERE reason IS NOT NULL GROUP BY reason ORDER BY reason COLLATE "C";
-- each has a row, in the order of coming, with what came
SELECT count(*), count(*) FILTER (WHERE r.reason <> t.wanted OR replace(r.payload, ' ', '') <> replace(t.payload, ' ', '') AND t.payload !~ '"batch"' OR r.source <> 'default' OR r.received_at <> '2026-01-31T12:00:00Z') AS differ
FROM (SELECT *, row_number() OVER (ORDER BY rejected_id) AS n FROM cdp.rejected) r JOIN (SELECT *, row_number() OVER (ORDER BY id) AS n FROM try WHERE wanted IS NOT NULL) t USING (n);
-- details name the member and the limit, never what it holds
SELECT count(*) FILTER (WHERE detail IS NULL OR detail = '') AS without_detail, count(*) FILTER (WHERE detail ~ 'yesterday|soon|Track|delete|Ada|x\.org|many[0-9]|kkkk|mmm') AS telling FROM cdp.rejected;
TRUNCATE cdp.rejected;

-- by COPY and cdp.process() the same is said
BEGIN;
INSERT INTO cdp.inbox (received_at, source, payload) SELECT '2026-01-31T12:00:00Z', 'copy', payload FROM try ORDER BY id;
SELECT p.messages, p.events, p.duplicates, p.rejected FROM cdp.process() p;
COMMIT;
SELECT count(*) AS waiting FROM cdp.inbox;
SELECT count(*) AS differ FROM (SELECT reason, count(*) FROM cdp.rejected GROUP BY reason) r FULL JOIN (SELECT wanted AS reason, count(*) FROM try WHERE wanted IS NOT NULL GROUP BY wanted) t USING (reason) WHERE r.count IS DISTINCT FROM t.count;
TRUNCATE cdp.rejected;

-- a batch loses only what is bad, and its rejected message can be replayed alone
SELECT messages, events, duplicates, rejected, errors FROM cdp.ingest('{"sentAt":"2026-01-31T12:00:00Z","writeKey":"SECRET","context":{"device":{"id":"shared-context"}},"integrations":{"All":true},"batch":[
	{"type":"track","event":"good","messageId":"g1","anonymousId":"good"}, {"type":"track","event":"bad","messageId":"b1","anonymousId":"bad","timestamp":"soon"}, 7, {"type":"track","event":"good","messageId":"g2","anonymousId":"good"}]}');
SELECT reason, payload::jsonb FROM cdp.rejected ORDER BY rejected_id;
-- still wrong: rejected again; then mended by hand, as one would: an event, with its envelope's context and the time of its first receipt
BEGIN;
SELECT cdp.replay_rejected('invalid_timestamp');
SET LOCAL cdp.clock = '2026-01-31T18:00:00Z';
SELECT p.messages, p.events, p.duplicates, p.rejected FROM cdp.process() p;
COMMIT;
SELECT reason, received_at FROM cdp.rejected ORDER BY rejected_id;
UPDATE cdp.rejected SET payload = replace(payload, '"soon"', '"2026-01-31T11:00:00Z"') WHERE reason = 'invalid_timestamp';
BEGIN;
SELECT cdp.replay_rejected('invalid_timestamp', 'elsewhere'), cdp.replay_rejected('no_such_reason'), cdp.replay_rejected('invalid_timestamp', 'default');
SELECT p.messages, p.events, p.duplicates, p.rejected FROM cdp.process() p;
COMMIT;
SELECT message_id, occurred_at, received_at, message FROM cdp.events WHERE message_id = 'b1';
SELECT reason FROM cdp.rejected ORDER BY rejected_id;
BEGIN;
SELECT cdp.replay_rejected();
SELECT p.messages, p.events, p.duplicates, p.rejected FROM cdp.process() p;
COMMIT;
-- what was not wrong becomes an event on replay: here a limit that was raised
SELECT rejected FROM cdp.ingest('{"type":"track","event":"large","messageId":"large","userId":"u","properties":{"x":"' || repeat('x', 40000) || '"}}');
SET cdp.max_event_bytes = '64kB';
BEGIN;
SELECT cdp.replay_rejected('too_large');
SELECT p.messages, p.events, p.duplicates, p.rejected FROM cdp.process() p;
COMMIT;
RESET cdp.max_event_bytes;
SELECT message_id FROM cdp.events WHERE name = 'large';
TRUNCATE cdp.rejected;

-- limits can be changed
SET cdp.max_batch_events = 2;
SELECT rejected, errors FROM cdp.ingest('{"batch":[{},{},{}]}');
SELECT rejected FROM cdp.ingest('{"batch":[{},{}]}');
RESET cdp.max_batch_events;
SET cdp.max_batch_bytes = 1024;
SELECT rejected, errors FROM cdp.ingest('{"type":"track","event":"e","userId":"u","properties":{"x":"' || repeat('x', 1024) || '"}}');
RESET cdp.max_batch_bytes;
TRUNCATE cdp.rejected;

-- the sender's key is not kept in what is rejected either, however it is written
SELECT sum(i.rejected) FROM unnest(ARRAY['{"type":"tack","userId":"u","writeKey":"SECRET"}', '{"batch":[],"writeKey":"SECRET"}', '{"writeKey":"SECRET","batch":[{"type":"tack","userId":"u","writeKey":"SECRET"}]}',
	'{"write\u004bey":"SECRET","batch":[{"type":"tack","userId":"u"}]}', '{"writeKey":"SECRET","batch":[7]}']) p, LATERAL (SELECT * FROM cdp.ingest(p) OFFSET 0) i;
SELECT payload FROM cdp.rejected WHERE payload ~ 'SECRET' ORDER BY rejected_id;
TRUNCATE cdp.rejected;
-- a member of the envelope written with an escape is not doubled
SELECT events, rejected FROM cdp.ingest('{"b\u0061tch":[{"type":"tack","userId":"u"},{"type":"track","event":"once","userId":"u"}]}');
BEGIN;
SELECT cdp.replay_rejected();
SELECT p.messages, p.events, p.duplicates, p.rejected FROM cdp.process() p;
COMMIT;
SELECT count(*) FROM cdp.events WHERE name = 'once';

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_event_rejected;
