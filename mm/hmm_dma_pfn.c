// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * HMM DMA layer: DMA mappings of single entries of a pfn array.
 *
 * For drivers whose device reaches what hmm_range_fault() reported by DMA. A
 * map is either backed by one IOVA window, in which entry N always has the same
 * address, or by one dma_map_phys() mapping per entry.
 *
 * Locking: an entry of pfn_list and its mapping are protected by the driver's
 * update lock, which its invalidate() callback takes too. Mapping, unmapping
 * and looking at the DMA flags of an entry are done under that lock. Setting up
 * and freeing a map is the owner's business alone.
 */
#include <linux/dma-mapping.h>
#include <linux/hmm-dma.h>
#include <linux/hmm.h>
#include <linux/pci-p2pdma.h>
#include <linux/slab.h>

/* What an entry remembers of its mapping. */
#define HMM_DMA_FLAGS	(HMM_PFN_DMA_MAPPED | HMM_PFN_P2PDMA | \
			 HMM_PFN_P2PDMA_BUS)

/* A page that becomes writable keeps its mapping, so all may be written. */
#define HMM_DMA_DIR	DMA_BIDIRECTIONAL

/*
 * A mapping here lasts as long as the CPU mapping, and CPU and device use the
 * page at the same time. That leaves no moment to hand a bounce buffer or cache
 * lines over, so whatever might need this is refused.
 */
static bool hmm_dma_is_coherent(struct device *dev)
{
#ifdef CONFIG_DMA_NEED_SYNC
	if (!dev_dma_skip_sync(dev))
		return false;
#endif
	return !dma_addressing_limited(dev);
}

/**
 * hmm_dma_map_alloc() - set up a map for a number of entries
 * @dev: the device that will use the addresses
 * @map: the map, to be freed by hmm_dma_map_free()
 * @nr_entries: length of @map->pfn_list, in pages of PAGE_SIZE bytes
 * @dma_entry_size: bytes that one call of hmm_dma_map_pfn() maps
 *
 * Context: May sleep.
 *
 * Return: 0, or:
 *
 * * %-EINVAL: the entries together are smaller than @dma_entry_size.
 * * %-EOPNOTSUPP: @dev does not reach all memory coherently without a bounce
 *   buffer.
 * * %-ENOMEM: no memory for the arrays.
 */
int hmm_dma_map_alloc(struct device *dev, struct hmm_dma_map *map,
		      size_t nr_entries, size_t dma_entry_size)
{
	size_t size;

	if (check_mul_overflow(nr_entries, PAGE_SIZE, &size) ||
	    !dma_entry_size || size < dma_entry_size)
		return -EINVAL;
	if (!hmm_dma_is_coherent(dev))
		return -EOPNOTSUPP;

	*map = (struct hmm_dma_map) { .dma_entry_size = dma_entry_size };
	map->pfn_list = kvcalloc(nr_entries, sizeof(*map->pfn_list),
				 GFP_KERNEL | __GFP_NOWARN);
	if (!map->pfn_list)
		return -ENOMEM;

	if (dma_iova_try_alloc(dev, &map->state, 0, size) ||
	    !dma_need_unmap(dev))
		return 0;

	/* Without a window each address has to be kept for unmapping. */
	map->dma_list = kvcalloc(nr_entries, sizeof(*map->dma_list),
				 GFP_KERNEL | __GFP_NOWARN);
	if (map->dma_list)
		return 0;

	kvfree(map->pfn_list);
	map->pfn_list = NULL;
	return -ENOMEM;
}
EXPORT_SYMBOL_GPL(hmm_dma_map_alloc);

/**
 * hmm_dma_map_free() - free what hmm_dma_map_alloc() set up
 * @dev: the device of the map
 * @map: the map, with every entry unmapped
 *
 * Context: May sleep.
 */
void hmm_dma_map_free(struct device *dev, struct hmm_dma_map *map)
{
	if (dma_use_iova(&map->state))
		dma_iova_free(dev, &map->state);
	kvfree(map->dma_list);
	kvfree(map->pfn_list);
}
EXPORT_SYMBOL_GPL(hmm_dma_map_free);

static unsigned long hmm_dma_attrs(unsigned long flags)
{
	return DMA_ATTR_REQUIRE_COHERENT |
	       (flags & HMM_PFN_P2PDMA ? DMA_ATTR_MMIO : 0);
}

/* Is the address of a mapped entry on record? Bus addresses are computed. */
static bool hmm_dma_known(struct hmm_dma_map *map, size_t idx, dma_addr_t *addr)
{
	unsigned long pfn = map->pfn_list[idx];

	if (!(pfn & HMM_PFN_DMA_MAPPED) || pfn & HMM_PFN_P2PDMA_BUS)
		return false;
	if (map->dma_list)
		*addr = map->dma_list[idx];
	else
		*addr = map->state.addr + idx * map->dma_entry_size;
	return map->dma_list || dma_use_iova(&map->state);
}

