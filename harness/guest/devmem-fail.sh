#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Allocation failures at each point of memremap_pages(). Only the debug build has
# what injects them. The NVMe controller, whose probe takes seconds each time, fails
# in the same function as the plain PCI device does, so it is left out.
#
# usage: devmem-fail.sh [OPTION OF devmem-fail-nth...]
# boot: -i -m 6G -t 300 -a "intel_iommu=on memmap=512M!0x100000000 memmap=256M!0x130000000 memmap=256M%0x150000000-1+0xefffffff memmap=256M%0x160000000-1+0xefffffff" -q "-device intel-iommu,aw-bits=48 -device edu,dma_mask=0xffffffffffffffff -object memory-backend-ram,id=m0,size=4M,share=on -device ivshmem-plain,memdev=m0 -drive if=none,id=nv,driver=null-co,read-zeroes=on,size=64M -device nvme,drive=nv,serial=hmm,cmb_size_mb=4"

# shellcheck source-path=SCRIPTDIR source=devmem-setup.sh
. "$HARNESS/guest/devmem-setup.sh"
devmem_setup
"$SELFTESTS/devmem-fail-nth" -V nvme "$@"
