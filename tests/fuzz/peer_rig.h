/* SPDX-License-Identifier: MIT
 *
 * peer_rig.h - a front with two contexts of a guest: an honest worker, and one in our hands (fuzz_peer.c).
 */
#ifndef VGR_FUZZ_PEER_RIG_H
#define VGR_FUZZ_PEER_RIG_H

#include "fuzz.h"

#include <poll.h>

#include "device/context.h"
#include "device/direct.h"
#include "device/gpu.h"
#include "device/report.h"
#include "device/stats.h"
#include "device/vhost_queue.h"
#include "device/watchdog.h"
#include "gpu_guest.h"
#include "peer_checks.h"
#include "peer_hands.h"
#include "peer_worker.h"
#include "test_loop.h"

#define ACTIONS   48
#define WORKERS   4 /* the honest one among them */
#define CLIENTS   3
#define OTHERS    (ACTIONS + 1)
#define LIMIT_MS  1  /* of a graph: the watchdog looks in each turn that waits */
#define CLIENT_MS 20 /* of a client that sends itself: it is a client for so long */
#define REST      16384 /* turns until the loop must be at rest: what fills a line takes some thousand */
#define PATIENCE  20000 /* ms, for what other processes do */
#define HONEST    1     /* context, resource and number of the worker */
#define HOSTILE   2
#define RING_SLOT 0 /* the honest context's chains */
#define WAIT_SLOT 1
#define FREE_SLOT 2 /* and those behind it: the hostile one's */

struct peer {
    pid_t pid; /* 0: none */
    int fds[PEER_FDS];
};

struct client {
    int fd; /* -1: none */
    unsigned kind;
    int line[2]; /* both ends: nobody serves it */
};

struct rig {
    struct fuzz_in in;
    struct fake_guest g;
    struct vgr_loop loop;
    struct vgr_worker_pool pool;
    struct vgr_watchdog dog;
    struct vgr_vhost_queue q;
    struct vgr_gpu gpu;
    struct vgr_direct direct[2]; /* the second one is a broker */
    struct vgr_stats stats;
    bool busy[SLOTS];           /* the device has the chain */
    uint64_t said;              /* by the honest worker */
    struct peer peers[WORKERS]; /* the first is the guest's */
    struct client clients[CLIENTS];
    int others[OTHERS]; /* far ends of lingering sockets */
    unsigned n_others;
};

static int hands_fd = -1; /* where workers send their descriptors */

/* ---- Workers in our hands ---- */

static inline struct vgr_worker *worker_of(struct rig *r, pid_t pid)
{
    struct vgr_worker *w = r->pool.first;

    while (w && w->pid != pid)
        w = w->next;
    return w;
}

static inline struct peer *peer_of(struct rig *r, pid_t pid)
{
    for (int i = 0; i < WORKERS; i++) {
        if (r->peers[i].pid == pid)
            return &r->peers[i];
    }
    return NULL;
}

static inline void peer_drop(struct peer *p)
{
    for (int i = 0; p->pid && i < PEER_FDS; i++) {
        if (p->fds[i] >= 0)
            close(p->fds[i]);
    }
    p->pid = 0;
}

/* Takes what a worker has sent; of one that is gone already nothing is kept. False: there is nothing. */
static inline bool take_message(struct rig *r, int ms)
{
    struct pollfd wait = {.fd = hands_fd, .events = POLLIN};
    int fds[PEER_FDS], flags = MSG_DONTWAIT;
    struct peer *p = NULL;
    struct vgr_worker *w;
    unsigned n = 0;
    pid_t pid;
    int ready;

    while ((ready = poll(&wait, 1, ms)) < 0 && errno == EINTR) { /* libFuzzer's clock */
    }
    if (ready <= 0)
        return false;
    FUZZ_CHECK(vgr_fds_receive(hands_fd, &pid, sizeof(pid), fds, PEER_FDS, &n, &flags) ==
               sizeof(pid));
    FUZZ_CHECK(n == PEER_FDS);
    w = worker_of(r, pid);
    if (w && w->attached == VGR_ATTACHED_VM)
        p = &r->peers[0]; /* the one before has been killed */
    for (int i = 1; w && !p && i < WORKERS; i++) {
        if (!worker_of(r, r->peers[i].pid))
            p = &r->peers[i];
    }
    for (unsigned i = 0; i < n && !p; i++)
        close(fds[i]);
    if (!p)
        return true;
    peer_drop(p);
    p->pid = pid;
    memcpy(p->fds, fds, sizeof(fds));
    return true;
}

static inline void take_hands(struct rig *r)
{
    for (struct vgr_worker *w = r->pool.first; w; w = w->next) {
        while (w->number != HONEST && !w->killed && !peer_of(r, w->pid))
            FUZZ_CHECK(take_message(r, PATIENCE));
    }
}

