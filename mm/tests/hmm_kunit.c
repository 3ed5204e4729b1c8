// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * KUnit tests of the parts of the HMM range layer that need no address space:
 * requests against entries, output, orders, non-present and special entries, the
 * deadline, argument checks, and what a failed call leaves behind.
 *
 * Included by mm/hmm.c, whose static functions it calls. What needs real page
 * tables is tested by tools/testing/selftests/mm/hmm-range-tests.c. Each case
 * works on objects of its own, so there is nothing to lock.
 */
#include <kunit/test.h>

#define HMM_TEST_START		(16UL * PMD_SIZE)
#define HMM_TEST_NPAGES		8UL
#define HMM_TEST_READ		HMM_PFN_REQ_FAULT
#define HMM_TEST_WRITE		(HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE)

struct hmm_test {
	struct mmu_interval_notifier notifier;
	struct vm_area_struct vma;
	struct hmm_range range;
	struct hmm_walk hw;
	struct mm_walk walk;
	unsigned long pfns[HMM_TEST_NPAGES];
};

static unsigned long hmm_test_addr(unsigned long page)
{
	return HMM_TEST_START + page * PAGE_SIZE;
}

static int hmm_test_init(struct kunit *test)
{
	struct hmm_test *ht = kunit_kzalloc(test, sizeof(*ht), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, ht);
	ht->notifier.interval_tree.start = hmm_test_addr(0);
	ht->notifier.interval_tree.last = hmm_test_addr(HMM_TEST_NPAGES) - 1;
	ht->range.notifier = &ht->notifier;
	ht->range.start = hmm_test_addr(0);
	ht->range.end = hmm_test_addr(HMM_TEST_NPAGES);
	ht->range.hmm_pfns = ht->pfns;
	ht->walk.private = &ht->hw;
	ht->walk.vma = &ht->vma;
	test->priv = ht;
	return 0;
}

/* Set @ht up for a call with @dflt for all pages and @extra for page 5. */
static void hmm_test_request(struct kunit *test, unsigned long dflt,
			     unsigned long extra)
{
	struct hmm_test *ht = test->priv;

	ht->range.default_flags = dflt;
	ht->range.pfn_flags_mask = extra;
	ht->pfns[5] |= extra;
	KUNIT_ASSERT_EQ(test, hmm_walk_init(&ht->hw, &ht->range, true, HZ), 0);
}

static unsigned long hmm_test_unmet(struct kunit *test, unsigned long entry)
{
	struct hmm_test *ht = test->priv;
	unsigned long addr = hmm_first_unmet(&ht->hw, ht->range.start,
					     ht->range.end, entry);

	return hmm_index(&ht->hw, addr);
}

static void hmm_test_unmet_default(struct kunit *test)
{
	struct hmm_test *ht = test->priv;

	hmm_test_request(test, 0, 0);
	KUNIT_EXPECT_EQ(test, hmm_test_unmet(test, 0), HMM_TEST_NPAGES);

	/* Write alone asks for nothing. */
	hmm_test_request(test, HMM_PFN_REQ_WRITE, 0);
	KUNIT_EXPECT_EQ(test, hmm_test_unmet(test, 0), HMM_TEST_NPAGES);

	hmm_test_request(test, HMM_TEST_READ, 0);
	KUNIT_EXPECT_EQ(test, hmm_test_unmet(test, 0), 0);
	KUNIT_EXPECT_EQ(test, hmm_test_unmet(test, HMM_PFN_VALID),
			HMM_TEST_NPAGES);

	hmm_test_request(test, HMM_TEST_WRITE, 0);
	KUNIT_EXPECT_EQ(test, hmm_test_unmet(test, HMM_PFN_VALID), 0);
	KUNIT_EXPECT_EQ(test, hmm_test_unmet(test, HMM_PFN_ACCESS),
			HMM_TEST_NPAGES);
	KUNIT_EXPECT_NULL(test, ht->hw.requests);
}

static void hmm_test_unmet_by_entry(struct kunit *test)
{
	struct hmm_test *ht = test->priv;

	hmm_test_request(test, 0, HMM_TEST_READ);
	KUNIT_EXPECT_EQ(test, hmm_test_unmet(test, 0), 5);
	KUNIT_EXPECT_EQ(test, hmm_test_unmet(test, HMM_PFN_VALID),
			HMM_TEST_NPAGES);
	hmm_walk_fini(&ht->hw, 0);

	hmm_test_request(test, HMM_TEST_READ, HMM_TEST_WRITE);
	KUNIT_EXPECT_EQ(test, hmm_test_unmet(test, 0), 0);
	KUNIT_EXPECT_EQ(test, hmm_test_unmet(test, HMM_PFN_VALID), 5);
	hmm_walk_fini(&ht->hw, 0);
}

