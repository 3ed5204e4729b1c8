// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * HMM DMA layer: give a device DMA addresses for what a range walk has found,
 * and take them away again.
 *
 * A view records what a device can reach in one window of an address space. The
 * window consists of slots of 2 MiB (with 4 KiB pages). A slot holds either one
 * entry, if physically contiguous memory fills it, or a table with an entry for
 * each page, so the record grows with the number of leaves.
 *
 * What is mapped by one call of the DMA API has to be unmapped as a whole: the
 * IOMMU may have made large entries of it. The first page of each such link is
 * marked. A link is a contiguous run, but never crosses the bounds of a leaf,
 * nor, if it consists of smaller ones, those of a slot, so that an invalidation
 * does not take much more than it asks for. Of pages in a table that need no such
 * call, each is a link.
 *
 * Behind an IOMMU the window has an IOVA range of its own, which is congruent to
 * the virtual addresses modulo the largest leaf. The IOMMU can then have an entry
 * as large as the leaf, and addresses need not be kept.
 *
 * Device-private memory that another device offers is asked for anew when it is
 * mapped: the walk that has found it knew no more than that it was on offer. From
 * then on it is P2P memory to the record, but its bus address is kept, since the
 * struct page does not tell it.
 *
 * Locking: all of a view is protected by its owner's update lock, but for new
 * tables: these are put in place without it, by cmpxchg() on an empty pointer,
 * because memory must not be waited for under that lock.
 */
#include <linux/dma-direct.h>
#include <linux/dma-map-ops.h>
#include <linux/dma-mapping.h>
#include <linux/hmm.h>
#include <linux/hmm_dma.h>
#include <linux/iommu.h>
#include <linux/iommu-dma.h>
#include <linux/memremap.h>
#include <linux/pagemap.h>
#include <linux/pci-p2pdma.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/swiotlb.h>

#include "hmm_internal.h"
#include "hmm_peer.h"

#define SLOT_ORDER	9
#define SLOT_PAGES	BIT(SLOT_ORDER)
#define SLOT_SIZE	(SLOT_PAGES << PAGE_SHIFT)

/* Page maps begin and end at multiples of that many pages. */
#ifdef CONFIG_ZONE_DEVICE
#define PGMAP_PAGES	PAGES_PER_SUBSECTION
#else
#define PGMAP_PAGES	SLOT_PAGES
#endif

/*
 * An entry of a view has the format of hmm_range.hmm_pfns, but means what the
 * device was given: HMM_PFN_WRITE if it may write. The order is that of a block
 * that is part of one link. Other bits have a meaning of their own.
 */
#define ENTRY_FIRST	HMM_PFN_ERROR			/* first of its link */
#define ENTRY_PRIVATE	BIT(BITS_PER_LONG - 4)		/* device-private */
#define ENTRY_HOST	BIT(BITS_PER_LONG - 5)		/* P2P, through the host */
#define ENTRY_BUS	BIT(BITS_PER_LONG - 6)		/* P2P, by bus address */
#define ENTRY_P2P	(ENTRY_HOST | ENTRY_BUS)
#define ENTRY_ORDER	(0x1fUL << HMM_PFN_ORDER_SHIFT)
/* In what the entries of a run are the same. */
#define ENTRY_ALIKE	(HMM_PFN_WRITE | ENTRY_PRIVATE | ENTRY_BUS | \
			 ENTRY_ORDER)

/**
 * struct hmm_dma_slot - SLOT_PAGES pages of a view
 * @leaf: entry of the first page if one link fills the slot, else 0
 * @pages: entries of the pages, followed by their addresses in a view that has to
 *	keep them; or NULL
 * @addr: DMA address of @leaf in such a view
 * @used: entries of @pages that are not 0; 0 if @leaf is set
 */
struct hmm_dma_slot {
	unsigned long leaf;
	unsigned long *pages;
	dma_addr_t addr;
	unsigned int used;
};

/**
 * struct hmm_dma_link - what was mapped in one piece
 * @start: virtual address
 * @npages: length in pages
 * @entry: entry of its first page
 * @addr: DMA address of its first page, if kept
 */
struct hmm_dma_link {
	unsigned long start;
	unsigned long npages;
	unsigned long entry;
	dma_addr_t addr;
};

/**
 * struct hmm_dma_map_args - one call of hmm_range_dma_map()
 * @view: the view
 * @flags: enum hmm_dma_flags
 * @p2p: the provider of peer-to-peer memory looked up last
 * @linked: something new is in the IOVA range
 */
struct hmm_dma_map_args {
	struct hmm_dma_view *view;
	unsigned int flags;
	struct pci_p2pdma_map_state p2p;
	bool linked;
};

static void hmm_dma_assert_locked(struct hmm_dma_view *view)
{
	lockdep_assert(!view->update_lock || lock_is_held(view->update_lock));
}

/* Each address is kept if nothing else tells what to unmap. */
static bool hmm_dma_keeps_addrs(struct hmm_dma_view *view)
{
	return view->dev && (view->peers || !dma_use_iova(&view->iova));
}

/* Is there a device that may be given private memory of others? */
static bool hmm_dma_takes_peers(struct hmm_dma_view *view)
{
	return view->dev && view->peers;
}

static struct hmm_dma_slot *hmm_dma_slot(struct hmm_dma_view *view,
					 unsigned long va)
{
	return &view->slots[va / SLOT_SIZE - view->start / SLOT_SIZE];
}

static unsigned int hmm_dma_index(unsigned long va)
{
	return va % SLOT_SIZE >> PAGE_SHIFT;
}

static unsigned long hmm_dma_slot_end(unsigned long va, unsigned long end)
{
	return min(end - 1, va | (SLOT_SIZE - 1)) + 1;
}

static dma_addr_t *hmm_dma_addrs(const struct hmm_dma_slot *slot)
{
	return (dma_addr_t *)(slot->pages + SLOT_PAGES);
}

static size_t hmm_dma_table_size(struct hmm_dma_view *view)
{
	size_t entry = sizeof(unsigned long);

	if (hmm_dma_keeps_addrs(view))
		entry += sizeof(dma_addr_t);
	return SLOT_PAGES * entry;
}

static unsigned long hmm_dma_nr_slots(struct hmm_dma_view *view)
{
	return (view->end - 1) / SLOT_SIZE - view->start / SLOT_SIZE + 1;
}

/* ---- Views ---- */

