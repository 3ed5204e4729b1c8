/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * User interface of the raw HMM range test device, /dev/hmm_range.
 *
 * Private to lib/test_hmm_range.c and the kselftests: it may change with any
 * kernel release and is not installed with the other uapi headers.
 *
 * The device hands its arguments to the range API as they are and returns what
 * came out, physical page numbers included. That is why its node has mode 0600
 * and why opening it takes CAP_SYS_ADMIN, like pfns in /proc/PID/pagemap do.
 */
#ifndef _LIB_TEST_HMM_RANGE_UAPI_H
#define _LIB_TEST_HMM_RANGE_UAPI_H

#include <linux/const.h>
#include <linux/ioctl.h>
#include <linux/types.h>

/* Layout of an entry of the pfn array: the pfn is in the bits below 53. */
#define HMM_RANGE_PFN_VALID		_BITULL(63)
#define HMM_RANGE_PFN_WRITE		_BITULL(62)
#define HMM_RANGE_PFN_ERROR		_BITULL(61)
/* Bits 58..60 pass from input to output; they belong to the DMA layer. */
#define HMM_RANGE_PFN_STICKY		(_BITULL(58) | _BITULL(59) | _BITULL(60))
#define HMM_RANGE_PFN_ORDER_SHIFT	53
#define HMM_RANGE_PFN_ORDER_MASK	(0x1fULL << HMM_RANGE_PFN_ORDER_SHIFT)
#define HMM_RANGE_PFN_MASK		(_BITULL(HMM_RANGE_PFN_ORDER_SHIFT) - 1)

/* Request bits of an entry, of the default flags and of the mask. */
#define HMM_RANGE_REQ_FAULT		HMM_RANGE_PFN_VALID
#define HMM_RANGE_REQ_WRITE		HMM_RANGE_PFN_WRITE

/*
 * enum hmm_range_test_mode - which entry point of the range API to call
 *
 * @HMM_RANGE_TEST_SNAPSHOT: hmm_range_snapshot() under the mmap read lock
 * @HMM_RANGE_TEST_FAULT_LOCKED: hmm_range_fault() under the mmap read lock
 * @HMM_RANGE_TEST_FAULT_UNLOCKED: hmm_range_fault_unlocked_timeout()
 */
enum hmm_range_test_mode {
	HMM_RANGE_TEST_SNAPSHOT,
	HMM_RANGE_TEST_FAULT_LOCKED,
	HMM_RANGE_TEST_FAULT_UNLOCKED,
};

/*
 * Bits of hmm_range_test::flags.
 *
 * @HMM_RANGE_TEST_POISON: fill the pfn array with a pattern that has every
 *	request and output bit set instead of reading it from user space, as the
 *	array of a caller that leaves it uninitialised. Only with a zero
 *	pfn_flags_mask
 * @HMM_RANGE_TEST_NO_PFNS: hmm_range::hmm_pfns is NULL. The range may then be of
 *	any size; npfns has to be 0
 * @HMM_RANGE_TEST_PARTIAL: hmm_range::partial
 * @HMM_RANGE_TEST_RUNS: go through the pfn array by hmm_range_next_run() and
 *	report the runs
 */
#define HMM_RANGE_TEST_POISON		_BITUL(0)
#define HMM_RANGE_TEST_NO_PFNS		_BITUL(1)
#define HMM_RANGE_TEST_PARTIAL		_BITUL(2)
#define HMM_RANGE_TEST_RUNS		_BITUL(3)
#define HMM_RANGE_TEST_FLAGS		(_BITUL(4) - 1)

#define HMM_RANGE_TEST_MAX_PFNS		_BITUL(20)
#define HMM_RANGE_TEST_MAX_EXTENTS	_BITUL(18)
#define HMM_RANGE_TEST_MAX_TIMEOUT_MS	60000U
#define HMM_RANGE_TEST_MAX_SLEEP_MS	30000U

/* struct hmm_range_test_extent - struct hmm_extent as user space sees it */
struct hmm_range_test_extent {
	__u64	start;
	__u64	npages;
	__u64	entry;
};

