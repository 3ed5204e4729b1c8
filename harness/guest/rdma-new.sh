#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The clients of job rdma in a newer version: those in the root that
# harness/rdma-root has made in HMM_CACHE, with rdma-core 65.
#
# boot: -m 2G -t 240 -a "hugepagesz=2M hugepages=64"

# shellcheck source-path=SCRIPTDIR source=rdma-clients.sh
. "$HARNESS/guest/rdma-clients.sh"

root=$HMM_CACHE/rdma-root
[ -f "$root.stamp" ] || fail "no $root: run harness/rdma-root"
for d in proc sys dev tmp; do
	step mount --rbind "/$d" "$root/$d"
done
enter="chroot $root"
rdma_net
unittests 45 13 -k odp -k test_mr.MRTest -k test_mr.MWTest
pingpongs	# 3
prefetches	# 2
perftests	# 7
perftest_atomic	# 1
