// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * KUnit tests of on-demand paging in mlx5: which translation entries a device
 * has after faults, prefetches and invalidations.
 *
 * All of the driver's code from pagefault_mr() and the invalidate() callback
 * down to the UMR work request runs; the device is one that reads this request
 * and the buffer that it names, and keeps an array of entries. Pages are put
 * into the umem by hand, so that their kinds are known, or come from an address
 * space.
 *
 * Included by odp.c, whose static functions it calls. A case runs in one thread
 * on objects of its own.
 */
#include <kunit/device.h>
#include <kunit/static_stub.h>
#include <kunit/test.h>
#include <linux/dma-direct.h>
#include <linux/hmm_dma.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/sizes.h>

#define ODP_TEST_ORDER		9
#define ODP_TEST_LEAF		BIT(ODP_TEST_ORDER)	/* pages */
#define ODP_TEST_START		(5UL * PUD_SIZE)
#define ODP_TEST_ACCESS		(IB_ACCESS_ON_DEMAND | IB_ACCESS_LOCAL_WRITE)
#define ODP_TEST_ALIGN		MLX5_UMR_MTT_NUM_ENTRIES_ALIGNMENT
#define ODP_TEST_PAGES		(4 * ODP_TEST_LEAF)
#define ODP_TEST_RW		MLX5_IB_MTT_PRESENT
/* Entries for which the buffer is used a second time, at the latest. */
#define ODP_TEST_CHUNK		(BIT(MLX5_MAX_UMR_SHIFT + 4) / sizeof(u64) - \
				 ODP_TEST_ALIGN)

/**
 * struct odp_test - an MR and its device
 * @test: the case
 * @dev: the device, as far as the driver looks at it
 * @mdev: its core device
 * @pdev: its PCI device
 * @umr_pd: protection domain of the UMR queue
 * @pd: protection domain of @mr
 * @mr: the MR
 * @odp: its umem
 * @nr: how many entries that has
 * @model: what each entry should be if it is filled
 * @mtt: what the device has, in units of which the UMR writes
 * @mkey: the mkey that @mtt is of
 * @enabled: the device accepts the mkey
 * @umrs: work requests so far
 * @fail: which request from now on is to fail, 0 for none
 * @revoked: the mkey that was disabled last
 * @known_when_revoked: it could be found then
 * @gone: the child that was freed last
 * @leaf: physically contiguous pages, enough for two leaves
 */
struct odp_test {
	struct kunit *test;
	struct mlx5_ib_dev *dev;
	struct mlx5_core_dev *mdev;
	struct pci_dev *pdev;
	struct ib_pd umr_pd;
	struct mlx5_ib_pd pd;
	struct mlx5_ib_mr *mr;
	struct ib_umem_odp *odp;
	size_t nr;
	u64 *model;
	__be64 *mtt;
	u32 mkey;
	bool enabled;
	unsigned int umrs;
	unsigned int fail;
	u32 revoked;
	bool known_when_revoked;
	struct mlx5_ib_mr *gone;
	struct page *leaf;
};

/* ---- The device ---- */

/* One work request: copy entries, and enable the mkey, or disable it. */
static int odp_test_post(struct mlx5_ib_dev *dev, u32 mkey,
			 struct mlx5r_umr_wqe *wqe, bool with_data)
{
	struct odp_test *pt = kunit_get_current_test()->priv;
	struct mlx5_wqe_umr_ctrl_seg *ctrl = &wqe->ctrl_seg;
	bool change = ctrl->mkey_mask & cpu_to_be64(MLX5_MKEY_MASK_FREE);
	size_t idx, n;
	void *buf;

	pt->umrs++;
	if (pt->fail && !--pt->fail)
		return -EIO;
	if (ctrl->flags & MLX5_UMR_CHECK_FREE && !pt->enabled) {
		KUNIT_FAIL(pt->test, "request for a mkey that is not enabled");
		return -EFAULT;
	}
	if (!with_data) {
		pt->revoked = mkey;
		pt->known_when_revoked = xa_load(&dev->odp_mkeys,
						 mlx5_base_mkey(mkey));
	}
	if (mkey != pt->mkey)
		return 0;
	if (!with_data) {
		pt->enabled = false;
		return 0;
	}

	idx = be16_to_cpu(ctrl->xlt_offset) |
	      (size_t)be32_to_cpu(ctrl->xlt_offset_47_16) << 16;
	idx *= MLX5_IB_UMR_OCTOWORD / sizeof(*pt->mtt);
	n = be16_to_cpu(ctrl->xlt_octowords);
	n *= MLX5_IB_UMR_OCTOWORD / sizeof(*pt->mtt);
	buf = phys_to_virt(dma_to_phys(&pt->pdev->dev,
				       be64_to_cpu(wqe->data_seg.addr)));
	KUNIT_EXPECT_EQ(pt->test, 0, idx % ODP_TEST_ALIGN);
	KUNIT_EXPECT_EQ(pt->test, n * sizeof(*pt->mtt),
			be32_to_cpu(wqe->data_seg.byte_count));
	if (idx + n > ALIGN(pt->nr, ODP_TEST_ALIGN)) {
		KUNIT_FAIL(pt->test, "%zu entries at %zu of %zu", n, idx,
			   pt->nr);
		return -EFAULT;
	}
	memcpy(pt->mtt + idx, buf, n * sizeof(*pt->mtt));
	if (change)
		pt->enabled = true;
	return 0;
}

/* The work queue knows nothing of this device. */
static void odp_test_queue_child(struct mlx5_ib_mr *mr)
{
	mr->odp_reclaim.queued = true;
}

/* What has no mkey of hardware cannot be destroyed. */
static void odp_test_dereg_child(struct mlx5_ib_mr *mr)
{
	struct odp_test *pt = kunit_get_current_test()->priv;

	KUNIT_EXPECT_EQ(pt->test, refcount_read(&mr->mmkey.usecount), 0);
	pt->gone = mr;
}

