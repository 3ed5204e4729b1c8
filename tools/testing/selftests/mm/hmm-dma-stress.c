// SPDX-License-Identifier: GPL-2.0
/*
 * Stress test of the HMM DMA and mirror layers, with devices that really do DMA,
 * those of lib/test_hmm_dma.c.
 *
 * Two processes mirror overlapping windows over memory of each kind, in several
 * devices each. Some of the devices serve both. Device threads have pages read
 * and written by DMA, with a mirror and without, and now and then replace their
 * mirror by one of another window. Driver threads fault, prefetch and drop.
 * Others change the mappings as hmm_stress_util.h says, which also says what
 * each word read may be. A transfer takes 100 ms, during which it has to be
 * waited for.
 *
 * Where writes must not go is looked at, too. Canary pages are made of what was
 * just freed and have to stay as they are. Orphans are mirrors of a forked
 * process that shares its pages with its parent until one of the two writes, and
 * that dies while the device is at work.
 *
 * At quiet points all threads of a process stop. Then each fault has to succeed,
 * the IOMMU has to have what was faulted and nothing of what was dropped, and
 * device and CPU must see what the other one writes. Other processes go on, so
 * what they may have disturbed is repeated.
 *
 * A run of a device that writes the stamps of other pages comes first and has to
 * be caught. At the end, the IOMMU must have nothing left of the last 512 mirrors
 * of each device that had addresses, and must have refused nothing.
 *
 * Locking: mirror::lock is held for writing by the thread that replaces the
 * mirror, for reading by driver threads. Its owner, the only one to do that,
 * takes no lock to use it. See hmm_stress_util.h for the others.
 *
 * usage: hmm-dma-stress [-t SECONDS] [-s SEED] [-m MUTATORS] [-w SECONDS] [-d DIR]
 *	as hmm-stress
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest.h"
#include "hmm_dma_util.h"
#include "hmm_range_util.h"
#include "hmm_stress_util.h"

#define SLOTS		16
#define SLOT_SIZE	(HMM_DMA_TEST_MAX_SIZE / SLOTS)
#define SLOT_WORDS	(SLOT_SIZE / sizeof(__u64))
#define PAGE_WORDS	(SLOTS * SLOT_WORDS)
/* What a device can read in one transfer. */
#define READ_WORDS	(PAGE_WORDS / 2)
#define READ_SIZE	(READ_WORDS * sizeof(__u64))

#define MAX_NODES	8	/* devices of the machine */
#define NR_MIRRORS	4	/* of a process */
#define NR_DRIVER	2	/* threads */
#define MAX_RUNS	64
#define FAULT_PAGES	1024	/* at once */
#define FAULT_MS	2000
#define HOT_PAGES	4	/* of each region, that transfers prefer */
#define QUIET_PAGES	256
#define QUIET_TRIES	3
#define PICK_TRIES	10
#define ORPHAN_MS	500	/* it dies before */
#define BATCHES		16
#define BATCH_PAGES	8
#define CANARY_IDENT	0x2ca7a70000ULL
#define MAX_WINDOWS	512
#define MAX_PFNS	_BITUL(22)

enum {
	C_FAULT = C_PROGRAM, C_FAULT_WRITE, C_FAULT_PARTIAL, C_PREFETCH,
	C_REFUSED, C_DEVICE_READ, C_DEVICE_WRITE, C_NO_ENTRY, C_HAND, C_DROP,
	C_TEARDOWN, C_INVALIDATION, C_WAIT, C_ORPHAN, C_ORPHAN_USED, C_CANARY,
	C_CANARY_REUSED, C_EXCHANGE, C_END,
};

struct mirror {
	unsigned int node;		/* of /dev/hmm_dma0 and so on */
	int fd;
	uintptr_t start, end;		/* the window */
	atomic_ullong base;		/* DMA address of @start, 0: not known */
	pthread_rwlock_t lock;		/* see above */
};

/* DMA addresses that mirrors had, for a look at the end. */
struct window {
	atomic_ullong addr;
	atomic_ullong npages;
};

static struct window (*windows)[MAX_WINDOWS];	/* shared, by node */
static atomic_uint *nr_windows;			/* the same */

