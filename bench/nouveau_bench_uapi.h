/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * What nouveau-bench asks of /dev/nouveau_bench. Plain data, no lock: each call has
 * a copy of its own.
 */
#ifndef NOUVEAU_BENCH_UAPI_H
#define NOUVEAU_BENCH_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define NOUVEAU_BENCH_MAX_FAULTS	1000

/**
 * struct nouveau_bench_call - one batch of faults, or a look at what is mapped
 * @start: address of the first fault
 * @stride: from one fault to the next
 * @faults: how many
 * @write: whether the GPU wants to write
 * @cycles: (out) time stamp counter when all were replayed less that at the
 *	interrupt
 * @calls: (out) calls of nvif
 * @maps: (out) those of them that map
 * @flushes: (out) flushes of the TLB
 * @mapped: (out) at how many of the addresses the GPU has an entry
 * @large: (out) at how many of them it is a large one
 */
struct nouveau_bench_call {
	__u64 start;
	__u64 stride;
	__u32 faults;
	__u32 write;
	__u64 cycles;
	__u64 calls;
	__u64 maps;
	__u64 flushes;
	__u64 mapped;
	__u64 large;
};

/* Report the faults and wait for the replay. */
#define NOUVEAU_BENCH_FAULT	_IOWR('H', 0x50, struct nouveau_bench_call)
/* What has been called since then, and what is mapped now. */
#define NOUVEAU_BENCH_LOOK	_IOWR('H', 0x51, struct nouveau_bench_call)

#endif /* NOUVEAU_BENCH_UAPI_H */
