// SPDX-License-Identifier: GPL-2.0
/*
 * Measures what RDMA writes and reads of memory cost that is pinned, or paged on
 * demand, and prints one line of JSON per measurement, as hmm-bench does and in
 * the same unit. The queue pair is connected to itself, so that a number is the
 * work of both ends. Its other buffer is pinned in all cases.
 *
 * Of on-demand memory there is warm, which the region has been used for before,
 * and cold, which nobody has touched yet.
 *
 * In a second pass all is done once more to count calls of HMM. Counting takes
 * instructions, so nothing is measured by then.
 *
 * No locks: one thread, one mapping at a time. Needs root.
 *
 * usage: rdma-bench [-k KERNEL] [-d DEVICE] [-g GID_INDEX] [BACKING...]
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <x86intrin.h>

#include <infiniband/verbs.h>

#include "bench_util.h"

#define SIZE		(64 * MB)
#define MESSAGE		PMD		/* what one work request transfers */
#define QUEUE		(SIZE / MESSAGE)
#define REPEAT		2
#define PATTERN		0x5a

#define ACCESS		(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | \
			 IBV_ACCESS_REMOTE_READ)

enum memory { PINNED, WARM, COLD, IMPLICIT };

static const struct backing {
	const char *name;
	bool huge;
} backings[] = {
	{ "4k",		false },
	{ "thp-2m",	true },
};

/**
 * struct row - one number to be measured
 * @op: in the output
 * @memory: how the region gets its pages
 * @opcode: what is done to it
 * @size: bytes
 */
static const struct row {
	const char *op;
	enum memory memory;
	enum ibv_wr_opcode opcode;
	size_t size;
} rows[] = {
	{ "rdma-write-pinned",	 PINNED,   IBV_WR_RDMA_WRITE, SIZE },
	{ "rdma-write-warm",	 WARM,	   IBV_WR_RDMA_WRITE, SIZE },
	{ "rdma-write-implicit", IMPLICIT, IBV_WR_RDMA_WRITE, SIZE },
	{ "rdma-write-cold",	 COLD,	   IBV_WR_RDMA_WRITE, SIZE },
	{ "rdma-write-cold",	 COLD,	   IBV_WR_RDMA_WRITE, PMD },
	{ "rdma-read-pinned",	 PINNED,   IBV_WR_RDMA_READ,  SIZE },
	{ "rdma-read-warm",	 WARM,	   IBV_WR_RDMA_READ,  SIZE },
	{ "rdma-read-implicit",	 IMPLICIT, IBV_WR_RDMA_READ,  SIZE },
	{ "rdma-read-cold",	 COLD,	   IBV_WR_RDMA_READ,  SIZE },
	{ "rdma-read-cold",	 COLD,	   IBV_WR_RDMA_READ,  PMD },
};

/* What has been measured of a row. */
struct result {
	__u64 cycles;
	__u64 calls;		/* of HMM */
	unsigned int repeat;	/* 0: this kernel does not have it */
};

static const char usage[] =
	"usage: rdma-bench [-k KERNEL] [-d DEVICE] [-g GID_INDEX] [BACKING...]\n";
static const char *kernel = "?", *device = "rxe0";
static int gid_index, pagemap;

static struct ibv_context *context;
static struct ibv_pd *pd;
static struct ibv_comp_channel *channel;
static struct ibv_cq *cq;
static struct ibv_qp *qp;
static struct ibv_mr *local;	/* one message */

/* ---- the queue pair ---- */

static struct ibv_context *open_device(void)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	struct ibv_context *c = NULL;
	int i;

	for (i = 0; list && list[i]; i++) {
		if (!strcmp(ibv_get_device_name(list[i]), device))
			c = ibv_open_device(list[i]);
	}
	if (!c)
		errx(1, "no RDMA device %s", device);
	ibv_free_device_list(list);
	return c;
}

static void modify(struct ibv_qp_attr *attr, int mask)
{
	int ret = ibv_modify_qp(qp, attr, mask);

	if (ret)
		errx(1, "modifying the queue pair to state %d: %s",
		     attr->qp_state, strerror(ret));
}

