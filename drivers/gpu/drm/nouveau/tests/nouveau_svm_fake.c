// SPDX-License-Identifier: MIT
/*
 * A GPU that is not there, see nouveau_svm_fake.h.
 */
#include <linux/device.h>
#include <linux/dma-mapping.h>
#include <linux/overflow.h>
#include <linux/slab.h>
#include <linux/stddef.h>

#include <nvif/driver.h>
#include <nvif/ifc00d.h>
#include <nvif/ioctl.h>

#include "nouveau_svm_fake.h"

/* Something that neither a driver nor a test should have brought about. */
static __printf(2, 3) void fake_error(struct nouveau_svm_fake *fake,
				      const char *fmt, ...)
{
	struct va_format vaf = { .fmt = fmt };
	va_list args;

	atomic_inc(&fake->errors);
	va_start(args, fmt);
	vaf.va = &args;
	dev_err_ratelimited(fake->dev, "svm fake: %pV", &vaf);
	va_end(args);
}

/* ---- Memory ---- */

/**
 * struct fake_memory - memory that nvkm makes page tables in
 * @obj: what nvkm has
 * @fake: whose memory it is
 * @index: its address in MiB
 * @size: in bytes
 * @kmaps: how many times it is mapped for the CPU
 * @data: what is in it
 */
struct fake_memory {
	struct nvkm_instobj obj;
	struct nouveau_svm_fake *fake;
	unsigned long index;
	u32 size;
	atomic_t kmaps;
	u8 data[] __aligned(8);
};

static struct fake_memory *fake_memory(struct nvkm_memory *memory)
{
	return container_of(memory, struct fake_memory, obj.memory);
}

static void *fake_memory_dtor(struct nvkm_memory *memory)
{
	struct fake_memory *mem = fake_memory(memory);

	if (atomic_read(&mem->kmaps))
		fake_error(mem->fake, "memory is freed while it is mapped\n");
	xa_erase(&mem->fake->memories, mem->index);
	mem->fake->nr_memories--;
	return mem;
}

static enum nvkm_memory_target fake_memory_target(struct nvkm_memory *memory)
{
	return NVKM_MEM_TARGET_VRAM;
}

static u64 fake_memory_addr(struct nvkm_memory *memory)
{
	return (u64)fake_memory(memory)->index * SZ_1M;
}

static u64 fake_memory_size(struct nvkm_memory *memory)
{
	return fake_memory(memory)->size;
}

static void __iomem *fake_memory_acquire(struct nvkm_memory *memory)
{
	struct fake_memory *mem = fake_memory(memory);

	if (atomic_inc_return(&mem->kmaps) == 1)
		atomic_inc(&mem->fake->kmaps);
	return (void __iomem __force *)mem->data;
}

static void fake_memory_release(struct nvkm_memory *memory)
{
	atomic_dec(&fake_memory(memory)->kmaps);
}

/* What is accessed at @offset, or a place where it does no harm. */
static u32 *fake_memory_at(struct nvkm_memory *memory, u64 offset)
{
	struct fake_memory *mem = fake_memory(memory);

	if (!atomic_read(&mem->kmaps))
		fake_error(mem->fake, "memory is accessed and not mapped\n");
	if (offset % 4 || offset >= mem->size) {
		fake_error(mem->fake, "memory has no offset %llx\n", offset);
		offset = 0;
	}
	return (u32 *)(mem->data + offset);
}

static u32 fake_memory_rd32(struct nvkm_memory *memory, u64 offset)
{
	atomic_inc(&fake_memory(memory)->fake->reads);
	return *fake_memory_at(memory, offset);
}

static void fake_memory_wr32(struct nvkm_memory *memory, u64 offset, u32 data)
{
	*fake_memory_at(memory, offset) = data;
}

static const struct nvkm_memory_func fake_memory_func = {
	.dtor = fake_memory_dtor,
	.target = fake_memory_target,
	.addr = fake_memory_addr,
	.size = fake_memory_size,
	.acquire = fake_memory_acquire,
	.release = fake_memory_release,
};

static const struct nvkm_memory_ptrs fake_memory_ptrs = {
	.rd32 = fake_memory_rd32,
	.wr32 = fake_memory_wr32,
};

static int fake_memory_new(struct nvkm_instmem *imem, u32 size, u32 align,
			   bool zero, struct nvkm_memory **pmemory)
{
	struct nouveau_svm_fake *fake =
		container_of(imem, struct nouveau_svm_fake, imem);
	struct fake_memory *mem;

	if (!fake->memory_left)
		return -ENOMEM;
	mem = kzalloc_flex(*mem, data, size);
	if (!mem)
		return -ENOMEM;
	nvkm_memory_ctor(&fake_memory_func, &mem->obj.memory);
	mem->obj.memory.ptrs = &fake_memory_ptrs;
	mem->fake = fake;
	mem->size = size;
	mem->index = fake->last_memory + 1;
	if (xa_err(xa_store(&fake->memories, mem->index, mem, GFP_KERNEL))) {
		kfree(mem);
		return -ENOMEM;
	}
	fake->memory_left--;
	fake->last_memory++;
	fake->nr_memories++;
	*pmemory = &mem->obj.memory;
	return 0;
}

