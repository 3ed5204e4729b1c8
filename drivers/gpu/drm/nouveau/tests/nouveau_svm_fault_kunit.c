// SPDX-License-Identifier: MIT
/*
 * KUnit tests of faults of the GPU: as data, and how they are served page by page.
 * Nothing runs at the same time.
 */
#include <kunit/test.h>
#include <linux/mman.h>
#include <linux/prandom.h>

#include "nouveau_svm_kunit.h"

/* ---- Faults as data ---- */

static void svm_fault_sort(struct kunit *test)
{
	struct svm_test *st = test->priv;
	struct nouveau_svm_span span;

	/* Differences that do not fit into an int. */
	svm_test_add(st, 0x7f0000001000, NOUVEAU_FAULT_READ);
	svm_test_add(st, 0x1008, NOUVEAU_FAULT_READ);
	svm_test_add(st, 0x100001000, NOUVEAU_FAULT_WRITE);
	svm_test_add(st, 0x1000, NOUVEAU_FAULT_PREFETCH);
	svm_test_add(st, 0x1ffc, NOUVEAU_FAULT_ATOMIC);
	svm_test_add(st, 0x1010, NOUVEAU_FAULT_WRITE);
	svm_test_add(st, 0x0, NOUVEAU_FAULT_READ);
	nouveau_svm_faults_sort(st->faults, st->nr_faults);
	KUNIT_EXPECT_EQ(test, st->faults[0]->addr, 0x0);
	KUNIT_EXPECT_EQ(test, st->faults[1]->access, NOUVEAU_FAULT_ATOMIC);
	KUNIT_EXPECT_EQ(test, st->faults[2]->access, NOUVEAU_FAULT_WRITE);
	KUNIT_EXPECT_EQ(test, st->faults[3]->access, NOUVEAU_FAULT_READ);
	KUNIT_EXPECT_EQ(test, st->faults[4]->access, NOUVEAU_FAULT_PREFETCH);
	KUNIT_EXPECT_EQ(test, st->faults[5]->addr, 0x100001000);
	KUNIT_EXPECT_EQ(test, st->faults[6]->addr, 0x7f0000001000);
	KUNIT_EXPECT_EQ(test, nouveau_svm_faults_below(st->faults, 7, 0x2000),
			5);

	/* What the page at 0x1000 needs is not asked for the one at 0. */
	nouveau_svm_faults_span(st->faults, 7, &span);
	KUNIT_EXPECT_EQ(test, span.nr, 1);
	KUNIT_EXPECT_EQ(test, span.need, NOUVEAU_SVM_READ);
	nouveau_svm_faults_span(st->faults + 1, 6, &span);
	KUNIT_EXPECT_EQ(test, span.start, 0x1000);
	KUNIT_EXPECT_EQ(test, span.end, 0x2000);
	KUNIT_EXPECT_EQ(test, span.nr, 4);
	KUNIT_EXPECT_EQ(test, span.need, NOUVEAU_SVM_ATOMIC);
}

static void svm_fault_sort_spaces(struct kunit *test)
{
	struct svm_test *st = test->priv;

	svm_test_add(st, 0x1000, NOUVEAU_FAULT_READ);
	svm_test_add(st, 0x1000, NOUVEAU_FAULT_READ);
	svm_test_add(st, 0x2000, NOUVEAU_FAULT_READ);
	st->fault[1].svmm = NULL;
	nouveau_svm_faults_sort(st->faults, st->nr_faults);
	KUNIT_EXPECT_NULL(test, st->faults[0]->svmm);
	KUNIT_EXPECT_EQ(test, 1,
			nouveau_svm_faults_below(st->faults, 3, U64_MAX));
	KUNIT_EXPECT_EQ(test, 2,
			nouveau_svm_faults_below(st->faults + 1, 2, U64_MAX));
}

/* What all faults of a page together need, the way one would do it by hand. */
static enum nouveau_svm_need fault_need(struct svm_test *st, u64 page)
{
	enum nouveau_svm_need need = NOUVEAU_SVM_PREFETCH;
	unsigned int i;

