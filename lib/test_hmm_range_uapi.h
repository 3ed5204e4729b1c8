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
 * Fill the array with a pattern that has every request and output bit set
 * instead of reading it from user space. Only with a zero pfn_flags_mask, as
 * the array of a caller that leaves it uninitialised.
 */
#define HMM_RANGE_TEST_POISON		_BITUL(0)

#define HMM_RANGE_TEST_MAX_PFNS		_BITUL(20)
#define HMM_RANGE_TEST_MAX_TIMEOUT_MS	60000U

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
 * @notifier_length: (in) bytes that the interval notifier covers; 0 for the
 *	range itself
 * @mode: (in) enum hmm_range_test_mode
 * @flags: (in) HMM_RANGE_TEST_POISON or 0
 * @timeout_ms: (in) how long to go on after -EBUSY. 0 is no limit for
 *	HMM_RANGE_TEST_FAULT_UNLOCKED and a single try for the others
 * @result: (out) 0 or the negative errno of the call; -EBUSY also if its
 *	entries were stale when the device looked at them
 * @invalidations: (out) how often the interval notifier was called
 * @elapsed_ns: (out) time from the first call to the last return
 * @tries: (out) calls made
 * @reserved: (in) must be 0
 *
 * The ioctl itself fails only if it did not get as far as to make a call.
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
};

#define HMM_RANGE_TEST_CALL	_IOWR('H', 0x20, struct hmm_range_test)

#endif /* _LIB_TEST_HMM_RANGE_UAPI_H */
