// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * KUnit tests of the HMM mirror layer, each with an address space of its own:
 * faults, prefetch, partial results, every way in which a mapping can be taken
 * away meanwhile, timeouts, invalidations that must not block, and the end of the
 * mirror or of the address space.
 *
 * Memory is anonymous, or from a file whose page fault handler can do something
 * in the middle of a walk. The mirror has no device: what becomes of DMA
 * addresses is tested in mm/tests/hmm_dma_kunit.c.
 *
 * Included by mm/hmm_mirror.c, whose static functions it calls. A case runs in
 * one thread; what invalidate() records is under hmm_mirror.lock.
 */
#include <kunit/test.h>
#include <linux/anon_inodes.h>
#include <linux/completion.h>
#include <linux/file.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/uaccess.h>
#include <asm/tlb.h>

#define MIRROR_TEST_PAGES	96UL

/* Where memory and window begin: a table of PTEs ends in the middle. */
#define MIRROR_TEST_HALF	(MIRROR_TEST_PAGES / 2)
#define MIRROR_TEST_START	(64 * PMD_SIZE - MIRROR_TEST_HALF * PAGE_SIZE)

/* A window of more pages than a walk has extents, in which no two are neighbours. */
#define MIRROR_TEST_MANY	(2 * MIRROR_EXTENTS + 2 * MIRROR_TEST_PAGES)
#define MIRROR_TEST_STRIDE	37UL

struct mirror_test {
	struct kunit *test;
	struct hmm_mirror mirror;
	unsigned long start, npages;	/* of memory and window */

	/* what invalidate() was told */
	unsigned int invalidations;
	unsigned long from, to;

	/* what the last call left mapped of what it was for */
	unsigned long reached, writable;

	/* memory of a file */
	struct page *pages[MIRROR_TEST_PAGES];
	unsigned int faults;
	/* called for each fault, before it is served */
	vm_fault_t (*hook)(struct mirror_test *mt, unsigned long page);
};

static int mirror_test_init(struct kunit *test)
{
	struct mirror_test *mt = kunit_kzalloc(test, sizeof(*mt), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, mt);
	mt->test = test;
	mt->npages = MIRROR_TEST_PAGES;
	test->priv = mt;
	return 0;
}

static unsigned long mirror_test_va(struct mirror_test *mt, unsigned long page)
{
	return mt->start + page * PAGE_SIZE;
}

static void mirror_test_invalidate(struct hmm_mirror *mirror,
				   unsigned long start, unsigned long end)
{
	struct mirror_test *mt = container_of(mirror, struct mirror_test,
					      mirror);

	lockdep_assert_held(&mirror->lock);
	if (!mt->invalidations++) {
		mt->from = start;
		mt->to = end;
		return;
	}
	mt->from = min(mt->from, start);
	mt->to = max(mt->to, end);
}

static const struct hmm_mirror_ops mirror_test_ops = {
	.invalidate = mirror_test_invalidate,
};

KUNIT_DEFINE_ACTION_WRAPPER(mirror_test_destroy, hmm_mirror_destroy,
			    struct hmm_mirror *);

static void mirror_test_open(struct mirror_test *mt, unsigned long addr)
{
	struct kunit *test = mt->test;

	KUNIT_ASSERT_EQ(test, addr, MIRROR_TEST_START);
	mt->start = addr;
	KUNIT_ASSERT_EQ(test, 0,
			hmm_mirror_init(&mt->mirror, current->mm, NULL,
					&mirror_test_ops, addr,
					mirror_test_va(mt, mt->npages)));
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, mirror_test_destroy,
						  &mt->mirror));
}

/* A mirror of fresh anonymous memory. If a case fails early, its mm goes first. */
static struct mirror_test *mirror_test_anon(struct kunit *test)
{
	struct mirror_test *mt = test->priv;

	KUNIT_ASSERT_EQ(test, kunit_attach_mm(), 0);
	mirror_test_open(mt, vm_mmap(NULL, MIRROR_TEST_START,
				     MIRROR_TEST_PAGES * PAGE_SIZE,
				     PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, 0));
	return mt;
}

/* ---- A file ---- */

static vm_fault_t mirror_test_vm_fault(struct vm_fault *vmf)
{
	struct mirror_test *mt = vmf->vma->vm_private_data;
	unsigned long i = vmf->pgoff;
	vm_fault_t ret = 0;

	if (vmf->pgoff >= mt->npages)
		return VM_FAULT_SIGBUS;
	mt->faults++;
	if (mt->hook)
		ret = mt->hook(mt, vmf->pgoff);
	if (ret)
		return ret;
	/* A larger file has the same pages several times. */
	if (mt->npages > MIRROR_TEST_PAGES)
		i = i * MIRROR_TEST_STRIDE % MIRROR_TEST_PAGES;
	get_page(mt->pages[i]);
	vmf->page = mt->pages[i];
	return 0;
}

static const struct vm_operations_struct mirror_test_vm_ops = {
	.fault = mirror_test_vm_fault,
};

static int mirror_test_mmap(struct file *file, struct vm_area_struct *vma)
{
	vma->vm_ops = &mirror_test_vm_ops;
	vma->vm_private_data = file->private_data;
	return 0;
}

static const struct file_operations mirror_test_fops = {
	.mmap = mirror_test_mmap,
};

static void mirror_test_free_pages(void *arg)
{
	struct mirror_test *mt = arg;
	unsigned long i;

	for (i = 0; i < MIRROR_TEST_PAGES; i++)
		if (mt->pages[i])
			put_page(mt->pages[i]);
}

/* A mirror of a shared mapping of the file. */
static struct mirror_test *mirror_test_file(struct kunit *test)
{
	struct mirror_test *mt = test->priv;
	struct file *file;
	unsigned long i, addr;

	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action(test, mirror_test_free_pages, mt));
	for (i = 0; i < MIRROR_TEST_PAGES; i++) {
		mt->pages[i] = alloc_page(GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, mt->pages[i]);
	}
	KUNIT_ASSERT_EQ(test, kunit_attach_mm(), 0);
	file = anon_inode_getfile("hmm-mirror-test", &mirror_test_fops, mt,
				  O_RDWR);
	KUNIT_ASSERT_FALSE(test, IS_ERR(file));
	addr = vm_mmap(file, MIRROR_TEST_START, mt->npages * PAGE_SIZE,
		       PROT_READ | PROT_WRITE, MAP_SHARED, 0);
	fput(file);
	mirror_test_open(mt, addr);
	return mt;
}

