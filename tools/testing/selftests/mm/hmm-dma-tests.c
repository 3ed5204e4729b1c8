// SPDX-License-Identifier: GPL-2.0
/*
 * Tests of the HMM DMA and mirror layers with devices that really do DMA, those
 * of lib/test_hmm_dma.c.
 *
 * What can be believed is what the device has read or written, and what an
 * IOMMU says of an access that it refused. Each test ends with a look at the
 * kernel log: it has to name every access that was meant to be refused and no
 * other.
 *
 * Which fixtures can be run depends on what is between device and memory:
 *
 *	hmm_dma			anything
 *	hmm_dma_iommu		an IOMMU
 *	hmm_dma_intel		an Intel IOMMU, and debugfs to look into it
 *	hmm_dma_direct		no IOMMU
 *	hmm_dma_coherent	device-coherent memory of test_hmm, loaded with its
 *				parameters spm_addr_dev0 and spm_addr_dev1
 *	hmm_dma_peer		a device and a peer below the same switch
 *	hmm_dma_peer_host	a device and a peer on the root bus, and a host
 *				bridge known to pass accesses on
 *	hmm_dma_peer_refused	the same, but the host bridge is not known
 *
 * What else a test needs comes from the environment, if it is there:
 *
 *	HMM_DAX_EXT4	a directory on a file system mounted with -o dax, whose
 *			files begin at multiples of 2 MB
 *	HMM_DISK	a directory on an ordinary file system with a disk
 *	HMM_DMA_NARROW	the number of the device that test_hmm_dma has been told
 *			to give a narrow DMA mask
 *
 * Names of tests that begin with "invariant" refer to what the layers keep
 * whatever happens, see Documentation/mm/hmm.rst. Needs root. Settings
 * that are changed (huge pages, swap) are put back at the end.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <libgen.h>
#include <limits.h>
#include <linux/mempolicy.h>
#include <linux/mman.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lib/test_hmm_uapi.h>

#include "hmm_dma_util.h"
#include "hmm_range_util.h"

#define DMA_WRITE	HMM_DMA_TEST_WRITE
#define DMA_PREFETCH	HMM_DMA_TEST_PREFETCH
#define DMA_PARTIAL	HMM_DMA_TEST_PARTIAL
#define DMA_NOFAULT	HMM_DMA_TEST_NOFAULT

/*
 * Seconds that a test may take. In a guest whose clock counts instructions they
 * pass in no time when it waits for a disk.
 */
#define TIME		900

#define DRIVER_DIR	"/sys/bus/pci/drivers/hmm_dma"
#define COHERENT_DEVICE	"/dev/hmm_dmirror2"

/* What a broken device writes, and what it has before it reads. */
#define POISON		0xeeeeeeeeU
#define NOTHING		0x55555555U

static int dma = -1;		/* the device */
static int kmsg = -1;		/* the kernel log since the test began */
static unsigned int refused;	/* accesses that the IOMMU had to refuse */

/* ---- what the kernel log says ---- */

static unsigned int faults_in_log(void)
{
	static unsigned int sum;
	char line[1024];
	ssize_t n;

	for (;;) {
		n = read(kmsg, line, sizeof(line) - 1);
		if (n < 0 && errno == EPIPE)
			ksft_exit_fail_msg("lines of the kernel log are lost\n");
		if (n <= 0)
			return sum;
		line[n] = 0;
		/* Of an Intel IOMMU, and of a virtio one. */
		sum += strstr(line, "DMAR: [DMA ") ||
		       strstr(line, "fault from EP ");
	}
}

/* Faults are reported by an interrupt of their own, which may be a bit late. */
static bool log_agrees(void)
{
	__u64 end = now_ms() + 3000;

	while (faults_in_log() < refused && now_ms() < end)
		usleep(10000);
	usleep(100000);		/* one too many may be late as well */
	if (faults_in_log() == refused)
		return true;
	ksft_print_msg("%u accesses had to be refused, the log has %u\n",
		       refused, faults_in_log());
	return false;
}

/*
 * One more; not so fast that the kernel would leave some out of its log: an
 * Intel IOMMU counts each three times, and may do so ten times in 5 s.
 */
static void count_refused(void)
{
	refused++;
	usleep(2000000);
}

/* ---- fixtures ---- */

static const char *dma_setup(void)
{
	const char *why = range_setup();

	if (why)
		return why;
	fault_mode = HMM_RANGE_TEST_FAULT_UNLOCKED;
	dma = dma_open(0);
	if (dma < 0)
		return "no /dev/hmm_dma0: test_hmm_dma and an edu device, as root";
	kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (kmsg < 0 || lseek(kmsg, 0, SEEK_END) < 0)
		ksft_exit_fail_msg("no /dev/kmsg\n");
	return NULL;
}

static bool has_iommu(void)
{
	return dma_status(dma).iommu == HMM_DMA_TEST_IOMMU_DMA;
}

static const char *iommu_setup(bool iommu)
{
	const char *why = dma_setup();

	if (why)
		return why;
	if (iommu == has_iommu())
		return NULL;
	return iommu ? "no IOMMU that translates" : "there is an IOMMU";
}

FIXTURE(hmm_dma) { };
FIXTURE_SETUP(hmm_dma)
{
	(void)skipped(dma_setup());
}

FIXTURE_TEARDOWN(hmm_dma)
{
	EXPECT_TRUE(log_agrees());
}

FIXTURE(hmm_dma_iommu) { };
FIXTURE_SETUP(hmm_dma_iommu)
{
	(void)skipped(iommu_setup(true));
}

FIXTURE_TEARDOWN(hmm_dma_iommu)
{
	EXPECT_TRUE(log_agrees());
}

/* The IOMMU's page table of device 0, or an empty string. */
static char iommu_dump[PATH_MAX];

static const char *intel_setup(void)
{
	const char *why = iommu_setup(true);
	char path[PATH_MAX] = "";

	if (why)
		return why;
	if (dma_sysfs(0))
		snprintf(path, sizeof(path), "%s", dma_sysfs(0));
	snprintf(iommu_dump, sizeof(iommu_dump),
		 "/sys/kernel/debug/iommu/intel/%s/domain_translation_struct",
		 basename(path));
	if (!access(iommu_dump, R_OK))
		return NULL;
	return "no Intel IOMMU to look into (CONFIG_INTEL_IOMMU_DEBUGFS)";
}

FIXTURE(hmm_dma_intel) { };
FIXTURE_SETUP(hmm_dma_intel)
{
	(void)skipped(intel_setup());
}

FIXTURE_TEARDOWN(hmm_dma_intel)
{
	EXPECT_TRUE(log_agrees());
}

FIXTURE(hmm_dma_direct) { };
FIXTURE_SETUP(hmm_dma_direct)
{
	(void)skipped(iommu_setup(false));
}

FIXTURE_TEARDOWN(hmm_dma_direct)
{
	EXPECT_TRUE(log_agrees());
}

/* ---- contents ---- */

/* Populates an even number of pages, with neighbours that are not contiguous. */
static void scatter(char *p, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		p[(2 * i % n + 2 * i / n) * page] = 1;
}

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

	for (i = 0; i < size; i++) {
		if (x[i] == y[i])
			continue;
		ksft_print_msg("%s: byte %zu of %zu is %02x instead of %02x\n",
			       what, i, size, x[i], y[i]);
		return false;
	}
	return true;
}

/* The device reads what is there, by what it has been given before. */
static bool reads_right(const char *p, size_t size)
{
	char buf[HMM_DMA_TEST_MAX_SIZE];

	fill(buf, size);
	return !dma_copy(dma, p, buf, size, DMA_NOFAULT) &&
	       same("read", buf, p, size);
}

static bool writes_right(char *p, size_t size)
{
	char buf[HMM_DMA_TEST_MAX_SIZE];

	fill(buf, size);
	return !dma_copy(dma, p, buf, size, DMA_NOFAULT | DMA_WRITE) &&
	       same("written", p, buf, size);
}

/* A page in both directions, whole and a piece in the middle. */
static bool page_right(char *p, bool write)
{
	if (write && (!writes_right(p, page) || !writes_right(p + 123, 456)))
		return false;
	if (write)
		fill(p, page);
	return reads_right(p, page) && reads_right(p + 77, 99);
}

/*
 * A page that area_right() does not look at. If QEMU has cached that it may be
 * read, a write is refused without being reported.
 */
#define UNREAD	3

/*
 * All of @n pages at @p can be mapped, and some of them read and written: at
 * both ends, in the middle, and between.
 */
static bool area_right(char *p, size_t n, bool write)
{
	const size_t at[] = { 0, 1, 31, 32, n / 2, n - 1 };
	size_t i;
	int ret = dma_fault(dma, p, n * page, write ? DMA_WRITE : 0);

	if (ret || dma_pages() != n) {
		ksft_print_msg("fault: %d, %zu of %zu pages\n", ret,
			       dma_pages(), n);
		return false;
	}
	for (i = 0; i < ARRAY_SIZE(at); i++) {
		if (at[i] < n && !page_right(p + at[i] * page, write)) {
			ksft_print_msg("at page %zu of %zu\n", at[i], n);
			return false;
		}
	}
	return true;
}

/* All of it and a little more is the device's window. */
static int mirror_around(const char *p, size_t len)
{
	return dma_mirror(dma, p - page, len + 2 * page);
}

/* ---- each kind of memory ---- */

TEST_F_TIMEOUT(hmm_dma, small_pages_contiguous, TIME)
{
	char *p;

	/* A THP that has been split in the page table only. */
	if (skipped(no_thp()))
		return;
	p = anon_area(nr_pmd, true);
	ASSERT_NE(p, NULL);
	*p = 1;
	ASSERT_EQ(0, mprotect(p + pmd / 2, page, PROT_READ));
	ASSERT_EQ(0, mprotect(p + pmd / 2, page, PROT_READ | PROT_WRITE));
	ASSERT_EQ(0, snapshot(p, nr_pmd));
	ASSERT_EQ(pfns[0] + nr_pmd - 1, pfns[nr_pmd - 1]);
	ASSERT_LT(pfns[0] & HMM_RANGE_PFN_ORDER_MASK, ORDER(9));

	ASSERT_EQ(0, mirror_around(p, pmd));
	EXPECT_TRUE(area_right(p, nr_pmd, true));
}

