/* SPDX-License-Identifier: MIT
 *
 * tensor.h - a tensor of the wire becomes a ggml_tensor of this host.
 *
 * This is the gate: nothing that the guest says about a tensor reaches GGML unchecked. Checked here
 * are the names (op, sub-op, type exist on this host), the shape, and that every byte the shape
 * touches lies inside the buffer. A view may extend past its buffer: only what an op reads or writes has to lie
 * inside, and that the rules see to. What an op requires of its sources (types, shapes, parameters) is
 * a matter of its semantics: vgr_tensor_check_op() asks the rules of rules.h.
 */
#ifndef VGR_WORKER_TENSOR_H
#define VGR_WORKER_TENSOR_H

#include <ggml.h>

#include "worker/context.h"

/* Fills `t` (an element of a graph under construction) from `w`: everything but src, view_src and
 * memory. *why tells a constant reason on failure (-1). */
int vgr_tensor_describe(const struct vgr_ctx *c, struct ggml_tensor *t, const struct vgr_tensor *w,
                        const char **why);

/* ggml_tensor.flags for what the wire says. */
int32_t vgr_tensor_flags(const struct vgr_tensor *w);

/* Gives `t` its memory: w->buffer must be a buffer of `device`, and t's extent must lie inside, unless `t`, of
 * which op and view_src are set, is a view that nothing is computed for. */
int vgr_tensor_place(const struct vgr_ctx *c, struct ggml_tensor *t, const struct vgr_tensor *w,
                     uint32_t device, const char **why);

/* Checks that what the device takes for `t` lies in its buffer: it may be more than the data. The
 * buffer writes padding there, an op keeps intermediate results there (CUDA's FLASH_ATTN_EXT, copies of
 * two sources). `t` is placed as `w` says; it is a leaf, or vgr_tensor_check_op() has passed. */
int vgr_tensor_check_room(const struct vgr_ctx *c, const struct ggml_tensor *t,
                          const struct vgr_tensor *w, const char **why);

/* Checks that there is room, and lets the buffer prepare the memory. */
int vgr_tensor_init(const struct vgr_ctx *c, struct ggml_tensor *t, const struct vgr_tensor *w,
                    const char **why);

/* Does this op only name memory of another tensor? */
static inline bool vgr_tensor_is_view_op(enum ggml_op op)
{
    return op == GGML_OP_RESHAPE || op == GGML_OP_VIEW || op == GGML_OP_PERMUTE ||
           op == GGML_OP_TRANSPOSE;
}

/* Is there nothing to do for `t`, whose sources are set? `meant`: the guest wants it to be computed. */
bool vgr_tensor_idle(const struct ggml_tensor *t, bool meant);

/* Takes op and sources away from `t`, so that no device can compute it. What refers to it finds its memory. */
void vgr_tensor_disarm(struct ggml_tensor *t);

/* Replaces an op that is a sum over no elements by a FILL with zeros; leaves any other as it is. The op must obey
 * its rule. */
int vgr_tensor_settle(struct ggml_tensor *t, const char **why);

/* Checks what is known of the op of `t`, which is settled and whose sources are set: it must obey its rule
 * (rules.h), what it computes from must have memory if it has, and the device must support it. */
int vgr_tensor_check_op(const struct vgr_ctx *c, const struct ggml_tensor *t, uint32_t device,
                        const char **why);

/* A plain run of `len` bytes at `offset` of a buffer, for set, get, memset and copy. The range has
 * been checked by the caller. */
void vgr_tensor_bytes(struct ggml_tensor *t, const struct vgr_host_buffer *b, uint64_t offset,
                      uint64_t len);

/* Sets `len` bytes at `offset` of a buffer, to the last one. The range has been checked by the caller. */
void vgr_tensor_fill(const struct vgr_host_buffer *b, uint64_t offset, uint8_t value, uint64_t len);

#endif
