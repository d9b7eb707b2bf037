-- Table sources read foreign tables: of another server, and of files; a server that is down costs nothing but a word in the status.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_event_foreign_source;
CREATE DATABASE regress_event_foreign_source TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_event_foreign_source SET lc_messages = 'C';
ALTER DATABASE regress_event_foreign_source SET jit = off;
ALTER DATABASE regress_event_foreign_source SET client_min_messages = warning;
ALTER DATABASE regress_event_foreign_source SET cdp.clock = '2026-01-31T12:00:00Z';
\c regress_event_foreign_source
CREATE EXTENSION cdp;
CREATE EXTENSION postgres_fdw;
CREATE EXTENSION file_fdw;
SELECT cdp.init();

-- another server: this one
CREATE SCHEMA remote;
CREATE TABLE remote.orders (order_id int, version bigint, customer text, total numeric, PRIMARY KEY (order_id, version));
INSERT INTO remote.orders SELECT i, 1, 'u-' || i % 3, i * 9.99 FROM generate_series(1, 20) i;
DO $$
BEGIN
	EXECUTE format('CREATE SERVER shop FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host %L, port %L, dbname %L)',
		split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), current_database());
END
$$;
CREATE USER MAPPING FOR CURRENT_USER SERVER shop;
CREATE FOREIGN TABLE orders (order_id int, version bigint, customer text, total numeric) SERVER shop OPTIONS (schema_name 'remote');
SELECT cdp.create_table_source('orders', '{"type": "track", "event": "''Order Completed''", "userId": "customer", "properties": {"order_id": "order_id", "revenue": "total"}}', 'version', key => '{order_id,version}');
SELECT row_count, message_count, has_more FROM cdp.read_table_source('orders', 7);
SELECT row_count, message_count, has_more FROM cdp.read_table_source('orders', 7);
SELECT row_count, message_count, has_more FROM cdp.read_table_source('orders', 7);
INSERT INTO remote.orders VALUES (1, 2, 'u-1', 0);
SELECT row_count, message_count, has_more FROM cdp.read_table_source('orders');
SELECT events, rejected FROM cdp.process();
SELECT cdp.profile('user_id:u-1') ->> 'event_count' AS events;

-- a file, compared as a whole
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
DO $$
DECLARE
	file text := current_setting('data_directory') || '/regress_event_foreign_source.csv';
BEGIN
	EXECUTE format('COPY (VALUES (''band-1'', ''a@x.org''), (''band-2'', ''b@x.org'')) TO %L (FORMAT csv)', file);
	EXECUTE format('CREATE FOREIGN TABLE bands (band text, email text) SERVER files OPTIONS (filename %L, format ''csv'')', file);
END
$$;
SELECT cdp.create_table_source('bands', '{"type": "identify", "traits": {"email": "email", "band": "band"}}', key => '{email}');
SELECT row_count, message_count FROM cdp.read_table_source('bands');
SELECT row_count, message_count FROM cdp.read_table_source('bands');
SELECT events FROM cdp.process();
SELECT cdp.profile('email:b@x.org') -> 'traits' AS traits;

-- a server that is down, a file that is gone, a line that is none
CREATE SERVER dead FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '/nonexistent', port '1', dbname 'x', connect_timeout '2');
CREATE USER MAPPING FOR CURRENT_USER SERVER dead;
CREATE FOREIGN TABLE unreachable (id int, name text) SERVER dead;
SELECT cdp.create_table_source('unreachable', '{"type": "identify", "userId": "name"}', 'id', key => '{id}');
INSERT INTO remote.orders VALUES (2, 2, 'u-2', 0);
DO $$
DECLARE
	file text := current_setting('data_directory') || '/regress_event_foreign_source.csv';
BEGIN
	EXECUTE format('COPY (VALUES (''secret'', ''c@x.org'', 1)) TO %L (FORMAT csv)', file);
END
$$;
UPDATE cdp.table_source SET compared_at = NULL;
SELECT source, row_count, message_count, error FROM cdp.read_table_sources() ORDER BY source;
SELECT name, value, detail FROM cdp.status WHERE name LIKE 'table source%' AND value <> 'ok' ORDER BY name;
DO $$
DECLARE
	file text := current_setting('data_directory') || '/regress_event_foreign_source.csv';
BEGIN
	CREATE TEMPORARY TABLE nothing (line text);
	EXECUTE format('COPY nothing FROM PROGRAM %L', format('rm %L', file));
END
$$;
SELECT source, row_count, message_count, regexp_replace(error, '".*/', '".../') AS error FROM cdp.read_table_sources() ORDER BY source;
SELECT events FROM cdp.process();

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_event_foreign_source;
