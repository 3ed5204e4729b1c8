// SPDX-License-Identifier: GPL-2.0
/*
 * Tests of peer access to device-private memory: pages of a process lie in the
 * memory of one device, that of lib/test_hmm_peer.c, and another one, of
 * lib/test_hmm_dma.c, reads and writes them there.
 *
 * What can be believed is what the DMA engine has read or written, what the memory
 * of the device and that of the process have then, and the owner's count of the
 * pages that have come back. Which fixtures can be run depends on what is between the
 * two devices:
 *
 *	hmm_peer		a host bridge known to pass accesses on
 *	hmm_peer_fallback	one that is not
 *	hmm_peer_switch		a PCIe switch
 *
 * The first two take hmm_dma0 and hmm_peer0, the last one hmm_dma2 and hmm_peer1.
 * Needs root. test_hmm_peer has to be loaded before test_hmm_dma.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lib/test_hmm_peer_uapi.h>

#include "hmm_dma_util.h"

#define DMA_WRITE	HMM_DMA_TEST_WRITE
#define DMA_PREFETCH	HMM_DMA_TEST_PREFETCH
#define DMA_PARTIAL	HMM_DMA_TEST_PARTIAL
#define NO_PAGE		HMM_PEER_TEST_NO_PAGE
#define ALWAYS		HMM_PEER_TEST_ALWAYS

/* Seconds; in a guest whose clock counts instructions they mean little. */
#define TIME		900

#define N		16U	/* pages of the buffer */
#define WORDS		64U	/* of each page, that are looked at */
#define BAR		2	/* of the device that has the memory */

#define PEER_DRIVER	"/sys/bus/pci/drivers/hmm_peer"
#define DMA_DRIVER	"/sys/bus/pci/drivers/hmm_dma"

static size_t page;
static int dma = -1, peer = -1;	/* who does DMA, and who has the memory */
static unsigned int dma_nr, peer_nr;
static char *buf;		/* N pages */
static __u32 where[N];		/* which pages of the device they are */
static struct hmm_peer_test_status before;

/* ---- the device that has the memory ---- */

static const char *peer_sysfs(void)
{
	static char real[PATH_MAX];
	char path[64];

	snprintf(path, sizeof(path), "/sys/class/misc/hmm_peer%u/device",
		 peer_nr);
	return realpath(path, real);
}

static int peer_open(void)
{
	char path[32];

	snprintf(path, sizeof(path), "/dev/hmm_peer%u", peer_nr);
	return open(path, O_RDWR | O_CLOEXEC);
}

static struct hmm_peer_test_status peer_status(void)
{
	struct hmm_peer_test_status status = { };

	if (ioctl(peer, HMM_PEER_TEST_STATUS, &status))
		ksft_exit_fail_msg("peer status: %s\n", strerror(errno));
	return status;
}

/* Since the test began. */
static __u64 came_back(void)
{
	return peer_status().to_ram - before.to_ram;
}

static __u64 offered(void)
{
	return peer_status().offers - before.offers;
}

/* hmm_dma@n gets so many offers. */
static int peer_allow(unsigned int n, __u32 offers)
{
	struct hmm_peer_test_allow cmd = { .offers = offers };
	unsigned int slot, function;
	char path[PATH_MAX] = "";

	if (dma_sysfs(n))
		snprintf(path, sizeof(path), "%s", dma_sysfs(n));
	if (sscanf(basename(path), "%x:%x:%x.%x", &cmd.domain, &cmd.bus, &slot,
		   &function) != 4)
		return -1;
	cmd.devfn = slot << 3 | function;
	return ioctl(peer, HMM_PEER_TEST_ALLOW, &cmd);
}

