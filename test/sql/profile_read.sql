-- What is known of a person is read as one document by any identifier, however written, or any id it ever had, and as a timeline.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_profile_read;
CREATE DATABASE regress_profile_read TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_profile_read SET lc_messages = 'C';
ALTER DATABASE regress_profile_read SET jit = off;
ALTER DATABASE regress_profile_read SET client_min_messages = warning;
\c regress_profile_read
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

SELECT sum(i.events) FROM unnest(ARRAY[
	'{"type":"page","messageId":"1","anonymousId":"a1","name":"Home","timestamp":"2026-01-01T10:00:00Z"}', '{"type":"track","messageId":"3","anonymousId":"a1","event":"Viewed","timestamp":"2026-01-01T10:02:00Z"}',
	'{"type":"track","messageId":"2","anonymousId":"a1","event":"Viewed","timestamp":"2026-01-01T10:02:00Z"}', '{"type":"identify","messageId":"4","userId":"ada","anonymousId":"a1","traits":{"email":" Ada@Example.com","plan":"pro"},"context":{"consent":{"categoryPreferences":{"marketing":true,"analytics":false}}},"timestamp":"2026-01-02T00:00:00Z"}',
	'{"type":"track","messageId":"5","userId":"ada","event":"Bought","timestamp":"2026-01-03T00:00:00Z"}', '{"type":"track","messageId":"6","anonymousId":"a2","event":"Elsewhere","timestamp":"2026-01-01T00:00:00Z"}']) p, LATERAL (SELECT * FROM cdp.ingest(p) OFFSET 0) i;

-- the document
SELECT cdp.profile('user_id:ada') - 'profile_id' AS document;
SELECT (SELECT count(DISTINCT cdp.profile(i)) FROM unnest(ARRAY['user_id:ada', 'email:ada@example.com', 'email: ADA@EXAMPLE.COM ', 'anonymous_id:a1']::cdp.identifier[]) i) AS documents,
	cdp.profile(cdp.profile_id('user_id:ada')) = cdp.profile('user_id:ada') AS same_by_id, (cdp.profile('user_id:ada') ->> 'profile_id')::bigint = cdp.profile_id('user_id:ada') AS same_id;
-- nobody
SELECT i, cdp.profile(i) IS NULL AS is_null, cdp.profile_id(i) IS NULL AS id_is_null FROM unnest(ARRAY['user_id:bob', 'user_id:Ada', 'email:ada', 'email: ', 'phone:x']::cdp.identifier[]) i;
SELECT id, cdp.profile(id) IS NULL AS is_null, cdp.profile_id(id) IS NULL AS id_is_null, (SELECT count(*) FROM cdp.timeline(id)) AS events FROM unnest(ARRAY[0, -1, 1000000, 9223372036854775807, NULL]::bigint[]) id;
SELECT cdp.profile(NULL::cdp.identifier) IS NULL AS strict_1, cdp.profile(NULL::bigint) IS NULL AS strict_2, cdp.profile_id(NULL::cdp.identifier) IS NULL AS strict_3;
SELECT call, error_of(call) FROM unnest(ARRAY[$$SELECT cdp.profile('ada')$$, $$SELECT cdp.profile('')$$, $$SELECT cdp.profile('shoe_size:ada')$$, $$SELECT cdp.profile_id('shoe_size:ada')$$, $$SELECT cdp.profile('user_id:')$$]) call;

