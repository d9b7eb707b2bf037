-- profile: lookups, traits from tables of others.

CREATE FUNCTION cdp.enrich(traits cdp.traits) RETURNS cdp.traits
LANGUAGE sql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce(cdp.merge(enrich.traits, (
		SELECT cdp.merge_traits(r.traits) FROM cdp.lookup l JOIN cdp.lookup_row r ON r.lookup_id = l.lookup_id AND r.key = cdp.trait(enrich.traits, ARRAY[l.key_trait], NULL::text)
	)), enrich.traits)
$$;
COMMENT ON FUNCTION cdp.enrich(cdp.traits) IS 'A profile''s traits, as its fragments have them, with those that the lookups have for them; whoever derives profiles does it with this';

CREATE FUNCTION cdp.fold_by_trait(trait text, keys text[]) RETURNS bigint
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	chunk bigint[];
	folded bigint := 0;
BEGIN
	FOR chunk IN
		SELECT array_agg(p.identifier_id) FROM (
			SELECT o.identifier_id, row_number() OVER (ORDER BY o.component_id) / 10000 AS chunk FROM cdp.profile o
			JOIN unnest(keys) k ON k = cdp.trait(o.traits, ARRAY[trait], NULL::text) WHERE o.merged_into IS NULL
		) p GROUP BY p.chunk
	LOOP
		PERFORM cdp.reconsider(chunk, 'rule', '{}');
		folded := folded + cardinality(chunk);
	END LOOP;
	RETURN folded;
END
$$;
COMMENT ON FUNCTION cdp.fold_by_trait(text, text[]) IS 'Fold the profiles again whose trait has one of some values, and bring up to date what follows from them; returns how many';

CREATE FUNCTION cdp.refresh_lookup(name text) RETURNS bigint
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
SET timezone = 'UTC' SET datestyle = 'ISO, YMD' SET intervalstyle = 'postgres' SET extra_float_digits = 1 SET bytea_output = 'hex' -- one text of a value
AS $$
DECLARE
	held record;
	members text;
	changed text[];
BEGIN
	PERFORM cdp.require_init();
	SELECT l.*, to_regclass(l.relation) AS relation_id INTO held FROM cdp.lookup l WHERE l.name = refresh_lookup.name FOR UPDATE;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'lookup "%" does not exist', name USING ERRCODE = 'undefined_object', HINT = 'See the table cdp.lookup.';
	END IF;
	IF held.relation_id IS NULL THEN
		RAISE EXCEPTION 'relation % of lookup "%" does not exist', held.relation, name USING ERRCODE = 'undefined_table',
			HINT = 'People keep what they have from it until it is there again, or the lookup is dropped.';
	END IF;
	PERFORM cdp.check_columns(held.relation_id, ARRAY (SELECT c.value FROM jsonb_each_text(held.columns) c) || ARRAY[held.key_column, held.observed_column]);
	-- a text that is no time would stand in the error
	IF held.observed_column IS NOT NULL AND (cdp.cursor_type(held.relation_id, held.observed_column) ~ '^(timestamp|date)') IS NOT TRUE THEN
		RAISE EXCEPTION 'column "%" of % is not of a time type', held.observed_column, held.relation USING ERRCODE = 'datatype_mismatch',
			HINT = 'Use a timestamp or date, or a view that makes one of it.';
	END IF;
	-- it is read and compared before anybody has to wait
	SELECT string_agg(format('(%L, to_jsonb(r.%I))', c.key, c.value), ', ') INTO members FROM jsonb_each_text(held.columns) c;
	DROP TABLE IF EXISTS pg_temp.cdp_lookup_change;
	EXECUTE format('CREATE TEMPORARY TABLE cdp_lookup_change ON COMMIT DROP AS '
		'SELECT key, n.object, n.observed_at, n.n_rows FROM (SELECT s.*, count(*) OVER (PARTITION BY s.key) AS n_rows, '
				'cdp.declared_traits(s.object, s.observed_at, %s) AS traits '
			'FROM (SELECT r.%I::text AS key, coalesce(%s, ''0001-01-01Z'') AS observed_at, '
				'coalesce((SELECT jsonb_object_agg(m.k, m.v) FROM (VALUES %s) m (k, v) WHERE m.v IS NOT NULL), ''{}'') AS object FROM %s r) s '
			'WHERE s.key IS NOT NULL) n '
		'FULL JOIN (SELECT * FROM cdp.lookup_row o WHERE o.lookup_id = %s) o USING (key) '
		'WHERE NOT coalesce(cdp.is_same(n.traits, o.traits), n.traits IS NULL AND o.traits IS NULL) '
			'OR (n.object::text, n.observed_at) IS DISTINCT FROM (o.object::text, o.observed_at) OR n.n_rows > 1',
		held.rank, held.key_column, coalesce('r.' || quote_ident(held.observed_column) || '::timestamptz', 'NULL::timestamptz'), members, held.relation, held.lookup_id);
	IF EXISTS (SELECT FROM pg_temp.cdp_lookup_change c WHERE c.n_rows > 1) THEN
		RAISE EXCEPTION 'column "%" of % has values that several rows have', held.key_column, held.relation
			USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'A lookup finds one row by its key; use a view that has one for each.';
	END IF;
	SELECT array_agg(c.key) INTO changed FROM pg_temp.cdp_lookup_change c;
	IF changed IS NOT NULL THEN
		PERFORM cdp.hold_rules();
		DELETE FROM cdp.lookup_row r USING pg_temp.cdp_lookup_change c WHERE r.lookup_id = held.lookup_id AND r.key = c.key;
		-- by the rules as they are now
		INSERT INTO cdp.lookup_row (lookup_id, key, object, observed_at, traits)
		SELECT held.lookup_id, c.key, c.object, c.observed_at, cdp.declared_traits(c.object, c.observed_at, held.rank)
		FROM pg_temp.cdp_lookup_change c WHERE c.object IS NOT NULL;
	END IF;
	UPDATE cdp.lookup l SET refreshed_at = cdp.clock_now() WHERE l.lookup_id = held.lookup_id;
	DROP TABLE pg_temp.cdp_lookup_change;
	RETURN coalesce(cdp.fold_by_trait(held.key_trait, changed), 0);
