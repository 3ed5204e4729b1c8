#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The kselftest of what a range call waits for, on the raw range device. A
# kernel without the module in its build brings it as the argument.
#
# usage: hmm-wait.sh [MODULE]
# boot: -m 4G -t 400 -a "hugepagesz=2M hugepages=16"

insmod "${1:-$BUILD/lib/test_hmm_range.ko}"
"$SELFTESTS/hmm-wait-tests"
