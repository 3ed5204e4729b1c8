// SPDX-License-Identifier: GPL-2.0
/*
 * Measures what faults of a GPU cost in nouveau SVM, and invalidations of what it
 * has, and prints one line of JSON per measurement, as hmm-bench does and in the
 * same unit. The GPU is that of /dev/nouveau_bench.
 *
 * A batch is 512 read faults, on pages that are present. They are in a row, which is
 * 2 MiB ("dense"), or have a stride ("sparse"). It is measured for a process that
 * has just begun to share its memory ("first"), and once more after the GPU has lost
 * all of it by mprotect().
 *
 * An invalidation is MADV_DONTNEED of one page or of all of 2 MiB that the GPU has
 * after a dense batch, or mprotect(), which frees nothing. It is measured without a
 * GPU, too ("cpu").
 *
 * In a second pass all is done once more to count calls of HMM. Counting takes
 * instructions, so nothing is measured by then.
 *
 * No locks: one thread, one mapping at a time. Needs root.
 *
 * usage: nouveau-bench [-k KERNEL] [BACKING...]
 */
#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <x86intrin.h>

#include "bench_util.h"
#include "nouveau_bench_uapi.h"

#define FAULTS		512UL
#define REPEAT		3
#define REPEAT_DROP	10	/* what the page allocator has at hand matters */
#define DROP_AT		MB	/* not where a leaf begins */
#define SETTLE		20000	/* us, for what RCU does after a device is closed */

static const struct backing {
	const char *name;
	bool huge;
	bool scattered;
} backings[] = {
	{ "4k",		  false, false },
	{ "4k-scattered", false, true },
	{ "thp-2m",	  true,  false },
};

/**
 * struct batch - faults to be measured
 * @first: op in the output for a process that begins
 * @op: op for later
 * @stride: from fault to fault
 */
static const struct batch {
	const char *first;
	const char *op;
	size_t stride;
} batches[] = {
	{ "nouveau-dense-first", "nouveau-dense", PAGE },
	{ "nouveau-sparse-16k-first", "nouveau-sparse-16k", 16 * KB },
	{ "nouveau-sparse-64k-first", "nouveau-sparse-64k", 64 * KB },
	{ "nouveau-sparse-256k-first", "nouveau-sparse-256k", 256 * KB },
	{ "nouveau-sparse-2m-first", "nouveau-sparse-2m", PMD },
};

/**
 * struct drop - an invalidation to be measured
 * @op: in the output
 * @cpu: op for the same without a GPU
 * @size: of what is invalidated
 * @protect: by mprotect()
 */
static const struct drop {
	const char *op;
	const char *cpu;
	size_t size;
	bool protect;
} drops[] = {
	{ "nouveau-drop-4k", "nouveau-drop-4k-cpu", PAGE, false },
	{ "nouveau-drop-2m", "nouveau-drop-2m-cpu", PMD, false },
	{ "nouveau-protect-2m", "nouveau-protect-2m-cpu", PMD, true },
};

/* What has been measured. */
struct result {
	__u64 cycles;
	__u64 hmm_calls;
	struct nouveau_bench_call call;
};

static struct results {
	struct result batch[ARRAY_SIZE(batches)][2];	/* first, later */
	struct result drop[ARRAY_SIZE(drops)][2];	/* with and without GPU */
} results[ARRAY_SIZE(backings)];

static const char usage[] = "usage: nouveau-bench [-k KERNEL] [BACKING...]\n";
static const char *kernel = "?";
static int pagemap;

/* ---- memory ---- */

static char *map(const struct backing *b, size_t size)
{
	bool huge = b->huge || !b->scattered;
	char *p = mmap(ADDRESS, size, PROT_READ | PROT_WRITE, MAP_PRIVATE |
		       MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE,
		       -1, 0);

	if (p != ADDRESS)
		err(1, "mmap of %zu bytes", size);
	if (madvise(p, size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE))
		err(1, "madvise");
	if (b->scattered)
		touch_at_random(p, size);
	else if (madvise(p, size, MADV_POPULATE_WRITE))
		err(1, "MADV_POPULATE_WRITE of %zu bytes", size);
	if (!b->huge && !b->scattered)
		split_huge(p, size);
	if (huge_pages(pagemap, p, size) != (b->huge ? size / PAGE : 0))
		errx(1, "%s: %zu bytes are not mapped as they should be",
		     b->name, size);
	return p;
}

/* ---- the GPU ---- */

static int share(void)
{
	return open_or_die("/dev/nouveau_bench", O_RDWR);
}

static void fault(int gpu, const char *op, char *p, size_t stride,
		  struct result *r)
{
	struct nouveau_bench_call call = {
		.start = (uintptr_t)p,
		.stride = stride,
		.faults = FAULTS,
	};
	__u64 calls = counting ? hmm_calls() : 0;

	if (ioctl(gpu, NOUVEAU_BENCH_FAULT, &call))
		err(1, "%s", op);
	if (call.mapped != FAULTS)
		errx(1, "%s: the GPU has %llu of %lu pages", op, call.mapped,
		     FAULTS);
	if (counting)
		r->hmm_calls = hmm_calls() - calls;
	else if (!r->cycles || call.cycles < r->cycles)
		r->cycles = call.cycles;
	r->call = call;
}

