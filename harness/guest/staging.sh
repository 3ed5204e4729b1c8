#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# What every state of the series has to manage: each test module of HMM that
# there is and each MODULE, in and out, KUnit suites that there are then, and a
# few of the base's own hmm-tests.
#
# usage: staging.sh [MODULE...]
# boot: -m 4G -t 300 -a "kunit.enable=1 kunit.autorun=1 hugepagesz=1G hugepages=1 hugepagesz=2M hugepages=8"

# shellcheck source-path=SCRIPTDIR source=modules.sh
. "$HARNESS/guest/modules.sh"

out=/tmp/staging
mkdir -p $out
n=0
# result STATUS NAME
result() {
	n=$((n + 1))
	[ "$1" = 0 ] || printf 'not '
	echo "ok $n $2"
} >>$out/all

# suites: of those in debugfs at present, what has not been told
suites() {
	for suite in /sys/kernel/debug/kunit/*/results; do
		name=$(basename "$(dirname "$suite")")
		case $name in *hmm* | *odp* | *nouveau*) ;; *) continue ;; esac
		[ ! -e "$out/suite.$name" ] || continue
		: >"$out/suite.$name"
		rc=0
		grep -E '^ *not ok' "$suite" >&2 && rc=1
		result $rc "kunit.$name"
	done
}

suites
for ko in "$BUILD"/lib/test_hmm*.ko "$BUILD"/samples/hmm/*.ko; do
	[ ! -f "$ko" ] || set -- "$@" "$(basename "$ko" .ko)"
done
for m; do
	rc=0
	loaded=
	load "$m" || rc=1
	suites
	# shellcheck disable=SC2086 # a list of words
	unload $loaded || rc=1
	result $rc "module.$m"
done

load test_hmm
for t in hmm.hmm_device_private.open_close hmm.hmm_device_private.anon_read \
	 hmm.hmm_device_private.anon_write hmm.hmm_device_private.anon_write_prot \
	 hmm.hmm_device_private.migrate hmm2.hmm2_device_private.snapshot; do
	rc=0
	timeout 60 "$SELFTESTS/hmm-tests" -r "$t" >$out/said || rc=1
	# A name that is not there runs nothing, and that succeeds.
	grep -q '^ok 1 ' $out/said || rc=1
	cat $out/said >&2
	result $rc "hmm-tests.$t"
done

echo "KTAP version 1"
echo "1..$n"
cat $out/all
