/* SPDX-License-Identifier: MIT */
#include "worker/queue.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "protocol/sys.h"
#include "worker/tensor.h"

/* Another queue is often about to reach what is waited for: it costs less to look than to sleep. */
#define SPIN_NS 20000u

/* ---- Opening ---- */

static bool has_objects(const struct vgr_ctx *c, uint32_t device)
{
    for (uint32_t i = 1; i <= VGR_CTX_MAX_BUFFERS; i++) {
        if (c->buffers[i].buffer && c->buffers[i].device == device)
            return true;
    }
    for (uint32_t i = 1; i <= VGR_CTX_MAX_STREAMS; i++) {
        if (c->streams[i].backend && c->streams[i].device == device)
            return true;
    }
    /* A graph need not lie in a buffer. */
    for (uint32_t i = 1; i <= VGR_CTX_MAX_GRAPHS; i++) {
        if (c->graphs[i])
            return true;
    }
    return false;
}

static int check_open(struct vgr_ctx *c, const struct vgr_cmd_queue_open *m)
{
    if (c->number)
        return vgr_ctx_fail(c, VGR_ERROR_COMMAND, "queues are opened in queue 0");
    if (vgr_ctx_device(c, m->device))
        return -1;
    if (!m->device || !c->backends.device[m->device].own_queue)
        return vgr_ctx_fail(c, VGR_ERROR_HANDLE, "device %u cannot have a queue of its own",
                            m->device);
    if (has_objects(c, m->device))
        return vgr_ctx_fail(c, VGR_ERROR_HANDLE, "device %u is in use in queue 0", m->device);
    if (m->ring_size < VGR_RING_MIN || m->ring_size > VGR_RING_MAX ||
        (m->ring_size & (m->ring_size - 1)) || m->off % VGR_CONTROL_SIZE ||
        !vgr_arena_heap(&c->arena, m->off, VGR_CONTROL_SIZE + (uint64_t)m->ring_size))
        return vgr_ctx_fail(c, VGR_ERROR_RANGE, "a ring of %u bytes at %u does not fit the heap",
                            m->ring_size, m->off);
    return 0;
}

/* The queue begins with what a context has after its handshake. */
static struct vgr_ctx *make_queue(const struct vgr_ctx *c, const struct vgr_cmd_queue_open *m)
{
    struct vgr_ctx *q = calloc(1, sizeof(*q));

    if (!q)
        return NULL;
    q->record = malloc(m->ring_size / 4);
    if (!q->record) {
        free(q);
        return NULL;
    }
    q->shared = c->shared;
    q->number = m->device;
    q->serves = 1u << m->device;
    q->arena = c->arena;
    q->backends = c->backends;
    q->hello = c->hello;
    q->map = c->map;
    q->memory = c->memory;
    q->counts = &c->shared->counts[m->device];
    pthread_mutex_init(&q->running, NULL);
    vgr_ring_consumer_init(&q->ring, c->arena.base + m->off,
                           c->arena.base + m->off + VGR_CONTROL_SIZE, m->ring_size);
    return q;
}

int vgr_queue_open(struct vgr_ctx *c, const struct vgr_cmd_queue_open *m)
{
    struct vgr_shared *s = c->shared;
    pthread_t thread;
    struct vgr_ctx *q;

    if (check_open(c, m))
        return -1;
    vgr_ctx_sync(c);
    q = make_queue(c, m);
    if (!q)
        return vgr_ctx_fail(c, VGR_ERROR_INTERNAL, "no memory for a queue");
    c->serves &= ~q->serves;
    vgr_counts_queue(s->counts, q->number);
    __atomic_store_n(&s->queue[q->number], q, __ATOMIC_RELEASE);
    if (!s->serve)
        return 0;
    if (pthread_create(&thread, NULL, s->serve, q))
        return vgr_ctx_fail(c, VGR_ERROR_INTERNAL, "the host cannot start a thread for a queue");
    pthread_detach(thread);
    return 0;
}

/* Another queue than `c` by its number, or NULL after vgr_ctx_fail(). */
static struct vgr_ctx *find(struct vgr_ctx *c, uint32_t number)
{
    struct vgr_ctx *q = NULL;

    if (number < VGR_MAX_DEVICES)
        q = __atomic_load_n(&c->shared->queue[number], __ATOMIC_ACQUIRE);
    if (!q || q == c) {
        vgr_ctx_fail(c, VGR_ERROR_HANDLE, "no other queue %u", number);
        return NULL;
    }
    return q;
}

/* ---- Copies ---- */

/* Stops another queue between two commands. Others may use what belongs to `c` before this returns,
 * and not after. */
static void stop(struct vgr_ctx *c, struct vgr_ctx *other)
{
    if (other->number < c->number) {
        pthread_mutex_unlock(&c->running);
        pthread_mutex_lock(&other->running);
        pthread_mutex_lock(&c->running);
    } else {
        pthread_mutex_lock(&other->running);
    }
}

