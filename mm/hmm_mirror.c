// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * HMM mirror layer: the loop that every driver with a mirrored address space
 * needs, once.
 *
 * A mirror is an interval notifier, an update lock and a DMA view. A fault looks
 * for what the view lacks, walks that part, and maps it if nothing has been
 * invalidated since. An invalidation takes its part out of driver, IOMMU and
 * view. What the view holds under the lock is therefore valid, and a fault that
 * is disturbed goes on with what is missing instead of beginning anew.
 *
 * Locking: hmm_mirror.lock protects the view. It is taken inside the mmap lock
 * and inside whatever mmu notifiers are called under, so memory must not be
 * waited for under it. The fault path holds it only while it maps.
 */
#include <linux/bitmap.h>
#include <linux/hmm.h>
#include <linux/hmm_mirror.h>
#include <linux/jiffies.h>
#include <linux/lockdep.h>
#include <linux/mmu_notifier.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "hmm_internal.h"
#include "internal.h"

/*
 * Extents of one walk: enough for a slot of the view, whatever is in it. A walk that
 * begins where a slot does therefore gets beyond each page of it.
 */
#define MIRROR_EXTENTS	512
#define MIRROR_BLOCK	(MIRROR_EXTENTS << PAGE_SHIFT)

/* As many are at hand, which is enough for a page or some: most calls are for these. */
#define MIRROR_FEW	8

/* How often memory for page tables of the IOMMU may be missing in a row. */
#define MIRROR_SHORTAGES	4

static void hmm_mirror_clear(struct hmm_dma_view *view, unsigned long start,
			     unsigned long end)
{
	struct hmm_mirror *mirror = container_of(view, struct hmm_mirror, view);

	mirror->ops->invalidate(mirror, start, end);
}

static const struct hmm_dma_ops hmm_mirror_dma_ops = {
	.clear = hmm_mirror_clear,
};

/*
 * Callers that must not block, the OOM reaper first of all, get what needs no
 * waiting: the lock if it is free, and a range of which nothing is mapped.
 */
static bool hmm_mirror_lock_notified(struct hmm_mirror *mirror,
				     const struct mmu_notifier_range *range)
{
	struct hmm_dma_run run = { .start = range->start };

	if (mmu_notifier_range_blockable(range)) {
		mutex_lock(&mirror->lock);
		return true;
	}
	if (!mutex_trylock(&mirror->lock))
		return false;
	if (!hmm_dma_next_run(&mirror->view, range->end, &run))
		return true;
	mutex_unlock(&mirror->lock);
	return false;
}

/* A window can be large: one PUD at a time, so that others can run. */
static void hmm_mirror_unmap(struct hmm_mirror *mirror, unsigned long start,
			     unsigned long end)
{
	struct hmm_dma_view *view = &mirror->view;
	unsigned long next;

	end = min(end, view->end);
	for (start = max(start, view->start); start < end; start = next) {
		next = min(end - 1, start | ~PUD_MASK) + 1;
		hmm_range_dma_unmap(view, start, next);
		cond_resched();
	}
}

static bool hmm_mirror_notified(struct mmu_interval_notifier *notifier,
				const struct mmu_notifier_range *range,
				unsigned long cur_seq)
{
	struct hmm_mirror *mirror = container_of(notifier, struct hmm_mirror,
						 notifier);

	if (!hmm_mirror_lock_notified(mirror, range))
		return false;
	mmu_interval_set_seq(notifier, cur_seq);
	if (mmu_notifier_range_blockable(range))
		hmm_mirror_unmap(mirror, range->start, range->end);
	mutex_unlock(&mirror->lock);
	return true;
}

static const struct mmu_interval_notifier_ops hmm_mirror_notifier_ops = {
	.invalidate = hmm_mirror_notified,
};

