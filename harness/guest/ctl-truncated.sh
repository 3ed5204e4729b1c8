#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Negative control: plans more tests than it runs.
# boot: -m 1G -t 60

echo "KTAP version 1"
echo "1..3"
echo "ok 1 first"
echo "ok 2 second"
