// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * HMM range layer: report what the CPU page tables map in a virtual range, and
 * fault in what is asked for.
 *
 * Locking. The mmap lock, held for read, keeps VMAs and the upper page tables
 * in place for a walk; for a range inside one VMA the lock of that VMA does, and
 * is preferred where the choice is ours. Each leaf is read under its page table
 * lock, hugetlb also under the hugetlb VMA lock, which the page walker takes. A
 * huge PMD of which nothing but the entry is needed is read without.
 *
 * None of that outlives the call: the output is a copy that the caller validates
 * against the notifier, see include/linux/hmm.h. A walk writes nothing but the
 * caller's arrays, which no lock of this layer protects. The flags of the DMA
 * layer in hmm_pfns are read and written back; who changes them meanwhile has to
 * keep calls away.
 *
 * A pass over the range alternates between two steps:
 *
 *   walk	Look at the page tables in address order and output entries.
 *		Stop at the first page whose request they do not meet.
 *   fault	handle_mm_fault() on exactly that page with exactly its access,
 *		and on those that follow it in the same page table as long as
 *		they are empty and asked for. All locks of the walk are dropped
 *		by then.
 *
 * The next walk goes on from that page and sees the leaf just installed. One
 * fault thus covers as much as the mm chose to map, a whole 1 GiB page for
 * example, and no page is faulted that nobody asked for.
 *
 * A fault can outdate what has been output before it: a leaf that it installs may
 * begin earlier, or a block of PTEs be complete now. Then the pass goes on for
 * its faults only, and there is another one for the output. Invalidations that
 * come while faults are taken make for another pass, too, which needs few faults
 * or none and so leaves invalidations only a short time to come in between.
 */
#include <linux/hmm.h>
#include <linux/hugetlb.h>
#include <linux/leafops.h>
#include <linux/memremap.h>
#include <linux/mmu_notifier.h>
#include <linux/oom.h>
#include <linux/pagewalk.h>
#include <linux/sched/clock.h>
#include <linux/sched/signal.h>
#include <linux/secretmem.h>
#include <linux/unroll.h>

#define CREATE_TRACE_POINTS
#include <trace/events/hmm.h>

#include "hmm_peer.h"
#include "internal.h"

/* What can be asked of a page, and what its entry shows, in the same bits. */
#define HMM_PFN_ACCESS		(HMM_PFN_VALID | HMM_PFN_WRITE)

/* From this order on, a leaf is changed as a whole. */
#define HMM_PMD_ORDER		(PMD_SHIFT - PAGE_SHIFT)

/* Largest block of PTEs to report. The order above is left to real leaves. */
#define HMM_PTE_MAX_ORDER	(HMM_PMD_ORDER - 1)

/* The bits of an entry that hmm_pfn_to_map_order() returns. */
#define HMM_PFN_ORDER		GENMASK(HMM_PFN_ORDER_SHIFT + 4, \
					HMM_PFN_ORDER_SHIFT)

/* Entries to store at once. */
#define HMM_STORE_BATCH		16

/* For addresses of pages: none. */
#define HMM_NO_PAGE		ULONG_MAX

/* Flags of the caller, carried from input to output. */
#define HMM_PFN_STICKY		(HMM_PFN_DMA_MAPPED | HMM_PFN_P2PDMA | \
				 HMM_PFN_P2PDMA_BUS)

/*
 * Mark of a device-private page of the caller's own: it is reported as it is and
 * never faulted, whatever is asked of it. No walk makes the flag that this is,
 * and hmm_emit() takes it off.
 */
#define HMM_ENTRY_OWN		HMM_PFN_P2PDMA

/* Why a step ended early. Positive, never returned to a caller. */
enum {
	HMM_STEP_FAULT = 1,	/* the walk stands at a page to be faulted */
	HMM_STEP_RELOCK,	/* the fault dropped the mmap or VMA lock */
	HMM_STEP_FULL,		/* the caller's extents are used up */
};

/**
 * struct hmm_walk - state of one call, private to its task
 * @range: the caller's arguments
 * @requests: copy of the entries as passed in, since output overwrites them;
 *	NULL if entries cannot ask for more than @default_flags does
 * @default_flags: what every page is asked for, 0 for a snapshot
 * @end: where passes end; below the range's end once a page behind has failed
 * @error: what that page failed with
 * @addr: where the next walk begins; the page to be faulted; the one that failed
 * @done: end of what the last pass has output
 * @vma: the VMA walked last, that of @addr; valid as long as the lock is held
 * @pmdp: entry for the page table of @addr if it is known, valid like @vma
 * @vma_locked: the one VMA of what is left, if its lock is held rather than the
 *	mmap lock
 * @write: the fault is for write
 * @again: a fault has outdated output of this pass, there has to be another
 * @may_unlock: fault handlers may drop the lock
 * @bounded: there is a @deadline
 * @waited: the last fault dropped the lock and has to be tried again
 * @retry: page of a fault to be done under the mmap lock next, or %HMM_NO_PAGE
 * @tried: page whose fault dropped the lock to wait and need not do so again
 * @reached: end of what faults have got to, in all passes
 * @deadline: jiffies at which to give up, see hmm_account()
 * @clock: jiffies up to which time has been accounted for
 * @checked: jiffies at which the deadline has been looked at
 * @leaves: leaves that the last pass has output, for tracing
 * @faults: page faults taken, for tracing
 * @passes: passes begun, for tracing
 * @began: time of the call, in ns, if it is traced
 */
struct hmm_walk {
	struct hmm_range	*range;
	unsigned long		*requests;
	unsigned long		default_flags;
	unsigned long		end;
	int			error;
	unsigned long		addr;
	unsigned long		done;
	struct vm_area_struct	*vma;
	pmd_t			*pmdp;
	struct vm_area_struct	*vma_locked;
	bool			write;
	bool			again;
	bool			may_unlock;
	bool			bounded;
	bool			waited;
	unsigned long		retry;
	unsigned long		tried;
	unsigned long		reached;
	unsigned long		deadline;
	unsigned long		clock;
	unsigned long		checked;
	unsigned long		leaves;
	unsigned long		faults;
	unsigned long		passes;
	u64			began;
};

static inline bool hmm_traced(void)
{
	return trace_hmm_range_fault_enabled() ||
	       trace_hmm_range_snapshot_enabled();
}

static inline unsigned long hmm_order_flags(unsigned int order)
{
	return (unsigned long)order << HMM_PFN_ORDER_SHIFT;
}

static inline unsigned long hmm_index(const struct hmm_walk *hw,
				      unsigned long addr)
{
	return (addr - hw->range->start) >> PAGE_SHIFT;
}

/*
 * The first pages of [*@addr, *@end) that the caller wants to know of, or none,
 * with *@addr at the end then.
 */
static void hmm_find_wanted(const struct hmm_walk *hw, unsigned long *addr,
			    unsigned long *end)
{
	const struct hmm_range *range = hw->range;
	unsigned long last = hmm_index(hw, *end);
	unsigned long page;

	page = find_next_bit(range->wanted, last, hmm_index(hw, *addr));
	*addr = range->start + (page << PAGE_SHIFT);
	page = find_next_zero_bit(range->wanted, last, page);
	*end = range->start + (page << PAGE_SHIFT);
}

