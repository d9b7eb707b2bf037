-- A source's transformation: messages become others or are dropped before they are looked at; what fails or loops is rejected alone, told without people's data, and replayed as it came.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_event_transformation;
CREATE DATABASE regress_event_transformation TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_event_transformation SET lc_messages = 'C';
ALTER DATABASE regress_event_transformation SET jit = off;
ALTER DATABASE regress_event_transformation SET client_min_messages = warning;
ALTER DATABASE regress_event_transformation SET cdp.clock = '2026-01-31T12:00:00Z';
\c regress_event_transformation
CREATE EXTENSION cdp;
SELECT cdp.init();
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
CREATE SCHEMA "my shop";
CREATE TABLE "my shop".calls (at int GENERATED ALWAYS AS IDENTITY, event text);
CREATE FUNCTION "my shop"."Clean"(message jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO "my shop".calls (event) VALUES (message ->> 'event');
	RETURN CASE message ->> 'event'
		WHEN 'drop' THEN NULL
		WHEN 'divide' THEN to_jsonb(1 / (message ->> 'nothing')::int)
		WHEN 'array' THEN '[1]'
		WHEN 'number' THEN '{"type": "track", "event": "number", "userId": "u"}'::jsonb || jsonb_build_object('x', repeat('9', 2000)::numeric)
		WHEN 'nobody' THEN message - 'userId'
		ELSE message || jsonb_build_object('event', initcap(message ->> 'event')) #- '{context,ip}' END;
END
$$;
SELECT cdp.create_source('web', transformation => '"my shop"."Clean"(jsonb)');
SELECT name, transformation FROM cdp.source ORDER BY name;

-- another message, nothing, or what is no message; a null is counted among the messages and nowhere else
SELECT messages, events, duplicates, rejected, errors FROM cdp.ingest('{"type": "track", "event": "order", "userId": "u-1", "messageId": "1"}', 'web');
SELECT messages, events, duplicates, rejected, errors FROM cdp.ingest('{"type": "track", "event": "drop", "userId": "u-1", "messageId": "2"}', 'web');
SELECT messages, events, duplicates, rejected, errors FROM cdp.ingest('{"type": "track", "event": "array", "userId": "u-1", "messageId": "3"}', 'web');
SELECT messages, events, duplicates, rejected, errors FROM cdp.ingest('{"type": "track", "event": "nobody", "userId": "u-1", "messageId": "4"}', 'web');
SELECT messages, events, duplicates, rejected, errors FROM cdp.ingest('{"type": "track", "event": "number", "userId": "u-1", "messageId": "5"}', 'web');
-- its own failure: SQLSTATE and function, not what was said
SELECT messages, events, duplicates, rejected, errors FROM cdp.ingest('{"type": "track", "event": "divide", "nothing": "secret", "userId": "u-1", "messageId": "6"}', 'web');
SELECT messages, events, duplicates, rejected, errors FROM cdp.ingest('{"type": "track", "event": "divide", "nothing": 0, "userId": "u-1", "messageId": "7"}', 'web');
-- the envelope's part is in what it sees, so that what it takes out is out; the sender's key is not
SELECT messages, events, duplicates, rejected, errors FROM cdp.ingest('{"context": {"ip": "192.0.2.1", "locale": "de"}, "sentAt": "2026-01-31T12:00:00Z", "writeKey": "SECRET", "batch": [
	{"type": "track", "event": "order", "userId": "u-1", "messageId": "8", "timestamp": "2026-01-31T11:00:00Z"}, {"type": "track", "event": "divide", "userId": "u-1", "messageId": "9"}, {"type": "track", "event": "divide", "nothing": 0, "userId": "u-1", "messageId": "10", "writeKey": "SECRET"}]}', 'web');
