-- worker: the background worker, as SQL sees it.

CREATE FUNCTION cdp.worker_state(
	OUT is_preloaded boolean,
	OUT launcher_pid integer,
	OUT worker_pid integer,
	OUT state text,
	OUT last_run_at timestamptz,
	OUT last_error_at timestamptz,
	OUT restarts bigint) RETURNS record
AS 'MODULE_PATHNAME', 'cdp_worker_state' LANGUAGE C VOLATILE PARALLEL SAFE;
COMMENT ON FUNCTION cdp.worker_state() IS 'One row about this database''s background worker; without cdp in shared_preload_libraries all but is_preloaded is null. state: stopped, held (a command wants the database for itself), starting, waiting for init, waiting for restore, version mismatch, idle, running or backing off. restarts counts starts after the first since the server started';

CREATE FUNCTION cdp.wake_worker() RETURNS void
AS 'MODULE_PATHNAME', 'cdp_wake_worker' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION cdp.wake_worker() IS 'Let the background worker look for work as soon as this transaction commits, for instance after COPY cdp.inbox, instead of after cdp.worker_naptime; does nothing where there is no worker';

CREATE FUNCTION cdp.init_worker() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
BEGIN
	-- pg_restore fills materialized views after all else: until then the worker keeps still
	CREATE MATERIALIZED VIEW IF NOT EXISTS cdp.ready AS SELECT true AS is_ready;
	IF NOT (SELECT c.relispopulated FROM pg_class AS c WHERE c.oid = 'cdp.ready'::regclass) THEN
		REFRESH MATERIALIZED VIEW cdp.ready;
	END IF;
	COMMENT ON MATERIALIZED VIEW cdp.ready IS 'Filled when the platform''s data are whole: a restore fills it last, and the background worker waits for that';
	PERFORM cdp.record_version('worker', 1);
	PERFORM cdp.wake_worker();
END
$$;
COMMENT ON FUNCTION cdp.init_worker() IS 'Make what the background worker needs; part of cdp.init(). Run it after a restore that left cdp.ready without data';
