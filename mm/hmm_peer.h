/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Device-private memory that its owner offers to another device, for the range and
 * the DMA layer, and what of a BAR a device can address. Nothing here has a lock:
 * what keeps the pages in place, and so the answer true, is said at
 * hmm_peer_ask().
 */
#ifndef __MM_HMM_PEER_H
#define __MM_HMM_PEER_H

#include <linux/mm.h>
#include <linux/pci-p2pdma.h>
#include <linux/types.h>

struct device;

/**
 * struct hmm_peer_addr - where a peer reaches a page
 * @provider: the BAR that it is in
 * @phys: physical address of the page in there, to be mapped as MMIO unless
 *	@by_bus is set
 * @bus: bus address, to be used as it is, if @by_bus is set; else 0
 * @by_bus: the peer is below the same switch
 */
struct hmm_peer_addr {
	struct p2pdma_provider *provider;
	phys_addr_t phys;
	dma_addr_t bus;
	bool by_bus;
};

/* How many pages of its folio there are from @page on. */
static inline unsigned long hmm_peer_left(struct page *page)
{
	struct folio *folio = page_folio(page);

	return folio_nr_pages(folio) - folio_page_idx(folio, page);
}

enum pci_p2pdma_map_type hmm_peer_map_type(struct p2pdma_provider *provider,
					   struct device *peer);
bool hmm_peer_addresses(struct device *peer, const struct hmm_peer_addr *at,
			size_t size);
int hmm_peer_ask(struct page *page, struct device *peer,
		 struct hmm_peer_addr *at);
unsigned long hmm_peer_run(struct page *page, struct device *peer,
			   const struct hmm_peer_addr *at, unsigned long npages);

#endif /* __MM_HMM_PEER_H */
