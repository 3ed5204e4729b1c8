// SPDX-License-Identifier: GPL-2.0
/*
 * Unusual memory test device: mmap() of /dev/hmm_vma makes VMAs of the kinds
 * that a page table walker meets rarely, special mappings of each size and
 * fault handlers that fail, stall, retry or get nowhere among them. See
 * test_hmm_vma_uapi.h. tools/testing/selftests/mm/hmm-vma-tests.c is its user.
 *
 * There are two sorts of memory to map. Each open file has some pages of its
 * own; a VMA holds its file, so they stay for as long as a special PTE that has
 * no reference to them can exist. And there is one range of physical addresses
 * that nothing answers to, which has no struct pages and is aligned for a PUD.
 * It is taken from what the resource tree says is free, as hot-plugged memory
 * would be, and so stays free of RAM and devices until the module goes. x86 maps
 * such addresses uncached, which keeps speculation away from them too. Tests
 * only look at the page table entries.
 *
 * A careless user could still map and touch that, or tie up fault handlers: the
 * node has mode 0600 and opening it takes CAP_SYS_ADMIN.
 *
 * Locking: settings are written by one ioctl and read by fault handlers without
 * a lock, each field on its own; counters are atomic. Everything else is set up
 * by open() and stays as it is.
 */
#include <linux/atomic.h>
#include <linux/capability.h>
#include <linux/compat.h>
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/ioport.h>
#include <linux/jiffies.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pfn.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "test_hmm_vma_uapi.h"

#define HV_KIND_SHIFT	(HMM_VMA_KIND_SHIFT - PAGE_SHIFT)
#define HV_AROUND	(HMM_VMA_AROUND >> PAGE_SHIFT)
#define HV_POS_MASK	(HV_AROUND - 1)

#define HV_SIZE		(HMM_VMA_NR_PAGES * PAGE_SIZE)

/**
 * struct hv_file - state of one open file
 * @mem: HMM_VMA_NR_PAGES contiguous pages with a reference count each
 * @settings: as last set, see the top of the file
 * @set_at: jiffies of that
 * @retried: for each page how often the handler has asked to be called again
 * @faults: these and the following are those of struct hmm_vma_counts
 * @huge_faults: likewise
 * @vma_lock: likewise
 * @mmap_lock: likewise
 * @retries: likewise
 * @around: likewise
 */
struct hv_file {
	void *mem;
	struct hmm_vma_settings settings;
	unsigned long set_at;
	atomic_t retried[HMM_VMA_NR_PAGES];
	atomic64_t faults;
	atomic64_t huge_faults;
	atomic64_t vma_lock;
	atomic64_t mmap_lock;
	atomic64_t retries;
	atomic64_t around;
};

/**
 * struct hv_kind - how to make the VMAs of one kind
 * @io: VM_IO
 * @pfnmap: VM_PFNMAP
 * @mixed: VM_MIXEDMAP
 * @shared_only: refuse private mappings
 * @remap: map all by mmap()
 * @order: order of huge faults to serve
 * @fault: install the page at vmf->address
 */
struct hv_kind {
	bool io : 1;
	bool pfnmap : 1;
	bool mixed : 1;
	bool shared_only : 1;
	bool remap : 1;
	unsigned int order;
	vm_fault_t (*fault)(struct vm_fault *vmf, struct hv_file *hv,
			    pgoff_t pos);
};

/* The range that nothing answers to, and its first suitably aligned pfn. */
static struct resource *hv_res;
static unsigned long hv_base_pfn;

static pgoff_t hv_pos(const struct vm_fault *vmf)
{
	return vmf->pgoff & HV_POS_MASK;
}

static void hv_count(struct hv_file *hv, const struct vm_fault *vmf,
		     atomic64_t *calls)
{
	atomic64_inc(calls);
	atomic64_inc(vmf->flags & FAULT_FLAG_VMA_LOCK ? &hv->vma_lock :
							&hv->mmap_lock);
}

static struct page *hv_page(const struct hv_file *hv, pgoff_t pos)
{
	return pos < HMM_VMA_NR_PAGES ?
		virt_to_page(hv->mem + (pos << PAGE_SHIFT)) : NULL;
}

