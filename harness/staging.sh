# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2034,SC2154
#
# What the parts of harness/staging share. Sourced after lib.sh by each of
# them; harness/staging sets the variables:
#
#	STAGE		the folder of this run
#	STAGE_RESULTS	where this part writes what it finds
#	TREE		a checkout of staging's own, which walks along the series
#
# A result is a line of four fields, separated by tabs: STATUS PATCH CHECK TEXT.
# PATCH is "series" if it is about no single one. STATUS:
#
#	PASS	checked, nothing was found
#	FAIL	a maintainer would send it back
#	OPEN	not for a machine: somebody has to say yes
#	NOTE	worth knowing, neither good nor bad
#	SKIP	not checked in this run, and why

[ -n "${STAGE_RESULTS-}" ] ||
	die "a part of 'make staging': run 'harness/staging -p $prog'"

# In one write, as a part may do two things at a time.
result() {
	head=$(printf '%s\t%s\t%s' "$1" "$2" "$3")
	shift 3
	text=$(printf '%s' "$*" | tr '\t\n' '  ' | sed 's/  */ /g; s/ $//')
	printf '%s\t%s\n' "$head" "$text" >>"$STAGE_RESULTS"
}

# fail_lines PATCH CHECK FILE: one FAIL for each line; PASS if there is none.
fail_lines() {
	while IFS= read -r line; do
		result FAIL "$1" "$2" "$line"
	done <"$3"
	[ -s "$3" ] || result PASS "$1" "$2" "${4:-nothing found}"
}

# Lines "COMMIT PATCH": of all patches, and of those that this run is about.
all_patches() { cat "$STAGE/commits"; }
some_patches() { cat "$STAGE/selected"; }
base_of() { cat "$STAGE/base"; }
tip_of() { tail -n 1 "$STAGE/commits" | cut -d ' ' -f 1; }

# files_of COMMIT: what the patch adds, changes or removes.
files_of() {
	git -C "$TREE" diff-tree -r --no-commit-id --name-only --no-renames "$1"
}

# series_files: what is touched by the series as a whole.
series_files() {
	git -C "$TREE" diff --name-only --no-renames "$(base_of)" "$(tip_of)"
}

# kernel_code: of the paths on stdin, those that the kernel's build compiles.
kernel_code() {
	grep -E '\.[chS]$' | grep -v -E '^(tools|Documentation)/' || :
}

# walk_to COMMIT: puts the files of that commit into the checkout; only files
# that differ are written, so make rebuilds what the patch changed.
walk_to() {
	git -C "$TREE" checkout -q -f --detach "$1"
	git -C "$TREE" clean -q -f -d
}

build_env() {
	export CCACHE_DIR="$HMM_CACHE/ccache" CCACHE_NOHASHDIR=1 CCACHE_MAXSIZE=10G
	export CCACHE_SLOPPINESS=time_macros CCACHE_COMPRESSLEVEL=1
	export KBUILD_BUILD_TIMESTAMP=@0 KBUILD_BUILD_USER=hmm
	export KBUILD_BUILD_HOST=series KCONFIG_NOTIMESTAMP=1
}

# Sets $arch, $cc and $build, a folder of $TREE, for kmake and configure.
use_build() {
	arch=$1 build=$2 cross=
	[ "$arch" != arm64 ] || cross=aarch64-linux-gnu-
	mkdir -p "$TREE/$build"
}

kmake() {
	make -C "$TREE" O="$build" ARCH="$arch" CROSS_COMPILE="$cross" \
		CC="ccache ${cross}gcc" -j"$(nproc)" "$@"
}

# configure FRAGMENT...: symbols that this patch does not have yet are let go.
# Anew only if a fragment or a Kconfig file is another than the last time.
configure() {
	key=$({ cat "$@"; git -C "$TREE" ls-files -s -- '*Kconfig*'; } | sha256sum)
	[ "$(cat "$TREE/$build/.staging-key" 2>/dev/null)" != "$key" ] || return 0
	rm -f "$TREE/$build/.staging-key"
	(cd "$TREE" && ARCH=$arch CROSS_COMPILE=$cross MAKEFLAGS="-j$(nproc)" \
		scripts/kconfig/merge_config.sh -n -Q -O "$build" "$@") \
		>"$TREE/$build/config.log" 2>&1 || {
		tail -n 20 "$TREE/$build/config.log" >&2
		return 1
	}
	echo "$key" >"$TREE/$build/.staging-key"
}

# for_this_arch: of the paths on stdin, those that are not for other architectures
# than $arch; all, before use_build.
for_this_arch() {
	case ${arch-} in
	x86 | i386) sed '/^arch\/x86\//!{/^arch\//d}' ;;
	?*) sed "/^arch\/$arch\//!{/^arch\//d}" ;;
	*) cat ;;
	esac
}

# objects_in: the objects of the C files on stdin that are there and that no
# other file includes, by the path that their makefile has for them.
objects_in() {
	kernel_code | for_this_arch | sed -n 's/\.c$//p' | while read -r stem; do
		[ -f "$TREE/$stem.c" ] || continue
		grep -q -s -F "/${stem##*/}.c\"" "$TREE/${stem%/*}"/*.c \
			"$TREE/${stem%/*}"/../*.c && continue
		grep -q -s -F "\"${stem##*/}.c\"" "$TREE/${stem%/*}"/*.c && continue
		echo "$stem.o"
	done | sed 's|/amdkfd/|/amdgpu/../amdkfd/|'
}

# compile LOG OBJECT...: builds what this configuration has of them. False if
# one does not compile; then $broken names them.
compile() {
	out=$1 broken=
	shift
	: >"$out"
	# Without an object to make, make would make everything.
	case " $* " in
	*.o\ *) ;;
	*) return 0 ;;
	esac
	rc=0
	kmake -k "$@" >"$out" 2>&1 || rc=$?
	broken=$(sed -n "s/^make.*\*\*\* \[[^]]*: \([^] ]*\.o\)\] Error.*/\1/p" "$out" |
		sort -u)
	# An object that this configuration does not have is no failure.
	if [ $rc -ne 0 ] && [ -z "$broken" ] && ! grep -q 'No rule to make target' "$out"; then
		broken="the build itself"
	fi
	[ -z "$broken" ] && ! grep -q -E ': (fatal )?error: |command not found' "$out"
}

# first_errors LOG: the lines that tell why.
first_errors() {
	grep -E '(: (fatal )?error: |undefined|not found|\*\*\* \[)' "$1" |
		sed "s|^\.\./||; s|^$TREE/||" | head -n "${2:-3}"
}
