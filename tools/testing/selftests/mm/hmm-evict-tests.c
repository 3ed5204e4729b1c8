// SPDX-License-Identifier: GPL-2.0
/*
 * Tests of taking back device memory that processes use: memremap_evict(),
 * memremap_discard() and the end of a page map, through the private and the
 * coherent memory of lib/test_hmm.c. The owner closes its memory, others hold pages
 * or touch them meanwhile, copies fail, the device is dead, processes fork, exit
 * and are killed.
 *
 * Each test is a process of its own. Where the device is closed by one, it is
 * opened before it ends. Needs root, and the module test_hmm, for coherent memory
 * with its parameters.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <lib/test_hmm_uapi.h>

#include "hugepage_settings.h"
#include "vm_util.h"

#define MB		(1024UL * 1024)
#define SIZE		(4 * MB)
#define LEAF		(2 * MB)
#define NO_VALUE	0xdeadUL
/* How often something goes on beside something else. */
#define ROUNDS		20
/* Rounds of an eviction that is ended by something else. */
#define MANY		1000000

static size_t page, nr;
static const char *device;
/* What the device says about a page of its own, and where it says so. */
static unsigned char on_it;
#define WHERE		(HMM_DMIRROR_PROT_DEV_PRIVATE_REMOTE | \
			 HMM_DMIRROR_PROT_DEV_COHERENT_REMOTE)

/* What a command has done, and how: 0 or an errno. */
struct result {
	int err;
	unsigned long pages;	/* moved, or whatever it is that was asked for */
	unsigned long left;
};

static struct result command(int fd, unsigned long what, void *addr,
			     unsigned long npages, uint64_t ptr)
{
	struct hmm_dmirror_cmd cmd = {
		.addr = (uintptr_t)addr, .ptr = ptr, .npages = npages,
	};
	struct result r = { };

	if (ioctl(fd, what, &cmd))
		r.err = errno;
	r.pages = cmd.cpages;
	r.left = cmd.faults;
	return r;
}

/* One that is for the whole device. */
static struct result device_command(int fd, unsigned long what, uint64_t arg)
{
	return command(fd, what, NULL, 1, arg);
}

/* The ioctl takes no 0: a bit without a meaning stands for it. */
static struct result flags_command(int fd, unsigned long flags)
{
	return command(fd, HMM_DMIRROR_FLAGS, NULL, flags ?: 1UL << 8, 0);
}

static int set_flags(int fd, unsigned long flags)
{
	return flags_command(fd, flags).err;
}

/* Wait for another eviction than those of @before, or for another copy. */
static bool evicts(int fd, unsigned long flags, bool copies, struct result before)
{
	int i;

	for (i = 0; i < 10000; i++) {
		struct result r = flags_command(fd, flags);

		if (copies ? r.pages != before.pages : r.left != before.left)
			return true;
		usleep(1000);
	}
	return false;
}

FIXTURE(evict)
{
	int fd;
	char *map, *mem;	/* as mapped, and aligned */
	char *bounce;		/* for what the device reads */
};

FIXTURE_VARIANT(evict)
{
	bool thp;
	bool coherent;
};

FIXTURE_VARIANT_ADD(evict, pages)
{
	.thp = false,
};

FIXTURE_VARIANT_ADD(evict, thp)
{
	.thp = true,
};

FIXTURE_VARIANT_ADD(evict, coherent)
{
	.coherent = true,
};

FIXTURE_VARIANT_ADD(evict, coherent_thp)
{
	.thp = true,
	.coherent = true,
};

/* The first word of a page, which is read and written each time. */
static unsigned long get_word(char *mem, size_t i)
{
	return __atomic_load_n((unsigned long *)(mem + i * page),
			       __ATOMIC_RELAXED);
}

static void set_word(char *mem, size_t i, unsigned long value)
{
	__atomic_store_n((unsigned long *)(mem + i * page), value,
			 __ATOMIC_RELAXED);
}

static unsigned long value_of(size_t i)
{
	return i * 2654435761UL + 1;
}

