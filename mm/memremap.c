// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Page maps: struct pages for device memory, from the moment a driver asks for
 * them until the last one is given back.
 *
 * A page map (struct dev_pagemap) covers one or more physical ranges and has a
 * reference count that outlives every user of its pages. There are two ways to
 * count. Where the owner hands out pages one by one (private and coherent
 * memory), each page in use holds a reference, from zone_device_page_init() to
 * free_zone_device_folio(). Of the other types, all pages (or folios, if there is
 * a vmemmap_shift) hold one from the start, which memunmap_pages() drops: their
 * users have references to folios, which the file system or the driver waits for,
 * not to the page map. P2PDMA has both: it takes one more for what its pool gives
 * out.
 *
 * What is protected by what:
 *
 * - pgmap_array finds the page map of a pfn. Its writers hold pgmap_mutex, so
 *   that two page maps never cover the same pfn. Readers are under RCU and take
 *   a reference, which they only get from a page map that is alive.
 * - dev_pagemap.closed is read under RCU by whoever initialises a page. After
 *   it is set, a grace period passes before memremap_close() returns.
 * - dev_pagemap.lock is held while an idle compound folio is taken apart.
 *
 * Pages that nobody uses (their reference count is 0) keep the shape of the
 * folio they last were part of. A rule makes this worth something: if an idle
 * page is marked as a head, then the pages behind it are its tails, all of them.
 * To make a folio of the same shape out of such pages is to write the fields of
 * its head, however large it is. For any other shape the idle folio is taken
 * apart first. The rule also means that folio_nr_pages() of an idle page is
 * right, which migrate_device_range() steps by.
 */
#include <linux/device.h>
#include <linux/io.h>
#include <linux/kasan.h>
#include <linux/memory_hotplug.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/mutex.h>
#include <linux/pagemap.h>
#include <linux/rcupdate.h>
#include <linux/swap.h>
#include <linux/types.h>
#include <linux/wait_bit.h>
#include <linux/xarray.h>
#include "internal.h"

/* How often memunmap_pages() says that it still waits. */
#define PGMAP_WAIT_REPORT	(60 * HZ)

/* What the first byte of a page's flags must not have: an order, a head mark. */
#define PAGE_FLAGS_SHAPE	0xffUL

static DEFINE_XARRAY(pgmap_array);
static DEFINE_MUTEX(pgmap_mutex);

/* What a type of memory needs from its owner, and how it is treated. */
struct pgmap_rule {
	const char *name;
	bool supported;
	bool needs_owner;		/* dev_pagemap.owner */
	bool needs_folio_free;		/* dev_pagemap_ops.folio_free */
	bool needs_migrate_to_ram;	/* dev_pagemap_ops.migrate_to_ram */
	bool counts_use;		/* only pages in use hold a reference */
	bool keeps_mapping;		/* folio->mapping is not ours to clear */
	bool wakes;			/* somebody waits for an idle folio */
	bool never_idle;		/* the owner has the reference of a free one */
};

static const struct pgmap_rule pgmap_rules[] = {
	[MEMORY_DEVICE_PRIVATE] = {
		.name			= "private",
		.supported		= IS_ENABLED(CONFIG_DEVICE_PRIVATE),
		.needs_owner		= true,
		.needs_folio_free	= true,
		.needs_migrate_to_ram	= true,
		.counts_use		= true,
	},
	[MEMORY_DEVICE_COHERENT] = {
		.name			= "coherent",
		.supported		= true,
		.needs_owner		= true,
		.needs_folio_free	= true,
		.counts_use		= true,
	},
	[MEMORY_DEVICE_FS_DAX] = {
		.name			= "fsdax",
		.supported		= true,
		.keeps_mapping		= true,
		.wakes			= true,
	},
	[MEMORY_DEVICE_GENERIC] = {
		.name			= "generic",
		.supported		= true,
		.keeps_mapping		= true,
		.never_idle		= true,
	},
	[MEMORY_DEVICE_PCI_P2PDMA] = {
		.name			= "p2pdma",
		.supported		= true,
		.needs_folio_free	= true,
	},
};

