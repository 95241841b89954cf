/* SPDX-License-Identifier: MIT
 *
 * loop.c - the life of a queue of a ready context: poll, run, complete, sleep.
 *
 * Theory of operation
 * -------------------
 *
 * While commands come, the loop never sleeps and needs no system call of ours. When the ring is
 * empty it polls for a while, then says so (asleep) and sleeps until the doorbell rings.
 *
 * How long it polls follows the gaps between commands: somewhat longer than the longest gap of late
 * that polling can bridge at all. A program that generates text has such a gap between tokens, and
 * finds the worker awake. Gaps that are too long to bridge, time after time, make the budget shrink
 * to next to nothing: an idle guest costs one budget, once. If the clock jumps while we poll, others
 * want our processor: the bound is lowered, and recovers slowly. Where the device is a CPU, it is the
 * very processor that the guest may need: the bound is low. A machine with one CPU does not poll.
 *
 * The doorbell is the context's, and wakes all queues that sleep. One whose `asleep` is still set was
 * not meant and sleeps on. Whoever finds the line rung first empties it, so that there is room for the next
 * ring, and has taken the sign from under the eyes of queues that were waking up for it; so it nudges them
 * by an eventfd that nobody reads.
 */
#include <errno.h>
#include <sched.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "protocol/sys.h"
#include "worker/context.h"
#include "worker/queue.h"

#define US UINT64_C(1000) /* ns */

#define GAP_MIN     (2 * US)
#define GAP_MAX_CPU (200 * US)
#define GAP_MAX     (1000 * US)

/* The clock jumps by so much between two looks only if somebody else has run. */
#define JUMP (50 * US)

void vgr_ctx_complete(struct vgr_ctx *c, uint64_t seq)
{
    vgr_ctx_sync(c);
    if (c->done == seq)
        return;
    __atomic_store_n(&c->done, seq, __ATOMIC_SEQ_CST);
    if (vgr_ring_complete(&c->ring, seq))
        vgr_ctx_wake(c);
    vgr_queue_advanced(c);
}

/* Makes everything read so far complete and tells the guest. */
static void complete(struct vgr_ctx *c)
{
    vgr_ctx_complete(c, c->ring.seq);
}

/* The same outside of drain(). */
static void complete_idle(struct vgr_ctx *c)
{
    if (c->done == c->ring.seq)
        return;
    pthread_mutex_lock(&c->running);
    complete(c);
    pthread_mutex_unlock(&c->running);
}

/* Does another queue wait for what is not complete yet? */
static bool wanted(const struct vgr_ctx *c)
{
    return vgr_queue_wanted(c) > c->done;
}

/* And has all that is waited for been run? To complete every command before would be to wait for the
 * device each time. Where several queues wait here, the last one's command counts. */
static bool owed(const struct vgr_ctx *c)
{
    return wanted(c) && vgr_queue_wanted(c) <= c->ring.seq;
}

/* Runs what is in the ring. */
static void drain(struct vgr_ctx *c)
{
    while (!vgr_ctx_failed(c)) {
        struct vgr_cmd *h = (struct vgr_cmd *)c->record;
        int n = vgr_ring_next(&c->ring, c->record, c->ring.size / 4);

        if (!n)
            return;
        if (n < 0) {
            vgr_ctx_fail(c, VGR_ERROR_RING, "the ring is corrupt at byte %u", c->ring.head);
            return;
        }
        vgr_ring_release(&c->ring);
        vgr_counts_set(c->counts, VGR_COUNTER_COMMANDS, c->ring.seq);
        vgr_counts_set(c->counts, VGR_COUNTER_RING_BYTES, c->ring.bytes);
        if (vgr_ctx_dispatch(c, h))
            return;
        if (!c->dirty || (h->flags & VGR_CMD_F_AWAIT) || owed(c))
            complete(c);
    }
}

/* Notes a gap of `ns` between commands. */
static void learn_gap(struct vgr_poll *p, uint64_t ns)
{
    if (ns > p->bound) {
        /* One long pause happens to everybody. */
        if (p->too_long++)
            p->gap = p->gap / 2 > GAP_MIN ? p->gap / 2 : GAP_MIN;
        return;
    }
    p->too_long = 0;
    if (ns > p->gap)
        p->gap = (uint32_t)ns;
    else
        p->gap -= (p->gap - (uint32_t)ns) / 256;
}

static void learn_crowd(struct vgr_poll *p, bool crowded)
{
    if (crowded)
        p->bound = p->bound / 2 > GAP_MIN ? p->bound / 2 : GAP_MIN;
    else
        p->bound += (p->max - p->bound) / 64;
}

/* Polls for a command. */
static bool poll_ring(struct vgr_ctx *c)
{
    struct vgr_poll *p = &c->poll;
    uint64_t begin, now, last, budget;
    bool found = false, crowded = false;

    p->idle_since = 0;
    if (vgr_ring_pending(&c->ring))
        return true;
    if (!p->max)
        return false;
    begin = last = now = vgr_counts_now();
    budget = p->gap + p->gap / 2 < p->bound ? p->gap + p->gap / 2 : p->bound;
    while (!found && now - begin < budget) {
        for (int i = 0; i < 32 && !found; i++) {
            found = vgr_ring_pending(&c->ring);
            vgr_ring_relax();
        }
        if (!found && wanted(c))
            complete_idle(c);
        now = vgr_counts_now();
        crowded |= now - last > JUMP;
        last = now;
    }
    learn_crowd(p, crowded);
    if (found) {
        vgr_counts_add(c->counts, VGR_COUNTER_SPUN, 1);
        learn_gap(p, now - begin);
    } else {
        p->idle_since = begin;
    }
    return found;
}

