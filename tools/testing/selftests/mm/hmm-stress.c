// SPDX-License-Identifier: GPL-2.0
/*
 * Stress test of the HMM range layer, on the mirrors of lib/test_hmm_stress.c.
 *
 * Regions of memory of each kind are mirrored. Device threads fault and access
 * them, CPU threads read and write, and mutators unmap, move, protect, fork,
 * discard, collapse, page out and migrate, all at the same time and in random
 * order. A run with a device that ignores invalidations comes first and has to
 * be caught.
 *
 * What is checked. A page holds SLOTS words. Each is a tag: the identity of the
 * page and a generation, or zero if never written. A slot has one writer, who
 * counts its generations up. Writer and discarding thread note what they do in
 * struct page_state before and after, so that for each word read, by CPU or
 * device, it is known which generations it may have:
 *
 *  - never one that was not yet begun, and never another page's tag;
 *  - if no discard overlapped read or write: at least the last one that was
 *    complete before the read, if there was no discard since;
 *  - zero or a later one, if there was a discard since, unless that was
 *    MADV_FREE, which may take effect at any time or never.
 *
 * At quiet points all threads stop. Then errors are exact too: each fault has to
 * succeed, what the device still has must be what the CPU sees, and each must
 * see what the other one writes. If no invalidation came since the fault, the
 * device must be able to read and write every page.
 *
 * Locking: region::lock is held for write by who changes VMAs, for read by the
 * other mutators, so that these meet the VMAs that they expect; discards of a
 * region take turns by region::discard. CPU and device threads take no lock.
 * Everything that threads share is atomic. The runner is a child of its own, as
 * one that hangs or crashes is a result too; struct shared is how it reports.
 *
 * usage: hmm-stress [-t SECONDS] [-s SEED] [-m MUTATORS] [-w SECONDS] [-d DIR]
 *	-t how long to run (60); up to a minute more for what has not happened yet
 *	-s seed of the random order (from the clock; printed)
 *	-m threads that change the mappings (3)
 *	-w give up if nothing comes to an end for so long (240)
 *	-d where to put a file to be mapped (.)
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/mempolicy.h>
#include <linux/mman.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <lib/test_hmm_stress_uapi.h>
#include "kselftest.h"
#include "hmm_range_util.h"

#define SLOTS		HMM_STRESS_SLOTS
#define GEN_MASK	HMM_STRESS_GEN_MASK
#define MAX_PAGES	HMM_STRESS_MAX_PAGES
#define IDENT_BASE	0x5ca1ab0000ULL
#define CHILD_MARK	0x8000000000ULL	/* in the tags that children write */

#define NR_CPU		2
#define NR_DEVICE	2
#define MAX_MUTATORS	16
#define MAX_THREADS	(NR_CPU + NR_DEVICE + MAX_MUTATORS)
#define ROUND_MS	500	/* between quiet points */
#define CONTROL_MS	60000	/* at most: it ends with the first wrong word */
#define EXTRA_MS	60000	/* for what has not happened in time */
#define QUIET_TRIES	10	/* of exchanges that an invalidation disturbs */
#define MAX_RETRIES	10000	/* of faults that lose against reclaim */
#define MAX_REPORTS	5

/* Who writes to which slot; the others stay as they are. */
enum {
	SLOT_QUIET_CPU,
	SLOT_QUIET_DEVICE,
	SLOT_CPU,
	SLOT_DEVICE = SLOT_CPU + NR_CPU,
};

enum backing { ANON, MTHP, THP, SHMEM, HUGETLB, FILE_COPY, NR_BACKINGS };

#define ON(b)		(1U << (b))
#define ON_ALL		(ON(NR_BACKINGS) - 1)
#define ON_ANON		(ON(ANON) | ON(MTHP) | ON(THP))

static const struct {
	const char *name;
	size_t pages;
	bool huge;		/* changes only as whole PMDs */
	bool shared;		/* contents outlive the mapping */
} backings[NR_BACKINGS] = {
	[ANON]		= { "anon", 256 },
	[MTHP]		= { "mthp", 256 },	/* too short for a PMD */
	[THP]		= { "thp", 1024 },
	[SHMEM]		= { "shmem", 512, .shared = true },
	[HUGETLB]	= { "hugetlb", 1024, .huge = true },
	[FILE_COPY]	= { "private file", 256 },
};

/* done: the generation in the low bits, above it the epoch of the write. */
struct slot_state {
	atomic_ullong begun;	/* last generation */
	atomic_ullong done;
};

/*
 * The epoch of a write is the number of discards before it plus one, or zero if
 * one was under way during the write.
 */
struct page_state {
	atomic_ullong discards_begun;
	atomic_ullong discards_done;
	atomic_ullong hard;	/* number of the last one that is not MADV_FREE */
	struct slot_state slot[SLOTS];
};

struct region {
	enum backing backing;
	char *addr;
	char *away;		/* where mremap() moves it to and back from */
	size_t pages;
	__u64 ident;
	int fd;			/* what is mapped, or -1 */
	int dev;
	pthread_rwlock_t lock;
	pthread_mutex_t discard;
	atomic_ullong vma_begun, vma_done;	/* changes of VMAs */
	size_t undisturbed;	/* exchanges at quiet points; the runner's own */
	struct page_state *state;
};

/* State of a slot before a word is read from it. */
struct before {
	__u64 discards_begun;
	__u64 discards_done;
	__u64 hard;
	__u64 done;
};

struct worker {
	unsigned int nr;
	unsigned int slot;
	__u64 rng;
	pthread_t thread;
	struct before before[MAX_PAGES][SLOTS];
	__u64 words[MAX_PAGES][SLOTS];
};

enum count {
	C_FAULT, C_FAULT_SNAPSHOT, C_FAULT_LOCKED, C_FAULT_UNLOCKED,
	C_FAULT_EXTENTS, C_FAULT_PARTIAL, C_FAULT_REFUSED,
	C_DEVICE_READ, C_DEVICE_WRITE, C_CPU_READ, C_CPU_WRITE,
	C_INVALIDATION, C_QUIET, C_OP,
};

