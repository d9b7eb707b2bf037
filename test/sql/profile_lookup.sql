-- Lookups add traits to profiles from tables of others by the value of one of theirs: kept current by refreshing, derived again by cdp.verify(), explained, and never in chains.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_profile_lookup;
CREATE DATABASE regress_profile_lookup TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_profile_lookup SET lc_messages = 'C';
ALTER DATABASE regress_profile_lookup SET jit = off;
ALTER DATABASE regress_profile_lookup SET client_min_messages = warning;
ALTER DATABASE regress_profile_lookup SET cdp.clock = '2026-01-31T12:00:00Z';
\c regress_profile_lookup
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
CREATE FUNCTION say(person text, traits jsonb, at timestamptz DEFAULT '2026-01-10Z', source text DEFAULT 'web') RETURNS bigint LANGUAGE sql AS $$
	SELECT events FROM cdp.ingest(jsonb_build_object('type', 'identify', 'userId', person, 'traits', traits, 'timestamp', to_json(at)), source)
$$;
CREATE FUNCTION traits_of(person text) RETURNS jsonb LANGUAGE sql AS $$ SELECT cdp.profile(cdp.identifier('user_id', person)) -> 'traits' $$;
CREATE SCHEMA "third party";
CREATE TABLE "third party"."post code" (code text PRIMARY KEY, "the band" text, people int, note jsonb, since timestamptz);
INSERT INTO "third party"."post code" VALUES ('10115', 'B', 20000, '{"a": null}', '2026-01-20Z'), ('80331', 'A', NULL, NULL, NULL), ('99', 'C', 1, '1', 'infinity');
SELECT say('u-1', '{"postal_code": "10115", "name": "Ada"}'), say('u-2', '{"postal_code": "80331"}'), say('u-3', '{"postal_code": 99}'), say('u-4', '{"postal_code": ["10115"]}'), say('u-5', '{"name": "Eve"}');

-- the profiles there are get the traits at once, with text and number as key; what is null in the table is not said
SELECT cdp.create_segment('band b', 'trait band = ''B''');
SELECT cdp.create_lookup('"third party"."post code"', 'postal_code', '{"band": "the band", "people": "people", "note": "note"}', 'code', name => 'post');
SELECT name, relation, key_trait, key_column, rank, refreshed_at FROM cdp.lookup;
SELECT p, traits_of(p) AS traits FROM unnest('{u-1,u-2,u-3,u-4,u-5}'::text[]) p ORDER BY p;
SELECT key, traits FROM cdp.lookup_row ORDER BY key;
-- segments and changes follow
SELECT profile_id = cdp.profile_id('user_id:u-1') AS is_u1 FROM cdp.members WHERE segment = 'band b';
SELECT kind, count(*) FROM cdp.changes GROUP BY kind ORDER BY kind;
SELECT part, differences FROM cdp.verify() WHERE differences <> 0;
-- who comes later, moves, unsets, merges and splits
SELECT say('u-6', '{"postal_code": "10115"}'), say('u-2', '{"postal_code": "10115"}', '2026-01-11Z'), say('u-3', '{"postal_code": null}', '2026-01-11Z');
SELECT p, traits_of(p) AS traits FROM unnest('{u-2,u-3,u-6}'::text[]) p ORDER BY p;
SELECT events FROM cdp.ingest('{"type": "identify", "userId": "u-5", "anonymousId": "d-5", "messageId": "joined", "timestamp": "2026-01-12"}', 'web');
SELECT events FROM cdp.ingest('{"type": "identify", "anonymousId": "d-5", "traits": {"postal_code": "80331"}, "timestamp": "2026-01-12"}', 'web');
SELECT traits_of('u-5');
SELECT cdp.retract('joined', 'not her device') IS NOT NULL AS is_retracted;
SELECT traits_of('u-5');
SELECT cdp.profile('anonymous_id:d-5') -> 'traits' AS traits;
SELECT part, differences FROM cdp.verify() WHERE differences <> 0;

-- refreshing folds only those whose row is another
SELECT cdp.refresh_lookup('post');
UPDATE "third party"."post code" SET "the band" = 'D' WHERE code = '10115';
DELETE FROM "third party"."post code" WHERE code = '99';
INSERT INTO "third party"."post code" VALUES ('20095', 'E');
SELECT traits_of('u-1');
SELECT cdp.refresh_lookup('post');
SELECT traits_of('u-1');
SELECT count(*) AS members FROM cdp.members;
DELETE FROM "third party"."post code" WHERE code = '80331';
SELECT cdp.refresh_lookup('post');
SELECT cdp.profile('anonymous_id:d-5') -> 'traits' AS traits;
SELECT part, differences FROM cdp.verify() WHERE differences <> 0;

