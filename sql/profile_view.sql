-- profile: views with a column for each trait.

CREATE FUNCTION cdp.trait(traits cdp.traits, path text[], type anyelement) RETURNS anyelement
AS 'MODULE_PATHNAME', 'cdp_trait' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION cdp.trait(cdp.traits, text[], anyelement) IS 'A trait, or what stands at a path of names in it, as a value of the type of the third argument, which is not looked at; null when there is none or it does not fit the type. Types: text, text[], numeric, bigint, integer, double precision, boolean, date, timestamp with time zone, jsonb; error 0A000 for others';

CREATE FUNCTION cdp.trait(traits cdp.traits, computed cdp.traits, path text[], type anyelement) RETURNS anyelement
AS 'MODULE_PATHNAME', 'cdp_trait_or_computed' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION cdp.trait(cdp.traits, cdp.traits, text[], anyelement) IS 'The same of what both maps merge to, where a trait that is computed is only in the second, unless a steward locked it. Error 0A000';

CREATE FUNCTION cdp.profile_view_column(name text, definition json, entity text, OUT expression text, OUT description text) RETURNS record
LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	kinds CONSTANT text[] := '{trait,identifier,segment,purpose,without_purpose,profile}';
	kind text;
	subject text;
	path text[];
	type text;
