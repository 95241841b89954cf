/* SPDX-License-Identifier: MIT
 *
 * Sending and delivering: see queue.h.
 */
#include "guest/queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "guest/conn.h"

/* The worker should begin before more than this has been prepared for it. */
#define PUBLISH_BYTES (256u << 10)

/* ---- Handles ---- */

int vgr_handles_init(struct vgr_handles *h, uint32_t max)
{
    h->max = max;
    h->hint = 1;
    h->used = calloc(max / 64 + 1, sizeof(*h->used));
    return h->used ? 0 : -ENOMEM;
}

void vgr_handles_free(struct vgr_handles *h)
{
    free(h->used);
    h->used = NULL;
}

uint32_t vgr_handles_take(struct vgr_handles *h)
{
    for (uint32_t n = 0, i = h->hint; n < h->max; n++, i = i < h->max ? i + 1 : 1) {
        if (!(h->used[i / 64] >> (i % 64) & 1)) {
            h->used[i / 64] |= UINT64_C(1) << (i % 64);
            h->hint = i < h->max ? i + 1 : 1;
            return i;
        }
    }
    return 0;
}

void vgr_handles_give(struct vgr_handles *h, uint32_t handle)
{
    h->used[handle / 64] &= ~(UINT64_C(1) << (handle % 64));
}

/* ---- Making ---- */

struct vgr_queue *vgr_queue_new(struct vgr_conn *c, uint32_t number, uint64_t page,
                                uint32_t ring_size, uint64_t heap, uint64_t end)
{
    const struct vgr_reply *r = &c->reply;
    struct vgr_queue *q = calloc(1, sizeof(*q));

    if (!q)
        return NULL;
    q->conn = c;
    q->number = number;
    pthread_mutex_init(&q->lock, NULL);
    vgr_ring_producer_init(&q->ring, c->transport.arena + page,
                           c->transport.arena + page + VGR_CONTROL_SIZE, ring_size);
    vgr_heap_init(&q->heap, heap, (end - heap) & ~(uint64_t)(VGR_HEAP_ALIGN - 1));
    q->buffer_epoch = calloc(r->max_buffers + 1, sizeof(*q->buffer_epoch));
    if (!q->buffer_epoch || vgr_handles_init(&q->buffers, r->max_buffers) ||
        vgr_handles_init(&q->streams, r->max_streams) ||
        vgr_handles_init(&q->graphs, r->max_graphs)) {
        vgr_queue_free(q);
        return NULL;
    }
    return q;
}

void vgr_queue_free(struct vgr_queue *q)
{
    vgr_handles_free(&q->buffers);
    vgr_handles_free(&q->streams);
    vgr_handles_free(&q->graphs);
    free(q->buffer_epoch);
    pthread_mutex_destroy(&q->lock);
    free(q);
}

/* ---- Sending ---- */

bool vgr_queue_lock(struct vgr_queue *q)
{
    if (vgr_conn_failed(q->conn))
        return false;
    pthread_mutex_lock(&q->lock);
    if (!vgr_conn_failed(q->conn))
        return true;
    pthread_mutex_unlock(&q->lock);
    return false;
}

void vgr_queue_unlock(struct vgr_queue *q)
{
    pthread_mutex_unlock(&q->lock);
}

void vgr_queue_publish(struct vgr_queue *q)
{
    if (q->published == q->ring.tail)
        return;
    q->published = q->ring.tail;
    q->visible = q->ring.seq;
    q->last = NULL;
    q->unseen = 0;
    if (vgr_ring_publish(&q->ring)) {
        vgr_count(q->conn->counters.doorbells, 1);
        if (q->conn->transport.ops->doorbell(&q->conn->transport))
            vgr_conn_fail(q->conn, "cannot reach the host");
    }
}

void vgr_queue_publish_early(struct vgr_queue *q)
{
    if (q->unseen >= PUBLISH_BYTES ||
        (vgr_ring_done(&q->ring) >= q->visible && !vgr_ring_asleep(&q->ring)))
        vgr_queue_publish(q);
}

