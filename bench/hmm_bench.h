/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Parts of the benchmark device: hmm_bench_main.c has the ioctl and the range
 * API, hmm_bench_dma.c what is measured of DMA mappings, hmm_bench_device.c of
 * device memory, hmm_bench_map_base.c and hmm_bench_map_series.c have what differs
 * between the kernels; one of them is built.
 *
 * bench_ctx::update_lock is what the HMM APIs call the driver's update lock. It
 * protects what is mapped.
 */
#ifndef HMM_BENCH_H
#define HMM_BENCH_H

#include <linux/hmm.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>

#include "hmm_bench_uapi.h"

struct bench_map;
struct dev_pagemap;
struct device;
struct page;

/**
 * struct bench_ctx - state of one ioctl
 * @notifier: covers the range in current's mm
 * @update_lock: see above
 * @range: argument of the HMM calls
 * @call: the user's struct
 * @npages: length of the range
 * @pages: output of pin_user_pages_fast()
 * @dev: for which memory is mapped
 * @map: what is mapped for it
 */
struct bench_ctx {
	struct mmu_interval_notifier notifier;
	struct mutex update_lock;	/* the notifier's sequence number, @map */
	struct hmm_range range;
	struct hmm_bench_call call;
	unsigned long npages;
	struct page **pages;
	struct device *dev;
	struct bench_map *map;
};

/* hmm_bench_main.c */
int bench_walk(struct bench_ctx *ctx);

/* hmm_bench_dma.c */
void bench_dma_find_device(void);
void bench_dma_put_device(void);
int bench_dma_device(struct bench_ctx *ctx);
int bench_dma(struct bench_ctx *ctx);
int bench_gup_dma(struct bench_ctx *ctx);

/* hmm_bench_device.c */
int bench_device(struct bench_ctx *ctx);

/* hmm_bench_map_base.c, hmm_bench_map_series.c */
int bench_page_init(struct page *page, struct dev_pagemap *pgmap,
		    unsigned int order);
int bench_map_alloc(struct bench_ctx *ctx);
void bench_map_free(struct bench_ctx *ctx);
int bench_map_prepare(struct bench_ctx *ctx);
int bench_map_range(struct bench_ctx *ctx);
void bench_map_unmap(struct bench_ctx *ctx, unsigned long start,
		     unsigned long end);
unsigned long bench_map_count(struct bench_ctx *ctx);
size_t bench_map_memory(struct bench_ctx *ctx);
int bench_map_cycle(struct bench_ctx *ctx);

#endif /* HMM_BENCH_H */
