/* SPDX-License-Identifier: MIT */
#include "worker/graph.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/codec.h"
#include "worker/tensor.h"

/* Distinct buffers a graph may refer to: weights, K/V caches, compute buffers. */
#define MAX_REFS 256u

struct vgr_host_graph {
    uint32_t device;
    uint32_t n_nodes;
    uint32_t n_tensors;
    struct ggml_context *ggml; /* owns tensors and cgraph */
    struct ggml_cgraph *cgraph;
    struct ggml_tensor **tensors; /* n_tensors, in wire order */
    struct vgr_tensor *wire;      /* as defined and patched */
    uint32_t n_refs;
    struct {
        uint32_t buffer;
        uint32_t generation;
    } refs[MAX_REFS];
};

static void graph_destroy(struct vgr_host_graph *g)
{
    if (!g)
        return;
    if (g->ggml)
        ggml_free(g->ggml);
    free(g->tensors);
    free(g->wire);
    free(g);
}

static int add_ref(const struct vgr_ctx *c, struct vgr_host_graph *g, uint32_t buffer)
{
    if (!buffer)
        return 0;
    for (uint32_t i = 0; i < g->n_refs; i++) {
        if (g->refs[i].buffer == buffer) {
            g->refs[i].generation = c->buffers[buffer].generation;
            return 0;
        }
    }
    if (g->n_refs == MAX_REFS)
        return -1;
    g->refs[g->n_refs].buffer = buffer;
    g->refs[g->n_refs++].generation = c->buffers[buffer].generation;
    return 0;
}

/* A tensor object of `ggml` with nothing in it yet. */
static struct ggml_tensor *blank(struct ggml_context *ggml)
{
    return ggml_new_tensor_1d(ggml, GGML_TYPE_I8, 1);
}

static struct ggml_tensor *by_ref(struct ggml_tensor **tensors, uint32_t ref)
{
    return ref ? tensors[ref - 1] : NULL;
}

static int fill(const struct vgr_ctx *c, struct vgr_host_graph *g, uint32_t i, const char **why)
{
    const struct vgr_tensor *w = &g->wire[i];
    struct ggml_tensor *t = g->tensors[i];

    if (vgr_tensor_describe(c, t, w, why) || vgr_tensor_place(c, t, w, g->device, why))
        return -1;
    if (i >= g->n_nodes)
        t->op = GGML_OP_NONE;
    for (int s = 0; s < VGR_SRCS; s++)
        t->src[s] = by_ref(g->tensors, w->src[s]);
    t->view_src = by_ref(g->tensors, w->view_src);
    if (add_ref(c, g, w->buffer)) {
        *why = "too many buffers";
        return -1;
    }
    return 0;
}

/* Lets the buffer prepare tensors that are new to it, then asks the device about every node. */
static int admit(const struct vgr_ctx *c, struct vgr_host_graph *g, uint32_t i, const char **why)
{
    struct ggml_tensor *t = g->tensors[i];

    if (t->buffer && (!t->view_src || t->view_src->buffer == t->buffer) &&
        ggml_backend_buffer_init_tensor(t->buffer, t) != GGML_STATUS_SUCCESS) {
        *why = "a tensor that its buffer does not accept";
        return -1;
    }
    return i < g->n_nodes ? vgr_tensor_check_op(c, t, g->device, why) : 0;
}

/* Building the cgraph marks every node to be computed; the guest's own marks are what counts. An
 * older GGML knows no such mark and sets it nowhere: then all are meant. */
static void mark_tensors(struct vgr_host_graph *g)
{
    uint32_t marked = 0;

    for (uint32_t i = 0; i < g->n_nodes; i++)
        marked |= g->wire[i].flags & GGML_TENSOR_FLAG_COMPUTE;
    for (uint32_t i = 0; i < g->n_tensors; i++)
        g->tensors[i]->flags = vgr_tensor_flags(&g->wire[i]);
    for (uint32_t i = 0; !marked && i < g->n_nodes; i++)
        g->tensors[i]->flags |= GGML_TENSOR_FLAG_COMPUTE;
}

