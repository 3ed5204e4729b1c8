// SPDX-License-Identifier: MIT
/*
 * KUnit tests of pages that are the GPU's alone, in its memory or for atomics, and
 * of how long windows live. Where a second thread is needed, the case waits for it.
 */
#include <kunit/test.h>
#include <linux/dma-mapping.h>
#include <linux/hmm_dma.h>
#include <linux/ioport.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/memremap.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/pgtable.h>
#include <linux/rmap.h>
#include <linux/sched/mm.h>
#include <linux/shrinker.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>

#include "nouveau_svm_kunit.h"

/* ---- Atomics ---- */

static bool device_is_atomic(struct svm_test *st, unsigned long page)
{
	u64 entry = svm_test_pte(st, page);

	return entry && !(entry & GP100_PTE_ATOMIC_DISABLE);
}

/* The GPU has it alone, where it was. */
static void device_expect_atomic(struct svm_test *st, unsigned long page,
				 u64 phys)
{
	KUNIT_EXPECT_TRUE(st->test, device_is_atomic(st, page));
	KUNIT_EXPECT_EQ(st->test, svm_test_phys(st, page), phys);
	KUNIT_EXPECT_EQ(st->test, svm_test_size(st, page), SZ_4K);
	KUNIT_EXPECT_EQ(st->test, 0,
			svm_test_pte(st, page) & GP100_PTE_READ_ONLY);
}

static void svm_device_atomic(struct kunit *test)
{
	struct svm_test *st = svm_test_share(test);
	u64 phys;

	svm_test_cpu_write(st, 0, 8);
	phys = svm_test_cpu_phys(3);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 3, NOUVEAU_FAULT_ATOMIC), 0);
	device_expect_atomic(st, 3, phys);
	/* Twice, as it may be faulted again. */
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 3, NOUVEAU_FAULT_ATOMIC), 0);
	device_expect_atomic(st, 3, phys);

	/* The CPU takes it back. */
	KUNIT_EXPECT_EQ(test, svm_test_cpu_read(st, 3), 3);
	svm_test_expect_none(st, 3, 4);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 3, NOUVEAU_FAULT_WRITE), 0);
	KUNIT_EXPECT_FALSE(test, device_is_atomic(st, 3));
	svm_test_expect(st, 3, 4, true);
}

/* A page that the GPU has to share with the CPU, and then alone, and again. */
static void svm_device_atomic_turns(struct kunit *test)
{
	struct svm_test *st = svm_test_share(test);
	unsigned int i;

	svm_test_cpu_write(st, 0, 4);
	for (i = 0; i < 10; i++) {
		svm_test_faults(st, 0, 4, NOUVEAU_FAULT_WRITE);
		svm_test_served(st);
		KUNIT_EXPECT_FALSE(test, device_is_atomic(st, 1));
		svm_test_expect(st, 0, 4, true);
		KUNIT_EXPECT_EQ(test, svm_test_one(st, 1, NOUVEAU_FAULT_ATOMIC),
				0);
		KUNIT_EXPECT_TRUE(test, device_is_atomic(st, 1));
		KUNIT_EXPECT_FALSE(test, device_is_atomic(st, 2));
	}
	KUNIT_EXPECT_EQ(test, svm_test_cpu_read(st, 1), 1);
	svm_test_expect_none(st, 1, 2);
}

/* khugepaged would touch all pages, atomic ones too, to make them a huge one. */
static void device_keep_split(void)
{
	struct vm_area_struct *vma;

	mmap_write_lock(current->mm);
	vma = vma_lookup(current->mm, svm_test_va(0));
	if (vma)
		vm_flags_mod(vma, VM_NOHUGEPAGE, VM_HUGEPAGE);
	mmap_write_unlock(current->mm);
}

/* Of a leaf that the GPU has: it goes, and one page comes back. */
static void svm_device_atomic_thp(struct kunit *test)
{
	struct svm_test *st = svm_test_share_thp(test);

	svm_test_cpu_write(st, 0, 1);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 0, NOUVEAU_FAULT_WRITE), 0);
	KUNIT_EXPECT_EQ(test, svm_test_size(st, 0), SZ_2M);
	device_keep_split();
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 5, NOUVEAU_FAULT_ATOMIC), 0);
	KUNIT_EXPECT_EQ(test, svm_test_size(st, 5), SZ_4K);
	KUNIT_EXPECT_TRUE(test, device_is_atomic(st, 5));
	svm_test_expect_none(st, 6, 512);

	/* The others do not take it away. */
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 6, NOUVEAU_FAULT_WRITE), 0);
	svm_test_expect(st, 6, 7, true);
	KUNIT_EXPECT_TRUE(test, device_is_atomic(st, 5));

	KUNIT_EXPECT_EQ(test, 0, vm_munmap(svm_test_va(5), PAGE_SIZE));
	svm_test_expect_none(st, 5, 6);
}

