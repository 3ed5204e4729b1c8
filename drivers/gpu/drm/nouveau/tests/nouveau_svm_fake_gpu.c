// SPDX-License-Identifier: MIT
/*
 * A GPU that reports faults and is not there, see nouveau_svm_fake_gpu.h.
 */
#include <linux/jiffies.h>
#include <linux/lockdep.h>
#include <linux/sched.h>

#include <nvif/class.h>
#include <nvif/clb069.h>
#include <nvif/driver.h>
#include <nvif/event.h>
#include <nvif/ifc00d.h>
#include <nvif/if000c.h>
#include <nvif/ioctl.h>
#include <nvif/parent.h>

#include "../nouveau_svm.h"
#include "nouveau_svm_fake_gpu.h"

/* Of the last word of an entry in the fault buffer. */
#define FAULT_VALID		BIT(31)
#define FAULT_ACCESS_SHIFT	16

/* ---- Objects of nvif ---- */

/* The address space is there already: it gets its handle. */
static int gpu_new_vmm(struct nouveau_svm_fake_gpu *gpu, u64 handle,
		       struct nvif_vmm_v0 *args)
{
	const struct nvkm_vmm *vmm = gpu->fake.uvmm->vmm;

	if (gpu->vmm || args->addr != NOUVEAU_SVM_FAKE_HOLE ||
	    args->size != NOUVEAU_SVM_FAKE_HOLE_END - NOUVEAU_SVM_FAKE_HOLE)
		return -EINVAL;
	gpu->vmm = handle;
	args->page_nr = 0;
	while (vmm->func->page[args->page_nr].shift)
		args->page_nr++;
	args->addr = vmm->start;
	args->size = vmm->limit;
	return 0;
}

static int gpu_new(struct nouveau_svm_fake_gpu *gpu,
		   struct nvif_ioctl_new_v0 *new)
{
	struct nvif_clb069_v0 *buffer = (void *)new->data;
	struct nvif_object *object = (void *)(uintptr_t)new->object;

	switch (new->oclass) {
	case NVIF_CLASS_VMM_GP100:
		return gpu_new_vmm(gpu, new->object, (void *)new->data);
	case MAXWELL_FAULT_BUFFER_A:
		buffer->entries = NOUVEAU_SVM_FAKE_ENTRIES;
		buffer->get = NOUVEAU_SVM_FAKE_GET * sizeof(u32);
		buffer->put = NOUVEAU_SVM_FAKE_PUT * sizeof(u32);
		return 0;
	case NVIF_CLASS_EVENT:
		gpu->event = container_of(object, struct nvif_event, object);
		return 0;
	default:
		return -EINVAL;
	}
}

static void gpu_del(struct nouveau_svm_fake_gpu *gpu, u64 object)
{
	if (object == gpu->vmm)
		gpu->vmm = 0;
	if (gpu->event && object == nvif_handle(&gpu->event->object))
		gpu->event = NULL;
}

static int gpu_sclass(struct nvif_ioctl_sclass_v0 *args)
{
	if (args->count)
		args->oclass[0] = (struct nvif_ioctl_sclass_oclass_v0) {
			.oclass = MAXWELL_FAULT_BUFFER_A,
		};
	args->count = 1;
	return 0;
}

/* Methods of the fault event, and of the address space of the driver itself. */
static int gpu_mthd(struct nouveau_svm_fake_gpu *gpu, u64 object, u8 mthd)
{
	if (gpu->event && object == nvif_handle(&gpu->event->object)) {
		gpu->allowed = mthd == NVIF_EVENT_V0_ALLOW;
		return 0;
	}
	switch (mthd) {
	case GP100_VMM_VN_FAULT_REPLAY:
		atomic_inc(&gpu->replays);
		complete(&gpu->replayed);
		return 0;
	case GP100_VMM_VN_FAULT_CANCEL:
		atomic_inc(&gpu->cancels);
		return 0;
	default:
		return -EINVAL;
	}
}

