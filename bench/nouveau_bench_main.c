// SPDX-License-Identifier: GPL-2.0
/*
 * Benchmark device: /dev/nouveau_bench is a GPU that is not there, which shares the
 * memory of the process that has it open and reports faults. nouveau-bench is its
 * user. Built out of tree against the base and against the series, together with
 * the files of nouveau from the fault handler down to the page tables (see
 * harness/bench). Below that is the fake of nouveau's KUnit tests.
 *
 * The time is the CPU's time stamp counter, which counts instructions in the guests
 * of "make bench". It goes from the interrupt to the replay: that is how long the
 * GPU waits.
 *
 * Locking: bench_file::lock is held for the length of each ioctl.
 */
#include <linux/capability.h>
#include <linux/cleanup.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/timex.h>
#include <linux/uaccess.h>

#include <nvif/if000c.h>

#include "tests/nouveau_svm_fake_gpu.h"
#include "nouveau_bench_uapi.h"

#define BENCH_TIMEOUT	60000	/* ms; the clock is as slow as instructions are */

/* Prime to any number of faults: a GPU reports them in no order. */
#define BENCH_DISORDER	1009

#ifdef NVIF_VMM_V0_SVMMAP
#define BENCH_MAP	NVIF_VMM_V0_SVMMAP
#else
#define BENCH_MAP	NVIF_VMM_V0_PFNMAP
#endif

struct bench_file {
	struct mutex lock;	/* @gpu, one call at a time */
	struct nouveau_svm_fake_gpu gpu;
};

static struct platform_device *bench_pdev;

static void bench_look(struct nouveau_svm_fake_gpu *gpu,
		       struct nouveau_bench_call *call)
{
	u64 size;
	u32 i;

	call->calls = atomic_read(&gpu->calls);
	call->maps = nouveau_svm_fake_calls(&gpu->fake, BENCH_MAP);
	call->flushes = atomic_read(&gpu->fake.flushes);
	call->mapped = 0;
	call->large = 0;
	for (i = 0; i < call->faults; i++) {
		if (!nouveau_svm_fake_entry(&gpu->fake,
					    call->start + i * call->stride,
					    &size))
			continue;
		call->mapped++;
		call->large += size > PAGE_SIZE;
	}
}

static int bench_fault(struct nouveau_svm_fake_gpu *gpu,
		       struct nouveau_bench_call *call)
{
	cycles_t begin;
	int ret;
	u32 i;

	for (i = 0; i < call->faults; i++) {
		u64 n = i * BENCH_DISORDER % call->faults;

		ret = nouveau_svm_fake_gpu_fault(gpu, NOUVEAU_SVM_FAKE_INST,
						 call->start + n * call->stride,
						 call->write ?
						 NOUVEAU_SVM_FAKE_WRITE :
						 NOUVEAU_SVM_FAKE_READ);
		if (ret)
			return ret;
	}
	nouveau_svm_fake_gpu_reset(gpu);

	begin = get_cycles();
	nouveau_svm_fake_gpu_interrupt(gpu);
	if (!nouveau_svm_fake_gpu_wait(gpu, BENCH_TIMEOUT))
		return -ETIMEDOUT;
	call->cycles = get_cycles() - begin;
	return atomic_read(&gpu->cancels) ? -EFAULT : 0;
}

static long bench_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct bench_file *bf = file->private_data;
	void __user *user = (void __user *)arg;
	struct nouveau_bench_call call;
	int ret = 0;

	if (cmd != NOUVEAU_BENCH_FAULT && cmd != NOUVEAU_BENCH_LOOK)
		return -ENOTTY;
	if (copy_from_user(&call, user, sizeof(call)))
		return -EFAULT;
	if (!call.faults || call.faults > NOUVEAU_BENCH_MAX_FAULTS)
		return -EINVAL;

	call.cycles = 0;
	scoped_guard(mutex, &bf->lock) {
		if (cmd == NOUVEAU_BENCH_FAULT)
			ret = bench_fault(&bf->gpu, &call);
		if (!ret)
			bench_look(&bf->gpu, &call);
	}
	if (!ret && copy_to_user(user, &call, sizeof(call)))
		ret = -EFAULT;
	return ret;
}

static int bench_open(struct inode *inode, struct file *file)
{
	struct bench_file *bf;
	int ret;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	bf = kvzalloc_obj(*bf);
	if (!bf)
		return -ENOMEM;
	mutex_init(&bf->lock);
	ret = nouveau_svm_fake_gpu_init(&bf->gpu, &bench_pdev->dev);
	if (ret)
		goto out_free;
	ret = nouveau_svm_fake_gpu_share(&bf->gpu);
	if (ret)
		goto out_fini;
	file->private_data = bf;
	return nonseekable_open(inode, file);

out_fini:
	nouveau_svm_fake_gpu_fini(&bf->gpu);
out_free:
	kvfree(bf);
	return ret;
}

static int bench_release(struct inode *inode, struct file *file)
{
	struct bench_file *bf = file->private_data;

	nouveau_svm_fake_gpu_unshare(&bf->gpu);
	nouveau_svm_fake_gpu_fini(&bf->gpu);
	kvfree(bf);
	return 0;
}

static const struct file_operations bench_fops = {
	.owner = THIS_MODULE,
	.open = bench_open,
	.release = bench_release,
	.unlocked_ioctl = bench_ioctl,
};

static struct miscdevice bench_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "nouveau_bench",
	.mode = 0600,
	.fops = &bench_fops,
};

static int __init bench_init(void)
{
	int ret;

	bench_pdev = platform_device_register_simple("nouveau_bench",
						     PLATFORM_DEVID_NONE, NULL,
						     0);
	if (IS_ERR(bench_pdev))
		return PTR_ERR(bench_pdev);
	ret = misc_register(&bench_device);
	if (ret)
		platform_device_unregister(bench_pdev);
	return ret;
}
module_init(bench_init);

static void __exit bench_exit(void)
{
	misc_deregister(&bench_device);
	mmu_notifier_synchronize();
	platform_device_unregister(bench_pdev);
}
module_exit(bench_exit);

MODULE_DESCRIPTION("Benchmark of nouveau SVM");
MODULE_LICENSE("GPL");