static void odp_test_add_cap(struct odp_test *pt, unsigned int type)
{
	pt->mdev->caps.hca[type] = kunit_kzalloc(pt->test,
						 sizeof(struct mlx5_hca_cap),
						 GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(pt->test, pt->mdev->caps.hca[type]);
}

static void odp_test_add_device(struct odp_test *pt)
{
	struct kunit *test = pt->test;
	struct device *dma_dev;

	pt->dev = kunit_kzalloc(test, sizeof(*pt->dev), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, pt->dev);
	pt->mdev = kunit_kzalloc(test, sizeof(*pt->mdev), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, pt->mdev);
	pt->pdev = kunit_kzalloc(test, sizeof(*pt->pdev), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, pt->pdev);

	pt->dev->mdev = pt->mdev;
	pt->mdev->pdev = pt->pdev;
	pt->pdev->dev.dma_mask = &pt->pdev->dma_mask;
	pt->pdev->dma_mask = DMA_BIT_MASK(64);
	odp_test_add_cap(pt, MLX5_CAP_GENERAL);
	odp_test_add_cap(pt, MLX5_CAP_GENERAL_2);
	odp_test_add_cap(pt, MLX5_CAP_ODP);
	pt->dev->umrc.pd = &pt->umr_pd;
	xa_init(&pt->dev->odp_mkeys);

	dma_dev = kunit_device_register(test, "mlx5-odp-test");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, dma_dev);
	KUNIT_ASSERT_EQ(test, 0,
			dma_set_mask_and_coherent(dma_dev, DMA_BIT_MASK(64)));
	pt->dev->ib_dev.dma_device = dma_dev;
	kunit_activate_static_stub(test, mlx5r_umr_post_send_wait,
				   odp_test_post);
	kunit_activate_static_stub(test, reclaim_implicit_child,
				   odp_test_queue_child);
	kunit_activate_static_stub(test, dereg_implicit_child,
				   odp_test_dereg_child);
}

static void odp_test_free_leaf(void *page)
{
	__free_pages(page, ODP_TEST_ORDER + 1);
}

static int odp_test_init(struct kunit *test)
{
	struct odp_test *pt = kunit_kzalloc(test, sizeof(*pt), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, pt);
	pt->test = test;
	test->priv = pt;
	odp_test_add_device(pt);
	KUNIT_ASSERT_EQ(test, kunit_attach_mm(), 0);

	pt->leaf = alloc_pages(GFP_KERNEL | __GFP_COMP, ODP_TEST_ORDER + 1);
	KUNIT_ASSERT_NOT_NULL(test, pt->leaf);
	return kunit_add_action_or_reset(test, odp_test_free_leaf, pt->leaf);
}

/* ---- The MR ---- */

KUNIT_DEFINE_ACTION_WRAPPER(odp_test_kvfree, kvfree, const void *);

/* After the mkey is gone. */
static void odp_test_release(void *data)
{
	struct ib_umem_odp *odp = data;

	ib_umem_odp_lock(odp);
	odp->private = NULL;
	ib_umem_odp_unlock(odp);
	ib_umem_odp_release(odp);
}

static void *odp_test_kvzalloc(struct kunit *test, size_t size)
{
	void *p = kvzalloc(size, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, p);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, odp_test_kvfree, p));
	return p;
}

/*
 * The address space goes when the case's thread does, and that is while what the
 * case has allocated is freed: the umem has to be the first of that.
 */
static struct mlx5_ib_mr *odp_test_new_mr(struct odp_test *pt,
					  struct ib_umem_odp *odp)
{
	struct mlx5_ib_mr *mr;

	mr = kunit_kzalloc(pt->test, sizeof(*mr), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(pt->test, mr);
	KUNIT_ASSERT_EQ(pt->test, 0,
			kunit_add_action_or_reset(pt->test, odp_test_release,
						  odp));
	mr->umem = &odp->umem;
	mr->ibmr.device = &pt->dev->ib_dev;
	mr->ibmr.iova = odp->umem.address;
	mr->ibmr.length = odp->umem.length;
	return mr;
}

/* A MR as registration makes it, up to where entries are written. */
static struct odp_test *odp_test_mr(struct kunit *test, unsigned long addr,
				    size_t length, int access)
{
	struct odp_test *pt = test->priv;

	pt->odp = ib_umem_odp_get(&pt->dev->ib_dev, addr, length, access,
				  &mlx5_umem_odp_ops);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, pt->odp);
	pt->nr = ib_umem_odp_num_pages(pt->odp);
	pt->model = odp_test_kvzalloc(test, pt->nr * sizeof(*pt->model));
	pt->mtt = odp_test_kvzalloc(test, ALIGN(pt->nr, ODP_TEST_ALIGN) *
						  sizeof(*pt->mtt));
	/* What the mkey was used for before. */
	memset(pt->mtt, 0xa5, ALIGN(pt->nr, ODP_TEST_ALIGN) * sizeof(*pt->mtt));
	pt->mr = odp_test_new_mr(pt, pt->odp);
	return pt;
}

static struct odp_test *odp_test_small(struct kunit *test)
{
	return odp_test_mr(test, ODP_TEST_START, ODP_TEST_PAGES * PAGE_SIZE,
			   ODP_TEST_ACCESS);
}

static void odp_test_enable(struct odp_test *pt)
{
	KUNIT_ASSERT_EQ(pt->test, 0,
			mlx5_ib_init_odp_mr(pt->mr, &pt->pd.ibpd));
	KUNIT_ASSERT_TRUE(pt->test, pt->enabled);
}

static unsigned long odp_test_va(struct odp_test *pt, size_t entry)
{
	return ib_umem_start(pt->odp) + (entry << pt->odp->page_shift);
}

static void odp_test_map_at(struct odp_test *pt, unsigned long va,
			    unsigned long npages, unsigned long pfn,
			    unsigned int order, bool writable)
{
	struct hmm_extent extent = {
		.start = va,
		.npages = npages,
		.entry = pfn | HMM_PFN_VALID | (writable ? HMM_PFN_WRITE : 0) |
			 (unsigned long)order << HMM_PFN_ORDER_SHIFT,
	};
	struct hmm_range range = {
		.start = extent.start,
		.end = hmm_extent_end(&extent),
		.next = hmm_extent_end(&extent),
		.extents = &extent,
		.max_extents = 1,
		.nr_extents = 1,
	};
	struct hmm_dma_view *view = &pt->odp->mirror.view;
	int ret;

	KUNIT_ASSERT_EQ(pt->test, 0, hmm_range_dma_prepare(&range, view));
	ib_umem_odp_lock(pt->odp);
	ret = hmm_range_dma_map(&range, view, 0);
	ib_umem_odp_unlock(pt->odp);
	KUNIT_ASSERT_EQ(pt->test, ret, 0);
}

/* Map a physical run, and note what the entries of it should be. */
static void odp_test_map(struct odp_test *pt, size_t entry,
			 unsigned long npages, unsigned long pfn,
			 unsigned int order, bool writable)
{
	u64 access = writable ? ODP_TEST_RW : MLX5_IB_MTT_READ;
	unsigned int shift = pt->odp->page_shift;
	size_t i;

	odp_test_map_at(pt, odp_test_va(pt, entry), npages, pfn, order,
			writable);
	for (i = 0; i < npages >> (shift - PAGE_SHIFT); i++)
		pt->model[entry + i] = (PFN_PHYS(pfn) + (i << shift)) | access;
}

