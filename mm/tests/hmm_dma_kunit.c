// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * KUnit tests of the HMM DMA layer: what a device can reach after ranges were
 * mapped and unmapped, what it costs in calls of the IOMMU driver, what clear()
 * is told, and what failed calls leave behind.
 *
 * Most cases run for a view without device, for a device with a direct mapping
 * and for one behind a fake IOMMU. The latter keeps its page table as an array,
 * counts what it is asked for, and notices when a mapping is taken down in
 * parts, when the IOTLB is not flushed, and when something stays behind.
 *
 * Included by mm/hmm_dma.c, whose static functions it may call. No page table of
 * a CPU is walked: a test writes what a walk would have reported into
 * dma_test.found. Each case works on objects of its own; dma_test.lock is
 * the update lock of its view and is there for lockdep.
 */
#include <kunit/device.h>
#include <kunit/platform_device.h>
#include <kunit/static_stub.h>
#include <kunit/test.h>
#include <linux/mutex.h>
#include <linux/platform_device.h>
#include <linux/prandom.h>
#include <linux/sizes.h>
#include <linux/vmalloc.h>

/* Where windows begin, unless a case wants something else: not at a slot 0. */
#define DMA_TEST_START		(5UL * PUD_SIZE)
#define DMA_TEST_SLOTS		4UL
#define DMA_TEST_PAGES		(DMA_TEST_SLOTS * SLOT_PAGES)

#define DMA_TEST_R		HMM_PFN_VALID
#define DMA_TEST_W		(HMM_PFN_VALID | HMM_PFN_WRITE)
#define DMA_TEST_O(order)	((unsigned long)(order) << HMM_PFN_ORDER_SHIFT)
#define DMA_TEST_LEAF		DMA_TEST_O(SLOT_ORDER)

/* What the model knows of a page. */
struct dma_test_page {
	unsigned long found;	/* what it was mapped from, 0 if not mapped */
	bool writable;
};

struct dma_test {
	struct kunit *test;
	struct mutex lock;		/* the update lock of @view */
	struct device *dev;
	struct dma_test_iommu *iommu;	/* of @dev, or NULL */
	struct hmm_dma_view view;
	size_t memory;			/* of the view when it was empty */
	unsigned long *found;		/* one entry per page of the window */
	struct hmm_extent *extents;	/* pass these to the layer, not @found */
	unsigned long pages;		/* pfn: SLOT_PAGES folios side by side */
	unsigned long leaf;		/* pfn: one folio of SLOT_ORDER */

	/* what clear() was told since the last call */
	unsigned int clears;
	unsigned long clear_start;
	unsigned long clear_end;
	struct dma_test_page *model;
	DECLARE_BITMAP(dirty, SLOT_PAGES + 1);
	unsigned long op_start;		/* what the model's operation is for */
	unsigned long op_end;

	/* what the owner of device-private pages and P2PDMA say of a peer */
	struct p2pdma_provider provider;
	phys_addr_t peer_phys;		/* of the first page */
	unsigned long refused;		/* a page that is not offered, by pfn */
	unsigned long moved;		/* one that lies somewhere else */
	enum pci_p2pdma_map_type map_type;
};

/* ---- A fake IOMMU ---- */

#define FAKE_APERTURE		SZ_4G
#define FAKE_PTES		(FAKE_APERTURE >> PAGE_SHIFT)
#define FAKE_FIRST		BIT(BITS_PER_LONG - 1)	/* of a call of map_pages() */
#define FAKE_READ		BIT(BITS_PER_LONG - 2)
#define FAKE_WRITE		BIT(BITS_PER_LONG - 3)
#define FAKE_FLAGS		(FAKE_FIRST | FAKE_READ | FAKE_WRITE)

/**
 * struct dma_test_iommu - the page table that a device is behind
 * @domain: for the IOMMU core
 * @ptes: an entry for each page of the IOVA space
 * @mapped: entries that are not 0
 * @unflushed: pages unmapped since the last flush
 * @unsynced: first byte mapped since the last sync
 * @unsynced_end: first byte after what was mapped since then
 * @largest: largest page size used
 * @cleared: clear() has been called since the last flush
 * @errors: mappings that were unmapped in parts or without clear(), missing
 *	ones that were unmapped, present ones that were mapped
 * @maps: calls of map_pages()
 * @syncs: calls of iotlb_sync_map()
 * @flushes: calls of iotlb_sync()
 * @fail_map: which call of map_pages() from now on is to fail, 0 for none
 * @fail_with: the errno of that, 0 for -ENOMEM
 * @fail_sync: whether iotlb_sync_map() is to fail
 */
struct dma_test_iommu {
	struct iommu_domain domain;
	unsigned long *ptes;
	unsigned long mapped;
	unsigned long unflushed;
	unsigned long unsynced;
	unsigned long unsynced_end;
	size_t largest;
	bool cleared;
	unsigned int errors;
	unsigned int maps;
	unsigned int syncs;
	unsigned int flushes;
	unsigned int fail_map;
	int fail_with;
	bool fail_sync;
};

static void dma_test_reset_counts(struct dma_test *dt)
{
	struct dma_test_iommu *iommu = dt->iommu;

	dt->clears = 0;
	if (!iommu)
		return;
	iommu->maps = 0;
	iommu->syncs = 0;
	iommu->flushes = 0;
	iommu->largest = 0;
}

#ifdef CONFIG_IOMMU_DMA
static struct iommu_device dma_test_iommu_device;

static struct dma_test_iommu *dma_test_to_iommu(struct iommu_domain *domain)
{
	return container_of(domain, struct dma_test_iommu, domain);
}

static int dma_test_map_pages(struct iommu_domain *domain, unsigned long iova,
			      phys_addr_t paddr, size_t pgsize, size_t pgcount,
			      int prot, gfp_t gfp, size_t *mapped)
{
	struct dma_test_iommu *iommu = dma_test_to_iommu(domain);
	unsigned long n = pgsize * pgcount >> PAGE_SHIFT, i;
	unsigned long *pte = iommu->ptes + (iova >> PAGE_SHIFT);
	unsigned long entry = PHYS_PFN(paddr);

	if (iommu->fail_map && !--iommu->fail_map)
		return iommu->fail_with ?: -ENOMEM;
	if ((iova >> PAGE_SHIFT) + n > FAKE_PTES)
		return -ERANGE;

	if (prot & IOMMU_READ)
		entry |= FAKE_READ;
	if (prot & IOMMU_WRITE)
		entry |= FAKE_WRITE;
	for (i = 0; i < n; i++) {
		iommu->errors += !!pte[i];
		pte[i] = entry + i;
	}
	pte[0] |= FAKE_FIRST;
	iommu->maps++;
	iommu->mapped += n;
	iommu->largest = max(iommu->largest, pgsize);
	iommu->unsynced = min(iommu->unsynced, iova);
	iommu->unsynced_end = max(iommu->unsynced_end, iova + pgsize * pgcount);
	*mapped = pgsize * pgcount;
	return 0;
}

static size_t dma_test_unmap_pages(struct iommu_domain *domain,
				   unsigned long iova, size_t pgsize,
				   size_t pgcount,
				   struct iommu_iotlb_gather *gather)
{
	struct dma_test_iommu *iommu = dma_test_to_iommu(domain);
	unsigned long n = pgsize * pgcount >> PAGE_SHIFT, i;
	unsigned long first = iova >> PAGE_SHIFT;
	unsigned long *pte = iommu->ptes + first;

	if (!iommu->cleared || !(pte[0] & FAKE_FIRST))
		iommu->errors++;
	if (first + n < FAKE_PTES && pte[n] && !(pte[n] & FAKE_FIRST))
		iommu->errors++;
	for (i = 0; i < n; i++) {
		iommu->errors += !pte[i];
		pte[i] = 0;
	}
	iommu->mapped -= n;
	iommu->unflushed += n;
	if (!iommu->mapped) {
		iommu->unsynced = ULONG_MAX;
		iommu->unsynced_end = 0;
	}
	return pgsize * pgcount;
}

static int dma_test_iotlb_sync_map(struct iommu_domain *domain,
				   unsigned long iova, size_t size)
{
	struct dma_test_iommu *iommu = dma_test_to_iommu(domain);

	if (iommu->fail_sync)
		return -EIO;
	iommu->syncs++;
	if (iova <= iommu->unsynced && iova + size >= iommu->unsynced_end) {
		iommu->unsynced = ULONG_MAX;
		iommu->unsynced_end = 0;
	}
	return 0;
}

static void dma_test_iotlb_sync(struct iommu_domain *domain,
				struct iommu_iotlb_gather *gather)
{
	struct dma_test_iommu *iommu = dma_test_to_iommu(domain);

	iommu->flushes++;
	iommu->unflushed = 0;
	iommu->cleared = false;
}

static phys_addr_t dma_test_iova_to_phys(struct iommu_domain *domain,
					 dma_addr_t iova)
{
	struct dma_test_iommu *iommu = dma_test_to_iommu(domain);

	return PFN_PHYS(iommu->ptes[iova >> PAGE_SHIFT] & ~FAKE_FLAGS);
}

static int dma_test_attach_dev(struct iommu_domain *domain, struct device *dev,
			       struct iommu_domain *old)
{
	return 0;
}

static void dma_test_domain_free(struct iommu_domain *domain)
{
	struct dma_test_iommu *iommu = dma_test_to_iommu(domain);

	vfree(iommu->ptes);
	kfree(iommu);
}

static const struct iommu_domain_ops dma_test_domain_ops = {
	.attach_dev = dma_test_attach_dev,
	.map_pages = dma_test_map_pages,
	.unmap_pages = dma_test_unmap_pages,
	.iotlb_sync_map = dma_test_iotlb_sync_map,
	.iotlb_sync = dma_test_iotlb_sync,
	.iova_to_phys = dma_test_iova_to_phys,
	.free = dma_test_domain_free,
};

static struct iommu_domain *dma_test_domain_alloc(struct device *dev)
{
	struct dma_test_iommu *iommu = kzalloc_obj(*iommu);

	if (!iommu)
		return ERR_PTR(-ENOMEM);
	iommu->ptes = vzalloc(array_size(FAKE_PTES, sizeof(*iommu->ptes)));
	if (!iommu->ptes) {
		kfree(iommu);
		return ERR_PTR(-ENOMEM);
	}
	iommu->unsynced = ULONG_MAX;
	iommu->domain.pgsize_bitmap = PAGE_SIZE | PMD_SIZE | PUD_SIZE;
	iommu->domain.geometry.aperture_end = FAKE_APERTURE - 1;
	iommu->domain.geometry.force_aperture = true;
	return &iommu->domain;
}

static struct iommu_device *dma_test_probe_device(struct device *dev)
{
	return &dma_test_iommu_device;
}

static int dma_test_def_domain_type(struct device *dev)
{
	return IOMMU_DOMAIN_DMA;
}

static const struct iommu_ops dma_test_iommu_ops = {
	.probe_device = dma_test_probe_device,
	.device_group = generic_device_group,
	.def_domain_type = dma_test_def_domain_type,
	.domain_alloc_paging = dma_test_domain_alloc,
	.default_domain_ops = &dma_test_domain_ops,
};

static int dma_test_suite_init(struct kunit_suite *suite)
{
	struct iommu_device *iommu = &dma_test_iommu_device;
	int ret;

	iommu->fwnode = fwnode_create_software_node(NULL, NULL);
	if (IS_ERR(iommu->fwnode))
		return PTR_ERR(iommu->fwnode);
	ret = iommu_device_sysfs_add(iommu, NULL, NULL, "hmm-dma-test");
	if (ret)
		goto no_sysfs;
	ret = iommu_device_register(iommu, &dma_test_iommu_ops, NULL);
	if (!ret)
		return 0;
	iommu_device_sysfs_remove(iommu);
no_sysfs:
	fwnode_remove_software_node(iommu->fwnode);
	iommu->fwnode = NULL;
	return ret;
}

static void dma_test_suite_exit(struct kunit_suite *suite)
{
	struct iommu_device *iommu = &dma_test_iommu_device;

	if (!iommu->fwnode)
		return;
	iommu_device_unregister(iommu);
	iommu_device_sysfs_remove(iommu);
	fwnode_remove_software_node(iommu->fwnode);
	iommu->fwnode = NULL;
}

/* The IOMMU core only takes devices of some buses: no KUnit device. */
static void dma_test_add_iommu_device(struct dma_test *dt)
{
	struct kunit *test = dt->test;
	struct platform_device *pdev;
	int ret;

	pdev = kunit_platform_device_alloc(test, "hmm-dma-test",
					   PLATFORM_DEVID_AUTO);
	KUNIT_ASSERT_NOT_NULL(test, pdev);
	mutex_lock(&iommu_probe_device_lock);
	ret = iommu_fwspec_init(&pdev->dev, dma_test_iommu_device.fwnode);
	mutex_unlock(&iommu_probe_device_lock);
	KUNIT_ASSERT_EQ(test, ret, 0);
	KUNIT_ASSERT_EQ(test, kunit_platform_device_add(test, pdev), 0);
	KUNIT_ASSERT_TRUE(test, use_dma_iommu(&pdev->dev));
	dt->dev = &pdev->dev;
	dt->iommu = dma_test_to_iommu(iommu_get_dma_domain(dt->dev));
}
#else
static int dma_test_suite_init(struct kunit_suite *suite)
{
	return 0;
}

static void dma_test_suite_exit(struct kunit_suite *suite)
{
}

static void dma_test_add_iommu_device(struct dma_test *dt)
{
}
#endif /* CONFIG_IOMMU_DMA */

/* ---- Setting up ---- */

enum dma_test_device {
	DMA_TEST_NONE,
	DMA_TEST_DIRECT,
	DMA_TEST_IOMMU,
};

static const struct dma_test_param {
	enum dma_test_device device;
	const char *name;
} dma_test_params[] = {
	{ DMA_TEST_NONE, "no device" },
	{ DMA_TEST_DIRECT, "direct" },
#ifdef CONFIG_IOMMU_DMA
	{ DMA_TEST_IOMMU, "iommu" },
#endif
};

KUNIT_ARRAY_PARAM_DESC(dma_test, dma_test_params, name);

static void dma_test_add_device(struct dma_test *dt)
{
	const struct dma_test_param *param = dt->test->param_value;
	struct kunit *test = dt->test;

	if (!param || param->device == DMA_TEST_NONE)
		return;
	if (param->device == DMA_TEST_IOMMU) {
		dma_test_add_iommu_device(dt);
	} else {
		dt->dev = kunit_device_register(test, "hmm-dma-test");
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, dt->dev);
	}
	KUNIT_ASSERT_EQ(test, 0,
			dma_set_mask_and_coherent(dt->dev, DMA_BIT_MASK(64)));
}

static void dma_test_free_pages(void *page)
{
	unsigned long i;

	for (i = 0; i < SLOT_PAGES; i++)
		__free_page((struct page *)page + i);
}

static void dma_test_free_leaf(void *page)
{
	__free_pages(page, SLOT_ORDER);
}

static void dma_test_alloc_pages(struct dma_test *dt)
{
	struct kunit *test = dt->test;
	struct page *page;

	page = alloc_pages(GFP_KERNEL, SLOT_ORDER);
	KUNIT_ASSERT_NOT_NULL(test, page);
	split_page(page, SLOT_ORDER);
	dt->pages = page_to_pfn(page);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, dma_test_free_pages,
						  page));

	page = alloc_pages(GFP_KERNEL | __GFP_COMP, SLOT_ORDER);
	KUNIT_ASSERT_NOT_NULL(test, page);
	dt->leaf = page_to_pfn(page);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, dma_test_free_leaf,
						  page));
}

