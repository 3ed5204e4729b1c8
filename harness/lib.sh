# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# What every harness script shares: where things are and how to speak.
# Sourced, never run:  . "$(dirname "$0")/lib.sh"
#
# Two places hold everything that is made. HMM_CACHE outlives the clone
# (downloads, the unpacked base, ccache), HMM_OUT belongs to it (the patched
# tree with its builds inside, results).

# A caller's CDPATH or locale must not change what scripts read back.
# Nor must the flags and variables of the make that called us reach kbuild.
unset CDPATH MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES
export LC_ALL=C

REPO=$(cd "$(dirname "$0")/.." && pwd -P)
case $REPO in
*/harness) REPO=$(dirname "$REPO") ;;	# script in a subfolder of harness/
esac
HARNESS=$REPO/harness
REPO=${HMM_REPO:-$REPO}			# the harness's own tests bring a small one
HMM_CACHE=${HMM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/hmm-series}
HMM_OUT=${HMM_OUT:-$REPO/out}
case $HMM_CACHE in /*) ;; *) HMM_CACHE=$PWD/$HMM_CACHE ;; esac
case $HMM_OUT in /*) ;; *) HMM_OUT=$PWD/$HMM_OUT ;; esac
TREE=${HMM_TREE:-$HMM_OUT/tree}	# harness/staging has one of its own
export REPO HARNESS HMM_CACHE HMM_OUT TREE

prog=$(basename "$0")

# Progress goes to stderr, so that stdout stays free for what a script answers.
say() {
	printf '%s: %s\n' "$prog" "$*" >&2
}

die() {
	printf '%s: error: %s\n' "$prog" "$*" >&2
	exit 1
}

# Prints the usage line, which is the first "# usage:" comment of the script.
usage() {
	sed -n 's/^# usage: */usage: /p' "$0" >&2
	exit 2
}

# need TOOL PACKAGE: stop with the command that would install what is missing.
need() {
	command -v "$1" >/dev/null 2>&1 ||
		die "$1 is missing: run 'make deps' as root, or 'apt-get install $2'"
}
