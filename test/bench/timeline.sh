# shellcheck shell=bash
# timeline: questions to packed timelines beside the same events as rows; timelines of people.  Sourced by scripts/bench.
#
# EVENTS=10000000: as many, 20 to a person, in four sessions of five; instants in milliseconds.  What is timed is the
# processor's time in the executor, so that it is that of one core whatever else the machine does.

events=${EVENTS:-10000000}
recreate timeline
sql -d timeline -c "CREATE EXTENSION cdp" -c "ALTER DATABASE timeline SET max_parallel_workers_per_gather = 0" \
	-c "ALTER DATABASE timeline SET work_mem = '256MB'"
sql -d timeline -o /dev/null -c "SELECT setseed(0.5)" -c "CREATE UNLOGGED TABLE event AS
	SELECT i / 20 AS person, (array ['Home', 'Product Viewed', 'Product Viewed', 'Product Added', 'Checkout Started', 'Order Completed'])[1 + floor(6 * random())::int] AS name,
		'2025-01-01'::timestamptz + (i / 20 * 7919::bigint % 86400) * '1 s'::interval + (i % 20 / 5) * '9 days'::interval + (i % 5 * 20000 + floor(random() * 20000)) * '1 ms'::interval AS at
	FROM generate_series(0, $events - 1) i" \
	-c "CREATE UNLOGGED TABLE timeline AS SELECT person, cdp.timeline_agg(name, at) AS timeline FROM event GROUP BY person" \
	-c "VACUUM ANALYZE event" -c "VACUUM ANALYZE timeline" -c CHECKPOINT

# cpu QUERY: milliseconds of the processor
cpu() {
	PGOPTIONS="-c log_executor_stats=on -c client_min_messages=log" sql -d timeline -o /dev/null -c "$1" 2>&1 |
		awk -F'\t' '$1 == "!" && $2 ~ / elapsed$/ { split($2, part, " "); print (part[1] + part[4]) * 1000 }'
}
# per_second QUERY: millions of events a second
per_second() { cpu "$1" | awk -v n="$events" '{ printf "%.1f\n", n / $1 / 1000 }'; }
funnel() { per_second "SELECT sum(cdp.funnel_depth(timeline, '{Product Viewed, Product Added, Checkout Started, Order Completed}', '1 day')) FROM timeline"; }
recency() { per_second "SELECT count(cdp.last_at(timeline, 'Order Completed')) FROM timeline"; }
scan() { per_second "SELECT count(*) FROM event WHERE name = 'Order Completed'"; }
recency_of_rows() { per_second "SELECT person, max(at) FROM event WHERE name = 'Order Completed' GROUP BY person"; }
pack_one() { cpu "SELECT pg_column_size(cdp.timeline_agg(name, at)) FROM million"; }
array_one() { cpu "SELECT pg_column_size(array_agg(name)), pg_column_size(array_agg(at)) FROM million"; }

table "Packed timelines, $events events, one core (millions of events a second, medians)"
compare "a funnel of four steps beside a scan of the rows" ">=" 2 funnel scan
line "  of it, millions a second" "$(median <"$WORK/ours")" "" "" "$(verdict "$(median <"$WORK/ours")" 1 ">=" 40 | sed -n 2p)"
compare "the last of a name beside max() of the rows" ">=" 4 recency recency_of_rows
sql -d timeline -c "CREATE UNLOGGED TABLE million AS SELECT name, at FROM event LIMIT 1000000" -c "VACUUM ANALYZE million"
compare "1,000,000 rows into one, ms, beside array_agg" "<=" 3 pack_one array_one

prepare_messages
recreate product prepared
copy_in product "$WORK/messages"
process_all product
# bytes EXPRESSION [GROUP]: bytes an event takes, as stored, of timelines by person and something else
bytes() {
	value -d product <<-SQL
		CREATE TEMP TABLE packed AS SELECT profile_id, cdp.timeline_agg($1) AS t FROM cdp.events GROUP BY profile_id${2:-};
		SELECT round(sum(pg_column_size(t)) / sum(cdp.count(t)), 2) FROM packed;
	SQL
}
name="coalesce(name, type), occurred_at"
order="CASE WHEN name = 'Order Completed' THEN jsonb_build_object('revenue', message #> '{properties,revenue}', 'quantity', message #> '{properties,quantity}') END"
report() { line "$1" "$2" "" "" "${3:+$(verdict "$2" 1 "<=" "$3" | sed -n 2p)}"; }
heading "Bytes an event of these messages takes"
report "names and instants" "$(bytes "$name")" 4
report "with revenue and quantity of orders" "$(bytes "$name, $order")" 6
report "with message ids" "$(bytes "$name, NULL, message_id")" 6
report "with both" "$(bytes "$name, $order, message_id")"
report "with message ids, by month" "$(bytes "$name, NULL, message_id" ", date_trunc('month', occurred_at)")"
report "as the platform keeps them" "$(value -d product -c "SELECT round(sum(pg_column_size(events)) / sum(cdp.count(events)), 2) FROM cdp.timeline_part")" 6

# One profile with a million events of the last year: one message more, and what is asked of it.
recreate popular prepared
popular=${POPULAR:-1000000}
sql -d popular -c "INSERT INTO cdp.inbox (source, payload)
	SELECT 'import', jsonb_build_object('type', 'track', 'userId', 'popular', 'messageId', i::text,
		'event', (array ['Home', 'Product Viewed', 'Product Viewed', 'Product Added', 'Checkout Started', 'Order Completed'])[1 + floor(6 * random())::int],
		'timestamp', now() - '366 days'::interval + i * ('365 days'::interval / $popular) + random() * '20 s'::interval)
	FROM generate_series(1, $popular) i"
milliseconds process_all popular >"$WORK/popular"
sql -d popular -c "VACUUM ANALYZE"
# p99 QUERY [TRANSACTIONS]: milliseconds
p99() {
	echo "$1" >"$WORK/p99.sql"
	"$BIN/pgbench" -n -t "${2:-200}" -l --log-prefix="$WORK/p99" -f "$WORK/p99.sql" popular >"$WORK/pgbench.log" 2>&1 ||
		{ cat "$WORK/pgbench.log" >&2; die "pgbench failed"; }
	cut -d' ' -f3 "$WORK"/p99.[0-9]* | sort -n | awk '{ v[NR] = $1 } END { printf "%.1f\n", v[int((NR * 99 + 99) / 100)] / 1000 }'
	rm -f "$WORK"/p99.[0-9]*
}
of_popular="FROM cdp.timelines WHERE profile_id = 1"
heading "A profile with $popular events, p99 in milliseconds"
report "one message more" "$(p99 "SELECT events FROM cdp.ingest(jsonb_build_object('type', 'track', 'event', 'Home', 'userId', 'popular', 'messageId', gen_random_uuid()))" 2000)" 50
report "how many events" "$(p99 "SELECT sum(cdp.count(events)) $of_popular")" 50
report "the last one of a name" "$(p99 "SELECT max(cdp.last_at(events, 'Order Completed')) $of_popular")" 50
report "the timeline of a month" "$(p99 "SELECT cdp.timeline_of(1, date_trunc('month', now() - '2 months'::interval), date_trunc('month', now() - '1 month'::interval)) IS NULL")" 50
report "cdp.profile()" "$(p99 "SELECT cdp.profile('user_id:popular')")" 50
report "the timeline of the year" "$(p99 "SELECT cdp.timeline_of(1) IS NULL")" 50
line "in batches, microseconds a message" "$(awk -v n="$popular" '{ printf "%.1f", $1 * 1000 / n }' "$WORK/popular")" "" "" ""