/* An epoll that tells of every ring and every nudge, by its edge. -1 and errno on failure. */
static int open_sleep(const struct vgr_shared *s)
{
    struct epoll_event line = {.events = EPOLLIN | EPOLLET, .data.fd = s->line_fd};
    struct epoll_event nudge = {.events = EPOLLIN | EPOLLET, .data.fd = s->nudge_fd};
    int fd = epoll_create1(EPOLL_CLOEXEC);

    if (fd >= 0 && (epoll_ctl(fd, EPOLL_CTL_ADD, s->line_fd, &line) ||
                    epoll_ctl(fd, EPOLL_CTL_ADD, s->nudge_fd, &nudge))) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static int sleep_of(struct vgr_shared *s, uint32_t queue)
{
    if (!s->sleep_fd[queue])
        s->sleep_fd[queue] = open_sleep(s);
    return s->sleep_fd[queue];
}

int vgr_ctx_prepare_sleep(struct vgr_shared *s, uint32_t n_queues)
{
    for (uint32_t i = 0; i < n_queues; i++) {
        if (sleep_of(s, i) < 0)
            return -errno;
    }
    return 0;
}

/* A line that is closed has no more edges: the guest has gone, and the front is about to notice. */
static void empty_line(const struct vgr_ctx *c)
{
    char bytes[512];

    while (VGR_SYS_AGAIN(read(c->shared->line_fd, bytes, sizeof(bytes))) > 0) {
    }
    if (vgr_queue_several(c->shared))
        vgr_queue_nudge(c->shared);
}

/* Sleeps until something has happened. -1 and errno if nothing can any more. */
static int sleep_once(struct vgr_ctx *c)
{
    int n, fd = sleep_of(c->shared, c->number);
    struct epoll_event e;

    if (fd < 0)
        return -1;
    n = epoll_wait(fd, &e, 1, -1);
    if (n < 0)
        return errno == EINTR ? 0 : -1;
    if (n && e.data.fd == c->shared->line_fd)
        empty_line(c);
    return 0;
}

/* Until this queue is meant. It may also be that another one wants what was never sent. */
static void wait_for_doorbell(struct vgr_ctx *c)
{
    while (!vgr_ring_rung(&c->ring) && !vgr_ring_pending(&c->ring) && !wanted(c) &&
           !vgr_ctx_failed(c)) {
        if (sleep_once(c)) {
            vgr_ctx_fail(c, VGR_ERROR_INTERNAL, "the doorbell is gone: %m");
            return;
        }
    }
}

/* Says that the queue sleeps. False if it must not. */
static bool go_to_sleep(struct vgr_ctx *c)
{
    if (!vgr_ring_sleep_begin(&c->ring))
        return false;
    vgr_queue_idle(c, true);
    if (!wanted(c))
        return true;
    /* What is wanted was visible in the ring before it was wanted. */
    if (!vgr_ring_pending(&c->ring))
        vgr_ctx_fail(c, VGR_ERROR_COMMAND, "a queue waits for a command that was never sent");
    vgr_queue_idle(c, false);
    vgr_ring_sleep_end(&c->ring);
    return false;
}

static void sleep_on_doorbell(struct vgr_ctx *c)
{
    complete_idle(c);
    if (!go_to_sleep(c))
        return;
    vgr_counts_add(c->counts, VGR_COUNTER_SLEEPS, 1);
    vgr_counts_begin(c->counts, VGR_COUNTER_ASLEEP);
    wait_for_doorbell(c);
    vgr_counts_end(c->counts, VGR_COUNTER_ASLEEP);
    vgr_counts_add(c->counts, VGR_COUNTER_DOORBELLS, vgr_ring_rung(&c->ring));
    vgr_queue_idle(c, false);
    vgr_ring_sleep_end(&c->ring);
    if (c->poll.idle_since)
        learn_gap(&c->poll, vgr_counts_now() - c->poll.idle_since);
}

static void start_polling(struct vgr_ctx *c)
{
    cpu_set_t cpus;
    bool gpu = false;

    if (sched_getaffinity(0, sizeof(cpus), &cpus) || CPU_COUNT(&cpus) < 2)
        return;
    for (uint32_t i = 0; i < c->backends.n; i++)
        gpu |= (c->serves >> i & 1) &&
               ggml_backend_dev_type(c->backends.device[i].dev) != GGML_BACKEND_DEVICE_TYPE_CPU;
    c->poll.max = c->poll.bound = gpu ? GAP_MAX : GAP_MAX_CPU;
    c->poll.gap = GAP_MAX_CPU / 4;
}

void vgr_ctx_loop(struct vgr_ctx *c)
{
    start_polling(c);
    while (!vgr_ctx_failed(c)) {
        pthread_mutex_lock(&c->running);
        drain(c);
        pthread_mutex_unlock(&c->running);
        if (!vgr_ctx_failed(c) && !poll_ring(c))
            sleep_on_doorbell(c);
    }
}