/* With a mask of 0, whatever stands in the array asks for nothing. */
static void hmm_test_mask_hides_entries(struct kunit *test)
{
	struct hmm_test *ht = test->priv;

	memset(ht->pfns, 0xff, sizeof(ht->pfns));
	hmm_test_request(test, 0, 0);
	KUNIT_EXPECT_EQ(test, hmm_test_unmet(test, 0), HMM_TEST_NPAGES);
}

static void hmm_test_emit_valid(struct kunit *test)
{
	unsigned long entry = 0x1000 | HMM_PFN_ACCESS | hmm_order_flags(3);
	struct hmm_test *ht = test->priv;
	unsigned long i;

	ht->pfns[2] = HMM_PFN_DMA_MAPPED | HMM_PFN_P2PDMA | 0x77;
	hmm_test_request(test, HMM_TEST_WRITE, 0);
	KUNIT_EXPECT_EQ(test, hmm_emit(&ht->walk, ht->range.start,
				       ht->range.end, entry), 0);
	for (i = 0; i < HMM_TEST_NPAGES; i++)
		KUNIT_EXPECT_EQ(test, ht->pfns[i] & ~HMM_PFN_STICKY, entry + i);
	KUNIT_EXPECT_EQ(test, ht->pfns[2] & HMM_PFN_STICKY,
			HMM_PFN_DMA_MAPPED | HMM_PFN_P2PDMA);
	KUNIT_EXPECT_EQ(test, ht->pfns[3] & HMM_PFN_STICKY, 0);
	KUNIT_EXPECT_EQ(test, hmm_pfn_to_map_order(ht->pfns[7]), 3);
}

/* The first page that asks for more is faulted, and nothing is output. */
static void hmm_test_emit_stops_at_request(struct kunit *test)
{
	struct hmm_test *ht = test->priv;
	unsigned long i;

	for (i = 0; i < HMM_TEST_NPAGES; i++)
		ht->pfns[i] = 0x55;
	hmm_test_request(test, 0, HMM_TEST_WRITE);
	KUNIT_EXPECT_EQ(test, hmm_emit(&ht->walk, ht->range.start,
				       ht->range.end, 0), HMM_STEP_FAULT);
	KUNIT_EXPECT_EQ(test, ht->hw.addr, hmm_test_addr(5));
	KUNIT_EXPECT_PTR_EQ(test, ht->hw.vma, &ht->vma);
	KUNIT_EXPECT_TRUE(test, ht->hw.write);
	KUNIT_EXPECT_EQ(test, ht->pfns[0], 0x55);
	KUNIT_EXPECT_EQ(test, ht->pfns[6], 0x55);
	hmm_walk_fini(&ht->hw, 0);
}

/* A pass that took a fault is followed by another, so it outputs nothing. */
static void hmm_test_emit_after_fault(struct kunit *test)
{
	struct hmm_test *ht = test->priv;

	hmm_test_request(test, HMM_TEST_READ, 0);
	ht->pfns[3] = 0x55;
	ht->hw.again = true;
	KUNIT_EXPECT_EQ(test, hmm_emit(&ht->walk, ht->range.start,
				       ht->range.end,
				       0x1000 | HMM_PFN_VALID), 0);
	KUNIT_EXPECT_EQ(test, ht->pfns[3], 0x55);
	hmm_pass_begin(&ht->hw);
	KUNIT_EXPECT_EQ(test, hmm_emit(&ht->walk, ht->range.start,
				       ht->range.end,
				       0x1000 | HMM_PFN_VALID), 0);
	KUNIT_EXPECT_EQ(test, ht->pfns[3], 0x1003 | HMM_PFN_VALID);
}

/* Whatever is asked, the caller's own device memory is left where it is. */
static void hmm_test_emit_own(struct kunit *test)
{
	unsigned long entry = 0x1000 | HMM_PFN_VALID;
	struct hmm_test *ht = test->priv;

	hmm_test_request(test, HMM_TEST_WRITE, 0);
	KUNIT_EXPECT_EQ(test, hmm_emit(&ht->walk, ht->range.start,
				       ht->range.end, entry | HMM_ENTRY_OWN), 0);
	KUNIT_EXPECT_EQ(test, ht->pfns[1], entry + 1);
	KUNIT_EXPECT_EQ(test, hmm_emit(&ht->walk, ht->range.start,
				       ht->range.end, entry), HMM_STEP_FAULT);
}