enum op_id {
	OP_REMAP, OP_MREMAP, OP_MPROTECT, OP_FORK, OP_DONTNEED, OP_FREE,
	OP_REMOVE, OP_COLLAPSE, OP_PAGEOUT, OP_COMPACT, OP_MIGRATE, NR_OPS,
};

#define NR_COUNTS	(C_OP + NR_OPS)

/* What the runner tells the program, also if it does not come back. */
struct shared {
	atomic_ullong rounds;
	atomic_ullong wrong;		/* words */
	atomic_ullong failed;		/* calls */
	atomic_ullong count[NR_COUNTS];
	atomic_uintptr_t doing[MAX_THREADS + 1];	/* names; last: the runner */
	struct hmm_stress_stats stats;
};

static struct shared *shared;
static struct region regions[NR_BACKINGS];
static struct worker *workers[MAX_THREADS];
static struct worker *quiet;		/* the runner's own */
static unsigned int nr_workers, nr_mutators = 3, nr_nodes = 1;
static bool broken;			/* the control */
static const char *dir = ".";
static __u64 seed, run_ms = 60000, watchdog_ms = 240000;

/* Threads stop at the end of a round of theirs while @stop is set. */
static pthread_mutex_t park_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t park_cond = PTHREAD_COND_INITIALIZER;
static unsigned int parked;		/* under park_lock */
static atomic_bool stop;
static atomic_bool finish;

static __thread sigjmp_buf segv_jump;
static __thread atomic_bool segv_armed;

/* ---- small helpers ---- */

static __u64 rnd(struct worker *w, __u64 below)
{
	w->rng ^= w->rng >> 12;
	w->rng ^= w->rng << 25;
	w->rng ^= w->rng >> 27;
	return (w->rng * 0x2545f4914f6cdd1dULL >> 16) % below;
}

static void count(enum count c)
{
	atomic_fetch_add(&shared->count[c], 1);
}

static void doing(struct worker *w, const char *what)
{
	atomic_store(&shared->doing[w->nr], (uintptr_t)what);
}

static char *page_addr(struct region *r, size_t index)
{
	return r->addr + index * page;
}

static __u64 *word_at(char *addr, unsigned int slot)
{
	return (__u64 *)(addr + slot * HMM_STRESS_SLOT_SIZE);
}

static __u64 load(char *addr, unsigned int slot)
{
	return __atomic_load_n(word_at(addr, slot), __ATOMIC_RELAXED);
}

static __u64 tag(struct region *r, size_t index, __u64 gen)
{
	return (r->ident + index) << HMM_STRESS_GEN_BITS | gen;
}

/* A call that has to succeed did not. */
static void failed(struct region *r, const char *what, long result)
{
	if (atomic_fetch_add(&shared->failed, 1) < MAX_REPORTS)
		ksft_print_msg("%s: %s: %s\n", backings[r->backing].name, what,
			       strerror(result < 0 ? -result : result));
}

static void segv_handler(int sig)
{
	if (segv_armed)
		siglongjmp(segv_jump, 1);
	signal(sig, SIG_DFL);
}

/*
 * A load or a store that may meet a mapping without that permission, or none:
 * whether it was done.
 */
static bool try_access(__u64 *word, __u64 *value, bool write)
{
	if (sigsetjmp(segv_jump, 0)) {
		segv_armed = false;
		return false;
	}
	segv_armed = true;
	if (write)
		__atomic_store_n(word, *value, __ATOMIC_RELAXED);
	else
		*value = __atomic_load_n(word, __ATOMIC_RELAXED);
	segv_armed = false;
	return true;
}

/* ---- what a word may be ---- */

static __u64 write_begin(struct page_state *p, unsigned int slot, __u64 *epoch)
{
	__u64 done = atomic_load(&p->discards_done);
	__u64 begun = atomic_load(&p->discards_begun);

	*epoch = begun == done ? begun + 1 : 0;
	return (atomic_fetch_add(&p->slot[slot].begun, 1) + 1) & GEN_MASK;
}

static void write_end(struct page_state *p, unsigned int slot, __u64 gen,
		      __u64 epoch)
{
	if (atomic_load(&p->discards_begun) + 1 != epoch)
		epoch = 0;
	atomic_store(&p->slot[slot].done, gen | epoch << HMM_STRESS_GEN_BITS);
}

static void discard_begin(struct region *r, size_t first, size_t n)
{
	size_t i;

	for (i = first; i < first + n; i++)
		atomic_fetch_add(&r->state[i].discards_begun, 1);
}

static void discard_end(struct region *r, size_t first, size_t n, bool hard)
{
	size_t i;

	for (i = first; i < first + n; i++) {
		struct page_state *p = &r->state[i];

		if (hard)
			atomic_store(&p->hard, atomic_load(&p->discards_begun));
		atomic_fetch_add(&p->discards_done, 1);
	}
}

static void read_begin(struct page_state *p, unsigned int slot,
		       struct before *b)
{
	b->discards_done = atomic_load(&p->discards_done);
	b->discards_begun = atomic_load(&p->discards_begun);
	b->hard = atomic_load(&p->hard);
	b->done = atomic_load(&p->slot[slot].done);
}

/* What is wrong with generation @gen in that slot, or NULL. */
static const char *gen_wrong(struct page_state *p, unsigned int slot,
			     const struct before *b, __u64 gen)
{
	__u64 epoch = b->done >> HMM_STRESS_GEN_BITS;
	__u64 done = b->done & GEN_MASK;

	if (gen > (atomic_load(&p->slot[slot].begun) & GEN_MASK))
		return "never written";
	if (!epoch || b->discards_begun != b->discards_done ||
	    b->discards_begun != atomic_load(&p->discards_begun))
		return NULL;
	if (epoch == b->discards_begun + 1)
		return gen < done ? "an old value" : NULL;
	if (epoch <= b->hard && gen && gen <= done)
		return "a discarded value";
	return NULL;
}

