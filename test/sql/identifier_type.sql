-- cdp.identifier reads and writes namespace:value in text and binary, refuses all else without showing it, sorts bytewise and can be hashed and indexed.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_identifier_type;
CREATE DATABASE regress_identifier_type TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_identifier_type SET lc_messages = 'C';
ALTER DATABASE regress_identifier_type SET jit = off;
ALTER DATABASE regress_identifier_type SET client_min_messages = warning;
\c regress_identifier_type
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

-- round trips: text, parts, binary
CREATE TABLE valid (id integer GENERATED ALWAYS AS IDENTITY, literal text);
INSERT INTO valid (literal) VALUES ('email:ada@example.com'), ('user_id:1'), ('user_id: '), ('user_id::'), ('user_id:a:b:c'), ('a:b'), ('_:_'), ('a1_:x'), ('user_id:"quoted"'), ('user_id:''x'''),
	('user_id:\x'), ('user_id:a' || chr(10) || 'b'), ('user_id:' || chr(9)), (U&'user_id:\00E9\4E2D\+01F600'), ('user_id:' || repeat('v', 512)), (repeat('n', 63) || ':x'), ('user_id:' || repeat(U&'\00E9', 256)),
	('user_id:x '), ('user_id: x'), ('user_id:NULL'), ('user_id:%s%n'), ('user_id:(1,2)'), ('user_id:{}');
SELECT count(*) AS valid, count(*) FILTER (WHERE literal::cdp.identifier::text <> literal) AS other_text,
	count(*) FILTER (WHERE cdp.namespace(i) || ':' || cdp.value(i) <> literal) AS other_parts,
	count(*) FILTER (WHERE cdp.identifier(cdp.namespace(i), cdp.value(i)) <> i) AS not_remade
FROM valid, LATERAL (SELECT literal::cdp.identifier AS i) t;
SELECT '  email:x'::cdp.identifier, E'\t\n user_id: x '::cdp.identifier;
SELECT encode(cdp.identifier_send('email:a@b'), 'escape'), cdp.identifier_send(U&'user_id:\00E9');