static int dma_test_init(struct kunit *test)
{
	struct dma_test *dt = kunit_kzalloc(test, sizeof(*dt), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, dt);
	dt->test = test;
	test->priv = dt;
	mutex_init(&dt->lock);
	dma_test_add_device(dt);
	dma_test_alloc_pages(dt);
	return 0;
}

static void dma_test_model_clear(struct dma_test *dt, unsigned long start,
				 unsigned long end);

static void dma_test_clear(struct hmm_dma_view *view, unsigned long start,
			   unsigned long end)
{
	struct dma_test *dt = container_of(view, struct dma_test, view);

	dt->clears++;
	dt->clear_start = start;
	dt->clear_end = end;
	if (dt->iommu)
		dt->iommu->cleared = true;
	if (dt->model)
		dma_test_model_clear(dt, start, end);
}

static const struct hmm_dma_ops dma_test_ops = {
	.clear = dma_test_clear,
};

KUNIT_DEFINE_ACTION_WRAPPER(dma_test_kvfree, kvfree, const void *);

static void *dma_test_alloc(struct kunit *test, size_t n, size_t size)
{
	void *array = kvcalloc(n, size, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, array);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, dma_test_kvfree,
							   array));
	return array;
}

/* The view of the case, of the window [@start, @end). */
static void dma_test_view(struct dma_test *dt, unsigned long start,
			  unsigned long end)
{
	struct kunit *test = dt->test;

	dt->found = dma_test_alloc(test, (end - start) >> PAGE_SHIFT,
				   sizeof(*dt->found));
	KUNIT_ASSERT_EQ(test, 0,
			hmm_dma_view_init(&dt->view, dt->dev, &dma_test_ops,
					  start, end));
	hmm_dma_view_set_lock(&dt->view, &dt->lock);
	dt->memory = hmm_dma_view_memory(&dt->view);
}

static struct dma_test *dma_test_begin(struct kunit *test)
{
	struct dma_test *dt = test->priv;

	dma_test_view(dt, DMA_TEST_START,
		      DMA_TEST_START + DMA_TEST_PAGES * PAGE_SIZE);
	return dt;
}

static void dma_test_end_view(struct dma_test *dt)
{
	if (!dt->view.slots)
		return;
	mutex_lock(&dt->lock);
	hmm_range_dma_unmap(&dt->view, 0, PAGE_MASK);
	mutex_unlock(&dt->lock);
	hmm_dma_view_destroy(&dt->view);
}

static void dma_test_exit(struct kunit *test)
{
	struct dma_test *dt = test->priv;

	if (!dt)
		return;
	dma_test_end_view(dt);
	if (!dt->iommu)
		return;
	KUNIT_EXPECT_EQ(test, dt->iommu->mapped, 0);
	KUNIT_EXPECT_EQ(test, dt->iommu->unflushed, 0);
	KUNIT_EXPECT_EQ(test, dt->iommu->errors, 0);
}

/* ---- Doing and looking ---- */

static unsigned long dma_test_va(struct dma_test *dt, unsigned long page)
{
	return dt->view.start + page * PAGE_SIZE;
}

/* Say that a walk finds @npages from @page on mapped to pages from @pfn on. */
static void dma_test_set(struct dma_test *dt, unsigned long page,
			 unsigned long npages, unsigned long pfn,
			 unsigned long flags)
{
	unsigned long i;

	for (i = 0; i < npages; i++)
		dt->found[page + i] = flags & HMM_PFN_VALID ? (pfn + i) | flags :
							      flags;
}

static struct hmm_range dma_test_range(struct dma_test *dt, unsigned long page,
				       unsigned long end)
{
	struct hmm_range range = {
		.start = dma_test_va(dt, page),
		.end = dma_test_va(dt, end),
		.next = dma_test_va(dt, end),
		.hmm_pfns = dt->found + page,
	};
	struct hmm_extent run = {};

	if (!dt->extents)
		return range;
	while (hmm_range_next_run(&range, &run))
		dt->extents[range.nr_extents++] = run;
	range.max_extents = range.nr_extents;
	range.extents = dt->extents;
	range.hmm_pfns = NULL;
	return range;
}

static int dma_test_map_range(struct dma_test *dt,
			      const struct hmm_range *range, unsigned int flags)
{
	int ret;

	dma_test_reset_counts(dt);
	mutex_lock(&dt->lock);
	ret = hmm_range_dma_map(range, &dt->view, flags);
	mutex_unlock(&dt->lock);
	return ret;
}

/* What a driver does after a walk of pages [@page, @end). */
static int dma_test_map(struct dma_test *dt, unsigned long page,
			unsigned long end, unsigned int flags)
{
	struct hmm_range range = dma_test_range(dt, page, end);
	int ret = hmm_range_dma_prepare(&range, &dt->view);

	return ret ?: dma_test_map_range(dt, &range, flags);
}

static void dma_test_unmap(struct dma_test *dt, unsigned long page,
			   unsigned long end)
{
	dma_test_reset_counts(dt);
	mutex_lock(&dt->lock);
	hmm_range_dma_unmap(&dt->view, dma_test_va(dt, page),
			    dma_test_va(dt, end));
	mutex_unlock(&dt->lock);
}

static bool dma_test_next_run(struct dma_test *dt, unsigned long end,
			      struct hmm_dma_run *run)
{
	bool found;

	mutex_lock(&dt->lock);
	found = hmm_dma_next_run(&dt->view, dma_test_va(dt, end), run);
	mutex_unlock(&dt->lock);
	return found;
}

/* Which page of [@page, @end) is missing first. */
static unsigned long dma_test_missing(struct dma_test *dt, unsigned long page,
				      unsigned long end, bool write)
{
	unsigned long va;

	mutex_lock(&dt->lock);
	va = hmm_dma_first_missing(&dt->view, dma_test_va(dt, page),
				   dma_test_va(dt, end), write);
	mutex_unlock(&dt->lock);
	return (va - dt->view.start) >> PAGE_SHIFT;
}

/* How many pages of [@page, @end) the device can reach. */
static unsigned long dma_test_mapped(struct dma_test *dt, unsigned long page,
				     unsigned long end)
{
	struct hmm_dma_run run = { .start = dma_test_va(dt, page) };
	unsigned long n = 0;

	while (dma_test_next_run(dt, end, &run))
		n += run.npages;
	return n;
}

/* How many slots have a table. */
static size_t dma_test_tables(struct dma_test *dt)
{
	return (hmm_dma_view_memory(&dt->view) - dt->memory) /
	       hmm_dma_table_size(&dt->view);
}

/* Does the device find the page @pfn at @addr? Without one, @run_pfn counts. */
static bool dma_test_reaches(struct dma_test *dt, dma_addr_t addr,
			     unsigned long run_pfn, unsigned long pfn,
			     bool writable)
{
	unsigned long entry = pfn | FAKE_READ | (writable ? FAKE_WRITE : 0);

	if (!dt->dev)
		return !addr && run_pfn == pfn;
	if (!dt->iommu)
		return addr == PFN_PHYS(pfn);
	return addr < FAKE_APERTURE &&
	       (dt->iommu->ptes[addr >> PAGE_SHIFT] & ~FAKE_FIRST) == entry;
}

/* The device reaches exactly what was found at @page. */
static void dma_test_expect_page(struct dma_test *dt, unsigned long page,
				 bool writable)
{
	struct hmm_dma_run run = { .start = dma_test_va(dt, page) };
	unsigned long pfn = dt->found[page] & ~HMM_PFN_FLAGS;
	struct kunit *test = dt->test;

	KUNIT_ASSERT_TRUE(test, dma_test_next_run(dt, page + 1, &run));
	KUNIT_EXPECT_EQ(test, run.start, dma_test_va(dt, page));
	KUNIT_EXPECT_EQ(test, run.npages, 1);
	KUNIT_EXPECT_EQ(test, run.pfn, pfn);
	KUNIT_EXPECT_EQ(test, run.kind, HMM_DMA_MEMORY);
	KUNIT_EXPECT_EQ(test, run.writable, writable);
	KUNIT_EXPECT_TRUE(test, dma_test_reaches(dt, run.addr, run.pfn, pfn,
						 writable));
}

static void dma_test_expect_pages(struct dma_test *dt, unsigned long page,
				  unsigned long end, bool writable)
{
	for (; page < end; page++)
		dma_test_expect_page(dt, page, writable);
}

/* Calls of the IOMMU driver during the last operation. */
static void dma_test_expect_calls(struct dma_test *dt, unsigned int maps,
				  unsigned int syncs, unsigned int flushes)
{
	struct dma_test_iommu *iommu = dt->iommu;
	struct kunit *test = dt->test;

	if (!iommu)
		return;
	KUNIT_EXPECT_EQ(test, iommu->maps, maps);
	KUNIT_EXPECT_EQ(test, iommu->syncs, syncs);
	KUNIT_EXPECT_EQ(test, iommu->flushes, flushes);
	KUNIT_EXPECT_EQ(test, iommu->errors, 0);
	KUNIT_EXPECT_EQ(test, iommu->unflushed, 0);
	KUNIT_EXPECT_EQ(test, iommu->unsynced_end, 0);
	KUNIT_EXPECT_EQ(test, iommu->mapped,
			dma_test_mapped(dt, 0, (dt->view.end - dt->view.start)
					>> PAGE_SHIFT));
}

/* clear() was called once, for exactly these pages. */
static void dma_test_expect_clear(struct dma_test *dt, unsigned long page,
				  unsigned long end)
{
	struct kunit *test = dt->test;

	KUNIT_EXPECT_EQ(test, dt->clears, 1);
	KUNIT_EXPECT_EQ(test, dt->clear_start, dma_test_va(dt, page));
	KUNIT_EXPECT_EQ(test, dt->clear_end, dma_test_va(dt, end));
}

/*
 * An unmapping of pages [@page, @end) has taken the links [@first, @last) that
 * have them, or, where there are none, no more than these pages.
 */
static void dma_test_expect_links(struct dma_test *dt, unsigned long page,
				  unsigned long end, unsigned long first,
				  unsigned long last)
{
	if (dt->dev)
		dma_test_expect_clear(dt, first, last);
	else
		dma_test_expect_clear(dt, page, end);
}

/* All pages of [@page, @end), which is one link if there are any, were remapped. */
static void dma_test_expect_remapped(struct dma_test *dt, unsigned long page,
				     unsigned long end)
{
	if (dt->dev) {
		dma_test_expect_clear(dt, page, end);
		return;
	}
	KUNIT_EXPECT_EQ(dt->test, dt->clears, end - page);
	KUNIT_EXPECT_EQ(dt->test, dt->clear_end, dma_test_va(dt, end));
}

/* Run number @nr of the pages [@page, @end). */
static struct hmm_dma_run dma_test_run(struct dma_test *dt, unsigned int nr,
				       unsigned long page, unsigned long end)
{
	struct hmm_dma_run run = { .start = dma_test_va(dt, page) };

	do {
		if (!dma_test_next_run(dt, end, &run))
			return (struct hmm_dma_run) {};
	} while (nr--);
	return run;
}

static void dma_test_expect_run(struct dma_test *dt,
				const struct hmm_dma_run *run,
				unsigned long page, unsigned long npages)
{
	KUNIT_EXPECT_EQ(dt->test, run->start, dma_test_va(dt, page));
	KUNIT_EXPECT_EQ(dt->test, run->npages, npages);
}

/* ---- Cases ---- */

static void dma_test_init_errors(struct kunit *test)
{
	struct dma_test *dt = test->priv;
	static const struct {
		unsigned long start, end;
	} bad[] = {
		{ DMA_TEST_START, DMA_TEST_START },
		{ DMA_TEST_START + PAGE_SIZE, DMA_TEST_START },
		{ DMA_TEST_START + 1, DMA_TEST_START + PAGE_SIZE },
		{ DMA_TEST_START, DMA_TEST_START + PAGE_SIZE + 8 },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++)
		KUNIT_EXPECT_EQ(test, -EINVAL,
				hmm_dma_view_init(&dt->view, dt->dev, NULL,
						  bad[i].start, bad[i].end));
	KUNIT_EXPECT_NULL(test, dt->view.slots);
}

/* More than all IOVA that there is; the view is left without anything. */
static void dma_test_init_no_iova(struct kunit *test)
{
	unsigned long size = min_t(u64, 2 * FAKE_APERTURE, ULONG_MAX / 2);
	struct dma_test *dt = test->priv;
	int ret = hmm_dma_view_init(&dt->view, dt->dev, NULL, PUD_SIZE,
				    PUD_SIZE + round_up(size, PUD_SIZE));

	KUNIT_EXPECT_EQ(test, ret, dt->iommu ? -ENOSPC : 0);
	if (dt->iommu)
		KUNIT_EXPECT_NULL(test, dt->view.slots);
}

/* Who would need a bounce buffer or cache maintenance is refused. */
static void dma_test_init_unfit_device(struct kunit *test)
{
	struct dma_test *dt = test->priv;
	unsigned long end = DMA_TEST_START + PAGE_SIZE;
	struct device *dev;

	dev = kunit_device_register(test, "hmm-dma-test-unfit");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, dev);
	KUNIT_ASSERT_EQ(test, 0,
			dma_set_mask_and_coherent(dev, DMA_BIT_MASK(64)));

	*dev->dma_mask = DMA_BIT_MASK(20);
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP,
			hmm_dma_view_init(&dt->view, dev, NULL, DMA_TEST_START,
					  end));
	*dev->dma_mask = DMA_BIT_MASK(64);

#ifdef CONFIG_ARCH_HAS_DMA_OPS
	static const struct dma_map_ops ops = {};

	set_dma_ops(dev, &ops);
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP,
			hmm_dma_view_init(&dt->view, dev, NULL, DMA_TEST_START,
					  end));
	set_dma_ops(dev, NULL);
#endif
#ifdef CONFIG_SWIOTLB
	struct io_tlb_mem *mem = dev->dma_io_tlb_mem;
	struct io_tlb_mem force = { .force_bounce = true };

	dev->dma_io_tlb_mem = &force;
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP,
			hmm_dma_view_init(&dt->view, dev, NULL, DMA_TEST_START,
					  end));
	dev->dma_io_tlb_mem = mem;
#endif
	KUNIT_EXPECT_NULL(test, dt->view.slots);
	KUNIT_EXPECT_EQ(test, 0,
			hmm_dma_view_init(&dt->view, dev, NULL, DMA_TEST_START,
					  end));
}

static void dma_test_one_page(struct kunit *test)
{
	struct dma_test *dt = dma_test_begin(test);

	dma_test_set(dt, 3, 1, dt->pages + 7, DMA_TEST_W);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, 8, 0), 0);
	dma_test_expect_page(dt, 3, true);
	dma_test_expect_calls(dt, 1, 1, 0);
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, DMA_TEST_PAGES), 1);
	KUNIT_EXPECT_EQ(test, dma_test_tables(dt), 1);
	KUNIT_EXPECT_EQ(test, dt->clears, 0);
	KUNIT_EXPECT_EQ(test, dt->view.drops, 0);

	dma_test_unmap(dt, 3, 4);
	dma_test_expect_clear(dt, 3, 4);
	dma_test_expect_calls(dt, 0, 0, 1);
	KUNIT_EXPECT_EQ(test, dt->view.drops, 1);
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, DMA_TEST_PAGES), 0);
}

