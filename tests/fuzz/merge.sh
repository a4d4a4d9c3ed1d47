#!/bin/sh
# Adds to the corpus those inputs of DIRECTORY/new that reach code the corpus does not reach: merge.sh DIRECTORY PROGRAM...
# Only short ones: the corpus is read with every `make check`.
directory=$1
shift
for program in "$@"; do
	target=$(basename "$program")
	target=${target#fuzz_}
	corpus=tests/fuzz/corpus/$target new=$directory/new/$target
	[ -d "$new" ] || continue
	before=$(find "$corpus" -type f | wc -l)
	"$program" -set_cover_merge=1 -max_len=1024 -timeout=5 "$corpus" "$new" >"$directory/new/$target.merge" 2>&1 || {
		echo "$target: see $directory/new/$target.merge"
		exit 1
	}
	echo "$target: $before inputs, now $(find "$corpus" -type f | wc -l), $(du -sb "$corpus" | cut -f1) bytes"
done
du -sb tests/fuzz/corpus
