#!/bin/sh
# What starts with the instance, and how. The cluster and everything else that is an instance's own comes with its user data:
# cloud-init writes /etc/ecs/ecs.config, ecsd waits for that.
set -eu

# Containers survive a restart and an upgrade of Docker; ecs-logd and ecsd are made for it.
mkdir -p /etc/docker
if [ -e /etc/docker/daemon.json ]; then
	echo "configure.sh: /etc/docker/daemon.json is there already, and left as it is" >&2
else
	printf '{\n  "live-restore": true\n}\n' >/etc/docker/daemon.json
fi
systemctl enable containerd.service docker.service ecsd.service

# What a container instance has no use for: updates that come by themselves (a new image brings them), housekeeping of packages
# and manual pages, a console without a screen, LVM. What is not installed is left out.
for unit in apt-daily.timer apt-daily-upgrade.timer unattended-upgrades.service dpkg-db-backup.timer man-db.timer \
	e2scrub_all.timer e2scrub_reap.service getty@tty1.service lvm2-monitor.service \
	dnf-makecache.timer update-motd.timer; do
	name=$(echo "$unit" | sed 's/@[^.]*/@/')
	if [ -e "/usr/lib/systemd/system/$name" ] || [ -e "/lib/systemd/system/$name" ]; then
		systemctl mask "$unit"
	fi
done
