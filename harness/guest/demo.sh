#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Prepares one of each kind of memory and runs hmm-dma-demo on all of them: 2M
# and 1G huge pages, a DAX file system on emulated pmem (RAM that memmap= sets
# apart; its struct pages come with it) and an ordinary one on a loop device.
# The device is an edu behind an Intel IOMMU. Then has FILE read by the device
# and compares the checksum of that with sha256sum's: a small one by DMA, which
# moves 2 KiB in 100 ms of a clock that skips idle time, a larger one by test_hmm.
#
# Extents of the DAX file have to begin at 2M for the CPU to map 2M leaves,
# hence the stride.
#
# usage: demo.sh [FILE]
# boot: -i -m 5G -t 600 -a "intel_iommu=on memmap=512M!0x100000000 hugepagesz=1G hugepages=1" -q "-device intel-iommu,aw-bits=48 -device edu,dma_mask=0xffffffffffffffff"

# shellcheck source-path=SCRIPTDIR source=pmem.sh
. "$HARNESS/guest/pmem.sh"

DMA_MAX=$((1024 * 1024))	# largest FILE that is read by DMA as a whole

file=${1:-}
if [ -n "$file" ]; then
	[ -e "$file" ] || fail "no such file: $file"
	[ ! -d "$file" ] || fail "$file is a directory"
	[ -f "$file" ] || fail "$file is not a regular file"
	[ -r "$file" ] || fail "$file cannot be read"
fi
demo=$SELFTESTS/hmm-dma-demo
for program in "$demo" "$SELFTESTS/hmm-demo"; do
	[ -x "$program" ] || fail "$program is missing (harness/selftests builds it)"
done

# checksum COMMAND...: of what it writes, empty if it fails.
checksum() {
	{ "$@" || echo failed >/tmp/failed; } | sha256sum >/tmp/sum
	[ -e /tmp/failed ] || cut -d ' ' -f 1 /tmp/sum
}

compare() {
	size=$(stat -L -c %s "$file")
	if [ "$size" -le "$DMA_MAX" ]; then
		how='read by DMA'
		set -- "$demo" --read "$file"
	else
		how="too large for this device's DMA, so test_hmm reads it"
		step insmod "$BUILD/lib/test_hmm.ko"
		set -- "$SELFTESTS/hmm-demo" "$file"
	fi
	printf '\nSHA-256 of FILE, %s bytes, %s\n' "$size" "$how"
	device=$(checksum "$@")
	[ -n "$device" ] || fail "the device could not read all of FILE"
	printf '  by the device     %s\n' "$device"
	cpu=$(checksum cat "$file")
	[ -n "$cpu" ] || fail "FILE cannot be read"
	printf '  by the CPU        %s\n' "$cpu"
	if [ "$device" = "$cpu" ]; then
		echo '  equal'
	else
		echo '  FAIL: they differ'
		return 1
	fi
}

step insmod "$BUILD/lib/test_hmm_dma.ko"
[ -c /dev/hmm_dma0 ] || fail "no /dev/hmm_dma0: the guest needs -device edu"
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
[ -z "$file" ] || compare || status=$?
exit $status
