// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Taking back all pages of a page map of private or coherent device memory, for
 * an owner that is about to lose the memory: on unload, unplug or suspend.
 *
 * Both ways close the page map first, so that there are ever fewer pages in use,
 * and go through it in windows, again and again, as a page can be locked or held
 * for a moment by somebody else. The bounds are a number of rounds and a time.
 *
 * memremap_evict() moves pages to system memory; the owner copies. What it could
 * not copy stays where it is. memremap_discard() is for a device that cannot be
 * read any more: what processes had there is lost, and an access to it is a
 * SIGBUS.
 *
 * No locks of our own: migrate_device_range() locks the folios of a window and
 * holds their anon_vmas, until migrate_device_finalize(). Page tables are changed
 * under the locks that the rmap walk takes. Two calls at once for one page map do
 * no harm, and get in each other's way.
 */
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/memremap.h>
#include <linux/memremap_evict.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/rmap.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/swapops.h>
#include "internal.h"

/* Pages that are moved at once: the largest folio that a process has mapped. */
#define EVICT_WINDOW		(PMD_SIZE >> PAGE_SHIFT)
#define EVICT_ROUNDS		12
#define EVICT_TIMEOUT		(30 * HZ)
#define EVICT_PAUSE_MAX_US	(100 * USEC_PER_MSEC)

/* One call of memremap_evict() or memremap_discard(). */
struct evict_run {
	struct memremap_evict *ev;
	/* moves what it can of [pfn, pfn + nr), or returns what to give up for */
	int (*window)(struct evict_run *run, unsigned long pfn, unsigned long nr);
	unsigned long deadline;		/* jiffies */
	int err;			/* why pages are left, if known */
	unsigned long src[];		/* EVICT_WINDOW entries, and as many more */
};

static unsigned long *run_dst(struct evict_run *run)
{
	return run->src + EVICT_WINDOW;
}

/* A page, and how many from there on are of the same folio. */
struct page_look {
	struct folio *folio;
	unsigned long nr;
};

static struct page_look look_at(struct page *page)
{
	struct page_look look = { .folio = page_folio(page), .nr = 1 };

	if (page == &look.folio->page)
		look.nr = max(folio_nr_pages(look.folio), 1UL);
	return look;
}

/* A folio that is being split or moved has no references, but is locked. */
static bool folio_in_use(struct folio *folio)
{
	if (folio_ref_count(folio))
		return true;
	/* It is locked before its references go, and has them again before ... */
	smp_rmb();
	if (folio_test_locked(folio))
		return true;
	/* ... it is unlocked. */
	smp_rmb();
	return folio_ref_count(folio);
}

/*
 * Whether @page is in use, and so are the @nr - 1 behind it. If the folio was split
 * while we looked, its count says nothing about pages that are no longer in it.
 */
static bool page_in_use(struct page *page, unsigned long *nr)
{
	struct page_look first = look_at(page), second;

	*nr = first.nr;
	/* What is counted is counted of that folio or of what has become of it. */
	smp_rmb();
	if (folio_in_use(first.folio))
		return true;
	/* The references of the parts come after they have become folios. */
	smp_rmb();
	second = look_at(page);
	return second.folio != first.folio || second.nr != first.nr;
}

/*
 * How many of [@pfn, @pfn + @nr) are in use. Others may split folios or let go of
 * them meanwhile, so the number may be wrong. Once the page map is closed, 0 is
 * right, but for a folio that two others in turn migrate between our three looks
 * at it, of which the second has to be given up after that. memunmap_pages() would
 * wait for such a one.
 */
static unsigned long pages_in_use(unsigned long pfn, unsigned long nr)
{
	unsigned long i, step, used = 0;

	for (i = 0; i < nr; i += step) {
		bool in_use = page_in_use(pfn_to_page(pfn + i), &step);

		step = min(step, nr - i);
		if (in_use)
			used += step;
	}
	return used;
}

/* First pfn of range @i that is not one of the memory map's own. */
static unsigned long first_pfn(struct dev_pagemap *pgmap, int i)
{
	return PHYS_PFN(pgmap->ranges[i].start) +
	       vmem_altmap_offset(pgmap_altmap(pgmap));
}

/* First pfn behind @pfn, in range @i, where a window ends. */
static unsigned long window_end(struct dev_pagemap *pgmap, int i,
				unsigned long pfn)
{
	return min(ALIGN(pfn + 1, EVICT_WINDOW),
		   PHYS_PFN(pgmap->ranges[i].end) + 1);
}

static unsigned long pgmap_in_use(struct dev_pagemap *pgmap)
{
	unsigned long pfn, end, used = 0;
	int i;

	for (i = 0; i < pgmap->nr_range; i++) {
		pfn = first_pfn(pgmap, i);
		for (; pfn <= PHYS_PFN(pgmap->ranges[i].end); pfn = end) {
			end = window_end(pgmap, i, pfn);
			used += pages_in_use(pfn, end - pfn);
			cond_resched();
		}
	}
	return used;
}

