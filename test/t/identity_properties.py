#!/usr/bin/env python3
"""What must hold of who is who whatever the messages: specs/identity.md §10 as property tests.

usage: identity_properties.py [psql command and arguments]      (default: $PSQL, else psql)
       POPULATIONS=150 SEED=1 in the environment change what is tried.

Works in a database of its own; no oracle is needed.  Each population (a stream of the kinds that identity_oracle.py
has, with traits and consents) is brought in; none, some or all of its messages leave the log by retention, which changes
nothing else; and then it goes there and back again, several times:
  repeated   messages once more
  ruled      pins and denials, undone in another order
  added      messages that are retracted again
  retracted  messages, identifiers and links, and the messages brought once more: nothing, until that is undone; of what left
             the log no message can be
Each time all that can be read of it must be as before: identifiers, links with evidence and judgement, profile ids (but
of people of whom nobody was left on the way), profiles with traits, consents, counts and memberships, fragments,
timelines, anchors.  On the way and in the end accepted
links are a forest that spans each profile, each link is judged, no profile breaks a limit or a denial.  Then a ruling
is simulated, which changes nothing, and made, which moves as many identifiers and members as was said.  Then limits are
raised, which splits nobody whose links were all accepted.  Each group of populations, which share their rules,
ends with cdp.verify().  Exits 1 with a small case.
"""
import json, os, random, sys, time
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))
from identity_streams import *

POPULATIONS_A_GROUP = 30

