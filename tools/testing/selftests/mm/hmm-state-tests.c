// SPDX-License-Identifier: GPL-2.0
/*
 * Tests of what the HMM range API makes of each state that a page of a process
 * can be in. For each: what hmm_range_snapshot() reports, that it leaves no
 * trace (no fault, and the same pagemap entries, PAGEMAP_SCAN categories and
 * accessed bits as before), and what a read and a write fault do, by
 * hmm_range_fault() under the mmap lock and by the unlocked entry point.
 *
 * The range API is called through the raw device of lib/test_hmm_range.c. The
 * device of lib/test_hmm.c provides device memory; it is another owner of it,
 * so what it holds is foreign to the raw device.
 *
 * Fixtures whose name ends in _weak hold what the range layer of 7.3 gets
 * wrong: their tests fail there. All others hold on both. Needs root.
 *
 * Threads: a test that has a second one shares only atomics with it.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/memfd.h>
#include <linux/mman.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <lib/test_hmm_uapi.h>

#include "hmm_range_util.h"

#define ALL_CATEGORIES	(PAGE_IS_WPALLOWED | PAGE_IS_WRITTEN | PAGE_IS_FILE | \
			 PAGE_IS_PRESENT | PAGE_IS_SWAPPED | PAGE_IS_PFNZERO | \
			 PAGE_IS_HUGE | PAGE_IS_SOFT_DIRTY | PAGE_IS_GUARD | \
			 PAGE_IS_ACCESSED)
#define MAX_REGIONS	2048

#define PRIVATE_DEVICE	"/dev/hmm_dmirror0"
#define COHERENT_DEVICE	"/dev/hmm_dmirror2"

static int mirror = -1;		/* test_hmm device, see no_mirror() */

/* ---- fixtures ---- */

static bool locked(void)
{
	return fault_mode == HMM_RANGE_TEST_FAULT_LOCKED;
}

FIXTURE(hmm_state) { };
FIXTURE_VARIANT(hmm_state) { enum hmm_range_test_mode mode; };
FIXTURE_VARIANT_ADD(hmm_state, locked) {
	.mode = HMM_RANGE_TEST_FAULT_LOCKED,
};

FIXTURE_VARIANT_ADD(hmm_state, unlocked) {
	.mode = HMM_RANGE_TEST_FAULT_UNLOCKED,
};

FIXTURE_SETUP(hmm_state)
{
	fault_mode = variant->mode;
	(void)skipped(range_setup());
}

FIXTURE_TEARDOWN(hmm_state) { }

FIXTURE(hmm_state_weak) { };
FIXTURE_VARIANT(hmm_state_weak) { enum hmm_range_test_mode mode; };
FIXTURE_VARIANT_ADD(hmm_state_weak, locked) {
	.mode = HMM_RANGE_TEST_FAULT_LOCKED,
};

FIXTURE_VARIANT_ADD(hmm_state_weak, unlocked) {
	.mode = HMM_RANGE_TEST_FAULT_UNLOCKED,
};

FIXTURE_SETUP(hmm_state_weak)
{
	fault_mode = variant->mode;
	(void)skipped(range_setup());
}

FIXTURE_TEARDOWN(hmm_state_weak) { }

/* ---- a snapshot that must not leave a trace ---- */

/* All that user space can see of the state of some pages. */
struct view {
	__u64			*entries;	/* pagemap */
	struct page_region	*regions;	/* PAGEMAP_SCAN */
	long			nr_regions;
	unsigned long		referenced;	/* kB, of the VMAs concerned */
};

/* The number of regions of pages of equal categories, filled in. */
static long scan(const char *p, size_t n, struct page_region *regions)
{
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = (uintptr_t)p,
		.end = (uintptr_t)p + n * page,
		.vec = (uintptr_t)regions,
		.vec_len = MAX_REGIONS,
		.category_anyof_mask = ALL_CATEGORIES,
		.return_mask = ALL_CATEGORIES,
	};

	return ioctl(pagemap, PAGEMAP_SCAN, &arg);
}

/* Sum of a field of smaps over the VMAs of these pages, in kB. */
static unsigned long vma_sum(const char *p, size_t n, const char *field)
{
	unsigned long start, end, kb, sum = 0;
	FILE *f = fopen("/proc/self/smaps", "r");
	bool inside = false;
	char line[512];

	if (!f)
		ksft_exit_fail_msg("cannot read smaps\n");
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = start < (uintptr_t)p + n * page &&
				 end > (uintptr_t)p;
		else if (inside && !strncmp(line, field, strlen(field)) &&
			 sscanf(line + strlen(field), "%lu", &kb) == 1)
			sum += kb;
	}
	fclose(f);
	return sum;
}

static void view_take(struct view *v, const char *p, size_t n)
{
	v->entries = malloc(n * sizeof(*v->entries));
	v->regions = calloc(MAX_REGIONS, sizeof(*v->regions));
	if (!v->entries || !v->regions)
		ksft_exit_fail_msg("no memory\n");
	memcpy(v->entries, pm_read(p, n), n * sizeof(*v->entries));
	v->nr_regions = scan(p, n, v->regions);
	v->referenced = vma_sum(p, n, "Referenced:");
}

static void view_drop(struct view *v)
{
	free(v->entries);
	free(v->regions);
}

static const char *view_difference(const struct view *a, const struct view *b,
				   size_t n)
{
	if (memcmp(a->entries, b->entries, n * sizeof(*a->entries)))
		return "pagemap entries";
	if (a->nr_regions < 0 || a->nr_regions != b->nr_regions ||
	    memcmp(a->regions, b->regions, a->nr_regions * sizeof(*a->regions)))
		return "PAGEMAP_SCAN categories";
	if (a->referenced != b->referenced)
		return "accessed bits";
	return NULL;
}

/*
 * A snapshot; its errno, or 1 if it has changed anything. All accessed bits are
 * off before it, so that one that it sets shows. The array is populated before:
 * PAGEMAP_SCAN tells a hugetlb hole in a page table from one without, and the
 * array may bring the table.
 */
static int look(const char *p, size_t n)
{
	struct view before, after;
	const char *changed;
	int ret;

	pfns_populate(n);
	setting_write("/proc/self/clear_refs", "1");
	view_take(&before, p, n);
	ret = snapshot(p, n);
	view_take(&after, p, n);
	changed = faults ? "faults" : view_difference(&before, &after, n);
	view_drop(&before);
	view_drop(&after);
	if (ret || !changed)
		return ret;
	ksft_print_msg("the snapshot has changed: %s\n", changed);
	return 1;
}

/* ---- contents ---- */

static char content(size_t i)
{
	return i * 7 % 127 + 1;
}

static void fill(char *p, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		memset(p + i * page, content(i), page);
}

/* Whether memory that is to be present holds what fill() put there. */
static bool holds(const char *p, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (p[i * page] != content(i) ||
		    p[(i + 1) * page - 1] != content(i))
			return false;
	return true;
}

/* A page that each caller writes before the next one reads it. */
static bool writable(char *p, char value)
{
	*p = value;
	return FORCE_READ(*p) == value;
}

/* mapped(), with at least the access requested and whatever order. */
static bool granted(const char *p, size_t first, size_t n, __u64 request)
{
	return mapped(p, first, n, request, (WRITE & ~request) | ANY_ORDER);
}

static char *shared_area(size_t pages, int fd)
{
	return area(pages * page, PROT_READ | PROT_WRITE,
		    fd < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED, fd);
}

/* ---- nothing there, or nothing to be had ---- */

