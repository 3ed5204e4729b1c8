/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the stress tests of the HMM layers share: memory of each kind in which
 * every word says what it may be, threads that use and change it in random
 * order, points at which all of them stop, and the processes that do all that.
 *
 * What is checked. A page has nr_slots slots, of which the first slot_words
 * words are used. Each word is a tag: the identity of the page and a generation,
 * or zero if never written. A slot has one writer, who counts its generations
 * up. Writer and discarding thread note what they do in struct page_state before
 * and after, so that for each word read, by CPU or device, it is known which
 * generations it may have:
 *
 *  - never one that was not yet begun, and never another page's tag;
 *  - if no discard overlapped read or write: at least the last one that was
 *    complete before the read, if there was no discard since;
 *  - zero or a later one, if there was a discard since, unless that was
 *    MADV_FREE, which may take effect at any time or never.
 *
 * Locking: region::lock is held for write by who changes VMAs, for read by the
 * other mutators, so that these meet the VMAs that they expect; discards of a
 * region take turns by region::discard. CPU and device threads take no lock.
 * Everything that threads share is atomic. Each runner is a child of its own, as
 * one that hangs or crashes is a result too; struct shared is how it reports.
 */
#ifndef HMM_STRESS_UTIL_H
#define HMM_STRESS_UTIL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/types.h>

#include <lib/test_hmm_stress_uapi.h>

#define GEN_BITS	HMM_STRESS_GEN_BITS
#define GEN_MASK	HMM_STRESS_GEN_MASK
#define MAX_SLOTS	16
#define CHILD_MARK	0x8000000000ULL	/* in identities that children write */

#define NR_CPU		2
#define MAX_DEVICES	16
#define MAX_MUTATORS	16
#define MAX_THREADS	(NR_CPU + MAX_DEVICES + MAX_MUTATORS)
#define MAX_RUNNERS	2
#define MAX_COUNTS	48
#define CONTROL_MS	60000	/* at most: it ends with the first wrong word */

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

struct backing_info {
	const char *name;
	size_t pages;
	bool huge;		/* changes only as whole PMDs */
	bool shared;		/* contents outlive the mapping */
};

extern const struct backing_info backings[NR_BACKINGS];

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
	struct slot_state slot[MAX_SLOTS];
};

struct region {
	enum backing backing;
	char *addr;
	char *away;		/* where mremap() moves it to and back from */
	size_t pages;
	__u64 ident;
	int fd;			/* what is mapped, or -1 */
	pthread_rwlock_t lock;
	pthread_mutex_t discard;
	atomic_ullong vma_begun, vma_done;	/* changes of VMAs */
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
};

enum op_id {
	OP_REMAP, OP_MREMAP, OP_MPROTECT, OP_FORK, OP_DONTNEED, OP_FREE,
	OP_REMOVE, OP_COLLAPSE, OP_PAGEOUT, OP_COMPACT, OP_MIGRATE, NR_OPS,
};

/* What is counted. Those from C_PROGRAM on belong to the program. */
enum {
	C_CPU_READ, C_CPU_WRITE, C_QUIET, C_OP,
	C_PROGRAM = C_OP + NR_OPS,
};

/* What the runners tell the program, also if they do not come back. */
struct shared {
	atomic_ullong rounds[MAX_RUNNERS];
	atomic_ullong wrong;		/* words */
	atomic_ullong failed;		/* calls */
	atomic_ullong count[MAX_COUNTS];
	/* names; last of each runner: its main thread */
	atomic_uintptr_t doing[MAX_RUNNERS][MAX_THREADS + 1];
};

/*
 * struct program - what differs between the stress tests
 *
 * @name: for messages and files
 * @control: what the control is to notice
 * @node: the device node without which nothing can be done
 * @no_node: what to say then
 * @counts: names of what is counted from C_PROGRAM on
 * @nr_counts: how many there are
 * @at_least: how often each thing that is counted has to happen
 * @nr_results: results that @report adds after the last run
 * @runners: processes that do the same beside each other
 * @round_ms: time between quiet points
 * @prepare: called once, before all the rest
 * @setup: called in each runner once there are regions: whether the devices
 *	could be made ready
 * @start: starts the threads that use the devices
 * @quiet: called while all threads stand still
 * @end: called after all threads have ended
 * @report: called after each run, to tell more by stress_result() after all but
 *	the control
 */
struct program {
	const char *name;
	const char *control;
	const char *node;
	const char *no_node;
	const char *const *counts;
	unsigned int nr_counts;
	unsigned int at_least;
	unsigned int nr_results;
	unsigned int runners;
	unsigned int round_ms;
	void (*prepare)(void);
	bool (*setup)(void);
	void (*start)(void);
	void (*quiet)(void);
	void (*end)(void);
	void (*report)(void);
};

extern const struct program program;

extern struct shared *shared;
extern struct region regions[NR_BACKINGS];
extern struct worker *quiet;		/* the runner's own */
extern unsigned int runner_nr;
extern unsigned int nr_slots, slot_words;	/* set before anything else */
extern bool broken;			/* the control */

/* ---- small helpers ---- */

__u64 rnd(struct worker *w, __u64 below);
void count(unsigned int c);
void doing(struct worker *w, const char *what);
char *page_addr(struct region *r, size_t index);

/* What word @k of a slot is to be. */
__u64 tag_of(struct region *r, size_t index, unsigned int k, __u64 gen);

/* What such a word says: the identity of a page and a generation. */
__u64 tag_from(__u64 word, unsigned int k);

/* All words of a slot, as they are in memory. */
void slot_fill(__u64 *words, struct region *r, size_t index, __u64 gen);

/* Memory that all runners share, zeroed; ends the program if there is none. */
void *stress_alloc(size_t size);

/* A call that has to succeed did not; @result is an errno of either sign. */
void failed(const char *where, const char *what, long result);

/* ---- what a word may be ---- */

__u64 write_begin(struct page_state *p, unsigned int slot, __u64 *epoch);
void write_end(struct page_state *p, unsigned int slot, __u64 gen, __u64 epoch);
void read_begin(struct page_state *p, unsigned int slot, struct before *b);
void check_word(const char *who, struct region *r, size_t index,
		unsigned int slot, unsigned int k, const struct before *b,
		__u64 word);
void report(const char *who, const char *what, struct region *r, size_t index,
	    unsigned int slot, __u64 word);

/* Whether a discard may still take effect on the page. */
bool lazy(struct page_state *p);

/* ---- memory as the CPU sees it ---- */

__u64 load(char *addr, unsigned int slot, unsigned int k);

/*
 * Writes to a slot, or checks all of it: whether the mapping allowed that. The
 * slot to be written to is that of @w.
 */
bool cpu_check(const char *who, struct region *r, size_t index,
	       unsigned int slot);
bool cpu_write(struct worker *w, struct region *r, size_t index);

/* ---- threads ---- */

struct worker *worker_start(void *(*run)(void *), unsigned int slot);

/* Stops here while there is a quiet point; false at the end. */
bool go_on(struct worker *w);

/* A random part, of at most @max pages, of a random region. */
struct region *pick(struct worker *w, unsigned int on, size_t *first,
		    size_t *n, size_t max, bool whole_pmds);

/* ---- the program ---- */

void stress_result(bool ok, const char *name);

/* All of it. The layout of a page has been set by who calls it. */
void stress_main(int argc, char **argv);

#endif /* HMM_STRESS_UTIL_H */
