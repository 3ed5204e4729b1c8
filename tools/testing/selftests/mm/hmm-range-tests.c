// SPDX-License-Identifier: GPL-2.0
/*
 * Tests of the HMM range API through the raw device of lib/test_hmm_range.c:
 * what hmm_range_snapshot(), hmm_range_fault() and
 * hmm_range_fault_unlocked_timeout() report, and what they do to the mapping.
 *
 * What the device says is never taken on trust: entries are compared with
 * /proc/self/pagemap, contents with what was written, and the number of faults
 * with the calling thread's count of completed ones.
 *
 * Fixtures whose name ends in _weak hold what the range layer of 7.3 gets
 * wrong: their tests fail there. All others hold on both. Needs root. Settings
 * that are changed (huge pages, swap) are put back at the end.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mman.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hmm_range_util.h"

/* Poison and guard markers fail with one or the other, by what they stand for. */
static bool is_poison_errno(int ret)
{
	return ret == -EFAULT || ret == -EHWPOISON;
}

/* ---- fixtures ---- */

/* hmm_range*: tests that call a fault function, once with each of the two. */
FIXTURE(hmm_range) { };
FIXTURE_VARIANT(hmm_range) { enum hmm_range_test_mode mode; };
FIXTURE_VARIANT_ADD(hmm_range, locked) {
	.mode = HMM_RANGE_TEST_FAULT_LOCKED,
};

FIXTURE_VARIANT_ADD(hmm_range, unlocked) {
	.mode = HMM_RANGE_TEST_FAULT_UNLOCKED,
};

FIXTURE_SETUP(hmm_range)
{
	fault_mode = variant->mode;
	(void)skipped(range_setup());
}

FIXTURE_TEARDOWN(hmm_range) { }

FIXTURE(hmm_range_weak) { };
FIXTURE_VARIANT(hmm_range_weak) { enum hmm_range_test_mode mode; };
FIXTURE_VARIANT_ADD(hmm_range_weak, locked) {
	.mode = HMM_RANGE_TEST_FAULT_LOCKED,
};

FIXTURE_VARIANT_ADD(hmm_range_weak, unlocked) {
	.mode = HMM_RANGE_TEST_FAULT_UNLOCKED,
};

FIXTURE_SETUP(hmm_range_weak)
{
	fault_mode = variant->mode;
	(void)skipped(range_setup());
}

FIXTURE_TEARDOWN(hmm_range_weak) { }

/* hmm_snapshot*: what is reported. Faults there only set the scene. */
FIXTURE(hmm_snapshot) { };
FIXTURE_SETUP(hmm_snapshot)
{
	fault_mode = HMM_RANGE_TEST_FAULT_UNLOCKED;
	(void)skipped(range_setup());
}

FIXTURE_TEARDOWN(hmm_snapshot) { }

FIXTURE(hmm_snapshot_weak) { };
FIXTURE_SETUP(hmm_snapshot_weak)
{
	fault_mode = HMM_RANGE_TEST_FAULT_UNLOCKED;
	(void)skipped(range_setup());
}

FIXTURE_TEARDOWN(hmm_snapshot_weak) { }

/* hmm_retry*: only hmm_range_fault_unlocked_timeout() retries by itself. */
FIXTURE(hmm_retry) { };
FIXTURE_SETUP(hmm_retry)
{
	fault_mode = HMM_RANGE_TEST_FAULT_UNLOCKED;
	(void)skipped(range_setup());
}

FIXTURE_TEARDOWN(hmm_retry) { }

FIXTURE(hmm_retry_weak) { };
FIXTURE_SETUP(hmm_retry_weak)
{
	fault_mode = HMM_RANGE_TEST_FAULT_UNLOCKED;
	(void)skipped(range_setup());
}

FIXTURE_TEARDOWN(hmm_retry_weak) { }

/* ---- one fault per leaf ---- */

/* A hole that a THP fills is filled by a single fault. */
TEST_F(hmm_range_weak, thp_hole_takes_one_fault)
{
	char *p;

	if (skipped(no_thp()))
		return;
	p = anon_area(nr_pmd, true);
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, fault(p, nr_pmd, RW));
	EXPECT_EQ(1, faults);
	EXPECT_TRUE(mapped(p, 0, nr_pmd, RW | ORDER(9), 0));

	/* Reading takes one as well, and gets the huge zero page. */
	p = anon_area(nr_pmd, true);
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, fault(p, nr_pmd, READ));
	EXPECT_EQ(1, faults);
	EXPECT_TRUE(mapped(p, 0, nr_pmd, VALID | ORDER(9), 0));
}

/* N of them take N, also when the range begins and ends inside one. */
TEST_F(hmm_range_weak, thp_holes_take_one_fault_each)
{
	size_t skip = 100;
	char *p;

	if (skipped(no_thp()))
		return;
	p = anon_area(4 * nr_pmd, true);
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, fault(p + skip * page, 4 * nr_pmd - 2 * skip, RW));
	EXPECT_EQ(4, faults);
	EXPECT_TRUE(mapped(p + skip * page, 0, 4 * nr_pmd - 2 * skip,
			   RW | ORDER(9), 0));
	EXPECT_EQ(4 * nr_pmd, populated(p, 4 * nr_pmd));
}

/* The same for hugetlb. */
TEST_F(hmm_range_weak, hugetlb_holes_take_one_fault_each)
{
	char *p;

	if (skipped(no_hugetlb(2 * MB, 3)))
		return;
	p = hugetlb_area(6 * MB, 21, MAP_PRIVATE);
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, fault(p, 6 * MB / page, RW));
	EXPECT_EQ(3, faults);
	EXPECT_TRUE(mapped(p, 0, 6 * MB / page, RW | ORDER(9), 0));
}

TEST_F_TIMEOUT(hmm_range_weak, hugetlb_1g_hole_takes_one_fault, 120)
{
	char *p;

	if (skipped(no_hugetlb(GB, 1)))
		return;
	p = hugetlb_area(GB, 30, MAP_PRIVATE);
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, fault(p, GB / page, RW));
	EXPECT_EQ(1, faults);
	EXPECT_TRUE(mapped(p, 0, GB / page, RW | ORDER(18), 0));
}

/* One fault for each 64K folio that it installs. */
TEST_F(hmm_range_weak, mthp_holes_take_one_fault_each)
{
	char *p;

	if (skipped(no_mthp()))
		return;
	thp_policy(MTHP_SIZE);
	p = anon_area(nr_pmd, true);
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, fault(p, nr_pmd, RW));
	EXPECT_EQ(pmd / MTHP_SIZE, faults);
	EXPECT_TRUE(mapped(p, 0, nr_pmd, RW, ANY_ORDER));
}

