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