static void fill(char *mem)
{
	size_t i;

	for (i = 0; i < nr; i++)
		set_word(mem, i, value_of(i));
}

static sigjmp_buf at_fault;

static void on_sigbus(int sig)
{
	siglongjmp(at_fault, 1);
}

/* What is in a page, NO_VALUE if that is SIGBUS. */
static unsigned long touch(char *mem, size_t i)
{
	if (sigsetjmp(at_fault, 1))
		return NO_VALUE;
	return get_word(mem, i);
}

/* How many pages have what they should. */
static size_t right(char *mem)
{
	size_t i, n = 0;

	for (i = 0; i < nr; i++)
		n += touch(mem, i) == value_of(i);
	return n;
}

static size_t lost(char *mem)
{
	size_t i, n = 0;

	for (i = 0; i < nr; i++)
		n += touch(mem, i) == NO_VALUE;
	return n;
}

/* How many pages of [mem, mem + SIZE) the device has, as @bits says. */
static size_t count_on_device(int fd, char *mem, unsigned char bits)
{
	unsigned char perm[SIZE / 4096];
	size_t i, n = 0;

	memset(perm, 0, sizeof(perm));
	if (command(fd, HMM_DMIRROR_SNAPSHOT, mem, nr, (uintptr_t)perm).err)
		return (size_t)-1;
	for (i = 0; i < nr; i++)
		n += (perm[i] & WHERE) == on_it && (perm[i] & bits) == bits;
	return n;
}

static size_t on_device(int fd, char *mem)
{
	return count_on_device(fd, mem, 0);
}

static size_t to_device(int fd, char *mem, char *bounce)
{
	command(fd, HMM_DMIRROR_MIGRATE_TO_DEV, mem, nr, (uintptr_t)bounce);
	return on_device(fd, mem);
}

