// SPDX-License-Identifier: MIT
/*
 * SVM: serve faults of the GPU, window by window.
 *
 * What the page table of the GPU needs is allocated first; the mirror then tells,
 * under the update lock, by which addresses the GPU reaches what is present; these
 * are given to nvkm before the lock is released. That is one call for all faults of
 * a window that write, and one for those that read. What is left is made present,
 * span by span, and given in the same way. A block of which the mirror has a leaf
 * gets one large entry. An invalidation of any part of that takes it as a whole:
 * the rest comes back with the next fault.
 *
 * A batch of faults is served under nouveau_svm_space.lock, and so is each block of
 * a prefetch.
 */
#include <linux/bitmap.h>
#include <linux/hmm.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>

#include "nouveau_svm_fault.h"
#include "nouveau_svm_window.h"

#define BLOCK_ORDER	(NOUVEAU_SVM_BLOCK_SHIFT - PAGE_SHIFT)

/*
 * How many milliseconds a call of the mirror may lose against invalidations, and how
 * often that is tried in a batch. All address spaces wait for one worker.
 */
#define LOST_TIME	(HMM_RANGE_DEFAULT_TIMEOUT / LOST_TRIES)
#define LOST_TRIES	10

/**
 * struct svm_call - the faults of one window
 * @window: the window
 * @faults: the faults
 * @nr: how many
 * @lost: how often invalidations have won, in all windows of the batch
 * @drops: &hmm_dma_view.drops of the mirror when late faults were looked for
 */
struct svm_call {
	struct nouveau_svm_window *window;
	struct nouveau_svm_fault **faults;
	unsigned int nr;
	unsigned int lost;
	unsigned long drops;
};

static unsigned int svm_mirror_flags(enum nouveau_svm_need need)
{
	switch (need) {
	case NOUVEAU_SVM_PREFETCH:
		return HMM_MIRROR_PREFETCH;
	case NOUVEAU_SVM_READ:
		return 0;
	default:
		return HMM_MIRROR_WRITE;
	}
}

/* Returns with the update lock held if there is no error. */
static int svm_mirror_fault(struct svm_call *call, unsigned long start,
			    unsigned long end, unsigned int flags)
{
	return hmm_mirror_fault(&call->window->mirror, start, end,
				flags | HMM_MIRROR_PARTIAL,
				msecs_to_jiffies(LOST_TIME));
}

/* Under the update lock: from @start on, how far the GPU may go. */
static unsigned long svm_reached(struct nouveau_svm_window *window,
				 unsigned long start, unsigned long end,
				 enum nouveau_svm_need need)
{
	struct hmm_dma_run run = { .start = start };

	while (start < end && hmm_mirror_next_run(&window->mirror, end, &run)) {
		if (run.start != start ||
		    (need >= NOUVEAU_SVM_WRITE && !run.writable))
			break;
		start += run.npages << PAGE_SHIFT;
	}
	return start;
}

/*
 * Under the update lock: is the page at @addr, mapped as a small one, where it
 * would be if its folio filled the block?
 */
static bool svm_is_part_of_leaf(struct nouveau_svm_window *window,
				unsigned long addr)
{
	struct hmm_dma_run run = { .start = addr };
	unsigned long mask = (1UL << BLOCK_ORDER) - 1;

	return hmm_mirror_next_run(&window->mirror, addr + PAGE_SIZE, &run) &&
	       run.order < BLOCK_ORDER &&
	       !((run.pfn ^ (addr >> PAGE_SHIFT)) & mask) &&
	       folio_order(page_folio(pfn_to_page(run.pfn))) >= BLOCK_ORDER;
}

/*
 * svm_mirror_fault(), and the leaf around the first page if there is one. What was
 * faulted may be gone when the leaf is there, and is faulted again then. *@start
 * and *@end become the range that has to be given to the GPU.
 */
