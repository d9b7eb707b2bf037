# shellcheck shell=bash
# graph: cdp.connected_components() beside what else there is.  Sourced by scripts/bench.
#
# Edges between the members of entities of up to 8, at random and in no order: 5 million of them have 4.3 million nodes.

edges=${EDGES:-5000000}
many=$((edges * 4))
recreate graph
sql -d graph -c "CREATE EXTENSION cdp"
make_edges() {
	sql -d graph -o /dev/null -c "SELECT setseed(0.5)" -c "CREATE UNLOGGED TABLE $1 AS
		SELECT entity * 8 + floor(random() * 8)::bigint AS a, entity * 8 + floor(random() * 8)::bigint AS b
		FROM (SELECT floor(random() * ($2 / 8))::bigint AS entity FROM generate_series(1, $2)) e"
}
# settle TABLE..: nothing to do any more when it is read
settle() {
	local name
	for name in "$@"; do sql -d graph -c "VACUUM ANALYZE $name"; done
	sql -d graph -c CHECKPOINT
}
make_edges edge "$edges"
sql -d graph -c "CREATE UNLOGGED TABLE edge_uuid AS SELECT md5(a::text)::uuid AS a, md5(b::text)::uuid AS b FROM edge" \
	-c "CREATE UNLOGGED TABLE edge_text AS SELECT 'user-' || a AS a, 'user-' || b AS b FROM edge"
settle edge edge_uuid edge_text

# copy_out QUERY: all rows to a client, in binary
copy_out() { sql -d graph -c "COPY ($1) TO STDOUT (FORMAT binary)" >/dev/null; }
# components TABLE [TYPE]: milliseconds of ours, all rows returned
components() { milliseconds copy_out "SELECT * FROM cdp.connected_components('SELECT a, b FROM $1', NULL::${2:-bigint})"; }
components_bigint() { components edge; }
components_uuid() { components edge_uuid uuid; }
components_text() { components edge_text text; }
components_scipy() { PGDATABASE=graph "$PYTHON" "$TOP/test/bench/components.py" "$BIN/psql" "SELECT a, b FROM edge" | cut -d' ' -f1; }
components_pgrouting() {
	milliseconds copy_out "SELECT node, component FROM pgr_connectedComponents(
		'SELECT a AS id, a AS source, b AS target, 1::float8 AS cost FROM edge')"
}
# nanoseconds an edge
few_edges() { components edge | awk -v n="$edges" '{ printf "%.0f\n", $1 * 1e6 / n }'; }
many_edges() { components edge_many | awk -v n="$many" '{ printf "%.0f\n", $1 * 1e6 / n }'; }

# Bytes a node that one call adds to a session's memory at its highest.  Its part of the shared buffers was
# touched, and so counted, before.
bytes_a_node() {
	value -d graph <<-SQL
		SET max_parallel_workers_per_gather = 0;
		SELECT count(a) AS edges FROM edge \gset
		SELECT substring(pg_read_file('/proc/self/status') FROM 'VmRSS:\s+(\d+)') AS before \gset
		SELECT count(*) AS nodes FROM cdp.connected_components('SELECT a, b FROM edge') \gset
		SELECT (1024 * (substring(pg_read_file('/proc/self/status') FROM 'VmHWM:\s+(\d+)')::float8 - :before) / :nodes)::int;
	SQL
}

table "Connected components of $edges edges, all rows returned (ms, medians)"
if find_scipy; then
	compare "beside psql + numpy + scipy" "<=" 0.5 components_bigint components_scipy
else
	say "  (python3-scipy is not to be had: no comparison)"
	for _ in $(seq "$rounds"); do components_bigint; done >"$WORK/ours"
fi
median <"$WORK/ours" >"$WORK/components"
if sql -d graph -c "CREATE EXTENSION pgrouting CASCADE" >"$WORK/pgrouting.log" 2>&1; then
	cp "$WORK/components" "$WORK/ours"
	components_pgrouting >"$WORK/floor"
	conclude "beside pgr_connectedComponents (one run)" "<=" 0.0833
else
	say "  (pgRouting is not to be had: no comparison)"
fi
compare "uuid beside bigint" "<=" 2.5 components_uuid components_bigint
compare "text beside bigint" "<=" 2.5 components_text components_bigint
if [ -r /proc/self/status ]; then
	bytes=$(bytes_a_node)
	line "peak memory, bytes a node" "$bytes" "" "" "$(verdict "$bytes" 1 "<=" 60 | sed -n 2p)"
fi
make_edges edge_many "$many"
settle edge_many
compare "$many beside $edges edges, ns an edge" "<=" 1.4 many_edges few_edges
