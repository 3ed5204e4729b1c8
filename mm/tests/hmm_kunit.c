// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * KUnit tests of the parts of the HMM range layer that need no user memory:
 * requests against entries, output as pfns and as extents, orders, page table
 * entries of each kind, the deadline, argument checks, and what a failed or
 * partial call leaves behind.
 *
 * Included by mm/hmm.c, whose static functions it calls. What needs real page
 * tables is tested by tools/testing/selftests/mm/hmm-range-tests.c. Each case
 * works on objects of its own, so there is nothing to lock.
 */
#include <kunit/static_stub.h>
#include <kunit/test.h>
#include <linux/dma-direct.h>

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
	struct hmm_extent extents[HMM_TEST_NPAGES];
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
	KUNIT_EXPECT_EQ(test, hmm_emit(&ht->hw, ht->range.start,
				       ht->range.end, entry), 0);
	for (i = 0; i < HMM_TEST_NPAGES; i++)
		KUNIT_EXPECT_EQ(test, ht->pfns[i] & ~HMM_PFN_STICKY, entry + i);
	KUNIT_EXPECT_EQ(test, ht->pfns[2] & HMM_PFN_STICKY,
			HMM_PFN_DMA_MAPPED | HMM_PFN_P2PDMA);
	KUNIT_EXPECT_EQ(test, ht->pfns[3] & HMM_PFN_STICKY, 0);
	KUNIT_EXPECT_EQ(test, hmm_pfn_to_map_order(ht->pfns[7]), 3);
}

/* The first page that asks for more is faulted, and output ends before it. */
static void hmm_test_emit_stops_at_request(struct kunit *test)
{
	struct hmm_test *ht = test->priv;
	unsigned long i;

	for (i = 0; i < HMM_TEST_NPAGES; i++)
		ht->pfns[i] = 0x55;
	hmm_test_request(test, 0, HMM_TEST_WRITE);
	KUNIT_EXPECT_EQ(test, hmm_emit(&ht->hw, ht->range.start,
				       ht->range.end, 0), HMM_STEP_FAULT);
	KUNIT_EXPECT_EQ(test, ht->hw.addr, hmm_test_addr(5));
	KUNIT_EXPECT_TRUE(test, ht->hw.write);
	KUNIT_EXPECT_EQ(test, ht->pfns[0], 0);
	KUNIT_EXPECT_EQ(test, ht->pfns[4], 0);
	KUNIT_EXPECT_EQ(test, ht->pfns[6], 0x55);
	hmm_walk_fini(&ht->hw, 0);
}

