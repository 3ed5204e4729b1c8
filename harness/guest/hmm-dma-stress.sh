#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Stress test of the DMA and mirror layers: six devices behind an Intel IOMMU, two
# memory nodes to migrate between, huge pages, and an ordinary file system on a
# loop device for the file that is mapped. With real time and two CPUs, so that
# things do happen at once. The driver has to go without a trace at the end.
#
# usage: hmm-dma-stress.sh [SECONDS [OPTION OF hmm-dma-stress...]]
# boot: -m 4G -t 400 -a "intel_iommu=on hugepagesz=2M hugepages=64" -q "-device intel-iommu,aw-bits=48 -object memory-backend-ram,id=n0,size=2G -object memory-backend-ram,id=n1,size=2G -numa node,nodeid=0,memdev=n0,cpus=0-1 -numa node,nodeid=1,memdev=n1 -device edu,dma_mask=0xffffffffffffffff -device edu,dma_mask=0xffffffffffffffff -device edu,dma_mask=0xffffffffffffffff -device edu,dma_mask=0xffffffffffffffff -device edu,dma_mask=0xffffffffffffffff -device edu,dma_mask=0xffffffffffffffff"

seconds=${1:-60}
[ $# -eq 0 ] || shift
insmod "$BUILD/lib/test_hmm_dma.ko"
truncate -s 64M /tmp/disk.img
mkfs.ext4 -q -F /tmp/disk.img >&2
losetup /dev/loop0 /tmp/disk.img
mkdir /tmp/disk
mount /dev/loop0 /tmp/disk
status=0
"$SELFTESTS/hmm-dma-stress" -t "$seconds" -d /tmp/disk "$@" || status=$?
rmmod test_hmm_dma
exit $status