	for (i = 0; i < st->nr_faults; i++)
		if ((st->fault[i].addr & PAGE_MASK) == page)
			need = max(need,
				   nouveau_svm_fault_need(&st->fault[i]));
	return need;
}

static bool fault_is_in(struct svm_test *st, u64 page)
{
	unsigned int i;

	for (i = 0; i < st->nr_faults; i++)
		if ((st->fault[i].addr & PAGE_MASK) == page)
			return true;
	return false;
}

/* Spans are all that was asked for, nothing else, and each page once. */
static void svm_fault_random(struct kunit *test)
{
	struct svm_test *st = test->priv;
	struct nouveau_svm_span span;
	struct rnd_state rnd;
	unsigned int round, i, pages;
	u64 page, end;

	prandom_seed_state(&rnd, 20231);
	for (round = 0; round < 50; round++) {
		st->nr_faults = 0;
		for (i = 0; i < 60; i++)
			svm_test_add(st, prandom_u32_state(&rnd) % (40 * SZ_4K),
				     prandom_u32_state(&rnd) % 5);
		nouveau_svm_faults_sort(st->faults, st->nr_faults);
		end = 0;
		pages = 0;
		for (i = 0; i < st->nr_faults; i += span.nr) {
			nouveau_svm_faults_span(st->faults + i,
						st->nr_faults - i, &span);
			KUNIT_ASSERT_GT(test, span.nr, 0);
			for (page = end; page < span.start; page += PAGE_SIZE)
				KUNIT_EXPECT_FALSE(test, fault_is_in(st, page));
			for (; page < span.end; page += PAGE_SIZE, pages++) {
				KUNIT_EXPECT_TRUE(test, fault_is_in(st, page));
				KUNIT_EXPECT_EQ(test, span.need,
						fault_need(st, page));
			}
			KUNIT_EXPECT_EQ(test, page, span.end);
			end = span.end;
		}
		KUNIT_EXPECT_EQ(test, i, st->nr_faults);
		for (page = 0; page < 40 * SZ_4K; page += PAGE_SIZE)
			pages -= fault_is_in(st, page);
		KUNIT_EXPECT_EQ(test, pages, 0);
	}
}

/*
 * Of a range only those faults fail that need what cannot be had, and prefetches
 * never do.
 */
static void svm_fault_fail(struct kunit *test)
{
	static const u8 access[] = {
		NOUVEAU_FAULT_READ, NOUVEAU_FAULT_PREFETCH, NOUVEAU_FAULT_WRITE,
		NOUVEAU_FAULT_ATOMIC,
	};
	struct svm_test *st = test->priv;
	unsigned int i;

	for (i = 0; i < 16; i++)
		svm_test_add(st, i / 4 * PAGE_SIZE + 8, access[i % 4]);
	nouveau_svm_faults_fail(st->faults, st->nr_faults, PAGE_SIZE,
				2 * PAGE_SIZE - 1, NOUVEAU_SVM_READ, -EFAULT);
	nouveau_svm_faults_fail(st->faults, st->nr_faults, 2 * PAGE_SIZE,
				3 * PAGE_SIZE - 1, NOUVEAU_SVM_WRITE, -EPERM);
	for (i = 0; i < 4; i++) {
		KUNIT_EXPECT_EQ(test, st->fault[i].error, 0);
		KUNIT_EXPECT_EQ(test, st->fault[4 + i].error,
				i == 1 ? 0 : -EFAULT);
		KUNIT_EXPECT_EQ(test, st->fault[8 + i].error,
				i < 2 ? 0 : -EPERM);
		KUNIT_EXPECT_EQ(test, st->fault[12 + i].error, 0);
	}
	/* The last page there is. */
	st->nr_faults = 0;
	svm_test_add(st, U64_MAX, NOUVEAU_FAULT_WRITE);
	nouveau_svm_faults_fail(st->faults, 1, U64_MAX & PAGE_MASK, U64_MAX,
				NOUVEAU_SVM_READ, -EFAULT);
	KUNIT_EXPECT_EQ(test, st->fault[0].error, -EFAULT);
}

/* ---- Served page by page ---- */