/* A pass that another will follow outputs nothing. */
static void hmm_test_emit_after_fault(struct kunit *test)
{
	struct hmm_test *ht = test->priv;

	hmm_test_request(test, HMM_TEST_READ, 0);
	ht->pfns[3] = 0x55;
	ht->hw.again = true;
	KUNIT_EXPECT_EQ(test, hmm_emit(&ht->hw, ht->range.start,
				       ht->range.end,
				       0x1000 | HMM_PFN_VALID), 0);
	KUNIT_EXPECT_EQ(test, ht->pfns[3], 0x55);
	hmm_pass_begin(&ht->hw);
	KUNIT_EXPECT_EQ(test, hmm_emit(&ht->hw, ht->range.start,
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
	KUNIT_EXPECT_EQ(test, hmm_emit(&ht->hw, ht->range.start,
				       ht->range.end, entry | HMM_ENTRY_OWN), 0);
	KUNIT_EXPECT_EQ(test, ht->pfns[1], entry + 1);
	KUNIT_EXPECT_EQ(test, hmm_emit(&ht->hw, ht->range.start,
				       ht->range.end, entry), HMM_STEP_FAULT);
}

static void hmm_test_emit_error(struct kunit *test)
{
	struct hmm_test *ht = test->priv;

	hmm_test_request(test, 0, HMM_TEST_READ);
	KUNIT_EXPECT_EQ(test, hmm_emit(&ht->hw, ht->range.start,
				       hmm_test_addr(5), HMM_PFN_ERROR), 0);
	KUNIT_EXPECT_EQ(test, ht->pfns[0], HMM_PFN_ERROR);
	KUNIT_EXPECT_EQ(test, ht->pfns[4], HMM_PFN_ERROR);
	KUNIT_EXPECT_EQ(test, hmm_emit(&ht->hw, hmm_test_addr(5),
				       ht->range.end, HMM_PFN_ERROR), -EFAULT);
	KUNIT_EXPECT_EQ(test, ht->hw.addr, hmm_test_addr(5));
	hmm_walk_fini(&ht->hw, -EFAULT);
}

/* A caller that tries again after an error finds its requests in place. */
static void hmm_test_failure_restores_requests(struct kunit *test)
{
	struct hmm_test *ht = test->priv;

	hmm_test_request(test, 0, HMM_TEST_READ);
	hmm_emit(&ht->hw, ht->range.start, ht->range.end,
		 0x1000 | HMM_PFN_VALID);
	ht->pfns[1] |= HMM_PFN_DMA_MAPPED;
	KUNIT_EXPECT_EQ(test, hmm_walk_fini(&ht->hw, -EBUSY), -EBUSY);
	KUNIT_EXPECT_EQ(test, ht->pfns[0], 0);
	KUNIT_EXPECT_EQ(test, ht->pfns[1], HMM_PFN_DMA_MAPPED);
	KUNIT_EXPECT_EQ(test, ht->pfns[5], HMM_TEST_READ);
}

#define HMM_TEST_V		HMM_PFN_VALID
#define HMM_TEST_W		HMM_PFN_ACCESS
#define HMM_TEST_O(order)	((unsigned long)(order) << HMM_PFN_ORDER_SHIFT)

struct hmm_test_pair {
	unsigned long first, npages, second, entry;	/* 0: two runs */
};

/* Entries that touch: are they one run, and what is its first entry then? */
static void hmm_test_extent_grow(struct kunit *test)
{
	const struct hmm_test_pair pairs[] = {
		/* contiguous, not, backwards */
		{ 0x100 | HMM_TEST_V, 4, 0x104 | HMM_TEST_V, 0x100 | HMM_TEST_V },
		{ 0x100 | HMM_TEST_V, 4, 0x105 | HMM_TEST_V, 0 },
		{ 0x100 | HMM_TEST_V, 4, 0x100 | HMM_TEST_V, 0 },
		{ 0x100 | HMM_TEST_V, 1, 0x0ff | HMM_TEST_V, 0 },
		/* permission */
		{ 0x100 | HMM_TEST_V, 4, 0x104 | HMM_TEST_W, 0 },
		/* blocks of PTEs: the smallest order counts */
		{ 0x100 | HMM_TEST_W | HMM_TEST_O(4), 16,
		  0x110 | HMM_TEST_W | HMM_TEST_O(2),
		  0x100 | HMM_TEST_W | HMM_TEST_O(2) },
		{ 0x100 | HMM_TEST_W, 16, 0x110 | HMM_TEST_W | HMM_TEST_O(4),
		  0x100 | HMM_TEST_W },
		/* larger leaves only with their like; the pfns need no pages */
		{ 0x410 | HMM_TEST_W | HMM_TEST_O(HMM_PMD_ORDER), 512,
		  0x610 | HMM_TEST_W | HMM_TEST_O(HMM_PMD_ORDER),
		  0x410 | HMM_TEST_W | HMM_TEST_O(HMM_PMD_ORDER) },
		{ 0x410 | HMM_TEST_W | HMM_TEST_O(HMM_PMD_ORDER), 512,
		  0x610 | HMM_TEST_W | HMM_TEST_O(HMM_PTE_MAX_ORDER), 0 },
		{ 0x410 | HMM_TEST_W, 512,
		  0x610 | HMM_TEST_W | HMM_TEST_O(HMM_PMD_ORDER), 0 },
		{ 0x410 | HMM_TEST_W | HMM_TEST_O(HMM_PMD_ORDER + 9), 512,
		  0x610 | HMM_TEST_W | HMM_TEST_O(HMM_PMD_ORDER), 0 },
		/* without pages nothing counts up */
		{ HMM_PFN_ERROR, 3, HMM_PFN_ERROR, HMM_PFN_ERROR },
		{ HMM_PFN_ERROR, 3, 0x100 | HMM_TEST_V, 0 },
		{ 0x100 | HMM_TEST_V, 3, HMM_PFN_ERROR, 0 },
	}, *pair;
	struct hmm_extent extent;
	unsigned int i;
	bool grows;

	for (i = 0; i < ARRAY_SIZE(pairs); i++) {
		pair = &pairs[i];
		extent = (struct hmm_extent) {
			.npages = pair->npages,
			.entry = pair->first,
		};
		grows = hmm_extent_grow(&extent, 2, pair->second);
		KUNIT_EXPECT_EQ_MSG(test, grows, !!pair->entry, "pair %u", i);
		KUNIT_EXPECT_EQ_MSG(test, extent.npages,
				    pair->npages + (grows ? 2 : 0), "pair %u", i);
		KUNIT_EXPECT_EQ_MSG(test, extent.entry,
				    grows ? pair->entry : pair->first,
				    "pair %u", i);
	}

	extent = (struct hmm_extent) { .npages = 1, .entry = 0 };
	KUNIT_EXPECT_TRUE(test, hmm_extent_grow(&extent, 7, 0));
	KUNIT_EXPECT_EQ(test, extent.npages, 8);
}

/* Pages 0-2 contiguous, 3-4 elsewhere, 5 absent, 6-7 an error. */
static int hmm_test_emit_four_runs(struct hmm_test *ht)
{
	static const struct {
		unsigned long page, end, entry;
	} runs[] = {
		{ 0, 1, 0x100 | HMM_PFN_VALID }, { 1, 3, 0x101 | HMM_PFN_VALID },
		{ 3, 5, 0x200 | HMM_PFN_VALID }, { 5, 6, 0 },
		{ 6, 7, HMM_PFN_ERROR }, { 7, 8, HMM_PFN_ERROR },
	};
	unsigned int i;
	int ret = 0;

	for (i = 0; i < ARRAY_SIZE(runs) && !ret; i++)
		ret = hmm_emit(&ht->hw, hmm_test_addr(runs[i].page),
			       hmm_test_addr(runs[i].end), runs[i].entry);
	return ret;
}

static void hmm_test_expect_four_runs(struct kunit *test, unsigned int i,
				      const struct hmm_extent *run)
{
	static const struct {
		unsigned long page, npages, entry;
	} expected[] = {
		{ 0, 3, 0x100 | HMM_PFN_VALID }, { 3, 2, 0x200 | HMM_PFN_VALID },
		{ 5, 1, 0 }, { 6, 2, HMM_PFN_ERROR },
	};

	KUNIT_ASSERT_LT(test, i, ARRAY_SIZE(expected));
	KUNIT_EXPECT_EQ(test, run->start, hmm_test_addr(expected[i].page));
	KUNIT_EXPECT_EQ(test, run->npages, expected[i].npages);
	KUNIT_EXPECT_EQ(test, run->entry, expected[i].entry);
}

/* Both outputs tell the same, and the iterators find it. */
static void hmm_test_extents(struct kunit *test)
{
	struct hmm_test *ht = test->priv;
	const struct hmm_extent *extent = NULL;
	struct hmm_extent run = { };
	unsigned int i = 0;

	ht->range.extents = ht->extents;
	ht->range.max_extents = ARRAY_SIZE(ht->extents);
	ht->pfns[1] = HMM_PFN_DMA_MAPPED;	/* is no part of a run */
	hmm_test_request(test, 0, 0);
	KUNIT_EXPECT_EQ(test, hmm_test_emit_four_runs(ht), 0);
	ht->hw.done = ht->range.end;
	hmm_walk_fini(&ht->hw, 0);

	KUNIT_EXPECT_EQ(test, ht->range.nr_extents, 4);
	while (hmm_range_next_extent(&ht->range, &extent))
		hmm_test_expect_four_runs(test, i++, extent);
	KUNIT_EXPECT_EQ(test, i, 4);

	i = 0;
	while (hmm_range_next_run(&ht->range, &run))
		hmm_test_expect_four_runs(test, i++, &run);
	KUNIT_EXPECT_EQ(test, i, 4);
}

/* A walk stops at the first run that has no room, and says where. */
static void hmm_test_extents_full(struct kunit *test)
{
	struct hmm_test *ht = test->priv;

	ht->range.hmm_pfns = NULL;
	ht->range.extents = ht->extents;
	ht->range.max_extents = 2;
	hmm_test_request(test, 0, 0);
	hmm_pass_begin(&ht->hw);
	KUNIT_EXPECT_EQ(test, hmm_test_emit_four_runs(ht), HMM_STEP_FULL);
	KUNIT_EXPECT_EQ(test, ht->hw.addr, hmm_test_addr(5));
	KUNIT_EXPECT_EQ(test, ht->range.nr_extents, 2);

	/* Also in a pass that only faults. */
	hmm_pass_begin(&ht->hw);
	ht->hw.again = true;
	KUNIT_EXPECT_EQ(test, hmm_test_emit_four_runs(ht), HMM_STEP_FULL);
	KUNIT_EXPECT_EQ(test, ht->hw.addr, hmm_test_addr(5));

	hmm_walk_fini(&ht->hw, -EBUSY);
	KUNIT_EXPECT_EQ(test, ht->range.nr_extents, 0);
	KUNIT_EXPECT_EQ(test, ht->range.next, ht->range.start);
	KUNIT_EXPECT_EQ(test, ht->range.error, -EBUSY);
}

/* A partial result ends before the page that fails, unless that is the first. */
static void hmm_test_partial(struct kunit *test)
{
	struct hmm_test *ht = test->priv;

	hmm_test_request(test, 0, HMM_TEST_READ);
	ht->hw.addr = hmm_test_addr(5);
	KUNIT_EXPECT_EQ(test, hmm_cut_off(&ht->hw, -EFAULT), -EFAULT);
	ht->range.partial = true;
	KUNIT_EXPECT_EQ(test, hmm_cut_off(&ht->hw, -EINTR), -EINTR);
	KUNIT_EXPECT_EQ(test, ht->hw.end, ht->range.end);
	KUNIT_EXPECT_EQ(test, hmm_cut_off(&ht->hw, -EFAULT), 0);
	KUNIT_EXPECT_TRUE(test, ht->hw.again);
	KUNIT_EXPECT_EQ(test, ht->hw.end, hmm_test_addr(5));

	ht->pfns[4] = 0x55;
	ht->pfns[5] = 0x55;
	ht->hw.done = ht->hw.end;
	hmm_walk_fini(&ht->hw, 0);
	KUNIT_EXPECT_EQ(test, ht->range.next, hmm_test_addr(5));
	KUNIT_EXPECT_EQ(test, ht->range.error, -EFAULT);
	KUNIT_EXPECT_EQ(test, ht->pfns[4], 0x55);
	KUNIT_EXPECT_EQ(test, ht->pfns[5], HMM_TEST_READ);

	ht->hw.addr = ht->range.start;
	KUNIT_EXPECT_EQ(test, hmm_cut_off(&ht->hw, -ENOMEM), -ENOMEM);
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

#ifdef CONFIG_DEVICE_PRIVATE
/**
 * struct hmm_test_pgmap - an owner of one page that matters
 * @pgmap: its page map
 * @provider: what it offers
 * @phys: where in there
 * @peer: whom it offers that to
 * @mask: the DMA mask of @peer
 * @answer: 0, or an errno that refuses
 * @type: what P2PDMA says
 */
struct hmm_test_pgmap {
	struct dev_pagemap pgmap;
	struct p2pdma_provider provider;
	phys_addr_t phys;
	struct device peer;
	u64 mask;
	int answer;
	enum pci_p2pdma_map_type type;
};

static void hmm_test_folio_free(struct folio *folio)
{
}

static vm_fault_t hmm_test_migrate_to_ram(struct vm_fault *vmf)
{
	return VM_FAULT_SIGBUS;
}

static int hmm_test_peer_access(struct folio *folio, struct device *peer,
				struct pgmap_peer_access *access)
{
	struct hmm_test_pgmap *owner = folio->pgmap->owner;

	access->provider = &owner->provider;
	access->phys = owner->phys;
	return peer == &owner->peer ? owner->answer : -EPERM;
}

static const struct dev_pagemap_ops hmm_test_pgmap_ops = {
	.folio_free = hmm_test_folio_free,
	.migrate_to_ram = hmm_test_migrate_to_ram,
	.peer_access = hmm_test_peer_access,
};

static enum pci_p2pdma_map_type
hmm_test_map_type(struct p2pdma_provider *provider, struct device *peer)
{
	return container_of(provider, struct hmm_test_pgmap, provider)->type;
}

static void hmm_test_free_pgmap(void *arg)
{
	struct hmm_test_pgmap *owner = arg;

	memunmap_pages(&owner->pgmap);
	release_mem_region(owner->pgmap.range.start,
			   range_len(&owner->pgmap.range));
}

/* An owner without pages. */
static struct hmm_test_pgmap *hmm_test_alloc_owner(struct kunit *test)
{
	struct hmm_test_pgmap *owner = kunit_kzalloc(test, sizeof(*owner),
						     GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, owner);
	owner->pgmap.type = MEMORY_DEVICE_PRIVATE;
	owner->pgmap.ops = &hmm_test_pgmap_ops;
	owner->pgmap.owner = owner;
	owner->mask = DMA_BIT_MASK(64);
	owner->peer.dma_mask = &owner->mask;
	owner->type = PCI_P2PDMA_MAP_THRU_HOST_BRIDGE;
	kunit_activate_static_stub(test, hmm_peer_map_type, hmm_test_map_type);
	return owner;
}

static struct hmm_test_pgmap *hmm_test_alloc_pgmap(struct kunit *test)
{
	struct hmm_test_pgmap *owner = hmm_test_alloc_owner(test);
	struct resource *res;
	void *ptr;

	res = request_free_mem_region(&iomem_resource, PMD_SIZE, "hmm-test");
	KUNIT_ASSERT_FALSE(test, IS_ERR(res));
	owner->pgmap.range = (struct range) {
		.start = res->start, .end = res->end,
	};
	owner->pgmap.nr_range = 1;
	ptr = memremap_pages(&owner->pgmap, numa_node_id());
	if (IS_ERR(ptr))
		release_mem_region(res->start, resource_size(res));
	KUNIT_ASSERT_FALSE(test, IS_ERR(ptr));
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, hmm_test_free_pgmap,
						  owner));
	return owner;
}

/* Private pages: those of the caller, those on offer, and those that are not. */
static void hmm_test_private(struct kunit *test)
{
	struct hmm_test_pgmap *owner = hmm_test_alloc_pgmap(test);
	unsigned long pfn = PHYS_PFN(owner->pgmap.range.start);
	struct hmm_test *ht = test->priv;
	struct device stranger = {};

	hmm_test_request(test, 0, 0);
#define HMM_TEST_RO hmm_softleaf_entry(&ht->hw, make_readable_device_private_entry(pfn))
#define HMM_TEST_RW hmm_softleaf_entry(&ht->hw, make_writable_device_private_entry(pfn))
	KUNIT_EXPECT_EQ(test, HMM_TEST_RO, 0);
	KUNIT_EXPECT_EQ(test, HMM_TEST_RW, 0);

	ht->range.peer = &owner->peer;
	KUNIT_EXPECT_EQ(test, HMM_TEST_RO, pfn | HMM_PFN_PEER);
	KUNIT_EXPECT_EQ(test, HMM_TEST_RW, pfn | HMM_PFN_PEER | HMM_PFN_WRITE);
	KUNIT_EXPECT_TRUE(test, hmm_pfn_is_peer(HMM_TEST_RO));
	owner->type = PCI_P2PDMA_MAP_BUS_ADDR;
	KUNIT_EXPECT_EQ(test, HMM_TEST_RO, pfn | HMM_PFN_PEER);
	owner->type = PCI_P2PDMA_MAP_NOT_SUPPORTED;
	KUNIT_EXPECT_EQ(test, HMM_TEST_RO, 0);
	owner->type = PCI_P2PDMA_MAP_BUS_ADDR;
	owner->answer = -EBUSY;
	KUNIT_EXPECT_EQ(test, HMM_TEST_RW, 0);
	owner->answer = 0;
	ht->range.peer = &stranger;
	KUNIT_EXPECT_EQ(test, HMM_TEST_RW, 0);

	ht->range.dev_private_owner = owner;
	KUNIT_EXPECT_EQ(test, HMM_TEST_RO, pfn | HMM_PFN_VALID | HMM_ENTRY_OWN);
#undef HMM_TEST_RO
#undef HMM_TEST_RW
}

/* What hmm_peer_ask() says of the page @i of a folio that lies at @phys. */
static int hmm_test_ask(struct hmm_test_pgmap *owner, struct folio *folio,
			unsigned long i, phys_addr_t phys)
{
	owner->phys = phys;
	return hmm_peer_ask(folio_page(folio, i), &owner->peer, NULL);
}

KUNIT_DEFINE_ACTION_WRAPPER(hmm_test_folio_put, folio_put, struct folio *);

/* A folio of four pages that passes for one of the owner. */
static struct folio *hmm_test_alloc_folio(struct kunit *test,
					  struct hmm_test_pgmap *owner)
{
	struct folio *folio = folio_alloc(GFP_KERNEL, 2);

	KUNIT_ASSERT_NOT_NULL(test, folio);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, hmm_test_folio_put,
						  folio));
	folio->pgmap = &owner->pgmap;
	return folio;
}

