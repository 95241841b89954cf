/* SPDX-License-Identifier: MIT
 *
 * long_graph.h - work for a backend that takes it a second or so, for tests that disturb it meanwhile.
 */
#ifndef VGR_TEST_LONG_GRAPH_H
#define VGR_TEST_LONG_GRAPH_H

#include <ggml-backend.h>
#include <ggml.h>
#include <stdbool.h>

#define LONG_GRAPH_NODES  2000
#define LONG_GRAPH_FLOATS (1 << 20)

/* Has the backend begin; false if it cannot. What the graph needs lives as long as the process. */
static inline bool long_graph_begin(ggml_backend_t backend)
{
    struct ggml_init_params params = {
        .mem_size = (LONG_GRAPH_NODES + 2) * ggml_tensor_overhead() +
                    ggml_graph_overhead_custom(LONG_GRAPH_NODES, false),
        .no_alloc = true,
    };
    struct ggml_context *ctx = ggml_init(params);
    struct ggml_tensor *t;
    struct ggml_cgraph *graph;
    ggml_backend_buffer_t buffer;

    if (!ctx)
        return false;
    t = ggml_new_tensor_1d(ctx, GGML_TYPE_F32, LONG_GRAPH_FLOATS);
    buffer = ggml_backend_alloc_ctx_tensors(ctx, backend);
    if (!buffer)
        return false;
    ggml_backend_buffer_clear(buffer, 0);
    graph = ggml_new_graph_custom(ctx, LONG_GRAPH_NODES, false);
    for (int i = 0; i < LONG_GRAPH_NODES; i++)
        t = ggml_sqr_inplace(ctx, t);
    ggml_build_forward_expand(graph, t);
    for (int i = 0; i < ggml_graph_n_nodes(graph); i++)
        ggml_backend_view_init(ggml_graph_node(graph, i));
    return ggml_backend_graph_compute_async(backend, graph) == GGML_STATUS_SUCCESS;
}

#endif