static unsigned int peer_migrate(char *p, unsigned int n, __u32 *to)
{
	struct hmm_peer_test_migrate cmd = {
		.addr = (uintptr_t)p,
		.pages = (uintptr_t)to,
		.npages = n,
	};

	if (ioctl(peer, HMM_PEER_TEST_MIGRATE, &cmd))
		ksft_exit_fail_msg("migrate: %s\n", strerror(errno));
	return cmd.moved;
}

static bool peer_evict(void)
{
	return !ioctl(peer, HMM_PEER_TEST_EVICT);
}

static bool peer_bar(unsigned int i, __u32 *words, bool write)
{
	struct hmm_peer_test_bar cmd = {
		.buffer = (uintptr_t)words,
		.offset = where[i] * page,
		.size = WORDS * sizeof(*words),
		.write = write,
	};

	return where[i] != NO_PAGE && !ioctl(peer, HMM_PEER_TEST_BAR, &cmd);
}

/* The CPU physical address of the memory, or 0. */
static __u64 peer_phys(void)
{
	char path[PATH_MAX], line[128] = "";
	__u64 start = 0;
	FILE *file;
	int i;

	snprintf(path, sizeof(path), "%s/resource", peer_sysfs() ?: "");
	file = fopen(path, "r");
	if (!file)
		return 0;
	for (i = 0; i <= BAR; i++)
		if (!fgets(line, sizeof(line), file))
			line[0] = 0;
	fclose(file);
	start = strtoull(line, NULL, 0);
	return start;
}

/* ---- contents ---- */

static __u32 word(unsigned int i, unsigned int j, __u32 seed)
{
	return seed << 24 | i << 8 | j;
}

static void words_make(__u32 *words, unsigned int i, __u32 seed)
{
	unsigned int j;

	for (j = 0; j < WORDS; j++)
		words[j] = word(i, j, seed);
}

static bool words_right(const __u32 *words, unsigned int i, __u32 seed)
{
	unsigned int j;

	for (j = 0; j < WORDS; j++) {
		if (words[j] == word(i, j, seed))
			continue;
		ksft_print_msg("page %u, word %u: 0x%x, not 0x%x\n", i, j,
			       words[j], word(i, j, seed));
		return false;
	}
	return true;
}

static void cpu_write(unsigned int i, __u32 seed)
{
	words_make((__u32 *)(buf + i * page), i, seed);
}

static bool cpu_reads(unsigned int i, __u32 seed)
{
	return words_right((__u32 *)(buf + i * page), i, seed);
}

static bool bar_reads(unsigned int i, __u32 seed)
{
	__u32 words[WORDS] = { };

	return peer_bar(i, words, false) && words_right(words, i, seed);
}

static bool dma_reads(unsigned int i, __u32 seed)
{
	__u32 words[WORDS] = { };

	return !dma_read(dma, buf + i * page, words, sizeof(words)) &&
	       words_right(words, i, seed);
}

static bool dma_writes(unsigned int i, __u32 seed)
{
	__u32 words[WORDS];

	words_make(words, i, seed);
	return !dma_write(dma, buf + i * page, words, sizeof(words));
}

static bool all(bool (*has)(unsigned int i, __u32 seed), __u32 seed)
{
	unsigned int i;

	for (i = 0; i < N; i++)
		if (!has(i, seed))
			return false;
	return true;
}

static bool all_of_kind(__u32 kind)
{
	unsigned int i;

	for (i = 0; i < dma_nr_runs; i++)
		if (dma_runs[i].kind != kind)
			return false;
	return dma_nr_runs;
}

/* ---- fixtures ---- */

static bool has_iommu(void)
{
	return dma_status(dma).iommu == HMM_DMA_TEST_IOMMU_DMA;
}