/* Through the host bridge, all of a folio has to be in reach, or none is. */
static void hmm_test_peer_mask_host(struct kunit *test)
{
	static const struct bus_dma_region map[] = {
		{ .cpu_start = BIT_ULL(32), .dma_start = 0, .size = SZ_1G }, {}
	};
	struct hmm_test_pgmap *owner = hmm_test_alloc_owner(test);
	struct folio *folio = hmm_test_alloc_folio(test, owner);
	u64 fits = BIT_ULL(32) - folio_size(folio);

	owner->provider.bus_offset = BIT_ULL(40);
	owner->mask = DMA_BIT_MASK(32);
	KUNIT_EXPECT_EQ(test, 0, hmm_test_ask(owner, folio, 0, fits));
	KUNIT_EXPECT_EQ(test, 0, hmm_test_ask(owner, folio, 3, fits));
	fits += PAGE_SIZE;
	KUNIT_EXPECT_EQ(test, -EREMOTEIO, hmm_test_ask(owner, folio, 0, fits));
	KUNIT_EXPECT_EQ(test, -EREMOTEIO, hmm_test_ask(owner, folio, 3, fits));

	owner->mask = DMA_BIT_MASK(64);
	KUNIT_EXPECT_EQ(test, 0, hmm_test_ask(owner, folio, 0, fits));
	owner->peer.bus_dma_limit = DMA_BIT_MASK(32);
	KUNIT_EXPECT_EQ(test, -EREMOTEIO, hmm_test_ask(owner, folio, 0, fits));
	owner->peer.bus_dma_limit = 0;

	/* It is what the range map makes of the address that counts. */
	owner->peer.dma_range_map = map;
	owner->mask = DMA_BIT_MASK(32);
	KUNIT_EXPECT_EQ(test, 0, hmm_test_ask(owner, folio, 0, BIT_ULL(32)));
	KUNIT_EXPECT_EQ(test, -EREMOTEIO, hmm_test_ask(owner, folio, 0, SZ_1G));
	owner->peer.dma_range_map = NULL;

	owner->peer.dma_mask = NULL;
	KUNIT_EXPECT_EQ(test, -EREMOTEIO, hmm_test_ask(owner, folio, 0, SZ_1G));
}

