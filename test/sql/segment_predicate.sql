-- cdp.predicate: what it reads, what it refuses, what equals what, and what it means.
-- test/t/segment_oracle.py compares its meaning with the specification's oracle on thousands of random cases.
SET timezone = 'UTC';
SET datestyle = 'ISO';
\pset format unaligned
\pset null '(null)'

-- What it reads, and the canonical text it prints
CREATE TEMP TABLE valid (n integer GENERATED ALWAYS AS IDENTITY, literal text);
INSERT INTO valid (literal) VALUES
	($$trait plan = 'pro'$$),
	($$TRAIT plan='pro'$$),
	($$trait plan != 'pro' or trait plan <> 'free'$$),
	($$trait age < 5 and trait age <= 5 and trait age > -5 and trait age >= 0.50$$),
	($$trait vip = true or trait vip = FALSE$$),
	($$trait country in ('DE', 'AT', 1, true)$$),
	($$trait country not in ('DE')$$),
	($$trait age between 18 and 30 and trait age between 'a' and 'b'$$),
	($$trait tags contains 'x' or trait tags contains 5$$),
	($$trait email starts with 'a' and trait email ends with '.com' and trait email matches '^[a-z]+@'$$),
	($$trait email is set and trait email is not set$$),
	($$trait signup within last 30 days or trait renewal within next 1 week$$),
	($$trait "first name" = 'O''Neil' and trait "say ""hi""" is set and trait Straße is set$$),
	($$trait count > 1 and trait not is set and trait within within last 1 day$$),
	($$did('Order Completed')$$),
	($$not did('Refund Requested') within 90 days$$),
	($$count('A') >= 2 within 36 hours$$),
	($$count('A') = 3 between 60 days and 30 days ago$$),
	($$count('A') between 1 and 3 between 1.5 days and 0 days ago$$),
	($$count('A') in (1, 3) since '2026-01-01' or count('A') not in (0) until '2026-01-01T00:00:00Z'$$),
	($$did('A') from '2026-01-01' to '2026-02-01T09:00:00.5+02:00'$$),
	($$did('A') ever$$),
	($$consents to 'marketing'$$),
	($$did('A') and did('B') or did('C') and not did('D')$$),
	($$did('A') and (did('B') or did('C'))$$),
	($$((did('A') and ((did('B') and did('C')))))$$),
	($$not not (did('A') or did('B'))$$),
	($$not (did('A') and did('B')) and did('C')$$),
	($${"trait": "plan", "op": "=", "value": "pro"}$$),
	($${"event": "A"}$$),
	($$ {"all": [{"any": [{"all": [{"event": "A", "agg": "count", "op": ">=", "value": 1}]}]}, {"all": [{"consent": "x"}]}]}$$),
	($${"not": {"event": "A", "op": "<", "value": 2, "window": {"last": "1 day"}}}$$),
	($${"event": "A", "op": "between", "value": [1, 2], "window": {"from": "2 days", "to": "1 day"}}$$),
	($${"any": [{"event": "A", "window": {"since": "2026-01-01", "until": "2026-02-01"}}, {"event": "A", "window": {}}]}$$),
	($${"any": [{"trait": "t", "op": "not_in", "value": ["\u00e9", 1]}, {"trait": "t", "op": "within_next", "value": "2 hours"}]}$$);
SELECT n, literal::cdp.predicate FROM valid ORDER BY n;

-- Canonical text reads as itself, so does JSON; the text of a value is its only form
SELECT count(*) AS valid, count(*) FILTER (WHERE p::text::cdp.predicate = p AND p::text::cdp.predicate::text = p::text) AS text_again,
	count(*) FILTER (WHERE p::jsonb::cdp.predicate = p AND p::jsonb::cdp.predicate::text = p::text) AS json_again,
	count(*) FILTER (WHERE p::jsonb::text::cdp.predicate = p) AS json_as_text_again
FROM (SELECT literal::cdp.predicate AS p FROM valid) v;
SELECT n, literal::cdp.predicate::jsonb FROM valid WHERE n IN (1, 4, 6, 8, 11, 12, 16, 18, 20, 21, 23, 24, 27) ORDER BY n;

