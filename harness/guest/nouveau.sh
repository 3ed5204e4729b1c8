#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# nouveau without a GPU: the module loads, which runs its KUnit suites, and goes
# away again; and the same, without the suites, as if it were to drive one. Where
# the kernel can fail allocations on demand, all kinds can be failed.
# boot: -m 4G -t 400 -a "kunit.enable=1 kunit.autorun=1 hugepagesz=1G hugepages=1 hugepagesz=2M hugepages=8"

set -eu

# shellcheck source-path=SCRIPTDIR source=modules.sh
. "$HARNESS/guest/modules.sh"

n=0
# result NAME COMMAND...: a line that says whether COMMAND succeeds
result() {
	n=$((n + 1))
	name=$1
	shift
	if "$@"; then
		echo "ok $n $name"
	else
		echo "not ok $n $name"
	fi
}

# As in hmm-dma-fail-nth: whatever allocates, also if it may wait.
debugfs=/sys/kernel/debug
if [ -d $debugfs/failslab ]; then
	echo N >$debugfs/failslab/ignore-gfp-wait
	echo N >$debugfs/fail_page_alloc/ignore-gfp-wait
	echo N >$debugfs/fail_page_alloc/ignore-gfp-highmem
	echo 0 >$debugfs/fail_page_alloc/min-order
	echo 0 >$debugfs/failslab/verbose
	echo 0 >$debugfs/fail_page_alloc/verbose
fi

load nouveau
set -- $debugfs/kunit/nouveau_svm*/results
[ -f "$1" ] || {
	echo "no KUnit suite in nouveau" >&2
	exit 1
}
echo "KTAP version 1"
echo "1..$(($# + 2))"
for results; do
	n=$((n + 1))
	# Each is a document of one suite, its header and number replaced here.
	sed -e '/^KTAP version/d' -e '/^1\.\.1$/d' \
	    -e "s/^\(not ok\|ok\) 1 /\1 $n /" "$results"
done
result unload unload nouveau
echo none >/sys/module/kunit/parameters/filter_glob
load nouveau modeset=1
# shellcheck disable=SC2086	# a list
result modeset unload $loaded
