#!/usr/bin/env python3
"""Which value of a trait survives, for every rule, against a plain SQL query on the log.

usage: profile_oracle.py [psql command and arguments]      (default: $PSQL, else psql)
       HISTORIES=20 SEED=1 in the environment change what is tried.

Works in a database of its own.  Each history is a few dozen messages of people who turn out to be one, and of an
account, with traits under every rule, clean and unclean, said at few different instants by sources of few ranks.  It
is brought in several ways: one by one, in envelopes, by the inbox in batches, in any order, parts of it again; with the
rules made before or in the middle; with messages retracted, people denied to be one, traits locked, and most of that
undone.  After each stage what profiles say must be what the query makes of the log; histories brought in two ways
without rulings must say the same, whatever the way; cdp.verify() must find no difference.
Exits 1 with a seed and what differs.
"""
import os, random, sys, time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))
from identity_streams import *

WAYS = 2

RULES = {
    "latest": "",
    "earliest": "rule => 'earliest'",
    "preferred": "rule => 'preferred', null_if => '{n/a}'",
    "first": "rule => 'first_non_empty'",
    "highest": "rule => 'highest', type => 'number', minimum => 0, maximum => 100",
    "lowest": "rule => 'lowest', type => 'number', minimum => 0, maximum => 100",
    "usual": "rule => 'most_frequent', cleanse => '{trim,lower}', valid_pattern => '^[a-z]+$'",
    "total": "rule => 'sum'",
    "list": "rule => 'union', cleanse => '{trim}', null_if => '{-}'",
}