TEST_F(hmm_state, hole)
{
	char *p = anon_area(8, false);

	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, look(p, 8));
	EXPECT_TRUE(all(0, 8, 0));
	ASSERT_EQ(0, fault(p, 4, READ));
	EXPECT_TRUE(mapped(p, 0, 4, VALID, 0));
	ASSERT_EQ(0, fault(p + 4 * page, 4, RW));
	EXPECT_TRUE(mapped(p + 4 * page, 0, 4, RW, 0));
	ASSERT_EQ(0, look(p, 8));
	EXPECT_TRUE(mapped(p, 0, 4, VALID, 0));
	EXPECT_TRUE(mapped(p, 4, 4, RW, 0));
}

/* What is there already is not faulted again. */
TEST_F(hmm_state, present)
{
	char *p = anon_area(8, false);

	ASSERT_NE(p, NULL);
	fill(p, 8);
	mprotect(p + 4 * page, 4 * page, PROT_READ);
	ASSERT_EQ(0, look(p, 8));
	EXPECT_TRUE(mapped(p, 0, 4, RW, 0));
	EXPECT_TRUE(mapped(p, 4, 4, VALID, 0));

	ASSERT_EQ(0, fault(p, 8, READ));
	EXPECT_EQ(0, faults);
	ASSERT_EQ(0, fault(p, 4, RW));
	EXPECT_EQ(0, faults);
	EXPECT_EQ(-EPERM, fault(p + 4 * page, 4, RW));
	EXPECT_EQ(-EPERM, fault(p, 8, RW));
	EXPECT_TRUE(holds(p, 8));
}

TEST_F(hmm_state, no_access)
{
	char *p = anon_area(8, false);

	ASSERT_NE(p, NULL);
	fill(p, 4);
	mprotect(p, 8 * page, PROT_NONE);
	ASSERT_EQ(0, look(p, 8));
	EXPECT_TRUE(all(0, 8, ERROR));
	EXPECT_EQ(-EFAULT, fault(p, 1, READ));
	EXPECT_EQ(-EFAULT, fault(p, 1, RW));
	EXPECT_EQ(-EFAULT, fault(p + 4 * page, 1, READ));
	EXPECT_EQ(0, faults);
	mprotect(p, 8 * page, PROT_READ | PROT_WRITE);
	EXPECT_EQ(4, populated(p, 8));
	EXPECT_TRUE(holds(p, 4));
}

TEST_F(hmm_state, no_vma)
{
	char *p = anon_area(8, false);

	ASSERT_NE(p, NULL);
	munmap(p, 8 * page);
	ASSERT_EQ(0, look(p, 8));
	EXPECT_TRUE(all(0, 8, ERROR));
	EXPECT_EQ(-EFAULT, fault(p, 8, READ));
	EXPECT_EQ(-EFAULT, fault(p, 8, RW));
	EXPECT_EQ(0, faults);
}

/* Four pages each: writable, nothing, read-only, no access, shared. */
TEST_F(hmm_state, several_vmas)
{
	char *p = anon_area(20, false);
	size_t i, k;

	ASSERT_NE(p, NULL);
	fill(p, 20);
	munmap(p + 4 * page, 4 * page);
	mprotect(p + 8 * page, 4 * page, PROT_READ);
	mprotect(p + 12 * page, 4 * page, PROT_NONE);
	ASSERT_NE(MAP_FAILED, mmap(p + 16 * page, 4 * page,
				   PROT_READ | PROT_WRITE, MAP_FIXED |
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, look(p, 20));
		EXPECT_TRUE(mapped(p, 0, 4, RW, 0));
		EXPECT_TRUE(all(4, 4, ERROR));
		EXPECT_TRUE(mapped(p, 8, 4, VALID, 0));
		EXPECT_TRUE(all(12, 4, ERROR));
		EXPECT_TRUE(i ? mapped(p, 16, 4, RW, 0) : all(16, 4, 0));
		request_none(20);
		pfns[8] = READ;
		for (k = 16; k < 20; k++)
			pfns[k] = RW;
		ASSERT_EQ(0, fault_each(p, 20));
	}
	EXPECT_EQ(-EFAULT, fault(p, 20, READ));
	EXPECT_EQ(-EPERM, fault(p + 8 * page, 4, RW));
}

static unsigned long vma_start(const char *p)
{
	struct procmap_fd maps;
	unsigned long start = 0;

	if (open_self_procmap(&maps))
		return 0;
	if (find_vma_procmap(&maps, (void *)p))
		start = maps.query.vma_start;
	close_procmap(&maps);
	return start;
}

/* Only the CPU grows a stack. */
TEST_F(hmm_state, below_a_stack)
{
	size_t room = 8 * MB;
	char *p = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(p, MAP_FAILED);
	munmap(p, room);
	p = mmap(p + room / 2, 4 * page, PROT_READ | PROT_WRITE, MAP_FIXED |
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, -1, 0);
	ASSERT_NE(p, MAP_FAILED);
	fill(p, 2);
	ASSERT_EQ(0, look(p - 4 * page, 8));
	EXPECT_TRUE(all(0, 4, ERROR));
	EXPECT_TRUE(mapped(p - 4 * page, 4, 2, RW, 0));
	EXPECT_TRUE(all(6, 2, 0));
	EXPECT_EQ(-EFAULT, fault(p - page, 1, READ));
	EXPECT_EQ(-EFAULT, fault(p - page, 1, RW));
	EXPECT_EQ(-EFAULT, fault(p - 2 * page, 6, RW));
	EXPECT_EQ((uintptr_t)p, vma_start(p));
	EXPECT_EQ(0, fault(p, 4, RW));
	EXPECT_EQ((uintptr_t)p, vma_start(p));

	/* It could have been. */
	p[-8] = 1;
	EXPECT_EQ((uintptr_t)p - page, vma_start(p));
}

/* ---- zero pages ---- */

TEST_F(hmm_state_weak, zero_page)
{
	char *p = anon_area(4, false);
	size_t i;

	ASSERT_NE(p, NULL);
	force_read_pages(p, 4, page);
	ASSERT_EQ(0, look(p, 4));
	EXPECT_TRUE(mapped(p, 0, 4, VALID, 0));
	for (i = 0; i < 4; i++)
		EXPECT_EQ(zero_pfn(), pfns[i] & HMM_RANGE_PFN_MASK);
	ASSERT_EQ(0, fault(p, 4, READ));
	EXPECT_EQ(0, faults);

	request_none(4);
	pfns[2] = RW;
	ASSERT_EQ(0, fault_each(p, 4));
	EXPECT_EQ(1, faults);
	EXPECT_TRUE(mapped(p, 0, 2, VALID, 0));
	EXPECT_TRUE(mapped(p, 2, 1, RW, 0));
	EXPECT_NE(zero_pfn(), PAGEMAP_PFN(pm(p + 2 * page)));
	EXPECT_EQ(zero_pfn(), PAGEMAP_PFN(pm(p + 3 * page)));
	EXPECT_EQ(0, p[2 * page]);
}

