// SPDX-License-Identifier: MIT
/*
 * KUnit tests of nouveau_dmem.c: memory that is migrated to the GPU and back, what is
 * in it, and who gets at it meanwhile. The GPU is that of nouveau_svm_fake_gpu.h, its
 * memory that of nouveau_svm_fake_vram.h. What leaks a page of it does not get to the
 * end: nouveau_dmem_fini() waits for all of them.
 *
 * A case runs in one thread and needs no lock of its own.
 */
#include <kunit/device.h>
#include <kunit/static_stub.h>
#include <kunit/test.h>
#include <kunit/test-bug.h>
#include <linux/dma-mapping.h>
#include <linux/huge_mm.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/sizes.h>
#include <linux/swiotlb.h>
#include <linux/uaccess.h>

#include <nvif/if000c.h>

#include "../nouveau_bo.h"
#include "../nouveau_dmem.h"
#include "../nouveau_svm.h"
#include "../nouveau_svm_window.h"
#include "nouveau_svm_fake_gpu.h"
#include "nouveau_svm_fake_vram.h"

#define DMEM_START	(16 * NOUVEAU_SVM_WINDOW)
#define DMEM_PAGES	1024UL				/* two blocks */
#define DMEM_BLOCK	(NOUVEAU_SVM_BLOCK >> PAGE_SHIFT)
#define DMEM_WORDS	(PAGE_SIZE / sizeof(u64))

/**
 * struct dmem_test - a process that shares its memory with a GPU that has its own
 * @test: the test
 * @gpu: the GPU
 * @vram: its memory
 * @begun: @gpu is initialized
 * @has_vram: @vram is initialized
 * @shared: the memory is shared
 * @reached: how often the GPU got at memory that was being copied
 * @host: where the last copy from VRAM went to
 */
struct dmem_test {
	struct kunit *test;
	struct nouveau_svm_fake_gpu gpu;
	struct nouveau_svm_fake_vram vram;
	bool begun;
	bool has_vram;
	bool shared;
	unsigned int reached;
	u64 host;
};

static unsigned long dmem_va(unsigned long page)
{
	return DMEM_START + page * PAGE_SIZE;
}

static u64 dmem_entry(struct dmem_test *dt, unsigned long page)
{
	u64 size;

	return nouveau_svm_fake_entry(&dt->gpu.fake, dmem_va(page), &size);
}

static u64 dmem_phys(struct dmem_test *dt, unsigned long page)
{
	return nouveau_svm_fake_phys(&dt->gpu.fake, dmem_va(page));
}

static bool dmem_in_vram(struct dmem_test *dt, unsigned long page)
{
	u64 entry = dmem_entry(dt, page);

	return entry &&
	       (entry & GP100_PTE_APERTURE) == GP100_PTE_APERTURE_VRAM &&
	       !(entry & (GP100_PTE_READ_ONLY | GP100_PTE_VOL));
}

/* Memory that is copied is in motion: whoever is mapped to it reads or writes junk. */
static void dmem_at_launch(struct nouveau_svm_fake_vram *vram,
			   const struct nouveau_svm_fake_launch *launch)
{
	struct dmem_test *dt = vram->priv;
	u64 phys, src = launch->src;
	unsigned long page;

	if (launch->clear)
		return;
	if (!launch->dst_vram)
		dt->host = launch->dst;
	for (page = 0; page < DMEM_PAGES; page++) {
		phys = dmem_phys(dt, page);
		if (phys && phys >= src && phys < src + launch->size &&
		    dmem_in_vram(dt, page) == launch->src_vram)
			dt->reached++;
	}
}

/* ---- Life ---- */

static void dmem_stub(struct kunit *test)
{
	kunit_activate_static_stub(test, nouveau_bo_new_pin,
				   nouveau_svm_fake_bo_new_pin);
	kunit_activate_static_stub(test, nouveau_bo_unpin_del,
				   nouveau_svm_fake_bo_unpin_del);
	kunit_activate_static_stub(test, nouveau_bo_pin,
				   nouveau_svm_fake_bo_pin);
	kunit_activate_static_stub(test, nouveau_bo_unpin,
				   nouveau_svm_fake_bo_unpin);
}

static int dmem_init(struct kunit *test)
{
	struct dmem_test *dt = kunit_kzalloc(test, sizeof(*dt), GFP_KERNEL);
	struct device *dev;

	KUNIT_ASSERT_NOT_NULL(test, dt);
	test->priv = dt;
	dt->test = test;
	dev = kunit_device_register(test, "nouveau-svm-dmem");
	KUNIT_ASSERT_FALSE(test, IS_ERR(dev));
	KUNIT_ASSERT_EQ(test, 0, nouveau_svm_fake_gpu_init(&dt->gpu, dev));
	dt->begun = true;
	dmem_stub(test);
	KUNIT_ASSERT_EQ(test, 0, nouveau_svm_fake_vram_init(&dt->vram,
							    &dt->gpu));
	dt->has_vram = true;
	dt->vram.at_launch = dmem_at_launch;
	dt->vram.priv = dt;
	return 0;
}

static void dmem_end_vram(struct dmem_test *dt)
{
	if (dt->has_vram)
		nouveau_svm_fake_vram_fini(&dt->vram);
	dt->has_vram = false;
	KUNIT_EXPECT_EQ(dt->test, dt->vram.errors, 0);
	KUNIT_EXPECT_EQ(dt->test, dt->vram.nr_bos, 0);
	KUNIT_EXPECT_EQ(dt->test, dt->reached, 0);
}

