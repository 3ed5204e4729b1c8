/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the RDMA programs that test on-demand paging share: a device, a pair of
 * connected queue pairs that lead back to it, regions, and one operation after
 * the other with a bound on how long each may take.
 *
 * A device may be used by all threads of the process that opened it, a link by
 * one thread at a time. A child after fork() uses neither.
 *
 * An operation returns 0, the status of its completion (enum ibv_wc_status), or
 * -ETIMEDOUT if there is none after the link's limit. A link that has seen a
 * failure is made new before the call returns. What cannot go wrong in a
 * working machine (no memory, a queue pair that does not connect) ends the
 * program.
 */
#ifndef ODP_UTIL_H
#define ODP_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <infiniband/verbs.h>

#define ODP_ALL		(IBV_ACCESS_ON_DEMAND | IBV_ACCESS_LOCAL_WRITE | \
			 IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE | \
			 IBV_ACCESS_REMOTE_ATOMIC)
#define ODP_RDONLY	(IBV_ACCESS_ON_DEMAND | IBV_ACCESS_REMOTE_READ)

/* IB_UVERBS_ACCESS_FLUSH_*, which the headers of older libibverbs hide. */
#define ODP_FLUSH_GLOBAL	0x100
#define ODP_FLUSH_PERSISTENT	0x200

#define ODP_LIMIT_MS	20000U

struct odp_dev {
	struct ibv_context	*ctx;
	struct ibv_pd		*pd;
	union ibv_gid		gid;
	unsigned int		gid_index;
	enum ibv_mtu		mtu;		/* the largest */
};

struct odp_link {
	struct odp_dev	*dev;
	struct ibv_cq	*cq;			/* of both */
	struct ibv_qp	*qp[2];			/* who asks, and who answers */
	struct ibv_qp_ex *qpx;			/* of the first */
	enum ibv_mtu	mtu;
	char		*buf;			/* pinned, for both directions */
	size_t		size;
	struct ibv_mr	*mr;			/* of @buf */
	uint64_t	wr_id;			/* of the last request */
	unsigned int	limit_ms;		/* ODP_LIMIT_MS at first */
};

/*
 * Opens the device that RDMA_DEVICE names in the environment, or the first rxe.
 * NULL, or what is missing.
 */
const char *odp_open(struct odp_dev *dev);
void odp_close(struct odp_dev *dev);

/* What can be transferred at once is up to @size bytes. */
void odp_connect(struct odp_link *link, struct odp_dev *dev, enum ibv_mtu mtu,
		 size_t size);
void odp_disconnect(struct odp_link *link);

/* Connects both queue pairs again and forgets what is still in the queues. */
void odp_reconnect(struct odp_link *link);

/*
 * A region with just the flags @access, or NULL and errno. @iova is what the
 * device calls @p.
 */
struct ibv_mr *odp_reg(struct odp_dev *dev, const void *p, size_t len,
		       uint64_t iova, unsigned int access);

/* All of the address space. */
struct ibv_mr *odp_reg_implicit(struct odp_dev *dev, unsigned int access);

/* Changes the flags of a region: 0 or a negative errno. */
int odp_rereg(struct odp_dev *dev, struct ibv_mr *mr, unsigned int access);

/* ---- one operation, from its request to its completion ---- */

int odp_write(struct odp_link *link, uint32_t rkey, uint64_t iova,
	      const void *data, size_t len);
int odp_read(struct odp_link *link, uint32_t rkey, uint64_t iova, void *data,
	     size_t len);

/* A message; both buffers are the caller's. */
int odp_message(struct odp_link *link, struct ibv_sge from, struct ibv_sge to);

/* What was there before is in *@old. */
int odp_fetch_add(struct odp_link *link, uint32_t rkey, uint64_t iova,
		  uint64_t add, uint64_t *old);
int odp_cmp_swap(struct odp_link *link, uint32_t rkey, uint64_t iova,
		 uint64_t cmp, uint64_t swap, uint64_t *old);

/*
 * These put what libibverbs cannot or does not want to say into the queue by
 * themselves, for rxe only. The first one is for an address that is misaligned.
 */
int odp_misaligned_add(struct odp_link *link, uint32_t rkey, uint64_t iova);
int odp_atomic_write(struct odp_link *link, uint32_t rkey, uint64_t iova,
		     uint64_t value);

/* @type and @level: enum rdma_placement_type, enum rdma_selectivity_level. */
int odp_flush(struct odp_link *link, uint32_t rkey, uint64_t iova, size_t len,
	      unsigned int type, unsigned int level);

/*
 * Binds a window for the side that answers, and gives it a new key. One of type 2
 * is of no use after the link has been made new, and has to be gone by then.
 */
int odp_bind(struct odp_link *link, struct ibv_mw *mw, struct ibv_mr *mr,
	     uint64_t iova, size_t len, unsigned int access);

/* ---- the parts of one ---- */

/* Signaled, with an id that no request before had: 0 or an errno. */
int odp_post(struct odp_link *link, struct ibv_send_wr *wr);

/* The completion of the last request, and of that many before it. */
int odp_wait(struct odp_link *link, unsigned int before);

/* ---- advice ---- */

/* By the kernel's own interface, of rxe only: 0 or a negative errno. */
int odp_advise(struct odp_dev *dev, enum ibv_advise_mr_advice advice,
	       uint32_t flags, const struct ibv_sge *sge, unsigned int n);

#endif /* ODP_UTIL_H */
