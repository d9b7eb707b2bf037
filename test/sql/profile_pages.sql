-- What is looked up straight from the pages of an index is what SQL finds: long keys, many rows under a key, dead rows, deleted pages, other indexes.
\set VERBOSITY terse
\setenv PGTZ UTC
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_profile_pages;
CREATE DATABASE regress_profile_pages TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_profile_pages SET lc_messages = 'C';
ALTER DATABASE regress_profile_pages SET jit = off;
ALTER DATABASE regress_profile_pages SET client_min_messages = warning;
\c regress_profile_pages
CREATE EXTENSION cdp;
SELECT cdp.init();
-- profile 7 has 4,000 identifiers, 2,000 others a few; keys of all lengths, some so long and alike that the index compresses them
CREATE PROCEDURE fill() LANGUAGE sql AS $$
	INSERT INTO cdp.identity (namespace, value, profile_id, event_count)
	SELECT (ARRAY['user_id', 'anonymous_id', 'email'])[n % 3 + 1], CASE WHEN n % 7 = 0 THEN repeat(md5(n::text), 16) WHEN n % 5 = 0 THEN repeat('x', n % 450) || md5(n::text) ELSE n::text END,
		CASE WHEN n % 3 = 0 THEN 7 ELSE n % 2000 + 1 END, 0
	FROM generate_series(1, 12000) n;
$$;
CALL fill();
INSERT INTO cdp.profile (profile_id, entity, component_id) SELECT n, 'person', n FROM generate_series(1, 2000) n;
CREATE VIEW differing AS
	SELECT (SELECT count(*) FROM cdp.identity i WHERE cdp.profile_id(cdp.identifier(i.namespace, i.value)) IS DISTINCT FROM i.profile_id) AS by_key,
		(SELECT count(*) FROM cdp.profile p WHERE p.merged_into IS NULL AND cdp.profile(p.profile_id) -> 'identifiers' IS DISTINCT FROM
			(SELECT coalesce(jsonb_agg(i.namespace || ':' || i.value ORDER BY (i.namespace || ':' || i.value) COLLATE "C"), '[]') FROM cdp.identity i WHERE i.profile_id = p.profile_id)) AS by_profile;
SELECT *, jsonb_array_length(cdp.profile(7) -> 'identifiers') AS of_seven FROM differing;
SELECT count(cdp.profile_id(cdp.identifier('user_id', v))) AS found FROM unnest(ARRAY['0', 'x', repeat('x', 500), repeat('z', 512), repeat(md5('7'), 15), '1a', '11999 ']) v;
-- what is read was changed in this transaction, and is not yet
BEGIN;
UPDATE cdp.identity SET profile_id = 8 WHERE profile_id = 7;
SELECT *, jsonb_array_length(cdp.profile(8) -> 'identifiers') > 4000 AS of_eight FROM differing;
ROLLBACK;
SELECT *, jsonb_array_length(cdp.profile(7) -> 'identifiers') AS of_seven FROM differing;
-- versions of rows that died, pages that were deleted, and filled again
UPDATE cdp.identity SET event_count = event_count + 1;
UPDATE cdp.identity SET profile_id = profile_id % 2000 + 1 WHERE profile_id <> 6 AND identifier_id % 2 = 0;
DELETE FROM cdp.identity WHERE identifier_id % 4000 BETWEEN 100 AND 3000;
VACUUM cdp.identity;
SELECT * FROM differing;
DELETE FROM cdp.identity;
VACUUM cdp.identity;
SELECT *, cdp.profile(7) -> 'identifiers' AS of_seven FROM differing;
CALL fill();
SELECT *, jsonb_array_length(cdp.profile(7) -> 'identifiers') AS of_seven FROM differing;
-- ids at uneven distances, up to the largest
CREATE TABLE uneven AS
	SELECT DISTINCT CASE WHEN n % 2 = 0 THEN 9223372036854775807 - (n - 2) / 4 ELSE 2001 + (1.01 ^ n)::bigint END AS id FROM generate_series(1, 4000) n;
INSERT INTO cdp.identity (namespace, value, profile_id, event_count) SELECT 'email', id || '@' || k, id, 0 FROM uneven, generate_series(1, 3) k;
INSERT INTO cdp.profile (profile_id, entity, component_id) SELECT id, 'person', id FROM uneven;
SELECT * FROM differing;
SELECT count(*) AS differing FROM uneven u WHERE (cdp.profile(id - 1) IS NULL) = EXISTS (SELECT FROM cdp.profile p WHERE p.profile_id = u.id - 1);
-- columns added and dropped, and indexes made anew, in the same session
ALTER TABLE cdp.identity ADD COLUMN note text DEFAULT 'none';
ALTER TABLE cdp.identity DROP COLUMN note;
REINDEX TABLE CONCURRENTLY cdp.identity;
SELECT * FROM differing;
-- an index that is not in the order expected is left alone
DROP INDEX cdp.identity_profile_id_idx;
CREATE INDEX identity_profile_id_idx ON cdp.identity (profile_id DESC);
SELECT * FROM differing;
DROP INDEX cdp.identity_profile_id_idx;
CREATE INDEX identity_profile_id_idx ON cdp.identity USING hash (profile_id);
SELECT * FROM differing;
-- and under other isolation levels
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT * FROM differing;
COMMIT;
-- who may read is known at once, also through a role
CREATE ROLE regress_pages_reader;
CREATE ROLE regress_pages_user;
GRANT USAGE ON SCHEMA cdp TO regress_pages_user, regress_pages_reader;
GRANT SELECT ON cdp.identity, cdp.profile, cdp.membership, cdp.link, cdp.namespace, cdp.blocked_value TO regress_pages_reader;
SET ROLE regress_pages_user;
SELECT cdp.profile(7) IS NOT NULL AS is_known;
RESET ROLE;
GRANT regress_pages_reader TO regress_pages_user;
SET ROLE regress_pages_user;
SELECT cdp.profile(7) IS NOT NULL AS is_known;
SELECT cdp.profile(7) IS NOT NULL AS is_known;
RESET ROLE;
REVOKE regress_pages_reader FROM regress_pages_user;
SET ROLE regress_pages_user;
SELECT cdp.profile(7) IS NOT NULL AS is_known;
RESET ROLE;
REVOKE SELECT ON cdp.link FROM regress_pages_reader;
SET ROLE regress_pages_reader;
SELECT cdp.profile_id(7::bigint) AS still;
SELECT cdp.profile(7) IS NOT NULL AS is_known;
RESET ROLE;
DROP OWNED BY regress_pages_user, regress_pages_reader;
DROP ROLE regress_pages_user, regress_pages_reader;
\c postgres
DROP DATABASE regress_profile_pages;