/* A buffer whose pages have @seed 1, in the memory of the device. */
static const char *setup(unsigned int dma_at, unsigned int peer_at)
{
	unsigned int i;

	page = getpagesize();
	dma_nr = dma_at;
	peer_nr = peer_at;
	dma = dma_open(dma_nr);
	if (dma < 0)
		return "no /dev/hmm_dma: test_hmm_dma and an edu device, as root";
	peer = peer_open();
	if (peer < 0)
		return "no /dev/hmm_peer: test_hmm_peer and an ivshmem device";
	buf = mmap(NULL, N * page, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (buf == MAP_FAILED || madvise(buf, N * page, MADV_NOHUGEPAGE))
		return "no memory";
	for (i = 0; i < N; i++)
		cpu_write(i, 1);
	if (peer_allow(dma_nr, ALWAYS) || !peer_evict())
		ksft_exit_fail_msg("peer: %s\n", strerror(errno));
	if (peer_migrate(buf, N, where) != N)
		ksft_exit_fail_msg("not all pages have been migrated\n");
	before = peer_status();
	return NULL;
}

static bool mirrored(unsigned int flags)
{
	return !dma_mirror_flags(dma, buf, N * page, flags);
}

FIXTURE(hmm_peer) { };
FIXTURE_SETUP(hmm_peer)
{
	const char *why = setup(0, 0);

	if (why)
		SKIP(return, "%s", why);
}

/* However a test ends, nobody keeps a page of the device. */
FIXTURE_TEARDOWN(hmm_peer)
{
	munmap(buf, N * page);
	EXPECT_EQ(0, peer_status().used);
	EXPECT_EQ(0, dma_status(dma).entries);
}

FIXTURE(hmm_peer_fallback) { };
FIXTURE_SETUP(hmm_peer_fallback)
{
	const char *why = setup(0, 0);

	if (why)
		SKIP(return, "%s", why);
}

FIXTURE_TEARDOWN(hmm_peer_fallback)
{
	munmap(buf, N * page);
	EXPECT_EQ(0, peer_status().used);
}

FIXTURE(hmm_peer_switch) { };
FIXTURE_SETUP(hmm_peer_switch)
{
	const char *why = setup(2, 1);

	if (why)
		SKIP(return, "%s", why);
}

FIXTURE_TEARDOWN(hmm_peer_switch)
{
	munmap(buf, N * page);
	EXPECT_EQ(0, peer_status().used);
	EXPECT_EQ(0, dma_status(dma).entries);
}

/* ---- in place ---- */

TEST_F_TIMEOUT(hmm_peer, read_in_place, TIME)
{
	ASSERT_TRUE(mirrored(HMM_DMA_TEST_PEERS));
	ASSERT_EQ(0, dma_fault(dma, buf, N * page, 0));
	EXPECT_EQ(N, dma_pages());
	EXPECT_TRUE(all_of_kind(HMM_DMA_TEST_MEMORY));
	EXPECT_TRUE(all(dma_reads, 1));

	/* What the owner writes, the device reads. */
	for (unsigned int i = 0; i < N; i++) {
		__u32 words[WORDS];

		words_make(words, i, 2);
		ASSERT_TRUE(peer_bar(i, words, true));
	}
	EXPECT_TRUE(all(dma_reads, 2));
	EXPECT_EQ(0, came_back());
	EXPECT_EQ(N, peer_status().used);
	EXPECT_GE(offered(), N);

	/* For the CPU the pages come back, and leave the device at that. */
	EXPECT_TRUE(all(cpu_reads, 2));
	EXPECT_EQ(N, came_back());
	EXPECT_EQ(0, dma_status(dma).entries);
}

TEST_F_TIMEOUT(hmm_peer, write_in_place, TIME)
{
	ASSERT_TRUE(mirrored(HMM_DMA_TEST_PEERS));
	ASSERT_EQ(0, dma_fault(dma, buf, N * page, DMA_WRITE));
	EXPECT_EQ(N, dma_pages());
	EXPECT_TRUE(all(dma_writes, 3));
	EXPECT_TRUE(all(bar_reads, 3));
	EXPECT_EQ(0, came_back());
	EXPECT_EQ(N, peer_status().used);
	EXPECT_TRUE(all(cpu_reads, 3));
	EXPECT_EQ(N, came_back());
}

/* Contiguous pages of the device are one run; the IOMMU has all of them. */
TEST_F_TIMEOUT(hmm_peer, addresses, TIME)
{
	__u64 phys = peer_phys(), addr;
	unsigned int i;

	ASSERT_TRUE(mirrored(HMM_DMA_TEST_PEERS));
	ASSERT_EQ(0, dma_fault(dma, buf, N * page, DMA_WRITE));
	ASSERT_EQ(N, dma_pages());
	addr = dma_addr(buf);
	EXPECT_TRUE(!has_iommu() || dma_domain(dma, addr, N) == N);
	for (i = 0; !has_iommu() && i < N; i++)
		EXPECT_EQ(phys + where[i] * page, dma_addr(buf + i * page));

	ASSERT_TRUE(peer_evict());
	EXPECT_EQ(0, dma_status(dma).entries);
	EXPECT_TRUE(!has_iommu() || !dma_domain(dma, addr, N));
}

/* Memory of the system and of the device side by side. */
TEST_F_TIMEOUT(hmm_peer, mixed, TIME)
{
	unsigned int i;

	for (i = 0; i < N; i += 2)
		cpu_write(i, 1);
	ASSERT_EQ(N / 2, came_back());
	ASSERT_TRUE(mirrored(HMM_DMA_TEST_PEERS));
	ASSERT_EQ(0, dma_fault(dma, buf, N * page, DMA_WRITE));
	EXPECT_EQ(N, dma_pages());
	EXPECT_TRUE(all(dma_reads, 1));
	EXPECT_TRUE(all(dma_writes, 4));
	EXPECT_EQ(N / 2, came_back());
	EXPECT_EQ(N / 2, peer_status().used);
	for (i = 1; i < N; i += 2)
		EXPECT_TRUE(bar_reads(i, 4));
	EXPECT_TRUE(all(cpu_reads, 4));
}

TEST_F_TIMEOUT(hmm_peer, prefetch, TIME)
{
	ASSERT_TRUE(mirrored(HMM_DMA_TEST_PEERS));
	ASSERT_EQ(0, dma_fault(dma, buf, N * page, DMA_WRITE | DMA_PREFETCH));
	EXPECT_EQ(N, dma_pages());
	EXPECT_TRUE(all(dma_reads, 1));

	/* What is refused is left out, and stays where it is. */
	ASSERT_EQ(0, dma_drop(dma, buf, N * page));
	ASSERT_EQ(0, peer_allow(dma_nr, 0));
	ASSERT_EQ(0, dma_fault(dma, buf, N * page, DMA_PREFETCH));
	EXPECT_EQ(0, dma_pages());
	EXPECT_EQ(0, came_back());
}

/* The process may not write, so neither may the device. */
TEST_F_TIMEOUT(hmm_peer, read_only, TIME)
{
	ASSERT_EQ(0, mprotect(buf, N * page, PROT_READ));
	ASSERT_TRUE(mirrored(HMM_DMA_TEST_PEERS));
	EXPECT_EQ(-EPERM, dma_fault(dma, buf, N * page, DMA_WRITE));
	ASSERT_EQ(0, dma_fault(dma, buf, N * page, 0));
	EXPECT_EQ(N, dma_pages());
	EXPECT_EQ(0, dma_runs[0].writable);
	EXPECT_TRUE(all(dma_reads, 1));
	EXPECT_EQ(0, came_back());
}

/* ---- who gets nothing ---- */

TEST_F_TIMEOUT(hmm_peer, not_asked_for, TIME)
{
	ASSERT_TRUE(mirrored(0));
	ASSERT_EQ(0, dma_fault(dma, buf, N * page, 0));
	EXPECT_EQ(N, dma_pages());
	EXPECT_EQ(N, came_back());
	EXPECT_EQ(0, offered());
	EXPECT_TRUE(all(dma_reads, 1));
}

TEST_F_TIMEOUT(hmm_peer, unregistered, TIME)
{
	ASSERT_EQ(0, peer_allow(1, ALWAYS));
	ASSERT_TRUE(mirrored(HMM_DMA_TEST_PEERS));
	ASSERT_EQ(0, dma_fault(dma, buf, N * page, DMA_WRITE));
	EXPECT_EQ(N, came_back());
	EXPECT_EQ(0, offered());
	EXPECT_GE(peer_status().refusals - before.refusals, N);
	EXPECT_TRUE(all(dma_reads, 1));
	EXPECT_TRUE(all(dma_writes, 5));
	EXPECT_TRUE(all(cpu_reads, 5));
}

/* Another process has other memory at the same address. */
TEST_F_TIMEOUT(hmm_peer, foreign_process, TIME)
{
	int status = 0;
	pid_t pid;

	ASSERT_EQ(0, madvise(buf, N * page, MADV_DONTFORK));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		char *own = mmap(buf, N * page, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		bool right = own == buf;
		unsigned int i;

		dma = dma_open(dma_nr);
		for (i = 0; right && i < N; i++)
			cpu_write(i, 9);
		right = right && mirrored(HMM_DMA_TEST_PEERS) &&
			!dma_fault(dma, buf, N * page, DMA_WRITE) &&
			all(dma_reads, 9) && all(dma_writes, 8) &&
			all(cpu_reads, 8);
		_exit(!right);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, offered());
	EXPECT_EQ(0, came_back());
	EXPECT_TRUE(all(bar_reads, 1));
}

/* ---- the owner takes it back ---- */

TEST_F_TIMEOUT(hmm_peer, evict, TIME)
{
	ASSERT_TRUE(mirrored(HMM_DMA_TEST_PEERS));
	ASSERT_EQ(0, dma_fault(dma, buf, N * page, DMA_WRITE));
	EXPECT_TRUE(all(dma_writes, 6));
	ASSERT_TRUE(peer_evict());
	EXPECT_EQ(0, dma_status(dma).entries);
	EXPECT_EQ(0, peer_status().used);
	EXPECT_EQ(N, peer_status().freed - before.freed);
	EXPECT_EQ(0, came_back());
	EXPECT_TRUE(all(cpu_reads, 6));
	EXPECT_TRUE(all(dma_writes, 7));
	EXPECT_TRUE(all(cpu_reads, 7));
}

/* It refuses between walk and mapping: at the first page, or on the way. */
TEST_F_TIMEOUT(hmm_peer, refusal_between, TIME)
{
	static const unsigned int flags[] = { 0, DMA_PARTIAL };
	unsigned int i;

	ASSERT_TRUE(mirrored(HMM_DMA_TEST_PEERS));
	for (i = 0; i < 4; i++) {
		__u64 back = came_back();

		ASSERT_EQ(0, peer_allow(dma_nr, N + i / 2));
		ASSERT_EQ(0, dma_fault(dma, buf, N * page,
				       DMA_WRITE | flags[i % 2]));
		EXPECT_EQ(N, dma_pages());
		EXPECT_EQ(N, dma_status(dma).entries);
		EXPECT_EQ(N, came_back() - back);
		EXPECT_TRUE(all(dma_writes, 10 + i));
		EXPECT_TRUE(all(cpu_reads, 10 + i));
		ASSERT_EQ(N, peer_migrate(buf, N, where));
	}
}

/* Some of the pages, by what is left of the offers. */
TEST_F_TIMEOUT(hmm_peer, some_refused, TIME)
{
	ASSERT_EQ(0, peer_allow(dma_nr, N / 2));
	ASSERT_TRUE(mirrored(HMM_DMA_TEST_PEERS));
	ASSERT_EQ(0, dma_fault(dma, buf, N * page, DMA_WRITE));
	EXPECT_EQ(N, dma_pages());
	EXPECT_TRUE(all(dma_reads, 1));
	EXPECT_TRUE(all(dma_writes, 2));
	EXPECT_EQ(N, came_back());
	EXPECT_TRUE(all(cpu_reads, 2));
}

/* ---- in the middle of transfers ---- */

static atomic_bool stop;
static atomic_uint wrong, rounds;

/* Writes all pages, reads them back by the same device, and again. */
static void *transfers(void *arg)
{
	__u32 seed = 0;

	while (!stop) {
		seed = seed % 200 + 1;
		wrong += !all(dma_writes, seed) || !all(dma_reads, seed);
		rounds++;
	}
	*(__u32 *)arg = seed;
	return NULL;
}

static void rounds_wait(unsigned int n)
{
	n += rounds;
	while (rounds < n && !wrong)
		usleep(1000);
}

struct middle {
	pthread_t thread;
	__u32 seed;
};

static bool middle_begin(struct middle *m)
{
	stop = false;
	wrong = 0;
	rounds = 0;
	if (!mirrored(HMM_DMA_TEST_PEERS) ||
	    pthread_create(&m->thread, NULL, transfers, &m->seed))
		return false;
	rounds_wait(1);
	return true;
}

/* The last that was written is there, whatever happened meanwhile. */
static bool middle_end(struct middle *m)
{
	stop = true;
	pthread_join(m->thread, NULL);
	return !wrong && all(cpu_reads, m->seed);
}

TEST_F_TIMEOUT(hmm_peer, evict_in_the_middle, TIME)
{
	struct middle m;
	unsigned int i;

	ASSERT_TRUE(middle_begin(&m));
	for (i = 0; i < 20; i++) {
		usleep(50000);
		EXPECT_TRUE(peer_evict());
		usleep(50000);
		peer_migrate(buf, N, where);
	}
	rounds_wait(1);
	EXPECT_TRUE(middle_end(&m));
	EXPECT_NE(0, offered());
	/* Each page went by eviction, until the CPU looked at the last ones. */
	EXPECT_LE(came_back(), N);
}

TEST_F_TIMEOUT(hmm_peer, refusal_in_the_middle, TIME)
{
	struct middle m;
	unsigned int i;
	__u64 offers;

	ASSERT_TRUE(middle_begin(&m));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, peer_allow(dma_nr, 0));
		EXPECT_TRUE(peer_evict());
		offers = offered();
		peer_migrate(buf, N, where);
		rounds_wait(2);
		EXPECT_EQ(offers, offered());
		ASSERT_EQ(0, peer_allow(dma_nr, ALWAYS));
		peer_migrate(buf, N, where);
		rounds_wait(2);
		EXPECT_LT(offers, offered());
	}
	EXPECT_TRUE(middle_end(&m));
}

