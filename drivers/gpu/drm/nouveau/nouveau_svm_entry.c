// SPDX-License-Identifier: MIT
/*
 * SVM: page tables and entries of the GPU for a window, by calls of nvkm. What is
 * mapped, and by entries of which size, is known here and not read back.
 *
 * Entries and nouveau_svm_window.small and .large are protected by the update lock
 * of the window; page tables by the lock of the space.
 */
#include <linux/bitops.h>
#include <linux/device.h>
#include <linux/lockdep.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include <nvif/if000c.h>
#include <nvif/ioctl.h>
#include <nvif/object.h>

#include "nouveau_svm_window.h"

#define BLOCK_ORDER	(NOUVEAU_SVM_BLOCK_SHIFT - PAGE_SHIFT)

/* ---- Calls of nvkm ---- */

/**
 * struct nouveau_svm_map - a call that maps, in the form in which nvkm takes it
 * @i: ioctl header
 * @m: method header
 * @p: arguments
 *
 * As it is filled under the update lock there can be no allocation, and so no
 * nvif_object_mthd(), which copies what is larger than a few words.
 */
struct nouveau_svm_map {
	struct nvif_ioctl_v0_hdr i;
	struct nvif_ioctl_mthd_v0_hdr m;
	struct nvif_vmm_svmmap_v0 p;
};

/**
 * nouveau_svm_map_alloc() - allocate memory to put calls together in
 *
 * Return: it, to be freed by kvfree(), or %NULL.
 */
struct nouveau_svm_map *nouveau_svm_map_alloc(void)
{
	struct nouveau_svm_map *map;

	map = kvzalloc(struct_size(map, p.run, NOUVEAU_SVM_RUNS), GFP_KERNEL);
	if (!map)
		return NULL;
	map->i.type = NVIF_IOCTL_V0_MTHD;
	map->m.method = NVIF_VMM_V0_SVMMAP;
	return map;
}

static int svm_tables_get(struct nouveau_svm_space *space, unsigned long start,
			  unsigned long end)
{
	struct nvif_vmm_svm_v0 args = {
		.addr = start,
		.size = end - start,
	};

	return nvif_object_mthd(space->args.vmm, NVIF_VMM_V0_SVMGET, &args,
				sizeof(args));
}

static void svm_tables_put(struct nouveau_svm_space *space, unsigned long start,
			   unsigned long end)
{
	struct nvif_vmm_svm_v0 args = {
		.addr = start,
		.size = end - start,
	};

	if (nvif_object_mthd(space->args.vmm, NVIF_VMM_V0_SVMPUT, &args,
			     sizeof(args)))
		dev_err_once(space->args.dev, "svm: page tables leaked\n");
}

static void svm_entries_clear(struct nouveau_svm_space *space,
			      unsigned long start, unsigned long end, u8 page)
{
	struct nvif_vmm_svm_v0 args = {
		.page = page,
		.addr = start,
		.size = end - start,
	};

	if (start < end &&
	    nvif_object_mthd(space->args.vmm, NVIF_VMM_V0_SVMCLR, &args,
			     sizeof(args)))
		dev_err_once(space->args.dev, "svm: entries cannot be cleared\n");
}

/* ---- Page tables ---- */

/**
 * nouveau_svm_window_reserve() - get page tables
 * @window: the window
 * @addr: an address in the block for which they are needed
 *
 * Before entries are made, when there can be no allocation. Page tables stay as
 * long as the window.
 *
 * Context: Under the space's lock. May sleep.
 *
 * Return: 0, or what nvkm says.
 */
int nouveau_svm_window_reserve(struct nouveau_svm_window *window,
			       unsigned long addr)
{
	unsigned int nr = nouveau_svm_block_nr(addr);
	unsigned long start, end;
	int ret;

	if (test_bit(nr, window->tables))
		return 0;
	nouveau_svm_block(window, addr, &start, &end);
	ret = svm_tables_get(window->space, start, end);
	if (!ret)
		__set_bit(nr, window->tables);
	return ret;
}

/**
 * nouveau_svm_window_unreserve() - put all page tables
 * @window: the window, of which nothing is mapped any more
 *
 * Context: Under the space's lock. May sleep.
 */
void nouveau_svm_window_unreserve(struct nouveau_svm_window *window)
{
	const struct hmm_dma_view *view = &window->mirror.view;
	unsigned long va, first, last;

	for (va = view->start; va < view->end; va = last) {
		nouveau_svm_block(window, va, &first, &last);
		if (test_bit(nouveau_svm_block_nr(va), window->tables))
			svm_tables_put(window->space, first, last);
	}
}

/* ---- Entries, under the update lock ---- */

