/* SPDX-License-Identifier: MIT
 *
 * counters.h - what guest library, worker and front count: each name, unit and meaning, once.
 *
 * The lists are macros, so that a struct, an enum and a table of names can be made of them and never
 * disagree. Counters only ever grow, but for those of unit LEVEL. Whoever counts uses relaxed
 * atomics: each number is right, their relation at one instant is not promised.
 *
 * What both ends count means the same on both, so the two numbers of a context that is at rest are
 * equal, but for `spun` and `sleeps`, where each end counts its own.
 *
 * docs/counters.md explains them to those who read them.
 */
#ifndef VGR_PROTOCOL_COUNTERS_H
#define VGR_PROTOCOL_COUNTERS_H

#include <stdint.h>

enum vgr_counter_unit {
    VGR_UNIT_COUNT,
    VGR_UNIT_BYTES,
    VGR_UNIT_SECONDS, /* held in nanoseconds; shown as NAME_seconds */
    VGR_UNIT_LEVEL,   /* bytes; goes up and down */
};

struct vgr_counter_info {
    const char *name;
    enum vgr_counter_unit unit;
    const char *help; /* half a sentence */
};

/* X(ID, name, unit, help) */
#define VGR_COUNTERS_BOTH(X)                                                                       \
    X(COMMANDS, commands, COUNT, "commands put through the ring")                                  \
    X(RING_BYTES, ring_bytes, BYTES, "bytes put through the ring, padding included")               \
    X(UPLOAD_BYTES, upload_bytes, BYTES,                                                           \
      "bytes to the host: tensor data, graph definitions, questions")                              \
    X(DOWNLOAD_BYTES, download_bytes, BYTES, "bytes to the guest: tensor data, answers")           \
    X(GRAPHS_DEFINED, graphs_defined, COUNT, "graphs sent whole")                                  \
    X(GRAPHS_PATCHED, graphs_patched, COUNT, "graphs sent as changes to one sent before")          \
    X(GRAPHS_RUN, graphs_run, COUNT, "graphs run")                                                 \
    X(OP_MISSES, op_misses, COUNT, "questions about ops that the host was asked")                  \
    X(ORDER_MISSES, order_misses, COUNT, "graphs whose best order the host was asked for")         \
    X(DOORBELLS, doorbells, COUNT, "times that the guest had to wake the worker")                  \
    X(SPUN, spun, COUNT, "times that polling brought what this end waited for")                    \
    X(SLEEPS, sleeps, COUNT, "times that this end went to sleep")

#define VGR_COUNTERS_GUEST(X)                                                                      \
    VGR_COUNTERS_BOTH(X)                                                                           \
    X(WAITS, waits, COUNT, "times that a caller needed a result not known to be there")            \
    X(SLEPT, slept, COUNT, "waits that polling did not end")                                       \
    X(NAPS, naps, COUNT, "times that a part of a wait, foreseen, was slept through")               \
    X(HOST_BUFFERS, host_buffers, COUNT, "host buffers allocated in the arena")                    \
    X(IN_PLACE_BYTES, in_place_bytes, BYTES, "tensor data that was not copied in the guest")       \
    X(STALLS, stalls, COUNT, "times that ring or heap were full")                                  \
    X(GRAPHS_SAME, graphs_same, COUNT, "graphs run that were recognized without encoding them")    \
    X(GRAPHS_KNOWN, graphs_known, COUNT, "graphs run that were encoded, and then found unchanged") \
    X(ORDER_HITS, order_hits, COUNT, "graphs whose best order of nodes was known")                 \
    X(OP_HITS, op_hits, COUNT, "questions about ops that the guest's cache answered")              \
    X(WAITING, waiting, SECONDS, "time spent waiting for the host, all threads")

#define VGR_COUNTERS_WORKER(X)                                                                     \
    VGR_COUNTERS_BOTH(X)                                                                           \
    X(WAKEUPS, wakeups, COUNT, "wake-ups sent to the guest")                                       \
    X(SYNCS, syncs, COUNT, "times that the worker waited for the device")                          \
    X(UPLOADS_STAGED, uploads_staged, COUNT, "uploads that did not wait for the device")           \
    X(DEVICE_COPIES, device_copies, COUNT, "reads that the device made by itself")                 \
    X(COMPUTING, computing, SECONDS, "time running graphs, or waiting for the device to finish")   \
    X(ASLEEP, asleep, SECONDS, "time asleep, with nothing to do")                                  \
    X(BUFFER_BYTES, buffer_bytes, LEVEL, "device memory held")                                     \
    X(ALLOCS_REFUSED, allocs_refused, COUNT, "times that there was no device memory, or a limit")

/* Of a VM's context: what goes through the front. Direct clients and workers meet without it. */
#define VGR_COUNTERS_FRONT(X)                                                                      \
    X(FRONT_DOORBELLS, front_doorbells, COUNT, "doorbells passed on to the worker")                \
    X(FRONT_WAKEUPS, front_wakeups, COUNT, "wake-ups of the worker seen by the front")             \
    X(FENCES, fences, COUNT, "times that the guest asked to be woken")                             \
    X(FENCES_HELD, fences_held, COUNT, "of these, not answered at once")                           \
    X(FENCES_EXPIRED, fences_expired, COUNT, "of these, answered for being old")

enum vgr_counter {
#define X(id, name, unit, help) VGR_COUNTER_##id,
    VGR_COUNTERS_WORKER(X)
#undef X
        VGR_COUNTER_COUNT
};

enum vgr_front_counter {
#define X(id, name, unit, help) VGR_##id,
    VGR_COUNTERS_FRONT(X)
#undef X
        VGR_FRONT_COUNT
};

/* A row of struct vgr_counter_info. */
#define VGR_COUNTER_ROW(id, name, unit, help) {#name, VGR_UNIT_##unit, help},

#endif