static void report(const char *who, const char *what, struct region *r,
		   size_t index, unsigned int slot, __u64 word)
{
	struct page_state *p = &r->state[index];

	if (atomic_fetch_add(&shared->wrong, 1) >= MAX_REPORTS || broken)
		return;
	ksft_print_msg("%s: %s: page %zu slot %u at %p: %llx, which is %s\n",
		       who, backings[r->backing].name, index, slot,
		       word_at(page_addr(r, index), slot),
		       (unsigned long long)word, what);
	ksft_print_msg("  identity %llx, begun %llx, done %llx\n",
		       (unsigned long long)(r->ident + index),
		       p->slot[slot].begun, p->slot[slot].done);
	ksft_print_msg("  discards %llu, done %llu, last hard one %llu\n",
		       p->discards_begun, p->discards_done, p->hard);
}

static void check_word(const char *who, struct region *r, size_t index,
		       unsigned int slot, const struct before *b, __u64 word)
{
	const char *wrong;

	if (word >> HMM_STRESS_GEN_BITS == r->ident + index)
		wrong = gen_wrong(&r->state[index], slot, b, word & GEN_MASK);
	else if (word || r->backing == FILE_COPY)
		wrong = "of another page";
	else
		wrong = gen_wrong(&r->state[index], slot, b, 0);
	if (wrong)
		report(who, wrong, r, index, slot, word);
}

/* ---- the device ---- */

static bool bit(const __u64 *map, size_t i)
{
	return map[i / 64] >> (i % 64) & 1;
}

static struct hmm_stress_access access_of(struct region *r, size_t first,
					  size_t n)
{
	return (struct hmm_stress_access) {
		.start = (uintptr_t)page_addr(r, first),
		.end = (uintptr_t)page_addr(r, first + n),
	};
}

/* Reads through the entries that there are, into w->words, and checks. */
static struct hmm_stress_access device_read(struct worker *w, struct region *r,
					    size_t first, size_t n)
{
	struct hmm_stress_access a = access_of(r, first, n);
	unsigned int slot;
	size_t i;

	for (i = 0; i < n; i++)
		for (slot = 0; slot < SLOTS; slot++)
			read_begin(&r->state[first + i], slot,
				   &w->before[i][slot]);
	a.words = (uintptr_t)w->words;
	if (ioctl(r->dev, HMM_STRESS_ACCESS, &a)) {
		failed(r, "device read", errno);
		memset(a.done, 0, sizeof(a.done));
	}
	for (i = 0; i < n; i++) {
		if (!bit(a.done, i))
			continue;
		count(C_DEVICE_READ);
		for (slot = 0; slot < SLOTS; slot++)
			check_word("device", r, first + i, slot,
				   &w->before[i][slot], w->words[i][slot]);
	}
	return a;
}

/*
 * Writes through the entries that allow it. The ioctl writes one generation to
 * all pages, so that of each page is moved up to that of the highest first.
 */
static struct hmm_stress_access device_write(struct worker *w,
					     struct region *r, size_t first,
					     size_t n)
{
	struct hmm_stress_access a = access_of(r, first, n);
	unsigned int slot = w->slot;
	__u64 epoch[MAX_PAGES];
	size_t i;

	a.flags = HMM_STRESS_WRITE;
	a.slot = slot;
	for (i = 0; i < n; i++)
		if (r->state[first + i].slot[slot].begun >= a.gen)
			a.gen = r->state[first + i].slot[slot].begun;
	for (i = 0; i < n; i++) {
		atomic_store(&r->state[first + i].slot[slot].begun, a.gen);
		write_begin(&r->state[first + i], slot, &epoch[i]);
	}
	a.gen++;
	if (ioctl(r->dev, HMM_STRESS_ACCESS, &a)) {
		failed(r, "device write", errno);
		memset(a.done, 0, sizeof(a.done));
	}
	for (i = 0; i < n; i++) {
		if (!bit(a.done, i))
			continue;
		count(C_DEVICE_WRITE);
		write_end(&r->state[first + i], slot, a.gen, epoch[i]);
	}
	return a;
}

static struct hmm_stress_fault fault_of(struct region *r, size_t first,
					size_t n, enum hmm_stress_mode mode)
{
	return (struct hmm_stress_fault) {
		.start = (uintptr_t)page_addr(r, first),
		.end = (uintptr_t)page_addr(r, first + n),
		.mode = mode,
		.timeout_ms = 1000,
	};
}

/* One call of the range API: its errno, 1 if the device refused to make it. */
static int device_fault(struct region *r, struct hmm_stress_fault *f)
{
	if (ioctl(r->dev, HMM_STRESS_FAULT, f)) {
		failed(r, "fault", errno);
		return 1;
	}
	if (!f->result) {
		count(C_FAULT);
		count(C_FAULT_SNAPSHOT + f->mode);
		if (f->max_extents)
			count(C_FAULT_EXTENTS);
		if (f->error)
			count(C_FAULT_PARTIAL);
	}
	return f->result;
}

/*
 * A range without the permission asked for is refused, and so is one that is
 * not mapped. Both can be only while VMAs change.
 */
static void fault_some(struct worker *w, struct region *r, size_t first,
		       size_t n)
{
	struct hmm_stress_fault f = fault_of(r, first, n,
					     rnd(w, HMM_STRESS_UNLOCKED + 1));
	__u64 done = atomic_load(&r->vma_done);
	bool stable = done == atomic_load(&r->vma_begun);
	int ret;

	f.flags = rnd(w, 2) * HMM_STRESS_WRITE | rnd(w, 2) * HMM_STRESS_PARTIAL;
	if (rnd(w, 2))
		f.max_extents = 1 + rnd(w, 64);
	ret = device_fault(r, &f);
	if (!ret)
		ret = f.error;
	stable = stable && done == atomic_load(&r->vma_begun);
	if (ret == -EFAULT || ret == -EPERM)
		count(C_FAULT_REFUSED);
	if (ret < 0 && ret != -EBUSY &&
	    (stable || (ret != -EFAULT && ret != -EPERM)))
		failed(r, "fault", ret);
}

/* ---- regions ---- */

