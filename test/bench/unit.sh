# shellcheck shell=bash
# unit: the algorithms that know no table, each beside a floor on the same random structure.  Sourced by scripts/bench.
#
# They are compiled into a module of their own, which is not installed: test/bench/unit.

mkdir -p "$WORK/unit"
cp "$TOP"/test/bench/unit/* "$WORK/unit/"
make -C "$WORK/unit" -s PG_CONFIG="$PG_CONFIG" SOURCES="$STATE/.build/pg$PG_MAJOR" >"$WORK/unit.log" 2>&1 ||
	{ cat "$WORK/unit.log" >&2; die "the unit benches could not be built"; }
recreate unit
sql -d unit -c "CREATE FUNCTION unit_bench(text, int, int, OUT ours float8, OUT floor float8) AS '$WORK/unit/unit' LANGUAGE c STRICT"

# unit NAME N WHAT FLOOR
unit() {
	value -d unit -F ' ' -c "SELECT round(ours::numeric, 1), round(floor::numeric, 1) FROM unit_bench('$1', $2, $rounds)" >"$WORK/unit.out"
	cut -d' ' -f1 "$WORK/unit.out" >"$WORK/ours"
	cut -d' ' -f2 "$WORK/unit.out" >"$WORK/floor"
	conclude "$1: $3"
	printf '      floor: %s\n' "$4"
}
table "Algorithms without tables, nanoseconds an operation (medians)"
unit union_find 5000000 "join two of 5,000,000 nodes" "both nodes' places in an array written"
unit node_table 10000000 "number one of 5,000,000 values" "as many places of an array as large written"
unit bridges 1000000 "a link of 1,000,000" "the same graph walked breadth first"
unit resolve 100000 "a contested link of 100,000" "qsort of the same links by time"
ms=$(awk '{ printf "%.0f", $1 * 100000 / 1e6 }' "$WORK/ours")
line "  the component of 100,000 links, ms" "$ms" "" "" "$(verdict "$ms" 1 "<=" 300 | sed -n 2p)"
