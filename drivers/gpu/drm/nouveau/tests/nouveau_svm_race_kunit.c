// SPDX-License-Identifier: MIT
/*
 * KUnit tests of what faults cost, of what happens while they are served, and of
 * what fails then.
 *
 * They use nouveau_svm_serve.c once more, with calls of the mirror counted. Where
 * something is to happen at one point of the work, the fake or our own file call
 * back there; what has to wait for the update lock then does so in a thread that is
 * started at that point, and seen to wait, before the work goes on.
 */
#include <kunit/test.h>
#include <linux/file.h>
#include <linux/hmm_mirror.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/mman.h>

/* The real ones have these names in their header. */
#define nouveau_svm_space_serve		race_space_serve
#define nouveau_svm_space_prefetch	race_space_prefetch
#include "../nouveau_svm_window.h"

static unsigned int race_mirror_calls;
static void (*race_at_mirrored)(void *data);
static void *race_data;

static int race_mirrored(int ret)
{
	race_mirror_calls++;
	if (!ret && race_at_mirrored)
		race_at_mirrored(race_data);
	return ret;
}

#define hmm_mirror_fault(...) \
	race_mirrored(hmm_mirror_fault(__VA_ARGS__))
#define hmm_mirror_prefetch(...) \
	race_mirrored(hmm_mirror_prefetch(__VA_ARGS__))
#include "../nouveau_svm_serve.c"
#undef hmm_mirror_fault
#undef hmm_mirror_prefetch
#undef nouveau_svm_space_serve
#undef nouveau_svm_space_prefetch

#include "nouveau_svm_kunit.h"

static int race_init(struct kunit *test)
{
	int ret = svm_test_init(test);
	struct svm_test *st = test->priv;

	race_mirror_calls = 0;
	race_at_mirrored = NULL;
	race_data = st;
	if (!ret)
		st->serve = race_space_serve;
	return ret;
}

/* ---- Cost ---- */

/* Serve, none of which may fail, by so many calls. */
static void race_served(struct svm_test *st, unsigned int mirror_calls,
			unsigned int maps)
{
	race_mirror_calls = 0;
	svm_test_served(st);
	KUNIT_EXPECT_EQ(st->test, race_mirror_calls, mirror_calls);
	KUNIT_EXPECT_EQ(st->test, svm_test_calls(st, SVMMAP), maps);
	KUNIT_EXPECT_EQ(st->test, svm_test_calls(st, SVMCLR), 0);
}

/* A burst on a leaf: one call of the mirror, and one of nvkm. */
static void svm_cost_thp(struct kunit *test)
{
	struct svm_test *st = svm_test_share_thp(test);
	unsigned long i;

	svm_test_cpu_write(st, 0, 1);
	for (i = 0; i < SVM_TEST_BLOCK_PAGES; i++)
		svm_test_fault(st, i * 37 % SVM_TEST_BLOCK_PAGES,
			       NOUVEAU_FAULT_WRITE);
	race_served(st, 1, 1);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMGET), 1);
	KUNIT_EXPECT_EQ(test, svm_test_size(st, 0), SZ_2M);
	svm_test_expect(st, 0, SVM_TEST_BLOCK_PAGES, true);

	/* Others that come late find it there. */
	svm_test_faults(st, 0, SVM_TEST_BLOCK_PAGES, NOUVEAU_FAULT_READ);
	race_served(st, 0, 0);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMGET), 0);
}

/* Of a leaf that is not there yet: some calls for each fault, to see that it is one. */
static void svm_cost_thp_absent(struct kunit *test)
{
	struct svm_test *st = svm_test_share_thp(test);

	svm_test_fault(st, 77, NOUVEAU_FAULT_READ);
	svm_test_fault(st, 78, NOUVEAU_FAULT_WRITE);
	svm_test_fault(st, 600, NOUVEAU_FAULT_WRITE);
	svm_test_served(st);
	KUNIT_EXPECT_LE(test, race_mirror_calls, 3 * 3);
	KUNIT_EXPECT_EQ(test, svm_test_size(st, 600), SZ_2M);
	svm_test_expect(st, SVM_TEST_BLOCK_PAGES, SVM_TEST_PAGES, true);
}

