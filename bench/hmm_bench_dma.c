// SPDX-License-Identifier: GPL-2.0
/*
 * Benchmark device: what it costs to map memory for DMA and to unmap it, with
 * HMM and with pin_user_pages_fast(). It is done for QEMU's "edu" device, which
 * needs no driver for that and has no part in it.
 *
 * A mapping is made, looked at and taken down in one go under
 * bench_ctx::update_lock. With pin_user_pages_fast() there is no lock.
 */
#include <linux/dma-mapping.h>
#include <linux/mm.h>
#include <linux/pci.h>
#include <linux/scatterlist.h>
#include <linux/timex.h>

#include "hmm_bench.h"

#define PCI_VENDOR_ID_QEMU_EDU	0x1234
#define PCI_DEVICE_ID_QEMU_EDU	0x11e8

static struct pci_dev *bench_pdev;

/* Without it, the operations that need no device can still be measured. */
void bench_dma_find_device(void)
{
	bench_pdev = pci_get_device(PCI_VENDOR_ID_QEMU_EDU,
				    PCI_DEVICE_ID_QEMU_EDU, NULL);
	if (!bench_pdev)
		return;
	if (dma_set_mask_and_coherent(&bench_pdev->dev, DMA_BIT_MASK(64))) {
		pci_dev_put(bench_pdev);
		bench_pdev = NULL;
	}
}

void bench_dma_put_device(void)
{
	pci_dev_put(bench_pdev);
}

int bench_dma_device(struct bench_ctx *ctx)
{
	if (!bench_pdev)
		return -ENODEV;
	ctx->dev = &bench_pdev->dev;
	return 0;
}

/* ---- HMM ---- */

static void bench_unmap_all(struct bench_ctx *ctx)
{
	const struct hmm_range *range = &ctx->range;
	cycles_t begin = get_cycles();

	bench_map_unmap(ctx, range->start, range->end);
	ctx->call.unmap_cycles += get_cycles() - begin;
}

/* One page, which in large ranges is not the first of its leaf or run. */
static void bench_unmap_one(struct bench_ctx *ctx)
{
	unsigned long va = ctx->range.start + (ctx->npages / 3 << PAGE_SHIFT);
	unsigned long mapped = bench_map_count(ctx);
	cycles_t begin = get_cycles();

	bench_map_unmap(ctx, va, va + PAGE_SIZE);
	ctx->call.unmap_cycles += get_cycles() - begin;

	ctx->call.dropped = mapped - bench_map_count(ctx);
	bench_map_unmap(ctx, ctx->range.start, ctx->range.end);
}

/* Under the update lock, and nothing is left mapped when it is released. */
static int bench_map_locked(struct bench_ctx *ctx, cycles_t begin)
{
	int ret;

	if (mmu_interval_read_retry(&ctx->notifier, ctx->range.notifier_seq))
		return -EAGAIN;
	ret = bench_map_range(ctx);
	ctx->call.cycles += get_cycles() - begin;
	if (ret)
		return ret;

	ctx->call.memory = bench_map_memory(ctx);
	ctx->call.valid = bench_map_count(ctx);
	ctx->call.writable = ctx->call.valid;
	if (ctx->call.op == HMM_BENCH_DMA_INVALIDATE)
		bench_unmap_one(ctx);
	else
		bench_unmap_all(ctx);
	return 0;
}

static int bench_map_once(struct bench_ctx *ctx)
{
	cycles_t begin;
	int ret;

	ret = bench_walk(ctx);
	if (ret)
		return ret;

	begin = get_cycles();
	ret = bench_map_prepare(ctx);
	if (ret)
		return ret;
	mutex_lock(&ctx->update_lock);
	ret = bench_map_locked(ctx, begin);
	mutex_unlock(&ctx->update_lock);
	return ret;
}

/* With the notifier registered. */
int bench_dma(struct bench_ctx *ctx)
{
	u32 calls = ctx->call.calls;
	int ret;

	ret = bench_map_alloc(ctx);
	if (ret)
		return ret;
	if (ctx->call.op == HMM_BENCH_DMA_CYCLE)
		ret = bench_map_cycle(ctx);
	else
		while (calls-- && !ret)
			ret = bench_map_once(ctx);
	bench_map_free(ctx);
	return ret;
}

/* ---- pin_user_pages_fast() ---- */

static int bench_map_pinned(struct bench_ctx *ctx, struct sg_table *sgt)
{
	int ret;

	ret = sg_alloc_table_from_pages(sgt, ctx->pages, ctx->npages, 0,
					ctx->call.length, GFP_KERNEL);
	if (ret)
		return ret;
	ret = dma_map_sgtable(ctx->dev, sgt, DMA_BIDIRECTIONAL, 0);
	if (ret)
		sg_free_table(sgt);
	return ret;
}

static int bench_pin_and_map(struct bench_ctx *ctx, struct sg_table *sgt)
{
	int pinned, ret = -EFAULT;

	pinned = pin_user_pages_fast(ctx->call.start, ctx->npages, FOLL_WRITE,
				     ctx->pages);
	if (pinned == ctx->npages)
		ret = bench_map_pinned(ctx, sgt);
	if (ret && pinned > 0)
		unpin_user_pages(ctx->pages, pinned);
	return ret;
}

static void bench_unmap_and_unpin(struct bench_ctx *ctx, struct sg_table *sgt)
{
	dma_unmap_sgtable(ctx->dev, sgt, DMA_BIDIRECTIONAL, 0);
	sg_free_table(sgt);
	unpin_user_pages(ctx->pages, ctx->npages);
}

static void bench_count_mapped(struct bench_ctx *ctx, struct sg_table *sgt)
{
	struct scatterlist *sg;
	unsigned long n = 0;
	unsigned int i;

	for_each_sgtable_dma_sg(sgt, sg, i)
		n += sg_dma_len(sg) >> PAGE_SHIFT;
	ctx->call.valid = n;
	ctx->call.writable = n;
}

/* With room for the pages. */
int bench_gup_dma(struct bench_ctx *ctx)
{
	u32 calls = ctx->call.calls;
	struct sg_table sgt;
	cycles_t begin;
	int ret;

	while (calls--) {
		begin = get_cycles();
		ret = bench_pin_and_map(ctx, &sgt);
		ctx->call.cycles += get_cycles() - begin;
		if (ret)
			return ret;

		bench_count_mapped(ctx, &sgt);
		begin = get_cycles();
		bench_unmap_and_unpin(ctx, &sgt);
		ctx->call.unmap_cycles += get_cycles() - begin;
	}
	return 0;
}
