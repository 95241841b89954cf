/* SPDX-License-Identifier: MIT
 *
 * queue.h - a queue for a device of its own, and what is between queues.
 *
 * Theory of operation
 * -------------------
 *
 * QUEUE_OPEN takes a device away from queue 0 and gives it a thread with tables and a ring of its own.
 * Two things reach from one queue into another.
 *
 * Order. QUEUE_WAIT names a command of another queue; the thread stops until that is complete. A
 * device that runs behind publishes completion late, so the waiter leaves word what it wants
 * (`wanted`), and the other thread sees to it when it has nothing better to do. Who waits has
 * completed all that came before, because others may be waiting for that. An honest guest waits
 * only for what it has sent already, so queues can never wait for each other in a circle, nor for
 * what never comes. The first is found by whoever closes the circle, the second by the queue that
 * goes to sleep although more is wanted of it. Either ends the context.
 *
 * Copies. The queue of the destination copies, with the other queue stopped: a thread holds `running`
 * while it runs commands, and gives it up while it waits. So nobody frees the source meanwhile, and no
 * device is used by two threads at once. Two locks are taken in the order of the queues' numbers. It
 * is not this that keeps the order between the commands, but the guest's QUEUE_WAITs, before the copy
 * in one queue and after it in the other.
 *
 * A queue ends with the context.
 */
#ifndef VGR_WORKER_QUEUE_H
#define VGR_WORKER_QUEUE_H

#include "worker/context.h"

/* These return 0, or -1 after vgr_ctx_fail(). QUEUE_OPEN, QUEUE_WAIT: */
int vgr_queue_open(struct vgr_ctx *c, const struct vgr_cmd_queue_open *m);
int vgr_queue_wait(struct vgr_ctx *c, const struct vgr_cmd_queue_wait *m);

/* COPY from a buffer of another queue to `dst`, whose range has been checked. */
int vgr_queue_copy(struct vgr_ctx *c, const struct vgr_cmd_copy *m,
                   const struct vgr_host_buffer *dst);

/* Called when `c` has published more of its commands: wakes queues that wait for it. */
void vgr_queue_advanced(struct vgr_ctx *c);

/* Does the context have more queues than the first? */
static inline bool vgr_queue_several(const struct vgr_shared *s)
{
    for (uint32_t i = 1; i < VGR_MAX_DEVICES; i++) {
        if (__atomic_load_n(&s->queue[i], __ATOMIC_RELAXED))
            return true;
    }
    return false;
}

/* Has every queue that sleeps look whether it is meant. */
void vgr_queue_nudge(const struct vgr_shared *s);

/* The highest of its commands that any other queue wants complete. */
static inline uint64_t vgr_queue_wanted(const struct vgr_ctx *c)
{
    return __atomic_load_n(&c->wait.wanted, __ATOMIC_SEQ_CST);
}

/* Says that `c` is about to sleep with an empty ring and everything complete, or that it woke up. A
 * queue that comes to wait for it wakes it, so that it looks whether it can ever have what is
 * wanted. */
static inline void vgr_queue_idle(struct vgr_ctx *c, bool idle)
{
    __atomic_store_n(&c->wait.idle, idle, __ATOMIC_SEQ_CST);
}

#endif
