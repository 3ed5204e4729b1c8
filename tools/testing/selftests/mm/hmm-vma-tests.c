// SPDX-License-Identifier: GPL-2.0
/*
 * Tests of the HMM range API on memory of unusual kinds: special mappings and
 * odd fault handlers, which lib/test_hmm_vma.c provides, DAX files and device
 * DAX. What the range device says is compared with pagemap, with the contents
 * and with how often the handlers were called.
 *
 * DAX takes a set-up that a test cannot make by itself. These variables say
 * where it is; tests of what is not set are skipped:
 *
 *	HMM_DAX_EXT4, HMM_DAX_XFS	a directory on a file system mounted
 *					with -o dax, whose files begin at
 *					multiples of 2 MB
 *	HMM_DEVDAX_2M, HMM_DEVDAX_1G	a device with that alignment
 *
 * Fixtures whose name ends in _weak hold what the range layer of 7.3 gets
 * wrong: their tests fail there. All others hold on both. Needs root.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mman.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lib/test_hmm_vma_uapi.h>

#include "hmm_range_util.h"

#define N		8	/* pages of most mappings here */
#define NOT_CALLED	1	/* no errno, and not what submit() returns */

/* Handlers that get nowhere give in after that, or 7.3 would never return. */
#define STUCK_MS	4000
/* What a test on a slow machine may take longer than it should. */
#define GRACE_MS	2000
#define TICK_MS		10	/* of the timer, at most */

static int vma_dev = -1;
static bool around;		/* mappings with map_pages() */

/* ---- memory ---- */

