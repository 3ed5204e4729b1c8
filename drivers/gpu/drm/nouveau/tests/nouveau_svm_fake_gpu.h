/* SPDX-License-Identifier: MIT */
/*
 * The part of a GPU that reports faults, on top of nouveau_svm_fake.h: enough of
 * the driver for nouveau_svm.c to run as it is, from the fault buffer to the
 * replay.
 *
 * There is no lock. The fault buffer belongs to whoever makes faults, up to
 * nouveau_svm_fake_gpu_interrupt(), and then to the worker, up to the replay.
 * Counters are atomic.
 */
#ifndef __NOUVEAU_SVM_FAKE_GPU_H__
#define __NOUVEAU_SVM_FAKE_GPU_H__

#include <linux/atomic.h>
#include <linux/completion.h>

#include "../nouveau_drv.h"
#include "nouveau_svm_fake.h"

#define NOUVEAU_SVM_FAKE_ENTRIES	1024U	/* in the fault buffer */

/* The channel whose accesses are those of the process that shares its memory. */
#define NOUVEAU_SVM_FAKE_INST		0x1234000ULL

/* As the hardware has them, see nouveau_svm.c. */
enum nouveau_svm_fake_access {
	NOUVEAU_SVM_FAKE_READ,
	NOUVEAU_SVM_FAKE_WRITE,
	NOUVEAU_SVM_FAKE_ATOMIC,
	NOUVEAU_SVM_FAKE_PREFETCH,
};

/* Registers, in the order of their addresses. */
enum nouveau_svm_fake_reg {
	NOUVEAU_SVM_FAKE_GET,
	NOUVEAU_SVM_FAKE_PUT,
	NOUVEAU_SVM_FAKE_REGS,
};

/**
 * struct nouveau_svm_fake_gpu - a GPU that is not there, and its driver
 * @fake: its address space
 * @calls: how often nvif was called, whatever for
 * @replays: how often faults were replayed
 * @cancels: how many faults were cancelled
 */
struct nouveau_svm_fake_gpu {
	struct nouveau_svm_fake fake;
	atomic_t calls;
	atomic_t replays;
	atomic_t cancels;

	/* private: what the driver sees of the GPU */
	struct nvif_client client;
	u64 vmm;			/* handle of @fake.uvmm */
	struct nvif_event *event;
	bool allowed;			/* @event */
	struct completion replayed;
	u32 regs[NOUVEAU_SVM_FAKE_REGS];
	u32 buffer[NOUVEAU_SVM_FAKE_ENTRIES][8];

	/* private: what nouveau_svm.c sees of the driver */
	struct nouveau_drm drm;
	struct nouveau_cli cli;
	struct drm_device dev;
	struct drm_file file;
};

int nouveau_svm_fake_gpu_init(struct nouveau_svm_fake_gpu *gpu,
			      struct device *dev);
void nouveau_svm_fake_gpu_fini(struct nouveau_svm_fake_gpu *gpu);
int nouveau_svm_fake_gpu_share(struct nouveau_svm_fake_gpu *gpu);
void nouveau_svm_fake_gpu_unshare(struct nouveau_svm_fake_gpu *gpu);
int nouveau_svm_fake_gpu_fault(struct nouveau_svm_fake_gpu *gpu, u64 inst,
			       u64 addr, enum nouveau_svm_fake_access access);
void nouveau_svm_fake_gpu_interrupt(struct nouveau_svm_fake_gpu *gpu);
bool nouveau_svm_fake_gpu_wait(struct nouveau_svm_fake_gpu *gpu,
			       unsigned int msecs);
void nouveau_svm_fake_gpu_reset(struct nouveau_svm_fake_gpu *gpu);

#endif /* __NOUVEAU_SVM_FAKE_GPU_H__ */
