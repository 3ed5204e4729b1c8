#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The kselftest of the DMA and mirror layers, with a device behind a virtio
# IOMMU. The CPU is one of which the kernel does not know whether the host bridge
# passes peer-to-peer accesses on.
#
# boot: -i -m 5G -t 600 -a "hugepagesz=1G hugepages=1 hugepagesz=2M hugepages=16 memmap=256M!0x100000000 memmap=256M%0x110000000-1+0xefffffff memmap=256M%0x120000000-1+0xefffffff" -q "-device virtio-iommu-pci -object memory-backend-ram,id=n0,size=3G -object memory-backend-ram,id=n1,size=2G -numa node,nodeid=0,memdev=n0,cpus=0 -numa node,nodeid=1,memdev=n1 -device edu,dma_mask=0xffffffffffffffff -device edu,dma_mask=0xffffffffffffffff -object memory-backend-ram,id=m0,size=4M,share=on -object memory-backend-ram,id=m1,size=4M,share=on -device ivshmem-plain,memdev=m0 -device pcie-root-port,id=rp,chassis=1 -device x3130-upstream,bus=rp,id=up -device xio3130-downstream,bus=up,id=d1,chassis=2 -device xio3130-downstream,bus=up,id=d2,chassis=3 -device edu,dma_mask=0xffffffffffffffff,bus=d1 -device ivshmem-plain,memdev=m1,bus=d2"

# shellcheck source-path=SCRIPTDIR source=dma.sh
. "$HARNESS/guest/dma.sh"
dma_tests hmm_dma hmm_dma_coherent hmm_dma_iommu hmm_dma_peer hmm_dma_peer_refused
