-- identity: the log read again, when what it mentions changed.

CREATE FUNCTION cdp.read_by(identifier_ids bigint[]) RETURNS bigint[]
LANGUAGE sql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce(array_agg(DISTINCT x.id), '{}') FROM (
		SELECT unnest(identifier_ids) AS id
		UNION ALL
		SELECT l.identifier_a FROM cdp.link l WHERE l.identifier_b = ANY (identifier_ids)
		UNION ALL -- an account that came second hangs on the first, and that on the person
		SELECT k.identifier_a FROM cdp.link l JOIN cdp.link k ON k.identifier_b = l.identifier_a
		WHERE l.identifier_b = ANY (identifier_ids)
	) x
$$;
COMMENT ON FUNCTION cdp.read_by(bigint[]) IS 'The strongest identifiers of the events that mention any of some identifiers, and perhaps of others';

CREATE FUNCTION cdp.readings(strongest_ids bigint[]) RETURNS TABLE (event_table oid, event_ctid tid, ids bigint[], reading bigint)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan SET enable_seqscan = on SET enable_hashjoin = on SET enable_mergejoin = on -- few or many: planned each time
AS $$
BEGIN
	RETURN QUERY EXECUTE format($query$
		SELECT m.event_table, m.event_ctid, array_agg(m.identifier_id ORDER BY m.ord),
			hashtextextended(string_agg(concat_ws(' ', m.entity, n.kind, m.namespace, m.value), chr(10) ORDER BY m.ord), 0)
		FROM cdp.mention m JOIN cdp.namespace n ON n.name = m.namespace %s GROUP BY m.event_table, m.event_ctid
		$query$, CASE WHEN strongest_ids IS NOT NULL THEN 'WHERE m.strongest_id = ANY ($1)' END) USING strongest_ids;
END
$$;
COMMENT ON FUNCTION cdp.readings(bigint[]) IS 'What the rules in force read out of each event whose strongest identifier is one of some, or (null) of the whole log: the identifiers it mentions, strongest first (null: not known yet), and a hash of them with their entities and kinds';

CREATE FUNCTION cdp.remember_readings(strongest_ids bigint[]) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
BEGIN
	PERFORM cdp.show_progress('reading the log by the old rules');
	DROP TABLE IF EXISTS pg_temp.cdp_reading;
	CREATE TEMPORARY TABLE cdp_reading ON COMMIT DROP AS SELECT * FROM cdp.readings(strongest_ids);
END
$$;
COMMENT ON FUNCTION cdp.remember_readings(bigint[]) IS 'First step of a change of what events mention: note what the old rules read out of them; then the rules are changed, then cdp.read_again() is called with the same events. The caller holds the rules';

CREATE FUNCTION cdp.read_again(strongest_ids bigint[], cause text) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan SET enable_seqscan = on SET enable_hashjoin = on SET enable_mergejoin = on -- few or many: planned each time
SET client_min_messages = warning
AS $$
DECLARE
	touched bigint[];
	heirs bigint[];
