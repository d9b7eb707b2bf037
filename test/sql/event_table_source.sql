-- The rows of any table become messages: new and changed ones once each, in any number of calls, also those that commit late; deleted ones can be retracted.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_event_table_source;
CREATE DATABASE regress_event_table_source TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_event_table_source SET lc_messages = 'C';
ALTER DATABASE regress_event_table_source SET jit = off;
ALTER DATABASE regress_event_table_source SET client_min_messages = warning;
ALTER DATABASE regress_event_table_source SET cdp.clock = '2026-01-31T12:00:00Z';
\c regress_event_table_source
CREATE EXTENSION cdp;
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
SELECT error_of('SELECT * FROM cdp.read_table_sources()');
SELECT cdp.init();
CREATE SCHEMA "a shop";
CREATE TABLE "a shop"."Customer's" ("the id" bigint PRIMARY KEY, email text, "plan ""b""" text, score numeric, data jsonb, updated_at timestamptz DEFAULT '2026-01-01Z');
INSERT INTO "a shop"."Customer's" SELECT i, 'c' || i || '@x.org', 'free', i / 4, '{"a": [1, null]}', '2026-01-01Z'::timestamptz + i / 5 * interval '1 hour' FROM generate_series(1, 40) i;

-- from table to people; constants in quotes, columns by name, nested objects, lists
SELECT cdp.create_table_source('"a shop"."Customer''s"', '{"type": "identify", "userId": "the id", "traits": {"email": "email", "plan": "plan \"b\"", "score": "score", "data": "data", "kind": "''it''s''", "n": 7, "list": ["score", null, true], "none": {}},
	"context": {"externalIds": [{"type": "''anonymous_id''", "id": "email"}]}}', 'updated_at', 'crm');
SELECT name, relation, cursor_column, key_columns, grace, compare_every, mapping -> 'timestamp' AS timestamp FROM cdp.table_source;
SELECT name, corrects_clock, description FROM cdp.source WHERE name = 'crm';
-- any size of step reads everything once: many rows of one cursor, a number of rows that the step divides, a step of one
SELECT * FROM cdp.read_table_source('crm', 8);
DO $$ BEGIN WHILE (cdp.read_table_source('crm', 8)).has_more LOOP COMMIT; END LOOP; END $$;
SELECT count(*), count(DISTINCT payload) FROM cdp.inbox;
DO $$ BEGIN WHILE (cdp.read_table_source('crm', 1)).has_more LOOP COMMIT; END LOOP; END $$;
SELECT * FROM cdp.read_table_sources();
SELECT count(*) FROM cdp.inbox;
SELECT events, rejected FROM cdp.process();
SELECT occurred_at, received_at, message - 'messageId' AS message FROM cdp.events WHERE source = 'crm' AND message ->> 'userId' = '7';
SELECT cdp.profile('user_id:7') -> 'traits' AS traits;
-- a changed row is a new observation, null unsets; a row that comes late within the grace is not missed, one outside of it only when all is compared
UPDATE "a shop"."Customer's" SET "plan ""b""" = 'pro', score = NULL, updated_at = '2026-01-02Z' WHERE "the id" = 7;
SELECT row_count, message_count FROM cdp.read_table_source('crm');
SELECT events FROM cdp.process();
SELECT cdp.profile('user_id:7') -> 'traits' AS traits;
INSERT INTO "a shop"."Customer's" VALUES (101, 'late@x.org', 'free', 0, NULL, '2026-01-01T23:50Z'), (102, 'too.late@x.org', 'free', 0, NULL, '2026-01-01T23:49Z');
SELECT row_count, message_count FROM cdp.read_table_source('crm');
SELECT * FROM cdp.compare_table_source('crm');
SELECT * FROM cdp.compare_table_source('crm');
SELECT row_count, message_count FROM cdp.read_table_source('crm');
SELECT events, duplicates FROM cdp.process();
-- the session's way of writing values makes no row another
SET timezone = 'Asia/Tokyo';
SET datestyle = 'German';
SET extra_float_digits = -3;
SELECT * FROM cdp.compare_table_source('crm');
RESET timezone;
RESET datestyle;
RESET extra_float_digits;
-- another mapping counts from now on, after rewinding for all rows; what makes the same message is known
SELECT cdp.create_table_source('"a shop"."Customer''s"', '{"type": "identify", "userId": "the id", "traits": {"email": "email"}}', 'updated_at', 'crm');
UPDATE "a shop"."Customer's" SET updated_at = '2026-01-03Z' WHERE "the id" = 8;
SELECT row_count, message_count FROM cdp.read_table_source('crm');
SELECT cdp.rewind_table_source('crm');
SELECT row_count, message_count FROM cdp.read_table_source('crm');
SELECT cdp.rewind_table_source('crm');
SELECT row_count, message_count FROM cdp.read_table_source('crm');
SELECT events, duplicates FROM cdp.process();
-- dropped and made again: known by the messages' ids
SELECT cdp.drop_table_source('crm');
SELECT count(*) AS remembered FROM cdp.table_row;
SELECT cdp.create_table_source('"a shop"."Customer''s"', '{"type": "identify", "userId": "the id", "traits": {"email": "email"}}', 'updated_at', 'crm');
SELECT row_count, message_count FROM cdp.read_table_source('crm');
SELECT events, duplicates FROM cdp.process();
SELECT cdp.drop_table_source('crm');