/**
 * nouveau_svm_window_clear() - clear entries of the GPU's page table
 * @window: the window
 * @start: first byte, page aligned, in the window
 * @end: first byte after the range
 *
 * Clears all entries that have a part in the range, large ones as a whole. The
 * GPU's TLB is flushed when it returns.
 *
 * Context: Under the update lock. Does not wait for memory.
 */
void nouveau_svm_window_clear(struct nouveau_svm_window *window,
			      unsigned long start, unsigned long end)
{
	unsigned long from = start, to = start, next, first, last;
	u8 page = PAGE_SHIFT, this;

	/* Neighbours are cleared, and flushed, by one call. */
	for (; start < end; start = next) {
		unsigned int nr = nouveau_svm_block_nr(start);

		nouveau_svm_block(window, start, &first, &last);
		next = min(last, end);
		if (__test_and_clear_bit(nr, window->large)) {
			this = NOUVEAU_SVM_BLOCK_SHIFT;
		} else if (test_bit(nr, window->small)) {
			this = PAGE_SHIFT;
			if (start == first && next == last)
				__clear_bit(nr, window->small);
			first = start;
			last = next;
		} else {
			continue;
		}
		if (this != page || first != to) {
			svm_entries_clear(window->space, from, to, page);
			from = first;
			page = this;
		}
		to = last;
	}
	svm_entries_clear(window->space, from, to, page);
}

/* Large entries hide small ones: none may be left to come back later. */
static void svm_mark_large(struct nouveau_svm_window *window,
			   unsigned long start, unsigned long end)
{
	for (; start < end; start += NOUVEAU_SVM_BLOCK) {
		unsigned int nr = nouveau_svm_block_nr(start);

		if (test_bit(nr, window->small))
			nouveau_svm_window_clear(window, start,
						 start + NOUVEAU_SVM_BLOCK);
		__set_bit(nr, window->large);
	}
}

static void svm_mark_small(struct nouveau_svm_window *window,
			   unsigned long start, unsigned long end)
{
	unsigned long first, last;

	for (; start < end; start = last) {
		unsigned int nr = nouveau_svm_block_nr(start);

		nouveau_svm_block(window, start, &first, &last);
		if (test_bit(nr, window->large))
			nouveau_svm_window_clear(window, first, last);
		__set_bit(nr, window->small);
	}
}

/**
 * nouveau_svm_window_flush() - have nvkm map what has been added
 * @window: the window
 *
 * Context: As nouveau_svm_window_add(), in the same critical section.
 *
 * Return: 0, or what nvkm says, with nothing of it mapped.
 */
int nouveau_svm_window_flush(struct nouveau_svm_window *window)
{
	struct nouveau_svm_map *map = window->space->map;
	u64 end = map->p.addr + map->p.size;
	int ret;

	if (!map->p.nr)
		return 0;
	if (map->p.page == NOUVEAU_SVM_BLOCK_SHIFT)
		svm_mark_large(window, map->p.addr, end);
	else
		svm_mark_small(window, map->p.addr, end);
	ret = nvif_object_ioctl(window->space->args.vmm, map,
				struct_size(map, p.run, map->p.nr), NULL);
	if (ret)
		nouveau_svm_window_clear(window, map->p.addr, end);
	map->p.nr = 0;
	return ret;
}

/*
 * Can entries at @addr go into the call that is being put together? What it leaves
 * out has to be in blocks that it has entries in: the last one, and that of @addr.
 */
static bool svm_map_has_room(const struct nouveau_svm_map *map, u64 addr,
			     u8 page)
{
	u64 next = map->p.addr + map->p.size;

	/* One, and one for what is left out. */
	if (!map->p.nr || map->p.page != page ||
	    map->p.nr + (addr > next ? 2 : 1) > NOUVEAU_SVM_RUNS)
		return false;
	return addr >= next && addr - round_down(next - 1, NOUVEAU_SVM_BLOCK) <
			       2 * NOUVEAU_SVM_BLOCK;
}

static void svm_map_add_run(struct nouveau_svm_map *map, u64 phys, u64 size)
{
	struct nvif_vmm_svm_run *run = &map->p.run[map->p.nr];

	map->p.size += size;
	if (map->p.nr && run[-1].phys + run[-1].size == phys) {
		run[-1].size += size;
		return;
	}
	run->phys = phys;
	run->size = size;
	map->p.nr++;
}

/* Add entries to what nvkm is going to map. */
static int svm_map_add(struct nouveau_svm_window *window, u64 addr, u64 phys,
		       u64 size, u8 page)
{
	struct nouveau_svm_map *map = window->space->map;
	u64 next = map->p.addr + map->p.size;
	int ret;

	if (!svm_map_has_room(map, addr, page)) {
		ret = nouveau_svm_window_flush(window);
		if (ret)
			return ret;
		map->p.addr = addr;
		map->p.size = 0;
		map->p.page = page;
	} else if (addr > next) {
		svm_map_add_run(map, NVIF_VMM_SVM_SKIP, addr - next);
	}
	svm_map_add_run(map, phys, size);
	return 0;
}

