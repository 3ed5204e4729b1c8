// SPDX-License-Identifier: GPL-2.0
/*
 * What the HMM DMA and mirror layers do when memory runs out, at each point where
 * they or what they call allocate any.
 *
 * Each test makes one call again and again: the first time its first allocation
 * fails, then the second one, until the call gets to its end with none left to
 * fail. Whenever it fails it has to do so with an errno that says so, leave
 * nothing of what it mapped, and use as much memory as before. It then has to
 * succeed without injection, which the device proves by a transfer. Calls that
 * cannot fail have to do all of their work whatever fails inside. Faults of a mirror
 * also have to succeed if what fails is an allocation that must not wait: there
 * may be memory a moment later. If there is none, they have to end.
 *
 * Failures are injected into this thread only, by its fail-nth file. Needs root
 * and a kernel with CONFIG_FAULT_INJECTION_DEBUG_FS, CONFIG_FAILSLAB and
 * CONFIG_FAIL_PAGE_ALLOC; what is set there in debugfs stays set. No locks: there
 * is one thread.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fail_nth_util.h"
#include "hmm_dma_util.h"
#include "hmm_range_util.h"

#define MAX_NTH		4000	/* allocations of a call */
#define ABSENT_PAGES	8	/* each of which costs some */
#define FAULT_MS	5000

/* What a call works on. */
struct nth {
	int dma;		/* the device, with a mirror of @p */
	int probe;		/* the same one, to look at its domain */
	int fail;		/* this thread's fail-nth */
	char *p;		/* memory, aligned to a PMD range */
	size_t len;		/* bytes of it that the call is for */
	unsigned int flags;	/* of the call */
	__u64 addr;		/* DMA address of @p in the mirror */
	__u64 hand_addr;	/* the same without a mirror */
	__u64 empty;		/* bytes of the view when nothing is mapped */
	__u64 before;		/* the same before the call */
};

/*
 * struct step - a call and what belongs to it
 *
 * @flags: of the call
 * @prepare: brings about what it is to meet
 * @act: the call: 0 or a negative errno
 * @clean: after a failure: whether nothing is left of it. NULL if the call has
 *	to succeed whatever fails in it
 * @works: after success: whether it did what it is there for
 * @iova: it needs an IOVA range, and -ENOSPC says that there was none
 * @waits: it waits for memory where an allocation itself must not
 */
struct step {
	unsigned int flags;
	bool iova;
	bool waits;
	bool (*prepare)(struct nth *s);
	int (*act)(struct nth *s);
	bool (*clean)(struct nth *s);
	bool (*works)(struct nth *s);
};

/* ---- memory ---- */

/* Each page says where it is. */
static void stamp(struct nth *s, size_t i)
{
	__atomic_store_n((__u64 *)(s->p + i * page), ~(__u64)(i << 20),
			 __ATOMIC_RELAXED);
}

/* Written in an order that leaves few neighbours in physical memory, too. */
static void populate(struct nth *s)
{
	size_t n = s->len / page, i;

	for (i = 0; i < n; i++)
		stamp(s, i * 211 % n);
}

static bool map_anew(struct nth *s, size_t len, int flags, int advice)
{
	char *p = mmap(s->p, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | flags, -1, 0);

	s->len = len;
	return p == s->p && (flags & MAP_HUGETLB || !madvise(p, len, advice));
}

/* Two slots of a view, each with a page table of the IOMMU. */
static bool small_pages(struct nth *s)
{
	if (!map_anew(s, 2 * pmd, 0, MADV_NOHUGEPAGE))
		return false;
	populate(s);
	return true;
}

static bool absent_pages(struct nth *s)
{
	bool ok = map_anew(s, 2 * pmd, 0, MADV_NOHUGEPAGE);

	s->len = ABSENT_PAGES * page;
	return ok;
}

static bool huge_pages(struct nth *s)
{
	if (!map_anew(s, 2 * pmd, 0, MADV_HUGEPAGE))
		return false;
	populate(s);
	return check_huge_anon(s->p, 2 * pmd, 2, pmd);
}

/* Small pages in long runs, so that one walk meets both slots. */
static bool split_pages(struct nth *s)
{
	size_t i;

	if (!huge_pages(s))
		return false;
	for (i = 0; i < s->len; i += pmd)
		if (madvise(s->p + i, page, MADV_DONTNEED))
			return false;
	populate(s);
	return true;
}

static bool absent_huge_pages(struct nth *s)
{
	return map_anew(s, 2 * pmd, 0, MADV_HUGEPAGE);
}

