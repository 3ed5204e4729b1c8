// SPDX-License-Identifier: GPL-2.0
/*
 * Raw range test device: /dev/hmm_range hands user space the arguments of
 * hmm_range_snapshot(), hmm_range_fault() and
 * hmm_range_fault_unlocked_timeout() as they are, and what came out of them.
 * tools/testing/selftests/mm/hmm-range-tests.c is its user.
 *
 * It reports physical page numbers, so its node has mode 0600 and opening it
 * takes CAP_SYS_ADMIN.
 *
 * Locking: each ioctl has a context of its own. Its update lock is the one that
 * the range API asks a driver for: taken by the invalidate callback, and held
 * from the sequence check until the entries are stored in hrt_ctx::stored, which
 * stands for the device page table. It nests inside whatever the invalidating
 * side holds (the mmap lock among others), so nothing that can fault is done
 * under it.
 */
#include <linux/build_bug.h>
#include <linux/capability.h>
#include <linux/compat.h>
#include <linux/fs.h>
#include <linux/hmm.h>
#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/miscdevice.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "test_hmm_range_uapi.h"

/* User space sees entries unchanged: the two headers have to agree. */
static_assert(sizeof(unsigned long) == sizeof(__u64));
static_assert(HMM_RANGE_PFN_VALID == HMM_PFN_VALID);
static_assert(HMM_RANGE_PFN_WRITE == HMM_PFN_WRITE);
static_assert(HMM_RANGE_PFN_ERROR == HMM_PFN_ERROR);
static_assert(HMM_RANGE_REQ_FAULT == HMM_PFN_REQ_FAULT);
static_assert(HMM_RANGE_REQ_WRITE == HMM_PFN_REQ_WRITE);
static_assert(HMM_RANGE_PFN_ORDER_SHIFT == HMM_PFN_ORDER_SHIFT);
static_assert(HMM_RANGE_PFN_MASK == ~HMM_PFN_FLAGS);

/* Without the sticky bits, so that what comes out can be compared exactly. */
#define HRT_POISON	(~(unsigned long)HMM_RANGE_PFN_STICKY)

/* Bounds the retries of the modes that leave them to the caller. */
#define HRT_MAX_TRIES	1000000U

/**
 * struct hrt_ctx - state of one ioctl
 * @notifier: covers what the user asked for in current's mm
 * @update_lock: the driver's update lock of the range API
 * @invalidations: callbacks so far, under @update_lock
 * @range: argument of the call
 * @cmd: the user's struct, results are put in before it goes back
 * @request: input entries, read only once filled in
 * @stored: what the device took over, under @update_lock
 * @pages: entries that the range spans
 */
struct hrt_ctx {
	struct mmu_interval_notifier notifier;
	struct mutex update_lock;	/* sequence check and @stored */
	u64 invalidations;
	struct hmm_range range;
	struct hmm_range_test cmd;
	unsigned long *request;
	unsigned long *stored;
	unsigned long pages;
};

static bool hrt_invalidate(struct mmu_interval_notifier *notifier,
			   const struct mmu_notifier_range *range,
			   unsigned long cur_seq)
{
	struct hrt_ctx *ctx = container_of(notifier, struct hrt_ctx, notifier);

	if (mmu_notifier_range_blockable(range))
		mutex_lock(&ctx->update_lock);
	else if (!mutex_trylock(&ctx->update_lock))
		return false;

	mmu_interval_set_seq(notifier, cur_seq);
	ctx->invalidations++;
	mutex_unlock(&ctx->update_lock);
	return true;
}

static const struct mmu_interval_notifier_ops hrt_notifier_ops = {
	.invalidate = hrt_invalidate,
};

static int hrt_watch(struct hrt_ctx *ctx)
{
	struct hmm_range_test *cmd = &ctx->cmd;
	u64 start = cmd->start;
	u64 length = cmd->end - cmd->start;

	if (cmd->notifier_length) {
		start = cmd->notifier_start;
		length = cmd->notifier_length;
	}
	return mmu_interval_notifier_insert(&ctx->notifier, current->mm, start,
					    length, &hrt_notifier_ops);
}

static int hrt_check(struct hrt_ctx *ctx)
{
	struct hmm_range_test *cmd = &ctx->cmd;

	if (cmd->mode > HMM_RANGE_TEST_FAULT_UNLOCKED ||
	    cmd->flags & ~HMM_RANGE_TEST_POISON || cmd->reserved)
		return -EINVAL;
	if (cmd->flags & HMM_RANGE_TEST_POISON && cmd->pfn_flags_mask)
		return -EINVAL;
	if (!cmd->npfns || cmd->npfns > HMM_RANGE_TEST_MAX_PFNS ||
	    cmd->timeout_ms > HMM_RANGE_TEST_MAX_TIMEOUT_MS)
		return -EINVAL;

	/* An empty or reversed range is for the API to refuse. */
	if (cmd->end > cmd->start) {
		ctx->pages = ((cmd->end - 1) >> PAGE_SHIFT) -
			     (cmd->start >> PAGE_SHIFT) + 1;
		return ctx->pages > cmd->npfns ? -EINVAL : 0;
	}
	return cmd->notifier_length ? 0 : -EINVAL;
}

static int hrt_load_request(struct hrt_ctx *ctx)
{
	struct hmm_range_test *cmd = &ctx->cmd;
	size_t npfns = cmd->npfns;
	size_t i;

	ctx->request = kvcalloc(npfns, sizeof(*ctx->request), GFP_KERNEL);
	ctx->stored = kvcalloc(npfns, sizeof(*ctx->stored), GFP_KERNEL);
	ctx->range.hmm_pfns = kvcalloc(npfns, sizeof(*ctx->range.hmm_pfns),
				       GFP_KERNEL);
	if (!ctx->request || !ctx->stored || !ctx->range.hmm_pfns)
		return -ENOMEM;

	if (cmd->flags & HMM_RANGE_TEST_POISON) {
		for (i = 0; i < npfns; i++)
			ctx->request[i] = HRT_POISON;
	} else if (copy_from_user(ctx->request, u64_to_user_ptr(cmd->pfns),
				  npfns * sizeof(*ctx->request))) {
		return -EFAULT;
	}
	return 0;
}

