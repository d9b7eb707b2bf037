-- Which of the values said of a trait survives, by the rule of each; what breaks a rule is refused and counted; stewards lock values. Changes apply to the past.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_profile_trait_rules;
CREATE DATABASE regress_profile_trait_rules TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_profile_trait_rules SET lc_messages = 'C';
ALTER DATABASE regress_profile_trait_rules SET jit = off;
ALTER DATABASE regress_profile_trait_rules SET client_min_messages = warning;
\c regress_profile_trait_rules
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
	RETURN concat_ws(' ', SQLSTATE, message, nullif(hint, ''));
END
$$;

-- bad rules
SELECT error_of('SELECT cdp.create_trait(' || arguments || ')') FROM unnest(ARRAY[$$NULL$$, $$''$$, $$repeat('x', 256)$$, $$'a', 'newest'$$, $$'a', NULL$$, $$'a', 'locked'$$, $$'a', cleanse => '{trim,wash}'$$, $$'a', cleanse => '{lower,title}'$$, $$'a', cleanse => ARRAY[NULL]$$, $$'a', null_if => ARRAY['x', NULL]$$,
	$$'a', type => 'integer'$$, $$'a', minimum => 2, maximum => 1$$, $$'a', minimum => 'NaN'$$, $$'a', valid_pattern => '('$$]) arguments;
SELECT error_of($$SELECT cdp.drop_trait('a')$$), (SELECT count(*) FROM cdp.trait) AS traits;

-- each rule, in any order: the same messages for 12 people, each time shuffled
SELECT cdp.create_source('crm', 5);
SELECT cdp.create_trait('plan', 'preferred', cleanse => '{trim,lower}', null_if => '{n/a}', valid_pattern => '^(free|pro|team)$');
SELECT cdp.create_trait('spent', 'sum');
SELECT cdp.create_trait('tags', 'union', cleanse => '{trim,lower}', type => 'string');
SELECT cdp.create_trait('city', 'most_frequent', cleanse => '{title}');
SELECT cdp.create_trait('score', 'highest', type => 'number', minimum => 0, maximum => 100);
SELECT cdp.create_trait('price', 'lowest');
SELECT cdp.create_trait('came_by', 'earliest');
SELECT cdp.create_trait('referrer', 'first_non_empty');
SELECT * FROM cdp.trait ORDER BY name;
CREATE TABLE message (id integer, source text, traits jsonb, at date);
INSERT INTO message VALUES
	(1, 'default', '{"plan": " PRO ", "spent": 1.50, "tags": ["A", "b "], "city": "paris", "score": 5, "price": 9, "came_by": null, "referrer": "", "name": "Ada"}', '2026-01-01'),
	(2, 'crm', '{"plan": "free", "spent": 2, "tags": "c", "city": "LONDON", "score": 500, "price": 3, "came_by": "ad", "referrer": "friend"}', '2026-01-02'),
	(3, 'default', '{"plan": "gold", "spent": "1000", "tags": ["b", 7, null], "city": "Paris", "score": 50.0, "price": 4, "came_by": "mail", "referrer": "search", "name": "Ada L."}', '2026-01-03'),
	(4, 'default', '{"plan": "team", "spent": -0.25, "tags": [], "city": "Rome", "score": 50, "price": null, "came_by": "shop", "referrer": "  "}', '2026-01-01'),
	(5, 'crm', '{"plan": " N/A", "city": "London", "tags": [7]}', '2026-01-01');
SELECT sum(i.events) AS events FROM (SELECT * FROM message, generate_series(1, 12) shuffle ORDER BY shuffle, md5(id || '/' || shuffle)) m,
	LATERAL (SELECT * FROM cdp.ingest(jsonb_build_object('type', 'identify', 'userId', 'u' || shuffle, 'messageId', shuffle || '/' || id, 'timestamp', at, 'traits', traits), source) OFFSET 0) i;