static int svm_fault_leaf(struct svm_call *call, unsigned long *start,
			  unsigned long *end, enum nouveau_svm_need need)
{
	unsigned int flags = svm_mirror_flags(need);
	struct nouveau_svm_window *window = call->window;
	struct hmm_mirror *mirror = &window->mirror;
	unsigned long first = *start, last = *end;
	unsigned long block, block_end;
	int ret;

	nouveau_svm_block(window, first, &block, &block_end);
	ret = svm_mirror_fault(call, first, last, flags);
	if (ret || block_end - block != NOUVEAU_SVM_BLOCK ||
	    !svm_is_part_of_leaf(window, first))
		return ret;

	hmm_mirror_unlock(mirror);
	ret = svm_mirror_fault(call, block, block_end,
			       flags | HMM_MIRROR_PREFETCH);
	if (!ret) {
		*start = block;
		*end = block_end;
		if (svm_reached(window, first, last, NOUVEAU_SVM_READ) > first)
			return 0;
		hmm_mirror_unlock(mirror);
	}
	return svm_mirror_fault(call, first, last, flags);
}

/*
 * Give the pages from @va on to the GPU, as many as can be had at once. Returns how
 * many bytes that were, which can be 0, or an error of one of the pages.
 */
static long svm_serve_pages(struct svm_call *call, unsigned long va,
			    unsigned long end, enum nouveau_svm_need need)
{
	struct nouveau_svm_window *window = call->window;
	unsigned long first = va, last = end, next;
	int ret;

	ret = svm_fault_leaf(call, &first, &last, need);
	if (ret)
		return ret;
	next = svm_reached(window, va, end, need);
	ret = nouveau_svm_window_fill(window, &window->mirror.view, first, last,
				      0);
	hmm_mirror_unlock(&window->mirror);
	return ret ?: next - va;
}

/*
 * A page of device memory that may not be written to, after fork for instance. It
 * is mirrored as it is; a fault of the CPU's brings a copy that may be.
 */
static int svm_break_sharing(struct svm_call *call, unsigned long va)
{
	struct mm_struct *mm = call->window->space->args.mm;
	bool unlocked = false;	/* while it waited: no matter here */
	int ret;

	mmap_read_lock(mm);
	ret = fixup_user_fault(mm, va, FAULT_FLAG_WRITE, &unlocked);
	mmap_read_unlock(mm);
	return ret;
}

/* Errors after which other pages need not be tried. */
static bool svm_is_final(long error)
{
	return error == -ESRCH || error == -EINTR || error == -EBUSY;
}

/* svm_serve_pages(), where an error is one of the first page. */
static long svm_serve_first(struct svm_call *call, unsigned long va,
			    unsigned long end, enum nouveau_svm_need need)
{
	unsigned long next = va + PAGE_SIZE;
	long ret;

	ret = svm_serve_pages(call, va, end, need);
	if (ret <= 0 && end > next && !svm_is_final(ret))
		ret = svm_serve_pages(call, va, next, need);
	if (!ret && need == NOUVEAU_SVM_WRITE) {
		ret = svm_break_sharing(call, va);
		if (!ret)
			ret = svm_serve_pages(call, va, next, need);
	}
	return ret;
}

/*
 * Take note of an error of the page at @va. Returns whether to go on behind it.
 * What has lost against invalidations is left to the GPU to ask for again.
 */
static bool svm_failed(struct svm_call *call, unsigned long va,
		       const struct nouveau_svm_span *span, int error)
{
	bool final = svm_is_final(error);
	unsigned long end = final ? span->end : va + PAGE_SIZE;

	if (error == -EBUSY)
		call->lost++;
	else
		nouveau_svm_faults_fail(call->faults, call->nr, va, end - 1,
					span->need, error);
	return !final;
}

static bool svm_has_lost(const struct svm_call *call)
{
	return call->lost >= LOST_TRIES;
}

/* Serve a span that needs reading or writing. */
static void svm_serve_span(struct svm_call *call,
			   const struct nouveau_svm_span *span)
{
	unsigned long va = span->start, start, end;
	long ret;

	while (va < span->end) {
		nouveau_svm_block(call->window, va, &start, &end);
		ret = svm_serve_first(call, va, min(end, span->end), span->need);
		if (ret < 0 && !svm_failed(call, va, span, ret)) {
			if (ret != -EBUSY || svm_has_lost(call))
				return;
			ret = end - va;	/* another block may be quiet */
		}
		va += max_t(long, ret, PAGE_SIZE);
	}
}