/* Room for `size` bytes in the ring, waiting for it if need be. */
static void *reserve(struct vgr_queue *q, uint32_t size)
{
    uint64_t until = 0;
    void *p;

    while (!(p = vgr_ring_reserve(&q->ring, size))) {
        uint64_t done = vgr_ring_done(&q->ring);

        /* Once all commands are done, all have been taken from the ring. */
        if (size > q->ring.size / 4 || vgr_ring_room(&q->ring, size) == -EPROTO ||
            done > q->ring.seq || until == q->ring.seq) {
            vgr_conn_fail(q->conn, "the ring is out of order");
            return NULL;
        }
        /* Wait for half of what is on its way, so that the worker does not run dry meanwhile, and
         * for more each time, whatever the host says. */
        vgr_queue_publish(q);
        vgr_count(q->conn->counters.stalls, 1);
        done = done < until ? until : done;
        until = done + (q->ring.seq - done + 1) / 2;
        if (!vgr_queue_reach(q, until))
            return NULL;
    }
    return p;
}

uint64_t vgr_queue_push(struct vgr_queue *q, void *cmd, uint32_t len, const void *data, uint32_t n)
{
    struct vgr_cmd *h = cmd;
    uint64_t before = q->ring.bytes, seq;
    uint8_t *p;

    h->size = (len + n + 7) & ~7u;
    p = reserve(q, h->size);
    if (!p)
        return 0;
    memcpy(p, cmd, len);
    if (n)
        memcpy(p + len, data, n);
    seq = vgr_ring_commit(&q->ring, h->size);
    __atomic_store_n(&q->sent, seq, __ATOMIC_RELAXED);
    if (h->op == VGR_CMD_GRAPH_RUN)
        __atomic_store_n(&q->ran, seq, __ATOMIC_RELAXED);
    q->last = (struct vgr_cmd *)p;
    if (h->flags & VGR_CMD_F_AWAIT)
        q->awaited = seq;
    q->unseen += n;

    vgr_count(q->conn->counters.commands, 1);
    vgr_count(q->conn->counters.ring_bytes, q->ring.bytes - before);
    return seq;
}

/* Marks the command pushed last, not yet visible, as one to complete soon. */
static void await_last(struct vgr_queue *q)
{
    q->last->flags |= VGR_CMD_F_AWAIT;
    q->awaited = q->ring.seq;
    q->since_await = 0;
}

void *vgr_queue_alloc(struct vgr_queue *q, uint64_t len, uint32_t *off, uint32_t *block)
{
    uint64_t at;
    int err;

    vgr_heap_reclaim(&q->heap, __atomic_load_n(&q->done, __ATOMIC_ACQUIRE));
    while ((err = vgr_heap_alloc(&q->heap, len, &at, block))) {
        if (err != -EAGAIN)
            return NULL;
        if (q->last && q->awaited < vgr_heap_mark(&q->heap))
            await_last(q);
        vgr_queue_publish(q);
        vgr_count(q->conn->counters.stalls, 1);
        if (!vgr_queue_reach(q, vgr_heap_mark(&q->heap)))
            return NULL;
        vgr_queue_drain(q);
        vgr_heap_reclaim(&q->heap, __atomic_load_n(&q->done, __ATOMIC_ACQUIRE));
    }
    *off = (uint32_t)at;
    return q->conn->transport.arena + at;
}

void vgr_queue_sent(struct vgr_queue *q, uint32_t block, uint64_t len, uint64_t seq)
{
    if (!seq)
        return; /* Failed: the heap is not used any more. */
    vgr_heap_sent(&q->heap, block, seq, false);
    vgr_count(q->conn->counters.upload_bytes, len);
    q->unseen += len;
    q->since_await += len;
    /* Ask for completion early enough that the heap never runs full of finished blocks. */
    if (q->since_await >= q->heap.size / 4 && q->last)
        await_last(q);
}

