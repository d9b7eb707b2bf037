#!/usr/bin/env python3
"""What profiles say of people, against plain SQL queries on the log.

usage: profile_oracle.py [psql command and arguments]      (default: $PSQL, else psql)
       HISTORIES=16 SEED=1 in the environment change what is tried.

Works in a database of its own.  Each history is a few dozen messages of people who turn out to be one, who share
devices, and of an account, with traits under every rule, clean and unclean, consents, and events with properties, said at
few different instants by sources of few ranks.  It is brought in several ways: one by one, in envelopes, by the inbox in
batches, in any order, parts of it again; with rules, lookups, declared properties and computed traits made before or in
the middle; with messages retracted, people denied to be one, traits locked, and most of that undone; with lookups
refreshed and time going on.  After each stage what profiles say must be what the queries make of the log: traits,
consents, counts, first and last seen, timelines; and the document and the last change of each must say the same.  Which
identifiers are one person's, and which devices are shared, is taken as it is: identity_oracle.py looks after that.
Histories brought in two ways without rulings must say the same, whatever the way; cdp.verify() must find no difference.
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

COMPUTED = {
    "orders": "count(Bought)",
    "spent": "sum(Bought.amount) within 10 seconds",
    "least": "min(Bought.amount)",
    "most": "max(Bought.amount) between 40 days and 5 seconds ago",
    "favourite": "most_frequent(Bought.kind) within 25 seconds",
    "began": "first(Seen)",
    "lately": "last(Seen.kind) within 15 seconds",
    "kinds": "unique_list(Seen.kind)",
    "variety": "unique_count(Bought.kind) since '2026-01-01T00:00:01Z'",
}

# The rules once more, in SQL that knows nothing of cdp.traits. Values that tie are of one length, or null, so that
# "the larger bytewise" is told by their text.
ORACLE = """
CREATE TABLE shops (other text, observed timestamptz, latest text, earliest text, highest numeric, usual text, list jsonb, looked text);
CREATE TABLE bureau (key text, highest numeric, preferred text, total numeric, latest text, looked text);
CREATE VIEW oracle_log AS -- whose an event is: of a shared device alone, of whoever signed in last
    WITH said AS MATERIALIZED (
        SELECT e.message_id, e.type, e.name, e.occurred_at AS at, s.rank, e.message, e.message ->> 'userId' AS person, e.message ->> 'anonymousId' AS device
        FROM cdp.event e JOIN cdp.source s USING (source_id)
    )
    SELECT i.profile_id, s.* FROM said s
    LEFT JOIN cdp.identifiers d ON d.namespace = 'anonymous_id' AND d.value = s.device
    LEFT JOIN LATERAL (SELECT x.person FROM said x WHERE s.person IS NULL AND d.is_contested AND x.device = s.device AND x.person IS NOT NULL
        AND (x.at, x.message_id COLLATE "C") <= (s.at, s.message_id) ORDER BY x.at DESC, x.message_id COLLATE "C" DESC LIMIT 1) h ON true
    LEFT JOIN cdp.identifiers u ON u.namespace = 'user_id' AND u.value = coalesce(s.person, h.person)
    CROSS JOIN LATERAL (SELECT coalesce(u.profile_id, d.profile_id) AS profile_id) i;
CREATE TABLE oracle_event AS SELECT * FROM oracle_log; -- as it was last
CREATE VIEW oracle_lock AS
    SELECT DISTINCT ON (i.profile_id, r.trait) i.profile_id, r.trait, r.value FROM cdp.ruling r
    JOIN cdp.identity i ON r.a = cdp.identifier(i.namespace, i.value)
    WHERE r.kind = 'lock' AND r.undone_at IS NULL ORDER BY i.profile_id, r.trait, r.ruled_at DESC, r.value::text COLLATE "C" DESC;
