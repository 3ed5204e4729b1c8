/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * User interface of the HMM DMA test devices, /dev/hmm_dma0 and so on.
 *
 * Private to lib/test_hmm_dma.c and its test programs: it may change with any
 * kernel release and is not installed with the other uapi headers.
 *
 * Each is a QEMU "edu" device, which has a buffer and a DMA engine that copies
 * between this and memory: 2 KiB at a time, which takes 100 ms, and to get
 * anything into the buffer or out of it takes as long again. An open file can
 * mirror a window of memory in the device and let the device read and write it
 * there.
 * DMA addresses and pfns are reported, so the nodes have mode 0600 and opening
 * one takes CAP_SYS_ADMIN.
 *
 * An ioctl itself fails only if it did not get as far as to do what it is there
 * for. What the kernel's interfaces returned is in the member "result", 0 or a
 * negative errno. Errors of all ioctls are EFAULT for a bad pointer and ENODEV when
 * the driver has been unbound; ENOTTY says that there is no such ioctl. Those that
 * an ioctl has beyond that are named with it, and mean:
 *
 * EINVAL	flags that do not exist, reserved members that are not 0, sizes beyond
 *		the limits, or what is said at a member
 * ENOMEM	no memory
 * ENXIO	the file has no mirror
 * EBUSY	the file has one already
 * EINTR	a signal arrived, in most places only a fatal one
 * ETIMEDOUT	a transfer does not end
 * EOPNOTSUPP	there is no IOMMU that keeps the device away from what is not mapped
 *		for it
 */
#ifndef _LIB_TEST_HMM_DMA_UAPI_H
#define _LIB_TEST_HMM_DMA_UAPI_H

#include <linux/const.h>
#include <linux/ioctl.h>
#include <linux/types.h>

#define HMM_DMA_TEST_MAX_SIZE		4096U
#define HMM_DMA_TEST_MAX_LENGTH		(_BITULL(34))
#define HMM_DMA_TEST_MAX_HAND		(_BITULL(30))
#define HMM_DMA_TEST_MAX_RUNS		_BITUL(18)
#define HMM_DMA_TEST_MAX_TIMEOUT_MS	60000U

/*
 * Bits of the members "flags".
 *
 * @HMM_DMA_TEST_WRITE: HMM_MIRROR_WRITE; of a transfer, the device writes to
 *	memory
 * @HMM_DMA_TEST_PREFETCH: HMM_MIRROR_PREFETCH
 * @HMM_DMA_TEST_PARTIAL: HMM_MIRROR_PARTIAL
 * @HMM_DMA_TEST_NOFAULT: a result of -EFAULT, instead of a fault, if the device
 *	has no entry for the page
 * @HMM_DMA_TEST_PEERS: hmm_mirror_allow_peers()
 */
#define HMM_DMA_TEST_WRITE		_BITUL(0)
#define HMM_DMA_TEST_PREFETCH		_BITUL(1)
#define HMM_DMA_TEST_PARTIAL		_BITUL(2)
#define HMM_DMA_TEST_NOFAULT		_BITUL(3)
#define HMM_DMA_TEST_PEERS		_BITUL(4)

/*
 * struct hmm_dma_test_mirror - mirror a window of the caller's memory
 *
 * @start: (in) first byte, as for hmm_mirror_init()
 * @length: (in) bytes, at most HMM_DMA_TEST_MAX_LENGTH
 * @result: (out) of hmm_mirror_init()
 * @flags: (in) HMM_DMA_TEST_PEERS
 *
 * A file can have one, which ends with it.
 *
 * HMM_DMA_TEST_MIRROR: EINVAL, ENOMEM, EBUSY.
 */
struct hmm_dma_test_mirror {
	__u64	start;
	__u64	length;
	__s32	result;
	__u32	flags;
};

/* enum hmm_dma_test_kind - enum hmm_dma_kind as user space sees it */
enum hmm_dma_test_kind {
	HMM_DMA_TEST_MEMORY,
	HMM_DMA_TEST_BUS,
	HMM_DMA_TEST_PRIVATE,
};

