-- A component with more links than cdp.identity_max_component: its people stay as they are, evidence is kept and added up, and it
-- is resolved as soon as it can be.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_identity_frozen;
CREATE DATABASE regress_identity_frozen TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_identity_frozen SET lc_messages = 'C';
ALTER DATABASE regress_identity_frozen SET jit = off;
ALTER DATABASE regress_identity_frozen SET client_min_messages = warning;
\c regress_identity_frozen
CREATE EXTENSION cdp;
SELECT cdp.init();
SET cdp.clock = '2026-01-31T12:00:00Z';
\pset footer off
CREATE FUNCTION error_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	hint text;
BEGIN
	EXECUTE statement;
	RETURN 'none';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' | ', sqlstate, sqlerrm, hint);
END
$$;
CREATE VIEW differences AS SELECT part, differences FROM cdp.verify() WHERE differences <> 0;

SELECT events FROM cdp.ingest('{"type": "identify", "userId": "u-0", "anonymousId": "web-0", "messageId": "0", "timestamp": "2026-01-01",
	"traits": {"email": "own@x.example", "plan": "pro"}}');
-- a shop's address, typed for everybody: of 100 links all is well, with the 101st it is too much, which is said once
SET cdp.identity_max_component = 100;
SELECT sum(i.events) AS events FROM generate_series(1, 99) n, LATERAL (SELECT * FROM cdp.ingest(format('{"type": "identify", "userId": "u-%s", "messageId": "%1$s",
	"timestamp": "2026-01-02", "traits": {"email": "shop@x.example"}}', n))) i;
SELECT count(*) FROM cdp.frozen_components;
SELECT events FROM cdp.ingest('{"type": "identify", "userId": "u-0", "messageId": "100", "timestamp": "2026-01-03", "traits": {"email": "shop@x.example"}}');
SELECT events FROM cdp.ingest('{"type": "identify", "userId": "u-1", "messageId": "101", "timestamp": "2026-01-03", "traits": {"email": "shop@x.example"}}');
SELECT profiles, identifiers, links FROM cdp.frozen_components;
SELECT value FROM cdp.status WHERE name = 'frozen';
SELECT status, reason, count(*), sum(event_count) AS events FROM cdp.links GROUP BY 1, 2 ORDER BY 1, 2;
-- people are who they were, and what they say counts
SELECT cdp.profile('user_id:u-0') -> 'traits' AS traits, cdp.profile_id('email:shop@x.example') IN (SELECT cdp.profile_id(cdp.identifier('user_id', 'u-' || n)) FROM generate_series(1, 99) n) AS is_of_before;
-- what is new in it is a profile of its own
SELECT events FROM cdp.ingest('{"type": "identify", "userId": "u-new", "messageId": "102", "timestamp": "2026-01-04", "traits": {"email": "shop@x.example"}}');
SELECT cdp.profile('user_id:u-new') -> 'identifiers' AS identifiers;
SELECT reason FROM cdp.why_not_linked('user_id:u-new', 'email:shop@x.example');
SELECT * FROM differences;

-- a pin in it cannot be; nothing is left of one that was tried
SELECT error_of($$SELECT cdp.pin('user_id:u-new', 'anonymous_id:phone-1', 'she called')$$);
SELECT count(*) AS rulings, cdp.profile_id('anonymous_id:phone-1') AS nobody FROM cdp.ruling;
SELECT * FROM differences;

-- blocked, it is no more; and taken back, it is again
SELECT cdp.block_value('shop@x.example', 'email');
SELECT count(*) AS frozen, (SELECT count(DISTINCT profile_id) FROM cdp.identifiers WHERE namespace = 'user_id') AS people FROM cdp.frozen_components;
SELECT * FROM differences;
SELECT cdp.unblock_value('shop@x.example', 'email');
SELECT links FROM cdp.frozen_components;
SELECT * FROM differences;

-- resolved, when it may be: the newest link counts, as if there never had been a cap
RESET cdp.identity_max_component;
SELECT cdp.resolve_frozen();
SELECT count(*) FROM cdp.frozen_components;
SELECT cdp.profile('email:shop@x.example') -> 'identifiers' AS identifiers;
SELECT status, reason, count(*), sum(event_count) AS events FROM cdp.links GROUP BY 1, 2 ORDER BY 1, 2;
SELECT cdp.pin('user_id:u-new', 'anonymous_id:phone-1', 'she called') > 0 AS is_ruled;
SELECT * FROM differences;

\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_identity_frozen;