-- the timeline: by time, then by message id
SELECT * FROM cdp.timeline(cdp.profile_id('user_id:ada'));
-- a merge: both ids lead to her, with all that both knew; the timelines are one
SELECT cdp.profile_id('user_id:ada') AS ada, cdp.profile_id('anonymous_id:a2') AS other \gset
SELECT events FROM cdp.ingest('{"type":"track","messageId":"7","userId":"ada","anonymousId":"a2","event":"Merged","timestamp":"2026-01-04T00:00:00Z"}');
SELECT cdp.profile(:other) = cdp.profile(:ada) AS same_document, cdp.profile_id(:other::bigint) = :ada AS redirects, cdp.profile_id(:ada::bigint) = :ada AS stays;
SELECT message_id, occurred_at, anchor FROM cdp.timeline(:other);
SELECT profile_id = :ada AS is_hers, entity, traits, first_seen_at, last_seen_at, event_count FROM cdp.profiles ORDER BY profile_id;
-- why a trait is what it is: every value said, and the verdict
SELECT cdp.create_source('crm', rank => 5);
SELECT i.events FROM unnest(ARRAY['{"type":"identify","messageId":"8","userId":"ada","traits":{"plan":"free"},"timestamp":"2026-01-01T00:00:00Z"}', '{"type":"identify","messageId":"9","anonymousId":"a2","traits":{"plan":"gold","n":null},"timestamp":"2026-01-02T00:00:00Z"}',
	'{"type":"group","messageId":"g1","userId":"ada","groupId":"g","traits":{"plan":"team"},"timestamp":"2026-01-01T00:00:00Z"}', '{"type":"group","messageId":"g2","userId":"bob","groupId":"g","traits":{"plan":"solo"},"timestamp":"2026-01-02T00:00:00Z"}']) p, LATERAL (SELECT * FROM cdp.ingest(p) OFFSET 0) i;
SELECT events FROM cdp.ingest('{"type":"identify","messageId":"10","userId":"ada","traits":{"plan":"base"},"timestamp":"2026-01-02T00:00:00Z"}', 'crm');
SELECT * FROM cdp.explain_trait(:other, 'plan');
SELECT value, verdict FROM cdp.explain_trait(:ada, 'n');
SELECT value, anchor, message_id, verdict FROM cdp.explain_trait(cdp.profile_id('group_id:g'), 'plan');
SELECT cdp.profile('group_id:g') -> 'traits' AS account, cdp.profile('user_id:ada') #> '{traits,plan}' AS plan;
SELECT count(*) FROM cdp.explain_trait(:ada, 'nothing');
SELECT count(*) FROM cdp.explain_trait(1000000, 'plan');
-- the accounts of a person, whichever of her identifiers they were seen with, the latest first; an account has none
SELECT cdp.profile('user_id:ada') #> '{accounts,0,traits}' AS traits, jsonb_array_length(cdp.profile('user_id:ada') -> 'accounts') AS n, cdp.profile('group_id:g') -> 'accounts' AS of_account, cdp.profile_id('group_id:g') = (cdp.profile('user_id:ada') #>> '{accounts,0,profile_id}')::bigint AS same_id;
SELECT sum(i.events) FROM unnest(ARRAY['{"type":"group","messageId":"g3","anonymousId":"a2","groupId":"h","timestamp":"2026-01-05T00:00:00Z"}', '{"type":"group","messageId":"g4","anonymousId":"a1","groupId":"g","timestamp":"2025-12-31T00:00:00Z"}']) p, LATERAL (SELECT * FROM cdp.ingest(p) OFFSET 0) i;
SELECT a - 'profile_id' AS account FROM jsonb_array_elements(cdp.profile('user_id:ada') -> 'accounts') a;
SELECT count(*) AS differ FROM cdp.account_members m, LATERAL (SELECT cdp.profile(m.profile_id) -> 'accounts' AS accounts) p
	WHERE NOT accounts @> jsonb_build_array(jsonb_build_object('profile_id', m.account_id)) OR jsonb_array_length(accounts) <> (SELECT count(*) FROM cdp.account_members n WHERE n.profile_id = m.profile_id);