TEST_F(hmm_state_weak, huge_zero_page)
{
	char *p, *q;
	__u64 zero;

	if (skipped(no_thp()))
		return;
	p = anon_area(nr_pmd, true);
	q = anon_area(nr_pmd, true);
	ASSERT_TRUE(p && q);
	FORCE_READ(p[0]);
	FORCE_READ(q[0]);
	zero = PAGEMAP_PFN(pm(p));
	ASSERT_EQ(zero, PAGEMAP_PFN(pm(q)));
	ASSERT_EQ(0, look(p, nr_pmd));
	EXPECT_TRUE(mapped(p, 0, nr_pmd, VALID | ORDER(9), 0));
	ASSERT_EQ(0, look(p + 5 * page, 7));
	EXPECT_TRUE(mapped(p + 5 * page, 0, 7, VALID | ORDER(9), 0));
	ASSERT_EQ(0, fault(p, nr_pmd, READ));
	EXPECT_EQ(0, faults);

	request_none(nr_pmd);
	pfns[77] = RW;
	ASSERT_EQ(0, fault_each(p, nr_pmd));
	EXPECT_EQ(1, faults);
	EXPECT_TRUE(mapped(p, 77, 1, RW, ANY_ORDER));
	EXPECT_NE(zero + 77, PAGEMAP_PFN(pm(p + 77 * page)));
	EXPECT_TRUE(mapped(p, 0, nr_pmd, VALID, WRITE | ANY_ORDER));
	EXPECT_TRUE(writable(p + 77 * page, 5));
	EXPECT_EQ(0, q[77 * page]);
	EXPECT_EQ(zero, PAGEMAP_PFN(pm(q)));
}

/* ---- folios of each size, mapped by PTEs ---- */

/* The next larger size below a PMD that the machine has a setting for, or 0. */
static size_t next_size(const char *file, size_t size)
{
	char path[128];

	for (size *= 2; size < pmd; size *= 2) {
		snprintf(path, sizeof(path), THP_DIR "/hugepages-%zukB/%s",
			 size / KB, file);
		if (!access(path, W_OK))
			return size;
	}
	return 0;
}

/*
 * Three folios of @size at @p: whole, by parts of the range, with a page
 * unmapped, and moved to where address and pfn are no longer congruent.
 */
static void check_folios(struct __test_metadata *_metadata, char *p, size_t size)
{
	size_t in = size / page, n = 3 * in;
	unsigned int order = sz2ord(size, page);
	char *q = anon_area(2 * nr_pmd, false);

	ASSERT_TRUE(p && q);
	p[0] = 1;
	p[size] = 1;
	p[2 * size] = 1;
	ASSERT_EQ(n, populated(p, n));
	ASSERT_EQ(0, look(p, n));
	EXPECT_TRUE(mapped(p, 0, n, RW | ORDER(order), 0));
	EXPECT_TRUE(orders_hold(p, n));
	ASSERT_EQ(0, look(p + page, n - 2));
	EXPECT_TRUE(mapped(p + page, in - 1, in, RW | ORDER(order), 0));
	EXPECT_TRUE(orders_hold(p + page, n - 2));
	ASSERT_EQ(0, fault(p + page, n - 2, RW));
	EXPECT_EQ(0, faults);
	EXPECT_TRUE(mapped(p + page, in - 1, in, RW | ORDER(order), 0));
	EXPECT_TRUE(orders_hold(p + page, n - 2));

	munmap(p + size + size / 2, page);
	ASSERT_EQ(0, look(p, n));
	EXPECT_TRUE(mapped(p, 0, in, RW | ORDER(order), 0));
	EXPECT_TRUE(mapped(p, in, in / 2, RW | ORDER(order - 1), 0));
	EXPECT_EQ(ERROR, pfns[in + in / 2]);
	EXPECT_TRUE(mapped(p, 2 * in, in, RW | ORDER(order), 0));
	EXPECT_TRUE(orders_hold(p, n));

	ASSERT_EQ(q + page, mremap(p, size, size, MREMAP_MAYMOVE | MREMAP_FIXED,
				   q + page));
	ASSERT_EQ(0, look(q, in + 2));
	EXPECT_TRUE(mapped(q, 1, in, RW, 0));
	ASSERT_EQ(q + pmd, mremap(p + 2 * size, size, size, MREMAP_MAYMOVE |
				  MREMAP_FIXED, q + pmd));
	ASSERT_EQ(0, look(q + pmd, in));
	EXPECT_TRUE(mapped(q + pmd, 0, in, RW | ORDER(order), 0));
	munmap(q, 2 * pmd);
}

/* Holes where such folios are to come take one fault for each. */
static void check_folio_faults(struct __test_metadata *_metadata, char *p,
			       size_t size)
{
	size_t in = size / page;

	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, fault(p + page, 2 * in, RW));
	EXPECT_EQ(3, faults);
	EXPECT_TRUE(mapped(p + page, in - 1, in, RW | ORDER(sz2ord(size, page)),
			   0));
	EXPECT_TRUE(orders_hold(p + page, 2 * in));
	EXPECT_EQ(3 * in, populated(p, 3 * in));
}

TEST_F(hmm_state_weak, anonymous_folios_of_each_size)
{
	size_t size;

	if (skipped(no_mthp()))
		return;
	for (size = next_size("enabled", page); size;
	     size = next_size("enabled", size)) {
		ksft_print_msg("size %lu kB\n", size / KB);
		thp_policy(size);
		check_folios(_metadata, anon_area(2 * nr_pmd, true), size);
		check_folio_faults(_metadata, anon_area(2 * nr_pmd, true), size);
	}
}

TEST_F(hmm_state_weak, shmem_folios_of_each_size)
{
	size_t size;

	if (skipped(no_mthp()))
		return;
	for (size = next_size("shmem_enabled", page); size;
	     size = next_size("shmem_enabled", size)) {
		ksft_print_msg("size %lu kB\n", size / KB);
		shmem_policy(size);
		check_folios(_metadata, shared_area(2 * nr_pmd, -1), size);
		check_folio_faults(_metadata, shared_area(2 * nr_pmd, -1), size);
	}
}

/* ---- PMD leaves ---- */

TEST_F(hmm_state, thp)
{
	char *p;

	if (skipped(no_thp()))
		return;
	p = anon_area(nr_pmd, true);
	ASSERT_NE(p, NULL);
	fill(p, nr_pmd);
	ASSERT_EQ(0, look(p, nr_pmd));
	EXPECT_TRUE(mapped(p, 0, nr_pmd, RW | ORDER(9), 0));
	ASSERT_EQ(0, fault(p + 9 * page, 50, RW));
	EXPECT_EQ(0, faults);
	EXPECT_TRUE(mapped(p + 9 * page, 0, 50, RW | ORDER(9), 0));

	mprotect(p, pmd, PROT_READ);
	ASSERT_EQ(0, look(p, nr_pmd));
	EXPECT_TRUE(mapped(p, 0, nr_pmd, VALID | ORDER(9), 0));
	EXPECT_EQ(-EPERM, fault(p, nr_pmd, RW));
	ASSERT_EQ(0, fault(p, nr_pmd, READ));
	EXPECT_EQ(0, faults);

	mprotect(p, pmd, PROT_NONE);
	ASSERT_EQ(0, look(p, nr_pmd));
	EXPECT_TRUE(all(0, nr_pmd, ERROR));
	EXPECT_EQ(-EFAULT, fault(p, nr_pmd, READ));
}

static void check_partly_protected(struct __test_metadata *_metadata, char *p)
{
	fill(p, nr_pmd);
	ASSERT_EQ(0, look(p, nr_pmd));
	ASSERT_TRUE(mapped(p, 0, nr_pmd, RW | ORDER(9), 0));
	mprotect(p + 64 * page, 8 * page, PROT_READ);
	ASSERT_EQ(0, fault(p, nr_pmd, READ));
	ASSERT_EQ(0, look(p, nr_pmd));
	EXPECT_TRUE(mapped(p, 64, 8, VALID, ANY_ORDER));
	EXPECT_TRUE(orders_hold(p, nr_pmd));
	EXPECT_EQ(-EPERM, fault(p, nr_pmd, RW));
	ASSERT_EQ(0, fault(p, 64, RW));
	EXPECT_TRUE(mapped(p, 0, 64, RW, ANY_ORDER));
	EXPECT_TRUE(holds(p, nr_pmd));
}

