// SPDX-License-Identifier: MIT
/*
 * Memory of a GPU that is not there, see nouveau_svm_fake_vram.h.
 */
#include <linux/dma-direct.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#include <nvif/class.h>
#include <nvif/push906f.h>
#include <nvhw/class/cla0b5.h>

#include "../nouveau_bo.h"
#include "../nouveau_dmem.h"
#include "nouveau_svm_fake_gpu.h"
#include "nouveau_svm_fake_vram.h"

/* Nothing of the fake itself fails on demand: that is for the driver. */
#define VRAM_GFP	(GFP_KERNEL | __GFP_NOFAIL)

static __printf(2, 3) void vram_error(struct nouveau_svm_fake_vram *vram,
				      const char *fmt, ...)
{
	struct va_format vaf = { .fmt = fmt };
	va_list args;

	vram->errors++;
	va_start(args, fmt);
	vaf.va = &args;
	dev_err_ratelimited(vram->gpu->fake.dev, "vram fake: %pV", &vaf);
	va_end(args);
}

static struct nouveau_svm_fake_vram *vram_of_chan(struct nouveau_channel *chan)
{
	return container_of(chan, struct nouveau_svm_fake_vram, chan);
}

/* ---- Memory ---- */

/**
 * nouveau_svm_fake_vram_at() - look at memory of the GPU
 * @vram: the memory
 * @addr: where
 *
 * Context: May sleep, if nobody has asked for that page before.
 *
 * Return: what is there, up to the end of the page.
 */
void *nouveau_svm_fake_vram_at(struct nouveau_svm_fake_vram *vram, u64 addr)
{
	unsigned long index = addr >> PAGE_SHIFT;
	void *page = xa_load(&vram->pages, index);

	if (!page) {
		page = (void *)__get_free_page(VRAM_GFP);
		memset(page, NOUVEAU_SVM_FAKE_VRAM_JUNK, PAGE_SIZE);
		xa_store(&vram->pages, index, page, VRAM_GFP);
	}
	return page + offset_in_page(addr);
}

static void vram_free(struct nouveau_svm_fake_vram *vram)
{
	unsigned long index;
	void *page;

	xa_for_each(&vram->pages, index, page)
		free_page((unsigned long)page);
	xa_destroy(&vram->pages);
}

/* Memory of the CPU that the GPU gets to, %NULL if it should not. */
static struct page *vram_host_page(struct nouveau_svm_fake_vram *vram, u64 addr)
{
	phys_addr_t phys = dma_to_phys(vram->gpu->fake.dev, addr);
	struct page *page = pfn_to_page(PHYS_PFN(phys));

	if (page_count(compound_head(page)))
		return page;
	vram_error(vram, "page at %llx is free\n", addr);
	return NULL;
}

/* ---- The copy engine ---- */

static void vram_run_page(struct nouveau_svm_fake_vram *vram,
			  const struct nouveau_svm_fake_launch *launch,
			  u64 offset)
{
	u64 dst = launch->dst + offset, src = launch->src + offset;
	struct page *page;
	void *at;

	at = nouveau_svm_fake_vram_at(vram, launch->dst_vram ? dst : src);
	if (launch->clear) {
		memset(at, 0, PAGE_SIZE);
		return;
	}
	page = vram_host_page(vram, launch->dst_vram ? src : dst);
	if (!page)
		return;
	if (launch->dst_vram)
		memcpy_from_page(at, page, 0, PAGE_SIZE);
	else
		memcpy_to_page(page, 0, at, PAGE_SIZE);
}

/**
 * nouveau_svm_fake_vram_run() - do all that has been launched
 * @vram: the memory
 *
 * As it is when a fence is waited for. Here it is for a fence that nobody waits for
 * any more.
 */
void nouveau_svm_fake_vram_run(struct nouveau_svm_fake_vram *vram)
{
	unsigned int i;
	u64 offset;

	for (i = 0; i < vram->nr_launches; i++)
		for (offset = 0; offset < vram->launches[i].size;
		     offset += PAGE_SIZE)
			vram_run_page(vram, &vram->launches[i], offset);
	vram->nr_launches = 0;
	vram->signaled = vram->emitted;
}

static u64 vram_method64(struct nouveau_svm_fake_vram *vram, u32 upper)
{
	return (u64)vram->methods[upper / 4] << 32 |
	       vram->methods[upper / 4 + 1];
}

