# shellcheck shell=bash
# tour.sh: what the demo shows.  Sourced by demo, with the cluster running and the data in.
# Takes: DEMO, DEMO_DATA, truth, elapsed (nanoseconds).  Statements are printed as one would type them.

ask() { sql -d demo -A -t -c "$1"; } # one value
# a result, no wider than a terminal
table() { sql -P pager=off -P footer=off -P columns=96 -P format=wrapped -P null='-' "$@" | sed 's/^/  /; s/ *$//; /^$/d'; }
# try SQL [OPTIONS]: the statement, then its result, in another shape if psql's options say so
try() {
	local statement=$1
	shift
	printf '\n  demo=# %s\n' "$statement"
	table -d demo "$@" -c "$statement"
}
explain() { fold -s -w 96 <<<"$*" | sed 's/^/  /; s/ *$//'; }

# until SECONDS SQL DATABASE: wait for a statement to say true; else go on after that time
until_true() {
	local deadline=$((SECONDS + $1))
	while [ "$(sql -d "$3" -A -t -c "$2")" != t ]; do
		[ $SECONDS -lt $deadline ] || return 1
		sleep 0.05
	done
}

heading "What went in, what came out"
awk -v seconds="$elapsed" -v own="$DEMO_DATA" '
	{ for (i = 1; i <= 8; i++) sum[i] += $i }
	END {
		seconds /= 1e9
		# the sample goes in small steps, which says nothing about speed
		speed = own == "" ? "" : sprintf(" in %.1f s (%d a second)", seconds, sum[1] / seconds)
		printf "  %d messages%s: %d events, %d repeats dropped, %d rejected.\n", sum[1], speed, sum[2], sum[3], sum[4]
		if (sum[5] > 0) printf "  %d times two profiles turned out to be one person.\n", sum[5]
	}' "$DEMO/process.out"
try "SELECT (SELECT count(*) FROM cdp.events) AS events,
                (SELECT count(*) FROM cdp.profiles) AS profiles,
                (SELECT count(*) FROM cdp.identifiers) AS identifiers,
                (SELECT count(*) FROM cdp.rejected) AS rejected;"
if [ "$(ask "SELECT count(*) FROM cdp.rejected")" -gt 0 ]; then
	explain "Nothing is lost: what cannot be an event is kept with its reason, and can be replayed."
	try "SELECT reason, count(*), min(left(payload, 50)) AS for_example
         FROM cdp.rejected GROUP BY reason ORDER BY count DESC, reason;"
fi

if [ -n "$truth" ]; then
	heading "How well people were put together, against the known truth"
	tr -d '\000\001\002\r' <"$truth" | table -d demo -f "$TOP/test/sample/stitching.sql"
	explain "Precision: of two identifiers in one profile, how often they are one person's. Recall: of two identifiers of one person, how often" \
		"they are in one profile. A device on which nobody ever signed in or gave an email cannot be known to be anybody's; a shared one is left out."
fi

