#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Negative control: skips a test that was to run.
# boot: -m 1G -t 60

echo "KTAP version 1"
echo "1..2"
echo "ok 1 runs"
echo "ok 2 has-to-run # SKIP not today"
