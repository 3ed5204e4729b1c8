// SPDX-License-Identifier: GPL-2.0
/*
 * HMM DMA test device: /dev/hmm_dma0 and so on let user space mirror its memory
 * in a device that really does DMA, the "edu" device of QEMU.
 * tools/testing/selftests/mm/hmm-dma-*.c are its users.
 *
 * The device has a DMA engine, but no page table. The driver keeps one for each
 * mirror in its place, filled and cleared as that of a GPU would be, and looks
 * the address of each transfer up in there.
 *
 * A second driver makes the memory of QEMU's "ivshmem-plain" available for
 * peer-to-peer DMA, as the other device of such tests.
 *
 * Locking, outermost first:
 *
 * hdma_dev::files_lock	the list of open files; that the device can go away
 * hdma_file::sem	for reading while the file's mirror and its device are
 *			used; for writing to make one or to take them away
 * hdma_dev::engine	the DMA engine: one transfer at a time, from filling the
 *			device's buffer to reading it. Faults happen under it
 * (what faults and invalidations take: the mmap lock and others)
 * hmm_mirror::lock	the mirror's page table, transfer under way and counters
 *
 * A transfer is started under hmm_mirror::lock and goes on without it. An
 * invalidation cannot take the engine's lock, which is held while memory is
 * waited for. What it needs to know is in the mirror, and it waits for the
 * hardware itself to become idle, which depends on no other thread.
 *
 * HMM_DMA_TEST_HAND has a notifier and an update lock of its own, in the place
 * of hmm_mirror::lock; it transfers under that.
 */
#include <linux/build_bug.h>
#include <linux/capability.h>
#include <linux/cleanup.h>
#include <linux/compat.h>
#include <linux/dma-mapping.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/hmm.h>
#include <linux/hmm_mirror.h>
#include <linux/idr.h>
#include <linux/io.h>
#include <linux/iommu.h>
#include <linux/iopoll.h>
#include <linux/jiffies.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/pci-p2pdma.h>
#include <linux/rwsem.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "test_hmm_dma_uapi.h"

static_assert(HMM_DMA_TEST_WRITE == HMM_MIRROR_WRITE);
static_assert(HMM_DMA_TEST_PREFETCH == HMM_MIRROR_PREFETCH);
static_assert(HMM_DMA_TEST_PARTIAL == HMM_MIRROR_PARTIAL);
static_assert((int)HMM_DMA_TEST_MEMORY == (int)HMM_DMA_MEMORY);
static_assert((int)HMM_DMA_TEST_BUS == (int)HMM_DMA_BUS);
static_assert((int)HMM_DMA_TEST_PRIVATE == (int)HMM_DMA_PRIVATE);

/* Registers of the edu device, in BAR 0. */
#define EDU_ID			0x00
#define EDU_ID_MASK		0xff
#define EDU_ID_VALUE		0xed
#define EDU_DMA_SRC		0x80
#define EDU_DMA_DST		0x88
#define EDU_DMA_COUNT		0x90
#define EDU_DMA_CMD		0x98
#define EDU_DMA_START		BIT(0)
#define EDU_DMA_TO_MEMORY	BIT(1)

/*
 * Where the DMA engine sees the device's buffer, and how much of it is used at
 * once: QEMU dies of a transfer that reaches the end.
 */
#define EDU_BUFFER		0x40000
#define EDU_MAX_TRANSFER	2048U

/* A transfer takes 100 ms; only a broken one lasts until the timeout. */
#define EDU_POLL_US		2000
#define EDU_TIMEOUT_US		(10 * USEC_PER_SEC)

/* An entry of a mirror's page table: a DMA address and these bits, or 0. */
#define HDMA_PRESENT		BIT_ULL(0)
#define HDMA_WRITABLE		BIT_ULL(1)

/**
 * struct hdma_dev - an edu device
 * @ref: one for the driver's binding, one for each open file
 * @pdev: the PCI device
 * @regs: BAR 0
 * @bounce: what the device's buffer is filled from and read to,
 *	EDU_MAX_TRANSFER bytes
 * @bounce_addr: its DMA address
 * @engine: see the top of this file
 * @files_lock: protects @files
 * @files: open files, struct hdma_file
 * @id: number in @name
 * @name: of @misc
 * @misc: the node
 */
struct hdma_dev {
	struct kref ref;
	struct pci_dev *pdev;
	void __iomem *regs;
	void *bounce;
	dma_addr_t bounce_addr;
	struct mutex engine;		/* see above */
	struct mutex files_lock;	/* protects @files */
	struct list_head files;
	int id;
	char name[16];
	struct miscdevice misc;
};

/**
 * struct hdma_mirror - a mirror and its page table
 * @mirror: its lock protects all that follows @table
 * @hd: the device
 * @table: an entry for each page of the window
 * @entries: how many of them are present
 * @busy: a transfer uses the entry of @busy_va
 * @busy_va: a page of the window
 * @invalidations: calls of hdma_invalidate()
 * @cleared: entries that it removed
 * @waits: how often it waited for a transfer
 */
