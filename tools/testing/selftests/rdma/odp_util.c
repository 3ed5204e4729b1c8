// SPDX-License-Identifier: GPL-2.0
/*
 * What the RDMA programs that test on-demand paging share; each function is
 * described in odp_util.h. No locks: a link is one thread's.
 */
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "odp_util.h"

#include <rdma/ib_user_ioctl_cmds.h>
#include <rdma/rdma_user_ioctl_cmds.h>
#include <rdma/rdma_user_rxe.h>

#include "kselftest.h"

#define PORT		1
#define DEPTH		64	/* requests in a queue */
#define PSN		1

#define must(what) do {							\
	if (!(what))							\
		ksft_exit_fail_msg("%s: %s\n", #what, strerror(errno));	\
} while (0)

/* ---- a device ---- */

static struct ibv_context *open_named(const char *name)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	struct ibv_context *ctx = NULL;
	size_t i;

	for (i = 0; list && list[i] && !ctx; i++) {
		const char *is = ibv_get_device_name(list[i]);

		if (name ? !strcmp(is, name) : !strncmp(is, "rxe", 3))
			ctx = ibv_open_device(list[i]);
	}
	if (list)
		ibv_free_device_list(list);
	return ctx;
}

/* An IPv4 address if there is one, or else any that is not empty. */
static bool find_gid(struct odp_dev *dev, int len)
{
	static const uint8_t v4[12] = { [10] = 0xff, [11] = 0xff };
	bool found = false;
	int i;

	for (i = 0; i < len; i++) {
		union ibv_gid gid;

		if (ibv_query_gid(dev->ctx, PORT, i, &gid) ||
		    !gid.global.interface_id)
			continue;
		if (found && memcmp(gid.raw, v4, sizeof(v4)))
			continue;
		dev->gid = gid;
		dev->gid_index = i;
		found = true;
	}
	return found;
}

const char *odp_open(struct odp_dev *dev)
{
	struct ibv_port_attr port;

	memset(dev, 0, sizeof(*dev));
	dev->ctx = open_named(getenv("RDMA_DEVICE"));
	if (!dev->ctx)
		return "no RDMA device: rdma link add rxe0 type rxe netdev NAME";
	must(!ibv_query_port(dev->ctx, PORT, &port));
	/* An empty entry ends the table in practice; it may be long. */
	if (port.state != IBV_PORT_ACTIVE ||
	    !find_gid(dev, port.gid_tbl_len < 16 ? port.gid_tbl_len : 16))
		return "the RDMA device's port is not up";
	dev->mtu = port.active_mtu;
	dev->pd = ibv_alloc_pd(dev->ctx);
	must(dev->pd);
	return NULL;
}

void odp_close(struct odp_dev *dev)
{
	if (dev->pd)
		ibv_dealloc_pd(dev->pd);
	if (dev->ctx)
		ibv_close_device(dev->ctx);
	memset(dev, 0, sizeof(*dev));
}

/* ---- a link ---- */

static struct ibv_qp *make_qp(struct odp_link *link)
{
	struct ibv_qp_init_attr_ex init = {
		.send_cq = link->cq,
		.recv_cq = link->cq,
		.cap = {
			.max_send_wr = DEPTH,
			.max_recv_wr = DEPTH,
			.max_send_sge = 2,
			.max_recv_sge = 2,
		},
		.qp_type = IBV_QPT_RC,
		.comp_mask = IBV_QP_INIT_ATTR_PD |
			     IBV_QP_INIT_ATTR_SEND_OPS_FLAGS,
		.pd = link->dev->pd,
		.send_ops_flags = IBV_QP_EX_WITH_RDMA_WRITE |
				  IBV_QP_EX_WITH_BIND_MW,
	};

	return ibv_create_qp_ex(link->dev->ctx, &init);
}

