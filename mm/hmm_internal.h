/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the HMM DMA layer has for the mirror layer alone. All of it is called under
 * the update lock of the view.
 */
#ifndef __MM_HMM_INTERNAL_H
#define __MM_HMM_INTERNAL_H

#include <linux/types.h>

struct hmm_dma_view;

void hmm_dma_view_trim(struct hmm_dma_view *view, unsigned long start,
		       unsigned long end);
unsigned long hmm_dma_first_missing(struct hmm_dma_view *view,
				    unsigned long start, unsigned long end,
				    bool write);

#endif /* __MM_HMM_INTERNAL_H */
