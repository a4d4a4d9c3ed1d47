#!/bin/sh
# Layout, static analysis, shell and Python checks, and a build with clang. Every finding fails.
cd "$(dirname "$0")/.." || exit 1
status=0
fail() {
	echo "lint: $1 found something"
	status=1
}
sources=$(git ls-files -co --exclude-standard '*.c' '*.h')
flags="-std=gnu17 -D_GNU_SOURCE -DECSD_VERSION='\"0\"' -DECSD_COMMIT='\"0\"' -DECSD_LIBEXECDIR='\"/\"' -I. -Iagent"
flags="$flags $(pkg-config --cflags libcurl json-c libevent_core)"

# shellcheck disable=SC2086
clang-format --dry-run --Werror $sources || fail clang-format
# shellcheck disable=SC2046
printf '%s\n' $(git ls-files -co --exclude-standard 'common/*.c' 'agent/*.c' 'cgroups/*.c' 'logging/*.c') |
	xargs -P 2 -n 8 sh -c 'clang-tidy --quiet --warnings-as-errors="*" "$@" -- '"$flags"' 2>/dev/null' clang-tidy || fail clang-tidy
# shellcheck disable=SC2086
cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 -j 2 \
	--suppress=missingIncludeSystem -D_GNU_SOURCE '-DLIST_HEAD(name,type)=struct name{struct type*first;}' -I. -Iagent common agent cgroups logging || fail cppcheck
# shellcheck disable=SC2046
shellcheck $(git ls-files -co --exclude-standard '*.sh' 'dist/debian/*.p*') dist/maintain dist/amazon-ecs-init .ci/run || fail shellcheck
# shellcheck disable=SC2046
/usr/bin/python3 -W error -c 'import ast, pathlib, sys; [ast.parse(pathlib.Path(f).read_bytes(), f) for f in sys.argv[1:]]' \
	$(git ls-files -co --exclude-standard '*.py') || fail python
make --no-print-directory -s -j2 CC=clang B=build/clang build build-unit || fail "the clang build"
[ $status -eq 0 ] && echo "lint: clean"
exit $status