/* A page of the leaf by itself, in an order in which no two are one run. */
static void odp_test_map_page(struct odp_test *pt, size_t entry, bool writable)
{
	unsigned long i = ODP_TEST_LEAF - 1 - entry % ODP_TEST_LEAF;

	odp_test_map(pt, entry, 1, page_to_pfn(pt->leaf) + i, 0, writable);
}

static void odp_test_map_leaf(struct odp_test *pt, size_t entry, bool writable)
{
	odp_test_map(pt, entry, ODP_TEST_LEAF, page_to_pfn(pt->leaf),
		     ODP_TEST_ORDER, writable);
}

static void odp_test_unmap(struct odp_test *pt, size_t first, size_t end)
{
	ib_umem_odp_lock(pt->odp);
	hmm_range_dma_unmap(&pt->odp->mirror.view, odp_test_va(pt, first),
			    odp_test_va(pt, end));
	ib_umem_odp_unlock(pt->odp);
	memset(pt->model + first, 0, (end - first) * sizeof(*pt->model));
}

/* Write the entries of what is mapped. */
static int odp_test_fill(struct odp_test *pt, size_t first, size_t end,
			 u32 flags)
{
	return pagefault_mr(pt->mr, odp_test_va(pt, first),
			    (end - first) << pt->odp->page_shift, NULL,
			    flags | MLX5_PF_FLAGS_SNAPSHOT, false);
}

/* The device has all that is mapped there, and nothing else. */
static void odp_test_expect_filled(struct odp_test *pt, size_t first,
				   size_t end)
{
	size_t i;

	for (i = first; i < end; i++)
		if (be64_to_cpu(pt->mtt[i]) != pt->model[i])
			break;
	KUNIT_EXPECT_EQ_MSG(pt->test, i, end, "entry is %llx, not %llx",
			    i < end ? be64_to_cpu(pt->mtt[i]) : 0,
			    i < end ? pt->model[i] : 0);
}

static void odp_test_expect_clear(struct odp_test *pt, size_t first, size_t end)
{
	size_t i;

	for (i = first; i < end && !pt->mtt[i]; i++)
		;
	KUNIT_EXPECT_EQ(pt->test, i, end);
}

/* Each entry is what is mapped, or clear. */
static void odp_test_expect_sane(struct odp_test *pt)
{
	size_t i;

	for (i = 0; i < pt->nr; i++)
		if (pt->mtt[i] && be64_to_cpu(pt->mtt[i]) != pt->model[i])
			break;
	KUNIT_EXPECT_EQ(pt->test, i, pt->nr);
	odp_test_expect_clear(pt, pt->nr, ALIGN(pt->nr, ODP_TEST_ALIGN));
}

static void odp_test_expect_block(struct odp_test *pt, size_t end,
				  struct odp_block *block, size_t first,
				  size_t last, size_t nr)
{
	/* The lock is held: no assertion. */
	KUNIT_EXPECT_TRUE(pt->test,
			  odp_next_block(pt->odp, odp_test_va(pt, end), block));
	KUNIT_EXPECT_EQ(pt->test, block->first, first);
	KUNIT_EXPECT_EQ(pt->test, block->end, last + 1);
	KUNIT_EXPECT_EQ(pt->test, block->nr, nr);
}

/* ---- Entries ---- */

static void odp_test_small_pages(struct kunit *test)
{
	struct odp_test *pt = odp_test_small(test);
	size_t i;

	for (i = 0; i < ODP_TEST_PAGES; i++)
		odp_test_map_page(pt, i, true);
	odp_test_enable(pt);
	odp_test_expect_filled(pt, 0, pt->nr);
	KUNIT_EXPECT_EQ(test, pt->umrs, 1);
}

/* Of a leaf as of anything else, only what is asked for is written. */
static void odp_test_part_of_leaf(struct kunit *test)
{
	struct odp_test *pt = odp_test_small(test);
	size_t first = ODP_TEST_LEAF + 5 * ODP_TEST_ALIGN;
	size_t end = first + ODP_TEST_ALIGN;

	odp_test_enable(pt);
	odp_test_expect_clear(pt, 0, pt->nr);
	odp_test_map_leaf(pt, ODP_TEST_LEAF, true);
	KUNIT_EXPECT_EQ(test, odp_test_fill(pt, first + 3, first + 5, 0), 2);
	odp_test_expect_clear(pt, 0, first);
	odp_test_expect_filled(pt, first, end);
	odp_test_expect_clear(pt, end, pt->nr);

	KUNIT_EXPECT_EQ(test, odp_test_fill(pt, 0, pt->nr, 0), pt->nr);
	odp_test_expect_filled(pt, 0, pt->nr);
}

/* Leaves, pages, holes, with and without write access, side by side. */
static void odp_test_map_mixed(struct odp_test *pt)
{
	size_t i;

	for (i = 0; i < ODP_TEST_LEAF; i += 3)
		odp_test_map_page(pt, i, i % 2);
	odp_test_map_leaf(pt, ODP_TEST_LEAF, true);
	odp_test_map_leaf(pt, 2 * ODP_TEST_LEAF, false);
	odp_test_map_page(pt, ODP_TEST_PAGES - 1, true);
}

static void odp_test_mixed(struct kunit *test)
{
	struct odp_test *pt = odp_test_small(test);

	odp_test_map_mixed(pt);
	odp_test_enable(pt);
	odp_test_expect_filled(pt, 0, pt->nr);
	KUNIT_EXPECT_NE(test, be64_to_cpu(pt->mtt[pt->nr - 1]), 0);
	KUNIT_EXPECT_FALSE(test, be64_to_cpu(pt->mtt[2 * ODP_TEST_LEAF]) &
					 MLX5_IB_MTT_WRITE);
}

/* A prefetch for reading lets a device write only to what faults for that. */
static void odp_test_downgrade(struct kunit *test)
{
	struct odp_test *pt = odp_test_small(test);
	size_t i;

	odp_test_enable(pt);
	odp_test_map_mixed(pt);
	KUNIT_EXPECT_EQ(test, pt->nr,
			odp_test_fill(pt, 0, pt->nr, MLX5_PF_FLAGS_DOWNGRADE));
	for (i = 0; i < pt->nr; i++)
		if (be64_to_cpu(pt->mtt[i]) !=
		    (pt->model[i] & ~(u64)MLX5_IB_MTT_WRITE))
			break;
	KUNIT_EXPECT_EQ(test, i, pt->nr);

	odp_test_fill(pt, 0, pt->nr, 0);
	odp_test_expect_filled(pt, 0, pt->nr);
}