static int build_cgraph(struct vgr_host_graph *g, const char **why)
{
    uint32_t expect = 0;

    /* GGML files a tensor without an op as a node if it is marked as a parameter. */
    for (uint32_t i = 0; i < g->n_tensors; i++)
        g->tensors[i]->flags = 0;
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        struct ggml_tensor *t = g->tensors[i];

        if (t->op == GGML_OP_NONE)
            continue; /* nothing to run; GGML would file it as a leaf */
        ggml_build_forward_expand(g->cgraph, t);
        if ((uint32_t)ggml_graph_n_nodes(g->cgraph) != ++expect ||
            ggml_graph_node(g->cgraph, -1) != t) {
            *why = "nodes that are not in order of execution";
            return -1;
        }
    }
    mark_tensors(g);
    return 0;
}

static struct vgr_host_graph *graph_new(const struct vgr_graph *d, const struct vgr_tensor *wire)
{
    struct ggml_init_params params = {
        .mem_size = (d->n_tensors + 1) * ggml_tensor_overhead() +
                    ggml_graph_overhead_custom(d->n_tensors, false),
        .no_alloc = true,
    };
    struct vgr_host_graph *g = calloc(1, sizeof(*g));

    if (!g)
        return NULL;
    g->device = d->device;
    g->n_nodes = d->n_nodes;
    g->n_tensors = d->n_tensors;
    g->tensors = malloc(d->n_tensors * sizeof(*g->tensors));
    g->wire = malloc(d->n_tensors * sizeof(*g->wire));
    g->ggml = ggml_init(params);
    if (!g->tensors || !g->wire || !g->ggml) {
        graph_destroy(g);
        return NULL;
    }
    memcpy(g->wire, wire, d->n_tensors * sizeof(*g->wire));
    for (uint32_t i = 0; i < d->n_tensors; i++)
        g->tensors[i] = blank(g->ggml);
    g->cgraph = ggml_new_graph_custom(g->ggml, d->n_tensors, false);
    return g;
}

static int check_handle(struct vgr_ctx *c, uint32_t handle)
{
    if (!handle || handle > VGR_CTX_MAX_GRAPHS)
        return vgr_ctx_fail(c, VGR_ERROR_HANDLE, "graph handle %u is out of range", handle);
    return 0;
}

static int refuse(struct vgr_ctx *c, uint32_t handle, const struct vgr_host_graph *g, uint32_t i,
                  const char *why)
{
    const struct ggml_tensor *t = g->tensors[i];

    return vgr_ctx_fail(c, VGR_ERROR_GRAPH, "graph %u, tensor %u of %u (%s): %s", handle, i,
                        g->n_tensors, i < g->n_nodes ? ggml_op_name(t->op) : "leaf", why);
}

int vgr_graph_define(struct vgr_ctx *c, uint32_t handle, const void *payload, uint32_t len)
{
    const struct vgr_graph *d;
    const struct vgr_tensor *wire;
    struct vgr_host_graph *g;
    const char *why = "";
    int ret = -1;

    if (check_handle(c, handle))
        return -1;
    if (vgr_codec_graph(payload, len, VGR_CTX_MAX_TENSORS, &d, &wire, &why))
        return vgr_ctx_fail(c, VGR_ERROR_GRAPH, "graph %u: %s", handle, why);
    if (d->device >= c->backends.n)
        return vgr_ctx_fail(c, VGR_ERROR_HANDLE, "graph %u: no device %u", handle, d->device);

    vgr_ctx_sync(c);
    graph_destroy(c->graphs[handle]);
    c->graphs[handle] = NULL;
    g = graph_new(d, wire);
    if (!g)
        return vgr_ctx_fail(c, VGR_ERROR_INTERNAL, "no memory for graph %u", handle);

    /* Leafs first: nodes look at them, and never the other way round. */
    for (uint32_t n = 0; n < g->n_tensors; n++) {
        uint32_t i = (g->n_nodes + n) % g->n_tensors;

        if (fill(c, g, i, &why) || admit(c, g, i, &why)) {
            ret = refuse(c, handle, g, i, why);
            goto fail;
        }
    }
    if (build_cgraph(g, &why)) {
        ret = vgr_ctx_fail(c, VGR_ERROR_GRAPH, "graph %u: %s", handle, why);
        goto fail;
    }
    c->graphs[handle] = g;
    vgr_counts_add(c->counts, VGR_COUNTER_GRAPHS_DEFINED, 1);
    return 0;

fail:
    graph_destroy(g);
    return ret;
}

static struct vgr_host_graph *find(struct vgr_ctx *c, uint32_t handle)
{
    if (check_handle(c, handle))
        return NULL;
    if (!c->graphs[handle])
        vgr_ctx_fail(c, VGR_ERROR_HANDLE, "no graph %u", handle);
    return c->graphs[handle];
}