/* ---- Doing and looking ---- */

/* Count what of pages [@page, @end) is mapped. Under the update lock. */
static void mirror_test_count(struct mirror_test *mt, unsigned long page,
			      unsigned long end)
{
	struct hmm_dma_run run = { .start = mirror_test_va(mt, page) };

	mt->reached = 0;
	mt->writable = 0;
	while (hmm_mirror_next_run(&mt->mirror, mirror_test_va(mt, end),
				   &run)) {
		mt->reached += run.npages;
		if (run.writable)
			mt->writable += run.npages;
	}
}

static int mirror_test_fault_for(struct mirror_test *mt, unsigned long page,
				 unsigned long end, unsigned int flags,
				 unsigned long timeout)
{
	int ret;

	mt->invalidations = 0;
	ret = hmm_mirror_fault(&mt->mirror, mirror_test_va(mt, page),
			       mirror_test_va(mt, end), flags, timeout);
	if (ret)
		return ret;
	mirror_test_count(mt, page, end);
	hmm_mirror_unlock(&mt->mirror);
	return 0;
}

static int mirror_test_fault(struct mirror_test *mt, unsigned long page,
			     unsigned long end, unsigned int flags)
{
	return mirror_test_fault_for(mt, page, end, flags, 60 * HZ);
}

/* How many pages of [@page, @end) are mapped now. */
static unsigned long mirror_test_mapped(struct mirror_test *mt,
					unsigned long page, unsigned long end)
{
	mutex_lock(&mt->mirror.lock);
	mirror_test_count(mt, page, end);
	mutex_unlock(&mt->mirror.lock);
	return mt->reached;
}

static unsigned long mirror_test_mapped_pfn(struct mirror_test *mt,
					    unsigned long page)
{
	struct hmm_dma_run run = { .start = mirror_test_va(mt, page) };

	mutex_lock(&mt->mirror.lock);
	if (!hmm_mirror_next_run(&mt->mirror, mirror_test_va(mt, page + 1),
				 &run))
		run.pfn = 0;
	mutex_unlock(&mt->mirror.lock);
	return run.pfn;
}

/* The mirror has the pages that the CPU has. */
static void mirror_test_expect_same(struct mirror_test *mt, unsigned long page,
				    unsigned long end, bool write)
{
	struct kunit *test = mt->test;
	struct page *p;

	for (; page < end; page++) {
		KUNIT_ASSERT_EQ(test, 1,
				get_user_pages_fast(mirror_test_va(mt, page), 1,
						    write ? FOLL_WRITE : 0, &p));
		KUNIT_EXPECT_EQ(test, mirror_test_mapped_pfn(mt, page),
				page_to_pfn(p));
		put_page(p);
	}
}

static void mirror_test_write_cpu(struct mirror_test *mt, unsigned long page,
				  unsigned long end)
{
	for (; page < end; page++)
		KUNIT_ASSERT_EQ(mt->test, 0,
				put_user(page, (unsigned long __user *)
					       mirror_test_va(mt, page)));
}

static void mirror_test_expect_invalidated(struct mirror_test *mt,
					   unsigned long page,
					   unsigned long end)
{
	struct kunit *test = mt->test;

	KUNIT_EXPECT_GT(test, mt->invalidations, 0);
	KUNIT_EXPECT_LE(test, mt->from, mirror_test_va(mt, page));
	KUNIT_EXPECT_GE(test, mt->to, mirror_test_va(mt, end));
	KUNIT_EXPECT_EQ(test, mirror_test_mapped(mt, page, end), 0);
}

static void mirror_test_range(struct mirror_test *mt,
			      struct mmu_notifier_range *range,
			      unsigned long page, unsigned long end)
{
	mmu_notifier_range_init(range, MMU_NOTIFY_CLEAR, 0, mt->mirror.notifier.mm,
				mirror_test_va(mt, page),
				mirror_test_va(mt, end));
}

/* An invalidation that changes nothing in the page table. */
static void mirror_test_notify(struct mirror_test *mt, unsigned long page,
			       unsigned long end)
{
	struct mmu_notifier_range range;

	mirror_test_range(mt, &range, page, end);
	mmu_notifier_invalidate_range_start(&range);
	mmu_notifier_invalidate_range_end(&range);
}

static int mirror_test_notify_nonblock(struct mirror_test *mt,
				       unsigned long page, unsigned long end)
{
	struct mmu_notifier_range range;
	int ret;

	mirror_test_range(mt, &range, page, end);
	ret = mmu_notifier_invalidate_range_start_nonblock(&range);
	if (!ret)
		mmu_notifier_invalidate_range_end(&range);
	return ret;
}

/* ---- Cases ---- */

static void mirror_test_bad_arguments(struct kunit *test)
{
	static const struct hmm_mirror_ops no_invalidate = {};
	struct mirror_test *mt = mirror_test_anon(test);
	unsigned long start = mt->start, end = start + 4 * PAGE_SIZE;
	unsigned long last = mirror_test_va(mt, MIRROR_TEST_PAGES);
	struct hmm_mirror *mirror = &mt->mirror, *bad;

	bad = kunit_kzalloc(test, sizeof(*bad), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, bad);
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_mirror_init(bad, current->mm, NULL,
						       NULL, start, end));
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_mirror_init(bad, current->mm, NULL,
						       &no_invalidate, start,
						       end));
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_mirror_init(bad, current->mm, NULL,
						       &mirror_test_ops, end,
						       start));
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_mirror_init(bad, current->mm, NULL,
						       &mirror_test_ops,
						       start + 8, end));

	KUNIT_EXPECT_EQ(test, -EINVAL,
			hmm_mirror_fault(mirror, start, start, 0, HZ));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			hmm_mirror_fault(mirror, end, start, 0, HZ));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			hmm_mirror_fault(mirror, start + 1, end, 0, HZ));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			hmm_mirror_fault(mirror, start, end + 1, 0, HZ));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			hmm_mirror_fault(mirror, start - PAGE_SIZE, end, 0, HZ));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			hmm_mirror_fault(mirror, start, last + PAGE_SIZE, 0,
					 HZ));
}

