// SPDX-License-Identifier: GPL-2.0
/*
 * Stress test of RDMA on-demand paging: traffic to memory that other threads
 * unmap, move, protect, fork, discard, split, collapse, page out, compact and
 * migrate, and to regions that are registered anew below it.
 *
 * Two processes have memory of each kind, a region over each of these and one
 * over all of the address space. Lanes, threads with a pair of connected queue
 * pairs of their own, write to it by RDMA writes, reads into it, messages and
 * atomics, and get from it by RDMA reads, writes out of it, messages and
 * atomics. hmm_stress_util.h says what happens beside that and what each word
 * that is read may be; a write whose completion said that it was done has to be
 * found. An access that is refused is right only if the mapping or the region
 * changed meanwhile. It takes the queue pairs down, which are connected again.
 *
 * Victims are processes that do the same with their copies of the memory and are
 * killed with requests under way. At quiet points nothing may be refused, and
 * either side has to see what the other one writes. At the end everything is
 * torn down in random order, or left to the end of the process, while requests
 * are under way.
 *
 * A run in which lanes write the stamps of other pages comes first and has to be
 * caught.
 *
 * Locking: a lane's link is used by its thread only, or by the main thread when
 * there is no other. area::lock protects what tells a lane how to use a region,
 * which only the driver thread changes. See hmm_stress_util.h for the others.
 *
 * usage: odp-stress [-t SECONDS] [-s SEED] [-m MUTATORS] [-w SECONDS] [-d DIR]
 *	as hmm-stress; RDMA_DEVICE in the environment is the device to use
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kselftest.h"
#include <mm/hmm_range_util.h>
#include <mm/hmm_stress_util.h>
#include "odp_util.h"

#define SLOTS		16
#define SLOT_SIZE	(4096 / SLOTS)
#define SLOT_WORDS	(SLOT_SIZE / sizeof(__u64))

#define NR_LANES	3
#define LANE_SLOTS	6		/* the most that a lane writes to */
#define MAX_SLOTS_READ	64		/* at once */
#define BUFFER		(MAX_SLOTS_READ * SLOT_SIZE)
#define LIMIT_MS	60000
#define FAR		0x7000000000000000ULL
#define CAS_TRIES	3
#define VICTIM_MS	300		/* it dies before */
#define VICTIM_END_MS	20000		/* and is gone by then */
#define LAST_REQUESTS	32		/* of each lane, when all is torn down */
#define ROOM		GB
#define STALE		0xa5		/* what has not been transferred */

enum {
	C_WRITE = C_PROGRAM, C_WRITE_LOCAL, C_WRITE_MESSAGE, C_WRITE_CAS,
	C_READ, C_READ_LOCAL, C_READ_MESSAGE, C_READ_FETCH,
	C_IMPLICIT, C_REFUSED, C_ADVICE, C_REPLACED, C_REPLACED_ALL, C_VICTIM,
	C_VICTIM_USED, C_EXCHANGE, C_END,
};

/*
 * A thread's connection and its slots of each page. The last lane's go on in the
 * next page, with those that else are only used at quiet points.
 */
struct lane {
	struct odp_link link;
	struct ibv_mr *buffer;		/* of link.buf, for requests to it */
	unsigned int first, n;
};

/* A region, for the device, of one of the regions of memory or all of them. */
struct area {
	pthread_mutex_t lock;
	struct ibv_mr *mr;
	struct region *r;		/* NULL: all */
	__u64 iova;			/* of the first byte */
	atomic_ullong begun, done;	/* replacements */
};

/* One access to an area, and what may have changed since it began. */
struct use {
	struct area *area;
	struct region *r;
	__u64 addr;
	__u32 lkey, rkey;
	__u64 vma, mr;
	bool stable;
};

static struct odp_dev dev_rdma;
static struct lane lanes[NR_LANES];
static struct lane quiet_lane;
static struct area areas[NR_BACKINGS + 1];
static void *room;
static bool complete;		/* not a kernel with explicit regions only */

