-- identity: who is who.

-- functions

CREATE FUNCTION cdp.profile_id(identifier cdp.identifier) RETURNS bigint
AS 'MODULE_PATHNAME', 'cdp_profile_id_of' LANGUAGE C STABLE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION cdp.profile_id(cdp.identifier) IS 'The profile an identifier, normalised first, belongs to; null when nobody was ever known by it. Error 42704 when there is no such namespace';

CREATE FUNCTION cdp.profile_id(profile_id bigint) RETURNS bigint
AS 'MODULE_PATHNAME', 'cdp_profile_id_now' LANGUAGE C STABLE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION cdp.profile_id(bigint) IS 'The profile that a profile id, however old, stands for now: itself, or the one it was merged into; null when it was never given out';

CREATE FUNCTION cdp.explain_link(a cdp.identifier, b cdp.identifier)
RETURNS TABLE (step integer, "from" cdp.identifier, "to" cdp.identifier, first_seen_at timestamptz, last_seen_at timestamptz, event_count bigint)
AS 'MODULE_PATHNAME', 'cdp_explain_link' LANGUAGE C STABLE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION cdp.explain_link(cdp.identifier, cdp.identifier) IS 'Why two identifiers are one person: the path of accepted links between them, each with when and in how many events its two ends were seen together; no row when they are not one person. Error 42704 when there is no such namespace';

CREATE FUNCTION cdp.rejected_path(a cdp.identifier, b cdp.identifier)
RETURNS TABLE (step integer, "from" cdp.identifier, "to" cdp.identifier, first_seen_at timestamptz, last_seen_at timestamptz, event_count bigint)
AS 'MODULE_PATHNAME', 'cdp_rejected_path' LANGUAGE C STABLE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION cdp.rejected_path(cdp.identifier, cdp.identifier) IS 'The rejected links on the path between two identifiers of different people that has the fewest of them; see cdp.why_not_linked(). Error 42704 when there is no such namespace';

CREATE FUNCTION cdp.why_not_linked(a cdp.identifier, b cdp.identifier)
RETURNS TABLE (step integer, "from" cdp.identifier, "to" cdp.identifier, reason text, competing cdp.identifier[],
	first_seen_at timestamptz, last_seen_at timestamptz, event_count bigint)
LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM cdp.require_init();
	RETURN QUERY
	SELECT p.step, p."from", p."to", l.reason, CASE
			WHEN l.reason = 'denied' THEN (SELECT array_agg(e.id ORDER BY e.id) FROM (
				SELECT DISTINCT unnest(ARRAY[r.a, r.b]) AS id FROM cdp.ruling r
				WHERE r.kind = 'deny' AND r.undone_at IS NULL AND ((cdp.profile_id(r.a), cdp.profile_id(r.b))
					IN ((x.profile_id, y.profile_id), (y.profile_id, x.profile_id)))) e)
			WHEN l.reason = 'shared device' THEN (SELECT array_agg(cdp.identifier(n.namespace, n.value) ORDER BY n.namespace, n.value)
				FROM cdp.link k JOIN cdp.identity n ON n.identifier_id = k.identifier_a
				JOIN cdp.namespace s ON s.name = n.namespace AND s.kind <> 'device'
				WHERE k.identifier_b = l.identifier_b)
			ELSE (SELECT array_agg(cdp.identifier(n.namespace, n.value) ORDER BY n.namespace, n.value) FROM cdp.identity n
				WHERE n.profile_id IN (x.profile_id, y.profile_id) AND n.namespace = split_part(l.reason, ' ', 2))
		END, p.first_seen_at, p.last_seen_at, p.event_count
	FROM cdp.rejected_path(a, b) p
	JOIN cdp.identity x ON x.namespace = cdp.namespace(p."from") AND x.value = cdp.value(p."from")
	JOIN cdp.identity y ON y.namespace = cdp.namespace(p."to") AND y.value = cdp.value(p."to")
	JOIN cdp.link l ON (l.identifier_a, l.identifier_b)
		IN ((x.identifier_id, y.identifier_id), (y.identifier_id, x.identifier_id))
	ORDER BY p.step;