/* A contiguous run is one link, wherever it begins. */
static void dma_test_contiguous(struct kunit *test)
{
	struct dma_test *dt = dma_test_begin(test);
	struct hmm_dma_run run;

	dma_test_set(dt, 10, 54, dt->pages, DMA_TEST_W);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, 100, 0), 0);
	dma_test_expect_calls(dt, 1, 1, 0);
	dma_test_expect_pages(dt, 10, 64, true);
	run = dma_test_run(dt, 0, 0, 100);
	dma_test_expect_run(dt, &run, 10, 54);
	KUNIT_EXPECT_EQ(test, run.order, 0);

	dma_test_unmap(dt, 0, DMA_TEST_PAGES);
	dma_test_expect_clear(dt, 10, DMA_TEST_PAGES);
	dma_test_expect_calls(dt, 0, 0, 1);
}

/* Behind an IOMMU it is all one run. */
static void dma_test_scattered(struct kunit *test)
{
	struct dma_test *dt = dma_test_begin(test);
	unsigned long i;

	for (i = 0; i < 8; i++)
		dma_test_set(dt, i, 1, dt->pages + 30 - 2 * i, DMA_TEST_R);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, 8, 0), 0);
	dma_test_expect_calls(dt, 8, 1, 0);
	dma_test_expect_pages(dt, 0, 8, false);
	KUNIT_EXPECT_EQ(test, dma_test_run(dt, 0, 0, 8).npages,
			dt->iommu ? 8 : 1);

	dma_test_unmap(dt, 0, 8);
	dma_test_expect_clear(dt, 0, 8);
	dma_test_expect_calls(dt, 0, 0, 1);
}

/* The bounds of a slot are those of its links, not those of a run. */
static void dma_test_over_slots(struct kunit *test)
{
	struct dma_test *dt = dma_test_begin(test);
	struct hmm_dma_run run;

	dma_test_set(dt, SLOT_PAGES - 12, 24, dt->pages, DMA_TEST_W);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, DMA_TEST_PAGES, 0), 0);
	dma_test_expect_calls(dt, 2, 1, 0);
	dma_test_expect_pages(dt, SLOT_PAGES - 12, SLOT_PAGES + 12, true);
	run = dma_test_run(dt, 0, 0, DMA_TEST_PAGES);
	dma_test_expect_run(dt, &run, SLOT_PAGES - 12, 24);

	dma_test_unmap(dt, SLOT_PAGES - 1, SLOT_PAGES + 1);
	dma_test_expect_links(dt, SLOT_PAGES - 1, SLOT_PAGES + 1,
			      SLOT_PAGES - 12, SLOT_PAGES + 12);
	dma_test_expect_calls(dt, 0, 0, 1);

	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, DMA_TEST_PAGES, 0), 0);
	dma_test_unmap(dt, SLOT_PAGES - 1, SLOT_PAGES);
	dma_test_expect_links(dt, SLOT_PAGES - 1, SLOT_PAGES, SLOT_PAGES - 12,
			      SLOT_PAGES);
	dma_test_expect_pages(dt, SLOT_PAGES, SLOT_PAGES + 12, true);
}

/* Small pages fill a slot: all is as with a leaf. */
static void dma_test_slot_of_pages(struct kunit *test)
{
	struct dma_test *dt = dma_test_begin(test);
	unsigned long i, end = 2 * SLOT_PAGES;
	struct hmm_dma_run run;

	if (!dt->dev)
		return;
	for (i = 0; i < SLOT_PAGES; i++)
		folio_clear_dirty(pfn_folio(dt->pages + i));
	dma_test_set(dt, SLOT_PAGES, SLOT_PAGES, dt->pages, DMA_TEST_W);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, DMA_TEST_PAGES, 0), 0);
	dma_test_expect_calls(dt, 1, 1, 0);
	if (dt->iommu)
		KUNIT_EXPECT_EQ(test, dt->iommu->largest, PMD_SIZE);
	KUNIT_EXPECT_EQ(test, dma_test_tables(dt), 0);
	dma_test_expect_pages(dt, SLOT_PAGES, end, true);
	run = dma_test_run(dt, 0, 0, DMA_TEST_PAGES);
	dma_test_expect_run(dt, &run, SLOT_PAGES, SLOT_PAGES);
	KUNIT_EXPECT_EQ(test, run.order, SLOT_ORDER);

	/* Had the link gone meanwhile, a part would have needed a table. */
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, SLOT_PAGES + 3, end, 0), 0);
	dma_test_expect_calls(dt, 0, 0, 0);
	KUNIT_EXPECT_EQ(test, dma_test_tables(dt), 1);

	dma_test_unmap(dt, end - 1, end);
	dma_test_expect_clear(dt, SLOT_PAGES, end);
	dma_test_expect_calls(dt, 0, 0, 1);
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, DMA_TEST_PAGES), 0);
	for (i = 0; i < SLOT_PAGES; i++)
		if (!folio_test_clear_dirty(pfn_folio(dt->pages + i)))
			break;
	KUNIT_EXPECT_EQ(test, i, SLOT_PAGES);
}

/* Where nothing is mapped by the DMA API, small pages go one by one. */
static void dma_test_pages_without_links(struct kunit *test)
{
	struct dma_test *dt = dma_test_begin(test);
	struct hmm_dma_run run;
	unsigned long i;

	if (dt->dev)
		return;
	for (i = 0; i < SLOT_PAGES; i++)
		folio_clear_dirty(pfn_folio(dt->pages + i));
	dma_test_set(dt, 0, SLOT_PAGES, dt->pages, DMA_TEST_W);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, SLOT_PAGES, 0), 0);
	run = dma_test_run(dt, 0, 0, DMA_TEST_PAGES);
	dma_test_expect_run(dt, &run, 0, SLOT_PAGES);
	KUNIT_EXPECT_EQ(test, run.order, 0);

	dma_test_unmap(dt, 100, 102);
	dma_test_expect_clear(dt, 100, 102);
	for (i = 0; i < SLOT_PAGES; i++)
		KUNIT_EXPECT_EQ_MSG(test, i == 100 || i == 101,
				    folio_test_dirty(pfn_folio(dt->pages + i)),
				    "page %lu", i);
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, SLOT_PAGES),
			SLOT_PAGES - 2);
	dma_test_expect_page(dt, 99, true);
	dma_test_expect_page(dt, 102, true);

	/* They come back alone, and a single one can change. */
	dt->found[101] &= ~HMM_PFN_WRITE;
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, SLOT_PAGES, 0), 0);
	KUNIT_EXPECT_EQ(test, dt->clears, 0);
	dt->found[101] |= HMM_PFN_WRITE;
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 101, 102, 0), 0);
	dma_test_expect_clear(dt, 101, 102);
	dma_test_expect_pages(dt, 0, SLOT_PAGES, true);
}

/* Pages that do not fill a slot in every respect take a table. */
static void dma_test_nearly_slot_of_pages(struct kunit *test)
{
	static const struct {
		unsigned long first, last, skip, links;
	} cases[] = {
		{ 1, SLOT_PAGES, 1, 1 },	/* the first page is missing */
		{ 0, SLOT_PAGES - 1, 0, 1 },	/* the last page is missing */
		{ 0, SLOT_PAGES - 1, 1, 1 },	/* also not aligned */
		{ 0, SLOT_PAGES, 0, 2 },	/* one is for reading only */
	};
	struct dma_test *dt = dma_test_begin(test);
	struct hmm_dma_run run;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		unsigned long first = cases[i].first, last = cases[i].last;

		dma_test_set(dt, 0, SLOT_PAGES, 0, 0);
		dma_test_set(dt, first, last - first, dt->pages + cases[i].skip,
			     DMA_TEST_W);
		if (cases[i].links == 2)
			dt->found[last - 1] &= ~HMM_PFN_WRITE;
		KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, DMA_TEST_PAGES, 0), 0);
		dma_test_expect_calls(dt, cases[i].links, 1, 0);
		KUNIT_EXPECT_EQ(test, dma_test_tables(dt), 1);
		KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, SLOT_PAGES),
				last - first);
		run = dma_test_run(dt, 0, 0, SLOT_PAGES);
		KUNIT_EXPECT_EQ(test, run.order, 0);
		dma_test_unmap(dt, 0, SLOT_PAGES);
		dma_test_expect_calls(dt, 0, 0, 1);
		KUNIT_EXPECT_EQ(test, dma_test_tables(dt), 0);
	}

	/* All of a slot is there, but not all of it was asked for. */
	dma_test_set(dt, 0, SLOT_PAGES, dt->pages, DMA_TEST_W);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, SLOT_PAGES - 1, 0), 0);
	KUNIT_EXPECT_EQ(test, dma_test_tables(dt), 1);
	KUNIT_EXPECT_EQ(test, dma_test_run(dt, 0, 0, SLOT_PAGES).order, 0);
}

/* A leaf that fills a slot is one link, one large page, and no table. */
static void dma_test_leaf(struct kunit *test)
{
	struct dma_test *dt = dma_test_begin(test);
	struct hmm_dma_run run;

	dma_test_set(dt, SLOT_PAGES, SLOT_PAGES, dt->leaf,
		     DMA_TEST_W | DMA_TEST_LEAF);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, DMA_TEST_PAGES, 0), 0);
	dma_test_expect_calls(dt, 1, 1, 0);
	if (dt->iommu)
		KUNIT_EXPECT_EQ(test, dt->iommu->largest, PMD_SIZE);
	dma_test_expect_page(dt, SLOT_PAGES, true);
	dma_test_expect_page(dt, 2 * SLOT_PAGES - 1, true);
	run = dma_test_run(dt, 0, 0, DMA_TEST_PAGES);
	dma_test_expect_run(dt, &run, SLOT_PAGES, SLOT_PAGES);
	KUNIT_EXPECT_EQ(test, run.order, SLOT_ORDER);
	KUNIT_EXPECT_EQ(test, hmm_dma_view_memory(&dt->view), dt->memory);

	/* Any page of it takes it all. */
	dma_test_unmap(dt, SLOT_PAGES + 100, SLOT_PAGES + 101);
	dma_test_expect_clear(dt, SLOT_PAGES, 2 * SLOT_PAGES);
	dma_test_expect_calls(dt, 0, 0, 1);
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, DMA_TEST_PAGES), 0);
}

/* Of leaves side by side only those that are hit go. */
static void dma_test_leaves(struct kunit *test)
{
	unsigned long leaf = DMA_TEST_W | DMA_TEST_LEAF;
	struct dma_test *dt = dma_test_begin(test);
	unsigned long i;

	for (i = 0; i < 4; i++)
		dma_test_set(dt, i * SLOT_PAGES, SLOT_PAGES, dt->leaf, leaf);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, DMA_TEST_PAGES, 0), 0);
	dma_test_expect_calls(dt, 4, 1, 0);
	KUNIT_EXPECT_EQ(test, dma_test_run(dt, 0, 0, DMA_TEST_PAGES).npages,
			dt->iommu ? DMA_TEST_PAGES : SLOT_PAGES);

	dma_test_unmap(dt, 2 * SLOT_PAGES - 1, 2 * SLOT_PAGES + 1);
	dma_test_expect_clear(dt, SLOT_PAGES, 3 * SLOT_PAGES);
	dma_test_expect_calls(dt, 0, 0, 1);
	KUNIT_EXPECT_EQ(test, dma_test_missing(dt, 0, DMA_TEST_PAGES, true),
			SLOT_PAGES);
	KUNIT_EXPECT_EQ(test, dma_test_missing(dt, 3 * SLOT_PAGES,
					       DMA_TEST_PAGES, true),
			DMA_TEST_PAGES);

	/* They come back alone. */
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, DMA_TEST_PAGES, 0), 0);
	dma_test_expect_calls(dt, 2, 1, 0);
	KUNIT_EXPECT_EQ(test, dt->clears, 0);
}

/* A part of a leaf that a walk was asked for is a link of its own. */
static void dma_test_leaf_clipped_by_range(struct kunit *test)
{
	struct dma_test *dt = dma_test_begin(test);

	dma_test_set(dt, SLOT_PAGES, SLOT_PAGES, dt->leaf,
		     DMA_TEST_W | DMA_TEST_LEAF);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, SLOT_PAGES + 100,
					   SLOT_PAGES + 400, 0), 0);
	dma_test_expect_calls(dt, 1, 1, 0);
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, DMA_TEST_PAGES), 300);
	dma_test_expect_page(dt, SLOT_PAGES + 100, true);
	dma_test_expect_page(dt, SLOT_PAGES + 399, true);

	/* What is not all of the leaf goes around it. */
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, SLOT_PAGES, 2 * SLOT_PAGES - 1,
					   0), 0);
	dma_test_expect_calls(dt, 2, 1, 0);
	KUNIT_EXPECT_EQ(test, dt->clears, 0);
	dma_test_expect_pages(dt, SLOT_PAGES, 2 * SLOT_PAGES - 1, true);
	KUNIT_EXPECT_EQ(test, dma_test_run(dt, 0, 0, DMA_TEST_PAGES).order, 0);

	dma_test_unmap(dt, SLOT_PAGES + 399, SLOT_PAGES + 401);
	dma_test_expect_links(dt, SLOT_PAGES + 399, SLOT_PAGES + 401,
			      SLOT_PAGES + 100, 2 * SLOT_PAGES - 1);
	dma_test_expect_calls(dt, 0, 0, 1);
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, DMA_TEST_PAGES),
			dt->dev ? 100 : SLOT_PAGES - 3);
}

/* Three pieces of the second slot, and neighbours of it. */
static void dma_test_map_pieces(struct dma_test *dt, unsigned int flags)
{
	unsigned long va = SLOT_PAGES;

	KUNIT_ASSERT_EQ(dt->test, 0, dma_test_map(dt, va - 4, va + 10, flags));
	KUNIT_ASSERT_EQ(dt->test, 0, dma_test_map(dt, va + 50, va + 60, flags));
	KUNIT_ASSERT_EQ(dt->test, 0, dma_test_map(dt, 2 * va - 8, 2 * va + 4,
						  flags));
	KUNIT_EXPECT_EQ(dt->test, dt->clears, 0);
}

static void dma_test_expect_collapsed(struct dma_test *dt, bool writable)
{
	unsigned long end = 2 * SLOT_PAGES;
	struct kunit *test = dt->test;
	struct hmm_dma_run run;

	dma_test_expect_clear(dt, SLOT_PAGES, end);
	dma_test_expect_calls(dt, 1, 1, 1);
	if (dt->iommu)
		KUNIT_EXPECT_EQ(test, dt->iommu->largest, PMD_SIZE);
	dma_test_expect_pages(dt, SLOT_PAGES, end, writable);
	run = dma_test_run(dt, 0, SLOT_PAGES, end);
	dma_test_expect_run(dt, &run, SLOT_PAGES, SLOT_PAGES);
	KUNIT_EXPECT_EQ(test, run.order, SLOT_ORDER);
	/* Its neighbours are as before. */
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, SLOT_PAGES), 4);
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, end, DMA_TEST_PAGES), 4);
}