static inline bool hmm_wants(const struct hmm_walk *hw, unsigned long addr,
			     unsigned long end)
{
	if (likely(!hw->range->wanted))
		return true;
	hmm_find_wanted(hw, &addr, &end);
	return addr < end;
}

static unsigned long hmm_request(const struct hmm_walk *hw, unsigned long addr)
{
	unsigned long request = hw->default_flags;

	if (hw->requests)
		request |= hw->requests[hmm_index(hw, addr)] &
			   hw->range->pfn_flags_mask;
	return request;
}

static inline bool hmm_unmet(unsigned long request, unsigned long entry)
{
	return request & HMM_PFN_REQ_FAULT &&
	       request & ~entry & HMM_PFN_ACCESS;
}

/* First page in [addr, end) that asks for more than @entry has, or @end. */
static unsigned long hmm_first_unmet(const struct hmm_walk *hw,
				     unsigned long addr, unsigned long end,
				     unsigned long entry)
{
	if (!hw->requests)
		return hmm_unmet(hw->default_flags, entry) ? addr : end;

	while (addr < end && !hmm_unmet(hmm_request(hw, addr), entry))
		addr += PAGE_SIZE;
	return addr;
}

static inline void hmm_store_one(unsigned long *pfn, unsigned long entry)
{
	*pfn = (*pfn & HMM_PFN_STICKY) | entry;
}

/*
 * Write @npages entries that count up from @entry. Flags of the DMA layer are
 * rare: a batch without them needs no care.
 */
static void hmm_store(unsigned long *pfns, unsigned long npages,
		      unsigned long entry)
{
	unsigned long step = entry & HMM_PFN_VALID ? 1 : 0;
	unsigned long sticky;
	unsigned int i;

	for (; npages >= HMM_STORE_BATCH; npages -= HMM_STORE_BATCH) {
		sticky = 0;
		unrolled_full
		for (i = 0; i < HMM_STORE_BATCH; i++)
			sticky |= pfns[i];
		if (unlikely(sticky & HMM_PFN_STICKY))
			break;

		unrolled_full
		for (i = 0; i < HMM_STORE_BATCH; i++, entry += step)
			pfns[i] = entry;
		pfns += HMM_STORE_BATCH;
	}
	for (; npages; npages--, pfns++, entry += step)
		hmm_store_one(pfns, entry);
}

/* Is @entry what comes after @extent in the same run? If so, add @npages. */
static bool hmm_extent_grow(struct hmm_extent *extent, unsigned long npages,
			    unsigned long entry)
{
	unsigned long next = extent->entry, diff;

	if (next & HMM_PFN_VALID)
		next += extent->npages;
	diff = next ^ entry;
	if (diff & ~HMM_PFN_ORDER)
		return false;

	if (diff) {
		if (max(hmm_pfn_to_map_order(next),
			hmm_pfn_to_map_order(entry)) >= HMM_PMD_ORDER)
			return false;
		extent->entry = (extent->entry & ~HMM_PFN_ORDER) |
				min(next & HMM_PFN_ORDER,
				    entry & HMM_PFN_ORDER);
	}
	extent->npages += npages;
	return true;
}

static bool hmm_extent_add(struct hmm_range *range, unsigned long addr,
			   unsigned long npages, unsigned long entry)
{
	unsigned int nr = range->nr_extents;

	/* There are gaps between pages that are wanted. */
	if (nr && hmm_extent_end(&range->extents[nr - 1]) == addr &&
	    hmm_extent_grow(&range->extents[nr - 1], npages, entry))
		return true;
	if (nr == range->max_extents)
		return false;

	range->extents[nr] = (struct hmm_extent) {
		.start = addr,
		.npages = npages,
		.entry = entry,
	};
	range->nr_extents = nr + 1;
	return true;
}

/* Output [addr, end); @entry is of the first page, pfns count up from it. */
static int hmm_output(struct hmm_walk *hw, unsigned long addr,
		      unsigned long end, unsigned long entry)
{
	unsigned long npages = (end - addr) >> PAGE_SHIFT;
	struct hmm_range *range = hw->range;

	if (range->extents && !hmm_extent_add(range, addr, npages, entry)) {
		hw->addr = addr;
		return HMM_STEP_FULL;
	}
	if (range->hmm_pfns && !hw->again)
		hmm_store(range->hmm_pfns + hmm_index(hw, addr), npages, entry);
	if (hw->began && entry & HMM_PFN_VALID)
		hw->leaves += ((npages - 1) >> hmm_pfn_to_map_order(entry)) + 1;
	return 0;
}

/*
 * All of [addr, end) is in the state that @entry describes. Output it up to the
 * first page that asks for more. That one needs a fault, unless a fault cannot
 * help.
 */
static int hmm_emit(struct hmm_walk *hw, unsigned long addr, unsigned long end,
		    unsigned long entry)
{
	unsigned long stop = end;
	int ret = 0;

	if (!(entry & HMM_PFN_VALID) && hw->range->wanted)
		return 0;
	if (!(entry & HMM_ENTRY_OWN))
		stop = hmm_first_unmet(hw, addr, end, entry);
	if (stop != addr)
		ret = hmm_output(hw, addr, stop, entry & ~HMM_ENTRY_OWN);
	if (ret || stop == end)
		return ret;

	hw->addr = stop;
	if (entry & HMM_PFN_ERROR && !hmm_pfn_is_peer(entry))
		return -EFAULT;

	hw->pmdp = NULL;
	hw->write = hmm_request(hw, stop) & HMM_PFN_REQ_WRITE;
	return HMM_STEP_FAULT;
}

/*
 * Entry of a device-private page. The page table lock keeps it and so its page
 * map in place. What its owner offers to nobody is absent to all others.
 */
static unsigned long hmm_private_entry(const struct hmm_walk *hw,
				       softleaf_t leaf)
{
	unsigned long entry = softleaf_to_pfn(leaf) | HMM_PFN_VALID;
	struct page *page = softleaf_to_page(leaf);

	if (page_pgmap(page)->owner == hw->range->dev_private_owner)
		entry |= HMM_ENTRY_OWN;
	else if (hw->range->peer && !hmm_peer_ask(page, hw->range->peer, NULL))
		entry |= HMM_PFN_PEER;
	else
		return 0;
	if (softleaf_is_device_private_write(leaf))
		entry |= HMM_PFN_WRITE;
	return entry;
}

/*
 * Entry of a page table entry that is neither none nor present, under the page
 * table lock.
 */
static unsigned long hmm_softleaf_entry(const struct hmm_walk *hw,
					softleaf_t leaf)
{
	switch (softleaf_type(leaf)) {
	case SOFTLEAF_DEVICE_PRIVATE_READ:
	case SOFTLEAF_DEVICE_PRIVATE_WRITE:
		return hmm_private_entry(hw, leaf);
	case SOFTLEAF_MARKER:
		/* A write-protect marker on its own stands for an empty PTE. */
		return softleaf_to_marker(leaf) == PTE_MARKER_UFFD_WP ?
			0 : HMM_PFN_ERROR;
	case SOFTLEAF_HWPOISON:
		return HMM_PFN_ERROR;
	default:
		/* Swap, migration, device-exclusive: a fault sees to them. */
		return 0;
	}
}

