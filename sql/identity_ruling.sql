-- identity: rulings of stewards.

CREATE FUNCTION cdp.make_identifiers(identifiers cdp.identifier[], cause text) RETURNS bigint[]
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	wanted cdp.identifier;
	before record;
	known bigint;
	minted bigint;
	heirs bigint[] := '{}';
BEGIN
	-- in one order, so that two sessions never wait for each other
	FOR wanted IN SELECT DISTINCT i FROM unnest(identifiers) i ORDER BY i LOOP
		DELETE FROM cdp.forgotten f WHERE f.namespace = cdp.namespace(wanted) AND f.value = cdp.value(wanted)
		RETURNING f.identifier_id, f.profile_ids INTO before;
		LOOP
			SELECT i.identifier_id, i.profile_id INTO known, minted FROM cdp.identity i
			WHERE i.namespace = cdp.namespace(wanted) AND i.value = cdp.value(wanted);
			EXIT WHEN FOUND;
			minted := coalesce(before.profile_ids[1], nextval('cdp.profile_id_seq'));
			INSERT INTO cdp.identity (identifier_id, namespace, value, profile_id, event_count)
			VALUES (coalesce(before.identifier_id, nextval(pg_get_serial_sequence('cdp.identity', 'identifier_id'))),
				cdp.namespace(wanted), cdp.value(wanted), minted, 0) ON CONFLICT DO NOTHING RETURNING identifier_id INTO known;
			IF FOUND THEN
				INSERT INTO cdp.profile AS p (profile_id, entity, component_id, identifier_id)
				SELECT minted, n.entity, minted, known FROM cdp.namespace n WHERE n.name = cdp.namespace(wanted)
				ON CONFLICT (profile_id) DO NOTHING;
				INSERT INTO cdp.identity_change (identifier_id, to_profile_id, cause, changed_at)
				VALUES (known, minted, make_identifiers.cause, clock_timestamp());
				EXIT;
			END IF;
		END LOOP;
		-- it gets the profile ids back that were minted for it, also from who took them over
		heirs := heirs || ARRAY (SELECT p.identifier_id FROM cdp.profile p
			WHERE p.profile_id = ANY (before.profile_ids) AND p.identifier_id <> known);
		UPDATE cdp.profile p SET identifier_id = known,
			component_id = CASE WHEN p.merged_into = 0 THEN coalesce((SELECT o.component_id FROM cdp.profile o
				WHERE o.profile_id = minted AND o.merged_into IS DISTINCT FROM 0), minted) ELSE p.component_id END,
			merged_into = CASE WHEN p.merged_into = 0 AND p.profile_id <> minted THEN minted WHEN p.merged_into <> 0 THEN p.merged_into END
		WHERE p.profile_id = ANY (before.profile_ids);
	END LOOP;
	RETURN heirs;
END
$$;
COMMENT ON FUNCTION cdp.make_identifiers(cdp.identifier[], text) IS 'See to it that there are some identifiers, normalised already: those that were never seen are made, each with a profile of its own; those that were forgotten come back with the ids they had. Returns who had taken those ids over, to be resolved again with them';

CREATE FUNCTION cdp.forget_identifiers(identifier_ids bigint[], profile_ids bigint[], minted_for bigint[]) RETURNS void
LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
	WITH gone AS (
		DELETE FROM cdp.identity i WHERE i.identifier_id = ANY (identifier_ids) RETURNING i.identifier_id, i.namespace, i.value
	)
	INSERT INTO cdp.forgotten (namespace, value, identifier_id, profile_ids)
	SELECT g.namespace, g.value, g.identifier_id, array_agg(m.profile_id ORDER BY m.profile_id)
		FILTER (WHERE m.profile_id IS NOT NULL AND NOT EXISTS (SELECT FROM cdp.forgotten f WHERE m.profile_id = ANY (f.profile_ids)))
	FROM gone g LEFT JOIN unnest(profile_ids, minted_for) AS m (profile_id, identifier_id) USING (identifier_id)
	GROUP BY g.namespace, g.value, g.identifier_id
	ON CONFLICT (namespace, value) DO UPDATE SET identifier_id = excluded.identifier_id,
		profile_ids = forgotten.profile_ids || excluded.profile_ids
