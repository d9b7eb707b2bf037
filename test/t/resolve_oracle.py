#!/usr/bin/env python3
"""Compare cdp.resolve(), on any query, with the oracle of specs/identity.md.

usage: resolve_oracle.py [psql command and arguments]      (default: $PSQL, else psql)
       STREAMS=2000 NASTY=200 SEED=1 in the environment change what is tried.

The database must have the extension; cdp.init() is not called, for none is needed.
Each stream is one call in one session, with rules of its own; its messages come shuffled, some twice, as jsonb, json
or text, alone or in envelopes, with their times inside or beside them.  Besides the oracle's own streams there are
nasty ones: three namespaces of people, chains of devices, devices of hundreds of people, many pins and denials.
Compared are the partition, which identifier stands for each profile, and which devices are contested.
Exits 1 with the smallest differing case.
"""
import importlib.util, json, os, random, shlex, subprocess, sys, time
from collections import defaultdict
from pathlib import Path

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
PATHS = {"user_id": "userId", "email": "context.traits.email", "anonymous_id": "anonymousId", "device_id": "context.device.id",
         "card": "properties.card", "customer": "traits.customer"}


def load_oracle():
    spec = importlib.util.spec_from_file_location("identity", SHARED / "oracles" / "identity.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def nasty_stream(r):
    """Namespaces, events, pins and denials of a stream in which much is contested."""
    names = ["user_id", "customer", "card", "email", "device_id", "anonymous_id"]
    kinds = ["person", "person", "person", "contact", "device", "device"]
    priorities = r.sample(range(1, 100), len(names))
    rules = {n: {"priority": p, "kind": k, "limit": r.choice([1, 1, 2, 3, None]) if k != "device" else r.choice([None, None, 20]),
                 "bridge": r.choice(["unique", "unique", "always", "never"])} for n, k, p in zip(names, kinds, priorities)}
    ids = []
    shape = r.randrange(4)
    if shape == 0:  # a chain of devices, with somebody here and there
        length = r.choice([10, 50])
        for i in range(length):
            ids.append([["anonymous_id", f"a{i}"], ["device_id" if i % 3 else "anonymous_id", f"a{i + 1}"]])
            ids.append([["device_id" if i % 3 else "anonymous_id", f"a{i + 1}"], ["anonymous_id", f"a{i + 1}"]])
            if r.random() < 0.15:
                ids.append([["anonymous_id", f"a{i}"], [r.choice(names[:4]), f"p{r.randrange(5)}"]])
    elif shape == 1:  # a device that hundreds use
        users = r.choice([20, 200])
        for i in range(users):
            ids.append([[r.choice(names[:4]), f"p{i}"], ["device_id", "kiosk"]])
            if r.random() < 0.3:
                ids.append([[r.choice(names[:4]), f"p{i}"], [r.choice(names), f"p{r.randrange(users)}"]])
    else:  # everything with everything
        pool = [[n, f"{n[0]}{i}"] for n in names for i in range(r.choice([2, 6, 15]))]
        for _ in range(r.randrange(10, 120)):
            ids.append(r.sample(pool, r.choice([1, 2, 2, 2, 3, 5])))
    for i in ids:
        if len(i) == 2 and i[0] == i[1]:
            i.pop()
    span = r.choice([1, 5, 1000])
    events = [[f"m{i}", r.randrange(span), x] for i, x in enumerate(ids)]
    known = [list(x) for x in {tuple(n) for x in ids for n in x}] + [["email", "never seen"], ["user_id", "nor this"]]
    known.sort()
    pair = lambda: r.sample(known, 2)
    return rules, events, [pair() for _ in range(r.choice([0, 1, 6]))], [pair() for _ in range(r.choice([0, 1, 6]))]


def set_path(body, path, value):
    *outer, last = path.split(".")
    for name in outer:
        body = body.setdefault(name, {})
    body[last] = value


def message(event, r, has_column):
    """One event as a message: at their places where there is one value of a namespace, else as externalIds."""
    m, t, ids = event
    body, external = {"messageId": m}, []
    if not has_column:
        body["timestamp"] = f"2026-01-01T00:{t // 60:02}:{t % 60:02}Z"
    for name, value in ids:
        if sum(n == name for n, _ in ids) == 1 and r.random() < 0.8:
            set_path(body, PATHS[name], value)
        else:
            external.append({"type": name, "id": value})
    r.shuffle(external)
    if external:
        set_path(body, "context.externalIds", external)
    return body


def call(number, stream, r):
    """The SQL of one stream."""
    namespaces, events, pins, denials = stream
    has_column = r.random() < 0.5
    sent = events + r.choices(events, k=r.choice([0, 0, 1, len(events)]))
    r.shuffle(sent)
    rows = []
    while sent:
        first = sent.pop()
        if r.random() < 0.2:
            group = [first] + [sent.pop() for _ in range(min(len(sent), r.randrange(3)))]
            if has_column:  # one time for all in a row
                sent += [e for e in group if e[1] != first[1]]
                group = [e for e in group if e[1] == first[1]]
            body = {"batch": [message(e, r, has_column) for e in group]}
        else:
            body = message(first, r, has_column)
        # the first row gives the type
        type_name = r.choice(["::jsonb", "::jsonb", "::json", "::text"]) if not rows else ""
        time_column = f", timestamptz '2026-01-01Z' + interval '{first[1]} s'" if has_column else ""
        rows.append(f"('{json.dumps(body)}'{type_name}{time_column})")
    query = f"SELECT * FROM (VALUES {', '.join(rows)}) v"
    rules = {"namespaces": {n: {"kind": c["kind"], "priority": c["priority"], "max_per_profile": c.get("limit"), "bridge": c.get("bridge", "unique"),
                                "paths": [PATHS[n]]} for n, c in namespaces.items()},
             "pins": [[":".join(x) for x in p] for p in pins], "denials": [[":".join(x) for x in p] for p in denials]}
    if r.random() < 0.1 and not pins:
        del rules["pins"]
    return f"SELECT {number}, identifier, profile, is_contested FROM cdp.resolve($q${query}$q$, $q${json.dumps(rules)}$q$);\n"


def contested(namespaces, events, pins):
    """The devices seen with two values of one namespace that is no device's: specs/identity.md §4, by links."""
    strength = lambda n: (namespaces[n[0]]["priority"], n[0], n[1])
    seen, beside = {}, defaultdict(set)
    for m, _, ids in events:
        seen.setdefault(m, sorted({tuple(n) for n in ids}, key=strength))
    links = [(ids[0], n) for ids in seen.values() for n in ids[1:]] + [(tuple(u), tuple(v)) for u, v in pins]
    for u, v in links:
        for device, other in ((u, v), (v, u)):
            if namespaces[device[0]]["kind"] == "device" and namespaces[other[0]]["kind"] != "device":
                beside[device, other[0]].add(other[1])
    return {device for (device, _), values in beside.items() if len(values) > 1}


def check(oracle, stream, rows):
    """What differs in one stream's outcome, or None."""
    namespaces, events, pins, denials = stream
    strength = lambda n: (namespaces[n[0]]["priority"], n[0], n[1])
    # a pin without evidence is older than any
    want = oracle.resolve(namespaces, [[m, t + 1, ids] for m, t, ids in events], pins, denials)
    clusters = defaultdict(list)
    for identifier, profile, _ in rows:
        clusters[profile].append(identifier)
    have = sorted(sorted(list(n) for n in c) for c in clusters.values())
    if have != want["profiles"]:
        return f"the partition differs:\n  oracle    {want['profiles']}\n  database  {have}"
    if any(profile != min(c, key=strength) for profile, c in clusters.items()):
        return "a profile is not named by its strongest identifier"
    if {n for n, _, is_contested in rows if is_contested} != contested(namespaces, events, pins):
        return "other devices are contested"
    return None


def main():
    if not SHARED.is_dir():
        print("skipped: ../shared/oracles is not there")
        return
    oracle = load_oracle()
    command = sys.argv[1:] or shlex.split(os.environ.get("PSQL", "psql"))
    n, nasty, seed = int(os.environ.get("STREAMS", 2000)), int(os.environ.get("NASTY", 200)), int(os.environ.get("SEED", 1))
    r = random.Random(seed)
    streams = [oracle.random_stream(r) for _ in range(n)] + [nasty_stream(r) for _ in range(nasty)]
    sql = "".join(call(i, s, r) for i, s in enumerate(streams))
    started = time.monotonic()
    done = subprocess.run(command + ["-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1"], input=sql, text=True, capture_output=True)
    if done.returncode != 0:
        sys.exit(f"FAILED: the database says\n{done.stderr[:2000]}")
    resolved = time.monotonic()
    rows = defaultdict(list)
    for line in done.stdout.splitlines():
        number, identifier, profile, is_contested = line.split("\t")
        rows[int(number)].append((tuple(identifier.split(":")), tuple(profile.split(":")), is_contested == "t"))
    failures, shared = [], 0
    for i, stream in enumerate(streams):
        problem = check(oracle, stream, rows[i])
        shared += any(c for _, _, c in rows[i])
        if problem:
            failures.append((len(stream[1]), problem, stream))
    if failures:
        _, problem, stream = min(failures, key=lambda f: f[0])
        print(f"FAILED: {len(failures)} of {len(streams)} streams differ; the smallest: {problem}\n  stream    {json.dumps(stream)}")
        sys.exit(1)
    print(f"ok: {len(streams)} streams, {sum(len(s[1]) for s in streams)} events, {shared} streams with contested devices, "
          f"resolved in {resolved - started:.1f} s, compared in {time.monotonic() - resolved:.1f} s (seed {seed})")


if __name__ == "__main__":
    main()