/**
 * __hmm_mirror_init() - mirror a window of an address space
 * @mirror: the mirror
 * @mm: as for hmm_mirror_init()
 * @dev: as for hmm_mirror_init()
 * @ops: as for hmm_mirror_init()
 * @start: as for hmm_mirror_init()
 * @end: as for hmm_mirror_init()
 * @name: name of the update lock, for lockdep
 * @key: its lock class
 *
 * For a driver that has mirrors of several kinds, whose locks nest in different
 * ways, and sets them up in one place. All others use hmm_mirror_init().
 *
 * Context: As hmm_mirror_init().
 *
 * Return: As hmm_mirror_init().
 */
int __hmm_mirror_init(struct hmm_mirror *mirror, struct mm_struct *mm,
		      struct device *dev, const struct hmm_mirror_ops *ops,
		      unsigned long start, unsigned long end, const char *name,
		      struct lock_class_key *key)
{
	int ret;

	if (!ops || !ops->invalidate)
		return -EINVAL;

	__mutex_init(&mirror->lock, name, key);
	/* Tell lockdep before reclaim has met a mirror for the first time. */
	fs_reclaim_acquire(GFP_KERNEL);
	might_lock(&mirror->lock);
	fs_reclaim_release(GFP_KERNEL);
	mirror->ops = ops;
	mirror->owner = NULL;
	ret = hmm_dma_view_init(&mirror->view, dev, &hmm_mirror_dma_ops,
				start, end);
	if (ret)
		return ret;
	hmm_dma_view_set_lock(&mirror->view, &mirror->lock);

	/* From here on invalidations come in. */
	ret = mmu_interval_notifier_insert(&mirror->notifier, mm, start,
					   end - start,
					   &hmm_mirror_notifier_ops);
	if (ret)
		hmm_dma_view_destroy(&mirror->view);
	return ret;
}
EXPORT_SYMBOL_GPL(__hmm_mirror_init);

/**
 * hmm_mirror_destroy() - end a mirror
 * @mirror: the mirror
 *
 * Takes all of it from the device and waits for invalidations under way. The
 * mm may have been torn down before, or be torn down meanwhile. No call of
 * hmm_mirror_fault() or hmm_mirror_prefetch() may still run or begin: the driver
 * stops what makes its device fault before.
 *
 * Context: May sleep. Not under the mmap lock, not from the invalidate()
 * callback.
 */
void hmm_mirror_destroy(struct hmm_mirror *mirror)
{
	mutex_lock(&mirror->lock);
	hmm_mirror_unmap(mirror, mirror->view.start, mirror->view.end);
	mutex_unlock(&mirror->lock);

	/* Without a notifier, nothing may be mapped any more. */
	mmu_interval_notifier_remove(&mirror->notifier);
	hmm_dma_view_destroy(&mirror->view);
	mutex_destroy(&mirror->lock);
}
EXPORT_SYMBOL_GPL(hmm_mirror_destroy);

/**
 * struct hmm_mirror_call - a call of hmm_mirror_fault() or hmm_mirror_prefetch()
 * @mirror: the mirror
 * @range: the walk under way
 * @start: first byte of what was asked for
 * @end: first byte after that
 * @flags: enum hmm_mirror_flags
 * @wanted: pages to prefetch, of which all are walked at once; %NULL for all
 * @timeout: jiffies to wait, 0 to go on for ever
 * @deadline: jiffies after which there is no further try
 * @from: first byte that this call may have mapped, @end if none
 * @to: first byte after what this call may have mapped
 * @shortages: how often memory was missing under the lock since it got further
 * @refused: end of the first page that was not to be had from a peer, although
 *	the walk had been offered it, 0 if none
 * @few: memory for the extents of a short walk
 */
struct hmm_mirror_call {
	struct hmm_mirror *mirror;
	struct hmm_range range;
	unsigned long start;
	unsigned long end;
	unsigned int flags;
	const unsigned long *wanted;
	unsigned long timeout;
	unsigned long deadline;
	unsigned long from;
	unsigned long to;
	unsigned int shortages;
	unsigned long refused;
	struct hmm_extent few[MIRROR_FEW];
};