-- what is no message does not come to it
SELECT reason, detail FROM cdp.rejected ORDER BY rejected_id;
SELECT sum(i.rejected) FROM unnest(ARRAY['7', '[]', '{"batch": [7]}', '{', '{"type":"track","event":"e","userId":"u","properties":' || repeat('{"a":', 100) || '1' || repeat('}', 101)]) p, LATERAL (SELECT * FROM cdp.ingest(p, 'web') OFFSET 0) i;
SELECT message_id, name, message FROM cdp.events ORDER BY message_id;
SELECT reason, detail, payload FROM cdp.rejected WHERE reason = 'transformation_failed' ORDER BY rejected_id;
-- calls that were taken back left nothing
SELECT event, count(*) FROM "my shop".calls GROUP BY event ORDER BY event;

-- rejected messages are replayed as they came, through the function as it is now
CREATE OR REPLACE FUNCTION "my shop"."Clean"(message jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT message || '{"event": "Mended"}' $$;
BEGIN;
SELECT cdp.replay_rejected('transformation_failed'), cdp.replay_rejected('no_identifier'), cdp.replay_rejected('not_an_object', 'web');
SELECT messages, events, duplicates, rejected FROM cdp.process();
COMMIT;
SELECT message_id, message FROM cdp.events WHERE name = 'Mended' ORDER BY message_id;

-- a batch of many, some of which fail, beside a source without one
CREATE OR REPLACE FUNCTION "my shop"."Clean"(message jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF message ->> 'event' = 'fail' THEN
		RAISE EXCEPTION 'secret: %', message USING ERRCODE = 'ZZ123', DETAIL = message, HINT = message;
	ELSIF message ->> 'event' = 'drop' THEN
		RETURN NULL;
	ELSIF message ->> 'event' = 'loop' THEN
		LOOP END LOOP;
	ELSIF message ->> 'event' = 'sleep' THEN
		PERFORM pg_sleep(60);
	END IF;
	RETURN message || '{"event": "Good"}';
END
$$;
TRUNCATE cdp.rejected;
INSERT INTO cdp.inbox (received_at, source, payload)
SELECT '2026-01-31T12:00:00Z', CASE i % 3 WHEN 0 THEN 'plain' ELSE 'web' END, format('{"type":"track","event":"%s","userId":"u-%s","messageId":"many-%s"}', CASE WHEN i IN (100, 101, 700) THEN 'fail' WHEN i % 50 = 1 THEN 'drop' ELSE 'ok' END, i % 10, i)
FROM generate_series(1, 1000) i;
SELECT messages, events, duplicates, rejected FROM cdp.process();
SELECT source, name, count(*) FROM cdp.events WHERE message_id LIKE 'many%' GROUP BY source, name ORDER BY source, name;
SELECT source, reason, detail, payload FROM cdp.rejected ORDER BY rejected_id;

-- one that loops is stopped by the setting, and rejected alone
TRUNCATE cdp.rejected;
SET cdp.transformation_timeout = '100ms';
INSERT INTO cdp.inbox (received_at, source, payload) SELECT '2026-01-31T12:00:00Z', 'web', format('{"type":"track","event":"%s","userId":"u-1","messageId":"loop-%s"}', e, e) FROM unnest('{before,loop,sleep,after}'::text[]) e;
SELECT messages, events, duplicates, rejected FROM cdp.process();
SELECT reason, detail FROM cdp.rejected ORDER BY rejected_id;
-- without it by the statement's timeout, which ends all of it: nothing is lost
SET cdp.transformation_timeout = 0;
BEGIN;
SELECT cdp.replay_rejected();
COMMIT;
SET statement_timeout = '200ms';
SELECT messages, events, duplicates, rejected FROM cdp.process();
RESET statement_timeout;
SELECT count(*) AS waiting FROM cdp.inbox;
SET cdp.transformation_timeout = '100ms';
SELECT messages, events, duplicates, rejected FROM cdp.process();
RESET cdp.transformation_timeout;
-- the limit is gone with the call
SELECT pg_sleep(0.2);

-- not the message's fault: all of it is tried again later
CREATE OR REPLACE FUNCTION "my shop"."Clean"(message jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no disk' USING ERRCODE = 'disk_full'; END $$;
INSERT INTO cdp.inbox (source, payload) VALUES ('web', '{"type":"track","event":"e","userId":"u-1","messageId":"later"}');
SELECT messages, events, duplicates, rejected FROM cdp.process();
SELECT count(*) AS waiting FROM cdp.inbox;
-- one that calls the platform itself
CREATE OR REPLACE FUNCTION "my shop"."Clean"(message jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM cdp.create_namespace('crm_id', 'person', 9, paths => '{crm}');
	PERFORM cdp.ingest(jsonb_build_object('type', 'track', 'event', 'Inner', 'userId', message ->> 'userId', 'messageId', 'inner'), 'other');
	RETURN message || '{"crm": "c-1"}';
END
$$;
SELECT messages, events, duplicates, rejected FROM cdp.process();
SELECT source, name, message_id FROM cdp.events WHERE message_id IN ('later', 'inner') ORDER BY message_id;
SELECT cdp.profile('crm_id:c-1') -> 'identifiers' AS identifiers;
SELECT part, differences FROM cdp.verify() WHERE differences <> 0;

-- the function is gone, may not be called, or is no longer what it was: rejected, not lost
TRUNCATE cdp.rejected;
DROP FUNCTION "my shop"."Clean"(jsonb);
SELECT errors FROM cdp.ingest('{"type": "track", "event": "order", "userId": "u-1", "messageId": "20"}', 'web');
CREATE FUNCTION "my shop"."Clean"(jsonb) RETURNS text LANGUAGE sql AS 'SELECT ''x''';
SELECT errors FROM cdp.ingest('{"type": "track", "event": "order", "userId": "u-1", "messageId": "20"}', 'web');
DROP FUNCTION "my shop"."Clean"(jsonb);
CREATE FUNCTION "my shop"."Clean"(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1';
REVOKE ALL ON FUNCTION "my shop"."Clean"(jsonb) FROM PUBLIC;
CREATE ROLE regress_transformation;
GRANT USAGE ON SCHEMA cdp, "my shop" TO regress_transformation;
GRANT ALL ON ALL TABLES IN SCHEMA cdp TO regress_transformation;
GRANT ALL ON ALL SEQUENCES IN SCHEMA cdp TO regress_transformation;
SET ROLE regress_transformation;
SELECT errors FROM cdp.ingest('{"type": "track", "event": "order", "userId": "u-1", "messageId": "20"}', 'web');
SELECT error_of($$SELECT cdp.create_source('mine', transformation => '"my shop"."Clean"(jsonb)')$$);
RESET ROLE;
DROP OWNED BY regress_transformation;
DROP ROLE regress_transformation;
SELECT messages, events, duplicates, rejected FROM cdp.process();
BEGIN;
SELECT cdp.replay_rejected();
SELECT messages, events, duplicates, rejected FROM cdp.process();
COMMIT;
-- wrong definitions, and none again
CREATE PROCEDURE "my shop".p(jsonb) LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION "my shop".two(jsonb, jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION "my shop".many(jsonb) RETURNS SETOF jsonb LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION "my shop".flat(json) RETURNS json LANGUAGE sql AS 'SELECT $1';
SELECT f, error_of(format('SELECT cdp.create_source(''web'', transformation => %L)', f)) FROM unnest('{nope,nope(jsonb),"\"my shop\".p(jsonb)","\"my shop\".two(jsonb,jsonb)","\"my shop\".many(jsonb)","\"my shop\".flat(json)"}'::text[]) f;
SELECT cdp.create_source('web');
SELECT name, transformation FROM cdp.source WHERE name = 'web';
SELECT events FROM cdp.ingest('{"type": "track", "event": "plain", "userId": "u-1", "messageId": "30"}', 'web');

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_event_transformation;
