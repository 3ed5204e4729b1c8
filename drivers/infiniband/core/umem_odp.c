// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * On-demand paging: user memory that a device reaches without its being pinned.
 *
 * A umem is a mirror of its part of the address space, see hmm_mirror.h, which
 * finds the pages, maps them and takes them away. Here are the rules of RDMA that
 * come on top: access rights, translation entries larger than a page, regions
 * that cover all of an address space, and devices whose work the CPU does.
 *
 * Locking: ib_umem_odp_lock(), which is the update lock of the mirror, protects
 * all that the device can reach. Nobody waits for memory under it.
 */
#include <linux/export.h>
#include <linux/hmm.h>
#include <linux/hmm_mirror.h>
#include <linux/hugetlb.h>
#include <linux/jiffies.h>
#include <linux/overflow.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include <rdma/ib_umem_odp.h>

/*
 * How long a fault may get no further, in ms. Enough for slow swap or a busy
 * userfaultfd handler. A wait of the kind that only a signal ends is not cut short.
 */
#define ODP_FAULT_TIMEOUT	(30 * MSEC_PER_SEC)

static int odp_page_shift(int access)
{
	if (!(access & IB_ACCESS_HUGETLB))
		return PAGE_SHIFT;
#ifdef CONFIG_HUGETLB_PAGE
	if (hugepages_supported())
		return HPAGE_SHIFT;
#endif
	return -EOPNOTSUPP;
}

static size_t odp_page_size(const struct ib_umem_odp *odp)
{
	return BIT(odp->page_shift);
}

/* What is unmapped need not end where a translation entry does. */
static void odp_invalidate(struct hmm_mirror *mirror, unsigned long start,
			   unsigned long end)
{
	struct ib_umem_odp *odp = container_of(mirror, struct ib_umem_odp,
					       mirror);
	size_t page_size = odp_page_size(odp);

	if (odp->ops && odp->ops->invalidate)
		odp->ops->invalidate(odp, ALIGN_DOWN(start, page_size),
				     ALIGN(end, page_size));
}

static const struct hmm_mirror_ops odp_mirror_ops = {
	.invalidate = odp_invalidate,
};

/* A window that is bound to a region may have more rights than that. */
#define ODP_ACCESS_ATOMIC	(IB_ACCESS_REMOTE_ATOMIC | IB_ACCESS_MW_BIND)

/* The window has all translation entries of which the umem has a part. */
static int odp_window(const struct ib_umem_odp *odp, unsigned long *start,
		      unsigned long *end)
{
	unsigned long addr = odp->umem.address;
	size_t page_size = odp_page_size(odp);

	if (!odp->umem.length)
		return -EINVAL;
	if (check_add_overflow(addr, odp->umem.length, end) ||
	    check_add_overflow(*end, page_size - 1, end))
		return -EOVERFLOW;
	*end = ALIGN_DOWN(*end, page_size);
	*start = ALIGN_DOWN(addr, page_size);
	return 0;
}

/* The caller holds a reference to the users of the mm. */
static int odp_mirror_init(struct ib_umem_odp *odp, unsigned long start,
			   unsigned long end)
{
	struct ib_device *dev = odp->umem.ibdev;
	int ret;

	/* For a device whose DMA addresses are the CPU's, nothing is mapped. */
	ret = hmm_mirror_init(&odp->mirror, odp->umem.owning_mm,
			      ib_uses_virt_dma(dev) ? NULL : dev->dma_device,
			      &odp_mirror_ops, start, end);
	/* An atomic operation may not be one in the memory of another device. */
	if (!ret && odp->ops && odp->ops->peers && !odp->remote_atomic)
		hmm_mirror_allow_peers(&odp->mirror);
	return ret;
}

static struct ib_umem_odp *odp_alloc(struct ib_device *device,
				     struct mm_struct *mm, bool writable,
				     const struct ib_umem_odp_ops *ops)
{
	struct ib_umem_odp *odp;

	odp = kzalloc_obj(*odp);
	if (!odp)
		return NULL;
	odp->umem.ibdev = device;
	odp->umem.owning_mm = mm;
	odp->umem.writable = writable;
	odp->umem.is_odp = 1;
	odp->page_shift = PAGE_SHIFT;
	odp->ops = ops;
	return odp;
}

