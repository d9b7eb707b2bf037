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

CREATE FUNCTION cdp.rule(kind text, a cdp.identifier, b cdp.identifier, reason text) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	ends cdp.identifier[];
	entities text[];
	ids bigint[];
	other bigint;
	objection text;
	ruled bigint;
	is_pin boolean := kind = 'pin';
BEGIN
	PERFORM cdp.require_init();
	IF reason IS NULL OR btrim(reason) = '' THEN
		RAISE EXCEPTION 'a ruling needs a reason' USING ERRCODE = 'null_value_not_allowed',
			HINT = 'Say why, for whoever reads it next year.';
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
	-- one ruling at a time: each is checked against the others
	LOCK TABLE cdp.ruling IN SHARE ROW EXCLUSIVE MODE;
	SELECT r.ruling_id, r.kind INTO other, objection FROM cdp.ruling r
	WHERE r.a = ends[1] AND r.b = ends[2] AND r.undone_at IS NULL;
	IF objection = rule.kind THEN
		RETURN other;
	ELSIF objection IS NOT NULL THEN
		RAISE EXCEPTION 'ruling % says the opposite of these two identifiers', other USING ERRCODE = 'check_violation',
			HINT = format('Undo it first: SELECT cdp.undo(%s).', other);
	END IF;
	INSERT INTO cdp.ruling (kind, a, b, reason) VALUES (rule.kind, ends[1], ends[2], rule.reason) RETURNING ruling_id INTO ruled;
	IF is_pin THEN
		ids := ARRAY[cdp.known_identifier(ends[1]), cdp.known_identifier(ends[2])];
		INSERT INTO cdp.link (identifier_a, identifier_b, event_count) VALUES (ids[1], ids[2], 0) ON CONFLICT DO NOTHING;
	ELSE
		SELECT array_agg(i.identifier_id) INTO ids FROM unnest(ends) e
		JOIN cdp.identity i ON i.namespace = cdp.namespace(e) AND i.value = cdp.value(e);
	END IF;
	IF ids IS NOT NULL THEN
		PERFORM cdp.reconsider(ids);
	END IF;
	IF is_pin THEN
		SELECT l.reason INTO objection FROM cdp.link l
		WHERE l.identifier_a = ids[1] AND l.identifier_b = ids[2] AND l.status = 'rejected';
		IF FOUND THEN
			RAISE EXCEPTION 'the pin would break a rule: %', objection USING ERRCODE = 'check_violation',
				HINT = 'A pin goes before all evidence, but not above limits and denials; undo the denial, raise the limit, or undo another pin.';
		END IF;
	END IF;
	RETURN ruled;
END
$$;
COMMENT ON FUNCTION cdp.rule(text, cdp.identifier, cdp.identifier, text) IS 'What cdp.pin() and cdp.deny() have in common';

CREATE FUNCTION cdp.known_identifier(identifier cdp.identifier) RETURNS bigint
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	wanted text := cdp.namespace(identifier);
	known bigint;
	minted bigint;
BEGIN
	LOOP
		SELECT i.identifier_id INTO known FROM cdp.identity i WHERE i.namespace = wanted AND i.value = cdp.value(identifier);
		IF FOUND THEN
			RETURN known;
		END IF;
		minted := nextval('cdp.profile_id_seq');
		INSERT INTO cdp.identity (namespace, value, profile_id, minted_profile_id, event_count)
		VALUES (wanted, cdp.value(identifier), minted, minted, 0) ON CONFLICT DO NOTHING RETURNING identifier_id INTO known;
		IF FOUND THEN
			INSERT INTO cdp.profile (profile_id, entity, component_id)
			SELECT minted, n.entity, minted FROM cdp.namespace n WHERE n.name = wanted;
			INSERT INTO cdp.identity_change (identifier_id, to_profile_id, cause, changed_at)
			VALUES (known, minted, 'ruling', clock_timestamp());
			RETURN known;
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION cdp.known_identifier(cdp.identifier) IS 'The id of an identifier, normalised already; made, with a profile of its own, when it was never seen';

