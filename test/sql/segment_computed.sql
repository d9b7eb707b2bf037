-- Computed traits: the language, what each aggregate is and when it changes; kept current by messages, time, merges and definitions.
-- test/t/segment_computed.py compares values and instants with a slow oracle on thousands of random cases.
\set VERBOSITY terse
\setenv PGTZ UTC
\setenv PGDATESTYLE ISO
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_segment_computed;
CREATE DATABASE regress_segment_computed TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE regress_segment_computed SET lc_messages = 'C';
ALTER DATABASE regress_segment_computed SET jit = off;
ALTER DATABASE regress_segment_computed SET client_min_messages = warning;
\c regress_segment_computed
CREATE EXTENSION cdp;
\pset format unaligned
\pset null '(null)'
CREATE FUNCTION error_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	hint text;
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' | ', SQLSTATE || ' ' || SQLERRM, nullif(translate(detail, E'\n', ' '), ''), nullif(hint, ''));
END
$$;

-- What it reads, and the canonical text it prints
CREATE TABLE valid (n integer GENERATED ALWAYS AS IDENTITY, definition text);
INSERT INTO valid (definition) VALUES
	('count(Order Completed)'), ('  COUNT ( Order Completed ) EVER '), ('sum(Order Completed.revenue) within 90 days'), ('sum(''Order Completed''.revenue)'),
	('avg(Order Completed.''revenue'') between 60 days and 30 days ago'), ('min(a-b . c d) since ''2026-01-01'''), ('max("it''s"."say ""hi""") until ''2026-01-01T09:00:00Z'''),
	('most_frequent(''order.completed''.currency) from ''2026-01-01'' to ''2026-02-01'''), ('first($pageview)'), ('last(within.last) within 1.5 days'),
	('unique_list(Straße.größe)'), ('unique_count(Signed In.to)');
SELECT n, r.* FROM valid, cdp.read_computation(definition) r ORDER BY n;
SELECT count(*) FILTER (WHERE (cdp.read_computation(r.canonical)).canonical = r.canonical) AS same, count(*) FROM valid, cdp.read_computation(definition) r;

-- What it refuses, and says
SELECT d AS definition, error_of(format('SELECT cdp.read_computation(%L)', d)) FROM unnest(ARRAY[
	'', 'total(a.b)', 'sum', 'sum a.b', 'sum(a)', 'most_frequent(''a'')', 'sum(a.b.c)', 'sum(a.)', 'sum(.a)', 'sum()', 'sum(''a)', 'sum(a.b', 'sum(a.b))',
	'sum('''' .b)', 'sum(a."")', 'sum(a.b) >= 3', 'sum(a.b) within 3 months', 'sum(a.b) within 0 days', 'sum(a.b) between 1 day and 2 days ago',
	'sum(a.b) from ''2026-02-01'' to ''2026-01-01''', 'sum(a.b) since ''soon''', 'sum(a.b) within 1 fortnight', 'sum(a.b); DROP TABLE x', 'count(a) and count(b)',
	'did(''a'')', E'sum(a\nb.c)']) WITH ORDINALITY x (d, n) ORDER BY n;
SELECT error_of(format('SELECT cdp.read_computation(%L)', 'count(' || repeat('x', 1992) || ')')) AS long_name, error_of(format('SELECT cdp.read_computation(%L)', 'count(' || repeat('x', 5000) || ')')) AS longer;
SELECT cdp.read_computation(NULL);

-- What each aggregate is: of five orders, one of them in the future
CREATE FUNCTION shop() RETURNS cdp.timeline LANGUAGE sql AS $$
	SELECT cdp.timeline_agg(name, at::timestamptz, properties::jsonb) FROM (VALUES
		('Order', '2026-01-01T00:00Z', '{"total": 10, "currency": "EUR", "gift": true}'), ('Order', '2026-01-02T00:00Z', '{"total": 32.50, "currency": "USD", "gift": false}'),
		('Order', '2026-01-03T00:00Z', '{"total": "free", "currency": "EUR"}'), ('Order', '2026-01-04T00:00Z', '{"currency": "USD", "gift": true}'),
		('Order', '2026-01-09T00:00Z', '{"total": 0.07, "currency": "CHF"}'), ('View', '2026-01-03T12:00Z', '{"total": 1000}')) v (name, at, properties)