/* Below a switch it is the bus address that has to be in reach, no other. */
static void hmm_test_peer_mask_bus(struct kunit *test)
{
	struct hmm_test_pgmap *owner = hmm_test_alloc_owner(test);
	struct folio *folio = hmm_test_alloc_folio(test, owner);
	u64 fits = BIT_ULL(32) - folio_size(folio);

	owner->type = PCI_P2PDMA_MAP_BUS_ADDR;
	owner->mask = DMA_BIT_MASK(33);
	owner->provider.bus_offset = BIT_ULL(32);
	KUNIT_EXPECT_EQ(test, 0, hmm_test_ask(owner, folio, 0, fits));
	fits += PAGE_SIZE;
	KUNIT_EXPECT_EQ(test, -EREMOTEIO, hmm_test_ask(owner, folio, 0, fits));
	KUNIT_EXPECT_EQ(test, -EREMOTEIO, hmm_test_ask(owner, folio, 3, fits));
	owner->mask = DMA_BIT_MASK(64);
	KUNIT_EXPECT_EQ(test, 0, hmm_test_ask(owner, folio, 3, fits));

	owner->mask = DMA_BIT_MASK(32);
	owner->provider.bus_offset = -BIT_ULL(40);
	KUNIT_EXPECT_EQ(test, 0, hmm_test_ask(owner, folio, 0, BIT_ULL(40)));
}
#endif /* CONFIG_DEVICE_PRIVATE */