static bool absent_hugetlb(struct nth *s)
{
	return map_anew(s, 2 * pmd, MAP_HUGETLB | 21 << MAP_HUGE_SHIFT, 0);
}

/* ---- calls ---- */

static int act_mirror(struct nth *s)
{
	struct hmm_dma_test_mirror cmd = {
		.start = (uintptr_t)s->p,
		.length = 2 * pmd,
	};

	return ioctl(s->dma, HMM_DMA_TEST_MIRROR, &cmd) ? -errno : cmd.result;
}

static struct hmm_dma_test_fault fault_of(struct nth *s,
					  struct hmm_dma_test_run *run)
{
	*run = (struct hmm_dma_test_run) { };
	return (struct hmm_dma_test_fault) {
		.start = (uintptr_t)s->p,
		.length = s->len,
		.runs = (uintptr_t)run,
		.max_runs = 1,
		.flags = s->flags,
		.timeout_ms = FAULT_MS,
	};
}

static int act_fault(struct nth *s)
{
	struct hmm_dma_test_run run;
	struct hmm_dma_test_fault cmd = fault_of(s, &run);

	if (ioctl(s->dma, HMM_DMA_TEST_FAULT, &cmd))
		return -errno;
	if (!cmd.result)
		s->addr = run.addr;
	return cmd.result;
}

static int act_hand(struct nth *s)
{
	struct hmm_dma_test_run run;
	struct hmm_dma_test_hand cmd = { .fault = fault_of(s, &run) };

	if (ioctl(s->dma, HMM_DMA_TEST_HAND, &cmd))
		return -errno;
	if (!cmd.fault.result)
		s->hand_addr = run.addr;
	return cmd.fault.result;
}

/* Of the first page, which is not mapped yet. */
static int act_copy(struct nth *s)
{
	__u64 word = ~0ULL;
	struct hmm_dma_test_copy cmd = {
		.addr = (uintptr_t)s->p,
		.buffer = (uintptr_t)&word,
		.size = sizeof(word),
		.flags = s->flags,
		.timeout_ms = FAULT_MS,
	};

	return ioctl(s->dma, HMM_DMA_TEST_COPY, &cmd) ? -errno : cmd.result;
}

static int act_drop(struct nth *s)
{
	return dma_drop(s->dma, s->p, s->len);
}

static int act_close(struct nth *s)
{
	int fd = s->dma;

	s->dma = -1;
	return close(fd) ? -errno : 0;
}

/* One page out of the middle of a leaf. */
static int act_dontneed(struct nth *s)
{
	return madvise(s->p + pmd / 2, page, MADV_DONTNEED) ? -errno : 0;
}

/* ---- before a call ---- */

static bool mirror_none(struct nth *s)
{
	if (s->dma >= 0)
		close(s->dma);
	s->dma = dma_open(0);
	return s->dma >= 0 && small_pages(s);
}

/* A mirror in which nothing is mapped, and whose DMA address is known. */
static bool mirror_empty(struct nth *s)
{
	unsigned int flags = s->flags;
	bool ok;

	s->flags = 0;
	ok = (s->dma >= 0 || mirror_none(s)) &&
	     (dma_status(s->dma).mirrored || !act_mirror(s)) &&
	     absent_pages(s) && !act_fault(s) && !act_drop(s);
	s->flags = flags;
	if (ok)
		s->empty = dma_status(s->dma).memory;
	return ok;
}

static bool before_small(struct nth *s)
{
	return mirror_empty(s) && small_pages(s);
}

static bool before_absent(struct nth *s)
{
	return mirror_empty(s) && absent_pages(s);
}

static bool before_huge(struct nth *s)
{
	return mirror_empty(s) && huge_pages(s);
}

static bool before_split(struct nth *s)
{
	return mirror_empty(s) && split_pages(s);
}

static bool before_absent_huge(struct nth *s)
{
	return mirror_empty(s) && absent_huge_pages(s);
}

static bool before_hugetlb(struct nth *s)
{
	return mirror_empty(s) && absent_hugetlb(s);
}

/* All of it mapped for reading. */
static bool before_upgrade(struct nth *s)
{
	unsigned int flags = s->flags;
	bool ok;

	s->flags = 0;
	ok = before_small(s) && !act_fault(s);
	s->flags = flags;
	return ok;
}

static bool before_huge_unmap(struct nth *s)
{
	return before_huge(s) && !act_fault(s);
}

