// SPDX-License-Identifier: GPL-2.0
/*
 * Benchmark device: DMA mappings as the series has them, whole ranges in a view.
 *
 * A view is protected by bench_ctx::update_lock, that of a mirror by the
 * mirror's own lock.
 */
#include <linux/hmm_dma.h>
#include <linux/hmm_mirror.h>
#include <linux/jiffies.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/timex.h>

#include "hmm_bench.h"

struct bench_map {
	struct hmm_dma_view view;
	struct hmm_mirror mirror;
};

/* There is no device page table to clear. */
static void bench_clear(struct hmm_dma_view *view, unsigned long start,
			unsigned long end)
{
}

static const struct hmm_dma_ops bench_dma_ops = {
	.clear = bench_clear,
};

static void bench_mirror_clear(struct hmm_mirror *mirror, unsigned long start,
			       unsigned long end)
{
}

static const struct hmm_mirror_ops bench_mirror_ops = {
	.invalidate = bench_mirror_clear,
};

int bench_map_alloc(struct bench_ctx *ctx)
{
	struct hmm_range *range = &ctx->range;
	int ret = -ENOMEM;

	range->max_extents = ctx->npages;
	range->extents = kvcalloc(ctx->npages, sizeof(*range->extents),
				  GFP_KERNEL);
	ctx->map = kzalloc_obj(*ctx->map);
	if (range->extents && ctx->map)
		ret = hmm_dma_view_init(&ctx->map->view, ctx->dev,
					&bench_dma_ops, range->start,
					range->end);
	if (ret) {
		kvfree(range->extents);
		kfree(ctx->map);
		return ret;
	}
	hmm_dma_view_set_lock(&ctx->map->view, &ctx->update_lock);
	return 0;
}

void bench_map_free(struct bench_ctx *ctx)
{
	hmm_dma_view_destroy(&ctx->map->view);
	kvfree(ctx->range.extents);
	kfree(ctx->map);
}

int bench_map_prepare(struct bench_ctx *ctx)
{
	return hmm_range_dma_prepare(&ctx->range, &ctx->map->view);
}

int bench_map_range(struct bench_ctx *ctx)
{
	return hmm_range_dma_map(&ctx->range, &ctx->map->view, 0);
}

void bench_map_unmap(struct bench_ctx *ctx, unsigned long start,
		     unsigned long end)
{
	hmm_range_dma_unmap(&ctx->map->view, start, end);
}

/* Pages that the device can write to. */
static unsigned long bench_count_view(struct hmm_dma_view *view)
{
	struct hmm_dma_run run = { .start = view->start };
	unsigned long n = 0;

	while (hmm_dma_next_run(view, view->end, &run))
		n += run.writable ? run.npages : 0;
	return n;
}

unsigned long bench_map_count(struct bench_ctx *ctx)
{
	return bench_count_view(&ctx->map->view);
}

size_t bench_map_memory(struct bench_ctx *ctx)
{
	return hmm_dma_view_memory(&ctx->map->view);
}

static int bench_mirror_cycle(struct bench_ctx *ctx)
{
	unsigned long timeout = msecs_to_jiffies(HMM_RANGE_DEFAULT_TIMEOUT);
	unsigned long start = ctx->range.start, end = ctx->range.end;
	struct hmm_mirror *mirror = &ctx->map->mirror;
	cycles_t begin = get_cycles();
	int ret;

	ret = hmm_mirror_fault(mirror, start, end, HMM_MIRROR_WRITE, timeout);
	ctx->call.cycles += get_cycles() - begin;
	if (ret)
		return ret;

	ctx->call.valid = bench_count_view(&mirror->view);
	ctx->call.writable = ctx->call.valid;

	begin = get_cycles();
	hmm_range_dma_unmap(&mirror->view, start, end);
	hmm_mirror_unlock(mirror);
	ctx->call.cycles += get_cycles() - begin;
	return 0;
}

/* With a mirror in the place of notifier, range and view. */
int bench_map_cycle(struct bench_ctx *ctx)
{
	struct hmm_mirror *mirror = &ctx->map->mirror;
	u32 calls = ctx->call.calls;
	int ret;

	ret = hmm_mirror_init(mirror, current->mm, ctx->dev, &bench_mirror_ops,
			      ctx->range.start, ctx->range.end);
	if (ret)
		return ret;
	while (calls-- && !ret)
		ret = bench_mirror_cycle(ctx);
	hmm_mirror_destroy(mirror);
	return ret;
}

/* Device memory. */
int bench_page_init(struct page *page, struct dev_pagemap *pgmap,
		    unsigned int order)
{
	return zone_device_page_init(page, pgmap, order);
}
