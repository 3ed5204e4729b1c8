// SPDX-License-Identifier: GPL-2.0
/*
 * Makes memory of each kind ("backing"), has /dev/hmm_bench measure the HMM APIs
 * and pin_user_pages_fast() on it, and prints one line of JSON per measurement.
 *
 * The unit is an executed instruction: the guest's clock advances by one for
 * each (see harness/bench), which is checked first. Each number is the minimum
 * of several measurements, as all that an interrupt can do is add to one.
 *
 * A backing that is not what its name says ends the program: pages are looked up
 * in /proc/self/pagemap and /proc/kpageflags before anything is measured on
 * them. No locks: one thread, one mapping at a time. Needs root.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/mman.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <x86intrin.h>

#include "bench_util.h"
#include "hmm_bench_uapi.h"

#define HUGETLB_DIR	"/sys/kernel/mm/hugepages"

#define BIT_ULL(nr)	(1ULL << (nr))
#define PM_PRESENT	BIT_ULL(63)
#define PM_PFN_MASK	(BIT_ULL(55) - 1)
#define KPF_HEAD	BIT_ULL(15)
#define KPF_TAIL	BIT_ULL(16)

/* Measurements of populated memory; calls in each, so that it lasts a while. */
#define REPEAT		5
#define MAX_CALLS	64
/* Folios of device memory at once, and how often. Each time it is mapped anew. */
#define DEVICE_FOLIOS	32
#define DEVICE_REPEAT	3
#define PAGES_AT_ONCE	4096

/**
 * enum kind - how the pages come about
 * @ANON: what the transparent huge page settings say
 * @ANON_SPLIT: huge pages split, so that 4K pages are in physical order
 * @ANON_RANDOM: 4K pages touched in random order
 * @HUGETLB: pages of the pool of the leaf's size
 * @SHMEM: anonymous shared memory
 * @DAX: a file on persistent memory
 */
enum kind { ANON, ANON_SPLIT, ANON_RANDOM, HUGETLB, SHMEM, DAX };

/**
 * struct backing - a kind of memory to measure on
 * @name: in the output
 * @kind: how it is made
 * @folio: size of its blocks, aligned and in one piece physically
 * @huge: mapped by PMDs or above
 * @populated: bytes to measure on when populated
 * @unpopulated: bytes to measure faults on, 0 to leave these out
 * @dma: measure DMA mappings, too
 */
struct backing {
	const char *name;
	enum kind kind;
	size_t folio;
	bool huge;
	size_t populated;
	size_t unpopulated;
	bool dma;
};

static const struct backing backings[] = {
	{ "4k",		  ANON_SPLIT,  PAGE,	false, GB,	 64 * MB, true },
	{ "4k-scattered", ANON_RANDOM, PAGE,	false, 256 * MB, 0, true },
	{ "mthp-64k",	  ANON,	       64 * KB,	false, 256 * MB, 64 * MB, true },
	{ "thp-2m",	  ANON,	       PMD,	true,  GB,	 64 * MB, true },
	{ "hugetlb-2m",	  HUGETLB,     PMD,	true,  GB,	 64 * MB, true },
	{ "hugetlb-1g",	  HUGETLB,     GB,	true,  GB,	 GB, true },
	{ "shmem-4k",	  SHMEM,       PAGE,	false, 256 * MB, 64 * MB, false },
	{ "shmem-2m",	  SHMEM,       PMD,	true,  256 * MB, 64 * MB, false },
	{ "dax-pte",	  DAX,	       PAGE,	false, 256 * MB, 64 * MB, false },
	{ "dax-pmd",	  DAX,	       PMD,	true,  256 * MB, 64 * MB, false },
};

static const char usage[] =
	"usage: hmm-bench [-k KERNEL] [-d DAX_DIR] [-l IOMMU_GROUP] [BACKING...]\n";
static const char *kernel = "?", *dax_dir, *iommu_group;
static int dev, pagemap, kpageflags, dax_file = -1;

/* ---- is the memory what it should be? ---- */

