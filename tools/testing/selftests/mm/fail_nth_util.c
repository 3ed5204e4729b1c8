// SPDX-License-Identifier: GPL-2.0
/*
 * Allocation failures on demand; each function is described in fail_nth_util.h.
 * No locks: there is no state but the kernel's.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fail_nth_util.h"
#include "hmm_range_util.h"
#include "kselftest.h"

static bool inject_set(const char *name, const char *value)
{
	char path[96];

	snprintf(path, sizeof(path), "/sys/kernel/debug/%s", name);
	return !setting_write(path, value);
}

bool inject_into(bool all)
{
	const char *ignored = all ? "N" : "Y";

	return inject_set("failslab/ignore-gfp-wait", ignored) &&
	       inject_set("fail_page_alloc/ignore-gfp-wait", ignored);
}

bool inject_setup(void)
{
	static const char *const settings[][2] = {
		{ "failslab/cache-filter", "N" },
		{ "failslab/verbose", "0" },
		{ "fail_page_alloc/ignore-gfp-highmem", "N" },
		{ "fail_page_alloc/min-order", "0" },
		{ "fail_page_alloc/verbose", "0" },
		{ "fail_page_alloc/task-filter", "Y" },
		{ "fail_page_alloc/probability", "100" },
		{ "fail_page_alloc/times", "-1" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(settings); i++) {
		/* Not every kernel has the filter by caches. */
		if (!inject_set(settings[i][0], settings[i][1]) && i)
			return false;
	}
	return inject_into(true);
}

/* Where a function begins, and the next one: false and nowhere if it is not there. */
static bool symbol_range(const char *name, unsigned long *start,
			 unsigned long *end)
{
	FILE *f = fopen("/proc/kallsyms", "r");
	unsigned long addr;
	char symbol[256];

	*start = 0;
	*end = 0;
	if (!f)
		return false;
	while (fscanf(f, "%lx %*c %255s%*[^\n]", &addr, symbol) == 2) {
		if (!*start && !strcmp(symbol, name)) {
			*start = addr;
		} else if (*start && addr > *start) {
			*end = addr;
			break;
		}
	}
	fclose(f);
	if (!*end)
		*start = 0;
	return *end;
}

static bool inject_limit(const char *which, const char *function)
{
	static const char *const kinds[] = { "failslab", "fail_page_alloc" };
	unsigned long start = 0, end = 0;
	char name[64], value[32];
	size_t i;

	/* Of addresses from 0 to ~0, any stack has one. */
	if (!function)
		end = strcmp(which, "require") ? 0 : ~0UL;
	else if (!symbol_range(function, &start, &end) &&
		 !strcmp(which, "require"))
		return false;
	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		snprintf(name, sizeof(name), "%s/%s-start", kinds[i], which);
		snprintf(value, sizeof(value), "%#lx", start);
		if (!inject_set(name, value))
			return false;
		snprintf(name, sizeof(name), "%s/%s-end", kinds[i], which);
		snprintf(value, sizeof(value), "%#lx", end);
		if (!inject_set(name, value))
			return false;
	}
	return true;
}

bool inject_where(const char *within, const char *except)
{
	return inject_limit("require", within) &&
	       inject_limit("reject", except);
}

bool inject_always(bool on)
{
	return !setting_write("/proc/self/make-it-fail", on ? "1" : "0");
}

int inject_open(void)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/task/%ld/fail-nth",
		 syscall(SYS_gettid));
	return open(path, O_RDWR | O_CLOEXEC);
}

bool inject_begin(int fd, unsigned int n)
{
	char value[16];
	int len = snprintf(value, sizeof(value), "%u", n);

	return pwrite(fd, value, len, 0) == len;
}

bool inject_end(int fd)
{
	char left[16] = "";
	bool came;

	/* A failure of the look itself would be one that did not come before. */
	came = pread(fd, left, sizeof(left) - 1, 0) > 0 && !atoi(left);
	return inject_begin(fd, 0) && came;
}
