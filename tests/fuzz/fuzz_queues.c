/* SPDX-License-Identifier: MIT
 *
 * fuzz_queues.c - a guest that uses several devices at once: queues, in threads as in a worker.
 *
 * Theory of operation
 * -------------------
 *
 * The context of worker_rig.h has three devices here, each of which may get a queue of its own. Every
 * queue, the first one too, is served by the worker's loop in a thread, with a doorbell that rings. The
 * input becomes commands of each queue (worker_guest.h), and what is between queues: waits, copies,
 * queues opened. A wait is mostly for what has been sent, now and then for what comes later or never.
 * All queues run on one processor, at their own pace, so an input does not always mean the very same.
 *
 * After each burst all queues must come to rest: with everything complete, or with a context that has
 * failed. Queues that wait for each other, or for ever, are what libFuzzer's time limit finds.
 */
#define ARENA  (1u << 20)
#define BLOCKS (ARENA - (640u << 10)) /* of all guests */
#include "worker_guest.h"

#include <pthread.h>
#include <time.h>

#include "common/line.h"
#include "worker/queue.h"

#define QUEUES 3u
#define BURSTS 8
#define MEMORY (64u << 20)

#define QUEUE_PAGES REPLY /* which nobody needs after the handshake */
#define QUEUE_SIZE  (4096u + RING)

static_assert(REPLY + (QUEUES - 1) * QUEUE_SIZE <= DATA, "fits");

struct rig {
    struct fuzz_in in;
    struct vgr_ctx *c;
    pthread_t thread; /* of the first queue */
    struct guest guest[QUEUES];
};

static int bell, workers; /* the line: ours, theirs */
static unsigned ended;    /* atomic; threads of further queues */

/* ---- Threads ---- */

/* As main.c of vgr-worker does; but there the process ends. */
static void *serve_first(void *queue)
{
    struct vgr_ctx *c = queue;

    if (!sigsetjmp(gave_up, 0)) {
        vgr_ctx_loop(c);
    } else {
        vgr_ctx_fail(c, VGR_ERROR_COMPUTE, "the host's GGML gave up");
        pthread_mutex_unlock(&c->running);
    }
    return NULL;
}

static void *serve_further(void *queue)
{
    serve_first(queue);
    __atomic_add_fetch(&ended, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static struct vgr_ctx *queue_at(uint32_t number)
{
    return __atomic_load_n(&shared.queue[number], __ATOMIC_ACQUIRE);
}

static void ring(void)
{
    vgr_line_ring(bell);
}

static bool at_rest(void)
{
    for (uint32_t i = 0; i < VGR_MAX_DEVICES; i++) {
        const struct vgr_ctx *q = queue_at(i);

        if (q && (!__atomic_load_n(&q->wait.idle, __ATOMIC_SEQ_CST) || vgr_ring_pending(&q->ring) ||
                  vgr_queue_wanted(q) > __atomic_load_n(&q->done, __ATOMIC_SEQ_CST)))
            return false;
    }
    return true;
}

/* Shows a queue what its guest has for it. */
static void publish(struct rig *r, uint32_t queue)
{
    if (queue_at(queue))
        vgr_ring_publish(&r->guest[queue].ring);
    ring();
}

/* What is waited for here is done by threads on this very processor. */
static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000}, NULL);
}

/* Lets the queues take what they have. False if the context is over. */
static bool settle(struct rig *r)
{
    for (uint32_t i = 0; i < QUEUES; i++)
        publish(r, i);
    while (!vgr_ctx_failed(r->c) && !(at_rest() && at_rest()))
        nap();
    if (vgr_ctx_failed(r->c)) {
        FUZZ_CHECK(control()->state == VGR_STATE_FAILED && control()->error_text[0]);
        FUZZ_CHECK(memchr(control()->error_text, 0, sizeof(control()->error_text)));
        return false;
    }
    for (uint32_t i = 0; i < QUEUES; i++) {
        if (queue_at(i)) {
            r->guest[i].c = queue_at(i);
            look_at_buffers(&r->guest[i]);
        }
        r->guest[i].next_block = BLOCKS + i * ((ARENA - BLOCKS) / QUEUES);
    }
    return true;
}

static void finish(struct rig *r)
{
    unsigned further = 0;

    __atomic_store_n(&shared.failed, VGR_CTX_FAILED, __ATOMIC_SEQ_CST);
    ring();
    pthread_mutex_lock(&shared.lock);
    pthread_cond_broadcast(&shared.advanced);
    pthread_mutex_unlock(&shared.lock);
    pthread_join(r->thread, NULL);
    for (uint32_t i = 1; i < VGR_MAX_DEVICES; i++)
        further += queue_at(i) != NULL;
    while (__atomic_load_n(&ended, __ATOMIC_SEQ_CST) < further) {
        ring();
        pthread_mutex_lock(&shared.lock);
        pthread_cond_broadcast(&shared.advanced);
        pthread_mutex_unlock(&shared.lock);
        nap();
    }
    while (vgr_line_take(workers) > 0 || vgr_line_take(bell) > 0) {
    }
    free_context(r->c);
}

/* ---- Commands ---- */

static bool add(struct guest *g, void *cmd, uint16_t op, uint32_t size)
{
    struct vgr_cmd *h = cmd;
    void *at = vgr_ring_reserve(&g->ring, size);

    if (!at)
        return false;
    h->op = op;
    h->size = size;
    memcpy(at, cmd, size);
    vgr_ring_commit(&g->ring, size);
    return true;
}

