/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Taking device memory back: an owner moves all pages of a page map to system
 * memory, see Documentation/mm/hmm.rst. A call belongs to one task; its counts
 * may be read by others at any time, without a lock.
 */
#ifndef _LINUX_MEMREMAP_EVICT_H
#define _LINUX_MEMREMAP_EVICT_H

#include <linux/types.h>

struct dev_pagemap;

/**
 * struct memremap_evict - a call of memremap_evict() or memremap_discard()
 * @pgmap: the page map, of private or coherent memory
 * @copy: copies pages to system memory. @src and @dst are arrays of @npages
 *	entries as migrate_vma_setup() makes them: those to copy have a
 *	destination, which is locked. Of large folios only the first page has an
 *	entry. Clears MIGRATE_PFN_MIGRATE of what it could not copy. What the
 *	device may still write to, it keeps by a reference of its own. When this
 *	returns 0, the CPU sees the data and all destinations are unmapped from
 *	DMA. After an error none counts as copied, and the call gives up.
 * @data: for the owner
 * @timeout: after how many jiffies to give up; 0: a default of 30 seconds. This is
 *	looked at before each window, so @copy may make it longer.
 * @rounds: how often to go through all pages at most; 0: a default of 12. The
 *	pauses between these add up to 0.6 seconds: what others hold for longer
 *	wants more rounds, or another call.
 * @killable: give up after a fatal signal, too. It is looked at as the time is.
 * @moved: pages that were moved, or discarded, by all calls so far. May be read
 *	at any time, as may the rest.
 * @left: pages in use at first, and after each round
 * @round: rounds that this call has finished without success
 *
 * All that is zero at first is right for most.
 */
struct memremap_evict {
	struct dev_pagemap *pgmap;
	int (*copy)(struct memremap_evict *ev, unsigned long *src,
		    const unsigned long *dst, unsigned long npages);
	void *data;
	unsigned long timeout;
	unsigned int rounds;
	bool killable;
	unsigned long moved;
	unsigned long left;
	unsigned int round;
};

int memremap_evict(struct memremap_evict *ev);
int memremap_discard(struct memremap_evict *ev);

#endif /* _LINUX_MEMREMAP_EVICT_H */
