# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2034,SC2154
#
# Packages of other Debian suites than the machine's own, without changing its
# apt: lists, cache and source lines of ours, the mirror and keyring that it
# uses anyway. Sourced after lib.sh. $suite is "configured" or the name of one,
# $lists is empty for the machine's own.

# apt TOOL [ARG...]: with the machine's settings and, unless $suite is
# "configured", only the one source line that private_suite() wrote.
apt() {
	tool=$1
	shift
	if [ "$(id -u)" = 0 ]; then
		# The user _apt cannot get into a home folder.
		set -- -o APT::Sandbox::User=root "$@"
	fi
	[ "$suite" = configured ] ||
		set -- -o "Dir::Etc::sourcelist=$HMM_CACHE/apt/$suite/sources.list" \
			-o Dir::Etc::sourceparts=/dev/null "$@"
	[ -z "$lists" ] || set -- -o "Dir::State::lists=$lists" "$@"
	"$tool" -q -o "Dir::Cache=$HMM_CACHE/apt/cache" -o Acquire::Languages=none "$@"
}

# Own lists for $suite. They are small, but get them only once.
private_lists() {
	lists=$HMM_CACHE/apt/$suite/lists	# apt removes what else is in there
	mkdir -p "$lists/partial" "$HMM_CACHE/apt/cache/archives/partial"
}

# The Debian mirror that this machine uses: not another vendor's repository,
# nor the one with the security updates only.
debian_mirror() {
	# shellcheck disable=SC2016 # apt's variables
	apt apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
		'Origin: Debian' 'Label: Debian' 'Component: main' 2>/dev/null |
	sed 1q
}

# Sets $mirror; on a machine whose apt was never updated, by lists of our own.
find_mirror() {
	suite=configured lists=
	mirror=$(debian_mirror)
	[ -z "$mirror" ] || return 0
	private_lists
	apt apt-get update >/dev/null 2>&1 || :
	mirror=$(debian_mirror)
}

# private_suite deb|deb-src: from here on, apt() knows $suite of $mirror only.
private_suite() {
	keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	private_lists
	printf '%s %s%s %s main\n' "$1" \
		"$([ ! -e $keyring ] || echo "[signed-by=$keyring] ")" \
		"$mirror" "$suite" >"$HMM_CACHE/apt/$suite/sources.list"
}