/* @len bytes of address space that begin at a multiple of @align. */
static char *place(size_t len, size_t align)
{
	char *p = mmap(NULL, len + align, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	return (char *)(((uintptr_t)p + align - 1) / align * align);
}

static char *map_at(char *p, size_t len, int prot, int flags, int fd, off_t off)
{
	if (!p)
		return NULL;
	p = mmap(p, len, prot, flags | MAP_FIXED, fd, off);
	return p == MAP_FAILED ? NULL : p;
}

static char *vma_map(enum hmm_vma_kind kind, size_t pages, int flags)
{
	size_t align = pages * page >= GB ? GB : pmd;
	__u64 offset = HMM_VMA_OFFSET(kind) | (around ? HMM_VMA_AROUND : 0);

	return map_at(place(pages * page, align), pages * page,
		      PROT_READ | PROT_WRITE, flags, vma_dev, offset);
}

static int vma_set(__u32 first, enum hmm_vma_failure failure, __u32 retries,
		   __u32 delay_ms)
{
	struct hmm_vma_settings s = {
		.first = first,
		.failure = failure,
		.retries = retries,
		.delay_ms = delay_ms,
	};

	return ioctl(vma_dev, HMM_VMA_SET, &s);
}

static struct hmm_vma_counts counts(void)
{
	struct hmm_vma_counts c;

	if (ioctl(vma_dev, HMM_VMA_COUNT, &c))
		ksft_exit_fail_msg("cannot read the counters\n");
	return c;
}

/* Whether each of @n pages holds what its page of the file did at first. */
static bool holds_file_pages(const char *p, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (p[i * page] != (char)i || p[(i + 1) * page - 1] != (char)i)
			return false;
	return true;
}

static void touch(const char *p, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		FORCE_READ(p[i * page]);
}

/* One try, without the range device's own retries after -EBUSY. */
static int fault_once(struct hmm_range_test *r, const char *p, size_t pages,
		      unsigned int timeout_ms)
{
	*r = range_of(p, pages);
	r->default_flags = RW;
	if (fault_mode == HMM_RANGE_TEST_FAULT_UNLOCKED)
		r->timeout_ms = timeout_ms;
	else
		r->timeout_ms = 0;
	return submit(r);
}

/* ---- fixtures ---- */

/* hmm_vma*: mappings of the test device, with each way to fault them. */
static const char *vma_setup(enum hmm_range_test_mode mode, bool with_map_pages)
{
	const char *why = range_setup();

	if (why)
		return why;
	fault_mode = mode;
	around = with_map_pages;
	vma_dev = open("/dev/hmm_vma", O_RDWR | O_CLOEXEC);
	return vma_dev < 0 ?
		"no /dev/hmm_vma: load test_hmm_vma, as root" : NULL;
}

FIXTURE(hmm_vma) { };
FIXTURE_VARIANT(hmm_vma) { enum hmm_range_test_mode mode; bool around; };
FIXTURE_VARIANT_ADD(hmm_vma, locked) {
	.mode = HMM_RANGE_TEST_FAULT_LOCKED,
};

FIXTURE_VARIANT_ADD(hmm_vma, unlocked) {
	.mode = HMM_RANGE_TEST_FAULT_UNLOCKED,
};

FIXTURE_VARIANT_ADD(hmm_vma, around) {
	.mode = HMM_RANGE_TEST_FAULT_UNLOCKED, .around = true,
};

FIXTURE_SETUP(hmm_vma)
{
	(void)skipped(vma_setup(variant->mode, variant->around));
}

FIXTURE_TEARDOWN(hmm_vma) { }

FIXTURE(hmm_vma_weak) { };
FIXTURE_VARIANT(hmm_vma_weak) { enum hmm_range_test_mode mode; bool around; };
FIXTURE_VARIANT_ADD(hmm_vma_weak, locked) {
	.mode = HMM_RANGE_TEST_FAULT_LOCKED,
};

FIXTURE_VARIANT_ADD(hmm_vma_weak, unlocked) {
	.mode = HMM_RANGE_TEST_FAULT_UNLOCKED,
};

FIXTURE_VARIANT_ADD(hmm_vma_weak, around) {
	.mode = HMM_RANGE_TEST_FAULT_UNLOCKED, .around = true,
};

FIXTURE_SETUP(hmm_vma_weak)
{
	(void)skipped(vma_setup(variant->mode, variant->around));
}

FIXTURE_TEARDOWN(hmm_vma_weak) { }

/* hmm_vma_lock*: what only a call that takes its locks by itself can do. */
FIXTURE(hmm_vma_lock_weak) { };
FIXTURE_SETUP(hmm_vma_lock_weak)
{
	(void)skipped(vma_setup(HMM_RANGE_TEST_FAULT_UNLOCKED, true));
}

FIXTURE_TEARDOWN(hmm_vma_lock_weak) { }

/* hmm_dax*: files and devices, with each way to fault them. */
struct dax_where {
	const char *variable;
	enum hmm_range_test_mode mode;
};

static const char *dax_setup(const struct dax_where *where, const char **path)
{
	const char *why = range_setup();
	static char missing[64];

	if (why)
		return why;
	fault_mode = where->mode;
	*path = getenv(where->variable);
	if (*path)
		return NULL;
	snprintf(missing, sizeof(missing), "%s is not set", where->variable);
	return missing;
}

FIXTURE(hmm_dax_file) { const char *dir; };
FIXTURE_VARIANT(hmm_dax_file) { struct dax_where where; };
FIXTURE_VARIANT_ADD(hmm_dax_file, ext4_locked) {
	.where = { "HMM_DAX_EXT4", HMM_RANGE_TEST_FAULT_LOCKED },
};

FIXTURE_VARIANT_ADD(hmm_dax_file, ext4_unlocked) {
	.where = { "HMM_DAX_EXT4", HMM_RANGE_TEST_FAULT_UNLOCKED },
};

FIXTURE_VARIANT_ADD(hmm_dax_file, xfs_locked) {
	.where = { "HMM_DAX_XFS", HMM_RANGE_TEST_FAULT_LOCKED },
};

FIXTURE_VARIANT_ADD(hmm_dax_file, xfs_unlocked) {
	.where = { "HMM_DAX_XFS", HMM_RANGE_TEST_FAULT_UNLOCKED },
};

FIXTURE_SETUP(hmm_dax_file)
{
	(void)skipped(dax_setup(&variant->where, &self->dir));
}

FIXTURE_TEARDOWN(hmm_dax_file) { }

FIXTURE(hmm_devdax_weak) { const char *path; };
FIXTURE_VARIANT(hmm_devdax_weak) {
	struct dax_where where;
	size_t size;
	unsigned int order;
};

FIXTURE_VARIANT_ADD(hmm_devdax_weak, pmd_locked) {
	.where = { "HMM_DEVDAX_2M", HMM_RANGE_TEST_FAULT_LOCKED },
	.size = 2 * MB, .order = 9,
};

FIXTURE_VARIANT_ADD(hmm_devdax_weak, pmd_unlocked) {
	.where = { "HMM_DEVDAX_2M", HMM_RANGE_TEST_FAULT_UNLOCKED },
	.size = 2 * MB, .order = 9,
};

FIXTURE_VARIANT_ADD(hmm_devdax_weak, pud_locked) {
	.where = { "HMM_DEVDAX_1G", HMM_RANGE_TEST_FAULT_LOCKED },
	.size = GB, .order = 18,
};

FIXTURE_VARIANT_ADD(hmm_devdax_weak, pud_unlocked) {
	.where = { "HMM_DEVDAX_1G", HMM_RANGE_TEST_FAULT_UNLOCKED },
	.size = GB, .order = 18,
};

FIXTURE_SETUP(hmm_devdax_weak)
{
	(void)skipped(dax_setup(&variant->where, &self->path));
}

FIXTURE_TEARDOWN(hmm_devdax_weak) { }

/* ---- what the entries are ---- */

/* The test device is what it says: handlers are called under both locks. */
TEST_F(hmm_vma, cpu_faults_are_counted_by_their_lock)
{
	char *p = vma_map(HMM_VMA_PAGE, N, MAP_SHARED);
	struct hmm_vma_counts c;

	ASSERT_NE(p, NULL);
	touch(p, N);
	c = counts();
	EXPECT_EQ(N, c.faults);
	EXPECT_EQ(N, c.vma_lock + c.mmap_lock);
	EXPECT_EQ(around ? 0 : N, c.mmap_lock);
	EXPECT_EQ(around ? N : 0, c.around);
	EXPECT_TRUE(holds_file_pages(p, N));
}

static void check_normal(struct __test_metadata *_metadata,
			 enum hmm_vma_kind kind)
{
	char *p = vma_map(kind, N, MAP_SHARED);

	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, snapshot(p, N));
	EXPECT_TRUE(all(0, N, 0));
	ASSERT_EQ(0, fault(p, N, READ));
	EXPECT_TRUE(mapped(p, 0, N, VALID, WRITE));
	ASSERT_EQ(0, fault(p, N, RW));
	EXPECT_TRUE(mapped(p, 0, N, RW, 0));
	EXPECT_TRUE(holds_file_pages(p, N));
	EXPECT_EQ(N, counts().faults);

	/* A private mapping reads the same pages and writes copies. */
	p = vma_map(kind, N, MAP_PRIVATE);
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, fault(p, N, READ));
	EXPECT_TRUE(mapped(p, 0, N, VALID, 0));
}

