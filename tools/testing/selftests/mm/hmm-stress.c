// SPDX-License-Identifier: GPL-2.0
/*
 * Stress test of the HMM range layer, on the mirrors of lib/test_hmm_stress.c.
 *
 * Regions of memory of each kind are mirrored. Device threads fault and access
 * them, CPU threads read and write, and mutators unmap, move, protect, fork,
 * discard, collapse, page out and migrate, all at the same time and in random
 * order. A run with a device that ignores invalidations comes first and has to
 * be caught. hmm_stress_util.h says what each word read may be.
 *
 * At quiet points all threads stop. Then errors are exact too: each fault has to
 * succeed, what the device still has must be what the CPU sees, and each must
 * see what the other one writes. If no invalidation came since the fault, the
 * device must be able to read and write every page.
 *
 * Locking: as hmm_stress_util.h says. devs[] does not change once there are
 * threads.
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
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "kselftest.h"
#include "hmm_range_util.h"
#include "hmm_stress_util.h"

#define SLOTS		HMM_STRESS_SLOTS
#define MAX_PAGES	HMM_STRESS_MAX_PAGES
#define NR_DEVICE	2
#define QUIET_TRIES	10	/* of exchanges that an invalidation disturbs */
#define MAX_RETRIES	10000	/* of faults that lose against reclaim */

enum {
	C_FAULT = C_PROGRAM, C_FAULT_SNAPSHOT, C_FAULT_LOCKED, C_FAULT_UNLOCKED,
	C_FAULT_EXTENTS, C_FAULT_PARTIAL, C_FAULT_REFUSED,
	C_DEVICE_READ, C_DEVICE_WRITE, C_INVALIDATION, C_END,
};

static int devs[NR_BACKINGS];
static size_t exchanges[NR_BACKINGS];	/* undisturbed, at quiet points */
static struct hmm_stress_stats *stats;	/* shared with the runner */

/* What a thread reads at once, and the state before. */
static __thread struct before before[MAX_PAGES][SLOTS];
static __thread __u64 words[MAX_PAGES][SLOTS];

