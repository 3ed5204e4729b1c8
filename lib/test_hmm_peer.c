// SPDX-License-Identifier: GPL-2.0
/*
 * HMM peer test device: /dev/hmm_peer0 and so on have device-private memory that
 * another device can reach, as that of a GPU whose video memory lies in a PCI BAR.
 * tools/testing/selftests/mm/hmm-peer-tests.c is its user, and the other device is
 * that of lib/test_hmm_dma.c.
 *
 * The memory is that of QEMU's "ivshmem-plain". The driver copies by the CPU, and
 * gives pages out one by one.
 *
 * Locking, outermost first:
 *
 * hpeer_dev::sem	for reading while an ioctl uses the device; for writing
 *			to take that away
 * (mmap lock, page locks, page table locks)
 * hpeer_dev::lock	which pages are used, who may have access, and counters.
 *			A spinlock, as peer_access() is called under such
 *
 * Faults and peer_access() come without hpeer_dev::sem: a page keeps its page map,
 * and so the device, until it is free.
 */
#include <linux/bitmap.h>
#include <linux/capability.h>
#include <linux/cleanup.h>
#include <linux/compat.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/idr.h>
#include <linux/io.h>
#include <linux/ioport.h>
#include <linux/kref.h>
#include <linux/memremap.h>
#include <linux/memremap_evict.h>
#include <linux/migrate.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/pci-p2pdma.h>
#include <linux/rwsem.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>

#include "test_hmm_peer_uapi.h"

#define HPEER_BAR		2

/* Pages to be moved to the device in one go. */
#define HPEER_BATCH		64

/**
 * struct hpeer_dev - an ivshmem device
 * @ref: one for the driver's binding, one for each open file
 * @pdev: the PCI device
 * @bar: its memory
 * @provider: the same for P2PDMA
 * @pgmap: the pages that stand for it, in address order
 * @npages: how many
 * @sem: protects @gone, see the top of this file
 * @gone: the driver has been unbound from the device
 * @lock: protects all that follows, but for @id and what is behind it
 * @used: a bit for each page in use
 * @peer: who may have access, with a reference; or %NULL
 * @left: how many offers are left
 * @status: counters
 * @id: number in @name
 * @name: of @misc
 * @misc: the node
 */
struct hpeer_dev {
	struct kref ref;
	struct pci_dev *pdev;
	void __iomem *bar;
	struct p2pdma_provider *provider;
	struct dev_pagemap pgmap;
	unsigned int npages;
	struct rw_semaphore sem;	/* see above */
	bool gone;
	spinlock_t lock;		/* see above */
	unsigned long *used;
	struct pci_dev *peer;
	u32 left;
	struct hmm_peer_test_status status;
	int id;
	char name[16];
	struct miscdevice misc;
};

static DEFINE_IDA(hpeer_ida);

/* ---- pages of the device ---- */

static struct hpeer_dev *hpeer_of(const struct dev_pagemap *pgmap)
{
	return container_of(pgmap, struct hpeer_dev, pgmap);
}

static unsigned long hpeer_first_pfn(const struct hpeer_dev *hp)
{
	return PHYS_PFN(hp->pgmap.range.start);
}

static unsigned int hpeer_index(const struct hpeer_dev *hp,
				const struct page *page)
{
	return page_to_pfn(page) - hpeer_first_pfn(hp);
}

static void __iomem *hpeer_mem(const struct hpeer_dev *hp,
			       const struct page *page)
{
	return hp->bar + PFN_PHYS(hpeer_index(hp, page));
}

static void hpeer_put_index(struct hpeer_dev *hp, unsigned int i)
{
	guard(spinlock)(&hp->lock);
	__clear_bit(i, hp->used);
	hp->status.used--;
}

/* A page with a reference and locked, or NULL. */
static struct page *hpeer_alloc(struct hpeer_dev *hp)
{
	struct page *page;
	unsigned int i;

	scoped_guard(spinlock, &hp->lock) {
		i = find_first_zero_bit(hp->used, hp->npages);
		if (i == hp->npages)
			return NULL;
		__set_bit(i, hp->used);
		hp->status.used++;
	}
	page = pfn_to_page(hpeer_first_pfn(hp) + i);
	if (!zone_device_page_init(page, &hp->pgmap, 0))
		return page;
	hpeer_put_index(hp, i);
	return NULL;
}

