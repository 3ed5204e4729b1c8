/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the test programs of the HMM range API share: the raw device of
 * lib/test_hmm_range.c, memory of each kind, what the kernel says of it by
 * other ways, and settings of the machine that are put back at the end.
 *
 * A program calls machine_save() in main() before any test, and each test, a
 * process of its own, range_setup() first. The state behind these functions is
 * that of one test; only the test's own thread may use them, except where noted.
 * What cannot work at all (no pagemap, a broken counter) ends the program.
 */
#ifndef HMM_RANGE_UTIL_H
#define HMM_RANGE_UTIL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <linux/types.h>

#include <lib/test_hmm_range_uapi.h>
#include <mm/vm_util.h>

#define VALID		HMM_RANGE_PFN_VALID
#define ERROR		HMM_RANGE_PFN_ERROR
#define READ		HMM_RANGE_REQ_FAULT
#define WRITE		HMM_RANGE_REQ_WRITE
#define RW		(HMM_RANGE_REQ_FAULT | HMM_RANGE_REQ_WRITE)
#define ORDER(o)	((__u64)(o) << HMM_RANGE_PFN_ORDER_SHIFT)
#define ANY_ORDER	ORDER(31)

#define KB		1024UL
#define MB		(1024 * KB)
#define GB		(1024 * MB)
#define MTHP_SIZE	(64 * KB)

#define THP_DIR		"/sys/kernel/mm/transparent_hugepage"
#define HUGETLB_DIR	"/sys/kernel/mm/hugepages"
#define KSM_DIR		"/sys/kernel/mm/ksm"

extern int dev, pagemap;	/* the raw device, /proc/self/pagemap */
extern enum hmm_range_test_mode fault_mode;	/* for fault*() and range_of() */
extern __u64 *pfns;		/* requests in, entries out */
extern __u64 faults;		/* handle_mm_fault() calls of the last call */
extern size_t page, pmd, nr_pmd;	/* bytes, bytes, pages */

/* ---- settings of the machine ---- */

/*
 * Remembers the settings that tests change, keeps khugepaged from changing
 * mappings between two looks at them, makes swap of 64 MB on a loop device, and
 * has all that put back when the program ends.
 */
void machine_save(void);

/* Writes @value to a sysfs file: 0, or -1 if that cannot be done. */
int setting_write(const char *path, const char *value);

/* The number in a sysfs file, 0 if there is none. */
unsigned long setting_number(const char *path);

/*
 * Sizes of folios that memory advised with MADV_HUGEPAGE may get, or shared
 * memory all by itself: a mask of sizes in bytes, each of which is a power of
 * two. All others are off.
 */
void thp_policy(size_t sizes);
void shmem_policy(size_t sizes);

/*
 * Whether this test can have what it needs: NULL, or what is missing.
 * To be used as "if (skipped(no_thp())) return;".
 */
const char *no_thp(void);
const char *no_mthp(void);
const char *no_hugetlb(unsigned long size, unsigned long nr);
const char *no_uffd(int *fd, __u64 features);

/* Skips the test if @why is not NULL, and says so to the caller. */
#define skipped(why) ({							\
	const char *_why = (why);					\
									\
	if (_why)							\
		SKIP((void)0, "%s", _why);				\
	!!_why;								\
})

/* ---- memory ---- */

/* A mapping aligned to a PMD range, with nothing accessible around it, or NULL. */
char *area(size_t len, int prot, int flags, int fd);

/* Private anonymous memory so aligned, for huge pages or for small ones only. */
char *anon_area(size_t pages, bool huge);

/* @len bytes of huge pages of 1 << @shift bytes; @share as for mmap(). */
char *hugetlb_area(size_t len, unsigned int shift, int share);

/* Swaps out, or drops if clean: whether none of @n pages is left present. */
bool page_out(char *p, size_t n);