static void dmem_exit(struct kunit *test)
{
	struct dmem_test *dt = test->priv;

	if (!dt || !dt->begun)
		return;
	/* The mm may be torn down just now, and with it what is looked at. */
	dt->vram.at_launch = NULL;
	dt->vram.stalled = false;
	dt->vram.emit_error = 0;
	dmem_end_vram(dt);
	if (dt->shared)
		nouveau_svm_fake_gpu_unshare(&dt->gpu);
	nouveau_svm_fake_gpu_fini(&dt->gpu);
	KUNIT_EXPECT_EQ(test, dt->gpu.fake.nr_memories, 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&dt->gpu.fake.errors), 0);
}

/* In place of what is there. */
static void dmem_mmap(struct dmem_test *dt)
{
	KUNIT_ASSERT_EQ(dt->test, DMEM_START,
			vm_mmap(NULL, DMEM_START, DMEM_PAGES * PAGE_SIZE,
				PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, 0));
}

/* A process that shares its memory, of which it has some. */
static struct dmem_test *dmem_share(struct kunit *test)
{
	struct dmem_test *dt = test->priv;

	if (!current->mm)
		KUNIT_ASSERT_EQ(test, 0, kunit_attach_mm());
	if (!(current->mm->def_flags & VM_HUGEPAGE))
		current->mm->def_flags |= VM_NOHUGEPAGE;
	dmem_mmap(dt);
	KUNIT_ASSERT_EQ(test, 0, nouveau_svm_fake_gpu_share(&dt->gpu));
	dt->shared = true;
	return dt;
}

/* The same, in leaves. */
static struct dmem_test *dmem_share_thp(struct kunit *test)
{
	if (!has_transparent_hugepage())
		kunit_skip(test, "no THP");
	KUNIT_ASSERT_EQ(test, 0, kunit_attach_mm());
	current->mm->def_flags |= VM_HUGEPAGE;
	return dmem_share(test);
}

/* ---- The CPU ---- */

/* Different in each page, and at both ends of it. */
static u64 dmem_value(unsigned long page, unsigned int word)
{
	return 0x5eed000000000000 + page * PAGE_SIZE + word;
}

static u64 __user *dmem_user(unsigned long page, unsigned int word)
{
	return (u64 __user *)dmem_va(page) + word;
}

static void dmem_cpu_write(struct dmem_test *dt, unsigned long page,
			   unsigned long end)
{
	const unsigned int last = DMEM_WORDS - 1;

	for (; page < end; page++) {
		KUNIT_EXPECT_EQ(dt->test, 0, put_user(dmem_value(page, 0),
						      dmem_user(page, 0)));
		KUNIT_EXPECT_EQ(dt->test, 0, put_user(dmem_value(page, last),
						      dmem_user(page, last)));
	}
}

/*
 * Has the CPU what it wrote? It faults if that is not here. What is wrong is said
 * once: of the first page.
 */
static void dmem_cpu_expect(struct dmem_test *dt, unsigned long page,
			    unsigned long end)
{
	const unsigned int last = DMEM_WORDS - 1;
	u64 first_word = 0, last_word = 0;
	bool right = true;

	for (; right && page < end; page++) {
		right = !get_user(first_word, dmem_user(page, 0)) &&
			!get_user(last_word, dmem_user(page, last)) &&
			first_word == dmem_value(page, 0) &&
			last_word == dmem_value(page, last);
		KUNIT_EXPECT_TRUE_MSG(dt->test, right,
				      "page %lu: %llx and %llx", page,
				      first_word, last_word);
	}
}

/* 0, or an error of the access itself. */
static int dmem_cpu_touch(unsigned long page)
{
	u64 word __maybe_unused;

	return get_user(word, dmem_user(page, 0));
}

static void dmem_unmap(struct dmem_test *dt, unsigned long page,
		       unsigned long end)
{
	KUNIT_EXPECT_EQ(dt->test, 0, vm_munmap(dmem_va(page),
					       (end - page) * PAGE_SIZE));
}

/* ---- The GPU ---- */

static void dmem_prefetch(struct dmem_test *dt, unsigned long page,
			  unsigned long end)
{
	nouveau_svm_space_prefetch(&dt->gpu.cli.svm.svmm->space, dmem_va(page),
				   dmem_va(end), true);
}

/*
 * By blocks, as NOUVEAU_SVM_BIND does it, which only a process can call. Returns how
 * many pages have moved, or an error.
 */
static long dmem_migrate(struct dmem_test *dt, unsigned long page,
			 unsigned long end)
{
	struct mm_struct *mm = current->mm;
	unsigned long next;
	long ret, moved = 0;

	mmap_read_lock(mm);
	for (; page < end; page = next) {
		next = min(end, round_up(page + 1, DMEM_BLOCK));
		ret = nouveau_dmem_migrate_vma(&dt->gpu.drm,
					       vma_lookup(mm, dmem_va(page)),
					       dmem_va(page), dmem_va(next));
		if (ret < 0)
			break;
		moved += ret;
	}
	mmap_read_unlock(mm);
	return moved ?: ret;
}

/* All of it, and what follows a migration. */
static void dmem_to_vram(struct dmem_test *dt, unsigned long page,
			 unsigned long end)
{
	KUNIT_EXPECT_EQ(dt->test, dmem_migrate(dt, page, end), end - page);
	dmem_prefetch(dt, page, end);
}

/* Where the GPU finds a page in its own memory. */
static u64 *dmem_gpu_at(struct dmem_test *dt, unsigned long page)
{
	KUNIT_ASSERT_TRUE_MSG(dt->test, dmem_in_vram(dt, page),
			      "page %lu: entry %llx", page,
			      dmem_entry(dt, page));
	return nouveau_svm_fake_vram_at(&dt->vram, dmem_phys(dt, page));
}

