#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Negative control: the kernel never gets to user land and says nothing of it.
# boot: -m 1G -t 30 -a "root=/dev/none rootwait"

echo "KTAP version 1"
echo "1..1"
echo "ok 1 cannot-be"
