-- profile: rules of traits.

CREATE FUNCTION cdp.gather_again(identifier_ids bigint[], cause text) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM cdp.show_progress(format('deriving what %s identifiers say again', cardinality(identifier_ids)));
	PERFORM cdp.refold(identifier_ids, '{}');
	PERFORM cdp.reconsider(ARRAY (
		SELECT unnest(identifier_ids) UNION SELECT f.anchor_id FROM cdp.fragment f
		WHERE f.identifier_id = ANY (identifier_ids) AND f.anchor_id <> f.identifier_id), cause, '{}');
END
$$;
COMMENT ON FUNCTION cdp.gather_again(bigint[], text) IS 'Derive the fragments of the events stored under some identifiers again, after what is made of traits changed (cause: ruling, rule), and bring everything that follows up to date. The caller holds their components, or the rules alone';

CREATE FUNCTION cdp.reapply_trait(trait text) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan SET enable_seqscan = on SET enable_hashjoin = on SET enable_mergejoin = on -- few or many: planned each time
AS $$
DECLARE
	touched bigint[];
	looked_up record;
BEGIN
	PERFORM cdp.show_progress(format('looking for what says trait %s', quote_literal(trait)));
	WITH strongest AS (
		SELECT e.identifier_id AS id, bool_or(e.type = 'group') AS is_of_account FROM cdp.event e
		WHERE e.type IN ('identify', 'group') AND e.identifier_id <> 0 AND e.message -> 'traits' ? trait GROUP BY e.identifier_id
	)
	SELECT array_agg(x.id) INTO touched FROM (
		SELECT s.id FROM strongest s
		UNION SELECT l.identifier_b FROM strongest s JOIN cdp.link l ON l.identifier_a = s.id AND l.status = 'related' WHERE s.is_of_account
	) x;
	-- of what left the log only the outcome is known: it counts as one word from now on
	WITH said AS (
		UPDATE cdp.fragment_remainder r SET traits = coalesce(cdp.merge(x.others, x.word), x.others)
		FROM (
			SELECT o.anchor_id, o.identifier_id, (m.map - trait)::text::cdp.traits AS others,
				cdp.declared_traits(jsonb_build_object(trait, coalesce(cdp.to_jsonb(o.traits) -> trait, 'null')),
					(m.map -> trait ->> 'at')::timestamptz, (m.map -> trait ->> 'rank')::integer) AS word
			FROM cdp.fragment_remainder o CROSS JOIN LATERAL (SELECT o.traits::text::jsonb AS map) m WHERE m.map ? trait
		) x
		WHERE r.anchor_id = x.anchor_id AND r.identifier_id = x.identifier_id RETURNING r.identifier_id
	)
	SELECT nullif(coalesce(touched, '{}') || array_agg(i.identifier_id), '{}') INTO touched
	FROM said s JOIN cdp.identity i USING (identifier_id);
	WITH made AS (
		UPDATE cdp.lookup_row r SET traits = x.traits
		FROM (
			SELECT o.lookup_id, o.key, l.key_trait, cdp.declared_traits(o.object, o.observed_at, l.rank) AS traits
			FROM cdp.lookup l JOIN cdp.lookup_row o USING (lookup_id) WHERE l.columns ? trait AND o.object ? trait
		) x
		WHERE r.lookup_id = x.lookup_id AND r.key = x.key AND NOT coalesce(cdp.is_same(r.traits, x.traits), r.traits IS NULL AND x.traits IS NULL)
		RETURNING x.key_trait, x.key
	)
	SELECT array_agg(m.key_trait) AS key_traits, array_agg(m.key) AS keys INTO looked_up FROM made m;
	IF touched IS NOT NULL THEN
		PERFORM cdp.gather_again(touched, 'rule');
	END IF;
	PERFORM cdp.fold_by_trait(f.key_trait, f.keys) FROM (
		SELECT k.key_trait, array_agg(DISTINCT k.key) AS keys FROM unnest(looked_up.key_traits, looked_up.keys) k (key_trait, key) GROUP BY k.key_trait
	) f;
END
$$;
COMMENT ON FUNCTION cdp.reapply_trait(text) IS 'Bring up to date what a change of a trait''s rule touches: of whom a message says it, or a lookup has it. The caller holds the rules alone';