/* Makes room for one more pending get. Returns false if there may be none: the connection failed, and
 * once a drain has seen that, nobody waits, and so drains, any more. */
static bool make_pending_room(struct vgr_queue *q)
{
    while (q->pending_next - q->pending_first == VGR_QUEUE_PENDING) {
        vgr_queue_publish(q);
        vgr_count(q->conn->counters.stalls, 1);
        if (!vgr_queue_reach(q, q->pending[q->pending_first % VGR_QUEUE_PENDING].seq))
            return false;
        vgr_queue_drain(q);
    }
    return __atomic_load_n(&q->drained, __ATOMIC_RELAXED) != UINT64_MAX;
}

uint64_t vgr_queue_get(struct vgr_queue *q, void *cmd, uint32_t len, uint32_t block, uint32_t off,
                       uint32_t n, void *dst)
{
    /* In this order: a get that has a number when the queue is drained counts as delivered. */
    uint64_t seq = make_pending_room(q) ? vgr_queue_push(q, cmd, len, NULL, 0) : 0;

    if (!seq) {
        memset(dst, 0, n);
        return 0;
    }
    vgr_heap_sent(&q->heap, block, seq, true);
    q->pending[q->pending_next++ % VGR_QUEUE_PENDING] =
        (struct vgr_pending){.dst = dst, .seq = seq, .off = off, .len = n, .block = block};
    vgr_count(q->conn->counters.download_bytes, n);
    return seq;
}

uint64_t vgr_queue_after(struct vgr_queue *q, const struct vgr_queue *other, uint64_t seq)
{
    struct vgr_cmd_queue_wait cmd = {
        .h.op = VGR_CMD_QUEUE_WAIT, .queue = other->number, .seq = seq};

    if (seq <= __atomic_load_n(&other->done, __ATOMIC_RELAXED))
        return 0;
    return vgr_queue_push(q, &cmd, sizeof(cmd), NULL, 0);
}

uint64_t vgr_queue_mark(struct vgr_queue *q)
{
    uint64_t seq;

    if (!vgr_queue_lock(q))
        return 0;
    vgr_queue_publish(q);
    seq = q->ring.seq;
    vgr_queue_unlock(q);
    return seq;
}

/* ---- Delivering ---- */

void vgr_queue_drain(struct vgr_queue *q)
{
    uint64_t done = __atomic_load_n(&q->done, __ATOMIC_ACQUIRE);
    bool failed = vgr_conn_failed(q->conn);

    while (q->pending_first != q->pending_next) {
        const struct vgr_pending *p = &q->pending[q->pending_first % VGR_QUEUE_PENDING];

        if (p->seq <= done)
            memcpy(p->dst, q->conn->transport.arena + p->off, p->len);
        else if (failed)
            memset(p->dst, 0, p->len);
        else
            break;
        vgr_heap_release(&q->heap, p->block);
        q->pending_first++;
    }
    __atomic_store_n(&q->drained, failed ? UINT64_MAX : done, __ATOMIC_RELEASE);
}

bool vgr_queue_wait(struct vgr_queue *q, uint64_t seq)
{
    if (seq <= __atomic_load_n(&q->drained, __ATOMIC_ACQUIRE))
        return !vgr_conn_failed(q->conn);

    vgr_count(q->conn->counters.waits, 1);
    if (vgr_queue_lock(q)) {
        if (seq > q->awaited) {
            struct vgr_cmd sync = {.op = VGR_CMD_SYNC, .flags = VGR_CMD_F_AWAIT};

            if (q->last && q->ring.seq == seq)
                await_last(q);
            else
                vgr_queue_push(q, &sync, sizeof(sync), NULL, 0);
        }
        vgr_queue_publish(q);
        vgr_queue_unlock(q);
        vgr_queue_reach(q, seq);
    }

    pthread_mutex_lock(&q->lock);
    vgr_queue_drain(q);
    pthread_mutex_unlock(&q->lock);
    return !vgr_conn_failed(q->conn);
}