/* Pieces of what can be one link are given up for it, of which a table stays. */
static void dma_test_collapse(struct kunit *test)
{
	static const struct {
		bool leaf;
		unsigned long found;
		unsigned int before, flags;	/* of the pieces, and of all */
	} tries[] = {
		{ false, DMA_TEST_W, 0, 0 },
		{ true, DMA_TEST_W | DMA_TEST_LEAF, 0, 0 },
		{ false, DMA_TEST_W, HMM_DMA_READ_ONLY, 0 },
		{ false, DMA_TEST_R, 0, 0 },
		{ true, DMA_TEST_R | DMA_TEST_LEAF, 0, HMM_DMA_READ_ONLY },
		{ true, DMA_TEST_W | DMA_TEST_LEAF, HMM_DMA_READ_ONLY,
		  HMM_DMA_READ_ONLY },
	};
	struct dma_test *dt = dma_test_begin(test);
	unsigned long end = 2 * SLOT_PAGES;
	unsigned int i;

	dma_test_set(dt, SLOT_PAGES - 4, 4, dt->pages + 20, DMA_TEST_W);
	dma_test_set(dt, end, 4, dt->pages + 30, DMA_TEST_W);
	for (i = 0; i < ARRAY_SIZE(tries); i++) {
		unsigned long pfn = tries[i].leaf ? dt->leaf : dt->pages;
		bool writable = tries[i].found & HMM_PFN_WRITE &&
				!(tries[i].flags & HMM_DMA_READ_ONLY);

		if (!tries[i].leaf && !dt->dev)
			continue;
		dma_test_set(dt, SLOT_PAGES, SLOT_PAGES, pfn, tries[i].found);
		dma_test_map_pieces(dt, tries[i].before);
		KUNIT_EXPECT_EQ(test, dma_test_tables(dt), 3);
		KUNIT_ASSERT_EQ(test, dma_test_map(dt, SLOT_PAGES, end,
						   tries[i].flags), 0);
		dma_test_expect_collapsed(dt, writable);

		/* And it stays. */
		KUNIT_ASSERT_EQ(test, dma_test_map(dt, SLOT_PAGES, end,
						   tries[i].flags), 0);
		KUNIT_EXPECT_EQ(test, dt->clears, 0);
		dma_test_expect_calls(dt, 0, 0, 0);
		KUNIT_EXPECT_EQ(test, dma_test_tables(dt), 3);
		dma_test_unmap(dt, end - 1, end);
		dma_test_expect_clear(dt, SLOT_PAGES, end);
		KUNIT_EXPECT_EQ(test, dma_test_tables(dt), 3);
		dma_test_unmap(dt, 0, DMA_TEST_PAGES);
		KUNIT_EXPECT_EQ(test, dma_test_tables(dt), 0);
	}
}

/* Reading is not worth that the device loses what it may write to. */
static void dma_test_collapse_not(struct kunit *test)
{
	struct dma_test *dt = dma_test_begin(test);
	unsigned long end = 2 * SLOT_PAGES;

	dma_test_set(dt, SLOT_PAGES - 4, 4, dt->pages + 20, DMA_TEST_W);
	dma_test_set(dt, SLOT_PAGES, SLOT_PAGES, dt->leaf,
		     DMA_TEST_W | DMA_TEST_LEAF);
	dma_test_set(dt, end, 4, dt->pages + 30, DMA_TEST_W);
	dma_test_map_pieces(dt, 0);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, SLOT_PAGES, end,
					   HMM_DMA_READ_ONLY), 0);
	KUNIT_EXPECT_EQ(test, dt->clears, 0);
	dma_test_expect_calls(dt, 2, 1, 0);
	dma_test_expect_pages(dt, SLOT_PAGES, SLOT_PAGES + 10, true);
	dma_test_expect_pages(dt, SLOT_PAGES + 10, SLOT_PAGES + 50, false);
	dma_test_expect_pages(dt, SLOT_PAGES + 50, SLOT_PAGES + 60, true);
	dma_test_expect_pages(dt, SLOT_PAGES + 60, end - 8, false);
	dma_test_expect_pages(dt, end - 8, end, true);

	/* Nor is a slot of which a page is not asked for. */
	dma_test_unmap(dt, 0, DMA_TEST_PAGES);
	dma_test_map_pieces(dt, 0);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, SLOT_PAGES + 1, end, 0), 0);
	KUNIT_EXPECT_EQ(test, dt->clears, 0);
	dma_test_expect_calls(dt, 2, 1, 0);

	/* A page that is another one takes no more than its link with it. */
	dt->found[SLOT_PAGES + 55] = dt->pages | DMA_TEST_W;
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, SLOT_PAGES, end, 0), 0);
	dma_test_expect_links(dt, SLOT_PAGES + 55, SLOT_PAGES + 56,
			      SLOT_PAGES + 50, SLOT_PAGES + 60);
	dma_test_expect_pages(dt, SLOT_PAGES, end, true);
}

/* The window ends inside of leaves at both ends: what is mapped ends there. */
static void dma_test_leaf_clipped_by_window(struct kunit *test)
{
	struct dma_test *dt = test->priv;

	dma_test_view(dt, DMA_TEST_START + 100 * PAGE_SIZE,
		      DMA_TEST_START + 900 * PAGE_SIZE);
	dma_test_set(dt, 0, 412, dt->leaf + 100, DMA_TEST_W | DMA_TEST_LEAF);
	dma_test_set(dt, 412, 388, dt->leaf, DMA_TEST_R | DMA_TEST_LEAF);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, 800, 0), 0);
	dma_test_expect_calls(dt, 2, 1, 0);
	dma_test_expect_pages(dt, 0, 412, true);
	dma_test_expect_pages(dt, 412, 800, false);

	mutex_lock(&dt->lock);
	dma_test_reset_counts(dt);
	hmm_range_dma_unmap(&dt->view, 0, PAGE_MASK);
	mutex_unlock(&dt->lock);
	dma_test_expect_clear(dt, 0, 800);
	dma_test_expect_calls(dt, 0, 0, 1);
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, 800), 0);
}

static void dma_test_window_of_one_page(struct kunit *test)
{
	struct dma_test *dt = test->priv;

	dma_test_view(dt, DMA_TEST_START + 77 * PAGE_SIZE,
		      DMA_TEST_START + 78 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, dma_test_missing(dt, 0, 1, false), 0);
	dma_test_set(dt, 0, 1, dt->leaf + 77, DMA_TEST_W | DMA_TEST_LEAF);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, 1, 0), 0);
	dma_test_expect_calls(dt, 1, 1, 0);
	dma_test_expect_page(dt, 0, true);
	KUNIT_EXPECT_EQ(test, dma_test_missing(dt, 0, 1, true), 1);
	dma_test_unmap(dt, 0, 1);
	dma_test_expect_clear(dt, 0, 1);
	dma_test_expect_calls(dt, 0, 0, 1);
}

/*
 * A pfn from which on a leaf of the size of a PUD could be. Nobody accesses the
 * memory, and it is not marked dirty, as it is mapped for reading.
 */
static unsigned long dma_test_pud_leaf(struct kunit *test)
{
	unsigned long pfn, n = PUD_SIZE / PAGE_SIZE;

	for (pfn = 0; pfn < max_pfn; pfn += n)
		if (pfn_valid(pfn) && pfn_valid(pfn + n - 1))
			return pfn;
	return 0;
}

static void dma_test_leaf_of_pud(struct kunit *test)
{
	unsigned long n = PUD_SIZE / PAGE_SIZE, order = ilog2(n);
	struct dma_test *dt = test->priv;
	struct hmm_dma_run run;

	/* What is linked elsewhere must not be freed by its owner meanwhile. */
	if (IS_ENABLED(CONFIG_IOMMU_DEBUG_PAGEALLOC) && dt->iommu)
		return;
	dma_test_view(dt, DMA_TEST_START, DMA_TEST_START + PUD_SIZE);
	dma_test_set(dt, 0, n, dma_test_pud_leaf(test),
		     DMA_TEST_R | DMA_TEST_O(order));
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, n, 0), 0);
	run = dma_test_run(dt, 0, 0, n);
	dma_test_expect_run(dt, &run, 0, n);
	KUNIT_EXPECT_EQ(test, run.order, order);
	KUNIT_EXPECT_EQ(test, hmm_dma_view_memory(&dt->view), dt->memory);
	dma_test_expect_calls(dt, 1, 1, 0);
	if (dt->iommu)
		KUNIT_EXPECT_EQ(test, dt->iommu->largest, PUD_SIZE);
	dma_test_unmap(dt, n / 2, n / 2 + 1);
	dma_test_expect_clear(dt, 0, n);
	dma_test_expect_calls(dt, 0, 0, 1);

	/* Clipped, it is what it has of each end, and the slots between. */
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 10, n - 10, 0), 0);
	dma_test_expect_calls(dt, 3, 1, 0);
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, n), n - 20);
	dma_test_expect_page(dt, 10, false);
	dma_test_expect_page(dt, n / 2, false);
	dma_test_unmap(dt, n / 2, n / 2 + 1);
	dma_test_expect_clear(dt, SLOT_PAGES, n - SLOT_PAGES);
	dma_test_unmap(dt, 0, n);
	dma_test_expect_clear(dt, 10, n);
}

/* A link goes as a whole, and clear() knows before. */
static void dma_test_unmap_part_of_link(struct kunit *test)
{
	struct dma_test *dt = dma_test_begin(test);

	if (!dt->dev)
		return;
	/* Three runs side by side, of 200, 40 and 60 pages. */
	dma_test_set(dt, 0, 200, dt->pages, DMA_TEST_W);
	dma_test_set(dt, 200, 40, dt->pages + 300, DMA_TEST_W);
	dma_test_set(dt, 240, 60, dt->pages + 400, DMA_TEST_W);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, 300, 0), 0);
	dma_test_expect_calls(dt, 3, 1, 0);
	dma_test_unmap(dt, 220, 221);
	dma_test_expect_clear(dt, 200, 240);
	dma_test_expect_calls(dt, 0, 0, 1);
	dma_test_expect_pages(dt, 0, 200, true);
	dma_test_expect_pages(dt, 240, 300, true);
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, DMA_TEST_PAGES), 260);
	KUNIT_EXPECT_EQ(test, dt->view.drops, 1);

	/* From the middle of one link to the middle of another. */
	dma_test_unmap(dt, 199, 241);
	dma_test_expect_clear(dt, 0, 300);
	dma_test_expect_calls(dt, 0, 0, 1);
	KUNIT_EXPECT_EQ(test, dt->view.drops, 2);
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, DMA_TEST_PAGES), 0);
}

/* Blocks of PTEs that map a folio are a link as far as they are contiguous. */
static void dma_test_block_of_ptes(struct kunit *test)
{
	struct dma_test *dt = dma_test_begin(test);

	dma_test_set(dt, 128, 64, dt->leaf + 64, DMA_TEST_W | DMA_TEST_O(6));
	dma_test_set(dt, 192, 16, dt->leaf + 128, DMA_TEST_W | DMA_TEST_O(4));
	dma_test_set(dt, 208, 16, dt->leaf + 256, DMA_TEST_W | DMA_TEST_O(4));
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, 256, 0), 0);
	dma_test_expect_calls(dt, 2, 1, 0);
	dma_test_expect_pages(dt, 128, 224, true);
	dma_test_unmap(dt, 128, 129);
	dma_test_expect_links(dt, 128, 129, 128, 208);
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, DMA_TEST_PAGES),
			dt->dev ? 16 : 95);
}

static void dma_test_unmap_holes(struct kunit *test)
{
	struct dma_test *dt = dma_test_begin(test);
	unsigned long drops;

	dma_test_unmap(dt, 0, DMA_TEST_PAGES);
	KUNIT_EXPECT_EQ(test, dt->clears, 0);
	dma_test_set(dt, 8, 8, dt->pages, DMA_TEST_W);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, 64, 0), 0);
	drops = dt->view.drops;

	dma_test_unmap(dt, 0, 8);
	KUNIT_EXPECT_EQ(test, dt->clears, 0);
	dma_test_unmap(dt, 16, DMA_TEST_PAGES);
	KUNIT_EXPECT_EQ(test, dt->clears, 0);
	dma_test_expect_calls(dt, 0, 0, 0);
	KUNIT_EXPECT_EQ(test, dt->view.drops, drops);

	/* Nothing at all, and what is outside. */
	mutex_lock(&dt->lock);
	hmm_range_dma_unmap(&dt->view, dt->view.start, dt->view.start);
	hmm_range_dma_unmap(&dt->view, 0, dt->view.start);
	hmm_range_dma_unmap(&dt->view, dt->view.end, PAGE_MASK);
	mutex_unlock(&dt->lock);
	KUNIT_EXPECT_EQ(test, dt->clears, 0);
	dma_test_expect_pages(dt, 8, 16, true);
}

static void dma_test_map_twice(struct kunit *test)
{
	struct dma_test *dt = dma_test_begin(test);

	dma_test_set(dt, 8, 8, dt->pages, DMA_TEST_W);
	dma_test_set(dt, SLOT_PAGES, SLOT_PAGES, dt->leaf,
		     DMA_TEST_W | DMA_TEST_LEAF);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, DMA_TEST_PAGES, 0), 0);
	dma_test_expect_calls(dt, 2, 1, 0);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, DMA_TEST_PAGES, 0), 0);
	dma_test_expect_calls(dt, 0, 0, 0);
	/* A part of what is mapped. */
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 9, SLOT_PAGES + 5, 0), 0);
	dma_test_expect_calls(dt, 0, 0, 0);
	KUNIT_EXPECT_EQ(test, dt->view.drops, 0);
}

static void dma_test_overlap(struct kunit *test)
{
	struct dma_test *dt = dma_test_begin(test);

	dma_test_set(dt, 0, 32, dt->pages, DMA_TEST_W);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 8, 16, 0), 0);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, 32, 0), 0);
	dma_test_expect_calls(dt, 2, 1, 0);
	KUNIT_EXPECT_EQ(test, dt->clears, 0);
	dma_test_expect_pages(dt, 0, 32, true);

	/* Absent and failed pages of a range say nothing about what is mapped. */
	dma_test_set(dt, 0, 16, 0, 0);
	dma_test_set(dt, 16, 16, 0, HMM_PFN_ERROR);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, 32, 0), 0);
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, 32), 32);
}

static void dma_test_upgrade(struct kunit *test)
{
	struct dma_test *dt = dma_test_begin(test);

	dma_test_set(dt, 0, 16, dt->pages, DMA_TEST_R);
	dma_test_set(dt, SLOT_PAGES, SLOT_PAGES, dt->leaf,
		     DMA_TEST_R | DMA_TEST_LEAF);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, DMA_TEST_PAGES, 0), 0);
	dma_test_expect_pages(dt, 0, 16, false);
	KUNIT_EXPECT_EQ(test, dma_test_missing(dt, 0, 16, false), 16);
	KUNIT_EXPECT_EQ(test, dma_test_missing(dt, 0, 16, true), 0);

	dma_test_set(dt, 0, 16, dt->pages, DMA_TEST_W);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, 32, 0), 0);
	dma_test_expect_remapped(dt, 0, 16);
	dma_test_expect_calls(dt, 1, 1, 1);
	dma_test_expect_pages(dt, 0, 16, true);
	dma_test_expect_page(dt, SLOT_PAGES, false);

	/* prepare() got no table for the leaf, and it does not need one. */
	dma_test_set(dt, SLOT_PAGES, SLOT_PAGES, dt->leaf,
		     DMA_TEST_W | DMA_TEST_LEAF);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, SLOT_PAGES, 2 * SLOT_PAGES, 0),
			0);
	dma_test_expect_clear(dt, SLOT_PAGES, 2 * SLOT_PAGES);
	dma_test_expect_calls(dt, 1, 1, 1);
	dma_test_expect_page(dt, SLOT_PAGES + 9, true);
	dma_test_unmap(dt, 0, DMA_TEST_PAGES);
	dma_test_expect_calls(dt, 0, 0, 1);
}

