-- pipeline: verification, everything derived again from the log and compared.

CREATE FUNCTION cdp.verify_identity() RETURNS TABLE (part text, checked bigint, differences bigint)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
BEGIN
	DROP TABLE IF EXISTS pg_temp.cdp_mention;
	CREATE TEMPORARY TABLE cdp_mention ON COMMIT DROP AS
		SELECT m.strongest_id, m.ord, m.identifier_id, m.linked_id, m.is_related, m.occurred_at AS first_seen_at,
			m.occurred_at AS last_seen_at, 1::bigint AS event_count
		FROM cdp.mention m
		UNION ALL
		SELECT NULL, NULL, r.identifier_id, r.linked_id, r.is_related, r.first_seen_at, r.last_seen_at, r.event_count
		FROM cdp.remaining_mention r;

	part := 'identifiers';
	SELECT count(*), count(*) FILTER (WHERE (i.first_seen_at, i.last_seen_at, i.event_count) IS DISTINCT FROM (d.f, d.l, coalesce(d.n, 0)))
	INTO checked, differences
	FROM (SELECT m.identifier_id, min(m.first_seen_at) AS f, max(m.last_seen_at) AS l, sum(m.event_count) AS n
		FROM pg_temp.cdp_mention m GROUP BY m.identifier_id) d
	FULL JOIN cdp.identity i ON i.identifier_id = d.identifier_id;
	RETURN NEXT;

	part := 'anchors';
	SELECT count(*), count(*) FILTER (WHERE m.strongest_id IS DISTINCT FROM m.identifier_id) INTO checked, differences
	FROM pg_temp.cdp_mention m WHERE m.ord = 1;
	SELECT count(*) + checked, count(*) FILTER (WHERE s.identifier_id IS DISTINCT FROM d.identifier_id) + differences INTO checked, differences
	FROM cdp.sign_in s FULL JOIN cdp.derived_sign_in d USING (device_id, occurred_at, message_id, source_id);
	RETURN NEXT;

	part := 'links';
	SELECT count(*), count(*) FILTER (WHERE (k.first_seen_at, k.last_seen_at, k.event_count) IS DISTINCT FROM (d.f, d.l, coalesce(d.n, 0))
		OR (k.status, k.reason) IS DISTINCT FROM (CASE WHEN d.is_related THEN 'related' WHEN r.ruling_id IS NOT NULL THEN 'retracted'
			ELSE j.status END, j.reason))
	INTO checked, differences
	FROM (
		SELECT m.linked_id AS a, m.identifier_id AS b, min(m.first_seen_at) AS f, max(m.last_seen_at) AS l, sum(m.event_count) AS n,
			bool_or(m.is_related) AS is_related
		FROM pg_temp.cdp_mention m WHERE m.linked_id IS NOT NULL GROUP BY m.linked_id, m.identifier_id
	) d FULL JOIN cdp.link k ON k.identifier_a = d.a AND k.identifier_b = d.b
	LEFT JOIN cdp.judge_all() j ON j.identifier_a = k.identifier_a AND j.identifier_b = k.identifier_b
	LEFT JOIN cdp.identity x ON x.identifier_id = k.identifier_a
	LEFT JOIN cdp.identity y ON y.identifier_id = k.identifier_b
	LEFT JOIN cdp.ruling r ON r.kind = 'retract' AND r.undone_at IS NULL AND r.a = cdp.identifier(x.namespace, x.value)
		AND r.b = cdp.identifier(y.namespace, y.value);
	RETURN NEXT;

	DROP TABLE IF EXISTS pg_temp.cdp_place;
	CREATE TEMPORARY TABLE cdp_place ON COMMIT DROP AS
		SELECT i.identifier_id, i.profile_id, n.entity, r.cluster, r.component, r.is_disputed,
			min(i.profile_id) OVER (PARTITION BY r.component) AS component_id, r.is_contested = i.is_contested AS is_right
		FROM cdp.resolve_all() r FULL JOIN cdp.identity i USING (identifier_id) LEFT JOIN cdp.namespace n ON n.name = i.namespace;

	part := 'people';
	SELECT count(*), count(*) FILTER (WHERE d.n_profiles <> 1 OR d.n_clusters <> 1 OR d.is_right IS NOT TRUE) INTO checked, differences
	FROM (
		SELECT count(*) OVER (PARTITION BY p.cluster) AS n_profiles, count(*) OVER (PARTITION BY p.profile_id) AS n_clusters, p.is_right
		FROM (SELECT x.cluster, x.profile_id, bool_and(x.is_right) AS is_right FROM pg_temp.cdp_place x GROUP BY x.cluster, x.profile_id) p
	) d;
	RETURN NEXT;

	-- a profile id lives, or redirects, by where the identifier is for which it was minted
	part := 'profile ids';
	SELECT count(*), count(*) FILTER (WHERE (p.entity, p.component_id, p.is_disputed, coalesce(p.merged_into, p.profile_id))
		IS DISTINCT FROM (x.entity, CASE WHEN p.is_frozen THEN p.component_id ELSE x.component_id END, x.is_disputed, x.profile_id)) INTO checked, differences
	FROM cdp.profile p LEFT JOIN pg_temp.cdp_place x USING (identifier_id)
	WHERE p.identifier_id IS NOT NULL OR p.merged_into <> 0;
	RETURN NEXT;
	DROP TABLE pg_temp.cdp_mention, pg_temp.cdp_place;
END
$$;
COMMENT ON FUNCTION cdp.verify_identity() IS 'Part of cdp.verify(): identifiers, anchors, links and their judgements, people, profile ids and redirects';