#define ADD(g, cmd, op) add(g, &(cmd), op, sizeof(cmd))

/* The queue of a device gets its place, or rarely another one. */
static void open_queue(struct rig *r, uint32_t device)
{
    struct vgr_cmd_queue_open m = {
        .device = device, .off = QUEUE_PAGES + (device - 1) * QUEUE_SIZE, .ring_size = RING};

    if (fuzz_rarely(&r->in))
        m.off = fuzz_below(&r->in, 2) ? fuzz_u32(&r->in) : 4096 * fuzz_u8(&r->in);
    if (fuzz_rarely(&r->in))
        m.ring_size = (uint32_t)fuzz_size(&r->in);
    ADD(&r->guest[0], m, VGR_CMD_QUEUE_OPEN);
}

static bool wait_for(struct rig *r, struct guest *g, uint32_t queue, uint64_t seq)
{
    struct vgr_cmd_queue_wait m = {.queue = queue, .seq = seq};

    return ADD(g, m, VGR_CMD_QUEUE_WAIT);
}

/* For what was sent, or rarely for what was not. */
static bool some_wait(struct rig *r, struct guest *g)
{
    uint32_t queue = fuzz_mostly(&r->in, QUEUES);
    struct guest *other = &r->guest[queue % QUEUES];
    uint64_t seq = other->ring.seq;

    if (fuzz_rarely(&r->in))
        seq += fuzz_below(&r->in, 2) ? 1 + fuzz_below(&r->in, 4) : fuzz_size(&r->in);
    else if (seq)
        seq -= fuzz_below(&r->in, 4) % seq;
    publish(r, queue % QUEUES);
    return wait_for(r, g, queue, seq);
}

/* A copy between queues, with the waits that belong to it, most of the time. */
static bool some_copy(struct rig *r, struct guest *g)
{
    uint32_t from = fuzz_mostly(&r->in, QUEUES);
    struct guest *other = &r->guest[from % QUEUES];
    struct vgr_cmd_copy m = {.src_queue = (uint16_t)from};
    uint8_t waits = fuzz_u8(&r->in);

    g->in = r->in;
    m.dst = buffer_handle(g);
    m.src = buffer_handle(g);
    m.dst_offset = range(g);
    m.src_offset = range(g);
    m.len = range(g);
    r->in = g->in;
    publish(r, from % QUEUES);
    if (waits & 3 && !wait_for(r, g, from, other->ring.seq))
        return false;
    if (!ADD(g, m, VGR_CMD_COPY))
        return false;
    publish(r, g->device);
    return !(waits & 12) || other == g || !queue_at(from % QUEUES) ||
           wait_for(r, other, g->device, g->ring.seq);
}

/* False if a ring is full. */
static bool step(struct rig *r)
{
    uint32_t device = fuzz_below(&r->in, QUEUES);
    uint8_t what = fuzz_u8(&r->in);
    struct guest *g = &r->guest[queue_at(device) ? device : 0];
    bool room = true;

    if (what < 0x30) {
        room = some_wait(r, g);
    } else if (what < 0x60) {
        room = some_copy(r, g);
    } else if (what < 0x68) {
        open_queue(r, 1 + fuzz_below(&r->in, QUEUES - 1));
    } else { /* it reads from the same input */
        g->in = r->in;
        room = push_some(g);
        r->in = g->in;
    }
    if (fuzz_below(&r->in, 4) == 0)
        publish(r, g->device);
    if (fuzz_rarely(&r->in))
        fuzz_bytes(&r->in, arena + HEAP + fuzz_u32(&r->in) % (ARENA - HEAP - 64), 64);
    return room;
}

/* ---- The whole ---- */

static void begin(struct rig *r)
{
    uint8_t how = fuzz_u8(&r->in);

    r->c = ready_context(QUEUES);
    shared.line_fd = workers;
    shared.memory.limit = MEMORY;
    shared.serve = serve_further;
    ended = 0;
    for (uint32_t i = 0; i < QUEUES; i++) {
        struct guest *g = &r->guest[i];

        g->c = r->c;
        g->concurrent = true;
        g->device = i;
        if (i)
            vgr_ring_producer_init(&g->ring, arena + QUEUE_PAGES + (i - 1) * QUEUE_SIZE,
                                   arena + QUEUE_PAGES + (i - 1) * QUEUE_SIZE + 4096, RING);
        else
            vgr_ring_producer_init(&g->ring, arena, arena + 4096, RING);
        if (i && how & 3)
            open_queue(r, i);
    }
    FUZZ_CHECK(!pthread_create(&r->thread, NULL, serve_first, r->c));
    if (!settle(r))
        return;
    for (uint32_t i = 0; i < QUEUES; i++) {
        if (queue_at(i))
            open_shop(&r->guest[i], i);
    }
    settle(r);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    rig_init(QUEUES);
    FUZZ_CHECK(!vgr_line_make(&bell, &workers));
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct rig r;

    memset(&r, 0, sizeof(r));
    r.in = (struct fuzz_in){data, size};
    begin(&r);
    for (int i = 0; i < BURSTS && r.in.left && !vgr_ctx_failed(r.c); i++) {
        for (uint32_t n = 1 + fuzz_below(&r.in, 32); n && step(&r); n--) {
        }
        if (!settle(&r))
            break;
    }
    finish(&r);
    return 0;
}
