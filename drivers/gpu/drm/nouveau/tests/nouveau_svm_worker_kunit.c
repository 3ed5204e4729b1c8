// SPDX-License-Identifier: MIT
/*
 * KUnit tests of the fault handler in nouveau_svm.c: from entries of the fault
 * buffer to the replay. The GPU is that of nouveau_svm_fake_gpu.h. What becomes of
 * the faults of one process is tested elsewhere.
 *
 * A case and the worker take turns: the case waits for a replay, or has the work
 * flushed by a suspend.
 */
#include <kunit/device.h>
#include <kunit/test.h>
#include <linux/mm.h>
#include <linux/mman.h>

#include <nvif/if000c.h>

#include "../nouveau_svm.h"
#include "../nouveau_svm_window.h"
#include "nouveau_svm_fake_gpu.h"

#define WORKER_START	(16 * NOUVEAU_SVM_WINDOW)
#define WORKER_PAGES	16UL
#define WORKER_TIMEOUT	10000	/* ms */
#define WORKER_STRANGER	(NOUVEAU_SVM_FAKE_INST + 0x1000)

struct worker_test {
	struct nouveau_svm_fake_gpu gpu;
	bool begun;
	bool shared;
};

static u64 worker_va(unsigned long page)
{
	return WORKER_START + page * PAGE_SIZE;
}

static int worker_init(struct kunit *test)
{
	struct worker_test *wt = kunit_kzalloc(test, sizeof(*wt), GFP_KERNEL);
	struct device *dev;
	unsigned long addr;

	KUNIT_ASSERT_NOT_NULL(test, wt);
	test->priv = wt;
	dev = kunit_device_register(test, "nouveau-svm-worker");
	KUNIT_ASSERT_FALSE(test, IS_ERR(dev));
	KUNIT_ASSERT_EQ(test, 0, kunit_attach_mm());
	addr = kunit_vm_mmap(test, NULL, WORKER_START, WORKER_PAGES * PAGE_SIZE,
			     PROT_READ | PROT_WRITE,
			     MAP_ANONYMOUS | MAP_PRIVATE | MAP_FIXED, 0);
	KUNIT_ASSERT_EQ(test, addr, WORKER_START);
	KUNIT_ASSERT_EQ(test, 0, nouveau_svm_fake_gpu_init(&wt->gpu, dev));
	wt->begun = true;
	KUNIT_ASSERT_EQ(test, 0, nouveau_svm_fake_gpu_share(&wt->gpu));
	wt->shared = true;
	return 0;
}

static void worker_exit(struct kunit *test)
{
	struct worker_test *wt = test->priv;

	if (!wt || !wt->begun)
		return;
	if (wt->shared)
		nouveau_svm_fake_gpu_unshare(&wt->gpu);
	nouveau_svm_fake_gpu_fini(&wt->gpu);
	KUNIT_EXPECT_EQ(test, wt->gpu.fake.nr_memories, 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&wt->gpu.fake.errors), 0);
}

static void worker_fault(struct kunit *test, u64 inst, u64 addr,
			 enum nouveau_svm_fake_access access)
{
	struct worker_test *wt = test->priv;

	KUNIT_EXPECT_EQ(test, 0, nouveau_svm_fake_gpu_fault(&wt->gpu, inst,
							    addr, access));
}

static void worker_write(struct kunit *test, unsigned long page)
{
	worker_fault(test, NOUVEAU_SVM_FAKE_INST, worker_va(page),
		     NOUVEAU_SVM_FAKE_WRITE);
}

/* One interrupt, and one replay. The counters are those of this batch. */
static void worker_serve(struct kunit *test)
{
	struct worker_test *wt = test->priv;

	nouveau_svm_fake_gpu_reset(&wt->gpu);
	nouveau_svm_fake_gpu_interrupt(&wt->gpu);
	KUNIT_EXPECT_TRUE(test, nouveau_svm_fake_gpu_wait(&wt->gpu,
							  WORKER_TIMEOUT));
	KUNIT_EXPECT_EQ(test, atomic_read(&wt->gpu.replays), 1);
	KUNIT_EXPECT_EQ(test, wt->gpu.regs[NOUVEAU_SVM_FAKE_GET],
			wt->gpu.regs[NOUVEAU_SVM_FAKE_PUT]);
}

static bool worker_has(struct kunit *test, unsigned long page)
{
	struct worker_test *wt = test->priv;

	return nouveau_svm_fake_phys(&wt->gpu.fake, worker_va(page));
}