-- one's own word goes before it, unless it says since when; of two lookups the higher rank
SELECT say('u-1', '{"band": "mine"}', '2026-01-15Z');
CREATE TABLE second_party (postal_code text, band text, people int);
INSERT INTO second_party VALUES ('10115', 'second', 2);
SELECT cdp.create_lookup('second_party', 'postal_code', '{"band": "band", "people": "people"}', rank => 1);
SELECT p, traits_of(p) AS traits FROM unnest('{u-1,u-2}'::text[]) p ORDER BY p;
SELECT value, occurred_at, source, rank, anchor, verdict FROM cdp.explain_trait(cdp.profile_id('user_id:u-1'), 'band');
SELECT value, occurred_at, source, rank, anchor, verdict FROM cdp.explain_trait(cdp.profile_id('user_id:u-2'), 'people');
SELECT cdp.create_lookup('"third party"."post code"', 'postal_code', '{"band": "the band"}', 'code', 5, 'post', 'since');
SELECT p, traits_of(p) AS traits FROM unnest('{u-1,u-2}'::text[]) p ORDER BY p;
SELECT value, occurred_at, source, rank, anchor, verdict FROM cdp.explain_trait(cdp.profile_id('user_id:u-1'), 'band');
SELECT part, differences FROM cdp.verify() WHERE differences <> 0;
-- another rank and another key count at once
SELECT cdp.create_lookup('second_party', 'postal_code', '{"band": "band", "people": "people"}', rank => 9);
SELECT cdp.create_lookup('"third party"."post code"', 'postal_code', '{"band": "the band"}', 'code', 5, 'post');
SELECT traits_of('u-2');
CREATE VIEW by_name AS SELECT 'Ada' AS name, 'ruler' AS title;
SELECT cdp.create_lookup('by_name', 'name', '{"title": "title"}', name => 'second_party');
SELECT traits_of('u-1');
SELECT part, differences FROM cdp.verify() WHERE differences <> 0;
-- accounts have traits too
SELECT events FROM cdp.ingest('{"type": "group", "userId": "u-1", "groupId": "acme", "traits": {"name": "Ada"}, "timestamp": "2026-01-12"}', 'web');
SELECT cdp.profile('group_id:acme') -> 'traits' AS traits;

-- wrong definitions, and relations that fail, leave people as they are
CREATE TABLE twice (postal_code text, x int);
INSERT INTO twice VALUES ('10115', 1), ('10115', 2), (NULL, 3), (NULL, 4);
SELECT definition, error_of(format('SELECT cdp.create_lookup(%s)', definition)) FROM unnest(ARRAY[
	$$'nope', 'a', '{"b": "b"}'$$, $$'twice', NULL, '{"b": "x"}'$$, $$'twice', 'postal_code', '{}'$$, $$'twice', 'postal_code', '["x"]'$$, $$'twice', 'postal_code', '{"b": 1}'$$, $$'twice', 'postal_code', NULL$$, $$'twice', 'postal_code', '{"b": "nope"}'$$,
	$$'twice', 'city', '{"b": "x"}'$$, $$'twice', 'postal_code', '{"b": "x"}', observed => 'nope'$$, $$'twice', 'postal_code', '{"b": "x"}', observed => 'x'$$, $$'twice', 'postal_code', '{"b": "x"}', rank => 40000$$, $$'twice', 'postal_code', '{"postal_code": "x"}'$$, $$'twice', 'band', '{"b": "x"}', 'x'$$,
	$$'twice', 'x', '{"name": "x"}'$$, $$'twice', 'postal_code', '{"b": "x"}', name => ''$$, $$'twice', 'postal_code', '{"b": "x"}'$$, $$'second_party_pkey', 'a', '{"b": "b"}'$$
]) definition;
SELECT error_of('SELECT cdp.refresh_lookup(''nope'')'), error_of('SELECT cdp.drop_lookup(''nope'')');
ALTER TABLE "third party"."post code" RENAME "the band" TO band;
SELECT error_of('SELECT cdp.refresh_lookup(''post'')');
DROP TABLE "third party"."post code";
SELECT error_of('SELECT cdp.refresh_lookup(''post'')');
SELECT traits_of('u-2');
-- without it everybody is as before
SELECT cdp.drop_lookup('post');
SELECT cdp.drop_lookup('second_party');
SELECT p, traits_of(p) AS traits FROM unnest('{u-1,u-2,u-6}'::text[]) p ORDER BY p;
SELECT count(*) AS lookups, (SELECT count(*) FROM cdp.lookup_row) AS rows FROM cdp.lookup;
SELECT part, differences FROM cdp.verify() WHERE differences <> 0;

