/* SPDX-License-Identifier: MIT
 *
 * worker_lives.h - the model of fuzz_lives: buffers that live once, graphs in them, and what they compute.
 *
 * A buffer has a few slots, each for one tensor. Two tensors lie in the same slot or in different ones:
 * what a graph computes does not depend on how GGML goes through a tensor. All is addition and copying,
 * of which the result is known to the bit.
 */
#ifndef VGR_FUZZ_WORKER_LIVES_H
#define VGR_FUZZ_WORKER_LIVES_H

#define ARENA (256u << 10)
#include "worker_rig.h"

#include <ggml.h>

#define PAYLOAD (DATA + 8192)

#define BUFFERS 3u
#define GRAPHS  3u
#define STREAMS 2u
#define TENSORS 5u /* of a graph, at most */

#define LEN         8u /* of a tensor, elements */
#define SLOT_SIZE   (LEN * (uint32_t)sizeof(float))
#define SLOTS       4u
#define BUFFER_SIZE (SLOTS * SLOT_SIZE)

struct place {
    uint32_t buffer;
    uint32_t slot;
    uint64_t life; /* of the buffer, when the tensor was put there */
};

/* A kind of graph. References are 1 + index, as on the wire. */
struct model_kind {
    uint32_t n_nodes, n_tensors;
    struct {
        enum ggml_op op;
        uint32_t src[2];
        uint32_t view;
        enum {
            PLAIN,
            WIDE, /* extends past its buffer; only a view is made of it */
            IDLE, /* is not to be computed */
        } how;
    } t[TENSORS];
};

struct model_graph {
    const struct model_kind *kind; /* NULL: the handle is free */
    struct place at[TENSORS];
};

struct model {
    uint64_t lives; /* of buffers, so far */
    struct {
        uint64_t life; /* 0: none */
        float x[SLOTS][LEN];
    } buffer[BUFFERS + 2]; /* [0] and the last are never there */
    struct model_graph graph[GRAPHS + 1];
    bool stream[STREAMS + 1];
};

/* Results that are sources, views of leafs and of nodes, a copy into a leaf, what is too long or idle. */
static const struct model_kind kinds[] = {
    {1, 3, {{GGML_OP_ADD, {2, 3}, 0, PLAIN}}},
    {2, 5, {{GGML_OP_ADD, {3, 4}, 0, PLAIN}, {GGML_OP_ADD, {1, 5}, 0, PLAIN}}},
    {2, 4, {{GGML_OP_VIEW, {3}, 3, PLAIN}, {GGML_OP_ADD, {1, 4}, 0, PLAIN}}},
    {1, 3, {{GGML_OP_CPY, {2, 3}, 3, PLAIN}}},
    {1, 4, {{GGML_OP_ADD, {2, 4}, 0, PLAIN}, {0}, {0}, {GGML_OP_NONE, {0}, 3, PLAIN}}},
    {3,
     5,
     {{GGML_OP_ADD, {4, 5}, 0, PLAIN},
      {GGML_OP_VIEW, {1}, 1, PLAIN},
      {GGML_OP_ADD, {2, 4}, 0, PLAIN}}},
    {3,
     5,
     {{GGML_OP_VIEW, {4}, 4, WIDE},
      {GGML_OP_VIEW, {1}, 4, PLAIN},
      {GGML_OP_ADD, {2, 5}, 0, PLAIN}}},
    {3,
     5,
     {{GGML_OP_ADD, {4, 5}, 0, IDLE},
      {GGML_OP_ADD, {1, 4}, 0, PLAIN},
      {GGML_OP_CPY, {2, 5}, 5, PLAIN}}},
};

/* ---- Places ---- */

static inline uint32_t some_slot(struct fuzz_in *in)
{
    return fuzz_rarely(in) ? SLOTS + fuzz_u8(in) : fuzz_below(in, SLOTS);
}

/* One that is there, mostly. */
static inline struct place some_place(struct fuzz_in *in, const struct model *m)
{
    struct place p = {.buffer = 1 + fuzz_below(in, BUFFERS)};

    for (uint32_t k = 0; k < BUFFERS && !m->buffer[p.buffer].life; k++)
        p.buffer = 1 + p.buffer % BUFFERS;
    if (fuzz_rarely(in))
        p.buffer = 1 + fuzz_below(in, BUFFERS + 1);
    p.slot = some_slot(in);
    p.life = m->buffer[p.buffer].life;
    return p;
}