/* One for all that is present, whatever lies between. */
static void svm_cost_small(struct kunit *test)
{
	struct svm_test *st = svm_test_share(test);
	unsigned long i;

	svm_test_cpu_write(st, 0, SVM_TEST_PAGES);
	for (i = 0; i < SVM_TEST_BLOCK_PAGES; i += 64)
		svm_test_faults(st, i, i + 2, NOUVEAU_FAULT_WRITE);
	race_served(st, 1, 1);
	svm_test_expect(st, 64, 66, true);
	svm_test_expect_none(st, 66, 128);

	for (i = SVM_TEST_BLOCK_PAGES; i < SVM_TEST_PAGES; i += 64)
		svm_test_fault(st, i, NOUVEAU_FAULT_WRITE);
	race_served(st, 1, 1);
	svm_test_expect(st, 576, 577, true);
	svm_test_expect_none(st, 577, 640);

	svm_test_faults(st, 0, 8, NOUVEAU_FAULT_WRITE);
	svm_test_faults(st, 0, 8, NOUVEAU_FAULT_WRITE);
	race_served(st, 1, 1);
}

static void svm_cost_absent_block(struct kunit *test)
{
	struct svm_test *st = svm_test_share(test);

	svm_test_faults(st, 0, SVM_TEST_BLOCK_PAGES, NOUVEAU_FAULT_WRITE);
	race_served(st, 1, 1);
	svm_test_expect(st, 0, SVM_TEST_BLOCK_PAGES, true);
}

/* ---- Files, and what happens in the middle ---- */

static void svm_race_file(struct kunit *test)
{
	struct svm_test *st = svm_test_share_file(test, 6);
	unsigned long i;

	for (i = 0; i < 8; i++)
		svm_test_fault(st, i, NOUVEAU_FAULT_WRITE);
	svm_test_serve(st);
	for (i = 0; i < 6; i++) {
		KUNIT_EXPECT_EQ(test, st->faults[i]->error, 0);
		KUNIT_EXPECT_EQ(test, svm_test_phys(st, i),
				page_to_phys(st->pages[i]));
	}
	KUNIT_EXPECT_EQ(test, st->faults[6]->error, -EFAULT);
	KUNIT_EXPECT_EQ(test, st->faults[7]->error, -EFAULT);
}

static void race_zap_once(struct svm_test *st, unsigned long page)
{
	if (page != 5)
		return;
	st->at_page = NULL;
	unmap_mapping_range(st->file->f_mapping, 2 * PAGE_SIZE, PAGE_SIZE, 1);
}

/* A page that the GPU has goes while a fault is served: it does not stay. */
static void svm_race_invalidated_meanwhile(struct kunit *test)
{
	struct svm_test *st = svm_test_share_file(test, 16);
	unsigned long i;

	for (i = 0; i < 4; i++)
		svm_test_fault(st, i, NOUVEAU_FAULT_WRITE);
	svm_test_served(st);
	svm_test_expect(st, 0, 4, true);

	st->at_page = race_zap_once;
	for (i = 4; i < 8; i++)
		svm_test_fault(st, i, NOUVEAU_FAULT_WRITE);
	svm_test_served(st);
	KUNIT_EXPECT_NULL(test, st->at_page);
	svm_test_expect_if_any(st, 0, 2, true);
	svm_test_expect_none(st, 2, 3);
	svm_test_expect_if_any(st, 3, 4, true);
	svm_test_expect(st, 4, 8, true);
}

/* A page that is asked for goes after it was faulted: it is faulted again. */
static void svm_race_invalidated_own(struct kunit *test)
{
	struct svm_test *st = svm_test_share_file(test, 16);
	unsigned long i;

	st->at_page = race_zap_once;
	for (i = 0; i < 8; i++)
		svm_test_fault(st, i, NOUVEAU_FAULT_WRITE);
	svm_test_served(st);
	KUNIT_EXPECT_NULL(test, st->at_page);
	svm_test_expect(st, 0, 8, true);
	unmap_mapping_range(st->file->f_mapping, 0, 0, 1);
	svm_test_expect_none(st, 0, SVM_TEST_PAGES);
}

static void race_zap(struct svm_test *st)
{
	unmap_mapping_range(st->file->f_mapping, 2 * PAGE_SIZE, PAGE_SIZE, 1);
}

/* Before anything is locked that it waits for. */
static void race_zap_at_get(struct svm_test *st, u8 mthd)
{
	if (mthd == NVIF_VMM_V0_SVMGET)
		race_zap(st);
}