$$;
COMMENT ON FUNCTION cdp.forget_identifiers(bigint[], bigint[], bigint[]) IS 'Take identifiers out that nothing mentions any more; cdp.forgotten keeps their ids, and which of some profile ids were minted for them, for the undoing of what took them out';

CREATE FUNCTION cdp.require_reason(reason text) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF reason IS NULL OR btrim(reason) = '' THEN
		RAISE EXCEPTION 'a ruling needs a reason' USING ERRCODE = 'null_value_not_allowed',
			HINT = 'Say why, for whoever reads it next year.';
	END IF;
END
$$;
COMMENT ON FUNCTION cdp.require_reason(text) IS 'Error 22004 unless a steward says why';

CREATE FUNCTION cdp.order_ends(a cdp.identifier, b cdp.identifier) RETURNS cdp.identifier[]
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	ends cdp.identifier[];
	entities text[];
BEGIN
	IF a IS NULL OR b IS NULL THEN
		RAISE EXCEPTION 'an identifier must not be null' USING ERRCODE = 'null_value_not_allowed',
			HINT = 'Write namespace:value, such as email:ada@example.com.';
	END IF;
	IF cdp.is_blocked(a) OR cdp.is_blocked(b) THEN
		RAISE EXCEPTION 'a blocked value cannot be ruled on' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Blocked values are nobody''s; see cdp.is_blocked().';
	END IF;
	SELECT array_agg(e.id ORDER BY n.priority, e.id), array_agg(DISTINCT n.entity) INTO ends, entities
	FROM (SELECT DISTINCT cdp.normalize(x) AS id FROM unnest(ARRAY[a, b]) x) e
	JOIN cdp.namespace n ON n.name = cdp.namespace(e.id);
	IF cardinality(ends) <> 2 THEN
		RAISE EXCEPTION 'the two identifiers are the same' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Identifiers are compared in their normal form; see cdp.normalize().';
	END IF;
	IF cardinality(entities) <> 1 THEN
		RAISE EXCEPTION 'identifiers of different entities cannot be ruled on' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'A person and an account are never one.';
	END IF;
	RETURN ends;
END
$$;
COMMENT ON FUNCTION cdp.order_ends(cdp.identifier, cdp.identifier) IS 'Two different identifiers of one entity, normalised, the stronger first. Errors 22004, 22023, 42704';

CREATE FUNCTION cdp.lock_components(identifier_ids bigint[]) RETURNS void
AS 'MODULE_PATHNAME', 'cdp_lock_components' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION cdp.lock_components(bigint[]) IS 'Lock all that is linked with some identifiers, as whoever processes a message about them does, until the end of the transaction; before anything of it is changed by hand';

CREATE FUNCTION cdp.hold_people(identifier_ids bigint[]) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	FOR try IN 1 .. 10 LOOP
		BEGIN
			PERFORM cdp.lock_components(identifier_ids);
			RETURN;
		EXCEPTION WHEN deadlock_detected THEN
			IF try = 10 THEN
				RAISE;
			END IF;
		END;
	END LOOP;
END
$$;
COMMENT ON FUNCTION cdp.hold_people(bigint[]) IS 'cdp.lock_components(), again and again when a transaction of several messages stands in the way. Error 40P01 when it does so for good';

CREATE FUNCTION cdp.rule(kind text, a cdp.identifier, b cdp.identifier, reason text) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	ends cdp.identifier[];
	ids bigint[];
	heirs bigint[] := '{}';
	other record;
	objection text;
	ruled bigint;
