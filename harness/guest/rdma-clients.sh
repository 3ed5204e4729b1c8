# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2086
#
# Sourced by the jobs rdma and rdma-new, which run the same clients in different
# versions. Each client is Debian's, unmodified, and so are the tests of rdma-core.

# shellcheck source-path=SCRIPTDIR source=rdma-net.sh
. "$HARNESS/guest/rdma-net.sh"

enter=		# "chroot DIR", as words, for clients that are not this machine's
port=18515	# on which pingpongs and perftests meet
limit=30	# seconds that a pair of them may take
[ -z "$SLOW" ] || limit=150

n=0
# result STATUS NAME: a line of TAP, behind what a pair that failed has said.
result() {
	n=$((n + 1))
	[ "$1" -eq 0 ] || {
		sed 's/^/# /' /tmp/server.log /tmp/client.log
		printf 'not '
	}
	echo "ok $n $2"
}

# listens: has the server got as far as to wait for its client?
listens() {
	cat /proc/net/tcp /proc/net/tcp6 | awk -v port=":$(printf %04X $port)\$" '
		$2 ~ port && $4 == "0A" { found = 1 }
		END { exit !found }'
}

# pair NAME PROGRAM [ARG...]: as server on rxe1, then as client on rxe0.
pair() {
	name=$1
	shift
	case $1 in
	ibv_*) gid=-g ;;
	*) gid=-x ;;
	esac
	: >/tmp/client.log
	timeout -k 5 $limit $enter "$@" -d rxe1 $gid "$RDMA_PEER_GID" >/tmp/server.log 2>&1 &
	server=$!
	while kill -0 $server 2>/dev/null && ! listens; do
		sleep 0.1
	done
	status=0
	timeout -k 5 $limit $enter "$@" -d rxe0 $gid "$RDMA_GID" 127.0.0.1 \
		>/tmp/client.log 2>&1 || status=$?
	[ $status -eq 0 ] || kill $server 2>/dev/null || :
	wait $server || status=$?
	# A pingpong that gets the wrong bytes says so and goes on.
	! grep -q 'invalid data' /tmp/server.log /tmp/client.log || status=1
	result $status "$name"
}

# unittests MIN MORE ARG...: rdma-core's tests that ARG... selects, at least MIN of
# them, as the first results. There will be MORE after them.
unittests() {
	least=$1
	more=$2
	shift 2
	tests=/usr/share/doc/rdma-core/tests
	step $enter cp -r $tests /tmp/tests
	find /tmp/tests -name '*.py.gz' -exec gunzip {} +
	cp "$HARNESS/guest/unittest-tap.py" /tmp
	# A crash shows as results that are missing.
	$enter python3 /tmp/unittest-tap.py "$least" "$more" /tmp/tests/run_tests.py \
		--dev rxe0 "$@" | tee /tmp/tests.tap
	n=$(grep -c -E '^(not )?ok ' /tmp/tests.tap || :)
}

pingpongs() {
	pair pingpong.rc ibv_rc_pingpong -o -c -n 100
	pair pingpong.rc_implicit ibv_rc_pingpong -O -c -n 100
	pair pingpong.srq ibv_srq_pingpong -o -c -n 20
}

prefetches() {
	pair pingpong.rc_prefetch ibv_rc_pingpong -o -P -c -n 100
	pair pingpong.rc_implicit_prefetch ibv_rc_pingpong -O -P -c -n 100
}

perftests() {
	for verb in write read send; do
		for odp in '' --odp; do
			pair perftest.$verb${odp:+_odp} ib_${verb}_bw -F -n 100 -s 65536 $odp
		done
	done
	pair perftest.send_ud_odp ib_send_bw -F -n 100 -s 1024 -c UD --odp
}

# Older ones refuse this themselves.
perftest_atomic() {
	pair perftest.atomic_odp ib_atomic_bw -F -n 100 --odp
}
