-- Every call of the Segment specification becomes one event with its envelope's context, its corrected time and an id; nothing of the sender's keys is kept.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_event_ingest;
CREATE DATABASE regress_event_ingest TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_event_ingest SET lc_messages = 'C';
ALTER DATABASE regress_event_ingest SET jit = off;
ALTER DATABASE regress_event_ingest SET client_min_messages = warning;
\c regress_event_ingest
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

-- the six calls; jsonb as well as text
SELECT messages, events, duplicates, rejected, errors FROM cdp.ingest('{"type":"identify","messageId":"i1","userId":"u1","anonymousId":"a1","traits":{"email":"u1@x.org"}}');
SELECT messages, events, duplicates, rejected, errors FROM cdp.ingest('{"type":"track","messageId":"t1","anonymousId":"a1","event":"Order Completed","properties":{"total":9.90}}');
SELECT messages, events, duplicates, rejected, errors FROM cdp.ingest('{"type":"page","messageId":"p1","anonymousId":"a1","name":"Home","category":"Docs"}'::jsonb);
SELECT messages, events, duplicates, rejected, errors FROM cdp.ingest('{"type":"screen","messageId":"s1","anonymousId":"a1"}'::jsonb, 'app');
SELECT messages, events, duplicates, rejected, errors FROM cdp.ingest('{"type":"group","messageId":"g1","userId":"u1","groupId":"G1","traits":{"name":"Acme"}}', received_at => '2026-01-30T00:00:00Z');
SELECT messages, events, duplicates, rejected, errors FROM cdp.ingest('{"type":"alias","messageId":"x1","userId":"u1","previousId":"a0"}', 'app');
SELECT message_id, source, type, name, occurred_at, received_at, anchor_namespace, anchor_value, profile_id = cdp.profile_id('user_id:u1') AS is_hers, message FROM cdp.events ORDER BY message_id;
SELECT name, rank, corrects_clock, description FROM cdp.source ORDER BY name;
SELECT traits, event_count FROM cdp.profiles ORDER BY profile_id;

-- an envelope: context, integrations and sentAt are its messages', which win; keys and SDK metadata are dropped everywhere
SELECT messages, events, duplicates, rejected, errors FROM cdp.ingest('{"writeKey":"SECRET","sentAt":"2026-01-31T12:00:00Z","context":{"ip":"10.0.0.1","library":{"name":"sdk","version":"1"},"device":{"id":"D9"}},
	"integrations":{"All":true,"Ads":false},"batch":[
	{"type":"track","messageId":"b1","anonymousId":"b","event":"e","writeKey":"SECRET","_metadata":{"nodeVersion":"20"}},
	{"type":"track","messageId":"b2","anonymousId":"b","event":"e","context":{"library":{"name":"own"},"page":{"path":"/"}},"integrations":{"Ads":true}},
	{"type":"track","messageId":"b3","anonymousId":"b","event":"e","context":{},"sentAt":"2026-01-31T11:59:00Z"},
	{"type":"track","messageId":"b4","anonymousId":"b","event":"e","integrations":{"All":false},"context":{"device":{"id":"D8"}}}]}');
SELECT message_id, message - 'type' - 'event' - 'anonymousId' - 'messageId' AS rest FROM cdp.events WHERE message_id ~ '^b' ORDER BY message_id;
SELECT namespace, value, event_count FROM cdp.identifiers WHERE namespace = 'device_id' ORDER BY value;
SELECT count(*) FROM cdp.event WHERE message::text ~ 'SECRET|_metadata|writeKey|nodeVersion';
-- names written with escapes are the same names
SELECT events FROM cdp.ingest('{"\u0062atch":[{"t\u0079pe":"track","messag\u0065Id":"e1","\u0061nonymousId":"b","event":"e","write\u004bey":"SECRET","\u005fmetadata":1}],"s\u0065ntAt":"2026-01-31T12:00:00Z"}');
SELECT message FROM cdp.events WHERE message_id = 'e1';

