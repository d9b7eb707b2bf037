#!/usr/bin/env python3
"""Compare who is who with the oracle of specs/identity.md on random streams of messages.

usage: identity_oracle.py [psql command and arguments]      (default: $PSQL, else psql)
       STREAMS=2000 SEED=1 in the environment change what is tried; RESTART=command says how to stop and start the server.

Works in databases of its own.  Half of the streams are the oracle's own kind, half are nastier: three namespaces of
persons, chains of devices, crowds on one device, addresses that change hands, shared tablets, equal times.  Each goes
in three times, some five times, each time as people of their own (values are prefixed), in another order and by
another way: one by one; in envelopes, the inbox and with repeats; with the server stopped and started between; in
one batch with other streams; by several sessions at once.  A steward's pins, denials and retractions come in between,
some undone again, and in some groups the rules change in the middle.

All ways must give the oracle's partition, its rejected links with their reasons and its anchors; accepted links must
be a forest that spans each profile, each link's evidence what the messages say, its judgement the same by all ways.
Streams come in groups that share their rules, and each group ends with cdp.verify().  Exits 1 with a small case.
"""
import json, os, random, sys, threading, time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))
from identity_streams import *

STREAMS_A_GROUP = 40
GROUPS_AT_ONCE = 2  # each in a database of its own
SESSIONS = 4


class Stream:
    def __init__(self, name, events, ways, order):
        self.name, self.events, self.ways = name, {m: (m, t, ids) for m, t, ids in events}, ways  # ways: name -> steps
        self.order = order  # seeds the messages' forms


class Group:
    """Streams that share their rules, and what rules there were until the pause."""

    def __init__(self, rules, earlier, streams):
        self.rules, self.earlier, self.streams = rules, earlier, streams

    def of(self, stream):
        return Group(self.rules, self.earlier, [stream])


def random_ways(r, rules, events, may_be_ruled):
    """The ways a stream goes in, each with its steps."""
    def order():
        return r.sample([e[0] for e in events], len(events))
    ways = {"calls": calls(r, order() if r.random() < 0.8 else [e[0] for e in events][::-1]), "batches": batches(r, order()), "restarted": restarted(r, order())}
    if r.random() < 0.2:
        ways["together"] = together(r, order())
    if r.random() < 0.1:
        ways["sessions"] = [("calls", [m]) for m in order()]
    if may_be_ruled and r.random() < 0.4:
        rulings = random_rulings(r, rules, events)
        for way in ways:
            ways[way] = with_rulings(r, ways[way], rulings, undone=0.3 if way != "sessions" else 0)
    return ways


def random_group(oracle, r, first, n):
    nasty = r.random() < 0.5
    rules, streams = (nasty_rules if nasty else plain_rules)(r), []
    changed, ranks_too = r.random() < 0.3, r.random() < 0.4
    for i in range(n):
        events = nasty_stream(r) if nasty else plain_stream(oracle, r)
        # rulings name the stronger first
        streams.append(Stream(f"s{first + i}", events, random_ways(r, rules, events, not (changed and ranks_too)), r.random()))
    return Group(rules, earlier_rules(r, rules, ranks_too) if changed else None, streams)


def feed(database, group, restart):
    """Bring streams in by all their ways, with a restart where they pause."""
    parts, sessions, turn = ["", ""], [""] * SESSIONS, 0
    for stream in group.streams:
        for way, steps in stream.ways.items():
            prefix, r, part = f"{stream.name}.{way}.", random.Random(stream.order), 0
            for step in steps:
                if step == ("pause",):
                    part = 1
                elif way == "sessions":
                    sessions[turn % SESSIONS] += step_sql(prefix, stream.events, step, r)
                    turn += 1
                else:
                    parts[part] += step_sql(prefix, stream.events, step, r)
    database.run("SELECT identity_test_forget();\n" + rules_sql(group.earlier or group.rules) + parts[0])
    restart()
    changes = rules_sql(group.rules, group.earlier) if group.earlier else ""
    database.run(changes + drain(random.Random(group.streams[0].order).choice([7, 100, 10000])) + parts[1])
    if any(sessions):
        database.run_beside(sessions)