static struct mirror mirrors[NR_MIRRORS];
static unsigned int nr_nodes, next_mirror;
static char *canaries;				/* the canary thread's own */
static __u64 canary_gen[BATCHES];
static int pagemap_fd, kmsg;
static atomic_ullong pfns_used[MAX_PFNS / 64];	/* by a device */

/* What is transferred, its first word in the page, and the state before that. */
static __thread __u64 buffer[PAGE_WORDS];
static __thread unsigned int first_word;
static __thread struct before before[SLOTS];

static const char *name_of(struct region *r)
{
	return backings[r->backing].name;
}

/* ---- which pages a device had ---- */

/* The pfns of @n pages, 0 for those that are not present. */
static void pfns_read(const char *p, size_t n, __u64 *pfn)
{
	ssize_t got = pread(pagemap_fd, pfn, n * sizeof(*pfn),
			    (uintptr_t)p / page * sizeof(*pfn));
	size_t i;

	for (i = 0; i < n; i++) {
		if (got != (ssize_t)(n * sizeof(*pfn)) || !(pfn[i] & PM_PRESENT))
			pfn[i] = 0;
		pfn[i] = PAGEMAP_PFN(pfn[i]) % MAX_PFNS;
	}
}

static void pfns_note(const char *p, size_t n)
{
	__u64 pfn[FAULT_PAGES];
	size_t i;

	pfns_read(p, n, pfn);
	for (i = 0; i < n; i++)
		atomic_fetch_or(&pfns_used[pfn[i] / 64], 1ULL << pfn[i] % 64);
}

static size_t pfns_noted(const char *p, size_t n)
{
	__u64 pfn[FAULT_PAGES];
	size_t i, sum = 0;

	pfns_read(p, n, pfn);
	for (i = 0; i < n; i++)
		sum += pfn[i] && pfns_used[pfn[i] / 64] >> pfn[i] % 64 & 1;
	return sum;
}

/* ---- mirrors ---- */

static void count_more(unsigned int c, __u64 n)
{
	atomic_fetch_add(&shared->count[c], n);
}

/* From the first region to the end of the last one. */
static void all_regions(uintptr_t *start, uintptr_t *end)
{
	struct region *r;

	*start = (uintptr_t)regions[0].addr;
	*end = *start;
	for (r = regions; r < regions + NR_BACKINGS; r++) {
		uintptr_t last = (uintptr_t)page_addr(r, r->pages);

		if (*start > (uintptr_t)r->addr)
			*start = (uintptr_t)r->addr;
		if (*end < last)
			*end = last;
	}
}

/* All regions, one of them, or a part that need not begin or end with one. */
static void window_choose(struct worker *w, struct mirror *m)
{
	struct region *r = &regions[rnd(w, NR_BACKINGS)];
	size_t n;

	all_regions(&m->start, &m->end);
	switch (rnd(w, 3)) {
	case 0:
		m->start = (uintptr_t)r->addr;
		m->end = (uintptr_t)page_addr(r, r->pages);
		break;
	case 1:
		n = (m->end - m->start) / page;
		m->start += rnd(w, n / 2) * page;
		m->end -= rnd(w, n / 3) * page;
		break;
	}
}

/* The first to learn a mirror's DMA address notes it. */
static void window_note(struct mirror *m, __u64 base)
{
	__u64 none = 0;
	struct window *win;

	if (!atomic_compare_exchange_strong(&m->base, &none, base)) {
		if (none != base)
			failed("mirror", "its DMA addresses have moved", EINVAL);
		return;
	}
	win = &windows[m->node][atomic_fetch_add(&nr_windows[m->node], 1) %
				MAX_WINDOWS];
	win->addr = base;
	win->npages = (m->end - m->start) / page;
}

static bool mirror_open(struct worker *w, struct mirror *m)
{
	int ret;

	window_choose(w, m);
	m->base = 0;
	m->fd = dma_open(m->node);
	if (m->fd < 0)
		return false;
	ret = dma_mirror(m->fd, (void *)m->start, m->end - m->start);
	if (ret)
		failed("mirror", "init", ret);
	return !ret;
}

