# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Sourced by the jobs hmm-dma-*, which differ in what is between the devices and
# memory. They all have, in this order on the command line of QEMU:
#
#	an edu device on the root bus, another one (for a narrow DMA mask)
#	a peer (ivshmem) on the root bus
#	a PCIe switch, with an edu device and a peer below it (and not a bridge:
#	QEMU 7.2 has no virtio IOMMU for devices below one of these)

# shellcheck source-path=SCRIPTDIR source=pmem.sh
. "$HARNESS/guest/pmem.sh"

# The clock of these guests runs ahead of time while they wait for the host's
# disk, so nothing is to be concluded from how long that takes.
if [ -w /proc/sys/kernel/hung_task_timeout_secs ]; then
	echo 7200 >/proc/sys/kernel/hung_task_timeout_secs
fi

# Modules, a file system with DAX on emulated pmem, and one without.
dma_setup() {
	step insmod "$BUILD/lib/test_hmm_range.ko"
	step insmod "$BUILD/lib/test_hmm_dma.ko" narrow=1
	step insmod "$BUILD/lib/test_hmm.ko" spm_addr_dev0=0x110000000 spm_addr_dev1=0x120000000
	[ -c /dev/hmm_dma0 ] || fail "no /dev/hmm_dma0: the guest needs -device edu"

	pmem=/dev/pmem$(region_at 0x100000000)
	[ -b "$pmem" ] || fail "no $pmem: the kernel needs CONFIG_BLK_DEV_PMEM"
	export HMM_DAX_EXT4=/tmp/ext4 HMM_DISK=/tmp/disk HMM_DMA_NARROW=1
	mkdir $HMM_DAX_EXT4 $HMM_DISK
	step mkfs.ext4 -q -F -b 4096 -E stride=512,stripe_width=512 "$pmem"
	step mount -t ext4 -o dax=always "$pmem" $HMM_DAX_EXT4
	truncate -s 32M /tmp/disk.img
	step mkfs.ext4 -q -F /tmp/disk.img
	step losetup /dev/loop7 /tmp/disk.img
	step mount /dev/loop7 $HMM_DISK
}

# dma_tests FIXTURE...
dma_tests() {
	dma_setup
	for fixture; do
		shift
		set -- "$@" -f "$fixture"
	done
	"$SELFTESTS/hmm-dma-tests" "$@"
}