static inline unsigned long hmm_present_entry(unsigned long pfn, bool write)
{
	return pfn | HMM_PFN_VALID | (write ? HMM_PFN_WRITE : 0);
}

/*
 * A special mapping has no page to report. The exception is a write to a
 * private mapping, where a fault replaces it by a normal page. The content of
 * that is copied from the address space of the current task.
 */
static unsigned long hmm_special_entry(const struct mm_walk *walk,
				       unsigned long addr, bool write)
{
	bool cow = !write && vma_is_cow_mapping(walk->vma) &&
		   walk->mm == current->mm &&
		   hmm_unmet(hmm_request(walk->private, addr), HMM_PFN_VALID);

	return cow ? 0 : HMM_PFN_ERROR;
}

/* Largest order, up to @max, at which @vpn and @pfn are congruent. */
static unsigned int hmm_congruent_order(unsigned long vpn, unsigned long pfn,
					unsigned int max)
{
	unsigned long diff = vpn ^ pfn;

	return diff ? min_t(unsigned int, __ffs(diff), max) : max;
}

/* How many PTEs from @ptep on, up to @max, map @folio with one permission. */
static unsigned long hmm_pte_batch(struct folio *folio, pte_t *ptep, pte_t pte,
				   unsigned long max)
{
	pte_t next = pte;
	unsigned long nr;

	max = min(max, folio_pfn(folio) + folio_nr_pages(folio) - pte_pfn(pte));
	for (nr = 1; nr < max; nr++) {
		next = pte_advance_pfn(next, 1);
		if (!pte_same(ptep_get(ptep + nr), next))
			break;
	}
	/* They may still be the same but for how they have been used. */
	return nr == max ? nr : folio_pte_batch_flags(folio, NULL, ptep, &pte,
						      max, FPB_RESPECT_WRITE);
}

/*
 * PTEs of [addr, end) map pages of a large folio in a row, the first entry of
 * which is @entry. Output them as the largest aligned blocks that there are, up
 * to order @max.
 */
static int hmm_pte_blocks(struct hmm_walk *hw, unsigned long addr,
			  unsigned long end, unsigned long entry,
			  unsigned int max)
{
	unsigned long nr, step;
	unsigned int order;
	int ret = 0;

	for (; addr < end && !ret; addr += step << PAGE_SHIFT, entry += step) {
		nr = (end - addr) >> PAGE_SHIFT;
		order = min_t(unsigned int, ilog2(nr),
			      hmm_congruent_order(addr >> PAGE_SHIFT, 0, max));
		step = order == max ? round_down(nr, 1UL << order) :
				      1UL << order;
		ret = hmm_emit(hw, addr, addr + (step << PAGE_SHIFT),
			       entry | hmm_order_flags(order));
	}
	return ret;
}

/* Output what maps pages of a large folio, from *@addrp on, and move that. */
static int hmm_pte_large(struct hmm_walk *hw, pte_t *ptep, unsigned long *addrp,
			 unsigned long end)
{
	unsigned long addr = *addrp;
	pte_t pte = ptep_get(ptep);
	struct folio *folio = page_folio(pte_page(pte));
	unsigned int max;

	max = min_t(unsigned int, folio_order(folio), HMM_PTE_MAX_ORDER);
	max = hmm_congruent_order(addr >> PAGE_SHIFT, pte_pfn(pte), max);
	*addrp += hmm_pte_batch(folio, ptep, pte, (end - addr) >> PAGE_SHIFT) <<
		  PAGE_SHIFT;
	return hmm_pte_blocks(hw, addr, *addrp,
			      hmm_present_entry(pte_pfn(pte), pte_write(pte)),
			      max);
}

/*
 * How many of the @max PTEs at @ptep, the first of which is @pte for the small
 * page @page, go on like that one: small pages whose pfns count up, with the
 * same flags.
 */
static unsigned long hmm_pte_run(pte_t *ptep, pte_t pte,
				 const struct page *page, unsigned long max)
{
	unsigned long nr;

	/* Without a virtual memmap, struct pages may not go on like pfns. */
	if (IS_ENABLED(CONFIG_SPARSEMEM) &&
	    !IS_ENABLED(CONFIG_SPARSEMEM_VMEMMAP))
		return 1;

	for (nr = 1; nr < max; nr++) {
		pte = pte_advance_pfn(pte, 1);
		/* Behind a small page there is no tail. */
		if (!pte_same(ptep_get(++ptep), pte) || PageHead(++page))
			break;
	}
	return nr;
}

/* Does a look at its flags tell that this maps a normal page? */
static bool hmm_pte_is_plain(pte_t pte)
{
	return IS_ENABLED(CONFIG_ARCH_HAS_PTE_SPECIAL) && pte_present(pte) &&
	       !pte_protnone(pte) && !pte_special(pte);
}

/*
 * Output small pages from *@addrp on, as long as they have the same permission,
 * and move that. This is what a walk spends its time on, so nothing is done for
 * each page that does not have to be.
 */
static int hmm_pte_small(struct hmm_walk *hw, pte_t *ptep, unsigned long *addrp,
			 unsigned long end)
{
	/* Single pages are stored here, unless there is more to it. */
	unsigned long *pfns = hw->again || hw->began || hw->range->extents ?
			      NULL : hw->range->hmm_pfns;
	unsigned long flags, nr, addr = *addrp;
	pte_t pte = ptep_get(ptep);
	struct page *page;
	int ret = 0;

	flags = hmm_present_entry(0, pte_write(pte));
	if (hw->requests || hmm_unmet(hw->default_flags, flags)) {
		*addrp += PAGE_SIZE;
		return hmm_emit(hw, addr, *addrp, flags | pte_pfn(pte));
	}

	for (; addr < end && !ret; addr += nr << PAGE_SHIFT) {
		pte = ptep_get(ptep);
		if (!hmm_pte_is_plain(pte) ||
		    hmm_present_entry(0, pte_write(pte)) != flags)
			break;
		page = pte_page(pte);
		if (PageCompound(page) && end - addr != PAGE_SIZE)
			break;

		nr = hmm_pte_run(ptep, pte, page, (end - addr) >> PAGE_SHIFT);
		if (pfns && nr == 1)
			hmm_store_one(pfns + hmm_index(hw, addr),
				      flags | pte_pfn(pte));
		else
			ret = hmm_output(hw, addr, addr + (nr << PAGE_SHIFT),
					 flags | pte_pfn(pte));
		ptep += nr;
	}
	*addrp = addr;
	return ret;
}

/* End of a run of empty PTEs that begins at @addr; none but that is asked for. */
static unsigned long hmm_pte_hole_end(const struct hmm_walk *hw, pte_t *ptep,
				      unsigned long addr, unsigned long end)
{
	do {
		addr += PAGE_SIZE;
	} while (addr < end && !hmm_unmet(hmm_request(hw, addr), 0) &&
		 pte_none(ptep_get(++ptep)));
	return addr;
}