static void svm_fault_single(struct kunit *test)
{
	struct svm_test *st = svm_test_share(test);

	KUNIT_EXPECT_EQ(test, svm_test_one(st, 5, NOUVEAU_FAULT_WRITE), 0);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMMAP), 1);
	svm_test_expect(st, 5, 6, true);
	svm_test_expect_none(st, 0, 5);
	svm_test_expect_none(st, 6, SVM_TEST_PAGES);

	/* Reading needs no more, even of a page that may be written to. */
	svm_test_cpu_write(st, 7, 8);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 7, NOUVEAU_FAULT_READ), 0);
	svm_test_expect(st, 7, 8, false);
	/* The page tables are there. */
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMGET), 0);
}

static void svm_fault_scattered(struct kunit *test)
{
	struct svm_test *st = svm_test_share(test);
	unsigned long i;

	for (i = 0; i < SVM_TEST_PAGES; i += 64)
		svm_test_fault(st, SVM_TEST_PAGES - 1 - i, NOUVEAU_FAULT_WRITE);
	svm_test_served(st);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMMAP), SVM_TEST_PAGES / 64);
	for (i = 0; i < SVM_TEST_PAGES; i++)
		if (i % 64 == 63)
			svm_test_expect(st, i, i + 1, true);
		else
			svm_test_expect_none(st, i, i + 1);
}

static void svm_fault_duplicates(struct kunit *test)
{
	struct svm_test *st = svm_test_share(test);
	unsigned int i;

	for (i = 0; i < 64; i++)
		svm_test_fault(st, 3, i == 40 ? NOUVEAU_FAULT_WRITE :
						NOUVEAU_FAULT_READ);
	svm_test_served(st);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMMAP), 1);
	svm_test_expect(st, 3, 4, true);
	svm_test_expect_none(st, 4, 512);
}

/* With many faults, what is contiguous with them may be mapped, and nothing else. */
static void svm_fault_dense(struct kunit *test)
{
	struct svm_test *st = svm_test_share(test);
	unsigned long i;

	svm_test_cpu_write(st, 0, 500);
	for (i = 0; i < 500; i += 5)
		svm_test_fault(st, i, NOUVEAU_FAULT_READ);
	svm_test_served(st);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMMAP), 1);
	for (i = 0; i < 500; i += 5)
		svm_test_expect(st, i, i + 1, false);
	svm_test_expect_if_any(st, 0, 500, false);
	svm_test_expect_none(st, 500, SVM_TEST_PAGES);
}

static void svm_fault_mix(struct kunit *test)
{
	static const u8 access[] = {
		NOUVEAU_FAULT_READ, NOUVEAU_FAULT_WRITE, NOUVEAU_FAULT_ATOMIC,
		NOUVEAU_FAULT_READ, NOUVEAU_FAULT_PREFETCH, NOUVEAU_FAULT_READ,
	};
	struct svm_test *st = svm_test_share(test);
	unsigned int i;

	svm_test_cpu_write(st, 0, ARRAY_SIZE(access));
	for (i = 0; i < ARRAY_SIZE(access); i++)
		svm_test_fault(st, i, access[i]);
	svm_test_served(st);
	for (i = 0; i < ARRAY_SIZE(access); i++) {
		u64 entry = svm_test_pte(st, i);

		KUNIT_EXPECT_NE(test, entry, 0);
		KUNIT_EXPECT_EQ_MSG(test, !(entry & GP100_PTE_ATOMIC_DISABLE),
				    access[i] == NOUVEAU_FAULT_ATOMIC, "%u", i);
		KUNIT_EXPECT_EQ_MSG(test, !(entry & GP100_PTE_READ_ONLY),
				    access[i] == NOUVEAU_FAULT_ATOMIC ||
				    access[i] == NOUVEAU_FAULT_WRITE, "%u", i);
	}
}