TEST_F(hmm_state, partly_protected_thp)
{
	char *p;

	if (skipped(no_thp()))
		return;
	p = anon_area(nr_pmd, true);
	ASSERT_NE(p, NULL);
	check_partly_protected(_metadata, p);
	ASSERT_EQ(0, look(p, nr_pmd));
	EXPECT_TRUE(mapped(p, 72, nr_pmd - 72, RW, ANY_ORDER));
}

static void check_partly_unmapped(struct __test_metadata *_metadata, char *p)
{
	fill(p, nr_pmd);
	munmap(p + 64 * page, 8 * page);
	madvise(p + 100 * page, page, MADV_DONTNEED);
	ASSERT_EQ(-EFAULT, fault(p, nr_pmd, READ));
	ASSERT_EQ(0, fault(p, 64, RW));
	EXPECT_TRUE(mapped(p, 0, 64, RW, ANY_ORDER));
	ASSERT_EQ(0, look(p, nr_pmd));
	EXPECT_TRUE(all(64, 8, ERROR));
	EXPECT_TRUE(orders_hold(p, nr_pmd));
	ASSERT_EQ(0, fault(p + 100 * page, 1, RW));
	EXPECT_EQ(1, faults);
	EXPECT_TRUE(mapped(p + 100 * page, 0, 1, RW, ANY_ORDER));
	EXPECT_TRUE(holds(p, 64));
}

TEST_F(hmm_state, partly_unmapped_thp)
{
	char *p;

	if (skipped(no_thp()))
		return;
	p = anon_area(nr_pmd, true);
	ASSERT_NE(p, NULL);
	check_partly_unmapped(_metadata, p);
	EXPECT_EQ(0, p[100 * page]);
}

/* The same of shared memory, where a page that is zapped is not gone. */
TEST_F(hmm_state, shmem_thp)
{
	char *p, *q, *r;

	if (skipped(no_thp()))
		return;
	shmem_policy(pmd);
	p = shared_area(nr_pmd, -1);
	q = shared_area(nr_pmd, -1);
	r = shared_area(nr_pmd, -1);
	ASSERT_TRUE(p && q && r);
	check_partly_protected(_metadata, p);
	check_partly_unmapped(_metadata, q);
	EXPECT_EQ(content(100), q[100 * page]);
	ASSERT_EQ(0, fault(r, nr_pmd, READ));
	EXPECT_TRUE(mapped(r, 0, nr_pmd, VALID | ORDER(9), WRITE));
	ASSERT_EQ(0, fault(r, nr_pmd, RW));
	EXPECT_TRUE(mapped(r, 0, nr_pmd, RW | ORDER(9), 0));
}

/* ---- hugetlb ---- */

/* A page of a private mapping: hole, read, written. */
static void check_hugetlb(struct __test_metadata *_metadata, char *p,
			  unsigned long leaf, unsigned int shift)
{
	__u64 is_leaf = ORDER(shift - 12);
	size_t n = leaf / page;

	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, look(p, n));
	EXPECT_TRUE(all(0, n, 0));
	ASSERT_EQ(0, fault(p + 3 * page, 20, READ));
	EXPECT_EQ(1, faults);
	EXPECT_TRUE(mapped(p + 3 * page, 0, 20, VALID | is_leaf, WRITE));
	ASSERT_EQ(0, fault(p, n, RW));
	EXPECT_TRUE(mapped(p, 0, n, RW | is_leaf, 0));
	ASSERT_EQ(0, look(p + 100 * page, n - 100));
	EXPECT_TRUE(mapped(p + 100 * page, 0, n - 100, RW | is_leaf, 0));
}

/* The same page shared with a child. */
static void check_hugetlb_cow(struct __test_metadata *_metadata, char *p,
			      unsigned long leaf, unsigned int shift)
{
	__u64 before, is_leaf = ORDER(shift - 12);
	size_t n = leaf / page;
	pid_t peer;

	p[5 * page] = 42;
	peer = peer_start();
	ASSERT_GT(peer, 0);
	before = PAGEMAP_PFN(pm(p));
	ASSERT_FALSE(pm(p) & PM_MMAP_EXCLUSIVE);
	ASSERT_EQ(0, look(p + 100 * page, n - 100));
	EXPECT_TRUE(mapped(p + 100 * page, 0, n - 100, VALID | is_leaf, 0));
	request_none(n);
	pfns[n - 1] = RW;
	ASSERT_EQ(0, fault_each(p, n));
	EXPECT_EQ(1, faults);
	EXPECT_TRUE(mapped(p, 0, n, RW | is_leaf, 0));
	EXPECT_NE(before, PAGEMAP_PFN(pm(p)));
	EXPECT_EQ(42, p[5 * page]);
	peer_stop(peer);
}

TEST_F(hmm_state_weak, hugetlb_2m)
{
	char *p;

	if (skipped(no_hugetlb(2 * MB, 2)))
		return;
	p = hugetlb_area(2 * MB, 21, MAP_PRIVATE);
	check_hugetlb(_metadata, p, 2 * MB, 21);
	check_hugetlb_cow(_metadata, p, 2 * MB, 21);
}

TEST_F_TIMEOUT(hmm_state_weak, hugetlb_1g, 240)
{
	char *p;

	if (skipped(no_hugetlb(GB, 1)))
		return;
	p = hugetlb_area(GB, 30, MAP_PRIVATE);
	check_hugetlb(_metadata, p, GB, 30);
}

TEST_F(hmm_state, shared_hugetlb)
{
	char *p;

	if (skipped(no_hugetlb(2 * MB, 2)))
		return;
	p = hugetlb_area(4 * MB, 21, MAP_SHARED);
	ASSERT_NE(p, NULL);
	p[pmd] = 1;
	ASSERT_EQ(0, look(p + pmd, nr_pmd));
	EXPECT_TRUE(mapped(p + pmd, 0, nr_pmd, RW | ORDER(9), 0));
	ASSERT_EQ(0, fault(p, 2 * nr_pmd, READ));
	EXPECT_TRUE(mapped(p, 0, 2 * nr_pmd, VALID | ORDER(9), WRITE));
	mprotect(p, 4 * MB, PROT_READ);
	ASSERT_EQ(0, look(p, 2 * nr_pmd));
	EXPECT_TRUE(mapped(p, 0, 2 * nr_pmd, VALID | ORDER(9), 0));
	EXPECT_EQ(-EPERM, fault(p, 2 * nr_pmd, RW));
	mprotect(p, 4 * MB, PROT_NONE);
	ASSERT_EQ(0, look(p, 2 * nr_pmd));
	EXPECT_TRUE(all(0, 2 * nr_pmd, ERROR));
	EXPECT_EQ(-EFAULT, fault(p, 2 * nr_pmd, READ));
}

/* ---- on the way out of memory ---- */

