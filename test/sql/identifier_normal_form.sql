-- An identifier has one form, however it is written: phone numbers by the country of their source, domains in ASCII. What has none is noted.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_identifier_normal_form;
CREATE DATABASE regress_identifier_normal_form TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_identifier_normal_form SET lc_messages = 'C';
ALTER DATABASE regress_identifier_normal_form SET jit = off;
ALTER DATABASE regress_identifier_normal_form SET client_min_messages = warning;
\c regress_identifier_normal_form
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

-- phone numbers, by region; a session that has seen none needs no library of others
CREATE FUNCTION phone(written text, region text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT m.value FROM cdp.message_identifiers('identify', jsonb_build_object('traits', jsonb_build_object('phone', written)), region) m
$$;
SELECT written, phone(written) AS anywhere, phone(written, 'DE') AS de, phone(written, 'US') AS us, phone(written, 'GB') AS gb
FROM unnest(ARRAY['+49 171 1234567', '+49 (0)171 1234567', '+49 (30) 12-34-56', '0049 171 1234567', '(0049) 171/1234567', '011 49 171 1234567', '0171 1234567', '0171-123 45 67', '171 1234567',
	'+1 650 253 0000', '(650) 253-0000', '650.253.0000', '6502530000', '1-650-253-0000', '+1-650-253-0000', '001 650 253 0000', '+44 20 7946 0958', '+44 (0)20 7946 0958', '020 7946 0958', '00442079460958',
	'+39 06 698 12345', '+54 11 15-2345-6789', '+800 1234 5678', 'tel:+49-171-1234567']) written;
-- an extension is dropped; letters as on a dial; digits of other scripts; words before
SELECT written, phone(written) FROM unnest(ARRAY['+1 650 253 0000 ext. 5', '+1 650 253 0000 x5', '+49 30 123456;ext=5', '+1 800 FLOWERS', U&'\FF0B49\FF13\FF10123456', U&'+\0664\0669 \0663\0660 \0661\0662\0663\0664\0665\0666', 'mobile: +49 171 1234567']) written;
-- possible is not valid, and much is neither; but in Germany numbers have many lengths, so that a date may be one
SELECT written FROM unnest(ARRAY['+49 123', '+1 650 253 000', '+1 650 253 00000', '+1 100 253 0000', '+999 123456789', '112', '911', '+', '+49', '00', '0049', '++', 'call me', '+49 30 123456 / 030 999999', '+49+30',
	'123456789012345678901', '1e5', '-1', '2026-01-31', '192.0.2.1', '+49 30 123456' || repeat(' 7', 30), '+49' || repeat('0', 1000), repeat('+', 512), U&'\0661\0662\0663']) written
WHERE phone(written) IS NOT NULL OR phone(written, 'DE') IS NOT NULL AND written NOT IN ('2026-01-31', '192.0.2.1');
SELECT phone('0171 1234567', 'QQ') AS no_such_region, phone('+49 171 1234567', 'QQ') AS international, error_of($$SELECT phone('0171 1234567', 'Germany')$$), error_of($$SELECT phone('0171 1234567', '')$$);
-- a number of JSON too; without a plus the country's digits may be an area's
SELECT m.namespace, m.value FROM cdp.message_identifiers('identify', '{"traits":{"phone":491711234567},"context":{"traits":{"phone":"0171 1234567"}}}', 'DE') m;
SELECT cdp.normalize('phone:0171 1234567') IS NULL AS has_no_region, cdp.normalize(cdp.identifier('phone', phone('0171 1234567', 'DE'))) AS found_again;
SELECT count(*) FROM (SELECT FROM cdp.message_identifiers(NULL, '{"userId":"u"}') UNION ALL SELECT FROM cdp.message_identifiers('track', NULL)) x;

-- the region of a source
SELECT call, error_of(call) FROM unnest(ARRAY[$$SELECT cdp.create_source('crm', phone_region => 'Germany')$$, $$SELECT cdp.create_source('crm', phone_region => 'de')$$, $$SELECT cdp.create_source('crm', phone_region => 'QQ')$$,
	$$SELECT cdp.create_source('crm', phone_region => '')$$, $$SELECT cdp.create_source('crm', phone_region => '001')$$, $$SELECT cdp.create_source('crm', phone_region => 'ZZ')$$]) call;
SELECT cdp.create_source('crm', phone_region => 'DE'), cdp.create_source('shop-us', phone_region => 'US');
SELECT count(*) FILTER (WHERE cdp.is_phone_region(a || b)) > 230 AS most_countries, bool_and(cdp.is_phone_region(c)) AS these
FROM (SELECT chr(a) AS a, chr(b) AS b FROM generate_series(65, 90) a, generate_series(65, 90) b) x, unnest(ARRAY['DE', 'US', 'GB', 'JP', 'XK']) c;
SELECT events, errors FROM cdp.ingest('{"type":"identify","messageId":"1","userId":"ada","traits":{"phone":"0171 1234567"}}', 'crm');
SELECT events, errors FROM cdp.ingest('{"type":"identify","messageId":"2","anonymousId":"web","traits":{"phone":"+49 (0)171 123 45 67"}}', 'web');
SELECT events, errors FROM cdp.ingest('{"batch":[{"type":"identify","messageId":"3","userId":"bob","traits":{"phone":"(650) 253-0000"}},{"type":"identify","messageId":"4","userId":"bob","traits":{"phone":"650 253 0000"}}]}', 'shop-us');
INSERT INTO cdp.inbox (source, payload) VALUES ('crm', '{"type":"identify","messageId":"5","userId":"cy","traits":{"phone":"030 123456"}}'), ('crm', '{"type":"identify","messageId":"6","userId":"cy","traits":{"phone":"030/12 34 56"}}'),
	('shop-us', '{"type":"identify","messageId":"7","userId":"cy-us","traits":{"phone":"030 123456"}}'), ('other', '{"type":"identify","messageId":"8","userId":"cy-other","traits":{"phone":"030 123456"}}');
SELECT events, rejected FROM cdp.process();
SELECT i.value, i.event_count, cdp.profile(i.profile_id) -> 'identifiers' AS person FROM cdp.identifiers i WHERE namespace = 'phone' ORDER BY value;
SELECT cdp.profile_id('phone:0049 171 1234567') = cdp.profile_id('user_id:ada') AS found, cdp.profile_id('phone:0171 1234567') IS NULL AS of_no_country;
SELECT part, differences FROM cdp.verify() WHERE differences > 0;

-- malformed: in the event, in no identifier, counted once a message and namespace; not what means nobody, was seen before or is rejected
SELECT source, namespace, message_count FROM cdp.malformed_values ORDER BY source, namespace;
SELECT cdp.create_namespace('card', 'contact', 25, valid_pattern => '^[0-9]+$', paths => '{userId,traits.card}');
SELECT events, duplicates, rejected FROM cdp.ingest('{"batch":[
	{"type":"identify","messageId":"10","userId":"1","traits":{"phone":"call me","email":"a@☃.example","card":"x1"},"context":{"traits":{"phone":"me too"},"externalIds":[{"type":"phone","id":"and me"},{"type":"phone","id":"+49 171 7654321"}]}},
	{"type":"identify","messageId":"10","userId":"1","traits":{"phone":"call me"}},
	{"type":"identify","messageId":"11","userId":"1","traits":{"phone":"unknown","email":" NULL "},"context":{"traits":{"phone":"","email":" "}}},
	{"type":"identify","messageId":"12","userId":"1","traits":{"phone":["call me"],"email":{"at":"home"}}},
	{"type":"identify","messageId":"13","traits":{"phone":"call me"}},
	{"type":"identify","messageId":"14","userId":"2","event":7,"traits":"call me"},
	{"type":"identify","messageId":"15","userId":"3","traits":{"phone":"0000000"}}]}', 'forms');