/* Without an IOMMU, or with one that the architecture lets a device bypass. */
static bool hmm_dma_is_direct(struct device *dev)
{
	if (!get_dma_ops(dev))
		return !dma_addressing_limited(dev);
	return IS_ENABLED(CONFIG_DMA_OPS_BYPASS) && dev_dma_ops_bypass(dev) &&
	       min_not_zero(dma_get_mask(dev), dev->bus_dma_limit) >=
	       dma_direct_get_required_mask(dev);
}

/*
 * CPU and device use a page at the same time for as long as it is mapped. That
 * leaves no moment to hand a bounce buffer or cache lines over. And when unmapping
 * returns, the device has to be kept out, which DMA operations of an architecture
 * need not do before the next mapping.
 */
static bool hmm_dma_is_possible(struct device *dev)
{
	if (!dev_is_dma_coherent(dev))
		return false;
	return use_dma_iommu(dev) ||
	       (hmm_dma_is_direct(dev) && !is_swiotlb_force_bounce(dev));
}

/*
 * The allocator aligns a range to its size rounded up to a power of two. It is
 * made large enough for that to be the alignment that is wanted.
 */
static int hmm_dma_alloc_iova(struct hmm_dma_view *view)
{
	unsigned long size = view->end - view->start;
	unsigned long align = PUD_SIZE;

	if (size <= PUD_SIZE / 2)
		align = max(roundup_pow_of_two(size), PAGE_SIZE);
	view->iova_start = view->start & ~(align - 1);
	size = view->end - view->iova_start;
	if (dma_iova_try_alloc(view->dev, &view->iova, 0, size))
		return 0;

	/*
	 * Without a range of its own the device would depend on unmapping that
	 * may leave the IOTLB as it is for a while.
	 */
	return use_dma_iommu(view->dev) ? -ENOSPC : 0;
}

/**
 * hmm_dma_view_init() - set up the view of a window
 * @view: the view
 * @dev: the device. Its driver has set its DMA mask. %NULL if the CPU accesses
 *	the pages in its place: nothing is mapped then, but everything else holds,
 *	the record of what may have been written first of all.
 * @ops: callbacks, of which there need be none
 * @start: first byte of the window, page aligned
 * @end: first byte after the window, page aligned, above @start
 *
 * The window is usually what the owner's notifier covers; it must not be larger.
 * It costs 32 bytes per 2 MiB, whatever is mapped, and if there is an IOMMU an
 * IOVA range, which is larger than the window by up to the size of a PUD.
 *
 * Context: May sleep.
 *
 * Return: 0, or:
 *
 * * %-EINVAL: @start or @end is not aligned, or the window is empty.
 * * %-EOPNOTSUPP: @dev does not reach all memory coherently without a bounce
 *   buffer, or its architecture has DMA operations of its own for it.
 * * %-ENOSPC: no IOVA range of that size is free.
 * * %-ENOMEM: no memory for the record.
 */
int hmm_dma_view_init(struct hmm_dma_view *view, struct device *dev,
		      const struct hmm_dma_ops *ops, unsigned long start,
		      unsigned long end)
{
	int ret;

	if (start >= end || !PAGE_ALIGNED(start | end))
		return -EINVAL;
	if (dev && !hmm_dma_is_possible(dev))
		return -EOPNOTSUPP;

	*view = (struct hmm_dma_view) {
		.dev = dev, .ops = ops, .start = start, .end = end,
	};
	view->slots = kvcalloc(hmm_dma_nr_slots(view), sizeof(*view->slots),
			       GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!view->slots)
		return -ENOMEM;

	ret = dev ? hmm_dma_alloc_iova(view) : 0;
	if (ret) {
		kvfree(view->slots);
		view->slots = NULL;
	}
	return ret;
}
EXPORT_SYMBOL_GPL(hmm_dma_view_init);

static void hmm_dma_free_table(struct hmm_dma_view *view,
			       struct hmm_dma_slot *slot)
{
	kfree(slot->pages);
	WRITE_ONCE(slot->pages, NULL);
	atomic_long_dec(&view->nr_tables);
}

/**
 * hmm_dma_view_destroy() - free a view
 * @view: the view, with nothing mapped in it: the last thing that its owner does
 *	under the update lock, before it removes its notifier, is to unmap all of
 *	the window
 *
 * Context: May sleep. Nobody else uses @view any more.
 */
void hmm_dma_view_destroy(struct hmm_dma_view *view)
{
	unsigned long i;

	for (i = 0; i < hmm_dma_nr_slots(view); i++) {
		struct hmm_dma_slot *slot = &view->slots[i];

		WARN_ON_ONCE(slot->leaf || slot->used);
		if (slot->pages)
			hmm_dma_free_table(view, slot);
		cond_resched();
	}
	if (dma_use_iova(&view->iova))
		dma_iova_free(view->dev, &view->iova);
	kvfree(view->slots);
	view->slots = NULL;
}
EXPORT_SYMBOL_GPL(hmm_dma_view_destroy);

/**
 * hmm_dma_view_trim() - free what a view holds for pages that are not mapped
 * @view: the view
 * @start: first byte of the range, page aligned, in the window
 * @end: first byte after the range, page aligned, in the window
 *
 * Of each slot that the range touches, also of what hmm_range_dma_prepare() got a
 * moment ago.
 *
 * Context: Under the update lock.
 */
void hmm_dma_view_trim(struct hmm_dma_view *view, unsigned long start,
		       unsigned long end)
{
	hmm_dma_assert_locked(view);
	for (; start < end; start = hmm_dma_slot_end(start, end)) {
		struct hmm_dma_slot *slot = hmm_dma_slot(view, start);

		if (READ_ONCE(slot->pages) && !slot->used)
			hmm_dma_free_table(view, slot);
	}
}

/**
 * hmm_dma_view_memory() - memory that a view uses for its record
 * @view: the view
 *
 * Context: Any. Without the update lock the answer may be out of date.
 *
 * Return: bytes.
 */
size_t hmm_dma_view_memory(struct hmm_dma_view *view)
{
	return hmm_dma_nr_slots(view) * sizeof(*view->slots) +
	       atomic_long_read(&view->nr_tables) * hmm_dma_table_size(view);
}
EXPORT_SYMBOL_GPL(hmm_dma_view_memory);

/* ---- Going through a view ---- */