static void region_failed(struct region *r, const char *what, long result)
{
	failed(backings[r->backing].name, what, result);
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

/* Reads through the entries that there are, into words[], and checks. */
static struct hmm_stress_access device_read(struct region *r, size_t first,
					    size_t n)
{
	struct hmm_stress_access a = access_of(r, first, n);
	unsigned int slot;
	size_t i;

	for (i = 0; i < n; i++)
		for (slot = 0; slot < SLOTS; slot++)
			read_begin(&r->state[first + i], slot,
				   &before[i][slot]);
	a.words = (uintptr_t)words;
	if (ioctl(devs[r->backing], HMM_STRESS_ACCESS, &a)) {
		region_failed(r, "device read", errno);
		memset(a.done, 0, sizeof(a.done));
	}
	for (i = 0; i < n; i++) {
		if (!bit(a.done, i))
			continue;
		count(C_DEVICE_READ);
		for (slot = 0; slot < SLOTS; slot++)
			check_word("device", r, first + i, slot, 0,
				   &before[i][slot], words[i][slot]);
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
	if (ioctl(devs[r->backing], HMM_STRESS_ACCESS, &a)) {
		region_failed(r, "device write", errno);
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
	if (ioctl(devs[r->backing], HMM_STRESS_FAULT, f)) {
		region_failed(r, "fault", errno);
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
		region_failed(r, "fault", ret);
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
			device_read(r, first, n);
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
		region_failed(r, "fault at a quiet point", ret);
	return !ret;
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

	if (ioctl(devs[r->backing], HMM_STRESS_STATS, &s))
		region_failed(r, "statistics", errno);
	return s.invalidations;
}

/*
 * What the device has, and what was just read through it, is what the CPU sees.
 * Returns what could be read.
 */
static struct hmm_stress_access quiet_compare(struct region *r, size_t first,
					      size_t n)
{
	struct hmm_stress_access a = device_read(r, first, n);
	unsigned int slot;
	struct before b;
	size_t i;

	for (i = 0; i < n; i++) {
		size_t index = first + i;

		for (slot = 0; slot < SLOTS; slot++) {
			__u64 word;

			read_begin(&r->state[index], slot, &b);
			word = load(page_addr(r, index), slot, 0);
			check_word("CPU at a quiet point", r, index, slot, 0,
				   &b, word);
			if (!bit(a.done, i) || word == words[i][slot] ||
			    (!word && lazy(&r->state[index])))
				continue;
			report("device at a quiet point",
			       "not what the CPU sees", r, index, slot,
			       words[i][slot]);
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
		__u64 word = load(addr, quiet->slot, 0);

		if (bit(a.done, i) && word != tag_of(r, first + i, 0, a.gen))
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
			region_failed(r, "CPU write at a quiet point", EFAULT);
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
		region_failed(r, "device read after a fault", EFAULT);
	if (!accessed_all(&put, n))
		region_failed(r, "device write after a fault", EFAULT);
	exchanges[r->backing]++;
	return true;
}

static void stats_get(void)
{
	struct hmm_stress_stats s, *sum = stats;
	unsigned int i;

	memset(sum, 0, sizeof(*sum));
	for (i = 0; i < NR_BACKINGS; i++) {
		if (ioctl(devs[i], HMM_STRESS_STATS, &s))
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

static void quiet_all(void)
{
	struct region *r;
	unsigned int tries;
	size_t first, n;

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
	stats_get();
}

/* ---- the program ---- */

static bool mirrors_setup(void)
{
	unsigned int i;

	for (i = 0; i < NR_BACKINGS; i++) {
		struct hmm_stress_mirror m = {
			.start = (uintptr_t)regions[i].addr,
			.end = (uintptr_t)page_addr(&regions[i],
						    regions[i].pages),
			.ident = regions[i].ident,
			.flags = broken ? HMM_STRESS_IGNORE_INVALIDATIONS : 0,
		};

		devs[i] = open("/dev/hmm_stress", O_RDWR | O_CLOEXEC);
		if (devs[i] < 0 || ioctl(devs[i], HMM_STRESS_MIRROR, &m))
			return false;
	}
	return true;
}

static void devices_start(void)
{
	unsigned int i;

	for (i = 0; i < NR_DEVICE; i++)
		worker_start(device_thread, SLOT_DEVICE + i);
}

/* A word of another page, found by the device itself, is a wrong one, too. */
static void devices_end(void)
{
	unsigned int i;

	stats_get();
	atomic_fetch_add(&shared->wrong, stats->mismatches);
	for (i = 0; i < NR_BACKINGS && !broken; i++)
		if (!exchanges[i])
			failed(backings[i].name, "no undisturbed exchange",
			       ETIMEDOUT);
}

static void stats_alloc(void)
{
	stats = stress_alloc(sizeof(*stats));
}

static void stats_print(void)
{
	struct hmm_stress_stats *s = stats;

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

static const char *const count_names[] = {
	[C_FAULT - C_PROGRAM]		= "device fault",
	[C_FAULT_SNAPSHOT - C_PROGRAM]	= "snapshot",
	[C_FAULT_LOCKED - C_PROGRAM]	= "fault under the mmap lock",
	[C_FAULT_UNLOCKED - C_PROGRAM]	= "fault without the mmap lock",
	[C_FAULT_EXTENTS - C_PROGRAM]	= "fault into extents",
	[C_FAULT_PARTIAL - C_PROGRAM]	= "fault done in part",
	[C_FAULT_REFUSED - C_PROGRAM]	= "fault refused",
	[C_DEVICE_READ - C_PROGRAM]	= "device read",
	[C_DEVICE_WRITE - C_PROGRAM]	= "device write",
	[C_INVALIDATION - C_PROGRAM]	= "invalidation",
};

const struct program program = {
	.name = "hmm-stress",
	.control = "ignored invalidations are noticed",
	.node = "/dev/hmm_stress",
	.no_node = "no /dev/hmm_stress: load test_hmm_stress, as root",
	.counts = count_names,
	.nr_counts = C_END - C_PROGRAM,
	.at_least = 1,
	.runners = 1,
	.round_ms = 500,
	.prepare = stats_alloc,
	.setup = mirrors_setup,
	.start = devices_start,
	.quiet = quiet_all,
	.end = devices_end,
	.report = stats_print,
};

int main(int argc, char **argv)
{
	nr_slots = SLOTS;
	slot_words = 1;
	stress_main(argc, argv);
}
