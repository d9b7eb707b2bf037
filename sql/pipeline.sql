-- pipeline: one batch's way through the house.

CREATE FUNCTION cdp.process(
	max integer DEFAULT 10000, OUT messages bigint, OUT events bigint, OUT duplicates bigint, OUT rejected bigint,
	OUT merges bigint, OUT splits bigint, OUT entered bigint, OUT exited bigint
)
AS 'MODULE_PATHNAME', 'cdp_process' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION cdp.process(integer) IS 'Process one batch: at most max rows of the inbox (and about 16 MB), and due segment timers, in the caller''s transaction. Returns how many messages were found, became events, were duplicates or rejected, and how many profiles merged and split and entered and left segments. Waits while another session processes a batch. Call it until messages is 0. Errors 22023, 25006, 55000';

CREATE FUNCTION cdp.ingest(
	payload text, source text DEFAULT 'default', received_at timestamptz DEFAULT NULL, OUT messages bigint,
	OUT events bigint, OUT duplicates bigint, OUT rejected bigint, OUT errors jsonb
)
AS 'MODULE_PATHNAME', 'cdp_ingest' LANGUAGE C VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION cdp.ingest(text, text, timestamptz) IS 'Take one message of the Segment specification, or an envelope {"batch": [..]}, and process it in this transaction, so that its effect can be read at once; with cdp.process_immediately off only store it in the inbox. received_at: now if null. Returns counts, and errors [{reason, detail}] for what was rejected (kept in cdp.rejected). Errors 22004, 42602, 25006, 55000';

CREATE FUNCTION cdp.ingest(
	payload jsonb, source text DEFAULT 'default', received_at timestamptz DEFAULT NULL, OUT messages bigint,
	OUT events bigint, OUT duplicates bigint, OUT rejected bigint, OUT errors jsonb
)
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT * FROM cdp.ingest($1::text, $2, $3)
$$;
COMMENT ON FUNCTION cdp.ingest(jsonb, text, timestamptz) IS 'As cdp.ingest(text, text, timestamptz), for a payload that is jsonb already';

CREATE FUNCTION cdp.reconsider(
	identifier_ids bigint[], cause text, rederived bigint[], OUT merges bigint, OUT splits bigint, OUT entered bigint, OUT exited bigint
)
AS 'MODULE_PATHNAME', 'cdp_reconsider' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION cdp.reconsider(bigint[], text, bigint[]) IS 'Resolve the components of identifiers again, after a ruling or rule changed (cause: ruling, rule), and bring everything that follows up to date in this transaction. rederived: those of them whose links and fragments are first derived from the log again, because other events are theirs now. Called by cdp.pin(), cdp.deny(), cdp.retract(), cdp.undo() and by changes of rules';

-- changes of rules and rulings, tried out

CREATE FUNCTION cdp.apply_change(change jsonb, reason text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	members CONSTANT jsonb := '{"namespace": ["name", "entity", "kind", "priority", "max_per_profile", "bridge", "normalizer", "valid_pattern", "paths"],
		"block_value": ["value", "namespace", "is_pattern"], "unblock_value": ["value", "namespace", "is_pattern"], "retract": ["message_id", "source"],
		"trait": ["name", "rule", "cleanse", "null_if", "type", "minimum", "maximum", "valid_pattern", "computed"]}';
	action text;
	value jsonb;
	n record;