struct hdma_mirror {
	struct hmm_mirror mirror;
	struct hdma_dev *hd;
	u64 *table;
	u64 entries;
	bool busy;
	unsigned long busy_va;
	u64 invalidations;
	u64 cleared;
	u64 waits;
};

/**
 * struct hdma_file - state of an open file
 * @hd: the device, with a reference
 * @list: in hdma_dev::files
 * @sem: protects @hm and @gone
 * @hm: set by HMM_DMA_TEST_MIRROR
 * @gone: the driver has been unbound from the device
 */
struct hdma_file {
	struct hdma_dev *hd;
	struct list_head list;
	struct rw_semaphore sem;	/* protects the next two members */
	struct hdma_mirror *hm;
	bool gone;
};

static DEFINE_IDA(hdma_ida);

static int narrow = -1;
module_param(narrow, int, 0444);
MODULE_PARM_DESC(narrow, "Number of a device to get a DMA mask of 32 bits");

/* ---- the DMA engine ---- */

static int hdma_wait_idle(struct hdma_dev *hd)
{
	u64 cmd;
	int ret;

	ret = readq_poll_timeout(hd->regs + EDU_DMA_CMD, cmd,
				 !(cmd & EDU_DMA_START), EDU_POLL_US,
				 EDU_TIMEOUT_US);
	if (ret)
		dev_err_ratelimited(&hd->pdev->dev, "transfer does not end\n");
	return ret;
}

static void hdma_start(struct hdma_dev *hd, dma_addr_t addr, u32 size,
		       bool to_memory)
{
	lockdep_assert_held(&hd->engine);
	writeq(to_memory ? EDU_BUFFER : addr, hd->regs + EDU_DMA_SRC);
	writeq(to_memory ? addr : EDU_BUFFER, hd->regs + EDU_DMA_DST);
	writeq(size, hd->regs + EDU_DMA_COUNT);
	writeq(EDU_DMA_START | (to_memory ? EDU_DMA_TO_MEMORY : 0),
	       hd->regs + EDU_DMA_CMD);
}

static int hdma_transfer(struct hdma_dev *hd, dma_addr_t addr, u32 size,
			 bool to_memory)
{
	hdma_start(hd, addr, size, to_memory);
	return hdma_wait_idle(hd);
}

/* Put @data into the device's buffer. */
static int hdma_fill(struct hdma_dev *hd, const void *data, u32 size)
{
	lockdep_assert_held(&hd->engine);
	memcpy(hd->bounce, data, size);
	return hdma_transfer(hd, hd->bounce_addr, size, false);
}

/* Get @data from there. */
static int hdma_drain(struct hdma_dev *hd, void *data, u32 size)
{
	int ret = hdma_transfer(hd, hd->bounce_addr, size, true);

	if (!ret)
		memcpy(data, hd->bounce, size);
	return ret;
}

/* ---- mirrors ---- */

static u64 *hdma_entry(struct hdma_mirror *hm, unsigned long va)
{
	return &hm->table[(va - hm->mirror.view.start) >> PAGE_SHIFT];
}

static void hdma_invalidate(struct hmm_mirror *mirror, unsigned long start,
			    unsigned long end)
{
	struct hdma_mirror *hm = container_of(mirror, struct hdma_mirror,
					      mirror);
	u64 *entry = hdma_entry(hm, start), *stop = hdma_entry(hm, end);
	u64 cleared = 0;

	for (; entry < stop; entry++) {
		cleared += *entry & HDMA_PRESENT;
		*entry = 0;
	}
	hm->invalidations++;
	hm->cleared += cleared;
	hm->entries -= cleared;
	if (hm->busy && hm->busy_va >= start && hm->busy_va < end) {
		hm->waits++;
		hdma_wait_idle(hm->hd);
	}
}

static const struct hmm_mirror_ops hdma_mirror_ops = {
	.invalidate = hdma_invalidate,
};

/* Take what the mirror has in [start, end) over into the page table. */
static void hdma_fill_table(struct hdma_mirror *hm, unsigned long start,
			    unsigned long end)
{
	struct hmm_dma_run run = { .start = start };

	lockdep_assert_held(&hm->mirror.lock);
	while (hmm_mirror_next_run(&hm->mirror, end, &run)) {
		u64 entry = run.addr | HDMA_PRESENT |
			    (run.writable ? HDMA_WRITABLE : 0);
		u64 *to = hdma_entry(hm, run.start);
		unsigned long i;

		for (i = 0; i < run.npages; i++) {
			hm->entries += !(to[i] & HDMA_PRESENT);
			to[i] = entry + (i << PAGE_SHIFT);
		}
	}
}