TEST_F(hmm_vma, normal_pages_are_valid)
{
	check_normal(_metadata, HMM_VMA_PAGE);
}

TEST_F(hmm_vma, normal_pages_in_mixed_map_are_valid)
{
	check_normal(_metadata, HMM_VMA_MIXED_PAGE);
}

TEST_F(hmm_vma, private_pages_are_copied)
{
	char *p = vma_map(HMM_VMA_PAGE, N, MAP_PRIVATE);
	char *q = vma_map(HMM_VMA_PAGE, N, MAP_SHARED);

	ASSERT_NE(p, NULL);
	ASSERT_NE(q, NULL);
	ASSERT_EQ(0, fault(p, N, RW));
	EXPECT_TRUE(mapped(p, 0, N, RW, 0));
	memset(p, 0x55, N * page);
	EXPECT_TRUE(holds_file_pages(q, N));
}

/* Neither absent nor present pages of such a VMA are for devices. */
static void check_error(struct __test_metadata *_metadata, char *p, size_t n,
			bool readable)
{
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, vma_set(0, 0, 0, 0));
	ASSERT_EQ(0, snapshot(p, n));
	EXPECT_TRUE(all(0, n, ERROR));
	EXPECT_EQ(-EFAULT, fault(p, n, READ));
	EXPECT_EQ(-EFAULT, fault(p + page, n - 1, RW));
	EXPECT_EQ(0, counts().faults + counts().huge_faults);
	if (!readable)
		return;

	touch(p, n);
	ASSERT_EQ(0, snapshot(p, n));
	EXPECT_TRUE(all(0, n, ERROR));
	EXPECT_EQ(-EFAULT, fault(p, n, READ));
	EXPECT_EQ(-EFAULT, fault(p, n, RW));
}

TEST_F(hmm_vma, io_vma_is_error)
{
	check_error(_metadata, vma_map(HMM_VMA_IO, N, MAP_SHARED), N, true);
}

TEST_F(hmm_vma, pfnmap_is_error)
{
	check_error(_metadata, vma_map(HMM_VMA_PFNMAP, N, MAP_SHARED), N, true);
	check_error(_metadata, vma_map(HMM_VMA_PFNMAP_FAULT, N, MAP_SHARED), N,
		    false);
	check_error(_metadata, vma_map(HMM_VMA_PFNMAP_PMD, nr_pmd, MAP_SHARED),
		    nr_pmd, false);
	check_error(_metadata,
		    vma_map(HMM_VMA_PFNMAP_PUD, GB / page, MAP_SHARED),
		    GB / page, false);
}