/*
 * Device memory that may be written to is the GPU's alone as it is, and all other
 * memory has to be present before it can be made so.
 */
static int svm_serve_atomic(struct svm_call *call, unsigned long va)
{
	struct nouveau_svm_window *window = call->window;
	struct hmm_dma_run run = { .start = va };
	int ret;

	ret = svm_mirror_fault(call, va, va + PAGE_SIZE, HMM_MIRROR_WRITE);
	if (ret)
		return ret;
	if (hmm_mirror_next_run(&window->mirror, va + PAGE_SIZE, &run) &&
	    run.kind == HMM_DMA_PRIVATE && run.writable) {
		ret = nouveau_svm_window_fill(window, &window->mirror.view, va,
					      va + PAGE_SIZE, 0);
		hmm_mirror_unlock(&window->mirror);
		return ret;
	}
	hmm_mirror_unlock(&window->mirror);
	return nouveau_svm_window_atomic(window, va,
					 msecs_to_jiffies(LOST_TIME));
}

static void svm_serve_atomic_span(struct svm_call *call,
				  const struct nouveau_svm_span *span)
{
	unsigned long va;
	int ret;

	for (va = span->start; va < span->end; va += PAGE_SIZE) {
		ret = svm_serve_atomic(call, va);
		if (ret && !svm_failed(call, va, span, ret) &&
		    (ret != -EBUSY || svm_has_lost(call)))
			return;
	}
}

static void svm_serve_present(struct svm_call *call, unsigned long start,
			      unsigned long end, bool write)
{
	struct nouveau_svm_window *window = call->window;
	int ret;

	ret = svm_mirror_fault(call, start, end, HMM_MIRROR_PREFETCH |
						 (write ? HMM_MIRROR_WRITE : 0));
	if (ret == -EBUSY)
		call->lost++;
	if (ret)
		return;
	nouveau_svm_window_fill(window, &window->mirror.view, start, end, 0);
	hmm_mirror_unlock(&window->mirror);
}

/* Is a page to be mapped for writing, or for reading, as its first fault tells? */
static bool svm_is_wanted(const struct svm_call *call, unsigned int i,
			  bool write)
{
	struct nouveau_svm_fault **fault = &call->faults[i];
	enum nouveau_svm_need need = nouveau_svm_fault_need(*fault);

	if ((*fault)->served ||
	    (i && !((fault[0]->addr ^ fault[-1]->addr) >> PAGE_SHIFT)))
		return false;
	return write ? need == NOUVEAU_SVM_WRITE : need < NOUVEAU_SVM_WRITE;
}

/* Note in a bitmap, which begins at @start, which pages to map. Returns if any. */
static bool svm_find_wanted(const struct svm_call *call, unsigned long start,
			    unsigned long end, bool write)
{
	unsigned long *wanted = call->window->space->wanted;
	bool any = false;
	unsigned int i;

	bitmap_zero(wanted, (end - start) >> PAGE_SHIFT);
	for (i = 0; i < call->nr; i++) {
		if (!svm_is_wanted(call, i, write))
			continue;
		__set_bit((call->faults[i]->addr - start) >> PAGE_SHIFT, wanted);
		any = true;
	}
	return any;
}

/*
 * Under the update lock: give to the GPU what the mirror has of each block, from
 * the first wanted page to the last one. A leaf is given as a whole anyway.
 */
