-- Each batch appends its changes in the order merges and splits, profiles, segments, in the transaction that makes them; the publication serves inserts of the whole log.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_activation_changes;
CREATE DATABASE regress_activation_changes TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_activation_changes SET lc_messages = 'C';
ALTER DATABASE regress_activation_changes SET jit = off;
ALTER DATABASE regress_activation_changes SET client_min_messages = warning;
\c regress_activation_changes
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
CREATE TABLE known_id (name text, profile_id bigint);
CREATE FUNCTION note(name text, identifier cdp.identifier) RETURNS void LANGUAGE sql AS $$ INSERT INTO known_id VALUES (name, cdp.profile_id(identifier)) $$;
-- ids by name
CREATE FUNCTION fresh() RETURNS TABLE (at timestamptz, kind text, profile text, data jsonb) LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY SELECT c.at, c.kind, (SELECT min(k.name) FROM known_id k WHERE k.profile_id = c.profile_id AND k.name <> 'told'),
		c.data || CASE WHEN c.kind ~ 'merged|split' THEN (SELECT jsonb_object_agg(d.key, (SELECT min(k.name) FROM known_id k WHERE k.profile_id = d.value::bigint AND k.name <> 'told')) FROM jsonb_each_text(c.data) d) ELSE '{}' END
	FROM cdp.changes c WHERE c.change_id > coalesce((SELECT profile_id FROM known_id WHERE name = 'told'), 0) ORDER BY c.change_id;
	DELETE FROM known_id WHERE name = 'told';
	INSERT INTO known_id SELECT 'told', coalesce(max(change_id), 0) FROM cdp.change;
END
$$;

-- somebody new
SELECT events FROM cdp.ingest('{"type":"page","messageId":"1","anonymousId":"a1"}');
SELECT note('anon', 'anonymous_id:a1');
SELECT * FROM fresh();
-- nothing is said of what changes no trait, consent or identifier
SELECT events FROM cdp.ingest('{"type":"page","messageId":"2","anonymousId":"a1"}');
SELECT events, duplicates FROM cdp.ingest('{"type":"page","messageId":"2","anonymousId":"a1"}');
SELECT rejected FROM cdp.ingest('{"type":"nothing","messageId":"3","anonymousId":"a1"}');
SELECT events FROM cdp.ingest('{"type":"page","messageId":"3","userId":"null"}');
SELECT * FROM fresh();
-- traits, an identifier, a consent
SELECT events FROM cdp.ingest('{"type":"identify","messageId":"4","userId":"u1","traits":{"plan":"free","email":"U1@x.org"}}');
SELECT note('u1', 'user_id:u1');
SELECT * FROM fresh();
SELECT events FROM cdp.ingest('{"type":"identify","messageId":"5","userId":"u1","traits":{"plan":"pro"},"context":{"consent":{"categoryPreferences":{"marketing":true}}}}', received_at => '2026-01-31T12:00:01Z');
SELECT * FROM fresh();
-- the same value said again changes only when it was said; an older one nothing
SELECT events FROM cdp.ingest('{"type":"identify","messageId":"6","userId":"u1","traits":{"plan":"old"},"timestamp":"2020-01-01T00:00:00Z"}');
SELECT * FROM fresh();
-- a merge, then what the survivor knows
SELECT events FROM cdp.ingest('{"type":"track","event":"e","messageId":"7","userId":"u1","anonymousId":"a1"}');
SELECT * FROM fresh();
-- a split
SELECT events FROM cdp.ingest('{"type":"track","event":"e","messageId":"8","userId":"u2","anonymousId":"a1"}', received_at => '2026-01-31T12:00:02Z');
SELECT note('u2', 'user_id:u2');
SELECT name, profile_id = (SELECT profile_id FROM known_id WHERE name = 'anon') AS is_anon FROM known_id WHERE name <> 'told' ORDER BY 1;
SELECT kind, count(*) FROM fresh() GROUP BY kind ORDER BY kind COLLATE "C";
-- segments: entered, left, by a message
SELECT cdp.create_segment('pros', $$trait plan = 'pro'$$);
SELECT * FROM fresh();
SELECT events FROM cdp.ingest('{"type":"identify","messageId":"9","userId":"u3","traits":{"plan":"pro"}}');
SELECT note('u3', 'user_id:u3');
SELECT * FROM fresh();
SET cdp.clock = '2026-02-28T23:59:59Z';
SELECT events FROM cdp.ingest('{"type":"identify","messageId":"10","userId":"u3","traits":{"plan":"free"}}');
SELECT * FROM fresh();
-- one batch of several people: ids in order, and the log is partitioned by its own time
BEGIN;
INSERT INTO cdp.inbox (received_at, payload) SELECT '2026-03-01', format('{"type":"identify","messageId":"b%s","userId":"b%s","traits":{"n":%s}}', n, n, n) FROM generate_series(5, 1, -1) n;
SELECT p.events FROM cdp.process() p;
COMMIT;
SELECT kind, data -> 'identifiers' AS identifiers, data -> 'traits' AS traits FROM fresh() ORDER BY 2;
SELECT DISTINCT tableoid::regclass AS partition, to_char(at, 'YYYY-MM') AS month FROM cdp.change ORDER BY 2;
SELECT count(*) = count(DISTINCT change_id) AND bool_and(change_id > 0) AS has_ids FROM cdp.change;
-- nothing is left of what was rolled back
BEGIN;
SELECT events FROM cdp.ingest('{"type":"identify","messageId":"11","userId":"u4","traits":{"plan":"pro"}}');
SELECT count(*) FROM fresh();
ROLLBACK;
SELECT count(*) FROM fresh();

-- the publication: exists once, inserts only, the root's name; a change can be neither updated nor replicated otherwise
SELECT pubname, pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot, puballtables FROM pg_publication;
SELECT schemaname, tablename FROM pg_publication_tables ORDER BY 1, 2;
SELECT count(*) AS writable_otherwise FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relname ~ '^change';

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_activation_changes;
