/* SPDX-License-Identifier: MIT */
#include "guest/waitplan.h"

#define US INT64_C(1000)

/* A poll that costs less than a sleep is always worth it. */
#define MOMENT (20 * US)

/* Waits up to here are polled through. */
#define SHORT (200 * US)

/* A nap ends this much late: timer slack, and the way back onto a processor. */
#define LATE (120 * US)

/* No plan polls longer in one piece. */
#define POLL_MAX (2000 * US)

/* Longer ones (a prompt, a model) say nothing about the next. */
#define EXPECT_MAX (50000 * US)

void vgr_waitplan_init(struct vgr_waitplan *p, bool alone, bool shared)
{
    for (int i = 0; i < VGR_WAIT_KINDS; i++)
        p->expect[i] = MOMENT;
    p->alone = alone;
    p->shared = shared;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

struct vgr_wait_phases vgr_waitplan_phases(const struct vgr_waitplan *p, enum vgr_wait_kind kind)
{
    int64_t expect = __atomic_load_n(&p->expect[kind], __ATOMIC_RELAXED);
    int64_t early = expect / 8 > LATE ? expect / 8 : LATE;
    struct vgr_wait_phases w = {0};

    if (p->alone)
        return w;
    if (p->shared || expect > EXPECT_MAX) {
        w.poll_until = w.nap_until = w.poll_again_until = expect < SHORT ? 2 * MOMENT : MOMENT / 2;
        return w;
    }
    if (expect <= SHORT || kind != VGR_WAIT_GRAPH) {
        w.poll_until = w.nap_until = w.poll_again_until = least(2 * expect, 2 * SHORT) + MOMENT;
        return w;
    }
    w.poll_until = MOMENT;
    w.nap_until = expect - early > MOMENT ? expect - early : MOMENT;
    w.poll_again_until = w.nap_until + least(3 * early, POLL_MAX);
    return w;
}

void vgr_waitplan_learn(struct vgr_waitplan *p, enum vgr_wait_kind kind, int64_t ns)
{
    int64_t expect = __atomic_load_n(&p->expect[kind], __ATOMIC_RELAXED);

    /* Down fast, up slowly: too short a plan costs a sleep, too long a one a nap too many. */
    expect += ns < expect ? (ns - expect) / 2 : (least(ns, 2 * EXPECT_MAX) - expect) / 4;
    __atomic_store_n(&p->expect[kind], expect, __ATOMIC_RELAXED);
}