static bool before_small_unmap(struct nth *s)
{
	return before_small(s) && !act_fault(s);
}

/* The DMA address that it will have is the one that it had. */
static bool before_hand(struct nth *s)
{
	return before_small(s) && !act_hand(s);
}

/* ---- after it ---- */

static size_t pages_of(struct nth *s)
{
	return s->len / page;
}

static bool says(const char *what, __u64 is, __u64 wanted)
{
	if (is == wanted)
		return true;
	ksft_print_msg("%s: %llu instead of %llu\n", what,
		       (unsigned long long)is, (unsigned long long)wanted);
	return false;
}

/* The view may have kept a table of a time before, and has freed it now. */
static bool no_bytes_more(__u64 is, __u64 before)
{
	return is < before || says("bytes of the view", is, before);
}

static bool clean_mirror(struct nth *s)
{
	return says("mirrors", dma_status(s->dma).mirrored, 0);
}

static bool clean_fault(struct nth *s)
{
	struct hmm_dma_test_status now = dma_status(s->dma);

	return says("pages in the IOMMU",
		    dma_domain(s->probe, s->addr, 2 * pmd / page), 0) &&
	       says("entries of the device", now.entries, 0) &&
	       no_bytes_more(now.memory, s->empty);
}

/* What was mapped for reading may have gone, but from all at once. */
static bool clean_upgrade(struct nth *s)
{
	struct hmm_dma_test_status now = dma_status(s->dma);

	return says("pages in the IOMMU",
		    dma_domain(s->probe, s->addr, pages_of(s)), now.entries) &&
	       now.memory <= s->before;
}

static bool clean_hand(struct nth *s)
{
	return says("pages in the IOMMU",
		    dma_domain(s->probe, s->hand_addr, pages_of(s)), 0) &&
	       clean_fault(s);
}

/* The device reads the last page, and writes it if it may. */
static bool transfers(struct nth *s)
{
	__u64 *word = (__u64 *)(s->p + s->len - page), got = ~0ULL, put;

	/* If it was absent, it is made of zeroes. */
	if (dma_copy(s->dma, word, &got, sizeof(got), HMM_DMA_TEST_NOFAULT) ||
	    !says("what was read", got, *word))
		return false;
	put = ~got;
	if (!(s->flags & HMM_DMA_TEST_WRITE))
		return true;
	return !dma_copy(s->dma, word, &put, sizeof(put),
			 HMM_DMA_TEST_WRITE | HMM_DMA_TEST_NOFAULT) &&
	       says("what was written", *word, put);
}

static bool works_fault(struct nth *s)
{
	return says("pages in the IOMMU",
		    dma_domain(s->probe, s->addr, pages_of(s)), pages_of(s)) &&
	       transfers(s);
}

static bool works_mirror(struct nth *s)
{
	return !act_fault(s) && works_fault(s);
}

static bool works_copy(struct nth *s)
{
	s->len = page;
	return works_fault(s);
}

static bool works_close(struct nth *s)
{
	return says("pages in the IOMMU",
		    dma_domain(s->probe, s->addr, 2 * pmd / page), 0);
}

static bool works_dontneed(struct nth *s)
{
	return says("pages in the IOMMU",
		    dma_domain(s->probe, s->addr + pmd / 2, 1), 0);
}

/* ---- the calls ---- */

FIXTURE(hmm_dma_fail_nth) {
	struct nth s;
};

FIXTURE_VARIANT(hmm_dma_fail_nth) {
	struct step step;
};

FIXTURE_VARIANT_ADD(hmm_dma_fail_nth, mirror) {
	.step.prepare = mirror_none,
	.step.act = act_mirror,
	.step.clean = clean_mirror,
	.step.works = works_mirror,
	.step.iova = true,
};

FIXTURE_VARIANT_ADD(hmm_dma_fail_nth, fault_small) {
	.step.prepare = before_small,
	.step.act = act_fault,
	.step.clean = clean_fault,
	.step.works = works_fault,
	.step.waits = true,
};

FIXTURE_VARIANT_ADD(hmm_dma_fail_nth, fault_small_write) {
	.step.flags = HMM_DMA_TEST_WRITE,
	.step.prepare = before_small,
	.step.act = act_fault,
	.step.clean = clean_fault,
	.step.works = works_fault,
	.step.waits = true,
};

FIXTURE_VARIANT_ADD(hmm_dma_fail_nth, fault_absent) {
	.step.prepare = before_absent,
	.step.act = act_fault,
	.step.clean = clean_fault,
	.step.works = works_fault,
	.step.waits = true,
};