TEST_F_TIMEOUT(hmm_dma, small_pages_scattered, TIME)
{
	size_t n = 70;
	char *p = anon_area(n, false);

	ASSERT_NE(p, NULL);
	scatter(p, n);
	ASSERT_EQ(n, populated(p, n));
	ASSERT_EQ(0, snapshot(p, n));
	ASSERT_NE(pfns[0] + 1, pfns[1]);

	ASSERT_EQ(0, mirror_around(p, n * page));
	EXPECT_TRUE(area_right(p, n, true));
}

TEST_F_TIMEOUT(hmm_dma, mthp, TIME)
{
	char *p;

	if (skipped(no_mthp()))
		return;
	thp_policy(MTHP_SIZE);
	p = anon_area(64, true);
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, mirror_around(p, 64 * page));
	EXPECT_TRUE(area_right(p, 64, true));
	ASSERT_EQ(0, snapshot(p, 64));
	EXPECT_TRUE(mapped(p, 0, 64, RW | ORDER(4), 0));
}

TEST_F_TIMEOUT(hmm_dma, thp, TIME)
{
	char *p;

	if (skipped(no_thp()))
		return;
	p = anon_area(2 * nr_pmd, true);
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, mirror_around(p, 2 * pmd));
	EXPECT_TRUE(area_right(p, 2 * nr_pmd, true));
	ASSERT_EQ(0, dma_fault(dma, p, 2 * pmd, 0));
	EXPECT_EQ(9, dma_runs[0].order);
	EXPECT_EQ(0, dma_runs[0].addr % pmd);
}

TEST_F_TIMEOUT(hmm_dma, hugetlb_2m, TIME)
{
	char *p;

	if (skipped(no_hugetlb(2 * MB, 2)))
		return;
	p = hugetlb_area(4 * MB, 21, MAP_PRIVATE);
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, mirror_around(p, 4 * MB));
	EXPECT_TRUE(area_right(p, 4 * MB / page, true));
	ASSERT_EQ(0, dma_fault(dma, p, 4 * MB, 0));
	EXPECT_EQ(9, dma_runs[0].order);
	EXPECT_EQ(0, dma_runs[0].addr % (2 * MB));
}

TEST_F_TIMEOUT(hmm_dma, hugetlb_1g, TIME)
{
	char *p;

	if (skipped(no_hugetlb(GB, 1)))
		return;
	p = hugetlb_area(GB, 30, MAP_PRIVATE);
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, dma_mirror(dma, p, GB));
	EXPECT_TRUE(area_right(p, GB / page, true));
	ASSERT_EQ(0, dma_fault(dma, p, GB, 0));
	EXPECT_EQ(1, dma_nr_runs);
	EXPECT_EQ(18, dma_runs[0].order);
	EXPECT_EQ(0, dma_runs[0].addr % GB);
}

TEST_F_TIMEOUT(hmm_dma, shared_memory, TIME)
{
	int fd = memfd_create("hmm-dma", MFD_CLOEXEC);
	char *p;

	ASSERT_EQ(0, ftruncate(fd, 64 * page));
	p = area(64 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, mirror_around(p, 64 * page));
	EXPECT_TRUE(area_right(p, 64, true));
}

/* A file of @len bytes, in a directory that the environment names. */
static const char *no_file(const char *dir, size_t len, int *fd)
{
	static char name[256];

	if (!getenv(dir)) {
		snprintf(name, sizeof(name), "no %s in the environment", dir);
		return name;
	}
	snprintf(name, sizeof(name), "%s/hmm-dma.%d", getenv(dir), getpid());
	*fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (*fd < 0 || fallocate(*fd, 0, 0, len))
		ksft_exit_fail_msg("%s: %s\n", name, strerror(errno));
	unlink(name);
	return NULL;
}

TEST_F_TIMEOUT(hmm_dma, file, TIME)
{
	char *p;
	int fd;

	if (skipped(no_file("HMM_DISK", 64 * page, &fd)))
		return;
	p = area(64 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, mirror_around(p, 64 * page));
	EXPECT_TRUE(area_right(p, 64, true));

	/* A private mapping reads the page cache and writes to copies. */
	EXPECT_EQ(0, munmap(p, 64 * page));
	p = mmap(p, 64 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED,
		 fd, 0);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_TRUE(area_right(p, 64, false));
	EXPECT_TRUE(area_right(p, 64, true));
}

TEST_F_TIMEOUT(hmm_dma, dax_small_pages, TIME)
{
	char *p;
	int fd;

	if (skipped(no_file("HMM_DAX_EXT4", 4 * MB, &fd)))
		return;
	/* Where file and address do not go together, no leaf is possible. */
	p = area(pmd, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	ASSERT_NE(p, NULL);
	p = mmap(p + page, pmd, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		 fd, 0);
	ASSERT_NE(p, MAP_FAILED);
	ASSERT_EQ(0, mirror_around(p, pmd));
	EXPECT_TRUE(area_right(p, nr_pmd, true));
	ASSERT_EQ(0, snapshot(p, nr_pmd));
	EXPECT_LT(pfns[0] & HMM_RANGE_PFN_ORDER_MASK, ORDER(9));
}

TEST_F_TIMEOUT(hmm_dma, dax_huge_pages, TIME)
{
	char *p;
	int fd;

	if (skipped(no_file("HMM_DAX_EXT4", 4 * MB, &fd)))
		return;
	p = area(4 * MB, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, mirror_around(p, 4 * MB));
	EXPECT_TRUE(area_right(p, 4 * MB / page, true));
	ASSERT_EQ(0, dma_fault(dma, p, 4 * MB, 0));
	EXPECT_EQ(9, dma_runs[0].order);
}

TEST_F_TIMEOUT(hmm_dma, merged_page, TIME)
{
	char *p = anon_area(8, false);

	ASSERT_NE(p, NULL);
	memset(p, 0x5a, 8 * page);
	if (madvise(p, 8 * page, MADV_MERGEABLE) || ksm_start())
		SKIP(return, "no KSM (CONFIG_KSM)");
	ASSERT_EQ(PAGEMAP_PFN(pm(p)), PAGEMAP_PFN(pm(p + 7 * page)));
	setting_write(KSM_DIR "/run", "0");	/* merge no more */

	ASSERT_EQ(0, mirror_around(p, 8 * page));
	EXPECT_TRUE(area_right(p, 8, false));
	EXPECT_FALSE(dma_runs[0].writable);

	/* To be written, it is copied. */
	EXPECT_TRUE(area_right(p + 3 * page, 1, true));
	EXPECT_NE(PAGEMAP_PFN(pm(p)), PAGEMAP_PFN(pm(p + 3 * page)));
	EXPECT_TRUE(area_right(p, 8, false));
	EXPECT_EQ(0x5a, p[0]);
	ksm_stop();
}

TEST_F_TIMEOUT(hmm_dma, zero_page, TIME)
{
	char *p = anon_area(40, false);
	__u64 zero = zero_pfn();

	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, mirror_around(p, 40 * page));
	EXPECT_TRUE(area_right(p, 40, false));
	EXPECT_FALSE(dma_runs[0].writable);
	EXPECT_EQ(zero, PAGEMAP_PFN(pm(p)));
	EXPECT_EQ(zero, PAGEMAP_PFN(pm(p + 39 * page)));

	EXPECT_TRUE(area_right(p, 40, true));
	EXPECT_NE(zero, PAGEMAP_PFN(pm(p)));
}

TEST_F_TIMEOUT(hmm_dma, huge_zero_page, TIME)
{
	char *p;

	if (skipped(no_thp()))
		return;
	p = anon_area(nr_pmd, true);
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, mirror_around(p, pmd));
	EXPECT_TRUE(area_right(p, nr_pmd, false));
	EXPECT_FALSE(dma_runs[0].writable);
	EXPECT_TRUE(area_right(p, nr_pmd, true));
}

/* ---- what a broken device can do ---- */

/* Whether it gets @size bytes that are at @p by reading from @addr. */
static bool in_reach(__u64 addr, const void *p)
{
	__u32 got = NOTHING;

	return addr && !dma_raw(dma, addr, &got, sizeof(got), 0) &&
	       same("raw read", &got, p, sizeof(got));
}

static bool read_refused(__u64 addr)
{
	__u32 got = NOTHING;
	int ret = dma_raw(dma, addr, &got, sizeof(got), 0);

	count_refused();
	if (!ret && (got == NOTHING || !got))
		return true;
	ksft_print_msg("read from %llx: %d, %x\n", (unsigned long long)addr,
		       ret, got);
	return false;
}

/* Only the log and the memory meant can tell; the callers look at both. */
static bool write_refused(__u64 addr)
{
	__u32 poison = POISON;
	int ret = dma_raw(dma, addr, &poison, sizeof(poison), DMA_WRITE);

	count_refused();
	return !ret;
}

/* Nothing is mapped for the device there, and the IOMMU knows. */
static bool out_of_reach(__u64 addr)
{
	size_t mapped = dma_domain(dma, addr, 1);

	if (mapped)
		ksft_print_msg("%llx is mapped\n", (unsigned long long)addr);
	return !mapped && addr && read_refused(addr) && write_refused(addr);
}

/*
 * Lets the device write to @n pages at @p, which get some content, and returns
 * the DMA address of the first, or 0.
 */
static __u64 give(char *p, size_t n)
{
	fill(p, n * page);
	if (mirror_around(p, n * page) ||
	    dma_fault(dma, p, n * page, DMA_WRITE) || dma_pages() != n ||
	    !in_reach(dma_addr(p), p) ||
	    !in_reach(dma_addr(p + (n - 1) * page), p + (n - 1) * page))
		return 0;
	return dma_addr(p);
}

/* What the device has been given is gone, all @n pages of it. */
static bool all_gone(__u64 addr, size_t n)
{
	size_t left = dma_domain(dma, addr, n);
	struct hmm_dma_test_status status = dma_status(dma);

	if (left || status.entries)
		ksft_print_msg("%zu pages and %llu entries are left\n", left,
			       (unsigned long long)status.entries);
	return !left && !status.entries;
}

/* ---- after an invalidation, the device cannot reach the old memory ---- */

