/* SPDX-License-Identifier: MIT */
#include "protocol/ring.h"

#include <errno.h>
#include <string.h>

/* Shared words are plain integers in wire.h, so that it stays a description of bytes; every access
 * goes through these. */
#define load_acquire(p)     __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define load_seq_cst(p)     __atomic_load_n((p), __ATOMIC_SEQ_CST)
#define store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define store_seq_cst(p, v) __atomic_store_n((p), (v), __ATOMIC_SEQ_CST)

/* ---- Producer ---- */

void vgr_ring_producer_init(struct vgr_ring_producer *r, void *page, void *ring, uint32_t size)
{
    memset(r, 0, sizeof(*r));
    r->ctl = page;
    r->data = ring;
    r->size = size;
}

/* Bytes from `pos` to the end of the ring. */
static uint32_t to_end(uint32_t pos, uint32_t size)
{
    return size - (pos & (size - 1));
}

bool vgr_ring_asleep(const struct vgr_ring_producer *r)
{
    return __atomic_load_n(&r->ctl->asleep, __ATOMIC_RELAXED);
}

int vgr_ring_room(struct vgr_ring_producer *r, uint32_t size)
{
    uint32_t end = to_end(r->tail, r->size);
    uint32_t need = size <= end ? size : end + size;

    if (need <= r->size - (r->tail - r->head))
        return 0;
    r->head = load_acquire(&r->ctl->head);
    if (r->tail - r->head > r->size) {
        r->head = r->tail - r->size; /* keep our own arithmetic sane: the ring reads as full */
        return -EPROTO;
    }
    return need <= r->size - (r->tail - r->head) ? 0 : -EAGAIN;
}

void *vgr_ring_reserve(struct vgr_ring_producer *r, uint32_t size)
{
    uint32_t end;

    if (size < sizeof(struct vgr_cmd) || size % 8 || size > r->size / 4 || vgr_ring_room(r, size))
        return NULL;

    end = to_end(r->tail, r->size);
    if (size > end) {
        struct vgr_cmd pad = {.op = VGR_CMD_PAD, .size = end};

        memcpy(r->data + (r->tail & (r->size - 1)), &pad, sizeof(pad));
        r->tail += end;
        r->bytes += end;
    }
    return r->data + (r->tail & (r->size - 1));
}

uint64_t vgr_ring_commit(struct vgr_ring_producer *r, uint32_t size)
{
    r->tail += size;
    r->bytes += size;
    return ++r->seq;
}

bool vgr_ring_publish(struct vgr_ring_producer *r)
{
    store_seq_cst(&r->ctl->tail, r->tail);
    if (!load_seq_cst(&r->ctl->asleep))
        return false;
    return __atomic_exchange_n(&r->ctl->asleep, 0, __ATOMIC_SEQ_CST) != 0;
}

uint64_t vgr_ring_done(const struct vgr_ring_producer *r)
{
    return load_acquire(&r->ctl->done);
}

bool vgr_ring_wait_begin(struct vgr_ring_producer *r, uint64_t seq)
{
    store_seq_cst(&r->ctl->wait_seq, seq);
    if (load_seq_cst(&r->ctl->done) < seq)
        return true;
    store_release(&r->ctl->wait_seq, 0);
    return false;
}

void vgr_ring_wait_end(struct vgr_ring_producer *r)
{
    store_release(&r->ctl->wait_seq, 0);
}

/* ---- Consumer ---- */

void vgr_ring_consumer_init(struct vgr_ring_consumer *r, void *page, const void *ring,
                            uint32_t size)
{
    memset(r, 0, sizeof(*r));
    r->ctl = page;
    r->data = ring;
    r->size = size;
}

int vgr_ring_next(struct vgr_ring_consumer *r, void *buf, uint32_t cap)
{
    for (;;) {
        uint32_t fill = load_acquire(&r->ctl->tail) - r->head;
        uint32_t pos = r->head & (r->size - 1);
        uint32_t end = to_end(r->head, r->size);
        struct vgr_cmd h;

        if (!fill)
            return 0;
        if (fill > r->size || fill % 8)
            return -EPROTO;

        memcpy(&h, r->data + pos, sizeof(h));
        if (h.size < sizeof(h) || h.size % 8 || h.size > fill || h.size > end)
            return -EPROTO;

        if (h.op == VGR_CMD_PAD) {
            /* Only the producer's own wrap: anything else could spin us on padding for ever. */
            if (h.size != end)
                return -EPROTO;
            r->head += end;
            r->bytes += end;
            continue;
        }
        if (h.size > r->size / 4 || h.size > cap)
            return -EPROTO;

        memcpy(buf, &h, sizeof(h));
        memcpy((uint8_t *)buf + sizeof(h), r->data + pos + sizeof(h), h.size - sizeof(h));
        r->head += h.size;
        r->bytes += h.size;
        r->seq++;
        return (int)h.size;
    }
}

void vgr_ring_release(struct vgr_ring_consumer *r)
{
    store_release(&r->ctl->head, r->head);
}

bool vgr_ring_pending(const struct vgr_ring_consumer *r)
{
    return load_acquire(&r->ctl->tail) != r->head;
}

bool vgr_ring_sleep_begin(struct vgr_ring_consumer *r)
{
    store_seq_cst(&r->ctl->asleep, 1);
    if (load_seq_cst(&r->ctl->tail) == r->head)
        return true;
    store_release(&r->ctl->asleep, 0);
    return false;
}

bool vgr_ring_rung(const struct vgr_ring_consumer *r)
{
    return !load_acquire(&r->ctl->asleep);
}

void vgr_ring_sleep_end(struct vgr_ring_consumer *r)
{
    store_release(&r->ctl->asleep, 0);
}

bool vgr_ring_complete(struct vgr_ring_consumer *r, uint64_t seq)
{
    uint64_t wait;

    store_seq_cst(&r->ctl->done, seq);
    wait = load_seq_cst(&r->ctl->wait_seq);
    return wait && seq >= wait;
}