/* What is on offer is no error, but can lack write access, unlike one's own. */
static void hmm_test_emit_peer(struct kunit *test)
{
	unsigned long entry = 0x1000 | HMM_PFN_PEER;
	struct hmm_test *ht = test->priv;

	KUNIT_EXPECT_TRUE(test, hmm_pfn_is_peer(entry));
	KUNIT_EXPECT_FALSE(test, hmm_pfn_is_peer(0x1000 | HMM_PFN_ACCESS));
	KUNIT_EXPECT_FALSE(test, hmm_pfn_is_peer(HMM_PFN_ERROR));

	hmm_test_request(test, HMM_TEST_READ, 0);
	KUNIT_EXPECT_EQ(test, 0, hmm_emit(&ht->hw, hmm_test_addr(0),
					  hmm_test_addr(2), entry));
	KUNIT_EXPECT_EQ(test, ht->pfns[1], entry + 1);

	hmm_test_request(test, HMM_TEST_WRITE, 0);
	KUNIT_EXPECT_EQ(test, 0, hmm_emit(&ht->hw, hmm_test_addr(0),
					  hmm_test_addr(2),
					  entry | HMM_PFN_WRITE));
	KUNIT_EXPECT_EQ(test, HMM_STEP_FAULT,
			hmm_emit(&ht->hw, hmm_test_addr(2), hmm_test_addr(4),
				 entry));
	KUNIT_EXPECT_EQ(test, ht->hw.addr, hmm_test_addr(2));
	KUNIT_EXPECT_TRUE(test, ht->hw.write);
}

/* Output what @ptep and those after it map; return the first entry. */
static unsigned long hmm_test_pte(struct hmm_test *ht, pte_t *ptep)
{
	unsigned long next = ht->range.start;

	ht->range.nr_extents = 0;
	if (hmm_pte_step(&ht->walk, ptep, &next, ht->range.end))
		return 0x55;
	return ht->pfns[0];
}

static void hmm_test_free_pages(void *pages)
{
	unsigned int i;

	for (i = 0; i < HMM_TEST_NPAGES; i++)
		__free_page((struct page *)pages + i);
}

/* Small pages side by side in memory, each on its own. */
static struct page *hmm_test_alloc_pages(struct kunit *test)
{
	unsigned int order = ilog2(HMM_TEST_NPAGES);
	struct page *pages = alloc_pages(GFP_KERNEL, order);

	KUNIT_ASSERT_NOT_NULL(test, pages);
	split_page(pages, order);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test,
							   hmm_test_free_pages,
							   pages));
	return pages;
}

static void hmm_test_pte_kinds(struct kunit *test)
{
	unsigned long pfn = page_to_pfn(hmm_test_alloc_pages(test));
	pte_t ptes[HMM_TEST_NPAGES] = { };
	struct hmm_test *ht = test->priv;

	hmm_test_request(test, 0, 0);
	vm_flags_init(&ht->vma, VM_READ | VM_WRITE);
	KUNIT_EXPECT_EQ(test, hmm_test_pte(ht, ptes), 0);

	ptes[0] = pfn_pte(pfn, PAGE_READONLY);
	KUNIT_EXPECT_EQ(test, hmm_test_pte(ht, ptes), pfn | HMM_PFN_VALID);
	ptes[0] = pte_mkwrite_novma(ptes[0]);
	KUNIT_EXPECT_EQ(test, hmm_test_pte(ht, ptes), pfn | HMM_PFN_ACCESS);
	ptes[0] = swp_entry_to_pte(swp_entry(0, 7));
	KUNIT_EXPECT_EQ(test, hmm_test_pte(ht, ptes), 0);
	ptes[0] = make_pte_marker(PTE_MARKER_GUARD);
	KUNIT_EXPECT_EQ(test, hmm_test_pte(ht, ptes), HMM_PFN_ERROR);
	if (IS_ENABLED(CONFIG_ARCH_HAS_PTE_PROTNONE)) {
		ptes[0] = pfn_pte(pfn, PAGE_NONE);
		KUNIT_EXPECT_EQ(test, hmm_test_pte(ht, ptes), 0);
	}
#ifdef CONFIG_MIGRATION
	ptes[0] = swp_entry_to_pte(make_writable_migration_entry(pfn));
	KUNIT_EXPECT_EQ(test, hmm_test_pte(ht, ptes), 0);
#endif
	/* Each of them was a run of its own. */
	KUNIT_EXPECT_EQ(test, ht->pfns[1], 0);
}

/* Small pages are one run while pfns count up and permissions stay. */
static void hmm_test_pte_run(struct kunit *test)
{
	unsigned long pfn = page_to_pfn(hmm_test_alloc_pages(test));
	struct hmm_test *ht = test->priv;
	pte_t ptes[HMM_TEST_NPAGES];
	unsigned long i;

	ht->range.extents = ht->extents;
	ht->range.max_extents = HMM_TEST_NPAGES;
	hmm_test_request(test, 0, 0);
	for (i = 0; i < HMM_TEST_NPAGES; i++)
		ptes[i] = pte_mkwrite_novma(pfn_pte(pfn + i, PAGE_READONLY));
	ptes[2] = pte_mkdirty(ptes[2]);
	ptes[3] = pte_mkold(ptes[3]);
	KUNIT_EXPECT_EQ(test, hmm_test_pte(ht, ptes), pfn | HMM_PFN_ACCESS);
	KUNIT_EXPECT_EQ(test, ht->pfns[7], (pfn + 7) | HMM_PFN_ACCESS);
	KUNIT_EXPECT_EQ(test, ht->extents[0].npages, HMM_TEST_NPAGES);

	ptes[6] = pfn_pte(pfn + 6, PAGE_READONLY);
	hmm_test_pte(ht, ptes);
	KUNIT_EXPECT_EQ(test, ht->extents[0].npages, 6);

	ptes[5] = ptes[4];
	hmm_test_pte(ht, ptes);
	KUNIT_EXPECT_EQ(test, ht->pfns[5], (pfn + 4) | HMM_PFN_ACCESS);
	KUNIT_EXPECT_EQ(test, ht->extents[0].npages, 5);

	pte_clear(&init_mm, 0, &ptes[1]);
	hmm_test_pte(ht, ptes);
	KUNIT_EXPECT_EQ(test, ht->extents[0].npages, 1);
	KUNIT_EXPECT_EQ(test, ht->range.nr_extents, 1);
}