/**
 * ib_umem_odp_alloc_implicit() - the root of a region that is all of the memory
 * @device: the device
 * @access: IB_ACCESS_xxx flags of the region
 *
 * The root has no window and nothing is mapped in it. The driver adds children
 * for the parts that are used, by ib_umem_odp_alloc_child(), and releases them
 * before the root.
 *
 * Context: In the process whose memory it is. May sleep.
 *
 * Return: the root, or ERR_PTR() of:
 *
 * * %-EINVAL: %IB_ACCESS_HUGETLB; memory of all kinds is in an address space.
 * * %-ENOMEM: no memory.
 */
struct ib_umem_odp *ib_umem_odp_alloc_implicit(struct ib_device *device,
					       int access)
{
	struct ib_umem_odp *root;

	if (access & IB_ACCESS_HUGETLB)
		return ERR_PTR(-EINVAL);

	root = odp_alloc(device, current->mm, ib_access_writable(access), NULL);
	if (!root)
		return ERR_PTR(-ENOMEM);
	root->is_implicit_odp = true;
	root->remote_atomic = access & ODP_ACCESS_ATOMIC;
	mutex_init(&root->root_lock);
	/* Children are added after the process has gone, too: and fail then. */
	mmgrab(root->umem.owning_mm);
	return root;
}
EXPORT_SYMBOL_GPL(ib_umem_odp_alloc_implicit);

/**
 * ib_umem_odp_alloc_child() - a part of an implicit region
 * @root: what ib_umem_odp_alloc_implicit() returned
 * @addr: first byte in the address space
 * @size: length in bytes
 * @ops: the driver's callbacks
 *
 * Context: Any process or kernel thread. May sleep; takes the mmap lock. The
 * caller sees to it that @root is not released meanwhile.
 *
 * Return: the child, or ERR_PTR() of:
 *
 * * %-EINVAL: @root is none, or @size is 0.
 * * %-EOVERFLOW: the child would not end before the end of the address space.
 * * %-ESRCH: the address space is gone.
 * * others: as of hmm_mirror_init().
 */
struct ib_umem_odp *
ib_umem_odp_alloc_child(struct ib_umem_odp *root, unsigned long addr,
			size_t size, const struct ib_umem_odp_ops *ops)
{
	struct mm_struct *mm = root->umem.owning_mm;
	struct ib_umem_odp *child;
	unsigned long start, end;
	int ret;

	if (!root->is_implicit_odp)
		return ERR_PTR(-EINVAL);
	child = odp_alloc(root->umem.ibdev, mm, root->umem.writable, ops);
	if (!child)
		return ERR_PTR(-ENOMEM);
	child->umem.address = addr;
	child->umem.length = size;
	child->remote_atomic = root->remote_atomic;

	ret = odp_window(child, &start, &end);
	if (ret)
		goto err_free;
	ret = -ESRCH;
	if (!mmget_not_zero(mm))
		goto err_free;
	ret = odp_mirror_init(child, start, end);
	/* The last one tears the mm down, and with it what the caller locked. */
	mmput_async(mm);
	if (ret)
		goto err_free;
	return child;

err_free:
	kfree(child);
	return ERR_PTR(ret);
}
EXPORT_SYMBOL_GPL(ib_umem_odp_alloc_child);

/**
 * ib_umem_odp_get() - a region of on-demand memory
 * @device: the device
 * @addr: first byte in the address space of the current process
 * @size: length in bytes, not 0
 * @access: IB_ACCESS_xxx flags of the region, %IB_ACCESS_ON_DEMAND among them.
 *	With %IB_ACCESS_HUGETLB the page size is that of the default huge page.
 * @ops: the driver's callbacks
 *
 * Nothing is mapped at first, and there need not be any memory yet: what counts
 * is what is there when the device asks for it.
 *
 * Context: In the process whose memory it is. May sleep; takes the mmap lock.
 *
 * Return: the umem, or ERR_PTR() of:
 *
 * * %-EINVAL: @size is 0, or %IB_ACCESS_ON_DEMAND is missing.
 * * %-EOVERFLOW: the region would not end before the end of all addresses.
 * * %-EFAULT: it is not in the part of them that user memory has.
 * * %-EOPNOTSUPP: there are no huge pages, or the device cannot reach all memory
 *   coherently without a bounce buffer.
 * * others: as of hmm_mirror_init().
 */
