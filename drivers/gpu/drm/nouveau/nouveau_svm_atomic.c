// SPDX-License-Identifier: MIT
/*
 * SVM: pages that the GPU uses alone for a while, since it cannot do atomics on
 * system memory that the CPU accesses as well.
 *
 * make_device_exclusive() takes such a page from the CPU, with an entry in its
 * place that a walk does not see; a mirror cannot have it. So a window with such
 * pages has a second notifier and a second view for these. Both are used under the
 * update lock of the window's mirror. No page is in both views: to become
 * exclusive it is invalidated, and to become ordinary again too. But what takes a
 * range from the GPU for one view takes entries of the other with it; these come
 * back with the next fault.
 */
#include <linux/hmm.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include <nvif/if000c.h>

#include "nouveau_svm_window.h"

/**
 * struct nouveau_svm_atomics - pages that the GPU uses alone
 * @notifier: covers the window
 * @view: these pages
 * @window: the window
 * @maker: the task that is making a page exclusive, or %NULL
 *
 * @view and @maker are protected by the update lock.
 */
struct nouveau_svm_atomics {
	struct mmu_interval_notifier notifier;
	struct hmm_dma_view view;
	struct nouveau_svm_window *window;
	struct task_struct *maker;
};

static void svm_atomics_clear(struct hmm_dma_view *view, unsigned long start,
			      unsigned long end)
{
	struct nouveau_svm_atomics *atomics =
		container_of(view, struct nouveau_svm_atomics, view);

	nouveau_svm_window_clear(atomics->window, start, end);
}

static const struct hmm_dma_ops svm_atomics_dma_ops = {
	.clear = svm_atomics_clear,
};

static bool svm_atomics_lock(struct nouveau_svm_atomics *atomics,
			     const struct mmu_notifier_range *range)
{
	struct hmm_dma_run run = { .start = range->start };
	struct mutex *lock = &atomics->window->mirror.lock;

	if (mmu_notifier_range_blockable(range)) {
		mutex_lock(lock);
		return true;
	}
	if (!mutex_trylock(lock))
		return false;
	if (!hmm_dma_next_run(&atomics->view, range->end, &run))
		return true;
	mutex_unlock(lock);
	return false;
}

/*
 * make_device_exclusive() announces itself, and what it undoes before that. All
 * of it precedes the entry that it makes, and is no reason to make that again.
 */
static bool svm_atomics_notified(struct mmu_interval_notifier *notifier,
				 const struct mmu_notifier_range *range,
				 unsigned long cur_seq)
{
	struct nouveau_svm_atomics *atomics =
		container_of(notifier, struct nouveau_svm_atomics, notifier);
	struct hmm_dma_view *view = &atomics->view;

	if (!svm_atomics_lock(atomics, range))
		return false;
	if (atomics->maker != current)
		mmu_interval_set_seq(notifier, cur_seq);
	if (mmu_notifier_range_blockable(range))
		hmm_range_dma_unmap(view, range->start, range->end);
	mutex_unlock(&atomics->window->mirror.lock);
	return true;
}

static const struct mmu_interval_notifier_ops svm_atomics_notifier_ops = {
	.invalidate = svm_atomics_notified,
};

static int svm_atomics_init(struct nouveau_svm_atomics *atomics,
			    struct nouveau_svm_window *window)
{
	struct hmm_dma_view *view = &window->mirror.view;
	int ret;

	atomics->window = window;
	ret = hmm_dma_view_init(&atomics->view, view->dev, &svm_atomics_dma_ops,
				view->start, view->end);
	if (ret)
		return ret;
	hmm_dma_view_set_lock(&atomics->view, &window->mirror.lock);
	ret = mmu_interval_notifier_insert(&atomics->notifier,
					   window->mirror.notifier.mm,
					   view->start, view->end - view->start,
					   &svm_atomics_notifier_ops);
	if (ret)
		hmm_dma_view_destroy(&atomics->view);
	return ret;
}

static int svm_window_begin_atomics(struct nouveau_svm_window *window)
{
	struct nouveau_svm_atomics *atomics;
	int ret;

	if (window->atomics)
		return 0;
	atomics = kzalloc_obj(*atomics);
	if (!atomics)
		return -ENOMEM;
	ret = svm_atomics_init(atomics, window);
	if (ret) {
		kfree(atomics);
		return ret;
	}
	window->atomics = atomics;
	return 0;
}

/**
 * nouveau_svm_window_end_atomics() - end what nouveau_svm_window_atomic() began
 * @window: the window
 *
 * Context: Under the space's lock. May sleep.
 */
