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

# shellcheck source-path=SCRIPTDIR source=bench-thp.sh
. "$HARNESS/guest/bench-thp.sh"
insmod "$module"
exec "$program" -k "$kernel" "$@"
