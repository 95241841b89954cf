/* SPDX-License-Identifier: MIT */
#include "guest/counters.h"

#include <stdio.h>

size_t vgr_counters_print(const struct vgr_counters *c, char *buf, size_t cap)
{
    uint64_t runs = __atomic_load_n(&c->graphs_run, __ATOMIC_RELAXED);
    size_t n = (size_t)snprintf(buf, cap, "vgr-stats:");

#define X(name)                                                                                    \
    if (n < cap)                                                                                   \
        n += (size_t)snprintf(buf + n, cap - n, " %s=%llu", #name,                                 \
                              (unsigned long long)__atomic_load_n(&c->name, __ATOMIC_RELAXED));
    VGR_STATS(X)
#undef X
    if (n < cap)
        n += (size_t)snprintf(buf + n, cap - n, " waits_per_run=%.3f\n",
                              runs ? (double)c->waits / (double)runs : 0.0);
    return n < cap ? n : cap - 1;
}
