/* SPDX-License-Identifier: MIT
 *
 * test_worker_add.h - a graph that adds, in a worker's context (test_worker.h).
 */
#ifndef VGR_TEST_WORKER_ADD_H
#define VGR_TEST_WORKER_ADD_H

#include "test_worker.h"

#include <ggml.h>

#define N 64u

/* out = a + b, all in buffer 1: a at 0, b at 256, out at 512. */
struct add_graph {
    struct vgr_graph g;
    struct vgr_tensor t[3];
};

static inline void make_add(struct add_graph *d)
{
    memset(d, 0, sizeof(*d));
    d->g.n_nodes = 1;
    d->g.n_tensors = 3;
    for (int i = 0; i < 3; i++) {
        struct vgr_tensor *t = &d->t[i];

        t->type = GGML_TYPE_F32;
        t->buffer = 1;
        t->ne[0] = N;
        t->ne[1] = t->ne[2] = t->ne[3] = 1;
        t->nb[0] = 4;
        t->nb[1] = t->nb[2] = t->nb[3] = 4 * N;
    }
    d->t[0].op = GGML_OP_ADD;
    d->t[0].flags = GGML_TENSOR_FLAG_COMPUTE;
    d->t[0].src[0] = 2;
    d->t[0].src[1] = 3;
    d->t[0].offset = 512;
    d->t[2].offset = 256;
}

static inline int define(struct rig *r, const void *payload, uint32_t len)
{
    struct vgr_cmd_graph m = {.graph = 1, .data_len = len, .data_off = DATA + 8192};

    memcpy(r->c->arena.base + DATA + 8192, payload, len);
    return RUN(r, m, VGR_CMD_GRAPH_DEFINE);
}

static inline void set_f32(struct rig *r, uint64_t offset, float v)
{
    struct vgr_cmd_data set = {.buffer = 1, .offset = offset, .len = 4 * N, .data_off = DATA};
    float x[N];

    for (unsigned i = 0; i < N; i++)
        x[i] = v;
    memcpy(r->c->arena.base + DATA, x, sizeof(x));
    assert_int_equal(RUN(r, set, VGR_CMD_SET), 0);
}

static inline float get_f32(struct rig *r, uint64_t offset)
{
    struct vgr_cmd_data get = {.buffer = 1, .offset = offset, .len = 4, .data_off = DATA};
    float v;

    assert_int_equal(RUN(r, get, VGR_CMD_GET), 0);
    memcpy(&v, r->c->arena.base + DATA, sizeof(v));
    return v;
}

static inline void ready_to_add(struct rig *r)
{
    struct vgr_cmd_stream open = {.stream = 1};

    alloc(r, 1, 4096);
    assert_int_equal(RUN(r, open, VGR_CMD_STREAM_OPEN), 0);
    set_f32(r, 0, 1.5f);
    set_f32(r, 256, 2.0f);
}

#endif
