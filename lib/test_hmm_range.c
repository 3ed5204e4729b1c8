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
 * Locking: hrt_watch::update_lock is the one that the range API asks a driver
 * for: taken by the invalidate callback, and held from the sequence check until
 * the output has been looked at. It nests inside whatever the invalidating side
 * holds (the mmap lock among others), so nothing that can fault is done under
 * it. A watch is either made for one call or belongs to the open file; the
 * latter is set once, under hrt_file::lock, and stays until the file is
 * released. All else belongs to one call.
 */
#include <linux/atomic.h>
#include <linux/build_bug.h>
#include <linux/capability.h>
#include <linux/cleanup.h>
#include <linux/compat.h>
#include <linux/delay.h>
#include <linux/err.h>
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
static_assert(sizeof(struct hmm_extent) ==
	      sizeof(struct hmm_range_test_extent));

/* Without the sticky bits, so that what comes out can be compared exactly. */
#define HRT_POISON	(~(unsigned long)HMM_RANGE_PFN_STICKY)

/* Bounds the retries of the modes that leave them to the caller. */
#define HRT_MAX_TRIES	1000000U

/**
 * struct hrt_watch - an interval notifier with its update lock
 * @notifier: covers what the user asked for in the mm of who made it
 * @update_lock: the driver's update lock of the range API
 * @invalidations: callbacks so far
 * @sleep_ms: how long a callback sleeps
 * @nr_sleeps: how many callbacks still have to
 * @sleeping: callbacks that sleep now
 */
struct hrt_watch {
	struct mmu_interval_notifier notifier;
	struct mutex update_lock;	/* protects the next three members */
	u64 invalidations;
	unsigned int sleep_ms;
	unsigned int nr_sleeps;
	atomic_t sleeping;
};

/**
 * struct hrt_file - state of an open file
 * @lock: protects @watch
 * @watch: set by HMM_RANGE_TEST_WATCH, then constant
 * @holding: threads that hold their mmap lock for HMM_RANGE_TEST_HOLD_MMAP
 */
struct hrt_file {
	struct mutex lock;		/* protects @watch */
	struct hrt_watch *watch;
	atomic_t holding;
};

/**
 * struct hrt_ctx - state of one call
 * @watch: the notifier of the call
 * @range: argument of the call
 * @cmd: the user's struct, results are put in before it goes back
 * @request: input entries, read only once filled in; NULL with no pfn array
 * @runs: what hmm_range_next_run() found
 * @pages: entries that the range spans, 0 with no pfn array
 */
struct hrt_ctx {
	struct hrt_watch *watch;
	struct hmm_range range;
	struct hmm_range_test cmd;
	unsigned long *request;
	struct hmm_extent *runs;
	unsigned long pages;
};

/* ---- notifiers ---- */

/* Without the update lock, so that calls find out what is going on. */
static void hrt_sleep(struct hrt_watch *watch)
{
	/* Who is being killed need not wait for what is only a test. */
	if (fatal_signal_pending(current))
		return;
	atomic_inc(&watch->sleeping);
	schedule_timeout_killable(msecs_to_jiffies(watch->sleep_ms));
	atomic_dec(&watch->sleeping);
}

static bool hrt_invalidate(struct mmu_interval_notifier *notifier,
			   const struct mmu_notifier_range *range,
			   unsigned long cur_seq)
{
	struct hrt_watch *watch = container_of(notifier, struct hrt_watch,
					       notifier);
	bool sleep = false;

	if (mmu_notifier_range_blockable(range))
		mutex_lock(&watch->update_lock);
	else if (!mutex_trylock(&watch->update_lock))
		return false;

	mmu_interval_set_seq(notifier, cur_seq);
	watch->invalidations++;
	if (watch->nr_sleeps && mmu_notifier_range_blockable(range)) {
		watch->nr_sleeps--;
		sleep = true;
	}
	mutex_unlock(&watch->update_lock);

	if (sleep)
		hrt_sleep(watch);
	return true;
}

static const struct mmu_interval_notifier_ops hrt_notifier_ops = {
	.invalidate = hrt_invalidate,
};

/* Covers @length bytes from @start in current's mm, until hrt_watch_free(). */
static struct hrt_watch *hrt_watch_new(u64 start, u64 length,
				       unsigned int sleep_ms,
				       unsigned int nr_sleeps)
{
	struct hrt_watch *watch = kzalloc_obj(*watch);
	int ret;

	if (!watch)
		return ERR_PTR(-ENOMEM);
	mutex_init(&watch->update_lock);
	watch->sleep_ms = sleep_ms;
	watch->nr_sleeps = nr_sleeps;
	ret = mmu_interval_notifier_insert(&watch->notifier, current->mm, start,
					   length, &hrt_notifier_ops);
	if (!ret)
		return watch;

	mutex_destroy(&watch->update_lock);
	kfree(watch);
	return ERR_PTR(ret);
}

