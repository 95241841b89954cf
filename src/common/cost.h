/* SPDX-License-Identifier: MIT
 *
 * cost.h - whether somebody makes calls on what he shares with us expensive.
 *
 * Theory of operation
 * -------------------
 *
 * A call on a socket wakes all who wait at its other end, and the kernel walks their list in the time of the
 * caller. Whoever holds that end decides how long the list is: each poll() and each epoll adds an entry. A
 * worker's share is bounded (worker/sandbox.h), but a number of threads times a number of descriptors remains.
 * So whoever serves others too measures the calls on what a worker holds, and parts from one that makes them
 * slow.
 *
 * To read the time of a thread takes a system call, so it is read only once a call took long by the clock,
 * which is read without one. By the clock alone a busy machine would look like an attack. Where a hypervisor
 * takes the processor away, the time of a thread does, too: so one long call is not enough.
 */
#ifndef VGR_COMMON_COST_H
#define VGR_COMMON_COST_H

#include <stdbool.h>
#include <stdint.h>

#define VGR_COST_LONG_NS  5000000u /* a call takes a few thousand */
#define VGR_COST_MEASURED 1000u    /* calls, after one that was long by the clock */
#define VGR_COST_LONG     3u       /* of these, by the time of the thread: too many */

/* Why, for the guest and the log. */
#define VGR_COST_TEXT "the context's worker made system calls of the host slow"

/* Of all calls on what one other holds, by one thread at a time. All 0: there were none. */
struct vgr_cost {
    uint64_t began; /* ns */
    unsigned measured, n_long;
};

/* Before a call. */
void vgr_cost_begin(struct vgr_cost *c);

/* After it, in the same thread. True: the other makes calls expensive, and the caller should end what they
 * share. */
bool vgr_cost_end(struct vgr_cost *c);

#endif
