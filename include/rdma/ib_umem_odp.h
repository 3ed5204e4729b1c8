/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * On-demand paging: memory regions whose pages are mapped for the device when it
 * asks for them, and taken from it when the process's memory changes.
 *
 * ib_umem_odp_lock() protects what the device can reach and the translation
 * entries that a driver makes of it. What hmm_mirror.h says of its update lock
 * holds for it.
 */
#ifndef IB_UMEM_ODP_H
#define IB_UMEM_ODP_H

#include <linux/hmm.h>
#include <linux/hmm_mirror.h>
#include <linux/mutex.h>
#include <rdma/ib_umem.h>
#include <rdma/ib_verbs.h>

struct ib_umem_odp;

/**
 * struct ib_umem_odp_ops - what a driver does for its on-demand umems
 */
struct ib_umem_odp_ops {
	/**
	 * @invalidate: Take [@start, @end) from the device; both are multiples
	 * of the umem's page size and in the umem. When it returns, the device
	 * uses no translation entry of that any more. It is called only if
	 * something in there is mapped, by an invalidation, when a page that is
	 * mapped for reading is to be written, after a failed fault, and by
	 * ib_umem_odp_release(). The pages are unmapped and marked dirty after
	 * it. May be %NULL for a driver that looks each page up under the lock.
	 *
	 * Context: Under ib_umem_odp_lock(). May sleep, but not wait for memory.
	 */
	void (*invalidate)(struct ib_umem_odp *umem_odp, unsigned long start,
			   unsigned long end);
	/**
	 * @peers: The device may use device-private memory of others where it
	 * is, see hmm_mirror_allow_peers(). Memory of a device that offers none,
	 * or that cannot be reached, is migrated to system memory as without, and
	 * so is all that a region with %IB_ACCESS_REMOTE_ATOMIC uses, or with
	 * %IB_ACCESS_MW_BIND. The driver lets no region gain these later.
	 */
	bool peers;
};

/**
 * struct ib_umem_odp - an on-demand memory region, or the root of an implicit one
 * @umem: The part that all umems have.
 * @mirror: The window of the address space, and what the device can reach of it.
 *	Unused in the root of an implicit region, which has no window.
 * @root_lock: The lock of such a root: protects what the driver makes of the
 *	children.
 * @ops: The driver's callbacks.
 * @private: For the driver.
 * @page_shift: The size of a translation entry: what is mapped is aligned to it
 *	and consists of physically contiguous blocks of at least that size.
 * @is_implicit_odp: This is a root. It covers all of the address space, by
 *	children that the driver adds.
 * @remote_atomic: Atomic operations of others are possible, by
 *	%IB_ACCESS_REMOTE_ATOMIC or, with a memory window, %IB_ACCESS_MW_BIND.
 */
struct ib_umem_odp {
	struct ib_umem umem;
	struct hmm_mirror mirror;
	struct mutex root_lock;	/* see above */
	const struct ib_umem_odp_ops *ops;
	void *private;
	unsigned int page_shift;
	bool is_implicit_odp;
	bool remote_atomic;
};

static inline struct ib_umem_odp *to_ib_umem_odp(struct ib_umem *base)
{
	return container_of(base, struct ib_umem_odp, umem);
}

/* First byte of an on-demand umem, a multiple of its page size. */
static inline unsigned long ib_umem_start(const struct ib_umem_odp *odp)
{
	return odp->mirror.view.start;
}

/* First byte after an on-demand umem. */
static inline unsigned long ib_umem_end(const struct ib_umem_odp *odp)
{
	return odp->mirror.view.end;
}

/* How many translation entries an on-demand umem has. */
static inline size_t ib_umem_odp_num_pages(const struct ib_umem_odp *odp)
{
	return (ib_umem_end(odp) - ib_umem_start(odp)) >> odp->page_shift;
}

/* How many pages of PAGE_SIZE are mapped. Under the lock. */
static inline unsigned long ib_umem_odp_npages(const struct ib_umem_odp *odp)
{
	lockdep_assert_held(&odp->mirror.lock);
	return odp->mirror.view.npages;
}

static inline struct mutex *ib_umem_odp_mutex(struct ib_umem_odp *odp)
{
	return odp->is_implicit_odp ? &odp->root_lock : &odp->mirror.lock;
}

static inline void ib_umem_odp_lock(struct ib_umem_odp *odp)
{
	mutex_lock(ib_umem_odp_mutex(odp));
}

static inline void ib_umem_odp_unlock(struct ib_umem_odp *odp)
{
	mutex_unlock(ib_umem_odp_mutex(odp));
}

/* Only ib_umem_release() comes here without on-demand paging. */
#ifdef CONFIG_INFINIBAND_ON_DEMAND_PAGING
void ib_umem_odp_release(struct ib_umem_odp *odp);
#else
static inline void ib_umem_odp_release(struct ib_umem_odp *odp) {}
#endif

struct ib_umem_odp *ib_umem_odp_get(struct ib_device *device,
				    unsigned long addr, size_t size, int access,
				    const struct ib_umem_odp_ops *ops);
struct ib_umem_odp *ib_umem_odp_alloc_implicit(struct ib_device *device, int access);
struct ib_umem_odp *ib_umem_odp_alloc_child(struct ib_umem_odp *root,
					    unsigned long addr, size_t size,
					    const struct ib_umem_odp_ops *ops);
int ib_umem_odp_fault_and_lock(struct ib_umem_odp *odp, u64 user_virt, u64 bcnt,
			       unsigned int flags);

#endif /* IB_UMEM_ODP_H */