/* Such a VMA is none for devices, even where it holds normal pages by now. */
TEST_F(hmm_vma, private_pfnmap_is_error)
{
	char *p = vma_map(HMM_VMA_PFNMAP, N, MAP_PRIVATE);

	check_error(_metadata, p, N, true);
	p[page] = 1;
	EXPECT_TRUE(holds_file_pages(p, 1));
	ASSERT_EQ(0, snapshot(p, N));
	EXPECT_TRUE(all(0, N, ERROR));
	EXPECT_EQ(-EFAULT, fault(p + page, 1, RW));
}

/* A fault that ends with a special entry has not helped. */
TEST_F(hmm_vma, special_pte_is_error)
{
	char *p = vma_map(HMM_VMA_MIXED_SPECIAL, N, MAP_SHARED);

	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, snapshot(p, N));
	EXPECT_TRUE(all(0, N, 0));
	EXPECT_EQ(-EFAULT, fault(p, 1, READ));
	EXPECT_EQ(-EFAULT, fault(p + page, 1, RW));
	ASSERT_EQ(0, snapshot(p, N));
	EXPECT_TRUE(all(0, 2, ERROR));
	EXPECT_TRUE(all(2, N - 2, 0));
	EXPECT_TRUE(present(p));
	EXPECT_EQ(2, counts().faults);

	/* Nor is there a next time. */
	EXPECT_EQ(-EFAULT, fault(p, 1, READ));
	EXPECT_EQ(-EFAULT, fault(p, 1, RW));
	EXPECT_EQ(2, counts().faults);
	EXPECT_TRUE(holds_file_pages(p, N));
}

TEST_F(hmm_vma, special_pte_without_struct_page_is_error)
{
	char *p = vma_map(HMM_VMA_MIXED_PFN, N, MAP_SHARED);

	ASSERT_NE(p, NULL);
	EXPECT_EQ(-EFAULT, fault(p, 1, READ));
	EXPECT_EQ(-EFAULT, fault(p + page, 1, RW));
	ASSERT_EQ(0, snapshot(p, N));
	EXPECT_TRUE(all(0, 2, ERROR));
	EXPECT_TRUE(all(2, N - 2, 0));
}

/* Writing to a private mapping replaces special entries, reading does not. */
TEST_F(hmm_vma, private_special_pte_is_copied_for_writing)
{
	char *p = vma_map(HMM_VMA_MIXED_SPECIAL, N, MAP_PRIVATE);

	ASSERT_NE(p, NULL);
	touch(p, N / 2);
	ASSERT_EQ(0, snapshot(p, N));
	EXPECT_TRUE(all(0, N / 2, ERROR));
	EXPECT_TRUE(all(N / 2, N / 2, 0));
	EXPECT_EQ(-EFAULT, fault(p, N, READ));
	EXPECT_EQ(-EFAULT, fault(p + (N - 1) * page, 1, READ));

	ASSERT_EQ(0, fault(p, N, RW));
	EXPECT_TRUE(mapped(p, 0, N, RW, 0));
	EXPECT_TRUE(holds_file_pages(p, N));
	memset(p, 0x55, N * page);
	ASSERT_EQ(0, fault(p, N, READ));
	EXPECT_TRUE(mapped(p, 0, N, RW, 0));
}

/* What a fault installed for the rest of the leaf is no better. */
static void check_special_leaf(struct __test_metadata *_metadata,
			       enum hmm_vma_kind kind, size_t n)
{
	char *p = vma_map(kind, n, MAP_SHARED);
	size_t at = n / 2 + 5;

	ASSERT_NE(p, NULL);
	/* Mixed maps get large leaves by the policy for huge pages. */
	ASSERT_EQ(0, madvise(p, n * page, MADV_HUGEPAGE));
	ASSERT_EQ(0, snapshot(p, n));
	EXPECT_TRUE(all(0, n, 0));
	EXPECT_EQ(-EFAULT, fault(p + at * page, 3, READ));
	EXPECT_EQ(1, counts().huge_faults);
	EXPECT_EQ(0, counts().faults);
	EXPECT_EQ(-EFAULT, fault(p, n, READ));
	EXPECT_EQ(-EFAULT, fault(p, 1, RW));
	EXPECT_EQ(1, counts().huge_faults);
	ASSERT_EQ(0, snapshot(p, n));
	EXPECT_TRUE(all(0, n, ERROR));
	ASSERT_EQ(0, snapshot(p + at * page, 3));
	EXPECT_TRUE(all(0, 3, ERROR));
}

