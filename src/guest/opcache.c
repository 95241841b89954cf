/* SPDX-License-Identifier: MIT */
#include "guest/opcache.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define FIRST_CAP 256u

void vgr_opcache_init(struct vgr_opcache *c, uint64_t max_bytes)
{
    *c = (struct vgr_opcache){.max_bytes = max_bytes};
}

static void clear(struct vgr_opcache *c)
{
    for (uint32_t i = 0; i < c->cap; i++) {
        free(c->slot[i].key);
        c->slot[i] = (struct vgr_opcache_slot){0};
    }
    c->used = 0;
    c->bytes = 0;
}

void vgr_opcache_free(struct vgr_opcache *c)
{
    clear(c);
    free(c->slot);
    *c = (struct vgr_opcache){.max_bytes = c->max_bytes};
}

static uint32_t key_len(const struct vgr_question *q)
{
    return q->n * (uint32_t)sizeof(q->tensor[0]);
}

uint64_t vgr_opcache_hash(const struct vgr_question *q)
{
    return XXH3_64bits_withSeed(q->tensor, key_len(q), q->device);
}

const struct vgr_query_reply *vgr_opcache_get(const struct vgr_opcache *c,
                                              const struct vgr_question *q, uint64_t hash)
{
    if (!c->cap)
        return NULL;
    for (uint32_t i = (uint32_t)hash & (c->cap - 1); c->slot[i].len; i = (i + 1) & (c->cap - 1)) {
        const struct vgr_opcache_slot *s = &c->slot[i];

        if (s->hash == hash && s->device == q->device && s->len == key_len(q) &&
            !memcmp(s->key, q->tensor, s->len))
            return &s->answer;
    }
    return NULL;
}

static void place(struct vgr_opcache_slot *slot, uint32_t cap, const struct vgr_opcache_slot *s)
{
    uint32_t i = (uint32_t)s->hash & (cap - 1);

    while (slot[i].len)
        i = (i + 1) & (cap - 1);
    slot[i] = *s;
}

/* Keeps the table at most half full. Returns 0, or -1 without memory. */
static int grow(struct vgr_opcache *c)
{
    uint32_t cap = c->cap ? c->cap * 2 : FIRST_CAP;
    struct vgr_opcache_slot *slot;

    if (c->used + 1 <= c->cap / 2)
        return 0;
    slot = calloc(cap, sizeof(*slot));
    if (!slot)
        return -1;
    for (uint32_t i = 0; i < c->cap; i++) {
        if (c->slot[i].len)
            place(slot, cap, &c->slot[i]);
    }
    free(c->slot);
    c->slot = slot;
    c->cap = cap;
    return 0;
}

void vgr_opcache_put(struct vgr_opcache *c, const struct vgr_question *q, uint64_t hash,
                     const struct vgr_query_reply *answer)
{
    struct vgr_opcache_slot s = {
        .hash = hash, .len = key_len(q), .device = q->device, .answer = *answer};

    if (c->bytes + s.len > c->max_bytes)
        clear(c);
    if (grow(c))
        return;
    s.key = malloc(s.len);
    if (!s.key)
        return;
    memcpy(s.key, q->tensor, s.len);
    place(c->slot, c->cap, &s);
    c->used++;
    c->bytes += s.len;
}
