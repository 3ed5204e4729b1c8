# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2034,SC2154
#
# Trial merges of tree objects by git, without a checkout. Sourced after
# staging.sh; the current folder is the repository.

# commit_of TREE [PARENT]: git merges commits only, and finds the base itself.
commit_of() {
	git commit-tree "$1" ${2:+-p "$2"} -m trial </dev/null
}

# three_way WAS OURS THEIRS: what became of WAS on both sides. Leaves the tree in
# $merged and, one a line, files that conflict in $work/conflicts; false if any.
three_way() {
	root=$(commit_of "$1")
	git merge-tree --write-tree --name-only --no-messages \
		"$(commit_of "$2" "$root")" "$(commit_of "$3" "$root")" \
		>"$work/merge" 2>"$work/merge.err" || [ $? -eq 1 ] || {
		cat "$work/merge.err" >&2
		die "git merge-tree failed"
	}
	merged=$(sed 1q "$work/merge")
	sed 1d "$work/merge" | grep . | sort -u >"$work/conflicts" || :
	[ ! -s "$work/conflicts" ]
}

# keep_ours OURS: $merged, but with OURS' files where there is a conflict.
keep_ours() {
	GIT_INDEX_FILE=$work/trial.index
	export GIT_INDEX_FILE
	git read-tree "$merged"
	while read -r f; do
		echo "0 0000000000000000000000000000000000000000	$f"
		git ls-tree "$1" -- "$f" | sed 's/^\([0-7]*\) blob /\1 /'
	done <"$work/conflicts" >"$work/entries"
	git update-index --index-info <"$work/entries"
	merged=$(git write-tree)
	unset GIT_INDEX_FILE
}

# take_out COMMIT FROM: FROM without what the commit does. Where git finds a
# conflict only because a neighbouring line is another patch's, and the commit
# did nothing but add lines there, these lines are taken out of FROM.
take_out() {
	three_way "$1^{tree}" "$2" "$1^^{tree}" && return
	cp "$work/conflicts" "$work/left"
	keep_ours "$2"
	GIT_INDEX_FILE=$work/trial.index
	export GIT_INDEX_FILE
	while read -r f; do
		git diff -U0 --no-renames "$1^" "$1" -- "$f" >"$work/hunk"
		grep -v '^---' "$work/hunk" | grep -q '^-' ||
			! git apply -R --cached --unidiff-zero "$work/hunk" 2>/dev/null ||
			echo "$f"
	done <"$work/left" >"$work/done"
	merged=$(git write-tree)
	unset GIT_INDEX_FILE
	grep -v -x -F -f "$work/done" "$work/left" >"$work/conflicts" || :
	[ ! -s "$work/conflicts" ]
}
