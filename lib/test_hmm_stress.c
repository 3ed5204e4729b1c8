// SPDX-License-Identifier: GPL-2.0
/*
 * Stress test device of the HMM range layer: /dev/hmm_stress mirrors a virtual
 * range for as long as the file is open, the way that a driver does, and reads
 * and writes memory through its own page table. Every page is tagged with its
 * identity, so that an entry which outlived its page shows.
 * tools/testing/selftests/mm/hmm-stress.c is its user.
 *
 * It accesses pages by pfn, so its node has mode 0600 and opening it takes
 * CAP_SYS_ADMIN.
 *
 * Locking: hms_mirror::update_lock is the driver's update lock of the range API.
 * It protects the device page table and the statistics. The invalidate callback
 * takes it, the sequence check and storing of entries are under it, and so is
 * each access through entries: the callback does not return before the access
 * is over, and until then the pages stay where they are. It nests inside
 * whatever the invalidating side holds (mmap lock, folio lock, reclaim), so
 * nothing under it allocates, faults or takes such a lock. All else in a mirror
 * is constant once the mirror is set up.
 */
#include <linux/bitmap.h>
#include <linux/capability.h>
#include <linux/compat.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/hmm.h>
#include <linux/jiffies.h>
#include <linux/miscdevice.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "test_hmm_stress_uapi.h"

/* What the device page table keeps of an entry; 0 stands for "nothing". */
#define HMS_ENTRY_MASK	(HMM_PFN_VALID | HMM_PFN_WRITE | ~HMM_PFN_FLAGS)

/**
 * struct hms_mirror - a mirrored range
 * @notifier: covers the range in the mm of the process that set it up
 * @update_lock: the driver's update lock of the range API
 * @start: first byte of the range
 * @pages: length of the range
 * @ident: identity of the first page
 * @broken: entries outlive invalidations, and hold a reference to their page
 * @entries: device page table, one entry per page, under @update_lock. An array,
 *	since it has to be filled where nothing can be allocated
 * @stats: under @update_lock
 */
struct hms_mirror {
	struct mmu_interval_notifier notifier;
	struct mutex update_lock;	/* @entries and @stats */
	unsigned long start;
	unsigned long pages;
	u64 ident;
	bool broken;
	unsigned long *entries;
	struct hmm_stress_stats stats;
};

/* ---- device page table ---- */

static void hms_set_entry(struct hms_mirror *mirror, unsigned long index,
			  unsigned long entry)
{
	unsigned long old = mirror->entries[index];

	entry = entry & HMM_PFN_VALID ? entry & HMS_ENTRY_MASK : 0;
	if (mirror->broken) {
		if (entry)
			get_page(hmm_pfn_to_page(entry));
		if (old)
			put_page(hmm_pfn_to_page(old));
	}
	mirror->entries[index] = entry;
}

static void hms_clear(struct hms_mirror *mirror, unsigned long first,
		      unsigned long end)
{
	unsigned long i;

	for (i = first; i < end; i++) {
		mirror->stats.cleared += !!mirror->entries[i];
		hms_set_entry(mirror, i, 0);
	}
}

static unsigned long hms_index(struct hms_mirror *mirror, unsigned long addr)
{
	return (addr - mirror->start) >> PAGE_SHIFT;
}

static bool hms_invalidate(struct mmu_interval_notifier *notifier,
			   const struct mmu_notifier_range *range,
			   unsigned long cur_seq)
{
	struct hms_mirror *mirror = container_of(notifier, struct hms_mirror,
						 notifier);
	unsigned long end = mirror->start + (mirror->pages << PAGE_SHIFT);

	if (mmu_notifier_range_blockable(range))
		mutex_lock(&mirror->update_lock);
	else if (!mutex_trylock(&mirror->update_lock))
		return false;

	mmu_interval_set_seq(notifier, cur_seq);
	mirror->stats.invalidations++;
	if (!mirror->broken)
		hms_clear(mirror,
			  hms_index(mirror, max(range->start, mirror->start)),
			  hms_index(mirror, PAGE_ALIGN(min(range->end, end))));
	mutex_unlock(&mirror->update_lock);
	return true;
}

static const struct mmu_interval_notifier_ops hms_notifier_ops = {
	.invalidate = hms_invalidate,
};

/* ---- HMM_STRESS_FAULT ---- */

/* Whether [start, end) is a part of the mirror that one call may handle. */
static bool hms_part(struct hms_mirror *mirror, u64 start, u64 end)
{
	u64 limit = mirror->start + ((u64)mirror->pages << PAGE_SHIFT);

	return PAGE_ALIGNED(start) && PAGE_ALIGNED(end) &&
	       start >= mirror->start && start < end && end <= limit &&
	       (end - start) >> PAGE_SHIFT <= HMM_STRESS_MAX_PAGES;
}

