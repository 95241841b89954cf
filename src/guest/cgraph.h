/* SPDX-License-Identifier: MIT
 *
 * cgraph.h - how often a node's result is used in the whole graph, and whether nodes are marked.
 *
 * Theory of operation
 * -------------------
 *
 * GGML cuts a graph into splits for several backends, and gives each backend a view: a part of the
 * nodes, with the whole graph's hash set and use counts. Backends fuse a node into its user only if
 * that user is the only one. The host sees the split alone, so it must be told of nodes whose
 * result is also used elsewhere.
 *
 * The use counts lie in a private struct of GGML. Its layout is stated in ggml_abi.h and tried out
 * once, on a graph whose counts are known; every read of the trial is bounded by memory that is
 * known to be the graph's. If the trial fails, nothing is known about any node, and all are treated
 * as used elsewhere: correct, only slower.
 */
#ifndef VGR_GUEST_CGRAPH_H
#define VGR_GUEST_CGRAPH_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/ggml_abi.h"

#define VGR_USES_UNKNOWN INT32_MIN

/* True if this GGML marks the nodes that are to be computed, and its backends leave the others out. Versions that
 * do not know such a mark compute all. Tried once; thread-safe. */
bool vgr_cgraph_marks(void);

/* True if the layout is the one that ggml_abi.h states. Tried once; thread-safe. */
bool vgr_cgraph_trusted(void);

/* The number of src[] references to `t` in the whole graph, 0 if the graph does not know it. *slot
 * is a hint that makes the next look-up of the same tensor cheap; 0 is a fine first value. */
static inline int32_t vgr_cgraph_uses(const struct ggml_cgraph *g, const struct ggml_tensor *t,
                                      uint32_t *slot)
{
    const struct ggml_hash_set *h = &g->visited_hash_set;
    size_t i = *slot, first;

    if (!h->size || !g->use_counts)
        return 0;
    if (i < h->size && (h->used[i / 32] >> (i % 32) & 1) && h->keys[i] == t)
        return g->use_counts[i];

    i = first = ((size_t)(uintptr_t)t >> 4) % h->size;
    while (h->used[i / 32] >> (i % 32) & 1) {
        if (h->keys[i] == t) {
            *slot = (uint32_t)i;
            return g->use_counts[i];
        }
        i = i + 1 < h->size ? i + 1 : 0;
        if (i == first)
            break;
    }
    return 0;
}

#endif
