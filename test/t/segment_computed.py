#!/usr/bin/env python3
"""Compare cdp.compute() with a slow oracle on random computed traits and timelines.

usage: segment_computed.py [psql command and arguments]      (default: $PSQL, else psql)
       CASES=1500 SEED=1 in the environment change what is tried.

The database must have the extension; no table is needed.  For each case the database walks from an instant
through every changes_at.  The oracle computes the value at each of these instants and at the microsecond before, and
finds the next change by trying every instant at which an event enters or leaves the window: it must be the very same.
One psql round trip.  Exits 1 with the smallest case on a difference.
"""
import json, os, random, shlex, subprocess, sys
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

BASE = datetime(2026, 1, 1, tzinfo=timezone.utc)
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
MICROSECOND = timedelta(microseconds=1)
STEPS = 12  # changes followed in one case
LIST_MAX = 100

AGGREGATES = ["count", "sum", "avg", "min", "max", "most_frequent", "first", "last", "unique_list", "unique_count"]
UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
NAMES = ["Order Completed", "Order Completed", "A", "it's", "page.viewed"]
PROPERTIES = ["revenue", "revenue", "unit price", 'a"b']
STRINGS = ["EUR", "USD", "", "Zoë", "straße", "10", "a" * 70]
NUMBERS = ["0", "1", "-1", "5", "9.75", "0.1", "100", "1000000", "-2.5", "43.70", "0.0000001", "123456789012345678", "1e30", "-1e30",
           "922337203685.775807", "-0.000001"]


def instant(r):
    """A time within some days of BASE: often one of few, so that events stand on the borders of windows."""
    t = BASE + timedelta(hours=r.randrange(-6 * 24, 10 * 24, r.choice([12, 12, 1])))
    return t if r.random() < 0.7 else t + timedelta(microseconds=r.choice([1, -1, r.randrange(10**9)]))


def iso(t):
    return t.isoformat().replace("+00:00", "Z")


def duration(r):
    n, unit = r.choice([("1", "hour"), ("2", "hour"), ("30", "minute"), ("1", "day"), ("2", "day"), ("3", "day"), ("1", "week"),
                        ("90", "second"), ("36", "hour"), ("1.5", "day"), ("30", "day")])
    return f"{n} {unit}{'' if n == '1' else 's'}", timedelta(seconds=float(n) * UNITS[unit])


def window(r):
    """-> its text, how long after it an event counts, until when, and which instants are in it at all"""
    kind = r.choice(["", "ever", "within", "within", "within", "between", "between", "since", "until", "range"])
    (a, near), (b, far) = sorted([duration(r), duration(r)], key=lambda d: d[1])
    since, until = sorted([instant(r), instant(r)])
    if kind == "within":
        return f" within {b}", timedelta(0), far, None, None
    if kind == "between" and near < far:
        return f" between {b} and {a} ago", near, far, None, None
    if kind == "since":
        return f" since '{iso(since)}'", timedelta(0), None, since, None
    if kind == "until":
        return f" until '{iso(until)}'", timedelta(0), None, None, until
    if kind == "range" and since < until:
        return f" from '{iso(since)}' to '{iso(until)}'", timedelta(0), None, since, until
    return " ever" if kind == "ever" else "", timedelta(0), None, None, None


def name_text(r, name, quote):
    """A name in quotes, or as it is where it may be."""
    if any(c in name for c in "'\"().") or name != name.strip() or r.random() < 0.5:
        return quote + name.replace(quote, quote * 2) + quote
    return name


def make_case(r):
    aggregate, name, prop = r.choice(AGGREGATES), r.choice(NAMES), r.choice(PROPERTIES)
    if aggregate in ("count", "first", "last") and r.random() < 0.3:
        prop = None
    text, *bounds = window(r)
    subject = name_text(r, name, "'") + ("" if prop is None else "." + name_text(r, prop, r.choice("'\"")))
    definition = f"{r.choice([aggregate, aggregate.upper()])}({subject}){text}"
    canonical = f"{aggregate}('{name.replace(chr(39), chr(39) * 2)}'" + \
        ("" if prop is None else "." + (prop if prop.isidentifier() else '"' + prop.replace('"', '""') + '"')) + ")" + text.replace(" ever", "")
    times = [instant(r) for _ in range(r.choice([1, 3, 8, 20]))]
    pool = r.choice([[json.dumps(s) for s in STRINGS], NUMBERS, NUMBERS, NUMBERS + [json.dumps(s) for s in STRINGS] + ["true", "false"],
                     [str(i) for i in range(130)]])
    if r.random() < 0.3:
        pool = r.sample(pool, min(len(pool), 3))
    events = []
    for _ in range(r.choice([0, 2, 5, 12, 30, 30]) if len(pool) < 100 else 160):
        properties = {p: r.choice(pool) for p in {prop or "x", r.choice(PROPERTIES)} if r.random() < 0.85}
        events.append((r.choice(times), name if r.random() < 0.8 else r.choice(NAMES), properties))
    return {"definition": definition, "canonical": canonical, "aggregate": aggregate, "name": name, "property": prop, "bounds": bounds,
            "events": events, "at": min(instant(r), instant(r))}


