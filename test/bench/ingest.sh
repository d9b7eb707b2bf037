# shellcheck shell=bash
# ingest: a first load, messages one by one, and looking people up.  Sourced by scripts/bench.

duration=${TIME:-5}
prepare_messages

rate() { awk -v n="$1" -v ns="$2" 'BEGIN { printf "%.0f\n", n / ns * 1e9 }'; }
ingest() {
	recreate product prepared
	local before
	before=$(now)
	milliseconds copy_in product "$WORK/messages" >>"$WORK/copied"
	process_all product "$WORK/memory"
	rate "$n" $(($(now) - before))
}
ingest_floor() {
	recreate floor
	sql -d floor -c "CREATE TABLE message (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, doc jsonb NOT NULL)" \
		-c "CREATE INDEX ON message ((doc ->> 'messageId'))"
	local before
	before=$(now)
	sql -d floor -c "COPY message (doc) FROM STDIN $copy" <"$WORK/documents"
	rate "$n" $(($(now) - before))
}
# transactions DATABASE SCRIPT CLIENTS OPTION..: transactions a second
transactions() {
	"$BIN/pgbench" -n -M prepared -c "$3" -j 2 -T "$duration" -f "$2" "${@:4}" "$1" >"$WORK/pgbench.log" 2>&1 ||
		{ cat "$WORK/pgbench.log" >&2; die "pgbench failed"; }
	sed -n 's/^tps = \([0-9]*\).*/\1/p' "$WORK/pgbench.log"
}
# lookups DATABASE SCRIPT: transactions a second, 2 clients
lookups() { transactions "$1" "$2" 2 -D people="$known"; }

table "Ingestion and look-ups (medians)"
first=$(($(log_lines) + 1))
compare "COPY + process, messages/s" ">=" 0.35 ingest ingest_floor
stage_times "$first" >"$WORK/stages"
wait
line "  memory of the session that processes, MB" "$(median <"$WORK/memory")" "" "" "$(verdict "$(median <"$WORK/memory")" 1 "<=" 200 | sed -n 2p)"

# What follows runs on a server that preloads cdp, as one does whose sessions come and go (docs/worker.md): the phone numbers' library
# is open when a session begins.  The worker has nothing to do; it sleeps.
printf '%s\n' "shared_preload_libraries = 'cdp'" "cdp.worker_naptime = '1h'" | as_user tee -a "$WORK/data/postgresql.conf" >/dev/null
cluster_restart "$WORK"

# One message a transaction: each client has messages of its own and goes on where it was.  Both sides read it by the same scan and
# note the time of each transaction.  The server's log has no line for each, and the floor's table, which is emptied each round, is
# not analysed in the rounds of the other side.
recreate single prepared
sql -d single -c "ALTER DATABASE single SET cdp.log_stage_times = off"
sql -d single -c "CREATE TABLE sample (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payload text NOT NULL)" \
	-c "CREATE TABLE message (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, doc jsonb NOT NULL) WITH (autovacuum_enabled = off)" \
	-c "CREATE INDEX ON message ((doc ->> 'messageId'))"
sql -d single -c "COPY sample (payload) FROM STDIN $copy" <"$WORK/documents"
sql -d single -c "VACUUM ANALYZE"
cat >"$WORK/ingest.sql" <<'SQL'
\set i :i + 1
\set n :client_id * :share + :i
SELECT cdp.ingest(payload, 'import') FROM sample WHERE n = :n;
SQL
cat >"$WORK/insert.sql" <<'SQL'
\set i :i + 1
\set n :client_id * :share + :i
INSERT INTO message (doc) SELECT payload::jsonb FROM sample WHERE n = :n;
SQL
done_so_far=0
ingest_one() {
	local share=$((n / 8))
	[ "$done_so_far" -lt $((share * 9 / 10)) ] || die "all messages are taken before the rounds are over: set COPIES"
	rm -f "$WORK"/latency.*
	transactions single "$WORK/ingest.sql" 8 -D share=$share -D i=$done_so_far -l --log-prefix="$WORK/latency"
	awk '{ print $3 / 1000 }' "$WORK"/latency.* | sort -n | awk '{ v[NR] = $1 } END { printf "%.1f\n", v[int(NR * 0.99) + 1] }' >>"$WORK/p99"
	done_so_far=$((done_so_far + $(awk '{ k[$1]++ } END { for (c in k) if (k[c] > most) most = k[c]; print most }' "$WORK"/latency.*)))
}
insert_one() {
	sql -d single -c "TRUNCATE message"
	transactions single "$WORK/insert.sql" 8 -D share=$((n / 8)) -D i=0 -l --log-prefix="$WORK/floor"
	rm -f "$WORK"/floor.*
}
rounds=$((rounds + 2)) compare "cdp.ingest() of one message, transactions/s" ">=" 0.5 ingest_one insert_one
line "  of it, 99 of 100 within ms" "$(median <"$WORK/p99")" "" "" "$(verdict "$(median <"$WORK/p99")" 1 "<=" 10 | sed -n 2p)"

