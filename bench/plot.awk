# SPDX-License-Identifier: GPL-2.0
#
# With rows.awk: a gnuplot script on stdout. A panel per backing: first of
# populated memory, then of unpopulated memory, then of DMA.

# Defines a data block; false if there is nothing in it. Keeps the highest value
# of the panel.
function block(name, kernel, op, backing,    size, v, any) {
	printf "$%s << EOD\n", name
	for (size = 4096; size <= 1024 * MB; size *= 4) {
		v = cost(kernel, op, backing, size)
		if (v == "")
			continue
		print size, v
		any = 1
		if (v > highest)
			highest = v
	}
	print "EOD"
	return any
}

# Adds a line to the panel: d is the number of its data block.
function curve(kernel, op, backing, title, style) {
	if (!block("d" ++d, kernel, op, backing))
		return
	curves = curves (curves ? ", " : "plot ") \
		sprintf("$d%d using 1:2 with linespoints %s title '%s'", d, style, title)
}

# room: the key goes above the curves.
function panel(title, room) {
	if (!curves)
		return
	printf "set title '%s'\nset yrange [*:%g]\n%s\n", title, highest * room, curves
	curves = ""
	highest = 0
}

END {
	base = "lc rgb '#c03020' pt 7 ps 0.5"
	series = "lc rgb '#2060b0' pt 7 ps 0.5"
	print "set terminal svg size 1700,1625 font 'sans,11' background 'white'"
	print "set output '" output "'"
	print "set multiplot layout 5,5 title 'Instructions per 4K page by size of the range'"
	print "set logscale xy"
	print "set format y '%g'"
	print "set xtics ('4K' 4096, '64K' 65536, '1M' 1048576, '16M' 16777216, '256M' 268435456)"
	print "set grid ytics lc rgb '#dddddd'"
	print "set key font ',9' samplen 2"
	print "set xrange [3000:1.5e9]"
	for (i = 1; i <= backings; i++) {
		b = backing_name[i]
		if (b ~ /^devdax/)
			continue
		curve("base", "snapshot", b, "snapshot, base", base)
		curve("series", "snapshot", b, "snapshot, series", series)
		curve("series", "snapshot-extents", b, "into extents", series " dt 3")
		curve("base", "refault", b, "refault, base", base " dt 2")
		curve("series", "refault", b, "refault, series", series " dt 2")
		curve("base", "gup", b, "GUP", "lc rgb '#808080' pt 5 ps 0.4")
		panel(b ", populated", 30)
	}
	for (i = 1; i <= backings; i++) {
		b = backing_name[i]
		if (b ~ /^devdax/)
			continue
		curve("base", "fault", b, "fault, base", base)
		curve("series", "fault", b, "fault, series", series)
		curve("base", "populate", b, "floor", "lc rgb '#808080' pt 5 ps 0.4")
		panel(b ", unpopulated", 30)
	}
	for (i = 1; i <= backings; i++) {
		b = backing_name[i]
		if (b ~ /^devdax/)
			continue
		curve("base", "dma-map", b, "DMA map, base", base)
		curve("series", "dma-map", b, "DMA map, series", series)
		curve("base", "dma-unmap", b, "unmap, base", base " dt 2")
		curve("series", "dma-unmap", b, "unmap, series", series " dt 2")
		curve("base", "gup-map", b, "GUP and map", "lc rgb '#808080' pt 5 ps 0.4")
		panel(b ", DMA", 1000)
	}
	print "unset multiplot"
}
