#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The kselftest of extents and partial results on the raw range device. Calls
# are compared with each other, so khugepaged must not change anything between
# two of them. A kernel without the module in its build brings it as the
# argument.
#
# usage: hmm-extent.sh [MODULE]
# boot: -m 6G -t 300 -a "hugepagesz=1G hugepages=2 hugepagesz=2M hugepages=64"

insmod "${1:-$BUILD/lib/test_hmm_range.ko}"
"$SELFTESTS/hmm-extent-tests"