/* The first page is read back, then all are written. */
static void check_swap(struct __test_metadata *_metadata, char *p, size_t n)
{
	ASSERT_NE(p, NULL);
	fill(p, n);
	if (!page_out(p, n))
		SKIP(return, "pages do not go out: no swap");
	ASSERT_EQ(0, look(p, n));
	EXPECT_TRUE(all(0, n, 0));
	EXPECT_EQ(n * page / KB, vma_sum(p, n, "Swap:"));
	ASSERT_EQ(0, fault(p, 1, READ));
	EXPECT_TRUE(mapped(p, 0, 1, VALID, WRITE | ANY_ORDER));
	ASSERT_EQ(0, fault(p, n, RW));
	EXPECT_TRUE(mapped(p, 0, n, RW, ANY_ORDER));
	EXPECT_TRUE(holds(p, n));
	ASSERT_EQ(0, look(p, n));
	EXPECT_TRUE(mapped(p, 0, n, RW, ANY_ORDER));
}

TEST_F(hmm_state, swapped_anonymous_memory)
{
	check_swap(_metadata, anon_area(16, false), 16);
}

TEST_F(hmm_state, swapped_shared_memory)
{
	check_swap(_metadata, shared_area(16, -1), 16);
}

TEST_F(hmm_state, swapped_thp)
{
	if (skipped(no_thp()))
		return;
	check_swap(_metadata, anon_area(nr_pmd, true), nr_pmd);
}

/*
 * MADV_FREE leaves a PTE clean, and as writable as it was. Such a page is
 * present for all that the range API says. A write request that it meets does
 * not fault, so it stays free to be dropped until somebody writes to it; a
 * device does so by folio_mark_dirty().
 */
TEST_F(hmm_state, freed_pages)
{
	char *p = anon_area(8, false);

	ASSERT_NE(p, NULL);
	fill(p, 8);
	ASSERT_EQ(0, free_lazily(p, 8));
	ASSERT_EQ(0, look(p, 8));
	EXPECT_TRUE(mapped(p, 0, 8, RW, 0));
	ASSERT_EQ(0, fault(p, 8, RW));
	EXPECT_EQ(0, faults);
	EXPECT_TRUE(mapped(p, 0, 8, RW, 0));
	EXPECT_TRUE(holds(p, 4));
	p[4 * page] = 99;
	if (!page_out(p, 8))
		SKIP(return, "pages do not go out: no swap");
	EXPECT_FALSE(pm(p) & PM_SWAP);
	EXPECT_TRUE(pm(p + 4 * page) & PM_SWAP);
	ASSERT_EQ(0, fault(p, 8, READ));
	EXPECT_EQ(0, p[0]);
	EXPECT_EQ(99, p[4 * page]);
	EXPECT_EQ(content(4), p[4 * page + 1]);
}

/* Where a write request has to fault, the fault makes the page dirty. */
TEST_F(hmm_state, freed_pages_that_are_write_protected)
{
	char *p = anon_area(8, false);

	if (!softdirty_supported())
		SKIP(return, "no soft-dirty bit to protect pages by");
	ASSERT_NE(p, NULL);
	fill(p, 8);
	clear_softdirty();
	ASSERT_EQ(0, free_lazily(p, 8));
	ASSERT_EQ(0, look(p, 8));
	EXPECT_TRUE(mapped(p, 0, 8, VALID, 0));
	ASSERT_EQ(0, fault(p, 4, RW));
	EXPECT_EQ(4, faults);
	EXPECT_TRUE(mapped(p, 0, 4, RW, 0));
	ASSERT_EQ(0, fault(p + 4 * page, 4, READ));
	EXPECT_EQ(0, faults);
	if (!page_out(p, 8))
		SKIP(return, "pages do not go out: no swap");
	ASSERT_EQ(0, fault(p, 8, READ));
	EXPECT_TRUE(holds(p, 4));
	EXPECT_EQ(0, p[4 * page]);
}

TEST_F(hmm_state, cold_pages)
{
	char *p = anon_area(8, false);

	ASSERT_NE(p, NULL);
	fill(p, 8);
	ASSERT_EQ(0, madvise(p, 8 * page, MADV_COLD));
	ASSERT_EQ(0, look(p, 8));
	EXPECT_TRUE(mapped(p, 0, 8, RW, 0));
	ASSERT_EQ(0, fault(p, 8, RW));
	EXPECT_EQ(0, faults);
	EXPECT_TRUE(holds(p, 8));
}

/* ---- merged pages ---- */

TEST_F(hmm_state_weak, merged_pages)
{
	char *p = anon_area(8, false);
	__u64 merged;

	ASSERT_NE(p, NULL);
	memset(p, 0x5a, 8 * page);
	if (madvise(p, 8 * page, MADV_MERGEABLE) || ksm_start())
		SKIP(return, "no KSM (CONFIG_KSM)");
	merged = PAGEMAP_PFN(pm(p));
	ASSERT_EQ(merged, PAGEMAP_PFN(pm(p + 7 * page)));
	setting_write(KSM_DIR "/run", "0");	/* merge no more */
	ASSERT_EQ(0, look(p, 8));
	EXPECT_TRUE(mapped(p, 0, 8, VALID, 0));
	ASSERT_EQ(0, fault(p, 8, READ));
	EXPECT_EQ(0, faults);

	request_none(8);
	pfns[3] = RW;
	ASSERT_EQ(0, fault_each(p, 8));
	EXPECT_EQ(1, faults);
	EXPECT_TRUE(mapped(p, 0, 3, VALID, 0));
	EXPECT_TRUE(mapped(p, 3, 1, RW, 0));
	EXPECT_TRUE(mapped(p, 4, 4, VALID, 0));
	EXPECT_NE(merged, PAGEMAP_PFN(pm(p + 3 * page)));
	EXPECT_EQ(merged, PAGEMAP_PFN(pm(p + 2 * page)));
	EXPECT_EQ(merged, PAGEMAP_PFN(pm(p + 4 * page)));
	EXPECT_EQ(0x5a, p[3 * page]);
	ksm_stop();
}

/* ---- device memory ---- */

static const char *no_mirror(const char *path)
{
	mirror = open(path, O_RDWR | O_CLOEXEC);
	return mirror < 0 ? "no such device of test_hmm" : NULL;
}

/* A command of test_hmm: pages that it has dealt with, or an errno. */
static long mirror_call(unsigned long request, char *p, size_t n, void *data)
{
	struct hmm_dmirror_cmd cmd = {
		.addr = (uintptr_t)p,
		.ptr = (uintptr_t)data,
		.npages = n,
	};

	return ioctl(mirror, request, &cmd) ? -errno : (long)cmd.cpages;
}

