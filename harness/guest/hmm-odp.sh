#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The kselftest of RDMA on-demand paging, over rxe0 that talks to itself. It
# counts HMM calls by a tracepoint, which patches kernel text: with one CPU.
#
# usage: hmm-odp.sh [OPTION OF odp-tests...]
# boot: -m 5G -t 600 -a "maxcpus=1 hugepagesz=1G hugepages=1 hugepagesz=2M hugepages=16 memmap=256M!0x100000000" -q "-object memory-backend-ram,id=n0,size=3G -object memory-backend-ram,id=n1,size=2G -numa node,nodeid=0,memdev=n0 -numa node,nodeid=1,memdev=n1"

# shellcheck source-path=SCRIPTDIR source=rdma-net.sh
. "$HARNESS/guest/rdma-net.sh"

rdma_net
pmem=/dev/pmem$(region_at 0x100000000)
[ -b "$pmem" ] || fail "no $pmem: the kernel needs CONFIG_BLK_DEV_PMEM"
export HMM_DAX_EXT4=/tmp/ext4 HMM_DISK=/tmp/disk RDMA_DEVICE=rxe0
mkdir $HMM_DAX_EXT4 $HMM_DISK
step mkfs.ext4 -q -F -b 4096 -E stride=512,stripe_width=512 "$pmem"
step mount -t ext4 -o dax=always "$pmem" $HMM_DAX_EXT4
truncate -s 32M /tmp/disk.img
step mkfs.ext4 -q -F /tmp/disk.img
step losetup /dev/loop7 /tmp/disk.img
step mount /dev/loop7 $HMM_DISK
"$SELFTESTS/odp-tests" "$@"