# The rules once more, in SQL that knows nothing of cdp.traits. Values that tie are of one length, or null, so that
# "the larger bytewise" is told by their text.
ORACLE = """
CREATE VIEW oracle_said AS
    SELECT p.profile_id, t.key AS trait, t.value, e.occurred_at AS at, s.rank, e.message_id
    FROM cdp.events e JOIN cdp.source s ON s.name = e.source CROSS JOIN LATERAL jsonb_each(e.message -> 'traits') t
    JOIN cdp.identifiers p ON p.namespace = CASE e.type WHEN 'identify' THEN e.anchor_namespace WHEN 'group' THEN 'group_id' END
        AND p.value = CASE e.type WHEN 'identify' THEN e.anchor_value WHEN 'group' THEN e.message ->> 'groupId' END;
CREATE VIEW oracle_traits AS
    WITH said AS MATERIALIZED (SELECT * FROM oracle_said), one AS (
        -- latest, and the rules that differ from it in their order only
        SELECT DISTINCT ON (profile_id, trait) profile_id, trait, value FROM said
        WHERE trait IN ('latest', 'other') ORDER BY profile_id, trait, at DESC, rank DESC, value = 'null', value::text COLLATE "C" DESC
    ), earliest AS (
        SELECT DISTINCT ON (profile_id, trait) profile_id, trait, value FROM said
        WHERE value <> 'null' AND (trait = 'earliest' OR trait = 'first' AND value NOT IN ('""', '[]', '{}', '"  "'))
        ORDER BY profile_id, trait, at, rank DESC, value::text COLLATE "C" DESC
    ), preferred AS (
        SELECT DISTINCT ON (profile_id, trait) profile_id, trait, value
        FROM (SELECT profile_id, trait, nullif(value, '"n/a"') AS value, at, rank FROM said WHERE trait = 'preferred') x
        ORDER BY profile_id, trait, rank DESC, at DESC, coalesce(value, 'null') = 'null', value::text COLLATE "C" DESC
    ), extreme AS (
        SELECT profile_id, trait, to_jsonb(CASE trait WHEN 'highest' THEN max(value::text::numeric) ELSE min(value::text::numeric) END) AS value
        FROM said WHERE trait IN ('highest', 'lowest') AND jsonb_typeof(value) = 'number' AND value::text::numeric BETWEEN 0 AND 100
        GROUP BY profile_id, trait
    ), usual AS (
        SELECT DISTINCT ON (profile_id, trait) profile_id, trait, to_jsonb(value) AS value
        FROM (SELECT profile_id, trait, lower(btrim(value #>> '{}')) AS value, count(*) AS n, max(ARRAY[extract(epoch FROM at), rank]) AS mark
            FROM said WHERE trait = 'usual' AND jsonb_typeof(value) = 'string' AND btrim(value #>> '{}') ~ '^[A-Za-z]+$' GROUP BY 1, 2, 3) x
        ORDER BY profile_id, trait, n DESC, mark DESC, value COLLATE "C" DESC
    ), total AS (
        SELECT profile_id, trait, to_jsonb(sum(value::text::numeric)) AS value FROM said WHERE trait = 'total' AND jsonb_typeof(value) = 'number'
        AND abs(value::text::numeric) < 1e40 GROUP BY profile_id, trait
    ), list AS (
        SELECT s.profile_id, s.trait, coalesce(jsonb_agg(DISTINCT x.v) FILTER (WHERE x.v IS NOT NULL), '[]') AS value
        FROM said s LEFT JOIN LATERAL (
            SELECT CASE WHEN jsonb_typeof(v) = 'string' THEN to_jsonb(btrim(v #>> '{}')) ELSE v END AS v
            FROM jsonb_array_elements(CASE jsonb_typeof(s.value) WHEN 'array' THEN s.value ELSE jsonb_build_array(s.value) END) v
            WHERE v NOT IN ('null', '"-"')
        ) x ON true
        WHERE s.trait = 'list' AND s.value NOT IN ('null', '"-"') GROUP BY s.profile_id, s.trait
    ), locked AS (
        SELECT DISTINCT ON (i.profile_id, r.trait) i.profile_id, r.trait, r.value FROM cdp.ruling r
        JOIN cdp.identity i ON r.a = cdp.identifier(i.namespace, i.value)
        WHERE r.kind = 'lock' AND r.undone_at IS NULL ORDER BY i.profile_id, r.trait, r.ruled_at DESC, r.value::text COLLATE "C" DESC
    ), everything AS (
        SELECT * FROM one UNION ALL SELECT * FROM earliest UNION ALL SELECT * FROM preferred UNION ALL SELECT * FROM extreme
        UNION ALL SELECT * FROM usual UNION ALL SELECT * FROM total UNION ALL SELECT * FROM list
    )
    SELECT profile_id, trait, CASE WHEN l.trait IS NULL THEN e.value ELSE l.value END AS value
    FROM everything e FULL JOIN locked l USING (profile_id, trait);
-- numbers as numbers, lists as sets
CREATE FUNCTION oracle_plain(value jsonb) RETURNS jsonb LANGUAGE sql AS $$
    SELECT CASE WHEN jsonb_typeof(value) = 'array' THEN (SELECT jsonb_agg(v ORDER BY v) FROM jsonb_array_elements(value) v) ELSE value END
$$;
CREATE FUNCTION oracle_difference() RETURNS TABLE (what text) LANGUAGE sql AS $$
    SELECT format('%s of %s: by the query %s, in the profile %s', trait, (SELECT min(value) FROM cdp.identifiers i WHERE i.profile_id = d.profile_id),
        o.value, d.value)
    FROM (SELECT * FROM oracle_traits WHERE value <> 'null') o
    FULL JOIN (SELECT p.profile_id, t.key AS trait, t.value FROM cdp.profiles p CROSS JOIN LATERAL jsonb_each(p.traits) t) d USING (profile_id, trait)
    WHERE oracle_plain(o.value) IS DISTINCT FROM oracle_plain(d.value)
$$;
CREATE FUNCTION oracle_picture(history text) RETURNS TABLE (fact text) LANGUAGE sql AS $$
    SELECT format('%s: %s', (SELECT string_agg(split_part(i.value, '.', 3), ' ' ORDER BY split_part(i.value, '.', 3)) FROM cdp.identifiers i
        WHERE i.profile_id = p.profile_id), p.traits)
    FROM cdp.profile p WHERE p.merged_into IS NULL AND EXISTS (SELECT FROM cdp.identifiers i
        WHERE i.profile_id = p.profile_id AND starts_with(i.value, history))
$$;
"""