$$;
SELECT d AS definition, c.* FROM unnest(ARRAY[
	'count(Order)', 'count(Order.total)', 'count(Order) within 2 days', 'count(Order) between 3 days and 1 day ago', 'count(Order) since ''2026-01-02''',
	'count(Order) from ''2026-01-02'' to ''2026-01-04''', 'count(Order) until ''2026-01-02''',
	'sum(Order.total)', 'sum(Order.total) within 3 days', 'avg(Order.total)', 'avg(Order.total) within 3 days', 'min(Order.total)', 'min(Order.total) within 2 days', 'max(Order.total)',
	'max(Order.currency) within 4 days', 'min(Order.gift)', 'most_frequent(Order.currency)', 'most_frequent(Order.currency) within 3 days', 'most_frequent(Order.gift)', 'first(Order)', 'first(Order.total) within 2 days', 'last(Order)',
	'last(Order.total)', 'unique_list(Order.total)', 'unique_list(Order.gift)', 'unique_list(Order.currency) within 30 days', 'unique_count(Order.currency)']) WITH ORDINALITY x (d, n),
	cdp.compute(d, shop(), '2026-01-04T12:00Z') c ORDER BY n;
-- of nothing what adds up is 0, a list is empty, and all else is not there
SELECT d AS definition, c.value AS of_another_event, n.value AS of_no_timeline, n.changes_at FROM unnest(ARRAY['count(X)', 'count(X.y)', 'sum(X.y)', 'avg(X.y)', 'min(X.y)', 'max(X.y)', 'most_frequent(X.y)',
	'first(X)', 'last(X.y)', 'unique_list(X.y)', 'unique_count(X.y)']) WITH ORDINALITY x (d, o), cdp.compute(d, shop(), '2026-01-04T12:00Z') c, cdp.compute(d, NULL, '2026-01-04T12:00Z') n ORDER BY o;
SELECT cdp.compute(NULL, shop(), now()), cdp.compute('count(X)', shop(), NULL);
SELECT error_of($$SELECT cdp.compute('count(X)', shop(), 'infinity')$$) AS infinity, error_of($$SELECT cdp.compute('count X', shop(), '2026-01-01')$$) AS no_definition;
-- ties: of equally frequent ones the later, at one instant the larger; values order as booleans, strings, numbers
SELECT d AS definition, c.value FROM unnest('{most_frequent(T.v),first(T.v),last(T.v),unique_list(T.v),min(T.v),max(T.v)}'::text[]) WITH ORDINALITY x (d, n),
	(SELECT cdp.timeline_agg('T', at::timestamptz, jsonb_build_object('v', v::jsonb)) AS t FROM (VALUES ('2026-01-01Z', '"b"'), ('2026-01-01Z', '2'), ('2026-01-01Z', '"a"'),
		('2026-01-03Z', 'true'), ('2026-01-03Z', '"é"'), ('2026-01-03Z', '-2'), ('2026-01-03Z', '10'), ('2026-01-02Z', '10.0'), ('2026-01-02Z', '2')) v (at, v)) t,
	cdp.compute(d, t, '2026-02-01') c ORDER BY n;
-- exact sums, from the smallest to the largest; one of more than 1,000 digits is none
SELECT c.value, (c.value #>> '{}')::numeric = s.exact AS is_exact FROM (SELECT cdp.timeline_agg('T', '2026-01-01Z'::timestamptz + n * interval '1 second', jsonb_build_object('v', v)) AS t, sum(v) AS exact
	FROM (SELECT n, (ARRAY[0.1, 0.2, 999999999999.999999, 9e17, -1e-9, 1e30, 123456789.123456789])[1 + n % 7] AS v FROM generate_series(1, 700) n) x) s, cdp.compute('sum(T.v)', t, '2026-02-01') c;
