// SPDX-License-Identifier: GPL-2.0
/*
 * Benchmark device: DMA mappings as the base has them, a page at a time. The
 * notifier is the one of the range; all is done under bench_ctx::update_lock.
 */
#include <linux/hmm-dma.h>
#include <linux/memremap.h>
#include <linux/pci-p2pdma.h>
#include <linux/slab.h>
#include <linux/timex.h>

#include "hmm_bench.h"

struct bench_map {
	struct hmm_dma_map dma;
};

int bench_map_alloc(struct bench_ctx *ctx)
{
	int ret;

	ctx->map = kzalloc_obj(*ctx->map);
	if (!ctx->map)
		return -ENOMEM;

	ret = hmm_dma_map_alloc(ctx->dev, &ctx->map->dma, ctx->npages,
				PAGE_SIZE);
	if (ret)
		kfree(ctx->map);
	else
		ctx->range.hmm_pfns = ctx->map->dma.pfn_list;
	return ret;
}

void bench_map_free(struct bench_ctx *ctx)
{
	hmm_dma_map_free(ctx->dev, &ctx->map->dma);
	kfree(ctx->map);
}

int bench_map_prepare(struct bench_ctx *ctx)
{
	return 0;
}

int bench_map_range(struct bench_ctx *ctx)
{
	struct pci_p2pdma_map_state p2p = {};
	unsigned long i;

	for (i = 0; i < ctx->npages; i++)
		if (hmm_dma_map_pfn(ctx->dev, &ctx->map->dma, i, &p2p) ==
		    DMA_MAPPING_ERROR)
			break;
	if (i == ctx->npages)
		return 0;

	while (i--)
		hmm_dma_unmap_pfn(ctx->dev, &ctx->map->dma, i);
	return -EIO;
}

void bench_map_unmap(struct bench_ctx *ctx, unsigned long start,
		     unsigned long end)
{
	unsigned long i = (start - ctx->range.start) >> PAGE_SHIFT;
	unsigned long last = (end - ctx->range.start) >> PAGE_SHIFT;

	for (; i < last; i++)
		hmm_dma_unmap_pfn(ctx->dev, &ctx->map->dma, i);
}

unsigned long bench_map_count(struct bench_ctx *ctx)
{
	unsigned long i, n = 0;

	for (i = 0; i < ctx->npages; i++)
		n += !!(ctx->map->dma.pfn_list[i] & HMM_PFN_DMA_MAPPED);
	return n;
}

size_t bench_map_memory(struct bench_ctx *ctx)
{
	size_t entry = sizeof(*ctx->map->dma.pfn_list);

	if (ctx->map->dma.dma_list)
		entry += sizeof(*ctx->map->dma.dma_list);
	return ctx->npages * entry;
}

static int bench_pfn_cycle(struct bench_ctx *ctx)
{
	cycles_t begin = get_cycles();
	int ret;

	ret = bench_walk(ctx);
	if (ret)
		return ret;
	mutex_lock(&ctx->update_lock);
	if (mmu_interval_read_retry(&ctx->notifier, ctx->range.notifier_seq))
		ret = -EAGAIN;
	else
		ret = bench_map_range(ctx);
	ctx->call.cycles += get_cycles() - begin;

	if (!ret) {
		ctx->call.valid = bench_map_count(ctx);
		ctx->call.writable = ctx->call.valid;
		begin = get_cycles();
		bench_map_unmap(ctx, ctx->range.start, ctx->range.end);
		ctx->call.cycles += get_cycles() - begin;
	}
	mutex_unlock(&ctx->update_lock);
	return ret;
}

/* What a driver has to do by hand. */
int bench_map_cycle(struct bench_ctx *ctx)
{
	u32 calls = ctx->call.calls;
	int ret = 0;

	while (calls-- && !ret)
		ret = bench_pfn_cycle(ctx);
	return ret;
}

/* Device memory: this cannot fail. */
int bench_page_init(struct page *page, struct dev_pagemap *pgmap,
		    unsigned int order)
{
	zone_device_page_init(page, pgmap, order);
	return 0;
}