static int svm_fill_wanted(struct svm_call *call, unsigned long start,
			   unsigned long end)
{
	struct nouveau_svm_window *window = call->window;
	const unsigned long *wanted = window->space->wanted;
	unsigned long nr = (end - start) >> PAGE_SHIFT;
	unsigned long first, last, block, block_end, next;
	int ret;

	for (first = find_first_bit(wanted, nr); first < nr;
	     first = find_next_bit(wanted, nr, next)) {
		nouveau_svm_block(window, start + (first << PAGE_SHIFT), &block,
				  &block_end);
		next = (block_end - start) >> PAGE_SHIFT;
		last = find_last_bit(wanted, next) + 1;
		ret = nouveau_svm_window_add(window, &window->mirror.view,
					     start + (first << PAGE_SHIFT),
					     start + (last << PAGE_SHIFT), 0);
		if (ret)
			return ret;
	}
	return nouveau_svm_window_flush(window);
}

/* Under the update lock: is a fault served by a run that the GPU has? */
static bool svm_run_serves(const struct hmm_dma_run *run,
			   const struct nouveau_svm_fault *fault)
{
	enum nouveau_svm_need need = nouveau_svm_fault_need(fault);

	return (fault->addr & PAGE_MASK) >= run->start &&
	       need <= (run->writable ? NOUVEAU_SVM_WRITE : NOUVEAU_SVM_READ);
}

/*
 * Under the update lock: note which faults are served, of those on pages that are
 * wanted, in a bitmap that begins at @start, or of those on large entries if there
 * is no @wanted.
 */
static void svm_mark_served(struct svm_call *call, const unsigned long *wanted,
			    unsigned long start)
{
	struct nouveau_svm_window *window = call->window;
	struct hmm_dma_run run = {};
	unsigned long end = 0;	/* of the run */
	unsigned int i;

	for (i = 0; i < call->nr; i++) {
		struct nouveau_svm_fault *fault = call->faults[i];
		unsigned long page = fault->addr & PAGE_MASK;

		if (wanted ? !test_bit((page - start) >> PAGE_SHIFT, wanted) :
			     !test_bit(nouveau_svm_block_nr(page), window->large))
			continue;
		if (page >= end) {
			run = (struct hmm_dma_run) { .start = page };
			if (!hmm_mirror_next_run(&window->mirror,
						 window->mirror.view.end, &run))
				return;
			end = run.start + (run.npages << PAGE_SHIFT);
		}
		fault->served = svm_run_serves(&run, fault);
	}
}

/* Faults that come late, when there is a large entry, need nothing. */
static void svm_skip_large(struct svm_call *call)
{
	struct nouveau_svm_window *window = call->window;

	mutex_lock(&window->mirror.lock);
	call->drops = window->mirror.view.drops;
	if (!bitmap_empty(window->large, NOUVEAU_SVM_BLOCKS))
		svm_mark_served(call, NULL, 0);
	mutex_unlock(&window->mirror.lock);
}

/* Unless a write has taken the large entry meanwhile. */
static void svm_recheck_large(struct svm_call *call)
{
	struct nouveau_svm_window *window = call->window;
	struct nouveau_svm_fault *fault;
	unsigned int i;

	mutex_lock(&window->mirror.lock);
	if (call->drops == window->mirror.view.drops)
		goto unlock;
	for (i = 0; i < call->nr; i++) {
		fault = call->faults[i];
		if (nouveau_svm_fault_need(fault) < NOUVEAU_SVM_WRITE &&
		    !test_bit(nouveau_svm_block_nr(fault->addr), window->large))
			fault->served = false;
	}
unlock:
	mutex_unlock(&window->mirror.lock);
}

/* Are there pages beside the first span, or is a leaf to be expected around it? */
static bool svm_are_many(const struct svm_call *call)
{
	struct nouveau_svm_span span;

	nouveau_svm_faults_span(call->faults, call->nr, &span);
	return span.nr < call->nr ||
	       (call->window->leaves &&
		span.end - span.start < NOUVEAU_SVM_BLOCK);
}

/*
 * What is present of the pages is mapped by one call of the mirror, and leaves are
 * as a whole. What is not served by that is left to be faulted.
 */
