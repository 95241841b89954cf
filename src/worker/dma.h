/* SPDX-License-Identifier: MIT
 *
 * dma.h - a device that writes results into the arena by itself.
 *
 * Theory of operation
 * -------------------
 *
 * GGML reads a device's buffer into plain memory through staging memory of its own: that costs a wait in
 * the middle of the ring, and a copy by this process. A device that can make a buffer of memory that
 * exists already (GGML's buffer_from_host_ptr; Vulkan can) gets the arena as such a buffer, and a read
 * becomes a copy between two of its buffers, in the order of the stream. The result is there when the
 * stream is synchronized, which the loop does before it tells the guest that a command is complete.
 *
 * The arena is the guest's memory and no secret to the device: it holds nothing but this context's data.
 * Where a device cannot do it, or a range does not suit it, the caller reads as ever.
 *
 * Only reads, and as plain copies: copying by a node of a graph (GGML_OP_CONT) was tried on NVIDIA's
 * Vulkan. Shaders reach the host's memory with a fifth of the bandwidth of its copy commands.
 */
#ifndef VGR_WORKER_DMA_H
#define VGR_WORKER_DMA_H

#include <ggml-backend.h>
#include <stdbool.h>
#include <stdint.h>

#include "worker/arena.h"

/* Fewer bytes are read as fast through staging memory. */
#define VGR_DMA_MIN (16u << 10)

struct vgr_dma;

/* Makes a buffer of `dev` from the arena; NULL if the device cannot. `fence` is eight bytes of memory
 * that the device can write asynchronously (of its host buffer type), for us alone; it must outlive the
 * result, which lives as long as the process. */
struct vgr_dma *vgr_dma_new(ggml_backend_dev_t dev, const struct vgr_arena *arena, void *fence);

/* Queues a read of the bytes `from`, a tensor as vgr_tensor_bytes() makes it, to address `at` of the
 * arena, behind what was queued on `stream`. False, and nothing done, if that cannot be or `dma` is
 * NULL. */
bool vgr_dma_read(struct vgr_dma *dma, ggml_backend_t stream, const struct ggml_tensor *from,
                  void *at);

#endif
