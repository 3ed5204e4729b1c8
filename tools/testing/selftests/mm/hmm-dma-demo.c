// SPDX-License-Identifier: GPL-2.0
/*
 * Show a PCI device that mirrors this process and moves the bytes by DMA, for
 * each kind of memory that a process can have: what one side writes the other
 * reads, the entries of the IOMMU are no smaller than the leaves of the CPU, and
 * the device loses what the process loses. A DMA to an address that was taken
 * away is tried each time: the IOMMU has to refuse and to report it.
 *
 * The device is "edu" of QEMU behind an Intel IOMMU (lib/test_hmm_dma.c). Data is
 * made from a seed, so no check passes because both sides happen to hold zeros.
 * What the IOMMU has is read from its debugfs file, its reports from the kernel
 * log.
 *
 * One thread, so no lock. The child of the fork check runs one command at a
 * time and its parent waits for each answer.
 */
#define _GNU_SOURCE
#include "kselftest.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <linux/fs.h>
#include <linux/memfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "hmm_dma_util.h"

#define KB(n)		((size_t)(n) << 10)
#define MB(n)		((size_t)(n) << 20)
#define GB(n)		((size_t)(n) << 30)

#define PAGE		KB(4)
#define PMD_LEAF	MB(2)
#define PUD_LEAF	GB(1)

/* Small enough for one transfer by the device, which is one fault. */
#define RAW_BYTES	(PAGE / 2)

/*
 * Half a page takes the device 100 ms, so data is compared in a few
 * pages of a mapping: the first, the last and some between. All of the mapping
 * is given to the device.
 */
#define SAMPLES		4U

/* How much of a given file the table looks at. */
#define USER_MAX	MB(4)

/* What a mapping holds before anybody wrote to it. */
#define ORIGINAL	0

/*
 * The kernel prints ten messages on faults of the IOMMU in five seconds at most,
 * and uses up to three of these for one fault.
 */
#define FAULT_PACE_MS	2000

/* A report comes by an interrupt. */
#define REPORT_WAIT_MS	2000

#define DEBUGFS		"/sys/kernel/debug/iommu/intel"

#define NOTE_LEN	240

struct memory;

struct kind {
	const char *key;
	const char *name;
	size_t size;
	size_t leaf;		/* what it must be mapped with, 0: any */
	bool shared;		/* MAP_SHARED: others see what is written */
	bool (*map)(struct memory *m);
};

/* Present leaf entries of the IOMMU's page table. */
struct entries {
	size_t leaves[3];	/* of 4K, 2M, 1G */
	size_t bytes;
	size_t writable;
};

/* What munmap() did, and all accesses to addresses that were taken away. */
struct going {
	unsigned long told;	/* how often the driver was told */
	size_t device[2];	/* entries in the device's table, before, after */
	size_t iommu[2];	/* the same in the IOMMU's */
	unsigned int tried;
	unsigned int through;
	unsigned int reported;
};

struct memory {
	const struct kind *kind;
	char *window;		/* what is mirrored: room for it twice */
	size_t room;
	int device;		/* an open file of the device, with a mirror */
	char *addr;		/* NULL while there is no mapping */
	size_t size;
	size_t full;		/* its size before a part was unmapped */
	int fd;			/* the file behind it, or -1 */
	int direct_fd;		/* the same file, read past the page cache */
	uint64_t gen;		/* which pattern it holds, or ORIGINAL */
	uint64_t sum;		/* of a private mapping's file, as first seen */
	struct entries entries;	/* for the table */
	struct going going;
};

struct check {
	const char *name;
	int width;
	bool (*run)(struct memory *m);
};

static unsigned int device_nr;
static const char *pci_name;	/* as the kernel's messages have it */
static const char *file_dir = ".";
static const char *dax_dir;
static const char *user_path;
static int kmsg_fd = -1;
static uint64_t seed;
static uint64_t last_gen;
static size_t domain_before;	/* bytes that the IOMMU maps without a mirror */
static unsigned int faults_logged;

/* Why the last function that returned false did so. */
static char why[NOTE_LEN];

/* For the signal handler. */
static const char *now_row = "start";
static const char *now_check = "set-up";

/* Static, as an allocation could fill a hole that munmap() has made. */
static uint64_t data_buf[PAGE / sizeof(uint64_t)];
static uint64_t want_buf[PAGE / sizeof(uint64_t)];
static char direct_buf[2 * PAGE];
static char stdout_buf[8192];

static __printf(1, 2) bool fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	return false;
}

static size_t round_up(size_t n, size_t to)
{
	return (n + to - 1) / to * to;
}

static size_t min_size(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* ---- Data -------------------------------------------------------------- */

static uint64_t mix(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x9fb21c651e98df25;
	x ^= x >> 28;
	x *= 0xd6e8feb86659fd93;
	return x ^ x >> 32;
}

static uint64_t new_gen(void)
{
	return ++last_gen;
}

static void pattern(uint64_t *buf, uint64_t gen, size_t page)
{
	uint64_t x = mix(seed ^ mix(gen << 32 | page));

	for (size_t i = 0; i < PAGE / sizeof(*buf); i++) {
		x = x * 6364136223846793005 + 1442695040888963407;
		buf[i] = x;
	}
}

/* Like pread(), but short only at the end of the file; the rest is zeroed. */
static bool read_file(int fd, void *buf, size_t len, off_t from)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, (char *)buf + done, len - done,
				  from + done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail("read of the file at %jd: %s",
				    (intmax_t)(from + done), strerror(errno));
		if (!n)
			break;
		done += n;
	}
	memset((char *)buf + done, 0, len - done);
	return true;
}

/* What page @page of @m must hold now, into want_buf. */
static bool wanted(const struct memory *m, size_t page)
{
	if (m->gen != ORIGINAL) {
		pattern(want_buf, m->gen, page);
		return true;
	}
	if (m->fd >= 0 && !m->kind->shared)
		return read_file(m->fd, want_buf, PAGE, page * PAGE);
	memset(want_buf, 0, PAGE);
	return true;
}

static bool same(const struct memory *m, const void *got, size_t page,
		 const char *who)
{
	const uint64_t *word = got;
	size_t i = 0;

	if (!wanted(m, page))
		return false;
	if (!memcmp(got, want_buf, PAGE))
		return true;
	while (i < PAGE / sizeof(*word) - 1 && word[i] == want_buf[i])
		i++;
	return fail("%s sees %016lx at %p, not %016lx (page %zu, byte %zu)",
		    who, word[i], m->addr + page * PAGE + i * sizeof(*word),
		    want_buf[i], page, i * sizeof(*word));
}

/* The page that is the @i-th sample of @m, of which a part may be unmapped. */
static size_t sample(const struct memory *m, unsigned int i)
{
	size_t npages = m->full / PAGE, n = min_size(SAMPLES, npages);
	size_t first = npages * i / n, next = npages * (i + 1) / n;

	if (!i)
		return 0;
	if (i == n - 1)
		return npages - 1;
	return first + mix(seed + i) % (next - first);
}

static unsigned int nr_samples(const struct memory *m)
{
	unsigned int n = min_size(SAMPLES, m->full / PAGE);

	while (sample(m, n - 1) >= m->size / PAGE)
		n--;
	return n;
}