static bool rebind(const char *driver, const char *device, bool bind)
{
	char path[PATH_MAX];
	int fd, ret;

	snprintf(path, sizeof(path), "%s/%s", driver, bind ? "bind" : "unbind");
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ret = write(fd, device, strlen(device));
	close(fd);
	return ret == (int)strlen(device);
}

/* The device with the memory goes away: all of it comes back before. */
TEST_F_TIMEOUT(hmm_peer, unplug_in_the_middle, TIME)
{
	struct hmm_peer_test_status status;
	char path[PATH_MAX] = "";
	const char *device;
	struct middle m;

	if (peer_sysfs())
		snprintf(path, sizeof(path), "%s", peer_sysfs());
	device = basename(path);
	ASSERT_TRUE(middle_begin(&m));
	EXPECT_TRUE(rebind(PEER_DRIVER, device, false));
	EXPECT_EQ(-1, ioctl(peer, HMM_PEER_TEST_STATUS, &status));
	EXPECT_EQ(ENODEV, errno);
	rounds_wait(1);
	EXPECT_TRUE(middle_end(&m));

	close(peer);
	ASSERT_TRUE(rebind(PEER_DRIVER, device, true));
	peer = peer_open();
	ASSERT_NE(-1, peer);
	EXPECT_EQ(0, peer_status().used);
	ASSERT_EQ(0, peer_allow(dma_nr, ALWAYS));
	EXPECT_EQ(N, peer_migrate(buf, N, where));
	EXPECT_TRUE(all(dma_writes, 33));
	EXPECT_TRUE(all(bar_reads, 33));
}

