// SPDX-License-Identifier: GPL-2.0
/*
 * Device memory comes and goes while it is in use: pmem with a file system on it,
 * device-dax, the memory of an NVMe controller as a provider for peer-to-peer DMA,
 * and the HMM test devices, each bound and unbound again and again. Unbinding has
 * to come to an end whatever is mapped, nobody may reach the memory after it, and
 * the next binding has to find all that was written before. A device that mirrors
 * a DAX file loses what the file loses, before its blocks can be used anew.
 *
 * What leaks is seen by kmemleak, and by the kernel's own checks when the pages'
 * structures go. See devmem_util.h for the environment that names the devices; a
 * test without its own skips. Their contents are lost. Needs root, xfsprogs and
 * e2fsprogs; the mirror needs an edu device behind an IOMMU. No locks: one thread,
 * with another one in truncate_race that only truncates.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

#include <lib/test_hmm_uapi.h>

#include "devmem_util.h"
#include "hmm_dma_util.h"
#include "hmm_range_util.h"

#define FILE_BYTES	(8 * MB)
#define HELD_BYTES	(2 * MB)	/* of it; one leaf, so one line in the log */
#define DAX_BYTES	(4 * MB)
#define P2P_BYTES	(64 * KB)
#define ANON_BYTES	(1 * MB)
#define RACES		20	/* faults beside truncations, at least */
#define MAX_RACES	2000	/* until both have come first */

static bool all_bytes(const unsigned char *p, size_t len, unsigned char byte)
{
	size_t i;

	for (i = 0; i < len; i += page) {
		if (p[i] != byte) {
			ksft_print_msg("at %zu: %u instead of %u\n", i, p[i],
				       byte);
			return false;
		}
	}
	return true;
}

/* Whether each page of a file or device begins with @byte. */
static bool has_bytes(const char *path, size_t len, unsigned char byte)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	unsigned char *p;
	bool ok;

	if (fd < 0)
		return false;
	p = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (p == MAP_FAILED)
		return false;
	ok = all_bytes(p, len, byte);
	munmap(p, len);
	return ok;
}

/* ---- file systems on pmem ---- */

FIXTURE(devmem_fs) {
	struct binding pmem;
	const char *disk;
	char dir[32];
	char file[48];
};

FIXTURE_VARIANT(devmem_fs) {
	const char *type;
	const char *mkfs[12];
	bool shuts_down;	/* it takes mappings away when the device goes */
};

FIXTURE_VARIANT_ADD(devmem_fs, xfs) {
	.type = "xfs",
	.mkfs = { "mkfs.xfs", "-q", "-f", "-m", "rmapbt=1",
		  "-d", "su=2m,sw=1,agcount=2", "-l", "su=32k" },
	.shuts_down = true,
};

FIXTURE_VARIANT_ADD(devmem_fs, ext4) {
	.type = "ext4",
	.mkfs = { "mkfs.ext4", "-q", "-F", "-b", "4096", "-E",
		  "stride=512,stripe_width=512" },
};

/* 0 or an errno. */
static int fs_mount(const char *disk, const char *dir, const char *type)
{
	int err = 0;

	if (mount(disk, dir, type, 0, "dax=always"))
		err = errno;
	if (err)
		ksft_print_msg("mount: %s\n", strerror(err));
	return err;
}

static bool make_file(const char *path)
{
	char *zeroes = calloc(1, FILE_BYTES);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	bool ok = zeroes && fd >= 0 &&
		  write(fd, zeroes, FILE_BYTES) == FILE_BYTES && !fsync(fd);

	if (fd >= 0)
		close(fd);
	free(zeroes);
	return ok;
}

/* The exit status of mkfs. */
static int make_fs(const char *const mkfs[], size_t max, const char *disk)
{
	const char *argv[max];
	size_t i;

	memcpy(argv, mkfs, sizeof(argv));
	for (i = 0; argv[i]; i++)
		;
	argv[i] = disk;
	return run(argv);
}

static void fs_end(const char *dir)
{
	umount2(dir, MNT_DETACH);
	rmdir(dir);
}

