// SPDX-License-Identifier: GPL-2.0
/*
 * Benchmark device: what the files of nouveau refer to that are built for it, and
 * do not need here. There is no memory of the GPU, no channel, and no register.
 */
#include <core/device.h>
#include <core/engine.h>
#include <core/mm.h>
#include <engine/gr.h>
#include <subdev/bar.h>
#include <subdev/ltc.h>
#include <subdev/mc.h>
#include <subdev/mmu/umem.h>
#include <subdev/mmu/vmm.h>
#include <subdev/timer.h>
#include <rm/rm.h>

#include <nvif/if000c.h>

#include "nouveau_drv.h"
#include "nouveau_dmem.h"

unsigned long __drm_debug;	/* as DRM has it: print nothing */

struct nvkm_engine *nvkm_engine_ref(struct nvkm_engine *engine)
{
	return engine;
}

void nvkm_engine_unref(struct nvkm_engine **engine)
{
}

void nvkm_mc_reset(struct nvkm_device *device, enum nvkm_subdev_type type,
		   int inst)
{
}

void nvkm_bar_bar2_init(struct nvkm_device *device)
{
}

int nvkm_gr_ctxsw_pause(struct nvkm_device *device)
{
	return -ENODEV;
}

int nvkm_gr_ctxsw_resume(struct nvkm_device *device)
{
	return -ENODEV;
}

u32 nvkm_gr_ctxsw_inst(struct nvkm_device *device)
{
	return 0;
}

int nvkm_mm_head(struct nvkm_mm *mm, u8 heap, u8 type, u32 size_max,
		 u32 size_min, u32 align, struct nvkm_mm_node **node)
{
	return -ENOSPC;
}

void nvkm_mm_free(struct nvkm_mm *mm, struct nvkm_mm_node **node)
{
}

int nvkm_umem_new(const struct nvkm_oclass *oclass, void *argv, u32 argc,
		  struct nvkm_object **object)
{
	return -ENODEV;
}

struct nvkm_memory *nvkm_umem_search(struct nvkm_client *client, u64 handle)
{
	return ERR_PTR(-ENOENT);
}

int nv04_vmm_new_(const struct nvkm_vmm_func *func, struct nvkm_mmu *mmu,
		  u32 pd_header, bool managed, u64 addr, u64 size, void *argv,
		  u32 argc, struct lock_class_key *key, const char *name,
		  struct nvkm_vmm **vmm)
{
	return -ENODEV;
}

void nvkm_ltc_tags_clear(struct nvkm_device *device, u32 first, u32 count)
{
}

void nvkm_timer_wait_init(struct nvkm_device *device, u64 nsec,
			  struct nvkm_timer_wait *wait)
{
}

s64 nvkm_timer_wait_test(struct nvkm_timer_wait *wait)
{
	return -ETIMEDOUT;
}

void r535_mmu_vaspace_del(struct nvkm_vmm *vmm)
{
}

unsigned long nouveau_dmem_page_addr(struct page *page)
{
	return 0;
}

#ifdef NVIF_VMM_V0_SVMMAP
long nouveau_dmem_migrate_vma(struct nouveau_drm *drm,
			      struct vm_area_struct *vma, unsigned long start,
			      unsigned long end)
#else
int nouveau_dmem_migrate_vma(struct nouveau_drm *drm, struct nouveau_svmm *svmm,
			     struct vm_area_struct *vma, unsigned long start,
			     unsigned long end)
#endif
{
	return -ENODEV;
}