/* MADV_FREE for all of @n pages, also those that a batch of some CPU holds. */
int free_lazily(char *p, size_t n);

/* A child that keeps its copy of the mapping until it is killed. */
pid_t peer_start(void);
void peer_stop(pid_t pid);

/* CLOCK_MONOTONIC; from any thread. */
__u64 now_ms(void);

/* ---- what the kernel says of memory ---- */

/* The pagemap entries of @n pages, valid until the next call. */
__u64 *pm_read(const char *p, size_t n);
__u64 pm(const char *p);
bool present(const char *p);

/* How many of @n pages are present. */
size_t populated(const char *p, size_t n);

/* The pfn of the small zero page. */
__u64 zero_pfn(void);

/*
 * Whether entries @first .. @first + @n - 1 of the last call, which began at
 * @p, are mapped as pagemap says, with flags and order @must and nothing else
 * but what is in @may.
 */
bool mapped(const char *p, size_t first, size_t n, __u64 must, __u64 may);

/* Whether the same entries are all @value. */
bool all(size_t first, size_t n, __u64 value);

/*
 * Whether each order in the last result, which was for @n pages at @p, means
 * what it says: the naturally aligned block of that many pages around the entry
 * is in the range and mapped, contiguously and with the same access. For orders
 * below that of a PMD, or a range that no larger leaf reaches out of.
 */
bool orders_hold(const char *p, size_t n);

/* ---- calling the device ---- */

/* Opens the device; NULL or what is missing, to be used with skipped(). */
const char *range_setup(void);

/* A call on @pages pages at @p that asks for nothing yet. */
struct hmm_range_test range_of(const char *p, size_t pages);

/* Faults in the first @n entries of pfns[]. */
void pfns_populate(size_t n);

/*
 * One ioctl: the errno of the call, or 1 if the device refused to make it.
 * submit_valid() does as a driver does: once more if the result was stale when
 * it was looked at.
 */
int submit(struct hmm_range_test *r);
int submit_valid(struct hmm_range_test *r);

/* What is there, without touching it. */
int snapshot(const char *p, size_t pages);

/* The same request for the whole range. */
int fault(const char *p, size_t pages, __u64 request);

/* Each page by its entry in pfns[], which request_none() clears. */
int fault_each(const char *p, size_t pages);
void request_none(size_t pages);

/* ---- what goes on beside ---- */

/*
 * Something done again and again, or once, by a thread beside the test's own
 * until it is stopped, and no longer than @limit_ms.
 */
struct side {
	void		(*act)(struct side *s);
	char		*p;		/* for @act */
	size_t		len;
	unsigned int	limit_ms;	/* 0: SIDE_LIMIT_MS */
	bool		once;
	pthread_t	thread;
	atomic_int	stop;
	atomic_int	rounds;
};

#define SIDE_LIMIT_MS	80000

/* 0, or an errno. */
int side_start(struct side *s);
void side_stop(struct side *s);

/* The loop itself, for clone(): a process that shares the address space. */
int side_run(void *arg);

/* To be @act: discards @len bytes at @p. */
void act_discard(struct side *s);

/* ---- userfaultfd ---- */

/*
 * Answers the events of a userfaultfd from a thread of its own until it is
 * stopped: fills missing pages with 7s, maps what the page cache has, and
 * removes protection from writing or from any access.
 */
struct uffd_server {
	int		uffd;
	size_t		leaf;		/* bytes per answer, 0: a page */
	unsigned int	delay_us;	/* before each answer */
	char		*drop;		/* page to take away before answering */
	bool		unmap;		/* by munmap(), else MADV_DONTNEED */
	pthread_t	thread;
	atomic_int	stop;
	atomic_int	served;		/* to be looked at when stopped */
};

/* 0, or an errno. */
int uffd_server_start(struct uffd_server *s);
void uffd_server_stop(struct uffd_server *s);

#endif /* HMM_RANGE_UTIL_H */