/* Of what cannot be taken from the CPU, or is not there. */
static void svm_device_atomic_fails(struct kunit *test)
{
	struct svm_test *st = svm_test_share_file(test, 4);

	KUNIT_EXPECT_EQ(test, svm_test_one(st, 1, NOUVEAU_FAULT_WRITE), 0);
	KUNIT_EXPECT_NE(test, svm_test_one(st, 1, NOUVEAU_FAULT_ATOMIC), 0);
	KUNIT_EXPECT_FALSE(test, device_is_atomic(st, 1));
	KUNIT_EXPECT_EQ(test, svm_test_one(st, SVM_TEST_PAGES + 1,
					   NOUVEAU_FAULT_ATOMIC), -EFAULT);
	svm_test_mmap(st, 8, 1, PROT_READ);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 8, NOUVEAU_FAULT_ATOMIC),
			-EPERM);
	svm_test_expect_none(st, 8, 9);
	/* That is all that it has cost. */
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 8, NOUVEAU_FAULT_READ), 0);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 1, NOUVEAU_FAULT_WRITE), 0);
	svm_test_expect(st, 1, 2, true);
}

/* An atomic that nvkm fails leaves the page to the CPU. */
static void svm_device_atomic_map_fails(struct kunit *test)
{
	struct svm_test *st = svm_test_share(test);

	svm_test_cpu_write(st, 0, 2);
	st->fail_mthd = NVIF_VMM_V0_SVMMAP;
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 1, NOUVEAU_FAULT_ATOMIC),
			-ENOMEM);
	KUNIT_EXPECT_EQ(test, st->failed, 1);
	svm_test_expect_none(st, 0, 2);
	KUNIT_EXPECT_EQ(test, svm_test_cpu_read(st, 1), 1);
	st->fail_mthd = -1;
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 1, NOUVEAU_FAULT_ATOMIC), 0);
	KUNIT_EXPECT_TRUE(test, device_is_atomic(st, 1));
}

/* ---- Memory of the GPU ---- */

static void device_folio_free(struct folio *folio)
{
}

/* Exchange pages for those that @get returns. What is in them does not matter. */
static int device_migrate(struct migrate_vma *args,
			  struct folio *(*get)(struct svm_test *st,
					       unsigned int order),
			  struct svm_test *st)
{
	unsigned long i;
	int ret;

	ret = migrate_vma_setup(args);
	if (ret)
		return ret;
	for (i = 0; i < args->npages; i++) {
		unsigned int order = args->src[i] & MIGRATE_PFN_COMPOUND ?
				     HPAGE_PMD_ORDER : 0;
		struct folio *folio;

		if (!(args->src[i] & MIGRATE_PFN_MIGRATE))
			continue;
		folio = get(st, order);
		if (!folio)
			continue;
		args->dst[i] = migrate_pfn(folio_pfn(folio));
		if (order)
			args->dst[i] |= MIGRATE_PFN_COMPOUND;
	}
	migrate_vma_pages(args);
	migrate_vma_finalize(args);
	return 0;
}

static struct folio *device_get_ram(struct svm_test *st, unsigned int order)
{
	struct folio *folio = folio_alloc(GFP_HIGHUSER | __GFP_ZERO, order);

	if (folio)
		folio_lock(folio);
	return folio;
}

static struct folio *device_get_vram(struct svm_test *st, unsigned int order)
{
	unsigned long nr = round_up(st->nr_vram, 1UL << order);
	struct folio *folio;

	if (nr + (1UL << order) > SVM_TEST_VRAM_PAGES)
		return NULL;
	st->nr_vram = nr + (1UL << order);
	folio = page_folio(pfn_to_page(PHYS_PFN(st->vram->start) + nr));
	return zone_device_folio_init(folio, &st->pgmap, order) ? NULL : folio;
}