/* Time left in jiffies, as the range layer wants it: 0 is no limit. */
static long hmm_mirror_time_left(const struct hmm_mirror_call *call)
{
	if (!call->timeout)
		return 0;
	return max(1L, (long)(call->deadline - jiffies));
}

/* May a pass that was in vain be repeated? */
static int hmm_mirror_try_again(const struct hmm_mirror_call *call)
{
	if (fatal_signal_pending(current))
		return -EINTR;
	if (call->timeout && time_after_eq(jiffies, call->deadline))
		return -EBUSY;
	cond_resched();
	return 0;
}

static int hmm_mirror_snapshot(struct hmm_mirror_call *call)
{
	struct mmu_interval_notifier *notifier = &call->mirror->notifier;
	long timeout = hmm_mirror_time_left(call) ?: MAX_SCHEDULE_TIMEOUT;
	int ret;

	ret = mmu_interval_read_begin_killable(notifier,
					       &call->range.notifier_seq,
					       timeout);
	if (ret)
		return ret;
	ret = mmap_read_lock_killable(notifier->mm);
	if (ret)
		return ret;
	ret = hmm_range_snapshot(&call->range);
	mmap_read_unlock(notifier->mm);
	return ret;
}

static int hmm_mirror_alloc_extents(struct hmm_mirror_call *call)
{
	unsigned long npages = (call->end - call->start) >> PAGE_SHIFT;
	struct hmm_range *range = &call->range;

	range->max_extents = min(npages, MIRROR_EXTENTS);
	if (call->wanted)
		range->max_extents = bitmap_weight(call->wanted, npages) ?: 1;
	range->extents = call->few;
	if (range->max_extents > MIRROR_FEW)
		range->extents = kvmalloc_array(range->max_extents,
						sizeof(*range->extents),
						GFP_KERNEL | __GFP_NOWARN);
	return range->extents ? 0 : -ENOMEM;
}

static void hmm_mirror_free_extents(struct hmm_mirror_call *call)
{
	if (call->range.extents != call->few)
		kvfree(call->range.extents);
}

/*
 * Page tables of the IOMMU are allocated under the lock, from what is free. Have
 * some reclaimed; the next try then is for a part that needs few of them.
 */
static int hmm_mirror_reclaim(void)
{
	struct page *page = alloc_page(GFP_KERNEL | __GFP_NOWARN |
				       __GFP_RETRY_MAYFAIL);

	if (!page)
		return -ENOMEM;
	__free_page(page);
	return 0;
}

/* Does the block with @start have what a peer has been refused? */
static bool hmm_mirror_is_refused(const struct hmm_mirror_call *call,
				  unsigned long start)
{
	return call->refused && !((start ^ (call->refused - 1)) / MIRROR_BLOCK);
}

/* What to walk for the pages from @start on: a block that is refused on its own. */
static void hmm_mirror_set_range(struct hmm_mirror_call *call,
				 unsigned long start)
{
	struct hmm_range *range = &call->range;

	range->start = call->start;
	range->end = call->end;
	range->wanted = call->wanted;
	if (call->wanted)
		return;
	/* What is all of a leaf can be mapped as such. */
	range->start = max(round_down(start, MIRROR_BLOCK), call->start);
	if (call->shortages || hmm_mirror_is_refused(call, start))
		range->end = min(range->end - 1, start | (MIRROR_BLOCK - 1)) + 1;
	else if (start < call->refused)
		range->end = round_down(call->refused - 1, MIRROR_BLOCK);
}

/*
 * The device that is offered private memory of others, if any. What a walk was
 * offered and the mapping was refused is not asked for again, so that a call does
 * not go back and forth with the owner. The rest stays where it is.
 */
static struct device *hmm_mirror_peer(const struct hmm_mirror_call *call,
				      unsigned long start)
{
	const struct hmm_dma_view *view = &call->mirror->view;

	return view->peers && !hmm_mirror_is_refused(call, start) ? view->dev :
								    NULL;
}