/* Entry of a PTE that a look at its flags has not been enough for. */
static unsigned long hmm_pte_entry(const struct mm_walk *walk, pte_t pte,
				   unsigned long addr)
{
	if (pte_none(pte))
		return 0;
	if (!pte_present(pte))
		return hmm_softleaf_entry(walk->private,
					  softleaf_from_pte(pte));
	if (pte_protnone(pte))
		return 0;
	if (is_zero_pfn(pte_pfn(pte)) ||
	    vm_normal_page(walk->vma, addr, pte))
		return hmm_present_entry(pte_pfn(pte), pte_write(pte));
	return hmm_special_entry(walk, addr, pte_write(pte));
}

/* Output what is at *@addrp, and as much after it as is cheap; move that. */
static int hmm_pte_step(struct mm_walk *walk, pte_t *ptep, unsigned long *addrp,
			unsigned long end)
{
	struct hmm_walk *hw = walk->private;
	unsigned long addr = *addrp;
	pte_t pte = ptep_get(ptep);

	/* A single page makes no block, whatever it belongs to. */
	if (hmm_pte_is_plain(pte))
		return end - addr != PAGE_SIZE && PageCompound(pte_page(pte)) ?
			hmm_pte_large(hw, ptep, addrp, end) :
			hmm_pte_small(hw, ptep, addrp, end);

	*addrp = pte_none(pte) ? hmm_pte_hole_end(hw, ptep, addr, end) :
				 addr + PAGE_SIZE;
	return hmm_emit(hw, addr, *addrp, hmm_pte_entry(walk, pte, addr));
}

static int hmm_pte_range(pmd_t *pmdp, unsigned long from, unsigned long end,
			 struct mm_walk *walk)
{
	struct hmm_walk *hw = walk->private;
	unsigned long addr = from, stop = end;
	pte_t *ptes;
	spinlock_t *ptl;	/* keeps the PTEs and their folios in place */
	int ret = 0;

	ptes = pte_offset_map_lock(walk->mm, pmdp, from, &ptl);
	if (!ptes) {
		/* The entry changed before it was locked: look again. */
		walk->action = ACTION_AGAIN;
		return 0;
	}

	do {
		if (hw->range->wanted) {
			stop = end;
			hmm_find_wanted(hw, &addr, &stop);
			if (addr == end)
				break;
		}
		ret = hmm_pte_step(walk, ptes + ((addr - from) >> PAGE_SHIFT),
				   &addr, stop);
	} while (addr < end && !ret);
	pte_unmap_unlock(ptes, ptl);
	if (ret == HMM_STEP_FAULT)
		hw->pmdp = pmdp;
	return ret;
}

#ifdef CONFIG_TRANSPARENT_HUGEPAGE
/* Do its flags tell that this is a leaf with a normal page? */
static bool hmm_pmd_is_plain(pmd_t pmd)
{
	return IS_ENABLED(CONFIG_ARCH_SUPPORTS_PMD_PFNMAP) &&
	       pmd_present(pmd) && pmd_trans_huge(pmd) && !pmd_special(pmd);
}

static unsigned long hmm_pmd_leaf(const struct mm_walk *walk, pmd_t pmd,
				  unsigned long addr)
{
	unsigned long offset = (addr & ~PMD_MASK) >> PAGE_SHIFT;
	unsigned long entry;

	if (pmd_present(pmd)) {
		if (pmd_protnone(pmd))
			return 0;
		if (!hmm_pmd_is_plain(pmd) &&
		    !vm_normal_page_pmd(walk->vma, addr, pmd) &&
		    !is_huge_zero_pmd(pmd))
			return HMM_PFN_ERROR;
		entry = hmm_present_entry(pmd_pfn(pmd), pmd_write(pmd));
	} else {
		entry = hmm_softleaf_entry(walk->private,
					   softleaf_from_pmd(pmd));
	}

	if (entry & HMM_PFN_VALID)
		entry = (entry + offset) | hmm_order_flags(HPAGE_PMD_ORDER);
	return entry;
}
#else
static bool hmm_pmd_is_plain(pmd_t pmd)
{
	return false;
}

/* Never called: pmd_trans_huge_lock() finds nothing. */
static unsigned long hmm_pmd_leaf(const struct mm_walk *walk, pmd_t pmd,
				  unsigned long addr)
{
	return HMM_PFN_ERROR;
}
#endif

static int hmm_walk_pmd(pmd_t *pmdp, unsigned long addr, unsigned long end,
			struct mm_walk *walk)
{
	pmd_t pmd = pmdp_get_lockless(pmdp);
	unsigned long entry;
	spinlock_t *ptl;	/* keeps the leaf and its folio in place */

	cond_resched();
	if (!hmm_wants(walk->private, addr, end))
		return 0;
	/* Of a normal page, nothing is looked at but the entry. */
	if (hmm_pmd_is_plain(pmd)) {
		entry = hmm_pmd_leaf(walk, pmd, addr);
		return hmm_emit(walk->private, addr, end, entry);
	}

	ptl = pmd_trans_huge_lock(pmdp, walk->vma);
	if (!ptl)
		return hmm_pte_range(pmdp, addr, end, walk);

	entry = hmm_pmd_leaf(walk, pmdp_get(pmdp), addr);
	spin_unlock(ptl);
	return hmm_emit(walk->private, addr, end, entry);
}

#if defined(CONFIG_TRANSPARENT_HUGEPAGE) && \
	defined(CONFIG_HAVE_ARCH_TRANSPARENT_HUGEPAGE_PUD)
static unsigned long hmm_pud_leaf(const struct mm_walk *walk, pud_t pud,
				  unsigned long addr)
{
	unsigned long offset = (addr & ~PUD_MASK) >> PAGE_SHIFT;

	if (!vm_normal_page_pud(walk->vma, addr, pud))
		return HMM_PFN_ERROR;
	return hmm_present_entry(pud_pfn(pud) + offset, pud_write(pud)) |
	       hmm_order_flags(PUD_SHIFT - PAGE_SHIFT);
}

static int hmm_walk_pud(pud_t *pudp, unsigned long addr, unsigned long end,
			struct mm_walk *walk)
{
	spinlock_t *ptl = pud_trans_huge_lock(pudp, walk->vma);
	unsigned long entry;

	if (!ptl)
		return 0;

	/* Without this the page walker would split the leaf. */
	walk->action = ACTION_CONTINUE;
	entry = hmm_pud_leaf(walk, pudp_get(pudp), addr);
	spin_unlock(ptl);

	cond_resched();
	return hmm_wants(walk->private, addr, end) ?
		hmm_emit(walk->private, addr, end, entry) : 0;
}
#else
#define hmm_walk_pud		NULL
#endif

