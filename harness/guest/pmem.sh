# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Sourced by jobs that set up emulated pmem, and other things that can fail.

fail() {
	printf '%s: error: %s\n' "$JOB" "$*" >&2
	exit 1
}

# Runs a step of the set-up; what it prints is shown only if it fails.
step() {
	"$@" >/tmp/step.log 2>&1 || {
		cat /tmp/step.log >&2
		fail "set-up: '$*' failed"
	}
}

# Number of the pmem region that begins at address $1.
region_at() {
	for r in /sys/bus/nd/devices/region*; do
		if [ "$(cat "$r/resource" 2>/dev/null)" = "$1" ]; then
			echo "${r##*/region}"
			return
		fi
	done
	fail "no pmem at $1: the kernel needs memmap=SIZE!$1 and CONFIG_X86_PMEM_LEGACY"
}
