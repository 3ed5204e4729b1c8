#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The kselftest of the range API on unusual memory. Four areas of RAM that
# memmap= sets apart become emulated pmem, in this order:
#
#	4 GiB		256M	ext4 with DAX
#	+ 256M		320M	XFS with DAX (mkfs.xfs wants 300M, and then two groups)
#	+ 576M		32M	device DAX of 2M leaves
#	5 GiB		2G	device DAX of 1G leaves
#
# File systems keep the beginnings of extents at multiples of 2M if told that
# this is the stripe of a RAID; only then can the CPU map files by 2M leaves.
# A device DAX area begins with its description, and data start at the next
# multiple of the alignment. The area itself has to be aligned too, or the kernel
# makes compound pages that are not. A kernel without the modules in its build
# brings them as arguments.
#
# usage: hmm-vma.sh [MODULE...]
# boot: -m 5G -t 300 -a "memmap=256M!0x100000000 memmap=320M!0x110000000 memmap=32M!0x124000000 memmap=2G!0x140000000"

# shellcheck source-path=SCRIPTDIR source=pmem.sh
. "$HARNESS/guest/pmem.sh"

put() {
	printf '%s' "$2" >"$1" || fail "set-up: $1 does not take '$2'"
}

# Makes the pmem of region $1 a device DAX with alignment $2 and prints its name.
device_dax() {
	bus=/sys/bus/nd
	seed=$(cat "$bus/devices/region$1/dax_seed")
	[ -n "$seed" ] || fail "region$1 has no DAX seed: CONFIG_NVDIMM_DAX is missing"
	put "$bus/drivers/nd_pmem/unbind" "namespace$1.0"
	put "$bus/devices/$seed/mode" ram
	put "$bus/devices/$seed/align" "$2"
	put "$bus/devices/$seed/uuid" "$(cat /proc/sys/kernel/random/uuid)"
	put "$bus/devices/$seed/namespace" "namespace$1.0"
	put "$bus/drivers/dax_pmem/bind" "$seed"
	[ -c "/dev/dax$1.0" ] || fail "no /dev/dax$1.0: the kernel needs CONFIG_DEV_DAX_PMEM"
	echo "/dev/dax$1.0"
}

command -v mkfs.xfs >/dev/null || fail "mkfs.xfs is missing: apt-get install xfsprogs"
[ $# -gt 0 ] || set -- "$BUILD/lib/test_hmm_range.ko" "$BUILD/lib/test_hmm_vma.ko"
for module; do
	step insmod "$module"
done

ext4=/dev/pmem$(region_at 0x100000000)
xfs=/dev/pmem$(region_at 0x110000000)
for disk in "$ext4" "$xfs"; do
	[ -b "$disk" ] || fail "no $disk: the kernel needs CONFIG_BLK_DEV_PMEM"
done
export HMM_DAX_EXT4=/tmp/ext4 HMM_DAX_XFS=/tmp/xfs
mkdir $HMM_DAX_EXT4 $HMM_DAX_XFS
step mkfs.ext4 -q -F -b 4096 -E stride=512,stripe_width=512 "$ext4"
step mount -t ext4 -o dax=always "$ext4" $HMM_DAX_EXT4
step mkfs.xfs -q -f -b size=4096 -d su=2m,sw=1,agcount=2 "$xfs"
step mount -t xfs -o dax=always "$xfs" $HMM_DAX_XFS

region=$(region_at 0x124000000)
HMM_DEVDAX_2M=$(device_dax "$region" $((2 << 20)))
region=$(region_at 0x140000000)
HMM_DEVDAX_1G=$(device_dax "$region" $((1 << 30)))
export HMM_DEVDAX_2M HMM_DEVDAX_1G

"$SELFTESTS/hmm-vma-tests"
