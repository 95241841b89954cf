/* SPDX-License-Identifier: MIT */
#include "worker/tensor.h"

#include <assert.h>
#include <string.h>

#include "protocol/codec.h"
#include "worker/rules/rules.h"

static int refuse(const char **why, const char *text)
{
    *why = text;
    return -1;
}

static_assert((int)VGR_TENSOR_COMPUTE == (int)GGML_TENSOR_FLAG_COMPUTE, "as GGML has it");

static bool computes_nothing(enum ggml_op op)
{
    return op == GGML_OP_NONE || vgr_tensor_is_view_op(op);
}

/* A name for a part of other memory: nothing is computed for it, and no buffer has to prepare it. */
static bool is_view(const struct ggml_tensor *t)
{
    return t->view_src && computes_nothing(t->op);
}

int32_t vgr_tensor_flags(const struct vgr_tensor *w)
{
    int32_t flags = (int32_t)(w->flags & VGR_TENSOR_GGML_FLAGS);

    /* What escapes must not be fused away: for GGML's backends that is an output. */
    return w->flags & VGR_TENSOR_ESCAPES ? flags | GGML_TENSOR_FLAG_OUTPUT : flags;
}

int vgr_tensor_describe(const struct vgr_ctx *c, struct ggml_tensor *t, const struct vgr_tensor *w,
                        const char **why)
{
    unsigned op = vgr_names_lookup(&c->map, VGR_DICT_OP, w->op);
    unsigned type = vgr_names_lookup(&c->map, VGR_DICT_TYPE, w->type);
    unsigned sub;
    uint64_t bytes;

    if (op == VGR_NAMES_NONE)
        return refuse(why, "an op that this host does not know");
    if (type == VGR_NAMES_NONE)
        return refuse(why, "a type that this host does not know");
    if (vgr_codec_extent(w, (uint32_t)ggml_blck_size((enum ggml_type)type),
                         (uint32_t)ggml_type_size((enum ggml_type)type), &bytes))
        return refuse(why, "an impossible shape");

    t->type = (enum ggml_type)type;
    t->op = (enum ggml_op)op;
    for (int d = 0; d < VGR_DIMS; d++) {
        t->ne[d] = w->ne[d];
        t->nb[d] = w->nb[d];
    }
    memcpy(t->op_params, w->op_params, sizeof(t->op_params));
    if (op == GGML_OP_UNARY || op == GGML_OP_GLU) {
        sub = vgr_names_lookup(&c->map, op == GGML_OP_UNARY ? VGR_DICT_UNARY : VGR_DICT_GLU,
                               (uint32_t)w->op_params[0]);
        if (sub == VGR_NAMES_NONE)
            return refuse(why, "a unary or GLU op that this host does not know");
        t->op_params[0] = (int32_t)sub;
    }
    t->flags = vgr_tensor_flags(w);
    t->view_offs = w->view_offs;
    return 0;
}

int vgr_tensor_place(const struct vgr_ctx *c, struct ggml_tensor *t, const struct vgr_tensor *w,
                     uint32_t device, const char **why)
{
    const struct vgr_host_buffer *b;
    uint64_t bytes;

    if (vgr_codec_extent(w, (uint32_t)ggml_blck_size(t->type), (uint32_t)ggml_type_size(t->type),
                         &bytes))
        return refuse(why, "an impossible shape");
    if (!w->buffer) {
        if (bytes)
            return refuse(why, "a tensor without memory");
        t->buffer = NULL;
        t->data = NULL;
        return 0;
    }
    if (w->buffer > VGR_CTX_MAX_BUFFERS || !c->buffers[w->buffer].buffer)
        return refuse(why, "a tensor in a buffer that does not exist");
    b = &c->buffers[w->buffer];
    if (b->device != device)
        return refuse(why, "a tensor in another device's buffer");
    if (w->offset > b->size || (!is_view(t) && bytes > b->size - w->offset))
        return refuse(why, "a tensor outside its buffer");
    t->buffer = b->buffer;
    t->data = b->base + w->offset;
    return 0;
}

/* Behind a view lies its source's padding, or other parts of the source, which no backend writes for
 * the view's sake. */
static uint64_t view_padding(ggml_backend_buffer_type_t buft, const struct ggml_tensor *t)
{
    struct ggml_tensor plain = *t;

    if (!t->view_src)
        return 0;
    plain.op = GGML_OP_NONE;
    return ggml_backend_buft_get_alloc_size(buft, &plain) - ggml_nbytes(t);
}

