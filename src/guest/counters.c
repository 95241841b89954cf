/* SPDX-License-Identifier: MIT */
#include "guest/counters.h"

#include <assert.h>
#include <stdio.h>

static const struct vgr_counter_info info[] = {VGR_COUNTERS_GUEST(VGR_COUNTER_ROW)};

/* The fields of struct vgr_counters are the rows of the table, in order. */
static_assert(sizeof(struct vgr_counters) == sizeof(info) / sizeof(info[0]) * sizeof(uint64_t),
              "one field a row");

size_t vgr_counters_print(const struct vgr_counters *c, char *buf, size_t cap)
{
    const uint64_t *value = (const uint64_t *)c;
    uint64_t runs = __atomic_load_n(&c->graphs_run, __ATOMIC_RELAXED);
    uint64_t waits = __atomic_load_n(&c->waits, __ATOMIC_RELAXED);
    size_t n = (size_t)snprintf(buf, cap, "vgr-stats:");

    for (size_t i = 0; i < sizeof(info) / sizeof(info[0]) && n < cap; i++) {
        unsigned long long v = __atomic_load_n(&value[i], __ATOMIC_RELAXED);

        if (info[i].unit == VGR_UNIT_SECONDS)
            n += (size_t)snprintf(buf + n, cap - n, " %s_seconds=%llu.%09llu", info[i].name,
                                  v / 1000000000, v % 1000000000);
        else
            n += (size_t)snprintf(buf + n, cap - n, " %s=%llu", info[i].name, v);
    }
    if (n < cap)
        n += (size_t)snprintf(buf + n, cap - n, " waits_per_run=%.3f\n",
                              runs ? (double)waits / (double)runs : 0.0);
    return n < cap ? n : cap - 1;
}