/*
 * A folio that is naturally aligned and wholly mapped by PTEs is reported with
 * its order in each of its entries, also in a range that begins or ends in it.
 */
TEST_F(hmm_snapshot_weak, mthp_is_reported_with_its_order)
{
	size_t i, in_folio = MTHP_SIZE / page;
	char *p;

	if (skipped(no_mthp()))
		return;
	thp_policy(MTHP_SIZE);
	p = anon_area(nr_pmd, true);
	ASSERT_NE(p, NULL);
	for (i = 0; i < 4; i++)
		p[i * MTHP_SIZE] = 1;
	ASSERT_EQ(4 * in_folio, populated(p, nr_pmd));

	ASSERT_EQ(0, snapshot(p, nr_pmd));
	EXPECT_TRUE(mapped(p, 0, 4 * in_folio, RW | ORDER(4), 0));
	EXPECT_TRUE(all(4 * in_folio, nr_pmd - 4 * in_folio, 0));

	/* Blocks are looked for in the range: one is whole, two are cut. */
	ASSERT_EQ(0, snapshot(p + 8 * page, 32));
	EXPECT_TRUE(mapped(p + 8 * page, 0, 8, RW | ORDER(3), 0));
	EXPECT_TRUE(mapped(p + 8 * page, 8, 16, RW | ORDER(4), 0));
	EXPECT_TRUE(mapped(p + 8 * page, 24, 8, RW | ORDER(3), 0));
}

/* ---- exactly what was asked for ---- */

/* Three pages of an empty PMD range: three are populated, the rest stays. */
TEST_F(hmm_range_weak, three_scattered_pages_populate_exactly_three)
{
	static const size_t at[] = { 5, 200, 511 };
	char *p = anon_area(nr_pmd, false);
	size_t i;

	ASSERT_NE(p, NULL);
	request_none(nr_pmd);
	for (i = 0; i < ARRAY_SIZE(at); i++)
		pfns[at[i]] = RW;
	ASSERT_EQ(0, fault_each(p, nr_pmd));
	EXPECT_EQ(3, faults);
	EXPECT_EQ(3, populated(p, nr_pmd));
	EXPECT_TRUE(all(0, 5, 0));
	EXPECT_TRUE(all(6, 194, 0));
	EXPECT_TRUE(all(201, 310, 0));
	for (i = 0; i < ARRAY_SIZE(at); i++)
		EXPECT_TRUE(mapped(p, at[i], 1, RW, 0));
}

/* Requests before, between and behind present pages fault nothing else. */
TEST_F(hmm_range_weak, requests_among_present_pages_are_exact)
{
	static const size_t there[] = { 10, 20, 30 }, ask[] = { 9, 15, 31, 400 };
	char *p = anon_area(nr_pmd, false);
	size_t i;

	ASSERT_NE(p, NULL);
	for (i = 0; i < ARRAY_SIZE(there); i++)
		p[there[i] * page] = 1;
	request_none(nr_pmd);
	pfns[20] = READ;	/* satisfied already */
	for (i = 0; i < ARRAY_SIZE(ask); i++)
		pfns[ask[i]] = i % 2 ? RW : READ;
	ASSERT_EQ(0, fault_each(p, nr_pmd));
	EXPECT_EQ(ARRAY_SIZE(ask), faults);
	EXPECT_EQ(ARRAY_SIZE(there) + ARRAY_SIZE(ask), populated(p, nr_pmd));
	for (i = 0; i < ARRAY_SIZE(there); i++)
		EXPECT_TRUE(mapped(p, there[i], 1, RW, 0));
	for (i = 0; i < ARRAY_SIZE(ask); i++)
		EXPECT_TRUE(mapped(p, ask[i], 1, i % 2 ? RW : VALID, 0));
	EXPECT_TRUE(all(0, 9, 0));
	EXPECT_TRUE(all(21, 9, 0));
	EXPECT_TRUE(all(401, 111, 0));
}

/* Write-requests page @at of a range shared with a child: only it is copied. */
static void check_cow(struct __test_metadata *_metadata, char *p, size_t n,
		      size_t at)
{
	__u64 *before = malloc(n * sizeof(*before)), *after;
	__u64 got;
	size_t i;

	memcpy(before, pm_read(p, n), n * sizeof(*before));
	ASSERT_EQ(0, fault_each(p, n));
	after = pm_read(p, n);
	for (i = 0; i < n; i++) {
		if (!(before[i] & PM_PRESENT))
			continue;
		got = PAGEMAP_PFN(after[i]);
		ASSERT_EQ(i != at, PAGEMAP_PFN(before[i]) == got);
	}
	EXPECT_TRUE(mapped(p, at, 1, RW, 0));
	free(before);
}

/* A write request on one page of a copy-on-write range copies that page. */
TEST_F(hmm_range_weak, write_request_copies_one_cow_page)
{
	char *p = anon_area(64, false);
	pid_t peer;

	ASSERT_NE(p, NULL);
	memset(p, 0x5a, 64 * page);
	peer = peer_start();
	request_none(64);
	pfns[17] = RW;
	check_cow(_metadata, p, 64, 17);
	EXPECT_TRUE(mapped(p, 0, 17, VALID, ANY_ORDER));
	EXPECT_TRUE(mapped(p, 18, 46, VALID, ANY_ORDER));
	EXPECT_EQ(0x5a, p[17 * page]);
	peer_stop(peer);
}

/* Also when the walk has met an absent page with another request before. */
TEST_F(hmm_range_weak, write_request_behind_absent_page_copies_one)
{
	char *p = anon_area(64, false);
	pid_t peer;

	ASSERT_NE(p, NULL);
	memset(p + 8 * page, 0x5a, 56 * page);
	peer = peer_start();
	request_none(64);
	pfns[3] = READ;
	pfns[40] = RW;
	check_cow(_metadata, p, 64, 40);
	EXPECT_EQ(57, populated(p, 64));
	EXPECT_TRUE(mapped(p, 3, 1, VALID, 0));
	peer_stop(peer);
}

/* A shared THP is split for the one page that is to be written. */
TEST_F(hmm_range_weak, write_request_copies_one_page_of_cow_thp)
{
	char *p;
	pid_t peer;

	if (skipped(no_thp()))
		return;
	p = anon_area(nr_pmd, true);
	ASSERT_NE(p, NULL);
	memset(p, 0x5a, pmd);
	ASSERT_EQ(0, snapshot(p, nr_pmd));
	ASSERT_TRUE(mapped(p, 0, nr_pmd, RW | ORDER(9), 0));
	peer = peer_start();
	request_none(nr_pmd);
	pfns[77] = RW;
	check_cow(_metadata, p, nr_pmd, 77);
	EXPECT_EQ(0x5a, p[77 * page]);
	peer_stop(peer);
}

