// SPDX-License-Identifier: MIT
/*
 * Entries for memory that a process shares with the GPU.
 *
 * What is shared changes under locks that reclaim takes as well. So page tables
 * come and go by calls of their own, SVMGET and SVMPUT, which allocate and take
 * nvkm_vmm.mutex.vmm. SVMMAP and SVMCLR only write entries in these tables. They
 * allocate nothing, as the tables stay mapped for the CPU, and take no lock of
 * struct nvkm_vmm: for one range, the caller makes one call at a time.
 *
 * Where an entry of 2 MiB is made, the table of small entries below it stays,
 * hidden until the large entry is cleared. The caller knows of what size its
 * entries are; nothing is read back.
 */
#include "uvmm.h"
#include "vmm.h"

#include <nvif/if000c.h>

/* The page size by which entries of 1 << @shift bytes are made. */
static const struct nvkm_vmm_page *
nvkm_vmm_svm_page(struct nvkm_vmm *vmm, u8 shift)
{
	const struct nvkm_vmm_page *page;

	for (page = vmm->func->page; page->shift; page++)
		if (page->shift == shift && page->desc->func->svm)
			return page;
	return NULL;
}

/* Whether a range can be one of entries of a size, in the part of the client. */
static int
nvkm_vmm_svm_check(struct nvkm_vmm *vmm, const struct nvkm_vmm_page *page,
		   u64 addr, u64 size)
{
	if (!page)
		return -EOPNOTSUPP;
	if (!size || !IS_ALIGNED(addr | size, 1ULL << page->shift) ||
	    addr + size < addr || addr + size > vmm->limit)
		return -EINVAL;
	if (vmm->managed.raw || !nvkm_vmm_in_managed_range(vmm, addr, size))
		return -EINVAL;
	return 0;
}

/* Tables of each size that entries of the range can have. */
static void
nvkm_vmm_svm_pin(struct nvkm_vmm *vmm, u64 addr, u64 size, bool pin)
{
	const struct nvkm_vmm_page *page;

	for (page = vmm->func->page; page->shift; page++)
		if (page->desc->func->svm &&
		    IS_ALIGNED(addr | size, 1ULL << page->shift))
			nvkm_vmm_raw_pin(vmm, page, addr, size, pin);
}

/* The range as a node of its own, so that nothing else is mapped there. */
static struct nvkm_vma *
nvkm_vmm_svm_claim(struct nvkm_vmm *vmm, u64 addr, u64 size)
{
	struct nvkm_vma *vma = nvkm_vmm_node_search(vmm, addr);

	if (!vma || vma->addr + vma->size < addr + size)
		return ERR_PTR(-EINVAL);
	if (!vma->mapref || vma->memory || vma->mapped || vma->busy)
		return ERR_PTR(-EEXIST);
	vma = nvkm_vmm_node_split(vmm, vma, addr, size);
	return vma ?: ERR_PTR(-ENOMEM);
}

static void
nvkm_vmm_svm_unclaim(struct nvkm_vmm *vmm, struct nvkm_vma *vma)
{
	vma->refd = NVKM_VMA_PAGE_NONE;
	nvkm_vmm_unmap_region(vmm, vma);
}

/**
 * nvkm_vmm_svm_get() - get page tables for shared memory
 * @vmm: the GPU's address space
 * @addr: first byte, page aligned
 * @size: in bytes, page aligned
 *
 * Gets tables for entries of each size. The range is in the part that the client
 * manages and is not used otherwise; until nvkm_vmm_svm_put() it cannot be.
 *
 * Context: May sleep, and wait for memory.
 *
 * Return: 0; -EOPNOTSUPP if the GPU cannot do it; -EINVAL if the range is not of
 * whole pages, or not all in the part that the client manages; -EEXIST if something
 * is mapped there or it has been got before; -ENOMEM.
 */
int
nvkm_vmm_svm_get(struct nvkm_vmm *vmm, u64 addr, u64 size)
{
	const struct nvkm_vmm_page *page = nvkm_vmm_svm_page(vmm, PAGE_SHIFT);
	struct nvkm_vma *vma;
	u8 refd;
	int ret;

	ret = nvkm_vmm_svm_check(vmm, page, addr, size);
	if (ret)
		return ret;
	refd = page - vmm->func->page;

	mutex_lock(&vmm->mutex.vmm);
	vma = nvkm_vmm_svm_claim(vmm, addr, size);
	ret = PTR_ERR_OR_ZERO(vma);
	if (!ret) {
		ret = nvkm_vmm_raw_get(vmm, addr, size, refd);
		if (ret) {
			nvkm_vmm_svm_unclaim(vmm, vma);
		} else {
			vma->refd = refd;
			vma->mapped = true;
			nvkm_vmm_svm_pin(vmm, addr, size, true);
		}
	}
	mutex_unlock(&vmm->mutex.vmm);
	return ret;
}

/**
 * nvkm_vmm_svm_put() - put page tables for shared memory
 * @vmm: the GPU's address space
 * @addr: first byte, as it was got
 * @size: in bytes, as it was got
 *
 * All entries have been cleared.
 *
 * Context: May sleep, and wait for memory.
 *
 * Return: 0, or -EINVAL if there are no such page tables.
 */
