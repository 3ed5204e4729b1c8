// SPDX-License-Identifier: GPL-2.0
/*
 * Tests of what a call of the HMM range API waits for, and how long, through the
 * raw device of lib/test_hmm_range.c: invalidations that take long, writers of
 * the mmap lock, and changes of the address space all the while.
 *
 * The device makes callbacks sleep and holds the mmap lock, and says when it
 * does. So "did not wait for it" is not a matter of time: it still goes on when
 * the call is back.
 *
 * Fixtures whose name ends in _weak hold what the range layer of 7.3 gets
 * wrong: their tests fail there. All others hold on both. Needs root. Settings
 * that are changed (huge pages) are put back at the end.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mman.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hmm_range_util.h"

/* How long things are held up that nobody should wait for. */
#define LONG_MS		15000
#define SHORT_MS	300
/* What a call on a slow machine may take longer than it should. */
#define GRACE_MS	2000
/* How long to wait for what is sure to come. */
#define BOUND_MS	20000

/* ---- what the device does meanwhile ---- */

static struct hmm_range_test_status status(void)
{
	struct hmm_range_test_status s = { };

	if (ioctl(dev, HMM_RANGE_TEST_STATUS, &s))
		ksft_exit_fail_msg("cannot ask the device: %s\n",
				   strerror(errno));
	return s;
}

static bool is_sleeping(void)
{
	return status().sleeping;
}

static bool is_holding(void)
{
	return status().holding;
}

static bool comes(bool (*condition)(void))
{
	__u64 end = now_ms() + BOUND_MS;

	while (!condition()) {
		if (now_ms() > end)
			return false;
		usleep(1000);
	}
	return true;
}

/* Later calls go by this notifier; the first @nr callbacks sleep. */
static int watch(char *p, size_t n, unsigned int ms, unsigned int nr)
{
	struct hmm_range_test_watch w = {
		.start = (uintptr_t)p,
		.length = n * page,
		.invalidate_sleep_ms = ms,
		.nr_sleeps = nr,
	};

	return ioctl(dev, HMM_RANGE_TEST_WATCH, &w) ? -errno : 0;
}

/*
 * The ioctl and nothing else: submit() of hmm_range_util.c would wait for the
 * mmap lock by itself. The array has to be there already.
 */
static int call(struct hmm_range_test *r)
{
	return ioctl(dev, HMM_RANGE_TEST_CALL, r) ? 1 : r->result;
}

static struct hmm_range_test request_of(const char *p, size_t n, __u64 request)
{
	struct hmm_range_test r = range_of(p, n);

	r.default_flags = request;
	memset(pfns, 0, n * sizeof(*pfns));
	return r;
}

/* ---- the mmap lock ---- */

static void act_hold(struct side *s)
{
	ioctl(dev, HMM_RANGE_TEST_HOLD_MMAP, s->len);
}

static void wake(int sig)
{
}

/*
 * Holds the mmap lock for @ms from now on. If this very thread meets a page of
 * its own that takes the lock to fault in, it misses that and has to try again.
 */
static bool hold_start(struct side *s, unsigned int ms)
{
	int tries;

	signal(SIGUSR1, wake);
	for (tries = 0; tries < 3; tries++) {
		*s = (struct side) { .act = act_hold, .len = ms, .once = true };
		if (side_start(s))
			return false;
		if (comes(is_holding))
			return true;
		side_stop(s);
	}
	return false;
}

static void hold_stop(struct side *s)
{
	pthread_kill(s->thread, SIGUSR1);
	side_stop(s);
}

/* ---- fixtures ---- */

static void wait_setup(struct __test_metadata *_metadata)
{
	if (skipped(range_setup()))
		return;
	fault_mode = HMM_RANGE_TEST_FAULT_UNLOCKED;
}

/* hmm_wait*: invalidations. */
FIXTURE(hmm_wait) { };
FIXTURE_SETUP(hmm_wait)
{
	wait_setup(_metadata);
}

FIXTURE_TEARDOWN(hmm_wait) { }

FIXTURE(hmm_wait_weak) { };
FIXTURE_SETUP(hmm_wait_weak)
{
	wait_setup(_metadata);
}

FIXTURE_TEARDOWN(hmm_wait_weak) { }

/* hmm_writer*: writers of the mmap lock, other changes of the address space. */
FIXTURE(hmm_writer) { };
FIXTURE_SETUP(hmm_writer)
{
	wait_setup(_metadata);
}

FIXTURE_TEARDOWN(hmm_writer) { }

