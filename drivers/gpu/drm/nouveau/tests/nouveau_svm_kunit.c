// SPDX-License-Identifier: MIT
/*
 * What the KUnit suites of SVM share, see nouveau_svm_kunit.h.
 */
#include <kunit/device.h>
#include <kunit/test.h>
#include <linux/anon_inodes.h>
#include <linux/cred.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/ioport.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/mmu_notifier.h>
#include <linux/mount.h>
#include <linux/sched/mm.h>
#include <linux/uaccess.h>

#include "nouveau_svm_kunit.h"

static int svm_test_hook(struct nouveau_svm_fake *fake, u8 mthd)
{
	struct svm_test *st = container_of(fake, struct svm_test, fake);

	if (st->at_mthd)
		st->at_mthd(st, mthd);
	if (mthd != st->fail_mthd)
		return 0;
	if (st->fail_after) {
		st->fail_after--;
		return 0;
	}
	st->failed++;
	return -ENOMEM;
}

int svm_test_init(struct kunit *test)
{
	struct svm_test *st = kunit_kzalloc(test, sizeof(*st), GFP_KERNEL);
	struct device *dev;

	KUNIT_ASSERT_NOT_NULL(test, st);
	test->priv = st;
	st->test = test;
	st->fail_mthd = -1;
	st->serve = nouveau_svm_space_serve;
	st->owner = st;
	dev = kunit_device_register(test, "nouveau-svm-test");
	KUNIT_ASSERT_FALSE(test, IS_ERR(dev));
	KUNIT_ASSERT_EQ(test, 0, nouveau_svm_fake_init(&st->fake, dev,
						       gp100_vmm_new));
	st->faked = true;
	st->fake.hook = svm_test_hook;
	return 0;
}

static void svm_test_end_vram(struct svm_test *st)
{
	if (st->pgmap.nr_range)
		memunmap_pages(&st->pgmap);
	if (st->vram)
		release_mem_region(st->vram->start, resource_size(st->vram));
}

static void svm_test_end_file(struct svm_test *st)
{
	unsigned long i;

	if (st->file)
		fput(st->file);
	/* Those of the address space too: they use our code. */
	flush_delayed_fput();
	if (st->mnt)
		kern_unmount(st->mnt);
	for (i = 0; i < SVM_TEST_PAGES; i++)
		if (st->pages[i])
			put_page(st->pages[i]);
}

/* Whatever a case did, in the end all is given back. */
void svm_test_exit(struct kunit *test)
{
	struct svm_test *st = test->priv;

	if (!st)
		return;
	st->fail_mthd = -1;
	st->at_mthd = NULL;
	st->at_page = NULL;
	svm_test_unshare(st);
	svm_test_end_file(st);
	svm_test_end_vram(st);
	if (st->faked)
		nouveau_svm_fake_fini(&st->fake);
	KUNIT_EXPECT_EQ(test, st->fake.nr_memories, 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&st->fake.errors), 0);
}

/* ---- What a GPU would see ---- */

u64 svm_test_pte(struct svm_test *st, unsigned long page)
{
	u64 size;

	return nouveau_svm_fake_entry(&st->fake, svm_test_va(page), &size);
}

/* Where the GPU gets to, 0 for nowhere. */
u64 svm_test_phys(struct svm_test *st, unsigned long page)
{
	return nouveau_svm_fake_phys(&st->fake, svm_test_va(page));
}

unsigned long svm_test_size(struct svm_test *st, unsigned long page)
{
	u64 size;

	nouveau_svm_fake_entry(&st->fake, svm_test_va(page), &size);
	return size;
}

u64 svm_test_cpu_phys(unsigned long page)
{
	struct page *cpu;
	u64 phys;

	if (get_user_pages_fast(svm_test_va(page), 1, 0, &cpu) != 1)
		return 0;
	phys = page_to_phys(cpu);
	put_page(cpu);
	return phys;
}

/* Is this the entry for a page that the CPU has, for the GPU to write or not? */
static bool svm_test_is_right(struct svm_test *st, unsigned long page,
			      u64 entry, bool write)
{
	return (entry & GP100_PTE_APERTURE) == GP100_PTE_APERTURE_COHERENT &&
	       !(entry & GP100_PTE_READ_ONLY) == write &&
	       svm_test_phys(st, page) == svm_test_cpu_phys(page);
}

