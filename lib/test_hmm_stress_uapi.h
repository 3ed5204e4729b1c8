/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * User interface of the HMM stress test device, /dev/hmm_stress.
 *
 * Private to lib/test_hmm_stress.c and the kselftest hmm-stress: it may change
 * with any kernel release and is not installed with the other uapi headers.
 *
 * Each open file mirrors one virtual range of the process that opened it. All
 * memory in that range has to be laid out as HMM_STRESS_SLOTS words per page,
 * HMM_STRESS_SLOT_SIZE bytes apart, each 0 or a tag: the identity of the page
 * in the upper bits and a generation in the lower ones.
 */
#ifndef _LIB_TEST_HMM_STRESS_UAPI_H
#define _LIB_TEST_HMM_STRESS_UAPI_H

#include <linux/const.h>
#include <linux/ioctl.h>
#include <linux/types.h>

#define HMM_STRESS_SLOTS	8
#define HMM_STRESS_SLOT_SIZE	512
#define HMM_STRESS_GEN_BITS	24
#define HMM_STRESS_GEN_MASK	(_BITULL(HMM_STRESS_GEN_BITS) - 1)

/* Pages of a mirror, pages of one call, and how long a call may take. */
#define HMM_STRESS_MAX_MIRROR	_BITUL(18)
#define HMM_STRESS_MAX_PAGES	1024U
#define HMM_STRESS_MAX_TIMEOUT_MS 60000U

/*
 * The invalidate callback leaves the device page table as it is, as that of a
 * broken driver. Entries hold a reference to their page then, and the device
 * only reads. For a test to prove that it notices.
 */
#define HMM_STRESS_IGNORE_INVALIDATIONS	_BITUL(0)

/*
 * struct hmm_stress_mirror - what to mirror, once per open file
 *
 * @start: (in) first byte, page aligned
 * @end: (in) byte after it, page aligned
 * @ident: (in) identity of the first page, that of the next one is one more
 * @flags: (in) HMM_STRESS_IGNORE_INVALIDATIONS or 0
 * @reserved: (in) must be 0
 */
struct hmm_stress_mirror {
	__u64	start;
	__u64	end;
	__u64	ident;
	__u32	flags;
	__u32	reserved;
};

/*
 * enum hmm_stress_mode - which entry point of the range API to call
 *
 * @HMM_STRESS_SNAPSHOT: hmm_range_snapshot() under the mmap read lock
 * @HMM_STRESS_LOCKED: hmm_range_fault() under the mmap read lock
 * @HMM_STRESS_UNLOCKED: hmm_range_fault_unlocked_timeout()
 */
enum hmm_stress_mode {
	HMM_STRESS_SNAPSHOT,
	HMM_STRESS_LOCKED,
	HMM_STRESS_UNLOCKED,
};

/* Flags of struct hmm_stress_fault and of struct hmm_stress_access. */
#define HMM_STRESS_WRITE	_BITUL(0)
#define HMM_STRESS_PARTIAL	_BITUL(1)

/*
 * struct hmm_stress_fault - fill a part of the device page table
 *
 * @start: (in) first byte, page aligned
 * @end: (in) byte after it, page aligned
 * @mode: (in) enum hmm_stress_mode
 * @flags: (in) HMM_STRESS_WRITE to ask for write access, HMM_STRESS_PARTIAL to
 *	set hmm_range::partial
 * @max_extents: (in) size of the extent array, 0 to get pfns
 * @timeout_ms: (in) for HMM_STRESS_UNLOCKED
 * @next: (out) first byte that was not done
 * @error: (out) hmm_range::error
 * @result: (out) what the call returned; -EBUSY also if its result was stale
 *
 * The ioctl itself fails only if it did not get as far as to make a call.
 */
struct hmm_stress_fault {
	__u64	start;
	__u64	end;
	__u32	mode;
	__u32	flags;
	__u32	max_extents;
	__u32	timeout_ms;
	__u64	next;
	__s32	error;
	__s32	result;
};

/*
 * struct hmm_stress_access - let the device read or write through its entries
 *
 * @start: (in) first byte, page aligned
 * @end: (in) byte after it, page aligned
 * @words: (in) user address of an array of HMM_STRESS_SLOTS words per page for
 *	what a read finds; 0 for pages that the device has no entry for
 * @flags: (in) HMM_STRESS_WRITE to write, else the device reads
 * @slot: (in) where to write
 * @gen: (in) generation of the tag to write
 * @done: (out) one bit per page: accessed, since there was an entry for it that
 *	allows that
 */
struct hmm_stress_access {
	__u64	start;
	__u64	end;
	__u64	words;
	__u32	flags;
	__u32	slot;
	__u64	gen;
	__u64	done[HMM_STRESS_MAX_PAGES / 64];
};

/*
 * struct hmm_stress_stats - what happened to a mirror so far
 *
 * @faults: calls of the range API that were taken over
 * @stale: calls whose result was stale when it was looked at
 * @invalidations: callbacks
 * @cleared: entries taken away by callbacks
 * @pages_read: pages that the device looked at
 * @pages_written: pages that the device wrote to
 * @mismatches: words that neither were 0 nor had the identity of their page
 * @bad_addr: the first of these
 * @bad_expected: its identity as it should be, with generation 0
 * @bad_found: the word
 * @bad_entry: the entry that the device had for the page
 */
struct hmm_stress_stats {
	__u64	faults;
	__u64	stale;
	__u64	invalidations;
	__u64	cleared;
	__u64	pages_read;
	__u64	pages_written;
	__u64	mismatches;
	__u64	bad_addr;
	__u64	bad_expected;
	__u64	bad_found;
	__u64	bad_entry;
};

#define HMM_STRESS_MIRROR	_IOW('H', 0x30, struct hmm_stress_mirror)
#define HMM_STRESS_FAULT	_IOWR('H', 0x31, struct hmm_stress_fault)
#define HMM_STRESS_ACCESS	_IOWR('H', 0x32, struct hmm_stress_access)
#define HMM_STRESS_STATS	_IOR('H', 0x33, struct hmm_stress_stats)

#endif /* _LIB_TEST_HMM_STRESS_UAPI_H */