static __thread struct before before[MAX_SLOTS_READ];
static __thread __u64 gens[LANE_SLOTS], epochs[LANE_SLOTS];

static const char *name_of(struct region *r)
{
	return backings[r->backing].name;
}

/* ---- regions of the device ---- */

/* Any address that has the same place in a page. */
static __u64 choose_iova(struct worker *w, struct region *r)
{
	__u64 addr = (uintptr_t)r->addr;

	if (!complete)
		return addr;
	switch (rnd(w, 4)) {
	case 0:
		return 0;
	case 1:
		return addr + page;
	case 2:
		return FAR + page * rnd(w, 1000);
	default:
		return addr;
	}
}

/* NULL is published, too: lanes then leave it alone. */
static void area_publish(struct area *a, struct ibv_mr *mr, __u64 iova)
{
	pthread_mutex_lock(&a->lock);
	a->mr = mr;
	a->iova = iova;
	pthread_mutex_unlock(&a->lock);
}

static bool area_register(struct worker *w, struct area *a)
{
	unsigned int access = ODP_ALL;
	struct ibv_mr *mr;
	__u64 iova = 0;

	if (a->r) {
		iova = choose_iova(w, a->r);
		if (complete && a->r->backing == HUGETLB && rnd(w, 2))
			access |= IBV_ACCESS_HUGETLB;
		mr = odp_reg(&dev_rdma, a->r->addr, a->r->pages * page, iova,
			     access);
	} else {
		mr = odp_reg_implicit(&dev_rdma, ODP_ALL);
	}
	if (!mr)
		failed(a->r ? name_of(a->r) : "all memory", "registration",
		       errno);
	area_publish(a, mr, iova);
	return mr;
}

/* Requests to the old region may be under way, and there may be none meanwhile. */
static void area_replace(struct worker *w, struct area *a)
{
	struct ibv_mr *old = a->mr;
	bool overlap = rnd(w, 2), ok = true;
	int ret = 0;

	atomic_fetch_add(&a->begun, 1);
	if (overlap)
		ok = area_register(w, a);
	else
		area_publish(a, NULL, 0);
	if (old)
		ret = ibv_dereg_mr(old);
	if (ret)
		failed("region", "deregistration", ret);
	if (!overlap)
		ok = area_register(w, a);
	atomic_fetch_add(&a->done, 1);
	if (ok)
		count(a->r ? C_REPLACED : C_REPLACED_ALL);
}

static bool areas_setup(struct worker *w)
{
	struct area *all = &areas[NR_BACKINGS];
	unsigned int i;

	for (i = 0; i <= NR_BACKINGS; i++)
		pthread_mutex_init(&areas[i].lock, NULL);
	all->mr = odp_reg_implicit(&dev_rdma, ODP_ALL);
	complete = all->mr;
	if (!complete)
		ksft_print_msg("no region of all memory: %s\n",
			       strerror(errno));
	for (i = 0; i < NR_BACKINGS; i++) {
		areas[i].r = &regions[i];
		if (!area_register(w, &areas[i]))
			return false;
	}
	return true;
}

/* ---- one access ---- */

static bool nothing_changes(struct use *u)
{
	return u->vma == atomic_load(&u->r->vma_begun) &&
	       u->mr == atomic_load(&u->area->begun);
}

/* By a region of its own or by that of all memory; false if there is none. */
static bool use_begin(struct worker *w, struct use *u, struct region *r,
		      size_t offset)
{
	struct area *a = &areas[complete && !rnd(w, 3) ? NR_BACKINGS :
							 r->backing];
	bool ok;

	u->area = a;
	u->r = r;
	u->vma = atomic_load(&r->vma_done);
	u->mr = atomic_load(&a->done);
	u->stable = nothing_changes(u);
	pthread_mutex_lock(&a->lock);
	ok = a->mr;
	if (ok) {
		u->lkey = a->mr->lkey;
		u->rkey = a->mr->rkey;
		u->addr = offset + (a->r ? a->iova : (uintptr_t)r->addr);
	}
	pthread_mutex_unlock(&a->lock);
	if (!ok)
		sched_yield();
	return ok;
}