-- every type of cursor; what never comes (infinity, NaN) and nulls do not stop what does
CREATE TABLE c (id int PRIMARY KEY, a timestamptz, b timestamp, c date, d smallint, e int, f bigint, g numeric, h text COLLATE "C", i varchar(10));
INSERT INTO c SELECT n, '2026-01-01Z'::timestamptz + n / 3 * interval '1 min', '2026-01-01'::timestamp + n / 3 * interval '1 min', '2026-01-01'::date + n / 4, n / 3, n / 3, n / 3, n / 3 - 10, lpad((n / 3)::text, 5, '0'), n / 3 FROM generate_series(1, 100) n;
UPDATE c SET a = 'infinity', b = 'infinity', c = 'infinity', g = 'NaN' WHERE id = 50;
UPDATE c SET a = NULL, b = NULL, c = NULL, d = NULL, e = NULL, f = NULL, g = NULL, h = NULL, i = NULL WHERE id = 51;
SELECT count(cdp.create_table_source('c', jsonb_build_object('type', 'track', 'event', '''Seen''', 'userId', 'id', 'properties', jsonb_build_object('c', x)), x, 'c_' || x)) FROM unnest('{a,b,c,d,e,f,g,h,i}'::text[]) x;
DO $$ BEGIN FOR i IN 1 .. 20 LOOP PERFORM cdp.read_table_sources(7); COMMIT; END LOOP; END $$;
SELECT name, grace, cursor_at, messages_made, error FROM cdp.table_source ORDER BY name;
SELECT events, duplicates, rejected FROM cdp.process();
SELECT source, occurred_at, message -> 'properties' AS properties FROM cdp.events WHERE anchor_value = '30' ORDER BY source;
SELECT count(cdp.drop_table_source(name)) FROM cdp.table_source;