TEST_F_TIMEOUT(hmm_dma_iommu, invariant3_munmap, TIME)
{
	int fd = memfd_create("hmm-dma", MFD_CLOEXEC);
	char *p, *also;
	__u64 addr;

	ASSERT_EQ(0, ftruncate(fd, 40 * page));
	p = area(40 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	also = mmap(NULL, 40 * page, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(p, NULL);
	ASSERT_NE(also, MAP_FAILED);
	addr = give(p, 40);
	ASSERT_NE(0, addr);

	/* The memory is still there, but not at this place. */
	ASSERT_EQ(0, munmap(p, 40 * page));
	EXPECT_TRUE(all_gone(addr, 40));
	EXPECT_TRUE(out_of_reach(addr));
	EXPECT_TRUE(out_of_reach(addr + 39 * page));
	EXPECT_NE(POISON, *(__u32 *)also);
	EXPECT_NE(POISON, *(__u32 *)(also + 39 * page));
	EXPECT_EQ(-EFAULT, dma_fault(dma, p, page, 0));
}

TEST_F_TIMEOUT(hmm_dma_iommu, invariant3_truncate, TIME)
{
	char *p;
	int fd;
	__u64 addr;

	if (skipped(no_file("HMM_DISK", 8 * page, &fd)))
		return;
	p = area(8 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	ASSERT_NE(p, NULL);
	addr = give(p, 8);
	ASSERT_NE(0, addr);
	ASSERT_EQ(0, ftruncate(fd, 0));
	EXPECT_TRUE(all_gone(addr, 8));
	EXPECT_TRUE(out_of_reach(addr));
	EXPECT_EQ(-EFAULT, dma_fault(dma, p, page, 0));
}

TEST_F_TIMEOUT(hmm_dma_iommu, invariant3_mremap, TIME)
{
	char *p = anon_area(16, false), *q;
	__u64 addr;
	__u32 was;

	/* To the upper half of what the device's window covers. */
	ASSERT_NE(p, NULL);
	addr = give(p, 16);
	ASSERT_NE(0, addr);
	was = *(__u32 *)p;
	ASSERT_EQ(0, munmap(p + 8 * page, 8 * page));
	q = mremap(p, 8 * page, 8 * page, MREMAP_MAYMOVE | MREMAP_FIXED,
		   p + 8 * page);
	ASSERT_EQ(p + 8 * page, q);
	EXPECT_TRUE(all_gone(addr, 16));
	EXPECT_TRUE(out_of_reach(addr));
	EXPECT_EQ(was, *(__u32 *)q);

	/* It can be had at the new place. */
	EXPECT_TRUE(area_right(q, 8, true));
	EXPECT_EQ(addr + 8 * page, dma_addr(q));
	EXPECT_TRUE(out_of_reach(addr));
}

TEST_F_TIMEOUT(hmm_dma_iommu, invariant3_dontneed, TIME)
{
	char *p = anon_area(16, false);
	__u64 addr;

	ASSERT_NE(p, NULL);
	addr = give(p, 16);
	ASSERT_NE(0, addr);
	ASSERT_EQ(0, madvise(p, 16 * page, MADV_DONTNEED));
	EXPECT_TRUE(all_gone(addr, 16));
	EXPECT_TRUE(out_of_reach(addr));
	EXPECT_EQ(0, *(__u32 *)p);
}

TEST_F_TIMEOUT(hmm_dma_iommu, invariant3_swap_out, TIME)
{
	char *p = anon_area(16, false), was[64];
	__u64 addr;

	ASSERT_NE(p, NULL);
	addr = give(p, 16);
	ASSERT_NE(0, addr);
	memcpy(was, p, sizeof(was));
	if (!page_out(p, 16))
		SKIP(return, "pages do not go out: no swap");
	EXPECT_TRUE(all_gone(addr, 16));
	EXPECT_TRUE(out_of_reach(addr));

	EXPECT_TRUE(area_right(p, 16, false));
	EXPECT_TRUE(same("after swap", p, was, sizeof(was)));
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

TEST_F_TIMEOUT(hmm_dma_iommu, invariant3_migration, TIME)
{
	char *p = anon_area(16, false), was[64];
	__u64 addr, pfn;

	ASSERT_NE(p, NULL);
	addr = give(p, 16);
	ASSERT_NE(0, addr);
	memcpy(was, p, sizeof(was));
	pfn = PAGEMAP_PFN(pm(p));
	if (skipped(no_migration(p, 16)))
		return;
	ASSERT_NE(pfn, PAGEMAP_PFN(pm(p)));
	EXPECT_TRUE(all_gone(addr, 16));
	EXPECT_TRUE(out_of_reach(addr));
	EXPECT_TRUE(same("migrated", p, was, sizeof(was)));
	EXPECT_TRUE(area_right(p, 16, true));
}

TEST_F_TIMEOUT(hmm_dma_iommu, invariant3_collapse, TIME)
{
	char *p, was[64];
	__u64 addr;

	if (skipped(no_thp()))
		return;
	p = anon_area(nr_pmd, false);
	ASSERT_NE(p, NULL);
	addr = give(p, nr_pmd);
	ASSERT_NE(0, addr);
	memcpy(was, p, sizeof(was));
	ASSERT_EQ(0, madvise(p, pmd, MADV_HUGEPAGE));
	ASSERT_EQ(0, madvise(p, pmd, MADV_COLLAPSE));
	EXPECT_TRUE(all_gone(addr, nr_pmd));
	EXPECT_TRUE(out_of_reach(addr));
	EXPECT_TRUE(same("collapsed", p, was, sizeof(was)));
	EXPECT_TRUE(area_right(p, nr_pmd, true));
	EXPECT_EQ(9, dma_runs[0].order);
}

/*
 * A child that has a copy of everything, and says in its exit status whether
 * the @size bytes at @p are still the same when it is told to look.
 */
struct keeper {
	pid_t pid;
	int go;
};

static struct keeper keeper_start(const void *p, size_t size)
{
	char was[64], c;
	int fds[2];
	struct keeper k;

	memcpy(was, p, size);
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
	_exit(memcmp(p, was, size) ? 1 : 0);
}

static bool keeper_has_it(struct keeper k)
{
	int status;

	return write(k.go, "", 1) == 1 && waitpid(k.pid, &status, 0) == k.pid &&
	       WIFEXITED(status) && !WEXITSTATUS(status);
}

TEST_F_TIMEOUT(hmm_dma_iommu, invariant3_copy_on_write, TIME)
{
	char *p = anon_area(16, false);
	struct keeper child;
	__u64 addr;

	ASSERT_NE(p, NULL);
	addr = give(p, 16);
	ASSERT_NE(0, addr);

	/* What both have must not be written to. */
	child = keeper_start(p + UNREAD * page, 64);
	EXPECT_TRUE(all_gone(addr, 16));
	EXPECT_TRUE(out_of_reach(addr));
	EXPECT_NE(POISON, *(__u32 *)p);

	/* It can be read, and what the device writes is a copy. */
	EXPECT_TRUE(area_right(p, 16, false));
	EXPECT_FALSE(dma_runs[0].writable);
	EXPECT_TRUE(write_refused(dma_addr(p + UNREAD * page)));
	EXPECT_TRUE(area_right(p, 16, true));
	EXPECT_TRUE(keeper_has_it(child));
}

TEST_F_TIMEOUT(hmm_dma_iommu, invariant3_mprotect, TIME)
{
	char *p = anon_area(16, false);
	__u64 addr;

	ASSERT_NE(p, NULL);
	addr = give(p, 16);
	ASSERT_NE(0, addr);
	ASSERT_EQ(0, mprotect(p, 16 * page, PROT_READ));
	EXPECT_TRUE(all_gone(addr, 16));
	EXPECT_TRUE(out_of_reach(addr));
	EXPECT_EQ(-EPERM, dma_fault(dma, p, 16 * page, DMA_WRITE));
	EXPECT_TRUE(all_gone(addr, 16));
	EXPECT_TRUE(area_right(p, 16, false));

	ASSERT_EQ(0, mprotect(p, 16 * page, PROT_NONE));
	EXPECT_TRUE(all_gone(addr, 16));
	EXPECT_TRUE(out_of_reach(addr));
	ASSERT_EQ(0, mprotect(p, 16 * page, PROT_READ));
	EXPECT_NE(POISON, *(__u32 *)p);
}

TEST_F_TIMEOUT(hmm_dma_iommu, invariant3_process_exit, TIME)
{
	char *p = anon_area(16, false);
	int up[2], status;
	__u64 addr = 0;
	pid_t pid;

	/* The mirror is the child's, the file is shared and stays open. */
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, pipe(up));
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		addr = give(p, 16);
		if (write(up[1], &addr, sizeof(addr)) != sizeof(addr))
			_exit(1);
		for (;;)
			pause();
	}
	ASSERT_EQ(sizeof(addr), read(up[0], &addr, sizeof(addr)));
	ASSERT_NE(0, addr);
	EXPECT_EQ(16, dma_domain(dma, addr, 16));
	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(all_gone(addr, 16));
	EXPECT_TRUE(out_of_reach(addr));
	EXPECT_EQ(-ESRCH, dma_fault(dma, p, page, 0));
}

/* Nor can it when the driver wants its device to forget something. */
TEST_F_TIMEOUT(hmm_dma_iommu, invariant3_drop, TIME)
{
	size_t n = nr_pmd + 16;
	char *p = anon_area(n, false), *last = p + (n - 1) * page;
	__u64 addr;

	ASSERT_NE(p, NULL);
	addr = give(p, n);
	ASSERT_NE(0, addr);
	ASSERT_EQ(0, dma_drop(dma, p, page));
	EXPECT_EQ(0, dma_domain(dma, addr, 1));
	EXPECT_TRUE(out_of_reach(addr));
	EXPECT_TRUE(in_reach(addr + (n - 1) * page, last));
	ASSERT_EQ(0, dma_drop(dma, p, n * page));
	EXPECT_TRUE(all_gone(addr, n));
	EXPECT_TRUE(out_of_reach(addr + (n - 1) * page));
	EXPECT_NE(POISON, *(__u32 *)p);
}

/* ---- an invalidation waits for what the device is doing ---- */

static atomic_int transfer_result;

static void act_transfer(struct side *s)
{
	char buf[64];

	memset(buf, 0x77, sizeof(buf));
	transfer_result = dma_copy(dma, s->p, buf, sizeof(buf),
				   DMA_WRITE | DMA_NOFAULT);
}

/*
 * 100 ms for filling the device's buffer, then 100 ms for the transfer: tried
 * with several delays, one falls into the latter. Whichever it is, what the
 * device wrote is gone with the page.
 */
TEST_F_TIMEOUT(hmm_dma, invariant3_waits_for_a_transfer, TIME)
{
	char *p = anon_area(1, false);
	size_t tries;

	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, mirror_around(p, page));
	for (tries = 0; tries < 40 && !dma_status(dma).waits; tries++) {
		struct side s = { .act = act_transfer, .p = p, .once = true };

		*p = 1;
		ASSERT_EQ(0, dma_fault(dma, p, page, DMA_WRITE));
		ASSERT_EQ(0, side_start(&s));
		usleep((tries % 20) * 20000);
		ASSERT_EQ(0, madvise(p, page, MADV_DONTNEED));
		EXPECT_EQ(0, dma_status(dma).entries);
		EXPECT_EQ(0, *p);
		side_stop(&s);
		EXPECT_EQ(0, *p);
	}
	EXPECT_NE(0, dma_status(dma).waits);
}

/* ---- what is read is what is there ---- */

/* A page that is discarded and stamped anew again and again. */
static atomic_uint stamp;

static void act_stamp(struct side *s)
{
	madvise(s->p, page, MADV_DONTNEED);
	*(atomic_uint *)s->p = stamp + 1;
	stamp++;
	usleep(1000);
}

TEST_F_TIMEOUT(hmm_dma, invariant2_nothing_stale_is_read, TIME)
{
	struct side s = { .act = act_stamp, .p = anon_area(1, false) };
	unsigned int i, got, before, after, seen = 0;

	ASSERT_NE(s.p, NULL);
	ASSERT_EQ(0, mirror_around(s.p, page));
	ASSERT_EQ(0, side_start(&s));
	for (i = 0; i < 40; i++) {
		before = stamp;
		got = NOTHING;
		ASSERT_EQ(0, dma_read(dma, s.p, &got, sizeof(got)));
		after = stamp + 1;
		/* 0 is between discarding and stamping. */
		if (got && (got < before || got > after))
			ksft_print_msg("%u, from %u to %u\n", got, before, after);
		EXPECT_TRUE(!got || (got >= before && got <= after));
		seen += !!got;
	}
	side_stop(&s);
	EXPECT_NE(0, seen);
	EXPECT_NE(0, dma_status(dma).invalidations);
}

/* ---- DMA state does not live in what a walk reports ---- */

TEST_F_TIMEOUT(hmm_dma, invariant1_walks_change_no_dma_state, TIME)
{
	struct hmm_dma_test_status before, after;
	char *p = anon_area(16, false);
	__u64 addr;

	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, mirror_around(p, 16 * page));
	ASSERT_TRUE(area_right(p, 16, true));
	addr = dma_addr(p + 7 * page);
	before = dma_status(dma);
	ASSERT_EQ(0, snapshot(p, 16));
	ASSERT_EQ(0, fault(p, 16, RW));
	ASSERT_EQ(0, dma_fault(dma, p, 16 * page, DMA_PREFETCH));
	after = dma_status(dma);
	EXPECT_EQ(addr, dma_addr(p + 7 * page));
	EXPECT_EQ(before.invalidations, after.invalidations);
	EXPECT_EQ(before.memory, after.memory);
	EXPECT_EQ(16, after.entries);
	EXPECT_TRUE(page_right(p + 7 * page, true));
}