static bool is_refusal(int status)
{
	switch (status) {
	case IBV_WC_LOC_PROT_ERR:
	case IBV_WC_LOC_QP_OP_ERR:
	case IBV_WC_LOC_ACCESS_ERR:
	case IBV_WC_REM_ACCESS_ERR:
	case IBV_WC_REM_INV_REQ_ERR:
	case IBV_WC_REM_OP_ERR:
	case IBV_WC_WR_FLUSH_ERR:	/* rxe: what it could not send */
		return true;
	default:
		return false;
	}
}

/* Whether the access was done; if not, whether it may have been refused. */
static bool use_end(struct use *u, int status, const char *what)
{
	char why[80];

	u->stable = u->stable && nothing_changes(u);
	if (!status) {
		if (!u->area->r)
			count(C_IMPLICIT);
		return true;
	}
	if (is_refusal(status) && !u->stable) {
		count(C_REFUSED);
		return false;
	}
	snprintf(why, sizeof(why), "%s%s: %s", what,
		 u->area->r ? "" : " by the region of all memory",
		 status < 0 ? "no completion" : ibv_wc_status_str(status));
	failed(name_of(u->r), why, status < 0 ? status : EIO);
	return false;
}

static struct ibv_sge buffer_sge(struct lane *l, size_t len)
{
	return (struct ibv_sge) {
		.addr = (uintptr_t)l->link.buf,
		.length = len,
		.lkey = l->buffer->lkey,
	};
}

static struct ibv_sge use_sge(struct use *u, size_t len)
{
	return (struct ibv_sge) {
		.addr = u->addr, .length = len, .lkey = u->lkey,
	};
}

/* @sge: the local side. The other one is the buffer for a NULL @u. */
static int post(struct lane *l, enum ibv_wr_opcode opcode, struct ibv_sge *sge,
		struct use *u)
{
	struct ibv_send_wr wr = {
		.sg_list = sge,
		.num_sge = 1,
		.opcode = opcode,
		.wr.rdma = {
			.remote_addr = u ? u->addr : (uintptr_t)l->link.buf,
			.rkey = u ? u->rkey : l->buffer->rkey,
		},
	};

	return odp_post(&l->link, &wr);
}

static int request(struct lane *l, enum ibv_wr_opcode opcode,
		   struct ibv_sge sge, struct use *u)
{
	int ret = post(l, opcode, &sge, u);

	if (ret) {
		failed("request", "ibv_post_send", ret);
		return -EIO;
	}
	return odp_wait(&l->link, 0);
}

/* ---- from memory to the buffer ---- */

/* Slots are counted from the beginning of the region. */
static struct page_state *state_of(struct region *r, size_t slot)
{
	return &r->state[slot / SLOTS];
}

static void slots_begin(struct region *r, size_t first, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		read_begin(state_of(r, first + i), (first + i) % SLOTS,
			   &before[i]);
}

static void slots_check(const char *who, struct lane *l, struct region *r,
			size_t first, size_t n)
{
	__u64 *word = (__u64 *)l->link.buf;
	size_t i;

	for (i = 0; i < n * SLOT_WORDS; i++) {
		size_t slot = first + i / SLOT_WORDS;

		check_word(who, r, slot / SLOTS, slot % SLOTS, i % SLOT_WORDS,
			   &before[i / SLOT_WORDS], word[i]);
	}
}

/* The three ways to get at it: as the remote side, as the local one, sent. */
static const struct way {
	unsigned int read, write;	/* counted */
	const char *read_name, *write_name;
} ways[] = {
	{ C_READ, C_WRITE, "RDMA read", "RDMA write" },
	{ C_READ_LOCAL, C_WRITE_LOCAL, "RDMA write out of it",
	  "RDMA read into it" },
	{ C_READ_MESSAGE, C_WRITE_MESSAGE, "message from it", "message to it" },
};

