/* SPDX-License-Identifier: MIT
 *
 * cost.h - whether somebody makes calls on what he shares with us expensive.
 *
 * Theory of operation
 * -------------------
 *
 * A call on a socket wakes all who wait at its other end, and the kernel walks their list in the time of the
 * caller. Whoever holds that end decides how long the list is: each thread that polls adds entries. In a worker
 * there are no other ways to wait, and an entry cannot stand for many (worker/sandbox_table.c), so the list is as
 * long as its threads are many; and each call of ours takes one message, so it walks the list once. What remains
 * is a worker with thousands of threads. So whoever serves others too measures the calls on what a worker holds,
 * and parts from one that takes more of his time than VGR_COST_SHARE of it.
 *
 * To read the time of a thread takes a system call, so it is read only for a while after a call took long by the
 * clock, which is read without one. By the clock alone a busy machine would look like an attack. Where a
 * hypervisor takes the processor away and does not say so, the time of a thread goes on meanwhile: that is what
 * VGR_COST_BURST_NS leaves room for.
 */
#ifndef VGR_COMMON_COST_H
#define VGR_COMMON_COST_H

#include <stdint.h>

#define VGR_COST_LONG_NS UINT64_C(100000) /* a call takes a few thousand */
#define VGR_COST_WATCH_NS                                                                          \
    UINT64_C(60000000000)                    /* so long all calls are measured, after a long one */
#define VGR_COST_BURST_NS UINT64_C(50000000) /* what long calls may take at once */
#define VGR_COST_SHARE    50u /* and this part of the time, one in so many, from then on */

/* Why, for the guest and the log. */
#define VGR_COST_TEXT "the context's worker made system calls of the host slow"

enum vgr_cost_found {
    VGR_COST_SHORT,
    VGR_COST_LONG,     /* the caller should see to it that others get their turn */
    VGR_COST_TOO_MUCH, /* the other makes calls expensive: the caller should end what they share */
};

/* Of all calls on what one other holds, by one thread at a time. All 0: there were none. Times are ns. */
struct vgr_cost {
    uint64_t began;    /* by the clock */
    uint64_t own;      /* the thread's time then; 0: not measured */
    uint64_t watched;  /* until then, by the clock */
    uint64_t spent;    /* by long calls, less what time has given back */
    uint64_t reckoned; /* when that was, by the clock */
};

/* Before a call. */
void vgr_cost_begin(struct vgr_cost *c);

/* After it, in the same thread. */
enum vgr_cost_found vgr_cost_end(struct vgr_cost *c);

#endif
