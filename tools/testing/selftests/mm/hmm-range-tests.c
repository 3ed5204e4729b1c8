// SPDX-License-Identifier: GPL-2.0
/*
 * Tests of the HMM range API through the raw device of lib/test_hmm_range.c:
 * what hmm_range_snapshot(), hmm_range_fault() and
 * hmm_range_fault_unlocked_timeout() report, and what they do to the mapping.
 *
 * What the device says is never taken on trust: entries are compared with
 * /proc/self/pagemap, contents with what was written, and the number of faults
 * with a kprobe on handle_mm_fault() that counts for the calling thread only.
 *
 * Fixtures whose name ends in _weak hold what the range layer of 7.3 gets
 * wrong: their tests fail there. All others hold on both. Needs root. Settings
 * that are changed (huge pages, swap) are put back at the end.
 */
#include "kselftest_harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <linux/mman.h>
#include <linux/perf_event.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <lib/test_hmm_range_uapi.h>
#include <mm/vm_util.h>

#define VALID		HMM_RANGE_PFN_VALID
#define ERROR		HMM_RANGE_PFN_ERROR
#define READ		HMM_RANGE_REQ_FAULT
#define WRITE		HMM_RANGE_REQ_WRITE
#define RW		(HMM_RANGE_REQ_FAULT | HMM_RANGE_REQ_WRITE)
#define ORDER(o)	((__u64)(o) << HMM_RANGE_PFN_ORDER_SHIFT)

#define KB		1024UL
#define MB		(1024 * KB)
#define GB		(1024 * MB)
#define MTHP_SIZE	(64 * KB)
#define SWAP_SIZE	(64 * MB)

#define THP_DIR		"/sys/kernel/mm/transparent_hugepage"
#define HUGETLB_DIR	"/sys/kernel/mm/hugepages"
#define KPROBE_PMU	"/sys/bus/event_source/devices/kprobe/type"

/* State of the running test; each one is a process of its own. */
static int dev = -1, pagemap = -1, perf = -1;
static enum hmm_range_test_mode fault_mode;
static __u64 *pfns;		/* requests in, entries out */
static __u64 faults;		/* handle_mm_fault() calls of the last call */
static size_t page, pmd, nr_pmd;	/* bytes, bytes, pages */

/* ---- settings of the machine ---- */

struct setting {
	char path[128];
	char value[32];
};

static struct setting settings[64];
static unsigned int nr_settings;
static char swap_dev[32];
static int swap_fd = -1;

static int setting_write(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY);
	int ret = -1;

	if (fd < 0)
		return -1;
	if (write(fd, value, strlen(value)) == (ssize_t)strlen(value))
		ret = 0;
	close(fd);
	return ret;
}

/* The value of a sysfs file; of "a [b] c" the chosen one. Empty if absent. */
static void setting_read(const char *path, char *value, size_t size)
{
	char buf[256] = "", *begin = buf, *end;
	FILE *f = fopen(path, "r");

	value[0] = 0;
	if (!f)
		return;
	if (fgets(buf, sizeof(buf), f)) {
		begin = strchr(buf, '[');
		begin = begin ? begin + 1 : buf;
		end = begin + strcspn(begin, "]\n");
		*end = 0;
		snprintf(value, size, "%s", begin);
	}
	fclose(f);
}

static unsigned long setting_number(const char *path)
{
	char value[32];

	setting_read(path, value, sizeof(value));
	return strtoul(value, NULL, 0);
}

static void setting_save(const char *dir, const char *sub, const char *name)
{
	struct setting *s = &settings[nr_settings];

	if (nr_settings == ARRAY_SIZE(settings))
		return;
	snprintf(s->path, sizeof(s->path), "%s%s%s/%s", dir, *sub ? "/" : "",
		 sub, name);
	setting_read(s->path, s->value, sizeof(s->value));
	if (s->value[0])
		nr_settings++;
}

static void settings_save_all(const char *dir, const char *name)
{
	struct dirent *e;
	DIR *d = opendir(dir);

	if (!d)
		return;
	while ((e = readdir(d)))
		if (!strncmp(e->d_name, "hugepages-", 10))
			setting_save(dir, e->d_name, name);
	closedir(d);
}

/*
 * Swap on a loop device over a memfd: there wherever the test runs, and gone
 * with it. A machine that swaps already is left as it is.
 */
static void swap_start(void)
{
	struct loop_config config = { .info.lo_flags = LO_FLAGS_AUTOCLEAR };
	__u32 header[3] = { 1, SWAP_SIZE / page - 1, 0 };
	int ctl, nr, mem;

	mem = memfd_create("hmm-range-swap", MFD_CLOEXEC);
	if (mem < 0 || ftruncate(mem, SWAP_SIZE) ||
	    pwrite(mem, header, sizeof(header), 1024) != sizeof(header) ||
	    pwrite(mem, "SWAPSPACE2", 10, page - 10) != 10)
		return;
	ctl = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	nr = ctl < 0 ? -1 : ioctl(ctl, LOOP_CTL_GET_FREE);
	if (nr < 0)
		return;
	snprintf(swap_dev, sizeof(swap_dev), "/dev/loop%d", nr);
	swap_fd = open(swap_dev, O_RDWR | O_CLOEXEC);
	config.fd = mem;
	if (swap_fd < 0 || ioctl(swap_fd, LOOP_CONFIGURE, &config) ||
	    swapon(swap_dev, 0))
		swap_dev[0] = 0;
	close(ctl);
	close(mem);
}

static void machine_restore(void)
{
	if (swap_dev[0])
		swapoff(swap_dev);
	while (nr_settings--)
		setting_write(settings[nr_settings].path,
			      settings[nr_settings].value);
}

static void machine_save(void)
{
	page = getpagesize();
	setting_save(THP_DIR, "", "use_zero_page");
	settings_save_all(THP_DIR, "enabled");
	settings_save_all(HUGETLB_DIR, "nr_hugepages");
	swap_start();
	atexit(machine_restore);
}

/* Anonymous THP: nothing but these two sizes, each for advised regions or off. */
static void thp_policy(bool use_pmd, bool use_mthp)
{
	char name[32], path[192];
	unsigned long size;

	for (size = page; size <= pmd; size *= 2) {
		bool on = (size == pmd && use_pmd) ||
			  (size == MTHP_SIZE && use_mthp);

		snprintf(name, sizeof(name), "hugepages-%lukB", size / KB);
		snprintf(path, sizeof(path), THP_DIR "/%s/enabled", name);
		setting_write(path, on ? "madvise" : "never");
	}
	setting_write(THP_DIR "/use_zero_page", "1");
}

/* Makes @nr huge pages of @size free to take, false if that cannot be had. */
static bool hugetlb_reserve(unsigned long size, unsigned long nr)
{
	char dir[96], path[128], value[32];
	unsigned long have;

	snprintf(dir, sizeof(dir), HUGETLB_DIR "/hugepages-%lukB", size / KB);
	snprintf(path, sizeof(path), "%s/free_hugepages", dir);
	have = setting_number(path);
	if (have >= nr)
		return true;
	snprintf(path, sizeof(path), "%s/nr_hugepages", dir);
	snprintf(value, sizeof(value), "%lu",
		 setting_number(path) + nr - have);
	setting_write(path, value);
	snprintf(path, sizeof(path), "%s/free_hugepages", dir);
	return setting_number(path) >= nr;
}

/* ---- memory and what the kernel says of it ---- */