/* A page that is only to be read is not write-faulted for its neighbour's sake. */
TEST_F(hmm_range_weak, read_request_beside_write_gets_zero_page)
{
	__u64 zero = zero_pfn();
	char *p = anon_area(16, false);
	struct hmm_range_test r;

	/* First in an empty page table, then with one that has entries. */
	ASSERT_NE(p, NULL);
	request_none(16);
	pfns[4] = RW;
	pfns[5] = READ;
	ASSERT_EQ(0, fault_each(p, 16));
	EXPECT_TRUE(mapped(p, 4, 1, RW, 0));
	EXPECT_TRUE(mapped(p, 5, 1, VALID, 0));
	EXPECT_EQ(zero, PAGEMAP_PFN(pm(p + 5 * page)));

	/* Read by default, one page written: the example of hmm.rst. */
	r = range_of(p + 8 * page, 8);
	r.default_flags = READ;
	r.pfn_flags_mask = WRITE;
	request_none(8);
	pfns[2] = WRITE;
	ASSERT_EQ(0, submit_valid(&r));
	EXPECT_TRUE(mapped(p + 8 * page, 2, 1, RW, 0));
	EXPECT_EQ(zero, PAGEMAP_PFN(pm(p + 9 * page)));
	EXPECT_EQ(zero, PAGEMAP_PFN(pm(p + 11 * page)));
}

/* Swapped pages stay out unless they were asked for. */
TEST_F(hmm_range_weak, read_request_brings_in_one_swapped_page)
{
	char *p = anon_area(16, false);
	int left;
	size_t i;

	ASSERT_NE(p, NULL);
	for (i = 0; i < 16; i++)
		p[i * page] = i + 1;
	if (!page_out(p, 16))
		SKIP(return, "pages do not go out: no swap");
	ASSERT_EQ(0, snapshot(p, 16));
	EXPECT_TRUE(all(0, 16, 0));

	request_none(16);
	pfns[6] = READ;
	ASSERT_EQ(0, fault_each(p, 16));
	EXPECT_TRUE(mapped(p, 6, 1, VALID, WRITE));
	for (i = 0, left = 0; i < 16; i++)
		left += !!(pm(p + i * page) & PM_SWAP);
	EXPECT_EQ(15, left);
	EXPECT_EQ(7, p[6 * page]);
}

/* A guard page that nobody asked for does not fail a fault on its neighbours. */
TEST_F(hmm_range_weak, guard_page_beside_requests_is_left_alone)
{
	char *p = anon_area(8, false);

	ASSERT_NE(p, NULL);
	if (madvise(p + 3 * page, page, MADV_GUARD_INSTALL))
		SKIP(return, "no MADV_GUARD_INSTALL");
	request_none(8);
	pfns[2] = RW;
	pfns[4] = RW;
	ASSERT_EQ(0, fault_each(p, 8));
	EXPECT_EQ(2, populated(p, 8));
	EXPECT_TRUE(mapped(p, 2, 1, RW, 0));
	EXPECT_TRUE(mapped(p, 4, 1, RW, 0));
	EXPECT_EQ(ERROR, pfns[3]);
}

/* Each entry of a huge page counts as a request, not just the first. */
TEST_F(hmm_range_weak, hugetlb_later_entry_is_faulted)
{
	char *p;

	if (skipped(no_hugetlb(2 * MB, 3)))
		return;
	p = hugetlb_area(6 * MB, 21, MAP_PRIVATE);
	ASSERT_NE(p, NULL);
	request_none(3 * nr_pmd);
	pfns[100] = RW;
	pfns[3 * nr_pmd - 1] = RW;
	ASSERT_EQ(0, fault_each(p, 3 * nr_pmd));
	EXPECT_EQ(2, faults);
	EXPECT_TRUE(mapped(p, 0, nr_pmd, RW | ORDER(9), 0));
	EXPECT_TRUE(all(nr_pmd, nr_pmd, 0));
	EXPECT_FALSE(present(p + pmd));
	EXPECT_TRUE(mapped(p, 2 * nr_pmd, nr_pmd, RW | ORDER(9), 0));
}

/* So does a write request, on a huge page that fork made read-only. */
TEST_F(hmm_range_weak, hugetlb_later_entry_is_copied_for_writing)
{
	__u64 before;
	pid_t peer;
	char *p;

	if (skipped(no_hugetlb(2 * MB, 2)))
		return;
	p = hugetlb_area(2 * MB, 21, MAP_PRIVATE);
	ASSERT_NE(p, NULL);
	memset(p, 0x5a, 2 * MB);
	peer = peer_start();
	before = PAGEMAP_PFN(pm(p));
	ASSERT_EQ(0, snapshot(p, nr_pmd));
	EXPECT_TRUE(mapped(p, 0, nr_pmd, VALID | ORDER(9), 0));

	request_none(nr_pmd);
	pfns[300] = RW;
	ASSERT_EQ(0, fault_each(p, nr_pmd));
	EXPECT_TRUE(mapped(p, 0, nr_pmd, RW | ORDER(9), 0));
	EXPECT_NE(before, PAGEMAP_PFN(pm(p)));
	EXPECT_EQ(0x5a, p[300 * page]);
	peer_stop(peer);
}

/* ---- arguments ---- */

static int raw_call(const char *start, const char *end, const char *watch,
		    size_t watch_len, enum hmm_range_test_mode mode)
{
	struct hmm_range_test r = range_of(start, 0);

	r.end = (uintptr_t)end;
	r.npfns = 16;
	r.notifier_start = (uintptr_t)watch;
	r.notifier_length = watch_len;
	r.mode = mode;
	return submit_valid(&r);
}

/* The device itself refuses what it cannot hand on. */
TEST_F(hmm_range, device_refuses_bad_arguments)
{
	char *p = anon_area(8, false);
	struct hmm_range_test good = range_of(p, 8), r;

#define EXPECT_REFUSED(error, field, value) do {			\
	r = good;							\
	r.field = value;						\
	EXPECT_EQ(-1, ioctl(dev, HMM_RANGE_TEST_CALL, &r));		\
	EXPECT_EQ(error, errno);					\
} while (0)
	EXPECT_REFUSED(EINVAL, npfns, 0);
	EXPECT_REFUSED(EINVAL, npfns, 7);
	EXPECT_REFUSED(EINVAL, npfns, HMM_RANGE_TEST_MAX_PFNS + 1);
	EXPECT_REFUSED(EINVAL, end, ~0ULL);
	EXPECT_REFUSED(EINVAL, end, good.start);	/* and no notifier */
	EXPECT_REFUSED(EINVAL, mode, 3);
	EXPECT_REFUSED(EINVAL, flags, HMM_RANGE_TEST_FLAGS + 1);
	EXPECT_REFUSED(EINVAL, reserved, 1);
	EXPECT_REFUSED(EINVAL, timeout_ms, HMM_RANGE_TEST_MAX_TIMEOUT_MS + 1);
	EXPECT_REFUSED(EFAULT, pfns, 0);
	good.notifier_start = good.start;
	EXPECT_REFUSED(EOVERFLOW, notifier_length, ~0ULL);
	good.flags = HMM_RANGE_TEST_POISON;
	EXPECT_REFUSED(EINVAL, pfn_flags_mask, READ);