static void region_map(struct region *r, size_t first, size_t n, int fixed)
{
	bool anon = ON(r->backing) & ON_ANON;
	int flags = fixed | (backings[r->backing].shared ? MAP_SHARED :
							   MAP_PRIVATE);
	char *p;

	if (r->backing == HUGETLB)
		flags |= MAP_HUGETLB | 21 << MAP_HUGE_SHIFT;
	if (r->fd < 0)
		flags |= MAP_ANONYMOUS;
	p = mmap(page_addr(r, first), n * page, PROT_READ | PROT_WRITE, flags,
		 r->fd, r->fd < 0 ? 0 : first * page);
	if (p != page_addr(r, first)) {
		failed(r, "mmap", p == MAP_FAILED ? errno : EEXIST);
		return;
	}
	if (anon && madvise(p, n * page, r->backing == ANON ? MADV_NOHUGEPAGE :
							      MADV_HUGEPAGE))
		failed(r, "madvise", errno);
}

/* The file holds tags of generation 0, so that zeroes from it are wrong. */
static bool region_open_file(struct region *r)
{
	char name[256], *buf = calloc(1, page);
	unsigned int slot;
	size_t i;

	snprintf(name, sizeof(name), "%s/hmm-stress-XXXXXX", dir);
	r->fd = mkstemp(name);
	if (r->fd < 0 || !buf)
		return false;
	unlink(name);
	for (i = 0; i < r->pages; i++) {
		for (slot = 0; slot < SLOTS; slot++)
			*word_at(buf, slot) = tag(r, i, 0);
		if (pwrite(r->fd, buf, page, i * page) != (ssize_t)page)
			return false;
	}
	free(buf);
	return !fsync(r->fd);
}

static bool region_open(struct region *r)
{
	r->fd = -1;
	if (r->backing == FILE_COPY)
		return region_open_file(r);
	if (r->backing != SHMEM)
		return true;
	r->fd = memfd_create("hmm-stress", MFD_CLOEXEC);
	return r->fd >= 0 && !ftruncate(r->fd, r->pages * page);
}

/* Nothing else may come to lie where a region or its second home has a hole. */
static bool region_place(struct region *r)
{
	size_t len = r->pages * page;
	size_t room = (len + pmd - 1) / pmd * pmd;
	char *p = mmap(NULL, 2 * room + 4 * pmd, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return false;
	r->addr = (char *)(((uintptr_t)p + 2 * pmd - 1) / pmd * pmd);
	r->away = r->addr + room + pmd;
	return true;
}

static bool region_setup(enum backing backing)
{
	struct region *r = &regions[backing];
	struct hmm_stress_mirror m = {
		.flags = broken ? HMM_STRESS_IGNORE_INVALIDATIONS : 0,
	};

	r->backing = backing;
	r->pages = backings[backing].pages;
	r->ident = IDENT_BASE + ((__u64)backing << 32 >> 12);
	r->state = calloc(r->pages, sizeof(*r->state));
	pthread_rwlock_init(&r->lock, NULL);
	pthread_mutex_init(&r->discard, NULL);
	if (!r->state || !region_open(r) || !region_place(r))
		return false;
	region_map(r, 0, r->pages, MAP_FIXED);

	r->dev = open("/dev/hmm_stress", O_RDWR | O_CLOEXEC);
	m.start = (uintptr_t)r->addr;
	m.end = m.start + r->pages * page;
	m.ident = r->ident;
	return r->dev >= 0 && !ioctl(r->dev, HMM_STRESS_MIRROR, &m) &&
	       !shared->failed;
}

/* ---- mutators: each returns whether it did what it is there for ---- */

static void vma_begin(struct region *r)
{
	atomic_fetch_add(&r->vma_begun, 1);
}

static void vma_end(struct region *r)
{
	atomic_fetch_add(&r->vma_done, 1);
}

static bool op_remap(struct worker *w, struct region *r, size_t first, size_t n)
{
	bool discard = !backings[r->backing].shared;
	bool ok;

	vma_begin(r);
	if (discard)
		discard_begin(r, first, n);
	ok = !munmap(page_addr(r, first), n * page);
	if (!ok)
		failed(r, "munmap", errno);
	else
		region_map(r, first, n, MAP_FIXED_NOREPLACE);
	if (discard)
		discard_end(r, first, n, true);
	vma_end(r);
	return ok;
}

static void cpu_read(struct worker *w, struct region *r, char *base,
		     size_t index)
{
	unsigned int slot = rnd(w, SLOTS);
	struct before b;
	__u64 word;

	read_begin(&r->state[index], slot, &b);
	if (!try_access(word_at(base + index * page, slot), &word, false))
		return;
	check_word("CPU", r, index, slot, &b, word);
	count(C_CPU_READ);
}

static bool op_mremap(struct worker *w, struct region *r, size_t first, size_t n)
{
	size_t len = n * page;
	char *here = page_addr(r, first), *there = r->away + first * page;
	bool ok = true;
	size_t i;

	vma_begin(r);
	if (mremap(here, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, there) !=
	    there) {
		failed(r, "mremap away", errno);
		ok = false;
	}
	for (i = first; ok && i < first + n; i++)
		cpu_read(w, r, r->away, i);
	if (ok && mremap(there, len, len, MREMAP_MAYMOVE | MREMAP_FIXED,
			 here) != here) {
		failed(r, "mremap back", errno);
		ok = false;
	}
	if (mmap(there, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS |
		 MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0) != there)
		failed(r, "mmap of the second home", errno);
	vma_end(r);
	return ok;
}

static bool op_mprotect(struct worker *w, struct region *r, size_t first,
			size_t n)
{
	int prot = rnd(w, 3) ? PROT_READ : PROT_NONE;
	size_t yields = rnd(w, 50);
	bool ok;

	vma_begin(r);
	ok = !mprotect(page_addr(r, first), n * page, prot);
	while (ok && yields--)
		sched_yield();
	if (!ok || mprotect(page_addr(r, first), n * page,
			    PROT_READ | PROT_WRITE)) {
		failed(r, "mprotect", errno);
		ok = false;
	}
	vma_end(r);
	return ok;
}

/* A child writes tags of its own to its copy; none of them may be seen here. */
static bool op_fork(struct worker *w, struct region *r, size_t first, size_t n)
{
	size_t writes = backings[r->backing].shared ? 0 : 1 + rnd(w, 16);
	int status;
	pid_t pid;

	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (writes--) {
			size_t i = first + rnd(w, n);

			*word_at(page_addr(r, i), rnd(w, SLOTS)) =
				tag(r, i, GEN_MASK) |
				CHILD_MARK << HMM_STRESS_GEN_BITS;
		}
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		failed(r, "fork", errno);
		return false;
	}
	if (status)
		failed(r, "child", EFAULT);
	return !status;
}