/* What the buffer has from somewhere else does not get into holes. */
static void odp_test_stale_buffer(struct kunit *test)
{
	struct odp_test *pt = odp_test_small(test);
	size_t n = 2 * ODP_TEST_LEAF - 3, i;
	__be64 *buf = odp_test_kvzalloc(test, ODP_TEST_PAGES * sizeof(*buf));

	odp_test_map_mixed(pt);
	memset(buf, 0xa5, ODP_TEST_PAGES * sizeof(*buf));
	ib_umem_odp_lock(pt->odp);
	mlx5_odp_populate_xlt(buf, 1, n, pt->mr, 0);
	ib_umem_odp_unlock(pt->odp);
	for (i = 0; i < n; i++)
		if (be64_to_cpu(buf[i]) != pt->model[i + 1])
			break;
	KUNIT_EXPECT_EQ(test, i, n);
	for (; i < ALIGN(n, ODP_TEST_ALIGN); i++)
		KUNIT_EXPECT_EQ(test, be64_to_cpu(buf[i]), 0);

	mlx5_odp_populate_xlt(buf, 1, n, pt->mr, MLX5_IB_UPD_XLT_ZAP);
	KUNIT_EXPECT_PTR_EQ(test, memchr_inv(buf, 0, n * sizeof(*buf)), NULL);
}

static struct odp_test *odp_test_huge(struct kunit *test)
{
	size_t size = ODP_TEST_LEAF * PAGE_SIZE;
	struct odp_test *pt;

	if (!IS_ENABLED(CONFIG_HUGETLB_PAGE))
		kunit_skip(test, "no huge pages");
	pt = odp_test_mr(test, ODP_TEST_START + PAGE_SIZE, 12 * size,
			 ODP_TEST_ACCESS | IB_ACCESS_HUGETLB);
	if (BIT(pt->odp->page_shift) != size)
		kunit_skip(test, "huge pages of another size");
	KUNIT_ASSERT_EQ(test, pt->nr, 13);
	return pt;
}

static void odp_test_huge_entries(struct kunit *test)
{
	struct odp_test *pt = odp_test_huge(test);

	odp_test_map_leaf(pt, 0, true);
	odp_test_map_leaf(pt, 1, false);
	/* Two entries of one run. */
	odp_test_map(pt, 4, 2 * ODP_TEST_LEAF, page_to_pfn(pt->leaf),
		     ODP_TEST_ORDER, true);
	odp_test_map_leaf(pt, 12, true);
	odp_test_enable(pt);
	odp_test_expect_filled(pt, 0, pt->nr);
	odp_test_expect_sane(pt);

	odp_test_unmap(pt, 12, 13);
	odp_test_expect_clear(pt, 6, pt->nr);
	odp_test_expect_sane(pt);
}

/* Pages that do not make up an entry have none, even if they are mapped. */
static void odp_test_too_small(struct kunit *test)
{
	struct odp_test *pt = odp_test_huge(test);
	unsigned long pfn = page_to_pfn(pt->leaf);
	unsigned long half = ODP_TEST_LEAF / 2;
	unsigned long va = odp_test_va(pt, 2);
	__be64 buf[ODP_TEST_ALIGN];
	struct odp_block block = {};

	odp_test_map_leaf(pt, 1, true);
	/* Contiguous, but they can go one after the other. */
	odp_test_map_at(pt, va, half, pfn, 0, true);
	odp_test_map_at(pt, va + half * PAGE_SIZE, half, pfn + half, 0, true);
	ib_umem_odp_lock(pt->odp);
	mlx5_odp_populate_xlt(buf, 0, ARRAY_SIZE(buf), pt->mr, 0);
	ib_umem_odp_unlock(pt->odp);
	KUNIT_EXPECT_EQ(test, be64_to_cpu(buf[1]), pt->model[1]);
	KUNIT_EXPECT_EQ(test, be64_to_cpu(buf[2]), 0);

	/* Two runs in an entry are one invalidation. */
	va = odp_test_va(pt, 3);
	odp_test_map_at(pt, va, half, pfn, 0, true);
	odp_test_map_at(pt, va + half * PAGE_SIZE, half, pfn, 0, true);
	ib_umem_odp_lock(pt->odp);
	odp_test_expect_block(pt, pt->nr, &block, 1, 3, 3);
	ib_umem_odp_unlock(pt->odp);

	KUNIT_EXPECT_EQ(test, -EINVAL,
			mlx5_ib_init_odp_mr(pt->mr, &pt->pd.ibpd));
	KUNIT_EXPECT_EQ(test, pt->umrs, 0);
}

/*
 * More entries than a buffer has, of a region that neither begins nor ends with
 * a page. The second use of the buffer has holes where the first has entries.
 */
static void odp_test_unaligned_ends(struct kunit *test)
{
	const size_t nr = ODP_TEST_CHUNK + ODP_TEST_PAGES + 5;
	struct odp_test *pt;

	static_assert((ODP_TEST_CHUNK + ODP_TEST_PAGES + 5) % ODP_TEST_ALIGN);

	pt = odp_test_mr(test, ODP_TEST_START + 3 * PAGE_SIZE + 100,
			 nr * PAGE_SIZE - 2 * 100, ODP_TEST_ACCESS);
	KUNIT_ASSERT_EQ(test, pt->nr, nr);

	odp_test_map_leaf(pt, ODP_TEST_LEAF - 3, true);
	odp_test_map_page(pt, 0, true);
	odp_test_map_page(pt, 1, false);
	odp_test_map_page(pt, ODP_TEST_CHUNK - 1, true);
	odp_test_map_page(pt, ODP_TEST_CHUNK, false);
	odp_test_map_page(pt, nr - 1, true);
	odp_test_enable(pt);
	KUNIT_EXPECT_GE(test, pt->umrs, 2);
	odp_test_expect_filled(pt, 0, nr);
	odp_test_expect_clear(pt, nr, ALIGN(nr, ODP_TEST_ALIGN));
	KUNIT_EXPECT_NE(test, be64_to_cpu(pt->mtt[nr - 1]), 0);

	odp_test_unmap(pt, 0, nr);
	odp_test_expect_clear(pt, 0, nr);
}