# --- the oracle ---

def value_key(v):
    """Booleans, strings by bytes (code points), numbers."""
    return (0, v) if isinstance(v, bool) else (1, v) if isinstance(v, str) else (2, v)


def facts_of(case):
    """(instant, value) of what counts, in any order"""
    for at, name, properties in case["events"]:
        if name != case["name"]:
            continue
        if case["property"] is None:
            yield at, None
        elif case["property"] in properties:
            v = json.loads(properties[case["property"]], parse_float=Decimal, parse_int=Decimal)
            v = v if isinstance(v, (bool, str)) else Fraction(v)
            if case["aggregate"] in ("sum", "avg") and not isinstance(v, Fraction):
                continue
            if case["aggregate"] in ("min", "max") and isinstance(v, bool):
                continue
            yield at, v


def value_at(case, facts, now):
    delay, expiry, since, until = case["bounds"]
    inside = [(t, v) for t, v in facts if t + delay <= now and (expiry is None or now < t + expiry)
              and (since is None or since <= t) and (until is None or t < until)]
    values = [v for _, v in inside]
    aggregate = case["aggregate"]
    if aggregate == "count":
        return Fraction(len(values))
    if aggregate == "sum":
        return sum(values, Fraction(0))
    distinct = [v for _, v in sorted({value_key(v) for v in values})] if case["property"] is not None else []
    if aggregate == "unique_count":
        return Fraction(len(distinct))
    if aggregate == "unique_list":
        return distinct[:LIST_MAX]
    if not inside:
        return None
    if aggregate == "avg":
        return sum(values, Fraction(0)) / len(values)
    if aggregate in ("min", "max"):
        best = max(value_key(v)[0] for v in values)
        of_type = [v for v in values if value_key(v)[0] == best]
        return min(of_type) if aggregate == "min" else max(of_type)
    if aggregate == "most_frequent":
        return max(distinct, key=lambda d: (sum(value_key(v) == value_key(d) for v in values),
                                            max(t for t, v in inside if value_key(v) == value_key(d)), value_key(d)))
    at = (min if aggregate == "first" else max)(t for t, _ in inside)
    if case["property"] is None:
        return iso(at)[:-1].rstrip("0").rstrip(".") + "Z" if at.microsecond else iso(at)
    return max((v for t, v in inside if t == at), key=value_key)


def next_change(case, facts, now):
    delay, expiry, _, _ = case["bounds"]
    value = value_at(case, facts, now)
    steps = {t + delay for t, _ in facts} | ({t + expiry for t, _ in facts} if expiry is not None else set())
    return next((t for t in sorted(steps) if t > now and not is_same(value_at(case, facts, t), value)), None)


def is_same(a, b):
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(is_same(x, y) for x, y in zip(a, b))
    return a is b if a is None or b is None else value_key(a) == value_key(b)


def read_value(text, aggregate):
    def exact(v):
        return [exact(x) for x in v] if isinstance(v, list) else Fraction(v) if isinstance(v, Decimal) else v
    if text is None:
        return None
    return exact(json.loads(text, parse_float=Decimal, parse_int=Decimal))


def agrees(case, ours, theirs):
    if case["aggregate"] == "avg" and theirs is not None and ours is not None:
        return abs(ours - theirs) <= max(abs(theirs), Fraction(1, 10**3)) / 10**13
    return is_same(ours, theirs)


# --- the database ---