/* Of pages that are wanted, and no others, extents are made. */
static void hmm_test_pte_wanted(struct kunit *test)
{
	unsigned long pfn = page_to_pfn(hmm_test_alloc_pages(test));
	struct hmm_test *ht = test->priv;
	unsigned long wanted = BIT(1) | BIT(2) | BIT(4);
	pte_t ptes[HMM_TEST_NPAGES];
	unsigned long i, next, end;

	for (i = 0; i < HMM_TEST_NPAGES; i++)
		ptes[i] = pfn_pte(pfn + i, PAGE_READONLY);
	ht->range.hmm_pfns = NULL;
	ht->range.extents = ht->extents;
	ht->range.max_extents = 2;
	hmm_test_request(test, 0, 0);
	ht->range.wanted = &wanted;
	for (i = 0; i < 2; i++) {
		next = hmm_test_addr(i ? 3 : 0);
		end = ht->range.end;
		hmm_find_wanted(&ht->hw, &next, &end);
		KUNIT_EXPECT_EQ(test, next, hmm_test_addr(i ? 4 : 1));
		KUNIT_EXPECT_EQ(test, end, hmm_test_addr(i ? 5 : 3));
		KUNIT_EXPECT_EQ(test, 0,
				hmm_pte_step(&ht->walk, &ptes[i ? 4 : 1], &next,
					     end));
		KUNIT_EXPECT_EQ(test, next, hmm_test_addr(i ? 5 : 3));
	}
	KUNIT_EXPECT_EQ(test, ht->range.nr_extents, 2);
	KUNIT_EXPECT_EQ(test, ht->extents[0].start, hmm_test_addr(1));
	KUNIT_EXPECT_EQ(test, ht->extents[0].npages, 2);
	KUNIT_EXPECT_EQ(test, ht->extents[1].start, hmm_test_addr(4));
	KUNIT_EXPECT_EQ(test, ht->extents[1].npages, 1);
	end = ht->range.end;
	hmm_find_wanted(&ht->hw, &next, &end);
	KUNIT_EXPECT_EQ(test, next, end);
}

/* Pages on both sides of a gap are two extents, and holes are none. */
static void hmm_test_wanted(struct kunit *test)
{
	struct hmm_test *ht = test->priv;
	unsigned long wanted = BIT(1) | BIT(4), entry = 64 | HMM_PFN_VALID;

	ht->range.hmm_pfns = NULL;
	ht->range.extents = ht->extents;
	ht->range.max_extents = HMM_TEST_NPAGES;
	hmm_test_request(test, 0, 0);
	ht->range.wanted = &wanted;
	KUNIT_EXPECT_EQ(test, 0, hmm_emit(&ht->hw, hmm_test_addr(1),
					  hmm_test_addr(2), entry));
	KUNIT_EXPECT_EQ(test, 0, hmm_emit(&ht->hw, hmm_test_addr(2),
					  hmm_test_addr(4), 0));
	KUNIT_EXPECT_EQ(test, 0, hmm_emit(&ht->hw, hmm_test_addr(4),
					  hmm_test_addr(5), entry + 1));
	KUNIT_EXPECT_EQ(test, ht->range.nr_extents, 2);
	KUNIT_EXPECT_TRUE(test, hmm_wants(&ht->hw, hmm_test_addr(2),
					  hmm_test_addr(5)));
	KUNIT_EXPECT_FALSE(test, hmm_wants(&ht->hw, hmm_test_addr(2),
					   hmm_test_addr(4)));
}

/* Blocks of a large folio are as large as their place in the range allows. */
static void hmm_test_pte_blocks(struct kunit *test)
{
	static const struct {
		unsigned long page, nr;
		unsigned int max, orders[HMM_TEST_NPAGES];
	} cases[] = {
		{ 0, 8, 3, { 3, 3, 3, 3, 3, 3, 3, 3 } },
		{ 0, 8, 2, { 2, 2, 2, 2, 2, 2, 2, 2 } },
		{ 0, 8, 0, { 0 } },
		{ 0, 7, 3, { 2, 2, 2, 2, 1, 1, 0 } },
		{ 1, 7, 3, { 0, 1, 1, 2, 2, 2, 2 } },
		{ 3, 4, 3, { 0, 1, 1, 0 } },
	};
	struct hmm_test *ht = test->priv;
	unsigned long i, j, entry = 0x1000 | HMM_PFN_ACCESS;

	hmm_test_request(test, 0, 0);
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		KUNIT_EXPECT_EQ(test, 0,
				hmm_pte_blocks(&ht->hw,
					       hmm_test_addr(cases[i].page),
					       hmm_test_addr(cases[i].page +
							     cases[i].nr),
					       entry, cases[i].max));
		for (j = 0; j < cases[i].nr; j++)
			KUNIT_EXPECT_EQ_MSG(test,
					    ht->pfns[cases[i].page + j],
					    (entry + j) |
					    hmm_order_flags(cases[i].orders[j]),
					    "case %lu, page %lu", i, j);
	}
}