#ifdef CONFIG_HUGETLB_PAGE
static unsigned long hmm_hugetlb_leaf(const struct hmm_walk *hw,
				      struct hstate *h, pte_t pte,
				      unsigned long addr)
{
	unsigned long offset = (addr & ~huge_page_mask(h)) >> PAGE_SHIFT;

	if (huge_pte_none(pte))
		return 0;
	if (!pte_present(pte))
		return hmm_softleaf_entry(hw, softleaf_from_pte(pte));
	if (pte_protnone(pte))
		return 0;
	return hmm_present_entry(pte_pfn(pte) + offset, huge_pte_write(pte)) |
	       hmm_order_flags(huge_page_order(h));
}

static int hmm_walk_hugetlb(pte_t *ptep, unsigned long hmask,
			    unsigned long addr, unsigned long end,
			    struct mm_walk *walk)
{
	struct hstate *h = hstate_vma(walk->vma);
	spinlock_t *ptl = huge_pte_lock(h, walk->mm, ptep);
	pte_t pte = huge_ptep_get(walk->mm, addr & hmask, ptep);
	unsigned long entry = hmm_hugetlb_leaf(walk->private, h, pte, addr);

	spin_unlock(ptl);

	cond_resched();
	return hmm_wants(walk->private, addr, end) ?
		hmm_emit(walk->private, addr, end, entry) : 0;
}
#else
#define hmm_walk_hugetlb	NULL
#endif

/* Holes can be as large as the address space: take them in steps. */
static int hmm_emit_hole(struct hmm_walk *hw, unsigned long addr,
			 unsigned long end, unsigned long entry)
{
	unsigned long next;
	int ret;

	do {
		next = end - addr > PUD_SIZE ? addr + PUD_SIZE : end;
		ret = hmm_emit(hw, addr, next, entry);
		cond_resched();
		addr = next;
	} while (!ret && addr < end);
	return ret;
}

static int hmm_walk_hole(unsigned long addr, unsigned long end,
			 __always_unused int depth, struct mm_walk *walk)
{
	return hmm_emit_hole(walk->private, addr, end, 0);
}

/*
 * Some VMAs have nothing that a device could use: no struct pages, or no read
 * permission, which no architecture known here grants separately from write.
 * Secret memory has pages, but nobody except its process may get at them, not
 * even the kernel. Shadow stacks are only for the CPU to write, although their
 * PTEs count as writable. GUP refuses such access as well.
 */
static bool hmm_vma_usable(struct vm_area_struct *vma)
{
	return vma->vm_flags & VM_READ &&
	       !(vma->vm_flags & (VM_IO | VM_PFNMAP | VM_SHADOW_STACK)) &&
	       !vma_is_secretmem(vma);
}

#define HMM_WALK_CALLBACKS				\
	.pud_entry	= hmm_walk_pud,			\
	.pmd_entry	= hmm_walk_pmd,			\
	.hugetlb_entry	= hmm_walk_hugetlb,		\
	.pte_hole	= hmm_walk_hole

static const struct mm_walk_ops hmm_mm_walk_ops = {
	HMM_WALK_CALLBACKS,
	.walk_lock	= PGWALK_RDLOCK,
};

static const struct mm_walk_ops hmm_vma_walk_ops = {
	HMM_WALK_CALLBACKS,
	.walk_lock	= PGWALK_VMA_RDLOCK_VERIFY,
};

/* The walk step, VMA by VMA. Between them, there is nothing to be had. */
static int hmm_walk_on(struct hmm_walk *hw)
{
	struct mm_struct *mm = hw->range->notifier->mm;
	unsigned long addr, next;
	int ret = 0;

	if (hw->vma_locked) {
		hw->vma = hw->vma_locked;
		return walk_page_range_vma(hw->vma, hw->addr, hw->end,
					   &hmm_vma_walk_ops, hw);
	}

	for (addr = hw->addr; addr < hw->end && !ret; addr = next) {
		hw->vma = find_vma(mm, addr);
		next = hw->end;
		if (hw->vma && hw->vma->vm_start > addr)
			next = min(next, hw->vma->vm_start);
		else if (hw->vma)
			next = min(next, hw->vma->vm_end);

		if (hw->vma && hw->vma->vm_start <= addr &&
		    hmm_vma_usable(hw->vma))
			ret = walk_page_range_vma(hw->vma, addr, next,
						  &hmm_mm_walk_ops, hw);
		else
			ret = hmm_emit_hole(hw, addr, next, HMM_PFN_ERROR);
	}
	return ret;
}

/*
 * The time limit is on waiting: for invalidations, for fault handlers that need
 * time and ask to be called again, for a page that gets lost as soon as it has
 * been faulted in. What gets the call further than it ever was without waiting
 * takes as long as the range is large, and moves the deadline along.
 */
static void hmm_account(struct hmm_walk *hw)
{
	unsigned long now = jiffies;

	if (hw->addr >= hw->reached) {
		hw->reached = hw->addr + PAGE_SIZE;
		if (!hw->waited)
			hw->deadline += now - hw->clock;
	}
	hw->clock = now;
}

/*
 * Asked at most a jiffy before each fault, and before each restart for which an
 * invalidation is the only reason, so that every loop ends.
 */
static int hmm_may_go_on(const struct hmm_walk *hw)
{
	cond_resched();
	if (fatal_signal_pending(current))
		return -EINTR;
	if (hw->bounded && time_after(jiffies, hw->deadline))
		return -EBUSY;
	return 0;
}

/* What does not differ between the pages that a fault step goes on with. */
static unsigned int hmm_fault_flags(const struct hmm_walk *hw)
{
	unsigned int flags = FAULT_FLAG_REMOTE;

	if (hw->may_unlock)
		flags |= FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_KILLABLE;
	if (hw->vma_locked)
		flags |= FAULT_FLAG_VMA_LOCK;
	return flags;
}

static void hmm_unlock(struct hmm_walk *hw)
{
	if (hw->vma_locked)
		vma_end_read(hw->vma_locked);
	else
		mmap_read_unlock(hw->range->notifier->mm);
	hw->vma_locked = NULL;
}

/* The handler has dropped the lock, perhaps because it wants the mmap lock. */
static int hmm_fault_unlocked(struct hmm_walk *hw, vm_fault_t fault)
{
	/* Only a broken handler unlocks what is not its to unlock. */
	if (WARN_ON_ONCE(!hw->may_unlock))
		return -EFAULT;

	if (fault & VM_FAULT_RETRY) {
		hw->waited = true;
		hw->retry = hw->addr;
		if (!hw->vma_locked || fault & VM_FAULT_MAJOR)
			hw->tried = hw->addr;
	}
	hw->vma_locked = NULL;
	return HMM_STEP_RELOCK;
}

/*
 * As in mm/memory.c, handlers that do not map pages around the faulting one are
 * not called under the lock of a VMA. hugetlb has one of its own.
 */
static bool hmm_fault_needs_mmap_lock(const struct hmm_walk *hw)
{
	const struct vm_operations_struct *vm_ops = hw->vma->vm_ops;

	return hw->vma_locked && vm_ops && !vm_ops->map_pages &&
	       !is_vm_hugetlb_page(hw->vma);
}

