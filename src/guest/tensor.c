/* SPDX-License-Identifier: MIT */
#include "guest/tensor.h"

#include <string.h>

#include "guest/device.h"
#include "guest/dict.h"

static_assert(GGML_MAX_DIMS == VGR_DIMS, "dimensions");
static_assert(GGML_MAX_SRC == VGR_SRCS, "sources");
static_assert(GGML_MAX_OP_PARAMS == VGR_PARAMS * sizeof(int32_t), "parameters");

struct vgr_buffer *vgr_tensor_owner(const struct ggml_tensor *t)
{
    ggml_backend_buffer_t buffer = t->view_src ? t->view_src->buffer : t->buffer;

    return buffer && buffer->iface.free_buffer == vgr_buffer_free ? buffer->context : NULL;
}

bool vgr_tensor_place(const struct vgr_queue *q, const struct ggml_tensor *t,
                      struct vgr_place *place)
{
    const struct vgr_buffer *b = vgr_tensor_owner(t);
    uint64_t offset = b ? (uint64_t)(uintptr_t)t->data - b->base : 0;
    if (b && b->queue == q && t->data && offset <= b->size) {
        *place =
            (struct vgr_place){.buffer = b->handle, .offset = offset, .room = b->size - offset};
        return true;
    }
    *place = (struct vgr_place){0};
    return !t->ne[0] || !t->ne[1] || !t->ne[2] || !t->ne[3];
}

void vgr_tensor_record(struct vgr_tensor *r, const struct ggml_tensor *t,
                       const struct vgr_place *place, bool leaf)
{
    r->op = vgr_dict_op[leaf ? GGML_OP_NONE : (uint32_t)t->op & VGR_DICT_MAX_NUMBER];
    r->type = (uint32_t)t->type;
    r->flags = (uint32_t)t->flags & VGR_TENSOR_GGML_FLAGS;
    r->buffer = place->buffer;
    r->offset = place->offset;
    memcpy(r->ne, t->ne, sizeof(r->ne));
    memcpy(r->nb, t->nb, sizeof(r->nb));
    if (leaf) {
        memset(r->op_params, 0, sizeof(r->op_params));
    } else {
        memcpy(r->op_params, t->op_params, sizeof(r->op_params));
        r->op_params[0] = vgr_dict_param0(t->op, t->op_params[0]);
    }
    memset(r->src, 0, sizeof(r->src));
    r->view_src = 0;
    r->reserved = 0;
    r->view_offs = t->view_src ? t->view_offs : 0;
}

/* Adds a record about shape and type only. Returns its reference, 1 + index. */
static uint32_t add_shape(struct vgr_question *q, const struct ggml_tensor *t, bool leaf)
{
    static const struct vgr_place nowhere;
    struct vgr_tensor *r = &q->tensor[q->n];

    vgr_tensor_record(r, t, &nowhere, leaf);
    r->flags = 0;
    r->view_offs = 0;
    return ++q->n;
}

bool vgr_tensor_question(struct vgr_question *q, uint32_t device, const struct ggml_tensor *op,
                         bool as_leaf)
{
    const struct ggml_tensor *known[VGR_CODEC_QUERY_MAX];

    q->device = device;
    q->n = 0;
    known[0] = op;
    add_shape(q, op, as_leaf);
    if (as_leaf)
        return true;
    if (op->op == GGML_OP_MAP_CUSTOM1 || op->op == GGML_OP_MAP_CUSTOM2 ||
        op->op == GGML_OP_MAP_CUSTOM3 || op->op == GGML_OP_CUSTOM)
        return false;

    for (int s = 0; s < VGR_SRCS; s++) {
        if (op->src[s]) {
            known[q->n] = op->src[s];
            q->tensor[0].src[s] = add_shape(q, op->src[s], true);
        }
    }
    if (op->view_src) {
        for (uint32_t i = 1; i < q->n && !q->tensor[0].view_src; i++) {
            if (known[i] == op->view_src)
                q->tensor[0].view_src = i + 1;
        }
        if (!q->tensor[0].view_src)
            q->tensor[0].view_src = add_shape(q, op->view_src, true);
    }
    return true;
}

static bool overlap(const struct vgr_place *a, const struct vgr_place *b, uint64_t len)
{
    return a->buffer == b->buffer && a->offset < b->offset + len && b->offset < a->offset + len;
}

/* Nothing is waited for here. Each queue waits for what the other was given so far, and that is visible
 * already: so they never wait for each other at once. */
static uint64_t copy_between_queues(struct vgr_queue *q, struct vgr_queue *from,
                                    struct vgr_cmd_copy *cmd)
{
    uint64_t before = vgr_queue_mark(from), seq = 0;

    if (!vgr_queue_lock(q))
        return 0;
    vgr_queue_after(q, from, before);
    cmd->src_queue = (uint16_t)from->number;
    seq = vgr_queue_push(q, cmd, sizeof(*cmd), NULL, 0);
    vgr_queue_publish(q);
    vgr_queue_unlock(q);
    if (seq && vgr_queue_lock(from)) {
        vgr_queue_after(from, q, seq);
        vgr_queue_unlock(from);
    }
    return seq;
}

uint64_t vgr_tensor_copy(struct vgr_queue *q, const struct ggml_tensor *src,
                         const struct ggml_tensor *dst, uint16_t stream)
{
    struct vgr_cmd_copy cmd = {.h.op = VGR_CMD_COPY, .stream = stream, .len = ggml_nbytes(src)};
    const struct vgr_buffer *b = vgr_tensor_owner(src);
    struct vgr_queue *other = b ? b->queue : NULL;
    struct vgr_place from, to;
    uint64_t seq;

    if (!other || other->conn != q->conn || src->type != dst->type ||
        !ggml_are_same_shape(src, dst) || !ggml_are_same_stride(src, dst) ||
        !ggml_is_contiguous(src) || !vgr_tensor_place(other, src, &from) ||
        !vgr_tensor_place(q, dst, &to) || !from.buffer || !to.buffer || cmd.len > from.room ||
        cmd.len > to.room || (other == q && overlap(&from, &to, cmd.len)))
        return 0;
    cmd.src = from.buffer;
    cmd.src_offset = from.offset;
    cmd.dst = to.buffer;
    cmd.dst_offset = to.offset;
    cmd.src_queue = (uint16_t)q->number;
    if (other != q)
        return copy_between_queues(q, other, &cmd);
    if (!vgr_queue_lock(q))
        return 0;
    seq = vgr_queue_push(q, &cmd, sizeof(cmd), NULL, 0);
    vgr_queue_unlock(q);
    return seq;
}
