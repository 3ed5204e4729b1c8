// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * HMM peer access: may a device reach device-private memory of another one, and by
 * which address?
 *
 * There are two to be asked. The owner of the memory knows where in a BAR a page
 * is, and to whom it is given. The rules of P2PDMA tell whether one device gets
 * through to the BAR of the other, and how. Whether the address that comes of it is
 * one that the device can put on the bus is found out here.
 *
 * No state is kept here, so there is no lock. The caller keeps the page in place:
 * by the page table lock of an entry that maps it, or by the update lock after it
 * has validated the walk that found it. Nothing here sleeps.
 */
#include <kunit/static_stub.h>
#include <linux/cc_platform.h>
#include <linux/device.h>
#include <linux/dma-direct.h>
#include <linux/dma-mapping.h>
#include <linux/iommu-dma.h>
#include <linux/memremap.h>
#include <linux/pci-p2pdma.h>

#include "hmm_peer.h"

/* What P2PDMA says. Tests have something else say it. */
enum pci_p2pdma_map_type hmm_peer_map_type(struct p2pdma_provider *provider,
					   struct device *peer)
{
	KUNIT_STATIC_STUB_REDIRECT(hmm_peer_map_type, provider, peer);
	return pci_p2pdma_map_type(provider, peer);
}

/**
 * hmm_peer_addresses() - can a device address memory of another one?
 * @peer: the device that is going to do DMA
 * @at: where it is, by which way
 * @size: its length in bytes
 *
 * An IOMMU gives a device an address that is in its reach. Without one, mapping
 * would fail with a warning: what it would ask, for MMIO, is asked in advance. A
 * bus address is used as it is.
 *
 * Context: Any.
 *
 * Return: whether it can, up to the last byte.
 */
bool hmm_peer_addresses(struct device *peer, const struct hmm_peer_addr *at,
			size_t size)
{
	bool shared = cc_platform_has(CC_ATTR_HOST_MEM_ENCRYPT);

	if (at->by_bus)
		return at->bus + size - 1 <= dma_get_mask(peer);
	if (use_dma_iommu(peer))
		return true;
	return peer->dma_mask &&
	       dma_capable(peer, phys_to_dma_unencrypted(peer, at->phys), size,
			   false, shared ? DMA_ATTR_CC_SHARED : 0);
}

/* What the map type makes of an address that is known. */
static int hmm_peer_route(enum pci_p2pdma_map_type type,
			  const struct pgmap_peer_access *access,
			  struct hmm_peer_addr *at)
{
	*at = (struct hmm_peer_addr) {
		.provider = access->provider,
		.phys = access->phys,
	};
	switch (type) {
	case PCI_P2PDMA_MAP_BUS_ADDR:
		at->bus = pci_p2pdma_bus_addr_map(at->provider, at->phys);
		at->by_bus = true;
		return 0;
	case PCI_P2PDMA_MAP_THRU_HOST_BRIDGE:
		return 0;
	default:
		return -EREMOTEIO;
	}
}

/**
 * hmm_peer_ask() - ask how a peer reaches a page
 * @page: a device-private page
 * @peer: the device that is going to do DMA. Its driver has set its DMA mask.
 * @at: (out) the answer, or %NULL if it only matters whether there is one
 *
 * The answer is for all of the folio from @page on.
 *
 * Context: Under the page table lock of an entry for @page, or under the update
 * lock of a mirror that has it, after mmu_interval_read_retry() returned false.
 * Does not sleep.
 *
 * Return: 0, or:
 *
 * * %-EOPNOTSUPP: the owner offers no memory to others.
 * * %-EREMOTEIO: P2PDMA has no way from @peer to there, or the last byte of the
 *   folio is beyond what @peer can address: as a bus address, or if there is no
 *   IOMMU.
 * * %-EINVAL: the owner's answer makes no sense, which is a bug of its driver.
 * * others: the owner refuses, see &dev_pagemap_ops.peer_access.
 */
int hmm_peer_ask(struct page *page, struct device *peer,
		 struct hmm_peer_addr *at)
{
	struct folio *folio = page_folio(page);
	const struct dev_pagemap_ops *ops = folio->pgmap->ops;
	struct pgmap_peer_access access = {};
	struct hmm_peer_addr unused;
	int ret;

	if (!ops->peer_access)
		return -EOPNOTSUPP;
	ret = ops->peer_access(folio, peer, &access);
	if (ret)
		return ret;
	if (WARN_ON_ONCE(!access.provider || !PAGE_ALIGNED(access.phys)))
		return -EINVAL;

	access.phys += PFN_PHYS(folio_page_idx(folio, page));
	at = at ?: &unused;
	ret = hmm_peer_route(hmm_peer_map_type(access.provider, peer), &access,
			     at);
	if (ret)
		return ret;
	return hmm_peer_addresses(peer, at, PFN_PHYS(hmm_peer_left(page))) ?
	       0 : -EREMOTEIO;
}

/**
 * hmm_peer_run() - find out how many pages a peer reaches as one
 * @page: the first page
 * @peer: the device
 * @at: what hmm_peer_ask() said of @page
 * @npages: how many pages of one page map there are from @page on, at least 1
 *
 * Context: As hmm_peer_ask(), for all of these pages.
 *
 * Return: for how many of them the address goes on, at least 1.
 */
unsigned long hmm_peer_run(struct page *page, struct device *peer,
			   const struct hmm_peer_addr *at, unsigned long npages)
{
	unsigned long pfn = page_to_pfn(page), n = hmm_peer_left(page);

	while (n < npages) {
		struct page *next = pfn_to_page(pfn + n);
		struct hmm_peer_addr to;

		if (hmm_peer_ask(next, peer, &to) ||
		    to.provider != at->provider ||
		    to.phys != at->phys + PFN_PHYS(n))
			break;
		n += hmm_peer_left(next);
	}
	return min(n, npages);
}