/* Memory goes while there are no page tables yet, let alone entries. */
static void svm_race_at_get(struct kunit *test)
{
	struct svm_test *st = svm_test_share_file(test, 16);

	KUNIT_EXPECT_EQ(test, svm_test_cpu_read(st, 2), 0);
	st->at_mthd = race_zap_at_get;
	svm_test_faults(st, 0, 8, NOUVEAU_FAULT_WRITE);
	svm_test_served(st);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMGET), 1);
	svm_test_expect(st, 0, 8, true);
	race_zap(st);
	svm_test_expect_none(st, 2, 3);
}

/* A second thread, begun once, and whether it had to wait. */
static struct svm_test_thread race_thread;
static bool race_blocked;

static void race_begin(struct svm_test *st, void (*func)(struct svm_test *st))
{
	if (!race_thread.func)
		race_blocked = svm_test_begin_blocked(&race_thread, func);
}

/* It has waited, and then done its work. */
static void race_end(struct svm_test *st)
{
	KUNIT_EXPECT_TRUE(st->test, !!race_thread.func);
	KUNIT_EXPECT_TRUE(st->test, race_blocked);
	svm_test_end(&race_thread);
	race_blocked = false;
}

static void race_zap_at_map(struct svm_test *st, u8 mthd)
{
	if (mthd == NVIF_VMM_V0_SVMMAP)
		race_begin(st, race_zap);
}

/* Memory goes when nvkm is called to map it: it does not stay mapped. */
static void svm_race_at_map(struct kunit *test)
{
	struct svm_test *st = svm_test_share_file(test, 16);

	svm_test_make_thread(st, &race_thread);
	st->at_mthd = race_zap_at_map;
	svm_test_faults(st, 0, 8, NOUVEAU_FAULT_WRITE);
	svm_test_served(st);
	race_end(st);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMMAP), 1);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMCLR), 1);
	svm_test_expect_if_any(st, 0, 2, true);
	svm_test_expect_none(st, 2, 3);
	svm_test_expect_if_any(st, 3, 8, true);
	st->at_mthd = NULL;
	svm_test_faults(st, 0, 8, NOUVEAU_FAULT_WRITE);
	svm_test_served(st);
	svm_test_expect(st, 0, 8, true);
}

static void race_zap_at_mirrored(void *data)
{
	race_begin(data, race_zap);
}

/* The same between the mirror's fault and what is done with it. */
static void svm_race_at_fill(struct kunit *test)
{
	struct svm_test *st = svm_test_share_file(test, 16);

	svm_test_make_thread(st, &race_thread);
	race_at_mirrored = race_zap_at_mirrored;
	svm_test_faults(st, 0, 8, NOUVEAU_FAULT_WRITE);
	svm_test_served(st);
	race_at_mirrored = NULL;
	race_end(st);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMMAP), 1);
	svm_test_expect_none(st, 2, 3);
	svm_test_expect_if_any(st, 0, 8, true);
}

static void race_serve_two(struct svm_test *st)
{
	svm_test_fault(st, 2, NOUVEAU_FAULT_WRITE);
	st->serve(&st->space, st->faults, 1);
}

static void race_serve_at_clear(struct svm_test *st, u8 mthd)
{
	if (mthd == NVIF_VMM_V0_SVMCLR)
		race_begin(st, race_serve_two);
}

/*
 * The GPU faults on a page that is just going: it gets the one that comes after,
 * never the old one once more.
 */
static void svm_race_fault_at_clear(struct kunit *test)
{
	struct svm_test *st = svm_test_share_file(test, 16);
	struct page *old = st->pages[2];

	svm_test_faults(st, 0, 8, NOUVEAU_FAULT_WRITE);
	svm_test_served(st);
	KUNIT_EXPECT_EQ(test, svm_test_phys(st, 2), page_to_phys(old));

	st->pages[2] = alloc_page(GFP_KERNEL | __GFP_ZERO);
	KUNIT_EXPECT_NOT_NULL(test, st->pages[2]);
	svm_test_make_thread(st, &race_thread);
	st->at_mthd = race_serve_at_clear;
	race_zap(st);
	race_end(st);
	st->at_mthd = NULL;
	KUNIT_EXPECT_EQ(test, st->fault[0].error, 0);
	/* Lost against the invalidation or served after it. */
	st->nr_faults = 0;
	KUNIT_EXPECT_NE(test, svm_test_phys(st, 2), page_to_phys(old));
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 2, NOUVEAU_FAULT_WRITE), 0);
	KUNIT_EXPECT_EQ(test, svm_test_phys(st, 2), page_to_phys(st->pages[2]));
	put_page(old);
}

