#!/usr/bin/env python3
"""Compare the evaluator of segments with the oracle on random predicates and people.

usage: segment_oracle.py [psql command and arguments]      (default: $PSQL, else psql)
       CASES=2000 SEED=1 in the environment change what is tried.

The database must have the extension; no table is needed.  For each case the database walks from an instant
through every next_change; at each step this script asks the oracle for the truth at the instant, 1 microsecond
before and after the next change, and at random instants in between, which must not differ from the step's.
One psql round trip.  Exits 1 with the smallest case on a difference.
"""
import importlib.util, json, os, random, shlex, subprocess, sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
BASE = datetime(2026, 1, 1, tzinfo=timezone.utc)
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
MICROSECOND = timedelta(microseconds=1)
STEPS = 16  # next changes followed in one case

STRINGS = ["pro", "free", "", "O'Neil", "Zoë", "straße", "DE", "a%b", "x.y@example.com", "100", "pr", "\\d"]
NUMBERS = [0, 1, -1, 5, 9.75, 0.1, 100, 1e6, 3, -2.5]
PATTERNS = ["^p", "o$", "^[a-z]+$", r"\d+", "pro|free", r"@example\.com$", "^$", r"\bpro\b", "[A-Z]{2}", "(a|e).?e", r"^\w+$"]
DATES = ["2026-01-05", "2026-01-03T10:00:00Z", "2026-01-04T12:30:00.123456+02:00", "2025-12-20", "2026-02-01T00:00:00Z", "soon", 5]
COMPARISONS = ["=", "!=", "<", "<=", ">", ">="]
UNITS = ["second", "minute", "hour", "day", "week"]


