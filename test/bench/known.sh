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
: >"$WORK/again"
for round in $(seq "$rounds"); do
	first=$(((n - 10000) * (round - 1) / rounds))
	sed -n "$((first + 1)),$((first + 10000))s/\"messageId\":\"/&again-$round-/p" "$WORK/messages" >>"$WORK/again"
done
sql -d product -c "VACUUM ANALYZE" # as autovacuum would
copy_in product "$WORK/again"
first=$(($(log_lines) + 1))
process_all product # as the worker does: one session, which plans its statements for the first batch
tail -n +"$first" "$WORK/data/server.log" | sed -n 's/.*cdp batch: messages=\([1-9][0-9]*\) microseconds: */messages=\1 /p' |
	awk -v ours="$WORK/ours" -v floor="$WORK/floor" '{
		n = all = resolve = 0
		for (i = 1; i <= NF; i++) {
			split($i, part, "=")
			if (part[1] == "messages") n = part[2]
			else all += part[2]
			if (part[1] == "resolve") resolve = part[2]
		}
		printf "%.2f\n", resolve / n >ours
		printf "%.2f\n", all / n >floor
	}'
conclude "microseconds a message" "<=" 0.15
