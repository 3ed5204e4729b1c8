// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A driver that mirrors an address space, whole but small, to be read and copied.
 * It uses the HMM mirror layer, see Documentation/mm/hmm.rst.
 *
 * The device is made up. It accesses memory of the process that has opened
 * /dev/hmm_skeleton, at addresses of that process: pread() has it read what is at
 * the address that the offset says, pwrite() has it write there. It translates
 * addresses by page tables of its own, one for each window of 16 MiB, and faults
 * where an entry is missing. /proc/PID/fdinfo/FD tells how many there are.
 *
 * Locks, outermost first:
 *
 *   skel_context.lock  protects skel_context.windows
 *   mmap lock          taken by hmm_mirror_init() and hmm_mirror_fault()
 *   hmm_mirror.lock    protects skel_window.ptes and is held while the device
 *                      uses them, so that an invalidation waits for that
 *
 * Life cycle: a context lives as long as its open file, and its windows, once
 * made, as long as the context. It holds the mm_struct but not the address
 * space. When the process exits, that is torn down and all windows become empty;
 * later accesses fail.
 */
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/highmem.h>
#include <linux/hmm.h>
#include <linux/hmm_mirror.h>
#include <linux/jiffies.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pfn.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uio.h>
#include <linux/xarray.h>

#define SKEL_WINDOW_SIZE	((unsigned long)SZ_16M)
#define SKEL_WINDOW_PAGES	(SKEL_WINDOW_SIZE >> PAGE_SHIFT)

/* What an entry of the device's page table has beside an address. */
#define SKEL_PTE_VALID		BIT_ULL(0)
#define SKEL_PTE_WRITE		BIT_ULL(1)

struct skel_window {
	struct hmm_mirror mirror;
	u64 ptes[SKEL_WINDOW_PAGES];
};

struct skel_context {
	struct mm_struct *mm;
	struct mutex lock;		/* protects @windows */
	struct xarray windows;		/* by address / SKEL_WINDOW_SIZE */
};

static u64 *skel_pte(struct skel_window *window, unsigned long va)
{
	return &window->ptes[va % SKEL_WINDOW_SIZE >> PAGE_SHIFT];
}

/* Under the update lock. When this returns, the device is done with it. */
static void skel_invalidate(struct hmm_mirror *mirror, unsigned long start,
			    unsigned long end)
{
	struct skel_window *window = container_of(mirror, struct skel_window,
						  mirror);

	memset(skel_pte(window, start), 0,
	       ((end - start) >> PAGE_SHIFT) * sizeof(u64));
	/* Hardware: flush its TLB here and wait for accesses under way. */
}

static const struct hmm_mirror_ops skel_mirror_ops = {
	.invalidate = skel_invalidate,
};

/* Under the update lock. It allocates nothing: the tables are there. */
static void skel_fill(struct skel_window *window, unsigned long start,
		      unsigned long end)
{
	struct hmm_dma_run run = { .start = start };
	unsigned long i;

	while (hmm_mirror_next_run(&window->mirror, end, &run)) {
		u64 *ptes = skel_pte(window, run.start);
		/* Hardware: run.addr, the DMA address. */
		u64 pte = PFN_PHYS(run.pfn) | SKEL_PTE_VALID;

		if (run.writable)
			pte |= SKEL_PTE_WRITE;
		for (i = 0; i < run.npages; i++)
			ptes[i] = pte + i * PAGE_SIZE;
	}
}

/* If it returns 0, the page at @start has an entry and the lock is held. */
static int skel_fault(struct skel_window *window, unsigned long start,
		      unsigned long end, bool write)
{
	unsigned long timeout = msecs_to_jiffies(HMM_RANGE_DEFAULT_TIMEOUT);
	unsigned int flags = HMM_MIRROR_PARTIAL;
	int ret;

	if (write)
		flags |= HMM_MIRROR_WRITE;
	ret = hmm_mirror_fault(&window->mirror, start, end, flags, timeout);
	if (!ret)
		skel_fill(window, start, end);
	return ret;
}

/*
 * The device accesses @len bytes, which lie in one page. If it has to fault, it
 * does so up to @end, as the rest will be accessed next.
 */
static int skel_access(struct skel_window *window, unsigned long va,
		       unsigned long end, void *buf, size_t len, bool write)
{
	u64 need = SKEL_PTE_VALID | (write ? SKEL_PTE_WRITE : 0);
	u64 *pte = skel_pte(window, va);
	struct page *page;
	int ret;

	mutex_lock(&window->mirror.lock);
	if (need & ~*pte) {
		hmm_mirror_unlock(&window->mirror);
		ret = skel_fault(window, va & PAGE_MASK, PAGE_ALIGN(end),
				 write);
		if (ret)
			return ret;
	}
	page = pfn_to_page(PHYS_PFN(*pte));
	if (write)
		memcpy_to_page(page, offset_in_page(va), buf, len);
	else
		memcpy_from_page(buf, page, offset_in_page(va), len);
	hmm_mirror_unlock(&window->mirror);
	return 0;
}