/* Fault the page at hw->addr. */
static int hmm_fault(struct hmm_walk *hw, unsigned int flags)
{
	vm_fault_t fault;
	int ret;

	if (hw->write && !(hw->vma->vm_flags & VM_WRITE))
		return -EPERM;

	/* Time is up at a tick, so within one only these two are to be asked. */
	if (time_after(jiffies, hw->checked) || need_resched() ||
	    signal_pending(current)) {
		hw->checked = jiffies;
		hmm_account(hw);
		ret = hmm_may_go_on(hw);
		if (ret)
			return ret;
	}

	if (hw->write)
		flags |= FAULT_FLAG_WRITE;
	if (hw->tried == hw->addr)
		flags |= FAULT_FLAG_TRIED;
	fault = handle_mm_fault(hw->vma, hw->addr, flags, NULL);
	hw->faults++;
	hw->waited = false;
	if (fault & (VM_FAULT_COMPLETED | VM_FAULT_RETRY))
		return hmm_fault_unlocked(hw, fault);
	if (fault & VM_FAULT_ERROR) {
		ret = vm_fault_to_errno(fault, 0);
		return ret ? ret : -EFAULT;
	}
	return 0;
}

/* Entry for the page table of hw->addr. It may have none, or be a leaf. */
static pmd_t *hmm_find_pmd(const struct hmm_walk *hw)
{
	pgd_t *pgd = pgd_offset(hw->vma->vm_mm, hw->addr);
	p4d_t *p4d;
	pud_t *pud, pudval;

	if (is_vm_hugetlb_page(hw->vma) || !pgd_present(pgdp_get(pgd)))
		return NULL;
	p4d = p4d_offset(pgd, hw->addr);
	if (!p4d_present(p4dp_get(p4d)))
		return NULL;
	pud = pud_offset(p4d, hw->addr);
	pudval = pudp_get(pud);
	if (!pud_present(pudval) || pud_leaf(pudval))
		return NULL;
	return pmd_offset(pud, hw->addr);
}

/* Without the page table lock: the fault handler will see if it has changed. */
static __always_inline bool hmm_pte_is_empty(pmd_t *pmdp, unsigned long addr)
{
	pte_t *ptep = pte_offset_map(pmdp, addr);
	bool empty;

	if (!ptep)
		return false;
	empty = pte_none(ptep_get_lockless(ptep));
	pte_unmap(ptep);
	return empty;
}

/*
 * Is the next page in the page table empty, too, and asked for? Then it needs no
 * walk to find out that it has to be faulted.
 */
static bool hmm_fault_next(struct hmm_walk *hw, unsigned long limit)
{
	unsigned long addr = hw->addr + PAGE_SIZE;
	unsigned long request;

	if (addr >= limit)
		return false;
	request = hmm_request(hw, addr);
	if (!hmm_unmet(request, 0))
		return false;
	if (!hw->pmdp)
		hw->pmdp = hmm_find_pmd(hw);
	if (!hw->pmdp)
		return false;

	if (!hmm_pte_is_empty(hw->pmdp, addr))
		return false;
	hw->addr = addr;
	hw->write = request & HMM_PFN_REQ_WRITE;
	return true;
}

/*
 * Can a leaf that a fault at @addr installs begin before @addr, or make a larger
 * block of PTEs that does?
 */
static bool hmm_fault_reaches_back(const struct hmm_walk *hw,
				   unsigned long addr)
{
	struct vm_area_struct *vma = hw->vma;

	if (addr == hw->range->start)
		return false;
	if (is_vm_hugetlb_page(vma))
		return addr & (huge_page_size(hstate_vma(vma)) - 1);
	return addr & ~PMD_MASK || (vma->vm_ops && vma->vm_ops->huge_fault);
}

/* The fault step, from the page at hw->addr on. Output ends at @from so far. */
static int hmm_fault_run(struct hmm_walk *hw, unsigned long from)
{
	struct hmm_range *range = hw->range;
	unsigned int room = range->max_extents - range->nr_extents;
	unsigned int flags = hmm_fault_flags(hw);
	unsigned long limit;
	int ret;

	if (hmm_fault_needs_mmap_lock(hw)) {
		hmm_unlock(hw);
		hw->retry = hw->addr;
		return HMM_STEP_RELOCK;
	}

	/* To the end of the page table, but not beyond what can be reported. */
	limit = min3(hw->end, hw->vma->vm_end, ALIGN(hw->addr + 1, PMD_SIZE));
	if (range->extents && room < (limit - from) >> PAGE_SHIFT)
		limit = from + PAGE_SIZE * room;
	if (hmm_fault_reaches_back(hw, from))
		hw->again = true;
	do {
		ret = hmm_fault(hw, flags);
	} while (!ret && hmm_fault_next(hw, limit));

	if (ret && ret != HMM_STEP_RELOCK)
		return ret;
	/* The walk outputs what is there now, or counts it if that is no use. */
	if (!hw->again || range->extents)
		hw->addr = from;
	else if (!ret && hw->addr + PAGE_SIZE == hw->end)
		hw->addr = hw->end;
	return ret;
}

/*
 * The lock has been dropped for a fault that is still to be done, now under the
 * mmap lock. Of its page nothing is known any more but the address: unless there
 * is still nothing at all, it takes a walk to tell what it needs.
 */
static int hmm_fault_again(struct hmm_walk *hw)
{
	unsigned long from = hw->addr;

	hw->addr = hw->retry;
	hw->retry = HMM_NO_PAGE;
	hw->vma = vma_lookup(hw->range->notifier->mm, hw->addr);
	if (hw->vma && hmm_vma_usable(hw->vma) &&
	    !is_vm_hugetlb_page(hw->vma)) {
		hw->pmdp = hmm_find_pmd(hw);
		if (!hw->pmdp || pmd_none(pmdp_get_lockless(hw->pmdp)) ||
		    hmm_pte_is_empty(hw->pmdp, hw->addr))
			return hmm_fault_run(hw, from);
	}
	hw->addr = from;
	return 0;
}

/*
 * A page cannot be had. A caller that takes what there is gets what comes before
 * it, as if that was all it had asked for.
 */
static int hmm_cut_off(struct hmm_walk *hw, int error)
{
	if (!hw->range->partial || hw->addr == hw->range->start ||
	    error == -EINTR)
		return error;

	hw->end = hw->addr;
	hw->error = error;
	hw->again = true;
	return 0;
}

/*
 * One pass: walk and fault in turn up to the end of the range, or as far as the
 * caller's extents go. Invalidations meanwhile do not stop it, as the next pass
 * finds what has been faulted in.
 */
static int hmm_range_populate(struct hmm_walk *hw)
{
	int ret = 0;

	if (hw->retry != HMM_NO_PAGE)
		ret = hmm_fault_again(hw);
	while (!ret && hw->addr < hw->end) {
		ret = hmm_walk_on(hw);
		if (ret == HMM_STEP_FAULT)
			ret = hmm_fault_run(hw, hw->addr);
		else if (!ret)
			hw->addr = hw->end;
	}

	if (ret < 0)
		return hmm_cut_off(hw, ret);
	if (ret != HMM_STEP_RELOCK) {
		hw->done = hw->addr;
		/* The last fault was progress, too. */
		hmm_account(hw);
		ret = 0;
	}
	return ret;
}