static bool discard(struct region *r, size_t first, size_t n, int advice)
{
	bool effect = !backings[r->backing].shared || advice == MADV_REMOVE;
	int ret;

	pthread_mutex_lock(&r->discard);
	if (effect)
		discard_begin(r, first, n);
	ret = madvise(page_addr(r, first), n * page, advice) ? errno : 0;
	/* What was not done in full may have been done in part. */
	if (effect)
		discard_end(r, first, n, !ret && advice != MADV_FREE);
	pthread_mutex_unlock(&r->discard);
	if (ret)
		failed(r, "madvise", ret);
	return !ret;
}

static bool op_dontneed(struct worker *w, struct region *r, size_t first,
			size_t n)
{
	return discard(r, first, n, MADV_DONTNEED);
}

static bool op_free(struct worker *w, struct region *r, size_t first, size_t n)
{
	return discard(r, first, n, MADV_FREE);
}

static bool op_remove(struct worker *w, struct region *r, size_t first,
		      size_t n)
{
	return discard(r, first, n, MADV_REMOVE);
}

/* Fails whenever a page is busy, so only success says something. */
static bool op_collapse(struct worker *w, struct region *r, size_t first,
			size_t n)
{
	return !madvise(r->addr, r->pages * page, MADV_COLLAPSE);
}

static bool op_pageout(struct worker *w, struct region *r, size_t first,
		       size_t n)
{
	__u64 entry[16];
	bool some = false;
	ssize_t got;
	size_t i;
	int fd;

	if (madvise(page_addr(r, first), n * page, MADV_PAGEOUT)) {
		failed(r, "MADV_PAGEOUT", errno);
		return false;
	}
	fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (n > ARRAY_SIZE(entry))
		n = ARRAY_SIZE(entry);
	got = pread(fd, entry, n * sizeof(*entry),
		    (uintptr_t)page_addr(r, first) / page * sizeof(*entry));
	close(fd);
	for (i = 0; got > 0 && i < got / sizeof(*entry); i++)
		some |= !(entry[i] & PM_PRESENT);
	return some;
}

static bool op_compact(struct worker *w, struct region *r, size_t first,
		       size_t n)
{
	return !setting_write("/proc/sys/vm/compact_memory", "1");
}

static bool op_migrate(struct worker *w, struct region *r, size_t first,
		       size_t n)
{
	int node = rnd(w, nr_nodes), nodes[32], before[32], after[32];
	void *addr[32];
	size_t i;

	if (n > 32)
		n = 32;
	for (i = 0; i < n; i++) {
		addr[i] = page_addr(r, first + i);
		nodes[i] = node;
	}
	if (syscall(SYS_move_pages, 0, n, addr, NULL, before, 0) ||
	    syscall(SYS_move_pages, 0, n, addr, nodes, after,
		    MPOL_MF_MOVE) < 0)
		return false;
	for (i = 0; i < n; i++)
		if (before[i] >= 0 && before[i] != node && after[i] == node)
			return true;
	return false;
}

static const struct op {
	const char *name;
	bool (*run)(struct worker *w, struct region *r, size_t first, size_t n);
	unsigned int on;	/* backings */
	unsigned int weight;
	bool vma;		/* alone with the region's VMAs */
} ops[NR_OPS] = {
	[OP_REMAP]	= { "munmap", op_remap, ON_ALL, 8, true },
	[OP_MREMAP]	= { "mremap", op_mremap, ON_ALL, 8, true },
	[OP_MPROTECT]	= { "mprotect", op_mprotect, ON_ALL, 8, true },
	[OP_FORK]	= { "fork", op_fork, ON_ALL, 4 },
	[OP_DONTNEED]	= { "dontneed", op_dontneed, ON_ALL, 8 },
	[OP_FREE]	= { "free", op_free, ON_ANON, 8 },
	[OP_REMOVE]	= { "remove", op_remove, ON(SHMEM), 8 },
	[OP_COLLAPSE]	= { "collapse", op_collapse, ON(THP) | ON(SHMEM), 8 },
	[OP_PAGEOUT]	= { "pageout", op_pageout, ON_ALL & ~ON(HUGETLB), 8 },
	[OP_COMPACT]	= { "compact", op_compact, ON_ALL, 1 },
	[OP_MIGRATE]	= { "migrate", op_migrate, ON_ALL, 8 },
};

/* ---- threads ---- */

/* Stops here while there is a quiet point; false at the end. */
static bool go_on(struct worker *w)
{
	if (atomic_load(&stop)) {
		doing(w, "nothing");
		pthread_mutex_lock(&park_lock);
		parked++;
		pthread_cond_broadcast(&park_cond);
		while (atomic_load(&stop))
			pthread_cond_wait(&park_cond, &park_lock);
		parked--;
		pthread_mutex_unlock(&park_lock);
	}
	return !atomic_load(&finish);
}

/* A random part of a random region. */
static struct region *pick(struct worker *w, unsigned int on, size_t *first,
			   size_t *n, size_t max, bool whole_pmds)
{
	struct region *r;
	size_t step;

	do {
		r = &regions[rnd(w, NR_BACKINGS)];
	} while (!(ON(r->backing) & on));
	step = whole_pmds && backings[r->backing].huge ? pmd / page : 1;
	*first = rnd(w, r->pages / step) * step;
	*n = r->pages - *first;
	if (*n > max && max >= step)
		*n = max / step * step;
	*n = (1 + rnd(w, *n / step)) * step;
	return r;
}

static const struct op *pick_op(struct worker *w)
{
	unsigned int sum = 0, left, i;

	for (i = 0; i < NR_OPS; i++)
		sum += ops[i].weight;
	left = rnd(w, sum);
	for (i = 0; left >= ops[i].weight; i++)
		left -= ops[i].weight;
	return &ops[i];
}

