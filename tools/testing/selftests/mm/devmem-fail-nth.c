// SPDX-License-Identifier: GPL-2.0
/*
 * What is left of device memory if no memory can be had for its struct pages:
 * nothing.
 *
 * Each test brings a device's memory again and again: the first time the first
 * allocation of memremap_pages(), or of pci_p2pdma_add_resource(), fails, then the
 * second one, until none is left to fail. A failure is -ENOMEM, the driver is not
 * bound then, and /proc/iomem and the size of the direct mapping are what they were;
 * a driver that can do without is bound without that memory. After each of them the
 * device comes as if nothing had happened, which it cannot where a memory map was
 * left. Other memory that leaks is seen by kmemleak.
 *
 * No failure is in the making of the direct mapping itself: x86 has no way to say so.
 *
 * See devmem_util.h for the environment that names the devices, and
 * fail_nth_util.h for what the kernel needs. No locks: there is one thread.
 */
#include "kselftest_harness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devmem_util.h"
#include "fail_nth_util.h"
#include "hmm_range_util.h"

#define MAX_NTH		1000	/* allocations of a call */

/* Whether the memory is there, as user space sees it. */
static bool works_pmem(void)
{
	const char *disk = getenv("DEVMEM_DISK");
	char sector[512];
	bool ok;
	int fd;

	if (!disk || !appears(disk))
		return false;
	fd = open(disk, O_RDONLY | O_CLOEXEC);
	ok = fd >= 0 && read(fd, sector, sizeof(sector)) == sizeof(sector);
	if (fd >= 0)
		close(fd);
	return ok;
}

/* A page of the device can be written and read back. */
static bool maps(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	bool ok = false;
	char *p;

	if (fd < 0)
		return false;
	p = mmap(NULL, 2 * MB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p == MAP_FAILED)
		return false;
	__atomic_store_n(p, 1, __ATOMIC_RELAXED);
	ok = __atomic_load_n(p, __ATOMIC_RELAXED) == 1;
	munmap(p, 2 * MB);
	return ok;
}

static bool works_dax(void)
{
	char path[64];

	snprintf(path, sizeof(path), "/dev/%s", binding_dax().device);
	return maps(path);
}

static bool works_p2p(struct binding b)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/p2pmem/allocate",
		 b.device);
	return maps(path);
}

static bool works_nvme(void)
{
	return works_p2p(binding_nvme());
}

static bool works_peer(void)
{
	return works_p2p(binding_peer());
}

static bool works_module(void)
{
	return appears("/dev/hmm_dmirror0");
}

/*
 * struct source - where memory comes from
 *
 * @binding: of a driver; NULL for the module
 * @within: what is to fail
 * @works: whether user space can have the memory
 * @optional: the driver can be bound without the memory
 */
struct source {
	struct binding (*binding)(void);
	const char *within;
	bool (*works)(void);
	bool optional;
};

struct nth {
	struct binding b;
	int fail;	/* fail-nth of this thread */
	bool was_there;
	char *iomem;	/* without the device */
	unsigned long direct;
};

FIXTURE(devmem_fail_nth) {
	struct nth s;
};

FIXTURE_VARIANT(devmem_fail_nth) {
	struct source source;
};

FIXTURE_VARIANT_ADD(devmem_fail_nth, pmem) {
	.source.binding = binding_pmem,
	.source.within = "memremap_pages",
	.source.works = works_pmem,
};

FIXTURE_VARIANT_ADD(devmem_fail_nth, devdax) {
	.source.binding = binding_dax,
	.source.within = "memremap_pages",
	.source.works = works_dax,
};

FIXTURE_VARIANT_ADD(devmem_fail_nth, test_hmm) {
	.source.within = "memremap_pages",
	.source.works = works_module,
};

FIXTURE_VARIANT_ADD(devmem_fail_nth, peer) {
	.source.binding = binding_peer,
	.source.within = "pci_p2pdma_add_resource",
	.source.works = works_peer,
};