/* NULL if there is no such type. */
static const struct pgmap_rule *pgmap_rule(const struct dev_pagemap *pgmap)
{
	unsigned int type = pgmap->type;

	if (type >= ARRAY_SIZE(pgmap_rules) || !pgmap_rules[type].name)
		return NULL;
	return &pgmap_rules[type];
}

/* What @pgmap lacks, as text, or NULL if nothing. */
static const char *pgmap_lacks(const struct dev_pagemap *pgmap)
{
	const struct pgmap_rule *rule = pgmap_rule(pgmap);
	const struct dev_pagemap_ops *ops = pgmap->ops;

	if (!rule)
		return "a valid type";
	if (!rule->supported)
		return "support by this kernel";
	if (rule->needs_owner && !pgmap->owner)
		return "an owner";
	if (rule->needs_folio_free && !(ops && ops->folio_free))
		return "a folio_free method";
	if (rule->needs_migrate_to_ram && !(ops && ops->migrate_to_ram))
		return "a migrate_to_ram method";
	if (pgmap->nr_range < 1)
		return "a range";
	if (pgmap->nr_range > 1 && (pgmap->flags & PGMAP_ALTMAP_VALID))
		return "a single range, which an altmap is for";
	if (pgmap->vmemmap_shift > MAX_FOLIO_ORDER)
		return "a folio size that exists";
	return NULL;
}

#ifndef CONFIG_ARCH_HAS_MEMREMAP_COMPAT_ALIGN
/**
 * memremap_compat_align() - alignment of ranges that fit each way of mapping
 *
 * memremap() takes single pages, memremap_pages() whole subsections, or more on
 * some architectures. A range that is aligned to this may be mapped by both, so
 * a namespace on it can change from one to the other.
 *
 * Return: the alignment in bytes.
 */
unsigned long memremap_compat_align(void)
{
	return SUBSECTION_SIZE;
}
EXPORT_SYMBOL_GPL(memremap_compat_align);
#endif

/* First pfn of a range with a struct page; the altmap takes what is before. */
static unsigned long range_first_pfn(struct dev_pagemap *pgmap, int i)
{
	unsigned long pfn = PHYS_PFN(pgmap->ranges[i].start);

	return i ? pfn : pfn + vmem_altmap_offset(pgmap_altmap(pgmap));
}

static unsigned long range_nr_pages(const struct range *range)
{
	return PHYS_PFN(range_len(range));
}

/* References that the pages of a range hold all the time. */
static unsigned long range_refs(struct dev_pagemap *pgmap, int i)
{
	unsigned long end = PHYS_PFN(pgmap->ranges[i].start) +
			    range_nr_pages(&pgmap->ranges[i]);

	if (pgmap_rule(pgmap)->counts_use)
		return 0;
	return (end - range_first_pfn(pgmap, i)) >> pgmap->vmemmap_shift;
}

/* Whether all of [@pfn, @pfn + @nr) is in one range, and has struct pages. */
static bool pgmap_holds(struct dev_pagemap *pgmap, unsigned long pfn,
			unsigned long nr)
{
	/* Pairs with range_map(): the struct pages of these are initialised. */
	int i, nr_mapped = smp_load_acquire(&pgmap->nr_mapped);

	for (i = 0; i < nr_mapped; i++) {
		const struct range *range = &pgmap->ranges[i];

		if (pfn < PHYS_PFN(range->start) || pfn > PHYS_PFN(range->end))
			continue;
		return pfn >= range_first_pfn(pgmap, i) &&
		       nr <= PHYS_PFN(range->end) - pfn + 1;
	}
	return false;
}

/**
 * pgmap_pfn_valid() - whether a page of a page map may be used
 * @pgmap: the page map
 * @pfn: page frame number
 *
 * A page map can be found by its pfns before it has struct pages for them.
 *
 * Return: true if @pfn is in a range of @pgmap that is mapped, and is not one of
 * the pages that its altmap has set aside.
 */
bool pgmap_pfn_valid(struct dev_pagemap *pgmap, unsigned long pfn)
{
	return pgmap_holds(pgmap, pfn, 1);
}

