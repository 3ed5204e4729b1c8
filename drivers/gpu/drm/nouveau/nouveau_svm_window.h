/* SPDX-License-Identifier: MIT */
/*
 * SVM: what a process shares with the GPU, in windows of its address space, each
 * of them mirrored.
 *
 * Locks, outermost first:
 *
 *   nouveau_svm_space.lock  The windows, the page tables they hold, and the
 *                           scratch memory of those who map. Held by whoever
 *                           serves faults or prefetches, one at a time, and when
 *                           windows are made or given up. Faults of the process's
 *                           memory are waited for under it, which may take as long
 *                           as the process likes: its ioctls take it killable.
 *   mmap lock               Taken by the mirror layer, for atomics, and to have
 *                           the CPU's side of a fault served.
 *   folio lock              Of a page that becomes the GPU's alone.
 *   hmm_mirror.lock         The update lock of a window: its entries in the page
 *                           table of the GPU, and the bitmaps that tell of what
 *                           size these are.
 *   nvkm_mmu.mutex          Taken by nvkm when it flushes the TLB.
 *
 * The last two are taken by invalidations, so no memory is waited for under them.
 * nvkm allocates and frees page tables under nvkm_vmm.mutex.vmm, which is only
 * taken outside of them.
 */
#ifndef __NOUVEAU_SVM_WINDOW_H__
#define __NOUVEAU_SVM_WINDOW_H__

#include <linux/hmm_mirror.h>
#include <linux/list.h>
#include <linux/maple_tree.h>
#include <linux/mutex.h>
#include <linux/sizes.h>
#include <linux/types.h>
#include <linux/workqueue.h>

struct device;
struct mm_struct;
struct nouveau_svm_atomics;
struct nouveau_svm_fault;
struct nouveau_svm_map;
struct nvif_object;
struct page;
struct shrinker;

#define NOUVEAU_SVM_WINDOW	((unsigned long)SZ_64M)

/* What one large entry of the GPU maps, and one small page table. */
#define NOUVEAU_SVM_BLOCK	((unsigned long)SZ_2M)
#define NOUVEAU_SVM_BLOCK_SHIFT	21
#define NOUVEAU_SVM_BLOCKS	(NOUVEAU_SVM_WINDOW / NOUVEAU_SVM_BLOCK)

/*
 * Windows that a space can have, of which the one that has not faulted for longest
 * makes room for a new one: their page tables are memory of the GPU.
 */
#define NOUVEAU_SVM_WINDOWS	256

/* Runs that one call of nvkm can map. */
#define NOUVEAU_SVM_RUNS	512

/**
 * struct nouveau_svm_space_args - what nouveau_svm_space_init() is told
 * @mm: the process's address space, of which the caller holds a reference to its
 *	memory (mmget())
 * @vmm: the GPU's address space
 * @dev: the GPU, for DMA
 * @owner: &dev_pagemap.owner of its memory
 * @vram_addr: tells the VRAM address of a device-private page of @owner
 * @hole_start: first byte of what is not shared, since nvkm uses it
 * @hole_end: first byte after that
 */
struct nouveau_svm_space_args {
	struct mm_struct *mm;
	struct nvif_object *vmm;
	struct device *dev;
	void *owner;
	unsigned long (*vram_addr)(struct page *page);
	unsigned long hole_start;
	unsigned long hole_end;
};

/**
 * struct nouveau_svm_space - an address space that a process shares with the GPU
 * @args: see above; a reference to the mm_struct is held, none to its memory
 * @lock: see the top of this file
 * @windows: the windows, by address
 * @lru: the same, the one that has not faulted for longest first
 * @nr_windows: how many there are
 * @map: scratch memory, in which calls of nvkm are put together
 * @wanted: the same, with a bit for each page of a window
 * @shrinker: asks for windows to be given up
 * @reclaim: gives them up
 * @to_reclaim: how many windows @reclaim shall look at
 */
struct nouveau_svm_space {
	struct nouveau_svm_space_args args;
	struct mutex lock;		/* protects the following */
	struct maple_tree windows;
	struct list_head lru;
	unsigned long nr_windows;
	struct nouveau_svm_map *map;
	unsigned long *wanted;

	struct shrinker *shrinker;
	struct work_struct reclaim;
	atomic_long_t to_reclaim;
};