/* ---- not more than the notifier covers ---- */

TEST_F_TIMEOUT(hmm_dma_iommu, invariant4_leaf_is_cut_at_the_window, TIME)
{
	size_t half = nr_pmd / 2, others;
	char *p;
	__u64 addr;

	if (skipped(no_thp()))
		return;
	p = anon_area(2 * nr_pmd, true);
	ASSERT_NE(p, NULL);
	fill(p, 2 * pmd);
	ASSERT_EQ(0, snapshot(p, 2 * nr_pmd));
	ASSERT_TRUE(mapped(p, 0, 2 * nr_pmd, RW | ORDER(9), 0));

	/* From the middle of one leaf to the middle of the next. */
	ASSERT_EQ(0, dma_mirror(dma, p + half * page, pmd));
	EXPECT_TRUE(area_right(p + half * page, nr_pmd, true));
	ASSERT_EQ(0, dma_fault(dma, p + half * page, pmd, DMA_WRITE));
	EXPECT_EQ(nr_pmd, dma_pages());
	EXPECT_EQ(0, dma_runs[0].order);
	addr = dma_addr(p + half * page);
	EXPECT_EQ(nr_pmd, dma_domain(dma, addr, nr_pmd));
	EXPECT_EQ(0, dma_domain(dma, addr - half * page, half));
	EXPECT_TRUE(out_of_reach(addr - page));

	/* An invalidation of what is outside is none of its business. */
	ASSERT_EQ(0, mprotect(p + 2 * pmd - page, page, PROT_READ));
	EXPECT_TRUE(in_reach(addr, p + half * page));

	/* Addresses behind the window may be another's, but not this one's. */
	others = dma_domain(dma, addr + pmd, half);
	ASSERT_EQ(0, dma_drop(dma, p + half * page, pmd));
	EXPECT_TRUE(all_gone(addr, nr_pmd));
	EXPECT_EQ(others, dma_domain(dma, addr + pmd, half));
}

/* ---- a call that fails leaves nothing ---- */

TEST_F_TIMEOUT(hmm_dma_iommu, invariant5_failure_leaves_nothing, TIME)
{
	char *p = anon_area(600, false);
	__u64 addr;

	ASSERT_NE(p, NULL);
	addr = give(p, 600);
	ASSERT_NE(0, addr);
	ASSERT_EQ(0, dma_drop(dma, p, 600 * page));
	ASSERT_TRUE(all_gone(addr, 600));

	ASSERT_EQ(0, mprotect(p + 590 * page, page, PROT_NONE));
	EXPECT_EQ(-EFAULT, dma_fault(dma, p, 600 * page, DMA_WRITE));
	EXPECT_TRUE(all_gone(addr, 600));
	EXPECT_TRUE(out_of_reach(addr));

	/* Also when some of it had been there before. */
	ASSERT_EQ(0, dma_fault(dma, p + 64 * page, 32 * page, DMA_WRITE));
	EXPECT_EQ(-EFAULT, dma_fault(dma, p, 600 * page, DMA_WRITE));
	EXPECT_EQ(dma_status(dma).entries, dma_domain(dma, addr, 600));

	/* And it works once nothing is in the way. */
	ASSERT_EQ(0, mprotect(p + 590 * page, page, PROT_READ | PROT_WRITE));
	EXPECT_TRUE(area_right(p, 600, true));
	EXPECT_EQ(600, dma_domain(dma, addr, 600));
}

TEST_F_TIMEOUT(hmm_dma_iommu, teardown_leaves_nothing, TIME)
{
	char *p, *q = anon_area(70, false);
	__u64 addr, small;

	if (skipped(no_thp()))
		return;
	p = anon_area(2 * nr_pmd, true);
	ASSERT_NE(p, NULL);
	ASSERT_NE(q, NULL);
	ASSERT_EQ(0, dma_mirror(dma, q < p ? q : p, (q < p ? p - q : q - p) +
				2 * pmd));
	ASSERT_EQ(0, dma_fault(dma, p, 2 * pmd, DMA_WRITE));
	addr = dma_addr(p);
	ASSERT_EQ(0, dma_fault(dma, q, 70 * page, 0));
	small = dma_addr(q);
	EXPECT_EQ(2 * nr_pmd, dma_domain(dma, addr, 2 * nr_pmd));
	EXPECT_EQ(70, dma_domain(dma, small, 70));

	/* With the file, its mirror goes. */
	close(dma);
	dma = dma_open(0);
	ASSERT_GE(dma, 0);
	EXPECT_TRUE(all_gone(addr, 2 * nr_pmd));
	EXPECT_TRUE(all_gone(small, 70));
	EXPECT_TRUE(out_of_reach(addr));
	EXPECT_TRUE(out_of_reach(small));
}

/* ---- what the device wrote is not lost ---- */

/* Writes to @n pages at @p by the device, and keeps in @was what it wrote. */
static bool device_writes(char *p, size_t n, char *was)
{
	size_t i;

	fill(was, n * page);
	for (i = 0; i < n; i++)
		if (dma_write(dma, p + i * page, was + i * page, page))
			return false;
	return true;
}

TEST_F_TIMEOUT(hmm_dma, invariant6_write_survives_madv_free, TIME)
{
	char *p = anon_area(8, false), *was = malloc(8 * page);

	ASSERT_NE(p, NULL);
	fill(p, 8 * page);
	ASSERT_EQ(0, mirror_around(p, 8 * page));
	ASSERT_EQ(0, free_lazily(p, 8));
	ASSERT_TRUE(device_writes(p, 8, was));
	if (!page_out(p, 8))
		SKIP(return, "pages do not go out: no swap");
	EXPECT_EQ(0, dma_status(dma).entries);
	EXPECT_TRUE(same("after reclaim", p, was, 8 * page));
	free(was);
}

/* What is not written to is what MADV_FREE is for. */
TEST_F_TIMEOUT(hmm_dma, invariant6_read_makes_nothing_dirty, TIME)
{
	char *p = anon_area(8, false);

	ASSERT_NE(p, NULL);
	memset(p, 1, 8 * page);
	ASSERT_EQ(0, mirror_around(p, 8 * page));
	ASSERT_EQ(0, free_lazily(p, 8));
	ASSERT_EQ(0, dma_fault(dma, p, 8 * page, 0));
	EXPECT_FALSE(dma_runs[0].writable);
	ASSERT_TRUE(page_right(p, false));
	ASSERT_TRUE(page_out(p, 8));
	EXPECT_EQ(0, *p);
	EXPECT_EQ(0, p[7 * page]);
}

/* Anonymous pages that swap has a copy of. */
TEST_F_TIMEOUT(hmm_dma, invariant6_write_survives_swap, TIME)
{
	char *p = anon_area(8, false), *was = malloc(8 * page);
	size_t i;

	ASSERT_NE(p, NULL);
	fill(p, 8 * page);
	ASSERT_EQ(0, mirror_around(p, 8 * page));
	if (!page_out(p, 8))
		SKIP(return, "pages do not go out: no swap");
	for (i = 0; i < 8; i++)
		FORCE_READ(p[i * page]);
	ASSERT_TRUE(device_writes(p, 8, was));
	ASSERT_TRUE(page_out(p, 8));
	EXPECT_TRUE(same("after swap", p, was, 8 * page));
	free(was);
}

