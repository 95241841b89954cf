/* SPDX-License-Identifier: MIT
 *
 * graph_query.c - questions about ops and graphs, answered without keeping anything.
 */
#include <stdlib.h>
#include <string.h>

#include "protocol/codec.h"
#include "worker/graph.h"
#include "worker/graph_build.h"
#include "worker/tensor.h"

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
        t[i] = vgr_graph_blank(c->query);
        /* What this host does not know is not supported; that is an answer, not a failure. */
        if (vgr_tensor_describe(c, t[i], &wire[i], &why))
            return 0;
        if (i)
            t[i]->op = GGML_OP_NONE;
        for (int s = 0; s < VGR_SRCS; s++)
            t[i]->src[s] = vgr_graph_by_ref(t, wire[i].src[s]);
        t[i]->view_src = vgr_graph_by_ref(t, wire[i].view_src);
    }
    if (!vgr_tensor_check_op(c, t[0], device, &why)) {
        reply->supported = 1;
        reply->offload = ggml_backend_dev_offload_op(dev->dev, t[0]);
    }
    reply->alloc_size = ggml_backend_buft_get_alloc_size(dev->buft, t[0]);
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
        if (vgr_tensor_check_op(c, g->tensors[i], g->device, &why))
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

int vgr_graph_order(struct vgr_ctx *c, const void *payload, uint32_t len,
                    enum vgr_order_answer *answer, uint32_t **order, uint32_t *n)
{
    const struct vgr_graph *d;
    const struct vgr_tensor *wire;
    struct vgr_host_graph *g;
    const char *why = "";

    *answer = VGR_ORDER_SAME;
    *order = NULL;
    if (vgr_codec_graph(payload, len, VGR_CTX_MAX_TENSORS, &d, &wire, &why))
        return vgr_ctx_fail(c, VGR_ERROR_GRAPH, "order of a graph: %s", why);
    if (d->device >= c->backends.n)
        return vgr_ctx_fail(c, VGR_ERROR_HANDLE, "order of a graph: no device %u", d->device);
    *n = d->n_nodes;
    g = vgr_graph_new(d, wire);
    if (!g)
        return vgr_ctx_fail(c, VGR_ERROR_INTERNAL, "no memory for a graph");

    /* What cannot run here is told when it is to run. A node without an op is none for GGML. */
    if (!build_unplaced(c, g) && (uint32_t)ggml_graph_n_nodes(g->cgraph) == g->n_nodes) {
        for (uint32_t i = 0; i < g->n_nodes; i++)
            g->tensors[i]->extra = (void *)(uintptr_t)i;
        if (!vgr_backends_reorder(&c->backends, g->device, g->cgraph))
            *answer = VGR_ORDER_NEVER;
        else if ((*order = read_order(g)))
            *answer = VGR_ORDER_CHANGED;
    }
    vgr_graph_destroy(g);
    return 0;
}
