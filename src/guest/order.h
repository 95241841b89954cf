/* SPDX-License-Identifier: MIT
 *
 * order.h - the order in which a device likes to run a graph's nodes.
 *
 * Theory of operation
 * -------------------
 *
 * Before GGML's scheduler gives memory to a graph, it lets the backend reorder the nodes: what can be
 * fused becomes neighbours, what can overlap comes together. Only the host's backend knows, so it is
 * asked, once per distinct graph, and its answer is kept: a permutation, found again by a hash of the
 * graph as it would go over the wire, without memory. A graph of the same content gets the same
 * order whatever addresses it has.
 *
 * The device may also wish that a tensor keeps its memory until a later node has run, without which it
 * could not fuse the two; GGML then sees to that.
 *
 * An answer is checked before it is used: every node once, no node before its sources, no tensor kept
 * until before it was computed. So neither a hostile host nor two graphs of one hash can break more
 * than the speed. A device that has no opinion says so with the first answer and is not asked again.
 *
 * One per stream; one thread at a time.
 */
#ifndef VGR_GUEST_ORDER_H
#define VGR_GUEST_ORDER_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/conn.h"
#include "guest/graph.h"

#define VGR_ORDERS 64u /* answers kept */

struct vgr_orders {
    bool never;
    uint64_t clock;
    struct vgr_order {
        uint64_t hash[2];
        uint64_t stamp; /* of last use; 0: unused */
        uint32_t n;
        uint32_t *node; /* NULL: as it is */
        uint32_t n_deps;
        struct vgr_order_dep *dep;
    } entry[VGR_ORDERS];
};

void vgr_orders_free(struct vgr_orders *o);

/* Reorders the nodes of `cg`, asking the host if need be, and passes its other wishes on to `params`,
 * NULL if GGML takes none. `g` encodes. The graph stays as it is where there is no answer. */
void vgr_orders_apply(struct vgr_orders *o, struct vgr_queue *q, struct vgr_graphs *g,
                      struct ggml_cgraph *cg, bool trusted,
                      struct ggml_backend_graph_optimize_params *params);

/* Is `node` a permutation of the `n` nodes in `records` in which no node comes before its sources?
 * `seen` is scratch for n flags. */
bool vgr_order_valid(const struct vgr_tensor *records, const uint32_t *node, uint32_t n,
                     uint8_t *seen);

/* Of `n_deps` dependencies in a graph of n_nodes among n_tensors, which runs in the order `node` (NULL:
 * as it is), moves those to the front that GGML can take, and returns their number: kept until a node,
 * which is not before the tensor's own. `pos` is scratch for n_nodes numbers. */
uint32_t vgr_order_deps(struct vgr_order_dep *dep, uint32_t n_deps, const uint32_t *node,
                        uint32_t n_nodes, uint32_t n_tensors, uint32_t *pos);

#endif
