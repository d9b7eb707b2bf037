-- Claim: what a session found out about our tables holds only as long as they are so: whatever somebody adds to them, messages end as they would by SQL.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_base_table;
CREATE DATABASE regress_base_table TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_base_table SET lc_messages = 'C';
ALTER DATABASE regress_base_table SET jit = off;
ALTER DATABASE regress_base_table SET client_min_messages = warning;
\c regress_base_table
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
-- people who meet, merge and are told apart, some with rejected links, on devices that some share
CREATE TABLE stream AS SELECT n, jsonb_build_object('type', (ARRAY['track', 'identify', 'page', 'group', 'identify'])[1 + r % 5], 'event', 'Seen', 'name', 'Home', 'messageId', n::text,
	'userId', CASE WHEN r / 6 % 3 = 0 THEN 'u' || r / 18 % 9 END, 'anonymousId', 'a' || r / 864 % 12, 'groupId', CASE WHEN r % 5 = 3 THEN 'g' || r / 18 % 3 END, 'timestamp', '2026-01-31T10:' || lpad((r / 7 % 60)::text, 2, '0') || ':00Z',
	'traits', jsonb_build_object('email', CASE WHEN r % 4 = 0 THEN 'e' || r / 13 % 6 || '@x' END, 'plan', 'p' || r % 3), 'context', jsonb_build_object('consent', jsonb_build_object('categoryPreferences', jsonb_build_object('ads', r % 2 = 0))))::text AS payload
FROM (SELECT n, ('x' || substr(md5(n::text), 1, 6))::bit(24)::int AS r FROM generate_series(1, 160) n) s;
CREATE VIEW fact AS
	WITH who AS (SELECT profile_id, string_agg(namespace || ':' || value, ' ' ORDER BY namespace, value) AS name FROM cdp.identifiers GROUP BY profile_id)
	SELECT concat_ws(' ', 'person', w.name, p.entity, p.is_disputed, p.traits::text, p.consents::text, p.first_seen_at, p.last_seen_at, p.event_count) AS fact FROM cdp.profile p JOIN who w USING (profile_id)
	UNION ALL SELECT concat_ws(' ', 'identifier', namespace, value, is_contested, first_seen_at, last_seen_at, event_count) FROM cdp.identifiers
	UNION ALL SELECT concat_ws(' ', 'link', a.namespace, a.value, b.namespace, b.value, l.first_seen_at, l.last_seen_at, l.event_count, l.status, l.reason) FROM cdp.link l JOIN cdp.identity a ON a.identifier_id = identifier_a JOIN cdp.identity b ON b.identifier_id = identifier_b
	UNION ALL SELECT concat_ws(' ', 'event', message_id, source, anchor_namespace, anchor_value) FROM cdp.events
	UNION ALL SELECT concat_ws(' ', 'fragment', a.namespace, a.value, i.namespace, i.value, f.traits::text, f.consents::text, f.event_count) FROM cdp.fragment f JOIN cdp.identity a ON a.identifier_id = f.anchor_id JOIN cdp.identity i ON i.identifier_id = f.identifier_id
	UNION ALL SELECT concat_ws(' ', 'consent', i.namespace, i.value, c.category, c.is_granted, c.occurred_at) FROM cdp.consent c JOIN cdp.identity i USING (identifier_id)
	UNION ALL SELECT concat_ws(' ', 'change', kind, w.name, data - 'merged_profile_id' - 'split_from_profile_id') FROM cdp.changes LEFT JOIN who w USING (profile_id)
	UNION ALL SELECT concat_ws(' ', 'history', i.namespace, i.value, h.cause, h.actor) FROM cdp.identity_change h JOIN cdp.identity i USING (identifier_id);
