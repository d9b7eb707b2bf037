-- stitching: precision and recall of the profiles against the truth, pairwise over identifiers.
-- The truth is read from standard input, in the form that generate writes.
-- Devices that two people shared belong to neither alone and are left out.
CREATE TEMP TABLE raw (line serial, doc jsonb);
\copy raw (doc) FROM pstdin (FORMAT csv, DELIMITER E'\x01', QUOTE E'\x02')

CREATE TEMP TABLE truth AS
SELECT 'user_id' AS namespace, doc ->> 'user' AS value, line AS person FROM raw WHERE doc ->> 'user' IS NOT NULL
UNION ALL SELECT 'email', doc ->> 'email', line FROM raw WHERE doc ->> 'email' IS NOT NULL
UNION ALL SELECT 'phone', doc ->> 'phone', line FROM raw WHERE doc ->> 'phone' IS NOT NULL
UNION ALL SELECT 'device_id', doc ->> 'phone_app', line FROM raw WHERE doc ->> 'phone_app' IS NOT NULL
UNION ALL SELECT 'anonymous_id', d, line FROM raw, jsonb_array_elements_text(doc -> 'devices') d;
DELETE FROM truth t USING raw r WHERE t.namespace = 'anonymous_id' AND t.value = r.doc ->> 'shared_device';

CREATE TEMP TABLE known AS
SELECT i.profile_id, t.person FROM cdp.identifiers i JOIN truth t USING (namespace, value);

WITH pairs AS (
	SELECT (SELECT sum(n * (n - 1) / 2) FROM (SELECT count(*) AS n FROM known GROUP BY profile_id, person) s)::numeric AS right_pairs,
		(SELECT sum(n * (n - 1) / 2) FROM (SELECT count(*) AS n FROM known GROUP BY profile_id) s)::numeric AS found_pairs,
		(SELECT sum(n * (n - 1) / 2) FROM (SELECT count(*) AS n FROM known GROUP BY person) s)::numeric AS true_pairs
)
SELECT count AS identifiers, people, right_pairs || ' of ' || found_pairs AS "pairs found that are right", round(right_pairs / nullif(found_pairs, 0), 4) AS precision,
	right_pairs || ' of ' || true_pairs AS "true pairs found", round(right_pairs / nullif(true_pairs, 0), 4) AS recall
FROM pairs, (SELECT count(*), count(DISTINCT person) AS people FROM known) k;