static void range_forget(const struct range *range)
{
	lockdep_assert_held(&pgmap_mutex);
	xa_store_range(&pgmap_array, PHYS_PFN(range->start),
		       PHYS_PFN(range->end), NULL, GFP_KERNEL);
}

/*
 * Make @range known as one of @pgmap, if no other page map has any of it. If this
 * fails, percpu_ref_kill() waits for those who have found a part of it.
 */
static int range_enter(struct dev_pagemap *pgmap, const struct range *range)
{
	unsigned long index = PHYS_PFN(range->start);
	int err;

	guard(mutex)(&pgmap_mutex);
	if (xa_find(&pgmap_array, &index, PHYS_PFN(range->end), XA_PRESENT)) {
		pr_err("%s: pfn %#lx already has a page map\n", __func__, index);
		return -EBUSY;
	}
	err = xa_err(xa_store_range(&pgmap_array, PHYS_PFN(range->start),
				    PHYS_PFN(range->end), pgmap, GFP_KERNEL));
	if (err)
		range_forget(range);
	return err;
}

/* After this nobody finds a page map by a pfn of @range, or is about to. */
static void range_leave(const struct range *range)
{
	scoped_guard(mutex, &pgmap_mutex)
		range_forget(range);
	synchronize_rcu();
}

/*
 * Add the memory. The CPU cannot reach private memory, which only gets struct
 * pages; all other gets an entry in the kernel's linear mapping, too.
 */
static int range_hotplug(struct dev_pagemap *pgmap, struct mhp_params *params,
			 const struct range *range, int nid)
{
	unsigned long pfn = PHYS_PFN(range->start);
	unsigned long nr = range_nr_pages(range);
	int err;

	mem_hotplug_begin();
	if (pgmap->type == MEMORY_DEVICE_PRIVATE) {
		err = add_pages(nid, pfn, nr, params);
	} else {
		err = kasan_add_zero_shadow(__va(range->start), range_len(range));
		if (err)
			goto out;
		err = arch_add_memory(nid, range->start, range_len(range), params);
		if (err)
			kasan_remove_zero_shadow(__va(range->start),
						 range_len(range));
	}
	if (!err)
		move_pfn_range_to_zone(&NODE_DATA(nid)->node_zones[ZONE_DEVICE],
				       pfn, nr, params->altmap, MIGRATE_MOVABLE,
				       false);
out:
	mem_hotplug_done();
	return err;
}

static void range_unplug(struct dev_pagemap *pgmap, int i)
{
	const struct range *range = &pgmap->ranges[i];
	unsigned long pfn = PHYS_PFN(range->start);
	unsigned long nr = range_nr_pages(range);
	struct page *page = pfn_to_page(range_first_pfn(pgmap, i));

	mem_hotplug_begin();
	remove_pfn_range_from_zone(page_zone(page), pfn, nr);
	if (pgmap->type == MEMORY_DEVICE_PRIVATE) {
		__remove_pages(pfn, nr, NULL, pgmap);
	} else {
		arch_remove_memory(range->start, range_len(range),
				   pgmap_altmap(pgmap), pgmap);
		kasan_remove_zero_shadow(__va(range->start), range_len(range));
	}
	mem_hotplug_done();
}

static int range_map(struct dev_pagemap *pgmap, struct mhp_params *params,
		     int i, int nid)
{
	const struct range *range = &pgmap->ranges[i];
	bool is_private = pgmap->type == MEMORY_DEVICE_PRIVATE;
	int err;

	if (region_intersects(range->start, range_len(range),
			      IORESOURCE_SYSTEM_RAM,
			      IORES_DESC_NONE) != REGION_DISJOINT) {
		pr_err("%s: %#llx-%#llx has system memory in it\n", __func__,
		       range->start, range->end);
		return -ENXIO;
	}

	err = range_enter(pgmap, range);
	if (err)
		return err;

	err = pfnmap_track(PHYS_PFN(range->start), range_len(range),
			   &params->pgprot);
	if (err)
		goto err_leave;

	err = -EINVAL;
	if (!mhp_range_allowed(range->start, range_len(range), !is_private))
		goto err_untrack;

	if (nid < 0)
		nid = numa_mem_id();
	err = range_hotplug(pgmap, params, range, nid);
	if (err)
		goto err_untrack;

	/* This takes long, so it was left out under the hotplug lock. */
	memmap_init_zone_device(&NODE_DATA(nid)->node_zones[ZONE_DEVICE],
				PHYS_PFN(range->start), range_nr_pages(range),
				pgmap);
	percpu_ref_get_many(&pgmap->ref, range_refs(pgmap, i));
	/* Pairs with pgmap_holds(). */
	smp_store_release(&pgmap->nr_mapped, i + 1);
	return 0;

err_untrack:
	pfnmap_untrack(PHYS_PFN(range->start), range_len(range));
err_leave:
	range_leave(range);
	return err;
}

