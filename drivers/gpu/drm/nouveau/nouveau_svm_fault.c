// SPDX-License-Identifier: MIT
/*
 * SVM: replayable faults as data, see nouveau_svm_fault.h.
 */
#include <linux/errno.h>
#include <linux/list_sort.h>
#include <linux/mm.h>

#include "nouveau_svm_fault.h"

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

/* Has @a to come after @b? */
static int nouveau_svm_fault_cmp(void *priv, const struct list_head *a,
				 const struct list_head *b)
{
	const struct nouveau_svm_fault *fa, *fb;

	fa = list_entry(a, struct nouveau_svm_fault, link);
	fb = list_entry(b, struct nouveau_svm_fault, link);
	if (fa->svmm != fb->svmm)
		return (uintptr_t)fa->svmm > (uintptr_t)fb->svmm;
	return fa->key > fb->key;
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
	struct nouveau_svm_fault *fault;
	LIST_HEAD(list);
	unsigned int i;

	for (i = 0; i < nr; i++) {
		faults[i]->key = nouveau_svm_fault_key(faults[i]);
		list_add_tail(&faults[i]->link, &list);
	}
	list_sort(NULL, &list, nouveau_svm_fault_cmp);
	i = 0;
	list_for_each_entry(fault, &list, link)
		faults[i++] = fault;
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