FIXTURE_VARIANT_ADD(hmm_dma_fail_nth, fault_absent_write) {
	.step.flags = HMM_DMA_TEST_WRITE,
	.step.prepare = before_absent,
	.step.act = act_fault,
	.step.clean = clean_fault,
	.step.works = works_fault,
	.step.waits = true,
};

FIXTURE_VARIANT_ADD(hmm_dma_fail_nth, fault_split) {
	.step.flags = HMM_DMA_TEST_WRITE,
	.step.prepare = before_split,
	.step.act = act_fault,
	.step.clean = clean_fault,
	.step.works = works_fault,
	.step.waits = true,
};

FIXTURE_VARIANT_ADD(hmm_dma_fail_nth, fault_thp) {
	.step.flags = HMM_DMA_TEST_WRITE,
	.step.prepare = before_huge,
	.step.act = act_fault,
	.step.clean = clean_fault,
	.step.works = works_fault,
	.step.waits = true,
};

FIXTURE_VARIANT_ADD(hmm_dma_fail_nth, fault_thp_absent) {
	.step.flags = HMM_DMA_TEST_WRITE,
	.step.prepare = before_absent_huge,
	.step.act = act_fault,
	.step.clean = clean_fault,
	.step.works = works_fault,
	.step.waits = true,
};

FIXTURE_VARIANT_ADD(hmm_dma_fail_nth, fault_hugetlb) {
	.step.flags = HMM_DMA_TEST_WRITE,
	.step.prepare = before_hugetlb,
	.step.act = act_fault,
	.step.clean = clean_fault,
	.step.works = works_fault,
	.step.waits = true,
};

FIXTURE_VARIANT_ADD(hmm_dma_fail_nth, prefetch) {
	.step.flags = HMM_DMA_TEST_PREFETCH,
	.step.prepare = before_split,
	.step.act = act_fault,
	.step.clean = clean_fault,
	.step.works = works_fault,
	.step.waits = true,
};

FIXTURE_VARIANT_ADD(hmm_dma_fail_nth, upgrade) {
	.step.flags = HMM_DMA_TEST_WRITE,
	.step.prepare = before_upgrade,
	.step.act = act_fault,
	.step.clean = clean_upgrade,
	.step.works = works_fault,
	.step.waits = true,
};

FIXTURE_VARIANT_ADD(hmm_dma_fail_nth, hand) {
	.step.flags = HMM_DMA_TEST_WRITE,
	.step.prepare = before_hand,
	.step.act = act_hand,
	.step.clean = clean_hand,
	.step.works = clean_hand,
	.step.iova = true,
};

FIXTURE_VARIANT_ADD(hmm_dma_fail_nth, copy_read) {
	.step.prepare = before_absent,
	.step.act = act_copy,
	.step.clean = clean_fault,
	.step.works = works_copy,
	.step.waits = true,
};

FIXTURE_VARIANT_ADD(hmm_dma_fail_nth, copy_write) {
	.step.flags = HMM_DMA_TEST_WRITE,
	.step.prepare = before_absent,
	.step.act = act_copy,
	.step.clean = clean_fault,
	.step.works = works_copy,
	.step.waits = true,
};

FIXTURE_VARIANT_ADD(hmm_dma_fail_nth, drop) {
	.step.flags = HMM_DMA_TEST_WRITE,
	.step.prepare = before_small_unmap,
	.step.act = act_drop,
	.step.works = clean_fault,
};

FIXTURE_VARIANT_ADD(hmm_dma_fail_nth, drop_thp) {
	.step.flags = HMM_DMA_TEST_WRITE,
	.step.prepare = before_huge_unmap,
	.step.act = act_drop,
	.step.works = clean_fault,
};

FIXTURE_VARIANT_ADD(hmm_dma_fail_nth, close) {
	.step.flags = HMM_DMA_TEST_WRITE,
	.step.prepare = before_small_unmap,
	.step.act = act_close,
	.step.works = works_close,
};

FIXTURE_VARIANT_ADD(hmm_dma_fail_nth, close_thp) {
	.step.flags = HMM_DMA_TEST_WRITE,
	.step.prepare = before_huge_unmap,
	.step.act = act_close,
	.step.works = works_close,
};

FIXTURE_VARIANT_ADD(hmm_dma_fail_nth, dontneed_thp) {
	.step.flags = HMM_DMA_TEST_WRITE,
	.step.prepare = before_huge_unmap,
	.step.act = act_dontneed,
	.step.works = works_dontneed,
};

