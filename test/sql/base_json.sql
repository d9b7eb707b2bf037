-- cdp.parse_json(text) gives what text::jsonb gives, byte for byte, and null
-- where text::jsonb raises; it never raises itself.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_base_json;
CREATE DATABASE regress_base_json TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_base_json SET lc_messages = 'C';
ALTER DATABASE regress_base_json SET jit = off;
ALTER DATABASE regress_base_json SET client_min_messages = warning;
\c regress_base_json
CREATE EXTENSION cdp;

CREATE TABLE document (id integer GENERATED ALWAYS AS IDENTITY, text text);

-- numbers of all shapes, alone, in an array and in an object
CREATE TABLE number (text text);
INSERT INTO number VALUES ('0'), ('-0'), ('1'), ('-1'), ('9'), ('10'), ('9999'), ('10000'), ('-10000'), ('99999999'),
	('100000000'), ('2147483647'), ('-2147483648'), ('4294967296'), ('9007199254740993'), ('99999999999999999'),
	('-9999999999999999'), ('-99999999999999999'), ('123456789012345678'), ('-123456789012345678'), ('1000000000000000000'),
	('9223372036854775807'), ('9223372036854775808'), ('-9223372036854775808'), ('1234567890123456789'),
	('1234567890123456789012345678901234567890'), ('0.0'), ('-0.0'), ('0.10'), ('0.1'), ('1.0'), ('1.10'), ('-1.50'),
	('100.00'), ('0.0000'), ('0.00001'), ('0.0001'), ('0.00010000'), ('12345.6789'), ('12345.67890'), ('99999999.9999999'),
	('-99999999.99999999'), ('0.123456789012345'), ('0.1234567890123456789'), ('3.14159265358979323846264338327950288'),
	('1e5'), ('1E5'), ('1e+5'), ('1e-5'), ('1.5e-7'), ('-1.5E+7'), ('0e0'), ('0e5'), ('-0e-5'), ('1.0e2'), ('1e0'), ('1e1'),
	('1e16'), ('1e17'), ('1e18'), ('1e19'), ('1e100'), ('1e-100'), ('1.2345e-20'), ('1e0005'), ('10e-1'), ('5e-1');
INSERT INTO document (text)
SELECT w FROM number, LATERAL (VALUES (text), ('[' || text || ']'), ('{"n":' || text || ',"m":[' || text || ',' || text || ']}')) v (w);

-- scalars, strings, escapes, white space
INSERT INTO document (text) VALUES ('null'), ('true'), ('false'), ('""'), ('"a"'), ('[]'), ('{}'), ('[[]]'), ('[{}]'), ('{"":{}}'),
	('{"a":[]}'), ('[[],{},"",null,true,false,0]'), (E' \t\r\n[ \t\r\n1 , 2\n]\r '), (E'{ "a" : 1 ,\n"b"\t:\r2 }'),
	('"\" \\ \/ \b \f \n \r \t"'), ('"\u0041\u00e9\u20ac\u4E2D"'), ('"\ud83d\ude00"'), ('"\uD834\uDD1Ex"'), ('"a\u0001b"'),
	('"\u007f\u0080\u07ff\u0800\uffff"'), (U&'"\00E9\20AC\+01F600"'), (U&'{"\00E9":"\00E9","\+01F600":1}'),
	('{"\u0061":1,"b":2}'), ('{"a":1,"\u0061":2}'), ('{"a":1,"a":2,"a":{"a":3,"a":4}}'), ('{"a":1,"b":2,"a":3}'),
	('{"bb":1,"a":2,"ccc":3,"":4,"ab":5,"aa":6}'), ('{"z":{"y":{"x":[1,[2,[3,{"w":null}]]]}}}'),
	('[1,"a",2,"bb",3,"ccc",[4],{"d":5}]'), ('{"a":1,"b":"x","c":2.5,"d":[true],"e":{"f":null}}'), ('"' || repeat('x', 5000) || '"'),
	('{"' || repeat('k', 3000) || '":"' || repeat('v', 3000) || '"}'), ('[' || repeat('null,', 999) || 'null]');

