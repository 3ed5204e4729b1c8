// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * HMM range layer: report what the CPU page tables map in a virtual range, and
 * fault in what is asked for.
 *
 * Locking. The mmap lock, held for read, keeps VMAs and page tables in place
 * for a walk; each leaf is read under the page table lock (hugetlb: also the
 * hugetlb VMA lock, which the page walker takes). None of that outlives the
 * call. The output is a copy that the caller validates against the notifier,
 * see include/linux/hmm.h. A walk writes nothing but the caller's array, and
 * in that array it leaves alone the flags which belong to the DMA layer.
 *
 * A call alternates between two steps until it reaches the end of the range:
 *
 *   walk	Output entries in address order. Stop where the page tables do
 *		not meet the request of a page.
 *   fault	handle_mm_fault() on exactly that page with exactly its access.
 *		All locks of the walk are dropped by then.
 *
 * The next walk goes on from there and sees the leaf just installed. One fault
 * thus covers as much as the mm chose to map, a whole 1 GiB page for example, and
 * no page is touched that nobody asked for.
 */
#include <linux/hmm.h>
#include <linux/hugetlb.h>
#include <linux/leafops.h>
#include <linux/memremap.h>
#include <linux/mmu_notifier.h>
#include <linux/oom.h>
#include <linux/pagewalk.h>
#include <linux/sched/signal.h>

#include "internal.h"

/* Both ways round: what a page must have is what its entry will show. */
#define HMM_PFN_ACCESS		(HMM_PFN_VALID | HMM_PFN_WRITE)

/* Flags of the DMA layer, carried from input to output. */
#define HMM_PFN_STICKY		(HMM_PFN_DMA_MAPPED | HMM_PFN_P2PDMA | \
				 HMM_PFN_P2PDMA_BUS)

/* How long faults on one page may get nowhere under the caller's lock. */
#define HMM_STALL_TIMEOUT	msecs_to_jiffies(HMM_RANGE_DEFAULT_TIMEOUT)

/* Why a step ended early. Positive, never returned to a caller. */
enum {
	HMM_STEP_FAULT = 1,	/* the walk stands at a page to be faulted */
	HMM_STEP_RELOCK,	/* the fault dropped the mmap lock */
};

/**
 * struct hmm_walk - state of one call, private to its task
 * @range: the caller's arguments
 * @requests: copy of the entries as passed in, since output overwrites them;
 *	NULL if entries cannot ask for more than @default_flags does
 * @default_flags: what every page is asked for, 0 for a snapshot
 * @addr: first page without output, where the next walk begins
 * @fault: the page to be faulted
 * @vma: VMA of @fault, valid from walk to fault as the lock is held
 * @write: the fault is for write
 * @may_unlock: fault handlers may drop the mmap lock
 * @faulted: @fault of the last time, to notice a lack of progress
 * @tried: that fault asked for a second attempt
 * @deadline: jiffies at which to give up
 * @bounded: @deadline counts
 */
struct hmm_walk {
	struct hmm_range	*range;
	unsigned long		*requests;
	unsigned long		default_flags;
	unsigned long		addr;
	unsigned long		fault;
	struct vm_area_struct	*vma;
	bool			write;
	bool			may_unlock;
	unsigned long		faulted;
	bool			tried;
	unsigned long		deadline;
	bool			bounded;
};

static inline unsigned long hmm_order_flags(unsigned int order)
{
	return (unsigned long)order << HMM_PFN_ORDER_SHIFT;
}