CREATE FUNCTION cdp.create_trait(
	name text, rule text DEFAULT 'latest', cleanse text[] DEFAULT '{}', null_if text[] DEFAULT '{}', type text DEFAULT NULL,
	minimum numeric DEFAULT NULL, maximum numeric DEFAULT NULL, valid_pattern text DEFAULT NULL, computed text DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	wrong text;
	was_computed boolean;
BEGIN
	PERFORM cdp.require_init();
	PERFORM cdp.hold_rules();
	IF name IS NULL OR octet_length(name) NOT BETWEEN 1 AND 255 THEN
		RAISE EXCEPTION 'invalid name for a trait' USING ERRCODE = 'invalid_name', HINT = 'A trait''s name has 1 to 255 bytes.';
	END IF;
	cleanse := coalesce(cleanse, '{}');
	null_if := coalesce(null_if, '{}');
	IF computed IS NOT NULL THEN
		IF (rule, cleanse, null_if, type, minimum, maximum, valid_pattern) IS DISTINCT FROM
			('latest', '{}'::text[], '{}'::text[], NULL::text, NULL::numeric, NULL::numeric, NULL::text) THEN
			RAISE EXCEPTION 'trait "%" is computed and takes no rule for what is said', name USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Give only the name and what is computed.';
		END IF;
		IF EXISTS (SELECT FROM cdp.lookup l WHERE l.key_trait = create_trait.name) THEN
			RAISE EXCEPTION 'trait "%" finds the rows of a lookup and cannot be computed', name USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Choose another name, or drop the lookup: see the table cdp.lookup.';
		END IF;
		computed := cdp.declare_computation(computed);
	END IF;
	wrong := CASE
		WHEN coalesce(rule, '') NOT IN ('latest', 'earliest', 'preferred', 'first_non_empty', 'highest', 'lowest', 'most_frequent', 'sum', 'union') THEN 'rule'
		WHEN type NOT IN ('string', 'number', 'boolean', 'array', 'object') THEN 'type'
		WHEN NOT cleanse <@ '{trim,lower,upper,title}' OR cardinality(array_remove(cleanse, 'trim')) > 1 THEN 'cleanse' END;
	IF wrong IS NOT NULL THEN
		RAISE EXCEPTION 'invalid % of trait "%"', wrong, name USING ERRCODE = 'check_violation',
			HINT = 'rule is latest, earliest, preferred, first_non_empty, highest, lowest, most_frequent, sum or union; type string, number, boolean, array or object; cleanse has trim and one of lower, upper and title.';
	END IF;
	IF array_position(null_if, NULL) IS NOT NULL THEN
		RAISE EXCEPTION 'null in null_if of trait "%"', name USING ERRCODE = 'null_value_not_allowed',
			HINT = 'It lists what else stands for null, such as {n/a,-}.';
	END IF;
	IF minimum = 'NaN' OR maximum = 'NaN' OR minimum > maximum THEN
		RAISE EXCEPTION 'the range of trait "%" is upside down', name USING ERRCODE = 'invalid_parameter_value',
			HINT = 'minimum is at most maximum; leave one null for no bound.';
	END IF;
	IF valid_pattern IS NOT NULL THEN
		PERFORM '' ~ valid_pattern; -- an invalid regular expression fails here, not at the next message
	END IF;
	was_computed := EXISTS (SELECT FROM cdp.trait t WHERE t.name = create_trait.name AND t.computed IS NOT NULL);
	IF computed IS NOT NULL OR was_computed THEN
		rule := CASE WHEN computed IS NULL THEN rule ELSE 'computed' END;
		PERFORM cdp.hold_segments();
	END IF;
	INSERT INTO cdp.trait AS t (name, rule, cleanse, null_if, type, minimum, maximum, valid_pattern, computed)
	VALUES (create_trait.name, create_trait.rule, create_trait.cleanse, create_trait.null_if, create_trait.type, create_trait.minimum,
		create_trait.maximum, create_trait.valid_pattern, create_trait.computed)
	ON CONFLICT ON CONSTRAINT trait_pkey DO UPDATE SET rule = excluded.rule, cleanse = excluded.cleanse, null_if = excluded.null_if,
		type = excluded.type, minimum = excluded.minimum, maximum = excluded.maximum, valid_pattern = excluded.valid_pattern,
		computed = excluded.computed
	WHERE (t.rule, t.cleanse, t.null_if, t.type, t.minimum, t.maximum, t.valid_pattern, t.computed) IS DISTINCT FROM
		(excluded.rule, excluded.cleanse, excluded.null_if, excluded.type, excluded.minimum, excluded.maximum, excluded.valid_pattern,
			excluded.computed);
	IF NOT FOUND THEN
		RETURN;
	END IF;
	IF computed IS NULL OR NOT was_computed THEN
		PERFORM cdp.reapply_trait(name);
	END IF;
	IF computed IS NOT NULL OR was_computed THEN
		PERFORM cdp.compute_everybody();
	END IF;
END
$$;
COMMENT ON FUNCTION cdp.create_trait(text, text, text[], text[], text, numeric, numeric, text, text) IS 'Make or replace the rule of a trait. rule, which of the values said counts: latest, earliest, preferred (of the source of the highest rank, then the latest), first_non_empty, highest, lowest, most_frequent, sum, union (of lists); cleanse: trim, and one of lower, upper, title; null_if: what else stands for null. A value that is not of the type (string, number, boolean, array, object), outside of minimum and maximum, or does not match the regular expression valid_pattern stays in its event, is not taken, and is counted in cdp.refused_values. computed: what the trait is computed from, such as sum(Order Completed.revenue) within 90 days (docs/segment.md), instead of all that: it is kept current, and what messages say of it is refused. Applies to the past in the same transaction. Waits for running ingestion and holds it up meanwhile. Errors 42602, 23514, 22004, 22023, 2201B, 42501, 25000, and of computed those of cdp.read_computation()';

CREATE FUNCTION cdp.drop_trait(name text) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	was_computed boolean;
BEGIN
	PERFORM cdp.require_init();
	PERFORM cdp.hold_rules();
	SELECT t.computed IS NOT NULL INTO was_computed FROM cdp.trait t WHERE t.name = drop_trait.name;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'trait "%" does not exist', name USING ERRCODE = 'undefined_object', HINT = 'See the table cdp.trait.';
	END IF;
	IF was_computed THEN
		PERFORM cdp.hold_segments();
	END IF;
	DELETE FROM cdp.trait t WHERE t.name = drop_trait.name;
	PERFORM cdp.reapply_trait(name);
	IF was_computed THEN
		PERFORM cdp.compute_everybody();
	END IF;
END
$$;
COMMENT ON FUNCTION cdp.drop_trait(text) IS 'Drop the rule of a trait: the latest word counts again, as it was said, in the past too. A computed trait is gone. Locks stay. Error 42704';

CREATE FUNCTION cdp.lock_trait(identifier cdp.identifier, trait text, value jsonb, reason text) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	normal cdp.identifier;
	known bigint;
	other record;
	heirs bigint[] := '{}';
	ruled bigint;
BEGIN
	PERFORM cdp.require_init();
	PERFORM cdp.require_reason(reason);
	IF identifier IS NULL OR trait IS NULL OR value IS NULL THEN
		RAISE EXCEPTION 'identifier, trait and value of a lock must not be null' USING ERRCODE = 'null_value_not_allowed',
			HINT = 'To lock a trait as unset, give JSON''s null: ''null''::jsonb.';
	END IF;
	PERFORM cdp.traits(jsonb_build_object(trait, value), now()); -- what cannot be kept fails here
	LOCK TABLE cdp.ruling IN SHARE ROW EXCLUSIVE MODE;
	PERFORM cdp.hold_rules(is_alone => false);
	IF cdp.is_blocked(identifier) THEN
		RAISE EXCEPTION 'a blocked value cannot be ruled on' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Blocked values are nobody''s; see cdp.is_blocked().';
	END IF;
	normal := cdp.normalize(identifier);
	SELECT r.* INTO other FROM cdp.ruling r
	WHERE r.kind = 'lock' AND r.a = normal AND r.trait = lock_trait.trait AND r.undone_at IS NULL;
	IF other.value = value THEN
		RETURN other.ruling_id;
	ELSIF FOUND THEN
		RAISE EXCEPTION 'ruling % locks that trait of that identifier already', other.ruling_id USING ERRCODE = 'check_violation',
			HINT = format('Undo it first: SELECT cdp.undo(%s).', other.ruling_id);
	END IF;
	IF NOT EXISTS (SELECT FROM cdp.identity i WHERE i.namespace = cdp.namespace(normal) AND i.value = cdp.value(normal)) THEN
		PERFORM cdp.hold_rules(); -- somebody may just be seeing it
		heirs := cdp.make_identifiers(ARRAY[normal], 'ruling');
	END IF;
	INSERT INTO cdp.ruling (kind, a, trait, value, reason) VALUES ('lock', normal, lock_trait.trait, lock_trait.value, lock_trait.reason)
	RETURNING ruling_id INTO ruled;
	SELECT i.identifier_id INTO known FROM cdp.identity i WHERE i.namespace = cdp.namespace(normal) AND i.value = cdp.value(normal);
	PERFORM cdp.hold_people(known || heirs);
	PERFORM cdp.gather_again(known || heirs, 'ruling');
	RETURN ruled;
END
$$;
COMMENT ON FUNCTION cdp.lock_trait(cdp.identifier, text, jsonb, text) IS 'Rule what the value of a trait is of whom an identifier belongs to, whatever messages say and have said, until cdp.undo() of the ruling whose id it returns. The lock stays with the identifier when profiles merge and split; of two locks in one profile the later counts. Errors 22004 without a reason, 22023, 22003, 54000, 23514 when it is locked to another value, 42704';
