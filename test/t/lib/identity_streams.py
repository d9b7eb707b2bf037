"""What the tests of who is who have in common: random rules and streams of messages, as SQL, and what the oracle says of them.

A stream is a list of events [message_id, t, [(namespace, value), ..]], t in microseconds since BASE.  What is done
with it is a list of steps: ("calls", ids), ("envelope", ids), ("inbox", ids, size), ("waiting", ids), ("pause",),
rulings ("pin", a, b), ("deny", a, b), ("retract_message", id), ("retract_identifier", a), ("retract_link", a, b), and
("undo", ruling).
"""
import importlib.util, json, os, shlex, subprocess, sys, time
from collections import defaultdict
from datetime import datetime, timedelta, timezone
from pathlib import Path

SHARED = Path(__file__).resolve().parents[3].parent / "shared"
BASE = datetime(2026, 1, 1, tzinfo=timezone.utc)
SECOND = 1_000_000
EVENT_STEPS = ("calls", "envelope", "inbox", "waiting")  # those that bring messages in
RULINGS = ("pin", "deny", "retract_message", "retract_identifier", "retract_link")
PATHS = {"user_id": "{userId}", "anonymous_id": "{anonymousId}", "email": "{context.traits.email}", "device_id": "{context.device.id}"}


def load_oracle():
    spec = importlib.util.spec_from_file_location("identity", SHARED / "oracles" / "identity.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# rules and streams

def plain_rules(r):
    """The oracle's own three namespaces, and two more."""
    return {
        "user_id": {"priority": 10, "kind": "person", "limit": r.choice([1, 1, 2, None])},
        "email": {"priority": 20, "kind": "contact", "limit": r.choice([1, 2, 5, None])},
        "phone": {"priority": 30, "kind": "contact", "limit": r.choice([1, 2, None])},
        "device_id": {"priority": 80, "kind": "device", "bridge": r.choice(["unique", "unique", "always", "never"])},
        "anonymous_id": {"priority": 90, "kind": "device", "bridge": r.choice(["unique", "unique", "always", "never"]),
                         "limit": r.choice([None, None, None, 3])},
    }


def nasty_rules(r):
    """Three namespaces of persons, two of contacts, two of devices; now and then strong and weak at random."""
    kinds = {"user_id": "person", "customer_id": "person", "member_id": "person", "email": "contact", "phone": "contact",
             "device_id": "device", "anonymous_id": "device"}
    order = list(kinds)
    if r.random() < 0.3:
        r.shuffle(order)
    rules = {}
    for i, name in enumerate(order):
        rules[name] = {"priority": 10 * (i + 1), "kind": kinds[name],
                       "limit": r.choice({"person": [1, 1, 1, 2, None], "contact": [1, 2, 5, None], "device": [None, None, None, None, 3]}[kinds[name]])}
        if kinds[name] == "device":
            rules[name]["bridge"] = r.choice(["unique", "unique", "unique", "always", "never"])
    return rules


def earlier_rules(r, rules, ranks_too):
    """Other limits and bridges for the same namespaces; other priorities too if wanted."""
    names = list(rules)
    ranks = [rules[name]["priority"] for name in names]
    if ranks_too:
        r.shuffle(ranks)
    earlier = {}
    for name, rank in zip(names, ranks):
        earlier[name] = rules[name] | {"priority": rank, "limit": r.choice([None, 1, 2, 3])}
        if "bridge" in rules[name]:
            earlier[name]["bridge"] = r.choice(["unique", "always", "never"])
    return earlier


def named(r, happenings):
    """Events with message ids whose order has nothing to do with that of the times."""
    names = r.sample(range(10 * len(happenings)), len(happenings))
    return [[f"m{n}", t, list(dict.fromkeys(ids))] for n, (t, ids) in zip(names, happenings)]


def plain_stream(oracle, r):
    """As the oracle's own tests make them, and some larger."""
    if r.random() < 0.7:
        return [[m, t * SECOND, [tuple(n) for n in ids]] for m, t, ids in oracle.random_stream(r)[1]]
    pool = [(n, f"{n[0]}{i}") for n, k in (("user_id", 4), ("email", 5), ("phone", 3), ("device_id", 3), ("anonymous_id", 6)) for i in range(k)]
    return named(r, [(r.randrange(r.choice([3, 12])) * SECOND, r.sample(pool, r.choice([1, 2, 2, 2, 3, 4]))) for _ in range(r.randrange(8, 30))])


def dense(r):
    """A few of everybody, all with all."""
    pool = [(n, f"{n[0]}{i}") for n in ("user_id", "customer_id", "member_id", "email", "phone", "device_id", "anonymous_id") for i in range(r.choice([1, 2, 3, 4]))]
    return [(r.randrange(30), r.sample(pool, r.choice([1, 2, 2, 2, 3, 4]))) for _ in range(r.randrange(6, 30))]


def chain(r):
    """Devices known by each other in a row, with people here and there."""
    n = r.choice([4, 5, 6, 10, 20, 50])
    devices = [(r.choice(["device_id", "anonymous_id"]), f"d{i}") for i in range(n)]
    happenings = [(r.randrange(60), [devices[i], devices[i + 1]]) for i in range(n - 1)]
    for i in range(r.choice([1, 2, 2, 3, 5])):
        happenings.append((r.randrange(60), [(r.choice(["user_id", "customer_id", "email"]), f"p{i}"), r.choice(devices[:1] + devices[-1:] + devices)]))
    return happenings + [(r.randrange(60), [r.choice(devices)]) for _ in range(r.randrange(4))]


def hub(r):
    """Many users on one device, some by an address alone."""
    n = int(5 * 40 ** (r.random() ** 4))
    device = (r.choice(["device_id", "anonymous_id"]), "hub")
    happenings = []
    for i in range(n):
        happenings.append((r.randrange(3 * n), [(r.choice(["user_id", "user_id", "user_id", "email", "member_id"]), f"u{i}"), device]))
        if r.random() < 0.1:
            happenings.append((r.randrange(3 * n), [("user_id", f"u{i}"), ("email", f"e{i}")]))
        if r.random() < 0.1 and n < 40:
            happenings.append((r.randrange(3 * n), [device]))
    return happenings


def reuse(r):
    """Addresses and numbers that go from person to person."""
    happenings = []
    for i in range(r.randrange(2, 12)):
        user = (r.choice(["user_id", "customer_id"]), f"u{i}")
        own = [user, ("anonymous_id", f"a{i}")]
        happenings += [(r.randrange(40), own), (r.randrange(40), [user, (r.choice(["email", "phone"]), f"x{r.randrange(2)}")])]
        if r.random() < 0.4:
            happenings.append((r.randrange(40), [("email", f"x{r.randrange(2)}"), ("anonymous_id", f"a{r.randrange(i + 1)}")]))
    return happenings


def tablet(r):
    """Devices that people sign in on one after the other, with what nobody signed in did before, between and after."""
    devices = [(r.choice(["device_id", "anonymous_id"]), f"d{i}") for i in range(r.choice([1, 1, 2, 3]))]
    people = [(r.choice(["user_id", "user_id", "customer_id", "email"]), f"p{i}") for i in range(r.randrange(2, 6))]
    span = r.choice([4, 20, 50])
    happenings = []
    for _ in range(r.randrange(6, 30)):
        ids = [r.choice(devices)]
        if r.random() < 0.4:
            ids.append(r.choice(people))
        if r.random() < 0.2:
            ids.append(r.choice(devices))
        if r.random() < 0.1:
            ids.append(r.choice(people))
        happenings.append((r.randrange(span), ids))
    return happenings


def nasty_stream(r):
    happenings = r.choice([dense, dense, chain, hub, reuse, tablet, tablet])(r)
    if r.random() < 0.25:
        happenings = [(r.randrange(2), ids) for _, ids in happenings]
    tick = r.choice([1, SECOND])
    return named(r, [(t * tick, ids) for t, ids in happenings])


# what is done with a stream

def random_rulings(r, rules, events):
    """Different things that a steward says of it, now and then of somebody never seen."""
    pool = sorted({n for _, _, ids in events for n in ids} | {("user_id", "u9"), ("email", "e9")})
    rulings = set()
    for _ in range(r.choice([1, 1, 2, 3, 5])):
        kind, (m, _, ids) = r.choice(RULINGS + ("pin", "deny")), r.choice(events)
        if kind == "retract_message":
            rulings.add((kind, m))
        elif kind == "retract_identifier":
            rulings.add((kind, r.choice(ids)))
        elif kind == "retract_link" and len(ids) > 1:
            rulings.add((kind,) + tuple(by_strength(rules, ids)[:2]))
        else:
            rulings.add(("pin" if kind == "pin" else "deny",) + ordered(rules, *r.sample(pool, 2)))
    return r.sample(sorted(rulings), len(rulings))


def cut(r, items, parts):
    """A list in so many parts, some of them empty."""
    at = sorted(r.randrange(len(items) + 1) for _ in range(parts - 1))
    return [items[a:b] for a, b in zip([0] + at, at + [len(items)])]


def with_rulings(r, steps, rulings, undone=0.3):
    """Steps with rulings anywhere between but where messages wait; that part of them is undone."""
    steps = list(steps)
    first = 1 + max((i for i, s in enumerate(steps) if s[0] in ("waiting", "pause")), default=-1)
    for ruling in rulings:
        # a message can only be retracted when it is there
        here = first if ruling[0] != "retract_message" else 1 + next(i for i, s in enumerate(steps) if s[0] in EVENT_STEPS and ruling[1] in s[1])
        place = r.randrange(max(first, here), len(steps) + 1)
        steps.insert(place, ruling)
        if r.random() < undone:
            steps.insert(r.randrange(place + 1, len(steps) + 1), ("undo", ruling))
    return steps


def calls(r, ids):
    """One by one, the later after the earlier or the other way round or in any order."""
    return [("calls", part) for part in cut(r, ids, 4)]


def batches(r, ids):
    """In envelopes and by the inbox, some of it again."""
    steps, done = [], []
    for part in cut(r, ids, r.choice([1, 2, 4])):
        done += part
        again = r.sample(done, r.randrange(len(done) + 1)) if r.random() < 0.3 else []
        steps.append(("inbox", part + again, r.choice([2, 5, 10000])) if r.random() < 0.5 else ("envelope", part + again))
    return steps


def restarted(r, ids):
    """Part of it, part of it waiting in the inbox while the server stops and starts, and the rest."""
    before, waiting, after = cut(r, ids, 3)
    return batches(r, before) + [("waiting", waiting), ("pause",)] + batches(r, after)


def together(r, ids):
    """In one batch with other streams."""
    return [("waiting", ids), ("pause",)]


# SQL

def literal(value):
    return "'" + json.dumps(value).replace("'", "''") + "'"


def message(prefix, event, r):
    """One event as an SDK would send it: by the usual members where there is one value, else as externalIds."""
    m, t, ids = event
    body = {"type": "track", "event": "identity", "messageId": prefix + m, "timestamp": (BASE + timedelta(microseconds=t)).isoformat(), "properties": {"n": t % 7, "m": m}}
    context, by_name = {}, defaultdict(list)
    if (int(m[1:]) + t) % 3 == 0:
        body |= {"type": "identify", "traits": {"said": m, "plan": "pro" if t % 2 else "free", "spent": t % 7}}
    if (int(m[1:]) + t) % 5 == 0:
        context["consent"] = {"categoryPreferences": {"ads": t % 2 == 0, "mail": True}}
    for name, value in ids:
        by_name[name].append(prefix + value)
    external = []
    for name, values in by_name.items():
        plain = len(values) == 1 and r.random() < 0.7
        if plain and name == "user_id":
            body["userId"] = values[0]
        elif plain and name == "anonymous_id":
            body["anonymousId"] = values[0]
        elif plain and name == "email":
            context["traits"] = {"email": values[0]}
        elif plain and name == "device_id":
            context["device"] = {"id": values[0]}
        else:
            external += [{"id": v, "type": name, "collection": "users"} for v in values]
    r.shuffle(external)
    if external:
        context["externalIds"] = external
    if context:
        body["context"] = context
    return body


def ingest(messages):
    if not messages:
        return ""
    return "SELECT count(i.*) FROM unnest(ARRAY[" + ",\n".join(map(literal, messages)) + "]) AS p, LATERAL (SELECT * FROM cdp.ingest(p) OFFSET 0) AS i;\n"


def insert(messages):
    return "INSERT INTO cdp.inbox (payload) VALUES " + ",\n".join(f"({literal(m)})" for m in messages) + ";\n"


def drain(size):
    return f"DO $$ BEGIN WHILE EXISTS (SELECT FROM cdp.inbox) LOOP PERFORM cdp.process({size}); END LOOP; END $$;\n"


def ruling_sql(prefix, ruling):
    """The call that makes a ruling."""
    kind, *what = ruling
    if kind == "retract_message":
        return f"cdp.retract('{prefix}{what[0]}'::text, 'test')"
    return f"cdp.{kind.split('_')[0]}(" + ", ".join(f"'{n}:{prefix}{v}'::cdp.identifier" for n, v in what) + ", 'test')"


def change_json(prefix, ruling):
    """A ruling as cdp.simulate() takes it."""
    kind, *what = ruling
    if kind == "retract_message":
        return {"retract": {"message_id": prefix + what[0]}}
    names = [f"{n}:{prefix}{v}" for n, v in what]
    return {kind.split("_")[0]: names if len(names) > 1 else names[0]}


def step_sql(prefix, events, step, r):
    """A step as SQL; none for a pause."""
    kind = step[0]
    if kind == "undo":
        return f"SELECT identity_test_undo('{prefix}' || {literal(step[1])});\n"
    if kind in RULINGS:
        return f"SELECT identity_test_rule('{prefix}' || {literal(step)}, $${ruling_sql(prefix, step)}$$);\n"
    messages = [message(prefix, events[m], r) for m in step[1]] if kind != "pause" else []
    if not messages:
        return ""
    if kind == "calls":
        return ingest(messages)
    if kind == "envelope":
        return ingest([{"batch": messages}])
    return insert(messages) + (drain(step[2]) if kind == "inbox" else "")


def rules_sql(rules, instead_of=None):
    """Make namespaces, or replace others of these names."""
    def sql(name, c, priority):
        return (f"SELECT cdp.create_namespace('{name}', '{c['kind']}', {priority}, {c.get('limit') or 'NULL'}, bridge => '{c.get('bridge', 'unique')}', "
                f"normalizer => 'none', paths => '{PATHS.get(name, '{}')}');\n")
    # nobody may have another's priority on the way
    aside = [name for name, c in rules.items() if instead_of and instead_of[name]["priority"] != c["priority"]]
    return ("BEGIN;\n" + "".join(sql(name, instead_of[name], 1000 + instead_of[name]["priority"]) for name in aside)
            + "".join(sql(name, c, c["priority"]) for name, c in rules.items()) + "COMMIT;\n")


HELPERS = """
CREATE EXTENSION IF NOT EXISTS cdp;
SELECT cdp.init();
CREATE TABLE identity_test_ruling (what text, ruling_id bigint);
CREATE FUNCTION identity_test_rule(what text, command text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    ruled bigint;
BEGIN
    EXECUTE 'SELECT ' || command INTO ruled;
    INSERT INTO identity_test_ruling VALUES (what, ruled);
EXCEPTION WHEN check_violation OR undefined_object OR invalid_parameter_value THEN
    NULL; -- another ruling or a limit stands against it, or there is nothing to retract
END
$$;
CREATE FUNCTION identity_test_undo(undone text) RETURNS bigint LANGUAGE sql AS $$
    SELECT count(cdp.undo(ruling_id)) FROM identity_test_ruling JOIN cdp.ruling USING (ruling_id) WHERE what = undone AND undone_at IS NULL
$$;
CREATE FUNCTION identity_test_forget() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE (SELECT 'TRUNCATE identity_test_ruling, ' || string_agg(oid::regclass::text, ', ') FROM pg_class
        WHERE relnamespace = 'cdp'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
        AND relname NOT IN ('setup', 'source', 'namespace', 'blocked_value', 'purpose', 'segment', 'property'));
    DELETE FROM cdp.blocked_value;
    DELETE FROM cdp.namespace;
END
$$;
"""

READ = f"""
SELECT 'identifier', split_part(value, '.', 1), split_part(value, '.', 2), namespace, split_part(value, '.', 3), profile_id, event_count FROM cdp.identifiers;
SELECT 'link', split_part(value_a, '.', 1), split_part(value_a, '.', 2), namespace_a, split_part(value_a, '.', 3), namespace_b, split_part(value_b, '.', 3),
    (extract(epoch FROM first_seen_at - '{BASE}') * 1000000)::bigint, (extract(epoch FROM last_seen_at - '{BASE}') * 1000000)::bigint, event_count, status, reason FROM cdp.links;
SELECT 'ruling', split_part(what, '.', 1), split_part(what, '.', 2), split_part(what, '.', 3), undone_at IS NULL FROM identity_test_ruling JOIN cdp.ruling USING (ruling_id);
SELECT 'event', split_part(message_id, '.', 1), split_part(message_id, '.', 2), split_part(message_id, '.', 3), anchor_namespace, split_part(anchor_value, '.', 3) FROM cdp.events;
SELECT 'unsound', part || ' differ by cdp.verify()', differences FROM cdp.verify() WHERE differences <> 0;
SELECT 'unsound', 'payloads left in the inbox', count(*) FROM cdp.inbox HAVING count(*) > 0;
SELECT 'unsound', 'messages rejected', count(*) FROM cdp.rejected HAVING count(*) > 0;
"""


class Database:
    """A database of our own on the server that psql reaches; gone when we are."""

    def __init__(self, command, name):
        self.plain, self.name = command, f"{name}_{os.getpid()}"
        self.command = command + ["-d", self.name]
        self.run(f"CREATE DATABASE {self.name} TEMPLATE template0;\n", self.plain)
        self.run(HELPERS)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.run(f"DROP DATABASE {self.name} WITH (FORCE);\n", self.plain)

    def options(self):
        return ["-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1"]

    def run(self, sql, command=None):
        """Rows that statements return; whatever the server objects to ends all."""
        done = subprocess.run((command or self.command) + self.options(), input="SET client_min_messages = warning; SET synchronous_commit = off;\n" + sql,
                              text=True, capture_output=True)
        if done.returncode != 0:
            raise RuntimeError(f"the database says\n{done.stderr[:2000]}")
        return [line.split("\t") for line in done.stdout.splitlines()]

    def run_beside(self, scripts):
        """Run scripts at the same time; whatever one of them is told is a failure, a deadlock above all."""
        running = [subprocess.Popen(self.command + self.options(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in scripts]
        for p, script in zip(running, scripts):
            # all scripts are small enough to be written before anybody reads
            p.stdin.write("SET client_min_messages = warning;\n" + script)
        for p in running:
            p.stdin.close()
        told = "".join(p.stderr.read() for p in running)
        for p in running:
            p.wait()
        if told:
            raise RuntimeError(f"a session was told\n{told[:2000]}")

    def restart(self):
        """Stop and start the server, if we were told how."""
        if os.environ.get("RESTART"):
            subprocess.run(os.environ["RESTART"], shell=True, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def psql_command():
    return sys.argv[1:] or shlex.split(os.environ.get("PSQL", "psql"))


# what is expected

def by_strength(rules, nodes):
    return sorted(set(nodes), key=lambda n: (rules[n[0]]["priority"], n[0], n[1]))


def ordered(rules, a, b):
    """The stronger first."""
    return tuple(by_strength(rules, (a, b)))


def left_over(rules, events, rulings):
    """Events as if what is retracted had never been seen: without it; who is linked no more has an event of his own."""
    rulings = set(rulings)
    for m, t, ids in {e[0]: e for e in events}.values():
        if ("retract_message", m) in rulings:
            continue
        ids = by_strength(rules, [n for n in ids if ("retract_identifier", n) not in rulings])
        alone = [n for n in ids[1:] if ("retract_link", ids[0], n) in rulings]
        yield [m, t, [n for n in ids if n not in alone]]
        yield from ([f"{m} {n}", t, [n]] for n in alone)


def resolve(oracle, rules, events, rulings):
    """Partition, rejected links and anchors by the oracle, under rulings."""
    left = list(left_over(rules, events, rulings))
    # a pin without evidence is older than any
    result = oracle.resolve(rules, [[m, t + 1, ids] for m, t, ids in left], [x[1:] for x in rulings if x[0] == "pin"], [x[1:] for x in rulings if x[0] == "deny"])
    return ([[tuple(n) for n in c] for c in result["profiles"]], sorted((tuple(u), tuple(v), why) for u, v, why in result["rejected"]),
            {m: tuple(result["anchors"][m]) if ids else None for m, _, ids in left if " " not in m})


def evidence(rules, events, rulings):
    """Each link with its first and last time and its number of events."""
    links = {}
    for _, t, ids in left_over(rules, events, rulings):
        for n in ids[1:]:
            first, last, count = links.get((ids[0], n), (t, t, 0))
            links[ids[0], n] = (min(first, t), max(last, t), count + 1)
    return links


def may_stand(oracle, rules, events, force, ruling):
    """Whether a ruling is to be taken, when these are in force."""
    kind, *what = ruling
    if kind == "retract_message":
        return True
    if kind == "retract_identifier":
        return any(what[0] in ids for _, _, ids in left_over(rules, events, force)) and not any(
            x[0] in ("pin", "retract_link") and what[0] in x for x in force)
    opposite = any(list(x[1:]) == what and x[0] != kind and "pin" in (x[0], kind) for x in force)
    if opposite or any(("retract_identifier", n) in force for n in what):
        return False
    if kind == "retract_link":
        return tuple(what) in evidence(rules, events, force)
    return kind == "deny" or not any(link[:2] == tuple(what) for link in resolve(oracle, rules, events, force + [ruling])[1])


def rulings_in_force(oracle, rules, events, steps, earlier=None):
    """Which of the rulings among the steps, until a pause under earlier rules, are not refused, and stand in the end."""
    known, force, in_force = [], [], earlier or rules
    for step in steps:
        if step[0] == "pause":
            in_force = rules
        elif step[0] in EVENT_STEPS:
            known += [events[m] for m in step[1]]
        elif step[0] == "undo":
            force = [x for x in force if x != step[1]]
        elif step[0] in RULINGS and may_stand(oracle, in_force, known, force, step):
            force.append(step)
    return sorted(force)


class Outcome:
    """What the database made of one stream by one way."""

    def __init__(self):
        self.people, self.links, self.rulings, self.anchors = [], [], {}, {}  # rulings taken: whether they stand

    def in_force(self):
        return sorted(ruling for ruling, stands in self.rulings.items() if stands)

    def difference(self, rules, events, want):
        """What is not as expected, or None."""
        partition = defaultdict(list)
        for name, value, profile_id, count in self.people:
            partition[profile_id].append((name, value, count))
        # somebody whom nothing named but a denial, or a pin that was undone, may be there, alone
        named = {n for kind, *pair in self.in_force() if kind == "pin" for n in pair}
        have = sorted(sorted((name, value) for name, value, _ in c) for c in partition.values()
                      if len(c) > 1 or c[0][2] > 0 or c[0][:2] in named)
        if have != want[0]:
            return f"the partition differs:\n  oracle    {[c for c in want[0] if c not in have]}\n  database  {[c for c in have if c not in want[0]]}"
        rejected = sorted((l[0], l[1], l[6]) for l in self.links if l[5] == "rejected")
        if rejected != want[1]:
            return f"the rejected links differ:\n  oracle    {[l for l in want[1] if l not in rejected]}\n  database  {[l for l in rejected if l not in want[1]]}"
        if any(l[5] not in ("accepted", "redundant", "rejected") or (l[5] == "rejected") != (l[6] != "") for l in self.links):
            return f"a link has no proper judgement: {self.links}"
        seen = {l[:2]: l[2:5] for l in self.links if l[4] > 0}
        expected = evidence(rules, events, self.in_force())
        if seen != expected:
            return f"the evidence of links differs:\n  expected  {expected}\n  database  {seen}"
        return self.no_forest(have) or self.other_anchors(want[2])

    def no_forest(self, clusters):
        """Accepted links must connect each profile, without circles."""
        parent = {}

        def find(n):
            while parent.setdefault(n, n) != n:
                n = parent[n]
            return n
        for a, b, *_, status, _ in self.links:
            if status == "accepted":
                if find(a) == find(b):
                    return f"accepted links make a circle: {self.links}"
                parent[find(a)] = find(b)
        if any(find(n) != find(c[0]) for c in clusters for n in c):
            return f"accepted links do not connect a profile: {self.links}"
        return None

    def other_anchors(self, want):
        if self.anchors == want:
            return None
        wrong = {m: (want.get(m), self.anchors.get(m)) for m in want.keys() | self.anchors.keys() if want.get(m) != self.anchors.get(m)}
        return f"anchors differ, by message (oracle, database): {dict(sorted(wrong.items()))}"


def read_outcomes(database):
    """Outcomes by stream and way; and what is unsound whatever the oracle says."""
    outcomes, unsound = defaultdict(Outcome), []
    for kind, *f in database.run(READ):
        if kind == "identifier":
            outcomes[f[0], f[1]].people.append((f[2], f[3], f[4], int(f[5])))
        elif kind == "link":
            first, last = (int(x) if x else None for x in f[6:8])
            outcomes[f[0], f[1]].links.append(((f[2], f[3]), (f[4], f[5]), first, last, int(f[8]), f[9], f[10]))
        elif kind == "ruling":
            kind, *what = json.loads(f[2])
            outcomes[f[0], f[1]].rulings[kind, *(x if isinstance(x, str) else tuple(x) for x in what)] = f[3] == "t"
        elif kind == "event":
            outcomes[f[0], f[1]].anchors[f[2]] = (f[3], f[4]) if f[3] else None
        elif kind == "unsound":
            unsound.append(": ".join(f))
    return outcomes, unsound


# failures

def shrunk(case, problem_of, smaller, seconds=60):
    """The smallest case found that still has a problem, and which; None if the case alone has none."""
    def told(candidate):
        try:
            return problem_of(candidate)
        except RuntimeError as e:
            return str(e)
    problem, end, found = told(case), time.monotonic() + seconds, True
    if not problem:
        return None
    while found:
        found = False
        for candidate in smaller(case):
            now = told(candidate) if time.monotonic() < end else None
            if now:
                case, problem, found = candidate, now, True
                break
    return case, problem


def with_less(events, steps):
    """The same with one thing less: a step, an event, an identifier of an event."""
    def made(events, steps):
        steps = [s[:1] + ([m for m in s[1] if m in events],) + s[2:] if s[0] in EVENT_STEPS else s for s in steps]
        brought = {m for s in steps if s[0] in EVENT_STEPS for m in s[1]}
        return {m: e for m, e in events.items() if m in brought}, [s for s in steps if s[0] not in EVENT_STEPS or s[1]]
    for i in range(len(steps)):
        yield made(events, steps[:i] + steps[i + 1:])
    for m in events:
        yield made({x: e for x, e in events.items() if x != m}, steps)
    for m, (_, t, ids) in events.items():
        for n in ids if len(ids) > 1 else []:
            yield made(events | {m: (m, t, [x for x in ids if x != n])}, steps)
