#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The life cycle of device memory: drivers are bound and unbound while it is in use,
# 100 times each. Emulated and instrumented, a round takes twenty times as long, and
# what KASAN, lockdep and kmemleak have to say they say in the first few: 10 there.
# The clock counts instructions, so that waiting takes no time.
#
# usage: devmem.sh [OPTION OF devmem-tests...]
# boot: -i -m 6G -t 300 -a "intel_iommu=on memmap=512M!0x100000000 memmap=256M!0x130000000 memmap=256M%0x150000000-1+0xefffffff memmap=256M%0x160000000-1+0xefffffff" -q "-device intel-iommu,aw-bits=48 -device edu,dma_mask=0xffffffffffffffff -object memory-backend-ram,id=m0,size=4M,share=on -device ivshmem-plain,memdev=m0 -drive if=none,id=nv,driver=null-co,read-zeroes=on,size=64M -device nvme,drive=nv,serial=hmm,cmb_size_mb=4"

# shellcheck source-path=SCRIPTDIR source=devmem-setup.sh
. "$HARNESS/guest/devmem-setup.sh"
devmem_setup
DEVMEM_ROUNDS=100
[ -z "$SLOW" ] || DEVMEM_ROUNDS=10
export DEVMEM_ROUNDS
"$SELFTESTS/devmem-tests" "$@"
