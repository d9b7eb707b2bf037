-- pipeline: one batch's way through the house.

CREATE FUNCTION cdp.process(
	max integer DEFAULT 10000, OUT messages bigint, OUT events bigint, OUT duplicates bigint, OUT rejected bigint,
	OUT merges bigint, OUT splits bigint, OUT entered bigint, OUT exited bigint
)
AS 'MODULE_PATHNAME', 'cdp_process' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION cdp.process(integer) IS 'Process one batch: at most max rows of the inbox (and about 16 MB), and due segment timers, in the caller''s transaction. Returns how many messages were found, became events, were duplicates or rejected, and how many profiles merged and split and entered and left segments. Waits while another session processes a batch. Call it until messages is 0. Errors 22023, 25006, 55000';

CREATE FUNCTION cdp.ingest(
	payload text, source text DEFAULT 'default', received_at timestamptz DEFAULT NULL, OUT messages bigint,
	OUT events bigint, OUT duplicates bigint, OUT rejected bigint, OUT errors jsonb
)
AS 'MODULE_PATHNAME', 'cdp_ingest' LANGUAGE C VOLATILE PARALLEL UNSAFE;
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
AS 'MODULE_PATHNAME', 'cdp_reconsider' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION cdp.reconsider(bigint[], text, bigint[]) IS 'Resolve the components of identifiers again, after a ruling or rule changed (cause: ruling, rule), and bring everything that follows up to date in this transaction. rederived: those of them whose links and fragments are first derived from the log again, because other events are theirs now. Called by cdp.pin(), cdp.deny(), cdp.retract(), cdp.undo() and by changes of rules';

-- views

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
