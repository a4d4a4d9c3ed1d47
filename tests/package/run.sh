#!/bin/sh
# Tests of the packages in build/packages, on a Debian 12 that is made once: build/packages/debian-12.tar. Arguments go to pytest.
cd "$(dirname "$0")/../.." || exit 1
sh dist/deps.sh mmdebstrap util-linux python3-pytest docker.io busybox-static iproute2 iptables || exit 1
base=build/packages/debian-12.tar
deb=$(echo build/packages/ecsd_*.deb)
# What the deb depends on; of alternatives the first.
needed=$(dpkg-deb -f "$deb" Depends | tr ',' '\n' | sed 's/|.*//; s/(.*//; s/ //g' | sort -u | paste -sd,)
if [ ! -e $base ] || [ "$needed" != "$(cat $base.packages 2>/dev/null)" ]; then
	echo "making $base"
	mmdebstrap --quiet --variant=minbase --include="apparmor,$needed" --dpkgopt='path-exclude=/usr/share/locale/*' bookworm $base || exit 1
	echo "$needed" >$base.packages
fi
[ $# -gt 0 ] || set -- tests/package
exec /usr/bin/python3 -m pytest -q -p no:cacheprovider "$@"