/* Memory goes while a leaf of it is being mapped: of that nothing stays. */
static void race_unmap_at_map(struct svm_test *st)
{
	svm_test_invalidate(st, 300, 301);
}

static void race_part_at_map(struct svm_test *st, u8 mthd)
{
	if (mthd == NVIF_VMM_V0_SVMMAP)
		race_begin(st, race_unmap_at_map);
}

static void svm_race_part_of_leaf(struct kunit *test)
{
	struct svm_test *st = svm_test_share_thp(test);

	svm_test_cpu_write(st, 0, 1);
	svm_test_make_thread(st, &race_thread);
	st->at_mthd = race_part_at_map;
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 5, NOUVEAU_FAULT_WRITE), 0);
	race_end(st);
	st->at_mthd = NULL;
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMMAP), 1);
	svm_test_expect_none(st, 0, SVM_TEST_BLOCK_PAGES);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 5, NOUVEAU_FAULT_WRITE), 0);
	svm_test_expect(st, 0, SVM_TEST_BLOCK_PAGES, true);
}

static void race_reclaim(struct svm_test *st)
{
	nouveau_svm_space_reclaim(&st->space, 1);
}

static void race_reclaim_at_map(struct svm_test *st, u8 mthd)
{
	if (mthd != NVIF_VMM_V0_SVMMAP)
		return;
	svm_test_window(st, 0)->used = jiffies - 60 * HZ;
	race_begin(st, race_reclaim);
}

/* The window is to be given up, as if idle, while it is in use: it is, after that. */
static void svm_race_reclaim(struct kunit *test)
{
	struct svm_test *st = svm_test_share_file(test, 16);

	svm_test_make_thread(st, &race_thread);
	st->at_mthd = race_reclaim_at_map;
	svm_test_faults(st, 0, 8, NOUVEAU_FAULT_WRITE);
	svm_test_served(st);
	race_end(st);
	st->at_mthd = NULL;
	KUNIT_EXPECT_EQ(test, st->space.nr_windows, 0);
	svm_test_expect_none(st, 0, 8);
	svm_test_faults(st, 0, 8, NOUVEAU_FAULT_WRITE);
	svm_test_served(st);
	svm_test_expect(st, 0, 8, true);
}

static int race_storm_thread(void *arg)
{
	struct svm_test *st = arg;

	while (!kthread_should_stop()) {
		unmap_mapping_range(st->file->f_mapping, 0, 0, 1);
		cond_resched();
	}
	return 0;
}

/* Invalidations all the time: no fault fails, and none is left behind. */
static void svm_race_storm(struct kunit *test)
{
	struct svm_test *st = svm_test_share_file(test, 64);
	struct task_struct *task;
	unsigned long i, round;

	task = kthread_run(race_storm_thread, st, "nouveau-svm-test");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	for (round = 0; round < 50; round++) {
		for (i = 0; i < 64; i += 1 + round % 3)
			svm_test_fault(st, i, round % 2 ? NOUVEAU_FAULT_READ :
							  NOUVEAU_FAULT_WRITE);
		svm_test_served(st);
	}
	kthread_stop(task);

	for (i = 0; i < 64; i++)
		svm_test_fault(st, i, NOUVEAU_FAULT_WRITE);
	svm_test_served(st);
	svm_test_expect(st, 0, 64, true);
	unmap_mapping_range(st->file->f_mapping, 0, 0, 1);
	svm_test_expect_none(st, 0, 64);
}

/* ---- What fails ---- */

static void svm_fail_first_tables(struct kunit *test)
{
	struct svm_test *st = svm_test_share(test);

	st->fake.memory_left = 0;
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 0, NOUVEAU_FAULT_WRITE),
			-ENOMEM);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMMAP), 0);
	svm_test_expect_none(st, 0, 1);
	st->fake.memory_left = UINT_MAX;
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 0, NOUVEAU_FAULT_WRITE), 0);
	svm_test_expect(st, 0, 1, true);
}

