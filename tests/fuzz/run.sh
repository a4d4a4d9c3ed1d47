#!/bin/sh
# Fuzzes programs: run.sh SECONDS DIRECTORY PROGRAM..., JOBS (2) at a time, SECONDS each. Inputs that reach new code go to
# DIRECTORY/new/<target>, those that fail to DIRECTORY/findings, logs beside them. Prints a line for each target; ends with
# a total and fails if there is a finding. A dictionary tests/fuzz/<target>.dict is used where there is one.
if [ "$1" != --one ]; then
	seconds=$1 directory=$2
	shift 2
	mkdir -p "$directory/new" "$directory/findings"
	rm -f "$directory"/new/*.line
	printf '%-18s %10s %8s %6s %8s %6s  %s\n' target runs runs/s edges features seconds findings
	printf '%s\n' "$@" | xargs -P "${JOBS:-2}" -n 1 sh "$0" --one "$seconds" "$directory"
	cat "$directory"/new/*.line | awk '{ runs += $1; seconds += $2; failed += $3 }
		END { printf "%d targets, %d runs in %d s, %d findings\n", NR, runs, seconds, failed; exit failed > 0 || NR == 0 }'
	exit
fi
seconds=$2 directory=$3 program=$4
target=$(basename "$program")
target=${target#fuzz_}
new=$directory/new/$target log=$directory/new/$target.log
corpus=tests/fuzz/corpus/$target
dictionary=tests/fuzz/$target.dict
[ -f "$dictionary" ] || dictionary=
mkdir -p "$new"
start=$(date +%s)
# A short quarantine: what it holds counts as memory of the target.
ASAN_OPTIONS=quarantine_size_mb=16:${ASAN_OPTIONS:-} "$program" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=512 \
	-max_len=16384 ${dictionary:+"-dict=$dictionary"} -print_final_stats=1 \
	-artifact_prefix="$directory/findings/$target-" "$new" "$corpus" >"$log" 2>&1
failed=$(($? != 0))
took=$(($(date +%s) - start))
runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
edges=$(grep -o 'cov: [0-9]*' "$log" | tail -n 1 | cut -d' ' -f2)
features=$(grep -o 'ft: [0-9]*' "$log" | tail -n 1 | cut -d' ' -f2)
echo "${runs:-0} $took $failed" >"$directory/new/$target.line"
# One write for a target: others write to the same terminal.
{
	printf '%-18s %10s %8s %6s %8s %6s  %s\n' "$target" "${runs:-0}" $((${runs:-0} / (took + (took == 0)))) \
		"${edges:-0}" "${features:-0}" "$took" "$failed"
	if [ "$failed" -ne 0 ]; then
		grep -hE 'broken:|ERROR: |SUMMARY: |runtime error: ' "$log" | sed 's/^/    /'
		input=$(sed -n 's/.*Test unit written to //p' "$log" | head -n 1)
		echo "    again: $program ${input:-(no input, see $log)}"
	fi
} | {
	text=$(cat)
	printf '%s\n' "$text"
}
exit 0
