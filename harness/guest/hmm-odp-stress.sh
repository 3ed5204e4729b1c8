#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Stress test of RDMA on-demand paging over soft-RoCE: two memory nodes to migrate
# between, huge pages, swap, and an ordinary file system on a loop device for the
# file that is mapped. With real time and two CPUs, so that things do happen at
# once. The driver has to go without a trace at the end.
#
# usage: hmm-odp-stress.sh [SECONDS [OPTION OF odp-stress...]]
# boot: -m 4G -t 400 -a "hugepagesz=2M hugepages=64" -q "-object memory-backend-ram,id=n0,size=2G -object memory-backend-ram,id=n1,size=2G -numa node,nodeid=0,memdev=n0,cpus=0-1 -numa node,nodeid=1,memdev=n1"

# shellcheck source-path=SCRIPTDIR source=rdma-net.sh
. "$HARNESS/guest/rdma-net.sh"

seconds=${1:-60}
[ $# -eq 0 ] || shift
rdma_net
step truncate -s 64M /tmp/disk.img
step mkfs.ext4 -q -F /tmp/disk.img
step losetup /dev/loop7 /tmp/disk.img
mkdir /tmp/disk
step mount /dev/loop7 /tmp/disk
status=0
RDMA_DEVICE=rxe0 "$SELFTESTS/odp-stress" -t "$seconds" -d /tmp/disk "$@" || status=$?
step rdma link delete rxe0
step rdma link delete rxe1
step rmmod rdma_rxe
exit $status