/* A page at a time: leaves are not brought back. */
static vm_fault_t device_migrate_to_ram(struct vm_fault *vmf)
{
	struct svm_test *st = container_of(page_pgmap(vmf->page),
					   struct svm_test, pgmap);
	unsigned long src = 0, dst = 0;
	struct migrate_vma args = {
		.vma = vmf->vma,
		.start = vmf->address & PAGE_MASK,
		.end = (vmf->address & PAGE_MASK) + PAGE_SIZE,
		.src = &src,
		.dst = &dst,
		.fault_page = vmf->page,
		.pgmap_owner = st,
		.flags = MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
	};

	return device_migrate(&args, device_get_ram, st) ? VM_FAULT_SIGBUS : 0;
}

static const struct dev_pagemap_ops device_pgmap_ops = {
	.folio_free = device_folio_free,
	.migrate_to_ram = device_migrate_to_ram,
};

static void device_begin_vram(struct svm_test *st)
{
	struct resource *res;
	void *ptr;

	res = request_free_mem_region(&iomem_resource,
				      SVM_TEST_VRAM_PAGES * PAGE_SIZE,
				      "nouveau-svm-test");
	KUNIT_ASSERT_FALSE(st->test, IS_ERR(res));
	st->vram = res;
	st->pgmap.type = MEMORY_DEVICE_PRIVATE;
	st->pgmap.range.start = res->start;
	st->pgmap.range.end = res->end;
	st->pgmap.nr_range = 1;
	st->pgmap.ops = &device_pgmap_ops;
	st->pgmap.owner = st;
	ptr = memremap_pages(&st->pgmap, numa_node_id());
	if (IS_ERR(ptr))
		st->pgmap.nr_range = 0;
	KUNIT_ASSERT_FALSE(st->test, IS_ERR(ptr));
}

static void device_to_vram(struct svm_test *st, unsigned long page,
			   unsigned long end)
{
	unsigned long *pfns = kunit_kcalloc(st->test, 2 * (end - page),
					    sizeof(*pfns), GFP_KERNEL);
	struct migrate_vma args = {
		.start = svm_test_va(page),
		.end = svm_test_va(end),
		.src = pfns,
		.dst = pfns + (end - page),
		.pgmap_owner = st,
		.flags = MIGRATE_VMA_SELECT_SYSTEM |
			 MIGRATE_VMA_SELECT_COMPOUND,
	};

	KUNIT_ASSERT_NOT_NULL(st->test, pfns);
	mmap_read_lock(current->mm);
	args.vma = vma_lookup(current->mm, args.start);
	KUNIT_EXPECT_EQ(st->test, 0, device_migrate(&args, device_get_vram, st));
	mmap_read_unlock(current->mm);
	kunit_kfree(st->test, pfns);
}

/* The GPU gets to a page of VRAM, which it may use as it likes. */
static void device_expect_vram(struct svm_test *st, unsigned long page,
			       unsigned long addr)
{
	u64 entry = svm_test_pte(st, page);

	KUNIT_EXPECT_NE_MSG(st->test, entry, 0, "page %lu", page);
	KUNIT_EXPECT_EQ_MSG(st->test, svm_test_phys(st, page), addr, "page %lu",
			    page);
	KUNIT_EXPECT_EQ(st->test, entry & GP100_PTE_APERTURE,
			GP100_PTE_APERTURE_VRAM);
	KUNIT_EXPECT_FALSE(st->test, entry & GP100_PTE_VOL);
	KUNIT_EXPECT_FALSE(st->test, entry & GP100_PTE_READ_ONLY);
	KUNIT_EXPECT_FALSE(st->test, entry & GP100_PTE_ATOMIC_DISABLE);
}