/* Memory with contents, as aligned, or NULL. */
static char *map_memory(char **map, bool thp)
{
	char *mem;

	*map = mmap(NULL, SIZE + LEAF, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (*map == MAP_FAILED)
		return NULL;
	mem = (char *)(((uintptr_t)*map + LEAF - 1) & ~(LEAF - 1));
	if (madvise(mem, SIZE, thp ? MADV_HUGEPAGE : MADV_NOHUGEPAGE))
		return NULL;
	fill(mem);
	return mem;
}

/* Whether a huge page is what the tests count by, and can be had. */
static bool has_thp(void)
{
	return thp_is_enabled() && read_pmd_pagesize() == LEAF;
}

FIXTURE_SETUP(evict)
{
	struct sigaction act = { .sa_handler = on_sigbus };

	page = sysconf(_SC_PAGESIZE);
	nr = SIZE / page;
	device = variant->coherent ? "/dev/hmm_dmirror2" : "/dev/hmm_dmirror0";
	on_it = variant->coherent ? HMM_DMIRROR_PROT_DEV_COHERENT_LOCAL :
				    HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL;
	self->fd = open(device, O_RDWR);
	if (self->fd < 0)
		SKIP(return, "no %s", device);
	if (variant->thp && !has_thp())
		SKIP(return, "no THP, or not of 2 MiB");
	ASSERT_EQ(0, sigaction(SIGBUS, &act, NULL));
	/* A chunk is of folios of the size that it was first asked for, in order. */
	ASSERT_EQ(0, device_command(self->fd, HMM_DMIRROR_RELEASE, 0).err);

	self->mem = map_memory(&self->map, variant->thp);
	ASSERT_NE(NULL, self->mem);
	if (variant->thp && !check_huge_anon(self->mem, SIZE, SIZE / LEAF, LEAF))
		SKIP(return, "no huge pages free");
	self->bounce = malloc(SIZE);
	ASSERT_NE(NULL, self->bounce);
	ASSERT_EQ(nr, to_device(self->fd, self->mem, self->bounce));
	if (variant->thp &&
	    count_on_device(self->fd, self->mem, HMM_DMIRROR_PROT_PMD) != nr)
		SKIP(return, "no huge pages free for the device");
}

FIXTURE_TEARDOWN(evict)
{
	set_flags(self->fd, 0);
	device_command(self->fd, HMM_DMIRROR_HOLD, 0);
	device_command(self->fd, HMM_DMIRROR_OPEN, 0);
	close(self->fd);
	munmap(self->map, SIZE + LEAF);
	free(self->bounce);
}

/* All comes back with what was in it, and nobody had to touch it. */
TEST_F(evict, all)
{
	struct result r = device_command(self->fd, HMM_DMIRROR_EVICT, 0);

	EXPECT_EQ(0, r.err);
	EXPECT_EQ(nr, r.pages);
	EXPECT_EQ(0, r.left);
	EXPECT_EQ(0, on_device(self->fd, self->mem));
	EXPECT_EQ(nr, right(self->mem));

	/* There is nothing left to do. */
	r = device_command(self->fd, HMM_DMIRROR_EVICT, 0);
	EXPECT_EQ(0, r.err);
	EXPECT_EQ(0, r.pages);
}

/* A closed device takes no page until it is opened. */
TEST_F(evict, closed)
{
	ASSERT_EQ(0, device_command(self->fd, HMM_DMIRROR_EVICT, 0).err);
	EXPECT_EQ(0, to_device(self->fd, self->mem, self->bounce));
	EXPECT_EQ(nr, right(self->mem));
	ASSERT_EQ(0, device_command(self->fd, HMM_DMIRROR_OPEN, 0).err);
	EXPECT_EQ(nr, to_device(self->fd, self->mem, self->bounce));
	EXPECT_EQ(nr, right(self->mem));
}

/* Others hold pages: these are left, for another call. */
TEST_F(evict, held)
{
	struct result r = device_command(self->fd, HMM_DMIRROR_HOLD, 3);
	size_t left;

	ASSERT_EQ(0, r.err);
	left = variant->thp ? r.pages * (LEAF / page) : r.pages;
	ASSERT_EQ(variant->thp ? SIZE / LEAF : 3, r.pages);

	r = device_command(self->fd, HMM_DMIRROR_EVICT, 2);
	EXPECT_EQ(EBUSY, r.err);
	EXPECT_EQ(left, r.left);
	EXPECT_EQ(nr - left, r.pages);
	EXPECT_EQ(left, on_device(self->fd, self->mem));

	ASSERT_EQ(0, device_command(self->fd, HMM_DMIRROR_HOLD, 0).err);
	r = device_command(self->fd, HMM_DMIRROR_EVICT, 0);
	EXPECT_EQ(0, r.err);
	EXPECT_EQ(left, r.pages);
	EXPECT_EQ(nr, right(self->mem));
}

/*
 * Pages that the owner has not copied stay as they are. A huge page that is left
 * out is split, and only half of its pages are left out after that. If there is no
 * huge page to move it to, the others are split, too.
 */
TEST_F(evict, not_copied)
{
	struct result r;
	size_t left;

	ASSERT_EQ(0, set_flags(self->fd, HMM_DMIRROR_FLAG_SKIP_COPY));
	r = device_command(self->fd, HMM_DMIRROR_EVICT, 4);
	left = r.left;
	EXPECT_EQ(EBUSY, r.err);
	EXPECT_LE(variant->thp ? nr / 4 : nr / 2, left);
	EXPECT_GE(nr / 2, left);
	EXPECT_EQ(left, on_device(self->fd, self->mem));
	EXPECT_EQ(0, count_on_device(self->fd, self->mem, HMM_DMIRROR_PROT_PMD));
	ASSERT_EQ(0, set_flags(self->fd, 0));
	r = device_command(self->fd, HMM_DMIRROR_EVICT, 0);
	EXPECT_EQ(0, r.err);
	EXPECT_EQ(left, r.pages);
	EXPECT_EQ(nr, right(self->mem));
}

/* A dead device gives nothing back, and its pages can be taken away. */
TEST_F(evict, dead)
{
	struct result r;

	ASSERT_EQ(0, set_flags(self->fd, HMM_DMIRROR_FLAG_DEAD));
	r = device_command(self->fd, HMM_DMIRROR_EVICT, 0);
	EXPECT_EQ(EIO, r.err);
	EXPECT_EQ(nr, r.left);
	EXPECT_EQ(nr, on_device(self->fd, self->mem));

	r = device_command(self->fd, HMM_DMIRROR_DISCARD, 0);
	EXPECT_EQ(0, r.err);
	EXPECT_EQ(nr, r.pages);
	EXPECT_EQ(0, r.left);
	EXPECT_EQ(nr, lost(self->mem));

	/* The address can be used again, and what is around it always could. */
	ASSERT_EQ(0, madvise(self->mem, LEAF, MADV_DONTNEED));
	EXPECT_EQ(0, touch(self->mem, 0));
	EXPECT_EQ(nr - LEAF / page, lost(self->mem));
	ASSERT_EQ(0, madvise(self->mem, SIZE, MADV_DONTNEED));
	fill(self->mem);
	EXPECT_EQ(nr, right(self->mem));
}

/* The same for a process that does not get to know, by the end of the memory. */
TEST_F(evict, release)
{
	ASSERT_EQ(0, device_command(self->fd, HMM_DMIRROR_RELEASE, 0).err);
	EXPECT_EQ(0, on_device(self->fd, self->mem));
	EXPECT_EQ(nr, right(self->mem));
	EXPECT_EQ(nr, to_device(self->fd, self->mem, self->bounce));
}

TEST_F(evict, release_dead)
{
	ASSERT_EQ(0, set_flags(self->fd, HMM_DMIRROR_FLAG_DEAD));
	ASSERT_EQ(0, device_command(self->fd, HMM_DMIRROR_RELEASE, 0).err);
	EXPECT_EQ(nr, lost(self->mem));
	ASSERT_EQ(0, set_flags(self->fd, 0));
	ASSERT_EQ(0, madvise(self->mem, SIZE, MADV_DONTNEED));
	fill(self->mem);
	EXPECT_EQ(nr, to_device(self->fd, self->mem, self->bounce));
	EXPECT_EQ(nr, right(self->mem));
}

/* The memory does not end while somebody else holds some of it. */
TEST_F(evict, release_held)
{
	int other = open(device, O_RDWR);

	ASSERT_LE(0, other);
	ASSERT_EQ(1, device_command(other, HMM_DMIRROR_HOLD, 1).pages);
	EXPECT_EQ(EBUSY, device_command(self->fd, HMM_DMIRROR_RELEASE, 0).err);
	EXPECT_EQ(nr, on_device(self->fd, self->mem));
	EXPECT_EQ(0, device_command(other, HMM_DMIRROR_RELEASE, 0).err);
	EXPECT_EQ(0, on_device(self->fd, self->mem));
	EXPECT_EQ(nr, right(self->mem));
	close(other);
}

/* 0 if the child got as far as it should. */
static int reap(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

/* A page has two processes: both keep it, or both lose it. */
static int fork_and(int fd, char *mem, unsigned long what, size_t (*count)(char *))
{
	int go[2], ret;
	char c = 0;
	pid_t pid;

	if (pipe(go))
		return -1;
	pid = fork();
	if (pid < 0)
		return -1;
	if (!pid) {
		close(go[1]);
		if (read(go[0], &c, 1) != 1)
			_exit(2);
		_exit(count(mem) != nr);
	}
	ret = device_command(fd, what, 0).err;
	if (write(go[1], &c, 1) != 1)
		return -1;
	ret = reap(pid) ?: ret;
	close(go[0]);
	close(go[1]);
	return ret;
}

TEST_F(evict, fork)
{
	EXPECT_EQ(0, fork_and(self->fd, self->mem, HMM_DMIRROR_EVICT, right));
	EXPECT_EQ(nr, right(self->mem));
}

/*
 * Has the memory from now on, all of it or not the half of a huge page, and looks at
 * it when the pipe is closed.
 */
static void keep_memory(int ready, int go, char *mem, bool all)
{
	size_t i, first = all ? 0 : LEAF / 2 / page, n = 0;
	char c;

	if ((!all && munmap(mem, LEAF / 2)) || write(ready, "", 1) != 1 ||
	    read(go, &c, 1))
		_exit(2);
	for (i = first; i < nr; i++)
		n += touch(mem, i) == value_of(i);
	_exit(n != nr - first);
}

/* Migrate memory that others share, by huge pages or not. False if it cannot be. */
static bool migrate_shared(int fd, char *mem, char *bounce, unsigned long flags,
			   size_t *there, size_t *huge)
{
	int ready[2], go[2], i, failed = 0;
	pid_t pid[2];
	char c;

	if (pipe(go))
		return false;
	for (i = 0; i < 2; i++) {
		if (pipe(ready))
			return false;
		pid[i] = fork();
		if (!pid[i]) {
			close(go[1]);
			keep_memory(ready[1], go[0], mem, i);
		}
		/* so that the end of a child that has not written is seen */
		close(ready[1]);
		failed += pid[i] < 0 || read(ready[0], &c, 1) != 1;
		close(ready[0]);
	}
	failed += !!set_flags(fd, flags);
	*there = to_device(fd, mem, bounce);
	*huge = count_on_device(fd, mem, HMM_DMIRROR_PROT_PMD);
	close(go[1]);
	for (i = 0; i < 2; i++)
		failed += pid[i] < 0 || reap(pid[i]);
	close(go[0]);
	return !failed;
}

/* Back to system memory, of huge pages if it was. */
static bool bring_home(int fd, char *mem, bool thp)
{
	return !device_command(fd, HMM_DMIRROR_EVICT, 0).err &&
	       !device_command(fd, HMM_DMIRROR_OPEN, 0).err &&
	       (!thp || check_huge_anon(mem, SIZE, SIZE / LEAF, LEAF));
}

/* A huge page that processes share goes to the device as one, for all of them. */
TEST_F(evict, shared)
{
	size_t there, huge;

	if (!bring_home(self->fd, self->mem, variant->thp))
		SKIP(return, "no huge pages free");
	EXPECT_TRUE(migrate_shared(self->fd, self->mem, self->bounce, 0, &there,
				   &huge));
	EXPECT_EQ(nr, there);
	EXPECT_EQ(nr, right(self->mem));
	if (variant->thp && huge != nr && __test_passed(_metadata))
		SKIP(return, "no huge pages free for the device");
}

/*
 * The device has no huge page for the first of them: that is split for all who have
 * it, or stays if the device has no small pages either. A small page stays.
 */
TEST_F(evict, shared_split)
{
	size_t leaf = variant->thp ? LEAF / page : 1, there, huge;
	bool splits = variant->thp && !variant->coherent;

	if (!bring_home(self->fd, self->mem, variant->thp))
		SKIP(return, "no huge pages free");
	EXPECT_TRUE(migrate_shared(self->fd, self->mem, self->bounce,
				   HMM_DMIRROR_FLAG_FAIL_ALLOC, &there, &huge));
	EXPECT_EQ(splits ? nr : nr - leaf, there);
	EXPECT_GE(variant->thp ? nr - leaf : 0, huge);
	EXPECT_EQ(nr, right(self->mem));
}

TEST_F(evict, fork_dead)
{
	pid_t pid;

	EXPECT_EQ(0, fork_and(self->fd, self->mem, HMM_DMIRROR_DISCARD, lost));
	EXPECT_EQ(nr, lost(self->mem));
	pid = fork();		/* a marker is inherited */
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(lost(self->mem) != nr);
	EXPECT_EQ(0, reap(pid));
}

struct writer {
	char *mem;
	bool stop;		/* atomic */
	unsigned long done;	/* rounds that are in all pages */
	size_t wrong;
};

/*
 * What was written in one round has to be there in the next. It is the second
 * half: the first is left alone, so that there is something to move each time.
 */
static void *write_rounds(void *arg)
{
	struct writer *w = arg;
	size_t i;

	while (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED)) {
		for (i = nr / 2; i < nr; i++) {
			w->wrong += get_word(w->mem, i) != w->done + i;
			set_word(w->mem, i, w->done + 1 + i);
		}
		w->done++;
	}
	return NULL;
}

/* A thread writes to half of the memory, which goes there and back. */
TEST_F_TIMEOUT(evict, busy, 120)
{
	struct writer w = { .mem = self->mem };
	size_t i, wrong = 0, moved = 0, failed = 0;
	pthread_t thread;

	for (i = 0; i < nr; i++)
		set_word(self->mem, i, i);
	ASSERT_EQ(0, pthread_create(&thread, NULL, write_rounds, &w));
	for (i = 0; i < ROUNDS; i++) {
		struct result r;

		command(self->fd, HMM_DMIRROR_MIGRATE_TO_DEV, self->mem, nr,
			(uintptr_t)self->bounce);
		r = device_command(self->fd, HMM_DMIRROR_EVICT, MANY);
		failed += r.err || r.left;
		moved += r.pages;
		failed += !!device_command(self->fd, HMM_DMIRROR_OPEN, 0).err;
	}
	__atomic_store_n(&w.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	for (i = 0; i < nr; i++)
		wrong += get_word(self->mem, i) != i + (i < nr / 2 ? 0 : w.done);
	EXPECT_EQ(0, failed);
	EXPECT_EQ(0, w.wrong);
	EXPECT_EQ(0, wrong);
	EXPECT_NE(0, moved);
	EXPECT_NE(0, w.done);
}

/* Who waits for pages that do not come can be killed. */
TEST_F(evict, signal)
{
	struct result r = device_command(self->fd, HMM_DMIRROR_HOLD, 1);
	pid_t pid;

	ASSERT_EQ(1, r.pages);
	r = flags_command(self->fd, 0);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		device_command(self->fd, HMM_DMIRROR_EVICT, MANY);
		_exit(0);
	}
	EXPECT_TRUE(evicts(self->fd, 0, false, r));
	EXPECT_EQ(0, waitpid(pid, NULL, WNOHANG));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	alarm(10);
	EXPECT_EQ(256 + SIGKILL, reap(pid));
	alarm(0);

	ASSERT_EQ(0, device_command(self->fd, HMM_DMIRROR_HOLD, 0).err);
	EXPECT_EQ(0, device_command(self->fd, HMM_DMIRROR_EVICT, 0).err);
	EXPECT_EQ(nr, right(self->mem));
}

/* Who waits for pages that do not come gives up when the time is over. */
TEST_F_TIMEOUT(evict, timeout, 120)
{
	struct result r = device_command(self->fd, HMM_DMIRROR_HOLD, 1);
	struct timespec begin, end;

	ASSERT_EQ(1, r.pages);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	/* so many milliseconds */
	r = command(self->fd, HMM_DMIRROR_EVICT, (char *)page, 1, MANY);
	clock_gettime(CLOCK_MONOTONIC, &end);
	EXPECT_EQ(ETIMEDOUT, r.err);
	/* Without, it would be 30 s. */
	EXPECT_LE(page / 1000, end.tv_sec - begin.tv_sec + 1);
	EXPECT_GT(page / 1000 + 20, end.tv_sec - begin.tv_sec);
	EXPECT_EQ(variant->thp ? LEAF / page : 1, r.left);

	ASSERT_EQ(0, device_command(self->fd, HMM_DMIRROR_HOLD, 0).err);
	EXPECT_EQ(0, device_command(self->fd, HMM_DMIRROR_EVICT, 0).err);
	EXPECT_EQ(nr, right(self->mem));
}

/* Has memory of its own on the device, says so, and waits to be killed. */
static void own_memory(int ready, bool thp, char *bounce)
{
	int fd = open(device, O_RDWR);
	char *map, *mem = map_memory(&map, thp);

	if (fd < 0 || !mem || to_device(fd, mem, bounce) != nr ||
	    write(ready, "", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

/* Whether a process that has been killed has given up its memory in ten seconds. */
static bool memory_ends(pid_t pid)
{
	char path[32], first = '1';
	int i, fd;

	snprintf(path, sizeof(path), "/proc/%d/statm", pid);
	for (i = 0; i < 10000 && first != '0'; i++) {
		usleep(1000);
		fd = open(path, O_RDONLY);
		if (fd < 0 || read(fd, &first, 1) != 1)
			first = '1';
		close(fd);
	}
	usleep(50000);		/* from there on it is on its way */
	return first == '0';
}

/* The last process that had a page is gone before the copy is done. */
TEST_F(evict, exit)
{
	struct result before;
	pid_t owner, evictor;
	int ready[2];
	char c;

	/* The pages of the owner are to be the only ones. */
	ASSERT_EQ(0, device_command(self->fd, HMM_DMIRROR_EVICT, 0).err);
	ASSERT_EQ(0, device_command(self->fd, HMM_DMIRROR_OPEN, 0).err);
	ASSERT_EQ(0, pipe(ready));
	owner = fork();
	ASSERT_LE(0, owner);
	if (!owner)
		own_memory(ready[1], variant->thp, self->bounce);
	close(ready[1]);
	EXPECT_EQ(1, read(ready[0], &c, 1));

	before = flags_command(self->fd, HMM_DMIRROR_FLAG_SLOW_COPY);
	ASSERT_EQ(0, before.err);
	evictor = fork();
	ASSERT_LE(0, evictor);
	if (!evictor) {
		struct result r = device_command(self->fd, HMM_DMIRROR_EVICT, 0);

		/* What was being copied when its process went counts as moved. */
		_exit(r.err ?: !r.pages);
	}
	EXPECT_TRUE(evicts(self->fd, HMM_DMIRROR_FLAG_SLOW_COPY, true, before));
	EXPECT_EQ(0, waitpid(evictor, NULL, WNOHANG));
	kill(owner, SIGKILL);
	EXPECT_TRUE(memory_ends(owner));
	EXPECT_EQ(0, waitpid(evictor, NULL, WNOHANG));
	EXPECT_EQ(0, reap(evictor));
	EXPECT_EQ(256 + SIGKILL, reap(owner));
	close(ready[0]);

	ASSERT_EQ(0, device_command(self->fd, HMM_DMIRROR_OPEN, 0).err);
	EXPECT_EQ(nr, to_device(self->fd, self->mem, self->bounce));
	EXPECT_EQ(nr, right(self->mem));
}

/* Has pages on the device, again and again, and says so the first time. */
static void come_and_go(int ready, char *mem, char *bounce)
{
	int fd = open(device, O_RDWR);
	size_t i;

	if (fd < 0 || !to_device(fd, mem, bounce) || write(ready, "", 1) != 1)
		_exit(1);
	for (i = 0; ; i++) {
		to_device(fd, mem, bounce);
		set_word(mem, i % nr, i);
	}
}

/* Processes with pages on the device are killed while it is evicted. */
TEST_F_TIMEOUT(evict, kill, 120)
{
	int i, failed = 0, ready[2];
	size_t moved = 0;
	char c;

	for (i = 0; i < ROUNDS / 2; i++) {
		struct result r;
		pid_t pid;

		ASSERT_EQ(0, pipe(ready));
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid)
			come_and_go(ready[1], self->mem, self->bounce);
		close(ready[1]);
		failed += read(ready[0], &c, 1) != 1;
		close(ready[0]);
		usleep(20000 + i * 7000);
		r = device_command(self->fd, HMM_DMIRROR_EVICT, MANY);
		failed += !!r.err;
		moved += r.pages;
		kill(pid, SIGKILL);
		failed += !!device_command(self->fd, HMM_DMIRROR_EVICT, MANY).err;
		failed += reap(pid) != 256 + SIGKILL;
		failed += !!device_command(self->fd, HMM_DMIRROR_OPEN, 0).err;
	}
	EXPECT_EQ(0, failed);
	EXPECT_NE(0, moved);
	EXPECT_EQ(nr, right(self->mem));
}

TEST_HARNESS_MAIN