static void to_init(struct ibv_qp *qp)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.port_num = PORT,
		.qp_access_flags = IBV_ACCESS_LOCAL_WRITE |
				   IBV_ACCESS_REMOTE_READ |
				   IBV_ACCESS_REMOTE_WRITE |
				   IBV_ACCESS_REMOTE_ATOMIC |
				   ODP_FLUSH_GLOBAL | ODP_FLUSH_PERSISTENT,
	};

	must(!ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX |
			    IBV_QP_PORT | IBV_QP_ACCESS_FLAGS));
}

/*
 * An answer may take as long as it takes to fault in a huge page on a slow
 * machine: 4 s for each of 8 tries.
 */
static void to_ready(struct odp_link *link, struct ibv_qp *qp,
		     struct ibv_qp *peer)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_RTR,
		.path_mtu = link->mtu,
		.dest_qp_num = peer->qp_num,
		.rq_psn = PSN,
		.max_dest_rd_atomic = 16,
		.min_rnr_timer = 12,
		.ah_attr = {
			.is_global = 1,
			.port_num = PORT,
			.grh = {
				.dgid = link->dev->gid,
				.sgid_index = link->dev->gid_index,
				.hop_limit = 1,
			},
		},
		.timeout = 20,
		.retry_cnt = 7,
		.rnr_retry = 7,
		.sq_psn = PSN,
		.max_rd_atomic = 16,
	};

	must(!ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_AV |
			    IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
			    IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER));
	attr.qp_state = IBV_QPS_RTS;
	must(!ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_TIMEOUT |
			    IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
			    IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC));
}

static void connect_pair(struct odp_link *link)
{
	int i;

	for (i = 0; i < 2; i++) {
		link->qp[i] = make_qp(link);
		must(link->qp[i]);
		to_init(link->qp[i]);
	}
	for (i = 0; i < 2; i++)
		to_ready(link, link->qp[i], link->qp[!i]);
	link->qpx = ibv_qp_to_qp_ex(link->qp[0]);
	must(link->qpx);
}

static void disconnect_pair(struct odp_link *link)
{
	int i;

	for (i = 0; i < 2; i++) {
		if (link->qp[i])
			must(!ibv_destroy_qp(link->qp[i]));
		link->qp[i] = NULL;
	}
}

void odp_connect(struct odp_link *link, struct odp_dev *dev, enum ibv_mtu mtu,
		 size_t size)
{
	memset(link, 0, sizeof(*link));
	link->dev = dev;
	link->mtu = mtu;
	link->size = size;
	link->limit_ms = ODP_LIMIT_MS;
	link->buf = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	must(link->buf != MAP_FAILED);
	link->mr = ibv_reg_mr(dev->pd, link->buf, size, IBV_ACCESS_LOCAL_WRITE);
	must(link->mr);
	link->cq = ibv_create_cq(dev->ctx, 4 * DEPTH, NULL, NULL, 0);
	must(link->cq);
	connect_pair(link);
}

void odp_disconnect(struct odp_link *link)
{
	if (!link->dev)
		return;
	disconnect_pair(link);
	must(!ibv_destroy_cq(link->cq));
	must(!ibv_dereg_mr(link->mr));
	munmap(link->buf, link->size);
	memset(link, 0, sizeof(*link));
}

/* A new pair: whatever is still on its way to the old one cannot reach it. */
void odp_reconnect(struct odp_link *link)
{
	struct ibv_wc wc;

	disconnect_pair(link);
	while (ibv_poll_cq(link->cq, 1, &wc) > 0)
		;
	connect_pair(link);
}

/* ---- regions ---- */

struct ibv_mr *odp_reg(struct odp_dev *dev, const void *p, size_t len,
		       uint64_t iova, unsigned int access)
{
	return ibv_reg_mr_iova2(dev->pd, (void *)p, len, iova, access);
}

struct ibv_mr *odp_reg_implicit(struct odp_dev *dev, unsigned int access)
{
	return odp_reg(dev, NULL, SIZE_MAX, 0, access);
}