CREATE FUNCTION cdp.pin(a cdp.identifier, b cdp.identifier, reason text) RETURNS bigint
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT cdp.rule('pin', a, b, reason) $$;
COMMENT ON FUNCTION cdp.pin(cdp.identifier, cdp.identifier, text) IS 'Rule that two identifiers are one person, whatever the evidence; returns the ruling''s id, for cdp.undo(). Applies to the past at once. Errors 22004 without a reason, 22023, 23514 when a denial or a limit stands against it, 42704';

CREATE FUNCTION cdp.deny(a cdp.identifier, b cdp.identifier, reason text) RETURNS bigint
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT cdp.rule('deny', a, b, reason) $$;
COMMENT ON FUNCTION cdp.deny(cdp.identifier, cdp.identifier, text) IS 'Rule that two identifiers are not one person, whatever the evidence; returns the ruling''s id, for cdp.undo(). Applies to the past at once: a profile that has both is split, and each part gets the id back that it had. Errors 22004 without a reason, 22023, 23514 when a pin says the opposite, 42704';

CREATE FUNCTION cdp.undo(ruling_id bigint) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	ruled cdp.ruling;
	ids bigint[];
BEGIN
	PERFORM cdp.require_init();
	LOCK TABLE cdp.ruling IN SHARE ROW EXCLUSIVE MODE;
	SELECT r.* INTO ruled FROM cdp.ruling r WHERE r.ruling_id = undo.ruling_id;
	IF NOT FOUND OR ruled.undone_at IS NOT NULL THEN
		RAISE EXCEPTION 'ruling % does not exist or is undone already', ruling_id USING ERRCODE = 'undefined_object',
			HINT = 'See the table cdp.ruling.';
	END IF;
	UPDATE cdp.ruling r SET undone_at = clock_timestamp(), undone_by = current_user WHERE r.ruling_id = undo.ruling_id;
	SELECT array_agg(i.identifier_id ORDER BY e.ord) INTO ids FROM unnest(ARRAY[ruled.a, ruled.b]) WITH ORDINALITY e (id, ord)
	JOIN cdp.identity i ON i.namespace = cdp.namespace(e.id) AND i.value = cdp.value(e.id);
	IF ids IS NULL THEN
		RETURN;
	END IF;
	IF ruled.kind = 'pin' THEN
		DELETE FROM cdp.link l WHERE l.identifier_a = ids[1] AND l.identifier_b = ids[2] AND l.event_count = 0;
	END IF;
	PERFORM cdp.reconsider(ids);
END
$$;
COMMENT ON FUNCTION cdp.undo(bigint) IS 'Undo a ruling, as if it had never been made; profiles get the ids back that they had before it. Error 42704';

CREATE FUNCTION cdp.connected_components(query text) RETURNS TABLE (node bigint, component bigint)
AS 'MODULE_PATHNAME', 'cdp_connected_components' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000000 COST 1000000;
COMMENT ON FUNCTION cdp.connected_components(text) IS 'What belongs together, on any query; needs no cdp.init(). The query yields the two ends of each edge, integers; a null end makes a node that stands alone. Returns each node once with the first node seen of its component. Streams the query; takes about 25 bytes a node. Errors 22004, 42601, 42804, 54000';

CREATE FUNCTION cdp.connected_components(query text, node_type anyelement)
RETURNS TABLE (node anyelement, component anyelement)
AS 'MODULE_PATHNAME', 'cdp_connected_components' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000000 COST 1000000;
COMMENT ON FUNCTION cdp.connected_components(text, anyelement) IS 'As cdp.connected_components(text), for nodes of another type, of which node_type is any value: cdp.connected_components(query, NULL::uuid). Any type of 8 bytes or by reference that can be hashed will do; the values are kept in memory. Errors as there, and 42883, 0A000';