/* What one batch asks for does not change what the next gets. */
static void svm_fault_no_leak_of_access(struct kunit *test)
{
	struct svm_test *st = svm_test_share(test);

	KUNIT_EXPECT_EQ(test, svm_test_one(st, 0, NOUVEAU_FAULT_ATOMIC), 0);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 1, NOUVEAU_FAULT_READ), 0);
	KUNIT_EXPECT_TRUE(test, svm_test_pte(st, 1) & GP100_PTE_ATOMIC_DISABLE);
	KUNIT_EXPECT_TRUE(test, svm_test_pte(st, 1) & GP100_PTE_READ_ONLY);
	/* Reading memory that is not there yet takes none, beside a write too. */
	svm_test_fault(st, 10, NOUVEAU_FAULT_READ);
	svm_test_fault(st, 11, NOUVEAU_FAULT_WRITE);
	svm_test_fault(st, 12, NOUVEAU_FAULT_READ);
	svm_test_served(st);
	KUNIT_EXPECT_TRUE(test, is_zero_pfn(PHYS_PFN(svm_test_phys(st, 10))));
	KUNIT_EXPECT_FALSE(test, is_zero_pfn(PHYS_PFN(svm_test_phys(st, 11))));
	KUNIT_EXPECT_TRUE(test, is_zero_pfn(PHYS_PFN(svm_test_phys(st, 12))));
	/* A prefetch makes nothing present. */
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 2, NOUVEAU_FAULT_PREFETCH), 0);
	KUNIT_EXPECT_EQ(test, svm_test_pte(st, 2), 0);
}

static void svm_fault_upgrade(struct kunit *test)
{
	struct svm_test *st = svm_test_share(test);

	svm_test_cpu_write(st, 0, 4);
	svm_test_fault(st, 0, NOUVEAU_FAULT_READ);
	svm_test_fault(st, 1, NOUVEAU_FAULT_READ);
	svm_test_served(st);
	svm_test_expect(st, 0, 2, false);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 1, NOUVEAU_FAULT_WRITE), 0);
	svm_test_expect(st, 1, 2, true);
	/* Nothing is written again to take it back: reading is enough now. */
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 1, NOUVEAU_FAULT_READ), 0);
	svm_test_expect(st, 1, 2, true);
}

/* All of a block: nothing has to be there, and nothing is asked for twice. */
static void svm_fault_whole_block(struct kunit *test)
{
	struct svm_test *st = svm_test_share(test);

	svm_test_faults(st, 0, SVM_TEST_BLOCK_PAGES, NOUVEAU_FAULT_WRITE);
	svm_test_served(st);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMGET), 1);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMMAP), 1);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMCLR), 0);
	svm_test_expect(st, 0, SVM_TEST_BLOCK_PAGES, true);
	svm_test_expect_none(st, SVM_TEST_BLOCK_PAGES, SVM_TEST_PAGES);
}

/* One batch over two blocks, and over two windows. */
static void svm_fault_across(struct kunit *test)
{
	struct svm_test *st = svm_test_share(test);
	const unsigned long edge = SVM_TEST_WINDOW_PAGES;

	svm_test_mmap(st, edge - 4, 8, PROT_READ | PROT_WRITE);
	svm_test_faults(st, edge - 4, edge + 4, NOUVEAU_FAULT_WRITE);
	svm_test_faults(st, 510, 514, NOUVEAU_FAULT_READ);
	svm_test_served(st);
	KUNIT_EXPECT_EQ(test, st->space.nr_windows, 2);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMGET), 4);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMMAP), 4);
	svm_test_expect(st, 510, 514, false);
	svm_test_expect(st, edge - 4, edge + 4, true);
	svm_test_expect_none(st, 514, SVM_TEST_PAGES);
}

/* Present pages of blocks side by side take one call, those of others do not. */
static void svm_fault_blocks(struct kunit *test)
{
	static const unsigned long pages[] = { 100, 530, 1500, 2600 };
	struct svm_test *st = svm_test_share(test);
	unsigned int i;

	svm_test_mmap(st, SVM_TEST_PAGES, 4096 - SVM_TEST_PAGES,
		      PROT_READ | PROT_WRITE);
	for (i = 0; i < ARRAY_SIZE(pages); i++) {
		svm_test_cpu_write(st, pages[i], pages[i] + 1);
		svm_test_fault(st, pages[i], NOUVEAU_FAULT_READ);
	}
	svm_test_served(st);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMGET), 4);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMMAP), 2);
	for (i = 0; i < ARRAY_SIZE(pages); i++) {
		svm_test_expect(st, pages[i], pages[i] + 1, false);
		svm_test_expect_none(st, pages[i] + 1, pages[i] + 10);
	}
	svm_test_expect_none(st, 1024, 1500);
	svm_test_expect_none(st, 1536, 2600);
}