BEGIN
	PERFORM cdp.require_init();
	PERFORM cdp.require_reason(reason);
	-- one ruling at a time: each is checked against the others
	LOCK TABLE cdp.ruling IN SHARE ROW EXCLUSIVE MODE;
	PERFORM cdp.hold_rules(is_alone => false);
	ends := cdp.order_ends(a, b);
	-- who is not known yet has no profile that could be locked: somebody may just be seeing both
	IF (SELECT count(*) FROM unnest(ends) e JOIN cdp.identity i ON i.namespace = cdp.namespace(e) AND i.value = cdp.value(e)) < 2 THEN
		PERFORM cdp.hold_rules();
	END IF;
	SELECT r.* INTO other FROM cdp.ruling r WHERE r.a = ends[1] AND r.b = ends[2] AND r.undone_at IS NULL
		AND (r.kind = rule.kind OR 'pin' IN (r.kind, rule.kind)) ORDER BY r.kind = rule.kind DESC LIMIT 1;
	IF other.kind = rule.kind THEN
		RETURN other.ruling_id;
	ELSIF other.kind IS NOT NULL THEN
		RAISE EXCEPTION 'ruling % says the opposite of these two identifiers', other.ruling_id USING ERRCODE = 'check_violation',
			HINT = format('Undo it first: SELECT cdp.undo(%s).', other.ruling_id);
	END IF;
	IF kind = 'pin' THEN
		heirs := cdp.make_identifiers(ARRAY (SELECT e FROM unnest(ends) e WHERE NOT EXISTS (
			SELECT FROM cdp.identity i WHERE i.namespace = cdp.namespace(e) AND i.value = cdp.value(e))), 'ruling');
	END IF;
	INSERT INTO cdp.ruling (kind, a, b, reason) VALUES (rule.kind, ends[1], ends[2], rule.reason) RETURNING ruling_id INTO ruled;
	SELECT array_agg(i.identifier_id ORDER BY e.ord) INTO ids FROM unnest(ends) WITH ORDINALITY e (id, ord)
	JOIN cdp.identity i ON i.namespace = cdp.namespace(e.id) AND i.value = cdp.value(e.id);
	PERFORM cdp.hold_people(ids || heirs);
	IF kind = 'pin' THEN
		INSERT INTO cdp.link (identifier_a, identifier_b, event_count) VALUES (ids[1], ids[2], 0) ON CONFLICT DO NOTHING;
	ELSIF kind = 'retract' THEN
		UPDATE cdp.link l SET status = 'retracted', reason = NULL WHERE l.identifier_a = ids[1] AND l.identifier_b = ids[2];
		IF NOT FOUND THEN
			RAISE EXCEPTION 'there is no such link' USING ERRCODE = 'undefined_object',
				HINT = 'Links are between identifiers that one event mentions, from the strongest; see the view cdp.links.';
		END IF;
	END IF;
	IF ids IS NOT NULL THEN
		PERFORM cdp.reconsider(ids || heirs, 'ruling', CASE WHEN kind = 'retract' THEN ids ELSE '{}' END);
	END IF;
	IF kind = 'pin' THEN
		SELECT l.reason INTO objection FROM cdp.link l
		WHERE l.identifier_a = ids[1] AND l.identifier_b = ids[2] AND l.status = 'rejected';
		IF objection = 'frozen' THEN
			RAISE EXCEPTION 'the pin would stand in a component that is too large to be resolved' USING ERRCODE = 'program_limit_exceeded',
				HINT = 'See the view cdp.frozen_components. Block the value that many people share, or raise cdp.identity_max_component and call cdp.resolve_frozen().';
		ELSIF FOUND THEN
			RAISE EXCEPTION 'the pin would break a rule: %', objection USING ERRCODE = 'check_violation',
				HINT = 'A pin goes before all evidence, but not above limits and denials; undo the denial, raise the limit, or undo another pin.';
		END IF;
	END IF;
	RETURN ruled;
END
$$;
COMMENT ON FUNCTION cdp.rule(text, cdp.identifier, cdp.identifier, text) IS 'What cdp.pin(), cdp.deny() and the retraction of a link have in common';

CREATE FUNCTION cdp.pin(a cdp.identifier, b cdp.identifier, reason text) RETURNS bigint
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT cdp.rule('pin', a, b, reason) $$;
COMMENT ON FUNCTION cdp.pin(cdp.identifier, cdp.identifier, text) IS 'Rule that two identifiers are one person, whatever the evidence; returns the ruling''s id, for cdp.undo(). Applies to the past at once. Errors 22004 without a reason, 22023, 23514 when a denial or a limit stands against it, 42704, 54000 in a component that is frozen';

CREATE FUNCTION cdp.deny(a cdp.identifier, b cdp.identifier, reason text) RETURNS bigint
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT cdp.rule('deny', a, b, reason) $$;
COMMENT ON FUNCTION cdp.deny(cdp.identifier, cdp.identifier, text) IS 'Rule that two identifiers are not one person, whatever the evidence; returns the ruling''s id, for cdp.undo(). Applies to the past at once: a profile that has both is split, and each part gets the id back that it had. Errors 22004 without a reason, 22023, 23514 when a pin says the opposite, 42704';