/* Pages of a file, clean when the device gets them. */
TEST_F_TIMEOUT(hmm_dma, invariant6_write_survives_page_out_of_file, TIME)
{
	char *p, *was = malloc(8 * page), *got = malloc(8 * page);
	int fd;

	if (skipped(no_file("HMM_DISK", 8 * page, &fd)))
		return;
	p = area(8 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	ASSERT_NE(p, NULL);
	fill(p, 8 * page);
	ASSERT_EQ(0, msync(p, 8 * page, MS_SYNC));
	ASSERT_EQ(0, mirror_around(p, 8 * page));
	ASSERT_TRUE(device_writes(p, 8, was));

	/* Once to the disk, which takes it from the device, and once more. */
	ASSERT_EQ(0, msync(p, 8 * page, MS_SYNC));
	EXPECT_EQ(0, dma_status(dma).entries);
	ASSERT_TRUE(device_writes(p, 8, was));
	ASSERT_TRUE(page_out(p, 8));
	ASSERT_EQ(0, munmap(p, 8 * page));
	ASSERT_EQ(0, fsync(fd));
	ASSERT_EQ(0, setting_write("/proc/sys/vm/drop_caches", "1"));
	ASSERT_EQ(8 * page, pread(fd, got, 8 * page, 0));
	EXPECT_TRUE(same("on disk", got, was, 8 * page));
	free(was);
	free(got);
}

/* ---- for reading means for reading ---- */

TEST_F_TIMEOUT(hmm_dma_iommu, invariant7_write_to_read_only_is_refused, TIME)
{
	char *p = anon_area(16, false), *q, was[64];

	ASSERT_NE(p, NULL);
	fill(p, 16 * page);
	q = p + UNREAD * page;
	memcpy(was, q, sizeof(was));
	ASSERT_EQ(0, mirror_around(p, 16 * page));

	/* A page that the process may write to, and the device may not. */
	ASSERT_TRUE(area_right(p, 16, false));
	EXPECT_FALSE(dma_runs[0].writable);
	EXPECT_TRUE(write_refused(dma_addr(q)));
	EXPECT_TRUE(in_reach(dma_addr(q), q));
	EXPECT_TRUE(same("read-only", q, was, sizeof(was)));
	EXPECT_EQ(-EFAULT, dma_copy(dma, p, was, sizeof(was),
				    DMA_WRITE | DMA_NOFAULT));
}

TEST_F_TIMEOUT(hmm_dma_iommu, invariant7_huge_page_for_reading, TIME)
{
	char *p, was[64];

	if (skipped(no_thp()))
		return;
	p = anon_area(nr_pmd, true);
	ASSERT_NE(p, NULL);
	fill(p, pmd);
	memcpy(was, p, sizeof(was));
	ASSERT_EQ(0, mirror_around(p, pmd));
	ASSERT_EQ(0, dma_fault(dma, p, pmd, 0));
	EXPECT_EQ(9, dma_runs[0].order);
	EXPECT_TRUE(write_refused(dma_addr(p)));
	EXPECT_TRUE(write_refused(dma_addr(p + pmd - page)));
	EXPECT_TRUE(same("read-only", p, was, sizeof(was)));
	EXPECT_TRUE(area_right(p, nr_pmd, false));
}

/* What is for reading can be had for writing, without anything left behind. */
TEST_F_TIMEOUT(hmm_dma_iommu, invariant7_upgrade_from_read_to_write, TIME)
{
	struct hmm_dma_test_status before, after;
	char *p = anon_area(64, false);
	__u64 addr;

	ASSERT_NE(p, NULL);
	fill(p, 64 * page);
	ASSERT_EQ(0, mirror_around(p, 64 * page));
	ASSERT_TRUE(area_right(p, 64, false));
	addr = dma_addr(p);
	before = dma_status(dma);
	ASSERT_TRUE(area_right(p, 64, true));
	EXPECT_EQ(addr, dma_addr(p));
	EXPECT_TRUE(dma_runs[0].writable);
	EXPECT_EQ(64, dma_domain(dma, addr, 64));
	after = dma_status(dma);
	EXPECT_EQ(64, after.entries);
	EXPECT_EQ(64, after.cleared - before.cleared);
	EXPECT_EQ(before.memory, after.memory);
	ASSERT_EQ(0, dma_drop(dma, p, 64 * page));
	EXPECT_TRUE(all_gone(addr, 64));

	/* Asked for reading again, what is there for writing stays. */
	ASSERT_EQ(0, dma_fault(dma, p, 64 * page, DMA_WRITE));
	ASSERT_EQ(0, dma_fault(dma, p, 64 * page, 0));
	EXPECT_TRUE(dma_runs[0].writable);
	EXPECT_EQ(after.cleared + 64, dma_status(dma).cleared);
}

/* ---- no bounce buffer ---- */

/*
 * A device that does not reach all memory: an IOMMU gives it addresses that it
 * can use, without one it is refused.
 */
static const char *no_narrow(void)
{
	if (!getenv("HMM_DMA_NARROW"))
		return "no HMM_DMA_NARROW in the environment";
	close(dma);
	dma = dma_open(atoi(getenv("HMM_DMA_NARROW")));
	return dma < 0 ? "no such device" : NULL;
}

TEST_F_TIMEOUT(hmm_dma_direct, invariant8_no_bounce_buffer, TIME)
{
	char *p = anon_area(16, false);

	if (skipped(no_narrow()))
		return;
	ASSERT_NE(p, NULL);
	EXPECT_EQ(-EOPNOTSUPP, mirror_around(p, 16 * page));
	EXPECT_EQ(-EOPNOTSUPP, dma_hand(dma, p, page, 0, NULL, 0));
	EXPECT_EQ(0, dma_status(dma).mirrored);
	EXPECT_EQ(0, populated(p, 16));
}

TEST_F_TIMEOUT(hmm_dma_iommu, invariant8_no_bounce_buffer, TIME)
{
	char *p = anon_area(16, false);

	if (skipped(no_narrow()))
		return;
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, mirror_around(p, 16 * page));
	EXPECT_TRUE(area_right(p, 16, true));
	EXPECT_LT(dma_addr(p + 15 * page), 4 * GB);
}

/* ---- an end to all trying ---- */

TEST_F_TIMEOUT(hmm_dma, invariant9_progress_in_a_storm, TIME)
{
	struct side s = { .act = act_discard, .len = 8 * page };
	char *p = anon_area(64, false), buf[64] = "";
	size_t i;

	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, mirror_around(p, 64 * page));
	s.p = p + 30 * page;
	ASSERT_EQ(0, side_start(&s));
	for (i = 0; i < 10; i++) {
		EXPECT_EQ(0, dma_fault(dma, p, 64 * page, DMA_WRITE));
		EXPECT_EQ(64, dma_pages());
		EXPECT_EQ(0, dma_write(dma, s.p, buf, sizeof(buf)));
	}
	side_stop(&s);
	EXPECT_NE(0, s.rounds);
	EXPECT_NE(0, dma_status(dma).invalidations);
}

static void act_discard_once(struct side *s)
{
	madvise(s->p, s->len, MADV_DONTNEED);
}

/* An invalidation that does not end keeps a call only for so long. */
TEST_F_TIMEOUT(hmm_dma, invariant9_time_limit, TIME)
{
	struct hmm_range_test_watch watch = {
		.length = page, .invalidate_sleep_ms = 5000, .nr_sleeps = 1,
	};
	struct side s = { .act = act_discard_once, .len = page, .once = true };
	struct hmm_dma_test_fault cmd = {
		.length = page, .flags = DMA_WRITE, .timeout_ms = 100,
	};
	struct hmm_range_test_status status = {};
	char *p = anon_area(1, true);
	__u64 began, end = now_ms() + 4000;

	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, mirror_around(p, page));
	*p = 1;
	watch.start = (uintptr_t)p;
	ASSERT_EQ(0, ioctl(dev, HMM_RANGE_TEST_WATCH, &watch));
	s.p = p;
	ASSERT_EQ(0, side_start(&s));
	while (!status.sleeping && now_ms() < end)
		ASSERT_EQ(0, ioctl(dev, HMM_RANGE_TEST_STATUS, &status));
	ASSERT_EQ(1, status.sleeping);

	cmd.start = (uintptr_t)p;
	began = now_ms();
	ASSERT_EQ(0, ioctl(dma, HMM_DMA_TEST_FAULT, &cmd));
	EXPECT_EQ(-EBUSY, cmd.result);
	EXPECT_LT(now_ms() - began, 2500);
	ASSERT_EQ(0, ioctl(dev, HMM_RANGE_TEST_STATUS, &status));
	EXPECT_EQ(1, status.sleeping);
	side_stop(&s);
	EXPECT_EQ(0, dma_fault(dma, p, page, DMA_WRITE));
}

/* It is a limit for what gets no further: each of these pages alone is slow. */
TEST_F_TIMEOUT(hmm_dma, invariant9_slow_pages, TIME)
{
	struct uffd_server s = { .delay_us = 300000 };
	struct hmm_dma_test_fault cmd = {
		.length = 8 * page, .flags = DMA_WRITE, .timeout_ms = 1500,
	};
	char *p = anon_area(8, false);
	__u64 began = now_ms();

	if (skipped(no_uffd(&s.uffd, 0)))
		return;
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, mirror_around(p, 8 * page));
	ASSERT_EQ(0, uffd_register(s.uffd, p, 8 * page, true, false, false));
	ASSERT_EQ(0, uffd_server_start(&s));
	cmd.start = (uintptr_t)p;
	EXPECT_EQ(0, ioctl(dma, HMM_DMA_TEST_FAULT, &cmd));
	EXPECT_EQ(0, cmd.result);
	EXPECT_GT(now_ms() - began, cmd.timeout_ms);
	uffd_server_stop(&s);
	EXPECT_EQ(8, s.served);
	close(s.uffd);
}

/* ---- addresses and what they cost ---- */

TEST_F_TIMEOUT(hmm_dma_iommu, invariant10_one_run_congruent_to_memory, TIME)
{
	size_t small = 300;
	char *p, *q;

	/* Scattered small pages in front of a THP. */
	if (skipped(no_thp()))
		return;
	p = anon_area(3 * nr_pmd, true);
	ASSERT_NE(p, NULL);
	q = p + pmd - small * page;
	ASSERT_EQ(0, madvise(p, pmd, MADV_NOHUGEPAGE));
	scatter(q, small);
	ASSERT_EQ(0, dma_mirror(dma, p, 3 * pmd));
	ASSERT_EQ(0, dma_fault(dma, q, small * page + pmd, DMA_WRITE));
	EXPECT_EQ(small + nr_pmd, dma_pages());
	EXPECT_EQ((uintptr_t)q % pmd, dma_addr(q) % pmd);
	EXPECT_EQ(0, dma_addr(p + pmd) % pmd);

	/* Addresses go on where memory does not. */
	EXPECT_EQ(2, dma_nr_runs);
	EXPECT_EQ(dma_addr(q) + small * page, dma_addr(p + pmd));
	EXPECT_EQ(0, dma_runs[0].order);
	EXPECT_EQ(9, dma_runs[1].order);
	EXPECT_NE(0, dma_status(dma).pgsizes & pmd);
}

