/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of the life cycle of device memory share: drivers that are
 * bound and unbound through sysfs, modules that come and go, and children that
 * have device memory mapped meanwhile.
 *
 * Where a device is comes from the environment, as tests cannot find out which of
 * the machine's devices they may take away:
 *
 *	DEVMEM_PMEM	a pmem namespace in fsdax or raw mode (namespace0.0), the
 *			disk of which is DEVMEM_DISK (/dev/pmem0); its data is lost
 *	DEVMEM_DAX	a device-dax device (dax1.0)
 *	DEVMEM_EDU	PCI device that test_hmm_dma drives (0000:00:04.0)
 *	DEVMEM_NVME	PCI device of an NVMe controller with a memory buffer
 *	DEVMEM_PEER	an ivshmem device that test_hmm_dma makes peer memory of
 *	DEVMEM_MODULE	file of test_hmm.ko, with DEVMEM_PARAMS as its parameters
 *	DEVMEM_ROUNDS	how often each device comes and goes (10)
 *	DEVMEM_SECONDS	for one test (300), more where the clock counts instructions
 *
 * Without any of these, a program skips as a whole.
 *
 * No state but that of the machine, and one thread.
 */
#ifndef DEVMEM_UTIL_H
#define DEVMEM_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* A driver's folder in sysfs and one of its devices. */
struct binding {
	const char *driver;	/* /sys/bus/BUS/drivers/DRIVER */
	const char *device;	/* name; NULL if the environment does not tell */
};

/* The devices named by the environment. */
struct binding binding_pmem(void);
struct binding binding_dax(void);
struct binding binding_edu(void);
struct binding binding_nvme(void);
struct binding binding_peer(void);

/* 0, or the errno of the write to the driver's "bind" or "unbind". */
int driver_bind(const struct binding *b);
int driver_unbind(const struct binding *b);
bool driver_bound(const struct binding *b);

/* Ends the program with a skip if the environment names no device. */
void need_devices(void);

/* DEVMEM_ROUNDS. */
unsigned int rounds(void);

/* How long a test may take: DEVMEM_SECONDS, of 900 that all of this folder have. */
int test_seconds(void);

/* Whether test_hmm is there; loads or unloads it: 0 or an errno. */
bool module_loaded(void);
int module_load(void);
int module_unload(void);

/* Runs a program without a word, unless it fails: its exit status, 127 if there is none. */
int run(const char *const argv[]);

/* Waits for a file to appear: whether it has, in ten seconds. */
bool appears(const char *path);

/* All of /proc/iomem, to be freed; what a driver has left there is seen by it. */
char *iomem_read(void);

/* How much memory has an entry in the kernel's direct mapping, in KiB; 0: no telling. */
unsigned long direct_map(void);

/* The NUMA node of a device that a PCI driver is bound to, -1 if it has none. */
int binding_node(const struct binding *b);

/* A child that has memory mapped. */
struct holder {
	pid_t pid;
	int ready;	/* it writes a byte when it has touched all of it */
	int go;		/* it touches it again when it reads one */
};

/*
 * Starts a child that maps @len bytes of @path, shared and with @flags, writes
 * @byte to each page and waits. Whether it got that far.
 */
bool holder_start(struct holder *h, const char *path, size_t len, int flags,
		  unsigned char byte);

/*
 * Lets it touch each page again: the signal that it dies of, 0 if none. It has
 * died before if it was killed when the memory went.
 */
int holder_touch(struct holder *h);

#endif /* DEVMEM_UTIL_H */
