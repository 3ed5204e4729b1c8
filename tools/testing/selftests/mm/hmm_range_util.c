// SPDX-License-Identifier: GPL-2.0
/*
 * What the test programs of the HMM range API share; each function is described
 * in hmm_range_util.h. No locks: one thread of a test uses it, and the threads
 * beside share only what is atomic with the one that stops them.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <linux/mman.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hmm_range_util.h"

#define SWAP_SIZE	(64 * MB)

int dev = -1, pagemap = -1;
enum hmm_range_test_mode fault_mode;
__u64 *pfns;
__u64 faults;
size_t page, pmd, nr_pmd;

static char missing[128];	/* what the last no_*() said */

/* ---- settings of the machine ---- */

struct setting {
	char path[128];
	char value[32];
};

static struct setting settings[64];
static unsigned int nr_settings;
static char swap_dev[32];
static int swap_fd = -1;

int setting_write(const char *path, const char *value)
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

unsigned long setting_number(const char *path)
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

void machine_save(void)
{
	page = getpagesize();
	setting_save(THP_DIR, "", "use_zero_page");
	setting_save(THP_DIR, "khugepaged", "scan_sleep_millisecs");
	setting_write(THP_DIR "/khugepaged/scan_sleep_millisecs", "4000000000");
	settings_save_all(THP_DIR, "enabled");
	settings_save_all(THP_DIR, "shmem_enabled");
	settings_save_all(HUGETLB_DIR, "nr_hugepages");
	setting_save(KSM_DIR, "", "run");
	swap_start();
	atexit(machine_restore);
}

static void policy(const char *file, size_t sizes, const char *on)
{
	char path[192];
	size_t size;

	for (size = page; size <= pmd; size *= 2) {
		snprintf(path, sizeof(path), THP_DIR "/hugepages-%lukB/%s",
			 size / KB, file);
		setting_write(path, sizes & size ? on : "never");
	}
}

void thp_policy(size_t sizes)
{
	policy("enabled", sizes, "madvise");
	setting_write(THP_DIR "/use_zero_page", "1");
}