static void svm_serve_many(struct svm_call *call, bool write)
{
	struct nouveau_svm_window *window = call->window;
	unsigned long *wanted = window->space->wanted;
	unsigned long start, end, unused;
	int ret;

	nouveau_svm_block(window, call->faults[0]->addr, &start, &unused);
	nouveau_svm_block(window, call->faults[call->nr - 1]->addr, &unused,
			  &end);
	if (!svm_find_wanted(call, start, end, write))
		return;
	ret = hmm_mirror_prefetch(&window->mirror, start, end, wanted,
				  write ? HMM_MIRROR_WRITE : 0,
				  msecs_to_jiffies(LOST_TIME));
	if (ret == -EBUSY)
		call->lost++;
	if (ret)
		return;
	if (!svm_fill_wanted(call, start, end))
		svm_mark_served(call, wanted, start);
	hmm_mirror_unlock(&window->mirror);
}

static void svm_serve_one(struct svm_call *call,
			  const struct nouveau_svm_span *span)
{
	if (span->need == NOUVEAU_SVM_PREFETCH)
		svm_serve_present(call, span->start, span->end, false);
	else
		svm_serve_span(call, span);
}

/* Page tables are memory of the GPU, which windows that are idle may have. */
static int svm_reserve_block(struct svm_call *call, unsigned long addr)
{
	int ret;

	do {
		ret = nouveau_svm_window_reserve(call->window, addr);
	} while (ret == -ENOMEM &&
		 nouveau_svm_space_shrink(call->window->space));
	return ret;
}

/*
 * Page tables for all blocks with faults. If some cannot be had, the call becomes
 * one for those before them. Returns whether there are any.
 */
static bool svm_reserve(struct svm_call *call)
{
	unsigned long start = 0, end = 0;
	unsigned int i;
	int ret = 0;

	for (i = 0; i < call->nr; i++) {
		if (call->faults[i]->addr < end)
			continue;
		nouveau_svm_block(call->window, call->faults[i]->addr, &start,
				  &end);
		ret = svm_reserve_block(call, start);
		if (ret)
			break;
	}
	if (i) {
		call->nr = i;
		return true;
	}
	call->nr = nouveau_svm_faults_below(call->faults, call->nr, end);
	nouveau_svm_faults_fail(call->faults, call->nr, start, end - 1,
				NOUVEAU_SVM_READ, ret);
	return false;
}

static bool svm_is_large(struct nouveau_svm_window *window, unsigned long addr)
{
	bool large;

	mutex_lock(&window->mirror.lock);
	large = test_bit(nouveau_svm_block_nr(addr), window->large);
	mutex_unlock(&window->mirror.lock);
	return large;
}

static void svm_serve_atomics(struct svm_call *call)
{
	struct nouveau_svm_span span;
	unsigned int i;

	for (i = 0; i < call->nr && !svm_has_lost(call); i += span.nr) {
		span.nr = 1;
		if (nouveau_svm_fault_need(call->faults[i]) !=
		    NOUVEAU_SVM_ATOMIC)
			continue;
		nouveau_svm_faults_span(call->faults + i, call->nr - i, &span);
		svm_serve_atomic_span(call, &span);
	}
}

/* What is left of the spans that need writing, or of the others. */
static void svm_serve_spans(struct svm_call *call, bool write)
{
	struct nouveau_svm_span span;
	unsigned int i;
	bool writes;

	for (i = 0; i < call->nr && !svm_has_lost(call); i += span.nr) {
		span.nr = 1;
		if (call->faults[i]->served)
			continue;
		nouveau_svm_faults_span(call->faults + i, call->nr - i, &span);
		writes = span.need == NOUVEAU_SVM_WRITE;
		if (span.need != NOUVEAU_SVM_ATOMIC && writes == write)
			svm_serve_one(call, &span);
	}
}

/*
 * Atomics first, as each takes a leaf that it is in from the GPU, then writes, which
 * take what is linked to their pages and can only be read.
 */
static void svm_serve_window(struct svm_call *call)
{
	bool many = svm_are_many(call);

	svm_serve_atomics(call);
	svm_skip_large(call);
	if (many && !svm_has_lost(call))
		svm_serve_many(call, true);
	svm_serve_spans(call, true);
	svm_recheck_large(call);
	if (many && !svm_has_lost(call))
		svm_serve_many(call, false);
	svm_serve_spans(call, false);
	call->window->leaves = svm_is_large(call->window,
					    call->faults[call->nr - 1]->addr);
}

