#!/bin/sh
# Runs the programs given as arguments under valgrind's memcheck; the model gets a short run. Every error, every block
# that is lost and every invalid access fails.
#   valgrind.sh PROGRAM...
log=$(mktemp)
failed=0 count=0
for program in "$@"; do
	arguments=
	[ "$(basename "$program")" = model ] && arguments="-n 200"
	count=$((count + 1))
	# Children (the spawner, ecs-endpoint) are followed by the tests that are about them, not here.
	# shellcheck disable=SC2086
	if ! valgrind -q --leak-check=full --show-leak-kinds=definite,indirect --errors-for-leak-kinds=definite,indirect \
		--error-exitcode=99 --child-silent-after-fork=yes "$program" $arguments >"$log" 2>&1; then
		if grep -q '^==[0-9]*==' "$log"; then
			grep '^==[0-9]*==' "$log"
			echo "FAILED: $program under valgrind"
		else
			tail -20 "$log"
			echo "FAILED: $program itself, under valgrind"
		fi
		failed=$((failed + 1))
	fi
done
rm -f "$log"
echo "valgrind: $count programs, $failed failed"
[ "$failed" -eq 0 ]