static void mirror_close(struct mirror *m)
{
	struct hmm_dma_test_status s = dma_status(m->fd);

	count_more(C_INVALIDATION, s.invalidations);
	count_more(C_WAIT, s.waits);
	close(m->fd);
}

/* Drivers may be at work with it, and invalidations under way. */
static void mirror_replace(struct worker *w, struct mirror *m)
{
	pthread_rwlock_wrlock(&m->lock);
	mirror_close(m);
	if (mirror_open(w, m))
		count(C_TEARDOWN);
	pthread_rwlock_unlock(&m->lock);
}

/* A random part of a region that the mirror has, or NULL. */
static struct region *pick_in(struct worker *w, struct mirror *m,
			      size_t *first, size_t *n, size_t max)
{
	unsigned int tries;

	for (tries = 0; tries < PICK_TRIES; tries++) {
		struct region *r = pick(w, ON_ALL, first, n, max, false);

		while (*n && (uintptr_t)page_addr(r, *first) < m->start) {
			++*first;
			--*n;
		}
		while (*n && (uintptr_t)page_addr(r, *first + *n) > m->end)
			--*n;
		if (*n)
			return r;
	}
	return NULL;
}

/* The same for a transfer; some pages get more of these than others do. */
static struct region *pick_hot(struct worker *w, struct mirror *m,
			       size_t *first, size_t *n)
{
	struct region *r = pick_in(w, m, first, n, 16);
	size_t hot = rnd(w, HOT_PAGES);

	if (r && rnd(w, 2)) {
		hot += r->pages / 2;
		if (hot < *first && (uintptr_t)page_addr(r, hot) >= m->start) {
			*first = hot;
			*n = 1;
		}
	}
	return r;
}

/* ---- transfers ---- */

/*
 * Whether @ret is what a call may return. What is not mapped, or not with the
 * permission asked for, is refused, and that can be only while VMAs change.
 * A call on a single page makes progress whatever happens beside it.
 */
static void check_errno(struct region *r, const char *what, int ret,
			bool stable, bool single)
{
	if (!ret || (ret == -EBUSY && !single))
		return;
	if ((ret == -EFAULT || ret == -EPERM) && !stable)
		count(C_REFUSED);
	else
		failed(name_of(r), what, ret);
}

static bool vma_stable(struct region *r, __u64 *done)
{
	*done = atomic_load(&r->vma_done);
	return *done == atomic_load(&r->vma_begun);
}

static int transfer(struct mirror *m, struct region *r, size_t index,
		    size_t offset, size_t size, unsigned int flags)
{
	char *p = page_addr(r, index);
	__u64 done;
	bool stable = vma_stable(r, &done);
	int ret = dma_copy(m->fd, p + offset, buffer, size, flags);

	stable = stable && done == atomic_load(&r->vma_begun);
	if (!ret)
		pfns_note(p, 1);
	else if (ret == -EFAULT && flags & HMM_DMA_TEST_NOFAULT)
		count(C_NO_ENTRY);
	else
		check_errno(r, "transfer", ret, stable, true);
	return ret;
}

static void page_begin(struct region *r, size_t index)
{
	unsigned int slot;

	for (slot = 0; slot < SLOTS; slot++)
		read_begin(&r->state[index], slot, &before[slot]);
}

/* Every word that was read into the buffer. */
static void page_check(const char *who, struct region *r, size_t index)
{
	unsigned int i, at;

	for (i = 0; i < READ_WORDS; i++) {
		at = first_word + i;
		check_word(who, r, index, at / SLOT_WORDS, at % SLOT_WORDS,
			   &before[at / SLOT_WORDS], buffer[i]);
	}
}

static bool device_read(struct worker *w, struct mirror *m, struct region *r,
			size_t index, unsigned int flags)
{
	first_word = rnd(w, 2) * READ_WORDS;
	page_begin(r, index);
	if (transfer(m, r, index, first_word * sizeof(__u64), READ_SIZE, flags))
		return false;
	page_check("device", r, index);
	count(C_DEVICE_READ);
	return true;
}

