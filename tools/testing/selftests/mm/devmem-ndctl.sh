#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Namespaces of persistent memory are made, used and destroyed, as ndctl and daxctl
# do it: fsdax and devdax, each with its memory map in RAM and on the device, and
# two of them side by side in one region, that go in either order. Afterwards all of
# the region has to be free again.
#
# Needs root, ndctl, daxctl, xfsprogs and e2fsprogs. NDCTL_REGION names a region of
# persistent memory with labels (region0), which has no namespace and 512 MiB or more:
# a test cannot find out which one it may write to. What is made is destroyed again,
# also after a failure. ROUNDS is how often each kind comes and goes (5). The memory is
# used by devmem-tests, which is beside this file or in TESTS.

here=$(dirname "$(readlink -f "$0")")
# shellcheck source=../kselftest/ktap_helpers.sh
. "$here/../kselftest/ktap_helpers.sh"

tests=${TESTS:-$here}/devmem-tests
rounds=${ROUNDS:-5}
made=			# namespaces that are to be destroyed
disks=			# and what may be mounted
making=			# one that is not among them yet
said=$(mktemp) || exit 1

# The shell acts on a signal when the command that runs has come to its end.
clean_up() {
	trap '' INT TERM HUP
	[ -z "$making" ] || made="$made $(field dev)"
	destroy_all
	rm -f "$said"
}
trap clean_up EXIT
trap 'exit 1' INT TERM HUP

# quiet COMMAND...: what it says is shown only if it fails.
quiet() {
	"$@" >"$said" 2>&1 || {
		ktap_print_msg "'$*' ended with $?"
		sed 's/^/# /' "$said"
		return 1
	}
}

# passes COMMAND...: one test, which does not skip.
passes() {
	quiet "$@" || return 1
	if ! grep '^ok 1 ' "$said" | grep -qv '# SKIP'; then
		ktap_print_msg "'$*' has not run its test"
		sed 's/^/# /' "$said"
		return 1
	fi
}

# field NAME: of the JSON that ndctl has just put out, the first one.
field() {
	sed -n "s/^ *\"$1\":\"\{0,1\}\([^\",]*\).*/\1/p" "$said" | head -n 1
}

available() {
	cat "/sys/bus/nd/devices/$region/available_size"
}

# make MODE MAP [SIZE]: leaves the names of what was made in $dev, $block, $chardev.
make() {
	if [ "$1" = devdax ]; then align=2M; else align=4K; fi
	making=1
	quiet ndctl create-namespace -r "$region" -m "$1" -M "$2" -a $align \
		${3:+-s "$3"} || { making=; return 1; }
	dev=$(field dev)
	made="$made $dev"
	making=
	block=$(field blockdev)
	chardev=$(field chardev)
	disks="$disks${block:+ /dev/$block}"
	[ "$(field mode)" = "$1" ] && [ "$(field map)" = "$2" ]
}

destroy() {
	quiet ndctl destroy-namespace -f "$1" || return 1
	left=
	for name in $made; do
		[ "$name" = "$1" ] || left="$left $name"
	done
	made=$left
}

# What a test had no time to unmount would keep its namespace.
destroy_all() {
	[ -n "$made" ] || return 0
	for mounted in $disks; do
		! grep -q "^$mounted " /proc/mounts || quiet umount -l "$mounted"
	done
	# What cannot be destroyed now is tried again at the end.
	for name in $made; do
		destroy "$name"
	done
	[ -n "$made" ] || disks=
}

# bound BLOCK: the device of the nd bus that the disk is of.
bound() {
	basename "$(readlink -f "/sys/block/$1/device")"
}

# Files on it, with the driver bound and unbound below a mapping.
use_fsdax() {
	[ -b "/dev/$block" ] &&
	passes env DEVMEM_PMEM="$(bound "$block")" DEVMEM_DISK="/dev/$block" \
		DEVMEM_ROUNDS=1 "$tests" -r "devmem_fs.$1.bind"
}

use_devdax() {
	quiet daxctl list -d "$chardev" && [ "$(field mode)" = devdax ] &&
	passes env DEVMEM_DAX="$chardev" DEVMEM_ROUNDS=1 "$tests" -r devmem_driver.devdax
}

# alone CASE...: and nothing is left of it for the next one.
alone() {
	if "$@"; then
		return 0
	fi
	destroy_all
	return 1
}

# one MODE MAP: comes, is used and goes, again and again.
one() {
	i=0
	while [ $i -lt "$rounds" ]; do
		i=$((i + 1))
		make "$1" "$2" || return 1
		case $1 in
		fsdax) use_fsdax ext4 && use_fsdax xfs || return 1 ;;
		devdax) use_devdax || return 1 ;;
		esac
		destroy "$dev" || return 1
		[ "$(available)" = "$free" ] || {
			ktap_print_msg "$(available) of $free bytes are free"
			return 1
		}
	done
}

# two first|last: a pair, of which that one goes first while the other is used.
two() {
	i=0
	while [ $i -lt "$rounds" ]; do
		i=$((i + 1))
		make fsdax dev 128M || return 1
		first=$dev
		disk=$block
		make devdax dev 128M || return 1
		if [ "$1" = first ]; then
			destroy "$first" && use_devdax && destroy "$dev" || return 1
		else
			destroy "$dev" && block=$disk && use_fsdax ext4 &&
				destroy "$first" || return 1
		fi
		[ "$(available)" = "$free" ] || return 1
	done
}

ktap_print_header
skip_all() {
	ktap_skip_all "$1"
	exit "$KSFT_SKIP"
}

region=${NDCTL_REGION-}
[ -n "$region" ] || skip_all "NDCTL_REGION names no region of persistent memory"
for tool in ndctl daxctl mkfs.xfs mkfs.ext4; do
	command -v $tool >/dev/null || skip_all "no $tool"
done
[ -r "/sys/bus/nd/devices/$region/available_size" ] || skip_all "no $region"
free=$(available)
[ "$free" = "$(cat "/sys/bus/nd/devices/$region/size")" ] ||
	skip_all "$region has a namespace, or no labels"
[ "$free" -ge $((512 << 20)) ] || skip_all "$region is too small"

ktap_set_plan 6
for mode in fsdax devdax; do
	for map in mem dev; do
		ktap_test_result "${mode}_$map" alone one $mode $map
	done
done
ktap_test_result two_first alone two first
ktap_test_result two_last alone two last
ktap_finished