SELECT count(DISTINCT traits::text) AS results, jsonb_pretty(min(traits::text)::jsonb) AS traits FROM cdp.profiles;
SELECT t.name, t.rule, e.value, e.occurred_at::date, e.source, e.verdict FROM cdp.trait t, LATERAL (SELECT * FROM cdp.explain_trait(1, t.name) OFFSET 0) e;
SELECT jsonb_pretty(traits::text::jsonb - '{plan,came_by,referrer,score,price,name}'::text[]) AS kept FROM cdp.profile WHERE profile_id = 1;
SELECT source, trait, message_count FROM cdp.refused_values ORDER BY 1, 2;
SELECT name, value FROM cdp.status WHERE name = 'refused';
SELECT part, differences FROM cdp.verify() WHERE differences <> 0;

-- conditions of segments see the value that survives
SELECT cdp.create_segment('parisians', $$trait city = 'Paris'$$), cdp.create_segment('tagged', $$trait tags contains 'c'$$), cdp.create_segment('spenders', $$trait spent > 3$$);
SELECT segment, count(*) FROM cdp.members GROUP BY 1 ORDER BY 1;
SELECT events FROM cdp.ingest('{"type": "identify", "userId": "u1", "messageId": "more", "timestamp": "2026-01-04", "traits": {"city": "london", "spent": -1}}');
SELECT segment, count(*) FROM cdp.members GROUP BY 1 ORDER BY 1;

-- cleansing and judging, one value at a time
SELECT cdp.create_trait('yes', type => 'boolean'), cdp.create_trait('title', cleanse => '{trim,title}'), cdp.create_trait('upper', cleanse => '{upper}', null_if => '{-,0}'), cdp.create_trait('object', type => 'object'), cdp.create_trait('list', type => 'array');
SELECT t, v, left((cdp.declared_traits(jsonb_build_object(t, v::jsonb), '2026-01-01')::jsonb -> t)::text, 45) AS taken, cdp.trait_objection(t, v::jsonb) AS objection FROM (VALUES ('yes', 'true'), ('yes', '"true"'), ('yes', 'null'), ('title', '"  ada LOVELACE\n"'), ('title', '["  a"]'), ('title', '""'),
	('upper', '"abc"'), ('upper', '"-"'), ('upper', '0'), ('upper', '0.0'), ('upper', '" -"'), ('object', '{}'), ('object', '[]'), ('list', '[1]'), ('list', '{}'), ('list', '"[]"'), ('spent', '1e39'), ('spent', '1e40'), ('spent', '-1e40'), ('spent', '1e-40'), ('spent', '1e-41'), ('spent', '[1]'), ('spent', 'true'),
	('spent', '1e309'), ('score', '-0.001'), ('score', '100.001'), ('score', '100'), ('score', '"5"'), ('price', '1e999'), ('tags', '[" X", "x", "Y "]'), ('tags', '[1, 2]'), ('tags', '[1, "2"]'), ('tags', '[[]]'), ('tags', '{}'), ('city', '{"a": 1}'), ('city', '5.50'), ('undeclared', '" x"')) c (t, v);
-- too long to be kept beside others
SELECT cdp.trait_objection('city', to_jsonb(repeat('x', 1000))) IS NULL AS taken, cdp.trait_objection('city', to_jsonb(repeat('x', 2000))) AS refused, cdp.trait_objection('referrer', to_jsonb(repeat('x', 2000))) IS NULL AS no_matter,
	cdp.declared_traits(jsonb_build_object('tags', jsonb_build_array('a', repeat('x', 2000), 'b')), '2026-01-01')::jsonb -> 'tags' AS of_a_list;