/* A mapping aligned to a PMD range, with nothing accessible around it. */
static char *area(size_t len, int prot, int flags, int fd)
{
	size_t room = (len + pmd - 1) / pmd * pmd + 2 * pmd;
	char *p = mmap(NULL, room, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	p = (char *)(((uintptr_t)p + pmd) / pmd * pmd);
	p = mmap(p, len, prot, flags | MAP_FIXED, fd, 0);
	return p == MAP_FAILED ? NULL : p;
}

static char *anon_area(size_t pages, bool huge)
{
	char *p = area(pages * page, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1);

	if (p)
		madvise(p, pages * page,
			huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	return p;
}

static char *hugetlb_area(size_t len, unsigned int shift, int share)
{
	int flags = share | MAP_ANONYMOUS | MAP_HUGETLB |
		    (shift << MAP_HUGE_SHIFT);
	char *p;

	/* Huge pages beyond a PMD need more alignment than area() gives. */
	if (1UL << shift == pmd)
		return area(len, PROT_READ | PROT_WRITE, flags, -1);
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, flags, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

static __u64 *pm_read(const char *p, size_t n)
{
	static __u64 *buf;

	buf = realloc(buf, n * sizeof(*buf));
	if (!buf || pread(pagemap, buf, n * sizeof(*buf),
			  (uintptr_t)p / page * sizeof(*buf)) !=
	    (ssize_t)(n * sizeof(*buf)))
		ksft_exit_fail_msg("cannot read pagemap\n");
	return buf;
}

static __u64 pm(const char *p)
{
	return *pm_read(p, 1);
}

static bool present(const char *p)
{
	return pm(p) & PM_PRESENT;
}

static size_t populated(const char *p, size_t n)
{
	__u64 *entry = pm_read(p, n);
	size_t i, sum = 0;

	for (i = 0; i < n; i++)
		sum += !!(entry[i] & PM_PRESENT);
	return sum;
}

/*
 * Whether entries @first .. @first + @n - 1 of the last call, which began at
 * @p, are mapped as pagemap says, with flags and order @must and nothing else
 * but what is in @may.
 */
static bool mapped(const char *p, size_t first, size_t n, __u64 must,
		   __u64 may)
{
	__u64 *entry = pm_read(p + first * page, n);
	size_t i;

	for (i = 0; i < n; i++) {
		__u64 got = pfns[first + i];
		__u64 want = must | PAGEMAP_PFN(entry[i]);

		if (entry[i] & PM_PRESENT && (got & ~may) == want)
			continue;
		ksft_print_msg("page %zu: entry %llx, pagemap %llx, wanted flags %llx\n",
			       first + i, (unsigned long long)got,
			       (unsigned long long)entry[i],
			       (unsigned long long)must);
		return false;
	}
	return true;
}

/* Whether the same entries are all @value. */
static bool all(size_t first, size_t n, __u64 value)
{
	size_t i;

	for (i = first; i < first + n; i++) {
		if (pfns[i] == value)
			continue;
		ksft_print_msg("page %zu: entry %llx instead of %llx\n", i,
			       (unsigned long long)pfns[i],
			       (unsigned long long)value);
		return false;
	}
	return true;
}

static __u64 zero_pfn(void)
{
	char *p = anon_area(1, false);

	FORCE_READ(*p);
	return PAGEMAP_PFN(pm(p));
}

/* A child that keeps its copy of the mapping until it is killed. */
static pid_t peer_start(void)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		pause();
}

static void peer_stop(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* ---- calling the device ---- */

static struct hmm_range_test range_of(const char *p, size_t pages)
{
	return (struct hmm_range_test) {
		.start = (uintptr_t)p,
		.end = (uintptr_t)p + pages * page,
		.pfns = (uintptr_t)pfns,
		.npfns = pages,
		.mode = fault_mode,
		.timeout_ms = 10000,
	};
}

/* Counts the faults of this thread inside the ioctl; -1 if not to be had. */
static int count_start(void)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr),
		.type = setting_number(KPROBE_PMU),
		.kprobe_func = (uintptr_t)"handle_mm_fault",
		.disabled = 1,
	};

	if (attr.type && perf < 0)
		perf = syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
	return perf;
}

/* Each says whether something is missing, and skips the test with the reason. */
static bool no_fault_count(struct __test_metadata *_metadata)
{
	if (count_start() >= 0)
		return false;
	SKIP(return true, "no kprobe PMU (CONFIG_KPROBE_EVENTS)");
}

static bool no_hugetlb(struct __test_metadata *_metadata, unsigned long size,
		       unsigned long nr)
{
	if (hugetlb_reserve(size, nr))
		return false;
	SKIP(return true, "cannot reserve %lu huge pages of %lu MB", nr,
	     size / MB);
}

static bool no_thp(struct __test_metadata *_metadata)
{
	if (!access(THP_DIR "/hpage_pmd_size", R_OK))
		return false;
	SKIP(return true, "no THP (CONFIG_TRANSPARENT_HUGEPAGE)");
}

static bool no_mthp(struct __test_metadata *_metadata)
{
	if (!access(THP_DIR "/hugepages-64kB/enabled", W_OK))
		return false;
	SKIP(return true, "no 64K folios for anonymous memory");
}

/* One ioctl: the errno of the call, or 1 if the device refused to make it. */
static int submit(struct hmm_range_test *r)
{
	int ret;

	/* The kernel's own accesses to the array must not add faults. */
	madvise(pfns, r->npfns * sizeof(*pfns), MADV_POPULATE_WRITE);
	if (perf >= 0) {
		ioctl(perf, PERF_EVENT_IOC_RESET, 0);
		ioctl(perf, PERF_EVENT_IOC_ENABLE, 0);
	}
	ret = ioctl(dev, HMM_RANGE_TEST_CALL, r);
	if (perf >= 0) {
		ioctl(perf, PERF_EVENT_IOC_DISABLE, 0);
		if (read(perf, &faults, sizeof(faults)) != sizeof(faults))
			ksft_exit_fail_msg("cannot read the fault counter\n");
	}
	if (ret)
		ksft_print_msg("ioctl: %s\n", strerror(errno));
	return ret ? 1 : r->result;
}

/* As a driver does: once more if the result was stale when it was looked at. */
static int submit_valid(struct hmm_range_test *r)
{
	__u64 sum = 0;
	int tries, ret;

	for (tries = 0; tries < 100; tries++) {
		ret = submit(r);
		sum += faults;
		if (ret != -EBUSY)
			break;
	}
	faults = sum;
	return ret;
}

static int snapshot(const char *p, size_t pages)
{
	struct hmm_range_test r = range_of(p, pages);

	r.mode = HMM_RANGE_TEST_SNAPSHOT;
	return submit_valid(&r);
}

/* The same request for the whole range. */
static int fault(const char *p, size_t pages, __u64 request)
{
	struct hmm_range_test r = range_of(p, pages);

	r.default_flags = request;
	return submit_valid(&r);
}

/* Each page by its entry in pfns[]. */
static int fault_each(const char *p, size_t pages)
{
	struct hmm_range_test r = range_of(p, pages);

	r.pfn_flags_mask = RW;
	return submit_valid(&r);
}

static void request_none(size_t pages)
{
	memset(pfns, 0, pages * sizeof(*pfns));
}

/* Poison and guard markers fail with one or the other, by what they stand for. */
static bool is_poison_errno(int ret)
{
	return ret == -EFAULT || ret == -EHWPOISON;
}

/* ---- fixtures ---- */

static void range_setup(struct __test_metadata *_metadata)
{
	pmd = read_pmd_pagesize();
	if (!pmd)
		pmd = 2 * MB;	/* no THP */
	nr_pmd = pmd / page;
	thp_policy(true, false);

	dev = open("/dev/hmm_range", O_RDWR | O_CLOEXEC);
	if (dev < 0)
		SKIP(return, "no /dev/hmm_range: load test_hmm_range, as root");
	pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	ASSERT_GE(pagemap, 0);
	pfns = mmap(NULL, HMM_RANGE_TEST_MAX_PFNS * sizeof(*pfns),
		    PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASSERT_NE(pfns, MAP_FAILED);
	madvise(pfns, HMM_RANGE_TEST_MAX_PFNS * sizeof(*pfns),
		MADV_NOHUGEPAGE);
}

/* hmm_range*: tests that call a fault function, once with each of the two. */
FIXTURE(hmm_range) { };
FIXTURE_VARIANT(hmm_range) { enum hmm_range_test_mode mode; };
FIXTURE_VARIANT_ADD(hmm_range, locked) {
	.mode = HMM_RANGE_TEST_FAULT_LOCKED,
};

FIXTURE_VARIANT_ADD(hmm_range, unlocked) {
	.mode = HMM_RANGE_TEST_FAULT_UNLOCKED,
};

FIXTURE_SETUP(hmm_range)
{
	range_setup(_metadata);
	fault_mode = variant->mode;
}

FIXTURE_TEARDOWN(hmm_range) { }

FIXTURE(hmm_range_weak) { };
FIXTURE_VARIANT(hmm_range_weak) { enum hmm_range_test_mode mode; };
FIXTURE_VARIANT_ADD(hmm_range_weak, locked) {
	.mode = HMM_RANGE_TEST_FAULT_LOCKED,
};

FIXTURE_VARIANT_ADD(hmm_range_weak, unlocked) {
	.mode = HMM_RANGE_TEST_FAULT_UNLOCKED,
};

FIXTURE_SETUP(hmm_range_weak)
{
	range_setup(_metadata);
	fault_mode = variant->mode;
}

FIXTURE_TEARDOWN(hmm_range_weak) { }

/* hmm_snapshot*: what is reported. Faults there only set the scene. */
FIXTURE(hmm_snapshot) { };
FIXTURE_SETUP(hmm_snapshot)
{
	range_setup(_metadata);
	fault_mode = HMM_RANGE_TEST_FAULT_UNLOCKED;
}

FIXTURE_TEARDOWN(hmm_snapshot) { }

FIXTURE(hmm_snapshot_weak) { };
FIXTURE_SETUP(hmm_snapshot_weak)
{
	range_setup(_metadata);
	fault_mode = HMM_RANGE_TEST_FAULT_UNLOCKED;
}

FIXTURE_TEARDOWN(hmm_snapshot_weak) { }

/* hmm_retry*: only hmm_range_fault_unlocked_timeout() retries by itself. */
FIXTURE(hmm_retry) { };
FIXTURE_SETUP(hmm_retry)
{
	range_setup(_metadata);
	fault_mode = HMM_RANGE_TEST_FAULT_UNLOCKED;
}

FIXTURE_TEARDOWN(hmm_retry) { }

FIXTURE(hmm_retry_weak) { };
FIXTURE_SETUP(hmm_retry_weak)
{
	range_setup(_metadata);
	fault_mode = HMM_RANGE_TEST_FAULT_UNLOCKED;
}

FIXTURE_TEARDOWN(hmm_retry_weak) { }

/* ---- one fault per leaf ---- */

/* A hole that a THP fills is filled by a single fault. */
TEST_F(hmm_range_weak, thp_hole_takes_one_fault)
{
	char *p;

	if (no_thp(_metadata) || no_fault_count(_metadata))
		return;
	p = anon_area(nr_pmd, true);
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, fault(p, nr_pmd, RW));
	EXPECT_EQ(1, faults);
	EXPECT_TRUE(mapped(p, 0, nr_pmd, RW | ORDER(9), 0));

	/* Reading takes one as well, and gets the huge zero page. */
	p = anon_area(nr_pmd, true);
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, fault(p, nr_pmd, READ));
	EXPECT_EQ(1, faults);
	EXPECT_TRUE(mapped(p, 0, nr_pmd, VALID | ORDER(9), 0));
}