-- and with row-level security in force, by SQL, the same
SELECT cdp.create_segment('everyone', $$count('Nothing') = 0$$);
CREATE TABLE document AS SELECT profile_id, cdp.profile(profile_id) AS document FROM cdp.profiles;
SELECT count(*) AS n, count(*) FILTER (WHERE document -> 'segments' = '["everyone"]') AS in_segments FROM document;
CREATE ROLE regress_profile_guarded;
GRANT USAGE ON SCHEMA cdp TO regress_profile_guarded;
GRANT SELECT ON document, cdp.identity, cdp.profile, cdp.membership, cdp.namespace, cdp.blocked_value TO regress_profile_guarded;
SET ROLE regress_profile_guarded;
SELECT error_of($$SELECT cdp.profile('user_id:ada')$$);
RESET ROLE;
GRANT SELECT ON cdp.link TO regress_profile_guarded;
ALTER TABLE cdp.link ENABLE ROW LEVEL SECURITY;
ALTER TABLE cdp.profile ENABLE ROW LEVEL SECURITY;
ALTER TABLE cdp.identity ENABLE ROW LEVEL SECURITY;
ALTER TABLE cdp.membership ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON cdp.link USING (true);
CREATE POLICY p ON cdp.profile USING (true);
CREATE POLICY p ON cdp.identity USING (true);
CREATE POLICY p ON cdp.membership USING (true);
SET ROLE regress_profile_guarded;
SELECT count(*) AS n, count(*) FILTER (WHERE cdp.profile(profile_id) = document) AS same FROM document;
RESET ROLE;
ALTER POLICY p ON cdp.profile USING (entity = 'person');
SET ROLE regress_profile_guarded;
SELECT a - 'profile_id' AS account FROM jsonb_array_elements(cdp.profile('user_id:ada') -> 'accounts') a;
SELECT cdp.profile('group_id:g') IS NULL AS account_is_hidden;
RESET ROLE;
DROP POLICY p ON cdp.link;
DROP POLICY p ON cdp.profile;
DROP POLICY p ON cdp.identity;
DROP POLICY p ON cdp.membership;
ALTER TABLE cdp.link DISABLE ROW LEVEL SECURITY;
ALTER TABLE cdp.profile DISABLE ROW LEVEL SECURITY;
ALTER TABLE cdp.identity DISABLE ROW LEVEL SECURITY;
ALTER TABLE cdp.membership DISABLE ROW LEVEL SECURITY;
DROP OWNED BY regress_profile_guarded;
DROP ROLE regress_profile_guarded;
-- a table that changed under the session, and one that is gone
ALTER TABLE cdp.profile ADD COLUMN note text;
ALTER TABLE cdp.identity ADD COLUMN note text;
ALTER TABLE cdp.identity DROP COLUMN note;
SELECT count(*) FILTER (WHERE cdp.profile(profile_id) = document) AS same FROM document;
ALTER TABLE cdp.link RENAME COLUMN last_seen_at TO seen;
SELECT error_of($$SELECT cdp.profile('user_id:ada')$$);
ALTER TABLE cdp.link RENAME COLUMN seen TO last_seen_at;
DROP INDEX cdp.link_related_idx;
SELECT error_of($$SELECT cdp.profile('user_id:ada')$$);
SELECT cdp.init();
REINDEX TABLE cdp.identity;
SELECT count(*) FILTER (WHERE cdp.profile(profile_id) = document) AS same FROM document;
DROP TABLE document;
SELECT cdp.drop_segment('everyone');
-- in a join, one call a row; in a subtransaction that fails
SELECT i.namespace, i.value, cdp.profile(cdp.identifier(i.namespace, i.value)) ->> 'event_count' AS events FROM cdp.identifiers i ORDER BY 1, 2;
SELECT count(*) FROM generate_series(1, 2000), LATERAL (SELECT cdp.profile('user_id:ada') AS p) p WHERE p IS NOT NULL;
SELECT count(*) FILTER (WHERE error_of($$SELECT cdp.profile('shoe_size:ada')$$) ~ '42704') AS failed, count(cdp.profile('user_id:ada')) AS read FROM generate_series(1, 50);

-- who may read: the tables' rights count, the functions give none
CREATE ROLE regress_profile_read;
SET ROLE regress_profile_read;
SELECT call, split_part(error_of(call), ' ', 1) AS error FROM unnest(ARRAY[$$SELECT cdp.profile('user_id:ada')$$, $$SELECT cdp.profile(1)$$, $$SELECT cdp.profile_id('user_id:ada')$$, $$SELECT * FROM cdp.timeline(1)$$, $$SELECT * FROM cdp.profiles$$, $$SELECT * FROM cdp.explain_link('user_id:ada', 'anonymous_id:a1')$$,
	$$SELECT cdp.ingest('{}')$$, $$SELECT cdp.process()$$, $$SELECT * FROM cdp.resolve_all()$$]) call;
RESET ROLE;
DROP ROLE regress_profile_read;

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_profile_read;