/* The GPU has in its own memory what the CPU wrote, by entries of @size. */
static void dmem_gpu_expect(struct dmem_test *dt, unsigned long page,
			    unsigned long end, unsigned long size)
{
	const unsigned int last = DMEM_WORDS - 1;
	bool right = true;
	u64 *words, found;

	for (; right && page < end; page++) {
		words = dmem_gpu_at(dt, page);
		nouveau_svm_fake_entry(&dt->gpu.fake, dmem_va(page), &found);
		right = words[0] == dmem_value(page, 0) &&
			words[last] == dmem_value(page, last) && found == size;
		KUNIT_EXPECT_TRUE_MSG(dt->test, right,
				      "page %lu: %llx and %llx by %llx bytes",
				      page, words[0], words[last], found);
	}
}

static void dmem_gpu_expect_none(struct dmem_test *dt, unsigned long page,
				 unsigned long end)
{
	while (page < end && !dmem_entry(dt, page))
		page++;
	if (page < end)
		KUNIT_FAIL(dt->test, "page %lu: entry %llx", page,
			   dmem_entry(dt, page));
}

/* The GPU gets at the page that the CPU has. */
static void dmem_gpu_expect_host(struct dmem_test *dt, unsigned long page)
{
	struct page *cpu;

	KUNIT_ASSERT_EQ(dt->test, 1, get_user_pages_fast(dmem_va(page), 1, 0,
							 &cpu));
	KUNIT_EXPECT_EQ(dt->test, dmem_phys(dt, page), page_to_phys(cpu));
	KUNIT_EXPECT_EQ(dt->test, dmem_entry(dt, page) & GP100_PTE_APERTURE,
			GP100_PTE_APERTURE_COHERENT);
	put_page(cpu);
}

/* ---- There and back ---- */

static void dmem_test_pages(struct kunit *test)
{
	struct dmem_test *dt = dmem_share(test);

	dmem_cpu_write(dt, 0, 10);
	dmem_prefetch(dt, 0, 10);
	dmem_gpu_expect_host(dt, 5);
	dmem_to_vram(dt, 2, 10);
	KUNIT_EXPECT_EQ(test, dt->vram.nr_bos, 1);
	KUNIT_EXPECT_EQ(test, dt->vram.copies, 8);
	KUNIT_EXPECT_EQ(test, dt->vram.clears, 0);
	dmem_gpu_expect(dt, 2, 10, SZ_4K);
	/* From the end of the chunk, of which no page is left out. */
	KUNIT_EXPECT_EQ(test, dmem_phys(dt, 2),
			NOUVEAU_SVM_FAKE_VRAM + SZ_256M - PAGE_SIZE);

	/* The CPU takes one, and has what the GPU wrote. */
	dmem_gpu_at(dt, 5)[0] = dmem_value(5, 0);
	dmem_gpu_at(dt, 5)[7] = 77;
	dmem_cpu_expect(dt, 5, 6);
	dmem_gpu_expect_none(dt, 5, 6);
	dmem_gpu_expect(dt, 2, 5, SZ_4K);
	dmem_gpu_expect(dt, 6, 10, SZ_4K);
	KUNIT_EXPECT_EQ(test, dt->vram.copies, 9);
	dmem_prefetch(dt, 5, 6);
	dmem_gpu_expect_host(dt, 5);

	/* And all others. */
	dmem_cpu_expect(dt, 0, 10);
	dmem_gpu_expect_none(dt, 6, 10);
	KUNIT_EXPECT_EQ(test, dt->vram.copies, 16);
	KUNIT_EXPECT_EQ(test, dt->vram.nr_bos, 1);
}

/* What the GPU writes is what the CPU finds, also where it has not looked before. */
static void dmem_test_gpu_writes(struct kunit *test)
{
	struct dmem_test *dt = dmem_share(test);
	unsigned long i;
	u64 word;

	dmem_cpu_write(dt, 0, 4);
	for (i = 1; i < 20; i++) {
		dmem_to_vram(dt, 0, 4);
		KUNIT_EXPECT_EQ(test, dmem_gpu_at(dt, i % 4)[9], i < 5 ? 0 : i - 4);
		dmem_gpu_at(dt, i % 4)[9] = i;
		dmem_cpu_expect(dt, 0, 4);
		KUNIT_EXPECT_EQ(test, 0, get_user(word, dmem_user(i % 4, 9)));
		KUNIT_EXPECT_EQ(test, word, i);
	}
	/* The same pages of it, again and again. */
	KUNIT_EXPECT_EQ(test, dt->vram.nr_bos, 1);
}

static void dmem_test_thp(struct kunit *test)
{
	struct dmem_test *dt = dmem_share_thp(test);
	u64 phys;

	dmem_cpu_write(dt, 0, DMEM_PAGES);
	dmem_prefetch(dt, 0, DMEM_PAGES);
	dmem_to_vram(dt, 0, DMEM_PAGES);
	KUNIT_EXPECT_EQ(test, dt->vram.copies, 2);
	dmem_gpu_expect(dt, 0, DMEM_PAGES, SZ_2M);
	phys = dmem_phys(dt, DMEM_BLOCK);

	/* The CPU touches the middle of one and gets all of it. */
	dmem_cpu_expect(dt, 77, 78);
	KUNIT_EXPECT_EQ(test, dt->vram.copies, 3);
	dmem_gpu_expect_none(dt, 0, DMEM_BLOCK);
	dmem_gpu_expect(dt, DMEM_BLOCK, DMEM_PAGES, SZ_2M);
	dmem_cpu_expect(dt, 0, DMEM_BLOCK);
	KUNIT_EXPECT_EQ(test, dt->vram.copies, 3);
	dmem_prefetch(dt, 0, DMEM_BLOCK);
	dmem_gpu_expect_host(dt, 300);

	/* It goes again, to where it was. */
	dmem_cpu_expect(dt, DMEM_BLOCK, DMEM_PAGES);
	dmem_to_vram(dt, DMEM_BLOCK, DMEM_PAGES);
	KUNIT_EXPECT_EQ(test, dmem_phys(dt, DMEM_BLOCK), phys);
	dmem_gpu_expect(dt, DMEM_BLOCK, DMEM_PAGES, SZ_2M);
	dmem_cpu_expect(dt, DMEM_BLOCK, DMEM_PAGES);
	KUNIT_EXPECT_EQ(test, dt->vram.copies, 6);
}