-- Binary: a version byte and the text; out through one connection, in through another
SELECT cdp.predicate_send('did(''A'')');
CREATE TABLE segment_binary (n integer, p cdp.predicate);
\setenv PGDATABASE :DBNAME
\copy (SELECT n, literal::cdp.predicate FROM valid) TO PROGRAM 'psql -X -q -c "COPY segment_binary FROM STDIN (FORMAT binary)"' (FORMAT binary)
SELECT count(*) AS read, count(*) FILTER (WHERE p = literal::cdp.predicate AND p::text = literal::cdp.predicate::text) AS same
FROM segment_binary JOIN valid USING (n);
-- what comes in is checked: another version, a text that is no predicate, nothing at all
\set VERBOSITY terse
\copy segment_binary (p) FROM PROGRAM 'printf "PGCOPY\\n\\377\\r\\n\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\1\\0\\0\\0\\5\\2did(\\377\\377"' (FORMAT binary)
\copy segment_binary (p) FROM PROGRAM 'printf "PGCOPY\\n\\377\\r\\n\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\1\\0\\0\\0\\5\\1did(\\377\\377"' (FORMAT binary)
\copy segment_binary (p) FROM PROGRAM 'printf "PGCOPY\\n\\377\\r\\n\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\1\\0\\0\\0\\0\\377\\377"' (FORMAT binary)
\set VERBOSITY default
DROP TABLE segment_binary;