BEGIN
	PERFORM cdp.require_init();
	reason := coalesce(change ->> 'reason', reason);
	IF jsonb_typeof(change) = 'object' THEN
		SELECT k, change -> k INTO action, value FROM jsonb_object_keys(change - 'reason') k
		WHERE (SELECT count(*) FROM jsonb_object_keys(change - 'reason')) = 1;
	END IF;
	IF jsonb_typeof(value) = 'object' AND EXISTS (SELECT FROM jsonb_object_keys(value) k WHERE NOT coalesce(members -> action ? k, true)) THEN
		RAISE EXCEPTION 'unknown member in a change of %', action USING ERRCODE = 'invalid_parameter_value',
			HINT = format('It takes %s.', (SELECT string_agg(m, ', ') FROM jsonb_array_elements_text(members -> action) m));
	END IF;
	CASE
	WHEN action = 'namespace' AND value ->> 'name' IS NOT NULL THEN
		-- what is not said stays as it is
		SELECT r.* INTO n FROM jsonb_populate_record((SELECT o FROM cdp.namespace o WHERE o.name = value ->> 'name'), value) r;
		-- a name that is mistyped makes no new one
		IF n.kind IS NULL AND NOT EXISTS (SELECT FROM cdp.namespace o WHERE o.name = n.name) THEN
			RAISE EXCEPTION 'namespace "%" does not exist', n.name USING ERRCODE = 'undefined_object',
				HINT = 'See the table cdp.namespace. To make a new one say its kind, too: person, contact or device.';
		END IF;
		PERFORM cdp.create_namespace(n.name, coalesce(n.kind, 'contact'), n.priority, n.max_per_profile, coalesce(n.bridge, 'unique'),
			coalesce(n.normalizer, 'none'), n.valid_pattern, coalesce(n.paths, '{}'), coalesce(n.entity, 'person'));
	WHEN action = 'drop_namespace' AND jsonb_typeof(value) = 'string' THEN
		PERFORM cdp.drop_namespace(value #>> '{}');
	WHEN action = 'trait' AND value ->> 'name' IS NOT NULL THEN
		-- but where a trait that was said is to be computed, or the other way round
		SELECT r.* INTO n FROM jsonb_populate_record((SELECT o FROM cdp.trait o WHERE o.name = value ->> 'name'
			AND ((o.computed IS NULL) = (value ->> 'computed' IS NULL) OR value - 'name' = '{}')), value) r;
		PERFORM cdp.create_trait(n.name, coalesce(nullif(n.rule, 'computed'), 'latest'), n.cleanse, n.null_if, n.type, n.minimum, n.maximum, n.valid_pattern,
			n.computed);
	WHEN action = 'drop_trait' AND jsonb_typeof(value) = 'string' THEN
		PERFORM cdp.drop_trait(value #>> '{}');
	WHEN action IN ('block_value', 'unblock_value') AND jsonb_typeof(value) = 'object' THEN
		IF action = 'block_value' THEN
			PERFORM cdp.block_value(value ->> 'value', value ->> 'namespace', coalesce((value ->> 'is_pattern')::boolean, false));
		ELSE
			PERFORM cdp.unblock_value(value ->> 'value', value ->> 'namespace', coalesce((value ->> 'is_pattern')::boolean, false));
		END IF;
	WHEN action IN ('pin', 'deny', 'retract') AND jsonb_typeof(value) = 'array' AND jsonb_array_length(value) = 2 THEN
		PERFORM cdp.rule(action, (value ->> 0)::cdp.identifier, (value ->> 1)::cdp.identifier, reason);
	WHEN action = 'retract' AND jsonb_typeof(value) = 'string' THEN
		PERFORM cdp.retract((value #>> '{}')::cdp.identifier, reason);
	WHEN action = 'retract' AND value ->> 'message_id' IS NOT NULL THEN
		PERFORM cdp.retract(value ->> 'message_id', reason, value ->> 'source');
	WHEN action = 'lock' AND jsonb_typeof(value) = 'array' AND jsonb_array_length(value) = 3 THEN
		PERFORM cdp.lock_trait((value ->> 0)::cdp.identifier, value ->> 1, value -> 2, reason);
	WHEN action = 'undo' AND jsonb_typeof(value) = 'number' THEN
		PERFORM cdp.undo((value #>> '{}')::bigint);
	ELSE
		RAISE EXCEPTION 'that is no change' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'A change is an object with one of: namespace {name, ..}, drop_namespace "name", trait {name, ..}, drop_trait "name", block_value or unblock_value {value, namespace, is_pattern}, pin or deny ["a", "b"], retract ["a", "b"] or "identifier" or {message_id, source}, lock ["identifier", "trait", value], undo ruling_id; and perhaps reason.';
	END CASE;
END
$$;
COMMENT ON FUNCTION cdp.apply_change(jsonb, text) IS 'Make one change of those that cdp.simulate() takes: {"namespace": {"name": "email", "max_per_profile": 1}} (what is not said stays; a new one needs its kind), {"drop_namespace": "crm_id"}, {"trait": {"name": "plan", "rule": "preferred"}}, {"drop_trait": "plan"}, {"block_value": {"value": .., "namespace": .., "is_pattern": ..}}, {"unblock_value": ..}, {"pin": ["a", "b"]}, {"deny": ["a", "b"]}, {"retract": ["a", "b"] | "identifier" | {"message_id": .., "source": ..}}, {"lock": ["identifier", "trait", value]}, {"undo": ruling_id}. A ruling''s reason: in the change, else the argument. Errors as of the functions of those names, 22023, and 42704 for a namespace that is not there';

CREATE FUNCTION cdp.simulate(changes jsonb) RETURNS TABLE (what text, count bigint, detail jsonb)
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
DECLARE
	started timestamptz;
	last_change bigint;
	outcome jsonb;
BEGIN
	PERFORM cdp.require_init();
	BEGIN
		-- nobody else moves anything meanwhile, so what has changed since is what the changes did
		LOCK TABLE cdp.ruling IN SHARE ROW EXCLUSIVE MODE;
		PERFORM cdp.hold_rules();
		started := clock_timestamp();
		last_change := nextval('cdp.change_id_seq');
		DROP TABLE IF EXISTS pg_temp.cdp_membership_before;
		CREATE TEMPORARY TABLE cdp_membership_before AS SELECT m.profile_id, m.segment FROM cdp.membership m;
		PERFORM cdp.apply_change(c, 'simulated')
		FROM jsonb_array_elements(CASE jsonb_typeof(changes) WHEN 'array' THEN changes ELSE jsonb_build_array(changes) END) c;
		SELECT jsonb_agg(d) INTO outcome FROM cdp.difference_since(started, last_change) d;
		RAISE EXCEPTION USING ERRCODE = 'CDPSI', MESSAGE = 'simulated';
	EXCEPTION WHEN SQLSTATE 'CDPSI' THEN
		NULL; -- everything is taken back, the locks too, but not the variable
	END;
	-- whoever would be gone is there again, and has a name
	RETURN QUERY SELECT o.what, o.count, CASE WHEN o.detail ? 'gone' THEN o.detail - 'gone' || jsonb_build_object('loses', (
			SELECT jsonb_agg(n.name ORDER BY n.name) FROM (
				SELECT jsonb_array_elements_text(o.detail -> 'loses') AS name
				UNION ALL SELECT i.namespace || ':' || i.value FROM jsonb_array_elements_text(o.detail -> 'gone') g (id)
				JOIN cdp.identity i ON i.identifier_id = g.id::bigint
			) n)) ELSE o.detail END
	FROM jsonb_to_recordset(outcome) AS o (what text, count bigint, detail jsonb);
END
$$;
COMMENT ON FUNCTION cdp.simulate(jsonb) IS 'What changes of rules and rulings (one or an array, see cdp.apply_change()) would do to the data as they are: how many identifiers would move, be new or gone, how many profiles would merge, split, be removed or say something else, entries into and exits from each segment, and the ten profiles most affected with the identifiers they would gain and lose. Nothing is changed. Ingestion waits meanwhile. Errors as of the changes';

CREATE FUNCTION cdp.difference_since(started timestamptz, last_change bigint) RETURNS TABLE (what text, count bigint, detail jsonb)
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY
	WITH moved AS MATERIALIZED (
		SELECT x.identifier_id, x.was, x.now, i.namespace || ':' || i.value AS identifier, p.merged_into
		FROM (
			SELECT c.identifier_id, (array_agg(c.from_profile_id ORDER BY c.changed_at))[1] AS was,
				(array_agg(c.to_profile_id ORDER BY c.changed_at DESC))[1] AS now
			FROM cdp.identity_change c WHERE c.changed_at >= started GROUP BY c.identifier_id
		) x
		LEFT JOIN cdp.identity i USING (identifier_id) LEFT JOIN cdp.profile p ON p.profile_id = x.was
		WHERE x.was IS DISTINCT FROM x.now
	), affected AS (
		SELECT y.profile_id, count(*) AS n, jsonb_agg(y.identifier ORDER BY y.identifier) FILTER (WHERE y.gains) AS gains,
			jsonb_agg(y.identifier ORDER BY y.identifier) FILTER (WHERE NOT y.gains AND y.identifier IS NOT NULL) AS loses,
			jsonb_agg(y.identifier_id) FILTER (WHERE y.identifier IS NULL) AS gone
		FROM (
			SELECT m.was AS profile_id, m.identifier_id, m.identifier, false AS gains FROM moved m
			UNION ALL SELECT m.now, m.identifier_id, m.identifier, true FROM moved m
		) y
		WHERE y.profile_id IS NOT NULL GROUP BY y.profile_id ORDER BY count(*) DESC, y.profile_id LIMIT 10
	)
	SELECT 'identifiers moved', count(*) FILTER (WHERE m.was IS NOT NULL AND m.now IS NOT NULL), NULL::jsonb FROM moved m
	UNION ALL SELECT 'identifiers new', count(*) FILTER (WHERE m.was IS NULL), NULL FROM moved m
	UNION ALL SELECT 'identifiers gone', count(*) FILTER (WHERE m.now IS NULL), NULL FROM moved m
	UNION ALL SELECT 'profiles merged', count(DISTINCT m.was) FILTER (WHERE m.merged_into > 0), NULL FROM moved m
	UNION ALL SELECT 'profiles split', count(DISTINCT (m.was, m.now)) FILTER (WHERE m.merged_into IS NULL AND m.was IS NOT NULL AND m.now IS NOT NULL), NULL FROM moved m
	UNION ALL SELECT 'profiles removed', count(DISTINCT m.was) FILTER (WHERE m.merged_into = 0), NULL FROM moved m
	UNION ALL
	SELECT 'profiles changed', count(DISTINCT c.profile_id), NULL FROM cdp.change c
	WHERE c.kind = 'profile_changed' AND c.change_id > last_change AND c.at >= cdp.clock_now()
	UNION ALL
	SELECT CASE WHEN b.profile_id IS NULL THEN 'segment entered' ELSE 'segment left' END, count(*), jsonb_build_object('segment', segment)
	FROM pg_temp.cdp_membership_before b FULL JOIN cdp.membership m USING (profile_id, segment)
	WHERE b.profile_id IS NULL OR m.profile_id IS NULL GROUP BY b.profile_id IS NULL, segment
	UNION ALL
	SELECT 'profile', a.n, jsonb_strip_nulls(jsonb_build_object('profile_id', a.profile_id, 'gains', a.gains, 'loses', a.loses, 'gone', a.gone)) FROM affected a;
END
$$;
COMMENT ON FUNCTION cdp.difference_since(timestamptz, bigint) IS 'What became of people since an instant and a change in cdp.change, in this transaction, as cdp.simulate() returns it, but for those that are gone: gone has their numbers';

-- retention: messages leave the log, and leave what follows from them

CREATE FUNCTION cdp.let_go(event_table regclass, event_ctids tid[], since timestamptz, until timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan SET enable_seqscan = on SET enable_hashjoin = on SET enable_mergejoin = on
AS $$
DECLARE
	ids bigint[];
	devices bigint[];
BEGIN
	-- whose an event of a device is may just be changing
	PERFORM cdp.hold_people(ARRAY (
		SELECT DISTINCT e.identifier_id FROM cdp.event e JOIN cdp.identity i ON i.identifier_id = e.identifier_id
		JOIN cdp.namespace n ON n.name = i.namespace AND n.kind = 'device'
		WHERE e.tableoid = event_table AND e.ctid = ANY (event_ctids) AND e.received_at BETWEEN since AND until));
	WITH mentions AS MATERIALIZED (
		SELECT m.* FROM cdp.mention m
		WHERE m.event_table = let_go.event_table AND m.event_ctid = ANY (event_ctids) AND m.received_at BETWEEN since AND until
	), added AS (
		INSERT INTO cdp.mention_remainder AS r (identifier_id, linked_id, first_seen_at, last_seen_at, event_count)
		SELECT m.identifier_id, coalesce(m.linked_id, 0), min(m.occurred_at), max(m.occurred_at), count(*) FROM mentions m GROUP BY 1, 2
		ON CONFLICT (identifier_id, linked_id) DO UPDATE SET first_seen_at = least(r.first_seen_at, excluded.first_seen_at),
			last_seen_at = greatest(r.last_seen_at, excluded.last_seen_at), event_count = r.event_count + excluded.event_count
	), sign_ins AS (
		INSERT INTO cdp.sign_in_remainder (device_id, occurred_at, message_id, source_id, identifier_id)
		SELECT m.identifier_id, m.occurred_at, m.message_id, m.source_id, m.linked_id
		FROM mentions m JOIN cdp.namespace d ON d.name = m.namespace AND d.kind = 'device'
		JOIN cdp.identity h ON h.identifier_id = m.linked_id JOIN cdp.namespace n ON n.name = h.namespace AND n.kind <> 'device'
		ON CONFLICT DO NOTHING RETURNING device_id
	)
	SELECT ARRAY (SELECT DISTINCT m.identifier_id FROM mentions m), ARRAY (SELECT DISTINCT s.device_id FROM sign_ins s) INTO ids, devices;
	-- of devices that are not shared it is enough to know who came when first and last
	DELETE FROM cdp.sign_in_remainder s USING cdp.identity d
	WHERE s.device_id = ANY (devices) AND d.identifier_id = s.device_id AND NOT d.is_contested
		AND EXISTS (SELECT FROM cdp.sign_in_remainder x WHERE x.device_id = s.device_id AND x.identifier_id = s.identifier_id
			AND (x.occurred_at, x.message_id, x.source_id) < (s.occurred_at, s.message_id, s.source_id))
		AND EXISTS (SELECT FROM cdp.sign_in_remainder x WHERE x.device_id = s.device_id AND x.identifier_id = s.identifier_id
			AND (x.occurred_at, x.message_id, x.source_id) > (s.occurred_at, s.message_id, s.source_id));
	INSERT INTO cdp.fragment_remainder AS r (anchor_id, identifier_id, traits, consents, first_seen_at, last_seen_at, event_count)
	SELECT c.anchor_id, c.identifier_id, cdp.merge_traits(c.traits), cdp.merge_consents(c.consents),
		min(c.first_seen_at), max(c.last_seen_at), sum(c.event_count)
	FROM cdp.contribution c
	WHERE c.identifier_id = ANY (ids) AND c.event_table = let_go.event_table AND c.event_ctid = ANY (event_ctids)
		AND c.received_at BETWEEN since AND until
	GROUP BY c.anchor_id, c.identifier_id
	ON CONFLICT (anchor_id, identifier_id) DO UPDATE SET
		traits = coalesce(cdp.merge(r.traits, excluded.traits), r.traits, excluded.traits),
		consents = coalesce(cdp.merge(r.consents, excluded.consents), r.consents, excluded.consents),
		first_seen_at = least(r.first_seen_at, excluded.first_seen_at), last_seen_at = greatest(r.last_seen_at, excluded.last_seen_at),
		event_count = r.event_count + excluded.event_count;
	INSERT INTO cdp.timeline_remainder AS r (anchor_id, identifier_id, month, events)
	SELECT e.anchor_id, e.identifier_id, e.month, cdp.timeline_agg(e.name, e.occurred_at, e.properties)
	FROM cdp.timeline_entry e
	WHERE e.event_table = let_go.event_table AND e.event_ctid = ANY (event_ctids) AND e.received_at BETWEEN since AND until
	GROUP BY e.anchor_id, e.identifier_id, e.month
	ON CONFLICT (anchor_id, identifier_id, month) DO UPDATE SET events = cdp.add(r.events, excluded.events);
	EXECUTE format('DELETE FROM %s WHERE ctid = ANY ($1)', event_table) USING event_ctids;
END
$$;
COMMENT ON FUNCTION cdp.let_go(regclass, tid[], timestamptz, timestamptz) IS 'Take some events of one partition out of the log for good, all received between two instants, and add what was derived from them to the remainders. Part of cdp.apply_retention(), which sees to it that nobody else does';

CREATE FUNCTION cdp.drop_month(event_table regclass) RETURNS boolean
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '100ms'
SET client_min_messages = warning
AS $$
DECLARE
	is_empty boolean;
BEGIN
	IF NOT EXISTS (
			SELECT FROM pg_class c CROSS JOIN cdp.retention_rule r
			WHERE c.oid = event_table AND r.source_id IS NULL AND r.event IS NULL
				AND cdp.clock_now() - r.keep >= substring(pg_get_expr(c.relpartbound, c.oid) FROM $re$TO \('([^']+)'\)$re$)::timestamptz) THEN
		RETURN false;
	END IF;
	LOCK TABLE ONLY cdp.event IN ACCESS EXCLUSIVE MODE;
	EXECUTE format('SELECT NOT EXISTS (SELECT FROM %s)', event_table) INTO is_empty;
	IF is_empty THEN
		EXECUTE format('DROP TABLE %s', event_table);
	END IF;
	RETURN is_empty;
EXCEPTION WHEN lock_not_available OR object_in_use OR insufficient_privilege THEN
	RETURN false; -- the next time
END
$$;
COMMENT ON FUNCTION cdp.drop_month(regclass) IS 'Drop a partition of the log if the rule for all messages lets go of all in it, and it is empty; returns whether. Tries for a tenth of a second to get the table for itself, which it then keeps until the end of the transaction';

CREATE FUNCTION cdp.apply_rule(rule_id integer, max bigint, OUT messages bigint, OUT partitions integer)
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan SET enable_seqscan = off SET max_parallel_workers_per_gather = 0 -- rows in their order on disk
AS $$
DECLARE
	is_its CONSTANT text := $match$(r.source_id IS NULL OR e.source_id = r.source_id) AND (r.event IS NULL OR e.name = r.event)
		AND NOT EXISTS (SELECT FROM cdp.retention_rule o
			WHERE (o.source_id IS NULL OR o.source_id = e.source_id) AND (o.event IS NULL OR o.event = e.name)
				AND (o.event IS NOT NULL, o.source_id IS NOT NULL) > (r.event IS NOT NULL, r.source_id IS NOT NULL))$match$;
	r record;
	chosen record;
BEGIN
	messages := 0;
	partitions := 0;
	SELECT x.* INTO r FROM cdp.retention_rule x WHERE x.rule_id = apply_rule.rule_id;
	IF r.pass_table IS NULL THEN
		-- now and then all of the log, for what came in late with an old time of receipt
		r.pass_since := CASE WHEN r.passes % 30 = 0 THEN '-infinity' ELSE r.pass_until END;
		r.pass_until := cdp.clock_now() - r.keep;
		r.pass_table := 0;
		r.pass_ctid := NULL;
		EXECUTE 'DELETE FROM cdp.retracted e USING cdp.retention_rule r WHERE r.rule_id = $1 AND e.received_at < $2 AND ' || is_its
		USING rule_id, r.pass_until;
	END IF;
	WHILE messages < max AND partitions = 0 LOOP
		IF r.pass_ctid IS NULL THEN
			SELECT min(i.inhrelid), '(0,0)' INTO r.pass_table, r.pass_ctid FROM pg_inherits i
			WHERE i.inhparent = 'cdp.event'::regclass AND NOT i.inhdetachpending AND i.inhrelid > r.pass_table;
			IF r.pass_table IS NULL THEN
				r.pass_ctid := NULL;
				r.passes := r.passes + 1;
				EXIT;
			END IF;
		ELSIF NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = 'cdp.event'::regclass AND i.inhrelid = r.pass_table) THEN
			r.pass_ctid := NULL; -- somebody dropped it
			CONTINUE;
		END IF;
		PERFORM cdp.show_progress(format('letting messages of %s go', r.pass_table::regclass));
		EXECUTE format('SELECT array_agg(x.ctid) AS ctids, max(x.ctid) AS last, min(x.received_at) AS since, max(x.received_at) AS until,
				count(*) AS n FROM (
			SELECT e.ctid, e.received_at FROM %s e CROSS JOIN cdp.retention_rule r
			WHERE r.rule_id = $1 AND e.ctid > $2 AND e.received_at >= $3 AND e.received_at < $4 AND %s LIMIT $5) x', r.pass_table::regclass, is_its)
		INTO chosen USING rule_id, r.pass_ctid, r.pass_since, r.pass_until, max - messages;
		r.pass_ctid := CASE WHEN chosen.n = max - messages THEN chosen.last END;
		IF chosen.n > 0 THEN
			PERFORM cdp.let_go(r.pass_table::regclass, chosen.ctids, chosen.since, chosen.until);
			messages := messages + chosen.n;
			r.gone_until := greatest(r.gone_until, chosen.until);
		END IF;
		IF r.pass_ctid IS NULL THEN
			partitions := cdp.drop_month(r.pass_table::regclass)::integer;
		END IF;
	END LOOP;
	UPDATE cdp.retention_rule x SET messages = x.messages + apply_rule.messages, gone_until = r.gone_until, last_run_at = cdp.clock_now(),
		passes = r.passes, pass_since = r.pass_since, pass_until = r.pass_until, pass_table = r.pass_table, pass_ctid = r.pass_ctid
	WHERE x.rule_id = apply_rule.rule_id;
END
$$;
COMMENT ON FUNCTION cdp.apply_rule(integer, bigint) IS 'Go on applying one rule of retention, for at most some messages, or until a partition could be dropped. Part of cdp.apply_retention()';

CREATE FUNCTION cdp.apply_retention(max integer DEFAULT 10000, OUT messages bigint, OUT partitions integer)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '1s'
AS $$
DECLARE
	rule integer;
	step record;
BEGIN
	PERFORM cdp.require_init();
	IF max IS NULL OR max < 1 THEN
		RAISE EXCEPTION 'max must be at least 1' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'It is the number of messages to let go at most; leave it out for 10000.';
	END IF;
	messages := 0;
	partitions := 0;
	FOR rule IN SELECT r.rule_id FROM cdp.retention_rule r WHERE r.pass_table IS NOT NULL OR r.pass_until IS NULL AND r.keep IS NOT NULL
			OR cdp.clock_now() - r.keep >= r.pass_until + interval '1 hour' ORDER BY r.rule_id LOOP
		-- nobody takes the same ones out, changes what they mean, or how long they are kept
		LOCK TABLE cdp.ruling IN SHARE ROW EXCLUSIVE MODE;
		PERFORM cdp.hold_rules(is_alone => false);
		LOCK TABLE cdp.retention_rule IN SHARE ROW EXCLUSIVE MODE;
		SELECT s.* INTO step FROM cdp.apply_rule(rule, max - messages) s;
		messages := messages + step.messages;
		partitions := step.partitions;
		EXIT WHEN messages >= max OR partitions > 0;
	END LOOP;
END
$$;
COMMENT ON FUNCTION cdp.apply_retention(integer) IS 'Let messages go that are older than cdp.set_retention() keeps them, at most max of them, and drop a partition of the log when nothing is left in it; what was derived from them stays. Returns how many messages left and whether a partition did; call it until both are 0, cdp.maintain() does so too. Looks at a rule again when an hour has passed. Errors 22023, 42501, 55P03 when a ruling or a change of rules is under way for longer than a second';

CREATE FUNCTION cdp.maintain() RETURNS TABLE (task text, done bigint)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM cdp.require_init();
	task := 'partitions made';
	done := cdp.make_partitions('event', now(), now() + interval '2 months')
		+ cdp.make_partitions('change', now(), now() + interval '2 months');
	RETURN NEXT;
	-- bounded, so that a long pause costs no long transaction
	task := 'message keys forgotten';
	WITH old AS (
		SELECT s.ctid AS row FROM cdp.seen s
		WHERE s.received_at < cdp.clock_now() - current_setting('cdp.dedup_window')::interval
		LIMIT 50000 FOR UPDATE SKIP LOCKED
	)
	DELETE FROM cdp.seen s USING old WHERE s.ctid = old.row;
	GET DIAGNOSTICS done = ROW_COUNT;
	RETURN NEXT;
	-- the last: a partition that is dropped is locked from then on
	task := 'messages let go';
	BEGIN
		done := (SELECT a.messages FROM cdp.apply_retention() a);
	EXCEPTION WHEN lock_not_available THEN
		done := 0; -- the next time
	END;
	RETURN NEXT;
END
$$;
COMMENT ON FUNCTION cdp.maintain() IS 'Housekeeping: make partitions for the next two months, forget message keys older than cdp.dedup_window (50,000 a call), let messages go that are older than cdp.set_retention() keeps them (10,000 a call). The worker calls it about once a minute; without a worker call it hourly, and again while it reports 10,000 or more';

-- verification: everything derived again from the log and compared

CREATE FUNCTION cdp.verify_identity() RETURNS TABLE (part text, checked bigint, differences bigint)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
BEGIN
	DROP TABLE IF EXISTS pg_temp.cdp_mention;
	CREATE TEMPORARY TABLE cdp_mention ON COMMIT DROP AS
		SELECT m.strongest_id, m.ord, m.identifier_id, m.linked_id, m.is_related, m.occurred_at AS first_seen_at,
			m.occurred_at AS last_seen_at, 1::bigint AS event_count
		FROM cdp.mention m
		UNION ALL
		SELECT NULL, NULL, r.identifier_id, r.linked_id, r.is_related, r.first_seen_at, r.last_seen_at, r.event_count
		FROM cdp.remaining_mention r;

	part := 'identifiers';
	SELECT count(*), count(*) FILTER (WHERE (i.first_seen_at, i.last_seen_at, i.event_count) IS DISTINCT FROM (d.f, d.l, coalesce(d.n, 0)))
	INTO checked, differences
	FROM (SELECT m.identifier_id, min(m.first_seen_at) AS f, max(m.last_seen_at) AS l, sum(m.event_count) AS n
		FROM pg_temp.cdp_mention m GROUP BY m.identifier_id) d
	FULL JOIN cdp.identity i ON i.identifier_id = d.identifier_id;
	RETURN NEXT;

	part := 'anchors';
	SELECT count(*), count(*) FILTER (WHERE m.strongest_id IS DISTINCT FROM m.identifier_id) INTO checked, differences
	FROM pg_temp.cdp_mention m WHERE m.ord = 1;
	SELECT count(*) + checked, count(*) FILTER (WHERE s.identifier_id IS DISTINCT FROM d.identifier_id) + differences INTO checked, differences
	FROM cdp.sign_in s FULL JOIN cdp.derived_sign_in d USING (device_id, occurred_at, message_id, source_id);
	RETURN NEXT;

	part := 'links';
	SELECT count(*), count(*) FILTER (WHERE (k.first_seen_at, k.last_seen_at, k.event_count) IS DISTINCT FROM (d.f, d.l, coalesce(d.n, 0))
		OR (k.status, k.reason) IS DISTINCT FROM (CASE WHEN d.is_related THEN 'related' WHEN r.ruling_id IS NOT NULL THEN 'retracted'
			ELSE j.status END, j.reason))
	INTO checked, differences
	FROM (
		SELECT m.linked_id AS a, m.identifier_id AS b, min(m.first_seen_at) AS f, max(m.last_seen_at) AS l, sum(m.event_count) AS n,
			bool_or(m.is_related) AS is_related
		FROM pg_temp.cdp_mention m WHERE m.linked_id IS NOT NULL GROUP BY m.linked_id, m.identifier_id
	) d FULL JOIN cdp.link k ON k.identifier_a = d.a AND k.identifier_b = d.b
	LEFT JOIN cdp.judge_all() j ON j.identifier_a = k.identifier_a AND j.identifier_b = k.identifier_b
	LEFT JOIN cdp.identity x ON x.identifier_id = k.identifier_a
	LEFT JOIN cdp.identity y ON y.identifier_id = k.identifier_b
	LEFT JOIN cdp.ruling r ON r.kind = 'retract' AND r.undone_at IS NULL AND r.a = cdp.identifier(x.namespace, x.value)
		AND r.b = cdp.identifier(y.namespace, y.value);
	RETURN NEXT;

	DROP TABLE IF EXISTS pg_temp.cdp_place;
	CREATE TEMPORARY TABLE cdp_place ON COMMIT DROP AS
		SELECT i.identifier_id, i.profile_id, n.entity, r.cluster, r.component, r.is_disputed,
			min(i.profile_id) OVER (PARTITION BY r.component) AS component_id, r.is_contested = i.is_contested AS is_right
		FROM cdp.resolve_all() r FULL JOIN cdp.identity i USING (identifier_id) LEFT JOIN cdp.namespace n ON n.name = i.namespace;

	part := 'people';
	SELECT count(*), count(*) FILTER (WHERE d.n_profiles <> 1 OR d.n_clusters <> 1 OR d.is_right IS NOT TRUE) INTO checked, differences
	FROM (
		SELECT count(*) OVER (PARTITION BY p.cluster) AS n_profiles, count(*) OVER (PARTITION BY p.profile_id) AS n_clusters, p.is_right
		FROM (SELECT x.cluster, x.profile_id, bool_and(x.is_right) AS is_right FROM pg_temp.cdp_place x GROUP BY x.cluster, x.profile_id) p
	) d;
	RETURN NEXT;

	-- a profile id lives, or redirects, by where the identifier is for which it was minted
	part := 'profile ids';
	SELECT count(*), count(*) FILTER (WHERE (p.entity, p.component_id, p.is_disputed, coalesce(p.merged_into, p.profile_id))
		IS DISTINCT FROM (x.entity, CASE WHEN p.is_frozen THEN p.component_id ELSE x.component_id END, x.is_disputed, x.profile_id)) INTO checked, differences
	FROM cdp.profile p LEFT JOIN pg_temp.cdp_place x USING (identifier_id)
	WHERE p.identifier_id IS NOT NULL OR p.merged_into <> 0;
	RETURN NEXT;
	DROP TABLE pg_temp.cdp_mention, pg_temp.cdp_place;
END
$$;
COMMENT ON FUNCTION cdp.verify_identity() IS 'Part of cdp.verify(): identifiers, anchors, links and their judgements, people, profile ids and redirects';

CREATE FUNCTION cdp.verify_profile() RETURNS TABLE (part text, checked bigint, differences bigint)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	part := 'fragments';
	SELECT count(*), count(*) FILTER (WHERE (f.event_count, f.first_seen_at, f.last_seen_at, f.traits::text, f.consents::text)
		IS DISTINCT FROM (d.event_count, d.first_seen_at, d.last_seen_at, d.traits::text, d.consents::text))
	INTO checked, differences
	FROM cdp.fragment f FULL JOIN cdp.derived_fragment d USING (anchor_id, identifier_id);
	RETURN NEXT;

	part := 'timelines';
	SELECT count(*), count(*) FILTER (WHERE NOT coalesce(cdp.is_same(p.events, d.events), false)) INTO checked, differences
	FROM (SELECT t.anchor_id, t.identifier_id, t.month, cdp.add_timelines(t.events) AS events
		FROM cdp.timeline_part t GROUP BY t.anchor_id, t.identifier_id, t.month) p
	FULL JOIN cdp.derived_timeline_part d USING (anchor_id, identifier_id, month);
	RETURN NEXT;

	IF EXISTS (SELECT FROM cdp.lookup_row) THEN
		part := 'lookups';
		SELECT count(*), count(*) FILTER (WHERE NOT coalesce(cdp.is_same(r.traits, d.traits), r.traits IS NULL AND d.traits IS NULL AND l.rank IS NOT NULL))
		INTO checked, differences
		FROM cdp.lookup_row r LEFT JOIN cdp.lookup l USING (lookup_id)
		CROSS JOIN LATERAL (SELECT cdp.declared_traits(r.object, r.observed_at, l.rank) AS traits OFFSET 0) d;
		RETURN NEXT;
	END IF;

	part := 'profiles';
	SELECT count(*), count(*) FILTER (WHERE (p.event_count, p.first_seen_at, p.last_seen_at)
			IS DISTINCT FROM (coalesce(d.n, 0), d.f, d.l)
		OR p.traits::text IS DISTINCT FROM d.traits::text OR p.consents::text IS DISTINCT FROM d.consents::text
		OR (p.merged_into IS NULL) <> (d.profile_id IS NOT NULL))
	INTO checked, differences
	FROM (SELECT i.profile_id, sum(f.event_count) AS n, min(f.first_seen_at) AS f, max(f.last_seen_at) AS l,
			cdp.enrich(cdp.merge_traits(f.traits)) AS traits, cdp.merge_consents(f.consents) AS consents
		FROM cdp.identity i LEFT JOIN cdp.fragment f ON f.anchor_id = i.identifier_id GROUP BY i.profile_id) d
	FULL JOIN cdp.profile p ON p.profile_id = d.profile_id;
	RETURN NEXT;
END
$$;
COMMENT ON FUNCTION cdp.verify_profile() IS 'Part of cdp.verify(): fragments (traits, consents, counts), timelines, what lookups have if there are any, profiles';

CREATE FUNCTION cdp.verify_segment() RETURNS TABLE (part text, checked bigint, differences bigint)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	part := 'computed';
	SELECT count(*), count(*) FILTER (WHERE coalesce(cdp.to_jsonb(p.computed), '{}') IS DISTINCT FROM coalesce(d.traits, '{}')) INTO checked, differences
	FROM cdp.profile p LEFT JOIN cdp.derived_computed d USING (profile_id);
	RETURN NEXT;

	part := 'memberships';
	SELECT count(*), count(*) FILTER (WHERE NOT d.is_right) INTO checked, differences
	FROM (SELECT cdp.matches(p.profile_id, s.predicate) = (m.profile_id IS NOT NULL) AS is_right
		FROM cdp.segment s CROSS JOIN cdp.profile p
		LEFT JOIN cdp.membership m ON m.profile_id = p.profile_id AND m.segment = s.name
		WHERE p.merged_into IS NULL AND p.entity = 'person'
		UNION ALL
		SELECT false FROM cdp.membership m LEFT JOIN cdp.profile p ON p.profile_id = m.profile_id
		WHERE p.profile_id IS NULL OR p.merged_into IS NOT NULL) d;
	RETURN NEXT;
END
$$;
COMMENT ON FUNCTION cdp.verify_segment() IS 'Part of cdp.verify(): computed traits, memberships';

CREATE FUNCTION cdp.verify(noun text DEFAULT NULL) RETURNS TABLE (part text, checked bigint, differences bigint)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM cdp.require_init();
	IF noun NOT IN ('identity', 'profile', 'segment') THEN
		RAISE EXCEPTION 'there is no such part to verify' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'The parts are identity, profile and segment; without one all are verified.';
	END IF;
	IF noun IS NULL OR noun = 'identity' THEN
		RETURN QUERY SELECT * FROM cdp.verify_identity();
	END IF;
	IF noun IS NULL OR noun = 'profile' THEN
		RETURN QUERY SELECT * FROM cdp.verify_profile();
	END IF;
	IF noun IS NULL OR noun = 'segment' THEN
		RETURN QUERY SELECT * FROM cdp.verify_segment();
	END IF;
END
$$;
COMMENT ON FUNCTION cdp.verify(text) IS 'Derive everything again from the log, and the remainder of what left it, and compare with what is stored: of identity identifiers, anchors, links and their judgements, people, profile ids and redirects; of profile fragments (traits, consents, counts), timelines, what lookups have if there are any, profiles; of segment computed traits and memberships; or (null) all. Returns of each how much was checked and how much differs: 0 unless something is broken (computed traits and memberships also differ while due timers wait for cdp.process()). Reads everything; run it when nobody writes. Error 22023';

CREATE FUNCTION cdp.init_pipeline() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
BEGIN
	CREATE OR REPLACE VIEW cdp.status AS
		WITH waiting AS (SELECT count(*) AS n, min(received_at) AS oldest FROM cdp.inbox)
		SELECT 'version' AS name, cdp.version() AS value, 'of the library that is loaded' AS detail
		UNION ALL
		SELECT 'backlog', n::text, 'payloads in the inbox' FROM waiting
		UNION ALL
		SELECT 'watermark', coalesce(oldest, now())::text, 'what was committed to the inbox before this is processed' FROM waiting
		UNION ALL
		SELECT 'lag', coalesce(greatest(now() - oldest, interval '0'), interval '0')::text, 'age of the oldest payload in the inbox' FROM waiting
		UNION ALL
		SELECT 'worker', w.state, format('preloaded: %s, pid: %s, last run: %s', w.is_preloaded,
			coalesce(w.worker_pid::text, 'none'), coalesce(w.last_run_at::text, 'never'))
		FROM cdp.worker_state() w
		UNION ALL
		SELECT 'rejected', count(*)::text, 'messages in cdp.rejected' FROM cdp.rejected
		UNION ALL
		SELECT 'malformed', count(*)::text, 'values that became no identifiers' FROM cdp.malformed_value
		UNION ALL
		SELECT 'retention', coalesce(sum(messages), 0)::text, format('messages that left the log, the last of them received %s, see cdp.retention',
			coalesce(max(gone_until)::text, 'never'))
		FROM cdp.retention_rule
		UNION ALL
		SELECT 'refused', count(*)::text, 'values of traits that broke their rules' FROM cdp.refused_value
		UNION ALL
		SELECT 'frozen', count(DISTINCT component_id)::text, 'components too large to be resolved, see cdp.frozen_components' FROM cdp.profile WHERE is_frozen
		UNION ALL
		SELECT 'timers due', count(*)::text, 'profiles whose segments or computed traits wait for cdp.process()' FROM cdp.due WHERE due_at <= cdp.clock_now()
		UNION ALL
		SELECT 'running', substring(a.query FROM '^/\* cdp: (.*?) \*/'), format('pid: %s, for: %s', a.pid, clock_timestamp() - a.query_start)
		FROM pg_stat_activity a WHERE a.datname = current_database() AND a.state = 'active' AND a.query LIKE '/* cdp: %'
		UNION ALL
		SELECT 'table source ' || t.name, CASE WHEN t.error IS NOT NULL THEN 'failed' WHEN t.read_at IS NULL THEN 'not read yet' ELSE 'ok' END,
			coalesce(t.error, format('%s rows read, last at %s', t.rows_read, t.read_at))
		FROM cdp.table_source t
		UNION ALL
		SELECT 'lookup ' || l.name, CASE WHEN to_regclass(l.relation) IS NULL THEN 'relation is gone' ELSE 'ok' END,
			format('%s rows, as they were at %s', (SELECT count(*) FROM cdp.lookup_row r WHERE r.lookup_id = l.lookup_id), l.refreshed_at)
		FROM cdp.lookup l
		UNION ALL
		SELECT 'profiles', count(*)::text, 'live profiles' FROM cdp.profile WHERE merged_into IS NULL
		UNION ALL
		SELECT 'slot ' || slot_name, coalesce(wal_status, 'unknown'),
			format('active: %s, behind by %s', active, pg_size_pretty(CASE WHEN pg_is_in_recovery() THEN NULL
				ELSE pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn) END))
		FROM pg_replication_slots WHERE slot_type = 'logical' AND database = current_database();
	COMMENT ON VIEW cdp.status IS 'How the platform is doing, a row for each figure';
	PERFORM cdp.record_version('pipeline', 1);
END
$$;
COMMENT ON FUNCTION cdp.init_pipeline() IS 'Make the status view; part of cdp.init()';