/* By the kernel's own interface: the provider of rxe has nothing for it. */
int odp_rereg(struct odp_dev *dev, struct ibv_mr *mr, unsigned int access)
{
	struct ib_uverbs_rereg_mr_resp resp;
	struct {
		struct ib_uverbs_cmd_hdr hdr;
		struct ib_uverbs_rereg_mr core;
	} cmd = {
		.hdr = {
			.command = IB_USER_VERBS_CMD_REREG_MR,
			.in_words = sizeof(cmd) / 4,
			.out_words = sizeof(resp) / 4,
		},
		.core = {
			.response = (uintptr_t)&resp,
			.mr_handle = mr->handle,
			.flags = IBV_REREG_MR_CHANGE_ACCESS,
			.access_flags = access,
		},
	};

	if (write(dev->ctx->cmd_fd, &cmd, sizeof(cmd)) != sizeof(cmd))
		return -errno;
	return 0;
}

/* ---- from a request to its completion ---- */

static uint64_t clock_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ULL + t.tv_nsec / 1000000;
}

static int post(struct odp_link *link, struct ibv_qp *qp,
		struct ibv_send_wr *wr)
{
	struct ibv_send_wr *bad;

	wr->wr_id = ++link->wr_id;
	wr->send_flags |= IBV_SEND_SIGNALED;
	return ibv_post_send(qp, wr, &bad);
}

int odp_post(struct odp_link *link, struct ibv_send_wr *wr)
{
	return post(link, link->qp[0], wr);
}

int odp_wait(struct odp_link *link, unsigned int before)
{
	uint64_t end = clock_ms() + link->limit_ms;
	unsigned int todo = before + 1;
	int status = 0, n;
	struct ibv_wc wc;

	while (todo && !status) {
		n = ibv_poll_cq(link->cq, 1, &wc);
		must(n >= 0);
		if (n) {
			todo--;
			status = wc.status;
		} else if (clock_ms() > end) {
			status = -ETIMEDOUT;
		} else {
			sched_yield();
		}
	}
	if (status)
		odp_reconnect(link);
	return status;
}

static struct ibv_sge in_buf(const struct odp_link *link, size_t len)
{
	if (len > link->size)
		ksft_exit_fail_msg("%zu bytes are too many for a link\n", len);
	return (struct ibv_sge) {
		.addr = (uintptr_t)link->buf,
		.length = len,
		.lkey = link->mr->lkey,
	};
}

static int transfer(struct odp_link *link, enum ibv_wr_opcode opcode,
		    uint32_t rkey, uint64_t iova, size_t len)
{
	struct ibv_sge sge = in_buf(link, len);
	struct ibv_send_wr wr = {
		.sg_list = &sge,
		.num_sge = 1,
		.opcode = opcode,
		.wr.rdma = { .remote_addr = iova, .rkey = rkey },
	};

	must(!odp_post(link, &wr));
	return odp_wait(link, 0);
}

int odp_write(struct odp_link *link, uint32_t rkey, uint64_t iova,
	      const void *data, size_t len)
{
	if (len <= link->size)
		memcpy(link->buf, data, len);
	return transfer(link, IBV_WR_RDMA_WRITE, rkey, iova, len);
}

/* What was there is not to be taken for what has been read. */
int odp_read(struct odp_link *link, uint32_t rkey, uint64_t iova, void *data,
	     size_t len)
{
	int status;

	if (len <= link->size)
		memset(link->buf, 0xa5, len);
	status = transfer(link, IBV_WR_RDMA_READ, rkey, iova, len);
	if (!status)
		memcpy(data, link->buf, len);
	return status;
}

int odp_message(struct odp_link *link, struct ibv_sge from, struct ibv_sge to)
{
	struct ibv_recv_wr recv = { .sg_list = &to, .num_sge = 1 }, *bad;
	struct ibv_send_wr send = {
		.sg_list = &from,
		.num_sge = 1,
		.opcode = IBV_WR_SEND,
	};

	must(!ibv_post_recv(link->qp[1], &recv, &bad));
	must(!odp_post(link, &send));
	return odp_wait(link, 1);
}