static const struct nvkm_instmem_func fake_imem_func = {
	.memory_new = fake_memory_new,
	.zero = true,
};

/* ---- The address space ---- */

static struct nouveau_svm_fake *fake_of_device(struct nvkm_device *device)
{
	return container_of(device, struct nouveau_svm_fake, device);
}

static void fake_flush(struct nvkm_vmm *vmm, int depth)
{
	atomic_inc(&fake_of_device(vmm->mmu->subdev.device)->flushes);
}

/* Replay and cancel: they have been counted. */
static int fake_mthd(struct nvkm_vmm *vmm, struct nvkm_client *client, u32 mthd,
		     void *argv, u32 argc)
{
	return 0;
}

/* That of a GPU that exists, without what needs its registers. */
static int fake_vmm_new(struct nvkm_mmu *mmu, bool managed, u64 addr, u64 size,
			void *argv, u32 argc, struct lock_class_key *key,
			const char *name, struct nvkm_vmm **pvmm)
{
	struct nouveau_svm_fake *fake = fake_of_device(mmu->subdev.device);
	const struct nvkm_vmm_func *func;
	size_t pages;
	int ret;

	ret = fake->vmm_new(mmu, managed, addr, size, argv, argc, key, name,
			    pvmm);
	if (ret)
		return ret;

	func = (*pvmm)->func;
	for (pages = 0; func->page[pages].shift;)
		pages++;
	fake->vmm_func = kmemdup(func, struct_size(func, page, pages + 1),
				 GFP_KERNEL);
	if (!fake->vmm_func)
		return -ENOMEM;
	fake->vmm_func->flush = fake_flush;
	fake->vmm_func->mthd = fake_mthd;
	(*pvmm)->func = fake->vmm_func;
	return 0;
}

static int fake_uvmm_new(struct nouveau_svm_fake *fake)
{
	struct {
		struct nvif_vmm_v0 vmm;
		struct gp100_vmm_v0 gp100;
	} args = {
		.vmm.type = NVIF_VMM_V0_TYPE_MANAGED,
		.vmm.addr = NOUVEAU_SVM_FAKE_HOLE,
		.vmm.size = NOUVEAU_SVM_FAKE_HOLE_END - NOUVEAU_SVM_FAKE_HOLE,
		.gp100.fault_replay = 1,
	};
	const struct nvkm_oclass oclass = {
		.client = &fake->nvkm,
		.parent = &fake->ummu.object,
	};
	struct nvkm_object *object = NULL;
	int ret;

	ret = nvkm_uvmm_new(&oclass, &args, offsetofend(typeof(args), gp100),
			    &object);
	if (ret)
		nvkm_object_del(&object);
	else
		fake->uvmm = nvkm_uvmm(object);
	return ret;
}

/* ---- Below nvif ---- */

static int fake_ioctl(void *priv, void *data, u32 size, void **hack)
{
	struct nouveau_svm_fake *fake = priv;
	struct nvif_ioctl_v0 *ioctl = data;
	struct nvif_ioctl_mthd_v0 *mthd = (void *)ioctl->data;
	const u32 head = sizeof(*ioctl) + sizeof(*mthd);
	int ret = 0;

	if (ioctl->type != NVIF_IOCTL_V0_MTHD) {
		if (fake->ioctl)
			return fake->ioctl(fake, data, size);
		fake_error(fake, "no object to call by %u\n", ioctl->type);
		return -ENODEV;
	}
	if (size < head) {
		fake_error(fake, "call of %u bytes\n", size);
		return -EINVAL;
	}
	atomic_inc(&fake->calls[mthd->method]);
	if (fake->hook)
		ret = fake->hook(fake, mthd->method);
	if (ret)
		return ret;
	return nvkm_object_mthd(&fake->uvmm->object, mthd->method, mthd->data,
				size - head);
}

static const struct nvif_driver fake_driver = {
	.name = "svm-fake",
	.ioctl = fake_ioctl,
};

/* ---- Life ---- */

/**
 * nouveau_svm_fake_init() - begin
 * @fake: the fake; all of it is overwritten
 * @dev: a device, which is made to do DMA as a GPU does
 * @vmm_new: constructor of the address space of a GPU from GP100 on
 *
 * Return: 0, -EIO if the device cannot do that, or -ENOMEM. On error there is
 * nothing to end.
 */
