#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# RDMA clients of Debian over soft RoCE: rdma-core's tests of on-demand paging, of
# memory regions and memory windows, the pingpongs that offer on-demand paging
# (those for UC and UD do not, that for XRC needs hardware), and perftest with
# and without it. Here with the rdma-core of this machine, 44 in Debian 12.
#
# boot: -m 2G -t 240 -a "hugepagesz=2M hugepages=64"

# shellcheck source-path=SCRIPTDIR source=rdma-clients.sh
. "$HARNESS/guest/rdma-clients.sh"

rdma_net
unittests 30 10 -k odp -k test_mr.MRTest -k test_mr.MWTest
pingpongs	# 3
perftests	# 7