# The look-up: everybody who signed in, under a customer number made for the purpose, so that a random
# number names somebody without string work that the floor would not have; the floor returns the same documents.
sql -d product -o /dev/null <<'SQL'
SELECT cdp.create_namespace('customer_number', 'contact', max_per_profile => 1);
INSERT INTO cdp.inbox (source, payload)
SELECT 'import', jsonb_build_object('type', 'identify', 'userId', value, 'traits', '{}'::jsonb, 'messageId', 'look-up-' || n,
	'context', jsonb_build_object('externalIds', jsonb_build_array(jsonb_build_object('type', 'customer_number', 'id', n::text))))
FROM (SELECT value, row_number() OVER (ORDER BY value) AS n FROM cdp.identifiers WHERE namespace = 'user_id') u;
SQL
process_all product
known=$(value -d product -c "SELECT count(*) FROM cdp.identifiers WHERE namespace = 'customer_number'")
[ "$known" -gt 0 ] || die "nobody to look up: no user ids in the data"
sql -d product -c "CREATE TABLE lookup (id bigint PRIMARY KEY, doc jsonb NOT NULL)" \
	-c "INSERT INTO lookup SELECT n, cdp.profile(cdp.identifier('customer_number', n::text)) FROM generate_series(1, $known) n" \
	-c "VACUUM ANALYZE"
cat >"$WORK/profile.sql" <<'SQL'
\set n random(1, :people)
SELECT cdp.profile(cdp.identifier('customer_number', :n::text));
SQL
cat >"$WORK/lookup.sql" <<'SQL'
\set n random(1, :people)
SELECT doc FROM lookup WHERE id = :n;
SQL
look_up() { lookups product "$WORK/profile.sql"; }
look_up_floor() { lookups product "$WORK/lookup.sql"; }
# short rounds and many: sessions have nothing to get ready, and the machine's pace changes from second to second
rounds=$((3 * rounds)) duration=$(((duration + 2) / 3)) compare "cdp.profile(identifier), look-ups/s" ">=" 0.8 look_up look_up_floor
as_user sed -i '/^shared_preload_libraries/d; /^cdp.worker_naptime/d' "$WORK/data/postgresql.conf"
cluster_restart "$WORK"
say ""
say "  Floors: COPY of the same payloads as jsonb into a table with a primary key and an index on the"
say "  message id; INSERT of one into it, 8 clients; SELECT by primary key of the same documents as one"
say "  jsonb row, 2 clients; prepared. Messages and memory of the server's processes alone."

heading "Where the time of ingestion goes (all rounds)"
{
	awk '{ ms += $1 } END { print "COPY=" ms * 1000 }' "$WORK/copied"
	cat "$WORK/stages"
} | awk -F= -v n=$((n * rounds)) '
	NF == 2 { if (!($1 in us)) order[++stages] = $1; us[$1] += $2; all += $2 }
	END { for (i = 1; i <= stages; i++) printf "  %-14s %7.2f us/message %5.1f %%\n", order[i], us[order[i]] / n, 100 * us[order[i]] / all }'

# by_statement: one more round, counted by pg_stat_statements
by_statement() {
	heading "The same by SQL statement (one more round, counted by pg_stat_statements, which costs some)"
	if [ ! -f "$("$PG_CONFIG" --pkglibdir)/pg_stat_statements.so" ]; then
		say "  (pg_stat_statements is not installed)"
		return
	fi
	printf '%s\n' "shared_preload_libraries = 'pg_stat_statements'" "pg_stat_statements.track = 'all'" |
		as_user tee -a "$WORK/data/postgresql.conf" >/dev/null
	cluster_restart "$WORK"
	recreate product prepared
	sql -d product -c "CREATE EXTENSION pg_stat_statements"
	copy_in product "$WORK/messages"
	process_all product
	sql -d product -P pager=off -P footer=off -c "
		WITH statement AS (
			SELECT toplevel, calls, rows, total_exec_time, regexp_replace(query, '\s+', ' ', 'g') AS query
			FROM pg_stat_statements JOIN pg_database d ON d.oid = dbid WHERE datname = 'product'
		), part AS (
			SELECT total_exec_time, calls, rows, left(query, 100) AS statement FROM statement WHERE NOT toplevel OR query LIKE 'COPY%'
			UNION ALL
			SELECT sum(total_exec_time) FILTER (WHERE toplevel) - sum(total_exec_time) FILTER (WHERE NOT toplevel), NULL, NULL,
				'(C code between the statements)'
			FROM statement WHERE query NOT LIKE 'COPY%'
		)
		SELECT round((1000 * total_exec_time / $n)::numeric, 2) AS \"us/message\", calls, rows, statement
		FROM part WHERE total_exec_time / $n * 1000 >= 0.05 ORDER BY total_exec_time DESC" | sed 's/^/  /'
}
if [ -n "${STATEMENTS:-}" ]; then by_statement; fi
