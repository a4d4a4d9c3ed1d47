#!/bin/sh
# install.sh DIRECTORY: ecsd from the package in DIRECTORY (`make deb`, `make rpm`), and Docker from the distribution. Nothing is pulled.
set -eu
directory=$1
# shellcheck source=/dev/null
id=$(. /etc/os-release && echo "$ID")
case $id in
debian)
	export DEBIAN_FRONTEND=noninteractive
	# With AppArmor in the kernel, Docker starts no container without its tools.
	apt-get install --yes --no-install-recommends docker.io apparmor "$directory"/ecsd_*.deb
	;;
amzn)
	dnf install --assumeyes docker "$directory"/ecsd-*.rpm
	;;
*)
	echo "install.sh: $id is neither debian nor amzn" >&2
	exit 1
	;;
esac
