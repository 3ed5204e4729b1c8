// SPDX-License-Identifier: MIT
/*
 * KUnit tests of large entries: what is a leaf for the CPU, and in parts, is one for
 * the GPU, and no part of it stays behind. Nothing runs at the same time.
 */
#include <kunit/test.h>
#include <linux/hmm_dma.h>
#include <linux/mman.h>
#include <linux/uaccess.h>

#include "nouveau_svm_kunit.h"

/* ---- Anonymous memory ---- */

static void svm_leaf_thp_burst(struct kunit *test)
{
	struct svm_test *st = svm_test_share_thp(test);
	unsigned long i;

	svm_test_cpu_write(st, 0, 1);
	for (i = 0; i < SVM_TEST_BLOCK_PAGES; i++)
		svm_test_fault(st, i * 37 % SVM_TEST_BLOCK_PAGES,
			       NOUVEAU_FAULT_WRITE);
	svm_test_served(st);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMMAP), 1);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMCLR), 0);
	KUNIT_EXPECT_EQ(test, svm_test_size(st, 0), SZ_2M);
	svm_test_expect(st, 0, SVM_TEST_BLOCK_PAGES, true);
	svm_test_expect_none(st, SVM_TEST_BLOCK_PAGES, SVM_TEST_PAGES);
}

/* One fault brings the leaf that it is in. */
static void svm_leaf_thp_single(struct kunit *test)
{
	struct svm_test *st = svm_test_share_thp(test);

	KUNIT_EXPECT_EQ(test, svm_test_one(st, 600, NOUVEAU_FAULT_WRITE), 0);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMMAP), 1);
	KUNIT_EXPECT_EQ(test, svm_test_size(st, 600), SZ_2M);
	svm_test_expect_none(st, 0, SVM_TEST_BLOCK_PAGES);
	svm_test_expect(st, SVM_TEST_BLOCK_PAGES, SVM_TEST_PAGES, true);
}

/* An invalidation of any part leaves no entry that reaches it, or the rest. */
static void svm_leaf_thp_part(struct kunit *test)
{
	struct svm_test *st = svm_test_share_thp(test);

	svm_test_cpu_write(st, 0, SVM_TEST_PAGES);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 0, NOUVEAU_FAULT_WRITE), 0);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 512, NOUVEAU_FAULT_WRITE), 0);
	KUNIT_EXPECT_EQ(test, svm_test_size(st, 0), SZ_2M);
	KUNIT_EXPECT_EQ(test, 0, vm_munmap(svm_test_va(77), PAGE_SIZE));
	svm_test_expect_none(st, 0, SVM_TEST_BLOCK_PAGES);
	svm_test_expect(st, SVM_TEST_BLOCK_PAGES, SVM_TEST_PAGES, true);

	KUNIT_EXPECT_EQ(test, svm_test_one(st, 76, NOUVEAU_FAULT_WRITE), 0);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 77, NOUVEAU_FAULT_READ),
			-EFAULT);
	KUNIT_EXPECT_EQ(test, svm_test_size(st, 76), SZ_4K);
	svm_test_expect(st, 76, 77, true);
	svm_test_expect_none(st, 77, 78);
}

/* Whoever clears a part of a large entry clears all of it. */
static void svm_leaf_clear_part(struct kunit *test)
{
	struct svm_test *st = svm_test_share_thp(test);
	struct nouveau_svm_window *window;

	svm_test_cpu_write(st, 0, SVM_TEST_PAGES);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 0, NOUVEAU_FAULT_WRITE), 0);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 512, NOUVEAU_FAULT_WRITE), 0);
	window = mtree_load(&st->space.windows, SVM_TEST_START);
	KUNIT_ASSERT_NOT_NULL(test, window);

	mutex_lock(&window->mirror.lock);
	nouveau_svm_window_clear(window, svm_test_va(5), svm_test_va(6));
	hmm_mirror_unlock(&window->mirror);
	svm_test_expect_none(st, 0, SVM_TEST_BLOCK_PAGES);
	svm_test_expect(st, SVM_TEST_BLOCK_PAGES, SVM_TEST_PAGES, true);

	/* The mirror still has it, so a fault brings it back. */
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 6, NOUVEAU_FAULT_WRITE), 0);
	KUNIT_EXPECT_EQ(test, svm_test_size(st, 6), SZ_2M);
	svm_test_expect(st, 0, SVM_TEST_BLOCK_PAGES, true);

	mutex_lock(&window->mirror.lock);
	nouveau_svm_window_clear(window, svm_test_va(511), svm_test_va(513));
	hmm_mirror_unlock(&window->mirror);
	svm_test_expect_none(st, 0, SVM_TEST_PAGES);
}