STATE = """
SELECT cdp.create_trait('plan', 'most_frequent');
SELECT cdp.create_trait('said', 'union');
SELECT cdp.create_trait('spent', 'sum');
SELECT cdp.create_trait('events', computed => 'count(identity)');
SELECT cdp.create_trait('last_n', computed => 'last(identity.n)');
SELECT cdp.create_trait('ns', computed => 'unique_list(identity.n) until ''2200-01-01''');
SELECT cdp.create_segment('busy', $$count('identity') >= 2$$);
SELECT cdp.create_segment('paying', $$trait plan = 'pro' and trait events >= 1$$);
SELECT cdp.create_property('n', 'identity');
CREATE FUNCTION identity_test_state() RETURNS TABLE (population text, fact text) LANGUAGE sql AS $$
    WITH person AS (
        -- without those whom nothing mentions any more
        SELECT profile_id, split_part(min(value), '.', 1) AS population, string_agg(namespace || ':' || value, ' ' ORDER BY namespace, value) AS who
        FROM cdp.identifiers GROUP BY profile_id HAVING count(*) > 1 OR sum(event_count) > 0
    )
    SELECT population, format('profile of %s: traits %s, computed %s, consents %s, %s events, %s to %s', who, p.traits, p.computed, p.consents, p.event_count, p.first_seen_at, p.last_seen_at)
    FROM person JOIN cdp.profile p USING (profile_id)
    UNION ALL
    SELECT population, format('member %s: %s', segment, who) FROM person JOIN cdp.members USING (profile_id)
    UNION ALL
    SELECT population, format('identifier %s:%s of %s, %s times, %s to %s', namespace, value, who, event_count, first_seen_at, last_seen_at)
    FROM person JOIN cdp.identifiers USING (profile_id)
    UNION ALL
    SELECT split_part(value_a, '.', 1), format('link %s:%s %s:%s, %s times, %s to %s, %s %s', namespace_a, value_a, namespace_b, value_b, event_count, first_seen_at, last_seen_at, status, reason)
    FROM cdp.links
    UNION ALL
    SELECT split_part(i.value, '.', 1), format('fragment of %s:%s: traits %s, consents %s, %s events, %s to %s', i.namespace, i.value, f.traits, f.consents, f.event_count, f.first_seen_at, f.last_seen_at)
    FROM cdp.fragment f JOIN cdp.identity i USING (identifier_id) WHERE f.event_count > 0 OR f.traits IS NOT NULL OR f.consents IS NOT NULL
    UNION ALL
    SELECT split_part(i.value, '.', 1), format('timeline of %s:%s on %s:%s: %s', a.namespace, a.value, i.namespace, i.value, cdp.add_timelines(t.events))
    FROM cdp.timeline_part t JOIN cdp.identity i USING (identifier_id) JOIN cdp.identity a ON a.identifier_id = t.anchor_id
    GROUP BY a.namespace, a.value, i.namespace, i.value
    UNION ALL
    SELECT split_part(message_id, '.', 1), format('event %s of %s:%s', message_id, anchor_namespace, anchor_value) FROM cdp.events
$$;
CREATE FUNCTION identity_test_ids() RETURNS TABLE (population text, fact text) LANGUAGE sql AS $$
    SELECT split_part(value, '.', 1), format('%s:%s %s', namespace, value, profile_id) FROM cdp.identifiers WHERE event_count > 0
$$;
CREATE FUNCTION identity_test_unsound() RETURNS TABLE (population text, fact text) LANGUAGE sql AS $$
    SELECT split_part(i.value, '.', 1), format('profile %s breaks limit %s: %s', i.profile_id, n.name, count(*))
    FROM cdp.identity i JOIN cdp.namespace n ON n.name = i.namespace
    GROUP BY i.profile_id, split_part(i.value, '.', 1), n.name HAVING count(*) > n.max_per_profile
    UNION ALL
    SELECT split_part(cdp.value(a), '.', 1), format('denied: %s %s', a, b) FROM cdp.ruling
    WHERE kind = 'deny' AND undone_at IS NULL AND cdp.profile_id(a) = cdp.profile_id(b)
    UNION ALL
    SELECT split_part(value_a, '.', 1), format('link %s:%s %s:%s is not judged: %s %s', namespace_a, value_a, namespace_b, value_b, status, reason) FROM cdp.links
    WHERE status NOT IN ('accepted', 'redundant', 'rejected') OR (status = 'rejected') <> (reason IS NOT NULL)
    UNION ALL
    -- accepted links do not leave a profile, connect all of it, and are one fewer than its identifiers: a tree
    SELECT split_part(i.value, '.', 1), format('no tree: profile %s', i.profile_id)
    FROM cdp.identity i JOIN cdp.connected_components($q$
        SELECT identifier_a, identifier_b FROM cdp.link WHERE status = 'accepted' UNION ALL SELECT identifier_id, NULL FROM cdp.identity$q$) c ON c.node = i.identifier_id
    LEFT JOIN cdp.link l ON l.identifier_a = i.identifier_id AND l.status = 'accepted'
    GROUP BY i.profile_id, split_part(i.value, '.', 1)
    HAVING count(DISTINCT c.component) > 1 OR count(l.identifier_a) <> count(DISTINCT i.identifier_id) - 1
    UNION ALL
    SELECT min(split_part(i.value, '.', 1)), 'one tree in several profiles'
    FROM cdp.identity i JOIN cdp.link l ON l.identifier_a = i.identifier_id AND l.status = 'accepted' JOIN cdp.identity j ON j.identifier_id = l.identifier_b
    WHERE j.profile_id <> i.profile_id HAVING count(*) > 0
$$;
CREATE FUNCTION identity_test_places() RETURNS TABLE (population text, fact text) LANGUAGE sql AS $$
    SELECT split_part(value, '.', 1), format('identifier %s:%s %s', namespace, value, profile_id) FROM cdp.identifiers
    UNION ALL
    SELECT DISTINCT split_part(value, '.', 1), format('segment %s of %s member', segment, profile_id) FROM cdp.members JOIN cdp.identifiers USING (profile_id)
$$;
CREATE FUNCTION identity_test_simulate(name text, change jsonb) RETURNS TABLE (population text, fact text) LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT name, format('%s %s', concat_ws(' ', s.what, s.detail ->> 'segment'), s.count) FROM cdp.simulate(change) s
    WHERE s.count > 0 AND (s.what LIKE 'identifiers %' OR s.what LIKE 'segment %');
EXCEPTION WHEN check_violation OR undefined_object OR invalid_parameter_value THEN
    NULL; -- as identity_test_rule()
END
$$;
-- whom links connect of whom all were accepted or redundant
CREATE FUNCTION identity_test_uncontested() RETURNS TABLE (population text, fact text) LANGUAGE sql AS $$
    SELECT split_part(min(i.value), '.', 1), string_agg(i.namespace || ':' || i.value, ' ' ORDER BY i.namespace, i.value)
    FROM cdp.identity i JOIN cdp.connected_components('SELECT identifier_a, identifier_b FROM cdp.link') c ON c.node = i.identifier_id
    GROUP BY c.component HAVING count(DISTINCT i.profile_id) = 1
$$;
"""


