/* SPDX-License-Identifier: MIT */
/*
 * What the KUnit suites of SVM share. Each case has an address space of its own and
 * a GPU that is not there, see nouveau_svm_fake.h; what that can reach is always
 * read from its page table.
 *
 * A case runs in one thread and needs no lock of its own. Those that start a second
 * one say how the two take turns.
 */
#ifndef __NOUVEAU_SVM_KUNIT_H__
#define __NOUVEAU_SVM_KUNIT_H__

#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/types.h>

#include <nvif/if000c.h>

#include "../nouveau_svm_fault.h"
#include "../nouveau_svm_window.h"
#include "nouveau_svm_fake.h"

struct file;
struct resource;
struct task_struct;
struct vfsmount;

#define SVM_TEST_PAGES		1024UL		/* two blocks */
#define SVM_TEST_START		(16 * NOUVEAU_SVM_WINDOW)
#define SVM_TEST_BLOCK_PAGES	(NOUVEAU_SVM_BLOCK >> PAGE_SHIFT)
#define SVM_TEST_WINDOW_PAGES	(NOUVEAU_SVM_WINDOW >> PAGE_SHIFT)
#define SVM_TEST_VRAM		0x40000000UL	/* where it begins for the GPU */
#define SVM_TEST_VRAM_PAGES	1024UL

/**
 * struct svm_test - a process that shares its memory with a GPU
 * @test: the test
 * @fake: the GPU
 * @faked: @fake is initialized
 * @space: what is shared
 * @shared: @space is initialized
 * @fault: memory for faults
 * @faults: the same, in the order in which they are served
 * @nr_faults: how many there are
 * @serve: nouveau_svm_space_serve(), or that with calls counted
 * @fail_mthd: the method that fails, -1 for none
 * @fail_after: how many calls of it succeed first
 * @failed: how many have failed
 * @at_mthd: is called before each method of the address space, may be %NULL
 * @pgmap: memory of the GPU, as far as the CPU knows of it
 * @vram: where that is
 * @nr_vram: pages of it that were given out
 * @vram_gap: from which page on its addresses are not contiguous, 0 for none
 * @owner: &dev_pagemap.owner of it
 * @pages: memory of a file
 * @file: the file
 * @mnt: the file system it is in, if it is not our own
 * @at_page: is called when a page of our own file is faulted, may be %NULL
 */
struct svm_test {
	struct kunit *test;
	struct nouveau_svm_fake fake;
	bool faked;

	struct nouveau_svm_space space;
	bool shared;

	struct nouveau_svm_fault fault[SVM_TEST_PAGES];
	struct nouveau_svm_fault *faults[SVM_TEST_PAGES];
	unsigned int nr_faults;
	void (*serve)(struct nouveau_svm_space *space,
		      struct nouveau_svm_fault **faults, unsigned int nr);

	int fail_mthd;
	unsigned int fail_after;
	unsigned int failed;
	void (*at_mthd)(struct svm_test *st, u8 mthd);

	struct dev_pagemap pgmap;
	struct resource *vram;
	unsigned long nr_vram;
	unsigned long vram_gap;
	void *owner;

	struct page *pages[SVM_TEST_PAGES];
	struct file *file;
	struct vfsmount *mnt;
	void (*at_page)(struct svm_test *st, unsigned long page);
};

int svm_test_init(struct kunit *test);
void svm_test_exit(struct kunit *test);

/* ---- What a GPU would see; pages are counted from SVM_TEST_START ---- */

/* How often a method was called since faults were served last. */
#define svm_test_calls(st, mthd) \
	nouveau_svm_fake_calls(&(st)->fake, NVIF_VMM_V0_##mthd)

static inline unsigned long svm_test_va(unsigned long page)
{
	return SVM_TEST_START + page * PAGE_SIZE;
}

u64 svm_test_pte(struct svm_test *st, unsigned long page);
u64 svm_test_phys(struct svm_test *st, unsigned long page);
unsigned long svm_test_size(struct svm_test *st, unsigned long page);
u64 svm_test_cpu_phys(unsigned long page);
void svm_test_expect(struct svm_test *st, unsigned long page, unsigned long end,
		     bool write);
void svm_test_expect_if_any(struct svm_test *st, unsigned long page,
			    unsigned long end, bool write);
void svm_test_expect_none(struct svm_test *st, unsigned long page,
			  unsigned long end);

/* ---- Memory that is shared ---- */

int svm_test_share_mm(struct svm_test *st);
void svm_test_unshare(struct svm_test *st);
void svm_test_mmap(struct svm_test *st, unsigned long page,
		   unsigned long npages, unsigned long prot);
struct svm_test *svm_test_share(struct kunit *test);
struct svm_test *svm_test_share_thp(struct kunit *test);
struct svm_test *svm_test_share_file(struct kunit *test, unsigned long npages);
struct svm_test *svm_test_share_fs(struct kunit *test, const char *type,
				   const char *options, unsigned long page,
				   unsigned long npages);
void svm_test_cpu_write(struct svm_test *st, unsigned long page,
			unsigned long end);
unsigned long svm_test_cpu_read(struct svm_test *st, unsigned long page);
struct nouveau_svm_window *svm_test_window(struct svm_test *st,
					   unsigned long page);
void svm_test_invalidate(struct svm_test *st, unsigned long page,
			 unsigned long end);

/* ---- Faults ---- */

void svm_test_add(struct svm_test *st, u64 addr, u8 access);
void svm_test_fault(struct svm_test *st, unsigned long page, u8 access);
void svm_test_faults(struct svm_test *st, unsigned long page, unsigned long end,
		     u8 access);
void svm_test_serve(struct svm_test *st);
void svm_test_served(struct svm_test *st);
void svm_test_served_again(struct svm_test *st);
int svm_test_one(struct svm_test *st, unsigned long page, u8 access);

/* ---- A second thread ---- */

/**
 * struct svm_test_thread - does one thing while a case does another
 * @st: the case
 * @func: what is to be done
 * @task: who does it
 * @begun: it is about to
 * @done: it is done
 */
struct svm_test_thread {
	struct svm_test *st;
	void (*func)(struct svm_test *st);
	struct task_struct *task;
	bool begun;
	struct completion done;
};

void svm_test_make_thread(struct svm_test *st, struct svm_test_thread *thread);
bool svm_test_begin_blocked(struct svm_test_thread *thread,
			    void (*func)(struct svm_test *st));
void svm_test_end(struct svm_test_thread *thread);

#endif /* __NOUVEAU_SVM_KUNIT_H__ */