CREATE FUNCTION cdp.retract(a cdp.identifier, b cdp.identifier, reason text) RETURNS bigint
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT cdp.rule('retract', a, b, reason) $$;
COMMENT ON FUNCTION cdp.retract(cdp.identifier, cdp.identifier, text) IS 'Retract a link: resolve as if its two ends had never been seen together, in the past and from now on; the events stay. Unlike cdp.deny() it does not keep them apart if other links connect them. Returns the ruling''s id, for cdp.undo(). Errors 22004, 22023, 23514 when they are pinned, 42704 when there is no such link';

CREATE FUNCTION cdp.retract(identifier cdp.identifier, reason text) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	normal cdp.identifier;
	known bigint;
	other bigint;
	ruled bigint;
	touched bigint[];
BEGIN
	PERFORM cdp.require_init();
	PERFORM cdp.require_reason(reason);
	IF identifier IS NULL THEN
		RAISE EXCEPTION 'an identifier must not be null' USING ERRCODE = 'null_value_not_allowed',
			HINT = 'Write namespace:value, such as email:ada@example.com.';
	END IF;
	-- the reason forgotten, and a link would take all of an identifier with it
	IF reason !~ '\s' AND EXISTS (SELECT FROM cdp.namespace n WHERE n.name = split_part(reason, ':', 1)) THEN
		RAISE EXCEPTION 'the reason is an identifier' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'To retract the link between two identifiers: SELECT cdp.retract(a, b, reason).';
	END IF;
	-- first the rulings, then the rules, then people: everywhere in this order
	LOCK TABLE cdp.ruling IN SHARE ROW EXCLUSIVE MODE;
	PERFORM cdp.hold_rules();
	normal := cdp.normalize(identifier);
	SELECT r.ruling_id INTO other FROM cdp.ruling r
	WHERE r.kind = 'retract' AND r.a = normal AND r.b IS NULL AND r.undone_at IS NULL;
	IF FOUND THEN
		RETURN other;
	END IF;
	SELECT i.identifier_id INTO known FROM cdp.identity i WHERE i.namespace = cdp.namespace(normal) AND i.value = cdp.value(normal);
	IF NOT FOUND THEN
		RAISE EXCEPTION 'nobody was ever known by that identifier' USING ERRCODE = 'undefined_object',
			HINT = 'See the view cdp.identifiers; to keep out a value that was never seen, use cdp.block_value().';
	END IF;
	SELECT r.ruling_id INTO other FROM cdp.ruling r
	WHERE r.undone_at IS NULL AND (r.b IS NOT NULL OR r.kind = 'lock') AND normal IN (r.a, r.b) AND r.kind <> 'deny' ORDER BY r.ruling_id LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'ruling % names that identifier', other USING ERRCODE = 'check_violation',
			HINT = format('Undo it first: SELECT cdp.undo(%s).', other);
	END IF;
	INSERT INTO cdp.ruling (kind, a, reason) VALUES ('retract', normal, retract.reason) RETURNING ruling_id INTO ruled;
	touched := cdp.read_by(ARRAY[known]);
	PERFORM cdp.remember_readings(touched);
	INSERT INTO cdp.blocked_value (namespace, value, is_exact, ruling_id)
	VALUES (cdp.namespace(normal), cdp.value(normal), true, ruled);
	PERFORM cdp.read_again(touched, 'ruling');
	RETURN ruled;
END
$$;
COMMENT ON FUNCTION cdp.retract(cdp.identifier, text) IS 'Retract an identifier: resolve as if no event had ever mentioned it, in the past and from now on; it stays in the events. Returns the ruling''s id, for cdp.undo(). Errors 22004, 22023, 23514 when it is pinned, 42704 when nobody was ever known by it';

CREATE FUNCTION cdp.find_events(message_id text, source text) RETURNS TABLE (event_table oid, event_ctid tid, source_id integer)
LANGUAGE plpgsql STABLE PARALLEL UNSAFE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	-- the keys of recent messages tell when they were received, and the log is in that order
	RETURN QUERY SELECT e.tableoid, e.ctid, e.source_id
	FROM cdp.source s CROSS JOIN LATERAL cdp.message_key(s.name, find_events.message_id) k
	JOIN cdp.seen n ON n.key = k
	JOIN cdp.event e ON e.received_at = n.received_at AND e.source_id = s.source_id
	WHERE e.message_id = find_events.message_id AND (find_events.source IS NULL OR s.name = find_events.source);
	IF NOT FOUND THEN
		RETURN QUERY SELECT e.tableoid, e.ctid, e.source_id FROM cdp.event e JOIN cdp.source s USING (source_id)
		WHERE e.message_id = find_events.message_id AND (find_events.source IS NULL OR s.name = find_events.source);
	END IF;
