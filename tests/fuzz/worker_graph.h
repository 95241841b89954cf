/* SPDX-License-Identifier: MIT
 *
 * worker_graph.h - graphs for fuzz_worker: made by the rules, then damaged.
 *
 * A graph is a few leafs and nodes of ops whose shapes are made as GGML's builder functions would
 * make them, on small tensors anywhere in the buffers that exist. So it runs, mostly. Now and then a
 * tensor has no elements, a node is not to be computed, or a view extends past its buffer. The damage is
 * what the worker must refuse before GGML sees the graph: references out of order, numbers that nobody
 * knows, places outside of buffers, sizes that overflow, other ops, shapes and parameters than the rules
 * allow.
 */
#ifndef VGR_FUZZ_WORKER_GRAPH_H
#define VGR_FUZZ_WORKER_GRAPH_H

#include <ggml.h>

#include "fuzz.h"
#include "protocol/wire.h"

#define GRAPH_MAX 16u

struct fuzz_graph {
    struct vgr_graph head;
    struct vgr_tensor t[GRAPH_MAX + 1];
};
static_assert(offsetof(struct fuzz_graph, t) == sizeof(struct vgr_graph), "as on the wire");

/* What the fuzzer knows of the worker's buffers; handles are 1 + index. */
#define FUZZ_BUFFERS 6u
struct fuzz_buffers {
    uint64_t size[FUZZ_BUFFERS]; /* 0: none */
};

static inline uint32_t graph_len(const struct fuzz_graph *g)
{
    return (uint32_t)(sizeof(g->head) + g->head.n_tensors * sizeof(g->t[0]));
}

static inline void shape(struct vgr_tensor *t, enum ggml_type type, const int64_t ne[4])
{
    t->type = type;
    memcpy(t->ne, ne, sizeof(t->ne));
    t->nb[0] = ggml_type_size(type);
    t->nb[1] = ggml_row_size(type, ne[0]);
    t->nb[2] = t->nb[1] * (uint64_t)ne[1];
    t->nb[3] = t->nb[2] * (uint64_t)ne[2];
}

static inline uint64_t whole_size(const struct vgr_tensor *t)
{
    return t->nb[3] * (uint64_t)t->ne[3];
}

/* Puts it into a buffer, if one has room for it. */
static inline void place(struct fuzz_in *in, const struct fuzz_buffers *b, struct vgr_tensor *t)
{
    uint32_t i = fuzz_below(in, FUZZ_BUFFERS);
    uint64_t need = whole_size(t);

    t->buffer = i + 1;
    if (b->size[i] >= need)
        t->offset = fuzz_u16(in) * 32ull % (b->size[i] - need + 1) & ~31ull;
}

static inline void leaf(struct fuzz_in *in, const struct fuzz_buffers *b, struct vgr_tensor *t)
{
    static const enum ggml_type types[] = {GGML_TYPE_F32,  GGML_TYPE_F32,  GGML_TYPE_F16,
                                           GGML_TYPE_Q4_0, GGML_TYPE_Q8_0, GGML_TYPE_I32};
    enum ggml_type type = types[fuzz_below(in, 6)];
    uint8_t len = fuzz_u8(in), rows = fuzz_u8(in);
    int64_t ne[4] = {len < 0xfc ? 32 * (1 + len % 4) : 0, rows < 0xfc ? 1 + rows % 8 : 0,
                     1 + fuzz_below(in, 2), 1};

    shape(t, type, ne);
    t->flags = fuzz_below(in, 4);
    place(in, b, t);
}

/* A tensor before `end` or among the leafs, of type F32 (or any, if !f32); its index or -1. */
static inline int pick(struct fuzz_in *in, const struct fuzz_graph *g, uint32_t end, bool f32)
{
    uint32_t n = g->head.n_tensors, first = fuzz_below(in, n);

    for (uint32_t k = 0; k < n; k++) {
        uint32_t i = (first + k) % n;

        if ((i < end || i >= g->head.n_nodes) && (!f32 || g->t[i].type == GGML_TYPE_F32))
            return (int)i;
    }
    return -1;
}

static inline void set_float(struct vgr_tensor *t, int i, float v)
{
    memcpy(&t->op_params[i], &v, sizeof(v));
}