/* What is migrated is taken from the GPU, and given back where it is then. */
static void svm_device_vram(struct kunit *test)
{
	struct svm_test *st = svm_test_share(test);
	unsigned long i;

	device_begin_vram(st);
	svm_test_cpu_write(st, 0, 12);
	svm_test_faults(st, 0, 12, NOUVEAU_FAULT_WRITE);
	svm_test_served(st);
	device_to_vram(st, 2, 10);
	KUNIT_EXPECT_EQ(test, st->nr_vram, 8);
	svm_test_expect_if_any(st, 0, 2, true);
	svm_test_expect_none(st, 2, 10);
	svm_test_expect_if_any(st, 10, 12, true);

	/* By the prefetch that follows a migration, or by a fault. */
	nouveau_svm_space_prefetch(&st->space, svm_test_va(0), svm_test_va(6),
				   true);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 6, NOUVEAU_FAULT_WRITE), 0);
	for (i = 2; i < 7; i++)
		device_expect_vram(st, i, SVM_TEST_VRAM + (i - 2) * PAGE_SIZE);
	svm_test_expect_none(st, 7, 10);
	/* It may do atomics there at once. */
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 6, NOUVEAU_FAULT_READ), 0);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMCLR), 0);

	/* The CPU touches one. */
	KUNIT_EXPECT_EQ(test, svm_test_cpu_read(st, 4), 0);
	svm_test_expect_none(st, 4, 5);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 4, NOUVEAU_FAULT_WRITE), 0);
	svm_test_expect(st, 4, 5, true);
	device_expect_vram(st, 3, SVM_TEST_VRAM + PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, 0, vm_munmap(SVM_TEST_START, 12 * PAGE_SIZE));
	svm_test_expect_none(st, 0, 12);
}

/* Pages that follow each other need not do so for the GPU. */
static void svm_device_vram_chunks(struct kunit *test)
{
	struct svm_test *st = svm_test_share(test);
	unsigned long i;

	device_begin_vram(st);
	st->vram_gap = 3;
	svm_test_cpu_write(st, 0, 6);
	device_to_vram(st, 0, 6);
	svm_test_faults(st, 0, 6, NOUVEAU_FAULT_WRITE);
	svm_test_served(st);
	for (i = 0; i < 6; i++)
		device_expect_vram(st, i, SVM_TEST_VRAM + i * PAGE_SIZE +
					  (i < 3 ? 0 : SZ_16M));
}

/* A leaf in VRAM is one for the GPU. */
static void svm_device_vram_thp(struct kunit *test)
{
	struct svm_test *st = svm_test_share_thp(test);
	unsigned long i;

	device_begin_vram(st);
	svm_test_cpu_write(st, 0, 1);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 0, NOUVEAU_FAULT_WRITE), 0);
	KUNIT_EXPECT_EQ(test, svm_test_size(st, 0), SZ_2M);
	device_to_vram(st, 0, SVM_TEST_BLOCK_PAGES);
	KUNIT_EXPECT_EQ(test, st->nr_vram, SVM_TEST_BLOCK_PAGES);
	svm_test_expect_none(st, 0, SVM_TEST_BLOCK_PAGES);

	nouveau_svm_fake_reset(&st->fake);
	nouveau_svm_space_prefetch(&st->space, svm_test_va(0),
				   svm_test_va(SVM_TEST_BLOCK_PAGES), true);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMMAP), 1);
	KUNIT_EXPECT_EQ(test, svm_test_size(st, 0), SZ_2M);
	for (i = 0; i < SVM_TEST_BLOCK_PAGES; i++)
		device_expect_vram(st, i, SVM_TEST_VRAM + i * PAGE_SIZE);
	/* A part of it goes, and with it the entry. */
	KUNIT_EXPECT_EQ(test, 0, vm_munmap(svm_test_va(9), PAGE_SIZE));
	svm_test_expect_none(st, 0, SVM_TEST_BLOCK_PAGES);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 10, NOUVEAU_FAULT_WRITE), 0);
	device_expect_vram(st, 10, SVM_TEST_VRAM + 10 * PAGE_SIZE);
	svm_test_expect_none(st, 9, 10);
}

/* Memory of another device is brought to the CPU, where the GPU gets at it. */
static void svm_device_vram_of_other(struct kunit *test)
{
	struct svm_test *st = test->priv;

	st->owner = test;
	svm_test_share(test);
	device_begin_vram(st);
	svm_test_cpu_write(st, 0, 4);
	device_to_vram(st, 0, 4);
	KUNIT_EXPECT_EQ(test, st->nr_vram, 4);
	nouveau_svm_space_prefetch(&st->space, svm_test_va(0), svm_test_va(4),
				   true);
	svm_test_expect_none(st, 0, 4);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 1, NOUVEAU_FAULT_WRITE), 0);
	svm_test_expect(st, 1, 2, true);
	svm_test_expect_none(st, 2, 4);
}

static int device_wrprotect(pte_t *pte, unsigned long addr, void *data)
{
	set_pte_at(current->mm, addr, pte, pte_wrprotect(ptep_get(pte)));
	return 0;
}