static void hpeer_folio_free(struct folio *folio)
{
	struct hpeer_dev *hp = hpeer_of(folio->pgmap);

	scoped_guard(spinlock, &hp->lock)
		hp->status.freed++;
	hpeer_put_index(hp, hpeer_index(hp, &folio->page));
}

/* ---- what others may reach ---- */

static int hpeer_may_access(struct hpeer_dev *hp, struct device *peer)
{
	lockdep_assert_held(&hp->lock);
	if (!hp->left)
		return -EBUSY;
	if (!hp->peer || peer != &hp->peer->dev)
		return -EPERM;
	if (hp->left != HMM_PEER_TEST_ALWAYS)
		hp->left--;
	return 0;
}

static int hpeer_peer_access(struct folio *folio, struct device *peer,
			     struct pgmap_peer_access *access)
{
	struct hpeer_dev *hp = hpeer_of(folio->pgmap);
	unsigned int i = hpeer_index(hp, &folio->page);
	int ret;

	guard(spinlock)(&hp->lock);
	ret = hpeer_may_access(hp, peer);
	if (ret) {
		hp->status.refusals++;
		return ret;
	}
	hp->status.offers++;
	access->provider = hp->provider;
	access->phys = pci_resource_start(hp->pdev, HPEER_BAR) + PFN_PHYS(i);
	return 0;
}

/* ---- migration ---- */

static void hpeer_copy_page(struct hpeer_dev *hp, struct page *to,
			    const struct page *from)
{
	void *mem = kmap_local_page(to);

	memcpy_fromio(mem, hpeer_mem(hp, from), PAGE_SIZE);
	kunmap_local(mem);
}

static vm_fault_t hpeer_migrate_to_ram(struct vm_fault *vmf)
{
	struct hpeer_dev *hp = hpeer_of(page_pgmap(vmf->page));
	unsigned long src = 0, dst = 0;
	struct migrate_vma args = {
		.vma = vmf->vma,
		.src = &src,
		.dst = &dst,
		.start = vmf->address & PAGE_MASK,
		.end = (vmf->address & PAGE_MASK) + PAGE_SIZE,
		.pgmap_owner = hp,
		.flags = MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
		.fault_page = vmf->page,
	};
	vm_fault_t ret = 0;
	struct page *page;

	if (migrate_vma_setup(&args))
		return VM_FAULT_SIGBUS;
	if (args.cpages) {
		page = alloc_page(GFP_HIGHUSER_MOVABLE);
		if (page) {
			lock_page(page);
			hpeer_copy_page(hp, page, migrate_pfn_to_page(src));
			dst = migrate_pfn(page_to_pfn(page));
		} else {
			ret = VM_FAULT_OOM;
		}
	}
	migrate_vma_pages(&args);
	if (dst && src & MIGRATE_PFN_MIGRATE) {
		scoped_guard(spinlock, &hp->lock)
			hp->status.to_ram++;
	}
	migrate_vma_finalize(&args);
	return ret;
}

static const struct dev_pagemap_ops hpeer_pagemap_ops = {
	.folio_free = hpeer_folio_free,
	.migrate_to_ram = hpeer_migrate_to_ram,
	.peer_access = hpeer_peer_access,
};

static int hpeer_evict_copy(struct memremap_evict *ev, unsigned long *src,
			    const unsigned long *dst, unsigned long npages)
{
	unsigned long i;

	for (i = 0; i < npages; i++)
		if (dst[i])
			hpeer_copy_page(ev->data, migrate_pfn_to_page(dst[i]),
					migrate_pfn_to_page(src[i]));
	return 0;
}

/* Move all pages to system memory. No page is given out from then on. */
static int hpeer_evict(struct hpeer_dev *hp, bool killable)
{
	struct memremap_evict ev = {
		.pgmap = &hp->pgmap,
		.copy = hpeer_evict_copy,
		.data = hp,
		.killable = killable,
	};
	int ret = memremap_evict(&ev);

	guard(spinlock)(&hp->lock);
	hp->status.evicted += ev.moved;
	return ret;
}