/* First page from @va on that is mapped, or @end. */
static unsigned long hmm_dma_next_mapped(struct hmm_dma_view *view,
					 unsigned long va, unsigned long end)
{
	while (va < end) {
		struct hmm_dma_slot *slot = hmm_dma_slot(view, va);
		unsigned int i = hmm_dma_index(va);

		if (slot->leaf)
			return va;
		if (slot->used) {
			while (i < SLOT_PAGES && !slot->pages[i])
				i++;
			if (i < SLOT_PAGES) {
				va = (va & ~(SLOT_SIZE - 1)) + i * PAGE_SIZE;
				return min(va, end);
			}
		}
		va = hmm_dma_slot_end(va, end);
	}
	return end;
}

/* Does a link begin before @va and go on there? */
static bool hmm_dma_is_inside_link(struct hmm_dma_view *view,
				   unsigned long va)
{
	struct hmm_dma_slot *slot = hmm_dma_slot(view, va);
	unsigned int i = hmm_dma_index(va);

	if (slot->leaf)
		return i || !(slot->leaf & ENTRY_FIRST);
	return slot->used && slot->pages[i] && !(slot->pages[i] & ENTRY_FIRST);
}

/* First byte of the link that has the page at @va. */
static unsigned long hmm_dma_link_start(struct hmm_dma_view *view,
					unsigned long va)
{
	while (hmm_dma_is_inside_link(view, va)) {
		if (hmm_dma_slot(view, va)->leaf && hmm_dma_index(va))
			va &= ~(SLOT_SIZE - 1);
		else if (hmm_dma_slot(view, va)->leaf)
			va -= SLOT_SIZE;
		else
			va -= PAGE_SIZE;
	}
	return va;
}

/* The link whose first page is at @va. */
static void hmm_dma_get_link(struct hmm_dma_view *view, unsigned long va,
			     struct hmm_dma_link *link)
{
	struct hmm_dma_slot *slot = hmm_dma_slot(view, va);
	unsigned int first = hmm_dma_index(va), i = first + 1;
	unsigned long n = SLOT_PAGES;

	link->start = va;
	if (slot->leaf) {
		link->entry = slot->leaf;
		link->addr = slot->addr;
		for (va += SLOT_SIZE; va < view->end; va += SLOT_SIZE) {
			slot++;
			if (!slot->leaf || slot->leaf & ENTRY_FIRST)
				break;
			n += SLOT_PAGES;
		}
		link->npages = n;
		return;
	}

	link->entry = slot->pages[first];
	link->addr = hmm_dma_keeps_addrs(view) ? hmm_dma_addrs(slot)[first] : 0;
	while (i < SLOT_PAGES && slot->pages[i] &&
	       !(slot->pages[i] & ENTRY_FIRST))
		i++;
	link->npages = i - first;
}

/* The first link that begins in [va, end). */
static bool hmm_dma_next_link(struct hmm_dma_view *view, unsigned long va,
			      unsigned long end, struct hmm_dma_link *link)
{
	va = hmm_dma_next_mapped(view, va, end);
	if (va == end)
		return false;
	hmm_dma_get_link(view, va, link);
	return true;
}

static unsigned long hmm_dma_link_end(const struct hmm_dma_link *link)
{
	return link->start + (link->npages << PAGE_SHIFT);
}

/* ---- Mapping ---- */

static unsigned long hmm_dma_attrs(unsigned long entry)
{
	return DMA_ATTR_REQUIRE_COHERENT |
	       (entry & ENTRY_HOST ? DMA_ATTR_MMIO : 0);
}

static enum dma_data_direction hmm_dma_dir(unsigned long entry)
{
	return entry & HMM_PFN_WRITE ? DMA_BIDIRECTIONAL : DMA_TO_DEVICE;
}

/* Has the DMA API a mapping of it, in a view that has a device? */
static bool hmm_dma_is_linked(unsigned long entry)
{
	return (entry & (HMM_PFN_VALID | ENTRY_PRIVATE | ENTRY_BUS)) ==
	       HMM_PFN_VALID;
}

/* What the DMA API knows nothing of can be unmapped page by page. */
static bool hmm_dma_is_divisible(struct hmm_dma_view *view, unsigned long entry)
{
	return !view->dev || !hmm_dma_is_linked(entry);
}

static __always_inline int hmm_dma_link(struct hmm_dma_map_args *map,
					struct hmm_dma_link *link,
					phys_addr_t phys)
{
	struct hmm_dma_view *view = map->view;
	enum dma_data_direction dir = hmm_dma_dir(link->entry);
	size_t size = link->npages << PAGE_SHIFT;
	unsigned long attrs = hmm_dma_attrs(link->entry);

	if (hmm_dma_is_divisible(view, link->entry))
		return 0;
	if (dma_use_iova(&view->iova)) {
		map->linked = true;
		return dma_iova_link(view->dev, &view->iova, phys,
				     link->start - view->iova_start, size, dir,
				     attrs);
	}
	link->addr = dma_map_phys(view->dev, phys, size, dir, attrs);
	return dma_mapping_error(view->dev, link->addr);
}

/* What kind of device memory it is: flags of an entry, or an errno. */
static long hmm_dma_classify(struct hmm_dma_map_args *map, struct page *page)
{
	if (is_device_private_page(page))
		return map->flags & HMM_DMA_TAKE_PRIVATE ? ENTRY_PRIVATE :
							   -EOPNOTSUPP;
	if (!map->view->dev)
		return 0;

	switch (pci_p2pdma_state(&map->p2p, map->view->dev, page)) {
	case PCI_P2PDMA_MAP_NONE:
		return 0;
	case PCI_P2PDMA_MAP_BUS_ADDR:
		return ENTRY_BUS;
	case PCI_P2PDMA_MAP_THRU_HOST_BRIDGE:
		return ENTRY_HOST;
	default:
		return -EREMOTEIO;
	}
}

/*
 * Map device-private pages of another device. The owner offers them or not, now
 * that they are known to be still there. As to an errno, all refusals are the
 * same, that of the DMA API among them: the device does not get at the pages where
 * they are, but would in system memory. Only memory may be there a little later.
 */
static int hmm_dma_link_peer(struct hmm_dma_map_args *map,
			     struct hmm_dma_link *link)
{
	struct page *page = hmm_pfn_to_page(link->entry);
	struct hmm_dma_view *view = map->view;
	struct hmm_peer_addr at;
	int ret;

	link->entry &= ~(HMM_PFN_PEER & ~HMM_PFN_VALID);
	if (!hmm_dma_takes_peers(view) || hmm_peer_ask(page, view->dev, &at)) {
		/* The next folio may be on offer. */
		link->npages = min(link->npages, hmm_peer_left(page));
		return -EREMOTEIO;
	}
	link->npages = hmm_peer_run(page, view->dev, &at, link->npages);

	link->entry |= at.by_bus ? ENTRY_BUS : ENTRY_HOST;
	link->addr = at.bus;
	ret = hmm_dma_link(map, link, at.phys);
	return ret && ret != -ENOMEM ? -EREMOTEIO : ret;
}

/* Map device memory. */
static noinline int hmm_dma_link_device(struct hmm_dma_map_args *map,
					struct hmm_dma_link *link)
{
	struct hmm_peer_addr at = { .phys = hmm_pfn_to_phys(link->entry) };
	long kind;

	if (hmm_pfn_is_peer(link->entry)) {
		int ret = hmm_dma_link_peer(map, link);

		if (ret == -EREMOTEIO && !map->view->refused)
			map->view->refused = link->start + PAGE_SIZE;
		return ret;
	}
	kind = hmm_dma_classify(map, hmm_pfn_to_page(link->entry));
	if (kind < 0)
		return kind;
	link->entry |= kind;
	if (kind == ENTRY_BUS) {
		at.bus = pci_p2pdma_bus_addr_map(map->p2p.mem, at.phys);
		at.by_bus = true;
		link->addr = at.bus;
	}
	if (kind & ENTRY_P2P && !hmm_peer_addresses(map->view->dev, &at,
						    link->npages << PAGE_SHIFT))
		return -EREMOTEIO;
	return hmm_dma_link(map, link, at.phys);
}

static void hmm_dma_drop(struct hmm_dma_view *view, unsigned long start,
			 unsigned long end);

/*
 * Does what is mapped serve for what was found? Most of all it does not when a
 * page has become writable and is to be written.
 */
static bool hmm_dma_keep(struct hmm_dma_map_args *map, unsigned long va,
			 unsigned long old, unsigned long found)
{
	unsigned long want = found;

	if (map->flags & HMM_DMA_READ_ONLY)
		want &= ~HMM_PFN_WRITE;
	if (!((old ^ found) & ~HMM_PFN_FLAGS) &&
	    !(want & ~old & HMM_PFN_WRITE) && !(old & ~found & HMM_PFN_WRITE))
		return true;
	hmm_dma_drop(map->view, va, va + PAGE_SIZE);
	return false;
}

/* How many of the pages from @entry on belong to one page map, or to none? */
static unsigned long hmm_dma_trim(unsigned long entry, unsigned long npages)
{
	unsigned long pfn = entry & ~HMM_PFN_FLAGS;

	if (hmm_pfn_to_map_order(entry) >= SLOT_ORDER ||
	    zone_device_pages_have_same_pgmap(pfn_to_page(pfn),
					      pfn_to_page(pfn + npages - 1)))
		return npages;
	return ALIGN(pfn + 1, PGMAP_PAGES) - pfn;
}

/* Inlined as far as to have the link in registers for scattered pages. */
static __always_inline int hmm_dma_make_link(struct hmm_dma_map_args *map,
					     struct hmm_dma_link *link)
{
	phys_addr_t phys = hmm_pfn_to_phys(link->entry);

	if (map->flags & HMM_DMA_READ_ONLY)
		link->entry &= ~HMM_PFN_WRITE;
	if (link->npages > 1)
		link->npages = hmm_dma_trim(link->entry, link->npages);
	if (is_zone_device_page(hmm_pfn_to_page(link->entry))) {
		/* Whose address is passed on is not in registers. */
		struct hmm_dma_link device = *link;
		int ret = hmm_dma_link_device(map, &device);

		*link = device;
		return ret;
	}
	return hmm_dma_link(map, link, phys);
}

/*
 * Does what begins at @va fill its slot and make one link? Small pages do if the
 * IOMMU can have one entry for them. They cannot be of two page maps then, which
 * only the update lock would allow to look at. Where a peer's lie, only their owner
 * knows.
 */
static bool hmm_dma_fills_slot(struct hmm_dma_view *view, unsigned long va,
			       unsigned long end, unsigned long entry)
{
	if (va % SLOT_SIZE || end - va < SLOT_SIZE)
		return false;
	if (hmm_pfn_to_map_order(entry) >= SLOT_ORDER)
		return true;
	if (!view->dev || hmm_pfn_is_peer(entry))
		return false;
	return !(entry % SLOT_PAGES) && SLOT_PAGES <= PGMAP_PAGES;
}

/* Of what could not be linked, how many pages to leave out, or the errno. */
static long hmm_dma_skip(struct hmm_dma_map_args *map,
			 const struct hmm_dma_link *link, int ret)
{
	if (ret == -EREMOTEIO && map->flags & HMM_DMA_SKIP_REMOTE)
		return link->npages;
	return ret;
}

/*
 * Map what is contiguous in slots that it fills, as one link. Not inlined: it is
 * the loop over scattered pages that has to be fast.
 */
static noinline long hmm_dma_map_slots(struct hmm_dma_map_args *map,
				       struct hmm_dma_slot *slot,
				       unsigned long va, unsigned long end,
				       unsigned long entry)
{
	unsigned int order = max(hmm_pfn_to_map_order(entry), SLOT_ORDER);
	struct hmm_dma_link link = { .start = va, .entry = entry };
	unsigned long size = PAGE_SIZE << order;
	unsigned long i, n;
	int ret;

	end = min(end - 1, va | (size - 1)) + 1;
	for (n = 1; n < (end - va) / SLOT_SIZE; n++)
		if (slot[n].leaf || slot[n].used)
			break;
	link.npages = n * SLOT_PAGES;
	ret = hmm_dma_make_link(map, &link);
	if (ret)
		return hmm_dma_skip(map, &link, ret);

	if (n * SLOT_SIZE < size)
		order = SLOT_ORDER;
	link.entry &= ~ENTRY_ORDER;
	link.entry |= (unsigned long)order << HMM_PFN_ORDER_SHIFT;
	for (i = 0; i < n; i++) {
		slot[i].leaf = link.entry + i * SLOT_PAGES;
		slot[i].addr = link.addr + i * SLOT_SIZE;
	}
	slot->leaf |= ENTRY_FIRST;
	map->view->npages += link.npages;
	return link.npages;
}