-- track and group; partitioned table, view and materialized view; more columns than a function has arguments
CREATE TABLE visit (id int, day date, who text, company text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE visit_1 PARTITION OF visit FOR VALUES FROM ('2026-01-01') TO ('2026-01-02');
CREATE TABLE visit_2 PARTITION OF visit DEFAULT;
INSERT INTO visit SELECT i, '2026-01-01'::date + i, 'v' || i, 'Acme' FROM generate_series(0, 3) i;
CREATE VIEW visit_view AS SELECT * FROM visit;
CREATE MATERIALIZED VIEW visit_copy AS SELECT company, max(day) AS day, count(*) AS visits FROM visit GROUP BY company;
DO $$ BEGIN EXECUTE (SELECT 'CREATE TABLE wide AS SELECT 1 AS id, ' || string_agg(format('%s AS column_%s', i, i), ', ') FROM generate_series(1, 200) i); END $$;
SELECT cdp.create_table_source('visit', '{"type": "track", "event": "''Visited''", "userId": "who", "properties": {"day": "day"}}', 'day');
SELECT cdp.create_table_source('visit_view', '{"type": "track", "event": "company", "userId": "who", "timestamp": "day"}', 'id', key => '{id,day}');
SELECT cdp.create_table_source('visit_copy', '{"type": "group", "groupId": "company", "traits": {"visits": "visits"}, "timestamp": "day"}', key => '{company}');
SELECT cdp.create_table_source('wide', jsonb_build_object('type', 'identify', 'userId', 'id', 'traits', (SELECT jsonb_object_agg('column_' || i, 'column_' || i) FROM generate_series(1, 200) i)), key => '{id}');
SELECT * FROM cdp.read_table_sources();
SELECT events, duplicates, rejected FROM cdp.process();
SELECT source, type, name, occurred_at, message - '{type,messageId,timestamp}'::text[] AS message FROM cdp.events WHERE source IN ('visit', 'visit_view', 'visit_copy') ORDER BY source, occurred_at;
SELECT count(*) FROM cdp.profile('user_id:1') d, jsonb_object_keys(d -> 'traits') k WHERE k LIKE 'column%';
CREATE TABLE "a shop".visit (id int PRIMARY KEY);
SELECT error_of($$SELECT cdp.create_table_source('"a shop".visit', '{"type": "identify", "userId": "id"}')$$);
SELECT count(cdp.drop_table_source(name)) FROM cdp.table_source;

-- deleted rows: found by comparing, retracted with all they ever said, and heard anew when they come back
CREATE TABLE member (id text PRIMARY KEY, level int);
INSERT INTO member VALUES ('m-1', 1), ('m-2', 1), ('m-3', 1);
SELECT cdp.create_table_source('member', '{"type": "identify", "userId": "id", "traits": {"level": "level"}}', retracts => true);
SELECT * FROM cdp.read_table_source('member');
UPDATE member SET level = 2 WHERE id = 'm-1';
SELECT * FROM cdp.read_table_source('member');
UPDATE member SET level = 1 WHERE id = 'm-1';
SELECT * FROM cdp.read_table_source('member');
DELETE FROM member WHERE id IN ('m-1', 'm-2');
-- what still waits cannot be retracted yet
SELECT * FROM cdp.read_table_source('member');
SELECT events FROM cdp.process();
SELECT cdp.profile('user_id:m-1') ->> 'event_count' AS events;
SELECT * FROM cdp.read_table_source('member', 1);
SELECT * FROM cdp.read_table_source('member', 1);
SELECT cdp.profile('user_id:m-1') AS m1, cdp.profile('user_id:m-2') AS m2, cdp.profile('user_id:m-3') ->> 'event_count' AS m3;
SELECT reason, count(*) FROM cdp.ruling GROUP BY reason;
INSERT INTO member VALUES ('m-1', 1);
SELECT * FROM cdp.read_table_source('member');
SELECT events, duplicates FROM cdp.process();
SELECT cdp.profile('user_id:m-1') -> 'traits' AS m1;
-- an empty table is more often a mistake
DELETE FROM member;
SELECT error_of('SELECT * FROM cdp.read_table_source(''member'')');
SELECT * FROM cdp.compare_table_source('member', true);
SELECT * FROM cdp.read_table_source('member');
SELECT count(*) AS events FROM cdp.events WHERE source = 'member';
-- a column that says so
CREATE TABLE loaded (id int PRIMARY KEY, name text, is_gone boolean, _sdc_deleted_at timestamptz, version int);
INSERT INTO loaded VALUES (201, 'a', false, NULL, 1), (202, 'b', NULL, NULL, 2), (203, 'c', true, '2026-01-05Z', 3);
SELECT cdp.create_table_source('loaded', '{"type": "identify", "userId": "id", "traits": {"name": "name"}}', 'version', 'by_flag', deleted => 'is_gone', retracts => true);
SELECT cdp.create_table_source('loaded', '{"type": "identify", "anonymousId": "id", "traits": {"name": "name"}}', 'version', 'by_time', deleted => '_sdc_deleted_at');
SELECT * FROM cdp.read_table_sources();
SELECT events FROM cdp.process();
UPDATE loaded SET is_gone = true, _sdc_deleted_at = '2026-01-06Z', version = 4 WHERE id = 201;
SELECT * FROM cdp.read_table_sources();
SELECT source, message -> 'traits' AS traits FROM cdp.events WHERE source LIKE 'by%' ORDER BY source, anchor_value;
UPDATE loaded SET is_gone = false, _sdc_deleted_at = NULL, version = 5 WHERE id = 201;
SELECT * FROM cdp.read_table_sources();
SELECT events FROM cdp.process();
SELECT source, message -> 'traits' AS traits FROM cdp.events WHERE source LIKE 'by%' ORDER BY source, anchor_value;
SELECT part, differences FROM cdp.verify() WHERE differences <> 0;

-- what goes wrong costs the others nothing, is told, and nothing is lost
CREATE TABLE fragile (id int PRIMARY KEY, name text, version int);
INSERT INTO fragile VALUES (1, 'a', 1);
SELECT cdp.create_table_source('fragile', '{"type": "identify", "anonymousId": "name"}', 'version');
CREATE VIEW looping AS SELECT 1 AS id, count(*) AS n FROM generate_series(1, 1000000000000) g;
SELECT cdp.create_table_source('looping', '{"type": "identify", "anonymousId": "id", "traits": {"n": "n"}}', key => '{id}');
CREATE TABLE alike (id int, name text);
INSERT INTO alike VALUES (1, 'a'), (1, 'b');
SELECT cdp.create_table_source('alike', '{"type": "identify", "anonymousId": "name"}', key => '{id}');
CREATE TABLE keyless (id int, name text);
INSERT INTO keyless VALUES (NULL, 'a');
SELECT cdp.create_table_source('keyless', '{"type": "identify", "anonymousId": "name"}', key => '{id}');
CREATE VIEW telling AS SELECT id, ('secret of ' || name)::int AS name FROM fragile;
SELECT cdp.create_table_source('telling', '{"type": "identify", "anonymousId": "name"}', key => '{id}');
SET cdp.table_source_timeout = '200ms';
SELECT source, row_count, message_count, error FROM cdp.read_table_sources() ORDER BY source;
SELECT name, value, CASE WHEN value = 'failed' THEN detail END AS detail FROM cdp.status WHERE name LIKE 'table source%' ORDER BY name;
RESET cdp.table_source_timeout;
SELECT cdp.drop_table_source('looping');
ALTER TABLE fragile RENAME name TO title;
SELECT source, error FROM cdp.read_table_sources() WHERE source = 'fragile';
ALTER TABLE fragile RENAME TO other;
SELECT source, error FROM cdp.read_table_sources() WHERE source = 'fragile';
SELECT error_of('SELECT * FROM cdp.read_table_source(''fragile'')');
-- another table of that name, as loading tools make: it goes on
CREATE TABLE fragile AS SELECT id, title AS name, version FROM other;
INSERT INTO fragile VALUES (2, 'b', 2);
SELECT source, row_count, message_count, error FROM cdp.read_table_sources() WHERE source = 'fragile';
-- rows that make no message are rejected one by one
INSERT INTO fragile VALUES (3, NULL, 3), (4, repeat('x', 40000), 3), (5, 'c', 3);
SELECT row_count, message_count FROM cdp.read_table_source('fragile');
SELECT events, rejected FROM cdp.process();
SELECT source, reason FROM cdp.rejected ORDER BY rejected_id;
-- a cursor of another kind than it was: an error until the source is made again
CREATE TABLE retyped (id int PRIMARY KEY, version int);
INSERT INTO retyped VALUES (1, 10), (2, 20);
SELECT cdp.create_table_source('retyped', '{"type": "track", "event": "''Retyped''", "anonymousId": "id"}', 'version');
SELECT row_count, message_count FROM cdp.read_table_source('retyped');
ALTER TABLE retyped ALTER version TYPE bigint;
SELECT row_count, message_count FROM cdp.read_table_source('retyped');
ALTER TABLE retyped ALTER version TYPE timestamptz USING to_timestamp(version);
SELECT error_of('SELECT * FROM cdp.read_table_source(''retyped'')');
SELECT source, error FROM cdp.read_table_sources() WHERE source = 'retyped';
ALTER TABLE retyped ALTER version TYPE jsonb USING to_jsonb(version);
SELECT error_of('SELECT * FROM cdp.read_table_source(''retyped'')');
ALTER TABLE retyped ALTER version TYPE text USING version #>> '{}';
SELECT cdp.create_table_source('retyped', '{"type": "track", "event": "''Retyped''", "anonymousId": "id"}', 'version');
SELECT row_count, message_count FROM cdp.read_table_source('retyped');
SELECT events FROM cdp.process();
SELECT cdp.drop_table_source('retyped');

-- wrong definitions
CREATE TEMPORARY TABLE mine (id int PRIMARY KEY);
CREATE TABLE odd (id int PRIMARY KEY, at float8, doc json);
SELECT definition, error_of(format('SELECT cdp.create_table_source(%s)', definition)) FROM unnest(ARRAY[
	$$'no_such', '{"type": "identify"}'$$, $$'mine', '{"type": "identify", "userId": "id"}'$$, $$'odd', NULL$$, $$'odd', '[]'$$, $$'odd', '{}'$$, $$'odd', '{"type": "page", "userId": "id"}'$$,
	$$'odd', '{"type": "identify", "userId": "id", "trait": {"a": "at"}}'$$, $$'odd', '{"type": "identify", "traits": {"a": "at"}}'$$, $$'odd', '{"type": "track", "userId": "id"}'$$, $$'odd', '{"type": "group", "userId": "id"}'$$,
	$$'odd', '{"type": "track", "event": "''E''", "traits": {"email": "at"}}'$$, $$'odd', '{"type": "identify", "userId": "id", "traits": {"a": ["b"]}}'$$, $$'odd', '{"type": "identify", "userId": "id"}', 'at'$$, $$'odd', '{"type": "identify", "userId": "id"}', 'nope'$$,
	$$'odd', '{"type": "identify", "userId": "id"}', key => '{nope}'$$, $$'odd', '{"type": "identify", "userId": "id"}', key => '{}'$$, $$'odd', '{"type": "identify", "userId": "id"}', deleted => 'nope'$$, $$'alike', '{"type": "identify", "userId": "id"}'$$,
	$$'odd', '{"type": "identify", "userId": "id"}', grace => '1'$$, $$'odd', '{"type": "identify", "userId": "id"}', 'id', grace => '-1'$$, $$'odd', '{"type": "identify", "userId": "id"}', 'id', grace => '1 day'$$, $$'odd', '{"type": "identify", "userId": "id"}', compare_every => '0'$$,
	$$'odd', '{"type": "identify", "userId": "id"}', name => repeat('x', 64)$$, $$'odd', '{"type": "identify", "traits": {"email": "doc"}}', name => 'good'$$, $$'odd', '{"type": "identify", "traits": "doc"}', name => 'good'$$
]) definition;
SELECT error_of('SELECT cdp.drop_table_source(''nope'')'), error_of('SELECT cdp.rewind_table_source(''nope'')'), error_of('SELECT cdp.read_table_source(''nope'')'), error_of('SELECT cdp.read_table_source(''good'', 0)');

-- it is read as who made it; who may not read the table does not get its rows by a source
CREATE ROLE regress_table_source;
GRANT USAGE ON SCHEMA cdp TO regress_table_source;
GRANT ALL ON ALL TABLES IN SCHEMA cdp TO regress_table_source;
GRANT ALL ON ALL SEQUENCES IN SCHEMA cdp TO regress_table_source;
SET ROLE regress_table_source;
SELECT error_of('SELECT * FROM cdp.read_table_source(''fragile'')'), error_of($$SELECT cdp.create_table_source('fragile', '{"type": "identify", "userId": "id"}', key => '{id}')$$);
SELECT cdp.create_table_source('c', '{"type": "identify", "userId": "id"}', 'a');
SELECT source, error FROM cdp.read_table_sources();
RESET ROLE;
SELECT source FROM cdp.read_table_sources() WHERE source = 'c';
DROP OWNED BY regress_table_source;
DROP ROLE regress_table_source;

-- init again keeps it all
SELECT count(*) AS sources, (SELECT count(*) FROM cdp.table_row) AS rows FROM cdp.table_source \gset
SELECT cdp.init();
SELECT count(*) = :sources AS kept, (SELECT count(*) FROM cdp.table_row) = :rows AS rows_kept FROM cdp.table_source;

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_event_table_source;
