/* SPDX-License-Identifier: MIT */
#include "common/cost.h"

#include <time.h>

static uint64_t now(const struct vgr_cost *c)
{
    struct timespec t;

    clock_gettime(c->measured ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void vgr_cost_begin(struct vgr_cost *c)
{
    c->began = now(c);
}

bool vgr_cost_end(struct vgr_cost *c)
{
    bool is_long = now(c) - c->began > VGR_COST_LONG_NS;

    if (!c->measured) {
        c->measured = is_long ? VGR_COST_MEASURED : 0;
        c->n_long = 0;
        return false;
    }
    c->measured--;
    c->n_long += is_long;
    return c->n_long >= VGR_COST_LONG;
}