/* Serve the faults in the window of the first one. Returns for how many it did. */
static unsigned int svm_serve_some(struct nouveau_svm_space *space,
				   struct svm_call *call,
				   struct nouveau_svm_fault **faults,
				   unsigned int nr)
{
	u64 addr = faults[0]->addr;

	call->window = nouveau_svm_window_get(space, addr);
	if (IS_ERR(call->window)) {
		nouveau_svm_faults_fail(faults, 1, addr, addr, NOUVEAU_SVM_READ,
					PTR_ERR(call->window));
		return 1;
	}
	call->faults = faults;
	call->nr = nouveau_svm_faults_below(faults, nr,
					    call->window->mirror.view.end);
	if (svm_reserve(call))
		svm_serve_window(call);
	return call->nr;
}

/**
 * nouveau_svm_space_serve() - serve faults
 * @space: the space
 * @faults: faults of it, sorted by nouveau_svm_faults_sort()
 * @nr: how many
 *
 * Sets &nouveau_svm_fault.error of those that cannot be served, for the caller to
 * cancel them. All others are to be replayed once. They have been served, or will
 * be reported again: what has lost against an invalidation, what was behind that
 * when the time was up, and who wants to read where writing has failed.
 *
 * Context: May sleep, as long as the owner of the memory likes. Not under the mmap
 * lock.
 */
void nouveau_svm_space_serve(struct nouveau_svm_space *space,
			     struct nouveau_svm_fault **faults,
			     unsigned int nr)
{
	struct mm_struct *mm = space->args.mm;
	struct svm_call call = {};
	unsigned int i;

	for (i = 0; i < nr; i++) {
		faults[i]->served = false;
		faults[i]->error = 0;
	}
	if (!mmget_not_zero(mm)) {
		nouveau_svm_faults_fail(faults, nr, 0, U64_MAX,
					NOUVEAU_SVM_READ, -ESRCH);
		return;
	}
	mutex_lock(&space->lock);
	for (i = 0; i < nr && !svm_has_lost(&call);)
		i += svm_serve_some(space, &call, faults + i, nr - i);
	mutex_unlock(&space->lock);
	mmput(mm);
}

/* Returns how far it went: to the end of the block, at most. */
static unsigned long svm_prefetch_block(struct nouveau_svm_space *space,
					unsigned long start, unsigned long end,
					bool write)
{
	struct svm_call call = {};
	unsigned long first, last;

	lockdep_assert_held(&space->lock);
	end = min(end, round_down(start, NOUVEAU_SVM_BLOCK) + NOUVEAU_SVM_BLOCK);
	call.window = nouveau_svm_window_get(space, start);
	if (IS_ERR(call.window))
		return end;
	nouveau_svm_block(call.window, start, &first, &last);
	end = min(end, last);
	if (!nouveau_svm_window_reserve(call.window, start))
		svm_serve_present(&call, start, end, write);
	return end;
}

/**
 * nouveau_svm_space_prefetch() - give to the GPU what is present
 * @space: the space
 * @start: first byte, page aligned
 * @end: first byte after the range
 * @write: for writing, where the CPU may write
 *
 * Makes nothing present. What cannot be mapped is left out: the GPU will fault. For
 * memory that is known to be there, as the page tables of the GPU are made for all
 * of the range. Ends early if the caller is killed.
 *
 * Context: May sleep. Not under the mmap lock.
 */
void nouveau_svm_space_prefetch(struct nouveau_svm_space *space,
				unsigned long start, unsigned long end,
				bool write)
{
	struct mm_struct *mm = space->args.mm;

	if (!mmget_not_zero(mm))
		return;
	/* Killable: who serves faults holds the lock while it waits for memory. */
	while (start < end && !fatal_signal_pending(current) &&
	       !mutex_lock_killable(&space->lock)) {
		start = svm_prefetch_block(space, start, end, write);
		mutex_unlock(&space->lock);
		cond_resched();
	}
	mmput(mm);
}
