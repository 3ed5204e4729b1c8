// SPDX-License-Identifier: GPL-2.0
/*
 * Tests of the leaf-granular output of the HMM range API through the raw device
 * of lib/test_hmm_range.c: extents, resuming after a full array, and partial
 * results.
 *
 * Most calls ask for all outputs at once. Then the pfn array is compared with
 * /proc/self/pagemap, and the extents with the array, page by page.
 *
 * 7.3 has none of this, so all of these tests fail there. Needs root. Settings
 * that are changed (huge pages) are put back at the end.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <linux/mman.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hmm_range_util.h"

#define MAX_EXTENTS	HMM_RANGE_TEST_MAX_EXTENTS
#define FLAGS		(VALID | WRITE | ERROR)

/* State of the running test; each one is a process of its own. */
static struct hmm_range_test_extent *extents, *runs, *joined;
static size_t nr_joined;

/* ---- calls with all outputs ---- */

static struct hmm_range_test_extent *extent_array(void)
{
	return mmap(NULL, MAX_EXTENTS * sizeof(*extents),
		    PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

/* A call on @n pages; there are never more extents or runs than pages. */
static struct hmm_range_test extents_of(const char *p, size_t n, size_t max)
{
	struct hmm_range_test r = range_of(p, n);

	r.extents = (uintptr_t)extents;
	r.max_extents = max < MAX_EXTENTS ? max : MAX_EXTENTS;
	r.runs = (uintptr_t)runs;
	r.max_runs = n < MAX_EXTENTS ? n : MAX_EXTENTS;
	r.flags = HMM_RANGE_TEST_RUNS;
	return r;
}

/* The same call with extents as the only output. */
static struct hmm_range_test without_pfns(struct hmm_range_test r)
{
	r.pfns = 0;
	r.npfns = 0;
	r.flags &= ~HMM_RANGE_TEST_RUNS;
	r.flags |= HMM_RANGE_TEST_NO_PFNS;
	return r;
}

static unsigned int order_of(__u64 entry)
{
	return (entry & HMM_RANGE_PFN_ORDER_MASK) >> HMM_RANGE_PFN_ORDER_SHIFT;
}

/* Leaves of the same kind: PTEs of whatever order, or one size of larger ones. */
static unsigned int class_of(__u64 entry)
{
	unsigned int order = order_of(entry);

	return 1UL << order < nr_pmd ? 0 : order;
}

/* Whether @y, which follows @x in the address space, belongs to the same run. */
static bool goes_on(const struct hmm_range_test_extent *x,
		    const struct hmm_range_test_extent *y)
{
	if ((x->entry ^ y->entry) & FLAGS)
		return false;
	if (!(x->entry & VALID))
		return true;
	return class_of(x->entry) == class_of(y->entry) &&
	       (x->entry & HMM_RANGE_PFN_MASK) + x->npages ==
	       (y->entry & HMM_RANGE_PFN_MASK);
}

/* Adds @y at the end of @x: the order is that of the smallest leaf. */
static void take_in(struct hmm_range_test_extent *x,
		    const struct hmm_range_test_extent *y)
{
	if (order_of(y->entry) < order_of(x->entry))
		x->entry = (x->entry & ~HMM_RANGE_PFN_ORDER_MASK) |
			   (y->entry & HMM_RANGE_PFN_ORDER_MASK);
	x->npages += y->npages;
}

static bool differ(const char *what, size_t i,
		   const struct hmm_range_test_extent *got,
		   const struct hmm_range_test_extent *want)
{
	if (got->start == want->start && got->npages == want->npages &&
	    got->entry == want->entry)
		return false;
	ksft_print_msg("%s %zu: %llx + %llu: %llx instead of %llx + %llu: %llx\n",
		       what, i, got->start, got->npages, got->entry,
		       want->start, want->npages, want->entry);
	return true;
}

/* The runs of the entries at @entry, up to address @end. */
static size_t find_runs(__u64 start, __u64 end, const __u64 *entry,
			struct hmm_range_test_extent *run)
{
	size_t n = 0;
	__u64 addr;

	for (addr = start; addr < end; addr += page) {
		struct hmm_range_test_extent one = {
			addr, 1, *entry++ & ~HMM_RANGE_PFN_STICKY,
		};

		if (n && goes_on(&run[n - 1], &one))
			take_in(&run[n - 1], &one);
		else
			run[n++] = one;
	}
	return n;
}

/*
 * Whether the outputs of a call that returned 0 hang together: extents are the
 * runs of the pfn array, which implies that they leave no gap and that no two
 * could be one; and so are the runs that the API itself finds.
 */
static bool consistent(const struct hmm_range_test *r)
{
	static struct hmm_range_test_extent *want;
	size_t i, n;

	if (!want)
		want = extent_array();
	if (r->next <= r->start || r->next > r->end || r->next % page ||
	    (!r->error && r->next < r->end && r->nr_extents < r->max_extents)) {
		ksft_print_msg("range %llx - %llx: next %llx, error %d, %u extents\n",
			       r->start, r->end, r->next, r->error,
			       r->nr_extents);
		return false;
	}
	n = find_runs(r->start, r->next, (__u64 *)(uintptr_t)r->pfns, want);
	if (n != r->nr_extents || n != r->nr_runs) {
		ksft_print_msg("%u extents, %u runs, there are %zu\n",
			       r->nr_extents, r->nr_runs, n);
		return false;
	}
	for (i = 0; i < n; i++)
		if (differ("extent", i, &extents[i], &want[i]) ||
		    differ("run", i, &runs[i], &want[i]))
			return false;
	return true;
}

/* Whether the pfn array is what pagemap says of present pages. */
static bool as_pagemap(const char *p, size_t n)
{
	__u64 *entry = pm_read(p, n);
	size_t i;

	for (i = 0; i < n; i++) {
		if (!(pfns[i] & VALID) ||
		    (pfns[i] & HMM_RANGE_PFN_MASK) == PAGEMAP_PFN(entry[i]))
			continue;
		ksft_print_msg("page %zu: entry %llx, pagemap %llx\n", i,
			       pfns[i], entry[i]);
		return false;
	}
	return true;
}

/*
 * Reports all of the range with all outputs, then by extents only: that has to
 * be the same. In the modes that fault, @request is asked of every page.
 */
static bool report(struct hmm_range_test *r, const char *p, size_t n,
		   __u64 request)
{
	struct hmm_range_test second;
	size_t i;

	*r = extents_of(p, n, n);
	r->default_flags = request;
	if (submit_valid(r) || r->next != r->end || r->error) {
		ksft_print_msg("result %d, next %llx of %llx, error %d\n",
			       r->result, r->next, r->end, r->error);
		return false;
	}
	if (!consistent(r) || !as_pagemap(p, n))
		return false;

	second = without_pfns(*r);
	memset(extents, 0xff, r->nr_extents * sizeof(*extents));
	if (submit_valid(&second) || second.next != second.end ||
	    second.nr_extents != r->nr_extents)
		return false;
	for (i = 0; i < r->nr_extents; i++)
		if (differ("extent alone", i, &extents[i], &runs[i]))
			return false;
	return true;
}

/* An extent to be expected: its length, and its entry without the pfn. */
struct want {
	size_t	npages;
	__u64	entry;
};

static bool extents_are(const struct hmm_range_test *r,
			const struct want *want, size_t n)
{
	size_t i;

	for (i = 0; i < n && i < r->nr_extents; i++) {
		if (extents[i].npages == want[i].npages &&
		    (extents[i].entry & ~HMM_RANGE_PFN_MASK) == want[i].entry)
			continue;
		ksft_print_msg("extent %zu: %llu pages, %llx, instead of %zu, %llx\n",
			       i, extents[i].npages, extents[i].entry,
			       want[i].npages, want[i].entry);
		return false;
	}
	if (r->nr_extents != n)
		ksft_print_msg("%u extents instead of %zu\n", r->nr_extents, n);
	return r->nr_extents == n;
}

#define EXTENTS_ARE(r, ...)						\
	extents_are(r, (struct want[]) { __VA_ARGS__ },			\
		    ARRAY_SIZE(((struct want[]) { __VA_ARGS__ })))

/* ---- random ---- */

static __u64 seed;

/* The same sequence on every run: xorshift. */
static size_t random_below(size_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % n;
}

/* Populates @n pages one by one in random order, where that is possible. */
static void populate_shuffled(char *p, size_t n, int advice)
{
	size_t *at = malloc(n * sizeof(*at));
	size_t i, k;

	for (i = 0; i < n; i++) {
		k = random_below(i + 1);
		at[i] = at[k];
		at[k] = i;
	}
	for (i = 0; i < n; i++)
		madvise(p + at[i] * page, page, advice);
	free(at);
}

/* ---- fixtures ---- */

static void extent_setup(struct __test_metadata *_metadata,
			 enum hmm_range_test_mode mode)
{
	if (skipped(range_setup()))
		return;
	fault_mode = mode;
	seed = 0x9e3779b97f4a7c15ULL;
	extents = extent_array();
	runs = extent_array();
	joined = extent_array();
	ASSERT_NE(extents, MAP_FAILED);
	ASSERT_NE(runs, MAP_FAILED);
	ASSERT_NE(joined, MAP_FAILED);
}

/* hmm_extent: what is there already, once with each entry point. */
FIXTURE(hmm_extent) { };
FIXTURE_VARIANT(hmm_extent) { enum hmm_range_test_mode mode; };
FIXTURE_VARIANT_ADD(hmm_extent, snapshot) {
	.mode = HMM_RANGE_TEST_SNAPSHOT,
};

FIXTURE_VARIANT_ADD(hmm_extent, locked) {
	.mode = HMM_RANGE_TEST_FAULT_LOCKED,
};

FIXTURE_VARIANT_ADD(hmm_extent, unlocked) {
	.mode = HMM_RANGE_TEST_FAULT_UNLOCKED,
};

FIXTURE_SETUP(hmm_extent)
{
	extent_setup(_metadata, variant->mode);
}

FIXTURE_TEARDOWN(hmm_extent) { }

/* hmm_extent_fault: what is made present by the call. */
FIXTURE(hmm_extent_fault) { };
FIXTURE_VARIANT(hmm_extent_fault) { enum hmm_range_test_mode mode; };
FIXTURE_VARIANT_ADD(hmm_extent_fault, locked) {
	.mode = HMM_RANGE_TEST_FAULT_LOCKED,
};

FIXTURE_VARIANT_ADD(hmm_extent_fault, unlocked) {
	.mode = HMM_RANGE_TEST_FAULT_UNLOCKED,
};

FIXTURE_SETUP(hmm_extent_fault)
{
	extent_setup(_metadata, variant->mode);
}

FIXTURE_TEARDOWN(hmm_extent_fault) { }

/* ---- each kind of leaf ---- */

/* Small pages that are not next to each other: next to no runs. */
TEST_F(hmm_extent, scattered_small_pages)
{
	char *p = anon_area(nr_pmd, false);
	struct hmm_range_test r;

	ASSERT_NE(p, NULL);
	populate_shuffled(p, nr_pmd, MADV_POPULATE_WRITE);
	ASSERT_EQ(nr_pmd, populated(p, nr_pmd));
	ASSERT_TRUE(report(&r, p, nr_pmd, READ));
	EXPECT_TRUE(mapped(p, 0, nr_pmd, RW, ANY_ORDER));
	EXPECT_GT(r.nr_extents, nr_pmd / 2);
}

/* PTEs of a split THP go on physically: one run, whatever blocks they form. */
TEST_F(hmm_extent, contiguous_small_pages)
{
	size_t half = nr_pmd / 2;
	struct hmm_range_test r;
	char *p;

	if (skipped(no_thp()))
		return;
	p = anon_area(nr_pmd, true);
	ASSERT_NE(p, NULL);
	p[0] = 1;
	mprotect(p, page, PROT_READ);
	ASSERT_TRUE(report(&r, p, nr_pmd, 0));
	EXPECT_TRUE(EXTENTS_ARE(&r, { 1, VALID }, { nr_pmd - 1, RW }));
	ASSERT_TRUE(report(&r, p + half * page, half, RW));
	EXPECT_TRUE(EXTENTS_ARE(&r, { half, RW | ORDER(8) }));
	/* Blocks are looked for in the range; the smallest one counts. */
	ASSERT_TRUE(report(&r, p + (half + 5) * page, 3, RW));
	EXPECT_TRUE(EXTENTS_ARE(&r, { 3, RW }));
	ASSERT_TRUE(report(&r, p + (half + 4) * page, 4, RW));
	EXPECT_TRUE(EXTENTS_ARE(&r, { 4, RW | ORDER(2) }));
}

#define SPLIT_FILE	"/sys/kernel/debug/split_huge_pages"

static const char *no_split(void)
{
	return access(SPLIT_FILE, W_OK) ? "no debugfs at /sys/kernel/debug" : NULL;
}

/* Splits the folio of a THP, or leaves it whole while somebody else has it. */
static bool split_folio(struct hmm_range_test *r, char *p)
{
	char command[80];
	int tries;

	snprintf(command, sizeof(command), "%d,0x%lx,0x%lx", getpid(),
		 (unsigned long)p, (unsigned long)p + pmd);
	for (tries = 0; tries < 50; tries++) {
		setting_write(SPLIT_FILE, command);
		if (!report(r, p, nr_pmd, 0))
			return false;
		if (!order_of(extents[0].entry))
			return true;
		usleep(10000);
	}
	return false;
}

/* Folios of one page that happen to be next to each other are one run as well. */
TEST_F(hmm_extent, contiguous_small_folios)
{
	struct hmm_range_test r;
	char *p;

	if (skipped(no_thp()) || skipped(no_split()))
		return;
	p = anon_area(nr_pmd, true);
	ASSERT_NE(p, NULL);
	/* Pages of nothing but zeroes would be replaced by the zero page. */
	memset(p, 1, pmd);
	ASSERT_TRUE(split_folio(&r, p));
	EXPECT_TRUE(EXTENTS_ARE(&r, { nr_pmd, RW }));
	ASSERT_TRUE(report(&r, p, nr_pmd, RW));
	EXPECT_TRUE(EXTENTS_ARE(&r, { nr_pmd, RW }));
}

/* Folios of 64K: runs of whole ones, none of a smaller order. */
TEST_F(hmm_extent, mthp)
{
	size_t i, in_folio = MTHP_SIZE / page;
	struct hmm_range_test r;
	char *p;

	if (skipped(no_mthp()))
		return;
	thp_policy(MTHP_SIZE);
	p = anon_area(nr_pmd, true);
	ASSERT_NE(p, NULL);
	memset(p, 1, pmd);
	ASSERT_TRUE(report(&r, p, nr_pmd, RW));
	EXPECT_LE(r.nr_extents, nr_pmd / in_folio);
	for (i = 0; i < r.nr_extents; i++) {
		EXPECT_EQ(RW | ORDER(4),
			  extents[i].entry & ~HMM_RANGE_PFN_MASK);
		EXPECT_EQ(0, extents[i].npages % in_folio);
	}
}

#define PAIR_ROUNDS	8
#define PAIR_THPS	32	/* per round */

/*
 * Two THPs that are next to each other in both senses, or NULL. Nothing can be
 * done about where they come from but to take more, with free memory joined
 * before. What was taken in vain stays, or it would be handed out again.
 */
static char *thp_pair(void)
{
	int round;
	char *p;
	size_t i;

	for (round = 0; round < PAIR_ROUNDS; round++) {
		if (round)
			setting_write("/proc/sys/vm/compact_memory", "1");
		p = anon_area(PAIR_THPS * nr_pmd, true);
		if (!p)
			return NULL;
		p[0] = 1;
		for (i = 1; i < PAIR_THPS; i++, p += pmd) {
			p[pmd] = 1;
			if (PAGEMAP_PFN(pm(p)) + nr_pmd ==
			    PAGEMAP_PFN(pm(p + pmd)))
				return p;
		}
	}
	return NULL;
}

static bool no_thp_pair(struct __test_metadata *_metadata, char **p)
{
	if (skipped(no_thp()))
		return true;
	*p = thp_pair();
	return skipped(*p ? NULL :
		       "no physically contiguous THPs, not even after compaction");
}

TEST_F(hmm_extent, contiguous_thps_are_one)
{
	struct hmm_range_test r;
	char *p;

	if (no_thp_pair(_metadata, &p))
		return;
	ASSERT_TRUE(report(&r, p, 2 * nr_pmd, RW));
	EXPECT_TRUE(EXTENTS_ARE(&r, { 2 * nr_pmd, RW | ORDER(9) }));
	ASSERT_TRUE(report(&r, p + 5 * page, 2 * nr_pmd - 10, RW));
	EXPECT_TRUE(EXTENTS_ARE(&r, { 2 * nr_pmd - 10, RW | ORDER(9) }));

	/* A VMA is no reason to begin a new one. */
	madvise(p + pmd, pmd, MADV_DONTFORK);
	ASSERT_TRUE(report(&r, p, 2 * nr_pmd, RW));
	EXPECT_TRUE(EXTENTS_ARE(&r, { 2 * nr_pmd, RW | ORDER(9) }));
}

/* The same two in the other order. */
TEST_F(hmm_extent, swapped_thps_are_two)
{
	struct hmm_range_test r;
	char *p, *q;

	if (no_thp_pair(_metadata, &p))
		return;
	q = anon_area(2 * nr_pmd, true);
	ASSERT_NE(q, NULL);
	ASSERT_EQ(q + pmd, mremap(p, pmd, pmd, MREMAP_MAYMOVE | MREMAP_FIXED,
				  q + pmd));
	ASSERT_EQ(q, mremap(p + pmd, pmd, pmd, MREMAP_MAYMOVE | MREMAP_FIXED,
			    q));
	ASSERT_TRUE(report(&r, q, 2 * nr_pmd, RW));
	EXPECT_TRUE(EXTENTS_ARE(&r, { nr_pmd, RW | ORDER(9) },
				{ nr_pmd, RW | ORDER(9) }));
}

/* PTEs and a PMD are invalidated in different ways, so they are never one run. */
TEST_F(hmm_extent, ptes_and_contiguous_thp_are_two)
{
	struct hmm_range_test r;
	char *p;

	if (no_thp_pair(_metadata, &p))
		return;
	mprotect(p, page, PROT_READ);
	ASSERT_TRUE(report(&r, p, 2 * nr_pmd, READ));
	EXPECT_TRUE(EXTENTS_ARE(&r, { 1, VALID }, { nr_pmd - 1, RW },
				{ nr_pmd, RW | ORDER(9) }));
}

TEST_F(hmm_extent, hugetlb)
{
	struct hmm_range_test r;
	size_t i;
	char *p;

	if (skipped(no_hugetlb(2 * MB, 4)))
		return;
	p = hugetlb_area(8 * MB, 21, MAP_PRIVATE);
	ASSERT_NE(p, NULL);
	for (i = 0; i < 4; i++)
		p[i * 2 * MB] = 1;
	ASSERT_TRUE(report(&r, p, 8 * MB / page, RW));
	EXPECT_LE(r.nr_extents, 4);
	for (i = 0; i < r.nr_extents; i++)
		EXPECT_EQ(RW | ORDER(9),
			  extents[i].entry & ~HMM_RANGE_PFN_MASK);
}

/* Two holes with a page between, in huge pages. */
TEST_F(hmm_extent, hugetlb_holes)
{
	struct hmm_range_test r;
	char *p;

	if (skipped(no_hugetlb(2 * MB, 5)))
		return;
	p = hugetlb_area(10 * MB, 21, MAP_PRIVATE);
	ASSERT_NE(p, NULL);
	p[2 * pmd] = 1;
	ASSERT_TRUE(report(&r, p + 7 * page, 5 * nr_pmd - 7, 0));
	EXPECT_TRUE(EXTENTS_ARE(&r, { 2 * nr_pmd - 7, 0 },
				{ nr_pmd, RW | ORDER(9) },
				{ 2 * nr_pmd, 0 }));
}

TEST_F_TIMEOUT(hmm_extent, hugetlb_1g_is_one, 120)
{
	struct hmm_range_test r;
	char *p;

	if (skipped(no_hugetlb(GB, 1)))
		return;
	p = hugetlb_area(GB, 30, MAP_PRIVATE);
	ASSERT_NE(p, NULL);
	p[0] = 1;
	r = without_pfns(extents_of(p, GB / page, 1));
	r.default_flags = RW;
	ASSERT_EQ(0, submit_valid(&r));
	EXPECT_EQ(r.end, r.next);
	EXPECT_TRUE(EXTENTS_ARE(&r, { GB / page, RW | ORDER(18) }));
	EXPECT_EQ(PAGEMAP_PFN(pm(p)), extents[0].entry & HMM_RANGE_PFN_MASK);

	r = without_pfns(extents_of(p + 9 * page, 600, 1));
	ASSERT_EQ(0, submit_valid(&r));
	EXPECT_TRUE(EXTENTS_ARE(&r, { 600, RW | ORDER(18) }));
	EXPECT_EQ(PAGEMAP_PFN(pm(p)) + 9,
		  extents[0].entry & HMM_RANGE_PFN_MASK);
}

/* Without a pfn array there is no limit on the size of the range. */
TEST_F(hmm_extent, large_range)
{
	size_t n = 16 * GB / page;
	struct hmm_range_test r;
	char *p = mmap(NULL, n * page, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	ASSERT_NE(p, MAP_FAILED);
	madvise(p, n * page, MADV_NOHUGEPAGE);
	r = without_pfns(extents_of(p, n, 8));
	ASSERT_EQ(0, submit_valid(&r));
	EXPECT_TRUE(EXTENTS_ARE(&r, { n, 0 }));
	EXPECT_EQ(r.start, extents[0].start);

	p[5 * GB] = 1;
	munmap(p + 9 * GB, 2 * GB);
	ASSERT_EQ(0, submit_valid(&r));
	EXPECT_EQ(r.end, r.next);
	EXPECT_TRUE(EXTENTS_ARE(&r, { 5 * GB / page, 0 }, { 1, RW },
				{ 4 * GB / page - 1, 0 },
				{ 2 * GB / page, ERROR }, { 5 * GB / page, 0 }));
}

/* ---- what is not there, and permissions ---- */

TEST_F(hmm_extent, holes_errors_and_permissions)
{
	char *p = anon_area(64, false);
	struct hmm_range_test r;

	ASSERT_NE(p, NULL);
	mprotect(p + 10 * page, 10 * page, PROT_NONE);
	munmap(p + 20 * page, 10 * page);
	ASSERT_EQ(0, madvise(p + 30 * page, 10 * page, MADV_GUARD_INSTALL));
	p[50 * page] = 1;
	p[51 * page] = 1;
	mprotect(p + 51 * page, page, PROT_READ);
	ASSERT_TRUE(report(&r, p, 64, 0));
	/* No access, no mapping and guards are alike: no fault helps. */
	EXPECT_TRUE(EXTENTS_ARE(&r, { 10, 0 }, { 30, ERROR }, { 10, 0 },
				{ 1, RW }, { 1, VALID }, { 12, 0 }));
}

/* Contiguous pages whose permission alternates. */
TEST_F(hmm_extent, permission_ends_a_run)
{
	struct hmm_range_test r;
	char *p;

	if (skipped(no_thp()))
		return;
	p = anon_area(nr_pmd, true);
	ASSERT_NE(p, NULL);
	p[0] = 1;
	mprotect(p + 8 * page, 8 * page, PROT_READ);
	ASSERT_TRUE(report(&r, p, 32, READ));
	EXPECT_TRUE(EXTENTS_ARE(&r, { 8, RW | ORDER(3) },
				{ 8, VALID | ORDER(3) },
				{ 16, RW | ORDER(4) }));
}

/* The small zero page is the same pfn each time, so it never goes on. */
TEST_F(hmm_extent, zero_pages_are_one_each)
{
	char *p = anon_area(16, false);
	struct hmm_range_test r;
	size_t i;

	ASSERT_NE(p, NULL);
	madvise(p, 16 * page, MADV_POPULATE_READ);
	ASSERT_TRUE(report(&r, p, 16, READ));
	EXPECT_EQ(16, r.nr_extents);
	for (i = 0; i < 16; i++)
		EXPECT_EQ(VALID | zero_pfn(), extents[i].entry);
}

TEST_F(hmm_extent, huge_zero_pages_are_one_each)
{
	struct hmm_range_test r;
	char *p;

	if (skipped(no_thp()))
		return;
	p = anon_area(2 * nr_pmd, true);
	ASSERT_NE(p, NULL);
	madvise(p, 2 * pmd, MADV_POPULATE_READ);
	ASSERT_TRUE(report(&r, p, 2 * nr_pmd, READ));
	EXPECT_TRUE(EXTENTS_ARE(&r, { nr_pmd, VALID | ORDER(9) },
				{ nr_pmd, VALID | ORDER(9) }));
}

/* Flags of the DMA layer stay in the array: no extent has or is split by them. */
TEST_F(hmm_extent, dma_flags_are_not_in_extents)
{
	struct hmm_range_test r;
	char *p;
	int i;

	if (skipped(no_thp()))
		return;
	p = anon_area(nr_pmd, true);
	ASSERT_NE(p, NULL);
	p[0] = 1;
	r = extents_of(p, 16, 4);
	request_none(16);
	for (i = 3; i < 7; i++)
		pfns[i] = HMM_RANGE_PFN_STICKY;
	ASSERT_EQ(0, submit_valid(&r));
	EXPECT_TRUE(consistent(&r));
	EXPECT_TRUE(EXTENTS_ARE(&r, { 16, RW | ORDER(9) }));
	for (i = 0; i < 16; i++)
		EXPECT_EQ(i >= 3 && i < 7 ? HMM_RANGE_PFN_STICKY : 0,
			  pfns[i] & HMM_RANGE_PFN_STICKY);
}

/* ---- full arrays ---- */

/* Puts the extents of a call behind those of the calls before it. */
static void join(const struct hmm_range_test *r)
{
	size_t i;

	for (i = 0; i < r->nr_extents; i++) {
		if (nr_joined && goes_on(&joined[nr_joined - 1], &extents[i]))
			take_in(&joined[nr_joined - 1], &extents[i]);
		else
			joined[nr_joined++] = extents[i];
	}
}

/*
 * The range by calls with arrays of @max entries, each of which begins where the
 * one before has stopped, into joined[]. pfns[] holds requests and is not touched
 * in between.
 */
static bool by_parts(const char *p, size_t n, unsigned int max)
{
	size_t done = 0;

	nr_joined = 0;
	while (done < n) {
		struct hmm_range_test r = extents_of(p + done * page, n - done,
						     max);

		r.pfns = (uintptr_t)&pfns[done];
		r.pfn_flags_mask = RW;
		if (submit_valid(&r) || r.error || !consistent(&r)) {
			ksft_print_msg("page %zu: result %d, error %d\n", done,
				       r.result, r.error);
			return false;
		}
		join(&r);
		done = (r.next - (uintptr_t)p) / page;
	}
	return true;
}

/* Whether joined[] is what one call with a large array reports. */
static bool as_in_one(const char *p, size_t n)
{
	struct hmm_range_test r = extents_of(p, n, n);
	size_t i;

	r.mode = HMM_RANGE_TEST_SNAPSHOT;
	if (submit_valid(&r) || !consistent(&r) || !as_pagemap(p, n))
		return false;
	if (r.nr_extents != nr_joined) {
		ksft_print_msg("%u extents at once, %zu by parts\n",
			       r.nr_extents, nr_joined);
		return false;
	}
	for (i = 0; i < nr_joined; i++)
		if (differ("joined extent", i, &joined[i], &extents[i]))
			return false;
	return true;
}

/* One change at a random place of @n pages, half of which may have huge ones. */
static void random_change(char *p, size_t n)
{
	size_t len = 1 + random_below(random_below(4) ? 40 : n / 2);
	char *q = p + random_below(n - len) * page;

	switch (random_below(9)) {
	case 0:
		munmap(q, (1 + len / 4) * page);
		return;
	case 1:
		mprotect(q, len * page, PROT_READ);
		return;
	case 2:
		mprotect(q, len * page, PROT_NONE);
		return;
	case 3:
		mprotect(q, len * page, PROT_READ | PROT_WRITE);
		return;
	case 4:
		madvise(q, len * page, MADV_DONTNEED);
		return;
	case 5:
		madvise(q, (1 + len / 4) * page, MADV_GUARD_INSTALL);
		return;
	case 6:
		populate_shuffled(q, len, MADV_POPULATE_READ);
		return;
	default:
		populate_shuffled(q, len, MADV_POPULATE_WRITE);
	}
}

static char *random_layout(size_t n)
{
	char *p = anon_area(n, false);
	int i;

	if (!p)
		return NULL;
	madvise(p + n / 2 * page, n / 2 * page, MADV_HUGEPAGE);
	for (i = 0; i < 24; i++)
		random_change(p, n);
	return p;
}

/* Asks for each page that a fault can make readable. */
static bool request_possible(const char *p, size_t n)
{
	size_t i;

	if (snapshot(p, n))
		return false;
	for (i = 0; i < n; i++)
		pfns[i] = pfns[i] & ERROR ? 0 : READ;
	return true;
}

/* Any layout: the outputs are consistent, and parts add up to the whole. */
TEST_F_TIMEOUT(hmm_extent, random_layouts_by_parts, 300)
{
	unsigned int sizes[] = { 1, 64 };
	size_t i, n = 2 * nr_pmd;
	int layout;
	char *p;

	thp_policy(pmd | MTHP_SIZE);
	for (layout = 0; layout < 12; layout++) {
		p = random_layout(n);
		ASSERT_NE(p, NULL);
		/* The small array comes when there is most to fault in. */
		sizes[0] = 1 + layout % 3;
		for (i = 0; i < ARRAY_SIZE(sizes); i++) {
			ASSERT_TRUE(request_possible(p, n));
			ASSERT_TRUE(by_parts(p, n, sizes[i])) {
				TH_LOG("layout %d, arrays of %u", layout,
				       sizes[i]);
			}
			ASSERT_TRUE(as_in_one(p, n)) {
				TH_LOG("layout %d, arrays of %u", layout,
				       sizes[i]);
			}
		}
		munmap(p, n * page);
	}
}

/* A full array is no error, also when it is full at the end of the range. */
TEST_F(hmm_extent, full_array)
{
	char *p = anon_area(16, false);
	struct hmm_range_test r;

	ASSERT_NE(p, NULL);
	madvise(p, 16 * page, MADV_POPULATE_READ);
	r = extents_of(p, 16, 5);
	r.default_flags = READ;
	ASSERT_EQ(0, submit_valid(&r));
	EXPECT_TRUE(consistent(&r));
	EXPECT_EQ(5, r.nr_extents);
	EXPECT_EQ((uintptr_t)p + 5 * page, r.next);
	EXPECT_EQ(0, r.error);

	r = extents_of(p, 16, 16);
	ASSERT_EQ(0, submit_valid(&r));
	EXPECT_EQ(16, r.nr_extents);
	EXPECT_EQ(r.end, r.next);
}

/* A VMA that cannot be used does not fit any more either. */
TEST_F(hmm_extent, full_array_before_unreadable_vma)
{
	char *p = anon_area(24, false);
	struct hmm_range_test r;
	size_t n;

	ASSERT_NE(p, NULL);
	mprotect(p + 8 * page, 8 * page, PROT_NONE);
	/* It is the last thing in the range, then something follows. */
	for (n = 16; n <= 24; n += 8) {
		r = extents_of(p, n, 1);
		ASSERT_EQ(0, submit_valid(&r));
		EXPECT_TRUE(consistent(&r));
		EXPECT_TRUE(EXTENTS_ARE(&r, { 8, 0 }));
		EXPECT_EQ((uintptr_t)p + 8 * page, r.next);
		EXPECT_EQ(0, r.error);

		r = without_pfns(r);
		ASSERT_EQ(0, submit_valid(&r));
		EXPECT_TRUE(EXTENTS_ARE(&r, { 8, 0 }));
		EXPECT_EQ((uintptr_t)p + 8 * page, r.next);
	}
}

/* The last run is reported as long as it is, even if nothing else fits. */
TEST_F(hmm_extent, full_array_has_a_whole_last_run)
{
	char *p = anon_area(3 * nr_pmd, false);
	struct hmm_range_test r;

	ASSERT_NE(p, NULL);
	p[(nr_pmd + 100) * page] = 1;
	r = extents_of(p, 3 * nr_pmd, 1);
	ASSERT_EQ(0, submit_valid(&r));
	EXPECT_TRUE(EXTENTS_ARE(&r, { nr_pmd + 100, 0 }));
	EXPECT_EQ((uintptr_t)p + (nr_pmd + 100) * page, r.next);
}

/* What was not done holds its requests again. */
TEST_F(hmm_extent_fault, full_array_keeps_later_requests)
{
	char *p = anon_area(32, false);
	struct hmm_range_test r;
	size_t i;

	ASSERT_NE(p, NULL);
	for (i = 0; i < 32; i++)
		pfns[i] = (i % 2 ? READ : 0) |
			  (i % 3 ? 0 : HMM_RANGE_PFN_STICKY);
	r = extents_of(p, 32, 7);
	r.pfn_flags_mask = RW;
	ASSERT_EQ(0, submit_valid(&r));
	EXPECT_TRUE(consistent(&r));
	EXPECT_EQ((uintptr_t)p + 7 * page, r.next);
	for (i = 0; i < 32; i++) {
		EXPECT_EQ(i % 3 ? 0 : HMM_RANGE_PFN_STICKY,
			  pfns[i] & HMM_RANGE_PFN_STICKY);
		if (i >= 7)
			EXPECT_EQ(i % 2 ? READ : 0, pfns[i] & RW);
	}
}

/* Nothing is faulted in behind the leaf that did not fit any more. */
static void check_no_further(struct __test_metadata *_metadata, const char *p,
			     size_t n, size_t leaf, __u64 request)
{
	unsigned int max;

	for (max = 1; max < 4; max++) {
		struct hmm_range_test r = extents_of(p, n, max);

		madvise((char *)p, n * page, MADV_DONTNEED);
		r.default_flags = request;
		ASSERT_EQ(0, submit_valid(&r));
		EXPECT_TRUE(consistent(&r));
		EXPECT_EQ(max, r.nr_extents);
		EXPECT_LE(populated(p, n), (r.next - r.start) / page + leaf);
	}
}

TEST_F(hmm_extent_fault, full_array_stops_faults)
{
	char *p = anon_area(64, false);

	ASSERT_NE(p, NULL);
	check_no_further(_metadata, p, 64, 1, READ);
}

TEST_F(hmm_extent_fault, full_array_stops_faults_of_thps)
{
	char *p;

	if (skipped(no_thp()))
		return;
	p = anon_area(8 * nr_pmd, true);
	ASSERT_NE(p, NULL);
	check_no_further(_metadata, p, 8 * nr_pmd, nr_pmd, READ);
}

/* Faulted memory of each kind, by extents only. */
TEST_F_TIMEOUT(hmm_extent_fault, one_fault_and_extent_for_1g, 120)
{
	struct hmm_range_test r;
	char *p;

	if (skipped(no_hugetlb(GB, 1)))
		return;
	p = hugetlb_area(GB, 30, MAP_PRIVATE);
	ASSERT_NE(p, NULL);
	memset(extents, 0, page);
	r = without_pfns(extents_of(p, GB / page, 4));
	r.default_flags = RW;
	ASSERT_EQ(0, submit_valid(&r));
	EXPECT_EQ(1, faults);
	EXPECT_TRUE(EXTENTS_ARE(&r, { GB / page, RW | ORDER(18) }));
}

TEST_F(hmm_extent_fault, holes_of_each_kind)
{
	struct hmm_range_test r;
	size_t n = 2 * nr_pmd;
	char *p;

	if (skipped(no_thp()) || skipped(no_mthp()))
		return;
	p = anon_area(n, false);
	ASSERT_NE(p, NULL);
	ASSERT_TRUE(report(&r, p, n, RW));
	EXPECT_TRUE(mapped(p, 0, n, RW, 0));
	madvise(p, n * page, MADV_DONTNEED);
	madvise(p, n * page, MADV_HUGEPAGE);
	thp_policy(MTHP_SIZE);
	ASSERT_TRUE(report(&r, p, n, RW));
	EXPECT_TRUE(mapped(p, 0, n, RW | ORDER(4), 0));
	madvise(p, n * page, MADV_DONTNEED);
	thp_policy(pmd);
	ASSERT_TRUE(report(&r, p, n, RW));
	EXPECT_TRUE(mapped(p, 0, n, RW | ORDER(9), 0));
}

/* ---- partial results ---- */

enum failure {
	FAIL_NO_VMA,
	FAIL_NO_ACCESS,
	FAIL_READ_ONLY,
	FAIL_GUARD,
	FAIL_BEYOND_EOF,
	FAIL_POISON,
};

#define BAD_PAGES	16

/* hmm_partial: page @at of 16 fails for the reason that the variant names. */
FIXTURE(hmm_partial) {
	unsigned long poisoned;
};

FIXTURE_VARIANT(hmm_partial) { enum failure why; };
FIXTURE_VARIANT_ADD(hmm_partial, no_vma) { .why = FAIL_NO_VMA };
FIXTURE_VARIANT_ADD(hmm_partial, no_access) { .why = FAIL_NO_ACCESS };
FIXTURE_VARIANT_ADD(hmm_partial, read_only) { .why = FAIL_READ_ONLY };
FIXTURE_VARIANT_ADD(hmm_partial, guard) { .why = FAIL_GUARD };
FIXTURE_VARIANT_ADD(hmm_partial, beyond_eof) { .why = FAIL_BEYOND_EOF };
FIXTURE_VARIANT_ADD(hmm_partial, poison) { .why = FAIL_POISON };

FIXTURE_SETUP(hmm_partial)
{
	self->poisoned = 0;
	extent_setup(_metadata, HMM_RANGE_TEST_FAULT_UNLOCKED);
}

FIXTURE_TEARDOWN(hmm_partial)
{
	if (self->poisoned)
		unpoison_memory(self->poisoned);
}

static char *shared_file_area(size_t len, size_t size)
{
	int fd = memfd_create("hmm-extent", MFD_CLOEXEC);
	char *p = NULL;

	if (fd >= 0 && !ftruncate(fd, size))
		p = area(len, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	close(fd);
	return p;
}

static void ignore_sigbus(int sig)
{
}

static unsigned long poison(char *p)
{
	unsigned long pfn;

	signal(SIGBUS, ignore_sigbus);
	*p = 1;
	pfn = PAGEMAP_PFN(pm(p));
	return madvise(p, page, MADV_HWPOISON) ? 0 : pfn;
}

/* 16 pages of which page @at fails a write, and all after it if beyond EOF. */
static char *bad_area(enum failure why, size_t at, unsigned long *poisoned)
{
	char *p, *bad;
	int ret = 0;

	if (why == FAIL_BEYOND_EOF)
		return shared_file_area(BAD_PAGES * page, at * page);
	p = anon_area(BAD_PAGES, false);
	if (!p)
		return NULL;
	bad = p + at * page;
	switch (why) {
	case FAIL_NO_VMA:
		ret = munmap(bad, page);
		break;
	case FAIL_NO_ACCESS:
		ret = mprotect(bad, page, PROT_NONE);
		break;
	case FAIL_READ_ONLY:
		ret = mprotect(bad, page, PROT_READ);
		break;
	case FAIL_GUARD:
		ret = madvise(bad, page, MADV_GUARD_INSTALL);
		break;
	default:
		*poisoned = poison(bad);
		ret = *poisoned ? 0 : -1;
	}
	return ret ? NULL : p;
}

static bool expected_errno(enum failure why, int error)
{
	switch (why) {
	case FAIL_READ_ONLY:
		return error == -EPERM;
	case FAIL_POISON:
		return error == -EHWPOISON || error == -EFAULT;
	default:
		return error == -EFAULT;
	}
}

/* A call for write that can stop early. */
static struct hmm_range_test partial_of(const char *p, size_t n)
{
	struct hmm_range_test r = extents_of(p, n, n);

	r.default_flags = RW;
	r.flags |= HMM_RANGE_TEST_PARTIAL;
	return r;
}

/* What a call that fails as a whole has to say. */
static bool failed(const struct hmm_range_test *r, enum failure why)
{
	if (expected_errno(why, r->result) && r->error == r->result &&
	    r->next == r->start && !r->nr_extents)
		return true;
	ksft_print_msg("result %d, error %d, next %llx of %llx, %u extents\n",
		       r->result, r->error, r->next, r->start, r->nr_extents);
	return false;
}

/* What one that stopped before page @at has to say. */
static bool stopped(const struct hmm_range_test *r, enum failure why, size_t at)
{
	if (!r->result && expected_errno(why, r->error) &&
	    r->next == r->start + at * page)
		return true;
	ksft_print_msg("result %d, error %d, next %llx of %llx\n", r->result,
		       r->error, r->next, r->start);
	return false;
}

/* The first page fails: nothing to report, whether partly or not. */
TEST_F(hmm_partial, first_page)
{
	char *p = bad_area(variant->why, 0, &self->poisoned);
	struct hmm_range_test r;
	int mode, flags;

	ASSERT_NE(p, NULL);
	for (mode = HMM_RANGE_TEST_FAULT_LOCKED;
	     mode <= HMM_RANGE_TEST_FAULT_UNLOCKED; mode++) {
		for (flags = 0; flags < 2; flags++) {
			r = partial_of(p, BAD_PAGES);
			r.mode = mode;
			if (flags)
				r = without_pfns(r);
			submit_valid(&r);
			EXPECT_TRUE(failed(&r, variant->why));
			r.flags &= ~HMM_RANGE_TEST_PARTIAL;
			submit_valid(&r);
			EXPECT_TRUE(failed(&r, variant->why));
		}
	}
}

/* What is before it is reported, be it there already or faulted in. */
TEST_F(hmm_partial, page_in_the_middle)
{
	char *p = bad_area(variant->why, 7, &self->poisoned);
	struct hmm_range_test r;
	int mode, there;

	ASSERT_NE(p, NULL);
	for (mode = HMM_RANGE_TEST_FAULT_LOCKED;
	     mode <= HMM_RANGE_TEST_FAULT_UNLOCKED; mode++) {
		for (there = 0; there < 8; there++) {
			madvise(p, 7 * page, MADV_DONTNEED);
			madvise(p, there * page, MADV_POPULATE_WRITE);
			r = partial_of(p, BAD_PAGES);
			r.mode = mode;
			submit_valid(&r);
			EXPECT_TRUE(stopped(&r, variant->why, 7));
			EXPECT_TRUE(consistent(&r));
			EXPECT_TRUE(mapped(p, 0, 7, RW, 0));

			r = without_pfns(r);
			submit_valid(&r);
			EXPECT_TRUE(stopped(&r, variant->why, 7));
			/* From there it fails. */
			r.start = r.next;
			submit_valid(&r);
			EXPECT_TRUE(failed(&r, variant->why));
		}
	}
}

/* Not asked for: all fails, and nothing is reported. */
TEST_F(hmm_partial, page_in_the_middle_of_a_whole)
{
	char *p = bad_area(variant->why, 7, &self->poisoned);
	struct hmm_range_test r;
	int mode;

	ASSERT_NE(p, NULL);
	for (mode = HMM_RANGE_TEST_FAULT_LOCKED;
	     mode <= HMM_RANGE_TEST_FAULT_UNLOCKED; mode++) {
		r = partial_of(p, BAD_PAGES);
		r.flags &= ~HMM_RANGE_TEST_PARTIAL;
		r.mode = mode;
		submit_valid(&r);
		EXPECT_TRUE(failed(&r, variant->why));
	}
}

/*
 * A page behind a full array is none of the call's business, be it partial or
 * not. Before it, present and absent pages alternate.
 */
TEST_F(hmm_partial, page_behind_a_full_array)
{
	char *p = bad_area(variant->why, 7, &self->poisoned);
	struct hmm_range_test r;
	unsigned int max;
	size_t i;
	int part;

	ASSERT_NE(p, NULL);
	for (max = 1; max <= 6; max++) {
		for (part = 0; part < 2; part++) {
			for (i = 0; i < BAD_PAGES; i++)
				pfns[i] = i < 7 && i % 2 ? 0 : RW;
			madvise(p, 7 * page, MADV_DONTNEED);
			if (variant->why == FAIL_BEYOND_EOF)
				madvise(p, 7 * page, MADV_REMOVE);
			r = partial_of(p, BAD_PAGES);
			r.default_flags = 0;
			r.pfn_flags_mask = RW;
			r.max_extents = max;
			if (!part)
				r.flags &= ~HMM_RANGE_TEST_PARTIAL;
			EXPECT_EQ(0, submit_valid(&r));
			EXPECT_TRUE(consistent(&r));
			EXPECT_EQ(max, r.nr_extents);
			EXPECT_EQ(r.start + max * page, r.next);
			EXPECT_EQ(0, r.error);
		}
	}
}

/* Only pages that were asked for can fail. */
TEST_F(hmm_partial, page_not_asked_for)
{
	char *p = bad_area(variant->why, 7, &self->poisoned);
	struct hmm_range_test r;
	size_t i;

	ASSERT_NE(p, NULL);
	for (i = 0; i < BAD_PAGES; i++)
		pfns[i] = i < 7 ? RW : 0;
	r = partial_of(p, BAD_PAGES);
	r.default_flags = 0;
	r.pfn_flags_mask = RW;
	EXPECT_EQ(0, submit_valid(&r));
	EXPECT_EQ(r.end, r.next);
	EXPECT_EQ(0, r.error);
	EXPECT_TRUE(consistent(&r));
	EXPECT_TRUE(mapped(p, 0, 7, RW, 0));
}

/* ---- arguments ---- */

static bool refused(struct hmm_range_test r)
{
	submit_valid(&r);
	if (r.result == -EINVAL && r.error == -EINVAL && r.next == r.start &&
	    !r.nr_extents)
		return true;
	ksft_print_msg("result %d, error %d, next %llx of %llx, %u extents\n",
		       r.result, r.error, r.next, r.start, r.nr_extents);
	return false;
}

TEST_F(hmm_extent, no_output_is_refused)
{
	char *p = anon_area(8, false);
	struct hmm_range_test r = without_pfns(extents_of(p, 8, 4));

	EXPECT_EQ(0, submit_valid(&r));
	r.extents = 0;
	EXPECT_TRUE(refused(r));
	r.max_extents = 0;
	EXPECT_TRUE(refused(r));
}

TEST_F(hmm_extent, array_of_no_size_is_refused)
{
	char *p = anon_area(8, false);

	EXPECT_TRUE(refused(extents_of(p, 8, 0)));
	EXPECT_TRUE(refused(without_pfns(extents_of(p, 8, 0))));
}

TEST_F(hmm_extent, bad_range_is_refused)
{
	char *p = anon_area(8, false);
	struct hmm_range_test good = extents_of(p, 8, 8), r = good;

	good.notifier_start = (uintptr_t)p;
	good.notifier_length = 8 * page;
	r = good;
	r.end = r.start;
	EXPECT_TRUE(refused(r));
	r = good;
	r.start += 8;
	EXPECT_TRUE(refused(r));
	r = good;
	r.end -= 8;
	EXPECT_TRUE(refused(r));
	r = good;
	r.notifier_length -= page;
	EXPECT_TRUE(refused(r));
}

/* Requests in an array that is not there. */
TEST_F(hmm_extent_fault, mask_without_array_is_refused)
{
	char *p = anon_area(8, false);
	struct hmm_range_test r = without_pfns(extents_of(p, 8, 8));

	r.pfn_flags_mask = RW;
	EXPECT_TRUE(refused(r));
	r.default_flags = READ;
	r.pfn_flags_mask = WRITE;
	EXPECT_TRUE(refused(r));
	EXPECT_EQ(0, populated(p, 8));
}

/* Without extents and partial, the outputs are those of a whole call. */
TEST_F(hmm_extent, call_without_extents_sets_next)
{
	char *p = anon_area(8, false);
	struct hmm_range_test r = range_of(p, 8);

	EXPECT_EQ(0, submit_valid(&r));
	EXPECT_EQ(r.end, r.next);
	EXPECT_EQ(0, r.error);
	EXPECT_EQ(0, r.nr_extents);
}

int main(int argc, char **argv)
{
	machine_save();
	return test_harness_run(argc, argv);
}
