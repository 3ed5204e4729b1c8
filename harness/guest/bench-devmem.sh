#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs devmem-bench on 64 GiB of device memory, with struct pages for 4K each and
# for 2M each; these are kept on the device. The device is an NVDIMM of which only
# what is written to takes memory of the host: 1 GiB.
#
# usage: bench-devmem.sh PROGRAM KERNEL [BACKING...]
# boot: -i -m 3G,slots=1,maxmem=80G -t 900 -q "-object memory-backend-ram,id=nv0,size=65538M,reserve=off -device nvdimm,id=nvdimm0,memdev=nv0,label-size=2M"

# A new NVDIMM has nothing in its label area, and then one namespace.
# shellcheck source-path=SCRIPTDIR source=pmem.sh
. "$HARNESS/guest/pmem.sh"
step ndctl disable-region all
step ndctl init-labels all
step ndctl enable-region all

program=$1
kernel=$2
shift 2

for align in 4K 2M; do
	backing=devdax-$(echo $align | tr KM km)
	case " $* " in "  " | *" $backing "*) ;; *) continue ;; esac
	json=$(ndctl create-namespace -m devdax -M dev -a $align)
	field() {
		echo "$json" | sed -n "s/^ *\"$1\":\"\([^\"]*\)\".*/\1/p" | head -n 1
	}
	"$program" -k "$kernel" "$backing" "$(field chardev)"
	ndctl destroy-namespace -f "$(field dev)" >/dev/null
done