-- What it refuses: SQLSTATE, message, place
CREATE FUNCTION pg_temp.refusal(literal text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	message text; detail text; hint text; state text;
BEGIN
	PERFORM literal::cdp.predicate;
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT, state = RETURNED_SQLSTATE;
	RETURN state || ' ' || message || coalesce(' @' || substring(detail FROM 'character (\d+)'), '')
		|| CASE WHEN hint <> '' THEN ' (hint)' ELSE '' END;
END
$$;
CREATE TEMP TABLE malformed (n integer GENERATED ALWAYS AS IDENTITY, literal text);
INSERT INTO malformed (literal) VALUES
	(''), ('   '), ('trait'), ('trait plan'), ('trait plan ='), ('trait plan ~ 5'), ('plan = 5'), ('trait 5 = 5'), ('trait plan = pro'),
	('trait plan = ''pro'), ('trait "plan = 5'), ('trait "" = 5'), ('trait plan == 5'), ('trait plan = null'), ('trait a in ()'),
	('trait a in (1'), ('trait a in (1,)'), ('trait a between 1'), ('trait a between 1 or 2'), ('trait a starts ''x'''),
	('trait a starts with 5'), ('trait a matches ''('''), ('trait a matches ''a{2,1}'''), ('trait a is'), ('trait a is not 5'),
	('trait a within 5 days'), ('trait a within last 5'), ('trait a within last 2 months'), ('trait a within last 0 days'),
	('did(A)'), ('did(''A'''), ('did('''')'), ('did(''A'') > 5'), ('did(''A'') within 30days'), ('did(''A'') within -1 days'),
	('did(''A'') within 1 year'), ('did(''A'') within 99999999999 days'), ('did(''A'') within 0.0000001 seconds'),
	('did(''A'') between 1 day and 2 days ago'), ('did(''A'') between 2 days and 1 day'), ('did(''A'') since ''yesterday'''),
	('did(''A'') since 5'), ('did(''A'') from ''2026-02-01'' to ''2026-01-01'''), ('count(''A'')'), ('count(''A'') > ''5'''),
	('count(''A'') contains 5'), ('count(''A'') > 1e999'), ('count(''A'') > 5.'), ('consents ''x'''), ('consents to x'),
	('did(''A'') and'), ('did(''A'') did(''B'')'), ('and did(''A'')'), ('(did(''A'')'), ('did(''A''))'), ('not'), ('()'),
	('did(''A'') within 1 day within 1 day'), ('sum(''A''.revenue) > 5'), ('did(''A'') then did(''B'') within 1 hour'),
	('in segment ''x'''), ('did(''A'') within 1 day where (x > 5)'), ('did(''A'') this week'), ('did(''A'') last 7 days'),
	(E'did(''A'') and\n  did(''B'') or\n  oops'), ('did(''é'') ö'), ('did(''A''); drop table x'),
	('{'), ('{}'), ('{"all": []}'), ('{"all": {}}'), ('{"all": [5]}'), ('{"event": 5}'), ('{"event": ""}'), ('{"event": "A", "op": "~"}'),
	('{"event": "A", "op": "contains", "value": 5}'), ('{"event": "A", "value": "5"}'), ('{"event": "A", "agg": "sum"}'),
	('{"event": "A", "where": []}'), ('{"event": "A", "window": {"calendar": "day"}}'), ('{"event": "A", "window": {"last": 5}}'),
	('{"event": "A", "window": {"last": "5"}}'), ('{"event": "A", "window": {"last": "2 months"}}'), ('{"event": "A", "window": []}'),
	('{"event": "A", "window": {"since": 5}}'), ('{"trait": "t"}'), ('{"trait": "t", "op": "="}'), ('{"trait": "t", "op": "=", "value": null}'),
	('{"trait": "t", "op": "=", "value": [1]}'), ('{"trait": "t", "op": "in", "value": 1}'), ('{"trait": "t", "op": "in", "value": []}'),
	('{"trait": "t", "op": "between", "value": [1]}'), ('{"trait": "t", "op": "is_set", "value": 1}'),
	('{"trait": "t", "op": "matches", "value": "["}'), ('{"trait": "t", "op": "starts_with", "value": 1}'),
	('{"consent": "x", "event": "A"}'), ('{"segment": "x"}'), ('{"not": []}');
SELECT n, replace(literal, E'\n', ' ') AS literal, pg_temp.refusal(literal) FROM malformed ORDER BY n;

-- The place of an error, as a person sees it
SELECT E'trait plan = ''pro''\n  and sum(''Order Completed''.revenue) > 500'::cdp.predicate;
SELECT 'did(''A'') within 2 months'::cdp.predicate;
SELECT ('did(''' || repeat('x', 200) || ''') and did(''Ä'') until tomorrow or did(''' || repeat('y', 200) || ''')')::cdp.predicate;
SELECT '[1]'::jsonb::cdp.predicate;

-- Limits: 100 levels, 64 kB as given and as printed; hostile input is refused quickly
SELECT literal, pg_temp.refusal(text) FROM (VALUES
	('100 groups', repeat('(', 100) || 'did(''A'')' || repeat(')', 100)),
	('101 groups', repeat('(', 101) || 'did(''A'')' || repeat(')', 101)),
	('100 nots', repeat('not ', 100) || 'did(''A'')'),
	('101 nots', repeat('not ', 101) || 'did(''A'')'),
	('50 alternating', repeat('did(''A'') and (did(''B'') or (', 50) || 'did(''C'')' || repeat('))', 50)),
	('51 alternating', repeat('did(''A'') and (did(''B'') or (', 51) || 'did(''C'')' || repeat('))', 51)),
	('open groups', repeat('(', 65000)),
	('nots', repeat('not ', 16000)),
	('JSON nots', repeat('{"not":', 5000) || '{"event":"A"}' || repeat('}', 5000)),
	('100 JSON nots', repeat('{"not":', 100) || '{"event":"A"}' || repeat('}', 100)),
	('101 JSON nots', repeat('{"not":', 101) || '{"event":"A"}' || repeat('}', 101)),
	('JSON arrays', repeat('{"all":[', 5000) || '{"event":"A"}' || repeat(']}', 5000)),
	('64 kB', 'did(''' || repeat('x', 65536 - 14) || ''')'),
	('64 kB and 1', 'did(''' || repeat('x', 65536 - 7) || ''')'),
	('longer when printed', 'did(''' || repeat('x', 65536 - 13) || ''')'),
	('3,001 conditions', 'did(''A'')' || repeat(' or did(''A'')', 3000)),
	('long list', 'trait a in (1' || repeat(',1', 20000) || ')'),
	('long number', 'trait a = ' || repeat('9', 101)),
	('wide number', 'trait a = 1e100 or trait a = 1e-100')
) AS v (literal, text);

-- Equal predicates are equal values, whatever they were written as
SELECT x = y AS equal, cdp.predicate_hash(x) = cdp.predicate_hash(y) AS same_hash,
	cdp.predicate_hash_extended(x, 7) = cdp.predicate_hash_extended(y, 7) AS same_hash64, a, b
FROM (VALUES
	('trait plan = ''pro''', ' ( TRAIT "plan"=''pro'')'),
	('did(''A'')', 'count(''A'') >= 1'),
	('did(''A'')', '{"event": "A"}'),
	('did(''A'') ever', 'did(''A'')'),
	('trait n = 1', 'trait n = 1.00'),
	('trait n = 100', 'trait n = 1e2'),
	('did(''A'') within 1 day', 'did(''A'') within 24 hours'),
	('did(''A'') within 1 day', 'did(''A'') within 1.0 days'),
	('did(''A'') within 2 days', 'did(''A'') between 48 hours and 0 seconds ago'),
	('did(''A'') since ''2026-01-01''', 'did(''A'') since ''2026-01-01T01:00:00+01:00'''),
	('did(''A'') and did(''B'') and did(''C'')', '(did(''A'') and (did(''B'') and did(''C'')))'),
	('did(''A'') and did(''B'')', 'did(''B'') and did(''A'')'),
	('did(''A'') and did(''B'')', 'did(''A'') or did(''B'')'),
	('trait n = 1', 'trait n = ''1'''),
	('trait n = ''a''', 'trait n = ''A'''),
	('did(''A'') within 1 day', 'did(''A'')')
) AS v (a, b), CAST(a AS cdp.predicate) AS x, CAST(b AS cdp.predicate) AS y;
SELECT count(*), count(DISTINCT literal::cdp.predicate) FROM valid;
SELECT count(*) FROM (SELECT literal::cdp.predicate FROM valid GROUP BY 1) g;
SELECT bool_and((a.p < b.p) = (b.p > a.p) AND (a.p <= b.p) = NOT (a.p > b.p) AND (a.p = b.p) = (cdp.predicate_cmp(a.p, b.p) = 0)
	AND (a.p <> b.p) = NOT (a.p = b.p) AND (a.p >= b.p) = (a.p > b.p OR a.p = b.p)) AS is_ordered
