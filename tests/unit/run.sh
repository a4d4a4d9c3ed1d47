#!/bin/sh
# Runs the unit test programs given as arguments and adds up what cmocka counted.
passed=0 failed=0
for program in "$@"; do
	output=$("$program" 2>&1)
	status=$?
	p=$(printf '%s\n' "$output" | grep -c '^\[       OK \]')
	f=$(printf '%s\n' "$output" | grep -c '^\[  FAILED  \] [^0-9]')
	if [ "$status" -ne 0 ]; then
		printf '%s\n' "$output"
		[ "$f" -gt 0 ] || f=1
		echo "FAILED: $program (exit $status)"
	fi
	printf '%-40s %s tests\n' "$(basename "$program")" "$p"
	passed=$((passed + p)) failed=$((failed + f))
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