static void cpu_write(struct memory *m, uint64_t gen)
{
	for (unsigned int i = 0; i < nr_samples(m); i++) {
		size_t p = sample(m, i);

		pattern((uint64_t *)(m->addr + p * PAGE), gen, p);
	}
	m->gen = gen;
}

static bool cpu_sees(const struct memory *m)
{
	for (unsigned int i = 0; i < nr_samples(m); i++) {
		size_t p = sample(m, i);

		if (!same(m, m->addr + p * PAGE, p, "the CPU"))
			return false;
	}
	return true;
}

/*
 * The direct read makes the file system write back what it knows to be dirty
 * and then reads the medium: a device write that left its page clean is lost
 * here, as it would be lost under memory pressure.
 */
static bool file_sees(const struct memory *m)
{
	int fd = m->direct_fd >= 0 ? m->direct_fd : m->fd;
	/* Direct reads want an aligned buffer. */
	char *buf = (char *)round_up((uintptr_t)direct_buf, PAGE);

	for (unsigned int i = 0; i < nr_samples(m); i++) {
		size_t p = sample(m, i);

		if (!read_file(fd, buf, PAGE, p * PAGE) ||
		    !same(m, buf, p, "the file"))
			return false;
	}
	return true;
}

/* Sum over the file of a private mapping, to tell that it stays as it is. */
static bool file_sum(const struct memory *m, uint64_t *sum)
{
	*sum = 0;
	for (size_t p = 0; p < m->size / PAGE; p++) {
		if (!read_file(m->fd, want_buf, PAGE, p * PAGE))
			return false;
		for (size_t i = 0; i < PAGE / sizeof(*want_buf); i++)
			*sum = mix(*sum ^ want_buf[i]);
	}
	return true;
}

/* ---- The device -------------------------------------------------------- */

static const char *error_name(int result)
{
	if (result > 0)
		return "the ioctl failed";
	return result ? strerror(-result) : "done";
}

/* An open file of the device that mirrors [@window, @window + @size). */
static int device_open(const void *window, size_t size)
{
	int fd = dma_open(device_nr), err;

	if (fd < 0) {
		fail("cannot open /dev/hmm_dma%u: %s", device_nr,
		     strerror(errno));
		return -1;
	}
	err = dma_mirror(fd, window, size);
	if (!err)
		return fd;
	fail("mirror of %zu KiB at %p: %s", size / KB(1), window,
	     error_name(err));
	close(fd);
	return -1;
}

/* Give the device all of @m; the runs tell the addresses then. */
static bool device_fault(const struct memory *m, unsigned int flags)
{
	int err = dma_fault(m->device, m->addr, m->size, flags);

	if (err)
		return fail("device fault of %zu KiB at %p: %s",
			    m->size / KB(1), m->addr, error_name(err));
	return dma_pages() == m->size / PAGE ||
	       fail("the device has %zu of %zu pages", dma_pages(),
		    m->size / PAGE);
}

static bool device_write(struct memory *m, uint64_t gen)
{
	if (!device_fault(m, HMM_DMA_TEST_WRITE))
		return false;
	for (unsigned int i = 0; i < nr_samples(m); i++) {
		size_t p = sample(m, i);
		int err;

		pattern(data_buf, gen, p);
		err = dma_write(m->device, m->addr + p * PAGE, data_buf, PAGE);
		if (err)
			return fail("device write at %p: %s",
				    m->addr + p * PAGE, error_name(err));
	}
	m->gen = gen;
	return true;
}

static bool device_sees(const struct memory *m)
{
	if (!device_fault(m, 0))
		return false;
	for (unsigned int i = 0; i < nr_samples(m); i++) {
		size_t p = sample(m, i);
		int err = dma_read(m->device, m->addr + p * PAGE, data_buf,
				   PAGE);

		if (err)
			return fail("device read at %p: %s", m->addr + p * PAGE,
				    error_name(err));
		if (!same(m, data_buf, p, "the device"))
			return false;
	}
	return true;
}

/* A fault of the device on a page of [@addr, @addr + @size) must fail. */
static bool device_denied(const struct memory *m, char *addr, size_t size,
			  bool write, int want)
{
	const struct memory part = { .size = size, .full = size };

	for (unsigned int i = 0; i < nr_samples(&part); i++) {
		char *p = addr + sample(&part, i) * PAGE;
		int err = write ? dma_write(m->device, p, data_buf, PAGE) :
				  dma_read(m->device, p, data_buf, PAGE);

		if (err == -want)
			continue;
		return fail("device %s at %p: \"%s\" instead of \"%s\"",
			    write ? "write" : "read", p, error_name(err),
			    strerror(want));
	}
	return true;
}

/* ---- What the IOMMU has ------------------------------------------------ */

/*
 * A line of debugfs is the page number of an entry and the entries on the way to
 * it: three for a leaf of 1G, four for 2M, five for 4K.
 */
static bool parse_entry(const char *line, uint64_t *iova, unsigned int *level,
			uint64_t *entry)
{
	unsigned int n = 0;
	char *next;

	*iova = strtoull(line, &next, 16) << 12;
	if (next == line || strncmp(next, " |", 2))
		return false;
	line = next + 2;
	while (n < 6) {
		uint64_t value = strtoull(line, &next, 16);

		if (next == line)
			break;
		*entry = value;
		line = next;
		n++;
	}
	if (n < 3 || n > 5)
		return false;
	*level = 5 - n;
	return true;
}

static bool iommu_read(FILE *f, uint64_t from, uint64_t to, struct entries *e)
{
	static const size_t size[3] = { PAGE, PMD_LEAF, PUD_LEAF };
	char line[256];
	bool head = false;

	while (fgets(line, sizeof(line), f)) {
		uint64_t iova, entry = 0;
		unsigned int level;

		if (!strncmp(line, "IOVA_PFN", 8))
			head = true;
		if (!parse_entry(line, &iova, &level, &entry) || iova >= to ||
		    iova + size[level] <= from)
			continue;
		e->leaves[level]++;
		e->bytes += size[level];
		e->writable += !!(entry & 2);
	}
	return head || fail("no page table in the IOMMU's debugfs file");
}

/* The IOMMU's entries for DMA addresses of [@from, @to). */
static bool iommu_entries(uint64_t from, uint64_t to, struct entries *e)
{
	char path[128];
	FILE *f;
	bool ok;

	*e = (struct entries) { };
	snprintf(path, sizeof(path), DEBUGFS "/%s/domain_translation_struct",
		 pci_name);
	f = fopen(path, "r");
	if (!f)
		return fail("cannot read %s: %s", path, strerror(errno));
	ok = iommu_read(f, from, to, e);
	fclose(f);
	return ok;
}

static size_t nr_entries(const struct entries *e)
{
	return e->leaves[0] + e->leaves[1] + e->leaves[2];
}

/* Of all of @m, whose DMA addresses the last fault has told. */
static bool iommu_has(const struct memory *m, struct entries *e)
{
	uint64_t from = dma_addr(m->addr);

	return iommu_entries(from, from + m->size, e);
}

/* ---- Addresses that were taken away ------------------------------------ */