int
nvkm_vmm_svm_put(struct nvkm_vmm *vmm, u64 addr, u64 size)
{
	struct nvkm_vma *vma;
	int ret = -EINVAL;

	mutex_lock(&vmm->mutex.vmm);
	vma = nvkm_vmm_node_search(vmm, addr);
	if (vma && vma->addr == addr && vma->size == size && vma->mapped &&
	    !vma->memory) {
		nvkm_vmm_svm_pin(vmm, addr, size, false);
		nvkm_vmm_raw_put(vmm, addr, size, vma->refd);
		nvkm_vmm_svm_unclaim(vmm, vma);
		ret = 0;
	}
	mutex_unlock(&vmm->mutex.vmm);
	return ret;
}

static int
nvkm_vmm_svm_check_runs(const struct nvif_vmm_svmmap_v0 *args)
{
	u64 size = 0;
	u32 i;

	for (i = 0; i < args->nr; i++) {
		const u64 mask = (1ULL << args->page) - 1;

		if (!args->run[i].size || args->run[i].size & mask ||
		    args->run[i].phys & NVIF_VMM_SVM_ADDR & mask)
			return -EINVAL;
		if (args->run[i].size > args->size - size)
			return -EINVAL;
		size += args->run[i].size;
	}
	return size == args->size ? 0 : -EINVAL;
}

/**
 * nvkm_vmm_svm_map() - make entries for shared memory
 * @vmm: the GPU's address space
 * @args: what to map, which is as long as all runs together
 *
 * The range has page tables, and no entries of another size. An entry that is
 * there already is written anew, but for those in runs with %NVIF_VMM_SVM_SKIP.
 *
 * Context: May sleep. Does not wait for memory, and takes no lock under which
 * somebody does. The caller sees to it that calls for one range do not run at the
 * same time.
 *
 * Return: 0, -EOPNOTSUPP, or -EINVAL, with nothing done.
 */
int
nvkm_vmm_svm_map(struct nvkm_vmm *vmm, const struct nvif_vmm_svmmap_v0 *args)
{
	const struct nvkm_vmm_page *page = nvkm_vmm_svm_page(vmm, args->page);
	struct nvkm_vmm_map map = {
		.page = page,
		.svm = args->run,
	};
	int ret;

	ret = nvkm_vmm_svm_check(vmm, page, args->addr, args->size);
	if (!ret)
		ret = nvkm_vmm_svm_check_runs(args);
	if (!ret)
		nvkm_vmm_raw_ptes(vmm, page, args->addr, args->size, &map,
				  page->desc->func->svm, NULL);
	return ret;
}

/**
 * nvkm_vmm_svm_clear() - clear entries for shared memory
 * @vmm: the GPU's address space
 * @shift: size of the entries
 * @addr: first byte
 * @size: in bytes
 *
 * The range has page tables, and no entries of another size. When this returns,
 * the GPU's TLB is flushed.
 *
 * Context: As nvkm_vmm_svm_map().
 *
 * Return: 0, -EOPNOTSUPP, or -EINVAL, with nothing done.
 */
int
nvkm_vmm_svm_clear(struct nvkm_vmm *vmm, u8 shift, u64 addr, u64 size)
{
	const struct nvkm_vmm_page *page = nvkm_vmm_svm_page(vmm, shift);
	int ret;

	ret = nvkm_vmm_svm_check(vmm, page, addr, size);
	if (!ret)
		nvkm_vmm_raw_ptes(vmm, page, addr, size, NULL, NULL,
				  page->desc->func->svm_clear);
	return ret;
}

static int
nvkm_uvmm_svm_map(struct nvkm_uvmm *uvmm, void *argv, u32 argc)
{
	struct nvif_vmm_svmmap_v0 *args = argv;

	if (argc < sizeof(*args) || args->version ||
	    argc != struct_size(args, run, args->nr))
		return -EINVAL;
	return nvkm_vmm_svm_map(uvmm->vmm, args);
}

static int
nvkm_uvmm_svm_range(struct nvkm_uvmm *uvmm, u32 mthd, void *argv, u32 argc)
{
	struct nvif_vmm_svm_v0 *args = argv;

	if (argc != sizeof(*args) || args->version)
		return -EINVAL;
	switch (mthd) {
	case NVIF_VMM_V0_SVMGET:
		return nvkm_vmm_svm_get(uvmm->vmm, args->addr, args->size);
	case NVIF_VMM_V0_SVMPUT:
		return nvkm_vmm_svm_put(uvmm->vmm, args->addr, args->size);
	default:
		return nvkm_vmm_svm_clear(uvmm->vmm, args->page, args->addr,
					  args->size);
	}
}

/**
 * nvkm_uvmm_svm() - NVIF_VMM_V0_SVM*
 * @uvmm: the object of the GPU's address space
 * @mthd: which of them
 * @argv: its arguments
 * @argc: size of these in bytes
 *
 * Return: as the function for it.
 */
int
nvkm_uvmm_svm(struct nvkm_uvmm *uvmm, u32 mthd, void *argv, u32 argc)
{
	if (mthd == NVIF_VMM_V0_SVMMAP)
		return nvkm_uvmm_svm_map(uvmm, argv, argc);
	return nvkm_uvmm_svm_range(uvmm, mthd, argv, argc);
}