/* Split the large folio at @pfn, if it is one and nobody else has its lock. */
static void split_at(unsigned long pfn)
{
	struct folio *folio = folio_get_nontail_page(pfn_to_page(pfn));

	if (!folio)
		return;
	if (folio_test_large(folio) && folio_trylock(folio)) {
		/* The caller gets to it in a later round if this fails. */
		split_folio(folio);
		folio_unlock(folio);
	}
	folio_put(folio);
}

/* Give the migrating page of @src a place in system memory. */
static unsigned long alloc_dst(struct evict_run *run, unsigned long src)
{
	unsigned int order = folio_order(page_folio(migrate_pfn_to_page(src)));
	gfp_t gfp = GFP_HIGHUSER_MOVABLE | __GFP_NOWARN;
	struct folio *folio;

	gfp |= order ? __GFP_NORETRY : __GFP_RETRY_MAYFAIL;
	folio = folio_alloc(gfp, order);
	if (!folio) {
		/* A large one may still go in parts. */
		if (!order)
			run->err = -ENOMEM;
		return 0;
	}
	folio_lock(folio);
	return migrate_pfn(folio_pfn(folio)) | (order ? MIGRATE_PFN_COMPOUND : 0);
}

/* Let go of the places of pages that were not copied. */
static void drop_uncopied(const unsigned long *src, unsigned long *dst,
			  unsigned long nr, int err)
{
	unsigned long i;

	for (i = 0; i < nr; i++) {
		struct folio *folio;

		if (!dst[i] || (!err && (src[i] & MIGRATE_PFN_MIGRATE)))
			continue;
		folio = page_folio(migrate_pfn_to_page(dst[i]));
		folio_unlock(folio);
		folio_put(folio);
		dst[i] = 0;
	}
}

static int evict_window(struct evict_run *run, unsigned long pfn,
			unsigned long nr)
{
	unsigned long *src = run->src, *dst = run_dst(run);
	unsigned long i, moved = 0, found = 0;
	int err = 0;

	memset(dst, 0, nr * sizeof(*dst));
	migrate_device_range(src, pfn, nr);
	for (i = 0; i < nr; i++) {
		if (!(src[i] & MIGRATE_PFN_MIGRATE))
			continue;
		dst[i] = alloc_dst(run, src[i]);
		if (dst[i])
			found++;
	}
	if (found)
		err = run->ev->copy(run->ev, src, dst, nr);
	drop_uncopied(src, dst, nr, err);

	migrate_device_pages(src, dst, nr);
	for (i = 0; i < nr; i++)
		if (dst[i] && (src[i] & MIGRATE_PFN_MIGRATE))
			moved += folio_nr_pages(page_folio(migrate_pfn_to_page(dst[i])));
	migrate_device_finalize(src, dst, nr);
	WRITE_ONCE(run->ev->moved, run->ev->moved + moved);

	/* A large one that others had locked is not VALID. It has another try. */
	for (i = 0; i < nr && !err; i++)
		if (!dst[i] && (src[i] & MIGRATE_PFN_VALID) &&
		    (src[i] & MIGRATE_PFN_COMPOUND))
			split_at(pfn + i);
	return err;
}

/* Put a poison marker in place of each migration entry for the folio. */
static bool poison_one(struct folio *folio, struct vm_area_struct *vma,
		       unsigned long addr, void *arg)
{
	DEFINE_FOLIO_VMA_WALK(pvmw, folio, vma, addr, PVMW_SYNC | PVMW_MIGRATION);

	while (page_vma_mapped_walk(&pvmw)) {
		set_pte_at(vma->vm_mm, pvmw.address, pvmw.pte,
			   make_pte_marker(PTE_MARKER_POISONED));
		/* A migration entry counts as a page, a marker does not. */
		dec_mm_counter(vma->vm_mm, mm_counter(folio));
	}
	return true;
}

static int discard_window(struct evict_run *run, unsigned long pfn,
			  unsigned long nr)
{
	struct rmap_walk_control rwc = { .rmap_one = poison_one };
	unsigned long *src = run->src, *dst = run_dst(run);
	unsigned long i, lost = 0;

	/* There are no markers for a huge entry. */
	for (i = 0; i < nr; i++)
		split_at(pfn + i);

	memset(dst, 0, nr * sizeof(*dst));
	migrate_device_range(src, pfn, nr);
	for (i = 0; i < nr; i++) {
		struct folio *folio;

		if (!(src[i] & MIGRATE_PFN_MIGRATE))
			continue;
		folio = page_folio(migrate_pfn_to_page(src[i]));
		/* Not split, or of a file, which gets its page back below. */
		if (folio_test_large(folio) || !folio_test_anon(folio))
			continue;
		rmap_walk(folio, &rwc);
		lost++;
	}
	/* Without a place to go, this only lets go of the pages. */
	migrate_device_finalize(src, dst, nr);
	WRITE_ONCE(run->ev->moved, run->ev->moved + lost);
	return 0;
}

