/* SPDX-License-Identifier: MIT
 *
 * waitplan.h - how to spend a wait: polling, napping, sleeping.
 *
 * Theory of operation
 * -------------------
 *
 * Polling finds a result at once and burns a processor; sleeping costs nothing and wakes tens of
 * microseconds late, in a virtual machine later still. Waits of a kind resemble each other: the
 * tokens of a model take the same time, question after question is answered in microseconds. So the
 * length of a wait is foreseen from those before it, and planned:
 *
 *   short       poll until well after it should have ended
 *   long        poll a moment, nap until shortly before it should end, poll again
 *   after that  sleep until woken
 *
 * A nap is a sleep with a limit; where the transport can do so without leaving the guest it ends
 * early with the wake-up. Where the host computes with the same processors that we run on (its
 * device is a CPU), polling takes from the computation: then it is kept to a moment. With a single
 * processor nobody polls.
 *
 * Pure arithmetic on nanoseconds; the fields are relaxed atomics, for a few threads at once.
 */
#ifndef VGR_GUEST_WAITPLAN_H
#define VGR_GUEST_WAITPLAN_H

#include <stdbool.h>
#include <stdint.h>

enum vgr_wait_kind {
    VGR_WAIT_ANSWER, /* for something that the worker does by itself */
    VGR_WAIT_GRAPH,  /* for a graph to be computed, too */
    VGR_WAIT_KINDS
};

struct vgr_waitplan {
    int64_t expect[VGR_WAIT_KINDS]; /* usual length */
    bool alone;                     /* one processor */
    bool shared;                    /* the host computes where we run */
};

/* Moments after the wait has begun, in order. Equal ones: nothing to do in between. */
struct vgr_wait_phases {
    int64_t poll_until;
    int64_t nap_until;
    int64_t poll_again_until;
};

void vgr_waitplan_init(struct vgr_waitplan *p, bool alone, bool shared);

/* Plans a wait. */
struct vgr_wait_phases vgr_waitplan_phases(const struct vgr_waitplan *p, enum vgr_wait_kind kind);

/* Says how long one has been. */
void vgr_waitplan_learn(struct vgr_waitplan *p, enum vgr_wait_kind kind, int64_t ns);

#endif