/* ---- The front ---- */

static inline void look_at_used(struct rig *r)
{
    int head;

    while ((head = guest_used(&r->g, NULL)) >= 0) {
        FUZZ_CHECK(head % 6 == 0 && head / 6 < (int)SLOTS && r->busy[head / 6]);
        r->busy[head / 6] = false;
    }
}

static inline void turn(struct rig *r, int ms)
{
    FUZZ_CHECK(!vgr_loop_turn(&r->loop, ms));
    FUZZ_CHECK(r->loop.record.most_units <= VGR_LOOP_MOST_UNITS);
    look_at_used(r);
    take_hands(r);
}

/* A turn that took too long by the clock leaves something for the next. */
static inline void kick(struct rig *r)
{
    int i = 0;

    vgr_event_signal(r->q.kick_fd);
    do {
        FUZZ_CHECK(i++ < REST);
        turn(r, 0);
    } while (r->loop.next < r->loop.n_events || r->loop.waiting);
}

static inline void serve_chain(struct vgr_vhost_queue *q, struct vgr_chain *c)
{
    vgr_gpu_command(&vgr_container_of(q, struct rig, q)->gpu, c);
}

static inline void workers_gone(struct vgr_gpu *gpu)
{
    FUZZ_CHECK(!gpu->n_dying);
}

/* Offers a command in `slot`, or if the device still has that one, does not. */
static inline void offer(struct rig *r, uint32_t slot, uint32_t type, uint32_t id, uint32_t op,
                         bool fence)
{
    if (r->busy[slot])
        return;
    honest_offer(&r->g, slot, type, id, op, fence);
    r->busy[slot] = true;
}

/* Also where a context with that number is there, or its resource waits for its last worker's end: then
 * some of these are refused. */
static inline void open_context(struct rig *r, uint32_t id)
{
    static const uint32_t types[] = {VGR_GPU_CTX_CREATE, VGR_GPU_RESOURCE_CREATE_3D,
                                     VGR_GPU_ATTACH_BACKING, VGR_GPU_CTX_ATTACH_RESOURCE,
                                     VGR_GPU_SUBMIT_3D};

    for (uint32_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        offer(r, FREE_SLOT + i, types[i], id, VGR_SUBMIT_OPEN, false);
    kick(r);
}

static inline struct vgr_context *context(struct rig *r, uint32_t id)
{
    return vgr_container_of(vgr_table_find(&r->gpu.contexts, id), struct vgr_context, node);
}

static inline struct vgr_control *honest_page(struct rig *r)
{
    return guest_ptr(&r->g, GPA_C + HONEST * FUZZ_ARENA);
}

static inline uint64_t honest_done(struct rig *r)
{
    return __atomic_load_n(&honest_page(r)->done, __ATOMIC_SEQ_CST);
}

/* Doorbell, fence, wake-up. What the worker does takes as long as the machine has others to serve. */
static inline void honest_goes_on(struct rig *r)
{
    const uint64_t *front = context(r, HONEST)->worker.front;
    uint64_t wakeups = front[VGR_FRONT_WAKEUPS], end = vgr_now_ms() + PATIENCE;

    FUZZ_CHECK(!r->busy[RING_SLOT] && !r->busy[WAIT_SLOT]);
    offer(r, RING_SLOT, VGR_GPU_SUBMIT_3D, HONEST, VGR_SUBMIT_DOORBELL, false);
    kick(r);
    FUZZ_CHECK(!r->busy[RING_SLOT]);
    do {
        offer(r, WAIT_SLOT, VGR_GPU_SUBMIT_3D, HONEST, VGR_SUBMIT_WAIT, true);
        kick(r);
        while (r->busy[WAIT_SLOT]) {
            FUZZ_CHECK(vgr_now_ms() < end);
            turn(r, 100);
        }
    } while (honest_done(r) != r->said + 1 || front[VGR_FRONT_WAKEUPS] == wakeups);
    r->said++;
    FUZZ_CHECK(honest_page(r)->state == VGR_STATE_READY);
}

/* Whatever the peers have left, it does not come up for ever. */
static inline void comes_to_rest(struct rig *r)
{
    int i = 0;

    do {
        FUZZ_CHECK(i++ < REST);
        turn(r, 0);
    } while (r->loop.n_events || r->loop.waiting);
}

static inline void check_reports(struct rig *r)
{
    const struct vgr_worker *w = &context(r, HONEST)->worker;
    size_t len;
    char *text = vgr_report_json(&r->pool, &len);

    FUZZ_CHECK(text && is_json(text, len));
    free(text);
    text = vgr_report_prometheus(&r->pool, &len);
    FUZZ_CHECK(text && is_metrics(text, len));
    free(text);
    FUZZ_CHECK(w->seen[VGR_COUNTER_COMMANDS] == 10 * r->said);
}

#endif