/* In no order and more than once: sorted, they are one call and one replay. */
static void worker_test_batch(struct kunit *test)
{
	struct worker_test *wt = test->priv;
	unsigned long i;

	for (i = 0; i < 3 * WORKER_PAGES; i++)
		worker_write(test, i * 7 % WORKER_PAGES);
	worker_serve(test);
	KUNIT_EXPECT_EQ(test, atomic_read(&wt->gpu.cancels), 0);
	KUNIT_EXPECT_EQ(test, 1,
			nouveau_svm_fake_calls(&wt->gpu.fake,
					       NVIF_VMM_V0_SVMMAP));
	for (i = 0; i < WORKER_PAGES; i++)
		KUNIT_EXPECT_TRUE(test, worker_has(test, i));
}

/* Of a channel that nobody knows, and where there is nothing: all others stay. */
static void worker_test_cancel(struct kunit *test)
{
	struct worker_test *wt = test->priv;

	worker_fault(test, WORKER_STRANGER, worker_va(1),
		     NOUVEAU_SVM_FAKE_WRITE);
	worker_write(test, 0);
	worker_write(test, WORKER_PAGES);
	worker_write(test, 2);
	worker_fault(test, NOUVEAU_SVM_FAKE_INST, NOUVEAU_SVM_FAKE_HOLE,
		     NOUVEAU_SVM_FAKE_READ);
	worker_serve(test);
	KUNIT_EXPECT_EQ(test, atomic_read(&wt->gpu.cancels), 3);
	KUNIT_EXPECT_TRUE(test, worker_has(test, 0));
	KUNIT_EXPECT_FALSE(test, worker_has(test, 1));
	KUNIT_EXPECT_TRUE(test, worker_has(test, 2));
}

/* A replay would have the GPU fault again, for ever. */
static void worker_test_no_replay(struct kunit *test)
{
	struct worker_test *wt = test->priv;

	worker_write(test, WORKER_PAGES);
	worker_fault(test, WORKER_STRANGER, worker_va(0),
		     NOUVEAU_SVM_FAKE_READ);
	nouveau_svm_fake_gpu_interrupt(&wt->gpu);
	nouveau_svm_suspend(&wt->gpu.drm);
	KUNIT_EXPECT_EQ(test, atomic_read(&wt->gpu.cancels), 2);
	KUNIT_EXPECT_EQ(test, atomic_read(&wt->gpu.replays), 0);
	nouveau_svm_resume(&wt->gpu.drm);
}

/* The buffer is a ring: batches go over its end. */
static void worker_test_wrap(struct kunit *test)
{
	struct worker_test *wt = test->priv;
	unsigned long i, batch;

	for (batch = 0; batch < 5; batch++) {
		for (i = 0; i < 300; i++)
			worker_write(test, (i + batch) % WORKER_PAGES);
		worker_serve(test);
		KUNIT_EXPECT_EQ(test, atomic_read(&wt->gpu.cancels), 0);
	}
	KUNIT_EXPECT_EQ(test, wt->gpu.regs[NOUVEAU_SVM_FAKE_GET],
			5 * 300 % NOUVEAU_SVM_FAKE_ENTRIES);
}

/* What is reported while the GPU is suspended is served after that. */
static void worker_test_suspend(struct kunit *test)
{
	struct worker_test *wt = test->priv;

	worker_write(test, 0);
	worker_serve(test);
	nouveau_svm_suspend(&wt->gpu.drm);
	KUNIT_EXPECT_FALSE(test, worker_has(test, 0));

	worker_write(test, 1);
	nouveau_svm_fake_gpu_interrupt(&wt->gpu);
	KUNIT_EXPECT_EQ(test, atomic_read(&wt->gpu.replays), 1);
	KUNIT_EXPECT_FALSE(test, worker_has(test, 1));

	nouveau_svm_resume(&wt->gpu.drm);
	worker_serve(test);
	KUNIT_EXPECT_TRUE(test, worker_has(test, 1));
}

static struct kunit_case worker_test_cases[] = {
	KUNIT_CASE(worker_test_batch),
	KUNIT_CASE(worker_test_cancel),
	KUNIT_CASE(worker_test_no_replay),
	KUNIT_CASE(worker_test_wrap),
	KUNIT_CASE(worker_test_suspend),
	{}
};

static struct kunit_suite worker_test_suite = {
	.name = "nouveau_svm_worker",
	.init = worker_init,
	.exit = worker_exit,
	.test_cases = worker_test_cases,
};

kunit_test_suite(worker_test_suite);