/*
 * The next report of the IOMMU on the device in the kernel's log, within
 * @timeout ms: 1, or 0 if none comes.
 */
static int next_report(uint64_t *addr, bool *write, int timeout)
{
	struct pollfd pfd = { .fd = kmsg_fd, .events = POLLIN };
	char line[1024], name[32], type[8];
	unsigned long long at;

	for (;;) {
		ssize_t n = read(kmsg_fd, line, sizeof(line) - 1);
		const char *text;

		if (n < 0 && (errno == EPIPE || errno == EINTR))
			continue;	/* older messages were overwritten */
		if (n <= 0 && poll(&pfd, 1, timeout) <= 0)
			return 0;
		if (n <= 0)
			continue;
		line[n] = '\0';
		text = strstr(line, "DMAR: [DMA ");
		if (!text ||
		    sscanf(text, "DMAR: [DMA %7s %*[^]]] Request device [%31[^]]] fault addr %llx",
			   type, name, &at) != 3 || strcmp(name, pci_name))
			continue;
		*addr = at;
		*write = !strcmp(type, "Write");
		faults_logged++;
		return 1;
	}
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

/* Not faster than the kernel reports faults. */
static void wait_for_pace(void)
{
	static uint64_t last;
	uint64_t now = now_ms();

	if (last && now < last + FAULT_PACE_MS)
		usleep((last + FAULT_PACE_MS - now) * 1000);
	last = now_ms();
}

/* A read that was refused brings zeros, or nothing. */
static bool got_nothing(const uint64_t *before)
{
	for (size_t i = 0; i < RAW_BYTES / sizeof(*before); i++)
		if (data_buf[i] && data_buf[i] != before[i])
			return false;
	return true;
}

/* The report of an access, and no other one. */
static bool iommu_reports(uint64_t addr, bool write)
{
	const char *what = write ? "write" : "read";
	uint64_t at;
	bool wrote;

	if (!next_report(&at, &wrote, REPORT_WAIT_MS))
		return fail("the IOMMU did not report the DMA %s at %#lx", what,
			    addr);
	return (at == addr && wrote == write) ||
	       fail("the IOMMU reports a %s at %#lx, not the %s at %#lx",
		    wrote ? "write" : "read", at, what, addr);
}

/*
 * An access by a device that still uses @addr, a DMA address that is gone or may
 * not be written to any more. Whether a write has changed anything is seen by
 * whoever has the memory.
 */
static bool iommu_refuses(struct memory *m, uint64_t addr, bool write)
{
	uint64_t gen = new_gen();
	int err;

	wait_for_pace();
	pattern(data_buf, gen, 0);
	pattern(want_buf, gen, 0);
	m->going.tried++;
	err = dma_raw(m->device, addr, data_buf, RAW_BYTES,
		      write ? HMM_DMA_TEST_WRITE : 0);
	if (err)
		return fail("DMA %s at %#lx: %s", write ? "write" : "read",
			    addr, error_name(err));
	if (!got_nothing(want_buf)) {
		m->going.through++;
		return fail("DMA read at the old address %#lx got %016lx", addr,
			    data_buf[0]);
	}
	if (!iommu_reports(addr, write))
		return false;
	m->going.reported++;
	return true;
}

/* DMA addresses of the samples, to be kept until they are gone. */
struct old {
	uint64_t start;
	size_t size;
	unsigned int count;
	uint64_t addr[SAMPLES];
};

static struct old remember(const struct memory *m)
{
	struct old old = {
		.start = dma_addr(m->addr),
		.size = m->size,
		.count = nr_samples(m),
	};

	for (unsigned int i = 0; i < old.count; i++)
		old.addr[i] = dma_addr(m->addr + sample(m, i) * PAGE);
	return old;
}

/* Nothing left of it: no entry in the IOMMU, and accesses are refused. */
static bool is_gone(struct memory *m, const struct old *old)
{
	struct entries e;

	if (!iommu_entries(old->start, old->start + old->size, &e))
		return false;
	if (nr_entries(&e))
		return fail("the IOMMU still has %zu entries, %zu KiB",
			    nr_entries(&e), e.bytes / KB(1));
	return iommu_refuses(m, old->addr[m->going.tried % old->count],
			     false) &&
	       iommu_refuses(m, old->addr[m->going.tried % old->count], true);
}

/* The memory is there, and no write of a refused DMA in it. */
static bool is_unharmed(struct memory *m)
{
	if (cpu_sees(m))
		return true;
	m->going.through++;
	return false;
}

/* ---- Kinds of memory --------------------------------------------------- */

/* Address space that nothing else uses, aligned for the largest leaf. */
static char *reserve(size_t size, size_t leaf)
{
	size_t align = leaf > PMD_LEAF ? leaf : PMD_LEAF;
	char *p, *start;

	p = mmap(NULL, size + align, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) {
		fail("no address space: %s", strerror(errno));
		return NULL;
	}
	start = (char *)round_up((uintptr_t)p, align);
	if (start > p)
		munmap(p, start - p);
	munmap(start + size, p + align - start);
	return start;
}

static bool map_at(struct memory *m, int flags)
{
	if (mmap(m->window, m->size, PROT_READ | PROT_WRITE, flags | MAP_FIXED,
		 m->fd, 0) == MAP_FAILED)
		return fail("mmap: %s", strerror(errno));
	m->addr = m->window;
	m->gen = ORIGINAL;
	return true;
}

static bool advise(struct memory *m, int advice, const char *name)
{
	if (madvise(m->addr, m->size, advice))
		return fail("madvise(%s): %s", name, strerror(errno));
	return true;
}

static bool map_anon(struct memory *m)
{
	if (!map_at(m, MAP_PRIVATE | MAP_ANONYMOUS))
		return false;
	if (m->kind->leaf == PMD_LEAF)
		return advise(m, MADV_HUGEPAGE, "MADV_HUGEPAGE");
	return advise(m, MADV_NOHUGEPAGE, "MADV_NOHUGEPAGE");
}

static size_t hugetlb_free(size_t leaf)
{
	char path[96];
	size_t n = 0;
	FILE *f;

	snprintf(path, sizeof(path),
		 "/sys/kernel/mm/hugepages/hugepages-%zukB/free_hugepages",
		 leaf / KB(1));
	f = fopen(path, "r");
	if (!f)
		return 0;
	if (fscanf(f, "%zu", &n) != 1)
		n = 0;
	fclose(f);
	return n;
}

static bool enough_hugetlb(const struct memory *m)
{
	size_t leaf = m->kind->leaf;
	/* After fork() parent and child each need their own of private ones. */
	size_t need = m->size / leaf * (m->kind->shared ? 1 : 2);
	size_t have = hugetlb_free(leaf);

	return have >= need ||
	       fail("%zu huge pages of %zu MiB are needed, %zu are free", need,
		    leaf / MB(1), have);
}

static bool map_hugetlb(struct memory *m)
{
	int log2 = __builtin_ctzl(m->kind->leaf);

	return enough_hugetlb(m) &&
	       map_at(m, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB |
			 log2 << MAP_HUGE_SHIFT);
}

static bool new_memfd(struct memory *m, unsigned int flags)
{
	m->fd = memfd_create("hmm-dma-demo", MFD_CLOEXEC | flags);
	if (m->fd < 0)
		return fail("memfd_create: %s", strerror(errno));
	if (ftruncate(m->fd, m->size))
		return fail("ftruncate: %s", strerror(errno));
	return map_at(m, MAP_SHARED);
}

static bool map_hugetlb_memfd(struct memory *m)
{
	unsigned int log2 = __builtin_ctzl(m->kind->leaf);

	return enough_hugetlb(m) &&
	       new_memfd(m, MFD_HUGETLB | log2 << MAP_HUGE_SHIFT);
}

static bool map_memfd(struct memory *m)
{
	return new_memfd(m, 0) && advise(m, MADV_NOHUGEPAGE, "MADV_NOHUGEPAGE");
}

static bool is_dax(int fd)
{
	struct statx sx;

	return !statx(fd, "", AT_EMPTY_PATH, 0, &sx) &&
	       sx.stx_attributes & STATX_ATTR_DAX;
}

/* A file without a name in @dir, and a second descriptor for direct reads. */
static bool map_new_file(struct memory *m, const char *dir)
{
	char path[32];
	int err;

	m->fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (m->fd < 0)
		return fail("cannot make a file in %s: %s", dir,
			    strerror(errno));
	err = posix_fallocate(m->fd, 0, m->size);
	if (err)
		return fail("no room for %zu MiB in %s: %s", m->size / MB(1),
			    dir, strerror(err));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", m->fd);
	m->direct_fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (m->direct_fd < 0)
		return fail("%s cannot do direct reads: %s", dir,
			    strerror(errno));
	return map_at(m, MAP_SHARED);
}

static bool map_file(struct memory *m)
{
	if (!map_new_file(m, file_dir))
		return false;
	if (is_dax(m->fd))
		return fail("%s is on DAX, without page cache (--file-dir names another)",
			    file_dir);
	return true;
}

static bool map_dax(struct memory *m)
{
	if (!dax_dir)
		return fail("no DAX file system given (--dax-dir)");
	if (!map_new_file(m, dax_dir))
		return false;
	if (!is_dax(m->fd))
		return fail("files in %s are not DAX (mount -o dax, on pmem)",
			    dax_dir);
	return true;
}

static int open_user(const char *path, size_t *size)
{
	struct stat st = { 0 };
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0) {
		fail("cannot open %s: %s", path, strerror(errno));
		return -1;
	}
	if (!fstat(fd, &st) && S_ISREG(st.st_mode)) {
		*size = st.st_size;
		return fd;
	}
	fail("%s is %s", path,
	     S_ISDIR(st.st_mode) ? "a directory" : "not a regular file");
	close(fd);
	return -1;
}

