#!/bin/sh
# The last step: takes away all that is this machine's own, so that no two instances of the image have an id, a key or a state in
# common. tests/boot looks at the image for each of them.
set -eu

if [ -d /run/systemd/system ]; then
	for unit in ecsd.service ecs-logd.socket ecs-logd.service ecs-endpoint.socket ecs-endpoint.service ecs-host.service \
		docker.socket docker.service containerd.service; do
		systemctl stop "$unit" 2>/dev/null || ! systemctl --quiet is-active "$unit"
	done
fi

# Docker's engine id, images, networks; tasks, registration and logs of ecsd's programs
rm -rf /var/lib/docker /var/lib/containerd /etc/docker/key.json
for directory in /var/lib/ecs/data /var/lib/ecs-logd /var/log/ecs; do
	[ ! -d $directory ] || find $directory -mindepth 1 -delete
done

# Empty, not missing: a missing one makes the next boot a first boot, which enables every unit there is.
: >/etc/machine-id
[ -L /var/lib/dbus/machine-id ] || rm -f /var/lib/dbus/machine-id
rm -f /var/lib/systemd/random-seed /var/lib/systemd/credential.secret
rm -f /var/lib/dhcp/*.leases /var/lib/NetworkManager/*.lease

# cloud-init makes the host's keys anew, and lets in whom the instance's key pair says.
rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub
rm -f /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys /root/.bash_history /home/*/.bash_history
rm -rf /var/lib/cloud

if command -v apt-get >/dev/null; then
	apt-get clean
	rm -rf /var/lib/apt/lists/*
else
	dnf clean all
fi
find /var/log -type f -delete
rm -rf /var/log/journal/*
find /tmp /var/tmp -mindepth 1 -maxdepth 1 ! -name 'systemd-private-*' ! -name "$(basename "$0")" -exec rm -rf {} +
