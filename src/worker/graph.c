/* SPDX-License-Identifier: MIT */
#include "worker/graph.h"

#include <string.h>

#include "protocol/codec.h"
#include "worker/graph_build.h"
#include "worker/tensor.h"

/* Asks the device about a node, then lets the buffer prepare what is new to it. Of an idle node the device is
 * given the memory alone: that there is nothing to do is for no backend to see, and no rule has looked at it. */
static int admit(const struct vgr_ctx *c, struct vgr_host_graph *g, uint32_t i, const char **why)
{
    struct ggml_tensor *t = g->tensors[i];

    if (i < g->n_nodes) {
        if (vgr_graph_idle(g, i))
            vgr_tensor_disarm(t);
        if (vgr_tensor_settle(t, why) || vgr_tensor_check_op(c, t, g->device, why))
            return -1;
    }
    return vgr_tensor_init(c, t, &g->wire[i], why);
}

static bool is_handle(struct vgr_ctx *c, uint32_t handle)
{
    if (handle && handle <= VGR_CTX_MAX_GRAPHS)
        return true;
    vgr_ctx_fail(c, VGR_ERROR_HANDLE, "graph handle %u is out of range", handle);
    return false;
}

static int refuse(struct vgr_ctx *c, uint32_t handle, const struct vgr_host_graph *g, uint32_t i,
                  const char *why)
{
    const struct ggml_tensor *t = g->tensors[i];

    return vgr_ctx_fail(c, VGR_ERROR_GRAPH, "graph %u, tensor %u of %u (%s): %s", handle, i,
                        g->n_tensors, i < g->n_nodes ? ggml_op_name(t->op) : "leaf", why);
}

/* Counts `n` tensors more among those that are kept; false if these are too many. */
static bool keep(struct vgr_ctx *c, uint32_t n)
{
    uint32_t *kept = &c->shared->kept_tensors;

    /* Each of a few queues adds 2^16 at most before it looks: no overflow. */
    if (__atomic_add_fetch(kept, n, __ATOMIC_RELAXED) <= VGR_CTX_MAX_KEPT)
        return true;
    __atomic_sub_fetch(kept, n, __ATOMIC_RELAXED);
    return false;
}

static void unkeep(struct vgr_ctx *c, uint32_t n)
{
    __atomic_sub_fetch(&c->shared->kept_tensors, n, __ATOMIC_RELAXED);
}

/* In the place of a graph that has ended before its handle was freed. */
static struct vgr_host_graph ended;

/* Ends what the handle holds, if anything, and leaves `rest` there: NULL, or &ended. */
static void drop(struct vgr_ctx *c, uint32_t handle, struct vgr_host_graph *rest)
{
    struct vgr_host_graph *g = c->graphs[handle];

    c->graphs[handle] = rest;
    if (!g || g == &ended)
        return;
    unkeep(c, g->n_tensors);
    vgr_graph_destroy(g);
}

void vgr_graph_end_in(struct vgr_ctx *c, uint32_t buffer)
{
    for (uint32_t i = 1; i <= VGR_CTX_MAX_GRAPHS; i++) {
        if (c->graphs[i] && vgr_graph_lies_in(c->graphs[i], buffer))
            drop(c, i, &ended);
    }
}

int vgr_graph_define(struct vgr_ctx *c, uint32_t handle, const void *payload, uint32_t len)
{
    const struct vgr_graph *d;
    const struct vgr_tensor *wire;
    struct vgr_host_graph *g;
    const char *why = "";
    int ret = -1;

    if (!is_handle(c, handle))
        return -1;
    if (vgr_codec_graph(payload, len, VGR_CTX_MAX_TENSORS, &d, &wire, &why))
        return vgr_ctx_fail(c, VGR_ERROR_GRAPH, "graph %u: %s", handle, why);
    if (vgr_ctx_device(c, d->device))
        return -1;

    vgr_ctx_sync(c);
    drop(c, handle, NULL);
    if (!keep(c, d->n_tensors))
        return vgr_ctx_fail(c, VGR_ERROR_LIMIT, "graph %u: more than %u tensors in all graphs",
                            handle, VGR_CTX_MAX_KEPT);
    g = vgr_graph_new(d, wire);
    if (!g) {
        unkeep(c, d->n_tensors);
        return vgr_ctx_fail(c, VGR_ERROR_INTERNAL, "no memory for graph %u", handle);
    }

    /* Leafs first: nodes look at them, and never the other way round. */
    for (uint32_t n = 0; n < g->n_tensors; n++) {
        uint32_t i = (g->n_nodes + n) % g->n_tensors;

        if (vgr_graph_fill(c, g, i, &why) || vgr_graph_place(c, g, i, &why) ||
            admit(c, g, i, &why)) {
            ret = refuse(c, handle, g, i, why);
            goto fail;
        }
    }
    if (vgr_graph_link(g, &why)) {
        ret = vgr_ctx_fail(c, VGR_ERROR_GRAPH, "graph %u: %s", handle, why);
        goto fail;
    }
    c->graphs[handle] = g;
    vgr_counts_add(c->counts, VGR_COUNTER_GRAPHS_DEFINED, 1);
    return 0;

fail:
    unkeep(c, g->n_tensors);
    vgr_graph_destroy(g);
    return ret;
}

