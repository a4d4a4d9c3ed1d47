#!/bin/sh
# Makes the deb in build/packages/deb and leaves it in build/packages, after lintian has found nothing but what is overridden.
# SOURCE: build elsewhere; OUT: leave it elsewhere.
set -e
umask 022
cd "$(dirname "$0")/.."
version=$(dpkg-parsechangelog -l dist/debian/changelog -S Version)
SOURCE_DATE_EPOCH=$(dpkg-parsechangelog -l dist/debian/changelog -S Timestamp)
export SOURCE_DATE_EPOCH LC_ALL=C.UTF-8 TZ=UTC
work=${WORK:-$PWD/build/packages/deb} out=${OUT:-$PWD/build/packages}
mkdir -p "$out"
rm -rf "$work"
sh dist/source.sh "$work/ecsd-$version"
mv "$work/ecsd-$version/dist/debian" "$work/ecsd-$version/debian"
log=$work/log
(cd "$work/ecsd-$version" && DEB_BUILD_OPTIONS="parallel=2 nocheck" dpkg-buildpackage -b -us -uc) >"$log" 2>&1 || {
	tail -40 "$log" >&2
	exit 1
}
for page in "$work/ecsd-$version/dist/man/"*.8 "$work/ecsd-$version/build/"*.5; do
	mandoc -T lint -W warning "$page" | grep -v 'outdated mandoc.db' >&2 && exit 1
done
lintian -I --fail-on error,warning,info --suppress-tags bad-distribution-in-changes-file "$work"/*.changes >"$work/lintian" 2>&1 || {
	cat "$work/lintian" >&2
	exit 1
}
cp "$work"/*.deb "$out/"
echo "lintian: clean"
ls "$out"/*.deb