/* What can be done without the update lock for the pages from @start on. */
static int hmm_mirror_walk(struct hmm_mirror_call *call, unsigned long start)
{
	struct hmm_range *range = &call->range;
	int ret = 0;

	if (call->shortages)
		ret = hmm_mirror_reclaim();
	if (!ret && !range->extents)
		ret = hmm_mirror_alloc_extents(call);
	if (ret)
		return ret;

	hmm_mirror_set_range(call, start);
	range->partial = true;
	range->dev_private_owner = call->mirror->owner;
	range->peer = hmm_mirror_peer(call, start);
	if (call->flags & HMM_MIRROR_PREFETCH) {
		ret = hmm_mirror_snapshot(call);
	} else {
		range->default_flags = HMM_PFN_REQ_FAULT;
		if (call->flags & HMM_MIRROR_WRITE)
			range->default_flags |= HMM_PFN_REQ_WRITE;
		ret = hmm_range_fault_unlocked_timeout(range,
						       hmm_mirror_time_left(call));
	}
	return ret ?: hmm_range_dma_prepare(range, &call->mirror->view);
}

/* First page from @va on that has to be walked. */
static unsigned long hmm_mirror_missing(struct hmm_mirror_call *call,
					unsigned long va)
{
	return hmm_dma_first_missing(&call->mirror->view, va, call->end,
				     call->flags & HMM_MIRROR_WRITE);
}

static unsigned int hmm_mirror_dma_flags(const struct hmm_mirror_call *call)
{
	unsigned int flags = 0;

	if (!(call->flags & HMM_MIRROR_WRITE))
		flags |= HMM_DMA_READ_ONLY;
	if (call->mirror->owner)
		flags |= HMM_DMA_TAKE_PRIVATE;
	if (call->flags & (HMM_MIRROR_PREFETCH | HMM_MIRROR_PARTIAL))
		flags |= HMM_DMA_SKIP_REMOTE;
	return flags;
}

/* After a fault all of the range is present, so what is not mapped cannot be. */
static bool hmm_mirror_skipped(const struct hmm_mirror_call *call)
{
	const struct hmm_range *range = &call->range;

	if (call->flags & HMM_MIRROR_PREFETCH ||
	    !(call->flags & HMM_MIRROR_PARTIAL))
		return false;
	return hmm_dma_first_missing(&call->mirror->view, range->start,
				     range->next, false) < range->next;
}

/* -EAGAIN if it has to be walked again. */
static int hmm_mirror_map_range(struct hmm_mirror_call *call)
{
	struct hmm_mirror *mirror = call->mirror;
	struct hmm_range *range = &call->range;
	unsigned long first;
	int ret;

	if (mmu_interval_read_retry(&mirror->notifier, range->notifier_seq))
		return -EAGAIN;

	/* The walk may have begun with pages that are mapped already. */
	first = hmm_mirror_missing(call, range->start);
	ret = hmm_range_dma_map(range, &mirror->view,
				hmm_mirror_dma_flags(call));
	if (ret == -ENOMEM && !call->wanted &&
	    call->shortages++ < MIRROR_SHORTAGES)
		return -EAGAIN;
	if (ret)
		return ret;

	/* Getting further than ever before is no waiting. */
	if (range->next > call->to) {
		call->deadline = jiffies + call->timeout;
		call->shortages = 0;
	}
	call->from = min(call->from, first);
	call->to = max(call->to, range->next);

	return hmm_mirror_skipped(call) ? -EREMOTEIO : 0;
}

/*
 * What is done under it. What an owner offers no more is walked again, to be
 * migrated to system memory by a fault. Other memory that is out of reach stays so.
 */
static int hmm_mirror_map(struct hmm_mirror_call *call)
{
	const struct hmm_dma_view *view = &call->mirror->view;
	int ret = hmm_mirror_map_range(call);

	if (ret != -EREMOTEIO || !view->refused)
		return ret;
	call->refused = view->refused;
	return -EAGAIN;
}

/*
 * Until nothing is missing. What is unmapped meanwhile is looked for once the end
 * has been reached, so a part that stays undisturbed is done once. Called and,
 * whatever it returns, left with the update lock held.
 */