/* The number of bytes is right from 4 GiB on, too. */
static void odp_test_many_bytes(struct kunit *test)
{
	size_t length = 3UL * SZ_2G + PAGE_SIZE;
	struct odp_test *pt = odp_test_mr(test, ODP_TEST_START, length,
					  ODP_TEST_ACCESS);
	u32 mapped = 0;

	odp_test_enable(pt);
	KUNIT_EXPECT_EQ(test, length >> PAGE_SHIFT,
			pagefault_mr(pt->mr, ODP_TEST_START, length, &mapped,
				     MLX5_PF_FLAGS_SNAPSHOT, false));
	KUNIT_EXPECT_EQ(test, mapped, lower_32_bits(length));
	mapped = 0;
	KUNIT_EXPECT_EQ(test, SZ_4G >> PAGE_SHIFT,
			pagefault_mr(pt->mr, ODP_TEST_START, U32_MAX, &mapped,
				     MLX5_PF_FLAGS_SNAPSHOT, false));
	KUNIT_EXPECT_EQ(test, mapped, U32_MAX);
}

/* ---- Invalidation ---- */

/* One request for what lies within units of the UMR that touch. */
static void odp_test_blocks(struct kunit *test)
{
	struct odp_test *pt = odp_test_small(test);
	struct odp_block block = {};
	static const size_t pages[] = { 1, 7, 15, 16, 32, 33, 47, 57, 63 };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(pages); i++)
		odp_test_map_page(pt, pages[i], true);
	odp_test_map_leaf(pt, ODP_TEST_LEAF, true);

	ib_umem_odp_lock(pt->odp);
	odp_test_expect_block(pt, pt->nr, &block, 1, 7, 2);
	odp_test_expect_block(pt, pt->nr, &block, 15, 16, 2);
	odp_test_expect_block(pt, pt->nr, &block, 32, 33, 2);
	odp_test_expect_block(pt, pt->nr, &block, 47, 47, 1);
	odp_test_expect_block(pt, pt->nr, &block, 57, 63, 2);
	odp_test_expect_block(pt, pt->nr, &block, ODP_TEST_LEAF,
			      2 * ODP_TEST_LEAF - 1, ODP_TEST_LEAF);
	KUNIT_EXPECT_FALSE(test,
			   odp_next_block(pt->odp, odp_test_va(pt, pt->nr),
					  &block));

	/* Only what lies in the range. */
	block.end = 2;
	odp_test_expect_block(pt, 33, &block, 7, 7, 1);
	odp_test_expect_block(pt, 33, &block, 15, 16, 2);
	odp_test_expect_block(pt, 33, &block, 32, 32, 1);
	KUNIT_EXPECT_FALSE(test, odp_next_block(pt->odp, odp_test_va(pt, 33),
						&block));
	ib_umem_odp_unlock(pt->odp);
}

static void odp_test_invalidate(struct kunit *test)
{
	struct odp_test *pt = odp_test_small(test);
	struct ib_odp_counters *stats = &pt->mr->odp_stats;

	odp_test_map_mixed(pt);
	odp_test_enable(pt);

	/* Nothing there, nothing to do. */
	pt->umrs = 0;
	odp_test_unmap(pt, 1, 3);
	KUNIT_EXPECT_EQ(test, pt->umrs, 0);
	odp_test_expect_filled(pt, 0, pt->nr);

	odp_test_unmap(pt, 3, 4);
	KUNIT_EXPECT_EQ(test, pt->umrs, 1);
	odp_test_expect_clear(pt, 3, 4);
	odp_test_expect_filled(pt, ODP_TEST_ALIGN, pt->nr);
	odp_test_expect_sane(pt);
	KUNIT_EXPECT_EQ(test, atomic64_read(&stats->invalidations), 1);
	KUNIT_EXPECT_EQ(test, atomic64_read(&stats->invalidations_handled), 1);

	/* What was cleared along with it comes back with a fault. */
	odp_test_fill(pt, 0, 1, 0);
	odp_test_expect_filled(pt, 0, pt->nr);

	odp_test_unmap(pt, ODP_TEST_LEAF, 2 * ODP_TEST_LEAF);
	odp_test_expect_filled(pt, 0, pt->nr);
	KUNIT_EXPECT_EQ(test, atomic64_read(&stats->invalidations),
			1 + ODP_TEST_LEAF);
	odp_test_unmap(pt, 0, pt->nr);
	odp_test_expect_clear(pt, 0, pt->nr);
}

/* Before the mkey is enabled, the device has nothing, and is not asked. */
static void odp_test_not_enabled(struct kunit *test)
{
	struct odp_test *pt = odp_test_small(test);

	odp_test_map_mixed(pt);
	odp_test_unmap(pt, 0, ODP_TEST_LEAF);
	KUNIT_EXPECT_EQ(test, odp_test_fill(pt, 0, pt->nr, 0), -EFAULT);
	KUNIT_EXPECT_EQ(test, pt->umrs, 0);

	pt->fail = 1;
	KUNIT_EXPECT_EQ(test, mlx5_ib_init_odp_mr(pt->mr, &pt->pd.ibpd), -EIO);
	KUNIT_EXPECT_NULL(test, pt->odp->private);
	odp_test_enable(pt);
	KUNIT_EXPECT_PTR_EQ(test, pt->odp->private, pt->mr);
	odp_test_expect_filled(pt, 0, pt->nr);
}

/* If entries cannot be cleared, the device must not use any of them. */
static void odp_test_invalidate_fails(struct kunit *test)
{
	struct odp_test *pt = odp_test_small(test);

	odp_test_map_mixed(pt);
	odp_test_enable(pt);
	pt->fail = 1;
	odp_test_unmap(pt, 0, 1);
	KUNIT_EXPECT_FALSE(test, pt->enabled);
	KUNIT_EXPECT_EQ(test, odp_test_fill(pt, 0, pt->nr, 0), -EFAULT);
	pt->umrs = 0;
	odp_test_unmap(pt, 0, pt->nr);
	KUNIT_EXPECT_EQ(test, pt->umrs, 0);
}

/* ---- Memory of an address space ---- */

#define ODP_TEST_MEMORY		24UL	/* pages */

/* The pages that the CPU has there; the device may write to them. */
static void odp_test_look_up(struct odp_test *pt, size_t first, size_t end)
{
	size_t i;

	for (i = first; i < end; i++) {
		struct page *page;

		KUNIT_ASSERT_EQ(pt->test, 1,
				get_user_pages_unlocked(odp_test_va(pt, i), 1,
							&page, 0));
		pt->model[i] = page_to_phys(page) | ODP_TEST_RW;
		put_page(page);
	}
}

static int odp_test_fault(struct odp_test *pt, size_t first, size_t end,
			  u32 flags)
{
	return pagefault_mr(pt->mr, odp_test_va(pt, first),
			    (end - first) * PAGE_SIZE, NULL, flags, false);
}