static void *mutator_thread(void *arg)
{
	struct worker *w = arg;
	size_t first, n;

	while (go_on(w)) {
		const struct op *op = pick_op(w);
		struct region *r = pick(w, op->on, &first, &n, -1, true);

		doing(w, op->name);
		if (op->vma)
			pthread_rwlock_wrlock(&r->lock);
		else
			pthread_rwlock_rdlock(&r->lock);
		if (op->run(w, r, first, n))
			count(C_OP + (op - ops));
		pthread_rwlock_unlock(&r->lock);
	}
	return NULL;
}

static bool cpu_write(struct worker *w, struct region *r, size_t index)
{
	struct page_state *p = &r->state[index];
	__u64 epoch, gen, word;

	gen = write_begin(p, w->slot, &epoch);
	word = tag(r, index, gen);
	if (!try_access(word_at(page_addr(r, index), w->slot), &word, true))
		return false;
	write_end(p, w->slot, gen, epoch);
	count(C_CPU_WRITE);
	return true;
}

static void *cpu_thread(void *arg)
{
	struct worker *w = arg;
	size_t first, n, i;

	while (go_on(w)) {
		struct region *r = pick(w, ON_ALL, &first, &n, 32, false);
		bool write = rnd(w, 3);

		doing(w, write ? "CPU write" : "CPU read");
		for (i = first; i < first + n; i++) {
			if (write)
				cpu_write(w, r, i);
			else
				cpu_read(w, r, r->addr, i);
		}
		/* The mutators are to get most of the time. */
		sched_yield();
	}
	return NULL;
}

static void *device_thread(void *arg)
{
	struct worker *w = arg;
	size_t first, n;

	while (go_on(w)) {
		struct region *r = pick(w, ON_ALL, &first, &n, 128, false);

		switch (rnd(w, broken ? 2 : 3)) {
		case 0:
			doing(w, "device fault");
			fault_some(w, r, first, n);
			break;
		case 1:
			doing(w, "device read");
			device_read(w, r, first, n);
			break;
		default:
			doing(w, "device write");
			device_write(w, r, first, n);
		}
	}
	return NULL;
}

/* ---- quiet points ---- */

/* Fills the whole part for writing; nothing is there to refuse it now. */
static bool quiet_fault(struct region *r, size_t first, size_t n)
{
	struct hmm_stress_fault f = fault_of(r, first, n, rnd(quiet, 2) ?
					     HMM_STRESS_LOCKED :
					     HMM_STRESS_UNLOCKED);
	unsigned int tries;
	int ret = -EBUSY;

	f.flags = HMM_STRESS_WRITE;
	if (rnd(quiet, 2))
		f.max_extents = 1 + rnd(quiet, 256);
	for (tries = 0; tries < MAX_RETRIES && f.start < f.end; tries++) {
		ret = device_fault(r, &f);
		if (!ret)
			f.start = f.next;
		else if (ret != -EBUSY)
			break;
	}
	if (ret)
		failed(r, "fault at a quiet point", ret);
	return !ret;
}

/* Whether a discard may still take effect on the page. */
static bool lazy(struct page_state *p)
{
	return atomic_load(&p->discards_done) != atomic_load(&p->hard);
}

/* Whether the device could access each of @n pages. */
static bool accessed_all(const struct hmm_stress_access *a, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (!bit(a->done, i))
			return false;
	return true;
}

static __u64 invalidations(struct region *r)
{
	struct hmm_stress_stats s = { };

	if (ioctl(r->dev, HMM_STRESS_STATS, &s))
		failed(r, "statistics", errno);
	return s.invalidations;
}

/*
 * What the device has, and what was just read through it, is what the CPU sees.
 * Returns what could be read.
 */
static struct hmm_stress_access quiet_compare(struct region *r, size_t first,
					      size_t n)
{
	struct hmm_stress_access a = device_read(quiet, r, first, n);
	unsigned int slot;
	struct before b;
	size_t i;

	for (i = 0; i < n; i++) {
		size_t index = first + i;

		for (slot = 0; slot < SLOTS; slot++) {
			__u64 word;

			read_begin(&r->state[index], slot, &b);
			word = load(page_addr(r, index), slot);
			check_word("CPU at a quiet point", r, index, slot, &b,
				   word);
			if (!bit(a.done, i) || word == quiet->words[i][slot] ||
			    (!word && lazy(&r->state[index])))
				continue;
			report("device at a quiet point",
			       "not what the CPU sees", r, index, slot,
			       quiet->words[i][slot]);
		}
	}
	return a;
}

/* What the device writes is seen by the CPU. Returns what could be written. */
static struct hmm_stress_access quiet_device_write(struct region *r,
						   size_t first, size_t n)
{
	struct hmm_stress_access a;
	size_t i;

	quiet->slot = SLOT_QUIET_DEVICE;
	a = device_write(quiet, r, first, n);
	for (i = 0; i < n; i++) {
		char *addr = page_addr(r, first + i);
		__u64 word = load(addr, quiet->slot);

		if (bit(a.done, i) && word != tag(r, first + i, a.gen))
			report("CPU at a quiet point",
			       "not what the device wrote", r, first + i,
			       quiet->slot, word);
	}
	return a;
}

/*
 * Both ways: each sees what the other one has just written. The device has to
 * get at every page, unless something like reclaim took pages away again
 * meanwhile: that is to be repeated.
 */
static bool quiet_exchange(struct region *r, size_t first, size_t n)
{
	struct hmm_stress_access got, put;
	bool undisturbed;
	__u64 before;
	size_t i;

	quiet->slot = SLOT_QUIET_CPU;
	for (i = first; i < first + n; i++)
		if (!cpu_write(quiet, r, i))
			failed(r, "CPU write at a quiet point", EFAULT);
	quiet_compare(r, first, n);
	before = invalidations(r);
	if (!quiet_fault(r, first, n))
		return true;
	got = quiet_compare(r, first, n);
	if (broken)
		return true;
	put = quiet_device_write(r, first, n);
	undisturbed = invalidations(r) == before;
	quiet_compare(r, first, n);
	if (!undisturbed)
		return false;
	if (!accessed_all(&got, n))
		failed(r, "device read after a fault", EFAULT);
	if (!accessed_all(&put, n))
		failed(r, "device write after a fault", EFAULT);
	r->undisturbed++;
	return true;
}