/* Is it one of the two things that nouveau_dmem.c wants? */
static bool vram_launch_is_right(struct nouveau_svm_fake_vram *vram, u32 data,
				 const struct nouveau_svm_fake_launch *launch)
{
	const u32 *methods = vram->methods;

	if (!NVDEF_TEST(data, NVA0B5, LAUNCH_DMA, DST_TYPE, ==, PHYSICAL) ||
	    !NVDEF_TEST(data, NVA0B5, LAUNCH_DMA, DATA_TRANSFER_TYPE, ==,
			NON_PIPELINED) ||
	    !PAGE_ALIGNED(launch->dst | launch->size) || !launch->size)
		return false;
	if (launch->clear)
		return launch->dst_vram &&
		       !methods[NVA0B5_SET_REMAP_CONST_A / 4] &&
		       !methods[NVA0B5_SET_REMAP_CONST_B / 4];
	return NVDEF_TEST(data, NVA0B5, LAUNCH_DMA, SRC_TYPE, ==, PHYSICAL) &&
	       NVDEF_TEST(data, NVA0B5, LAUNCH_DMA, MULTI_LINE_ENABLE, ==,
			  TRUE) &&
	       methods[NVA0B5_PITCH_IN / 4] == PAGE_SIZE &&
	       methods[NVA0B5_PITCH_OUT / 4] == PAGE_SIZE &&
	       methods[NVA0B5_LINE_LENGTH_IN / 4] == PAGE_SIZE &&
	       PAGE_ALIGNED(launch->src) &&
	       launch->dst_vram != launch->src_vram;
}

/* So that nothing has to be allocated when a fence is read. */
static void vram_populate(struct nouveau_svm_fake_vram *vram, u64 addr, u64 size)
{
	u64 end = addr + size;

	for (; addr < end; addr += PAGE_SIZE)
		nouveau_svm_fake_vram_at(vram, addr);
}

static void vram_launch(struct nouveau_svm_fake_vram *vram, u32 data)
{
	const u32 *methods = vram->methods;
	u64 length = methods[NVA0B5_LINE_LENGTH_IN / 4];
	struct nouveau_svm_fake_launch launch = {
		.dst = vram_method64(vram, NVA0B5_OFFSET_OUT_UPPER),
		.src = vram_method64(vram, NVA0B5_OFFSET_IN_UPPER),
		.dst_vram = NVDEF_TEST(methods[NVA0B5_SET_DST_PHYS_MODE / 4],
				       NVA0B5, SET_DST_PHYS_MODE, TARGET, ==,
				       LOCAL_FB),
		.src_vram = NVDEF_TEST(methods[NVA0B5_SET_SRC_PHYS_MODE / 4],
				       NVA0B5, SET_SRC_PHYS_MODE, TARGET, ==,
				       LOCAL_FB),
		.clear = NVDEF_TEST(data, NVA0B5, LAUNCH_DMA, REMAP_ENABLE, ==,
				    TRUE),
	};

	/* What is cleared counts in two components of four bytes. */
	launch.size = launch.clear ? length * 8 :
				     length * methods[NVA0B5_LINE_COUNT / 4];
	if (!vram_launch_is_right(vram, data, &launch) ||
	    vram->nr_launches == NOUVEAU_SVM_FAKE_LAUNCHES) {
		vram_error(vram, "launch %x of %llx bytes from %llx to %llx\n",
			   data, launch.size, launch.src, launch.dst);
		return;
	}
	if (launch.clear)
		vram->clears++;
	else
		vram->copies++;
	vram_populate(vram, launch.dst_vram ? launch.dst : launch.src,
		      launch.size);
	if (vram->at_launch)
		vram->at_launch(vram, &launch);
	vram->launches[vram->nr_launches++] = launch;
}

static void vram_method(struct nouveau_svm_fake_vram *vram, u32 mthd, u32 data)
{
	if (mthd >= NOUVEAU_SVM_FAKE_METHODS * 4) {
		vram_error(vram, "no method %x\n", mthd);
		return;
	}
	vram->methods[mthd / 4] = data;
	if (mthd == NVA0B5_LAUNCH_DMA)
		vram_launch(vram, data);
}