/* The caller has a reference to the address space, not only to the mm. */
static struct skel_window *skel_new_window(struct skel_context *ctx,
					   unsigned long index)
{
	unsigned long start = index * SKEL_WINDOW_SIZE;
	struct skel_window *window;
	int ret;

	window = kvzalloc_obj(*window, GFP_KERNEL_ACCOUNT);
	if (!window)
		return ERR_PTR(-ENOMEM);
	/* Hardware: its struct device instead of NULL. */
	ret = hmm_mirror_init(&window->mirror, ctx->mm, NULL, &skel_mirror_ops,
			      start, start + SKEL_WINDOW_SIZE);
	if (ret)
		goto free;
	ret = xa_err(xa_store(&ctx->windows, index, window,
			      GFP_KERNEL_ACCOUNT));
	if (ret)
		goto destroy;
	return window;

destroy:
	hmm_mirror_destroy(&window->mirror);
free:
	kvfree(window);
	return ERR_PTR(ret);
}

static struct skel_window *skel_get_window(struct skel_context *ctx,
					   unsigned long va)
{
	unsigned long index = va / SKEL_WINDOW_SIZE;
	struct skel_window *window;

	mutex_lock(&ctx->lock);
	window = xa_load(&ctx->windows, index);
	if (!window)
		window = skel_new_window(ctx, index);
	mutex_unlock(&ctx->lock);
	return window;
}

static ssize_t skel_rw_page(struct skel_context *ctx, struct iov_iter *iter,
			    unsigned long va, void *buf)
{
	size_t len = min(iov_iter_count(iter), PAGE_SIZE - offset_in_page(va));
	size_t ahead = min(iov_iter_count(iter),
			   SKEL_WINDOW_SIZE - va % SKEL_WINDOW_SIZE);
	bool write = iov_iter_rw(iter) == WRITE;
	struct skel_window *window;
	int ret;

	window = skel_get_window(ctx, va);
	if (IS_ERR(window))
		return PTR_ERR(window);

	/* User memory may fault, so it is not touched under the update lock. */
	if (write && !copy_from_iter_full(buf, len, iter))
		return -EFAULT;
	ret = skel_access(window, va, va + ahead, buf, len, write);
	if (ret)
		return ret;
	if (!write && copy_to_iter(buf, len, iter) != len)
		return -EFAULT;
	return len;
}

static ssize_t skel_rw_iter(struct kiocb *iocb, struct iov_iter *iter)
{
	struct skel_context *ctx = iocb->ki_filp->private_data;
	ssize_t done = 0, ret = 0;
	void *buf;

	buf = (void *)__get_free_page(GFP_KERNEL);
	if (!buf)
		return -ENOMEM;
	if (!mmget_not_zero(ctx->mm)) {
		free_page((unsigned long)buf);
		return -ESRCH;
	}

	while (iov_iter_count(iter)) {
		ret = -EFAULT;
		if (iocb->ki_pos >= ctx->mm->task_size)
			break;
		ret = -EINTR;
		if (fatal_signal_pending(current))
			break;
		ret = skel_rw_page(ctx, iter, iocb->ki_pos, buf);
		if (ret < 0)
			break;
		iocb->ki_pos += ret;
		done += ret;
	}
	/* The last one tears the mm down: not under any lock. */
	mmput(ctx->mm);
	free_page((unsigned long)buf);
	return done ?: ret;
}

static int skel_open(struct inode *inode, struct file *file)
{
	struct skel_context *ctx = kzalloc_obj(*ctx);

	if (!ctx)
		return -ENOMEM;
	mmgrab(current->mm);
	ctx->mm = current->mm;
	mutex_init(&ctx->lock);
	xa_init(&ctx->windows);
	file->private_data = ctx;
	return 0;
}

/*
 * No read or write is under way any more, so no fault is. Hardware: stop the
 * device, and wait for its fault handler, before any mirror goes.
 */
static int skel_release(struct inode *inode, struct file *file)
{
	struct skel_context *ctx = file->private_data;
	struct skel_window *window;
	unsigned long index;

	xa_for_each(&ctx->windows, index, window) {
		hmm_mirror_destroy(&window->mirror);
		kvfree(window);
	}
	xa_destroy(&ctx->windows);
	mutex_destroy(&ctx->lock);
	mmdrop(ctx->mm);
	kfree(ctx);
	return 0;
}

static void skel_show_fdinfo(struct seq_file *seq, struct file *file)
{
	struct skel_context *ctx = file->private_data;
	unsigned long index, i, entries = 0;
	struct skel_window *window;

	mutex_lock(&ctx->lock);
	xa_for_each(&ctx->windows, index, window) {
		mutex_lock(&window->mirror.lock);
		for (i = 0; i < SKEL_WINDOW_PAGES; i++)
			entries += window->ptes[i] & SKEL_PTE_VALID;
		hmm_mirror_unlock(&window->mirror);
	}
	mutex_unlock(&ctx->lock);
	seq_printf(seq, "entries:\t%lu\n", entries);
}

static const struct file_operations skel_fops = {
	.owner = THIS_MODULE,
	.open = skel_open,
	.release = skel_release,
	.read_iter = skel_rw_iter,
	.write_iter = skel_rw_iter,
	.llseek = default_llseek,
	.show_fdinfo = skel_show_fdinfo,
};

static struct miscdevice skel_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "hmm_skeleton",
	.fops = &skel_fops,
	.mode = 0600,
};
module_misc_device(skel_device);

MODULE_DESCRIPTION("Driver skeleton for the HMM mirror layer");
MODULE_LICENSE("GPL");