static struct hdma_mirror *hdma_mirror_new(struct hdma_dev *hd,
					   unsigned long start,
					   unsigned long length, bool peers,
					   int *result)
{
	struct hdma_mirror *hm = kzalloc_obj(*hm);

	if (!hm)
		return ERR_PTR(-ENOMEM);
	hm->hd = hd;
	hm->table = kvcalloc(length >> PAGE_SHIFT, sizeof(*hm->table),
			     GFP_KERNEL);
	if (!hm->table) {
		kfree(hm);
		return ERR_PTR(-ENOMEM);
	}

	*result = hmm_mirror_init(&hm->mirror, current->mm, &hd->pdev->dev,
				  &hdma_mirror_ops, start, start + length);
	if (*result) {
		kvfree(hm->table);
		kfree(hm);
		return NULL;
	}
	if (peers)
		hmm_mirror_allow_peers(&hm->mirror);
	return hm;
}

static void hdma_mirror_free(struct hdma_mirror *hm)
{
	if (!hm)
		return;
	hmm_mirror_destroy(&hm->mirror);
	kvfree(hm->table);
	kfree(hm);
}

/* ---- runs, for user space ---- */

static int hdma_alloc_runs(const struct hmm_dma_test_fault *cmd,
			   struct hmm_dma_test_run **runs)
{
	if (cmd->max_runs > HMM_DMA_TEST_MAX_RUNS)
		return -EINVAL;
	*runs = kvcalloc(cmd->max_runs, sizeof(**runs), GFP_KERNEL);
	return *runs ? 0 : -ENOMEM;
}

/* Under the update lock. */
static void hdma_get_runs(struct hmm_dma_view *view,
			  struct hmm_dma_test_fault *cmd,
			  struct hmm_dma_test_run *runs)
{
	struct hmm_dma_run run = { .start = cmd->start };

	while (hmm_dma_next_run(view, cmd->start + cmd->length, &run)) {
		if (cmd->nr_runs < cmd->max_runs)
			runs[cmd->nr_runs] = (struct hmm_dma_test_run) {
				.start = run.start, .npages = run.npages,
				.addr = run.addr, .pfn = run.pfn,
				.kind = run.kind, .order = run.order,
				.writable = run.writable,
			};
		cmd->nr_runs++;
	}
}

static int hdma_put_runs(const struct hmm_dma_test_fault *cmd,
			 const struct hmm_dma_test_run *runs)
{
	u32 n = min(cmd->nr_runs, cmd->max_runs);

	if (cmd->result)
		return 0;
	return copy_to_user(u64_to_user_ptr(cmd->runs), runs,
			    n * sizeof(*runs)) ? -EFAULT : 0;
}

/* ---- transfers to and from mirrored memory ---- */

/*
 * The entry by which the device can read or write the page at @va. With it, the
 * mirror's lock is held.
 */
static int hdma_get_entry(struct hdma_mirror *hm, unsigned long va,
			  const struct hmm_dma_test_copy *cmd, u64 *entry)
{
	bool write = cmd->flags & HMM_DMA_TEST_WRITE;
	u64 need = HDMA_PRESENT | (write ? HDMA_WRITABLE : 0);
	struct hmm_mirror *mirror = &hm->mirror;
	int ret;

	mutex_lock(&mirror->lock);
	*entry = *hdma_entry(hm, va);
	if (!(need & ~*entry))
		return 0;
	mutex_unlock(&mirror->lock);
	if (cmd->flags & HMM_DMA_TEST_NOFAULT)
		return -EFAULT;

	ret = hmm_mirror_fault(mirror, va, va + PAGE_SIZE,
			       write ? HMM_MIRROR_WRITE : 0,
			       msecs_to_jiffies(cmd->timeout_ms));
	if (ret)
		return ret;
	hdma_fill_table(hm, va, va + PAGE_SIZE);
	*entry = *hdma_entry(hm, va);
	return 0;
}

/* One transfer, of which an invalidation can find out. */
static int hdma_copy(struct hdma_mirror *hm, struct hmm_dma_test_copy *cmd,
		     u32 done, u32 size)
{
	unsigned long at = cmd->addr + done, va = at & PAGE_MASK;
	u64 entry;
	int ret;

	cmd->result = hdma_get_entry(hm, va, cmd, &entry);
	if (cmd->result)
		return 0;
	hdma_start(hm->hd, (entry & PAGE_MASK) | offset_in_page(at), size,
		   cmd->flags & HMM_DMA_TEST_WRITE);
	hm->busy_va = va;
	hm->busy = true;
	hmm_mirror_unlock(&hm->mirror);

	ret = hdma_wait_idle(hm->hd);

	mutex_lock(&hm->mirror.lock);
	hm->busy = false;
	mutex_unlock(&hm->mirror.lock);
	return ret;
}

static int hdma_check_copy(const struct hmm_dma_test_copy *cmd, bool raw)
{
	u32 timeout = raw ? 0 : HMM_DMA_TEST_MAX_TIMEOUT_MS;
	u32 flags = HMM_DMA_TEST_WRITE;

	if (!raw)
		flags |= HMM_DMA_TEST_NOFAULT;
	if (cmd->flags & ~flags || !cmd->size ||
	    cmd->size > HMM_DMA_TEST_MAX_SIZE || cmd->timeout_ms > timeout)
		return -EINVAL;
	return 0;
}

