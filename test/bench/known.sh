# shellcheck shell=bash
# known: what it takes to see that nothing is new about who is who.  Sourced by scripts/bench.
#
# A loaded database gets 10,000 of its messages again, under new message ids: each touches
# only people and links that are known.

prepare_messages
heading "A batch of 10,000 messages about known people"
line "" "resolve" "all stages" "share" "target"
recreate product prepared
copy_in product "$WORK/messages"
process_all product
: >"$WORK/ours"
: >"$WORK/floor"
for round in $(seq "$rounds"); do
	first=$(((n - 10000) * (round - 1) / rounds))
	sed -n "$((first + 1)),$((first + 10000))s/\"messageId\":\"/&again-$round-/p" "$WORK/messages" >"$WORK/again"
	sql -d product -c "VACUUM ANALYZE" # as autovacuum would; it does not come as often as these batches
	copy_in product "$WORK/again"
	first=$(($(log_lines) + 1))
	process_all product
	stage_times "$first" | awk -F= -v n="$(wc -l <"$WORK/again")" -v ours="$WORK/ours" -v floor="$WORK/floor" '
		{ all += $2; if ($1 == "resolve") resolve += $2 }
		END { printf "%.2f\n", resolve / n >>ours; printf "%.2f\n", all / n >>floor }'
done
conclude "microseconds a message" "<=" 0.15
