/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Allocation failures on demand, for tests that let each allocation of a call fail
 * in turn: by the fail-nth file of a thread.
 *
 * Needs root and a kernel with CONFIG_FAULT_INJECTION_DEBUG_FS, CONFIG_FAILSLAB
 * and CONFIG_FAIL_PAGE_ALLOC; what is set in debugfs stays set. No locks: a file
 * of inject_open() is for the thread that has opened it.
 */
#ifndef FAIL_NTH_UTIL_H
#define FAIL_NTH_UTIL_H

#include <stdbool.h>

/* Sets up what injects; false if the kernel has not all of it. */
bool inject_setup(void);

/* Which allocations can fail: all, or only those that must not wait. */
bool inject_into(bool all);

/*
 * Only allocations below the kernel's function @within fail, and none below
 * @except, if there is such a function; NULL is for no such limit. False if there
 * is no @within, or no CONFIG_FAULT_INJECTION_STACKTRACE_FILTER.
 */
bool inject_where(const char *within, const char *except);

/* All allocations of this task fail, once its fail-nth is used up. */
bool inject_always(bool on);

/* The thread's fail-nth: a file descriptor or -1. */
int inject_open(void);

/* From now on, allocation number @n fails, counted from 1. */
bool inject_begin(int fd, unsigned int n);

/* No longer: whether the failure has come, what the call returned aside. */
bool inject_end(int fd);

#endif /* FAIL_NTH_UTIL_H */