static bool lane_read(struct worker *w, struct lane *l, struct region *r,
		      size_t first, size_t n, const struct way *way)
{
	struct ibv_sge buf = buffer_sge(l, n * SLOT_SIZE);
	struct use u;
	int ret;

	if (!use_begin(w, &u, r, first * SLOT_SIZE))
		return false;
	memset(l->link.buf, STALE, n * SLOT_SIZE);
	slots_begin(r, first, n);
	if (way->read == C_READ)
		ret = request(l, IBV_WR_RDMA_READ, buf, &u);
	else if (way->read == C_READ_LOCAL)
		ret = request(l, IBV_WR_RDMA_WRITE, use_sge(&u, buf.length),
			      NULL);
	else
		ret = odp_message(&l->link, use_sge(&u, buf.length), buf);
	if (!use_end(&u, ret, way->read_name))
		return false;
	slots_check(way->read_name, l, r, first, n);
	count(way->read);
	return true;
}

/* ---- from the buffer to memory ---- */

static void slots_fill(struct lane *l, struct region *r, size_t first, size_t n)
{
	__u64 *word = (__u64 *)l->link.buf;
	size_t i, index;

	for (i = 0; i < n; i++) {
		index = (first + i) / SLOTS;
		gens[i] = write_begin(state_of(r, first + i),
				      (first + i) % SLOTS, &epochs[i]);
		if (broken)
			index = (index + 1) % r->pages;
		slot_fill(word + i * SLOT_WORDS, r, index, gens[i]);
	}
}

/* The write is done: from now on it has to be found. */
static void slots_done(const char *who, struct region *r, size_t first,
		       size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		write_end(state_of(r, first + i), (first + i) % SLOTS, gens[i],
			  epochs[i]);
	for (i = first; i < first + n; i++)
		cpu_check(who, r, i / SLOTS, i % SLOTS);
}

static bool lane_write(struct worker *w, struct lane *l, struct region *r,
		       size_t first, size_t n, const struct way *way)
{
	struct ibv_sge buf = buffer_sge(l, n * SLOT_SIZE);
	struct use u;
	int ret;

	if (!use_begin(w, &u, r, first * SLOT_SIZE))
		return false;
	slots_fill(l, r, first, n);
	if (way->write == C_WRITE)
		ret = request(l, IBV_WR_RDMA_WRITE, buf, &u);
	else if (way->write == C_WRITE_LOCAL)
		ret = request(l, IBV_WR_RDMA_READ, use_sge(&u, buf.length),
			      NULL);
	else
		ret = odp_message(&l->link, buf, use_sge(&u, buf.length));
	if (!use_end(&u, ret, way->write_name))
		return false;
	slots_done(way->write_name, r, first, n);
	count(way->write);
	return true;
}

/* ---- atomics ---- */

/*
 * One word from what is there, which is learned by trying, to @to. Discards may
 * come in between.
 */
static bool word_swap(struct worker *w, struct lane *l, struct region *r,
		      size_t slot, unsigned int k, __u64 expect, __u64 to)
{
	unsigned int tries;

	for (tries = 0; tries < CAS_TRIES; tries++) {
		struct before b;
		struct use u;
		uint64_t old;
		int ret;

		if (!use_begin(w, &u, r, slot * SLOT_SIZE + k * sizeof(old)))
			return false;
		read_begin(state_of(r, slot), slot % SLOTS, &b);
		ret = odp_cmp_swap(&l->link, u.rkey, u.addr, expect, to, &old);
		if (!use_end(&u, ret, "compare and swap"))
			return false;
		check_word("compare and swap", r, slot / SLOTS, slot % SLOTS,
			   k, &b, old);
		if (old == expect)
			return true;
		expect = old;
	}
	return false;
}

