/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * HMM DMA layer: let one device reach what a range walk has found.
 *
 * A view is what a device can reach in one window of an address space. It keeps
 * its own record of that, so nothing depends on what a later walk reports.
 * hmm_mirror.h has a layer above this one that does all of it for a driver.
 *
 * Everything in a view is protected by its owner's update lock, the one that
 * the owner's invalidate() callback takes as well.
 */
#ifndef _LINUX_HMM_DMA_H
#define _LINUX_HMM_DMA_H

#include <linux/atomic.h>
#include <linux/bits.h>
#include <linux/dma-mapping.h>
#include <linux/lockdep.h>
#include <linux/types.h>

struct hmm_range;
struct hmm_dma_slot;
struct hmm_dma_view;

/**
 * struct hmm_dma_ops - how a view reaches the device of its owner
 */
struct hmm_dma_ops {
	/**
	 * @clear: Take [@start, @end) from the device: when it returns, the
	 * device no longer uses any address of a page in there, whether from an
	 * entry in its page table, from its TLB or by an access under way. It
	 * comes before each unmapping of something that is mapped. The range
	 * lies in the window and can be larger than what has to be unmapped,
	 * see hmm_range_dma_unmap(). May be %NULL for a view whose device asks
	 * for each address when it needs it, under the update lock.
	 *
	 * Context: Under the update lock. It may come from an invalidation, so
	 * it must neither wait for memory nor for any lock that is held while
	 * memory is waited for; it sleeps only if the owner's invalidate() may.
	 */
	void (*clear)(struct hmm_dma_view *view, unsigned long start,
		      unsigned long end);
};

/**
 * struct hmm_dma_view - what a device can reach in a window
 * @dev: The device. %NULL if the CPU accesses the pages in its place.
 * @ops: The owner's callbacks.
 * @start: First byte of the window, page aligned.
 * @end: First byte after the window, page aligned.
 * @drops: How often something was unmapped. Under the update lock an unchanged
 *	value says that all that was mapped still is.
 * @npages: How many pages are mapped.
 * @peers: The device may be given device-private memory that its owner offers to
 *	it. Set by the owner of the view, if at all, between hmm_dma_view_init()
 *	and the first hmm_range_dma_prepare(). A table of the record then has
 *	addresses behind an IOMMU, too, and takes twice the memory. The owner
 *	then owes what hmm_mirror_allow_peers() says.
 *
 * The owner reads these and changes none but @peers; the rest is private to
 * mm/hmm_dma.c.
 */
struct hmm_dma_view {
	struct device *dev;
	const struct hmm_dma_ops *ops;
	unsigned long start;
	unsigned long end;
	unsigned long drops;
	unsigned long npages;
	bool peers;

	/* private: */
	struct hmm_dma_slot *slots;
	struct dma_iova_state iova;	/* its size is 0 without an IOMMU */
	unsigned long iova_start;	/* the address that iova.addr is for */
	/* end of the first page of a peer that was last refused, or 0 */
	unsigned long refused;
	atomic_long_t nr_tables;
#ifdef CONFIG_LOCKDEP
	struct lockdep_map *update_lock;
#endif
};

/**
 * hmm_dma_view_set_lock() - tell lockdep the update lock of a view
 * @view: the view
 * @lock: the owner's update lock, of any type that has a dep_map
 *
 * After hmm_dma_view_init(). Without it, calls under the wrong lock are not
 * noticed.
 */
#ifdef CONFIG_LOCKDEP
#define hmm_dma_view_set_lock(view, lock) \
	((view)->update_lock = &(lock)->dep_map)
#else
#define hmm_dma_view_set_lock(view, lock) \
	do { (void)(view); (void)(lock); } while (0)
#endif

/**
 * enum hmm_dma_kind - how a device gets at a run of pages
 * @HMM_DMA_MEMORY: By &hmm_dma_run.addr. Also memory of another device that is
 *	reached through the host bridge.
 * @HMM_DMA_BUS: By &hmm_dma_run.addr, a PCI bus address of memory of another
 *	device below the same switch.
 * @HMM_DMA_PRIVATE: Not by DMA. These are device-private pages of the owner,
 *	which knows how its device gets at them.
 */
enum hmm_dma_kind {
	HMM_DMA_MEMORY,
	HMM_DMA_BUS,
	HMM_DMA_PRIVATE,
};

/**
 * struct hmm_dma_run - pages that a device reaches as one
 * @start: virtual address of the first byte
 * @npages: length in pages, at least 1
 * @addr: DMA address of the first byte; those of the others follow. 0 if the view
 *	has no device or @kind is %HMM_DMA_PRIVATE.
 * @pfn: pfn of the first page, which can be a device-private one of another
 *	device. Those of the others are sure to follow only if the run's @addr is
 *	0: behind an IOMMU pages need not be physically contiguous.
 * @kind: see &enum hmm_dma_kind
 * @order: Each block of 1 << order pages of the run, aligned to its size in the
 *	address space, is physically contiguous and is unmapped as a whole only.
 *	0 if nothing of that kind holds for all of the run.
 * @writable: whether the device may write to it
 */
struct hmm_dma_run {
	unsigned long start;
	unsigned long npages;
	dma_addr_t addr;
	unsigned long pfn;
	enum hmm_dma_kind kind;
	unsigned int order;
	bool writable;
};

/**
 * enum hmm_dma_flags - what hmm_range_dma_map() is to do
 * @HMM_DMA_READ_ONLY: Map pages for reading even if they are writable. Those
 *	that are already mapped for writing stay so.
 * @HMM_DMA_TAKE_PRIVATE: Take device-private pages into the view, as
 *	%HMM_DMA_PRIVATE, instead of failing.
 * @HMM_DMA_SKIP_REMOTE: Leave out memory of other devices that this one cannot
 *	reach or address, or is refused, instead of failing.
 * @HMM_DMA_FLAGS: Mask of all of them.
 */
enum hmm_dma_flags {
	HMM_DMA_READ_ONLY	= BIT(0),
	HMM_DMA_TAKE_PRIVATE	= BIT(1),
	HMM_DMA_SKIP_REMOTE	= BIT(2),

	HMM_DMA_FLAGS		= HMM_DMA_READ_ONLY | HMM_DMA_TAKE_PRIVATE |
				  HMM_DMA_SKIP_REMOTE,
};

int hmm_dma_view_init(struct hmm_dma_view *view, struct device *dev,
		      const struct hmm_dma_ops *ops, unsigned long start,
		      unsigned long end);
void hmm_dma_view_destroy(struct hmm_dma_view *view);
size_t hmm_dma_view_memory(struct hmm_dma_view *view);
int hmm_range_dma_prepare(const struct hmm_range *range,
			  struct hmm_dma_view *view);
int hmm_range_dma_map(const struct hmm_range *range, struct hmm_dma_view *view,
		      unsigned int flags);
void hmm_range_dma_unmap(struct hmm_dma_view *view, unsigned long start,
			 unsigned long end);
bool hmm_dma_next_run(struct hmm_dma_view *view, unsigned long end,
		      struct hmm_dma_run *run);

#endif /* _LINUX_HMM_DMA_H */
