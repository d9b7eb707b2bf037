-- profile: what is known of a person.

-- type

CREATE TYPE cdp.traits;
COMMENT ON TYPE cdp.traits IS 'Name -> value (any JSON) with the time and source rank at which it was said; merging keeps the latest of each name, then the highest rank, then the larger value bytewise, or what another rule says that stands with the entry. Text form: {"plan": {"at": "2026-01-31T09:00:00Z", "rank": 0, "value": "pro"}}, with "rule" where it is not the latest';

CREATE FUNCTION cdp.traits_in(cstring) RETURNS cdp.traits
AS 'MODULE_PATHNAME', 'cdp_traits_in' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.traits_in(cstring) IS 'Input of traits; error 22P02, which never shows a value';
CREATE FUNCTION cdp.traits_out(cdp.traits) RETURNS cstring
AS 'MODULE_PATHNAME', 'cdp_stamped_map_out' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.traits_out(cdp.traits) IS 'Output of traits: JSON, names sorted bytewise';
CREATE FUNCTION cdp.traits_recv(internal) RETURNS cdp.traits
AS 'MODULE_PATHNAME', 'cdp_traits_recv' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.traits_recv(internal) IS 'Binary input of traits: a version byte (1) and the text form, checked as text is';
CREATE FUNCTION cdp.traits_send(cdp.traits) RETURNS bytea
AS 'MODULE_PATHNAME', 'cdp_stamped_map_send' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.traits_send(cdp.traits) IS 'Binary output of traits: a version byte (1) and the text form';

CREATE TYPE cdp.traits (
	INPUT = cdp.traits_in, OUTPUT = cdp.traits_out, RECEIVE = cdp.traits_recv, SEND = cdp.traits_send,
	INTERNALLENGTH = VARIABLE, ALIGNMENT = double, STORAGE = extended
);

-- functions

CREATE FUNCTION cdp.traits(object jsonb, at timestamptz, rank integer DEFAULT 0) RETURNS cdp.traits
AS 'MODULE_PATHNAME', 'cdp_traits_of' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.traits(jsonb, timestamptz, integer) IS 'The members of a JSON object as traits, all said at one instant by a source of one rank. Errors 22023, 22003';
CREATE FUNCTION cdp.declared_traits(object jsonb, at timestamptz, rank integer DEFAULT 0) RETURNS cdp.traits
AS 'MODULE_PATHNAME', 'cdp_traits_declared' LANGUAGE C STABLE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION cdp.declared_traits(jsonb, timestamptz, integer) IS 'As cdp.traits(), by the rules in cdp.trait: cleansed, each entry with its rule; without what says nothing by its rule, and without what breaks it; null when nothing is left. What cdp makes of a message. Errors 22023, 22008, 22003, 54000, 55000';
CREATE FUNCTION cdp.trait_objection(trait text, value jsonb) RETURNS text
AS 'MODULE_PATHNAME', 'cdp_trait_objection' LANGUAGE C STABLE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION cdp.trait_objection(text, jsonb) IS 'Why a value of a trait is not taken by the rules in cdp.trait: says nothing, or refused: and the reason; null: it is taken. Error 55000';
CREATE FUNCTION cdp.trait_verdict(candidate cdp.traits, result cdp.traits, trait text) RETURNS text
AS 'MODULE_PATHNAME', 'cdp_trait_verdict' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.trait_verdict(cdp.traits, cdp.traits, text) IS 'What became of a trait that was merged into a result: counts, or by what it lost; null when either lacks it';
CREATE FUNCTION cdp.merge(a cdp.traits, b cdp.traits) RETURNS cdp.traits
AS 'MODULE_PATHNAME', 'cdp_traits_merge' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.merge(cdp.traits, cdp.traits) IS 'Two traits as one: name by name what the entries'' rule says, of two rules the stronger; commutative, associative, and idempotent but for the rules most_frequent and sum';
CREATE FUNCTION cdp.is_same(a cdp.traits, b cdp.traits) RETURNS boolean
AS 'MODULE_PATHNAME', 'cdp_stamped_map_eq' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.is_same(cdp.traits, cdp.traits) IS 'Whether two traits agree in every name, value, time, rank and rule';
CREATE FUNCTION cdp.to_jsonb(traits cdp.traits) RETURNS jsonb
AS 'MODULE_PATHNAME', 'cdp_stamped_map_to_jsonb' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.to_jsonb(cdp.traits) IS 'Traits as a JSON object of name and value; what was unset (null) is left out';
CREATE CAST (cdp.traits AS jsonb) WITH FUNCTION cdp.to_jsonb(cdp.traits) AS ASSIGNMENT;
COMMENT ON CAST (cdp.traits AS jsonb) IS 'Name and value; what was unset is left out';