/* The source of a copy, in a queue that is stopped, or NULL after vgr_ctx_fail(). */
static const struct vgr_host_buffer *source(struct vgr_ctx *c, const struct vgr_ctx *other,
                                            const struct vgr_cmd_copy *m)
{
    const struct vgr_host_buffer *b =
        m->src && m->src <= VGR_CTX_MAX_BUFFERS ? &other->buffers[m->src] : NULL;

    if (!b || !b->buffer) {
        vgr_ctx_fail(c, VGR_ERROR_HANDLE, "no buffer %u in queue %u", m->src, other->number);
        return NULL;
    }
    if (m->src_offset > b->size || m->len > b->size - m->src_offset) {
        vgr_ctx_fail(c, VGR_ERROR_RANGE, "a copy from outside buffer %u of queue %u", m->src,
                     other->number);
        return NULL;
    }
    return b;
}

int vgr_queue_copy(struct vgr_ctx *c, const struct vgr_cmd_copy *m,
                   const struct vgr_host_buffer *dst)
{
    struct vgr_ctx *other = find(c, m->src_queue);
    const struct vgr_host_buffer *src;
    struct ggml_tensor to, from;

    if (!other)
        return -1;
    vgr_ctx_sync(c);
    stop(c, other);
    src = source(c, other, m);
    if (src && m->len) {
        vgr_tensor_bytes(&to, dst, m->dst_offset, m->len);
        vgr_tensor_bytes(&from, src, m->src_offset, m->len);
        ggml_backend_tensor_copy(&from, &to);
    }
    pthread_mutex_unlock(&other->running);
    return src ? 0 : -1;
}

/* ---- Order ---- */

static uint64_t done_of(const struct vgr_ctx *c)
{
    return __atomic_load_n(&c->done, __ATOMIC_SEQ_CST);
}

static void want(struct vgr_ctx *other, uint64_t seq)
{
    uint64_t wanted = vgr_queue_wanted(other);

    while (wanted < seq && !__atomic_compare_exchange_n(&other->wait.wanted, &wanted, seq, true,
                                                        __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
    }
}

/* On a machine with several processors only, where `poll` says so. */
static bool spin(const struct vgr_ctx *c, const struct vgr_ctx *other, uint64_t seq)
{
    uint64_t until;

    if (!c->poll.max)
        return false;
    until = vgr_counts_now() + SPIN_NS;
    do {
        for (int i = 0; i < 32; i++) {
            if (done_of(other) >= seq)
                return true;
            vgr_ring_relax();
        }
    } while (vgr_counts_now() < until);
    return false;
}

/* With the lock: would `c` wait for itself? Queues in the chain that have what they wait for are
 * about to go on. */
static bool closes_circle(const struct vgr_ctx *c)
{
    const struct vgr_ctx *q = c->wait.blocker;

    while (q != c && q->wait.blocker && done_of(q->wait.blocker) < q->wait.seq)
        q = q->wait.blocker;
    return q == c;
}

void vgr_queue_nudge(const struct vgr_shared *s)
{
    uint64_t one = 1;

    if (VGR_SYS_AGAIN(write(s->nudge_fd, &one, sizeof(one))) < 0 && errno != EAGAIN)
        vgr_warn("cannot wake a queue: %m");
}

/* Sleeps until command `seq` of `other` is complete. */
static int block(struct vgr_ctx *c, struct vgr_ctx *other, uint64_t seq)
{
    struct vgr_shared *s = c->shared;
    bool circle;

    pthread_mutex_lock(&s->lock);
    c->wait.blocker = other;
    c->wait.seq = seq;
    __atomic_add_fetch(&other->wait.waiters, 1, __ATOMIC_SEQ_CST);
    circle = done_of(other) < seq && closes_circle(c);
    if (!circle && __atomic_load_n(&other->wait.idle, __ATOMIC_SEQ_CST))
        vgr_queue_nudge(s);
    while (!circle && done_of(other) < seq && !vgr_ctx_failed(c))
        pthread_cond_wait(&s->advanced, &s->lock);
    c->wait.blocker = NULL;
    __atomic_sub_fetch(&other->wait.waiters, 1, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&s->lock);
    return circle ? vgr_ctx_fail(c, VGR_ERROR_COMMAND, "queues wait for each other") : 0;
}

int vgr_queue_wait(struct vgr_ctx *c, const struct vgr_cmd_queue_wait *m)
{
    struct vgr_ctx *other = find(c, m->queue);
    int ret = 0;

    if (!other)
        return -1;
    if (done_of(other) >= m->seq)
        return 0;
    want(other, m->seq);
    /* Who waits for what came before must not wait for this, too. */
    vgr_ctx_complete(c, c->ring.seq - 1);
    pthread_mutex_unlock(&c->running);
    if (!spin(c, other, m->seq))
        ret = block(c, other, m->seq);
    pthread_mutex_lock(&c->running);
    return ret;
}

void vgr_queue_advanced(struct vgr_ctx *c)
{
    if (!__atomic_load_n(&c->wait.waiters, __ATOMIC_SEQ_CST))
        return;
    pthread_mutex_lock(&c->shared->lock);
    pthread_cond_broadcast(&c->shared->advanced);
    pthread_mutex_unlock(&c->shared->lock);
}
