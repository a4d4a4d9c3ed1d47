#!/bin/sh
# Installs what building, testing and linting need, if any of it is missing (Debian, as root).
packages="gcc clang clang-format clang-tidy cppcheck shellcheck make pkg-config libclang-rt-14-dev
libcurl4-openssl-dev libssl-dev libjson-c-dev libevent-dev libwslay-dev libsqlite3-dev libseccomp-dev libcap-dev libsystemd-dev
zlib1g-dev libpcre2-dev libmsgpack-dev libcmocka-dev docker.io e2fsprogs busybox-static iproute2 iptables procps python3 python3-pytest python3-botocore
python3-websockets python3-aiohttp openssl docker-registry valgrind wrk"
missing=
for package in $packages; do
	dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
echo "installing:$missing"
if [ "$(id -u)" -ne 0 ]; then
	echo "not root: run 'apt-get install$missing' first" >&2
	exit 1
fi
# docker.io would start a daemon where there is a service manager; the tests start their own.
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
# shellcheck disable=SC2086
if apt-get update >"$log" 2>&1 && apt-get install -y --no-install-recommends $missing >>"$log" 2>&1; then
	rm -f "$log"
else
	cat "$log" >&2
	exit 1
fi