/* The rest of a link that had to go is mapped again by the same call. */
static void dma_test_upgrade_part_of_link(struct kunit *test)
{
	struct dma_test *dt = dma_test_begin(test);

	if (!dt->dev)
		return;
	dma_test_set(dt, 0, 32, dt->pages, DMA_TEST_R);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, 32, 0), 0);
	dma_test_set(dt, 20, 1, dt->pages + 20, DMA_TEST_W);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, 32, 0), 0);
	KUNIT_EXPECT_EQ(test, dma_test_missing(dt, 0, 32, false), 32);
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, 32), 32);
	dma_test_expect_clear(dt, 0, 32);
	dma_test_expect_calls(dt, 3, 1, 1);
	dma_test_expect_pages(dt, 0, 20, false);
	dma_test_expect_page(dt, 20, true);
	dma_test_expect_pages(dt, 21, 32, false);

	/* But only as far as the range goes. */
	dma_test_set(dt, 0, 20, dt->pages, DMA_TEST_W);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 8, 12, 0), 0);
	dma_test_expect_clear(dt, 0, 20);
	dma_test_expect_calls(dt, 1, 1, 1);
	dma_test_expect_pages(dt, 8, 12, true);
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, 20), 4);
}

/* Pages of a slot that is one link, now of different permissions. */
static void dma_test_upgrade_part_of_slot(struct kunit *test)
{
	struct dma_test *dt = dma_test_begin(test);

	dma_test_set(dt, 0, SLOT_PAGES, dt->pages, DMA_TEST_R);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, SLOT_PAGES, 0), 0);
	dt->found[99] |= HMM_PFN_WRITE;
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, SLOT_PAGES, 0), 0);
	dma_test_expect_links(dt, 99, 100, 0, SLOT_PAGES);
	dma_test_expect_calls(dt, 3, 1, 1);
	dma_test_expect_pages(dt, 0, 99, false);
	dma_test_expect_page(dt, 99, true);
	dma_test_expect_pages(dt, 100, SLOT_PAGES, false);
}

static void dma_test_read_only(struct kunit *test)
{
	struct dma_test *dt = dma_test_begin(test);

	dma_test_set(dt, 0, 8, dt->pages, DMA_TEST_W);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, 8, HMM_DMA_READ_ONLY), 0);
	dma_test_expect_pages(dt, 0, 8, false);
	KUNIT_EXPECT_EQ(test, dma_test_missing(dt, 0, 8, true), 0);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, 8, HMM_DMA_READ_ONLY), 0);
	KUNIT_EXPECT_EQ(test, dt->clears, 0);
	dma_test_expect_calls(dt, 0, 0, 0);

	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, 8, 0), 0);
	dma_test_expect_remapped(dt, 0, 8);
	dma_test_expect_pages(dt, 0, 8, true);

	/* What is mapped for writing stays so. */
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, 8, HMM_DMA_READ_ONLY), 0);
	KUNIT_EXPECT_EQ(test, dt->clears, 0);
	dma_test_expect_pages(dt, 0, 8, true);
}

/* Another page than the one that is mapped, or less permission. */
static void dma_test_changed(struct kunit *test)
{
	struct dma_test *dt = dma_test_begin(test);

	dma_test_set(dt, 0, 1, dt->pages, DMA_TEST_W);
	dma_test_set(dt, 2, 1, dt->pages + 2, DMA_TEST_W);
	dma_test_set(dt, SLOT_PAGES, SLOT_PAGES, dt->leaf,
		     DMA_TEST_W | DMA_TEST_LEAF);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, DMA_TEST_PAGES, 0), 0);

	dma_test_set(dt, 0, 1, dt->pages + 5, DMA_TEST_W);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, 8, 0), 0);
	dma_test_expect_clear(dt, 0, 1);
	dma_test_expect_page(dt, 0, true);
	dma_test_expect_page(dt, 2, true);

	dma_test_set(dt, 2, 1, dt->pages + 2, DMA_TEST_R);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, 8, 0), 0);
	dma_test_expect_clear(dt, 2, 3);
	dma_test_expect_page(dt, 2, false);
	dma_test_unmap(dt, 0, DMA_TEST_PAGES);
}

/* A leaf that became small pages, and the other way round. */
static void dma_test_leaf_and_pages(struct kunit *test)
{
	struct dma_test *dt = dma_test_begin(test);

	dma_test_set(dt, 0, SLOT_PAGES, dt->leaf, DMA_TEST_W | DMA_TEST_LEAF);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, SLOT_PAGES, 0), 0);

	/* Contiguous ones need no table either if they make a link. */
	dma_test_set(dt, 0, SLOT_PAGES, dt->pages, DMA_TEST_W);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, SLOT_PAGES, 0), 0);
	dma_test_expect_clear(dt, 0, SLOT_PAGES);
	dma_test_expect_calls(dt, 1, 1, 1);
	dma_test_expect_pages(dt, 0, SLOT_PAGES, true);
	KUNIT_EXPECT_EQ(test, dma_test_tables(dt), dt->dev ? 0 : 1);

	/* Others do. */
	dma_test_set(dt, 0, 256, dt->pages + 256, DMA_TEST_W);
	dma_test_set(dt, 256, 256, dt->pages, DMA_TEST_W);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, SLOT_PAGES, 0), 0);
	dma_test_expect_remapped(dt, 0, SLOT_PAGES);
	dma_test_expect_pages(dt, 0, SLOT_PAGES, true);
	dma_test_expect_calls(dt, 2, 1, 1);

	dma_test_set(dt, 0, SLOT_PAGES, dt->leaf, DMA_TEST_W | DMA_TEST_LEAF);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, SLOT_PAGES, 0), 0);
	dma_test_expect_clear(dt, 0, SLOT_PAGES);
	dma_test_expect_calls(dt, 1, 1, 1);
	dma_test_expect_pages(dt, 0, SLOT_PAGES, true);
}

static void dma_test_not_prepared(struct kunit *test)
{
	struct dma_test *dt = dma_test_begin(test);
	struct hmm_range range;

	dma_test_set(dt, 0, SLOT_PAGES, dt->leaf, DMA_TEST_W | DMA_TEST_LEAF);
	dma_test_set(dt, SLOT_PAGES + 5, 3, dt->pages, DMA_TEST_W);
	range = dma_test_range(dt, 0, DMA_TEST_PAGES);
	KUNIT_EXPECT_EQ(test, dma_test_map_range(dt, &range, 0), -EAGAIN);
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, DMA_TEST_PAGES), 0);
	dma_test_expect_clear(dt, 0, DMA_TEST_PAGES);

	/* What has been got is gone after an invalidation of all of the slot. */
	KUNIT_ASSERT_EQ(test, hmm_range_dma_prepare(&range, &dt->view), 0);
	dma_test_unmap(dt, SLOT_PAGES + 1, 2 * SLOT_PAGES);
	KUNIT_EXPECT_EQ(test, dma_test_tables(dt), 1);
	dma_test_unmap(dt, SLOT_PAGES, 2 * SLOT_PAGES);
	KUNIT_EXPECT_EQ(test, dma_test_tables(dt), 0);
	KUNIT_EXPECT_EQ(test, dma_test_map_range(dt, &range, 0), -EAGAIN);
	if (dt->iommu)
		KUNIT_EXPECT_EQ(test, dt->iommu->mapped, 0);

	/* One of a part of it leaves the table. */
	KUNIT_ASSERT_EQ(test, hmm_range_dma_prepare(&range, &dt->view), 0);
	dma_test_unmap(dt, SLOT_PAGES, SLOT_PAGES + 8);
	KUNIT_EXPECT_EQ(test, dma_test_map_range(dt, &range, 0), 0);
	dma_test_expect_pages(dt, SLOT_PAGES + 5, SLOT_PAGES + 8, true);
}

static void dma_test_outside(struct kunit *test)
{
	struct dma_test *dt = dma_test_begin(test);
	struct hmm_range range = {
		.start = dt->view.start - PAGE_SIZE,
		.end = dma_test_va(dt, 1),
		.next = dma_test_va(dt, 1),
		.hmm_pfns = dt->found,
	};

	dma_test_set(dt, 0, 4, dt->pages, DMA_TEST_W);
	KUNIT_EXPECT_EQ(test, hmm_range_dma_prepare(&range, &dt->view), -EINVAL);
	KUNIT_EXPECT_EQ(test, dma_test_map_range(dt, &range, 0), -EINVAL);
	range.start = dt->view.end - PAGE_SIZE;
	range.next = dt->view.end + PAGE_SIZE;
	KUNIT_EXPECT_EQ(test, hmm_range_dma_prepare(&range, &dt->view), -EINVAL);
	KUNIT_EXPECT_EQ(test, dma_test_map_range(dt, &range, 0), -EINVAL);

	/* What was asked for does not count, only what was done. */
	range.next = dt->view.end;
	range.end = dt->view.end + PAGE_SIZE;
	KUNIT_EXPECT_EQ(test, hmm_range_dma_prepare(&range, &dt->view), 0);
	KUNIT_EXPECT_EQ(test, dma_test_map_range(dt, &range, 0), 0);
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, DMA_TEST_PAGES), 1);
}

/* Both outputs of a walk come to the same; flags of others do not matter. */
static void dma_test_extents(struct kunit *test)
{
	struct dma_test *dt = dma_test_begin(test);
	unsigned long i;

	dt->extents = kunit_kcalloc(test, 64, sizeof(*dt->extents), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, dt->extents);
	dma_test_set(dt, 1, 40, dt->pages, DMA_TEST_W);
	dma_test_set(dt, 60, 4, dt->pages + 60, DMA_TEST_R);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, 100, 0), 0);
	dma_test_expect_calls(dt, 2, 1, 0);
	dma_test_expect_pages(dt, 1, 41, true);
	dma_test_expect_pages(dt, 60, 64, false);

	dt->extents = NULL;
	for (i = 0; i < 100; i++)
		dt->found[i] |= HMM_PFN_DMA_MAPPED | HMM_PFN_P2PDMA |
				HMM_PFN_P2PDMA_BUS;
	dma_test_set(dt, 41, 1, dt->pages + 90,
		     DMA_TEST_W | HMM_PFN_DMA_MAPPED | HMM_PFN_P2PDMA_BUS);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, 100, 0), 0);
	dma_test_expect_calls(dt, 1, 1, 0);
	dma_test_expect_page(dt, 41, true);
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, 100), 45);
}

/* Only what the device might write to, and every folio of it. */
static void dma_test_dirty(struct kunit *test)
{
	struct dma_test *dt = dma_test_begin(test);
	struct folio *leaf = pfn_folio(dt->leaf);
	unsigned long i;

	for (i = 0; i < 64; i++)
		folio_clear_dirty(pfn_folio(dt->pages + i));
	folio_clear_dirty(leaf);
	dma_test_set(dt, 0, 32, dt->pages, DMA_TEST_W);
	dma_test_set(dt, 32, 32, dt->pages + 32, DMA_TEST_R);
	dma_test_set(dt, SLOT_PAGES, SLOT_PAGES, dt->leaf,
		     DMA_TEST_W | DMA_TEST_LEAF);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, DMA_TEST_PAGES, 0), 0);
	dma_test_unmap(dt, 0, DMA_TEST_PAGES);
	for (i = 0; i < 64; i++)
		KUNIT_EXPECT_EQ_MSG(test, i < 32,
				    folio_test_dirty(pfn_folio(dt->pages + i)),
				    "page %lu", i);
	KUNIT_EXPECT_TRUE(test, folio_test_dirty(leaf));

	folio_clear_dirty(leaf);
	for (i = 0; i < 32; i++)
		folio_clear_dirty(pfn_folio(dt->pages + i));
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, DMA_TEST_PAGES,
					   HMM_DMA_READ_ONLY), 0);
	dma_test_unmap(dt, 0, DMA_TEST_PAGES);
	KUNIT_EXPECT_FALSE(test, folio_test_dirty(leaf));
	KUNIT_EXPECT_FALSE(test, folio_test_dirty(pfn_folio(dt->pages)));

	/* A page in the middle of a folio, and a page that changed. */
	dma_test_set(dt, 0, 1, dt->leaf + 9, DMA_TEST_W);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, 1, 0), 0);
	dma_test_set(dt, 0, 1, dt->pages, DMA_TEST_R);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, 1, 0), 0);
	KUNIT_EXPECT_TRUE(test, folio_test_dirty(leaf));
	folio_clear_dirty(leaf);
}

/* Runs end where the device would notice a difference, and at the end. */
static void dma_test_runs(struct kunit *test)
{
	struct dma_test *dt = dma_test_begin(test);
	struct hmm_dma_run run;

	dma_test_set(dt, 0, 40, dt->pages, DMA_TEST_W);
	dma_test_set(dt, 40, 8, dt->pages + 40, DMA_TEST_R);
	dma_test_set(dt, 50, 2, dt->pages + 50, DMA_TEST_R);
	dma_test_set(dt, SLOT_PAGES - 1, 1, dt->leaf + 5, DMA_TEST_W);
	dma_test_set(dt, SLOT_PAGES, SLOT_PAGES, dt->leaf,
		     DMA_TEST_W | DMA_TEST_LEAF);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, DMA_TEST_PAGES, 0), 0);

	run = dma_test_run(dt, 0, 0, DMA_TEST_PAGES);
	dma_test_expect_run(dt, &run, 0, 40);
	KUNIT_EXPECT_TRUE(test, run.writable);
	run = dma_test_run(dt, 1, 0, DMA_TEST_PAGES);
	dma_test_expect_run(dt, &run, 40, 8);
	KUNIT_EXPECT_FALSE(test, run.writable);
	run = dma_test_run(dt, 2, 0, DMA_TEST_PAGES);
	dma_test_expect_run(dt, &run, 50, 2);
	run = dma_test_run(dt, 3, 0, DMA_TEST_PAGES);
	dma_test_expect_run(dt, &run, SLOT_PAGES - 1, 1);
	KUNIT_EXPECT_EQ(test, run.order, 0);
	run = dma_test_run(dt, 4, 0, DMA_TEST_PAGES);
	dma_test_expect_run(dt, &run, SLOT_PAGES, SLOT_PAGES);
	KUNIT_EXPECT_EQ(test, run.order, SLOT_ORDER);
	KUNIT_EXPECT_EQ(test, dma_test_run(dt, 5, 0, DMA_TEST_PAGES).npages, 0);

	/* Clipped at both ends; the address is that of the first page. */
	run = dma_test_run(dt, 0, 35, 38);
	dma_test_expect_run(dt, &run, 35, 3);
	KUNIT_EXPECT_EQ(test, run.pfn, dt->pages + 35);
	KUNIT_EXPECT_TRUE(test, dma_test_reaches(dt, run.addr, run.pfn,
						 dt->pages + 35, true));
	run = dma_test_run(dt, 0, SLOT_PAGES + 7, SLOT_PAGES + 9);
	dma_test_expect_run(dt, &run, SLOT_PAGES + 7, 2);
	KUNIT_EXPECT_EQ(test, run.pfn, dt->leaf + 7);
	KUNIT_EXPECT_EQ(test, dma_test_run(dt, 0, 48, 50).npages, 0);
	KUNIT_EXPECT_EQ(test, dma_test_run(dt, 0, 2 * SLOT_PAGES,
					   DMA_TEST_PAGES).npages, 0);
}