static int hdma_run_copy(struct hdma_mirror *hm, struct hmm_dma_test_copy *cmd,
			 void *data)
{
	const struct hmm_dma_view *view = &hm->mirror.view;
	struct hdma_dev *hd = hm->hd;
	bool write = cmd->flags & HMM_DMA_TEST_WRITE;
	u32 done, n;
	int ret = 0;

	if (cmd->addr < view->start || cmd->addr >= view->end ||
	    offset_in_page(cmd->addr) + cmd->size > PAGE_SIZE)
		return -EINVAL;
	if (mutex_lock_killable(&hd->engine))
		return -EINTR;
	for (done = 0; !ret && !cmd->result && done < cmd->size; done += n) {
		n = min(cmd->size - done, EDU_MAX_TRANSFER);
		if (write)
			ret = hdma_fill(hd, data + done, n);
		if (!ret)
			ret = hdma_copy(hm, cmd, done, n);
		if (!ret && !cmd->result && !write)
			ret = hdma_drain(hd, data + done, n);
	}
	mutex_unlock(&hd->engine);
	return ret;
}

static struct iommu_domain *hdma_domain(struct hdma_dev *hd)
{
	struct iommu_domain *domain = iommu_get_domain_for_dev(&hd->pdev->dev);

	return domain && iommu_is_dma_domain(domain) ? domain : NULL;
}

/* The engine between @data and @addr, with whatever the IOMMU makes of it. */
static int hdma_move(struct hdma_dev *hd, dma_addr_t addr, void *data, u32 size,
		     bool write)
{
	u32 done, n;
	int ret = 0;

	for (done = 0; !ret && done < size; done += n) {
		n = min(size - done, EDU_MAX_TRANSFER);
		ret = hdma_fill(hd, data + done, n);
		if (!ret)
			ret = hdma_transfer(hd, addr + done, n, write);
		if (!ret && !write)
			ret = hdma_drain(hd, data + done, n);
	}
	return ret;
}

static int hdma_run_raw(struct hdma_dev *hd, struct hmm_dma_test_copy *cmd,
			void *data)
{
	int ret;

	/* Nothing else keeps it from overwriting what it likes. */
	if (!hdma_domain(hd))
		return -EOPNOTSUPP;
	if (mutex_lock_killable(&hd->engine))
		return -EINTR;
	ret = hdma_move(hd, cmd->addr, data, cmd->size,
			cmd->flags & HMM_DMA_TEST_WRITE);
	mutex_unlock(&hd->engine);
	return ret;
}

/* ---- without a mirror ---- */

/**
 * struct hdma_hand - a notifier, an update lock and a view
 * @notifier: covers the window of @view
 * @lock: the update lock, protects @view
 * @view: what the device can reach
 * @range: the walk
 * @runs: for user space
 */
struct hdma_hand {
	struct mmu_interval_notifier notifier;
	struct mutex lock;		/* see above */
	struct hmm_dma_view view;
	struct hmm_range range;
	struct hmm_dma_test_run *runs;
};

static bool hdma_hand_invalidate(struct mmu_interval_notifier *notifier,
				 const struct mmu_notifier_range *range,
				 unsigned long cur_seq)
{
	struct hdma_hand *hand = container_of(notifier, struct hdma_hand,
					      notifier);

	if (mmu_notifier_range_blockable(range))
		mutex_lock(&hand->lock);
	else if (!mutex_trylock(&hand->lock))
		return false;
	mmu_interval_set_seq(notifier, cur_seq);
	hmm_range_dma_unmap(&hand->view, range->start, range->end);
	mutex_unlock(&hand->lock);
	return true;
}

static const struct mmu_interval_notifier_ops hdma_hand_notifier_ops = {
	.invalidate = hdma_hand_invalidate,
};

/* One try; after success the update lock is held. */
static int hdma_hand_map_once(struct hdma_hand *hand, unsigned long timeout)
{
	struct hmm_range *range = &hand->range;
	unsigned int flags = 0;
	int ret;

	ret = hmm_range_fault_unlocked_timeout(range, timeout);
	if (!ret)
		ret = hmm_range_dma_prepare(range, &hand->view);
	if (ret)
		return ret;

	if (!(range->default_flags & HMM_PFN_REQ_WRITE))
		flags |= HMM_DMA_READ_ONLY;
	mutex_lock(&hand->lock);
	if (mmu_interval_read_retry(range->notifier, range->notifier_seq))
		ret = -EAGAIN;
	else
		ret = hmm_range_dma_map(range, &hand->view, flags);
	if (ret)
		mutex_unlock(&hand->lock);
	return ret;
}

static int hdma_hand_map(struct hdma_hand *hand, unsigned int timeout_ms)
{
	unsigned long timeout = msecs_to_jiffies(timeout_ms);
	unsigned long deadline = jiffies + timeout;
	int ret;

	for (;;) {
		ret = hdma_hand_map_once(hand, timeout);
		if (ret != -EAGAIN)
			return ret;
		if (fatal_signal_pending(current))
			return -EINTR;
		if (timeout && time_after(jiffies, deadline))
			return -EBUSY;
		cond_resched();
	}
}

