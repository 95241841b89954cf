/* SPDX-License-Identifier: MIT
 *
 * Encoding and comparing: see graph.h.
 */
#include "guest/graph.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "guest/cgraph.h"
#include "guest/dict.h"
#include "guest/tensor.h"
#include "protocol/codec.h"

#define FIRST_CAP 64u

/* ---- Room ---- */

/* Replaces an array by a longer one; its first `used` elements are kept. */
static int grow_array(void *array, uint32_t cap, size_t size)
{
    void **p = array, *q = realloc(*p, cap * size);

    if (!q)
        return -ENOMEM;
    *p = q;
    return 0;
}

static int body_room(struct vgr_graph_body *b, uint32_t n)
{
    uint32_t cap = b->cap ? b->cap : FIRST_CAP;
    void *payload;

    if (n <= b->cap)
        return 0;
    while (cap < n)
        cap *= 2;
    payload = realloc(b->payload, sizeof(struct vgr_graph) + cap * sizeof(struct vgr_tensor));
    if (!payload)
        return -ENOMEM;
    b->payload = payload;
    if (grow_array(&b->tensor, cap, sizeof(*b->tensor)) ||
        grow_array(&b->flaw, cap, sizeof(*b->flaw)) ||
        grow_array(&b->uses, cap, sizeof(*b->uses)) ||
        grow_array(&b->hash_slot, cap, sizeof(*b->hash_slot)) ||
        grow_array(&b->image, cap, sizeof(*b->image)))
        return -ENOMEM;
    memset(b->hash_slot + b->cap, 0, (cap - b->cap) * sizeof(*b->hash_slot));
    b->cap = cap;
    return 0;
}

/* ---- From tensor to index ---- */

