/* SPDX-License-Identifier: MIT
 *
 * conn.h - the process's connection to its worker on the host.
 *
 * Theory of operation
 * -------------------
 *
 * A process has one connection to each host, opened when GGML first counts our devices; if it fails,
 * another one may take its place later (conn_life.c). It owns the arena: the command ring, the heap, and the
 * handles of buffers, streams and graphs.
 *
 * Sending is pushing a record into the ring under `lock`; nothing waits for an answer. Records are
 * made visible in batches, by vgr_conn_publish() or by a wait. Data that comes back (downloads,
 * replies) is a *pending get*: a block of the heap and the place of the caller that it is copied to
 * once the worker is done with it. Whoever finds it done copies it, in order of sequence numbers:
 * the caller's own wait, or a thread that needs the room.
 *
 * The arena's last part is the pool, where host buffers live (hostbuf.c): data of the program's that
 * needs no block of the heap on its way.
 *
 * Waiting is for one number: the worker's `done`. A waiter polls as waitplan.h plans it, then sleeps
 * in the transport. Only one thread sleeps there, for the lowest number that any waiter needs; the
 * others wait for it on a condition variable. Wake-ups are hints: every sleep has a limit and is
 * followed by a look at shared memory.
 *
 * The worker is not trusted to be there, nor to write sense. Once it has failed, or the other end
 * is gone, the connection is *failed* for good: pending gets deliver zeros, sends do nothing, waits
 * return at once with false, and the reason is logged once. A child after fork() finds the
 * connection failed, without a word.
 *
 * Lock order: lock, then sleep_lock. Nobody waits for the host with sleep_lock held.
 */
#ifndef VGR_GUEST_CONN_H
#define VGR_GUEST_CONN_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "guest/counters.h"
#include "guest/heap.h"
#include "guest/pool.h"
#include "guest/transport.h"
#include "guest/waitplan.h"
#include "protocol/names.h"
#include "protocol/ring.h"

#define VGR_CONN_PENDING 1024u /* pending gets at once; a power of two */
#define VGR_CONN_INLINE  512u  /* uploads of at most this go into the ring itself */

struct vgr_waiter; /* conn_wait.c */

/* A set of handles 1..max. */
struct vgr_handles {
    uint32_t max;
    uint32_t hint;  /* where to look first */
    uint64_t *used; /* bit per handle, bit 0 unused */
};

#define VGR_MAX_HOSTS 4u

/* One of the guest's devices, or the socket of the direct front. conn_life.c's. */
struct vgr_host {
    char node[VGR_NODE_SIZE];       /* "": the direct front */
    struct vgr_conn *current, *old; /* old: replaced, still held; linked by `older` */
    int64_t failed_at;              /* the last attempt to renew, if it failed: seconds, else 0 */
};

struct vgr_conn {
    struct vgr_host *to;
    pthread_mutex_t lock;
    struct vgr_transport transport;
    struct vgr_ring_producer ring;
    struct vgr_heap heap;
    struct vgr_pool pool; /* of host buffers, behind the heap */
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
    } pending[VGR_CONN_PENDING];
    uint32_t pending_first, pending_next;
    struct vgr_handles buffers, streams, graphs;
    uint32_t *buffer_epoch; /* by handle: times that it was freed */
    uint32_t graphs_per_stream;

    int failed;       /* atomic; sticky */
    uint64_t sent;    /* atomic; ring.seq for those without the lock */
    uint64_t ran;     /* atomic; the graph run pushed last */
    uint64_t done;    /* atomic; highest number known to be complete */
    uint64_t drained; /* atomic; pending gets up to here are delivered */

    pthread_mutex_t sleep_lock;
    pthread_cond_t sleep_cond;
    struct vgr_waiter *waiters;
    bool sleeping;
    uint64_t armed;
    struct vgr_waitplan plan;

    uint32_t reply_off;     /* in the arena */
    struct vgr_reply reply; /* the host's, checked */
    struct vgr_names own, host;
    struct vgr_names_map map; /* wire numbers to the host's */
    struct vgr_counters counters;

    struct vgr_conn *older; /* conn_life.c's */
    uint32_t holders;
    uint64_t serial; /* counts connections, from 1 */
};

/* ---- The process's connections (conn_life.c). Thread-safe. ----------------------------------- */

/* Finds the hosts and connects to them, by the first call. How many there are. */
unsigned vgr_hosts_find(void);

