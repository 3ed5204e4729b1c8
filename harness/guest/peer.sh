# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Sourced by the jobs hmm-peer-*, which differ in what is between the devices and
# memory. They all have, in this order on the command line of QEMU:
#
#	two edu devices and a peer (ivshmem) on the root bus
#	a PCIe switch, with an edu device and a peer below it

# shellcheck source-path=SCRIPTDIR source=pmem.sh
. "$HARNESS/guest/pmem.sh"

# peer_tests FIXTURE...
peer_tests() {
	# The clock of these guests runs ahead of time.
	if [ -w /proc/sys/kernel/hung_task_timeout_secs ]; then
		echo 7200 >/proc/sys/kernel/hung_task_timeout_secs
	fi
	# In this order, as the second one would take the memory, too.
	step insmod "$BUILD/lib/test_hmm_peer.ko"
	step insmod "$BUILD/lib/test_hmm_dma.ko"
	[ -c /dev/hmm_dma2 ] || fail "no /dev/hmm_dma2: the guest needs -device edu"
	[ -c /dev/hmm_peer1 ] || fail "no /dev/hmm_peer1: the guest needs -device ivshmem-plain"
	for fixture; do
		shift
		set -- "$@" -f "$fixture"
	done
	"$SELFTESTS/hmm-peer-tests" "$@"
}
