/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * What hmm-bench asks of /dev/hmm_bench. Plain data, no lock: each call has a
 * copy of its own.
 */
#ifndef HMM_BENCH_UAPI_H
#define HMM_BENCH_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define HMM_BENCH_MAX_PAGES	262144	/* 1 GiB of 4K pages */
#define HMM_BENCH_MAX_CALLS	1024

/**
 * enum hmm_bench_op - what to measure
 * @HMM_BENCH_SNAPSHOT: snapshot into an array with one entry per page
 * @HMM_BENCH_SNAPSHOT_EXTENTS: snapshot into extents; -EOPNOTSUPP on a kernel
 *	that does not have them
 * @HMM_BENCH_FAULT: hmm_range_fault_unlocked_timeout() for write
 * @HMM_BENCH_GUP: pin_user_pages_fast() for write, and unpin
 * @HMM_BENCH_GUP_DMA: the same, with a DMA mapping in between
 * @HMM_BENCH_DMA: DMA mapping of what HMM has found, and unmapping
 * @HMM_BENCH_DMA_INVALIDATE: DMA mapping, and unmapping of one page out of it
 * @HMM_BENCH_DMA_CYCLE: fault, DMA mapping and unmapping, all as @cycles
 * @HMM_BENCH_DEVICE_INIT: handing out folios of device memory that are as long as
 *	the range, where such folios were before; @unmap_cycles has the same where
 *	only single pages were
 *
 * Those with a DMA mapping give -ENODEV if there is no device to do it for.
 */
enum hmm_bench_op {
	HMM_BENCH_SNAPSHOT,
	HMM_BENCH_SNAPSHOT_EXTENTS,
	HMM_BENCH_FAULT,
	HMM_BENCH_GUP,
	HMM_BENCH_GUP_DMA,
	HMM_BENCH_DMA,
	HMM_BENCH_DMA_INVALIDATE,
	HMM_BENCH_DMA_CYCLE,
	HMM_BENCH_DEVICE_INIT,
};

/**
 * struct hmm_bench_call - one measurement
 * @start: first byte of the range
 * @length: its length in bytes
 * @op: one of &enum hmm_bench_op
 * @calls: how often to do it within the measured time
 * @cycles: (out) time stamp counter at the end less that at the beginning
 * @valid: (out) pages that the last call reported as present
 * @writable: (out) pages that it reported as writable
 * @extents: (out) runs that it reported, 0 for the other operations
 * @unmap_cycles: (out) the same as @cycles for unmapping, where that is measured
 *	on its own, or as the operation says
 * @dropped: (out) pages that the device lost by @HMM_BENCH_DMA_INVALIDATE
 * @memory: (out) bytes that HMM kept of what was mapped
 */
struct hmm_bench_call {
	__u64 start;
	__u64 length;
	__u32 op;
	__u32 calls;
	__u64 cycles;
	__u64 valid;
	__u64 writable;
	__u64 extents;
	__u64 unmap_cycles;
	__u64 dropped;
	__u64 memory;
};

#define HMM_BENCH_CALL	_IOWR('H', 0x40, struct hmm_bench_call)

#endif /* HMM_BENCH_UAPI_H */