static void range_unmap(struct dev_pagemap *pgmap, int i)
{
	const struct range *range = &pgmap->ranges[i];

	range_unplug(pgmap, i);
	pfnmap_untrack(PHYS_PFN(range->start), range_len(range));
	range_leave(range);
}

static void pgmap_released(struct percpu_ref *ref)
{
	complete(&container_of(ref, struct dev_pagemap, ref)->done);
}

/**
 * memunmap_pages() - undo memremap_pages()
 * @pgmap: the page map
 *
 * Refuses new pages from the first moment on, and waits for all references: those
 * of pages of private or coherent memory in use, of P2PDMA memory given out, and
 * of get_dev_pagemap(). For users of pages of any other type the owner has waited
 * before. An owner that cannot rely on its pages coming back by themselves calls
 * memremap_evict() first, and memremap_discard() if the device is dead.
 *
 * Context: Process context, no locks that the owner's methods take. Sleeps.
 */
void memunmap_pages(struct dev_pagemap *pgmap)
{
	int i, nr = pgmap->nr_mapped;

	percpu_ref_kill(&pgmap->ref);
	for (i = 0; i < nr; i++)
		percpu_ref_put_many(&pgmap->ref, range_refs(pgmap, i));

	while (!wait_for_completion_timeout(&pgmap->done, PGMAP_WAIT_REPORT))
		pr_warn("%s: %s memory at %#llx is still in use\n", __func__,
			pgmap_rule(pgmap)->name, pgmap->ranges[0].start);

	/* Who looks without a reference, zone_device_page_init(), gets none now. */
	WRITE_ONCE(pgmap->nr_mapped, 0);
	for (i = 0; i < nr; i++)
		range_unmap(pgmap, i);
	percpu_ref_exit(&pgmap->ref);

	WARN_ONCE(pgmap->altmap.alloc, "failed to free all reserved pages\n");
}
EXPORT_SYMBOL_GPL(memunmap_pages);

static pgprot_t pgmap_pgprot(const struct dev_pagemap *pgmap)
{
	switch (pgmap->type) {
	case MEMORY_DEVICE_FS_DAX:
		return pgprot_decrypted(PAGE_KERNEL);
	case MEMORY_DEVICE_PCI_P2PDMA:
		return pgprot_noncached(PAGE_KERNEL);
	default:
		return PAGE_KERNEL;
	}
}

/**
 * memremap_pages() - give struct pages to ranges of device memory
 * @pgmap: the page map. Its type, ranges and nr_range are set, and so are the
 *         owner and the methods that the type needs.
 * @nid: NUMA node, NUMA_NO_NODE for the one that the caller runs on
 *
 * Either all ranges are mapped, or none is and @pgmap can be used again.
 *
 * Context: Process context. Sleeps.
 *
 * Return: the kernel address of the first range (no more than a cookie for
 * private memory), or an ERR_PTR():
 *
 * * -EINVAL: @pgmap lacks something, or a range is not aligned to subsections or
 *   beyond what can be addressed
 * * -ENXIO: there is system memory in a range
 * * -EBUSY: there is a page map in a range
 * * -EEXIST: there is a memory map for part of a range
 * * -ENOMEM: out of memory
 * * others: what the architecture says to new memory, or to its memory type
 */