static bool same_structure(const struct vgr_tensor *a, const struct vgr_tensor *b)
{
    return a->op == b->op && a->type == b->type && a->view_src == b->view_src &&
           !memcmp(a->src, b->src, sizeof(a->src));
}

int vgr_graph_patch(struct vgr_ctx *c, uint32_t handle, const void *payload, uint32_t len)
{
    const struct vgr_graph_patch *p;
    struct vgr_host_graph *g = find(c, handle);
    const char *why = "";
    int n;

    if (!g)
        return -1;
    n = vgr_codec_patch(payload, len, g->n_tensors, &p, &why);
    if (n < 0)
        return vgr_ctx_fail(c, VGR_ERROR_GRAPH, "graph %u: %s", handle, why);

    vgr_ctx_sync(c);
    for (int i = 0; i < n; i++) {
        if (!same_structure(&g->wire[p[i].index], &p[i].tensor))
            return vgr_ctx_fail(c, VGR_ERROR_GRAPH,
                                "graph %u: patch of tensor %u changes structure", handle,
                                p[i].index);
        g->wire[p[i].index] = p[i].tensor;
        if (fill(c, g, p[i].index, &why))
            return refuse(c, handle, g, p[i].index, why);
    }
    for (int i = 0; i < n; i++) {
        if (admit(c, g, p[i].index, &why))
            return refuse(c, handle, g, p[i].index, why);
    }
    mark_tensors(g);
    /* A changed source matters to the ops that read it. */
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        if (vgr_tensor_check_op(c, g->tensors[i], g->device, &why))
            return refuse(c, handle, g, i, why);
    }
    vgr_counts_add(c->counts, VGR_COUNTER_GRAPHS_PATCHED, 1);
    return 0;
}

int vgr_graph_run(struct vgr_ctx *c, uint32_t handle, uint32_t stream)
{
    struct vgr_host_graph *g = find(c, handle);
    struct vgr_host_stream *s = g ? vgr_ctx_stream(c, stream) : NULL;
    enum ggml_status status;

    if (!s)
        return -1;
    if (s->device != g->device)
        return vgr_ctx_fail(c, VGR_ERROR_HANDLE, "graph %u is not for the device of stream %u",
                            handle, stream);
    for (uint32_t i = 0; i < g->n_refs; i++) {
        const struct vgr_host_buffer *b = &c->buffers[g->refs[i].buffer];

        if (!b->buffer || b->generation != g->refs[i].generation)
            return vgr_ctx_fail(c, VGR_ERROR_HANDLE, "graph %u uses buffer %u, which was freed",
                                handle, g->refs[i].buffer);
    }

    vgr_ctx_order(c, stream);
    c->last_run[g->device] = stream;
    vgr_counts_begin(c->counts, VGR_COUNTER_COMPUTING);
    status = ggml_backend_graph_compute_async(s->backend, g->cgraph);
    vgr_counts_end(c->counts, VGR_COUNTER_COMPUTING);
    if (status != GGML_STATUS_SUCCESS)
        return vgr_ctx_fail(c, VGR_ERROR_COMPUTE, "the host failed to compute graph %u: %s", handle,
                            ggml_status_to_string(status));
    vgr_ctx_mark_dirty(c, s);
    vgr_counts_add(c->counts, VGR_COUNTER_GRAPHS_RUN, 1);
    return 0;
}

int vgr_graph_free(struct vgr_ctx *c, uint32_t handle)
{
    struct vgr_host_graph *g = find(c, handle);

    if (!g)
        return -1;
    vgr_ctx_sync(c);
    graph_destroy(g);
    c->graphs[handle] = NULL;
    return 0;
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

    for (int i = n - 1; i >= 0; i--) {
        t[i] = blank(c->query);
        /* What this host does not know is not supported; that is an answer, not a failure. */
        if (vgr_tensor_describe(c, t[i], &wire[i], &why))
            return 0;
        if (i)
            t[i]->op = GGML_OP_NONE;
        for (int s = 0; s < VGR_SRCS; s++)
            t[i]->src[s] = by_ref(t, wire[i].src[s]);
        t[i]->view_src = by_ref(t, wire[i].view_src);
    }
    if (!vgr_tensor_check_op(c, t[0], device, &why)) {
        reply->supported = 1;
        reply->offload = ggml_backend_dev_offload_op(dev->dev, t[0]);
    }
    reply->alloc_size = ggml_backend_buft_get_alloc_size(dev->buft, t[0]);
    return 0;
}
