/* SPDX-License-Identifier: MIT
 *
 * counters.h - what a connection has done (protocol/counters.h), for VGR_STATS=1, for the program
 * itself (ggml_backend_virtgpu_stats()), tests and benchmarks.
 */
#ifndef VGR_GUEST_COUNTERS_H
#define VGR_GUEST_COUNTERS_H

#include <stddef.h>
#include <stdint.h>

#include "protocol/counters.h"

struct vgr_counters {
#define X(id, name, unit, help) uint64_t name;
    VGR_COUNTERS_GUEST(X)
#undef X
};

#define vgr_count(counter, n) __atomic_fetch_add(&(counter), (uint64_t)(n), __ATOMIC_RELAXED)

/* Writes a summary of one line into `buf`, newline included, cut if it does not fit. Returns its
 * length. */
size_t vgr_counters_print(const struct vgr_counters *c, char *buf, size_t cap);

#endif
