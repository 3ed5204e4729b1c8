#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Stress test of the range layer: two memory nodes to migrate between, huge
# pages, and an ordinary file system on a loop device for the file that it maps.
#
# usage: hmm-stress.sh [SECONDS [OPTION OF hmm-stress...]]
# boot: -m 4G -t 300 -a "hugepagesz=2M hugepages=64" -q "-object memory-backend-ram,id=n0,size=2G -object memory-backend-ram,id=n1,size=2G -numa node,nodeid=0,memdev=n0,cpus=0-1 -numa node,nodeid=1,memdev=n1"

seconds=${1:-60}
[ $# -eq 0 ] || shift
insmod "$BUILD/lib/test_hmm_stress.ko"
truncate -s 64M /tmp/disk.img
mkfs.ext4 -q -F /tmp/disk.img >&2
losetup /dev/loop0 /tmp/disk.img
mkdir /tmp/disk
mount /dev/loop0 /tmp/disk
"$SELFTESTS/hmm-stress" -t "$seconds" -d /tmp/disk "$@"