-- text and binary form: what the rules keep, checked as all input is
SELECT t FROM cdp.declared_traits('{"spent": 1.50, "tags": ["b", "a"], "city": "rome", "plan": "pro"}', '2026-01-01', 3) t;
SELECT cdp.is_same(p.traits, p.traits::text::cdp.traits) AS is_read_back FROM cdp.profile p WHERE profile_id = 1;
SELECT '{"n": {"at": "2026-01-01", "rule": "most_frequent", "value": [["b", 2, "2026-01-01", 0], ["a", 1, "2026-01-01", 0], ["b", 1, "2026-01-02", 5], [1.50, 3, "2026-01-01", 0], [1.5, 1, "2026-01-01", 0]]}}'::cdp.traits AS in_one_form;
SELECT v, split_part(error_of(format('SELECT %L::cdp.traits', format('{"secret": {"at": "2026-01-01", "rule": %s}}', v))), '.', 1) AS error FROM unnest(ARRAY['"best", "value": 1', '"", "value": 1', 'null, "value": 1', '1, "value": 1', '"sum", "value": "secret"', '"sum", "value": null', '"sum", "value": 1e81', '"sum", "value": 1e-41', '"sum", "value": [1]',
	'"most_frequent", "value": "secret"', '"most_frequent", "value": []', '"most_frequent", "value": [["a", 0, "2026-01-01", 0]]', '"most_frequent", "value": [["a", 1.5, "2026-01-01", 0]]', '"most_frequent", "value": [["a", 9223372036854775808, "2026-01-01", 0]]', '"most_frequent", "value": [["a", 1, "never", 0]]',
	'"most_frequent", "value": [["a", 1, "2026-01-01", 32768]]', '"most_frequent", "value": [["a", 1, "2026-01-01"]]', '"most_frequent", "value": [["a", 1, "2026-01-01", 0, 0]]', '"most_frequent", "value": {"a": 1}', '"most_frequent", "value": [{"a": 1}]', '"most_frequent", "value": [null]', '"most_frequent", "value": [["a", "1", "2026-01-01", 0]]',
	'"union", "value": ["a"]', '"union", "value": [["a"]]', '"union", "value": [["a", 1]]', '"union", "value": [["a", "2026-01-01", 0]]', '"union", "value": null']) v;
SELECT error_of(format('SELECT %L::cdp.traits', '{"n": {"at": "2026-01-01", "rule": ' || v || '}}')) FROM unnest(ARRAY['"union", "value": []', '"most_frequent", "value": [["a", 9223372036854775807, "2026-01-01", -32767]]', '"sum", "value": 1e79', '"locked", "value": null', '"latest", "value": 1']) v;
SELECT error_of($$SELECT '{"marketing": {"at": "2026-01-01", "rule": "earliest", "value": true}}'::cdp.consent_state$$);
-- counts do not run over
SELECT cdp.merge(t, t)::text::jsonb #>> '{n,value,0,1}' AS count FROM (SELECT '{"n": {"at": "2026-01-01", "rule": "most_frequent", "value": [["a", 9223372036854775807, "2026-01-01", 0]]}}'::cdp.traits) v (t);

-- the algebra: random entries of all rules, also of two rules under one name
CREATE TABLE random AS SELECT n AS id, (SELECT cdp.merge_traits(format('{"k%s": {"at": "2026-01-0%s", "rank": %s, "rule": "%s", "value": %s}}', r % 3, 1 + r / 3 % 3, r / 9 % 3, rule,
	CASE rule WHEN 'most_frequent' THEN format('[["%s", %s, "2026-01-0%s", %s]]', r / 27 % 3, 1 + r / 81 % 3, 1 + r / 3 % 3, r / 9 % 3) WHEN 'union' THEN format('[["%s", "2026-01-0%s"]]', r / 27 % 3, 1 + r / 3 % 3) WHEN 'sum' THEN (r / 27 % 3)::text
	ELSE (ARRAY['null', '"a"', '"b"', '1', '1.0', '{"x":[1]}', '[]', 'true', '2'])[1 + r / 27 % 9] END)::cdp.traits) FROM generate_series(1, 2) i, LATERAL (SELECT ('x' || substr(md5(n || '.' || i), 1, 7))::bit(28)::integer AS r) x,
	LATERAL (SELECT (ARRAY['latest', 'locked', 'earliest', 'preferred', 'first_non_empty', 'highest', 'lowest', 'most_frequent', 'sum', 'union'])[1 + CASE WHEN n % 3 = 0 THEN r / 1000 % 10 ELSE n % 10 END] AS rule) y) AS t
FROM generate_series(1, 60) n;
SELECT count(*) AS pairs, count(*) FILTER (WHERE NOT cdp.is_same(cdp.merge(a.t, b.t), cdp.merge(b.t, a.t))) AS not_commutative, count(*) FILTER (WHERE NOT cdp.is_same(cdp.merge(a.t, b.t)::text::cdp.traits, cdp.merge(a.t, b.t))) AS not_read_back,
	count(*) FILTER (WHERE (a.t::text || b.t::text) !~ 'sum|most_frequent' AND NOT cdp.is_same(cdp.merge(a.t, cdp.merge(a.t, b.t)), cdp.merge(a.t, b.t))) AS not_absorbing FROM random a, random b;
