-- People and accounts are views with real columns and types; a value that does not fit is null; who may read the view needs nothing else; and the names of the Common Data Model are those it has.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_profile_view;
CREATE DATABASE regress_profile_view TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_profile_view SET lc_messages = 'C';
ALTER DATABASE regress_profile_view SET jit = off;
ALTER DATABASE regress_profile_view SET client_min_messages = warning;
\c regress_profile_view
\pset null ~
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

-- the plan of a query; PostgreSQL until 16 says after a subplan what it returns
CREATE FUNCTION plan_of(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		RETURN NEXT regexp_replace(line, ' \(returns .*\)$', '');
	END LOOP;
END
$$;
-- one trait as a value of a type, or null
CREATE FUNCTION trait_of(value jsonb, type text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE format('SELECT cdp.trait(cdp.traits(jsonb_build_object(''t'', $1), ''2026-01-01Z''), ''{t}'', NULL::%s)::text', type) INTO result USING value;
	RETURN result;
END
$$;
SELECT left(v::text, 28) AS value, left(trait_of(v, 'text'), 26) AS text, left(trait_of(v, 'numeric'), 21) AS numeric, trait_of(v, 'bigint') AS bigint, trait_of(v, 'integer') AS integer, trait_of(v, 'float8') AS float8, trait_of(v, 'boolean') AS bool, trait_of(v, 'date') AS date, trait_of(v, 'timestamptz') AS timestamptz, trait_of(v, 'text[]') AS list
FROM unnest(ARRAY['null', '""', '"a"', '7', '7.0', '7.5', '-0.5', '1e20', '2147483648', '9223372036854775808', '1e400', '"12.50"', '" 12 "', '"+1"', '"1,000"', '"NaN"', '"Infinity"', '"1e3"', '0', '1', 'true', '"yes"', '"FALSE"', '"maybe"',
	'"2026-01-31"', '"2026-02-30"', '"2026-01-31T23:30:00-02:00"', '"1815-12-10"', '"31/01/2026"', '"0000-01-01"', '"2026-01-31 9"', '[]', '["a", 1, true, null]', '[["a"]]', '{"a": 1}']::jsonb[]) v;
SELECT trait_of(v, 'jsonb') AS jsonb FROM unnest(ARRAY['null', '"a"', '1.50', '[1, {"a": null}]', '{"a": 1}']::jsonb[]) v;
-- a path leads into objects only
SELECT path, cdp.trait(cdp.traits('{"a": {"b": {"c": 1}, "d": [{"b": 2}], "": 3}, "a.b": 4}', '2026-01-01Z'), path::text[], NULL::numeric) AS value
FROM unnest(ARRAY['{a,b,c}', '{a,b}', '{a,b,c,d}', '{a,d,b}', '{a.b}', '{a,""}', '{}', '{NULL}', '{a,NULL}', '{x}']) path;
SELECT cdp.trait(NULL::cdp.traits, '{a}', NULL::text) AS of_nothing, cdp.trait(cdp.traits('{"a": 1}', '2026-01-01Z'), NULL, NULL::text) AS no_path;
SELECT error_of(format('SELECT cdp.trait(cdp.traits(''{"a": 1}'', ''2026-01-01Z''), ''{a}'', NULL::%s)', t)) FROM unnest(ARRAY['uuid', 'smallint', 'json', 'cdp.traits']) t;

-- before set-up
SELECT error_of($$SELECT cdp.create_profile_view('v', '{}')$$), error_of($$SELECT cdp.create_cdm_views()$$);
SELECT cdp.init();
SET cdp.clock = '2026-01-31T12:00:00Z';
SELECT sum(i.events) FROM unnest(ARRAY[
	'{"type":"identify","messageId":"1","userId":"ada","anonymousId":"a1","timestamp":"2026-01-01T00:00:00Z","traits":{"email":"ada@example.org","firstName":"Ada","name":"Ada Lovelace","title":"Countess","gender":"female","birthday":"1815-12-10T01:00:00+02:00","lifetime_value":"12.50","logins":7,"tags":["a","b"],"address":{"street":"1 St James''s Square","city":"London","state":"Westminster","postalCode":"SW1","country":"UK"}},"context":{"consent":{"categoryPreferences":{"marketing":true,"profiling":false}}}}',
	'{"type":"identify","messageId":"2","userId":"bob","timestamp":"2026-01-02T00:00:00Z","traits":{"email":5,"lifetime_value":"much","birthday":"soon","logins":7.5,"tags":"a","address":"London"}}',
	'{"type":"identify","messageId":"3","userId":"ada","timestamp":"2026-01-03T00:00:00Z","traits":{"email":"ada@example.com"}}',
	'{"type":"group","messageId":"4","userId":"ada","groupId":"acme","timestamp":"2026-01-04T00:00:00Z","traits":{"name":"Acme","employees":"70","industry":"Rockets","website":"https://acme.example","address":{"city":"Bern"}}}',
	'{"type":"group","messageId":"5","userId":"ada","groupId":"hooli","timestamp":"2026-01-05T00:00:00Z","traits":{"name":"Hooli","employees":"many"}}',
	'{"type":"track","messageId":"6","userId":"ada","event":"Seen","timestamp":"2026-01-03T12:00:00Z","context":{"groupId":"acme"}}']) p, LATERAL (SELECT * FROM cdp.ingest(p) OFFSET 0) i;
SELECT cdp.create_segment('often here', 'trait logins = 7');

-- a view: its columns in the order given, with comments
SELECT cdp.create_profile_view('customers', '{"email": "text", "Value": {"trait": "lifetime_value", "type": "numeric"}, "birthday": "date", "logins": "bigint", "tags": "text[]", "address": "jsonb", "city": {"trait": ["address", "city"]},
	"mail": {"identifier": "email"}, "often here": {"segment": "often here"}, "marketing": {"purpose": "marketing"}, "leave alone": {"without_purpose": "marketing"}, "account": {"profile": "account_id"}, "since": {"profile": "first_seen_at"}, "until": {"profile": "last_seen_at"}, "events": {"profile": "event_count"}}');
\x on
SELECT * FROM customers ORDER BY profile_id;
\x off
SELECT a.attname AS column, format_type(a.atttypid, a.atttypmod) AS type, col_description(a.attrelid, a.attnum) AS comment FROM pg_attribute a WHERE a.attrelid = 'customers'::regclass ORDER BY a.attnum;
SELECT obj_description('customers'::regclass, 'pg_class'), pg_get_userbyid(relowner) = current_user AS is_mine FROM pg_class WHERE oid = 'customers'::regclass;
SELECT account = (cdp.profile(profile_id) #>> '{accounts,0,profile_id}')::bigint AS as_in_the_document FROM customers WHERE account IS NOT NULL;
-- no function of PL/pgSQL runs for a row; columns that are not asked for cost nothing
SELECT plan_of('SELECT email, "Value", birthday, marketing FROM customers');
-- it follows what happens, and what a purpose means
SELECT cdp.create_purpose('marketing', '{marketing,profiling}');
SELECT profile_id, marketing, "leave alone" FROM customers ORDER BY 1;
SELECT cdp.create_purpose('marketing');

-- the reader needs the view alone, and keeps it when it is made anew, also with other columns
CREATE ROLE regress_profile_view;
CREATE ROLE "regress profile view";
GRANT SELECT ON customers TO regress_profile_view;
GRANT SELECT ON customers TO "regress profile view" WITH GRANT OPTION;
SELECT cdp.create_profile_view('customers', '{"mail": {"identifier": "email"}, "email": "text", "city": {"trait": ["address", "city"]}, "often": {"segment": "often here"}, "ok": {"purpose": "marketing"}, "account": {"profile": "account_id"}}');
SET ROLE regress_profile_view;
SELECT * FROM customers ORDER BY profile_id;
SELECT split_part(error_of(call), ' ', 1) AS error FROM unnest(ARRAY['SELECT * FROM cdp.profile', 'SELECT * FROM cdp.identity', $$SELECT cdp.create_profile_view('mine', '{"email": "text"}')$$, $$SELECT cdp.create_profile_view('customers', '{"email": "text"}')$$, $$SELECT cdp.drop_profile_view('customers')$$]) call;
RESET ROLE;
SELECT has_table_privilege('regress profile view', 'customers', 'SELECT WITH GRANT OPTION') AS still;
-- with what hangs on it: more columns can come, none can go
CREATE VIEW londoners AS SELECT email FROM customers WHERE city = 'London';
SELECT cdp.create_profile_view('customers', '{"mail": {"identifier": "email"}, "email": "text", "city": {"trait": ["address", "city"]}, "often": {"segment": "often here"}, "ok": {"purpose": "marketing"}, "account": {"profile": "account_id"}, "birthday": "date"}');
SELECT error_of($$SELECT cdp.create_profile_view('customers', '{"email": "text"}')$$) AS error;
SELECT error_of($$SELECT cdp.drop_profile_view('customers')$$) AS error;
DROP VIEW londoners;
DROP OWNED BY regress_profile_view, "regress profile view";
DROP ROLE regress_profile_view, "regress profile view";

-- only who consents; of accounts; without the key column of itself
CREATE SCHEMA bi;
SELECT cdp.create_profile_view('mailing', '{"email": "text"}', purpose => 'marketing', schema => 'bi'), cdp.create_profile_view('companies', '{"id": {"profile": "profile_id", "type": "uuid"}, "name": "text", "employees": "integer", "key": {"identifier": "group_id"}}', entity => 'account', schema => 'bi');
SELECT * FROM bi.mailing;
SELECT events FROM cdp.ingest('{"type":"identify","messageId":"7","userId":"ada","traits":{},"timestamp":"2026-01-06T00:00:00Z","context":{"consent":{"categoryPreferences":{"marketing":false}}}}');
SELECT * FROM bi.mailing;
-- also not what a function of the reader's sees
CREATE FUNCTION peep(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$BEGIN RAISE WARNING 'seen: %', $1; RETURN true; END$$;
SELECT * FROM bi.mailing WHERE peep(email);
SELECT * FROM bi.companies ORDER BY id;
SELECT obj_description('bi.mailing'::regclass, 'pg_class'), obj_description('bi.companies'::regclass, 'pg_class');

-- names are names, whatever stands in them
SELECT cdp.create_profile_view('a"b; DROP TABLE cdp.profile; --', $${"x'; --\"": {"trait": ["a'b", "c\"d,{}\\"]}, "y": {"identifier": "email"}}$$);
SELECT * FROM "a""b; DROP TABLE cdp.profile; --" ORDER BY profile_id;
SELECT cdp.drop_profile_view('a"b; DROP TABLE cdp.profile; --');
-- what is refused
CREATE TABLE taken (a integer);
CREATE VIEW taken_too AS SELECT 1 AS a;
SELECT columns, error_of(format('SELECT cdp.create_profile_view(%L, %L)', name, columns)) AS error FROM (VALUES ('v', '{"email": "txt"}'), ('v', '{"email": "text; DROP TABLE cdp.profile"}'), ('v', '{"email": "varchar(3)"}'), ('v', '{"email": "cdp.traits"}'), ('v', '{"email": "uuid"}'), ('v', '{"email": ""}'),
	('v', '{"email": 1}'), ('v', '{"email": null}'), ('v', '{"email": []}'), ('v', '{"email": {}}'), ('v', '{"email": {"trait": "a", "segment": "b"}}'), ('v', '{"email": {"trait": null}}'), ('v', '{"email": {"trait": []}}'), ('v', '{"email": {"trait": [null]}}'), ('v', '{"email": {"trait": "a", "typo": "b"}}'), ('v', '{"email": {"segment": "often here", "type": "text"}}'), ('v', '{"email": {"segment": ["often here", "x"]}}'),
	('v', '{"a": {"identifier": "shoe_size"}}'), ('v', '{"a": {"identifier": "group_id"}}'), ('v', '{"a": {"segment": "none"}}'), ('v', '{"a": {"purpose": "none"}}'), ('v', '{"a": {"without_purpose": "none"}}'), ('v', '{"a": {"profile": "traits"}}'), ('v', '{"a": {"profile": "first_seen_at", "type": "uuid"}}'), ('v', '{"a": {"profile": "profile_id", "type": "text"}}'),
	('v', '{"": "text"}'), ('v', '{"a": "text", "a": "text"}'), ('v', '{"profile_id": "text"}'), ('v', '[]'), ('v', '"a"'), ('v', 'null'), ('v', '{'), ('v', NULL), ('', '{}'), (repeat('n', 64), '{}'), (NULL, '{}'), ('taken', '{}'), ('taken_too', '{}')) v (name, columns);
SELECT error_of(call) AS error FROM unnest(ARRAY[$$SELECT cdp.create_profile_view('v', '{}', entity => 'robot')$$, $$SELECT cdp.create_profile_view('v', '{}', entity => NULL)$$, $$SELECT cdp.create_profile_view('v', '{}', schema => 'nowhere')$$, $$SELECT cdp.create_profile_view('v', '{}', schema => NULL)$$, $$SELECT cdp.create_profile_view('v', '{}', purpose => 'none')$$,
	$$SELECT cdp.create_profile_view('v', '{"a": {"profile": "account_id"}}', entity => 'account')$$, $$SELECT cdp.drop_profile_view('v')$$, $$SELECT cdp.drop_profile_view('taken')$$, $$SELECT cdp.drop_profile_view('taken_too')$$, $$SELECT cdp.drop_profile_view('customers', 'nowhere')$$]) call;
SELECT cdp.drop_profile_view('customers'), cdp.drop_profile_view('mailing', 'bi');
SELECT to_regclass('customers') IS NULL AND to_regclass('bi.mailing') IS NULL AS are_gone;

-- the Common Data Model: attributes of Contact and Account as published (microsoft/CDM, schemaDocuments/core/applicationCommon, version 1.3)
SELECT cdp.create_cdm_views(), cdp.create_cdm_views('bi');
SELECT a.attrelid::regclass AS view, a.attname AS unpublished FROM pg_attribute a WHERE a.attrelid IN ('cdm."Contact"'::regclass, 'cdm."Account"'::regclass) AND a.attname NOT IN ('createdOn', 'modifiedOn', 'accountId', 'description', 'EMailAddress1', 'webSiteUrl', 'address1Line1', 'address1City', 'address1StateOrProvince', 'address1PostalCode', 'address1Country')
	AND NOT (a.attrelid = 'cdm."Contact"'::regclass AND a.attname IN ('contactId', 'firstName', 'lastName', 'fullName', 'jobTitle', 'birthDate', 'genderCode_display', 'mobilePhone', 'doNotBulkEMail')) AND NOT (a.attrelid = 'cdm."Account"'::regclass AND a.attname IN ('name', 'accountNumber', 'industryCode_display', 'numberOfEmployees', 'telephone1'));
\x on
SELECT * FROM cdm."Contact" ORDER BY "contactId";
SELECT * FROM cdm."Account" ORDER BY "accountId";
\x off
SELECT c."fullName", a.name FROM bi."Contact" c JOIN bi."Account" a USING ("accountId");
-- without what they take where it is there
SELECT cdp.drop_purpose('marketing');
SELECT cdp.create_cdm_views();
SELECT count(*) FILTER (WHERE attname = 'doNotBulkEMail') AS refusals, count(*) FILTER (WHERE attname = 'address1City') AS cities FROM pg_attribute WHERE attrelid = 'cdm."Contact"'::regclass;
-- what is computed, what lookups have and what is locked is shown as by the document
CREATE TABLE cities (city_code text, city text, people numeric);
INSERT INTO cities VALUES ('b', 'Bern', 140000);
SELECT cdp.create_trait('spent', computed => 'sum(Order Completed.total)'), cdp.create_trait('favourite', computed => 'most_frequent(Order Completed.kind) within 30 days'), cdp.create_lookup('cities', 'city_code', '{"people": "people"}');
SELECT sum(i.events) FROM unnest(ARRAY[
	'{"type":"track","messageId":"8","userId":"ada","event":"Order Completed","timestamp":"2026-01-10T00:00:00Z","properties":{"total":19.5,"kind":"tea"}}',
	'{"type":"identify","messageId":"9","userId":"bob","timestamp":"2026-01-10T00:00:00Z","traits":{"city_code":"b","spent":5}}']) p, LATERAL (SELECT * FROM cdp.ingest(p) OFFSET 0) i;
SELECT cdp.create_profile_view('buyers', '{"spent": "numeric", "favourite": "text", "kind": {"trait": ["favourite", "x"]}, "people": "bigint"}');
SELECT * FROM buyers ORDER BY profile_id;
SELECT cdp.lock_trait('user_id:ada', 'spent', 'null', 'test') IS NOT NULL AND cdp.lock_trait('user_id:ada', 'favourite', '{"x": "coffee"}', 'test') IS NOT NULL AND cdp.lock_trait('user_id:bob', 'people', '7', 'test') IS NOT NULL AS locked;
SELECT * FROM buyers ORDER BY profile_id;
SELECT b.profile_id FROM buyers b CROSS JOIN LATERAL (SELECT cdp.profile(b.profile_id) -> 'traits' AS t) d
WHERE (b.spent, b.kind, b.people) IS DISTINCT FROM ((t ->> 'spent')::numeric, t #>> '{favourite,x}', (t ->> 'people')::bigint);
SELECT cdp.trait(NULL::cdp.traits, NULL::cdp.traits, '{a}', NULL::text) AS of_nothing, cdp.trait(NULL, cdp.traits('{"a": 1}', '2026-01-01Z'), '{a}', NULL::integer) AS computed;

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_profile_view;