/* Two kinds of chunks, and an unaligned range over both. */
static void dmem_test_mixed(struct kunit *test)
{
	struct dmem_test *dt = dmem_share_thp(test);

	dmem_cpu_write(dt, 0, DMEM_PAGES);
	/* The first block is to be of small pages, whoever maps them. */
	dmem_to_vram(dt, 8, 16);
	KUNIT_EXPECT_EQ(test, dt->vram.copies, 8);
	dmem_gpu_expect(dt, 8, 16, SZ_4K);
	dmem_to_vram(dt, 100, DMEM_PAGES);
	KUNIT_EXPECT_EQ(test, dt->vram.copies, 8 + 412 + 1);
	KUNIT_EXPECT_EQ(test, dt->vram.nr_bos, 2);
	dmem_gpu_expect(dt, 100, DMEM_BLOCK, SZ_4K);
	dmem_gpu_expect(dt, DMEM_BLOCK, DMEM_PAGES, SZ_2M);
	dmem_cpu_expect(dt, 0, DMEM_PAGES);
	dmem_gpu_expect_none(dt, 8, 16);
	dmem_gpu_expect_none(dt, 100, DMEM_PAGES);
}

/* Where there is nothing, and the page of zeroes that all share. */
static void dmem_test_holes(struct kunit *test)
{
	struct dmem_test *dt = dmem_share(test);
	unsigned long i;

	KUNIT_EXPECT_EQ(test, 0, dmem_cpu_touch(1));
	dmem_cpu_write(dt, 2, 3);
	dmem_to_vram(dt, 0, 4);
	KUNIT_EXPECT_EQ(test, dt->vram.copies, 1);
	KUNIT_EXPECT_EQ(test, dt->vram.clears, 3);
	dmem_gpu_expect(dt, 2, 3, SZ_4K);
	for (i = 0; i < 4; i++)
		if (i != 2)
			KUNIT_EXPECT_NULL(test, memchr_inv(dmem_gpu_at(dt, i),
							   0, PAGE_SIZE));
	/* It is a page of its own then. */
	dmem_gpu_at(dt, 0)[0] = dmem_value(0, 0);
	dmem_gpu_at(dt, 0)[DMEM_WORDS - 1] = dmem_value(0, DMEM_WORDS - 1);
	dmem_cpu_expect(dt, 0, 1);
	dmem_cpu_expect(dt, 2, 3);
}

static void dmem_expect_zero_block(struct dmem_test *dt, unsigned long page)
{
	unsigned long i;
	u64 word, size;

	nouveau_svm_fake_entry(&dt->gpu.fake, dmem_va(page), &size);
	KUNIT_EXPECT_EQ(dt->test, size, SZ_2M);
	for (i = page; i < page + DMEM_BLOCK; i++)
		if (memchr_inv(dmem_gpu_at(dt, i), 0, PAGE_SIZE))
			break;
	KUNIT_EXPECT_EQ(dt->test, i, page + DMEM_BLOCK);
	dmem_gpu_at(dt, page + 100)[3] = page;
	KUNIT_EXPECT_EQ(dt->test, 0, get_user(word, dmem_user(page + 100, 3)));
	KUNIT_EXPECT_EQ(dt->test, word, page);
}

/* The same for leaves: one that was never there, and the one of zeroes. */
static void dmem_test_holes_thp(struct kunit *test)
{
	struct dmem_test *dt = dmem_share_thp(test);

	KUNIT_EXPECT_EQ(test, 0, dmem_cpu_touch(DMEM_BLOCK + 1));
	dmem_to_vram(dt, 0, DMEM_PAGES);
	KUNIT_EXPECT_EQ(test, dt->vram.copies, 0);
	KUNIT_EXPECT_EQ(test, dt->vram.clears, 2);
	dmem_expect_zero_block(dt, 0);
	dmem_expect_zero_block(dt, DMEM_BLOCK);
}

/* ---- Parts of leaves ---- */

static void dmem_test_unmap_part(struct kunit *test)
{
	struct dmem_test *dt = dmem_share_thp(test);

	dmem_cpu_write(dt, 0, DMEM_BLOCK);
	dmem_to_vram(dt, 0, DMEM_BLOCK);
	dmem_unmap(dt, 9, 10);
	dmem_gpu_expect_none(dt, 0, DMEM_BLOCK);
	dmem_prefetch(dt, 0, DMEM_BLOCK);
	dmem_gpu_expect_none(dt, 9, 10);
	dmem_gpu_expect(dt, 0, 9, SZ_4K);
	dmem_gpu_expect(dt, 10, DMEM_BLOCK, SZ_4K);

	/* Which splits it. */
	dmem_cpu_expect(dt, 20, 21);
	dmem_gpu_expect_none(dt, 20, 21);
	dmem_prefetch(dt, 0, DMEM_BLOCK);
	dmem_gpu_expect_host(dt, 20);
	dmem_gpu_expect(dt, 21, DMEM_BLOCK, SZ_4K);
	dmem_cpu_expect(dt, 0, 9);
	dmem_cpu_expect(dt, 10, DMEM_BLOCK);
}

/* What is left of a leaf goes without ever coming back. */
static void dmem_test_unmap_rest(struct kunit *test)
{
	struct dmem_test *dt = dmem_share_thp(test);

	dmem_cpu_write(dt, 0, DMEM_PAGES);
	dmem_to_vram(dt, 0, DMEM_PAGES);
	dmem_unmap(dt, 100, DMEM_BLOCK);
	dmem_cpu_expect(dt, 1, 2);
	dmem_unmap(dt, 0, 100);
	dmem_unmap(dt, DMEM_BLOCK, DMEM_PAGES);
	dmem_gpu_expect_none(dt, 0, DMEM_PAGES);
	/* One page, which was touched after the split. */
	KUNIT_EXPECT_EQ(test, dt->vram.copies, 3);
}