static void lane_swap(struct worker *w, struct lane *l, struct region *r,
		      size_t slot)
{
	struct page_state *p = state_of(r, slot);
	__u64 last = atomic_load(&p->slot[slot % SLOTS].done) & GEN_MASK;
	size_t index = slot / SLOTS, as = index;
	__u64 gen, epoch;
	unsigned int k;

	if (broken)
		as = (index + 1) % r->pages;
	gen = write_begin(p, slot % SLOTS, &epoch);
	for (k = 0; k < SLOT_WORDS; k++)
		if (!word_swap(w, l, r, slot, k, tag_of(r, index, k, last),
			       tag_of(r, as, k, gen)))
			return;
	gens[0] = gen;
	epochs[0] = epoch;
	slots_done("compare and swap", r, slot, 1);
	count(C_WRITE_CAS);
}

/* Adds nothing, and so tells what is there. Nobody else writes to that slot. */
static void lane_fetch(struct worker *w, struct lane *l, struct region *r,
		       size_t slot)
{
	unsigned int k = rnd(w, SLOT_WORDS);
	struct before b;
	struct use u;
	uint64_t old;
	int ret;

	if (!use_begin(w, &u, r, slot * SLOT_SIZE + k * sizeof(old)))
		return;
	read_begin(state_of(r, slot), slot % SLOTS, &b);
	ret = odp_fetch_add(&l->link, u.rkey, u.addr, 0, &old);
	if (!use_end(&u, ret, "fetch and add"))
		return;
	check_word("fetch and add", r, slot / SLOTS, slot % SLOTS, k, &b, old);
	count(C_READ_FETCH);
}

/* ---- lanes ---- */

/* Some of the lane's slots, from one on that all pages have. */
static void lane_slots(struct worker *w, struct lane *l, struct region *r,
		       size_t *first, size_t *n)
{
	size_t index = rnd(w, r->pages), from = rnd(w, l->n), left;

	*first = index * SLOTS + l->first + from;
	*n = 1 + rnd(w, l->n - from);
	if (*first >= r->pages * SLOTS)
		*first -= l->n - 1;
	left = r->pages * SLOTS - *first;
	if (*n > left)
		*n = left;
}

static void lane_go(struct worker *w, struct lane *l)
{
	const struct way *way = &ways[rnd(w, ARRAY_SIZE(ways))];
	size_t index, pages, first, n;
	struct region *r;

	r = pick(w, ON_ALL, &index, &pages, 1, false);
	lane_slots(w, l, r, &first, &n);
	switch (rnd(w, 16)) {
	case 0:
		doing(w, "compare and swap");
		lane_swap(w, l, r, first);
		break;
	case 1 ... 2:
		doing(w, "fetch and add");
		lane_fetch(w, l, r, first);
		break;
	case 3 ... 8:
		doing(w, way->read_name);
		first = rnd(w, r->pages * SLOTS);
		n = 1 + rnd(w, rnd(w, 4) ? SLOTS : MAX_SLOTS_READ);
		if (n > r->pages * SLOTS - first)
			n = r->pages * SLOTS - first;
		lane_read(w, l, r, first, n, way);
		break;
	default:
		doing(w, way->write_name);
		lane_write(w, l, r, first, n, way);
	}
}

static void *lane_thread(void *arg)
{
	struct worker *w = arg;
	struct lane *l = &lanes[(w->slot - SLOT_DEVICE) / 4];

	while (go_on(w))
		lane_go(w, l);
	return NULL;
}

static bool lane_setup(struct lane *l, enum ibv_mtu mtu, unsigned int first,
		       unsigned int n)
{
	if (mtu > dev_rdma.mtu)
		mtu = dev_rdma.mtu;
	l->first = first;
	l->n = n;
	odp_connect(&l->link, &dev_rdma, mtu, BUFFER);
	l->link.limit_ms = LIMIT_MS;
	l->buffer = ibv_reg_mr(dev_rdma.pd, l->link.buf, BUFFER,
			       IBV_ACCESS_LOCAL_WRITE |
			       IBV_ACCESS_REMOTE_READ |
			       IBV_ACCESS_REMOTE_WRITE);
	return l->buffer;
}

/* ---- the driver: advice, and regions that are replaced ---- */