TEST_F(hmm_vma_weak, special_pmd_is_error)
{
	check_special_leaf(_metadata, HMM_VMA_MIXED_PMD, nr_pmd);
}

TEST_F(hmm_vma_weak, special_pud_is_error)
{
	check_special_leaf(_metadata, HMM_VMA_MIXED_PUD, GB / page);
}

/* ---- what fault handlers do ---- */

TEST_F(hmm_vma, failing_handlers_give_their_errno)
{
	static const struct {
		enum hmm_vma_failure failure;
		int ret;
	} fails[] = {
		{ HMM_VMA_SIGBUS, -EFAULT },
		{ HMM_VMA_SIGSEGV, -EFAULT },
		{ HMM_VMA_OOM, -ENOMEM },
		{ HMM_VMA_HWPOISON, -EFAULT },
	};
	char *p = vma_map(HMM_VMA_FAIL, N, MAP_SHARED);
	size_t i;

	ASSERT_NE(p, NULL);
	for (i = 0; i < ARRAY_SIZE(fails); i++) {
		ASSERT_EQ(0, vma_set(3, fails[i].failure, 0, 0));
		EXPECT_EQ(fails[i].ret, fault(p, N, READ));
		EXPECT_EQ(fails[i].ret, fault(p, N, RW));
		EXPECT_EQ(0, fault(p, 3, RW));
		EXPECT_EQ(3, populated(p, N));
	}

	/* It is not the mapping that is broken. */
	ASSERT_EQ(0, vma_set(N, 0, 0, 0));
	EXPECT_EQ(0, fault(p, N, RW));
	EXPECT_TRUE(mapped(p, 0, N, RW, 0));
}

TEST_F(hmm_vma, handlers_that_retry_are_called_again)
{
	const unsigned int retries = 3;
	char *p = vma_map(HMM_VMA_RETRY, N, MAP_SHARED);
	struct hmm_vma_counts c;

	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, vma_set(2, 0, retries, 0));
	ASSERT_EQ(0, fault(p, N, RW));
	EXPECT_TRUE(mapped(p, 0, N, RW, 0));
	c = counts();
	if (fault_mode == HMM_RANGE_TEST_FAULT_LOCKED) {
		EXPECT_EQ(0, c.retries);
		EXPECT_EQ(N, c.faults);
	} else {
		EXPECT_EQ((N - 2) * retries, c.retries);
		EXPECT_EQ(N + (N - 2) * retries, c.faults);
	}
}

/* Inside one VMA, its lock is enough for handlers that do with it. */
TEST_F(hmm_vma_lock_weak, handlers_are_called_under_the_vma_lock)
{
	char *p = vma_map(HMM_VMA_PAGE, N, MAP_SHARED);
	struct hmm_vma_counts c;

	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, fault(p, N, RW));
	EXPECT_TRUE(mapped(p, 0, N, RW, 0));
	c = counts();
	EXPECT_EQ(N, c.vma_lock);
	EXPECT_EQ(0, c.mmap_lock);
}

/* A page that has to be tried again is tried under the mmap lock. */
TEST_F(hmm_vma_lock_weak, retries_are_called_under_the_mmap_lock)
{
	char *p = vma_map(HMM_VMA_RETRY, N, MAP_SHARED);
	struct hmm_vma_counts c;

	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, vma_set(0, 0, 1, 0));
	ASSERT_EQ(0, fault(p, 1, RW));
	c = counts();
	EXPECT_EQ(1, c.vma_lock);
	EXPECT_EQ(1, c.mmap_lock);
}

/* The time limit is on waiting, and this is not. */
TEST_F(hmm_vma, slow_handlers_may_exceed_the_timeout)
{
	char *p = vma_map(HMM_VMA_SLOW, N, MAP_SHARED);
	struct hmm_range_test r;

	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, vma_set(0, 0, 0, 50));
	EXPECT_EQ(0, fault_once(&r, p, N, 100));
	EXPECT_GE(r.elapsed_ns, N * 50 * 1000000ULL);
	EXPECT_TRUE(mapped(p, 0, N, RW, 0));
}

/* Nor do pages that were there already count as progress. */
TEST_F(hmm_vma_weak, stuck_handlers_end_with_the_timeout)
{
	bool locked = fault_mode == HMM_RANGE_TEST_FAULT_LOCKED;
	char *p = vma_map(HMM_VMA_STUCK, N, MAP_SHARED);
	unsigned int timeout = locked ? 1000 : 300;
	struct hmm_range_test r;

	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, vma_set(3, 0, 0, STUCK_MS));
	EXPECT_EQ(-EBUSY, fault_once(&r, p, N, timeout));
	/* The timeout is counted in ticks. */
	EXPECT_GE(r.elapsed_ns, (timeout - TICK_MS) * 1000000ULL);
	EXPECT_LT(r.elapsed_ns, (timeout + GRACE_MS) * 1000000ULL);
	EXPECT_EQ(3, populated(p, N));
}