/* Take in all that has been pushed. */
static void vram_consume(struct nouveau_svm_fake_vram *vram)
{
	struct nvif_push *push = &vram->chan.chan.push;
	const u32 *cur = vram->push;
	u32 head, mthd, count;

	while (cur < push->cur) {
		head = *cur++;
		mthd = NVVAL_GET(head, NV906F, DMA, METHOD_ADDRESS) * 4;
		count = NVVAL_GET(head, NV906F, DMA, METHOD_COUNT);
		if (NVDEF_TEST(head, NV906F, DMA, SEC_OP, ==,
			       IMMD_DATA_METHOD)) {
			vram_method(vram, mthd, count);
			continue;
		}
		if (!NVDEF_TEST(head, NV906F, DMA, SEC_OP, ==, INC_METHOD) ||
		    count > push->cur - cur) {
			vram_error(vram, "%x was pushed\n", head);
			break;
		}
		for (; count; count--, mthd += 4)
			vram_method(vram, mthd, *cur++);
	}
	push->bgn = vram->push;
	push->cur = vram->push;
	push->end = vram->push;
}

/* Is called before each push: there is no more room than what it is asked for. */
static int vram_push_wait(struct nvif_push *push, u32 size)
{
	struct nouveau_svm_fake_vram *vram =
		container_of(push, struct nouveau_svm_fake_vram, chan.chan.push);

	if (!mutex_is_locked(&vram->chan.cli->mutex))
		vram_error(vram, "the channel is not locked\n");
	vram_consume(vram);
	if (vram->push_fails && !--vram->push_fails)
		return -ETIMEDOUT;
	if (size > NOUVEAU_SVM_FAKE_PUSH) {
		vram_error(vram, "%u words to be pushed\n", size);
		return -ENOSPC;
	}
	push->end = push->cur + size;
	return 0;
}

/* ---- Fences ---- */

static int vram_fence_emit(struct nouveau_fence *fence)
{
	struct nouveau_channel *chan = unrcu_pointer(fence->channel);
	struct nouveau_svm_fake_vram *vram = vram_of_chan(chan);

	if (!mutex_is_locked(&vram->chan.cli->mutex))
		vram_error(vram, "the channel is not locked\n");
	vram_consume(vram);
	/* A channel that is dead copies nothing, also not later. */
	if (vram->fctx->killed || atomic_read(&chan->killed))
		vram->nr_launches = 0;
	if (vram->emit_error)
		return vram->emit_error;
	vram->emitted = fence->base.seqno;
	return 0;
}

static u32 vram_fence_read(struct nouveau_channel *chan)
{
	struct nouveau_svm_fake_vram *vram = vram_of_chan(chan);

	if (!vram->stalled && vram->signaled != vram->emitted)
		nouveau_svm_fake_vram_run(vram);
	return vram->signaled;
}

static int vram_fence_sync(struct nouveau_fence *fence,
			   struct nouveau_channel *prev,
			   struct nouveau_channel *chan)
{
	return -EINVAL;
}

/* ---- Buffers ---- */

/**
 * struct vram_bo - a buffer of the driver
 * @nvbo: what the driver sees of it
 * @vram: the memory that it is in
 */
struct vram_bo {
	struct nouveau_bo nvbo;
	struct nouveau_svm_fake_vram *vram;
};

static struct vram_bo *vram_bo(struct nouveau_bo *nvbo)
{
	return container_of(nvbo, struct vram_bo, nvbo);
}

/**
 * nouveau_svm_fake_bo_new_pin() - in place of nouveau_bo_new_pin()
 * @cli: the client of the channel
 * @domain: NOUVEAU_GEM_DOMAIN_VRAM
 * @size: in bytes
 * @pnvbo: where to put the buffer
 *
 * Return: 0 or an error.
 */
int nouveau_svm_fake_bo_new_pin(struct nouveau_cli *cli, u32 domain, u32 size,
				struct nouveau_bo **pnvbo)
{
	struct nouveau_svm_fake_vram *vram = vram_of_chan(cli->drm->ttm.chan);
	struct vram_bo *bo;

	if (vram->no_bos)
		return -ENOSPC;
	bo = kzalloc_obj(*bo);
	if (!bo)
		return -ENOMEM;
	bo->vram = vram;
	bo->nvbo.offset = vram->last_bo;
	vram->last_bo += size;
	vram->nr_bos++;
	vram->nr_pins++;
	*pnvbo = &bo->nvbo;
	return 0;
}

