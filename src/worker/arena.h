/* SPDX-License-Identifier: MIT
 *
 * arena.h - the memory that the worker shares with its guest.
 *
 * The guest may change every byte at any time. Small things (hello, commands, graphs) are copied out
 * once and then used; tensor data is handed to GGML in place, because its content means nothing to
 * us.
 */
#ifndef VGR_WORKER_ARENA_H
#define VGR_WORKER_ARENA_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/wire.h"
#include "worker/boot.h"

struct vgr_arena {
    uint8_t *base;
    uint64_t size;
    uint64_t heap_off; /* set by the handshake; ranges below are not data */
};

static inline struct vgr_control *vgr_arena_control(const struct vgr_arena *a)
{
    return (struct vgr_control *)a->base;
}

/* Reads the head of the boot file and checks it. -errno. */
int vgr_boot_read(struct vgr_boot *boot);

/* Maps the arena in one linear range and closes all files by which that was done; `boot` has been read.
 * Returns 0 or -errno. -ECONNREFUSED: what a client has handed over is not to be used; it was told. */
int vgr_arena_map(struct vgr_arena *arena, const struct vgr_boot *boot);

/* Where `len` bytes at arena offset `off` lie, or NULL if that is not all inside the heap. */
static inline void *vgr_arena_heap(const struct vgr_arena *a, uint64_t off, uint64_t len)
{
    if (off < a->heap_off || off > a->size || len > a->size - off)
        return NULL;
    return a->base + off;
}

#endif