static void read_at(int fd, __u64 *to, size_t n, __u64 index, const char *what)
{
	size_t size = n * sizeof(__u64);

	if (pread(fd, to, size, index * sizeof(__u64)) != (ssize_t)size)
		err(1, "reading %s", what);
}

static __u64 *read_pfns(const char *addr, size_t npages)
{
	__u64 *pfns = allocate(npages, sizeof(*pfns));
	size_t i;

	read_at(pagemap, pfns, npages, (uintptr_t)addr / PAGE, "pagemap");
	for (i = 0; i < npages; i++) {
		if (!(pfns[i] & PM_PRESENT) || !(pfns[i] & PM_PFN_MASK))
			errx(1, "page %zu is not present", i);
		pfns[i] &= PM_PFN_MASK;
	}
	return pfns;
}

static void check_blocks(const struct backing *b, const __u64 *pfns,
			 size_t npages)
{
	size_t block = b->folio / PAGE;
	size_t i;

	for (i = 0; i < npages; i++) {
		if (i % block ? pfns[i] != pfns[i - 1] + 1 : pfns[i] % block)
			errx(1, "%s: page %zu is not part of a block of %zu pages",
			     b->name, i, block);
	}
}

/* What the series merges into runs has to be there, or not be there at all. */
static void check_order(const struct backing *b, const __u64 *pfns,
			size_t npages)
{
	size_t breaks = 0;
	size_t i;

	for (i = 1; i < npages; i++)
		breaks += pfns[i] != pfns[i - 1] + 1;
	if (b->kind == ANON_SPLIT && breaks > npages / 512)
		errx(1, "%s: %zu breaks in %zu pages", b->name, breaks, npages);
	if (b->kind == ANON_RANDOM && breaks < npages - npages / 50)
		errx(1, "%s: only %zu breaks in %zu pages", b->name, breaks, npages);
}

/* Folios of exactly the size, for PTE-mapped memory of the page allocator. */
static void check_folios(const struct backing *b, const __u64 *pfns,
			 size_t npages)
{
	size_t block = b->folio / PAGE;
	__u64 flags, want;
	size_t i;

	for (i = 0; i < npages; i++) {
		read_at(kpageflags, &flags, 1, pfns[i], "kpageflags");
		want = block == 1 ? 0 : i % block ? KPF_TAIL : KPF_HEAD;
		if ((flags & (KPF_HEAD | KPF_TAIL)) != want)
			errx(1, "%s: page %zu is not in a folio of %zu bytes",
			     b->name, i, b->folio);
	}
}

static void verify(const struct backing *b, const char *addr, size_t size,
		   bool populated)
{
	size_t npages = size / PAGE;
	__u64 *pfns = read_pfns(addr, npages);
	size_t huge = huge_pages(pagemap, addr, size);

	if (huge != (b->huge ? npages : 0))
		errx(1, "%s: %zu of %zu pages are mapped huge", b->name, huge,
		     npages);
	check_blocks(b, pfns, npages);
	if (populated)
		check_order(b, pfns, npages);
	if (!b->huge && b->kind != DAX)
		check_folios(b, pfns, npages);
	free(pfns);
}

/* ---- making the memory ---- */

static void set_pool(const struct backing *b, size_t size)
{
	char path[128], value[32];
	unsigned long got = 0;
	FILE *f;

	snprintf(path, sizeof(path), HUGETLB_DIR "/hugepages-%lukB/nr_hugepages",
		 b->folio / KB);
	snprintf(value, sizeof(value), "%lu", size / b->folio);
	write_file(path, value);
	f = fopen(path, "r");
	if (!f || fscanf(f, "%lu", &got) != 1 || got != size / b->folio)
		errx(1, "%s: %lu huge pages instead of %s", b->name, got, value);
	fclose(f);
}

/* Settings that hold while one backing is measured. */
static void prepare(const struct backing *b)
{
	bool anon = b->kind == ANON || b->kind == ANON_SPLIT;
	bool shmem = b->kind == SHMEM;

	set_thp("64", "enabled", anon && b->folio == 64 * KB);
	set_thp("2048", "enabled", anon && b->folio != 64 * KB);
	set_thp("2048", "shmem_enabled", shmem && b->huge);
	if (b->kind == HUGETLB && b->folio == PMD)
		set_pool(b, b->populated);
}

