/* SPDX-License-Identifier: MIT */
#include "guest/pool.h"

#include <string.h>

void vgr_pool_init(struct vgr_pool *p, uint64_t base, uint64_t size)
{
    memset(p, 0, sizeof(*p));
    p->base = base;
    p->size = size;
}

uint64_t vgr_pool_alloc(struct vgr_pool *p, uint64_t len)
{
    uint64_t at = p->base, end = p->base + p->size;
    uint32_t i;

    if (!len || len > p->size || p->n == VGR_POOL_BLOCKS)
        return 0;
    len = (len + VGR_POOL_ALIGN - 1) & ~(uint64_t)(VGR_POOL_ALIGN - 1);
    for (i = 0; i < p->n && p->block[i].off - at < len; i++)
        at = p->block[i].off + p->block[i].len;
    if (i == p->n && end - at < len)
        return 0;
    memmove(&p->block[i + 1], &p->block[i], (p->n - i) * sizeof(p->block[0]));
    p->block[i] = (struct vgr_pool_block){at, len};
    p->n++;
    return at;
}

void vgr_pool_free(struct vgr_pool *p, uint64_t off)
{
    for (uint32_t i = 0; i < p->n; i++) {
        if (p->block[i].off == off) {
            p->n--;
            memmove(&p->block[i], &p->block[i + 1], (p->n - i) * sizeof(p->block[0]));
            return;
        }
    }
}