-- past the offset stride of 32 entries, with every type at every place
INSERT INTO document (text)
SELECT v FROM unnest(ARRAY[1, 2, 3, 5, 7, 15, 16, 17, 30, 31, 32, 33, 34, 63, 64, 65, 66, 95, 96, 97, 128, 129, 300]) n,
	LATERAL (SELECT string_agg(e, ',' ORDER BY i) AS list, string_agg(format('"k%s":%s', i * 7919 % 1009, e), ',' ORDER BY i) AS members,
			string_agg(format('"k%s":%s', i % 40, e), ',' ORDER BY i) AS repeated
		FROM generate_series(1, n) i, LATERAL (SELECT (ARRAY['1', '"s"', 'null', '[]', '{"a":1.5}', 'true', '"' || repeat('x', i) || '"', '-12.50'])[i % 8 + 1] AS e) t) l,
	LATERAL (VALUES ('[' || list || ']'), ('{' || members || '}'), ('{' || repeated || '}'), ('{"a":[' || list || '],"b":{' || members || '}}')) d (v);

-- nesting up to the limit
INSERT INTO document (text)
SELECT v FROM unnest(ARRAY[2, 3, 10, 50, 99]) n, LATERAL (VALUES (repeat('[', n) || repeat(']', n)), (repeat('{"a":', n) || '1' || repeat('}', n)),
	(repeat('[1,{"b":', n / 2) || '"x"' || repeat('}, 2]', n / 2))) d (v);

SELECT count(*) >= 200 AS is_enough FROM document;
-- record_image_eq compares the bytes
SELECT count(*) FILTER (WHERE p IS NULL) AS refused, count(*) FILTER (WHERE NOT record_image_eq(ROW (p), ROW (j))) AS other_bytes,
	count(*) FILTER (WHERE p <> j) AS not_equal, count(*) FILTER (WHERE p::text <> j::text) AS other_text,
	count(*) FILTER (WHERE pg_column_size(p) <> pg_column_size(j)) AS other_size,
	count(*) FILTER (WHERE jsonb_send(p) <> jsonb_send(j)) AS sent_otherwise
FROM (SELECT cdp.parse_json(text) AS p, text::jsonb AS j FROM document) d;

-- the result can be used by the server's own functions
SELECT count(*) FILTER (WHERE NOT record_image_eq(ROW (cdp.parse_json(p::text)), ROW (p))) AS not_stable,
	count(*) FILTER (WHERE NOT record_image_eq(ROW (jsonb_build_array(p) -> 0), ROW (p))) AS not_usable
FROM (SELECT cdp.parse_json(text) AS p FROM document) d;