END
$$;
COMMENT ON FUNCTION cdp.find_events(text, text) IS 'Where in the log the event of a message id is, of one source or of each that has it (null). Fast within cdp.dedup_window; older ones are looked for in the whole log';

CREATE FUNCTION cdp.retract(message_id text, reason text, source text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	found_at record;
	n integer := 0;
	ids bigint[];
	ruled bigint;
BEGIN
	PERFORM cdp.require_init();
	PERFORM cdp.require_reason(reason);
	IF message_id IS NULL THEN
		RAISE EXCEPTION 'message_id must not be null' USING ERRCODE = 'null_value_not_allowed',
			HINT = 'See the view cdp.events.';
	END IF;
	LOCK TABLE cdp.ruling IN SHARE ROW EXCLUSIVE MODE;
	PERFORM cdp.hold_rules(is_alone => false);
	SELECT r.ruling_id INTO ruled FROM cdp.retracted t JOIN cdp.ruling r USING (ruling_id) JOIN cdp.source s USING (source_id)
	WHERE t.message_id = retract.message_id AND (retract.source IS NULL OR s.name = retract.source) LIMIT 1;
	IF FOUND THEN
		RETURN ruled;
	END IF;
	FOR found_at IN SELECT * FROM cdp.find_events(message_id, source) LOOP
		n := n + 1;
		IF n > 1 THEN
			RAISE EXCEPTION 'several sources sent a message of that id' USING ERRCODE = 'ambiguous_parameter',
				HINT = 'Name the source: SELECT cdp.retract(message_id, reason, source).';
		END IF;
		INSERT INTO cdp.ruling (kind, message_id, reason) VALUES ('retract', retract.message_id, retract.reason)
		RETURNING ruling_id INTO ruled;
		SELECT array_agg(m.identifier_id) INTO ids FROM cdp.mention m
		WHERE m.event_table = found_at.event_table AND m.event_ctid = found_at.event_ctid;
		WITH taken AS (
			DELETE FROM cdp.event e WHERE e.tableoid = found_at.event_table AND e.ctid = found_at.event_ctid RETURNING e.*
		)
		INSERT INTO cdp.retracted (ruling_id, occurred_at, received_at, source_id, type, name, message_id, message)
		SELECT ruled, t.occurred_at, t.received_at, t.source_id, t.type, t.name, t.message_id, t.message FROM taken t;
	END LOOP;
	-- what is written as cdp.pin() takes it, without a type, comes here too
	IF n = 0 AND EXISTS (SELECT FROM cdp.namespace x WHERE x.name = split_part(message_id, ':', 1)) THEN
		RETURN CASE WHEN source IS NULL THEN cdp.retract(message_id::cdp.identifier, reason)
			ELSE cdp.rule('retract', message_id::cdp.identifier, reason::cdp.identifier, source) END;
	ELSIF n = 0 THEN
		RAISE EXCEPTION 'there is no event of that message id' USING ERRCODE = 'undefined_object',
			HINT = 'See the view cdp.events. An identifier is written namespace:value.' || coalesce((
				SELECT format(' What left the log (see cdp.retention; received until %s) can no longer be taken back.', max(r.gone_until))
				FROM cdp.retention_rule r HAVING max(r.gone_until) IS NOT NULL), '');
	END IF;
	IF ids IS NOT NULL THEN
		PERFORM cdp.hold_people(ids);
		PERFORM cdp.reconsider(ids, 'ruling', ids);
	END IF;
	RETURN ruled;
END
$$;
COMMENT ON FUNCTION cdp.retract(text, text, text) IS 'Retract a message: take its event out of the log, as if it had never come; it is kept in cdp.retracted, and a repeat of it is still a duplicate. source: only needed when several sent a message of that id. Where there is no such message and the text is an identifier, namespace:value, that identifier is retracted, or with two of them and a reason their link. Returns the ruling''s id, for cdp.undo(). Errors 22004, 42704, 42P08';

CREATE FUNCTION cdp.undo(ruling_id bigint) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	ruled record;
	ids bigint[];
BEGIN
	PERFORM cdp.require_init();
	LOCK TABLE cdp.ruling IN SHARE ROW EXCLUSIVE MODE;
	PERFORM cdp.hold_rules(is_alone => r.kind = 'retract') FROM cdp.ruling r WHERE r.ruling_id = undo.ruling_id;
	SELECT r.* INTO ruled FROM cdp.ruling r WHERE r.ruling_id = undo.ruling_id;
	IF NOT FOUND OR ruled.undone_at IS NOT NULL THEN
		RAISE EXCEPTION 'ruling % does not exist or is undone already', ruling_id USING ERRCODE = 'undefined_object',
			HINT = 'See the table cdp.ruling.';
	END IF;
	UPDATE cdp.ruling r SET undone_at = clock_timestamp(), undone_by = current_user WHERE r.ruling_id = undo.ruling_id;
	IF ruled.message_id IS NOT NULL THEN
		PERFORM cdp.put_back(ruling_id);
		RETURN;
	ELSIF ruled.kind = 'lock' THEN
		ids := ARRAY (SELECT i.identifier_id FROM cdp.identity i WHERE i.namespace = cdp.namespace(ruled.a) AND i.value = cdp.value(ruled.a));
		PERFORM cdp.hold_people(ids);
		PERFORM cdp.gather_again(ids, 'ruling');
		RETURN;
	ELSIF ruled.b IS NULL THEN
		PERFORM cdp.remember_readings(NULL);
		DELETE FROM cdp.blocked_value v WHERE v.ruling_id = undo.ruling_id;
		PERFORM cdp.read_again(NULL, 'ruling');
		RETURN;
	END IF;
	SELECT array_agg(i.identifier_id ORDER BY e.ord) INTO ids FROM unnest(ARRAY[ruled.a, ruled.b]) WITH ORDINALITY e (id, ord)
	JOIN cdp.identity i ON i.namespace = cdp.namespace(e.id) AND i.value = cdp.value(e.id);
	IF ids IS NULL THEN
		RETURN;
	END IF;
	PERFORM cdp.hold_people(ids);
	IF ruled.kind <> 'deny' THEN
		DELETE FROM cdp.link l WHERE l.identifier_a = ids[1] AND l.identifier_b = ids[2] AND l.event_count = 0;
		UPDATE cdp.link l SET status = 'accepted' WHERE l.identifier_a = ids[1] AND l.identifier_b = ids[2] AND l.status = 'retracted';
	END IF;
	PERFORM cdp.reconsider(ids, 'ruling', CASE WHEN ruled.kind = 'retract' THEN ids ELSE '{}' END);
END
$$;
COMMENT ON FUNCTION cdp.undo(bigint) IS 'Undo a ruling, as if it had never been made; profiles get the ids back that they had before it. A retracted message is in the log again. Errors 42704, 55000 when that message is too old to be kept';

CREATE FUNCTION cdp.put_back(ruling_id bigint) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM cdp.retracted t WHERE t.ruling_id = put_back.ruling_id) THEN
		RAISE EXCEPTION 'the message of ruling % is not kept any more', ruling_id USING ERRCODE = 'object_not_in_prerequisite_state',
			HINT = 'It is older than cdp.set_retention() lets messages become; see the view cdp.retention.';
	END IF;
	PERFORM cdp.remember_readings('{}');
	PERFORM cdp.make_partitions('event', t.received_at, t.received_at) FROM cdp.retracted t WHERE t.ruling_id = put_back.ruling_id;
	WITH taken AS (
		DELETE FROM cdp.retracted t WHERE t.ruling_id = put_back.ruling_id RETURNING t.*
	), back AS (
		INSERT INTO cdp.event (identifier_id, occurred_at, received_at, source_id, type, name, message_id, message)
		SELECT 0, t.occurred_at, t.received_at, t.source_id, t.type, t.name, t.message_id, t.message FROM taken t
		RETURNING tableoid, ctid
	)
	INSERT INTO pg_temp.cdp_reading (event_table, event_ctid, ids) SELECT b.tableoid, b.ctid, '{}' FROM back b;
	PERFORM cdp.read_again('{}', 'ruling');
END
$$;
COMMENT ON FUNCTION cdp.put_back(bigint) IS 'Put the event that a ruling took out back into the log. Error 55000 when it is too old to be kept';
