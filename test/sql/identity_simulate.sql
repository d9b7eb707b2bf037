-- Claim: cdp.simulate() says what changes of rules and rulings would do, as they then do, and leaves nothing behind; what cannot be is refused with a reason and a hint.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_identity_simulate;
CREATE DATABASE regress_identity_simulate TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_identity_simulate SET lc_messages = 'C';
ALTER DATABASE regress_identity_simulate SET jit = off;
ALTER DATABASE regress_identity_simulate SET client_min_messages = warning;
\c regress_identity_simulate
CREATE EXTENSION cdp;
SELECT cdp.simulate('[]');
SELECT cdp.apply_change('{}');
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
-- every table of the platform, row by row
CREATE FUNCTION checksums() RETURNS TABLE (name text, rows bigint, checksum numeric) LANGUAGE plpgsql AS $$
BEGIN
	FOR name IN SELECT c.oid::regclass::text FROM pg_class c WHERE c.relnamespace = 'cdp'::regnamespace AND c.relkind = 'r' ORDER BY 1 LOOP
		RETURN QUERY EXECUTE format('SELECT %L, count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) FROM %s t', name, name);
	END LOOP;
END
$$;
SELECT cdp.create_segment('gold', $$trait plan = 'gold'$$), cdp.create_segment('often', $$count('Seen') >= 3$$), cdp.create_source('crm');
-- ann and bob share an address and a tablet; a till is everybody's; cat has two user ids
SELECT i.events, i.rejected FROM cdp.ingest('{"batch": [
	{"type": "identify", "messageId": "1", "userId": "ann", "anonymousId": "tablet", "timestamp": "2026-01-31T10:01:00Z", "traits": {"email": "home@x", "plan": "gold"}},
	{"type": "track", "event": "Seen", "messageId": "2", "anonymousId": "tablet", "timestamp": "2026-01-31T10:02:00Z"},
	{"type": "identify", "messageId": "3", "userId": "bob", "anonymousId": "tablet", "timestamp": "2026-01-31T10:03:00Z", "traits": {"email": "home@x", "crm": "C1"}},
	{"type": "track", "event": "Seen", "messageId": "4", "anonymousId": "tablet", "timestamp": "2026-01-31T10:04:00Z"},
	{"type": "track", "event": "Seen", "messageId": "5", "anonymousId": "tablet", "timestamp": "2026-01-31T10:05:00Z"},
	{"type": "track", "event": "Seen", "messageId": "6", "anonymousId": "till", "timestamp": "2026-01-31T10:06:00Z", "context": {"traits": {"email": "home@x"}}},
	{"type": "track", "event": "Seen", "messageId": "7", "anonymousId": "till", "timestamp": "2026-01-31T10:07:00Z", "context": {"traits": {"email": "cat@x"}}},
	{"type": "identify", "messageId": "8", "userId": "cat", "timestamp": "2026-01-31T10:08:00Z", "traits": {"email": "cat@x", "plan": "gold"}},
	{"type": "identify", "messageId": "9", "userId": "kate", "timestamp": "2026-01-31T10:09:00Z", "traits": {"email": "cat@x", "crm": "C1"}},
	{"type": "group", "messageId": "10", "userId": "dan", "groupId": "acme", "timestamp": "2026-01-31T10:10:00Z", "traits": {"seats": 5}},
	{"type": "identify", "messageId": "11", "userId": "eve", "timestamp": "2026-01-31T10:11:00Z", "traits": {"plan": "gold"}}]}') i;
SELECT cdp.pin('user_id:dan', 'email:dan@x', 'from the contract') AS pinned, cdp.deny('user_id:eve', 'email:home@x', 'no') AS denied \gset
CREATE VIEW person AS SELECT profile_id AS id, string_agg(value, ' ' ORDER BY value) AS identifiers FROM cdp.identifiers GROUP BY profile_id ORDER BY 1;
SELECT * FROM person;
SELECT segment, profile_id FROM cdp.members ORDER BY 1, 2;

