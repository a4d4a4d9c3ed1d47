#!/bin/sh
# Installs what making the packages needs, if any of it is missing (Debian, as root): what the deb's Build-Depends name, and
# the tools. "$@": more packages, for the packages' tests.
packages="build-essential make git dpkg-dev debhelper lintian rpm cpio mandoc apparmor
libcap-dev libcurl4-openssl-dev libevent-dev libjson-c-dev libpcre2-dev libseccomp-dev libsqlite3-dev libssl-dev libsystemd-dev
libwslay-dev libxxhash-dev pkg-config zlib1g-dev systemd"
# Debian 12 has these under other names than later ones.
for choice in libmsgpack-c-dev:libmsgpack-dev systemd-dev:; do
	if apt-cache show "${choice%%:*}" 2>/dev/null | grep -q '^Package:'; then
		packages="$packages ${choice%%:*}"
	else
		packages="$packages ${choice#*:}"
	fi
done
missing=
for package in $packages "$@"; do
	dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
echo "installing:$missing"
if [ "$(id -u)" -ne 0 ]; then
	echo "not root: run 'apt-get install$missing' first" >&2
	exit 1
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
apt-get update >"$log" 2>&1 && apt-get install -y --no-install-recommends $missing >>"$log" 2>&1 && exit 0
cat "$log" >&2
exit 1