static bool device_write(struct worker *w, struct mirror *m, struct region *r,
			 size_t index, unsigned int flags)
{
	size_t as = broken ? (index + 1) % r->pages : index;
	struct page_state *p = &r->state[index];
	__u64 epoch, gen;

	gen = write_begin(p, w->slot, &epoch);
	slot_fill(buffer, r, as, gen);
	if (transfer(m, r, index, w->slot * SLOT_SIZE, SLOT_SIZE,
		     HMM_DMA_TEST_WRITE | flags))
		return false;
	write_end(p, w->slot, gen, epoch);
	count(C_DEVICE_WRITE);
	cpu_check("CPU after a device write", r, index, w->slot);
	return true;
}

/* The device reads, or could write, by a view that has no mirror. */
static void device_hand(struct worker *w, struct mirror *m, struct region *r,
			size_t index, size_t n)
{
	struct hmm_dma_test_hand cmd = {
		.fault.start = (uintptr_t)page_addr(r, index),
		.fault.length = n * page,
		.fault.flags = rnd(w, 2) ? HMM_DMA_TEST_WRITE : 0,
		.fault.timeout_ms = FAULT_MS,
		.buffer = (uintptr_t)buffer,
	};
	bool stable;
	__u64 done;

	if (!cmd.fault.flags)
		cmd.size = READ_SIZE;
	first_word = 0;
	page_begin(r, index);
	stable = vma_stable(r, &done);
	if (ioctl(m->fd, HMM_DMA_TEST_HAND, &cmd)) {
		failed(name_of(r), "by hand", errno);
		return;
	}
	stable = stable && done == atomic_load(&r->vma_begun);
	check_errno(r, "by hand", cmd.fault.result, stable, false);
	if (cmd.fault.result)
		return;
	if (cmd.size)
		page_check("device by hand", r, index);
	count(C_HAND);
}

static void *device_thread(void *arg)
{
	struct worker *w = arg;
	struct mirror *m = &mirrors[w->slot - SLOT_DEVICE];
	struct region *r;
	size_t first, n;

	while (go_on(w)) {
		unsigned int flags = rnd(w, 4) ? 0 : HMM_DMA_TEST_NOFAULT;

		if (!rnd(w, 24)) {
			doing(w, "teardown");
			mirror_replace(w, m);
		}
		r = pick_hot(w, m, &first, &n);
		if (!r)
			continue;
		if (!rnd(w, 12)) {
			doing(w, "transfer by hand");
			device_hand(w, m, r, first, n);
		} else if (rnd(w, 2)) {
			doing(w, "device read");
			device_read(w, m, r, first, flags);
		} else {
			doing(w, "device write");
			device_write(w, m, r, first, flags);
		}
	}
	return NULL;
}

/* ---- what the driver does ---- */

/* What a successful fault says it has mapped: as asked for, and where it was. */
static void runs_check(struct mirror *m, const struct hmm_dma_test_fault *cmd,
		       const struct hmm_dma_test_run *run)
{
	bool all = !(cmd->flags & (HMM_DMA_TEST_PREFETCH |
				   HMM_DMA_TEST_PARTIAL));
	__u64 at = cmd->start, end = cmd->start + cmd->length;
	unsigned int i;

	for (i = 0; i < cmd->nr_runs && i < cmd->max_runs; i++) {
		window_note(m, run[i].addr - (run[i].start - m->start));
		if (run[i].start < at || (all && run[i].start > at) ||
		    run[i].kind != HMM_DMA_TEST_MEMORY)
			break;
		if (all && cmd->flags & HMM_DMA_TEST_WRITE && !run[i].writable)
			break;
		at = run[i].start + run[i].npages * page;
	}
	if (at > end || (all && cmd->nr_runs == i && at != end) ||
	    (i < cmd->nr_runs && i < cmd->max_runs))
		failed("fault", "runs", EINVAL);
}

static int device_fault(struct mirror *m, struct region *r, size_t first,
			size_t n, unsigned int flags)
{
	struct hmm_dma_test_run runs[MAX_RUNS];
	struct hmm_dma_test_fault cmd = {
		.start = (uintptr_t)page_addr(r, first),
		.length = n * page,
		.runs = (uintptr_t)runs,
		.max_runs = MAX_RUNS,
		.flags = flags,
		.timeout_ms = FAULT_MS,
	};

	if (ioctl(m->fd, HMM_DMA_TEST_FAULT, &cmd)) {
		failed(name_of(r), "fault", errno);
		return 1;
	}
	if (!cmd.result)
		runs_check(m, &cmd, runs);
	return cmd.result;
}