static bool hv_pos_is_plain(const struct hv_file *hv, pgoff_t pos)
{
	return pos < READ_ONCE(hv->settings.first);
}

static vm_fault_t hv_fault_page(struct vm_fault *vmf, struct hv_file *hv,
				pgoff_t pos)
{
	struct page *page = hv_page(hv, pos);

	if (!page)
		return VM_FAULT_SIGBUS;
	get_page(page);
	vmf->page = page;
	return 0;
}

static vm_fault_t hv_fault_mixed_page(struct vm_fault *vmf, struct hv_file *hv,
				      pgoff_t pos)
{
	struct page *page = hv_page(hv, pos);

	if (!page)
		return VM_FAULT_SIGBUS;
	return vmf_insert_page_mkwrite(vmf, page,
				       vmf->flags & FAULT_FLAG_WRITE);
}

/* Unlike vmf_insert_pfn(), this takes memory that has a struct page, too. */
static vm_fault_t hv_fault_mixed_special(struct vm_fault *vmf,
					 struct hv_file *hv, pgoff_t pos)
{
	struct page *page = hv_page(hv, pos);

	if (!page)
		return VM_FAULT_SIGBUS;
	/* A private mapping that is written to gets a copy at once. */
	if (vmf->cow_page)
		return hv_fault_page(vmf, hv, pos);
	return vmf_insert_mixed(vmf->vma, vmf->address, page_to_pfn(page));
}

static bool hv_pfn_exists(pgoff_t pos, unsigned int order)
{
	return pos + (1UL << order) <= PFN_DOWN(HMM_VMA_PFN_SIZE);
}

static vm_fault_t hv_fault_pfn(struct vm_fault *vmf, struct hv_file *hv,
			       pgoff_t pos)
{
	if (!hv_pfn_exists(pos, 0))
		return VM_FAULT_SIGBUS;
	/* A copy would be made by reading, and there is nothing to read. */
	if (!(vmf->vma->vm_flags & VM_SHARED))
		return hv_fault_mixed_special(vmf, hv, pos % HMM_VMA_NR_PAGES);
	return vmf_insert_pfn(vmf->vma, vmf->address, hv_base_pfn + pos);
}

static vm_fault_t hv_fault_stuck(struct vm_fault *vmf, struct hv_file *hv,
				 pgoff_t pos)
{
	unsigned int ms = READ_ONCE(hv->settings.delay_ms);

	if (hv_pos_is_plain(hv, pos) ||
	    (ms && time_after(jiffies, READ_ONCE(hv->set_at) +
				       msecs_to_jiffies(ms))))
		return hv_fault_page(vmf, hv, pos);
	return VM_FAULT_NOPAGE;
}

static vm_fault_t hv_fault_fail(struct vm_fault *vmf, struct hv_file *hv,
				pgoff_t pos)
{
	if (hv_pos_is_plain(hv, pos))
		return hv_fault_page(vmf, hv, pos);

	switch (READ_ONCE(hv->settings.failure)) {
	case HMM_VMA_SIGSEGV:
		return VM_FAULT_SIGSEGV;
	case HMM_VMA_OOM:
		return VM_FAULT_OOM;
	case HMM_VMA_HWPOISON:
		return VM_FAULT_HWPOISON;
	default:
		return VM_FAULT_SIGBUS;
	}
}

static bool hv_wants_retry(struct hv_file *hv, pgoff_t pos)
{
	return pos < HMM_VMA_NR_PAGES && !hv_pos_is_plain(hv, pos) &&
	       atomic_inc_return(&hv->retried[pos]) <=
	       READ_ONCE(hv->settings.retries);
}

static void hv_sleep(unsigned int ms)
{
	if (ms)
		schedule_timeout_killable(msecs_to_jiffies(ms));
}

/*
 * Ends a fault whose caller allows that, after @ms without the lock. The VMA,
 * and with it the file, may be gone as soon as the lock is dropped.
 */