void *memremap_pages(struct dev_pagemap *pgmap, int nid)
{
	struct mhp_params params = {
		.altmap = pgmap_altmap(pgmap),
		.pgmap = pgmap,
		.pgprot = pgmap_pgprot(pgmap),
	};
	const char *lack = pgmap_lacks(pgmap);
	int err, i;

	if (lack) {
		pr_err("%s: the page map lacks %s\n", __func__, lack);
		return ERR_PTR(-EINVAL);
	}

	init_completion(&pgmap->done);
	spin_lock_init(&pgmap->lock);
	WRITE_ONCE(pgmap->closed, false);
	pgmap->nr_mapped = 0;
	err = percpu_ref_init(&pgmap->ref, pgmap_released, 0, GFP_KERNEL);
	if (err)
		return ERR_PTR(err);

	for (i = 0; i < pgmap->nr_range; i++) {
		err = range_map(pgmap, &params, i, nid);
		if (err) {
			memunmap_pages(pgmap);
			return ERR_PTR(err);
		}
	}
	return __va(pgmap->ranges[0].start);
}
EXPORT_SYMBOL_GPL(memremap_pages);

static void devm_pgmap_release(void *pgmap)
{
	memunmap_pages(pgmap);
}

/**
 * devm_memremap_pages() - memremap_pages() until a driver is unbound
 * @dev: whose unbinding calls memunmap_pages(); its node is used
 * @pgmap: as for memremap_pages()
 *
 * Context: Process context. Sleeps.
 *
 * Return: as of memremap_pages().
 */
void *devm_memremap_pages(struct device *dev, struct dev_pagemap *pgmap)
{
	void *addr = memremap_pages(pgmap, dev_to_node(dev));
	int err;

	if (IS_ERR(addr))
		return addr;
	err = devm_add_action_or_reset(dev, devm_pgmap_release, pgmap);
	return err ? ERR_PTR(err) : addr;
}
EXPORT_SYMBOL_GPL(devm_memremap_pages);

/**
 * devm_memunmap_pages() - undo devm_memremap_pages() before the unbinding
 * @dev: the device given to devm_memremap_pages()
 * @pgmap: the page map given to devm_memremap_pages()
 *
 * Context: Process context. Sleeps, as memunmap_pages() does.
 */
void devm_memunmap_pages(struct device *dev, struct dev_pagemap *pgmap)
{
	devm_release_action(dev, devm_pgmap_release, pgmap);
}
EXPORT_SYMBOL_GPL(devm_memunmap_pages);

/**
 * get_dev_pagemap() - find the page map of a page, and take a reference
 * @pfn: page frame number
 *
 * Context: Any.
 *
 * Return: the page map, for put_dev_pagemap(), or NULL if there is none or it
 * is going away.
 */
struct dev_pagemap *get_dev_pagemap(unsigned long pfn)
{
	struct dev_pagemap *pgmap;

	guard(rcu)();
	pgmap = xa_load(&pgmap_array, pfn);
	if (pgmap && percpu_ref_tryget_live_rcu(&pgmap->ref))
		return pgmap;
	return NULL;
}
EXPORT_SYMBOL_GPL(get_dev_pagemap);

/**
 * memremap_close() - refuse new pages of a page map
 * @pgmap: the page map
 *
 * zone_device_page_init() fails until memremap_open(). When this returns, each
 * page that was handed out before can be seen to be in use.
 *
 * Context: Process context. Sleeps.
 */
void memremap_close(struct dev_pagemap *pgmap)
{
	WRITE_ONCE(pgmap->closed, true);
	synchronize_rcu();
}

/**
 * memremap_open() - allow new pages of a page map again
 * @pgmap: the page map
 *
 * Undoes memremap_close() and what memremap_evict() has closed.
 *
 * Context: Any.
 */
void memremap_open(struct dev_pagemap *pgmap)
{
	WRITE_ONCE(pgmap->closed, false);
}
EXPORT_SYMBOL_GPL(memremap_open);