-- what it returns
SELECT * FROM cdp.simulate('{"namespace": {"name": "user_id", "max_per_profile": 2}}') ORDER BY what, count DESC, detail;
SELECT * FROM cdp.simulate('[{"undo": 1}, {"undo": 2}, {"drop_namespace": "email"}, {"block_value": {"value": "till", "namespace": "anonymous_id"}}]') ORDER BY what, count DESC, detail;
SELECT * FROM cdp.simulate('{"retract": "user_id:eve"}') ORDER BY what, count DESC, detail;
SELECT * FROM cdp.simulate('{"namespace": {"name": "crm_id", "priority": 15, "kind": "contact", "paths": ["identify:traits.crm"]}}') ORDER BY what, count DESC, detail;
SELECT * FROM cdp.simulate('[]') ORDER BY what;
SELECT count(*) FROM cdp.simulate(NULL);

-- nothing left behind, and afterwards that is what happens: the same numbers from the tables themselves
CREATE TABLE change (id integer GENERATED ALWAYS AS IDENTITY, changes jsonb);
INSERT INTO change (changes) VALUES
	('{"namespace": {"name": "user_id", "max_per_profile": 2}}'), ('{"namespace": {"name": "user_id", "max_per_profile": null}}'), ('{"namespace": {"name": "email", "bridge": "never", "kind": "device"}}'), ('{"namespace": {"name": "anonymous_id", "bridge": "always"}}'),
	('{"namespace": {"name": "crm_id", "priority": 15, "kind": "contact", "paths": ["identify:traits.crm"]}}'), ('{"namespace": {"name": "group_id", "entity": "person", "priority": 60}}'),
	('[{"undo": 1}, {"undo": 2}, {"drop_namespace": "email"}]'), ('{"drop_namespace": "anonymous_id"}'), ('[{"undo": 1}, {"undo": 2}, {"drop_namespace": "user_id"}]'),
	('{"block_value": {"value": "home@x", "namespace": "email"}}'), ('{"block_value": {"value": "^(till|tablet)$", "is_pattern": true}}'), ('[{"block_value": {"value": "ann"}}, {"unblock_value": {"value": "ann"}}]'),
	('{"pin": ["email:cat@x", "user_id:cat"], "reason": "on the phone"}'), ('{"deny": ["user_id:cat", "email:cat@x"]}'), ('{"deny": ["user_id:bob", "anonymous_id:tablet"]}'), ('{"pin": ["user_id:new", "email:new@x"]}'),
	('{"retract": "email:home@x"}'), ('{"retract": "user_id:eve"}'), ('{"retract": ["user_id:bob", "anonymous_id:tablet"]}'), ('{"retract": {"message_id": "11"}}'), ('{"retract": {"message_id": "3", "source": "default"}}'),
	('[{"retract": "user_id:bob"}, {"retract": {"message_id": "8"}}, {"namespace": {"name": "email", "max_per_profile": 1}}]'), ('{"undo": 1}'), ('{"undo": 2}'), ('[]');
CREATE TABLE place AS SELECT i.identifier_id, i.profile_id FROM cdp.identity i;
CREATE TABLE told AS SELECT max(change_id) AS last FROM cdp.changes;
CREATE TABLE member AS SELECT segment, profile_id FROM cdp.membership;
-- what became of people, without a look at the history that cdp.simulate() reads
CREATE FUNCTION happened() RETURNS jsonb LANGUAGE sql AS $$
	WITH moved AS (SELECT o.profile_id AS was, n.profile_id AS now FROM place o FULL JOIN cdp.identity n USING (identifier_id) WHERE o.profile_id IS DISTINCT FROM n.profile_id)
	SELECT jsonb_object_agg(what, count) FROM (
		SELECT 'identifiers moved' AS what, count(*) FROM moved WHERE was IS NOT NULL AND now IS NOT NULL
		UNION ALL SELECT 'identifiers new', count(*) FROM moved WHERE was IS NULL
		UNION ALL SELECT 'identifiers gone', count(*) FROM moved WHERE now IS NULL
		UNION ALL SELECT 'profiles merged', count(*) FROM (SELECT DISTINCT profile_id FROM place) o JOIN cdp.profile p USING (profile_id) WHERE p.merged_into > 0
		UNION ALL SELECT 'profiles removed', count(*) FROM (SELECT DISTINCT profile_id FROM place) o JOIN cdp.profile p USING (profile_id) WHERE p.merged_into = 0
		UNION ALL SELECT 'profiles split', count(*) FROM cdp.changes WHERE kind = 'profile_split' AND change_id > (SELECT last FROM told)
		UNION ALL SELECT 'profiles changed', count(DISTINCT profile_id) FROM cdp.changes WHERE kind = 'profile_changed' AND change_id > (SELECT last FROM told)
		UNION ALL SELECT 'entered ' || segment, count(*) FROM (SELECT segment, profile_id FROM cdp.membership EXCEPT SELECT * FROM member) m GROUP BY segment
		UNION ALL SELECT 'left ' || segment, count(*) FROM (SELECT * FROM member EXCEPT SELECT segment, profile_id FROM cdp.membership) m GROUP BY segment) h
