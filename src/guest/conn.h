/* SPDX-License-Identifier: MIT
 *
 * conn.h - the process's connection to its worker on the host.
 *
 * Theory of operation
 * -------------------
 *
 * A process has one connection to each host, opened when GGML first counts our devices; if it fails,
 * another one may take its place later (conn_life.c). It owns the arena, in which the queues lie
 * (queue.h), one or one for each device.
 *
 * The arena's last part is the pool, where host buffers live (hostbuf.c): data of the program's that
 * needs no block of the heap on its way.
 *
 * The worker is not trusted to be there, nor to write sense. Once it has failed, or the other end
 * is gone, the connection is *failed* for good: pending gets deliver zeros, sends do nothing, waits
 * return at once with false, and the reason is logged once. The child of a fork() finds its parent's
 * connection failed, without a word, and gets another (conn_life.c).
 */
#ifndef VGR_GUEST_CONN_H
#define VGR_GUEST_CONN_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "guest/counters.h"
#include "guest/pool.h"
#include "guest/queue.h"
#include "guest/transport.h"
#include "protocol/names.h"

struct vgr_waiter; /* queue_wait.c */

#define VGR_MAX_HOSTS 4u

/* One of the guest's devices, or the socket of the direct front. conn_life.c's. */
struct vgr_host {
    struct vgr_node node;           /* its path is "": the direct front */
    struct vgr_conn *current, *old; /* old: replaced, still held; linked by `older` */
    int64_t failed_at;              /* the last attempt to renew, if it failed: seconds, else 0 */
};

struct vgr_conn {
    struct vgr_host *to;
    struct vgr_transport transport;
    struct vgr_queue *queue[VGR_MAX_DEVICES]; /* by device; several may have the same */
    pthread_mutex_t pool_lock;
    struct vgr_pool pool; /* of host buffers, behind the queues */
    uint32_t n_streams;   /* atomic; open ones of all queues */
    uint64_t kept;        /* atomic; tensors in the graphs that the worker keeps */

    int failed; /* atomic; sticky */

    pthread_mutex_t sleep_lock;
    pthread_cond_t sleep_cond;
    struct vgr_waiter *waiters;
    bool sleeping;

    uint32_t ring_size;     /* of queue 0, behind the control page */
    uint32_t reply_off;     /* in the arena */
    struct vgr_reply reply; /* the host's, checked */
    struct vgr_device_id id[VGR_MAX_DEVICES];
    struct vgr_names own, host;
    struct vgr_names_map map; /* wire numbers to the host's */
    struct vgr_counters counters;

    struct vgr_conn *older; /* conn_life.c's */
    uint32_t holders;
    uint64_t serial; /* counts connections, from 1 */
    bool inherited;  /* the parent process's: see conn_life.c */
};

/* The queue of a device if it is not that of a device before it, else NULL: for going through all. */
static inline struct vgr_queue *vgr_conn_queue(const struct vgr_conn *c, uint32_t device)
{
    struct vgr_queue *q = c->queue[device];

    return q && q->number == device ? q : NULL;
}

static inline struct vgr_control *vgr_conn_control(const struct vgr_conn *c)
{
    return (struct vgr_control *)c->transport.arena;
}

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

#endif
