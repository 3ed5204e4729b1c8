# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2034
#
# Reads series/ for base, tree, series and fold: which patches there are, what
# each says, carries and edits, and the commits that they make. Sourced after
# lib.sh. Patch and path names are words: they hold no white space.

SERIES=$REPO/series

git_identity() {
	git -C "$REPO" config "user.$1" ||
		git -C "$REPO" log -1 --format="%a$2" 2>/dev/null | grep . ||
		echo "$3"
}

# Commits must come out the same on every machine: the dates are fixed, and no
# setting, hook or environment of the user's own git has a say. Only the
# author is taken from there.
git_isolate() {
	# shellcheck disable=SC2046 # a list of words
	unset $(git rev-parse --local-env-vars)
	GIT_AUTHOR_NAME=$(git_identity name n 'HMM series')
	GIT_AUTHOR_EMAIL=$(git_identity email e hmm-series@localhost)
	GIT_CONFIG_GLOBAL=/dev/null
	GIT_CONFIG_NOSYSTEM=1
	GIT_TERMINAL_PROMPT=0
	export GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL GIT_CONFIG_GLOBAL \
		GIT_CONFIG_NOSYSTEM GIT_TERMINAL_PROMPT
	git_stamp 0 "$GIT_AUTHOR_NAME" "$GIT_AUTHOR_EMAIL"
}

# git_stamp N NAME EMAIL: the next commit is the Nth, one minute after the last.
git_stamp() {
	GIT_AUTHOR_NAME=$2 GIT_AUTHOR_EMAIL=$3
	GIT_AUTHOR_DATE="$((1767225600 + 60 * $1)) +0000"	# 1 January 2026
	GIT_COMMITTER_NAME=$2 GIT_COMMITTER_EMAIL=$3
	GIT_COMMITTER_DATE=$GIT_AUTHOR_DATE
	export GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL GIT_AUTHOR_DATE \
		GIT_COMMITTER_NAME GIT_COMMITTER_EMAIL GIT_COMMITTER_DATE
}

# Temporary files are kept in $work, which goes when the script does.
make_work() {
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
}

# lock FILE: one at a time; ends with the script that took it.
lock() {
	mkdir -p "$(dirname "$1")"
	exec 9>"$1"
	flock -n 9 || {
		say "waiting for another run to release $1"
		flock 9
	}
}

# The patches in their order.
patches() {
	sed 's/#.*//' "$SERIES/order" | awk 'NF { print $1 }'
}

# The commit message: subject and changelog, without what is meant for us.
patch_message() {
	awk '
	/^---$/ { exit }
	!body && sub(/^Subject: */, "") { subject = $0; next }
	!body && subject && sub(/^[ \t]+/, " ") { subject = subject $0; next }
	!body && /^$/ { body = 1; print subject; print; next }
	body && !/^Carries: /' "$1" | git stripspace
}

patch_carries() {
	sed -n '/^---$/q; s/^Carries: *//p' "$1"
}

patch_edits() {
	sed '1,/^---$/d' "$1"
}

# The paths that a patch's edits touch, old names of renamed files included.
patch_edit_paths() {
	patch_edits "$1" | grep -q . || return 0
	{ patch_edits "$1" | (cd / && git apply --numstat -) | cut -f 3
	patch_edits "$1" | sed -n 's/^rename from //p'; } | sort -u
}

# One line for each path of each patch, in order: carry|edit PATCH PATH
series_table() {
	for patch in $(patches); do
		patch_carries "$SERIES/$patch" | sed "s|^|carry $patch |"
		patch_edit_paths "$SERIES/$patch" | sed "s|^|edit $patch |"
	done
}

