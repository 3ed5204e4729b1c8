#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The base's own hmm-tests with every fixture: device-private, and
# device-coherent on two areas of RAM that memmap= turns into special-purpose
# memory; hugetlb pages for the tests that map some; gup_test through debugfs.
#
# usage: hmm-tests.sh [OPTION OF hmm-tests...]
# boot: -v -m 8G -t 300 -a "memmap=256M%0x100000000-1+0xefffffff memmap=256M%0x110000000-1+0xefffffff"

# benchmark_thp_migration counts on every page of its 256 MB being migrated at
# once; one that khugepaged holds at that moment is not, and the test fails
# (seen in every second run). It scans every 10 s: let it sleep.
echo 4000000000 >/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs

insmod "$BUILD/lib/test_hmm.ko" spm_addr_dev0=0x100000000 spm_addr_dev1=0x110000000
echo 64 >/proc/sys/vm/nr_hugepages
exec "$SELFTESTS/hmm-tests" "$@"