SELECT c.value FROM (SELECT cdp.timeline_agg('T', '2026-01-01Z'::timestamptz + n * interval '1 hour', jsonb_build_object('v', v)) AS t FROM unnest('{1e30,0.0000000000001,2,4,5}'::numeric[]) WITH ORDINALITY x (v, n)) s,
	unnest(ARRAY['sum(T.v)', 'avg(T.v)', 'avg(T.v) within 3 hours', 'sum(T.v) within 4 hours']) d, cdp.compute(d, t, '2026-01-01T05:00Z') c;
SELECT c.value IS NULL AS has_too_many_digits, c.changes_at FROM (SELECT cdp.timeline_agg('T', '2026-01-01Z'::timestamptz + n * interval '1 hour', '{"v": 9e999}') AS t FROM generate_series(1, 2) n) s,
	cdp.compute('sum(T.v) within 1 day', t, '2026-01-01T05:00Z') c;
-- a list shows the 100 smallest, and changes when they do
SELECT jsonb_array_length(c.value) AS n, c.value -> 0 AS first, c.value -> 99 AS last, u.value AS unique_count, c.changes_at AS list_changes_at, u.changes_at AS count_changes_at FROM (
	SELECT cdp.timeline_agg('T', '2026-01-01Z'::timestamptz + (300 - n) * interval '1 minute', jsonb_build_object('v', n)) AS t FROM generate_series(1, 150) n) s,
	cdp.compute('unique_list(T.v) within 1 day', t, '2026-01-01T06:00Z') c, cdp.compute('unique_count(T.v) within 1 day', t, '2026-01-01T06:00Z') u;

-- Kept current
SELECT cdp.init();
SET cdp.clock = '2026-03-01T00:00:00Z';
CREATE FUNCTION says(who text, what jsonb, at timestamptz, message_id text) RETURNS bigint LANGUAGE sql AS $$
	SELECT events FROM cdp.ingest(jsonb_build_object('userId', who, 'type', 'track', 'timestamp', at, 'messageId', message_id) || what)
$$;
CREATE FUNCTION orders(who text, revenue numeric, at timestamptz, message_id text) RETURNS bigint LANGUAGE sql AS $$
	SELECT says(who, jsonb_build_object('event', 'Order Completed', 'properties', jsonb_build_object('revenue', revenue)), at, message_id)
$$;
CREATE VIEW people AS SELECT (SELECT min(value) FROM cdp.identifiers i WHERE i.profile_id = p.profile_id AND namespace = 'user_id') AS who, traits,
	(SELECT string_agg(segment, ', ' ORDER BY segment) FROM cdp.members m WHERE m.profile_id = p.profile_id) AS segments,
	(SELECT due_at FROM cdp.due d WHERE d.profile_id = p.profile_id) AS due_at FROM cdp.profiles p WHERE entity = 'person' ORDER BY 1;
CREATE VIEW wrong AS SELECT coalesce(string_agg(part, ', '), 'nothing') AS wrong FROM cdp.verify() WHERE differences > 0;
-- before there is any, nothing is kept, also of what the log knows
SELECT orders('ada', 60.5, '2026-02-20T00:00Z', 'ada-1'), orders('ada', 10, '2026-02-25T00:00Z', 'ada-2'), orders('bob', 5, '2026-02-01T00:00Z', 'bob-1');
SELECT * FROM people;
-- the past counts, and the property is carried along from now on
SELECT cdp.create_trait('revenue', computed => 'sum(Order Completed.revenue) within 10 days'), cdp.create_trait('orders', computed => 'count(Order Completed)'),
	cdp.create_trait('last_order_at', computed => 'last(Order Completed)');
