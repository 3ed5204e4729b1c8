/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * HMM mirror layer: a window of an address space, mirrored in a device.
 *
 * hmm_mirror.lock is the update lock. It protects what the device can reach and
 * all that a driver derives from it.
 */
#ifndef _LINUX_HMM_MIRROR_H
#define _LINUX_HMM_MIRROR_H

#include <linux/atomic.h>
#include <linux/bits.h>
#include <linux/bug.h>
#include <linux/hmm_dma.h>
#include <linux/lockdep_types.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>

/**
 * DOC: Overview
 *
 * A mirror makes a window of an address space usable by a device. It has an
 * interval notifier, by which the CPU's side announces changes; an update lock,
 * which makes these wait for the device and the device for these; and a view,
 * the record of which pages the device can reach and by which addresses.
 *
 * hmm_mirror_fault() makes pages present, maps them for DMA, and returns with the
 * update lock held. Under it the driver goes through hmm_mirror_next_run() and
 * writes what it gets into the page table of its device. When memory changes, the
 * mirror calls &hmm_mirror_ops.invalidate, by which the driver clears entries of
 * that page table, and then takes the pages from the IOMMU and marks dirty what
 * the device may have written.
 *
 * All that is in the view is valid for as long as the update lock is held. The
 * driver has to see to one thing: that what its device uses is always a part of
 * that. It needs no sequence number, no array of pages and no DMA mapping of its
 * own.
 */

/**
 * DOC: Locking
 *
 * The update lock, &hmm_mirror.lock, protects the view and the page table of the
 * device. It nests inside the mmap lock and inside all locks under which mmu
 * notifiers are called, reclaim among them. So under it, and under each lock that
 * invalidate() takes, a driver must not
 *
 * - allocate memory, unless with %GFP_NOWAIT: tables are allocated before
 *   hmm_mirror_fault() is called;
 * - touch user memory, or take the mmap lock;
 * - call hmm_mirror_init(), hmm_mirror_fault(), hmm_mirror_prefetch() or
 *   hmm_mirror_destroy();
 * - move pages, by migrate_vma_setup() for instance, the driver's own included:
 *   invalidate() is called for these as for any other change;
 * - drop a reference to the address space by mmput();
 * - take a lock under which somebody else does one of these.
 *
 * The driver may take the lock by itself, to look at its page table or to let a
 * device go on that accesses memory by the CPU. Locks of the driver that it
 * holds when it calls one of these functions are outer ones and must not be taken
 * by invalidate().
 */

/**
 * DOC: Life cycle
 *
 * hmm_mirror_init() needs a reference to the address space: that of the current
 * process, or one from mmget_not_zero(). The mirror then keeps the &struct
 * mm_struct, but not the address space. hmm_mirror_fault() takes a reference for
 * the time of the call.
 *
 * When the process exits, invalidate() is called for all that is mapped, the
 * mirror is empty, and hmm_mirror_fault() returns -ESRCH from then on. The
 * mirror itself stays.
 *
 * hmm_mirror_destroy() may come before that, at the same time or later. First the
 * driver stops what calls hmm_mirror_fault() or hmm_mirror_prefetch(), and waits
 * for it to end. When hmm_mirror_destroy() returns, invalidate() is not running and
 * is not called any more, and the memory of the mirror may be freed.
 */

