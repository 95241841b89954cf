/* SPDX-License-Identifier: MIT
 *
 * graph_build.h - a graph of the wire becomes a ggml_cgraph of this host.
 *
 * Shared by graph.c, which keeps graphs and runs them, and graph_query.c, which builds one for a
 * question and drops it. See graph.h.
 */
#ifndef VGR_WORKER_GRAPH_BUILD_H
#define VGR_WORKER_GRAPH_BUILD_H

#include <ggml.h>

#include "worker/context.h"

/* Distinct buffers that a graph may have tensors in: weights, K/V caches, compute buffers. */
#define VGR_GRAPH_MAX_REFS 256u

struct vgr_host_graph {
    uint32_t device;
    uint32_t n_nodes;
    uint32_t n_tensors;
    bool marked;               /* nodes to be computed are marked; otherwise all are */
    struct ggml_context *ggml; /* owns tensors and cgraph */
    struct ggml_cgraph *cgraph;
    struct ggml_tensor **tensors; /* n_tensors, in wire order */
    struct vgr_tensor *wire;      /* as defined and patched */
    /* The buffers that tensors point into, neither more nor less: the graph ends with the first that
     * is freed. */
    uint32_t n_refs;
    struct {
        uint32_t buffer;
        uint32_t tensors; /* at least 1 */
    } refs[VGR_GRAPH_MAX_REFS];
};

/* A graph of blank tensors for what the codec has accepted; NULL without memory. The caller's. */
struct vgr_host_graph *vgr_graph_new(const struct vgr_graph *d, const struct vgr_tensor *wire);

/* Frees it; NULL is fine. */
void vgr_graph_destroy(struct vgr_host_graph *g);

/* A tensor object of `ggml` with nothing in it yet. */
struct ggml_tensor *vgr_graph_blank(struct ggml_context *ggml);

/* The tensor that a reference of the wire names, NULL for none. */
static inline struct ggml_tensor *vgr_graph_by_ref(struct ggml_tensor **tensors, uint32_t ref)
{
    return ref ? tensors[ref - 1] : NULL;
}

/* The functions below return 0, or -1 with a constant reason in *why. */

/* Fills tensor `i` from the wire: names, shape, references. */
int vgr_graph_fill(const struct vgr_ctx *c, struct vgr_host_graph *g, uint32_t i, const char **why);

/* Gives a tensor that has none its memory, and notes the buffer. */
int vgr_graph_place(const struct vgr_ctx *c, struct vgr_host_graph *g, uint32_t i,
                    const char **why);

/* Is there nothing to do for node `i`? It is filled, and so are its sources. */
bool vgr_graph_idle(const struct vgr_host_graph *g, uint32_t i);

/* Takes the memory of tensor `i`, which has been placed, away from it: it can be placed anew. */
void vgr_graph_unplace(struct vgr_host_graph *g, uint32_t i);

/* Does a tensor lie in the buffer? */
bool vgr_graph_lies_in(const struct vgr_host_graph *g, uint32_t buffer);

/* Puts the nodes, all filled, into g->cgraph, in the order of the wire. */
int vgr_graph_link(struct vgr_host_graph *g, const char **why);

/* Sets the tensors' flags as the wire says. */
void vgr_graph_mark(struct vgr_host_graph *g);

#endif
