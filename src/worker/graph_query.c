/* SPDX-License-Identifier: MIT
 *
 * graph_query.c - questions about ops and graphs, answered without keeping anything.
 */
#include <stdlib.h>
#include <string.h>

#include "protocol/codec.h"
#include "worker/graph.h"
#include "worker/graph_build.h"
#include "worker/rules/rules.h"
#include "worker/tensor.h"

/* llama.cpp asks where a weight is to be by an op that has it for a source. Two of these ops nobody could run, and
 * their rules refuse them: a ROPE with nothing to rotate, which does not end on the CPU, and an RWKV_WKV6 whose
 * other sources have nothing to do with the weight. The answer is that for the op which is meant. A device that
 * says no does not get the weight, and each token brings it along. */
static void mean(struct ggml_tensor *t)
{
    const char *name = (unsigned)t->op < GGML_OP_COUNT ? ggml_op_name(t->op) : "";
    struct ggml_tensor *a = t->src[0], *rope_factors = t->src[2], *first = t->src[3];
    int64_t pairs;

    if (!strcmp(name, "ROPE") && a && !t->op_params[1]) {
        pairs = a->ne[0] / 2;
        if (rope_factors && rope_factors->ne[0] < pairs)
            pairs = rope_factors->ne[0];
        t->op_params[1] = (int32_t)(2 * pairs);
    } else if (!strcmp(name, "RWKV_WKV6") && a && first && ggml_is_contiguous(first)) {
        first->ne[0] = a->ne[0];
        first->ne[1] = a->ne[1];
        first->ne[2] = first->ne[3] = 1;
        first->nb[1] = first->nb[0] * (size_t)a->ne[0];
        first->nb[2] = first->nb[3] = first->nb[1] * (size_t)a->ne[1];
    }
}

int vgr_graph_query(struct vgr_ctx *c, uint32_t device, const void *payload, uint32_t len,
                    struct vgr_query_reply *reply)
{
    const struct vgr_host_device *dev = &c->backends.device[device];
    struct ggml_tensor *t[VGR_CODEC_QUERY_MAX];
    const struct vgr_tensor *wire;
    const char *why = "";
    int n;

    memset(reply, 0, sizeof(*reply));
    n = vgr_codec_query(payload, len, &wire, &why);
    if (n < 0)
        return vgr_ctx_fail(c, VGR_ERROR_GRAPH, "%s", why);

    if (!c->query) {
        struct ggml_init_params params = {
            .mem_size = (VGR_CODEC_QUERY_MAX + 1) * ggml_tensor_overhead(),
            .no_alloc = true,
        };

        c->query = ggml_init(params);
        if (!c->query)
            return vgr_ctx_fail(c, VGR_ERROR_INTERNAL, "no memory for a query");
    }
    ggml_reset(c->query);

    /* The last one first, for what it is a source of. There is one at least. */
    do {
        int i = --n;

        t[i] = vgr_graph_blank(c->query);
        /* What this host does not know is not supported; that is an answer, not a failure. */
        if (vgr_tensor_describe(c, t[i], &wire[i], &why))
            return 0;
        if (i)
            t[i]->op = GGML_OP_NONE;
        for (int s = 0; s < VGR_SRCS; s++)
            t[i]->src[s] = vgr_graph_by_ref(t, wire[i].src[s]);
        t[i]->view_src = vgr_graph_by_ref(t, wire[i].view_src);
    } while (n > 0);
    mean(t[0]);
    if (vgr_tensor_idle(t[0], true)) {
        /* It would not be given the op, but a type that the device does not know is to be asked of another. */
        reply->supported = !vgr_rules_check_idle(t[0]) &&
                           (vgr_rules_check(t[0]) || ggml_backend_dev_supports_op(dev->dev, t[0]));
        vgr_tensor_disarm(t[0]);
    } else if (!vgr_tensor_settle(t[0], &why) && !vgr_tensor_check_op(c, t[0], device, &why)) {
        reply->supported = 1;
        reply->offload = ggml_backend_dev_offload_op(dev->dev, t[0]);
    }
    /* How much an op takes depends on its sources, which only its rule looks at; and a device has not thought of
     * what it does not support, nor of views, which take nothing: CUDA's lays out the rows of quantized types as
     * only weights have them. */
    reply->alloc_size = reply->supported && !vgr_tensor_is_view_op(t[0]->op)
                            ? ggml_backend_buft_get_alloc_size(dev->buft, t[0])
                            : ggml_nbytes(t[0]);
    return 0;
}

/* ---- Order ---- */

