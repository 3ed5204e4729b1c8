/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Heterogeneous memory management: mirror a process address space in a device.
 *
 * The range layer declared here tells a driver which pages back a virtual
 * range, faulting them in if asked to. Documentation/mm/hmm.rst has the whole
 * picture.
 *
 * Nothing here is protected by a lock of its own. What a call reports is a
 * copy of the CPU page tables that any invalidation makes stale. It may be
 * used only under the driver's update lock, the one that its invalidate()
 * callback takes as well, and only as long as mmu_interval_read_retry() on
 * hmm_range.notifier and hmm_range.notifier_seq is false under that lock.
 */
#ifndef _LINUX_HMM_H
#define _LINUX_HMM_H

#include <linux/bits.h>
#include <linux/mm.h>

struct device;
struct mmu_interval_notifier;

/**
 * enum hmm_pfn_flags - flag bits of one entry of hmm_range.hmm_pfns
 * @HMM_PFN_VALID: (out) The pfn is there and may be read. It can be a
 *	device-private page of hmm_range.dev_private_owner.
 * @HMM_PFN_WRITE: (out) It may be written too. Never set without
 *	%HMM_PFN_VALID.
 * @HMM_PFN_ERROR: (out) The address cannot be accessed, and a fault would not
 *	make it readable: no VMA, a VMA without read permission or without struct
 *	pages, a special mapping, secret memory, a shadow stack, a guard region,
 *	poisoned memory.
 * @HMM_PFN_DMA_MAPPED: (in, out) For marks of the caller, such as how it has
 *	mapped the page for DMA. A walk leaves this and the next two as they are.
 * @HMM_PFN_P2PDMA: (in, out) As @HMM_PFN_DMA_MAPPED.
 * @HMM_PFN_P2PDMA_BUS: (in, out) As @HMM_PFN_DMA_MAPPED.
 * @HMM_PFN_PEER: (out) %HMM_PFN_VALID and %HMM_PFN_ERROR, which are never set
 *	together otherwise: a device-private page of another owner, which offers
 *	it to hmm_range.peer. Only who sets that can see it. To code that looks
 *	at one of the two bits it is a page that is there, or an error: it has to
 *	ask hmm_pfn_is_peer() first.
 * @HMM_PFN_ORDER_SHIFT: (out) Lowest of the five bits that hold the order of
 *	the leaf, see hmm_pfn_to_map_order().
 * @HMM_PFN_REQ_FAULT: (in) The call fails unless the page can be made present.
 *	Without it the page is reported as it is.
 * @HMM_PFN_REQ_WRITE: (in) The call fails unless the page can be made writable.
 *	Has no effect without %HMM_PFN_REQ_FAULT.
 * @HMM_PFN_FLAGS: Mask of all bits that are not pfn.
 *
 * An entry stands for one page of PAGE_SIZE bytes: the pfn in the low bits, then
 * the order, then flags. With none of %HMM_PFN_VALID, %HMM_PFN_WRITE and
 * %HMM_PFN_ERROR the page is absent, and %HMM_PFN_REQ_FAULT could make it
 * present.
 */
enum hmm_pfn_flags {
	HMM_PFN_VALID		= BIT(BITS_PER_LONG - 1),
	HMM_PFN_WRITE		= BIT(BITS_PER_LONG - 2),
	HMM_PFN_ERROR		= BIT(BITS_PER_LONG - 3),

	HMM_PFN_DMA_MAPPED	= BIT(BITS_PER_LONG - 4),
	HMM_PFN_P2PDMA		= BIT(BITS_PER_LONG - 5),
	HMM_PFN_P2PDMA_BUS	= BIT(BITS_PER_LONG - 6),

	HMM_PFN_PEER		= HMM_PFN_VALID | HMM_PFN_ERROR,

	HMM_PFN_ORDER_SHIFT	= BITS_PER_LONG - 11,

	/* One bit is asked for and answered in the same place. */
	HMM_PFN_REQ_FAULT	= HMM_PFN_VALID,
	HMM_PFN_REQ_WRITE	= HMM_PFN_WRITE,

	HMM_PFN_FLAGS		= GENMASK(BITS_PER_LONG - 1,
					  HMM_PFN_ORDER_SHIFT),
};

/**
 * hmm_pfn_to_page() - struct page of an entry
 * @entry: an entry with %HMM_PFN_VALID set
 *
 * Context: Under the driver's update lock, after mmu_interval_read_retry()
 * returned false. The entry holds no reference: the page stays as long as the
 * lock is held.
 *
 * Return: the page, which may be a device-private one.
 */
