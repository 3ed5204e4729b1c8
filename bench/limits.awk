# SPDX-License-Identifier: GPL-2.0
#
# With rows.awk: says of each limit whether it holds. Exit status 1 if one does
# not. With partial=1, what was not measured is left out instead of failing.

function limit(text, measured, most) {
	if (measured == "") {
		if (partial)
			return
		print "does not hold: " text ": not measured"
		bad = 1
		return
	}
	printf "%s: %s: measured %s, limit %s\n",
		measured <= most ? "holds" : "does not hold", text,
		short(measured), short(most)
	if (measured > most)
		bad = 1
}

function absolute_limits(    s) {
	s = 64 * MB
	limit("snapshot 4k, array, 64 MiB", cost("series", "snapshot", "4k", s), 25)
	limit("snapshot thp-2m, array, 64 MiB",
	      cost("series", "snapshot", "thp-2m", s), 4)
	limit("snapshot hugetlb-2m, array, 64 MiB",
	      cost("series", "snapshot", "hugetlb-2m", s), 4)
	limit("snapshot thp-2m, extents, 64 MiB",
	      cost("series", "snapshot-extents", "thp-2m", s), 0.5)
	limit("snapshot hugetlb-1g, extents, 1 GiB",
	      cost("series", "snapshot-extents", "hugetlb-1g", 1024 * MB), 0.005)
	limit("fault thp-2m beyond the floor, 64 MiB",
	      beyond("series", "thp-2m", s), 5)
	limit("snapshot 4k, whole call on one page, limit is the base",
	      call["series", "snapshot", "4k", 4096],
	      call["base", "snapshot", "4k", 4096])
}

# A tenth of what the base needs, where such a folio was before; no more than it
# needs where there was none.
function device_limits(    s, most) {
	s = 2 * MB
	most = cost("base", "device-init", "thp-2m", s)
	limit("device-init thp-2m, 2 MiB, limit is a tenth of the base",
	      cost("series", "device-init", "thp-2m", s),
	      most == "" ? "" : most / 10)
	limit("device-init-first thp-2m, 2 MiB, limit is the base",
	      cost("series", "device-init-first", "thp-2m", s),
	      cost("base", "device-init-first", "thp-2m", s))
}

function dma_limits(    i, b, s, op, ops) {
	split("dma-map dma-unmap dma-cycle", ops)
	for (op = 1; op <= 3; op++) {
		for (i = 1; i <= backings; i++) {
			b = backing_name[i]
			s = usual_size(b)
			if (dma_limit(ops[op], b) != "")
				limit(ops[op] " " b ", " s / MB " MiB",
				      cost("series", ops[op], b, s),
				      dma_limit(ops[op], b))
		}
	}
}

# RDMA to on-demand memory, "write" or "read", of one backing.
function rdma_limits(verb, b,    s, op, most) {
	s = 64 * MB
	op = "rdma-" verb
	most = cost("series", op "-pinned", b, s)
	if (most != "")
		most *= 1.05
	limit(op "-warm " b ", 64 MiB, limit is 5% above pinned",
	      cost("series", op "-warm", b, s), most)
	limit(op "-implicit " b ", 64 MiB, limit is 5% above pinned",
	      cost("series", op "-implicit", b, s), most)
	limit("calls of HMM for " op "-warm " b ", 64 MiB",
	      hmm_calls["series", op "-warm", b, s], 0)
}

function all_rdma_limits() {
	rdma_limits("write", "4k")
	rdma_limits("write", "thp-2m")
	rdma_limits("read", "4k")
	rdma_limits("read", "thp-2m")
	limit("calls of HMM for rdma-write-cold thp-2m, 2 MiB",
	      hmm_calls["series", "rdma-write-cold", "thp-2m", 2 * MB], 2)
}

# Half of what it costs in the base.
function half_of_base(op, b, s,    v) {
	v = cost("base", op, b, s)
	return v == "" ? "" : v / 2
}

function sparse_limit(op, b, s) {
	limit(op " " b ", limit is half of the base", cost("series", op, b, s),
	      half_of_base(op, b, s))
}