static void mirror_test_read(struct kunit *test)
{
	struct mirror_test *mt = mirror_test_anon(test);

	mirror_test_write_cpu(mt, 0, 4);
	KUNIT_ASSERT_EQ(test, mirror_test_fault(mt, 0, 8, 0), 0);
	KUNIT_EXPECT_EQ(test, mt->reached, 8);
	KUNIT_EXPECT_EQ(test, mt->writable, 0);
	mirror_test_expect_same(mt, 0, 8, false);
	KUNIT_EXPECT_EQ(test, mirror_test_mapped(mt, 8, MIRROR_TEST_PAGES), 0);

	/* Nothing to do the second time. */
	KUNIT_ASSERT_EQ(test, mirror_test_fault(mt, 0, 8, 0), 0);
	KUNIT_EXPECT_EQ(test, mt->reached, 8);
	KUNIT_EXPECT_EQ(test, mt->invalidations, 0);
}

static void mirror_test_write(struct kunit *test)
{
	struct mirror_test *mt = mirror_test_anon(test);

	KUNIT_ASSERT_EQ(test, mirror_test_fault(mt, 3, MIRROR_TEST_PAGES,
						HMM_MIRROR_WRITE), 0);
	KUNIT_EXPECT_EQ(test, mt->writable, MIRROR_TEST_PAGES - 3);
	KUNIT_EXPECT_EQ(test, mt->invalidations, 0);
	mirror_test_expect_same(mt, 3, MIRROR_TEST_PAGES, true);

	/* What may be written may be read, and stays writable. */
	KUNIT_ASSERT_EQ(test, mirror_test_fault(mt, 0, 8, 0), 0);
	KUNIT_EXPECT_EQ(test, mt->reached, 8);
	KUNIT_EXPECT_EQ(test, mt->writable, 5);
	KUNIT_EXPECT_EQ(test, mt->invalidations, 0);
}

/* The device hears of it when a page that it reads becomes writable. */
static void mirror_test_upgrade(struct kunit *test)
{
	struct mirror_test *mt = mirror_test_anon(test);

	mirror_test_write_cpu(mt, 0, 8);
	KUNIT_ASSERT_EQ(test, mirror_test_fault(mt, 0, 8, 0), 0);
	KUNIT_EXPECT_EQ(test, mt->writable, 0);
	KUNIT_ASSERT_EQ(test, mirror_test_fault(mt, 2, 4, HMM_MIRROR_WRITE), 0);
	KUNIT_EXPECT_EQ(test, mt->writable, 2);
	KUNIT_EXPECT_GT(test, mt->invalidations, 0);
	KUNIT_EXPECT_LE(test, mt->from, mirror_test_va(mt, 2));
	KUNIT_EXPECT_GE(test, mt->to, mirror_test_va(mt, 4));
	mirror_test_expect_same(mt, 2, 4, true);

	/* From the zero page to pages of its own. */
	KUNIT_ASSERT_EQ(test, mirror_test_fault(mt, 40, 48, 0), 0);
	KUNIT_ASSERT_EQ(test, mirror_test_fault(mt, 40, 48, HMM_MIRROR_WRITE),
			0);
	KUNIT_EXPECT_EQ(test, mt->writable, 8);
	KUNIT_EXPECT_GT(test, mt->invalidations, 0);
	mirror_test_expect_same(mt, 40, 48, true);
}

/* Some pages written, all asked for to be read, then all to be written. */
static void mirror_test_upgrade_mixed(struct kunit *test)
{
	struct mirror_test *mt = mirror_test_anon(test);
	unsigned long i;

	for (i = 0; i < 32; i += 3)
		mirror_test_write_cpu(mt, i, i + 1);
	KUNIT_ASSERT_EQ(test, mirror_test_fault(mt, 0, 32, 0), 0);
	KUNIT_EXPECT_EQ(test, mt->reached, 32);
	KUNIT_ASSERT_EQ(test, mirror_test_fault(mt, 5, 9, HMM_MIRROR_WRITE), 0);
	KUNIT_EXPECT_EQ(test, mt->writable, 4);
	KUNIT_ASSERT_EQ(test, mirror_test_fault(mt, 0, 32, HMM_MIRROR_WRITE),
			0);
	KUNIT_EXPECT_EQ(test, mt->writable, 32);
	mirror_test_expect_same(mt, 0, 32, true);
}

static void mirror_test_prefetch(struct kunit *test)
{
	struct mirror_test *mt = mirror_test_file(test);
	unsigned long end = MIRROR_TEST_PAGES;

	KUNIT_ASSERT_EQ(test, mirror_test_fault(mt, 0, end,
						HMM_MIRROR_PREFETCH), 0);
	KUNIT_EXPECT_EQ(test, mt->reached, 0);
	KUNIT_EXPECT_EQ(test, mt->faults, 0);

	mirror_test_write_cpu(mt, 2, 5);
	mirror_test_write_cpu(mt, end - 1, end);
	KUNIT_EXPECT_EQ(test, mt->faults, 4);
	KUNIT_ASSERT_EQ(test, mirror_test_fault(mt, 0, end,
						HMM_MIRROR_PREFETCH), 0);
	KUNIT_EXPECT_EQ(test, mt->reached, 4);
	KUNIT_EXPECT_EQ(test, mt->writable, 0);
	KUNIT_ASSERT_EQ(test, mirror_test_fault(mt, 0, end,
						HMM_MIRROR_PREFETCH |
						HMM_MIRROR_WRITE), 0);
	KUNIT_EXPECT_EQ(test, mt->reached, 4);
	KUNIT_EXPECT_EQ(test, mt->writable, 4);
	KUNIT_EXPECT_EQ(test, mt->faults, 4);
	KUNIT_EXPECT_EQ(test, mirror_test_mapped_pfn(mt, 3),
			page_to_pfn(mt->pages[3]));
}

/* Pages without a VMA are no error for a prefetch. */
static void mirror_test_prefetch_nothing(struct kunit *test)
{
	struct mirror_test *mt = mirror_test_anon(test);

	mirror_test_write_cpu(mt, 0, MIRROR_TEST_PAGES);
	KUNIT_ASSERT_EQ(test, 0, vm_munmap(mirror_test_va(mt, 10),
					   10 * PAGE_SIZE));
	KUNIT_ASSERT_EQ(test, mirror_test_fault(mt, 0, MIRROR_TEST_PAGES,
						HMM_MIRROR_PREFETCH |
						HMM_MIRROR_WRITE), 0);
	KUNIT_EXPECT_EQ(test, mt->writable, MIRROR_TEST_PAGES - 10);
}