/*
 * Whatever it is that the GPU gets to, it is what the CPU has; if it has it alone,
 * looking would take it back.
 */
static void race_expect_sane(struct svm_test *st, unsigned long page,
			     unsigned long end)
{
	u64 entry;

	for (; page < end; page++) {
		entry = svm_test_pte(st, page);
		if (entry & GP100_PTE_ATOMIC_DISABLE)
			KUNIT_EXPECT_EQ_MSG(st->test, svm_test_phys(st, page),
					    svm_test_cpu_phys(page), "page %lu",
					    page);
	}
}

/* Faults of all kinds, in two blocks, of a leaf and of small pages. */
static void race_add_faults(struct svm_test *st)
{
	unsigned long i;

	st->nr_faults = 0;
	for (i = 512; i < 1024; i += 100)
		svm_test_fault(st, i, NOUVEAU_FAULT_READ);
	for (i = 513; i < 1024; i += 100)
		svm_test_fault(st, i, NOUVEAU_FAULT_WRITE);
	svm_test_fault(st, 700, NOUVEAU_FAULT_ATOMIC);
	svm_test_faults(st, 5, 10, NOUVEAU_FAULT_WRITE);
}

/* A leaf, and small pages. */
static struct svm_test *race_share_both(struct kunit *test)
{
	struct svm_test *st = svm_test_share_thp(test);

	current->mm->def_flags &= ~VM_HUGEPAGE;
	svm_test_mmap(st, SVM_TEST_BLOCK_PAGES, SVM_TEST_BLOCK_PAGES,
		      PROT_READ | PROT_WRITE);
	svm_test_cpu_write(st, 0, 1);
	return st;
}

/* Each fault has the entry that it needs. */
static void race_expect_served(struct svm_test *st, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		const struct nouveau_svm_fault *fault = &st->fault[i];
		u64 size, entry, bad = 0;

		entry = nouveau_svm_fake_entry(&st->fake, fault->addr, &size);
		if (fault->access != NOUVEAU_FAULT_READ)
			bad |= GP100_PTE_READ_ONLY;
		if (fault->access == NOUVEAU_FAULT_ATOMIC)
			bad |= GP100_PTE_ATOMIC_DISABLE;
		KUNIT_EXPECT_TRUE_MSG(st->test, entry && !(entry & bad),
				      "%llx: entry %llx, access %u",
				      fault->addr, entry, fault->access);
	}
}

/* Errors are what has failed, and whatever is there is right. */
static void race_check_faults(struct svm_test *st, int error)
{
	unsigned int i;

	race_expect_sane(st, 0, SVM_TEST_PAGES);
	for (i = 0; i < st->nr_faults; i++)
		if (st->faults[i]->error)
			KUNIT_EXPECT_EQ(st->test, st->faults[i]->error, error);
}

/* With nothing to fail, all is served; and then all of it goes. */
static void race_check_after(struct svm_test *st)
{
	unsigned int nr;

	race_add_faults(st);
	nr = st->nr_faults;
	svm_test_served_again(st);
	race_expect_served(st, nr);
	race_expect_sane(st, 0, SVM_TEST_PAGES);
	svm_test_expect(st, 0, SVM_TEST_BLOCK_PAGES, true);
	nouveau_svm_space_empty(&st->space);
	svm_test_expect_none(st, 0, SVM_TEST_PAGES);
	nvkm_mmu_ptc_dump(st->fake.ummu.mmu);
	KUNIT_EXPECT_EQ(st->test, st->fake.nr_memories, 1);
}

static unsigned int race_errors(struct svm_test *st)
{
	unsigned int i, n = 0;

	for (i = 0; i < st->nr_faults; i++)
		n += st->faults[i]->error != 0;
	return n;
}

/* Calls of nvkm fail, from each one on, and are there again. */
static void race_fail_each(struct svm_test *st, u8 mthd, unsigned int least)
{
	unsigned int n;

	for (n = 0; n < 100; n++) {
		race_add_faults(st);
		st->fail_mthd = mthd;
		st->fail_after = n;
		st->failed = 0;
		svm_test_serve(st);
		st->fail_mthd = -1;
		race_check_faults(st, -ENOMEM);
		if (!st->failed)
			break;
		KUNIT_EXPECT_GE(st->test, race_errors(st), 1);
		race_check_after(st);
	}
	KUNIT_EXPECT_GE(st->test, n, least);
	KUNIT_EXPECT_EQ(st->test, st->failed, 0);
	KUNIT_EXPECT_EQ(st->test, race_errors(st), 0);
	race_check_after(st);
}

