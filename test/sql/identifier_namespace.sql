-- Each namespace has its rule of writing, its places in a message and its blocked values; a rule that changes holds from the next message on.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_identifier_namespace;
CREATE DATABASE regress_identifier_namespace TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_identifier_namespace SET lc_messages = 'C';
ALTER DATABASE regress_identifier_namespace SET jit = off;
ALTER DATABASE regress_identifier_namespace SET client_min_messages = warning;
\c regress_identifier_namespace
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
SELECT name, entity, kind, priority, max_per_profile, bridge, normalizer, valid_pattern, paths FROM cdp.namespace ORDER BY entity COLLATE "C" DESC, priority;

-- normal forms, brackets added to show white space
SELECT '[' || i || ']' AS written, '[' || cdp.normalize(i)::text || ']' AS stored FROM unnest(ARRAY['email:Ada@Example.COM', 'email: ada@example.com ', E'email:\t\r\nADA@X.ORG\f\x0b', 'email: ', U&'email:!00C4DA@x.org' UESCAPE '!',
	'email:ada+tag@x.org', 'user_id: Ada ', 'user_id:ADA', 'user_id: ', 'anonymous_id:A-B', 'device_id: AB-CD ', 'advertising_id:AB-cd', 'group_id: G1',
	'phone:+49 (30) 123-456', 'phone:0049 30 123456', 'phone:030/123.456']::cdp.identifier[]) i;
SELECT error_of($$SELECT cdp.normalize('nonsense:secret')$$), error_of($$SELECT cdp.is_blocked('nonsense:secret')$$);

-- normalising twice changes nothing
SELECT count(*) FILTER (WHERE cdp.normalize(cdp.normalize(i)) IS DISTINCT FROM cdp.normalize(i)) AS unstable
FROM (SELECT cdp.identifier(ns, v) AS i FROM unnest(ARRAY['email', 'phone', 'user_id', 'device_id']) ns, unnest(ARRAY['000', '0000', '00000', '00+49', '+0049', '0049123', ' + 4 9 1', '(0049)1', 'A ', ' .a. ', '0 0 4 9 1 2 3', '00-00-1234', '+49 30 123456']) v) t;