-- time: received - (sent - original); without sentAt no correction; history from files is taken as it is; nothing from the future
CREATE TABLE clock_case (id text, original text, timestamp text, sent text, source text, wanted timestamptz);
INSERT INTO clock_case VALUES
	('c01', NULL, NULL, NULL, 'default', '2026-01-31T12:00:00Z'),
	('c02', NULL, NULL, '2026-01-31T09:00:00Z', 'default', '2026-01-31T12:00:00Z'),
	('c03', NULL, '2026-01-31T11:00:00Z', NULL, 'default', '2026-01-31T11:00:00Z'),
	('c04', NULL, '2026-01-31T11:00:00Z', '2026-01-31T11:00:10Z', 'default', '2026-01-31T11:59:50Z'),
	('c05', '2026-01-31T10:00:00Z', '2026-01-31T11:00:00Z', '2026-01-31T10:00:30Z', 'default', '2026-01-31T11:59:30Z'),
	('c06', '2026-01-31T10:00:00Z', NULL, '2026-01-31T10:00:30Z', 'default', '2026-01-31T11:59:30Z'),
	('c07', '2026-01-31T10:00:00+02:00', NULL, '2026-01-31T10:00:30+02:00', 'default', '2026-01-31T11:59:30Z'),
	('c08', '2016-01-01T00:00:00.000001Z', NULL, '2016-01-01T00:00:01Z', 'default', '2026-01-31T11:59:59.000001Z'),
	('c09', '2036-01-01T00:00:00Z', NULL, '2036-01-01T01:00:00Z', 'default', '2026-01-31T11:00:00Z'),
	('c10', '2026-01-31T11:00:00Z', NULL, '2026-01-31T12:00:00Z', 'import', '2026-01-31T11:00:00Z'),
	('c11', '2011-11-11T11:11:11Z', NULL, '2026-01-31T09:00:00Z', 'import', '2011-11-11T11:11:11Z'),
	('c12', NULL, '2011-11-11T11:11:11Z', NULL, 'import', '2011-11-11T11:11:11Z'),
	('c13', NULL, NULL, NULL, 'import', '2026-01-31T12:00:00Z'),
	('c14', NULL, '9999-12-31T23:59:59Z', NULL, 'default', '2026-01-31T12:05:00Z'),
	('c15', NULL, '9999-12-31T23:59:59Z', NULL, 'import', '2026-01-31T12:05:00Z'),
	('c16', NULL, '2026-01-31T12:04:59Z', NULL, 'default', '2026-01-31T12:04:59Z'),
	('c17', NULL, '2026-01-31T12:05:01Z', NULL, 'default', '2026-01-31T12:05:00Z'),
	('c18', '2026-01-31T12:00:00Z', NULL, '2026-01-31T11:00:00Z', 'default', '2026-01-31T12:05:00Z'),
	('c19', NULL, '0001-01-01T00:00:00Z', NULL, 'import', '0001-01-01T00:00:00Z'),
	('c20', NULL, '2000-01-01T00:00:00Z', NULL, 'import', '2000-01-01T00:00:00Z'),
	('c21', '2000-01-01T00:00:00Z', '2026-01-01T00:00:00Z', '2000-01-01T00:00:05Z', 'default', '2026-01-31T11:59:55Z'),
	('c22', NULL, '1999-12-31T23:59:58Z', '2000-01-01T00:00:00Z', 'default', '2026-01-31T11:59:58Z'),
	('c23', NULL, '2026-01-30', NULL, 'default', '2026-01-30T00:00:00Z');
SELECT count(*) FILTER (WHERE i.events <> 1) AS not_taken FROM clock_case c, LATERAL cdp.ingest(jsonb_strip_nulls(jsonb_build_object('type', 'track', 'event', 'e', 'messageId', c.id, 'userId', 'clock',
	'originalTimestamp', c.original, 'timestamp', c.timestamp, 'sentAt', c.sent)), c.source) i;
SELECT c.*, e.occurred_at FROM clock_case c LEFT JOIN cdp.events e ON e.message_id = c.id WHERE e.occurred_at IS DISTINCT FROM c.wanted ORDER BY c.id;
-- an envelope's sentAt serves messages that have none; null is none
SELECT events FROM cdp.ingest('{"sentAt":"2026-01-31T08:00:00Z","batch":[{"type":"track","event":"e","userId":"clock","messageId":"d1","timestamp":"2026-01-31T07:59:00Z"},
	{"type":"track","event":"e","userId":"clock","messageId":"d2","timestamp":"2026-01-31T07:59:00Z","sentAt":"2026-01-31T07:59:30Z"},{"type":"track","event":"e","userId":"clock","messageId":"d3","timestamp":"2026-01-31T07:59:00Z","sentAt":null}]}');
SELECT message_id, occurred_at FROM cdp.events WHERE message_id ~ '^d' ORDER BY message_id;
-- a clock gone mad: whatever the correction gives can be stored, printed and read again
SELECT events FROM cdp.ingest('{"type":"identify","userId":"mad","messageId":"m1","originalTimestamp":"0001-01-01T00:00:00Z","sentAt":"9999-12-31T00:00:00Z","traits":{"a":1}}');
SELECT events FROM cdp.ingest('{"type":"identify","userId":"mad","messageId":"m2","originalTimestamp":"0001-01-01T00:00:00Z","sentAt":"2026-02-01T12:00:00Z","traits":{"b":1}}');
SELECT events FROM cdp.ingest('{"type":"identify","userId":"mad","messageId":"m3","originalTimestamp":"9999-12-31T00:00:00Z","sentAt":"0001-01-01T00:00:00Z","traits":{"c":1}}');
SELECT count(*) FROM (SELECT occurred_at::text::timestamptz AS at FROM cdp.events WHERE message_id ~ '^m[123]$') e WHERE at BETWEEN '0001-01-01T00:00:00Z' AND '2026-01-31T12:05:00Z';
SELECT error_of($$SELECT traits::text::cdp.traits FROM cdp.fragment WHERE traits IS NOT NULL$$);