/* How many entries the IOMMU's page table has for @n pages from @addr on. */
static size_t iommu_entries(__u64 addr, size_t n)
{
	FILE *f = fopen(iommu_dump, "r");
	unsigned long long pfn;
	char line[256];
	size_t sum = 0;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "0x%llx", &pfn) == 1 && pfn >= addr / page &&
		    pfn < addr / page + n)
			sum++;
	if (f)
		fclose(f);
	return sum;
}

TEST_F_TIMEOUT(hmm_dma_intel, invariant10_leaf_is_one_iommu_entry, TIME)
{
	size_t n = GB / page;
	char *p;

	if (skipped(no_hugetlb(GB, 1)))
		return;
	p = hugetlb_area(GB, 30, MAP_PRIVATE);
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, dma_mirror(dma, p, GB));
	ASSERT_EQ(0, dma_fault(dma, p, GB, DMA_WRITE));
	EXPECT_EQ(n, dma_domain(dma, dma_addr(p), n));
	EXPECT_EQ(1, iommu_entries(dma_addr(p), n));
	ASSERT_EQ(0, dma_drop(dma, p, GB));
	EXPECT_EQ(0, iommu_entries(dma_runs[0].addr, n));
}

TEST_F_TIMEOUT(hmm_dma_intel, invariant10_huge_pages_have_huge_entries, TIME)
{
	char *p;

	/* A small page between two huge ones. */
	if (skipped(no_thp()))
		return;
	p = anon_area(3 * nr_pmd, true);
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, madvise(p + pmd, pmd, MADV_NOHUGEPAGE));
	p[0] = 1;
	p[pmd + 9 * page] = 1;
	p[2 * pmd] = 1;
	ASSERT_EQ(0, dma_mirror(dma, p, 3 * pmd));
	ASSERT_EQ(0, dma_fault(dma, p, 3 * pmd, DMA_PREFETCH | DMA_WRITE));
	EXPECT_EQ(2 * nr_pmd + 1, dma_pages());
	EXPECT_EQ(1, iommu_entries(dma_addr(p), nr_pmd));
	EXPECT_EQ(1, iommu_entries(dma_addr(p) + pmd, nr_pmd));
	EXPECT_EQ(1, iommu_entries(dma_addr(p) + 2 * pmd, nr_pmd));
}

/* The record grows with leaves, not with pages. */
TEST_F_TIMEOUT(hmm_dma, invariant10_memory_follows_leaves, TIME)
{
	__u64 empty, huge, small;
	size_t i;
	char *p;

	if (skipped(no_thp()))
		return;
	p = anon_area(8 * nr_pmd, true);
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, dma_mirror(dma, p, 8 * pmd));
	empty = dma_status(dma).memory;
	ASSERT_EQ(0, dma_fault(dma, p, 8 * pmd, DMA_WRITE));
	for (i = 0; i < dma_nr_runs; i++)
		EXPECT_EQ(9, dma_runs[i].order);
	huge = dma_status(dma).memory;
	EXPECT_EQ(empty, huge);

	ASSERT_EQ(0, madvise(p, 8 * pmd, MADV_DONTNEED));
	ASSERT_EQ(0, madvise(p, 8 * pmd, MADV_NOHUGEPAGE));
	scatter(p, 8 * nr_pmd);
	ASSERT_EQ(0, dma_fault(dma, p, 8 * pmd, DMA_WRITE));
	small = dma_status(dma).memory;
	EXPECT_GE(small, empty + 8 * nr_pmd * sizeof(long));
	ASSERT_EQ(0, madvise(p, 8 * pmd, MADV_DONTNEED));
	EXPECT_EQ(empty, dma_status(dma).memory);
}

/* ---- parts ---- */

/* What was mapped as one goes as one, and what is still there can be had. */
TEST_F_TIMEOUT(hmm_dma_iommu, part_of_a_huge_page_takes_all_of_it, TIME)
{
	char *p;
	__u64 addr;

	if (skipped(no_thp()))
		return;
	p = anon_area(2 * nr_pmd, true);
	ASSERT_NE(p, NULL);
	addr = give(p, 2 * nr_pmd);
	ASSERT_NE(0, addr);
	EXPECT_EQ(9, dma_runs[0].order);

	ASSERT_EQ(0, munmap(p + 100 * page, page));
	EXPECT_EQ(0, dma_domain(dma, addr, nr_pmd));
	EXPECT_EQ(nr_pmd, dma_domain(dma, addr + pmd, nr_pmd));
	EXPECT_EQ(nr_pmd, dma_status(dma).entries);
	EXPECT_TRUE(out_of_reach(addr));
	EXPECT_TRUE(out_of_reach(addr + 100 * page));
	EXPECT_TRUE(in_reach(addr + pmd, p + pmd));

	EXPECT_TRUE(area_right(p, 100, true));
	EXPECT_TRUE(area_right(p + 101 * page, nr_pmd - 101, true));
	EXPECT_EQ(nr_pmd - 1, dma_domain(dma, addr, nr_pmd));
	EXPECT_EQ(0, dma_domain(dma, addr + 100 * page, 1));
	EXPECT_TRUE(out_of_reach(addr + 100 * page));
}

TEST_F_TIMEOUT(hmm_dma_iommu, part_of_a_hugetlb_page_for_the_driver, TIME)
{
	char *p;
	__u64 addr;

	if (skipped(no_hugetlb(2 * MB, 2)))
		return;
	p = hugetlb_area(4 * MB, 21, MAP_SHARED);
	ASSERT_NE(p, NULL);
	addr = give(p, 4 * MB / page);
	ASSERT_NE(0, addr);
	ASSERT_EQ(0, dma_drop(dma, p + 3 * MB, page));
	EXPECT_EQ(2 * MB / page, dma_domain(dma, addr, 4 * MB / page));
	EXPECT_TRUE(out_of_reach(addr + 4 * MB - page));
	EXPECT_TRUE(in_reach(addr + 2 * MB - page, p + 2 * MB - page));
	EXPECT_TRUE(area_right(p, 4 * MB / page, true));
}

/* Of small pages, what is contiguous in the same 2M goes, and nothing else. */
TEST_F_TIMEOUT(hmm_dma_iommu, part_of_small_pages_takes_little_more, TIME)
{
	char *p = anon_area(512, false);
	struct hmm_dma_test_status status;
	__u64 addr, *entry;
	size_t i, beside = 1;

	ASSERT_NE(p, NULL);
	scatter(p, 512);
	addr = give(p, 512);
	ASSERT_NE(0, addr);
	entry = pm_read(p, 512);
	for (i = 200; i && entry[i - 1] + 1 == entry[i]; i--)
		beside++;
	for (i = 200; i < 511 && entry[i] + 1 == entry[i + 1]; i++)
		beside++;
	ASSERT_GT(512, beside);

	ASSERT_EQ(0, madvise(p + 200 * page, page, MADV_DONTNEED));
	status = dma_status(dma);
	EXPECT_GE(beside, status.cleared);
	EXPECT_EQ(512 - status.cleared, status.entries);
	EXPECT_EQ(status.entries, dma_domain(dma, addr, 512));
	EXPECT_TRUE(out_of_reach(addr + 200 * page));
	EXPECT_TRUE(area_right(p, 512, true));
}

/* ---- what callers ask for ---- */

TEST_F_TIMEOUT(hmm_dma, partial_fault_stops_at_the_first_failure, TIME)
{
	char *p = anon_area(40, false);

	ASSERT_NE(p, NULL);
	memset(p, 1, 40 * page);
	ASSERT_EQ(0, mirror_around(p, 40 * page));
	ASSERT_EQ(0, mprotect(p + 10 * page, page, PROT_NONE));
	EXPECT_EQ(-EFAULT, dma_fault(dma, p, 40 * page, DMA_WRITE));
	EXPECT_EQ(0, dma_status(dma).entries);
	EXPECT_EQ(0, dma_fault(dma, p, 40 * page, DMA_WRITE | DMA_PARTIAL));
	EXPECT_EQ(10, dma_pages());
	EXPECT_TRUE(page_right(p + 9 * page, true));
	EXPECT_EQ(-EFAULT, dma_fault(dma, p + 10 * page, 30 * page,
				     DMA_WRITE | DMA_PARTIAL));
	EXPECT_EQ(10, dma_status(dma).entries);
}

TEST_F_TIMEOUT(hmm_dma, prefetch_makes_nothing_present, TIME)
{
	char *p = anon_area(40, false);

	ASSERT_NE(p, NULL);
	memset(p + 5 * page, 1, 5 * page);
	p[30 * page] = 1;
	ASSERT_EQ(0, mirror_around(p, 40 * page));
	ASSERT_EQ(0, dma_fault(dma, p, 40 * page, DMA_PREFETCH | DMA_WRITE));
	EXPECT_EQ(6, dma_pages());
	EXPECT_EQ(6, dma_status(dma).entries);
	EXPECT_EQ(6, populated(p, 40));
	EXPECT_NE(0, dma_addr(p + 9 * page));
	EXPECT_EQ(0, dma_addr(p + 10 * page));
	EXPECT_TRUE(page_right(p + 7 * page, true));
	EXPECT_TRUE(page_right(p + 30 * page, true));

	/* Where there is nothing, not even a mapping, there is no error. */
	ASSERT_EQ(0, munmap(p + 20 * page, page));
	EXPECT_EQ(0, dma_fault(dma, p, 40 * page, DMA_PREFETCH));
	EXPECT_EQ(6, dma_pages());
}

