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

-- table sources: the rows of any table as messages

CREATE FUNCTION cdp.start_time_limit(milliseconds integer) RETURNS void
AS 'MODULE_PATHNAME', 'cdp_start_time_limit' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION cdp.start_time_limit(integer) IS 'Cancel what this session does (57014) after so many milliseconds unless cdp.stop_time_limit() comes first; 0 or less: no limit. Of limits inside each other the outer counts';
CREATE FUNCTION cdp.stop_time_limit() RETURNS boolean
AS 'MODULE_PATHNAME', 'cdp_stop_time_limit' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION cdp.stop_time_limit() IS 'End the limit of cdp.start_time_limit(); whether it had been reached';

CREATE FUNCTION cdp.mapping_columns(mapping jsonb) RETURNS SETOF text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT DISTINCT v #>> '{}' FROM jsonb_path_query(mapping - 'type', '$.** ? (@.type() == "string")') v WHERE v #>> '{}' NOT LIKE '''%'''
$$;
COMMENT ON FUNCTION cdp.mapping_columns(jsonb) IS 'The columns that a mapping of a table source names: its strings, but for type and those in single quotes';

CREATE FUNCTION cdp.mapping_expression(mapping jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN CASE jsonb_typeof(mapping)
		WHEN 'object' THEN ( -- a function takes a hundred arguments
			SELECT format('(%s)', coalesce(string_agg(c.part, ' || ' ORDER BY c.chunk), '''{}''::jsonb')) FROM (
				SELECT m.chunk, format('jsonb_build_object(%s)', string_agg(format('%L, %s', m.key, cdp.mapping_expression(m.value)), ', ')) AS part
				FROM (SELECT e.key, e.value, (row_number() OVER () - 1) / 50 AS chunk FROM jsonb_each(mapping) e) m GROUP BY m.chunk
			) c)
		WHEN 'array' THEN (
			SELECT format('jsonb_build_array(%s)', coalesce(string_agg(cdp.mapping_expression(e.value), ', ' ORDER BY e.ord), ''))
			FROM jsonb_array_elements(mapping) WITH ORDINALITY e (value, ord))
		WHEN 'string' THEN CASE WHEN mapping #>> '{}' LIKE '''%''' THEN format('%L::text', substr(mapping #>> '{}', 2, greatest(length(mapping #>> '{}') - 2, 0)))
			ELSE format('r.%I', mapping #>> '{}') END
		ELSE format('%L::jsonb', mapping) END;
END
$$;
COMMENT ON FUNCTION cdp.mapping_expression(jsonb) IS 'A mapping of a table source as SQL that makes the message of a row r';

CREATE FUNCTION cdp.check_mapping(mapping jsonb) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	members CONSTANT text[] := '{type,userId,anonymousId,groupId,event,traits,properties,context,integrations,timestamp}';
	type text := mapping ->> 'type';
	unknown text;
BEGIN
	IF mapping IS NULL OR jsonb_typeof(mapping) <> 'object' OR type IS NULL OR type NOT IN ('identify', 'track', 'group') THEN
		RAISE EXCEPTION 'the mapping''s type is none of identify, track, group' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'A mapping is an object such as {"type": "identify", "userId": "customer_id", "traits": {"email": "email"}}.';
	END IF;
	SELECT k INTO unknown FROM jsonb_object_keys(mapping) k WHERE k <> ALL (members) LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'unknown member "%" of a mapping', unknown USING ERRCODE = 'invalid_parameter_value',
			HINT = format('It may have %s; what else a row has goes under traits or properties.', array_to_string(members, ', '));
	END IF;
	IF type = 'track' AND mapping -> 'event' IS NULL OR type = 'group' AND mapping -> 'groupId' IS NULL THEN
		RAISE EXCEPTION 'the mapping names no %', CASE type WHEN 'track' THEN 'event' ELSE 'groupId' END USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Name the column, or write in single quotes what is the same for all rows, such as "''Order Completed''".';
	END IF;
	-- at the path of a namespace, or in a column that may hold it
	IF jsonb_typeof(mapping #> '{context,externalIds}') IS NULL AND NOT EXISTS (
		SELECT FROM cdp.namespace n CROSS JOIN unnest(n.paths) p CROSS JOIN string_to_array(regexp_replace(p, '^[^:]*:', ''), '.') AS names
		WHERE (p NOT LIKE '%:%' OR split_part(p, ':', 1) = type)
			AND (mapping #> names IS NOT NULL OR cardinality(names) > 1 AND jsonb_typeof(mapping -> names[1]) = 'string')) THEN
		RAISE EXCEPTION 'the mapping names no identifier' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Say which column is the userId, the anonymousId or another place of a namespace (see cdp.namespace.paths).';
	END IF;
END
$$;
COMMENT ON FUNCTION cdp.check_mapping(jsonb) IS 'Error 22023 unless a mapping of a table source can make messages';

CREATE FUNCTION cdp.check_columns(relation regclass, columns text[]) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	lacking text;
BEGIN
	SELECT c INTO lacking FROM unnest(columns) c WHERE c IS NOT NULL AND NOT EXISTS (
		SELECT FROM pg_attribute a WHERE a.attrelid = relation AND a.attname = c AND a.attnum > 0 AND NOT a.attisdropped) LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'relation % has no column "%"', relation, lacking USING ERRCODE = 'undefined_column',
			HINT = format('It has %s.', (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a
				WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped));
	END IF;
END
$$;
COMMENT ON FUNCTION cdp.check_columns(regclass, text[]) IS 'Error 42703 unless a relation has all these columns';

CREATE FUNCTION cdp.cursor_type(relation regclass, column_name text) RETURNS text
LANGUAGE sql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format_type(b.oid, NULL) FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
	JOIN pg_type b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END
	WHERE a.attrelid = relation AND a.attname = column_name AND NOT a.attisdropped AND b.oid = ANY ('{timestamptz,timestamp,date,int2,int4,int8,numeric,text,varchar}'::regtype[])
$$;
COMMENT ON FUNCTION cdp.cursor_type(regclass, text) IS 'The type of a column by which a table can be read in steps: of time, whole number, numeric or text; null: it is of another';

CREATE FUNCTION cdp.cursor_kind(type text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN type ~ '^(timestamp|date)' THEN 'time' WHEN type ~ '^(text|character)' THEN 'text' WHEN type IS NOT NULL THEN 'number' END;
COMMENT ON FUNCTION cdp.cursor_kind(text) IS 'Of a cursor''s type: time, number or text; null of null';

CREATE FUNCTION cdp.cursor_kind_of_grace(grace text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN grace IS NULL THEN 'text' WHEN grace ~ '^[0-9.]+$' THEN 'number' ELSE 'time' END;
COMMENT ON FUNCTION cdp.cursor_kind_of_grace(text) IS 'What kind of cursor a table source had when it was made, by the form of cdp.table_source.grace';

CREATE FUNCTION cdp.create_table_source(
	relation regclass, mapping jsonb, cursor text DEFAULT NULL, name text DEFAULT NULL, key text[] DEFAULT NULL, deleted text DEFAULT NULL,
	retracts boolean DEFAULT false, grace text DEFAULT NULL, compare_every interval DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp SET intervalstyle = 'postgres'
AS $$
#variable_conflict use_column
DECLARE
	me record; -- the relation
	type text;
	kind text; -- of the cursor: time, number or text
	is_unnamed boolean := name IS NULL;
	was record;
BEGIN
	PERFORM cdp.require_init();
	SELECT c.relname, c.relkind, c.relpersistence, format('%I.%I', n.nspname, c.relname) AS path INTO me
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation;
	name := coalesce(name, me.relname);
	IF me.relkind IS NULL OR me.relkind NOT IN ('r', 'p', 'v', 'm', 'f') OR me.relpersistence = 't' THEN
		RAISE EXCEPTION 'that is no relation to read rows from' USING ERRCODE = 'wrong_object_type',
			HINT = 'Name a table, view, materialized view or foreign table that other sessions see too.';
	END IF;
	PERFORM cdp.check_mapping(mapping);
	key := coalesce(key, ARRAY (SELECT a.attname::text FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
		WHERE i.indrelid = relation AND i.indisprimary ORDER BY array_position(i.indkey::smallint[], a.attnum)));
	IF cardinality(key) = 0 OR array_position(key, NULL) IS NOT NULL THEN
		RAISE EXCEPTION 'relation % has no primary key', relation USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Say which columns tell its rows apart: key => ''{id}''.';
	END IF;
	PERFORM cdp.check_columns(relation, ARRAY (SELECT cdp.mapping_columns(mapping)) || key || ARRAY[cursor, deleted]);
	type := cdp.cursor_type(relation, cursor);
	kind := cdp.cursor_kind(type);
	IF cursor IS NOT NULL AND type IS NULL THEN
		RAISE EXCEPTION 'column "%" cannot be a cursor', cursor USING ERRCODE = 'datatype_mismatch',
			HINT = 'A cursor is of a time type, a whole number, numeric or text, and grows whenever a row is written; without one the whole relation is compared.';
	END IF;
	IF cursor IS NULL AND grace IS NOT NULL OR kind = 'text' AND grace IS NOT NULL OR compare_every <= interval '0' THEN
		RAISE EXCEPTION 'grace goes with a cursor that is a time or a number, and compare_every is positive' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Leave out what does not apply.';
	END IF;
	-- as text, but only what is an interval or a number; an error says so
	grace := CASE WHEN cursor IS NULL OR kind = 'text' THEN NULL
		WHEN kind = 'time' THEN coalesce(grace::interval, CASE type WHEN 'date' THEN interval '1 day' ELSE interval '10 minutes' END)::text
		ELSE coalesce(grace::numeric, 1000)::text END;
	IF grace LIKE '%-%' OR grace ~* '[a-z]' AND kind = 'number' THEN
		RAISE EXCEPTION 'grace must not be negative' USING ERRCODE = 'invalid_parameter_value', HINT = 'It is how far back rows are read once more.';
	END IF;
	IF kind = 'time' AND mapping -> 'timestamp' IS NULL THEN
		mapping := mapping || jsonb_build_object('timestamp', cursor);
	END IF;
	compare_every := coalesce(compare_every, CASE WHEN cursor IS NULL THEN interval '1 hour' WHEN retracts AND deleted IS NULL THEN interval '1 day' END);
	IF NOT EXISTS (SELECT FROM cdp.source s WHERE s.name = create_table_source.name) THEN
		PERFORM cdp.create_source(create_table_source.name, corrects_clock => false, description => format('Rows of %s', me.path));
	END IF;
	SELECT t.* INTO was FROM cdp.table_source t WHERE t.name = create_table_source.name FOR UPDATE;
	IF FOUND AND was.owner <> current_user THEN
		RAISE EXCEPTION 'table source "%" is another role''s', name USING ERRCODE = 'insufficient_privilege',
			HINT = format('It is read with the rights of its owner: SET ROLE %I.', was.owner);
	END IF;
	IF was.relation <> me.path AND is_unnamed THEN
		RAISE EXCEPTION 'table source "%" reads %', name, was.relation USING ERRCODE = 'duplicate_object',
			HINT = 'Give this one a name of its own, or that name if it is to read another relation from now on: name => ''..''.';
	END IF;
	INSERT INTO cdp.table_source AS t (name, relation, mapping, cursor_column, key_columns, deleted_column, is_retracting, grace, compare_every)
	VALUES (create_table_source.name, me.path, create_table_source.mapping, cursor, create_table_source.key, deleted, retracts,
		create_table_source.grace, create_table_source.compare_every)
	ON CONFLICT ON CONSTRAINT table_source_name_key DO UPDATE SET relation = excluded.relation, mapping = excluded.mapping,
		cursor_column = excluded.cursor_column, key_columns = excluded.key_columns, deleted_column = excluded.deleted_column,
		is_retracting = excluded.is_retracting, grace = excluded.grace, compare_every = excluded.compare_every, error = NULL;
	IF (was.cursor_column, was.key_columns) IS DISTINCT FROM (cursor, create_table_source.key)
		OR kind <> cdp.cursor_kind_of_grace(was.grace) THEN
		PERFORM cdp.rewind_table_source(create_table_source.name);
		DELETE FROM cdp.table_row r WHERE r.table_source_id = was.table_source_id AND was.key_columns <> create_table_source.key;
	END IF;
END
$$;
COMMENT ON FUNCTION cdp.create_table_source(regclass, jsonb, text, text, text[], text, boolean, text, interval) IS 'Make or replace a source that reads the rows of a table, view or foreign table as messages. mapping: a message whose strings name columns (in single quotes they are themselves); cursor: a column that grows whenever a row is written, null: the whole is compared; name: of the source, null: that of the relation; key: what tells rows apart, null: the primary key; deleted: a column that is true, or not null, of deleted rows; retracts: whether the messages of a deleted row are retracted; grace: how far behind the newest cursor rows may still appear (10 minutes, 1 day of dates, 1000 of numbers); compare_every: how often all rows are looked at (1 day where it retracts without a column for it, 1 hour without a cursor, else null: never). Reads with the rights of who makes it. Errors 22023, 42703, 42804, 42809, 42710, 42501';

CREATE FUNCTION cdp.drop_table_source(name text) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	dropped integer;
BEGIN
	PERFORM cdp.require_init();
	DELETE FROM cdp.table_source t WHERE t.name = drop_table_source.name RETURNING t.table_source_id INTO dropped;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'table source "%" does not exist', name USING ERRCODE = 'undefined_object', HINT = 'See the table cdp.table_source.';
	END IF;
	DELETE FROM cdp.table_row r WHERE r.table_source_id = dropped;
END
$$;
COMMENT ON FUNCTION cdp.drop_table_source(text) IS 'Read a table source no more, and forget which of its rows were read; its events and the source stay. Error 42704';

CREATE FUNCTION cdp.rewind_table_source(name text) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM cdp.require_init();
	UPDATE cdp.table_source t SET cursor_at = NULL, pass_until = NULL, pass_cursor = NULL, pass_key = NULL, compared_at = NULL
	WHERE t.name = rewind_table_source.name;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'table source "%" does not exist', name USING ERRCODE = 'undefined_object', HINT = 'See the table cdp.table_source.';
	END IF;
END
$$;
COMMENT ON FUNCTION cdp.rewind_table_source(text) IS 'Read a table source from its beginning again, after its mapping was changed. Rows that make the same message as before are known and make none. Error 42704';

CREATE FUNCTION cdp.table_source_rows(source record) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	keys text := (SELECT format('ARRAY[%s]', string_agg(format('r.%I::text', k), ', ')) FROM unnest(source.key_columns) k);
BEGIN
	RETURN format('SELECT cdp.message_key(%L, %s::text) AS key, %s AS keys, %s::text AS cursor_at, %s AS is_deleted, %s AS message FROM %s r',
		source.name, keys, keys, coalesce('r.' || quote_ident(source.cursor_column), 'NULL'), CASE
			WHEN source.deleted_column IS NULL THEN 'false'
			WHEN (SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = source.relation::regclass AND a.attname = source.deleted_column) = 'boolean'::regtype
				THEN format('r.%I IS TRUE', source.deleted_column)
			ELSE format('r.%I IS NOT NULL', source.deleted_column) END,
		cdp.mapping_expression(source.mapping - 'type' || jsonb_build_object('type', format('''%s''', source.mapping ->> 'type'))), source.relation);
END
$$;
COMMENT ON FUNCTION cdp.table_source_rows(record) IS 'The query that reads a table source''s rows: key, cursor, whether it is deleted, message';

CREATE FUNCTION cdp.take_rows(source record, query text, OUT row_count bigint, OUT message_count bigint, OUT last_cursor text, OUT last_keys text[])
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	is_keyed boolean;
BEGIN
	EXECUTE format($query$
		WITH batch AS MATERIALIZED (
			SELECT q.*, row_number() OVER () AS ord FROM (%s) q
		), judged AS MATERIALIZED (
			SELECT b.*, count(*) OVER (PARTITION BY b.key) = 1 AND array_position(b.keys, NULL) IS NULL AS is_keyed,
				m.content AS known, m.is_deleted AS was_deleted, cdp.message_key(b.key::text, concat(b.cursor_at, b.message)) AS content
			FROM batch b LEFT JOIN cdp.table_row m ON m.table_source_id = $1 AND m.key = b.key
		), new AS MATERIALIZED (
			-- what comes back as it was before is said again, also where no cursor tells the two apart
			SELECT j.*, cdp.message_key(j.content::text, CASE WHEN j.was_deleted OR j.cursor_at IS NULL AND j.known IS NOT NULL
				THEN j.known::text ELSE '' END) AS message_id
			FROM judged j WHERE j.is_keyed AND NOT j.is_deleted AND (j.known IS DISTINCT FROM j.content OR j.was_deleted)
		), remembered AS (
			INSERT INTO cdp.table_row AS r (table_source_id, key, content, message_ids)
			SELECT $1, n.key, n.content, ARRAY[n.message_id] FROM new n
			ON CONFLICT (table_source_id, key) DO UPDATE SET content = excluded.content, is_deleted = false, message_ids = r.message_ids || excluded.message_ids
		), gone AS (
			UPDATE cdp.table_row r SET is_deleted = true FROM judged j
			WHERE r.table_source_id = $1 AND r.key = j.key AND j.is_deleted AND NOT j.was_deleted
		), sent AS (
			INSERT INTO cdp.inbox (received_at, source, payload)
			SELECT cdp.clock_now(), $2, (n.message || jsonb_build_object('messageId', n.message_id))::text FROM new n ORDER BY n.ord
		)
		SELECT a.row_count, (SELECT count(*) FROM new), a.is_keyed, l.cursor_at, l.keys
		FROM (SELECT count(*) AS row_count, bool_and(j.is_keyed) AS is_keyed FROM judged j) a
		LEFT JOIN judged l ON l.ord = a.row_count$query$, query)
	USING source.table_source_id, source.name INTO row_count, message_count, is_keyed, last_cursor, last_keys;
	IF NOT is_keyed THEN
		RAISE EXCEPTION 'the key of table source "%" is null somewhere or does not tell rows apart', source.name
			USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Create it again with other columns: key => ''{..}''.';
	END IF;
END
$$;
COMMENT ON FUNCTION cdp.take_rows(record, text) IS 'Put the rows of a query that are new or changed into the inbox, and remember them. Error 55000';

CREATE FUNCTION cdp.hold_table_source(name text) RETURNS record
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	held record;
BEGIN
	PERFORM cdp.require_init();
	SELECT t.*, to_regclass(t.relation) AS relation_id INTO held FROM cdp.table_source t WHERE t.name = hold_table_source.name FOR UPDATE;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'table source "%" does not exist', name USING ERRCODE = 'undefined_object', HINT = 'See the table cdp.table_source.';
	END IF;
	IF held.owner <> current_user THEN
		RAISE EXCEPTION 'table source "%" is another role''s', name USING ERRCODE = 'insufficient_privilege',
			HINT = format('It is read with the rights of its owner: SET ROLE %I.', held.owner);
	END IF;
	IF held.relation_id IS NULL THEN
		RAISE EXCEPTION 'relation % of table source "%" does not exist', held.relation, name USING ERRCODE = 'undefined_table',
			HINT = 'How far it was read is kept: when it is there again, or the source is created anew, reading goes on.';
	END IF;
	PERFORM cdp.check_columns(held.relation_id, ARRAY (SELECT cdp.mapping_columns(held.mapping)) || held.key_columns
		|| ARRAY[held.cursor_column, held.deleted_column]);
	RETURN held;
END
$$;
COMMENT ON FUNCTION cdp.hold_table_source(text) IS 'A table source''s row, locked, after a look whether it can be read. Errors 42704, 42501, 42P01, 42703';

CREATE FUNCTION cdp.retract_deleted_rows(source record, max integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	gone record;
	id uuid;
	n bigint := 0;
BEGIN
	-- what still waits to become an event cannot be retracted yet
	IF NOT source.is_retracting OR EXISTS (SELECT FROM cdp.inbox i WHERE i.source = source.name) THEN
		RETURN 0;
	END IF;
	FOR gone IN
		SELECT r.key, r.message_ids FROM cdp.table_row r
		WHERE r.table_source_id = source.table_source_id AND r.is_deleted AND r.message_ids <> '{}' ORDER BY r.key LIMIT max
	LOOP
		FOREACH id IN ARRAY gone.message_ids LOOP
			BEGIN
				PERFORM cdp.retract(id::text, 'the row was deleted', source.name);
				n := n + 1;
			EXCEPTION WHEN undefined_object THEN
				NULL; -- it was rejected
			END;
		END LOOP;
		UPDATE cdp.table_row r SET message_ids = '{}' WHERE r.table_source_id = source.table_source_id AND r.key = gone.key;
	END LOOP;
	RETURN n;
END
$$;
COMMENT ON FUNCTION cdp.retract_deleted_rows(record, integer) IS 'Retract the messages of at most so many rows of a table source that were found deleted; returns how many';

CREATE FUNCTION cdp.compare_table_source(name text, may_be_empty boolean DEFAULT false, OUT row_count bigint, OUT message_count bigint, OUT deleted_count bigint)
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC' SET datestyle = 'ISO, YMD' SET intervalstyle = 'postgres' SET extra_float_digits = 1 SET bytea_output = 'hex' -- one text of a value
AS $$
DECLARE
	held record;
	rows text;
BEGIN
	held := cdp.hold_table_source(name);
	rows := cdp.table_source_rows(held);
	SELECT t.row_count, t.message_count INTO row_count, message_count
	FROM cdp.take_rows(held, rows || coalesce(' ORDER BY r.' || quote_ident(held.cursor_column), '')) t;
	IF row_count = 0 AND NOT may_be_empty AND EXISTS (SELECT FROM cdp.table_row r WHERE r.table_source_id = held.table_source_id AND NOT r.is_deleted) THEN
		RAISE EXCEPTION 'all rows of table source "%" are gone', name USING ERRCODE = 'object_not_in_prerequisite_state',
			HINT = format('Perhaps it is just being loaded anew. If they are deleted: SELECT cdp.compare_table_source(%L, may_be_empty => true).', name);
	END IF;
	EXECUTE format('UPDATE cdp.table_row m SET is_deleted = true WHERE m.table_source_id = $1 AND NOT m.is_deleted '
		'AND NOT EXISTS (SELECT FROM (%s) s WHERE s.key = m.key AND NOT s.is_deleted)', rows) USING held.table_source_id;
	GET DIAGNOSTICS deleted_count = ROW_COUNT;
	UPDATE cdp.table_source t SET compared_at = cdp.clock_now(), rows_read = t.rows_read + compare_table_source.row_count,
		messages_made = t.messages_made + compare_table_source.message_count WHERE t.table_source_id = held.table_source_id;
END
$$;
COMMENT ON FUNCTION cdp.compare_table_source(text, boolean) IS 'Look at all rows of a table source: those that are new or changed make messages, wherever their cursor stands, and those that are gone are taken for deleted. may_be_empty: also where none is left. Errors as of cdp.read_table_source()';

CREATE FUNCTION cdp.read_table_source(
	name text, max integer DEFAULT 10000, OUT row_count bigint, OUT message_count bigint, OUT retraction_count bigint, OUT has_more boolean
)
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC' SET datestyle = 'ISO, YMD' SET intervalstyle = 'postgres' SET extra_float_digits = 1 SET bytea_output = 'hex' -- one text of a value
AS $$
DECLARE
	now CONSTANT timestamptz := cdp.clock_now();
	held record;
	type text; -- of the cursor
	columns text; -- cursor and key: what rows are read in the order of
	beginning text := ''; -- the condition that leaves out what was read
	taken record;
BEGIN
	IF max < 1 THEN
		RAISE EXCEPTION 'max must be at least 1' USING ERRCODE = 'invalid_parameter_value', HINT = 'It is the number of rows to read at most.';
	END IF;
	held := cdp.hold_table_source(name);
	row_count := 0;
	message_count := 0;
	has_more := false;
	IF held.cursor_column IS NOT NULL THEN
		type := cdp.cursor_type(held.relation_id, held.cursor_column);
		IF cdp.cursor_kind(type) IS DISTINCT FROM cdp.cursor_kind_of_grace(held.grace) THEN
			RAISE EXCEPTION 'column "%" of % is of another type than when table source "%" was made', held.cursor_column, held.relation, name
				USING ERRCODE = 'datatype_mismatch',
				HINT = 'Create the table source again. All rows are read then, and make their message once more where the cursor is another text.';
		END IF;
		IF held.pass_until IS NULL THEN
			-- a pass ends where the table ended when it began: who is late then is within the grace of the next
			EXECUTE format('SELECT max(r.%I)::text FROM %s r WHERE %s', held.cursor_column, held.relation, CASE
				WHEN type ~ '^(timestamp|date)' THEN format('r.%I <= %L::%s', held.cursor_column, now + interval '1 day', type) -- infinity never comes
				WHEN type = 'numeric' THEN format('r.%I < ''Infinity''', held.cursor_column)
				ELSE 'true' END) INTO held.pass_until;
		END IF;
		SELECT string_agg(format('r.%I', c), ', ' ORDER BY ord) INTO columns FROM unnest(held.cursor_column || held.key_columns) WITH ORDINALITY u (c, ord);
		IF held.pass_cursor IS NOT NULL THEN
			beginning := format(' AND r.%I >= %L::%s AND (%s) > (%s)', held.cursor_column, held.pass_cursor, type, columns,
				(SELECT string_agg(format('%L', c), ', ' ORDER BY ord) FROM unnest(held.pass_cursor || held.pass_key) WITH ORDINALITY u (c, ord)));
		ELSIF held.cursor_at IS NOT NULL THEN
			beginning := format(' AND r.%I >= %L::%s%s', held.cursor_column, held.cursor_at, type,
				CASE WHEN held.grace IS NULL THEN '' WHEN type ~ '^(timestamp|date)' THEN format(' - %L::interval', held.grace)
				ELSE format(' - %s', held.grace::numeric) END);
		END IF;
	END IF;
	IF held.pass_until IS NOT NULL THEN
		taken := cdp.take_rows(held, format('%s WHERE r.%I <= %L::%s%s ORDER BY %s LIMIT %s', cdp.table_source_rows(held),
			held.cursor_column, held.pass_until, type, beginning, columns, max));
		row_count := taken.row_count;
		message_count := taken.message_count;
		has_more := row_count = max;
		UPDATE cdp.table_source t SET
			cursor_at = CASE WHEN has_more THEN t.cursor_at ELSE held.pass_until END,
			pass_until = CASE WHEN has_more THEN held.pass_until END,
			pass_cursor = CASE WHEN has_more THEN taken.last_cursor END,
			pass_key = CASE WHEN has_more THEN taken.last_keys END,
			compared_at = coalesce(t.compared_at, now),
			rows_read = t.rows_read + read_table_source.row_count, messages_made = t.messages_made + read_table_source.message_count
		WHERE t.table_source_id = held.table_source_id;
	END IF;
	IF held.cursor_column IS NULL OR NOT has_more AND held.compared_at + held.compare_every <= now THEN
		taken := cdp.compare_table_source(name);
		row_count := row_count + taken.row_count;
		message_count := message_count + taken.message_count;
	END IF;
	retraction_count := cdp.retract_deleted_rows(held, max);
	UPDATE cdp.table_source t SET read_at = now, error = NULL WHERE t.table_source_id = held.table_source_id;
END
$$;
COMMENT ON FUNCTION cdp.read_table_source(text, integer) IS 'Read at most so many rows of a table source, those after the last ones and those that may be late, into the inbox: messages of the rows that are new or changed. Without a cursor, and when compare_every has passed, all of them. Returns how many rows were read, messages made and messages of deleted rows retracted, and whether there is more. cdp.process() takes the messages. Errors 42704, 42501, 42P01, 42703, 42804, 55000, and what the relation raises';

CREATE FUNCTION cdp.read_table_sources(max integer DEFAULT 10000)
RETURNS TABLE (source text, row_count bigint, message_count bigint, retraction_count bigint, has_more boolean, error text)
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	due record;
	done record;
BEGIN
	PERFORM cdp.require_init();
	FOR due IN
		SELECT t.table_source_id, t.name FROM cdp.table_source t
		WHERE t.owner = current_user AND (t.cursor_column IS NOT NULL OR (t.compared_at + t.compare_every > cdp.clock_now()) IS NOT TRUE)
		ORDER BY t.read_at NULLS FIRST, t.name FOR UPDATE SKIP LOCKED
	LOOP
		source := due.name;
		error := NULL;
		BEGIN
			PERFORM cdp.start_time_limit((extract(epoch FROM current_setting('cdp.table_source_timeout')::interval) * 1000)::integer);
			done := cdp.read_table_source(due.name, max);
			PERFORM cdp.stop_time_limit();
		EXCEPTION WHEN query_canceled OR OTHERS THEN
			IF cdp.stop_time_limit() THEN
				error := 'it took longer than cdp.table_source_timeout';
			ELSIF SQLSTATE = '57014' THEN
				RAISE; -- somebody cancelled all of it
			ELSIF left(SQLSTATE, 2) IN ('08', '42', '53', '55', '57', '58', 'HV') THEN
				error := SQLERRM;
			ELSE -- such a message may hold people's data
				error := format('SQLSTATE %s', SQLSTATE);
			END IF;
			SELECT 0::bigint AS row_count, 0::bigint AS message_count, 0::bigint AS retraction_count, false AS has_more INTO done;
			UPDATE cdp.table_source t SET error = read_table_sources.error, error_at = cdp.clock_now(), read_at = cdp.clock_now()
			WHERE t.table_source_id = due.table_source_id;
		END;
		row_count := done.row_count;
		message_count := done.message_count;
		retraction_count := done.retraction_count;
		has_more := done.has_more;
		RETURN NEXT;
	END LOOP;
END
$$;
COMMENT ON FUNCTION cdp.read_table_sources(integer) IS 'Read all table sources of the caller, each at most so many rows; those without a cursor when compare_every has passed. One that fails, or takes longer than cdp.table_source_timeout, costs the others nothing: its error is in the result, in cdp.table_source and in cdp.status, and next time it goes on where it was. The worker calls this once a minute, and again while a source has more';

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