/* N of them take N, also when the range begins and ends inside one. */
TEST_F(hmm_range_weak, thp_holes_take_one_fault_each)
{
	size_t skip = 100;
	char *p;

	if (no_thp(_metadata) || no_fault_count(_metadata))
		return;
	p = anon_area(4 * nr_pmd, true);
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, fault(p + skip * page, 4 * nr_pmd - 2 * skip, RW));
	EXPECT_EQ(4, faults);
	EXPECT_TRUE(mapped(p + skip * page, 0, 4 * nr_pmd - 2 * skip,
			   RW | ORDER(9), 0));
	EXPECT_EQ(4 * nr_pmd, populated(p, 4 * nr_pmd));
}

/* The same for hugetlb. */
TEST_F(hmm_range_weak, hugetlb_holes_take_one_fault_each)
{
	char *p;

	if (no_hugetlb(_metadata, 2 * MB, 3) || no_fault_count(_metadata))
		return;
	p = hugetlb_area(6 * MB, 21, MAP_PRIVATE);
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, fault(p, 6 * MB / page, RW));
	EXPECT_EQ(3, faults);
	EXPECT_TRUE(mapped(p, 0, 6 * MB / page, RW | ORDER(9), 0));
}

TEST_F_TIMEOUT(hmm_range_weak, hugetlb_1g_hole_takes_one_fault, 120)
{
	char *p;

	if (no_hugetlb(_metadata, GB, 1) || no_fault_count(_metadata))
		return;
	p = hugetlb_area(GB, 30, MAP_PRIVATE);
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, fault(p, GB / page, RW));
	EXPECT_EQ(1, faults);
	EXPECT_TRUE(mapped(p, 0, GB / page, RW | ORDER(18), 0));
}

/* One fault for each 64K folio that it installs. */
TEST_F(hmm_range_weak, mthp_holes_take_one_fault_each)
{
	char *p;

	if (no_mthp(_metadata) || no_fault_count(_metadata))
		return;
	thp_policy(false, true);
	p = anon_area(nr_pmd, true);
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, fault(p, nr_pmd, RW));
	EXPECT_EQ(pmd / MTHP_SIZE, faults);
	EXPECT_TRUE(mapped(p, 0, nr_pmd, RW, ORDER(31)));
}

/*
 * A folio that is naturally aligned and wholly mapped by PTEs is reported with
 * its order in each of its entries, also in a range that begins or ends in it.
 */
TEST_F(hmm_snapshot_weak, mthp_is_reported_with_its_order)
{
	size_t i, in_folio = MTHP_SIZE / page;
	char *p;

	if (no_mthp(_metadata))
		return;
	thp_policy(false, true);
	p = anon_area(nr_pmd, true);
	ASSERT_NE(p, NULL);
	for (i = 0; i < 4; i++)
		p[i * MTHP_SIZE] = 1;
	ASSERT_EQ(4 * in_folio, populated(p, nr_pmd));

	ASSERT_EQ(0, snapshot(p, nr_pmd));
	EXPECT_TRUE(mapped(p, 0, 4 * in_folio, RW | ORDER(4), 0));
	EXPECT_TRUE(all(4 * in_folio, nr_pmd - 4 * in_folio, 0));

	ASSERT_EQ(0, snapshot(p + 3 * page, 35));
	EXPECT_TRUE(mapped(p + 3 * page, 0, 35, RW | ORDER(4), 0));
}

/* ---- exactly what was asked for ---- */

/* Three pages of an empty PMD range: three are populated, the rest stays. */
TEST_F(hmm_range_weak, three_scattered_pages_populate_exactly_three)
{
	static const size_t at[] = { 5, 200, 511 };
	char *p = anon_area(nr_pmd, false);
	size_t i;

	if (no_fault_count(_metadata))
		return;
	ASSERT_NE(p, NULL);
	request_none(nr_pmd);
	for (i = 0; i < ARRAY_SIZE(at); i++)
		pfns[at[i]] = RW;
	ASSERT_EQ(0, fault_each(p, nr_pmd));
	EXPECT_EQ(3, faults);
	EXPECT_EQ(3, populated(p, nr_pmd));
	EXPECT_TRUE(all(0, 5, 0));
	EXPECT_TRUE(all(6, 194, 0));
	EXPECT_TRUE(all(201, 310, 0));
	for (i = 0; i < ARRAY_SIZE(at); i++)
		EXPECT_TRUE(mapped(p, at[i], 1, RW, 0));
}

/* Requests before, between and behind present pages fault nothing else. */
TEST_F(hmm_range_weak, requests_among_present_pages_are_exact)
{
	static const size_t there[] = { 10, 20, 30 }, ask[] = { 9, 15, 31, 400 };
	char *p = anon_area(nr_pmd, false);
	size_t i;

	if (no_fault_count(_metadata))
		return;
	ASSERT_NE(p, NULL);
	for (i = 0; i < ARRAY_SIZE(there); i++)
		p[there[i] * page] = 1;
	request_none(nr_pmd);
	pfns[20] = READ;	/* satisfied already */
	for (i = 0; i < ARRAY_SIZE(ask); i++)
		pfns[ask[i]] = i % 2 ? RW : READ;
	ASSERT_EQ(0, fault_each(p, nr_pmd));
	EXPECT_EQ(ARRAY_SIZE(ask), faults);
	EXPECT_EQ(ARRAY_SIZE(there) + ARRAY_SIZE(ask), populated(p, nr_pmd));
	for (i = 0; i < ARRAY_SIZE(there); i++)
		EXPECT_TRUE(mapped(p, there[i], 1, RW, 0));
	for (i = 0; i < ARRAY_SIZE(ask); i++)
		EXPECT_TRUE(mapped(p, ask[i], 1, i % 2 ? RW : VALID, 0));
	EXPECT_TRUE(all(0, 9, 0));
	EXPECT_TRUE(all(21, 9, 0));
	EXPECT_TRUE(all(401, 111, 0));
}

/* Write-requests page @at of a range shared with a child: only it is copied. */
static void check_cow(struct __test_metadata *_metadata, char *p, size_t n,
		      size_t at)
{
	__u64 *before = malloc(n * sizeof(*before)), *after;
	__u64 got;
	size_t i;

	memcpy(before, pm_read(p, n), n * sizeof(*before));
	ASSERT_EQ(0, fault_each(p, n));
	after = pm_read(p, n);
	for (i = 0; i < n; i++) {
		if (!(before[i] & PM_PRESENT))
			continue;
		got = PAGEMAP_PFN(after[i]);
		ASSERT_EQ(i != at, PAGEMAP_PFN(before[i]) == got);
	}
	EXPECT_TRUE(mapped(p, at, 1, RW, 0));
	free(before);
}

/* A write request on one page of a copy-on-write range copies that page. */
TEST_F(hmm_range_weak, write_request_copies_one_cow_page)
{
	char *p = anon_area(64, false);
	pid_t peer;

	ASSERT_NE(p, NULL);
	memset(p, 0x5a, 64 * page);
	peer = peer_start();
	request_none(64);
	pfns[17] = RW;
	check_cow(_metadata, p, 64, 17);
	EXPECT_TRUE(mapped(p, 0, 17, VALID, ORDER(31)));
	EXPECT_TRUE(mapped(p, 18, 46, VALID, ORDER(31)));
	EXPECT_EQ(0x5a, p[17 * page]);
	peer_stop(peer);
}