/*
 * The last reference to a folio of device memory is gone. Whoever may want to
 * hand it out again is told; until then its pages keep their shape.
 *
 * Nobody is told of FS_DAX: the file system owns the page all the time. It waits
 * for DMA to end before it gives blocks away, by wait_var_event() on the folio's
 * first page, so that is what is woken, once, and only here: the count that it
 * looks at is 0 now. The atomic operation that made it so is a full barrier
 * between that and the look for somebody who waits. Whatever the owner keeps in
 * the folio, it finds as it was.
 */
void free_zone_device_folio(struct folio *folio)
{
	struct dev_pagemap *pgmap = folio->pgmap;
	unsigned long i, nr = folio_nr_pages(folio);
	const struct pgmap_rule *rule;

	if (WARN_ON_ONCE(!pgmap))
		return;

	rule = pgmap_rule(pgmap);
	mem_cgroup_uncharge(folio);
	if (folio_test_anon(folio)) {
		mod_mthp_stat(folio_order(folio), MTHP_STAT_NR_ANON, -1);
		for (i = 0; i < nr; i++)
			__ClearPageAnonExclusive(folio_page(folio, i));
	}
	/* It is that of the last user, and still says what kind that was. */
	if (!rule->keeps_mapping)
		folio->mapping = NULL;

	if (rule->needs_folio_free)
		pgmap->ops->folio_free(folio);
	/*
	 * From here on the folio may be somebody else's, and the page map gone:
	 * of P2PDMA, folio_free() has dropped the last reference to it.
	 */
	if (rule->counts_use)
		percpu_ref_put_many(&pgmap->ref, nr);
	if (rule->wakes)
		wake_up_var(&folio->page);
	if (rule->never_idle)
		folio_set_count(folio, 1);
}

/* The page that @page is a tail of, itself if it is a head, otherwise NULL. */
static struct page *compound_of(struct page *page)
{
	/* Pairs with page_make_single(), as does the next. */
	if (smp_load_acquire(&page->compound_info) & 1)
		return compound_head(page);
	/* Neither head nor tail: all that was done to it before is seen. */
	return smp_load_acquire(&page->flags.f) & BIT(PG_head) ? page : NULL;
}

/* Where the first tail of a folio has _nr_pages, a single page has memcg_data. */
static void page_clear_nr_pages(struct page *page)
{
#ifdef NR_PAGES_IN_LARGE_FOLIO
	((struct folio *)(page - 1))->_nr_pages = 0;
#endif
}

/* For idle pages that are the caller's alone. */
static void page_make_tail(struct page *page, struct page *head,
			   unsigned int order)
{
	page->flags.f &= ~PAGE_FLAGS_SHAPE;
	page_clear_nr_pages(page);
	prep_compound_tail(page, head, order);
}

/*
 * An idle page loses what it was part of.
 *
 * Whoever sees that the page is neither head nor tail owns it, and may use it at
 * once, without a lock. So these marks come last. Then storing the same @pgmap
 * once more does no harm.
 */
static void page_make_single(struct page *page, struct dev_pagemap *pgmap)
{
	unsigned long flags = page->flags.f & ~PAGE_FLAGS_SHAPE;

	page_clear_nr_pages(page);
	page->mapping = NULL;
	page->share = 0;
	/* Pairs with compound_of(). */
	smp_store_release(&page->flags.f, flags);
	/* The word in which a tail has its head. Pairs with compound_of(), too. */
	smp_store_release(&((struct folio *)page)->pgmap, pgmap);
}

/*
 * Take the idle compound folio that @page is part of, if any, apart. Fails if it
 * is in use: a folio that is being split has no references, but is locked.
 */
static int page_leave_compound(struct page *page, struct dev_pagemap *pgmap)
{
	struct page *head;
	unsigned long i;

	guard(spinlock)(&pgmap->lock);
	head = compound_of(page);
	if (!head)
		return 0;	/* another has done it */
	if (page_ref_count(head) || PageLocked(head))
		return -EBUSY;

	((struct folio *)head)->_flags_1 &= ~(PAGE_FLAGS_SECOND & ~PAGE_FLAGS_SHAPE);
	for (i = folio_nr_pages((struct folio *)head); i--; )
		page_make_single(head + i, pgmap);
	return 0;
}