static int atomic(struct odp_link *link, struct ibv_send_wr wr, uint64_t *old)
{
	struct ibv_sge sge = in_buf(link, sizeof(*old));
	int status;

	wr.sg_list = &sge;
	wr.num_sge = 1;
	must(!odp_post(link, &wr));
	status = odp_wait(link, 0);
	if (!status)
		memcpy(old, link->buf, sizeof(*old));
	return status;
}

int odp_fetch_add(struct odp_link *link, uint32_t rkey, uint64_t iova,
		  uint64_t add, uint64_t *old)
{
	return atomic(link, (struct ibv_send_wr) {
		.opcode = IBV_WR_ATOMIC_FETCH_AND_ADD,
		.wr.atomic = {
			.remote_addr = iova, .compare_add = add, .rkey = rkey,
		},
	}, old);
}

int odp_cmp_swap(struct odp_link *link, uint32_t rkey, uint64_t iova,
		 uint64_t cmp, uint64_t swap, uint64_t *old)
{
	return atomic(link, (struct ibv_send_wr) {
		.opcode = IBV_WR_ATOMIC_CMP_AND_SWP,
		.wr.atomic = {
			.remote_addr = iova, .compare_add = cmp, .swap = swap,
			.rkey = rkey,
		},
	}, old);
}

int odp_bind(struct odp_link *link, struct ibv_mw *mw, struct ibv_mr *mr,
	     uint64_t iova, size_t len, unsigned int access)
{
	struct ibv_mw_bind_info info = {
		.mr = mr,
		.addr = iova,
		.length = len,
		.mw_access_flags = access,
	};
	struct ibv_send_wr wr = {
		.opcode = IBV_WR_BIND_MW,
		.bind_mw = {
			.mw = mw,
			.rkey = ibv_inc_rkey(mw->rkey),
			.bind_info = info,
		},
	};
	struct ibv_mw_bind bind = {
		.wr_id = ++link->wr_id,
		.send_flags = IBV_SEND_SIGNALED,
		.bind_info = info,
	};
	int status;

	/* One of type 1 gets its new key from this call. */
	if (mw->type == IBV_MW_TYPE_1) {
		must(!ibv_bind_mw(link->qp[1], mw, &bind));
		return odp_wait(link, 0);
	}
	must(!post(link, link->qp[1], &wr));
	status = odp_wait(link, 0);
	if (!status)
		mw->rkey = wr.bind_mw.rkey;
	return status;
}

/* ---- requests that libibverbs does not know ---- */

/* The request with @wr_id, if a queue of rxe is what is mapped at @queue. */
static struct rxe_send_wqe *in_queue(struct rxe_queue_buf *queue, size_t size,
				     uint64_t wr_id)
{
	size_t step = 1UL << (queue->log2_elem_size & 31), i;
	struct rxe_send_wqe *wqe;

	if (step < sizeof(*wqe))
		return NULL;
	for (i = 0; i <= queue->index_mask; i++) {
		if ((i + 1) * step > size - sizeof(*queue))
			break;
		wqe = (struct rxe_send_wqe *)(queue->data + i * step);
		if (wqe->wr.wr_id == wr_id &&
		    wqe->wr.opcode == IBV_WR_RDMA_WRITE)
			return wqe;
	}
	return NULL;
}

/* Looks through everything that the process has mapped of a device. */
static struct rxe_send_wqe *find_wqe(uint64_t wr_id)
{
	FILE *f = fopen("/proc/self/maps", "r");
	struct rxe_send_wqe *wqe = NULL;
	unsigned long start, end;
	char line[PATH_MAX];

	while (f && !wqe && fgets(line, sizeof(line), f))
		if (strstr(line, "/uverbs") &&
		    sscanf(line, "%lx-%lx rw", &start, &end) == 2)
			wqe = in_queue((void *)start, end - start, wr_id);
	if (f)
		fclose(f);
	return wqe;
}

/*
 * Between its start and its completion a request is in the queue, but the device
 * does not see it yet: what begins as a write can be made another one.
 */
