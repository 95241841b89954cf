/* SPDX-License-Identifier: MIT
 *
 * heap.h - room in the arena for data on its way.
 *
 * Theory of operation
 * -------------------
 *
 * Transfers are short-lived and end in the order in which they were sent, so the heap is a queue of
 * blocks around one region: allocation at the front, reclaiming at the back, no search and no
 * fragmentation. A block is one of
 *
 *   new       just allocated; its command is not in the ring yet
 *   sent      its command has sequence number `seq`; free once the worker's `done` has reached it
 *   held      as sent, but its content (a download) must be copied out before it is free
 *
 * Reclaiming stops at the first block that is not free. Whoever needs room waits for the block that
 * vgr_heap_mark() names: three quarters of the heap are free then, which makes waits few, and the
 * worker still has a quarter to work on while they are filled.
 *
 * Pure arithmetic: this module never touches the memory that it manages. Not thread-safe.
 */
#ifndef VGR_GUEST_HEAP_H
#define VGR_GUEST_HEAP_H

#include <stdbool.h>
#include <stdint.h>

#define VGR_HEAP_ALIGN  64u
#define VGR_HEAP_BLOCKS 4096u /* at once; a power of two */

struct vgr_heap {
    uint64_t base; /* offset of the region in the arena */
    uint64_t size;
    uint64_t front; /* relative to base: where the next block starts */
    uint64_t back;  /* where the oldest block starts; front == back with blocks: full */
    uint32_t first; /* blocks [first, next) exist; index modulo VGR_HEAP_BLOCKS */
    uint32_t next;
    struct vgr_heap_block {
        uint64_t end; /* relative to base */
        uint64_t seq; /* 0: new */
        bool held;
    } block[VGR_HEAP_BLOCKS];
};

/* Takes [base, base + size) of the arena; both multiples of VGR_HEAP_ALIGN. */
void vgr_heap_init(struct vgr_heap *h, uint64_t base, uint64_t size);

/* Allocates `len` bytes (> 0), aligned. Returns 0 with the arena offset in *off and the block's
 * number in *id; -EAGAIN if there is no room before older blocks are reclaimed; -EFBIG if there
 * never will be. */
int vgr_heap_alloc(struct vgr_heap *h, uint64_t len, uint64_t *off, uint32_t *id);

/* Says that the block's command has number `seq`, and whether its content must be copied out. */
void vgr_heap_sent(struct vgr_heap *h, uint32_t id, uint64_t seq, bool held);

/* Says that the block's content was copied out. */
void vgr_heap_release(struct vgr_heap *h, uint32_t id);

/* Frees the oldest blocks, as far as they are sent, not held, and their number is <= done. */
void vgr_heap_reclaim(struct vgr_heap *h, uint64_t done);

/* The sequence number to wait for when there is no room; 0 if there are no blocks, or if the oldest
 * is not sent yet. */
uint64_t vgr_heap_mark(const struct vgr_heap *h);

/* The largest length that one allocation should have: larger transfers go in pieces, so that
 * several are on their way at once. */
uint64_t vgr_heap_piece(const struct vgr_heap *h);

#endif
