# SPDX-License-Identifier: GPL-2.0
#
# With rows.awk: all rows as one JSON array, base and series side by side. A
# number that was not measured is null.

function number(v) {
	return v == "" ? "null" : sprintf("%.6f", v)
}

# A whole number that few rows have.
function both(name, base, series) {
	if (base != "" || series != "")
		printf ",\"%s\":{\"base\":%s,\"series\":%s}", name,
			base == "" ? "null" : base, series == "" ? "null" : series
}

END {
	print "["
	for (i = 1; i <= rows; i++) {
		o = row_op[i]
		b = row_backing[i]
		s = row_size[i]
		printf "{\"op\":\"%s\",\"backing\":\"%s\",\"size\":%d,", o, b, s
		printf "\"per_page\":{\"base\":%s,\"series\":%s},",
			number(cost("base", o, b, s)), number(cost("series", o, b, s))
		printf "\"per_call\":{\"base\":%s,\"series\":%s}",
			number(call["base", o, b, s]), number(call["series", o, b, s])
		both("memory", memory["base", o, b, s], memory["series", o, b, s])
		both("dropped", dropped["base", o, b, s], dropped["series", o, b, s])
		both("hmm_calls", hmm_calls["base", o, b, s],
		     hmm_calls["series", o, b, s])
		both("nvif_calls", nvif_calls["base", o, b, s],
		     nvif_calls["series", o, b, s])
		both("map_calls", map_calls["base", o, b, s],
		     map_calls["series", o, b, s])
		both("flushes", flushes["base", o, b, s],
		     flushes["series", o, b, s])
		both("mapped", mapped["base", o, b, s], mapped["series", o, b, s])
		both("large", large["base", o, b, s], large["series", o, b, s])
		print "}" (i < rows ? "," : "")
	}
	print "]"
}
