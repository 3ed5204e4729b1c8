// SPDX-License-Identifier: GPL-2.0
/*
 * Measures what it takes to map 64 GiB of device memory and to take it away again:
 * a device-dax device of a namespace that ndctl has made is bound to its driver,
 * which has memremap_pages() make struct pages of it, and unbound. Prints one line
 * of JSON per measurement, as hmm-bench does and in the same unit. What the driver
 * core does besides is some ten thousand instructions of hundreds of millions. To
 * take it away is a few millions, and some of them go by while RCU is waited for: the
 * clock counts on, so the same kernel can take half as much again in the next run.
 *
 * No locks: one thread. Needs root; the job that runs it makes the namespace.
 *
 * usage: devmem-bench [-k KERNEL] BACKING DEVICE
 *	BACKING: name of the row, devdax-4k
 *	DEVICE: name on the dax bus (dax0.0); it is bound at the beginning and the end
 */
#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <x86intrin.h>

#include "bench_util.h"

#define SIZE	(64 * GB)	/* of the namespace, its memory map included */
#define REPEAT	5
#define DRIVER	"/sys/bus/dax/drivers/device_dax/"

static const char usage[] = "usage: devmem-bench [-k KERNEL] BACKING DEVICE\n";

/* Pages that the device has. */
static unsigned long device_pages(const char *device)
{
	char path[64], value[32] = "";
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/dax/devices/%s/size", device);
	fd = open_or_die(path, O_RDONLY);
	n = read(fd, value, sizeof(value) - 1);
	close(fd);
	if (n <= 0 || strtoul(value, NULL, 0) < SIZE / 2)
		errx(1, "%s has '%s' bytes", device, value);
	return strtoul(value, NULL, 0) / PAGE;
}

static __u64 cycles_of(const char *file, const char *device)
{
	__u64 begin = __rdtsc();

	write_file(file, device);
	return __rdtsc() - begin;
}

static void report(const char *kernel, const char *op, const char *backing,
		   __u64 cycles, unsigned long pages)
{
	printf("{\"kernel\":\"%s\",\"op\":\"%s\",\"backing\":\"%s\",\"size\":%lu,",
	       kernel, op, backing, SIZE);
	printf("\"calls\":1,\"repeat\":%u,\"per_call\":%.1f,\"per_page\":%.6f}\n",
	       REPEAT, (double)cycles, (double)cycles / pages);
}

static void bench(const char *kernel, const char *backing, const char *device)
{
	__u64 unmap = UINT64_MAX, map = UINT64_MAX, cycles;
	unsigned long pages = device_pages(device);
	int i;

	for (i = 0; i < REPEAT; i++) {
		printf("# RUN devmem %s, pass %d\n", backing, i + 1);
		fflush(stdout);
		cycles = cycles_of(DRIVER "unbind", device);
		unmap = cycles < unmap ? cycles : unmap;
		cycles = cycles_of(DRIVER "bind", device);
		map = cycles < map ? cycles : map;
	}
	report(kernel, "devmem-map", backing, map, pages);
	report(kernel, "devmem-unmap", backing, unmap, pages);
}

int main(int argc, char **argv)
{
	const char *kernel = "?";
	int opt;

	while ((opt = getopt(argc, argv, "k:")) != -1) {
		switch (opt) {
		case 'k':
			kernel = optarg;
			break;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (argc - optind != 2) {
		fputs(usage, stderr);
		return 2;
	}
	check_clock();
	bench(kernel, argv[optind], argv[optind + 1]);
	return 0;
}