static void fault_some(struct worker *w, struct mirror *m, struct region *r,
		       size_t first, size_t n)
{
	unsigned int flags = rnd(w, 8);		/* any of the three */
	bool stable;
	__u64 done;
	int ret;

	stable = vma_stable(r, &done);
	ret = device_fault(m, r, first, n, flags);
	stable = stable && done == atomic_load(&r->vma_begun);
	check_errno(r, "fault", ret, stable, n == 1);
	if (ret)
		return;
	if (!(flags & HMM_DMA_TEST_PARTIAL))
		pfns_note(page_addr(r, first), n);
	if (flags & HMM_DMA_TEST_PREFETCH)
		count(C_PREFETCH);
	else if (flags & HMM_DMA_TEST_PARTIAL)
		count(C_FAULT_PARTIAL);
	else
		count(flags ? C_FAULT_WRITE : C_FAULT);
}

static void *driver_thread(void *arg)
{
	struct worker *w = arg;

	while (go_on(w)) {
		struct mirror *m = &mirrors[rnd(w, NR_MIRRORS)];
		struct region *r;
		size_t first, n;

		usleep(rnd(w, 20) * 1000);
		if (pthread_rwlock_tryrdlock(&m->lock))
			continue;
		r = pick_in(w, m, &first, &n, FAULT_PAGES);
		if (r && rnd(w, 4)) {
			doing(w, "fault");
			fault_some(w, m, r, first, n);
		} else if (r) {
			doing(w, "drop");
			if (dma_drop(m->fd, page_addr(r, first), n * page))
				failed(name_of(r), "drop", EINVAL);
			count(C_DROP);
		}
		pthread_rwlock_unlock(&m->lock);
	}
	return NULL;
}

/* ---- canaries ---- */

static __u64 canary_word(unsigned int batch, size_t i)
{
	return (CANARY_IDENT + batch) << GEN_BITS ^ canary_gen[batch] << 20 ^ i;
}

static __u64 *canary_at(unsigned int batch)
{
	return (__u64 *)(canaries + batch * BATCH_PAGES * page);
}

static void canary_check(unsigned int batch)
{
	__u64 *words = canary_at(batch);
	size_t i;

	for (i = 0; i < BATCH_PAGES * PAGE_WORDS; i++) {
		if (words[i] == canary_word(batch, i))
			continue;
		if (!atomic_fetch_add(&shared->wrong, 1) && !broken)
			ksft_print_msg("canary %u word %zu: %llx\n", batch, i,
				       (unsigned long long)words[i]);
		return;
	}
	count(C_CANARY);
}

/* Its pages are other ones from now on. */
static void canary_renew(unsigned int batch)
{
	__u64 *words = canary_at(batch);
	size_t i;

	if (madvise(words, BATCH_PAGES * page, MADV_DONTNEED))
		failed("canary", "MADV_DONTNEED", errno);
	canary_gen[batch]++;
	for (i = 0; i < BATCH_PAGES * PAGE_WORDS; i++)
		words[i] = canary_word(batch, i);
	count_more(C_CANARY_REUSED, pfns_noted((char *)words, BATCH_PAGES));
}

/* Each batch lives longer than a transfer takes. */
static void *canary_thread(void *arg)
{
	struct worker *w = arg;
	unsigned int batch = 0;

	while (go_on(w)) {
		doing(w, "canaries");
		if (canary_gen[batch])
			canary_check(batch);
		canary_renew(batch);
		batch = (batch + 1) % BATCHES;
		usleep((5 + rnd(w, 20)) * 1000);
	}
	return NULL;
}

/* ---- orphans ---- */

