/* SPDX-License-Identifier: MIT */
#include "device/watchdog.h"

#include <stdio.h>

#include "common/log.h"

#define MS       1000000u
#define READS    3u /* of a queue that computes */
#define GRACE_NS ((uint64_t)VGR_WATCHDOG_GRACE_MS * MS)

static void timer_ended(struct vgr_timer *t);

static void arm(struct vgr_watchdog *d, uint64_t ns)
{
    vgr_timer_set(d->loop, &d->timer, (uint32_t)(ns / MS + 1), timer_ended); /* not too early */
}

static void end(struct vgr_watchdog *d, struct vgr_worker *w, uint64_t now)
{
    char text[sizeof(w->over_limit)];

    snprintf(text, sizeof(text), "a graph ran longer than the host's limit of %g s",
             (double)d->limit_ns / 1e9);
    w->tell_at = now + GRACE_NS;
    w->pool->timed_out++;
    vgr_worker_over_limit(w, text);
}

/* How long a queue's graphs may still take; 0 or less: they are overdue. */
static int64_t left_of(const struct vgr_watchdog *d, const struct vgr_worker *w, unsigned queue,
                       uint64_t now)
{
    uint64_t since, allowed;
    uint32_t graphs;

    if (!vgr_worker_computing(w, queue, &since, &graphs) || since >= now)
        return (int64_t)d->limit_ns;
    allowed = d->limit_ns * (graphs ? graphs : 1);
    return now - since < allowed ? (int64_t)(allowed - (now - since)) : 0;
}

/* Ends `w` if it is due. Returns when to look at it again at the latest, in ns from now. */
static uint64_t look(struct vgr_watchdog *d, struct vgr_worker *w)
{
    uint64_t now = vgr_counts_now();
    int64_t left = (int64_t)d->limit_ns;
    uint32_t queues;

    if (w->tell_at && w->tell_at <= now) {
        w->tell_at = 0;
        if (w->tell)
            w->tell(w);
    }
    if (w->tell_at)
        return w->tell_at - now;
    if (w->killed)
        return d->limit_ns;
    queues = vgr_worker_queues(w);
    vgr_loop_charge(d->loop, VGR_WORK_CALLS, 1 + READS * (unsigned)__builtin_popcount(queues));
    for (unsigned q = 0; queues >> q; q++) {
        int64_t of_queue = queues >> q & 1 ? left_of(d, w, q, now) : left;

        if (of_queue < left)
            left = of_queue;
    }
    if (left > 0)
        return (uint64_t)left;
    end(d, w, now);
    return GRACE_NS;
}

static void go_on(struct vgr_again *a);

/* Looks at the next workers; from the youngest on, their numbers fall. */
static void look_on(struct vgr_watchdog *d)
{
    unsigned n = 0;

    for (struct vgr_worker *w = d->pool->first; w; w = w->next) {
        uint64_t left;

        if (w->number >= d->number)
            continue;
        if (n++ == VGR_WATCHDOG_TURN) {
            vgr_loop_again(d->loop, &d->again, go_on);
            return;
        }
        d->number = w->number;
        left = look(d, w);
        if (left < d->next_ns)
            d->next_ns = left;
    }
    arm(d, d->next_ns);
}

static void go_on(struct vgr_again *a)
{
    look_on(vgr_container_of(a, struct vgr_watchdog, again));
}

static void timer_ended(struct vgr_timer *t)
{
    struct vgr_watchdog *d = vgr_container_of(t, struct vgr_watchdog, timer);

    if (!d->pool->alive)
        return;
    d->number = UINT32_MAX;
    d->next_ns = d->limit_ns;
    look_on(d);
}

void vgr_watchdog_init(struct vgr_watchdog *d, struct vgr_loop *loop, struct vgr_worker_pool *pool,
                       uint32_t limit_ms)
{
    *d = (struct vgr_watchdog){.pool = pool, .loop = loop, .limit_ns = (uint64_t)limit_ms * MS};
    pool->watchdog = d;
}

void vgr_watchdog_finish(struct vgr_watchdog *d)
{
    d->pool->watchdog = NULL;
    vgr_timer_stop(&d->timer);
    vgr_again_stop(&d->again);
}

void vgr_watchdog_started(struct vgr_watchdog *d)
{
    if (!vgr_timer_runs(&d->timer) && !d->again.loop)
        arm(d, d->limit_ns);
}