static char *mirror_buffer(size_t n)
{
	return mmap(NULL, n * page, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* Whether the device's own snapshot says @prot of each page. */
static bool mirror_sees(char *p, size_t n, unsigned char prot)
{
	unsigned char *seen = (unsigned char *)mirror_buffer(n);
	bool same = true;
	size_t i;

	if (mirror_call(HMM_DMIRROR_SNAPSHOT, p, n, seen) != (long)n)
		return false;
	for (i = 0; i < n && same; i++)
		same = seen[i] == prot;
	if (!same)
		ksft_print_msg("page %zu: the device sees %x instead of %x\n",
			       i - 1, seen[i - 1], prot);
	munmap(seen, n * page);
	return same;
}

/*
 * @n pages of device-private memory. For their owner they are there, and stay
 * when it reads them. For others they are absent, and a fault on page @at with
 * @request brings it back.
 */
static void check_device_private(struct __test_metadata *_metadata, char *p,
				 size_t n, unsigned char size, size_t at,
				 __u64 request)
{
	unsigned char prot = HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL |
			     HMM_DMIRROR_PROT_WRITE | size;
	char *data = mirror_buffer(n);

	ASSERT_NE(p, NULL);
	fill(p, n);
	ASSERT_EQ(n, mirror_call(HMM_DMIRROR_MIGRATE_TO_DEV, p, n, data));
	EXPECT_TRUE(holds(data, n));
	EXPECT_TRUE(mirror_sees(p, n, prot));
	memset(data, 0, n * page);
	ASSERT_EQ(n, mirror_call(HMM_DMIRROR_READ, p, n, data));
	EXPECT_TRUE(holds(data, n));

	ASSERT_EQ(0, look(p, n));
	EXPECT_TRUE(all(0, n, 0));
	EXPECT_TRUE(mirror_sees(p, n, prot));
	EXPECT_EQ(0, populated(p, n));

	request_none(n);
	pfns[at] = request;
	ASSERT_EQ(0, fault_each(p, n));
	EXPECT_TRUE(granted(p, at, 1, request));
	ASSERT_EQ(0, fault(p, n, request));
	EXPECT_TRUE(granted(p, 0, n, request));
	EXPECT_TRUE(holds(p, n));
	munmap(data, n * page);
}

TEST_F(hmm_state, device_private_pages)
{
	if (skipped(no_mirror(PRIVATE_DEVICE)))
		return;
	check_device_private(_metadata, anon_area(8, false), 8, 0, 3, READ);
	check_device_private(_metadata, anon_area(8, false), 8, 0, 7, RW);
}

TEST_F(hmm_state_weak, device_private_thp)
{
	if (skipped(no_thp()) || skipped(no_mirror(PRIVATE_DEVICE)))
		return;
	check_device_private(_metadata, anon_area(nr_pmd, true), nr_pmd,
			     HMM_DMIRROR_PROT_PMD, 100, READ);
	check_device_private(_metadata, anon_area(nr_pmd, true), nr_pmd,
			     HMM_DMIRROR_PROT_PMD, 511, RW);
}

/* Only what was asked for comes back from device memory of single pages. */
TEST_F(hmm_state, device_private_neighbours_stay)
{
	char *p = anon_area(8, false), *data = mirror_buffer(8);

	if (skipped(no_mirror(PRIVATE_DEVICE)))
		return;
	ASSERT_NE(p, NULL);
	fill(p, 8);
	ASSERT_EQ(8, mirror_call(HMM_DMIRROR_MIGRATE_TO_DEV, p, 8, data));
	ASSERT_EQ(0, fault(p + 3 * page, 1, READ));
	/* Migration wants the mmap lock: under that of the VMA it is asked once. */
	EXPECT_GE(2, faults);
	EXPECT_EQ(1, populated(p, 8));
	EXPECT_TRUE(mirror_sees(p + 4 * page, 4,
				HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL |
				HMM_DMIRROR_PROT_WRITE));
	ASSERT_EQ(0, look(p, 8));
	EXPECT_TRUE(all(0, 3, 0));
	EXPECT_TRUE(mapped(p, 3, 1, VALID, WRITE));
	EXPECT_TRUE(all(4, 4, 0));
}

/* The CPU maps it, so it is reported like other memory and is not moved. */
TEST_F(hmm_state, device_coherent_pages)
{
	unsigned char prot = HMM_DMIRROR_PROT_DEV_COHERENT_LOCAL |
			     HMM_DMIRROR_PROT_WRITE;
	char *p = anon_area(8, false), *data = mirror_buffer(8);
	__u64 before;

	if (skipped(no_mirror(COHERENT_DEVICE)))
		return;
	ASSERT_NE(p, NULL);
	fill(p, 8);
	before = PAGEMAP_PFN(pm(p));
	ASSERT_EQ(8, mirror_call(HMM_DMIRROR_MIGRATE_TO_DEV, p, 8, data));
	EXPECT_TRUE(mirror_sees(p, 8, prot));
	EXPECT_NE(before, PAGEMAP_PFN(pm(p)));
	ASSERT_EQ(0, look(p, 8));
	EXPECT_TRUE(mapped(p, 0, 8, RW, 0));
	ASSERT_EQ(0, fault(p, 8, RW));
	EXPECT_EQ(0, faults);
	EXPECT_TRUE(mapped(p, 0, 8, RW, 0));
	EXPECT_TRUE(mirror_sees(p, 8, prot));
	EXPECT_TRUE(holds(p, 8));
}

/* Absent until a fault of others ends the exclusive access. */
TEST_F(hmm_state, device_exclusive_pages)
{
	char *p = anon_area(8, false), *data = mirror_buffer(8);
	__u64 before;

	if (skipped(no_mirror(PRIVATE_DEVICE)))
		return;
	ASSERT_NE(p, NULL);
	fill(p, 8);
	before = PAGEMAP_PFN(pm(p));
	ASSERT_EQ(8, mirror_call(HMM_DMIRROR_EXCLUSIVE, p, 8, data));
	EXPECT_TRUE(holds(data, 8));
	EXPECT_EQ(0, populated(p, 8));
	ASSERT_EQ(0, look(p, 8));
	EXPECT_TRUE(all(0, 8, 0));
	EXPECT_NE(0, mirror_call(HMM_DMIRROR_CHECK_EXCLUSIVE, p, 8, data));

	ASSERT_EQ(0, fault(p, 4, READ));
	EXPECT_EQ(4, faults);
	EXPECT_TRUE(mapped(p, 0, 4, VALID, WRITE));
	EXPECT_EQ(4, populated(p, 8));
	ASSERT_EQ(0, fault(p, 8, RW));
	EXPECT_TRUE(mapped(p, 0, 8, RW, 0));
	EXPECT_EQ(before, PAGEMAP_PFN(pm(p)));
	EXPECT_EQ(0, mirror_call(HMM_DMIRROR_CHECK_EXCLUSIVE, p, 8, data));
	EXPECT_TRUE(holds(p, 8));
}

/* ---- userfaultfd ---- */

/*
 * A fault that waits for the server. Under the caller's lock it cannot: it
 * fails, and leaves the page as it is.
 */
static void check_served(struct __test_metadata *_metadata,
			 struct uffd_server *s, char *p, size_t n,
			 __u64 request)
{
	size_t leaf = s->leaf ? s->leaf : page;
	__u64 before = pm(p);

	if (locked()) {
		EXPECT_EQ(-EFAULT, fault(p, n, request));
		EXPECT_EQ(before, pm(p));
		return;
	}
	s->stop = 0;
	s->served = 0;
	ASSERT_EQ(0, uffd_server_start(s));
	EXPECT_EQ(0, fault(p, n, request));
	uffd_server_stop(s);
	EXPECT_EQ(n * page / leaf, s->served);
	EXPECT_TRUE(granted(p, 0, n, request));
}

static void check_missing(struct __test_metadata *_metadata, char *p,
			  size_t leaf, __u64 features)
{
	struct uffd_server s = { .leaf = leaf };
	size_t n = leaf / page;

	if (skipped(no_uffd(&s.uffd, features)))
		return;
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, uffd_register(s.uffd, p, 4 * leaf, true, false, false));
	ASSERT_EQ(0, look(p, n));
	EXPECT_EQ(0, populated(p, 4 * n));
	check_served(_metadata, &s, p, 2 * n, READ);
	check_served(_metadata, &s, p + 2 * leaf, 2 * n, RW);
	EXPECT_TRUE(locked() || p[4 * leaf - 1] == 7);
}

TEST_F(hmm_state, uffd_missing)
{
	check_missing(_metadata, anon_area(4, false), page, 0);
	check_missing(_metadata, shared_area(4, -1), page,
		      UFFD_FEATURE_MISSING_SHMEM);
}

TEST_F(hmm_state, uffd_missing_hugetlb)
{
	if (skipped(no_hugetlb(2 * MB, 4)))
		return;
	check_missing(_metadata, hugetlb_area(8 * MB, 21, MAP_PRIVATE), pmd,
		      UFFD_FEATURE_MISSING_HUGETLBFS);
}

/* Pages that are in the page cache, put there through another mapping. */
static void check_minor(struct __test_metadata *_metadata, int fd, size_t leaf,
			__u64 features)
{
	struct uffd_server s = { .leaf = leaf };
	size_t n = 4 * leaf / page;
	char *p, *q;

	if (skipped(no_uffd(&s.uffd, features)))
		return;
	ASSERT_EQ(0, ftruncate(fd, 4 * leaf));
	p = shared_area(n, fd);
	q = shared_area(n, fd);
	ASSERT_TRUE(p && q);
	fill(q, n);
	ASSERT_EQ(0, uffd_register(s.uffd, p, 4 * leaf, false, false, true));
	/* A hole of hugetlb is something for hmm_state_weak. */
	ASSERT_EQ(0, look(p, n));
	EXPECT_TRUE(leaf > page || all(0, n, 0));
	check_served(_metadata, &s, p, n / 2, READ);
	check_served(_metadata, &s, p + 2 * leaf, n / 2, RW);
	EXPECT_TRUE(locked() || holds(p, n));
	munmap(p, 4 * leaf);
	munmap(q, 4 * leaf);
}

TEST_F(hmm_state, uffd_minor)
{
	check_minor(_metadata, memfd_create("hmm-state", MFD_CLOEXEC), page,
		    UFFD_FEATURE_MINOR_SHMEM);
}

TEST_F(hmm_state, uffd_minor_hugetlb)
{
	if (skipped(no_hugetlb(2 * MB, 4)))
		return;
	check_minor(_metadata, memfd_create("hmm-state", MFD_CLOEXEC |
					    MFD_HUGETLB | MFD_HUGE_2MB),
		    pmd, UFFD_FEATURE_MINOR_HUGETLBFS);
}

/* A write-protected page is there to be read; only a write asks the server. */
static void check_wp(struct __test_metadata *_metadata, char *p, size_t n,
		     size_t leaf, unsigned int order)
{
	struct uffd_server s = { .leaf = leaf };
	struct uffdio_writeprotect wp = {
		.range = { (uintptr_t)p, n * page },
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};

	if (skipped(no_uffd(&s.uffd, UFFD_FEATURE_PAGEFAULT_FLAG_WP |
				     UFFD_FEATURE_WP_HUGETLBFS_SHMEM)))
		return;
	ASSERT_NE(p, NULL);
	fill(p, n);
	ASSERT_EQ(0, uffd_register(s.uffd, p, n * page, false, true, false));
	ASSERT_EQ(0, ioctl(s.uffd, UFFDIO_WRITEPROTECT, &wp));
	ASSERT_EQ(0, look(p, n));
	EXPECT_TRUE(mapped(p, 0, n, VALID | ORDER(order), 0));
	ASSERT_EQ(0, fault(p, n, READ));
	EXPECT_EQ(0, faults);
	EXPECT_TRUE(mapped(p, 0, n, VALID | ORDER(order), 0));
	check_served(_metadata, &s, p, n, RW);
	EXPECT_EQ(locked(), !!(pm(p) & PM_UFFD_WP));
	EXPECT_TRUE(holds(p, n));
}

TEST_F(hmm_state, uffd_wp)
{
	check_wp(_metadata, anon_area(8, false), 8, page, 0);
	check_wp(_metadata, shared_area(8, -1), 8, page, 0);
}

TEST_F(hmm_state, uffd_wp_thp)
{
	if (skipped(no_thp()))
		return;
	check_wp(_metadata, anon_area(nr_pmd, true), nr_pmd, pmd, 9);
}

TEST_F(hmm_state, uffd_wp_hugetlb)
{
	if (skipped(no_hugetlb(2 * MB, 2)))
		return;
	check_wp(_metadata, hugetlb_area(4 * MB, 21, MAP_SHARED), 2 * nr_pmd,
		 pmd, 9);
}

/* Protected from any access: as absent as on a NUMA hint. */
TEST_F(hmm_state_weak, uffd_rwp)
{
	char *p = anon_area(8, false);
	struct uffdio_register reg = {
		.range = { (uintptr_t)p, 8 * page },
		.mode = UFFDIO_REGISTER_MODE_RWP,
	};
	struct uffdio_rwprotect rwp = {
		.range = reg.range,
		.mode = UFFDIO_RWPROTECT_MODE_RWP,
	};
	struct uffd_server s = { };

	if (skipped(no_uffd(&s.uffd, UFFD_FEATURE_RWP)))
		return;
	ASSERT_NE(p, NULL);
	fill(p, 8);
	ASSERT_EQ(0, ioctl(s.uffd, UFFDIO_REGISTER, &reg));
	ASSERT_EQ(0, ioctl(s.uffd, UFFDIO_RWPROTECT, &rwp));
	ASSERT_EQ(0, look(p, 8));
	EXPECT_TRUE(all(0, 8, 0));
	check_served(_metadata, &s, p, 4, READ);
	check_served(_metadata, &s, p + 4 * page, 4, RW);
	ASSERT_EQ(0, look(p, 8));
	EXPECT_TRUE(locked() ? all(0, 8, 0) : mapped(p, 0, 8, VALID, WRITE));
}

/* ---- secret memory ---- */

/* Nobody but the process may get at these: get_user_pages() refuses, too. */
TEST_F(hmm_state_weak, secret_memory)
{
	int fd = syscall(SYS_memfd_secret, O_CLOEXEC);
	int mem = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	char *p, byte;

	if (fd < 0)
		SKIP(return, "no memfd_secret() (CONFIG_SECRETMEM)");
	ASSERT_EQ(0, ftruncate(fd, 8 * page));
	p = shared_area(8, fd);
	ASSERT_NE(p, NULL);
	fill(p, 4);
	EXPECT_EQ(-1, pread(mem, &byte, 1, (uintptr_t)p));
	ASSERT_EQ(0, look(p, 8));
	EXPECT_TRUE(all(0, 8, ERROR));
	EXPECT_EQ(-EFAULT, fault(p, 1, READ));
	EXPECT_EQ(-EFAULT, fault(p + 4 * page, 1, RW));
	EXPECT_EQ(4, populated(p, 8));
	EXPECT_TRUE(holds(p, 4));
}

/* ---- observers ---- */

/* Only a write request is a write for those who count them by soft-dirty. */
TEST_F(hmm_state_weak, soft_dirty)
{
	char *p = anon_area(8, false);
	size_t i;

	if (!softdirty_supported())
		SKIP(return, "no soft-dirty bit (CONFIG_MEM_SOFT_DIRTY)");
	ASSERT_NE(p, NULL);
	fill(p, 8);
	clear_softdirty();
	ASSERT_EQ(0, look(p, 8));
	EXPECT_TRUE(mapped(p, 0, 8, VALID, 0));
	ASSERT_EQ(0, fault(p, 8, READ));
	EXPECT_EQ(0, faults);
	for (i = 0; i < 8; i++)
		EXPECT_FALSE(pm(p + i * page) & PM_SOFT_DIRTY);
	request_none(8);
	pfns[2] = RW;
	ASSERT_EQ(0, fault_each(p, 8));
	EXPECT_EQ(1, faults);
	EXPECT_TRUE(mapped(p, 2, 1, RW, 0));
	for (i = 0; i < 8; i++)
		EXPECT_EQ(i == 2, !!(pm(p + i * page) & PM_SOFT_DIRTY));
}

/* Which pages PAGEMAP_SCAN calls written; they are protected again. */
static __u64 scan_written(const char *p, size_t n)
{
	struct page_region regions[64];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
		.start = (uintptr_t)p,
		.end = (uintptr_t)p + n * page,
		.vec = (uintptr_t)regions,
		.vec_len = ARRAY_SIZE(regions),
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};
	long nr = ioctl(pagemap, PAGEMAP_SCAN, &arg);
	__u64 written = 0, at;

	if (nr < 0)
		ksft_exit_fail_msg("PAGEMAP_SCAN does not work\n");
	while (nr--)
		for (at = regions[nr].start; at < regions[nr].end; at += page)
			written |= 1ULL << (at - arg.start) / page;
	return written;
}