CREATE FUNCTION facts() RETURNS text[] LANGUAGE sql AS $$ SELECT array_agg(fact ORDER BY fact) FROM fact $$;
CREATE FUNCTION differing() RETURNS text LANGUAGE sql AS $$ SELECT coalesce(string_agg(part || ' ' || differences, ', '), 'none') FROM cdp.verify() WHERE differences > 0 $$;
-- messages one by one, and the last hundred as one batch
CREATE FUNCTION send(first integer, last integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM cdp.ingest(payload) FROM (SELECT payload FROM stream WHERE n BETWEEN first AND least(last, 60) ORDER BY n) s;
	INSERT INTO cdp.inbox (payload) SELECT payload FROM stream WHERE n BETWEEN greatest(first, 61) AND last;
	PERFORM cdp.process();
END
$$;
-- the tables that messages are written to
CREATE FUNCTION written() RETURNS TABLE (name text, relation regclass) LANGUAGE sql AS $$
	SELECT t, ('cdp.' || t)::regclass FROM unnest('{seen,event,identity,profile,link,identity_change,fragment,timeline_part,consent,change}'::text[]) t
$$;
CREATE FUNCTION everywhere(command text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE (SELECT string_agg(format(command, name), ';') FROM written());
END
$$;
CREATE TABLE called (by text);
CREATE FUNCTION note_call() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.called VALUES (TG_TABLE_NAME); RETURN NEW; END $$;
CREATE FUNCTION is_fine(id bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN id > 0; END $$;

-- a third of the messages is known to the session before somebody does something to the tables, in a subtransaction that is taken back
SELECT send(1, 50);
CREATE TABLE before AS SELECT facts() AS facts;
CREATE FUNCTION facts_after(statement text, OUT facts text[], OUT differing text, OUT calls bigint) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	PERFORM send(51, 160);
	facts := facts();
	differing := differing();
	calls := count(DISTINCT by) FROM called;
	RAISE EXCEPTION USING ERRCODE = 'ROLLB';
EXCEPTION WHEN SQLSTATE 'ROLLB' THEN
	NULL;
END
$$;
CREATE TABLE wanted AS SELECT f.* FROM facts_after('SELECT') f;
SELECT count(*) AS facts, count(*) FILTER (WHERE fact LIKE 'link % rejected %') > 5 AS rejected, count(*) FILTER (WHERE fact LIKE 'change profile_merged %') > 5 AS merges,
	count(*) FILTER (WHERE fact LIKE 'history % split %') > 0 AS splits, differing FROM wanted, unnest(facts) fact GROUP BY differing;
CREATE TABLE addition (id int GENERATED ALWAYS AS IDENTITY, what text, statement text);
INSERT INTO addition (what, statement) VALUES
	('nothing', 'SELECT'),
	('row-level security', $$SELECT everywhere('ALTER TABLE cdp.%I ENABLE ROW LEVEL SECURITY')$$),
	('triggers', $$SELECT everywhere('CREATE TRIGGER note BEFORE INSERT OR UPDATE ON cdp.%I FOR EACH ROW EXECUTE FUNCTION note_call()')$$),
	('rules', $$SELECT everywhere('CREATE RULE note AS ON DELETE TO cdp.%I WHERE false DO NOTHING')$$),
	('columns with defaults', $$SELECT everywhere('ALTER TABLE cdp.%I ADD COLUMN note text NOT NULL DEFAULT repeat(''x'', 9), ADD COLUMN again text DEFAULT now()::text')$$),
	('a column that is gone', $$SELECT everywhere('ALTER TABLE cdp.%1$I ADD COLUMN note text DEFAULT 1; ALTER TABLE cdp.%1$I DROP COLUMN note')$$),
	('a generated column', $$ALTER TABLE cdp.identity ADD COLUMN length integer GENERATED ALWAYS AS (length(value)) STORED$$),
	('generated columns that are not stored, where there are such', CASE WHEN current_setting('server_version_num')::int < 180000 THEN 'SELECT'
		ELSE $$SELECT everywhere('ALTER TABLE cdp.%I ADD COLUMN note text GENERATED ALWAYS AS (''x'') VIRTUAL NOT NULL CHECK (note = ''x'')')$$ END),
	('constraints', $$ALTER TABLE cdp.identity ADD CHECK (is_fine(profile_id)); ALTER TABLE cdp.profile ADD CHECK (is_fine(component_id)); ALTER TABLE cdp.link ADD CHECK (is_fine(identifier_a))$$),
	('indexes', $$CREATE INDEX ON cdp.event USING gin (message); CREATE INDEX ON cdp.identity (lower(value)); CREATE INDEX ON cdp.profile (entity) WHERE is_disputed; CREATE INDEX ON cdp.link USING brin (last_seen_at)$$),
	('indexes of ours made anew', $$DROP INDEX cdp.identity_profile_id_idx; CREATE INDEX identity_profile_id_idx ON cdp.identity (profile_id) INCLUDE (value); REINDEX TABLE cdp.profile; REINDEX TABLE cdp.link$$),
	('tables written anew', $$ALTER TABLE cdp.identity SET UNLOGGED; ALTER TABLE cdp.fragment SET UNLOGGED; ALTER TABLE cdp.link SET UNLOGGED; ALTER TABLE cdp.seen SET UNLOGGED$$),
	('a partition whose columns stand in another order', $$ALTER TABLE cdp.event DETACH PARTITION cdp.event_2026_01; ALTER TABLE cdp.event_2026_01 RENAME TO gone;
		CREATE TABLE cdp.event_2026_01 AS SELECT message, name, message_id, type, source_id, received_at, occurred_at, identifier_id FROM cdp.gone; DROP TABLE cdp.gone;
		ALTER TABLE cdp.event_2026_01 ALTER identifier_id SET NOT NULL, ALTER occurred_at SET NOT NULL, ALTER received_at SET NOT NULL, ALTER source_id SET NOT NULL, ALTER type SET NOT NULL, ALTER message_id SET NOT NULL, ALTER message SET NOT NULL;
		ALTER TABLE cdp.event ATTACH PARTITION cdp.event_2026_01 FOR VALUES FROM ('2026-01-01Z') TO ('2026-02-01Z')$$);
SELECT a.what, g.facts = wanted.facts AS the_same, g.differing, g.calls FROM addition a CROSS JOIN LATERAL facts_after(a.statement) g, wanted ORDER BY id;
SELECT facts() = facts AS as_before FROM before;

-- keys that are null, from PostgreSQL 18 on also in spite of a constraint; they stay in the indexes for a while
CREATE TABLE person AS SELECT namespace, value, profile_id, cdp.profile(profile_id) AS profile FROM cdp.identity;
CREATE FUNCTION lost() RETURNS bigint LANGUAGE sql AS $$
	SELECT count(*) FROM person WHERE cdp.profile_id(cdp.identifier(namespace, value)) IS DISTINCT FROM profile_id OR cdp.profile(profile_id) IS DISTINCT FROM profile
$$;
BEGIN;
ALTER TABLE cdp.identity ALTER namespace DROP NOT NULL, ALTER value DROP NOT NULL, ALTER profile_id DROP NOT NULL;
INSERT INTO cdp.identity (identifier_id, value, event_count) SELECT -n, 'a' || n, 1 FROM generate_series(1, 3000) n;
DO $$
BEGIN
	IF current_setting('server_version_num')::int >= 180000 THEN
		EXECUTE 'ALTER TABLE cdp.identity ADD NOT NULL namespace NOT VALID, ADD NOT NULL value NOT VALID, ADD NOT NULL profile_id NOT VALID';
	END IF;
END
$$;
SELECT count(*) AS people, lost() FROM person;
ROLLBACK;
SELECT lost();

-- defaults are there; what an error left half done is forgotten, and the next message finds all in order
ALTER TABLE cdp.identity ADD COLUMN note text NOT NULL DEFAULT 'of ' || current_user, ADD CONSTRAINT no_cat CHECK (value NOT LIKE 'cat%');
SELECT error_of($$SELECT cdp.ingest('{"type": "page", "userId": "cat", "messageId": "cat"}')$$) LIKE '23514 | new row for relation "identity" violates check constraint "no_cat"%' AS refused;
SELECT events FROM cdp.ingest('{"type": "page", "userId": "dog", "messageId": "dog"}');
ALTER TABLE cdp.identity DROP CONSTRAINT no_cat;
SELECT events FROM cdp.ingest('{"type": "page", "userId": "cat", "messageId": "cat"}');
SELECT value, note = 'of ' || current_user AS has_default FROM cdp.identity WHERE value IN ('cat', 'dog') ORDER BY value;

-- a constraint whose function comes here again while the table is open
CREATE FUNCTION ingests(data jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	IF data::text LIKE '%"outer"%' THEN
		PERFORM cdp.ingest('{"type": "identify", "userId": "inner", "messageId": "inner", "traits": {"depth": 2}}');
	END IF;
	RETURN true;
END
$$;
ALTER TABLE cdp.event_2026_01 ADD CHECK (ingests(message));
SELECT events FROM cdp.ingest('{"type": "identify", "userId": "outer", "messageId": "outer", "traits": {"depth": 1}}');
SELECT cdp.profile('user_id:outer') -> 'traits' AS outer, cdp.profile('user_id:inner') -> 'traits' AS inner;

-- one that comes here again and fails there, by its own check and where it made a partition
CREATE FUNCTION ingests_in_vain(value text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	IF value LIKE 'vain%' THEN
		BEGIN
			PERFORM cdp.ingest(format('{"type": "identify", "userId": "fails", "messageId": "fails-%s", "traits": {"depth": 2}}', value), 'default', '2025-08-03');
		EXCEPTION WHEN check_violation THEN
			NULL;
		END;
	END IF;
	RETURN true;
END
$$;
ALTER TABLE cdp.identity ADD CONSTRAINT in_vain CHECK (ingests_in_vain(value)), ADD CONSTRAINT no_failure CHECK (value <> 'fails');
ALTER TABLE cdp.link ADD CONSTRAINT in_vain CHECK (ingests_in_vain('vain' || identifier_b));
SELECT events FROM cdp.ingest('{"type": "identify", "userId": "vain", "messageId": "vain"}');
SELECT events FROM cdp.ingest('{"type": "identify", "userId": "vain", "anonymousId": "idle", "messageId": "vain-2"}');
ALTER TABLE cdp.identity DROP CONSTRAINT in_vain, DROP CONSTRAINT no_failure;
ALTER TABLE cdp.link DROP CONSTRAINT in_vain;
ALTER TABLE cdp.change ADD CONSTRAINT in_vain CHECK (ingests_in_vain(data #>> '{traits,name}')), ADD CONSTRAINT no_failure CHECK (data::text NOT LIKE '%fails%');
SELECT events FROM cdp.ingest('{"type": "identify", "userId": "vain", "messageId": "vain-3", "traits": {"name": "vain"}}');
ALTER TABLE cdp.change DROP CONSTRAINT in_vain, DROP CONSTRAINT no_failure;
SELECT count(*) FROM cdp.identifiers WHERE value = 'fails';

-- a trigger that wants the tables for itself
BEGIN;
CREATE FUNCTION alters() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM cdp.make_partitions('event', '2027-05-01', '2027-05-02');
	CREATE INDEX IF NOT EXISTS identity_value_idx ON cdp.identity (value);
	REINDEX TABLE cdp.profile;
	RETURN NULL;
END
$$;
CREATE TRIGGER alters AFTER INSERT ON cdp.change FOR EACH STATEMENT EXECUTE FUNCTION alters();
SELECT events FROM cdp.ingest('{"type": "identify", "userId": "outer", "messageId": "alters", "traits": {"depth": 3}}');
SELECT to_regclass('cdp.event_2027_05') IS NOT NULL AND to_regclass('cdp.identity_value_idx') IS NOT NULL AS altered;
ROLLBACK;

-- a summary of pages, made at any moment, is told of each row that it lacks: by the message and in batches, in small ranges and large ones
DROP INDEX cdp.event_received_at_idx, cdp.seen_received_at_idx;
CREATE INDEX event_received_at_idx ON cdp.event USING brin (received_at) WITH (pages_per_range = 2);
CREATE INDEX seen_received_at_idx ON cdp.seen USING brin (received_at) WITH (pages_per_range = 1);
CREATE FUNCTION by_range(relation regclass, "from" timestamptz, until timestamptz) RETURNS bigint LANGUAGE plpgsql SET enable_seqscan = off SET enable_indexscan = off AS $$
DECLARE
	plan text;
	n bigint;
BEGIN
	FOR plan IN EXECUTE format('EXPLAIN SELECT count(*) FROM %s WHERE received_at BETWEEN %L AND %L', relation, "from", until) LOOP
		EXIT WHEN plan ~ 'Bitmap Index Scan';
	END LOOP;
	ASSERT plan ~ 'Bitmap Index Scan', 'no summary was asked';
	EXECUTE format('SELECT count(*) FROM %s WHERE received_at BETWEEN %L AND %L', relation, "from", until) INTO n;
	RETURN n;
END
$$;
DO $$
DECLARE
	day timestamptz;
BEGIN
	FOR i IN 1 .. 40 LOOP
		day := '2026-01-31'::timestamptz - i % 29 * interval '1 day';
		IF i % 4 = 0 THEN
			INSERT INTO cdp.inbox (received_at, payload) SELECT day, jsonb_build_object('type', 'page', 'userId', 'u1', 'messageId', format('range-%s-%s', i, n),
				'properties', jsonb_build_object('text', repeat(n::text, 60))) FROM generate_series(1, 90) n;
			PERFORM cdp.process();
		ELSE
			PERFORM cdp.ingest(format('{"type": "page", "userId": "u1", "messageId": "range-%s"}', i), 'default', day);
		END IF;
		IF i % 5 = 0 THEN
			PERFORM brin_summarize_new_values(c.oid) FROM pg_class c WHERE c.relname ~ '^(event_2.*|seen)_received_at_idx$';
		ELSIF i % 7 = 0 THEN
			PERFORM brin_desummarize_range(c.oid, 2) FROM pg_class c WHERE c.relname ~ '^(event_2.*|seen)_received_at_idx$';
		END IF;
	END LOOP;
END
$$;
SELECT count(*) AS days, count(*) FILTER (WHERE by_range('cdp.event_2026_01', d, d) <> (SELECT count(*) FROM cdp.event_2026_01 WHERE received_at = d)) AS wrong_of_events,
	count(*) FILTER (WHERE by_range('cdp.seen', d, d) <> (SELECT count(*) FROM cdp.seen WHERE received_at = d)) AS wrong_of_keys, (SELECT count(*) > 900 FROM cdp.event_2026_01) AS are_many
FROM generate_series('2026-01-02'::timestamptz, '2026-01-31', '1 day') d;

-- an index that is not ours under a name of ours, and a privilege that is not there
BEGIN;
DROP INDEX cdp.identity_profile_id_idx;
CREATE INDEX identity_profile_id_idx ON cdp.identity (value);
SELECT error_of($$SELECT cdp.ingest('{"type": "identify", "userId": "eel", "messageId": "eel"}')$$);
ROLLBACK;
CREATE ROLE regress_base_table;
GRANT USAGE ON SCHEMA cdp TO regress_base_table;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA cdp TO regress_base_table;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA cdp TO regress_base_table;
SET ROLE regress_base_table;
SELECT events FROM cdp.ingest('{"type": "page", "userId": "eel", "messageId": "eel"}');
RESET ROLE;
REVOKE UPDATE ON cdp.fragment FROM regress_base_table;
SET ROLE regress_base_table;
SELECT error_of($$SELECT cdp.ingest('{"type": "page", "userId": "eel", "messageId": "eel-2"}')$$);
RESET ROLE;
DROP OWNED BY regress_base_table;
DROP ROLE regress_base_table;
SELECT differing();

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_base_table;