/* Also when the walk has met an absent page with another request before. */
TEST_F(hmm_range_weak, write_request_behind_absent_page_copies_one)
{
	char *p = anon_area(64, false);
	pid_t peer;

	ASSERT_NE(p, NULL);
	memset(p + 8 * page, 0x5a, 56 * page);
	peer = peer_start();
	request_none(64);
	pfns[3] = READ;
	pfns[40] = RW;
	check_cow(_metadata, p, 64, 40);
	EXPECT_EQ(57, populated(p, 64));
	EXPECT_TRUE(mapped(p, 3, 1, VALID, 0));
	peer_stop(peer);
}

/* A shared THP is split for the one page that is to be written. */
TEST_F(hmm_range_weak, write_request_copies_one_page_of_cow_thp)
{
	char *p;
	pid_t peer;

	if (no_thp(_metadata))
		return;
	p = anon_area(nr_pmd, true);
	ASSERT_NE(p, NULL);
	memset(p, 0x5a, pmd);
	ASSERT_EQ(0, snapshot(p, nr_pmd));
	ASSERT_TRUE(mapped(p, 0, nr_pmd, RW | ORDER(9), 0));
	peer = peer_start();
	request_none(nr_pmd);
	pfns[77] = RW;
	check_cow(_metadata, p, nr_pmd, 77);
	EXPECT_EQ(0x5a, p[77 * page]);
	peer_stop(peer);
}

/* A page that is only to be read is not write-faulted for its neighbour's sake. */
TEST_F(hmm_range_weak, read_request_beside_write_gets_zero_page)
{
	__u64 zero = zero_pfn();
	char *p = anon_area(16, false);
	struct hmm_range_test r;

	/* First in an empty page table, then with one that has entries. */
	ASSERT_NE(p, NULL);
	request_none(16);
	pfns[4] = RW;
	pfns[5] = READ;
	ASSERT_EQ(0, fault_each(p, 16));
	EXPECT_TRUE(mapped(p, 4, 1, RW, 0));
	EXPECT_TRUE(mapped(p, 5, 1, VALID, 0));
	EXPECT_EQ(zero, PAGEMAP_PFN(pm(p + 5 * page)));

	/* Read by default, one page written: the example of hmm.rst. */
	r = range_of(p + 8 * page, 8);
	r.default_flags = READ;
	r.pfn_flags_mask = WRITE;
	request_none(8);
	pfns[2] = WRITE;
	ASSERT_EQ(0, submit_valid(&r));
	EXPECT_TRUE(mapped(p + 8 * page, 2, 1, RW, 0));
	EXPECT_EQ(zero, PAGEMAP_PFN(pm(p + 9 * page)));
	EXPECT_EQ(zero, PAGEMAP_PFN(pm(p + 11 * page)));
}

/* Swapped pages stay out unless they were asked for. */
TEST_F(hmm_range_weak, read_request_brings_in_one_swapped_page)
{
	char *p = anon_area(16, false);
	int tries, left;
	size_t i;

	ASSERT_NE(p, NULL);
	for (i = 0; i < 16; i++)
		p[i * page] = i + 1;
	for (tries = 0; tries < 50 && populated(p, 16); tries++) {
		madvise(p, 16 * page, MADV_PAGEOUT);
		usleep(10000);
	}
	if (populated(p, 16))
		SKIP(return, "pages do not go out: no swap");
	ASSERT_EQ(0, snapshot(p, 16));
	EXPECT_TRUE(all(0, 16, 0));

	request_none(16);
	pfns[6] = READ;
	ASSERT_EQ(0, fault_each(p, 16));
	EXPECT_TRUE(mapped(p, 6, 1, VALID, WRITE));
	for (i = 0, left = 0; i < 16; i++)
		left += !!(pm(p + i * page) & PM_SWAP);
	EXPECT_EQ(15, left);
	EXPECT_EQ(7, p[6 * page]);
}

/* A guard page that nobody asked for does not fail a fault on its neighbours. */
TEST_F(hmm_range_weak, guard_page_beside_requests_is_left_alone)
{
	char *p = anon_area(8, false);

	ASSERT_NE(p, NULL);
	if (madvise(p + 3 * page, page, MADV_GUARD_INSTALL))
		SKIP(return, "no MADV_GUARD_INSTALL");
	request_none(8);
	pfns[2] = RW;
	pfns[4] = RW;
	ASSERT_EQ(0, fault_each(p, 8));
	EXPECT_EQ(2, populated(p, 8));
	EXPECT_TRUE(mapped(p, 2, 1, RW, 0));
	EXPECT_TRUE(mapped(p, 4, 1, RW, 0));
	EXPECT_EQ(ERROR, pfns[3]);
}

/* Each entry of a huge page counts as a request, not just the first. */
TEST_F(hmm_range_weak, hugetlb_later_entry_is_faulted)
{
	char *p;

	if (no_hugetlb(_metadata, 2 * MB, 3) || no_fault_count(_metadata))
		return;
	p = hugetlb_area(6 * MB, 21, MAP_PRIVATE);
	ASSERT_NE(p, NULL);
	request_none(3 * nr_pmd);
	pfns[100] = RW;
	pfns[3 * nr_pmd - 1] = RW;
	ASSERT_EQ(0, fault_each(p, 3 * nr_pmd));
	EXPECT_EQ(2, faults);
	EXPECT_TRUE(mapped(p, 0, nr_pmd, RW | ORDER(9), 0));
	EXPECT_TRUE(all(nr_pmd, nr_pmd, 0));
	EXPECT_FALSE(present(p + pmd));
	EXPECT_TRUE(mapped(p, 2 * nr_pmd, nr_pmd, RW | ORDER(9), 0));
}

/* So does a write request, on a huge page that fork made read-only. */
TEST_F(hmm_range_weak, hugetlb_later_entry_is_copied_for_writing)
{
	__u64 before;
	pid_t peer;
	char *p;

	if (no_hugetlb(_metadata, 2 * MB, 2))
		return;
	p = hugetlb_area(2 * MB, 21, MAP_PRIVATE);
	ASSERT_NE(p, NULL);
	memset(p, 0x5a, 2 * MB);
	peer = peer_start();
	before = PAGEMAP_PFN(pm(p));
	ASSERT_EQ(0, snapshot(p, nr_pmd));
	EXPECT_TRUE(mapped(p, 0, nr_pmd, VALID | ORDER(9), 0));

	request_none(nr_pmd);
	pfns[300] = RW;
	ASSERT_EQ(0, fault_each(p, nr_pmd));
	EXPECT_TRUE(mapped(p, 0, nr_pmd, RW | ORDER(9), 0));
	EXPECT_NE(before, PAGEMAP_PFN(pm(p)));
	EXPECT_EQ(0x5a, p[300 * page]);
	peer_stop(peer);
}

/* ---- arguments ---- */

static int raw_call(const char *start, const char *end, const char *watch,
		    size_t watch_len, enum hmm_range_test_mode mode)
{
	struct hmm_range_test r = range_of(start, 0);

	r.end = (uintptr_t)end;
	r.npfns = 16;
	r.notifier_start = (uintptr_t)watch;
	r.notifier_length = watch_len;
	r.mode = mode;
	return submit_valid(&r);
}

/* The device itself refuses what it cannot hand on. */
TEST_F(hmm_range, device_refuses_bad_arguments)
{
	char *p = anon_area(8, false);
	struct hmm_range_test good = range_of(p, 8), r;

#define EXPECT_REFUSED(error, field, value) do {			\
	r = good;							\
	r.field = value;						\
	EXPECT_EQ(-1, ioctl(dev, HMM_RANGE_TEST_CALL, &r));		\
	EXPECT_EQ(error, errno);					\
} while (0)
	EXPECT_REFUSED(EINVAL, npfns, 0);
	EXPECT_REFUSED(EINVAL, npfns, 7);
	EXPECT_REFUSED(EINVAL, npfns, HMM_RANGE_TEST_MAX_PFNS + 1);
	EXPECT_REFUSED(EINVAL, end, ~0ULL);
	EXPECT_REFUSED(EINVAL, end, good.start);	/* and no notifier */
	EXPECT_REFUSED(EINVAL, mode, 3);
	EXPECT_REFUSED(EINVAL, flags, 2);
	EXPECT_REFUSED(EINVAL, reserved, 1);
	EXPECT_REFUSED(EINVAL, timeout_ms, HMM_RANGE_TEST_MAX_TIMEOUT_MS + 1);
	EXPECT_REFUSED(EFAULT, pfns, 0);
	good.notifier_start = good.start;
	EXPECT_REFUSED(EOVERFLOW, notifier_length, ~0ULL);
	good.flags = HMM_RANGE_TEST_POISON;
	EXPECT_REFUSED(EINVAL, pfn_flags_mask, READ);