/*
 * A page that was shared by fork, before it went to VRAM: the GPU may read it
 * there. To be written to it comes back, and the CPU's fault makes it writable.
 */
static void svm_device_vram_shared(struct kunit *test)
{
	struct svm_test *st = svm_test_share(test);
	unsigned int i;

	device_begin_vram(st);
	svm_test_cpu_write(st, 0, 4);
	mmap_write_lock(current->mm);
	KUNIT_EXPECT_EQ(test, 0, apply_to_page_range(current->mm,
						     SVM_TEST_START,
						     4 * PAGE_SIZE,
						     device_wrprotect, NULL));
	mmap_write_unlock(current->mm);
	device_to_vram(st, 0, 4);
	KUNIT_EXPECT_EQ(test, st->nr_vram, 4);
	svm_test_faults(st, 0, 4, NOUVEAU_FAULT_READ);
	svm_test_served(st);
	for (i = 0; i < 4; i++) {
		KUNIT_EXPECT_EQ(test, svm_test_phys(st, i),
				SVM_TEST_VRAM + i * PAGE_SIZE);
		KUNIT_EXPECT_TRUE(test,
				  svm_test_pte(st, i) & GP100_PTE_READ_ONLY);
		KUNIT_EXPECT_FALSE(test, device_is_atomic(st, i));
	}

	/* The last and the first of a span, and one alone. */
	svm_test_faults(st, 1, 3, NOUVEAU_FAULT_WRITE);
	svm_test_served(st);
	svm_test_expect(st, 1, 3, true);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 0, NOUVEAU_FAULT_WRITE), 0);
	svm_test_expect(st, 0, 1, true);
	KUNIT_EXPECT_EQ(test, svm_test_phys(st, 3),
			SVM_TEST_VRAM + 3 * PAGE_SIZE);
	KUNIT_EXPECT_TRUE(test, svm_test_pte(st, 3) & GP100_PTE_READ_ONLY);
}

/* A page in VRAM is the GPU's alone: it stays, for atomic accesses too. */
static void svm_device_vram_atomic(struct kunit *test)
{
	struct svm_test *st = svm_test_share(test);

	device_begin_vram(st);
	svm_test_cpu_write(st, 0, 4);
	device_to_vram(st, 0, 4);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 1, NOUVEAU_FAULT_ATOMIC), 0);
	device_expect_vram(st, 1, SVM_TEST_VRAM + PAGE_SIZE);
	svm_test_expect_none(st, 2, 4);
	/* Until the CPU wants it. */
	KUNIT_EXPECT_EQ(test, svm_test_cpu_read(st, 1), 0);
	svm_test_expect_none(st, 1, 2);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 1, NOUVEAU_FAULT_ATOMIC), 0);
	KUNIT_EXPECT_EQ(test, svm_test_pte(st, 1) & GP100_PTE_APERTURE,
			GP100_PTE_APERTURE_COHERENT);
}

/* ---- Windows ---- */

/* As if there had been no fault for a minute in the window of a page. */
static void device_make_idle(struct svm_test *st, unsigned long page)
{
	svm_test_window(st, page)->used = jiffies - 60 * HZ;
}

static void svm_device_prefetch(struct kunit *test)
{
	struct svm_test *st = svm_test_share(test);

	svm_test_cpu_write(st, 100, 600);
	nouveau_svm_space_prefetch(&st->space, svm_test_va(200),
				   svm_test_va(700), true);
	svm_test_expect_none(st, 0, 200);
	svm_test_expect(st, 200, 600, true);
	svm_test_expect_none(st, 600, SVM_TEST_PAGES);
	/* Beyond what is shared nothing happens. */
	nouveau_svm_space_prefetch(&st->space, NOUVEAU_SVM_FAKE_HOLE - PAGE_SIZE,
				   NOUVEAU_SVM_FAKE_HOLE_END + PAGE_SIZE, true);
}