-- ids: given, generated where missing, null or empty, each another; numbers are ids too
SELECT events FROM cdp.ingest('{"batch":[{"type":"track","event":"none","userId":"ids"},{"type":"track","event":"none","userId":"ids","messageId":null},{"type":"track","event":"none","userId":"ids","messageId":""},
	{"type":"track","event":"number","userId":"ids","messageId":12345}]}');
SELECT count(*), count(DISTINCT message_id), bool_and(message_id ~ '^cdp-[0-9a-f]{32}$') AS is_generated, bool_and(message ->> 'messageId' = message_id) AS is_in_message FROM cdp.events WHERE name = 'none';
SELECT duplicates FROM cdp.ingest('{"type":"track","event":"number","userId":"ids","messageId":12345}');
SELECT message_id, message -> 'messageId' AS kept FROM cdp.events WHERE name = 'number';
SELECT events FROM cdp.ingest(jsonb_build_object('type', 'track', 'event', 'e', 'userId', 'ids', 'messageId', repeat('x', 200)));

-- identifiers that are numbers are the text they are kept as
SELECT events FROM cdp.ingest('{"batch":[{"type":"track","event":"n","userId":42},{"type":"track","event":"n","userId":1e5},{"type":"track","event":"n","userId":100000},{"type":"track","event":"n","userId":-0},{"type":"track","event":"n","userId":7.50}]}');
SELECT anchor_value, count(*) FROM cdp.events WHERE name = 'n' GROUP BY 1 ORDER BY 1;

-- what may enter the graph no more is still kept
SELECT events FROM cdp.ingest('{"batch":[{"type":"track","event":"nobody","userId":"null"},{"type":"track","event":"nobody","anonymousId":"00000000-0000-0000-0000-000000000000"}]}');
SELECT anchor_namespace, anchor_value, profile_id, count(*) FROM cdp.events WHERE name = 'nobody' GROUP BY 1, 2, 3;

-- repeated names: the last counts, as in the stored message
SELECT events FROM cdp.ingest('{"type":"track","type":"identify","userId":"first","userId":"last","messageId":"r0","messageId":"r1","traits":{"x":0},"traits":{"a":2,"a":1},"context":{"device":{"id":"rd1"}},"context":{"device":{"id":"rd2","id":"rd3"}}}');
SELECT type, anchor_value, message FROM cdp.events WHERE message_id = 'r1';
SELECT cdp.profile('user_id:last') -> 'traits' AS traits, cdp.profile('user_id:last') -> 'identifiers' AS identifiers;
-- what an item's context has, if only as null, hides the envelope's; no context, or null, is the envelope's
SELECT events FROM cdp.ingest('{"context":{"device":{"id":"nd1"}},"batch":[{"type":"track","event":"e","messageId":"n1","anonymousId":"n1","context":null},{"type":"track","event":"e","messageId":"n2","anonymousId":"n2","context":{"device":null}},
	{"type":"track","event":"e","messageId":"n3","anonymousId":"n3","context":{"device":{}}},{"type":"track","event":"e","messageId":"n4","anonymousId":"n4","context":{"a":1}}]}');
SELECT e.message_id, e.message -> 'context' AS context, e.message #>> '{context,device,id}' IS NOT NULL = (cdp.profile(e.profile_id) -> 'identifiers' ? 'device_id:nd1') AS agrees FROM cdp.events e WHERE message_id ~ '^n[1-4]$' ORDER BY 1;

-- arguments
SELECT call, error_of(call) FROM unnest(ARRAY[$$SELECT cdp.ingest(NULL::text)$$, $$SELECT cdp.ingest(NULL::jsonb)$$, $$SELECT cdp.ingest('{}', '')$$, $$SELECT cdp.ingest('{}', repeat('x', 64))$$]) call;
SELECT rejected FROM cdp.ingest('{}', NULL, NULL);
SELECT events FROM cdp.ingest('{"type":"track","event":"e","userId":"src","messageId":"src"}', repeat('s', 63));
SELECT source = repeat('s', 63) AS is_there FROM cdp.events WHERE message_id = 'src';
-- receipt at no instant of the calendar is moved to one that can be stored, printed and read
SELECT sum(i.events) FROM unnest(ARRAY['infinity', '-infinity', '4000-01-01 BC', '20000-01-01']) at, LATERAL (SELECT * FROM cdp.ingest('{"type":"track","event":"when","userId":"when"}', received_at => at::timestamptz) OFFSET 0) i;
SELECT count(*) FILTER (WHERE received_at::text::timestamptz BETWEEN '0001-01-01Z' AND '9999-12-31Z' AND occurred_at::text::timestamptz BETWEEN '0001-01-01Z' AND '9999-12-31Z') AS plain FROM cdp.events WHERE name = 'when';

SELECT part, differences FROM cdp.verify() WHERE differences <> 0;

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_event_ingest;