/* Mirrors all regions, writes to its copies, and dies of its alarm. */
static void orphan_child(struct worker *w, int fd)
{
	struct itimerval timer = {
		.it_value.tv_usec = (1 + rnd(w, ORPHAN_MS - 1)) * 1000,
	};
	uintptr_t start, end;
	struct region *r;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (r = regions; r < regions + NR_BACKINGS; r++)
		r->ident |= CHILD_MARK;
	all_regions(&start, &end);
	if (dma_mirror(fd, (void *)start, end - start))
		_exit(1);
	setitimer(ITIMER_REAL, &timer, NULL);
	for (;;) {
		r = &regions[rnd(w, NR_BACKINGS)];
		if (ON(r->backing) & (ON_ANON | ON(FILE_COPY)))
			cpu_write(w, r, rnd(w, r->pages));
	}
}

/* What was read is of this page, before the fork or since. */
static void orphan_check(struct region *r, size_t index)
{
	unsigned int i;

	for (i = 0; i < READ_WORDS; i++) {
		__u64 tag = tag_from(buffer[i], i % SLOT_WORDS);
		__u64 ident = (tag >> GEN_BITS) & ~CHILD_MARK;

		if (buffer[i] ? ident != r->ident + index :
				r->backing == FILE_COPY)
			report("device of an orphan", "of another page", r,
			       index, i / SLOT_WORDS, tag);
	}
}

/* One transfer from or to memory of the child, which may be dead. */
static void orphan_use(struct worker *w, int fd)
{
	struct region child, *r;
	unsigned int slot = rnd(w, SLOTS);
	size_t first, n;
	bool write;
	int ret;

	r = pick(w, ON_ANON | ON(FILE_COPY), &first, &n, 1, false);
	write = rnd(w, 2);
	child = *r;
	child.ident |= CHILD_MARK;
	slot_fill(buffer, &child, first, GEN_MASK);
	if (write)
		ret = dma_write(fd, page_addr(r, first) + slot * SLOT_SIZE,
				buffer, SLOT_SIZE);
	else
		ret = dma_read(fd, page_addr(r, first), buffer, READ_SIZE);
	if (!ret)
		count(C_ORPHAN_USED);
	if (!ret && !write)
		orphan_check(r, first);
	/* It may have been forked while a mutator was at work. */
	if (ret && ret != -ESRCH && ret != -EFAULT && ret != -EPERM)
		failed(name_of(r), "transfer of an orphan", ret);
}

/* The child is dead: it cannot be used, and nothing of it is left. */
static void orphan_check_dead(int fd)
{
	uintptr_t start, end;
	__u64 until = now_ms() + 10000;
	int ret;

	all_regions(&start, &end);
	ret = dma_fault(fd, (void *)start, page, 0);
	if (ret != -ESRCH)
		failed("orphan", "fault", ret);
	/* Who used it last may leave the rest to a worker of the kernel. */
	while (dma_status(fd).entries && now_ms() < until)
		usleep(1000);
	if (dma_status(fd).entries)
		failed("orphan", "entries are left", EBUSY);
}

static void orphan(struct worker *w)
{
	int fd = dma_open(rnd(w, nr_nodes)), status = 0;
	pid_t pid = fd < 0 ? -1 : fork();

	if (!pid)
		orphan_child(w, fd);
	if (pid < 0) {
		failed("orphan", "fork", errno);
		return;
	}
	while (!waitpid(pid, &status, WNOHANG)) {
		if (dma_status(fd).mirrored)
			orphan_use(w, fd);
		else
			usleep(1000);
	}
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGALRM)
		failed("orphan", "end", ECHILD);
	else
		orphan_check_dead(fd);
	close(fd);
	count(C_ORPHAN);
}

static void *orphan_thread(void *arg)
{
	struct worker *w = arg;

	while (go_on(w)) {
		doing(w, "orphan");
		orphan(w);
		usleep(rnd(w, 500) * 1000);
	}
	return NULL;
}

/* ---- quiet points ---- */

/* All words of a region, as the CPU sees them. */
static void quiet_cpu(struct region *r)
{
	unsigned int slot;
	size_t i;

	for (i = 0; i < r->pages; i++)
		for (slot = 0; slot < SLOTS; slot++)
			if (!cpu_check("CPU at a quiet point", r, i, slot))
				failed(name_of(r), "CPU read", EFAULT);
}

