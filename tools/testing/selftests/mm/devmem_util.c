// SPDX-License-Identifier: GPL-2.0
/*
 * What the tests of the life cycle of device memory share; each function is
 * described in devmem_util.h. No locks: one thread, and children that share
 * nothing with it but two pipes.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "devmem_util.h"
#include "hmm_range_util.h"
#include "kselftest.h"

#define WAIT_MS		10000
#define HOLDER_MS	60000
#define IOMEM_STEP	65536UL

struct binding binding_pmem(void)
{
	return (struct binding) { "/sys/bus/nd/drivers/nd_pmem",
				  getenv("DEVMEM_PMEM") };
}

struct binding binding_dax(void)
{
	return (struct binding) { "/sys/bus/dax/drivers/device_dax",
				  getenv("DEVMEM_DAX") };
}

struct binding binding_edu(void)
{
	return (struct binding) { "/sys/bus/pci/drivers/hmm_dma",
				  getenv("DEVMEM_EDU") };
}

struct binding binding_nvme(void)
{
	return (struct binding) { "/sys/bus/pci/drivers/nvme",
				  getenv("DEVMEM_NVME") };
}

struct binding binding_peer(void)
{
	return (struct binding) { "/sys/bus/pci/drivers/hmm_dma_peer",
				  getenv("DEVMEM_PEER") };
}

static int driver_write(const struct binding *b, const char *file)
{
	char path[128];
	int fd, err = 0;

	snprintf(path, sizeof(path), "%s/%s", b->driver, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	if (write(fd, b->device, strlen(b->device)) < 0)
		err = errno;
	close(fd);
	return err;
}

int driver_bind(const struct binding *b)
{
	return driver_write(b, "bind");
}

int driver_unbind(const struct binding *b)
{
	return driver_write(b, "unbind");
}

bool driver_bound(const struct binding *b)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", b->driver, b->device);
	return !access(path, F_OK);
}

void need_devices(void)
{
	static const char *const names[] = {
		"DEVMEM_PMEM", "DEVMEM_DAX", "DEVMEM_EDU", "DEVMEM_NVME",
		"DEVMEM_PEER", "DEVMEM_MODULE",
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++)
		if (getenv(names[i]))
			return;
	ksft_print_header();
	ksft_exit_skip("no DEVMEM_* names a device, see devmem_util.h\n");
}

/* A number of the environment, @unset if it has none that makes sense. */
static int number(const char *name, int unset)
{
	const char *value = getenv(name);
	int n = value ? atoi(value) : 0;

	return n > 0 ? n : unset;
}

unsigned int rounds(void)
{
	return number("DEVMEM_ROUNDS", 10);
}

/* Asked before main(), when the tests are registered. */
int test_seconds(void)
{
	return number("DEVMEM_SECONDS", 300);
}

bool module_loaded(void)
{
	return !access("/sys/module/test_hmm", F_OK);
}

int module_load(void)
{
	const char *file = getenv("DEVMEM_MODULE");
	const char *params = getenv("DEVMEM_PARAMS");
	int fd = open(file ? file : "", O_RDONLY | O_CLOEXEC), err = 0;

	if (fd < 0)
		return errno;
	if (syscall(SYS_finit_module, fd, params ? params : "", 0))
		err = errno;
	close(fd);
	return err;
}

int module_unload(void)
{
	return syscall(SYS_delete_module, "test_hmm", O_NONBLOCK) ? errno : 0;
}

/* Both of the program's outputs as comments of the test. */
static void show(int fd)
{
	char line[256];
	FILE *f = fdopen(fd, "r");

	if (!f)
		return;
	rewind(f);
	while (fgets(line, sizeof(line), f))
		ksft_print_msg("%s", line);
	fclose(f);
}

