/* SPDX-License-Identifier: MIT */
/*
 * Memory of a GPU that is not there, and the channel that copies to it and from it,
 * on top of nouveau_svm_fake_gpu.h: enough for nouveau_dmem.c to run as it is. What
 * is pushed to the channel is decoded as the copy engine would, and takes effect when
 * the fence behind it is waited for.
 *
 * Buffers come from functions of this file, which have to be called in place of
 * those of nouveau_bo.c. Who pushes holds the mutex of the channel's client. All else
 * belongs to one thread: what migrates memory, and what looks at it.
 */
#ifndef __NOUVEAU_SVM_FAKE_VRAM_H__
#define __NOUVEAU_SVM_FAKE_VRAM_H__

#include <linux/types.h>
#include <linux/xarray.h>

#include "../nouveau_chan.h"
#include "../nouveau_drv.h"
#include "../nouveau_fence.h"

struct nouveau_bo;
struct nouveau_svm_fake_gpu;

/* Where it begins, and what is in it that was never written to. */
#define NOUVEAU_SVM_FAKE_VRAM		0x100000000ULL
#define NOUVEAU_SVM_FAKE_VRAM_JUNK	0xa5

#define NOUVEAU_SVM_FAKE_PUSH		64U	/* words */
#define NOUVEAU_SVM_FAKE_METHODS	0x200U	/* that the engine has */
#define NOUVEAU_SVM_FAKE_LAUNCHES	2048U	/* before a fence is waited for */

/**
 * struct nouveau_svm_fake_launch - what the copy engine has been told to do
 * @dst: address of the first byte that is written
 * @src: address of the first byte that is read, if it does not clear
 * @size: in bytes
 * @dst_vram: @dst is in VRAM, not in the memory of the CPU
 * @src_vram: the same for @src
 * @clear: write zeroes
 */
struct nouveau_svm_fake_launch {
	u64 dst;
	u64 src;
	u64 size;
	bool dst_vram;
	bool src_vram;
	bool clear;
};

/**
 * struct nouveau_svm_fake_vram - memory of a GPU that is not there
 * @gpu: the GPU
 * @copies: how many copies were launched
 * @clears: how many times memory was to be cleared
 * @nr_bos: buffers that there are
 * @nr_pins: how often they are pinned
 * @errors: what went wrong in the fake itself, which also writes to the log
 * @no_bos: there is no memory for another one
 * @push_fails: the next push that fails, 1 for the first, 0 for none
 * @emit_error: what it costs to emit a fence
 * @stalled: fences are never signaled
 * @at_launch: is called when something is launched. May be %NULL. It is called under
 *	the mutex of the client.
 * @priv: for @at_launch
 *
 * @no_bos and what follows is to be set after nouveau_svm_fake_vram_init().
 */
struct nouveau_svm_fake_vram {
	struct nouveau_svm_fake_gpu *gpu;
	unsigned int copies;
	unsigned int clears;
	unsigned int nr_bos;
	unsigned int nr_pins;
	unsigned int errors;

	bool no_bos;
	unsigned int push_fails;
	int emit_error;
	bool stalled;
	void (*at_launch)(struct nouveau_svm_fake_vram *vram,
			  const struct nouveau_svm_fake_launch *launch);
	void *priv;

	/* private: what the driver sees of the channel */
	struct nouveau_channel chan;
	struct nouveau_fence_chan *fctx;
	struct nouveau_fence_priv fence;
	u32 push[NOUVEAU_SVM_FAKE_PUSH];
	u32 emitted;
	u32 signaled;

	/* private: the copy engine, and memory by its address / PAGE_SIZE */
	u32 methods[NOUVEAU_SVM_FAKE_METHODS];
	struct nouveau_svm_fake_launch launches[NOUVEAU_SVM_FAKE_LAUNCHES];
	unsigned int nr_launches;
	struct xarray pages;
	u64 last_bo;
};

int nouveau_svm_fake_vram_init(struct nouveau_svm_fake_vram *vram,
			       struct nouveau_svm_fake_gpu *gpu);
void nouveau_svm_fake_vram_fini(struct nouveau_svm_fake_vram *vram);
void *nouveau_svm_fake_vram_at(struct nouveau_svm_fake_vram *vram, u64 addr);
void nouveau_svm_fake_vram_run(struct nouveau_svm_fake_vram *vram);

int nouveau_svm_fake_bo_new_pin(struct nouveau_cli *cli, u32 domain, u32 size,
				struct nouveau_bo **pnvbo);
void nouveau_svm_fake_bo_unpin_del(struct nouveau_bo **pnvbo);
int nouveau_svm_fake_bo_pin(struct nouveau_bo *nvbo, u32 domain, bool contig);
int nouveau_svm_fake_bo_unpin(struct nouveau_bo *nvbo);

#endif /* __NOUVEAU_SVM_FAKE_VRAM_H__ */