static void quiet_end(void)
{
	pthread_mutex_lock(&park_lock);
	atomic_store(&stop, false);
	pthread_cond_broadcast(&park_cond);
	pthread_mutex_unlock(&park_lock);
}

static void quiet_point(void)
{
	struct region *r;
	unsigned int tries;
	size_t first, n;

	atomic_store(&stop, true);
	pthread_mutex_lock(&park_lock);
	while (parked < nr_workers)
		pthread_cond_wait(&park_cond, &park_lock);
	pthread_mutex_unlock(&park_lock);

	doing(quiet, "quiet point");
	for (r = regions; r < regions + NR_BACKINGS; r++) {
		for (first = 0; first < r->pages; first += n) {
			n = r->pages - first;
			if (n > MAX_PAGES)
				n = MAX_PAGES;
			quiet_compare(r, first, n);
			for (tries = 0; tries < QUIET_TRIES; tries++)
				if (quiet_exchange(r, first, n))
					break;
		}
	}
	doing(quiet, "waiting");
	count(C_QUIET);
	atomic_fetch_add(&shared->rounds, 1);
	quiet_end();
}

/* ---- the runner ---- */

static struct worker *worker_new(unsigned int nr, unsigned int slot)
{
	struct worker *w = calloc(1, sizeof(*w));

	if (!w) {
		ksft_print_msg("out of memory\n");
		_exit(2);
	}
	w->nr = nr;
	w->slot = slot;
	w->rng = (seed + nr + 1) * 0x9e3779b97f4a7c15ULL | 1;
	doing(w, "nothing");
	return w;
}

static void worker_start(void *(*run)(void *), unsigned int slot)
{
	struct worker *w = worker_new(nr_workers, slot);

	workers[nr_workers] = w;
	if (pthread_create(&w->thread, NULL, run, w)) {
		ksft_print_msg("cannot start a thread\n");
		_exit(2);
	}
	nr_workers++;
}

static void stats_add(void)
{
	struct hmm_stress_stats s, *sum = &shared->stats;
	unsigned int i;

	for (i = 0; i < NR_BACKINGS; i++) {
		if (ioctl(regions[i].dev, HMM_STRESS_STATS, &s))
			continue;
		if (!sum->mismatches && s.mismatches) {
			sum->bad_addr = s.bad_addr;
			sum->bad_expected = s.bad_expected;
			sum->bad_found = s.bad_found;
			sum->bad_entry = s.bad_entry;
		}
		sum->mismatches += s.mismatches;
		sum->faults += s.faults;
		sum->stale += s.stale;
		sum->invalidations += s.invalidations;
		sum->cleared += s.cleared;
		sum->pages_read += s.pages_read;
		sum->pages_written += s.pages_written;
	}
	atomic_store(&shared->count[C_INVALIDATION], sum->invalidations);
}

/* What this machine cannot do; pages are moved between memory nodes. */
static bool cannot_happen(unsigned int c)
{
	return c == C_OP + OP_MIGRATE && nr_nodes < 2;
}

/* Whether each thing to be counted has happened; invalidations are read last. */
static bool all_happened(void)
{
	unsigned int i;

	for (i = 0; i < NR_COUNTS; i++)
		if (!shared->count[i] && i != C_INVALIDATION &&
		    !cannot_happen(i))
			return false;
	return true;
}

/*
 * When to stop: the control with the first wrong word, others when their time
 * is up, and a little later if something has not happened yet.
 */
static bool is_over(__u64 end)
{
	__u64 now = now_ms();

	if (broken)
		return shared->wrong || now >= end;
	return now >= end && (all_happened() || now >= end + EXTRA_MS);
}

static void runner_setup(void)
{
	struct sigaction sa = { .sa_handler = segv_handler,
				.sa_flags = SA_NODEFER };
	unsigned int i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigaction(SIGSEGV, &sa, NULL);
	/* Nothing of ours is to be mapped into a hole that a mutator makes. */
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_MMAP_MAX, 0);
	quiet = worker_new(MAX_THREADS, SLOT_QUIET_CPU);
	for (i = 0; i < NR_BACKINGS; i++)
		if (!region_setup(i)) {
			ksft_print_msg("cannot set up %s: %s\n",
				       backings[i].name, strerror(errno));
			_exit(2);
		}
}

static void runner(__u64 ms)
{
	__u64 end = now_ms() + ms;
	unsigned int i;

	runner_setup();
	/* None begins before the stack of the last one has got its place. */
	atomic_store(&stop, true);
	for (i = 0; i < NR_CPU; i++)
		worker_start(cpu_thread, SLOT_CPU + i);
	for (i = 0; i < NR_DEVICE; i++)
		worker_start(device_thread, SLOT_DEVICE + i);
	for (i = 0; i < nr_mutators; i++)
		worker_start(mutator_thread, 0);
	quiet_end();

	do {
		/* Time to do something in; nothing is waited for. */
		usleep(ROUND_MS * 1000);
		quiet_point();
	} while (!is_over(end));
	atomic_store(&finish, true);
	for (i = 0; i < nr_workers; i++)
		pthread_join(workers[i]->thread, NULL);
	for (i = 0; i < NR_BACKINGS && !broken; i++)
		if (!regions[i].undisturbed)
			failed(&regions[i], "no undisturbed exchange", ETIMEDOUT);
	stats_add();
	_exit(0);
}

static void report_hang(pid_t pid)
{
	unsigned int i;

	ksft_print_msg("no quiet point in time; threads are at:\n");
	for (i = 0; i < MAX_THREADS + 1; i++)
		if (shared->doing[i])
			ksft_print_msg("  %u: %s\n", i,
				       (const char *)shared->doing[i]);
	kill(pid, SIGKILL);
}