-- what a row says competes by the rule of each trait, whichever was there first
CREATE TABLE bureau (postal_code text, score numeric, tags text[], risk text, since timestamptz);
INSERT INTO bureau VALUES ('7', 40, '{b,c}', ' HIGH ', '2026-01-20Z'), ('8', 900, NULL, 'n/a', NULL), ('9', -1, NULL, '', NULL);
SELECT say('v-1', '{"postal_code": "7", "score": 30, "tags": ["a", "b"], "risk": "low"}'), say('v-1', '{"score": 5}', '2026-01-21Z'), say('v-2', '{"postal_code": "8", "score": 1}'), say('v-3', '{"postal_code": "9"}');
SELECT cdp.create_trait('risk', 'earliest', cleanse => '{trim,lower}', null_if => '{n/a}', valid_pattern => '.');
SELECT cdp.create_lookup('bureau', 'postal_code', '{"score": "score", "tags": "tags", "risk": "risk"}', observed => 'since');
SELECT p, traits_of(p) AS traits FROM unnest('{v-1,v-2,v-3}'::text[]) p ORDER BY p;
SELECT cdp.create_trait('score', 'highest', type => 'number', minimum => 0, maximum => 500), cdp.create_trait('tags', 'union');
SELECT p, traits_of(p) AS traits FROM unnest('{v-1,v-2,v-3}'::text[]) p ORDER BY p;
SELECT key, traits FROM cdp.lookup_row ORDER BY key;
SELECT p, t, value, source, verdict FROM unnest('{v-1,v-2,v-3}'::text[]) p, unnest('{risk,score,tags}'::text[]) t, cdp.explain_trait(cdp.profile_id(cdp.identifier('user_id', p)), t) ORDER BY p, t, source, value::text COLLATE "C";
SELECT part, differences FROM cdp.verify() WHERE differences <> 0;
SELECT part, checked, differences FROM cdp.verify('profile') WHERE part = 'lookups';
-- a change of a rule is one change of those whose trait it changes
SELECT coalesce(max(change_id), 0) AS last FROM cdp.change \gset
SELECT cdp.create_trait('score', 'sum', type => 'number', maximum => 500);
SELECT profile_id = cdp.profile_id('user_id:v-1') AS is_v1, data -> 'traits' -> 'score' AS score FROM cdp.change WHERE change_id > :last ORDER BY profile_id;
SELECT p, traits_of(p) AS traits FROM unnest('{v-1,v-2,v-3}'::text[]) p ORDER BY p;
SELECT part, differences FROM cdp.verify() WHERE differences <> 0;
SELECT cdp.refresh_lookup('bureau');
-- a lock goes before a lookup too, and finds another row; what is computed is not taken from it
SELECT cdp.lock_trait('user_id:v-1', 'risk', '"none"', 'test') IS NOT NULL AS locked, cdp.lock_trait('user_id:v-2', 'postal_code', '"7"', 'test') IS NOT NULL AS moved;
SELECT cdp.create_trait('score', computed => 'count(Order Completed)');
SELECT p, traits_of(p) AS traits FROM unnest('{v-1,v-2,v-3}'::text[]) p ORDER BY p;
SELECT value, source, verdict FROM cdp.explain_trait(cdp.profile_id('user_id:v-1'), 'score') ORDER BY source, value::text;
SELECT part, differences FROM cdp.verify() WHERE differences <> 0;
SELECT cdp.create_trait('orders', computed => 'count(Order Completed)');
SELECT error_of('SELECT cdp.create_lookup(''bureau'', ''orders'', ''{"x": "risk"}'', ''postal_code'', name => ''other'')'), error_of('SELECT cdp.create_trait(''postal_code'', computed => ''count(Order Completed)'')');
SELECT cdp.drop_trait('orders'), cdp.drop_trait('score'), cdp.drop_trait('tags'), cdp.drop_trait('risk');
SELECT p, traits_of(p) AS traits FROM unnest('{v-1,v-2,v-3}'::text[]) p ORDER BY p;
SELECT part, differences FROM cdp.verify() WHERE differences <> 0;
-- cdp.verify() sees a row that is not by the rules
UPDATE cdp.lookup_row SET traits = '{}' WHERE key = '7';
SELECT part, differences FROM cdp.verify('profile') WHERE differences <> 0;

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_profile_lookup;
