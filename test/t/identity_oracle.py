#!/usr/bin/env python3
"""Compare who is who with the oracle of specs/identity.md on random streams of messages.

usage: identity_oracle.py [psql command and arguments]      (default: $PSQL, else psql)
       STREAMS=500 SEED=1 in the environment change what is tried.

The database must have the extension; everything else is made here, and nothing of another run is in the way.
Each stream goes in several times, each time as people of their own (values are prefixed), in another order and
by another way: one call a message, one envelope, the inbox in small batches, the inbox in one batch with other
streams, repeated messages, from several sessions at once, with a steward's pins and denials at any time in
between, and with such rulings that are undone again.  Streams come in groups that share their rules.
All ways must give the oracle's partition and its rejected links with their reasons; accepted links must be a
forest that spans each cluster, and no link's evidence or judgement may depend on the way.
Exits 1 with the smallest differing case.
"""
import importlib.util, json, os, random, shlex, subprocess, sys, time
from collections import defaultdict
from pathlib import Path

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
WAYS = ["calls", "reversed", "envelope", "inbox", "mixed", "again", "sessions", "undone", "ruled"]
STREAMS_A_GROUP = 30
SESSIONS = 4
RUN = f"r{os.getpid()}x"


def load_oracle():
    spec = importlib.util.spec_from_file_location("identity", SHARED / "oracles" / "identity.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def random_rules(r):
    """Namespaces with their limits and bridges: the oracle's three, and now and then two more."""
    rules = {
        "user_id": {"priority": 10, "kind": "person", "limit": r.choice([1, 1, 2, None])},
        "email": {"priority": 20, "kind": "contact", "limit": r.choice([1, 2, 5, None])},
        "anonymous_id": {"priority": 90, "kind": "device", "bridge": r.choice(["unique", "unique", "always", "never"]),
                         "limit": r.choice([None, None, None, 3])},
        "phone": {"priority": 30, "kind": "contact", "limit": r.choice([1, 2, None])},
        "device_id": {"priority": 80, "kind": "device", "bridge": r.choice(["unique", "unique", "always", "never"])},
    }
    return rules


def random_stream(oracle, r, rules):
    """Events [message_id, t, [[namespace, value], ..]]: most as the oracle's own tests make them, some larger."""
    if r.random() < 0.7:
        return [[m, t, ids] for m, t, ids in oracle.random_stream(r)[1]]
    pool = [[n, f"{n[0]}{i}"] for n, k in (("user_id", 4), ("email", 5), ("phone", 3), ("device_id", 3), ("anonymous_id", 6)) for i in range(k)]
    return [[f"m{i}", r.randrange(r.choice([3, 12])), r.sample(pool, r.choice([1, 2, 2, 2, 3, 4]))] for i in range(r.randrange(8, 40))]


def random_rulings(r, events):
    """What a steward says of it: [kind, a, b], now and then of somebody never seen."""
    pool = sorted({tuple(n) for _, _, ids in events for n in ids} | {("user_id", "u9"), ("email", "e9")})
    return [[r.choice(["pin", "deny"])] + r.sample(pool, 2) for _ in range(r.choice([0, 1, 1, 2, 3]))] if len(pool) > 1 else []


def message(prefix, event, r):
    """One event as an SDK would send it: by the usual members where there is one value, else as externalIds."""
    m, t, ids = event
    body = {"type": "track", "event": "identity_oracle", "messageId": prefix + m, "timestamp": f"2026-01-01T00:00:{t:02}Z"}
    context, by_name = {}, defaultdict(list)
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


def literal(value):
    return "'" + json.dumps(value).replace("'", "''") + "'"


def ingest(messages):
    return "SELECT count(i.*) FROM unnest(ARRAY[" + ",\n".join(map(literal, messages)) + "]) AS p, LATERAL (SELECT * FROM cdp.ingest(p) OFFSET 0) AS i;\n"


def insert(messages):
    return "INSERT INTO cdp.inbox (payload) VALUES " + ",\n".join(f"({literal(m)})" for m in messages) + ";\n"


def drain(size):
    return f"DO $$ BEGIN WHILE EXISTS (SELECT FROM cdp.inbox) LOOP PERFORM cdp.process({size}); END LOOP; END $$;\n"


def set_rules(rules):
    # made one after the other, so nobody may have another's priority on the way
    paths = {"user_id": "{userId}", "anonymous_id": "{anonymousId}", "email": "{context.traits.email}", "device_id": "{context.device.id}", "phone": "{}"}
    sql = ""
    for name, c in rules.items():
        sql += (f"SELECT cdp.create_namespace('{name}', '{c['kind']}', {c['priority']}, {c.get('limit') or 'NULL'}, bridge => '{c.get('bridge', 'unique')}', "
                f"normalizer => 'none', paths => '{paths[name]}');\n")
    return sql


def feed(group, ways, r):
    """The SQL that brings a group's streams in by all ways but the last; and the scripts of concurrent sessions."""
    sql, mixed, sessions, turn = "", [], ["" for _ in range(SESSIONS)], 0
    for stream, events, rulings in group:
        for way in ways:
            prefix = f"{RUN}{stream}.{way[:3]}."
            order = events[::-1] if way == "reversed" else r.sample(events, len(events))
            messages = [message(prefix, e, r) for e in order]
            if way in ("calls", "reversed"):
                sql += ingest(messages)
            elif way == "envelope":
                sql += ingest([{"batch": messages, "sentAt": None}])
            elif way == "inbox":
                sql += insert(messages) + drain(r.randrange(1, 4))
            elif way == "mixed":
                mixed += messages
            elif way == "again":
                again = [message(prefix, e, r) for e in r.choices(order, k=len(order))]
                half = len(messages) // 2
                sql += ingest(messages[:half]) + insert(messages[half:] + again + messages[:half]) + drain(5) + ingest(again)
            elif way in ("undone", "ruled"):
                steps = [ingest([m]) for m in messages]
                for kind, a, b in rulings:
                    steps.insert(r.randrange(len(steps) + 1), f"SELECT identity_oracle_rule('{kind}', '{a[0]}:{prefix}{a[1]}', '{b[0]}:{prefix}{b[1]}');\n")
                undo = f"SELECT cdp.undo(ruling_id) FROM cdp.ruling WHERE undone_at IS NULL AND cdp.value(a) LIKE '{prefix}%' ORDER BY md5(ruling_id::text);\n"
                if way == "undone":
                    steps.insert(r.randrange(len(steps) // 2, len(steps) + 1), undo)
                    steps.append(undo)
                sql += "".join(steps)
            elif way == "sessions":
                for m in messages:
                    sessions[turn % SESSIONS] += f"SELECT events FROM cdp.ingest({literal(m)});\n"
                    turn += 1
    r.shuffle(mixed)
    if mixed:
        sql += insert(mixed) + drain(r.choice([7, 100, 10000]))
    return sql, sessions


READ = f"""
SELECT 'identifier', split_part(value, '.', 1), split_part(value, '.', 2), namespace, split_part(value, '.', 3), profile_id, event_count FROM cdp.identifiers WHERE value LIKE '{RUN}%';
SELECT 'link', split_part(value_a, '.', 1), split_part(value_a, '.', 2), namespace_a, split_part(value_a, '.', 3), namespace_b, split_part(value_b, '.', 3),
    extract(epoch FROM first_seen_at - '2026-01-01Z')::integer, extract(epoch FROM last_seen_at - '2026-01-01Z')::integer, event_count, status, reason FROM cdp.links WHERE value_a LIKE '{RUN}%';
SELECT 'ruling', split_part(cdp.value(a), '.', 1), split_part(cdp.value(a), '.', 2), kind, cdp.namespace(a), split_part(cdp.value(a), '.', 3), cdp.namespace(b), split_part(cdp.value(b), '.', 3)
FROM cdp.ruling WHERE undone_at IS NULL AND cdp.value(a) LIKE '{RUN}%';
SELECT 'dangling', count(*) FROM cdp.identity i LEFT JOIN cdp.profile p ON p.profile_id = i.profile_id AND p.merged_into IS NULL WHERE p.profile_id IS NULL;
SELECT 'chained', count(*) FROM cdp.profile p JOIN cdp.profile q ON q.profile_id = p.merged_into WHERE q.merged_into IS NOT NULL;
SELECT 'waiting', count(*) FROM cdp.inbox;
"""


def psql(command, sql, check=True):
    done = subprocess.run(command + ["-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1"], input="SET client_min_messages = warning;\n" + sql, text=True, capture_output=True)
    if check and done.returncode != 0:
        sys.exit(f"FAILED: the database says\n{done.stderr[:2000]}")
    return done


def psql_sessions(command, scripts):
    """Run scripts at the same time; whatever one of them is told is a failure, a deadlock above all."""
    running = [subprocess.Popen(command + ["-X", "-q", "-A", "-t"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in scripts]
    for p, script in zip(running, scripts):
        # all scripts are small enough to be written before anybody reads
        p.stdin.write("SET client_min_messages = warning;\n" + script)
    for p in running:
        p.stdin.close()
    told = [p.stderr.read() for p in running]
    for p in running:
        p.wait()
    return "".join(told)


RULE = """
CREATE OR REPLACE FUNCTION identity_oracle_rule(kind text, a cdp.identifier, b cdp.identifier) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    RETURN CASE kind WHEN 'pin' THEN cdp.pin(a, b, 'test') ELSE cdp.deny(a, b, 'test') END;
EXCEPTION WHEN check_violation THEN
    RETURN NULL; -- another ruling or a limit stands against it
END
$$;
"""


def expected(oracle, rules, events, pins=(), denies=()):
    # a pin without evidence is older than any
    result = oracle.resolve(rules, [[m, t + 1, ids] for m, t, ids in events], pins, denies)
    return [[tuple(n) for n in c] for c in result["profiles"]], sorted((tuple(u), tuple(v), why) for u, v, why in result["rejected"])


def check_way(want, people, links):
    """What differs in one way's outcome, or None."""
    partition = defaultdict(list)
    for name, value, profile_id in people:
        partition[profile_id].append((name, value))
    have = sorted(sorted(c) for c in partition.values())
    if have != want[0]:
        return f"the partition differs:\n  oracle    {want[0]}\n  database  {have}"
    rejected = sorted((l[0], l[1], l[6]) for l in links if l[5] == "rejected")
    if rejected != want[1]:
        return f"the rejected links differ:\n  oracle    {want[1]}\n  database  {rejected}"
    if any(l[5] not in ("accepted", "redundant", "rejected") or (l[5] == "rejected") != (l[6] != "") for l in links):
        return f"a link has no proper judgement: {links}"
    parent = {}

    def find(n):
        while parent.setdefault(n, n) != n:
            n = parent[n]
        return n
    for l in links:
        if l[5] == "accepted":
            if find(l[0]) == find(l[1]):
                return f"accepted links make a circle: {links}"
            parent[find(l[0])] = find(l[1])
    if any(find(n) != find(c[0]) for c in have for n in c):
        return f"accepted links do not connect a profile: {links}"
    return None


def main():
    if not SHARED.is_dir():
        print("skipped: no oracle")
        return
    oracle = load_oracle()
    command = sys.argv[1:] or shlex.split(os.environ.get("PSQL", "psql"))
    n, seed = int(os.environ.get("STREAMS", 500)), int(os.environ.get("SEED", 1))
    r = random.Random(seed)
    started = time.monotonic()
    psql(command, "CREATE EXTENSION IF NOT EXISTS cdp;\nSELECT cdp.init();\n" + RULE)

    streams, told = {}, ""
    while len(streams) < n:
        rules = random_rules(r)
        group = []
        for _ in range(min(STREAMS_A_GROUP, n - len(streams))):
            stream = f"s{len(streams)}"
            events = random_stream(oracle, r, rules)
            group.append((stream, events, random_rulings(r, events)))
            streams[f"{RUN}{stream}"] = (rules, events)
        sql, sessions = feed(group, WAYS, r)
        psql(command, "SET synchronous_commit = off;\nBEGIN;\n" + set_rules(rules) + "COMMIT;\n" + sql)
        told += psql_sessions(command, sessions)
    fed = time.monotonic()

    people, links, pins, denies, other = defaultdict(list), defaultdict(list), defaultdict(list), defaultdict(list), {}
    for line in psql(command, READ).stdout.splitlines():
        f = line.split("\t")
        if f[0] == "identifier":
            if f[2] != "und" or f[6] != "0":  # whom only an undone ruling named
                people[f[1], f[2]].append((f[3], f[4], f[5]))
        elif f[0] == "link":
            links[f[1], f[2]].append(((f[3], f[4]), (f[5], f[6]), f[7], f[8], f[9], f[10], f[11]))
        elif f[0] == "ruling":
            (pins if f[3] == "pin" else denies)[f[1], f[2]].append(((f[4], f[5]), (f[6], f[7])))
        elif f[0] in ("dangling", "chained", "waiting"):
            other[f[0]] = int(f[1])

    failures, messages, rejected, contested, ruled = [], 0, 0, 0, 0
    for stream, (rules, events) in streams.items():
        want = expected(oracle, rules, events)
        messages += len(events) * len(WAYS)
        rejected += len(want[1])
        contested += bool(want[1])
        judgements = {}
        for way in WAYS:
            key = (stream, way[:3])
            ruled += len(pins[key]) + len(denies[key])
            if way == "ruled":
                problem = check_way(expected(oracle, rules, events, pins[key], denies[key]), people[key], links[key])
            else:
                problem = check_way(want, people[key], links[key])
                judgements.setdefault(tuple(sorted(links[key])), way)
            if problem is None and len(judgements) > 1:
                (a, one), (b, two) = list(judgements.items())[:2]
                problem = f"links depend on the way, {one} and {two}:\n  {sorted(set(a) - set(b))}\n  {sorted(set(b) - set(a))}"
            if problem:
                failures.append((sum(len(e[2]) for e in events), way, problem, rules, events, pins[key], denies[key]))
                break
    if told:
        print(f"FAILED: a session was told\n{told[:2000]}")
    if any(other.values()):
        print(f"FAILED: identifiers without a live profile {other['dangling']}, chained redirects {other['chained']}, payloads left in the inbox {other['waiting']}")
    if failures:
        _, way, problem, rules, events, pins, denies = min(failures, key=lambda f: f[0])
        print(f"FAILED: {len(failures)} of {len(streams)} streams differ; the smallest, by way of {way}: {problem}\n  rules     {json.dumps(rules)}\n  events    {json.dumps(events)}\n  pins      {json.dumps(pins)}\n  denials   {json.dumps(denies)}")
    if told or failures or any(other.values()):
        sys.exit(1)
    print(f"ok: {len(streams)} streams by {len(WAYS)} ways, {messages} messages, {contested} streams with {rejected} rejected links, {ruled} rulings in force, "
          f"fed in {fed - started:.0f} s, compared in {time.monotonic() - fed:.0f} s (seed {seed})")


if __name__ == "__main__":
    main()