def load_oracle():
    spec = importlib.util.spec_from_file_location("segments", SHARED / "oracles" / "segments.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def instant(r):
    """A time within some days of BASE: often one of few, so that events stand on the borders of windows."""
    t = BASE + timedelta(hours=r.randrange(-6 * 24, 10 * 24, r.choice([12, 12, 1])))
    return t if r.random() < 0.7 else t + timedelta(microseconds=r.choice([1, -1, r.randrange(10**9)]))


def iso(t):
    return t.isoformat().replace("+00:00", "Z")


def duration(r):
    n, unit = r.choice([(1, "hour"), (2, "hour"), (30, "minute"), (1, "day"), (2, "day"), (3, "day"), (7, "day"), (1, "week"),
                        (90, "second"), (36, "hour"), (1.5, "day"), (30, "day")])
    return f"{n} {unit}{'' if n == 1 else 's'}"


def window(r, oracle):
    kind = r.choice(["none", "last", "last", "last", "between", "between", "since", "until", "range"])
    if kind == "last":
        return {"last": duration(r)}
    if kind == "between":
        a, b = sorted([duration(r), duration(r)], key=oracle.span)
        return {"from": b, "to": a} if oracle.span(a) < oracle.span(b) else {"last": a}
    a, b = sorted([instant(r), instant(r)])
    return {"since": {"since": iso(a)}, "until": {"until": iso(b)}, "range": {"since": iso(a), "until": iso(b)}}.get(kind) \
        if a < b or kind != "range" else {"since": iso(a)}


def scalar(r):
    return r.choice([r.choice(STRINGS), r.choice(NUMBERS), r.choice([True, False])])


def trait_leaf(r):
    kind = r.randrange(10)
    name = r.choice(["plan", "age", "active", "tags", "signup", "missing", "nothing", "address"])
    if kind == 0:
        return {"trait": name, "op": r.choice(["is_set", "is_not_set"])}
    if kind <= 2:
        return {"trait": r.choice(["signup", name]), "op": r.choice(["within_last", "within_next"]), "value": duration(r)}
    if kind == 3:
        return {"trait": name, "op": r.choice(["in", "not_in"]), "value": [scalar(r) for _ in range(r.randrange(1, 4))]}
    if kind == 4:
        pool = r.choice([STRINGS, NUMBERS])
        return {"trait": name, "op": "between", "value": [r.choice(pool), r.choice(pool)]}
    if kind == 5:
        return {"trait": name, "op": r.choice(["starts_with", "ends_with"]), "value": r.choice(STRINGS)}
    if kind == 6:
        return {"trait": name, "op": "matches", "value": r.choice(PATTERNS)}
    if kind == 7:
        return r.choice([{"trait": "tags", "op": "contains", "value": scalar(r)}, {"trait": name, "op": "contains", "value": r.choice(STRINGS)}])
    like = {"age": NUMBERS, "plan": STRINGS, "active": [True, False]}.get(name)  # of the same kind, mostly
    return {"trait": name, "op": r.choice(COMPARISONS), "value": r.choice(like) if like and r.random() < 0.8 else scalar(r)}


def count_leaf(r, oracle):
    leaf = {"event": r.choice(["A", "B", "C", "Order Completed", "it's"])}
    kind = r.randrange(6)
    small = [0, 1, 2, 3, 5, 1.5, -1]
    if kind == 1:
        leaf.update(agg="count", op="between", value=sorted([r.choice(small), r.choice(small)]))
    elif kind == 2:
        leaf.update(agg="count", op=r.choice(["in", "not_in"]), value=[r.choice(small) for _ in range(r.randrange(1, 4))])
    elif kind > 2:
        leaf.update(agg="count", op=r.choice(COMPARISONS), value=r.choice(small))
    w = window(r, oracle)
    return {**leaf, "window": w} if w else leaf


def predicate(r, oracle, depth):
    kind = r.randrange(10)
    if depth > 0 and kind < 6:
        if kind == 0:
            return {"not": predicate(r, oracle, depth - 1)}
        return {r.choice(["all", "any"]): [predicate(r, oracle, depth - 1) for _ in range(r.randrange(1, 5))]}
    if kind == 9:
        return {"consent": r.choice(["marketing", "analytics"])}
    return trait_leaf(r) if r.random() < 0.35 else count_leaf(r, oracle)


def person(r):
    traits = {"plan": r.choice(STRINGS), "age": r.choice(NUMBERS), "active": r.choice([True, False]),
              "tags": [scalar(r) for _ in range(r.randrange(4))] + r.choice([[], [None], [[1]]]), "signup": r.choice(DATES),
              "nothing": None, "address": {"city": "Wien"}}
    traits = {k: v for k, v in traits.items() if r.random() < 0.8}
    if r.random() < 0.2:
        traits["age"] = scalar(r)
    names = ["A", "A", "B", "C", "Order Completed", "it's"]
    times = [instant(r) for _ in range(r.choice([1, 3, 8, 20]))]
    events = [{"t": iso(r.choice(times)), "name": r.choice(names)} for _ in range(r.choice([0, 2, 5, 12, 30]))]
    return {"traits": traits, "consents": r.sample(["marketing", "analytics"], r.randrange(3)), "events": events}


def make_cases(oracle, n, seed):
    r = random.Random(seed)
    # early instants, so that most of what happens lies ahead
    return [(predicate(r, oracle, r.choice([0, 0, 1, 2, 3])), person(r), min(instant(r), instant(r), instant(r))) for _ in range(n)]


SCRIPT = r"""\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE TEMP TABLE one_case (n integer, document jsonb, written text, person jsonb, at timestamptz);
COPY one_case FROM STDIN;
%s
\.
CREATE TEMP TABLE walk AS
WITH RECURSIVE read AS MATERIALIZED (SELECT n, document::cdp.predicate AS predicate, person, at FROM one_case),
walk AS (
	SELECT r.n, 0 AS step, r.at, e.holds, e.next_change, r.predicate, r.person
	FROM read r, cdp.evaluate_predicate(r.predicate, r.person, r.at) e
	UNION ALL
	SELECT w.n, w.step + 1, w.next_change, e.holds, e.next_change, w.predicate, w.person
	FROM walk w, LATERAL cdp.evaluate_predicate(w.predicate, w.person, w.next_change) e
	WHERE w.next_change < 'infinity' AND w.step < STEPS
)
SELECT * FROM walk;
COPY (
	SELECT w.n, w.step, (extract(epoch FROM w.at) * 1000000)::bigint, w.holds,
		CASE WHEN w.next_change < 'infinity' THEN (extract(epoch FROM w.next_change) * 1000000)::bigint END,
		b.holds, a.holds,
		CASE WHEN w.step = 0 THEN w.predicate::jsonb END,
		CASE WHEN w.step = 0 THEN o.written::cdp.predicate = w.predicate AND o.written::cdp.predicate::text = w.predicate::text
			AND w.predicate::text::cdp.predicate::text = w.predicate::text
			AND w.predicate::jsonb::cdp.predicate::text = w.predicate::text END
	FROM walk w JOIN one_case o USING (n)
	CROSS JOIN LATERAL (SELECT (cdp.evaluate_predicate(w.predicate, w.person, w.next_change - interval '1 microsecond')).holds
		WHERE w.next_change < 'infinity' UNION ALL SELECT NULL WHERE w.next_change = 'infinity') b
	CROSS JOIN LATERAL (SELECT (cdp.evaluate_predicate(w.predicate, w.person, w.next_change + interval '1 microsecond')).holds
		WHERE w.next_change < 'infinity' UNION ALL SELECT NULL WHERE w.next_change = 'infinity') a
	ORDER BY w.n, w.step
) TO STDOUT;
"""


def copy_text(value):
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")


def ask_database(command, oracle, cases):
    rows = ["\t".join([str(i)] + [copy_text(v) for v in (json.dumps(p), oracle.to_text(p), json.dumps(who), iso(at))])
            for i, (p, who, at) in enumerate(cases)]
    script = SCRIPT.replace("STEPS", str(STEPS)).replace("%s", "\n".join(rows))
    done = subprocess.run(command + ["-X", "-q", "-f", "-"], input=script, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"psql failed:\n{done.stderr[:4000]}")
    for line in done.stdout.splitlines():
        f = [None if v == "\\N" else v for v in line.split("\t")]
        time = lambda v: None if v is None else EPOCH + timedelta(microseconds=int(v))
        yield (int(f[0]), int(f[1]), time(f[2]), f[3] == "t", time(f[4]), f[5], f[6],
               None if f[7] is None else json.loads(f[7].replace("\\\\", "\\")), f[8])


def check_step(oracle, case, row, r):
    """-> (what differs, or None; oracle calls; whether the truth changes at next_change)"""
    p, who, _ = case
    _, step, at, holds, following, before, after, document, is_same = row
    truth = lambda t, q=p: oracle.holds(q, who, t)
    if truth(at) != holds:
        return f"at {iso(at)} the oracle says {not holds}", 1, False
    if step == 0 and is_same != "t":
        return "text and JSON are not the same value, or do not round-trip", 1, False
    if step == 0 and truth(at, document) != holds:
        return "the predicate's JSON means something else", 2, False
    if following is None:
        for t in [at + MICROSECOND] + [at + timedelta(seconds=r.uniform(0, 10**r.randrange(3, 8))) for _ in range(3)]:
            if truth(t) != holds:
                return f"it was never to change after {iso(at)}, but does by {iso(t)}", 5, False
        return None, 5, False
    if following <= at:
        return f"next_change {iso(following)} is not after {iso(at)}", 1, False
    span = (following - at) // MICROSECOND
    for t in [following - MICROSECOND] + [at + MICROSECOND * r.randrange(span) for _ in range(3)]:
        if truth(t) != holds:
            return f"it was not to change between {iso(at)} and {iso(following)}, but does by {iso(t)}", 5, False
    if (before == "t") != holds:
        return f"1 microsecond before {iso(following)} it differs", 5, False
    if (after == "t") != truth(following + MICROSECOND):
        return f"1 microsecond after {iso(following)} the oracle says {after != 't'}", 6, False
    return None, 7, truth(following) != holds


def main():
    if not SHARED.is_dir():
        print("skipped: ../shared/oracles is not there")
        return
    oracle = load_oracle()
    command = sys.argv[1:] or shlex.split(os.environ.get("PSQL", "psql"))
    n, seed = int(os.environ.get("CASES", 2000)), int(os.environ.get("SEED", 1))
    cases = make_cases(oracle, n, seed)
    r = random.Random(seed)
    failures, steps, calls, flips, waits, seen = [], 0, 0, 0, 0, set()
    for row in ask_database(command, oracle, cases):
        case = cases[row[0]]
        problem, made, flipped = check_step(oracle, case, row, r)
        seen.add(row[0])
        steps, calls, flips, waits = steps + 1, calls + made, flips + flipped, waits + (row[4] is not None)
        if problem:
            failures.append((len(json.dumps(case[:2])), problem, case, row))
    if len(seen) != n:
        sys.exit(f"the database answered {len(seen)} of {n} cases")
    if failures:
        _, problem, (p, who, at), row = min(failures, key=lambda f: f[0])
        print(f"FAILED: {len(failures)} of {steps} steps differ; the smallest: {problem}\n  predicate  {oracle.to_text(p)}\n"
              f"  JSON       {json.dumps(p)}\n  person     {json.dumps(who)}\n  database   {row[3]} at {iso(row[2])}, next change {row[4]}")
        sys.exit(1)
    print(f"ok: {n} cases, {steps} steps, {calls} oracle answers, {flips} of {waits} next changes were changes (seed {seed})")


if __name__ == "__main__":
    main()