static inline bool is_packed(const struct vgr_tensor *t)
{
    return t->nb[0] == ggml_type_size((enum ggml_type)t->type) &&
           t->nb[1] == ggml_row_size((enum ggml_type)t->type, t->ne[0]) &&
           t->nb[2] == t->nb[1] * (uint64_t)t->ne[1] && t->nb[3] == t->nb[2] * (uint64_t)t->ne[2];
}

static inline void view_of(struct vgr_tensor *t, const struct fuzz_graph *g, int of)
{
    const struct vgr_tensor *s = &g->t[of];

    t->src[0] = t->view_src = (uint32_t)of + 1;
    t->type = s->type;
    t->buffer = s->buffer;
    t->offset = s->offset;
}

/* Node `i`, from tensors before it. */
static inline void node(struct fuzz_in *in, const struct fuzz_buffers *b, struct fuzz_graph *g,
                        uint32_t i)
{
    struct vgr_tensor *t = &g->t[i];
    int x = pick(in, g, i, true), a = pick(in, g, i, false);
    const struct vgr_tensor *s = x < 0 ? NULL : &g->t[x];
    uint8_t how = fuzz_u8(in);

    t->flags = how < 0xf8   ? GGML_TENSOR_FLAG_COMPUTE
               : how < 0xfc ? 0
                            : GGML_TENSOR_FLAG_COMPUTE | VGR_TENSOR_ESCAPES;
    if (x < 0) { /* nothing to compute with: a node without an op is allowed */
        leaf(in, b, t);
        return;
    }
    shape(t, GGML_TYPE_F32, s->ne);
    t->src[0] = (uint32_t)x + 1;
    switch (fuzz_below(in, 12)) {
    case 0:
        t->op = GGML_OP_ADD + fuzz_below(in, 2) * (GGML_OP_MUL - GGML_OP_ADD);
        t->src[1] = (uint32_t)x + 1;
        break;
    case 1:
        t->op = GGML_OP_SCALE;
        set_float(t, 0, fuzz_u8(in) / 16.0f);
        set_float(t, 1, fuzz_u8(in) / 16.0f);
        break;
    case 2:
        t->op = GGML_OP_UNARY;
        if (!is_packed(s))
            t->op = GGML_OP_CONT;
        else
            t->op_params[0] = (int32_t)fuzz_below(in, GGML_UNARY_OP_SOFTPLUS);
        break;
    case 3:
        t->op = GGML_OP_RMS_NORM;
        set_float(t, 0, 1e-5f);
        break;
    case 4:
        t->op = is_packed(s) ? GGML_OP_SOFT_MAX : GGML_OP_CONT;
        if (t->op == GGML_OP_SOFT_MAX)
            set_float(t, 0, 1.0f);
        break;
    case 5:
        t->op = GGML_OP_CONT;
        break;
    case 6: /* a product of any matrix, not an index */
        if (a >= 0 && g->t[a].type != GGML_TYPE_I32 && is_packed(&g->t[a]) &&
            g->t[a].ne[0] == s->ne[0] && g->t[a].ne[2] == s->ne[2] && is_packed(s)) {
            t->op = GGML_OP_MUL_MAT;
            t->src[0] = (uint32_t)a + 1;
            t->src[1] = (uint32_t)x + 1;
            shape(t, GGML_TYPE_F32, (int64_t[4]){g->t[a].ne[1], s->ne[1], s->ne[2], 1});
            break;
        }
        t->op = GGML_OP_SQR;
        break;
    case 7:
        t->op = GGML_OP_SUM_ROWS;
        shape(t, GGML_TYPE_F32, (int64_t[4]){1, s->ne[1], s->ne[2], 1});
        break;
    case 8:
        t->op = GGML_OP_CPY;
        if (is_packed(s) && s->ne[0] % 32 == 0)
            shape(t, fuzz_below(in, 2) ? GGML_TYPE_F16 : GGML_TYPE_Q8_0, s->ne);
        break;
    case 9: /* rows: the index is whatever the guest has put there */
        if (a >= 0 && g->t[a].type == GGML_TYPE_I32 && g->t[a].ne[2] == 1 && s->ne[2] == 1 &&
            g->t[a].ne[1] == 1 && is_packed(s)) {
            t->op = GGML_OP_GET_ROWS;
            t->src[1] = (uint32_t)a + 1;
            shape(t, GGML_TYPE_F32, (int64_t[4]){s->ne[0], g->t[a].ne[0], 1, 1});
            break;
        }
        t->op = GGML_OP_SQRT;
        break;
    case 10: /* the other way round */
        t->op = GGML_OP_TRANSPOSE;
        view_of(t, g, x);
        t->ne[0] = s->ne[1];
        t->ne[1] = s->ne[0];
        memcpy(t->nb, s->nb, sizeof(t->nb));
        t->nb[0] = s->nb[1];
        t->nb[1] = s->nb[0];
        return;
    default: /* the first rows, or all, far from each other: what may be read of it is another view's */
        t->op = GGML_OP_VIEW;
        view_of(t, g, x);
        memcpy(t->nb, s->nb, sizeof(t->nb));
        how = fuzz_u8(in);
        if (how >= 0xe0)
            t->nb[1] <<= how - 0xe0;
        else if (s->ne[1])
            t->ne[1] = 1 + how % s->ne[1];
        return;
    }
    place(in, b, t);
}