static void dma_test_first_missing(struct kunit *test)
{
	struct dma_test *dt = dma_test_begin(test);

	KUNIT_EXPECT_EQ(test, dma_test_missing(dt, 7, 600, false), 7);
	dma_test_set(dt, 0, 40, dt->pages, DMA_TEST_W);
	dma_test_set(dt, 40, 8, dt->pages + 40, DMA_TEST_R);
	dma_test_set(dt, SLOT_PAGES, SLOT_PAGES, dt->leaf,
		     DMA_TEST_W | DMA_TEST_LEAF);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, DMA_TEST_PAGES, 0), 0);
	KUNIT_EXPECT_EQ(test, dma_test_missing(dt, 0, 40, true), 40);
	KUNIT_EXPECT_EQ(test, dma_test_missing(dt, 3, 100, true), 40);
	KUNIT_EXPECT_EQ(test, dma_test_missing(dt, 3, 100, false), 48);
	KUNIT_EXPECT_EQ(test, dma_test_missing(dt, 48, 100, false), 48);
	KUNIT_EXPECT_EQ(test, dma_test_missing(dt, 5, 5, true), 5);
	KUNIT_EXPECT_EQ(test, dma_test_missing(dt, SLOT_PAGES + 1,
					       SLOT_PAGES + 3, true),
			SLOT_PAGES + 3);
	KUNIT_EXPECT_EQ(test, dma_test_missing(dt, SLOT_PAGES + 1,
					       DMA_TEST_PAGES, true),
			2 * SLOT_PAGES);
}

/* prepare() only gets what is missing; it goes when all of a slot is unmapped. */
static void dma_test_memory(struct kunit *test)
{
	struct dma_test *dt = dma_test_begin(test);
	size_t table = hmm_dma_table_size(&dt->view);
	struct hmm_range range;

	range = dma_test_range(dt, 0, DMA_TEST_PAGES);
	KUNIT_ASSERT_EQ(test, hmm_range_dma_prepare(&range, &dt->view), 0);
	KUNIT_EXPECT_EQ(test, hmm_dma_view_memory(&dt->view), dt->memory);

	dma_test_set(dt, 0, 1, dt->pages, DMA_TEST_W);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, 4, 0), 0);
	KUNIT_EXPECT_EQ(test, hmm_dma_view_memory(&dt->view),
			dt->memory + table);
	dma_test_set(dt, 0, 400, dt->pages, DMA_TEST_W);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, 400, 0), 0);
	KUNIT_EXPECT_EQ(test, dma_test_tables(dt), 1);

	dma_test_set(dt, SLOT_PAGES, 1, dt->pages, DMA_TEST_W);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, DMA_TEST_PAGES, 0), 0);
	KUNIT_EXPECT_EQ(test, hmm_dma_view_memory(&dt->view),
			dt->memory + 2 * table);

	/* A part of a slot, even if that is all that was mapped, is not all. */
	dma_test_unmap(dt, 0, SLOT_PAGES - 1);
	dma_test_unmap(dt, SLOT_PAGES, SLOT_PAGES + 1);
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, DMA_TEST_PAGES), 0);
	KUNIT_EXPECT_EQ(test, dma_test_tables(dt), 2);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, DMA_TEST_PAGES, 0), 0);
	KUNIT_EXPECT_EQ(test, dma_test_tables(dt), 2);

	dma_test_unmap(dt, 0, SLOT_PAGES + 1);
	KUNIT_EXPECT_EQ(test, dma_test_tables(dt), 1);
	/* What is empty is freed as well. */
	dma_test_unmap(dt, SLOT_PAGES, 2 * SLOT_PAGES);
	KUNIT_EXPECT_EQ(test, dt->clears, 0);
	KUNIT_EXPECT_EQ(test, hmm_dma_view_memory(&dt->view), dt->memory);
}

/* IOVAs are congruent to the addresses, wherever the window begins. */
static void dma_test_congruent(struct kunit *test)
{
	static const struct {
		unsigned long page, npages;	/* from a PUD boundary on */
		unsigned long leaf;		/* largest that fits */
	} windows[] = {
		{ 0, 1, PAGE_SIZE }, { 5, 3, PAGE_SIZE },
		{ 511, 2, PAGE_SIZE }, { 300, 724, PMD_SIZE },
		{ 1, 5000, PMD_SIZE }, { 512 * 511 + 3, 1000, PMD_SIZE },
		{ 512 * 300, 512 * 512, PUD_SIZE },
		{ 0, 512 * 512, PUD_SIZE },
	};
	struct dma_test *dt = test->priv;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(windows); i++) {
		unsigned long start = DMA_TEST_START +
				      windows[i].page * PAGE_SIZE;
		struct hmm_dma_run run;

		dma_test_view(dt, start,
			      start + windows[i].npages * PAGE_SIZE);
		dma_test_set(dt, 0, 1, dt->pages, DMA_TEST_W);
		KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, 1, 0), 0);
		dma_test_expect_page(dt, 0, true);
		run = dma_test_run(dt, 0, 0, 1);
		if (dt->iommu)
			KUNIT_EXPECT_EQ_MSG(test, 0,
					    (run.addr - start) % windows[i].leaf,
					    "window %u", i);
		dma_test_end_view(dt);
	}
}

/* Without callbacks, or without clear(), everything else works. */
static void dma_test_no_clear(struct kunit *test)
{
	static const struct hmm_dma_ops no_clear = {};
	struct dma_test *dt = dma_test_begin(test);

	dma_test_set(dt, 0, 4, dt->pages, DMA_TEST_W);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, 4, 0), 0);
	dt->view.ops = &no_clear;
	if (dt->iommu)
		dt->iommu->cleared = true;
	dma_test_unmap(dt, 0, 4);
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, 4), 0);

	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, 4, 0), 0);
	dt->view.ops = NULL;
	if (dt->iommu)
		dt->iommu->cleared = true;
	dma_test_unmap(dt, 0, 4);
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, 4), 0);
	KUNIT_EXPECT_EQ(test, dt->clears, 0);
}

/* ---- Device-private pages ---- */

#ifdef CONFIG_DEVICE_PRIVATE
static void dma_test_folio_free(struct folio *folio)
{
}

static vm_fault_t dma_test_migrate_to_ram(struct vm_fault *vmf)
{
	return VM_FAULT_SIGBUS;
}

static int dma_test_peer_access(struct folio *folio, struct device *peer,
				struct pgmap_peer_access *access)
{
	const struct dev_pagemap *pgmap = folio->pgmap;
	struct kunit *test = pgmap->owner;
	struct dma_test *dt = test->priv;
	unsigned long pfn = folio_pfn(folio);

	lockdep_assert_held(&dt->lock);
	if (peer != dt->dev || pfn == dt->refused)
		return -EPERM;
	access->provider = &dt->provider;
	access->phys = dt->peer_phys + PFN_PHYS(pfn) - pgmap->range.start;
	if (pfn == dt->moved)
		access->phys += SZ_1G;
	return 0;
}

static const struct dev_pagemap_ops dma_test_pgmap_ops = {
	.folio_free = dma_test_folio_free,
	.migrate_to_ram = dma_test_migrate_to_ram,
	.peer_access = dma_test_peer_access,
};

static void dma_test_free_private(void *arg)
{
	struct dev_pagemap *pgmap = arg;

	memunmap_pages(pgmap);
	release_mem_region(pgmap->range.start, range_len(&pgmap->range));
}

/* The pfn of a slot full of device-private pages. */
static unsigned long dma_test_alloc_private(struct kunit *test)
{
	struct dev_pagemap *pgmap = kunit_kzalloc(test, sizeof(*pgmap),
						  GFP_KERNEL);
	struct resource *res;
	void *ptr;

	KUNIT_ASSERT_NOT_NULL(test, pgmap);
	res = request_free_mem_region(&iomem_resource, SLOT_SIZE,
				      "hmm-dma-test");
	KUNIT_ASSERT_FALSE(test, IS_ERR(res));
	pgmap->type = MEMORY_DEVICE_PRIVATE;
	pgmap->range = (struct range) { .start = res->start, .end = res->end };
	pgmap->nr_range = 1;
	pgmap->ops = &dma_test_pgmap_ops;
	pgmap->owner = test;
	ptr = memremap_pages(pgmap, numa_node_id());
	if (IS_ERR(ptr))
		release_mem_region(res->start, resource_size(res));
	KUNIT_ASSERT_FALSE(test, IS_ERR(ptr));
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, dma_test_free_private,
						  pgmap));
	return PHYS_PFN(pgmap->range.start);
}

/* They are refused unless asked for, and never get an address. */
static void dma_test_private(struct kunit *test)
{
	unsigned long pfn = dma_test_alloc_private(test);
	struct dma_test *dt = dma_test_begin(test);
	struct hmm_dma_run run;

	dma_test_set(dt, 0, 4, dt->pages, DMA_TEST_W);
	dma_test_set(dt, 4, 4, pfn + 4, DMA_TEST_W);
	dma_test_set(dt, 8, 4, dt->pages + 8, DMA_TEST_W);
	dma_test_set(dt, SLOT_PAGES, SLOT_PAGES, pfn,
		     DMA_TEST_W | DMA_TEST_LEAF);
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP,
			dma_test_map(dt, 0, DMA_TEST_PAGES, 0));
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, DMA_TEST_PAGES), 0);

	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, DMA_TEST_PAGES,
					   HMM_DMA_TAKE_PRIVATE), 0);
	if (dt->iommu)
		KUNIT_EXPECT_EQ(test, dt->iommu->mapped, 8);
	dma_test_expect_pages(dt, 0, 4, true);
	dma_test_expect_pages(dt, 8, 12, true);
	run = dma_test_run(dt, 1, 0, DMA_TEST_PAGES);
	dma_test_expect_run(dt, &run, 4, 4);
	KUNIT_EXPECT_EQ(test, run.kind, HMM_DMA_PRIVATE);
	KUNIT_EXPECT_EQ(test, run.addr, 0);
	KUNIT_EXPECT_EQ(test, run.pfn, pfn + 4);
	KUNIT_EXPECT_TRUE(test, run.writable);
	run = dma_test_run(dt, 3, 0, DMA_TEST_PAGES);
	dma_test_expect_run(dt, &run, SLOT_PAGES, SLOT_PAGES);
	KUNIT_EXPECT_EQ(test, run.kind, HMM_DMA_PRIVATE);
	KUNIT_EXPECT_EQ(test, run.order, SLOT_ORDER);

	/* Nothing to unlink, but the device is to be told. */
	dma_test_unmap(dt, 5, 6);
	dma_test_expect_clear(dt, 5, 6);
	KUNIT_EXPECT_FALSE(test, folio_test_dirty(pfn_folio(pfn + 4)));
	dma_test_unmap(dt, 0, DMA_TEST_PAGES);
	KUNIT_EXPECT_EQ(test, dt->clears, 1);
	if (dt->iommu)
		KUNIT_EXPECT_EQ(test, dt->iommu->flushes, 1);
}

static enum pci_p2pdma_map_type
dma_test_map_type(struct p2pdma_provider *provider, struct device *peer)
{
	struct dma_test *dt = container_of(provider, struct dma_test, provider);

	KUNIT_EXPECT_PTR_EQ(dt->test, peer, dt->dev);
	return dt->map_type;
}

/*
 * A view that takes memory of peers: four pages of the system, eight that a peer
 * offers, and a slot full of these. Returns: the pfn of the slot.
 */
static unsigned long dma_test_begin_peer(struct kunit *test,
					 enum pci_p2pdma_map_type type)
{
	unsigned long pfn = dma_test_alloc_private(test);
	struct dma_test *dt = dma_test_begin(test);

	kunit_activate_static_stub(test, hmm_peer_map_type, dma_test_map_type);
	dt->map_type = type;
	dt->peer_phys = 8ULL * SZ_1G;
	dt->provider.bus_offset = 16ULL * SZ_1G;
	dt->view.peers = true;
	dma_test_set(dt, 0, 4, dt->pages, DMA_TEST_W);
	dma_test_set(dt, 4, 8, pfn + 4, DMA_TEST_W | HMM_PFN_PEER);
	dma_test_set(dt, SLOT_PAGES, SLOT_PAGES, pfn,
		     DMA_TEST_W | HMM_PFN_PEER | DMA_TEST_LEAF);
	return pfn;
}

/* Does the device find the peer's page @i at the window's page @page? */
static void dma_test_expect_peer(struct dma_test *dt, unsigned long page,
				 unsigned long i, enum hmm_dma_kind kind)
{
	struct hmm_dma_run run = { .start = dma_test_va(dt, page) };
	phys_addr_t phys = dt->peer_phys + i * PAGE_SIZE;
	struct kunit *test = dt->test;
	dma_addr_t addr = phys;

	KUNIT_ASSERT_TRUE(test, dma_test_next_run(dt, page + 1, &run));
	KUNIT_EXPECT_EQ(test, run.start, dma_test_va(dt, page));
	KUNIT_EXPECT_EQ(test, run.kind, kind);
	KUNIT_EXPECT_TRUE(test, run.writable);
	if (kind == HMM_DMA_BUS)
		addr += dt->provider.bus_offset;
	else if (dt->iommu)
		addr = run.addr;
	KUNIT_EXPECT_EQ(test, run.addr, addr);
	if (kind == HMM_DMA_MEMORY && dt->iommu)
		KUNIT_EXPECT_EQ(test, phys,
				dma_test_iova_to_phys(&dt->iommu->domain, addr));
}

/* By addresses that the IOMMU has, and dirty when the device is done. */
static void dma_test_peer_host(struct kunit *test)
{
	unsigned long pfn = dma_test_begin_peer(test,
						PCI_P2PDMA_MAP_THRU_HOST_BRIDGE);
	struct dma_test *dt = test->priv;
	int ret = dma_test_map(dt, 0, DMA_TEST_PAGES, 0);
	unsigned long i;

	KUNIT_ASSERT_EQ(test, ret, dt->dev ? 0 : -EREMOTEIO);
	if (!dt->dev)
		return;
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, DMA_TEST_PAGES),
			12 + SLOT_PAGES);
	dma_test_expect_pages(dt, 0, 4, true);
	for (i = 4; i < 12; i++)
		dma_test_expect_peer(dt, i, i, HMM_DMA_MEMORY);
	dma_test_expect_peer(dt, SLOT_PAGES, 0, HMM_DMA_MEMORY);
	dma_test_expect_peer(dt, SLOT_PAGES + 9, 9, HMM_DMA_MEMORY);
	if (dt->iommu) {
		KUNIT_EXPECT_EQ(test, dt->iommu->mapped, 12 + SLOT_PAGES);
		KUNIT_EXPECT_EQ(test, dt->iommu->maps, 3);
	}

	/* The same again is nothing to do. */
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, DMA_TEST_PAGES, 0), 0);
	KUNIT_EXPECT_EQ(test, dt->clears, 0);
	dma_test_expect_calls(dt, 0, 0, 0);

	KUNIT_EXPECT_FALSE(test, folio_test_dirty(pfn_folio(pfn + 4)));
	dma_test_unmap(dt, 5, 6);
	dma_test_expect_clear(dt, 4, 12);
	KUNIT_EXPECT_TRUE(test, folio_test_dirty(pfn_folio(pfn + 4)));
	KUNIT_EXPECT_FALSE(test, folio_test_dirty(pfn_folio(pfn + 3)));
	dma_test_unmap(dt, 0, DMA_TEST_PAGES);
	KUNIT_EXPECT_TRUE(test, folio_test_dirty(pfn_folio(pfn)));
}