static int gpu_ioctl(void *priv, void *data, u32 size, void **hack)
{
	struct nouveau_svm_fake_gpu *gpu = priv;
	struct nouveau_svm_fake *fake = &gpu->fake;
	struct nvif_ioctl_v0 *ioctl = data;
	struct nvif_ioctl_map_v0 *map = (void *)ioctl->data;
	struct nvif_ioctl_mthd_v0 *mthd = (void *)ioctl->data;

	atomic_inc(&gpu->calls);
	switch (ioctl->type) {
	case NVIF_IOCTL_V0_SCLASS:
		return gpu_sclass((void *)ioctl->data);
	case NVIF_IOCTL_V0_NEW:
		return gpu_new(gpu, (void *)ioctl->data);
	case NVIF_IOCTL_V0_DEL:
		gpu_del(gpu, ioctl->object);
		return 0;
	case NVIF_IOCTL_V0_MTHD:
		if (ioctl->object == gpu->vmm)
			return fake->client.driver->ioctl(fake, data, size,
							  hack);
		return gpu_mthd(gpu, ioctl->object, mthd->method);
	case NVIF_IOCTL_V0_MAP:
		map->type = NVIF_IOCTL_MAP_V0_VA;
		map->handle = (uintptr_t)gpu->buffer;
		map->length = sizeof(gpu->buffer);
		return 0;
	case NVIF_IOCTL_V0_UNMAP:
		return 0;
	default:
		return -EINVAL;
	}
}

static const struct nvif_driver gpu_driver = {
	.name = "svm-fake-gpu",
	.ioctl = gpu_ioctl,
};

/* ---- Life ---- */

/* Whoever calls gets an error, and this is only for people. */
static void gpu_print_error(struct nvif_object *object, const char *fmt, ...)
{
	pr_err("svm fake: %s of %s failed\n", fmt, object->name);
}

static void gpu_print_debug(struct nvif_object *object, const char *fmt, ...)
{
}

static const struct nvif_parent_func gpu_parent = {
	.debugf = gpu_print_debug,
	.errorf = gpu_print_error,
};

/* As much of the driver as nouveau_svm.c looks at. */
static void gpu_init_driver(struct nouveau_svm_fake_gpu *gpu,
			    struct device *dev)
{
	struct nouveau_drm *drm = &gpu->drm;
	struct nouveau_cli *cli = &gpu->cli;

	gpu->client.driver = &gpu_driver;
	gpu->client.object.client = &gpu->client;
	gpu->client.object.priv = gpu;
	gpu->dev.dev = dev;

	nvif_parent_ctor(&gpu_parent, &drm->parent);
	drm->nvkm = &gpu->fake.device;
	drm->dev = &gpu->dev;
	drm->client.drm = drm;
	drm->client.device.info.family = NV_DEVICE_INFO_V0_PASCAL;
	drm->client.device.object.parent = &drm->parent;
	drm->client.device.object.client = &gpu->client;
	drm->client.device.object.map.ptr = (void __iomem __force *)gpu->regs;
	drm->client.vmm.vmm.object.client = &gpu->client;

	cli->drm = drm;
	cli->mmu.object.parent = &drm->parent;
	cli->mmu.object.client = &gpu->client;
	cli->vmm.vmm.object.oclass = NVIF_CLASS_VMM_GP100;
	mutex_init(&cli->mutex);
	gpu->file.driver_priv = cli;
}

/**
 * nouveau_svm_fake_gpu_init() - begin
 * @gpu: the GPU; all of it is overwritten
 * @dev: a device that can do DMA
 *
 * Return: 0 or an error, after which there is nothing to end.
 */
int nouveau_svm_fake_gpu_init(struct nouveau_svm_fake_gpu *gpu,
			      struct device *dev)
{
	int ret;

	memset(gpu, 0, sizeof(*gpu));
	init_completion(&gpu->replayed);
	ret = nouveau_svm_fake_init(&gpu->fake, dev, gp100_vmm_new);
	if (ret)
		return ret;
	gpu_init_driver(gpu, dev);
	nouveau_svm_init(&gpu->drm);
	if (gpu->drm.svm)
		return 0;
	nouveau_svm_fake_fini(&gpu->fake);
	return -ENODEV;
}

/**
 * nouveau_svm_fake_gpu_fini() - end it
 * @gpu: the GPU, which shares no memory any more
 */
void nouveau_svm_fake_gpu_fini(struct nouveau_svm_fake_gpu *gpu)
{
	nouveau_svm_fini(&gpu->drm);
	nouveau_svm_fake_fini(&gpu->fake);
}