#undef EXPECT_REFUSED
	EXPECT_EQ(-1, ioctl(dev, _IO('H', 0x2f), &good));
	EXPECT_EQ(ENOTTY, errno);
}

/* start and end have to be page aligned. */
TEST_F(hmm_range_weak, unaligned_range_is_refused)
{
	enum hmm_range_test_mode modes[] = { HMM_RANGE_TEST_SNAPSHOT, fault_mode };
	char *p = anon_area(8, false);
	size_t i, len = 8 * page;

	ASSERT_NE(p, NULL);
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(-EINVAL, raw_call(p + 1, p + page, p, len, modes[i]));
		EXPECT_EQ(-EINVAL, raw_call(p, p + page + 8, p, len, modes[i]));
		EXPECT_EQ(-EINVAL, raw_call(p + 16, p + page + 16, p, len,
					    modes[i]));
	}
}

/* The notifier has to cover the range, or invalidations would be missed. */
TEST_F(hmm_range_weak, range_outside_notifier_is_refused)
{
	enum hmm_range_test_mode modes[] = { HMM_RANGE_TEST_SNAPSHOT, fault_mode };
	char *p = anon_area(16, false), *watch = p + 4 * page;
	size_t i, len = 4 * page;

	ASSERT_NE(p, NULL);
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(0, raw_call(watch, watch + len, watch, len, modes[i]));
		EXPECT_EQ(-EINVAL, raw_call(watch - page, watch + len, watch,
					    len, modes[i]));
		EXPECT_EQ(-EINVAL, raw_call(watch, watch + len + page, watch,
					    len, modes[i]));
		EXPECT_EQ(-EINVAL, raw_call(p + 10 * page, p + 11 * page, watch,
					    len, modes[i]));
	}
}

TEST_F(hmm_range, empty_or_reversed_range_is_refused)
{
	enum hmm_range_test_mode modes[] = { HMM_RANGE_TEST_SNAPSHOT, fault_mode };
	char *p = anon_area(8, false);
	size_t i, len = 8 * page;

	ASSERT_NE(p, NULL);
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(-EINVAL, raw_call(p, p, p, len, modes[i]));
		EXPECT_EQ(-EINVAL, raw_call(p + 2 * page, p + page, p, len,
					    modes[i]));
	}
}

/* With a mask of 0 whatever is in the array has no effect. */
TEST_F(hmm_range, garbage_in_array_has_no_effect)
{
	struct hmm_range_test r;
	char *p = anon_area(16, false);

	ASSERT_NE(p, NULL);
	p[0] = 1;
	r = range_of(p, 16);
	r.flags = HMM_RANGE_TEST_POISON;
	ASSERT_EQ(0, submit_valid(&r));
	EXPECT_EQ(1, populated(p, 16));
	EXPECT_TRUE(mapped(p, 0, 1, RW, 0));
	EXPECT_TRUE(all(1, 15, 0));

	r = range_of(p, 16);
	r.flags = HMM_RANGE_TEST_POISON;
	r.default_flags = READ;
	ASSERT_EQ(0, submit_valid(&r));
	EXPECT_TRUE(mapped(p, 0, 1, RW, 0));
	EXPECT_TRUE(mapped(p, 1, 15, VALID, 0));
	EXPECT_EQ(zero_pfn(), PAGEMAP_PFN(pm(p + 8 * page)));
}

/* ---- faults of each kind of memory ---- */

TEST_F(hmm_range, anonymous_memory_is_faulted)
{
	char *p = anon_area(600, false);
	__u64 pfn;

	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, fault(p, 300, READ));
	EXPECT_TRUE(mapped(p, 0, 300, VALID, 0));
	pfn = PAGEMAP_PFN(pm(p));

	/* Writing replaces the zero page, and goes on where nothing was. */
	ASSERT_EQ(0, fault(p, 600, RW));
	EXPECT_TRUE(mapped(p, 0, 600, RW, 0));
	EXPECT_NE(pfn, PAGEMAP_PFN(pm(p)));
	EXPECT_EQ(0, p[0]);
}

TEST_F(hmm_range, address_without_mapping_fails_with_efault)
{
	char *p = anon_area(8, false);

	ASSERT_NE(p, NULL);
	munmap(p + 4 * page, page);
	EXPECT_EQ(-EFAULT, fault(p, 8, READ));
	EXPECT_EQ(-EFAULT, fault(p + 4 * page, 1, RW));
}

TEST_F(hmm_range, write_to_read_only_mapping_fails_with_eperm)
{
	char *p = anon_area(8, false);

	ASSERT_NE(p, NULL);
	p[0] = 1;
	mprotect(p, 8 * page, PROT_READ);
	EXPECT_EQ(-EPERM, fault(p, 1, RW));
	EXPECT_EQ(-EPERM, fault(p + 4 * page, 1, RW));
	EXPECT_EQ(1, populated(p, 8));
	EXPECT_EQ(0, fault(p, 8, READ));
	EXPECT_TRUE(mapped(p, 0, 8, VALID, 0));
}

TEST_F(hmm_range, inaccessible_mapping_fails_with_efault)
{
	char *p = anon_area(8, false);

	ASSERT_NE(p, NULL);
	p[0] = 1;
	mprotect(p, 8 * page, PROT_NONE);
	EXPECT_EQ(-EFAULT, fault(p, 8, READ));
	EXPECT_EQ(-EFAULT, fault(p + 4 * page, 1, RW));
}