/* The one that does DMA goes away: the pages stay where they are. */
TEST_F_TIMEOUT(hmm_peer, peer_unplugged, TIME)
{
	char path[PATH_MAX] = "";
	const char *device;

	if (dma_sysfs(dma_nr))
		snprintf(path, sizeof(path), "%s", dma_sysfs(dma_nr));
	device = basename(path);
	ASSERT_TRUE(mirrored(HMM_DMA_TEST_PEERS));
	ASSERT_EQ(0, dma_fault(dma, buf, N * page, DMA_WRITE));
	EXPECT_TRUE(all(dma_writes, 34));
	ASSERT_TRUE(rebind(DMA_DRIVER, device, false));
	EXPECT_EQ(N, peer_status().used);
	EXPECT_TRUE(all(bar_reads, 34));
	close(dma);
	ASSERT_TRUE(rebind(DMA_DRIVER, device, true));
	dma = dma_open(dma_nr);
	ASSERT_NE(-1, dma);
	EXPECT_EQ(0, came_back());
	EXPECT_TRUE(all(cpu_reads, 34));
}

/* ---- the process takes it back ---- */

TEST_F_TIMEOUT(hmm_peer, unmap, TIME)
{
	ASSERT_TRUE(mirrored(HMM_DMA_TEST_PEERS));
	ASSERT_EQ(0, dma_fault(dma, buf, N * page, DMA_WRITE));
	ASSERT_EQ(0, munmap(buf + N / 2 * page, N / 2 * page));
	EXPECT_EQ(N / 2, peer_status().used);
	EXPECT_EQ(N / 2, peer_status().freed - before.freed);
	EXPECT_LE(dma_status(dma).entries, N / 2);
	EXPECT_EQ(-EFAULT, dma_fault(dma, buf, N * page, 0));
	ASSERT_EQ(0, dma_fault(dma, buf, N / 2 * page, 0));
	EXPECT_TRUE(dma_reads(0, 1) && dma_reads(N / 2 - 1, 1));
	EXPECT_EQ(0, came_back());

	ASSERT_EQ(0, madvise(buf, N / 2 * page, MADV_DONTNEED));
	EXPECT_EQ(0, peer_status().used);
	EXPECT_EQ(0, dma_status(dma).entries);
}