-- what is refused
CREATE FUNCTION is_jsonb(document text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	PERFORM document::jsonb;
	RETURN true;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
	RETURN false;
END
$$;
CREATE TABLE malformed (text text);
INSERT INTO malformed VALUES (''), (' '), ('{'), ('}'), ('['), (']'), ('[1'), ('[1,'), ('[1,]'), ('[,1]'), ('[,]'), ('[1 2]'), ('[1]]'), ('[1][2]'), ('1 2'),
	('{"a"}'), ('{"a":}'), ('{"a":1,}'), ('{,}'), ('{,"a":1}'), ('{"a" 1}'), ('{"a":1 "b":2}'), ('{"a":1;"b":2}'), ('{a:1}'), ('{''a'':1}'), ('{1:2}'), ('{null:1}'),
	('{"a":1}}'), ('{"a":[}'), ('[{]}'), ('"'), ('"a'), ('a"'), ('"a""b"'), ('"\"'), ('"\x"'), ('"\u"'), ('"\u12"'), ('"\u12g4"'), ('"\U0041"'), (E'"a\nb"'), (E'"a\tb"'),
	(E'"\x01"'), ('''a'''), ('-'), ('+1'), ('01'), ('-01'), ('00'), ('1.'), ('.5'), ('-.5'), ('1.e5'), ('1e'), ('1e+'), ('1e5.5'), ('1.2.3'), ('0x10'), ('1_000'), ('1a'),
	('NaN'), ('Infinity'), ('-Infinity'), ('nul'), ('nulll'), ('Null'), ('TRUE'), ('tru'), ('truefalse'), ('[true false]'), ('undefined'), ('// a' || chr(10) || '1'), ('/* a */ 1'),
	(U&'\FEFF{}'), (U&'\00A01'), ('{"a":1}x'), ('1e999999'), ('-1e999999'), ('[1e200000]');
SELECT count(*) >= 40 AS is_enough, count(*) FILTER (WHERE cdp.parse_json(text) IS NOT NULL) AS taken, count(*) FILTER (WHERE is_jsonb(text)) AS taken_by_jsonb FROM malformed;

-- one character of a document changed, dropped or doubled: both say the same, and give the same
WITH mutant AS (
	SELECT CASE n % 3 WHEN 0 THEN overlay(text PLACING c FROM place) WHEN 1 THEN overlay(text PLACING '' FROM place FOR 1) ELSE overlay(text PLACING c FROM place FOR 0) END AS text
	FROM document, generate_series(1, 12) n,
		LATERAL (SELECT ('x' || substr(md5(id::text || '/' || n::text), 1, 7))::bit(28)::integer AS random) r,
		LATERAL (SELECT 1 + random % length(text) AS place, (ARRAY['"', '{', '}', '[', ']', ',', ':', '0', '1', '-', '.', 'e', ' ', 'a', E'\n', '\'])[1 + random / 1000 % 16] AS c) p
	WHERE length(text) < 500
), judged AS (
	SELECT * FROM mutant WHERE text !~ '[eE][+-]?\d{4}' AND text !~* '\\ud[89a-f]' -- what is judged otherwise on purpose, see below
)
SELECT count(*) > 3000 AS is_enough, count(*) FILTER (WHERE is_jsonb(text)) BETWEEN 500 AND count(*) - 500 AS has_both,
	count(*) FILTER (WHERE is_jsonb(text) <> (cdp.parse_json(text) IS NOT NULL)) AS differently_judged,
	count(*) FILTER (WHERE CASE WHEN is_jsonb(text) THEN NOT record_image_eq(ROW (cdp.parse_json(text)), ROW (text::jsonb)) END) AS differently_read
FROM judged;

-- where it is milder: NUL and lone surrogates, which jsonb refuses, are U+FFFD
SELECT text, is_jsonb(text), cdp.parse_json(text) = jsonb_build_array(wanted) -> 0 AS is_replaced
FROM (VALUES ('"\u0000"', U&'\FFFD'), ('"a\u0000b"', U&'a\FFFDb'), ('"\ud800"', U&'\FFFD'), ('"\udc00"', U&'\FFFD'), ('"\udc00\ud800"', U&'\FFFD\FFFD'), ('"\ud800x"', U&'\FFFDx'),
	('"\ud800\u0041"', U&'\FFFDA'), ('"\ud800\ud83d\ude00"', U&'\FFFD\+01F600'), ('"\ud83d\\ude00"', U&'\FFFD\\ude00')) t (text, wanted);
SELECT cdp.parse_json('{"\u0000":1,"\ud800":2}') = jsonb_build_object(U&'\FFFD', 2) AS is_name_replaced;

-- where it is stricter: nesting past 100, numbers longer than 1,000 digits
SELECT depth, cdp.parse_json(repeat('[', depth) || repeat(']', depth)) IS NOT NULL AS is_array_taken,
	cdp.parse_json(repeat('{"a":', depth) || '1' || repeat('}', depth)) IS NOT NULL AS is_object_taken
FROM unnest(ARRAY[99, 100, 101, 10000, 1000000]) depth;
SELECT cdp.parse_json(repeat('[', 1000000)) IS NULL AS is_open_refused, cdp.parse_json(repeat('9', 1000)) = repeat('9', 1000)::jsonb AS is_long_taken,
	cdp.parse_json(repeat('9', 2000)) IS NULL AS is_longer_refused, cdp.parse_json('1e1500') IS NULL AS is_larger_refused;

-- what it takes, its own output can be read again
SELECT text, cdp.parse_json(cdp.parse_json(text)::text) IS NOT DISTINCT FROM cdp.parse_json(text) AS is_stable
FROM (VALUES ('1e900'), ('1e1000'), ('-1e1000'), ('1e-1000'), ('99e999'), ('0.5e-999')) t (text);

-- nothing in, nothing out
SELECT cdp.parse_json(NULL) IS NULL AS is_strict;

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_base_json;