/* What is wrong is said once: of the first page. */
static bool svm_test_check(struct svm_test *st, unsigned long page, u64 entry,
			   bool write)
{
	bool right = svm_test_is_right(st, page, entry, write);

	KUNIT_EXPECT_TRUE_MSG(st->test, right,
			      "page %lu: entry %llx for %llx, want %llx, %s",
			      page, entry, svm_test_phys(st, page),
			      svm_test_cpu_phys(page), write ? "rw" : "ro");
	return right;
}

/* The GPU gets to the pages that the CPU has, and may or may not write. */
void svm_test_expect(struct svm_test *st, unsigned long page, unsigned long end,
		     bool write)
{
	for (; page < end; page++)
		if (!svm_test_check(st, page, svm_test_pte(st, page), write))
			break;
}

/*
 * The same, of pages that may be gone: what happened to be contiguous in memory is
 * unmapped together.
 */
void svm_test_expect_if_any(struct svm_test *st, unsigned long page,
			    unsigned long end, bool write)
{
	u64 entry;

	for (; page < end; page++) {
		entry = svm_test_pte(st, page);
		if (entry && !svm_test_check(st, page, entry, write))
			break;
	}
}

/* It does not get there. */
void svm_test_expect_none(struct svm_test *st, unsigned long page,
			  unsigned long end)
{
	while (page < end && !svm_test_pte(st, page))
		page++;
	if (page < end)
		KUNIT_FAIL(st->test, "page %lu: entry %llx", page,
			   svm_test_pte(st, page));
}

/* ---- Memory that is shared ---- */

/* Where a page of VRAM is for the GPU. */
static unsigned long svm_test_vram_addr(struct page *page)
{
	struct dev_pagemap *pgmap = page_pgmap(page);
	struct svm_test *st = container_of(pgmap, struct svm_test, pgmap);
	unsigned long addr = PFN_PHYS(page_to_pfn(page)) - pgmap->range.start;

	if (st->vram_gap && addr >= st->vram_gap * PAGE_SIZE)
		addr += SZ_16M;
	return SVM_TEST_VRAM + addr;
}

int svm_test_share_mm(struct svm_test *st)
{
	struct nouveau_svm_space_args args = {
		.mm = current->mm,
		.vmm = &st->fake.vmm,
		.dev = st->fake.dev,
		.owner = st->owner,
		.vram_addr = svm_test_vram_addr,
		.hole_start = NOUVEAU_SVM_FAKE_HOLE,
		.hole_end = NOUVEAU_SVM_FAKE_HOLE_END,
	};
	int ret = nouveau_svm_space_init(&st->space, &args);

	st->shared = !ret;
	return ret;
}

void svm_test_unshare(struct svm_test *st)
{
	if (st->shared)
		nouveau_svm_space_fini(&st->space);
	st->shared = false;
}

/* Anonymous memory. */
void svm_test_mmap(struct svm_test *st, unsigned long page,
		   unsigned long npages, unsigned long prot)
{
	KUNIT_ASSERT_EQ(st->test, svm_test_va(page),
			vm_mmap(NULL, svm_test_va(page), npages * PAGE_SIZE,
				prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
				0));
}

/* A process that shares its memory, of which it has some. */
struct svm_test *svm_test_share(struct kunit *test)
{
	struct svm_test *st = test->priv;

	KUNIT_ASSERT_EQ(test, 0, kunit_attach_mm());
	svm_test_mmap(st, 0, SVM_TEST_PAGES, PROT_READ | PROT_WRITE);
	KUNIT_ASSERT_EQ(test, 0, svm_test_share_mm(st));
	return st;
}

/* The same, in leaves. */
struct svm_test *svm_test_share_thp(struct kunit *test)
{
	KUNIT_ASSERT_EQ(test, 0, kunit_attach_mm());
	current->mm->def_flags |= VM_HUGEPAGE;
	return svm_test_share(test);
}

static vm_fault_t svm_test_vm_fault(struct vm_fault *vmf)
{
	struct svm_test *st = vmf->vma->vm_private_data;

	if (vmf->pgoff >= SVM_TEST_PAGES || !st->pages[vmf->pgoff])
		return VM_FAULT_SIGBUS;
	if (st->at_page)
		st->at_page(st, vmf->pgoff);
	get_page(st->pages[vmf->pgoff]);
	vmf->page = st->pages[vmf->pgoff];
	return 0;
}