/* The same for those who ask PAGEMAP_SCAN under asynchronous protection. */
TEST_F(hmm_state_weak, uffd_wp_async)
{
	char *p = anon_area(8, false);
	int uffd;

	if (skipped(no_uffd(&uffd, UFFD_FEATURE_WP_ASYNC |
				   UFFD_FEATURE_WP_UNPOPULATED)))
		return;
	ASSERT_NE(p, NULL);
	fill(p, 6);
	ASSERT_EQ(0, uffd_register(uffd, p, 8 * page, false, true, false));
	EXPECT_EQ(0xff, scan_written(p, 8));
	EXPECT_EQ(0, scan_written(p, 8));
	ASSERT_EQ(0, look(p, 8));
	EXPECT_TRUE(mapped(p, 0, 6, VALID, 0));
	EXPECT_TRUE(all(6, 2, 0));
	ASSERT_EQ(0, fault(p, 6, READ));
	EXPECT_EQ(0, faults);
	EXPECT_EQ(0, scan_written(p, 8));

	request_none(8);
	pfns[2] = RW;
	pfns[7] = RW;
	ASSERT_EQ(0, fault_each(p, 8));
	EXPECT_TRUE(mapped(p, 2, 1, RW, 0));
	EXPECT_TRUE(mapped(p, 7, 1, RW, 0));
	EXPECT_EQ(1 << 2 | 1 << 7, scan_written(p, 8));
	EXPECT_TRUE(holds(p, 6));
}

