#!/usr/bin/env python3
"""Who is who in the shop data, against what its messages and its known truth say.

usage: shop_identity.py [psql command and arguments]      (default: $PSQL, else psql)

Brings ../shared/data/shop in, in a database of its own, and compares with what this script works out from the messages
by itself: the number of profiles, identifiers and rejected links; that each device on which one person only signed in
is that person's; and that each message of a shared device alone is anchored to whoever signed in there last before it.
"""
import gzip, json, os, shlex, subprocess, sys
from collections import defaultdict
from pathlib import Path

SHOP = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "shop"
DATABASE = "cdp_test_shop"
EXPECTED = {"profiles": "2357", "identifiers": "8559", "rejected": "17", "differences": "0"}


def psql(command, sql, database):
    done = subprocess.run(command + ["-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-d", database],
                          input="SET client_min_messages = warning;\n" + sql, text=True, capture_output=True)
    if done.returncode != 0:
        sys.exit(f"FAILED: the database says\n{done.stderr[:2000]}")
    return [line.split("\t") for line in done.stdout.splitlines()]


def strongest(m):
    """What somebody is known by in a message of this shop, the strongest first; None: only by a device."""
    context = m.get("context", {})
    external = {e["type"]: e["id"] for e in context.get("externalIds", [])}
    traits = {**external, **context.get("traits", {}), **(m.get("traits") or {} if m["type"] == "identify" else {})}
    if m.get("userId"):
        return "user_id", m["userId"]
    if traits.get("email"):
        return "email", traits["email"].strip().lower()
    return ("phone", traits["phone"]) if traits.get("phone") else None


def read_shop():
    """Sign-ins of each device, and the messages that come from one alone; by time, then message id."""
    sign_ins, alone, seen = defaultdict(list), [], set()
    with gzip.open(SHOP / "shop_batches.ndjson.gz", "rt") as lines:
        for m in (m for line in lines for m in json.loads(line)["batch"]):
            if m["messageId"] in seen:
                continue
            seen.add(m["messageId"])
            who, at = strongest(m), (m["timestamp"], m["messageId"])
            if who is None:
                alone.append((m["anonymousId"], at))
            elif m.get("anonymousId"):
                sign_ins[m["anonymousId"]].append((at, who))
    return sign_ins, alone


def main():
    if not SHOP.is_dir():
        print("skipped: ../shared/data/shop is not there")
        return
    command = sys.argv[1:] or shlex.split(os.environ.get("PSQL", "psql"))
    psql(command, f"DROP DATABASE IF EXISTS {DATABASE};\nCREATE DATABASE {DATABASE};", "postgres")
    lines = gzip.open(SHOP / "shop_batches.ndjson.gz", "rt").read().splitlines()
    copy = "COPY cdp.inbox (source, payload) FROM STDIN (FORMAT csv, DELIMITER E'\\x01', QUOTE E'\\x02');\n" + "".join(f"import\x01{l}\n" for l in lines) + "\\.\n"
    psql(command, "CREATE EXTENSION cdp;\nSELECT cdp.init();\n" + copy +
         "DO $$ BEGIN WHILE EXISTS (SELECT FROM cdp.inbox) LOOP PERFORM cdp.process(); END LOOP; END $$;", DATABASE)

    failures = []
    figures = dict(psql(command, """SELECT 'profiles', count(*) FROM cdp.profiles; SELECT 'identifiers', count(*) FROM cdp.identifiers;
        SELECT 'rejected', count(*) FROM cdp.links WHERE status = 'rejected'; SELECT 'differences', sum(differences) FROM cdp.verify();""", DATABASE))
    failures += [f"{name}: {figures[name]}, expected {n}" for name, n in EXPECTED.items() if figures[name] != n]

    profile = {(ns, value): p for ns, value, p in psql(command, "SELECT namespace, value, profile_id FROM cdp.identifiers", DATABASE)}
    anchors = {message: (ns, value) for message, ns, value in psql(command, "SELECT message_id, anchor_namespace, anchor_value FROM cdp.events", DATABASE)}
    sign_ins, alone = read_shop()
    users = {d: {who for _, who in s if who[0] == "user_id"} for d, s in sign_ins.items()}
    single = 0
    for device, who in users.items():
        if len(who) == 1:
            single += 1
            if profile["anonymous_id", device] != profile[min(who)]:
                failures.append("a device on which one person only signed in is not that person's")
    with open(SHOP / "shop_truth.ndjson") as lines:
        shared = {t["shared_device"] for t in map(json.loads, lines) if t.get("shared_device")}
    moved = 0
    for device, at in alone:
        holder = ("anonymous_id", device)
        if device in shared and len(users.get(device, ())) > 1:
            before = [s for s in sign_ins[device] if s[0] <= at]
            holder = max(before)[1] if before else holder
            moved += bool(before)
        if anchors[at[1]] != holder:
            failures.append("a message from a device alone is not with who signed in there last")
    psql(command, f"DROP DATABASE {DATABASE};", "postgres")
    if failures:
        sys.exit("FAILED: " + "\n".join(sorted(set(failures))[:10]) + f"\n({len(failures)} in all)")
    print(f"ok: {figures['profiles']} profiles, {figures['identifiers']} identifiers, {figures['rejected']} rejected links, {single} devices of one person each, "
          f"{moved} of {len(alone)} messages from a device alone with who had signed in last on {sum(len(w) > 1 for w in users.values())} shared ones")


if __name__ == "__main__":
    main()