/* What is mapped: tell, use once, and unmap. */
static int hdma_hand_use(struct hdma_hand *hand, struct hdma_dev *hd,
			 struct hmm_dma_test_hand *cmd, void *data)
{
	bool write = cmd->fault.flags & HMM_DMA_TEST_WRITE;
	struct hmm_dma_run run = { .start = cmd->fault.start };

	hdma_get_runs(&hand->view, &cmd->fault, hand->runs);
	if (!cmd->size)
		return 0;
	if (!hmm_dma_next_run(&hand->view, hand->view.end, &run))
		return -EIO;
	return hdma_move(hd, run.addr, data, cmd->size, write);
}

static int hdma_hand_run(struct hdma_hand *hand, struct hdma_dev *hd,
			 struct hmm_dma_test_hand *cmd, void *data)
{
	int ret;

	if (mutex_lock_killable(&hd->engine))
		return -EINTR;
	ret = hdma_hand_map(hand, cmd->fault.timeout_ms);
	cmd->fault.result = ret;
	if (ret)
		mutex_lock(&hand->lock);
	else
		ret = hdma_hand_use(hand, hd, cmd, data);
	hmm_range_dma_unmap(&hand->view, hand->view.start, hand->view.end);
	mutex_unlock(&hand->lock);
	mutex_unlock(&hd->engine);
	return cmd->fault.result ? 0 : ret;
}

/* Set up notifier, view and range, all of the same extent, and use them. */
static int hdma_hand_begin(struct hdma_hand *hand, struct hdma_dev *hd,
			   struct hmm_dma_test_hand *cmd, void *data)
{
	const struct hmm_dma_test_fault *fault = &cmd->fault;
	struct hmm_range *range = &hand->range;
	int ret;

	range->notifier = &hand->notifier;
	range->start = fault->start;
	range->end = fault->start + fault->length;
	range->default_flags = HMM_PFN_REQ_FAULT;
	if (fault->flags & HMM_DMA_TEST_WRITE)
		range->default_flags |= HMM_PFN_REQ_WRITE;

	cmd->fault.result = hmm_dma_view_init(&hand->view, &hd->pdev->dev, NULL,
					      range->start, range->end);
	if (cmd->fault.result)
		return 0;
	hmm_dma_view_set_lock(&hand->view, &hand->lock);
	ret = mmu_interval_notifier_insert(&hand->notifier, current->mm,
					   range->start, fault->length,
					   &hdma_hand_notifier_ops);
	if (!ret) {
		ret = hdma_hand_run(hand, hd, cmd, data);
		mmu_interval_notifier_remove(&hand->notifier);
	}
	hmm_dma_view_destroy(&hand->view);
	return ret;
}

static int hdma_hand(struct hdma_dev *hd, struct hmm_dma_test_hand *cmd,
		     void *data)
{
	struct hdma_hand *hand = kzalloc_obj(*hand);
	int ret;

	if (!hand)
		return -ENOMEM;
	mutex_init(&hand->lock);
	ret = hdma_alloc_runs(&cmd->fault, &hand->runs);
	hand->range.hmm_pfns = kvcalloc(cmd->fault.length >> PAGE_SHIFT,
					sizeof(*hand->range.hmm_pfns),
					GFP_KERNEL);
	if (!ret && !hand->range.hmm_pfns)
		ret = -ENOMEM;
	if (!ret)
		ret = hdma_hand_begin(hand, hd, cmd, data);
	if (!ret)
		ret = hdma_put_runs(&cmd->fault, hand->runs);
	kvfree(hand->range.hmm_pfns);
	kvfree(hand->runs);
	mutex_destroy(&hand->lock);
	kfree(hand);
	return ret;
}

/* ---- ioctls ---- */

static int hdma_ioctl_mirror(struct hdma_file *hf,
			     struct hmm_dma_test_mirror __user *ucmd)
{
	struct hmm_dma_test_mirror cmd;
	struct hdma_mirror *hm;

	if (copy_from_user(&cmd, ucmd, sizeof(cmd)))
		return -EFAULT;
	if (cmd.flags & ~HMM_DMA_TEST_PEERS ||
	    cmd.length > HMM_DMA_TEST_MAX_LENGTH)
		return -EINVAL;
	cmd.result = 0;

	guard(rwsem_write)(&hf->sem);
	if (hf->gone)
		return -ENODEV;
	if (hf->hm)
		return -EBUSY;
	hm = hdma_mirror_new(hf->hd, cmd.start, cmd.length,
			     cmd.flags & HMM_DMA_TEST_PEERS, &cmd.result);
	if (IS_ERR(hm))
		return PTR_ERR(hm);
	hf->hm = hm;
	return copy_to_user(ucmd, &cmd, sizeof(cmd)) ? -EFAULT : 0;
}

static int hdma_ioctl_fault(struct hdma_mirror *hm,
			    struct hmm_dma_test_fault __user *ucmd)
{
	struct hmm_dma_test_fault cmd;
	struct hmm_dma_test_run *runs;
	int ret;