static void advise(struct worker *w, struct region *r, size_t first, size_t n)
{
	static const enum ibv_advise_mr_advice advices[] = {
		IBV_ADVISE_MR_ADVICE_PREFETCH,
		IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE,
		IBV_ADVISE_MR_ADVICE_PREFETCH_NO_FAULT,
	};
	unsigned int advice = advices[rnd(w, ARRAY_SIZE(advices))];
	bool flush = rnd(w, 2);
	struct ibv_sge sge;
	struct use u;
	int ret;

	if (!use_begin(w, &u, r, first * page))
		return;
	sge = use_sge(&u, n * page);
	ret = odp_advise(&dev_rdma, advice,
			 flush ? IBV_ADVISE_MR_FLAG_FLUSH : 0, &sge, 1);
	u.stable = u.stable && nothing_changes(&u);
	if (!ret)
		count(C_ADVICE);
	else if ((ret == -EFAULT || ret == -EPERM) && !u.stable)
		count(C_REFUSED);
	else
		failed(name_of(r), "advice", ret);
}

static void *driver_thread(void *arg)
{
	struct worker *w = arg;

	while (go_on(w)) {
		unsigned int i = rnd(w, NR_BACKINGS + complete);
		size_t first, n;
		struct region *r;

		/* Time to be used in; nothing is waited for. */
		usleep(rnd(w, 20) * 1000);
		if (rnd(w, 4)) {
			doing(w, "advice");
			r = pick(w, ON_ALL, &first, &n, -1, false);
			advise(w, r, first, n);
		} else {
			doing(w, "replacing a region");
			area_replace(w, &areas[i]);
		}
	}
	return NULL;
}

/* ---- victims ---- */

/* Has its own device, and what it inherits belongs to it alone. */
static void victim_child(struct worker *w, int ready)
{
	struct region *r = &regions[rnd(w, 2) ? ANON : THP];
	char word[SLOT_SIZE], back[SLOT_SIZE];
	struct odp_link link;
	struct odp_dev own;
	struct ibv_mr *mr;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	r->ident |= CHILD_MARK;
	if (odp_open(&own))
		_exit(1);
	odp_connect(&link, &own, own.mtu, SLOT_SIZE);
	mr = odp_reg(&own, r->addr, r->pages * page, (uintptr_t)r->addr,
		     ODP_ALL);
	if (!mr || write(ready, "", 1) != 1)
		_exit(2);
	for (;;) {
		size_t i = rnd(w, r->pages);
		__u64 at = (uintptr_t)page_addr(r, i);

		slot_fill((__u64 *)word, r, i, rnd(w, GEN_MASK));
		if (odp_write(&link, mr->rkey, at, word, SLOT_SIZE) ||
		    odp_read(&link, mr->rkey, at, back, SLOT_SIZE))
			_exit(3);
		if (memcmp(word, back, SLOT_SIZE) ||
		    memcmp(word, page_addr(r, i), SLOT_SIZE))
			_exit(4);
	}
}

static bool gone(pid_t pid, int *status)
{
	__u64 end = now_ms() + VICTIM_END_MS;

	while (!waitpid(pid, status, WNOHANG)) {
		if (now_ms() > end)
			return false;
		usleep(1000);
	}
	return true;
}

/* Forked where no mapping changes, so that nothing is missing in the child. */
static pid_t victim_fork(struct worker *w, int ready)
{
	pid_t pid;

	pthread_rwlock_rdlock(&regions[ANON].lock);
	pthread_rwlock_rdlock(&regions[THP].lock);
	pid = fork();
	if (!pid)
		victim_child(w, ready);
	pthread_rwlock_unlock(&regions[THP].lock);
	pthread_rwlock_unlock(&regions[ANON].lock);
	return pid;
}

