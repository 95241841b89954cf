/* SPDX-License-Identifier: MIT
 *
 * Sending, delivering and failing: see conn.h.
 */
#include "guest/conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "guest/log.h"

/* The worker should begin before more than this has been prepared for it. */
#define PUBLISH_BYTES (256u << 10)

static const char *error_name(uint32_t error)
{
    static const char *const names[] = {
        [VGR_ERROR_NONE] = "no reason given",
        [VGR_ERROR_VERSION] = "no common protocol version",
        [VGR_ERROR_HELLO] = "malformed hello",
        [VGR_ERROR_ARENA] = "arena refused",
        [VGR_ERROR_NO_DEVICE] = "no device on the host",
        [VGR_ERROR_RING] = "ring out of order",
        [VGR_ERROR_COMMAND] = "malformed command",
        [VGR_ERROR_HANDLE] = "unknown handle",
        [VGR_ERROR_RANGE] = "out of range",
        [VGR_ERROR_GRAPH] = "graph refused",
        [VGR_ERROR_COMPUTE] = "computation failed",
        [VGR_ERROR_LIMIT] = "limit exceeded",
        [VGR_ERROR_WORKER_DIED] = "the worker died",
        [VGR_ERROR_INTERNAL] = "internal error",
    };

    return error < sizeof(names) / sizeof(names[0]) ? names[error] : "unknown error";
}

void vgr_conn_fail(struct vgr_conn *c, const char *why)
{
    struct vgr_control *ctl = c->ring.ctl;
    char text[VGR_CONTROL_TEXT];

    if (__atomic_exchange_n(&c->failed, 1, __ATOMIC_ACQ_REL))
        return;
    if (__atomic_load_n(&ctl->state, __ATOMIC_ACQUIRE) == VGR_STATE_FAILED) {
        vgr_say_clean(text, sizeof(text), ctl->error_text, sizeof(ctl->error_text));
        vgr_say_error("%s: error %u (%s) at command %llu: %s", why, ctl->error,
                      error_name(ctl->error), (unsigned long long)ctl->error_seq, text);
    } else {
        vgr_say_error("%s", why);
    }
}

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

/* ---- Sending ---- */

bool vgr_conn_lock(struct vgr_conn *c)
{
    if (vgr_conn_failed(c))
        return false;
    pthread_mutex_lock(&c->lock);
    if (!vgr_conn_failed(c))
        return true;
    pthread_mutex_unlock(&c->lock);
    return false;
}

void vgr_conn_unlock(struct vgr_conn *c)
{
    pthread_mutex_unlock(&c->lock);
}

void vgr_conn_publish(struct vgr_conn *c)
{
    if (c->published == c->ring.tail)
        return;
    c->published = c->ring.tail;
    c->visible = c->ring.seq;
    c->last = NULL;
    c->unseen = 0;
    if (vgr_ring_publish(&c->ring)) {
        vgr_count(c->counters.doorbells, 1);
        if (c->transport.ops->doorbell(&c->transport))
            vgr_conn_fail(c, "cannot reach the host");
    }
}

void vgr_conn_publish_early(struct vgr_conn *c)
{
    if (c->unseen >= PUBLISH_BYTES ||
        (vgr_ring_done(&c->ring) >= c->visible && !vgr_ring_asleep(&c->ring)))
        vgr_conn_publish(c);
}

/* Room for `size` bytes in the ring, waiting for it if need be. */
static void *reserve(struct vgr_conn *c, uint32_t size)
{
    void *p;

    while (!(p = vgr_ring_reserve(&c->ring, size))) {
        uint64_t done = vgr_ring_done(&c->ring);

        if (size > c->ring.size / 4 || vgr_ring_room(&c->ring, size) == -EPROTO ||
            done > c->ring.seq) {
            vgr_conn_fail(c, "the ring is out of order");
            return NULL;
        }
        /* Wait for half of what is on its way, so that the worker does not run dry meanwhile. */
        vgr_conn_publish(c);
        vgr_count(c->counters.stalls, 1);
        if (!vgr_conn_reach(c, done + (c->ring.seq - done + 1) / 2))
            return NULL;
    }
    return p;
}

uint64_t vgr_conn_push(struct vgr_conn *c, void *cmd, uint32_t len, const void *data, uint32_t n)
{
    struct vgr_cmd *h = cmd;
    uint64_t before = c->ring.bytes, seq;
    uint8_t *p;

    h->size = (len + n + 7) & ~7u;
    p = reserve(c, h->size);
    if (!p)
        return 0;
    memcpy(p, cmd, len);
    if (n)
        memcpy(p + len, data, n);
    seq = vgr_ring_commit(&c->ring, h->size);
    __atomic_store_n(&c->sent, seq, __ATOMIC_RELAXED);
    if (h->op == VGR_CMD_GRAPH_RUN)
        __atomic_store_n(&c->ran, seq, __ATOMIC_RELAXED);
    c->last = (struct vgr_cmd *)p;
    if (h->flags & VGR_CMD_F_AWAIT)
        c->awaited = seq;
    c->unseen += n;

    vgr_count(c->counters.commands, 1);
    vgr_count(c->counters.ring_bytes, c->ring.bytes - before);
    return seq;
}

