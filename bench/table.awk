# SPDX-License-Identifier: GPL-2.0
#
# With rows.awk: the tables for people.

function populated(op, kernel, backing, size, whole) {
	return short(whole ? call[kernel, op, backing, size] : cost(kernel, op, backing, size))
}

# whole: cost of one call on one page, not per page at the usual size.
function table_populated(whole,    i, b, size) {
	printf "%-14s %9s %9s %9s   %9s %9s   %9s\n", "", "snapshot", "", "",
		"refault", "", "GUP"
	printf "%-14s %9s %9s %9s   %9s %9s\n", "", "base", "series", "extents",
		"base", "series"
	for (i = 1; i <= backings; i++) {
		b = backing_name[i]
		if (b ~ /^devdax/)
			continue
		size = whole ? 4096 : usual_size(b)
		printf "%-14s %9s %9s %9s   %9s %9s   %9s\n", b,
			populated("snapshot", "base", b, size, whole),
			populated("snapshot", "series", b, size, whole),
			populated("snapshot-extents", "series", b, size, whole),
			populated("refault", "base", b, size, whole),
			populated("refault", "series", b, size, whole),
			populated("gup", "base", b, size, whole)
	}
}

function table_unpopulated(    i, b, size) {
	printf "%-14s %9s %9s   %9s %9s   %9s %9s\n", "", "floor", "",
		"fault", "", "beyond", ""
	printf "%-14s %9s %9s   %9s %9s   %9s %9s\n", "", "base", "series",
		"base", "series", "base", "series"
	for (i = 1; i <= backings; i++) {
		b = backing_name[i]
		size = usual_size(b)
		if (cost("base", "fault", b, size) == "")
			continue
		printf "%-14s %9s %9s   %9s %9s   %9s %9s\n", b,
			short(cost("base", "populate", b, size)),
			short(cost("series", "populate", b, size)),
			short(cost("base", "fault", b, size)),
			short(cost("series", "fault", b, size)),
			short(beyond("base", b, size)),
			short(beyond("series", b, size))
	}
}

# The columns of one operation: base, pinned memory, series and its limit.
function dma_columns(op, b, size, gup) {
	return sprintf("  %8s %8s %8s %6s", short(cost("base", op, b, size)),
		short(gup), short(cost("series", op, b, size)),
		short(dma_limit(op, b)))
}

function table_dma(    i, b, size, head) {
	head = sprintf("  %8s %8s %8s %6s", "base", "GUP", "series", "limit")
	printf "%-14s  %-33s  %-33s  %s\n", "", "     map", "   unmap",
		"   fault, map, unmap"
	printf "%-14s%s%s%s\n", "", head, head, head
	for (i = 1; i <= backings; i++) {
		b = backing_name[i]
		size = usual_size(b)
		if (cost("series", "dma-map", b, size) == "" &&
		    cost("base", "dma-map", b, size) == "")
			continue
		printf "%-14s%s%s%s\n", b,
			dma_columns("dma-map", b, size, cost("base", "gup-map", b, size)),
			dma_columns("dma-unmap", b, size, cost("base", "gup-unmap", b, size)),
			dma_columns("dma-cycle", b, size, gup_cycle(b, size))
	}
}

function or_none(v) {
	return v == "" ? "-" : v
}

# What is done to 1 GiB as a whole.
function table_gib(    i, b, s) {
	s = 1024 * MB
	printf "%-14s  %10s %10s %10s  %8s %8s  %6s %8s  %8s %8s\n", "",
		"map", "", "", "unmap 4K", "", "pages", "", "bytes", ""
	printf "%-14s  %10s %10s %10s  %8s %8s  %6s %8s  %8s %8s\n", "",
		"base", "GUP", "series", "base", "series", "base", "series",
		"base", "series"
	for (i = 1; i <= backings; i++) {
		b = backing_name[i]
		if (call["series", "dma-map", b, s] == "" &&
		    call["base", "dma-map", b, s] == "")
			continue
		printf "%-14s  %10s %10s %10s  %8s %8s  %6s %8s  %8s %8s\n", b,
			short(call["base", "dma-map", b, s]),
			short(call["base", "gup-map", b, s]),
			short(call["series", "dma-map", b, s]),
			short(call["base", "dma-invalidate", b, s]),
			short(call["series", "dma-invalidate", b, s]),
			or_none(dropped["base", "dma-invalidate", b, s]),
			or_none(dropped["series", "dma-invalidate", b, s]),
			or_none(memory["base", "dma-map", b, s]),
			or_none(memory["series", "dma-map", b, s])
	}
}