static vm_fault_t hv_call_again(struct vm_fault *vmf, struct hv_file *hv,
				unsigned int ms)
{
	atomic64_inc(&hv->retries);
	if (!(vmf->flags & FAULT_FLAG_RETRY_NOWAIT)) {
		release_fault_lock(vmf);
		hv_sleep(ms);
	}
	return VM_FAULT_RETRY;
}

static vm_fault_t hv_fault_retry(struct vm_fault *vmf, struct hv_file *hv,
				 pgoff_t pos)
{
	if (vmf->flags & FAULT_FLAG_ALLOW_RETRY && hv_wants_retry(hv, pos))
		return hv_call_again(vmf, hv,
				     READ_ONCE(hv->settings.delay_ms));
	return hv_fault_page(vmf, hv, pos);
}

static vm_fault_t hv_fault_slow(struct vm_fault *vmf, struct hv_file *hv,
				pgoff_t pos)
{
	if (!hv_pos_is_plain(hv, pos))
		hv_sleep(READ_ONCE(hv->settings.delay_ms));
	if (fatal_signal_pending(current))
		return vmf->flags & FAULT_FLAG_ALLOW_RETRY ?
			hv_call_again(vmf, hv, 0) : VM_FAULT_SIGBUS;
	return hv_fault_page(vmf, hv, pos);
}

static const struct hv_kind hv_kinds[] = {
	[HMM_VMA_PAGE] = { .fault = hv_fault_page },
	[HMM_VMA_IO] = { .io = true, .fault = hv_fault_page },
	[HMM_VMA_PFNMAP] = { .remap = true },
	[HMM_VMA_PFNMAP_FAULT] = {
		.pfnmap = true, .shared_only = true, .fault = hv_fault_pfn,
	},
	[HMM_VMA_MIXED_PAGE] = {
		.mixed = true, .fault = hv_fault_mixed_page,
	},
	[HMM_VMA_MIXED_SPECIAL] = {
		.mixed = true, .fault = hv_fault_mixed_special,
	},
	[HMM_VMA_MIXED_PFN] = {
		.mixed = true, .shared_only = true, .fault = hv_fault_pfn,
	},
	[HMM_VMA_MIXED_PMD] = {
		.mixed = true, .order = PMD_ORDER, .fault = hv_fault_pfn,
	},
	[HMM_VMA_MIXED_PUD] = {
		.mixed = true, .order = PUD_ORDER, .fault = hv_fault_pfn,
	},
	[HMM_VMA_PFNMAP_PMD] = {
		.pfnmap = true, .shared_only = true, .order = PMD_ORDER,
		.fault = hv_fault_pfn,
	},
	[HMM_VMA_PFNMAP_PUD] = {
		.pfnmap = true, .shared_only = true, .order = PUD_ORDER,
		.fault = hv_fault_pfn,
	},
	[HMM_VMA_STUCK] = { .fault = hv_fault_stuck },
	[HMM_VMA_FAIL] = { .fault = hv_fault_fail },
	[HMM_VMA_RETRY] = { .fault = hv_fault_retry },
	[HMM_VMA_SLOW] = { .fault = hv_fault_slow },
};

static_assert(ARRAY_SIZE(hv_kinds) == HMM_VMA_NR_KINDS);

/* mmap() has checked the kind. */
static const struct hv_kind *hv_kind(const struct vm_fault *vmf)
{
	return &hv_kinds[vmf->pgoff >> HV_KIND_SHIFT];
}

static vm_fault_t hv_fault(struct vm_fault *vmf)
{
	struct hv_file *hv = vmf->vma->vm_file->private_data;
	const struct hv_kind *kind = hv_kind(vmf);

	hv_count(hv, vmf, &hv->faults);
	return kind->fault(vmf, hv, hv_pos(vmf));
}

/* Whether all of the leaf around the address is in the VMA, and aligned. */
static bool hv_leaf_fits(const struct vm_fault *vmf, unsigned int order)
{
	const struct vm_area_struct *vma = vmf->vma;
	unsigned long size = PAGE_SIZE << order;
	unsigned long start = ALIGN_DOWN(vmf->address, size);
	unsigned long inside = (vmf->address - start) >> PAGE_SHIFT;

	return start >= vma->vm_start && vma->vm_end - start >= size &&
	       (hv_pos(vmf) & ((1UL << order) - 1)) == inside &&
	       hv_pfn_exists(hv_pos(vmf) - inside, order);
}

