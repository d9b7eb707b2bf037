-- The format on disk of cdp.traits and cdp.consent_state, byte by byte: a change of it here breaks every stored database (docs/base.md).
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_base_stamped;
CREATE DATABASE regress_base_stamped TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_base_stamped SET lc_messages = 'C';
ALTER DATABASE regress_base_stamped SET jit = off;
ALTER DATABASE regress_base_stamped SET client_min_messages = warning;
\c regress_base_stamped
CREATE EXTENSION cdp;

-- The bytes are read from the table's file: one row of one column behind a tuple header of 24 bytes; the varlena header of 1 or 4 bytes is left out.
CREATE FUNCTION stored_bytes(relation regclass) RETURNS TABLE (part text, bytes text) LANGUAGE plpgsql AS $$
DECLARE
	page bytea := pg_read_binary_file(pg_relation_filepath(relation));
	pointer integer := get_byte(page, 24) + get_byte(page, 25) * 256 + get_byte(page, 26) * 65536; -- lp_off: 15 bits, lp_flags: 2 bits, lp_len: 15 bits
	at integer := (pointer & 32767) + 24;
	is_short boolean := get_byte(page, at) & 1 = 1;
	header integer := CASE WHEN is_short THEN 1 ELSE 4 END;
	size integer := CASE WHEN is_short THEN get_byte(page, at) / 2 ELSE (get_byte(page, at) + get_byte(page, at + 1) * 256) / 4 END;
	data bytea := substr(page, at + header + 1, size - header);
	count integer := get_byte(data, 4);
BEGIN
	part := 'header';
	bytes := encode(substr(data, 1, 12), 'hex');
	RETURN NEXT;
	FOR i IN 0 .. count - 1 LOOP
		part := 'slot ' || i;
		bytes := encode(substr(data, 13 + 24 * i, 24), 'hex');
		RETURN NEXT;
	END LOOP;
	part := 'names and values';
	bytes := encode(substr(data, 13 + 24 * count), 'hex');
	RETURN NEXT;
END
$$;

CREATE TABLE empty_map (t cdp.traits);
ALTER TABLE empty_map ALTER t SET STORAGE plain;
INSERT INTO empty_map VALUES ('{}');
-- each kind of value; names of one byte to five; times before and after 2000, with microseconds; ranks of both signs
CREATE TABLE full_map (t cdp.traits);
ALTER TABLE full_map ALTER t SET STORAGE plain;
INSERT INTO full_map VALUES ('{"plan":{"at":"2026-01-31T09:00:00Z","rank":0,"value":"pro"},"age":{"at":"1999-12-31T23:59:59.999999Z","rank":-2,"value":42},"x":{"at":"2000-01-01T00:00:00.000001Z","rank":32767,"value":null},
	"yes":{"at":"0001-01-01T00:00:00Z","rank":-32767,"value":true},"no":{"at":"9999-12-31T23:59:59.999999Z","value":false},"list":{"at":"2026-01-31","value":[1,"a",null]},"tree":{"at":"2026-01-31","value":{"b":{"c":-1.50},"a":""}},"":{"at":"2026-01-31","value":""}}');
-- each rule, and what it keeps
CREATE TABLE rule_map (t cdp.traits);
ALTER TABLE rule_map ALTER t SET STORAGE plain;
INSERT INTO rule_map VALUES ('{"a":{"at":"2026-01-31","rule":"latest","value":1},"b":{"at":"2026-01-31","rule":"locked","value":1},"c":{"at":"2026-01-31","rule":"earliest","value":1},"d":{"at":"2026-01-31","rule":"preferred","value":1},
	"e":{"at":"2026-01-31","rule":"first_non_empty","value":1},"f":{"at":"2026-01-31","rule":"highest","value":1},"g":{"at":"2026-01-31","rule":"lowest","value":1},"h":{"at":"2026-01-31","rule":"most_frequent","value":[["a",2,"2026-01-31",-1]]},
	"i":{"at":"2026-01-31","rule":"sum","value":1},"j":{"at":"2026-01-31","rule":"union","value":[["a","2026-01-31"]]}}');
CREATE TABLE consent (t cdp.consent_state);
ALTER TABLE consent ALTER t SET STORAGE plain;
INSERT INTO consent VALUES ('{"marketing":{"at":"2026-01-31T09:00:00Z","value":false},"analytics":{"at":"2026-01-31T09:00:00Z","value":true}}');
CHECKPOINT;
SELECT * FROM stored_bytes('empty_map');
SELECT * FROM stored_bytes('full_map');
SELECT * FROM stored_bytes('rule_map');
SELECT * FROM stored_bytes('consent');

-- however a map came about, there is one layout of it: by input, by merging in any order, of JSON
CREATE TABLE merged (t cdp.traits);
ALTER TABLE merged ALTER t SET STORAGE plain;
CREATE TABLE merged_otherwise (LIKE merged INCLUDING STORAGE);
INSERT INTO merged SELECT cdp.merge_traits(t) FROM (SELECT format('{%s:%s}', to_json(k), v)::cdp.traits AS t FROM full_map, json_each(full_map.t::text::json) AS e (k, v) ORDER BY k) p;
INSERT INTO merged_otherwise SELECT cdp.merge_traits(t ORDER BY t::text DESC) FROM (SELECT format('{%s:%s}', to_json(k), v)::cdp.traits AS t FROM full_map, json_each(full_map.t::text::json) AS e (k, v) UNION ALL TABLE full_map) p;
CHECKPOINT;
SELECT a.part FROM stored_bytes('full_map') a JOIN stored_bytes('merged') b USING (part) JOIN stored_bytes('merged_otherwise') c USING (part) WHERE a.bytes <> b.bytes OR a.bytes <> c.bytes;
SELECT cdp.is_same(a.t, b.t) AND cdp.is_same(b.t, c.t) AS are_same FROM full_map a, merged b, merged_otherwise c;

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_base_stamped;