# What an operation costs more than with pinned memory.
function beyond_pinned(kernel, op, memory, b, size,    v, pinned) {
	v = cost(kernel, op "-" memory, b, size)
	pinned = cost(kernel, op "-pinned", b, size)
	return v == "" || pinned == "" ? "" : v - pinned
}

function rdma_line(op, b,    s, cold) {
	s = 64 * MB
	cold = op "-cold"
	printf "%-12s %-7s %9s %9s  %8s %8s %8s  %8s %8s  %8s %8s %8s %8s\n",
		op, b, short(cost("base", op "-pinned", b, s)),
		short(cost("series", op "-pinned", b, s)),
		short(beyond_pinned("base", op, "warm", b, s)),
		short(beyond_pinned("series", op, "warm", b, s)),
		short(beyond_pinned("series", op, "implicit", b, s)),
		short(beyond_pinned("base", op, "cold", b, s)),
		short(beyond_pinned("series", op, "cold", b, s)),
		short(calls_per_mib("base", cold, b, 2 * MB)),
		short(calls_per_mib("series", cold, b, 2 * MB)),
		short(calls_per_mib("base", cold, b, s)),
		short(calls_per_mib("series", cold, b, s))
}

function table_rdma() {
	printf "%-20s %9s %9s  %8s %8s %8s  %8s %8s  %8s %8s %8s %8s\n", "",
		"pinned", "", "warm", "", "", "cold", "", "2M calls", "",
		"64M", ""
	printf "%-20s %9s %9s  %8s %8s %8s  %8s %8s  %8s %8s %8s %8s\n", "",
		"base", "series", "base", "series", "implicit", "base", "series",
		"base", "series", "base", "series"
	rdma_line("rdma-write", "4k")
	rdma_line("rdma-write", "thp-2m")
	rdma_line("rdma-read", "4k")
	rdma_line("rdma-read", "thp-2m")
}

function pair(what, op, b, s) {
	return sprintf("  %6s %6s", or_none(what["base", op, b, s]),
		or_none(what["series", op, b, s]))
}

# What the GPU reports as 512 faults, by their stride.
function table_nouveau_faults(    ops, n, o, op, i, b, s) {
	n = split("dense sparse-16k sparse-64k sparse-256k sparse-2m", ops)
	s = 2 * MB
	printf "%-12s %-14s  %8s %8s  %8s %8s  %-13s  %-13s  %-13s  %-13s  %s\n", "",
		"", "first", "", "later", "", "HMM calls", "nvif calls", "maps",
		"flushes", "large"
	printf "%-12s %-14s  %8s %8s  %8s %8s", "", "", "base", "series",
		"base", "series"
	for (i = 1; i <= 5; i++)
		printf "  %6s %6s", "base", "series"
	print ""
	for (o = 1; o <= n; o++) {
		for (i = 1; i <= backings; i++) {
			b = backing_name[i]
			op = "nouveau-" ops[o]
			if (cost("base", op, b, s) == "" &&
			    cost("series", op, b, s) == "")
				continue
			printf "%-12s %-14s  %8s %8s  %8s %8s%s%s%s%s%s\n", ops[o], b,
				short(cost("base", op "-first", b, s)),
				short(cost("series", op "-first", b, s)),
				short(cost("base", op, b, s)),
				short(cost("series", op, b, s)),
				pair(hmm_calls, op, b, s),
				pair(nvif_calls, op, b, s),
				pair(map_calls, op, b, s),
				pair(flushes, op, b, s), pair(large, op, b, s)
		}
	}
}

function line_drop(op, b, s) {
	op = "nouveau-" op
	if (call["base", op, b, s] == "" && call["series", op, b, s] == "")
		return
	printf "%-12s %-14s  %8s %8s  %8s %8s%s%s%s\n", substr(op, 9), b,
		short(call["base", op, b, s]), short(call["series", op, b, s]),
		short(beyond_cpu("base", op, b, s)),
		short(beyond_cpu("series", op, b, s)),
		pair(nvif_calls, op, b, s), pair(flushes, op, b, s),
		pair(mapped, op, b, s)
}

function table_nouveau_drops(    i) {
	printf "%-12s %-14s  %8s %8s  %8s %8s  %-13s  %-13s  %-13s\n", "", "",
		"all", "", "beyond", "", "nvif calls", "flushes", "left"
	printf "%-12s %-14s  %8s %8s  %8s %8s", "", "", "base", "series",
		"base", "series"
	for (i = 1; i <= 3; i++)
		printf "  %6s %6s", "base", "series"
	print ""
	for (i = 1; i <= backings; i++)
		line_drop("drop-4k", backing_name[i], 4096)
	for (i = 1; i <= backings; i++)
		line_drop("drop-2m", backing_name[i], 2 * MB)
	for (i = 1; i <= backings; i++)
		line_drop("protect-2m", backing_name[i], 2 * MB)
}