static void svm_leaf_thp_upgrade(struct kunit *test)
{
	struct svm_test *st = svm_test_share_thp(test);

	svm_test_cpu_write(st, 0, 1);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 9, NOUVEAU_FAULT_READ), 0);
	svm_test_expect(st, 0, SVM_TEST_BLOCK_PAGES, false);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 10, NOUVEAU_FAULT_WRITE), 0);
	KUNIT_EXPECT_EQ(test, svm_test_size(st, 0), SZ_2M);
	svm_test_expect(st, 0, SVM_TEST_BLOCK_PAGES, true);
}

/*
 * Whatever part of a leaf is invalidated, from a page to more than all of it:
 * nothing of the leaf is left, and all of any other.
 */
static void svm_leaf_any_part(struct kunit *test)
{
	static const struct {
		u16 page, end;
	} parts[] = {
		{ 0, 1 }, { 1, 2 }, { 77, 78 }, { 255, 257 }, { 511, 512 },
		{ 0, 512 }, { 0, 511 }, { 1, 512 },
	};
	struct svm_test *st = svm_test_share_thp(test);
	unsigned int i;

	svm_test_cpu_write(st, 0, SVM_TEST_PAGES);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 600, NOUVEAU_FAULT_READ), 0);
	for (i = 0; i < ARRAY_SIZE(parts); i++) {
		KUNIT_EXPECT_EQ(test, svm_test_one(st, 9, NOUVEAU_FAULT_WRITE),
				0);
		KUNIT_EXPECT_EQ(test, svm_test_size(st, 0), SZ_2M);
		svm_test_expect(st, 511, 512, true);
		nouveau_svm_fake_reset(&st->fake);
		svm_test_invalidate(st, parts[i].page, parts[i].end);
		svm_test_expect_none(st, 0, SVM_TEST_BLOCK_PAGES);
		KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMCLR), 1);
		KUNIT_EXPECT_GE(test, atomic_read(&st->fake.flushes), 1);
		svm_test_expect(st, 512, 513, false);
		KUNIT_EXPECT_EQ(test, svm_test_size(st, 512), SZ_2M);
	}
	/* The end of one and the beginning of another. */
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 9, NOUVEAU_FAULT_WRITE), 0);
	svm_test_invalidate(st, 511, 513);
	svm_test_expect_none(st, 0, SVM_TEST_PAGES);
	KUNIT_EXPECT_EQ(test, 0, svm_test_window(st, 0)->mirror.view.npages);
}

/* A leaf that the CPU has in parts is mapped by parts, all of them at once. */
static void svm_leaf_mapped_small(struct kunit *test)
{
	struct svm_test *st = svm_test_share_thp(test);

	svm_test_cpu_write(st, 0, SVM_TEST_BLOCK_PAGES);
	/* What splits the PMD and leaves the folio as it is. */
	KUNIT_EXPECT_EQ(test, 0, vm_munmap(svm_test_va(300), 2 * PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 10, NOUVEAU_FAULT_WRITE), 0);
	KUNIT_EXPECT_LE(test, svm_test_calls(st, SVMMAP), 2);
	KUNIT_EXPECT_EQ(test, svm_test_size(st, 10), SZ_4K);
	svm_test_expect(st, 0, 300, true);
	svm_test_expect_none(st, 300, 302);
	svm_test_expect(st, 302, SVM_TEST_BLOCK_PAGES, true);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 300, NOUVEAU_FAULT_READ),
			-EFAULT);
	svm_test_expect(st, 299, 300, true);
}

