// SPDX-License-Identifier: GPL-2.0
/*
 * Show a file as a device sees it: mirror a private mapping of the file into an
 * HMM test device (lib/test_hmm.c), have the device read it through its mirror,
 * and write what it has read to stdout. The checksum of that has to be the
 * file's own.
 *
 * The CPU copies in place of the device, so this works for files of any size;
 * hmm-dma-demo has a device that does DMA. One thread, so no lock.
 */
#define _GNU_SOURCE
#include "kselftest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <lib/test_hmm_uapi.h>

#define PAGE		((size_t)4096)
#define READ_PAGES	64
#define READ_BYTES	(READ_PAGES * PAGE)

/* A part of the file is mapped at a time, so that it may be larger than memory. */
#define PART_BYTES	(64 * READ_BYTES)

#define DEVICE		"/dev/hmm_dmirror0"

static char data_buf[READ_BYTES];

static bool failed(const char *what)
{
	fprintf(stderr, "hmm-demo: %s: %s\n", what, strerror(errno));
	return false;
}

static size_t min_size(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* The device reads @npages pages at @addr into data_buf. */
static bool device_read(int device, char *addr, size_t npages)
{
	struct hmm_dmirror_cmd cmd = {
		.addr = (uintptr_t)addr,
		.ptr = (uintptr_t)data_buf,
		.npages = npages,
	};

	while (ioctl(device, HMM_DMIRROR_READ, &cmd)) {
		if (errno != EINTR)
			return failed("device read");
	}
	errno = EIO;
	return cmd.cpages == npages || failed("device read");
}

static bool write_out(size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = write(STDOUT_FILENO, data_buf + done, len - done);

		if (n < 0 && errno != EINTR)
			return failed("write");
		if (n > 0)
			done += n;
	}
	return true;
}

/* [@from, @from + @len) of the file, @from aligned to a page. */
static bool read_part(int device, int fd, size_t from, size_t len)
{
	char *p = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, from);
	bool ok = true;

	if (p == MAP_FAILED)
		return failed("mmap");
	for (size_t at = 0; ok && at < len; at += READ_BYTES) {
		size_t n = min_size(len - at, READ_BYTES);

		ok = device_read(device, p + at, (n + PAGE - 1) / PAGE) &&
		     write_out(n);
	}
	munmap(p, len);
	return ok;
}

static bool read_file(int device, int fd)
{
	struct stat st;
	size_t len;

	if (fstat(fd, &st))
		return failed("fstat");
	for (size_t from = 0; from < (size_t)st.st_size; from += len) {
		len = min_size(st.st_size - from, PART_BYTES);
		if (!read_part(device, fd, from, len))
			return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	int device, fd;
	bool ok;

	if (argc != 2) {
		fputs("usage: hmm-demo FILE\n", stderr);
		return 2;
	}
	device = open(DEVICE, O_RDWR | O_CLOEXEC);
	if (device < 0)
		return !failed(DEVICE " (is the module test_hmm loaded?)");
	fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return !failed(argv[1]);
	ok = sysconf(_SC_PAGESIZE) == (long)PAGE;
	if (!ok)
		fputs("hmm-demo: needs pages of 4 KiB\n", stderr);
	ok = ok && read_file(device, fd);
	close(fd);
	close(device);
	return !ok;
}