static void odp_test_memory(struct kunit *test)
{
	struct odp_test *pt;
	unsigned long va;

	va = vm_mmap(NULL, ODP_TEST_START, ODP_TEST_MEMORY * PAGE_SIZE,
		     PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, 0);
	KUNIT_ASSERT_EQ(test, va, ODP_TEST_START);
	pt = odp_test_mr(test, va, ODP_TEST_MEMORY * PAGE_SIZE,
			 ODP_TEST_ACCESS);
	odp_test_enable(pt);
	odp_test_expect_clear(pt, 0, pt->nr);

	KUNIT_ASSERT_EQ(test, odp_test_fault(pt, 0, 16, 0), 16);
	odp_test_look_up(pt, 0, 16);
	odp_test_expect_filled(pt, 0, pt->nr);

	/* Read first, write later. */
	KUNIT_ASSERT_EQ(test, 1,
			odp_test_fault(pt, 20, 21, MLX5_PF_FLAGS_DOWNGRADE));
	KUNIT_EXPECT_EQ(test, MLX5_IB_MTT_READ,
			be64_to_cpu(pt->mtt[20]) & ~PAGE_MASK);
	KUNIT_ASSERT_EQ(test, odp_test_fault(pt, 20, 21, 0), 1);
	odp_test_look_up(pt, 20, 21);
	odp_test_expect_filled(pt, 0, pt->nr);

	/* What lies next to it can go along with it. */
	KUNIT_ASSERT_EQ(test, vm_munmap(va, 8 * PAGE_SIZE), 0);
	memset(pt->model, 0, 8 * sizeof(*pt->model));
	odp_test_expect_clear(pt, 0, 8);
	odp_test_expect_sane(pt);
	KUNIT_EXPECT_EQ(test, odp_test_fault(pt, 4, 12, 0), -EFAULT);
	odp_test_expect_sane(pt);
	KUNIT_ASSERT_EQ(test, odp_test_fault(pt, 8, 24, 0), 16);
	odp_test_look_up(pt, 8, 24);
	odp_test_expect_filled(pt, 0, pt->nr);
}

/* A window of a fault that goes beyond the memory: what is there counts. */
static void odp_test_partial(struct kunit *test)
{
	struct odp_test *pt;
	unsigned long va;

	va = vm_mmap(NULL, ODP_TEST_START, ODP_TEST_MEMORY * PAGE_SIZE,
		     PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, 0);
	KUNIT_ASSERT_EQ(test, va, ODP_TEST_START);
	KUNIT_ASSERT_EQ(test, 0, vm_munmap(va + 8 * PAGE_SIZE, PAGE_SIZE));
	pt = odp_test_mr(test, va, ODP_TEST_MEMORY * PAGE_SIZE,
			 ODP_TEST_ACCESS);
	odp_test_enable(pt);

	KUNIT_ASSERT_EQ(test, 4, odp_test_fault(pt, 12, 16, 0));
	odp_test_look_up(pt, 12, 16);
	KUNIT_EXPECT_EQ(test, 8, odp_test_fault(pt, 0, pt->nr,
						MLX5_PF_FLAGS_PARTIAL));
	odp_test_look_up(pt, 0, 8);
	odp_test_expect_filled(pt, 0, pt->nr);

	/* Nothing to begin with, but what others use stays. */
	KUNIT_EXPECT_EQ(test, -EFAULT, odp_test_fault(pt, 8, pt->nr,
						      MLX5_PF_FLAGS_PARTIAL));
	odp_test_expect_filled(pt, 0, pt->nr);
}

/* ---- Implicit MRs ---- */

#define ODP_TEST_IDX		9UL		/* of the child */
#define ODP_TEST_KEY		0x1200U		/* its mkey */
#define ODP_TEST_NULL_KEY	0x5600U

static void odp_test_new_root(struct odp_test *pt)
{
	struct ib_umem_odp *root;

	pt->nr = 2 * (ODP_TEST_IDX + 1);
	pt->mtt = odp_test_kvzalloc(pt->test, ALIGN(pt->nr, ODP_TEST_ALIGN) *
						      sizeof(*pt->mtt));
	pt->model = odp_test_kvzalloc(pt->test, ODP_TEST_PAGES *
							sizeof(*pt->model));
	root = ib_umem_odp_alloc_implicit(&pt->dev->ib_dev, ODP_TEST_ACCESS);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(pt->test, root);
	pt->mr = odp_test_new_mr(pt, root);
	pt->mr->is_odp_implicit = true;
	xa_init(&pt->mr->implicit_children);
	/* One reference is that of the work. */
	refcount_set(&pt->mr->mmkey.usecount, 2);
	root->private = pt->mr;
	pt->enabled = true;
	pt->dev->mkeys.null_mkey = cpu_to_be32(ODP_TEST_NULL_KEY);
}

static void odp_test_free_children(void *imr)
{
	xa_destroy(&((struct mlx5_ib_mr *)imr)->implicit_children);
}

/*
 * A child of a root whose KSM is what the device has in @mtt: two entries of
 * that are one of the KSM. @mr is the root and @odp the child's.
 */
static struct mlx5_ib_mr *odp_test_child(struct kunit *test)
{
	struct odp_test *pt = test->priv;
	struct mlx5_ib_mr *mr;

	if (!mlx5_imr_mtt_size)
		kunit_skip(test, "no implicit MRs for this address space");
	odp_test_new_root(pt);
	pt->odp = ib_umem_odp_alloc_child(to_ib_umem_odp(pt->mr->umem),
					  ODP_TEST_IDX * mlx5_imr_mtt_size,
					  mlx5_imr_mtt_size,
					  &mlx5_umem_odp_ops);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, pt->odp);
	mr = odp_test_new_mr(pt, pt->odp);
	mr->parent = pt->mr;
	mr->mmkey.key = ODP_TEST_KEY;
	mr->mmkey.type = MLX5_MKEY_IMPLICIT_CHILD;
	init_waitqueue_head(&mr->mmkey.wait);
	mr->ibmr.lkey = ODP_TEST_KEY;
	pt->odp->private = mr;
	refcount_set(&mr->mmkey.usecount, 1);
	KUNIT_ASSERT_NULL(test, xa_store(&pt->mr->implicit_children,
					 ODP_TEST_IDX, mr, GFP_KERNEL));
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, odp_test_free_children,
						  pt->mr));
	KUNIT_ASSERT_EQ(test, 0, link_implicit_child(mr));
	return mr;
}

