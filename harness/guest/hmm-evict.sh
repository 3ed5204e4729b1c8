#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Device memory is taken back while processes use it: the kselftest, and after it
# the module is unloaded, which waits for each page that is still in use.
#
# usage: hmm-evict.sh [OPTION OF hmm-evict-tests...]
# boot: -m 5G -t 480 -a "memmap=256M%0x100000000-1+0xefffffff memmap=256M%0x110000000-1+0xefffffff"

insmod "$BUILD/lib/test_hmm.ko" spm_addr_dev0=0x100000000 spm_addr_dev1=0x110000000
"$SELFTESTS/hmm-evict-tests" "$@"
status=$?
rmmod test_hmm || exit 1
exit $status