/* The queue pair becomes its own peer. */
static void connect_qp(void)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.port_num = 1,
		.qp_access_flags = ACCESS,
	};

	modify(&attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT |
		      IBV_QP_ACCESS_FLAGS);
	attr = (struct ibv_qp_attr) {
		.qp_state = IBV_QPS_RTR,
		.path_mtu = IBV_MTU_4096,
		.dest_qp_num = qp->qp_num,
		.max_dest_rd_atomic = 16,
		.min_rnr_timer = 12,
		.ah_attr = {
			.is_global = 1,
			.port_num = 1,
			.grh = { .sgid_index = gid_index, .hop_limit = 1 },
		},
	};
	if (ibv_query_gid(context, 1, gid_index, &attr.ah_attr.grh.dgid))
		errx(1, "no GID %d", gid_index);
	modify(&attr, IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU |
		      IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
		      IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
	attr = (struct ibv_qp_attr) {
		.qp_state = IBV_QPS_RTS,
		.timeout = 18,		/* 1 s */
		.retry_cnt = 7,
		.rnr_retry = 7,
		.max_rd_atomic = 16,
	};
	modify(&attr, IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
		      IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
}

static struct ibv_mr *register_or_die(char *addr, size_t size, int access)
{
	struct ibv_mr *mr = ibv_reg_mr(pd, addr, size, access);

	if (!mr)
		err(1, "registering %zu bytes, access %#x", size, access);
	return mr;
}

static void set_up(void)
{
	struct ibv_qp_init_attr init = {
		.cap = {
			.max_send_wr = QUEUE, .max_recv_wr = 1,
			.max_send_sge = 1, .max_recv_sge = 1,
		},
		.qp_type = IBV_QPT_RC,
	};
	char *buffer;

	context = open_device();
	pd = ibv_alloc_pd(context);
	channel = ibv_create_comp_channel(context);
	if (!pd || !channel)
		err(1, "no protection domain or channel");
	cq = ibv_create_cq(context, 2 * QUEUE, NULL, channel, 0);
	if (!cq)
		err(1, "no completion queue");
	init.send_cq = cq;
	init.recv_cq = cq;
	qp = ibv_create_qp(pd, &init);
	if (!qp)
		err(1, "no queue pair");
	connect_qp();

	buffer = aligned_alloc(PMD, MESSAGE);
	if (!buffer)
		errx(1, "out of memory");
	memset(buffer, PATTERN, MESSAGE);
	local = register_or_die(buffer, MESSAGE, ACCESS);
}

static void post(const struct row *r, struct ibv_mr *mr, size_t offset)
{
	size_t left = r->size - offset;
	struct ibv_sge sge = {
		.addr = (uintptr_t)local->addr,
		.length = left < MESSAGE ? left : MESSAGE,
		.lkey = local->lkey,
	};
	struct ibv_send_wr wr = {
		.sg_list = &sge,
		.num_sge = 1,
		.opcode = r->opcode,
		.send_flags = left <= MESSAGE ? IBV_SEND_SIGNALED : 0,
		.wr.rdma = {
			.remote_addr = (uintptr_t)ADDRESS + offset,
			.rkey = mr->rkey,
		},
	}, *bad;
	int ret = ibv_post_send(qp, &wr, &bad);

	if (ret)
		errx(1, "%s: ibv_post_send: %s", r->op, strerror(ret));
}

/* Sleeps until the last message is through: polling would be measured, too. */
static void transfer(const struct row *r, struct ibv_mr *mr)
{
	struct ibv_wc wc = {};
	struct ibv_cq *which;
	void *unused;
	size_t offset;

	if (ibv_req_notify_cq(cq, 0))
		errx(1, "ibv_req_notify_cq failed");
	for (offset = 0; offset < r->size; offset += MESSAGE)
		post(r, mr, offset);
	if (ibv_get_cq_event(channel, &which, &unused))
		err(1, "ibv_get_cq_event");
	ibv_ack_cq_events(cq, 1);
	if (ibv_poll_cq(cq, 1, &wc) != 1 || wc.status)
		errx(1, "%s of %zu bytes: %s", r->op, r->size,
		     ibv_wc_status_str(wc.status));
}

/* ---- measuring ---- */

static char *map(const struct backing *b, size_t size)
{
	char *p = mmap(ADDRESS, size, PROT_READ | PROT_WRITE, MAP_PRIVATE |
		       MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE,
		       -1, 0);

	if (p != ADDRESS)
		err(1, "mmap of %zu bytes", size);
	if (madvise(p, size, b->huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE))
		err(1, "madvise");
	return p;
}

static struct ibv_mr *region(const struct row *r)
{
	switch (r->memory) {
	case PINNED:
		return register_or_die(ADDRESS, r->size, ACCESS);
	case IMPLICIT:
		return ibv_reg_mr(pd, NULL, SIZE_MAX,
				  ACCESS | IBV_ACCESS_ON_DEMAND);
	default:
		return register_or_die(ADDRESS, r->size,
				       ACCESS | IBV_ACCESS_ON_DEMAND);
	}
}

static void measure(const struct row *r, struct ibv_mr *mr, struct result *res)
{
	__u64 calls = counting ? hmm_calls() : 0, cycles = __rdtsc();

	transfer(r, mr);
	cycles = __rdtsc() - cycles;
	if (counting)
		res->calls = hmm_calls() - calls;
	else if (cycles < res->cycles)
		res->cycles = cycles;
}

/* Did the bytes get there, and are the pages what the backing's name says? */
static void verify(const struct backing *b, const struct row *r, char *p)
{
	char want = r->memory == COLD && r->opcode == IBV_WR_RDMA_READ ? 0 :
								     PATTERN;
	char *at = r->opcode == IBV_WR_RDMA_READ ? local->addr : p;
	size_t size = at == p ? r->size : MESSAGE, huge, i;

	for (i = 0; i < size; i++) {
		if (at[i] != want)
			errx(1, "%s: byte %zu is wrong", r->op, i);
	}
	memset(local->addr, PATTERN, MESSAGE);
	huge = huge_pages(pagemap, p, r->size);
	if (want && huge != (b->huge ? r->size / PAGE : 0))
		errx(1, "%s: %zu of %zu pages are mapped huge", b->name, huge,
		     r->size / PAGE);
}

/*
 * Measures @repeat times, on memory that the region has been used for if it is to
 * be warm. False if this kernel does not have such regions.
 */
static bool run_region(const struct backing *b, const struct row *r,
		       unsigned int repeat, struct result *res)
{
	char *p = map(b, r->size);
	struct ibv_mr *mr;

	if (r->memory != COLD)
		memset(p, PATTERN, r->size);
	mr = region(r);
	if (mr) {
		if (r->memory == WARM || r->memory == IMPLICIT)
			transfer(r, mr);
		if (r->opcode == IBV_WR_RDMA_READ)
			memset(local->addr, ~PATTERN, MESSAGE);
		while (repeat--)
			measure(r, mr, res);
		verify(b, r, p);
		ibv_dereg_mr(mr);
	}
	unmap(p, r->size);
	return mr;
}

static void run(const struct backing *b, const struct row *r,
		struct result *res)
{
	unsigned int n, repeat = counting ? 1 : REPEAT;
	bool have;

	if (!counting)
		res->cycles = UINT64_MAX;
	if (r->memory != COLD) {
		have = run_region(b, r, repeat, res);
	} else {
		/* Only the first touch is one. */
		for (n = 0; n < repeat; n++)
			have = run_region(b, r, 1, res);
	}
	if (have && !counting)
		res->repeat = repeat;
}

static void report(const struct backing *b, const struct row *r,
		   const struct result *res)
{
	printf("{\"kernel\":\"%s\",\"op\":\"%s\",\"backing\":\"%s\",\"size\":%zu,",
	       kernel, r->op, b->name, r->size);
	printf("\"calls\":1,\"repeat\":%u,\"per_call\":%.1f,\"per_page\":%.6f,",
	       res->repeat, (double)res->cycles,
	       (double)res->cycles / (r->size / PAGE));
	printf("\"hmm_calls\":%llu}\n", res->calls);
}

static struct result results[ARRAY_SIZE(backings)][ARRAY_SIZE(rows)];

static const char *backing_name(size_t b)
{
	return backings[b].name;
}

static void measure_backing(size_t b)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++)
		run(&backings[b], &rows[i], &results[b][i]);
}

static void bench(char **names)
{
	size_t b, i;

	measure_and_count("RDMA", ARRAY_SIZE(backings), backing_name,
			  measure_backing, names);
	for (b = 0; b < ARRAY_SIZE(backings); b++) {
		for (i = 0; i < ARRAY_SIZE(rows); i++) {
			if (results[b][i].repeat)
				report(&backings[b], &rows[i], &results[b][i]);
		}
	}
}

int main(int argc, char **argv)
{
	int opt;

	while ((opt = getopt(argc, argv, "d:g:k:")) != -1) {
		switch (opt) {
		case 'd':
			device = optarg;
			break;
		case 'g':
			gid_index = atoi(optarg);
			break;
		case 'k':
			kernel = optarg;
			break;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	check_clock();
	pagemap = open_or_die("/proc/self/pagemap", O_RDONLY);
	set_thp("2048", "enabled", true);
	set_up();
	bench(argv + optind);
	return 0;
}
