# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2034,SC2154
#
# Debian's linux-source packages: finds one in the machine's suites or in newer
# ones, gets it, unpacks it. Sourced after lib.sh and apt.sh. $package is its
# name, $dl where downloads go, $work a folder for temporary files.

suites=${HMM_SUITES:-trixie-backports forky sid}

# find_package START: sets $deb, the newest of the package's versions in $suite
# that begin like this.
find_package() {
	deb=$(apt apt-cache madison "$package" 2>/dev/null |
		awk -F ' *[|] *' -v v="$1" 'index($2, v) == 1 { print $2; exit }')
	[ -n "$deb" ]
}

# search_suite NAME COMMAND...: apt() knows that suite only; its lists are updated if
# COMMAND... does not find there what it looks for.
search_suite() {
	suite=$1
	shift
	private_suite deb
	"$@" && return
	say "looking for $package in $suite"
	apt apt-get update >/dev/null 2>"$work/apt" ||
		grep '^[EW]:' "$work/apt" >&2 || :
	"$@"
}

# search_suites START: the first suite that has such a version.
search_suites() {
	find_mirror
	find_package "$1" && return
	[ -n "$mirror" ] || return 1
	for suite in $suites; do
		search_suite "$suite" find_package "$1" && return
	done
	return 1
}

# Leaves the package as $file, checked against the sha256 in apt's lists.
download_package() {
	file=$dl/${package}_${deb}_all.deb
	sum=$(apt apt-cache show "$package=$deb" | awk '$1 == "SHA256:" { print $2; exit }')
	echo "$sum  $file" | sha256sum -c --status 2>/dev/null && return
	say "downloading $package $deb"
	rm -rf "$file" "$dl/tmp"
	mkdir "$dl/tmp"
	(cd "$dl/tmp" && apt apt-get download "$package=$deb" >&2) &&
		mv "$dl/tmp"/*.deb "$file" && rmdir "$dl/tmp" &&
		echo "$sum  $file" | sha256sum -c --status
}

# The package holds the source as one archive.
unpack_package() {
	dpkg-deb --fsys-tarfile "$file" |
		tar -x -O "./usr/src/$package.tar.xz" |
		tar -x -J -C "$1" --strip-components=1
}
