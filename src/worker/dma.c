/* SPDX-License-Identifier: MIT */
#include "worker/dma.h"

#include <stdlib.h>

#include "common/log.h"
#include "protocol/ggml_abi.h"

/* Devices copy whole words. */
#define WORD 4

struct vgr_dma {
    ggml_backend_buffer_t arena;
    const uint8_t *base; /* of the arena, in this process */
    uint8_t *dev_base;   /* of its buffer; may be no real address */
    void *fence;
};

struct vgr_dma *vgr_dma_new(ggml_backend_dev_t dev, const struct vgr_arena *arena, void *fence)
{
    ggml_backend_reg_t reg = ggml_backend_dev_backend_reg(dev);
    struct vgr_dma *dma;

    /* GGML's own call does not look whether the device has one. */
    if (!reg || reg->api_version != VGR_GGML_API || !dev->iface.buffer_from_host_ptr)
        return NULL;
    dma = calloc(1, sizeof(*dma));
    if (!dma)
        return NULL;
    dma->base = arena->base;
    dma->fence = fence;
    dma->arena = ggml_backend_dev_buffer_from_host_ptr(dev, arena->base, arena->size, arena->size);
    if (!dma->arena) {
        free(dma);
        return NULL;
    }
    dma->dev_base = ggml_backend_buffer_get_base(dma->arena);
    vgr_debug("%s writes results into the arena by itself", ggml_backend_dev_name(dev));
    return dma;
}

bool vgr_dma_read(struct vgr_dma *dma, ggml_backend_t stream, const struct ggml_tensor *from,
                  void *at)
{
    struct ggml_tensor src = *from, to = *from;
    size_t len = ggml_nbytes(from);

    if (!dma || len < VGR_DMA_MIN || (len | (uintptr_t)at | (uintptr_t)from->data) % WORD)
        return false;
    to.buffer = dma->arena;
    to.data = dma->dev_base + ((uint8_t *)at - dma->base);
    /* GGML's Vulkan makes a read wait for the graph before it, but not a copy between its buffers. What
     * a read waits for, the copy behind it has waited for too. */
    ggml_backend_tensor_get_async(stream, &src, dma->fence, 0, WORD);
    ggml_backend_tensor_copy_async(stream, stream, &src, &to);
    return true;
}
