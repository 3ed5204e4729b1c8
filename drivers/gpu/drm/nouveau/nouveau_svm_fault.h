/* SPDX-License-Identifier: MIT */
/*
 * SVM: replayable faults as data. What the fault buffer has is sorted, grouped by
 * address space, and cut into spans of pages that need the same access. Nothing
 * here touches hardware or takes a lock: the fault worker owns its faults.
 */
#ifndef __NOUVEAU_SVM_FAULT_H__
#define __NOUVEAU_SVM_FAULT_H__

#include <linux/list.h>
#include <linux/types.h>

struct nouveau_svmm;

/* Access types as the fault buffer reports them. */
#define NOUVEAU_FAULT_READ	0
#define NOUVEAU_FAULT_WRITE	1
#define NOUVEAU_FAULT_ATOMIC	2
#define NOUVEAU_FAULT_PREFETCH	3

/**
 * enum nouveau_svm_need - what a page has to be mapped for, weakest first
 * @NOUVEAU_SVM_PREFETCH: nothing; it is mapped if it is present
 * @NOUVEAU_SVM_READ: reading
 * @NOUVEAU_SVM_WRITE: reading and writing
 * @NOUVEAU_SVM_ATOMIC: all that, with no other user of the page meanwhile
 */
enum nouveau_svm_need {
	NOUVEAU_SVM_PREFETCH,
	NOUVEAU_SVM_READ,
	NOUVEAU_SVM_WRITE,
	NOUVEAU_SVM_ATOMIC,
};

/**
 * struct nouveau_svm_fault - one entry of the fault buffer
 * @inst: channel instance
 * @addr: address that was accessed
 * @time: GPU time
 * @engine: engine that faulted
 * @gpc: where the client is
 * @hub: whether it is behind the hub
 * @access: NOUVEAU_FAULT_*
 * @client: which unit has to be told if the fault is cancelled
 * @fault: fault type
 * @svmm: address space of @inst, %NULL if that has none
 * @key: by what it is sorted within that
 * @link: to sort it
 * @served: the GPU has the page
 * @error: 0 if the access is to be replayed, or why it has to be cancelled
 */
struct nouveau_svm_fault {
	u64 inst;
	u64 addr;
	u64 time;
	u32 engine;
	u8  gpc;
	u8  hub;
	u8  access;
	u8  client;
	u8  fault;
	struct nouveau_svmm *svmm;
	u64 key;
	struct list_head link;
	bool served;
	int error;
};

/**
 * struct nouveau_svm_span - consecutive pages that need the same
 * @start: first byte, page aligned
 * @end: first byte after the last page
 * @need: what all of them need
 * @nr: number of faults that this is for
 */
struct nouveau_svm_span {
	u64 start;
	u64 end;
	enum nouveau_svm_need need;
	unsigned int nr;
};

/**
 * nouveau_svm_fault_need() - tell what a fault needs
 * @fault: the fault
 *
 * Return: what it needs. Access types that are not known are taken as writes:
 * a page that is mapped for writing serves all that is not atomic.
 */
static inline enum nouveau_svm_need
nouveau_svm_fault_need(const struct nouveau_svm_fault *fault)
{
	switch (fault->access) {
	case NOUVEAU_FAULT_PREFETCH:
		return NOUVEAU_SVM_PREFETCH;
	case NOUVEAU_FAULT_READ:
		return NOUVEAU_SVM_READ;
	case NOUVEAU_FAULT_ATOMIC:
		return NOUVEAU_SVM_ATOMIC;
	default:
		return NOUVEAU_SVM_WRITE;
	}
}

void nouveau_svm_faults_sort(struct nouveau_svm_fault **faults,
			     unsigned int nr);
unsigned int nouveau_svm_faults_below(struct nouveau_svm_fault **faults,
				      unsigned int nr, u64 end);
void nouveau_svm_faults_span(struct nouveau_svm_fault **faults,
			     unsigned int nr, struct nouveau_svm_span *span);
void nouveau_svm_faults_fail(struct nouveau_svm_fault **faults,
			     unsigned int nr, u64 start, u64 last,
			     enum nouveau_svm_need need, int error);

#endif /* __NOUVEAU_SVM_FAULT_H__ */