FROM (SELECT literal::cdp.predicate AS p FROM valid) a, (SELECT literal::cdp.predicate AS p FROM valid) b;

-- What it means. Person, instant, truth and next change are written by hand.
CREATE TEMP TABLE claim (n integer GENERATED ALWAYS AS IDENTITY, predicate cdp.predicate, at timestamptz, holds boolean, next_change timestamptz,
	person jsonb DEFAULT '{"traits": {"plan": "pro", "age": 30, "vip": true, "tags": ["a", 1, null, [2]], "none": null, "address": {},
	"signup": "2026-01-10", "renewal": "2026-02-01T12:00:00Z", "text": "Zoë\nb", "n": "30"}, "consents": ["marketing"],
	"events": [{"t": "2026-01-01T00:00:00Z", "name": "A"}, {"t": "2026-01-02T00:00:00Z", "name": "A"}, {"t": "2026-01-02T00:00:00Z", "name": "A"},
	{"t": "2026-01-05T00:00:00Z", "name": "A"}, {"t": "2026-01-01T12:00:00.000001Z", "name": "B"}, {"t": "2026-01-20T00:00:00Z", "name": "B"}]}');
INSERT INTO claim (predicate, at, holds, next_change) VALUES
	-- traits: kinds must agree; only != is true where they do not
	('trait plan = ''pro''', '2026-01-15', true, 'infinity'), ('trait plan = ''Pro''', '2026-01-15', false, 'infinity'),
	('trait n = 30', '2026-01-15', false, 'infinity'), ('trait n != 30', '2026-01-15', true, 'infinity'),
	('trait age = 30.0', '2026-01-15', true, 'infinity'), ('trait age > 29.999', '2026-01-15', true, 'infinity'),
	('trait age > ''3''', '2026-01-15', false, 'infinity'), ('trait vip = true', '2026-01-15', true, 'infinity'),
	('trait vip != false', '2026-01-15', true, 'infinity'), ('trait vip >= true', '2026-01-15', false, 'infinity'),
	('trait vip = 1', '2026-01-15', false, 'infinity'), ('trait plan < ''q''', '2026-01-15', true, 'infinity'),
	('trait plan between ''a'' and ''pro''', '2026-01-15', true, 'infinity'), ('trait age between 31 and 40', '2026-01-15', false, 'infinity'),
	('trait plan in (''free'', ''pro'')', '2026-01-15', true, 'infinity'), ('trait plan not in (5, ''free'')', '2026-01-15', true, 'infinity'),
	-- a missing one, and null, make everything false, also != and not in, but its absence
	('trait x != 5', '2026-01-15', false, 'infinity'), ('trait x not in (5)', '2026-01-15', false, 'infinity'),
	('not trait x in (5)', '2026-01-15', true, 'infinity'),
	('not trait x = 5', '2026-01-15', true, 'infinity'), ('trait none is set', '2026-01-15', false, 'infinity'),
	('trait none is not set', '2026-01-15', true, 'infinity'), ('trait address is set', '2026-01-15', true, 'infinity'),
	('trait address != 5', '2026-01-15', true, 'infinity'),
	-- strings and lists
	('trait tags contains ''a''', '2026-01-15', true, 'infinity'), ('trait tags contains 1', '2026-01-15', true, 'infinity'),
	('trait tags contains 2', '2026-01-15', false, 'infinity'), ('trait tags starts with ''a''', '2026-01-15', false, 'infinity'),
	('trait text contains ''oë''', '2026-01-15', true, 'infinity'), ('trait text contains ''''', '2026-01-15', true, 'infinity'),
	('trait text starts with ''Zo''', '2026-01-15', true, 'infinity'), ('trait text ends with ''b''', '2026-01-15', true, 'infinity'),
	('trait text ends with ''aZoë b''', '2026-01-15', false, 'infinity'), ('trait age contains 3', '2026-01-15', false, 'infinity'),
	('trait text matches ''^Z''', '2026-01-15', true, 'infinity'), ('trait text matches ''\bb''', '2026-01-15', true, 'infinity'),
	('trait text matches ''[\b]''', '2026-01-15', false, 'infinity'), ('trait age matches ''3''', '2026-01-15', false, 'infinity'),
	-- dates against the clock: (now - D, now] and (now, now + D]
	('trait signup within last 5 days', '2026-01-09', false, '2026-01-10'), ('trait signup within last 5 days', '2026-01-10', true, '2026-01-15'),
	('trait signup within last 5 days', '2026-01-15', false, 'infinity'), ('trait renewal within next 1 day', '2026-01-15', false, '2026-01-31 12:00'),
	('trait renewal within next 1 day', '2026-01-31 12:00', true, '2026-02-01 12:00'), ('trait renewal within next 1 day', '2026-02-01 12:00', false, 'infinity'),
	('trait plan within last 5 days', '2026-01-15', false, 'infinity'), ('trait age within next 5 days', '2026-01-15', false, 'infinity'),
	-- counts: an event in the future counts from its time on
	('did(''A'')', '2025-12-31', false, '2026-01-01'), ('did(''A'')', '2026-01-01', true, 'infinity'), ('did(''C'')', '2026-01-15', false, 'infinity'),
	('count(''A'') <= 3', '2025-12-31', true, '2026-01-05'), ('count(''A'') = 3', '2026-01-01', false, '2026-01-02'),
	('count(''A'') = 3', '2026-01-02', true, '2026-01-05'), ('count(''C'') <= 0', '2026-01-02', true, 'infinity'),
	('count(''A'') > 2.5', '2026-01-02', true, 'infinity'), ('count(''A'') = 2.5', '2026-01-02', false, 'infinity'),
	('count(''A'') != 2.5', '2026-01-02', true, 'infinity'), ('count(''A'') >= -1', '2026-01-02', true, 'infinity'),
	('count(''A'') > 1e100', '2026-01-02', false, 'infinity'), ('count(''A'') between 4 and 3', '2026-01-02', false, 'infinity'),
	-- rolling: (now - D, now]; the microsecond counts
	('did(''B'') within 1 day', '2026-01-02 12:00:00', true, '2026-01-02 12:00:00.000001'),
	('did(''B'') within 1 day', '2026-01-02 12:00:00.000001', false, '2026-01-20'), ('did(''B'') within 1 day', '2026-01-20', true, '2026-01-21'),
	('count(''A'') >= 3 within 2 days', '2026-01-02', true, '2026-01-03'), ('count(''A'') >= 2 within 2 days', '2026-01-03', true, '2026-01-04'),
	('count(''A'') = 2 within 2 days', '2026-01-03', true, '2026-01-04'), ('count(''A'') in (1, 3) within 2 days', '2026-01-02', true, '2026-01-03'),
	('count(''A'') in (0, 3) within 30 days', '2026-01-06', false, '2026-01-31'), ('count(''A'') in (1, 4) within 30 days', '2026-01-31', false, '2026-02-01'),
	-- between: (now - D1, now - D2]
	('did(''A'') between 3 days and 1 day ago', '2026-01-01', false, '2026-01-02'), ('did(''A'') between 3 days and 1 day ago', '2026-01-02', true, '2026-01-05'),
	('count(''A'') = 2 between 3 days and 1 day ago', '2026-01-02', false, '2026-01-04'),
	-- absolute: [since, until)
	('did(''A'') since ''2026-01-05''', '2026-01-04', false, '2026-01-05'), ('did(''A'') since ''2026-01-05''', '2026-01-05', true, 'infinity'),
	('did(''A'') since ''2026-01-05T00:00:00.000001Z''', '2026-01-06', false, 'infinity'), ('count(''A'') = 1 until ''2026-01-02''', '2026-01-06', true, 'infinity'),
	('count(''A'') = 2 from ''2026-01-02'' to ''2026-01-05''', '2026-01-06', true, 'infinity'),
	-- groups wait tightly: a false "and" for the last of its false conditions, a true "or" for the last of its true ones
	('did(''A'') since ''2026-01-05'' and did(''B'') since ''2026-01-20''', '2026-01-01', false, '2026-01-20'),
	('did(''A'') within 1 day or did(''A'') within 3 days', '2026-01-05', true, '2026-01-08'),
	('did(''A'') within 1 day and did(''A'') within 3 days', '2026-01-05', true, '2026-01-06'),
	('did(''C'') and did(''A'') within 1 day', '2026-01-05', false, 'infinity'), ('trait plan = ''pro'' or did(''A'') within 1 day', '2026-01-05', true, 'infinity'),
	('not (did(''A'') within 1 day or did(''C''))', '2026-01-05', false, '2026-01-06'),
	('consents to ''marketing'' and not consents to ''ads''', '2026-01-05', true, 'infinity');
