#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Negative control: all results are there, then the kernel panics.
# boot: -m 1G -t 60

insmod "$BUILD/drivers/misc/lkdtm/lkdtm.ko"
echo "KTAP version 1"
echo "1..1"
echo "ok 1 looks-fine"
echo PANIC >/sys/kernel/debug/provoke-crash/DIRECT