enum memory {
	MEM_SMALL,
	MEM_MTHP,
	MEM_THP,
	MEM_HUGETLB,
	MEM_FILE,
	MEM_SHMEM,
};

FIXTURE(hmm_writer_weak) { };
FIXTURE_VARIANT(hmm_writer_weak) { enum memory memory; };
FIXTURE_VARIANT_ADD(hmm_writer_weak, small) { .memory = MEM_SMALL };
FIXTURE_VARIANT_ADD(hmm_writer_weak, mthp) { .memory = MEM_MTHP };
FIXTURE_VARIANT_ADD(hmm_writer_weak, thp) { .memory = MEM_THP };
FIXTURE_VARIANT_ADD(hmm_writer_weak, hugetlb) { .memory = MEM_HUGETLB };
FIXTURE_VARIANT_ADD(hmm_writer_weak, file) { .memory = MEM_FILE };
FIXTURE_VARIANT_ADD(hmm_writer_weak, shmem) { .memory = MEM_SHMEM };

FIXTURE_SETUP(hmm_writer_weak)
{
	wait_setup(_metadata);
}

FIXTURE_TEARDOWN(hmm_writer_weak) { }

/* ---- invalidations ---- */

/* Starts an invalidation of @p that takes @ms, within a notifier of @n pages. */
static bool invalidate(struct side *s, char *p, size_t n, unsigned int ms)
{
	*s = (struct side) {
		.act = act_discard,
		.p = p + (n - 1) * page,
		.len = page,
		.once = true,
	};
	return !watch(p, n, ms, 1) && !side_start(s) && comes(is_sleeping);
}

/* The timeout ends a call that waits for one long invalidation. */
TEST_F_TIMEOUT(hmm_wait_weak, timeout_ends_waiting_for_an_invalidation, 120)
{
	char *p = anon_area(16, false);
	struct hmm_range_test r;
	struct side s;

	ASSERT_NE(p, NULL);
	memset(p, 1, 16 * page);
	r = request_of(p, 8, READ);
	r.timeout_ms = SHORT_MS;
	ASSERT_TRUE(invalidate(&s, p, 16, LONG_MS));
	EXPECT_EQ(-EBUSY, call(&r));
	EXPECT_TRUE(is_sleeping());
	EXPECT_GE(r.elapsed_ns, SHORT_MS * 900000ULL);
	EXPECT_LT(r.elapsed_ns, LONG_MS * 500000ULL);
	EXPECT_EQ(-EBUSY, r.error);
	EXPECT_EQ(r.start, r.next);
	side_stop(&s);

	/* It was only a matter of time. */
	r.timeout_ms = BOUND_MS;
	EXPECT_EQ(0, submit_valid(&r));
	EXPECT_TRUE(mapped(p, 0, 8, RW, 0));
}

/* One that ends in time is waited for; so is any without a timeout. */
static void check_waits(struct __test_metadata *_metadata,
			unsigned int timeout_ms)
{
	char *p = anon_area(16, false);
	struct hmm_range_test r;
	struct side s;

	ASSERT_NE(p, NULL);
	memset(p, 1, 16 * page);
	r = request_of(p, 16, READ);
	r.timeout_ms = timeout_ms;
	ASSERT_TRUE(invalidate(&s, p, 16, 1000));
	EXPECT_EQ(0, submit_valid(&r));
	EXPECT_FALSE(is_sleeping());
	side_stop(&s);
	EXPECT_TRUE(mapped(p, 0, 15, RW, 0));
}

TEST_F(hmm_wait, invalidation_is_waited_for)
{
	check_waits(_metadata, BOUND_MS);
}

TEST_F(hmm_wait, invalidation_is_waited_for_without_timeout)
{
	check_waits(_metadata, 0);
}

/*
 * Slow ones without pause: the call ends in time, one way or the other. One that
 * got its work done in between says nothing and is repeated.
 */
TEST_F_TIMEOUT(hmm_wait, slow_storm_ends_in_time, 120)
{
	size_t n = 2 * nr_pmd;
	char *p = anon_area(n, false);
	struct side s = { .act = act_discard, .p = p, .len = n * page };
	struct hmm_range_test r;
	int ret, tries;

	ASSERT_NE(p, NULL);
	r = request_of(p, nr_pmd, RW);
	r.timeout_ms = SHORT_MS;
	ASSERT_EQ(0, watch(p, n, 50, 1000000));
	ASSERT_EQ(0, side_start(&s));
	ASSERT_TRUE(comes(is_sleeping));
	for (tries = 0; tries < 30 && !r.invalidations; tries++) {
		ret = call(&r);
		EXPECT_TRUE(ret == 0 || ret == -EBUSY);
		EXPECT_LT(r.elapsed_ns, (SHORT_MS + GRACE_MS) * 1000000ULL);
	}
	EXPECT_GE(r.invalidations, 1);
	side_stop(&s);
}