/**
 * DOC: Driver skeleton
 *
 * The parts of samples/hmm/hmm_mirror_skeleton.c that each driver has. A window
 * and what its device uses for it, here an array::
 *
 *	struct skel_window {
 *		struct hmm_mirror mirror;
 *		u64 ptes[SKEL_WINDOW_PAGES];
 *	};
 *
 *	// Under the update lock. When this returns, the device is done with it.
 *	static void skel_invalidate(struct hmm_mirror *mirror, unsigned long start,
 *				    unsigned long end)
 *	{
 *		struct skel_window *window = container_of(mirror, struct skel_window,
 *							  mirror);
 *
 *		memset(skel_pte(window, start), 0,
 *		       ((end - start) >> PAGE_SHIFT) * sizeof(u64));
 *		// Hardware: flush its TLB here and wait for accesses under way.
 *	}
 *
 *	static const struct hmm_mirror_ops skel_mirror_ops = {
 *		.invalidate = skel_invalidate,
 *	};
 *
 *	// Under the update lock. It allocates nothing: the tables are there.
 *	static void skel_fill(struct skel_window *window, unsigned long start,
 *			      unsigned long end)
 *	{
 *		struct hmm_dma_run run = { .start = start };
 *		unsigned long i;
 *
 *		while (hmm_mirror_next_run(&window->mirror, end, &run)) {
 *			u64 *ptes = skel_pte(window, run.start);
 *			// Hardware: run.addr, the DMA address.
 *			u64 pte = PFN_PHYS(run.pfn) | SKEL_PTE_VALID;
 *
 *			if (run.writable)
 *				pte |= SKEL_PTE_WRITE;
 *			for (i = 0; i < run.npages; i++)
 *				ptes[i] = pte + i * PAGE_SIZE;
 *		}
 *	}
 *
 *	// If it returns 0, the page at @start has an entry and the lock is held.
 *	static int skel_fault(struct skel_window *window, unsigned long start,
 *			      unsigned long end, bool write)
 *	{
 *		unsigned long timeout = msecs_to_jiffies(HMM_RANGE_DEFAULT_TIMEOUT);
 *		unsigned int flags = HMM_MIRROR_PARTIAL;
 *		int ret;
 *
 *		if (write)
 *			flags |= HMM_MIRROR_WRITE;
 *		ret = hmm_mirror_fault(&window->mirror, start, end, flags, timeout);
 *		if (!ret)
 *			skel_fill(window, start, end);
 *		return ret;
 *	}
 *
 * A window begins with::
 *
 *	ret = hmm_mirror_init(&window->mirror, ctx->mm, NULL, &skel_mirror_ops,
 *			      start, start + SKEL_WINDOW_SIZE);
 *
 * and ends with hmm_mirror_destroy(). The device of the sample is the CPU, which
 * accesses memory under the update lock::
 *
 *	mutex_lock(&window->mirror.lock);
 *	if (need & ~*pte) {
 *		hmm_mirror_unlock(&window->mirror);
 *		ret = skel_fault(window, va & PAGE_MASK, PAGE_ALIGN(end),
 *				 write);
 *		if (ret)
 *			return ret;
 *	}
 *	page = pfn_to_page(PHYS_PFN(*pte));
 *	if (write)
 *		memcpy_to_page(page, offset_in_page(va), buf, len);
 *	else
 *		memcpy_from_page(buf, page, offset_in_page(va), len);
 *	hmm_mirror_unlock(&window->mirror);
 *
 * A device that accesses memory by itself is told to go on after the call of
 * hmm_mirror_unlock() and may fault again.
 */

struct hmm_mirror;

/**
 * struct hmm_mirror_ops - what a driver does for its mirrors
 */
struct hmm_mirror_ops {
	/**
	 * @invalidate: Take [@start, @end) from the device. What
	 * &hmm_dma_ops.clear says holds for it; the update lock is
	 * &hmm_mirror.lock, and it may sleep. It is called only for ranges in
	 * which something is mapped. Required.
	 */
	void (*invalidate)(struct hmm_mirror *mirror, unsigned long start,
			   unsigned long end);
};

/**
 * struct hmm_mirror - a window of an address space, mirrored in a device
 * @notifier: Covers the window; its mm is the one that is mirrored.
 * @lock: The update lock: protects @view and what the driver derives from it,
 *	its device's page table first of all. Nothing that waits for memory may
 *	be done under it.
 * @view: What the device can reach.
 * @ops: The driver's callbacks.
 * @owner: &dev_pagemap.owner of the driver's device-private memory, or %NULL.
 *	The driver sets it between hmm_mirror_init() and the first
 *	hmm_mirror_fault() if it has any: its pages are then mirrored where
 *	they are, as %HMM_DMA_PRIVATE, and are moved to system memory otherwise.
 *
 * To be embedded into a structure of the driver. All members are set by
 * hmm_mirror_init() and only read by the driver unless said otherwise.
 */
struct hmm_mirror {
	struct mmu_interval_notifier notifier;
	struct mutex lock;	/* see above */
	struct hmm_dma_view view;
	const struct hmm_mirror_ops *ops;
	void *owner;
};

/**
 * hmm_mirror_allow_peers() - let the device use memory of other devices in place
 * @mirror: the mirror, between hmm_mirror_init() and the first fault or prefetch
 *
 * Device-private memory of another device is then mapped where it is, if its owner
 * offers it to the device and the rules of P2PDMA allow that; see
 * &dev_pagemap_ops.peer_access. Otherwise, as without this call, a fault migrates
 * it to system memory. It is for devices that need nothing but reads and writes: an
 * atomic operation over PCI may not be one for the memory of another device.
 * What it cannot address counts as not allowed. No-op for a mirror without a device.
 *
 * With that comes a duty. When &hmm_mirror_ops.invalidate returns, what the device
 * has written must have arrived at its target, since the owner then copies the
 * memory or gives it to somebody else. For system memory it is enough that the
 * device says that it is done: that is written to system memory, too, behind the
 * data. Writes to another device go by another way and are posted, so they can
 * still be under way then. They have arrived when the same device has read from
 * there, for instance, as a read does not overtake its writes. What the owner's
 * device has to do for itself to see what has arrived is the owner's part.
 */