/* ---- Failures ---- */

/* Pages that did not go are as they were, and go when they can. */
static void dmem_expect_stayed(struct dmem_test *dt, unsigned long page,
			       unsigned long end, unsigned long size)
{
	unsigned int bos = dt->vram.nr_bos;

	dmem_prefetch(dt, page, end);
	dmem_gpu_expect_host(dt, page);
	dmem_cpu_expect(dt, page, end);
	dmem_to_vram(dt, page, end);
	dmem_gpu_expect(dt, page, end, size);
	dmem_cpu_expect(dt, page, end);
	/* Of pages of the GPU none is missing. */
	if (bos)
		KUNIT_EXPECT_EQ(dt->test, dt->vram.nr_bos, bos);
}

static void dmem_test_no_vram(struct kunit *test)
{
	struct dmem_test *dt = dmem_share(test);

	dmem_cpu_write(dt, 0, 4);
	dt->vram.no_bos = true;
	KUNIT_EXPECT_EQ(test, dmem_migrate(dt, 0, 4), 0);
	KUNIT_EXPECT_EQ(test, dt->vram.copies, 0);
	dt->vram.no_bos = false;
	dmem_expect_stayed(dt, 0, 4, SZ_4K);
}

static void dmem_test_no_vram_thp(struct kunit *test)
{
	struct dmem_test *dt = dmem_share_thp(test);

	dmem_cpu_write(dt, 0, DMEM_BLOCK);
	dt->vram.no_bos = true;
	KUNIT_EXPECT_EQ(test, dmem_migrate(dt, 0, DMEM_BLOCK), 0);
	dt->vram.no_bos = false;
	dmem_expect_stayed(dt, 0, DMEM_BLOCK, SZ_2M);
}

/* One copy of several is not made: that page stays, the others go. */
static void dmem_test_push_fails(struct kunit *test)
{
	struct dmem_test *dt = dmem_share(test);

	dmem_cpu_write(dt, 0, 4);
	dt->vram.push_fails = 2;
	KUNIT_EXPECT_EQ(test, dmem_migrate(dt, 0, 4), 3);
	KUNIT_EXPECT_EQ(test, dt->vram.copies, 3);
	dmem_prefetch(dt, 0, 4);
	dmem_gpu_expect(dt, 0, 1, SZ_4K);
	dmem_gpu_expect_host(dt, 1);
	dmem_gpu_expect(dt, 2, 4, SZ_4K);
	dmem_cpu_expect(dt, 0, 4);

	/* That of a page of zeroes too. */
	dt->vram.push_fails = 1;
	KUNIT_EXPECT_EQ(test, dmem_migrate(dt, 4, 6), 1);
	dmem_expect_stayed(dt, 0, 4, SZ_4K);
}

static void dmem_test_push_fails_thp(struct kunit *test)
{
	struct dmem_test *dt = dmem_share_thp(test);

	dmem_cpu_write(dt, 0, DMEM_PAGES);
	dt->vram.push_fails = 1;
	KUNIT_EXPECT_EQ(test, dmem_migrate(dt, 0, DMEM_PAGES), DMEM_BLOCK);
	dmem_prefetch(dt, 0, DMEM_PAGES);
	dmem_gpu_expect_host(dt, 0);
	dmem_gpu_expect(dt, DMEM_BLOCK, DMEM_PAGES, SZ_2M);
	dmem_cpu_expect(dt, DMEM_BLOCK, DMEM_PAGES);
	dmem_expect_stayed(dt, 0, DMEM_BLOCK, SZ_2M);
}

/* A CPU that does not get its page back, and then does. */
static void dmem_test_push_fails_back(struct kunit *test)
{
	struct dmem_test *dt = dmem_share_thp(test);

	dmem_cpu_write(dt, 0, DMEM_BLOCK + 4);
	dmem_to_vram(dt, 0, DMEM_BLOCK);
	dmem_to_vram(dt, DMEM_BLOCK, DMEM_BLOCK + 4);
	dt->vram.push_fails = 1;
	KUNIT_EXPECT_EQ(test, -EFAULT, dmem_cpu_touch(7));
	dt->vram.push_fails = 1;
	KUNIT_EXPECT_EQ(test, -EFAULT, dmem_cpu_touch(DMEM_BLOCK + 1));
	/* The GPU still has both. */
	dmem_prefetch(dt, 0, DMEM_BLOCK + 4);
	dmem_gpu_expect(dt, 0, DMEM_BLOCK, SZ_2M);
	dmem_gpu_expect(dt, DMEM_BLOCK, DMEM_BLOCK + 4, SZ_4K);
	dmem_cpu_expect(dt, 0, DMEM_BLOCK + 4);
}

#ifdef CONFIG_SWIOTLB
/* A device that needs bounce buffers, of which there are none. */
static struct io_tlb_mem dmem_no_bounce = { .force_bounce = true };