/* Whether what the device has just read is what the CPU sees. */
static void quiet_same(struct region *r, size_t index)
{
	unsigned int i, at, slot, k;
	__u64 word;

	for (i = 0; i < READ_WORDS; i++) {
		at = first_word + i;
		slot = at / SLOT_WORDS;
		k = at % SLOT_WORDS;
		word = load(page_addr(r, index), slot, k);
		if (word == buffer[i] || (!word && lazy(&r->state[index])))
			continue;
		report("device at a quiet point", "not what the CPU sees", r,
		       index, slot, tag_from(buffer[i], k));
		return;
	}
}

/* Both ways, for one page; and what the IOMMU has, for all. */
static bool quiet_exchange(struct mirror *m, struct region *r, size_t first,
			   size_t n)
{
	char *p = page_addr(r, first);
	size_t index = first + rnd(quiet, n), mapped, left;
	__u64 was, addr;
	int ret;

	quiet->slot = SLOT_QUIET_CPU;
	if (!cpu_write(quiet, r, index))
		failed(name_of(r), "CPU write at a quiet point", EFAULT);
	was = dma_status(m->fd).invalidations;
	ret = device_fault(m, r, first, n, HMM_DMA_TEST_WRITE);
	if (ret) {
		if (ret != -EBUSY)
			failed(name_of(r), "fault at a quiet point", ret);
		return ret != -EBUSY;
	}
	addr = m->base + ((uintptr_t)p - m->start);
	mapped = dma_domain(m->fd, addr, n);
	if (device_read(quiet, m, r, index, 0))
		quiet_same(r, index);
	quiet->slot = SLOT_QUIET_DEVICE;
	if (!broken)
		device_write(quiet, m, r, index, 0);
	if (dma_status(m->fd).invalidations != was)
		return false;
	if (mapped != n)
		failed(name_of(r), "pages that the IOMMU lacks", EFAULT);
	dma_drop(m->fd, p, n * page);
	left = dma_domain(m->fd, addr, n);
	if (left)
		failed(name_of(r), "pages left in the IOMMU", EBUSY);
	count(C_EXCHANGE);
	return true;
}

static void quiet_all(void)
{
	struct mirror *m = &mirrors[next_mirror++ % NR_MIRRORS];
	unsigned int tries;
	struct region *r;
	size_t first, n;

	quiet_cpu(&regions[next_mirror % NR_BACKINGS]);
	r = pick_in(quiet, m, &first, &n, QUIET_PAGES);
	for (tries = 0; r && tries < QUIET_TRIES; tries++)
		if (quiet_exchange(m, r, first, n))
			break;
}

/* ---- the program ---- */

static bool mirrors_setup(void)
{
	unsigned int i;

	pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	canaries = anon_area(BATCHES * BATCH_PAGES, false);
	if (pagemap_fd < 0 || !canaries)
		return false;
	for (i = 0; i < NR_MIRRORS; i++) {
		/* The processes share half of them, if there are enough. */
		mirrors[i].node = (i + runner_nr * NR_MIRRORS / 2) % nr_nodes;
		pthread_rwlock_init(&mirrors[i].lock, NULL);
		if (!mirror_open(quiet, &mirrors[i]))
			return false;
	}
	return true;
}

static void devices_start(void)
{
	unsigned int i;

	for (i = 0; i < NR_MIRRORS; i++)
		worker_start(device_thread, SLOT_DEVICE + i);
	for (i = 0; i < NR_DRIVER; i++)
		worker_start(driver_thread, 0);
	worker_start(canary_thread, 0);
	worker_start(orphan_thread, SLOTS - 1);
}

static void devices_end(void)
{
	unsigned int i;

	for (i = 0; i < NR_MIRRORS; i++)
		mirror_close(&mirrors[i]);
}

