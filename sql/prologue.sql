\echo Use "CREATE EXTENSION cdp" to load this file. \quit

-- The extension is code only; SELECT cdp.init() makes the tables, which are yours.
SET LOCAL search_path TO pg_catalog, pg_temp;
SET LOCAL check_function_bodies TO off; -- bodies name tables that cdp.init() makes

CREATE SCHEMA cdp;
COMMENT ON SCHEMA cdp IS 'Customer Data Platform: functions and types of the extension cdp, and the tables and views that cdp.init() makes';