static void svm_device_reclaim(struct kunit *test)
{
	struct svm_test *st = svm_test_share(test);

	KUNIT_EXPECT_EQ(test, svm_test_one(st, 0, NOUVEAU_FAULT_WRITE), 0);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 0, NOUVEAU_FAULT_ATOMIC), 0);
	KUNIT_EXPECT_EQ(test, st->space.nr_windows, 1);

	/* It has just been used; then it has not for long. */
	nouveau_svm_space_reclaim(&st->space, 5);
	KUNIT_EXPECT_EQ(test, st->space.nr_windows, 1);
	KUNIT_EXPECT_NE(test, svm_test_pte(st, 0), 0);
	device_make_idle(st, 0);
	nouveau_svm_space_reclaim(&st->space, 0);
	KUNIT_EXPECT_EQ(test, st->space.nr_windows, 1);
	nouveau_svm_space_reclaim(&st->space, 5);
	KUNIT_EXPECT_EQ(test, st->space.nr_windows, 0);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMPUT), 1);
	svm_test_expect_none(st, 0, 1);

	KUNIT_EXPECT_EQ(test, svm_test_one(st, 0, NOUVEAU_FAULT_WRITE), 0);
	KUNIT_EXPECT_EQ(test, st->space.nr_windows, 1);
	svm_test_expect(st, 0, 1, true);
}

static void svm_device_empty(struct kunit *test)
{
	struct svm_test *st = svm_test_share(test);
	unsigned int clears;

	KUNIT_EXPECT_EQ(test, svm_test_one(st, 0, NOUVEAU_FAULT_WRITE), 0);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 1, NOUVEAU_FAULT_ATOMIC), 0);
	nouveau_svm_space_empty(&st->space);
	KUNIT_EXPECT_EQ(test, st->space.nr_windows, 0);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMPUT), 1);
	svm_test_expect_none(st, 0, 2);

	/* nvkm is not called before there is a fault. */
	clears = svm_test_calls(st, SVMCLR);
	KUNIT_EXPECT_EQ(test, 0, vm_munmap(svm_test_va(0), PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMCLR), clears);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 1, NOUVEAU_FAULT_WRITE), 0);
	svm_test_expect(st, 1, 2, true);
}

/* The process goes first: the GPU reaches nothing then, and gets no more. */
static void svm_device_process_exit(struct kunit *test)
{
	struct svm_test *st = svm_test_share(test);
	struct mm_struct *mm = current->mm;

	svm_test_fault(st, 0, NOUVEAU_FAULT_WRITE);
	svm_test_fault(st, 600, NOUVEAU_FAULT_ATOMIC);
	svm_test_served(st);
	KUNIT_EXPECT_NE(test, svm_test_pte(st, 0), 0);
	KUNIT_EXPECT_NE(test, svm_test_pte(st, 600), 0);

	/* The end of kunit_attach_mm(). */
	kthread_unuse_mm(mm);
	mmput(mm);
	svm_test_expect_none(st, 0, SVM_TEST_PAGES);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 0, NOUVEAU_FAULT_READ), -ESRCH);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMMAP), 0);
	svm_test_unshare(st);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMPUT), 2);
}

/* Three windows of memory with something in each. */
static struct svm_test *device_share_windows(struct kunit *test)
{
	struct svm_test *st = svm_test_share(test);
	unsigned int i;

	for (i = 0; i < 3; i++) {
		svm_test_mmap(st, i * SVM_TEST_WINDOW_PAGES, 16,
			      PROT_READ | PROT_WRITE);
		KUNIT_EXPECT_EQ(test, 0,
				svm_test_one(st, i * SVM_TEST_WINDOW_PAGES,
					     NOUVEAU_FAULT_WRITE));
	}
	KUNIT_EXPECT_EQ(test, st->space.nr_windows, 3);
	return st;
}

/* The one that was not used for longest goes first. */
static void svm_device_reclaim_order(struct kunit *test)
{
	struct svm_test *st = device_share_windows(test);
	const unsigned long next = SVM_TEST_WINDOW_PAGES;
	unsigned int i;

	for (i = 0; i < 3; i++)
		device_make_idle(st, i * next);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 1, NOUVEAU_FAULT_READ), 0);
	nouveau_svm_space_reclaim(&st->space, 1);
	KUNIT_EXPECT_EQ(test, st->space.nr_windows, 2);
	svm_test_expect(st, 0, 1, true);
	svm_test_expect_none(st, next, next + 1);
	svm_test_expect(st, 2 * next, 2 * next + 1, true);
	/* Of all, that which was just used stays. */
	nouveau_svm_space_reclaim(&st->space, ULONG_MAX);
	KUNIT_EXPECT_EQ(test, st->space.nr_windows, 1);
	svm_test_expect(st, 0, 1, true);
	svm_test_expect_none(st, 2 * next, 2 * next + 1);
}