struct ib_umem_odp *ib_umem_odp_get(struct ib_device *device,
				    unsigned long addr, size_t size, int access,
				    const struct ib_umem_odp_ops *ops)
{
	struct ib_umem_odp *odp;
	unsigned long start, end;
	int ret, shift;

	if (!(access & IB_ACCESS_ON_DEMAND))
		return ERR_PTR(-EINVAL);
	shift = odp_page_shift(access);
	if (shift < 0)
		return ERR_PTR(shift);

	odp = odp_alloc(device, current->mm, ib_access_writable(access), ops);
	if (!odp)
		return ERR_PTR(-ENOMEM);
	odp->umem.address = addr;
	odp->umem.length = size;
	odp->page_shift = shift;
	odp->remote_atomic = access & ODP_ACCESS_ATOMIC;
	ret = odp_window(odp, &start, &end);
	if (ret)
		goto err_free;
	ret = -EFAULT;
	if (!access_ok((void __user *)addr, size))
		goto err_free;
	ret = odp_mirror_init(odp, start, end);
	if (ret)
		goto err_free;
	return odp;

err_free:
	kfree(odp);
	return ERR_PTR(ret);
}
EXPORT_SYMBOL_GPL(ib_umem_odp_get);

/**
 * ib_umem_odp_release() - free an on-demand umem
 * @odp: the umem
 *
 * The driver has seen to it that the device does not access the region any more,
 * that no fault is under way, and that a root has no children.
 *
 * Context: May sleep. Not under the mmap lock.
 */
void ib_umem_odp_release(struct ib_umem_odp *odp)
{
	if (odp->is_implicit_odp) {
		mutex_destroy(&odp->root_lock);
		mmdrop(odp->umem.owning_mm);
	} else {
		hmm_mirror_destroy(&odp->mirror);
	}
	kfree(odp);
}
EXPORT_SYMBOL_GPL(ib_umem_odp_release);

/* Each translation entry has to be of one piece. */
static bool odp_fits_page_size(struct ib_umem_odp *odp, unsigned long start,
			       unsigned long end)
{
	struct hmm_dma_run run = { .start = start };

	if (odp->page_shift == PAGE_SHIFT)
		return true;
	while (hmm_mirror_next_run(&odp->mirror, end, &run))
		if (run.order + PAGE_SHIFT < odp->page_shift)
			return false;
	return true;
}

/**
 * ib_umem_odp_fault_and_lock() - let the device reach pages
 * @odp: the umem
 * @user_virt: first byte in the address space
 * @bcnt: how many bytes
 * @flags: &enum hmm_mirror_flags; %HMM_MIRROR_WRITE is ignored if the umem is not
 *	writable
 *
 * On success the lock is held and the pages of all translation entries of which
 * the range has a part are mapped, as hmm_mirror_fault() says. The driver fills
 * these entries by hmm_mirror_next_run() and calls ib_umem_odp_unlock().
 *
 * Context: May sleep. A fatal signal ends it. Neither under the lock nor under
 * the mmap lock.
 *
 * Return: 0 with the lock held, or the following, without it and with what the
 * call had mapped unmapped again:
 *
 * * %-EFAULT: the range is not in the umem, or has a page that cannot be accessed.
 * * %-EINVAL: a page is smaller than the page size of the umem. The range is
 *   unmapped then.
 * * others: as of hmm_mirror_fault().
 */
int ib_umem_odp_fault_and_lock(struct ib_umem_odp *odp, u64 user_virt,
			       u64 bcnt, unsigned int flags)
	__acquires(&odp->mirror.lock)
{
	size_t page_size = odp_page_size(odp);
	unsigned long start, end;
	int ret;

	if (user_virt < ib_umem_start(odp) || user_virt >= ib_umem_end(odp) ||
	    bcnt > ib_umem_end(odp) - user_virt)
		return -EFAULT;
	if (!odp->umem.writable)
		flags &= ~HMM_MIRROR_WRITE;

	start = ALIGN_DOWN(user_virt, page_size);
	end = ALIGN(user_virt + max(bcnt, 1), page_size);
	ret = hmm_mirror_fault(&odp->mirror, start, end, flags,
			       msecs_to_jiffies(ODP_FAULT_TIMEOUT));
	if (ret)
		return ret;
	if (odp_fits_page_size(odp, start, end))
		return 0;

	hmm_range_dma_unmap(&odp->mirror.view, start, end);
	hmm_mirror_unlock(&odp->mirror);
	return -EINVAL;
}
EXPORT_SYMBOL_GPL(ib_umem_odp_fault_and_lock);