/* struct hmm_dma_test_run - struct hmm_dma_run as user space sees it */
struct hmm_dma_test_run {
	__u64	start;
	__u64	npages;
	__u64	addr;
	__u64	pfn;
	__u32	kind;
	__u32	order;
	__u32	writable;
	__u32	reserved;
};

/*
 * struct hmm_dma_test_fault - put memory into the device's page table
 *
 * @start: (in) first byte, as for hmm_mirror_fault()
 * @length: (in) bytes
 * @runs: (in) user address of an array of struct hmm_dma_test_run, which is
 *	written only if @result is 0
 * @max_runs: (in) entries of @runs, at most HMM_DMA_TEST_MAX_RUNS
 * @nr_runs: (out) runs that there are, also if they are more than @max_runs
 * @flags: (in) HMM_DMA_TEST_WRITE, _PREFETCH, _PARTIAL
 * @timeout_ms: (in) 0 to go on for ever, at most HMM_DMA_TEST_MAX_TIMEOUT_MS
 * @result: (out) of hmm_mirror_fault(), which also says whether @start, @length
 *	and @flags are right. HMM_DMA_TEST_NOFAULT fails the ioctl
 * @reserved: must be 0
 *
 * HMM_DMA_TEST_FAULT: EINVAL, ENOMEM, ENXIO.
 */
struct hmm_dma_test_fault {
	__u64	start;
	__u64	length;
	__u64	runs;
	__u32	max_runs;
	__u32	nr_runs;
	__u32	flags;
	__u32	timeout_ms;
	__s32	result;
	__u32	reserved;
};

/*
 * struct hmm_dma_test_copy - one transfer by the device
 *
 * @addr: (in) for HMM_DMA_TEST_COPY a virtual address in the mirror's window,
 *	for HMM_DMA_TEST_RAW a DMA address
 * @buffer: (in) user address of what is to be written, or of where to put what
 *	was read
 * @size: (in) bytes, from 1 to HMM_DMA_TEST_MAX_SIZE. Not across the end of a
 *	page for HMM_DMA_TEST_COPY
 * @flags: (in) HMM_DMA_TEST_WRITE, and _NOFAULT for HMM_DMA_TEST_COPY
 * @timeout_ms: (in) of the fault, as in struct hmm_dma_test_fault. 0 for
 *	HMM_DMA_TEST_RAW
 * @result: (out) -EFAULT if there is no entry and NOFAULT is set, else that of
 *	hmm_mirror_fault(). The device has no way to tell whether its accesses were
 *	refused
 *
 * HMM_DMA_TEST_COPY uses the address in the device's page table, faulting if
 * there is none or one that may not be written to.
 *
 * HMM_DMA_TEST_RAW uses any DMA address, as a broken device might. @buffer is
 * put into the device before, and for a read @buffer is then what the device
 * has got: the same as before if nothing came.
 *
 * HMM_DMA_TEST_COPY: EINVAL, ENOMEM, ENXIO, EINTR, ETIMEDOUT.
 * HMM_DMA_TEST_RAW: EINVAL, ENOMEM, EINTR, ETIMEDOUT, EOPNOTSUPP.
 */
struct hmm_dma_test_copy {
	__u64	addr;
	__u64	buffer;
	__u32	size;
	__u32	flags;
	__u32	timeout_ms;
	__s32	result;
};

/*
 * struct hmm_dma_test_hand - map, use and unmap memory without a mirror
 *
 * @fault: as for HMM_DMA_TEST_FAULT, with at most HMM_DMA_TEST_MAX_HAND bytes
 *	and no flag but HMM_DMA_TEST_WRITE. What is mapped has been unmapped again
 *	when the call returns
 * @buffer: (in) as in struct hmm_dma_test_copy, for a transfer at @fault.start
 * @size: (in) bytes of that, from 0 to HMM_DMA_TEST_MAX_SIZE and not more than
 *	a page
 * @reserved: must be 0
 *
 * It has a notifier, an update lock and a retry loop of its own, over the
 * functions of the range and the DMA layer.
 *
 * HMM_DMA_TEST_HAND: EINVAL, ENOMEM, EINTR, ETIMEDOUT.
 */