/* NULL, or what is missing. */
static const char *nth_setup(struct nth *s)
{
	const char *why;

	*s = (struct nth) { .dma = -1 };
	pmd = read_pmd_pagesize();
	thp_policy(pmd);
	if (!pmd)
		return "no THP (CONFIG_TRANSPARENT_HUGEPAGE)";
	why = no_hugetlb(pmd, 4);
	if (why)
		return why;
	if (!inject_setup())
		return "no failslab and fail_page_alloc in debugfs";
	s->probe = dma_open(0);
	if (s->probe < 0)
		return "no /dev/hmm_dma0: load test_hmm_dma, as root";
	if (dma_status(s->probe).iommu != HMM_DMA_TEST_IOMMU_DMA)
		return "no IOMMU that translates";
	s->fail = inject_open();
	s->p = area(2 * pmd, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	if (s->fail < 0 || !s->p)
		ksft_exit_fail_msg("no fail-nth, or no address space\n");
	return NULL;
}

FIXTURE_SETUP(hmm_dma_fail_nth)
{
	(void)skipped(nth_setup(&self->s));
}

FIXTURE_TEARDOWN(hmm_dma_fail_nth)
{
}

/* ---- the test ---- */

static bool is_clean_errno(const struct step *step, int ret)
{
	return ret == -ENOMEM || (step->iova && ret == -ENOSPC);
}

/*
 * One call whose @n-th allocation fails: false if there are not as many.
 * *@failed counts the calls that could not be made for it.
 */
static bool sweep_once(struct __test_metadata *_metadata, struct nth *s,
		       const struct step *step, unsigned int n,
		       unsigned int *failed)
{
	bool came;
	int ret;

	ASSERT_TRUE(step->prepare(s));
	s->before = dma_status(s->dma).memory;
	ASSERT_TRUE(inject_begin(s->fail, n));
	ret = step->act(s);
	came = inject_end(s->fail);
	if (ret) {
		ASSERT_TRUE(came && step->clean && is_clean_errno(step, ret)) {
			TH_LOG("allocation %u: %s", n, strerror(-ret));
		}
		ASSERT_TRUE(step->clean(s)) {
			TH_LOG("allocation %u: %s", n, strerror(-ret));
		}
		(*failed)++;
		ASSERT_EQ(step->act(s), 0);
	}
	ASSERT_TRUE(step->works(s)) {
		TH_LOG("allocation %u: %s", n, strerror(-ret));
	}
	return came;
}

/* Returns how many of the calls could not be made. */
static unsigned int sweep(struct __test_metadata *_metadata, struct nth *s,
			  const struct step *step)
{
	unsigned int n = 1, failed = 0;

	s->flags = step->flags;
	while (sweep_once(_metadata, s, step, n, &failed)) {
		n++;
		ASSERT_LT(n, MAX_NTH);
	}
	ksft_print_msg("%u allocations, %u failures\n", n - 1, failed);
	return failed;
}

TEST_F_TIMEOUT(hmm_dma_fail_nth, sweep, 600)
{
	unsigned int failed = sweep(_metadata, &self->s, &variant->step);

	if (variant->step.clean)
		ASSERT_GT(failed, 0);
	if (!variant->step.waits)
		return;
	ASSERT_TRUE(inject_into(false));
	ASSERT_EQ(0, sweep(_metadata, &self->s, &variant->step));
}

/* Without memory that need not be waited for, a fault ends, and cleanly. */
FIXTURE(hmm_dma_shortage) {
	struct nth s;
};

FIXTURE_SETUP(hmm_dma_shortage)
{
	(void)skipped(nth_setup(&self->s));
}

FIXTURE_TEARDOWN(hmm_dma_shortage)
{
}

TEST_F(hmm_dma_shortage, fault)
{
	struct nth *s = &self->s;
	int ret;

	ASSERT_TRUE(inject_into(false));
	ASSERT_TRUE(before_small(s));
	s->before = dma_status(s->dma).memory;
	ASSERT_TRUE(inject_always(true));
	ret = act_fault(s);
	ASSERT_TRUE(inject_always(false));
	ASSERT_EQ(-ENOMEM, ret);
	EXPECT_TRUE(clean_fault(s));
	ASSERT_EQ(0, act_fault(s));
	EXPECT_TRUE(works_fault(s));
}

int main(int argc, char **argv)
{
	machine_save();
	return test_harness_run(argc, argv);
}
