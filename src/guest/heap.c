/* SPDX-License-Identifier: MIT */
#include "guest/heap.h"

#include <errno.h>
#include <string.h>

#define PIECE_MAX (1u << 20)

void vgr_heap_init(struct vgr_heap *h, uint64_t base, uint64_t size)
{
    memset(h, 0, sizeof(*h));
    h->base = base;
    h->size = size;
}

static struct vgr_heap_block *at(struct vgr_heap *h, uint32_t id)
{
    return &h->block[id & (VGR_HEAP_BLOCKS - 1)];
}

int vgr_heap_alloc(struct vgr_heap *h, uint64_t len, uint64_t *off, uint32_t *id)
{
    uint64_t start = h->front;

    if (!len || len > h->size)
        return -EFBIG;
    len = (len + VGR_HEAP_ALIGN - 1) & ~(uint64_t)(VGR_HEAP_ALIGN - 1);
    if (len > h->size)
        return -EFBIG;
    if (h->next - h->first == VGR_HEAP_BLOCKS)
        return -EAGAIN;

    if (h->next == h->first) {
        /* Empty: start over, so that the whole region is one piece. */
        start = h->front = h->back = 0;
    } else if (start <= h->back) {
        /* The blocks wrap around (or fill the region): room is between front and back. */
        if (h->back - start < len)
            return -EAGAIN;
    } else if (h->size - start < len) {
        /* A block does not wrap: skip the rest of the region. */
        if (h->back < len)
            return -EAGAIN;
        start = 0;
    }

    h->front = start + len;
    *at(h, h->next) = (struct vgr_heap_block){.end = h->front};
    *off = h->base + start;
    *id = h->next++;
    return 0;
}

void vgr_heap_sent(struct vgr_heap *h, uint32_t id, uint64_t seq, bool held)
{
    at(h, id)->seq = seq;
    at(h, id)->held = held;
}

void vgr_heap_release(struct vgr_heap *h, uint32_t id)
{
    at(h, id)->held = false;
}

void vgr_heap_reclaim(struct vgr_heap *h, uint64_t done)
{
    while (h->first != h->next) {
        const struct vgr_heap_block *b = at(h, h->first);

        if (!b->seq || b->held || b->seq > done)
            return;
        h->back = b->end;
        h->first++;
    }
}

static uint64_t seq_of(const struct vgr_heap *h, uint32_t id)
{
    return h->block[id & (VGR_HEAP_BLOCKS - 1)].seq;
}

uint64_t vgr_heap_mark(const struct vgr_heap *h)
{
    uint64_t seq;

    if (h->first == h->next)
        return 0;
    seq = seq_of(h, h->first + (h->next - h->first) / 4 * 3);
    return seq ? seq : seq_of(h, h->first);
}

uint64_t vgr_heap_piece(const struct vgr_heap *h)
{
    uint64_t piece = h->size / 8 & ~(uint64_t)(VGR_HEAP_ALIGN - 1);

    return piece < PIECE_MAX ? piece : PIECE_MAX;
}