/* Of small pages those that are wanted, whatever is contiguous with them. */
static void mirror_test_prefetch_wanted(struct kunit *test)
{
	static const unsigned long some[] = { 3, 9, MIRROR_TEST_PAGES - 20 };
	struct mirror_test *mt = mirror_test_file(test);
	DECLARE_BITMAP(wanted, MIRROR_TEST_PAGES) = {};
	unsigned long page;

	mirror_test_write_cpu(mt, 0, MIRROR_TEST_PAGES);
	for (page = 0; page < ARRAY_SIZE(some); page++)
		__set_bit(some[page], wanted);
	KUNIT_ASSERT_EQ(test, 0,
			hmm_mirror_prefetch(&mt->mirror, mirror_test_va(mt, 0),
					    mirror_test_va(mt, MIRROR_TEST_PAGES),
					    wanted, HMM_MIRROR_WRITE, 60 * HZ));
	hmm_mirror_unlock(&mt->mirror);
	for (page = 0; page < MIRROR_TEST_PAGES; page++) {
		KUNIT_EXPECT_EQ_MSG(test, test_bit(page, wanted),
				    mirror_test_mapped(mt, page, page + 1),
				    "page %lu", page);
	}
	KUNIT_EXPECT_EQ(test, mt->writable, mt->reached);
	KUNIT_EXPECT_EQ(test, mt->faults, MIRROR_TEST_PAGES);
}

/* An error undoes what the call has done, and only that. */
static void mirror_test_error(struct kunit *test)
{
	struct mirror_test *mt = mirror_test_anon(test);

	KUNIT_ASSERT_EQ(test, 0, vm_munmap(mirror_test_va(mt, 50), PAGE_SIZE));
	KUNIT_ASSERT_EQ(test, mirror_test_fault(mt, 0, 32, HMM_MIRROR_WRITE),
			0);
	KUNIT_EXPECT_EQ(test, -EFAULT,
			mirror_test_fault(mt, 0, 64, HMM_MIRROR_WRITE));
	KUNIT_EXPECT_EQ(test, mt->invalidations, 1);
	KUNIT_EXPECT_EQ(test, mirror_test_mapped(mt, 0, 32), 32);
	KUNIT_EXPECT_EQ(test, mirror_test_mapped(mt, 32, 64), 0);
	KUNIT_EXPECT_TRUE(test, mutex_trylock(&mt->mirror.lock));
	mutex_unlock(&mt->mirror.lock);
}

static void mirror_test_partial(struct kunit *test)
{
	unsigned int flags = HMM_MIRROR_WRITE | HMM_MIRROR_PARTIAL;
	struct mirror_test *mt = mirror_test_anon(test);

	KUNIT_ASSERT_EQ(test, 0, vm_munmap(mirror_test_va(mt, 50), PAGE_SIZE));
	KUNIT_ASSERT_EQ(test, mirror_test_fault(mt, 40, 64, flags), 0);
	KUNIT_EXPECT_EQ(test, mt->writable, 10);
	KUNIT_EXPECT_EQ(test, mirror_test_mapped(mt, 40, 50), 10);

	/* With the first one missing there is nothing to report. */
	KUNIT_EXPECT_EQ(test, -EFAULT, mirror_test_fault(mt, 50, 64, flags));
	KUNIT_EXPECT_EQ(test, mirror_test_mapped(mt, 50, 64), 0);
	KUNIT_ASSERT_EQ(test, mirror_test_fault(mt, 51, 64, flags), 0);
	KUNIT_EXPECT_EQ(test, mt->writable, 13);
}

static void mirror_test_munmap(struct kunit *test)
{
	struct mirror_test *mt = mirror_test_anon(test);

	KUNIT_ASSERT_EQ(test, mirror_test_fault(mt, 0, MIRROR_TEST_PAGES,
						HMM_MIRROR_WRITE), 0);
	KUNIT_ASSERT_EQ(test, 0, vm_munmap(mirror_test_va(mt, 33),
					   2 * PAGE_SIZE));
	mirror_test_expect_invalidated(mt, 33, 35);
	/* Without a device, nothing else goes. */
	KUNIT_EXPECT_EQ(test, mirror_test_mapped(mt, 0, 33), 33);
	KUNIT_EXPECT_EQ(test, mirror_test_mapped(mt, 35, MIRROR_TEST_PAGES),
			MIRROR_TEST_PAGES - 35);
	KUNIT_EXPECT_EQ(test, -EFAULT, mirror_test_fault(mt, 32, 36, 0));
	KUNIT_EXPECT_EQ(test, mirror_test_fault(mt, 0, 33, HMM_MIRROR_WRITE), 0);
	KUNIT_EXPECT_EQ(test, mt->writable, 33);
}

/* Take the permissions @clear from pages of one VMA. */
static int mirror_test_mprotect(struct mirror_test *mt, unsigned long page,
				unsigned long end_page, vm_flags_t clear)
{
	unsigned long start = mirror_test_va(mt, page);
	unsigned long end = mirror_test_va(mt, end_page);
	struct vm_area_struct *vma, *prev;
	struct mm_struct *mm = current->mm;
	struct vma_iterator vmi;
	struct mmu_gather tlb;
	int ret = -ENOENT;

	mmap_write_lock(mm);
	vma_iter_init(&vmi, mm, start);
	vma = vma_find(&vmi, end);
	if (!vma)
		goto out;
	prev = vma_prev(&vmi);
	if (start > vma->vm_start)
		prev = vma;
	vma = vma_find(&vmi, end);
	tlb_gather_mmu(&tlb, mm);
	ret = mprotect_fixup(&vmi, &tlb, vma, &prev, start, end,
			     vma->vm_flags & ~clear);
	tlb_finish_mmu(&tlb);
out:
	mmap_write_unlock(mm);
	return ret;
}

static void mirror_test_protect(struct kunit *test)
{
	struct mirror_test *mt = mirror_test_anon(test);

	KUNIT_ASSERT_EQ(test, mirror_test_fault(mt, 0, 64, HMM_MIRROR_WRITE),
			0);
	KUNIT_ASSERT_EQ(test, mirror_test_mprotect(mt, 8, 16, VM_WRITE), 0);
	mirror_test_expect_invalidated(mt, 8, 16);
	KUNIT_EXPECT_EQ(test, -EPERM,
			mirror_test_fault(mt, 0, 32, HMM_MIRROR_WRITE));
	KUNIT_ASSERT_EQ(test, mirror_test_fault(mt, 0, 32, 0), 0);
	KUNIT_EXPECT_EQ(test, mt->reached, 32);
	mirror_test_mapped(mt, 8, 16);
	KUNIT_EXPECT_EQ(test, mt->writable, 0);
	mirror_test_expect_same(mt, 0, 32, false);

	KUNIT_ASSERT_EQ(test, mirror_test_mprotect(mt, 8, 16, VM_READ), 0);
	mirror_test_expect_invalidated(mt, 8, 16);
	KUNIT_EXPECT_EQ(test, -EFAULT, mirror_test_fault(mt, 8, 16, 0));
}

