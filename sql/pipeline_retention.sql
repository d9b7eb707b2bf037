-- pipeline: retention, messages leave the log and leave what follows from them.

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
