/* SPDX-License-Identifier: MIT
 *
 * graph.h - graphs that stay: defined once, patched, run by number.
 *
 * Theory of operation
 * -------------------
 *
 * GRAPH_DEFINE rebuilds the guest's graph as a ggml_cgraph of our own tensors and keeps it. RUN
 * hands the same object to the backend again and again, so that what the backend caches by graph (a
 * captured CUDA graph, pipelines) hits. PATCH changes fields of tensors in place; the graph's
 * structure (ops, types, references) never changes between two DEFINEs. A patch that fails has
 * changed half of the graph, and ends it.
 *
 * A graph ends with the first of the buffers that it lies in: when the guest frees one, its tensors are
 * freed before. So there is never a tensor that points into freed memory, and no check that could be
 * forgotten or deceived.
 *
 * The graph is rebuilt through GGML's public calls only. ggml_build_forward_expand() on each node in
 * the guest's order gives the same order again, and the use counts on which the backends' fusion
 * relies. Leafs carry no op, so nothing outside of the graph can be pulled in. A node whose result
 * is used outside is marked as an output, which no backend fuses away.
 */
#ifndef VGR_WORKER_GRAPH_H
#define VGR_WORKER_GRAPH_H

#include "worker/context.h"

/* All return 0, or -1 after vgr_ctx_fail(). `payload` is a private copy. */
int vgr_graph_define(struct vgr_ctx *c, uint32_t handle, const void *payload, uint32_t len);
int vgr_graph_patch(struct vgr_ctx *c, uint32_t handle, const void *payload, uint32_t len);
int vgr_graph_run(struct vgr_ctx *c, uint32_t handle, uint32_t stream);
int vgr_graph_free(struct vgr_ctx *c, uint32_t handle);

/* The buffer is about to be freed: ends every graph with a tensor in it. Such a graph can be neither
 * patched nor run any more; its handle stays taken until it is freed or defined again. */
void vgr_graph_end_in(struct vgr_ctx *c, uint32_t buffer);

/* QUERY_OP: answers for the op tensors[0] on `device`. */
int vgr_graph_query(struct vgr_ctx *c, uint32_t device, const void *payload, uint32_t len,
                    struct vgr_query_reply *reply);

/* How a device would like a graph to be. */
struct vgr_graph_wishes {
    enum vgr_order_answer answer;
    uint32_t n;      /* nodes of the graph */
    uint32_t *order; /* of n indices; NULL unless VGR_ORDER_CHANGED */
    uint32_t n_deps;
    struct vgr_order_dep *dep;
};

/* QUERY_ORDER, with max_deps of the dependencies at most. Free the wishes, also after a failure. */
int vgr_graph_order(struct vgr_ctx *c, const void *payload, uint32_t len, uint32_t max_deps,
                    struct vgr_graph_wishes *w);
void vgr_graph_wishes_free(struct vgr_graph_wishes *w);

#endif