function table_devmem(    i, b, s) {
	s = 65536 * MB
	printf "%-14s  %9s %9s   %9s %9s\n", "", "map", "", "unmap", ""
	printf "%-14s  %9s %9s   %9s %9s\n", "", "base", "series", "base", "series"
	for (i = 1; i <= backings; i++) {
		b = backing_name[i]
		if (b ~ /^devdax/)
			printf "%-14s  %9s %9s   %9s %9s\n", b,
				short(cost("base", "devmem-map", b, s)),
				short(cost("series", "devmem-map", b, s)),
				short(cost("base", "devmem-unmap", b, s)),
				short(cost("series", "devmem-unmap", b, s))
	}
}

# One line of costs by size, unless nothing was measured.
function line_by_size(backing, op, kernel, label,    size, text, any, v) {
	for (size = 4096; size <= 1024 * MB; size *= 4) {
		v = op == "beyond" ? beyond(kernel, backing, size) : cost(kernel, op, backing, size)
		any = any || v != ""
		text = text sprintf(" %8s", short(v))
	}
	if (any)
		printf "%-12s %-18s%s\n", backing, label, text
}

function table_by_size(    i, b, size) {
	printf "%-12s %-18s", "", ""
	for (size = 4096; size <= 1024 * MB; size *= 4)
		printf " %8s", size_name(size)
	print ""
	for (i = 1; i <= backings; i++) {
		b = backing_name[i]
		line_by_size(b, "snapshot", "base", "snapshot base")
		line_by_size(b, "snapshot", "series", "snapshot series")
		line_by_size(b, "snapshot-extents", "series", "  into extents")
		line_by_size(b, "refault", "base", "refault base")
		line_by_size(b, "refault", "series", "refault series")
		line_by_size(b, "gup", "base", "GUP")
		line_by_size(b, "gup-map", "base", "GUP map")
		line_by_size(b, "dma-map", "base", "DMA map base")
		line_by_size(b, "dma-map", "series", "DMA map series")
		line_by_size(b, "gup-unmap", "base", "GUP unmap")
		line_by_size(b, "gup-lazy-unmap", "base", "GUP unmap, lazy")
		line_by_size(b, "dma-unmap", "base", "DMA unmap base")
		line_by_size(b, "dma-unmap", "series", "DMA unmap series")
		line_by_size(b, "dma-cycle", "base", "DMA cycle base")
		line_by_size(b, "dma-cycle", "series", "DMA cycle series")
		line_by_size(b, "fault", "base", "fault base")
		line_by_size(b, "fault", "series", "fault series")
		line_by_size(b, "populate", "base", "floor")
		line_by_size(b, "beyond", "base", "beyond base")
		line_by_size(b, "beyond", "series", "beyond series")
	}
}

END {
	print "Populated memory, instructions per 4K page (64 MiB; hugetlb-1g: 1 GiB)\n"
	table_populated(0)
	print "\nOne call on one populated 4K page, instructions per call\n"
	table_populated(1)
	print "\nUnpopulated memory, instructions per 4K page (64 MiB; hugetlb-1g: 1 GiB)\n"
	table_unpopulated()
	print "\nDMA behind an IOMMU that is flushed at once, instructions per 4K page (64 MiB; hugetlb-1g: 1 GiB)\n"
	table_dma()
	print "\nDMA of 1 GiB: instructions for all of it, to unmap 4K of it and pages that go with it, bytes kept of it\n"
	table_gib()
	print "\nRDMA of 64 MiB: instructions per 4K page, of on-demand memory what is beyond those of pinned memory; calls of HMM per MiB when it is cold\n"
	table_rdma()
	print "\nnouveau SVM: 512 read faults of a GPU on populated memory in a row, or one in each 16K to 2M; instructions per fault from the interrupt to the replay, in a process that begins (first) or after the GPU has lost all (later); later: calls of HMM, of nvif, those of them that map, TLB flushes, faults that got a large entry\n"
	table_nouveau_faults()
	print "\nnouveau SVM: MADV_DONTNEED of 4K or of all of 2M that the GPU has (drop), or mprotect (protect): instructions of the call, those beyond the same without a GPU, calls of nvif, TLB flushes, pages that the GPU still reaches\n"
	table_nouveau_drops()
	print "\nDevice memory of 64 GiB, struct pages kept on the device: instructions per 4K page to bind the driver (map) and to unbind it\n"
	table_devmem()
	print "\nBy size of the range, instructions per 4K page\n"
	table_by_size()
}