/* Small entries give way to a large one, and that to small ones. */
static void svm_leaf_replaced(struct kunit *test)
{
	struct svm_test *st = svm_test_share(test);

	svm_test_cpu_write(st, 3, 4);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 3, NOUVEAU_FAULT_WRITE), 0);
	KUNIT_EXPECT_EQ(test, svm_test_size(st, 3), SZ_4K);

	/* A leaf in its place. */
	KUNIT_EXPECT_EQ(test, 0, vm_munmap(SVM_TEST_START, SZ_2M));
	svm_test_expect_none(st, 0, SVM_TEST_BLOCK_PAGES);
	current->mm->def_flags |= VM_HUGEPAGE;
	svm_test_mmap(st, 0, SVM_TEST_BLOCK_PAGES, PROT_READ | PROT_WRITE);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 400, NOUVEAU_FAULT_WRITE), 0);
	KUNIT_EXPECT_EQ(test, svm_test_size(st, 3), SZ_2M);
	svm_test_expect(st, 0, SVM_TEST_BLOCK_PAGES, true);

	/* And small pages again. */
	KUNIT_EXPECT_EQ(test, 0, vm_munmap(SVM_TEST_START, SZ_2M));
	svm_test_expect_none(st, 0, SVM_TEST_BLOCK_PAGES);
	current->mm->def_flags &= ~VM_HUGEPAGE;
	svm_test_mmap(st, 0, SVM_TEST_BLOCK_PAGES, PROT_READ | PROT_WRITE);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 5, NOUVEAU_FAULT_WRITE), 0);
	KUNIT_EXPECT_EQ(test, svm_test_size(st, 5), SZ_4K);
	svm_test_expect(st, 5, 6, true);
	svm_test_expect_none(st, 0, 5);
	svm_test_expect_none(st, 6, SVM_TEST_BLOCK_PAGES);
}

/* What is a leaf for the CPU and not all in a window is mapped by small entries. */
static void svm_leaf_at_edge(struct kunit *test)
{
	struct svm_test *st = test->priv;
	const u64 block = round_down(NOUVEAU_SVM_FAKE_HOLE, SZ_2M);
	const u64 va = NOUVEAU_SVM_FAKE_HOLE_END + SZ_64K;
	u64 size;

	KUNIT_ASSERT_EQ(test, 0, kunit_attach_mm());
	current->mm->def_flags |= VM_HUGEPAGE;
	KUNIT_ASSERT_EQ(test, block,
			vm_mmap(NULL, block, SZ_2M, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, 0));
	KUNIT_ASSERT_EQ(test, 0, svm_test_share_mm(st));
	KUNIT_ASSERT_EQ(test, 0, put_user(1, (int __user *)va));
	svm_test_add(st, va, NOUVEAU_FAULT_WRITE);
	svm_test_served(st);
	KUNIT_EXPECT_NE(test, 0, nouveau_svm_fake_entry(&st->fake, va, &size));
	KUNIT_EXPECT_EQ(test, size, SZ_4K);
	KUNIT_EXPECT_EQ(test, 0,
			nouveau_svm_fake_entry(&st->fake,
					       NOUVEAU_SVM_FAKE_HOLE, &size));
}

/* ---- Files ---- */

/* A leaf of a file, of which a part is cut off. */
static void svm_leaf_shmem(struct kunit *test)
{
	struct svm_test *st = svm_test_share_fs(test, "tmpfs", "huge=always", 0,
						SVM_TEST_PAGES);

	svm_test_cpu_write(st, 0, SVM_TEST_PAGES);
	svm_test_fault(st, 7, NOUVEAU_FAULT_WRITE);
	svm_test_fault(st, 1000, NOUVEAU_FAULT_READ);
	svm_test_served(st);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMMAP), 2);
	KUNIT_EXPECT_EQ(test, svm_test_size(st, 7), SZ_2M);
	KUNIT_EXPECT_EQ(test, svm_test_size(st, 1000), SZ_2M);
	svm_test_expect(st, 0, SVM_TEST_BLOCK_PAGES, true);
	svm_test_expect(st, SVM_TEST_BLOCK_PAGES, SVM_TEST_PAGES, false);

	KUNIT_EXPECT_EQ(test, 0, vfs_truncate(&st->file->f_path,
					      100 * PAGE_SIZE));
	svm_test_expect_none(st, 0, SVM_TEST_PAGES);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 99, NOUVEAU_FAULT_WRITE), 0);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 100, NOUVEAU_FAULT_READ),
			-EFAULT);
	svm_test_expect(st, 99, 100, true);
}