def value(r, trait):
    """Something a message may say of a trait, good or bad."""
    number = r.choice([0, 1, 2, 2.5, 7, 99, 100, 100.5, -1, 1e20, 0.1])
    if trait in ("highest", "lowest", "total"):
        return r.choice([number, number, number, number, None, "7", [1], True, 10 ** 45 if trait == "total" else 1])
    if trait == "usual":
        return r.choice(["ab", " AB", "cd", "Cd ", "ef", "e f", "", 5, None])
    if trait == "list":
        return r.choice([["a", "b "], ["c"], [], ["-", "d", None], "e", " a", None, "-", ["b", "b"], 3, [1, 2.0]])
    if trait == "preferred":
        return r.choice(["aa", "bb", "cc", "n/a", None])
    if trait == "first":
        return r.choice(["aa", "bb", "cc", "", "  ", [], {}, None])
    return r.choice(["aa", "bb", "cc", "dd", None])


def history(r):
    """Messages as bodies with their sources; names are made its own later."""
    messages = []
    for i in range(r.choice([5, 20, 40])):
        who = r.randrange(4)
        body = {"type": "identify", "messageId": f"m{i}", "timestamp": (BASE + timedelta(seconds=r.randrange(r.choice([2, 30])))).isoformat(),
                "traits": {t: value(r, t) for t in [*RULES, "other"] if r.random() < 0.5}}
        how = r.random()
        if how < 0.5:
            body["userId"] = f"u{who}"
        if how > 0.3:
            body["anonymousId"] = f"a{r.randrange(3) if r.random() < 0.2 else who}"
        if r.random() < 0.2:
            body |= {"type": "group", "groupId": f"g{who % 2}"}
        messages.append((r.choice(["web", "crm", "erp"]), body))
    return messages


def own(prefix, message):
    """A message with names of its history and way."""
    source, body = message
    return source, body | {k: prefix + body[k] for k in ("messageId", "userId", "anonymousId", "groupId") if k in body}


def bring(r, messages):
    """Messages by several means."""
    sql = ""
    for part in cut(r, messages, 3):
        how = r.choice(["calls", "inbox", "envelopes"])
        if how == "calls":
            sql += "".join(f"SELECT count(*) FROM cdp.ingest({literal(body)}, '{source}');\n" for source, body in part)
        elif how == "inbox" and part:
            sql += "INSERT INTO cdp.inbox (source, payload) VALUES " + ",\n".join(f"('{source}', {literal(body)})" for source, body in part) + ";\n"
            sql += drain(r.choice([1, 3, 10000]))
        elif part:
            for source in sorted({s for s, _ in part}):
                sql += f"SELECT count(*) FROM cdp.ingest({literal({'batch': [b for s, b in part if s == source]})}, '{source}');\n"
    return sql


def make_rules():
    return "".join(f"SELECT cdp.create_trait('{name}', {arguments});\n" for name, arguments in RULES.items() if arguments)


def drop_rules(r):
    return "".join(f"SELECT cdp.drop_trait('{name}');\n" for name, arguments in r.sample(sorted(RULES.items()), len(RULES)) if arguments)