#undef EXPECT_REFUSED
	EXPECT_EQ(-1, ioctl(dev, _IO('H', 0x21), &good));
	EXPECT_EQ(ENOTTY, errno);
}

/* start and end have to be page aligned. */
TEST_F(hmm_range_weak, unaligned_range_is_refused)
{
	enum hmm_range_test_mode modes[] = { HMM_RANGE_TEST_SNAPSHOT, fault_mode };
	char *p = anon_area(8, false);
	size_t i, len = 8 * page;

	ASSERT_NE(p, NULL);
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(-EINVAL, raw_call(p + 1, p + page, p, len, modes[i]));
		EXPECT_EQ(-EINVAL, raw_call(p, p + page + 8, p, len, modes[i]));
		EXPECT_EQ(-EINVAL, raw_call(p + 16, p + page + 16, p, len,
					    modes[i]));
	}
}

/* The notifier has to cover the range, or invalidations would be missed. */
TEST_F(hmm_range_weak, range_outside_notifier_is_refused)
{
	enum hmm_range_test_mode modes[] = { HMM_RANGE_TEST_SNAPSHOT, fault_mode };
	char *p = anon_area(16, false), *watch = p + 4 * page;
	size_t i, len = 4 * page;

	ASSERT_NE(p, NULL);
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(0, raw_call(watch, watch + len, watch, len, modes[i]));
		EXPECT_EQ(-EINVAL, raw_call(watch - page, watch + len, watch,
					    len, modes[i]));
		EXPECT_EQ(-EINVAL, raw_call(watch, watch + len + page, watch,
					    len, modes[i]));
		EXPECT_EQ(-EINVAL, raw_call(p + 10 * page, p + 11 * page, watch,
					    len, modes[i]));
	}
}

TEST_F(hmm_range, empty_or_reversed_range_is_refused)
{
	enum hmm_range_test_mode modes[] = { HMM_RANGE_TEST_SNAPSHOT, fault_mode };
	char *p = anon_area(8, false);
	size_t i, len = 8 * page;

	ASSERT_NE(p, NULL);
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(-EINVAL, raw_call(p, p, p, len, modes[i]));
		EXPECT_EQ(-EINVAL, raw_call(p + 2 * page, p + page, p, len,
					    modes[i]));
	}
}

/* With a mask of 0 whatever is in the array has no effect. */
TEST_F(hmm_range, garbage_in_array_has_no_effect)
{
	struct hmm_range_test r;
	char *p = anon_area(16, false);

	ASSERT_NE(p, NULL);
	p[0] = 1;
	r = range_of(p, 16);
	r.flags = HMM_RANGE_TEST_POISON;
	ASSERT_EQ(0, submit_valid(&r));
	EXPECT_EQ(1, populated(p, 16));
	EXPECT_TRUE(mapped(p, 0, 1, RW, 0));
	EXPECT_TRUE(all(1, 15, 0));

	r = range_of(p, 16);
	r.flags = HMM_RANGE_TEST_POISON;
	r.default_flags = READ;
	ASSERT_EQ(0, submit_valid(&r));
	EXPECT_TRUE(mapped(p, 0, 1, RW, 0));
	EXPECT_TRUE(mapped(p, 1, 15, VALID, 0));
	EXPECT_EQ(zero_pfn(), PAGEMAP_PFN(pm(p + 8 * page)));
}

/* ---- faults of each kind of memory ---- */

TEST_F(hmm_range, anonymous_memory_is_faulted)
{
	char *p = anon_area(600, false);
	__u64 pfn;

	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, fault(p, 300, READ));
	EXPECT_TRUE(mapped(p, 0, 300, VALID, 0));
	pfn = PAGEMAP_PFN(pm(p));

	/* Writing replaces the zero page, and goes on where nothing was. */
	ASSERT_EQ(0, fault(p, 600, RW));
	EXPECT_TRUE(mapped(p, 0, 600, RW, 0));
	EXPECT_NE(pfn, PAGEMAP_PFN(pm(p)));
	EXPECT_EQ(0, p[0]);
}

TEST_F(hmm_range, address_without_mapping_fails_with_efault)
{
	char *p = anon_area(8, false);

	ASSERT_NE(p, NULL);
	munmap(p + 4 * page, page);
	EXPECT_EQ(-EFAULT, fault(p, 8, READ));
	EXPECT_EQ(-EFAULT, fault(p + 4 * page, 1, RW));
}

TEST_F(hmm_range, write_to_read_only_mapping_fails_with_eperm)
{
	char *p = anon_area(8, false);

	ASSERT_NE(p, NULL);
	p[0] = 1;
	mprotect(p, 8 * page, PROT_READ);
	EXPECT_EQ(-EPERM, fault(p, 1, RW));
	EXPECT_EQ(-EPERM, fault(p + 4 * page, 1, RW));
	EXPECT_EQ(1, populated(p, 8));
	EXPECT_EQ(0, fault(p, 8, READ));
	EXPECT_TRUE(mapped(p, 0, 8, VALID, 0));
}

TEST_F(hmm_range, inaccessible_mapping_fails_with_efault)
{
	char *p = anon_area(8, false);

	ASSERT_NE(p, NULL);
	p[0] = 1;
	mprotect(p, 8 * page, PROT_NONE);
	EXPECT_EQ(-EFAULT, fault(p, 8, READ));
	EXPECT_EQ(-EFAULT, fault(p + 4 * page, 1, RW));
}

/* Requests on the mapped parts of a range are served, holes left out. */
TEST_F(hmm_range, requests_around_a_hole_are_served)
{
	char *p = anon_area(16, false);

	ASSERT_NE(p, NULL);
	munmap(p + 4 * page, 2 * page);
	mprotect(p + 8 * page, 2 * page, PROT_READ);
	mprotect(p + 12 * page, 2 * page, PROT_NONE);
	request_none(16);
	pfns[0] = RW;
	pfns[1] = RW;
	pfns[8] = READ;
	pfns[9] = READ;
	pfns[14] = READ;
	pfns[15] = READ;
	ASSERT_EQ(0, fault_each(p, 16));
	EXPECT_TRUE(mapped(p, 0, 2, RW, 0));
	EXPECT_TRUE(all(4, 2, ERROR));
	EXPECT_TRUE(mapped(p, 8, 2, VALID, 0));
	EXPECT_TRUE(all(12, 2, ERROR));
	EXPECT_TRUE(mapped(p, 14, 2, VALID, 0));
}

/* A requested guard page fails the call, and nothing else is touched by it. */
TEST_F(hmm_range, guard_page_fails_with_efault)
{
	char *p = anon_area(8, false);

	ASSERT_NE(p, NULL);
	p[0] = 1;
	if (madvise(p + 3 * page, page, MADV_GUARD_INSTALL))
		SKIP(return, "no MADV_GUARD_INSTALL");
	request_none(8);
	pfns[3] = READ;
	EXPECT_EQ(-EFAULT, fault_each(p, 8));
	EXPECT_EQ(1, populated(p, 8));
	EXPECT_EQ(1, p[0]);
	EXPECT_EQ(-EFAULT, fault(p, 8, RW));
	EXPECT_TRUE(pm(p + 3 * page) & PM_GUARD_REGION);
}

TEST_F(hmm_range, swapped_memory_is_brought_back)
{
	char *p = anon_area(16, false);
	int tries;
	size_t i;

	ASSERT_NE(p, NULL);
	for (i = 0; i < 16; i++)
		memset(p + i * page, i + 1, page);
	for (tries = 0; tries < 50 && populated(p, 16); tries++) {
		madvise(p, 16 * page, MADV_PAGEOUT);
		usleep(10000);
	}
	if (populated(p, 16))
		SKIP(return, "pages do not go out: no swap");
	ASSERT_EQ(0, fault(p, 16, READ));
	EXPECT_TRUE(mapped(p, 0, 16, VALID, WRITE));
	for (i = 0; i < 16; i++)
		EXPECT_EQ((char)(i + 1), p[i * page + page - 1]);
}

/* Page cache: the program's own file, whatever file system it is on. */
TEST_F(hmm_range, file_pages_are_mapped)
{
	size_t n = 16;
	char *p, *buf = malloc(n * page);
	int fd = open("/proc/self/exe", O_RDONLY);

	ASSERT_GE(fd, 0);
	ASSERT_EQ(n * page, pread(fd, buf, n * page, 0));
	p = area(n * page, PROT_READ, MAP_SHARED, fd);
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, fault(p, n, READ));
	EXPECT_TRUE(mapped(p, 0, n, VALID, ORDER(31)));
	EXPECT_EQ(0, memcmp(p, buf, n * page));
	EXPECT_EQ(-EPERM, fault(p, n, RW));
}

/* Writing to a private file mapping copies and leaves the file alone. */
TEST_F(hmm_range, private_file_pages_are_copied)
{
	char *p, *shared, now, old;
	int fd = open("/proc/self/exe", O_RDONLY);
	size_t i;

	ASSERT_GE(fd, 0);
	p = area(4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
	shared = area(4 * page, PROT_READ, MAP_SHARED, fd);
	ASSERT_TRUE(p && shared);
	ASSERT_EQ(0, fault(shared, 4, READ));
	ASSERT_EQ(0, fault(p, 4, READ));
	EXPECT_TRUE(mapped(p, 0, 4, VALID, ORDER(31)));
	EXPECT_EQ(PAGEMAP_PFN(pm(shared)), PAGEMAP_PFN(pm(p)));

	ASSERT_EQ(0, fault(p, 4, RW));
	EXPECT_TRUE(mapped(p, 0, 4, RW, 0));
	for (i = 0; i < 4; i++)
		EXPECT_NE(PAGEMAP_PFN(pm(shared + i * page)),
			  PAGEMAP_PFN(pm(p + i * page)));
	EXPECT_EQ(0, memcmp(p, shared, 4 * page));
	old = shared[0];
	p[0] = old + 1;
	ASSERT_EQ(1, pread(fd, &now, 1, 0));
	EXPECT_EQ(old, now);
}

/* Both mappings of a memfd see the pages that a fault through one put there. */
TEST_F(hmm_range, shared_memory_is_the_same_in_each_mapping)
{
	int fd = memfd_create("hmm-range", MFD_CLOEXEC);
	char *p, *q;

	ASSERT_EQ(0, ftruncate(fd, 8 * page));
	p = area(8 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	q = area(8 * page, PROT_READ, MAP_SHARED, fd);
	ASSERT_TRUE(p && q);
	ASSERT_EQ(0, fault(p, 8, RW));
	EXPECT_TRUE(mapped(p, 0, 8, RW, ORDER(31)));
	p[5 * page] = 42;
	EXPECT_EQ(42, FORCE_READ(q[5 * page]));
	EXPECT_EQ(PAGEMAP_PFN(pm(p + 5 * page)), PAGEMAP_PFN(pm(q + 5 * page)));

	/* Beyond the end of the file there is nothing to fault. */
	ASSERT_EQ(0, ftruncate(fd, 4 * page));
	EXPECT_EQ(-EFAULT, fault(p, 8, READ));
	EXPECT_EQ(0, fault(p, 4, READ));
}

/* ---- snapshots ---- */

/* A snapshot reports and never faults, whatever the request flags say. */
TEST_F(hmm_snapshot, never_faults)
{
	char *p = anon_area(nr_pmd, false);
	struct hmm_range_test r;

	if (no_fault_count(_metadata))
		return;
	ASSERT_NE(p, NULL);
	p[7 * page] = 1;
	r = range_of(p, nr_pmd);
	r.mode = HMM_RANGE_TEST_SNAPSHOT;
	r.default_flags = RW;
	r.pfn_flags_mask = RW;
	request_none(nr_pmd);
	pfns[9] = RW;
	ASSERT_EQ(0, submit_valid(&r));
	EXPECT_EQ(0, faults);
	EXPECT_EQ(1, populated(p, nr_pmd));
	EXPECT_TRUE(all(0, 7, 0));
	EXPECT_TRUE(mapped(p, 7, 1, RW, 0));
	EXPECT_TRUE(all(8, nr_pmd - 8, 0));
}

TEST_F(hmm_snapshot, basic_states)
{
	struct hmm_range_test r;
	char *p = anon_area(12, false);
	int i;

	ASSERT_NE(p, NULL);
	for (i = 1; i < 12; i++)
		p[i * page] = 1;
	madvise(p + page, page, MADV_DONTNEED);
	FORCE_READ(p[page]);
	mprotect(p + 3 * page, page, PROT_READ);
	mprotect(p + 4 * page, page, PROT_NONE);
	munmap(p + 5 * page, page);
	for (i = 0; i < 2; i++) {
		r = range_of(p, 12);
		r.mode = HMM_RANGE_TEST_SNAPSHOT;
		r.flags = i ? HMM_RANGE_TEST_POISON : 0;
		ASSERT_EQ(0, submit_valid(&r));
		EXPECT_EQ(0, pfns[0]);			/* nothing yet */
		EXPECT_TRUE(mapped(p, 1, 1, VALID, 0));	/* zero page */
		EXPECT_EQ(zero_pfn(), pfns[1] & HMM_RANGE_PFN_MASK);
		EXPECT_TRUE(mapped(p, 2, 1, RW, 0));
		EXPECT_TRUE(mapped(p, 3, 1, VALID, 0));
		EXPECT_EQ(ERROR, pfns[4]);		/* no access */
		EXPECT_EQ(ERROR, pfns[5]);		/* no mapping */
		EXPECT_TRUE(mapped(p, 6, 6, RW, 0));
	}
}

TEST_F(hmm_snapshot, thp_is_reported_with_its_order)
{
	char *p;

	if (no_thp(_metadata))
		return;
	p = anon_area(3 * nr_pmd, true);
	ASSERT_NE(p, NULL);
	p[pmd] = 1;
	FORCE_READ(p[2 * pmd]);
	ASSERT_EQ(0, snapshot(p, 3 * nr_pmd));
	EXPECT_TRUE(all(0, nr_pmd, 0));
	EXPECT_TRUE(mapped(p, nr_pmd, nr_pmd, RW | ORDER(9), 0));
	EXPECT_TRUE(mapped(p, 2 * nr_pmd, nr_pmd, VALID | ORDER(9), 0));

	/* Also by a range inside of it. */
	ASSERT_EQ(0, snapshot(p + pmd + 50 * page, 10));
	EXPECT_TRUE(mapped(p + pmd + 50 * page, 0, 10, RW | ORDER(9), 0));
}

/*
 * An order means: the naturally aligned block of that many pages around the
 * entry is mapped, contiguously and with the same access.
 */
static bool orders_hold(const char *p, size_t n)
{
	__u64 *entry = pm_read(p, n);
	size_t i, k;

	for (i = 0; i < n; i++) {
		__u64 order = (pfns[i] & HMM_RANGE_PFN_ORDER_MASK) >>
				 HMM_RANGE_PFN_ORDER_SHIFT;
		size_t size = 1UL << order, first = i & ~(size - 1);

		for (k = first; k < first + size; k++)
			if (k >= n || !(entry[k] & PM_PRESENT) == !!pfns[i] ||
			    (order && pfns[k] - pfns[i] != k - i))
				return false;
	}
	return true;
}

/* No order claims more than is mapped, when a folio is only partly so. */
TEST_F(hmm_snapshot, partly_mapped_folio_has_true_orders)
{
	size_t in_folio = MTHP_SIZE / page;
	char *p;

	if (no_mthp(_metadata))
		return;
	thp_policy(false, true);
	p = anon_area(nr_pmd, true);
	ASSERT_NE(p, NULL);
	memset(p, 1, 3 * MTHP_SIZE);
	ASSERT_EQ(3 * in_folio, populated(p, nr_pmd));
	madvise(p + 5 * page, page, MADV_DONTNEED);
	mprotect(p + MTHP_SIZE + 8 * page, 4 * page, PROT_READ);
	ASSERT_EQ(0, snapshot(p, nr_pmd));
	EXPECT_TRUE(mapped(p, 0, 5, RW, ORDER(31)));
	EXPECT_EQ(0, pfns[5]);
	EXPECT_TRUE(mapped(p, 6, 18, RW, ORDER(31)));
	EXPECT_TRUE(mapped(p, 24, 4, VALID, ORDER(31)));
	EXPECT_TRUE(mapped(p, 28, 20, RW, ORDER(31)));
	EXPECT_TRUE(orders_hold(p, nr_pmd));
}

/* Kernel pages that have no place in a mirror: ERROR, and no fault helps. */
TEST_F(hmm_snapshot, special_mapping_is_error)
{
	unsigned long start = 0;
	char line[256];
	FILE *f = fopen("/proc/self/maps", "r");

	ASSERT_NE(f, NULL);
	while (!start && fgets(line, sizeof(line), f)) {
		if (!strstr(line, "[vvar"))
			continue;
		start = strtoul(line, NULL, 16);
		if (!check_vmflag_pfnmap((void *)start))
			start = 0;
	}
	fclose(f);
	if (!start)
		SKIP(return, "no VM_PFNMAP mapping (vvar) at hand");
	ASSERT_EQ(0, snapshot((char *)start, 1));
	EXPECT_EQ(ERROR, pfns[0]);
	EXPECT_EQ(-EFAULT, fault((char *)start, 1, READ));
}

/* A hole of an hugetlb mapping is 0: no stray pfn, no order. */
TEST_F(hmm_snapshot_weak, hugetlb_hole_is_zero)
{
	char *p;

	if (no_hugetlb(_metadata, 2 * MB, 2))
		return;
	p = hugetlb_area(4 * MB, 21, MAP_PRIVATE);
	ASSERT_NE(p, NULL);
	p[pmd] = 1;
	ASSERT_EQ(0, snapshot(p, 2 * nr_pmd));
	EXPECT_TRUE(all(0, nr_pmd, 0));
	EXPECT_TRUE(mapped(p, nr_pmd, nr_pmd, RW | ORDER(9), 0));
}

/* Guard pages can never be reached. */
TEST_F(hmm_snapshot_weak, guard_page_is_error)
{
	char *p = anon_area(8, false);

	ASSERT_NE(p, NULL);
	p[2 * page] = 1;
	if (madvise(p + 3 * page, 2 * page, MADV_GUARD_INSTALL))
		SKIP(return, "no MADV_GUARD_INSTALL");
	ASSERT_EQ(0, snapshot(p, 8));
	EXPECT_TRUE(all(0, 2, 0));
	EXPECT_TRUE(mapped(p, 2, 1, RW, 0));
	EXPECT_TRUE(all(3, 2, ERROR));
	EXPECT_TRUE(all(5, 3, 0));
}

/* ---- userfaultfd ---- */

static int uffd_open(__u64 features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api)) {
		close(fd);
		return -1;
	}
	return fd;
}

static bool no_uffd(struct __test_metadata *_metadata, int *fd, __u64 features)
{
	*fd = uffd_open(features);
	if (*fd >= 0)
		return false;
	SKIP(return true, "no userfaultfd with features %llx (PTE_MARKER_UFFD_WP?)",
	     features);
}

/* Poison that userfaultfd has put there: ERROR, and a fault fails. */
static void check_uffd_poison(struct __test_metadata *_metadata, char *p,
			      size_t leaf)
{
	struct uffdio_poison poison = {
		.range = { (uintptr_t)p + leaf, leaf },
	};
	size_t n = leaf / page;
	int uffd, ret;

	if (no_uffd(_metadata, &uffd, UFFD_FEATURE_POISON))
		return;
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, uffd_register(uffd, p, 3 * leaf, true, false, false));
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_POISON, &poison));
	ASSERT_EQ(0, snapshot(p, 3 * n));
	EXPECT_TRUE(all(0, n, 0));
	EXPECT_TRUE(all(n, n, ERROR));
	EXPECT_TRUE(all(2 * n, n, 0));
	ret = fault(p + leaf, n, READ);
	EXPECT_TRUE(is_poison_errno(ret));
	EXPECT_EQ(0, populated(p, 3 * n));
}

TEST_F(hmm_snapshot_weak, uffd_poison_is_error)
{
	check_uffd_poison(_metadata, anon_area(3, false), page);
}

TEST_F(hmm_snapshot_weak, hugetlb_uffd_poison_is_error)
{
	if (no_hugetlb(_metadata, 2 * MB, 3))
		return;
	check_uffd_poison(_metadata, hugetlb_area(6 * MB, 21, MAP_PRIVATE), pmd);
}

/*
 * A marker that only says that a later page is to be write-protected stands on
 * a hole: reported as 0, and a read fault fills it.
 */
static void check_uffd_wp_marker(struct __test_metadata *_metadata, char *p,
				 size_t leaf, unsigned int order)
{
	struct uffdio_writeprotect wp = {
		.range = { (uintptr_t)p, leaf },
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};
	size_t n = leaf / page;
	int uffd;

	if (no_uffd(_metadata, &uffd, UFFD_FEATURE_WP_HUGETLBFS_SHMEM))
		return;
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, uffd_register(uffd, p, leaf, false, true, false));
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_WRITEPROTECT, &wp));
	ASSERT_EQ(PM_UFFD_WP, pm(p) & (PM_UFFD_WP | PM_PRESENT));
	ASSERT_EQ(0, snapshot(p, n));
	EXPECT_TRUE(all(0, n, 0));
	ASSERT_EQ(0, fault(p, n, READ));
	EXPECT_TRUE(mapped(p, 0, n, VALID | ORDER(order), 0));
}

TEST_F(hmm_snapshot, uffd_wp_marker_is_a_hole)
{
	check_uffd_wp_marker(_metadata, area(page, PROT_READ | PROT_WRITE,
					     MAP_SHARED | MAP_ANONYMOUS, -1),
			     page, 0);
}

TEST_F(hmm_snapshot_weak, hugetlb_uffd_wp_marker_is_a_hole)
{
	if (no_hugetlb(_metadata, 2 * MB, 1))
		return;
	check_uffd_wp_marker(_metadata, hugetlb_area(2 * MB, 21, MAP_SHARED),
			     pmd, 9);
}

/* Answers missing-page events with pages of 7s until it is stopped. */
struct uffd_server {
	int		uffd;
	unsigned int	delay_us;	/* before each answer */
	char		*drop;		/* page to take away before answering */
	bool		unmap;		/* by munmap(), else MADV_DONTNEED */
	pthread_t	thread;
	atomic_int	stop;
	atomic_int	served;
};

static void *uffd_serve(void *arg)
{
	struct uffd_server *s = arg;
	char *src = malloc(page);
	struct uffd_msg msg;

	memset(src, 7, page);
	while (!s->stop) {
		struct pollfd pfd = { .fd = s->uffd, .events = POLLIN };
		struct uffdio_copy copy = { .src = (uintptr_t)src, .len = page };

		if (poll(&pfd, 1, 50) <= 0 ||
		    read(s->uffd, &msg, sizeof(msg)) != sizeof(msg))
			continue;
		if (s->drop && s->unmap)
			munmap(s->drop, page);
		else if (s->drop)
			madvise(s->drop, page, MADV_DONTNEED);
		s->drop = NULL;
		usleep(s->delay_us);
		copy.dst = msg.arg.pagefault.address & ~(page - 1);
		if (!ioctl(s->uffd, UFFDIO_COPY, &copy))
			s->served++;
	}
	free(src);
	return NULL;
}

/* What the thread counted can be looked at only when it is gone. */
static void uffd_server_stop(struct uffd_server *s)
{
	s->stop = 1;
	pthread_join(s->thread, NULL);
}

/* A fault handler that sleeps on user space is waited for, with its pages. */
TEST_F(hmm_retry, userfaultfd_pages_are_waited_for)
{
	struct uffd_server s = { .delay_us = 1000 };
	char *p = anon_area(16, false);

	ASSERT_NE(p, NULL);
	if (no_uffd(_metadata, &s.uffd, 0))
		return;
	ASSERT_EQ(0, uffd_register(s.uffd, p, 16 * page, true, false, false));
	ASSERT_EQ(0, pthread_create(&s.thread, NULL, uffd_serve, &s));
	EXPECT_EQ(0, fault(p, 16, RW));
	EXPECT_TRUE(mapped(p, 0, 16, RW, 0));
	EXPECT_EQ(7, p[15 * page]);
	uffd_server_stop(&s);
	EXPECT_EQ(16, s.served);
}

/* hmm_range_fault() has to keep the lock, so it cannot wait for user space. */
TEST_F(hmm_retry, userfaultfd_fails_under_the_mmap_lock)
{
	char *p = anon_area(4, false);
	int uffd;

	ASSERT_NE(p, NULL);
	if (no_uffd(_metadata, &uffd, 0))
		return;
	ASSERT_EQ(0, uffd_register(uffd, p, 4 * page, true, false, false));
	fault_mode = HMM_RANGE_TEST_FAULT_LOCKED;
	EXPECT_EQ(-EFAULT, fault(p, 4, READ));
	EXPECT_EQ(0, populated(p, 4));
}

/* Faults that drop the mmap lock use up the timeout like anything else. */
TEST_F(hmm_retry_weak, slow_faults_end_with_the_timeout)
{
	struct uffd_server s = { .delay_us = 100000 };
	char *p = anon_area(40, false);
	struct hmm_range_test r;

	ASSERT_NE(p, NULL);
	if (no_uffd(_metadata, &s.uffd, 0))
		return;
	ASSERT_EQ(0, uffd_register(s.uffd, p, 40 * page, true, false, false));
	ASSERT_EQ(0, pthread_create(&s.thread, NULL, uffd_serve, &s));
	r = range_of(p, 40);
	r.default_flags = READ;
	r.timeout_ms = 300;
	EXPECT_EQ(-EBUSY, submit(&r));
	EXPECT_LT(r.elapsed_ns, 2000000000ULL);
	EXPECT_GE(r.elapsed_ns, 250000000ULL);
	uffd_server_stop(&s);
	EXPECT_GE(s.served, 1);
}

