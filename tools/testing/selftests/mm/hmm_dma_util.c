// SPDX-License-Identifier: GPL-2.0
/*
 * What the programs that use the devices of lib/test_hmm_dma.c share; each
 * function is described in hmm_dma_util.h. No locks: one thread has the runs.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "hmm_dma_util.h"
#include "kselftest.h"

struct hmm_dma_test_run *dma_runs;
unsigned int dma_nr_runs;

int dma_open(unsigned int n)
{
	char path[32];

	snprintf(path, sizeof(path), "/dev/hmm_dma%u", n);
	return open(path, O_RDWR | O_CLOEXEC);
}

/* 1 if an ioctl has failed, else its result. */
static int result_of(const char *what, int ret, int result)
{
	if (!ret)
		return result;
	ksft_print_msg("%s: %s\n", what, strerror(errno));
	return 1;
}

int dma_mirror_flags(int fd, const void *p, size_t len, unsigned int flags)
{
	struct hmm_dma_test_mirror cmd = {
		.start = (uintptr_t)p,
		.length = len,
		.flags = flags,
	};
	int ret = ioctl(fd, HMM_DMA_TEST_MIRROR, &cmd);

	return result_of("mirror", ret, cmd.result);
}

int dma_mirror(int fd, const void *p, size_t len)
{
	return dma_mirror_flags(fd, p, len, 0);
}

static struct hmm_dma_test_fault fault_of(const void *p, size_t len,
					  unsigned int flags)
{
	if (!dma_runs)
		dma_runs = calloc(DMA_MAX_RUNS, sizeof(*dma_runs));
	if (!dma_runs)
		ksft_exit_fail_msg("no memory\n");
	dma_nr_runs = 0;
	return (struct hmm_dma_test_fault) {
		.start = (uintptr_t)p,
		.length = len,
		.runs = (uintptr_t)dma_runs,
		.max_runs = DMA_MAX_RUNS,
		.flags = flags,
		.timeout_ms = DMA_TIMEOUT_MS,
	};
}

/* Not more runs than there is room for. */
static void set_nr_runs(const struct hmm_dma_test_fault *cmd)
{
	if (cmd->nr_runs > DMA_MAX_RUNS)
		ksft_exit_fail_msg("%u runs are too many\n", cmd->nr_runs);
	dma_nr_runs = cmd->nr_runs;
}

int dma_fault(int fd, const void *p, size_t len, unsigned int flags)
{
	struct hmm_dma_test_fault cmd = fault_of(p, len, flags);
	int ret = ioctl(fd, HMM_DMA_TEST_FAULT, &cmd);

	if (!ret)
		set_nr_runs(&cmd);
	return result_of("fault", ret, cmd.result);
}

int dma_hand(int fd, const void *p, size_t len, unsigned int flags, void *buf,
	     size_t size)
{
	struct hmm_dma_test_hand cmd = {
		.fault = fault_of(p, len, flags),
		.buffer = (uintptr_t)buf,
		.size = size,
	};
	int ret = ioctl(fd, HMM_DMA_TEST_HAND, &cmd);

	if (!ret)
		set_nr_runs(&cmd.fault);
	return result_of("hand", ret, cmd.fault.result);
}

__u64 dma_addr(const void *p)
{
	size_t page = getpagesize();
	unsigned int i;

	for (i = 0; i < dma_nr_runs; i++) {
		__u64 into = (uintptr_t)p - dma_runs[i].start;

		if (into < dma_runs[i].npages * page)
			return dma_runs[i].addr + into;
	}
	return 0;
}

size_t dma_pages(void)
{
	size_t sum = 0;
	unsigned int i;

	for (i = 0; i < dma_nr_runs; i++)
		sum += dma_runs[i].npages;
	return sum;
}

static int transfer(int fd, unsigned long code, struct hmm_dma_test_copy cmd)
{
	int ret = ioctl(fd, code, &cmd);

	return result_of("transfer", ret, cmd.result);
}

int dma_copy(int fd, const void *p, void *buf, size_t size, unsigned int flags)
{
	return transfer(fd, HMM_DMA_TEST_COPY, (struct hmm_dma_test_copy) {
		.addr = (uintptr_t)p,
		.buffer = (uintptr_t)buf,
		.size = size,
		.flags = flags,
		.timeout_ms = DMA_TIMEOUT_MS,
	});
}

int dma_read(int fd, const void *p, void *buf, size_t size)
{
	return dma_copy(fd, p, buf, size, 0);
}

int dma_write(int fd, void *p, const void *buf, size_t size)
{
	return dma_copy(fd, p, (void *)buf, size, HMM_DMA_TEST_WRITE);
}

int dma_raw(int fd, __u64 addr, void *buf, size_t size, unsigned int flags)
{
	return transfer(fd, HMM_DMA_TEST_RAW, (struct hmm_dma_test_copy) {
		.addr = addr,
		.buffer = (uintptr_t)buf,
		.size = size,
		.flags = flags,
	});
}

int dma_drop(int fd, const void *p, size_t len)
{
	struct hmm_dma_test_drop cmd = {
		.start = (uintptr_t)p,
		.length = len,
	};

	return result_of("drop", ioctl(fd, HMM_DMA_TEST_DROP, &cmd), 0);
}

struct hmm_dma_test_status dma_status(int fd)
{
	struct hmm_dma_test_status status = { };

	if (ioctl(fd, HMM_DMA_TEST_STATUS, &status))
		ksft_exit_fail_msg("status: %s\n", strerror(errno));
	return status;
}

size_t dma_domain(int fd, __u64 addr, size_t n)
{
	struct hmm_dma_test_domain cmd = { .addr = addr, .npages = n };

	if (ioctl(fd, HMM_DMA_TEST_DOMAIN, &cmd))
		ksft_exit_fail_msg("domain: %s\n", strerror(errno));
	return cmd.mapped;
}

const char *dma_sysfs(unsigned int n)
{
	static char real[PATH_MAX];
	char path[64];

	snprintf(path, sizeof(path), "/sys/class/misc/hmm_dma%u/device", n);
	return realpath(path, real);
}