/**
 * nouveau_svm_fake_gpu_share() - share the memory of the calling process
 * @gpu: the GPU
 *
 * Return: 0 or an error.
 */
int nouveau_svm_fake_gpu_share(struct nouveau_svm_fake_gpu *gpu)
{
	struct drm_nouveau_svm_init args = {
		.unmanaged_addr = NOUVEAU_SVM_FAKE_HOLE,
		.unmanaged_size = NOUVEAU_SVM_FAKE_HOLE_END -
				  NOUVEAU_SVM_FAKE_HOLE,
	};
	int ret;

	ret = nouveau_svmm_init(&gpu->dev, &args, &gpu->file);
	if (ret)
		return ret;
	ret = nouveau_svmm_join(gpu->cli.svm.svmm, NOUVEAU_SVM_FAKE_INST);
	if (ret)
		nouveau_svm_fake_gpu_unshare(gpu);
	return ret;
}

/**
 * nouveau_svm_fake_gpu_unshare() - share no memory any more
 * @gpu: the GPU
 */
void nouveau_svm_fake_gpu_unshare(struct nouveau_svm_fake_gpu *gpu)
{
	nouveau_svmm_part(gpu->cli.svm.svmm, NOUVEAU_SVM_FAKE_INST);
	nouveau_svmm_fini(&gpu->cli.svm.svmm);
	nvif_vmm_dtor(&gpu->cli.svm.vmm);
	gpu->cli.svm.cli = NULL;
}

/* ---- Faults ---- */

/**
 * nouveau_svm_fake_gpu_fault() - report a fault
 * @gpu: the GPU
 * @inst: of the channel, %NOUVEAU_SVM_FAKE_INST for one that shares memory
 * @addr: where
 * @access: what for
 *
 * Return: 0, or -ENOSPC if the fault buffer is full.
 */
int nouveau_svm_fake_gpu_fault(struct nouveau_svm_fake_gpu *gpu, u64 inst,
			       u64 addr, enum nouveau_svm_fake_access access)
{
	u32 put = gpu->regs[NOUVEAU_SVM_FAKE_PUT];
	u32 next = (put + 1) % NOUVEAU_SVM_FAKE_ENTRIES;
	u32 *entry = gpu->buffer[put];

	if (next == gpu->regs[NOUVEAU_SVM_FAKE_GET])
		return -ENOSPC;
	entry[0] = lower_32_bits(inst);
	entry[1] = upper_32_bits(inst);
	entry[2] = lower_32_bits(addr);
	entry[3] = upper_32_bits(addr);
	entry[4] = 0;
	entry[5] = 0;
	entry[6] = 0;
	entry[7] = FAULT_VALID | access << FAULT_ACCESS_SHIFT;
	gpu->regs[NOUVEAU_SVM_FAKE_PUT] = next;
	return 0;
}

/**
 * nouveau_svm_fake_gpu_interrupt() - have the faults served
 * @gpu: the GPU
 *
 * Unless the driver has blocked interrupts: the faults then stay in the buffer.
 */
void nouveau_svm_fake_gpu_interrupt(struct nouveau_svm_fake_gpu *gpu)
{
	reinit_completion(&gpu->replayed);
	if (gpu->event && gpu->allowed)
		gpu->event->func(gpu->event, NULL, 0);
}

/**
 * nouveau_svm_fake_gpu_wait() - wait for a replay
 * @gpu: the GPU
 * @msecs: how long
 *
 * There is none if all faults are cancelled.
 *
 * Return: whether there was one.
 */
bool nouveau_svm_fake_gpu_wait(struct nouveau_svm_fake_gpu *gpu,
			       unsigned int msecs)
{
	return wait_for_completion_timeout(&gpu->replayed,
					   msecs_to_jiffies(msecs));
}

/**
 * nouveau_svm_fake_gpu_reset() - begin to count anew
 * @gpu: the GPU
 */
void nouveau_svm_fake_gpu_reset(struct nouveau_svm_fake_gpu *gpu)
{
	nouveau_svm_fake_reset(&gpu->fake);
	atomic_set(&gpu->calls, 0);
	atomic_set(&gpu->replays, 0);
	atomic_set(&gpu->cancels, 0);
}