/* Each retry is waiting. Without the mmap lock there is none, so no limit. */
TEST_F(hmm_vma_weak, retrying_handlers_end_with_the_timeout)
{
	char *p = vma_map(HMM_VMA_RETRY, N, MAP_SHARED);
	struct hmm_range_test r;

	fault_mode = HMM_RANGE_TEST_FAULT_UNLOCKED;
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, vma_set(N - 1, 0, STUCK_MS / 20, 20));
	EXPECT_EQ(-EBUSY, fault_once(&r, p, N, 300));
	EXPECT_GE(r.elapsed_ns, (300 - TICK_MS) * 1000000ULL);
	EXPECT_LT(r.elapsed_ns, (300 + GRACE_MS) * 1000000ULL);
	EXPECT_EQ(N - 1, populated(p, N));
}

/*
 * A call without time limit in a child, which is killed once a handler was
 * called: 0 or an errno. It took @ended_ms to come to its end then.
 */
static int killed_call(struct hmm_range_test *r, const char *p, __u64 *ended_ms)
{
	__u64 begin = now_ms();
	pid_t pid = fork();
	int status;

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fault_once(r, p, N, 0);
		_exit(0);
	}
	if (pid < 0)
		return -errno;
	while (!counts().faults && now_ms() - begin < 10000)
		usleep(1000);
	if (!counts().faults)
		ksft_print_msg("the handler was not called\n");
	begin = now_ms();
	kill(pid, SIGKILL);
	if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status))
		return -ECHILD;
	*ended_ms = now_ms() - begin;
	return 0;
}

static void check_killed(struct __test_metadata *_metadata,
			 enum hmm_vma_kind kind, __u32 retries, __u32 delay_ms,
			 int want)
{
	char *p = vma_map(kind, N, MAP_SHARED);
	struct hmm_range_test *r;
	__u64 ended_ms = 0;

	/* Shared, so that the child's result outlives it. */
	r = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		 -1, 0);
	ASSERT_NE(p, NULL);
	ASSERT_NE(r, MAP_FAILED);
	r->result = NOT_CALLED;
	ASSERT_EQ(0, vma_set(0, 0, retries, delay_ms));
	ASSERT_EQ(0, killed_call(r, p, &ended_ms));
	EXPECT_LT(ended_ms, GRACE_MS);
	EXPECT_EQ(want, r->result);
}

TEST_F(hmm_vma_weak, fatal_signal_ends_stuck_handlers)
{
	check_killed(_metadata, HMM_VMA_STUCK, 0, STUCK_MS, -EINTR);
}

TEST_F(hmm_vma, fatal_signal_ends_slow_handlers)
{
	bool locked = fault_mode == HMM_RANGE_TEST_FAULT_LOCKED;

	/* Under the mmap lock, a handler can only fail. */
	check_killed(_metadata, HMM_VMA_SLOW, 0, 20000,
		     locked ? -EFAULT : -EINTR);
}

TEST_F(hmm_vma, fatal_signal_ends_retrying_handlers)
{
	fault_mode = HMM_RANGE_TEST_FAULT_UNLOCKED;
	check_killed(_metadata, HMM_VMA_RETRY, 200, 20, -EINTR);
}

/* ---- DAX files ---- */

/* A file that nobody else sees, @len bytes of it with contents. */
static int dax_file(const char *dir, size_t len, size_t hole)
{
	char *buf = malloc(pmd), name[256];
	size_t at;
	int fd;

	snprintf(name, sizeof(name), "%s/hmm-vma.%d", dir, getpid());
	fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || !buf || ftruncate(fd, len + hole) ||
	    (len && fallocate(fd, 0, 0, len)))
		ksft_exit_fail_msg("%s: %s\n", name, strerror(errno));
	unlink(name);
	for (at = 0; at < len; at += pmd) {
		memset(buf, 1 + at / pmd, pmd);
		if (pwrite(fd, buf, pmd, at) != (ssize_t)pmd)
			ksft_exit_fail_msg("write: %s\n", strerror(errno));
	}
	free(buf);
	return fd;
}

static char file_byte(int fd, off_t at)
{
	char c;

	if (pread(fd, &c, 1, at) != 1)
		ksft_exit_fail_msg("read: %s\n", strerror(errno));
	return c;
}