static const struct vm_operations_struct svm_test_vm_ops = {
	.fault = svm_test_vm_fault,
};

static int svm_test_file_mmap(struct file *file, struct vm_area_struct *vma)
{
	vma->vm_ops = &svm_test_vm_ops;
	vma->vm_private_data = file->private_data;
	return 0;
}

static const struct file_operations svm_test_fops = {
	.mmap = svm_test_file_mmap,
};

/* Memory of a file that is our own, of which the first pages are there. */
struct svm_test *svm_test_share_file(struct kunit *test, unsigned long npages)
{
	struct svm_test *st = test->priv;
	struct file *file;
	unsigned long i;

	for (i = 0; i < npages; i++) {
		st->pages[i] = alloc_page(GFP_KERNEL | __GFP_ZERO);
		KUNIT_ASSERT_NOT_NULL(test, st->pages[i]);
	}
	KUNIT_ASSERT_EQ(test, 0, kunit_attach_mm());
	file = anon_inode_create_getfile("nouveau-svm-test", &svm_test_fops,
					 st, O_RDWR, NULL);
	KUNIT_ASSERT_FALSE(test, IS_ERR(file));
	st->file = file;
	KUNIT_ASSERT_EQ(test, SVM_TEST_START,
			vm_mmap(st->file, SVM_TEST_START,
				SVM_TEST_PAGES * PAGE_SIZE,
				PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_FIXED, 0));
	KUNIT_ASSERT_EQ(test, 0, svm_test_share_mm(st));
	return st;
}

/* A new file of @npages in a file system of its own, mapped from @page on. */
struct svm_test *svm_test_share_fs(struct kunit *test, const char *type,
				   const char *options, unsigned long page,
				   unsigned long npages)
{
	struct svm_test *st = test->priv;
	char *data = kunit_kstrdup(test, options, GFP_KERNEL);
	struct vfsmount *mnt;
	struct path path;
	struct file *file;

	KUNIT_ASSERT_EQ(test, 0, kunit_attach_mm());
	KUNIT_ASSERT_NOT_NULL(test, data);
	mnt = vfs_kern_mount(get_fs_type(type), SB_KERNMOUNT, type, data);
	KUNIT_ASSERT_FALSE_MSG(test, IS_ERR(mnt), "no %s: %pe", type, mnt);
	st->mnt = mnt;

	path.mnt = mnt;
	path.dentry = mnt->mnt_root;
	file = kernel_tmpfile_open(mnt_idmap(mnt), &path, S_IFREG | 0600,
				   O_RDWR | O_LARGEFILE, current_cred());
	KUNIT_ASSERT_FALSE_MSG(test, IS_ERR(file), "%s: %pe", type, file);
	st->file = file;
	if (!strcmp(type, "tmpfs"))
		KUNIT_ASSERT_EQ(test, 0,
				vfs_truncate(&file->f_path,
					     npages * PAGE_SIZE));
	KUNIT_ASSERT_EQ_MSG(test, svm_test_va(page),
			    vm_mmap(file, svm_test_va(page), npages * PAGE_SIZE,
				    PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_FIXED, 0),
			    "no memory for %s with %s", type, options);
	KUNIT_ASSERT_EQ(test, 0, svm_test_share_mm(st));
	return st;
}

void svm_test_cpu_write(struct svm_test *st, unsigned long page,
			unsigned long end)
{
	for (; page < end; page++)
		KUNIT_EXPECT_EQ(st->test, 0,
				put_user(page, (unsigned long __user *)
					       svm_test_va(page)));
}

/* ~0 if it cannot. */
unsigned long svm_test_cpu_read(struct svm_test *st, unsigned long page)
{
	unsigned long value;

	if (get_user(value, (unsigned long __user *)svm_test_va(page)))
		return ~0UL;
	return value;
}

struct nouveau_svm_window *svm_test_window(struct svm_test *st,
					   unsigned long page)
{
	struct nouveau_svm_window *window =
		mtree_load(&st->space.windows, svm_test_va(page));

	KUNIT_ASSERT_NOT_NULL(st->test, window);
	return window;
}

