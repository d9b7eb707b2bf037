# shellcheck shell=bash
# replay: one contested component of many links, judged again with all that follows.  Sourced by scripts/bench.
#
# A quarter as many users as links, in a row: each shares an email or a device with the one before, has one of
# its own and two of anybody's.  What the algorithm alone takes is in the part unit.

links=${LINKS:-100000}
recreate replay prepared
sql -d postgres -c "ALTER DATABASE replay SET cdp.identity_max_component = $((links * 2))"
sql -d replay -o /dev/null -c "SELECT setseed(0.5)" -c "
	INSERT INTO cdp.inbox (source, payload)
	SELECT 'import', jsonb_build_object('type', 'track', 'event', 'seen', 'messageId', 'm-' || i, 'userId', 'user-' || i / 4,
		'timestamp', timestamptz '2026-01-01 00:00:00Z' + random() * interval '30 days')
		|| CASE other % 3 WHEN 0 THEN jsonb_build_object('context', jsonb_build_object('traits', jsonb_build_object('email', other || '@example.com')))
			ELSE jsonb_build_object('anonymousId', 'device-' || other) END
	FROM (SELECT i, CASE i % 4 WHEN 0 THEN greatest(i / 4 - 1, 0) WHEN 1 THEN i / 4 ELSE floor(random() * $links * 3 / 4)::bigint END AS other
		FROM generate_series(0, $links - 1) i) l"
process_all replay
sql -d replay -c "VACUUM ANALYZE" -c CHECKPOINT
heading "A contested component resolved again"
sql -d replay -A -t -F ' ' -c "SELECT count(*), count(*) FILTER (WHERE status = 'rejected'), count(DISTINCT p.component_id)
	FROM cdp.link l JOIN cdp.identity i ON i.identifier_id = l.identifier_a JOIN cdp.profile p ON p.profile_id = i.profile_id" |
	while read -r n_links n_rejected n_components; do
		say "  $n_links links, $n_rejected of them rejected, in $n_components component(s); one pin more:"
	done
first=$(($(log_lines) + 1))
milliseconds sql -d replay -o /dev/null -c "SELECT cdp.pin(cdp.identifier('user_id', 'user-1'), cdp.identifier('anonymous_id', 'device-1'), 'bench')" >"$WORK/ours"
printf '  %8d ms  cdp.pin(), all of it\n' "$(cat "$WORK/ours")"
stage_times "$first" | awk -F= '$1 == "resolve" { printf "  %8d ms  of these loading, judging and storing the links (stage resolve)\n", $2 / 1000 }'
