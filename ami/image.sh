#!/bin/sh
# image.sh DIRECTORY: disk.img in DIRECTORY, which any machine with a BIOS boots: Debian 12 as on EC2 (cloud-init, SSH), and what
# provision/ makes of it with build/packages/ecsd_*.deb. As root. What has not changed is not made again: the base system, which
# takes some minutes, and the image.
set -eu
mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$(dirname "$0")"
deb=$(echo ../build/packages/ecsd_*.deb)
[ -f "$deb" ] || { echo "image.sh: one deb is expected, not: $deb" >&2; exit 1; }
offset=1048576 # of the root file system in the image, after the boot loader
size=4096      # MiB

# Of the base system; what the deb needs comes to it, so that nothing is fetched when that is installed.
packages="systemd-sysv systemd-resolved dbus udev linux-image-cloud-amd64 initramfs-tools zstd cloud-init openssh-server sudo
iproute2 procps kmod ca-certificates apparmor docker.io"
packages="$packages $(dpkg-deb -f "$deb" Pre-Depends Depends | sed 's/^[A-Z][A-Za-z-]*://' | tr ',' '\n' | sed 's/[(|].*//')"
# shellcheck disable=SC2086
packages=$(printf '%s\n' $packages | sort -u | paste -s -d ,)

hash() {
	sha256sum | cut -c 1-16
}

make_base() {
	echo "image: the base system (mmdebstrap)"
	# shellcheck disable=SC2016
	mmdebstrap --quiet --variant=minbase --mode=root --format=tar --include="$packages" --aptopt='Acquire::Retries "3"' \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' --customize-hook='rm "$1"/etc/dpkg/dpkg.cfg.d/99mmdebstrap' \
		bookworm "$base.part" /etc/apt/sources.list.d/debian.sources
	mv "$base.part" "$base"
}

# In a mount namespace of its own, where nothing is left mounted.
provision() {
	mkdir "$root/tmp/packages"
	cp "$deb" "$root/tmp/packages/"
	cp provision/*.sh "$root/tmp/"
	# shellcheck disable=SC2016
	unshare --mount --propagation private sh -c '
		set -e
		mount -t proc proc "$1/proc"
		for step in install configure clean; do
			chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin sh /tmp/$step.sh /tmp/packages
		done' sh "$root" >"$out/provision.log" 2>&1 || {
		tail -n 20 "$out/provision.log" >&2
		return 1
	}
	rm "$root/tmp/clean.sh"
	chroot "$root" dockerd --version | sed 's/.*version \([^,]*\),.*/\1/' >"$out/docker-version"
}

# GRUB, put together without an installed system: its first sector reads the rest from the sectors behind it.
write_disk() {
	disk=$out/disk.img.part
	rm -f "$disk"
	truncate -s ${size}M "$disk"
	grub-mkimage -O i386-pc -p '(hd0,msdos1)/boot/grub' -o "$out/core.img" biosdisk part_msdos ext2 normal serial terminal linux boot
	echo "start=$((offset / 512)), type=83, bootable" | sfdisk --quiet "$disk"
	dd if=/usr/lib/grub/i386-pc/boot.img of="$disk" bs=440 count=1 conv=notrunc status=none
	dd if="$out/core.img" of="$disk" bs=512 seek=1 conv=notrunc status=none
	mke2fs -q -t ext4 -L root -O ^metadata_csum_seed,^orphan_file -E offset=$offset,root_owner=0:0,lazy_itable_init=1 \
		-d "$root" "$disk" $((size * 1024 - offset / 1024))k
	mv "$disk" "$out/disk.img"
}

base=$out/base-$(printf '%s' "$packages" | hash).tar
[ -e "$base" ] || { rm -f "$out"/base-*.tar* && make_base; }

inputs=$({ echo "$base" && cat image.sh "$deb" provision/*.sh && find local -type f | sort | xargs cat; } | hash)
if [ -e "$out/disk.img" ] && [ "$(cat "$out/inputs" 2>/dev/null)" = "$inputs" ]; then
	echo "image: $out/disk.img is up to date"
	exit 0
fi
echo "image: $out/disk.img with $(basename "$deb")"
root=$(mktemp -d "$out/root.XXXXXX")
trap 'rm -rf "$root"' EXIT
trap 'exit 1' INT TERM
tar -x -C "$root" -f "$base"
chmod 755 "$root"
cp -R --remove-destination local/. "$root/"
chroot "$root" systemctl --quiet enable systemd-networkd.service
provision
write_disk
echo "$inputs" >"$out/inputs"