/* Private, so the device may write to it and FILE still stays as it is. */
static bool map_user(struct memory *m)
{
	size_t size;

	m->fd = open_user(user_path, &size);
	if (m->fd < 0)
		return false;
	m->size = round_up(min_size(size, m->kind->size), PAGE);
	if (!m->size)
		return fail("FILE is empty: there is no page to map");
	return map_at(m, MAP_PRIVATE) && file_sum(m, &m->sum);
}

/* Back to the reservation, so that nothing else gets into the window. */
static bool give_back(char *addr, size_t size)
{
	return mmap(addr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS |
		    MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED ||
	       fail("mmap: %s", strerror(errno));
}

static void unmap(struct memory *m)
{
	give_back(m->window, 2 * m->room);
	m->addr = NULL;
	if (m->direct_fd >= 0)
		close(m->direct_fd);
	if (m->fd >= 0)
		close(m->fd);
	m->direct_fd = -1;
	m->fd = -1;
}

static bool map(struct memory *m)
{
	m->size = m->kind->size;
	if (!m->kind->map(m)) {
		unmap(m);
		return false;
	}
	m->full = m->size;
	return true;
}

/* A window, the device that mirrors it, and memory in it. */
static bool row_begin(struct memory *m)
{
	size_t leaf = m->kind->leaf > PMD_LEAF ? m->kind->leaf : PMD_LEAF;

	m->room = round_up(m->kind->size, leaf);
	m->window = reserve(2 * m->room, leaf);
	if (!m->window)
		return false;
	m->device = device_open(m->window, 2 * m->room);
	return m->device >= 0 && map(m);
}

/* Without the mirror, the IOMMU has what it had before. */
static bool row_end(struct memory *m)
{
	struct entries e;

	if (m->device >= 0)
		close(m->device);
	if (m->window) {
		unmap(m);
		munmap(m->window, 2 * m->room);
	}
	if (!iommu_entries(0, UINT64_MAX, &e))
		return false;
	return e.bytes == domain_before ||
	       fail("without the mirror the IOMMU maps %zu KiB, before it %zu KiB",
		    e.bytes / KB(1), domain_before / KB(1));
}

/*
 * The 1G page is a shared one. fork() in 7.3 can lose private ones, device or
 * not: copy_hugetlb_page_range() looks at the share count of the page table
 * with the child's entry, but only PMD tables have that count initialised.
 */
static const struct kind kinds[] = {
	{ "anon-4k", "anonymous, 4K pages", MB(4), PAGE, false, map_anon },
	{ "anon-thp", "anonymous, THP", MB(8), PMD_LEAF, false, map_anon },
	{ "hugetlb-2m", "hugetlb 2M, private", MB(8), PMD_LEAF, false,
	  map_hugetlb },
	{ "hugetlb-1g", "hugetlb 1G, shared", GB(1), PUD_LEAF, true,
	  map_hugetlb_memfd },
	{ "memfd", "shared memory, memfd", MB(4), PAGE, true, map_memfd },
	{ "file", "page-cache file", MB(4), 0, true, map_file },
	{ "dax", "DAX file on pmem", MB(8), PMD_LEAF, true, map_dax },
	{ "given", "FILE, private", USER_MAX, 0, false, map_user },
};

/* ---- Checks ------------------------------------------------------------ */

/*
 * A check gets a mapping that is all there but may hold anything, and leaves
 * one behind; after a failure the next check gets a new one.
 */

static bool check_read(struct memory *m)
{
	/* First on memory nobody touched, then on pages the device knows. */
	if (!device_sees(m))
		return false;
	cpu_write(m, new_gen());
	return device_sees(m);
}

static bool check_write(struct memory *m)
{
	uint64_t sum;

	for (int i = 0; i < 2; i++) {
		if (!device_write(m, new_gen()) || !cpu_sees(m))
			return false;
		if (m->kind->shared && !file_sees(m))
			return false;
	}
	if (m->fd < 0 || m->kind->shared)
		return true;
	if (!file_sum(m, &sum))
		return false;
	return sum == m->sum ||
	       fail("the file under a private mapping changed");
}

/* How much the CPU maps by 2M or 1G leaves, told by its own page tables. */
static bool cpu_huge_bytes(const struct memory *m, size_t *bytes)
{
	static struct page_region regions[64];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.end = (uintptr_t)m->addr,
		.vec = (uintptr_t)regions,
		.vec_len = ARRAY_SIZE(regions),
		.category_mask = PAGE_IS_HUGE | PAGE_IS_PRESENT,
		.return_mask = PAGE_IS_HUGE | PAGE_IS_PRESENT,
	};
	uint64_t end = arg.end + m->size;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	long n = fd < 0 ? -1 : 1;

	*bytes = 0;
	for (arg.walk_end = arg.end, arg.end = end; n > 0;) {
		arg.start = arg.walk_end;
		if (arg.start >= end)
			break;
		n = ioctl(fd, PAGEMAP_SCAN, &arg);
		for (long i = 0; i < n; i++)
			*bytes += regions[i].end - regions[i].start;
	}
	if (n < 0)
		fail("/proc/self/pagemap: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
	return n >= 0;
}

/* The entries of the IOMMU are no smaller than the leaves of the CPU. */
static bool check_entries(struct memory *m)
{
	struct entries *e = &m->entries;
	size_t leaf = m->kind->leaf, cpu, iommu;

	/* A device that has nothing yet. */
	if (dma_drop(m->device, m->window, 2 * m->room))
		return fail("cannot take the window from the device");
	if (!device_fault(m, HMM_DMA_TEST_WRITE) || !iommu_has(m, e) ||
	    !cpu_huge_bytes(m, &cpu))
		return false;
	if (leaf && cpu != (leaf > PAGE ? m->size : 0))
		return fail("the CPU itself maps %zu of %zu KiB by huge leaves",
			    cpu / KB(1), m->size / KB(1));
	if (e->bytes != m->size || e->writable != nr_entries(e))
		return fail("the IOMMU maps %zu of %zu KiB, %zu of %zu entries for writing",
			    e->bytes / KB(1), m->size / KB(1), e->writable,
			    nr_entries(e));
	/* The IOMMU can also have a large entry for contiguous small pages. */
	iommu = e->leaves[2] * PUD_LEAF;
	if (leaf != PUD_LEAF)
		iommu += e->leaves[1] * PMD_LEAF;
	return iommu >= cpu ||
	       fail("huge leaves: %zu KiB for the CPU, %zu for the IOMMU",
		    cpu / KB(1), iommu / KB(1));
}

static bool protect(struct memory *m, int prot, const char *name)
{
	if (mprotect(m->addr, m->size, prot))
		return fail("mprotect(%s): %s", name, strerror(errno));
	return true;
}

/* With PROT_READ: the IOMMU lets the device read and no longer write. */
static bool is_read_only(struct memory *m)
{
	struct entries e;
	struct old now;

	if (!device_denied(m, m->addr, m->size, true, EPERM) ||
	    !device_fault(m, 0) || !iommu_has(m, &e))
		return false;
	if (e.bytes != m->size || e.writable)
		return fail("the IOMMU maps %zu of %zu KiB, %zu entries for writing",
			    e.bytes / KB(1), m->size / KB(1), e.writable);
	/* First of all: QEMU reports no fault on an entry that it has cached. */
	now = remember(m);
	return iommu_refuses(m, now.addr[m->going.tried % now.count], true) &&
	       is_unharmed(m) && device_sees(m);
}

static bool check_mprotect(struct memory *m)
{
	struct old old;

	/* The device starts with entries that it may write through. */
	if (!device_write(m, new_gen()) ||
	    !protect(m, PROT_READ, "PROT_READ") || !is_read_only(m))
		return false;
	old = remember(m);
	if (!protect(m, PROT_NONE, "PROT_NONE") || !is_gone(m, &old) ||
	    !device_denied(m, m->addr, m->size, false, EFAULT))
		return false;
	return protect(m, PROT_READ | PROT_WRITE, "PROT_READ | PROT_WRITE") &&
	       is_unharmed(m) && device_sees(m) &&
	       device_write(m, new_gen()) && cpu_sees(m);
}

/* The same pages at another address: a write at the old one would be seen. */
static bool check_mremap(struct memory *m)
{
	char *from = m->addr;
	char *to = m->window + (from == m->window ? m->room : 0);
	struct old old;

	if (!device_write(m, new_gen()))
		return false;
	old = remember(m);
	if (mremap(from, m->size, m->size, MREMAP_MAYMOVE | MREMAP_FIXED, to) ==
	    MAP_FAILED)
		return fail("mremap: %s", strerror(errno));
	m->addr = to;
	return is_gone(m, &old) && is_unharmed(m) &&
	       device_denied(m, from, m->size, false, EFAULT) &&
	       give_back(from, m->size) && device_sees(m) &&
	       device_write(m, new_gen()) && cpu_sees(m);
}

static bool check_dontneed(struct memory *m)
{
	struct old old;

	if (!device_write(m, new_gen()))
		return false;
	old = remember(m);
	if (!advise(m, MADV_DONTNEED, "MADV_DONTNEED") || !is_gone(m, &old))
		return false;
	/* A private copy is gone, a file or shared memory keeps its data. */
	if (!m->kind->shared)
		m->gen = ORIGINAL;
	return device_sees(m) && is_unharmed(m) &&
	       device_write(m, new_gen()) && cpu_sees(m);
}

/*
 * The child of the fork check does what it is told, with a mirror of its own in
 * the same device and its copy of struct memory.
 */
enum order { CHILD_SEES, CHILD_CPU_WRITES, CHILD_DEVICE_WRITES };

struct request {
	enum order what;
	uint64_t gen;
};

struct answer {
	bool ok;
	char why[NOTE_LEN];
};

struct child {
	pid_t pid;
	int to;
	int from;
};

static bool child_obey(struct memory *m, struct request *r)
{
	switch (r->what) {
	case CHILD_CPU_WRITES:
		cpu_write(m, r->gen);
		return true;
	case CHILD_DEVICE_WRITES:
		return device_write(m, r->gen);
	case CHILD_SEES:
		m->gen = r->gen;
		return cpu_sees(m) && device_sees(m);
	}
	return fail("unknown order %d", r->what);
}

static __noreturn void child_main(struct memory *m, int in, int out)
{
	struct answer a = { .ok = false };
	struct request r;

	close(m->device);
	m->device = device_open(m->window, 2 * m->room);
	while (read(in, &r, sizeof(r)) == sizeof(r)) {
		a.ok = m->device >= 0 && child_obey(m, &r);
		memcpy(a.why, why, sizeof(a.why));
		if (write(out, &a, sizeof(a)) != sizeof(a))
			break;
	}
	_exit(0);
}

static bool child_start(struct memory *m, struct child *c)
{
	int to[2], from[2];

	if (pipe2(to, O_CLOEXEC))
		return fail("pipe: %s", strerror(errno));
	if (pipe2(from, O_CLOEXEC)) {
		close(to[0]);
		close(to[1]);
		return fail("pipe: %s", strerror(errno));
	}
	fflush(NULL);
	c->pid = fork();
	if (!c->pid) {
		close(to[1]);
		close(from[0]);
		child_main(m, to[0], from[1]);
	}
	close(to[0]);
	close(from[1]);
	c->to = to[1];
	c->from = from[0];
	if (c->pid > 0)
		return true;
	fail("fork: %s", strerror(errno));
	close(c->to);
	close(c->from);
	return false;
}

static bool child_do(struct child *c, enum order what, uint64_t gen)
{
	struct request r = { .what = what, .gen = gen };
	struct answer a;

	if (write(c->to, &r, sizeof(r)) != sizeof(r) ||
	    read(c->from, &a, sizeof(a)) != sizeof(a))
		return fail("the child died");
	return a.ok || fail("in the child, %.*s", NOTE_LEN - 16, a.why);
}

static void child_end(struct child *c)
{
	close(c->to);
	close(c->from);
	while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* This process' device writes first, then the child's, then its CPU. */
static bool fork_turns(struct memory *m, struct child *c, uint64_t before)
{
	bool shared = m->kind->shared;
	uint64_t theirs = new_gen();

	if (!device_write(m, new_gen()) ||
	    !child_do(c, CHILD_SEES, shared ? m->gen : before) ||
	    !child_do(c, CHILD_DEVICE_WRITES, theirs))
		return false;
	if (shared)
		m->gen = theirs;
	if (!device_sees(m) || !cpu_sees(m))
		return false;

	theirs = new_gen();
	if (!child_do(c, CHILD_CPU_WRITES, theirs))
		return false;
	if (shared)
		m->gen = theirs;
	return device_sees(m) && cpu_sees(m) &&
	       child_do(c, CHILD_SEES, theirs);
}

/*
 * fork() makes pages of a private mapping common to both. It has to take the
 * entries through which the device could write into the child's memory.
 */
static bool check_fork(struct memory *m)
{
	struct child c = { .pid = -1 };
	struct old old;
	bool ok;

	if (!device_write(m, new_gen()))
		return false;
	old = remember(m);
	if (!child_start(m, &c))
		return false;
	ok = m->kind->shared || (is_gone(m, &old) && is_unharmed(m));
	ok = ok && fork_turns(m, &c, m->gen);
	child_end(&c);
	/* Copies of single pages have taken the place of private huge ones. */
	if (!m->kind->shared)
		unmap(m);
	return ok;
}

/* Unmaps a part of what was at @all, and notes what the device has left. */
static bool take_away(struct memory *m, char *addr, size_t size,
		      const struct old *all)
{
	struct hmm_dma_test_status before = dma_status(m->device), after;
	struct entries e;

	if (munmap(addr, size))
		return fail("munmap: %s", strerror(errno));
	after = dma_status(m->device);
	if (!iommu_entries(all->start, all->start + all->size, &e))
		return false;
	m->going.told += after.invalidations - before.invalidations;
	m->going.device[1] = after.entries;
	m->going.iommu[1] = nr_entries(&e);
	return after.invalidations > before.invalidations ||
	       fail("munmap() without a word to the driver");
}

/* Half of it, if it has that many leaves; the other half must stay. */
static bool munmap_half(struct memory *m, const struct old *all)
{
	size_t leaf = m->kind->leaf ? m->kind->leaf : PAGE;
	size_t keep = m->size / 2 / leaf * leaf, gone = m->size - keep;
	struct memory half = *m;
	struct old old;
	bool ok;

	if (!keep)
		return true;
	half.addr += keep;
	half.size = gone;
	half.full = gone;
	old = remember(&half);
	m->size = keep;
	if (!take_away(m, half.addr, gone, all))
		return false;
	ok = is_gone(m, &old) &&
	     device_denied(m, half.addr, gone, false, EFAULT);
	return ok && give_back(half.addr, gone) && device_sees(m) &&
	       device_write(m, new_gen()) && cpu_sees(m);
}

static bool check_munmap(struct memory *m)
{
	struct going *g = &m->going;
	struct old all, old;
	struct entries e;
	char *addr;
	bool ok;

	if (!device_write(m, new_gen()) || !iommu_has(m, &e))
		return false;
	g->device[0] = dma_status(m->device).entries;
	g->device[1] = g->device[0];
	g->iommu[0] = nr_entries(&e);
	g->iommu[1] = g->iommu[0];
	all = remember(m);
	if (!munmap_half(m, &all))
		return false;

	old = remember(m);
	addr = m->addr;
	ok = take_away(m, addr, m->size, &all) && is_gone(m, &old) &&
	     device_denied(m, addr, m->size, false, EFAULT) &&
	     device_denied(m, addr, m->size, true, EFAULT);
	unmap(m);
	if (ok && (g->device[1] || g->iommu[1]))
		return fail("entries left: %zu in the device, %zu in the IOMMU",
			    g->device[1], g->iommu[1]);
	return ok;
}

/* munmap comes last, and fork after the leaves that it splits are counted. */
static const struct check checks[] = {
	{ "read", 5, check_read },
	{ "write", 6, check_write },
	{ "entries", 15, check_entries },
	{ "mprotect", 9, check_mprotect },
	{ "mremap", 7, check_mremap },
	{ "dontneed", 9, check_dontneed },
	{ "fork", 5, check_fork },
	{ "munmap", 7, check_munmap },
};

/* ---- The tables -------------------------------------------------------- */

struct totals {
	unsigned int rows;
	unsigned int passed;
	unsigned int failed;
	unsigned int not_run;
	unsigned int tried;
	unsigned int through;
	unsigned int reported;
};

static void print_sizes(uint64_t sizes)
{
	static const struct {
		size_t size;
		const char *name;
	} known[] = {
		{ PAGE, "4K" }, { PMD_LEAF, "2M" }, { PUD_LEAF, "1G" },
	};
	const char *before = "";

	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		if (!(sizes & known[i].size))
			continue;
		printf("%s%s", before, known[i].name);
		before = ", ";
	}
}

static void print_head(uint64_t sizes, size_t user_size)
{
	struct utsname u;

	uname(&u);
	printf("hmm-dma-demo: a PCI device mirrors the memory of a process, and does DMA there\n\n"
	       "  kernel  %s %s %s\n"
	       "  device  /dev/hmm_dma%u, PCI device %s, edu of QEMU\n"
	       "  IOMMU   Intel's; its entries can have ",
	       u.sysname, u.release, u.machine, device_nr, pci_name);
	print_sizes(sizes);
	printf("\n  seed    %#lx (--seed repeats the same data)\n", seed);
	if (user_path)
		printf("  FILE    %s, %zu bytes; the table maps at most %zu MiB of it\n",
		       user_path, user_size, USER_MAX / MB(1));
	printf("\n  read      the device reads what the CPU wrote\n"
	       "  write     the CPU reads what the device wrote; so does a direct read of the file\n"
	       "  entries   of the IOMMU, from its debugfs file; no smaller than the CPU's own leaves\n"
	       "  mprotect  read-only: the IOMMU refuses writes, reads right; PROT_NONE: refuses all\n"
	       "  mremap    the new address reads right, the old one is refused\n"
	       "  dontneed  MADV_DONTNEED: private memory back to its origin, shared data kept\n"
	       "  fork      parent and child apart, each with its mirror; together if shared\n"
	       "  munmap    the half that is gone is refused, the rest reads right; then all\n\n"
	       "  All of a mapping is given to the device. Bytes are compared in %u of its pages, as half\n"
	       "  a page takes the device 100 ms.\n\n",
	       SAMPLES);
	printf("%-26s%21s\n", "", "IOMMU entries");
	printf("%-21s%5s%6s%7s%5s%3s%9s%7s%9s%5s%7s\n", "memory", "read",
	       "write", "4K", "2M", "1G", "mprotect", "mremap", "dontneed",
	       "fork", "munmap");
}

static void print_cell(const struct check *c, const struct memory *m, bool ok)
{
	const size_t *n = m->entries.leaves;

	if (ok && c->run == check_entries)
		printf("%7zu%5zu%3zu", n[0], n[1], n[2]);
	else
		printf("%*s", c->width, ok ? "ok" : "FAIL");
	fflush(stdout);
}

static bool run_check(const struct check *c, struct memory *m)
{
	now_check = c->name;
	if (!m->addr && !map(m))
		return false;
	if (c->run(m))
		return true;
	unmap(m);
	return false;
}

/* An empty file has nothing to show but that the device gets no page of it. */
static bool check_empty(void)
{
	struct memory m = { .size = PAGE, .full = PAGE };
	int fd = open_user(user_path, &m.size);
	bool ok;

	if (fd < 0)
		return false;
	m.addr = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (m.addr == MAP_FAILED)
		return fail("mmap: %s", strerror(errno));
	m.device = device_open(m.addr, PAGE);
	ok = m.device >= 0 && device_denied(&m, m.addr, PAGE, false, EFAULT);
	if (m.device >= 0)
		close(m.device);
	munmap(m.addr, PAGE);
	return ok;
}

static void run_empty(struct totals *t)
{
	if (check_empty()) {
		t->passed++;
		puts("empty, a device read past its end is refused: ok");
	} else {
		t->failed++;
		printf("FAIL\n    an empty file: %s\n", why);
	}
}

/* Those of one row, and what is left of it in the IOMMU. */
static void run_checks(struct memory *m, struct totals *t)
{
	char notes[ARRAY_SIZE(checks) + 1][NOTE_LEN];
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
		bool ok = run_check(&checks[i], m);

		print_cell(&checks[i], m, ok);
		if (ok) {
			t->passed++;
			continue;
		}
		t->failed++;
		snprintf(notes[n++], NOTE_LEN, "%s: %.*s", checks[i].name,
			 NOTE_LEN - 16, why);
	}
	if (!row_end(m)) {
		t->failed++;
		snprintf(notes[n++], NOTE_LEN, "end: %.*s", NOTE_LEN - 16, why);
	}
	putchar('\n');
	for (size_t i = 0; i < n; i++)
		printf("    %s\n", notes[i]);
}

