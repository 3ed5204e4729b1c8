// SPDX-License-Identifier: GPL-2.0
/*
 * What the stress tests of the HMM layers share; hmm_stress_util.h describes it
 * and says what is checked and which locks there are.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/mempolicy.h>
#include <linux/mman.h>
#include <malloc.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kselftest.h"
#include "hmm_range_util.h"
#include "hmm_stress_util.h"

#define IDENT_BASE	0x5ca1ab0000ULL
#define EXTRA_MS	60000	/* for what has not happened in time */
#define MAX_REPORTS	5

/* Makes the words of a slot different, and the first one the tag itself. */
#define WORD_SALT	0x9e3779b97f4a7c15ULL

const struct backing_info backings[NR_BACKINGS] = {
	[ANON]		= { "anon", 256 },
	[MTHP]		= { "mthp", 256 },	/* too short for a PMD */
	[THP]		= { "thp", 1024 },
	[SHMEM]		= { "shmem", 512, .shared = true },
	[HUGETLB]	= { "hugetlb", 1024, .huge = true },
	[FILE_COPY]	= { "private file", 256 },
};

struct shared *shared;
struct region regions[NR_BACKINGS];
struct worker *quiet;
unsigned int runner_nr;
unsigned int nr_slots, slot_words;
bool broken;

static __u64 seed, run_ms = 60000, watchdog_ms = 240000;
static struct worker *workers[MAX_THREADS];
static unsigned int nr_workers, nr_mutators = 3, nr_nodes = 1;
static const char *dir = ".";

/* Threads stop at the end of a round of theirs while @stop is set. */
static pthread_mutex_t park_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t park_cond = PTHREAD_COND_INITIALIZER;
static unsigned int parked;		/* under park_lock */
static atomic_bool stop;
static atomic_bool finish;

static __thread sigjmp_buf segv_jump;
static __thread atomic_bool segv_armed;

/* ---- small helpers ---- */

__u64 rnd(struct worker *w, __u64 below)
{
	w->rng ^= w->rng >> 12;
	w->rng ^= w->rng << 25;
	w->rng ^= w->rng >> 27;
	return (w->rng * 0x2545f4914f6cdd1dULL >> 16) % below;
}

void count(unsigned int c)
{
	atomic_fetch_add(&shared->count[c], 1);
}

void doing(struct worker *w, const char *what)
{
	atomic_store(&shared->doing[runner_nr][w->nr], (uintptr_t)what);
}

char *page_addr(struct region *r, size_t index)
{
	return r->addr + index * page;
}

static __u64 *slot_at(char *addr, unsigned int slot)
{
	return (__u64 *)(addr + slot * (page / nr_slots));
}

__u64 load(char *addr, unsigned int slot, unsigned int k)
{
	return __atomic_load_n(slot_at(addr, slot) + k, __ATOMIC_RELAXED);
}

__u64 tag_of(struct region *r, size_t index, unsigned int k, __u64 gen)
{
	return ((r->ident + index) << GEN_BITS | gen) ^ k * WORD_SALT;
}

__u64 tag_from(__u64 word, unsigned int k)
{
	return word ^ k * WORD_SALT;
}

void slot_fill(__u64 *words, struct region *r, size_t index, __u64 gen)
{
	unsigned int k;

	for (k = 0; k < slot_words; k++)
		__atomic_store_n(words + k, tag_of(r, index, k, gen),
				 __ATOMIC_RELAXED);
}

void *stress_alloc(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		ksft_exit_fail_msg("out of memory\n");
	return p;
}

void failed(const char *where, const char *what, long result)
{
	if (atomic_fetch_add(&shared->failed, 1) < MAX_REPORTS)
		ksft_print_msg("%s: %s: %s\n", where, what,
			       strerror(result < 0 ? -result : result));
}

/* The same, of a region. */
static void region_failed(struct region *r, const char *what, long result)
{
	failed(backings[r->backing].name, what, result);
}

static void segv_handler(int sig)
{
	if (segv_armed)
		siglongjmp(segv_jump, 1);
	signal(sig, SIG_DFL);
}

/*
 * Accesses that may meet a mapping without that permission, or none: whether
 * they were done.
 */
static bool try_read(__u64 *word, __u64 *value)
{
	if (sigsetjmp(segv_jump, 0)) {
		segv_armed = false;
		return false;
	}
	segv_armed = true;
	*value = __atomic_load_n(word, __ATOMIC_RELAXED);
	segv_armed = false;
	return true;
}