/* Requests on the mapped parts of a range are served, holes left out. */
TEST_F(hmm_range, requests_around_a_hole_are_served)
{
	char *p = anon_area(16, false);

	ASSERT_NE(p, NULL);
	munmap(p + 4 * page, 2 * page);
	mprotect(p + 8 * page, 2 * page, PROT_READ);
	mprotect(p + 12 * page, 2 * page, PROT_NONE);
	request_none(16);
	pfns[0] = RW;
	pfns[1] = RW;
	pfns[8] = READ;
	pfns[9] = READ;
	pfns[14] = READ;
	pfns[15] = READ;
	ASSERT_EQ(0, fault_each(p, 16));
	EXPECT_TRUE(mapped(p, 0, 2, RW, 0));
	EXPECT_TRUE(all(4, 2, ERROR));
	EXPECT_TRUE(mapped(p, 8, 2, VALID, 0));
	EXPECT_TRUE(all(12, 2, ERROR));
	EXPECT_TRUE(mapped(p, 14, 2, VALID, 0));
}

/* A requested guard page fails the call, and nothing else is touched by it. */
TEST_F(hmm_range, guard_page_fails_with_efault)
{
	char *p = anon_area(8, false);

	ASSERT_NE(p, NULL);
	p[0] = 1;
	if (madvise(p + 3 * page, page, MADV_GUARD_INSTALL))
		SKIP(return, "no MADV_GUARD_INSTALL");
	request_none(8);
	pfns[3] = READ;
	EXPECT_EQ(-EFAULT, fault_each(p, 8));
	EXPECT_EQ(1, populated(p, 8));
	EXPECT_EQ(1, p[0]);
	EXPECT_EQ(-EFAULT, fault(p, 8, RW));
	EXPECT_TRUE(pm(p + 3 * page) & PM_GUARD_REGION);
}

TEST_F(hmm_range, swapped_memory_is_brought_back)
{
	char *p = anon_area(16, false);
	size_t i;

	ASSERT_NE(p, NULL);
	for (i = 0; i < 16; i++)
		memset(p + i * page, i + 1, page);
	if (!page_out(p, 16))
		SKIP(return, "pages do not go out: no swap");
	ASSERT_EQ(0, fault(p, 16, READ));
	EXPECT_TRUE(mapped(p, 0, 16, VALID, WRITE));
	for (i = 0; i < 16; i++)
		EXPECT_EQ((char)(i + 1), p[i * page + page - 1]);
}

/* Page cache: the program's own file, whatever file system it is on. */
TEST_F(hmm_range, file_pages_are_mapped)
{
	size_t n = 16;
	char *p, *buf = malloc(n * page);
	int fd = open("/proc/self/exe", O_RDONLY);

	ASSERT_GE(fd, 0);
	ASSERT_EQ(n * page, pread(fd, buf, n * page, 0));
	p = area(n * page, PROT_READ, MAP_SHARED, fd);
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, fault(p, n, READ));
	EXPECT_TRUE(mapped(p, 0, n, VALID, ANY_ORDER));
	EXPECT_EQ(0, memcmp(p, buf, n * page));
	EXPECT_EQ(-EPERM, fault(p, n, RW));
}