	if (copy_from_user(&cmd, ucmd, sizeof(cmd)))
		return -EFAULT;
	if (cmd.flags & HMM_DMA_TEST_NOFAULT || cmd.reserved ||
	    cmd.timeout_ms > HMM_DMA_TEST_MAX_TIMEOUT_MS)
		return -EINVAL;
	ret = hdma_alloc_runs(&cmd, &runs);
	if (ret)
		return ret;

	cmd.nr_runs = 0;
	cmd.result = hmm_mirror_fault(&hm->mirror, cmd.start,
				      cmd.start + cmd.length, cmd.flags,
				      msecs_to_jiffies(cmd.timeout_ms));
	if (!cmd.result) {
		hdma_fill_table(hm, cmd.start, cmd.start + cmd.length);
		hdma_get_runs(&hm->mirror.view, &cmd, runs);
		hmm_mirror_unlock(&hm->mirror);
	}
	ret = hdma_put_runs(&cmd, runs);
	kvfree(runs);
	if (!ret && copy_to_user(ucmd, &cmd, sizeof(cmd)))
		ret = -EFAULT;
	return ret;
}

/* By a mirror, or raw without one. */
static int hdma_ioctl_copy(struct hdma_dev *hd, struct hdma_mirror *hm,
			   struct hmm_dma_test_copy __user *ucmd)
{
	void *data __free(kfree) = kzalloc(HMM_DMA_TEST_MAX_SIZE, GFP_KERNEL);
	struct hmm_dma_test_copy cmd;
	void __user *buffer;
	int ret;

	if (!data)
		return -ENOMEM;
	if (copy_from_user(&cmd, ucmd, sizeof(cmd)))
		return -EFAULT;
	ret = hdma_check_copy(&cmd, !hm);
	if (ret)
		return ret;
	cmd.result = 0;
	buffer = u64_to_user_ptr(cmd.buffer);
	if ((!hm || cmd.flags & HMM_DMA_TEST_WRITE) &&
	    copy_from_user(data, buffer, cmd.size))
		return -EFAULT;

	ret = hm ? hdma_run_copy(hm, &cmd, data) : hdma_run_raw(hd, &cmd, data);
	if (ret)
		return ret;
	if (!(cmd.flags & HMM_DMA_TEST_WRITE) && !cmd.result &&
	    copy_to_user(buffer, data, cmd.size))
		return -EFAULT;
	return copy_to_user(ucmd, &cmd, sizeof(cmd)) ? -EFAULT : 0;
}

static int hdma_check_hand(const struct hmm_dma_test_hand *cmd)
{
	const struct hmm_dma_test_fault *fault = &cmd->fault;

	if (fault->flags & ~HMM_DMA_TEST_WRITE || fault->reserved ||
	    fault->timeout_ms > HMM_DMA_TEST_MAX_TIMEOUT_MS ||
	    fault->length > HMM_DMA_TEST_MAX_HAND)
		return -EINVAL;
	if (cmd->size > HMM_DMA_TEST_MAX_SIZE || cmd->size > PAGE_SIZE ||
	    cmd->reserved)
		return -EINVAL;
	return 0;
}

static int hdma_ioctl_hand(struct hdma_dev *hd,
			   struct hmm_dma_test_hand __user *ucmd)
{
	void *data __free(kfree) = kzalloc(HMM_DMA_TEST_MAX_SIZE, GFP_KERNEL);
	struct hmm_dma_test_hand cmd;
	void __user *buffer;
	bool write;
	int ret;

	if (!data)
		return -ENOMEM;
	if (copy_from_user(&cmd, ucmd, sizeof(cmd)))
		return -EFAULT;
	ret = hdma_check_hand(&cmd);
	if (ret)
		return ret;
	buffer = u64_to_user_ptr(cmd.buffer);
	write = cmd.fault.flags & HMM_DMA_TEST_WRITE;
	cmd.fault.nr_runs = 0;
	if (write && copy_from_user(data, buffer, cmd.size))
		return -EFAULT;

	ret = hdma_hand(hd, &cmd, data);
	if (ret)
		return ret;
	if (!write && !cmd.fault.result &&
	    copy_to_user(buffer, data, cmd.size))
		return -EFAULT;
	return copy_to_user(ucmd, &cmd, sizeof(cmd)) ? -EFAULT : 0;
}

static int hdma_ioctl_drop(struct hdma_mirror *hm,
			   struct hmm_dma_test_drop __user *ucmd)
{
	struct hmm_dma_test_drop cmd;

	if (copy_from_user(&cmd, ucmd, sizeof(cmd)))
		return -EFAULT;
	if (!PAGE_ALIGNED(cmd.start | cmd.length) ||
	    cmd.length > HMM_DMA_TEST_MAX_LENGTH ||
	    cmd.start + cmd.length < cmd.start)
		return -EINVAL;
	guard(mutex)(&hm->mirror.lock);
	hmm_range_dma_unmap(&hm->mirror.view, cmd.start,
			    cmd.start + cmd.length);
	return 0;
}