static inline struct page *hmm_pfn_to_page(unsigned long entry)
{
	return pfn_to_page(entry & ~HMM_PFN_FLAGS);
}

/**
 * hmm_pfn_to_phys() - physical address of an entry
 * @entry: an entry with %HMM_PFN_VALID set
 *
 * Context: As hmm_pfn_to_page().
 *
 * Return: the CPU physical address of the first byte of the page. Not a DMA
 * address.
 */
static inline phys_addr_t hmm_pfn_to_phys(unsigned long entry)
{
	return PFN_PHYS(entry & ~HMM_PFN_FLAGS);
}

/**
 * hmm_pfn_to_map_order() - order of the leaf that maps an entry
 * @entry: an entry with %HMM_PFN_VALID set
 *
 * The page lies in a block of 1 << order pages that starts at a virtual
 * address aligned to the block's size, is physically contiguous and aligned in
 * the same way, and has one permission.
 *
 * From the order of a PMD on, the block is a huge page table entry or a hugetlb
 * page, and a change of any part of it invalidates all of it. It can begin
 * before hmm_range.start and extend beyond hmm_range.end, and so beyond what the
 * notifier covers: a driver that maps whole blocks has to clip them to that. So
 * can small hugetlb pages.
 *
 * Below, it is a block of PTEs that map one large folio and can change one by
 * one: a driver that maps such a block as a whole has to cope with an
 * invalidation of a part. These are looked for within the range only.
 *
 * Context: As hmm_pfn_to_page().
 *
 * Return: the order in pages, 0 for a block of one page.
 */
static inline unsigned int hmm_pfn_to_map_order(unsigned long entry)
{
	return entry >> HMM_PFN_ORDER_SHIFT & 0x1f;
}

/**
 * hmm_pfn_is_peer() - does an entry stand for memory that a peer offers?
 * @entry: an entry
 *
 * The page has no address that a CPU or a device could use as it is: the DMA
 * layer asks its owner for one.
 *
 * Return: whether all of %HMM_PFN_PEER is set.
 */
static inline bool hmm_pfn_is_peer(unsigned long entry)
{
	return (entry & HMM_PFN_PEER) == HMM_PFN_PEER;
}

/**
 * struct hmm_extent - a run of pages in the same state
 * @start: virtual address of its first byte
 * @npages: its length in pages, at least 1
 * @entry: what an entry of hmm_range.hmm_pfns would be for its first page, see
 *	&enum hmm_pfn_flags; the flags of the DMA layer are 0
 *
 * With %HMM_PFN_VALID, the run is physically contiguous: the pfn of page i is
 * that of the first one plus i. All of it has the same permission. All of it is
 * mapped by leaves of the same kind: either of orders below that of a PMD, which
 * can change page by page, or by PMDs, PUDs or hugetlb pages of one size. The
 * order in @entry is that of the smallest leaf or block of PTEs in the run, see
 * hmm_pfn_to_map_order().
 *
 * Runs are as long as they can be. Two that touch differ in one of these, or the
 * second one does not go on physically where the first one ends.
 */
struct hmm_extent {
	unsigned long start;
	unsigned long npages;
	unsigned long entry;
};

/**
 * hmm_extent_end() - end of a run
 * @extent: the run
 *
 * Return: the virtual address of the first byte after it.
 */
static inline unsigned long hmm_extent_end(const struct hmm_extent *extent)
{
	return extent->start + (extent->npages << PAGE_SHIFT);
}

/**
 * struct hmm_range - arguments and results of a range walk
 *
 * The caller owns the structure and the arrays, and passes at least one of
 * @hmm_pfns and @extents. Neither structure nor arrays may be shared between two
 * calls that run at the same time. Fields that a caller does not know of have no
 * effect when zero.
 *
 * A call that returns 0 has done [@start, @next), which is at least one page and
 * usually all of the range. There are two reasons for less, each of which a
 * caller has to ask for: @extents is full, or @partial is set and the page at
 * @next has failed. To go on, call again with @start set to @next.
 */