/* Map what is contiguous of the pages of a slot, as one link. */
static long hmm_dma_map_pages(struct hmm_dma_map_args *map,
			      struct hmm_dma_slot *slot, unsigned long va,
			      unsigned long end, unsigned long entry)
{
	struct hmm_dma_link link = { .start = va, .entry = entry, .npages = 1 };
	struct hmm_dma_view *view = map->view;
	unsigned long n = (hmm_dma_slot_end(va, end) - va) >> PAGE_SHIFT;
	unsigned int first = hmm_dma_index(va);
	unsigned long *pages = slot->pages + first;
	unsigned long i;
	int ret;

	while (link.npages < n && !pages[link.npages])
		link.npages++;
	ret = hmm_dma_make_link(map, &link);
	if (ret)
		return hmm_dma_skip(map, &link, ret);

	link.entry &= ~ENTRY_ORDER;
	pages[0] = link.entry | ENTRY_FIRST;
	if (link.npages > 1 && hmm_dma_is_divisible(view, link.entry))
		link.entry |= ENTRY_FIRST;
	for (i = 1; i < link.npages; i++)
		pages[i] = link.entry + i;
	if (hmm_dma_keeps_addrs(view))
		for (i = 0; i < link.npages; i++)
			hmm_dma_addrs(slot)[first + i] =
				link.addr + (i << PAGE_SHIFT);
	slot->used += link.npages;
	view->npages += link.npages;
	return link.npages;
}

static bool hmm_dma_slot_is_writable(const struct hmm_dma_slot *slot)
{
	unsigned int i;

	for (i = 0; slot->used && i < SLOT_PAGES; i++)
		if (slot->pages[i] & HMM_PFN_WRITE)
			return true;
	return false;
}

/*
 * Can all of the slot at @va become one link? Pieces of what fills it are worth
 * to be unmapped for that, unless some of them can be written to and the link
 * could not.
 */
static bool hmm_dma_empty(struct hmm_dma_map_args *map, unsigned long va)
{
	struct hmm_dma_slot *slot = hmm_dma_slot(map->view, va);

	if (slot->used && !(map->flags & HMM_DMA_READ_ONLY &&
			    hmm_dma_slot_is_writable(slot)))
		hmm_dma_drop(map->view, va, va + SLOT_SIZE);
	return !slot->used;
}

/*
 * Map what can be mapped in one piece of [@va, @end), where @found is the range's
 * entry of the page at @va and the others follow physically.
 *
 * Returns: how many pages that were, or a negative errno.
 */
static long hmm_dma_map_some(struct hmm_dma_map_args *map, unsigned long va,
			     unsigned long end, unsigned long found)
{
	struct hmm_dma_slot *slot = hmm_dma_slot(map->view, va);
	unsigned int i = hmm_dma_index(va);

	if (slot->leaf && hmm_dma_keep(map, va, slot->leaf + i, found))
		return (hmm_dma_slot_end(va, end) - va) >> PAGE_SHIFT;

	if (hmm_dma_fills_slot(map->view, va, end, found) &&
	    hmm_dma_empty(map, va))
		return hmm_dma_map_slots(map, slot, va, end, found);
	/* Others put it there without the update lock. */
	if (!READ_ONCE(slot->pages))
		return -EAGAIN;
	if (slot->pages[i] && hmm_dma_keep(map, va, slot->pages[i], found))
		return 1;
	return hmm_dma_map_pages(map, slot, va, end, found);
}

static int hmm_dma_map_run(struct hmm_dma_map_args *map,
			   const struct hmm_extent *run)
{
	unsigned long va = run->start, end = hmm_extent_end(run);
	unsigned long entry = run->entry;

	while (va < end) {
		long n = hmm_dma_map_some(map, va, end, entry);

		if (n < 0)
			return n;
		va += n << PAGE_SHIFT;
		entry += n;
	}
	return 0;
}

/* Go through what a range has: extents, or runs of pfns by way of @run. */
static const struct hmm_extent *
hmm_dma_range_next(const struct hmm_range *range, struct hmm_extent *run,
		   unsigned int *i)
{
	if (!range->extents)
		return hmm_range_next_run(range, run) ? run : NULL;
	return *i < range->nr_extents ? &range->extents[(*i)++] : NULL;
}

static unsigned long hmm_dma_run_entry(const struct hmm_extent *run,
				       unsigned long va)
{
	return run->entry + ((va - run->start) >> PAGE_SHIFT);
}

static bool hmm_dma_has_range(struct hmm_dma_view *view,
			      const struct hmm_range *range)
{
	return range->start >= view->start && range->next <= view->end;
}

/* Of its addresses only those are read that a page has been mapped by. */
static unsigned long *hmm_dma_alloc_table(struct hmm_dma_view *view)
{
	unsigned long *pages = kmalloc(hmm_dma_table_size(view),
				       GFP_KERNEL_ACCOUNT | __GFP_NOWARN);

	if (pages)
		memset(pages, 0, SLOT_PAGES * sizeof(*pages));
	return pages;
}

/**
 * hmm_range_dma_prepare() - get the memory that hmm_range_dma_map() needs
 * @range: a range after a call that returned 0
 * @view: the view, whose window has [@range->start, @range->next)
 *
 * Memory must not be waited for under the update lock, so this comes before it
 * is taken. It is for the record; page tables of the IOMMU are allocated without
 * waiting when something is mapped. What an invalidation has meanwhile made
 * useless is freed with the view, or by an unmapping of all of its 2 MiB.
 *
 * Context: May sleep, and wait for memory. Not under the update lock; the entries
 * of @range may be stale already.
 *
 * Return: 0, or:
 *
 * * %-EINVAL: the range is not in the window.
 * * %-ENOMEM: no memory.
 */
int hmm_range_dma_prepare(const struct hmm_range *range,
			  struct hmm_dma_view *view)
{
	const struct hmm_extent *run;
	struct hmm_extent next = {};
	unsigned long done = 0;
	unsigned int i = 0;

	might_sleep();
	lockdep_assert(!view->update_lock || !lock_is_held(view->update_lock));
	if (!hmm_dma_has_range(view, range))
		return -EINVAL;

