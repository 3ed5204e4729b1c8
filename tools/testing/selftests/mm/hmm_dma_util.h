/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the programs that use the devices of lib/test_hmm_dma.c share: thin
 * wrappers of the ioctls, and where a device is in the machine.
 *
 * A wrapper returns what the kernel's interface returned, 0 or a negative
 * errno, or 1 if the ioctl itself failed, which is then said. No state but the
 * runs of the last fault, which belong to one thread.
 */
#ifndef HMM_DMA_UTIL_H
#define HMM_DMA_UTIL_H

#include <stdbool.h>
#include <stddef.h>

#include <linux/types.h>

#include <lib/test_hmm_dma_uapi.h>

#define DMA_MAX_RUNS	65536U
#define DMA_TIMEOUT_MS	20000U

/* What the last dma_fault() or dma_hand() has reported. */
extern struct hmm_dma_test_run *dma_runs;
extern unsigned int dma_nr_runs;

/* Opens /dev/hmm_dma@n: a file descriptor or -1. */
int dma_open(unsigned int n);

/* @flags is HMM_DMA_TEST_PEERS or 0. */
int dma_mirror(int fd, const void *p, size_t len);
int dma_mirror_flags(int fd, const void *p, size_t len, unsigned int flags);

/* @flags is HMM_DMA_TEST_WRITE and so on. */
int dma_fault(int fd, const void *p, size_t len, unsigned int flags);
int dma_hand(int fd, const void *p, size_t len, unsigned int flags, void *buf,
	     size_t size);

/* The DMA address of @p in the last runs, 0 if it is in none. */
__u64 dma_addr(const void *p);

/* How many pages there are in the last runs. */
size_t dma_pages(void);

/* The device reads memory into @buf, or writes it from there. */
int dma_read(int fd, const void *p, void *buf, size_t size);
int dma_write(int fd, void *p, const void *buf, size_t size);
int dma_copy(int fd, const void *p, void *buf, size_t size,
	     unsigned int flags);

/* The same at any DMA address. */
int dma_raw(int fd, __u64 addr, void *buf, size_t size, unsigned int flags);

int dma_drop(int fd, const void *p, size_t len);
struct hmm_dma_test_status dma_status(int fd);

/* How many of @n pages from @addr on the IOMMU lets the device reach. */
size_t dma_domain(int fd, __u64 addr, size_t n);

/*
 * Folder in sysfs of the PCI device behind /dev/hmm_dma@n, in a buffer that the
 * next call overwrites; NULL if there is none.
 */
const char *dma_sysfs(unsigned int n);

#endif /* HMM_DMA_UTIL_H */