CREATE VIEW oracle_said AS
    WITH said AS MATERIALIZED (
        SELECT CASE e.type WHEN 'identify' THEN e.profile_id ELSE g.profile_id END AS profile_id, t.key AS trait, t.value, e.at, e.rank
        FROM oracle_event e LEFT JOIN cdp.identifiers g ON e.type = 'group' AND g.namespace = 'group_id' AND g.value = e.message ->> 'groupId'
        CROSS JOIN LATERAL jsonb_each(e.message -> 'traits') t WHERE e.type IN ('identify', 'group')
    ), key AS (
        SELECT profile_id, coalesce(l.value, o.value) #>> '{}' AS key
        FROM (SELECT DISTINCT ON (profile_id) profile_id, value FROM said WHERE trait = 'other'
            ORDER BY profile_id, at DESC, rank DESC, value = 'null', value::text COLLATE "C" DESC) o
        FULL JOIN (SELECT * FROM oracle_lock WHERE trait = 'other') l USING (profile_id)
    )
    SELECT * FROM said
    UNION ALL
    SELECT k.profile_id, t.key, t.value, coalesce(s.observed, '0001-01-01Z'), 4 FROM key k JOIN shops s ON s.other = k.key
    CROSS JOIN LATERAL jsonb_each(jsonb_strip_nulls(to_jsonb(s) - 'other' - 'observed')) t WHERE EXISTS (SELECT FROM cdp.lookup WHERE name = 'shops')
    UNION ALL
    SELECT k.profile_id, t.key, t.value, '0001-01-01Z', -4 FROM key k JOIN bureau b ON b.key = k.key
    CROSS JOIN LATERAL jsonb_each(jsonb_strip_nulls(to_jsonb(b) - 'key')) t WHERE EXISTS (SELECT FROM cdp.lookup WHERE name = 'bureau');