/* Writing to a private file mapping copies and leaves the file alone. */
TEST_F(hmm_range, private_file_pages_are_copied)
{
	char *p, *shared, now, old;
	int fd = open("/proc/self/exe", O_RDONLY);
	size_t i;

	ASSERT_GE(fd, 0);
	p = area(4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
	shared = area(4 * page, PROT_READ, MAP_SHARED, fd);
	ASSERT_TRUE(p && shared);
	ASSERT_EQ(0, fault(shared, 4, READ));
	ASSERT_EQ(0, fault(p, 4, READ));
	EXPECT_TRUE(mapped(p, 0, 4, VALID, ANY_ORDER));
	EXPECT_EQ(PAGEMAP_PFN(pm(shared)), PAGEMAP_PFN(pm(p)));

	ASSERT_EQ(0, fault(p, 4, RW));
	EXPECT_TRUE(mapped(p, 0, 4, RW, 0));
	for (i = 0; i < 4; i++)
		EXPECT_NE(PAGEMAP_PFN(pm(shared + i * page)),
			  PAGEMAP_PFN(pm(p + i * page)));
	EXPECT_EQ(0, memcmp(p, shared, 4 * page));
	old = shared[0];
	p[0] = old + 1;
	ASSERT_EQ(1, pread(fd, &now, 1, 0));
	EXPECT_EQ(old, now);
}

/* Both mappings of a memfd see the pages that a fault through one put there. */
TEST_F(hmm_range, shared_memory_is_the_same_in_each_mapping)
{
	int fd = memfd_create("hmm-range", MFD_CLOEXEC);
	char *p, *q;

	ASSERT_EQ(0, ftruncate(fd, 8 * page));
	p = area(8 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	q = area(8 * page, PROT_READ, MAP_SHARED, fd);
	ASSERT_TRUE(p && q);
	ASSERT_EQ(0, fault(p, 8, RW));
	EXPECT_TRUE(mapped(p, 0, 8, RW, ANY_ORDER));
	p[5 * page] = 42;
	EXPECT_EQ(42, FORCE_READ(q[5 * page]));
	EXPECT_EQ(PAGEMAP_PFN(pm(p + 5 * page)), PAGEMAP_PFN(pm(q + 5 * page)));

	/* Beyond the end of the file there is nothing to fault. */
	ASSERT_EQ(0, ftruncate(fd, 4 * page));
	EXPECT_EQ(-EFAULT, fault(p, 8, READ));
	EXPECT_EQ(0, fault(p, 4, READ));
}

/* ---- snapshots ---- */

/* A snapshot reports and never faults, whatever the request flags say. */
TEST_F(hmm_snapshot, never_faults)
{
	char *p = anon_area(nr_pmd, false);
	struct hmm_range_test r;

	ASSERT_NE(p, NULL);
	p[7 * page] = 1;
	r = range_of(p, nr_pmd);
	r.mode = HMM_RANGE_TEST_SNAPSHOT;
	r.default_flags = RW;
	r.pfn_flags_mask = RW;
	request_none(nr_pmd);
	pfns[9] = RW;
	ASSERT_EQ(0, submit_valid(&r));
	EXPECT_EQ(0, faults);
	EXPECT_EQ(1, populated(p, nr_pmd));
	EXPECT_TRUE(all(0, 7, 0));
	EXPECT_TRUE(mapped(p, 7, 1, RW, 0));
	EXPECT_TRUE(all(8, nr_pmd - 8, 0));
}

TEST_F(hmm_snapshot, basic_states)
{
	struct hmm_range_test r;
	char *p = anon_area(12, false);
	int i;

	ASSERT_NE(p, NULL);
	for (i = 1; i < 12; i++)
		p[i * page] = 1;
	madvise(p + page, page, MADV_DONTNEED);
	FORCE_READ(p[page]);
	mprotect(p + 3 * page, page, PROT_READ);
	mprotect(p + 4 * page, page, PROT_NONE);
	munmap(p + 5 * page, page);
	for (i = 0; i < 2; i++) {
		r = range_of(p, 12);
		r.mode = HMM_RANGE_TEST_SNAPSHOT;
		r.flags = i ? HMM_RANGE_TEST_POISON : 0;
		ASSERT_EQ(0, submit_valid(&r));
		EXPECT_EQ(0, pfns[0]);			/* nothing yet */
		EXPECT_TRUE(mapped(p, 1, 1, VALID, 0));	/* zero page */
		EXPECT_EQ(zero_pfn(), pfns[1] & HMM_RANGE_PFN_MASK);
		EXPECT_TRUE(mapped(p, 2, 1, RW, 0));
		EXPECT_TRUE(mapped(p, 3, 1, VALID, 0));
		EXPECT_EQ(ERROR, pfns[4]);		/* no access */
		EXPECT_EQ(ERROR, pfns[5]);		/* no mapping */
		EXPECT_TRUE(mapped(p, 6, 6, RW, 0));
	}
}

TEST_F(hmm_snapshot, thp_is_reported_with_its_order)
{
	char *p;

	if (skipped(no_thp()))
		return;
	p = anon_area(3 * nr_pmd, true);
	ASSERT_NE(p, NULL);
	p[pmd] = 1;
	FORCE_READ(p[2 * pmd]);
	ASSERT_EQ(0, snapshot(p, 3 * nr_pmd));
	EXPECT_TRUE(all(0, nr_pmd, 0));
	EXPECT_TRUE(mapped(p, nr_pmd, nr_pmd, RW | ORDER(9), 0));
	EXPECT_TRUE(mapped(p, 2 * nr_pmd, nr_pmd, VALID | ORDER(9), 0));

	/* Also by a range inside of it. */
	ASSERT_EQ(0, snapshot(p + pmd + 50 * page, 10));
	EXPECT_TRUE(mapped(p + pmd + 50 * page, 0, 10, RW | ORDER(9), 0));
}

/* No order claims more than is mapped, when a folio is only partly so. */
TEST_F(hmm_snapshot, partly_mapped_folio_has_true_orders)
{
	size_t in_folio = MTHP_SIZE / page;
	char *p;

	if (skipped(no_mthp()))
		return;
	thp_policy(MTHP_SIZE);
	p = anon_area(nr_pmd, true);
	ASSERT_NE(p, NULL);
	memset(p, 1, 3 * MTHP_SIZE);
	ASSERT_EQ(3 * in_folio, populated(p, nr_pmd));
	madvise(p + 5 * page, page, MADV_DONTNEED);
	mprotect(p + MTHP_SIZE + 8 * page, 4 * page, PROT_READ);
	ASSERT_EQ(0, snapshot(p, nr_pmd));
	EXPECT_TRUE(mapped(p, 0, 5, RW, ANY_ORDER));
	EXPECT_EQ(0, pfns[5]);
	EXPECT_TRUE(mapped(p, 6, 18, RW, ANY_ORDER));
	EXPECT_TRUE(mapped(p, 24, 4, VALID, ANY_ORDER));
	EXPECT_TRUE(mapped(p, 28, 20, RW, ANY_ORDER));
	EXPECT_TRUE(orders_hold(p, nr_pmd));
}

/* Kernel pages that have no place in a mirror: ERROR, and no fault helps. */
TEST_F(hmm_snapshot, special_mapping_is_error)
{
	unsigned long start = 0;
	char line[256];
	FILE *f = fopen("/proc/self/maps", "r");

	ASSERT_NE(f, NULL);
	while (!start && fgets(line, sizeof(line), f)) {
		if (!strstr(line, "[vvar"))
			continue;
		start = strtoul(line, NULL, 16);
		if (!check_vmflag_pfnmap((void *)start))
			start = 0;
	}
	fclose(f);
	if (!start)
		SKIP(return, "no VM_PFNMAP mapping (vvar) at hand");
	ASSERT_EQ(0, snapshot((char *)start, 1));
	EXPECT_EQ(ERROR, pfns[0]);
	EXPECT_EQ(-EFAULT, fault((char *)start, 1, READ));
}

/* A hole of an hugetlb mapping is 0: no stray pfn, no order. */
TEST_F(hmm_snapshot_weak, hugetlb_hole_is_zero)
{
	char *p;

	if (skipped(no_hugetlb(2 * MB, 2)))
		return;
	p = hugetlb_area(4 * MB, 21, MAP_PRIVATE);
	ASSERT_NE(p, NULL);
	p[pmd] = 1;
	ASSERT_EQ(0, snapshot(p, 2 * nr_pmd));
	EXPECT_TRUE(all(0, nr_pmd, 0));
	EXPECT_TRUE(mapped(p, nr_pmd, nr_pmd, RW | ORDER(9), 0));
}

/* Guard pages can never be reached. */
TEST_F(hmm_snapshot_weak, guard_page_is_error)
{
	char *p = anon_area(8, false);

	ASSERT_NE(p, NULL);
	p[2 * page] = 1;
	if (madvise(p + 3 * page, 2 * page, MADV_GUARD_INSTALL))
		SKIP(return, "no MADV_GUARD_INSTALL");
	ASSERT_EQ(0, snapshot(p, 8));
	EXPECT_TRUE(all(0, 2, 0));
	EXPECT_TRUE(mapped(p, 2, 1, RW, 0));
	EXPECT_TRUE(all(3, 2, ERROR));
	EXPECT_TRUE(all(5, 3, 0));
}

/* ---- userfaultfd ---- */

/* Poison that userfaultfd has put there: ERROR, and a fault fails. */
static void check_uffd_poison(struct __test_metadata *_metadata, char *p,
			      size_t leaf)
{
	struct uffdio_poison poison = {
		.range = { (uintptr_t)p + leaf, leaf },
	};
	size_t n = leaf / page;
	int uffd, ret;

	if (skipped(no_uffd(&uffd, UFFD_FEATURE_POISON)))
		return;
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, uffd_register(uffd, p, 3 * leaf, true, false, false));
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_POISON, &poison));
	ASSERT_EQ(0, snapshot(p, 3 * n));
	EXPECT_TRUE(all(0, n, 0));
	EXPECT_TRUE(all(n, n, ERROR));
	EXPECT_TRUE(all(2 * n, n, 0));
	ret = fault(p + leaf, n, READ);
	EXPECT_TRUE(is_poison_errno(ret));
	EXPECT_EQ(0, populated(p, 3 * n));
}

TEST_F(hmm_snapshot_weak, uffd_poison_is_error)
{
	check_uffd_poison(_metadata, anon_area(3, false), page);
}