static vm_fault_t hv_huge_fault(struct vm_fault *vmf, unsigned int order)
{
	struct hv_file *hv = vmf->vma->vm_file->private_data;
	unsigned long pfn = hv_base_pfn +
			    ALIGN_DOWN(hv_pos(vmf), 1UL << order);
	bool write = vmf->flags & FAULT_FLAG_WRITE;

	/* In a private mapping a write is for hv_fault_pfn() to copy. */
	if (hv_kind(vmf)->order != order || !hv_leaf_fits(vmf, order) ||
	    (write && !(vmf->vma->vm_flags & VM_SHARED)))
		return VM_FAULT_FALLBACK;

	if (order == PMD_ORDER) {
		hv_count(hv, vmf, &hv->huge_faults);
		return vmf_insert_pfn_pmd(vmf, pfn, write);
	}
#ifdef CONFIG_HAVE_ARCH_TRANSPARENT_HUGEPAGE_PUD
	if (order == PUD_ORDER) {
		hv_count(hv, vmf, &hv->huge_faults);
		return vmf_insert_pfn_pud(vmf, pfn, write);
	}
#endif
	return VM_FAULT_FALLBACK;
}

/* Having this at all is what lets handlers run under the per-VMA lock. */
static vm_fault_t hv_map_pages(struct vm_fault *vmf, pgoff_t start, pgoff_t end)
{
	struct hv_file *hv = vmf->vma->vm_file->private_data;

	atomic64_inc(&hv->around);
	return 0;
}

static const struct vm_operations_struct hv_vm_ops = {
	.fault = hv_fault,
	.huge_fault = hv_huge_fault,
};

static const struct vm_operations_struct hv_vm_ops_around = {
	.fault = hv_fault,
	.huge_fault = hv_huge_fault,
	.map_pages = hv_map_pages,
};

/* These VMAs never have a fault handler: mmap() maps all there is. */
static int hv_mmap_remap(struct vm_area_desc *desc, const struct hv_file *hv)
{
	pgoff_t pos = desc->pgoff & HV_POS_MASK;

	if (pos + vma_desc_pages(desc) > HMM_VMA_NR_PAGES)
		return -EINVAL;
	mmap_action_remap_full(desc, page_to_pfn(hv_page(hv, pos)));
	return 0;
}

static int hv_mmap_prepare(struct vm_area_desc *desc)
{
	struct hv_file *hv = desc->file->private_data;
	pgoff_t last = desc->pgoff + vma_desc_pages(desc) - 1;
	const struct hv_kind *kind;

	if (desc->pgoff >> HV_KIND_SHIFT >= HMM_VMA_NR_KINDS ||
	    (desc->pgoff ^ last) & ~(pgoff_t)HV_POS_MASK)
		return -EINVAL;

	kind = &hv_kinds[desc->pgoff >> HV_KIND_SHIFT];
	if (kind->shared_only && !vma_desc_test(desc, VMA_SHARED_BIT))
		return -EINVAL;
	if (kind->remap)
		return hv_mmap_remap(desc, hv);

	if (kind->io)
		vma_desc_set_flags(desc, VMA_IO_BIT);
	if (kind->pfnmap)
		vma_desc_set_flags(desc, VMA_PFNMAP_BIT);
	if (kind->mixed)
		vma_desc_set_flags(desc, VMA_MIXEDMAP_BIT);
	vma_desc_set_flags(desc, VMA_DONTEXPAND_BIT, VMA_DONTDUMP_BIT);
	desc->vm_ops = desc->pgoff & HV_AROUND ? &hv_vm_ops_around :
						 &hv_vm_ops;
	return 0;
}