static void run_row(const struct kind *k, struct going *going,
		    struct totals *t)
{
	struct memory m = {
		.kind = k, .device = -1, .fd = -1, .direct_fd = -1,
	};

	printf("%-21s", k->name);
	fflush(stdout);
	t->rows++;
	now_row = k->name;
	now_check = "set-up";
	if (!row_begin(&m)) {
		t->not_run++;
		printf("cannot run\n    %s\n", why);
		row_end(&m);
		return;
	}
	run_checks(&m, t);
	*going = m.going;
}

static void print_going_head(void)
{
	printf("\nWhat munmap() took from the device, and DMA to addresses that were taken away:\n"
	       "  told      calls of the driver's invalidate()\n"
	       "  entries   of the page table in the device, and of the IOMMU, before and after\n"
	       "  through   accesses that got old bytes or changed memory\n"
	       "  reported  accesses that the IOMMU reported as a fault, with address and direction\n\n");
	printf("%-21s%6s%18s%20s%31s\n", "", "", "device entries", "IOMMU entries",
	       "DMA to an old address");
	printf("%-21s%6s%11s%7s%13s%7s%11s%9s%11s\n", "memory", "told", "before",
	       "after", "before", "after", "tried", "through", "reported");
}

static void print_going(const struct kind *k, const struct going *g,
			struct totals *t)
{
	printf("%-21s%6lu%11zu%7zu%13zu%7zu%11u%9u%11u\n", k->name, g->told,
	       g->device[0], g->device[1], g->iommu[0], g->iommu[1], g->tried,
	       g->through, g->reported);
	t->tried += g->tried;
	t->through += g->through;
	t->reported += g->reported;
}