static void finish(const struct backing *b)
{
	/* Pages of 1G could not be had again. */
	if (b->kind == HUGETLB && b->folio == PMD)
		set_pool(b, 0);
}

/*
 * The file's blocks are contiguous and begin at 2M. An offset that is not
 * congruent to the address keeps the kernel from mapping 2M leaves.
 */
static off_t dax_offset(const struct backing *b)
{
	return b->huge ? 0 : PAGE;
}

static void make_dax_file(size_t size)
{
	char path[256];
	char *p;

	if (!dax_dir)
		errx(1, "no DAX file system given (-d)");
	snprintf(path, sizeof(path), "%s/hmm-bench", dax_dir);
	dax_file = open_or_die(path, O_RDWR | O_CREAT);
	if (ftruncate(dax_file, size) || posix_fallocate(dax_file, 0, size))
		errx(1, "%s: no space for %zu bytes", path, size);

	/* Written once, so that no later fault has to allocate or zero. */
	p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		 MAP_SHARED_VALIDATE | MAP_SYNC, dax_file, 0);
	if (p == MAP_FAILED)
		err(1, "%s is not DAX", path);
	memset(p, 1, size);
	munmap(p, size);
}

static int map_flags(const struct backing *b)
{
	int flags = MAP_FIXED_NOREPLACE | MAP_NORESERVE;

	switch (b->kind) {
	case HUGETLB:
		return flags | MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB |
		       (b->folio == GB ? MAP_HUGE_1GB : MAP_HUGE_2MB);
	case SHMEM:
		return flags | MAP_SHARED | MAP_ANONYMOUS;
	case DAX:
		return flags | MAP_SHARED;
	default:
		return flags | MAP_PRIVATE | MAP_ANONYMOUS;
	}
}

/* @split: huge pages are wanted to begin with. */
static char *map(const struct backing *b, size_t size, bool split)
{
	bool large = split || b->folio > PAGE;
	char *p;

	if (b->kind == DAX && dax_file < 0)
		make_dax_file(b->populated + PMD);
	p = mmap(ADDRESS, size, PROT_READ | PROT_WRITE, map_flags(b),
		 b->kind == DAX ? dax_file : -1,
		 b->kind == DAX ? dax_offset(b) : 0);
	if (p != ADDRESS)
		err(1, "%s: mmap of %zu bytes", b->name, size);
	if (b->kind != HUGETLB && b->kind != DAX &&
	    madvise(p, size, large ? MADV_HUGEPAGE : MADV_NOHUGEPAGE))
		err(1, "%s: madvise", b->name);
	return p;
}

static void populate(const struct backing *b, char *p, size_t size)
{
	if (madvise(p, size, MADV_POPULATE_WRITE))
		err(1, "%s: MADV_POPULATE_WRITE of %zu bytes", b->name, size);
}

static char *map_populated(const struct backing *b, size_t size)
{
	char *p = map(b, size, b->kind == ANON_SPLIT);

	if (b->kind == ANON_RANDOM)
		touch_at_random(p, size);
	else
		populate(b, p, size);
	if (b->kind == ANON_SPLIT)
		split_huge(p, size);
	verify(b, p, size, true);
	return p;
}

/* ---- measuring ---- */

static void report(const struct backing *b, const char *op, size_t size,
		   unsigned int calls, unsigned int repeat, __u64 cycles,
		   const struct hmm_bench_call *call)
{
	double per_call = (double)cycles / calls;

	printf("{\"kernel\":\"%s\",\"op\":\"%s\",\"backing\":\"%s\",\"size\":%zu,",
	       kernel, op, b->name, size);
	printf("\"calls\":%u,\"repeat\":%u,\"per_call\":%.1f,\"per_page\":%.6f,\"extents\":%llu",
	       calls, repeat, per_call, per_call / (size / PAGE),
	       call ? call->extents : 0);
	if (call && call->memory)
		printf(",\"memory\":%llu", call->memory);
	if (call && call->dropped)
		printf(",\"dropped\":%llu", call->dropped);
	printf("}\n");
	fflush(stdout);
}