static int hmm_mirror_populate(struct hmm_mirror_call *call)
{
	struct hmm_mirror *mirror = call->mirror;
	bool prefetch = call->flags & HMM_MIRROR_PREFETCH;
	unsigned long drops = mirror->view.drops;
	unsigned long va = call->start, to;
	int ret;

	for (;;) {
		va = hmm_mirror_missing(call, va);
		if (va == call->end && drops != mirror->view.drops && !prefetch) {
			drops = mirror->view.drops;
			va = hmm_mirror_missing(call, call->start);
			ret = va < call->end ? hmm_mirror_try_again(call) : 0;
			if (ret)
				return ret;
		}
		if (va == call->end)
			return 0;
		if (fatal_signal_pending(current))
			return -EINTR;

		mutex_unlock(&mirror->lock);
		ret = hmm_mirror_walk(call, va);
		mutex_lock(&mirror->lock);
		to = call->to;
		if (!ret)
			ret = hmm_mirror_map(call);
		if (ret == -EAGAIN || (prefetch && ret == -EBUSY)) {
			ret = hmm_mirror_try_again(call);
			if (ret)
				return ret;
			continue;
		}
		if (ret)
			return ret;
		/* Slow pages, one after the other, are no lack of progress. */
		if (call->range.error == -EBUSY && call->to > to)
			call->range.error = 0;
		if (call->range.error && !prefetch)
			return call->range.error;
		if (call->wanted)
			return 0;
		va = call->range.next;
	}
}

/* Take back what a failed call has mapped, unless the caller wants to keep it. */
static int hmm_mirror_failed(struct hmm_mirror_call *call, int ret)
{
	struct hmm_mirror *mirror = call->mirror;

	if (call->flags & HMM_MIRROR_PARTIAL &&
	    hmm_mirror_missing(call, call->start) != call->start)
		return 0;
	if (call->from < call->to)
		hmm_range_dma_unmap(&mirror->view, call->from, call->to);
	hmm_dma_view_trim(&mirror->view, call->start, call->end);
	return ret;
}

static int hmm_mirror_check(const struct hmm_mirror_call *call)
{
	const struct hmm_dma_view *view = &call->mirror->view;

	if (call->start >= call->end || !PAGE_ALIGNED(call->start | call->end))
		return -EINVAL;
	if (call->start < view->start || call->end > view->end ||
	    call->flags & ~HMM_MIRROR_FLAGS)
		return -EINVAL;
	return 0;
}

static int __hmm_mirror_fault(struct hmm_mirror_call *call,
			      unsigned long timeout)
{
	struct hmm_mirror *mirror = call->mirror;
	struct mm_struct *mm = mirror->notifier.mm;
	int ret;

	might_sleep();
	call->range.notifier = &mirror->notifier;
	call->from = call->end;
	call->timeout = min(timeout, MAX_JIFFY_OFFSET);
	ret = hmm_mirror_check(call);
	if (ret)
		return ret;
	if (!mmget_not_zero(mm))
		return -ESRCH;

	ret = mutex_lock_killable(&mirror->lock);
	if (!ret) {
		call->deadline = jiffies + call->timeout;
		ret = hmm_mirror_populate(call);
		if (ret)
			ret = hmm_mirror_failed(call, ret);
		if (ret)
			mutex_unlock(&mirror->lock);
	}
	hmm_mirror_free_extents(call);
	/* The last one tears the mm down, which takes the update lock. */
	mmput_async(mm);
	return ret;
}