#ifdef CONFIG_TRANSPARENT_HUGEPAGE
static void hmm_test_pmd_kinds(struct kunit *test)
{
	struct page *page = hmm_test_alloc_pages(test);
	unsigned long pfn = ALIGN_DOWN(page_to_pfn(page), HPAGE_PMD_NR);
	unsigned long order = hmm_order_flags(HPAGE_PMD_ORDER);
	struct hmm_test *ht = test->priv;
	pmd_t pmd;

	hmm_test_request(test, 0, 0);
	pmd = pmd_mkhuge(pfn_pmd(pfn, PAGE_READONLY));
	KUNIT_EXPECT_EQ(test, hmm_pmd_leaf(&ht->walk, pmd, hmm_test_addr(3)),
			(pfn + 3) | HMM_PFN_VALID | order);
	pmd = pmd_mkwrite_novma(pmd);
	KUNIT_EXPECT_EQ(test, hmm_pmd_leaf(&ht->walk, pmd, hmm_test_addr(0)),
			pfn | HMM_PFN_ACCESS | order);
	if (IS_ENABLED(CONFIG_ARCH_HAS_PTE_PROTNONE)) {
		pmd = pmd_mkhuge(pfn_pmd(pfn, PAGE_NONE));
		KUNIT_EXPECT_EQ(test, 0, hmm_pmd_leaf(&ht->walk, pmd,
						      hmm_test_addr(0)));
	}
	if (thp_migration_supported()) {
		pmd = swp_entry_to_pmd(make_writable_migration_entry(pfn));
		KUNIT_EXPECT_EQ(test, 0, hmm_pmd_leaf(&ht->walk, pmd,
						      hmm_test_addr(0)));
	}
	if (IS_ENABLED(CONFIG_ARCH_SUPPORTS_PMD_PFNMAP)) {
		vm_flags_init(&ht->vma, VM_READ | VM_MIXEDMAP);
		pmd = pmd_mkspecial(pmd_mkhuge(pfn_pmd(pfn, PAGE_READONLY)));
		KUNIT_EXPECT_EQ(test, HMM_PFN_ERROR,
				hmm_pmd_leaf(&ht->walk, pmd, hmm_test_addr(0)));
	}
}
#endif

#ifdef CONFIG_HUGETLB_PAGE
static void hmm_test_hugetlb_kinds(struct kunit *test)
{
	unsigned long order = hmm_order_flags(huge_page_order(&default_hstate));
	unsigned long entry, pfn = 0x1000;
	unsigned int shift = huge_page_shift(&default_hstate);
	struct hmm_test *ht = test->priv;
	pte_t pte;

	hmm_test_request(test, 0, 0);
#define HMM_TEST_HUGE(pte, page) \
	hmm_hugetlb_leaf(&ht->hw, &default_hstate, pte, hmm_test_addr(page))
	pte = arch_make_huge_pte(pfn_pte(pfn, PAGE_READONLY), shift, 0);
	entry = HMM_TEST_HUGE(pte, 3);
	KUNIT_EXPECT_EQ(test, entry, (pfn + 3) | HMM_PFN_VALID | order);
	entry = HMM_TEST_HUGE(pte_mkwrite_novma(pte), 0);
	KUNIT_EXPECT_EQ(test, entry, pfn | HMM_PFN_ACCESS | order);

	pte_clear(&init_mm, 0, &pte);
	KUNIT_EXPECT_EQ(test, HMM_TEST_HUGE(pte, 3), 0);
	pte = make_pte_marker(PTE_MARKER_POISONED);
	KUNIT_EXPECT_EQ(test, HMM_TEST_HUGE(pte, 3), HMM_PFN_ERROR);
	if (IS_ENABLED(CONFIG_ARCH_HAS_PTE_PROTNONE)) {
		pte = arch_make_huge_pte(pfn_pte(pfn, PAGE_NONE), shift, 0);
		KUNIT_EXPECT_EQ(test, HMM_TEST_HUGE(pte, 3), 0);
	}
#ifdef CONFIG_MIGRATION
	pte = swp_entry_to_pte(make_readable_migration_entry(pfn));
	KUNIT_EXPECT_EQ(test, HMM_TEST_HUGE(pte, 3), 0);
#endif
#undef HMM_TEST_HUGE
}
#endif

/* Only a write to a private mapping replaces a special page. */
static void hmm_test_special(struct kunit *test)
{
	struct hmm_test *ht = test->priv;
	unsigned long addr = ht->range.start;

	vm_flags_init(&ht->vma, VM_READ | VM_MAYWRITE | VM_MIXEDMAP);
	ht->walk.mm = current->mm;
	hmm_test_request(test, HMM_TEST_WRITE, 0);
	KUNIT_EXPECT_EQ(test, hmm_special_entry(&ht->walk, addr, false), 0);
	KUNIT_EXPECT_EQ(test, hmm_special_entry(&ht->walk, addr, true),
			HMM_PFN_ERROR);
	hmm_test_request(test, HMM_TEST_READ, 0);
	KUNIT_EXPECT_EQ(test, hmm_special_entry(&ht->walk, addr, false),
			HMM_PFN_ERROR);

	/* Not for another address space: it would be copied from this one. */
	ht->walk.mm = &init_mm;
	hmm_test_request(test, HMM_TEST_WRITE, 0);
	KUNIT_EXPECT_EQ(test, hmm_special_entry(&ht->walk, addr, false),
			HMM_PFN_ERROR);
	ht->walk.mm = current->mm;

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

/* A new pass does not hide that time is up. */
static void hmm_test_deadline_of_passes(struct kunit *test)
{
	struct hmm_test *ht = test->priv;

	hmm_test_request(test, HMM_TEST_READ, 0);
	ht->hw.vma = &ht->vma;
	ht->hw.reached = ht->range.end;
	ht->hw.deadline = jiffies - 1;
	hmm_pass_begin(&ht->hw);
	KUNIT_EXPECT_EQ(test, hmm_fault_run(&ht->hw, ht->hw.addr), -EBUSY);
}

static bool hmm_test_invalidate(struct mmu_interval_notifier *notifier,
				const struct mmu_notifier_range *range,
				unsigned long cur_seq)
{
	mmu_interval_set_seq(notifier, cur_seq);
	return true;
}

static const struct mmu_interval_notifier_ops hmm_test_notifier_ops = {
	.invalidate = hmm_test_invalidate,
};

static void hmm_test_put_mm(void *mm)
{
	mmput(mm);
}

static struct mm_struct *hmm_test_alloc_mm(struct kunit *test)
{
	struct mm_struct *mm = mm_alloc();

	KUNIT_ASSERT_NOT_NULL(test, mm);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test,
							   hmm_test_put_mm, mm));
	return mm;
}