static long hv_set(struct hv_file *hv, const void __user *arg)
{
	struct hmm_vma_settings new;
	int i;

	if (copy_from_user(&new, arg, sizeof(new)))
		return -EFAULT;
	if (new.failure >= HMM_VMA_NR_FAILURES || new.retries > INT_MAX / 2 ||
	    new.delay_ms > HMM_VMA_MAX_DELAY_MS)
		return -EINVAL;

	WRITE_ONCE(hv->settings.first, new.first);
	WRITE_ONCE(hv->settings.failure, new.failure);
	WRITE_ONCE(hv->settings.retries, new.retries);
	WRITE_ONCE(hv->settings.delay_ms, new.delay_ms);
	WRITE_ONCE(hv->set_at, jiffies);

	for (i = 0; i < HMM_VMA_NR_PAGES; i++)
		atomic_set(&hv->retried[i], 0);
	atomic64_set(&hv->faults, 0);
	atomic64_set(&hv->huge_faults, 0);
	atomic64_set(&hv->vma_lock, 0);
	atomic64_set(&hv->mmap_lock, 0);
	atomic64_set(&hv->retries, 0);
	atomic64_set(&hv->around, 0);
	return 0;
}

static long hv_get_counts(struct hv_file *hv, void __user *arg)
{
	struct hmm_vma_counts counts = {
		.faults = atomic64_read(&hv->faults),
		.huge_faults = atomic64_read(&hv->huge_faults),
		.vma_lock = atomic64_read(&hv->vma_lock),
		.mmap_lock = atomic64_read(&hv->mmap_lock),
		.retries = atomic64_read(&hv->retries),
		.around = atomic64_read(&hv->around),
	};

	return copy_to_user(arg, &counts, sizeof(counts)) ? -EFAULT : 0;
}

static long hv_ioctl(struct file *file, unsigned int code, unsigned long arg)
{
	struct hv_file *hv = file->private_data;

	switch (code) {
	case HMM_VMA_SET:
		return hv_set(hv, (const void __user *)arg);
	case HMM_VMA_COUNT:
		return hv_get_counts(hv, (void __user *)arg);
	default:
		return -ENOTTY;
	}
}

static int hv_open(struct inode *inode, struct file *file)
{
	struct hv_file *hv;
	int i;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;

	hv = kzalloc_obj(*hv);
	if (!hv)
		return -ENOMEM;
	hv->mem = alloc_pages_exact(HV_SIZE, GFP_KERNEL);
	if (!hv->mem) {
		kfree(hv);
		return -ENOMEM;
	}
	for (i = 0; i < HMM_VMA_NR_PAGES; i++)
		memset(hv->mem + i * PAGE_SIZE, i, PAGE_SIZE);
	file->private_data = hv;
	return 0;
}

/* No VMA is left. A page that someone has pinned stays until that is over. */
static int hv_release(struct inode *inode, struct file *file)
{
	struct hv_file *hv = file->private_data;

	free_pages_exact(hv->mem, HV_SIZE);
	kfree(hv);
	return 0;
}

static const struct file_operations hv_fops = {
	.owner = THIS_MODULE,
	.open = hv_open,
	.release = hv_release,
	.mmap_prepare = hv_mmap_prepare,
	.unlocked_ioctl = hv_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice hv_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "hmm_vma",
	.fops = &hv_fops,
	.mode = 0600,
};

static void hv_release_range(void)
{
	release_mem_region(hv_res->start, resource_size(hv_res));
}

static int __init hv_init(void)
{
	int ret;

	/* Twice the size has an aligned piece of that size in it. */
	hv_res = request_free_mem_region(&iomem_resource, 2 * HMM_VMA_PFN_SIZE,
					 "hmm_vma");
	if (IS_ERR(hv_res))
		return PTR_ERR(hv_res);
	hv_base_pfn = PFN_DOWN(ALIGN(hv_res->start, HMM_VMA_PFN_SIZE));

	ret = misc_register(&hv_device);
	if (ret)
		hv_release_range();
	return ret;
}

static void __exit hv_exit(void)
{
	misc_deregister(&hv_device);
	hv_release_range();
}

module_init(hv_init);
module_exit(hv_exit);

MODULE_DESCRIPTION("Memory of unusual kinds to map, for tests");
MODULE_LICENSE("GPL");