SELECT m.message_id, string_agg(m.namespace, ', ' ORDER BY m.namespace COLLATE "C") AS namespaces FROM cdp.malformed_value m JOIN cdp.source s USING (source_id) WHERE s.name = 'forms' GROUP BY m.message_id ORDER BY m.message_id COLLATE "C";
SELECT message_id, anchor_namespace, message #>> '{traits,phone}' AS kept FROM cdp.events WHERE source = 'forms' AND message_id IN ('10', '13') ORDER BY message_id COLLATE "C";
SELECT value FROM cdp.identifiers WHERE namespace = 'phone' AND value LIKE '%7654321';
SELECT cdp.block_value('call me', 'phone');
SELECT events FROM cdp.ingest('{"type":"identify","messageId":"16","userId":"1","traits":{"phone":"Call me"}}', 'forms');
SELECT source, namespace, message_count, first_received_at = last_received_at AS is_at_once FROM cdp.malformed_values WHERE source = 'forms' ORDER BY namespace;
SELECT value, detail FROM cdp.status WHERE name = 'malformed';
-- no more than fit, and none forgotten that fits
SELECT events FROM cdp.ingest(jsonb_build_object('type', 'identify', 'messageId', '17', 'userId', '1', 'context', jsonb_build_object('externalIds',
	(SELECT jsonb_agg(jsonb_build_object('type', t, 'id', v || n)) FROM generate_series(1, 60) n, (VALUES ('user_id', 'u'), ('phone', 'call ')) w (t, v)))), 'forms');
SELECT namespace FROM cdp.malformed_value WHERE message_id = '17';
BEGIN;
SELECT events FROM cdp.ingest('{"type":"identify","messageId":"18","userId":"1","traits":{"phone":"nonsense"}}', 'forms');
ROLLBACK;
SELECT count(*) FROM cdp.malformed_value WHERE message_id = '18';

