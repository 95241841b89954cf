/* SPDX-License-Identifier: MIT
 *
 * loop.c - the life of a ready context: poll, run, complete, sleep.
 *
 * Theory of operation
 * -------------------
 *
 * While commands come, the loop never sleeps and needs no system call of ours. When the ring is
 * empty it polls for `spin_ns`, then says so (asleep) and blocks in poll() on the doorbell. The
 * budget follows what polling is worth: it doubles when a command came while polling, and halves
 * when none did, between SPIN_MIN and SPIN_MAX; a machine with one CPU does not poll. So a chatty
 * guest finds the worker awake, and an idle one costs nothing after a few microseconds.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "worker/context.h"

#define SPIN_MIN 2000u /* ns */
#define SPIN_MAX 200000u

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Makes everything read so far complete and tells the guest. */
static void complete(struct vgr_ctx *c)
{
    vgr_ctx_sync(c);
    if (c->done == c->ring.seq)
        return;
    c->done = c->ring.seq;
    if (vgr_ring_complete(&c->ring, c->done))
        vgr_ctx_wake(c);
}

/* Runs what is in the ring. */
static void drain(struct vgr_ctx *c)
{
    while (!c->failed) {
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
        if (!c->dirty || (h->flags & VGR_CMD_F_AWAIT))
            complete(c);
    }
}

/* Polls for a command for spin_ns. */
static bool poll_ring(struct vgr_ctx *c)
{
    uint64_t end;

    if (!c->spin_ns)
        return vgr_ring_pending(&c->ring);
    end = now_ns() + c->spin_ns;
    do {
        for (int i = 0; i < 32; i++) {
            if (vgr_ring_pending(&c->ring)) {
                vgr_counts_add(c->counts, VGR_COUNTER_SPUN, 1);
                c->spin_ns = c->spin_ns > SPIN_MAX / 2 ? SPIN_MAX : c->spin_ns * 2;
                return true;
            }
            cpu_relax();
        }
    } while (now_ns() < end);
    c->spin_ns = c->spin_ns < SPIN_MIN * 2 ? SPIN_MIN : c->spin_ns / 2;
    return false;
}

static void sleep_on_doorbell(struct vgr_ctx *c)
{
    uint64_t rings = 0;

    complete(c);
    if (!vgr_ring_sleep_begin(&c->ring))
        return;
    vgr_counts_add(c->counts, VGR_COUNTER_SLEEPS, 1);
    vgr_counts_begin(c->counts, VGR_COUNTER_ASLEEP);
    /* The other end may have made it non-blocking: it is the guest's own, on the direct front. */
    if (poll(&(struct pollfd){.fd = c->doorbell_fd, .events = POLLIN}, 1, -1) < 0 ||
        read(c->doorbell_fd, &rings, sizeof(rings)) < 0) {
        if (errno != EINTR && errno != EAGAIN)
            vgr_ctx_fail(c, VGR_ERROR_INTERNAL, "the doorbell is gone: %m");
    }
    vgr_counts_end(c->counts, VGR_COUNTER_ASLEEP);
    vgr_counts_add(c->counts, VGR_COUNTER_DOORBELLS, rings > 0);
    vgr_ring_sleep_end(&c->ring);
}

void vgr_ctx_loop(struct vgr_ctx *c)
{
    cpu_set_t cpus;
    bool alone = sched_getaffinity(0, sizeof(cpus), &cpus) || CPU_COUNT(&cpus) < 2;

    c->spin_ns = alone ? 0 : SPIN_MAX / 4;
    while (!c->failed) {
        drain(c);
        if (!c->failed && !poll_ring(c))
            sleep_on_doorbell(c);
    }
}
