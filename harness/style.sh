# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# The kernel's own checks of one file or mail, with the options that we want of
# them, for check and staging. Sourced after lib.sh; they run in $TREE.

dictionary=$(/usr/bin/python3 -c 'import codespell_lib as c; print(c.__path__[0])')/data/dictionary.txt

# checkpatch OPTION... FILE
checkpatch() (
	for checked; do :; done
	cd "$TREE" || exit
	words=$(mktemp)
	trap 'rm -f "$words"' EXIT
	"$HARNESS/words" "$dictionary" "$checked" >"$words" || exit
	perl scripts/checkpatch.pl --strict --codespell --codespellfile "$words" \
		--terse --no-summary --quiet "$@"
)

kernel_doc() {
	(cd "$TREE" && scripts/kernel-doc -none -Wall -Werror "$1")
}
