# SPDX-License-Identifier: GPL-2.0
#
# Prints what kbuild makes in one folder of a configured build: objects, parts
# of composite ones, and subfolders. kbuild itself compiles any object that is
# named, whether the configuration has it or not.
#
# usage: make -s -C TREE -f enabled.mk build=BUILD dir=FOLDER

srctree := .
src := $(dir)
obj := $(dir)
include $(build)/include/config/auto.conf
include scripts/Kbuild.include
include $(or $(wildcard $(dir)/Kbuild),$(wildcard $(dir)/Makefile))

all := $(obj-y) $(obj-m) $(lib-y) $(lib-m)
parts = $(foreach o,$(1),$(o) $($(o:.o=-y)) $($(o:.o=-m)) $($(o:.o=-objs)))
$(foreach o,$(sort $(call parts,$(call parts,$(all)))),$(info $(o)))

.PHONY: done
.DEFAULT_GOAL := done
done:
	@:
