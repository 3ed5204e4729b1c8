// SPDX-License-Identifier: GPL-2.0
/*
 * Tests of on-demand paging with a soft-RoCE device that talks to itself.
 *
 * What can be believed is data: each piece of memory has a model, what the
 * device writes and reads goes through the model too, and at the end memory and
 * model are the same in each byte, those around a transfer included. What is to
 * be refused has to be refused by a completion that says so.
 *
 * Fixtures whose names end in _weak are about what Linux 7.3 did not do or did
 * wrong; what is in those that end in _oops_weak could end the kernel there.
 *
 * What a test needs comes from the environment, if it is there:
 *
 *	RDMA_DEVICE	the device, or else the first rxe
 *	HMM_DAX_EXT4	a directory on a file system mounted with -o dax, whose
 *			files begin at multiples of 2 MB
 *	HMM_DISK	a directory on an ordinary file system with a disk
 *
 * Needs root. Settings that are changed (huge pages, swap) are put back at the
 * end. No locks: each test is a process with one thread that uses the device.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/mempolicy.h>
#include <linux/mman.h>
#include <linux/perf_event.h>
#include <linux/userfaultfd.h>
#include <poll.h>
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
#include <unistd.h>

#include <mm/hmm_range_util.h>

#include "odp_util.h"

/* Seconds that a test may take on a slow machine. */
#define TIME	300

#define REFUSED	IBV_WC_REM_ACCESS_ERR

static struct odp_dev rdma;
static struct odp_link pair;

/* ---- fixtures ---- */

/* What the helpers for memory want to know, and all tests the same policies. */
static void machine_known(void)
{
	pmd = read_pmd_pagesize();
	if (!pmd)
		pmd = 2 * MB;	/* no THP */
	nr_pmd = pmd / page;
	thp_policy(pmd);
	shmem_policy(0);
	pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (pagemap < 0)
		ksft_exit_fail_msg("no pagemap\n");
}

/* NULL, or what is missing. */
static const char *rdma_setup(void)
{
	const char *why;

	machine_known();
	why = odp_open(&rdma);
	if (why)
		return why;
	if (rdma.mtu < IBV_MTU_4096)
		return "the port's MTU is below 4096: ip link set NAME mtu 9000";
	odp_connect(&pair, &rdma, IBV_MTU_4096, 4 * MB);
	return NULL;
}

/* What works in any kernel with on-demand paging. */
FIXTURE(odp_mr) { };
FIXTURE_SETUP(odp_mr)
{
	(void)skipped(rdma_setup());
}

FIXTURE_TEARDOWN(odp_mr)
{
	odp_disconnect(&pair);
}

FIXTURE(odp_weak) { };
FIXTURE_SETUP(odp_weak)
{
	(void)skipped(rdma_setup());
}

FIXTURE_TEARDOWN(odp_weak)
{
	odp_disconnect(&pair);
}

/* ---- memory and its model ---- */

struct mem {
	char		*p;
	char		*model;
	size_t		len;
	uint64_t	iova;
	struct ibv_mr	*mr;
};

/* Another content for each call. */
static void fill(void *to, size_t size)
{
	static unsigned int seed = 1;
	unsigned char *p = to;

	while (size--) {
		seed = seed * 1103515245 + 12345;
		*p++ = seed >> 16;
	}
}

static bool same(const char *what, const void *a, const void *b, size_t size)
{
	const unsigned char *x = a, *y = b;
	size_t i;

	if (!memcmp(a, b, size))
		return true;
	for (i = 0; x[i] == y[i]; i++)
		;
	ksft_print_msg("%s: byte %zu of %zu is %02x instead of %02x\n", what, i,
		       size, x[i], y[i]);
	return false;
}

static bool done(const char *what, int status, size_t off, size_t len)
{
	if (!status)
		return true;
	ksft_print_msg("%s of %zu at %zu: %s\n", what, len, off,
		       status < 0 ? strerror(-status) :
				    ibv_wc_status_str(status));
	return false;
}

/* Memory at @p of which nothing is known but that it reads as 0. */
static struct mem mem_at(char *p, size_t len)
{
	struct mem m = { .p = p, .len = p ? len : 0, .iova = (uintptr_t)p };

	m.model = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m.model == MAP_FAILED)
		ksft_exit_fail_msg("no memory\n");
	return m;
}

/* The same, and a region of all of it; m.mr is NULL if that fails. */
static struct mem mem_reg(char *p, size_t len, unsigned int access)
{
	struct mem m = mem_at(p, len);

	if (p)
		m.mr = odp_reg(&rdma, p, len, m.iova, access);
	return m;
}

static struct mem small_pages(size_t n)
{
	return mem_reg(anon_area(n, false), n * page, ODP_ALL);
}

static struct mem huge_pages(size_t n)
{
	return mem_reg(anon_area(n * nr_pmd, true), n * pmd, ODP_ALL);
}

static struct mem file_pages(int fd, size_t len, int share)
{
	return mem_reg(area(len, PROT_READ | PROT_WRITE, share, fd), len,
		       ODP_ALL);
}

/* The CPU gives it new content. */
static void cpu_fills(struct mem *m)
{
	fill(m->model, m->len);
	memcpy(m->p, m->model, m->len);
}

static bool intact(const struct mem *m)
{
	return same("memory", m->p, m->model, m->len);
}

static int try_write(struct mem *m, size_t off, size_t len)
{
	char *data = malloc(len);
	int status;

	fill(data, len);
	status = odp_write(&pair, m->mr->rkey, m->iova + off, data, len);
	if (!status)
		memcpy(m->model + off, data, len);
	free(data);
	return status;
}

static int try_read(struct mem *m, size_t off, size_t len, char *data)
{
	return odp_read(&pair, m->mr->rkey, m->iova + off, data, len);
}

/* The device writes: memory has to be looked at later. */
static bool dev_writes(struct mem *m, size_t off, size_t len)
{
	return done("write", try_write(m, off, len), off, len);
}

/* The device reads what is to be there. */
static bool dev_reads(struct mem *m, size_t off, size_t len)
{
	char *data = malloc(len);
	bool right;

	right = done("read", try_read(m, off, len, data), off, len) &&
		same("read", data, m->model + off, len);
	free(data);
	return right;
}

/* All of it, at most 1 MB at a time, in both directions. */
static bool all_right(struct mem *m)
{
	size_t off, len;

	for (off = 0; off < m->len; off += len) {
		len = m->len - off < MB ? m->len - off : MB;
		if (!dev_reads(m, off, len) || !dev_writes(m, off, len))
			return false;
	}
	if (!intact(m))
		return false;
	cpu_fills(m);
	return dev_reads(m, 0, m->len < MB ? m->len : MB);
}

/* Some pages of it, for what is too large. */
static bool some_right(struct mem *m)
{
	const size_t at[] = { 0, m->len / 2 / page * page, m->len - 2 * page };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(at); i++)
		if (!dev_reads(m, at[i], 2 * page) ||
		    !dev_writes(m, at[i], 2 * page) ||
		    !same("written", m->p + at[i], m->model + at[i], 2 * page))
			return false;
	return true;
}

/* A file of @len bytes, in a directory that the environment names. */
static const char *no_file(const char *dir, size_t len, int *fd)
{
	static char name[256];

	if (!getenv(dir)) {
		snprintf(name, sizeof(name), "no %s in the environment", dir);
		return name;
	}
	snprintf(name, sizeof(name), "%s/odp.%d", getenv(dir), getpid());
	*fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (*fd < 0 || fallocate(*fd, 0, 0, len))
		ksft_exit_fail_msg("%s: %s\n", name, strerror(errno));
	unlink(name);
	return NULL;
}

/* ---- each kind of memory, by whole pages ---- */

TEST_F_TIMEOUT(odp_mr, small_pages, TIME)
{
	struct mem m = small_pages(70);

	ASSERT_NE(m.mr, NULL);
	cpu_fills(&m);
	EXPECT_TRUE(all_right(&m));
}

TEST_F_TIMEOUT(odp_mr, hole_is_written, TIME)
{
	struct mem m = small_pages(40);

	ASSERT_NE(m.mr, NULL);
	EXPECT_EQ(0, populated(m.p, 40));
	EXPECT_TRUE(dev_writes(&m, 8 * page, 16 * page));
	EXPECT_LE(16, populated(m.p, 40));
	EXPECT_TRUE(intact(&m));
}

TEST_F_TIMEOUT(odp_mr, hole_reads_as_zero, TIME)
{
	struct mem m = small_pages(40);

	ASSERT_NE(m.mr, NULL);
	EXPECT_TRUE(dev_reads(&m, 8 * page, 16 * page));

	/* The zero page is not what a write may go to. */
	EXPECT_TRUE(dev_writes(&m, 10 * page, page));
	EXPECT_TRUE(dev_reads(&m, 8 * page, 16 * page));
	EXPECT_TRUE(intact(&m));
}

TEST_F_TIMEOUT(odp_mr, thp, TIME)
{
	struct mem m;

	if (skipped(no_thp()))
		return;
	m = huge_pages(2);
	ASSERT_NE(m.mr, NULL);
	EXPECT_TRUE(dev_writes(&m, pmd - page, 2 * page));
	EXPECT_TRUE(check_huge_anon(m.p, 2 * pmd, 2, pmd));
	EXPECT_TRUE(intact(&m));
	EXPECT_TRUE(all_right(&m));
}

TEST_F_TIMEOUT(odp_mr, hugetlb_2m, TIME)
{
	struct mem m;

	if (skipped(no_hugetlb(2 * MB, 2)))
		return;
	m = mem_reg(hugetlb_area(4 * MB, 21, MAP_PRIVATE), 4 * MB, ODP_ALL);
	ASSERT_NE(m.mr, NULL);
	EXPECT_TRUE(all_right(&m));
}

TEST_F_TIMEOUT(odp_mr, hugetlb_1g, TIME)
{
	struct mem m;

	if (skipped(no_hugetlb(GB, 1)))
		return;
	m = mem_reg(hugetlb_area(GB, 30, MAP_PRIVATE), GB, ODP_ALL);
	ASSERT_NE(m.mr, NULL);
	EXPECT_TRUE(some_right(&m));
}

TEST_F_TIMEOUT(odp_mr, shared_memory, TIME)
{
	int fd = memfd_create("odp", MFD_CLOEXEC);
	struct mem m;

	ASSERT_EQ(0, ftruncate(fd, 64 * page));
	m = file_pages(fd, 64 * page, MAP_SHARED);
	ASSERT_NE(m.mr, NULL);
	EXPECT_TRUE(all_right(&m));
	ASSERT_EQ(m.len, pread(fd, m.p, m.len, 0));
	EXPECT_TRUE(intact(&m));
}

/* What a file has is what @m has. */
static bool file_has(int fd, const struct mem *m)
{
	char *data = malloc(m->len);
	bool right = pread(fd, data, m->len, 0) == (ssize_t)m->len &&
		     same("file", data, m->model, m->len);

	free(data);
	return right;
}

TEST_F_TIMEOUT(odp_mr, file_shared, TIME)
{
	struct mem m;
	int fd;

	if (skipped(no_file("HMM_DISK", 64 * page, &fd)))
		return;
	m = file_pages(fd, 64 * page, MAP_SHARED);
	ASSERT_NE(m.mr, NULL);
	EXPECT_TRUE(all_right(&m));
	EXPECT_TRUE(dev_writes(&m, 3 * page, 9 * page));
	EXPECT_TRUE(file_has(fd, &m));
}

/* It reads the file, and what is written is a copy that the file never sees. */
TEST_F_TIMEOUT(odp_mr, file_private, TIME)
{
	struct mem m, was;
	int fd;

	if (skipped(no_file("HMM_DISK", 64 * page, &fd)))
		return;
	m = file_pages(fd, 64 * page, MAP_PRIVATE);
	ASSERT_NE(m.mr, NULL);
	was = mem_at(m.p, m.len);
	fill(was.model, m.len);
	ASSERT_EQ(m.len, pwrite(fd, was.model, m.len, 0));
	memcpy(m.model, was.model, m.len);
	EXPECT_TRUE(dev_reads(&m, 0, m.len));
	EXPECT_TRUE(dev_writes(&m, 5 * page, 11 * page));
	EXPECT_TRUE(dev_reads(&m, 0, m.len));
	EXPECT_TRUE(intact(&m));
	EXPECT_TRUE(file_has(fd, &was));
}