/* Copy what is to be moved to the device. */
static void hpeer_copy_to_device(struct hpeer_dev *hp, struct migrate_vma *args)
{
	unsigned long i, n = (args->end - args->start) >> PAGE_SHIFT;

	for (i = 0; i < n; i++) {
		struct page *spage = migrate_pfn_to_page(args->src[i]), *dpage;
		void *from;

		if (!(args->src[i] & MIGRATE_PFN_MIGRATE))
			continue;
		dpage = hpeer_alloc(hp);
		if (!dpage)
			return;
		if (spage) {
			from = kmap_local_page(spage);
			memcpy_toio(hpeer_mem(hp, dpage), from, PAGE_SIZE);
			kunmap_local(from);
		} else {
			memset_io(hpeer_mem(hp, dpage), 0, PAGE_SIZE);
		}
		args->dst[i] = migrate_pfn(page_to_pfn(dpage));
		if (args->src[i] & MIGRATE_PFN_WRITE ||
		    (!spage && args->vma->vm_flags & VM_WRITE))
			args->dst[i] |= MIGRATE_PFN_WRITE;
	}
}

/* Under the mmap lock. */
static int hpeer_migrate_batch(struct hpeer_dev *hp, unsigned long addr,
			       unsigned int npages, u32 *pages)
{
	unsigned long src[HPEER_BATCH] = {}, dst[HPEER_BATCH] = {};
	struct migrate_vma args = {
		.vma = vma_lookup(current->mm, addr),
		.src = src,
		.dst = dst,
		.start = addr,
		.end = addr + PFN_PHYS(npages),
		.pgmap_owner = hp,
		.flags = MIGRATE_VMA_SELECT_SYSTEM,
	};
	unsigned int i;
	int ret;

	if (!args.vma || args.end > args.vma->vm_end)
		return -EINVAL;
	ret = migrate_vma_setup(&args);
	if (ret)
		return ret;
	hpeer_copy_to_device(hp, &args);
	migrate_vma_pages(&args);
	for (i = 0; i < npages; i++)
		if (dst[i] && src[i] & MIGRATE_PFN_MIGRATE)
			pages[i] = hpeer_index(hp, migrate_pfn_to_page(dst[i]));
	migrate_vma_finalize(&args);
	return 0;
}

/* ---- ioctls ---- */

static int hpeer_migrate(struct hpeer_dev *hp,
			 const struct hmm_peer_test_migrate *cmd, u32 *pages)
{
	unsigned int i, n;
	int ret = 0;

	for (i = 0; !ret && i < cmd->npages; i += n) {
		n = min(cmd->npages - i, HPEER_BATCH);
		if (mmap_read_lock_killable(current->mm))
			return -EINTR;
		ret = hpeer_migrate_batch(hp, cmd->addr + PFN_PHYS(i), n,
					  pages + i);
		mmap_read_unlock(current->mm);
	}
	return ret;
}

static int hpeer_ioctl_migrate(struct hpeer_dev *hp,
			       struct hmm_peer_test_migrate __user *ucmd)
{
	u32 *pages __free(kvfree) = NULL;
	struct hmm_peer_test_migrate cmd;
	unsigned int i;
	int ret;

	if (copy_from_user(&cmd, ucmd, sizeof(cmd)))
		return -EFAULT;
	if (!PAGE_ALIGNED(cmd.addr) || !cmd.npages ||
	    cmd.npages > HMM_PEER_TEST_MAX_PAGES)
		return -EINVAL;
	pages = kvmalloc_array(cmd.npages, sizeof(*pages), GFP_KERNEL);
	if (!pages)
		return -ENOMEM;
	memset32(pages, HMM_PEER_TEST_NO_PAGE, cmd.npages);
	ret = hpeer_migrate(hp, &cmd, pages);
	if (ret)
		return ret;

	cmd.moved = 0;
	for (i = 0; i < cmd.npages; i++)
		cmd.moved += pages[i] != HMM_PEER_TEST_NO_PAGE;
	if (copy_to_user(u64_to_user_ptr(cmd.pages), pages,
			 cmd.npages * sizeof(*pages)))
		return -EFAULT;
	return copy_to_user(ucmd, &cmd, sizeof(cmd)) ? -EFAULT : 0;
}