	while ((run = hmm_dma_range_next(range, &next, &i))) {
		unsigned long va = max(run->start, done);
		unsigned long end = hmm_extent_end(run);

		if (!(run->entry & HMM_PFN_VALID))
			continue;
		for (; va < end; va = hmm_dma_slot_end(va, end)) {
			struct hmm_dma_slot *slot = hmm_dma_slot(view, va);
			unsigned long entry = hmm_dma_run_entry(run, va);
			unsigned long *table;

			if (hmm_dma_fills_slot(view, va, end, entry))
				continue;
			done = hmm_dma_slot_end(va, view->end);
			if (READ_ONCE(slot->pages))
				continue;
			table = hmm_dma_alloc_table(view);
			if (!table)
				return -ENOMEM;
			atomic_long_inc(&view->nr_tables);
			if (cmpxchg(&slot->pages, NULL, table)) {
				atomic_long_dec(&view->nr_tables);
				kfree(table);
			}
		}
	}
	return 0;
}
EXPORT_SYMBOL_GPL(hmm_range_dma_prepare);

static int hmm_dma_map_runs(struct hmm_dma_map_args *map,
			    const struct hmm_range *range)
{
	const struct hmm_extent *run;
	struct hmm_extent next = {};
	unsigned int i = 0;
	int ret = 0;

	while (!ret && (run = hmm_dma_range_next(range, &next, &i)))
		if (run->entry & HMM_PFN_VALID)
			ret = hmm_dma_map_run(map, run);
	return ret;
}

/* Nothing of what the walk has looked at stays. What is between that does. */
static void hmm_dma_unmap_walked(const struct hmm_range *range,
				 struct hmm_dma_view *view)
{
	unsigned int i;

	if (!range->wanted) {
		hmm_range_dma_unmap(view, range->start, range->next);
		return;
	}
	for (i = 0; i < range->nr_extents; i++)
		hmm_range_dma_unmap(view, range->extents[i].start,
				    hmm_extent_end(&range->extents[i]));
}

/**
 * hmm_range_dma_map() - let the device reach what a range walk has found
 * @range: a range after a call that returned 0, of which hmm_range_dma_prepare()
 *	has been called and mmu_interval_read_retry() has been false
 * @view: the view, whose window has [@range->start, @range->next)
 * @flags: &enum hmm_dma_flags
 *
 * Maps the pages of @range with %HMM_PFN_VALID that are not mapped, read-only
 * ones for reading only. What is mapped and still serves stays as it is. A page
 * that is mapped for reading and is now to be written is unmapped before, as by
 * hmm_range_dma_unmap(), and so are pieces of 2 MiB (with 4 KiB pages) that can now
 * be mapped as a whole, unless the device may write to some of them and @flags say
 * %HMM_DMA_READ_ONLY.
 *
 * Each contiguous run is one link of the DMA API, within a leaf from 2 MiB on or
 * within aligned 2 MiB otherwise (with 4 KiB pages). All of them are made known to
 * the IOMMU at once. hmm_dma_next_run() tells the addresses.
 *
 * Context: Under the update lock, in the same critical section as
 * mmu_interval_read_retry(). Does not sleep, unless &hmm_dma_ops.clear does.
 *
 * Return: 0, or the following, with nothing of [@range->start, @range->next) left
 * mapped, or nothing of the extents if there is &hmm_range.wanted:
 *
 * * %-EINVAL: the range is not in the window, or a flag does not exist. Nothing
 *   is touched then.
 * * %-EAGAIN: what hmm_range_dma_prepare() had got has been freed again. Release
 *   the lock and begin anew, as after mmu_interval_read_retry().
 * * %-EOPNOTSUPP: a page is device-private, and %HMM_DMA_TAKE_PRIVATE is not set.
 * * %-EREMOTEIO: a page is memory of another device that this one cannot reach,
 *   or not by an address within its DMA mask, and %HMM_DMA_SKIP_REMOTE is not set.
 *   Also if it is %HMM_PFN_PEER and its owner has come to refuse it, @view does not
 *   take such, or the DMA API failed with something else than %-ENOMEM: a walk
 *   without &hmm_range.peer has it migrated to system memory.
 * * %-ENOMEM: no memory for page tables of the IOMMU, for instance, which may be
 *   there again a little later. Without an IOMMU the DMA API says so for all that
 *   it does not map.
 * * %-EIO: the DMA API failed.
 */
int hmm_range_dma_map(const struct hmm_range *range, struct hmm_dma_view *view,
		      unsigned int flags)
{
	struct hmm_dma_map_args map = { .view = view, .flags = flags };
	unsigned long drops;
	int ret;

	hmm_dma_assert_locked(view);
	if (!hmm_dma_has_range(view, range) || flags & ~HMM_DMA_FLAGS)
		return -EINVAL;

	view->refused = 0;
	/* With a page that has to be mapped anew, others of its link go. */
	do {
		drops = view->drops;
		ret = hmm_dma_map_runs(&map, range);
	} while (!ret && drops != view->drops);
	if (!ret && map.linked)
		ret = dma_iova_sync(view->dev, &view->iova,
				    range->start - view->iova_start,
				    range->next - range->start);
	if (ret)
		hmm_dma_unmap_walked(range, view);
	return ret;
}
EXPORT_SYMBOL_GPL(hmm_range_dma_map);

/* ---- Unmapping ---- */

/*
 * First page from @va on that is, or is not, in the IOVA range, or @end. Inlined
 * for the sake of the loop, which sees each page.
 */
static __always_inline unsigned long
hmm_dma_find(struct hmm_dma_view *view, unsigned long va, unsigned long end,
	     bool linked)
{
	unsigned long next;

	for (; va < end; va = next) {
		struct hmm_dma_slot *slot = hmm_dma_slot(view, va);
		const unsigned long *entry;

		next = hmm_dma_slot_end(va, end);
		if (!slot->used) {
			if (hmm_dma_is_linked(slot->leaf) == linked)
				return va;
			continue;
		}
		entry = slot->pages + hmm_dma_index(va);
		for (; va < next; va += PAGE_SIZE)
			if (hmm_dma_is_linked(*entry++) == linked)
				return va;
	}
	return end;
}

