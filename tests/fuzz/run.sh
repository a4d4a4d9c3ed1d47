#!/bin/sh
# Fuzzes each program given for so many seconds: run.sh SECONDS DIRECTORY PROGRAM... Inputs that reach new code, and
# those that fail, go to DIRECTORY/<parser>; ends with a plain line "N passed, N failed".
seconds=$1 new=$2
shift 2
passed=0 failed=0
for program in "$@"; do
	parser=$(basename "$program")
	parser=${parser#fuzz_}
	corpus=tests/fuzz/corpus/$parser
	mkdir -p "$new/$parser"
	if "$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=16384 -print_final_stats=1 \
		-artifact_prefix="$new/$parser/" "$new/$parser" "$corpus" >"$new/$parser.log" 2>&1; then
		runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$new/$parser.log")
		cover=$(grep -o 'cov: [0-9]*' "$new/$parser.log" | tail -n 1)
		printf '%-20s ok      %s runs, %s\n' "$parser" "$runs" "$cover"
		passed=$((passed + 1))
	else
		printf '%-20s FAILED  see %s\n' "$parser" "$new/$parser.log"
		grep -hE 'broken:|ERROR: |SUMMARY: |runtime error: |Test unit written' "$new/$parser.log"
		failed=$((failed + 1))
	fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
