# SPDX-License-Identifier: GPL-2.0
#
# Reads the lines of hmm-bench for the other *.awk files here, which have only
# END rules: cost per page and per call by kernel, operation, backing and size,
# and the lists of backings and sizes in their order.

function field(name,    v) {
	if (!match($0, "\"" name "\":\"?[^,\"}]*"))
		return ""
	v = substr($0, RSTART, RLENGTH)
	sub(/^[^:]*:"?/, "", v)
	return v
}

# The size that stands for a backing in short tables.
function usual_size(backing) {
	return backing == "hugetlb-1g" ? 1024 * MB : 64 * MB
}

function size_name(size) {
	if (size >= 1024 * MB)
		return size / 1024 / MB "G"
	return size >= MB ? size / MB "M" : size / 1024 "K"
}

# Instructions per 4K page, "" if that was not measured.
function cost(kernel, op, backing, size) {
	return page[kernel, op, backing, size]
}

# What a fault costs more than MADV_POPULATE_WRITE of the same memory.
function beyond(kernel, backing, size,    fault, floor) {
	fault = cost(kernel, "fault", backing, size)
	floor = cost(kernel, "populate", backing, size)
	return fault == "" || floor == "" ? "" : fault - floor
}

# What pinned memory costs to map and to unmap, as one number.
function gup_cycle(backing, size,    m, u) {
	m = cost("base", "gup-map", backing, size)
	u = cost("base", "gup-unmap", backing, size)
	return m == "" || u == "" ? "" : m + u
}

# Most that a DMA operation may cost in the series, "" if nothing is said.
function dma_limit(op, backing) {
	if (op == "dma-cycle")
		return backing == "thp-2m" ? 8 : ""
	if (backing ~ /^(thp|hugetlb)/)
		return 3
	if (backing !~ /^4k/)
		return ""
	if (op == "dma-unmap")
		return backing == "4k" ? 40 : ""
	return backing == "4k" ? 30 : 550
}

# Calls of HMM for each MiB of an RDMA transfer, "" if these were not counted.
function calls_per_mib(kernel, op, backing, size,    v) {
	v = hmm_calls[kernel, op, backing, size]
	return v == "" ? "" : v / (size / MB)
}

# What an invalidation costs more than the same without a GPU.
function beyond_cpu(kernel, op, backing, size,    v, cpu) {
	v = call[kernel, op, backing, size]
	cpu = call[kernel, op "-cpu", backing, size]
	return v == "" || cpu == "" ? "" : v - cpu
}

function short(v) {
	if (v == "")
		return "-"
	if (v < 0 || v >= 10)
		return sprintf(v > -1000 && v < 1000 ? "%.1f" : "%.0f", v)
	return sprintf(v < 0.1 ? "%.4f" : "%.2f", v)
}

BEGIN {
	MB = 1048576
}

/^[{]"kernel"/ {
	kernel = field("kernel")
	op = field("op")
	backing = field("backing")
	size = field("size") + 0
	page[kernel, op, backing, size] = field("per_page") + 0
	call[kernel, op, backing, size] = field("per_call") + 0
	memory[kernel, op, backing, size] = field("memory")
	dropped[kernel, op, backing, size] = field("dropped")
	hmm_calls[kernel, op, backing, size] = field("hmm_calls")
	nvif_calls[kernel, op, backing, size] = field("nvif_calls")
	map_calls[kernel, op, backing, size] = field("map_calls")
	flushes[kernel, op, backing, size] = field("flushes")
	mapped[kernel, op, backing, size] = field("mapped")
	large[kernel, op, backing, size] = field("large")
	if (!((op, backing, size) in seen_row)) {
		seen_row[op, backing, size] = 1
		row_op[++rows] = op
		row_backing[rows] = backing
		row_size[rows] = size
	}
	if (!seen_backing[backing]++)
		backing_name[++backings] = backing
}
