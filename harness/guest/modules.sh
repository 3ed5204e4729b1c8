# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Modules of the build under test, by their name. Sourced by guest jobs.

# ko_of MODULE: its file; modules.order knows where each module is.
ko_of() {
	name=$(echo "$1" | sed 's/[-_]/[-_]/g')
	sed -n "s|\(.*/$name\)\.o\$|$BUILD/\1.ko|p" "$BUILD/modules.order" |
		grep . || {
		echo "no module $1 in $BUILD" >&2
		return 1
	}
}

is_loaded() {
	grep -q "^$(echo "$1" | tr - _) " /proc/modules
}

# load MODULE [PARAMETER...]: after what it depends on, unless it is there.
# $loaded has all of them, the last one first.
loaded=
load() {
	! is_loaded "$1" || return 0
	for needed in $(modinfo -F depends "$(ko_of "$1")" | tr , ' '); do
		load "$needed"
	done
	module=$1
	shift
	insmod "$(ko_of "$module")" "$@" || return
	case " $loaded" in
	*" $module "*) ;;
	*) loaded="$module $loaded" ;;
	esac
}

# unload MODULE...: in this order
unload() {
	for module; do
		rmmod "$module"
		! is_loaded "$module" || return 1
	done
}