CREATE FUNCTION cdp.resolve(query text, rules jsonb DEFAULT NULL)
RETURNS TABLE (identifier cdp.identifier, profile cdp.identifier, is_contested boolean)
AS 'MODULE_PATHNAME', 'cdp_resolve_query' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000000 COST 1000000;
COMMENT ON FUNCTION cdp.resolve(text, jsonb) IS 'Who is who, on any query; needs no cdp.init() and reads no table of cdp. The query yields a message per row (jsonb, json or text; an envelope too), and, if you like, in a second column when it happened (timestamptz). Returns each identifier that may enter the graph once, normalised, with the strongest one of its profile, which stands for it, and whether it is a device seen with two values of one other namespace. rules: namespaces, blocked, pins, denials; what is left out is as in cdp.default_rules(). Streams the query; takes the memory of cdp.max_resolve_memory at most. Errors 22004, 22007, 22008, 22023, 22P02, 2201B, 42601, 42602, 42704, 42804, 53400, 54000';

CREATE FUNCTION cdp.resolve_all()
RETURNS TABLE (identifier_id bigint, cluster bigint, component bigint, is_disputed boolean)
AS 'MODULE_PATHNAME', 'cdp_resolve_all' LANGUAGE C STABLE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION cdp.resolve_all() IS 'The whole graph resolved from scratch: each identifier with one that stands for its cluster, one that stands for all that links connect, and whether the order of links matters there. Reads all links into memory';

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
		is_disputed boolean NOT NULL DEFAULT false,
		merged_into bigint
	) WITH (fillfactor = 80);
	CREATE INDEX IF NOT EXISTS profile_component_id_idx ON cdp.profile (component_id);
	COMMENT ON TABLE cdp.profile IS 'A row for every profile id ever given out';
	COMMENT ON COLUMN cdp.profile.component_id IS 'The smallest profile id of all that links connect, accepted or rejected; what is resolved and locked together';
	COMMENT ON COLUMN cdp.profile.is_disputed IS 'Whether in its component the order of links matters: a link was rejected or is redundant, or a device may not bridge';
	COMMENT ON COLUMN cdp.profile.merged_into IS 'The live profile this id stands for now; null: it lives';

	-- Not named identifier: a table of that name would be a second type cdp.identifier.
	CREATE TABLE IF NOT EXISTS cdp.identity (
		identifier_id bigint NOT NULL GENERATED BY DEFAULT AS IDENTITY CONSTRAINT identity_pkey PRIMARY KEY,
		namespace text COLLATE "C" NOT NULL,
		value text COLLATE "C" NOT NULL,
		profile_id bigint NOT NULL,
		minted_profile_id bigint,
		first_seen_at timestamptz,
		last_seen_at timestamptz,
		event_count bigint NOT NULL,
		CONSTRAINT identity_namespace_value_key UNIQUE (namespace, value)
	) WITH (fillfactor = 80);
	CREATE INDEX IF NOT EXISTS identity_profile_id_idx ON cdp.identity (profile_id);
	COMMENT ON TABLE cdp.identity IS 'Every identifier that entered the graph, normalised, and the profile it belongs to';
	COMMENT ON COLUMN cdp.identity.minted_profile_id IS 'The profile id that was minted for this identifier, if one was; it comes back on a split';
	COMMENT ON COLUMN cdp.identity.event_count IS 'Events that mention it';

	CREATE TABLE IF NOT EXISTS cdp.link (
		identifier_a bigint NOT NULL,
		identifier_b bigint NOT NULL,
		first_seen_at timestamptz,
		last_seen_at timestamptz,
		event_count bigint NOT NULL,
		status text NOT NULL DEFAULT 'accepted'
			CONSTRAINT link_status_check CHECK (status IN ('accepted', 'redundant', 'rejected')),
		reason text,
		CONSTRAINT link_pkey PRIMARY KEY (identifier_a, identifier_b)
	) WITH (fillfactor = 80);
	CREATE INDEX IF NOT EXISTS link_identifier_b_idx ON cdp.link (identifier_b);
	COMMENT ON TABLE cdp.link IS 'Pairs of identifiers seen in one event, the stronger first: the evidence added up, and the judgement';
	COMMENT ON COLUMN cdp.link.status IS 'accepted: it connects; redundant: its ends are connected already; rejected: a rule forbids it, see reason';

	CREATE TABLE IF NOT EXISTS cdp.identity_change (
		identifier_id bigint NOT NULL,
		from_profile_id bigint,
		to_profile_id bigint NOT NULL,
		cause text NOT NULL CONSTRAINT identity_change_cause_check CHECK (cause IN ('seen', 'merge', 'split', 'ruling')),
		actor text NOT NULL DEFAULT current_user,
		changed_at timestamptz NOT NULL
	);
	CREATE INDEX IF NOT EXISTS identity_change_identifier_id_idx ON cdp.identity_change (identifier_id, changed_at);
	COMMENT ON TABLE cdp.identity_change IS 'Every move of an identifier from one profile to another, in transaction time; append-only';

	CREATE TABLE IF NOT EXISTS cdp.ruling (
		ruling_id bigint NOT NULL GENERATED BY DEFAULT AS IDENTITY CONSTRAINT ruling_pkey PRIMARY KEY,
		kind text NOT NULL CONSTRAINT ruling_kind_check CHECK (kind IN ('pin', 'deny')),
		a cdp.identifier NOT NULL,
		b cdp.identifier NOT NULL,
		reason text NOT NULL,
		actor text NOT NULL DEFAULT current_user,
		ruled_at timestamptz NOT NULL DEFAULT now(),
		undone_at timestamptz,
		undone_by text
	);
	CREATE INDEX IF NOT EXISTS ruling_a_idx ON cdp.ruling (a) WHERE undone_at IS NULL;
	COMMENT ON TABLE cdp.ruling IS 'What stewards ruled: pins (these two are one person) and denials (these two are not), the stronger identifier first; never deleted, undone instead';

	CREATE OR REPLACE VIEW cdp.identifiers AS
		SELECT namespace, value, profile_id, first_seen_at, last_seen_at, event_count FROM cdp.identity;
	COMMENT ON VIEW cdp.identifiers IS 'Every identifier with its profile';

	CREATE OR REPLACE VIEW cdp.links AS
		SELECT a.namespace AS namespace_a, a.value AS value_a, b.namespace AS namespace_b, b.value AS value_b,
			l.first_seen_at, l.last_seen_at, l.event_count, l.status, l.reason
		FROM cdp.link l
		JOIN cdp.identity a ON a.identifier_id = l.identifier_a
		JOIN cdp.identity b ON b.identifier_id = l.identifier_b;
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
		GROUP BY h.identifier_id HAVING count(*) > 10 ORDER BY count(*) DESC LIMIT 100;
	COMMENT ON VIEW cdp.hubs IS 'For stewards: the 100 identifiers seen with the most stronger ones, more than ten: values that should perhaps be blocked, such as a shop''s own address';

	CREATE OR REPLACE VIEW cdp.events AS
		SELECT e.message_id, s.name AS source, e.type, e.name, e.occurred_at, e.received_at,
			i.namespace AS anchor_namespace, i.value AS anchor_value, i.profile_id, e.message
		FROM cdp.event e
		JOIN cdp.source s ON s.source_id = e.source_id
		LEFT JOIN cdp.identity i ON i.identifier_id = e.identifier_id;
	COMMENT ON VIEW cdp.events IS 'The log with, for each event, its source, the identifier it is anchored to and that one''s profile';

	PERFORM cdp.record_version('identity', 1);
END
$$;
COMMENT ON FUNCTION cdp.init_identity() IS 'Make the tables of identifiers, links, their history and the ids of profiles; part of cdp.init()';