/* The host of this number, NULL: there are fewer. It lives as long as the process. */
struct vgr_host *vgr_host_at(unsigned i);

/* Holds the host's current connection and returns it: it is not closed before it is released as often
 * as it was held. */
struct vgr_conn *vgr_conn_hold(struct vgr_host *h);

/* The same for one that works: if the current one has failed, a new one takes its place. NULL if
 * there is none to be had. */
struct vgr_conn *vgr_conn_hold_working(struct vgr_host *h);

/* Holds the connection in whose arena `p` points; NULL if there is none. */
struct vgr_conn *vgr_conn_hold_at(const void *p);

/* Holds once more what the caller holds. */
void vgr_conn_hold_again(struct vgr_conn *c);

void vgr_conn_release(struct vgr_conn *c);

/* Opens a connection, saying why if that fails, and closes one (conn_open.c). */
struct vgr_conn *vgr_conn_open(struct vgr_host *h);
void vgr_conn_close(struct vgr_conn *c);

/* True once the connection is failed. */
static inline bool vgr_conn_failed(const struct vgr_conn *c)
{
    return __atomic_load_n(&c->failed, __ATOMIC_ACQUIRE);
}

/* Makes the connection failed and logs `why` once, with the host's own words if it has any. */
void vgr_conn_fail(struct vgr_conn *c, const char *why);

/* ---- Sending. With `lock` held. -------------------------------------------------------------- */

/* Locks the connection for sending. False, and not locked, if it is failed. */
bool vgr_conn_lock(struct vgr_conn *c);
void vgr_conn_unlock(struct vgr_conn *c);

/* Pushes a copy of the record `cmd` (h.op and h.flags set by the caller, h.size by this function)
 * of `len` bytes, then `n` bytes of `data`, padded. Waits for room if need be. Returns its sequence
 * number, 0 if the connection failed. */
uint64_t vgr_conn_push(struct vgr_conn *c, void *cmd, uint32_t len, const void *data, uint32_t n);

/* Allocates a heap block; waits for room if need be. Returns its address, NULL if the connection
 * failed or the block can never fit. Must be followed by vgr_conn_sent() or vgr_conn_get_later()
 * before the lock is dropped or the next block is allocated. */
void *vgr_conn_alloc(struct vgr_conn *c, uint64_t len, uint32_t *off, uint32_t *block);

/* The block belongs to the worker until command `seq` is done. `seq` 0 (the push failed) is
 * allowed. */
void vgr_conn_sent(struct vgr_conn *c, uint32_t block, uint64_t len, uint64_t seq);

/* As vgr_conn_sent(), and the `len` bytes at arena offset `off` in the block are then copied to
 * `dst`, which must stay valid until a wait for `seq` has returned. */
void vgr_conn_get_later(struct vgr_conn *c, uint32_t block, uint32_t off, uint32_t len,
                        uint64_t seq, void *dst);

/* Makes everything pushed visible and wakes the worker if it sleeps. */
void vgr_conn_publish(struct vgr_conn *c);

/* The same, if the worker should begin: there is much for it, or it is awake and has nothing to do. One
 * that sleeps is left alone: woken for little, it might sleep again before the rest comes. */
void vgr_conn_publish_early(struct vgr_conn *c);

/* ---- Waiting. Without `lock`. ---------------------------------------------------------------- */

/* Delivers what is complete: copies finished pending gets. With `lock` held. On a failed connection
 * delivers zeros for all of them. */
void vgr_conn_drain(struct vgr_conn *c);

/* Waits until command `seq` is complete and its data, if any, was copied. Returns at once if it is
 * known to be. False if the connection failed (data is then zeros). */
bool vgr_conn_wait(struct vgr_conn *c, uint64_t seq);

/* conn_wait.c's part: waits for `done` to reach `seq`; everything up to it must be visible. With or
 * without `lock`. False if the connection failed. */
bool vgr_conn_reach(struct vgr_conn *c, uint64_t seq);

/* ---- Handles. With `lock` held. -------------------------------------------------------------- */

int vgr_handles_init(struct vgr_handles *h, uint32_t max);
void vgr_handles_free(struct vgr_handles *h);
uint32_t vgr_handles_take(struct vgr_handles *h); /* 0: none left */
void vgr_handles_give(struct vgr_handles *h, uint32_t handle);

#endif