function nouveau_limits(    s, i, n, op, ops) {
	s = 2 * MB
	n = split("4k 4k-scattered thp-2m", ops)
	for (i = 1; i <= n; i++) {
		limit("calls of HMM for nouveau-dense " ops[i],
		      hmm_calls["series", "nouveau-dense", ops[i], s], 1)
		limit("calls that map for nouveau-dense " ops[i],
		      map_calls["series", "nouveau-dense", ops[i], s], 1)
	}
	n = split("16k 64k 256k 2m", ops)
	for (i = 1; i <= n; i++) {
		sparse_limit("nouveau-sparse-" ops[i], "4k", s)
		sparse_limit("nouveau-sparse-" ops[i], "4k-scattered", s)
	}
	limit("pages that the GPU reaches after nouveau-drop-4k thp-2m",
	      mapped["series", "nouveau-drop-4k", "thp-2m", 4096], 0)
	limit("pages that the GPU reaches after nouveau-drop-2m thp-2m",
	      mapped["series", "nouveau-drop-2m", "thp-2m", s], 0)
}

function difference(i,    b, s) {
	b = cost("base", row_op[i], row_backing[i], row_size[i])
	s = cost("series", row_op[i], row_backing[i], row_size[i])
	return sprintf("%s %s %s: series %s, base %s (%+.1f%%)", row_op[i],
		row_backing[i], size_name(row_size[i]), short(s), short(b),
		b ? (s / b - 1) * 100 : 0)
}

# Is row i of the series above the base's, or with both set, is either above the
# other one?
function is_over(i, tolerance, both,    b, s) {
	b = cost("base", row_op[i], row_backing[i], row_size[i])
	s = cost("series", row_op[i], row_backing[i], row_size[i])
	return b == "" || s == "" || s > b * tolerance || (both && b > s * tolerance)
}

# From which size on a row has a limit: below, what the page allocator has at
# hand prevails.
function least_size(op) {
	return op == "fault" || op == "populate" ? MB : 4096
}

# Large rows against the base. Small ones that are above it are only named.
function compare(ops, tolerance, both, text,    i, n, over, large) {
	for (i = 1; i <= rows; i++) {
		if (!index(ops, " " row_op[i] " "))
			continue
		large = row_size[i] >= least_size(row_op[i])
		n += large
		if (!is_over(i, tolerance, both))
			continue
		if (large) {
			over++
			print "does not hold: " difference(i)
		} else if (!both) {
			print "no limit: " difference(i)
		}
	}
	printf "%s: %s: %d of %d rows (populated: all, else from 1 MiB)\n",
		over || !n ? "does not hold" : "holds", text, n - over, n
	if (over || !n)
		bad = 1
}

END {
	print "\nLimits, instructions per 4K page if nothing else is said\n"
	absolute_limits()
	device_limits()
	dma_limits()
	all_rdma_limits()
	nouveau_limits()
	compare(" snapshot refault fault ", 1.01, 0,
		"series at most 1% above the base")
	compare(" rdma-write-warm rdma-read-warm rdma-write-cold rdma-read-cold ",
		1.01, 0, "RDMA of the series at most 1% above the base")
	compare(" nouveau-drop-4k nouveau-protect-2m ", 1.01, 0,
		"invalidation of nouveau SVM at most 1% above the base")
	compare(" nouveau-dense nouveau-sparse-16k nouveau-sparse-64k " \
		"nouveau-sparse-256k nouveau-sparse-2m ",
		1, 0, "faults of nouveau SVM at most as much as the base")
	# Unmapping waits for RCU most of the time, now longer, now shorter.
	compare(" devmem-map ", 1.01, 0,
		"mapping 64 GiB of device memory at most 1% above the base")
	compare(" gup gup-unmap populate rdma-write-pinned rdma-read-pinned ", 1.02, 1,
		"control: what the series does not change is within 2%")
	compare(" gup-map ", 1.02, 0,
		"series at most 2% above the base where GUP maps by iommupt")
	exit bad
}
