/* SPDX-License-Identifier: MIT
 *
 * queue.h - commands for the host, in order, and waiting for them.
 *
 * Theory of operation
 * -------------------
 *
 * A queue is a ring with what belongs to it: a heap, sequence numbers, and the handles of the
 * buffers, streams and graphs of the devices that it serves. Queue 0 serves device 0; others have
 * one each if the host can and the arena has room, else queue 0 serves them, too. The host runs
 * queues side by side: what two devices have to do with each other is said with vgr_queue_after().
 *
 * Sending is pushing a record into the ring under `lock`; nothing waits for an answer. Records are
 * made visible in batches, by vgr_queue_publish() or by a wait. Data that comes back (downloads,
 * replies) is a *pending get*: a block of the heap and the place of the caller that it is copied to
 * once the worker is done with it. Whoever finds it done copies it, in order of sequence numbers:
 * the caller's own wait, or a thread that needs the room.
 *
 * Waiting is for one number: the queue's `done`. A waiter polls as waitplan.h plans it, then sleeps
 * in the transport. Only one thread of the process sleeps there, for the lowest number of each queue
 * that any waiter needs; the others wait for it on a condition variable. Wake-ups are hints: every
 * sleep has a limit and is followed by a look at shared memory.
 *
 * Lock order: lock, then the connection's sleep_lock. No thread has the locks of two queues. Nobody
 * waits for the host with sleep_lock held.
 */
#ifndef VGR_GUEST_QUEUE_H
#define VGR_GUEST_QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "guest/heap.h"
#include "guest/waitplan.h"
#include "protocol/ring.h"

#define VGR_QUEUE_PENDING 1024u /* pending gets at once; a power of two */
#define VGR_QUEUE_INLINE  512u  /* uploads of at most this go into the ring itself */

struct vgr_conn;

/* A set of handles 1..max. */
struct vgr_handles {
    uint32_t max;
    uint32_t hint;  /* where to look first */
    uint64_t *used; /* bit per handle, bit 0 unused */
};

struct vgr_queue {
    struct vgr_conn *conn;
    uint32_t number;
    pthread_mutex_t lock;
    struct vgr_ring_producer ring;
    struct vgr_heap heap;
    uint64_t pool_seq;    /* atomic; the last command that names memory of the pool */
    uint32_t published;   /* ring.tail as last made visible */
    uint64_t visible;     /* the last command that is */
    struct vgr_cmd *last; /* the record pushed last, while not yet visible */
    uint64_t awaited;     /* highest number that carries or precedes VGR_CMD_F_AWAIT */
    uint64_t since_await; /* heap bytes sent since then */
    uint64_t unseen;      /* heap bytes sent since the last publish */
    struct vgr_pending {
        void *dst;
        uint64_t seq;
        uint32_t off;
        uint32_t len;
        uint32_t block;
    } pending[VGR_QUEUE_PENDING];
    uint32_t pending_first, pending_next;
    struct vgr_handles buffers, streams, graphs;
    uint32_t n_streams;     /* that are open; atomic for those without the lock */
    uint32_t *buffer_epoch; /* by handle: times that it was freed */

    uint64_t sent;    /* atomic; ring.seq for those without the lock */
    uint64_t ran;     /* atomic; the graph run pushed last */
    uint64_t done;    /* atomic; highest number known to be complete */
    uint64_t drained; /* atomic; gets up to here are delivered: none has a number and is not pending
                         when it is written. UINT64_MAX: all, the connection failed */
    uint64_t armed;   /* with sleep_lock: the number to be woken for, 0: none */
    struct vgr_waitplan plan;
};

/* A queue of the connection whose ring is `ring_size` bytes behind the page at arena offset `page`,
 * and whose heap is [heap, end). Handles are as the host's reply says. NULL without memory. */
struct vgr_queue *vgr_queue_new(struct vgr_conn *c, uint32_t number, uint64_t page,
                                uint32_t ring_size, uint64_t heap, uint64_t end);
void vgr_queue_free(struct vgr_queue *q);

/* ---- Sending. With `lock` held. -------------------------------------------------------------- */

/* Locks the queue for sending. False, and not locked, if the connection is failed. */
bool vgr_queue_lock(struct vgr_queue *q);
void vgr_queue_unlock(struct vgr_queue *q);

/* Pushes a copy of the record `cmd` (h.op and h.flags set by the caller, h.size by this function)
 * of `len` bytes, then `n` bytes of `data`, padded. Waits for room if need be. Returns its sequence
 * number, 0 if the connection failed. */
uint64_t vgr_queue_push(struct vgr_queue *q, void *cmd, uint32_t len, const void *data, uint32_t n);

/* Allocates a heap block; waits for room if need be. Returns its address, NULL if the connection
 * failed or the block can never fit. Must be followed by vgr_queue_sent() or vgr_queue_get() before
 * the lock is dropped or the next block is allocated. */
void *vgr_queue_alloc(struct vgr_queue *q, uint64_t len, uint32_t *off, uint32_t *block);

/* The block belongs to the worker until command `seq` is done. `seq` 0 (the push failed) is
 * allowed. */
void vgr_queue_sent(struct vgr_queue *q, uint32_t block, uint64_t len, uint64_t seq);

/* Pushes the record `cmd` of `len` bytes as vgr_queue_push() does. The block belongs to the worker
 * until the command is done; the `n` bytes at arena offset `off` in the block are then copied to
 * `dst`, which must stay valid until a wait for the returned number has returned. Waits for room
 * among the pending gets if need be. Returns 0 if the connection failed: `dst` is zeros then. */
uint64_t vgr_queue_get(struct vgr_queue *q, void *cmd, uint32_t len, uint32_t block, uint32_t off,
                       uint32_t n, void *dst);

/* Makes everything pushed visible and wakes the worker if it sleeps. */
void vgr_queue_publish(struct vgr_queue *q);

/* The same, if the worker should begin: there is much for it, or it is awake and has nothing to do.
 * One that sleeps is left alone: woken for little, it might sleep again before the rest comes. */
void vgr_queue_publish_early(struct vgr_queue *q);

/* What is pushed from here on comes after command `seq` of another queue of the connection, which is
 * visible (vgr_queue_mark()). Returns the number of the command that waits for it, 0: it is done, or
 * the connection failed. */
uint64_t vgr_queue_after(struct vgr_queue *q, const struct vgr_queue *other, uint64_t seq);

/* Without `lock`: makes everything visible and returns the number of the last command, 0 if the
 * connection failed. */
uint64_t vgr_queue_mark(struct vgr_queue *q);

/* ---- Waiting. Without `lock`. ---------------------------------------------------------------- */

/* Delivers what is complete: copies finished pending gets. With `lock` held. On a failed connection
 * delivers zeros for all of them. */
void vgr_queue_drain(struct vgr_queue *q);

/* Waits until command `seq` is complete and its data, if any, was copied. Returns at once if it is
 * known to be. False if the connection failed (data is then zeros). */
bool vgr_queue_wait(struct vgr_queue *q, uint64_t seq);

/* queue_wait.c's part: waits for `done` to reach `seq`; everything up to it must be visible. With or
 * without `lock`. False if the connection failed. */
bool vgr_queue_reach(struct vgr_queue *q, uint64_t seq);

/* ---- Handles. With `lock` held. -------------------------------------------------------------- */

int vgr_handles_init(struct vgr_handles *h, uint32_t max);
void vgr_handles_free(struct vgr_handles *h);
uint32_t vgr_handles_take(struct vgr_handles *h); /* 0: none left */
void vgr_handles_give(struct vgr_handles *h, uint32_t handle);

#endif