/* There is no teardown after a failure in here. */
FIXTURE_SETUP(devmem_fs)
{
	int status, err;

	self->pmem = binding_pmem();
	self->disk = getenv("DEVMEM_DISK");
	if (!self->pmem.device || !self->disk)
		SKIP(return, "no DEVMEM_PMEM and DEVMEM_DISK");
	status = make_fs(variant->mkfs, ARRAY_SIZE(variant->mkfs), self->disk);
	if (status == 127)
		SKIP(return, "no %s", variant->mkfs[0]);
	ASSERT_EQ(0, status);
	snprintf(self->dir, sizeof(self->dir), "/tmp/devmem-XXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->dir));
	snprintf(self->file, sizeof(self->file), "%s/file", self->dir);
	err = fs_mount(self->disk, self->dir, variant->type);
	if (err || !make_file(self->file))
		fs_end(self->dir);
	if (err == ENODEV || err == EINVAL || err == EOPNOTSUPP)
		SKIP(return, "no %s with DAX: %s", variant->type,
		     strerror(err));
	ASSERT_EQ(0, err);
	ASSERT_EQ(0, access(self->file, F_OK));
}

/* Also after a failure, when something may still have a file open. */
FIXTURE_TEARDOWN(devmem_fs)
{
	if (!self->pmem.device)
		return;
	fs_end(self->dir);
	if (!driver_bound(&self->pmem))
		driver_bind(&self->pmem);
}

/* With a file system that cannot give up mappings, they go just before. */
TEST_F_TIMEOUT(devmem_fs, bind, test_seconds())
{
	unsigned int i, n = rounds();
	struct holder h;
	int sig;

	ASSERT_EQ(0, umount2(self->dir, 0));
	for (i = 1; i <= n; i++) {
		ASSERT_EQ(0, fs_mount(self->disk, self->dir, variant->type));
		ASSERT_TRUE(has_bytes(self->file, HELD_BYTES, i - 1));
		ASSERT_TRUE(holder_start(&h, self->file, HELD_BYTES,
					 MAP_SHARED_VALIDATE | MAP_SYNC, i));
		if (!variant->shuts_down) {
			ASSERT_EQ(0, holder_touch(&h));
			ASSERT_EQ(0, umount2(self->dir, 0));
		}
		ASSERT_EQ(0, driver_unbind(&self->pmem));
		ASSERT_FALSE(driver_bound(&self->pmem));
		ASSERT_NE(0, access(self->disk, F_OK));
		if (variant->shuts_down) {
			sig = holder_touch(&h);
			ASSERT_TRUE(sig == SIGBUS || sig == SIGKILL);
			ASSERT_EQ(0, umount2(self->dir, 0));
		}
		ASSERT_EQ(0, driver_bind(&self->pmem));
		ASSERT_TRUE(appears(self->disk));
	}
	ASSERT_EQ(0, fs_mount(self->disk, self->dir, variant->type));
	ASSERT_TRUE(has_bytes(self->file, HELD_BYTES, n));
}

/* ---- a DAX file that a device mirrors ---- */

struct mirrored {
	int fd;			/* the file */
	int dma;		/* the device */
	unsigned char *p;	/* the file's pages */
	__u64 addr;		/* DMA address of @p */
};

static const char *mirror_file(struct mirrored *m, const char *path)
{
	m->dma = dma_open(0);
	if (m->dma < 0)
		return "no /dev/hmm_dma0";
	if (dma_status(m->dma).iommu != HMM_DMA_TEST_IOMMU_DMA)
		return "no IOMMU that translates";
	m->fd = open(path, O_RDWR | O_CLOEXEC);
	m->p = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
		    m->fd, 0);
	if (m->fd < 0 || m->p == MAP_FAILED ||
	    dma_mirror(m->dma, m->p, FILE_BYTES))
		ksft_exit_fail_msg("cannot mirror %s\n", path);
	return NULL;
}

static void mirror_end(struct mirrored *m)
{
	close(m->dma);
	munmap(m->p, FILE_BYTES);
	close(m->fd);
}

/* Each page of the file says which one it is, and the device has all of them. */
static bool mirror_fill(struct mirrored *m)
{
	size_t i;

	if (ftruncate(m->fd, FILE_BYTES))
		return false;
	for (i = 0; i < FILE_BYTES / page; i++)
		*(__u64 *)(m->p + i * page) = i + 1;
	if (dma_fault(m->dma, m->p, FILE_BYTES, HMM_DMA_TEST_WRITE))
		return false;
	m->addr = dma_addr(m->p);
	return dma_domain(m->dma, m->addr, FILE_BYTES / page) ==
	       FILE_BYTES / page;
}

