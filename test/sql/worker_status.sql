-- The worker's functions answer with and without the worker.
SELECT is_preloaded = current_setting('shared_preload_libraries') ~ '\mcdp\M' AS tells_preloading,
	is_preloaded OR num_nulls(launcher_pid, worker_pid, state, last_run_at, last_error_at, restarts) = 6 AS is_rest_null
FROM cdp.worker_state();
SELECT count(*) FROM cdp.worker_state();

-- waking nobody is no error, in no kind of transaction
SELECT cdp.wake_worker();
BEGIN;
SELECT cdp.wake_worker();
ROLLBACK;
BEGIN;
SELECT cdp.wake_worker();
SAVEPOINT s;
SELECT cdp.wake_worker();
ROLLBACK TO s;
COMMIT;

-- its part of cdp.init() can be repeated, and heals an emptied mark
BEGIN;
SELECT cdp.init_base();
SELECT cdp.init_worker();
SELECT cdp.init_worker();
SELECT is_ready FROM cdp.ready;
REFRESH MATERIALIZED VIEW cdp.ready WITH NO DATA;
SELECT cdp.init_worker();
SELECT is_ready FROM cdp.ready;
SELECT version FROM cdp.setup WHERE noun = 'worker';
ROLLBACK;

-- settings
SELECT name, setting, unit, context FROM pg_settings WHERE name LIKE 'cdp.worker%' ORDER BY name;

-- labels and comments
SELECT p.proname, p.provolatile, p.proisstrict, p.proparallel, obj_description(p.oid, 'pg_proc') IS NOT NULL AS has_comment
FROM pg_proc AS p
WHERE p.pronamespace = 'cdp'::regnamespace AND p.proname ~ 'worker'
ORDER BY p.proname;