/* One thing that is wrong: of those that the worker sees by itself, or an op, a shape or a parameter
 * that only the rules can refuse. What crashes inside GGML is a gap in them. */
static inline void damage(struct fuzz_in *in, struct vgr_tensor *t, uint32_t n_tensors)
{
    switch (fuzz_below(in, 15)) {
    case 0:
        t->src[fuzz_below(in, VGR_SRCS)] = n_tensors + 1 + fuzz_u8(in);
        break;
    case 1:
        t->view_src = n_tensors + 1 + fuzz_u32(in) % 1000;
        break;
    case 2:
        t->buffer = FUZZ_BUFFERS + 1 + fuzz_u16(in);
        break;
    case 3:
        t->offset = fuzz_size(in);
        break;
    case 4:
        t->op = 200 + fuzz_u16(in);
        break;
    case 5:
        t->type = 100 + fuzz_u16(in);
        break;
    case 6:
        t->ne[fuzz_below(in, VGR_DIMS)] = -1 - (int64_t)fuzz_size(in) / 2;
        break;
    case 7:
        t->ne[1] = 2;
        t->nb[1] = UINT64_MAX - fuzz_u16(in);
        break;
    case 8:
        t->flags = fuzz_u32(in);
        break;
    case 9:
        t->op = fuzz_u8(in);
        break;
    case 10:
        t->type = fuzz_u8(in);
        break;
    case 11:
        t->ne[fuzz_below(in, VGR_DIMS)] = (int64_t)fuzz_size(in);
        break;
    case 12:
        t->nb[fuzz_below(in, VGR_DIMS)] = fuzz_size(in);
        break;
    case 13:
        t->src[fuzz_below(in, VGR_SRCS)] = fuzz_below(in, n_tensors + 1);
        break;
    default:
        t->op_params[fuzz_below(in, VGR_PARAMS)] = (int32_t)fuzz_u32(in);
    }
}

static inline void make_graph(struct fuzz_in *in, const struct fuzz_buffers *b,
                              struct fuzz_graph *g)
{
    uint32_t n_leafs = 1 + fuzz_below(in, 4);

    memset(g, 0, sizeof(*g));
    g->head.n_nodes = 1 + fuzz_below(in, GRAPH_MAX - n_leafs);
    g->head.n_tensors = g->head.n_nodes + n_leafs;
    for (uint32_t i = g->head.n_nodes; i < g->head.n_tensors; i++)
        leaf(in, b, &g->t[i]);
    for (uint32_t i = 0; i < g->head.n_nodes; i++)
        node(in, b, g, i);
    if (fuzz_rarely(in))
        damage(in, &g->t[fuzz_below(in, g->head.n_tensors)], g->head.n_tensors);
    if (fuzz_rarely(in))
        g->head.device = fuzz_u8(in);
    if (fuzz_rarely(in))
        g->head.n_nodes = fuzz_below(in, g->head.n_nodes + 1) ? g->head.n_tensors + 1 : 0;
}

/* Node `i` as a question: the op, then its sources. Returns the number of tensors. */
static inline uint32_t make_question(const struct fuzz_graph *g, uint32_t i,
                                     struct vgr_tensor q[1 + 2 * VGR_SRCS])
{
    uint32_t n = 1;

    q[0] = g->t[i];
    q[0].view_src = 0;
    for (int s = 0; s < VGR_SRCS; s++) {
        if (!q[0].src[s] || q[0].src[s] > g->head.n_tensors)
            continue;
        q[n] = g->t[q[0].src[s] - 1];
        memset(q[n].src, 0, sizeof(q[n].src));
        q[n].view_src = 0;
        q[0].src[s] = ++n;
    }
    return n;
}

#endif