struct hmm_range {
	/**
	 * @notifier: A registered notifier that covers at least [start, end).
	 * Its mm is the one that is walked; the caller holds a reference to
	 * that (mmget_not_zero()).
	 */
	struct mmu_interval_notifier *notifier;
	/**
	 * @notifier_seq: What mmu_interval_read_begin() returned before the
	 * pages were read. hmm_range_fault_unlocked_timeout() sets it, callers
	 * of hmm_range_fault() and hmm_range_snapshot() do so themselves.
	 */
	unsigned long notifier_seq;
	/** @start: First byte of the range, page aligned. */
	unsigned long start;
	/** @end: First byte after the range, page aligned, above @start. */
	unsigned long end;
	/**
	 * @hmm_pfns: One entry per page of the range, see &enum hmm_pfn_flags.
	 * On success the entries of [@start, @next) are set, the others are as
	 * after an error: they hold again what they asked for, so that the
	 * call can be repeated as it is, and the flags of the DMA layer, and
	 * their other bits mean nothing. %NULL if only @extents is wanted; no
	 * page can ask for more than @default_flags then.
	 */
	unsigned long *hmm_pfns;
	/**
	 * @default_flags: %HMM_PFN_REQ_FAULT and %HMM_PFN_REQ_WRITE as asked
	 * for every page of the range.
	 */
	unsigned long default_flags;
	/**
	 * @pfn_flags_mask: Which of the two flags an entry of @hmm_pfns may
	 * ask for in addition. With 0, entries need not be initialised, but
	 * for the flags of the DMA layer if the caller looks at these.
	 */
	unsigned long pfn_flags_mask;
	/**
	 * @dev_private_owner: Device-private pages of this &dev_pagemap.owner
	 * are reported as they are, without a fault and even if they lack the
	 * write access asked for. Those of other owners are absent, and a fault
	 * migrates them to system memory, unless @peer gets at them.
	 */
	void *dev_private_owner;
	/**
	 * @peer: The device that is going to do DMA, or %NULL. Device-private
	 * pages of other owners, which offer them to it by
	 * &dev_pagemap_ops.peer_access and which it can reach by the rules of
	 * P2PDMA and address by its DMA mask, are reported as %HMM_PFN_PEER
	 * then. They have the access that the process has: to be written, one
	 * that is mapped for reading only is migrated to system memory. Who maps
	 * them owes what hmm_mirror_allow_peers() says.
	 */
	struct device *peer;
	/**
	 * @extents: Array for the runs of pages that the range consists of, in
	 * address order and without gaps, absent pages included (but see
	 * @wanted); or %NULL. A call ends successfully when it is full. After
	 * an error its contents mean nothing.
	 */
	struct hmm_extent *extents;
	/**
	 * @wanted: A bit for each page of the range, the first one for that at
	 * @start, for a snapshot into @extents alone; or %NULL. There are
	 * extents only for pages that are wanted and present then, and for all
	 * of a hugetlb page, or a leaf above a page table, that has one, as far
	 * as it is in the range: at most as many as bits that are set. What
	 * lies between them is not looked at. It must not change meanwhile.
	 */
	const unsigned long *wanted;
	/** @max_extents: Size of @extents in entries, 0 without. */
	unsigned int max_extents;
	/** @nr_extents: (out) Entries of @extents that are set, 0 on error. */
	unsigned int nr_extents;
	/**
	 * @next: (out) First byte that was not done, @end if all was, @start
	 * after an error.
	 */
	unsigned long next;
	/**
	 * @partial: Report the pages before one that fails, if there are any,
	 * instead of failing as a whole.
	 */
	bool partial;
	/**
	 * @error: (out) Why the page at @next failed, 0 if it has not been tried.
	 * The same as the return value if that is not 0.
	 */
	int error;
};

/**
 * hmm_range_next_extent() - go through hmm_range.extents
 * @range: a range after a call that returned 0
 * @extent: in: %NULL or the last extent; out: the next one
 *
 * To be used as the condition of a loop.
 *
 * Context: As hmm_pfn_to_page().
 *
 * Return: whether there is one.
 */
static inline bool hmm_range_next_extent(const struct hmm_range *range,
					 const struct hmm_extent **extent)
{
	*extent = *extent ? *extent + 1 : range->extents;
	return *extent < range->extents + range->nr_extents;
}

bool hmm_range_next_run(const struct hmm_range *range, struct hmm_extent *run);

/*
 * Milliseconds that drivers usually wait for a range before they give up.
 * hmm_range_fault_unlocked_timeout() takes jiffies: use msecs_to_jiffies().
 */
#define HMM_RANGE_DEFAULT_TIMEOUT	1000

int hmm_range_snapshot(struct hmm_range *range);
int hmm_range_fault(struct hmm_range *range);
int hmm_range_fault_unlocked_timeout(struct hmm_range *range,
				     unsigned long timeout);

#endif /* _LINUX_HMM_H */