SELECT name, rule, computed FROM cdp.trait ORDER BY name;
SELECT * FROM cdp.property;
SELECT * FROM people;
SELECT cdp.create_segment('spends', $$trait revenue >= 50$$), cdp.create_segment('was there', $$trait last_order_at within last 30 days$$);
SELECT * FROM people;
SELECT * FROM wrong;
-- a message, a late one, one of no concern, one in the future, one that says what is computed
SELECT orders('bob', 45, '2026-02-28T00:00Z', 'bob-2'), orders('bob', 5.01, '2026-02-24T00:00Z', 'bob-3');
SELECT says('bob', '{"event": "Order Viewed", "properties": {"revenue": 1000}}', '2026-02-28T00:00Z', 'bob-4'), orders('bob', 1, '2026-03-01T00:04Z', 'bob-5');
SELECT says('bob', '{"type": "identify", "traits": {"revenue": 999, "name": "Bob"}}', '2026-02-28T00:00Z', 'bob-6');
SELECT * FROM people;
SELECT source, trait, message_count FROM cdp.refused_values;
SELECT cdp.profile('user_id:bob') -> 'traits' AS traits;
SELECT value, occurred_at, source, anchor, message_id, verdict FROM cdp.explain_trait(cdp.profile_id('user_id:bob'), 'revenue');
SELECT * FROM wrong;
-- time: each at its very instant; in between nothing, and no look in vain
SELECT cdp.advance_to('2026-03-01T00:03:59.999999Z');
SELECT traits FROM people WHERE who = 'bob';
SELECT cdp.advance_to('2026-03-01T00:04Z');
SELECT traits FROM people WHERE who = 'bob';
SELECT cdp.advance_to('2026-03-01T23:59:59.999999Z');
SELECT * FROM people;
SELECT cdp.matches(cdp.profile_id('user_id:ada'), $$trait revenue > 10$$, '2026-03-01T23:59:59.999999Z') AS just_before, cdp.matches(cdp.profile_id('user_id:ada'), $$trait revenue > 10$$, '2026-03-02T00:00Z') AS at_once;
SELECT cdp.advance_to('2026-03-02T00:00Z');
SELECT * FROM people;
SELECT cdp.advance_to('2026-05-01T00:00Z');
SELECT * FROM people;
SELECT (SELECT min(value) FROM cdp.identifiers i WHERE i.profile_id = m.profile_id AND namespace = 'user_id') AS who, segment, change, effective_at, cause FROM cdp.membership_change m ORDER BY effective_at, 1, segment, change;
SELECT at, kind, data -> 'traits' AS traits, data ->> 'segment' AS segment, data ->> 'effective_at' AS effective_at FROM cdp.changes WHERE profile_id = cdp.profile_id('user_id:ada') ORDER BY change_id;
SELECT * FROM wrong;
-- cdp.process() lets overdue timers go off too
SELECT orders('ada', 70, '2026-05-01T00:00Z', 'ada-3');
SET cdp.clock = '2026-05-20T00:00:00Z';
SELECT who, traits -> 'revenue' AS overdue FROM people WHERE who = 'ada';
SELECT entered, exited FROM cdp.process();
SELECT who, traits -> 'revenue' AS revenue FROM people WHERE who = 'ada';