$$;
CREATE FUNCTION really(changes jsonb, OUT happened jsonb, OUT differing bigint) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM cdp.apply_change(c, 'really') FROM jsonb_array_elements(CASE jsonb_typeof(changes) WHEN 'array' THEN changes ELSE jsonb_build_array(changes) END) c;
	happened := happened();
	SELECT sum(differences) INTO differing FROM cdp.verify();
	RAISE EXCEPTION USING ERRCODE = 'ROLLB';
EXCEPTION WHEN SQLSTATE 'ROLLB' THEN
	NULL;
END
$$;
CREATE TABLE before AS SELECT * FROM checksums();
CREATE TABLE said AS SELECT id, jsonb_object_agg(CASE WHEN what LIKE 'segment%' THEN split_part(what, ' ', 2) || ' ' || (detail ->> 'segment') ELSE what END, count) FILTER (WHERE what <> 'profile') AS said
FROM change, LATERAL (SELECT * FROM cdp.simulate(changes) OFFSET 0) s GROUP BY id;
SELECT count(*) AS tables, sum(rows) > 100 AS are_full FROM before;
SELECT b.name, b.rows, c.rows FROM before b FULL JOIN checksums() c USING (name) WHERE (b.rows, b.checksum) IS DISTINCT FROM (c.rows, c.checksum);
SELECT count(*) AS left_behind FROM pg_class WHERE relnamespace = pg_my_temp_schema() AND relkind = 'r';
SELECT left(changes::text, 75) AS changes, jsonb_pretty(said) = jsonb_pretty(r.happened) AS as_it_happens, differing, said - (SELECT array_agg(key) FROM jsonb_each(said) WHERE value = '0') AS what FROM change JOIN said USING (id), really(changes) r ORDER BY id;
SELECT b.name, b.rows, c.rows FROM before b FULL JOIN checksums() c USING (name) WHERE (b.rows, b.checksum) IS DISTINCT FROM (c.rows, c.checksum);

-- inside a transaction that did other things, which stay
BEGIN;
SELECT events FROM cdp.ingest('{"type": "identify", "messageId": "12", "userId": "fay", "timestamp": "2026-01-31T10:12:00Z", "traits": {"plan": "gold"}}');
SELECT what, count FROM cdp.simulate('{"retract": {"message_id": "12"}}') WHERE count > 0 AND what <> 'profile';
SELECT what, count FROM cdp.simulate('{"pin": ["user_id:fay", "email:fay@x"]}') WHERE count > 0 AND what <> 'profile';
SELECT cdp.profile_id('user_id:fay') IS NOT NULL AS is_there, cdp.profile_id('email:fay@x');
ROLLBACK;

