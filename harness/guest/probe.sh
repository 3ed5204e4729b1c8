#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The least job there is: shows that a guest comes up and reports.
# boot: -m 1G -t 60

echo "KTAP version 1"
echo "1..1"
echo "ok 1 boot"
