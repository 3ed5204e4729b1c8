#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs nouveau-bench on the GPU of its module. Nothing else is to run meanwhile: no
# khugepaged.
#
# usage: bench-nouveau.sh MODULE PROGRAM KERNEL [BACKING...]
# boot: -i -m 3G -t 600

set -eu
module=$1
program=$2
kernel=$3
shift 3

thp=/sys/kernel/mm/transparent_hugepage
echo madvise >$thp/enabled
echo always >$thp/defrag
echo 0 >$thp/khugepaged/defrag
echo 4000000000 >$thp/khugepaged/scan_sleep_millisecs
insmod "$module"
exec "$program" -k "$kernel" "$@"