static int hmm_dma_link(struct device *dev, struct hmm_dma_map *map,
			size_t idx, unsigned long flags, dma_addr_t *addr)
{
	phys_addr_t phys = hmm_pfn_to_phys(map->pfn_list[idx]);
	struct dma_iova_state *window = &map->state;
	size_t size = map->dma_entry_size, offset = idx * size;
	unsigned long attrs = hmm_dma_attrs(flags);
	int ret;

	if (!dma_use_iova(window)) {
		*addr = dma_map_phys(dev, phys, size, HMM_DMA_DIR, attrs);
		ret = dma_mapping_error(dev, *addr);
		if (!ret && map->dma_list)
			map->dma_list[idx] = *addr;
		return ret;
	}

	*addr = window->addr + offset;
	ret = dma_iova_link(dev, window, phys, offset, size, HMM_DMA_DIR,
			    attrs);
	if (ret)
		return ret;
	ret = dma_iova_sync(dev, window, offset, size);
	if (ret)
		dma_iova_unlink(dev, window, offset, size, HMM_DMA_DIR, attrs);
	return ret;
}

/* Undo hmm_dma_link(). A mapping that needs no undoing left no trace. */
static void hmm_dma_unlink(struct device *dev, struct hmm_dma_map *map,
			   size_t idx, unsigned long flags)
{
	size_t size = map->dma_entry_size;

	if (map->dma_list)
		dma_unmap_phys(dev, map->dma_list[idx], size, HMM_DMA_DIR,
			       hmm_dma_attrs(flags));
	else if (dma_use_iova(&map->state))
		dma_iova_unlink(dev, &map->state, idx * size, size, HMM_DMA_DIR,
				hmm_dma_attrs(flags));
}

/**
 * hmm_dma_map_pfn() - DMA address of an entry, mapping it if need be
 * @dev: the device of the map
 * @map: the map
 * @idx: index of the entry, which has %HMM_PFN_VALID set. Where
 *	@map->dma_entry_size is larger than a page, each index stands for that
 *	many bytes of the IOVA window.
 * @p2pdma_state: state of the peer-to-peer look-up, zeroed by the caller before
 *	the first entry
 *
 * An entry that is mapped already keeps its address, also if its page has
 * become writable since.
 *
 * Context: Under the driver's update lock, after mmu_interval_read_retry()
 * returned false.
 *
 * Return: the address, or %DMA_MAPPING_ERROR, with the entry not mapped.
 */
dma_addr_t hmm_dma_map_pfn(struct device *dev, struct hmm_dma_map *map,
			   size_t idx, struct pci_p2pdma_map_state *p2pdma_state)
{
	unsigned long *pfn = &map->pfn_list[idx];
	struct page *page = hmm_pfn_to_page(*pfn);
	unsigned long flags = HMM_PFN_DMA_MAPPED;
	enum pci_p2pdma_map_type type;
	dma_addr_t addr;

	if (hmm_dma_known(map, idx, &addr))
		return addr;

	type = pci_p2pdma_state(p2pdma_state, dev, page);
	if (type == PCI_P2PDMA_MAP_BUS_ADDR) {
		*pfn |= flags | HMM_PFN_P2PDMA_BUS;
		return pci_p2pdma_bus_addr_map(p2pdma_state->mem,
					       hmm_pfn_to_phys(*pfn));
	}
	if (type == PCI_P2PDMA_MAP_THRU_HOST_BRIDGE)
		flags |= HMM_PFN_P2PDMA;
	else if (type != PCI_P2PDMA_MAP_NONE)
		return DMA_MAPPING_ERROR;

	if (hmm_dma_link(dev, map, idx, flags, &addr))
		return DMA_MAPPING_ERROR;
	*pfn |= flags;
	return addr;
}
EXPORT_SYMBOL_GPL(hmm_dma_map_pfn);

/**
 * hmm_dma_unmap_pfn() - take the DMA mapping of an entry down
 * @dev: the device of the map
 * @map: the map
 * @idx: index of the entry
 *
 * In an IOVA window the device cannot reach the page any more when this returns.
 * Without a window, dma_unmap_phys() decides when the IOMMU forgets it. The pfn
 * and the access flags of the entry stay, so that the caller can mark the page
 * dirty.
 *
 * Context: Under the driver's update lock; in its invalidate() callback too.
 *
 * Return: true if the entry was mapped.
 */
bool hmm_dma_unmap_pfn(struct device *dev, struct hmm_dma_map *map, size_t idx)
{
	unsigned long *pfn = &map->pfn_list[idx];

	if (!(*pfn & HMM_PFN_VALID) || !(*pfn & HMM_PFN_DMA_MAPPED))
		return false;

	/* A bus address is not a mapping. */
	if (!(*pfn & HMM_PFN_P2PDMA_BUS))
		hmm_dma_unlink(dev, map, idx, *pfn);
	*pfn &= ~HMM_DMA_FLAGS;
	return true;
}
EXPORT_SYMBOL_GPL(hmm_dma_unmap_pfn);
