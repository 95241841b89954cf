/* SPDX-License-Identifier: MIT */
#include "worker/graph_build.h"

#include <stdlib.h>
#include <string.h>

#include "worker/tensor.h"

void vgr_graph_destroy(struct vgr_host_graph *g)
{
    if (!g)
        return;
    if (g->ggml)
        ggml_free(g->ggml);
    free(g->tensors);
    free(g->wire);
    free(g);
}

/* The place of the buffer in g->refs, n_refs if it has none. */
static uint32_t find_ref(const struct vgr_host_graph *g, uint32_t buffer)
{
    uint32_t i = 0;

    while (i < g->n_refs && g->refs[i].buffer != buffer)
        i++;
    return i;
}

bool vgr_graph_lies_in(const struct vgr_host_graph *g, uint32_t buffer)
{
    return find_ref(g, buffer) < g->n_refs;
}

static int add_ref(struct vgr_host_graph *g, uint32_t buffer)
{
    uint32_t i = find_ref(g, buffer);

    if (i == VGR_GRAPH_MAX_REFS)
        return -1;
    if (i == g->n_refs) {
        g->refs[i].buffer = buffer;
        g->refs[i].tensors = 0;
        g->n_refs++;
    }
    g->refs[i].tensors++;
    return 0;
}

void vgr_graph_unplace(struct vgr_host_graph *g, uint32_t i)
{
    uint32_t ref = find_ref(g, g->wire[i].buffer);

    g->tensors[i]->buffer = NULL;
    g->tensors[i]->data = NULL;
    g->tensors[i]->extra = NULL; /* a backend's, and of the buffer as well */
    if (ref < g->n_refs && !--g->refs[ref].tensors)
        g->refs[ref] = g->refs[--g->n_refs];
}

struct ggml_tensor *vgr_graph_blank(struct ggml_context *ggml)
{
    return ggml_new_tensor_1d(ggml, GGML_TYPE_I8, 1);
}

int vgr_graph_fill(const struct vgr_ctx *c, struct vgr_host_graph *g, uint32_t i, const char **why)
{
    const struct vgr_tensor *w = &g->wire[i];
    struct ggml_tensor *t = g->tensors[i];

    if (vgr_tensor_describe(c, t, w, why))
        return -1;
    if (i >= g->n_nodes)
        t->op = GGML_OP_NONE;
    for (int s = 0; s < VGR_SRCS; s++) {
        t->src[s] = vgr_graph_by_ref(g->tensors, w->src[s]);
        if (t->src[s] == t && t->op != GGML_OP_CPY) {
            *why = "an op that is its own source";
            return -1;
        }
    }
    t->view_src = vgr_graph_by_ref(g->tensors, w->view_src);
    return 0;
}

int vgr_graph_place(const struct vgr_ctx *c, struct vgr_host_graph *g, uint32_t i, const char **why)
{
    const struct vgr_tensor *w = &g->wire[i];

    if (vgr_tensor_place(c, g->tensors[i], w, g->device, why))
        return -1;
    if (w->buffer && add_ref(g, w->buffer)) {
        *why = "too many buffers";
        return -1;
    }
    return 0;
}

bool vgr_graph_idle(const struct vgr_host_graph *g, uint32_t i)
{
    return vgr_tensor_idle(g->tensors[i], !g->marked || g->wire[i].flags & VGR_TENSOR_COMPUTE);
}

/* Building the cgraph marks every node to be computed; the guest's own marks are what counts. An
 * older GGML knows no such mark and sets it nowhere: then all are meant. */
void vgr_graph_mark(struct vgr_host_graph *g)
{
    for (uint32_t i = 0; i < g->n_tensors; i++)
        g->tensors[i]->flags = vgr_tensor_flags(&g->wire[i]);
    for (uint32_t i = 0; !g->marked && i < g->n_nodes; i++)
        g->tensors[i]->flags |= GGML_TENSOR_FLAG_COMPUTE;
}

int vgr_graph_link(struct vgr_host_graph *g, const char **why)
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
    vgr_graph_mark(g);
    return 0;
}

struct vgr_host_graph *vgr_graph_new(const struct vgr_graph *d, const struct vgr_tensor *wire)
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
        vgr_graph_destroy(g);
        return NULL;
    }
    memcpy(g->wire, wire, d->n_tensors * sizeof(*g->wire));
    for (uint32_t i = 0; i < d->n_nodes; i++)
        g->marked |= wire[i].flags & VGR_TENSOR_COMPUTE;
    for (uint32_t i = 0; i < d->n_tensors; i++)
        g->tensors[i] = vgr_graph_blank(g->ggml);
    g->cgraph = ggml_new_graph_custom(g->ggml, d->n_tensors, false);
    return g;
}