/* ---- pages on the move ---- */

/* Without a pause no walk is ever faster than the next invalidation. */
#define MOVE_PAUSE_US	2000

struct mover {
	struct side	side;		/* first: what act_move() gets */
	char		*p;
	size_t		n;
	char		*data;
	bool		(*move)(struct mover *m, bool there);
	atomic_int	moves;		/* that succeeded */
};

static bool move_to_device(struct mover *m, bool there)
{
	return mirror_call(there ? HMM_DMIRROR_MIGRATE_TO_DEV :
				   HMM_DMIRROR_MIGRATE_TO_SYS,
			   m->p, m->n, m->data) >= 0;
}

/* To a new THP, and apart again. */
static bool move_to_thp(struct mover *m, bool there)
{
	if (there)
		return !madvise(m->p, m->n * page, MADV_COLLAPSE);
	return !mprotect(m->p + page, page, PROT_READ) &&
	       !mprotect(m->p + page, page, PROT_READ | PROT_WRITE);
}

static void act_move(struct side *s)
{
	struct mover *m = (struct mover *)s;

	if (m->move(m, s->rounds % 2 == 0))
		m->moves++;
	usleep(MOVE_PAUSE_US);
}

/* Whether the block of pages that the order of entry @i claims is all there. */
static bool is_whole_block(size_t n, size_t i)
{
	size_t size = 1UL << ((pfns[i] & HMM_RANGE_PFN_ORDER_MASK) >>
			      HMM_RANGE_PFN_ORDER_SHIFT);
	size_t k, first = i & ~(size - 1);

	for (k = first; k < first + size; k++)
		if (k >= n || pfns[k] - pfns[i] != k - i)
			return false;
	return true;
}

/*
 * Whether a result can be true of one moment: each page is there with a pfn of
 * its own, or absent if it may be.
 */
static bool is_consistent(size_t n, bool may_be_absent)
{
	__u64 no_flags = HMM_RANGE_PFN_MASK | ANY_ORDER | WRITE;
	size_t i, k;

	for (i = 0; i < n; i++) {
		if (!pfns[i] && may_be_absent)
			continue;
		if ((pfns[i] & ~no_flags) != VALID || !is_whole_block(n, i))
			return false;
		for (k = 0; k < i; k++)
			if (pfns[k] && !((pfns[k] ^ pfns[i]) & HMM_RANGE_PFN_MASK))
				return false;
	}
	return true;
}

/* A snapshot, or for every eighth call a fault: 0, -EBUSY, or what is wrong. */
static int call_on_moving(const struct mover *m, unsigned int call)
{
	struct hmm_range_test r = range_of(m->p, m->n);
	int ret;

	r.timeout_ms = 100;
	if (call % 8)
		r.mode = HMM_RANGE_TEST_SNAPSHOT;
	else
		r.default_flags = READ;
	ret = submit(&r);
	if (!ret && !is_consistent(m->n, call % 8))
		ret = 1;
	return ret;
}

/*
 * Calls on pages that another thread moves between two homes: for a second, and
 * on a slow machine until some of both have succeeded.
 */
static void check_moving(struct __test_metadata *_metadata, struct mover *m)
{
	unsigned int call, good = 0;
	__u64 begin = now_ms(), took;
	int ret;

	ASSERT_NE(m->p, NULL);
	m->data = mirror_buffer(m->n);
	fill(m->p, m->n);
	m->side.act = act_move;
	ASSERT_EQ(0, side_start(&m->side));
	for (call = 0; ; call++) {
		took = now_ms() - begin;
		if (took > 20000 ||
		    (took > 1000 && m->moves >= 4 && good >= 4))
			break;
		ret = call_on_moving(m, call);
		EXPECT_TRUE(ret == 0 || ret == -EBUSY);
		good += !ret;
	}
	side_stop(&m->side);
	EXPECT_GE(m->moves, 4);
	EXPECT_GE(good, 4);
	ASSERT_EQ(0, fault(m->p, m->n, READ));
	EXPECT_TRUE(mapped(m->p, 0, m->n, VALID, WRITE | ANY_ORDER));
	EXPECT_TRUE(holds(m->p, m->n));
}

TEST_F(hmm_state, moving_to_private_memory_and_back)
{
	struct mover m = {
		.p = anon_area(64, false),
		.n = 64,
		.move = move_to_device,
	};

	if (skipped(no_mirror(PRIVATE_DEVICE)))
		return;
	check_moving(_metadata, &m);
}

TEST_F(hmm_state, moving_to_coherent_memory_and_back)
{
	struct mover m = {
		.p = anon_area(64, false),
		.n = 64,
		.move = move_to_device,
	};

	if (skipped(no_mirror(COHERENT_DEVICE)))
		return;
	check_moving(_metadata, &m);
}

TEST_F(hmm_state, moving_to_thp_and_apart)
{
	struct mover m = {
		.p = anon_area(nr_pmd, true),
		.n = nr_pmd,
		.move = move_to_thp,
	};

	if (skipped(no_thp()))
		return;
	check_moving(_metadata, &m);
}

int main(int argc, char **argv)
{
	machine_save();
	return test_harness_run(argc, argv);
}
