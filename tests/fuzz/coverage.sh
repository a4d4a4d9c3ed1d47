#!/bin/sh
# Replays the corpus in programs with clang's source coverage and prints what each file of the program has of it:
# coverage.sh DIRECTORY PROGRAM...
directory=$1
shift
rm -f "$directory"/*.profraw
for program in "$@"; do
	LLVM_PROFILE_FILE="$directory/$(basename "$program").profraw" "$program" >/dev/null || exit 1
done
llvm-profdata merge -sparse "$directory"/*.profraw -o "$directory/all.profdata" || exit 1
objects=$(printf ' -object %s' "$@")
# shellcheck disable=SC2086
llvm-cov report $objects -instr-profile="$directory/all.profdata" -ignore-filename-regex='tests/' 2>/dev/null |
	awk '/^-+$/ || NF > 9 { printf "%-44s %8s lines %8s missed %9s\n", $1, $8, $9, $10 }'