-- refused as the changes themselves are, one wrong change among right ones too, and nothing changed
SELECT what.changes, error_of(format('SELECT * FROM cdp.simulate(%L)', what.changes)) FROM (VALUES
	('{"limit": 3}'), ('{}'), ('3'), ('null'), ('"x"'), ('[[]]'), ('[null]'), ('{"pin": ["user_id:a", "email:b@x"], "deny": ["user_id:a", "email:b@x"]}'), ('{"reason": "x"}'),
	('{"namespace": {"name": "fax", "max_per_profile": 2}}'), ('{"namespace": {"name": "fax", "kind": "contact", "priority": 20}}'), ('{"namespace": {"name": "email", "max_per_profile": 0}}'), ('{"namespace": {"name": "email", "priority": 10}}'), ('{"namespace": {"name": "email", "kind": "shoe"}}'), ('{"namespace": {"name": "Fax", "kind": "contact"}}'), ('{"namespace": {"max_per_profile": 1}}'),
	('{"namespace": {"name": "email", "max_per_profile": "many"}}'), ('{"namespace": {"name": "email", "limit": 1}}'), ('{"block_value": {"value": "x", "pattern": true}}'), ('{"retract": {"message_id": "1", "sauce": "crm"}}'), ('{"namespace": "email"}'), ('{"namespace": {"name": "email", "valid_pattern": "("}}'),
	('{"drop_namespace": "fax"}'), ('{"drop_namespace": 1}'), ('{"drop_namespace": null}'), ('{"drop_namespace": "user_id"}'), ('{"block_value": "x"}'), ('{"block_value": {}}'), ('{"block_value": {"value": "x", "namespace": "fax"}}'), ('{"block_value": {"value": "(", "is_pattern": true}}'), ('{"block_value": {"value": "x", "is_pattern": "maybe"}}'), ('{"unblock_value": {"value": "never-blocked"}}'),
	('{"pin": ["user_id:ann", "user_id:bob"]}'), ('{"pin": ["user_id:eve", "email:home@x"]}'), ('{"pin": ["user_id:eve", "user_id:eve"]}'), ('{"pin": ["user_id:eve", "group_id:acme"]}'), ('{"pin": ["user_id:eve", null]}'), ('{"pin": ["user_id:eve"]}'), ('{"pin": ["eve", "home"]}'), ('{"pin": ["user_id:eve", "fax:1"]}'), ('{"pin": ["user_id:eve", "email:null"]}'), ('{"deny": ["user_id:dan", "email:dan@x"]}'),
	('{"retract": "user_id:nobody"}'), ('{"retract": "user_id:dan"}'), ('{"retract": ["user_id:dan", "email:dan@x"]}'), ('{"retract": ["user_id:ann", "user_id:bob"]}'), ('{"retract": {"message_id": "none"}}'), ('{"retract": {"source": "crm"}}'), ('{"retract": {"message_id": "1", "source": "crm"}}'), ('{"undo": 99}'), ('{"undo": "1"}'),
	('[{"retract": "user_id:eve"}, {"retract": "user_id:nobody"}]')) what (changes);
SELECT b.name, b.rows, c.rows FROM before b FULL JOIN checksums() c USING (name) WHERE (b.rows, b.checksum) IS DISTINCT FROM (c.rows, c.checksum);
-- a pin across a denial by way of others, and one that breaks a limit by way of others
SELECT cdp.pin('user_id:eve', 'phone:+49 30 123450', 'x') AS ruling \gset
SELECT error_of($$SELECT * FROM cdp.simulate('{"pin": ["email:home@x", "phone:+49 30 123450"]}')$$), error_of($$SELECT cdp.pin('email:home@x', 'phone:+49 30 123450', 'x')$$);
SELECT error_of($$SELECT * FROM cdp.simulate('{"pin": ["email:dan@x", "phone:+49 30 123450"]}')$$), error_of($$SELECT cdp.pin('email:dan@x', 'phone:+49 30 123450', 'x')$$);
-- made, not only tried: the reason is in the change, or beside it
SELECT cdp.apply_change('{"deny": ["user_id:cat", "email:cat@x"], "reason": "she says so"}'), cdp.apply_change('{"retract": {"message_id": "9"}}', 'a test');
SELECT error_of($$SELECT cdp.apply_change('{"retract": {"message_id": "8"}}')$$), error_of($$SELECT cdp.apply_change(NULL)$$);
SELECT kind, reason FROM cdp.ruling WHERE ruling_id > :ruling ORDER BY ruling_id;
SELECT part, checked > 0 AS is_checked, differences FROM cdp.verify();

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_identity_simulate;