static bool try_fill(struct region *r, size_t index, unsigned int slot,
		     __u64 gen)
{
	if (sigsetjmp(segv_jump, 0)) {
		segv_armed = false;
		return false;
	}
	segv_armed = true;
	slot_fill(slot_at(page_addr(r, index), slot), r, index, gen);
	segv_armed = false;
	return true;
}

/* ---- what a word may be ---- */

__u64 write_begin(struct page_state *p, unsigned int slot, __u64 *epoch)
{
	__u64 done = atomic_load(&p->discards_done);
	__u64 begun = atomic_load(&p->discards_begun);

	*epoch = begun == done ? begun + 1 : 0;
	return (atomic_fetch_add(&p->slot[slot].begun, 1) + 1) & GEN_MASK;
}

void write_end(struct page_state *p, unsigned int slot, __u64 gen, __u64 epoch)
{
	if (atomic_load(&p->discards_begun) + 1 != epoch)
		epoch = 0;
	atomic_store(&p->slot[slot].done, gen | epoch << GEN_BITS);
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

void read_begin(struct page_state *p, unsigned int slot, struct before *b)
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
	__u64 epoch = b->done >> GEN_BITS;
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

void report(const char *who, const char *what, struct region *r, size_t index,
	    unsigned int slot, __u64 word)
{
	struct page_state *p = &r->state[index];

	if (atomic_fetch_add(&shared->wrong, 1) >= MAX_REPORTS || broken)
		return;
	ksft_print_msg("%s: %s: page %zu slot %u at %p: %llx, which is %s\n",
		       who, backings[r->backing].name, index, slot,
		       slot_at(page_addr(r, index), slot),
		       (unsigned long long)word, what);
	ksft_print_msg("  identity %llx, begun %llx, done %llx\n",
		       (unsigned long long)(r->ident + index),
		       p->slot[slot].begun, p->slot[slot].done);
	ksft_print_msg("  discards %llu, done %llu, last hard one %llu\n",
		       p->discards_begun, p->discards_done, p->hard);
}

void check_word(const char *who, struct region *r, size_t index,
		unsigned int slot, unsigned int k, const struct before *b,
		__u64 word)
{
	__u64 tag = tag_from(word, k);
	const char *wrong;

	if (word && tag >> GEN_BITS == r->ident + index)
		wrong = gen_wrong(&r->state[index], slot, b, tag & GEN_MASK);
	else if (word || r->backing == FILE_COPY)
		wrong = "of another page";
	else
		wrong = gen_wrong(&r->state[index], slot, b, 0);
	if (wrong)
		report(who, wrong, r, index, slot, word ? tag : 0);
}

bool lazy(struct page_state *p)
{
	return atomic_load(&p->discards_done) != atomic_load(&p->hard);
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
		region_failed(r, "mmap", p == MAP_FAILED ? errno : EEXIST);
		return;
	}
	if (anon && madvise(p, n * page, r->backing == ANON ? MADV_NOHUGEPAGE :
							      MADV_HUGEPAGE))
		region_failed(r, "madvise", errno);
}

/* The file holds tags of generation 0, so that zeroes from it are wrong. */
static bool region_open_file(struct region *r)
{
	char name[256], *buf = calloc(1, page);
	unsigned int slot;
	size_t i;

	snprintf(name, sizeof(name), "%s/%s-XXXXXX", dir, program.name);
	r->fd = mkstemp(name);
	if (r->fd < 0 || !buf)
		return false;
	unlink(name);
	for (i = 0; i < r->pages; i++) {
		for (slot = 0; slot < nr_slots; slot++)
			slot_fill(slot_at(buf, slot), r, i, 0);
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
	r->fd = memfd_create(program.name, MFD_CLOEXEC);
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

	r->backing = backing;
	r->pages = backings[backing].pages;
	r->ident = IDENT_BASE + ((__u64)runner_nr << 24) +
		   ((__u64)backing << 20);
	r->state = calloc(r->pages, sizeof(*r->state));
	pthread_rwlock_init(&r->lock, NULL);
	pthread_mutex_init(&r->discard, NULL);
	if (!r->state || !region_open(r) || !region_place(r))
		return false;
	region_map(r, 0, r->pages, MAP_FIXED);
	return !shared->failed;
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
		region_failed(r, "munmap", errno);
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
	unsigned int slot = rnd(w, nr_slots), k = rnd(w, slot_words);
	struct before b;
	__u64 word;

	read_begin(&r->state[index], slot, &b);
	if (!try_read(slot_at(base + index * page, slot) + k, &word))
		return;
	check_word("CPU", r, index, slot, k, &b, word);
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
		region_failed(r, "mremap away", errno);
		ok = false;
	}
	for (i = first; ok && i < first + n; i++)
		cpu_read(w, r, r->away, i);
	if (ok && mremap(there, len, len, MREMAP_MAYMOVE | MREMAP_FIXED,
			 here) != here) {
		region_failed(r, "mremap back", errno);
		ok = false;
	}
	if (mmap(there, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS |
		 MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0) != there)
		region_failed(r, "mmap of the second home", errno);
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
		region_failed(r, "mprotect", errno);
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

			*slot_at(page_addr(r, i), rnd(w, nr_slots)) =
				tag_of(r, i, 0, GEN_MASK) |
				CHILD_MARK << GEN_BITS;
		}
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		region_failed(r, "fork", errno);
		return false;
	}
	if (status)
		region_failed(r, "child", EFAULT);
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
		region_failed(r, "madvise", ret);
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
		region_failed(r, "MADV_PAGEOUT", errno);
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