static void hmm_test_emit_error(struct kunit *test)
{
	struct hmm_test *ht = test->priv;

	hmm_test_request(test, 0, HMM_TEST_READ);
	KUNIT_EXPECT_EQ(test, hmm_emit(&ht->walk, ht->range.start,
				       hmm_test_addr(5), HMM_PFN_ERROR), 0);
	KUNIT_EXPECT_EQ(test, ht->pfns[0], HMM_PFN_ERROR);
	KUNIT_EXPECT_EQ(test, ht->pfns[4], HMM_PFN_ERROR);
	KUNIT_EXPECT_EQ(test, hmm_emit(&ht->walk, hmm_test_addr(5),
				       ht->range.end, HMM_PFN_ERROR), -EFAULT);
	hmm_walk_fini(&ht->hw, -EFAULT);
}

/* A caller that tries again after an error finds its requests in place. */
static void hmm_test_failure_restores_requests(struct kunit *test)
{
	struct hmm_test *ht = test->priv;

	hmm_test_request(test, 0, HMM_TEST_READ);
	hmm_emit(&ht->walk, ht->range.start, ht->range.end,
		 0x1000 | HMM_PFN_VALID);
	ht->pfns[1] |= HMM_PFN_DMA_MAPPED;
	KUNIT_EXPECT_EQ(test, hmm_walk_fini(&ht->hw, -EBUSY), -EBUSY);
	KUNIT_EXPECT_EQ(test, ht->pfns[0], 0);
	KUNIT_EXPECT_EQ(test, ht->pfns[1], HMM_PFN_DMA_MAPPED);
	KUNIT_EXPECT_EQ(test, ht->pfns[5], HMM_TEST_READ);
}

static void hmm_test_congruent_order(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, hmm_congruent_order(0x200, 0x1200, 9), 9);
	KUNIT_EXPECT_EQ(test, hmm_congruent_order(0x205, 0x1205, 9), 9);
	KUNIT_EXPECT_EQ(test, hmm_congruent_order(0x205, 0x1205, 4), 4);
	KUNIT_EXPECT_EQ(test, hmm_congruent_order(0x200, 0x1210, 9), 4);
	KUNIT_EXPECT_EQ(test, hmm_congruent_order(0x200, 0x1201, 9), 0);
	KUNIT_EXPECT_EQ(test, hmm_congruent_order(7, 7, 4), 4);
}

static void hmm_test_softleaf(struct kunit *test)
{
	struct hmm_test *ht = test->priv;

	hmm_test_request(test, 0, 0);
#define HMM_TEST_LEAF(leaf) hmm_softleaf_entry(&ht->hw, leaf)
	KUNIT_EXPECT_EQ(test, HMM_TEST_LEAF(swp_entry(0, 7)), 0);
	KUNIT_EXPECT_EQ(test, HMM_TEST_LEAF(make_pte_marker_entry(PTE_MARKER_UFFD_WP)), 0);
	KUNIT_EXPECT_EQ(test, HMM_TEST_LEAF(make_pte_marker_entry(PTE_MARKER_POISONED)),
			HMM_PFN_ERROR);
	KUNIT_EXPECT_EQ(test, HMM_TEST_LEAF(make_pte_marker_entry(PTE_MARKER_GUARD)),
			HMM_PFN_ERROR);
	KUNIT_EXPECT_EQ(test, HMM_TEST_LEAF(make_pte_marker_entry(PTE_MARKER_POISONED |
								  PTE_MARKER_UFFD_WP)),
			HMM_PFN_ERROR);
#ifdef CONFIG_MIGRATION
	KUNIT_EXPECT_EQ(test, HMM_TEST_LEAF(make_writable_migration_entry(7)), 0);
	KUNIT_EXPECT_EQ(test, HMM_TEST_LEAF(make_readable_migration_entry(7)), 0);
#endif
#ifdef CONFIG_MEMORY_FAILURE
	KUNIT_EXPECT_EQ(test, HMM_TEST_LEAF(swp_entry(SWP_HWPOISON, 7)), HMM_PFN_ERROR);
#endif
#undef HMM_TEST_LEAF
}

/* Only a write to a private mapping replaces a special page. */
static void hmm_test_special(struct kunit *test)
{
	struct hmm_test *ht = test->priv;
	unsigned long addr = ht->range.start;

	vm_flags_init(&ht->vma, VM_READ | VM_MAYWRITE | VM_MIXEDMAP);
	hmm_test_request(test, HMM_TEST_WRITE, 0);
	KUNIT_EXPECT_EQ(test, hmm_special_entry(&ht->walk, addr, false), 0);
	KUNIT_EXPECT_EQ(test, hmm_special_entry(&ht->walk, addr, true),
			HMM_PFN_ERROR);
	hmm_test_request(test, HMM_TEST_READ, 0);
	KUNIT_EXPECT_EQ(test, hmm_special_entry(&ht->walk, addr, false),
			HMM_PFN_ERROR);

	vm_flags_init(&ht->vma, VM_READ | VM_MAYWRITE | VM_SHARED | VM_MIXEDMAP);
	hmm_test_request(test, HMM_TEST_WRITE, 0);
	KUNIT_EXPECT_EQ(test, hmm_special_entry(&ht->walk, addr, false),
			HMM_PFN_ERROR);
}