/* Starts the runner and watches it: whether it came to its end. */
static bool run(__u64 ms)
{
	__u64 last = now_ms(), rounds = 0;
	int status;
	pid_t pid;

	memset(shared, 0, sizeof(*shared));
	fflush(stdout);
	pid = fork();
	if (!pid)
		runner(ms);
	while (pid > 0 && !waitpid(pid, &status, WNOHANG)) {
		usleep(100 * 1000);
		if (atomic_load(&shared->rounds) != rounds) {
			rounds = shared->rounds;
			last = now_ms();
		} else if (now_ms() - last > watchdog_ms) {
			report_hang(pid);
			return false;
		}
	}
	if (pid < 0 || !WIFEXITED(status)) {
		ksft_print_msg("the runner ended by signal %d\n",
			       pid < 0 ? 0 : WTERMSIG(status));
		return false;
	}
	if (WEXITSTATUS(status))
		ksft_print_msg("the runner could not be set up\n");
	return !WEXITSTATUS(status);
}

/* ---- the program ---- */

static const char *const count_names[C_OP] = {
	[C_FAULT]		= "device fault",
	[C_FAULT_SNAPSHOT]	= "snapshot",
	[C_FAULT_LOCKED]	= "fault under the mmap lock",
	[C_FAULT_UNLOCKED]	= "fault without the mmap lock",
	[C_FAULT_EXTENTS]	= "fault into extents",
	[C_FAULT_PARTIAL]	= "fault done in part",
	[C_FAULT_REFUSED]	= "fault refused",
	[C_DEVICE_READ]		= "device read",
	[C_DEVICE_WRITE]	= "device write",
	[C_CPU_READ]		= "CPU read",
	[C_CPU_WRITE]		= "CPU write",
	[C_INVALIDATION]	= "invalidation",
	[C_QUIET]		= "quiet point",
};

static void print_stats(void)
{
	struct hmm_stress_stats *s = &shared->stats;

	ksft_print_msg("device: %llu faults, %llu stale, %llu invalidations\n",
		       (unsigned long long)s->faults,
		       (unsigned long long)s->stale,
		       (unsigned long long)s->invalidations);
	ksft_print_msg("device: %llu entries cleared, %llu pages read, %llu written\n",
		       (unsigned long long)s->cleared,
		       (unsigned long long)s->pages_read,
		       (unsigned long long)s->pages_written);
	if (!s->mismatches)
		return;
	ksft_print_msg("device: %llu words of other pages, the first at %llx:\n",
		       (unsigned long long)s->mismatches,
		       (unsigned long long)s->bad_addr);
	ksft_print_msg("  %llx instead of %llx, entry %llx\n",
		       (unsigned long long)s->bad_found,
		       (unsigned long long)s->bad_expected,
		       (unsigned long long)s->bad_entry);
}

static void test_control(void)
{
	bool ended;

	broken = true;
	ended = run(CONTROL_MS);
	broken = false;
	ksft_print_msg("control: %llu wrong words in %llu rounds\n",
		       shared->wrong, shared->rounds);
	print_stats();
	ksft_test_result(ended && shared->wrong,
			 "control: ignored invalidations are noticed\n");
}

static void test_stress(void)
{
	bool ended = run(run_ms);
	unsigned int i;

	print_stats();
	ksft_test_result(ended, "stress: comes to its end\n");
	ksft_test_result(ended && !shared->wrong && !shared->stats.mismatches,
			 "stress: every word is right\n");
	ksft_test_result(ended && !shared->failed,
			 "stress: no call fails that may not\n");
	for (i = 0; i < NR_COUNTS; i++) {
		const char *name = i < C_OP ? count_names[i] :
					      ops[i - C_OP].name;

		if (cannot_happen(i)) {
			ksft_test_result_skip("progress: %s (needs two memory nodes)\n",
					      name);
			continue;
		}
		ksft_print_msg("%s: %llu times\n", name, shared->count[i]);
		ksft_test_result(shared->count[i], "progress: %s\n", name);
	}
}

/* Memory nodes that pages can be moved between. */
static unsigned int online_nodes(void)
{
	char name[64];
	unsigned int n = 1;

	if (syscall(SYS_move_pages, 0, 0, NULL, NULL, NULL, 0))
		return 1;	/* no CONFIG_NUMA_MIGRATION */
	do {
		snprintf(name, sizeof(name), "/sys/devices/system/node/node%u",
			 n);
	} while (!access(name, F_OK) && ++n);
	return n;
}

static const char *missing(void)
{
	if (access("/dev/hmm_stress", R_OK | W_OK))
		return "no /dev/hmm_stress: load test_hmm_stress, as root";
	pmd = read_pmd_pagesize();
	if (!pmd)
		return "no THP (CONFIG_TRANSPARENT_HUGEPAGE)";
	nr_nodes = online_nodes();
	thp_policy(MTHP_SIZE | pmd);
	return no_hugetlb(pmd, 16);
}

static void bad_usage(void)
{
	fprintf(stderr,
		"usage: hmm-stress [-t SECONDS] [-s SEED] [-m MUTATORS] [-w SECONDS] [-d DIR]\n");
	exit(KSFT_FAIL);
}

static void parse(int argc, char **argv)
{
	int opt;

	while ((opt = getopt(argc, argv, "t:s:m:w:d:")) != -1) {
		switch (opt) {
		case 't':
			run_ms = strtoul(optarg, NULL, 0) * 1000;
			break;
		case 's':
			seed = strtoull(optarg, NULL, 0);
			break;
		case 'm':
			nr_mutators = strtoul(optarg, NULL, 0);
			break;
		case 'w':
			watchdog_ms = strtoul(optarg, NULL, 0) * 1000;
			break;
		case 'd':
			dir = optarg;
			break;
		default:
			bad_usage();
		}
	}
	if (optind < argc || !run_ms || !watchdog_ms || !nr_mutators ||
	    nr_mutators > MAX_MUTATORS)
		bad_usage();
}

int main(int argc, char **argv)
{
	const char *why;

	seed = time(NULL);
	parse(argc, argv);
	ksft_print_header();
	machine_save();
	why = missing();
	if (why)
		ksft_exit_skip("%s\n", why);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		ksft_exit_fail_msg("out of memory\n");

	ksft_set_plan(4 + NR_COUNTS);
	ksft_print_msg("seed %llu, %llu seconds, %u mutators\n",
		       (unsigned long long)seed,
		       (unsigned long long)run_ms / 1000, nr_mutators);
	test_control();
	test_stress();
	ksft_finished();
}