/* One measurement by the device. False if this kernel does not have the call. */
static bool measure(const struct backing *b, struct hmm_bench_call *call)
{
	if (ioctl(dev, HMM_BENCH_CALL, call)) {
		if (errno == EOPNOTSUPP)
			return false;
		if (errno == ENODEV)
			errx(1, "no device for DMA: boot with -device edu");
		err(1, "%s: operation %u on %llu bytes", b->name, call->op,
		    call->length);
	}
	if (call->valid != call->length / PAGE || call->writable != call->valid)
		errx(1, "%s: operation %u on %llu bytes: %llu pages valid, %llu writable",
		     b->name, call->op, call->length, call->valid,
		     call->writable);
	return true;
}

/**
 * struct operation - what is measured of populated memory
 * @op: as the device calls it
 * @name: in the output, %NULL if that part is of no interest
 * @unmap: the name of what comes after it, or %NULL
 * @dma: only for backings of which DMA mappings are measured
 */
struct operation {
	enum hmm_bench_op op;
	const char *name;
	const char *unmap;
	bool dma;
};

static const struct operation operations[] = {
	{ HMM_BENCH_SNAPSHOT,	      "snapshot",	  NULL,		    false },
	{ HMM_BENCH_SNAPSHOT_EXTENTS, "snapshot-extents", NULL,		    false },
	{ HMM_BENCH_FAULT,	      "refault",	  NULL,		    false },
	{ HMM_BENCH_GUP,	      "gup",		  NULL,		    false },
	{ HMM_BENCH_GUP_DMA,	      "gup-map",	  "gup-unmap",	    true },
	{ HMM_BENCH_DMA,	      "dma-map",	  "dma-unmap",	    true },
	{ HMM_BENCH_DMA_INVALIDATE,   NULL,		  "dma-invalidate", true },
	{ HMM_BENCH_DMA_CYCLE,	      "dma-cycle",	  NULL,		    true },
};

/* The base's DMA mappings take long, and as long for each page. */
static unsigned int repeat_populated(const struct operation *o, size_t size)
{
	return o->dma && size > 64 * MB ? 2 : REPEAT;
}

static void bench_operation(const struct backing *b, const struct operation *o,
			    char *p, size_t size)
{
	__u64 best = UINT64_MAX, best_unmap = UINT64_MAX;
	unsigned int repeat = repeat_populated(o, size), n;
	size_t calls = PAGES_AT_ONCE / (size / PAGE);
	struct hmm_bench_call call = {
		.start = (uintptr_t)p,
		.length = size,
		.op = o->op,
	};

	calls = calls < 1 ? 1 : calls > MAX_CALLS ? MAX_CALLS : calls;
	call.calls = calls;
	for (n = 0; n < repeat && measure(b, &call); n++) {
		if (call.cycles < best)
			best = call.cycles;
		if (call.unmap_cycles < best_unmap)
			best_unmap = call.unmap_cycles;
	}
	if (n && o->name)
		report(b, o->name, size, calls, n, best, &call);
	if (n && o->unmap)
		report(b, o->unmap, size, calls, n, best_unmap, &call);
}

static void bench_populated(const struct backing *b, char *p, size_t size)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(operations); i++) {
		if (b->dma || !operations[i].dma)
			bench_operation(b, &operations[i], p, size);
	}
}

/*
 * The same with an IOMMU that is not flushed with each unmapping. There is no
 * way back for a device in use, so this comes last.
 */
static void bench_lazy(char **names)
{
	static const struct operation lazy = {
		HMM_BENCH_GUP_DMA, NULL, "gup-lazy-unmap", true
	};
	const struct backing *b;
	char path[128], *p;
	size_t size;

	snprintf(path, sizeof(path), "%s/type", iommu_group);
	write_file(path, "DMA-FQ");
	for (b = backings; b < backings + ARRAY_SIZE(backings); b++) {
		if (!b->dma || !wanted(b->name, names))
			continue;
		printf("# RUN %s, lazy\n", b->name);
		prepare(b);
		p = map_populated(b, b->populated);
		for (size = PAGE; size <= b->populated; size *= 4)
			bench_operation(b, &lazy, p, size);
		unmap(p, b->populated);
		finish(b);
	}
}