static int hpeer_ioctl_bar(struct hpeer_dev *hp,
			   const struct hmm_peer_test_bar __user *ucmd)
{
	void *data __free(kfree) = kmalloc(SZ_4K, GFP_KERNEL);
	struct hmm_peer_test_bar cmd;
	void __user *buffer;

	if (!data)
		return -ENOMEM;
	if (copy_from_user(&cmd, ucmd, sizeof(cmd)))
		return -EFAULT;
	if (cmd.reserved || cmd.size > SZ_4K ||
	    cmd.offset > PFN_PHYS(hp->npages) - cmd.size)
		return -EINVAL;

	buffer = u64_to_user_ptr(cmd.buffer);
	if (!cmd.write) {
		memcpy_fromio(data, hp->bar + cmd.offset, cmd.size);
		return copy_to_user(buffer, data, cmd.size) ? -EFAULT : 0;
	}
	if (copy_from_user(data, buffer, cmd.size))
		return -EFAULT;
	memcpy_toio(hp->bar + cmd.offset, data, cmd.size);
	return 0;
}

static int hpeer_ioctl_allow(struct hpeer_dev *hp,
			     const struct hmm_peer_test_allow __user *ucmd)
{
	struct hmm_peer_test_allow cmd;
	struct pci_dev *peer = NULL;

	if (copy_from_user(&cmd, ucmd, sizeof(cmd)))
		return -EFAULT;
	if (cmd.offers) {
		peer = pci_get_domain_bus_and_slot(cmd.domain, cmd.bus,
						   cmd.devfn);
		if (!peer)
			return -ENXIO;
	}
	scoped_guard(spinlock, &hp->lock) {
		swap(hp->peer, peer);
		hp->left = cmd.offers;
	}
	pci_dev_put(peer);
	return 0;
}

static int hpeer_ioctl_evict(struct hpeer_dev *hp)
{
	int ret = hpeer_evict(hp, true);

	memremap_open(&hp->pgmap);
	return ret;
}

static int hpeer_ioctl_status(struct hpeer_dev *hp,
			      struct hmm_peer_test_status __user *ucmd)
{
	struct hmm_peer_test_status status;

	scoped_guard(spinlock, &hp->lock)
		status = hp->status;
	status.npages = hp->npages;
	return copy_to_user(ucmd, &status, sizeof(status)) ? -EFAULT : 0;
}

static long hpeer_ioctl(struct file *file, unsigned int code, unsigned long arg)
{
	struct hpeer_dev *hp = file->private_data;
	void __user *uarg = (void __user *)arg;

	guard(rwsem_read)(&hp->sem);
	if (hp->gone)
		return -ENODEV;
	switch (code) {
	case HMM_PEER_TEST_MIGRATE:
		return hpeer_ioctl_migrate(hp, uarg);
	case HMM_PEER_TEST_BAR:
		return hpeer_ioctl_bar(hp, uarg);
	case HMM_PEER_TEST_ALLOW:
		return hpeer_ioctl_allow(hp, uarg);
	case HMM_PEER_TEST_STATUS:
		return hpeer_ioctl_status(hp, uarg);
	case HMM_PEER_TEST_EVICT:
		return hpeer_ioctl_evict(hp);
	default:
		return -ENOTTY;
	}
}

/* ---- the open file ---- */

static void hpeer_free(struct kref *ref)
{
	struct hpeer_dev *hp = container_of(ref, struct hpeer_dev, ref);

	ida_free(&hpeer_ida, hp->id);
	pci_dev_put(hp->peer);
	bitmap_free(hp->used);
	kfree(hp);
}

static int hpeer_open(struct inode *inode, struct file *file)
{
	/* The node cannot go before this returns. */
	struct hpeer_dev *hp = container_of(file->private_data,
					    struct hpeer_dev, misc);

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	kref_get(&hp->ref);
	file->private_data = hp;
	return 0;
}

static int hpeer_release(struct inode *inode, struct file *file)
{
	struct hpeer_dev *hp = file->private_data;

	kref_put(&hp->ref, hpeer_free);
	return 0;
}