static char *dax_map(int fd, size_t len, int flags, off_t off)
{
	return map_at(place(len, pmd), len, PROT_READ | PROT_WRITE, flags, fd,
		      off);
}

TEST_F(hmm_dax_file, pmd_leaves_are_reported)
{
	int fd = dax_file(self->dir, 4 * MB, 0);
	char *p = dax_map(fd, 4 * MB, MAP_SHARED, 0);
	size_t n = 4 * MB / page;
	__u64 pfn;

	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, snapshot(p, n));
	EXPECT_TRUE(all(0, n, 0));
	ASSERT_EQ(0, fault(p, n, READ));
	EXPECT_TRUE(mapped(p, 0, n, VALID | ORDER(9), WRITE));
	pfn = pfns[0] & HMM_RANGE_PFN_MASK;
	ASSERT_EQ(0, fault(p, n, RW));
	EXPECT_TRUE(mapped(p, 0, n, RW | ORDER(9), 0));
	EXPECT_EQ(pfn, pfns[0] & HMM_RANGE_PFN_MASK);
	ASSERT_EQ(0, snapshot(p + 100 * page, 600));
	EXPECT_TRUE(mapped(p + 100 * page, 0, 600, RW | ORDER(9), 0));

	EXPECT_EQ(1, p[0]);
	EXPECT_EQ(2, p[2 * MB]);
	p[3 * MB] = 77;
	EXPECT_EQ(77, file_byte(fd, 3 * MB));
}

/* Address and file offset that are not congruent leave only PTEs. */
TEST_F(hmm_dax_file, ptes_are_reported)
{
	int fd = dax_file(self->dir, 4 * MB, 0);
	char *p = dax_map(fd, 2 * MB, MAP_SHARED, page);
	size_t n = 2 * MB / page;

	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, fault(p, 20, READ));
	EXPECT_TRUE(mapped(p, 0, 20, VALID, WRITE));
	ASSERT_EQ(0, fault(p, n, RW));
	EXPECT_TRUE(mapped(p, 0, n, RW, 0));
	p[0] = 77;
	EXPECT_EQ(77, file_byte(fd, page));
}

TEST_F(hmm_dax_file, private_pages_are_copied)
{
	int fd = dax_file(self->dir, 2 * MB, 0);
	char *p = dax_map(fd, 2 * MB, MAP_PRIVATE, 0);
	size_t n = 2 * MB / page;
	__u64 pfn;

	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, fault(p, n, READ));
	EXPECT_TRUE(mapped(p, 0, n, VALID | ORDER(9), 0));
	pfn = pfns[7] & HMM_RANGE_PFN_MASK;

	ASSERT_EQ(0, fault(p + 7 * page, 1, RW));
	EXPECT_TRUE(mapped(p + 7 * page, 0, 1, RW, 0));
	EXPECT_NE(pfn, pfns[0] & HMM_RANGE_PFN_MASK);
	EXPECT_EQ(1, p[7 * page]);
	p[7 * page] = 77;
	EXPECT_EQ(1, file_byte(fd, 7 * page));

	/* All others are still the file's, which has a large folio there. */
	ASSERT_EQ(0, fault(p, n, READ));
	EXPECT_TRUE(mapped(p, 0, 7, VALID, ANY_ORDER));
	EXPECT_TRUE(mapped(p, 7, 1, RW, 0));
	EXPECT_TRUE(mapped(p, 8, n - 8, VALID, ANY_ORDER));
	EXPECT_EQ(pfn + 1, pfns[8] & HMM_RANGE_PFN_MASK);
}

/* Holes read as zeroes, by a large leaf if possible, and writing fills them. */
TEST_F(hmm_dax_file, holes_are_read_as_zeroes)
{
	int fd = dax_file(self->dir, 0, 4 * MB);
	char *p = dax_map(fd, 4 * MB, MAP_SHARED, 0);
	size_t n = 4 * MB / page;
	__u64 pfn;

	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, fault(p, n, READ));
	EXPECT_TRUE(mapped(p, 0, n, VALID, ANY_ORDER));
	EXPECT_EQ(0, p[0] | p[3 * page] | p[3 * MB]);
	pfn = pfns[3] & HMM_RANGE_PFN_MASK;

	ASSERT_EQ(0, fault(p + 3 * page, 1, RW));
	EXPECT_TRUE(mapped(p + 3 * page, 0, 1, RW, ANY_ORDER));
	EXPECT_NE(pfn, pfns[0] & HMM_RANGE_PFN_MASK);
	p[3 * page] = 77;
	EXPECT_EQ(77, file_byte(fd, 3 * page));
	ASSERT_EQ(0, fault(p, n, READ));
	EXPECT_TRUE(mapped(p, 0, n, VALID, WRITE | ANY_ORDER));
	EXPECT_EQ(0, file_byte(fd, 2 * page) | file_byte(fd, 3 * MB));
}