/*
 * A restart goes by what was asked for, not by what an earlier pass has found:
 * a page without a request that goes away meanwhile is neither faulted in again
 * nor an error.
 */
static void check_restart(struct __test_metadata *_metadata, bool unmap)
{
	struct uffd_server s = { .unmap = unmap };
	char *p = anon_area(8, false);

	ASSERT_NE(p, NULL);
	p[0] = 1;
	s.drop = p;
	if (no_uffd(_metadata, &s.uffd, 0))
		return;
	ASSERT_EQ(0, uffd_register(s.uffd, p + 5 * page, page, true, false,
				   false));
	ASSERT_EQ(0, pthread_create(&s.thread, NULL, uffd_serve, &s));
	request_none(8);
	pfns[5] = READ;
	EXPECT_EQ(0, fault_each(p, 8));
	uffd_server_stop(&s);
	EXPECT_EQ(1, s.served);
	EXPECT_EQ(unmap ? ERROR : 0, pfns[0]);
	EXPECT_TRUE(mapped(p, 5, 1, VALID, WRITE));
	EXPECT_EQ(1, populated(p, 8));
}

TEST_F(hmm_retry_weak, restart_does_not_fault_in_a_dropped_page)
{
	check_restart(_metadata, false);
}

TEST_F(hmm_retry_weak, restart_does_not_fail_on_an_unmapped_page)
{
	check_restart(_metadata, true);
}

/* ---- invalidation storms and signals ---- */

struct storm {
	char		*p;
	size_t		len;
	unsigned int	limit_ms;
	atomic_int	stop;
	atomic_int	rounds;
};

static __u64 now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ULL + t.tv_nsec / 1000000;
}

static int storm_run(void *arg)
{
	struct storm *s = arg;
	__u64 end = now_ms() + s->limit_ms;

	while (!s->stop && now_ms() < end) {
		madvise(s->p, s->len, MADV_DONTNEED);
		s->rounds++;
	}
	return 0;
}

static void *storm_thread(void *arg)
{
	storm_run(arg);
	return NULL;
}

/*
 * Faults the first half of @p with a notifier over all of it, under a storm.
 * It ends in time, with a valid result or with -EBUSY. A call that the storm
 * missed, because its thread was not running, says nothing and is repeated.
 */
static void check_storm(struct __test_metadata *_metadata, char *p, size_t n,
			struct storm *s)
{
	struct hmm_range_test r = range_of(p, n / 2);
	pthread_t thread;
	int ret, tries;

	s->limit_ms = 20000;
	ASSERT_EQ(0, pthread_create(&thread, NULL, storm_thread, s));
	while (!s->rounds)
		usleep(1000);
	r.default_flags = RW;
	r.timeout_ms = 500;
	r.notifier_start = (uintptr_t)p;
	r.notifier_length = n * page;
	for (tries = 0; tries < 30 && !r.invalidations; tries++) {
		madvise(p, n / 2 * page, MADV_DONTNEED);
		ret = submit(&r);
		EXPECT_TRUE(ret == 0 || ret == -EBUSY);
		EXPECT_LT(r.elapsed_ns, 2000000000ULL);
	}
	s->stop = 1;
	pthread_join(thread, NULL);
	EXPECT_GE(r.invalidations, 1);
}

TEST_F(hmm_retry, storm_on_the_range_ends_in_time)
{
	size_t n = 2 * nr_pmd;
	char *p = anon_area(n, false);
	struct storm s = { .p = p, .len = n * page };

	ASSERT_NE(p, NULL);
	check_storm(_metadata, p, n, &s);
}

TEST_F(hmm_retry, storm_beside_the_range_ends_in_time_with_progress)
{
	size_t n = 2 * nr_pmd;
	char *p = anon_area(n, false);
	struct storm s = { .p = p + (n - 1) * page, .len = page };

	ASSERT_NE(p, NULL);
	p[(n - 1) * page] = 1;
	check_storm(_metadata, p, n, &s);
	EXPECT_GE(populated(p, n / 2), 1);
}

/* What a child shares with its test, and with a storm in another process. */
struct shared {
	struct storm	storm;
	atomic_int	victim_runs;
};

static struct shared *shared_alloc(void)
{
	return mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

/*
 * A killed process does not go on under a storm that never lets it finish, not
 * even without a timeout. The storm comes from a process that shares the
 * address space and outlives it.
 */
TEST_F(hmm_retry_weak, fatal_signal_ends_a_storm)
{
	size_t n = 8 * nr_pmd;
	struct shared *sh = shared_alloc();
	__u64 killed;
	pid_t victim;

	ASSERT_NE(sh, MAP_FAILED);
	sh->storm.p = anon_area(n, false);
	sh->storm.len = n * page;
	sh->storm.limit_ms = 6000;
	ASSERT_NE(sh->storm.p, NULL);
	victim = fork();
	if (!victim) {
		struct hmm_range_test r = range_of(sh->storm.p, n);
		char *stack = malloc(64 * KB);

		if (clone(storm_run, stack + 64 * KB, CLONE_VM | SIGCHLD,
			  &sh->storm) < 0)
			_exit(1);
		while (!sh->storm.rounds)
			usleep(1000);
		r.default_flags = RW;
		r.timeout_ms = 0;
		sh->victim_runs = 1;
		submit(&r);
		_exit(0);
	}
	while (!sh->victim_runs && !waitpid(victim, NULL, WNOHANG))
		usleep(1000);
	usleep(300000);
	ASSERT_EQ(0, waitpid(victim, NULL, WNOHANG));
	killed = now_ms();
	kill(victim, SIGKILL);
	ASSERT_EQ(victim, waitpid(victim, NULL, 0));
	EXPECT_LT(now_ms() - killed, 2000);
	sh->storm.stop = 1;
}

/*
 * A killed process stops in the middle of a long range instead of populating
 * the rest of it first. Shared memory keeps what it got to.
 */
TEST_F(hmm_retry_weak, fatal_signal_ends_a_long_fault)
{
	size_t n = 256 * MB / page;
	int fd = memfd_create("hmm-range", MFD_CLOEXEC);
	struct stat st = { };
	pid_t victim;
	char *p;

	ASSERT_EQ(0, ftruncate(fd, n * page));
	p = area(n * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	ASSERT_NE(p, NULL);
	victim = fork();
	if (!victim)
		_exit(fault(p, n, READ) ? 1 : 0);
	while (st.st_blocks < 8 && !waitpid(victim, NULL, WNOHANG)) {
		usleep(1000);
		fstat(fd, &st);
	}
	kill(victim, SIGKILL);
	waitpid(victim, NULL, 0);
	ASSERT_EQ(0, fstat(fd, &st));
	EXPECT_GE(st.st_blocks * 512UL, page);
	EXPECT_LT(st.st_blocks * 512UL, n * page);
}

/* ---- hardware poison ---- */

static void ignore_sigbus(int sig)
{
}

static void check_hwpoison(struct __test_metadata *_metadata, char *p,
			   size_t leaf)
{
	size_t n = leaf / page;
	unsigned long pfn;
	int ret;

	ASSERT_NE(p, NULL);
	signal(SIGBUS, ignore_sigbus);
	memset(p, 1, 2 * leaf);
	pfn = PAGEMAP_PFN(pm(p + leaf));
	if (madvise(p + leaf, page, MADV_HWPOISON))
		SKIP(return, "no MADV_HWPOISON (CONFIG_MEMORY_FAILURE)");
	ret = snapshot(p, 2 * n);
	EXPECT_EQ(0, ret);
	EXPECT_TRUE(mapped(p, 0, n, RW, ORDER(31)));
	EXPECT_TRUE(all(n, n, ERROR));
	ret = fault(p + leaf, n, READ);
	EXPECT_TRUE(is_poison_errno(ret));
	munmap(p, 2 * leaf);
	unpoison_memory(pfn);
}

TEST_F(hmm_snapshot_weak, poisoned_page_is_error)
{
	check_hwpoison(_metadata, anon_area(2, false), page);
}

TEST_F(hmm_snapshot_weak, poisoned_hugetlb_page_is_error)
{
	if (no_hugetlb(_metadata, 2 * MB, 2))
		return;
	check_hwpoison(_metadata, hugetlb_area(4 * MB, 21, MAP_PRIVATE), pmd);
}

int main(int argc, char **argv)
{
	machine_save();
	return test_harness_run(argc, argv);
}