/**
 * struct nouveau_svm_window - a part of a space
 * @mirror: the mirror; its lock protects @small and @large
 * @space: the space
 * @lru: place in nouveau_svm_space.lru
 * @used: when it has last served something, in jiffies
 * @leaves: the block that has faulted last is mapped by a large entry
 * @tables: blocks that have page tables
 * @small: blocks in which there may be small entries
 * @large: blocks that are mapped by a large entry
 * @atomics: pages that the GPU uses alone, %NULL as long as there are none
 *
 * @lru, @used, @leaves, @tables and the pointer @atomics belong to &nouveau_svm_space.lock.
 */
struct nouveau_svm_window {
	struct hmm_mirror mirror;
	struct nouveau_svm_space *space;
	struct list_head lru;
	unsigned long used;
	bool leaves;
	DECLARE_BITMAP(tables, NOUVEAU_SVM_BLOCKS);
	DECLARE_BITMAP(small, NOUVEAU_SVM_BLOCKS);
	DECLARE_BITMAP(large, NOUVEAU_SVM_BLOCKS);
	struct nouveau_svm_atomics *atomics;
};

/* nouveau_svm_window.c */
int nouveau_svm_space_init(struct nouveau_svm_space *space,
			   const struct nouveau_svm_space_args *args);
void nouveau_svm_space_fini(struct nouveau_svm_space *space);
void nouveau_svm_space_empty(struct nouveau_svm_space *space);
void nouveau_svm_space_reclaim(struct nouveau_svm_space *space,
			       unsigned long nr);

/* nouveau_svm_serve.c */
void nouveau_svm_space_serve(struct nouveau_svm_space *space,
			     struct nouveau_svm_fault **faults,
			     unsigned int nr);
void nouveau_svm_space_prefetch(struct nouveau_svm_space *space,
				unsigned long start, unsigned long end,
				bool write);

/* For each other. nouveau_svm_window.c */
struct nouveau_svm_window *
nouveau_svm_window_get(struct nouveau_svm_space *space, u64 addr);
bool nouveau_svm_space_shrink(struct nouveau_svm_space *space);

/* nouveau_svm_entry.c */
struct nouveau_svm_map *nouveau_svm_map_alloc(void);
int nouveau_svm_window_reserve(struct nouveau_svm_window *window,
			       unsigned long addr);
void nouveau_svm_window_unreserve(struct nouveau_svm_window *window);
int nouveau_svm_window_add(struct nouveau_svm_window *window,
			   struct hmm_dma_view *view, unsigned long start,
			   unsigned long end, u64 flags);
int nouveau_svm_window_flush(struct nouveau_svm_window *window);
int nouveau_svm_window_fill(struct nouveau_svm_window *window,
			    struct hmm_dma_view *view, unsigned long start,
			    unsigned long end, u64 flags);
void nouveau_svm_window_clear(struct nouveau_svm_window *window,
			      unsigned long start, unsigned long end);

/* nouveau_svm_atomic.c */
int nouveau_svm_window_atomic(struct nouveau_svm_window *window,
			      unsigned long addr, unsigned long timeout);
void nouveau_svm_window_end_atomics(struct nouveau_svm_window *window);

/**
 * nouveau_svm_block_nr() - which block of its window an address is in
 * @addr: the address
 *
 * Return: its bit in the bitmaps of the window.
 */
static inline unsigned int nouveau_svm_block_nr(unsigned long addr)
{
	return addr % NOUVEAU_SVM_WINDOW / NOUVEAU_SVM_BLOCK;
}

/**
 * nouveau_svm_block() - what of a block is in its window
 * @window: the window
 * @addr: an address in the block and in the window
 * @start: where to put the first byte
 * @end: where to put the first byte after it
 */
static inline void nouveau_svm_block(struct nouveau_svm_window *window,
				     unsigned long addr, unsigned long *start,
				     unsigned long *end)
{
	const struct hmm_dma_view *view = &window->mirror.view;
	unsigned long block = round_down(addr, NOUVEAU_SVM_BLOCK);

	*start = max(block, view->start);
	*end = min(block + NOUVEAU_SVM_BLOCK, view->end);
}

#endif /* __NOUVEAU_SVM_WINDOW_H__ */