/* Links that touch go as one, and the IOTLB is flushed for all together. */
static void hmm_dma_unlink_iova(struct hmm_dma_view *view, unsigned long va,
				unsigned long end)
{
	struct iommu_iotlb_gather gather;
	unsigned long to;

	va = hmm_dma_find(view, va, end, true);
	if (va == end)
		return;
	iommu_iotlb_gather_init(&gather);
	while (va < end) {
		to = hmm_dma_find(view, va, end, false);
		dma_iova_unlink_nosync(view->dev, &view->iova,
				       va - view->iova_start, to - va,
				       DMA_BIDIRECTIONAL,
				       DMA_ATTR_REQUIRE_COHERENT, &gather);
		va = hmm_dma_find(view, to, end, true);
	}
	dma_iova_unlink_sync(view->dev, &gather);
}

/* Take [start, end), which begins and ends with links, from the DMA API. */
static void hmm_dma_unlink(struct hmm_dma_view *view, unsigned long start,
			   unsigned long end)
{
	struct hmm_dma_link link;

	if (!view->dev)
		return;
	if (dma_use_iova(&view->iova)) {
		hmm_dma_unlink_iova(view, start, end);
		return;
	}
	for (; hmm_dma_next_link(view, start, end, &link);
	     start = hmm_dma_link_end(&link))
		if (hmm_dma_is_linked(link.entry))
			dma_unmap_phys(view->dev, link.addr,
				       link.npages << PAGE_SHIFT,
				       hmm_dma_dir(link.entry),
				       hmm_dma_attrs(link.entry));
}

/*
 * What the device may have written is marked before the page can be reclaimed:
 * this comes before the owner's invalidate() returns. The pages are there, since
 * each change of what the CPU has mapped waits for the update lock.
 */
static struct folio *hmm_dma_mark_dirty(unsigned long pfn)
{
	struct folio *folio = pfn_folio(pfn);

	if (!folio_test_dirty(folio))
		folio_mark_dirty(folio);
	return folio;
}

/*
 * The owner of device-private memory knows what its own device writes, but not
 * what a peer does.
 */
static bool hmm_dma_may_be_dirty(unsigned long entry)
{
	unsigned long kind = entry & (HMM_PFN_WRITE | ENTRY_PRIVATE | ENTRY_P2P);

	if (likely(kind == HMM_PFN_WRITE))
		return true;
	return kind & HMM_PFN_WRITE && !(kind & ENTRY_PRIVATE) &&
	       is_device_private_page(hmm_pfn_to_page(entry));
}

static unsigned int hmm_dma_forget_leaf(struct hmm_dma_slot *slot)
{
	unsigned long pfn = slot->leaf & ~HMM_PFN_FLAGS;
	unsigned long end = pfn + SLOT_PAGES;
	struct folio *folio;

	while (hmm_dma_may_be_dirty(slot->leaf) && pfn < end) {
		folio = hmm_dma_mark_dirty(pfn++);
		if (folio_test_large(folio))
			pfn = folio_pfn(folio) + folio_nr_pages(folio);
	}
	slot->leaf = 0;
	return SLOT_PAGES;
}

static unsigned int hmm_dma_forget_pages(struct hmm_dma_slot *slot,
					 unsigned long *pages, unsigned int n)
{
	unsigned int i, gone = 0;

	for (i = 0; i < n; i++) {
		unsigned long entry = pages[i];

		pages[i] = 0;
		gone += !!(entry & HMM_PFN_VALID);
		if (hmm_dma_may_be_dirty(entry))
			hmm_dma_mark_dirty(entry & ~HMM_PFN_FLAGS);
	}
	slot->used -= gone;
	return gone;
}

/* Forget what a slot has of [va, end), after the device and its IOMMU have. */
static void hmm_dma_forget(struct hmm_dma_view *view, unsigned long va,
			   unsigned long end)
{
	struct hmm_dma_slot *slot = hmm_dma_slot(view, va);

	if (slot->leaf)
		view->npages -= hmm_dma_forget_leaf(slot);
	else if (slot->used)
		view->npages -= hmm_dma_forget_pages(slot,
					slot->pages + hmm_dma_index(va),
					(end - va) >> PAGE_SHIFT);
}

/* Unmap the links that touch [start, end). */
static void hmm_dma_drop(struct hmm_dma_view *view, unsigned long start,
			 unsigned long end)
{
	struct hmm_dma_link link;
	unsigned long next;

	start = hmm_dma_next_mapped(view, hmm_dma_link_start(view, start), end);
	if (start == end)
		return;
	if (end < view->end && hmm_dma_is_inside_link(view, end)) {
		hmm_dma_get_link(view, hmm_dma_link_start(view, end), &link);
		end = hmm_dma_link_end(&link);
	}

	if (view->ops && view->ops->clear)
		view->ops->clear(view, start, end);
	view->drops++;
	hmm_dma_unlink(view, start, end);
	for (; start < end; start = next) {
		next = hmm_dma_slot_end(start, end);
		hmm_dma_forget(view, start, next);
	}
}

/**
 * hmm_range_dma_unmap() - take a range from the device
 * @view: the view
 * @start: first byte, page aligned
 * @end: first byte after the range, page aligned. What is outside the window is
 *	ignored.
 *
 * When it returns, the device cannot reach the pages any more:
 * &hmm_dma_ops.clear has been called, the IOMMU has no entry left, its IOTLB is
 * flushed, once if the IOMMU's driver can flush ranges with gaps. Pages that the
 * device might write to are marked dirty.
 *
 * What was mapped as one link goes as a whole, so more than the range may be
 * unmapped: all of a leaf of which it has a part, and of smaller pages those that
 * are physically contiguous with it in the same 2 MiB (with 4 KiB pages). clear()
 * is called for all of that, and the device has to fault again to get back what
 * was not meant. Without a device, and of %HMM_DMA_BUS and %HMM_DMA_PRIVATE, pages
 * that have a table go one by one, as the DMA API has no mapping of them.
 *
 * Context: Under the update lock; this is what the owner's invalidate() callback
 * calls. Does not sleep, unless &hmm_dma_ops.clear does.
 */
void hmm_range_dma_unmap(struct hmm_dma_view *view, unsigned long start,
			 unsigned long end)
{
	hmm_dma_assert_locked(view);
	start = max(start, view->start);
	end = min(end, view->end);
	if (start >= end)
		return;

	hmm_dma_drop(view, start, end);

	/* The table of a slot of which only a part goes is soon needed again. */
	hmm_dma_view_trim(view, round_up(start, SLOT_SIZE),
			  round_down(end, SLOT_SIZE));
}
EXPORT_SYMBOL_GPL(hmm_range_dma_unmap);