/* A leaf of a file that is mapped where it cannot be one. */
static void svm_leaf_shmem_shifted(struct kunit *test)
{
	struct svm_test *st = svm_test_share_fs(test, "tmpfs", "huge=always", 1,
						SVM_TEST_BLOCK_PAGES);

	KUNIT_ASSERT_EQ(test, 0, vfs_fallocate(st->file, 0, 0, SZ_2M));
	svm_test_cpu_write(st, 1, SVM_TEST_BLOCK_PAGES + 1);
	KUNIT_EXPECT_EQ(test, svm_test_cpu_phys(1) % SZ_2M, 0);
	KUNIT_EXPECT_EQ(test, svm_test_cpu_phys(SVM_TEST_BLOCK_PAGES),
			svm_test_cpu_phys(1) + SZ_2M - PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 9, NOUVEAU_FAULT_WRITE), 0);
	KUNIT_EXPECT_EQ(test, svm_test_size(st, 9), SZ_4K);
	svm_test_expect(st, 9, 10, true);
	svm_test_expect_none(st, 0, 1);
	svm_test_faults(st, 1, SVM_TEST_BLOCK_PAGES + 1, NOUVEAU_FAULT_WRITE);
	svm_test_served(st);
	KUNIT_EXPECT_EQ(test, svm_test_size(st, 9), SZ_4K);
	svm_test_expect_none(st, 0, 1);
	svm_test_expect(st, 1, SVM_TEST_BLOCK_PAGES + 1, true);
	svm_test_expect_none(st, SVM_TEST_BLOCK_PAGES + 1, SVM_TEST_PAGES);
	svm_test_invalidate(st, 5, 6);
	svm_test_expect_none(st, 5, 6);
}

/* A write splits the leaf that serves a read of the same batch. */
static void svm_leaf_private(struct kunit *test)
{
	struct svm_test *st = svm_test_share_fs(test, "tmpfs", "huge=always", 0,
						SVM_TEST_BLOCK_PAGES);

	svm_test_cpu_write(st, 0, SVM_TEST_BLOCK_PAGES);
	KUNIT_ASSERT_EQ(test, svm_test_va(0),
			vm_mmap(st->file, svm_test_va(0), SZ_2M,
				PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED,
				0));
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 3, NOUVEAU_FAULT_READ), 0);
	KUNIT_EXPECT_EQ(test, svm_test_size(st, 3), SZ_2M);
	svm_test_fault(st, 5, NOUVEAU_FAULT_READ);
	svm_test_fault(st, 9, NOUVEAU_FAULT_WRITE);
	svm_test_served(st);
	svm_test_expect(st, 5, 6, false);
	svm_test_expect(st, 9, 10, true);
}

static void svm_leaf_hugetlb(struct kunit *test)
{
	struct svm_test *st = svm_test_share_fs(test, "hugetlbfs",
						"pagesize=2M", 0,
						SVM_TEST_PAGES);

	/* Memory that is not there yet comes as a leaf. */
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 5, NOUVEAU_FAULT_WRITE), 0);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMMAP), 1);
	KUNIT_EXPECT_EQ(test, svm_test_size(st, 5), SZ_2M);
	svm_test_expect(st, 0, SVM_TEST_BLOCK_PAGES, true);
	svm_test_expect_none(st, SVM_TEST_BLOCK_PAGES, SVM_TEST_PAGES);

	svm_test_faults(st, SVM_TEST_BLOCK_PAGES, SVM_TEST_PAGES,
			NOUVEAU_FAULT_READ);
	svm_test_served(st);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMMAP), 1);
	KUNIT_EXPECT_EQ(test, svm_test_size(st, 700), SZ_2M);
	svm_test_expect(st, SVM_TEST_BLOCK_PAGES, SVM_TEST_PAGES, false);

	svm_test_invalidate(st, 700, 701);
	svm_test_expect(st, 0, SVM_TEST_BLOCK_PAGES, true);
	svm_test_expect_none(st, SVM_TEST_BLOCK_PAGES, SVM_TEST_PAGES);
	KUNIT_EXPECT_EQ(test, 0, vm_munmap(SVM_TEST_START, SZ_2M));
	svm_test_expect_none(st, 0, SVM_TEST_PAGES);
}