static int run_stop(const struct evict_run *run)
{
	if (time_after(jiffies, run->deadline))
		return -ETIMEDOUT;
	if (run->ev->killable && fatal_signal_pending(current))
		return -EINTR;
	return 0;
}

/* Through all windows once. */
static int run_round(struct evict_run *run)
{
	struct dev_pagemap *pgmap = run->ev->pgmap;
	unsigned long pfn, end;
	int i, err;

	for (i = 0; i < pgmap->nr_range; i++) {
		pfn = first_pfn(pgmap, i);
		for (; pfn <= PHYS_PFN(pgmap->ranges[i].end); pfn = end) {
			end = window_end(pgmap, i, pfn);
			cond_resched();
			if (!pages_in_use(pfn, end - pfn))
				continue;
			err = run_stop(run);
			if (!err)
				err = run->window(run, pfn, end - pfn);
			if (err)
				return err;
		}
	}
	return 0;
}

static int run_rounds(struct evict_run *run)
{
	struct memremap_evict *ev = run->ev;
	unsigned int rounds = ev->rounds ?: EVICT_ROUNDS;
	unsigned int i;
	int err;

	for (i = 0; i < rounds; i++) {
		if (i)
			fsleep(min(USEC_PER_MSEC << min(i, 10U),
				   EVICT_PAUSE_MAX_US));
		run->err = 0;
		err = run_round(run);
		WRITE_ONCE(ev->left, pgmap_in_use(ev->pgmap));
		if (!ev->left)
			return 0;
		if (!err)
			err = run_stop(run);
		if (err)
			return err;
		WRITE_ONCE(ev->round, i + 1);
	}
	return run->err ?: -EBUSY;
}

static int evict_all(struct memremap_evict *ev,
		     int (*window)(struct evict_run *run, unsigned long pfn,
				   unsigned long nr))
{
	struct dev_pagemap *pgmap = ev->pgmap;
	struct evict_run *run;
	int err;

	if (pgmap->type != MEMORY_DEVICE_PRIVATE &&
	    pgmap->type != MEMORY_DEVICE_COHERENT)
		return -EINVAL;

	memremap_close(pgmap);
	WRITE_ONCE(ev->round, 0);
	WRITE_ONCE(ev->left, pgmap_in_use(pgmap));
	if (!ev->left)
		return 0;

	run = kvzalloc(struct_size(run, src, 2 * EVICT_WINDOW), GFP_KERNEL);
	if (!run)
		return -ENOMEM;
	run->ev = ev;
	run->window = window;
	run->deadline = jiffies + min(ev->timeout ?: EVICT_TIMEOUT,
				      MAX_JIFFY_OFFSET);
	err = run_rounds(run);
	kvfree(run);
	return err;
}

/**
 * memremap_evict() - move all pages of a page map to system memory
 * @ev: what to move, how, and for how long
 *
 * Closes the page map, as memremap_close() does, and leaves it closed, whatever
 * but -EINVAL is returned: an owner that goes on calls memremap_open(). After an
 * error the contents of the pages that are left are as before, and the call may
 * be repeated.
 *
 * Large folios stay large. Where there is no memory for one, or
 * memremap_evict.copy() leaves it out, it is split. Its order is that of a PMD at
 * most, as is that of all folios that processes have mapped.
 *
 * Context: Process context, without locks that faults, notifiers or the owner's
 * methods take. Sleeps.
 *
 * Return: 0 if no page is in use, or
 *
 * * -EBUSY: pages are left that others hold or have locked, or that the owner
 *   has not copied
 * * -ENOMEM: pages are left because memory is short
 * * -ETIMEDOUT: the time was over
 * * -EINTR: a fatal signal, if memremap_evict.killable
 * * -EINVAL: the page map is not one of private or coherent memory
 * * what memremap_evict.copy() has returned
 */
int memremap_evict(struct memremap_evict *ev)
{
	return evict_all(ev, evict_window);
}
EXPORT_SYMBOL_GPL(memremap_evict);

/**
 * memremap_discard() - take away all pages of a page map whose device is dead
 * @ev: what to discard, and for how long. memremap_evict.copy() is not called.
 *
 * As memremap_evict(), but the contents are lost. A process that had one of the
 * pages mapped gets SIGBUS when it touches the address, until it unmaps it or
 * calls madvise(MADV_DONTNEED). A fork inherits that. Other processes, and the
 * rest of its memory, are not affected.
 *
 * Context: As for memremap_evict().
 *
 * Return: As memremap_evict(); there is no -ENOMEM once it has begun.
 */
int memremap_discard(struct memremap_evict *ev)
{
	return evict_all(ev, discard_window);
}
EXPORT_SYMBOL_GPL(memremap_discard);
