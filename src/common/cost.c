/* SPDX-License-Identifier: MIT */
#include "common/cost.h"

#include <time.h>

static uint64_t now(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

void vgr_cost_begin(struct vgr_cost *c)
{
    c->began = now(CLOCK_MONOTONIC);
    c->own = c->began < c->watched ? now(CLOCK_THREAD_CPUTIME_ID) : 0;
}

enum vgr_cost_found vgr_cost_end(struct vgr_cost *c)
{
    uint64_t end = now(CLOCK_MONOTONIC), took, back;

    if (end - c->began <= VGR_COST_LONG_NS)
        return VGR_COST_SHORT;
    c->watched = end + VGR_COST_WATCH_NS;
    if (!c->own)
        return VGR_COST_LONG;
    took = now(CLOCK_THREAD_CPUTIME_ID) - c->own;
    if (took <= VGR_COST_LONG_NS)
        return VGR_COST_SHORT;
    back = (end - c->reckoned) / VGR_COST_SHARE;
    c->spent -= back < c->spent ? back : c->spent;
    c->spent += took;
    c->reckoned = end;
    return c->spent > VGR_COST_BURST_NS ? VGR_COST_TOO_MUCH : VGR_COST_LONG;
}