def differences(oracle, group, outcomes):
    """Yield stream, way and what differs."""
    rules = group.rules
    for stream in group.streams:
        wanted, judgements = {}, {}
        for way, steps in stream.ways.items():
            outcome = outcomes[stream.name, way]
            # of several sessions' rulings chance decides which come first, and so which are refused
            force = rulings_in_force(oracle, rules, stream.events, steps, group.earlier) if way != "sessions" else outcome.in_force()
            if outcome.in_force() != force:
                yield stream, way, f"rulings in force differ:\n  oracle    {force}\n  database  {outcome.in_force()}"
                break
            if tuple(force) not in wanted:
                wanted[tuple(force)] = resolve(oracle, rules, stream.events.values(), force)
            problem = outcome.difference(rules, stream.events.values(), wanted[tuple(force)])
            links, other_way = judgements.setdefault(tuple(force), (sorted(outcome.links), way))
            if not problem and links != sorted(outcome.links):
                problem = f"links depend on the way, here and by {other_way}:\n  {sorted(set(outcome.links) - set(links))}\n  {sorted(set(links) - set(outcome.links))}"
            if problem:
                yield stream, way, problem
                break


def report(database, oracle, group, failures, seed):
    """Say what differs, by a small case; failures: (stream, way, problem or None if it may not be alone's)."""
    def alone(stream, way, events, steps):
        return Stream(stream.name, events.values(), {way: steps}, stream.order)

    def problem_of(case):
        feed(database, group.of(case), database.restart)
        outcomes, unsound = read_outcomes(database)
        return next((p for *_, p in differences(oracle, group.of(case), outcomes)), None) or "; ".join(unsound)

    end = time.monotonic() + 120
    for stream, way, problem in sorted(failures, key=lambda f: sum(len(ids) for _, _, ids in f[0].events.values())):
        small = shrunk(alone(stream, way, stream.events, stream.ways[way]), problem_of,
                       lambda case: (alone(stream, way, *x) for x in with_less(case.events, case.ways[way])))
        if small:
            stream, problem = small
        if not problem and time.monotonic() > end:
            print("no stream fails alone")
            return
        if problem:
            print(f"FAILED (seed {seed}), a small case, by way of {way}{'' if small else ' (not when alone)'}: {problem}\n  rules     {json.dumps(group.rules)}\n"
                  f"  earlier   {json.dumps(group.earlier)}\n"
                  f"  events    {json.dumps(list(stream.events.values()))}\n  steps     {json.dumps(stream.ways[way])}")
            return


def bring_in(databases, groups):
    """Feed groups, one into each database at the same time; each with its outcomes and what is unsound."""
    restarts = threading.Barrier(len(groups), action=databases[0].restart)

    def run(database, group):
        try:
            feed(database, group, restarts.wait)
            return database, group, *read_outcomes(database)
        except RuntimeError as e:
            restarts.abort()
            return database, group, {}, [] if isinstance(e, threading.BrokenBarrierError) else [str(e)]
    with ThreadPoolExecutor(len(groups)) as feeders:
        return list(feeders.map(run, databases, groups))


def main():
    if not SHARED.is_dir():
        print("skipped: ../shared/oracles is not there")
        return
    oracle = load_oracle()
    n, seed = int(os.environ.get("STREAMS", 2000)), int(os.environ.get("SEED", 1))
    r = random.Random(seed)
    started, counts = time.monotonic(), defaultdict(int)
    groups = [random_group(oracle, r, i, min(STREAMS_A_GROUP, n - i)) for i in range(0, n, STREAMS_A_GROUP)]
    rounds = [groups[i:i + GROUPS_AT_ONCE] for i in range(0, len(groups), GROUPS_AT_ONCE)]
    with ExitStack() as stack:
        databases = [stack.enter_context(Database(psql_command(), f"identity_oracle_{i}")) for i in range(GROUPS_AT_ONCE)]
        ahead = stack.enter_context(ThreadPoolExecutor(1))
        # the databases work on the next groups while the oracle thinks about these
        for done in ahead.map(lambda groups: bring_in(databases, groups), rounds):
            for database, group, outcomes, unsound in done:
                failures = list(differences(oracle, group, outcomes)) if outcomes else []
                if failures or unsound:
                    ahead.shutdown(cancel_futures=True)
                    print(f"FAILED: {len(failures)} of {len(group.streams)} streams of one group differ (seed {seed})" + "".join(f"; {x}" for x in unsound))
                    # what went wrong only together is looked for in each
                    report(database, oracle, group, failures or [(s, way, None) for s in group.streams for way in s.ways], seed)
                    sys.exit(1)
                for outcome in outcomes.values():
                    counts["ways"] += 1
                    counts["messages"] += len(outcome.anchors)
                    counts["rejected"] += sum(l[5] == "rejected" for l in outcome.links)
                    counts["rulings"] += len(outcome.in_force())
    print(f"ok: {n} streams, {counts['ways']} ways in, {counts['messages']} messages, {counts['rejected']} rejected links, {counts['rulings']} rulings in force, "
          f"{time.monotonic() - started:.0f} s (seed {seed})")


if __name__ == "__main__":
    main()