/**
 * hmm_mirror_fault() - make pages present and let the device reach them
 * @mirror: the mirror
 * @start: first byte, page aligned
 * @end: first byte after the range, page aligned, above @start
 * @flags: &enum hmm_mirror_flags
 * @timeout: jiffies without progress after which to give up, 0 to go on for ever;
 *	see hmm_range_fault_unlocked_timeout() for what counts as waiting. The first
 *	wait for the update lock does not
 *
 * On success the update lock is held: every page of the range is present, mapped
 * for the device, for writing too if that was asked for, and nothing of that can
 * change before hmm_mirror_unlock(). The caller meanwhile goes through
 * hmm_mirror_next_run() and fills its device's page table. With
 * %HMM_MIRROR_PREFETCH or %HMM_MIRROR_PARTIAL pages may be missing, or be mapped
 * for reading only, and others behind them be mapped, which hmm_mirror_next_run()
 * shows. So it does for device-private pages of &hmm_mirror.owner that are to be
 * written and are not writable: a matter for the driver.
 *
 * Pages that are mapped already cost next to nothing, so it is cheap to ask for
 * more than the device has asked for. &hmm_mirror_ops.invalidate is called for
 * pages that are mapped for reading and are now to be written, and for pieces of a
 * leaf that give way to the leaf as a whole.
 *
 * Context: May sleep. The caller holds neither the mmap lock nor the update lock,
 * nor anything that its invalidate() callback takes. Several calls may run at the
 * same time.
 *
 * Return: 0 with the update lock held, or one of the following without it. What
 * this call had mapped is unmapped again then, and what lay between as well.
 *
 * * %-EINVAL: the range is not aligned, is empty, or is not in the window, or a
 *   flag does not exist.
 * * %-ESRCH: the address space is gone.
 * * %-EPERM, %-EFAULT: a page cannot be accessed as requested, see
 *   hmm_range_fault().
 * * %-EBUSY: @timeout expired.
 * * %-EINTR: a fatal signal arrived.
 * * %-EREMOTEIO, %-EIO: a page cannot be mapped, see hmm_range_dma_map().
 * * %-ENOMEM: no memory. For page tables of the IOMMU that is tried a few times.
 */
int hmm_mirror_fault(struct hmm_mirror *mirror, unsigned long start,
		     unsigned long end, unsigned int flags,
		     unsigned long timeout)
{
	struct hmm_mirror_call call = {
		.mirror = mirror, .start = start, .end = end, .flags = flags,
	};

	return __hmm_mirror_fault(&call, timeout);
}
EXPORT_SYMBOL_GPL(hmm_mirror_fault);

/**
 * hmm_mirror_prefetch() - let the device reach some pages that are present
 * @mirror: the mirror
 * @start: first byte, page aligned
 * @end: first byte after the range, page aligned, above @start
 * @wanted: a bit for each page of the range, the first one for that at @start
 * @flags: as for hmm_mirror_fault(), where %HMM_MIRROR_PREFETCH is set in any case
 * @timeout: as for hmm_mirror_fault()
 *
 * As hmm_mirror_fault() with %HMM_MIRROR_PREFETCH, for pages that are wanted, and
 * for all of a hugetlb page, or a leaf from the size of a PMD on, that has one, as
 * far as it is in the range. For a device that has faulted here and there: there is
 * one walk, which leaves out what is not wanted, so the range can be as large as the
 * window. What is linked to a page that is now to be written is taken from the
 * device, and comes back only if it is wanted. If the mapping for DMA fails, what is
 * wanted is unmapped, no more. It is not tried again if there is no memory for page
 * tables of the IOMMU.
 *
 * Context: As hmm_mirror_fault().
 *
 * Return: As hmm_mirror_fault(): 0 with the update lock held, whatever could be
 * mapped, or an errno without it.
 */
int hmm_mirror_prefetch(struct hmm_mirror *mirror, unsigned long start,
			unsigned long end, const unsigned long *wanted,
			unsigned int flags, unsigned long timeout)
{
	struct hmm_mirror_call call = {
		.mirror = mirror, .start = start, .end = end,
		.flags = flags | HMM_MIRROR_PREFETCH, .wanted = wanted,
	};

	return __hmm_mirror_fault(&call, timeout);
}
EXPORT_SYMBOL_GPL(hmm_mirror_prefetch);

#if IS_ENABLED(CONFIG_HMM_KUNIT_TEST)
#include "tests/hmm_mirror_kunit.c"
#endif