/* A block that is only read stays so beside one that is only written to. */
static void svm_fault_blocks_mix(struct kunit *test)
{
	const unsigned long second = SVM_TEST_BLOCK_PAGES;
	struct svm_test *st = svm_test_share(test);
	unsigned long i;

	for (i = 0; i < 60; i += 3) {
		svm_test_cpu_write(st, i, i + 1);
		svm_test_cpu_write(st, second + i, second + i + 1);
		svm_test_fault(st, i, NOUVEAU_FAULT_WRITE);
		svm_test_fault(st, second + i, NOUVEAU_FAULT_READ);
	}
	svm_test_served(st);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMMAP), 2);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMCLR), 0);
	for (i = 0; i < 60; i += 3) {
		svm_test_expect(st, i, i + 1, true);
		svm_test_expect(st, second + i, second + i + 1, false);
	}
}

/* Without page tables for one block, those before it are served all the same. */
static void svm_fault_blocks_without_tables(struct kunit *test)
{
	struct svm_test *st = svm_test_share(test);

	svm_test_fault(st, 5, NOUVEAU_FAULT_WRITE);
	svm_test_served(st);
	st->fake.memory_left = 0;
	st->nr_faults = 0;
	svm_test_fault(st, SVM_TEST_BLOCK_PAGES + 1, NOUVEAU_FAULT_READ);
	svm_test_fault(st, 7, NOUVEAU_FAULT_READ);
	svm_test_serve(st);
	KUNIT_EXPECT_EQ(test, st->fault[0].error, -ENOMEM);
	KUNIT_EXPECT_EQ(test, st->fault[1].error, 0);
	svm_test_expect(st, 7, 8, false);
	svm_test_expect_none(st, SVM_TEST_BLOCK_PAGES, SVM_TEST_PAGES);
}

/*
 * Of many faults of which some are writes, these get pages that can be written to,
 * and no others do. What is not asked for is not touched.
 */
static void svm_fault_dense_mix(struct kunit *test)
{
	struct svm_test *st = svm_test_share(test);
	unsigned long i;

	svm_test_cpu_write(st, 0, 256);
	for (i = 256; i < 300; i++)
		svm_test_cpu_read(st, i);	/* the zero page */
	for (i = 0; i < 256; i += 4)
		svm_test_fault(st, i, i % 8 ? NOUVEAU_FAULT_READ :
					      NOUVEAU_FAULT_WRITE);
	svm_test_served(st);
	for (i = 0; i < 256; i++)
		if (i % 4)
			svm_test_expect_if_any(st, i, i + 1, false);
		else
			svm_test_expect(st, i, i + 1, !(i % 8));
	svm_test_expect_none(st, 300, SVM_TEST_PAGES);
	svm_test_cpu_write(st, 300, 301);
	svm_test_expect_if_any(st, 256, 300, false);
}

/* Dense faults of which some are on pages that are not there yet. */
static void svm_fault_dense_absent(struct kunit *test)
{
	struct svm_test *st = svm_test_share(test);
	unsigned long i;

	svm_test_cpu_write(st, 0, 64);
	for (i = 0; i < 128; i += 2)
		svm_test_fault(st, i, NOUVEAU_FAULT_WRITE);
	svm_test_served(st);
	svm_test_expect_if_any(st, 0, 64, true);
	for (i = 0; i < 128; i += 2)
		svm_test_expect(st, i, i + 1, true);
	for (i = 65; i < 128; i += 2)
		svm_test_expect_none(st, i, i + 1);
}

/* A second space shares the memory with a GPU of its own. */
struct fault_other {
	struct nouveau_svm_fake fake;
	struct nouveau_svm_space space;
};

