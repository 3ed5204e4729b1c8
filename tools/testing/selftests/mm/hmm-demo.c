// SPDX-License-Identifier: GPL-2.0
/*
 * Show a device that mirrors this process, for each kind of memory that a
 * process can have: what one side writes the other reads, the device sees the
 * leaf sizes that the CPU uses, and it follows when a mapping changes.
 *
 * The device is an HMM test device (lib/test_hmm.c). Each check compares data
 * made from a seed, so none passes because both sides happen to hold zeros.
 *
 * One thread, so no lock. The child of the fork check runs one command at a
 * time and its parent waits for each answer.
 */
#define _GNU_SOURCE
#include "kselftest.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
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

#include <lib/test_hmm_uapi.h>

#define KB(n)		((size_t)(n) << 10)
#define MB(n)		((size_t)(n) << 20)
#define GB(n)		((size_t)(n) << 30)

#define PAGE		KB(4)
#define PMD_LEAF	MB(2)
#define PUD_LEAF	GB(1)

/*
 * Data is checked in windows spread evenly over a mapping. Up to 16 MiB they
 * touch each other and nothing is left out; of 1 GiB, checking every byte
 * under emulation would take minutes.
 */
#define WINDOWS		64
#define WINDOW_PAGES	64
#define WINDOW_BYTES	(WINDOW_PAGES * PAGE)
#define ALL_CHECKED	(WINDOWS * WINDOW_BYTES)

/* How much of a given file the table looks at; the checksum takes it all. */
#define USER_MAX	MB(4)

/* What a mapping holds before anybody wrote to it. */
#define ORIGINAL	0

#define MAX_NOTES	8
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

struct memory {
	const struct kind *kind;
	char *addr;		/* NULL while there is no mapping */
	size_t size;
	int fd;			/* the file behind it, or -1 */
	int direct_fd;		/* the same file, read past the page cache */
	uint64_t gen;		/* which pattern it holds, or ORIGINAL */
	uint64_t sum;		/* of a private mapping's file, as first seen */
	size_t leaves[3];	/* 4K, 2M, 1G as the device saw them */
};

struct check {
	const char *name;
	int width;
	bool (*run)(struct memory *m);
};

struct window {
	size_t first;		/* in pages from the start of the mapping */
	size_t count;
};

static const char *device_path = "/dev/hmm_dmirror0";
static const char *file_dir = ".";
static const char *dax_dir;
static const char *user_path;
static int device_fd = -1;
static uint64_t seed;
static uint64_t last_gen;

/* Why the last function that returned false did so. */
static char why[NOTE_LEN];

/* For the signal handler. */
static const char *now_row = "start";
static const char *now_check = "set-up";

/*
 * The device refuses addresses where nothing is mapped, and that is checked
 * just after munmap() made a hole. An allocation could fill such a hole, hence
 * static buffers.
 */
static uint64_t data_buf[WINDOW_BYTES / sizeof(uint64_t)];
static uint64_t want_buf[PAGE / sizeof(uint64_t)];
static char direct_buf[WINDOW_BYTES + PAGE];
static unsigned char seen_buf[PUD_LEAF / PAGE];
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

/* ---- SHA-256 (FIPS 180-4) ---------------------------------------------- */

struct sha256 {
	uint32_t h[8];
	uint32_t k[64];
	uint64_t bytes;
	unsigned char block[64];
};

static uint32_t ror(uint32_t x, int n)
{
	return x >> n | x << (32 - n);
}

/* First 32 bits of the fraction of the @root-th root of @prime. */
static uint32_t root_bits(unsigned int prime, int root)
{
	unsigned __int128 x, target;
	uint64_t lo = 0, hi = (uint64_t)1 << 40;

	/* Largest 40-bit fixed point number whose power is not above @prime. */
	target = (unsigned __int128)prime << (32 * root);
	while (hi - lo > 1) {
		uint64_t mid = lo + (hi - lo) / 2;

		x = (unsigned __int128)mid * mid;
		if (root == 3)
			x *= mid;
		if (x <= target)
			lo = mid;
		else
			hi = mid;
	}
	return (uint32_t)lo;
}