/* Faults of the device that no check has provoked. */
static void check_faults(struct totals *t)
{
	uint64_t addr;
	bool write;

	while (next_report(&addr, &write, 0))
		;
	if (faults_logged == t->reported) {
		t->passed++;
		return;
	}
	t->failed++;
	printf("\nFAIL: the IOMMU reported %u faults, of which %u were provoked\n",
	       faults_logged, t->reported);
}

static bool all_well(const struct totals *t)
{
	return t->rows && !t->failed && !t->not_run && !t->through &&
	       t->reported == t->tried;
}

static void print_result(const struct totals *t)
{
	printf("\nhmm-dma-demo: kinds of memory: %u, checks: %u ok, %u failed",
	       t->rows, t->passed, t->failed);
	if (t->not_run)
		printf(", kinds that could not run: %u", t->not_run);
	printf("; DMA refused: %u of %u\n", t->reported, t->tried);
}

/* Whether @list, which is comma separated, has @key. NULL has them all. */
static bool in_list(const char *list, const char *key)
{
	size_t len = strlen(key);

	if (!list)
		return true;
	for (const char *p = list; p; p = strchr(p, ',')) {
		p += *p == ',';
		if (!strncmp(p, key, len) && (p[len] == ',' || !p[len]))
			return true;
	}
	return false;
}