static void dmem_test_dma_fails(struct kunit *test)
{
	struct dmem_test *dt = dmem_share_thp(test);
	struct device *dev = dt->gpu.fake.dev;
	struct io_tlb_mem *mem = dev->dma_io_tlb_mem;

	dmem_cpu_write(dt, 0, DMEM_BLOCK + 4);
	dev->dma_io_tlb_mem = &dmem_no_bounce;
	KUNIT_EXPECT_EQ(test, dmem_migrate(dt, 0, DMEM_BLOCK + 4), 0);
	dev->dma_io_tlb_mem = mem;
	KUNIT_EXPECT_EQ(test, dt->vram.copies, 0);
	dmem_expect_stayed(dt, 0, DMEM_BLOCK, SZ_2M);
	dmem_expect_stayed(dt, DMEM_BLOCK, DMEM_BLOCK + 4, SZ_4K);

	dmem_to_vram(dt, 0, DMEM_BLOCK);
	dmem_to_vram(dt, DMEM_BLOCK, DMEM_BLOCK + 4);
	dev->dma_io_tlb_mem = &dmem_no_bounce;
	KUNIT_EXPECT_EQ(test, -EFAULT, dmem_cpu_touch(7));
	KUNIT_EXPECT_EQ(test, -EFAULT, dmem_cpu_touch(DMEM_BLOCK + 1));
	dev->dma_io_tlb_mem = mem;
	dmem_cpu_expect(dt, 0, DMEM_BLOCK + 4);
}
#endif

/* The channel is dead: there is no copy, in either direction. */
static void dmem_test_killed(struct kunit *test)
{
	struct dmem_test *dt = dmem_share(test);

	dmem_cpu_write(dt, 0, 8);
	dmem_to_vram(dt, 0, 4);
	nouveau_fence_context_kill(dt->vram.fctx, -ENODEV);
	KUNIT_EXPECT_EQ(test, -EFAULT, dmem_cpu_touch(0));
	KUNIT_EXPECT_EQ(test, dmem_migrate(dt, 4, 8), 0);
	dmem_cpu_expect(dt, 4, 8);
	dt->vram.fctx->killed = 0;

	/* It may be that nothing fits in any more. */
	atomic_set(&dt->vram.chan.killed, 1);
	dt->vram.emit_error = -EBUSY;
	KUNIT_EXPECT_EQ(test, -EFAULT, dmem_cpu_touch(0));
	KUNIT_EXPECT_EQ(test, dmem_migrate(dt, 4, 8), 0);
	dmem_cpu_expect(dt, 4, 8);
	dt->vram.emit_error = 0;
	atomic_set(&dt->vram.chan.killed, 0);
	dmem_cpu_expect(dt, 0, 4);
	dmem_expect_stayed(dt, 4, 8, SZ_4K);
}

/*
 * There is no fence, or it is not signaled in time: the GPU copies later. What it
 * writes to then is not used for anything else, so it is for us to free.
 */
static void dmem_late(struct dmem_test *dt, bool stalled)
{
	struct kunit *test = dt->test;
	struct page *page;

	dmem_cpu_write(dt, 0, 8);
	dmem_to_vram(dt, 0, 4);
	dt->vram.emit_error = stalled ? 0 : -EBUSY;
	dt->vram.stalled = stalled;
	KUNIT_EXPECT_EQ(test, -EFAULT, dmem_cpu_touch(2));
	dt->vram.emit_error = 0;
	dt->vram.stalled = false;
	dmem_gpu_expect_none(dt, 2, 3);
	KUNIT_ASSERT_NE(test, dt->host, 0);
	page = pfn_to_page(PHYS_PFN(dt->host));
	KUNIT_ASSERT_EQ(test, page_count(page), 1);

	nouveau_svm_fake_vram_run(&dt->vram);
	KUNIT_EXPECT_EQ(test, *(u64 *)page_address(page), dmem_value(2, 0));
	dma_unmap_page(dt->gpu.fake.dev, dt->host, PAGE_SIZE,
		       DMA_BIDIRECTIONAL);
	put_page(page);
	dmem_cpu_expect(dt, 0, 8);
}

static void dmem_test_late(struct kunit *test)
{
	dmem_late(dmem_share(test), false);
}

/* It takes as long as the driver waits. */
static void dmem_test_stalled(struct kunit *test)
{
	dmem_late(dmem_share(test), true);
}

/* To VRAM: the pages stay. A copy that is late is one that nobody looks at. */
static void dmem_test_late_there(struct kunit *test)
{
	struct dmem_test *dt = dmem_share(test);
	unsigned long i;

	dmem_cpu_write(dt, 0, 4);
	dt->vram.emit_error = -EBUSY;
	KUNIT_EXPECT_EQ(test, dmem_migrate(dt, 0, 4), 0);
	dt->vram.emit_error = 0;
	KUNIT_ASSERT_EQ(test, dt->vram.nr_launches, 4);
	/* What may still be read stays mapped, and is for us to unmap. */
	for (i = 0; i < 4; i++)
		dma_unmap_page(dt->gpu.fake.dev, dt->vram.launches[i].src,
			       PAGE_SIZE, DMA_BIDIRECTIONAL);
	dmem_expect_stayed(dt, 0, 4, SZ_4K);
}

/* ---- The end of VRAM ---- */

/* All that is left in VRAM comes back, of both kinds of chunks. */
static void dmem_test_fini(struct kunit *test)
{
	struct dmem_test *dt = dmem_share_thp(test);

	dmem_cpu_write(dt, 0, DMEM_PAGES);
	dmem_to_vram(dt, 0, DMEM_BLOCK);
	dmem_to_vram(dt, DMEM_BLOCK, DMEM_BLOCK + 20);
	dmem_unmap(dt, DMEM_BLOCK + 3, DMEM_BLOCK + 4);
	KUNIT_EXPECT_EQ(test, dt->vram.nr_bos, 2);
	dt->vram.copies = 0;
	dmem_end_vram(dt);
	KUNIT_EXPECT_EQ(test, dt->vram.copies, 20);
	KUNIT_EXPECT_PTR_EQ(test, dt->gpu.drm.dmem, NULL);
	dmem_gpu_expect_none(dt, 0, DMEM_BLOCK + 20);

	KUNIT_EXPECT_EQ(test, dmem_migrate(dt, 0, 4), -ENODEV);
	dmem_cpu_expect(dt, 0, DMEM_BLOCK + 3);
	dmem_cpu_expect(dt, DMEM_BLOCK + 4, DMEM_PAGES);
	dmem_prefetch(dt, 0, DMEM_BLOCK);
	dmem_gpu_expect_host(dt, 5);
}