static int hms_alloc_output(struct hmm_range *range,
			    const struct hmm_stress_fault *cmd)
{
	size_t pages = (cmd->end - cmd->start) >> PAGE_SHIFT;

	if (cmd->max_extents) {
		range->max_extents = cmd->max_extents;
		range->extents = kvcalloc(cmd->max_extents,
					  sizeof(*range->extents), GFP_KERNEL);
		return range->extents ? 0 : -ENOMEM;
	}
	range->hmm_pfns = kvcalloc(pages, sizeof(*range->hmm_pfns), GFP_KERNEL);
	return range->hmm_pfns ? 0 : -ENOMEM;
}

/* hmm_range_snapshot() and hmm_range_fault() are called with the lock held. */
static int hms_call_locked(struct hmm_range *range, u32 mode)
{
	struct mm_struct *mm = range->notifier->mm;
	int ret;

	range->notifier_seq = mmu_interval_read_begin(range->notifier);
	ret = mmap_read_lock_killable(mm);
	if (ret)
		return ret;
	if (mode == HMM_STRESS_SNAPSHOT)
		ret = hmm_range_snapshot(range);
	else
		ret = hmm_range_fault(range);
	mmap_read_unlock(mm);
	return ret;
}

static void hms_store_extent(struct hms_mirror *mirror,
			     const struct hmm_extent *extent)
{
	unsigned long first = hms_index(mirror, extent->start);
	bool valid = extent->entry & HMM_PFN_VALID;
	unsigned long i;

	/* The pfn is in the low bits, so entries count up with it. */
	for (i = 0; i < extent->npages; i++)
		hms_set_entry(mirror, first + i, valid ? extent->entry + i : 0);
}

static void hms_store(struct hms_mirror *mirror, const struct hmm_range *range)
{
	unsigned long first = hms_index(mirror, range->start);
	const struct hmm_extent *extent = NULL;
	unsigned long i, pages;

	if (range->extents) {
		while (hmm_range_next_extent(range, &extent))
			hms_store_extent(mirror, extent);
		return;
	}
	pages = (range->next - range->start) >> PAGE_SHIFT;
	for (i = 0; i < pages; i++)
		hms_set_entry(mirror, first + i, range->hmm_pfns[i]);
}

static int hms_call(struct hms_mirror *mirror, struct hmm_range *range,
		    const struct hmm_stress_fault *cmd)
{
	int ret;

	if (cmd->mode == HMM_STRESS_UNLOCKED)
		ret = hmm_range_fault_unlocked_timeout(range,
						       msecs_to_jiffies(cmd->timeout_ms));
	else
		ret = hms_call_locked(range, cmd->mode);
	if (ret)
		return ret;

	mutex_lock(&mirror->update_lock);
	if (mmu_interval_read_retry(&mirror->notifier, range->notifier_seq)) {
		mirror->stats.stale++;
		ret = -EBUSY;
	} else {
		mirror->stats.faults++;
		hms_store(mirror, range);
	}
	mutex_unlock(&mirror->update_lock);
	return ret;
}

static int hms_fault(struct hms_mirror *mirror, void __user *arg)
{
	struct hmm_range range = { .notifier = &mirror->notifier };
	struct hmm_stress_fault cmd;
	int ret;

	if (copy_from_user(&cmd, arg, sizeof(cmd)))
		return -EFAULT;
	if (!hms_part(mirror, cmd.start, cmd.end) ||
	    cmd.mode > HMM_STRESS_UNLOCKED ||
	    cmd.flags & ~(HMM_STRESS_WRITE | HMM_STRESS_PARTIAL) ||
	    cmd.max_extents > HMM_STRESS_MAX_PAGES ||
	    cmd.timeout_ms > HMM_STRESS_MAX_TIMEOUT_MS)
		return -EINVAL;

	range.start = cmd.start;
	range.end = cmd.end;
	range.partial = cmd.flags & HMM_STRESS_PARTIAL;
	if (cmd.mode != HMM_STRESS_SNAPSHOT)
		range.default_flags = HMM_PFN_REQ_FAULT;
	if (cmd.flags & HMM_STRESS_WRITE)
		range.default_flags |= HMM_PFN_REQ_WRITE;
	ret = hms_alloc_output(&range, &cmd);
	if (!ret) {
		cmd.result = hms_call(mirror, &range, &cmd);
		cmd.next = range.next;
		cmd.error = range.error;
		if (copy_to_user(arg, &cmd, sizeof(cmd)))
			ret = -EFAULT;
	}
	kvfree(range.extents);
	kvfree(range.hmm_pfns);
	return ret;
}

