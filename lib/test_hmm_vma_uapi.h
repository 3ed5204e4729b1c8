/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * User interface of the unusual memory test device, /dev/hmm_vma.
 *
 * Private to lib/test_hmm_vma.c and the kselftests: it may change with any
 * kernel release and is not installed with the other uapi headers.
 *
 * The mmap offset chooses what a mapping is made of and how it behaves, see
 * HMM_VMA_OFFSET(). Delays, failures and the like are set by an ioctl before
 * that and hold for all mappings of the open file.
 */
#ifndef _LIB_TEST_HMM_VMA_UAPI_H
#define _LIB_TEST_HMM_VMA_UAPI_H

#include <linux/const.h>
#include <linux/ioctl.h>
#include <linux/types.h>

/*
 * enum hmm_vma_kind - what a mapping is made of
 *
 * @HMM_VMA_PAGE: normal pages in a plain VMA, as of a file
 * @HMM_VMA_IO: the same in a VMA with VM_IO
 * @HMM_VMA_PFNMAP: special PTEs of ordinary memory, all made by mmap() with
 *	remap_pfn_range(); VM_IO and VM_PFNMAP
 * @HMM_VMA_PFNMAP_FAULT: special PTEs without struct page, made by faults, in a
 *	VMA with VM_PFNMAP. Shared mappings only
 * @HMM_VMA_MIXED_PAGE: normal pages in a VMA with VM_MIXEDMAP
 * @HMM_VMA_MIXED_SPECIAL: special PTEs of ordinary memory in a VMA with
 *	VM_MIXEDMAP. In a private mapping a write replaces them
 * @HMM_VMA_MIXED_PFN: special PTEs without struct page in such a VMA. Shared
 *	mappings only, as nobody may read what is there
 * @HMM_VMA_MIXED_PMD: special PMDs without struct page in such a VMA where
 *	address and offset allow it, and PTEs elsewhere. In a private mapping a
 *	write replaces them
 * @HMM_VMA_MIXED_PUD: the same with PUDs
 * @HMM_VMA_PFNMAP_PMD: special PMDs in a VMA with VM_PFNMAP. Shared mappings only
 * @HMM_VMA_PFNMAP_PUD: the same with PUDs
 * @HMM_VMA_STUCK: the fault handler claims success and installs nothing until
 *	hmm_vma_settings::delay_ms have gone by since they were set
 * @HMM_VMA_FAIL: it fails as hmm_vma_settings::failure says
 * @HMM_VMA_RETRY: it drops the lock, sleeps for hmm_vma_settings::delay_ms and
 *	asks to be called again, hmm_vma_settings::retries times for each page,
 *	then installs the page. A caller that cannot be asked gets it at once
 * @HMM_VMA_SLOW: it sleeps for hmm_vma_settings::delay_ms under the lock, then
 *	installs the page. A fatal signal ends the sleep and the fault
 *
 * Normal pages and those of ordinary memory are the same whatever the kind:
 * page N of the file holds byte N all over at first. There are HMM_VMA_NR_PAGES
 * of them, further ones give SIGBUS. What has no struct page must not be
 * accessed: nothing is there.
 */
enum hmm_vma_kind {
	HMM_VMA_PAGE,
	HMM_VMA_IO,
	HMM_VMA_PFNMAP,
	HMM_VMA_PFNMAP_FAULT,
	HMM_VMA_MIXED_PAGE,
	HMM_VMA_MIXED_SPECIAL,
	HMM_VMA_MIXED_PFN,
	HMM_VMA_MIXED_PMD,
	HMM_VMA_MIXED_PUD,
	HMM_VMA_PFNMAP_PMD,
	HMM_VMA_PFNMAP_PUD,
	HMM_VMA_STUCK,
	HMM_VMA_FAIL,
	HMM_VMA_RETRY,
	HMM_VMA_SLOW,
	HMM_VMA_NR_KINDS,
};

/*
 * Offset for mmap(): a kind, HMM_VMA_AROUND or not, and below that the position
 * in bytes. With HMM_VMA_AROUND the mapping has a map_pages() operation (one
 * that maps nothing), and so its handler is also called under the per-VMA lock.
 */
#define HMM_VMA_KIND_SHIFT	34
#define HMM_VMA_AROUND		_BITULL(33)
#define HMM_VMA_OFFSET(kind)	((__u64)(kind) << HMM_VMA_KIND_SHIFT)

/* Pages of ordinary memory that each open file has. */
#define HMM_VMA_NR_PAGES	64
/* Bytes without struct page that all open files share, for the PUD kinds. */
#define HMM_VMA_PFN_SIZE	_BITULL(30)

#define HMM_VMA_MAX_DELAY_MS	60000U

/*
 * enum hmm_vma_failure - how the handler of HMM_VMA_FAIL fails
 *
 * @HMM_VMA_SIGBUS: VM_FAULT_SIGBUS
 * @HMM_VMA_SIGSEGV: VM_FAULT_SIGSEGV
 * @HMM_VMA_OOM: VM_FAULT_OOM
 * @HMM_VMA_HWPOISON: VM_FAULT_HWPOISON
 */
enum hmm_vma_failure {
	HMM_VMA_SIGBUS,
	HMM_VMA_SIGSEGV,
	HMM_VMA_OOM,
	HMM_VMA_HWPOISON,
	HMM_VMA_NR_FAILURES,
};

/*
 * struct hmm_vma_settings - how the last four kinds behave, all 0 at first
 *
 * @first: page of the file from which on they do. Pages before it are there at
 *	the first fault
 * @failure: enum hmm_vma_failure
 * @retries: how often a page is asked for in vain
 * @delay_ms: at most HMM_VMA_MAX_DELAY_MS; 0 is no delay, and for HMM_VMA_STUCK
 *	no end
 *
 * Also sets all counters to 0, and begins to count the retries of each page
 * anew.
 */
struct hmm_vma_settings {
	__u32	first;
	__u32	failure;
	__u32	retries;
	__u32	delay_ms;
};

/*
 * struct hmm_vma_counts - calls of fault handlers since the last setting
 *
 * @faults: handler calls for a PTE
 * @huge_faults: handler calls for a PMD or a PUD that were not turned down
 * @vma_lock: calls of both under the per-VMA lock
 * @mmap_lock: and under the mmap lock
 * @retries: times that the lock was dropped
 * @around: calls of map_pages()
 */
struct hmm_vma_counts {
	__u64	faults;
	__u64	huge_faults;
	__u64	vma_lock;
	__u64	mmap_lock;
	__u64	retries;
	__u64	around;
};

#define HMM_VMA_SET	_IOW('H', 0x28, struct hmm_vma_settings)
#define HMM_VMA_COUNT	_IOR('H', 0x29, struct hmm_vma_counts)

#endif /* _LIB_TEST_HMM_VMA_UAPI_H */