class Population:
    def __init__(self, name, events, arrival, trials, foretold, order, gone):
        self.name, self.events, self.arrival = name, events, arrival  # events: message id -> event; arrival: steps
        self.gone = gone  # which part of its group's log leaves
        self.trials, self.foretold, self.order = trials, foretold, order  # trials: name -> (steps there, steps back); foretold: a ruling


def random_population(oracle, r, rules, name, nasty, gone):
    events = nasty_stream(r) if nasty else plain_stream(oracle, r)
    ids = r.sample([e[0] for e in events], len(events))
    rulings = random_rulings(r, rules, events)
    pool = sorted({n for _, _, ids in events for n in ids}) + [("user_id", "new"), ("email", "new"), ("device_id", "new"), ("anonymous_id", "new")]
    added = [[f"m{10**5 + i}", r.choice(events)[1] + r.randrange(-2, 3), r.sample(pool, r.choice([1, 2, 2, 3]))] for i in range(r.choice([1, 1, 2, 3]))]
    retracted = [("retract_message", e[0]) for e in r.sample(added, len(added))]
    ruled = [x for x in rulings if x[0] in ("pin", "deny")]
    taken = [x for x in random_rulings(r, rules, events) if x not in ruled]
    again = [x[1] for x in taken if x[0] == "retract_message"]
    trials = {
        "repeated": ([("inbox", r.choices(ids, k=len(ids)), 10), ("calls", r.choices(ids, k=3))], []),
        "ruled": (ruled, [("undo", x) for x in r.sample(ruled, len(ruled))]),
        "added": (r.choice([calls, batches])(r, [e[0] for e in added]), retracted),
        "retracted": (taken + [("calls", again)], [("undo", x) for x in r.sample(taken, len(taken))]),
    }
    return Population(name, {e[0]: e for e in events + added}, batches(r, ids), trials, r.choice(random_rulings(r, rules, events)), r.random(), gone)


def steps_sql(population, steps):
    r = random.Random(population.order)
    return "".join(step_sql(f"{population.name}.x.", population.events, step, r) for step in steps)


def read(when, function):
    return f"SELECT '{when}', '{function}', population, fact FROM identity_test_{function}();\n"


def retention(part):
    """Let the whole log go in two steps, or such a part of it, one message here and one there."""
    if part < 1:
        return f"""
SELECT cdp.let_go(tableoid, array_agg(ctid), min(received_at), max(received_at))
FROM cdp.event WHERE abs(hashtext(message_id)) % 100 < {100 * part} GROUP BY tableoid;
"""
    return f"""
BEGIN;
SET LOCAL cdp.clock = '{(datetime.now(timezone.utc) + timedelta(days=30)).isoformat()}';
SELECT cdp.set_retention('10 days');
SELECT (cdp.apply_retention(n)).messages FROM (SELECT count(*)::integer / 2 + 1 AS n FROM cdp.event) e, generate_series(1, 2);
COMMIT;
"""


