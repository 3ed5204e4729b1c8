#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs rdma-bench on a soft-RoCE device that is its own peer. Nothing else is to
# run meanwhile: no khugepaged.
#
# usage: bench-rdma.sh PROGRAM KERNEL [BACKING...]
# boot: -i -m 2G -t 600

program=$1
kernel=$2
shift 2

# shellcheck source-path=SCRIPTDIR source=rdma-net.sh
. "$HARNESS/guest/rdma-net.sh"

# shellcheck source-path=SCRIPTDIR source=bench-thp.sh
. "$HARNESS/guest/bench-thp.sh"
rdma_net
exec "$program" -k "$kernel" -d rxe0 -g "$RDMA_GID" "$@"
