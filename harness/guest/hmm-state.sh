#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The kselftest of each state of a page, with test_hmm as provider of device
# memory: device-private, and device-coherent on two areas of RAM that memmap=
# turns into special-purpose memory. A kernel without test_hmm_range in its
# build brings it as the argument.
#
# usage: hmm-state.sh [MODULE]
# boot: -m 8G -t 300 -a "memmap=256M%0x100000000-1+0xefffffff memmap=256M%0x110000000-1+0xefffffff hugepagesz=1G hugepages=2 hugepagesz=2M hugepages=64"

insmod "${1:-$BUILD/lib/test_hmm_range.ko}"
insmod "$BUILD/lib/test_hmm.ko" spm_addr_dev0=0x100000000 spm_addr_dev1=0x110000000
exec "$SELFTESTS/hmm-state-tests"
