#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# What every state of the series has to manage: KUnit suites that there are, each
# module of the series or of HMM's users that there is, in and out, and a few of
# the base's own hmm-tests.
# boot: -m 2G -t 120 -a "kunit.enable=1 kunit.autorun=1"

out=/tmp/staging
mkdir -p $out
n=0
# result STATUS NAME
result() {
	n=$((n + 1))
	[ "$1" = 0 ] || printf 'not '
	echo "ok $n $2"
} >>$out/all

for suite in /sys/kernel/debug/kunit/*/results; do
	case $suite in *hmm* | *odp* | *nouveau*) ;; *) continue ;; esac
	rc=0
	grep -E '^ *not ok' "$suite" >&2 && rc=1
	result $rc "kunit.$(basename "$(dirname "$suite")")"
done

for ko in "$BUILD"/lib/test_hmm*.ko "$BUILD"/samples/hmm/*.ko; do
	[ -f "$ko" ] || continue
	rc=0
	insmod "$ko" || rc=1
	rmmod "$(basename "$ko" .ko | tr - _)" || rc=1
	result $rc "module.$(basename "$ko" .ko)"
done

insmod "$BUILD/lib/test_hmm.ko"
for t in open_close anon_read anon_write anon_write_prot migrate snapshot; do
	rc=0
	timeout 60 "$SELFTESTS/hmm-tests" -r "hmm.hmm_device_private.$t" >&2 || rc=1
	result $rc "hmm-tests.$t"
done

echo "KTAP version 1"
echo "1..$n"
cat $out/all