TEST_F(hmm_snapshot_weak, hugetlb_uffd_poison_is_error)
{
	if (skipped(no_hugetlb(2 * MB, 3)))
		return;
	check_uffd_poison(_metadata, hugetlb_area(6 * MB, 21, MAP_PRIVATE), pmd);
}

/*
 * A marker that only says that a later page is to be write-protected stands on
 * a hole: reported as 0, and a read fault fills it.
 */
static void check_uffd_wp_marker(struct __test_metadata *_metadata, char *p,
				 size_t leaf, unsigned int order)
{
	struct uffdio_writeprotect wp = {
		.range = { (uintptr_t)p, leaf },
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};
	size_t n = leaf / page;
	int uffd;

	if (skipped(no_uffd(&uffd, UFFD_FEATURE_WP_HUGETLBFS_SHMEM)))
		return;
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, uffd_register(uffd, p, leaf, false, true, false));
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_WRITEPROTECT, &wp));
	ASSERT_EQ(PM_UFFD_WP, pm(p) & (PM_UFFD_WP | PM_PRESENT));
	ASSERT_EQ(0, snapshot(p, n));
	EXPECT_TRUE(all(0, n, 0));
	ASSERT_EQ(0, fault(p, n, READ));
	EXPECT_TRUE(mapped(p, 0, n, VALID | ORDER(order), 0));
}

TEST_F(hmm_snapshot, uffd_wp_marker_is_a_hole)
{
	check_uffd_wp_marker(_metadata, area(page, PROT_READ | PROT_WRITE,
					     MAP_SHARED | MAP_ANONYMOUS, -1),
			     page, 0);
}

TEST_F(hmm_snapshot_weak, hugetlb_uffd_wp_marker_is_a_hole)
{
	if (skipped(no_hugetlb(2 * MB, 1)))
		return;
	check_uffd_wp_marker(_metadata, hugetlb_area(2 * MB, 21, MAP_SHARED),
			     pmd, 9);
}

/* A fault handler that sleeps on user space is waited for, with its pages. */
TEST_F(hmm_retry, userfaultfd_pages_are_waited_for)
{
	struct uffd_server s = { .delay_us = 1000 };
	char *p = anon_area(16, false);

	ASSERT_NE(p, NULL);
	if (skipped(no_uffd(&s.uffd, 0)))
		return;
	ASSERT_EQ(0, uffd_register(s.uffd, p, 16 * page, true, false, false));
	ASSERT_EQ(0, uffd_server_start(&s));
	EXPECT_EQ(0, fault(p, 16, RW));
	EXPECT_TRUE(mapped(p, 0, 16, RW, 0));
	EXPECT_EQ(7, p[15 * page]);
	uffd_server_stop(&s);
	EXPECT_EQ(16, s.served);
}

/* hmm_range_fault() has to keep the lock, so it cannot wait for user space. */
TEST_F(hmm_retry, userfaultfd_fails_under_the_mmap_lock)
{
	char *p = anon_area(4, false);
	int uffd;

	ASSERT_NE(p, NULL);
	if (skipped(no_uffd(&uffd, 0)))
		return;
	ASSERT_EQ(0, uffd_register(uffd, p, 4 * page, true, false, false));
	fault_mode = HMM_RANGE_TEST_FAULT_LOCKED;
	EXPECT_EQ(-EFAULT, fault(p, 4, READ));
	EXPECT_EQ(0, populated(p, 4));
}

/* Faults that drop the mmap lock use up the timeout like anything else. */
TEST_F(hmm_retry_weak, slow_faults_end_with_the_timeout)
{
	struct uffd_server s = { .delay_us = 100000 };
	char *p = anon_area(40, false);
	struct hmm_range_test r;

	ASSERT_NE(p, NULL);
	if (skipped(no_uffd(&s.uffd, 0)))
		return;
	ASSERT_EQ(0, uffd_register(s.uffd, p, 40 * page, true, false, false));
	ASSERT_EQ(0, uffd_server_start(&s));
	r = range_of(p, 40);
	r.default_flags = READ;
	r.timeout_ms = 300;
	EXPECT_EQ(-EBUSY, submit(&r));
	EXPECT_LT(r.elapsed_ns, 2000000000ULL);
	EXPECT_GE(r.elapsed_ns, 250000000ULL);
	uffd_server_stop(&s);
	EXPECT_GE(s.served, 1);
}

/*
 * A restart goes by what was asked for, not by what an earlier pass has found:
 * a page without a request that goes away meanwhile is neither faulted in again
 * nor an error.
 */
static void check_restart(struct __test_metadata *_metadata, bool unmap)
{
	struct uffd_server s = { .unmap = unmap };
	char *p = anon_area(8, false);

	ASSERT_NE(p, NULL);
	p[0] = 1;
	s.drop = p;
	if (skipped(no_uffd(&s.uffd, 0)))
		return;
	ASSERT_EQ(0, uffd_register(s.uffd, p + 5 * page, page, true, false,
				   false));
	ASSERT_EQ(0, uffd_server_start(&s));
	request_none(8);
	pfns[5] = READ;
	EXPECT_EQ(0, fault_each(p, 8));
	uffd_server_stop(&s);
	EXPECT_EQ(1, s.served);
	EXPECT_EQ(unmap ? ERROR : 0, pfns[0]);
	EXPECT_TRUE(mapped(p, 5, 1, VALID, WRITE));
	EXPECT_EQ(1, populated(p, 8));
}

TEST_F(hmm_retry_weak, restart_does_not_fault_in_a_dropped_page)
{
	check_restart(_metadata, false);
}

TEST_F(hmm_retry_weak, restart_does_not_fail_on_an_unmapped_page)
{
	check_restart(_metadata, true);
}

/* ---- invalidation storms and signals ---- */

/*
 * Faults the first half of @p with a notifier over all of it, under a storm.
 * It ends in time, with a valid result or with -EBUSY. A call that the storm
 * missed, because its thread was not running, says nothing and is repeated.
 */
static void check_storm(struct __test_metadata *_metadata, char *p, size_t n,
			struct side *s)
{
	struct hmm_range_test r = range_of(p, n / 2);
	int ret, tries;

	s->act = act_discard;
	s->limit_ms = 20000;
	ASSERT_EQ(0, side_start(s));
	while (!s->rounds)
		usleep(1000);
	r.default_flags = RW;
	r.timeout_ms = 500;
	r.notifier_start = (uintptr_t)p;
	r.notifier_length = n * page;
	for (tries = 0; tries < 30 && !r.invalidations; tries++) {
		madvise(p, n / 2 * page, MADV_DONTNEED);
		ret = submit(&r);
		EXPECT_TRUE(ret == 0 || ret == -EBUSY);
		EXPECT_LT(r.elapsed_ns, 2000000000ULL);
	}
	side_stop(s);
	EXPECT_GE(r.invalidations, 1);
}