END
$$;
COMMENT ON FUNCTION cdp.why_not_linked(cdp.identifier, cdp.identifier) IS 'Why two identifiers are not one person: the rejected links on the path between them that has the fewest, each with the rule that forbids it (limit <namespace> <would be>><allowed>, denied, shared device), the identifiers that compete (the values over the limit, the denied pair, who was seen on the device) and its evidence. No row: nothing ever connected them, or they are one person. Error 42704 when there is no such namespace';

CREATE FUNCTION cdp.weak_links(profile_id bigint)
RETURNS TABLE (number integer, a cdp.identifier, b cdp.identifier, first_seen_at timestamptz, last_seen_at timestamptz, event_count bigint)
AS 'MODULE_PATHNAME', 'cdp_weak_links' LANGUAGE C STABLE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION cdp.weak_links(bigint) IS 'The links of a profile that hold it together alone: without one of them it would be two people. Each with its evidence; one seen in a single event long ago is worth a look. The profile id may be an old one';

CREATE FUNCTION cdp.profile_as_of(identifier cdp.identifier, at timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM cdp.require_init();
	RETURN (
		SELECT c.to_profile_id FROM cdp.normalize(identifier) n
		JOIN cdp.identity i ON i.namespace = cdp.namespace(n) AND i.value = cdp.value(n)
		JOIN cdp.identity_change c ON c.identifier_id = i.identifier_id
		WHERE c.changed_at <= at ORDER BY c.changed_at DESC LIMIT 1
	);
END
$$;
COMMENT ON FUNCTION cdp.profile_as_of(cdp.identifier, timestamptz) IS 'The profile an identifier belonged to at an instant, by what was known then; null when nobody was known by it yet. Error 42704 when there is no such namespace';

-- rulings

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

-- the log read again, when what it mentions changed

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

-- tables and views

CREATE FUNCTION cdp.init_identity() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
BEGIN
	CREATE SEQUENCE IF NOT EXISTS cdp.profile_id_seq;
	COMMENT ON SEQUENCE cdp.profile_id_seq IS 'Profile ids: given out once, never used again';

	-- The row of a profile is shared by the rooms: here are its id and fate, profile and consent add what is known.
	CREATE TABLE IF NOT EXISTS cdp.profile (
		profile_id bigint NOT NULL CONSTRAINT profile_pkey PRIMARY KEY,
		entity text NOT NULL,
		component_id bigint NOT NULL,
		identifier_id bigint,
		is_disputed boolean NOT NULL DEFAULT false,
		is_frozen boolean NOT NULL DEFAULT false,
		merged_into bigint
	) WITH (fillfactor = 50);
	CREATE INDEX IF NOT EXISTS profile_component_id_idx ON cdp.profile (component_id);
	COMMENT ON TABLE cdp.profile IS 'A row for every profile id ever given out';
	COMMENT ON COLUMN cdp.profile.component_id IS 'The smallest profile id of all that links connect, accepted or rejected; what is resolved and locked together';
	COMMENT ON COLUMN cdp.profile.is_disputed IS 'Whether in its component the order of links matters for who is who: a link was rejected, a device may not bridge, or a denial concerns it';
	COMMENT ON COLUMN cdp.profile.identifier_id IS 'The identifier this id was minted for, which it follows; where that one was retracted, the strongest that was one person with it; null: nobody is left';
	CREATE INDEX IF NOT EXISTS profile_frozen_idx ON cdp.profile (component_id) WHERE is_frozen;
	COMMENT ON COLUMN cdp.profile.is_frozen IS 'Whether its component has more links than cdp.identity_max_component and keeps its people as they are';
	COMMENT ON COLUMN cdp.profile.merged_into IS 'The live profile this id stands for now; null: it lives; 0: nobody is left';

	-- Not named identifier: a table of that name would be a second type cdp.identifier.
	CREATE TABLE IF NOT EXISTS cdp.identity (
		identifier_id bigint NOT NULL GENERATED BY DEFAULT AS IDENTITY CONSTRAINT identity_pkey PRIMARY KEY,
		namespace text COLLATE "C" NOT NULL,
		value text COLLATE "C" NOT NULL,
		profile_id bigint NOT NULL,
		is_contested boolean NOT NULL DEFAULT false,
		first_seen_at timestamptz,
		last_seen_at timestamptz,
		event_count bigint NOT NULL,
		CONSTRAINT identity_namespace_value_key UNIQUE (namespace, value)
	) WITH (fillfactor = 50);
	CREATE INDEX IF NOT EXISTS identity_profile_id_idx ON cdp.identity (profile_id);
	COMMENT ON TABLE cdp.identity IS 'Every identifier that entered the graph, normalised, and the profile it belongs to';
	COMMENT ON COLUMN cdp.identity.is_contested IS 'Whether it is a device with which two values of one namespace that is none of devices were seen';
	COMMENT ON COLUMN cdp.identity.event_count IS 'Events that mention it';

	CREATE TABLE IF NOT EXISTS cdp.link (
		identifier_a bigint NOT NULL,
		identifier_b bigint NOT NULL,
		first_seen_at timestamptz,
		last_seen_at timestamptz,
		event_count bigint NOT NULL,
		status text NOT NULL DEFAULT 'accepted'
			CONSTRAINT link_status_check CHECK (status IN ('accepted', 'redundant', 'rejected', 'retracted', 'related')),
		reason text,
		CONSTRAINT link_pkey PRIMARY KEY (identifier_a, identifier_b)
	) WITH (fillfactor = 50);
	CREATE INDEX IF NOT EXISTS link_identifier_b_idx ON cdp.link (identifier_b);
	CREATE INDEX IF NOT EXISTS link_related_idx ON cdp.link (identifier_a, identifier_b) WHERE status = 'related';
	COMMENT ON TABLE cdp.link IS 'Pairs of identifiers seen in one event, the stronger first: the evidence added up, and the judgement';
	COMMENT ON COLUMN cdp.link.status IS 'accepted: it connects; redundant: its ends are connected already; rejected: a rule forbids it, see reason; retracted: a steward took it back; related: of a person and an account, it connects nobody';

	CREATE TABLE IF NOT EXISTS cdp.identity_change (
		identifier_id bigint NOT NULL,
		from_profile_id bigint,
		to_profile_id bigint,
		cause text NOT NULL CONSTRAINT identity_change_cause_check CHECK (cause IN ('seen', 'merge', 'split', 'ruling', 'rule')),
		actor text NOT NULL DEFAULT current_user,
		changed_at timestamptz NOT NULL
	);
	CREATE INDEX IF NOT EXISTS identity_change_identifier_id_idx ON cdp.identity_change (identifier_id, changed_at);
	CREATE INDEX IF NOT EXISTS identity_change_changed_at_idx ON cdp.identity_change USING brin (changed_at) WITH (autosummarize = on);
	COMMENT ON TABLE cdp.identity_change IS 'Every move of an identifier from one profile to another, in transaction time; append-only';
	COMMENT ON COLUMN cdp.identity_change.from_profile_id IS 'Null: it was new';
	COMMENT ON COLUMN cdp.identity_change.to_profile_id IS 'Null: it was retracted';

	CREATE TABLE IF NOT EXISTS cdp.forgotten (
		namespace text COLLATE "C" NOT NULL,
		value text COLLATE "C" NOT NULL,
		identifier_id bigint NOT NULL,
		profile_ids bigint[],
		CONSTRAINT forgotten_pkey PRIMARY KEY (namespace, value)
	);
	COMMENT ON TABLE cdp.forgotten IS 'Identifiers that a retraction or a change of rules left without any event, with the ids they get back when that is undone';
	COMMENT ON COLUMN cdp.forgotten.profile_ids IS 'The profile ids that were minted for it; meanwhile they are those of whom it was one person with, or nobody''s';

	-- Only of contested devices.
	CREATE TABLE IF NOT EXISTS cdp.sign_in (
		device_id bigint NOT NULL,
		occurred_at timestamptz NOT NULL,
		message_id text COLLATE "C" NOT NULL,
		source_id integer NOT NULL,
		identifier_id bigint NOT NULL,
		CONSTRAINT sign_in_pkey PRIMARY KEY (device_id, occurred_at, message_id, source_id)
	);
	CREATE INDEX IF NOT EXISTS sign_in_identifier_id_idx ON cdp.sign_in (identifier_id);
	COMMENT ON TABLE cdp.sign_in IS 'Who was on a contested device when: each event of somebody (the strongest identifier, no device) that mentions it; what comes from the device alone is anchored to the last one';

	CREATE TABLE IF NOT EXISTS cdp.ruling (
		ruling_id bigint NOT NULL GENERATED BY DEFAULT AS IDENTITY CONSTRAINT ruling_pkey PRIMARY KEY,
		kind text NOT NULL,
		a cdp.identifier,
		b cdp.identifier,
		message_id text,
		reason text NOT NULL,
		actor text NOT NULL DEFAULT current_user,
		ruled_at timestamptz NOT NULL DEFAULT now(),
		undone_at timestamptz,
		undone_by text
	);
	ALTER TABLE cdp.ruling ADD COLUMN IF NOT EXISTS trait text, ADD COLUMN IF NOT EXISTS value jsonb,
		DROP CONSTRAINT IF EXISTS ruling_kind_check, DROP CONSTRAINT IF EXISTS ruling_subject_check,
		ADD CONSTRAINT ruling_kind_check CHECK (kind IN ('pin', 'deny', 'retract', 'lock')),
		ADD CONSTRAINT ruling_subject_check CHECK (CASE kind WHEN 'retract' THEN num_nulls(a, message_id) = 1
			WHEN 'lock' THEN num_nulls(a, trait, value) = 0 AND b IS NULL ELSE num_nulls(a, b) = 0 END);
	CREATE INDEX IF NOT EXISTS ruling_a_idx ON cdp.ruling (a) WHERE undone_at IS NULL;
	CREATE OR REPLACE TRIGGER ruling_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON cdp.ruling
		FOR EACH STATEMENT EXECUTE FUNCTION cdp.rules_changed('ruling');
	COMMENT ON TABLE cdp.ruling IS 'What stewards ruled: pins (these two are one person), denials (these two are not) and retractions of a message, an identifier (a) or a link (a and b, the stronger first), and locks of a trait of an identifier (a) to a value; never deleted, undone instead';

	CREATE TABLE IF NOT EXISTS cdp.retracted (
		ruling_id bigint NOT NULL CONSTRAINT retracted_pkey PRIMARY KEY,
		occurred_at timestamptz NOT NULL,
		received_at timestamptz NOT NULL,
		source_id integer NOT NULL,
		type text NOT NULL,
		name text,
		message_id text NOT NULL,
		message jsonb NOT NULL
	);
	COMMENT ON TABLE cdp.retracted IS 'Events that were taken out of the log by a ruling, which cdp.undo() puts back';

	CREATE OR REPLACE VIEW cdp.identifiers AS
		SELECT namespace, value, profile_id, first_seen_at, last_seen_at, event_count, is_contested FROM cdp.identity;
	COMMENT ON VIEW cdp.identifiers IS 'Every identifier with its profile';

	CREATE OR REPLACE VIEW cdp.links AS
		SELECT a.namespace AS namespace_a, a.value AS value_a, b.namespace AS namespace_b, b.value AS value_b,
			l.first_seen_at, l.last_seen_at, l.event_count, l.status, l.reason
		FROM cdp.link l
		JOIN cdp.identity a ON a.identifier_id = l.identifier_a
		JOIN cdp.identity b ON b.identifier_id = l.identifier_b
		WHERE l.status NOT IN ('retracted', 'related');
	COMMENT ON VIEW cdp.links IS 'Every link with its evidence and judgement, the stronger end first';

	CREATE OR REPLACE VIEW cdp.rejected_links AS
		SELECT CASE WHEN l.reason LIKE 'limit %' THEN 'limit ' || split_part(l.reason, ' ', 2) ELSE l.reason END AS reason,
			a.namespace AS namespace_a, b.namespace AS namespace_b, count(*) AS links, sum(l.event_count)::bigint AS events
		FROM cdp.link l
		JOIN cdp.identity a ON a.identifier_id = l.identifier_a
		JOIN cdp.identity b ON b.identifier_id = l.identifier_b
		WHERE l.status = 'rejected'
		GROUP BY 1, 2, 3;
	COMMENT ON VIEW cdp.rejected_links IS 'For stewards: how many links each rule rejects, by the namespaces they would connect';

	CREATE OR REPLACE VIEW cdp.largest_profiles AS
		SELECT i.profile_id, count(*) AS identifiers, count(DISTINCT i.namespace) AS namespaces, sum(i.event_count)::bigint AS mentions
		FROM cdp.identity i GROUP BY i.profile_id ORDER BY count(*) DESC, i.profile_id LIMIT 100;
	COMMENT ON VIEW cdp.largest_profiles IS 'For stewards: the 100 profiles with the most identifiers, where wrong merges show first';

	CREATE OR REPLACE VIEW cdp.hubs AS
		SELECT h.namespace, h.value, h.profile_id, count(*) AS linked_with
		FROM cdp.link l JOIN cdp.identity h ON h.identifier_id = l.identifier_b
		WHERE l.status NOT IN ('retracted', 'related')
		GROUP BY h.identifier_id HAVING count(*) > 10 ORDER BY count(*) DESC LIMIT 100;
	COMMENT ON VIEW cdp.hubs IS 'For stewards: the 100 identifiers seen with the most stronger ones, more than ten: values that should perhaps be blocked, such as a shop''s own address';

	-- each identifier of each event, with the stronger one it is linked with by it
	CREATE OR REPLACE VIEW cdp.mention AS
		SELECT e.tableoid AS event_table, e.ctid AS event_ctid, e.identifier_id AS strongest_id, e.occurred_at, e.message_id,
			e.source_id, m.ord, m.namespace, m.value, m.entity, i.identifier_id,
			CASE WHEN m.ord = 1 THEN NULL WHEN first_value(m.ord) OVER star = m.ord THEN first_value(i.identifier_id) OVER whole
				ELSE first_value(i.identifier_id) OVER star END AS linked_id,
			m.ord > 1 AND first_value(m.ord) OVER star = m.ord AS is_related, e.received_at
		FROM cdp.event e JOIN cdp.source s ON s.source_id = e.source_id
		CROSS JOIN LATERAL cdp.message_identifiers(e.type, e.message, s.phone_region) m
		LEFT JOIN cdp.identity i ON i.namespace = m.namespace COLLATE "C" AND i.value = m.value COLLATE "C"
		WINDOW whole AS (PARTITION BY e.identifier_id, e.occurred_at, e.received_at, e.tableoid, e.ctid ORDER BY m.ord),
			star AS (PARTITION BY e.identifier_id, e.occurred_at, e.received_at, e.tableoid, e.ctid, m.entity ORDER BY m.ord);
	COMMENT ON VIEW cdp.mention IS 'The identifiers that the rules in force read out of each event: strongest first, known or not, each with the stronger one of the event that it is linked with (of another entity: related to). Reads the messages themselves; restrict strongest_id, the identifier the event is stored under';

	-- What left the log, added up as far as it can be. Identifiers that were forgotten, or may not enter the graph any more,
	-- keep theirs: it rests until they are back.
	CREATE TABLE IF NOT EXISTS cdp.mention_remainder (
		identifier_id bigint NOT NULL,
		linked_id bigint NOT NULL,
		first_seen_at timestamptz NOT NULL,
		last_seen_at timestamptz NOT NULL,
		event_count bigint NOT NULL,
		CONSTRAINT mention_remainder_pkey PRIMARY KEY (identifier_id, linked_id)
	) WITH (fillfactor = 80);
	CREATE INDEX IF NOT EXISTS mention_remainder_linked_id_idx ON cdp.mention_remainder (linked_id);
	COMMENT ON TABLE cdp.mention_remainder IS 'What cdp.mention had of the events that left the log by cdp.set_retention(), added up';
	COMMENT ON COLUMN cdp.mention_remainder.linked_id IS 'The stronger identifier it was linked with; 0: it was the strongest';

	CREATE TABLE IF NOT EXISTS cdp.sign_in_remainder (
		device_id bigint NOT NULL,
		occurred_at timestamptz NOT NULL,
		message_id text COLLATE "C" NOT NULL,
		source_id integer NOT NULL,
		identifier_id bigint NOT NULL,
		CONSTRAINT sign_in_remainder_pkey PRIMARY KEY (device_id, occurred_at, message_id, source_id)
	);
	COMMENT ON TABLE cdp.sign_in_remainder IS 'Who was on a device when, by events that left the log: each time on devices that were contested then, on others the first and the last of each';

	CREATE OR REPLACE VIEW cdp.entrant AS
		SELECT i.identifier_id, i.namespace, i.value, n.entity, n.kind, i.is_contested
		FROM cdp.identity i JOIN cdp.namespace n ON n.name = i.namespace
		WHERE NOT cdp.is_blocked(cdp.identifier(n.name, i.value));
	COMMENT ON VIEW cdp.entrant IS 'The identifiers that may be in the graph by the rules in force: all, but while those change';

	CREATE OR REPLACE VIEW cdp.remaining_mention AS
		SELECT r.identifier_id, a.identifier_id AS linked_id, coalesce(a.entity <> i.entity, false) AS is_related,
			r.first_seen_at, r.last_seen_at, r.event_count
		FROM cdp.mention_remainder r JOIN cdp.entrant i ON i.identifier_id = r.identifier_id
		LEFT JOIN cdp.entrant a ON a.identifier_id = r.linked_id;
	COMMENT ON VIEW cdp.remaining_mention IS 'What counts of cdp.mention_remainder by the rules in force, beside what cdp.mention has; linked_id null: the strongest, or with one that may not enter the graph';

	CREATE OR REPLACE VIEW cdp.derived_sign_in AS
		SELECT d.identifier_id AS device_id, e.occurred_at, e.message_id COLLATE "C" AS message_id, e.source_id, l.identifier_a AS identifier_id
		FROM cdp.identity d
		JOIN cdp.link l ON l.identifier_b = d.identifier_id AND l.status NOT IN ('retracted', 'related') AND l.event_count > 0
		JOIN cdp.identity u ON u.identifier_id = l.identifier_a
		JOIN cdp.namespace n ON n.name = u.namespace AND n.kind <> 'device'
		CROSS JOIN LATERAL ( -- OFFSET 0: by the index
			SELECT x.*, s.phone_region FROM cdp.event x JOIN cdp.source s ON s.source_id = x.source_id
			WHERE x.identifier_id = l.identifier_a AND x.occurred_at BETWEEN l.first_seen_at AND l.last_seen_at
			OFFSET 0
		) e
		WHERE d.is_contested AND EXISTS (
			SELECT FROM cdp.message_identifiers(e.type, e.message, e.phone_region) m WHERE m.namespace = d.namespace AND m.value = d.value)
		UNION ALL
		SELECT r.device_id, r.occurred_at, r.message_id, r.source_id, r.identifier_id
		FROM cdp.sign_in_remainder r
		JOIN cdp.identity d ON d.identifier_id = r.device_id AND d.is_contested
		JOIN cdp.link l ON l.identifier_a = r.identifier_id AND l.identifier_b = r.device_id
			AND l.status NOT IN ('retracted', 'related') AND l.event_count > 0
		JOIN cdp.identity u ON u.identifier_id = l.identifier_a
		JOIN cdp.namespace n ON n.name = u.namespace AND n.kind <> 'device';
	COMMENT ON VIEW cdp.derived_sign_in IS 'What cdp.sign_in must hold, derived from the log and what left it';

	CREATE OR REPLACE VIEW cdp.tenure AS
		SELECT i.profile_id, i.identifier_id AS anchor_id, i.identifier_id, '-infinity'::timestamptz AS starts_at,
			''::text COLLATE "C" AS starts_with, 'infinity'::timestamptz AS ends_at, ''::text COLLATE "C" AS ends_with
		FROM cdp.identity i WHERE NOT i.is_contested
		UNION ALL
		SELECT i.profile_id, i.identifier_id, i.identifier_id, '-infinity'::timestamptz, ''::text COLLATE "C", coalesce(f.occurred_at, 'infinity'), coalesce(f.message_id, ''::text)
		FROM cdp.identity i LEFT JOIN LATERAL (
			SELECT s.occurred_at, s.message_id FROM cdp.sign_in s WHERE s.device_id = i.identifier_id
			ORDER BY s.occurred_at, s.message_id LIMIT 1
		) f ON true
		WHERE i.is_contested
		UNION ALL
		SELECT i.profile_id, i.identifier_id, s.device_id, s.occurred_at, s.message_id, coalesce(f.occurred_at, 'infinity'), coalesce(f.message_id, ''::text)
		FROM cdp.identity i JOIN cdp.sign_in s ON s.identifier_id = i.identifier_id LEFT JOIN LATERAL (
			SELECT n.occurred_at, n.message_id FROM cdp.sign_in n WHERE n.device_id = s.device_id
				AND (n.occurred_at, n.message_id, n.source_id) > (s.occurred_at, s.message_id, s.source_id)
			ORDER BY n.occurred_at, n.message_id, n.source_id LIMIT 1
		) f ON true;
	COMMENT ON VIEW cdp.tenure IS 'Which events are anchored to an identifier: those stored under identifier_id (itself, or a contested device it signed in on) from (starts_at, starts_with) until before (ends_at, ends_with), instant and message id';

	CREATE OR REPLACE VIEW cdp.events AS
		SELECT e.message_id, s.name AS source, e.type, e.name, e.occurred_at, e.received_at,
			a.namespace AS anchor_namespace, a.value AS anchor_value, a.profile_id, e.message
		FROM cdp.tenure t
		JOIN cdp.identity a ON a.identifier_id = t.anchor_id
		JOIN cdp.event e ON e.identifier_id = t.identifier_id AND (e.occurred_at, e.message_id COLLATE "C") >= (t.starts_at, t.starts_with)
			AND (e.occurred_at, e.message_id COLLATE "C") < (t.ends_at, t.ends_with)
		JOIN cdp.source s ON s.source_id = e.source_id
		UNION ALL
		SELECT e.message_id, s.name, e.type, e.name, e.occurred_at, e.received_at, NULL, NULL, NULL, e.message
		FROM cdp.event e JOIN cdp.source s ON s.source_id = e.source_id WHERE e.identifier_id = 0;
	COMMENT ON VIEW cdp.events IS 'The log with, for each event, its source, the identifier it is anchored to (its strongest; on a shared device who signed in last before it) and that one''s profile';

	CREATE OR REPLACE VIEW cdp.account_members AS
		SELECT g.profile_id AS account_id, i.profile_id, min(l.first_seen_at) AS first_seen_at, max(l.last_seen_at) AS last_seen_at,
			sum(l.event_count)::bigint AS event_count
		FROM cdp.link l JOIN cdp.identity i ON i.identifier_id = l.identifier_a JOIN cdp.identity g ON g.identifier_id = l.identifier_b
		WHERE l.status = 'related'
		GROUP BY g.profile_id, i.profile_id;
	COMMENT ON VIEW cdp.account_members IS 'Which people belong to which account: the profile of each that an event mentions together, when, and in how many events';

	CREATE OR REPLACE VIEW cdp.frozen_components AS
		SELECT p.component_id, count(*) FILTER (WHERE p.merged_into IS NULL) AS profiles,
			sum(n.identifiers)::bigint AS identifiers, sum(n.links)::bigint AS links
		FROM cdp.profile p LEFT JOIN LATERAL (
			SELECT count(*) AS identifiers, sum((SELECT count(*) FROM cdp.link l WHERE l.identifier_a = i.identifier_id
				AND l.status NOT IN ('retracted', 'related'))) AS links
			FROM cdp.identity i WHERE i.profile_id = p.profile_id
		) n ON p.merged_into IS NULL
		WHERE p.is_frozen GROUP BY p.component_id;
	COMMENT ON VIEW cdp.frozen_components IS 'For stewards: what has more links than cdp.identity_max_component. Its people stay as they are and what is new there is a profile of its own, until a value that connects them (see cdp.hubs) is blocked, or the setting is raised and cdp.resolve_frozen() called';

	CREATE OR REPLACE VIEW cdp.duplicates_report AS
		SELECT least(a.profile_id, b.profile_id) AS profile_a, greatest(a.profile_id, b.profile_id) AS profile_b, count(*) AS links,
			sum(l.event_count)::bigint AS event_count, max(l.last_seen_at) AS last_seen_at, array_agg(DISTINCT l.reason ORDER BY l.reason) AS reasons
		FROM cdp.link l JOIN cdp.identity a ON a.identifier_id = l.identifier_a JOIN cdp.identity b ON b.identifier_id = l.identifier_b
		WHERE l.status = 'rejected' AND a.profile_id <> b.profile_id
		GROUP BY 1, 2;
	COMMENT ON VIEW cdp.duplicates_report IS 'For stewards: pairs of profiles that evidence connects and a rule keeps apart: how many links and events, and which rules. Perhaps one person; see cdp.why_not_linked(), cdp.pin() and cdp.deny()';

	PERFORM cdp.record_version('identity', 1);
END
$$;
COMMENT ON FUNCTION cdp.init_identity() IS 'Make the tables of identifiers, links, their history and the ids of profiles; part of cdp.init()';