/* Waits for callbacks that are running. */
static void hrt_watch_free(struct hrt_watch *watch)
{
	mmu_interval_notifier_remove(&watch->notifier);
	mutex_destroy(&watch->update_lock);
	kfree(watch);
}

static u64 hrt_watch_count(struct hrt_watch *watch)
{
	guard(mutex)(&watch->update_lock);
	return watch->invalidations;
}

/* The open file's watch, which stays as long as the file; or NULL. */
static struct hrt_watch *hrt_file_watch(struct hrt_file *hf)
{
	guard(mutex)(&hf->lock);
	return hf->watch;
}

/* ---- one call ---- */

static int hrt_check_pfns(struct hrt_ctx *ctx)
{
	struct hmm_range_test *cmd = &ctx->cmd;

	if (cmd->flags & HMM_RANGE_TEST_NO_PFNS)
		return cmd->npfns || cmd->flags & (HMM_RANGE_TEST_POISON |
						   HMM_RANGE_TEST_RUNS) ?
			-EINVAL : 0;
	if (cmd->flags & HMM_RANGE_TEST_POISON && cmd->pfn_flags_mask)
		return -EINVAL;
	if (!cmd->npfns || cmd->npfns > HMM_RANGE_TEST_MAX_PFNS)
		return -EINVAL;

	/* An empty or reversed range is for the API to refuse. */
	if (cmd->end > cmd->start)
		ctx->pages = ((cmd->end - 1) >> PAGE_SHIFT) -
			     (cmd->start >> PAGE_SHIFT) + 1;
	return ctx->pages > cmd->npfns ? -EINVAL : 0;
}

static int hrt_check(struct hrt_ctx *ctx)
{
	struct hmm_range_test *cmd = &ctx->cmd;

	if (cmd->mode > HMM_RANGE_TEST_FAULT_UNLOCKED ||
	    cmd->flags & ~HMM_RANGE_TEST_FLAGS ||
	    cmd->reserved || cmd->reserved2)
		return -EINVAL;
	if (cmd->timeout_ms > HMM_RANGE_TEST_MAX_TIMEOUT_MS ||
	    cmd->max_extents > HMM_RANGE_TEST_MAX_EXTENTS ||
	    cmd->max_runs > HMM_RANGE_TEST_MAX_EXTENTS)
		return -EINVAL;
	return hrt_check_pfns(ctx);
}