TEST_F_TIMEOUT(odp_mr, dax_small_pages, TIME)
{
	struct mem m;
	int fd;
	char *p;

	if (skipped(no_file("HMM_DAX_EXT4", 4 * MB, &fd)))
		return;
	/* Where file and address do not go together, no leaf is possible. */
	p = area(pmd + page, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	ASSERT_NE(p, NULL);
	ASSERT_EQ(p + page, mmap(p + page, pmd, PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_FIXED, fd, 0));
	m = mem_reg(p + page, pmd, ODP_ALL);
	ASSERT_NE(m.mr, NULL);
	EXPECT_TRUE(all_right(&m));
	EXPECT_TRUE(file_has(fd, &m));
}

TEST_F_TIMEOUT(odp_mr, dax_huge_pages, TIME)
{
	struct mem m;
	int fd;

	if (skipped(no_file("HMM_DAX_EXT4", 4 * MB, &fd)))
		return;
	m = file_pages(fd, 4 * MB, MAP_SHARED);
	ASSERT_NE(m.mr, NULL);
	EXPECT_TRUE(all_right(&m));
	EXPECT_TRUE(file_has(fd, &m));
}

/* ---- messages ---- */

/* Sends @len bytes from @from to @to, both of which are on demand. */
static bool message_right(struct mem *from, size_t at, struct mem *to,
			  size_t off, size_t len)
{
	struct ibv_sge a = { from->iova + at, len, from->mr->lkey };
	struct ibv_sge b = { to->iova + off, len, to->mr->lkey };

	if (!done("message", odp_message(&pair, a, b), at, len))
		return false;
	memcpy(to->model + off, from->model + at, len);
	return intact(from) && intact(to);
}

TEST_F_TIMEOUT(odp_mr, message, TIME)
{
	struct mem from = small_pages(32), to = small_pages(32);

	ASSERT_NE(from.mr, NULL);
	ASSERT_NE(to.mr, NULL);
	cpu_fills(&from);
	EXPECT_TRUE(message_right(&from, 3 * page, &to, 0, 9 * page));
	EXPECT_TRUE(message_right(&from, 0, &to, 20 * page, 12 * page));

	/* From what is not present. */
	ASSERT_EQ(0, madvise(from.p, from.len, MADV_DONTNEED));
	memset(from.model, 0, from.len);
	EXPECT_TRUE(message_right(&from, 7 * page, &to, 2 * page, 2 * page));
}

TEST_F_TIMEOUT(odp_weak, message_parts_of_pages, TIME)
{
	struct mem from = small_pages(32), to = small_pages(32);

	ASSERT_NE(from.mr, NULL);
	ASSERT_NE(to.mr, NULL);
	cpu_fills(&from);
	cpu_fills(&to);
	EXPECT_TRUE(message_right(&from, 1, &to, page - 1, 2));
	EXPECT_TRUE(message_right(&from, 100, &to, 3 * page + 7, 50000));
	EXPECT_TRUE(message_right(&from, 2 * page - 3, &to, 0, 2 * page + 5));
}

TEST_F_TIMEOUT(odp_mr, message_local_failures, TIME)
{
	struct mem m = small_pages(8), to = small_pages(8);
	struct ibv_sge a, b = { to.iova, page, to.mr->lkey };

	/* The side that sends has nothing to read. */
	ASSERT_NE(m.mr, NULL);
	a = (struct ibv_sge){ m.iova, page, m.mr->lkey };
	ASSERT_EQ(0, munmap(m.p, page));
	EXPECT_LT(0, odp_message(&pair, a, b));

	/* What comes cannot be put anywhere. */
	a.addr += page;
	ASSERT_EQ(0, munmap(to.p, page));
	EXPECT_LT(0, odp_message(&pair, a, b));
	b.addr += page;
	EXPECT_EQ(0, odp_message(&pair, a, b));
}

/* ---- parts of pages ---- */

static bool part_right(struct mem *m, size_t off, size_t len)
{
	return dev_writes(m, off, len) && intact(m) && dev_reads(m, off, len);
}

TEST_F_TIMEOUT(odp_weak, parts_of_pages, TIME)
{
	struct mem m = small_pages(16);

	ASSERT_NE(m.mr, NULL);
	cpu_fills(&m);
	EXPECT_TRUE(part_right(&m, 0, 1));
	EXPECT_TRUE(part_right(&m, 1, 1));
	EXPECT_TRUE(part_right(&m, page - 1, 1));
	EXPECT_TRUE(part_right(&m, page - 1, 2));
	EXPECT_TRUE(part_right(&m, 100, page));
	EXPECT_TRUE(part_right(&m, page / 2, 3 * page));
	EXPECT_TRUE(part_right(&m, 5 * page + 17, 4321));
	EXPECT_TRUE(part_right(&m, 0, page + 5));
	EXPECT_TRUE(part_right(&m, m.len - 1, 1));
	EXPECT_TRUE(part_right(&m, 1, m.len - 1));
}

/* The same where nothing is present before the device asks. */
TEST_F_TIMEOUT(odp_weak, parts_of_holes, TIME)
{
	struct mem m = small_pages(64);

	ASSERT_NE(m.mr, NULL);
	EXPECT_TRUE(dev_writes(&m, 10 * page - 1, 2));
	EXPECT_TRUE(dev_writes(&m, 20 * page + 1000, 3 * page));
	EXPECT_TRUE(dev_reads(&m, 40 * page - 7, 3 * page));
	EXPECT_TRUE(dev_writes(&m, 63 * page + 4000, 96));
	EXPECT_TRUE(intact(&m));
}

TEST_F_TIMEOUT(odp_weak, parts_of_huge_pages, TIME)
{
	struct mem m;

	if (skipped(no_thp()))
		return;
	m = huge_pages(2);
	ASSERT_NE(m.mr, NULL);
	EXPECT_TRUE(part_right(&m, pmd - 1, 2));
	EXPECT_TRUE(part_right(&m, pmd / 2 + 123, pmd));
	EXPECT_TRUE(part_right(&m, 4000, 100));
}

/* Transfers of any size from and to anywhere in the region. */
static bool random_right(struct mem *m, unsigned int rounds)
{
	size_t skip = -(uintptr_t)m->p % page;	/* to the first whole page */
	unsigned int seed = 7;
	size_t off, len;

	while (rounds--) {
		off = rand_r(&seed) % m->len;
		len = rand_r(&seed) % (5 * page) + 1;
		if (len > m->len - off)
			len = m->len - off;
		if (rounds % 3 ? !dev_writes(m, off, len) :
				 !dev_reads(m, off, len))
			return false;
		if (rounds % 8)
			continue;
		if (!intact(m) || madvise(m->p + skip, 4 * page, MADV_DONTNEED))
			return false;
		memset(m->model + skip, 0, 4 * page);
	}
	return intact(m);
}

TEST_F_TIMEOUT(odp_weak, random_transfers, TIME)
{
	struct mem m = small_pages(64);

	ASSERT_NE(m.mr, NULL);
	EXPECT_TRUE(random_right(&m, 300));
}

/*
 * A region of @len bytes at @p, in memory that is known; what is next to it is
 * out of its reach.
 */
static bool small_region_right(char *p, size_t len)
{
	struct mem m = mem_reg(p, len, ODP_ALL);
	bool right;

	if (!m.mr)
		return false;
	memcpy(m.model, p, len);
	right = part_right(&m, 0, len) && part_right(&m, len - 1, 1) &&
		try_write(&m, 0, len + 1) == REFUSED &&
		try_write(&m, len, 1) == REFUSED &&
		try_write(&m, -1, 1) == REFUSED &&
		try_read(&m, 0, len + 1, m.model) == REFUSED && intact(&m);
	return !ibv_dereg_mr(m.mr) && right;
}

TEST_F_TIMEOUT(odp_weak, small_regions, TIME)
{
	char *p = anon_area(4, false), *was = malloc(4 * page);
	const size_t at[] = { 1000, page - 1, 0, page - 8, 2 * page + 1 };
	const size_t len[] = { 1, 2, 3, 16, page + 1 };
	size_t i;

	ASSERT_NE(p, NULL);
	for (i = 0; i < ARRAY_SIZE(at); i++) {
		fill(p, 4 * page);
		memcpy(was, p, 4 * page);
		EXPECT_TRUE(small_region_right(p + at[i], len[i]));
		EXPECT_TRUE(same("before", p, was, at[i]));
		EXPECT_TRUE(same("behind", p + at[i] + len[i],
				 was + at[i] + len[i],
				 4 * page - at[i] - len[i]));
	}
}

FIXTURE(odp_mtu_weak) { };
FIXTURE_VARIANT(odp_mtu_weak)
{
	enum ibv_mtu mtu;
};

FIXTURE_VARIANT_ADD(odp_mtu_weak, 256) { .mtu = IBV_MTU_256 };
FIXTURE_VARIANT_ADD(odp_mtu_weak, 512) { .mtu = IBV_MTU_512 };
FIXTURE_VARIANT_ADD(odp_mtu_weak, 1024) { .mtu = IBV_MTU_1024 };
FIXTURE_VARIANT_ADD(odp_mtu_weak, 2048) { .mtu = IBV_MTU_2048 };
FIXTURE_VARIANT_ADD(odp_mtu_weak, 4096) { .mtu = IBV_MTU_4096 };

FIXTURE_SETUP(odp_mtu_weak)
{
	if (skipped(rdma_setup()))
		return;
	odp_disconnect(&pair);
	odp_connect(&pair, &rdma, variant->mtu, MB);
}

FIXTURE_TEARDOWN(odp_mtu_weak)
{
	odp_disconnect(&pair);
}

TEST_F_TIMEOUT(odp_mtu_weak, transfers, TIME)
{
	struct mem m = small_pages(32), from = small_pages(16);

	ASSERT_NE(m.mr, NULL);
	ASSERT_NE(from.mr, NULL);
	cpu_fills(&m);
	cpu_fills(&from);
	EXPECT_TRUE(part_right(&m, 0, m.len));
	EXPECT_TRUE(part_right(&m, 123, 20000));
	EXPECT_TRUE(part_right(&m, page - 100, 200));
	EXPECT_TRUE(message_right(&from, 33, &m, 5 * page + 1, 9999));
	EXPECT_TRUE(random_right(&m, 60));
}

/* ---- large regions ---- */

/* Around each of the places in @m where a number of bytes has one more bit. */
static bool far_places_right(struct mem *m)
{
	const size_t at[] = { 0, 2 * GB, 4 * GB, 32 * GB };
	size_t i, off, len = 3 * page + 200;

	for (i = 0; i <= ARRAY_SIZE(at); i++) {
		off = i < ARRAY_SIZE(at) ? at[i] : m->len - len;
		if (i && off > page)
			off -= page + 100;
		if (off > m->len - len)
			continue;
		if (!dev_reads(m, off, len) || !dev_writes(m, off, len) ||
		    !same("far", m->p + off, m->model + off, len) ||
		    !dev_reads(m, off, len))
			return false;
	}
	return try_write(m, m->len - 1, 2) == REFUSED;
}

static struct mem large(size_t len)
{
	return mem_reg(area(len, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1),
		       len, ODP_ALL);
}

TEST_F_TIMEOUT(odp_weak, region_of_2g, TIME)
{
	struct mem m = large(2 * GB);

	ASSERT_NE(m.mr, NULL);
	EXPECT_TRUE(far_places_right(&m));
}

TEST_F_TIMEOUT(odp_weak, region_of_4g_and_a_page, TIME)
{
	struct mem m = large(4 * GB + page);

	ASSERT_NE(m.mr, NULL);
	EXPECT_TRUE(far_places_right(&m));
}

TEST_F_TIMEOUT(odp_weak, region_of_64g, TIME)
{
	struct mem m = large(64 * GB);

	ASSERT_NE(m.mr, NULL);
	EXPECT_TRUE(far_places_right(&m));
	EXPECT_EQ(0, ibv_dereg_mr(m.mr));
}

/* ---- IB_ACCESS_HUGETLB ---- */

TEST_F_TIMEOUT(odp_weak, hugetlb_flag_2m, TIME)
{
	struct mem m;

	if (skipped(no_hugetlb(2 * MB, 2)))
		return;
	m = mem_reg(hugetlb_area(4 * MB, 21, MAP_PRIVATE), 4 * MB,
		    ODP_ALL | IBV_ACCESS_HUGETLB);
	ASSERT_NE(m.mr, NULL);
	EXPECT_TRUE(part_right(&m, 2 * MB - 100, 2 * page));
	EXPECT_TRUE(all_right(&m));

	/* One page goes, the other one stays. */
	ASSERT_EQ(0, munmap(m.p, 2 * MB));
	EXPECT_EQ(REFUSED, try_write(&m, 2 * MB - page, page));
	EXPECT_TRUE(dev_reads(&m, 2 * MB, page));
}

TEST_F_TIMEOUT(odp_weak, hugetlb_flag_1g, TIME)
{
	struct mem m;

	if (skipped(no_hugetlb(GB, 1)))
		return;
	m = mem_reg(hugetlb_area(GB, 30, MAP_PRIVATE), GB,
		    ODP_ALL | IBV_ACCESS_HUGETLB);
	ASSERT_NE(m.mr, NULL);
	EXPECT_TRUE(some_right(&m));
	EXPECT_TRUE(dev_writes(&m, 3 * pmd - 50, 100));
	EXPECT_TRUE(dev_reads(&m, 3 * pmd - page, 2 * page));
}

/* A region need not begin or end where a huge page does. */
TEST_F_TIMEOUT(odp_weak, hugetlb_flag_within_a_page, TIME)
{
	struct mem m;
	char *p;

	if (skipped(no_hugetlb(2 * MB, 2)))
		return;
	p = hugetlb_area(4 * MB, 21, MAP_SHARED);
	ASSERT_NE(p, NULL);
	m = mem_reg(p + MB + 100, 2 * MB, ODP_ALL | IBV_ACCESS_HUGETLB);
	ASSERT_NE(m.mr, NULL);
	EXPECT_TRUE(all_right(&m));
	EXPECT_EQ(0, p[MB + 99]);
	EXPECT_EQ(0, p[3 * MB + 100]);
	EXPECT_EQ(REFUSED, try_write(&m, -1, 1));
	EXPECT_EQ(REFUSED, try_write(&m, 2 * MB, 1));
}

/* Who breaks the promise that pages are huge gets an error, and no memory. */
TEST_F_TIMEOUT(odp_weak, hugetlb_flag_on_small_pages, TIME)
{
	char *p = anon_area(nr_pmd, false);
	struct mem m = mem_reg(p, pmd, ODP_ALL | IBV_ACCESS_HUGETLB);

	ASSERT_NE(m.mr, NULL);
	cpu_fills(&m);
	EXPECT_EQ(REFUSED, try_write(&m, 5 * page, page));
	EXPECT_TRUE(intact(&m));
}

/* ---- a device's addresses that are not the CPU's ---- */

enum iova_place { ZERO, HIGH, LAST, BEHIND, BEFORE };

FIXTURE(odp_iova_oops_weak) { };
FIXTURE_VARIANT(odp_iova_oops_weak)
{
	enum iova_place place;
};

FIXTURE_VARIANT_ADD(odp_iova_oops_weak, zero) { .place = ZERO };
FIXTURE_VARIANT_ADD(odp_iova_oops_weak, high) { .place = HIGH };
FIXTURE_VARIANT_ADD(odp_iova_oops_weak, last) { .place = LAST };
FIXTURE_VARIANT_ADD(odp_iova_oops_weak, behind) { .place = BEHIND };
FIXTURE_VARIANT_ADD(odp_iova_oops_weak, before) { .place = BEFORE };

FIXTURE_SETUP(odp_iova_oops_weak)
{
	(void)skipped(rdma_setup());
}

FIXTURE_TEARDOWN(odp_iova_oops_weak)
{
	odp_disconnect(&pair);
}

static uint64_t iova_for(enum iova_place place, const char *p, size_t len)
{
	switch (place) {
	case HIGH:	return 1ULL << 62;
	case LAST:	return -len;
	case BEHIND:	return (uintptr_t)p + 5 * page;
	case BEFORE:	return (uintptr_t)p - page;
	default:	return 0;
	}
}

/* A region from @skip bytes on into the memory, and what the device calls it. */
static struct mem mem_iova(char *p, size_t skip, size_t len,
			   enum iova_place place)
{
	struct mem m = mem_at(p + skip, len - skip);

	m.iova = iova_for(place, p, len) + skip;
	m.mr = odp_reg(&rdma, m.p, m.len, m.iova, ODP_ALL);
	return m;
}

TEST_F_TIMEOUT(odp_iova_oops_weak, transfers, TIME)
{
	char *p = anon_area(64, false);
	struct mem m = mem_iova(p, 0, 64 * page, variant->place);
	uint64_t old = 1;

	ASSERT_NE(m.mr, NULL);
	EXPECT_TRUE(part_right(&m, 0, m.len));
	EXPECT_TRUE(part_right(&m, 100, 3 * page));
	EXPECT_TRUE(part_right(&m, m.len - 5, 5));
	EXPECT_TRUE(random_right(&m, 30));
	memcpy(&old, m.model + page + 8, 8);
	old++;
	memcpy(m.model + page + 8, &old, 8);
	EXPECT_EQ(0, odp_fetch_add(&pair, m.mr->rkey, m.iova + page + 8, 1,
				   &old));
	EXPECT_TRUE(intact(&m));

	/* What is not in the region, the CPU's own addresses included. */
	EXPECT_EQ(REFUSED, try_write(&m, -1, 1));
	EXPECT_EQ(REFUSED, try_write(&m, m.len - 1, 2));
	EXPECT_EQ(REFUSED, odp_write(&pair, m.mr->rkey,
				     m.iova < GB ? (uintptr_t)m.p :
						   m.iova + m.len, "", 1));
	EXPECT_TRUE(intact(&m));
}

TEST_F_TIMEOUT(odp_iova_oops_weak, region_within_pages, TIME)
{
	char *p = anon_area(64, false);
	struct mem m = mem_iova(p, 1000, 64 * page, variant->place);

	ASSERT_NE(m.mr, NULL);
	EXPECT_TRUE(part_right(&m, 0, m.len));
	EXPECT_TRUE(part_right(&m, 0, 1));
	EXPECT_TRUE(part_right(&m, page - 1001, 2));
	EXPECT_TRUE(random_right(&m, 30));
	EXPECT_EQ(REFUSED, try_write(&m, -1, 1));
	EXPECT_EQ(0, p[999]);
}

/* Congruent by small pages, and not by huge ones. */
TEST_F_TIMEOUT(odp_iova_oops_weak, huge_pages, TIME)
{
	struct mem m;

	if (skipped(no_thp()))
		return;
	m = mem_iova(anon_area(3 * nr_pmd, true) + pmd - 3 * page, 0,
		     pmd + 64 * page, variant->place);
	ASSERT_NE(m.mr, NULL);
	EXPECT_TRUE(part_right(&m, 0, m.len));
	EXPECT_TRUE(part_right(&m, 2 * page + 1, 2 * page));
	EXPECT_TRUE(intact(&m));
}

/* The interface allows no other offset into the page than that of the address. */
TEST_F_TIMEOUT(odp_mr, iova_with_another_offset_is_refused, TIME)
{
	char *p = anon_area(4, false);

	EXPECT_EQ(NULL, odp_reg(&rdma, p, page, 1, ODP_ALL));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(NULL, odp_reg(&rdma, p + 100, page, 1ULL << 62, ODP_ALL));
	EXPECT_EQ(EINVAL, errno);
}

/* ---- implicit regions ---- */

/* All of memory, and a few pages of it. */
static struct mem implicit_pages(char *p, size_t n, struct ibv_mr *mr)
{
	struct mem m = mem_at(p, n * page);

	m.mr = mr;
	return m;
}

TEST_F_TIMEOUT(odp_weak, implicit_transfers, TIME)
{
	struct ibv_mr *mr = odp_reg_implicit(&rdma, ODP_ALL);
	struct mem m, to;

	ASSERT_NE(mr, NULL);
	m = implicit_pages(anon_area(64, false), 64, mr);
	to = implicit_pages(anon_area(64, false), 64, mr);
	EXPECT_TRUE(all_right(&m));
	EXPECT_TRUE(random_right(&m, 40));
	EXPECT_TRUE(message_right(&m, 3 * page, &to, 100, 9 * page));
	EXPECT_EQ(0, ibv_dereg_mr(mr));

	/* Without the region, there is nothing to be had. */
	EXPECT_EQ(REFUSED, odp_write(&pair, mr->rkey, m.iova, "", 1));
	EXPECT_TRUE(intact(&m));
}

TEST_F_TIMEOUT(odp_weak, implicit_huge_pages, TIME)
{
	struct ibv_mr *mr = odp_reg_implicit(&rdma, ODP_ALL);
	struct mem m;

	ASSERT_NE(mr, NULL);
	if (!skipped(no_thp())) {
		m = implicit_pages(anon_area(2 * nr_pmd, true), 2 * nr_pmd, mr);
		EXPECT_TRUE(part_right(&m, pmd - 77, 200));
		EXPECT_TRUE(all_right(&m));
	}
	if (!skipped(no_hugetlb(2 * MB, 2))) {
		m = implicit_pages(hugetlb_area(4 * MB, 21, MAP_SHARED),
				   4 * MB / page, mr);
		EXPECT_TRUE(all_right(&m));
	}
}

/* A mapping that goes on across each multiple of 1 GiB in it. */
TEST_F_TIMEOUT(odp_weak, implicit_across_1g, TIME)
{
	struct ibv_mr *mr = odp_reg_implicit(&rdma, ODP_ALL);
	struct mem m;
	size_t off;
	char *p;

	ASSERT_NE(mr, NULL);
	p = area(4 * GB, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	ASSERT_NE(p, NULL);
	m = implicit_pages(p, 4 * GB / page, mr);
	for (off = GB - (uintptr_t)p % GB; off < m.len; off += GB) {
		EXPECT_TRUE(dev_writes(&m, off - page - 5, 3 * page));
		EXPECT_TRUE(dev_reads(&m, off - 2 * page, 4 * page));
		EXPECT_TRUE(same("across", p + off - 2 * page,
				 m.model + off - 2 * page, 4 * page));
		EXPECT_TRUE(dev_writes(&m, off - MB, 2 * MB));
		EXPECT_TRUE(same("across", p + off - MB, m.model + off - MB,
				 2 * MB));
	}
}

TEST_F_TIMEOUT(odp_weak, implicit_follows_mappings, TIME)
{
	struct ibv_mr *mr = odp_reg_implicit(&rdma, ODP_ALL);
	struct mem m;
	int i;

	ASSERT_NE(mr, NULL);
	m = implicit_pages(anon_area(16, false), 16, mr);
	for (i = 0; i < 3; i++) {
		cpu_fills(&m);
		EXPECT_TRUE(part_right(&m, 2 * page, 9 * page));
		ASSERT_EQ(0, munmap(m.p, m.len));
		EXPECT_EQ(REFUSED, try_write(&m, 0, page));
		EXPECT_EQ(REFUSED, try_read(&m, 3 * page, 8, m.model));
		ASSERT_EQ(m.p, mmap(m.p, m.len, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
				    0));
		memset(m.model, 0, m.len);
		EXPECT_TRUE(dev_reads(&m, 0, m.len));
	}
	EXPECT_TRUE(part_right(&m, 5, 2 * page));
}

TEST_F_TIMEOUT(odp_weak, implicit_ends_of_the_address_space, TIME)
{
	struct ibv_mr *mr = odp_reg_implicit(&rdma, ODP_ALL);
	const uint64_t bad[] = {
		0, 4096, (1ULL << 47) - 4096, 1ULL << 47, 1ULL << 62,
		0xffff888000000000, 0xffffffffff600000, -4096ULL, -8ULL,
	};
	size_t i;
	char c = 0;

	ASSERT_NE(mr, NULL);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(REFUSED, odp_write(&pair, mr->rkey, bad[i], &c, 1));
		EXPECT_EQ(REFUSED, odp_read(&pair, mr->rkey, bad[i], &c, 1));
	}
	EXPECT_EQ(REFUSED, odp_read(&pair, mr->rkey, -8ULL, pair.buf, page));
}

TEST_F_TIMEOUT(odp_weak, implicit_for_reading, TIME)
{
	struct ibv_mr *mr = odp_reg_implicit(&rdma, ODP_RDONLY);
	struct mem m;

	ASSERT_NE(mr, NULL);
	m = implicit_pages(anon_area(16, false), 16, mr);
	cpu_fills(&m);
	EXPECT_TRUE(dev_reads(&m, 100, 3 * page));
	EXPECT_EQ(REFUSED, try_write(&m, 100, page));
	EXPECT_TRUE(intact(&m));
}

TEST_F_TIMEOUT(odp_weak, implicit_regions_side_by_side, TIME)
{
	struct ibv_mr *a = odp_reg_implicit(&rdma, ODP_ALL);
	struct ibv_mr *b = odp_reg_implicit(&rdma, ODP_ALL);
	struct mem m;

	ASSERT_NE(a, NULL);
	ASSERT_NE(b, NULL);
	m = implicit_pages(anon_area(16, false), 16, a);
	EXPECT_TRUE(all_right(&m));
	m.mr = b;
	EXPECT_TRUE(all_right(&m));
	EXPECT_EQ(0, ibv_dereg_mr(a));
	EXPECT_TRUE(all_right(&m));
}

/* Bytes that the kernel has for itself and cannot give back at once. */
static size_t slab(void)
{
	FILE *f = fopen("/proc/meminfo", "r");
	unsigned long kb = 0;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "SUnreclaim: %lu kB", &kb) == 1)
			break;
	if (f)
		fclose(f);
	return kb * KB;
}