struct hmm_dma_test_hand {
	struct hmm_dma_test_fault	fault;
	__u64	buffer;
	__u32	size;
	__u32	reserved;
};

/*
 * struct hmm_dma_test_drop - the driver takes a range from its device
 *
 * @start: (in) first byte, page aligned
 * @length: (in) bytes, a multiple of the page size, at most
 *	HMM_DMA_TEST_MAX_LENGTH. What is not in the window is ignored
 *
 * HMM_DMA_TEST_DROP: EINVAL, ENXIO.
 */
struct hmm_dma_test_drop {
	__u64	start;
	__u64	length;
};

/*
 * enum hmm_dma_test_iommu - what is between the device and memory
 *
 * @HMM_DMA_TEST_IOMMU_NONE: nothing
 * @HMM_DMA_TEST_IOMMU_PASS: an IOMMU that lets everything through
 * @HMM_DMA_TEST_IOMMU_DMA: an IOMMU that lets through what is mapped
 */
enum hmm_dma_test_iommu {
	HMM_DMA_TEST_IOMMU_NONE,
	HMM_DMA_TEST_IOMMU_PASS,
	HMM_DMA_TEST_IOMMU_DMA,
};

/*
 * struct hmm_dma_test_status - the device and the file's mirror
 *
 * @invalidations: (out) calls of the mirror's invalidate() so far
 * @cleared: (out) entries that these took out of the device's page table
 * @waits: (out) how many of them waited for a transfer that used one
 * @entries: (out) entries that the device's page table has
 * @memory: (out) hmm_dma_view_memory()
 * @pgsizes: (out) pgsize_bitmap of the IOMMU's domain, 0 without an IOMMU
 * @iommu: (out) enum hmm_dma_test_iommu
 * @mirrored: (out) 1 if the file has a mirror. All that is told of it is 0
 *	without one
 */
struct hmm_dma_test_status {
	__u64	invalidations;
	__u64	cleared;
	__u64	waits;
	__u64	entries;
	__u64	memory;
	__u64	pgsizes;
	__u32	iommu;
	__u32	mirrored;
};

/*
 * struct hmm_dma_test_domain - what the IOMMU lets the device reach
 *
 * @addr: (in) DMA address of the first page to look at
 * @npages: (in) pages to look at, at most HMM_DMA_TEST_MAX_LENGTH worth of them
 * @mapped: (out) how many of them the IOMMU's domain maps
 *
 * HMM_DMA_TEST_DOMAIN: EINVAL, EINTR, EOPNOTSUPP.
 */
struct hmm_dma_test_domain {
	__u64	addr;
	__u64	npages;
	__u64	mapped;
};

#define HMM_DMA_TEST_MIRROR	_IOWR('H', 0x60, struct hmm_dma_test_mirror)
#define HMM_DMA_TEST_FAULT	_IOWR('H', 0x61, struct hmm_dma_test_fault)
#define HMM_DMA_TEST_COPY	_IOWR('H', 0x62, struct hmm_dma_test_copy)
#define HMM_DMA_TEST_RAW	_IOWR('H', 0x63, struct hmm_dma_test_copy)
#define HMM_DMA_TEST_HAND	_IOWR('H', 0x64, struct hmm_dma_test_hand)
#define HMM_DMA_TEST_DROP	_IOW('H', 0x65, struct hmm_dma_test_drop)
#define HMM_DMA_TEST_STATUS	_IOR('H', 0x66, struct hmm_dma_test_status)
#define HMM_DMA_TEST_DOMAIN	_IOWR('H', 0x67, struct hmm_dma_test_domain)

#endif /* _LIB_TEST_HMM_DMA_UAPI_H */