def raised(rules):
    """The rules with more room."""
    return {name: c | {"limit": c["limit"] and c["limit"] + 1} if "limit" in c else c for name, c in rules.items()}


def lasting_ids(before, there, after):
    """The profile ids before and after, but of people of whom nobody was left on the way."""
    left = {fact.rsplit(" ", 1)[0] for fact in there}
    lasting = {fact.rsplit(" ", 1)[1] for fact in before if fact.rsplit(" ", 1)[0] in left}
    kept = {fact for fact in before if fact.rsplit(" ", 1)[1] in lasting}
    nodes = {fact.rsplit(" ", 1)[0] for fact in kept}
    return kept, {fact for fact in after if fact.rsplit(" ", 1)[0] in nodes}


def moves(before, after):
    """What became of identifiers and members, as cdp.simulate() says it."""
    counts = defaultdict(int)
    was, now = (dict(fact.rsplit(" ", 1) for fact in facts) for facts in (before, after))
    for thing in was.keys() | now.keys():
        kind, name, *_ = thing.split(" ")
        if was.get(thing) != now.get(thing):
            if kind == "identifier":
                counts["identifiers " + ("new" if thing not in was else "gone" if thing not in now else "moved")] += 1
            else:
                counts["segment " + ("entered " if thing in now else "left ") + name] += 1
    return {f"{what} {n}" for what, n in counts.items()}


def play(database, rules, populations):
    """All trials of populations; what is wrong, by population."""
    sql = "SELECT identity_test_forget();\n" + rules_sql(rules)
    sql += "".join(steps_sql(p, p.arrival) for p in populations) + read("start", "state") + read("start", "ids") + read("start", "unsound")
    sql += retention(populations[0].gone) if populations[0].gone else ""
    sql += read("retained", "state") + read("retained", "ids") + read("retained", "unsound")
    for name in populations[0].trials:
        sql += "".join(steps_sql(p, p.trials[name][0]) for p in populations) + read(f"{name}, there", "ids") + read(name, "unsound")
        sql += "".join(steps_sql(p, p.trials[name][1]) for p in populations) + read(name, "state") + read(name, "ids")
    sql += read("before", "places")
    for p in populations:
        sql += f"SELECT 'foretold', 'told', population, fact FROM identity_test_simulate('{p.name}', {literal(change_json(p.name + '.x.', p.foretold))});\n"
    sql += read("simulated", "state") + "".join(steps_sql(p, [p.foretold]) for p in populations) + read("after", "places") + read("foretold", "unsound")
    sql += read("start", "uncontested") + rules_sql(raised(rules), rules)
    sql += read("raised", "uncontested")
    sql += "SELECT 'end', 'unsound', '', part || ' differ by cdp.verify()' FROM cdp.verify() WHERE differences <> 0;\n"

    facts, wrong = defaultdict(set), defaultdict(list)
    for row in database.run(sql):
        if len(row) == 4:
            when, function, population, fact = row
            if function == "unsound":
                wrong[population].append(f"{when}: {fact}")
            else:
                facts[population, function, when].add(fact)
    for p in populations:
        before, after = facts[p.name, "state", "start"], facts[p.name, "state", "retained"]
        if after - before or any(not fact.startswith("event ") for fact in before - after) or facts[p.name, "ids", "start"] != facts[p.name, "ids", "retained"]:
            wrong[p.name].append(f"retention changed something:\n  before  {sorted(before - after)}\n  after   {sorted(after - before)}")
        for previous, name in zip(["retained", *p.trials], p.trials):
            before, after = facts[p.name, "state", previous], facts[p.name, "state", name]
            if before == after:
                before, after = lasting_ids(*(facts[p.name, "ids", when] for when in (previous, f"{name}, there", name)))
            if before != after:
                wrong[p.name].append(f"{name} changed something:\n  before  " + "\n          ".join(sorted(before - after)) + "\n  after   " + "\n          ".join(sorted(after - before)))
        if facts[p.name, "state", "simulated"] != facts[p.name, "state", "retained"]:
            wrong[p.name].append("simulation changed something")
        told, came = facts[p.name, "told", "foretold"], moves(facts[p.name, "places", "before"], facts[p.name, "places", "after"])
        if told != came:
            wrong[p.name].append(f"simulation foretold {sorted(told)}, and {sorted(came)} came")
        split = facts[p.name, "uncontested", "start"] - facts[p.name, "uncontested", "raised"]
        if split:
            wrong[p.name].append(f"raising limits split who was not contested: {split}")
    return wrong