static void run_rows(const char *list, size_t user_size, struct totals *t)
{
	struct going going[ARRAY_SIZE(kinds)] = { };

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		bool user = kinds[i].map == map_user;

		if (!in_list(list, kinds[i].key) || (user && !user_path))
			continue;
		if (user && !user_size) {
			printf("%-21s", kinds[i].name);
			t->rows++;
			run_empty(t);
			continue;
		}
		run_row(&kinds[i], &going[i], t);
	}
	print_going_head();
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (going[i].tried)
			print_going(&kinds[i], &going[i], t);
}

static int run_table(const char *list)
{
	int device = dma_open(device_nr);
	struct totals t = { 0 };
	struct hmm_dma_test_status status;
	struct entries e;
	size_t size = 0;

	if (user_path) {
		int fd = open_user(user_path, &size);

		if (fd < 0) {
			fprintf(stderr, "hmm-dma-demo: %s\n", why);
			return 1;
		}
		close(fd);
	}
	status = dma_status(device);
	close(device);
	if (!iommu_entries(0, UINT64_MAX, &e)) {
		fprintf(stderr, "hmm-dma-demo: %s\n", why);
		return 1;
	}
	domain_before = e.bytes;
	print_head(status.pgsizes, size);
	run_rows(list, size, &t);
	check_faults(&t);
	print_result(&t);
	return !all_well(&t);
}

/* ---- A file ------------------------------------------------------------ */

static bool write_out(const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(STDOUT_FILENO, data, len);

		if (n < 0 && errno != EINTR)
			return fail("write: %s", strerror(errno));
		if (n > 0) {
			data += n;
			len -= n;
		}
	}
	return true;
}

static bool read_pages(const struct memory *m, size_t size)
{
	if (!device_fault(m, 0))
		return false;
	for (size_t at = 0; at < size; at += PAGE) {
		int err = dma_read(m->device, m->addr + at, data_buf, PAGE);

		if (err)
			return fail("device read at byte %zu: %s", at,
				    error_name(err));
		if (!write_out((char *)data_buf, min_size(PAGE, size - at)))
			return false;
	}
	return true;
}