/* A copy that fails is made in the next round. */
static void dmem_test_fini_retries(struct kunit *test)
{
	struct dmem_test *dt = dmem_share(test);

	dmem_cpu_write(dt, 0, 6);
	dmem_to_vram(dt, 0, 6);
	dt->vram.copies = 0;
	dt->vram.push_fails = 3;
	dmem_end_vram(dt);
	KUNIT_EXPECT_EQ(test, dt->vram.copies, 6);
	dmem_cpu_expect(dt, 0, 6);
}

/* What is in the memory of a dead GPU is lost, and nothing waits for its users. */
static void dmem_test_fini_killed(struct kunit *test)
{
	struct dmem_test *dt = dmem_share(test);
	unsigned long i;

	dmem_cpu_write(dt, 0, 8);
	dmem_to_vram(dt, 0, 4);
	atomic_set(&dt->vram.chan.killed, 1);
	dt->vram.emit_error = -EBUSY;
	dmem_end_vram(dt);
	KUNIT_EXPECT_PTR_EQ(test, dt->gpu.drm.dmem, NULL);
	for (i = 0; i < 4; i++)
		KUNIT_EXPECT_EQ(test, -EFAULT, dmem_cpu_touch(i));
	dmem_cpu_expect(dt, 4, 8);
}

/* What the GPU may still write to is kept for it. It is for us to free. */
static void dmem_free_late(struct dmem_test *dt, unsigned int nr)
{
	struct nouveau_svm_fake_launch *launch;
	struct page *page;
	unsigned int i;

	for (i = 0; i < nr; i++) {
		launch = &dt->vram.launches[i];
		page = pfn_to_page(PHYS_PFN(launch->dst));
		KUNIT_ASSERT_FALSE(dt->test, launch->dst_vram);
		KUNIT_ASSERT_EQ(dt->test, page_count(page), 1);
		dma_unmap_page(dt->gpu.fake.dev, launch->dst, launch->size,
			       DMA_BIDIRECTIONAL);
		put_page(page);
	}
}

/* The fence of the first window of four pages comes too late, all others in time. */
static void dmem_late_once(struct nouveau_svm_fake_vram *vram,
			   const struct nouveau_svm_fake_launch *launch)
{
	dmem_at_launch(vram, launch);
	vram->emit_error = vram->copies <= 4 ? -EBUSY : 0;
}

/* That is no reason to lose anything. */
static void dmem_test_fini_late(struct kunit *test)
{
	struct dmem_test *dt = dmem_share(test);

	dmem_cpu_write(dt, 0, 8);
	dmem_to_vram(dt, 0, 4);
	dt->vram.copies = 0;
	dt->vram.at_launch = dmem_late_once;
	dmem_end_vram(dt);
	KUNIT_ASSERT_EQ(test, dt->vram.copies, 8);
	dmem_cpu_expect(dt, 0, 8);
	dmem_free_late(dt, 4);
}

/* A GPU that hangs is waited for twice, not for each of its chunks. */
static void dmem_test_fini_hung(struct kunit *test)
{
	struct dmem_test *dt = dmem_share_thp(test);
	unsigned long i;

	dmem_cpu_write(dt, 0, DMEM_PAGES);
	dmem_to_vram(dt, 0, DMEM_BLOCK);
	dmem_to_vram(dt, DMEM_BLOCK, DMEM_BLOCK + 4);
	KUNIT_EXPECT_EQ(test, dt->vram.nr_bos, 2);
	dt->vram.copies = 0;
	dt->vram.emit_error = -EBUSY;
	dmem_end_vram(dt);
	/* The last chunk goes first: its four pages, and again. */
	KUNIT_ASSERT_EQ(test, dt->vram.copies, 8);
	KUNIT_EXPECT_EQ(test, -EFAULT, dmem_cpu_touch(0));
	KUNIT_EXPECT_EQ(test, -EFAULT, dmem_cpu_touch(DMEM_BLOCK - 1));
	for (i = DMEM_BLOCK; i < DMEM_BLOCK + 4; i++)
		KUNIT_EXPECT_EQ(test, -EFAULT, dmem_cpu_touch(i));
	dmem_cpu_expect(dt, DMEM_BLOCK + 4, DMEM_PAGES);
	dmem_free_late(dt, 8);
}

/* One chunk has gone, the other one has pages that are free. */
static void dmem_unpin_del(struct nouveau_bo **pnvbo)
{
	struct kunit *test = kunit_get_current_test();
	struct dmem_test *dt = test->priv;

	nouveau_svm_fake_bo_unpin_del(pnvbo);
	if (dt->vram.nr_bos == 1)
		KUNIT_EXPECT_EQ(test, dmem_migrate(dt, 8, 12), 0);
}

/* Nobody gets a page of VRAM that is about to end. */
static void dmem_test_fini_closing(struct kunit *test)
{
	struct dmem_test *dt = dmem_share_thp(test);

	dmem_cpu_write(dt, 0, DMEM_PAGES);
	dmem_to_vram(dt, 0, 4);
	dmem_to_vram(dt, DMEM_BLOCK, DMEM_PAGES);
	KUNIT_EXPECT_EQ(test, dt->vram.nr_bos, 2);
	dt->vram.copies = 0;
	kunit_activate_static_stub(test, nouveau_bo_unpin_del, dmem_unpin_del);
	dmem_end_vram(dt);
	/* A leaf and four pages have come back, and nothing went there. */
	KUNIT_EXPECT_EQ(test, dt->vram.copies, 5);
	dmem_cpu_expect(dt, 0, DMEM_PAGES);
}