END
$$;
COMMENT ON FUNCTION cdp.refresh_lookup(text) IS 'Copy what changed in a lookup''s relation, and fold the profiles again whose key has another row now, one more or none; returns how many. Reads with the rights of the caller; ingestion waits only while they are folded. Errors 42704, 42P01, 42703, 42804, 55000, 22008, and what the relation raises';

CREATE FUNCTION cdp.create_lookup(
	relation regclass, key_trait text, columns jsonb, key_column text DEFAULT NULL, rank integer DEFAULT 0, name text DEFAULT NULL, observed text DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	me record; -- the relation
	other text;
BEGIN
	PERFORM cdp.require_init();
	SELECT c.relname, format('%I.%I', n.nspname, c.relname) AS path INTO me FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE c.oid = relation AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't';
	IF NOT FOUND THEN
		RAISE EXCEPTION 'that is no relation to read rows from' USING ERRCODE = 'wrong_object_type',
			HINT = 'Name a table, view, materialized view or foreign table that other sessions see too.';
	END IF;
	name := coalesce(name, me.relname);
	key_column := coalesce(key_column, key_trait);
	IF key_trait IS NULL OR name = '' OR jsonb_typeof(columns) IS DISTINCT FROM 'object' OR columns = '{}'
		OR EXISTS (SELECT FROM jsonb_each(columns) c WHERE jsonb_typeof(c.value) <> 'string') THEN
		RAISE EXCEPTION 'a lookup needs a key trait and columns' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Columns are an object of traits and the columns they come from, such as {"income_band": "band"}.';
	END IF;
	IF rank IS NULL OR rank NOT BETWEEN -32767 AND 32767 THEN
		RAISE EXCEPTION 'rank of lookup "%" is out of range', name USING ERRCODE = 'invalid_parameter_value', HINT = 'A rank is between -32767 and 32767.';
	END IF;
	PERFORM cdp.check_columns(relation, ARRAY (SELECT c.value FROM jsonb_each_text(columns) c) || ARRAY[create_lookup.key_column, observed]);
	LOCK TABLE cdp.lookup IN SHARE ROW EXCLUSIVE MODE; -- each is checked against the others
	IF columns ? key_trait THEN
		other := name;
	ELSE
		SELECT l.name INTO other FROM cdp.lookup l WHERE l.name <> create_lookup.name AND (l.columns ? create_lookup.key_trait OR create_lookup.columns ? l.key_trait) LIMIT 1;
	END IF;
	IF other IS NOT NULL THEN
		RAISE EXCEPTION 'lookups "%" and "%" would make a chain', name, other USING ERRCODE = 'invalid_parameter_value',
			HINT = 'The trait by which one finds its row cannot come from another, nor from itself; join the tables in a view.';
	END IF;
	IF EXISTS (SELECT FROM cdp.trait t WHERE t.name = key_trait AND t.computed IS NOT NULL) THEN
		RAISE EXCEPTION 'trait "%" is computed and finds no row', key_trait USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Look up by a trait that is said.';
	END IF;
	IF EXISTS (SELECT FROM cdp.lookup l WHERE l.name = create_lookup.name AND l.key_trait <> create_lookup.key_trait) THEN
		PERFORM cdp.drop_lookup(name);
	END IF;
	INSERT INTO cdp.lookup (name, relation, key_trait, key_column, columns, rank, observed_column)
	VALUES (create_lookup.name, me.path, create_lookup.key_trait, create_lookup.key_column, create_lookup.columns, create_lookup.rank, observed)
	ON CONFLICT ON CONSTRAINT lookup_name_key DO UPDATE SET relation = excluded.relation, key_column = excluded.key_column,
		columns = excluded.columns, rank = excluded.rank, observed_column = excluded.observed_column;
	RETURN cdp.refresh_lookup(name);
END
$$;
COMMENT ON FUNCTION cdp.create_lookup(regclass, text, jsonb, text, integer, text, text) IS 'Make or replace a lookup, which adds traits to the profiles whose key_trait is in key_column (null: of the same name) of a table, view or foreign table. columns: trait -> column; rank: of two lookups the higher wins; name: null: that of the relation; observed: a column that says since when a row holds, which then counts like anybody''s word of that time; null: whatever people say themselves goes before. Copies it at once; returns how many profiles were folded again. Errors 22023, 42703, 42809, and as of cdp.refresh_lookup()';

CREATE FUNCTION cdp.drop_lookup(name text) RETURNS bigint
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	dropped record;
	keys text[];
BEGIN
	PERFORM cdp.require_init();
	PERFORM cdp.hold_rules();
	DELETE FROM cdp.lookup l WHERE l.name = drop_lookup.name RETURNING l.lookup_id, l.key_trait INTO dropped;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'lookup "%" does not exist', name USING ERRCODE = 'undefined_object', HINT = 'See the table cdp.lookup.';
	END IF;
	WITH gone AS (
		DELETE FROM cdp.lookup_row r WHERE r.lookup_id = dropped.lookup_id RETURNING r.key
	)
	SELECT array_agg(g.key) INTO keys FROM gone g;
	RETURN coalesce(cdp.fold_by_trait(dropped.key_trait, keys), 0);
END
$$;
COMMENT ON FUNCTION cdp.drop_lookup(text) IS 'Take the traits of a lookup from all profiles, and forget it; returns how many profiles were folded again. Error 42704';

CREATE FUNCTION cdp.lookup_candidates(profile_id bigint, trait text) RETURNS TABLE (value jsonb, occurred_at timestamptz, source text, rank integer)
LANGUAGE sql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT r.object -> lookup_candidates.trait, r.observed_at, l.name, l.rank
	FROM cdp.profile p CROSS JOIN cdp.lookup l JOIN cdp.lookup_row r ON r.lookup_id = l.lookup_id AND r.key = cdp.trait(p.traits, ARRAY[l.key_trait], NULL::text)
	WHERE p.profile_id = lookup_candidates.profile_id AND r.object ? lookup_candidates.trait
$$;
COMMENT ON FUNCTION cdp.lookup_candidates(bigint, text) IS 'What lookups have for a trait of a profile; part of cdp.explain_trait()';

CREATE FUNCTION cdp.explain_trait(profile_id bigint, trait text)
RETURNS TABLE (value jsonb, occurred_at timestamptz, source text, rank integer, anchor cdp.identifier, message_id text, verdict text)
LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	profile bigint;
	result cdp.traits;
BEGIN
	PERFORM cdp.require_init();
	profile := cdp.profile_id(profile_id);
	SELECT coalesce(cdp.merge(p.traits, p.computed), p.traits, p.computed) INTO result FROM cdp.profile p WHERE p.profile_id = profile;
	RETURN QUERY
	SELECT x.value, x.occurred_at, x.source, x.rank, cdp.identifier(i.namespace, i.value), x.message_id, x.verdict
	FROM (
		SELECT t.anchor_id, d.traits -> trait AS value, d.occurred_at, s.name AS source, s.rank, d.message_id,
			coalesce(cdp.trait_objection(trait, d.traits -> trait), cdp.trait_verdict(
				cdp.declared_traits(jsonb_build_object(trait, d.traits -> trait), d.occurred_at, s.rank), result, trait)) AS verdict
		FROM (SELECT DISTINCT t.anchor_id, t.identifier_id FROM cdp.tenure t WHERE t.profile_id = profile) t
		CROSS JOIN LATERAL ( -- OFFSET 0: by the index
			SELECT * FROM cdp.statement x WHERE x.identifier_id = t.identifier_id AND x.anchor_id = t.anchor_id AND x.traits ? trait OFFSET 0
		) d
		JOIN cdp.source s ON s.source_id = d.source_id
		UNION ALL
		SELECT l.identifier_id, l.value, l.ruled_at, format('ruling %s by %s', l.ruling_id, l.actor), NULL, NULL,
			cdp.trait_verdict(l.traits, result, explain_trait.trait)
		FROM cdp.identity i JOIN cdp.locked_traits l USING (identifier_id) WHERE i.profile_id = profile AND l.trait = explain_trait.trait
		UNION ALL
		SELECT r.anchor_id, cdp.to_jsonb(r.traits) -> trait, (m.word ->> 'at')::timestamptz, 'what left the log', (m.word ->> 'rank')::integer,
			NULL, cdp.trait_verdict(jsonb_build_object(trait, m.word)::text::cdp.traits, result, trait)
		FROM cdp.identity i JOIN cdp.fragment_remainder r ON r.anchor_id = i.identifier_id
		CROSS JOIN LATERAL (SELECT r.traits::text::jsonb -> trait AS word) m
		WHERE i.profile_id = profile AND m.word IS NOT NULL
		UNION ALL
		SELECT NULL, l.value, l.occurred_at, l.source, l.rank, NULL,
			coalesce(cdp.trait_objection(trait, l.value), cdp.trait_verdict(
				cdp.declared_traits(jsonb_build_object(trait, l.value), l.occurred_at, l.rank), result, trait))
		FROM cdp.lookup_candidates(profile, trait) l
		UNION ALL
		SELECT NULL, cdp.to_jsonb(p.computed) -> trait, NULL, format('computed: %s', t.computed), NULL, NULL, cdp.trait_verdict(p.computed, result, trait)
		FROM cdp.profile p JOIN cdp.trait t ON t.name = trait WHERE p.profile_id = profile AND cdp.to_jsonb(p.computed) ? trait
	) x
	LEFT JOIN cdp.identity i ON i.identifier_id = x.anchor_id
	ORDER BY x.occurred_at DESC, x.rank DESC, x.verdict = 'counts' DESC, x.message_id;
END
$$;
COMMENT ON FUNCTION cdp.explain_trait(bigint, text) IS 'Why a profile has the value of a trait that it has: every value that was ever said of it, as it was said, by which message and source, under which identifier, and the verdict on it by the trait''s rule: counts (of most_frequent, sum and union several), by what it lost (such as older, of a source of lower rank, said less often, the smaller value), overruled by a steward, says nothing, or refused: and why. A lock is a row whose source is the ruling; what a lookup has comes from no message, and has the lookup''s name for its source; what messages said that left the log is one row for each anchor; of a computed trait there is a row with what is computed as source. The latest first; no row when nothing was said. The profile id may be an old one';
