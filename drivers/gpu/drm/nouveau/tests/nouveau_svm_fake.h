/* SPDX-License-Identifier: MIT */
/*
 * A GPU that is not there, for tests and benchmarks of SVM. What is called by nvif
 * is counted and goes to the real code of nvkm, which makes its page tables in
 * memory of the fake. These can be read as the hardware would: from the top, and by
 * the addresses that are in them.
 *
 * There is no lock: counters are atomic, and all else belongs to those who call
 * nvkm, under its locks or theirs. The page table is read while nobody writes it,
 * or with an answer that may be old.
 */
#ifndef __NOUVEAU_SVM_FAKE_H__
#define __NOUVEAU_SVM_FAKE_H__

#include <linux/atomic.h>
#include <linux/bits.h>
#include <linux/limits.h>
#include <linux/sizes.h>
#include <linux/types.h>
#include <linux/xarray.h>

#include <core/client.h>
#include <core/device.h>
#include <nvif/client.h>
#include <nvif/object.h>
#include <subdev/instmem/priv.h>
#include <subdev/mmu/ummu.h>
#include <subdev/mmu/uvmm.h>

/* An entry of a page table: NV_MMU_VER2_PTE in the manuals of GP100 to TU102. */
#define GP100_PTE_VALID			BIT_ULL(0)
#define GP100_PTE_APERTURE		GENMASK_ULL(2, 1)
#define GP100_PTE_APERTURE_VRAM		(0ULL << 1)
#define GP100_PTE_APERTURE_COHERENT	(2ULL << 1)
#define GP100_PTE_VOL			BIT_ULL(3)
#define GP100_PTE_ENCRYPTED		BIT_ULL(4)
#define GP100_PTE_PRIVILEGE		BIT_ULL(5)
#define GP100_PTE_READ_ONLY		BIT_ULL(6)
#define GP100_PTE_ATOMIC_DISABLE	BIT_ULL(7)
#define GP100_PTE_ADDRESS		GENMASK_ULL(53, 8)	/* / 4 KiB */
#define GP100_PTE_KIND			GENMASK_ULL(63, 56)

/* What nvkm keeps to itself. It ends in the middle of a window. */
#define NOUVEAU_SVM_FAKE_HOLE		0x20000000UL
#define NOUVEAU_SVM_FAKE_HOLE_END	0x20003000UL

/* The constructor of an address space, gp100_vmm_new() for instance. */
typedef int (*nouveau_svm_fake_vmm_new)(struct nvkm_mmu *mmu, bool managed,
					u64 addr, u64 size, void *argv,
					u32 argc, struct lock_class_key *key,
					const char *name,
					struct nvkm_vmm **pvmm);

/**
 * struct nouveau_svm_fake - a GPU that is not there, with one address space
 * @dev: does DMA for it
 * @client: what nvif objects of it have as their client
 * @vmm: its address space, to be called by nvif
 * @uvmm: the same in nvkm
 * @calls: how often each method of an address space was called
 * @flushes: how often the TLB was flushed
 * @kmaps: how often memory was mapped for the CPU that was not
 * @reads: how often nvkm has read memory
 * @errors: what went wrong in the fake itself, which also writes to the log
 * @nr_memories: pieces of memory that nvkm has, for page tables
 * @memory_left: how many more it can get
 * @hook: is called before a method gets to nvkm; if it returns an error, that is
 *	what the call returns, and nvkm does not see it. May be %NULL. It is called
 *	under the locks of whoever calls, and can come from any thread.
 * @ioctl: gets what is not a method of an address space. May be %NULL, there are
 *	no other objects then.
 * @priv: for the two of them
 *
 * @memory_left and what follows is to be set after nouveau_svm_fake_init().
 */
struct nouveau_svm_fake {
	struct device *dev;
	struct nvif_client client;
	struct nvif_object vmm;
	struct nvkm_uvmm *uvmm;

	atomic_t calls[U8_MAX + 1];
	atomic_t flushes;
	atomic_t kmaps;
	atomic_t reads;
	atomic_t errors;

	unsigned int nr_memories;
	unsigned int memory_left;
	int (*hook)(struct nouveau_svm_fake *fake, u8 mthd);
	int (*ioctl)(struct nouveau_svm_fake *fake, void *data, u32 size);
	void *priv;

	/* private: what nvkm needs, and its memory by its address / 1 MiB */
	struct nvkm_client nvkm;
	struct nvkm_device device;
	struct nvkm_instmem imem;
	struct nvkm_mmu_func mmu_func;
	struct nvkm_vmm_func *vmm_func;
	nouveau_svm_fake_vmm_new vmm_new;
	struct nvkm_ummu ummu;
	struct xarray memories;
	unsigned long last_memory;
};

int nouveau_svm_fake_init(struct nouveau_svm_fake *fake, struct device *dev,
			  nouveau_svm_fake_vmm_new vmm_new);
void nouveau_svm_fake_fini(struct nouveau_svm_fake *fake);
u64 nouveau_svm_fake_entry(struct nouveau_svm_fake *fake, u64 va, u64 *size);
u64 nouveau_svm_fake_phys(struct nouveau_svm_fake *fake, u64 va);

/**
 * nouveau_svm_fake_calls() - count calls
 * @fake: the fake
 * @mthd: NVIF_VMM_V0_*
 *
 * Return: how often that was called since nouveau_svm_fake_reset().
 */
static inline unsigned int nouveau_svm_fake_calls(struct nouveau_svm_fake *fake,
						  u8 mthd)
{
	return atomic_read(&fake->calls[mthd]);
}

void nouveau_svm_fake_reset(struct nouveau_svm_fake *fake);

#endif /* __NOUVEAU_SVM_FAKE_H__ */