/* Pretend that the fault on @page comes @ago jiffies after the last account. */
static void hmm_test_fault_at(struct hmm_walk *hw, unsigned long page,
			      unsigned long ago, bool waited)
{
	hw->clock = jiffies - ago;
	hw->deadline -= ago;
	hw->addr = hmm_test_addr(page);
	hw->waited = waited;
	hmm_account(hw);
}

/* Progress by faults that do not wait takes no time, everything else does. */
static void hmm_test_deadline(struct kunit *test)
{
	struct hmm_test *ht = test->priv;

	hmm_test_request(test, HMM_TEST_READ, 0);
	ht->hw.deadline = jiffies + 10 * HZ;

	hmm_test_fault_at(&ht->hw, 0, 60 * HZ, false);
	KUNIT_EXPECT_EQ(test, hmm_may_go_on(&ht->hw), 0);
	hmm_test_fault_at(&ht->hw, 1, 60 * HZ, false);
	KUNIT_EXPECT_EQ(test, hmm_may_go_on(&ht->hw), 0);

	hmm_test_fault_at(&ht->hw, 2, 2 * HZ, true);
	KUNIT_EXPECT_EQ(test, hmm_may_go_on(&ht->hw), 0);
	hmm_test_fault_at(&ht->hw, 2, 2 * HZ, false);
	KUNIT_EXPECT_EQ(test, hmm_may_go_on(&ht->hw), 0);
	hmm_test_fault_at(&ht->hw, 1, 60 * HZ, false);
	KUNIT_EXPECT_EQ(test, hmm_may_go_on(&ht->hw), -EBUSY);

	ht->hw.bounded = false;
	KUNIT_EXPECT_EQ(test, hmm_may_go_on(&ht->hw), 0);
}

static void hmm_test_bad_arguments(struct kunit *test)
{
	struct hmm_test *ht = test->priv;
	unsigned long start = ht->range.start, end = ht->range.end;
	static const struct {
		long start, end;	/* bytes added to a good range */
	} bad[] = {
		{ 1, 0 }, { 0, -1 }, { 8, 8 },			/* unaligned */
		{ HMM_TEST_NPAGES * PAGE_SIZE, 0 },		/* empty */
		{ PAGE_SIZE, -(long)(HMM_TEST_NPAGES * PAGE_SIZE) },
		{ -(long)PAGE_SIZE, 0 }, { 0, PAGE_SIZE },	/* not covered */
	};
	int i;

	KUNIT_EXPECT_TRUE(test, hmm_range_is_sane(&ht->range));
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		ht->range.start = start + bad[i].start;
		ht->range.end = end + bad[i].end;
		KUNIT_EXPECT_EQ_MSG(test, -EINVAL,
				    hmm_range_fault_unlocked_timeout(&ht->range, 0),
				    "bad range %d", i);
		KUNIT_EXPECT_EQ_MSG(test, -EINVAL, hmm_range_snapshot(&ht->range),
				    "bad range %d", i);
	}
}

static struct kunit_case hmm_test_cases[] = {
	KUNIT_CASE(hmm_test_unmet_default),
	KUNIT_CASE(hmm_test_unmet_by_entry),
	KUNIT_CASE(hmm_test_mask_hides_entries),
	KUNIT_CASE(hmm_test_emit_valid),
	KUNIT_CASE(hmm_test_emit_stops_at_request),
	KUNIT_CASE(hmm_test_emit_after_fault),
	KUNIT_CASE(hmm_test_emit_own),
	KUNIT_CASE(hmm_test_emit_error),
	KUNIT_CASE(hmm_test_failure_restores_requests),
	KUNIT_CASE(hmm_test_congruent_order),
	KUNIT_CASE(hmm_test_softleaf),
	KUNIT_CASE(hmm_test_special),
	KUNIT_CASE(hmm_test_deadline),
	KUNIT_CASE(hmm_test_bad_arguments),
	{}
};

static struct kunit_suite hmm_test_suite = {
	.name = "hmm_range",
	.init = hmm_test_init,
	.test_cases = hmm_test_cases,
};

kunit_test_suite(hmm_test_suite);
