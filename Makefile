# SPDX-License-Identifier: GPL-2.0
#
# A list of commands: each target calls one script of harness/, which says
# itself what it needs. Nothing is built here; the kernel's own build system
# runs in the patched tree.

.DEFAULT_GOAL := help

# Read by the scripts; also from the environment. HMM_CACHE and HMM_OUT are
# where downloads and results go.
export LINUX FORCE PATCH FILE KEEP QUICK AGAINST PATCHES

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## */\1	/p' Makefile | expand -t 16
	@echo
	@echo 'LINUX=DIR       a kernel source tree of yours to use as the base'
	@echo 'HMM_CACHE=DIR   downloads and ccache (now: ~/.cache/hmm-series)'
	@echo 'HMM_OUT=DIR     tree, builds and results (now: out/)'
	@echo 'AGAINST=...     trees for a trial merge: folders, git clones, 6.12, newest'
	@echo 'PATCHES=...     staging of these patches only, named by their beginnings'
	@echo 'QUICK=1         staging without boots, configurations and documentation'
	@echo 'ACCEL=kvm       boot guests with KVM if that really works here'

deps: ## install the Debian packages that are missing
	@harness/deps

base: ## get the pristine base and check it
	@harness/base >/dev/null

tree: ## make or update the patched tree (FORCE=1: set edits in it aside)
	@harness/tree

series: ## write the series as mails to out/series/ and prove them complete
	@harness/series

fold: ## take edits made in the patched tree back here (PATCH=series/...)
	@harness/fold

kernel: ## build the patched kernel
	@harness/kernel main

kernel-debug: ## build it with lockdep, KASAN and the like
	@harness/kernel debug

callers: ## compile every in-tree caller of the HMM interface
	@harness/callers

run: ## boot it and show it mirroring memory (FILE=PATH: that file as well)
	@harness/run $${FILE:+"$$FILE"}

test: ## run all tests, results in out/
	@harness/test

stress: ## stress the debug kernel (SECONDS=1800)
	@harness/stress $${SECONDS:-1800}

stress-dma: ## the same with devices that do DMA
	@harness/stress $${SECONDS:-1800} hmm-dma-stress

stress-odp: ## the same with RDMA on-demand paging
	@harness/stress $${SECONDS:-1800} hmm-odp-stress

test-base: ## run the tests on the pristine base, for comparison
	@harness/test-base

bench: ## measure base and series, print a table (KEEP=NAME: in bench/reports)
	@harness/bench

check: ## check the style of all files here
	@harness/check

staging: ## what a maintainer would ask, patch by patch (QUICK=1 AGAINST=6.12)
	@harness/staging

base-path: ## print where the pristine base is (with make -s)
	@harness/base

tree-path: ## print where the patched tree is
	@harness/tree --path

build-path: ## print where its main build is
	@harness/tree --build-path

clean: ## remove out/
	@harness/tree --clean

# What works on the tree needs one; the rest sees to that itself.
kernel kernel-debug callers check: deps tree

.PHONY: help deps base tree series fold kernel kernel-debug callers run test \
	stress stress-dma stress-odp test-base bench check staging base-path tree-path build-path clean