static unsigned long device_count(struct svm_test *st)
{
	struct shrink_control sc = { .gfp_mask = GFP_KERNEL };

	return st->space.shrinker->count_objects(st->space.shrinker, &sc);
}

static void device_scan(struct svm_test *st, unsigned long nr)
{
	struct shrink_control sc = {
		.gfp_mask = GFP_KERNEL,
		.nr_to_scan = nr,
	};

	KUNIT_EXPECT_EQ(st->test, SHRINK_STOP,
			st->space.shrinker->scan_objects(st->space.shrinker,
							 &sc));
}

/* What the shrinker is asked, and what comes of it. */
static void svm_device_shrinker(struct kunit *test)
{
	struct svm_test *st = svm_test_share(test);

	KUNIT_EXPECT_EQ(test, device_count(st), SHRINK_EMPTY);
	device_scan(st, 5);
	flush_work(&st->space.reclaim);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 0, NOUVEAU_FAULT_WRITE), 0);
	KUNIT_EXPECT_EQ(test, device_count(st), 1);
	device_scan(st, 1);
	flush_work(&st->space.reclaim);
	KUNIT_EXPECT_EQ(test, device_count(st), 1);
	svm_test_expect(st, 0, 1, true);
	device_make_idle(st, 0);
	device_scan(st, 1);
	flush_work(&st->space.reclaim);
	KUNIT_EXPECT_EQ(test, device_count(st), SHRINK_EMPTY);
	svm_test_expect_none(st, 0, 1);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMPUT), 1);
}

static void device_scan_at_clear(struct svm_test *st, u8 mthd)
{
	if (mthd == NVIF_VMM_V0_SVMCLR)
		device_scan(st, 1);
}

/* Reclaim may be in an invalidation already, and must not wait for it. */
static void svm_device_shrinker_inside(struct kunit *test)
{
	struct svm_test *st = svm_test_share(test);

	KUNIT_EXPECT_EQ(test, svm_test_one(st, 0, NOUVEAU_FAULT_WRITE), 0);
	device_make_idle(st, 0);
	st->at_mthd = device_scan_at_clear;
	KUNIT_EXPECT_EQ(test, 0, vm_munmap(SVM_TEST_START, PAGE_SIZE));
	st->at_mthd = NULL;
	flush_work(&st->space.reclaim);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMCLR), 1);
	svm_test_expect_none(st, 0, 1);
	KUNIT_EXPECT_EQ(test, st->space.nr_windows, 0);
}

/* The space ends with reclaim asked for, and with the process still there. */
static void svm_device_end_while_reclaimed(struct kunit *test)
{
	struct svm_test *st = device_share_windows(test);
	const unsigned long next = SVM_TEST_WINDOW_PAGES;

	device_make_idle(st, 0);
	device_scan(st, 2);
	svm_test_unshare(st);
	svm_test_expect_none(st, 0, 16);
	svm_test_expect_none(st, next, next + 16);
	svm_test_expect_none(st, 2 * next, 2 * next + 16);
	KUNIT_EXPECT_EQ(test, 0, vm_munmap(SVM_TEST_START, PAGE_SIZE));
}

/* There are only so many: the one that has not faulted for longest makes room. */
static void svm_device_window_limit(struct kunit *test)
{
	struct svm_test *st = svm_test_share(test);
	const unsigned long next = SVM_TEST_WINDOW_PAGES;
	unsigned long i;

	for (i = 0; i <= NOUVEAU_SVM_WINDOWS; i++) {
		svm_test_mmap(st, i * next, 1, PROT_READ | PROT_WRITE);
		KUNIT_EXPECT_EQ(test, 0, svm_test_one(st, i * next,
						      NOUVEAU_FAULT_WRITE));
		/* The first one faults again, so the second one is the oldest. */
		if (i == 1)
			KUNIT_EXPECT_EQ(test, 0,
					svm_test_one(st, 0,
						     NOUVEAU_FAULT_READ));
	}
	KUNIT_EXPECT_EQ(test, st->space.nr_windows, NOUVEAU_SVM_WINDOWS);
	svm_test_expect(st, 0, 1, true);
	svm_test_expect_none(st, next, next + 1);
	svm_test_expect(st, 2 * next, 2 * next + 1, true);
	svm_test_expect(st, (i - 1) * next, (i - 1) * next + 1, true);
}