static void svm_fail_get(struct kunit *test)
{
	race_fail_each(race_share_both(test), NVIF_VMM_V0_SVMGET, 2);
}

static void svm_fail_map(struct kunit *test)
{
	race_fail_each(race_share_both(test), NVIF_VMM_V0_SVMMAP, 4);
}

/* Each page table in turn cannot be had. */
static void svm_fail_tables(struct kunit *test)
{
	struct svm_test *st = race_share_both(test);
	unsigned int n;

	for (n = 0; n < 100; n++) {
		race_add_faults(st);
		st->fake.memory_left = n;
		svm_test_serve(st);
		st->fake.memory_left = UINT_MAX;
		race_check_faults(st, -ENOMEM);
		if (!race_errors(st))
			break;
		race_check_after(st);
	}
	KUNIT_EXPECT_GE(test, n, 3);
	KUNIT_EXPECT_LT(test, n, 100);
	race_check_after(st);
}

/* A leaf cannot be mapped for writing: that for reading does not stay either. */
static void svm_fail_upgrade(struct kunit *test)
{
	struct svm_test *st = svm_test_share_thp(test);

	svm_test_cpu_write(st, 0, 1);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 9, NOUVEAU_FAULT_READ), 0);
	svm_test_expect(st, 0, SVM_TEST_BLOCK_PAGES, false);
	st->fail_mthd = NVIF_VMM_V0_SVMMAP;
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 9, NOUVEAU_FAULT_WRITE),
			-ENOMEM);
	KUNIT_EXPECT_GE(test, st->failed, 1);
	race_expect_sane(st, 0, SVM_TEST_BLOCK_PAGES);
	st->fail_mthd = -1;
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 9, NOUVEAU_FAULT_WRITE), 0);
	svm_test_expect(st, 0, SVM_TEST_BLOCK_PAGES, true);
	svm_test_invalidate(st, 0, 1);
	svm_test_expect_none(st, 0, SVM_TEST_BLOCK_PAGES);
}

/* What fails to prefetch fails nobody. */
static void svm_fail_prefetch(struct kunit *test)
{
	struct svm_test *st = race_share_both(test);

	st->fail_mthd = NVIF_VMM_V0_SVMMAP;
	race_space_prefetch(&st->space, svm_test_va(0), svm_test_va(600), true);
	KUNIT_EXPECT_EQ(test, st->failed, 1);
	svm_test_expect_none(st, 0, SVM_TEST_PAGES);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 5, NOUVEAU_FAULT_PREFETCH), 0);
	svm_test_expect_none(st, 0, SVM_TEST_PAGES);
	st->fail_mthd = NVIF_VMM_V0_SVMGET;
	nouveau_svm_space_empty(&st->space);
	race_space_prefetch(&st->space, svm_test_va(0), svm_test_va(600), true);
	svm_test_expect_none(st, 0, SVM_TEST_PAGES);
	st->fail_mthd = -1;
	race_check_after(st);
}

/* One has failed: no more. */
static void race_fail_one(struct svm_test *st, u8 mthd)
{
	if (st->failed)
		st->fail_mthd = -1;
}

/* Page tables that nvkm does not take back cost no more than themselves. */
static void svm_fail_put(struct kunit *test)
{
	struct svm_test *st = race_share_both(test);
	struct nvif_vmm_svm_v0 args = {
		.addr = svm_test_va(0),
		.size = NOUVEAU_SVM_BLOCK,
	};

	race_add_faults(st);
	svm_test_served(st);
	/* The first of two. */
	st->fail_mthd = NVIF_VMM_V0_SVMPUT;
	st->at_mthd = race_fail_one;
	nouveau_svm_space_empty(&st->space);
	st->at_mthd = NULL;
	KUNIT_EXPECT_EQ(test, st->failed, 1);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMPUT), 2);
	KUNIT_EXPECT_EQ(test, st->space.nr_windows, 0);
	svm_test_expect_none(st, 0, SVM_TEST_PAGES);
	/* There is no use in trying that for ever. */
	KUNIT_EXPECT_NE(test, svm_test_one(st, 5, NOUVEAU_FAULT_WRITE), 0);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 600, NOUVEAU_FAULT_WRITE), 0);
	KUNIT_EXPECT_EQ(test, 0, nvif_object_mthd(&st->fake.vmm,
						  NVIF_VMM_V0_SVMPUT, &args,
						  sizeof(args)));
	race_check_after(st);
}