/* ---- HMM_STRESS_ACCESS ---- */

/**
 * struct hms_access - state of one access
 * @cmd: the user's struct
 * @done: pages accessed
 * @words: what a read found
 */
struct hms_access {
	struct hmm_stress_access cmd;
	DECLARE_BITMAP(done, HMM_STRESS_MAX_PAGES);
	u64 *words;
};

static u64 *hms_slot(void *page, unsigned int slot)
{
	return page + slot * HMM_STRESS_SLOT_SIZE;
}

static void hms_mismatch(struct hms_mirror *mirror, unsigned long index,
			 unsigned int slot, u64 found)
{
	struct hmm_stress_stats *stats = &mirror->stats;

	if (stats->mismatches++)
		return;
	stats->bad_addr = mirror->start + (index << PAGE_SHIFT) +
			  slot * HMM_STRESS_SLOT_SIZE;
	stats->bad_expected = (mirror->ident + index) << HMM_STRESS_GEN_BITS;
	stats->bad_found = found;
	stats->bad_entry = mirror->entries[index];
}

static void hms_read_page(struct hms_mirror *mirror, unsigned long index,
			  void *page, u64 *words)
{
	unsigned int slot;

	for (slot = 0; slot < HMM_STRESS_SLOTS; slot++) {
		words[slot] = READ_ONCE(*hms_slot(page, slot));
		if (words[slot] && words[slot] >> HMM_STRESS_GEN_BITS !=
				   mirror->ident + index)
			hms_mismatch(mirror, index, slot, words[slot]);
	}
	mirror->stats.pages_read++;
}

static void hms_write_page(struct hms_mirror *mirror, unsigned long index,
			   void *page, const struct hmm_stress_access *cmd)
{
	u64 tag = (mirror->ident + index) << HMM_STRESS_GEN_BITS | cmd->gen;

	WRITE_ONCE(*hms_slot(page, cmd->slot), tag);
	mirror->stats.pages_written++;
}

static void hms_access_page(struct hms_mirror *mirror, struct hms_access *access,
			    unsigned long index, unsigned long i)
{
	bool write = access->cmd.flags & HMM_STRESS_WRITE;
	unsigned long entry = mirror->entries[index];
	struct page *page;
	void *addr;

	if (!(entry & (write ? HMM_PFN_WRITE : HMM_PFN_VALID)))
		return;
	page = hmm_pfn_to_page(entry);
	addr = kmap_local_page(page);
	if (write)
		hms_write_page(mirror, index, addr, &access->cmd);
	else
		hms_read_page(mirror, index, addr,
			      access->words + i * HMM_STRESS_SLOTS);
	kunmap_local(addr);
	__set_bit(i, access->done);

	/*
	 * Not set_page_dirty_lock(): reclaim and truncation hold the folio lock
	 * when they call hms_invalidate(). What that lock is for, that the folio
	 * keeps its mapping meanwhile, follows from the update lock: the page is
	 * mapped, and cannot be unmapped before hms_invalidate() had the lock.
	 */
	if (write)
		folio_mark_dirty(page_folio(page));
}

static int hms_access_run(struct hms_mirror *mirror, struct hms_access *access)
{
	struct hmm_stress_access *cmd = &access->cmd;
	unsigned long pages = (cmd->end - cmd->start) >> PAGE_SHIFT;
	unsigned long first = hms_index(mirror, cmd->start);
	size_t bytes = pages * HMM_STRESS_SLOTS * sizeof(*access->words);
	unsigned long i;

	if (!(cmd->flags & HMM_STRESS_WRITE)) {
		access->words = kvzalloc(bytes, GFP_KERNEL);
		if (!access->words)
			return -ENOMEM;
	}

	mutex_lock(&mirror->update_lock);
	for (i = 0; i < pages; i++)
		hms_access_page(mirror, access, first + i, i);
	mutex_unlock(&mirror->update_lock);

	bitmap_to_arr64(cmd->done, access->done, HMM_STRESS_MAX_PAGES);
	if (access->words &&
	    copy_to_user(u64_to_user_ptr(cmd->words), access->words, bytes))
		return -EFAULT;
	return 0;
}

