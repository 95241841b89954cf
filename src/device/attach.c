/* SPDX-License-Identifier: MIT */
#include "device/attach.h"

#include <errno.h>

#include "device/context.h"

#define WORDS (VGR_GPU_MAX_CONTEXTS / 64)

static uint64_t *word_of(struct vgr_resource *res, const struct vgr_context *c)
{
    return &res->attached[c->place / 64];
}

static uint64_t bit_of(const struct vgr_context *c)
{
    return UINT64_C(1) << c->place % 64;
}

void vgr_attach_begin(struct vgr_gpu *gpu, struct vgr_context *c)
{
    c->place = 0;
    while (gpu->places[c->place])
        c->place++; /* there are as many as the table takes */
    gpu->places[c->place] = c;
    c->n_attached = 0;
}

void vgr_attach_end(struct vgr_gpu *gpu, struct vgr_context *c)
{
    struct vgr_table_node *n = NULL;

    while (c->n_attached && (n = vgr_table_next(&gpu->resources, n))) {
        vgr_detach(c, vgr_container_of(n, struct vgr_resource, node));
        vgr_loop_charge(gpu->loop, VGR_WORK_ENTRIES, 2); /* the node and the bits */
    }
    gpu->places[c->place] = NULL;
}

int vgr_attach(struct vgr_context *c, struct vgr_resource *res)
{
    if (vgr_attached(c, res))
        return 0;
    if (c->n_attached == VGR_GPU_MAX_ATTACHED)
        return -ENOSPC;
    *word_of(res, c) |= bit_of(c);
    c->n_attached++;
    return 0;
}

void vgr_detach(struct vgr_context *c, struct vgr_resource *res)
{
    if (!vgr_attached(c, res))
        return;
    *word_of(res, c) &= ~bit_of(c);
    c->n_attached--;
}

void vgr_detach_all(struct vgr_gpu *gpu, struct vgr_resource *res)
{
    for (unsigned i = 0; i < WORDS; i++) {
        for (; res->attached[i]; res->attached[i] &= res->attached[i] - 1) {
            gpu->places[64 * i + (unsigned)__builtin_ctzll(res->attached[i])]->n_attached--;
            vgr_loop_charge(gpu->loop, VGR_WORK_ENTRIES, 1);
        }
    }
}

bool vgr_attached(const struct vgr_context *c, const struct vgr_resource *res)
{
    return res->attached[c->place / 64] & bit_of(c);
}