static const char *const count_names[] = {
	[C_FAULT - C_PROGRAM]		= "device fault",
	[C_FAULT_WRITE - C_PROGRAM]	= "device fault for writing",
	[C_FAULT_PARTIAL - C_PROGRAM]	= "device fault done in part",
	[C_PREFETCH - C_PROGRAM]	= "prefetch",
	[C_REFUSED - C_PROGRAM]		= "refused",
	[C_DEVICE_READ - C_PROGRAM]	= "device read",
	[C_DEVICE_WRITE - C_PROGRAM]	= "device write",
	[C_NO_ENTRY - C_PROGRAM]	= "transfer without an entry",
	[C_HAND - C_PROGRAM]		= "transfer by hand",
	[C_DROP - C_PROGRAM]		= "drop",
	[C_TEARDOWN - C_PROGRAM]	= "teardown",
	[C_INVALIDATION - C_PROGRAM]	= "invalidation",
	[C_WAIT - C_PROGRAM]		= "invalidation that waits for a transfer",
	[C_ORPHAN - C_PROGRAM]		= "death of a mirrored process",
	[C_ORPHAN_USED - C_PROGRAM]	= "transfer of a forked process",
	[C_CANARY - C_PROGRAM]		= "canaries looked at",
	[C_CANARY_REUSED - C_PROGRAM]	= "canary in a page that a device had",
	[C_EXCHANGE - C_PROGRAM]	= "undisturbed exchange",
};

static unsigned int count_nodes(void)
{
	unsigned int n = 0;
	int fd;

	while (n < MAX_NODES) {
		fd = dma_open(n);
		if (fd < 0)
			break;
		close(fd);
		n++;
	}
	return n;
}

/* All mirrors are gone: what the IOMMU still has of their addresses. */
static size_t left_in_domains(void)
{
	size_t sum = 0, seen = 0;
	unsigned int i, k;

	for (i = 0; i < nr_nodes; i++) {
		int fd = dma_open(i);

		for (k = 0; k < MAX_WINDOWS && k < nr_windows[i]; k++) {
			struct window *win = &windows[i][k];

			sum += dma_domain(fd, win->addr, win->npages);
			seen++;
		}
		close(fd);
	}
	ksft_print_msg("%zu pages are left of %zu mirrors\n", sum, seen);
	return seen ? sum : 1;
}

/* Accesses that an IOMMU has refused, by the kernel log since it was opened. */
static unsigned int refused_in_log(void)
{
	unsigned int sum = 0;
	char line[1024];
	ssize_t n;

	for (;;) {
		n = read(kmsg, line, sizeof(line) - 1);
		if (n < 0 && errno == EPIPE)
			return sum + 1;	/* lines are lost: nobody knows */
		if (n <= 0)
			return sum;
		line[n] = 0;
		sum += strstr(line, "DMAR: [DMA ") ||
		       strstr(line, "fault from EP ");
	}
}

static void machine_prepare(void)
{
	int node;

	if (page != HMM_DMA_TEST_MAX_SIZE)
		ksft_exit_skip("pages are not of 4 KB\n");
	nr_nodes = count_nodes();
	ksft_print_msg("%u devices\n", nr_nodes);
	node = dma_open(0);
	if (node < 0 || dma_status(node).iommu != HMM_DMA_TEST_IOMMU_DMA)
		ksft_exit_skip("no IOMMU that translates\n");
	close(node);
	windows = stress_alloc(MAX_NODES * sizeof(*windows));
	nr_windows = stress_alloc(MAX_NODES * sizeof(*nr_windows));
	kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (kmsg < 0 || lseek(kmsg, 0, SEEK_END) < 0)
		ksft_exit_fail_msg("no /dev/kmsg\n");
}

static void machine_report(void)
{
	size_t left = left_in_domains();

	if (broken)
		return;
	stress_result(!left, "nothing is left in the IOMMU");
	stress_result(!refused_in_log(), "the IOMMU had nothing to refuse");
}

const struct program program = {
	.name = "hmm-dma-stress",
	.control = "stamps of other pages are noticed",
	.node = "/dev/hmm_dma0",
	.no_node = "no /dev/hmm_dma0: load test_hmm_dma on a machine with edu devices, as root",
	.counts = count_names,
	.nr_counts = C_END - C_PROGRAM,
	.at_least = 3,
	.nr_results = 2,
	.runners = 2,
	.round_ms = 2000,
	.prepare = machine_prepare,
	.setup = mirrors_setup,
	.start = devices_start,
	.quiet = quiet_all,
	.end = devices_end,
	.report = machine_report,
};

int main(int argc, char **argv)
{
	nr_slots = SLOTS;
	slot_words = SLOT_WORDS;
	stress_main(argc, argv);
}