static void mirror_test_dontneed(struct kunit *test)
{
	struct mirror_test *mt = mirror_test_anon(test);

	mirror_test_write_cpu(mt, 0, 64);
	KUNIT_ASSERT_EQ(test, mirror_test_fault(mt, 0, 64, HMM_MIRROR_WRITE),
			0);
	KUNIT_ASSERT_EQ(test, 0, do_madvise(current->mm, mirror_test_va(mt, 8),
					    8 * PAGE_SIZE, MADV_DONTNEED));
	mirror_test_expect_invalidated(mt, 8, 16);
	KUNIT_ASSERT_EQ(test, mirror_test_fault(mt, 0, 64,
						HMM_MIRROR_PREFETCH), 0);
	KUNIT_EXPECT_EQ(test, mirror_test_mapped(mt, 8, 16), 0);
	KUNIT_ASSERT_EQ(test, mirror_test_fault(mt, 0, 64, HMM_MIRROR_WRITE),
			0);
	KUNIT_EXPECT_EQ(test, mt->writable, 64);
	mirror_test_expect_same(mt, 0, 64, true);
}

/* What the device may have written is dirty once an invalidation is through. */
static void mirror_test_dirty(struct kunit *test)
{
	struct mirror_test *mt = mirror_test_file(test);
	unsigned long i;

	KUNIT_ASSERT_EQ(test, mirror_test_fault(mt, 0, 8, HMM_MIRROR_WRITE), 0);
	KUNIT_ASSERT_EQ(test, mirror_test_fault(mt, 8, 16, 0), 0);
	for (i = 0; i < 16; i++)
		folio_clear_dirty(page_folio(mt->pages[i]));
	mirror_test_notify(mt, 0, 16);
	mirror_test_expect_invalidated(mt, 0, 16);
	for (i = 0; i < 16; i++)
		KUNIT_EXPECT_EQ_MSG(test, i < 8, PageDirty(mt->pages[i]),
				    "page %lu", i);
}

/* Where nothing is mapped there is nothing to tell. */
static void mirror_test_invalidate_nothing(struct kunit *test)
{
	struct mirror_test *mt = mirror_test_anon(test);

	KUNIT_ASSERT_EQ(test, mirror_test_fault(mt, 0, 8, HMM_MIRROR_WRITE), 0);
	mirror_test_notify(mt, 8, MIRROR_TEST_PAGES);
	KUNIT_EXPECT_EQ(test, mt->invalidations, 0);
	KUNIT_EXPECT_EQ(test, mirror_test_mapped(mt, 0, 8), 8);
}

/* ---- Invalidations at the worst moment ---- */

/* A call for pages [@page, @end) in steps. Its extents are freed by the case. */
static struct hmm_mirror_call mirror_test_call(struct mirror_test *mt,
					       unsigned long page,
					       unsigned long end)
{
	return (struct hmm_mirror_call) {
		.mirror = &mt->mirror,
		.range.notifier = &mt->mirror.notifier,
		.start = mirror_test_va(mt, page),
		.end = mirror_test_va(mt, end),
		.from = mirror_test_va(mt, end),
	};
}

static int mirror_test_walk_and_map(struct hmm_mirror_call *call,
				    unsigned long va)
{
	int ret = hmm_mirror_walk(call, va);

	if (ret)
		return ret;
	mutex_lock(&call->mirror->lock);
	ret = hmm_mirror_map(call);
	mutex_unlock(&call->mirror->lock);
	return ret;
}

/* Nothing that was read before the last invalidation is mapped. */
static void mirror_test_between_walk_and_map(struct kunit *test)
{
	struct mirror_test *mt = mirror_test_anon(test);
	struct hmm_mirror_call call = mirror_test_call(mt, 0, 8);
	int ret;

	KUNIT_ASSERT_EQ(test, hmm_mirror_walk(&call, call.start), 0);
	mirror_test_notify(mt, 4, 5);
	mutex_lock(&mt->mirror.lock);
	ret = hmm_mirror_map(&call);
	mutex_unlock(&mt->mirror.lock);
	KUNIT_EXPECT_EQ(test, ret, -EAGAIN);
	KUNIT_EXPECT_EQ(test, mirror_test_mapped(mt, 0, 8), 0);

	/* One that was before the walk, or is elsewhere in the mm, does not hurt. */
	KUNIT_ASSERT_EQ(test, hmm_mirror_walk(&call, call.start), 0);
	mirror_test_notify(mt, MIRROR_TEST_PAGES + 1, MIRROR_TEST_PAGES + 2);
	mutex_lock(&mt->mirror.lock);
	ret = hmm_mirror_map(&call);
	mutex_unlock(&mt->mirror.lock);
	hmm_mirror_free_extents(&call);
	KUNIT_EXPECT_EQ(test, ret, 0);
	KUNIT_EXPECT_EQ(test, mirror_test_mapped(mt, 0, 8), 8);
}

static vm_fault_t mirror_test_notify_once(struct mirror_test *mt,
					  unsigned long page)
{
	if (page == 5) {
		mt->hook = NULL;
		mirror_test_notify(mt, 2, 3);
	}
	return 0;
}

/* A page that is mapped goes while the rest is walked: it comes back. */
static void mirror_test_during_walk(struct kunit *test)
{
	struct mirror_test *mt = mirror_test_file(test);

	KUNIT_ASSERT_EQ(test, mirror_test_fault(mt, 0, 4, HMM_MIRROR_WRITE), 0);
	mt->hook = mirror_test_notify_once;
	KUNIT_ASSERT_EQ(test, mirror_test_fault(mt, 0, 8, HMM_MIRROR_WRITE), 0);
	KUNIT_EXPECT_NULL(test, mt->hook);
	KUNIT_EXPECT_GT(test, mt->invalidations, 0);
	KUNIT_EXPECT_EQ(test, mt->writable, 8);
	mirror_test_expect_same(mt, 0, 8, true);
}

/* Two walks are through by then, and have mapped what goes. */
static vm_fault_t mirror_test_notify_late(struct mirror_test *mt,
					  unsigned long page)
{
	if (page == MIRROR_TEST_MANY - 20) {
		mt->hook = NULL;
		mirror_test_notify(mt, 3, 5);
		mirror_test_notify(mt, MIRROR_EXTENTS, MIRROR_EXTENTS + 7);
	}
	return 0;
}