/*
 * What the page allocator has at hand matters most to small ranges, and the timer
 * interrupt to those that take little time.
 */
static unsigned int repeat_unpopulated(const struct backing *b, size_t size)
{
	if (size <= MB)
		return 20;
	if (size <= 4 * MB)
		return 10;
	return b->huge ? 4 : 2;
}

/* MADV_POPULATE_WRITE, the floor, and a fault for write of the same memory. */
static void bench_unpopulated(const struct backing *b, size_t size)
{
	__u64 floor = UINT64_MAX, fault = UINT64_MAX, cycles;
	unsigned int repeat = repeat_unpopulated(b, size);
	struct hmm_bench_call call = {
		.start = (uintptr_t)ADDRESS,
		.length = size,
		.op = HMM_BENCH_FAULT,
		.calls = 1,
	};
	unsigned int n;
	char *p;

	for (n = 0; n < repeat; n++) {
		p = map(b, size, false);
		cycles = __rdtsc();
		populate(b, p, size);
		cycles = __rdtsc() - cycles;
		floor = cycles < floor ? cycles : floor;
		verify(b, p, size, false);
		unmap(p, size);

		p = map(b, size, false);
		measure(b, &call);
		fault = call.cycles < fault ? call.cycles : fault;
		verify(b, p, size, false);
		unmap(p, size);
	}
	report(b, "populate", size, 1, repeat, floor, NULL);
	report(b, "fault", size, 1, repeat, fault, NULL);
}

/* Folios of device memory, which are no memory of ours. */
static void bench_device_init(const struct backing *b)
{
	__u64 again = UINT64_MAX, first = UINT64_MAX;
	struct hmm_bench_call call = {
		.length = 2 * MB,
		.op = HMM_BENCH_DEVICE_INIT,
		.calls = DEVICE_FOLIOS,
	};
	unsigned int n;

	for (n = 0; n < DEVICE_REPEAT && measure(b, &call); n++) {
		if (call.cycles < again)
			again = call.cycles;
		if (call.unmap_cycles < first)
			first = call.unmap_cycles;
	}
	report(b, "device-init", call.length, call.calls, n, again, NULL);
	report(b, "device-init-first", call.length, call.calls, n, first, NULL);
}

static void bench(const struct backing *b)
{
	size_t size;
	char *p;

	printf("# RUN %s\n", b->name);	/* harness/boot shows how far we are */
	fflush(stdout);
	prepare(b);
	p = map_populated(b, b->populated);
	for (size = PAGE; size <= b->populated; size *= 4)
		bench_populated(b, p, size);
	unmap(p, b->populated);
	if (!strcmp(b->name, "thp-2m"))
		bench_device_init(b);

	/* From 4K up by powers of four, as far as they are whole leaves. */
	if (b->kind == ANON_SPLIT)
		set_thp("2048", "enabled", false);
	for (size = PAGE; size <= b->unpopulated; size *= 4) {
		if (size >= b->folio)
			bench_unpopulated(b, size);
	}
	finish(b);
}

int main(int argc, char **argv)
{
	size_t i;
	int opt;

	while ((opt = getopt(argc, argv, "d:k:l:")) != -1) {
		switch (opt) {
		case 'd':
			dax_dir = optarg;
			break;
		case 'k':
			kernel = optarg;
			break;
		case 'l':
			iommu_group = optarg;
			break;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	check_clock();
	dev = open_or_die("/dev/hmm_bench", O_RDWR);
	pagemap = open_or_die("/proc/self/pagemap", O_RDONLY);
	kpageflags = open_or_die("/proc/kpageflags", O_RDONLY);

	for (i = 0; i < ARRAY_SIZE(backings); i++) {
		if (wanted(backings[i].name, argv + optind))
			bench(&backings[i]);
	}
	if (iommu_group)
		bench_lazy(argv + optind);
	return 0;
}