SELECT count(*) AS triples, count(*) FILTER (WHERE NOT cdp.is_same(cdp.merge(cdp.merge(a.t, b.t), c.t), cdp.merge(a.t, cdp.merge(b.t, c.t)))) AS not_associative FROM random a, random b, random c WHERE a.id <= 40 AND b.id <= 40 AND c.id <= 40;
SELECT count(DISTINCT m::text) AS results FROM generate_series(1, 30) shuffle, LATERAL (SELECT cdp.merge_traits(t ORDER BY md5(id::text || shuffle::text)) AS m FROM random) s;

-- what another rule would do
SELECT what, count, detail FROM cdp.simulate('[{"trait": {"name": "city", "rule": "earliest"}}, {"drop_trait": "spent"}]');
SELECT error_of($$SELECT cdp.simulate('{"trait": {"name": "city", "best": true}}')$$), error_of($$SELECT cdp.simulate('{"trait": {"rule": "sum"}}')$$) ~ '^22023' AS needs_name;

-- another rule applies to the past, of whom a message says the trait, and of nobody else
SELECT events FROM cdp.ingest('{"type": "identify", "userId": "other", "messageId": "other", "timestamp": "2026-01-04", "traits": {"name": "Bob"}}');
SELECT events FROM cdp.ingest('{"type": "identify", "userId": "stranger", "messageId": "stranger", "timestamp": "2026-01-04", "traits": {"name": "Eve", "spent": 1}}');
SELECT events FROM cdp.ingest('{"type": "group", "userId": "other", "groupId": "acme", "messageId": "g1", "timestamp": "2026-01-04", "traits": {"spent": 5, "city": "oslo"}}');
CREATE TABLE stored AS SELECT f.*, f.xmin::text AS written FROM cdp.fragment f;
SELECT cdp.create_trait('city', 'earliest', cleanse => '{upper}');
SELECT cdp.profile('user_id:u2') #> '{traits,city}' AS person, cdp.profile('group_id:acme') #> '{traits,city}' AS account, (SELECT count(*) FROM cdp.members WHERE segment = 'parisians') AS parisians;
SELECT i.namespace, count(*) AS fragments FROM cdp.fragment f JOIN stored s USING (anchor_id, identifier_id) JOIN cdp.identity i USING (identifier_id) WHERE f.xmin::text <> s.written GROUP BY 1 ORDER BY 1;
SELECT i.value FROM cdp.fragment f JOIN stored s USING (anchor_id, identifier_id) JOIN cdp.identity i USING (identifier_id) WHERE f.xmin::text = s.written;
-- the same rule again changes nothing; what is taken back is as it was
TRUNCATE stored;
INSERT INTO stored SELECT f.*, f.xmin::text FROM cdp.fragment f;
SELECT cdp.create_trait('city', 'earliest', cleanse => '{upper}');
SELECT count(*) FILTER (WHERE f.xmin::text <> s.written) AS written FROM cdp.fragment f JOIN stored s USING (anchor_id, identifier_id);
BEGIN;
SELECT cdp.create_trait('city', 'latest'), cdp.drop_trait('spent');
SELECT cdp.profile('user_id:u2') #> '{traits,city}' AS city, cdp.profile('user_id:u2') #> '{traits,spent}' AS spent;
ROLLBACK;
SELECT cdp.profile('user_id:u2') #> '{traits,city}' AS city, cdp.profile('user_id:u2') #> '{traits,spent}' AS spent, cdp.declared_traits('{"city": "x", "spent": 1}', '2026-01-01') AS rules;
SELECT part, differences FROM cdp.verify() WHERE differences <> 0;

