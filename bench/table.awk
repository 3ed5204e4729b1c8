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
	print "\nBy size of the range, instructions per 4K page\n"
	table_by_size()
}
