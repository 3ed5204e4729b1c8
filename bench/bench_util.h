/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the benchmarks share: files of the kernel, the unit of all results, and
 * settings and checks of huge pages. All of it ends the program if it fails.
 */
#ifndef HMM_BENCH_UTIL_H
#define HMM_BENCH_UTIL_H

#include <stdbool.h>
#include <stddef.h>

#include <linux/types.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

#define PAGE		4096UL
#define KB		1024UL
#define MB		(1024 * KB)
#define GB		(1024 * MB)
#define PMD		(2 * MB)

/* Where all memory is mapped: the same page tables in every run. */
#define ADDRESS		((char *)0x100000000000UL)

int open_or_die(const char *path, int flags);
void write_file(const char *path, const char *value);
void *allocate(size_t n, size_t size);
void unmap(char *p, size_t size);

/*
 * The unit is an executed instruction: the guest's clock has to advance by one
 * for each (see harness/bench).
 */
void check_clock(void);

/* Transparent huge pages of @size KB where madvise() asks for them, or not. */
void set_thp(const char *size, const char *file, bool on);

/* How many pages of [@addr, @addr + @size) are mapped by PMDs or above. */
size_t huge_pages(int pagemap, const char *addr, size_t size);

/* Split huge pages into folios of one page, which stay where they are. */
void split_huge(char *p, size_t size);

/* Pages come from the allocator in order, and go to the addresses in disorder. */
void touch_at_random(char *p, size_t size);

/*
 * Count calls of HMM by kprobes: those that drivers make (hmm_range_fault(),
 * hmm_mirror_fault(), ...) and the walks below the latter. hmm_calls() is how many
 * there were, or how many walks if these are more. There is no end to counting,
 * and nothing is to be measured by then.
 */
void count_hmm_calls(void);
__u64 hmm_calls(void);

/* Is @name one of @names, which end with %NULL, or are there none? */
bool wanted(const char *name, char **names);

/*
 * Measure each of @nr backings that is one of @names, and then once more what it
 * counts: @counting says which. @name and @measure take the number of a backing.
 */
extern bool counting;
void measure_and_count(const char *what, size_t nr,
		       const char *(*name)(size_t backing),
		       void (*measure)(size_t backing), char **names);

#endif /* HMM_BENCH_UTIL_H */
