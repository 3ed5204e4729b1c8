#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Negative control: passes its test, but the kernel warns meanwhile.
# boot: -m 1G -t 60

insmod "$BUILD/drivers/misc/lkdtm/lkdtm.ko"
echo "KTAP version 1"
echo "1..1"
echo WARNING >/sys/kernel/debug/provoke-crash/DIRECT
echo "ok 1 looks-fine"