static void hmm_pass_begin(struct hmm_walk *hw)
{
	hw->addr = hw->range->start;
	hw->range->nr_extents = 0;
	hw->again = false;
	hw->leaves = 0;
	hw->passes++;
	hw->clock = jiffies;
}

/*
 * If one VMA is all that is left of the range, its lock will do, and writers of
 * the mmap lock are not waited for. A page that has to be tried again gets the
 * mmap lock.
 */
static bool hmm_lock_vma(struct hmm_walk *hw)
{
	struct vm_area_struct *vma;

	if (hw->retry != HMM_NO_PAGE)
		return false;

	vma = lock_vma_under_rcu(hw->range->notifier->mm, hw->addr);
	if (!vma)
		return false;
	if (vma->vm_end < hw->end || !hmm_vma_usable(vma)) {
		vma_end_read(vma);
		return false;
	}
	hw->vma_locked = vma;
	return true;
}

static int hmm_lock(struct hmm_walk *hw)
{
	return hmm_lock_vma(hw) ? 0 :
		mmap_read_lock_killable(hw->range->notifier->mm);
}

/* hmm_range_populate() with the lock taken here; ends without it. */
static int hmm_range_populate_unlocked(struct hmm_walk *hw)
{
	struct mm_struct *mm = hw->range->notifier->mm;
	int ret;

	do {
		ret = hmm_lock(hw);
		if (ret)
			return ret;

		/* The OOM reaper has taken pages that a fault would zero. */
		ret = check_stable_address_space(mm) ? -EFAULT :
			hmm_range_populate(hw);
		if (ret != HMM_STEP_RELOCK)
			hmm_unlock(hw);
	} while (ret == HMM_STEP_RELOCK);
	return ret;
}

/* mmu_interval_read_begin() that the deadline and fatal signals end. */
static int hmm_read_begin(struct hmm_walk *hw)
{
	struct hmm_range *range = hw->range;
	long timeout = MAX_SCHEDULE_TIMEOUT;

	if (hw->bounded)
		timeout = max_t(long, hw->deadline - jiffies, 0);
	return mmu_interval_read_begin_killable(range->notifier,
						&range->notifier_seq, timeout);
}

static bool hmm_range_collided(const struct hmm_range *range)
{
	return mmu_interval_check_retry(range->notifier, range->notifier_seq);
}

static bool hmm_range_is_sane(const struct hmm_range *range)
{
	const struct interval_tree_node *covered =
		&range->notifier->interval_tree;

	return PAGE_ALIGNED(range->start | range->end) &&
	       range->start < range->end &&
	       range->start >= covered->start &&
	       range->end - 1 <= covered->last &&
	       !range->extents == !range->max_extents &&
	       (range->hmm_pfns || range->extents) &&
	       !(range->wanted && range->hmm_pfns);
}

static size_t hmm_range_npages(const struct hmm_range *range)
{
	return (range->end - range->start) >> PAGE_SHIFT;
}

/* Can an entry of the array ask for what default_flags does not? */
static bool hmm_entries_matter(const struct hmm_range *range)
{
	unsigned long flags = range->default_flags;
	unsigned long mask = range->pfn_flags_mask;

	return (flags | mask) & HMM_PFN_REQ_FAULT &&
	       mask & ~flags & HMM_PFN_ACCESS;
}

static int hmm_walk_copy_requests(struct hmm_walk *hw)
{
	const struct hmm_range *range = hw->range;

	if (!hmm_entries_matter(range))
		return 0;
	if (!range->hmm_pfns)
		return -EINVAL;

	hw->requests = kvmemdup(range->hmm_pfns,
				hmm_range_npages(range) * sizeof(*hw->requests),
				GFP_KERNEL);
	return hw->requests ? 0 : -ENOMEM;
}

/* Set up @hw for a call that faults. Ends with hmm_walk_fini() in any case. */
static int hmm_walk_init(struct hmm_walk *hw, struct hmm_range *range,
			 bool may_unlock, unsigned long timeout)
{
	*hw = (struct hmm_walk) {
		.range = range,
		.default_flags = range->default_flags,
		.end = range->end,
		.done = range->start,
		.may_unlock = may_unlock,
		.retry = HMM_NO_PAGE,
		.tried = HMM_NO_PAGE,
		.reached = range->start,
		.bounded = timeout != 0,
		.deadline = jiffies + min(timeout, MAX_JIFFY_OFFSET),
		.checked = jiffies - 1,
		.began = hmm_traced() ? local_clock() : 0,
	};
	if (!hmm_range_is_sane(range) || range->wanted)
		return -EINVAL;
	return hmm_walk_copy_requests(hw);
}

/* Tell the caller how far the call got, and why no further. */
static void hmm_walk_result(struct hmm_walk *hw, int ret)
{
	struct hmm_range *range = hw->range;

	if (ret) {
		hw->done = range->start;
		range->nr_extents = 0;
		range->error = ret;
	} else {
		range->error = hw->done == hw->end ? hw->error : 0;
	}
	range->next = hw->done;
}

/* The caller may call again for what is not done: give its requests back. */
static int hmm_walk_fini(struct hmm_walk *hw, int ret)
{
	unsigned long *pfns = hw->range->hmm_pfns;
	size_t i;

	hmm_walk_result(hw, ret);
	if (hw->requests) {
		for (i = hmm_index(hw, hw->done);
		     i < hmm_range_npages(hw->range); i++)
			pfns[i] = (pfns[i] & HMM_PFN_STICKY) |
				  (hw->requests[i] & ~HMM_PFN_STICKY);
	}
	kvfree(hw->requests);
	trace_hmm_range_fault(hw->range, ret, hw->leaves, hw->faults,
			      hw->passes, hw->began);
	return ret;
}

/**
 * hmm_range_next_run() - go through hmm_range.hmm_pfns run by run
 * @range: a range after a call that returned 0
 * @run: in: the last run, or one of 0 pages at first; out: the next one
 *
 * To be used as the condition of a loop, after a call with hmm_range.hmm_pfns.
 * The runs are those that hmm_range.extents would hold.
 *
 * Context: As hmm_pfn_to_page().
 *
 * Return: whether there is one.
 */
bool hmm_range_next_run(const struct hmm_range *range, struct hmm_extent *run)
{
	unsigned long addr = run->npages ? hmm_extent_end(run) : range->start;
	const unsigned long *pfn;

	if (addr >= range->next)
		return false;

	pfn = range->hmm_pfns + ((addr - range->start) >> PAGE_SHIFT);
	*run = (struct hmm_extent) {
		.start = addr,
		.npages = 1,
		.entry = *pfn & ~HMM_PFN_STICKY,
	};
	while (hmm_extent_end(run) < range->next &&
	       hmm_extent_grow(run, 1, *++pfn & ~HMM_PFN_STICKY))
		;
	return true;
}
EXPORT_SYMBOL_GPL(hmm_range_next_run);