INSERT INTO claim (predicate, at, holds, next_change, person) VALUES
	('did(''A'') or trait x is set or consents to ''x''', '2026-01-05', false, 'infinity', '{}'),
	('not did(''A'')', '2026-01-05', true, 'infinity', '{"events": []}');
SELECT c.n, c.predicate, c.at, e.holds, e.next_change, c.holds AS right_holds, c.next_change AS right_next_change
FROM claim c, cdp.evaluate_predicate(c.predicate, c.person, c.at) e
WHERE (e.holds, e.next_change) IS DISTINCT FROM (c.holds, c.next_change) ORDER BY c.n;
SELECT count(*) AS claims FROM claim;

-- A person must be well-formed, the instant finite; null in, null out
SELECT * FROM cdp.evaluate_predicate('did(''A'')', '[]', '2026-01-01');
SELECT * FROM cdp.evaluate_predicate('did(''A'')', '{"events": [{"t": "secret", "name": "A"}]}', '2026-01-01');
SELECT * FROM cdp.evaluate_predicate('did(''A'')', '{"events": {}}', '2026-01-01');
SELECT * FROM cdp.evaluate_predicate('did(''A'')', '{"traits": 5}', '2026-01-01');
SELECT * FROM cdp.evaluate_predicate('did(''A'')', '{"consents": [5]}', '2026-01-01');
SELECT * FROM cdp.evaluate_predicate('did(''A'')', '{}', 'infinity');
SELECT * FROM cdp.evaluate_predicate('did(''A'')', NULL, '2026-01-01');

-- It is a type like others: indexed, hashed, stored large
CREATE TEMP TABLE stored (p cdp.predicate PRIMARY KEY);
INSERT INTO stored SELECT literal::cdp.predicate FROM valid ON CONFLICT DO NOTHING;
SET enable_seqscan = off;
SELECT p FROM stored WHERE p = 'did(''A'')';
RESET enable_seqscan;
CREATE TEMP TABLE large AS
	SELECT ('trait a in (' || string_agg(i::text, ', ') || ')')::cdp.predicate AS p FROM generate_series(1, 5000) i;
SELECT length(p::text), (cdp.evaluate_predicate(p, '{"traits": {"a": 4999}}', '2026-01-01')).holds FROM large;