static void victim(struct worker *w)
{
	int ready[2], status = 0;
	char byte;
	pid_t pid;

	if (pipe(ready)) {
		failed("victim", "pipe", errno);
		return;
	}
	pid = victim_fork(w, ready[1]);
	close(ready[1]);
	if (pid > 0 && read(ready[0], &byte, 1) == 1) {
		usleep(rnd(w, VICTIM_MS) * 1000);
		count(C_VICTIM_USED);
	}
	close(ready[0]);
	if (pid < 0) {
		failed("victim", "fork", errno);
		return;
	}
	kill(pid, SIGKILL);
	if (!gone(pid, &status))
		failed("victim", "does not die", EBUSY);
	else if (!WIFSIGNALED(status))
		failed("victim", "ended by itself", WEXITSTATUS(status));
	else
		count(C_VICTIM);
}

static void *victim_thread(void *arg)
{
	struct worker *w = arg;

	while (go_on(w)) {
		doing(w, "victim");
		victim(w);
		usleep(rnd(w, 500) * 1000);
	}
	return NULL;
}

/* ---- quiet points ---- */

/* Whether what the device has read is what the CPU sees. */
static void quiet_same(struct lane *l, struct region *r, size_t index)
{
	__u64 *word = (__u64 *)l->link.buf;
	unsigned int i;

	for (i = 0; i < SLOTS * SLOT_WORDS; i++) {
		unsigned int slot = i / SLOT_WORDS, k = i % SLOT_WORDS;
		__u64 cpu = load(page_addr(r, index), slot, k);

		if (cpu == word[i] || (!cpu && lazy(&r->state[index])))
			continue;
		report("device at a quiet point", "not what the CPU sees", r,
		       index, slot, tag_from(word[i], k));
		return;
	}
}

static void quiet_cpu(struct region *r)
{
	size_t i;

	for (i = 0; i < r->pages * SLOTS; i++)
		if (!cpu_check("CPU at a quiet point", r, i / SLOTS, i % SLOTS))
			failed(name_of(r), "CPU read", EFAULT);
}

/* Both ways, in each way there is. Nothing may be refused now. */
static void quiet_all(void)
{
	const struct way *way = &ways[rnd(quiet, ARRAY_SIZE(ways))];
	struct lane *l = &quiet_lane;
	struct region *r;
	size_t index, n;
	bool ok;

	r = pick(quiet, ON_ALL, &index, &n, 1, false);
	quiet_cpu(r);
	quiet->slot = SLOT_QUIET_CPU;
	if (!cpu_write(quiet, r, index))
		failed(name_of(r), "CPU write at a quiet point", EFAULT);
	ok = lane_read(quiet, l, r, index * SLOTS, SLOTS, way);
	if (ok)
		quiet_same(l, r, index);
	ok &= lane_write(quiet, l, r, index * SLOTS + SLOT_QUIET_DEVICE, 1, way);
	if (ok)
		count(C_EXCHANGE);
}

/* ---- the end ---- */

/* Requests of each kind that nobody waits for. */
static void last_requests(struct lane *l)
{
	struct region *r;
	struct use u;
	unsigned int i;

	for (i = 0; i < LAST_REQUESTS; i++) {
		bool write = rnd(quiet, 2);
		struct ibv_sge sge = buffer_sge(l, BUFFER);
		size_t index, n;

		r = pick(quiet, ON_ALL, &index, &n, 1, false);
		if (index * page + BUFFER > r->pages * page)
			index = 0;
		if (use_begin(quiet, &u, r, index * page) &&
		    post(l, write ? IBV_WR_RDMA_WRITE : IBV_WR_RDMA_READ, &sge,
			 &u))
			failed("last requests", "ibv_post_send", EIO);
	}
}

/* One of the things there are; what is left is the end of the process's. */
static void tear_down(unsigned int what)
{
	struct region *r = &regions[what % NR_BACKINGS];
	struct area *a = &areas[what % (NR_BACKINGS + 1)];
	struct lane *l = &lanes[what % NR_LANES];
	unsigned int i = rnd(quiet, 2);

	switch (rnd(quiet, 3)) {
	case 0:
		munmap(r->addr, r->pages * page);
		break;
	case 1:
		if (a->mr && ibv_dereg_mr(a->mr))
			failed("end", "deregistration", EBUSY);
		a->mr = NULL;
		break;
	default:
		if (l->link.qp[i] && ibv_destroy_qp(l->link.qp[i]))
			failed("end", "queue pair", EBUSY);
		l->link.qp[i] = NULL;
	}
}