static inline void hmm_mirror_allow_peers(struct hmm_mirror *mirror)
{
	/* A table that is there is too small for the addresses. */
	if (WARN_ON_ONCE(atomic_long_read(&mirror->view.nr_tables)))
		return;
	mirror->view.peers = true;
}

/**
 * enum hmm_mirror_flags - what hmm_mirror_fault() is to do
 * @HMM_MIRROR_WRITE: The device is going to write: every page has to be
 *	writable. Without it pages are mapped for reading, so that the IOMMU
 *	refuses writes and no page counts as dirty.
 * @HMM_MIRROR_PREFETCH: Map what is present, for writing if @HMM_MIRROR_WRITE is
 *	set and the page is writable, and make nothing present. Memory that the
 *	device cannot reach is left out.
 * @HMM_MIRROR_PARTIAL: Keep what could be mapped before the first page that
 *	cannot be accessed, that the device cannot reach, or at which the call
 *	ended for another reason, be it time or a signal, and report success if
 *	that is at least one page.
 * @HMM_MIRROR_FLAGS: Mask of all of them.
 */
enum hmm_mirror_flags {
	HMM_MIRROR_WRITE	= BIT(0),
	HMM_MIRROR_PREFETCH	= BIT(1),
	HMM_MIRROR_PARTIAL	= BIT(2),

	HMM_MIRROR_FLAGS	= HMM_MIRROR_WRITE | HMM_MIRROR_PREFETCH |
				  HMM_MIRROR_PARTIAL,
};

int __hmm_mirror_init(struct hmm_mirror *mirror, struct mm_struct *mm,
		      struct device *dev, const struct hmm_mirror_ops *ops,
		      unsigned long start, unsigned long end, const char *name,
		      struct lock_class_key *key);

/**
 * hmm_mirror_init() - mirror a window of an address space
 * @mirror: the mirror
 * @mm: the address space; the caller holds a reference to it
 * @dev: the device whose DMA addresses are wanted, see hmm_dma_view_init(). %NULL
 *	for a device of which the CPU does the work.
 * @ops: the driver's callbacks
 * @start: first byte of the window, page aligned
 * @end: first byte after the window, page aligned, above @start
 *
 * Nothing is mapped at first. The window need not have any VMA; what it costs is
 * said at hmm_dma_view_init(). To lockdep, the update locks of all mirrors that
 * are set up in one place are of one class.
 *
 * Context: May sleep. Takes the mmap lock.
 *
 * Return: 0, or:
 *
 * * %-EINVAL, %-EOPNOTSUPP, %-ENOSPC: As hmm_dma_view_init().
 * * %-EINVAL: also without &hmm_mirror_ops.invalidate.
 * * %-ENOMEM: no memory.
 * * %-EINTR: a signal arrived, not only a fatal one. The call can be repeated.
 */
#define hmm_mirror_init(mirror, mm, dev, ops, start, end)		\
({									\
	static struct lock_class_key __key;				\
									\
	__hmm_mirror_init((mirror), (mm), (dev), (ops), (start), (end),	\
			  "(" #mirror ")->lock", &__key);		\
})

void hmm_mirror_destroy(struct hmm_mirror *mirror);
int hmm_mirror_fault(struct hmm_mirror *mirror, unsigned long start,
		     unsigned long end, unsigned int flags,
		     unsigned long timeout);
int hmm_mirror_prefetch(struct hmm_mirror *mirror, unsigned long start,
			unsigned long end, const unsigned long *wanted,
			unsigned int flags, unsigned long timeout);

/**
 * hmm_mirror_unlock() - release the update lock
 * @mirror: the mirror, after hmm_mirror_fault() or hmm_mirror_prefetch() returned 0
 *
 * From here on an invalidation may take any of it from the device.
 */
static inline void hmm_mirror_unlock(struct hmm_mirror *mirror)
{
	mutex_unlock(&mirror->lock);
}

/**
 * hmm_mirror_next_run() - go through what a device can reach
 * @mirror: the mirror, with its update lock held
 * @end: first byte that is of no interest
 * @run: in: the last run, or one with @run->npages 0 and the first byte that is of
 *	interest in @run->start; out: the next run
 *
 * To be used as the condition of a loop, see hmm_dma_next_run().
 *
 * Return: whether there is one.
 */
static inline bool hmm_mirror_next_run(struct hmm_mirror *mirror,
				       unsigned long end,
				       struct hmm_dma_run *run)
{
	return hmm_dma_next_run(&mirror->view, end, run);
}

#endif /* _LINUX_HMM_MIRROR_H */
