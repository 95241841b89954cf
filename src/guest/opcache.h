/* SPDX-License-Identifier: MIT
 *
 * opcache.h - answers about ops, by content.
 *
 * A question is an op with its sources as they would go over the wire: op, types, shapes, strides,
 * parameters; no pointer, buffer or offset. The answer to one never changes, so each is asked once.
 * Keys are compared in full; the hash only finds them. The cache is bounded: when it is full it
 * starts over, which costs questions and nothing else. Not thread-safe.
 */
#ifndef VGR_GUEST_OPCACHE_H
#define VGR_GUEST_OPCACHE_H

#include <stdint.h>

#include "protocol/codec.h"
#include "protocol/wire.h"

struct vgr_question {
    uint32_t device;
    uint32_t n;                                    /* tensors in use */
    struct vgr_tensor tensor[VGR_CODEC_QUERY_MAX]; /* [0] the op, then its sources */
};

struct vgr_opcache {
    uint32_t cap; /* slots, a power of two; 0: nothing allocated yet */
    uint32_t used;
    uint64_t bytes; /* of all keys */
    uint64_t max_bytes;
    struct vgr_opcache_slot {
        uint64_t hash;
        uint32_t len; /* of the key; 0: empty slot */
        uint32_t device;
        void *key;
        struct vgr_query_reply answer;
    } *slot;
};

/* An empty cache whose keys take at most `max_bytes`. */
void vgr_opcache_init(struct vgr_opcache *c, uint64_t max_bytes);
void vgr_opcache_free(struct vgr_opcache *c);

/* The hash of a question, for the two calls below. */
uint64_t vgr_opcache_hash(const struct vgr_question *q);

/* The answer, or NULL. Valid until the next vgr_opcache_put(). */
const struct vgr_query_reply *vgr_opcache_get(const struct vgr_opcache *c,
                                              const struct vgr_question *q, uint64_t hash);

/* Adds an answer to a question that is not in the cache. Without memory it is not kept. */
void vgr_opcache_put(struct vgr_opcache *c, const struct vgr_question *q, uint64_t hash,
                     const struct vgr_query_reply *answer);

#endif