TEST_F(hmm_dma, wrong_arguments)
{
	char *p = anon_area(16, false), buf[8];

	ASSERT_NE(p, NULL);
	EXPECT_EQ(-1, ioctl(dma, HMM_DMA_TEST_FAULT,
			    &(struct hmm_dma_test_fault){ 0 }));
	EXPECT_EQ(ENXIO, errno);
	EXPECT_EQ(-EINVAL, dma_mirror(dma, p + 1, page));
	EXPECT_EQ(-EINVAL, dma_mirror(dma, p, page + 1));
	EXPECT_EQ(-EINVAL, dma_mirror(dma, p, 0));
	EXPECT_EQ(-EINVAL, dma_mirror(dma, (void *)-page, page));
	ASSERT_EQ(0, dma_mirror(dma, p, 8 * page));
	EXPECT_EQ(1, dma_mirror(dma, p, 8 * page));
	EXPECT_EQ(EBUSY, errno);

	EXPECT_EQ(-EINVAL, dma_fault(dma, p + 1, page, 0));
	EXPECT_EQ(-EINVAL, dma_fault(dma, p, page - 1, 0));
	EXPECT_EQ(-EINVAL, dma_fault(dma, p, 0, 0));
	EXPECT_EQ(-EINVAL, dma_fault(dma, p - page, 2 * page, 0));
	EXPECT_EQ(-EINVAL, dma_fault(dma, p + 7 * page, 2 * page, 0));
	EXPECT_EQ(-EINVAL, dma_fault(dma, p + 8 * page, page, 0));
	EXPECT_EQ(1, dma_fault(dma, p, page, DMA_NOFAULT));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(1, dma_copy(dma, p + 8 * page, buf, 8, 0));
	EXPECT_EQ(1, dma_copy(dma, p + page - 4, buf, 8, 0));
	EXPECT_EQ(-EFAULT, dma_copy(dma, p, buf, 8, DMA_NOFAULT));
	EXPECT_EQ(-EFAULT, dma_copy(dma, p, buf, 8, DMA_NOFAULT | DMA_WRITE));
	EXPECT_EQ(1, dma_drop(dma, p + 1, page));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(1, dma_drop(dma, p, HMM_DMA_TEST_MAX_LENGTH + page));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(1, dma_drop(dma, (void *)-page, 2 * page));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(0, dma_status(dma).entries);
	EXPECT_EQ(0, populated(p, 16));
}

/* A transfer that does not fault has nothing to wait for. */
TEST_F(hmm_dma, wrong_arguments_raw)
{
	char buf[8] = "";
	struct hmm_dma_test_copy cmd = {
		.buffer = (uintptr_t)buf,
		.size = sizeof(buf),
		.timeout_ms = 1,
	};

	EXPECT_EQ(-1, ioctl(dma, HMM_DMA_TEST_RAW, &cmd));
	EXPECT_EQ(EINVAL, errno);
	cmd.timeout_ms = 0;
	cmd.flags = DMA_NOFAULT;
	EXPECT_EQ(-1, ioctl(dma, HMM_DMA_TEST_RAW, &cmd));
	EXPECT_EQ(EINVAL, errno);
	cmd.flags = 0;
	cmd.size = HMM_DMA_TEST_MAX_SIZE + 1;
	EXPECT_EQ(-1, ioctl(dma, HMM_DMA_TEST_RAW, &cmd));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(hmm_dma_direct, raw_addresses_are_refused)
{
	char buf[8] = "";

	EXPECT_EQ(1, dma_raw(dma, 0, buf, 8, 0));
	EXPECT_EQ(EOPNOTSUPP, errno);
	EXPECT_EQ(1, dma_raw(dma, 0, buf, 8, DMA_WRITE));
	EXPECT_EQ(EOPNOTSUPP, errno);
}

/* ---- without a mirror ---- */

TEST_F_TIMEOUT(hmm_dma, by_hand, TIME)
{
	char *p = anon_area(64, false), buf[200];

	ASSERT_NE(p, NULL);
	fill(p, page);
	ASSERT_EQ(0, dma_hand(dma, p, 64 * page, 0, buf, sizeof(buf)));
	EXPECT_EQ(64, dma_pages());
	EXPECT_FALSE(dma_runs[0].writable);
	EXPECT_TRUE(same("read by hand", buf, p, sizeof(buf)));

	fill(buf, sizeof(buf));
	ASSERT_EQ(0, dma_hand(dma, p, 64 * page, DMA_WRITE, buf, sizeof(buf)));
	EXPECT_EQ(64, dma_pages());
	EXPECT_TRUE(dma_runs[0].writable);
	EXPECT_TRUE(same("written by hand", p, buf, sizeof(buf)));

	ASSERT_EQ(0, mprotect(p + 60 * page, page, PROT_NONE));
	EXPECT_EQ(-EFAULT, dma_hand(dma, p, 64 * page, 0, buf, sizeof(buf)));
	EXPECT_EQ(-EINVAL, dma_hand(dma, p + 1, page, 0, buf, sizeof(buf)));
}

TEST_F_TIMEOUT(hmm_dma, by_hand_huge, TIME)
{
	char *p, buf[200];

	if (skipped(no_thp()))
		return;
	p = anon_area(2 * nr_pmd, true);
	ASSERT_NE(p, NULL);
	fill(buf, sizeof(buf));
	ASSERT_EQ(0, dma_hand(dma, p, 2 * pmd, DMA_WRITE, buf, sizeof(buf)));
	EXPECT_EQ(2 * nr_pmd, dma_pages());
	EXPECT_EQ(9, dma_runs[0].order);
	EXPECT_TRUE(same("written by hand", p, buf, sizeof(buf)));
}

TEST_F_TIMEOUT(hmm_dma_iommu, by_hand_leaves_nothing, TIME)
{
	char *p = anon_area(64, false), buf[8] = "";
	__u64 addr;

	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, dma_hand(dma, p, 64 * page, DMA_WRITE, buf, sizeof(buf)));
	addr = dma_addr(p);
	EXPECT_EQ(0, dma_domain(dma, addr, 64));
	EXPECT_TRUE(out_of_reach(addr));
	EXPECT_EQ(0, *(__u32 *)p);
}

/* Something invalidates all the time, and the loop gets there nevertheless. */
TEST_F_TIMEOUT(hmm_dma, by_hand_in_a_storm, TIME)
{
	struct side s = { .act = act_discard, .len = 8 * page };
	char *p = anon_area(64, false), buf[64] = "";
	size_t i;

	ASSERT_NE(p, NULL);
	s.p = p + 30 * page;
	ASSERT_EQ(0, side_start(&s));
	for (i = 0; i < 10; i++)
		EXPECT_EQ(0, dma_hand(dma, p, 64 * page, DMA_WRITE, buf,
				      sizeof(buf)));
	side_stop(&s);
	EXPECT_NE(0, s.rounds);
}

/* ---- several mirrors, and their end ---- */

TEST_F_TIMEOUT(hmm_dma, two_mirrors_of_one_memory, TIME)
{
	char *p = anon_area(16, false);
	int other = dma_open(0);
	__u64 addr;

	ASSERT_GE(other, 0);
	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, mirror_around(p, 16 * page));
	ASSERT_EQ(0, dma_mirror(other, p, 8 * page));
	EXPECT_TRUE(area_right(p, 16, true));
	addr = dma_addr(p);
	ASSERT_EQ(0, dma_fault(other, p, 8 * page, DMA_WRITE));
	EXPECT_TRUE(has_iommu() ? addr != dma_addr(p) : addr == dma_addr(p));
	EXPECT_EQ(16, dma_status(dma).entries);
	EXPECT_EQ(8, dma_status(other).entries);

	ASSERT_EQ(0, madvise(p, 8 * page, MADV_DONTNEED));
	EXPECT_GE(8, dma_status(dma).entries);
	EXPECT_EQ(0, dma_status(other).entries);
	ASSERT_EQ(0, dma_fault(other, p, 8 * page, DMA_WRITE));
	close(other);
	EXPECT_TRUE(area_right(p, 16, true));
}

/* A driver that is unbound takes its mirrors along, whoever has them open. */
TEST_F_TIMEOUT(hmm_dma, unbinding_ends_the_mirror, TIME)
{
	char *p = anon_area(16, false), path[PATH_MAX], *name;

	ASSERT_NE(p, NULL);
	ASSERT_EQ(0, mirror_around(p, 16 * page));
	ASSERT_TRUE(area_right(p, 16, true));
	ASSERT_NE(dma_sysfs(0), NULL);
	snprintf(path, sizeof(path), "%s", dma_sysfs(0));
	name = basename(path);
	ASSERT_EQ(0, setting_write(DRIVER_DIR "/unbind", name));
	EXPECT_EQ(1, dma_fault(dma, p, 16 * page, 0));
	EXPECT_EQ(ENODEV, errno);
	EXPECT_EQ(0, madvise(p, 16 * page, MADV_DONTNEED));
	EXPECT_EQ(-1, dma_open(0));
	close(dma);

	ASSERT_EQ(0, setting_write(DRIVER_DIR "/bind", name));
	dma = dma_open(0);
	ASSERT_GE(dma, 0);
	ASSERT_EQ(0, mirror_around(p, 16 * page));
	EXPECT_TRUE(area_right(p, 16, true));
}

/* ---- memory of another device that the CPU can access ---- */

FIXTURE(hmm_dma_coherent) { int fd; };
FIXTURE_SETUP(hmm_dma_coherent)
{
	if (skipped(dma_setup()))
		return;
	self->fd = open(COHERENT_DEVICE, O_RDWR | O_CLOEXEC);
	(void)skipped(self->fd < 0 ? "no test_hmm with special-purpose memory" :
				     NULL);
}

FIXTURE_TEARDOWN(hmm_dma_coherent)
{
	EXPECT_TRUE(log_agrees());
}

/* Moves @n pages at @p to the device's memory or from there: how many went. */
static long coherent_move(int fd, unsigned long request, char *p, size_t n)
{
	struct hmm_dmirror_cmd cmd = {
		.addr = (uintptr_t)p,
		.npages = n,
	};
	void *data = malloc(n * page);
	long ret;

	cmd.ptr = (uintptr_t)data;
	ret = ioctl(fd, request, &cmd) ? -errno : (long)cmd.cpages;
	free(data);
	return ret;
}

