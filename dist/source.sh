#!/bin/sh
# source.sh DIRECTORY: the source as the packages are made of it, the same bytes and times wherever that happens: what the
# repository has (with changes that are not committed), the commit's name, nothing else.
set -e
cd "$(dirname "$0")/.."
to=$1
rm -rf "$to"
mkdir -p "$to"
if git rev-parse --git-dir >/dev/null 2>&1; then
	# shellcheck disable=SC2016
	git ls-files -co --exclude-standard -z |
		xargs -0 sh -c 'for file; do [ ! -e "$file" ] && [ ! -h "$file" ] || printf "%s\0" "$file"; done' sh |
		tar --null --no-recursion --files-from=- -cf - | tar -C "$to" -xf -
	git rev-parse --short=8 HEAD >"$to/.commit"
else
	tar --exclude=./build -cf - . | tar -C "$to" -xf -
fi
find "$to" -type d -exec chmod 755 {} +
find "$to" -type f -perm /111 -exec chmod 755 {} +
find "$to" -type f ! -perm /111 -exec chmod 644 {} +
find "$to" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