int vgr_tensor_check_room(const struct vgr_ctx *c, const struct ggml_tensor *t,
                          const struct vgr_tensor *w, const char **why)
{
    const struct vgr_host_buffer *b = &c->buffers[w->buffer];
    ggml_backend_buffer_type_t buft;
    uint64_t need, room;

    if (!t->buffer || is_view(t))
        return 0;
    buft = c->backends.device[b->device].buft;
    need = ggml_backend_buft_get_alloc_size(buft, t);
    room = b->size - w->offset;
    if (need > room && need - view_padding(buft, t) > room)
        return refuse(why, "a tensor without room for what the device takes besides");
    return 0;
}

int vgr_tensor_init(const struct vgr_ctx *c, struct ggml_tensor *t, const struct vgr_tensor *w,
                    const char **why)
{
    if (vgr_tensor_check_room(c, t, w, why))
        return -1;
    /* A view has nothing to prepare: its source has been. */
    if (!t->buffer || t->view_src)
        return 0;
    if (ggml_backend_buffer_init_tensor(t->buffer, t) != GGML_STATUS_SUCCESS)
        return refuse(why, "a tensor that its buffer does not accept");
    return 0;
}

int vgr_tensor_check_op(const struct vgr_ctx *c, const struct ggml_tensor *t, uint32_t device,
                        const char **why)
{
    const char *reason = vgr_rules_check(t);

    if (reason)
        return refuse(why, reason);
    if (computes_nothing(t->op))
        return 0;
    /* Without elements it may have none, but backends look at the buffer first. */
    for (int s = 0; s < GGML_MAX_SRC; s++) {
        if (t->buffer && t->src[s] && !t->src[s]->buffer)
            return refuse(why, "a source without memory");
    }
    if (!ggml_backend_dev_supports_op(c->backends.device[device].dev, t))
        return refuse(why, "an op that the device does not support");
    return 0;
}

bool vgr_tensor_idle(const struct ggml_tensor *t, bool meant)
{
    return !computes_nothing(t->op) && (!meant || vgr_rules_work(t) == VGR_WORK_NONE);
}

/* By name: older versions of GGML do not have it, which is GGML_OP_COUNT. */
static enum ggml_op find_fill(void)
{
    int op = 0;

    while (op < GGML_OP_COUNT && strcmp(ggml_op_name((enum ggml_op)op), "FILL") != 0)
        op++;
    return (enum ggml_op)op;
}

void vgr_tensor_disarm(struct ggml_tensor *t)
{
    t->op = GGML_OP_NONE;
    memset(t->op_params, 0, sizeof(t->op_params));
    memset(t->src, 0, sizeof(t->src));
}

int vgr_tensor_settle(struct ggml_tensor *t, const char **why)
{
    enum ggml_op fill;
    const char *reason;

    if (vgr_rules_work(t) != VGR_WORK_ZEROS)
        return 0;
    reason = vgr_rules_check(t);
    if (reason)
        return refuse(why, reason);
    fill = find_fill();
    if (fill == GGML_OP_COUNT)
        return refuse(why, "a sum over no elements, which this host cannot fill with zeros");
    /* The op reads nothing, but has a source: itself. */
    vgr_tensor_disarm(t);
    t->op = fill;
    t->src[0] = t;
    return 0;
}

void vgr_tensor_bytes(struct ggml_tensor *t, const struct vgr_host_buffer *b, uint64_t offset,
                      uint64_t len)
{
    memset(t, 0, sizeof(*t));
    t->type = GGML_TYPE_I8;
    t->ne[0] = (int64_t)len;
    t->ne[1] = t->ne[2] = t->ne[3] = 1;
    t->nb[0] = 1;
    t->nb[1] = t->nb[2] = t->nb[3] = len;
    t->buffer = b->buffer;
    t->data = b->base + offset;
}

static void fill_bytes(const struct vgr_host_buffer *b, uint64_t offset, uint8_t value, size_t len)
{
    uint8_t bytes[4];
    struct ggml_tensor t;

    if (!len)
        return;
    memset(bytes, value, sizeof(bytes));
    vgr_tensor_bytes(&t, b, offset, len);
    ggml_backend_tensor_set(&t, bytes, 0, len);
}

/* GGML's Vulkan fills whole words of four bytes: the command that it uses takes nothing else, and what
 * is left of the last word would keep what was there before. It clears with words of which the value
 * is the lowest byte, which is right for 0 only. */
void vgr_tensor_fill(const struct vgr_host_buffer *b, uint64_t offset, uint8_t value, uint64_t len)
{
    uint64_t head = -offset % 4 < len ? -offset % 4 : len;
    uint64_t tail = (len - head) % 4, middle = len - head - tail;
    struct ggml_tensor t;

    fill_bytes(b, offset, value, head);
    if (!value && middle && middle + tail == b->size) {
        ggml_backend_buffer_clear(b->buffer, 0);
    } else if (middle) {
        vgr_tensor_bytes(&t, b, offset + head, middle);
        ggml_backend_tensor_memset(&t, value, 0, middle);
    }
    fill_bytes(b, offset + head + middle, value, tail);
}
