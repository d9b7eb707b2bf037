-- pipeline: changes of rules and rulings, tried out.

CREATE FUNCTION cdp.apply_change(change jsonb, reason text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	members CONSTANT jsonb := '{"namespace": ["name", "entity", "kind", "priority", "max_per_profile", "bridge", "normalizer", "valid_pattern", "paths"],
		"block_value": ["value", "namespace", "is_pattern"], "unblock_value": ["value", "namespace", "is_pattern"], "retract": ["message_id", "source"],
		"trait": ["name", "rule", "cleanse", "null_if", "type", "minimum", "maximum", "valid_pattern", "computed"]}';
	action text;
	value jsonb;
	n record;
BEGIN
	PERFORM cdp.require_init();
	reason := coalesce(change ->> 'reason', reason);
	IF jsonb_typeof(change) = 'object' THEN
		SELECT k, change -> k INTO action, value FROM jsonb_object_keys(change - 'reason') k
		WHERE (SELECT count(*) FROM jsonb_object_keys(change - 'reason')) = 1;
	END IF;
	IF jsonb_typeof(value) = 'object' AND EXISTS (SELECT FROM jsonb_object_keys(value) k WHERE NOT coalesce(members -> action ? k, true)) THEN
		RAISE EXCEPTION 'unknown member in a change of %', action USING ERRCODE = 'invalid_parameter_value',
			HINT = format('It takes %s.', (SELECT string_agg(m, ', ') FROM jsonb_array_elements_text(members -> action) m));
	END IF;
	CASE
	WHEN action = 'namespace' AND value ->> 'name' IS NOT NULL THEN
		-- what is not said stays as it is
		SELECT r.* INTO n FROM jsonb_populate_record((SELECT o FROM cdp.namespace o WHERE o.name = value ->> 'name'), value) r;
		-- a name that is mistyped makes no new one
		IF n.kind IS NULL AND NOT EXISTS (SELECT FROM cdp.namespace o WHERE o.name = n.name) THEN
			RAISE EXCEPTION 'namespace "%" does not exist', n.name USING ERRCODE = 'undefined_object',
				HINT = 'See the table cdp.namespace. To make a new one say its kind, too: person, contact or device.';
		END IF;
		PERFORM cdp.create_namespace(n.name, coalesce(n.kind, 'contact'), n.priority, n.max_per_profile, coalesce(n.bridge, 'unique'),
			coalesce(n.normalizer, 'none'), n.valid_pattern, coalesce(n.paths, '{}'), coalesce(n.entity, 'person'));
	WHEN action = 'drop_namespace' AND jsonb_typeof(value) = 'string' THEN
		PERFORM cdp.drop_namespace(value #>> '{}');
	WHEN action = 'trait' AND value ->> 'name' IS NOT NULL THEN
		-- but where a trait that was said is to be computed, or the other way round
		SELECT r.* INTO n FROM jsonb_populate_record((SELECT o FROM cdp.trait o WHERE o.name = value ->> 'name'
			AND ((o.computed IS NULL) = (value ->> 'computed' IS NULL) OR value - 'name' = '{}')), value) r;
		PERFORM cdp.create_trait(n.name, coalesce(nullif(n.rule, 'computed'), 'latest'), n.cleanse, n.null_if, n.type, n.minimum, n.maximum, n.valid_pattern,
			n.computed);
	WHEN action = 'drop_trait' AND jsonb_typeof(value) = 'string' THEN
		PERFORM cdp.drop_trait(value #>> '{}');
	WHEN action IN ('block_value', 'unblock_value') AND jsonb_typeof(value) = 'object' THEN
		IF action = 'block_value' THEN
			PERFORM cdp.block_value(value ->> 'value', value ->> 'namespace', coalesce((value ->> 'is_pattern')::boolean, false));
		ELSE
			PERFORM cdp.unblock_value(value ->> 'value', value ->> 'namespace', coalesce((value ->> 'is_pattern')::boolean, false));
		END IF;
	WHEN action IN ('pin', 'deny', 'retract') AND jsonb_typeof(value) = 'array' AND jsonb_array_length(value) = 2 THEN
		PERFORM cdp.rule(action, (value ->> 0)::cdp.identifier, (value ->> 1)::cdp.identifier, reason);
	WHEN action = 'retract' AND jsonb_typeof(value) = 'string' THEN
		PERFORM cdp.retract((value #>> '{}')::cdp.identifier, reason);
	WHEN action = 'retract' AND value ->> 'message_id' IS NOT NULL THEN
		PERFORM cdp.retract(value ->> 'message_id', reason, value ->> 'source');
	WHEN action = 'lock' AND jsonb_typeof(value) = 'array' AND jsonb_array_length(value) = 3 THEN
		PERFORM cdp.lock_trait((value ->> 0)::cdp.identifier, value ->> 1, value -> 2, reason);
	WHEN action = 'undo' AND jsonb_typeof(value) = 'number' THEN
		PERFORM cdp.undo((value #>> '{}')::bigint);
	ELSE
		RAISE EXCEPTION 'that is no change' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'A change is an object with one of: namespace {name, ..}, drop_namespace "name", trait {name, ..}, drop_trait "name", block_value or unblock_value {value, namespace, is_pattern}, pin or deny ["a", "b"], retract ["a", "b"] or "identifier" or {message_id, source}, lock ["identifier", "trait", value], undo ruling_id; and perhaps reason.';
	END CASE;
END
$$;
COMMENT ON FUNCTION cdp.apply_change(jsonb, text) IS 'Make one change of those that cdp.simulate() takes: {"namespace": {"name": "email", "max_per_profile": 1}} (what is not said stays; a new one needs its kind), {"drop_namespace": "crm_id"}, {"trait": {"name": "plan", "rule": "preferred"}}, {"drop_trait": "plan"}, {"block_value": {"value": .., "namespace": .., "is_pattern": ..}}, {"unblock_value": ..}, {"pin": ["a", "b"]}, {"deny": ["a", "b"]}, {"retract": ["a", "b"] | "identifier" | {"message_id": .., "source": ..}}, {"lock": ["identifier", "trait", value]}, {"undo": ruling_id}. A ruling''s reason: in the change, else the argument. Errors as of the functions of those names, 22023, and 42704 for a namespace that is not there';

CREATE FUNCTION cdp.simulate(changes jsonb) RETURNS TABLE (what text, count bigint, detail jsonb)
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
DECLARE
	started timestamptz;
	last_change bigint;
	outcome jsonb;
BEGIN
	PERFORM cdp.require_init();
	BEGIN
		-- nobody else moves anything meanwhile, so what has changed since is what the changes did
		LOCK TABLE cdp.ruling IN SHARE ROW EXCLUSIVE MODE;
		PERFORM cdp.hold_rules();
		started := clock_timestamp();
		last_change := nextval('cdp.change_id_seq');
		DROP TABLE IF EXISTS pg_temp.cdp_membership_before;
		CREATE TEMPORARY TABLE cdp_membership_before AS SELECT m.profile_id, m.segment FROM cdp.membership m;
		PERFORM cdp.apply_change(c, 'simulated')
		FROM jsonb_array_elements(CASE jsonb_typeof(changes) WHEN 'array' THEN changes ELSE jsonb_build_array(changes) END) c;
		SELECT jsonb_agg(d) INTO outcome FROM cdp.difference_since(started, last_change) d;
		RAISE EXCEPTION USING ERRCODE = 'CDPSI', MESSAGE = 'simulated';
	EXCEPTION WHEN SQLSTATE 'CDPSI' THEN
		NULL; -- everything is taken back, the locks too, but not the variable
	END;
	-- whoever would be gone is there again, and has a name
	RETURN QUERY SELECT o.what, o.count, CASE WHEN o.detail ? 'gone' THEN o.detail - 'gone' || jsonb_build_object('loses', (
			SELECT jsonb_agg(n.name ORDER BY n.name) FROM (
				SELECT jsonb_array_elements_text(o.detail -> 'loses') AS name
				UNION ALL SELECT i.namespace || ':' || i.value FROM jsonb_array_elements_text(o.detail -> 'gone') g (id)
				JOIN cdp.identity i ON i.identifier_id = g.id::bigint
			) n)) ELSE o.detail END
	FROM jsonb_to_recordset(outcome) AS o (what text, count bigint, detail jsonb);
END
$$;
COMMENT ON FUNCTION cdp.simulate(jsonb) IS 'What changes of rules and rulings (one or an array, see cdp.apply_change()) would do to the data as they are: how many identifiers would move, be new or gone, how many profiles would merge, split, be removed or say something else, entries into and exits from each segment, and the ten profiles most affected with the identifiers they would gain and lose. Nothing is changed. Ingestion waits meanwhile. Errors as of the changes';

CREATE FUNCTION cdp.difference_since(started timestamptz, last_change bigint) RETURNS TABLE (what text, count bigint, detail jsonb)
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY
	WITH moved AS MATERIALIZED (
		SELECT x.identifier_id, x.was, x.now, i.namespace || ':' || i.value AS identifier, p.merged_into
		FROM (
			SELECT c.identifier_id, (array_agg(c.from_profile_id ORDER BY c.changed_at))[1] AS was,
				(array_agg(c.to_profile_id ORDER BY c.changed_at DESC))[1] AS now
			FROM cdp.identity_change c WHERE c.changed_at >= started GROUP BY c.identifier_id
		) x
		LEFT JOIN cdp.identity i USING (identifier_id) LEFT JOIN cdp.profile p ON p.profile_id = x.was
		WHERE x.was IS DISTINCT FROM x.now
	), affected AS (
		SELECT y.profile_id, count(*) AS n, jsonb_agg(y.identifier ORDER BY y.identifier) FILTER (WHERE y.gains) AS gains,
			jsonb_agg(y.identifier ORDER BY y.identifier) FILTER (WHERE NOT y.gains AND y.identifier IS NOT NULL) AS loses,
			jsonb_agg(y.identifier_id) FILTER (WHERE y.identifier IS NULL) AS gone
		FROM (
			SELECT m.was AS profile_id, m.identifier_id, m.identifier, false AS gains FROM moved m
			UNION ALL SELECT m.now, m.identifier_id, m.identifier, true FROM moved m
		) y
		WHERE y.profile_id IS NOT NULL GROUP BY y.profile_id ORDER BY count(*) DESC, y.profile_id LIMIT 10
	)
	SELECT 'identifiers moved', count(*) FILTER (WHERE m.was IS NOT NULL AND m.now IS NOT NULL), NULL::jsonb FROM moved m
	UNION ALL SELECT 'identifiers new', count(*) FILTER (WHERE m.was IS NULL), NULL FROM moved m
	UNION ALL SELECT 'identifiers gone', count(*) FILTER (WHERE m.now IS NULL), NULL FROM moved m
	UNION ALL SELECT 'profiles merged', count(DISTINCT m.was) FILTER (WHERE m.merged_into > 0), NULL FROM moved m
	UNION ALL SELECT 'profiles split', count(DISTINCT (m.was, m.now)) FILTER (WHERE m.merged_into IS NULL AND m.was IS NOT NULL AND m.now IS NOT NULL), NULL FROM moved m
	UNION ALL SELECT 'profiles removed', count(DISTINCT m.was) FILTER (WHERE m.merged_into = 0), NULL FROM moved m
	UNION ALL
	SELECT 'profiles changed', count(DISTINCT c.profile_id), NULL FROM cdp.change c
	WHERE c.kind = 'profile_changed' AND c.change_id > last_change AND c.at >= cdp.clock_now()
	UNION ALL
	SELECT CASE WHEN b.profile_id IS NULL THEN 'segment entered' ELSE 'segment left' END, count(*), jsonb_build_object('segment', segment)
	FROM pg_temp.cdp_membership_before b FULL JOIN cdp.membership m USING (profile_id, segment)
	WHERE b.profile_id IS NULL OR m.profile_id IS NULL GROUP BY b.profile_id IS NULL, segment
	UNION ALL
	SELECT 'profile', a.n, jsonb_strip_nulls(jsonb_build_object('profile_id', a.profile_id, 'gains', a.gains, 'loses', a.loses, 'gone', a.gone)) FROM affected a;
END
$$;
COMMENT ON FUNCTION cdp.difference_since(timestamptz, bigint) IS 'What became of people since an instant and a change in cdp.change, in this transaction, as cdp.simulate() returns it, but for those that are gone: gone has their numbers';
