#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Prepares one of each kind of memory and runs hmm-demo on all of them: 2M and
# 1G huge pages, a DAX file system on emulated pmem (RAM that memmap= sets
# apart; its struct pages come with it) and an ordinary one on a loop device.
# Then compares the device's checksum of FILE with sha256sum's.
#
# Extents of the DAX file have to begin at 2M for the CPU to map 2M leaves,
# hence the stride.
#
# usage: demo.sh [FILE]
# boot: -m 5G -t 600 -a "memmap=512M!0x100000000 hugepagesz=1G hugepages=1"

fail() {
	printf 'demo: error: %s\n' "$*"
	exit 1
}

# Runs a step of the set-up; what it prints is shown only if it fails.
step() {
	"$@" >/tmp/step.log 2>&1 || {
		cat /tmp/step.log
		fail "set-up: '$*' failed"
	}
}

file=${1:-}
if [ -n "$file" ]; then
	[ -e "$file" ] || fail "no such file: $file"
	[ ! -d "$file" ] || fail "$file is a directory"
	[ -f "$file" ] || fail "$file is not a regular file"
	[ -r "$file" ] || fail "$file cannot be read"
fi
demo=$SELFTESTS/hmm-demo
[ -x "$demo" ] || fail "$demo is missing (harness/selftests builds it)"

step insmod "$BUILD/lib/test_hmm.ko"
echo 16 >/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages

[ -b /dev/pmem0 ] || fail "no /dev/pmem0: the kernel needs memmap=SIZE!START and CONFIG_BLK_DEV_PMEM"
mkdir /tmp/dax /tmp/disk
step mkfs.ext4 -q -F -b 4096 -E stride=512,stripe_width=512 /dev/pmem0
step mount -o dax /dev/pmem0 /tmp/dax
truncate -s 64M /tmp/disk.img
step mkfs.ext4 -q -F /tmp/disk.img
# Not "mount -o loop": it holds the device open for writing while it mounts,
# which a kernel without BLK_DEV_WRITE_MOUNTED refuses.
step losetup /dev/loop0 /tmp/disk.img
step mount /dev/loop0 /tmp/disk

status=0
"$demo" --file-dir /tmp/disk --dax-dir /tmp/dax ${file:+"$file"} || status=$?
[ -n "$file" ] || exit $status

printf '\nSHA-256 of FILE, %s bytes\n' "$(stat -L -c %s "$file")"
device=$("$demo" --sum "$file") || fail "the device could not read all of FILE"
device=${device%% *}
printf '  by the device     %s\n' "$device"
cpu=$(sha256sum <"$file") || fail "sha256sum could not read FILE"
cpu=${cpu%% *}
printf '  by sha256sum      %s\n' "$cpu"
if [ "$device" = "$cpu" ]; then
	echo '  equal'
else
	echo '  FAIL: they differ'
	status=1
fi
exit $status
