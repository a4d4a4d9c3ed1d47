#!/bin/sh
# Installs what building, testing and linting need, if any of it is missing (Debian, as root).
packages="gcc clang clang-format clang-tidy cppcheck shellcheck make pkg-config libclang-rt-14-dev
libcurl4-openssl-dev libssl-dev libjson-c-dev libevent-dev libwslay-dev libsqlite3-dev libseccomp-dev libcap-dev libsystemd-dev
zlib1g-dev libxxhash-dev libpcre2-dev libmsgpack-dev libcmocka-dev docker.io e2fsprogs busybox-static iproute2 iptables nftables procps systemd
python3 python3-pytest python3-pytest-xdist python3-botocore python3-msgpack python3-websockets python3-aiohttp openssl docker-registry valgrind wrk
rsyslog rsyslog-openssl"
missing=
for package in $packages; do
	dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
# Another distribution of Node.js brings npm with it, and Debian's does not go beside it.
command -v npm >/dev/null || missing="$missing nodejs npm"

# docker.io would start a daemon where there is a service manager; the tests start their own.
install_packages() {
	echo "installing:$missing"
	if [ "$(id -u)" -ne 0 ]; then
		echo "not root: run 'apt-get install$missing' first" >&2
		return 1
	fi
	export DEBIAN_FRONTEND=noninteractive
	# shellcheck disable=SC2086
	apt-get update >"$log" 2>&1 && apt-get install -y --no-install-recommends $missing >>"$log" 2>&1
}

# The fluentd server that tests/integration/test_logd_fluentd.py talks to, as its lock file has it.
install_fluentd_server() {
	from=tests/integration/fluentd to=build/fluentd-server
	cmp -s $from/package-lock.json $to/installed && return 0
	echo "installing: $to"
	mkdir -p $to && cp $from/package.json $from/package-lock.json $from/.npmrc $to/ &&
		npm ci --prefix $to --ignore-scripts >"$log" 2>&1 && cp $from/package-lock.json $to/installed
}

cd "$(dirname "$0")/.." || exit 1
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if { [ -z "$missing" ] || install_packages; } && install_fluentd_server; then
	exit 0
fi
cat "$log" >&2
exit 1
