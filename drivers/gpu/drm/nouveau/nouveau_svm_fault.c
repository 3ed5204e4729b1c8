// SPDX-License-Identifier: MIT
/*
 * SVM: replayable faults as data, see nouveau_svm_fault.h.
 */
#include <linux/errno.h>
#include <linux/mm.h>
#include <linux/sort.h>

#include "nouveau_svm_fault.h"

/**
 * nouveau_svm_fault_need() - tell what a fault needs
 * @fault: the fault
 *
 * Return: what it needs. Access types that are not known are taken as writes:
 * a page that is mapped for writing serves all that is not atomic.
 */
enum nouveau_svm_need
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

static u64 nouveau_svm_fault_page(const struct nouveau_svm_fault *fault)
{
	return fault->addr & PAGE_MASK;
}

/* By page, and who needs most comes first. */
static u64 nouveau_svm_fault_key(const struct nouveau_svm_fault *fault)
{
	return nouveau_svm_fault_page(fault) |
	       (NOUVEAU_SVM_ATOMIC - nouveau_svm_fault_need(fault));
}

static int nouveau_svm_fault_cmp(const void *a, const void *b)
{
	const struct nouveau_svm_fault *fa = *(struct nouveau_svm_fault **)a;
	const struct nouveau_svm_fault *fb = *(struct nouveau_svm_fault **)b;

	if (fa->svmm != fb->svmm)
		return (uintptr_t)fa->svmm < (uintptr_t)fb->svmm ? -1 : 1;
	return fa->key < fb->key ? -1 : fa->key > fb->key;
}

/**
 * nouveau_svm_faults_sort() - put faults into the order in which they are served
 * @faults: the faults
 * @nr: how many
 *
 * By address space, whatever the channel, then by page. Of the faults of one page
 * the one that needs most comes first.
 */
void nouveau_svm_faults_sort(struct nouveau_svm_fault **faults, unsigned int nr)
{
	bool sorted = true;
	unsigned int i;

	for (i = 0; i < nr; i++) {
		faults[i]->key = nouveau_svm_fault_key(faults[i]);
		if (i && nouveau_svm_fault_cmp(&faults[i - 1], &faults[i]) > 0)
			sorted = false;
	}
	/* Engines that go through memory in order fault in order. */
	if (!sorted)
		sort(faults, nr, sizeof(*faults), nouveau_svm_fault_cmp, NULL);
}

/**
 * nouveau_svm_faults_below() - count the faults of one part of an address space
 * @faults: sorted faults
 * @nr: how many, at least 1
 * @end: first byte after that part, which the first fault is in
 *
 * Return: how many from the first on are of its address space and below @end.
 */
unsigned int nouveau_svm_faults_below(struct nouveau_svm_fault **faults,
				      unsigned int nr, u64 end)
{
	unsigned int i;

	for (i = 1; i < nr; i++)
		if (faults[i]->svmm != faults[0]->svmm ||
		    faults[i]->addr >= end)
			break;
	return i;
}

/**
 * nouveau_svm_faults_pages() - count pages
 * @faults: sorted faults of one address space
 * @nr: how many
 *
 * Return: in how many pages they are.
 */
unsigned int nouveau_svm_faults_pages(struct nouveau_svm_fault **faults,
				      unsigned int nr)
{
	unsigned int i, pages = 0;

	for (i = 0; i < nr; i++)
		if (!i || nouveau_svm_fault_page(faults[i]) !=
			  nouveau_svm_fault_page(faults[i - 1]))
			pages++;
	return pages;
}

/**
 * nouveau_svm_faults_span() - get the span with which faults begin
 * @faults: sorted faults of one address space
 * @nr: how many, at least 1
 * @span: where to put it
 *
 * A page without a fault ends a span, and so does one that needs something else:
 * what one page needs is never asked for another.
 */
void nouveau_svm_faults_span(struct nouveau_svm_fault **faults,
			     unsigned int nr, struct nouveau_svm_span *span)
{
	unsigned int i;

	span->start = nouveau_svm_fault_page(faults[0]);
	span->end = span->start + PAGE_SIZE;
	span->need = nouveau_svm_fault_need(faults[0]);
	for (i = 1; i < nr; i++) {
		u64 page = nouveau_svm_fault_page(faults[i]);

		/* The first fault of a page needs as much as the others. */
		if (page < span->end)
			continue;
		if (page > span->end ||
		    nouveau_svm_fault_need(faults[i]) != span->need)
			break;
		span->end += PAGE_SIZE;
	}
	span->nr = i;
}

/**
 * nouveau_svm_faults_fail() - have faults cancelled
 * @faults: faults of one address space
 * @nr: how many
 * @start: first byte of what could not be served, page aligned
 * @last: last byte of it
 * @need: what for, %NOUVEAU_SVM_READ if that does not matter
 * @error: why
 *
 * Concerns the faults in that range that need as much. A page that cannot be had
 * for writing may be had for reading: who asked for that is not cancelled, and
 * asks again. Prefetches do not fail: nobody waits for what they would have brought.
 */
void nouveau_svm_faults_fail(struct nouveau_svm_fault **faults,
			     unsigned int nr, u64 start, u64 last,
			     enum nouveau_svm_need need, int error)
{
	unsigned int i;

	need = max(need, NOUVEAU_SVM_READ);
	for (i = 0; i < nr; i++)
		if (faults[i]->addr >= start && faults[i]->addr <= last &&
		    nouveau_svm_fault_need(faults[i]) >= need)
			faults[i]->error = error;
}