/* More extents than a walk has: several walks, each of which can be disturbed. */
static void mirror_test_many_extents(struct kunit *test)
{
	struct hmm_dma_run run = { .start = MIRROR_TEST_START };
	struct mirror_test *mt = test->priv;
	unsigned long n = 0;

	mt->npages = MIRROR_TEST_MANY;
	mirror_test_file(test);
	mt->hook = mirror_test_notify_late;
	KUNIT_ASSERT_EQ(test, mirror_test_fault(mt, 0, mt->npages,
						HMM_MIRROR_WRITE), 0);
	KUNIT_EXPECT_NULL(test, mt->hook);
	KUNIT_EXPECT_EQ(test, mt->invalidations, 2);
	KUNIT_EXPECT_EQ(test, mt->writable, mt->npages);
	mirror_test_expect_same(mt, 0, mt->npages, true);

	mutex_lock(&mt->mirror.lock);
	while (hmm_mirror_next_run(&mt->mirror, mirror_test_va(mt, mt->npages),
				   &run))
		n++;
	mutex_unlock(&mt->mirror.lock);
	KUNIT_EXPECT_GT(test, n, 2 * MIRROR_EXTENTS);
}

static vm_fault_t mirror_test_sigbus(struct mirror_test *mt, unsigned long page)
{
	return page == 5 ? VM_FAULT_SIGBUS : 0;
}

static void mirror_test_failing_page(struct kunit *test)
{
	struct mirror_test *mt = mirror_test_file(test);

	mt->hook = mirror_test_sigbus;
	KUNIT_EXPECT_EQ(test, -EFAULT, mirror_test_fault(mt, 0, 8, 0));
	KUNIT_EXPECT_EQ(test, mirror_test_mapped(mt, 0, 8), 0);
	KUNIT_EXPECT_EQ(test, 0,
			mirror_test_fault(mt, 0, 8, HMM_MIRROR_PARTIAL));
	KUNIT_EXPECT_EQ(test, mt->reached, 5);
	mt->hook = NULL;
	KUNIT_EXPECT_EQ(test, mirror_test_fault(mt, 0, 8, 0), 0);
	KUNIT_EXPECT_EQ(test, mt->reached, 8);
}

/* What a walk has found and the device cannot reach ends a partial fault. */
static void mirror_test_skipped(struct kunit *test)
{
	static const struct {
		unsigned int flags;
		bool all, some;		/* what it says if so much is mapped */
	} cases[] = {
		{ 0, false, false },
		{ HMM_MIRROR_WRITE, false, false },
		{ HMM_MIRROR_PARTIAL, false, true },
		{ HMM_MIRROR_PARTIAL | HMM_MIRROR_WRITE, false, true },
		{ HMM_MIRROR_PREFETCH, false, false },
		{ HMM_MIRROR_PREFETCH | HMM_MIRROR_PARTIAL, false, false },
	};
	struct mirror_test *mt = mirror_test_anon(test);
	struct hmm_mirror_call call = mirror_test_call(mt, 0, 8);
	unsigned int i;

	KUNIT_ASSERT_EQ(test, mirror_test_walk_and_map(&call, call.start), 0);
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		call.flags = cases[i].flags;
		mutex_lock(&mt->mirror.lock);
		call.range.next = mirror_test_va(mt, 8);
		KUNIT_EXPECT_EQ_MSG(test, hmm_mirror_skipped(&call),
				    cases[i].all, "case %u", i);
		call.range.next = mirror_test_va(mt, 9);
		KUNIT_EXPECT_EQ_MSG(test, hmm_mirror_skipped(&call),
				    cases[i].some, "case %u", i);
		KUNIT_EXPECT_EQ_MSG(test, i > 1, !!(hmm_mirror_dma_flags(&call) &
						    HMM_DMA_SKIP_REMOTE),
				    "case %u", i);
		mutex_unlock(&mt->mirror.lock);
	}
	hmm_mirror_free_extents(&call);
}

/* ---- Time ---- */

static vm_fault_t mirror_test_never(struct mirror_test *mt, unsigned long page)
{
	return page == 5 ? VM_FAULT_NOPAGE : 0;
}

/* Faults that lead nowhere end with the timeout. */
static void mirror_test_timeout_of_fault(struct kunit *test)
{
	struct mirror_test *mt = mirror_test_file(test);
	unsigned long before = jiffies;

	mt->hook = mirror_test_never;
	KUNIT_EXPECT_EQ(test, -EBUSY,
			mirror_test_fault_for(mt, 0, 8, 0, HZ / 10));
	KUNIT_EXPECT_FALSE(test, time_before(jiffies, before + HZ / 10));
	KUNIT_EXPECT_EQ(test, mirror_test_mapped(mt, 0, 8), 0);
}

/* So does waiting for an invalidation that does not end. */
static void mirror_test_timeout_of_invalidation(struct kunit *test)
{
	static const unsigned int flags[] = {
		0, HMM_MIRROR_WRITE, HMM_MIRROR_PREFETCH,
	};
	struct mirror_test *mt = mirror_test_anon(test);
	struct mmu_notifier_range range;
	unsigned long before;
	unsigned int i;

	mirror_test_write_cpu(mt, 0, 8);
	mirror_test_range(mt, &range, 0, 1);
	mmu_notifier_invalidate_range_start(&range);
	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		before = jiffies;
		KUNIT_EXPECT_EQ(test, -EBUSY,
				mirror_test_fault_for(mt, 4, 8, flags[i],
						      HZ / 10));
		KUNIT_EXPECT_FALSE(test, time_before(jiffies,
						     before + HZ / 10));
	}
	mmu_notifier_invalidate_range_end(&range);
	KUNIT_EXPECT_EQ(test, mirror_test_mapped(mt, 0, 8), 0);
	KUNIT_EXPECT_EQ(test, 0,
			mirror_test_fault_for(mt, 4, 8, 0, HZ / 10));
	KUNIT_EXPECT_EQ(test, mt->reached, 4);
}

