#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs hmm-bench on its device and on a DAX file system, which is on emulated
# pmem (RAM that memmap= sets apart). Nothing else is to run meanwhile: no
# khugepaged. The stride lets the blocks of files begin at 2M, so that they can
# be mapped by 2M leaves. DMA mappings are made for an edu device behind an IOMMU
# that is flushed with each unmapping (iommu.strict=1), as HMM does in any case,
# and that has three levels of page table.
#
# usage: bench.sh MODULE PROGRAM KERNEL [BACKING...]
# boot: -i -m 6G -t 900 -a "memmap=512M!0x100000000 hugepagesz=1G hugepages=1 intel_iommu=on iommu.strict=1" -q "-device intel-iommu,aw-bits=39 -device edu,dma_mask=0xffffffffffffffff"

module=$1
program=$2
kernel=$3
shift 3

# Shows what a step prints only if it fails.
step() {
	"$@" >/tmp/step.log 2>&1 || {
		cat /tmp/step.log >&2
		echo "bench: error: set-up: '$*' failed" >&2
		exit 1
	}
}

# shellcheck source-path=SCRIPTDIR source=bench-thp.sh
. "$HARNESS/guest/bench-thp.sh"

step insmod "$module"
[ -b /dev/pmem0 ] || {
	echo "bench: error: no /dev/pmem0: the kernel needs memmap=SIZE!START and CONFIG_BLK_DEV_PMEM" >&2
	exit 1
}
# The device's IOMMU group, in which hmm-bench can have the IOMMU flushed later.
group=
for d in /sys/bus/pci/devices/*; do
	[ "$(cat "$d/vendor" "$d/device" | tr '\n' ' ')" != "0x1234 0x11e8 " ] ||
		group=$d/iommu_group
done
[ -e "$group/type" ] || {
	echo "bench: error: no edu device in an IOMMU group: QEMU needs -device intel-iommu -device edu" >&2
	exit 1
}
mkdir /tmp/dax
step mkfs.ext4 -q -F -b 4096 -E stride=512,stripe_width=512 /dev/pmem0
step mount -o dax /dev/pmem0 /tmp/dax
exec "$program" -k "$kernel" -d /tmp/dax -l "$group" "$@"