/*
 * struct hmm_range_test - one call of the range API on the caller's memory
 *
 * @start: (in) first byte of the range; need not be page aligned
 * @end: (in) byte after the range; need not be page aligned or above @start
 * @pfns: (in) user address of an array of __u64: requests in, entries out. It
 *	is written only if @result is 0
 * @npfns: (in) entries in @pfns, at least one for each page that the range
 *	spans and at most HMM_RANGE_TEST_MAX_PFNS
 * @default_flags: (in) hmm_range::default_flags
 * @pfn_flags_mask: (in) hmm_range::pfn_flags_mask
 * @notifier_start: (in) first byte that the interval notifier covers
 * @notifier_length: (in) bytes that the interval notifier covers; 0 for that of
 *	HMM_RANGE_TEST_WATCH or, without one, for the range itself
 * @mode: (in) enum hmm_range_test_mode
 * @flags: (in) HMM_RANGE_TEST_POISON and so on
 * @timeout_ms: (in) how long to go on after -EBUSY. 0 is no limit for
 *	HMM_RANGE_TEST_FAULT_UNLOCKED and a single try for the others
 * @result: (out) 0 or the negative errno of the call; -EBUSY also if its
 *	output was stale when the device looked at it
 * @invalidations: (out) how often the interval notifier was called meanwhile
 * @elapsed_ns: (out) time from the first call to the last return
 * @tries: (out) calls made
 * @reserved: (in) must be 0
 * @extents: (in) user address of an array of struct hmm_range_test_extent; 0
 *	makes hmm_range::extents NULL. It is written only if @result is 0
 * @runs: (in) user address of an array of the same type, for
 *	HMM_RANGE_TEST_RUNS
 * @next: (out) hmm_range::next after the last call
 * @max_extents: (in) hmm_range::max_extents
 * @nr_extents: (out) hmm_range::nr_extents after the last call
 * @max_runs: (in) entries in @runs
 * @nr_runs: (out) runs in the pfn array, also if they are more than @max_runs
 * @error: (out) hmm_range::error after the last call
 * @reserved2: (in) must be 0
 *
 * The ioctl itself fails only if it did not get as far as to make a call, or
 * with EIO if the API claims to have put out more extents than there was room
 * for. More runs than pages are a @result of -EIO.
 */
struct hmm_range_test {
	__u64	start;
	__u64	end;
	__u64	pfns;
	__u64	npfns;
	__u64	default_flags;
	__u64	pfn_flags_mask;
	__u64	notifier_start;
	__u64	notifier_length;
	__u32	mode;
	__u32	flags;
	__u32	timeout_ms;
	__s32	result;
	__u64	invalidations;
	__u64	elapsed_ns;
	__u32	tries;
	__u32	reserved;
	__u64	extents;
	__u64	runs;
	__u64	next;
	__u32	max_extents;
	__u32	nr_extents;
	__u32	max_runs;
	__u32	nr_runs;
	__s32	error;
	__u32	reserved2;
};

/*
 * struct hmm_range_test_watch - an interval notifier that stays
 *
 * @start: (in) first byte that it covers
 * @length: (in) bytes that it covers
 * @invalidate_sleep_ms: (in) how long a callback that may sleep does so, at most
 *	HMM_RANGE_TEST_MAX_SLEEP_MS
 * @nr_sleeps: (in) how many callbacks do; those after them return at once
 *
 * It belongs to the open file and goes with it. There can be one for each, and
 * only calls from the same address space may use it.
 */
struct hmm_range_test_watch {
	__u64	start;
	__u64	length;
	__u32	invalidate_sleep_ms;
	__u32	nr_sleeps;
};

/*
 * struct hmm_range_test_status - what goes on at an open file
 *
 * @invalidations: (out) callbacks of its HMM_RANGE_TEST_WATCH so far
 * @sleeping: (out) how many of them sleep now
 * @holding: (out) how many HMM_RANGE_TEST_HOLD_MMAP have the lock now
 */
struct hmm_range_test_status {
	__u64	invalidations;
	__u32	sleeping;
	__u32	holding;
};

#define HMM_RANGE_TEST_CALL	_IOWR('H', 0x20, struct hmm_range_test)
#define HMM_RANGE_TEST_WATCH	_IOW('H', 0x21, struct hmm_range_test_watch)
#define HMM_RANGE_TEST_STATUS	_IOR('H', 0x22, struct hmm_range_test_status)
/*
 * Takes the caller's mmap lock for write and keeps it for as many milliseconds
 * as the argument says, at most HMM_RANGE_TEST_MAX_SLEEP_MS, or until a signal,
 * which is EINTR.
 */
#define HMM_RANGE_TEST_HOLD_MMAP	_IO('H', 0x23)

#endif /* _LIB_TEST_HMM_RANGE_UAPI_H */