/* Write what the device reads of a file to stdout. */
static bool read_user(const char *path)
{
	struct memory m = { .device = -1 };
	size_t size = 0;
	int fd = open_user(path, &size);
	bool ok;

	if (fd < 0 || !size)
		return fd >= 0;
	m.size = round_up(size, PAGE);
	m.addr = mmap(NULL, m.size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (m.addr == MAP_FAILED)
		return fail("mmap: %s", strerror(errno));
	m.device = device_open(m.addr, m.size);
	ok = m.device >= 0 && read_pages(&m, size);
	if (m.device >= 0)
		close(m.device);
	munmap(m.addr, m.size);
	return ok;
}

static int run_read(const char *path)
{
	now_row = "reading";
	now_check = path;
	if (read_user(path))
		return 0;
	fprintf(stderr, "hmm-dma-demo: %s: %s\n", path, why);
	return 1;
}

/* ---- Start ------------------------------------------------------------- */

static const char help[] =
	"usage: hmm-dma-demo [OPTION]... [FILE]\n"
	"       hmm-dma-demo [--device NUMBER] --read FILE\n"
	"\n"
	"Mirrors its own memory into an HMM DMA test device and prints a table with one\n"
	"row for each kind of memory; FILE adds a row with a private mapping of it.\n"
	"\n"
	"  -d, --device NUMBER  the device, default 0 for /dev/hmm_dma0\n"
	"  -f, --file-dir DIR   where to make the page-cache file, default .\n"
	"  -x, --dax-dir DIR    where to make the DAX file\n"
	"  -k, --kinds LIST     only these rows, comma separated; see below\n"
	"  -r, --read           write to stdout what the device reads of FILE\n"
	"  -s, --seed NUMBER    for the data, default a new one\n"
	"  -h, --help           this text\n"
	"\n"
	"Exit status: 0 if all checks of all rows passed, 1 if any failed or a row could\n"
	"not run, 2 for wrong usage.\n"
	"\n"
	"Kinds:";

static int print_help(void)
{
	fputs(help, stdout);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		printf(" %s", kinds[i].key);
	putchar('\n');
	return 0;
}

static int wrong_usage(const char *what, const char *arg)
{
	fprintf(stderr, "hmm-dma-demo: %s%s\nTry 'hmm-dma-demo --help'.\n", what,
		arg);
	return 2;
}

static bool known_kinds(const char *list)
{
	char key[32];

	for (const char *p = list; *p; p += *p == ',') {
		size_t len = strcspn(p, ","), i;

		snprintf(key, sizeof(key), "%.*s", (int)len, p);
		for (i = 0; i < ARRAY_SIZE(kinds); i++)
			if (!strcmp(kinds[i].key, key))
				break;
		if (i == ARRAY_SIZE(kinds))
			return false;
		p += len;
	}
	return *list;
}

/* A lost mapping shows as a signal: say where, the table cannot go on. */
static void on_signal(int sig)
{
	const char *const text[] = {
		"\nhmm-dma-demo: ", sig == SIGBUS ? "SIGBUS" : "SIGSEGV", " in ",
		now_row, ", ", now_check, "\n",
	};

	for (size_t i = 0; i < ARRAY_SIZE(text); i++)
		if (write(STDERR_FILENO, text[i], strlen(text[i])) < 0)
			break;
	_exit(1);
}

static bool parse_number(const char *text, uint64_t *number)
{
	char *end;

	errno = 0;
	*number = strtoull(text, &end, 0);
	return !errno && *text && !*end;
}

static bool make_seed(const char *text)
{
	if (!text)
		return getrandom(&seed, sizeof(seed), 0) == sizeof(seed);
	return parse_number(text, &seed);
}

struct options {
	const char *kinds;
	const char *seed;
	const char *device;
	bool read;
	bool help;
};

static bool parse_options(struct options *o, int argc, char **argv)
{
	static const struct option known[] = {
		{ "device", required_argument, NULL, 'd' },
		{ "file-dir", required_argument, NULL, 'f' },
		{ "dax-dir", required_argument, NULL, 'x' },
		{ "kinds", required_argument, NULL, 'k' },
		{ "read", no_argument, NULL, 'r' },
		{ "seed", required_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	int opt;

	opterr = 0;
	while ((opt = getopt_long(argc, argv, "d:f:x:k:rs:h", known, NULL)) !=
	       -1) {
		if (opt == 'd')
			o->device = optarg;
		else if (opt == 'f')
			file_dir = optarg;
		else if (opt == 'x')
			dax_dir = optarg;
		else if (opt == 'k')
			o->kinds = optarg;
		else if (opt == 'r')
			o->read = true;
		else if (opt == 's')
			o->seed = optarg;
		else if (opt == 'h')
			o->help = true;
		else
			return false;
	}
	return true;
}

/* The device is there, and behind an IOMMU that keeps it from other memory. */
static bool find_device(void)
{
	struct hmm_dma_test_status status;
	int fd = dma_open(device_nr);
	const char *path;

	if (fd < 0)
		return fail("cannot open /dev/hmm_dma%u: %s (is test_hmm_dma loaded?)",
			    device_nr, strerror(errno));
	status = dma_status(fd);
	close(fd);
	if (status.iommu != HMM_DMA_TEST_IOMMU_DMA)
		return fail("no IOMMU translates what the device accesses");

	path = dma_sysfs(device_nr);
	if (!path)
		return fail("the device is not in sysfs");
	pci_name = strrchr(path, '/') + 1;
	kmsg_fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (kmsg_fd < 0 || lseek(kmsg_fd, 0, SEEK_END) < 0)
		return fail("/dev/kmsg: %s", strerror(errno));
	return true;
}

static int start(const struct options *o)
{
	setvbuf(stdout, stdout_buf, _IOFBF, sizeof(stdout_buf));
	signal(SIGBUS, on_signal);
	signal(SIGSEGV, on_signal);
	signal(SIGPIPE, SIG_IGN);
	if (sysconf(_SC_PAGESIZE) != (long)PAGE)
		fail("needs pages of 4 KiB");
	else if (find_device())
		return o->read ? run_read(user_path) : run_table(o->kinds);
	fprintf(stderr, "hmm-dma-demo: %s\n", why);
	return 1;
}

int main(int argc, char **argv)
{
	struct options o = { .device = "0" };
	uint64_t number;

	if (!parse_options(&o, argc, argv))
		return wrong_usage("unknown option, or one without its value",
				   "");
	if (o.help)
		return print_help();
	if (argc - optind > 1)
		return wrong_usage("more than one FILE: ", argv[optind + 1]);
	user_path = argv[optind];
	if (o.read && !user_path)
		return wrong_usage("--read needs a FILE", "");
	if (o.kinds && !known_kinds(o.kinds))
		return wrong_usage("unknown kind in ", o.kinds);
	if (!parse_number(o.device, &number))
		return wrong_usage("not a number: ", o.device);
	device_nr = number;
	if (!make_seed(o.seed))
		return wrong_usage("not a seed: ", o.seed ?: "(none)");
	return start(&o);
}
