-- event: what happened.

CREATE FUNCTION cdp.create_source(
	name text, rank integer DEFAULT 0, corrects_clock boolean DEFAULT true, description text DEFAULT NULL,
	phone_region text DEFAULT NULL, transformation regprocedure DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	was record;
	called text; -- the transformation, as it is looked up
	reads_anew boolean;
	touched bigint[];
BEGIN
	PERFORM cdp.require_init();
	IF name IS NULL OR octet_length(name) NOT BETWEEN 1 AND 63 THEN
		RAISE EXCEPTION 'invalid name for a source' USING ERRCODE = 'invalid_name', HINT = 'A source''s name has 1 to 63 bytes.';
	END IF;
	IF rank IS NULL OR rank NOT BETWEEN -32767 AND 32767 THEN
		RAISE EXCEPTION 'rank of source "%" is out of range', name USING ERRCODE = 'invalid_parameter_value',
			HINT = 'A rank is between -32767 and 32767.';
	END IF;
	IF NOT cdp.is_phone_region(phone_region) THEN
		RAISE EXCEPTION 'unknown phone region for source "%"', name USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Write a country''s two capital letters of ISO 3166, such as DE, or leave it null.';
	END IF;
	IF transformation IS NOT NULL THEN
		SELECT format('%I.%I', n.nspname, p.proname) INTO called FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
		WHERE p.oid = transformation AND p.pronargs = 1 AND p.proargtypes[0] = 'jsonb'::regtype AND p.prorettype = 'jsonb'::regtype
			AND p.prokind = 'f' AND NOT p.proretset AND has_function_privilege(p.oid, 'EXECUTE');
		IF called IS NULL THEN
			RAISE EXCEPTION '% cannot be a transformation', transformation USING ERRCODE = 'invalid_function_definition',
				HINT = 'It takes one jsonb and returns jsonb, and you may execute it.';
		END IF;
	END IF;
	INSERT INTO cdp.source (name, rank, corrects_clock, description, phone_region, transformation)
	VALUES (create_source.name, create_source.rank, create_source.corrects_clock, create_source.description,
		create_source.phone_region, called)
	ON CONFLICT ON CONSTRAINT source_name_key DO NOTHING; -- a message may just be making it
	IF FOUND THEN
		RETURN;
	END IF;
	SELECT s.source_id, s.rank, s.phone_region INTO was FROM cdp.source s WHERE s.name = create_source.name FOR UPDATE;
	reads_anew := was.phone_region IS DISTINCT FROM create_source.phone_region;
	IF reads_anew OR was.rank <> create_source.rank THEN
		PERFORM cdp.hold_rules();
	END IF;
	IF reads_anew THEN
		PERFORM cdp.remember_readings(NULL);
	END IF;
	UPDATE cdp.source s SET rank = create_source.rank, corrects_clock = create_source.corrects_clock,
		description = coalesce(create_source.description, s.description), phone_region = create_source.phone_region,
		transformation = called
	WHERE s.source_id = was.source_id;
	IF reads_anew THEN
		PERFORM cdp.read_again(NULL, 'rule');
	END IF;
	IF was.rank <> create_source.rank THEN
		-- what its events say of people, and of the accounts they belong to
		WITH strongest AS (
			SELECT DISTINCT e.identifier_id AS id FROM cdp.event e WHERE e.source_id = was.source_id AND e.identifier_id <> 0
		)
		SELECT array_agg(x.id) INTO touched FROM (
			SELECT s.id FROM strongest s
			UNION SELECT l.identifier_b FROM strongest s JOIN cdp.link l ON l.identifier_a = s.id AND l.status = 'related'
		) x;
	END IF;
	IF touched IS NOT NULL THEN
		PERFORM cdp.reconsider(touched, 'rule', touched);
	END IF;
END
$$;
COMMENT ON FUNCTION cdp.create_source(text, integer, boolean, text, text, regprocedure) IS 'Make or replace a source of messages. rank: of two values said at the same instant the source of higher rank wins; corrects_clock: whether received_at - sentAt is taken for the error of the sender''s clock (true for what SDKs send now, false for history from files); phone_region: the country (two letters of ISO 3166) in whose national form phone numbers may be written, null: only in international form; transformation: a function (jsonb) returns jsonb that each message goes through before it is looked at, null from it: the message is dropped. Another rank or region applies to the past too. A source that a message names and that does not exist is made with the defaults. Errors 42602, 22023, 42P13, 58P01';

CREATE FUNCTION cdp.make_partitions(table_name text, first_at timestamptz, last_at timestamptz) RETURNS integer
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
DECLARE
	month timestamp := date_trunc('month', first_at AT TIME ZONE 'UTC');
	partition_name text;
	made integer := 0;
BEGIN
	WHILE month <= last_at AT TIME ZONE 'UTC' LOOP
		partition_name := table_name || to_char(month, '"_"YYYY"_"MM');
		IF to_regclass('cdp.' || quote_ident(partition_name)) IS NULL THEN
			-- one at a time; who waited finds it made, by a query with a snapshot of its own: the catalog cache may still say no
			PERFORM pg_advisory_xact_lock(hashtext('cdp.make_partitions'), hashtext(table_name));
			IF NOT EXISTS (SELECT FROM pg_class c WHERE c.relname = partition_name AND c.relnamespace = 'cdp'::regnamespace) THEN
				-- attaching lets readers and writers of the table go on, unlike CREATE TABLE .. PARTITION OF
				EXECUTE format('CREATE TABLE cdp.%I (LIKE cdp.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)',
					partition_name, table_name);
				-- nobody asks for whole documents, and to compare thousands of them is what an ANALYZE would take most of its time for
				EXECUTE (SELECT string_agg(format('ALTER TABLE cdp.%I ALTER %I SET STATISTICS 0', partition_name, a.attname), '; ')
					FROM pg_attribute a WHERE a.attrelid = format('cdp.%I', table_name)::regclass AND a.atttypid = 'jsonb'::regtype);
				EXECUTE format('COMMENT ON TABLE cdp.%I IS %L', partition_name,
					format('Partition of cdp.%s for %s (UTC)', table_name, to_char(month, 'YYYY-MM')));
				EXECUTE format('ALTER TABLE cdp.%I ATTACH PARTITION cdp.%I FOR VALUES FROM (%L) TO (%L)', table_name,
					partition_name, month AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC');
				made := made + 1;
			END IF;
		END IF;
		month := month + interval '1 month';
	END LOOP;
	RETURN made;
END
$$;
COMMENT ON FUNCTION cdp.make_partitions(text, timestamptz, timestamptz) IS 'Make the monthly partitions (UTC) of a table of the platform from one instant to another where they are missing; returns how many were made';

CREATE FUNCTION cdp.message_key(source text, message_id text) RETURNS uuid
AS 'MODULE_PATHNAME', 'cdp_message_key' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cdp.message_key(text, text) IS 'The key of a message in cdp.seen: XXH3 (128 bit) of its source''s name and its id';

CREATE FUNCTION cdp.replay_rejected(reason text DEFAULT NULL, source text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	replayed bigint;
BEGIN
	PERFORM cdp.require_init();
	WITH taken AS (
		DELETE FROM cdp.rejected r
		WHERE (replay_rejected.reason IS NULL OR r.reason = replay_rejected.reason)
			AND (replay_rejected.source IS NULL OR r.source = replay_rejected.source)
		RETURNING r.rejected_id, r.received_at, r.source, r.payload
	), returned AS (
		INSERT INTO cdp.inbox (received_at, source, payload)
		SELECT t.received_at, t.source, t.payload FROM taken t ORDER BY t.rejected_id
		RETURNING 1
	)
	SELECT count(*) INTO replayed FROM returned;
	RETURN replayed;
END
$$;
COMMENT ON FUNCTION cdp.replay_rejected(text, text) IS 'Put rejected messages back into the inbox, all or those of a reason or source; returns how many. The next cdp.process() tries them again; what is still wrong is rejected again';

-- retention, tables and views

CREATE FUNCTION cdp.set_retention(keep interval, event text DEFAULT NULL, source text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	-- repeats must find their key, and housekeeping has a day
	least_keep CONSTANT interval := greatest(current_setting('cdp.dedup_window')::interval, interval '1 day');
	of_source integer;
BEGIN
	PERFORM cdp.require_init();
	PERFORM cdp.hold_rules(is_alone => false);
	IF octet_length(event) NOT BETWEEN 1 AND 1024 THEN
		RAISE EXCEPTION 'invalid name for an event' USING ERRCODE = 'invalid_name',
			HINT = 'It is the name that track, page and screen messages carry, of 1 to 1024 bytes; leave it out for all.';
	END IF;
	IF source IS NOT NULL THEN
		SELECT s.source_id INTO of_source FROM cdp.source s WHERE s.name = set_retention.source;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'source "%" does not exist', source USING ERRCODE = 'undefined_object',
				HINT = 'See the table cdp.source, or make it with cdp.create_source().';
		END IF;
	END IF;
	IF least(extract(year FROM keep), extract(month FROM keep), extract(day FROM keep), extract(hour FROM keep),
			extract(minute FROM keep), extract(second FROM keep)) < 0 THEN
		RAISE EXCEPTION 'messages cannot be kept for a negative time' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'No part of the interval may be below zero. Null is for ever.';
	END IF;
	IF cdp.clock_now() - keep > cdp.clock_now() - least_keep THEN
		RAISE EXCEPTION 'messages must be kept for at least %', least_keep USING ERRCODE = 'invalid_parameter_value',
			HINT = 'That is cdp.dedup_window, or a day: until then a message that comes again must be known.';
	END IF;
	LOCK TABLE cdp.retention_rule IN SHARE ROW EXCLUSIVE MODE;
	INSERT INTO cdp.retention_rule (source_id, event, keep) VALUES (of_source, set_retention.event, set_retention.keep)
	ON CONFLICT ON CONSTRAINT retention_rule_key DO UPDATE SET keep = excluded.keep;
	-- what a rule applied to may be another's now: each begins anew
	UPDATE cdp.retention_rule r SET passes = 0, pass_until = NULL, pass_table = NULL, pass_ctid = NULL;
	IF event IS NOT NULL AND NOT EXISTS (SELECT FROM cdp.event e WHERE e.name = set_retention.event) THEN
		RAISE NOTICE 'there is no event of that name in the log yet';
	END IF;
EXCEPTION WHEN datetime_field_overflow THEN
	RAISE EXCEPTION 'messages cannot be kept for that long' USING ERRCODE = 'datetime_field_overflow', HINT = 'Null is for ever.';
END
$$;
COMMENT ON FUNCTION cdp.set_retention(interval, text, text) IS 'Keep messages in the log for an interval after their receipt, or (null) for ever: those of an event''s name, of a source, of both, or, without either, all. Of several rules the closest applies: event and source, event, source, all. Replaces what was set for the same. Housekeeping applies it, see cdp.apply_retention(). Notice where the log has no event of that name. Errors 22008, 22023 when negative or shorter than cdp.dedup_window or a day, 42501, 42602, 42704';

CREATE FUNCTION cdp.init_event() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
BEGIN
	CREATE TABLE IF NOT EXISTS cdp.source (
		source_id integer NOT NULL GENERATED BY DEFAULT AS IDENTITY CONSTRAINT source_pkey PRIMARY KEY,
		name text COLLATE "C" NOT NULL CONSTRAINT source_name_key UNIQUE
			CONSTRAINT source_name_check CHECK (octet_length(name) BETWEEN 1 AND 63),
		rank integer NOT NULL DEFAULT 0 CONSTRAINT source_rank_check CHECK (rank BETWEEN -32767 AND 32767),
		corrects_clock boolean NOT NULL DEFAULT true,
		description text,
		created_at timestamptz NOT NULL DEFAULT now()
	);
	ALTER TABLE cdp.source ADD COLUMN IF NOT EXISTS phone_region text
		CONSTRAINT source_phone_region_check CHECK (phone_region ~ '^[A-Z]{2}$');
	ALTER TABLE cdp.source ADD COLUMN IF NOT EXISTS transformation text;
	CREATE OR REPLACE TRIGGER source_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON cdp.source
		FOR EACH STATEMENT EXECUTE FUNCTION cdp.rules_changed('source');
	COMMENT ON TABLE cdp.source IS 'Where messages come from; changed by cdp.create_source()';
	COMMENT ON COLUMN cdp.source.rank IS 'Of two values said at the same instant the source of higher rank wins';
	COMMENT ON COLUMN cdp.source.corrects_clock IS 'Whether received_at - sentAt is taken for the error of the sender''s clock';

	COMMENT ON COLUMN cdp.source.phone_region IS 'The country (ISO 3166) in whose national form phone numbers may be written; null: only in international form';
	COMMENT ON COLUMN cdp.source.transformation IS 'Schema and name of the function (jsonb) returns jsonb that its messages go through; it runs with the rights of whoever processes them';

	-- No index and no trigger: COPY goes in at the speed of the disk, and processing empties it.
	CREATE TABLE IF NOT EXISTS cdp.inbox (
		inbox_id bigint NOT NULL GENERATED BY DEFAULT AS IDENTITY,
		received_at timestamptz NOT NULL DEFAULT now(),
		source text NOT NULL DEFAULT 'default'
			CONSTRAINT inbox_source_check CHECK (octet_length(source) BETWEEN 1 AND 63),
		payload text NOT NULL
	) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);
	ALTER TABLE cdp.inbox ALTER COLUMN payload SET STORAGE external;
	COMMENT ON TABLE cdp.inbox IS 'Messages and envelopes that wait to be processed, as text; COPY cdp.inbox (payload) or (source, payload) fills it, cdp.process() empties it';

	CREATE TABLE IF NOT EXISTS cdp.rejected (
		rejected_id bigint NOT NULL GENERATED BY DEFAULT AS IDENTITY CONSTRAINT rejected_pkey PRIMARY KEY,
		received_at timestamptz NOT NULL,
		source text NOT NULL,
		reason text NOT NULL,
		detail text,
		payload text
	);
	COMMENT ON TABLE cdp.rejected IS 'Messages that could not be taken, each with a reason code and what is wrong; cdp.replay_rejected() tries them again';

	CREATE TABLE IF NOT EXISTS cdp.seen (
		key uuid NOT NULL CONSTRAINT seen_pkey PRIMARY KEY,
		received_at timestamptz NOT NULL
	);
	CREATE INDEX IF NOT EXISTS seen_received_at_idx ON cdp.seen USING brin (received_at) WITH (pages_per_range = 32, autosummarize = on);
	COMMENT ON TABLE cdp.seen IS 'A 128-bit XXH3 key of source and message id for each message of the last cdp.dedup_window, to refuse repeats';

	CREATE TABLE IF NOT EXISTS cdp.event (
		identifier_id bigint NOT NULL,
		occurred_at timestamptz NOT NULL,
		received_at timestamptz NOT NULL,
		source_id integer NOT NULL,
		type text NOT NULL,
		name text,
		message_id text NOT NULL,
		message jsonb NOT NULL
	) PARTITION BY RANGE (received_at);
	CREATE INDEX IF NOT EXISTS event_identifier_id_occurred_at_idx ON cdp.event (identifier_id, occurred_at);
	CREATE INDEX IF NOT EXISTS event_received_at_idx ON cdp.event USING brin (received_at) WITH (pages_per_range = 32, autosummarize = on);
	COMMENT ON TABLE cdp.event IS 'The log: every accepted message once, append-only, partitioned by the month of receipt (UTC)';
	COMMENT ON COLUMN cdp.event.identifier_id IS 'Its strongest identifier, to which it is anchored, unless that is a shared device (see cdp.tenure); 0: none may enter the graph';
	COMMENT ON COLUMN cdp.event.occurred_at IS 'When it happened, the sender''s clock corrected; never later than 5 minutes after receipt';
	COMMENT ON COLUMN cdp.event.name IS 'The event of track, the name of page and screen; null for the others';
	COMMENT ON COLUMN cdp.event.message IS 'The whole message, with its envelope''s context, integrations and sentAt';
	ALTER TABLE cdp.event ALTER message SET STATISTICS 0;
	PERFORM cdp.make_partitions('event', now(), now() + interval '2 months');

	CREATE TABLE IF NOT EXISTS cdp.table_source (
		table_source_id integer NOT NULL GENERATED BY DEFAULT AS IDENTITY CONSTRAINT table_source_pkey PRIMARY KEY,
		name text COLLATE "C" NOT NULL CONSTRAINT table_source_name_key UNIQUE,
		owner name NOT NULL DEFAULT current_user,
		relation text NOT NULL,
		mapping jsonb NOT NULL,
		cursor_column text,
		key_columns text[] NOT NULL,
		deleted_column text,
		is_retracting boolean NOT NULL,
		grace text,
		compare_every interval,
		cursor_at text,
		pass_until text,
		pass_cursor text,
		pass_key text[],
		compared_at timestamptz,
		read_at timestamptz,
		rows_read bigint NOT NULL DEFAULT 0,
		messages_made bigint NOT NULL DEFAULT 0,
		error text,
		error_at timestamptz
	);
	COMMENT ON TABLE cdp.table_source IS 'Sources that read the rows of a relation, and how far each has come; changed by cdp.create_table_source(). Who may write here says what the owners of sources read: grant that to nobody';
	COMMENT ON COLUMN cdp.table_source.owner IS 'The role as which it is read';
	COMMENT ON COLUMN cdp.table_source.relation IS 'Schema and name, so that a table that was replaced is found again';
	COMMENT ON COLUMN cdp.table_source.cursor_at IS 'Up to here everything was read; the next pass begins the grace before it';
	COMMENT ON COLUMN cdp.table_source.pass_until IS 'Where the pass ends that is under way; pass_cursor and pass_key are of the last row that it read';
	COMMENT ON COLUMN cdp.table_source.error IS 'What went wrong when it was last read; null: nothing';

	CREATE TABLE IF NOT EXISTS cdp.table_row (
		table_source_id integer NOT NULL,
		key uuid NOT NULL,
		content uuid NOT NULL,
		is_deleted boolean NOT NULL DEFAULT false,
		message_ids uuid[] NOT NULL,
		CONSTRAINT table_row_pkey PRIMARY KEY (table_source_id, key)
	) WITH (fillfactor = 90);
	CREATE INDEX IF NOT EXISTS table_row_table_source_id_idx ON cdp.table_row (table_source_id) WHERE is_deleted AND message_ids <> '{}';
	COMMENT ON TABLE cdp.table_row IS 'Which rows of table sources were read: XXH3 (128 bit) of key and content, and the ids of the messages that they made';

	-- A row for each, only ever inserted: a counter would make sessions wait for each other until they commit.
	CREATE TABLE IF NOT EXISTS cdp.malformed_value (
		received_at timestamptz NOT NULL,
		source_id integer NOT NULL,
		message_id text NOT NULL,
		namespace text COLLATE "C" NOT NULL
	);
	COMMENT ON TABLE cdp.malformed_value IS 'Messages in which a value became no identifier, because it has no normal form or is not of its namespace''s pattern; the value stands in the message. Rows may be deleted';
	CREATE OR REPLACE VIEW cdp.malformed_values AS
		SELECT s.name AS source, m.namespace, count(*) AS message_count, min(m.received_at) AS first_received_at,
			max(m.received_at) AS last_received_at
		FROM cdp.malformed_value m JOIN cdp.source s USING (source_id)
		GROUP BY s.name, m.namespace;
	COMMENT ON VIEW cdp.malformed_values IS 'By source and namespace, in how many messages a value became no identifier, because it has no normal form or is not of its namespace''s pattern';

	CREATE TABLE IF NOT EXISTS cdp.retention_rule (
		rule_id integer NOT NULL GENERATED BY DEFAULT AS IDENTITY CONSTRAINT retention_rule_pkey PRIMARY KEY,
		source_id integer,
		event text COLLATE "C" CONSTRAINT retention_rule_event_check CHECK (event <> ''),
		keep interval,
		messages bigint NOT NULL DEFAULT 0,
		gone_until timestamptz,
		last_run_at timestamptz,
		passes integer NOT NULL DEFAULT 0,
		pass_since timestamptz,
		pass_until timestamptz,
		pass_table oid,
		pass_ctid tid,
		CONSTRAINT retention_rule_key UNIQUE NULLS NOT DISTINCT (source_id, event)
	);
	COMMENT ON TABLE cdp.retention_rule IS 'How long messages are kept in the log, and how far that is applied; changed by cdp.set_retention()';
	COMMENT ON COLUMN cdp.retention_rule.source_id IS 'Null: of all sources';
	COMMENT ON COLUMN cdp.retention_rule.event IS 'Null: of all events';
	COMMENT ON COLUMN cdp.retention_rule.keep IS 'From receipt on; null: for ever';
	COMMENT ON COLUMN cdp.retention_rule.messages IS 'How many left the log by this rule';
	COMMENT ON COLUMN cdp.retention_rule.gone_until IS 'The latest receipt of one that left';
	COMMENT ON COLUMN cdp.retention_rule.passes IS 'How often the log was gone through for it since rules changed';
	COMMENT ON COLUMN cdp.retention_rule.pass_since IS 'This or the last time: what was received from then on was looked at';
	COMMENT ON COLUMN cdp.retention_rule.pass_until IS 'This or the last time: until when what is to go was received';
	COMMENT ON COLUMN cdp.retention_rule.pass_table IS 'The partition that is being gone through, or was last; null: between two times';
	COMMENT ON COLUMN cdp.retention_rule.pass_ctid IS 'How far it is gone through; null: to its end';

	CREATE OR REPLACE VIEW cdp.retention AS
		SELECT s.name AS source, r.event, r.keep, cdp.clock_now() - r.keep AS kept_since, r.gone_until AS exact_since, r.messages, r.last_run_at
		FROM cdp.retention_rule r LEFT JOIN cdp.source s USING (source_id);
	COMMENT ON VIEW cdp.retention IS 'How long messages of which source and event (null: all) are kept; since when they are kept by that; exact_since: after which receipt the log is whole, so that questions asked later (rules, properties, other segments'' terms) have exact answers (null: all of it); how many left; when housekeeping last looked';

	IF NOT EXISTS (SELECT FROM cdp.setup WHERE noun = 'event') THEN
		PERFORM cdp.create_source('default', description => 'Messages that name no source');
		PERFORM cdp.create_source('import', corrects_clock => false, description => 'History from files: times are taken as they are');
	END IF;
	PERFORM cdp.record_version('event', 1);
END
$$;
COMMENT ON FUNCTION cdp.init_event() IS 'Make the tables of sources, inbox, rejected and seen messages, the event log and what is malformed in it; part of cdp.init()';
