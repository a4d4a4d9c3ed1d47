#!/bin/sh
# Runs the programs given as arguments under valgrind's memcheck; the model gets a short run. Every error, every block
# that is lost and every invalid access fails.
#   valgrind.sh PROGRAM...
log=$(mktemp)
export ECSD_UNDER_VALGRIND=1 # tests/unit/test_slow.h
failed=0 count=0
for program in "$@"; do
	arguments=
	case $(basename "$program") in
	model) arguments="-n 200" ;;
	test_confine | test_endpoint_sandbox | test_logging_jail)
		# What these filters refuse, memory that is written and executed for one, valgrind itself needs.
		echo "left out: $program, which confines its own process, valgrind included"
		continue
		;;
	esac
	count=$((count + 1))
	# Children (the spawner, ecs-endpoint) are followed by the tests that are about them, not here.
	# shellcheck disable=SC2086
	valgrind -q --leak-check=full --show-leak-kinds=definite,indirect --errors-for-leak-kinds=definite,indirect \
		--suppressions=tests/valgrind.supp --error-exitcode=99 --child-silent-after-fork=yes \
		"$program" $arguments >"$log" 2>&1
	case $? in
	0) continue ;;
	99) echo "FAILED: $program under valgrind" ;;
	*) echo "FAILED: $program itself, under valgrind" ;;
	esac
	grep -v -e '^\[ RUN' -e '^\[       OK' "$log"
	failed=$((failed + 1))
done
rm -f "$log"
echo "valgrind: $count programs, $failed failed"
[ "$failed" -eq 0 ]
