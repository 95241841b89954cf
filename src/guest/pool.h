/* SPDX-License-Identifier: MIT
 *
 * pool.h - long-lived blocks of the arena.
 *
 * Theory of operation
 * -------------------
 *
 * Host buffers (hostbuf.c) live in the arena's last part for as long as the program keeps them: a
 * few, large, in any order of release. The pool is the list of blocks in use, sorted by offset; an
 * allocation takes the first gap that is large enough. With a few dozen blocks nothing cleverer pays.
 *
 * Pure arithmetic: this module never touches the memory that it manages. Not thread-safe.
 */
#ifndef VGR_GUEST_POOL_H
#define VGR_GUEST_POOL_H

#include <stdint.h>

#define VGR_POOL_ALIGN  4096u
#define VGR_POOL_BLOCKS 64u /* at once */

struct vgr_pool {
    uint64_t base; /* offset of the region in the arena */
    uint64_t size;
    uint32_t n;
    struct vgr_pool_block {
        uint64_t off; /* in the arena */
        uint64_t len;
    } block[VGR_POOL_BLOCKS]; /* by offset */
};

/* Takes [base, base + size) of the arena, both multiples of VGR_POOL_ALIGN; `size` may be 0. */
void vgr_pool_init(struct vgr_pool *p, uint64_t base, uint64_t size);

/* Allocates `len` bytes (> 0). Returns the arena offset, 0 if there is no room. */
uint64_t vgr_pool_alloc(struct vgr_pool *p, uint64_t len);

/* Frees the block at arena offset `off`, as returned by vgr_pool_alloc(). */
void vgr_pool_free(struct vgr_pool *p, uint64_t off);

#endif