/* It is mirrored where it is, and follows when it is moved, as other memory. */
TEST_F_TIMEOUT(hmm_dma_coherent, there_and_back, TIME)
{
	char *p = anon_area(8, false);
	__u64 addr, before, there;

	ASSERT_NE(p, NULL);
	memset(p, 1, 8 * page);
	ASSERT_EQ(0, mirror_around(p, 8 * page));
	EXPECT_TRUE(area_right(p, 8, true));
	before = dma_runs[0].pfn;
	ASSERT_EQ(8, coherent_move(self->fd, HMM_DMIRROR_MIGRATE_TO_DEV, p, 8));
	EXPECT_EQ(0, dma_status(dma).entries);

	EXPECT_TRUE(area_right(p, 8, true));
	there = dma_runs[0].pfn;
	addr = dma_addr(p + UNREAD * page);
	EXPECT_NE(before, there);
	EXPECT_EQ(there, PAGEMAP_PFN(pm(p)));
	EXPECT_EQ(HMM_DMA_TEST_MEMORY, dma_runs[0].kind);
	EXPECT_NE(0, addr);

	/* What the device wrote there comes with it. */
	ASSERT_EQ(0, dma_write(dma, p, "coherent", 8));
	ASSERT_EQ(8, coherent_move(self->fd, HMM_DMIRROR_MIGRATE_TO_SYS, p, 8));
	EXPECT_EQ(0, dma_status(dma).entries);
	EXPECT_TRUE(!has_iommu() || out_of_reach(addr));
	EXPECT_EQ(0, memcmp(p, "coherent", 8));
	EXPECT_NE(there, PAGEMAP_PFN(pm(p)));
	EXPECT_TRUE(area_right(p, 8, true));
}

/* ---- memory of a peer ---- */

struct peer {
	char dir[PATH_MAX];	/* in sysfs */
	char *p;
	size_t len;
};

/* Of a device's folder in sysfs, what its first port or itself is called. */
static const char *below_root(const char *dir)
{
	const char *root = strstr(dir, "/pci");

	return root ? strchr(root + 1, '/') : NULL;
}

/* Whether two devices are on the root bus, or both below one port of it. */
static bool related(const char *a, const char *b, bool root)
{
	const char *x = below_root(a), *y = below_root(b);
	size_t n;

	if (!x || !y)
		return false;
	if (root)
		return !strchr(x + 1, '/') && !strchr(y + 1, '/');
	n = strcspn(x + 1, "/") + 2;
	return x[n - 1] == '/' && !strncmp(x, y, n);
}

/* Opens a device that has such a peer: NULL, or what is missing. */
static const char *no_peer(struct peer *peer, bool root)
{
	char real[PATH_MAX];
	const char *dir;
	unsigned int n;
	size_t i;
	glob_t g;

	if (glob("/sys/bus/pci/devices/*/p2pmem", 0, NULL, &g))
		return "no device that offers memory to peers";
	close(dma);
	for (n = 0; n < 16; n++) {
		dir = dma_sysfs(n);
		for (i = 0; dir && i < g.gl_pathc; i++) {
			if (!realpath(g.gl_pathv[i], real) ||
			    !related(dir, dirname(real), root))
				continue;
			snprintf(peer->dir, sizeof(peer->dir), "%s", real);
			globfree(&g);
			dma = dma_open(n);
			return NULL;
		}
	}
	globfree(&g);
	return "no device and peer in such places";
}

/* Maps @len bytes of it. */
static const char *no_peer_memory(struct peer *peer, bool root, size_t len)
{
	const char *why = no_peer(peer, root);
	char path[PATH_MAX + 20];
	int fd;

	if (why)
		return why;
	snprintf(path, sizeof(path), "%s/p2pmem/allocate", peer->dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	peer->len = len;
	peer->p = fd < 0 ? NULL : area(len, PROT_READ | PROT_WRITE, MAP_SHARED,
				       fd);
	return peer->p ? NULL : "the memory cannot be mapped";
}

/* The bus address of BAR 2. On this bus it is what the CPU uses as well. */
static __u64 peer_bar(const struct peer *peer)
{
	unsigned long long start = 0, end;
	char path[PATH_MAX + 20];
	FILE *f;
	int i;

	snprintf(path, sizeof(path), "%s/resource", peer->dir);
	f = fopen(path, "r");
	for (i = 0; f && i <= 2; i++)
		if (fscanf(f, "%llx %llx %*x", &start, &end) != 2)
			start = 0;
	if (f)
		fclose(f);
	return start;
}

FIXTURE(hmm_dma_peer) { struct peer peer; };
FIXTURE_SETUP(hmm_dma_peer)
{
	if (skipped(dma_setup()))
		return;
	(void)skipped(no_peer_memory(&self->peer, false, 16 * page));
}

FIXTURE_TEARDOWN(hmm_dma_peer)
{
	EXPECT_TRUE(log_agrees());
}

/* Below one switch: at bus addresses, with nothing for an IOMMU to do. */
TEST_F_TIMEOUT(hmm_dma_peer, by_bus_address, TIME)
{
	char *p = self->peer.p;
	__u64 bar = peer_bar(&self->peer);

	ASSERT_EQ(0, mirror_around(p, 16 * page));
	ASSERT_EQ(0, dma_fault(dma, p, 16 * page, DMA_WRITE));
	EXPECT_EQ(16, dma_pages());
	EXPECT_EQ(1, dma_nr_runs);
	EXPECT_EQ(HMM_DMA_TEST_BUS, dma_runs[0].kind);
	EXPECT_GE(dma_runs[0].addr, bar);
	EXPECT_LE(dma_runs[0].addr + 16 * page, bar + 4 * MB);

	/* QEMU knows no way around an IOMMU, real switches do. */
	EXPECT_TRUE(has_iommu() ? !dma_domain(dma, dma_runs[0].addr, 16) :
				  area_right(p, 16, true));

	/* So there is nothing that had to go with what goes. */
	ASSERT_EQ(0, munmap(p + 8 * page, 8 * page));
	EXPECT_EQ(8, dma_status(dma).entries);

	/* A device with memory of its own and of a peer side by side. */
	p = mmap(p + 8 * page, 8 * page, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_TRUE(area_right(p, 8, true));
	EXPECT_EQ(HMM_DMA_TEST_MEMORY, dma_runs[0].kind);
	ASSERT_EQ(0, dma_fault(dma, self->peer.p, 16 * page, DMA_WRITE));
	EXPECT_EQ(16, dma_pages());
	EXPECT_EQ(8, dma_runs[0].npages);
	EXPECT_EQ(HMM_DMA_TEST_BUS, dma_runs[0].kind);
	EXPECT_EQ(HMM_DMA_TEST_MEMORY, dma_runs[1].kind);
}

FIXTURE(hmm_dma_peer_host) { struct peer peer; };
FIXTURE_SETUP(hmm_dma_peer_host)
{
	if (skipped(dma_setup()))
		return;
	(void)skipped(no_peer_memory(&self->peer, true, 16 * page));
}

FIXTURE_TEARDOWN(hmm_dma_peer_host)
{
	EXPECT_TRUE(log_agrees());
}

/* Through the host bridge, and the IOMMU in front of it if there is one. */
TEST_F_TIMEOUT(hmm_dma_peer_host, through_the_host_bridge, TIME)
{
	char *p = self->peer.p;
	__u64 addr;

	ASSERT_EQ(0, mirror_around(p, 16 * page));
	EXPECT_TRUE(area_right(p, 16, true));
	EXPECT_EQ(HMM_DMA_TEST_MEMORY, dma_runs[0].kind);
	addr = dma_addr(p);
	EXPECT_TRUE(!has_iommu() || dma_domain(dma, addr, 16) == 16);
	ASSERT_EQ(0, munmap(p, 16 * page));
	EXPECT_EQ(0, dma_status(dma).entries);
	EXPECT_TRUE(!has_iommu() || out_of_reach(addr));
}

FIXTURE(hmm_dma_peer_refused) { struct peer peer; };
FIXTURE_SETUP(hmm_dma_peer_refused)
{
	if (skipped(dma_setup()))
		return;
	(void)skipped(no_peer_memory(&self->peer, true, 16 * page));
}

FIXTURE_TEARDOWN(hmm_dma_peer_refused)
{
	EXPECT_TRUE(log_agrees());
}

/* Where the host bridge is not known to pass it on, there is no way. */
TEST_F_TIMEOUT(hmm_dma_peer_refused, no_way, TIME)
{
	char *p = self->peer.p;

	ASSERT_EQ(0, mirror_around(p, 16 * page));
	EXPECT_EQ(-EREMOTEIO, dma_fault(dma, p, 16 * page, 0));
	EXPECT_EQ(-EREMOTEIO, dma_fault(dma, p, 16 * page, DMA_WRITE));
	EXPECT_EQ(0, dma_status(dma).entries);
	EXPECT_EQ(-EREMOTEIO, dma_hand(dma, p, 16 * page, 0, NULL, 0));
}

/* It does not keep the device from what is around it, if a part will do. */
TEST_F_TIMEOUT(hmm_dma_peer_refused, part, TIME)
{
	char *p = self->peer.p, *behind = p + 12 * page;
	unsigned int i;

	for (i = 0; i < 16; i += 12) {
		ASSERT_EQ(p + i * page, mmap(p + i * page, 4 * page,
					     PROT_READ | PROT_WRITE,
					     MAP_PRIVATE | MAP_ANONYMOUS |
					     MAP_FIXED, -1, 0));
		memset(p + i * page, 1, 4 * page);
	}
	ASSERT_EQ(0, mirror_around(p, 16 * page));
	EXPECT_EQ(-EREMOTEIO, dma_fault(dma, p, 16 * page, DMA_WRITE));
	EXPECT_EQ(0, dma_status(dma).entries);

	/* The first gap is where another fault begins. */
	ASSERT_EQ(0, dma_fault(dma, p, 16 * page, DMA_WRITE | DMA_PARTIAL));
	EXPECT_EQ((uintptr_t)p, dma_runs[0].start);
	EXPECT_EQ(4, dma_runs[0].npages);
	EXPECT_EQ(0, dma_addr(p + 4 * page));
	EXPECT_TRUE(page_right(p + 3 * page, true));
	EXPECT_EQ(-EREMOTEIO, dma_fault(dma, p + 4 * page, 12 * page,
					DMA_WRITE | DMA_PARTIAL));
	EXPECT_EQ(4, dma_status(dma).entries);
	EXPECT_EQ(0, dma_fault(dma, p, 4 * page, DMA_PARTIAL));

	ASSERT_EQ(0, dma_drop(dma, p, 16 * page));
	ASSERT_EQ(0, dma_fault(dma, p, 16 * page, DMA_WRITE | DMA_PREFETCH));
	EXPECT_EQ(2, dma_nr_runs);
	EXPECT_EQ(8, dma_pages());
	EXPECT_NE(0, dma_addr(behind));
	EXPECT_TRUE(page_right(p, true));
	EXPECT_TRUE(page_right(behind, true));
	EXPECT_EQ(0, dma_fault(dma, p + 4 * page, 8 * page, DMA_PREFETCH));
	EXPECT_EQ(0, dma_pages());
}

int main(int argc, char **argv)
{
	machine_save();
	return test_harness_run(argc, argv);
}
