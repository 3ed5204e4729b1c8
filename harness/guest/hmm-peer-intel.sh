#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The kselftest of peer access, with devices behind an Intel IOMMU. To the kernel
# the CPU is one whose host bridge passes peer-to-peer accesses on.
#
# boot: -i -m 2G -t 600 -c family=23 -a "intel_iommu=on" -q "-device intel-iommu,aw-bits=48 -device edu,dma_mask=0xffffffffffffffff -device edu,dma_mask=0xffffffffffffffff -object memory-backend-ram,id=m0,size=4M,share=on -object memory-backend-ram,id=m1,size=4M,share=on -device ivshmem-plain,memdev=m0 -device pcie-root-port,id=rp,chassis=1 -device x3130-upstream,bus=rp,id=up -device xio3130-downstream,bus=up,id=d1,chassis=2 -device xio3130-downstream,bus=up,id=d2,chassis=3 -device edu,dma_mask=0xffffffffffffffff,bus=d1 -device ivshmem-plain,memdev=m1,bus=d2"

# shellcheck source-path=SCRIPTDIR source=peer.sh
. "$HARNESS/guest/peer.sh"
peer_tests hmm_peer hmm_peer_switch