BEGIN
	PERFORM cdp.show_progress('reading the log by the new rules');
	DROP TABLE IF EXISTS pg_temp.cdp_rereading;
	CREATE TEMPORARY TABLE cdp_rereading ON COMMIT DROP AS
		SELECT event_table, event_ctid, b.ids FROM pg_temp.cdp_reading b
		FULL JOIN cdp.readings(strongest_ids) n USING (event_table, event_ctid)
		WHERE b.reading IS DISTINCT FROM n.reading OR b.reading IS NULL;
	DROP TABLE pg_temp.cdp_reading;
	heirs := cdp.make_identifiers(ARRAY (
		SELECT DISTINCT cdp.identifier(m.namespace, m.value) FROM pg_temp.cdp_rereading r
		CROSS JOIN LATERAL (SELECT * FROM cdp.mention x WHERE x.event_table = r.event_table AND x.event_ctid = r.event_ctid OFFSET 0) m
		WHERE m.identifier_id IS NULL
			OR EXISTS (SELECT FROM cdp.forgotten f WHERE f.namespace = m.namespace AND f.value = m.value)), cause);
	DROP TABLE IF EXISTS pg_temp.cdp_reread;
	CREATE TEMPORARY TABLE cdp_reread ON COMMIT DROP AS
		SELECT r.event_table, r.event_ctid, r.ids, array_agg(m.identifier_id ORDER BY m.ord) FILTER (WHERE m.ord IS NOT NULL) AS now
		FROM pg_temp.cdp_rereading r
		LEFT JOIN LATERAL (SELECT * FROM cdp.mention x WHERE x.event_table = r.event_table AND x.event_ctid = r.event_ctid OFFSET 0) m ON true
		GROUP BY r.event_table, r.event_ctid, r.ids;
	UPDATE cdp.event e SET identifier_id = coalesce(r.now[1], 0) FROM pg_temp.cdp_reread r
	WHERE e.tableoid = r.event_table AND e.ctid = r.event_ctid AND e.identifier_id <> coalesce(r.now[1], 0);
	SELECT array_agg(DISTINCT x.id) INTO touched FROM pg_temp.cdp_reread r CROSS JOIN LATERAL unnest(r.ids || r.now) AS x (id)
	WHERE x.id IS NOT NULL;
	DROP TABLE pg_temp.cdp_rereading, pg_temp.cdp_reread;
	touched := nullif(coalesce(touched, '{}') || cdp.wake_remainders(strongest_ids, cause), '{}');
	IF touched IS NOT NULL THEN
		PERFORM cdp.show_progress(format('resolving %s identifiers again', cardinality(touched)));
		PERFORM cdp.reconsider(touched || heirs, cause, touched);
	END IF;
END
$$;
COMMENT ON FUNCTION cdp.read_again(bigint[], text) IS 'Second step of a change of what events mention: read by the new rules, and where that differs from what was remembered bring identifiers, links, people and all that follows up to date';

CREATE FUNCTION cdp.wake_remainders(identifier_ids bigint[], cause text) RETURNS bigint[]
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	turned bigint[];
BEGIN
	IF NOT EXISTS (SELECT FROM cdp.mention_remainder) THEN
		RETURN '{}';
	END IF;
	IF identifier_ids IS NULL THEN
		PERFORM cdp.make_identifiers(ARRAY (
			SELECT cdp.identifier(f.namespace, f.value) FROM cdp.forgotten f JOIN cdp.namespace n ON n.name = f.namespace
			WHERE NOT cdp.is_blocked(cdp.identifier(n.name, f.value))
				AND EXISTS (SELECT FROM cdp.mention_remainder r WHERE r.identifier_id = f.identifier_id)), cause);
	END IF;
	-- whose remainder counts and did not, or the other way round
	SELECT array_agg(i.identifier_id) INTO turned FROM cdp.identity i LEFT JOIN cdp.entrant e USING (identifier_id)
	WHERE (identifier_ids IS NULL OR i.identifier_id = ANY (identifier_ids)) AND (e.identifier_id IS NULL OR i.event_count = 0)
		AND EXISTS (SELECT FROM cdp.mention_remainder r WHERE r.identifier_id = i.identifier_id);
	RETURN ARRAY (
		SELECT DISTINCT i.identifier_id FROM (
			SELECT unnest(turned) AS id
			UNION ALL SELECT r.linked_id FROM cdp.mention_remainder r WHERE r.identifier_id = ANY (turned)
			UNION ALL SELECT r.identifier_id FROM cdp.mention_remainder r WHERE r.linked_id = ANY (turned)
		) x JOIN cdp.identity i ON i.identifier_id = x.id);
END
$$;
COMMENT ON FUNCTION cdp.wake_remainders(bigint[], text) IS 'Part of cdp.read_again() for what left the log: identifiers that the rules let into the graph again come back by it, and those they do not any more lose it. Among some identifiers, or (null) all; returns whom that touches';