void nouveau_svm_window_end_atomics(struct nouveau_svm_window *window)
{
	struct nouveau_svm_atomics *atomics = window->atomics;

	if (!atomics)
		return;
	mutex_lock(&window->mirror.lock);
	hmm_range_dma_unmap(&atomics->view, atomics->view.start,
			    atomics->view.end);
	mutex_unlock(&window->mirror.lock);
	mmu_interval_notifier_remove(&atomics->notifier);
	hmm_dma_view_destroy(&atomics->view);
	window->atomics = NULL;
	kfree(atomics);
}

static void svm_atomics_set_maker(struct nouveau_svm_atomics *atomics,
				  struct task_struct *maker)
{
	mutex_lock(&atomics->window->mirror.lock);
	atomics->maker = maker;
	mutex_unlock(&atomics->window->mirror.lock);
}

/* As a walk would report it. */
static struct page *svm_make_exclusive(struct nouveau_svm_atomics *atomics,
				       unsigned long addr, struct folio **folio)
{
	struct mm_struct *mm = atomics->notifier.mm;
	struct page *page;

	svm_atomics_set_maker(atomics, current);
	mmap_read_lock(mm);
	page = make_device_exclusive(mm, addr,
				     atomics->window->space->args.owner, folio);
	mmap_read_unlock(mm);
	svm_atomics_set_maker(atomics, NULL);
	return page;
}

/* -EAGAIN if the page may be ordinary again, or gone. */
static int svm_atomics_map(struct nouveau_svm_atomics *atomics,
			   struct hmm_range *range)
{
	struct nouveau_svm_window *window = atomics->window;
	int ret;

	mutex_lock(&window->mirror.lock);
	ret = mmu_interval_read_retry(&atomics->notifier, range->notifier_seq) ?
	      -EAGAIN : hmm_range_dma_map(range, &atomics->view, 0);
	if (!ret)
		ret = nouveau_svm_window_fill(window, &atomics->view,
					      range->start, range->end,
					      NVIF_VMM_SVM_ATOMIC);
	mutex_unlock(&window->mirror.lock);
	return ret;
}

static int svm_atomics_try(struct nouveau_svm_atomics *atomics,
			   struct hmm_range *range)
{
	struct folio *folio;
	struct page *page;
	int ret;

	/* While it can be waited for, for a page that is not known yet. */
	range->hmm_pfns[0] = HMM_PFN_VALID;
	ret = hmm_range_dma_prepare(range, &atomics->view);
	if (ret)
		return ret;
	range->notifier_seq = mmu_interval_read_begin(&atomics->notifier);
	page = svm_make_exclusive(atomics, range->start, &folio);
	if (IS_ERR(page))
		return PTR_ERR(page);

	range->hmm_pfns[0] = page_to_pfn(page) | HMM_PFN_VALID | HMM_PFN_WRITE;
	ret = svm_atomics_map(atomics, range);
	folio_unlock(folio);
	folio_put(folio);
	return ret;
}

/**
 * nouveau_svm_window_atomic() - let the GPU do atomics on a page
 * @window: the window
 * @addr: the page, with page tables reserved
 * @timeout: jiffies that invalidations may take from it
 *
 * The CPU gets the page back as soon as it touches it.
 *
 * Context: Under the space's lock, with a reference to the address space. May
 * sleep.
 *
 * Return: 0, or:
 *
 * * %-EBUSY: others have been faster all the time.
 * * %-EOPNOTSUPP: the page is not anonymous memory.
 * * %-EFAULT: it is not present, or cannot be written to.
 * * %-EHWPOISON: its memory is broken.
 * * %-EINTR: a fatal signal is pending.
 * * %-ENOMEM, %-EREMOTEIO, %-EIO: as hmm_range_dma_map().
 * * %-ENOSPC: as hmm_dma_view_init().
 * * What nvkm says, if the page cannot be mapped for the GPU.
 */
int nouveau_svm_window_atomic(struct nouveau_svm_window *window,
			      unsigned long addr, unsigned long timeout)
{
	unsigned long limit, pfn;
	struct hmm_range range = {
		.start = addr,
		.end = addr + PAGE_SIZE,
		.next = addr + PAGE_SIZE,
		.hmm_pfns = &pfn,
	};
	int ret;

	ret = svm_window_begin_atomics(window);
	if (ret)
		return ret;
	limit = jiffies + timeout;
	do {
		ret = svm_atomics_try(window->atomics, &range);
		cond_resched();
	} while (ret == -EAGAIN && time_before(jiffies, limit));
	return ret == -EAGAIN ? -EBUSY : ret;
}