static int hrt_load_request(struct hrt_ctx *ctx)
{
	struct hmm_range_test *cmd = &ctx->cmd;
	size_t npfns = cmd->npfns;
	size_t i;

	ctx->request = kvcalloc(npfns, sizeof(*ctx->request), GFP_KERNEL);
	ctx->range.hmm_pfns = kvcalloc(npfns, sizeof(*ctx->range.hmm_pfns),
				       GFP_KERNEL);
	if (!ctx->request || !ctx->range.hmm_pfns)
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

/* Never empty, so that a size of 0 reaches the API together with an array. */
static struct hmm_extent *hrt_alloc_extents(size_t n)
{
	return kvcalloc(max_t(size_t, n, 1), sizeof(struct hmm_extent),
			GFP_KERNEL);
}

static int hrt_load(struct hrt_ctx *ctx)
{
	struct hmm_range_test *cmd = &ctx->cmd;
	struct hmm_range *range = &ctx->range;

	range->start = cmd->start;
	range->end = cmd->end;
	range->default_flags = cmd->default_flags;
	range->pfn_flags_mask = cmd->pfn_flags_mask;
	range->max_extents = cmd->max_extents;
	range->partial = cmd->flags & HMM_RANGE_TEST_PARTIAL;
	if (cmd->extents) {
		range->extents = hrt_alloc_extents(cmd->max_extents);
		if (!range->extents)
			return -ENOMEM;
	}
	if (cmd->flags & HMM_RANGE_TEST_RUNS) {
		ctx->runs = hrt_alloc_extents(cmd->max_runs);
		if (!ctx->runs)
			return -ENOMEM;
	}
	return cmd->npfns ? hrt_load_request(ctx) : 0;
}

/* hmm_range_snapshot() and hmm_range_fault() are called with the lock held. */
static int hrt_call_locked(struct hrt_ctx *ctx)
{
	struct hmm_range *range = &ctx->range;
	struct mm_struct *mm = range->notifier->mm;
	int ret;

	range->notifier_seq = mmu_interval_read_begin(range->notifier);
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

/* Under the update lock, as a driver goes through what it has got. */
static int hrt_find_runs(struct hrt_ctx *ctx)
{
	struct hmm_range_test *cmd = &ctx->cmd;
	struct hmm_extent run = { };

	cmd->nr_runs = 0;
	while (hmm_range_next_run(&ctx->range, &run)) {
		if (cmd->nr_runs == ctx->pages)
			return -EIO;
		if (cmd->nr_runs < cmd->max_runs)
			ctx->runs[cmd->nr_runs] = run;
		cmd->nr_runs++;
	}
	return 0;
}

static int hrt_take_over(struct hrt_ctx *ctx)
{
	struct hmm_range *range = &ctx->range;

	guard(mutex)(&ctx->watch->update_lock);
	if (mmu_interval_read_retry(range->notifier, range->notifier_seq))
		return -EBUSY;
	return ctx->cmd.flags & HMM_RANGE_TEST_RUNS ? hrt_find_runs(ctx) : 0;
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
	if (ctx->request)
		memcpy(range->hmm_pfns, ctx->request,
		       ctx->cmd.npfns * sizeof(*range->hmm_pfns));
	/* Values that a call cannot mean, to see that it sets them. */
	range->nr_extents = UINT_MAX;
	range->next = ULONG_MAX;
	range->error = INT_MAX;

	if (ctx->cmd.mode == HMM_RANGE_TEST_FAULT_UNLOCKED)
		ret = hmm_range_fault_unlocked_timeout(range, timeout);
	else
		ret = hrt_call_locked(ctx);
	return ret ? ret : hrt_take_over(ctx);
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

/* The notifier that the user named, that of the file or one for the range. */
static struct hrt_watch *hrt_watch_get(struct hrt_file *hf, struct hrt_ctx *ctx)
{
	struct hmm_range_test *cmd = &ctx->cmd;
	struct hrt_watch *watch = hrt_file_watch(hf);

	if (cmd->notifier_length)
		return hrt_watch_new(cmd->notifier_start, cmd->notifier_length,
				     0, 0);
	if (watch)
		return watch->notifier.mm == current->mm ? watch :
							   ERR_PTR(-EINVAL);
	if (cmd->end <= cmd->start)
		return ERR_PTR(-EINVAL);
	return hrt_watch_new(cmd->start, cmd->end - cmd->start, 0, 0);
}

static void hrt_watch_put(struct hrt_file *hf, struct hrt_watch *watch)
{
	if (watch != hrt_file_watch(hf))
		hrt_watch_free(watch);
}

static int hrt_call(struct hrt_file *hf, struct hrt_ctx *ctx)
{
	struct hmm_range_test *cmd = &ctx->cmd;
	struct hrt_watch *watch = hrt_watch_get(hf, ctx);

	if (IS_ERR(watch))
		return PTR_ERR(watch);
	ctx->watch = watch;
	ctx->range.notifier = &watch->notifier;
	cmd->invalidations = hrt_watch_count(watch);
	hrt_run(ctx);
	cmd->invalidations = hrt_watch_count(watch) - cmd->invalidations;
	cmd->next = ctx->range.next;
	cmd->nr_extents = ctx->range.nr_extents;
	cmd->error = ctx->range.error;
	hrt_watch_put(hf, watch);
	return 0;
}

static int hrt_put_extents(u64 to, const struct hmm_extent *extents, size_t n)
{
	return copy_to_user(u64_to_user_ptr(to), extents,
			    n * sizeof(*extents)) ? -EFAULT : 0;
}

/* The arrays go back only after success. */
static int hrt_put_arrays(const struct hrt_ctx *ctx)
{
	const struct hmm_range_test *cmd = &ctx->cmd;
	int ret = 0;

	if (cmd->result)
		return 0;
	if (cmd->extents && cmd->nr_extents > cmd->max_extents)
		return -EIO;
	if (ctx->pages && copy_to_user(u64_to_user_ptr(cmd->pfns),
				       ctx->range.hmm_pfns,
				       ctx->pages * sizeof(unsigned long)))
		return -EFAULT;
	if (cmd->extents)
		ret = hrt_put_extents(cmd->extents, ctx->range.extents,
				      cmd->nr_extents);
	if (!ret && cmd->flags & HMM_RANGE_TEST_RUNS)
		ret = hrt_put_extents(cmd->runs, ctx->runs,
				      min(cmd->nr_runs, cmd->max_runs));
	return ret;
}

static int hrt_ioctl_call(struct hrt_file *hf, struct hmm_range_test __user *ucmd)
{
	struct hrt_ctx *ctx = kzalloc_obj(*ctx);
	int ret;

	if (!ctx)
		return -ENOMEM;

	ret = -EFAULT;
	if (copy_from_user(&ctx->cmd, ucmd, sizeof(ctx->cmd)))
		goto out;
	ret = hrt_check(ctx);
	if (!ret)
		ret = hrt_load(ctx);
	if (!ret)
		ret = hrt_call(hf, ctx);
	if (!ret)
		ret = hrt_put_arrays(ctx);
	if (!ret && copy_to_user(ucmd, &ctx->cmd, sizeof(ctx->cmd)))
		ret = -EFAULT;
out:
	kvfree(ctx->range.hmm_pfns);
	kvfree(ctx->range.extents);
	kvfree(ctx->runs);
	kvfree(ctx->request);
	kfree(ctx);
	return ret;
}

/* ---- the open file ---- */

static int hrt_ioctl_watch(struct hrt_file *hf,
			   struct hmm_range_test_watch __user *ucmd)
{
	struct hmm_range_test_watch cmd;
	struct hrt_watch *watch;

	if (copy_from_user(&cmd, ucmd, sizeof(cmd)))
		return -EFAULT;
	if (cmd.invalidate_sleep_ms > HMM_RANGE_TEST_MAX_SLEEP_MS)
		return -EINVAL;

	guard(mutex)(&hf->lock);
	if (hf->watch)
		return -EBUSY;
	watch = hrt_watch_new(cmd.start, cmd.length, cmd.invalidate_sleep_ms,
			      cmd.nr_sleeps);
	if (IS_ERR(watch))
		return PTR_ERR(watch);
	hf->watch = watch;
	return 0;
}

static int hrt_ioctl_status(struct hrt_file *hf,
			    struct hmm_range_test_status __user *ucmd)
{
	struct hrt_watch *watch = hrt_file_watch(hf);
	struct hmm_range_test_status status = {
		.holding = atomic_read(&hf->holding),
	};

	if (watch) {
		status.invalidations = hrt_watch_count(watch);
		status.sleeping = atomic_read(&watch->sleeping);
	}
	return copy_to_user(ucmd, &status, sizeof(status)) ? -EFAULT : 0;
}

static int hrt_ioctl_hold_mmap(struct hrt_file *hf, unsigned long ms)
{
	struct mm_struct *mm = current->mm;
	int ret;

	if (ms > HMM_RANGE_TEST_MAX_SLEEP_MS)
		return -EINVAL;
	ret = mmap_write_lock_killable(mm);
	if (ret)
		return ret;
	atomic_inc(&hf->holding);
	if (schedule_timeout_interruptible(msecs_to_jiffies(ms)))
		ret = -EINTR;
	atomic_dec(&hf->holding);
	mmap_write_unlock(mm);
	return ret;
}

static long hrt_ioctl(struct file *file, unsigned int code, unsigned long arg)
{
	struct hrt_file *hf = file->private_data;
	void __user *uarg = (void __user *)arg;

	switch (code) {
	case HMM_RANGE_TEST_CALL:
		return hrt_ioctl_call(hf, uarg);
	case HMM_RANGE_TEST_WATCH:
		return hrt_ioctl_watch(hf, uarg);
	case HMM_RANGE_TEST_STATUS:
		return hrt_ioctl_status(hf, uarg);
	case HMM_RANGE_TEST_HOLD_MMAP:
		return hrt_ioctl_hold_mmap(hf, arg);
	default:
		return -ENOTTY;
	}
}

static int hrt_open(struct inode *inode, struct file *file)
{
	struct hrt_file *hf;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	hf = kzalloc_obj(*hf);
	if (!hf)
		return -ENOMEM;
	mutex_init(&hf->lock);
	file->private_data = hf;
	return 0;
}

static int hrt_release(struct inode *inode, struct file *file)
{
	struct hrt_file *hf = file->private_data;

	if (hf->watch)
		hrt_watch_free(hf->watch);
	mutex_destroy(&hf->lock);
	kfree(hf);
	return 0;
}

static const struct file_operations hrt_fops = {
	.owner = THIS_MODULE,
	.open = hrt_open,
	.release = hrt_release,
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