/* As if the memory there changed, by any number of pages. */
void svm_test_invalidate(struct svm_test *st, unsigned long page,
			 unsigned long end)
{
	struct mmu_interval_notifier *notifier =
		&svm_test_window(st, page)->mirror.notifier;
	struct mmu_notifier_range range = {
		.mm = notifier->mm,
		.start = svm_test_va(page),
		.end = svm_test_va(end),
		.flags = MMU_NOTIFIER_RANGE_BLOCKABLE,
	};

	KUNIT_EXPECT_TRUE(st->test,
			  notifier->ops->invalidate(notifier, &range,
						    notifier->invalidate_seq));
}

/* ---- Faults ---- */

void svm_test_add(struct svm_test *st, u64 addr, u8 access)
{
	struct nouveau_svm_fault *fault = &st->fault[st->nr_faults];

	KUNIT_ASSERT_LT(st->test, st->nr_faults, SVM_TEST_PAGES);
	*fault = (struct nouveau_svm_fault) {
		.inst = st->nr_faults % 2,
		.addr = addr,
		.access = access,
		.svmm = (struct nouveau_svmm *)st,
	};
	st->faults[st->nr_faults++] = fault;
}

void svm_test_fault(struct svm_test *st, unsigned long page, u8 access)
{
	svm_test_add(st, svm_test_va(page) + page % PAGE_SIZE, access);
}

void svm_test_faults(struct svm_test *st, unsigned long page, unsigned long end,
		     u8 access)
{
	for (; page < end; page++)
		svm_test_fault(st, page, access);
}

/* Serve one batch, and begin to count calls with it. */
void svm_test_serve(struct svm_test *st)
{
	nouveau_svm_fake_reset(&st->fake);
	nouveau_svm_faults_sort(st->faults, st->nr_faults);
	st->serve(&st->space, st->faults, st->nr_faults);
}

/* The same, and none may fail. */
void svm_test_served(struct svm_test *st)
{
	unsigned int i;

	svm_test_serve(st);
	for (i = 0; i < st->nr_faults; i++)
		KUNIT_EXPECT_EQ_MSG(st->test, st->faults[i]->error, 0,
				    "%llx", st->faults[i]->addr);
	st->nr_faults = 0;
}

/*
 * The same faults once more: what had to be taken back while others were served
 * has been reported again.
 */
void svm_test_served_again(struct svm_test *st)
{
	unsigned int nr = st->nr_faults;

	svm_test_served(st);
	st->nr_faults = nr;
	svm_test_served(st);
}

int svm_test_one(struct svm_test *st, unsigned long page, u8 access)
{
	st->nr_faults = 0;
	svm_test_fault(st, page, access);
	svm_test_serve(st);
	st->nr_faults = 0;
	return st->fault[0].error;
}

/* ---- A second thread ---- */

static int svm_test_thread(void *arg)
{
	struct svm_test_thread *thread = arg;

	WRITE_ONCE(thread->begun, true);
	thread->func(thread->st);
	complete(&thread->done);
	return 0;
}

/* Where memory may be waited for; it does nothing until svm_test_begin_blocked(). */
void svm_test_make_thread(struct svm_test *st, struct svm_test_thread *thread)
{
	struct task_struct *task;

	*thread = (struct svm_test_thread) {
		.st = st,
	};
	init_completion(&thread->done);
	task = kthread_create(svm_test_thread, thread, "nouveau-svm-test");
	KUNIT_ASSERT_FALSE(st->test, IS_ERR(task));
	thread->task = get_task_struct(task);
}

/*
 * Have something done until it waits for a lock, which the caller has. Says
 * whether it does wait; it may be done instead.
 */
bool svm_test_begin_blocked(struct svm_test_thread *thread,
			    void (*func)(struct svm_test *st))
{
	unsigned int ms;

	thread->func = func;
	wake_up_process(thread->task);
	for (ms = 0; ms < 10000 && !completion_done(&thread->done); ms++) {
		if (READ_ONCE(thread->begun) &&
		    READ_ONCE(thread->task->__state) & TASK_UNINTERRUPTIBLE)
			return true;
		usleep_range(1000, 2000);
	}
	return false;
}

void svm_test_end(struct svm_test_thread *thread)
{
	if (thread->func)
		wait_for_completion(&thread->done);
	kthread_stop(thread->task);
	put_task_struct(thread->task);
}