def rulings(r, prefix, messages):
    """What a steward says of a history, and what of it is undone."""
    made, undone = "", ""
    for _ in range(4):
        who = r.randrange(4)
        say = r.choice([f"cdp.retract('{prefix}m{r.randrange(len(messages))}'::text, 'test')",
                        f"cdp.deny('user_id:{prefix}u{who}', 'anonymous_id:{prefix}a{who}', 'test')",
                        f"cdp.lock_trait('{r.choice(['user_id:' + prefix + 'u', 'anonymous_id:' + prefix + 'a', 'group_id:' + prefix + 'g'])}{who}', "
                        f"'{r.choice([*RULES, 'other', 'new'])}', {literal(r.choice(['locked', 5, None]))}, 'test')"])
        name = f"{prefix}{len(made)}"
        made += f"SELECT identity_test_rule('{name}', $${say}$$);\n"
        if r.random() < 0.7:
            undone += f"SELECT identity_test_undo('{name}');\n"
    return made, undone


def check(when):
    return f"ANALYZE cdp.event, cdp.identity, cdp.profile, cdp.fragment;\nSELECT 'differs', '{when}', what FROM oracle_difference();\n"


def main():
    n, seed = int(os.environ.get("HISTORIES", 20)), int(os.environ.get("SEED", 1))
    r = random.Random(seed)
    started = time.monotonic()
    histories = [history(r) for _ in range(n)]
    sql = "SELECT cdp.create_source('web'); SELECT cdp.create_source('crm', 5); SELECT cdp.create_source('erp', -3);\n"
    parts = [[] for _ in range(WAYS)]
    for way in range(WAYS):
        for i, messages in enumerate(histories):
            mixed = [own(f"h{i}.w{way}.", m) for m in r.sample(messages, len(messages))]
            parts[way].append((mixed[:len(mixed) // 2], mixed[len(mixed) // 2:] + r.choices(mixed, k=3)))
    # the first way: by the rules from the beginning; the second: they come in the middle
    sql += "".join(bring(r, half) for half, _ in parts[1]) + make_rules() + check("rules made")
    sql += "".join(bring(r, half) for half, _ in parts[0]) + check("half of it")
    sql += "".join(bring(r, rest) for way in range(WAYS) for _, rest in parts[way]) + check("all of it")
    for i in range(n):
        sql += "".join(f"SELECT 'fact', '{i}', '{way}', fact FROM oracle_picture('h{i}.w{way}.');\n" for way in range(WAYS))
    ruled = [rulings(r, f"h{i}.w0.", histories[i]) for i in range(n)]
    sql += "".join(made for made, _ in ruled) + check("ruled") + "".join(undone for _, undone in ruled) + check("undone")
    sql += "SELECT cdp.create_source('crm', -9);\n" + check("ranks changed") + "SELECT cdp.create_source('crm', 5);\n" + check("ranks restored")
    sql += "SELECT 'differs', 'verify', part FROM cdp.verify() WHERE differences <> 0;\n"
    sql += drop_rules(r) + make_rules() + check("rules made anew")
    sql += "SELECT 'differs', 'verify', part FROM cdp.verify() WHERE differences <> 0;\n"

    facts, wrong = defaultdict(set), []
    with Database(psql_command(), "profile_oracle") as database:
        database.run(ORACLE)
        for kind, *row in database.run(sql):
            if kind == "differs":
                wrong.append(": ".join(row))
            elif kind == "fact":
                facts[row[0], row[1]].add(row[2])
        if not any("u" in fact for fact in facts["0", "0"]):
            wrong.append("nothing was looked at")
    for i in range(n):
        for way in range(1, WAYS):
            a, b = facts[str(i), "0"], facts[str(i), str(way)]
            if a != b:
                wrong.append(f"history {i} by two ways:\n  " + "\n  ".join(sorted(a - b)) + "\n and\n  " + "\n  ".join(sorted(b - a)))
    if wrong:
        print(f"FAILED: {len(wrong)} differences (seed {seed}), the first:\n" + "\n".join(wrong[:5]))
        sys.exit(1)
    print(f"ok: {n} histories of {sum(map(len, histories))} messages in {WAYS} ways, {time.monotonic() - started:.0f} s (seed {seed})")


if __name__ == "__main__":
    main()