/* As the work queue does it, but in the thread of the case. */
static void odp_test_reclaim(struct mlx5_ib_mr *mr)
{
	odp_test_queue_child(mr);
	reclaim_implicit_child_work(&mr->odp_reclaim.work);
}

static u32 odp_test_ksm_key(struct odp_test *pt)
{
	return be32_to_cpu(((struct mlx5_ksm *)pt->mtt)[ODP_TEST_IDX].key);
}

static bool odp_test_has_child(struct odp_test *pt)
{
	return xa_load(&pt->mr->implicit_children, ODP_TEST_IDX);
}

static int odp_test_fault_implicit(struct odp_test *pt)
{
	return pagefault_mr(pt->mr, odp_test_va(pt, 0), PAGE_SIZE, NULL,
			    MLX5_PF_FLAGS_SNAPSHOT, false);
}

/* The device is told before faults can find no child. */
static void odp_test_unlink_child(struct kunit *test)
{
	struct mlx5_ib_mr *mr = odp_test_child(test);
	struct odp_test *pt = test->priv;

	KUNIT_EXPECT_EQ(test, odp_test_ksm_key(pt), ODP_TEST_KEY);
	pt->fail = 1;
	KUNIT_EXPECT_FALSE(test, unlink_implicit_child(mr));
	KUNIT_EXPECT_EQ(test, odp_test_ksm_key(pt), ODP_TEST_KEY);
	KUNIT_EXPECT_TRUE(test, odp_test_has_child(pt));

	KUNIT_EXPECT_TRUE(test, unlink_implicit_child(mr));
	KUNIT_EXPECT_EQ(test, odp_test_ksm_key(pt), ODP_TEST_NULL_KEY);
	KUNIT_EXPECT_FALSE(test, odp_test_has_child(pt));

	/* A fault that still has it does not put it back. */
	KUNIT_EXPECT_EQ(test, 0, link_implicit_child(mr));
	KUNIT_EXPECT_EQ(test, odp_test_ksm_key(pt), ODP_TEST_NULL_KEY);
}

/* A fault sees to it that the KSM has the child, whatever failed before. */
static void odp_test_link_child(struct kunit *test)
{
	struct mlx5_ib_mr *mr = odp_test_child(test);
	struct odp_test *pt = test->priv;

	odp_test_map_page(pt, 0, true);
	KUNIT_EXPECT_EQ(test, odp_test_fault_implicit(pt), 1);
	KUNIT_EXPECT_TRUE(test, mr->odp_reclaim.in_ksm);

	ib_umem_odp_lock(to_ib_umem_odp(pt->mr->umem));
	KUNIT_EXPECT_EQ(test, update_ksm_entry(mr, false), 0);
	ib_umem_odp_unlock(to_ib_umem_odp(pt->mr->umem));
	KUNIT_EXPECT_EQ(test, odp_test_ksm_key(pt), ODP_TEST_NULL_KEY);

	/* The first request is for the entries of the child. */
	pt->fail = 2;
	KUNIT_EXPECT_EQ(test, odp_test_fault_implicit(pt), -EIO);
	KUNIT_EXPECT_EQ(test, odp_test_ksm_key(pt), ODP_TEST_NULL_KEY);
	KUNIT_EXPECT_EQ(test, odp_test_fault_implicit(pt), 1);
	KUNIT_EXPECT_EQ(test, odp_test_ksm_key(pt), ODP_TEST_KEY);
	KUNIT_EXPECT_EQ(test, refcount_read(&mr->mmkey.usecount), 1);
}

/* Filled again before the work runs: the child stays and can be queued anew. */
static void odp_test_keep_child(struct kunit *test)
{
	struct mlx5_ib_mr *mr = odp_test_child(test);
	struct odp_test *pt = test->priv;

	odp_test_map_page(pt, 5, true);
	odp_test_unmap(pt, 0, ODP_TEST_LEAF);
	KUNIT_EXPECT_TRUE(test, mr->odp_reclaim.queued);
	odp_test_map_page(pt, 5, true);
	odp_test_reclaim(mr);
	KUNIT_EXPECT_TRUE(test, odp_test_has_child(pt));
	KUNIT_EXPECT_EQ(test, odp_test_ksm_key(pt), ODP_TEST_KEY);
	KUNIT_EXPECT_FALSE(test, mr->odp_reclaim.queued);
	KUNIT_EXPECT_NULL(test, pt->gone);
	KUNIT_EXPECT_EQ(test, refcount_read(&mr->mmkey.usecount), 1);
	KUNIT_EXPECT_EQ(test, refcount_read(&pt->mr->mmkey.usecount), 1);
}

/* Faults that the device raised before are told to try again. */
static void odp_test_free_child(struct kunit *test)
{
	struct mlx5_ib_mr *mr = odp_test_child(test);
	struct odp_test *pt = test->priv;

	MLX5_SET(odp_cap, pt->mdev->caps.hca[MLX5_CAP_ODP]->cur,
		 mem_page_fault, 1);
	KUNIT_ASSERT_EQ(test, 0, mlx5r_store_odp_mkey(pt->dev, &mr->mmkey));
	KUNIT_EXPECT_PTR_EQ(test, find_odp_mkey(pt->dev, ODP_TEST_KEY),
			    &mr->mmkey);
	mlx5r_deref_odp_mkey(&mr->mmkey);

	odp_test_reclaim(mr);
	KUNIT_EXPECT_FALSE(test, odp_test_has_child(pt));
	KUNIT_EXPECT_PTR_EQ(test, pt->gone, mr);
	KUNIT_EXPECT_EQ(test, pt->revoked, ODP_TEST_KEY);
	KUNIT_EXPECT_TRUE(test, pt->known_when_revoked);
	KUNIT_EXPECT_NULL(test, pt->odp->private);
	KUNIT_EXPECT_PTR_EQ(test, find_odp_mkey(pt->dev, ODP_TEST_KEY),
			    ERR_PTR(-ENOENT));
	KUNIT_EXPECT_EQ(test, refcount_read(&pt->mr->mmkey.usecount), 1);
}

static void odp_test_find_going(struct kunit *test)
{
	struct mlx5_ib_mr *mr = odp_test_child(test);
	struct odp_test *pt = test->priv;

	KUNIT_ASSERT_EQ(test, 0, mlx5r_store_odp_mkey(pt->dev, &mr->mmkey));
	mlx5r_deref_wait_odp_mkey(&mr->mmkey);
	KUNIT_EXPECT_PTR_EQ(test, find_odp_mkey(pt->dev, ODP_TEST_KEY),
			    ERR_PTR(-EAGAIN));
	KUNIT_EXPECT_PTR_EQ(test, find_odp_mkey(pt->dev, ODP_TEST_KEY + 1),
			    ERR_PTR(-EFAULT));
	xa_destroy(&pt->dev->odp_mkeys);
	KUNIT_EXPECT_PTR_EQ(test, find_odp_mkey(pt->dev, ODP_TEST_KEY),
			    ERR_PTR(-ENOENT));
}