int nouveau_svm_fake_init(struct nouveau_svm_fake *fake, struct device *dev,
			  nouveau_svm_fake_vmm_new vmm_new)
{
	int ret;

	ret = dma_coerce_mask_and_coherent(dev, DMA_BIT_MASK(47));
	if (ret)
		return ret;
	memset(fake, 0, sizeof(*fake));
	fake->dev = dev;
	fake->memory_left = UINT_MAX;
	fake->vmm_new = vmm_new;
	fake->mmu_func.vmm.ctor = fake_vmm_new;
	xa_init(&fake->memories);
	spin_lock_init(&fake->nvkm.obj_lock);

	fake->device.dev = dev;
	INIT_LIST_HEAD(&fake->device.subdev);
	fake->imem.func = &fake_imem_func;
	fake->imem.subdev.device = &fake->device;
	fake->device.imem = &fake->imem;

	fake->client.driver = &fake_driver;
	fake->client.object.client = &fake->client;
	fake->client.object.priv = fake;
	fake->vmm.client = &fake->client;

	ret = nvkm_mmu_new_(&fake->mmu_func, &fake->device, NVKM_SUBDEV_MMU, 0,
			    &fake->ummu.mmu);
	if (!ret)
		ret = fake_uvmm_new(fake);
	if (ret)
		nouveau_svm_fake_fini(fake);
	return ret;
}

/**
 * nouveau_svm_fake_fini() - end it
 * @fake: the fake, of which nothing is in use any more
 *
 * What is counted can be read after that. @fake->nr_memories is 0 if nvkm has not
 * leaked any.
 */
void nouveau_svm_fake_fini(struct nouveau_svm_fake *fake)
{
	struct nvkm_object *object = fake->uvmm ? &fake->uvmm->object : NULL;
	struct nvkm_subdev *subdev = NULL;

	nvkm_object_del(&object);
	fake->uvmm = NULL;
	kfree(fake->vmm_func);
	fake->vmm_func = NULL;
	if (fake->ummu.mmu) {
		nvkm_mmu_ptc_dump(fake->ummu.mmu);
		subdev = &fake->ummu.mmu->subdev;
	}
	nvkm_subdev_del(&subdev);
	fake->ummu.mmu = NULL;
	if (fake->nr_memories)
		fake_error(fake, "%u page tables leaked\n", fake->nr_memories);
	xa_destroy(&fake->memories);
}

/**
 * nouveau_svm_fake_reset() - begin to count anew
 * @fake: the fake
 *
 * Errors of the fake itself stay.
 */
void nouveau_svm_fake_reset(struct nouveau_svm_fake *fake)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(fake->calls); i++)
		atomic_set(&fake->calls[i], 0);
	atomic_set(&fake->flushes, 0);
	atomic_set(&fake->kmaps, 0);
	atomic_set(&fake->reads, 0);
}

/* ---- What a GPU would see ---- */

static u64 fake_read64(struct nouveau_svm_fake *fake, u64 addr)
{
	struct fake_memory *mem = xa_load(&fake->memories, addr / SZ_1M);
	u64 offset = addr % SZ_1M;

	if (!mem || offset + sizeof(u64) > mem->size) {
		fake_error(fake, "no page table at %llx\n", addr);
		return 0;
	}
	return READ_ONCE(*(u64 *)(mem->data + offset));
}

/* Where a PDE points to, 0 if nowhere. */
static u64 fake_pde(u64 pde)
{
	return pde & GP100_PTE_APERTURE ? (pde & GP100_PTE_ADDRESS) << 4 : 0;
}

/**
 * nouveau_svm_fake_entry() - look into the page table of the GPU
 * @fake: the fake
 * @va: virtual address
 * @size: where to put the size of the entry; 0 if there is no table for one
 *
 * Return: the entry that translates @va, or 0.
 */
u64 nouveau_svm_fake_entry(struct nouveau_svm_fake *fake, u64 va, u64 *size)
{
	static const struct {
		u8 shift, bits;
	} levels[] = { { 47, 2 }, { 38, 9 }, { 29, 9 } };
	u64 table = fake->uvmm->vmm->pd->pt[0]->addr, large, entry;
	unsigned int i;

	*size = 0;
	for (i = 0; i < ARRAY_SIZE(levels); i++) {
		u64 index = (va >> levels[i].shift) &
			    (BIT_ULL(levels[i].bits) - 1);

		table = fake_pde(fake_read64(fake, table + index * 8));
		if (!table)
			return 0;
	}

	/* A large entry, or a table of 64 KiB, and one of small entries. */
	table += (va >> 21) % 256 * 16;
	large = fake_read64(fake, table);
	if (large & GP100_PTE_VALID) {
		*size = SZ_2M;
		return large;
	}
	table = fake_pde(fake_read64(fake, table + 8));
	if (!table)
		return 0;
	entry = fake_read64(fake, table + (va >> 12) % 512 * 8);
	*size = SZ_4K;
	return entry & GP100_PTE_VALID ? entry : 0;
}

/**
 * nouveau_svm_fake_phys() - translate an address
 * @fake: the fake
 * @va: virtual address
 *
 * Return: where the GPU gets to, in VRAM or by DMA; 0 if nowhere.
 */
u64 nouveau_svm_fake_phys(struct nouveau_svm_fake *fake, u64 va)
{
	u64 size, entry = nouveau_svm_fake_entry(fake, va, &size);

	if (!entry)
		return 0;
	return ((entry & GP100_PTE_ADDRESS) << 4) + (va & (size - 1));
}