TEST_F(hmm_dax_file, truncated_pages_are_gone)
{
	int fd = dax_file(self->dir, 4 * MB, 0);
	char *p = dax_map(fd, 4 * MB, MAP_SHARED, 0);
	size_t n = 4 * MB / page;

	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, fault(p, n, RW));
	ASSERT_EQ(0, ftruncate(fd, 2 * MB));
	ASSERT_EQ(0, snapshot(p, n));
	EXPECT_TRUE(all(n / 2, n / 2, 0));
	EXPECT_EQ(-EFAULT, fault(p, n, READ));
	EXPECT_EQ(-EFAULT, fault(p + 2 * MB, 1, RW));
	EXPECT_EQ(0, fault(p, n / 2, RW));
	EXPECT_TRUE(mapped(p, 0, n / 2, RW | ORDER(9), 0));
}

struct truncator {
	struct side side;	/* first: what act_truncate() gets */
	int fd;
	size_t from, to;
	int error;		/* to be looked at when stopped */
};

static void act_truncate(struct side *s)
{
	struct truncator *t = (struct truncator *)s;

	if (ftruncate(t->fd, t->from) || ftruncate(t->fd, t->to))
		t->error = errno;
}

/* The end of the file comes and goes: what is reported was valid then. */
TEST_F(hmm_dax_file, truncation_meanwhile_is_noticed)
{
	struct truncator t = {
		.side.act = act_truncate,
		.from = 2 * MB,
		.to = 4 * MB,
	};
	__u64 begin = now_ms(), invalidations = 0;
	size_t n = 4 * MB / page, served = 0;
	char *p;

	t.fd = dax_file(self->dir, 4 * MB, 0);
	p = dax_map(t.fd, 4 * MB, MAP_SHARED, 0);
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, side_start(&t.side));
	while ((!invalidations || !served) && now_ms() - begin < 10000) {
		struct hmm_range_test r = range_of(p, n);
		int ret;

		r.default_flags = RW;
		ret = submit(&r);
		invalidations += r.invalidations;
		EXPECT_TRUE(!ret || ret == -EFAULT || ret == -EBUSY);
		served += !ret;
		if (!ret)
			EXPECT_EQ(RW, pfns[n - 1] & RW);
	}
	side_stop(&t.side);
	EXPECT_EQ(0, t.error);
	EXPECT_NE(0, invalidations);
	EXPECT_NE(0, served);
}

/* ---- device DAX ---- */

/*
 * Whether the last result is @n pages of the device from page @first on, with
 * these flags. The device says where its memory is; pagemap would split a PUD.
 */
static bool is_device(const char *path, size_t first, size_t n, __u64 flags)
{
	char name[128];
	__u64 pfn;
	size_t i;

	snprintf(name, sizeof(name), "/sys/bus/dax/devices/%s/resource",
		 basename(path));
	pfn = setting_number(name) / page;
	for (i = 0; i < n; i++)
		if (pfns[i] != (flags | (pfn + first + i)))
			return all(i, 1, flags | (pfn + first + i));
	return pfn;
}

/* Each leaf takes one fault, and every entry has the leaf's order. */
TEST_F_TIMEOUT(hmm_devdax_weak, leaf_takes_one_fault, 120)
{
	int fd = open(self->path, O_RDWR | O_CLOEXEC);
	size_t n = variant->size / page;
	__u64 order = ORDER(variant->order);
	char *p;

	ASSERT_GE(fd, 0);
	p = map_at(place(variant->size, variant->size), variant->size,
		   PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, snapshot(p, n));
	EXPECT_TRUE(all(0, n, 0));
	ASSERT_EQ(0, fault(p, n, RW));
	EXPECT_EQ(1, faults);
	EXPECT_TRUE(is_device(self->path, 0, n, RW | order));

	/* Also as seen from inside. */
	ASSERT_EQ(0, fault(p + 99 * page, n - 200, READ));
	EXPECT_EQ(0, faults);
	EXPECT_TRUE(is_device(self->path, 99, n - 200, RW | order));
	p[variant->size - 1] = 77;
	EXPECT_EQ(77, p[variant->size - 1]);
}

int main(int argc, char **argv)
{
	machine_save();
	return test_harness_run(argc, argv);
}