/* A leaf of which a part was unmapped, and one of which some has come back. */
static void dmem_test_fini_parts(struct kunit *test)
{
	struct dmem_test *dt = dmem_share_thp(test);

	dmem_cpu_write(dt, 0, DMEM_PAGES);
	dmem_to_vram(dt, 0, DMEM_PAGES);
	dmem_unmap(dt, 9, 10);
	dmem_unmap(dt, DMEM_BLOCK, DMEM_BLOCK + 1);
	dmem_cpu_expect(dt, DMEM_BLOCK + 5, DMEM_BLOCK + 6);
	dmem_end_vram(dt);
	dmem_cpu_expect(dt, 0, 9);
	dmem_cpu_expect(dt, 10, DMEM_BLOCK);
	dmem_cpu_expect(dt, DMEM_BLOCK + 1, DMEM_PAGES);
}

/* Its buffers have no place of their own meanwhile, and the same one afterwards. */
static void dmem_test_suspend(struct kunit *test)
{
	struct dmem_test *dt = dmem_share(test);

	dmem_cpu_write(dt, 0, 4);
	dmem_to_vram(dt, 0, 4);
	nouveau_svm_suspend(&dt->gpu.drm);
	nouveau_dmem_suspend(&dt->gpu.drm);
	KUNIT_EXPECT_EQ(test, dt->vram.nr_pins, 0);
	dmem_gpu_expect_none(dt, 0, 4);
	nouveau_dmem_resume(&dt->gpu.drm);
	nouveau_svm_resume(&dt->gpu.drm);
	KUNIT_EXPECT_EQ(test, dt->vram.nr_pins, 1);
	dmem_prefetch(dt, 0, 4);
	dmem_gpu_expect(dt, 0, 4, SZ_4K);
	dmem_cpu_expect(dt, 0, 4);
}

#ifdef CONFIG_FAILSLAB
/*
 * Each allocation of a migration fails in turn, there or back. Pages go or stay, and
 * the CPU gets its own, at the latest when it asks again.
 */
static void dmem_fail_nth(struct dmem_test *dt, bool back, unsigned long end)
{
	struct kunit *test = dt->test;
	unsigned int n, left, failed = 0;
	long ret;

	for (n = 1; n < 500; n++) {
		/* As it may have been split. */
		dmem_mmap(dt);
		dmem_cpu_write(dt, 0, end);
		if (back)
			dmem_to_vram(dt, 0, end);
		WRITE_ONCE(current->fail_nth, n);
		ret = back ? dmem_cpu_touch(0) : dmem_migrate(dt, 0, end);
		left = READ_ONCE(current->fail_nth);
		WRITE_ONCE(current->fail_nth, 0);
		failed += back ? ret < 0 : ret < (long)end;
		if (left)
			break;
		dmem_cpu_expect(dt, 0, end);
	}
	dmem_cpu_expect(dt, 0, end);
	KUNIT_EXPECT_LT(test, n, 500);
	KUNIT_EXPECT_EQ(test, ret, back ? 0 : (long)end);
	KUNIT_EXPECT_GE_MSG(test, failed, 2,
			    "is failslab/ignore-gfp-wait off?");
	kunit_info(test, "%u allocations, %u of them needed", n - 1, failed);
}

static void dmem_test_fail_there(struct kunit *test)
{
	dmem_fail_nth(dmem_share(test), false, 4);
}

static void dmem_test_fail_there_thp(struct kunit *test)
{
	dmem_fail_nth(dmem_share_thp(test), false, DMEM_BLOCK);
}

static void dmem_test_fail_back(struct kunit *test)
{
	dmem_fail_nth(dmem_share(test), true, 4);
}

static void dmem_test_fail_back_thp(struct kunit *test)
{
	dmem_fail_nth(dmem_share_thp(test), true, DMEM_BLOCK);
}
#endif

static struct kunit_case dmem_test_cases[] = {
	KUNIT_CASE(dmem_test_pages),
	KUNIT_CASE(dmem_test_gpu_writes),
	KUNIT_CASE(dmem_test_thp),
	KUNIT_CASE(dmem_test_mixed),
	KUNIT_CASE(dmem_test_holes),
	KUNIT_CASE(dmem_test_holes_thp),
	KUNIT_CASE(dmem_test_unmap_part),
	KUNIT_CASE(dmem_test_unmap_rest),
	KUNIT_CASE(dmem_test_no_vram),
	KUNIT_CASE(dmem_test_no_vram_thp),
	KUNIT_CASE(dmem_test_push_fails),
	KUNIT_CASE(dmem_test_push_fails_thp),
	KUNIT_CASE(dmem_test_push_fails_back),
#ifdef CONFIG_SWIOTLB
	KUNIT_CASE(dmem_test_dma_fails),
#endif
	KUNIT_CASE(dmem_test_killed),
	KUNIT_CASE(dmem_test_late),
	KUNIT_CASE_SLOW(dmem_test_stalled),
	KUNIT_CASE(dmem_test_late_there),
	KUNIT_CASE(dmem_test_fini),
	KUNIT_CASE(dmem_test_fini_retries),
	KUNIT_CASE(dmem_test_fini_killed),
	KUNIT_CASE(dmem_test_fini_late),
	KUNIT_CASE(dmem_test_fini_hung),
	KUNIT_CASE(dmem_test_fini_closing),
	KUNIT_CASE(dmem_test_fini_parts),
	KUNIT_CASE(dmem_test_suspend),
#ifdef CONFIG_FAILSLAB
	KUNIT_CASE(dmem_test_fail_there),
	KUNIT_CASE(dmem_test_fail_there_thp),
	KUNIT_CASE(dmem_test_fail_back),
	KUNIT_CASE(dmem_test_fail_back_thp),
#endif
	{}
};

static struct kunit_suite dmem_test_suite = {
	.name = "nouveau_svm_dmem",
	.init = dmem_init,
	.exit = dmem_exit,
	.test_cases = dmem_test_cases,
};

kunit_test_suite(dmem_test_suite);