/* Where the GPU finds the page at @va of a run. */
static u64 svm_run_phys(struct nouveau_svm_window *window,
			const struct hmm_dma_run *run, unsigned long va)
{
	unsigned long off = va - run->start;

	if (run->kind != HMM_DMA_PRIVATE)
		return run->addr + off;
	return window->space->args.vram_addr(pfn_to_page(run->pfn +
							 (off >> PAGE_SHIFT)));
}

static bool svm_run_is_large(struct nouveau_svm_window *window,
			     const struct hmm_dma_run *run, unsigned long va,
			     u64 phys)
{
	unsigned long start, end;

	nouveau_svm_block(window, va, &start, &end);
	return run->order >= BLOCK_ORDER && end - start == NOUVEAU_SVM_BLOCK &&
	       IS_ALIGNED(phys - (va - start), NOUVEAU_SVM_BLOCK);
}

static int svm_add_run(struct nouveau_svm_window *window,
		       const struct hmm_dma_run *run, u64 flags)
{
	unsigned long va = run->start, next, off;
	unsigned long end = va + (run->npages << PAGE_SHIFT);
	int ret = 0;

	if (run->writable)
		flags |= NVIF_VMM_SVM_WRITE;
	if (run->kind == HMM_DMA_PRIVATE) {
		flags |= NVIF_VMM_SVM_VRAM;
		/* The CPU does not access it, so the GPU is alone anyway. */
		if (run->writable)
			flags |= NVIF_VMM_SVM_ATOMIC;
	}

	for (; va < end && !ret; va = next) {
		u64 phys = svm_run_phys(window, run, va);

		off = va % NOUVEAU_SVM_BLOCK;
		next = min(va - off + NOUVEAU_SVM_BLOCK, end);
		if (svm_run_is_large(window, run, va, phys)) {
			if (!test_bit(nouveau_svm_block_nr(va), window->large))
				ret = svm_map_add(window, va - off,
						  (phys - off) | flags,
						  NOUVEAU_SVM_BLOCK,
						  NOUVEAU_SVM_BLOCK_SHIFT);
			continue;
		}
		/* Consecutive pages of VRAM may be of different chunks. */
		if (run->kind == HMM_DMA_PRIVATE)
			next = va + PAGE_SIZE;
		ret = svm_map_add(window, va, phys | flags, next - va,
				  PAGE_SHIFT);
	}
	return ret;
}

/**
 * nouveau_svm_window_add() - put together what to give to the GPU
 * @window: the window
 * @view: the view of its mirror, or that of its atomics
 * @start: first byte, page aligned, in the window
 * @end: first byte after the range
 * @flags: NVIF_VMM_SVM_ATOMIC or 0
 *
 * What a view has. Entries of a whole block are made if a page of a leaf is in the
 * range. The range may have gaps, and entries that are there already. Ranges are
 * added in the order of addresses, and mapped by nouveau_svm_window_flush() at the
 * latest.
 *
 * Context: Under the space's lock and the update lock, in the critical section in
 * which the view was filled. Does not wait for memory.
 *
 * Return: 0, or what nvkm says, with nothing left to be flushed. Some of what has
 * been added may be mapped then.
 */
int nouveau_svm_window_add(struct nouveau_svm_window *window,
			   struct hmm_dma_view *view, unsigned long start,
			   unsigned long end, u64 flags)
{
	struct hmm_dma_run run = { .start = start };
	int ret = 0;

	lockdep_assert_held(&window->space->lock);
	lockdep_assert_held(&window->mirror.lock);
	while (!ret && hmm_dma_next_run(view, end, &run))
		ret = svm_add_run(window, &run, flags);
	return ret;
}

/**
 * nouveau_svm_window_fill() - give to the GPU what a view has
 * @window: as for nouveau_svm_window_add()
 * @view: as for nouveau_svm_window_add()
 * @start: as for nouveau_svm_window_add()
 * @end: as for nouveau_svm_window_add()
 * @flags: as for nouveau_svm_window_add()
 *
 * Context: As nouveau_svm_window_add().
 *
 * Return: 0, or what nvkm says. Some of the range may be mapped then.
 */
int nouveau_svm_window_fill(struct nouveau_svm_window *window,
			    struct hmm_dma_view *view, unsigned long start,
			    unsigned long end, u64 flags)
{
	int ret = nouveau_svm_window_add(window, view, start, end, flags);

	return ret ?: nouveau_svm_window_flush(window);
}