CREATE FUNCTION oracle_number(value jsonb) RETURNS numeric LANGUAGE sql AS $$ SELECT CASE jsonb_typeof(value) WHEN 'number' THEN value::text::numeric END $$;
CREATE FUNCTION oracle_text(value jsonb) RETURNS text LANGUAGE sql AS $$ SELECT CASE jsonb_typeof(value) WHEN 'string' THEN value #>> '{}' END $$;
CREATE VIEW oracle_computed AS
    WITH f AS MATERIALIZED (
        SELECT profile_id, name = 'Bought' AS bought, name = 'Seen' AS seen, at, cdp.clock_now() - at AS ago, message #> '{properties,amount}' AS amount,
            nullif(message #> '{properties,kind}', 'null') AS kind
        FROM oracle_event WHERE name IS NOT NULL AND at <= cdp.clock_now()
    ), one AS (
        SELECT p.profile_id, jsonb_build_object('orders', count(*) FILTER (WHERE bought),
            'spent', coalesce(sum(oracle_number(amount)) FILTER (WHERE bought AND ago < '10 s'), 0),
            'least', coalesce(to_jsonb(min(oracle_number(amount)) FILTER (WHERE bought)), to_jsonb(min(oracle_text(amount)) FILTER (WHERE bought))),
            'most', coalesce(to_jsonb(max(oracle_number(amount)) FILTER (WHERE bought AND ago >= '5 s' AND ago < '40 days')),
                to_jsonb(max(oracle_text(amount)) FILTER (WHERE bought AND ago >= '5 s' AND ago < '40 days'))),
            'began', to_char(min(at) FILTER (WHERE seen) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
            'kinds', coalesce(jsonb_agg(DISTINCT kind) FILTER (WHERE seen AND kind IS NOT NULL), '[]'),
            'variety', count(DISTINCT kind) FILTER (WHERE bought AND at >= '2026-01-01T00:00:01Z')) AS traits
        FROM cdp.profile p LEFT JOIN f USING (profile_id) WHERE p.merged_into IS NULL AND p.entity = 'person' GROUP BY p.profile_id
    ), favourite AS (
        SELECT DISTINCT ON (profile_id) profile_id, kind
        FROM (SELECT profile_id, kind, count(*) AS n, max(at) AS at FROM f WHERE bought AND ago < '25 s' AND kind IS NOT NULL GROUP BY 1, 2) x
        ORDER BY profile_id, n DESC, at DESC, kind::text COLLATE "C" DESC
    ), lately AS (
        SELECT DISTINCT ON (profile_id) profile_id, kind FROM f WHERE seen AND ago < '15 s' AND kind IS NOT NULL ORDER BY profile_id, at DESC, kind::text COLLATE "C" DESC
    ), everything AS (
        SELECT profile_id, key AS trait, value FROM one CROSS JOIN jsonb_each(jsonb_strip_nulls(traits))
        UNION ALL SELECT profile_id, 'favourite', kind FROM favourite UNION ALL SELECT profile_id, 'lately', kind FROM lately
    )
    SELECT e.* FROM everything e JOIN cdp.trait t ON t.name = e.trait AND t.computed IS NOT NULL;
CREATE VIEW oracle_traits AS
    WITH said AS MATERIALIZED (SELECT * FROM oracle_said), one AS (
        -- latest, and the rules that differ from it in their order only
        SELECT DISTINCT ON (profile_id, trait) profile_id, trait, value FROM said
        WHERE trait IN ('latest', 'other', 'looked') ORDER BY profile_id, trait, at DESC, rank DESC, value = 'null', value::text COLLATE "C" DESC
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
    ), everything AS (
        SELECT * FROM one UNION ALL SELECT * FROM earliest UNION ALL SELECT * FROM preferred UNION ALL SELECT * FROM extreme
        UNION ALL SELECT * FROM usual UNION ALL SELECT * FROM total UNION ALL SELECT * FROM list
        UNION ALL SELECT * FROM oracle_computed
    )
    SELECT profile_id, trait, CASE WHEN l.trait IS NULL THEN e.value ELSE l.value END AS value
    FROM everything e FULL JOIN oracle_lock l USING (profile_id, trait);
-- numbers as numbers, lists as sets
CREATE FUNCTION oracle_plain(value jsonb) RETURNS jsonb LANGUAGE sql AS $$
    SELECT CASE WHEN jsonb_typeof(value) = 'array' THEN (SELECT jsonb_agg(v ORDER BY v) FROM jsonb_array_elements(value) v) ELSE value END
$$;
SELECT cdp.create_profile_view('oracle_people', $${PEOPLE}$$);
CREATE FUNCTION oracle_difference() RETURNS TABLE (what text) LANGUAGE sql AS $$
    SELECT format('%s of %s: by the query %s, in the profile %s', trait, (SELECT min(value) FROM cdp.identifiers i WHERE i.profile_id = d.profile_id),
        o.value, d.value)
    FROM (SELECT * FROM oracle_traits WHERE value <> 'null') o
    FULL JOIN (SELECT p.profile_id, t.key AS trait, t.value FROM cdp.profiles p CROSS JOIN LATERAL jsonb_each(p.traits) t) d USING (profile_id, trait)
    WHERE oracle_plain(o.value) IS DISTINCT FROM oracle_plain(d.value)
    UNION ALL
    SELECT format('consent %s of %s: by the query %s, in the profile %s', category, profile_id, o.value, d.value)
    FROM (SELECT DISTINCT ON (e.profile_id, c.key) e.profile_id, c.key AS category, c.value
        FROM oracle_event e CROSS JOIN LATERAL jsonb_each(e.message #> '{context,consent,categoryPreferences}') c ORDER BY e.profile_id, c.key, e.at DESC, c.value) o
    FULL JOIN (SELECT p.profile_id, c.key AS category, c.value FROM cdp.profile p CROSS JOIN LATERAL jsonb_each(cdp.to_jsonb(p.consents)) c
        WHERE p.merged_into IS NULL) d USING (profile_id, category) WHERE o.value IS DISTINCT FROM d.value
    UNION ALL
    SELECT format('events of %s: by the query %s, in the profile %s', profile_id, o, d)
    FROM (SELECT e.profile_id, count(*) AS n, min(e.at) AS f, max(e.at) AS l FROM oracle_event e GROUP BY e.profile_id) o
    FULL JOIN (SELECT p.profile_id, p.event_count AS n, p.first_seen_at AS f, p.last_seen_at AS l FROM cdp.profiles p) d USING (profile_id)
    WHERE (coalesce(o.n, 0), o.f, o.l) IS DISTINCT FROM (d.n, d.f, d.l)
    UNION ALL
    SELECT format('timeline of %s: %s at %s with %s: by the query %s, in the profile %s', x.profile_id, x.name, x.at, x.properties, sum(x.said), sum(x.packed))
    FROM (SELECT e.profile_id, e.name, e.at, (SELECT jsonb_object_agg(m.key, m.value) FROM jsonb_each(e.message -> 'properties') m
            JOIN cdp.property c ON c.name = m.key AND (c.event IS NULL OR c.event = e.name) WHERE jsonb_typeof(m.value) IN ('string', 'number', 'boolean')) AS properties,
            1 AS said, 0 AS packed FROM oracle_event e WHERE e.name IS NOT NULL
        UNION ALL
        SELECT p.profile_id, t.name, t.at, t.properties, 0, 1
        FROM cdp.profile p CROSS JOIN LATERAL cdp.events_of(cdp.timeline_of(p.profile_id)) t WHERE p.merged_into IS NULL) x
    GROUP BY x.profile_id, x.name, x.at, x.properties HAVING sum(x.said) <> sum(x.packed)
    UNION ALL -- the document, and the last change that was told, say what the profile does
    SELECT format('of %s the profile says %s, the document %s, the last change %s', p.profile_id, p.traits, c.document, h.data)
    FROM cdp.profiles p CROSS JOIN LATERAL (SELECT cdp.profile(p.profile_id) AS document OFFSET 0) c
    CROSS JOIN cdp.profile r
    LEFT JOIN (SELECT DISTINCT ON (profile_id) profile_id, data FROM cdp.change WHERE kind = 'profile_changed' ORDER BY profile_id, change_id DESC) h ON h.profile_id = p.profile_id
    WHERE r.profile_id = p.profile_id AND (p.traits IS DISTINCT FROM c.document -> 'traits' OR p.event_count::text IS DISTINCT FROM c.document ->> 'event_count'
        OR h.data -> 'traits' IS DISTINCT FROM p.traits OR h.data -> 'consents' IS DISTINCT FROM c.document -> 'consents'
        OR coalesce(cdp.to_jsonb(r.consents), '{}') IS DISTINCT FROM c.document -> 'consents')
    UNION ALL -- and so does a view with columns
    SELECT format('of %s the profile says %s, the view %s', profile_id, p.traits, v) FROM cdp.profiles p FULL JOIN oracle_people v USING (profile_id)
    WHERE p.entity = 'person' AND p.traits IS DISTINCT FROM jsonb_strip_nulls(to_jsonb(v) - 'profile_id')
$$;
CREATE FUNCTION oracle_picture(history text) RETURNS TABLE (fact text) LANGUAGE sql AS $$
    SELECT format('%s: %s %s %s %s %s %s %s', (SELECT string_agg(split_part(i.value, '.', 3), ' ' ORDER BY split_part(i.value, '.', 3)) FROM cdp.identifiers i
        WHERE i.profile_id = p.profile_id), p.traits, p.computed, p.consents, p.event_count, p.first_seen_at, p.last_seen_at, cdp.timeline_of(p.profile_id))
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
        at = BASE + timedelta(seconds=r.randrange(r.choice([2, 30])), days=r.choice([0, 0, 0, 0, -40]))
        body = {"type": "identify", "messageId": f"m{i}", "timestamp": at.isoformat(),
                "traits": {t: value(r, t) for t in [*RULES, "other", "spent"] if r.random() < 0.5}}
        how = r.random()
        if how < 0.5:
            body["userId"] = f"u{who}"
        if how > 0.3:
            body["anonymousId"] = f"a{r.randrange(3) if r.random() < 0.2 else who}"
        if r.random() < 0.2:
            body |= {"type": "group", "groupId": f"g{who % 2}"}
        elif r.random() < 0.5:
            body |= {"type": "track", "event": r.choice(["Bought", "Bought", "Seen", "Other"]),
                     "properties": {"amount": r.choice([1, 2.50, -3, 0, 10, "7", None, [1]]), "kind": r.choice(["tea", "ink", "map", None]), "more": 1}}
        if r.random() < 0.3:
            body["context"] = {"consent": {"categoryPreferences": {c: r.random() < 0.5 for c in ("ads", "mail") if r.random() < 0.7}}}
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
            sql += "INSERT INTO cdp.inbox (received_at, source, payload) VALUES " + ",\n".join(f"(cdp.clock_now(), '{source}', {literal(body)})" for source, body in part) + ";\n"
            sql += drain(r.choice([1, 3, 10000]))
        elif part:
            for source in sorted({s for s, _ in part}):
                sql += f"SELECT count(*) FROM cdp.ingest({literal({'batch': [b for s, b in part if s == source]})}, '{source}');\n"
    return sql


def make_rules():
    return "".join(f"SELECT cdp.create_trait('{name}', {arguments});\n" for name, arguments in RULES.items() if arguments)


def drop_rules(r):
    return "".join(f"SELECT cdp.drop_trait('{name}');\n" for name, arguments in r.sample(sorted(RULES.items()), len(RULES)) if arguments)


def shops(r):
    """What the tables of lookups hold, as it may be now."""
    sql = "TRUNCATE shops, bureau;\n"
    for key in "aa", "bb", "cc":
        sql += (f"INSERT INTO shops VALUES ('{key}', {r.choice(['NULL', repr(str(BASE + timedelta(seconds=r.randrange(30))))])}, '{value(r, 'latest') or 'dd'}', "
                f"'{value(r, 'earliest') or 'dd'}', {r.choice([3, 50, 100.5, 'NULL'])}, '{r.choice(['AB ', 'ef', 'e f'])}', {literal(value(r, 'list'))}, 'by shop {key}');\n")
    for key in "bb", "cc", "dd":
        sql += f"INSERT INTO bureau VALUES ('{key}', {r.choice([4, 70, -1])}, '{r.choice(['aa', 'bb', 'n/a'])}', {r.choice([1, 2.5, 'NULL'])}, '{r.choice(['aa', 'bb'])}', 'by bureau');\n"
    return sql


def make_computed():
    return ("SELECT cdp.create_property('kind');\n" + "".join(f"SELECT cdp.create_trait('{name}', computed => $${what}$$);\n" for name, what in COMPUTED.items()))


SHOPS = ("SELECT cdp.create_lookup('shops', 'other', '{" + ", ".join(f'"{c}": "{c}"' for c in ("latest", "earliest", "highest", "usual", "list", "looked"))
         + "}', rank => 4, observed => 'observed');\n")
BUREAU = ("SELECT cdp.create_lookup('bureau', 'other', '{" + ", ".join(f'"{c}": "{c}"' for c in ("highest", "preferred", "total", "latest", "looked"))
          + "}', 'key', -4);\n")


def rulings(r, prefix, messages):
    """What a steward says of a history, and what of it is undone."""
    made, undone = "", ""
    for _ in range(4):
        who = r.randrange(4)
        say = r.choice([f"cdp.retract('{prefix}m{r.randrange(len(messages))}'::text, 'test')",
                        f"cdp.deny('user_id:{prefix}u{who}', 'anonymous_id:{prefix}a{who}', 'test')",
                        f"cdp.lock_trait('{r.choice(['user_id:' + prefix + 'u', 'anonymous_id:' + prefix + 'a', 'group_id:' + prefix + 'g'])}{who}', "
                        f"'{r.choice([*RULES, 'other', 'new', 'spent'])}', {literal(r.choice(['locked', 'aa', 5, None]))}, 'test')"])
        name = f"{prefix}{len(made)}"
        made += f"SELECT identity_test_rule('{name}', $${say}$$);\n"
        if r.random() < 0.7:
            undone += f"SELECT identity_test_undo('{name}');\n"
    return made, undone


def check(when):
    return ("ANALYZE cdp.event, cdp.identity, cdp.profile, cdp.fragment;\nTRUNCATE oracle_event;\nINSERT INTO oracle_event SELECT * FROM oracle_log;\n"
            f"ANALYZE oracle_event;\nSELECT 'differs', '{when}', what FROM oracle_difference();\n")


def main():
    n, seed = int(os.environ.get("HISTORIES", 16)), int(os.environ.get("SEED", 1))
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
    sql += "SET cdp.clock = '2026-01-01T00:00:12Z';\n" + shops(r) + SHOPS
    sql += "".join(bring(r, half) for half, _ in parts[1]) + make_rules() + BUREAU + make_computed() + check("rules made")
    sql += "".join(bring(r, half) for half, _ in parts[0]) + check("half of it")
    sql += shops(r) + "SELECT cdp.refresh_lookup('shops'), cdp.refresh_lookup('bureau');\n" + check("lookups refreshed")
    sql += "".join(bring(r, rest) for way in range(WAYS) for _, rest in parts[way]) + check("all of it")
    for i in range(n):
        sql += "".join(f"SELECT 'fact', '{i}', '{way}', fact FROM oracle_picture('h{i}.w{way}.');\n" for way in range(WAYS))
    ruled = [rulings(r, f"h{i}.w0.", histories[i]) for i in range(n)]
    sql += "".join(made for made, _ in ruled) + check("ruled") + "SELECT count(*) FROM cdp.advance_to('2026-01-01T00:00:21.5Z');\n" + check("later")
    sql += "".join(undone for _, undone in ruled) + check("undone")
    sql += "SELECT cdp.create_source('crm', -9);\n" + check("ranks changed") + "SELECT cdp.create_source('crm', 5);\n" + check("ranks restored")
    sql += "SELECT 'differs', 'verify', part FROM cdp.verify() WHERE differences <> 0;\n"
    sql += drop_rules(r) + "SELECT cdp.drop_lookup('bureau');\n" + make_rules() + check("rules made anew")
    sql += "SELECT 'differs', 'verify', part FROM cdp.verify() WHERE differences <> 0;\n"

    facts, wrong = defaultdict(set), []
    with Database(psql_command(), "profile_oracle") as database:
        database.run(ORACLE.replace("{PEOPLE}", json.dumps(dict.fromkeys([*RULES, *COMPUTED, "other", "new", "looked"], "jsonb"))))
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