-- A merge adds up, a split takes apart, a retraction takes back
SELECT says('ada', '{"type": "identify", "anonymousId": "web", "traits": {}}', '2026-05-19T00:00Z', 'ada-4');
SELECT events FROM cdp.ingest('{"type": "track", "event": "Order Completed", "anonymousId": "till", "timestamp": "2026-05-19T00:00Z", "messageId": "till-1", "properties": {"revenue": 7}}');
SELECT * FROM people;
SELECT events FROM cdp.ingest('{"type": "identify", "userId": "ada", "anonymousId": "till", "timestamp": "2026-05-19T01:00Z", "messageId": "till-2"}');
SELECT * FROM people;
SELECT count(*) AS of_merged_away FROM cdp.profile WHERE merged_into IS NOT NULL AND computed IS NOT NULL;
SELECT * FROM wrong;
SELECT count(*) FROM (SELECT cdp.retract(message_id => 'till-2', source => 'default', reason => 'a till is nobody')) r;
SELECT * FROM people;
SELECT count(*) FROM (SELECT cdp.retract(message_id => 'ada-3', source => 'default', reason => 'a test')) r;
SELECT * FROM people;
SELECT * FROM wrong;

-- A steward's lock goes before
SELECT cdp.lock_trait('user_id:ada', 'orders', '77', 'told so') > 0 AS locked;
SELECT cdp.profile('user_id:ada') -> 'traits' -> 'orders' AS orders;
SELECT value, occurred_at IS NULL AS is_computed, verdict FROM cdp.explain_trait(cdp.profile_id('user_id:ada'), 'orders');
SELECT cdp.matches(cdp.profile_id('user_id:ada'), 'trait orders = 77');
SELECT count(cdp.undo(ruling_id)) FROM cdp.ruling WHERE kind = 'lock';
SELECT cdp.profile('user_id:ada') -> 'traits' -> 'orders' AS orders;

-- Purposes show them
SELECT cdp.create_purpose('mail', '{mail}');
SELECT says('ada', '{"event": "Seen", "context": {"consent": {"categoryPreferences": {"mail": true}}}}', '2026-05-19T00:00Z', 'ada-5');
SELECT traits FROM cdp.for_mail;

-- Definitions: again, another, of what was said, and gone
SELECT cdp.create_trait('orders', computed => 'count( Order Completed ) ever'), (SELECT max(change_id) FROM cdp.changes) AS last_change \gset
SELECT count(*) AS changes FROM cdp.changes WHERE change_id > :last_change;
SELECT cdp.create_trait('orders', computed => 'unique_count(Order Completed.revenue)');
SELECT cdp.create_trait('name', computed => 'first(Order Completed.revenue)');
SELECT * FROM people;
SELECT * FROM wrong;
SELECT cdp.create_trait('name', 'earliest');
SELECT * FROM people;
SELECT cdp.drop_trait('orders');
SELECT * FROM people;
SELECT d AS statement, error_of(d) FROM unnest(ARRAY[
	$$SELECT cdp.create_trait('x', computed => 'sum(a)')$$, $$SELECT cdp.create_trait('x', 'highest', computed => 'count(a)')$$, $$SELECT cdp.create_trait('x', minimum => 3, computed => 'count(a)')$$,
	$$SELECT cdp.create_trait('x', 'computed')$$, $$SELECT cdp.create_trait('', computed => 'count(a)')$$, $$SELECT cdp.drop_property('revenue', 'Order Completed')$$,
	$$INSERT INTO cdp.trait (name, rule) VALUES ('x', 'computed')$$, $$INSERT INTO cdp.trait (name, computed) VALUES ('x', 'count(a)')$$]) WITH ORDINALITY x (d, n) ORDER BY n;
SELECT cdp.drop_trait('revenue'), cdp.drop_trait('last_order_at');
SELECT cdp.drop_property('revenue', 'Order Completed');
SELECT * FROM people;
SELECT count(*) AS computed FROM cdp.profile WHERE computed IS NOT NULL;
SELECT * FROM wrong;
-- one that is declared for all events serves
SELECT cdp.create_property('revenue'), cdp.create_trait('revenue', computed => 'max(Order Completed.revenue)');
SELECT * FROM cdp.property;
SELECT who, traits FROM people;
SELECT * FROM wrong;
-- cdp.init() again changes nothing
SELECT cdp.init();
SELECT who, traits FROM people;
\c postgres
SET client_min_messages = warning;
DROP DATABASE regress_segment_computed;
