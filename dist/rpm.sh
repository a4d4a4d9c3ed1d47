#!/bin/sh
# Makes source and binary rpms in build/packages/rpm with Debian's rpm and leaves them in build/packages.
# WORK: build elsewhere; OUT: leave it elsewhere; further arguments go to rpmbuild.
set -e
umask 022
cd "$(dirname "$0")/.."
SOURCE_DATE_EPOCH=$(dpkg-parsechangelog -l dist/debian/changelog -S Timestamp)
export SOURCE_DATE_EPOCH LC_ALL=C.UTF-8 TZ=UTC
version=$(sed -n 's/^Version: *//p' dist/rpm/ecsd.spec)
work=${WORK:-$PWD/build/packages/rpm} out=${OUT:-$PWD/build/packages}
mkdir -p "$out"
rm -rf "$work"
mkdir -p "$work/SOURCES"
sh dist/source.sh "$work/ecsd-$version"
tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner -cf - "ecsd-$version" | gzip -9n >"$work/SOURCES/ecsd-$version.tar.gz"
# What is required for the build is checked where rpm knows it.
rpmbuild -ba --nodeps --load dist/rpm/macros --define "_topdir $work" "$@" dist/rpm/ecsd.spec >"$work/log" 2>&1 || {
	tail -40 "$work/log" >&2
	exit 1
}
find "$work/RPMS" "$work/SRPMS" -name '*.rpm' -exec cp {} "$out/" \;
ls "$out"/*.rpm
