// SPDX-License-Identifier: GPL-2.0
/*
 * See bench_util.h. There are no locks: programs have one thread.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <x86intrin.h>

#include "bench_util.h"

#define THP_DIR		"/sys/kernel/mm/transparent_hugepage"
#define CLOCK_TRIES	5
#define TRACING		"/sys/kernel/tracing"
#define GROUP		"hmm_bench"

/* Functions whose calls are counted. */
static const struct probe {
	const char *function;
	bool walk;		/* below those of the mirror */
} probes[] = {
	{ "hmm_range_fault",			true },
	{ "hmm_range_fault_unlocked_timeout",	true },
	{ "hmm_range_snapshot",			true },
	{ "hmm_mirror_fault",			false },
	{ "hmm_mirror_prefetch",		false },
};

int open_or_die(const char *path, int flags)
{
	int fd = open(path, flags, 0600);

	if (fd < 0)
		err(1, "cannot open %s", path);
	return fd;
}

void write_file(const char *path, const char *value)
{
	int fd = open_or_die(path, O_WRONLY);

	if (write(fd, value, strlen(value)) < 0)
		err(1, "writing '%s' to %s", value, path);
	close(fd);
}

void *allocate(size_t n, size_t size)
{
	void *p = calloc(n, size);

	if (!p)
		errx(1, "out of memory");
	return p;
}

void unmap(char *p, size_t size)
{
	if (munmap(p, size))
		err(1, "munmap");
}

/* A loop of two instructions: its time is known, if the unit is what we say. */
static __u64 loop_cycles(unsigned long loops)
{
	__u64 begin = __rdtsc();

	asm volatile("1: dec %0\n\tjnz 1b" : "+r" (loops) : : "cc");
	return __rdtsc() - begin;
}

void check_clock(void)
{
	const unsigned long loops = 10000;
	__u64 best = UINT64_MAX, cycles;
	int i;

	for (i = 0; i < CLOCK_TRIES; i++) {
		cycles = loop_cycles(loops);
		best = cycles < best ? cycles : best;
	}
	if (best < 2 * loops || best > 2 * loops + loops / 100)
		errx(1, "the clock counts %llu for %lu instructions: boot with -icount shift=0",
		     best, 2 * loops);
}

void set_thp(const char *size, const char *file, bool on)
{
	char path[128];

	snprintf(path, sizeof(path), THP_DIR "/hugepages-%skB/%s", size, file);
	write_file(path, !on ? "never" :
		   strcmp(file, "enabled") ? "advise" : "madvise");
}

size_t huge_pages(int pagemap, const char *addr, size_t size)
{
	struct page_region region[64];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = (uintptr_t)addr,
		.end = (uintptr_t)addr + size,
		.vec = (uintptr_t)region,
		.vec_len = ARRAY_SIZE(region),
		.category_mask = PAGE_IS_PRESENT | PAGE_IS_HUGE,
		.return_mask = PAGE_IS_PRESENT | PAGE_IS_HUGE,
	};
	size_t found = 0;
	int i, n;

	while (arg.start < arg.end) {
		n = ioctl(pagemap, PAGEMAP_SCAN, &arg);
		if (n < 0)
			err(1, "PAGEMAP_SCAN");
		for (i = 0; i < n; i++)
			found += region[i].end - region[i].start;
		if (arg.walk_end <= arg.start)
			break;
		arg.start = arg.walk_end;
	}
	return found / PAGE;
}

/* One event for each function that this kernel has. */
void count_hmm_calls(void)
{
	char line[128];
	unsigned int set = 0;
	size_t i;
	int fd;

	fd = open_or_die(TRACING "/kprobe_events", O_WRONLY | O_APPEND);
	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		snprintf(line, sizeof(line), "p:" GROUP "/%s %s",
			 probes[i].function, probes[i].function);
		if (write(fd, line, strlen(line)) >= 0)
			set++;
		else if (errno != ENOENT && errno != EINVAL)
			err(1, "kprobe_events: %s", line);
	}
	close(fd);
	if (!set)
		errx(1, "the kernel has none of the functions to be counted");
	write_file(TRACING "/events/" GROUP "/enable", "1");
}

__u64 hmm_calls(void)
{
	unsigned long long hits, calls[2] = {};
	char name[64];
	size_t i;
	FILE *f;

	f = fopen(TRACING "/kprobe_profile", "r");
	if (!f)
		err(1, "kprobe_profile");
	while (fscanf(f, "%63s %llu %*u", name, &hits) == 2) {
		for (i = 0; i < ARRAY_SIZE(probes); i++) {
			if (!strcmp(name, probes[i].function))
				calls[probes[i].walk] += hits;
		}
	}
	fclose(f);
	return calls[0] > calls[1] ? calls[0] : calls[1];
}

/* Pages that hold only zeroes would be replaced by the zero page. */
void split_huge(char *p, size_t size)
{
	char command[96];
	size_t i;

	for (i = 0; i < size; i += PAGE)
		p[i] = 1;
	snprintf(command, sizeof(command), "%d,0x%lx,0x%lx", getpid(),
		 (unsigned long)p, (unsigned long)p + size);
	write_file("/sys/kernel/debug/split_huge_pages", command);
	if (madvise(p, size, MADV_NOHUGEPAGE))
		err(1, "MADV_NOHUGEPAGE");
}

void touch_at_random(char *p, size_t size)
{
	size_t npages = size / PAGE, i, j, t;
	size_t *order = allocate(npages, sizeof(*order));

	srandom(1);
	for (i = 0; i < npages; i++)
		order[i] = i;
	for (i = npages - 1; i > 0; i--) {
		j = random() % (i + 1);
		t = order[i];
		order[i] = order[j];
		order[j] = t;
	}
	for (i = 0; i < npages; i++)
		p[order[i] * PAGE] = 1;
	free(order);
}

bool wanted(const char *name, char **names)
{
	if (!*names)
		return true;
	while (*names && strcmp(*names, name))
		names++;
	return *names;
}

bool counting;

static void measure_all(const char *what, size_t nr,
			const char *(*name)(size_t backing),
			void (*measure)(size_t backing), char **names)
{
	size_t b;

	for (b = 0; b < nr; b++) {
		if (!wanted(name(b), names))
			continue;
		printf("# RUN %s %s, pass %d\n", what, name(b), counting + 1);
		fflush(stdout);
		measure(b);
	}
}

void measure_and_count(const char *what, size_t nr,
		       const char *(*name)(size_t backing),
		       void (*measure)(size_t backing), char **names)
{
	measure_all(what, nr, name, measure, names);
	count_hmm_calls();
	counting = true;
	measure_all(what, nr, name, measure, names);
}