/* What the device reads at @off, which it may have to fault in. */
static __u64 device_word(struct mirrored *m, size_t off)
{
	__u64 word = ~0ULL;

	return dma_read(m->dma, m->p + off, &word, sizeof(word)) ? ~0ULL : word;
}

/* Whether the device and the IOMMU have nothing of this range. */
static bool mirror_lost(struct mirrored *m, size_t off, size_t len)
{
	__u64 word;

	return dma_domain(m->dma, m->addr + off, len / page) == 0 &&
	       dma_copy(m->dma, m->p + off, &word, sizeof(word),
			HMM_DMA_TEST_NOFAULT) == -EFAULT;
}

TEST_F_TIMEOUT(devmem_fs, truncate, test_seconds())
{
	const size_t half = FILE_BYTES / 2;
	struct mirrored m;

	if (skipped(mirror_file(&m, self->file)))
		return;
	ASSERT_TRUE(mirror_fill(&m));
	ASSERT_EQ(half / page + 1, device_word(&m, half));
	ASSERT_EQ(0, ftruncate(m.fd, half));
	EXPECT_TRUE(mirror_lost(&m, half, half));
	EXPECT_EQ(-EFAULT, dma_fault(m.dma, m.p + half, page, 0));
	EXPECT_EQ(half / page, device_word(&m, half - page));

	/* The same blocks, maybe, but not what was in them. */
	ASSERT_EQ(0, ftruncate(m.fd, FILE_BYTES));
	EXPECT_EQ(0, device_word(&m, half));
	ASSERT_EQ(0, dma_fault(m.dma, m.p, FILE_BYTES, HMM_DMA_TEST_WRITE));
	EXPECT_EQ(FILE_BYTES / page,
		  dma_domain(m.dma, m.addr, FILE_BYTES / page));
	mirror_end(&m);
}

TEST_F_TIMEOUT(devmem_fs, punch_hole, test_seconds())
{
	const size_t off = 1 * MB, len = 2 * MB + 64 * KB;
	struct mirrored m;

	if (skipped(mirror_file(&m, self->file)))
		return;
	ASSERT_TRUE(mirror_fill(&m));
	ASSERT_EQ(0, fallocate(m.fd,
			       FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       off, len));
	EXPECT_TRUE(mirror_lost(&m, off, len));
	EXPECT_EQ(0, device_word(&m, off));
	EXPECT_EQ(0, device_word(&m, off + len - page));
	EXPECT_EQ(off / page, device_word(&m, off - page));
	EXPECT_EQ((off + len) / page + 1, device_word(&m, off + len));

	/* What the device writes into the hole is in the file. */
	ASSERT_EQ(0, dma_write(m.dma, m.p + off, &(__u64){ 77 },
			       sizeof(__u64)));
	EXPECT_EQ(77, *(__u64 *)(m.p + off));
	mirror_end(&m);
}

static void act_truncate(struct side *s)
{
	/* One CPU is enough for both, and a slow one gets its time, too. */
	const unsigned int wait_us = 2000 * (1 + s->rounds % 8);
	int fd = *(int *)s->p;

	if (ftruncate(fd, s->len / 2))
		abort();
	usleep(wait_us);
	if (ftruncate(fd, s->len))
		abort();
	usleep(wait_us);
}

/* Faults beside it may find a file of either size, and nothing in between. */
TEST_F_TIMEOUT(devmem_fs, truncate_race, test_seconds())
{
	const size_t half = FILE_BYTES / 2;
	struct side s = { .act = act_truncate, .len = FILE_BYTES };
	unsigned int i, whole = 0, short_of = 0;
	struct mirrored m;
	int ret = 0;

	if (skipped(mirror_file(&m, self->file)))
		return;
	ASSERT_TRUE(mirror_fill(&m));
	s.p = (char *)&m.fd;
	ASSERT_EQ(0, side_start(&s));
	for (i = 0; i < RACES || (i < MAX_RACES && !(whole && short_of)); i++) {
		ret = dma_fault(m.dma, m.p, FILE_BYTES, HMM_DMA_TEST_WRITE);
		whole += !ret;
		short_of += ret == -EFAULT;
		if (ret && ret != -EFAULT && ret != -EBUSY)
			break;
	}
	side_stop(&s);
	EXPECT_TRUE(!ret || ret == -EFAULT || ret == -EBUSY);
	ksft_print_msg("%u of %u faults got all, %u not, %d truncations\n",
		       whole, i, short_of, s.rounds);
	EXPECT_LT(0, s.rounds);
	ASSERT_EQ(0, ftruncate(m.fd, half));
	EXPECT_TRUE(mirror_lost(&m, half, half));
	EXPECT_EQ(half / page, device_word(&m, half - page));
	mirror_end(&m);
	/* Which of the two comes first is up to the scheduler. */
	if (__test_passed(_metadata) && !(whole && short_of))
		SKIP(return, "one has always come before the other");
}