CREATE FUNCTION cdp.judge_again(before jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	was record;
	now record;
	touched bigint[];
BEGIN
	SELECT n.* INTO was FROM jsonb_populate_record(NULL::cdp.namespace, before) n;
	SELECT n.* INTO now FROM cdp.namespace n WHERE n.name = was.name;
	IF was.name IS NULL OR (was.entity, was.kind, was.priority, was.bridge, was.max_per_profile)
			IS NOT DISTINCT FROM (now.entity, now.kind, now.priority, now.bridge, now.max_per_profile) THEN
		RETURN;
	END IF;
	-- where nothing is disputed, another limit matters only to a profile that is over it
	SELECT array_agg(x.identifier_id) INTO touched FROM (
		SELECT DISTINCT ON (p.component_id) i.identifier_id FROM cdp.identity i JOIN cdp.profile p USING (profile_id)
		WHERE i.namespace = was.name AND (p.is_disputed
			OR (was.entity, was.kind, was.priority, was.bridge) IS DISTINCT FROM (now.entity, now.kind, now.priority, now.bridge)
			OR (SELECT count(*) FROM cdp.identity j WHERE j.profile_id = p.profile_id AND j.namespace = was.name) > now.max_per_profile)
	) x;
	IF touched IS NOT NULL THEN
		PERFORM cdp.show_progress(format('judging the links of %s components again', cardinality(touched)));
		PERFORM cdp.reconsider(touched, 'rule', '{}');
	END IF;
END
$$;
COMMENT ON FUNCTION cdp.judge_again(jsonb) IS 'Resolve again what a change of a namespace''s rules can touch; before: its row as it was';

CREATE FUNCTION cdp.rederive_links(identifier_ids bigint[]) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan SET enable_seqscan = on SET enable_hashjoin = on SET enable_mergejoin = on -- few or many: planned each time
AS $$
DECLARE
	touched bigint[];
BEGIN
	SELECT array_agg(DISTINCT x.id) INTO touched FROM (
		SELECT unnest(identifier_ids) AS id
		UNION ALL SELECT l.identifier_b FROM cdp.link l WHERE l.identifier_a = ANY (identifier_ids)
	) x;
	UPDATE cdp.link l SET first_seen_at = NULL, last_seen_at = NULL, event_count = 0
	WHERE l.identifier_a = ANY (identifier_ids) AND l.event_count > 0;
	WITH strongest AS (
		SELECT unnest(identifier_ids) AS id
		UNION SELECT l.identifier_a FROM cdp.link l WHERE l.identifier_b = ANY (identifier_ids) AND l.status = 'related'
	)
	INSERT INTO cdp.link AS l (identifier_a, identifier_b, first_seen_at, last_seen_at, event_count, status)
	SELECT d.linked_id, d.identifier_id, min(d.first_seen_at), max(d.last_seen_at), sum(d.event_count),
		CASE WHEN d.is_related THEN 'related' ELSE 'accepted' END
	FROM (
		SELECT m.linked_id, m.identifier_id, m.is_related, m.occurred_at AS first_seen_at, m.occurred_at AS last_seen_at, 1 AS event_count
		FROM strongest s CROSS JOIN LATERAL (SELECT * FROM cdp.mention x WHERE x.strongest_id = s.id OFFSET 0) m -- by the index
		WHERE m.linked_id = ANY (identifier_ids)
		UNION ALL
		SELECT r.linked_id, r.identifier_id, r.is_related, r.first_seen_at, r.last_seen_at, r.event_count
		FROM cdp.remaining_mention r WHERE r.linked_id = ANY (identifier_ids)
	) d
	GROUP BY d.linked_id, d.identifier_id, d.is_related
	ON CONFLICT (identifier_a, identifier_b) DO UPDATE SET first_seen_at = excluded.first_seen_at,
		last_seen_at = excluded.last_seen_at, event_count = excluded.event_count,
		status = CASE WHEN 'related' IN (l.status, excluded.status) THEN excluded.status ELSE l.status END,
		reason = CASE WHEN excluded.status <> 'related' THEN l.reason END;
	SELECT array_agg(DISTINCT x.id) INTO touched FROM (
		SELECT unnest(touched) AS id
		UNION ALL SELECT l.identifier_b FROM cdp.link l WHERE l.identifier_a = ANY (identifier_ids)
	) x;
	DELETE FROM cdp.link l USING cdp.identity i, cdp.identity j
	WHERE l.identifier_a = ANY (identifier_ids) AND l.event_count = 0 AND l.status <> 'retracted'
		AND i.identifier_id = l.identifier_a AND j.identifier_id = l.identifier_b
		AND NOT EXISTS (SELECT FROM cdp.ruling r WHERE r.kind = 'pin' AND r.undone_at IS NULL
			AND r.a = cdp.identifier(i.namespace, i.value) AND r.b = cdp.identifier(j.namespace, j.value));
	UPDATE cdp.identity i SET first_seen_at = d.f, last_seen_at = d.l, event_count = d.n
	FROM unnest(touched) AS t (id) CROSS JOIN LATERAL (
		SELECT min(x.f) AS f, max(x.l) AS l, coalesce(sum(x.n), 0)::bigint AS n FROM (
			SELECT min(e.occurred_at) AS f, max(e.occurred_at) AS l, count(*) AS n FROM cdp.event e WHERE e.identifier_id = t.id
			UNION ALL
			SELECT min(k.first_seen_at), max(k.last_seen_at), sum(k.event_count) FROM cdp.link k WHERE k.identifier_b = t.id
			UNION ALL
			SELECT min(r.first_seen_at), max(r.last_seen_at), sum(r.event_count) FROM cdp.remaining_mention r
			WHERE r.identifier_id = t.id AND r.linked_id IS NULL
		) x
	) d
	WHERE i.identifier_id = t.id AND (i.first_seen_at, i.last_seen_at, i.event_count) IS DISTINCT FROM (d.f, d.l, d.n);
END
$$;
COMMENT ON FUNCTION cdp.rederive_links(bigint[]) IS 'Derive from the log, and what left it, again: the links of which some identifiers are the stronger end, and when and how often those and the other ends were seen. The caller holds their components';

CREATE FUNCTION cdp.connected_components_support(internal) RETURNS internal
AS 'MODULE_PATHNAME', 'cdp_connected_components_support' LANGUAGE C STRICT;
COMMENT ON FUNCTION cdp.connected_components_support(internal) IS 'For the planner: in a FROM clause cdp.connected_components() is a scan of its own, which gives out rows without storing them first';

CREATE FUNCTION cdp.connected_components(query text) RETURNS TABLE (node bigint, component bigint)
AS 'MODULE_PATHNAME', 'cdp_connected_components' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000000 COST 1000000
SUPPORT cdp.connected_components_support;
COMMENT ON FUNCTION cdp.connected_components(text) IS 'What belongs together, on any query; needs no cdp.init(). The query yields the two ends of each edge, integers; a null end makes a node that stands alone. Returns each node once with the first node seen of its component. Streams the query; takes 24 to 48 bytes a node. Errors 22004, 42601, 42804, 54000';

CREATE FUNCTION cdp.connected_components(query text, node_type anyelement)
RETURNS TABLE (node anyelement, component anyelement)
AS 'MODULE_PATHNAME', 'cdp_connected_components' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000000 COST 1000000
SUPPORT cdp.connected_components_support;
COMMENT ON FUNCTION cdp.connected_components(text, anyelement) IS 'As cdp.connected_components(text), for nodes of another type, of which node_type is any value: cdp.connected_components(query, NULL::uuid). Any type of 8 bytes or by reference that can be hashed will do; the values are kept in memory. Errors as there, and 42883, 0A000';

CREATE FUNCTION cdp.resolve(query text, rules jsonb DEFAULT NULL)
RETURNS TABLE (identifier cdp.identifier, profile cdp.identifier, is_contested boolean)
AS 'MODULE_PATHNAME', 'cdp_resolve_query' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000000 COST 1000000;
COMMENT ON FUNCTION cdp.resolve(text, jsonb) IS 'Who is who, on any query; needs no cdp.init() and reads no table of cdp. The query yields a message per row (jsonb, json or text; an envelope too), and, if you like, in a second column when it happened (timestamptz). Returns each identifier that may enter the graph once, normalised, with the strongest one of its profile, which stands for it, and whether it is a device seen with two values of one other namespace. rules: namespaces, blocked, pins, denials, phone_region; what is left out is as in cdp.default_rules(). Streams the query; takes the memory of cdp.max_resolve_memory at most. Errors 22004, 22007, 22008, 22023, 22P02, 2201B, 42601, 42602, 42704, 42804, 53400, 54000';

CREATE FUNCTION cdp.join_frozen(
	identifier_ids bigint[], are_new boolean[], component_ids bigint[], link_a bigint[], link_b bigint[]
) RETURNS TABLE (ord bigint, profile_id bigint)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	new record;
	minted bigint;
BEGIN
	-- what is new got the profile of whom it came with: only a suggestion
	FOR new IN SELECT i.identifier_id, n.entity, k.component_id FROM unnest(identifier_ids, are_new, component_ids) AS k (id, is_new, component_id)
			JOIN cdp.identity i ON i.identifier_id = k.id JOIN cdp.namespace n ON n.name = i.namespace
			JOIN cdp.profile p ON p.profile_id = i.profile_id
			WHERE k.is_new AND p.identifier_id IS DISTINCT FROM i.identifier_id ORDER BY i.identifier_id LOOP
		minted := nextval('cdp.profile_id_seq');
		INSERT INTO cdp.profile (profile_id, entity, component_id, identifier_id)
		VALUES (minted, new.entity, new.component_id, new.identifier_id);
		UPDATE cdp.identity i SET profile_id = minted WHERE i.identifier_id = new.identifier_id;
	END LOOP;
	INSERT INTO cdp.identity_change (identifier_id, to_profile_id, cause, changed_at)
	SELECT i.identifier_id, i.profile_id, 'seen', clock_timestamp() FROM unnest(identifier_ids, are_new) AS k (id, is_new)
	JOIN cdp.identity i ON i.identifier_id = k.id WHERE k.is_new;
	UPDATE cdp.profile p SET component_id = c.id, is_disputed = true, is_frozen = true
	FROM (
		SELECT DISTINCT o.component_id AS was, k.component_id AS id FROM unnest(identifier_ids, component_ids) AS k (identifier_id, component_id)
		JOIN cdp.identity i ON i.identifier_id = k.identifier_id JOIN cdp.profile o ON o.profile_id = i.profile_id
	) c
	WHERE p.component_id = c.was AND (p.component_id <> c.id OR NOT p.is_frozen);
	UPDATE cdp.link l SET status = CASE WHEN a.profile_id = b.profile_id THEN 'redundant' ELSE 'rejected' END,
		reason = CASE WHEN a.profile_id <> b.profile_id THEN 'frozen' END
	FROM unnest(link_a, link_b) AS k (a, b) JOIN cdp.identity a ON a.identifier_id = k.a JOIN cdp.identity b ON b.identifier_id = k.b
	WHERE l.identifier_a = k.a AND l.identifier_b = k.b AND l.status = 'accepted';
	RETURN QUERY SELECT k.ord, i.profile_id FROM unnest(identifier_ids) WITH ORDINALITY AS k (id, ord)
	JOIN cdp.identity i ON i.identifier_id = k.id;
END
$$;
COMMENT ON FUNCTION cdp.join_frozen(bigint[], boolean[], bigint[], bigint[], bigint[]) IS 'Add identifiers to the frozen components they meet, without resolving those: what is new is a profile of its own, new links between profiles are rejected as frozen. Returns the profile of each, in their order. The caller holds the components';

CREATE FUNCTION cdp.resolve_frozen() RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	ids bigint[];
BEGIN
	PERFORM cdp.require_init();
	SELECT array_agg(x.identifier_id) INTO ids FROM (
		SELECT DISTINCT ON (p.component_id) p.identifier_id FROM cdp.profile p
		WHERE p.is_frozen AND p.identifier_id IS NOT NULL ORDER BY p.component_id
	) x;
	IF ids IS NOT NULL THEN
		PERFORM cdp.reconsider(ids, 'rule', '{}');
	END IF;
	RETURN (SELECT count(*) FROM cdp.frozen_components);
END
$$;
COMMENT ON FUNCTION cdp.resolve_frozen() IS 'Resolve the frozen components again, after cdp.identity_max_component was raised; returns how many are too large still';

CREATE FUNCTION cdp.resolve_all()
RETURNS TABLE (identifier_id bigint, cluster bigint, component bigint, is_disputed boolean, is_contested boolean)
AS 'MODULE_PATHNAME', 'cdp_resolve_all' LANGUAGE C STABLE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION cdp.resolve_all() IS 'The whole graph resolved from scratch: each identifier with one that stands for its cluster, one that stands for all that links connect, whether the order of links matters there, and whether it is a contested device. Reads all links into memory';

CREATE FUNCTION cdp.judge_all() RETURNS TABLE (identifier_a bigint, identifier_b bigint, status text, reason text)
AS 'MODULE_PATHNAME', 'cdp_judge_all' LANGUAGE C STABLE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION cdp.judge_all() IS 'The whole graph resolved from scratch: the judgement of each link. Reads all links into memory';