SCRIPT = r"""\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE TEMP TABLE one_case (n integer, definition text, events jsonb, at timestamptz);
COPY one_case FROM STDIN;
%s
\.
CREATE TEMP TABLE walk AS
WITH RECURSIVE read AS MATERIALIZED (
	SELECT c.n, c.definition, c.at, (SELECT cdp.timeline_agg(e ->> 'name', (e ->> 't')::timestamptz, e -> 'properties')
		FROM jsonb_array_elements(c.events) e) AS timeline
	FROM one_case c
),
walk AS (
	SELECT r.n, 0 AS step, r.at, e.value, e.changes_at, r.definition, r.timeline
	FROM read r, cdp.compute(r.definition, r.timeline, r.at) e
	UNION ALL
	SELECT w.n, w.step + 1, w.changes_at, e.value, e.changes_at, w.definition, w.timeline
	FROM walk w, cdp.compute(w.definition, w.timeline, w.changes_at) e
	WHERE w.changes_at < 'infinity' AND w.step < STEPS
)
SELECT * FROM walk;
COPY (
	SELECT w.n, w.step, (extract(epoch FROM w.at) * 1000000)::bigint, w.value,
		CASE WHEN w.changes_at < 'infinity' THEN (extract(epoch FROM w.changes_at) * 1000000)::bigint END,
		CASE WHEN w.changes_at < 'infinity' THEN
			(cdp.compute(w.definition, w.timeline, w.changes_at - interval '1 microsecond')).value END,
		r.canonical, (cdp.read_computation(r.canonical)).canonical
	FROM walk w, cdp.read_computation(w.definition) r ORDER BY w.n, w.step
) TO STDOUT;
"""


def copy_text(value):
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")


def event_json(event):
    at, name, properties = event
    return f'{{"t": "{iso(at)}", "name": {json.dumps(name)}, "properties": {{' + \
        ", ".join(f"{json.dumps(p)}: {v}" for p, v in properties.items()) + "}}"


def ask_database(command, cases):
    rows = ["\t".join([str(i), copy_text(c["definition"]), copy_text("[" + ", ".join(map(event_json, c["events"])) + "]"), iso(c["at"])])
            for i, c in enumerate(cases)]
    script = SCRIPT.replace("STEPS", str(STEPS)).replace("%s", "\n".join(rows))
    done = subprocess.run(command + ["-X", "-q", "-f", "-"], input=script, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"psql failed:\n{done.stderr[:4000]}")
    for line in done.stdout.splitlines():
        f = [None if v == "\\N" else v.replace("\\\\", "\\") for v in line.split("\t")]
        time = lambda v: None if v is None else EPOCH + timedelta(microseconds=int(v))
        yield int(f[0]), int(f[1]), time(f[2]), f[3], time(f[4]), f[5], f[6], f[7]


def check_step(case, row):
    """-> what differs, or None"""
    _, _, at, value, changes_at, before, canonical, again = row
    facts = list(facts_of(case))
    ours, theirs = read_value(value, case["aggregate"]), value_at(case, facts, at)
    if canonical != case["canonical"] or again != canonical:
        return f"its canonical text is {canonical}, and of that {again}"
    if not agrees(case, ours, theirs):
        return f"at {iso(at)} the oracle says {theirs}"
    if changes_at != next_change(case, facts, at):
        return f"after {iso(at)} the oracle sees it change at {next_change(case, facts, at)}"
    if changes_at is not None and not agrees(case, read_value(before, case["aggregate"]), theirs):
        return f"1 microsecond before {iso(changes_at)} it differs"
    return None


def main():
    command = sys.argv[1:] or shlex.split(os.environ.get("PSQL", "psql"))
    n, seed = int(os.environ.get("CASES", 1500)), int(os.environ.get("SEED", 1))
    r = random.Random(seed)
    cases = [make_case(r) for _ in range(n)]
    failures, steps, changes, seen = [], 0, 0, set()
    for row in ask_database(command, cases):
        case = cases[row[0]]
        problem = check_step(case, row)
        seen.add(row[0])
        steps, changes = steps + 1, changes + (row[4] is not None)
        if problem:
            failures.append((len(case["events"]), problem, case, row))
    if len(seen) != n:
        sys.exit(f"the database answered {len(seen)} of {n} cases")
    if failures:
        _, problem, case, row = min(failures, key=lambda f: f[0])
        print(f"FAILED: {len(failures)} of {steps} steps differ; the smallest: {problem}\n  definition {case['definition']}\n"
              f"  events     [{', '.join(map(event_json, case['events']))}]\n"
              f"  database   {row[3]} at {iso(row[2])}, changes at {row[4]}")
        sys.exit(1)
    print(f"ok: {n} cases, {steps} steps, {changes} changes (seed {seed})")


if __name__ == "__main__":
    main()