TEST_F(hmm_retry, storm_on_the_range_ends_in_time)
{
	size_t n = 2 * nr_pmd;
	char *p = anon_area(n, false);
	struct side s = { .p = p, .len = n * page };

	ASSERT_NE(p, NULL);
	check_storm(_metadata, p, n, &s);
}

TEST_F(hmm_retry, storm_beside_the_range_ends_in_time_with_progress)
{
	size_t n = 2 * nr_pmd;
	char *p = anon_area(n, false);
	struct side s = { .p = p + (n - 1) * page, .len = page };

	ASSERT_NE(p, NULL);
	p[(n - 1) * page] = 1;
	check_storm(_metadata, p, n, &s);
	EXPECT_GE(populated(p, n / 2), 1);
}

/* What a child shares with its test, and with a storm in another process. */
struct shared {
	struct side	storm;
	atomic_int	victim_runs;
};

static struct shared *shared_alloc(void)
{
	return mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

/* Calls without end under a storm from a process that outlives this one. */
static void storm_victim(struct shared *sh)
{
	struct hmm_range_test r = range_of(sh->storm.p, sh->storm.len / page);
	char *stack = malloc(64 * KB);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (clone(side_run, stack + 64 * KB, CLONE_VM | SIGCHLD,
		  &sh->storm) < 0)
		_exit(1);
	while (!sh->storm.rounds)
		usleep(1000);
	r.default_flags = RW;
	r.timeout_ms = 0;
	sh->victim_runs = 1;
	/* One that got through all the same is repeated. */
	for (;;)
		submit(&r);
}

/*
 * A killed process does not go on under a storm that never lets it finish, not
 * even without a timeout. The storm comes from a process that shares the
 * address space and outlives it.
 */
TEST_F(hmm_retry_weak, fatal_signal_ends_a_storm)
{
	size_t n = 8 * nr_pmd;
	struct shared *sh = shared_alloc();
	__u64 killed;
	pid_t victim;

	ASSERT_NE(sh, MAP_FAILED);
	sh->storm.act = act_discard;
	sh->storm.p = anon_area(n, false);
	sh->storm.len = n * page;
	sh->storm.limit_ms = 6000;
	ASSERT_NE(sh->storm.p, NULL);
	victim = fork();
	if (!victim)
		storm_victim(sh);
	while (!sh->victim_runs && !waitpid(victim, NULL, WNOHANG))
		usleep(1000);
	usleep(300000);
	ASSERT_EQ(0, waitpid(victim, NULL, WNOHANG));
	killed = now_ms();
	kill(victim, SIGKILL);
	ASSERT_EQ(victim, waitpid(victim, NULL, 0));
	EXPECT_LT(now_ms() - killed, 2000);
	sh->storm.stop = 1;
}

/*
 * Each first write to a page of shared memory drops the mmap lock, to throttle
 * the writer. The call goes on from there: what is done is not faulted again.
 */
TEST_F(hmm_retry, restarts_cost_no_more_faults)
{
	int fd = memfd_create("hmm-range", MFD_CLOEXEC);
	size_t n;
	char *p;

	ASSERT_EQ(0, ftruncate(fd, 1024 * page));
	for (n = 256; n <= 1024; n *= 4) {
		p = area(n * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
		ASSERT_NE(p, NULL);
		ASSERT_EQ(0, fault(p, n, RW));
		EXPECT_TRUE(mapped(p, 0, n, RW, ANY_ORDER));
		EXPECT_GE(faults, n);
		EXPECT_LE(faults, 2 * n);
		munmap(p, n * page);
		ASSERT_EQ(0, fallocate(fd, FALLOC_FL_PUNCH_HOLE |
				       FALLOC_FL_KEEP_SIZE, 0, 1024 * page));
	}
	close(fd);
}

/*
 * A killed process stops in the middle of a long range instead of populating
 * the rest of it first. Shared memory keeps what it got to.
 */
TEST_F(hmm_retry_weak, fatal_signal_ends_a_long_fault)
{
	size_t n = 256 * MB / page;
	int fd = memfd_create("hmm-range", MFD_CLOEXEC);
	struct stat st = { };
	pid_t victim;
	char *p;

	ASSERT_EQ(0, ftruncate(fd, n * page));
	p = area(n * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	ASSERT_NE(p, NULL);
	victim = fork();
	if (!victim)
		_exit(fault(p, n, READ) ? 1 : 0);
	while (st.st_blocks < 8 && !waitpid(victim, NULL, WNOHANG)) {
		usleep(1000);
		fstat(fd, &st);
	}
	kill(victim, SIGKILL);
	waitpid(victim, NULL, 0);
	ASSERT_EQ(0, fstat(fd, &st));
	EXPECT_GE(st.st_blocks * 512UL, page);
	EXPECT_LT(st.st_blocks * 512UL, n * page);
}

/* ---- hardware poison ---- */

static void ignore_sigbus(int sig)
{
}

static void check_hwpoison(struct __test_metadata *_metadata, char *p,
			   size_t leaf)
{
	size_t n = leaf / page;
	unsigned long pfn;
	int ret;

	ASSERT_NE(p, NULL);
	signal(SIGBUS, ignore_sigbus);
	memset(p, 1, 2 * leaf);
	pfn = PAGEMAP_PFN(pm(p + leaf));
	if (madvise(p + leaf, page, MADV_HWPOISON))
		SKIP(return, "no MADV_HWPOISON (CONFIG_MEMORY_FAILURE)");
	ret = snapshot(p, 2 * n);
	EXPECT_EQ(0, ret);
	EXPECT_TRUE(mapped(p, 0, n, RW, ANY_ORDER));
	EXPECT_TRUE(all(n, n, ERROR));
	ret = fault(p + leaf, n, READ);
	EXPECT_TRUE(is_poison_errno(ret));
	munmap(p, 2 * leaf);
	unpoison_memory(pfn);
}

TEST_F(hmm_snapshot_weak, poisoned_page_is_error)
{
	check_hwpoison(_metadata, anon_area(2, false), page);
}

TEST_F(hmm_snapshot_weak, poisoned_hugetlb_page_is_error)
{
	if (skipped(no_hugetlb(2 * MB, 2)))
		return;
	check_hwpoison(_metadata, hugetlb_area(4 * MB, 21, MAP_PRIVATE), pmd);
}

int main(int argc, char **argv)
{
	machine_save();
	return test_harness_run(argc, argv);
}
