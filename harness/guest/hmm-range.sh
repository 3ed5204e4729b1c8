#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The kselftest of the range API on its raw device. Sets up the huge pages and
# the mTHP size that it cannot get by itself; swap it makes on a loop device.
# A kernel without the module in its build brings it as the argument.
#
# usage: hmm-range.sh [MODULE]
# boot: -m 6G -t 300 -a "hugepagesz=1G hugepages=2 hugepagesz=2M hugepages=64"

insmod "${1:-$BUILD/lib/test_hmm_range.ko}"
"$SELFTESTS/hmm-range-tests"
