// SPDX-License-Identifier: GPL-2.0
/*
 * Benchmark device: /dev/hmm_bench measures calls of the HMM APIs, and of
 * pin_user_pages_fast() to compare them with, on memory of the calling process.
 * Built out of tree against the base and against the series. hmm-bench is its
 * user. Here are the ioctl and the range API.
 *
 * Only the calls are measured: what can be prepared once is done before. The
 * time is the CPU's time stamp counter, which counts instructions in the guests
 * of "make bench".
 *
 * Locking: each ioctl has a context of its own. bench_ctx::update_lock is the
 * lock that the HMM APIs ask a driver for. It protects the notifier's sequence
 * number and what is mapped for DMA, which an invalidation waits for: all of it
 * is unmapped before the lock is released. A snapshot is taken under the mmap
 * lock, which is taken before the measurement and dropped after it.
 */
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/hmm.h>
#include <linux/jiffies.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/timex.h>
#include <linux/uaccess.h>

#include "hmm_bench.h"

/* On the base a walk that asks for nothing is a snapshot. */
#ifdef HMM_BENCH_BASE
#define hmm_range_snapshot	hmm_range_fault
#endif

static bool bench_invalidate(struct mmu_interval_notifier *notifier,
			     const struct mmu_notifier_range *range,
			     unsigned long cur_seq)
{
	struct bench_ctx *ctx = container_of(notifier, struct bench_ctx,
					     notifier);

	if (mmu_notifier_range_blockable(range))
		mutex_lock(&ctx->update_lock);
	else if (!mutex_trylock(&ctx->update_lock))
		return false;
	mmu_interval_set_seq(notifier, cur_seq);
	mutex_unlock(&ctx->update_lock);
	return true;
}

static const struct mmu_interval_notifier_ops bench_notifier_ops = {
	.invalidate = bench_invalidate,
};

static int bench_snapshot(struct bench_ctx *ctx)
{
	struct mm_struct *mm = ctx->notifier.mm;
	u32 calls = ctx->call.calls;
	cycles_t begin;
	int ret;

	ctx->range.notifier_seq = mmu_interval_read_begin(&ctx->notifier);
	ret = mmap_read_lock_killable(mm);
	if (ret)
		return ret;

	begin = get_cycles();
	while (calls-- && !ret)
		ret = hmm_range_snapshot(&ctx->range);
	ctx->call.cycles = get_cycles() - begin;

	mmap_read_unlock(mm);
	return ret;
}

/* Makes the range's pages writable and reads where they are. */
int bench_walk(struct bench_ctx *ctx)
{
	unsigned long timeout = msecs_to_jiffies(HMM_RANGE_DEFAULT_TIMEOUT);

	ctx->range.default_flags = HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE;
	return hmm_range_fault_unlocked_timeout(&ctx->range, timeout);
}

static int bench_fault(struct bench_ctx *ctx)
{
	u32 calls = ctx->call.calls;
	cycles_t begin;
	int ret = 0;

	begin = get_cycles();
	while (calls-- && !ret)
		ret = bench_walk(ctx);
	ctx->call.cycles = get_cycles() - begin;
	return ret;
}

static int bench_gup(struct bench_ctx *ctx)
{
	u32 calls = ctx->call.calls;
	int npages = ctx->npages;
	int pinned = npages;
	cycles_t begin;

	begin = get_cycles();
	while (calls-- && pinned == npages) {
		pinned = pin_user_pages_fast(ctx->call.start, npages,
					     FOLL_WRITE, ctx->pages);
		if (pinned > 0)
			unpin_user_pages(ctx->pages, pinned);
	}
	ctx->call.cycles = get_cycles() - begin;

	if (pinned < 0)
		return pinned;
	ctx->call.valid = pinned;
	ctx->call.writable = pinned;
	return pinned == npages ? 0 : -EFAULT;
}

static void bench_count(struct bench_ctx *ctx, unsigned long entry,
			unsigned long npages)
{
	if (entry & HMM_PFN_VALID)
		ctx->call.valid += npages;
	if (entry & HMM_PFN_WRITE)
		ctx->call.writable += npages;
}

static void bench_count_pfns(struct bench_ctx *ctx)
{
	unsigned long i;

	for (i = 0; i < ctx->npages; i++)
		bench_count(ctx, ctx->range.hmm_pfns[i], 1);
}

static int bench_alloc_pfns(struct bench_ctx *ctx)
{
	ctx->range.hmm_pfns = kvcalloc(ctx->npages,
				       sizeof(*ctx->range.hmm_pfns),
				       GFP_KERNEL);
	return ctx->range.hmm_pfns ? 0 : -ENOMEM;
}

#ifdef HMM_BENCH_EXTENTS
static int bench_snapshot_extents(struct bench_ctx *ctx)
{
	const struct hmm_extent *extent = NULL;
	struct hmm_range *range = &ctx->range;
	int ret;

	range->extents = kvcalloc(ctx->npages, sizeof(*range->extents),
				  GFP_KERNEL);
	if (!range->extents)
		return -ENOMEM;
	range->max_extents = ctx->npages;

	ret = bench_snapshot(ctx);
	if (!ret) {
		ctx->call.extents = range->nr_extents;
		while (hmm_range_next_extent(range, &extent))
			bench_count(ctx, extent->entry, extent->npages);
	}
	kvfree(range->extents);
	return ret;
}
#else
static int bench_snapshot_extents(struct bench_ctx *ctx)
{
	return -EOPNOTSUPP;
}
#endif

