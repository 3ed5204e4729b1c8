# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Sourced by jobs that use RDMA: two soft-RoCE devices, rxe0 and rxe1, on the two
# ends of a veth pair, 10.9.0.1 and 10.9.0.2. What one sends to the other crosses
# the pair; what a device sends to itself, rxe loops back. The pair's MTU lets each
# path MTU be used, up to 4096.

# shellcheck source-path=SCRIPTDIR source=pmem.sh
. "$HARNESS/guest/pmem.sh"

# gid_of DEVICE ADDRESS: index of the GID that belongs to 10.9.0.x.
gid_of() {
	want=$(printf '0000:0000:0000:0000:0000:ffff:0a09:00%02x' "${2##*.}")
	for gid in "/sys/class/infiniband/$1/ports/1/gids"/?; do
		if [ "$(cat "$gid")" = "$want" ]; then
			echo "${gid##*/}"
			return
		fi
	done
	return 1
}

# is_up DEVICE ADDRESS: does its port take traffic, and is its GID there?
is_up() {
	grep -q ACTIVE "/sys/class/infiniband/$1/ports/1/state" &&
		gid_of "$1" "$2" >/dev/null
}

# Waits up to 30 s for a device to be up.
await_up() {
	try=0
	until is_up "$1" "$2" 2>/dev/null; do
		try=$((try + 1))
		[ $try -lt 300 ] ||
			fail "$1 is not up after 30 s: $(cat "/sys/class/infiniband/$1/ports/1/state" 2>&1)"
		sleep 0.1
	done
}

# rxe DEVICE NETDEV ADDRESS: an address for NETDEV, DEVICE on top of it. The peer's
# address is one of this machine too, which a netdev has to be told to accept.
# Link-local addresses are used as they are, without a search for a duplicate.
rxe() {
	for setting in ipv4/conf/$2/accept_local=1 ipv4/conf/$2/rp_filter=0 \
			ipv6/conf/$2/accept_dad=0; do
		echo "${setting#*=}" >"/proc/sys/net/${setting%=*}" ||
			fail "set-up: net/$setting was refused"
	done
	step ip address add "$3/24" dev "$2"
	step ip link set "$2" mtu 9000 up
	step rdma link add "$1" type rxe netdev "$2"
}

# Leaves the index of the IPv4 GID of rxe0 in RDMA_GID, and that of rxe1 in
# RDMA_PEER_GID. The kernel's modules are those of $BUILD.
rdma_net() {
	command -v rdma >/dev/null || fail "rdma is missing: apt-get install iproute2"
	for module in net/ipv4/udp_tunnel net/ipv6/ip6_udp_tunnel \
			drivers/infiniband/sw/rxe/rdma_rxe; do
		[ ! -f "$BUILD/$module.ko" ] || step insmod "$BUILD/$module.ko"
	done
	[ -d /sys/class/infiniband ] || fail "the kernel lacks CONFIG_INFINIBAND"
	[ -d /sys/module/rdma_rxe ] || fail "the kernel lacks CONFIG_RDMA_RXE"
	echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter
	step ip link add v0 type veth peer name v1
	rxe rxe0 v0 10.9.0.1
	rxe rxe1 v1 10.9.0.2
	await_up rxe0 10.9.0.1
	await_up rxe1 10.9.0.2
	RDMA_GID=$(gid_of rxe0 10.9.0.1)
	RDMA_PEER_GID=$(gid_of rxe1 10.9.0.2)
	export RDMA_GID RDMA_PEER_GID
}