int run(const char *const argv[])
{
	int out = memfd_create("out", MFD_CLOEXEC);
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		dup2(out, STDOUT_FILENO);
		dup2(out, STDERR_FILENO);
		execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		status = -1;
	status = WIFEXITED(status) ? WEXITSTATUS(status) : 255;
	if (status) {
		ksft_print_msg("%s ended with %d\n", argv[0], status);
		show(out);
	} else {
		close(out);
	}
	return status;
}

bool appears(const char *path)
{
	int i;

	for (i = 0; i < WAIT_MS / 10; i++) {
		if (!access(path, F_OK))
			return true;
		usleep(10000);
	}
	return false;
}

char *iomem_read(void)
{
	int fd = open("/proc/iomem", O_RDONLY | O_CLOEXEC);
	size_t n = 0, size = 0;
	char *text = NULL;
	ssize_t got = 1;

	while (fd >= 0 && got > 0) {
		if (size - n < 2) {
			size += IOMEM_STEP;
			text = realloc(text, size);
			if (!text)
				break;
		}
		got = read(fd, text + n, size - 1 - n);
		n += got > 0 ? got : 0;
	}
	if (fd < 0 || !text || got < 0)
		ksft_exit_fail_msg("/proc/iomem: %s\n", strerror(errno));
	close(fd);
	text[n] = '\0';
	return text;
}

unsigned long direct_map(void)
{
	FILE *f = fopen("/proc/meminfo", "r");
	unsigned long kb, sum = 0;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "DirectMap%*[^:]: %lu", &kb) == 1)
			sum += kb;
	if (f)
		fclose(f);
	return sum;
}

int binding_node(const struct binding *b)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/numa_node",
		 b->device);
	return access(path, F_OK) ? -1 : (int)setting_number(path);
}

/* ---- a child with a mapping ---- */

static void touch(unsigned char *p, size_t len, unsigned char byte)
{
	size_t i, page = getpagesize();

	for (i = 0; i < len; i += page)
		__atomic_store_n(p + i, byte, __ATOMIC_RELAXED);
}

/* Ends the child: status 1 if it cannot map, 2 if nobody answers, 0 if all can be touched. */
static void hold(int ready, int go, const char *path, size_t len, int flags,
		 unsigned char byte)
{
	struct pollfd answer = { .fd = go, .events = POLLIN };
	int fd = open(path, O_RDWR);
	unsigned char *p;

	if (fd < 0)
		_exit(1);
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, flags, fd, 0);
	close(fd);
	if (p == MAP_FAILED)
		_exit(1);
	touch(p, len, byte);
	if (write(ready, "", 1) != 1 || poll(&answer, 1, HOLDER_MS) != 1)
		_exit(2);
	touch(p, len, byte);
	_exit(0);
}

bool holder_start(struct holder *h, const char *path, size_t len, int flags,
		  unsigned char byte)
{
	int ready[2], go[2];
	struct pollfd said;

	if (pipe2(ready, O_CLOEXEC) || pipe2(go, O_CLOEXEC))
		return false;
	h->pid = fork();
	if (!h->pid) {
		close(ready[0]);
		close(go[1]);
		signal(SIGBUS, SIG_DFL);
		hold(ready[1], go[0], path, len, flags, byte);
	}
	close(ready[1]);
	close(go[0]);
	h->ready = ready[0];
	h->go = go[1];
	said = (struct pollfd) { .fd = h->ready, .events = POLLIN };
	return h->pid > 0 && poll(&said, 1, HOLDER_MS) == 1 &&
	       said.revents & POLLIN;
}

int holder_touch(struct holder *h)
{
	int status = 0;

	/* If it has died already, nobody reads this. */
	signal(SIGPIPE, SIG_IGN);
	if (write(h->go, "", 1) != 1 && errno != EPIPE)
		ksft_print_msg("pipe: %s\n", strerror(errno));
	close(h->go);
	close(h->ready);
	if (waitpid(h->pid, &status, 0) != h->pid)
		return -1;
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}