static const struct file_operations hpeer_fops = {
	.owner = THIS_MODULE,
	.open = hpeer_open,
	.release = hpeer_release,
	.unlocked_ioctl = hpeer_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

/* ---- the PCI device ---- */

static int hpeer_map_pages(struct hpeer_dev *hp)
{
	struct resource *res;
	void *ret;

	res = request_free_mem_region(&iomem_resource, PFN_PHYS(hp->npages),
				      KBUILD_MODNAME);
	if (IS_ERR(res))
		return PTR_ERR(res);
	hp->pgmap.type = MEMORY_DEVICE_PRIVATE;
	hp->pgmap.range.start = res->start;
	hp->pgmap.range.end = res->end;
	hp->pgmap.nr_range = 1;
	hp->pgmap.ops = &hpeer_pagemap_ops;
	hp->pgmap.owner = hp;
	ret = memremap_pages(&hp->pgmap, dev_to_node(&hp->pdev->dev));
	if (!IS_ERR(ret))
		return 0;
	release_mem_region(res->start, resource_size(res));
	return PTR_ERR(ret);
}

static void hpeer_unmap_pages(struct hpeer_dev *hp)
{
	memunmap_pages(&hp->pgmap);
	release_mem_region(hp->pgmap.range.start, range_len(&hp->pgmap.range));
}

static int hpeer_register(struct hpeer_dev *hp)
{
	snprintf(hp->name, sizeof(hp->name), "hmm_peer%d", hp->id);
	hp->misc = (struct miscdevice) {
		.minor = MISC_DYNAMIC_MINOR,
		.name = hp->name,
		.fops = &hpeer_fops,
		.mode = 0600,
		.parent = &hp->pdev->dev,
	};
	return misc_register(&hp->misc);
}

static int hpeer_setup(struct hpeer_dev *hp)
{
	struct pci_dev *pdev = hp->pdev;
	int ret;

	ret = pcim_enable_device(pdev);
	if (ret)
		return ret;
	hp->bar = pcim_iomap_region(pdev, HPEER_BAR, KBUILD_MODNAME);
	if (IS_ERR(hp->bar))
		return PTR_ERR(hp->bar);
	ret = pcim_p2pdma_init(pdev);
	if (ret)
		return ret;
	hp->provider = pcim_p2pdma_provider(pdev, HPEER_BAR);
	if (!hp->provider)
		return -EOPNOTSUPP;
	hp->npages = PHYS_PFN(pci_resource_len(pdev, HPEER_BAR));
	hp->used = bitmap_zalloc(hp->npages, GFP_KERNEL);
	if (!hp->used)
		return -ENOMEM;

	ret = hpeer_map_pages(hp);
	if (ret)
		return ret;
	ret = hpeer_register(hp);
	if (ret)
		hpeer_unmap_pages(hp);
	return ret;
}

static int hpeer_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct hpeer_dev *hp = kzalloc_obj(*hp);
	int ret;

	if (!hp)
		return -ENOMEM;
	ret = ida_alloc(&hpeer_ida, GFP_KERNEL);
	if (ret < 0) {
		kfree(hp);
		return ret;
	}
	hp->id = ret;
	hp->pdev = pdev;
	kref_init(&hp->ref);
	init_rwsem(&hp->sem);
	spin_lock_init(&hp->lock);
	pci_set_drvdata(pdev, hp);

	ret = hpeer_setup(hp);
	if (ret)
		kref_put(&hp->ref, hpeer_free);
	return ret;
}

/*
 * All that there is moves back. What cannot be moved in all that time is taken away,
 * so that this ends.
 */
static void hpeer_remove(struct pci_dev *pdev)
{
	struct hpeer_dev *hp = pci_get_drvdata(pdev);
	struct memremap_evict ev = { .pgmap = &hp->pgmap };

	misc_deregister(&hp->misc);
	down_write(&hp->sem);
	hp->gone = true;
	up_write(&hp->sem);

	if (hpeer_evict(hp, false)) {
		memremap_discard(&ev);
		dev_warn(&pdev->dev, "%lu pages were lost\n", ev.moved);
	}
	hpeer_unmap_pages(hp);
	kref_put(&hp->ref, hpeer_free);
}

/*
 * No MODULE_DEVICE_TABLE: who has such a device for some other purpose should not
 * get this driver unless it is loaded by name.
 */
static const struct pci_device_id hpeer_ids[] = {
	{ PCI_DEVICE(PCI_VENDOR_ID_REDHAT_QUMRANET, 0x1110) },
	{ }
};

static struct pci_driver hpeer_driver = {
	.name = "hmm_peer",
	.id_table = hpeer_ids,
	.probe = hpeer_probe,
	.remove = hpeer_remove,
};
module_pci_driver(hpeer_driver);

MODULE_DESCRIPTION("Device-private memory that other devices reach, for tests");
MODULE_LICENSE("GPL");