static struct fault_other *fault_other_share(struct svm_test *st)
{
	struct nouveau_svm_space_args args = st->space.args;
	struct fault_other *other;

	other = kunit_kzalloc(st->test, sizeof(*other), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(st->test, other);
	KUNIT_ASSERT_EQ(st->test, 0,
			nouveau_svm_fake_init(&other->fake, st->fake.dev,
					      gv100_vmm_new));
	args.vmm = &other->fake.vmm;
	KUNIT_EXPECT_EQ(st->test, 0,
			nouveau_svm_space_init(&other->space, &args));
	return other;
}

/* As the fault worker does it: by address space, in the order of the sort. */
static unsigned int fault_serve_spaces(struct svm_test *st,
				       struct fault_other *other)
{
	unsigned int i, n, batches = 0;

	nouveau_svm_faults_sort(st->faults, st->nr_faults);
	for (i = 0; i < st->nr_faults; i += n, batches++) {
		n = nouveau_svm_faults_below(st->faults + i, st->nr_faults - i,
					     U64_MAX);
		nouveau_svm_space_serve(st->faults[i]->svmm ==
						(void *)other ? &other->space :
								&st->space,
					st->faults + i, n);
	}
	return batches;
}

/* Faults of several spaces in one batch, of the same pages too. */
static void svm_fault_spaces(struct kunit *test)
{
	struct svm_test *st = svm_test_share(test);
	struct fault_other *other = fault_other_share(st);
	u64 size, entry;
	unsigned int i;

	/* Few enough for nothing else to be mapped. */
	for (i = 0; i < 12; i++) {
		svm_test_fault(st, i, i % 2 ? NOUVEAU_FAULT_READ :
					      NOUVEAU_FAULT_WRITE);
		svm_test_fault(st, i + 6, NOUVEAU_FAULT_READ);
		st->fault[2 * i + 1].svmm = (void *)other;
	}
	svm_test_cpu_write(st, 0, 64);
	KUNIT_EXPECT_EQ(test, fault_serve_spaces(st, other), 2);
	for (i = 0; i < 12; i++)
		svm_test_expect(st, i, i + 1, !(i % 2));
	svm_test_expect_none(st, 12, 64);
	for (i = 0; i < 64; i++) {
		entry = nouveau_svm_fake_entry(&other->fake, svm_test_va(i),
					       &size);
		KUNIT_EXPECT_EQ_MSG(test, entry != 0, i >= 6 && i < 18, "%u",
				    i);
		if (!entry)
			continue;
		KUNIT_EXPECT_TRUE(test, entry & GP100_PTE_READ_ONLY);
		KUNIT_EXPECT_EQ(test, svm_test_cpu_phys(i),
				nouveau_svm_fake_phys(&other->fake,
						      svm_test_va(i)));
	}

	/* Memory that goes, goes from both. */
	KUNIT_EXPECT_EQ(test, 0, vm_munmap(svm_test_va(8), PAGE_SIZE));
	svm_test_expect_none(st, 8, 9);
	KUNIT_EXPECT_EQ(test, 0, nouveau_svm_fake_phys(&other->fake,
						       svm_test_va(8)));
	nouveau_svm_space_fini(&other->space);
	nouveau_svm_fake_fini(&other->fake);
	KUNIT_EXPECT_EQ(test, atomic_read(&other->fake.errors), 0);
}

/* ---- What cannot be served ---- */

static void svm_fault_hole(struct kunit *test)
{
	struct svm_test *st = svm_test_share(test);
	unsigned long i;

	KUNIT_EXPECT_EQ(test, 0, vm_munmap(svm_test_va(2), 2 * PAGE_SIZE));
	for (i = 0; i < 8; i++)
		svm_test_fault(st, i, NOUVEAU_FAULT_WRITE);
	svm_test_serve(st);
	for (i = 0; i < 8; i++)
		KUNIT_EXPECT_EQ_MSG(test, st->faults[i]->error,
				    i == 2 || i == 3 ? -EFAULT : 0, "%lu", i);
	svm_test_expect(st, 0, 2, true);
	svm_test_expect_none(st, 2, 4);
	svm_test_expect(st, 4, 8, true);
}

static void svm_fault_read_only(struct kunit *test)
{
	struct svm_test *st = test->priv;

	KUNIT_ASSERT_EQ(test, 0, kunit_attach_mm());
	svm_test_mmap(st, 0, SVM_TEST_PAGES, PROT_READ);
	KUNIT_ASSERT_EQ(test, 0, svm_test_share_mm(st));
	svm_test_fault(st, 0, NOUVEAU_FAULT_READ);
	svm_test_fault(st, 1, NOUVEAU_FAULT_WRITE);
	svm_test_fault(st, 2, NOUVEAU_FAULT_READ);
	svm_test_serve(st);
	KUNIT_EXPECT_EQ(test, st->fault[0].error, 0);
	KUNIT_EXPECT_EQ(test, st->fault[1].error, -EPERM);
	KUNIT_EXPECT_EQ(test, st->fault[2].error, 0);
	svm_test_expect(st, 0, 1, false);
	svm_test_expect_none(st, 1, 2);
	svm_test_expect(st, 2, 3, false);
}

static void svm_fault_prot_none(struct kunit *test)
{
	struct svm_test *st = test->priv;

	KUNIT_ASSERT_EQ(test, 0, kunit_attach_mm());
	svm_test_mmap(st, 0, SVM_TEST_PAGES, PROT_NONE);
	KUNIT_ASSERT_EQ(test, 0, svm_test_share_mm(st));
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 0, NOUVEAU_FAULT_READ), -EFAULT);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 0, NOUVEAU_FAULT_PREFETCH), 0);
	svm_test_expect_none(st, 0, 1);
}