static void hdma_mirror_status(struct hdma_mirror *hm,
			       struct hmm_dma_test_status *status)
{
	guard(mutex)(&hm->mirror.lock);
	status->mirrored = 1;
	status->invalidations = hm->invalidations;
	status->cleared = hm->cleared;
	status->waits = hm->waits;
	status->entries = hm->entries;
	status->memory = hmm_dma_view_memory(&hm->mirror.view);
}

static int hdma_ioctl_status(struct hdma_dev *hd, struct hdma_mirror *hm,
			     struct hmm_dma_test_status __user *ucmd)
{
	struct iommu_domain *domain = iommu_get_domain_for_dev(&hd->pdev->dev);
	struct hmm_dma_test_status status = {
		.iommu = HMM_DMA_TEST_IOMMU_NONE,
	};

	if (hdma_domain(hd)) {
		status.iommu = HMM_DMA_TEST_IOMMU_DMA;
		status.pgsizes = domain->pgsize_bitmap;
	} else if (domain) {
		status.iommu = HMM_DMA_TEST_IOMMU_PASS;
	}
	if (hm)
		hdma_mirror_status(hm, &status);
	return copy_to_user(ucmd, &status, sizeof(status)) ? -EFAULT : 0;
}

static int hdma_ioctl_domain(struct hdma_dev *hd,
			     struct hmm_dma_test_domain __user *ucmd)
{
	struct iommu_domain *domain = hdma_domain(hd);
	struct hmm_dma_test_domain cmd;
	u64 i;

	if (copy_from_user(&cmd, ucmd, sizeof(cmd)))
		return -EFAULT;
	if (cmd.npages > HMM_DMA_TEST_MAX_LENGTH >> PAGE_SHIFT)
		return -EINVAL;
	if (!domain)
		return -EOPNOTSUPP;

	cmd.mapped = 0;
	for (i = 0; i < cmd.npages; i++) {
		cmd.mapped += !!iommu_iova_to_phys(domain, cmd.addr +
						   (i << PAGE_SHIFT));
		cond_resched();
		if (fatal_signal_pending(current))
			return -EINTR;
	}
	return copy_to_user(ucmd, &cmd, sizeof(cmd)) ? -EFAULT : 0;
}

/* Those that work on the file's mirror. */
static int hdma_ioctl_mirrored(struct hdma_mirror *hm, unsigned int code,
			       void __user *uarg)
{
	if (!hm)
		return -ENXIO;
	if (code == HMM_DMA_TEST_FAULT)
		return hdma_ioctl_fault(hm, uarg);
	if (code == HMM_DMA_TEST_COPY)
		return hdma_ioctl_copy(hm->hd, hm, uarg);
	return hdma_ioctl_drop(hm, uarg);
}

static long hdma_ioctl(struct file *file, unsigned int code, unsigned long arg)
{
	struct hdma_file *hf = file->private_data;
	void __user *uarg = (void __user *)arg;

	if (code == HMM_DMA_TEST_MIRROR)
		return hdma_ioctl_mirror(hf, uarg);

	guard(rwsem_read)(&hf->sem);
	if (hf->gone)
		return -ENODEV;
	switch (code) {
	case HMM_DMA_TEST_FAULT:
	case HMM_DMA_TEST_COPY:
	case HMM_DMA_TEST_DROP:
		return hdma_ioctl_mirrored(hf->hm, code, uarg);
	case HMM_DMA_TEST_RAW:
		return hdma_ioctl_copy(hf->hd, NULL, uarg);
	case HMM_DMA_TEST_HAND:
		return hdma_ioctl_hand(hf->hd, uarg);
	case HMM_DMA_TEST_STATUS:
		return hdma_ioctl_status(hf->hd, hf->hm, uarg);
	case HMM_DMA_TEST_DOMAIN:
		return hdma_ioctl_domain(hf->hd, uarg);
	default:
		return -ENOTTY;
	}
}

/* ---- the open file ---- */

static void hdma_free(struct kref *ref)
{
	struct hdma_dev *hd = container_of(ref, struct hdma_dev, ref);

	ida_free(&hdma_ida, hd->id);
	mutex_destroy(&hd->engine);
	mutex_destroy(&hd->files_lock);
	kfree(hd);
}

static int hdma_open(struct inode *inode, struct file *file)
{
	/* The node cannot go before this returns. */
	struct hdma_dev *hd = container_of(file->private_data, struct hdma_dev,
					   misc);
	struct hdma_file *hf;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	hf = kzalloc_obj(*hf);
	if (!hf)
		return -ENOMEM;
	kref_get(&hd->ref);
	hf->hd = hd;
	init_rwsem(&hf->sem);
	mutex_lock(&hd->files_lock);
	list_add(&hf->list, &hd->files);
	mutex_unlock(&hd->files_lock);
	file->private_data = hf;
	return 0;
}

static int hdma_release(struct inode *inode, struct file *file)
{
	struct hdma_file *hf = file->private_data;
	struct hdma_dev *hd = hf->hd;

	mutex_lock(&hd->files_lock);
	list_del(&hf->list);
	hdma_mirror_free(hf->hm);
	mutex_unlock(&hd->files_lock);
	kref_put(&hd->ref, hdma_free);
	kfree(hf);
	return 0;
}