void shmem_policy(size_t sizes)
{
	policy("shmem_enabled", sizes, "always");
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

char *area(size_t len, int prot, int flags, int fd)
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

char *anon_area(size_t pages, bool huge)
{
	char *p = area(pages * page, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1);

	if (p)
		madvise(p, pages * page,
			huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	return p;
}

char *hugetlb_area(size_t len, unsigned int shift, int share)
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

/* Whether to go on: takes the caller to the CPU of round @round. */
static bool on_cpu(long round, long rounds)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	cpu_set_t one;

	if (round >= rounds * cpus)
		return false;
	CPU_ZERO(&one);
	CPU_SET(round % cpus, &one);
	sched_setaffinity(0, sizeof(one), &one);
	return true;
}

/*
 * MADV_PAGEOUT and MADV_FREE leave out pages that another CPU has in a batch on
 * the way to a list, and empty the batches of their own CPU only. So each gets
 * its turn.
 */
bool page_out(char *p, size_t n)
{
	cpu_set_t before;
	long i;

	sched_getaffinity(0, sizeof(before), &before);
	for (i = 0; populated(p, n) && on_cpu(i, 50); i++) {
		madvise(p, n * page, MADV_PAGEOUT);
		if (i)
			usleep(10000);
	}
	sched_setaffinity(0, sizeof(before), &before);
	return !populated(p, n);
}

int free_lazily(char *p, size_t n)
{
	cpu_set_t before;
	int ret = 0;
	long i;

	sched_getaffinity(0, sizeof(before), &before);
	/* The second round empties the batches that the first one filled. */
	for (i = 0; !ret && on_cpu(i, 2); i++)
		ret = madvise(p, n * page, MADV_FREE);
	sched_setaffinity(0, sizeof(before), &before);
	return ret;
}

__u64 *pm_read(const char *p, size_t n)
{
	static __u64 *buf;

	buf = realloc(buf, n * sizeof(*buf));
	if (!buf || pread(pagemap, buf, n * sizeof(*buf),
			  (uintptr_t)p / page * sizeof(*buf)) !=
	    (ssize_t)(n * sizeof(*buf)))
		ksft_exit_fail_msg("cannot read pagemap\n");
	return buf;
}

__u64 pm(const char *p)
{
	return *pm_read(p, 1);
}

bool present(const char *p)
{
	return pm(p) & PM_PRESENT;
}

size_t populated(const char *p, size_t n)
{
	__u64 *entry = pm_read(p, n);
	size_t i, sum = 0;

	for (i = 0; i < n; i++)
		sum += !!(entry[i] & PM_PRESENT);
	return sum;
}

bool mapped(const char *p, size_t first, size_t n, __u64 must,
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

bool all(size_t first, size_t n, __u64 value)
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

bool orders_hold(const char *p, size_t n)
{
	__u64 *entry = pm_read(p, n);
	size_t i, k;

	for (i = 0; i < n; i++) {
		__u64 order = (pfns[i] & HMM_RANGE_PFN_ORDER_MASK) >>
				 HMM_RANGE_PFN_ORDER_SHIFT;
		size_t size = 1UL << order;
		size_t before = ((uintptr_t)p / page + i) & (size - 1);

		if (before > i)
			return false;
		for (k = i - before; k < i - before + size; k++)
			if (k >= n || !(entry[k] & PM_PRESENT) ==
				      !!(pfns[i] & VALID) ||
			    (order && pfns[k] - pfns[i] != k - i))
				return false;
	}
	return true;
}

__u64 zero_pfn(void)
{
	char *p = anon_area(1, false);

	FORCE_READ(*p);
	return PAGEMAP_PFN(pm(p));
}

pid_t peer_start(void)
{
	pid_t pid = fork();

	if (pid < 0)
		ksft_exit_fail_msg("cannot fork\n");
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		pause();
}

void peer_stop(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

__u64 now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ULL + t.tv_nsec / 1000000;
}

/* ---- calling the device ---- */

struct hmm_range_test range_of(const char *p, size_t pages)
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

/*
 * Faults of this thread so far, those that the kernel resolved for the device
 * in this thread's context included.
 */
static __u64 faults_so_far(void)
{
	struct rusage use;

	if (getrusage(RUSAGE_THREAD, &use))
		ksft_exit_fail_msg("cannot read the fault counter\n");
	return use.ru_minflt + use.ru_majflt;
}

static __printf(1, 2) const char *missing_is(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(missing, sizeof(missing), fmt, args);
	va_end(args);
	return missing;
}

const char *no_hugetlb(unsigned long size, unsigned long nr)
{
	if (hugetlb_reserve(size, nr))
		return NULL;
	return missing_is("cannot reserve %lu huge pages of %lu MB", nr,
			  size / MB);
}

const char *no_thp(void)
{
	if (!access(THP_DIR "/hpage_pmd_size", R_OK))
		return NULL;
	return missing_is("no THP (CONFIG_TRANSPARENT_HUGEPAGE)");
}

const char *no_mthp(void)
{
	if (!access(THP_DIR "/hugepages-64kB/enabled", W_OK))
		return NULL;
	return missing_is("no 64K folios for anonymous memory");
}

void pfns_populate(size_t n)
{
	madvise(pfns, n * sizeof(*pfns), MADV_POPULATE_WRITE);
}

int submit(struct hmm_range_test *r)
{
	__u64 before;
	int ret;

	/* The kernel's own accesses to the array must not add faults. */
	pfns_populate(r->npfns);
	before = faults_so_far();
	ret = ioctl(dev, HMM_RANGE_TEST_CALL, r);
	faults = faults_so_far() - before;
	if (ret)
		ksft_print_msg("ioctl: %s\n", strerror(errno));
	return ret ? 1 : r->result;
}

int submit_valid(struct hmm_range_test *r)
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

int snapshot(const char *p, size_t pages)
{
	struct hmm_range_test r = range_of(p, pages);

	r.mode = HMM_RANGE_TEST_SNAPSHOT;
	return submit_valid(&r);
}

int fault(const char *p, size_t pages, __u64 request)
{
	struct hmm_range_test r = range_of(p, pages);

	r.default_flags = request;
	return submit_valid(&r);
}

int fault_each(const char *p, size_t pages)
{
	struct hmm_range_test r = range_of(p, pages);

	r.pfn_flags_mask = RW;
	return submit_valid(&r);
}

void request_none(size_t pages)
{
	memset(pfns, 0, pages * sizeof(*pfns));
}

const char *range_setup(void)
{
	pmd = read_pmd_pagesize();
	if (!pmd)
		pmd = 2 * MB;	/* no THP */
	nr_pmd = pmd / page;
	thp_policy(pmd);
	shmem_policy(0);

	dev = open("/dev/hmm_range", O_RDWR | O_CLOEXEC);
	if (dev < 0)
		return missing_is("no /dev/hmm_range: load test_hmm_range, as root");
	pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	pfns = mmap(NULL, HMM_RANGE_TEST_MAX_PFNS * sizeof(*pfns),
		    PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (pagemap < 0 || pfns == MAP_FAILED)
		ksft_exit_fail_msg("no pagemap or no memory\n");
	madvise(pfns, HMM_RANGE_TEST_MAX_PFNS * sizeof(*pfns),
		MADV_NOHUGEPAGE);
	return NULL;
}

/* ---- what goes on beside ---- */

int side_run(void *arg)
{
	struct side *s = arg;
	__u64 end = now_ms() + (s->limit_ms ? s->limit_ms : SIDE_LIMIT_MS);

	do {
		s->act(s);
		s->rounds++;
	} while (!s->once && !s->stop && now_ms() < end);
	return 0;
}

static void *side_thread(void *arg)
{
	side_run(arg);
	return NULL;
}

int side_start(struct side *s)
{
	return pthread_create(&s->thread, NULL, side_thread, s);
}

void side_stop(struct side *s)
{
	s->stop = 1;
	pthread_join(s->thread, NULL);
}

void act_discard(struct side *s)
{
	madvise(s->p, s->len, MADV_DONTNEED);
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

const char *no_uffd(int *fd, __u64 features)
{
	*fd = uffd_open(features);
	if (*fd >= 0)
		return NULL;
	return missing_is("no userfaultfd with features %llx (PTE_MARKER_UFFD_WP?)",
			  features);
}

static void uffd_drop(struct uffd_server *s)
{
	if (s->drop && s->unmap)
		munmap(s->drop, page);
	else if (s->drop)
		madvise(s->drop, page, MADV_DONTNEED);
	s->drop = NULL;
}

static int uffd_answer(struct uffd_server *s, struct uffd_msg *msg, void *src)
{
	struct uffdio_range at = {
		.start = msg->arg.pagefault.address & ~(s->leaf - 1),
		.len = s->leaf,
	};
	struct uffdio_writeprotect wp = { .range = at };
	struct uffdio_rwprotect rwp = { .range = at };
	struct uffdio_continue found = { .range = at };
	struct uffdio_copy copy = {
		.dst = at.start,
		.src = (uintptr_t)src,
		.len = at.len,
	};

	if (msg->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP)
		return ioctl(s->uffd, UFFDIO_WRITEPROTECT, &wp);
	if (msg->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_RWP)
		return ioctl(s->uffd, UFFDIO_RWPROTECT, &rwp);
	if (msg->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_MINOR)
		return ioctl(s->uffd, UFFDIO_CONTINUE, &found);
	return ioctl(s->uffd, UFFDIO_COPY, &copy);
}

static void *uffd_serve(void *arg)
{
	struct uffd_server *s = arg;
	char *src = malloc(s->leaf);
	struct uffd_msg msg;

	memset(src, 7, s->leaf);
	while (!s->stop) {
		struct pollfd pfd = { .fd = s->uffd, .events = POLLIN };

		if (poll(&pfd, 1, 50) <= 0 ||
		    read(s->uffd, &msg, sizeof(msg)) != sizeof(msg))
			continue;
		uffd_drop(s);
		usleep(s->delay_us);
		if (!uffd_answer(s, &msg, src))
			s->served++;
	}
	free(src);
	return NULL;
}

int uffd_server_start(struct uffd_server *s)
{
	if (!s->leaf)
		s->leaf = page;
	return pthread_create(&s->thread, NULL, uffd_serve, s);
}

void uffd_server_stop(struct uffd_server *s)
{
	s->stop = 1;
	pthread_join(s->thread, NULL);
}