/* What nvkm has for itself, and what no process has, is not shared. */
static void svm_fault_outside(struct kunit *test)
{
	static const u64 bad[] = {
		NOUVEAU_SVM_FAKE_HOLE, NOUVEAU_SVM_FAKE_HOLE_END - 1, BIT_ULL(48), U64_MAX,
	};
	struct svm_test *st = svm_test_share(test);
	unsigned int i;
	u64 size;

	for (i = 0; i < ARRAY_SIZE(bad); i++)
		svm_test_add(st, bad[i], NOUVEAU_FAULT_READ);
	KUNIT_ASSERT_EQ(test, NOUVEAU_SVM_FAKE_HOLE_END,
			vm_mmap(NULL, NOUVEAU_SVM_FAKE_HOLE_END, PAGE_SIZE,
				PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, 0));
	svm_test_add(st, NOUVEAU_SVM_FAKE_HOLE_END, NOUVEAU_FAULT_WRITE);
	svm_test_serve(st);
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		KUNIT_EXPECT_EQ_MSG(test, st->fault[i].error, -EFAULT, "%llx",
				    bad[i]);
	KUNIT_EXPECT_EQ(test, st->fault[i].error, 0);
	KUNIT_EXPECT_NE(test, 0,
			nouveau_svm_fake_entry(&st->fake,
					       NOUVEAU_SVM_FAKE_HOLE_END,
					       &size));
	KUNIT_EXPECT_EQ(test, st->space.nr_windows, 1);
}

/* Around a page that cannot be had, faults are served, dense ones too. */
static void svm_fault_dense_hole(struct kunit *test)
{
	struct svm_test *st = svm_test_share(test);
	unsigned int i;

	KUNIT_EXPECT_EQ(test, 0, vm_munmap(svm_test_va(100), 28 * PAGE_SIZE));
	svm_test_faults(st, 0, 256, NOUVEAU_FAULT_WRITE);
	svm_test_serve(st);
	for (i = 0; i < 256; i++)
		KUNIT_EXPECT_EQ_MSG(test, st->faults[i]->error,
				    i >= 100 && i < 128 ? -EFAULT : 0, "%u", i);
	svm_test_expect(st, 0, 100, true);
	svm_test_expect_none(st, 100, 128);
	svm_test_expect(st, 128, 256, true);
}