/* What the GPU has of @faults pages, and what was called since the last batch. */
static struct nouveau_bench_call look(int gpu, char *p, size_t stride,
				      size_t faults)
{
	struct nouveau_bench_call call = {
		.start = (uintptr_t)p,
		.stride = stride,
		.faults = faults,
	};

	if (ioctl(gpu, NOUVEAU_BENCH_LOOK, &call))
		err(1, "NOUVEAU_BENCH_LOOK");
	return call;
}

/* ---- measuring ---- */

static void run_batch(const struct batch *batch, char *p, struct result *r)
{
	size_t size = FAULTS * batch->stride;
	int gpu = share();
	__u64 mapped;

	fault(gpu, batch->first, p, batch->stride, &r[0]);
	if (mprotect(p, size, PROT_NONE) ||
	    mprotect(p, size, PROT_READ | PROT_WRITE))
		err(1, "mprotect of %zu bytes", size);
	mapped = look(gpu, p, batch->stride, FAULTS).mapped;
	if (mapped)
		errx(1, "%s: the GPU has kept %llu pages", batch->op, mapped);
	fault(gpu, batch->op, p, batch->stride, &r[1]);
	close(gpu);
}

/* Without a GPU: it has gone, and all else is as it would be. */
static void run_drop(const struct backing *b, const struct drop *d, bool cpu,
		     struct result *r)
{
	char *p = map(b, PMD), *from = d->size < PMD ? p + DROP_AT : p;
	struct nouveau_bench_call call = {};
	struct result dense = {};
	int gpu = share();
	__u64 cycles;

	fault(gpu, d->op, p, PAGE, &dense);
	if (cpu)
		close(gpu);
	usleep(SETTLE);
	cycles = __rdtsc();
	if (d->protect ? mprotect(from, d->size, PROT_NONE) :
			 madvise(from, d->size, MADV_DONTNEED))
		err(1, "%s", d->op);
	cycles = __rdtsc() - cycles;
	if (!cpu) {
		call = look(gpu, from, PAGE, d->size / PAGE);
		call.calls -= dense.call.calls;
		call.maps -= dense.call.maps;
		call.flushes -= dense.call.flushes;
		close(gpu);
	}
	if (!counting && (!r->cycles || cycles < r->cycles))
		r->cycles = cycles;
	r->call = call;
	unmap(p, PMD);
}

static void run(const struct backing *b, struct results *res)
{
	size_t size = FAULTS * batches[ARRAY_SIZE(batches) - 1].stride;
	unsigned int repeat = counting ? 1 : REPEAT;
	unsigned int n, i;
	char *p = map(b, size);

	for (i = 0; i < ARRAY_SIZE(batches); i++) {
		for (n = 0; n < repeat; n++)
			run_batch(&batches[i], p, res->batch[i]);
	}
	unmap(p, size);
	repeat = counting ? 1 : REPEAT_DROP;
	for (i = 0; i < ARRAY_SIZE(drops); i++) {
		for (n = 0; n < repeat; n++) {
			run_drop(b, &drops[i], false, &res->drop[i][0]);
			run_drop(b, &drops[i], true, &res->drop[i][1]);
		}
	}
}

static void report(const struct backing *b, const char *op, size_t size,
		   unsigned int repeat, const struct result *r)
{
	printf("{\"kernel\":\"%s\",\"op\":\"%s\",\"backing\":\"%s\",\"size\":%zu,",
	       kernel, op, b->name, size);
	printf("\"calls\":1,\"repeat\":%u,\"per_call\":%.1f,\"per_page\":%.6f,",
	       repeat, (double)r->cycles, (double)r->cycles / (size / PAGE));
	printf("\"hmm_calls\":%llu,\"nvif_calls\":%llu,\"map_calls\":%llu,",
	       r->hmm_calls, r->call.calls, r->call.maps);
	printf("\"flushes\":%llu,\"mapped\":%llu,\"large\":%llu}\n",
	       r->call.flushes, r->call.mapped, r->call.large);
}

static void report_backing(const struct backing *b, const struct results *res)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(batches); i++) {
		report(b, batches[i].first, FAULTS * PAGE, REPEAT,
		       &res->batch[i][0]);
		report(b, batches[i].op, FAULTS * PAGE, REPEAT,
		       &res->batch[i][1]);
	}
	for (i = 0; i < ARRAY_SIZE(drops); i++) {
		report(b, drops[i].op, drops[i].size, REPEAT_DROP,
		       &res->drop[i][0]);
		report(b, drops[i].cpu, drops[i].size, REPEAT_DROP,
		       &res->drop[i][1]);
	}
}

static const char *backing_name(size_t b)
{
	return backings[b].name;
}

static void measure_backing(size_t b)
{
	run(&backings[b], &results[b]);
}

static void bench(char **names)
{
	size_t b;

	measure_and_count("nouveau", ARRAY_SIZE(backings), backing_name,
			  measure_backing, names);
	for (b = 0; b < ARRAY_SIZE(backings); b++) {
		if (wanted(backings[b].name, names))
			report_backing(&backings[b], &results[b]);
	}
}

int main(int argc, char **argv)
{
	int opt;

	while ((opt = getopt(argc, argv, "k:")) != -1) {
		switch (opt) {
		case 'k':
			kernel = optarg;
			break;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	check_clock();
	pagemap = open_or_die("/proc/self/pagemap", O_RDONLY);
	set_thp("2048", "enabled", true);
	bench(argv + optind);
	return 0;
}