static inline unsigned long hmm_index(const struct hmm_walk *hw,
				      unsigned long addr)
{
	return (addr - hw->range->start) >> PAGE_SHIFT;
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

/* Output [addr, end); @entry is of the first page, pfns count up from it. */
static void hmm_store(const struct hmm_walk *hw, unsigned long addr,
		      unsigned long end, unsigned long entry)
{
	unsigned long *pfns = hw->range->hmm_pfns;
	unsigned long step = entry & HMM_PFN_VALID ? 1 : 0;
	unsigned long last = hmm_index(hw, end);
	unsigned long i;

	for (i = hmm_index(hw, addr); i < last; i++, entry += step)
		pfns[i] = (pfns[i] & HMM_PFN_STICKY) | entry;
}

/*
 * All of [addr, end) is in the state that @entry describes. Output it if no page
 * asks for more. Else the first that does needs a fault, unless a fault cannot
 * help, and the next walk begins at @addr: the leaf that the fault installs may
 * begin before the page.
 */
static int hmm_emit(struct mm_walk *walk, unsigned long addr, unsigned long end,
		    unsigned long entry)
{
	struct hmm_walk *hw = walk->private;
	unsigned long stop = hmm_first_unmet(hw, addr, end, entry);

	if (stop == end) {
		hmm_store(hw, addr, end, entry);
		return 0;
	}
	if (entry & HMM_PFN_ERROR)
		return -EFAULT;

	hw->addr = addr;
	hw->fault = stop;
	hw->vma = walk->vma;
	hw->write = hmm_request(hw, stop) & HMM_PFN_REQ_WRITE;
	return HMM_STEP_FAULT;
}

/*
 * Entry of a page table entry that is neither none nor present. The page table
 * lock keeps device pages and so their page map in place.
 */
static unsigned long hmm_softleaf_entry(const struct hmm_walk *hw,
					softleaf_t leaf)
{
	unsigned long entry;

	switch (softleaf_type(leaf)) {
	case SOFTLEAF_DEVICE_PRIVATE_READ:
	case SOFTLEAF_DEVICE_PRIVATE_WRITE:
		if (page_pgmap(softleaf_to_page(leaf))->owner !=
		    hw->range->dev_private_owner)
			return 0;
		entry = softleaf_to_pfn(leaf) | HMM_PFN_VALID;
		if (softleaf_is_device_private_write(leaf))
			entry |= HMM_PFN_WRITE;
		return entry;
	case SOFTLEAF_MARKER:
		/* A write-protect marker on its own stands for an empty PTE. */
		return softleaf_to_marker(leaf) == PTE_MARKER_UFFD_WP ?
			0 : HMM_PFN_ERROR;
	case SOFTLEAF_HWPOISON:
		return HMM_PFN_ERROR;
	default:
		/* Swap, migration, device-exclusive: the fault handler waits. */
		return 0;
	}
}

static inline unsigned long hmm_present_entry(unsigned long pfn, bool write)
{
	return pfn | HMM_PFN_VALID | (write ? HMM_PFN_WRITE : 0);
}

/*
 * A special mapping has no page to report. The exception is a write to a
 * private mapping, where a fault replaces it by a normal page.
 */
static unsigned long hmm_special_entry(const struct mm_walk *walk,
				       unsigned long addr, bool write)
{
	bool cow = !write && vma_is_cow_mapping(walk->vma) &&
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

/* Largest block of PTEs to report. The order above is left to real leaves. */
#define HMM_PTE_MAX_ORDER	(PMD_SHIFT - PAGE_SHIFT - 1)

/*
 * Order of the aligned block around @addr that PTEs map to one folio with one
 * permission; 0 if not all of it is mapped so. The block is smaller than the
 * page table, so its other PTEs are next to @ptep and under the same lock. A
 * walk that began before @addr, at @from, has seen the start of the block and
 * found it wanting, unless @addr is that start.
 */
static unsigned int hmm_pte_order(const struct mm_walk *walk, pte_t *ptep,
				  pte_t pte, struct page *page,
				  unsigned long addr, unsigned long from)
{
	struct folio *folio = page_folio(page);
	unsigned long pfn = pte_pfn(pte), vpn = addr >> PAGE_SHIFT;
	unsigned long nr, before, start;
	unsigned int order;
	pte_t first;

	order = min_t(unsigned int, folio_order(folio), HMM_PTE_MAX_ORDER);
	order = hmm_congruent_order(vpn, pfn, order);
	nr = 1UL << order;
	before = vpn & (nr - 1);
	start = addr - (before << PAGE_SHIFT);

	if (!order || (before && addr != from) ||
	    folio_page_idx(folio, page) < before ||
	    start < walk->vma->vm_start ||
	    walk->vma->vm_end - start < nr << PAGE_SHIFT)
		return 0;

	first = ptep_get(ptep - before);
	if (!pte_present(first) || pte_pfn(first) != pfn - before)
		return 0;
	if (folio_pte_batch_flags(folio, NULL, ptep - before, &first, nr,
				  FPB_RESPECT_WRITE) != nr)
		return 0;
	return order;
}

/*
 * Entry of the PTE at @addr, and in *@next the end of the run of pages from
 * there that are in the same state, as far as that is cheap to tell. It can lie
 * beyond @end.
 */
static unsigned long hmm_pte_entry(const struct mm_walk *walk, pte_t *ptep,
				   unsigned long addr, unsigned long end,
				   unsigned long from, unsigned long *next)
{
	pte_t pte = ptep_get(ptep);
	unsigned long entry;
	unsigned int order;
	struct page *page;

	*next = addr + PAGE_SIZE;
	if (pte_none(pte)) {
		while (*next < end && pte_none(ptep_get(++ptep)))
			*next += PAGE_SIZE;
		return 0;
	}
	if (!pte_present(pte))
		return hmm_softleaf_entry(walk->private,
					  softleaf_from_pte(pte));
	if (pte_protnone(pte))
		return 0;

	entry = hmm_present_entry(pte_pfn(pte), pte_write(pte));
	page = vm_normal_page(walk->vma, addr, pte);
	if (unlikely(!page)) {
		if (is_zero_pfn(pte_pfn(pte)))
			return entry;
		return hmm_special_entry(walk, addr, pte_write(pte));
	}
	if (!PageCompound(page))
		return entry;

	order = hmm_pte_order(walk, ptep, pte, page, addr, from);
	*next = ALIGN_DOWN(addr, PAGE_SIZE << order) + (PAGE_SIZE << order);
	return entry | hmm_order_flags(order);
}

static int hmm_pte_range(pmd_t *pmdp, unsigned long from, unsigned long end,
			 struct mm_walk *walk)
{
	unsigned long addr, next, entry;
	pte_t *ptes, *ptep;
	spinlock_t *ptl;	/* keeps the PTEs and their folios in place */
	int ret = 0;

	ptes = pte_offset_map_lock(walk->mm, pmdp, from, &ptl);
	if (!ptes) {
		/* The entry changed before it was locked: look again. */
		walk->action = ACTION_AGAIN;
		return 0;
	}

	ptep = ptes;
	for (addr = from; addr < end && !ret; addr = next) {
		entry = hmm_pte_entry(walk, ptep, addr, end, from, &next);
		next = min(next, end);
		ret = hmm_emit(walk, addr, next, entry);
		ptep += (next - addr) >> PAGE_SHIFT;
	}
	pte_unmap_unlock(ptes, ptl);
	return ret;
}

#ifdef CONFIG_TRANSPARENT_HUGEPAGE
static unsigned long hmm_pmd_leaf(const struct mm_walk *walk, pmd_t pmd,
				  unsigned long addr)
{
	unsigned long offset = (addr & ~PMD_MASK) >> PAGE_SHIFT;
	unsigned long entry;

	if (pmd_present(pmd)) {
		if (pmd_protnone(pmd))
			return 0;
		if (!vm_normal_page_pmd(walk->vma, addr, pmd) &&
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
	spinlock_t *ptl;	/* keeps the leaf and its folio in place */
	int ret;

	cond_resched();
	ptl = pmd_trans_huge_lock(pmdp, walk->vma);
	if (!ptl)
		return hmm_pte_range(pmdp, addr, end, walk);

	ret = hmm_emit(walk, addr, end,
		       hmm_pmd_leaf(walk, pmdp_get(pmdp), addr));
	spin_unlock(ptl);
	return ret;
}

#ifdef CONFIG_HAVE_ARCH_TRANSPARENT_HUGEPAGE_PUD
static unsigned long hmm_pud_leaf(const struct mm_walk *walk, pud_t pud,
				  unsigned long addr)
{
	unsigned long offset = (addr & ~PUD_MASK) >> PAGE_SHIFT;

	if (!vm_normal_page_pud(walk->vma, addr, pud))
		return HMM_PFN_ERROR;
	return hmm_present_entry(pud_pfn(pud) + offset, pud_write(pud)) |
	       hmm_order_flags(HPAGE_PUD_ORDER);
}

static int hmm_walk_pud(pud_t *pudp, unsigned long addr, unsigned long end,
			struct mm_walk *walk)
{
	spinlock_t *ptl = pud_trans_huge_lock(pudp, walk->vma);
	int ret;

	if (!ptl)
		return 0;

	/* Without this the page walker would split the leaf. */
	walk->action = ACTION_CONTINUE;
	ret = hmm_emit(walk, addr, end,
		       hmm_pud_leaf(walk, pudp_get(pudp), addr));
	spin_unlock(ptl);
	return ret;
}
#else
#define hmm_walk_pud		NULL
#endif

#ifdef CONFIG_HUGETLB_PAGE
static int hmm_walk_hugetlb(pte_t *ptep, unsigned long hmask,
			    unsigned long addr, unsigned long end,
			    struct mm_walk *walk)
{
	struct hstate *h = hstate_vma(walk->vma);
	spinlock_t *ptl = huge_pte_lock(h, walk->mm, ptep);
	unsigned long entry;
	pte_t pte;
	int ret;

	pte = huge_ptep_get(walk->mm, addr & hmask, ptep);
	if (huge_pte_none(pte))
		entry = 0;
	else if (!pte_present(pte))
		entry = hmm_softleaf_entry(walk->private,
					   softleaf_from_pte(pte));
	else if (pte_protnone(pte))
		entry = 0;
	else
		entry = hmm_present_entry(pte_pfn(pte) +
					  ((addr & ~hmask) >> PAGE_SHIFT),
					  huge_pte_write(pte)) |
			hmm_order_flags(huge_page_order(h));

	ret = hmm_emit(walk, addr, end, entry);
	spin_unlock(ptl);
	return ret;
}
#else
#define hmm_walk_hugetlb	NULL
#endif

static int hmm_walk_hole(unsigned long addr, unsigned long end,
			 __always_unused int depth, struct mm_walk *walk)
{
	return hmm_emit(walk, addr, end, walk->vma ? 0 : HMM_PFN_ERROR);
}

/*
 * Some VMAs have nothing that a device could use: no struct pages, or no read
 * permission, which no architecture known here grants separately from write.
 */
static int hmm_walk_test(unsigned long addr, unsigned long end,
			 struct mm_walk *walk)
{
	int ret;

	if (walk->vma->vm_flags & VM_READ &&
	    !(walk->vma->vm_flags & (VM_IO | VM_PFNMAP)))
		return 0;

	ret = hmm_emit(walk, addr, end, HMM_PFN_ERROR);
	return ret ? ret : 1;
}

static const struct mm_walk_ops hmm_walk_ops = {
	.pud_entry	= hmm_walk_pud,
	.pmd_entry	= hmm_walk_pmd,
	.hugetlb_entry	= hmm_walk_hugetlb,
	.pte_hole	= hmm_walk_hole,
	.test_walk	= hmm_walk_test,
	.walk_lock	= PGWALK_RDLOCK,
};

static bool hmm_expired(const struct hmm_walk *hw)
{
	return hw->bounded && time_after(jiffies, hw->deadline);
}

static void hmm_set_deadline(struct hmm_walk *hw, unsigned long timeout)
{
	hw->deadline = jiffies + timeout;
	hw->bounded = timeout;
}

/* Asked before each fault and each new beginning, so that every loop ends. */
static int hmm_may_go_on(const struct hmm_walk *hw)
{
	cond_resched();
	if (fatal_signal_pending(current))
		return -EINTR;
	return hmm_expired(hw) ? -EBUSY : 0;
}

static int hmm_may_fault(struct hmm_walk *hw)
{
	if (hw->fault != hw->faulted) {
		hw->faulted = hw->fault;
		hw->tried = false;
		/*
		 * Without the right to unlock, only a fault handler that gets
		 * nowhere can keep the call from ending.
		 */
		if (!hw->may_unlock)
			hmm_set_deadline(hw, HMM_STALL_TIMEOUT);
	}
	if (hw->write && !(hw->vma->vm_flags & VM_WRITE))
		return -EPERM;
	return hmm_may_go_on(hw);
}

/* The fault step, for one page. */
static int hmm_fault(struct hmm_walk *hw)
{
	unsigned int flags = FAULT_FLAG_REMOTE;
	vm_fault_t fault;
	int ret;

	ret = hmm_may_fault(hw);
	if (ret)
		return ret;

	if (hw->write)
		flags |= FAULT_FLAG_WRITE;
	if (hw->may_unlock)
		flags |= FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_KILLABLE;
	if (hw->tried)
		flags |= FAULT_FLAG_TRIED;

	fault = handle_mm_fault(hw->vma, hw->fault, flags, NULL);
	if (fault & (VM_FAULT_COMPLETED | VM_FAULT_RETRY)) {
		hw->tried = fault & VM_FAULT_RETRY;
		return HMM_STEP_RELOCK;
	}
	if (fault & VM_FAULT_ERROR) {
		ret = vm_fault_to_errno(fault, 0);
		return ret ? ret : -EFAULT;
	}
	return 0;
}

/*
 * Walk and fault in turn up to the end of the range. Invalidations meanwhile do
 * not stop this: what has been faulted in remains to be found by the walk that
 * follows a restart, so a storm of them cannot keep a call from its end.
 */
static int hmm_range_populate(struct hmm_walk *hw)
{
	struct hmm_range *range = hw->range;
	struct mm_struct *mm = range->notifier->mm;
	int ret;

	mmap_assert_locked(mm);
	do {
		ret = walk_page_range(mm, hw->addr, range->end, &hmm_walk_ops,
				      hw);
		if (ret == HMM_STEP_FAULT)
			ret = hmm_fault(hw);
		else
			return ret;
	} while (!ret);
	return ret;
}

/* hmm_range_populate() with locks of its own; ends with none held. */
static int hmm_range_populate_unlocked(struct hmm_walk *hw)
{
	struct mm_struct *mm = hw->range->notifier->mm;
	int ret;

	do {
		ret = mmap_read_lock_killable(mm);
		if (ret)
			return ret;

		/* The OOM reaper has taken pages that a fault would zero. */
		ret = check_stable_address_space(mm) ? -EFAULT :
			hmm_range_populate(hw);
		if (ret != HMM_STEP_RELOCK)
			mmap_read_unlock(mm);
	} while (ret == HMM_STEP_RELOCK);
	return ret;
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
	       range->end - 1 <= covered->last;
}

static size_t hmm_range_npages(const struct hmm_range *range)
{
	return (range->end - range->start) >> PAGE_SHIFT;
}

/* Set up @hw for a call that faults. Ends with hmm_walk_fini(). */
static int hmm_walk_init(struct hmm_walk *hw, struct hmm_range *range,
			 bool may_unlock)
{
	unsigned long extra = range->pfn_flags_mask & ~range->default_flags;

	if (!hmm_range_is_sane(range))
		return -EINVAL;

	*hw = (struct hmm_walk) {
		.range = range,
		.default_flags = range->default_flags,
		.addr = range->start,
		.may_unlock = may_unlock,
		.faulted = range->end,
	};
	if (extra & HMM_PFN_ACCESS) {
		hw->requests = kvmemdup(range->hmm_pfns,
					hmm_range_npages(range) *
					sizeof(*range->hmm_pfns), GFP_KERNEL);
		if (!hw->requests)
			return -ENOMEM;
	}
	return 0;
}

/* After a failure the caller may call again: give it its requests back. */
static int hmm_walk_fini(struct hmm_walk *hw, int ret)
{
	unsigned long *pfns = hw->range->hmm_pfns;
	size_t i;

	if (ret && hw->requests) {
		for (i = 0; i < hmm_range_npages(hw->range); i++)
			pfns[i] = (pfns[i] & HMM_PFN_STICKY) |
				  (hw->requests[i] & ~HMM_PFN_STICKY);
	}
	kvfree(hw->requests);
	return ret;
}

/**
 * hmm_range_snapshot() - report what the page tables map, without faulting
 * @range: the range; @default_flags and @pfn_flags_mask are not looked at
 *
 * Changes nothing in the address space: no fault, no accessed or dirty bit.
 *
 * Context: May sleep. The caller holds the mmap lock of the notifier's mm for
 * read or write and has set @range->notifier_seq by mmu_interval_read_begin().
 *
 * Return: 0 if every entry of @range->hmm_pfns is set, to be used as
 * include/linux/hmm.h says, or:
 *
 * * %-EINVAL: start or end is not page aligned, start is not below end, or the
 *   notifier does not cover [start, end).
 * * %-EBUSY: @range->notifier_seq is out of date already, begin anew.
 */
int hmm_range_snapshot(struct hmm_range *range)
{
	struct hmm_walk hw = {
		.range = range,
		.addr = range->start,
	};

	if (!hmm_range_is_sane(range))
		return -EINVAL;
	return hmm_range_collided(range) ? -EBUSY : hmm_range_populate(&hw);
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
 * asked for. Each fault counts for as many pages as it installed.
 *
 * Context: May sleep. The caller holds the mmap lock of the notifier's mm for
 * read or write and has set @range->notifier_seq by mmu_interval_read_begin().
 * The lock is held all along.
 *
 * Return: 0 if every page has what was asked of it and every entry of
 * @range->hmm_pfns is set, to be used as include/linux/hmm.h says, or:
 *
 * * %-EINVAL: start or end is not page aligned, start is not below end, or the
 *   notifier does not cover [start, end).
 * * %-EPERM: write access was asked for in a VMA that does not have it.
 * * %-EFAULT: a page cannot be made present: what snapshots report as
 *   %HMM_PFN_ERROR, or a fault that failed as it would have for the CPU, with
 *   SIGBUS or SIGSEGV.
 * * %-ENOMEM: no memory for the page or for the call itself.
 * * %-EINTR: a fatal signal is pending.
 * * %-EBUSY: @range->notifier_seq is out of date already, or faults on one page
 *   made no progress for %HMM_RANGE_DEFAULT_TIMEOUT ms. The caller begins anew,
 *   within a time limit of its own.
 */
int hmm_range_fault(struct hmm_range *range)
{
	struct hmm_walk hw;
	int ret;

	ret = hmm_walk_init(&hw, range, false);
	if (ret)
		return ret;

	ret = hmm_range_collided(range) ? -EBUSY : hmm_range_populate(&hw);
	return hmm_walk_fini(&hw, ret);
}
EXPORT_SYMBOL_GPL(hmm_range_fault);

/**
 * hmm_range_fault_unlocked_timeout() - make pages present
 * @range: the range, with what is asked of its pages
 * @timeout: jiffies after which to give up, 0 to go on for ever
 *
 * The usual way to fault. Like hmm_range_fault(), but takes the mmap lock by
 * itself and lets fault handlers drop it, and begins anew by itself after
 * invalidations.
 *
 * @timeout limits the call as a whole. It is looked at before each fault and
 * before each new beginning; a single fault or invalidation that is under way
 * then is waited for.
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

	ret = hmm_walk_init(&hw, range, true);
	if (ret)
		return ret;

	hmm_set_deadline(&hw, timeout);
	do {
		ret = hmm_may_go_on(&hw);
		if (ret)
			break;
		range->notifier_seq = mmu_interval_read_begin(range->notifier);
		hw.addr = range->start;
		ret = hmm_range_populate_unlocked(&hw);
	} while (!ret && hmm_range_collided(range));

	return hmm_walk_fini(&hw, ret);
}
EXPORT_SYMBOL_GPL(hmm_range_fault_unlocked_timeout);

#if IS_ENABLED(CONFIG_HMM_KUNIT_TEST)
#include "tests/hmm_kunit.c"
#endif