static bool is_prime(unsigned int n)
{
	for (unsigned int d = 2; d * d <= n; d++)
		if (n % d == 0)
			return false;
	return true;
}

/* The standard defines its constants by the roots of the first 64 primes. */
static void sha256_init(struct sha256 *s)
{
	unsigned int n = 0;

	memset(s, 0, sizeof(*s));
	for (unsigned int p = 2; n < ARRAY_SIZE(s->k); p++) {
		if (!is_prime(p))
			continue;
		if (n < ARRAY_SIZE(s->h))
			s->h[n] = root_bits(p, 2);
		s->k[n++] = root_bits(p, 3);
	}
}

static void sha256_schedule(uint32_t *w, const unsigned char *p)
{
	int i;

	for (i = 0; i < 16; i++, p += 4)
		w[i] = (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
	for (; i < 64; i++) {
		uint32_t a = w[i - 15], b = w[i - 2];

		w[i] = w[i - 16] + w[i - 7] +
		       (ror(a, 7) ^ ror(a, 18) ^ a >> 3) +
		       (ror(b, 17) ^ ror(b, 19) ^ b >> 10);
	}
}

/*
 * One of 64 rounds. The standard moves eight words down by one each time; here
 * they stay and @r turns, which the compiler unrolls to plain registers.
 */
static inline void sha256_round(uint32_t *v, unsigned int r, uint32_t kw)
{
	uint32_t a = v[-r & 7], b = v[(1 - r) & 7], c = v[(2 - r) & 7];
	uint32_t e = v[(4 - r) & 7], f = v[(5 - r) & 7], g = v[(6 - r) & 7];
	uint32_t *d = &v[(3 - r) & 7], *h = &v[(7 - r) & 7];

	*h += kw + (ror(e, 6) ^ ror(e, 11) ^ ror(e, 25)) + (g ^ (e & (f ^ g)));
	*d += *h;
	*h += (ror(a, 2) ^ ror(a, 13) ^ ror(a, 22)) + ((a & b) | (c & (a | b)));
}

static void sha256_block(struct sha256 *s, const unsigned char *p)
{
	uint32_t w[64], v[8];

	sha256_schedule(w, p);
	memcpy(v, s->h, sizeof(v));
	for (int i = 0; i < 64; i += 8) {
		sha256_round(v, 0, s->k[i] + w[i]);
		sha256_round(v, 1, s->k[i + 1] + w[i + 1]);
		sha256_round(v, 2, s->k[i + 2] + w[i + 2]);
		sha256_round(v, 3, s->k[i + 3] + w[i + 3]);
		sha256_round(v, 4, s->k[i + 4] + w[i + 4]);
		sha256_round(v, 5, s->k[i + 5] + w[i + 5]);
		sha256_round(v, 6, s->k[i + 6] + w[i + 6]);
		sha256_round(v, 7, s->k[i + 7] + w[i + 7]);
	}
	for (int i = 0; i < 8; i++)
		s->h[i] += v[i];
}

static void sha256_add(struct sha256 *s, const void *data, size_t len)
{
	const unsigned char *p = data;

	while (len) {
		size_t fill = s->bytes % 64;
		size_t n = min_size(len, 64 - fill);

		memcpy(s->block + fill, p, n);
		s->bytes += n;
		p += n;
		len -= n;
		if (fill + n == 64)
			sha256_block(s, s->block);
	}
}

static void sha256_print(struct sha256 *s, const char *path)
{
	uint64_t bits = s->bytes * 8;
	unsigned char len[8];

	for (int i = 0; i < 8; i++)
		len[i] = bits >> (56 - 8 * i);
	sha256_add(s, "\x80", 1);
	while (s->bytes % 64 != 56)
		sha256_add(s, "", 1);
	sha256_add(s, len, sizeof(len));
	for (int i = 0; i < 8; i++)
		printf("%08x", s->h[i]);
	printf("  %s\n", path);
}

/* ---- The device -------------------------------------------------------- */

static bool device_open(void)
{
	device_fd = open(device_path, O_RDWR | O_CLOEXEC);
	if (device_fd < 0)
		return fail("cannot open the device %s: %s (is the module test_hmm loaded?)",
			    device_path, strerror(errno));
	return true;
}

/* One request to the device; 0 or the errno it answered with. */
static int device_do(unsigned long request, const void *addr, void *buf,
		     size_t npages)
{
	struct hmm_dmirror_cmd cmd = {
		.addr = (uintptr_t)addr,
		.ptr = (uintptr_t)buf,
		.npages = npages,
	};

	while (ioctl(device_fd, request, &cmd)) {
		if (errno != EINTR)
			return errno;
	}
	return cmd.cpages == npages ? 0 : EIO;
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
	return fail("%s sees %016llx at %p, not %016llx (page %zu, byte %zu)",
		    who, (unsigned long long)word[i],
		    m->addr + page * PAGE + i * sizeof(*word),
		    (unsigned long long)want_buf[i], page, i * sizeof(*word));
}

static struct window window(const struct memory *m, size_t i)
{
	size_t npages = m->size / PAGE;
	size_t first = npages * i / WINDOWS;
	size_t next = npages * (i + 1) / WINDOWS;

	return (struct window) {
		.first = first,
		.count = min_size(next - first, WINDOW_PAGES),
	};
}

/*
 * Each of the walkers below goes over all windows: the CPU or the device
 * writes a new pattern, or one of them, or a read of the file behind the
 * mapping, must see the present one.
 */
static void cpu_write(struct memory *m, uint64_t gen)
{
	for (size_t i = 0; i < WINDOWS; i++) {
		struct window w = window(m, i);

		for (size_t p = w.first; p < w.first + w.count; p++)
			pattern((uint64_t *)(m->addr + p * PAGE), gen, p);
	}
	m->gen = gen;
}

static bool device_write(struct memory *m, uint64_t gen)
{
	for (size_t i = 0; i < WINDOWS; i++) {
		struct window w = window(m, i);
		int err;

		if (!w.count)
			continue;
		for (size_t p = 0; p < w.count; p++)
			pattern(data_buf + p * PAGE / sizeof(*data_buf), gen,
				w.first + p);
		err = device_do(HMM_DMIRROR_WRITE, m->addr + w.first * PAGE,
				data_buf, w.count);
		if (err)
			return fail("device write of %zu pages at %p: %s",
				    w.count, m->addr + w.first * PAGE,
				    strerror(err));
	}
	m->gen = gen;
	return true;
}

static bool cpu_sees(const struct memory *m)
{
	for (size_t i = 0; i < WINDOWS; i++) {
		struct window w = window(m, i);

		for (size_t p = w.first; p < w.first + w.count; p++)
			if (!same(m, m->addr + p * PAGE, p, "the CPU"))
				return false;
	}
	return true;
}

static bool device_sees(const struct memory *m)
{
	for (size_t i = 0; i < WINDOWS; i++) {
		struct window w = window(m, i);
		int err;

		if (!w.count)
			continue;
		err = device_do(HMM_DMIRROR_READ, m->addr + w.first * PAGE,
				data_buf, w.count);
		if (err)
			return fail("device read of %zu pages at %p: %s",
				    w.count, m->addr + w.first * PAGE,
				    strerror(err));
		for (size_t p = 0; p < w.count; p++)
			if (!same(m, (char *)data_buf + p * PAGE, w.first + p,
				  "the device"))
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

	for (size_t i = 0; i < WINDOWS; i++) {
		struct window w = window(m, i);

		if (!read_file(fd, buf, w.count * PAGE, w.first * PAGE))
			return false;
		for (size_t p = 0; p < w.count; p++)
			if (!same(m, buf + p * PAGE, w.first + p,
				  "the file"))
				return false;
	}
	return true;
}

/* Every page of [@addr, @addr + @size) by itself must be refused. */
static bool device_refused(unsigned long request, char *addr, size_t size,
			   int want)
{
	const struct memory m = { .size = size };
	const char *what = request == HMM_DMIRROR_READ ? "read" : "write";

	for (size_t i = 0; i < WINDOWS; i++) {
		struct window w = window(&m, i);

		for (size_t p = w.first; p < w.first + w.count; p++) {
			int err = device_do(request, addr + p * PAGE, data_buf,
					    1);

			if (err == want)
				continue;
			return fail("device %s at %p: \"%s\" instead of \"%s\"",
				    what, addr + p * PAGE,
				    err ? strerror(err) : "done",
				    strerror(want));
		}
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
	char *at = reserve(m->size, m->kind->leaf);

	if (!at)
		return false;
	if (mmap(at, m->size, PROT_READ | PROT_WRITE, flags | MAP_FIXED, m->fd,
		 0) == MAP_FAILED) {
		fail("mmap: %s", strerror(errno));
		munmap(at, m->size);
		return false;
	}
	m->addr = at;
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

static bool map_hugetlb_memfd(struct memory *m)
{
	unsigned int log2 = __builtin_ctzl(m->kind->leaf);

	if (!enough_hugetlb(m))
		return false;
	m->fd = memfd_create("hmm-demo", MFD_CLOEXEC | MFD_HUGETLB |
			     log2 << MFD_HUGE_SHIFT);
	if (m->fd < 0)
		return fail("memfd_create: %s", strerror(errno));
	if (ftruncate(m->fd, m->size))
		return fail("ftruncate: %s", strerror(errno));
	return map_at(m, MAP_SHARED);
}

static bool map_memfd(struct memory *m)
{
	m->fd = memfd_create("hmm-demo", MFD_CLOEXEC);
	if (m->fd < 0)
		return fail("memfd_create: %s", strerror(errno));
	if (ftruncate(m->fd, m->size))
		return fail("ftruncate: %s", strerror(errno));
	return map_at(m, MAP_SHARED) &&
	       advise(m, MADV_NOHUGEPAGE, "MADV_NOHUGEPAGE");
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

static void unmap(struct memory *m)
{
	if (m->addr)
		munmap(m->addr, m->size);
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
	if (m->kind->map(m))
		return true;
	unmap(m);
	return false;
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
	for (int i = 0; i < 2; i++) {
		cpu_write(m, new_gen());
		if (!device_sees(m))
			return false;
	}
	return true;
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

static bool snapshot(const struct memory *m)
{
	int err = device_do(HMM_DMIRROR_SNAPSHOT, m->addr, seen_buf,
			    m->size / PAGE);

	if (err)
		return fail("device view of %zu KiB at %p: %s",
			    m->size / KB(1), m->addr, strerror(err));
	return true;
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

static bool count_leaves(struct memory *m)
{
	static const size_t pages[3] = { 1, PMD_LEAF / PAGE, PUD_LEAF / PAGE };

	memset(m->leaves, 0, sizeof(m->leaves));
	for (size_t p = 0; p < m->size / PAGE; p++) {
		unsigned char s = seen_buf[p];

		if (s == HMM_DMIRROR_PROT_ERROR ||
		    !(s & (HMM_DMIRROR_PROT_READ | HMM_DMIRROR_PROT_WRITE)))
			return fail("the device sees no page at %p",
				    m->addr + p * PAGE);
		m->leaves[s & HMM_DMIRROR_PROT_PUD ? 2 :
			  s & HMM_DMIRROR_PROT_PMD ? 1 : 0]++;
	}
	for (int i = 0; i < 3; i++) {
		if (m->leaves[i] % pages[i])
			return fail("the device sees part of a leaf: %zu pages of one of %zu",
				    m->leaves[i], pages[i]);
		m->leaves[i] /= pages[i];
	}
	return true;
}

static bool check_leaves(struct memory *m)
{
	size_t leaf = m->kind->leaf, huge, want;

	if (!device_write(m, new_gen()) || !snapshot(m) || !count_leaves(m) ||
	    !cpu_huge_bytes(m, &huge))
		return false;
	want = leaf ? (leaf > PAGE ? m->size : 0) : huge;
	if (huge != want)
		return fail("the CPU itself maps %zu of %zu KiB by huge leaves",
			    huge / KB(1), m->size / KB(1));
	want = leaf == PUD_LEAF ? m->leaves[2] * PUD_LEAF :
				  m->leaves[1] * PMD_LEAF;
	if (huge != want)
		return fail("huge leaves: %zu KiB for the CPU, %zu for the device",
			    huge / KB(1), want / KB(1));
	return true;
}

static bool protect(struct memory *m, int prot, const char *name)
{
	if (mprotect(m->addr, m->size, prot))
		return fail("mprotect(%s): %s", name, strerror(errno));
	return true;
}

static bool check_mprotect(struct memory *m)
{
	/* The device starts with entries that it may write through. */
	if (!device_write(m, new_gen()) || !protect(m, PROT_READ, "PROT_READ"))
		return false;
	if (!device_refused(HMM_DMIRROR_WRITE, m->addr, m->size, EPERM) ||
	    !device_sees(m) || !cpu_sees(m))
		return false;
	if (!protect(m, PROT_NONE, "PROT_NONE") ||
	    !device_refused(HMM_DMIRROR_READ, m->addr, m->size, EFAULT))
		return false;
	return protect(m, PROT_READ | PROT_WRITE, "PROT_READ | PROT_WRITE") &&
	       device_sees(m) && device_write(m, new_gen()) && cpu_sees(m);
}

static bool check_mremap(struct memory *m)
{
	char *old = m->addr, *to;

	if (!device_write(m, new_gen()))
		return false;
	to = reserve(m->size, m->kind->leaf);
	if (!to)
		return false;
	if (mremap(old, m->size, m->size, MREMAP_MAYMOVE | MREMAP_FIXED, to) ==
	    MAP_FAILED) {
		fail("mremap: %s", strerror(errno));
		munmap(to, m->size);
		return false;
	}
	m->addr = to;
	return device_refused(HMM_DMIRROR_READ, old, m->size, EFAULT) &&
	       device_sees(m) && device_write(m, new_gen()) && cpu_sees(m);
}

static bool check_dontneed(struct memory *m)
{
	if (!device_write(m, new_gen()) ||
	    !advise(m, MADV_DONTNEED, "MADV_DONTNEED") || !snapshot(m))
		return false;
	for (size_t p = 0; p < m->size / PAGE; p++)
		if (seen_buf[p] != HMM_DMIRROR_PROT_NONE)
			return fail("the device still sees a page at %p",
				    m->addr + p * PAGE);
	/* A private copy is gone, a file or shared memory keeps its data. */
	if (!m->kind->shared)
		m->gen = ORIGINAL;
	return device_sees(m) && device_write(m, new_gen()) && cpu_sees(m);
}

/*
 * The child of the fork check does what it is told, with a device of its own
 * and its copy of struct memory.
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
	bool ready;

	close(device_fd);
	ready = device_open();
	while (read(in, &r, sizeof(r)) == sizeof(r)) {
		a.ok = ready && child_obey(m, &r);
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

/* This process' device writes first, then the child. */
static bool fork_parent_first(struct memory *m, struct child *c)
{
	uint64_t before = m->gen, theirs = new_gen();
	bool shared = m->kind->shared;

	if (!device_write(m, new_gen()))
		return false;
	if (!child_do(c, CHILD_SEES, shared ? m->gen : before) ||
	    !child_do(c, CHILD_DEVICE_WRITES, theirs))
		return false;
	if (shared)
		m->gen = theirs;
	return device_sees(m) && cpu_sees(m);
}

/* The child's CPU writes first, then this process' device. */
static bool fork_child_first(struct memory *m, struct child *c)
{
	uint64_t theirs = new_gen();
	bool shared = m->kind->shared;

	if (!child_do(c, CHILD_CPU_WRITES, theirs))
		return false;
	if (shared)
		m->gen = theirs;
	if (!device_sees(m) || !cpu_sees(m) || !device_write(m, new_gen()))
		return false;
	return child_do(c, CHILD_SEES, shared ? m->gen : theirs) &&
	       device_sees(m);
}

static bool check_fork(struct memory *m)
{
	static bool (*const turns[])(struct memory *m, struct child *c) = {
		fork_parent_first, fork_child_first,
	};

	for (size_t i = 0; i < ARRAY_SIZE(turns); i++) {
		struct child c;
		bool ok;

		/* Give the device writable entries, which fork() must take. */
		if (!device_write(m, new_gen()) || !child_start(m, &c))
			return false;
		ok = turns[i](m, &c);
		child_end(&c);
		if (!ok)
			return false;
	}
	return true;
}

/* Half of it first if it has that many leaves: the other half must stay. */
static bool check_munmap(struct memory *m)
{
	size_t leaf = m->kind->leaf ? m->kind->leaf : PAGE;
	size_t all = m->size, keep = m->size / 2 / leaf * leaf;
	char *addr = m->addr;

	if (!device_write(m, new_gen()))
		return false;
	if (keep) {
		if (munmap(addr + keep, all - keep))
			return fail("munmap: %s", strerror(errno));
		m->size = keep;
		if (!device_refused(HMM_DMIRROR_READ, addr + keep, all - keep,
				    EFAULT) ||
		    !device_sees(m) || !device_write(m, new_gen()) ||
		    !cpu_sees(m))
			return false;
	}
	unmap(m);
	return device_refused(HMM_DMIRROR_READ, addr, all, EFAULT) &&
	       device_refused(HMM_DMIRROR_WRITE, addr, all, EFAULT);
}

/* munmap comes last, and fork after the leaves that it splits are counted. */
static const struct check checks[] = {
	{ "read", 5, check_read },
	{ "write", 6, check_write },
	{ "leaves", 15, check_leaves },
	{ "mprotect", 9, check_mprotect },
	{ "mremap", 7, check_mremap },
	{ "dontneed", 9, check_dontneed },
	{ "fork", 5, check_fork },
	{ "munmap", 7, check_munmap },
};

/* ---- The table --------------------------------------------------------- */

struct totals {
	unsigned int rows;
	unsigned int passed;
	unsigned int failed;
	unsigned int not_run;
};

static void print_head(size_t user_size)
{
	struct utsname u;

	uname(&u);
	printf("hmm-demo: one device mirrors the memory of one process\n\n"
	       "  kernel  %s %s %s\n"
	       "  device  %s (test_hmm: it copies through its mirror's entries, no DMA)\n"
	       "  seed    %#llx (--seed repeats the same data)\n",
	       u.sysname, u.release, u.machine, device_path,
	       (unsigned long long)seed);
	if (user_path)
		printf("  FILE    %s, %zu bytes; the table maps at most %zu MiB of it\n",
		       user_path, user_size, USER_MAX / MB(1));
	printf("\n  read      the device reads what the CPU wrote\n"
	       "  write     the CPU reads what the device wrote; so does a direct read of the file\n"
	       "  leaves    4K, 2M and 1G leaves that the device sees; as many as the CPU has\n"
	       "  mprotect  read-only: device writes refused, reads right; PROT_NONE: refused\n"
	       "  mremap    the new address reads right, the old one is refused\n"
	       "  dontneed  MADV_DONTNEED: private memory back to its origin, shared data kept\n"
	       "  fork      parent and child apart, each with its device; together if shared\n"
	       "  munmap    the half that is gone is refused, the rest reads right; then all\n"
	       "\nmappings over %zu MiB: %zu KiB in each of %d windows are compared\n\n",
	       ALL_CHECKED / MB(1), WINDOW_BYTES / KB(1), WINDOWS);
	printf("%-21s%5s%6s%7s%5s%3s%9s%7s%9s%5s%7s\n", "memory", "read",
	       "write", "4K", "2M", "1G", "mprotect", "mremap", "dontneed",
	       "fork", "munmap");
}

static void print_cell(const struct check *c, const struct memory *m, bool ok)
{
	if (ok && c->run == check_leaves)
		printf("%7zu%5zu%3zu", m->leaves[0], m->leaves[1],
		       m->leaves[2]);
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
	size_t size;
	int fd = open_user(user_path, &size);
	char *p;
	bool ok;

	if (fd < 0)
		return false;
	p = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (p == MAP_FAILED)
		return fail("mmap: %s", strerror(errno));
	ok = device_refused(HMM_DMIRROR_READ, p, PAGE, EFAULT);
	munmap(p, PAGE);
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

static void run_row(const struct kind *k, struct totals *t)
{
	struct memory m = { .kind = k, .fd = -1, .direct_fd = -1 };
	char notes[ARRAY_SIZE(checks)][NOTE_LEN];
	size_t n = 0;

	printf("%-21s", k->name);
	fflush(stdout);
	t->rows++;
	now_row = k->name;
	now_check = "set-up";
	if (!map(&m)) {
		t->not_run++;
		printf("cannot run\n    %s\n", why);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
		bool ok = run_check(&checks[i], &m);

		print_cell(&checks[i], &m, ok);
		if (ok) {
			t->passed++;
			continue;
		}
		t->failed++;
		snprintf(notes[n++], NOTE_LEN, "%s: %.*s", checks[i].name,
			 NOTE_LEN - 16, why);
	}
	unmap(&m);
	putchar('\n');
	for (size_t i = 0; i < n; i++)
		printf("    %s\n", notes[i]);
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

static int run_table(const char *list)
{
	struct totals t = { 0 };
	size_t size = 0;

	if (user_path) {
		int fd = open_user(user_path, &size);

		if (fd < 0) {
			fprintf(stderr, "hmm-demo: %s\n", why);
			return 1;
		}
		close(fd);
	}
	print_head(size);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		bool user = kinds[i].map == map_user;

		if (!in_list(list, kinds[i].key) || (user && !user_path))
			continue;
		if (user && !size) {
			printf("%-21s", kinds[i].name);
			t.rows++;
			run_empty(&t);
			continue;
		}
		run_row(&kinds[i], &t);
	}
	printf("\nhmm-demo: kinds of memory: %u, checks: %u ok, %u failed",
	       t.rows, t.passed, t.failed);
	if (t.not_run)
		printf(", kinds that could not run: %u", t.not_run);
	putchar('\n');
	return t.failed || t.not_run || !t.rows;
}

/* ---- The checksum ------------------------------------------------------ */

static void progress(size_t done, size_t size)
{
	static time_t last;
	time_t now = time(NULL);

	if (!last)
		last = now;
	if (now - last < 5)
		return;
	last = now;
	fprintf(stderr, "hmm-demo: the device has read %zu of %zu MiB\n",
		done / MB(1), size / MB(1));
}

/* [@from, @from + @len) of the file, @from aligned to a page. */
static bool sum_part(struct sha256 *s, int fd, size_t from, size_t len)
{
	size_t bytes = round_up(len, PAGE);
	char *p = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, from);
	bool ok = true;

	if (p == MAP_FAILED)
		return fail("mmap at byte %zu: %s", from, strerror(errno));
	for (size_t at = 0; ok && at < len; at += WINDOW_BYTES) {
		size_t n = min_size(len - at, WINDOW_BYTES);
		int err = device_do(HMM_DMIRROR_READ, p + at, data_buf,
				    round_up(n, PAGE) / PAGE);

		if (err)
			ok = fail("device read at byte %zu: %s", from + at,
				  strerror(err));
		else
			sha256_add(s, data_buf, n);
	}
	munmap(p, bytes);
	return ok;
}

/* In parts, so a file larger than memory works: no part stays mapped. */
static int run_sum(const char *path)
{
	struct sha256 s;
	size_t size, from, len;
	int fd = open_user(path, &size);

	if (fd < 0) {
		fprintf(stderr, "hmm-demo: %s\n", why);
		return 1;
	}
	now_row = "checksum";
	now_check = path;
	sha256_init(&s);
	for (from = 0; from < size; from += len) {
		len = min_size(size - from, ALL_CHECKED);
		progress(from, size);
		if (!sum_part(&s, fd, from, len)) {
			fprintf(stderr, "hmm-demo: %s: %s\n", path, why);
			close(fd);
			return 1;
		}
	}
	close(fd);
	sha256_print(&s, path);
	return 0;
}

/* ---- Start ------------------------------------------------------------- */

static const char help[] =
	"usage: hmm-demo [OPTION]... [FILE]\n"
	"       hmm-demo [--device PATH] --sum FILE\n"
	"\n"
	"Mirrors its own memory into an HMM test device and prints a table with one\n"
	"row for each kind of memory; FILE adds a row with a private mapping of it.\n"
	"\n"
	"  -c, --sum            print the SHA-256 of what the device reads of FILE, in\n"
	"                       the format of sha256sum\n"
	"  -d, --device PATH    the device, default /dev/hmm_dmirror0\n"
	"  -f, --file-dir DIR   where to make the page-cache file, default .\n"
	"  -x, --dax-dir DIR    where to make the DAX file\n"
	"  -k, --kinds LIST     only these rows, comma separated; see below\n"
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
	fprintf(stderr, "hmm-demo: %s%s\nTry 'hmm-demo --help'.\n", what, arg);
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
		"\nhmm-demo: ", sig == SIGBUS ? "SIGBUS" : "SIGSEGV", " in ",
		now_row, ", ", now_check, "\n",
	};

	for (size_t i = 0; i < ARRAY_SIZE(text); i++)
		if (write(STDERR_FILENO, text[i], strlen(text[i])) < 0)
			break;
	_exit(1);
}

static bool make_seed(const char *text)
{
	char *end;

	if (!text)
		return getrandom(&seed, sizeof(seed), 0) == sizeof(seed);
	errno = 0;
	seed = strtoull(text, &end, 0);
	return !errno && *text && !*end;
}

struct options {
	const char *kinds;
	const char *seed;
	bool sum;
	bool help;
};

static bool parse_options(struct options *o, int argc, char **argv)
{
	static const struct option known[] = {
		{ "sum", no_argument, NULL, 'c' },
		{ "device", required_argument, NULL, 'd' },
		{ "file-dir", required_argument, NULL, 'f' },
		{ "dax-dir", required_argument, NULL, 'x' },
		{ "kinds", required_argument, NULL, 'k' },
		{ "seed", required_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	int opt;

	opterr = 0;
	while ((opt = getopt_long(argc, argv, "cd:f:x:k:s:h", known, NULL)) !=
	       -1) {
		if (opt == 'c')
			o->sum = true;
		else if (opt == 'd')
			device_path = optarg;
		else if (opt == 'f')
			file_dir = optarg;
		else if (opt == 'x')
			dax_dir = optarg;
		else if (opt == 'k')
			o->kinds = optarg;
		else if (opt == 's')
			o->seed = optarg;
		else if (opt == 'h')
			o->help = true;
		else
			return false;
	}
	return true;
}

static int start(const struct options *o)
{
	setvbuf(stdout, stdout_buf, _IOFBF, sizeof(stdout_buf));
	signal(SIGBUS, on_signal);
	signal(SIGSEGV, on_signal);
	signal(SIGPIPE, SIG_IGN);
	if (sysconf(_SC_PAGESIZE) != (long)PAGE) {
		fprintf(stderr, "hmm-demo: needs pages of 4 KiB\n");
		return 1;
	}
	if (!device_open()) {
		fprintf(stderr, "hmm-demo: %s\n", why);
		return 1;
	}
	return o->sum ? run_sum(user_path) : run_table(o->kinds);
}

int main(int argc, char **argv)
{
	struct options o = { 0 };

	if (!parse_options(&o, argc, argv))
		return wrong_usage("unknown option, or one without its value",
				   "");
	if (o.help)
		return print_help();
	if (argc - optind > 1)
		return wrong_usage("more than one FILE: ", argv[optind + 1]);
	user_path = argv[optind];
	if (o.sum && !user_path)
		return wrong_usage("--sum needs a FILE", "");
	if (o.kinds && !known_kinds(o.kinds))
		return wrong_usage("unknown kind in ", o.kinds);
	if (!make_seed(o.seed))
		return wrong_usage("not a seed: ", o.seed ?: "(none)");
	return start(&o);
}
