#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# KUnit results of our suites: built-in ones ran at boot, those in modules
# run when loaded here. One KTAP document of all suites, from debugfs.
# boot: -m 2G -t 120 -a "kunit.enable=1 kunit.autorun=1"

for ko in "$BUILD"/lib/*hmm*kunit*.ko "$BUILD"/mm/*hmm*kunit*.ko; do
	[ ! -f "$ko" ] || insmod "$ko"
done

set -- /sys/kernel/debug/kunit/*hmm*/results /sys/kernel/debug/kunit/*odp*/results
for results; do
	[ -f "$results" ] || {
		echo "no KUnit suite has $results in this kernel" >&2
		exit 1
	}
done
echo "KTAP version 1"
echo "1..$#"
n=0
for results; do
	n=$((n + 1))
	# Each is a document of one suite, its header and number replaced here.
	sed -e '/^KTAP version/d' -e '/^1\.\.1$/d' \
	    -e "s/^\(not ok\|ok\) 1 /\1 $n /" "$results"
done