/**
 * hmm_range_snapshot() - report what the page tables map, without faulting
 * @range: the range; @default_flags and @pfn_flags_mask are not looked at
 *
 * Changes nothing in the address space: no fault, no accessed or dirty bit. No
 * page can fail, so only full extents end it before the end of the range.
 *
 * Context: May sleep. The caller holds the mmap lock of the notifier's mm for
 * read or write and has set @range->notifier_seq by mmu_interval_read_begin().
 *
 * Return: 0 if [@range->start, @range->next) is reported, to be used as
 * include/linux/hmm.h says, or:
 *
 * * %-EINVAL: start or end is not page aligned, start is not below end, the
 *   notifier does not cover [start, end), or there is neither an array of pfns
 *   nor one of extents, or one of the latter without entries, or one of pfns
 *   beside @range->wanted.
 * * %-EBUSY: @range->notifier_seq is out of date already, begin anew.
 */
int hmm_range_snapshot(struct hmm_range *range)
{
	struct hmm_walk hw = {
		.range = range,
		.end = range->end,
		.retry = HMM_NO_PAGE,
		.began = hmm_traced() ? local_clock() : 0,
	};
	int ret = -EINVAL;

	if (hmm_range_is_sane(range)) {
		mmap_assert_locked(range->notifier->mm);
		hmm_pass_begin(&hw);
		ret = hmm_range_collided(range) ? -EBUSY :
						  hmm_range_populate(&hw);
	}
	hmm_walk_result(&hw, ret);
	trace_hmm_range_snapshot(range, ret, hw.leaves, 0, hw.passes, hw.began);
	return ret;
}
EXPORT_SYMBOL_GPL(hmm_range_snapshot);

/**
 * hmm_range_fault() - make pages present under the caller's mmap lock
 * @range: the range, with what is asked of its pages
 *
 * For callers that have to keep the mmap lock from before the call until after
 * it. Fault handlers cannot drop the lock then, so memory that they only serve
 * without it (userfaultfd, for one) fails with -EFAULT. All others use
 * hmm_range_fault_unlocked_timeout().
 *
 * A page is faulted only if it was asked for, and with the access that was
 * asked for. Each fault counts for as many pages as it installed. Nothing is
 * faulted behind the page at which the extents are full.
 *
 * Context: May sleep. The caller holds the mmap lock of the notifier's mm for
 * read or write and has set @range->notifier_seq by mmu_interval_read_begin().
 * The lock is held all along.
 *
 * Return: 0 if every page of [@range->start, @range->next) has what was asked of
 * it and is reported, to be used as include/linux/hmm.h says, or:
 *
 * * %-EINVAL: start or end is not page aligned, start is not below end, the
 *   notifier does not cover [start, end), there is neither an array of pfns nor
 *   one of extents, or one of the latter without entries, or pfn_flags_mask
 *   lets pages ask for more than default_flags without an array of pfns, or
 *   there is @range->wanted.
 * * %-EPERM: write access was asked for in a VMA that does not have it.
 * * %-EFAULT: a page cannot be made present: what snapshots report as
 *   %HMM_PFN_ERROR, or a fault that failed as it would have for the CPU, with
 *   SIGBUS or SIGSEGV.
 * * %-ENOMEM: no memory for the page or for the call itself.
 * * %-EINTR: a fatal signal is pending.
 * * %-EBUSY: @range->notifier_seq went out of date before or during the faults,
 *   or they made no progress for %HMM_RANGE_DEFAULT_TIMEOUT ms. What has been
 *   faulted in stays. The caller begins anew, within a time limit of its own.
 *
 * With @range->partial, the errors of a page (-EPERM, -EFAULT, -ENOMEM, and
 * -EBUSY for no progress) are returned only if it is the first one.
 */
int hmm_range_fault(struct hmm_range *range)
{
	struct hmm_walk hw;
	int ret;

	ret = hmm_walk_init(&hw, range, false,
			    msecs_to_jiffies(HMM_RANGE_DEFAULT_TIMEOUT));
	if (ret)
		return hmm_walk_fini(&hw, ret);

	mmap_assert_locked(range->notifier->mm);
	do {
		if (hmm_range_collided(range)) {
			ret = -EBUSY;
			break;
		}
		hmm_pass_begin(&hw);
		ret = hmm_range_populate(&hw);
	} while (!ret && hw.again);

	if (!ret && hmm_range_collided(range))
		ret = -EBUSY;
	return hmm_walk_fini(&hw, ret);
}
EXPORT_SYMBOL_GPL(hmm_range_fault);

/**
 * hmm_range_fault_unlocked_timeout() - make pages present
 * @range: the range, with what is asked of its pages
 * @timeout: jiffies to wait before giving up, 0 to go on for ever
 *
 * The usual way to fault. Like hmm_range_fault(), but takes a lock by itself,
 * lets fault handlers drop it, and begins anew by itself after an invalidation.
 * For a range inside one VMA that is the lock of the VMA, so that the call does
 * not wait for a writer of the mmap lock who is busy elsewhere. It takes the mmap
 * lock for several VMAs, from a page on that has to be tried again, for fault
 * handlers without map_pages(), which are not called under a VMA lock, and on
 * architectures that have none.
 *
 * @timeout is for the call as a whole and limits what it waits for:
 * invalidations, one that takes long as well as several in a row, fault handlers
 * that drop the lock and have to be called again (for I/O or userfaultfd, for
 * example), faults on one page that get nowhere. Time in which the call gets
 * further without that does not count, so a large range does not need a long
 * timeout. What is waited for beyond it is a single fault under way and the mmap
 * lock. A fatal signal ends waiting for that lock, and a fault if its handler
 * can be killed.
 *
 * Context: May sleep. The caller does not hold the mmap lock, nor any lock that
 * the invalidate() callback of @range->notifier takes, and holds a reference to
 * the mm. @range->notifier_seq is set here.
 *
 * Return: As hmm_range_fault(), with these meanings:
 *
 * * %-EFAULT: also if the OOM reaper has begun to take the address space apart.
 * * %-EBUSY: @timeout expired. It is not returned for any other reason.
 */
int hmm_range_fault_unlocked_timeout(struct hmm_range *range,
				     unsigned long timeout)
{
	struct hmm_walk hw;
	int ret;

	ret = hmm_walk_init(&hw, range, true, timeout);
	if (ret)
		return hmm_walk_fini(&hw, ret);

	do {
		ret = hmm_read_begin(&hw);
		if (ret)
			break;
		hmm_pass_begin(&hw);
		ret = hmm_range_populate_unlocked(&hw);
		/* After faults there is always a look at the result. */
		if (ret || hw.again)
			continue;
		if (!hmm_range_collided(range))
			break;
		ret = hmm_may_go_on(&hw);
	} while (!ret);

	return hmm_walk_fini(&hw, ret);
}
EXPORT_SYMBOL_GPL(hmm_range_fault_unlocked_timeout);

#if IS_ENABLED(CONFIG_HMM_KUNIT_TEST)
#include "tests/hmm_kunit.c"
#endif