/* What gets further than ever before is given the time anew, nothing else. */
static void mirror_test_deadline(struct kunit *test)
{
	struct mirror_test *mt = mirror_test_anon(test);
	struct hmm_mirror_call call = mirror_test_call(mt, 4, 9);
	unsigned long soon = jiffies + 60 * HZ, began;

	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_alloc_extents(&call));
	call.end -= PAGE_SIZE;
	call.timeout = 3600 * HZ;
	call.deadline = soon;
	call.shortages = MIRROR_SHORTAGES;
	began = jiffies;
	KUNIT_ASSERT_EQ(test, 0, mirror_test_walk_and_map(&call, call.start));
	KUNIT_EXPECT_EQ(test, call.shortages, 0);
	KUNIT_EXPECT_FALSE(test, time_before(call.deadline,
					     began + call.timeout));
	KUNIT_EXPECT_FALSE(test, time_after(call.deadline,
					    jiffies + call.timeout));
	KUNIT_EXPECT_EQ(test, call.to, call.end);

	/* The same pages again, after an invalidation. */
	mirror_test_notify(mt, 0, 8);
	call.deadline = soon;
	call.shortages = 1;
	KUNIT_ASSERT_EQ(test, 0, mirror_test_walk_and_map(&call, call.start));
	KUNIT_EXPECT_EQ(test, call.deadline, soon);
	KUNIT_EXPECT_EQ(test, call.shortages, 1);

	/* A walk that is in vain. */
	call.end += PAGE_SIZE;
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_walk(&call, call.start));
	mirror_test_notify(mt, 0, 8);
	mutex_lock(&mt->mirror.lock);
	KUNIT_EXPECT_EQ(test, -EAGAIN, hmm_mirror_map(&call));
	mutex_unlock(&mt->mirror.lock);
	KUNIT_EXPECT_EQ(test, call.deadline, soon);

	/* One page more. */
	KUNIT_ASSERT_EQ(test, 0, mirror_test_walk_and_map(&call, call.start));
	KUNIT_EXPECT_TRUE(test, time_after(call.deadline, soon));
	hmm_mirror_free_extents(&call);
}

/* A walk goes back to where a leaf might begin, but not out of the call. */
static void mirror_test_restart(struct kunit *test)
{
	static const struct {
		unsigned long start, missing, from;
	} cases[] = {
		{ 8, 8, 8 },
		{ 8, 30, 8 },
		{ 8, MIRROR_TEST_HALF - 1, 8 },
		{ 8, MIRROR_TEST_HALF, MIRROR_TEST_HALF },
		{ 8, MIRROR_TEST_PAGES - 1, MIRROR_TEST_HALF },
		{ MIRROR_TEST_HALF + 2, MIRROR_TEST_HALF + 9,
		  MIRROR_TEST_HALF + 2 },
	};
	struct mirror_test *mt = mirror_test_anon(test);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		struct hmm_mirror_call call;

		call = mirror_test_call(mt, cases[i].start, MIRROR_TEST_PAGES);
		KUNIT_EXPECT_EQ(test, 0,
				hmm_mirror_walk(&call,
						mirror_test_va(mt,
							       cases[i].missing)));
		KUNIT_EXPECT_EQ_MSG(test, call.range.start,
				    mirror_test_va(mt, cases[i].from),
				    "case %u", i);
		KUNIT_EXPECT_EQ(test, call.range.next, call.end);
		hmm_mirror_free_extents(&call);
	}
}

/* ---- Invalidations that must not block ---- */

struct mirror_test_holder {
	struct hmm_mirror *mirror;
	struct completion held;
	struct completion release;
};

static int mirror_test_hold(void *arg)
{
	struct mirror_test_holder *holder = arg;

	mutex_lock(&holder->mirror->lock);
	complete(&holder->held);
	wait_for_completion(&holder->release);
	mutex_unlock(&holder->mirror->lock);
	return 0;
}

static void mirror_test_nonblock(struct kunit *test)
{
	struct mirror_test *mt = mirror_test_anon(test);

	KUNIT_EXPECT_EQ(test, mirror_test_notify_nonblock(mt, 0, 8), 0);
	KUNIT_ASSERT_EQ(test, mirror_test_fault(mt, 8, 16, HMM_MIRROR_WRITE),
			0);
	KUNIT_EXPECT_EQ(test, mirror_test_notify_nonblock(mt, 0, 8), 0);
	KUNIT_EXPECT_EQ(test, mirror_test_notify_nonblock(mt, 16, 99), 0);
	KUNIT_EXPECT_EQ(test, mirror_test_notify_nonblock(mt, 0, 9), -EAGAIN);
	KUNIT_EXPECT_EQ(test, mirror_test_notify_nonblock(mt, 15, 96), -EAGAIN);

	/* What was refused has changed nothing. */
	KUNIT_EXPECT_EQ(test, mt->invalidations, 0);
	KUNIT_EXPECT_EQ(test, mirror_test_mapped(mt, 8, 16), 8);
	KUNIT_EXPECT_EQ(test, mirror_test_fault(mt, 0, 16, HMM_MIRROR_WRITE), 0);
	KUNIT_EXPECT_EQ(test, mt->writable, 16);
}

/* Also while somebody has the lock, whether or not anything is mapped. */
static void mirror_test_nonblock_contended(struct kunit *test)
{
	struct mirror_test *mt = mirror_test_anon(test);
	struct mirror_test_holder holder = { .mirror = &mt->mirror };
	struct task_struct *task;

	init_completion(&holder.held);
	init_completion(&holder.release);
	task = kthread_run(mirror_test_hold, &holder, "hmm-mirror-test");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	get_task_struct(task);
	wait_for_completion(&holder.held);
	KUNIT_EXPECT_EQ(test, mirror_test_notify_nonblock(mt, 0, 8), -EAGAIN);
	complete(&holder.release);
	kthread_stop(task);
	put_task_struct(task);
	KUNIT_EXPECT_EQ(test, mirror_test_notify_nonblock(mt, 0, 8), 0);
	KUNIT_EXPECT_EQ(test, mirror_test_fault(mt, 0, 8, 0), 0);
}

/* ---- The end ---- */

static void mirror_test_destroy_mapped(struct kunit *test)
{
	struct mirror_test *mt = mirror_test_anon(test);
	unsigned long end = MIRROR_TEST_PAGES;

	KUNIT_ASSERT_EQ(test, mirror_test_fault(mt, 0, end, HMM_MIRROR_WRITE),
			0);
	kunit_release_action(test, mirror_test_destroy, &mt->mirror);
	KUNIT_EXPECT_EQ(test, mt->invalidations, 1);
	KUNIT_EXPECT_EQ(test, mt->from, mt->start);
	KUNIT_EXPECT_EQ(test, mt->to, mirror_test_va(mt, end));

	/* Nothing comes any more. */
	mirror_test_notify(mt, 0, end);
	KUNIT_EXPECT_EQ(test, vm_munmap(mt->start, end * PAGE_SIZE), 0);
	KUNIT_EXPECT_EQ(test, mt->invalidations, 1);
}