/**
 * nouveau_svm_fake_bo_unpin_del() - in place of nouveau_bo_unpin_del()
 * @pnvbo: where the buffer is
 */
void nouveau_svm_fake_bo_unpin_del(struct nouveau_bo **pnvbo)
{
	struct vram_bo *bo = vram_bo(*pnvbo);

	bo->vram->nr_bos--;
	bo->vram->nr_pins--;
	kfree(bo);
	*pnvbo = NULL;
}

/**
 * nouveau_svm_fake_bo_pin() - in place of nouveau_bo_pin()
 * @nvbo: the buffer
 * @domain: NOUVEAU_GEM_DOMAIN_VRAM
 * @contig: does not matter
 *
 * Return: 0.
 */
int nouveau_svm_fake_bo_pin(struct nouveau_bo *nvbo, u32 domain, bool contig)
{
	vram_bo(nvbo)->vram->nr_pins++;
	return 0;
}

/**
 * nouveau_svm_fake_bo_unpin() - in place of nouveau_bo_unpin()
 * @nvbo: the buffer
 *
 * Return: 0.
 */
int nouveau_svm_fake_bo_unpin(struct nouveau_bo *nvbo)
{
	vram_bo(nvbo)->vram->nr_pins--;
	return 0;
}

/* ---- Life ---- */

static void vram_end_channel(struct nouveau_svm_fake_vram *vram)
{
	nouveau_fence_context_del(vram->fctx);
	nouveau_fence_context_free(vram->fctx);
	kfree(vram->gpu->drm.runl);
	vram->gpu->drm.runl = NULL;
}

static int vram_init_channel(struct nouveau_svm_fake_vram *vram,
			     struct nouveau_drm *drm)
{
	struct nouveau_channel *chan = &vram->chan;

	vram->fctx = kzalloc_obj(*vram->fctx);
	drm->runl = kzalloc_obj(*drm->runl);
	if (!vram->fctx || !drm->runl) {
		kfree(vram->fctx);
		kfree(drm->runl);
		return -ENOMEM;
	}
	chan->cli = &drm->client;
	chan->chan.push.wait = vram_push_wait;
	chan->chan.push.bgn = vram->push;
	chan->chan.push.cur = vram->push;
	chan->chan.push.end = vram->push;
	chan->fence = vram->fctx;

	mutex_init(&drm->client.mutex);
	drm->fence = &vram->fence;
	drm->cechan = chan;
	drm->ttm.chan = chan;
	drm->ttm.copy.oclass = PASCAL_DMA_COPY_A;
	nouveau_fence_context_new(chan, vram->fctx);
	vram->fctx->emit = vram_fence_emit;
	vram->fctx->read = vram_fence_read;
	vram->fctx->sync = vram_fence_sync;
	return 0;
}

/**
 * nouveau_svm_fake_vram_init() - begin
 * @vram: the memory; all of it is overwritten
 * @gpu: a GPU that has none
 *
 * Return: 0 or an error, after which there is nothing to end.
 */
int nouveau_svm_fake_vram_init(struct nouveau_svm_fake_vram *vram,
			       struct nouveau_svm_fake_gpu *gpu)
{
	int ret;

	memset(vram, 0, sizeof(*vram));
	vram->gpu = gpu;
	vram->last_bo = NOUVEAU_SVM_FAKE_VRAM;
	xa_init(&vram->pages);
	ret = vram_init_channel(vram, &gpu->drm);
	if (ret)
		return ret;
	nouveau_dmem_init(&gpu->drm);
	if (gpu->drm.dmem)
		return 0;
	vram_end_channel(vram);
	return -ENODEV;
}

/**
 * nouveau_svm_fake_vram_fini() - end it
 * @vram: the memory, to which nothing is to be copied any more
 *
 * What is counted can be read after that.
 */
void nouveau_svm_fake_vram_fini(struct nouveau_svm_fake_vram *vram)
{
	nouveau_dmem_fini(&vram->gpu->drm);
	if (vram->nr_bos || vram->nr_pins)
		vram_error(vram, "%u buffers left, pinned %u times\n",
			   vram->nr_bos, vram->nr_pins);
	vram_end_channel(vram);
	vram_free(vram);
}