bool go_on(struct worker *w)
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

struct region *pick(struct worker *w, unsigned int on, size_t *first,
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

bool cpu_check(const char *who, struct region *r, size_t index,
	       unsigned int slot)
{
	__u64 *words = slot_at(page_addr(r, index), slot), word;
	struct before b;
	unsigned int k;

	for (k = 0; k < slot_words; k++) {
		read_begin(&r->state[index], slot, &b);
		if (!try_read(words + k, &word))
			return false;
		check_word(who, r, index, slot, k, &b, word);
	}
	return true;
}

bool cpu_write(struct worker *w, struct region *r, size_t index)
{
	struct page_state *p = &r->state[index];
	__u64 epoch, gen;

	gen = write_begin(p, w->slot, &epoch);
	if (!try_fill(r, index, w->slot, gen))
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

/* ---- quiet points ---- */

static void quiet_begin(void)
{
	atomic_store(&stop, true);
	pthread_mutex_lock(&park_lock);
	while (parked < nr_workers)
		pthread_cond_wait(&park_cond, &park_lock);
	pthread_mutex_unlock(&park_lock);
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
	quiet_begin();
	doing(quiet, "quiet point");
	program.quiet();
	doing(quiet, "waiting");
	count(C_QUIET);
	atomic_fetch_add(&shared->rounds[runner_nr], 1);
	quiet_end();
}

/* ---- the runners ---- */

static struct worker *worker_new(unsigned int nr, unsigned int slot)
{
	struct worker *w = calloc(1, sizeof(*w));

	if (!w) {
		ksft_print_msg("out of memory\n");
		_exit(2);
	}
	w->nr = nr;
	w->slot = slot;
	w->rng = (seed + runner_nr * 1000 + nr + 1) * 0x9e3779b97f4a7c15ULL | 1;
	doing(w, "nothing");
	return w;
}

struct worker *worker_start(void *(*run)(void *), unsigned int slot)
{
	struct worker *w = worker_new(nr_workers, slot);

	workers[nr_workers] = w;
	if (pthread_create(&w->thread, NULL, run, w)) {
		ksft_print_msg("cannot start a thread\n");
		_exit(2);
	}
	nr_workers++;
	return w;
}

/* What this machine cannot do; pages are moved between memory nodes. */
static bool cannot_happen(unsigned int c)
{
	return c == C_OP + OP_MIGRATE && nr_nodes < 2;
}

static unsigned int nr_counts(void)
{
	return C_PROGRAM + program.nr_counts;
}

/* Whether each thing to be counted has happened. */
static bool all_happened(void)
{
	unsigned int i;

	for (i = 0; i < nr_counts(); i++)
		if (shared->count[i] < program.at_least && !cannot_happen(i))
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
	if (!program.setup()) {
		ksft_print_msg("cannot set up the devices: %s\n",
			       strerror(errno));
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
	program.start();
	for (i = 0; i < nr_mutators; i++)
		worker_start(mutator_thread, 0);
	quiet_end();

	do {
		/* Time to do something in; nothing is waited for. */
		usleep(program.round_ms * 1000);
		quiet_point();
	} while (!is_over(end));
	atomic_store(&finish, true);
	for (i = 0; i < nr_workers; i++)
		pthread_join(workers[i]->thread, NULL);
	program.end();
	_exit(0);
}

static void report_hang(unsigned int nr)
{
	unsigned int i;

	ksft_print_msg("no quiet point in time; threads are at:\n");
	for (i = 0; i < MAX_THREADS + 1; i++)
		if (shared->doing[nr][i])
			ksft_print_msg("  %u: %s\n", i,
				       (const char *)shared->doing[nr][i]);
}

/* Waits for a runner to end: false if it hangs or does not end well. */
static bool runner_wait(unsigned int nr, pid_t pid)
{
	__u64 last = now_ms(), rounds = 0;
	int status;

	while (!waitpid(pid, &status, WNOHANG)) {
		usleep(100 * 1000);
		if (atomic_load(&shared->rounds[nr]) != rounds) {
			rounds = shared->rounds[nr];
			last = now_ms();
		} else if (now_ms() - last > watchdog_ms) {
			report_hang(nr);
			return false;
		}
	}
	if (!WIFEXITED(status)) {
		ksft_print_msg("a runner ended by signal %d\n",
			       WTERMSIG(status));
		return false;
	}
	if (WEXITSTATUS(status))
		ksft_print_msg("a runner could not be set up\n");
	return !WEXITSTATUS(status);
}

/* Starts the runners and watches them: whether all came to their end. */
static bool run(__u64 ms)
{
	pid_t pids[MAX_RUNNERS];
	unsigned int i, n = 0;
	bool ok = true;

	memset(shared, 0, sizeof(*shared));
	fflush(stdout);
	while (n < program.runners) {
		runner_nr = n;
		pids[n] = fork();
		if (!pids[n])
			runner(ms);
		if (pids[n++] < 0)
			ok = false;
	}
	for (i = 0; ok && i < n; i++)
		ok = runner_wait(i, pids[i]);
	for (i = 0; !ok && i < n; i++)
		if (pids[i] > 0)
			kill(pids[i], SIGKILL);
	return ok;
}

/* ---- the program ---- */

static const char *count_name(unsigned int c)
{
	static const char *const names[C_OP] = {
		[C_CPU_READ]	= "CPU read",
		[C_CPU_WRITE]	= "CPU write",
		[C_QUIET]	= "quiet point",
	};

	if (c < C_OP)
		return names[c];
	return c < C_PROGRAM ? ops[c - C_OP].name : program.counts[c - C_PROGRAM];
}

void stress_result(bool ok, const char *name)
{
	ksft_test_result(ok, "stress: %s\n", name);
}

static void test_control(void)
{
	bool ended;

	broken = true;
	ended = run(CONTROL_MS);
	ksft_print_msg("control: %llu wrong words in %llu rounds\n",
		       shared->wrong, shared->rounds[0]);
	ksft_test_result(ended && shared->wrong, "control: %s\n",
			 program.control);
	program.report();
	broken = false;
}

static void test_stress(void)
{
	bool ended = run(run_ms);
	unsigned int i;

	stress_result(ended, "comes to its end");
	stress_result(ended && !shared->wrong, "every word is right");
	stress_result(ended && !shared->failed, "no call fails that may not");
	for (i = 0; i < nr_counts(); i++) {
		const char *name = count_name(i);

		if (cannot_happen(i)) {
			ksft_test_result_skip("progress: %s (needs two memory nodes)\n",
					      name);
			continue;
		}
		ksft_print_msg("%s: %llu times\n", name, shared->count[i]);
		ksft_test_result(shared->count[i] >= program.at_least,
				 "progress: %s\n", name);
	}
	program.report();
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
	if (access(program.node, R_OK | W_OK))
		return program.no_node;
	pmd = read_pmd_pagesize();
	if (!pmd)
		return "no THP (CONFIG_TRANSPARENT_HUGEPAGE)";
	nr_nodes = online_nodes();
	thp_policy(MTHP_SIZE | pmd);
	return no_hugetlb(pmd, 16 * program.runners);
}

static void bad_usage(void)
{
	fprintf(stderr,
		"usage: %s [-t SECONDS] [-s SEED] [-m MUTATORS] [-w SECONDS] [-d DIR]\n",
		program.name);
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

void stress_main(int argc, char **argv)
{
	const char *why;

	seed = time(NULL);
	parse(argc, argv);
	ksft_print_header();
	machine_save();
	why = missing();
	if (why)
		ksft_exit_skip("%s\n", why);
	shared = stress_alloc(sizeof(*shared));
	program.prepare();

	ksft_set_plan(4 + nr_counts() + program.nr_results);
	ksft_print_msg("seed %llu, %llu seconds, %u mutators\n",
		       (unsigned long long)seed,
		       (unsigned long long)run_ms / 1000, nr_mutators);
	test_control();
	test_stress();
	ksft_finished();
}
