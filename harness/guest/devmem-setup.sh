# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Sourced by the jobs devmem*: the devices whose memory comes and goes, named as
# tools/testing/selftests/mm/devmem_util.h says. On the command line of QEMU are an
# IOMMU, an edu device, a peer (ivshmem) and an NVMe controller with a memory buffer;
# on that of the kernel two areas of emulated pmem and two of special-purpose memory.

# shellcheck source-path=SCRIPTDIR source=pmem.sh
. "$HARNESS/guest/pmem.sh"
# shellcheck source-path=SCRIPTDIR source=modules.sh
. "$HARNESS/guest/modules.sh"

# See dma.sh.
if [ -w /proc/sys/kernel/hung_task_timeout_secs ]; then
	echo 7200 >/proc/sys/kernel/hung_task_timeout_secs
fi

# pci_device VENDOR DEVICE: where the first one is.
pci_device() {
	for d in /sys/bus/pci/devices/*; do
		if [ "$(cat "$d/vendor" "$d/device" | tr '\n' ' ')" = "$1 $2 " ]; then
			basename "$d"
			return
		fi
	done
	fail "no PCI device $1:$2"
}

devmem_setup() {
	step load test_hmm_dma
	step load nvme
	region=$(region_at 0x100000000)
	DEVMEM_PMEM=namespace$region.0
	DEVMEM_DISK=/dev/pmem$region
	region=$(region_at 0x130000000)
	step ndctl create-namespace -f -e "namespace$region.0" -m devdax -a 2M -M dev
	DEVMEM_DAX=dax$region.0
	DEVMEM_EDU=$(pci_device 0x1234 0x11e8)
	DEVMEM_PEER=$(pci_device 0x1af4 0x1110)
	DEVMEM_NVME=$(pci_device 0x1b36 0x0010)
	DEVMEM_MODULE=$(ko_of test_hmm)
	DEVMEM_PARAMS="spm_addr_dev0=0x150000000 spm_addr_dev1=0x160000000"
	export DEVMEM_PMEM DEVMEM_DISK DEVMEM_DAX DEVMEM_EDU DEVMEM_PEER
	DEVMEM_SECONDS=3000	# the clock counts instructions
	export DEVMEM_NVME DEVMEM_MODULE DEVMEM_PARAMS DEVMEM_SECONDS
}