static struct rxe_send_wqe *raw_start(struct odp_link *link, uint32_t rkey,
				      uint64_t iova)
{
	struct rxe_send_wqe *wqe;

	ibv_wr_start(link->qpx);
	link->qpx->wr_id = ++link->wr_id | 1ULL << 63;
	link->qpx->wr_flags = IBV_SEND_SIGNALED;
	ibv_wr_rdma_write(link->qpx, rkey, iova);
	wqe = find_wqe(link->qpx->wr_id);
	if (!wqe)
		ksft_exit_fail_msg("no request to be found in the queues of rxe\n");
	return wqe;
}

static int raw_end(struct odp_link *link, struct rxe_send_wqe *wqe,
		   unsigned int opcode, size_t len)
{
	wqe->wr.opcode = opcode;
	wqe->dma.length = len;
	wqe->dma.resid = len;
	must(!ibv_wr_complete(link->qpx));
	return odp_wait(link, 0);
}

int odp_misaligned_add(struct odp_link *link, uint32_t rkey, uint64_t iova)
{
	struct rxe_send_wqe *wqe = raw_start(link, rkey, iova);

	wqe->wr.wr.atomic.remote_addr = iova;
	wqe->wr.wr.atomic.compare_add = 1;
	wqe->wr.wr.atomic.rkey = rkey;
	wqe->dma.num_sge = 1;
	wqe->dma.sge[0] = (struct rxe_sge){
		.addr = (uintptr_t)link->buf,
		.length = sizeof(uint64_t),
		.lkey = link->mr->lkey,
	};
	return raw_end(link, wqe, IBV_WR_ATOMIC_FETCH_AND_ADD, sizeof(uint64_t));
}

int odp_atomic_write(struct odp_link *link, uint32_t rkey, uint64_t iova,
		     uint64_t value)
{
	struct rxe_send_wqe *wqe = raw_start(link, rkey, iova);

	memcpy(wqe->dma.atomic_wr, &value, sizeof(value));
	return raw_end(link, wqe, IBV_WR_ATOMIC_WRITE, sizeof(value));
}

int odp_flush(struct odp_link *link, uint32_t rkey, uint64_t iova, size_t len,
	      unsigned int type, unsigned int level)
{
	struct rxe_send_wqe *wqe = raw_start(link, rkey, iova);

	wqe->wr.wr.flush.remote_addr = iova;
	wqe->wr.wr.flush.length = len;
	wqe->wr.wr.flush.rkey = rkey;
	wqe->wr.wr.flush.type = type;
	wqe->wr.wr.flush.level = level;
	return raw_end(link, wqe, IB_UVERBS_WR_FLUSH, len);
}

/* ---- advice ---- */

/* Providers that lack it would refuse it without asking the kernel. */
int odp_advise(struct odp_dev *dev, enum ibv_advise_mr_advice advice,
	       uint32_t flags, const struct ibv_sge *sge, unsigned int n)
{
	struct {
		struct ib_uverbs_ioctl_hdr hdr;
		struct ib_uverbs_attr attrs[4];
	} cmd = {
		.hdr = {
			.length = sizeof(cmd),
			.object_id = UVERBS_OBJECT_MR,
			.method_id = UVERBS_METHOD_ADVISE_MR,
			.num_attrs = 4,
			.driver_id = RDMA_DRIVER_RXE,
		},
		.attrs = {
			{ UVERBS_ATTR_ADVISE_MR_PD_HANDLE, 0,
			  UVERBS_ATTR_F_MANDATORY, .data = dev->pd->handle },
			{ UVERBS_ATTR_ADVISE_MR_ADVICE, sizeof(__u64),
			  UVERBS_ATTR_F_MANDATORY, .data = advice },
			{ UVERBS_ATTR_ADVISE_MR_FLAGS, sizeof(__u32),
			  UVERBS_ATTR_F_MANDATORY, .data = flags },
			{ UVERBS_ATTR_ADVISE_MR_SGE_LIST, n * sizeof(*sge),
			  UVERBS_ATTR_F_MANDATORY, .data = (uintptr_t)sge },
		},
	};

	return ioctl(dev->ctx->cmd_fd, RDMA_VERBS_IOCTL, &cmd) ? -errno : 0;
}