-- e-mail addresses
SELECT written, cdp.value(cdp.normalize(cdp.identifier('email', written))) AS stored FROM unnest(ARRAY['Ada@Example.COM', ' ada@BÜCHER.example ', 'ada@bücher.example', U&'ada@bu\0308cher.example', 'ADA@XN--BCHER-KVA.example', 'ada@straße.example', 'ada@strasse.example',
	'ada@日本語。jp', 'ADA@МОСКВА.РФ', 'ada@ｅｘａｍｐｌｅ.com', 'Ö.Ä@bücher.example', 'a@b@bücher.example', 'Ada.L+news@Example.com', 'ada', 'ada@', '@bücher.example', 'ada@bü cher.example', 'ada@ü_b.example', 'ada@☃.example', 'ada@-ü.example', 'ada@אa.example', U&'ada@\FFFD.example']) written;
SELECT cdp.normalize(cdp.identifier('email', 'ada@' || repeat('ü', n) || '.example')) IS NOT NULL AS fits, count(*) FROM generate_series(1, 250) n GROUP BY 1 ORDER BY 1;
SELECT cdp.normalize(cdp.identifier('email', repeat('a', n) || '@ü.example')) IS NOT NULL AS fits, count(*) FROM generate_series(490, 500) n GROUP BY 1 ORDER BY 1;
-- Gmail's, where a namespace asks for it
SELECT cdp.create_namespace('gmail', 'contact', 26, normalizer => 'email_gmail');
SELECT written, cdp.value(cdp.normalize(cdp.identifier('gmail', written))) AS stored FROM unnest(ARRAY['A.D.A@gmail.com', 'ada+news@Gmail.com', 'a.da+x+y@googlemail.com', 'ada@gmail.com', 'a.d.a@gmail.com.example', 'a.d.a+x@example.com', 'a.d.a@xgmail.com', '+x@gmail.com', '...@gmail.com', '@gmail.com', 'gmail.com', 'ada@ｇｍａｉｌ.com', 'a.d.a+x@bücher.example']) written;
SELECT conname FROM pg_constraint WHERE conrelid = 'cdp.namespace'::regclass AND contype = 'c' AND conname ~ 'normalizer';

-- whatever stands there, the form is one of few kinds, and its own form
CREATE FUNCTION anything(seed integer) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(CASE WHEN h % 3 = 0 THEN chr(48 + h / 3 % 10) WHEN h % 3 = 1 THEN substr('+()-./ ,;#x@ext=0049tel:', 1 + h / 3 % 24, 1) ELSE chr(CASE WHEN h / 3 % 5 = 0 THEN 160 + h / 15 % 55000 ELSE 1 + h / 15 % 126 END) END, '')
	FROM generate_series(1, 1 + seed % 40) n, LATERAL (SELECT hashint4(seed * 1000 + n) & 2147483647 AS h) x
$$;
SELECT count(*) > 19000 AS tried, count(p) > 0 AS some_are_numbers, count(*) FILTER (WHERE p !~ '^\+[1-9][0-9]{5,20}$') AS ill_formed,
	count(*) FILTER (WHERE cdp.normalize(cdp.identifier('phone', p)) IS DISTINCT FROM cdp.identifier('phone', p)) AS unstable
FROM (SELECT phone(CASE n % 4 WHEN 0 THEN w ELSE CASE n % 4 WHEN 1 THEN '+' WHEN 2 THEN '00' ELSE '0' END || (ARRAY['49', '1', '44', '52', '54', '39', '55', '86'])[1 + n % 8] || regexp_replace(w, '[^0-9 x]', '', 'g') END, (ARRAY['DE', NULL, 'US', 'MX'])[1 + n / 4 % 4]) AS p
	FROM generate_series(1, 20000) n, anything(n) w) x WHERE p IS NULL OR p <> '';
SELECT count(*) AS tried, count(*) FILTER (WHERE split_part(v, '@', 2) !~ '^[ -~]*$') AS beyond_ascii, count(*) FILTER (WHERE cdp.value(cdp.normalize(cdp.identifier('email', v))) IS DISTINCT FROM v) AS unstable
FROM (SELECT cdp.value(cdp.normalize(cdp.identifier('email', 'a@ü' || translate(w, '@', '')))) AS v FROM generate_series(1, 20000) n, anything(n) w) x;

-- tables of before are brought up to date
ALTER TABLE cdp.source DROP COLUMN phone_region CASCADE;
DROP TABLE cdp.malformed_value CASCADE;
ALTER TABLE cdp.namespace DROP CONSTRAINT namespace_normalizer_check;
ALTER TABLE cdp.namespace ADD CONSTRAINT namespace_normalizer_check CHECK (normalizer <> 'email_gmail') NOT VALID;
SELECT cdp.init(), cdp.init();
SELECT name, phone_region FROM cdp.source WHERE name = 'crm';
SELECT cdp.create_source('crm', phone_region => 'AT');
SELECT events FROM cdp.ingest('{"type":"identify","messageId":"30","userId":"u30","traits":{"phone":"0171 1234567"}}', 'old');
SELECT source, namespace, message_count FROM cdp.malformed_values ORDER BY source, namespace;
SELECT error_of($$UPDATE cdp.namespace SET normalizer = 'email_gmail' WHERE name = 'email'$$), split_part(error_of($$UPDATE cdp.source SET phone_region = 'Germany' WHERE name = 'crm'$$), ' ', 1);

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_identifier_normal_form;