static inline bool place_lives(const struct model *m, const struct place *p)
{
    return p->life && m->buffer[p->buffer].life == p->life && p->slot < SLOTS;
}

/* ---- Graphs ---- */

static inline void make_graph(struct fuzz_in *in, const struct model *m, struct model_graph *g)
{
    *g = (struct model_graph){.kind = &kinds[fuzz_below(in, sizeof(kinds) / sizeof(kinds[0]))]};
    for (uint32_t n = 0; n < g->kind->n_tensors; n++) {
        uint32_t i = (g->kind->n_nodes + n) % g->kind->n_tensors, view = g->kind->t[i].view;

        g->at[i] = view && !fuzz_rarely(in) ? g->at[view - 1] : some_place(in, m);
    }
}

/* Are all of its tensors where they were put? */
static inline bool graph_lives(const struct model *m, const struct model_graph *g)
{
    bool all = g->kind;

    for (uint32_t i = 0; all && i < g->kind->n_tensors; i++)
        all = place_lives(m, &g->at[i]);
    return all;
}

/* And are views where their source is? All of them are looked at: each is a node, or one's source. */
static inline bool graph_is_sound(const struct model *m, const struct model_graph *g)
{
    bool sound = graph_lives(m, g);

    for (uint32_t i = 0; sound && i < g->kind->n_tensors; i++) {
        const struct place *of = g->kind->t[i].view ? &g->at[g->kind->t[i].view - 1] : &g->at[i];

        sound = of->buffer == g->at[i].buffer && of->slot == g->at[i].slot;
    }
    return sound;
}

static inline void write_tensor(struct vgr_tensor *t, const struct place *p)
{
    *t = (struct vgr_tensor){
        .type = GGML_TYPE_F32,
        .buffer = p->buffer,
        .offset = (uint64_t)p->slot * SLOT_SIZE,
        .ne = {LEN, 1, 1, 1},
        .nb = {sizeof(float), SLOT_SIZE, SLOT_SIZE, SLOT_SIZE},
    };
}

static inline void write_graph(struct vgr_tensor t[TENSORS], const struct model_graph *g)
{
    for (uint32_t i = 0; i < g->kind->n_tensors; i++) {
        write_tensor(&t[i], &g->at[i]);
        t[i].op = g->kind->t[i].op;
        t[i].flags =
            i < g->kind->n_nodes && g->kind->t[i].how != IDLE ? GGML_TENSOR_FLAG_COMPUTE : 0;
        if (g->kind->t[i].how == WIDE) {
            t[i].ne[1] = SLOTS;
            t[i].nb[1] = 1 << 20;
        }
        t[i].src[0] = g->kind->t[i].src[0];
        t[i].src[1] = g->kind->t[i].src[1];
        t[i].view_src = g->kind->t[i].view;
    }
}

/* ---- What commands do ---- */

static inline void model_alloc(struct model *m, uint32_t buffer)
{
    m->buffer[buffer].life = ++m->lives;
    memset(m->buffer[buffer].x, 0, sizeof(m->buffer[buffer].x));
}

static inline float *model_at(struct model *m, const struct model_graph *g, uint32_t ref)
{
    return m->buffer[g->at[ref - 1].buffer].x[g->at[ref - 1].slot];
}

static inline void model_run(struct model *m, const struct model_graph *g)
{
    for (uint32_t i = 0; i < g->kind->n_nodes; i++) {
        float *to = model_at(m, g, i + 1), *a = model_at(m, g, g->kind->t[i].src[0]);
        const float *b = g->kind->t[i].src[1] ? model_at(m, g, g->kind->t[i].src[1]) : NULL;

        if (g->kind->t[i].how == IDLE)
            continue;
        for (uint32_t k = 0; k < LEN && g->kind->t[i].op == GGML_OP_ADD; k++)
            to[k] = a[k] + b[k];
        if (g->kind->t[i].op == GGML_OP_CPY)
            memmove(to, a, SLOT_SIZE);
    }
}

#endif