CREATE AGGREGATE cdp.merge_traits(cdp.traits) (
	SFUNC = cdp.merge, STYPE = cdp.traits, COMBINEFUNC = cdp.merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE cdp.merge_traits(cdp.traits) IS 'Many traits as one, in any order; null of nothing';

-- tables and views

CREATE FUNCTION cdp.init_profile() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
DECLARE
	has_timelines CONSTANT boolean := to_regclass('cdp.timeline_part') IS NOT NULL;
BEGIN
	CREATE TABLE IF NOT EXISTS cdp.fragment (
		anchor_id bigint NOT NULL,
		identifier_id bigint NOT NULL,
		traits cdp.traits,
		consents cdp.consent_state,
		first_seen_at timestamptz,
		last_seen_at timestamptz,
		event_count bigint NOT NULL DEFAULT 0,
		CONSTRAINT fragment_pkey PRIMARY KEY (anchor_id, identifier_id)
	) WITH (fillfactor = 50);
	CREATE INDEX IF NOT EXISTS fragment_identifier_id_idx ON cdp.fragment (identifier_id) WHERE anchor_id <> identifier_id; -- of contested devices
	COMMENT ON TABLE cdp.fragment IS 'What the events say that are anchored to an identifier; a profile is the fold of its identifiers'' fragments';
	COMMENT ON COLUMN cdp.fragment.anchor_id IS 'To whom the events are anchored';
	COMMENT ON COLUMN cdp.fragment.identifier_id IS 'Their strongest identifier: the anchor itself, or a contested device that the anchor held; so a device is folded again without the rest';

	CREATE TABLE IF NOT EXISTS cdp.lookup (
		lookup_id integer NOT NULL GENERATED BY DEFAULT AS IDENTITY CONSTRAINT lookup_pkey PRIMARY KEY,
		name text COLLATE "C" NOT NULL CONSTRAINT lookup_name_key UNIQUE,
		relation text NOT NULL,
		key_trait text NOT NULL,
		key_column text NOT NULL,
		columns jsonb NOT NULL,
		rank integer NOT NULL CONSTRAINT lookup_rank_check CHECK (rank BETWEEN -32767 AND 32767),
		observed_column text,
		refreshed_at timestamptz
	);
	COMMENT ON TABLE cdp.lookup IS 'Tables from which profiles get traits by the value of one of theirs; changed by cdp.create_lookup() and cdp.drop_lookup()';
	COMMENT ON COLUMN cdp.lookup.columns IS 'Trait -> column';
	CREATE OR REPLACE TRIGGER lookup_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON cdp.lookup
		FOR EACH STATEMENT EXECUTE FUNCTION cdp.rules_changed('lookup');

	CREATE TABLE IF NOT EXISTS cdp.lookup_row (
		lookup_id integer NOT NULL,
		key text COLLATE "C" NOT NULL,
		object jsonb NOT NULL,
		observed_at timestamptz NOT NULL,
		traits cdp.traits,
		CONSTRAINT lookup_row_pkey PRIMARY KEY (lookup_id, key)
	);
	COMMENT ON TABLE cdp.lookup_row IS 'The copies of lookups'' relations, made by cdp.refresh_lookup(); a profile is the fold of its fragments and of the rows found by its traits';
	COMMENT ON COLUMN cdp.lookup_row.object IS 'Trait -> value, as it stands in the relation';
	COMMENT ON COLUMN cdp.lookup_row.traits IS 'What is made of it by the rules in cdp.trait; null: nothing';

	CREATE OR REPLACE VIEW cdp.statement AS
		SELECT coalesce(h.identifier_id, e.identifier_id) AS anchor_id, e.identifier_id, true AS is_own, e.occurred_at, e.message_id, e.source_id,
			CASE WHEN e.type = 'identify' AND jsonb_typeof(e.message -> 'traits') = 'object' AND e.message -> 'traits' <> '{}'
				THEN e.message -> 'traits' END AS traits,
			CASE WHEN jsonb_typeof(e.message #> '{context,consent,categoryPreferences}') = 'object'
				THEN e.message #> '{context,consent,categoryPreferences}' END AS consents,
			e.tableoid AS event_table, e.ctid AS event_ctid, e.received_at
		FROM cdp.event e
		LEFT JOIN cdp.identity i ON i.identifier_id = e.identifier_id
		LEFT JOIN LATERAL (
			SELECT n.identifier_id FROM cdp.sign_in n WHERE i.is_contested AND n.device_id = e.identifier_id
				AND (n.occurred_at, n.message_id) <= (e.occurred_at, e.message_id COLLATE "C")
			ORDER BY n.occurred_at DESC, n.message_id DESC, n.source_id DESC LIMIT 1
		) h ON true
		WHERE e.identifier_id <> 0
		UNION ALL -- of an account, whoever sent it
		SELECT g.identifier_id AS anchor_id, g.identifier_id, false AS is_own, e.occurred_at, e.message_id, e.source_id,
			e.message -> 'traits' AS traits, NULL::jsonb AS consents, e.tableoid AS event_table, e.ctid AS event_ctid,
			e.received_at
		FROM cdp.identity g JOIN cdp.namespace n ON n.name = g.namespace AND n.entity <> 'person'
		CROSS JOIN LATERAL (
			SELECT l.identifier_a AS id FROM cdp.link l WHERE l.identifier_b = g.identifier_id AND l.status = 'related'
			UNION ALL SELECT g.identifier_id
		) p
		JOIN cdp.event e ON e.identifier_id = p.id AND e.type = 'group' AND jsonb_typeof(e.message -> 'traits') = 'object'
			AND e.message -> 'traits' <> '{}'
		JOIN cdp.source s ON s.source_id = e.source_id
		CROSS JOIN LATERAL (
			SELECT m.namespace, m.value FROM cdp.message_identifiers(e.type, e.message, s.phone_region) m
			WHERE m.entity <> 'person' ORDER BY m.ord LIMIT 1
		) f
		WHERE f.namespace = g.namespace AND f.value = g.value;
	COMMENT ON VIEW cdp.statement IS 'What each event says, of whom it is anchored to (is_own) and, of group, of the account: traits and consents as JSON, null: none. Restrict identifier_id, the event''s strongest identifier or the account';

	CREATE TABLE IF NOT EXISTS cdp.trait (
		name text COLLATE "C" NOT NULL CONSTRAINT trait_pkey PRIMARY KEY
			CONSTRAINT trait_name_check CHECK (octet_length(name) BETWEEN 1 AND 255),
		rule text NOT NULL DEFAULT 'latest' CONSTRAINT trait_rule_check CHECK (rule IN ('latest', 'earliest', 'preferred',
			'first_non_empty', 'highest', 'lowest', 'most_frequent', 'sum', 'union', 'computed')),
		cleanse text[] NOT NULL DEFAULT '{}' CONSTRAINT trait_cleanse_check CHECK (cleanse <@ '{trim,lower,upper,title}'),
		null_if text[] NOT NULL DEFAULT '{}' CONSTRAINT trait_null_if_check CHECK (array_position(null_if, NULL) IS NULL),
		type text CONSTRAINT trait_type_check CHECK (type IN ('string', 'number', 'boolean', 'array', 'object')),
		minimum numeric,
		maximum numeric,
		valid_pattern text
			CONSTRAINT trait_valid_pattern_check CHECK (('' ~ valid_pattern) IS NOT NULL OR valid_pattern IS NULL), -- raises on no regular expression
		computed text,
		CONSTRAINT trait_range_check CHECK (minimum <= maximum),
		CONSTRAINT trait_computed_check CHECK ((rule = 'computed') = (computed IS NOT NULL))
	);
	COMMENT ON COLUMN cdp.trait.computed IS 'What it is computed from, in canonical text; null of a trait that is said';
	COMMENT ON TABLE cdp.trait IS 'Rules of traits: which of the values said counts, and which are taken at all; changed by cdp.create_trait(). Of a trait that is not here the latest word counts';
	CREATE OR REPLACE TRIGGER trait_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON cdp.trait
		FOR EACH STATEMENT EXECUTE FUNCTION cdp.rules_changed('trait');

	-- Only ever inserted into, so that nobody waits for another.
	CREATE TABLE IF NOT EXISTS cdp.refused_value (
		received_at timestamptz NOT NULL,
		source_id integer NOT NULL,
		message_id text NOT NULL,
		trait text COLLATE "C" NOT NULL
	);
	COMMENT ON TABLE cdp.refused_value IS 'Messages whose value of a trait, or an element of it, broke the trait''s rule when they came; the value stands in the message. Rows may be deleted';
	CREATE OR REPLACE VIEW cdp.refused_values AS
		SELECT s.name AS source, r.trait, count(*) AS message_count, min(r.received_at) AS first_received_at, max(r.received_at) AS last_received_at
		FROM cdp.refused_value r JOIN cdp.source s USING (source_id)
		GROUP BY s.name, r.trait;
	COMMENT ON VIEW cdp.refused_values IS 'By source and trait, in how many messages a value broke the trait''s rule when it came';

	CREATE OR REPLACE VIEW cdp.locked_traits AS
		SELECT i.identifier_id, r.ruling_id, r.a AS identifier, r.trait, r.value, r.reason, r.actor, r.ruled_at,
			format('{%s:{"at":%s,"rule":"locked","value":%s}}', to_json(r.trait), to_json(r.ruled_at AT TIME ZONE 'UTC'), r.value)::cdp.traits AS traits
		FROM cdp.identity i JOIN cdp.ruling r ON r.a = cdp.identifier(i.namespace, i.value) AND r.kind = 'lock' AND r.undone_at IS NULL;
	COMMENT ON VIEW cdp.locked_traits IS 'Traits whose value a steward locked, see cdp.lock_trait(); cdp.undo() of the ruling ends it';

	CREATE TABLE IF NOT EXISTS cdp.fragment_remainder (
		anchor_id bigint NOT NULL,
		identifier_id bigint NOT NULL,
		traits cdp.traits,
		consents cdp.consent_state,
		first_seen_at timestamptz,
		last_seen_at timestamptz,
		event_count bigint NOT NULL,
		CONSTRAINT fragment_remainder_pkey PRIMARY KEY (anchor_id, identifier_id)
	) WITH (fillfactor = 80);
	CREATE INDEX IF NOT EXISTS fragment_remainder_identifier_id_idx ON cdp.fragment_remainder (identifier_id);
	COMMENT ON TABLE cdp.fragment_remainder IS 'What the events said that left the log by cdp.set_retention(), with whom they were anchored to then';

	CREATE OR REPLACE VIEW cdp.contribution AS
		SELECT d.anchor_id, d.identifier_id, cdp.declared_traits(d.traits, d.occurred_at, s.rank) AS traits, (
				SELECT cdp.merge_consents(format('{%s:{"at":%s,"value":%s}}', to_json(p.key),
					to_json(d.occurred_at AT TIME ZONE 'UTC'), p.value)::cdp.consent_state)
				FROM jsonb_each(d.consents) p WHERE jsonb_typeof(p.value) = 'boolean') AS consents,
			CASE WHEN d.is_own THEN d.occurred_at END AS first_seen_at, CASE WHEN d.is_own THEN d.occurred_at END AS last_seen_at,
			d.is_own::integer::bigint AS event_count, d.event_table, d.event_ctid, d.received_at
		FROM cdp.statement d JOIN cdp.source s ON s.source_id = d.source_id;
	COMMENT ON VIEW cdp.contribution IS 'What each event adds to a fragment; restrict identifier_id';

	CREATE OR REPLACE VIEW cdp.remaining_fragment AS
		SELECT coalesce(a.identifier_id, r.identifier_id) AS anchor_id, r.identifier_id, r.traits, r.consents,
			r.first_seen_at, r.last_seen_at, r.event_count
		FROM cdp.fragment_remainder r JOIN cdp.entrant i ON i.identifier_id = r.identifier_id
		LEFT JOIN cdp.entrant a ON a.identifier_id = r.anchor_id;
	COMMENT ON VIEW cdp.remaining_fragment IS 'What counts of cdp.fragment_remainder by the rules in force; of whom is no longer in the graph what came from a shared device is that device''s';

	CREATE OR REPLACE VIEW cdp.derived_fragment AS
		SELECT d.anchor_id, d.identifier_id, cdp.merge_traits(d.traits) AS traits, cdp.merge_consents(d.consents) AS consents,
			min(d.first_seen_at) AS first_seen_at, max(d.last_seen_at) AS last_seen_at, sum(d.event_count)::bigint AS event_count
		FROM (
			SELECT c.anchor_id, c.identifier_id, c.traits, c.consents, c.first_seen_at, c.last_seen_at, c.event_count FROM cdp.contribution c
			UNION ALL
			SELECT r.anchor_id, r.identifier_id, r.traits, r.consents, r.first_seen_at, r.last_seen_at, r.event_count FROM cdp.remaining_fragment r
			UNION ALL
			SELECT l.identifier_id AS anchor_id, l.identifier_id, l.traits, NULL::cdp.consent_state AS consents, NULL::timestamptz AS first_seen_at,
				NULL::timestamptz AS last_seen_at, 0::bigint AS event_count
			FROM cdp.locked_traits l
		) d
		GROUP BY d.anchor_id, d.identifier_id;
	COMMENT ON VIEW cdp.derived_fragment IS 'What cdp.fragment must hold, derived from the log, what left it, cdp.sign_in and the locks of stewards; restrict identifier_id';

	CREATE TABLE IF NOT EXISTS cdp.timeline_part (
		anchor_id bigint NOT NULL,
		identifier_id bigint NOT NULL,
		month date NOT NULL,
		part integer NOT NULL DEFAULT 0,
		events cdp.timeline NOT NULL,
		CONSTRAINT timeline_part_pkey PRIMARY KEY (anchor_id, identifier_id, month, part)
	) WITH (fillfactor = 80);
	COMMENT ON TABLE cdp.timeline_part IS 'The events of each fragment that have a name, by month, with the declared properties; a profile''s timeline is what those of its identifiers add up to';
	COMMENT ON COLUMN cdp.timeline_part.anchor_id IS 'As of cdp.fragment';
	COMMENT ON COLUMN cdp.timeline_part.identifier_id IS 'As of cdp.fragment';
	COMMENT ON COLUMN cdp.timeline_part.month IS 'First day of the month in which the events happened (UTC)';
	COMMENT ON COLUMN cdp.timeline_part.part IS '0 grows; it gets a number of its own when it has become large, and is not written again';

	CREATE TABLE IF NOT EXISTS cdp.property (
		name text COLLATE "C" NOT NULL CONSTRAINT property_name_check CHECK (octet_length(name) BETWEEN 1 AND 256),
		event text COLLATE "C" CONSTRAINT property_event_check CHECK (octet_length(event) BETWEEN 1 AND 1024),
		CONSTRAINT property_key UNIQUE NULLS NOT DISTINCT (name, event)
	);
	COMMENT ON TABLE cdp.property IS 'Members of events'' properties that timelines carry along; changed by cdp.create_property() and cdp.drop_property()';
	COMMENT ON COLUMN cdp.property.event IS 'The name of the events whose property it is; null: of all';
	CREATE OR REPLACE TRIGGER property_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON cdp.property
		FOR EACH STATEMENT EXECUTE FUNCTION cdp.rules_changed();

	CREATE TABLE IF NOT EXISTS cdp.timeline_remainder (
		anchor_id bigint NOT NULL,
		identifier_id bigint NOT NULL,
		month date NOT NULL,
		events cdp.timeline NOT NULL,
		CONSTRAINT timeline_remainder_pkey PRIMARY KEY (anchor_id, identifier_id, month)
	) WITH (fillfactor = 80);
	CREATE INDEX IF NOT EXISTS timeline_remainder_identifier_id_idx ON cdp.timeline_remainder (identifier_id);
	COMMENT ON TABLE cdp.timeline_remainder IS 'The part of cdp.timeline_part whose events left the log by cdp.set_retention(), with the properties that were declared then';

	-- The properties come by an outer join, so that a parallel worker reads them out of the message and hands only them on.
	CREATE OR REPLACE VIEW cdp.timeline_entry AS
		SELECT CASE WHEN i.is_contested THEN coalesce(cdp.holder(x.identifier_id, x.occurred_at, x.message_id), x.identifier_id)
				ELSE x.identifier_id END AS anchor_id,
			x.identifier_id, date_trunc('month', x.occurred_at AT TIME ZONE 'UTC')::date AS month, x.name, x.occurred_at, c.properties,
			x.tableoid AS event_table, x.ctid AS event_ctid, x.received_at
		FROM cdp.event x LEFT JOIN cdp.identity i ON i.identifier_id = x.identifier_id
		LEFT JOIN LATERAL (SELECT cdp.carried_properties(x.name, x.message) AS properties) c ON true
		WHERE x.identifier_id <> 0 AND x.name IS NOT NULL;
	COMMENT ON VIEW cdp.timeline_entry IS 'What each event that has a name adds to a timeline; restrict identifier_id';

	-- A part of more than 1,500 bytes is full, as in src/profile/parts.c.
	CREATE OR REPLACE VIEW cdp.derived_timeline_part AS
		SELECT d.anchor_id, d.identifier_id, d.month, (pg_column_size(d.events) > 1500)::integer AS part, d.events
		FROM (
			SELECT x.anchor_id, x.identifier_id, x.month, cdp.add_timelines(x.events) AS events
			FROM (
				SELECT e.anchor_id, e.identifier_id, e.month, cdp.timeline_agg(e.name, e.occurred_at, e.properties) AS events
				FROM cdp.timeline_entry e GROUP BY e.anchor_id, e.identifier_id, e.month
				UNION ALL
				SELECT coalesce(a.identifier_id, r.identifier_id) AS anchor_id, r.identifier_id, r.month, r.events
				FROM cdp.timeline_remainder r JOIN cdp.entrant i ON i.identifier_id = r.identifier_id
				LEFT JOIN cdp.entrant a ON a.identifier_id = r.anchor_id
			) x
			GROUP BY x.anchor_id, x.identifier_id, x.month
		) d;
	COMMENT ON VIEW cdp.derived_timeline_part IS 'What cdp.timeline_part must hold, derived from the log, what left it, and cdp.sign_in, all of a month in one part; restrict identifier_id';

	CREATE OR REPLACE VIEW cdp.timelines AS
		SELECT i.profile_id, p.month, p.events FROM cdp.timeline_part p JOIN cdp.identity i ON i.identifier_id = p.anchor_id;
	COMMENT ON VIEW cdp.timelines IS 'The timelines of all profiles, each in several parts, which cdp.add_timelines() makes one: events of one month (its first day, UTC), that have a name, with the declared properties';
	IF NOT has_timelines AND EXISTS (SELECT FROM cdp.event) THEN
		PERFORM cdp.derive_timelines(); -- of a database that was set up before there were any
	END IF;

	ALTER TABLE cdp.profile
		ADD COLUMN IF NOT EXISTS traits cdp.traits,
		ADD COLUMN IF NOT EXISTS computed cdp.traits,
		ADD COLUMN IF NOT EXISTS consents cdp.consent_state,
		ADD COLUMN IF NOT EXISTS first_seen_at timestamptz,
		ADD COLUMN IF NOT EXISTS last_seen_at timestamptz,
		ADD COLUMN IF NOT EXISTS event_count bigint NOT NULL DEFAULT 0;
	COMMENT ON COLUMN cdp.profile.traits IS 'The fold of the fragments; null of a profile merged away';
	COMMENT ON COLUMN cdp.profile.computed IS 'Its computed traits, as of the last cdp.process(); all traits are what both merge to';
	COMMENT ON COLUMN cdp.profile.consents IS 'The fold of the fragments; null of a profile merged away';

	CREATE OR REPLACE VIEW cdp.profiles AS
		SELECT profile_id, entity, coalesce(cdp.to_jsonb(coalesce(cdp.merge(traits, computed), traits, computed)), '{}') AS traits,
			first_seen_at, last_seen_at, event_count
		FROM cdp.profile WHERE merged_into IS NULL;
	COMMENT ON VIEW cdp.profiles IS 'Everyone: a row for each live profile';
	PERFORM cdp.record_version('profile', 1);
END
$$;
COMMENT ON FUNCTION cdp.init_profile() IS 'Make the table of fragments and the profile''s columns for what is known; part of cdp.init()';