-- a steward's word
SELECT cdp.lock_trait('user_id:u2', 'city', '"Bath"', 'she called') AS ruling, cdp.lock_trait('user_id:u2', 'city', '"Bath"', 'again') AS same;
SELECT events FROM cdp.ingest('{"type": "identify", "userId": "u2", "messageId": "after", "timestamp": "2025-01-01", "traits": {"city": "older"}}');
SELECT cdp.profile('user_id:u2') #> '{traits,city}' AS city;
SELECT value, source ~ '^ruling 1 by ' AS is_ruling, message_id, verdict FROM cdp.explain_trait(cdp.profile_id('user_id:u2'), 'city');
SELECT call, error_of(call) FROM unnest(ARRAY[$$SELECT cdp.lock_trait('user_id:u2', 'city', '"York"', 'no')$$, $$SELECT cdp.lock_trait('user_id:u2', 'city', '"York"', ' ')$$, $$SELECT cdp.lock_trait('user_id:u2', 'city', NULL, 'x')$$, $$SELECT cdp.lock_trait(NULL, 'city', '1', 'x')$$, $$SELECT cdp.lock_trait('user_id:null', 'city', '1', 'x')$$,
	$$SELECT cdp.lock_trait('shoe_size:1', 'city', '1', 'x')$$, $$SELECT cdp.retract('user_id:u2'::cdp.identifier, 'x')$$, $$SELECT cdp.block_value('u2', 'user_id')$$, $$SELECT cdp.drop_namespace('user_id')$$, $$SELECT cdp.lock_trait('user_id:u2', 'deep', (repeat('[', 101) || repeat(']', 101))::jsonb, 'x')$$]) call;
-- of somebody who is not known yet; the lock comes along when they turn out to be one; of two the later counts
SELECT cdp.lock_trait('email: New@Example.com', 'city', '"Hull"', 'by phone'), cdp.lock_trait('email:new@example.com', 'plan', 'null', 'none'), cdp.lock_trait('group_id:acme', 'spent', '0', 'unpaid');
SELECT identifier, trait, value, reason FROM cdp.locked_traits ORDER BY ruling_id;
SELECT cdp.profile('email:new@example.com') - 'profile_id' AS profile;
SELECT events FROM cdp.ingest('{"type": "identify", "userId": "u2", "messageId": "joins", "timestamp": "2026-01-05", "traits": {"email": "new@example.com"}}');
SELECT cdp.profile('user_id:u2') #> '{traits,city}' AS city, cdp.profile('user_id:u2') #> '{traits,plan}' AS plan, cdp.profile('group_id:acme') #> '{traits,spent}' AS spent;
SELECT part, differences FROM cdp.verify() WHERE differences <> 0;
-- messages that are taken back leave who is locked; so does another rule
SELECT cdp.retract('joins', 'test') AS ruling;
SELECT cdp.profile('email:new@example.com') - 'profile_id' AS profile, cdp.profile('user_id:u2') #> '{traits,city}' AS city;
SELECT cdp.drop_trait('city');
SELECT cdp.profile('user_id:u2') #> '{traits,city}' AS city, cdp.profile('user_id:u3') #> '{traits,city}' AS of_another;
SELECT cdp.undo(ruling_id) FROM cdp.locked_traits WHERE identifier <> 'user_id:u2' ORDER BY ruling_id;
SELECT cdp.profile('email:new@example.com') AS nobody, cdp.profile('group_id:acme') #> '{traits,spent}' AS spent;
SELECT cdp.undo(1);
SELECT cdp.profile('user_id:u2') #> '{traits,city}' AS city, (SELECT count(*) FROM cdp.locked_traits) AS locks;
SELECT part, differences FROM cdp.verify() WHERE differences <> 0;

-- very much of everything
SET cdp.max_event_bytes = '16MB';
SELECT cdp.create_trait('big', 'highest'), cdp.create_trait('many', 'most_frequent'), cdp.create_trait('items', 'union');
SELECT i.events, i.rejected FROM (VALUES (1, jsonb_build_object('big', repeat('x', 1000000), 'many', repeat('x', 1000000))), (2, (SELECT jsonb_object_agg('name' || n, n) FROM generate_series(1, 10000) n)), (3, jsonb_build_object('spent', 1e309, 'score', 1e309, 'price', 1e309))) v (n, t),
	LATERAL (SELECT * FROM cdp.ingest(jsonb_build_object('type', 'identify', 'userId', 'much', 'messageId', 'much' || n, 'traits', t)) OFFSET 0) i;