/* A leaf of 1 GiB is mapped by entries of 2 MiB, one for each that is faulted. */
static void svm_leaf_hugetlb_1g(struct kunit *test)
{
	const unsigned long edge = SVM_TEST_WINDOW_PAGES;
	struct svm_test *st = svm_test_share_fs(test, "hugetlbfs",
						"pagesize=1G", 0,
						SZ_1G >> PAGE_SHIFT);

	/* Two in one window, and one in the next. */
	svm_test_fault(st, 5, NOUVEAU_FAULT_WRITE);
	svm_test_fault(st, 1023, NOUVEAU_FAULT_WRITE);
	svm_test_fault(st, edge + 600, NOUVEAU_FAULT_READ);
	svm_test_served(st);
	KUNIT_EXPECT_EQ(test, svm_test_calls(st, SVMMAP), 3);
	KUNIT_EXPECT_EQ(test, st->space.nr_windows, 2);
	KUNIT_EXPECT_EQ(test, svm_test_size(st, 5), SZ_2M);
	svm_test_expect(st, 0, SVM_TEST_PAGES, true);
	svm_test_expect_none(st, SVM_TEST_PAGES, edge);
	svm_test_expect_none(st, edge, edge + SVM_TEST_BLOCK_PAGES);
	svm_test_expect(st, edge + SVM_TEST_BLOCK_PAGES, edge + SVM_TEST_PAGES,
			false);
	KUNIT_EXPECT_EQ(test, svm_test_cpu_phys(edge + 600),
			svm_test_cpu_phys(0) + (edge + 600) * PAGE_SIZE);

	/* Of a part in the middle one entry goes. */
	svm_test_invalidate(st, 512, 513);
	svm_test_expect(st, 0, 512, true);
	svm_test_expect_none(st, 512, 1024);
	KUNIT_EXPECT_EQ(test, svm_test_one(st, 512, NOUVEAU_FAULT_WRITE), 0);
	svm_test_expect(st, 0, SVM_TEST_PAGES, true);

	KUNIT_EXPECT_EQ(test, 0, vm_munmap(SVM_TEST_START, SZ_1G));
	svm_test_expect_none(st, 0, SVM_TEST_PAGES);
	svm_test_expect_none(st, edge, edge + SVM_TEST_PAGES);
}

static struct kunit_case svm_leaf_cases[] = {
	KUNIT_CASE(svm_leaf_thp_burst),
	KUNIT_CASE(svm_leaf_thp_single),
	KUNIT_CASE(svm_leaf_thp_part),
	KUNIT_CASE(svm_leaf_clear_part),
	KUNIT_CASE(svm_leaf_thp_upgrade),
	KUNIT_CASE(svm_leaf_any_part),
	KUNIT_CASE(svm_leaf_mapped_small),
	KUNIT_CASE(svm_leaf_replaced),
	KUNIT_CASE(svm_leaf_at_edge),
	KUNIT_CASE(svm_leaf_shmem),
	KUNIT_CASE(svm_leaf_shmem_shifted),
	KUNIT_CASE(svm_leaf_private),
	KUNIT_CASE(svm_leaf_hugetlb),
	KUNIT_CASE(svm_leaf_hugetlb_1g),
	{}
};

static struct kunit_suite svm_leaf_suite = {
	.name = "nouveau_svm_leaf",
	.init = svm_test_init,
	.exit = svm_test_exit,
	.test_cases = svm_leaf_cases,
};

kunit_test_suite(svm_leaf_suite);