CREATE FUNCTION cdp.verify_profile() RETURNS TABLE (part text, checked bigint, differences bigint)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	part := 'fragments';
	SELECT count(*), count(*) FILTER (WHERE (f.event_count, f.first_seen_at, f.last_seen_at, f.traits::text, f.consents::text)
		IS DISTINCT FROM (d.event_count, d.first_seen_at, d.last_seen_at, d.traits::text, d.consents::text))
	INTO checked, differences
	FROM cdp.fragment f FULL JOIN cdp.derived_fragment d USING (anchor_id, identifier_id);
	RETURN NEXT;

	part := 'timelines';
	SELECT count(*), count(*) FILTER (WHERE NOT coalesce(cdp.is_same(p.events, d.events), false)) INTO checked, differences
	FROM (SELECT t.anchor_id, t.identifier_id, t.month, cdp.add_timelines(t.events) AS events
		FROM cdp.timeline_part t GROUP BY t.anchor_id, t.identifier_id, t.month) p
	FULL JOIN cdp.derived_timeline_part d USING (anchor_id, identifier_id, month);
	RETURN NEXT;

	IF EXISTS (SELECT FROM cdp.lookup_row) THEN
		part := 'lookups';
		SELECT count(*), count(*) FILTER (WHERE NOT coalesce(cdp.is_same(r.traits, d.traits), r.traits IS NULL AND d.traits IS NULL AND l.rank IS NOT NULL))
		INTO checked, differences
		FROM cdp.lookup_row r LEFT JOIN cdp.lookup l USING (lookup_id)
		CROSS JOIN LATERAL (SELECT cdp.declared_traits(r.object, r.observed_at, l.rank) AS traits OFFSET 0) d;
		RETURN NEXT;
	END IF;

	part := 'profiles';
	SELECT count(*), count(*) FILTER (WHERE (p.event_count, p.first_seen_at, p.last_seen_at)
			IS DISTINCT FROM (coalesce(d.n, 0), d.f, d.l)
		OR p.traits::text IS DISTINCT FROM d.traits::text OR p.consents::text IS DISTINCT FROM d.consents::text
		OR (p.merged_into IS NULL) <> (d.profile_id IS NOT NULL))
	INTO checked, differences
	FROM (SELECT i.profile_id, sum(f.event_count) AS n, min(f.first_seen_at) AS f, max(f.last_seen_at) AS l,
			cdp.enrich(cdp.merge_traits(f.traits)) AS traits, cdp.merge_consents(f.consents) AS consents
		FROM cdp.identity i LEFT JOIN cdp.fragment f ON f.anchor_id = i.identifier_id GROUP BY i.profile_id) d
	FULL JOIN cdp.profile p ON p.profile_id = d.profile_id;
	RETURN NEXT;
END
$$;
COMMENT ON FUNCTION cdp.verify_profile() IS 'Part of cdp.verify(): fragments (traits, consents, counts), timelines, what lookups have if there are any, profiles';

CREATE FUNCTION cdp.verify_segment() RETURNS TABLE (part text, checked bigint, differences bigint)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	part := 'computed';
	SELECT count(*), count(*) FILTER (WHERE coalesce(cdp.to_jsonb(p.computed), '{}') IS DISTINCT FROM coalesce(d.traits, '{}')) INTO checked, differences
	FROM cdp.profile p LEFT JOIN cdp.derived_computed d USING (profile_id);
	RETURN NEXT;

	part := 'memberships';
	SELECT count(*), count(*) FILTER (WHERE NOT d.is_right) INTO checked, differences
	FROM (SELECT cdp.matches(p.profile_id, s.predicate) = (m.profile_id IS NOT NULL) AS is_right
		FROM cdp.segment s CROSS JOIN cdp.profile p
		LEFT JOIN cdp.membership m ON m.profile_id = p.profile_id AND m.segment = s.name
		WHERE p.merged_into IS NULL AND p.entity = 'person'
		UNION ALL
		SELECT false FROM cdp.membership m LEFT JOIN cdp.profile p ON p.profile_id = m.profile_id
		WHERE p.profile_id IS NULL OR p.merged_into IS NOT NULL) d;
	RETURN NEXT;
END
$$;
COMMENT ON FUNCTION cdp.verify_segment() IS 'Part of cdp.verify(): computed traits, memberships';

CREATE FUNCTION cdp.verify(noun text DEFAULT NULL) RETURNS TABLE (part text, checked bigint, differences bigint)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM cdp.require_init();
	IF noun NOT IN ('identity', 'profile', 'segment') THEN
		RAISE EXCEPTION 'there is no such part to verify' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'The parts are identity, profile and segment; without one all are verified.';
	END IF;
	IF noun IS NULL OR noun = 'identity' THEN
		RETURN QUERY SELECT * FROM cdp.verify_identity();
	END IF;
	IF noun IS NULL OR noun = 'profile' THEN
		RETURN QUERY SELECT * FROM cdp.verify_profile();
	END IF;
	IF noun IS NULL OR noun = 'segment' THEN
		RETURN QUERY SELECT * FROM cdp.verify_segment();
	END IF;
END
$$;
COMMENT ON FUNCTION cdp.verify(text) IS 'Derive everything again from the log, and the remainder of what left it, and compare with what is stored: of identity identifiers, anchors, links and their judgements, people, profile ids and redirects; of profile fragments (traits, consents, counts), timelines, what lookups have if there are any, profiles; of segment computed traits and memberships; or (null) all. Returns of each how much was checked and how much differs: 0 unless something is broken (computed traits and memberships also differ while due timers wait for cdp.process()). Reads everything; run it when nobody writes. Error 22023';