#ifdef CONFIG_FAILSLAB
/*
 * Each allocation that this thread makes for a batch fails in turn. Which errors
 * faults get then is up to who could not allocate; -EBUSY is none, but a reason to
 * fault again.
 */
static void svm_fail_nth(struct kunit *test)
{
	struct svm_test *st = race_share_both(test);
	unsigned int n, left, failed = 0;

	for (n = 1; n < 2000; n++) {
		race_add_faults(st);
		nouveau_svm_fake_reset(&st->fake);
		nouveau_svm_faults_sort(st->faults, st->nr_faults);
		WRITE_ONCE(current->fail_nth, n);
		st->serve(&st->space, st->faults, st->nr_faults);
		left = READ_ONCE(current->fail_nth);
		WRITE_ONCE(current->fail_nth, 0);
		race_expect_sane(st, 0, SVM_TEST_PAGES);
		failed += race_errors(st) > 0;
		race_check_after(st);
		if (left)
			break;
	}
	KUNIT_EXPECT_LT(test, n, 2000);
	/* Windows, their mirrors, page tables and nodes of nvkm, pages, ... */
	KUNIT_EXPECT_GE_MSG(test, failed, 5,
			    "is failslab/ignore-gfp-wait off?");
	kunit_info(test, "%u allocations, %u of them needed", n - 1, failed);
}

/* The same for the beginning of a space. */
static void svm_fail_init(struct kunit *test)
{
	struct svm_test *st = test->priv;
	unsigned int n, left;
	int ret;

	KUNIT_ASSERT_EQ(test, 0, kunit_attach_mm());
	for (n = 1; n < 200; n++) {
		WRITE_ONCE(current->fail_nth, n);
		ret = svm_test_share_mm(st);
		left = READ_ONCE(current->fail_nth);
		WRITE_ONCE(current->fail_nth, 0);
		if (ret)
			KUNIT_EXPECT_EQ(test, ret, -ENOMEM);
		svm_test_unshare(st);
		if (left)
			break;
	}
	KUNIT_EXPECT_GE(test, n, 3);
	KUNIT_EXPECT_LT(test, n, 200);
	KUNIT_EXPECT_EQ(test, ret, 0);
}
#endif

static struct kunit_case svm_race_cases[] = {
	KUNIT_CASE(svm_cost_thp),
	KUNIT_CASE(svm_cost_thp_absent),
	KUNIT_CASE(svm_cost_small),
	KUNIT_CASE(svm_cost_absent_block),
	KUNIT_CASE(svm_race_file),
	KUNIT_CASE(svm_race_invalidated_meanwhile),
	KUNIT_CASE(svm_race_invalidated_own),
	KUNIT_CASE(svm_race_at_get),
	KUNIT_CASE(svm_race_at_map),
	KUNIT_CASE(svm_race_at_fill),
	KUNIT_CASE(svm_race_fault_at_clear),
	KUNIT_CASE(svm_race_part_of_leaf),
	KUNIT_CASE(svm_race_reclaim),
	KUNIT_CASE(svm_race_storm),
	KUNIT_CASE(svm_fail_first_tables),
	KUNIT_CASE(svm_fail_get),
	KUNIT_CASE(svm_fail_map),
	KUNIT_CASE(svm_fail_tables),
	KUNIT_CASE(svm_fail_upgrade),
	KUNIT_CASE(svm_fail_prefetch),
	KUNIT_CASE(svm_fail_put),
#ifdef CONFIG_FAILSLAB
	KUNIT_CASE(svm_fail_nth),
	KUNIT_CASE(svm_fail_init),
#endif
	{}
};

static struct kunit_suite svm_race_suite = {
	.name = "nouveau_svm_race",
	.init = race_init,
	.exit = svm_test_exit,
	.test_cases = svm_race_cases,
};

kunit_test_suite(svm_race_suite);
