// SPDX-License-Identifier: GPL-2.0
/*
 * Benchmark device: handing out folios of private device memory. There is no
 * device; nobody maps the pages. One call at a time, by the program's one thread,
 * so there is no lock.
 */
#include <linux/ioport.h>
#include <linux/log2.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/timex.h>

#include "hmm_bench.h"

#define DEVICE_SIZE	SZ_128M

static void device_folio_free(struct folio *folio)
{
}

static vm_fault_t device_migrate_to_ram(struct vm_fault *vmf)
{
	return VM_FAULT_SIGBUS;
}

static const struct dev_pagemap_ops device_ops = {
	.folio_free	= device_folio_free,
	.migrate_to_ram	= device_migrate_to_ram,
};

/* All folios once. Only handing out is measured. */
static int device_round(struct bench_ctx *ctx, struct dev_pagemap *pgmap,
			u64 *cycles)
{
	unsigned int order = ilog2(ctx->npages);
	unsigned long pfn = PHYS_PFN(pgmap->range.start);
	u32 i, done;
	u64 begin;
	int err = 0;

	begin = get_cycles();
	for (done = 0; done < ctx->call.calls; done++) {
		err = bench_page_init(pfn_to_page(pfn + done * ctx->npages),
				      pgmap, order);
		if (err)
			break;
	}
	*cycles += get_cycles() - begin;

	for (i = 0; i < done; i++) {
		struct folio *folio = pfn_folio(pfn + i * ctx->npages);

		folio_unlock(folio);
		folio_put(folio);
	}
	return err;
}

static int device_rounds(struct bench_ctx *ctx, struct dev_pagemap *pgmap)
{
	int err;

	if (IS_ERR(memremap_pages(pgmap, NUMA_NO_NODE)))
		return -EIO;
	err = device_round(ctx, pgmap, &ctx->call.unmap_cycles);
	if (!err)
		err = device_round(ctx, pgmap, &ctx->call.cycles);
	memunmap_pages(pgmap);
	ctx->call.valid = ctx->npages;
	ctx->call.writable = ctx->npages;
	return err;
}

/* Folios of the length of the range, twice: of single pages, and of the same. */
int bench_device(struct bench_ctx *ctx)
{
	struct dev_pagemap *pgmap;
	struct resource *res;
	int err = -ENOMEM;

	if (!is_power_of_2(ctx->npages) ||
	    ctx->call.calls > DEVICE_SIZE / ctx->call.length)
		return -EINVAL;
	res = request_free_mem_region(&iomem_resource, DEVICE_SIZE, "hmm_bench");
	if (IS_ERR(res))
		return PTR_ERR(res);

	pgmap = kzalloc_obj(*pgmap);
	if (pgmap) {
		pgmap->type = MEMORY_DEVICE_PRIVATE;
		pgmap->owner = pgmap;
		pgmap->ops = &device_ops;
		pgmap->nr_range = 1;
		pgmap->range.start = res->start;
		pgmap->range.end = res->end;
		err = device_rounds(ctx, pgmap);
	}
	kfree(pgmap);
	release_mem_region(res->start, resource_size(res));
	return err;
}