static void devices_end(void)
{
	unsigned int i;

	doing(quiet, "the end");
	for (i = 0; i < NR_LANES; i++)
		last_requests(&lanes[i]);
	for (i = 0; i < 12; i++)
		tear_down(rnd(quiet, 1000));
}

/* ---- the program ---- */

static bool devices_setup(void)
{
	static const enum ibv_mtu mtus[NR_LANES] = {
		IBV_MTU_256, IBV_MTU_1024, IBV_MTU_4096,
	};
	const char *why = odp_open(&dev_rdma);
	unsigned int i;

	munmap(room, ROOM);
	if (why) {
		ksft_print_msg("%s\n", why);
		return false;
	}
	for (i = 0; i < NR_LANES; i++)
		if (!lane_setup(&lanes[i], mtus[i], SLOT_DEVICE + 4 * i,
				i < NR_LANES - 1 ? 4 : LANE_SLOTS))
			return false;
	return lane_setup(&quiet_lane, IBV_MTU_512, SLOT_QUIET_DEVICE, 1) &&
	       areas_setup(quiet);
}

static void devices_start(void)
{
	unsigned int i;

	for (i = 0; i < NR_LANES; i++)
		worker_start(lane_thread, SLOT_DEVICE + 4 * i);
	worker_start(driver_thread, 0);
	worker_start(victim_thread, 0);
}

static const char *const count_names[] = {
	[C_WRITE - C_PROGRAM]		= "RDMA write",
	[C_WRITE_LOCAL - C_PROGRAM]	= "RDMA read into it",
	[C_WRITE_MESSAGE - C_PROGRAM]	= "message to it",
	[C_WRITE_CAS - C_PROGRAM]	= "compare and swap",
	[C_READ - C_PROGRAM]		= "RDMA read",
	[C_READ_LOCAL - C_PROGRAM]	= "RDMA write out of it",
	[C_READ_MESSAGE - C_PROGRAM]	= "message from it",
	[C_READ_FETCH - C_PROGRAM]	= "fetch and add",
	[C_IMPLICIT - C_PROGRAM]	= "use of the region of all memory",
	[C_REFUSED - C_PROGRAM]		= "refused",
	[C_ADVICE - C_PROGRAM]		= "advice",
	[C_REPLACED - C_PROGRAM]	= "region replaced",
	[C_REPLACED_ALL - C_PROGRAM]	= "region of all memory replaced",
	[C_VICTIM - C_PROGRAM]		= "victim",
	[C_VICTIM_USED - C_PROGRAM]	= "victim with requests under way",
	[C_EXCHANGE - C_PROGRAM]	= "exchange at a quiet point",
};

/*
 * New queue pairs are mapped where there is room, highest addresses first. That
 * is here, above all that mutators make holes in, once a runner has left it.
 */
static void make_room(void)
{
	room = mmap(NULL, ROOM, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (room == MAP_FAILED)
		ksft_exit_fail_msg("no room: %s\n", strerror(errno));
}

static void machine_prepare(void)
{
	struct odp_dev d;
	const char *why;

	if (page != SLOTS * SLOT_SIZE)
		ksft_exit_skip("pages are not of 4 KB\n");
	why = odp_open(&d);
	if (why)
		ksft_exit_skip("%s\n", why);
	odp_close(&d);
	make_room();
}

static void machine_report(void)
{
}

const struct program program = {
	.name = "odp-stress",
	.control = "stamps of other pages are noticed",
	.node = "/dev/infiniband/uverbs0",
	.no_node = "no RDMA device: rdma link add rxe0 type rxe netdev NAME, as root",
	.counts = count_names,
	.nr_counts = C_END - C_PROGRAM,
	.at_least = 3,
	.runners = 2,
	.round_ms = 3000,
	.prepare = machine_prepare,
	.setup = devices_setup,
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