/* ---- Looking at a view ---- */

/*
 * The entry of the page at @va, or 0, and how many go on from there to @end.
 * Inlined, as its users see each page.
 */
static __always_inline unsigned long
hmm_dma_entry(struct hmm_dma_view *view, unsigned long va, unsigned long end,
	      unsigned long *npages)
{
	struct hmm_dma_slot *slot = hmm_dma_slot(view, va);
	unsigned int i = hmm_dma_index(va);

	*npages = 1;
	if (slot->leaf) {
		*npages = (hmm_dma_slot_end(va, end) - va) >> PAGE_SHIFT;
		return slot->leaf + i;
	}
	return slot->used ? slot->pages[i] : 0;
}

static dma_addr_t hmm_dma_addr(struct hmm_dma_view *view, unsigned long va,
			       unsigned long entry)
{
	struct hmm_dma_slot *slot = hmm_dma_slot(view, va);
	struct pci_p2pdma_map_state p2p = {};

	if (!view->dev || entry & ENTRY_PRIVATE)
		return 0;
	if (entry & ENTRY_BUS && !hmm_dma_keeps_addrs(view)) {
		pci_p2pdma_state(&p2p, view->dev, hmm_pfn_to_page(entry));
		return pci_p2pdma_bus_addr_map(p2p.mem, hmm_pfn_to_phys(entry));
	}
	if (dma_use_iova(&view->iova) && !(entry & ENTRY_BUS))
		return view->iova.addr + (va - view->iova_start);
	if (slot->leaf)
		return slot->addr + va % SLOT_SIZE;
	return hmm_dma_addrs(slot)[hmm_dma_index(va)];
}

static void hmm_dma_begin_run(struct hmm_dma_view *view, unsigned long va,
			      unsigned long entry, struct hmm_dma_run *run)
{
	run->start = va;
	run->npages = 0;
	run->addr = hmm_dma_addr(view, va, entry);
	run->pfn = entry & ~HMM_PFN_FLAGS;
	run->order = hmm_pfn_to_map_order(entry);
	run->writable = entry & HMM_PFN_WRITE;
	if (entry & ENTRY_PRIVATE)
		run->kind = HMM_DMA_PRIVATE;
	else if (entry & ENTRY_BUS)
		run->kind = HMM_DMA_BUS;
	else
		run->kind = HMM_DMA_MEMORY;
}

/*
 * Does the page at @va follow the pages of a run in what the device sees? @first is
 * the entry of its first page.
 */
static __always_inline bool
hmm_dma_follows(struct hmm_dma_view *view, unsigned long va,
		unsigned long entry, unsigned long first,
		const struct hmm_dma_run *run)
{
	unsigned long pfn = run->pfn + ((va - run->start) >> PAGE_SHIFT);

	if (!entry || (entry ^ first) & ENTRY_ALIKE)
		return false;
	if (!view->dev || entry & ENTRY_PRIVATE)
		return (entry & ~HMM_PFN_FLAGS) == pfn;
	if (dma_use_iova(&view->iova) && !(entry & ENTRY_BUS))
		return true;
	return hmm_dma_addr(view, va, entry) == run->addr + (va - run->start);
}

/* The first page from @va on that does not, or @end. */
static unsigned long hmm_dma_run_end(struct hmm_dma_view *view,
				     unsigned long va, unsigned long end,
				     unsigned long first,
				     const struct hmm_dma_run *run)
{
	unsigned long next;

	for (; va < end; va = next) {
		struct hmm_dma_slot *slot = hmm_dma_slot(view, va);
		unsigned int i = hmm_dma_index(va);

		next = hmm_dma_slot_end(va, end);
		if (!slot->used) {
			if (!slot->leaf ||
			    !hmm_dma_follows(view, va, slot->leaf + i, first, run))
				return va;
			continue;
		}
		for (; va < next; va += PAGE_SIZE)
			if (!hmm_dma_follows(view, va, slot->pages[i++], first,
					     run))
				return va;
	}
	return end;
}

/**
 * hmm_dma_next_run() - go through what a device can reach
 * @view: the view
 * @end: first byte that is of no interest, page aligned, at most the window's end
 * @run: in: the last run, or one with @run->npages 0 and in @run->start the first
 *	byte that is of interest, page aligned and not before the window; out: the
 *	next run
 *
 * To be used as the condition of a loop. Runs are as long as they can be.
 * Behind an IOMMU, one usually covers all that was mapped.
 *
 * Context: Under the update lock. A run may be used until the lock is dropped.
 *
 * Return: whether there is one.
 */
bool hmm_dma_next_run(struct hmm_dma_view *view, unsigned long end,
		      struct hmm_dma_run *run)
{
	unsigned long va = run->start + (run->npages << PAGE_SHIFT);
	unsigned long first, n;

	hmm_dma_assert_locked(view);
	end = min(end, view->end);
	va = max(va, view->start);
	/* Most often it is known which pages are mapped, and a run begins there. */
	for (;;) {
		if (va >= end)
			return false;
		first = hmm_dma_entry(view, va, end, &n);
		if (first)
			break;
		va = hmm_dma_next_mapped(view, va, end);
	}

	hmm_dma_begin_run(view, va, first, run);
	end = hmm_dma_run_end(view, va + (n << PAGE_SHIFT), end, first, run);
	run->npages = (end - va) >> PAGE_SHIFT;
	return true;
}
EXPORT_SYMBOL_GPL(hmm_dma_next_run);

/**
 * hmm_dma_first_missing() - find what a device cannot reach
 * @view: the view
 * @start: first byte to look at, page aligned, in the window
 * @end: first byte after that, page aligned, in the window
 * @write: count what the device cannot write to as missing
 *
 * Context: Under the update lock.
 *
 * Return: the address of the first such page, @end if there is none.
 */
unsigned long hmm_dma_first_missing(struct hmm_dma_view *view,
				    unsigned long start, unsigned long end,
				    bool write)
{
	unsigned long need = HMM_PFN_VALID | (write ? HMM_PFN_WRITE : 0);
	unsigned long n;

	hmm_dma_assert_locked(view);
	while (start < end) {
		if (need & ~hmm_dma_entry(view, start, end, &n))
			return start;
		start += n << PAGE_SHIFT;
	}
	return end;
}

#if IS_ENABLED(CONFIG_HMM_KUNIT_TEST)
#include "tests/hmm_dma_kunit.c"
#endif