/* An address space that can be put while the case still runs. */
static struct mm_struct *mirror_test_alloc_mm(struct kunit *test)
{
	struct mm_struct *mm = mm_alloc();

	KUNIT_ASSERT_NOT_NULL(test, mm);
	mm->task_size = TASK_SIZE;
	arch_pick_mmap_layout(mm, &current->signal->rlim[RLIMIT_STACK]);
	return mm;
}

/* The mm goes first: all is taken from the device then, and nothing later. */
static void mirror_test_mm_gone(struct kunit *test)
{
	struct mm_struct *mm = mirror_test_alloc_mm(test);
	struct mirror_test *mt = test->priv;

	kthread_use_mm(mm);
	mirror_test_open(mt, vm_mmap(NULL, MIRROR_TEST_START,
				     MIRROR_TEST_PAGES * PAGE_SIZE,
				     PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, 0));
	KUNIT_EXPECT_EQ(test, mirror_test_fault(mt, 0, 64, HMM_MIRROR_WRITE), 0);
	kthread_unuse_mm(mm);
	mmput(mm);
	mirror_test_expect_invalidated(mt, 0, 64);
	KUNIT_EXPECT_EQ(test, -ESRCH, mirror_test_fault(mt, 0, 64, 0));
	KUNIT_EXPECT_EQ(test, -ESRCH,
			mirror_test_fault(mt, 0, 64, HMM_MIRROR_PREFETCH));
	kunit_release_action(test, mirror_test_destroy, &mt->mirror);
	KUNIT_EXPECT_EQ(test, mt->invalidations, 0);
}

/* What a peer is refused is a matter of its block, and of no other memory. */
static void mirror_test_refused(struct kunit *test)
{
	const unsigned long start = 8 * MIRROR_BLOCK + 5 * PAGE_SIZE;
	const unsigned long end = 20 * MIRROR_BLOCK;
	const unsigned long block = 12 * MIRROR_BLOCK;
	struct mirror_test *mt = test->priv;
	struct hmm_mirror_call call = {
		.mirror = &mt->mirror, .start = start, .end = end,
	};
	struct device dev = {};

	mt->mirror.view.dev = &dev;
	KUNIT_EXPECT_NULL(test, hmm_mirror_peer(&call, start));
	mt->mirror.view.peers = true;
	KUNIT_EXPECT_PTR_EQ(test, hmm_mirror_peer(&call, start), &dev);
	hmm_mirror_set_range(&call, start);
	KUNIT_EXPECT_EQ(test, call.range.start, start);
	KUNIT_EXPECT_EQ(test, call.range.end, end);

	/* Before it, it, its last page, and behind it. */
	call.refused = block + MIRROR_BLOCK;
	hmm_mirror_set_range(&call, start);
	KUNIT_EXPECT_EQ(test, call.range.start, start);
	KUNIT_EXPECT_EQ(test, call.range.end, block);
	KUNIT_EXPECT_PTR_EQ(test, hmm_mirror_peer(&call, start), &dev);
	hmm_mirror_set_range(&call, block + PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, call.range.start, block);
	KUNIT_EXPECT_EQ(test, call.range.end, block + MIRROR_BLOCK);
	KUNIT_EXPECT_NULL(test, hmm_mirror_peer(&call, block));
	KUNIT_EXPECT_NULL(test, hmm_mirror_peer(&call, call.refused - PAGE_SIZE));
	hmm_mirror_set_range(&call, call.refused);
	KUNIT_EXPECT_EQ(test, call.range.start, call.refused);
	KUNIT_EXPECT_EQ(test, call.range.end, end);
	KUNIT_EXPECT_PTR_EQ(test, hmm_mirror_peer(&call, call.refused), &dev);

	/* The first page of a block is no page of the block before. */
	call.refused = block + PAGE_SIZE;
	KUNIT_EXPECT_NULL(test, hmm_mirror_peer(&call, block));
	KUNIT_EXPECT_PTR_EQ(test, &dev,
			    hmm_mirror_peer(&call, block - PAGE_SIZE));
	call.refused = start + PAGE_SIZE;
	hmm_mirror_set_range(&call, start);
	KUNIT_EXPECT_EQ(test, call.range.start, start);
	KUNIT_EXPECT_EQ(test, call.range.end, 9 * MIRROR_BLOCK);
}

static struct kunit_case mirror_test_cases[] = {
	KUNIT_CASE(mirror_test_bad_arguments),
	KUNIT_CASE(mirror_test_read),
	KUNIT_CASE(mirror_test_write),
	KUNIT_CASE(mirror_test_upgrade),
	KUNIT_CASE(mirror_test_upgrade_mixed),
	KUNIT_CASE(mirror_test_prefetch),
	KUNIT_CASE(mirror_test_prefetch_nothing),
	KUNIT_CASE(mirror_test_prefetch_wanted),
	KUNIT_CASE(mirror_test_error),
	KUNIT_CASE(mirror_test_partial),
	KUNIT_CASE(mirror_test_munmap),
	KUNIT_CASE(mirror_test_protect),
	KUNIT_CASE(mirror_test_dontneed),
	KUNIT_CASE(mirror_test_dirty),
	KUNIT_CASE(mirror_test_invalidate_nothing),
	KUNIT_CASE(mirror_test_between_walk_and_map),
	KUNIT_CASE(mirror_test_during_walk),
	KUNIT_CASE(mirror_test_many_extents),
	KUNIT_CASE(mirror_test_failing_page),
	KUNIT_CASE(mirror_test_skipped),
	KUNIT_CASE(mirror_test_refused),
	KUNIT_CASE(mirror_test_timeout_of_fault),
	KUNIT_CASE(mirror_test_timeout_of_invalidation),
	KUNIT_CASE(mirror_test_deadline),
	KUNIT_CASE(mirror_test_restart),
	KUNIT_CASE(mirror_test_nonblock),
	KUNIT_CASE(mirror_test_nonblock_contended),
	KUNIT_CASE(mirror_test_destroy_mapped),
	KUNIT_CASE(mirror_test_mm_gone),
	{}
};

static struct kunit_suite mirror_test_suite = {
	.name = "hmm_mirror",
	.init = mirror_test_init,
	.test_cases = mirror_test_cases,
};

kunit_test_suite(mirror_test_suite);