static int hms_access(struct hms_mirror *mirror, void __user *arg)
{
	struct hms_access *access = kzalloc_obj(*access);
	struct hmm_stress_access *cmd;
	int ret;

	if (!access)
		return -ENOMEM;
	cmd = &access->cmd;
	ret = -EFAULT;
	if (copy_from_user(cmd, arg, sizeof(*cmd)))
		goto out;
	ret = -EINVAL;
	if (!hms_part(mirror, cmd->start, cmd->end) ||
	    cmd->flags & ~HMM_STRESS_WRITE || cmd->slot >= HMM_STRESS_SLOTS ||
	    cmd->gen > HMM_STRESS_GEN_MASK)
		goto out;
	/* The pages of stale entries are somebody else's by now. */
	ret = -EPERM;
	if (cmd->flags & HMM_STRESS_WRITE && mirror->broken)
		goto out;

	ret = hms_access_run(mirror, access);
	if (!ret && copy_to_user(arg, cmd, sizeof(*cmd)))
		ret = -EFAULT;
out:
	kvfree(access->words);
	kfree(access);
	return ret;
}

/* ---- the mirror itself ---- */

static void hms_free(struct hms_mirror *mirror)
{
	kvfree(mirror->entries);
	mutex_destroy(&mirror->update_lock);
	kfree(mirror);
}

static void hms_remove(struct hms_mirror *mirror)
{
	mmu_interval_notifier_remove(&mirror->notifier);
	/* Nobody else is left; the references of a broken mirror go. */
	hms_clear(mirror, 0, mirror->pages);
	hms_free(mirror);
}

static int hms_mirror_setup(struct file *file, void __user *arg)
{
	struct hmm_stress_mirror cmd;
	struct hms_mirror *mirror;
	int ret = -ENOMEM;

	if (copy_from_user(&cmd, arg, sizeof(cmd)))
		return -EFAULT;
	if (!PAGE_ALIGNED(cmd.start) || !PAGE_ALIGNED(cmd.end) ||
	    cmd.start >= cmd.end || cmd.reserved ||
	    cmd.flags & ~HMM_STRESS_IGNORE_INVALIDATIONS ||
	    (cmd.end - cmd.start) >> PAGE_SHIFT > HMM_STRESS_MAX_MIRROR)
		return -EINVAL;

	mirror = kzalloc_obj(*mirror);
	if (!mirror)
		return -ENOMEM;
	mutex_init(&mirror->update_lock);
	mirror->start = cmd.start;
	mirror->pages = (cmd.end - cmd.start) >> PAGE_SHIFT;
	mirror->ident = cmd.ident;
	mirror->broken = cmd.flags & HMM_STRESS_IGNORE_INVALIDATIONS;
	mirror->entries = kvcalloc(mirror->pages, sizeof(*mirror->entries),
				   GFP_KERNEL);
	if (mirror->entries)
		ret = mmu_interval_notifier_insert(&mirror->notifier,
						   current->mm, cmd.start,
						   cmd.end - cmd.start,
						   &hms_notifier_ops);
	if (ret) {
		hms_free(mirror);
		return ret;
	}
	if (cmpxchg(&file->private_data, NULL, mirror)) {
		hms_remove(mirror);
		return -EBUSY;
	}
	return 0;
}

static int hms_stats(struct hms_mirror *mirror, void __user *arg)
{
	struct hmm_stress_stats stats;

	mutex_lock(&mirror->update_lock);
	stats = mirror->stats;
	mutex_unlock(&mirror->update_lock);
	return copy_to_user(arg, &stats, sizeof(stats)) ? -EFAULT : 0;
}

static long hms_ioctl(struct file *file, unsigned int code, unsigned long arg)
{
	void __user *uarg = (void __user *)arg;
	struct hms_mirror *mirror;

	if (code == HMM_STRESS_MIRROR)
		return hms_mirror_setup(file, uarg);

	/* Pairs with cmpxchg() in hms_mirror_setup(). */
	mirror = smp_load_acquire(&file->private_data);
	if (!mirror)
		return -ENXIO;
	/* A child has the file as well, but other memory at the same addresses. */
	if (mirror->notifier.mm != current->mm)
		return -EPERM;

	switch (code) {
	case HMM_STRESS_FAULT:
		return hms_fault(mirror, uarg);
	case HMM_STRESS_ACCESS:
		return hms_access(mirror, uarg);
	case HMM_STRESS_STATS:
		return hms_stats(mirror, uarg);
	}
	return -ENOTTY;
}

static int hms_open(struct inode *inode, struct file *file)
{
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	file->private_data = NULL;
	return 0;
}

static int hms_release(struct inode *inode, struct file *file)
{
	if (file->private_data)
		hms_remove(file->private_data);
	return 0;
}

static const struct file_operations hms_fops = {
	.owner = THIS_MODULE,
	.open = hms_open,
	.release = hms_release,
	.unlocked_ioctl = hms_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice hms_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "hmm_stress",
	.fops = &hms_fops,
	.mode = 0600,
};
module_misc_device(hms_device);

MODULE_DESCRIPTION("Mirror of memory through the HMM range API, for stress tests");
MODULE_LICENSE("GPL");
