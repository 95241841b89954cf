/* SPDX-License-Identifier: MIT
 *
 * ring.h - the command ring: one producer (guest), one consumer (worker), no system call.
 *
 * Theory of operation
 * -------------------
 *
 * `tail` and `head` count bytes ever produced and consumed, modulo 2^32; the ring's size is a power
 * of two, so position = count & (size - 1). The producer owns tail, the consumer owns head, each on
 * a cache line of its own.
 *
 * Who sleeps says so first, then looks again:
 *
 *   worker                                guest
 *   asleep = 1        (seq_cst)           tail = new       (seq_cst)
 *   read tail again   (seq_cst)           read asleep      (seq_cst)
 *   unchanged: sleep on the doorbell      set: exchange with 0, ring the doorbell
 *
 * The four accesses are sequentially consistent, so at least one side sees the other's store: either
 * the worker finds the new command, or the guest finds it asleep. The other direction is the same
 * with `wait_seq` (the guest's word) and `done` (the worker's).
 *
 * Trust: the consumer never reads a record in place. It copies it out once and works on the copy;
 * the guest may scribble over the ring at any time and hurts only what it sends. Positions are
 * checked on every read. The producer side does not trust the consumer's `head` either: an
 * impossible value is reported as -EPROTO, never used as an index.
 */
#ifndef VGR_PROTOCOL_RING_H
#define VGR_PROTOCOL_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/wire.h"

/* Between two looks at the ring while polling: tells the processor. */
static inline void vgr_ring_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* ---- Producer (guest). One thread at a time. ------------------------------------------------- */

struct vgr_ring_producer {
    struct vgr_control *ctl;
    uint8_t *data;
    uint32_t size;
    uint32_t tail;  /* written so far, published or not */
    uint32_t head;  /* the consumer's, as last seen */
    uint64_t seq;   /* number of the last command pushed */
    uint64_t bytes; /* ever pushed, padding included */
};

/* `page` is the control page or a queue's (wire.h, QUEUE_OPEN), `ring` its ring of `size` bytes. */
void vgr_ring_producer_init(struct vgr_ring_producer *r, void *page, void *ring, uint32_t size);

/* Reserves a record of `size` bytes (multiple of 8, at most a quarter of the ring) and returns where
 * to write it, or NULL when there is no room now (see vgr_ring_room) or the consumer's head is
 * impossible. Header fields op, flags and size are the caller's to fill. The record is not visible
 * before vgr_ring_publish(). */
void *vgr_ring_reserve(struct vgr_ring_producer *r, uint32_t size);

/* Ends the record reserved last: assigns and returns its sequence number. Not yet published. */
uint64_t vgr_ring_commit(struct vgr_ring_producer *r, uint32_t size);

/* Makes all committed records visible. Returns true if the consumer sleeps and this caller must ring
 * the doorbell (it is told so once per sleep). */
bool vgr_ring_publish(struct vgr_ring_producer *r);

/* Whether the consumer slept when last looked at: a hint, publishing tells for sure. */
bool vgr_ring_asleep(const struct vgr_ring_producer *r);

/* 0 if a record of `size` bytes fits now, -EAGAIN if not yet, -EPROTO if head is impossible. */
int vgr_ring_room(struct vgr_ring_producer *r, uint32_t size);

/* The last completed sequence number, as published by the worker. May lie; callers compare only. */
uint64_t vgr_ring_done(const struct vgr_ring_producer *r);

/* Says that the guest is about to sleep until done >= seq. Returns true if it may sleep, false if
 * done has reached seq meanwhile. Call vgr_ring_wait_end() after the sleep. */
bool vgr_ring_wait_begin(struct vgr_ring_producer *r, uint64_t seq);
void vgr_ring_wait_end(struct vgr_ring_producer *r);

/* ---- Consumer (worker). One thread. ---------------------------------------------------------- */

struct vgr_ring_consumer {
    struct vgr_control *ctl;
    const uint8_t *data;
    uint32_t size;
    uint32_t head;  /* consumed so far; ours, never read back from shared memory */
    uint64_t seq;   /* number of the last command read */
    uint64_t bytes; /* ever consumed, padding included */
};

/* The same for the other end. Where the ring is and its `size` have been checked. */
void vgr_ring_consumer_init(struct vgr_ring_consumer *r, void *page, const void *ring,
                            uint32_t size);

/* Copies the next record into `buf` (8-aligned, `cap` >= a quarter of the ring). Returns its size,
 * 0 if the ring is empty, -EPROTO if positions or sizes are impossible. Padding is skipped. Does not
 * give the room back: see vgr_ring_release(). */
int vgr_ring_next(struct vgr_ring_consumer *r, void *buf, uint32_t cap);

/* Gives the room of everything read so far back to the producer. */
void vgr_ring_release(struct vgr_ring_consumer *r);

/* True if there is something to read. */
bool vgr_ring_pending(const struct vgr_ring_consumer *r);

/* Says that the worker is about to sleep. Returns true if it may, false if a command has come. Call
 * vgr_ring_sleep_end() after. In between, vgr_ring_rung() tells whether the producer has woken it. */
bool vgr_ring_sleep_begin(struct vgr_ring_consumer *r);
bool vgr_ring_rung(const struct vgr_ring_consumer *r);
void vgr_ring_sleep_end(struct vgr_ring_consumer *r);

/* Publishes completion. Returns true if the guest sleeps for this and must be woken. */
bool vgr_ring_complete(struct vgr_ring_consumer *r, uint64_t seq);

#endif
