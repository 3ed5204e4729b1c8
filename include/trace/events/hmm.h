/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tracepoints of the HMM range layer: one event for each call, at its end. They
 * are emitted by the task that made the call and need no lock.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM hmm

#if !defined(_TRACE_HMM_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_HMM_H

#include <linux/hmm.h>
#include <linux/sched/clock.h>
#include <linux/tracepoint.h>

DECLARE_EVENT_CLASS(hmm_range,
		    TP_PROTO(const struct hmm_range *range, int result,
			     unsigned long leaves, unsigned long faults,
			     unsigned long passes, u64 began),
		    TP_ARGS(range, result, leaves, faults, passes, began),
		    TP_STRUCT__entry(__field(unsigned long, start)
				     __field(unsigned long, end)
				     __field(int, result)
				     __field(int, error)
				     __field(unsigned long, pages)
				     __field(unsigned long, leaves)
				     __field(unsigned long, faults)
				     __field(unsigned long, retries)
				     __field(unsigned long long, ns)),
		    TP_fast_assign(__entry->start = range->start;
				   __entry->end = range->end;
				   __entry->result = result;
				   __entry->error = range->error;
				   __entry->pages = (range->next -
						     range->start) >> PAGE_SHIFT;
				   __entry->leaves = leaves;
				   __entry->faults = faults;
				   __entry->retries = passes ? passes - 1 : 0;
				   /* One that began before tracing has no time. */
				   __entry->ns = began ?
						 local_clock() - began : 0;),
		    TP_printk("start=%#lx end=%#lx result=%d error=%d pages=%lu leaves=%lu faults=%lu retries=%lu ns=%llu",
			      __entry->start, __entry->end, __entry->result,
			      __entry->error, __entry->pages, __entry->leaves,
			      __entry->faults, __entry->retries, __entry->ns)
);

/*
 * hmm_range_fault() and hmm_range_fault_unlocked_timeout(). @result is what the
 * call returned, @error that of the first page left out by a partial result,
 * @pages how many are reported, @leaves how many leaves (or blocks of PTEs) map
 * those, @faults how often handle_mm_fault() was called, @retries how many more
 * passes there were than one.
 */
DEFINE_EVENT(hmm_range, hmm_range_fault,
	     TP_PROTO(const struct hmm_range *range, int result,
		      unsigned long leaves, unsigned long faults,
		      unsigned long passes, u64 began),
	     TP_ARGS(range, result, leaves, faults, passes, began)
);

/* hmm_range_snapshot(), which never faults or retries. */
DEFINE_EVENT(hmm_range, hmm_range_snapshot,
	     TP_PROTO(const struct hmm_range *range, int result,
		      unsigned long leaves, unsigned long faults,
		      unsigned long passes, u64 began),
	     TP_ARGS(range, result, leaves, faults, passes, began)
);

#endif /* _TRACE_HMM_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