static const struct file_operations hdma_fops = {
	.owner = THIS_MODULE,
	.open = hdma_open,
	.release = hdma_release,
	.unlocked_ioctl = hdma_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

/* ---- the PCI device ---- */

static int hdma_setup(struct hdma_dev *hd)
{
	struct pci_dev *pdev = hd->pdev;
	int ret;

	ret = pcim_enable_device(pdev);
	if (ret)
		return ret;
	hd->regs = pcim_iomap_region(pdev, 0, KBUILD_MODNAME);
	if (IS_ERR(hd->regs))
		return PTR_ERR(hd->regs);
	if ((readl(hd->regs + EDU_ID) & EDU_ID_MASK) != EDU_ID_VALUE)
		return -ENODEV;
	ret = dma_set_mask_and_coherent(&pdev->dev,
					DMA_BIT_MASK(hd->id == narrow ? 32 : 64));
	if (ret)
		return ret;
	pci_set_master(pdev);
	hd->bounce = dmam_alloc_coherent(&pdev->dev, EDU_MAX_TRANSFER,
					 &hd->bounce_addr, GFP_KERNEL);
	if (!hd->bounce)
		return -ENOMEM;

	snprintf(hd->name, sizeof(hd->name), "hmm_dma%d", hd->id);
	hd->misc = (struct miscdevice) {
		.minor = MISC_DYNAMIC_MINOR,
		.name = hd->name,
		.fops = &hdma_fops,
		.mode = 0600,
		.parent = &pdev->dev,
	};
	return misc_register(&hd->misc);
}

static int hdma_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct hdma_dev *hd = kzalloc_obj(*hd);
	int ret;

	if (!hd)
		return -ENOMEM;
	ret = ida_alloc(&hdma_ida, GFP_KERNEL);
	if (ret < 0) {
		kfree(hd);
		return ret;
	}
	hd->id = ret;
	hd->pdev = pdev;
	kref_init(&hd->ref);
	mutex_init(&hd->engine);
	mutex_init(&hd->files_lock);
	INIT_LIST_HEAD(&hd->files);
	pci_set_drvdata(pdev, hd);

	ret = hdma_setup(hd);
	if (ret)
		kref_put(&hd->ref, hdma_free);
	return ret;
}

static void hdma_remove(struct pci_dev *pdev)
{
	struct hdma_dev *hd = pci_get_drvdata(pdev);
	struct hdma_file *hf;

	misc_deregister(&hd->misc);
	mutex_lock(&hd->files_lock);
	list_for_each_entry(hf, &hd->files, list) {
		down_write(&hf->sem);
		hf->gone = true;
		hdma_mirror_free(hf->hm);
		hf->hm = NULL;
		up_write(&hf->sem);
	}
	mutex_unlock(&hd->files_lock);
	pci_clear_master(pdev);
	kref_put(&hd->ref, hdma_free);
}

/*
 * No MODULE_DEVICE_TABLE for either of the two: who has such devices for some
 * other purpose should not get this driver unless it is loaded by name.
 */
static const struct pci_device_id hdma_ids[] = {
	{ PCI_DEVICE(0x1234, 0x11e8) },
	{ }
};

static struct pci_driver hdma_driver = {
	.name = "hmm_dma",
	.id_table = hdma_ids,
	.probe = hdma_probe,
	.remove = hdma_remove,
};

/* ---- memory for peer-to-peer DMA ---- */

#define IVSHMEM_BAR	2

static int hdma_peer_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	int ret = pcim_enable_device(pdev);

	if (!ret)
		ret = pci_p2pdma_add_resource(pdev, IVSHMEM_BAR, 0, 0);
	if (!ret)
		pci_p2pmem_publish(pdev, true);
	return ret;
}

static const struct pci_device_id hdma_peer_ids[] = {
	{ PCI_DEVICE(PCI_VENDOR_ID_REDHAT_QUMRANET, 0x1110) },
	{ }
};

static struct pci_driver hdma_peer_driver = {
	.name = "hmm_dma_peer",
	.id_table = hdma_peer_ids,
	.probe = hdma_peer_probe,
};

static int __init hdma_init(void)
{
	int ret = pci_register_driver(&hdma_driver);

	if (ret || !IS_ENABLED(CONFIG_PCI_P2PDMA))
		return ret;
	ret = pci_register_driver(&hdma_peer_driver);
	if (ret)
		pci_unregister_driver(&hdma_driver);
	return ret;
}
module_init(hdma_init);

static void __exit hdma_exit(void)
{
	if (IS_ENABLED(CONFIG_PCI_P2PDMA))
		pci_unregister_driver(&hdma_peer_driver);
	pci_unregister_driver(&hdma_driver);
}
module_exit(hdma_exit);

MODULE_DESCRIPTION("HMM mirrors for a PCI device that does DMA, for tests");
MODULE_LICENSE("GPL");
