# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Sourced by the bench jobs: huge pages where a benchmark asks for them, made at
# once, and no khugepaged that works beside it.

thp=/sys/kernel/mm/transparent_hugepage
echo madvise >$thp/enabled
echo always >$thp/defrag
echo 0 >$thp/khugepaged/defrag
echo 4000000000 >$thp/khugepaged/scan_sleep_millisecs