/* By bus addresses, of which nobody but the view knows. */
static void dma_test_peer_bus(struct kunit *test)
{
	unsigned long pfn = dma_test_begin_peer(test, PCI_P2PDMA_MAP_BUS_ADDR);
	struct dma_test *dt = test->priv;
	unsigned long i;
	int ret;

	ret = dma_test_map(dt, 0, DMA_TEST_PAGES, 0);
	KUNIT_ASSERT_EQ(test, ret, dt->dev ? 0 : -EREMOTEIO);
	if (!dt->dev)
		return;
	dma_test_expect_pages(dt, 0, 4, true);
	for (i = 4; i < 12; i++)
		dma_test_expect_peer(dt, i, i, HMM_DMA_BUS);
	dma_test_expect_peer(dt, SLOT_PAGES + 9, 9, HMM_DMA_BUS);
	if (dt->iommu)
		KUNIT_EXPECT_EQ(test, dt->iommu->mapped, 4);

	/* One by one, as nothing was linked. */
	dma_test_unmap(dt, 5, 6);
	dma_test_expect_clear(dt, 5, 6);
	KUNIT_EXPECT_TRUE(test, folio_test_dirty(pfn_folio(pfn + 5)));
	KUNIT_EXPECT_FALSE(test, folio_test_dirty(pfn_folio(pfn + 6)));
	dma_test_expect_peer(dt, 6, 6, HMM_DMA_BUS);
}

/* A page of the peer that does not follow the others makes a link of its own. */
static void dma_test_peer_scattered(struct kunit *test)
{
	unsigned long pfn = dma_test_begin_peer(test,
						PCI_P2PDMA_MAP_THRU_HOST_BRIDGE);
	struct dma_test *dt = test->priv;
	int ret;

	dt->moved = pfn + 6;
	ret = dma_test_map(dt, 4, 12, 0);
	KUNIT_ASSERT_EQ(test, ret, dt->dev ? 0 : -EREMOTEIO);
	if (!dt->dev)
		return;
	dma_test_expect_calls(dt, 3, 1, 0);
	dma_test_expect_peer(dt, 5, 5, HMM_DMA_MEMORY);
	dma_test_expect_peer(dt, 6, 6 + SZ_1G / PAGE_SIZE, HMM_DMA_MEMORY);
	dma_test_expect_peer(dt, 7, 7, HMM_DMA_MEMORY);
}

/* Whoever says no, nothing is left, or what was not refused. */
static void dma_test_peer_refused(struct kunit *test)
{
	unsigned long pfn = dma_test_begin_peer(test,
						PCI_P2PDMA_MAP_THRU_HOST_BRIDGE);
	struct dma_test *dt = test->priv;

	dt->refused = pfn + 6;
	KUNIT_EXPECT_EQ(test, -EREMOTEIO, dma_test_map(dt, 0, 12, 0));
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, 12), 0);
	KUNIT_EXPECT_EQ(test, dt->view.refused,
			dma_test_va(dt, (dt->dev ? 6 : 4) + 1));
	KUNIT_EXPECT_EQ(test, 0, dma_test_map(dt, 0, 12, HMM_DMA_SKIP_REMOTE));
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, 12), dt->dev ? 11 : 4);
	KUNIT_EXPECT_EQ(test, dt->view.refused,
			dma_test_va(dt, (dt->dev ? 6 : 4) + 1));
	KUNIT_EXPECT_EQ(test, dma_test_missing(dt, 0, 12, true),
			dt->dev ? 6 : 4);
	dma_test_unmap(dt, 0, 12);

	KUNIT_EXPECT_EQ(test, 0, dma_test_map(dt, 0, 4, 0));
	KUNIT_EXPECT_EQ(test, dt->view.refused, 0);
	dma_test_unmap(dt, 0, 12);

	dt->refused = 0;
	dt->map_type = PCI_P2PDMA_MAP_NOT_SUPPORTED;
	KUNIT_EXPECT_EQ(test, -EREMOTEIO, dma_test_map(dt, 0, 12, 0));
	dt->map_type = PCI_P2PDMA_MAP_NONE;
	KUNIT_EXPECT_EQ(test, -EREMOTEIO, dma_test_map(dt, 0, 12, 0));
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, 12), 0);
}

/*
 * What the device cannot address is refused, page by page. Behind an IOMMU only a
 * bus address can be that.
 */
static void dma_test_peer_mask(struct kunit *test,
			       enum pci_p2pdma_map_type type)
{
	struct dma_test *dt;
	bool narrow;
	int ret;

	dma_test_begin_peer(test, type);
	dt = test->priv;
	if (!dt->dev)
		return;
	/* The window's pages from 8 on are beyond the mask. */
	dt->peer_phys = BIT_ULL(36) - 8 * PAGE_SIZE;
	dt->provider.bus_offset = 0;
	if (type == PCI_P2PDMA_MAP_BUS_ADDR)
		swap(dt->peer_phys, dt->provider.bus_offset);
	*dt->dev->dma_mask = DMA_BIT_MASK(36);
	narrow = type == PCI_P2PDMA_MAP_BUS_ADDR || !dt->iommu;

	ret = dma_test_map(dt, 4, 12, 0);
	KUNIT_EXPECT_EQ(test, ret, narrow ? -EREMOTEIO : 0);
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, 12), narrow ? 0 : 8);
	ret = dma_test_map(dt, 4, 12, HMM_DMA_SKIP_REMOTE);
	KUNIT_EXPECT_EQ(test, ret, 0);
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, 12), narrow ? 4 : 8);
	KUNIT_EXPECT_EQ(test, dma_test_missing(dt, 4, 12, true),
			narrow ? 8 : 12);
	dma_test_unmap(dt, 0, 12);
	*dt->dev->dma_mask = DMA_BIT_MASK(64);
}

static void dma_test_peer_mask_host(struct kunit *test)
{
	dma_test_peer_mask(test, PCI_P2PDMA_MAP_THRU_HOST_BRIDGE);
}

static void dma_test_peer_mask_bus(struct kunit *test)
{
	dma_test_peer_mask(test, PCI_P2PDMA_MAP_BUS_ADDR);
}

/* For whatever reason the IOMMU does not take it: but for want of memory. */
static void dma_test_peer_fail_map(struct kunit *test)
{
	struct dma_test *dt;

	dma_test_begin_peer(test, PCI_P2PDMA_MAP_THRU_HOST_BRIDGE);
	dt = test->priv;
	if (!dt->iommu)
		return;
	dt->iommu->fail_map = 1;
	KUNIT_EXPECT_EQ(test, -ENOMEM,
			dma_test_map(dt, 4, 12, HMM_DMA_SKIP_REMOTE));
	dt->iommu->fail_with = -EIO;
	dt->iommu->fail_map = 1;
	KUNIT_EXPECT_EQ(test, -EREMOTEIO, dma_test_map(dt, 4, 12, 0));
	dt->iommu->fail_map = 1;
	KUNIT_EXPECT_EQ(test, 0, dma_test_map(dt, 4, 12, HMM_DMA_SKIP_REMOTE));
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, 12), 0);
	/* That of the system is another matter. */
	dt->iommu->fail_map = 1;
	KUNIT_EXPECT_EQ(test, -EIO, dma_test_map(dt, 0, 4, 0));
}

/* Nothing that the owner says opens a view that does not take it. */
static void dma_test_peer_not_taken(struct kunit *test)
{
	unsigned long pfn = dma_test_alloc_private(test);
	struct dma_test *dt = dma_test_begin(test);

	kunit_activate_static_stub(test, hmm_peer_map_type, dma_test_map_type);
	dt->map_type = PCI_P2PDMA_MAP_BUS_ADDR;
	dma_test_set(dt, 0, 4, pfn, DMA_TEST_W | HMM_PFN_PEER);
	KUNIT_EXPECT_EQ(test, -EREMOTEIO, dma_test_map(dt, 0, 4, 0));
	KUNIT_EXPECT_EQ(test, -EREMOTEIO,
			dma_test_map(dt, 0, 4, HMM_DMA_TAKE_PRIVATE));
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, 4), 0);
}
#endif /* CONFIG_DEVICE_PRIVATE */

/* ---- Failures ---- */

/* What the device cannot reach is an error, or left out with all of its link. */
static void dma_test_skip_remote(struct kunit *test)
{
	struct hmm_dma_link link = { .npages = 17 };
	struct hmm_dma_map_args map = {};

	KUNIT_EXPECT_EQ(test, hmm_dma_skip(&map, &link, -EREMOTEIO),
			-EREMOTEIO);
	map.flags = HMM_DMA_SKIP_REMOTE;
	KUNIT_EXPECT_EQ(test, hmm_dma_skip(&map, &link, -EREMOTEIO), 17);
	KUNIT_EXPECT_EQ(test, hmm_dma_skip(&map, &link, -ENOMEM), -ENOMEM);
	KUNIT_EXPECT_EQ(test, hmm_dma_skip(&map, &link, -EOPNOTSUPP),
			-EOPNOTSUPP);
}

/* Some of everything: small pages, scattered ones, a leaf. */
static void dma_test_set_mix(struct dma_test *dt)
{
	unsigned long i;

	dma_test_set(dt, 0, 40, dt->pages, DMA_TEST_W);
	for (i = 100; i < 104; i++)
		dma_test_set(dt, i, 1, dt->pages + 2 * i, DMA_TEST_R);
	dma_test_set(dt, SLOT_PAGES, SLOT_PAGES, dt->leaf,
		     DMA_TEST_W | DMA_TEST_LEAF);
	dma_test_set(dt, 2 * SLOT_PAGES, 8, dt->pages + 400, DMA_TEST_W);
}

/* Whichever call of the IOMMU driver fails, nothing is left in the range. */
static void dma_test_fail_nth_map(struct kunit *test)
{
	struct dma_test *dt = dma_test_begin(test);
	unsigned long end = DMA_TEST_PAGES - SLOT_PAGES;
	unsigned int n;
	int ret;

	if (!dt->iommu)
		return;
	/* It is outside of the range, so it stays. */
	dma_test_set(dt, end, 1, dt->pages + 3, DMA_TEST_W);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, end, end + 1, 0), 0);

	dma_test_set_mix(dt);
	for (n = 1; n < 100; n++) {
		dt->iommu->fail_map = n;
		ret = dma_test_map(dt, 0, end, 0);
		if (!ret)
			break;
		KUNIT_EXPECT_EQ(test, ret, -ENOMEM);
		KUNIT_EXPECT_EQ(test, dt->iommu->mapped, 1);
		KUNIT_EXPECT_EQ(test, dt->iommu->flushes, n > 1);
		KUNIT_EXPECT_EQ(test, dt->iommu->unflushed, 0);
		KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, end), 0);
		KUNIT_EXPECT_EQ(test, dt->clears, n > 1);
	}
	dt->iommu->fail_map = 0;
	/* 1 link of contiguous pages, 4 of scattered ones, 2 more. */
	KUNIT_EXPECT_EQ(test, n, 8);
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, end),
			40 + 4 + SLOT_PAGES + 8);
	dma_test_expect_page(dt, end, true);
}

static void dma_test_fail_sync(struct kunit *test)
{
	struct dma_test *dt = dma_test_begin(test);

	if (!dt->iommu)
		return;
	dma_test_set_mix(dt);
	dt->iommu->fail_sync = true;
	KUNIT_EXPECT_EQ(test, dma_test_map(dt, 0, DMA_TEST_PAGES, 0), -EIO);
	KUNIT_EXPECT_EQ(test, dt->iommu->mapped, 0);
	KUNIT_EXPECT_EQ(test, dt->iommu->unflushed, 0);
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, DMA_TEST_PAGES), 0);
	dt->iommu->fail_sync = false;
	KUNIT_EXPECT_EQ(test, dma_test_map(dt, 0, DMA_TEST_PAGES, 0), 0);
	dma_test_expect_calls(dt, 7, 1, 0);
}

/* The pieces are gone by then, so nothing of the slot is left. */
static void dma_test_fail_collapse(struct kunit *test)
{
	struct dma_test *dt = dma_test_begin(test);

	if (!dt->iommu)
		return;
	dma_test_set(dt, 0, SLOT_PAGES, dt->pages, DMA_TEST_W);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 8, 16, 0), 0);
	dt->iommu->fail_map = 1;
	KUNIT_EXPECT_EQ(test, dma_test_map(dt, 0, SLOT_PAGES, 0), -ENOMEM);
	dma_test_expect_clear(dt, 8, SLOT_PAGES);
	KUNIT_EXPECT_EQ(test, dt->iommu->mapped, 0);
	KUNIT_EXPECT_EQ(test, dt->iommu->unflushed, 0);
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, DMA_TEST_PAGES), 0);
	KUNIT_EXPECT_EQ(test, dma_test_map(dt, 0, SLOT_PAGES, 0), 0);
	dma_test_expect_calls(dt, 1, 1, 0);
}

/* Also what was mapped before the call, as the range is undefined otherwise. */
static void dma_test_failure_takes_old(struct kunit *test)
{
	struct dma_test *dt = dma_test_begin(test);
	struct hmm_range range;

	dma_test_set_mix(dt);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 0, 32, 0), 0);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, SLOT_PAGES, 2 * SLOT_PAGES, 0),
			0);
	range = dma_test_range(dt, 0, DMA_TEST_PAGES);
	/* No table for the last slot. */
	KUNIT_EXPECT_EQ(test, dma_test_map_range(dt, &range, 0), -EAGAIN);
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, DMA_TEST_PAGES), 0);
	KUNIT_EXPECT_EQ(test, dt->clears, 1);
	if (dt->iommu)
		KUNIT_EXPECT_EQ(test, dt->iommu->mapped, 0);
}

/* Of a range that was walked here and there, what lies between is not its own. */
static void dma_test_failure_keeps_gaps(struct kunit *test)
{
	unsigned long wanted[BITS_TO_LONGS(DMA_TEST_PAGES)] = {};
	struct dma_test *dt = dma_test_begin(test);
	struct hmm_extent some[] = {
		{ .start = dma_test_va(dt, 0), .npages = 4 },
		{ .start = dma_test_va(dt, 2 * SLOT_PAGES), .npages = 1 },
	};
	struct hmm_range range = {
		.start = some[0].start, .end = dt->view.end,
		.next = dt->view.end, .wanted = wanted,
		.extents = some, .max_extents = 2, .nr_extents = 2,
	};

	dma_test_set(dt, 0, 4, dt->pages + 100, DMA_TEST_W);
	dma_test_set(dt, 8, 4, dt->pages + 8, DMA_TEST_W);
	some[0].entry = dt->found[0];
	some[1].entry = (dt->pages + 200) | DMA_TEST_W;
	bitmap_set(wanted, 0, 4);
	__set_bit(2 * SLOT_PAGES, wanted);
	KUNIT_ASSERT_EQ(test, dma_test_map(dt, 8, 12, 0), 0);
	/* No table for the last one. */
	KUNIT_EXPECT_EQ(test, dma_test_map_range(dt, &range, 0), -EAGAIN);
	KUNIT_EXPECT_EQ(test, dma_test_mapped(dt, 0, DMA_TEST_PAGES), 4);
	dma_test_expect_pages(dt, 8, 12, true);
}

/* ---- Random operations against a model ---- */