/* hmm_range_snapshot() and hmm_range_fault() are called with the lock held. */
static int hrt_call_locked(struct hrt_ctx *ctx)
{
	struct hmm_range *range = &ctx->range;
	struct mm_struct *mm = ctx->notifier.mm;
	int ret;

	range->notifier_seq = mmu_interval_read_begin(&ctx->notifier);
	ret = mmap_read_lock_killable(mm);
	if (ret)
		return ret;
	if (ctx->cmd.mode == HMM_RANGE_TEST_SNAPSHOT)
		ret = hmm_range_snapshot(range);
	else
		ret = hmm_range_fault(range);
	mmap_read_unlock(mm);
	return ret;
}

static int hrt_call_once(struct hrt_ctx *ctx)
{
	struct hmm_range *range = &ctx->range;
	unsigned long timeout = msecs_to_jiffies(ctx->cmd.timeout_ms);
	int ret;

	/*
	 * The last try may have replaced requests by results, and those read as
	 * requests that nobody made.
	 */
	memcpy(range->hmm_pfns, ctx->request,
	       ctx->cmd.npfns * sizeof(*range->hmm_pfns));

	if (ctx->cmd.mode == HMM_RANGE_TEST_FAULT_UNLOCKED)
		ret = hmm_range_fault_unlocked_timeout(range, timeout);
	else
		ret = hrt_call_locked(ctx);
	if (ret)
		return ret;

	mutex_lock(&ctx->update_lock);
	if (mmu_interval_read_retry(&ctx->notifier, range->notifier_seq))
		ret = -EBUSY;
	else
		memcpy(ctx->stored, range->hmm_pfns,
		       ctx->cmd.npfns * sizeof(*ctx->stored));
	mutex_unlock(&ctx->update_lock);
	return ret;
}

static void hrt_run(struct hrt_ctx *ctx)
{
	struct hmm_range_test *cmd = &ctx->cmd;
	unsigned long deadline = jiffies + msecs_to_jiffies(cmd->timeout_ms);
	bool retry = cmd->mode != HMM_RANGE_TEST_FAULT_UNLOCKED &&
		     cmd->timeout_ms;
	u64 begin = ktime_get_ns();

	for (cmd->tries = 1;; cmd->tries++) {
		cmd->result = hrt_call_once(ctx);
		if (cmd->result != -EBUSY || !retry ||
		    cmd->tries >= HRT_MAX_TRIES ||
		    time_after(jiffies, deadline))
			break;
		if (fatal_signal_pending(current)) {
			cmd->result = -EINTR;
			break;
		}
		cond_resched();
	}
	cmd->elapsed_ns = ktime_get_ns() - begin;
}

static int hrt_call(struct hrt_ctx *ctx)
{
	struct hmm_range_test *cmd = &ctx->cmd;
	int ret;

	ret = hrt_check(ctx);
	if (ret)
		return ret;
	ret = hrt_load_request(ctx);
	if (ret)
		return ret;
	ret = hrt_watch(ctx);
	if (ret)
		return ret;

	ctx->range.notifier = &ctx->notifier;
	ctx->range.start = cmd->start;
	ctx->range.end = cmd->end;
	ctx->range.default_flags = cmd->default_flags;
	ctx->range.pfn_flags_mask = cmd->pfn_flags_mask;
	hrt_run(ctx);

	/* No callback runs any more after this one, so no lock is needed. */
	mmu_interval_notifier_remove(&ctx->notifier);
	cmd->invalidations = ctx->invalidations;

	if (!cmd->result &&
	    copy_to_user(u64_to_user_ptr(cmd->pfns), ctx->stored,
			 ctx->pages * sizeof(*ctx->stored)))
		return -EFAULT;
	return 0;
}

static long hrt_ioctl(struct file *file, unsigned int code, unsigned long arg)
{
	struct hmm_range_test __user *ucmd = (void __user *)arg;
	struct hrt_ctx *ctx;
	int ret;

	if (code != HMM_RANGE_TEST_CALL)
		return -ENOTTY;

	ctx = kzalloc_obj(*ctx);
	if (!ctx)
		return -ENOMEM;
	mutex_init(&ctx->update_lock);

	ret = -EFAULT;
	if (copy_from_user(&ctx->cmd, ucmd, sizeof(ctx->cmd)))
		goto out;
	ret = hrt_call(ctx);
	if (!ret && copy_to_user(ucmd, &ctx->cmd, sizeof(ctx->cmd)))
		ret = -EFAULT;
out:
	kvfree(ctx->range.hmm_pfns);
	kvfree(ctx->stored);
	kvfree(ctx->request);
	mutex_destroy(&ctx->update_lock);
	kfree(ctx);
	return ret;
}

static int hrt_open(struct inode *inode, struct file *file)
{
	return capable(CAP_SYS_ADMIN) ? 0 : -EPERM;
}

static const struct file_operations hrt_fops = {
	.owner = THIS_MODULE,
	.open = hrt_open,
	.unlocked_ioctl = hrt_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice hrt_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "hmm_range",
	.fops = &hrt_fops,
	.mode = 0600,
};
module_misc_device(hrt_device);

MODULE_DESCRIPTION("Raw access to the HMM range API, for tests");
MODULE_LICENSE("GPL");