/* A graph that can be used, or NULL after vgr_ctx_fail(). */
static struct vgr_host_graph *find(struct vgr_ctx *c, uint32_t handle)
{
    if (!is_handle(c, handle))
        return NULL;
    if (c->graphs[handle] && c->graphs[handle] != &ended)
        return c->graphs[handle];
    vgr_ctx_fail(c, VGR_ERROR_HANDLE,
                 c->graphs[handle] ? "graph %u has ended, with a buffer that was freed"
                                   : "no graph %u",
                 handle);
    return NULL;
}

/* Applies the patches to tensors of a graph that nobody uses. 0, or -1 after vgr_ctx_fail(): then
 * it is neither the old graph nor the new one. */
static int patch(struct vgr_ctx *c, uint32_t handle, const struct vgr_graph_patch *p, int n)
{
    struct vgr_host_graph *g = c->graphs[handle];
    const char *why = "";

    for (int i = 0; i < n; i++) {
        if (!vgr_codec_same_structure(&g->wire[p[i].index], &p[i].tensor))
            return vgr_ctx_fail(c, VGR_ERROR_GRAPH,
                                "graph %u: patch of tensor %u changes structure", handle,
                                p[i].index);
        vgr_graph_unplace(g, p[i].index);
        g->wire[p[i].index] = p[i].tensor;
        if (vgr_graph_fill(c, g, p[i].index, &why) || vgr_graph_place(c, g, p[i].index, &why))
            return refuse(c, handle, g, p[i].index, why);
    }
    for (int i = 0; i < n; i++) {
        if (admit(c, g, p[i].index, &why))
            return refuse(c, handle, g, p[i].index, why);
    }
    vgr_graph_mark(g);
    /* A changed source matters to the ops that read it. */
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        if (vgr_tensor_check_op(c, g->tensors[i], g->device, &why) ||
            vgr_tensor_check_room(c, g->tensors[i], &g->wire[i], &why))
            return refuse(c, handle, g, i, why);
    }
    return 0;
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
    if (patch(c, handle, p, n)) {
        drop(c, handle, &ended);
        return -1;
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

    vgr_ctx_order(c, stream);
    c->last_run[g->device] = stream;
    if (c->counts->in_flight >= VGR_COUNTS_MAX_IN_FLIGHT)
        vgr_ctx_sync(c);
    vgr_counts_in_flight(c->counts, c->counts->in_flight + 1);
    vgr_counts_begin(c->counts, VGR_COUNTER_COMPUTING);
    status = ggml_backend_graph_compute_async(s->backend, g->cgraph);
    vgr_counts_end(c->counts, VGR_COUNTER_COMPUTING);
    if (status != GGML_STATUS_SUCCESS)
        return vgr_ctx_fail(c, VGR_ERROR_COMPUTE, "the host failed to compute graph %u: %s", handle,
                            ggml_status_to_string(status));
    vgr_ctx_mark_dirty(c, s);
    if (!c->dirty)
        vgr_counts_in_flight(c->counts, 0);
    vgr_counts_add(c->counts, VGR_COUNTER_GRAPHS_RUN, 1);
    return 0;
}

int vgr_graph_free(struct vgr_ctx *c, uint32_t handle)
{
    if (!is_handle(c, handle))
        return -1;
    if (!c->graphs[handle])
        return vgr_ctx_fail(c, VGR_ERROR_HANDLE, "no graph %u", handle);
    vgr_ctx_sync(c);
    drop(c, handle, NULL);
    return 0;
}