# check_series BASEDIR: every rule on series/ that can be checked without git.
check_series() {
	for patch in $(patches); do
		[ -f "$SERIES/$patch" ] ||
			die "series/order names $patch, but there is no series/$patch"
		sed '/^$/q' "$SERIES/$patch" | grep -q '^Subject: .' ||
			die "series/$patch does not start with a 'Subject:' line"
		if patch_edits "$SERIES/$patch" | grep -q . &&
		   [ -z "$(patch_edit_paths "$SERIES/$patch")" ]; then
			die "series/$patch: what follows '---' is not a diff that git can read"
		fi
	done
	for patch in "$SERIES"/*.patch; do
		[ -e "$patch" ] || continue
		patch=${patch##*/}
		patches | grep -qxF "$patch" ||
			die "series/$patch is not in series/order: add it there or remove it"
	done
	twice=$(patches | sort | uniq -d | sed 1q)
	[ -z "$twice" ] || die "series/order names $twice twice"

	series_table >"$work/table"
	wrong=$(awk '
	$1 == "carry" && $3 in owner {
		print $3 " is carried twice, by series/" owner[$3] " and series/" $2
	}
	$1 == "carry" { owner[$3] = $2 }
	$1 == "edit" && $3 in owner {
		print "series/" $2 " edits " $3 ", which series/" owner[$3] " carries: change the file instead"
	}' "$work/table" | sed 1q)
	[ -z "$wrong" ] || die "$wrong"

	while read -r what patch path; do
		awk -v p="$path" '$2 == p { found = 1 } END { exit !found }' "$SERIES/base" ||
			die "series/base does not pin $path, which series/$patch needs: run 'harness/base --pin'"
		[ "$what" = edit ] || [ -f "$REPO/$path" ] ||
			die "series/$patch carries $path, but there is no such file in this repository"
	done <"$work/table"

	# What of ours lies in a folder of the kernel's must be carried.
	for path in "$REPO"/*/; do
		path=$(basename "$path")
		[ -d "$1/$path" ] && (cd "$REPO" && find "$path" -type f ! -name '*~' ! -name '.*.sw?')
	done >"$work/ours" || :
	while read -r path; do
		grep -q "^carry .* $path\$" "$work/table" ||
			die "$path is carried by no patch: add a 'Carries: $path' line to one in series/"
	done <"$work/ours"
}

# make_commits BASE: one commit per patch on top of the commit BASE, in the
# repository GIT_DIR; leaves "COMMIT PATCH" lines in $work/commits.
make_commits() (
	name=$GIT_AUTHOR_NAME email=$GIT_AUTHOR_EMAIL
	parent=$1 count=0 GIT_INDEX_FILE=$work/index
	export GIT_INDEX_FILE
	git read-tree "$1"
	: >"$work/commits"
	for patch in $(patches); do
		count=$((count + 1))
		patch_edits "$SERIES/$patch" >"$work/edits"
		if grep -q . "$work/edits"; then
			git apply --cached --whitespace=nowarn "$work/edits" \
					2>"$work/err" || {
				sed 's/^error: /	/' "$work/err" >&2
				die "series/$patch: an edit does not apply to the base with the patches before it"
			}
		fi
		for path in $(patch_carries "$SERIES/$patch"); do
			mode=100644
			[ ! -x "$REPO/$path" ] || mode=100755
			blob=$(git hash-object -w --no-filters "$REPO/$path")
			printf '%s %s\t%s\n' "$mode" "$blob" "$path"
		done >"$work/info"
		git update-index --index-info <"$work/info"
		tree=$(git write-tree)
		[ "$tree" != "$(git rev-parse "$parent^{tree}")" ] ||
			die "series/$patch changes nothing"
		git_stamp "$count" "$name" "$email"
		parent=$(patch_message "$SERIES/$patch" |
			git interpret-trailers --if-exists addIfDifferent \
				--trailer "Signed-off-by: $name <$email>" |
			git commit-tree -p "$parent" "$tree")
		echo "$parent $patch" >>"$work/commits"
	done
)

# worktree_tree: the tree object that the checkout's files make at present,
# with new files that are not ignored; touches neither index nor files.
worktree_tree() (
	cp "$GIT_DIR/index" "$work/snapshot"
	GIT_INDEX_FILE=$work/snapshot
	export GIT_INDEX_FILE
	git add -A .
	git write-tree
)

# use_checkout DIR: the git commands that follow work on this checkout.
use_checkout() {
	cd "$1" || exit
	export GIT_DIR="$1/.git" GIT_WORK_TREE="$1"
}
