/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * User interface of the HMM peer test devices, /dev/hmm_peer0 and so on.
 *
 * Private to lib/test_hmm_peer.c and its test program: it may change with any
 * kernel release and is not installed with the other uapi headers.
 *
 * Each is a QEMU "ivshmem-plain" device, whose memory is a PCI BAR. To the kernel it
 * is device-private memory: pages of a process are migrated to it and come back
 * when the CPU touches them. One other device at a time may be given access to it
 * in place. Opening a node takes CAP_SYS_ADMIN.
 *
 * Errors of all ioctls are EFAULT for a bad pointer, EINVAL for arguments beyond
 * the limits, and ENODEV when the driver has been unbound; ENOTTY says that there is
 * no such ioctl. Others are named with the ioctl.
 */
#ifndef _LIB_TEST_HMM_PEER_UAPI_H
#define _LIB_TEST_HMM_PEER_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define HMM_PEER_TEST_MAX_PAGES		1024U

/* No page of the device. */
#define HMM_PEER_TEST_NO_PAGE		0xffffffffU

/* No end to the offers. */
#define HMM_PEER_TEST_ALWAYS		0xffffffffU

/*
 * struct hmm_peer_test_migrate - move pages of the caller to the device
 *
 * @addr: (in) first byte, page aligned, inside one mapping
 * @pages: (in) user address of an array of @npages __u32: which page of the device
 *	each one is on now, HMM_PEER_TEST_NO_PAGE if it has not moved
 * @npages: (in) how many, at most HMM_PEER_TEST_MAX_PAGES
 * @moved: (out) how many have been moved
 *
 * HMM_PEER_TEST_MIGRATE: ENOMEM, EINTR, and those of migrate_vma_setup().
 */
struct hmm_peer_test_migrate {
	__u64	addr;
	__u64	pages;
	__u32	npages;
	__u32	moved;
};

/*
 * struct hmm_peer_test_bar - read or write memory of the device by the CPU
 *
 * @buffer: (in) user address
 * @offset: (in) of the first byte in the BAR
 * @size: (in) bytes, at most 4096
 * @write: (in) from @buffer to the BAR
 * @reserved: must be 0
 *
 * HMM_PEER_TEST_BAR: ENOMEM.
 */
struct hmm_peer_test_bar {
	__u64	buffer;
	__u32	offset;
	__u32	size;
	__u32	write;
	__u32	reserved;
};

/*
 * struct hmm_peer_test_allow - who may have access, and how often
 *
 * @domain: (in) of the PCI device
 * @bus: (in) of the PCI device
 * @devfn: (in) of the PCI device
 * @offers: (in) how often it is told where a page is before it is refused,
 *	HMM_PEER_TEST_ALWAYS for no limit; 0 for nobody, whatever the rest says
 *
 * What has been offered before stays so: HMM_PEER_TEST_EVICT takes it back.
 *
 * HMM_PEER_TEST_ALLOW: ENXIO if there is no such device.
 */
struct hmm_peer_test_allow {
	__u32	domain;
	__u32	bus;
	__u32	devfn;
	__u32	offers;
};

/*
 * struct hmm_peer_test_status - what has happened
 *
 * @offers: (out) calls of peer_access() that said where a page is
 * @refusals: (out) calls of it that did not
 * @to_ram: (out) pages that have come back for a fault
 * @evicted: (out) pages that have been moved back by HMM_PEER_TEST_EVICT
 * @freed: (out) calls of folio_free()
 * @used: (out) pages in use
 * @npages: (out) pages that there are
 */
struct hmm_peer_test_status {
	__u64	offers;
	__u64	refusals;
	__u64	to_ram;
	__u64	evicted;
	__u64	freed;
	__u32	used;
	__u32	npages;
};

#define HMM_PEER_TEST_MIGRATE	_IOWR('H', 0x70, struct hmm_peer_test_migrate)
#define HMM_PEER_TEST_BAR	_IOW('H', 0x71, struct hmm_peer_test_bar)
#define HMM_PEER_TEST_ALLOW	_IOW('H', 0x72, struct hmm_peer_test_allow)
#define HMM_PEER_TEST_STATUS	_IOR('H', 0x73, struct hmm_peer_test_status)
/* Move all pages back to system memory. The errors are those of memremap_evict(). */
#define HMM_PEER_TEST_EVICT	_IO('H', 0x74)

#endif /* _LIB_TEST_HMM_PEER_UAPI_H */