/* ---- device-dax ---- */

FIXTURE(devmem_driver) {
	struct binding b;
};

/* After a failure, the next test finds the device all the same. */
FIXTURE_SETUP(devmem_driver)
{
	self->b = (struct binding) { };
}

FIXTURE_TEARDOWN(devmem_driver)
{
	if (self->b.device && !driver_bound(&self->b))
		driver_bind(&self->b);
}

TEST_F_TIMEOUT(devmem_driver, devdax, test_seconds())
{
	struct binding *dax = &self->b;
	unsigned int i, n = rounds();
	struct holder h;
	char path[64];

	*dax = binding_dax();
	if (!dax->device)
		SKIP(return, "no DEVMEM_DAX");
	snprintf(path, sizeof(path), "/dev/%s", dax->device);
	for (i = 1; i <= n; i++) {
		ASSERT_TRUE(appears(path));
		ASSERT_TRUE(holder_start(&h, path, DAX_BYTES, MAP_SHARED, i));
		ASSERT_EQ(0, driver_unbind(dax));
		ASSERT_FALSE(driver_bound(dax));
		ASSERT_EQ(SIGBUS, holder_touch(&h));
		ASSERT_EQ(0, driver_bind(dax));
		ASSERT_TRUE(has_bytes(path, DAX_BYTES, i));
	}
}

/* ---- the HMM test devices ---- */

FIXTURE(devmem_test_hmm) {
	unsigned char *p;
	bool was_loaded;
};

FIXTURE_VARIANT(devmem_test_hmm) {
	const char *node;
};

FIXTURE_VARIANT_ADD(devmem_test_hmm, private) {
	.node = "/dev/hmm_dmirror0",
};

FIXTURE_VARIANT_ADD(devmem_test_hmm, coherent) {
	.node = "/dev/hmm_dmirror2",
};

FIXTURE_SETUP(devmem_test_hmm)
{
	if (!getenv("DEVMEM_MODULE"))
		SKIP(return, "no DEVMEM_MODULE");
	self->p = mmap(NULL, ANON_BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->p);
	self->was_loaded = module_loaded();
	if (self->was_loaded)
		ASSERT_EQ(0, module_unload());
}

FIXTURE_TEARDOWN(devmem_test_hmm)
{
	module_unload();
	if (self->was_loaded)
		module_load();
}

/* All pages of the process go to the device: how many did. */
static size_t to_device(const char *node, unsigned char *p, size_t len)
{
	struct hmm_dmirror_cmd cmd = {
		.addr = (uintptr_t)p,
		.npages = len / page,
	};
	void *copy = malloc(len);
	int fd = open(node, O_RDWR | O_CLOEXEC);
	int ret;

	cmd.ptr = (uintptr_t)copy;
	ret = ioctl(fd, HMM_DMIRROR_MIGRATE_TO_DEV, &cmd);
	close(fd);
	free(copy);
	return ret ? 0 : cmd.cpages;
}

/* The process keeps its pages in the device until the driver goes. */
TEST_F_TIMEOUT(devmem_test_hmm, load, test_seconds())
{
	unsigned int i, n = rounds();

	for (i = 1; i <= n; i++) {
		ASSERT_EQ(0, module_load());
		ASSERT_TRUE(appears(variant->node));
		memset(self->p, i, ANON_BYTES);
		ASSERT_EQ(ANON_BYTES / page,
			  to_device(variant->node, self->p, ANON_BYTES));
		ASSERT_EQ(0, module_unload());
		ASSERT_TRUE(all_bytes(self->p, ANON_BYTES, i));
	}
}