-- what is no identifier, and that errors never show it
CREATE TABLE malformed (literal text);
INSERT INTO malformed VALUES (''), (' '), (':'), ('::'), ('a'), ('secret'), ('secret@example.com'), (':secret'), (' :secret'), ('email:'), ('email :secret'), ('Email:secret'), ('EMAIL:secret'), ('e-mail:secret'),
	('e.mail:secret'), ('1email:secret'), ('9:secret'), ('email/:secret'), ('"email":secret'), ('{email}:secret'), ('(email,secret)'), ('email;secret'), ('email=secret'), ('email secret'),
	(U&'\00E9mail:secret'), (U&'email\FF1Asecret'), ('email' || chr(10) || ':secret'), ('secret secret:secret'), (repeat('n', 64) || ':secret'), (repeat('n', 1000) || ':secret'), ('user_id:secret' || repeat('v', 507)),
	('user_id:' || repeat('secret', 10000)), ('$:secret'), ('*:secret'), ('\:secret'), ('''email'':secret'), ('-:secret'), ('null');
SELECT count(*) >= 30 AS is_enough, count(*) FILTER (WHERE error = 'none') AS taken, count(*) FILTER (WHERE error ~ 'secret') AS shown
FROM malformed, LATERAL (SELECT error_of(format('SELECT %L::cdp.identifier', literal)) AS error) e;
SELECT error, count(*) FROM malformed, LATERAL (SELECT error_of(format('SELECT %L::cdp.identifier', literal)) AS error) e GROUP BY error ORDER BY error COLLATE "C";
SELECT call, error_of(call) FROM unnest(ARRAY[$$SELECT cdp.identifier('', 'secret')$$, $$SELECT cdp.identifier('Email', 'secret')$$, $$SELECT cdp.identifier('email', '')$$,
	$$SELECT cdp.identifier('email', 'secret' || repeat('x', 507))$$, $$SELECT cdp.identifier('email:', 'secret')$$]) call;
SELECT cdp.identifier(NULL, 'a') IS NULL AS is_strict, cdp.identifier('a', NULL) IS NULL AS is_strict_too;

-- soft errors where the server has them (16)
DO $$
DECLARE
	n integer := 0;
BEGIN
	IF current_setting('server_version_num')::integer >= 160000 THEN
		EXECUTE $q$SELECT count(*) FROM malformed WHERE pg_input_is_valid(literal, 'cdp.identifier')$q$ INTO n;
	END IF;
	IF n > 0 THEN
		RAISE '% malformed literals are taken for valid', n;
	END IF;
END
$$;

-- COPY in binary and back
CREATE TABLE original (id integer, i cdp.identifier);
CREATE TABLE copied (id integer, i cdp.identifier);
INSERT INTO original SELECT id, literal::cdp.identifier FROM valid UNION ALL SELECT 0, NULL;
CREATE TEMPORARY TABLE place AS SELECT current_setting('data_directory') || '/regress_identifier_type.bin' AS path;
DO $$ BEGIN EXECUTE format('COPY original TO %L (FORMAT binary)', (SELECT path FROM place)); EXECUTE format('COPY copied FROM %L (FORMAT binary)', (SELECT path FROM place)); END $$;
SELECT count(*) AS copied, count(*) FILTER (WHERE o.i IS DISTINCT FROM c.i) AS differ FROM original o FULL JOIN copied c USING (id);

-- mutated bytes: read or refused, never a crash and never something that is no identifier
CREATE FUNCTION receive(bytes bytea) RETURNS cdp.identifier LANGUAGE plpgsql AS $$
DECLARE
	path text := (SELECT p.path FROM place p);
	file oid;
	result cdp.identifier;
BEGIN
	-- a file of COPY BINARY with one row of one column
	file := lo_from_bytea(0, '\x5047434f50590aff0d0a00'::bytea || '\x0000000000000000'::bytea || '\x0001'::bytea || int4send(length(bytes)) || bytes || '\xffff'::bytea);
	PERFORM lo_export(file, path);
	PERFORM lo_unlink(file);
	EXECUTE format('COPY received FROM %L (FORMAT binary)', path);
	DELETE FROM received RETURNING i INTO result;
	RETURN result;
END
$$;
CREATE TEMPORARY TABLE received (i cdp.identifier);
SELECT receive(cdp.identifier_send('email:ada@example.com'));
SELECT bytes, split_part(error_of(format('SELECT receive(%L)', bytes)), ' ', 1) AS error FROM unnest(ARRAY['', '\x00', '\x0061', '\x0161', '\x01', '\xff6162', '\x0561', '\x016100', '\x0141', '\x014162', '\x0131ff', '\x016180', '\x01c3a9', '\x02c3a961',
	'\x0161c3', '\x04656d61c3a9', '\x3f', '\x016162']::bytea[]) bytes;
SELECT count(*) > 500 AS is_enough, bool_or(error = 'none') AS some_are_read, bool_or(error <> 'none') AS some_are_refused,
	string_agg(DISTINCT split_part(error, ' ', 1), ', ' ORDER BY split_part(error, ' ', 1)) AS errors
FROM generate_series(1, 600) n, LATERAL (SELECT ('x' || substr(md5(n::text), 1, 6))::bit(24)::integer AS random) r,
	LATERAL (SELECT set_byte(cdp.identifier_send('email:ada@example.com'), random % 21, random / 21 % 256) AS mutant) m, LATERAL (SELECT error_of(format('SELECT receive(%L)', mutant)) AS error) e;
DO $$ BEGIN EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', 'cat >/dev/null; rm -f ' || quote_literal((SELECT path FROM place))); END $$;

-- comparison: by namespace, then value, bytewise
SELECT array_agg(i ORDER BY i) = array_agg(i ORDER BY cdp.namespace(i) COLLATE "C", cdp.value(i) COLLATE "C") AS is_bytewise FROM original WHERE i IS NOT NULL;
SELECT a, b, a = b AS eq, a <> b AS ne, a < b AS lt, a <= b AS le, a > b AS gt, a >= b AS ge, sign(cdp.identifier_cmp(a, b)) AS cmp
FROM (VALUES ('email:a'::cdp.identifier, 'email:a'::cdp.identifier), ('email:a', 'email:b'), ('email:b', 'email:a'), ('email:a', 'email:A'), ('a:bc', 'ab:c'), ('email:a', 'email:aa'), ('email:z', 'phone:a'), ('b:a', 'a:b')) t (a, b);
SELECT bool_and((a < b)::integer + (a = b)::integer + (a > b)::integer = 1 AND (a <= b) = NOT (a > b) AND (a >= b) = NOT (a < b) AND (a <> b) = NOT (a = b)
	AND sign(cdp.identifier_cmp(a, b)) = -sign(cdp.identifier_cmp(b, a)) AND ((a = b) = (a::text = b::text))) AS is_total_order
FROM (SELECT x.i AS a, y.i AS b FROM original x, original y WHERE x.i IS NOT NULL AND y.i IS NOT NULL) t;

-- hashing: equal ones hash alike, the two functions agree, borders count
SELECT cdp.identifier_hash('a:bc') <> cdp.identifier_hash('ab:c') AS has_border,
	bool_and((cdp.identifier_hash_extended(i, 0) & 4294967295) = (cdp.identifier_hash(i)::bigint & 4294967295)) AS agree,
	bool_and(cdp.identifier_hash_extended(i, 1) <> cdp.identifier_hash_extended(i, 0)) AS has_seed, bool_and(cdp.identifier_hash(i) = cdp.identifier_hash(i::text::cdp.identifier)) AS is_stable
FROM original WHERE i IS NOT NULL;
-- the same on every machine and for ever
SELECT cdp.identifier_hash('email:ada@example.com'), cdp.identifier_hash_extended('email:ada@example.com', 0), cdp.identifier_hash_extended('email:ada@example.com', 42);

-- joins and indexes
CREATE TABLE many AS SELECT cdp.identifier(CASE n % 2 WHEN 0 THEN 'email' ELSE 'user_id' END, 'value' || n % 500) AS i, n FROM generate_series(1, 2000) n;
CREATE INDEX many_btree ON many (i);
CREATE INDEX many_hash ON many USING hash (i);
ANALYZE many;
CREATE FUNCTION plan_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	line text;
	plan text := '';
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		plan := plan || line || E'\n';
	END LOOP;
	RETURN plan;
END
$$;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SELECT plan_of($$SELECT * FROM many WHERE i < 'email:value1' ORDER BY i$$) ~ 'Index Scan using many_btree' AS uses_btree;
DROP INDEX many_btree;
SELECT plan_of($$SELECT * FROM many WHERE i = 'email:value2'$$) ~ 'Index Scan using many_hash' AS uses_hash;
SELECT count(*) FROM many WHERE i = 'email:value2';
SELECT count(*) FROM many WHERE i = 'user_id:value2';
RESET enable_seqscan;
RESET enable_bitmapscan;
SET enable_nestloop = off;
SET enable_mergejoin = off;
SELECT plan_of('SELECT * FROM many a JOIN many b USING (i)') ~ 'Hash Join' AS can_hash_join;
SELECT count(*) FROM many a JOIN many b USING (i);
SET enable_hashjoin = off;
SET enable_mergejoin = on;
SELECT plan_of('SELECT * FROM many a JOIN many b USING (i)') ~ 'Merge Join' AS can_merge_join;
SELECT count(*) FROM many a JOIN many b USING (i);
RESET enable_hashjoin;
RESET enable_nestloop;
SELECT count(DISTINCT i) AS distinct_sorted, (SELECT count(*) FROM (SELECT i FROM many GROUP BY i) g) AS grouped FROM many;
CREATE TABLE parted (i cdp.identifier) PARTITION BY HASH (i);
CREATE TABLE parted_0 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO parted SELECT i FROM many;
SELECT count(*) = 2000 AND count(DISTINCT tableoid) = 2 AS is_partitioned, count(*) FILTER (WHERE i = 'email:value2') FROM parted;
CREATE TABLE keyed (i cdp.identifier PRIMARY KEY);
INSERT INTO keyed VALUES ('email:a'), ('email:A') ON CONFLICT DO NOTHING;
INSERT INTO keyed VALUES ('email:a') ON CONFLICT DO NOTHING;
SELECT * FROM keyed ORDER BY i;

-- unadorned literals choose the identifier, numbers the id; any search_path will do
SELECT events FROM cdp.ingest('{"type":"identify","userId":"identifier-type","messageId":"1","traits":{"email":"Ada@Identifier-Type.example"}}');
SELECT cdp.profile('email:ada@identifier-type.example') ->> 'profile_id' = cdp.profile_id('user_id:identifier-type')::text AS literal_is_identifier,
	cdp.profile(cdp.profile_id('email: ADA@identifier-type.example')) -> 'identifiers' AS of_id;
SELECT cdp.profile_id('email:ada@identifier-type.example') = cdp.profile_id(cdp.profile_id('email:ada@identifier-type.example')) AS is_same;
SET search_path = '';
SELECT 'email:a'::cdp.identifier = 'email:a' AS found_without_path;

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_identifier_type;