/* If the device cannot be told, the child stays, and can be queued anew. */
static void odp_test_stuck_child(struct kunit *test)
{
	struct mlx5_ib_mr *mr = odp_test_child(test);
	struct odp_test *pt = test->priv;

	pt->fail = 1;
	odp_test_reclaim(mr);
	KUNIT_EXPECT_TRUE(test, odp_test_has_child(pt));
	KUNIT_EXPECT_EQ(test, odp_test_ksm_key(pt), ODP_TEST_KEY);
	KUNIT_EXPECT_FALSE(test, mr->odp_reclaim.queued);
	KUNIT_EXPECT_EQ(test, refcount_read(&mr->mmkey.usecount), 1);
	KUNIT_EXPECT_EQ(test, refcount_read(&pt->mr->mmkey.usecount), 1);
}

/* One whose entries could not be cleared goes, with all that is in it. */
static void odp_test_revoked_child(struct kunit *test)
{
	struct mlx5_ib_mr *mr = odp_test_child(test);
	struct odp_test *pt = test->priv;

	odp_test_map_page(pt, 5, true);
	odp_test_map_page(pt, 7, true);
	pt->fail = 1;
	odp_test_unmap(pt, 5, 6);
	KUNIT_EXPECT_EQ(test, pt->revoked, ODP_TEST_KEY);
	KUNIT_EXPECT_NULL(test, pt->odp->private);
	KUNIT_EXPECT_TRUE(test, mr->odp_reclaim.queued);
	KUNIT_EXPECT_EQ(test, odp_test_fault_implicit(pt), -EAGAIN);

	odp_test_reclaim(mr);
	KUNIT_EXPECT_FALSE(test, odp_test_has_child(pt));
	KUNIT_EXPECT_EQ(test, odp_test_ksm_key(pt), ODP_TEST_NULL_KEY);
	KUNIT_EXPECT_PTR_EQ(test, pt->gone, mr);
}

static void odp_test_becomes_empty(struct kunit *test)
{
	struct odp_test *pt = odp_test_small(test);
	unsigned long start = odp_test_va(pt, 0);

	odp_test_map_page(pt, 5, true);
	odp_test_map_leaf(pt, ODP_TEST_LEAF, true);
	ib_umem_odp_lock(pt->odp);
	KUNIT_EXPECT_TRUE(test, odp_is_all(pt->odp, start,
					   odp_test_va(pt, pt->nr)));
	KUNIT_EXPECT_TRUE(test, odp_is_all(pt->odp, odp_test_va(pt, 5),
					   odp_test_va(pt, 2 * ODP_TEST_LEAF)));
	KUNIT_EXPECT_FALSE(test, odp_is_all(pt->odp, odp_test_va(pt, 6),
					    odp_test_va(pt, pt->nr)));
	KUNIT_EXPECT_FALSE(test, odp_is_all(pt->odp, start, start + PMD_SIZE));
	ib_umem_odp_unlock(pt->odp);
}

static const struct ib_umem_odp_ops odp_test_peer_ops = {
	.peers = true,
};

static void odp_test_expect_peers(struct kunit *test, struct ib_umem_odp *odp,
				  bool peers)
{
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, odp);
	KUNIT_EXPECT_EQ(test, odp->mirror.view.peers, peers);
	ib_umem_odp_release(odp);
}

/* Memory of other devices is for regions that have no atomic operations. */
static void odp_test_peers(struct kunit *test)
{
	static const int atomic[] = {
		0, IB_ACCESS_REMOTE_ATOMIC, IB_ACCESS_MW_BIND
	};
	struct odp_test *pt = test->priv;
	struct ib_device *dev = &pt->dev->ib_dev;
	struct ib_umem_odp *root;
	int access, i;

	odp_test_expect_peers(test,
			      ib_umem_odp_get(dev, ODP_TEST_START, PAGE_SIZE,
					      ODP_TEST_ACCESS,
					      &(struct ib_umem_odp_ops){}),
			      false);
	for (i = 0; i < ARRAY_SIZE(atomic); i++) {
		access = ODP_TEST_ACCESS | atomic[i];
		odp_test_expect_peers(test,
				      ib_umem_odp_get(dev, ODP_TEST_START,
						      PAGE_SIZE, access,
						      &odp_test_peer_ops),
				      !atomic[i]);
		root = ib_umem_odp_alloc_implicit(dev, access);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, root);
		odp_test_expect_peers(test,
				      ib_umem_odp_alloc_child(root, PMD_SIZE,
							      PMD_SIZE,
							      &odp_test_peer_ops),
				      !atomic[i]);
		ib_umem_odp_release(root);
	}
}

static struct kunit_case odp_test_cases[] = {
	KUNIT_CASE(odp_test_small_pages),
	KUNIT_CASE(odp_test_part_of_leaf),
	KUNIT_CASE(odp_test_mixed),
	KUNIT_CASE(odp_test_downgrade),
	KUNIT_CASE(odp_test_stale_buffer),
	KUNIT_CASE(odp_test_huge_entries),
	KUNIT_CASE(odp_test_too_small),
	KUNIT_CASE(odp_test_unaligned_ends),
	KUNIT_CASE(odp_test_many_bytes),
	KUNIT_CASE(odp_test_blocks),
	KUNIT_CASE(odp_test_invalidate),
	KUNIT_CASE(odp_test_not_enabled),
	KUNIT_CASE(odp_test_invalidate_fails),
	KUNIT_CASE(odp_test_memory),
	KUNIT_CASE(odp_test_partial),
	KUNIT_CASE(odp_test_unlink_child),
	KUNIT_CASE(odp_test_link_child),
	KUNIT_CASE(odp_test_keep_child),
	KUNIT_CASE(odp_test_free_child),
	KUNIT_CASE(odp_test_find_going),
	KUNIT_CASE(odp_test_stuck_child),
	KUNIT_CASE(odp_test_revoked_child),
	KUNIT_CASE(odp_test_becomes_empty),
	KUNIT_CASE(odp_test_peers),
	{}
};

static struct kunit_suite odp_test_suite = {
	.name = "mlx5_odp",
	.init = odp_test_init,
	.test_cases = odp_test_cases,
};

kunit_test_suite(odp_test_suite);