/* Both processes have the page, so it is read in place and copied to be written. */
TEST_F_TIMEOUT(hmm_peer, fork, TIME)
{
	int go[2], status = 0;
	pid_t pid;
	char c;

	ASSERT_EQ(0, pipe(go));
	ASSERT_TRUE(mirrored(HMM_DMA_TEST_PEERS));
	ASSERT_EQ(0, dma_fault(dma, buf, N * page, DMA_WRITE));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		close(go[1]);
		/* When the parent's device has written. */
		_exit(read(go[0], &c, 1) != 1 || !all(cpu_reads, 1));
	}
	EXPECT_EQ(0, dma_status(dma).entries);
	ASSERT_EQ(0, dma_fault(dma, buf, N * page, 0));
	EXPECT_EQ(N, dma_pages());
	EXPECT_EQ(0, dma_runs[0].writable);
	EXPECT_TRUE(all(dma_reads, 1));
	EXPECT_EQ(0, came_back());

	EXPECT_TRUE(all(dma_writes, 35));
	EXPECT_EQ(N, came_back());
	ASSERT_EQ(1, write(go[1], "", 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_TRUE(all(cpu_reads, 35));
}

/* A process that dies with all of it in use. */
TEST_F_TIMEOUT(hmm_peer, exit, TIME)
{
	int status = 0;
	pid_t pid;

	ASSERT_EQ(0, munmap(buf, N * page));
	ASSERT_EQ(0, peer_status().used);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		bool right = !setup(dma_nr, peer_nr) &&
			     mirrored(HMM_DMA_TEST_PEERS) &&
			     !dma_fault(dma, buf, N * page, DMA_WRITE) &&
			     dma_writes(3, 36) && bar_reads(3, 36) &&
			     peer_status().used == N && !came_back();

		kill(getpid(), right ? SIGKILL : SIGTERM);
		pause();
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
	EXPECT_EQ(0, peer_status().used);
}

/* ---- below one switch ---- */

TEST_F_TIMEOUT(hmm_peer_switch, by_bus_address, TIME)
{
	__u64 phys = peer_phys();
	unsigned int i;

	ASSERT_NE(0, phys);
	ASSERT_TRUE(mirrored(HMM_DMA_TEST_PEERS));
	ASSERT_EQ(0, dma_fault(dma, buf, N * page, DMA_WRITE));
	EXPECT_EQ(N, dma_pages());
	EXPECT_TRUE(all_of_kind(HMM_DMA_TEST_BUS));
	/* On this machine bus addresses are those of the CPU. */
	for (i = 0; i < N; i++)
		EXPECT_EQ(phys + where[i] * page, dma_addr(buf + i * page));

	/* QEMU knows no way around an IOMMU, real switches do. */
	if (has_iommu()) {
		EXPECT_EQ(0, dma_domain(dma, dma_addr(buf), N));
	} else {
		EXPECT_TRUE(all(dma_reads, 1));
		EXPECT_TRUE(all(dma_writes, 40));
		EXPECT_TRUE(all(bar_reads, 40));
	}
	EXPECT_EQ(0, came_back());
	EXPECT_EQ(N, peer_status().used);

	/* Nothing has to go with what goes. */
	ASSERT_EQ(0, munmap(buf, N / 2 * page));
	EXPECT_EQ(N / 2, dma_status(dma).entries);
	ASSERT_TRUE(peer_evict());
	EXPECT_EQ(0, dma_status(dma).entries);
	EXPECT_TRUE(cpu_reads(N - 1, has_iommu() ? 1 : 40));
}

/* ---- no way from one to the other ---- */

TEST_F_TIMEOUT(hmm_peer_fallback, comes_back, TIME)
{
	ASSERT_TRUE(mirrored(HMM_DMA_TEST_PEERS));
	ASSERT_EQ(0, dma_fault(dma, buf, N * page, DMA_PREFETCH));
	EXPECT_EQ(0, dma_pages());
	EXPECT_EQ(0, came_back());

	ASSERT_EQ(0, dma_fault(dma, buf, N * page, DMA_WRITE));
	EXPECT_EQ(N, dma_pages());
	EXPECT_EQ(N, came_back());
	EXPECT_TRUE(all_of_kind(HMM_DMA_TEST_MEMORY));
	EXPECT_TRUE(all(dma_reads, 1));
	EXPECT_TRUE(all(dma_writes, 41));
	EXPECT_TRUE(all(cpu_reads, 41));
}

TEST_F_TIMEOUT(hmm_peer_fallback, evict_in_the_middle, TIME)
{
	struct middle m;
	unsigned int i;

	ASSERT_TRUE(middle_begin(&m));
	for (i = 0; i < 4; i++) {
		peer_migrate(buf, N, where);
		rounds_wait(1);
		EXPECT_TRUE(peer_evict());
	}
	EXPECT_TRUE(middle_end(&m));
}

TEST_HARNESS_MAIN
