/* SPDX-License-Identifier: MIT
 *
 * counters.h - what a connection has done, for VGR_STATS=1, tests and benchmarks.
 *
 * Relaxed atomics: each number is right, their relation at one instant is not promised.
 */
#ifndef VGR_GUEST_COUNTERS_H
#define VGR_GUEST_COUNTERS_H

#include <stddef.h>
#include <stdint.h>

#define VGR_STATS(X)                                                                               \
    X(commands)     /* put into the ring */                                                        \
    X(ring_bytes)   /* of these, padding included */                                               \
    X(upload_bytes) /* tensor data, graph definitions, questions */                                \
    X(download_bytes)                                                                              \
    X(doorbells)                                                                                   \
    X(waits)          /* times a caller needed a result not known to be there */                   \
    X(spun)           /* times that spinning brought it */                                         \
    X(naps)           /* times a thread slept for a part of a wait that it foresaw */              \
    X(sleeps)         /* times a thread went to sleep */                                           \
    X(stalls)         /* times the ring or the heap was full */                                    \
    X(host_buffers)   /* allocated in the arena */                                                 \
    X(in_place_bytes) /* tensor data that was not copied on this side */                           \
    X(graphs_defined)                                                                              \
    X(graphs_patched)                                                                              \
    X(graphs_run)                                                                                  \
    X(graphs_same)  /* of these, recognized without encoding them */                               \
    X(order_hits)   /* graphs whose order was known */                                             \
    X(order_misses) /* the host was asked for it */                                                \
    X(op_hits)      /* questions about ops, answered from the cache */                             \
    X(op_misses)    /* asked the host */

struct vgr_counters {
#define X(name) uint64_t name;
    VGR_STATS(X)
#undef X
};

#define vgr_count(counter, n) __atomic_fetch_add(&(counter), (uint64_t)(n), __ATOMIC_RELAXED)

/* Writes a summary of one line into `buf`, newline included. Returns its length. */
size_t vgr_counters_print(const struct vgr_counters *c, char *buf, size_t cap);

#endif
