-- event: table sources, the rows of any table as messages.

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