/* The part of a compound folio's state that is new each time. */
static void folio_init_head(struct folio *folio, unsigned int order)
{
	unsigned long second = PAGE_FLAGS_SECOND & ~BIT(PG_has_hwpoisoned);

	folio->flags.f = (folio->flags.f & ~PAGE_FLAGS_SHAPE) | BIT(PG_head);
	folio->_flags_1 &= ~second;
	folio->mapping = NULL;
	folio->share = 0;
	prep_compound_head(&folio->page, order);
}

/* Whether the idle @page is the head of a folio of @order already. */
static bool page_has_shape(struct page *page, unsigned int order)
{
	return order && compound_of(page) == page &&
	       folio_order((struct folio *)page) == order;
}

/* Make idle pages a folio of @order, which may be 0. */
static int page_shape(struct page *page, struct dev_pagemap *pgmap,
		      unsigned int order)
{
	unsigned long i, nr = 1UL << order;
	int err;

	if (page_ref_count(page))
		return -EBUSY;
	if (page_has_shape(page, order)) {
		folio_init_head((struct folio *)page, order);
		return 0;
	}
	/* Whatever else it is part of may reach beyond what is asked for. */
	if (compound_of(page)) {
		err = page_leave_compound(page, pgmap);
		if (err)
			return err;
	}
	for (i = 1; i < nr; i++)
		if (page_ref_count(page + i))
			return -EBUSY;
	for (i = 1; i < nr; i++)
		page_make_tail(page + i, page, order);
	page_make_single(page, pgmap);
	if (order)
		folio_init_head((struct folio *)page, order);
	return 0;
}

/**
 * zone_device_page_init() - hand out free pages of device memory as a folio
 * @page: the first of the pages. The owner has no other use for them.
 * @pgmap: the page map that they belong to
 * @order: log2 of the number of pages, MAX_FOLIO_ORDER at most
 *
 * On success there is a locked folio with one reference, which holds a reference
 * to @pgmap for each page. After an error the pages are the caller's as before.
 *
 * The work is that for one page if the pages were a folio of this order before,
 * whatever the order. It is that for each page if they were not, and there may
 * be that of taking apart a larger folio.
 *
 * Context: Any but interrupts. A larger folio is taken apart under a spinlock.
 *
 * Return: 0, or
 *
 * * -ENODEV: @pgmap is going away, or closed by memremap_close()
 * * -EINVAL: @order is too large, the first pfn is not aligned to it, not all
 *   pages are in one range of @pgmap that is mapped (after memunmap_pages(), none
 *   is), or its struct pages come in folios that cannot be changed
 *   (vmemmap_shift)
 * * -EBUSY: a page is in use, which is a bug of the owner
 */
int zone_device_page_init(struct page *page, struct dev_pagemap *pgmap,
			  unsigned int order)
{
	unsigned long pfn = page_to_pfn(page), nr;
	int err;

	if (order > MAX_FOLIO_ORDER)
		return -EINVAL;
	nr = 1UL << order;
	if (!IS_ALIGNED(pfn, nr) || pgmap->vmemmap_shift ||
	    !pgmap_holds(pgmap, pfn, nr))
		return -EINVAL;

	/* memremap_close() waits for all that have not seen it. */
	guard(rcu)();
	if (READ_ONCE(pgmap->closed) || !percpu_ref_tryget_live_rcu(&pgmap->ref))
		return -ENODEV;
	percpu_ref_get_many(&pgmap->ref, nr - 1);

	err = page_shape(page, pgmap, order);
	if (err) {
		percpu_ref_put_many(&pgmap->ref, nr);
		pr_warn_ratelimited("%s: pfn %#lx, order %u is in use\n",
				    __func__, pfn, order);
		return err;
	}
	/* Nobody else can have the lock of a page without references. */
	__folio_set_locked((struct folio *)page);
	/* Who gets a reference by the pfn sees the lock and the shape, too. */
	folio_ref_unfreeze((struct folio *)page, 1);
	return 0;
}
EXPORT_SYMBOL_GPL(zone_device_page_init);

#if IS_ENABLED(CONFIG_MEMREMAP_KUNIT_TEST)
#include "tests/hmm_memremap_kunit.c"
#endif