/* The deadline also ends waiting for one invalidation that does not end. */
static void hmm_test_long_invalidation(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_alloc_mm(test);
	struct mmu_notifier_range invalidation;
	struct hmm_test *ht = test->priv;
	unsigned long start = ht->range.start, end = ht->range.end;
	unsigned long before;

	KUNIT_ASSERT_EQ(test, 0,
			mmu_interval_notifier_insert(&ht->notifier, mm, start,
						     end - start,
						     &hmm_test_notifier_ops));
	hmm_test_request(test, HMM_TEST_READ, 0);
	KUNIT_EXPECT_EQ(test, hmm_read_begin(&ht->hw), 0);
	KUNIT_EXPECT_FALSE(test, hmm_range_collided(&ht->range));

	mmu_notifier_range_init(&invalidation, MMU_NOTIFY_CLEAR, 0, mm, start,
				end);
	mmu_notifier_invalidate_range_start(&invalidation);
	KUNIT_EXPECT_TRUE(test, hmm_range_collided(&ht->range));
	before = jiffies;
	ht->hw.deadline = before + HZ / 10;
	KUNIT_EXPECT_EQ(test, hmm_read_begin(&ht->hw), -EBUSY);
	KUNIT_EXPECT_FALSE(test, time_before(jiffies, before + HZ / 10));
	/* Past the deadline there is still an answer, at once. */
	KUNIT_EXPECT_EQ(test, hmm_read_begin(&ht->hw), -EBUSY);
	mmu_notifier_invalidate_range_end(&invalidation);
	KUNIT_EXPECT_EQ(test, hmm_read_begin(&ht->hw), 0);

	mmu_interval_notifier_remove(&ht->notifier);
}

/* What the OOM reaper has been through is not faulted in again. */
static void hmm_test_reaped_mm(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_alloc_mm(test);
	struct hmm_test *ht = test->priv;

	ht->notifier.mm = mm;
	hmm_test_request(test, 0, 0);
	hmm_pass_begin(&ht->hw);
	KUNIT_EXPECT_EQ(test, hmm_range_populate_unlocked(&ht->hw), 0);
	KUNIT_EXPECT_EQ(test, ht->pfns[0], HMM_PFN_ERROR);

	mm_flags_set(MMF_UNSTABLE, mm);
	hmm_pass_begin(&ht->hw);
	KUNIT_EXPECT_EQ(test, hmm_range_populate_unlocked(&ht->hw), -EFAULT);
	mm_flags_clear(MMF_UNSTABLE, mm);
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

static void hmm_test_bad_arrays(struct kunit *test)
{
	struct hmm_test *ht = test->priv;

	ht->range.max_extents = 4;
	KUNIT_EXPECT_FALSE(test, hmm_range_is_sane(&ht->range));
	ht->range.extents = ht->extents;
	KUNIT_EXPECT_TRUE(test, hmm_range_is_sane(&ht->range));
	ht->range.max_extents = 0;
	KUNIT_EXPECT_FALSE(test, hmm_range_is_sane(&ht->range));

	ht->range.max_extents = 4;
	ht->range.hmm_pfns = NULL;
	KUNIT_EXPECT_TRUE(test, hmm_range_is_sane(&ht->range));
	ht->range.wanted = ht->pfns;
	KUNIT_EXPECT_TRUE(test, hmm_range_is_sane(&ht->range));
	/* Not for a fault. */
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_walk_init(&ht->hw, &ht->range, true,
						     HZ));
	ht->range.hmm_pfns = ht->pfns;
	KUNIT_EXPECT_FALSE(test, hmm_range_is_sane(&ht->range));
	ht->range.hmm_pfns = NULL;
	ht->range.wanted = NULL;
	ht->range.pfn_flags_mask = HMM_TEST_READ;
	KUNIT_EXPECT_EQ(test, -EINVAL,
			hmm_range_fault_unlocked_timeout(&ht->range, 0));
	KUNIT_EXPECT_EQ(test, ht->range.error, -EINVAL);

	ht->range.extents = NULL;
	ht->range.max_extents = 0;
	KUNIT_EXPECT_FALSE(test, hmm_range_is_sane(&ht->range));
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
	KUNIT_CASE(hmm_test_extent_grow),
	KUNIT_CASE(hmm_test_extents),
	KUNIT_CASE(hmm_test_extents_full),
	KUNIT_CASE(hmm_test_partial),
	KUNIT_CASE(hmm_test_congruent_order),
	KUNIT_CASE(hmm_test_softleaf),
#ifdef CONFIG_DEVICE_PRIVATE
	KUNIT_CASE(hmm_test_private),
	KUNIT_CASE(hmm_test_peer_mask_host),
	KUNIT_CASE(hmm_test_peer_mask_bus),
#endif
	KUNIT_CASE(hmm_test_emit_peer),
	KUNIT_CASE(hmm_test_pte_kinds),
	KUNIT_CASE(hmm_test_pte_run),
	KUNIT_CASE(hmm_test_pte_wanted),
	KUNIT_CASE(hmm_test_wanted),
	KUNIT_CASE(hmm_test_pte_blocks),
#ifdef CONFIG_TRANSPARENT_HUGEPAGE
	KUNIT_CASE(hmm_test_pmd_kinds),
#endif
#ifdef CONFIG_HUGETLB_PAGE
	KUNIT_CASE(hmm_test_hugetlb_kinds),
#endif
	KUNIT_CASE(hmm_test_special),
	KUNIT_CASE(hmm_test_deadline),
	KUNIT_CASE(hmm_test_deadline_of_passes),
	KUNIT_CASE(hmm_test_long_invalidation),
	KUNIT_CASE(hmm_test_reaped_mm),
	KUNIT_CASE(hmm_test_bad_arguments),
	KUNIT_CASE(hmm_test_bad_arrays),
	{}
};

static struct kunit_suite hmm_test_suite = {
	.name = "hmm_range",
	.init = hmm_test_init,
	.test_cases = hmm_test_cases,
};

kunit_test_suite(hmm_test_suite);
