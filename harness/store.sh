# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2154
#
# Source trees as commits of the repository beside the downloads, from which
# every tree of ours borrows its objects. Sourced after patches.sh.

# store_tree DIR REF SUBJECT: prints the commit, made once per REF as it costs
# half a minute. As a file above the "big" size goes straight into a pack,
# adding 90000 of them makes one pack and not 90000 files.
store_tree() (
	export GIT_DIR="$HMM_CACHE/git"
	ref=refs/$2
	lock "$HMM_CACHE/git.lock"
	[ -d "$GIT_DIR" ] || git init -q --bare "$GIT_DIR"
	git rev-parse -q --verify "$ref^{commit}" && exit
	say "storing $3 in git, once"
	rm -f "$GIT_DIR"/objects/pack/tmp_*	# of an interrupted run
	GIT_WORK_TREE=$1 GIT_INDEX_FILE=$work/index
	export GIT_WORK_TREE GIT_INDEX_FILE
	cd "$1" || exit
	git -c core.bigFileThreshold=1 -c core.compression=1 add -A -f .
	git_stamp 0 base base@localhost
	commit=$(echo "$3" | git commit-tree "$(git write-tree)")
	git update-ref "$ref" "$commit"
	echo "$commit"
)