def smaller(population):
    """Populations with one thing less: a step, an event, an identifier of an event."""
    def like(**changes):
        return Population(**(vars(population) | changes))
    for name, (there, back) in population.trials.items():
        if there or back:
            yield like(trials=population.trials | {name: ([], [])})
        for i, step in enumerate(there):
            yield like(trials=population.trials | {name: (there[:i] + there[i + 1:], [s for s in back if s != ("undo", step)])})
    for m, (_, t, ids) in population.events.items():
        def kept(steps):
            return [(s[0], [x for x in s[1] if x != m]) + s[2:] if s[0] in EVENT_STEPS else s for s in steps if m not in s and ("retract_message", m) not in s]
        yield like(events={x: e for x, e in population.events.items() if x != m}, arrival=kept(population.arrival),
                   trials={name: (kept(there), kept(back)) for name, (there, back) in population.trials.items()})
        for n in ids if len(ids) > 1 else []:
            yield like(events=population.events | {m: (m, t, [x for x in ids if x != n])})


def report(database, rules, wrong, populations, seed):
    """Say what is wrong, by a small case."""
    print(f"FAILED: {len(wrong)} of {len(populations)} populations of one group (seed {seed})")
    failing = [p for p in populations if p.name in wrong]
    if not failing:
        print("\n".join(x for problems in wrong.values() for x in problems))
        return
    case = min(failing, key=lambda p: len(p.events))
    problem = "\n".join(wrong[case.name])

    def problem_of(candidate):
        return "\n".join(x for problems in play(database, rules, [candidate]).values() for x in problems)
    small = shrunk(case, problem_of, smaller)
    if small:
        case, problem = small
    print(f"a small one{'' if small else ' (not when alone)'}: {problem}\n  rules     {json.dumps(rules)}\n  events    {json.dumps(list(case.events.values()))}\n"
          f"  arrival   {json.dumps(case.arrival)}\n  trials    {json.dumps(case.trials)}\n  foretold  {json.dumps(case.foretold)}\n  gone      {case.gone}")


def main():
    if not SHARED.is_dir():
        print("skipped: ../shared/oracles is not there")
        return
    oracle = load_oracle()
    n, seed = int(os.environ.get("POPULATIONS", 150)), int(os.environ.get("SEED", 1))
    r = random.Random(seed)
    started, events = time.monotonic(), 0
    with Database(psql_command(), "identity_properties") as database:
        database.run(STATE)
        for first in range(0, n, POPULATIONS_A_GROUP):
            nasty = r.random() < 0.6
            rules = (nasty_rules if nasty else plain_rules)(r)
            gone = r.choice([0, 0.5, 1])
            populations = [random_population(oracle, r, rules, f"p{first + i}", nasty, gone) for i in range(min(POPULATIONS_A_GROUP, n - first))]
            try:
                wrong = play(database, rules, populations)
            except RuntimeError as e:
                wrong = {p.name: [str(e)] for p in populations}
            if wrong:
                report(database, rules, wrong, populations, seed)
                sys.exit(1)
            events += sum(len(p.events) for p in populations)
    print(f"ok: {n} populations of {events} messages, {time.monotonic() - started:.0f} s (seed {seed})")


if __name__ == "__main__":
    main()