BEGIN
	IF json_typeof(definition) = 'string' THEN
		definition := json_build_object('trait', name, 'type', definition #>> '{}');
	END IF;
	IF json_typeof(definition) = 'object' THEN
		SELECT min(k), coalesce(definition ->> 'type', 'text') INTO kind, type FROM json_object_keys(definition) k WHERE k = ANY (kinds);
		subject := definition ->> kind;
		path := CASE WHEN json_typeof(definition -> kind) = 'array' THEN ARRAY(SELECT json_array_elements_text(definition -> kind)) ELSE ARRAY[subject] END;
	END IF;
	IF kind IS NULL OR array_position(path, NULL) IS NOT NULL OR cardinality(path) = 0 OR (cardinality(path) > 1 AND kind <> 'trait')
			OR EXISTS (SELECT FROM json_object_keys(definition) k WHERE k NOT IN (kind, 'type'))
			OR (definition -> 'type' IS NOT NULL AND kind NOT IN ('trait', 'profile')) THEN
		RAISE EXCEPTION 'invalid definition of column "%"', name USING ERRCODE = 'invalid_parameter_value',
			HINT = 'A column is the type of the trait of its name, as in "birthday": "date", or an object with one of '
				|| array_to_string(kinds, ', ') || ', and with type for a trait: {"trait": ["address", "city"], "type": "text"}.';
	END IF;
	CASE kind
		WHEN 'trait' THEN
			-- the name of a type and nothing else goes into the view's text
			type := CASE WHEN type ~ '^[a-z][a-z0-9 ]*(\[\])?$' THEN to_regtype(type)::text END;
			IF type IS NULL OR type NOT IN ('text', 'text[]', 'numeric', 'bigint', 'integer', 'double precision', 'boolean', 'date',
					'timestamp with time zone', 'jsonb') THEN
				RAISE EXCEPTION 'column "%" cannot be of that type', name USING ERRCODE = 'undefined_object',
					HINT = 'Use text, text[], numeric, bigint, integer, double precision, boolean, date, timestamptz or jsonb.';
			END IF;
			expression := format('cdp.trait(p.traits, p.computed, %L::text[], NULL::%s)', path, type);
			description := format('Trait %s; null where it is not set%s', array_to_string(path, '.'), ' or no ' || nullif(type, 'jsonb'));
		WHEN 'identifier' THEN
			IF NOT EXISTS (SELECT FROM cdp.namespace n WHERE n.name = subject AND n.entity = profile_view_column.entity) THEN
				RAISE EXCEPTION 'namespace "%" of entity % does not exist', subject, entity USING ERRCODE = 'undefined_object',
					HINT = 'See the table cdp.namespace.';
			END IF;
			expression := format('(SELECT i.value FROM cdp.identity i WHERE i.profile_id = p.profile_id AND i.namespace = %L '
				'ORDER BY i.last_seen_at DESC NULLS LAST, i.value LIMIT 1)::text', subject);
			description := 'Identifier of namespace ' || subject || ', of several the one seen last';
		WHEN 'segment' THEN
			IF NOT EXISTS (SELECT FROM cdp.segment s WHERE s.name = subject) THEN
				RAISE EXCEPTION 'segment "%" does not exist', subject USING ERRCODE = 'undefined_object', HINT = 'See the table cdp.segment.';
			END IF;
			expression := format('EXISTS (SELECT FROM cdp.membership m WHERE m.profile_id = p.profile_id AND m.segment = %L)', subject);
			description := 'Whether in segment ' || subject;
		WHEN 'purpose', 'without_purpose' THEN
			IF NOT EXISTS (SELECT FROM cdp.purpose u WHERE u.name = subject) THEN
				RAISE EXCEPTION 'purpose "%" does not exist', subject USING ERRCODE = 'undefined_object',
					HINT = 'See the table cdp.purpose, or make it with cdp.create_purpose().';
			END IF;
			expression := format('%scdp.allows(p.consents, (SELECT u.categories FROM cdp.purpose u WHERE u.name = %L))',
				CASE kind WHEN 'without_purpose' THEN 'NOT ' ELSE '' END, subject);
			description := format(CASE kind WHEN 'purpose' THEN 'Whether %s is consented to' ELSE 'Whether %s is not consented to' END, subject);
		WHEN 'profile' THEN
			expression := CASE
				WHEN subject IN ('profile_id', 'first_seen_at', 'last_seen_at', 'event_count') THEN 'p.' || subject
				WHEN subject = 'account_id' AND entity = 'person' THEN '(SELECT g.profile_id FROM cdp.identity i '
					'JOIN cdp.link l ON l.identifier_a = i.identifier_id AND l.status = ''related'' '
					'JOIN cdp.identity g ON g.identifier_id = l.identifier_b '
					'WHERE i.profile_id = p.profile_id ORDER BY l.last_seen_at DESC NULLS LAST, g.profile_id LIMIT 1)' END;
			IF definition -> 'type' IS NOT NULL AND (type <> 'uuid' OR subject NOT IN ('profile_id', 'account_id')) THEN
				expression := NULL;
			ELSIF type = 'uuid' THEN
				expression := format('lpad(to_hex(%s), 32, ''0'')::uuid', expression);
			END IF;
			IF expression IS NULL THEN
				RAISE EXCEPTION 'column "%" cannot be that of a profile', name USING ERRCODE = 'undefined_object',
					HINT = 'There are profile_id, first_seen_at, last_seen_at, event_count and, of people, account_id; the ids can be of type uuid.';
			END IF;
			description := CASE subject WHEN 'profile_id' THEN 'Profile id' WHEN 'account_id' THEN 'Profile id of the account seen with the person last'
				WHEN 'first_seen_at' THEN 'Time of the first event' WHEN 'last_seen_at' THEN 'Time of the last event' ELSE 'Number of events' END
				|| CASE type WHEN 'uuid' THEN ', in hexadecimal' ELSE '' END;
	END CASE;
END
$$;
COMMENT ON FUNCTION cdp.profile_view_column(text, json, text) IS 'A column of cdp.create_profile_view() as SQL, and in words. Errors 22023, 42704';

CREATE FUNCTION cdp.create_profile_view(
	name text, columns json, entity text DEFAULT 'person', schema text DEFAULT 'public', purpose text DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
DECLARE
	column_name text;
	definition json;
	made record;
	expressions text[] := '{}';
	comments text[] := '{}';
	target text;
	query text;
	grants text;
BEGIN
	PERFORM cdp.require_init();
	IF name IS NULL OR schema IS NULL OR octet_length(name) NOT BETWEEN 1 AND 63 THEN
		RAISE EXCEPTION 'invalid name for a view' USING ERRCODE = 'invalid_name', HINT = 'It has 1 to 63 bytes.';
	END IF;
	target := format('%I.%I', schema, name);
	IF columns IS NULL OR json_typeof(columns) <> 'object' THEN
		RAISE EXCEPTION 'the columns of view "%" are not a JSON object', name USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Write {"email": "text", "lifetime_value": "numeric"}.';
	ELSIF NOT EXISTS (SELECT FROM cdp.namespace n WHERE n.entity = create_profile_view.entity) THEN
		RAISE EXCEPTION 'entity "%" does not exist', entity USING ERRCODE = 'undefined_object', HINT = 'See the table cdp.namespace.';
	ELSIF purpose IS NOT NULL AND NOT EXISTS (SELECT FROM cdp.purpose u WHERE u.name = create_profile_view.purpose) THEN
		RAISE EXCEPTION 'purpose "%" does not exist', purpose USING ERRCODE = 'undefined_object',
			HINT = 'See the table cdp.purpose, or make it with cdp.create_purpose().';
	ELSIF to_regclass(target) IS NOT NULL AND coalesce(obj_description(to_regclass(target), 'pg_class'), '') NOT LIKE 'Profile view%' THEN
		RAISE EXCEPTION 'relation "%" exists and is no profile view', name USING ERRCODE = 'duplicate_table',
			HINT = 'Choose another name or schema, or drop it first.';
	END IF;
	IF NOT EXISTS (SELECT FROM json_each(columns) e WHERE json_typeof(e.value) = 'object' AND e.value ->> 'profile' = 'profile_id') THEN
		expressions := ARRAY['p.profile_id'];
		comments := ARRAY[format('COMMENT ON COLUMN %s.profile_id IS %L', target, 'Profile id')];
	END IF;
	FOR column_name, definition IN SELECT * FROM json_each(columns) LOOP
		IF octet_length(column_name) NOT BETWEEN 1 AND 63 THEN
			RAISE EXCEPTION 'invalid name for a column' USING ERRCODE = 'invalid_name', HINT = 'It has 1 to 63 bytes.';
		END IF;
		made := cdp.profile_view_column(column_name, definition, entity);
		expressions := expressions || format('%s AS %I', made.expression, column_name);
		comments := comments || format('COMMENT ON COLUMN %s.%I IS %L', target, column_name, made.description);
	END LOOP;
	-- where rows are kept back, no condition of a reader's own may see them
	query := format('VIEW %s%s AS SELECT %s FROM cdp.profile p WHERE p.merged_into IS NULL AND p.entity = %L%s', target,
		CASE WHEN purpose IS NOT NULL THEN ' WITH (security_barrier)' END, array_to_string(expressions, ', '), entity,
		CASE WHEN purpose IS NOT NULL THEN format(' AND cdp.allows(p.consents, (SELECT u.categories FROM cdp.purpose u WHERE u.name = %L))', purpose) END);
	BEGIN
		EXECUTE 'CREATE OR REPLACE ' || query;
	EXCEPTION WHEN invalid_table_definition THEN -- other columns: who could read it can still
		SELECT string_agg(format('GRANT %s ON %s TO %s%s', a.privilege_type, target,
			CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END, CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' END), ';')
		INTO grants FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a WHERE c.oid = to_regclass(target) AND a.grantee <> c.relowner;
		EXECUTE 'DROP VIEW ' || target;
		EXECUTE 'CREATE ' || query;
		EXECUTE coalesce(grants, '');
	END;
	EXECUTE format('COMMENT ON VIEW %s IS %L', target, format('Profile view: a row for each live profile of entity %s%s; made by cdp.create_profile_view()',
		entity, ' that consents to ' || purpose));
	EXECUTE array_to_string(comments, ';');
END
$$;
COMMENT ON FUNCTION cdp.create_profile_view(text, json, text, text, text) IS 'Make or replace a view with a row for each live profile of an entity (with purpose: only of those who consent to it) and real columns with types. columns: {"name": "type of the trait of that name"} or {"name": {"trait": name or path, "type": ..}}, {"identifier": namespace}, {"segment": name}, {"purpose": name}, {"without_purpose": name}, {"profile": profile_id, account_id, first_seen_at, last_seen_at or event_count}. A value that does not fit its type is null. Errors 42602, 22023, 42704, 42P07, 42701, 2BP01';

CREATE FUNCTION cdp.drop_profile_view(name text, schema text DEFAULT 'public') RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	target text := format('%I.%I', schema, name);
BEGIN
	IF coalesce(obj_description(to_regclass(target), 'pg_class'), '') NOT LIKE 'Profile view%' THEN
		RAISE EXCEPTION 'profile view "%" does not exist', name USING ERRCODE = 'undefined_object',
			HINT = 'A view that was made otherwise is dropped by DROP VIEW.';
	END IF;
	EXECUTE 'DROP VIEW ' || target;
END
$$;
COMMENT ON FUNCTION cdp.drop_profile_view(text, text) IS 'Drop a view that cdp.create_profile_view() made. Errors 42704, 2BP01';

CREATE FUNCTION cdp.create_cdm_views(schema text DEFAULT 'cdm') RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
DECLARE
	address CONSTANT text := '"address1Line1": {"trait": ["address", "street"]}, "address1City": {"trait": ["address", "city"]}, '
		'"address1StateOrProvince": {"trait": ["address", "state"]}, "address1PostalCode": {"trait": ["address", "postalCode"]}, '
		'"address1Country": {"trait": ["address", "country"]}, "createdOn": {"profile": "first_seen_at"}, "modifiedOn": {"profile": "last_seen_at"}';
BEGIN
	PERFORM cdp.require_init();
	IF to_regnamespace(quote_ident(schema)) IS NULL THEN
		EXECUTE format('CREATE SCHEMA %I', schema);
	END IF;
	-- attribute names and types: microsoft/CDM, schemaDocuments/core/applicationCommon/{Contact,Account,Address}.cdm.json, version 1.3
	PERFORM cdp.create_profile_view('Contact', ('{"contactId": {"profile": "profile_id", "type": "uuid"}, "accountId": {"profile": "account_id", "type": "uuid"}, '
		'"firstName": "text", "lastName": "text", "fullName": {"trait": "name"}, "jobTitle": {"trait": "title"}, "birthDate": {"trait": "birthday", "type": "date"}, '
		'"genderCode_display": {"trait": "gender"}, "EMailAddress1": {"trait": "email"}, "mobilePhone": {"trait": "phone"}, '
		'"webSiteUrl": {"trait": "website"}, "description": "text", '
		|| (SELECT coalesce(max('"doNotBulkEMail": {"without_purpose": "marketing"}, '), '') FROM cdp.purpose u WHERE u.name = 'marketing')
		|| address || '}')::json, schema => create_cdm_views.schema);
	PERFORM cdp.create_profile_view('Account', ('{"accountId": {"profile": "profile_id", "type": "uuid"}, "name": "text", '
		|| (SELECT coalesce(max('"accountNumber": {"identifier": "group_id"}, '), '') FROM cdp.namespace n WHERE n.name = 'group_id' AND n.entity = 'account')
		|| '"industryCode_display": {"trait": "industry"}, "numberOfEmployees": {"trait": "employees", "type": "integer"}, '
		'"EMailAddress1": {"trait": "email"}, "telephone1": {"trait": "phone"}, "webSiteUrl": {"trait": "website"}, "description": "text", '
		|| address || '}')::json, entity => 'account', schema => create_cdm_views.schema);
END
$$;
COMMENT ON FUNCTION cdp.create_cdm_views(text) IS 'Make or replace the views "Contact" (people) and "Account" in a schema, which is made if need be: the usual traits under the names that Microsoft''s Common Data Model has for them. Errors as of cdp.create_profile_view()';
