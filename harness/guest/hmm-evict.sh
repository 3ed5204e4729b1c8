#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Device memory is taken back while processes use it: the kselftest, and after it
# the module is unloaded, which waits for each page that is still in use.
# boot: -m 3G -t 240

insmod "$BUILD/lib/test_hmm.ko"
"$SELFTESTS/hmm-evict-tests"
status=$?
rmmod test_hmm || exit 1
exit $status