static atomic_int *shared_int(void)
{
	return mmap(NULL, page, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

/* In a call of its own: has to wait for an invalidation, without a limit. */
static void victim_run(char *p, atomic_int *runs)
{
	struct side s = { .act = act_discard, .p = p, .len = page, .once = true };
	struct hmm_range_test r = request_of(p, 8, READ);
	char *stack = malloc(64 * KB);

	/* From a process that outlives this one, and the address space with it. */
	if (watch(p, 8, LONG_MS, 1) ||
	    clone(side_run, stack + 64 * KB, CLONE_VM | SIGCHLD, &s) < 0 ||
	    !comes(is_sleeping))
		_exit(1);
	r.timeout_ms = 0;
	*runs = 1;
	call(&r);
	_exit(0);
}

/* State of a process as in /proc/PID/stat, behind the name in parentheses. */
static char process_state(pid_t pid)
{
	char path[64], line[256] = "", *end;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (!f)
		return 0;
	if (!fgets(line, sizeof(line), f))
		line[0] = 0;
	fclose(f);
	end = strrchr(line, ')');
	return end && end[1] ? end[2] : 0;
}

/* Whether the process comes to sleep, after it has said that it runs. */
static bool victim_waits(pid_t victim, atomic_int *runs)
{
	__u64 end = now_ms() + BOUND_MS;
	char state;

	while (now_ms() < end && !waitpid(victim, NULL, WNOHANG)) {
		state = process_state(victim);
		if (*runs && (state == 'S' || state == 'D'))
			return true;
		usleep(1000);
	}
	return false;
}

/* The same for a fatal signal. The open file is also the test's, so it stays. */
TEST_F_TIMEOUT(hmm_wait_weak, fatal_signal_ends_waiting_for_an_invalidation, 120)
{
	char *p = anon_area(8, false);
	atomic_int *runs = shared_int();
	pid_t victim;

	ASSERT_NE(p, NULL);
	ASSERT_NE(runs, MAP_FAILED);
	memset(p, 1, 8 * page);
	victim = fork();
	if (!victim)
		victim_run(p, runs);
	ASSERT_TRUE(victim_waits(victim, runs));
	kill(victim, SIGKILL);
	ASSERT_EQ(victim, waitpid(victim, NULL, 0));
	EXPECT_TRUE(is_sleeping());
	while (is_sleeping())
		usleep(10000);
}

/* ---- writers of the mmap lock ---- */

static char *file_area(size_t n)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	char *buf = malloc(64 * KB), *p = NULL;

	if (fd >= 0) {
		/* A fault that has to read is not one that need not wait. */
		while (read(fd, buf, 64 * KB) > 0)
			;
		p = area(n * page, PROT_READ, MAP_PRIVATE, fd);
		close(fd);
	}
	free(buf);
	return p;
}

static char *shmem_area(size_t n)
{
	int fd = memfd_create("hmm-wait", MFD_CLOEXEC);
	char *p = NULL;

	if (fd >= 0 && !ftruncate(fd, n * page))
		p = area(n * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	close(fd);
	return p;
}

static const char *no_memory(enum memory memory)
{
	switch (memory) {
	case MEM_MTHP:
		return no_mthp();
	case MEM_THP:
		return no_thp();
	case MEM_HUGETLB:
		return no_hugetlb(2 * MB, 4);
	default:
		return NULL;
	}
}

/* @n pages in one VMA. */
static char *memory_area(enum memory memory, size_t n)
{
	switch (memory) {
	case MEM_MTHP:
		thp_policy(MTHP_SIZE);
		return anon_area(n, true);
	case MEM_THP:
		thp_policy(pmd);
		return anon_area(n, true);
	case MEM_HUGETLB:
		return hugetlb_area(n * page, 21, MAP_PRIVATE);
	case MEM_FILE:
		return file_area(n);
	case MEM_SHMEM:
		return shmem_area(n);
	default:
		return anon_area(n, false);
	}
}

/*
 * A call on pages of one VMA is back while somebody has the mmap lock for write.
 * Its first leaf is touched before: the first fault of all in an anonymous VMA
 * does need the lock. So does a notifier; the device has one already.
 */
static void check_beside_writer(struct __test_metadata *_metadata,
				enum memory memory, bool there)
{
	bool file = memory == MEM_FILE;
	size_t leaf = file ? 1 : nr_pmd, n = file ? 16 : 2 * nr_pmd;
	__u64 request = file ? READ : RW;
	struct hmm_range_test r;
	struct side s;
	char *p;

	if (skipped(no_memory(memory)))
		return;
	p = memory_area(memory, n + 2 * leaf);
	ASSERT_NE(p, NULL);
	madvise(p, page, file ? MADV_POPULATE_READ : MADV_POPULATE_WRITE);
	p += leaf * page;
	if (there)
		ASSERT_EQ(0, madvise(p, n * page, file ? MADV_POPULATE_READ :
							 MADV_POPULATE_WRITE));
	ASSERT_EQ(0, watch(p, n, 0, 0));
	r = request_of(p, n, request);
	r.timeout_ms = 0;
	ASSERT_TRUE(hold_start(&s, LONG_MS));
	EXPECT_EQ(0, call(&r));
	EXPECT_TRUE(is_holding());
	hold_stop(&s);
	EXPECT_TRUE(mapped(p, 0, n, file ? VALID : RW, ANY_ORDER));
}

TEST_F_TIMEOUT(hmm_writer_weak, populated_vma_does_not_wait, 120)
{
	check_beside_writer(_metadata, variant->memory, true);
}

TEST_F_TIMEOUT(hmm_writer_weak, empty_vma_does_not_wait, 120)
{
	check_beside_writer(_metadata, variant->memory, false);
}

/* What takes the lock waits for it, and then does its work. */
static void check_after_writer(struct __test_metadata *_metadata, char *p,
			       size_t n)
{
	struct hmm_range_test r = request_of(p, n, RW);
	struct side s;

	ASSERT_EQ(0, watch(p, n, 0, 0));
	ASSERT_TRUE(hold_start(&s, 2000));
	EXPECT_EQ(0, call(&r));
	side_stop(&s);
	EXPECT_TRUE(mapped(p, 0, n, RW, 0));
}

TEST_F(hmm_writer, two_vmas_are_faulted_in_the_end)
{
	char *p = anon_area(16, false);

	ASSERT_NE(p, NULL);
	madvise(p + 8 * page, 8 * page, MADV_DONTFORK);
	check_after_writer(_metadata, p, 16);
}

TEST_F(hmm_writer, untouched_vma_is_faulted_in_the_end)
{
	char *p = anon_area(16, false);

	ASSERT_NE(p, NULL);
	check_after_writer(_metadata, p, 16);
}

/* ---- changes of the address space ---- */

/* Maps and unmaps elsewhere, and splits and merges the VMA that p is the end of. */
static void act_change_elsewhere(struct side *s)
{
	char *q = mmap(NULL, s->len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	mprotect(s->p, s->len, PROT_READ);
	if (q != MAP_FAILED) {
		*q = 1;
		munmap(q, s->len);
	}
	mprotect(s->p, s->len, PROT_READ | PROT_WRITE);
}

TEST_F_TIMEOUT(hmm_writer, changes_elsewhere_do_no_harm, 120)
{
	size_t n = 16;
	char *p = anon_area(2 * n, false);
	struct side s = { .act = act_change_elsewhere, .p = p + n * page,
			  .len = n * page };
	int i, start;

	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, side_start(&s));
	while (!s.rounds)
		usleep(1000);
	start = s.rounds;
	for (i = 0; i < 100; i++) {
		madvise(p, n * page, MADV_DONTNEED);
		ASSERT_EQ(0, fault(p, n, i % 2 ? RW : READ));
		ASSERT_TRUE(mapped(p, 0, n, i % 2 ? RW : VALID, 0));
	}
	EXPECT_GT(s.rounds, start);
	side_stop(&s);
}

static void act_map_and_unmap(struct side *s)
{
	char *q = mmap(NULL, s->len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (q != MAP_FAILED)
		munmap(q, s->len);
}

/*
 * How long calls take while another thread maps and unmaps without pause. The
 * figures are for comparison by a reader, as "make test-base" prints them. Without
 * a timeout no call gives up. Only the device may find a good result stale, after
 * an invalidation for reasons of its own, like reclaim.
 */
TEST_F_TIMEOUT(hmm_writer, calls_beside_a_mapper, 120)
{
	__u64 sum = 0, longest = 0, end;
	struct hmm_range_test r;
	unsigned int calls = 0, stale = 0;
	struct side s = { .act = act_map_and_unmap, .len = 64 * page };
	char *p = anon_area(16, false);
	int ret;

	ASSERT_NE(p, NULL);
	ASSERT_EQ(16, populated(memset(p, 1, 16 * page), 16));
	ASSERT_EQ(0, watch(p, 16, 0, 0));
	ASSERT_EQ(0, side_start(&s));
	while (!s.rounds)
		usleep(1000);
	for (end = now_ms() + 2000; now_ms() < end; calls++) {
		r = request_of(p, 16, RW);
		r.timeout_ms = 0;
		ret = call(&r);
		if (ret == -EBUSY && r.error != -EBUSY && r.invalidations)
			stale++;
		else
			ASSERT_EQ(0, ret);
		sum += r.elapsed_ns;
		if (r.elapsed_ns > longest)
			longest = r.elapsed_ns;
	}
	side_stop(&s);
	ksft_print_msg("%u calls, %u stale, %llu us each, longest %llu us, beside %d maps\n",
		       calls, stale, (unsigned long long)sum / calls / 1000,
		       (unsigned long long)longest / 1000, s.rounds);
	EXPECT_GT(s.rounds, 1);
	EXPECT_LT(stale, calls);
}

/*
 * The range itself goes away, comes back and changes its protection, and then is
 * left alone for long enough for one call or another to succeed.
 */
static void act_change_here(struct side *s)
{
	munmap(s->p, s->len);
	mmap(s->p, s->len, PROT_READ | PROT_WRITE,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	sched_yield();
	mprotect(s->p, s->len / 2, PROT_READ);
	sched_yield();
	mprotect(s->p, s->len, PROT_NONE);
	mprotect(s->p, s->len, PROT_READ | PROT_WRITE);
	usleep(1000 * (1 + s->rounds % 20));
}

/*
 * Each call ends well or with an errno for what it met. A call that failed left
 * no entries behind, so nothing that is gone can be taken for valid.
 */
TEST_F_TIMEOUT(hmm_writer, changes_of_the_range_end_cleanly, 120)
{
	char *p = anon_area(64, false);
	struct side s = { .act = act_change_here, .p = p, .len = 64 * page };
	__u64 end = now_ms() + BOUND_MS;
	int ret, done = 0, failed = 0;

	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, side_start(&s));
	while ((done < 50 || failed < 50) && now_ms() < end) {
		ret = fault(p, 64, RW);
		ASSERT_TRUE(ret == 0 || ret == -EFAULT || ret == -EPERM ||
			    ret == -EBUSY) {
			TH_LOG("result %d", ret);
		}
		done += !ret;
		failed += ret == -EFAULT || ret == -EPERM;
	}
	side_stop(&s);
	EXPECT_GE(done, 1);
	EXPECT_GE(failed, 1);

	EXPECT_EQ(0, fault(p, 64, RW));
	EXPECT_TRUE(mapped(p, 0, 64, RW, 0));
	munmap(p, 64 * page);
	EXPECT_EQ(-EFAULT, fault(p, 64, RW));
}

/* ---- the device ---- */

TEST_F(hmm_wait, device_refuses_bad_watches)
{
	char *p = anon_area(8, false);

	EXPECT_EQ(-EINVAL, watch(p, 8, HMM_RANGE_TEST_MAX_SLEEP_MS + 1, 1));
	EXPECT_EQ(-EOVERFLOW, watch(p, 0, 0, 0));
	EXPECT_EQ(0, watch(p, 8, 0, 0));
	EXPECT_EQ(-EBUSY, watch(p, 8, 0, 0));
	EXPECT_EQ(-1, ioctl(dev, HMM_RANGE_TEST_HOLD_MMAP,
			    HMM_RANGE_TEST_MAX_SLEEP_MS + 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(0, ioctl(dev, HMM_RANGE_TEST_HOLD_MMAP, 1));
}

/* A notifier of another address space is of no use. */
TEST_F(hmm_wait, device_refuses_the_watch_of_another_process)
{
	char *p = anon_area(8, false);
	struct hmm_range_test r = range_of(p, 8);
	int status;
	pid_t pid;

	ASSERT_EQ(0, watch(p, 8, 0, 0));
	EXPECT_EQ(0, call(&r));
	pid = fork();
	if (!pid) {
		int refused = ioctl(dev, HMM_RANGE_TEST_CALL, &r) &&
			      errno == EINVAL;

		_exit(!refused);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

int main(int argc, char **argv)
{
	machine_save();
	return test_harness_run(argc, argv);
}