/* May @page and the next one be in one link? */
static bool dma_test_model_joined(struct dma_test *dt, unsigned long page)
{
	const struct dma_test_page *model = &dt->model[page];
	unsigned long pfn = model[0].found & ~HMM_PFN_FLAGS;

	if (!dt->dev && hmm_pfn_to_map_order(model[0].found) < SLOT_ORDER)
		return false;
	return model[0].found && model[1].found &&
	       model[0].writable == model[1].writable &&
	       (model[1].found & ~HMM_PFN_FLAGS) == pfn + 1 &&
	       dma_test_va(dt, page + 1) % SLOT_SIZE;
}

/*
 * clear() may say more than the operation is for, but no more than what is
 * contiguous with that in its slot: see hmm_range_dma_unmap().
 */
static unsigned long dma_test_model_excess(struct dma_test *dt,
					   unsigned long start,
					   unsigned long end)
{
	unsigned long va, page, bad = 0;

	for (va = start; va < end; va += PAGE_SIZE) {
		page = (va - dt->view.start) >> PAGE_SHIFT;
		if (va < dt->op_start)
			bad += !dma_test_model_joined(dt, page);
		else if (va >= dt->op_end)
			bad += !dma_test_model_joined(dt, page - 1);
	}
	return bad;
}

/* Number of the folio of an entry: the small ones, and then the leaf's. */
static unsigned long dma_test_folio(struct dma_test *dt, unsigned long entry)
{
	unsigned long i = (entry & ~HMM_PFN_FLAGS) - dt->pages;

	return min(i, SLOT_PAGES);
}

static void dma_test_model_clear(struct dma_test *dt, unsigned long start,
				 unsigned long end)
{
	unsigned long va, page;

	KUNIT_ASSERT_GE(dt->test, start, dt->view.start);
	KUNIT_ASSERT_LE(dt->test, end, dt->view.end);
	KUNIT_EXPECT_EQ(dt->test, dma_test_model_excess(dt, start, end), 0);
	for (va = start; va < end; va += PAGE_SIZE) {
		page = (va - dt->view.start) >> PAGE_SHIFT;
		if (!dt->model[page].found)
			continue;
		if (dt->model[page].writable)
			__set_bit(dma_test_folio(dt, dt->model[page].found),
				  dt->dirty);
		dt->model[page].found = 0;
	}
}

/* What is to be mapped after a successful call for [@page, @end). */
static void dma_test_model_map(struct dma_test *dt, unsigned long page,
			       unsigned long end, unsigned int flags)
{
	for (; page < end; page++) {
		struct dma_test_page *model = &dt->model[page];
		unsigned long found = dt->found[page];
		bool may_write = found & HMM_PFN_WRITE;
		bool write = may_write && !(flags & HMM_DMA_READ_ONLY);

		if (!(found & HMM_PFN_VALID))
			continue;
		if (model->found && !((model->found ^ found) & ~HMM_PFN_FLAGS) &&
		    (model->writable ? may_write : !write))
			continue;
		model->found = found;
		model->writable = write;
	}
}

static bool dma_test_model_agrees(struct dma_test *dt, unsigned long page,
				  const struct hmm_dma_run *run)
{
	unsigned long i = page - ((run->start - dt->view.start) >> PAGE_SHIFT);
	const struct dma_test_page *model = &dt->model[page];
	unsigned long pfn = model->found & ~HMM_PFN_FLAGS;
	dma_addr_t addr = dt->dev ? run->addr + i * PAGE_SIZE : 0;

	return model->found && model->writable == run->writable &&
	       (i || run->pfn == pfn) &&
	       dma_test_reaches(dt, addr, run->pfn + i, pfn, run->writable);
}

/* First page in which view and model differ. */
static unsigned long dma_test_model_compare(struct dma_test *dt,
					    unsigned long npages)
{
	struct hmm_dma_run run = { .start = dt->view.start };
	unsigned long page = 0, end;

	while (dma_test_next_run(dt, npages, &run)) {
		end = (run.start - dt->view.start) >> PAGE_SHIFT;
		for (; page < end; page++)
			if (dt->model[page].found)
				return page;
		for (end += run.npages; page < end; page++)
			if (!dma_test_model_agrees(dt, page, &run))
				return page;
	}
	for (; page < npages; page++)
		if (dt->model[page].found)
			return page;
	return npages;
}

static unsigned long dma_test_model_missing(struct dma_test *dt,
					    unsigned long page,
					    unsigned long end, bool write)
{
	while (page < end && dt->model[page].found &&
	       (!write || dt->model[page].writable))
		page++;
	return page;
}

/* What was unmapped while writable is dirty; after success, nothing else is. */
static bool dma_test_model_dirty(struct dma_test *dt, bool exactly, bool reset)
{
	unsigned long i;
	bool good = true;

	for (i = 0; i <= SLOT_PAGES; i++) {
		struct folio *folio = pfn_folio(i < SLOT_PAGES ? dt->pages + i :
								 dt->leaf);
		bool dirty = folio_test_dirty(folio);

		if (test_bit(i, dt->dirty) ? !dirty : dirty && exactly)
			good = false;
		if (reset)
			folio_clear_dirty(folio);
		__assign_bit(i, dt->dirty, dirty && !reset);
	}
	return good;
}

struct dma_test_random {
	struct rnd_state rnd;
	unsigned long npages;		/* of the window */
	unsigned long page, end;	/* pages chosen */
};

static unsigned long dma_test_below(struct dma_test_random *r, unsigned long n)
{
	return prandom_u32_state(&r->rnd) % n;
}

static void dma_test_choose(struct dma_test_random *r)
{
	static const unsigned long limits[] = { 1, 8, 64, 700, 3000 };
	unsigned long limit = limits[dma_test_below(r, ARRAY_SIZE(limits))];

	r->page = dma_test_below(r, r->npages);
	r->end = min(r->page + 1 + dma_test_below(r, limit), r->npages);
}

/*
 * Set @r to the block of @order that has @page, clipped by the window. Returns
 * how many pages were clipped at its beginning.
 */
static unsigned long dma_test_block_at(struct dma_test *dt,
				       struct dma_test_random *r,
				       unsigned long page, unsigned int order)
{
	unsigned long first = dt->view.start >> PAGE_SHIFT;
	unsigned long block = round_down(first + page, BIT(order));

	r->page = max(block, first) - first;
	r->end = min(block + BIT(order) - first, r->npages);
	return r->page + first - block;
}

/*
 * The block that has @page is mapped by single PTEs from now on. A leaf is
 * invalidated by that.
 */
static void dma_test_split(struct dma_test *dt, struct dma_test_random *r,
			   unsigned long page)
{
	unsigned int order = hmm_pfn_to_map_order(dt->found[page]);
	struct dma_test_random block = *r;

	if (!order)
		return;
	dma_test_block_at(dt, &block, page, order);
	for (page = block.page; page < block.end; page++)
		dt->found[page] &= ~DMA_TEST_O(0x1f);
	if (order == SLOT_ORDER) {
		dt->op_start = dma_test_va(dt, block.page);
		dt->op_end = dma_test_va(dt, block.end);
		dma_test_unmap(dt, block.page, block.end);
	}
}

/* Choose pages and what a walk is to find there. Returns the first entry. */
static unsigned long dma_test_choose_entry(struct dma_test *dt,
					   struct dma_test_random *r)
{
	unsigned long flags = dma_test_below(r, 3) ? DMA_TEST_W : DMA_TEST_R;
	unsigned long order, skip;

	dma_test_choose(r);
	switch (dma_test_below(r, 9)) {
	case 0:
		return dma_test_below(r, 4) ? 0 : HMM_PFN_ERROR;
	case 1:
	case 2:
		skip = dma_test_block_at(dt, r, r->page, SLOT_ORDER);
		return (dt->leaf + skip) | flags | DMA_TEST_LEAF;
	case 3:
	case 4:
		order = 1 + dma_test_below(r, SLOT_ORDER - 1);
		skip = dma_test_block_at(dt, r, r->page, order);
		skip += round_down(dma_test_below(r, SLOT_PAGES), BIT(order));
		return (dt->pages + skip) | flags | DMA_TEST_O(order);
	case 5:
		skip = dma_test_block_at(dt, r, r->page, SLOT_ORDER);
		return (dt->pages + skip) | flags;
	default:
		r->end = min(r->end, r->page + SLOT_PAGES);
		skip = dma_test_below(r, SLOT_PAGES - (r->end - r->page) + 1);
		return (dt->pages + skip) | flags;
	}
}

/* The same pages, with another permission. */
static void dma_test_change_permission(struct dma_test *dt,
				       struct dma_test_random *r)
{
	unsigned long write = dma_test_below(r, 2) ? HMM_PFN_WRITE : 0, i;

	dma_test_choose(r);
	dma_test_split(dt, r, r->page);
	dma_test_split(dt, r, r->end - 1);
	for (i = r->page; i < r->end; i++)
		if (dt->found[i] & HMM_PFN_VALID)
			dt->found[i] = (dt->found[i] & ~HMM_PFN_WRITE) | write;
}

static void dma_test_change(struct dma_test *dt, struct dma_test_random *r)
{
	unsigned long entry = dma_test_choose_entry(dt, r);
	bool scattered = !hmm_pfn_to_map_order(entry) && !dma_test_below(r, 3);
	unsigned long i;

	dma_test_split(dt, r, r->page);
	dma_test_split(dt, r, r->end - 1);
	dma_test_set(dt, r->page, r->end - r->page, entry & ~HMM_PFN_FLAGS,
		     entry & HMM_PFN_FLAGS);
	if (!scattered || !(entry & HMM_PFN_VALID))
		return;
	for (i = r->page; i < r->end; i++)
		dt->found[i] = (entry & HMM_PFN_FLAGS) |
			       (dt->pages + dma_test_below(r, SLOT_PAGES));
}

/* Returns whether the operation has done what it was for. */
static bool dma_test_operate(struct dma_test *dt, struct dma_test_random *r)
{
	unsigned int kind = dma_test_below(r, 8), flags;
	int ret;

	if (kind == 0)
		dma_test_change(dt, r);
	else if (kind == 1)
		dma_test_change_permission(dt, r);
	else
		dma_test_choose(r);
	dt->op_start = dma_test_va(dt, r->page);
	dt->op_end = dma_test_va(dt, r->end);
	/* Some changes are not told by an invalidation. */
	if (kind < 4) {
		if (kind > 1 || dma_test_below(r, 2))
			dma_test_unmap(dt, r->page, r->end);
		return true;
	}

	flags = dma_test_below(r, 4) ? 0 : HMM_DMA_READ_ONLY;
	ret = dma_test_map(dt, r->page, r->end, flags);
	if (!ret)
		dma_test_model_map(dt, r->page, r->end, flags);
	else
		KUNIT_EXPECT_EQ(dt->test, ret, -EAGAIN);
	return !ret;
}

/* Compare all that can be seen from outside. Returns whether all is right. */
static bool dma_test_check(struct dma_test *dt, struct dma_test_random *r,
			   bool success)
{
	struct kunit *test = dt->test;
	unsigned long i, mapped = 0;
	bool write;

	for (i = 0; i < r->npages; i++)
		mapped += !!dt->model[i].found;
	KUNIT_EXPECT_EQ(test, dma_test_model_compare(dt, r->npages), r->npages);
	KUNIT_EXPECT_TRUE(test, dma_test_model_dirty(dt, success,
						     !dma_test_below(r, 16)));
	if (dt->iommu) {
		KUNIT_EXPECT_EQ(test, dt->iommu->mapped, mapped);
		KUNIT_EXPECT_EQ(test, dt->iommu->errors, 0);
		KUNIT_EXPECT_EQ(test, dt->iommu->unflushed, 0);
		KUNIT_EXPECT_LE(test, dt->iommu->syncs, 1);
		if (success)
			KUNIT_EXPECT_EQ(test, dt->iommu->unsynced_end, 0);
	}

	dma_test_choose(r);
	write = dma_test_below(r, 2);
	KUNIT_EXPECT_EQ(test, dma_test_missing(dt, r->page, r->end, write),
			dma_test_model_missing(dt, r->page, r->end, write));
	return test->status != KUNIT_FAILURE;
}

#define DMA_TEST_OPERATIONS	3000

static void dma_test_random_operations(struct kunit *test)
{
	struct dma_test_random r = { .npages = DMA_TEST_PAGES - 300 };
	struct dma_test *dt = test->priv;
	unsigned int i, failed = 0;
	bool success;

	/* Both ends of the window lie inside of slots. */
	dma_test_view(dt, DMA_TEST_START + 200 * PAGE_SIZE,
		      DMA_TEST_START + (DMA_TEST_PAGES - 100) * PAGE_SIZE);
	dt->model = dma_test_alloc(test, r.npages, sizeof(*dt->model));
	dma_test_model_dirty(dt, false, true);
	prandom_seed_state(&r.rnd, 4711);

	for (i = 0; i < DMA_TEST_OPERATIONS; i++) {
		success = dma_test_operate(dt, &r);
		failed += !success;
		if (!dma_test_check(dt, &r, success)) {
			kunit_err(test, "in operation %u for [%#lx, %#lx)", i,
				  dt->op_start, dt->op_end);
			break;
		}
	}
	/* Only a slot entry that went without notice makes one fail. */
	KUNIT_EXPECT_LT(test, failed, DMA_TEST_OPERATIONS / 20);

	dt->op_start = dt->view.start;
	dt->op_end = dt->view.end;
	dma_test_unmap(dt, 0, r.npages);
	/* Of the first and the last slot not all is in the window. */
	KUNIT_EXPECT_EQ(test, dma_test_tables(dt), 2);
	dma_test_model_dirty(dt, false, true);
}

static struct kunit_case dma_test_cases[] = {
	KUNIT_CASE_PARAM(dma_test_init_errors, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_init_no_iova, dma_test_gen_params),
	KUNIT_CASE(dma_test_init_unfit_device),
	KUNIT_CASE(dma_test_skip_remote),
	KUNIT_CASE_PARAM(dma_test_one_page, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_contiguous, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_scattered, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_over_slots, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_slot_of_pages, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_pages_without_links, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_nearly_slot_of_pages, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_leaf, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_leaves, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_leaf_clipped_by_range, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_collapse, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_collapse_not, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_leaf_clipped_by_window, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_window_of_one_page, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_leaf_of_pud, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_unmap_part_of_link, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_block_of_ptes, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_unmap_holes, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_map_twice, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_overlap, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_upgrade, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_upgrade_part_of_link, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_upgrade_part_of_slot, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_read_only, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_changed, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_leaf_and_pages, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_not_prepared, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_outside, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_extents, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_dirty, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_runs, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_first_missing, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_memory, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_congruent, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_no_clear, dma_test_gen_params),
#ifdef CONFIG_DEVICE_PRIVATE
	KUNIT_CASE_PARAM(dma_test_private, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_peer_host, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_peer_bus, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_peer_scattered, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_peer_refused, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_peer_mask_host, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_peer_mask_bus, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_peer_fail_map, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_peer_not_taken, dma_test_gen_params),
#endif
	KUNIT_CASE_PARAM(dma_test_fail_nth_map, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_fail_sync, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_fail_collapse, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_failure_takes_old, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_failure_keeps_gaps, dma_test_gen_params),
	KUNIT_CASE_PARAM(dma_test_random_operations, dma_test_gen_params),
	{}
};

static struct kunit_suite dma_test_suite = {
	.name = "hmm_dma",
	.suite_init = dma_test_suite_init,
	.suite_exit = dma_test_suite_exit,
	.init = dma_test_init,
	.exit = dma_test_exit,
	.test_cases = dma_test_cases,
};

kunit_test_suite(dma_test_suite);