/* Without memory for page tables, other windows give up theirs; not the same one. */
static void svm_device_no_tables(struct kunit *test)
{
	struct svm_test *st = device_share_windows(test);
	const unsigned long next = SVM_TEST_WINDOW_PAGES;

	nvkm_mmu_ptc_dump(st->fake.ummu.mmu);
	st->fake.memory_left = 0;
	KUNIT_EXPECT_EQ(test, 0, svm_test_one(st, 600, NOUVEAU_FAULT_WRITE));
	KUNIT_EXPECT_LT(test, st->space.nr_windows, 3);
	svm_test_expect(st, 0, 1, true);
	svm_test_expect(st, 600, 601, true);
	svm_test_expect_none(st, next, next + 1);
	st->fake.memory_left = UINT_MAX;
	KUNIT_EXPECT_EQ(test, 0, svm_test_one(st, next, NOUVEAU_FAULT_WRITE));
	svm_test_expect(st, next, next + 1, true);
}

/* A window is kept, however often there are faults in it. */
static void svm_device_window_stays(struct kunit *test)
{
	struct svm_test *st = svm_test_share(test);
	struct nouveau_svm_window *window;
	unsigned int i;

	KUNIT_EXPECT_EQ(test, svm_test_one(st, 0, NOUVEAU_FAULT_WRITE), 0);
	window = svm_test_window(st, 0);
	for (i = 1; i < 64; i++) {
		KUNIT_EXPECT_EQ(test, svm_test_one(st, i * 16,
						   NOUVEAU_FAULT_WRITE), 0);
		KUNIT_EXPECT_PTR_EQ(test, window, svm_test_window(st, i * 16));
	}
	KUNIT_EXPECT_EQ(test, st->space.nr_windows, 1);
	KUNIT_EXPECT_EQ(test, window->mirror.view.start, SVM_TEST_START);
	KUNIT_EXPECT_EQ(test, window->mirror.view.end,
			SVM_TEST_START + NOUVEAU_SVM_WINDOW);
}

/* A device that cannot be given all memory is told so before it faults. */
static void svm_device_unfit(struct kunit *test)
{
	struct svm_test *st = test->priv;
	u64 mask, *of_dev = st->fake.dev->dma_mask;

	KUNIT_ASSERT_NOT_NULL(test, of_dev);
	KUNIT_ASSERT_EQ(test, 0, kunit_attach_mm());
	mask = *of_dev;
	*of_dev = DMA_BIT_MASK(20);
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, svm_test_share_mm(st));
	*of_dev = mask;
	KUNIT_EXPECT_EQ(test, 0, svm_test_share_mm(st));
}

static struct kunit_case svm_device_cases[] = {
	KUNIT_CASE(svm_device_atomic),
	KUNIT_CASE(svm_device_atomic_turns),
	KUNIT_CASE(svm_device_atomic_thp),
	KUNIT_CASE(svm_device_atomic_fails),
	KUNIT_CASE(svm_device_atomic_map_fails),
	KUNIT_CASE(svm_device_vram),
	KUNIT_CASE(svm_device_vram_chunks),
	KUNIT_CASE(svm_device_vram_thp),
	KUNIT_CASE(svm_device_vram_of_other),
	KUNIT_CASE(svm_device_vram_shared),
	KUNIT_CASE(svm_device_vram_atomic),
	KUNIT_CASE(svm_device_prefetch),
	KUNIT_CASE(svm_device_reclaim),
	KUNIT_CASE(svm_device_empty),
	KUNIT_CASE(svm_device_process_exit),
	KUNIT_CASE(svm_device_reclaim_order),
	KUNIT_CASE(svm_device_shrinker),
	KUNIT_CASE(svm_device_shrinker_inside),
	KUNIT_CASE(svm_device_end_while_reclaimed),
	KUNIT_CASE(svm_device_window_limit),
	KUNIT_CASE(svm_device_no_tables),
	KUNIT_CASE(svm_device_window_stays),
	KUNIT_CASE(svm_device_unfit),
	{}
};

static struct kunit_suite svm_device_suite = {
	.name = "nouveau_svm_device",
	.init = svm_test_init,
	.exit = svm_test_exit,
	.test_cases = svm_device_cases,
};

kunit_test_suite(svm_device_suite);