/* Of a page that cannot be written to, only that fails. Others ask again. */
static void svm_fault_fails_alone(struct kunit *test)
{
	struct svm_test *st = test->priv;
	unsigned int i;

	KUNIT_ASSERT_EQ(test, 0, kunit_attach_mm());
	svm_test_mmap(st, 0, 8, PROT_READ);
	KUNIT_ASSERT_EQ(test, 0, svm_test_share_mm(st));
	for (i = 0; i < 4; i++) {
		svm_test_fault(st, i, NOUVEAU_FAULT_PREFETCH);
		svm_test_fault(st, i, NOUVEAU_FAULT_READ);
	}
	svm_test_fault(st, 2, NOUVEAU_FAULT_WRITE);
	svm_test_serve(st);
	for (i = 0; i < st->nr_faults; i++)
		KUNIT_EXPECT_EQ_MSG(test, st->fault[i].error,
				    i == st->nr_faults - 1 ? -EPERM : 0, "%u",
				    i);
	svm_test_expect(st, 0, 2, false);
	svm_test_expect_if_any(st, 2, 3, false);
	svm_test_expect(st, 3, 4, false);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 2, NOUVEAU_FAULT_READ), 0);
	svm_test_expect(st, 0, 4, false);
}

/* Nor does an atomic access that cannot be had cost more than itself. */
static void svm_fault_atomic_fails_alone(struct kunit *test)
{
	struct svm_test *st = svm_test_share_file(test, 4);

	svm_test_fault(st, 1, NOUVEAU_FAULT_ATOMIC);
	svm_test_fault(st, 1, NOUVEAU_FAULT_WRITE);
	svm_test_fault(st, 2, NOUVEAU_FAULT_WRITE);
	svm_test_fault(st, 1, NOUVEAU_FAULT_READ);
	svm_test_serve(st);
	KUNIT_EXPECT_NE(test, st->fault[0].error, 0);
	KUNIT_EXPECT_EQ(test, st->fault[1].error, 0);
	KUNIT_EXPECT_EQ(test, st->fault[2].error, 0);
	KUNIT_EXPECT_EQ(test, st->fault[3].error, 0);
	svm_test_expect(st, 2, 3, true);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 1, NOUVEAU_FAULT_WRITE), 0);
	svm_test_expect(st, 1, 2, true);
}

static struct kunit_case svm_fault_cases[] = {
	KUNIT_CASE(svm_fault_sort),
	KUNIT_CASE(svm_fault_sort_spaces),
	KUNIT_CASE(svm_fault_random),
	KUNIT_CASE(svm_fault_fail),
	KUNIT_CASE(svm_fault_single),
	KUNIT_CASE(svm_fault_scattered),
	KUNIT_CASE(svm_fault_duplicates),
	KUNIT_CASE(svm_fault_dense),
	KUNIT_CASE(svm_fault_mix),
	KUNIT_CASE(svm_fault_no_leak_of_access),
	KUNIT_CASE(svm_fault_upgrade),
	KUNIT_CASE(svm_fault_whole_block),
	KUNIT_CASE(svm_fault_across),
	KUNIT_CASE(svm_fault_blocks),
	KUNIT_CASE(svm_fault_blocks_mix),
	KUNIT_CASE(svm_fault_blocks_without_tables),
	KUNIT_CASE(svm_fault_dense_mix),
	KUNIT_CASE(svm_fault_dense_absent),
	KUNIT_CASE(svm_fault_spaces),
	KUNIT_CASE(svm_fault_hole),
	KUNIT_CASE(svm_fault_read_only),
	KUNIT_CASE(svm_fault_prot_none),
	KUNIT_CASE(svm_fault_outside),
	KUNIT_CASE(svm_fault_dense_hole),
	KUNIT_CASE(svm_fault_fails_alone),
	KUNIT_CASE(svm_fault_atomic_fails_alone),
	{}
};

static struct kunit_suite svm_fault_suite = {
	.name = "nouveau_svm_fault",
	.init = svm_test_init,
	.exit = svm_test_exit,
	.test_cases = svm_fault_cases,
};

kunit_test_suite(svm_fault_suite);