/* Marks the command pushed last, not yet visible, as one to complete soon. */
static void await_last(struct vgr_conn *c)
{
    c->last->flags |= VGR_CMD_F_AWAIT;
    c->awaited = c->ring.seq;
    c->since_await = 0;
}

void *vgr_conn_alloc(struct vgr_conn *c, uint64_t len, uint32_t *off, uint32_t *block)
{
    uint64_t at;
    int err;

    vgr_heap_reclaim(&c->heap, __atomic_load_n(&c->done, __ATOMIC_RELAXED));
    while ((err = vgr_heap_alloc(&c->heap, len, &at, block))) {
        if (err != -EAGAIN)
            return NULL;
        if (c->last && c->awaited < vgr_heap_mark(&c->heap))
            await_last(c);
        vgr_conn_publish(c);
        vgr_count(c->counters.stalls, 1);
        if (!vgr_conn_reach(c, vgr_heap_mark(&c->heap)))
            return NULL;
        vgr_conn_drain(c);
        vgr_heap_reclaim(&c->heap, __atomic_load_n(&c->done, __ATOMIC_RELAXED));
    }
    *off = (uint32_t)at;
    return c->transport.arena + at;
}

void vgr_conn_sent(struct vgr_conn *c, uint32_t block, uint64_t len, uint64_t seq)
{
    if (!seq)
        return; /* Failed: the heap is not used any more. */
    vgr_heap_sent(&c->heap, block, seq, false);
    vgr_count(c->counters.upload_bytes, len);
    c->unseen += len;
    c->since_await += len;
    /* Ask for completion early enough that the heap never runs full of finished blocks. */
    if (c->since_await >= c->heap.size / 4 && c->last)
        await_last(c);
}

void vgr_conn_get_later(struct vgr_conn *c, uint32_t block, uint32_t off, uint32_t len,
                        uint64_t seq, void *dst)
{
    if (!seq) {
        memset(dst, 0, len);
        return;
    }
    vgr_heap_sent(&c->heap, block, seq, true);
    while (c->pending_next - c->pending_first == VGR_CONN_PENDING) {
        vgr_conn_publish(c);
        vgr_count(c->counters.stalls, 1);
        vgr_conn_reach(c, c->pending[c->pending_first % VGR_CONN_PENDING].seq);
        vgr_conn_drain(c);
    }
    c->pending[c->pending_next++ % VGR_CONN_PENDING] =
        (struct vgr_pending){.dst = dst, .seq = seq, .off = off, .len = len, .block = block};
    vgr_count(c->counters.download_bytes, len);
}

/* ---- Delivering ---- */

void vgr_conn_drain(struct vgr_conn *c)
{
    uint64_t done = __atomic_load_n(&c->done, __ATOMIC_RELAXED);
    bool failed = vgr_conn_failed(c);

    while (c->pending_first != c->pending_next) {
        const struct vgr_pending *p = &c->pending[c->pending_first % VGR_CONN_PENDING];

        if (p->seq <= done)
            memcpy(p->dst, c->transport.arena + p->off, p->len);
        else if (failed)
            memset(p->dst, 0, p->len);
        else
            break;
        vgr_heap_release(&c->heap, p->block);
        c->pending_first++;
    }
    __atomic_store_n(&c->drained, failed ? UINT64_MAX : done, __ATOMIC_RELEASE);
}

bool vgr_conn_wait(struct vgr_conn *c, uint64_t seq)
{
    if (seq <= __atomic_load_n(&c->drained, __ATOMIC_ACQUIRE))
        return !vgr_conn_failed(c);

    vgr_count(c->counters.waits, 1);
    if (vgr_conn_lock(c)) {
        if (seq > c->awaited) {
            struct vgr_cmd sync = {.op = VGR_CMD_SYNC, .flags = VGR_CMD_F_AWAIT};

            if (c->last && c->ring.seq == seq)
                await_last(c);
            else
                vgr_conn_push(c, &sync, sizeof(sync), NULL, 0);
        }
        vgr_conn_publish(c);
        vgr_conn_unlock(c);
        vgr_conn_reach(c, seq);
    }

    pthread_mutex_lock(&c->lock);
    vgr_conn_drain(c);
    pthread_mutex_unlock(&c->lock);
    return !vgr_conn_failed(c);
}