FIXTURE_VARIANT_ADD(devmem_fail_nth, nvme) {
	.source.binding = binding_nvme,
	.source.within = "pci_p2pdma_add_resource",
	.source.works = works_nvme,
	.source.optional = true,
};

static int bring(struct nth *s)
{
	return s->b.device ? driver_bind(&s->b) : module_load();
}

static int take(struct nth *s)
{
	return s->b.device ? driver_unbind(&s->b) : module_unload();
}

static bool is_there(struct nth *s)
{
	return s->b.device ? driver_bound(&s->b) : module_loaded();
}

static bool nothing_left(struct nth *s)
{
	char *now = iomem_read();
	bool same = !strcmp(now, s->iomem);

	if (!same)
		ksft_print_msg("/proc/iomem is\n%sinstead of\n%s", now,
			       s->iomem);
	free(now);
	if (direct_map() != s->direct) {
		ksft_print_msg("%lu KiB are mapped instead of %lu\n",
			       direct_map(), s->direct);
		same = false;
	}
	return same && !is_there(s);
}

FIXTURE_SETUP(devmem_fail_nth)
{
	const struct source *from = &variant->source;
	struct nth *s = &self->s;

	s->fail = -1;
	s->b = (struct binding) { };
	if (from->binding) {
		s->b = from->binding();
		if (!s->b.device)
			SKIP(return, "no such device, see devmem_util.h");
	} else if (!getenv("DEVMEM_MODULE")) {
		SKIP(return, "no DEVMEM_MODULE");
	}
	/* Else it is bound by a worker, to which fail-nth does not apply. */
	if (s->b.device && binding_node(&s->b) >= 0)
		SKIP(return, "a device of a NUMA node");
	if (!inject_setup() ||
	    !inject_where(from->within, "init_memory_mapping"))
		SKIP(return, "no fault injection below a function");
	s->fail = inject_open();
	ASSERT_GE(s->fail, 0);
	s->was_there = is_there(s);
	if (s->was_there)
		ASSERT_EQ(0, take(s));
	s->direct = direct_map();
	s->iomem = iomem_read();
}

FIXTURE_TEARDOWN(devmem_fail_nth)
{
	struct nth *s = &self->s;

	if (s->fail < 0)
		return;
	inject_where(NULL, NULL);
	if (s->was_there && !is_there(s))
		bring(s);
	close(s->fail);
	free(s->iomem);
}

/* Whether allocation @n was there to fail; the device is gone in any case. */
static bool sweep_once(struct __test_metadata *_metadata, struct nth *s,
		       const struct source *from, unsigned int n,
		       unsigned int *failed)
{
	bool came, there;
	int err;

	ASSERT_TRUE(inject_begin(s->fail, n));
	err = bring(s);
	came = inject_end(s->fail);
	there = !err && from->works();
	if (!err)
		ASSERT_EQ(0, take(s));
	ASSERT_EQ(err ? ENOMEM : 0, err);
	ASSERT_TRUE(nothing_left(s)) {
		TH_LOG("after failure %u", n);
	}
	/* If a failure came, the driver could do without that allocation. */
	if (there)
		return came;

	ASSERT_TRUE(came && (err || from->optional));
	(*failed)++;
	ASSERT_EQ(0, bring(s));
	ASSERT_TRUE(from->works());
	ASSERT_EQ(0, take(s));
	ASSERT_TRUE(nothing_left(s));
	return true;
}

TEST_F_TIMEOUT(devmem_fail_nth, sweep, test_seconds())
{
	unsigned int n = 1, failed = 0;

	while (sweep_once(_metadata, &self->s, &variant->source, n,
			  &failed)) {
		n++;
		ASSERT_LT(n, MAX_NTH);
	}
	ksft_print_msg("%u allocations, %u failures\n", n - 1, failed);
	ASSERT_GT(failed, 0);
}

int main(int argc, char **argv)
{
	need_devices();
	page = getpagesize();
	return test_harness_run(argc, argv);
}