/* A page in each of @n places that are 256 MiB apart, and then nothing again. */
static bool touch_far_apart(struct ibv_mr *mr, size_t n)
{
	size_t i, step = GB / 4;
	char *p = mmap(NULL, n * step, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	bool right = true;

	if (p == MAP_FAILED)
		return false;
	for (i = 0; i < n && right; i++)
		right = !odp_write(&pair, mr->rkey, (uintptr_t)p + i * step,
				   "x", 1) && p[i * step] == 'x';
	return !munmap(p, n * step) && right;
}

/* What the region has of memory that is gone does not add up. */
TEST_F_TIMEOUT(odp_weak, implicit_gives_back_what_is_empty, TIME)
{
	struct ibv_mr *mr = odp_reg_implicit(&rdma, ODP_ALL);
	size_t before, i;
	__u64 end;

	ASSERT_NE(mr, NULL);
	EXPECT_TRUE(touch_far_apart(mr, 500));
	before = slab();
	for (i = 0; i < 10; i++)
		EXPECT_TRUE(touch_far_apart(mr, 500));
	end = now_ms() + 10000;
	while (slab() > before + MB && now_ms() < end)
		usleep(10000);
	EXPECT_LE(slab(), before + MB);
}

/* ---- advice ---- */

static int advise(const struct mem *m, size_t off, size_t len,
		  enum ibv_advise_mr_advice advice, uint32_t flags)
{
	struct ibv_sge sge = { m->iova + off, len, m->mr->lkey };

	return odp_advise(&rdma, advice, flags, &sge, 1);
}

#define PREFETCH	IBV_ADVISE_MR_ADVICE_PREFETCH
#define PREFETCH_WRITE	IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE
#define NO_FAULT	IBV_ADVISE_MR_ADVICE_PREFETCH_NO_FAULT
#define FLUSH		IBV_ADVISE_MR_FLAG_FLUSH

/* What is done beside takes its time. */
static bool gets_populated(const char *p, size_t n)
{
	__u64 end = now_ms() + 10000;

	while (populated(p, n) < n && now_ms() < end)
		usleep(1000);
	return populated(p, n) == n;
}

TEST_F_TIMEOUT(odp_mr, advice_to_fetch, TIME)
{
	struct mem m = small_pages(64);
	__u64 zero = zero_pfn();

	ASSERT_NE(m.mr, NULL);
	EXPECT_EQ(0, advise(&m, 0, 8 * page, PREFETCH, FLUSH));
	EXPECT_EQ(8, populated(m.p, 64));
	EXPECT_EQ(zero, PAGEMAP_PFN(pm(m.p)));
	EXPECT_EQ(0, advise(&m, 16 * page, 8 * page, PREFETCH_WRITE, FLUSH));
	EXPECT_EQ(16, populated(m.p, 64));
	EXPECT_NE(zero, PAGEMAP_PFN(pm(m.p + 16 * page)));

	/* Parts of pages are pages. */
	EXPECT_EQ(0, advise(&m, 33 * page - 1, 2, PREFETCH_WRITE, FLUSH));
	EXPECT_EQ(18, populated(m.p, 64));
	EXPECT_TRUE(dev_writes(&m, 0, m.len));
	EXPECT_TRUE(intact(&m));
}

TEST_F_TIMEOUT(odp_mr, advice_to_fetch_some_time, TIME)
{
	struct mem m = small_pages(64);

	ASSERT_NE(m.mr, NULL);
	EXPECT_EQ(0, advise(&m, 0, 8 * page, PREFETCH, 0));
	EXPECT_TRUE(gets_populated(m.p, 8));
	EXPECT_EQ(0, advise(&m, 8 * page, 8 * page, PREFETCH_WRITE, 0));
	EXPECT_TRUE(gets_populated(m.p, 16));
	EXPECT_TRUE(dev_writes(&m, 0, 16 * page));
	EXPECT_TRUE(intact(&m));
}

TEST_F_TIMEOUT(odp_mr, advice_not_to_fault, TIME)
{
	struct mem m = small_pages(64);

	ASSERT_NE(m.mr, NULL);
	memset(m.p + 5 * page, 1, 3 * page);
	memset(m.model + 5 * page, 1, 3 * page);
	EXPECT_EQ(0, advise(&m, 0, m.len, NO_FAULT, FLUSH));
	EXPECT_EQ(3, populated(m.p, 64));
	EXPECT_EQ(0, advise(&m, 0, m.len, NO_FAULT, 0));
	EXPECT_TRUE(dev_writes(&m, 4 * page, 3 * page));
	EXPECT_EQ(4, populated(m.p, 64));
	EXPECT_TRUE(intact(&m));
}

TEST_F_TIMEOUT(odp_mr, advice_on_huge_pages, TIME)
{
	struct mem m;

	if (skipped(no_thp()))
		return;
	m = huge_pages(2);
	ASSERT_NE(m.mr, NULL);
	EXPECT_EQ(0, advise(&m, pmd - page, 2 * page, PREFETCH_WRITE, FLUSH));
	EXPECT_TRUE(check_huge_anon(m.p, 2 * pmd, 2, pmd));
	EXPECT_TRUE(all_right(&m));
}

TEST_F_TIMEOUT(odp_mr, advice_on_several, TIME)
{
	struct mem a = small_pages(16), b = small_pages(16);
	struct ibv_sge sge[3];

	ASSERT_NE(a.mr, NULL);
	ASSERT_NE(b.mr, NULL);
	sge[0] = (struct ibv_sge){ a.iova, page, a.mr->lkey };
	sge[1] = (struct ibv_sge){ b.iova + page, 2 * page, b.mr->lkey };
	sge[2] = (struct ibv_sge){ a.iova + 9 * page, page, a.mr->lkey };
	EXPECT_EQ(0, odp_advise(&rdma, PREFETCH_WRITE, FLUSH, sge, 3));
	EXPECT_EQ(2, populated(a.p, 16));
	EXPECT_EQ(2, populated(b.p, 16));
	sge[0].addr += 2 * page;
	sge[1].addr += 2 * page;
	sge[2].addr += 2 * page;
	EXPECT_EQ(0, odp_advise(&rdma, PREFETCH_WRITE, 0, sge, 3));
	EXPECT_TRUE(gets_populated(a.p + 2 * page, 1));
	EXPECT_TRUE(gets_populated(b.p + page, 4));
	EXPECT_TRUE(gets_populated(a.p + 11 * page, 1));
}

TEST_F_TIMEOUT(odp_weak, advice_on_regions_for_reading, TIME)
{
	struct mem m = mem_reg(anon_area(16, false), 16 * page, ODP_RDONLY);
	__u64 zero = zero_pfn();

	ASSERT_NE(m.mr, NULL);
	EXPECT_EQ(0, advise(&m, 0, 4 * page, PREFETCH, FLUSH));
	EXPECT_EQ(4, populated(m.p, 16));
	EXPECT_EQ(zero, PAGEMAP_PFN(pm(m.p)));
	EXPECT_EQ(0, advise(&m, 4 * page, 4 * page, PREFETCH, 0));
	EXPECT_TRUE(gets_populated(m.p, 8));
	EXPECT_EQ(0, advise(&m, 0, m.len, NO_FAULT, FLUSH));
	EXPECT_EQ(8, populated(m.p, 16));
	EXPECT_EQ(-EPERM, advise(&m, 8 * page, page, PREFETCH_WRITE, FLUSH));
	EXPECT_EQ(-EPERM, advise(&m, 8 * page, page, PREFETCH_WRITE, 0));
	EXPECT_EQ(8, populated(m.p, 16));
	EXPECT_TRUE(dev_reads(&m, 0, m.len));
}

static bool no_such_thing(int ret)
{
	return ret == -EINVAL || ret == -EOPNOTSUPP;
}

TEST_F_TIMEOUT(odp_weak, advice_on_pinned_regions, TIME)
{
	struct mem m = mem_reg(anon_area(16, false), 16 * page,
			       ODP_ALL & ~IBV_ACCESS_ON_DEMAND);

	ASSERT_NE(m.mr, NULL);
	EXPECT_TRUE(no_such_thing(advise(&m, 0, page, PREFETCH, FLUSH)));
	EXPECT_TRUE(no_such_thing(advise(&m, 0, page, PREFETCH, 0)));
	EXPECT_TRUE(no_such_thing(advise(&m, 0, page, NO_FAULT, FLUSH)));
	EXPECT_TRUE(no_such_thing(advise(&m, 0, page, NO_FAULT, 0)));
	EXPECT_TRUE(no_such_thing(advise(&m, 0, page, PREFETCH_WRITE, FLUSH)));
	EXPECT_TRUE(no_such_thing(advise(&m, 0, page, PREFETCH_WRITE, 0)));
	EXPECT_TRUE(all_right(&m));
}

/* Whether advice failed, in one of the ways that ibv_advise_mr(3) names. */
static bool refused(int ret)
{
	const int errs[] = {
		EFAULT, EINVAL, EPERM, ENOENT, EOPNOTSUPP, EPROTONOSUPPORT,
		ENOSPC,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(errs); i++)
		if (ret == -errs[i])
			return true;
	ksft_print_msg("advice: %s\n", ret ? strerror(-ret) : "accepted");
	return false;
}

TEST_F_TIMEOUT(odp_mr, wrong_advice, TIME)
{
	struct mem m = small_pages(16);
	struct ibv_sge sge;

	ASSERT_NE(m.mr, NULL);
	sge = (struct ibv_sge){ m.iova, page, m.mr->lkey };
	EXPECT_TRUE(refused(advise(&m, 0, page, 99, FLUSH)));
	EXPECT_TRUE(refused(advise(&m, 0, page, PREFETCH, 2)));
	EXPECT_TRUE(refused(odp_advise(&rdma, PREFETCH, FLUSH, &sge, 0)));
	sge.lkey ^= 1;
	EXPECT_TRUE(refused(odp_advise(&rdma, PREFETCH, FLUSH, &sge, 1)));
	EXPECT_TRUE(refused(odp_advise(&rdma, PREFETCH, 0, &sge, 1)));
	sge.lkey = 0x7fffff00;
	EXPECT_TRUE(refused(odp_advise(&rdma, PREFETCH, FLUSH, &sge, 1)));
	EXPECT_EQ(-EFAULT, advise(&m, m.len, page, PREFETCH, FLUSH));
	EXPECT_EQ(-EFAULT, advise(&m, -page, page, PREFETCH, FLUSH));
	EXPECT_EQ(-EFAULT, advise(&m, m.len - page, 2 * page, PREFETCH, FLUSH));
	EXPECT_EQ(0, populated(m.p, 16));

	/* Not part of the address space, any more or at all. */
	ASSERT_EQ(0, munmap(m.p + 8 * page, page));
	EXPECT_EQ(-EFAULT, advise(&m, 8 * page, page, PREFETCH, FLUSH));
	ASSERT_EQ(0, mprotect(m.p + 9 * page, page, PROT_READ));
	EXPECT_TRUE(refused(advise(&m, 9 * page, page, PREFETCH_WRITE, FLUSH)));
	EXPECT_EQ(0, advise(&m, 9 * page, page, PREFETCH, FLUSH));
	EXPECT_EQ(0, ibv_dereg_mr(m.mr));
}

/* As ibv_advise_mr(3) has them. */
TEST_F_TIMEOUT(odp_weak, advice_errors, TIME)
{
	struct mem m = small_pages(16);
	struct ibv_sge sge;

	ASSERT_NE(m.mr, NULL);
	sge = (struct ibv_sge){ m.iova, page, m.mr->lkey ^ 1 };
	EXPECT_EQ(-ENOENT, odp_advise(&rdma, PREFETCH, FLUSH, &sge, 1));
	EXPECT_EQ(-ENOENT, odp_advise(&rdma, PREFETCH, 0, &sge, 1));
	sge.lkey = 0x7fffff00;
	EXPECT_EQ(-ENOENT, odp_advise(&rdma, PREFETCH, FLUSH, &sge, 1));
	EXPECT_EQ(-EINVAL, advise(&m, 0, page, PREFETCH, 2));
	EXPECT_EQ(0, populated(m.p, 16));
	EXPECT_EQ(0, ibv_dereg_mr(m.mr));
}

/* What the region is, not what its address and the first bytes are. */
TEST_F_TIMEOUT(odp_weak, advice_of_no_length_or_beyond_a_region, TIME)
{
	char *p = anon_area(16, false);
	struct mem m = mem_reg(p + 100, 3 * page, ODP_ALL);

	ASSERT_NE(m.mr, NULL);
	EXPECT_EQ(-EFAULT, advise(&m, -1, 2, PREFETCH, FLUSH));
	EXPECT_EQ(-EFAULT, advise(&m, m.len - 1, 2, PREFETCH, FLUSH));
	EXPECT_EQ(-EFAULT, advise(&m, m.len + 1, 0, PREFETCH, FLUSH));
	EXPECT_EQ(0, populated(p, 16));
	EXPECT_EQ(0, advise(&m, m.len - 1, 1, PREFETCH, FLUSH));
	EXPECT_EQ(1, populated(p, 16));
}

TEST_F_TIMEOUT(odp_mr, advice_by_another_domain, TIME)
{
	struct mem m = small_pages(16);
	struct odp_dev other = rdma;
	struct ibv_sge sge;

	ASSERT_NE(m.mr, NULL);
	sge = (struct ibv_sge){ m.iova, page, m.mr->lkey };
	other.pd = ibv_alloc_pd(rdma.ctx);
	ASSERT_NE(other.pd, NULL);
	EXPECT_TRUE(refused(odp_advise(&other, PREFETCH, FLUSH, &sge, 1)));
	EXPECT_TRUE(refused(odp_advise(&other, PREFETCH, 0, &sge, 1)));
	EXPECT_EQ(0, populated(m.p, 16));
	EXPECT_EQ(0, ibv_dealloc_pd(other.pd));
}

TEST_F_TIMEOUT(odp_weak, advice_by_iova, TIME)
{
	struct mem m = mem_iova(anon_area(16, false), 0, 16 * page, HIGH);

	ASSERT_NE(m.mr, NULL);
	EXPECT_EQ(0, advise(&m, 3 * page, 4 * page, PREFETCH_WRITE, FLUSH));
	EXPECT_EQ(0, populated(m.p, 3));
	EXPECT_EQ(4, populated(m.p + 3 * page, 4));
	EXPECT_EQ(4, populated(m.p, 16));
	m.iova = (uintptr_t)m.p;
	EXPECT_EQ(-EFAULT, advise(&m, 0, page, PREFETCH_WRITE, FLUSH));
}

TEST_F_TIMEOUT(odp_weak, advice_far_into_a_region, TIME)
{
	struct mem m = large(8 * GB);

	ASSERT_NE(m.mr, NULL);
	EXPECT_EQ(0, advise(&m, 5 * GB - page, 2 * page, PREFETCH_WRITE, FLUSH));
	EXPECT_EQ(2, populated(m.p + 5 * GB - 4 * page, 8));
	EXPECT_EQ(0, advise(&m, 0, 3 * GB, NO_FAULT, FLUSH));
}

TEST_F_TIMEOUT(odp_weak, advice_on_implicit_regions, TIME)
{
	struct ibv_mr *mr = odp_reg_implicit(&rdma, ODP_ALL);
	struct mem m;

	ASSERT_NE(mr, NULL);
	m = implicit_pages(anon_area(64, false), 64, mr);
	EXPECT_EQ(0, advise(&m, page, 3 * page, PREFETCH_WRITE, FLUSH));
	EXPECT_EQ(3, populated(m.p, 64));
	EXPECT_EQ(0, advise(&m, 8 * page, 3 * page, PREFETCH, 0));
	EXPECT_TRUE(gets_populated(m.p + 8 * page, 3));
	EXPECT_EQ(0, advise(&m, 0, m.len, NO_FAULT, FLUSH));
	EXPECT_EQ(6, populated(m.p, 64));
	ASSERT_EQ(0, munmap(m.p + 32 * page, page));
	EXPECT_EQ(-EFAULT, advise(&m, 32 * page, page, PREFETCH, FLUSH));
}

/* What was advised may still be under way. */
TEST_F_TIMEOUT(odp_mr, advice_and_the_end_of_the_region, TIME)
{
	char *p = anon_area(256, false);
	struct mem m;
	int i;

	for (i = 0; i < 30; i++) {
		m = mem_reg(p, 256 * page, ODP_ALL);
		ASSERT_NE(m.mr, NULL);
		EXPECT_EQ(0, advise(&m, 0, m.len, PREFETCH_WRITE, 0));
		EXPECT_EQ(0, ibv_dereg_mr(m.mr));
		ASSERT_EQ(0, madvise(p, m.len, MADV_DONTNEED));
		munmap(m.model, m.len);
	}
}

/* ---- atomics, flush and atomic write ---- */

static uint64_t *word_of(struct mem *m, size_t off)
{
	return (uint64_t *)(m->model + off);
}

/* An atomic of each kind gives what was there and leaves what has to be. */
static bool atomics_right(struct mem *m, size_t off)
{
	uint64_t *word = word_of(m, off), was = *word, old = ~was;
	uint32_t key = m->mr->rkey;

	*word = was + 0x100000001;
	if (odp_fetch_add(&pair, key, m->iova + off, 0x100000001, &old) ||
	    old != was || !intact(m))
		return false;
	was = *word;
	*word = 0x123456789abcdef0;
	if (odp_cmp_swap(&pair, key, m->iova + off, was, *word, &old) ||
	    old != was || !intact(m))
		return false;
	return !odp_cmp_swap(&pair, key, m->iova + off, was, 1, &old) &&
	       old == *word && intact(m);
}

TEST_F_TIMEOUT(odp_mr, atomics, TIME)
{
	struct mem m = small_pages(8);

	/* On what is not present, first. */
	ASSERT_NE(m.mr, NULL);
	EXPECT_TRUE(atomics_right(&m, 2 * page));
	cpu_fills(&m);
	EXPECT_TRUE(atomics_right(&m, 0));
	EXPECT_TRUE(atomics_right(&m, 3 * page + 88));
	EXPECT_TRUE(atomics_right(&m, m.len - 8));
	ASSERT_EQ(0, madvise(m.p, m.len, MADV_DONTNEED));
	memset(m.model, 0, m.len);
	EXPECT_TRUE(dev_reads(&m, 5 * page, page));
	EXPECT_TRUE(atomics_right(&m, 5 * page + 8));
}

TEST_F_TIMEOUT(odp_mr, atomics_refused, TIME)
{
	struct mem m = small_pages(8);
	unsigned int key = m.mr->rkey;
	uint64_t old;

	cpu_fills(&m);
	EXPECT_EQ(IBV_WC_REM_INV_REQ_ERR,
		  odp_misaligned_add(&pair, key, m.iova + 4));
	EXPECT_EQ(IBV_WC_REM_INV_REQ_ERR,
		  odp_misaligned_add(&pair, key, m.iova + page - 1));
	EXPECT_EQ(REFUSED, odp_fetch_add(&pair, key, m.iova + m.len, 1, &old));
	EXPECT_EQ(REFUSED, odp_fetch_add(&pair, key, m.iova - 8, 1, &old));
	EXPECT_EQ(REFUSED, odp_fetch_add(&pair, key ^ 1, m.iova, 1, &old));
	ASSERT_EQ(0, mprotect(m.p, page, PROT_READ));
	EXPECT_EQ(REFUSED, odp_fetch_add(&pair, key, m.iova, 1, &old));
	EXPECT_EQ(REFUSED, odp_cmp_swap(&pair, key, m.iova, *word_of(&m, 0), 1,
					&old));
	ASSERT_EQ(0, munmap(m.p + 7 * page, page));
	EXPECT_EQ(REFUSED, odp_fetch_add(&pair, key, m.iova + 7 * page, 1,
					 &old));
	m.len = 7 * page;
	EXPECT_TRUE(intact(&m));
}

/* Nothing but what the flags of the region allow. */
TEST_F_TIMEOUT(odp_mr, atomics_without_the_right, TIME)
{
	struct mem m = mem_reg(anon_area(8, false), 8 * page,
			       ODP_ALL & ~IBV_ACCESS_REMOTE_ATOMIC);
	uint64_t old;

	ASSERT_NE(m.mr, NULL);
	EXPECT_EQ(REFUSED, odp_fetch_add(&pair, m.mr->rkey, m.iova, 1, &old));
	EXPECT_EQ(0, populated(m.p, 8));
	EXPECT_TRUE(dev_writes(&m, 0, page));
	EXPECT_TRUE(intact(&m));
}

TEST_F_TIMEOUT(odp_mr, atomic_write, TIME)
{
	struct mem m = small_pages(8);
	const size_t at[] = { 2 * page, 0, 3 * page + 88, m.len - 8 };
	size_t i;

	ASSERT_NE(m.mr, NULL);
	for (i = 0; i < ARRAY_SIZE(at); i++) {
		*word_of(&m, at[i]) = 0x0123456789abcdef + i;
		EXPECT_EQ(0, odp_atomic_write(&pair, m.mr->rkey, m.iova + at[i],
					      *word_of(&m, at[i])));
		EXPECT_TRUE(intact(&m));
	}
	EXPECT_EQ(IBV_WC_REM_INV_REQ_ERR,
		  odp_atomic_write(&pair, m.mr->rkey, m.iova + 4, 1));
	EXPECT_EQ(REFUSED,
		  odp_atomic_write(&pair, m.mr->rkey, m.iova + m.len, 1));
	ASSERT_EQ(0, mprotect(m.p, page, PROT_READ));
	EXPECT_EQ(REFUSED, odp_atomic_write(&pair, m.mr->rkey, m.iova, 1));
	EXPECT_TRUE(intact(&m));
	ASSERT_EQ(0, munmap(m.p, page));
	EXPECT_EQ(REFUSED, odp_atomic_write(&pair, m.mr->rkey, m.iova, 1));
}

TEST_F_TIMEOUT(odp_mr, flush_to_be_seen, TIME)
{
	struct mem m = mem_reg(anon_area(8, false), 8 * page,
			       ODP_ALL | ODP_FLUSH_GLOBAL);

	ASSERT_NE(m.mr, NULL);
	EXPECT_TRUE(dev_writes(&m, 0, 3 * page));
	EXPECT_EQ(0, odp_flush(&pair, m.mr->rkey, m.iova, 3 * page,
			       IB_FLUSH_GLOBAL, IB_FLUSH_RANGE));
	EXPECT_EQ(0, odp_flush(&pair, m.mr->rkey, m.iova + 100, page,
			       IB_FLUSH_GLOBAL, IB_FLUSH_RANGE));
	EXPECT_EQ(0, odp_flush(&pair, m.mr->rkey, m.iova, 0, IB_FLUSH_GLOBAL,
			       IB_FLUSH_MR));
	EXPECT_EQ(REFUSED, odp_flush(&pair, m.mr->rkey, m.iova + page, m.len,
				     IB_FLUSH_GLOBAL, IB_FLUSH_RANGE));
	EXPECT_EQ(REFUSED, odp_flush(&pair, m.mr->rkey, m.iova, page,
				     IB_FLUSH_PERSISTENT, IB_FLUSH_RANGE));
	EXPECT_TRUE(intact(&m));
}

TEST_F_TIMEOUT(odp_mr, flush_to_persistent_memory, TIME)
{
	struct mem m;
	int fd;

	if (skipped(no_file("HMM_DAX_EXT4", 64 * page, &fd)))
		return;
	m = mem_reg(area(64 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd),
		    64 * page, ODP_ALL | ODP_FLUSH_PERSISTENT);
	ASSERT_NE(m.mr, NULL);
	EXPECT_TRUE(dev_writes(&m, 0, 7 * page));
	EXPECT_EQ(0, odp_flush(&pair, m.mr->rkey, m.iova, 7 * page,
			       IB_FLUSH_PERSISTENT, IB_FLUSH_RANGE));
	EXPECT_EQ(0, odp_flush(&pair, m.mr->rkey, m.iova + page - 1, 3 * page,
			       IB_FLUSH_PERSISTENT, IB_FLUSH_RANGE));
	EXPECT_EQ(0, odp_flush(&pair, m.mr->rkey, m.iova, 0,
			       IB_FLUSH_PERSISTENT, IB_FLUSH_MR));
	EXPECT_TRUE(file_has(fd, &m));

	/* What is for reading can be flushed, and what is gone cannot. */
	ASSERT_EQ(0, mprotect(m.p, m.len, PROT_READ));
	EXPECT_EQ(0, odp_flush(&pair, m.mr->rkey, m.iova, 7 * page,
			       IB_FLUSH_PERSISTENT, IB_FLUSH_RANGE));
	ASSERT_EQ(0, munmap(m.p + 5 * page, page));
	EXPECT_EQ(REFUSED, odp_flush(&pair, m.mr->rkey, m.iova + 3 * page,
				     7 * page, IB_FLUSH_PERSISTENT,
				     IB_FLUSH_RANGE));
}

/* ---- what the device wrote is not lost ---- */

TEST_F_TIMEOUT(odp_weak, write_survives_madv_free, TIME)
{
	struct mem m = small_pages(8);

	ASSERT_NE(m.mr, NULL);
	cpu_fills(&m);
	ASSERT_EQ(0, free_lazily(m.p, m.len / page));
	ASSERT_TRUE(dev_writes(&m, 0, m.len));
	if (!page_out(m.p, 8))
		SKIP(return, "pages do not go out: no swap");
	EXPECT_TRUE(intact(&m));
}

/* The same for pages that the device had before they were given up. */
TEST_F_TIMEOUT(odp_weak, write_survives_madv_free_of_known_pages, TIME)
{
	struct mem m = small_pages(8);

	ASSERT_NE(m.mr, NULL);
	ASSERT_TRUE(dev_writes(&m, 0, m.len));
	ASSERT_EQ(0, free_lazily(m.p, m.len / page));
	ASSERT_TRUE(dev_reads(&m, 0, page));
	ASSERT_TRUE(dev_writes(&m, 0, m.len));
	if (!page_out(m.p, 8))
		SKIP(return, "pages do not go out: no swap");
	EXPECT_TRUE(intact(&m));
}

TEST_F_TIMEOUT(odp_weak, atomic_survives_madv_free, TIME)
{
	struct mem m = small_pages(2);
	uint64_t old;

	ASSERT_NE(m.mr, NULL);
	cpu_fills(&m);
	ASSERT_EQ(0, free_lazily(m.p, m.len / page));
	old = *word_of(&m, 64);
	*word_of(&m, 64) += 5;
	ASSERT_EQ(0, odp_fetch_add(&pair, m.mr->rkey, m.iova + 64, 5, &old));
	*word_of(&m, page + 8) = 77;
	ASSERT_EQ(0, odp_atomic_write(&pair, m.mr->rkey, m.iova + page + 8, 77));
	if (!page_out(m.p, 2))
		SKIP(return, "pages do not go out: no swap");
	EXPECT_TRUE(intact(&m));
}

TEST_F_TIMEOUT(odp_weak, message_survives_madv_free, TIME)
{
	struct mem from = small_pages(4), to = small_pages(4);

	ASSERT_NE(from.mr, NULL);
	ASSERT_NE(to.mr, NULL);
	cpu_fills(&from);
	cpu_fills(&to);
	ASSERT_EQ(0, free_lazily(to.p, to.len / page));
	ASSERT_TRUE(message_right(&from, 0, &to, 0, to.len));
	if (!page_out(to.p, 4))
		SKIP(return, "pages do not go out: no swap");
	EXPECT_TRUE(intact(&to));
}

TEST_F_TIMEOUT(odp_weak, write_survives_madv_free_of_a_huge_page, TIME)
{
	struct mem m;

	if (skipped(no_thp()))
		return;
	m = huge_pages(1);
	ASSERT_NE(m.mr, NULL);
	cpu_fills(&m);
	ASSERT_TRUE(check_huge_anon(m.p, pmd, 1, pmd));
	ASSERT_EQ(0, free_lazily(m.p, m.len / page));
	ASSERT_TRUE(dev_writes(&m, 0, m.len));
	if (!page_out(m.p, nr_pmd))
		SKIP(return, "pages do not go out: no swap");
	EXPECT_TRUE(intact(&m));
}

/* What is not written to is what MADV_FREE is for. */
TEST_F_TIMEOUT(odp_mr, read_makes_nothing_dirty, TIME)
{
	struct mem m = small_pages(8);

	ASSERT_NE(m.mr, NULL);
	cpu_fills(&m);
	ASSERT_EQ(0, free_lazily(m.p, m.len / page));
	ASSERT_TRUE(dev_reads(&m, 0, m.len));
	if (!page_out(m.p, 8))
		SKIP(return, "pages do not go out: no swap");
	memset(m.model, 0, m.len);
	EXPECT_TRUE(intact(&m));
}

/* Anonymous pages that swap has a copy of. */
TEST_F_TIMEOUT(odp_weak, write_survives_swap, TIME)
{
	struct mem m = small_pages(8);
	size_t i;

	ASSERT_NE(m.mr, NULL);
	cpu_fills(&m);
	if (!page_out(m.p, 8))
		SKIP(return, "pages do not go out: no swap");
	for (i = 0; i < 8; i++)
		FORCE_READ(m.p[i * page]);
	ASSERT_TRUE(dev_writes(&m, 0, m.len));
	ASSERT_TRUE(page_out(m.p, 8));
	EXPECT_TRUE(intact(&m));
}

/* Sends @m to its file, takes it out of memory and reads it from the disk. */
static bool on_disk(int fd, const struct mem *m)
{
	return page_out(m->p, m->len / page) && !fsync(fd) &&
	       !setting_write("/proc/sys/vm/drop_caches", "1") &&
	       file_has(fd, m);
}

TEST_F_TIMEOUT(odp_mr, write_survives_page_out_of_file, TIME)
{
	struct mem m;
	int fd;

	if (skipped(no_file("HMM_DISK", 8 * page, &fd)))
		return;
	m = file_pages(fd, 8 * page, MAP_SHARED);
	ASSERT_NE(m.mr, NULL);
	cpu_fills(&m);
	ASSERT_EQ(0, msync(m.p, m.len, MS_SYNC));
	ASSERT_TRUE(dev_writes(&m, 0, m.len));
	EXPECT_TRUE(on_disk(fd, &m));

	/* The device has the pages when they are written back. */
	ASSERT_TRUE(dev_writes(&m, 0, m.len));
	ASSERT_EQ(0, msync(m.p, m.len, MS_SYNC));
	EXPECT_TRUE(file_has(fd, &m));
	ASSERT_TRUE(dev_writes(&m, page, 3 * page));
	EXPECT_TRUE(on_disk(fd, &m));
	EXPECT_TRUE(intact(&m));
}

TEST_F_TIMEOUT(odp_mr, write_survives_page_out_of_private_file, TIME)
{
	struct mem m;
	int fd;

	if (skipped(no_file("HMM_DISK", 8 * page, &fd)))
		return;
	m = file_pages(fd, 8 * page, MAP_PRIVATE);
	ASSERT_NE(m.mr, NULL);
	ASSERT_TRUE(dev_reads(&m, 0, m.len));
	ASSERT_TRUE(dev_writes(&m, 2 * page, 4 * page));
	if (!page_out(m.p, 8))
		SKIP(return, "pages do not go out: no swap");
	EXPECT_TRUE(intact(&m));
}

/* ---- memory changes below a region ---- */

TEST_F_TIMEOUT(odp_mr, unmapped_and_mapped_again, TIME)
{
	struct mem m = small_pages(16);

	ASSERT_NE(m.mr, NULL);
	cpu_fills(&m);
	EXPECT_TRUE(dev_writes(&m, 0, m.len));
	ASSERT_EQ(0, munmap(m.p + 4 * page, 4 * page));
	EXPECT_EQ(REFUSED, try_write(&m, 5 * page, page));
	EXPECT_EQ(REFUSED, try_read(&m, 7 * page, page, m.model));
	EXPECT_EQ(REFUSED, try_write(&m, 7 * page, 2 * page));
	EXPECT_TRUE(dev_reads(&m, 3 * page, page));
	EXPECT_TRUE(dev_writes(&m, 8 * page, page));

	ASSERT_EQ(m.p + 4 * page, mmap(m.p + 4 * page, 4 * page,
				       PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
				       -1, 0));
	cpu_fills(&m);
	EXPECT_TRUE(dev_reads(&m, 0, m.len));
	EXPECT_TRUE(dev_writes(&m, 5 * page, 3 * page));
	EXPECT_TRUE(intact(&m));
}

TEST_F_TIMEOUT(odp_mr, mapped_over, TIME)
{
	struct mem m = small_pages(16);

	ASSERT_NE(m.mr, NULL);
	cpu_fills(&m);
	EXPECT_TRUE(dev_writes(&m, 0, m.len));
	ASSERT_EQ(m.p, mmap(m.p, m.len, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	memset(m.model, 0, m.len);
	EXPECT_TRUE(dev_reads(&m, 0, m.len));
	EXPECT_TRUE(dev_writes(&m, 3 * page, page));
	EXPECT_TRUE(intact(&m));
}

TEST_F_TIMEOUT(odp_mr, moved, TIME)
{
	struct mem m = small_pages(16);
	size_t half = 8 * page;

	ASSERT_NE(m.mr, NULL);
	cpu_fills(&m);
	EXPECT_TRUE(dev_writes(&m, 0, m.len));
	ASSERT_EQ(m.p + half, mremap(m.p, half, half,
				     MREMAP_MAYMOVE | MREMAP_FIXED,
				     m.p + half));
	memcpy(m.model + half, m.model, half);
	EXPECT_EQ(REFUSED, try_read(&m, 0, page, m.model));
	EXPECT_EQ(REFUSED, try_write(&m, 7 * page, page));
	EXPECT_TRUE(dev_reads(&m, half, half));
	EXPECT_TRUE(dev_writes(&m, half, 3 * page));
	EXPECT_TRUE(same("moved", m.p + half, m.model + half, half));
}

TEST_F_TIMEOUT(odp_mr, protected, TIME)
{
	struct mem m = small_pages(16);

	ASSERT_NE(m.mr, NULL);
	cpu_fills(&m);
	EXPECT_TRUE(dev_writes(&m, 0, m.len));
	ASSERT_EQ(0, mprotect(m.p, 8 * page, PROT_READ));
	EXPECT_EQ(REFUSED, try_write(&m, 3 * page, page));
	EXPECT_EQ(REFUSED, try_write(&m, 7 * page, 2 * page));
	EXPECT_TRUE(dev_reads(&m, 0, m.len));
	EXPECT_TRUE(dev_writes(&m, 8 * page, page));

	ASSERT_EQ(0, mprotect(m.p, page, PROT_NONE));
	EXPECT_EQ(REFUSED, try_write(&m, 0, page));
	EXPECT_EQ(REFUSED, try_read(&m, 0, page, m.model));
	ASSERT_EQ(0, mprotect(m.p, m.len, PROT_READ | PROT_WRITE));

	/* The second page of what was refused above may have been written. */
	EXPECT_TRUE(same("protected", m.p, m.model, 7 * page));
	cpu_fills(&m);
	EXPECT_TRUE(dev_writes(&m, 0, 4 * page));
	EXPECT_TRUE(intact(&m));
}

/* Memory that may be read only, for one reason or another. */
TEST_F_TIMEOUT(odp_mr, memory_for_reading, TIME)
{
	int fd = memfd_create("odp", MFD_CLOEXEC);
	struct mem m;
	char *q;

	ASSERT_EQ(0, ftruncate(fd, 16 * page));
	q = mmap(NULL, 16 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(q, MAP_FAILED);
	m = mem_reg(area(16 * page, PROT_READ, MAP_SHARED, fd), 16 * page,
		    ODP_RDONLY);
	ASSERT_NE(m.mr, NULL);
	fill(m.model, m.len);
	memcpy(q, m.model, m.len);
	EXPECT_TRUE(dev_reads(&m, 0, m.len));
	EXPECT_EQ(REFUSED, try_write(&m, 0, page));

	/* The region promises more than the memory holds. */
	EXPECT_EQ(0, ibv_dereg_mr(m.mr));
	m.mr = odp_reg(&rdma, m.p, m.len, m.iova, ODP_ALL);
	ASSERT_NE(m.mr, NULL);
	EXPECT_EQ(REFUSED, try_write(&m, 4 * page, page));
	EXPECT_TRUE(dev_reads(&m, 0, m.len));
	EXPECT_TRUE(intact(&m));
}

TEST_F_TIMEOUT(odp_mr, region_for_reading, TIME)
{
	struct mem m = mem_reg(anon_area(16, false), 16 * page, ODP_RDONLY);

	ASSERT_NE(m.mr, NULL);
	cpu_fills(&m);
	EXPECT_EQ(REFUSED, try_write(&m, 0, page));
	EXPECT_TRUE(dev_reads(&m, 0, m.len));
	EXPECT_EQ(REFUSED, try_write(&m, 0, page));
	cpu_fills(&m);
	EXPECT_TRUE(dev_reads(&m, 0, m.len));
	EXPECT_TRUE(intact(&m));
}

TEST_F_TIMEOUT(odp_mr, discarded, TIME)
{
	struct mem m = small_pages(16);

	ASSERT_NE(m.mr, NULL);
	cpu_fills(&m);
	EXPECT_TRUE(dev_writes(&m, 0, m.len));
	ASSERT_EQ(0, madvise(m.p, 8 * page, MADV_DONTNEED));
	memset(m.model, 0, 8 * page);
	EXPECT_TRUE(dev_reads(&m, 0, m.len));
	EXPECT_TRUE(dev_writes(&m, 2 * page, 3 * page));
	EXPECT_TRUE(intact(&m));
}

TEST_F_TIMEOUT(odp_mr, truncated, TIME)
{
	struct mem m;
	int fd;

	if (skipped(no_file("HMM_DISK", 16 * page, &fd)))
		return;
	m = file_pages(fd, 16 * page, MAP_SHARED);
	ASSERT_NE(m.mr, NULL);
	EXPECT_TRUE(dev_writes(&m, 0, m.len));
	ASSERT_EQ(0, ftruncate(fd, 8 * page));
	EXPECT_EQ(REFUSED, try_write(&m, 8 * page, page));
	EXPECT_EQ(REFUSED, try_read(&m, 15 * page, page, m.model));
	EXPECT_TRUE(dev_reads(&m, 0, 8 * page));
	ASSERT_EQ(0, ftruncate(fd, 16 * page));
	memset(m.model + 8 * page, 0, 8 * page);
	EXPECT_TRUE(dev_reads(&m, 0, m.len));
}

TEST_F_TIMEOUT(odp_mr, swapped_out, TIME)
{
	struct mem m = small_pages(16);

	ASSERT_NE(m.mr, NULL);
	cpu_fills(&m);
	EXPECT_TRUE(dev_writes(&m, 0, 8 * page));
	if (!page_out(m.p, 16))
		SKIP(return, "pages do not go out: no swap");
	EXPECT_TRUE(dev_reads(&m, 0, m.len));
	ASSERT_TRUE(page_out(m.p, 16));
	EXPECT_TRUE(dev_writes(&m, 4 * page, 8 * page));
	EXPECT_TRUE(intact(&m));
}

/* Moves @n pages at @p to another memory node: NULL, or what is missing. */
static const char *no_migration(char *p, size_t n)
{
	void *pages[n];
	int nodes[n], status[n];
	size_t i;

	for (i = 0; i < n; i++)
		pages[i] = p + i * page;
	if (syscall(SYS_move_pages, 0, n, pages, NULL, status, 0) ||
	    status[0] < 0)
		return "pages do not say where they are (CONFIG_NUMA_MIGRATION)";
	for (i = 0; i < n; i++)
		nodes[i] = !status[0];
	if (syscall(SYS_move_pages, 0, n, pages, nodes, status,
		    MPOL_MF_MOVE) || status[0] != nodes[0])
		return "pages do not move: one memory node";
	return NULL;
}

TEST_F_TIMEOUT(odp_mr, migrated, TIME)
{
	struct mem m = small_pages(16);
	__u64 pfn;
	int i;

	ASSERT_NE(m.mr, NULL);
	cpu_fills(&m);
	for (i = 0; i < 4; i++) {
		EXPECT_TRUE(dev_writes(&m, i * page, 9 * page));
		pfn = PAGEMAP_PFN(pm(m.p));
		if (skipped(no_migration(m.p, 16)))
			return;
		ASSERT_NE(pfn, PAGEMAP_PFN(pm(m.p)));
		EXPECT_TRUE(dev_reads(&m, 0, m.len));
		EXPECT_TRUE(dev_writes(&m, 3 * page, 2 * page));
		EXPECT_TRUE(intact(&m));
	}
}

TEST_F_TIMEOUT(odp_mr, collapsed_and_split, TIME)
{
	struct mem m;

	if (skipped(no_thp()))
		return;
	m = small_pages(nr_pmd);
	ASSERT_NE(m.mr, NULL);
	cpu_fills(&m);
	EXPECT_TRUE(dev_writes(&m, 0, m.len));
	ASSERT_EQ(0, madvise(m.p, m.len, MADV_HUGEPAGE));
	ASSERT_EQ(0, madvise(m.p, m.len, MADV_COLLAPSE));
	ASSERT_TRUE(check_huge_anon(m.p, pmd, 1, pmd));
	EXPECT_TRUE(dev_reads(&m, 0, m.len));
	EXPECT_TRUE(dev_writes(&m, 8 * page, m.len - 16 * page));
	EXPECT_TRUE(intact(&m));

	/* A page in the middle goes, and takes the huge page along. */
	ASSERT_EQ(0, madvise(m.p + 100 * page, page, MADV_DONTNEED));
	memset(m.model + 100 * page, 0, page);
	EXPECT_FALSE(check_huge_anon(m.p, pmd, 1, pmd));
	EXPECT_TRUE(dev_reads(&m, 0, m.len));
	EXPECT_TRUE(dev_writes(&m, 50 * page, 100 * page));
	EXPECT_TRUE(intact(&m));
}

/*
 * A child that has a copy of everything, and says in its exit status whether
 * memory is still the same when it is told to look.
 */
struct keeper {
	pid_t pid;
	int go;
};

static struct keeper keeper_start(const struct mem *m)
{
	struct keeper k;
	int fds[2];
	char c;

	if (pipe(fds))
		ksft_exit_fail_msg("no pipe\n");
	k.go = fds[1];
	k.pid = fork();
	if (k.pid < 0)
		ksft_exit_fail_msg("cannot fork\n");
	if (k.pid)
		return k;
	close(fds[1]);
	if (read(fds[0], &c, 1) != 1)
		_exit(2);
	_exit(!intact(m));
}

static bool keeper_has_it(struct keeper k)
{
	int status;

	return write(k.go, "", 1) == 1 && waitpid(k.pid, &status, 0) == k.pid &&
	       WIFEXITED(status) && !WEXITSTATUS(status);
}

TEST_F_TIMEOUT(odp_mr, copied_on_write, TIME)
{
	struct mem m = small_pages(16);
	struct keeper child;
	uint64_t old;

	ASSERT_NE(m.mr, NULL);
	cpu_fills(&m);
	EXPECT_TRUE(dev_writes(&m, 0, 8 * page));
	child = keeper_start(&m);
	EXPECT_TRUE(dev_reads(&m, 0, m.len));
	EXPECT_TRUE(dev_writes(&m, 0, 4 * page));
	EXPECT_TRUE(dev_writes(&m, 12 * page, 4 * page));
	old = *word_of(&m, 5 * page);
	*word_of(&m, 5 * page) = 1;
	EXPECT_EQ(0, odp_cmp_swap(&pair, m.mr->rkey, m.iova + 5 * page, old, 1,
				  &old));
	*word_of(&m, 6 * page) = 2;
	EXPECT_EQ(0, odp_atomic_write(&pair, m.mr->rkey, m.iova + 6 * page, 2));
	EXPECT_TRUE(intact(&m));
	EXPECT_TRUE(keeper_has_it(child));
}

TEST_F_TIMEOUT(odp_mr, huge_page_copied_on_write, TIME)
{
	struct keeper child;
	struct mem m;

	if (skipped(no_thp()))
		return;
	m = huge_pages(1);
	ASSERT_NE(m.mr, NULL);
	EXPECT_TRUE(dev_writes(&m, 0, m.len));
	child = keeper_start(&m);
	EXPECT_TRUE(dev_reads(&m, 0, m.len));
	EXPECT_TRUE(dev_writes(&m, 7 * page, 9 * page));
	EXPECT_TRUE(intact(&m));
	EXPECT_TRUE(keeper_has_it(child));
}

/* Once munmap() has returned, what is on its way does not arrive any more. */
TEST_F_TIMEOUT(odp_mr, invalidation_waits_for_what_is_on_its_way, TIME)
{
	int fd = memfd_create("odp", MFD_CLOEXEC), i, status;
	size_t len = 256 * page;
	struct ibv_sge sge = { (uintptr_t)pair.buf, len, pair.mr->lkey };
	char *also, *was = malloc(len);
	struct mem m;
	__u64 end;

	ASSERT_EQ(0, ftruncate(fd, len));
	also = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(also, MAP_FAILED);
	m = file_pages(fd, len, MAP_SHARED);
	ASSERT_NE(m.mr, NULL);
	for (i = 0; i < 8; i++) {
		struct ibv_send_wr wr = {
			.sg_list = &sge, .num_sge = 1,
			.opcode = IBV_WR_RDMA_WRITE,
			.wr.rdma = { m.iova, m.mr->rkey },
		};

		memset(also, 0, len);
		memset(pair.buf, i + 1, len);
		ASSERT_EQ(0, odp_post(&pair, &wr));
		end = now_ms() + 5000;
		while (!__atomic_load_n(also + i * page, __ATOMIC_RELAXED) &&
		       now_ms() < end)
			;
		ASSERT_EQ(0, munmap(m.p, len));
		memcpy(was, also, len);
		status = odp_wait(&pair, 0);
		EXPECT_TRUE(!status || status == REFUSED);
		EXPECT_TRUE(same("unmapped", also, was, len));
		ASSERT_EQ(m.p, mmap(m.p, len, PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_FIXED, fd, 0));
	}
}

/* ---- registration ---- */

/* Whether there is an error, and if so which. */
static int reg_error(const void *p, size_t len, unsigned int access)
{
	struct ibv_mr *mr = odp_reg(&rdma, p, len, (uintptr_t)p, access);

	if (!mr)
		return errno;
	ibv_dereg_mr(mr);
	return 0;
}

TEST_F_TIMEOUT(odp_mr, wrong_addresses, TIME)
{
	char *p = anon_area(4, false);
	int err;

	EXPECT_EQ(EINVAL, reg_error(p, 0, ODP_ALL));
	err = reg_error((void *)-page, 2 * page, ODP_ALL);
	EXPECT_TRUE(err == EOVERFLOW || err == EINVAL);
	err = reg_error(p, -page, ODP_ALL);
	EXPECT_TRUE(err == EOVERFLOW || err == EINVAL || err == EFAULT);
	err = reg_error((void *)-page, page, ODP_ALL);
	EXPECT_TRUE(err == EOVERFLOW || err == EINVAL || err == EFAULT);
}

TEST_F_TIMEOUT(odp_weak, wrong_addresses, TIME)
{
	char *p = anon_area(4, false);

	EXPECT_EQ(EINVAL, reg_error(p + 1, 0, ODP_ALL));
	EXPECT_EQ(EFAULT, reg_error((void *)0xffff888000000000, page, ODP_ALL));
	EXPECT_EQ(EFAULT, reg_error((void *)(1UL << 62), page, ODP_ALL));
	EXPECT_EQ(EFAULT, reg_error((void *)(1UL << 47), page, ODP_ALL));
	EXPECT_EQ(EFAULT, reg_error(p, 1UL << 48, ODP_ALL));
}

TEST_F_TIMEOUT(odp_mr, wrong_flags, TIME)
{
	char *p = anon_area(4, false);
	int err;

	EXPECT_EQ(EINVAL, reg_error(p, page, ODP_ALL | 1 << 15));
	EXPECT_EQ(EINVAL, reg_error(p, page, IBV_ACCESS_ON_DEMAND |
				    IBV_ACCESS_REMOTE_WRITE));
	EXPECT_EQ(EINVAL, reg_error(p, page, IBV_ACCESS_ON_DEMAND |
				    IBV_ACCESS_REMOTE_ATOMIC));
	err = reg_error(p, page, IBV_ACCESS_HUGETLB | IBV_ACCESS_LOCAL_WRITE);
	EXPECT_TRUE(err == EINVAL || err == EOPNOTSUPP);

	/* All of memory, pinned, or of huge pages. */
	EXPECT_NE(0, reg_error(NULL, SIZE_MAX, IBV_ACCESS_LOCAL_WRITE));
	err = reg_error(NULL, SIZE_MAX, ODP_ALL | IBV_ACCESS_HUGETLB);
	EXPECT_TRUE(err == EINVAL || err == EOPNOTSUPP);
	EXPECT_EQ(0, reg_error(p, page, ODP_ALL));
}

/* A region needs no memory before the device asks for it. */
TEST_F_TIMEOUT(odp_mr, registered_before_it_is_mapped, TIME)
{
	char *p = anon_area(16, false);
	struct mem m;

	ASSERT_EQ(0, munmap(p, 16 * page));
	m = mem_reg(p, 16 * page, ODP_ALL);
	ASSERT_NE(m.mr, NULL);
	EXPECT_EQ(REFUSED, try_write(&m, 0, page));
	EXPECT_EQ(REFUSED, try_read(&m, 8 * page, page, m.model));
	ASSERT_EQ(p, mmap(p, 16 * page, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	EXPECT_TRUE(all_right(&m));
}

TEST_F_TIMEOUT(odp_mr, deregistered, TIME)
{
	struct mem m = small_pages(16);

	ASSERT_NE(m.mr, NULL);
	EXPECT_TRUE(dev_writes(&m, 0, m.len));
	EXPECT_EQ(0, ibv_dereg_mr(m.mr));
	EXPECT_EQ(REFUSED, odp_write(&pair, m.mr->rkey, m.iova, "", 1));
	EXPECT_TRUE(intact(&m));
}

TEST_F_TIMEOUT(odp_mr, out_of_a_region, TIME)
{
	struct mem m = small_pages(16);

	ASSERT_NE(m.mr, NULL);
	cpu_fills(&m);
	EXPECT_EQ(REFUSED, try_write(&m, m.len, page));
	EXPECT_EQ(REFUSED, try_write(&m, m.len - page, 2 * page));
	EXPECT_EQ(REFUSED, try_write(&m, -page, page));
	EXPECT_EQ(REFUSED, try_read(&m, m.len, 1, m.model));
	EXPECT_EQ(REFUSED, odp_write(&pair, m.mr->rkey ^ 1, m.iova, "", 1));
	EXPECT_TRUE(intact(&m));
}

TEST_F_TIMEOUT(odp_mr, two_regions_of_one_memory, TIME)
{
	struct mem m = small_pages(16), other = m;

	other.mr = odp_reg(&rdma, m.p, 8 * page, m.iova, ODP_ALL);
	ASSERT_NE(m.mr, NULL);
	ASSERT_NE(other.mr, NULL);
	EXPECT_TRUE(all_right(&m));
	EXPECT_TRUE(dev_writes(&other, 0, 8 * page));
	EXPECT_TRUE(dev_reads(&m, 0, m.len));
	ASSERT_EQ(0, madvise(m.p, m.len, MADV_DONTNEED));
	memset(m.model, 0, m.len);
	EXPECT_TRUE(dev_reads(&other, 0, 8 * page));
	EXPECT_TRUE(dev_reads(&m, 0, m.len));
	EXPECT_EQ(0, ibv_dereg_mr(other.mr));
	EXPECT_TRUE(all_right(&m));
}

TEST_F_TIMEOUT(odp_mr, flags_change, TIME)
{
	struct mem m = small_pages(16);

	ASSERT_NE(m.mr, NULL);
	cpu_fills(&m);
	ASSERT_EQ(0, odp_rereg(&rdma, m.mr, ODP_RDONLY));
	EXPECT_EQ(REFUSED, try_write(&m, 0, page));
	EXPECT_TRUE(dev_reads(&m, 0, m.len));
	ASSERT_EQ(0, odp_rereg(&rdma, m.mr, ODP_ALL));
	EXPECT_TRUE(all_right(&m));
	EXPECT_NE(0, odp_rereg(&rdma, m.mr, 1 << 15));
	EXPECT_TRUE(all_right(&m));
}

/* What was for reading only cannot become more. */
TEST_F_TIMEOUT(odp_mr, flags_do_not_grow, TIME)
{
	struct mem m = mem_reg(anon_area(16, false), 16 * page, ODP_RDONLY);

	ASSERT_NE(m.mr, NULL);
	cpu_fills(&m);
	EXPECT_NE(0, odp_rereg(&rdma, m.mr, ODP_ALL));
	EXPECT_EQ(REFUSED, try_write(&m, 0, page));
	EXPECT_TRUE(dev_reads(&m, 0, m.len));
	EXPECT_TRUE(intact(&m));
}

/* Whatever the answer is, a region stays what it is. */
TEST_F_TIMEOUT(odp_mr, flags_leave_the_kind, TIME)
{
	struct mem m = small_pages(16);
	struct mem pinned = mem_reg(anon_area(16, false), 16 * page,
				    ODP_ALL & ~IBV_ACCESS_ON_DEMAND);

	ASSERT_NE(m.mr, NULL);
	ASSERT_NE(pinned.mr, NULL);
	odp_rereg(&rdma, m.mr, ODP_ALL & ~IBV_ACCESS_ON_DEMAND);
	EXPECT_TRUE(all_right(&m));
	ASSERT_EQ(0, madvise(m.p, m.len, MADV_DONTNEED));
	memset(m.model, 0, m.len);
	EXPECT_TRUE(dev_reads(&m, 0, m.len));
	odp_rereg(&rdma, pinned.mr, ODP_ALL);
	EXPECT_TRUE(all_right(&pinned));
}

/* ---- memory windows ---- */

/* Opens a window, for what is @n bytes at @off of @m; w.mr has no more than keys. */
static struct mem window(struct mem *m, size_t off, size_t n, struct ibv_mw *mw,
			 struct ibv_mr *keys)
{
	struct mem w = { m->p + off, m->model + off, n, m->iova + off };
	int status;

	status = odp_bind(&pair, mw, m->mr, w.iova, n, IBV_ACCESS_REMOTE_READ |
			  IBV_ACCESS_REMOTE_WRITE);
	if (done("bind", status, off, n)) {
		*keys = (struct ibv_mr){ .rkey = mw->rkey };
		w.mr = keys;
	}
	return w;
}

/* What a window is open to can be reached. */
static bool window_right(struct mem *m, size_t off, size_t n)
{
	struct ibv_mw *mw = ibv_alloc_mw(rdma.pd, IBV_MW_TYPE_2);
	struct ibv_mr keys;
	struct mem w;
	bool right;

	if (!mw)
		return false;
	w = window(m, off, n, mw, &keys);
	right = w.mr && dev_writes(&w, 0, n) && intact(m) &&
		dev_reads(&w, 0, n);
	return !ibv_dealloc_mw(mw) && right;
}

TEST_F_TIMEOUT(odp_mr, window, TIME)
{
	struct mem m = mem_reg(anon_area(16, false), 16 * page,
			       ODP_ALL | IBV_ACCESS_MW_BIND);

	ASSERT_NE(m.mr, NULL);
	cpu_fills(&m);
	EXPECT_TRUE(window_right(&m, 4 * page, 6 * page));
	ASSERT_EQ(0, madvise(m.p, m.len, MADV_DONTNEED));
	memset(m.model, 0, m.len);
	EXPECT_TRUE(window_right(&m, 0, page));
}

/* What is in the region, but not in the window, cannot. */
TEST_F_TIMEOUT(odp_weak, window_has_ends, TIME)
{
	struct ibv_mw *mw = ibv_alloc_mw(rdma.pd, IBV_MW_TYPE_1);
	struct mem w, m = mem_reg(anon_area(16, false), 16 * page,
				  ODP_ALL | IBV_ACCESS_MW_BIND);
	struct ibv_mr keys;

	ASSERT_NE(mw, NULL);
	ASSERT_NE(m.mr, NULL);
	cpu_fills(&m);
	w = window(&m, 4 * page, 2 * page, mw, &keys);
	ASSERT_NE(w.mr, NULL);
	EXPECT_TRUE(dev_writes(&w, 0, w.len));
	EXPECT_EQ(REFUSED, try_write(&w, 2 * page, page));
	EXPECT_EQ(REFUSED, try_write(&w, -page, page));
	EXPECT_EQ(REFUSED, try_write(&w, page, 2 * page));
	EXPECT_TRUE(intact(&m));
	EXPECT_EQ(0, ibv_dealloc_mw(mw));
	EXPECT_EQ(0, ibv_dereg_mr(m.mr));
}

TEST_F_TIMEOUT(odp_weak, window_to_parts_of_pages, TIME)
{
	struct ibv_mr *all = odp_reg_implicit(&rdma, ODP_ALL |
					      IBV_ACCESS_MW_BIND);
	struct mem m = mem_reg(anon_area(16, false), 16 * page,
			       ODP_ALL | IBV_ACCESS_MW_BIND);

	ASSERT_NE(m.mr, NULL);
	cpu_fills(&m);
	EXPECT_TRUE(window_right(&m, 4 * page + 100, 6 * page + 1));
	EXPECT_TRUE(window_right(&m, page - 1, 2));
	ASSERT_NE(all, NULL);
	m.mr = all;
	EXPECT_TRUE(window_right(&m, 3 * page + 3, 5 * page));
}

/* ---- the kernel's part, counted ---- */

FIXTURE(odp_calls_weak) { };
FIXTURE_SETUP(odp_calls_weak)
{
	(void)skipped(rdma_setup());
}

FIXTURE_TEARDOWN(odp_calls_weak)
{
	odp_disconnect(&pair);
}

#define MAX_COUNTERS	64

static int counters[MAX_COUNTERS];
static unsigned int nr_counters;

/* Counts an event on all CPUs from now on. */
static bool count(const char *event)
{
	long cpu, cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct perf_event_attr attr = {
		.type = PERF_TYPE_TRACEPOINT,
		.size = sizeof(attr),
	};
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/sys/kernel/tracing/events/%s/id", event);
	attr.config = setting_number(path);
	for (cpu = 0; attr.config && cpu < cpus; cpu++) {
		fd = syscall(SYS_perf_event_open, &attr, -1, cpu, -1,
			     PERF_FLAG_FD_CLOEXEC);
		if (fd < 0 || nr_counters == MAX_COUNTERS)
			return false;
		counters[nr_counters++] = fd;
	}
	return attr.config;
}

static bool count_calls(void)
{
	return count("hmm/hmm_range_fault") && count("hmm/hmm_range_snapshot");
}

/* How many HMM calls there were since it was asked the last time. */
static unsigned long calls(void)
{
	static __u64 before;
	__u64 now = 0, n;
	unsigned int i;

	for (i = 0; i < nr_counters; i++)
		if (read(counters[i], &n, sizeof(n)) == sizeof(n))
			now += n;
	n = now - before;
	before = now;
	return n;
}

/* Cold, the device gets all of 2 MiB by two calls; then it needs no more. */
static void few_calls(struct __test_metadata *_metadata, struct mem *m)
{
	ASSERT_NE(m->mr, NULL);
	ASSERT_TRUE(count_calls());
	calls();
	EXPECT_TRUE(dev_writes(m, 0, m->len));
	EXPECT_GE(2, calls());
	EXPECT_TRUE(dev_writes(m, 0, m->len));
	EXPECT_TRUE(dev_reads(m, 0, m->len));
	EXPECT_EQ(0, calls());
	EXPECT_TRUE(intact(m));

	ASSERT_EQ(0, madvise(m->p, m->len, MADV_DONTNEED));
	memset(m->model, 0, m->len);
	EXPECT_TRUE(dev_reads(m, 0, m->len));
	EXPECT_GE(2, calls());
}

TEST_F_TIMEOUT(odp_calls_weak, huge_page, TIME)
{
	struct mem m;

	if (skipped(no_thp()))
		return;
	m = huge_pages(1);
	few_calls(_metadata, &m);
}

TEST_F_TIMEOUT(odp_calls_weak, small_pages, TIME)
{
	struct mem m = small_pages(nr_pmd);

	few_calls(_metadata, &m);
}

TEST_F_TIMEOUT(odp_calls_weak, implicit, TIME)
{
	struct mem m;

	if (skipped(no_thp()))
		return;
	m = implicit_pages(anon_area(nr_pmd, true), nr_pmd,
			   odp_reg_implicit(&rdma, ODP_ALL));
	few_calls(_metadata, &m);
}

/* ---- a process can always be killed ---- */

enum way { WRITE_TO, READ_FROM, SEND_FROM, ATOMIC_ON, ADVISE, ADVISE_LATER };

/*
 * The process that is to be killed. Its memory waits for a userfaultfd that
 * nobody answers; @holder keeps that open when the process itself is gone.
 */
struct victim {
	pid_t	pid;
	pid_t	holder;		/* 0: none */
	int	says;		/* when the fault waits, and when it has finished */
	int	mem;		/* a file that is mapped as long as its memory is */
};

FIXTURE(odp_kill)
{
	struct victim victim;
};

FIXTURE(odp_kill_weak)
{
	struct victim victim;
};

FIXTURE_VARIANT(odp_kill_weak)
{
	enum way way;
	bool implicit;
};

FIXTURE_VARIANT_ADD(odp_kill_weak, write) { .way = WRITE_TO };
FIXTURE_VARIANT_ADD(odp_kill_weak, read) { .way = READ_FROM };
FIXTURE_VARIANT_ADD(odp_kill_weak, send) { .way = SEND_FROM };
FIXTURE_VARIANT_ADD(odp_kill_weak, atomic) { .way = ATOMIC_ON };
FIXTURE_VARIANT_ADD(odp_kill_weak, advice_later) { .way = ADVISE_LATER };
FIXTURE_VARIANT_ADD(odp_kill_weak, implicit) {
	.way = WRITE_TO, .implicit = true,
};

/* Seconds until what was killed has to be gone, and then what it had. */
#define GONE	10

static int waiting_uffd;	/* of the victim */
static int victim_says, victim_mem;

/* Runs beside the victim's main thread, which may be stuck in a call. */
static void act_report(struct side *s)
{
	struct pollfd pfd = { .fd = waiting_uffd, .events = POLLIN };

	if (poll(&pfd, 1, 20000) == 1 && write(victim_says, "w", 1) != 1)
		_exit(1);
}

/* Has the device ask for the first page of @m. */
static void ask(struct mem *m, enum way way)
{
	struct ibv_sge sge = { (uintptr_t)pair.buf, 8, pair.mr->lkey };
	struct ibv_send_wr wr = { .sg_list = &sge, .num_sge = 1 };

	if (way == ADVISE || way == ADVISE_LATER) {
		advise(m, 0, page, PREFETCH_WRITE, way == ADVISE ? FLUSH : 0);
		return;
	}
	if (way == SEND_FROM)
		sge = (struct ibv_sge){ m->iova, 8, m->mr->lkey };
	wr.opcode = way == WRITE_TO ? IBV_WR_RDMA_WRITE :
		    way == READ_FROM ? IBV_WR_RDMA_READ :
		    way == SEND_FROM ? IBV_WR_SEND :
				       IBV_WR_ATOMIC_FETCH_AND_ADD;
	if (way == ATOMIC_ON)
		wr.wr.atomic = (typeof(wr.wr.atomic)){
			.remote_addr = m->iova, .rkey = m->mr->rkey,
		};
	else
		wr.wr.rdma = (typeof(wr.wr.rdma)){ m->iova, m->mr->rkey };
	if (odp_post(&pair, &wr))
		_exit(2);
}

/* Keeps the userfaultfd open, and nothing else of the victim. */
static pid_t holder_start(int uffd, void *mem)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	dup2(uffd, 3);
	close_range(4, ~0U, 0);
	munmap(mem, page);
	for (;;)
		pause();
}

/* Never returns. What it says is read by the test. */
static void victim_run(enum way way, bool implicit, bool held,
		       void (*end)(struct mem *m))
{
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct side beside = { .act = act_report, .once = true };
	pid_t holder = 0;
	struct mem m;
	void *mem;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	mem = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, victim_mem,
		   0);
	if (no_uffd(&waiting_uffd, 0) || mem == MAP_FAILED)
		_exit(3);
	/* Before there is a device that it could keep open as well. */
	if (held)
		holder = holder_start(waiting_uffd, mem);
	if (write(victim_says, &holder, sizeof(holder)) != sizeof(holder) ||
	    rdma_setup())
		_exit(4);
	m = mem_at(anon_area(16, false), 16 * page);
	m.mr = implicit ? odp_reg_implicit(&rdma, ODP_ALL) :
			  odp_reg(&rdma, m.p, m.len, m.iova, ODP_ALL);
	reg.range.start = m.iova;
	reg.range.len = m.len;
	if (!m.mr || ioctl(waiting_uffd, UFFDIO_REGISTER, &reg) ||
	    side_start(&beside))
		_exit(5);
	ask(&m, way);
	if (end) {
		side_stop(&beside);
		end(&m);
		if (write(victim_says, "e", 1) != 1)
			_exit(6);
	}
	for (;;)
		pause();
}

static struct victim victim_start(enum way way, bool implicit, bool held,
				  void (*end)(struct mem *m))
{
	struct victim v = { };
	int fds[2];

	v.mem = memfd_create("odp", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (pipe2(fds, O_CLOEXEC) || ftruncate(v.mem, page))
		ksft_exit_fail_msg("no pipe or no memory\n");
	v.pid = fork();
	if (v.pid < 0)
		ksft_exit_fail_msg("cannot fork\n");
	if (!v.pid) {
		victim_says = fds[1];
		victim_mem = v.mem;
		victim_run(way, implicit, held, end);
	}
	close(fds[1]);
	v.says = fds[0];
	if (read(v.says, &v.holder, sizeof(v.holder)) != sizeof(v.holder))
		ksft_exit_fail_msg("no userfaultfd\n");
	return v;
}

/* Waits until the victim says @what. */
static bool victim_says_so(struct victim *v, char what, unsigned int seconds)
{
	struct pollfd pfd = { .fd = v->says, .events = POLLIN };
	char c = 0;

	return poll(&pfd, 1, seconds * 1000) == 1 && read(v->says, &c, 1) == 1 &&
	       c == what;
}

/* Kills it: whether it is gone in time. */
static bool victim_dies(struct victim *v)
{
	__u64 end = now_ms() + GONE * 1000;
	pid_t pid = 0;

	if (kill(v->pid, SIGKILL))
		return false;
	while (!pid && now_ms() < end) {
		pid = waitpid(v->pid, NULL, WNOHANG);
		usleep(pid ? 0 : 10000);
	}
	return pid == v->pid;
}

/* Whether its memory is given back: a file that is mapped cannot be sealed. */
static bool victim_leaves_nothing(struct victim *v)
{
	__u64 end = now_ms() + GONE * 1000;

	while (fcntl(v->mem, F_ADD_SEALS, F_SEAL_WRITE)) {
		if (errno != EBUSY || now_ms() > end)
			return false;
		usleep(10000);
	}
	return true;
}

/* All of it is, and that takes nobody's answer. */
static bool victim_is_gone(struct victim *v)
{
	bool dies = victim_dies(v);

	if (!dies)
		ksft_print_msg("the process is still there\n");
	if (victim_leaves_nothing(v))
		return dies;
	ksft_print_msg("its memory is still there\n");
	return false;
}

/* A victim that is left is not waited for. */
static void victim_forget(struct victim *v)
{
	if (v->holder)
		kill(v->holder, SIGKILL);
}

FIXTURE_SETUP(odp_kill)
{
	machine_known();
}

FIXTURE_TEARDOWN(odp_kill)
{
	victim_forget(&self->victim);
}

/* That its own descriptor is closed ends the wait. */
TEST_F_TIMEOUT(odp_kill, while_its_own_uffd_is_waited_for, TIME)
{
	self->victim = victim_start(WRITE_TO, false, false, NULL);
	ASSERT_TRUE(victim_says_so(&self->victim, 'w', 30));
	EXPECT_TRUE(victim_is_gone(&self->victim));
}

TEST_F_TIMEOUT(odp_kill, while_its_advice_waits, TIME)
{
	self->victim = victim_start(ADVISE, false, true, NULL);
	ASSERT_TRUE(victim_says_so(&self->victim, 'w', 30));
	EXPECT_TRUE(victim_is_gone(&self->victim));
}

FIXTURE_SETUP(odp_kill_weak)
{
	machine_known();
	self->victim = victim_start(variant->way, variant->implicit, true,
				    NULL);
}

FIXTURE_TEARDOWN(odp_kill_weak)
{
	victim_forget(&self->victim);
}

TEST_F_TIMEOUT(odp_kill_weak, while_a_fault_waits, TIME)
{
	ASSERT_TRUE(victim_says_so(&self->victim, 'w', 30));
	EXPECT_TRUE(victim_is_gone(&self->victim));
}

/* Nor does what the process itself does about it wait for ever. */
FIXTURE(odp_end_weak)
{
	struct victim victim;
};

FIXTURE_SETUP(odp_end_weak)
{
	machine_known();
}

FIXTURE_TEARDOWN(odp_end_weak)
{
	victim_forget(&self->victim);
}

static void end_qp(struct mem *m)
{
	if (ibv_destroy_qp(pair.qp[1]) || ibv_destroy_qp(pair.qp[0]))
		_exit(7);
}

/* It may be refused as long as the region is used, but it has to come back. */
static void end_region(struct mem *m)
{
	ibv_dereg_mr(m->mr);
}

static void end_all(struct mem *m)
{
	end_qp(m);
	if (ibv_dereg_mr(m->mr))
		_exit(8);
}

TEST_F_TIMEOUT(odp_end_weak, destroy_qp, TIME)
{
	self->victim = victim_start(WRITE_TO, false, true, end_qp);
	ASSERT_TRUE(victim_says_so(&self->victim, 'w', 30));
	EXPECT_TRUE(victim_says_so(&self->victim, 'e', GONE));
	EXPECT_TRUE(victim_is_gone(&self->victim));
}

TEST_F_TIMEOUT(odp_end_weak, dereg_mr, TIME)
{
	self->victim = victim_start(WRITE_TO, false, true, end_region);
	ASSERT_TRUE(victim_says_so(&self->victim, 'w', 30));
	EXPECT_TRUE(victim_says_so(&self->victim, 'e', GONE));
	EXPECT_TRUE(victim_is_gone(&self->victim));
}

TEST_F_TIMEOUT(odp_end_weak, destroy_qp_and_dereg_mr, TIME)
{
	self->victim = victim_start(SEND_FROM, false, true, end_all);
	ASSERT_TRUE(victim_says_so(&self->victim, 'w', 30));
	EXPECT_TRUE(victim_says_so(&self->victim, 'e', GONE));
	EXPECT_TRUE(victim_is_gone(&self->victim));
}

/* ---- a process that just ends ---- */

TEST_F_TIMEOUT(odp_mr, exit_with_everything_open, TIME)
{
	int status;
	pid_t pid;

	odp_disconnect(&pair);
	odp_close(&rdma);
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		struct mem m;

		if (rdma_setup())
			_exit(1);
		m = small_pages(64);
		_exit(!m.mr || !all_right(&m));
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(NULL, rdma_setup());
	EXPECT_EQ(pair.dev, &rdma);
}

int main(int argc, char **argv)
{
	machine_save();
	return test_harness_run(argc, argv);
}
