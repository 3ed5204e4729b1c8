#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# ndctl and daxctl make and destroy namespaces on an emulated NVDIMM with labels.
#
# usage: devmem-ndctl.sh
# boot: -i -m 4G,slots=2,maxmem=8G -t 300 -q "-object memory-backend-ram,id=nv0,size=1026M -device nvdimm,id=nvdimm0,memdev=nv0,label-size=2M"

# A new NVDIMM has nothing in its label area, and then one namespace.
# shellcheck source-path=SCRIPTDIR source=pmem.sh
. "$HARNESS/guest/pmem.sh"
step ndctl disable-region all
step ndctl init-labels all
step ndctl enable-region all

ROUNDS=3
[ -z "$SLOW" ] || ROUNDS=1
NDCTL_REGION=$(ndctl list -R | sed -n 's/.*"dev":"\([^"]*\)".*/\1/p' | head -n 1)
DEVMEM_SECONDS=3000	# the clock counts instructions
export ROUNDS NDCTL_REGION DEVMEM_SECONDS
TESTS=$SELFTESTS sh "$TREE/tools/testing/selftests/mm/devmem-ndctl.sh"
