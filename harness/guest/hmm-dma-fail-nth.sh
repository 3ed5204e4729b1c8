#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Allocation failures in the DMA and mirror layers, with a device behind an Intel
# IOMMU. Only the debug build has what injects them. The clock counts
# instructions, so that waiting for a transfer takes no time.
#
# usage: hmm-dma-fail-nth.sh [OPTION OF hmm-dma-fail-nth...]
# boot: -i -m 2G -t 300 -a "intel_iommu=on hugepagesz=2M hugepages=8" -q "-device intel-iommu,aw-bits=48 -device edu,dma_mask=0xffffffffffffffff"

insmod "$BUILD/lib/test_hmm_dma.ko"
"$SELFTESTS/hmm-dma-fail-nth" "$@"