SELECT length(t ->> 'big') AS big, t ? 'many' AS many, t ? 'spent' AS spent, t ? 'score' AS score, length(t ->> 'price') AS price_digits, (SELECT count(*) FROM jsonb_object_keys(t) k WHERE k LIKE 'name%') AS names FROM (SELECT cdp.profile('user_id:much') -> 'traits') p (t);
SELECT trait, message_count FROM cdp.refused_values WHERE trait IN ('big', 'many', 'spent', 'score') AND source = 'default' ORDER BY 1;
-- more different values than are kept: the same ones, in any order and grouping; of a union the latest
CREATE TABLE said AS SELECT n, cdp.declared_traits(jsonb_build_object('many', 'v' || n % 1500, 'items', jsonb_build_array('i' || n % 1500)), '2026-01-01'::timestamptz + n * interval '1 second') AS t FROM generate_series(1, 2000) n;
SELECT count(DISTINCT m::text) AS results, min(jsonb_array_length(m::text::jsonb #> '{many,value}')) AS many, min(jsonb_array_length(m::text::jsonb #> '{items,value}')) AS items,
	bool_and(m::jsonb -> 'items' ? 'i500' AND NOT m::jsonb -> 'items' ? 'i501') AS are_latest, min(m::jsonb ->> 'many') AS most_frequent
FROM generate_series(1, 3) shuffle, LATERAL (SELECT cdp.merge_traits(g.t) AS m FROM (SELECT cdp.merge_traits(t ORDER BY md5(n::text || shuffle)) AS t FROM said GROUP BY n % (7 * shuffle)) g) x;
-- ten thousand rules
SET cdp.max_event_bytes TO DEFAULT;
INSERT INTO cdp.trait (name, rule) SELECT 'name' || n, 'sum' FROM generate_series(1, 10000) n;
SELECT cdp.declared_traits('{"name1": 1, "name10000": 2, "name10001": 3, "name5000": "x"}', '2026-01-01') AS t;
DELETE FROM cdp.trait WHERE name LIKE 'name%';
SELECT part, differences FROM cdp.verify() WHERE differences <> 0;

-- who may
CREATE ROLE regress_profile_trait_rules;
GRANT USAGE ON SCHEMA cdp TO regress_profile_trait_rules;
SET ROLE regress_profile_trait_rules;
SELECT call, split_part(error_of(call), ' ', 1) AS error FROM unnest(ARRAY[$$SELECT cdp.create_trait('a')$$, $$SELECT cdp.drop_trait('big')$$, $$SELECT cdp.lock_trait('user_id:u2', 'a', '1', 'x')$$, $$SELECT * FROM cdp.locked_traits$$]) call;
RESET ROLE;

-- by cdp.init() again, all stays
SELECT cdp.init();
SELECT count(*) AS traits FROM cdp.trait;

-- a change says what is other; from said to computed and back nothing stays
SELECT cdp.apply_change('{"trait": {"name": "points", "rule": "sum", "type": "number"}}'), cdp.apply_change('{"trait": {"name": "points", "maximum": 9}}');
SELECT rule, type, maximum, computed FROM cdp.trait WHERE name = 'points';
SELECT cdp.apply_change('{"trait": {"name": "points", "computed": "count(Seen)"}}'), cdp.apply_change('{"trait": {"name": "points"}}');
SELECT rule, type, maximum, computed FROM cdp.trait WHERE name = 'points';
SELECT cdp.apply_change('{"trait": {"name": "points", "rule": "highest"}}');
SELECT rule, type, maximum, computed FROM cdp.trait WHERE name = 'points';
SELECT what, count FROM cdp.simulate('{"lock": ["user_id:nobody yet", "points", 7]}') WHERE count > 0;
SELECT error_of($$SELECT cdp.apply_change('{"lock": ["user_id:nobody yet", "points"], "reason": "x"}')$$) LIKE '22023%' AS is_refused;
SELECT cdp.apply_change('{"lock": ["user_id:nobody yet", "points", 7], "reason": "a test"}');
SELECT traits FROM cdp.profiles WHERE profile_id = cdp.profile_id('user_id:nobody yet');
SELECT part, differences FROM cdp.verify() WHERE differences <> 0;

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_profile_trait_rules;
DROP ROLE regress_profile_trait_rules;
