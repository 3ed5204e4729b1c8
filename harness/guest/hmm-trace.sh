#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The tracepoints of the range layer, as their users see them: by tracefs,
# trace-cmd, perf and bpftrace. What is traced is one selftest, whose first call
# takes a single fault for an empty THP.
#
# boot: -m 4G -t 300

insmod "$BUILD/lib/test_hmm_range.ko"
tracing=/sys/kernel/tracing
failed=0
n=0

traced() {
	"$SELFTESTS/hmm-range-tests" -r hmm_range_weak.unlocked.thp_hole_takes_one_fault
}

# result NAME FILE PATTERN: does a line of FILE match?
result() {
	n=$((n + 1))
	if grep -Eq "$3" "$2"; then
		echo "ok $n $1"
	else
		sed 's/^/# /' "$2"
		echo "not ok $n $1"
		failed=1
	fi
}

echo "TAP version 13"
echo "1..5"

event='result=0 error=0 pages=512 leaves=1 faults=1 retries=0 ns=[1-9]'
echo 1 >$tracing/events/hmm/enable
traced >/tmp/test.log 2>&1 || true
echo 0 >$tracing/events/hmm/enable
cp $tracing/trace /tmp/tracefs.log
result tracefs /tmp/tracefs.log "hmm_range_fault: .* $event"

# The event is off again: no call leaves a trace.
echo >$tracing/trace
traced >/tmp/test.log 2>&1 || true
grep -c 'hmm_range_' $tracing/trace >/tmp/off.log || true
result off /tmp/off.log '^0$'

trace-cmd record -q -e hmm -o /tmp/trace.dat \
	"$SELFTESTS/hmm-range-tests" -r hmm_range_weak.unlocked.thp_hole_takes_one_fault \
	>/tmp/test.log 2>&1 || true
trace-cmd report -i /tmp/trace.dat >/tmp/trace-cmd.log 2>&1 || true
result trace-cmd /tmp/trace-cmd.log "hmm_range_fault: .* $event"

perf record -q -e 'hmm:*' -o /tmp/perf.data \
	"$SELFTESTS/hmm-range-tests" -r hmm_range_weak.unlocked.thp_hole_takes_one_fault \
	>/tmp/perf.log 2>&1 || true
perf script -i /tmp/perf.data >>/tmp/perf.log 2>&1 || true
result perf /tmp/perf.log "hmm:hmm_range_fault: .* $event"

bpftrace -e 'tracepoint:hmm:hmm_range_fault {
	printf("pages=%d faults=%d\n", args->pages, args->faults); }' \
	-c "$SELFTESTS/hmm-range-tests -r hmm_range_weak.unlocked.thp_hole_takes_one_fault" \
	>/tmp/bpftrace.log 2>&1 || true
result bpftrace /tmp/bpftrace.log 'pages=512 faults=1$'
exit $failed
