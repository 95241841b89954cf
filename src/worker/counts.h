/* SPDX-License-Identifier: MIT
 *
 * counts.h - the page in which a worker counts, and which the front shows to the operator.
 *
 * Theory of operation
 * -------------------
 *
 * The front makes one file for each worker (boot.h), sealed so that it keeps its size, with a page
 * for each queue that the context may have; pages of queues that it has not take no memory. The
 * worker maps it and counts right there, so that the numbers are current at any moment, in the
 * middle of a long graph too, and the last ones outlive the worker. The front reads the file when
 * somebody asks and maps nothing. The guest never sees the page: a program in a VM cannot forge
 * what the operator is told. A worker that was taken over could; hence the front takes what it
 * reads for numbers and for text to be escaped, and for nothing else.
 *
 * Each queue counts in its page, and the front adds up. One thread counts there, so counting is a
 * load and a store; they are atomic for the reader's sake.
 */
#ifndef VGR_WORKER_COUNTS_H
#define VGR_WORKER_COUNTS_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "protocol/counters.h"
#include "worker/boot.h"

#define VGR_COUNTS_PAGE   4096u
#define VGR_COUNTS_QUEUES 16u
#define VGR_COUNTS_SIZE   ((size_t)VGR_COUNTS_QUEUES * VGR_COUNTS_PAGE)

/* A worker waits for its devices before they have more graphs than this to do: nothing else bounds
 * what a driver must keep for them. */
#define VGR_COUNTS_MAX_IN_FLIGHT 16u

struct vgr_counts_page {
    uint64_t counters[64];                  /* enum vgr_counter */
    uint64_t since[64];                     /* of unit SECONDS: start of a span not yet in there */
    char devices[VGR_BOOT_MAX_DEVICES][64]; /* names, those offered */
    uint32_t n_devices;                     /* 0: not known yet */
    uint32_t in_flight; /* graphs given to devices that have not been waited for since */
    uint32_t queues;    /* further queues that exist, a bit each; names and this in page 0 only */
    uint8_t pad[VGR_COUNTS_PAGE - 2060];
};
static_assert(sizeof(struct vgr_counts_page) == VGR_COUNTS_PAGE && VGR_COUNTER_COUNT <= 64,
              "counts");
static_assert(VGR_COUNTS_QUEUES == VGR_BOOT_MAX_DEVICES, "a queue for each device");

/* Maps the pages at their descriptor of boot.h and closes that. NULL and errno on failure. */
struct vgr_counts_page *vgr_counts_map(void);

/* Says in page 0 that queue `number` has a page now. */
void vgr_counts_queue(struct vgr_counts_page *p, uint32_t number);

/* Adds the name of a device that the context offers, VGR_BOOT_MAX_DEVICES at most. */
void vgr_counts_device(struct vgr_counts_page *p, const char *name);

/* The clock of `since`: nanoseconds, the same for all processes. */
static inline uint64_t vgr_counts_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline void vgr_counts_set(struct vgr_counts_page *p, enum vgr_counter id, uint64_t value)
{
    __atomic_store_n(&p->counters[id], value, __ATOMIC_RELAXED);
}

/* Adds `n`; to a counter of unit LEVEL, -n modulo 2^64 takes away. */
static inline void vgr_counts_add(struct vgr_counts_page *p, enum vgr_counter id, uint64_t n)
{
    vgr_counts_set(p, id, __atomic_load_n(&p->counters[id], __ATOMIC_RELAXED) + n);
}

/* Before VGR_COUNTER_COMPUTING begins for one graph more, and after it ended for all. */
static inline void vgr_counts_in_flight(struct vgr_counts_page *p, uint32_t n)
{
    __atomic_store_n(&p->in_flight, n, __ATOMIC_RELEASE);
}

/* Around what is counted in seconds; not nested. The clock costs some 20 ns and no system call. */
static inline void vgr_counts_begin(struct vgr_counts_page *p, enum vgr_counter id)
{
    __atomic_store_n(&p->since[id], vgr_counts_now(), __ATOMIC_RELAXED);
}

static inline void vgr_counts_end(struct vgr_counts_page *p, enum vgr_counter id)
{
    uint64_t start = p->since[id];

    /* In this order: a reader may miss the span for a moment, but never count it twice. */
    __atomic_store_n(&p->since[id], 0, __ATOMIC_RELAXED);
    vgr_counts_add(p, id, vgr_counts_now() - start);
}

#endif