# Somebody to look at: Ada of the sample, or else whoever has most kinds of identifiers.
who=email:ada@example.com
if [ -n "$DEMO_DATA" ] || [ "$(ask "SELECT count(*) FROM cdp.identifiers WHERE namespace = 'email' AND value = 'ada@example.com'")" = 0 ]; then
	who=$(ask "
		SELECT (array_agg(namespace || ':' || value ORDER BY (namespace = 'email') DESC, (namespace = 'user_id') DESC, value))[1]
		FROM cdp.identifiers GROUP BY profile_id ORDER BY count(DISTINCT namespace) DESC, count(*) DESC, profile_id LIMIT 1")
fi
quoted=${who//\'/\'\'}
if [ -z "$who" ]; then
	explain "Nobody came out of this data: no message in it names anybody."
	return
fi

heading "One person"
shouted=$quoted
if [ "$who" = email:ada@example.com ]; then shouted='email: ADA@Example.com'; fi
try "SELECT jsonb_pretty(cdp.profile('$shouted'));" -t -P format=unaligned
try "SELECT occurred_at::timestamp(0), type, name, left(anchor::text, 36) AS anchor
         FROM cdp.timeline(cdp.profile_id('$quoted')) LIMIT 10;"

# Why is the weakest of this person's identifiers theirs?
other=$(ask "
	SELECT i.namespace || ':' || i.value FROM cdp.identifiers i
	WHERE i.profile_id = cdp.profile_id('$quoted') AND i.namespace || ':' || i.value <> '$quoted'
	ORDER BY i.namespace = 'anonymous_id' DESC, i.first_seen_at, i.value LIMIT 1")
if [ -n "$other" ]; then
	heading "Why two identifiers belong together"
	try "SELECT * FROM cdp.explain_link('$quoted',
                                        '${other//\'/\'\'}');" -x
fi

heading "A segment"
if [ -n "$DEMO_DATA" ]; then
	# the event of this data that tells people apart best, counted over all time
	event=$(ask "
		SELECT name FROM cdp.events WHERE type = 'track' AND name IS NOT NULL GROUP BY name
		ORDER BY abs(count(DISTINCT profile_id)::float8 / greatest((SELECT count(*) FROM cdp.profiles), 1) - 0.5), name LIMIT 1")
	predicate="count('${event//\'/\'\'}') >= 2"
	segment=repeaters
else
	predicate="count('Order Completed') >= 2 within 30 days and trait country = 'DE'"
	segment=recent_buyers
fi
if [ -z "${event-none}" ]; then
	explain "(there are no track events in this data to make a segment of)"
else
	try "SELECT cdp.create_segment('$segment',
                \$\$$predicate\$\$);"
	try "SELECT m.segment, m.profile_id, p.traits ->> 'email' AS email, m.since::timestamp(0)
         FROM cdp.members m JOIN cdp.profiles p USING (profile_id)
         WHERE m.segment = '$segment' ORDER BY m.since DESC, m.profile_id LIMIT 8;"
	say "  ($(ask "SELECT count(*) FROM cdp.members WHERE segment = '$segment'") members)"
fi

heading "Consent: who may be written to"
try "SELECT (SELECT count(*) FROM cdp.for_marketing) AS for_marketing,
                (SELECT count(*) FROM cdp.profiles) AS all_profiles;"

heading "The change stream, as a subscriber in another database received it"
if [ -z "$DEMO_DATA" ]; then
	explain "A message arrives, by COPY as sources would send it: Ada's plan is now pro. The worker takes it from there."
	message='{"type":"identify","userId":"u-0001","traits":{"plan":"pro"},"messageId":"demo-1"}'
	printf '\n  demo=# %s\n  %s\n' "COPY cdp.inbox (payload) FROM STDIN;" "$message"
	began=$(date +%s%N)
	sql -d demo -c "COPY cdp.inbox (payload) FROM STDIN (FORMAT csv, DELIMITER E'\x01', QUOTE E'\x02')" <<<"$message"
	if until_true 30 "SELECT EXISTS (SELECT FROM cdp.change WHERE kind = 'profile_changed' AND profile_id = $(ask "SELECT cdp.profile_id('$quoted')") AND data::jsonb #>> '{traits,plan}' = 'pro')" subscriber; then
		say "  ... $((($(date +%s%N) - began) / 1000000)) ms later the subscriber has the change:"
	else
		explain "(nothing came within 30 s; see $DEMO/data/server.log)"
	fi
fi
last=$(ask "SELECT coalesce(max(change_id), 0) FROM cdp.changes")
until_true 30 "SELECT coalesce(max(change_id), 0) >= $last FROM cdp.change" subscriber || explain "(the subscriber has not caught up within 30 s)"
statement="SELECT change_id, kind, profile_id, left(data::text, 50) AS data FROM cdp.change
              ORDER BY change_id DESC LIMIT 8;"
printf '\n  subscriber=# %s\n' "$statement"
table -d subscriber -c "$statement"
say "  ($(sql -d subscriber -A -t -c 'SELECT count(*) FROM cdp.change') changes received, $(ask 'SELECT count(*) FROM cdp.changes') sent)"

heading "The state of the platform"
try "SELECT name, left(value, 19) AS value, left(detail, 50) AS detail FROM cdp.status;"