static uint32_t map_start(const struct vgr_graphs *g, const struct ggml_tensor *key)
{
    /* Tensors are some hundred bytes apart: multiply, take high bits. */
    return (uint32_t)(((uint64_t)(uintptr_t)key >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 32) &
           (g->map_cap - 1);
}

/* The entry of `key`, or the free one where it belongs. */
static struct vgr_graph_map *map_find(struct vgr_graphs *g, const struct ggml_tensor *key)
{
    uint32_t i = map_start(g, key);

    while (g->map[i].epoch == g->map_epoch && g->map[i].key != key)
        i = (i + 1) & (g->map_cap - 1);
    return &g->map[i];
}

/* Begins an empty map with room for `n` keys. Clears nothing, but once in 2^32 graphs. */
static int map_begin(struct vgr_graphs *g, uint32_t n)
{
    uint32_t cap = g->map_cap ? g->map_cap : 4 * FIRST_CAP;

    while (cap / 2 < n)
        cap *= 2;
    if (cap != g->map_cap || g->map_epoch == UINT32_MAX) {
        struct vgr_graph_map *map = calloc(cap, sizeof(*map));

        if (!map)
            return -ENOMEM;
        free(g->map);
        g->map = map;
        g->map_cap = cap;
        g->map_epoch = 0;
    }
    g->map_epoch++;
    g->map_used = 0;
    return 0;
}

static void map_set(struct vgr_graphs *g, struct vgr_graph_map *e, const struct ggml_tensor *key,
                    uint32_t index)
{
    *e = (struct vgr_graph_map){.key = key, .epoch = g->map_epoch, .index = index};
    g->map_used++;
}

/* ---- Encoding ---- */

static void note_buffer(struct vgr_graphs *g, struct vgr_graph_body *b, uint32_t handle)
{
    uint32_t n = b->n_buffers;

    if (!handle || n > VGR_GRAPH_BUFFERS)
        return;
    for (uint32_t i = n; i-- > 0;) {
        if (b->buffer[i] == handle)
            return;
    }
    if (n < VGR_GRAPH_BUFFERS) {
        b->buffer[n] = handle;
        b->epoch[n] = __atomic_load_n(&g->epochs[handle], __ATOMIC_RELAXED);
    }
    b->n_buffers++;
}

/* What a record is in a graph. */
enum part {
    PART_LEAF,
    PART_OP,
    PART_VIEW, /* a node that names a part of other memory */
    PART_IDLE, /* a node that has nothing to do */
};

/* Why an op cannot use what is at a record. */
enum flaw { FLAW_NONE, FLAW_ELSEWHERE, FLAW_OUTSIDE };

static enum part part_of(const struct ggml_tensor *t)
{
    if (ggml_is_empty(t))
        return PART_IDLE;
    switch (t->op) {
    case GGML_OP_NONE:
    case GGML_OP_VIEW:
    case GGML_OP_RESHAPE:
    case GGML_OP_PERMUTE:
    case GGML_OP_TRANSPOSE:
        return PART_VIEW;
    default:
        return vgr_cgraph_marks() && !((uint32_t)t->flags & VGR_TENSOR_COMPUTE) ? PART_IDLE
                                                                                : PART_OP;
    }
}

static enum flaw flaw_of(const struct vgr_graphs *g, const struct ggml_tensor *t,
                         const struct vgr_tensor *r, const struct vgr_place *place, bool found)
{
    uint64_t bytes;

    if (!g->placed)
        return FLAW_NONE;
    if (!found)
        return FLAW_ELSEWHERE;
    if (vgr_codec_touch(r->ne, r->nb, (uint32_t)ggml_blck_size(t->type),
                        (uint32_t)ggml_type_size(t->type), &bytes) ||
        bytes > place->room)
        return FLAW_OUTSIDE;
    return FLAW_NONE;
}

/* Writes the record of `t` at `index`, without references. Returns whether it may have some. */
static bool add_record(struct vgr_graphs *g, const struct ggml_tensor *t, uint32_t index,
                       enum part part)
{
    struct vgr_graph_body *b = &g->scratch;
    struct vgr_tensor *r = &vgr_graph_records(b)[index];
    struct vgr_place place = {0};
    bool found = g->placed && vgr_tensor_place(g->queue, t, &place);
    bool mute = g->placed && (part == PART_IDLE || (part == PART_VIEW && !found));

    note_buffer(g, b, place.buffer);
    vgr_tensor_record(r, t, &place, mute || part == PART_LEAF);
    if (part != PART_LEAF && !vgr_cgraph_marks())
        r->flags |= VGR_TENSOR_COMPUTE;
    b->flaw[index] = (uint8_t)flaw_of(g, t, r, &place, found);
    /* No op refers to it, and only views may extend past their buffer: it stands for its place, or for nothing. */
    if (b->flaw[index] == FLAW_ELSEWHERE ||
        (b->flaw[index] == FLAW_OUTSIDE && (mute || !t->view_src)))
        memset(r->ne, 0, sizeof(r->ne));
    b->tensor[index] = t;
    memcpy(b->image[index], t, sizeof(b->image[index]));
    return !mute;
}

/* Appends a leaf that `e`, its free entry in the map, is for. */
static int add_leaf(struct vgr_graphs *g, const struct ggml_tensor *t, struct vgr_graph_map *e,
                    uint32_t *index, const struct ggml_tensor **culprit)
{
    struct vgr_graph_body *b = &g->scratch;
    struct vgr_tensor *r;
    uint32_t view = 0;
    int err;

    /* The tensor that a leaf is a view of comes before it. If it is a node, the leaf goes without:
     * it has its own place in the buffer. So does one without elements: it may be of anybody's. */
    if (t->view_src && !(g->placed && ggml_is_empty(t))) {
        struct vgr_graph_map *v = map_find(g, t->view_src);

        if (v->epoch != g->map_epoch) {
            err = t->view_src->view_src ? -ENOTSUP : add_leaf(g, t->view_src, v, &view, culprit);
            if (err) {
                *culprit = t;
                return err;
            }
            view++;
            e = map_find(g, t); /* its root may have taken the place */
        } else if (v->index >= b->n_nodes) {
            view = v->index + 1;
        }
    }

    *index = b->n_tensors;
    err = *index >= g->max_tensors ? -E2BIG : body_room(b, *index + 1);
    if (err) {
        *culprit = t;
        return err;
    }
    add_record(g, t, *index, PART_LEAF);
    r = &vgr_graph_records(b)[*index];
    if (view && !b->flaw[view - 1] && b->flaw[*index] != FLAW_ELSEWHERE) {
        r->view_src = view;
    } else {
        r->view_offs = 0;
        /* Only views may extend past their buffer. Such a one is read by other views alone, which do not need
         * its shape. */
        if (b->flaw[*index])
            memset(r->ne, 0, sizeof(r->ne));
    }
    b->n_tensors++;
    map_set(g, e, t, *index);
    return 0;
}

/* The index of `t`, which node `self` refers to; `itself`: it may be that. */
static int refer(struct vgr_graphs *g, const struct ggml_tensor *t, uint32_t self, bool itself,
                 uint32_t *index, const struct ggml_tensor **culprit)
{
    struct vgr_graph_map *e = map_find(g, t);

    if (e->epoch != g->map_epoch) {
        /* Half full is where a table of this kind begins to be slow. */
        if (g->map_used >= g->map_cap / 2)
            return -ENOSPC;
        return add_leaf(g, t, e, index, culprit);
    }
    *index = e->index;
    if (*index < g->scratch.n_nodes && *index >= self && !(*index == self && itself)) {
        *culprit = t;
        return -ENOTSUP;
    }
    return 0;
}

/* Can an op, or a view, do with what is at the record? */
static int check_use(const struct vgr_graphs *g, uint32_t index, const struct ggml_tensor **culprit)
{
    enum flaw flaw = (enum flaw)g->scratch.flaw[index];

    if (!flaw)
        return 0;
    *culprit = g->scratch.tensor[index];
    return flaw == FLAW_OUTSIDE ? -ERANGE : -EFAULT;
}

/* Adds the sources of node `self`. */
static int add_sources(struct vgr_graphs *g, const struct ggml_tensor *t, uint32_t self,
                       enum part part, const struct ggml_tensor **culprit)
{
    struct vgr_graph_body *b = &g->scratch;
    struct vgr_tensor *r;
    uint32_t index;
    int err;

    for (int s = 0; s < VGR_SRCS; s++) {
        if (!t->src[s])
            continue;
        err = refer(g, t->src[s], self, true, &index, culprit);
        if (!err && part == PART_OP)
            err = check_use(g, index, culprit);
        if (err)
            return err;
        /* The payload may move while leafs are added: no pointer to a record is kept. */
        r = vgr_graph_records(b);
        r[self].src[s] = index + 1;
        if (index < b->n_nodes)
            b->uses[index]++;
        /* Without elements, and of somebody else or nobody. Backends look at the buffer first. */
        if (g->placed && part == PART_OP && !r[index].buffer)
            r[index].buffer = r[self].buffer;
    }
    return 0;
}

static int add_node(struct vgr_graphs *g, const struct ggml_tensor *t, uint32_t self,
                    const struct ggml_tensor **culprit)
{
    struct vgr_graph_body *b = &g->scratch;
    enum part part = part_of(t);
    bool speaks = add_record(g, t, self, part);
    uint32_t index;
    int err = 0;

    *culprit = t;
    if (speaks && (t->op == GGML_OP_MAP_CUSTOM1 || t->op == GGML_OP_MAP_CUSTOM2 ||
                   t->op == GGML_OP_MAP_CUSTOM3 || t->op == GGML_OP_CUSTOM))
        return -ENOTSUP;
    if (part == PART_OP) {
        g->work++;
        err = check_use(g, self, culprit);
    }
    if (!err && speaks)
        err = add_sources(g, t, self, part, culprit);
    if (err)
        return err;
    /* Whose part it is also matters where nothing is done: the host prepares no views. */
    if (t->view_src && (speaks || (!b->flaw[self] && !ggml_is_empty(t)))) {
        err = refer(g, t->view_src, self, false, &index, culprit);
        if (!err)
            err = check_use(g, index, culprit);
        if (err)
            return err;
        vgr_graph_records(b)[self].view_src = index + 1;
    } else {
        vgr_graph_records(b)[self].view_offs = 0;
    }
    return 0;
}

static inline bool escapes(const struct ggml_cgraph *cg, struct vgr_graph_body *b, uint32_t node,
                           bool trusted)
{
    return !trusted || vgr_cgraph_uses(cg, b->tensor[node], &b->hash_slot[node]) != b->uses[node];
}

/* One attempt with a map for `keys` tensors; -ENOSPC if there are more. */
static int encode(struct vgr_graphs *g, struct ggml_cgraph *cg, uint32_t keys, bool trusted,
                  const struct ggml_tensor **culprit)
{
    struct vgr_graph_body *b = &g->scratch;
    struct ggml_tensor **nodes = ggml_graph_nodes(cg);
    uint32_t n = (uint32_t)ggml_graph_n_nodes(cg);
    int err;

    *culprit = nodes[0];
    if (n > g->max_tensors)
        return -E2BIG;
    err = body_room(b, n);
    if (!err)
        err = map_begin(g, keys);
    if (err)
        return err;

    b->n_nodes = b->n_tensors = n;
    b->n_buffers = 0;
    g->work = 0;
    memset(b->uses, 0, n * sizeof(*b->uses));
    for (uint32_t i = 0; i < n; i++) {
        struct vgr_graph_map *e = map_find(g, nodes[i]);

        if (e->epoch != g->map_epoch)
            map_set(g, e, nodes[i], i);
    }
    for (uint32_t i = 0; i < n; i++) {
        err = add_node(g, nodes[i], i, culprit);
        if (err)
            return err;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (escapes(cg, b, i, trusted))
            vgr_graph_records(b)[i].flags |= VGR_TENSOR_ESCAPES;
    }
    *b->payload =
        (struct vgr_graph){.device = g->device, .n_nodes = b->n_nodes, .n_tensors = b->n_tensors};
    return 0;
}

int vgr_graphs_encode(struct vgr_graphs *g, struct ggml_cgraph *cg, bool placed, bool trusted,
                      const struct ggml_tensor **culprit)
{
    uint32_t keys = 2 * (uint32_t)ggml_graph_n_nodes(cg) + FIRST_CAP;
    int err;

    g->placed = placed;
    while ((err = encode(g, cg, keys, trusted, culprit)) == -ENOSPC)
        keys *= 2;
    return err;
}

/* ---- Comparing in place ---- */

#define IN_IMAGE(field)                                                                            \
    (offsetof(struct ggml_tensor, field) + sizeof(((struct ggml_tensor *)0)->field) <=             \
     VGR_GRAPH_IMAGE)
static_assert(IN_IMAGE(type) && IN_IMAGE(buffer) && IN_IMAGE(ne) && IN_IMAGE(nb) && IN_IMAGE(op) &&
                  IN_IMAGE(op_params) && IN_IMAGE(flags) && IN_IMAGE(src) && IN_IMAGE(view_src) &&
                  IN_IMAGE(view_offs) && IN_IMAGE(data),
              "all that tensor.c and this file read of a tensor is in the image");

bool vgr_graphs_alive(const struct vgr_graphs *g, const struct vgr_graph_slot *s)
{
    const struct vgr_graph_body *b = &s->body;

    if (!s->valid || b->n_buffers > VGR_GRAPH_BUFFERS)
        return false;
    for (uint32_t i = 0; i < b->n_buffers; i++) {
        if (__atomic_load_n(&g->epochs[b->buffer[i]], __ATOMIC_RELAXED) != b->epoch[i])
            return false;
    }
    return true;
}

/* Nodes first: each node that is the same as before refers to its leafs by the same pointers, so
 * these are tensors that exist. Leafs from the last to the first: a leaf's view_src comes before
 * it.
 *
 * A buffer at the same address is the same one: had it been freed, the slot would be dead. */
static bool same_graph(struct ggml_cgraph *cg, struct vgr_graph_body *b, bool trusted)
{
    const struct vgr_tensor *r = vgr_graph_records(b);
    struct ggml_tensor **nodes = ggml_graph_nodes(cg);

    for (uint32_t i = 0; i < b->n_nodes; i++) {
        if (nodes[i] != b->tensor[i] || memcmp(b->image[i], nodes[i], VGR_GRAPH_IMAGE) ||
            escapes(cg, b, i, trusted) != !!(r[i].flags & VGR_TENSOR_ESCAPES))
            return false;
    }
    for (uint32_t i = b->n_tensors; i-- > b->n_nodes;) {
        if (memcmp(b->image[i], b->tensor[i], VGR_GRAPH_IMAGE))
            return false;
    }
    return true;
}

/* Is slot `i` this graph? */
static bool is_same(struct vgr_graphs *g, uint32_t i, const struct vgr_graph_key *key,
                    struct ggml_cgraph *cg, bool trusted)
{
    const struct vgr_graph_key *k = &g->key[i];

    g->looks++;
    return k->n == key->n && k->first == key->first && k->last == key->last &&
           vgr_graphs_alive(g, &g->slot[i]) && same_graph(cg, &g->slot[i].body, trusted);
}

struct vgr_graph_slot *vgr_graphs_same(struct vgr_graphs *g, struct ggml_cgraph *cg, bool trusted)
{
    struct ggml_tensor **nodes = ggml_graph_nodes(cg);
    uint32_t n = (uint32_t)ggml_graph_n_nodes(cg), i;
    struct vgr_graph_key key = {nodes[0], nodes[n - 1], n};

    if (!g->n_slots)
        return NULL;
    i = g->slot[g->last].next;
    if (!is_same(g, i, &key, cg, trusted)) {
        for (i = 0; i < g->n_slots && !is_same(g, i, &key, cg, trusted); i++) {
        }
        if (i == g->n_slots)
            return NULL;
    }
    vgr_graphs_use(g, i);
    return &g->slot[i];
}