/* Builds the graph without memory. Returns 0, or -1 if it cannot be run here as it is. */
static int build_unplaced(const struct vgr_ctx *c, struct vgr_host_graph *g)
{
    const char *why = "";

    for (uint32_t i = 0; i < g->n_tensors; i++) {
        if (vgr_graph_fill(c, g, i, &why))
            return -1;
    }
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        struct ggml_tensor *t = g->tensors[i];

        /* An idle node has its place in the order, so the device sees it: it obeys its rule like any other, or
         * the graph stays as it is. */
        if (vgr_tensor_settle(t, &why) || vgr_tensor_check_op(c, t, g->device, &why))
            return -1;
    }
    return vgr_graph_link(g, &why);
}

/* Where the nodes are now, by their index in the wire's order; NULL if they are where they were. */
static uint32_t *read_order(struct vgr_host_graph *g)
{
    uint32_t *order = malloc(g->n_nodes * sizeof(*order));
    bool changed = false;

    for (uint32_t i = 0; order && i < g->n_nodes; i++) {
        order[i] = (uint32_t)(uintptr_t)ggml_graph_node(g->cgraph, (int)i)->extra;
        changed |= order[i] != i;
    }
    if (!changed) {
        free(order);
        order = NULL;
    }
    return order;
}

/* What add_alloc_dep() needs. */
struct dep_sink {
    const struct vgr_host_graph *graph;
    struct vgr_graph_wishes *wishes;
    uint32_t max;
};

/* The index of `t`, `n` if it is none of the first n tensors. By address only: CUDA has been seen to
 * name what lies behind the last node. GGML makes tensors at ascending addresses; a device may have as
 * many wishes as there are nodes, so nobody walks through all tensors for each. */
static uint32_t index_of(const struct vgr_host_graph *g, const struct ggml_tensor *t, uint32_t n)
{
    uint32_t first = 0, end = n;

    while (first < end) {
        uint32_t middle = first + (end - first) / 2;

        if ((uintptr_t)g->tensors[middle] < (uintptr_t)t)
            first = middle + 1;
        else
            end = middle;
    }
    return first < n && g->tensors[first] == t ? first : n;
}

static void add_alloc_dep(void *user_data, struct ggml_tensor *tensor, struct ggml_tensor *until)
{
    struct dep_sink *sink = user_data;
    const struct vgr_host_graph *g = sink->graph;
    struct vgr_graph_wishes *w = sink->wishes;
    struct vgr_order_dep dep = {.tensor = index_of(g, tensor, g->n_tensors),
                                .until = index_of(g, until, g->n_nodes)};
    void *p;

    if (dep.tensor == g->n_tensors || dep.until == g->n_nodes || w->n_deps == sink->max)
        return;
    if (!(w->n_deps & (w->n_deps - 1))) {
        p = realloc(w->dep, (w->n_deps ? 2 * (size_t)w->n_deps : 1) * sizeof(dep));
        if (!p)
            return; /* a wish less */
        w->dep = p;
    }
    w->dep[w->n_deps++] = dep;
}

void vgr_graph_wishes_free(struct vgr_graph_wishes *w)
{
    free(w->order);
    free(w->dep);
}

int vgr_graph_order(struct vgr_ctx *c, const void *payload, uint32_t len, uint32_t max_deps,
                    struct vgr_graph_wishes *w)
{
    struct dep_sink sink = {.wishes = w, .max = max_deps};
    struct ggml_backend_graph_optimize_params params = {.add_alloc_dep = add_alloc_dep,
                                                        .user_data = &sink};
    const struct vgr_graph *d;
    const struct vgr_tensor *wire;
    struct vgr_host_graph *g;
    const char *why = "";

    *w = (struct vgr_graph_wishes){.answer = VGR_ORDER_SAME};
    if (vgr_codec_graph(payload, len, VGR_CTX_MAX_TENSORS, &d, &wire, &why))
        return vgr_ctx_fail(c, VGR_ERROR_GRAPH, "order of a graph: %s", why);
    if (vgr_ctx_device(c, d->device))
        return -1;
    w->n = d->n_nodes;
    g = vgr_graph_new(d, wire);
    if (!g)
        return vgr_ctx_fail(c, VGR_ERROR_INTERNAL, "no memory for a graph");

    /* What cannot run here is told when it is to run. A node without an op is none for GGML. */
    if (!build_unplaced(c, g) && (uint32_t)ggml_graph_n_nodes(g->cgraph) == g->n_nodes) {
        sink.graph = g;
        for (uint32_t i = 0; i < g->n_nodes; i++)
            g->tensors[i]->extra = (void *)(uintptr_t)i;
        if (!vgr_backends_reorder(&c->backends, g->device, g->cgraph, &params))
            w->answer = VGR_ORDER_NEVER;
        else if ((w->order = read_order(g)))
            w->answer = VGR_ORDER_CHANGED;
    }
    vgr_graph_destroy(g);
    return 0;
}