/* A transfer takes time, so only some rounds make one. */
TEST_F_TIMEOUT(devmem_driver, edu, test_seconds())
{
	struct binding *edu = &self->b;
	unsigned int i, n = rounds();
	struct hmm_dma_test_status now;
	__u64 word;
	char *p;
	int fd;

	*edu = binding_edu();
	if (!edu->device)
		SKIP(return, "no DEVMEM_EDU");
	p = mmap(NULL, ANON_BYTES, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, p);
	for (i = 1; i <= n; i++) {
		memset(p, i, ANON_BYTES);
		ASSERT_TRUE(appears("/dev/hmm_dma0"));
		fd = dma_open(0);
		ASSERT_GE(fd, 0);
		ASSERT_EQ(0, dma_mirror(fd, p, ANON_BYTES));
		ASSERT_EQ(0, dma_fault(fd, p, ANON_BYTES, HMM_DMA_TEST_WRITE));
		ASSERT_EQ(ANON_BYTES / page, dma_status(fd).entries);
		if (i % 10 == 1) {
			ASSERT_EQ(0, dma_read(fd, p, &word, sizeof(word)));
			ASSERT_EQ(*(__u64 *)p, word);
		}
		ASSERT_EQ(0, driver_unbind(edu));
		ASSERT_NE(0, ioctl(fd, HMM_DMA_TEST_STATUS, &now));
		ASSERT_EQ(ENODEV, errno);
		close(fd);
		ASSERT_EQ(0, driver_bind(edu));
	}
}

/* ---- an NVMe controller's memory ---- */

/* The controller's first disk, when it has been found. */
static bool nvme_disk(const struct binding *nvme, char *path, size_t size)
{
	char pattern[128];
	glob_t found;
	int i;

	snprintf(pattern, sizeof(pattern),
		 "/sys/bus/pci/devices/%s/nvme/nvme*/nvme*n1", nvme->device);
	for (i = 0; i < 1000; i++) {
		if (!glob(pattern, 0, NULL, &found)) {
			snprintf(path, size, "/dev/%s",
				 strrchr(found.gl_pathv[0], '/') + 1);
			globfree(&found);
			return appears(path);
		}
		usleep(10000);
	}
	return false;
}

/* The disk, which is made of zeroes, is read into memory of its own controller. */
static int read_disk(const char *path, void *p)
{
	int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return errno;
	if (pread(fd, p, P2P_BYTES, 0) != P2P_BYTES)
		err = errno;
	close(fd);
	return err;
}

TEST_F_TIMEOUT(devmem_driver, nvme, test_seconds())
{
	struct binding *nvme = &self->b;
	char allocate[128], available[128], disk[64];
	unsigned int i, n = rounds();
	struct holder h;
	unsigned char *p;
	size_t before;
	int fd;

	*nvme = binding_nvme();
	if (!nvme->device)
		SKIP(return, "no DEVMEM_NVME");
	snprintf(allocate, sizeof(allocate),
		 "/sys/bus/pci/devices/%s/p2pmem/allocate", nvme->device);
	snprintf(available, sizeof(available),
		 "/sys/bus/pci/devices/%s/p2pmem/available", nvme->device);
	for (i = 1; i <= n; i++) {
		ASSERT_TRUE(nvme_disk(nvme, disk, sizeof(disk)));
		before = setting_number(available);
		ASSERT_GE(before, 2 * P2P_BYTES);
		fd = open(allocate, O_RDWR | O_CLOEXEC);
		ASSERT_GE(fd, 0);
		p = mmap(NULL, P2P_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
			 fd, 0);
		close(fd);
		ASSERT_NE(MAP_FAILED, p);
		ASSERT_EQ(before - P2P_BYTES, setting_number(available));
		memset(p, i, P2P_BYTES);
		ASSERT_TRUE(all_bytes(p, P2P_BYTES, i));
		ASSERT_EQ(0, read_disk(disk, p));
		ASSERT_TRUE(all_bytes(p, P2P_BYTES, 0));
		munmap(p, P2P_BYTES);
		ASSERT_EQ(before, setting_number(available));

		ASSERT_TRUE(holder_start(&h, allocate, P2P_BYTES, MAP_SHARED,
					 i));
		ASSERT_EQ(0, driver_unbind(nvme));
		ASSERT_EQ(SIGBUS, holder_touch(&h));
		ASSERT_NE(0, access(allocate, F_OK));
		ASSERT_EQ(0, driver_bind(nvme));
	}
}

int main(int argc, char **argv)
{
	need_devices();
	page = getpagesize();
	return test_harness_run(argc, argv);
}