-- who means nobody, in all disguises
SELECT value, count(*) FILTER (WHERE NOT cdp.is_blocked(cdp.identifier(ns, disguise))) AS passed
FROM unnest(ARRAY['null', '0', '-1', '000', '----', '0-0', 'anonymous', 'guest', 'none', 'n/a', 'nil', 'nan', 'undefined', 'unknown', 'true', 'false', '[object Object]', 'not_authenticated', 'test@test.com',
	'00000000-0000-0000-0000-000000000000', '00000000000000000000000000000000', ' ', '""', '''''', '" "']) value, unnest(ARRAY['user_id', 'email', 'anonymous_id', 'device_id', 'advertising_id', 'group_id']) ns,
	LATERAL (VALUES (value), (upper(value)), (initcap(value)), (' ' || value || ' '), ('"' || value || '"'), ('''' || value || ''''), (E'\t"' || upper(value) || E'"\n'), ('" ' || value || ' "')) d (disguise)
GROUP BY value HAVING count(*) FILTER (WHERE NOT cdp.is_blocked(cdp.identifier(ns, disguise))) > 0 ORDER BY value;
SELECT i FROM unnest(ARRAY['user_id:nul', 'user_id:nulls', 'user_id:anonymous1', 'user_id:guest_7', 'user_id:1', 'user_id:-2', 'user_id:00000001', 'user_id:true story', 'user_id:test@test.org', 'user_id:None Such',
	'user_id:n', 'user_id:object', 'email:none@x.org', 'email:null@null.com', 'device_id:00000000-0000-0000-0000-000000000001']::cdp.identifier[]) i WHERE cdp.is_blocked(i);
-- too long for an identifier: in no message
SELECT * FROM cdp.message_identifiers('track', jsonb_build_object('userId', repeat('x', 513), 'anonymousId', repeat('x', 512))) m (ord, namespace, value, entity) WHERE length(m.value) <> 512;

-- where they are found, strongest first, each once
SELECT m.* FROM cdp.message_identifiers('identify', '{"userId":"u1","anonymousId":"a1","groupId":"g1","previousId":"p1","traits":{"email":"A@x.org","phone":"+1 650 253 0000"},
	"context":{"traits":{"email":"b@x.org","phone":"+49 30 123456"},"device":{"id":"D1","advertisingId":"AD1"},"groupId":"g0","externalIds":[{"id":"u2","type":"user_id"},{"id":"a@X.org","type":"email"},{"id":"x","type":"no_such"},{"id":null,"type":"email"},{"type":"email"},7,{"id":9,"type":"user_id"}]}}') m;
SELECT m.* FROM cdp.message_identifiers('track', '{"userId":7,"anonymousId":0,"previousId":"p1","traits":{"email":"a@x.org"},"context":{"traits":{"email":"b@x.org"}}}') m;
SELECT m.* FROM cdp.message_identifiers('alias', '{"userId":"u1","previousId":"p1","traits":{"email":"a@x.org"}}') m;
SELECT count(*) FROM cdp.message_identifiers('track', '{"userId":null,"anonymousId":{"a":1},"context":{"externalIds":{"id":"x"},"traits":[1]}}');
SELECT count(*) FROM cdp.message_identifiers('track', '[]');

-- errors of configuration
SELECT call, error_of(call) FROM unnest(ARRAY[$$SELECT cdp.create_namespace('Bad Name')$$, $$SELECT cdp.create_namespace('')$$, $$SELECT cdp.create_namespace(NULL)$$, $$SELECT cdp.create_namespace(repeat('x', 64))$$,
	$$SELECT cdp.create_namespace('1crm')$$, $$SELECT cdp.create_namespace('crm_id', max_per_profile => 0)$$, $$SELECT cdp.create_namespace('crm_id', priority => 20)$$, $$SELECT cdp.create_namespace('crm_id', valid_pattern => '(')$$,
	$$SELECT cdp.block_value('')$$, $$SELECT cdp.block_value(NULL)$$, $$SELECT cdp.block_value('x', 'no_such')$$, $$SELECT cdp.block_value('(', is_pattern => true)$$]) call;
SELECT call, split_part(error_of(call), ' ', 1) AS error FROM unnest(ARRAY[$$SELECT cdp.create_namespace('crm_id', 'robot')$$, $$SELECT cdp.create_namespace('crm_id', priority => 0)$$,
	$$SELECT cdp.create_namespace('crm_id', bridge => 'maybe')$$, $$SELECT cdp.create_namespace('crm_id', normalizer => 'upper')$$, $$SELECT cdp.create_namespace('crm_id', entity => 'robot')$$]) call;
SELECT count(*) FROM cdp.namespace WHERE name !~ '^(user_id|email|phone|device_id|advertising_id|anonymous_id|group_id)$';
-- a path must begin with a type of message, if with any, and name something
SELECT call, split_part(error_of(call), ' ', 1) AS error FROM unnest(ARRAY[$$SELECT cdp.create_namespace('crm_id', paths => '{idntify:traits.crm}')$$, $$SELECT cdp.create_namespace('crm_id', paths => '{identify:}')$$]) call
WHERE error_of(call) = 'none';
DELETE FROM cdp.namespace WHERE name = 'crm_id';

-- a namespace of one's own: by path, by externalIds, in the same session from the next message on
SELECT events, errors FROM cdp.ingest('{"type":"track","event":"e","messageId":"1","userId":"u1","properties":{"crm":{"id":" C1 "}}}');
SELECT cdp.create_namespace('crm_id', 'contact', 25, normalizer => 'lower', valid_pattern => '^c[0-9]+$', paths => '{track:properties.crm.id}');
SELECT events, errors FROM cdp.ingest('{"type":"track","event":"e","messageId":"2","userId":"u1","properties":{"crm":{"id":" C2 "}}}');
SELECT events, errors FROM cdp.ingest('{"type":"track","event":"e","messageId":"3","userId":"u1","properties":{"crm":{"id":"D3"}}}');
SELECT events, errors FROM cdp.ingest('{"type":"identify","messageId":"4","userId":"u1","properties":{"crm":{"id":"c4"}},"context":{"externalIds":[{"id":"C5","type":"crm_id","collection":"users"}]}}');
SELECT namespace, value, event_count FROM cdp.identifiers ORDER BY namespace, value;
SELECT cdp.profile('crm_id: C2 ') -> 'identifiers' AS identifiers;
-- replaced as a whole
SELECT cdp.create_namespace('crm_id', 'contact', 25);
SELECT normalizer, valid_pattern, paths, priority FROM cdp.namespace WHERE name = 'crm_id';
SELECT cdp.create_namespace('crm_id', 'contact');
SELECT priority FROM cdp.namespace WHERE name = 'crm_id';
SELECT cdp.create_namespace('shop_id', 'contact');
SELECT priority FROM cdp.namespace WHERE name = 'shop_id';

-- values of one's own are blocked from the next message on, exactly or by pattern, in one namespace or all
SELECT cdp.block_value('kiosk'), cdp.block_value('Shared', 'user_id'), cdp.block_value('^test[0-9]*$', 'anonymous_id', true), cdp.block_value('@example\.com$', is_pattern => true), cdp.block_value('kiosk');
SELECT namespace, value, is_pattern FROM cdp.blocked_value ORDER BY value COLLATE "C";
SELECT i, cdp.is_blocked(i) FROM unnest(ARRAY['user_id:kiosk', 'user_id: "KIOSK" ', 'email:kiosk', 'user_id:kiosk1', 'user_id:shared', 'anonymous_id:shared', 'anonymous_id:test7', 'user_id:test7', 'anonymous_id:test7b', 'email:a@EXAMPLE.com', 'email:a@example.org']::cdp.identifier[]) i;
SELECT events, errors FROM cdp.ingest('{"type":"track","event":"e","messageId":"5","userId":"kiosk","anonymousId":"test1"}');
SELECT anchor_namespace, profile_id, message ->> 'userId' AS kept FROM cdp.events WHERE message_id = '5';
SELECT count(*) FROM cdp.identifiers WHERE value IN ('kiosk', 'test1');

-- rolled back, whole or to a savepoint: the old rules hold again
BEGIN;
SELECT cdp.block_value('u-rolled-back');
SELECT cdp.is_blocked('user_id:u-rolled-back');
ROLLBACK;
SELECT cdp.is_blocked('user_id:u-rolled-back');
BEGIN;
SAVEPOINT s;
SELECT cdp.create_namespace('loyalty_id', paths => '{userId}');
SELECT m.namespace FROM cdp.message_identifiers('track', '{"userId":"u1"}') m;
ROLLBACK TO s;
SELECT m.namespace FROM cdp.message_identifiers('track', '{"userId":"u1"}') m;
COMMIT;
-- the tables may be edited by hand
UPDATE cdp.namespace SET normalizer = 'lower' WHERE name = 'user_id';
SELECT cdp.normalize('user_id: ADA ');
TRUNCATE cdp.blocked_value;
SELECT cdp.is_blocked('user_id:kiosk');
DELETE FROM cdp.namespace WHERE name = 'phone';
SELECT error_of($$SELECT cdp.normalize('phone:123')$$);
-- whatever is in them, messages are taken
SELECT error_of(call) IS NULL AS unreached FROM unnest(ARRAY[$$INSERT INTO cdp.blocked_value VALUES ('user_id', '(', true), (NULL, '[', true)$$, $$UPDATE cdp.namespace SET valid_pattern = '*' WHERE name = 'email'$$,
	$$UPDATE cdp.namespace SET paths = '{identify:,..,NULL,:,a}' WHERE name = 'device_id'$$]) call;
SELECT error_of($$SELECT cdp.ingest('{"type":"identify","messageId":"6","userId":"u6","traits":{"email":"six@x.org"}}')$$) = 'none' AS is_taken;

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_identifier_namespace;