static bool bench_is_gup(struct bench_ctx *ctx)
{
	return ctx->call.op == HMM_BENCH_GUP ||
	       ctx->call.op == HMM_BENCH_GUP_DMA;
}

static bool bench_is_dma(struct bench_ctx *ctx)
{
	return ctx->call.op >= HMM_BENCH_GUP_DMA &&
	       ctx->call.op <= HMM_BENCH_DMA_CYCLE;
}

/* With the notifier registered. */
static int bench_range(struct bench_ctx *ctx)
{
	int ret;

	if (bench_is_dma(ctx))
		return bench_dma(ctx);
	if (ctx->call.op == HMM_BENCH_SNAPSHOT_EXTENTS)
		return bench_snapshot_extents(ctx);

	ret = bench_alloc_pfns(ctx);
	if (ret)
		return ret;
	if (ctx->call.op == HMM_BENCH_SNAPSHOT)
		ret = bench_snapshot(ctx);
	else
		ret = bench_fault(ctx);
	if (!ret)
		bench_count_pfns(ctx);
	kvfree(ctx->range.hmm_pfns);
	return ret;
}

static int bench_hmm(struct bench_ctx *ctx)
{
	struct hmm_bench_call *call = &ctx->call;
	int ret;

	mutex_init(&ctx->update_lock);
	ret = mmu_interval_notifier_insert(&ctx->notifier, current->mm,
					   call->start, call->length,
					   &bench_notifier_ops);
	if (ret)
		return ret;

	ctx->range.notifier = &ctx->notifier;
	ctx->range.start = call->start;
	ctx->range.end = call->start + call->length;
	ret = bench_range(ctx);
	mmu_interval_notifier_remove(&ctx->notifier);
	return ret;
}

static int bench_pin(struct bench_ctx *ctx)
{
	int ret;

	ctx->pages = kvcalloc(ctx->npages, sizeof(*ctx->pages), GFP_KERNEL);
	if (!ctx->pages)
		return -ENOMEM;
	ret = bench_is_dma(ctx) ? bench_gup_dma(ctx) : bench_gup(ctx);
	kvfree(ctx->pages);
	return ret;
}

static int bench_check(struct bench_ctx *ctx)
{
	struct hmm_bench_call *call = &ctx->call;

	if (call->op > HMM_BENCH_DEVICE_INIT || !call->calls ||
	    call->calls > HMM_BENCH_MAX_CALLS)
		return -EINVAL;
	if (!call->length || !PAGE_ALIGNED(call->start | call->length) ||
	    call->length >> PAGE_SHIFT > HMM_BENCH_MAX_PAGES)
		return -EINVAL;

	ctx->npages = call->length >> PAGE_SHIFT;
	call->cycles = 0;
	call->valid = 0;
	call->writable = 0;
	call->extents = 0;
	call->unmap_cycles = 0;
	call->dropped = 0;
	call->memory = 0;
	return bench_is_dma(ctx) ? bench_dma_device(ctx) : 0;
}

static long bench_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	void __user *user = (void __user *)arg;
	struct bench_ctx *ctx;
	int ret;

	if (cmd != HMM_BENCH_CALL)
		return -ENOTTY;

	ctx = kzalloc_obj(*ctx);
	if (!ctx)
		return -ENOMEM;

	ret = -EFAULT;
	if (copy_from_user(&ctx->call, user, sizeof(ctx->call)))
		goto out;
	ret = bench_check(ctx);
	if (ret)
		goto out;
	if (ctx->call.op == HMM_BENCH_DEVICE_INIT)
		ret = bench_device(ctx);
	else
		ret = bench_is_gup(ctx) ? bench_pin(ctx) : bench_hmm(ctx);
	if (!ret && copy_to_user(user, &ctx->call, sizeof(ctx->call)))
		ret = -EFAULT;
out:
	kfree(ctx);
	return ret;
}

static int bench_open(struct inode *inode, struct file *file)
{
	return capable(CAP_SYS_ADMIN) ? nonseekable_open(inode, file) : -EPERM;
}

static const struct file_operations bench_fops = {
	.owner = THIS_MODULE,
	.open = bench_open,
	.unlocked_ioctl = bench_ioctl,
};

static struct miscdevice bench_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "hmm_bench",
	.mode = 0600,
	.fops = &bench_fops,
};

static int __init bench_init(void)
{
	int ret;

	bench_dma_find_device();
	ret = misc_register(&bench_misc);
	if (ret)
		bench_dma_put_device();
	return ret;
}
module_init(bench_init);

static void __exit bench_exit(void)
{
	misc_deregister(&bench_misc);
	bench_dma_put_device();
}
module_exit(bench_exit);

MODULE_DESCRIPTION("Benchmark of the HMM APIs");
MODULE_LICENSE("GPL");
